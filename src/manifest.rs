//! The manifest: the signed summary of a segment. One line of canonical JSON (docs/format.md).

use crate::{
    canonical,
    digest::Digest,
    error::{Error, Result},
    fault::{Fault, code},
    position::ChainId,
    record::GapCause,
    retention::Retention,
};
use serde::{Deserialize, Serialize};

mod check;
#[cfg(test)]
mod tests;

/// `format` of this manifest.
pub const FORMAT: &str = "authseal/segment@1";
/// A manifest line is at most this long, its newline included.
pub const MAX_LINE: usize = 4096;

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// It holds leaves.
    Data,
    /// It holds none: the chain is alive and nothing came.
    Heartbeat,
    /// The topic is gone for good.
    Close,
}

/// Why a chain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartReason {
    /// The first incarnation.
    New,
    /// Opened by `authseal chain reset`.
    Reset,
}

/// At sequence 0: why the chain begins and what was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// New, or reset.
    pub reason: StartReason,
    /// In words.
    pub detail: String,
    /// Hash of the last manifest of the incarnation before.
    pub previous: Option<Digest>,
}

/// Half-open: `from` ≤ offset < `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsets {
    /// First offset.
    pub from: i64,
    /// First offset after it.
    pub to: i64,
}

/// Offsets in gaps, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // see record::GapCause
pub struct GapCounts {
    pub not_delivered: i64,
    pub unexplained: i64,
    pub lost: i64,
    pub before_chain: i64,
    pub skipped: i64,
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Leaves, gap leaves included.
    pub records: i64,
    /// Leaves that are events.
    pub events: i64,
    /// Leaves that are rejections.
    pub rejections: i64,
    /// Leaves that are opaque.
    pub opaque: i64,
    /// Offsets in gaps.
    pub gaps: GapCounts,
}

/// Everything after the sync marker of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Its length.
    pub bytes: i64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Milliseconds since 1970: smallest and largest, null where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Smallest event time, rounded down to milliseconds.
    pub first_event: Option<i64>,
    /// Largest event time, rounded down to milliseconds.
    pub last_event: Option<i64>,
    /// Smallest record timestamp.
    pub first_record: Option<i64>,
    /// Largest record timestamp.
    pub last_record: Option<i64>,
    /// When it was sealed; greater than the previous one's.
    pub sealed: i64,
}

/// What the broker said when the segment was sealed; null where unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Kafka's cluster id.
    pub cluster_id: Option<String>,
    /// Kafka's topic id (base64 of a UUID, as Kafka prints it).
    pub topic_id: Option<String>,
    /// Partitions of the topic.
    pub partitions: Option<i64>,
    /// Leader epoch of the last record sealed.
    pub leader_epoch: Option<i64>,
    /// First offset that the broker still has.
    pub log_start: Option<i64>,
    /// Last stable offset.
    pub last_stable: Option<i64>,
    /// High watermark.
    pub high_watermark: Option<i64>,
}

/// Digests of what was in force: see `artifact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// The rule set loaded by the sealing process; null without one.
    pub rules: Option<Digest>,
    /// Schemas and mappings.
    pub decode: Option<Digest>,
}

/// Who sealed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    /// Version of authseal.
    pub version: String,
    /// Configured name of the instance.
    pub instance: String,
}

/// The signed summary of a segment. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// As in store.json.
    pub origin: String,
    /// Which chain.
    pub chain: ChainId,
    /// 0, 1, 2 …
    pub sequence: u64,
    /// SHA-256(0x00 ‖ previous manifest line with its newline); null at sequence 0.
    pub previous: Option<Digest>,
    /// At sequence 0, else null.
    pub start: Option<Start>,
    /// What the segment is for.
    pub kind: SegmentKind,
    /// The offsets it covers.
    pub offsets: Offsets,
    /// What it holds.
    pub counts: Counts,
    /// RFC 6962 root over the leaves.
    pub root: Digest,
    /// The bytes that hold them.
    pub body: Body,
    /// SHA-256 of the `avro.schema` bytes.
    pub schema: Digest,
    /// When.
    pub times: Times,
    /// A promise: the next segment of this chain is sealed by then. Milliseconds since 1970.
    pub next_by: i64,
    /// What the broker said.
    pub broker: Broker,
    /// What was in force.
    pub artifacts: Artifacts,
    /// Who sealed it.
    pub writer: Writer,
    /// How it is locked.
    pub retention: Retention,
    /// Digest of a search index kept in a later format, else null.
    pub index: Option<Digest>,
}

impl GapCounts {
    /// In the order of [`crate::record::GapCause::ALL`].
    pub fn all(&self) -> [i64; 5] {
        [self.not_delivered, self.unexplained, self.lost, self.before_chain, self.skipped]
    }

    /// The count of one cause.
    pub fn of_mut(&mut self, cause: GapCause) -> &mut i64 {
        match cause {
            GapCause::NotDelivered => &mut self.not_delivered,
            GapCause::Unexplained => &mut self.unexplained,
            GapCause::Lost => &mut self.lost,
            GapCause::BeforeChain => &mut self.before_chain,
            GapCause::Skipped => &mut self.skipped,
        }
    }
}

impl Body {
    /// What a manifest says of these bytes.
    pub fn of(body: &[u8]) -> Self {
        Self { bytes: i64::try_from(body.len()).unwrap_or(i64::MAX), sha256: Digest::of(body) }
    }
}

impl Manifest {
    /// The canonical line, its newline included: what is signed and hashed. An error says which value has no place in a
    /// manifest.
    pub fn line(&self) -> Result<String> {
        check::values(self).map_err(|f| Error::data(format!("the manifest contradicts itself: {}", f.detail)))?;
        canonical::line(self, MAX_LINE).map_err(|e| e.context("the manifest"))
    }

    /// Reads a line, and nothing but what [`Manifest::line`] writes.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let codes = canonical::Codes { form: code::MANIFEST_FORM, unknown_field: code::MANIFEST_UNKNOWN_FIELD };
        let manifest: Self = canonical::parse(line, MAX_LINE, codes)?;
        check::values(&manifest)?;
        Ok(manifest)
    }

    /// The hash of a line, its newline included: SHA-256(0x00 ‖ line). The next manifest of the chain names it as
    /// `previous`.
    pub fn hash_of(line: &str) -> Digest {
        Digest::leaf(line.as_bytes())
    }
}
