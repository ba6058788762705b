//! Reads the leaves of a segment one after the other: for search, export and proofs. It checks each leaf's form and
//! offset;
//! signature, digests and root are [`super::open`]'s: open first what comes from a store.

use super::{
    SealedRecord,
    codec::Decoder,
    frame::{Blocks, Container},
    leaf::{self, Facts, LeafKind},
    schema::Plan,
    typed,
};
use crate::{
    avro::Cursor,
    digest::Digest,
    fault::{Fault, code},
    note,
};
use bytes::Bytes;
use std::sync::Arc;

/// One leaf of a segment.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The record's Avro encoding as it stands in the file: what the leaf hash is over.
    pub bytes: Bytes,
    facts: Facts,
    plan: Arc<Plan>,
}

impl Leaf {
    /// Its first offset.
    pub fn offset(&self) -> i64 {
        self.facts.offset
    }

    /// The first offset after it.
    pub fn to(&self) -> i64 {
        self.facts.to
    }

    /// SHA-256(0x00 ‖ its bytes).
    pub fn hash(&self) -> Digest {
        Digest::leaf(&self.bytes)
    }

    /// What it stands for.
    pub fn kind(&self) -> LeafKind {
        self.facts.kind
    }

    /// Its values. Its parts share the memory of the block that it came in.
    pub fn record(&self) -> Result<SealedRecord, Fault> {
        let at = self.facts.offset;
        typed::decode(&self.plan, &self.bytes).map_err(|e| Fault::at(code::LEAF_FORM, at, e.to_string()))
    }
}

/// A leaf that came without its segment, as in a proof: `bytes` must be the one canonical encoding of a record by the
/// `avro.schema` bytes `schema`, and nothing more. Whether it was sealed is for a root to say.
pub fn leaf(schema: &[u8], bytes: Bytes) -> Result<Leaf, Fault> {
    let plan = Plan::of(schema)?;
    let wrong = |what: String| Fault::new(code::LEAF_FORM, what);
    let mut cursor = Cursor::strict(&bytes);
    let facts = leaf::check(&plan, &mut cursor).map_err(|e| wrong(e.to_string()))?;
    match cursor.rest().is_empty() {
        true => Ok(Leaf { bytes, facts, plan }),
        false => Err(wrong("bytes are left over behind the record".into())),
    }
}

/// The leaves of an object, in order. After the first error it ends.
pub struct Records<'a> {
    container: Container<'a>,
    plan: Arc<Plan>,
    blocks: Blocks<'a>,
    decoder: Decoder,
    /// The block being read, where in it, and how many of its leaves are left.
    block: Bytes,
    at: usize,
    left: i64,
    /// Where the next leaf must begin, once the first has told.
    next: Option<i64>,
    ended: bool,
}

/// The leaves of the object `bytes`.
pub fn records(bytes: &[u8]) -> Result<Records<'_>, Fault> {
    let container = Container::parse(bytes)?;
    let plan = Plan::of(container.schema)?;
    Ok(Records {
        blocks: Blocks::new(container.body, container.marker),
        decoder: Decoder::new(container.codec),
        container,
        plan,
        block: Bytes::new(),
        at: 0,
        left: 0,
        next: None,
        ended: false,
    })
}

impl<'a> Records<'a> {
    /// The manifest line in the header, unverified.
    pub fn manifest_line(&self) -> Result<&'a str, Fault> {
        let wrong = |_| Fault::new(code::NOTE_FORM, "authseal.manifest is no signed note");
        note::split(self.container.note).map(|parts| parts.text).map_err(wrong)
    }

    /// The signed note in the header, unverified.
    pub fn note(&self) -> &'a [u8] {
        self.container.note
    }

    /// The `avro.schema` bytes, unverified.
    pub fn schema(&self) -> &'a [u8] {
        self.container.schema
    }

    fn advance(&mut self) -> Result<Option<Leaf>, Fault> {
        while self.left == 0 {
            if self.at < self.block.len() {
                return Err(self.fault(code::BLOCK_FORM, "bytes are left over behind the leaves of a block"));
            }
            let block = self.blocks.next().map_err(|e| self.fault(code::BLOCK_FORM, &e))?;
            let Some(block) = block else { return Ok(None) };
            if !block.marked {
                return Err(self.fault(code::SYNC_MARKER, "a sync marker is wrong"));
            }
            let mut leaves = Vec::new();
            self.decoder.decode(block.data, block.count, &mut leaves).map_err(|e| self.fault(code::CODEC, &e))?;
            (self.block, self.at, self.left) = (leaves.into(), 0, block.count);
        }
        let rest = self.block.slice(self.at..);
        let mut cursor = Cursor::strict(&rest);
        let facts = leaf::check(&self.plan, &mut cursor).map_err(|e| self.fault(code::LEAF_FORM, &e.to_string()))?;
        if self.next.is_some_and(|next| next != facts.offset) {
            return Err(self.fault(code::OFFSETS, &format!("a leaf begins at {}", facts.offset)));
        }
        let bytes = rest.slice(..cursor.position());
        self.at += bytes.len();
        self.left -= 1;
        self.next = Some(facts.to);
        Ok(Some(Leaf { bytes, facts, plan: self.plan.clone() }))
    }

    fn fault(&self, code: &'static str, what: &str) -> Fault {
        Fault { code, offset: self.next, detail: what.into() }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Leaf, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
