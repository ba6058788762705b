//! How long an object must stay, and who may shorten it.

use serde::{Deserialize, Serialize};

/// The lock of an object, in the words of S3 Object Lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockMode {
    /// Nobody can shorten it, not even the account's root.
    Compliance,
    /// Whoever holds `s3:BypassGovernanceRetention` can.
    Governance,
    /// Not locked: the store cannot.
    None,
}

/// The lock of one object, as the manifest names it and the store enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Who may shorten it.
    pub mode: LockMode,
    /// Milliseconds since 1970; null without a lock. Whole seconds, as S3 keeps them.
    pub until: Option<i64>,
}

impl Retention {
    /// No lock.
    pub const NONE: Self = Self { mode: LockMode::None, until: None };
}
