//! How bad it is, in OCSF's terms.

/// OCSF's severities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
    /// Fatal.
    Fatal,
}

impl Severity {
    /// All of them, from the least.
    pub const ALL: [Self; 6] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical, Self::Fatal];

    /// As rules write it.
    pub fn name(self) -> &'static str {
        ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"][self as usize]
    }

    /// The severity of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(name))
    }

    /// OCSF `severity_id`.
    pub fn id(self) -> i64 {
        self as i64 + 1
    }

    /// OCSF's caption of it.
    pub fn caption(self) -> &'static str {
        ["Informational", "Low", "Medium", "High", "Critical", "Fatal"][self as usize]
    }
}
