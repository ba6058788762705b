//! How long an object must stay, and who may shorten it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

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

impl LockMode {
    /// The greater, the fewer can shorten it.
    pub fn strength(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Governance => 1,
            Self::Compliance => 2,
        }
    }
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

    /// The stronger mode and the later end of both.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let mode = if other.mode.strength() > self.mode.strength() { other.mode } else { self.mode };
        Self { mode, until: self.until.max(other.until) }
    }

    /// The weaker mode and the earlier end of both.
    #[must_use]
    pub fn shorter(self, other: Self) -> Self {
        let mode = if other.mode.strength() < self.mode.strength() { other.mode } else { self.mode };
        Self { mode, until: self.until.min(other.until) }
    }
}

/// How long what is sealed stays locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Who may shorten it.
    pub mode: LockMode,
    /// How long, from the moment of sealing.
    pub period: Duration,
}

impl RetentionPolicy {
    /// The stronger mode and the longer period of both.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let mode = if other.mode.strength() > self.mode.strength() { other.mode } else { self.mode };
        Self { mode, period: self.period.max(other.period) }
    }

    /// The lock of an object sealed at `now` (milliseconds since 1970): whole seconds, rounded up.
    pub fn at(&self, now: i64) -> Retention {
        if self.mode == LockMode::None {
            return Retention::NONE;
        }
        let until = now.saturating_add(self.period.as_millis() as i64);
        Retention { mode: self.mode, until: Some((until + 999).div_euclid(1000) * 1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_end_on_a_whole_second_and_never_too_early() {
        let policy = RetentionPolicy { mode: LockMode::Governance, period: Duration::from_secs(10) };
        assert_eq!(policy.at(1_234).until, Some(12_000));
        assert_eq!(policy.at(2_000).until, Some(12_000));
        let none = RetentionPolicy { mode: LockMode::None, period: Duration::from_secs(10) };
        assert_eq!(none.at(5), Retention::NONE);
        let year = RetentionPolicy { mode: LockMode::None, period: Duration::from_secs(31_536_000) };
        assert_eq!(policy.longer(year), RetentionPolicy { mode: LockMode::Governance, period: year.period });
        let (long, strong) = (policy.at(9_000), Retention { mode: LockMode::Compliance, until: Some(1_000) });
        assert_eq!(long.longer(strong), Retention { mode: LockMode::Compliance, until: long.until });
        assert_eq!(long.shorter(strong), Retention { mode: LockMode::Governance, until: Some(1_000) });
        assert_eq!((long.longer(Retention::NONE), long.shorter(Retention::NONE)), (long, Retention::NONE));
    }
}
