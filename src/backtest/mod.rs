//! Backtesting: what rules would have found in records of the past, with all the state that they would have had.
//!
//! ```text
//! one thread a lane ── batches, bounded ──▶ merge by record time ──▶ Detector ──▶ Report
//! (partition, or file)
//! ```
//!
//! A lane reads, decompresses and decodes ahead of the merge, so that this is done in parallel; it holds two segments
//! and a few batches, whatever the store holds. The wall clock of the detector is the time of the record that is
//! judged, so that windows, lateness and judgements that wait are those of a run at the time.

mod feed;
mod ndjson;
mod report;
mod run;
mod segments;
#[cfg(test)]
mod tests;

pub use feed::{Feed, Record};
pub use ndjson::{Reading, lines, of_lines};
pub use report::{FindingSample, Report, RuleReport};
pub use run::run;
pub use segments::of_store;

use crate::detect::Limits;
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

/// How to backtest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds of the detector.
    pub limits: Limits,
    /// Findings whose last event is before this are not told: milliseconds since 1970.
    pub from: Option<i64>,
    /// Records after this are not judged: milliseconds since 1970.
    pub to: Option<i64>,
    /// Where to count what is done, for a progress bar.
    pub progress: Arc<Progress>,
}

/// How far a backtest is. Read it with `Ordering::Relaxed`.
#[derive(Debug, Default)]
pub struct Progress {
    /// Segments or files found so far.
    pub sources: AtomicU64,
    /// Those that are read.
    pub sources_done: AtomicU64,
    /// Records judged.
    pub records: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
}

/// Records that are judged before `from`, so that windows are whole there: `horizon` and the lateness earlier.
pub fn warm_from(from: Option<i64>, horizon: Duration, limits: &Limits) -> Option<i64> {
    let back = horizon.saturating_add(limits.lateness).as_millis();
    from.map(|from| from.saturating_sub(i64::try_from(back).unwrap_or(i64::MAX)))
}
