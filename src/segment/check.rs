//! Every check that can be made on one object without its chain, in the order of docs/format.md.

use super::{
    Opened,
    codec::Decoder,
    frame::{Blocks, Container},
    leaf::{self, Facts, LeafKind},
    schema::{Plan, sync_marker},
};
use crate::{
    avro::Cursor,
    digest::Digest,
    fault::{Fault, code},
    manifest::{Body, Counts, Manifest, Offsets, Times},
    merkle::Tree,
    note::{self, Refused, Verifiers},
    store_info::seal_key_name,
};

/// Checks a stored object completely: form, signature, body digest, every leaf, root, counts, times.
/// It does not check the place in a chain: [`crate::chain::follows`] does.
pub fn open(bytes: &[u8], keys: &Verifiers) -> Result<Opened, Fault> {
    let container = Container::parse(bytes)?;
    let opened = signed(&container, keys)?;
    let manifest = &opened.manifest;
    let plan = header(&container, manifest)?;
    body_digest(container.body, &manifest.body)?;
    let tally = tally(&plan, &container, manifest.offsets.from)?;
    tally.compare(manifest)?;
    Ok(opened)
}

/// The manifest of a stored object, and who signed it. Nothing else in the object is looked at.
pub fn open_header(bytes: &[u8], keys: &Verifiers) -> Result<Opened, Fault> {
    signed(&Container::parse(bytes)?, keys)
}

/// The note of an object, opened, and the manifest in it.
pub fn signed(container: &Container<'_>, keys: &Verifiers) -> Result<Opened, Fault> {
    open_note(container.note, keys)
}

/// A signed manifest by itself, as it stands in an object or in a proof.
pub fn open_note(note: &[u8], keys: &Verifiers) -> Result<Opened, Fault> {
    let refused = |refused| match refused {
        Refused::Form(what) => Fault::new(code::NOTE_FORM, format!("authseal.manifest is no signed note: {what}")),
        Refused::Unknown => Fault::new(code::UNKNOWN_KEY, "none of the given keys signed it"),
        Refused::Signature(id) => Fault::new(code::SIGNATURE, format!("the signature of key {id} is wrong")),
    };
    if note::split(note).map_err(refused)?.lines.len() != 1 {
        return Err(Fault::new(code::NOTE_FORM, "it has more than one signature"));
    }
    let note = keys.open(note).map_err(refused)?;
    let [signature] = &note.signatures[..] else { return Err(refused(Refused::Unknown)) };
    let manifest = Manifest::parse(note.text)?;
    if signature.name != seal_key_name(&manifest.origin) {
        let (key, origin) = (&signature.name, &manifest.origin);
        return Err(Fault::new(code::KEY_NAME, format!("key {key:?} signed a segment of origin {origin:?}")));
    }
    Ok(Opened { hash: Manifest::hash_of(note.text), manifest, signed_by: signature.id.to_string() })
}

/// Schema and sync marker of the header.
pub fn header(container: &Container<'_>, manifest: &Manifest) -> Result<std::sync::Arc<Plan>, Fault> {
    let digest = Digest::of(container.schema);
    if digest != manifest.schema {
        let want = manifest.schema;
        return Err(Fault::new(
            code::SCHEMA_DIGEST,
            format!("SHA-256 of avro.schema is {digest}, the manifest says {want}"),
        ));
    }
    let plan = Plan::of(container.schema)?;
    if container.marker != sync_marker(container.schema, &manifest.root) {
        return Err(Fault::new(code::SYNC_MARKER, "the sync marker of the header is wrong"));
    }
    Ok(plan)
}

/// The body's length and digest: checked before anything in it is decompressed.
pub fn body_digest(body: &[u8], want: &Body) -> Result<(), Fault> {
    if i64::try_from(body.len()) != Ok(want.bytes) {
        let found = body.len();
        return Err(Fault::new(
            code::BODY_LENGTH,
            format!("the body has {found} bytes, the manifest says {}", want.bytes),
        ));
    }
    let found = Digest::of(body);
    if found != want.sha256 {
        return Err(Fault::new(
            code::BODY_DIGEST,
            format!("SHA-256 of the body is {found}, the manifest says {}", want.sha256),
        ));
    }
    Ok(())
}

/// What the leaves of a segment add up to.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The tree over the leaves.
    pub tree: Tree,
    /// The offsets covered.
    pub offsets: Offsets,
    /// How many of each kind.
    pub counts: Counts,
    /// Minima and maxima; `sealed` is 0.
    pub times: Times,
}

