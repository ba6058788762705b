//! A Kafka record as it came, and what became of it: an event, a rejection or an opaque record.

use crate::event::{AuthEvent, Text};
use bytes::Bytes;

/// What the timestamp of a record means. The place is the number in `schemas/sealed_record.avsc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The broker gave none.
    #[default]
    None,
    /// Set by the producer.
    CreateTime,
    /// Set by the broker.
    LogAppendTime,
}

/// A header of a record: any bytes in both, as Kafka allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, not necessarily UTF-8.
    pub key: Bytes,
    /// The value.
    pub value: Option<Bytes>,
}

/// One Kafka message, byte for byte. Its topic and partition are told by whoever hands it on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRecord {
    /// Kafka offset.
    pub offset: i64,
    /// Milliseconds as Kafka gave them: any value.
    pub timestamp: i64,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// Key.
    pub key: Option<Bytes>,
    /// Headers, in order, repeated names included.
    pub headers: Vec<Header>,
    /// Value.
    pub value: Option<Bytes>,
}

impl RawRecord {
    /// Bytes of key, headers and value together.
    pub fn size(&self) -> usize {
        let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        of(&self.key) + of(&self.value) + self.headers.iter().map(|h| h.key.len() + of(&h.value)).sum::<usize>()
    }
}

/// Why a record is no event. Sealed, published to the dead-letter topic, and visible to rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// One of the codes listed in `decode::codes`.
    pub code: &'static str,
    /// What was wrong and where; never a piece of a withheld value.
    pub detail: String,
}

impl Rejection {
    /// A rejection with this code and detail.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// How much of a record is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The value alone: key and headers are kept.
    Value,
    /// Key, headers and value.
    Record,
}

/// Stands for what is not kept: raw biometrics, configured secrets, records too large to seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Why: `biometric`, `secret`, `keep_event`, `oversized`, `oversized_record` …
    pub code: &'static str,
    /// How many bytes are withheld.
    pub length: i64,
    /// HMAC-SHA-256 of the withheld bytes under a key that can be destroyed.
    pub mac: [u8; 32],
    /// How much of the record it stands for.
    pub scope: Scope,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It decoded and validated.
    Event(Box<AuthEvent>),
    /// It did not.
    Rejection(Rejection),
    /// It is sealed as it is: a tombstone, or of a topic configured so.
    Opaque,
}

/// A record's fate: what it is, and what of it must not be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Event, rejection or opaque.
    pub outcome: Outcome,
    /// What stands for the bytes that are not kept, if any.
    pub withheld: Option<Withheld>,
    /// The schema id that the record named, if it named one: goes with its dead letter.
    pub schema_id: Option<Text>,
}

/// Why the broker did not deliver a run of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapCause {
    /// Transaction markers, aborted and compacted records, in a topic declared so.
    NotDelivered,
    /// The same in a topic that should have none.
    Unexplained,
    /// Beyond the broker's log start: retention overtook the reader.
    Lost,
    /// Before the chain began.
    BeforeChain,
    /// By an operator, with a reason.
    Skipped,
}

impl GapCause {
    /// All causes, in the order of the manifest's `counts.gaps`.
    pub const ALL: [Self; 5] = [Self::NotDelivered, Self::Unexplained, Self::Lost, Self::BeforeChain, Self::Skipped];

    /// As written in the sealed record and in the manifest.
    pub fn name(self) -> &'static str {
        ["not_delivered", "unexplained", "lost", "before_chain", "skipped"][self as usize]
    }

    /// The cause of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A run of offsets that the broker did not deliver: `from` ≤ x < `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First offset.
    pub from: i64,
    /// First offset after it.
    pub to: i64,
    /// Why.
    pub cause: GapCause,
}
