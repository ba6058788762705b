//! What proves a record inside of its segment, as bytes: one canonical line with the sizes of what follows it, then the
//! signed manifest, the schema and the record, each as it was sealed, and a time stamp if there is one. So `head -n 1`
//! and `tail -c` take it apart.

use super::code;
use crate::{
    canonical,
    digest::Digest,
    error::{Error, Result},
    fault::Fault,
    segment::MAX_SEGMENT,
    tlog::stamp,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// `format` of the first line.
pub const FORMAT: &str = "authseal/proof@1";
/// The first line is at most this long, its newline included.
const MAX_LINE: usize = 4096;
/// A path is never longer: a tree of 2^63 leaves has no more levels.
pub(super) const MAX_PATH: usize = 63;
/// A signed manifest is at most this long: 4,096 bytes of line, an empty line, one signature line.
const MAX_NOTE: usize = 8192;
/// A schema is at most this long: it stood in a header of this size.
const MAX_SCHEMA: usize = 128 << 10;
/// All of it is at most this long.
pub(super) const MAX_PART: usize = MAX_LINE + MAX_NOTE + MAX_SCHEMA + MAX_SEGMENT + stamp::MAX;

/// The first line. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    format: String,
    leaf: u64,
    path: Vec<Digest>,
    manifest: u64,
    schema: u64,
    record: u64,
    stamp: u64,
}

/// A record, and what leads from it to the signature over its segment. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which leaf of its segment it is, from 0.
    pub leaf: u64,
    /// RFC 6962 inclusion proof: the siblings from the leaf up to the root.
    pub path: Vec<Digest>,
    /// The signed manifest, as it stands in the segment.
    pub manifest: Bytes,
    /// The `avro.schema` bytes of the segment: how to read the record.
    pub schema: Bytes,
    /// The record's Avro encoding, as it stands in the segment.
    pub record: Bytes,
    /// The RFC 3161 stamp of the checkpoint in the proof, as its authority answered; empty: it carries none.
    pub stamp: Bytes,
}

impl Part {
    /// The bytes that travel in `extra`.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let line = Line {
            format: FORMAT.into(),
            leaf: self.leaf,
            path: self.path.clone(),
            manifest: self.manifest.len() as u64,
            schema: self.schema.len() as u64,
            record: self.record.len() as u64,
            stamp: self.stamp.len() as u64,
        };
        let mut out = canonical::line(&line, MAX_LINE).map_err(|e| e.context("the proof"))?.into_bytes();
        for part in [&self.manifest, &self.schema, &self.record, &self.stamp] {
            out.extend_from_slice(part);
        }
        Self::decode(&Bytes::copy_from_slice(&out)).map_err(|fault| Error::bug(format!("a proof is {fault}")))?;
        Ok(out)
    }

    /// Reads what [`Part::encode`] writes, and nothing else. The parts share the memory of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let form = |what: &str| Fault::new(code::FORM, format!("what is in extra is of another form: {what}"));
        let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| form("it does not begin with one line"))? + 1;
        let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
        let line = line.ok_or_else(|| form("its first line is not UTF-8"))?;
        let codes = canonical::Codes { form: code::FORM, unknown_field: code::FORM };
        let line: Line = canonical::parse(line, MAX_LINE, codes)?;
        if line.format != FORMAT {
            return Err(form("its format is not authseal/proof@1: a newer authseal may read it"));
        }
        if line.path.len() > MAX_PATH {
            return Err(form("its path is longer than a path can be"));
        }
        let mut at = end;
        let mut take = |length: u64, (least, most): (usize, usize), what: &'static str| {
            let length = usize::try_from(length).ok().filter(|length| (least..=most).contains(length));
            let to = length.and_then(|length| at.checked_add(length)).filter(|to| *to <= bytes.len());
            let part = to.map(|to| bytes.slice(at..to)).ok_or_else(|| form(what))?;
            at += part.len();
            Ok(part)
        };
        let manifest = take(line.manifest, (1, MAX_NOTE), "the manifest has not the length that it says")?;
        let schema = take(line.schema, (1, MAX_SCHEMA), "the schema has not the length that it says")?;
        let record = take(line.record, (1, MAX_SEGMENT), "the record has not the length that it says")?;
        let stamp = take(line.stamp, (0, stamp::MAX), "the stamp has not the length that it says")?;
        match at == bytes.len() {
            true => Ok(Self { leaf: line.leaf, path: line.path, manifest, schema, record, stamp }),
            false => Err(form("bytes are left over")),
        }
    }
}
