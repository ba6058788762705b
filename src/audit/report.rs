//! What an audit found. The JSON shape is documented in `docs/verify.md` and only grows.

use super::{
    codes::{self, Code},
    since::SinceReport,
};
use crate::{
    digest::Digest,
    manifest::{Counts, GapCounts, Offsets},
    position::ChainId,
};
use serde::{Serialize, Serializer};

/// Exit codes of `authseal verify`; the first that applies, in this order.
pub mod exit {
    /// Everything that was asked for holds.
    pub const GOOD: u8 = 0;
    /// Something is not what was sealed.
    pub const TAMPERED: u8 = 10;
    /// Something is not there.
    pub const INCOMPLETE: u8 = 11;
    /// Something is not locked, or shadowed.
    pub const UNPROTECTED: u8 = 13;
    /// A chain is late, and it was asked for.
    pub const STALE: u8 = 12;
}

/// The four questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Is what lies there what was sealed?
    Integrity,
    /// Is all of it there?
    Completeness,
    /// Is it locked, and nothing in front of it?
    Protection,
    /// Is it recent?
    Freshness,
}

impl Verdict {
    /// The exit code of its failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Integrity => exit::TAMPERED,
            Self::Completeness => exit::INCOMPLETE,
            Self::Protection => exit::UNPROTECTED,
            Self::Freshness => exit::STALE,
        }
    }

    /// As in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Completeness => "completeness",
            Self::Protection => "protection",
            Self::Freshness => "freshness",
        }
    }
}

/// Whether a finding fails its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Failure,
    /// It does not, but somebody should know.
    Notice,
}

/// Half-open: `from` ≤ x < `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Range<T> {
    /// The first.
    pub from: T,
    /// The first after it; null where it is not known.
    pub to: Option<T>,
}

/// Where a finding is; null where it does not apply or cannot be known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Place {
    /// The chain, cluster/topic/partition/incarnation.
    #[serde(serialize_with = "as_text")]
    pub chain: Option<ChainId>,
    /// Its place in the chain; of several, the first.
    pub sequence: Option<u64>,
    /// All of them, where there are several.
    pub sequences: Option<Range<u64>>,
    /// The one record at fault.
    pub offset: Option<i64>,
    /// The offsets among which the fault lies.
    pub offsets: Option<Range<i64>>,
    /// The object.
    pub key: Option<String>,
}

fn as_text<S: Serializer>(chain: &Option<ChainId>, serializer: S) -> Result<S::Ok, S::Error> {
    match chain {
        Some(chain) => serializer.collect_str(chain),
        None => serializer.serialize_none(),
    }
}

impl Place {
    /// An object that is in no chain.
    pub fn object(key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// A whole chain.
    pub fn chain(chain: &ChainId) -> Self {
        Self { chain: Some(chain.clone()), ..Self::default() }
    }

    /// A segment: its key is given because a broken store may hold it under another than it should.
    pub fn segment(chain: &ChainId, sequence: u64, key: impl Into<String>) -> Self {
        Self { sequence: Some(sequence), key: Some(key.into()), ..Self::chain(chain) }
    }

    /// The same, at one record.
    #[must_use]
    pub fn at(mut self, offset: Option<i64>) -> Self {
        self.offset = offset;
        self
    }

    /// The same, among these offsets.
    #[must_use]
    pub fn among(mut self, offsets: Offsets) -> Self {
        self.offsets = Some(Range { from: offsets.from, to: Some(offsets.to) });
        self
    }

    /// The record at fault, as it is written everywhere.
    pub fn position(&self) -> Option<String> {
        Some(self.chain.as_ref()?.at(self.offset?).to_string())
    }
}

/// One thing that is wrong, or that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means and what to do.
    pub code: &'static Code,
    /// The code as the checker gave it: differs from `code.code` only for codes that this version does not know.
    pub name: &'static str,
    /// Where.
    pub place: Place,
    /// Of several findings of one segment, the order of the checks.
    pub order: u32,
    /// Whether the chain breaks here first: what comes after it may follow from it.
    pub first_break: bool,
    /// In words.
    pub detail: String,
}

impl Finding {
    /// A finding of this code.
    pub fn new(code: &'static str, place: Place, detail: impl Into<String>) -> Self {
        Self { code: codes::lookup(code), name: code, place, order: 0, first_break: false, detail: detail.into() }
    }

