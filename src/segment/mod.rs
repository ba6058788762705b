//! The sealed object: an Avro container file whose records are the leaves of a Merkle tree (docs/format.md).
//!
//! Writing: [`SegmentBuilder`] encodes, hashes and compresses leaves as they come ([`build`], [`encode`]), [`seal`]
//! decodes
//! them again and signs. Reading: [`frame`] splits the file, [`codec`] decompresses, [`schema`] says how a leaf is laid
//! out,
//! [`leaf`] checks one, [`check`] all of them; [`read`] gives them out. Writer and reader share no code above Avro's
//! varints.

use crate::{digest::Digest, manifest::*};
use bytes::Bytes;

mod build;
mod check;
mod codec;
mod diagnose;
mod encode;
mod frame;
mod leaf;
pub mod read;
mod restore;
mod schema;
mod seal;
#[cfg(test)]
mod tests;
mod typed;
mod without;

pub use crate::fault::Fault;
pub use build::SegmentBuilder;
pub use check::{open, open_header, open_note};
pub use diagnose::{Diagnosis, diagnose};
pub use encode::event as encode_event;
pub use leaf::LeafKind;
pub use schema::{schema_bytes, schema_digest};
pub use seal::{Unsigned, prepare, seal};
pub use typed::{SealedRecord, SealedRejection, SealedWithheld};
pub use without::without_record;

/// A block holds at most so many uncompressed bytes, or one record.
pub const MAX_BLOCK: usize = 1 << 20;
/// A segment holds at most so many uncompressed bytes.
pub const MAX_SEGMENT: usize = 64 << 20;
/// A longer value is withheld.
pub const MAX_VALUE: usize = 16 << 20;
/// A longer object is no segment.
pub const MAX_OBJECT: usize = 128 << 20;

/// How the blocks of a segment are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Codec {
    /// `zstandard`
    #[default]
    Zstandard,
    /// `deflate`
    Deflate,
    /// `snappy`
    Snappy,
    /// `null`
    Null,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Self; 4] = [Self::Zstandard, Self::Deflate, Self::Snappy, Self::Null];

    /// As written in `avro.codec`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstandard => "zstandard",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Null => "null",
        }
    }

    /// The codec of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// A segment that is complete but not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// All blocks, everything after the header's sync marker.
    pub body: Vec<u8>,
    /// How they are compressed.
    pub codec: Codec,
    /// RFC 6962 root over the leaves.
    pub root: Digest,
    /// The offsets covered.
    pub offsets: Offsets,
    /// What it holds.
    pub counts: Counts,
    /// Minima and maxima; `sealed` is still 0.
    pub times: Times,
}

impl Draft {
    /// Length and digest of the body, as the manifest tells them.
    pub fn body(&self) -> Body {
        Body::of(&self.body)
    }
}

/// A segment that is signed.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The object, byte for byte.
    pub bytes: Bytes,
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256(0x00 ‖ manifest line): what the next manifest names as previous.
    pub hash: Digest,
}

/// A segment whose signature and contents agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The manifest, verified.
    pub manifest: Manifest,
    /// SHA-256(0x00 ‖ manifest line).
    pub hash: Digest,
    /// The key id (hex) that signed it.
    pub signed_by: String,
}
