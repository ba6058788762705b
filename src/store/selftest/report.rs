//! What the self-test found: each guarantee by name, and what follows if it is missing.

use crate::error::{Error, Result};
use serde::Serialize;
use std::fmt;

/// What authseal needs of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// The clocks agree.
    Clock,
    /// A key that exists is not created again.
    CreateOnly,
    /// Bytes read back as written.
    ReadsBack,
    /// Of creates at the same time exactly one wins.
    OneWinner,
    /// A newer version does not destroy an older one.
    Versions,
    /// What asks for no lock gets none.
    NoDefaultLock,
    /// A lock reads back as written.
    LockKept,
    /// A locked version cannot be deleted.
    LockHolds,
    /// A lock cannot be shortened.
    LockNotShortened,
}

impl Guarantee {
    /// Its name in reports and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::CreateOnly => "create_only",
            Self::ReadsBack => "reads_back",
            Self::OneWinner => "one_winner",
            Self::Versions => "versions",
            Self::NoDefaultLock => "no_default_lock",
            Self::LockKept => "lock_kept",
            Self::LockHolds => "lock_holds",
            Self::LockNotShortened => "lock_not_shortened",
        }
    }

    /// What follows if it is missing.
    pub fn without_it(self) -> &'static str {
        match self {
            Self::Clock => "dates of locks and seals would be wrong",
            Self::CreateOnly | Self::OneWinner => "two writers could both believe that they sealed the same segment",
            Self::ReadsBack => "nothing that is sealed could be proved",
            Self::Versions => "a later put could destroy evidence without a trace",
            Self::NoDefaultLock => "checkpoints, which must be replaced, would be locked",
            Self::LockKept | Self::LockHolds => "evidence could be deleted before its date",
            Self::LockNotShortened => "evidence could be deleted once its date was changed",
        }
    }
}

/// How a guarantee stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was tried and holds.
    Held,
    /// It does not hold.
    Missing,
    /// It could not be tried, or does not apply: the text says why.
    NotTried,
}

/// One guarantee, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which.
    pub guarantee: Guarantee,
    /// How it stands.
    pub state: State,
    /// What was seen, for people.
    pub text: String,
}

/// Everything that was seen, in the order in which it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which store.
    pub store: String,
    /// Each guarantee once.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(store: String) -> Self {
        Self { store, checks: Vec::new() }
    }

    pub(super) fn held(&mut self, guarantee: Guarantee, text: impl Into<String>) {
        self.checks.push(Check { guarantee, state: State::Held, text: text.into() });
    }

    pub(super) fn missing(&mut self, guarantee: Guarantee, text: impl Into<String>) {
        self.checks.push(Check { guarantee, state: State::Missing, text: text.into() });
    }

    pub(super) fn not_tried(&mut self, guarantee: Guarantee, text: impl Into<String>) {
        self.checks.push(Check { guarantee, state: State::NotTried, text: text.into() });
    }

    /// How `guarantee` stands; `None` if the test ended before.
    pub fn state(&self, guarantee: Guarantee) -> Option<State> {
        self.checks.iter().find(|check| check.guarantee == guarantee).map(|check| check.state)
    }

    /// The guarantees that are missing.
    pub fn missing_ones(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Missing)
    }

    /// An error of `Kind::Config` if any is missing.
    pub fn verdict(&self) -> Result<()> {
        let missing: Vec<String> = self
            .missing_ones()
            .map(|check| {
                format!("{} ({}; without it {})", check.guarantee.name(), check.text, check.guarantee.without_it())
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::config(format!("{} does not keep what evidence needs: {}", self.store, missing.join("; "))))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)?;
        for check in &self.checks {
            let state = match check.state {
                State::Held => "held",
                State::Missing => "MISSING",
                State::NotTried => "not tried",
            };
            write!(f, "\n  {:18} {:9} {}", check.guarantee.name(), state, check.text)?;
        }
        Ok(())
    }
}