    /// Whether it fails a verdict.
    pub fn is_failure(&self) -> bool {
        self.code.severity == Severity::Failure
    }

    /// By what it means for the verdicts, then by place: the order of the report.
    pub(super) fn rank(&self) -> impl Ord + '_ {
        let Place { chain, sequence, .. } = &self.place;
        (self.code.severity, self.code.verdict, chain, sequence, self.order, &self.place, self.name, &self.detail)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            code: &'a str,
            severity: Severity,
            verdict: Verdict,
            #[serde(flatten)]
            place: &'a Place,
            position: Option<String>,
            first_break: bool,
            detail: &'a str,
            advice: &'a str,
        }
        Shape {
            code: self.name,
            severity: self.code.severity,
            verdict: self.code.verdict,
            place: &self.place,
            position: self.place.position(),
            first_break: self.first_break,
            detail: &self.detail,
            advice: self.code.advice,
        }
        .serialize(serializer)
    }
}

/// The answers, each `good`, `not_checked`, or the word for its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// `good` or `tampered`.
    pub integrity: &'static str,
    /// `good` or `incomplete`.
    pub completeness: &'static str,
    /// `good`, `stale`, or `not_checked` when no chain says when it is due.
    pub freshness: &'static str,
    /// `good`, `unprotected`, `unlocked` where a lock was not promised for everything, or `not_checked` where promised
    /// locks cannot be read: in a directory.
    pub protection: &'static str,
}

/// What is known of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ProtectionReport {
    /// What was asked for: how long each object must be locked from its sealing on, milliseconds.
    pub required: Option<i64>,
    /// Segments, batches and artifacts that should be locked, by the manifests that are in them or name them; kept
    /// checkpoints and stamps, by the batches.
    pub promised: u64,
    /// Objects locked in mode COMPLIANCE.
    pub compliance: u64,
    /// Objects locked in mode GOVERNANCE.
    pub governance: u64,
    /// Objects without a lock.
    pub unlocked: u64,
    /// Objects whose lock should have been read and could not.
    pub unknown: u64,
    /// Objects under legal hold, as far as the store tells.
    pub holds: u64,
    /// The end of the lock that ends first, milliseconds since 1970.
    pub until: Option<i64>,
    /// Requests that were made for locks alone: most stores tell them along with the bytes.
    pub requests: u64,
    /// What the bucket says of itself; null where there is none.
    pub bucket: Option<BucketReport>,
}

impl ProtectionReport {
    /// Adds what was counted elsewhere.
    pub(super) fn add(&mut self, more: &Self) {
        self.promised += more.promised;
        self.compliance += more.compliance;
        self.governance += more.governance;
        self.unlocked += more.unlocked;
        self.unknown += more.unknown;
        self.holds += more.holds;
        self.until = [self.until, more.until].into_iter().flatten().min();
    }

    /// Counts what was added since `before` so many times.
    pub(super) fn times(&mut self, before: &Self, n: u64) {
        let scale = |now: &mut u64, before: u64| *now = before + (*now - before) * n;
        scale(&mut self.promised, before.promised);
        scale(&mut self.compliance, before.compliance);
        scale(&mut self.governance, before.governance);
        scale(&mut self.unlocked, before.unlocked);
        scale(&mut self.unknown, before.unknown);
        scale(&mut self.holds, before.holds);
    }
}

/// The settings of a bucket, each `yes`, `no` or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BucketReport {
    /// Whether it keeps all versions of a key.
    pub versioning: &'static str,
    /// Whether Object Lock is enabled.
    pub object_lock: &'static str,
    /// Whether it locks what did not ask for it.
    pub default_retention: &'static str,
    /// Whether it has lifecycle rules that delete evidence.
    pub expiry_rules: &'static str,
}

/// How recent the chains are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FreshnessReport {
    /// Whether being late fails the audit.
    pub enforced: bool,
    /// The age that was asked for, milliseconds.
    pub max_age: Option<i64>,
    /// When the newest segment of all chains was sealed, milliseconds since 1970.
    pub last_sealed: Option<i64>,
    /// The earliest promise among the chains that are alive, milliseconds since 1970.
    pub next_by: Option<i64>,
    /// Chains that are late.
    pub stale_chains: u64,
    /// Whether the log is late: what its newest checkpoint covers is too old.
    pub stale_log: bool,
}