impl Tally {
    /// Of no leaves, at `from`.
    pub fn new(from: i64) -> Self {
        Self {
            tree: Tree::default(),
            offsets: Offsets { from, to: from },
            counts: Counts::default(),
            times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed: 0 },
        }
    }

    /// Adds a leaf: its bytes and what it counts as. It must begin where the one before ended.
    pub fn add(&mut self, bytes: &[u8], facts: &Facts) -> Result<(), Fault> {
        let next = self.offsets.to;
        if facts.offset != next {
            let what = format!("the leaf that should begin at offset {next} begins at {}", facts.offset);
            return Err(Fault::at(code::OFFSETS, next, what));
        }
        self.offsets.to = facts.to;
        self.tree.push(Digest::leaf(bytes));
        let counts = &mut self.counts;
        counts.records += 1;
        match facts.kind {
            LeafKind::Event => counts.events += 1,
            LeafKind::Rejection => counts.rejections += 1,
            LeafKind::Opaque => counts.opaque += 1,
            LeafKind::Gap => {}
        }
        if let Some(cause) = facts.gap {
            *counts.gaps.of_mut(cause) += facts.to - facts.offset;
        }
        let times = &mut self.times;
        if let Some(time) = facts.event_time.map(|t| t.millis()) {
            times.first_event = Some(times.first_event.unwrap_or(time).min(time));
            times.last_event = Some(times.last_event.unwrap_or(time).max(time));
        }
        if let Some(time) = facts.timestamp {
            times.first_record = Some(times.first_record.unwrap_or(time).min(time));
            times.last_record = Some(times.last_record.unwrap_or(time).max(time));
        }
        Ok(())
    }

    /// Compares with what a manifest says.
    pub fn compare(&self, manifest: &Manifest) -> Result<(), Fault> {
        if self.offsets != manifest.offsets {
            let (found, want) = (self.offsets.to, manifest.offsets.to);
            let what = format!("the leaves end at offset {found}, the manifest says {want}");
            return Err(Fault::at(code::OFFSETS, found.min(want), what));
        }
        if self.counts != manifest.counts {
            let what = format!("the leaves are {:?}, the manifest says {:?}", self.counts, manifest.counts);
            return Err(Fault::new(code::COUNTS, what));
        }
        if self.times != (Times { sealed: 0, ..manifest.times }) {
            let what = format!("the times of the leaves are {:?}, the manifest says {:?}", self.times, manifest.times);
            return Err(Fault::new(code::TIMES, what));
        }
        let root = self.tree.root();
        if root != manifest.root {
            return Err(Fault::new(
                code::ROOT,
                format!("the root over the leaves is {root}, the manifest says {}", manifest.root),
            ));
        }
        Ok(())
    }
}

/// Decodes and checks every leaf of a body whose digest is known to be right. The first leaf must begin at `from`.
pub fn tally(plan: &Plan, container: &Container<'_>, from: i64) -> Result<Tally, Fault> {
    let mut tally = Tally::new(from);
    let mut blocks = Blocks::new(container.body, container.marker);
    let mut decoder = Decoder::new(container.codec);
    let mut leaves = Vec::new();
    while let Some(block) = {
        let next = tally.offsets.to;
        blocks.next().map_err(|e| Fault::at(code::BLOCK_FORM, next, e))?
    } {
        let next = tally.offsets.to;
        let at = |code, what: &str| Fault::at(code, next, format!("{what}, in the block that begins at offset {next}"));
        if !block.marked {
            return Err(at(code::SYNC_MARKER, "a sync marker is wrong"));
        }
        decoder.decode(block.data, block.count, &mut leaves).map_err(|e| at(code::CODEC, &e))?;
        add_block(&mut tally, plan, block.count, &leaves)?;
    }
    Ok(tally)
}

/// Checks and adds the leaves of one block.
pub fn add_block(tally: &mut Tally, plan: &Plan, count: i64, leaves: &[u8]) -> Result<(), Fault> {
    let mut cursor = Cursor::strict(leaves);
    for _ in 0..count {
        let (start, next) = (cursor.position(), tally.offsets.to);
        let facts = leaf::check(plan, &mut cursor);
        let facts = facts.map_err(|e| Fault::at(code::LEAF_FORM, next, format!("the leaf of offset {next}: {e}")))?;
        tally.add(cursor.since(start), &facts)?;
    }
    if cursor.rest().is_empty() {
        return Ok(());
    }
    let next = tally.offsets.to;
    Err(Fault::at(code::BLOCK_FORM, next, format!("bytes are left over behind the block's {count} leaves")))
}
