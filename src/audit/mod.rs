//! Auditing: what anyone can check with the store and a public key alone. It reads, and never writes.
//!
//! ```text
//! tlog ── what the log has ──┐      (anchors ── who else has seen it)
//! inventory ── chains ──▶ walk (one a chain, in sequence order) ──▶ cross (between chains) ──▶ Report
//!                           └─ examine (one segment, on a blocking thread)
//! ```
//!
//! [`prove`] takes one record out, with what proves it.
//!
//! [`verify`] answers four questions (`docs/verify.md`): is what lies there what was sealed, is it all there, is it
//! recent, is it locked. Whatever it cannot tell is a failure, never a pass.

mod anchors;
mod artifacts;
mod codes;
mod cross;
mod examine;
mod findings;
mod folder;
mod inventory;
mod key_rules;
mod logged;
mod protect;
pub mod prove;
mod read;
mod report;
mod since;
mod text;
mod tiles;
mod tlog;
mod verify;
mod walk;

pub use codes::{CODES, Code};
pub use report::{
    AnchorReport, Behind, BucketReport, ChainReport, Finding, FindingCounts, FreshnessReport, LogReport, Place,
    ProtectionReport, Range, Report, Severity, Totals, Verdict, Verdicts, exit,
};
pub use since::{Expected, Since, SinceReport};
pub use verify::verify;

use crate::tlog::{Policy, stamp::Authorities};
use std::sync::{Arc, atomic::AtomicU64};

/// Whether a chain that missed its `next_by` makes the audit fail. A copy that is checked months later is stale by
/// nature, so that somebody has to ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// Say so, and do not fail.
    #[default]
    Tell,
    /// Fail when the promise of a chain (`next_by`) has passed.
    Promised,
    /// Fail when the newest segment of a chain is older than so many milliseconds.
    MaxAge(i64),
}

/// Who is believed beside the log's key, and what is demanded of them.
#[derive(Debug, Clone, Default)]
pub struct AnchorOptions {
    /// Which witnesses are believed, and which of them are enough. Without one nobody is.
    pub policy: Option<Arc<Policy>>,
    /// Whose stamps are believed. Without them the signatures of stamps are not looked at.
    pub authorities: Option<Arc<Authorities>>,
    /// A log that no quorum of the policy has cosigned is a failure.
    pub require_witnessed: bool,
    /// A log without a stamp by one of the authorities is a failure.
    pub require_stamped: bool,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Segments that are held in memory and checked at the same time; at least 1.
    pub jobs: usize,
    /// Milliseconds since 1970: what "late" is measured against.
    pub now: i64,
    /// What to do about chains that are late.
    pub freshness: Freshness,
    /// Findings listed in the report; all are counted.
    pub max_findings: usize,
    /// Whether there must be a log: then its absence is a failure.
    pub require_log: bool,
    /// A checkpoint that was kept elsewhere: the log must go on from it.
    pub checkpoint: Option<String>,
    /// Who is believed beside the log's key, and what is demanded of them.
    pub anchors: AnchorOptions,
    /// From where on chains are looked at.
    pub since: Since,
    /// Topics whose chains must be there.
    pub expect: Vec<Expected>,
    /// Milliseconds for which each object must be locked, from its sealing on.
    pub require_retention: Option<i64>,
    /// Where to count what is done, for a progress bar.
    pub progress: Option<Arc<Progress>>,
}

impl VerifyOptions {
    /// As many jobs as the machine has processors, freshness told but not enforced, 1,000 findings listed.
    pub fn new(now: i64) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            jobs,
            now,
            freshness: Freshness::Tell,
            max_findings: 1000,
            require_log: false,
            checkpoint: None,
            anchors: AnchorOptions::default(),
            since: Since::Beginning,
            expect: Vec::new(),
            require_retention: None,
            progress: None,
        }
    }
}

/// How far an audit is. The totals grow while the store is listed; read them with `Ordering::Relaxed`.
#[derive(Debug, Default)]
pub struct Progress {
    /// Chains found so far.
    pub chains: AtomicU64,
    /// Chains that are done.
    pub chains_done: AtomicU64,
    /// Segments listed so far.
    pub segments: AtomicU64,
    /// Segments that are checked.
    pub segments_done: AtomicU64,
    /// Leaves in them.
    pub records: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
}