/// What the broker had, when a chain's newest segment was sealed, that was not sealed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Sealed up to here: `offsets.to`.
    pub sealed_to: i64,
    /// The broker had offsets up to here: its last stable offset, else its high watermark.
    pub known_to: i64,
    /// The difference, at least 0.
    pub offsets: i64,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Which, cluster/topic/partition/incarnation.
    #[serde(serialize_with = "id_as_text")]
    pub chain: ChainId,
    /// Segments at its beginning that were not looked at, because only newer ones were asked for.
    pub passed: u64,
    /// Objects under keys of segments.
    pub segments: u64,
    /// Those without a fault of their own.
    pub verified: u64,
    /// The sequences present: the first, and the one after the last.
    pub sequences: Option<Range<u64>>,
    /// The offsets that signed manifests in their place cover, from the first to the last.
    pub offsets: Option<Offsets>,
    /// What the verified segments hold.
    pub counts: Counts,
    /// Bytes of the objects read.
    pub bytes: u64,
    /// Hash of its newest manifest that can be trusted: compare it with that of an earlier or later report.
    pub head: Option<Digest>,
    /// When that was sealed, milliseconds since 1970.
    pub last_sealed: Option<i64>,
    /// When the next is due by its own promise; null when it is closed or superseded.
    pub next_by: Option<i64>,
    /// Whether it is late.
    pub stale: bool,
    /// Whether its newest segment says that the topic is gone for good.
    pub closed: bool,
    /// Whether another incarnation took its place.
    pub superseded: bool,
    /// What was known to the broker and not sealed.
    pub behind: Option<Behind>,
    /// Ids of the keys that signed its segments.
    pub signed_by: Vec<String>,
    /// Where it breaks first, if it does.
    pub first_break: Option<Finding>,
}

fn id_as_text<S: Serializer>(chain: &ChainId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(chain)
}

/// What was checked, all chains together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Chains.
    pub chains: u64,
    /// Objects under keys of segments.
    pub segments: u64,
    /// Those without a fault of their own: what follows counts their contents.
    pub verified: u64,
    /// Leaves.
    pub records: i64,
    /// Of these, events.
    pub events: i64,
    /// Of these, rejections.
    pub rejections: i64,
    /// Of these, opaque records.
    pub opaque: i64,
    /// Offsets in gaps, by cause.
    pub gaps: GapCounts,
    /// Artifacts whose bytes were compared with their name.
    pub artifacts: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, chain: &ChainReport) {
        self.chains += 1;
        self.segments += chain.segments;
        self.verified += chain.verified;
        self.bytes += chain.bytes;
        self.records += chain.counts.records;
        self.events += chain.counts.events;
        self.rejections += chain.counts.rejections;
        self.opaque += chain.counts.opaque;
        add_gaps(&mut self.gaps, &chain.counts.gaps);
    }
}

/// Saturating: the numbers are signed, but by whom is another question.
pub(super) fn add_counts(to: &mut Counts, counts: &Counts) {
    to.records = to.records.saturating_add(counts.records);
    to.events = to.events.saturating_add(counts.events);
    to.rejections = to.rejections.saturating_add(counts.rejections);
    to.opaque = to.opaque.saturating_add(counts.opaque);
    add_gaps(&mut to.gaps, &counts.gaps);
}

fn add_gaps(to: &mut GapCounts, gaps: &GapCounts) {
    to.not_delivered = to.not_delivered.saturating_add(gaps.not_delivered);
    to.unexplained = to.unexplained.saturating_add(gaps.unexplained);
    to.lost = to.lost.saturating_add(gaps.lost);
    to.before_chain = to.before_chain.saturating_add(gaps.before_chain);
    to.skipped = to.skipped.saturating_add(gaps.skipped);
}

/// The transparency log, as far as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogReport {
    /// Batches that are signed and of their form.
    pub batches: u64,
    /// Entries in them, up to the first batch that cannot be trusted.
    pub entries: u64,
    /// RFC 6962 root over them; null if a batch is missing or cannot be trusted.
    pub root: Option<Digest>,
    /// The size that the store's checkpoint says.
    pub checkpoint: Option<u64>,
    /// The size of the checkpoint that it was compared with.
    pub pinned: Option<u64>,
    /// Entries of a format that this version does not know.
    pub unknown: u64,
    /// Segments that are not in the log, and need not be yet.
    pub pending: u64,
    /// Segments that should be in the log, and are not.
    pub unlogged: u64,
    /// When the newest entry was made that the store's checkpoint covers, milliseconds since 1970.
    pub newest: Option<i64>,
    /// Who else has seen it.
    pub anchors: AnchorReport,
}

