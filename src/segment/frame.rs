//! The Avro container around the leaves: header, blocks, sync markers.
//! Source: Apache Avro 1.12 specification, "Object Container Files".

use super::{Codec, MAX_OBJECT};
use crate::{
    avro::{Cursor, Malformed, put_bytes, put_long},
    error::{Error, Result},
    fault::{Fault, code},
};

/// An Avro container file begins with these bytes.
const MAGIC: &[u8] = b"Obj\x01";
/// The metadata map has at most so many bytes, counts and end marker included.
const MAX_METADATA: usize = 128 << 10;
/// The keys of the metadata map, in their order.
const KEYS: [&str; 3] = ["avro.codec", "avro.schema", "authseal.manifest"];

/// A segment's parts, as they stand in the file.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// `avro.codec`
    pub codec: Codec,
    /// `avro.schema`
    pub schema: &'a [u8],
    /// `authseal.manifest`: a signed note.
    pub note: &'a [u8],
    /// The header's sync marker.
    pub marker: [u8; 16],
    /// Everything after the header's sync marker.
    pub body: &'a [u8],
}

impl<'a> Container<'a> {
    /// Splits an object. Nothing in it is verified.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.len() > MAX_OBJECT {
            return Err(Fault::new(code::NOT_A_SEGMENT, format!("it has {} bytes, at most {MAX_OBJECT}", bytes.len())));
        }
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| Fault::new(code::NOT_A_SEGMENT, "it does not begin as an Avro object container file"))?;
        let wrong = |what: String| Fault::new(code::HEADER_FORM, what);
        let mut cursor = Cursor::strict(&rest[..rest.len().min(MAX_METADATA)]);
        let metadata = metadata(&mut cursor).map_err(wrong)?;
        let [codec, schema, note] = metadata;
        let (marker, body) = rest[cursor.position()..]
            .split_first_chunk::<16>()
            .ok_or_else(|| wrong("the file ends before the header's sync marker".into()))?;
        let codec = std::str::from_utf8(codec).ok().and_then(Codec::from_name);
        let codec =
            codec.ok_or_else(|| Fault::new(code::CODEC, "avro.codec is none of the four that segments have"))?;
        Ok(Self { codec, schema, note, marker: *marker, body })
    }
}

fn metadata<'a>(cursor: &mut Cursor<'a>) -> Result<[&'a [u8]; 3], String> {
    let broken = |e: Malformed| format!("its metadata cannot be read: {e}");
    if cursor.long().map_err(broken)? != KEYS.len() as i64 {
        return Err("its metadata is not one block of three entries".into());
    }
    let mut values = [&[][..]; 3];
    for (key, value) in KEYS.iter().zip(&mut values) {
        let found = cursor.bytes().map_err(broken)?;
        if found != key.as_bytes() {
            return Err(format!("its metadata has {:?} where {key} should be", String::from_utf8_lossy(found)));
        }
        *value = cursor.bytes().map_err(broken)?;
    }
    match cursor.long().map_err(broken)? {
        0 => Ok(values),
        _ => Err("its metadata has more entries than segments have".into()),
    }
}

/// The bytes before the body.
pub fn header(codec: Codec, schema: &[u8], note: &str, marker: &[u8; 16]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(schema.len() + note.len() + 128);
    out.extend_from_slice(MAGIC);
    put_long(&mut out, KEYS.len() as i64);
    for (key, value) in KEYS.iter().zip([codec.name().as_bytes(), schema, note.as_bytes()]) {
        put_bytes(&mut out, key.as_bytes());
        put_bytes(&mut out, value);
    }
    out.push(0);
    if out.len() - MAGIC.len() > MAX_METADATA {
        return Err(Error::bug("the schema has outgrown the header of a segment"));
    }
    out.extend_from_slice(marker);
    Ok(out)
}

/// A block as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// How many leaves it holds: at least one.
    pub count: i64,
    /// Their bytes, compressed.
    pub data: &'a [u8],
    /// Whether the marker behind it is the right one.
    pub marked: bool,
}

/// Splits a body into blocks.
#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    body: &'a [u8],
    at: usize,
    marker: [u8; 16],
}

impl<'a> Blocks<'a> {
    /// The blocks of a body, which `marker` separates.
    pub fn new(body: &'a [u8], marker: [u8; 16]) -> Self {
        Self { body, at: 0, marker }
    }

    /// Where in the body it stands.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next block; `None` at the end of the body. The error says what is wrong with the framing.
    pub fn next(&mut self) -> Result<Option<Block<'a>>, String> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let broken = |e: Malformed| format!("the block at byte {} of the body cannot be read: {e}", self.at);
        let mut cursor = Cursor::strict(rest);
        let count = cursor.long().map_err(broken)?;
        if count < 1 {
            return Err(format!("the block at byte {} of the body has {count} leaves", self.at));
        }
        let data = cursor.bytes().map_err(broken)?;
        let marked = cursor.take(16).map_err(broken)? == self.marker;
        self.at += cursor.position();
        Ok(Some(Block { count, data, marked }))
    }

    /// Goes behind the next marker, to go on after a block whose framing is broken. Whether there was one.
    pub fn resync(&mut self) -> bool {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let found = rest.windows(self.marker.len()).position(|w| w == self.marker);
        self.at = found.map_or(self.body.len(), |place| self.at + place + self.marker.len());
        found.is_some()
    }
}
