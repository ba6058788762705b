//! What a verifier says when stored bytes are not what they should be: a reason code for programs, a place, words for
//! people.

use std::fmt;

/// What is wrong with a stored object: a reason code, the place, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Reason code: one of [`code`].
    pub code: &'static str,
    /// The Kafka offset of the record at fault (of a range, its first), where it is known.
    pub offset: Option<i64>,
    /// In words.
    pub detail: String,
}

impl Fault {
    /// A fault whose place is the whole object.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, offset: None, detail: detail.into() }
    }

    /// A fault at a record, or at a range that begins there.
    pub fn at(code: &'static str, offset: i64, detail: impl Into<String>) -> Self {
        Self { code, offset: Some(offset), detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at offset {offset}: {}", self.code, self.detail),
            None => write!(f, "{}: {}", self.code, self.detail),
        }
    }
}

impl std::error::Error for Fault {}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// The reason codes of one segment, and of its place in a chain. docs/format.md lists them; they are part of
        /// the format.
        pub mod code {
            $($(#[doc = $doc])+ pub const $name: &str = $text;)+

            /// Every code with its meaning, in the order in which a verifier comes to them.
            pub const ALL: &[(&str, &str)] = &[$(($text, concat!($($doc),+).trim_ascii_start())),+];
        }
    };
}

codes! {
    /// The object is not an Avro container file, or it is larger than a segment can be.
    NOT_A_SEGMENT = "not_a_segment";
    /// The header is not exactly avro.codec, avro.schema and authseal.manifest, in this order, in one map block of at
    /// most 128 KiB.
    HEADER_FORM = "header_form";
    /// authseal.manifest is not a signed note with exactly one signature.
    NOTE_FORM = "note_form";
    /// The note is signed by a key that the verifier was not given.
    UNKNOWN_KEY = "unknown_key";
    /// The signature of a known key does not verify.
    SIGNATURE = "signature";
    /// The manifest is not one canonical line, or its values contradict each other.
    MANIFEST_FORM = "manifest_form";
    /// The manifest has a field that authseal/segment@1 does not know.
    MANIFEST_UNKNOWN_FIELD = "manifest_unknown_field";
    /// The name of the signing key is not the manifest's origin followed by /seal.
    KEY_NAME = "key_name";
    /// SHA-256 of avro.schema is not the manifest's schema.
    SCHEMA_DIGEST = "schema_digest";
    /// avro.schema is not a schema of authseal.SealedRecord.
    SCHEMA_FORM = "schema_form";
    /// A sync marker is not the first 16 bytes of SHA-256(avro.schema, root).
    SYNC_MARKER = "sync_marker";
    /// The body is longer or shorter than the manifest says.
    BODY_LENGTH = "body_length";
    /// The SHA-256 of the body is not the manifest's.
    BODY_DIGEST = "body_digest";
    /// A block is not framed as it should be: count, size, or bytes left over.
    BLOCK_FORM = "block_form";
    /// The codec is unknown, or a block does not decompress under the limits of the format.
    CODEC = "codec";
    /// A leaf is not the one canonical encoding of a sealed record.
    LEAF_FORM = "leaf_form";
    /// The leaves do not cover the manifest's offsets one after the other.
    OFFSETS = "offsets";
    /// The leaves are not as many of each kind as the manifest says.
    COUNTS = "counts";
    /// The smallest and largest times of the leaves are not the manifest's.
    TIMES = "times";
    /// The Merkle root over the leaves is not the manifest's.
    ROOT = "root";
    /// The segment is of another origin than its chain.
    ORIGIN = "origin";
    /// The manifest names another chain than the one that it lies in.
    CHAIN_ID = "chain_id";
    /// There is a segment after the one that closed the chain.
    AFTER_CLOSE = "after_close";
    /// The sequence is not one more than that of the segment before.
    SEQUENCE = "sequence";
    /// previous is not the hash of the manifest before.
    PREVIOUS = "previous";
    /// start is set behind sequence 0, or missing at sequence 0.
    START = "start";
    /// Offsets are missing between this segment and the one before.
    OFFSETS_GAP = "offsets_gap";
    /// Offsets are covered by this segment and by one before.
    OFFSETS_OVERLAP = "offsets_overlap";
    /// The segment was not sealed later than the one before.
    SEALED_TIME = "sealed_time";
    /// The Kafka cluster id is another one than before.
    CLUSTER_CHANGED = "cluster_changed";
    /// The topic id is another one than before.
    TOPIC_CHANGED = "topic_changed";
    /// store.json or an artifact bundle is not of the form that docs/format.md describes.
    FORMAT = "format";
    /// A batch or a checkpoint of the log is not a signed note of the form that docs/format.md describes.
    LOG_FORM = "log_form";
    /// A batch or a checkpoint of the log is signed by a key that the verifier was not given, or that has another name
    /// than the log.
    LOG_UNKNOWN_KEY = "log_unknown_key";
    /// The signature of a batch or a checkpoint of the log does not verify.
    LOG_SIGNATURE = "log_signature";
    /// A batch does not follow the one before: its number or previous is another.
    LOG_PREVIOUS = "log_previous";
    /// first or root of a batch do not follow from the entries up to it.
    LOG_ROOT = "log_root";
    /// An entry of the log is not one canonical line of its format.
    LOG_ENTRY = "log_entry_form";
    /// The manifests of a chain do not stand in the log in the order of their sequences, without a hole, each once.
    LOG_ORDER = "log_order";
    /// The signature of a witness that is known does not fit the checkpoint that it stands on.
    COSIGNATURE = "cosignature";
    /// A stamp is not an answer of RFC 3161 that grants one.
    STAMP_FORM = "stamp_form";
    /// A stamp is about something else than the checkpoint beside it.
    STAMP_IMPRINT = "stamp_imprint";
    /// The signature of a stamp does not fit.
    STAMP_SIGNATURE = "stamp_signature";
    /// The certificate of a stamp is not one for stamps, or leads to none that the verifier was given.
    STAMP_UNTRUSTED = "stamp_untrusted";
    /// An authseal/key@1 entry has no effect: it is not signed as it must be, or contradicts those before it.
    KEY_ENTRY = "key_entry";
    /// A segment, batch or checkpoint is signed by a key that the log introduced only behind it.
    KEY_NOT_INTRODUCED = "key_not_introduced";
    /// A segment, batch or checkpoint is signed by a key that the log retired before it.
    KEY_RETIRED = "key_retired";
    /// An authseal/disposal@1 entry has no effect: what it names was not logged, not past its date, held, or the
    /// newest of its chain.
    DISPOSAL_ENTRY = "disposal_entry";
}