/// Who else has seen the log, as far as was checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AnchorReport {
    /// `unwitnessed`, `witnessed`, `stamped`, `witnessed+stamped`.
    pub grade: &'static str,
    /// The largest size that a quorum of the policy has cosigned; null: none.
    pub witnessed: Option<u64>,
    /// When the last of these cosigned it, milliseconds since 1970.
    pub witnessed_at: Option<i64>,
    /// Who cosigned the newest cosigned checkpoint that was looked at, quorum or not: key name + id.
    pub cosigned_by: Vec<String>,
    /// The largest size that an authority which was given has stamped; null: none.
    pub stamped: Option<u64>,
    /// When it was stamped, milliseconds since 1970.
    pub stamped_at: Option<i64>,
    /// Who stamped it: the subject of its certificate.
    pub stamped_by: Option<String>,
    /// Stamps that are about a checkpoint of this log, whoever signed them.
    pub stamps: u64,
}

/// How many findings there are, listed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FindingCounts {
    /// Those that fail integrity.
    pub integrity: u64,
    /// Those that fail completeness.
    pub completeness: u64,
    /// Those that fail protection.
    pub protection: u64,
    /// Chains that are late, where that was asked for.
    pub freshness: u64,
    /// Those that fail nothing.
    pub notices: u64,
    /// Findings in the list.
    pub listed: u64,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `authseal/verify@1`
    pub format: &'static str,
    /// Version of the authseal that checked.
    pub version: &'static str,
    /// The store, as people call it.
    pub store: String,
    /// The origin that store.json names.
    pub origin: Option<String>,
    /// Names and ids of the keys that could have signed.
    pub keys: Vec<String>,
    /// What "late" was measured against, milliseconds since 1970.
    pub now: i64,
    /// As in [`exit`].
    pub exit_code: u8,
    /// The answers.
    pub verdicts: Verdicts,
    /// What was checked.
    pub totals: Totals,
    /// How recent it is.
    pub freshness: FreshnessReport,
    /// What is known of locks.
    pub protection: ProtectionReport,
    /// The log; null if there is none, or if it could not be checked.
    pub log: Option<LogReport>,
    /// Every chain, sorted.
    pub chains: Vec<ChainReport>,
    /// How many findings there are.
    pub finding_counts: FindingCounts,
    /// Failures first, by verdict and place.
    pub findings: Vec<Finding>,
    /// What was not looked at.
    pub since: SinceReport,
    /// What this verdict does not cover.
    pub limits: Vec<String>,
}

impl Report {
    /// The process's exit code: see [`exit`].
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// The report as one JSON document, indented, with a newline at its end.
    pub fn to_json(&self) -> crate::error::Result<String> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| crate::error::Error::new(crate::error::Kind::Bug, "writing the report").caused_by(e))?;
        text.push('\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_the_documented_shape() {
        let chain = ChainId { cluster: "main".into(), topic: "auth".into(), partition: 2, incarnation: 0 };
        let finding = Finding::new("segment_misplaced", Place::segment(&chain, 5, "k").at(Some(7)), "d");
        let json = serde_json::to_value(&finding).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected = [
            "code",
            "severity",
            "verdict",
            "chain",
            "sequence",
            "sequences",
            "offset",
            "offsets",
            "key",
            "position",
            "first_break",
            "detail",
            "advice",
        ];
        assert_eq!(keys, expected);
        assert_eq!(json["position"], "main/auth/2/0@7");
        assert_eq!(json["chain"], "main/auth/2/0");
        assert_eq!(json["sequences"], serde_json::Value::Null);
    }

    #[test]
    fn failures_come_before_notices_and_tampering_before_the_rest() {
        let mut findings = [
            Finding::new("gap_skipped", Place::object("a"), ""),
            Finding::new("missing_segment", Place::object("a"), ""),
            Finding::new("segment_misplaced", Place::object("b"), ""),
            Finding::new("segment_misplaced", Place::object("a"), ""),
            Finding::new("shadow_version", Place::object("a"), ""),
        ];
        findings.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let order: Vec<&str> = findings.iter().map(|f| f.name).collect();
        assert_eq!(
            order,
            ["segment_misplaced", "segment_misplaced", "missing_segment", "shadow_version", "gap_skipped"]
        );
        assert_eq!(findings[0].place.key.as_deref(), Some("a"));
    }
}
