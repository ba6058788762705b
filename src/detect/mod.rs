//! Rules: compiled once, judged in event time, with bounded state. No I/O, no clock.
//!
//! [`RuleSet::load`] reads rule files: a header that becomes a native predicate (`header`, `predicate`, `spec`, `lint`)
//! and functions that run past a native gate (`script`). [`Detector`] judges records: which partition has come how far
//! (`watermark`), what each key has seen (`window`, bounded by `state`), and what that means (`raise`, `ocsf`).
//! What went before is remembered by markers (`markers`, `history`, `memory`, `sight`), single events may wait for it
//! (`waiting`), and findings are judged by other rules (`feed`). What must outlive the process is handed out and read
//! back (`save`, `saved`, `restore`). What never came is told by `sources`. `docs/rules.md` and `docs/markers.md` say
//! how rules are written and exactly what they mean.

mod aggregate;
mod attack;
mod backlog;
mod column;
mod coverage;
mod decide;
mod decimal;
mod derived;
mod detector;
mod enriched;
mod exceptions;
pub mod explain;
mod failure;
mod feed;
mod finding;
mod fold;
mod functions;
mod header;
mod history;
mod judging;
mod kept;
mod keys;
mod levels;
mod lint;
mod list;
mod markers;
mod measure;
mod memory;
mod methods;
mod never;
pub mod ocsf;
mod offsets;
mod partitions;
mod predicate;
mod raise;
mod refusal;
mod repeats;
mod replace;
mod restore;
mod rule;
mod ruleset;
mod save;
mod saved;
mod script;
mod severity;
mod sight;
mod sources;
mod spec;
mod state;
mod stats;
mod subject;
mod suggest;
mod tally;
pub mod testing;
#[cfg(test)]
mod tests;
mod timers;
mod travel;
mod trend;
mod updates;
mod waiting;
mod watermark;
mod window;

use crate::{
    position::{ChainId, Position},
    record::Outcome,
};
use std::{fmt, sync::Arc, time::Duration};

pub(crate) use self::suggest::hint;
pub use self::{
    attack::{Technique, tactic as attack_tactic, tactics_of as attack_tactics_of, version as attack_version},
    detector::{Detector, Totals},
    exceptions::{Entry, Exceptions, Kind as EntryKind, LONGEST_DAYS, Review},
    list::List,
    refusal::Refusal,
    replace::Replaced,
    restore::{Restored, Saved},
    rule::RuleInfo,
    ruleset::RuleSet,
    save::Change,
    severity::Severity,
    sources::{Expected, Heard, Listened, NumberCounts, SourceTotals, Watch, is_key_field as is_sequence_field},
    spec::{Mode, Status},
    stats::RuleStats,
};

/// Something wrong with a rule file, a list or a test, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File.
    pub path: String,
    /// Line and column from 1, where known.
    pub at: Option<(usize, usize)>,
    /// What is wrong, why, and how to mend it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// Bounds of a detector.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of state over all rules.
    pub state_bytes: usize,
    /// Lateness up to which events are judged.
    pub lateness: Duration,
}

/// A record to judge.
pub struct Input<'a> {
    /// Its chain.
    pub chain: &'a Arc<ChainId>,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds.
    pub timestamp: i64,
    /// Wall clock, milliseconds since 1970.
    pub now: i64,
    /// What became of it.
    pub outcome: &'a Outcome,
}

/// What a rule raised.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Rule id + ":" + 32 hexadecimal digits: does not depend on restarts.
    pub uid: String,
    /// Rule id.
    pub rule: String,
    /// The record whose judgement raised it.
    pub position: Position,
    /// Whether it goes to the alerts topic (mode live) or is only counted (mode shadow).
    pub live: bool,
    /// Whether it falls under a silence: it goes where it would go, and says that nobody need act on it.
    pub silenced: bool,
    /// Title, as the rule wrote it.
    pub title: String,
    /// Severity, as the rule judged it.
    pub severity: Severity,
    /// Fields of the rule's key, and what they hold.
    pub key: Vec<(String, String)>,
    /// The highest contributing record of each chain. After a restart a finding may have been published before only if
    /// all of these lie below what was done then: publish it again if one of them does not.
    pub reach: Vec<Position>,
    /// 0 for the finding itself, n when it is told again because its count has doubled for the nth time (`update_on`):
    /// an update has the id of the finding that it is about, and is none of its own.
    pub update: u8,
    /// OCSF 2004 (1.8.0), at most 256 KiB of JSON.
    pub ocsf: Vec<u8>,
}
