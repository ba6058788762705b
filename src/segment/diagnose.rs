//! What is known about a segment that does not open: every fault, at the most exact place that the bytes allow.

use super::{
    Opened,
    check::{self, Tally},
    codec::Decoder,
    frame::{Block, Blocks, Container},
    leaf::{self, Bad},
    restore,
    schema::{Plan, sync_marker},
};
use crate::{
    avro::{Cursor, put_long},
    fault::{Fault, code},
    manifest::Manifest,
    note::Verifiers,
};
use bytes::Bytes;

/// After so many faults in one body the rest is not told.
const MAX_FAULTS: usize = 20;
/// So many places are tried to find the leaf behind a broken one: hostile bytes may look like leaves everywhere.
const MAX_PLACES: usize = 10_000;

/// What is known about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Everything that is wrong, in the order of the checks; nothing, if [`super::open`] accepts the object.
    pub faults: Vec<Fault>,
    /// The manifest, if a known key signed it: it can be trusted although the rest cannot.
    pub opened: Option<Opened>,
}

/// Finds what is wrong with an object, and where. `known` is the manifest that should be in it, if one is known from
/// elsewhere (a log, or a copy): it is used where the object's own cannot be.
pub fn diagnose(bytes: &[u8], keys: &Verifiers, known: Option<&Manifest>) -> Diagnosis {
    let mut faults = Vec::new();
    let container = match Container::parse(bytes) {
        Ok(container) => container,
        Err(fault) => return Diagnosis { faults: vec![fault], opened: None },
    };
    let opened = check::signed(&container, keys).map_err(|fault| faults.push(fault)).ok();
    let Some(manifest) = opened.as_ref().map(|o| &o.manifest).or(known) else {
        return Diagnosis { faults, opened };
    };
    if let Err(fault) = check::header(&container, manifest) {
        faults.push(fault);
    }
    let body = check::body_digest(container.body, &manifest.body).err();
    // a schema that differs but can be read still tells where the leaves are
    if let Ok(plan) = Plan::of(container.schema) {
        let mut walk = Walk::new(&plan, manifest);
        walk.body(&container);
        if let Some(mut fault) = body {
            fault.offset = walk.faults.iter().find_map(|f| f.offset);
            if walk.faults.is_empty() {
                fault.detail += "; its records are all there and unchanged, the file around them is not";
            }
            faults.push(fault);
        }
        faults.append(&mut walk.faults);
    } else {
        faults.extend(body);
    }
    Diagnosis { faults, opened }
}

/// A walk over leaves that cannot be trusted.
struct Walk<'a> {
    plan: &'a Plan,
    manifest: &'a Manifest,
    tally: Tally,
    /// The leaves that could be read.
    leaves: Vec<(i64, Bytes)>,
    /// A fault whose end is not known yet.
    open: Option<Fault>,
    faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, manifest: &'a Manifest) -> Self {
        let tally = Tally::new(manifest.offsets.from);
        Self { plan, manifest, tally, leaves: Vec::new(), open: None, faults: Vec::new() }
    }

    fn next(&self) -> i64 {
        self.tally.offsets.to
    }

    fn body(&mut self, container: &Container<'_>) {
        let mut blocks = Blocks::new(container.body, sync_marker(container.schema, &self.manifest.root));
        let mut decoder = Decoder::new(container.codec);
        while self.faults.len() < MAX_FAULTS {
            match blocks.next() {
                Ok(None) => break,
                Ok(Some(block)) => {
                    self.block(&mut decoder, block);
                    if !block.marked {
                        self.fault(code::SYNC_MARKER, format!("the sync marker behind {} is wrong", self.next()));
                    }
                }
                Err(e) => {
                    self.fault(code::BLOCK_FORM, e);
                    blocks.resync();
                }
            }
        }
        self.close(self.manifest.offsets.to);
        let all = self.leaves.len() as i64 == self.manifest.counts.records;
        match (self.tally.compare(self.manifest), self.faults.is_empty()) {
            (Err(fault), true) => self.faults.push(self.place(fault)),
            (Err(_), false) if all => {
                let first = self.faults.remove(0);
                self.faults.insert(0, self.place(first));
            }
            _ => {}
        }
    }

    fn block(&mut self, decoder: &mut Decoder, block: Block<'_>) {
        let mut out = Vec::new();
        let broken = decoder.decode(block.data, block.count, &mut out).err();
        let whole = Bytes::from(out);
        let (begin, mut at) = (self.next(), 0);
        let mut left = block.count;
        while left > 0 {
            let mut cursor = Cursor::strict(&whole[at..]);
            match leaf::check(self.plan, &mut cursor) {
                Ok(facts) => {
                    self.close(facts.offset);
                    let length = cursor.position();
                    self.leaf(&facts, whole.slice(at..at + length));
                    at += length;
                    left -= 1;
                }
                // what came out before the fault has come to its end
                Err(Bad::Avro(_)) if broken.is_some() => break,
                Err(bad) => {
                    self.fault(code::LEAF_FORM, format!("the record of offset {} cannot be read: {bad}", self.next()));
                    match self.resume(&whole, at + 1) {
                        Some(place) => (at, left) = (place, left - 1),
                        None => return,
                    }
                }
            }
            if self.faults.len() >= MAX_FAULTS {
                return;
            }
        }
        if let Some(what) = broken {
            let what = format!("a block cannot be decompressed: {what}");
            if left > 0 || self.open.is_some() {
                return self.fault(code::CODEC, what);
            }
            // all of it came out, and its checksum is wrong
            let last = self.next() - 1;
            let what = format!("{what}; it is in the records of offsets {begin} to {last}");
            self.faults.push(Fault::at(code::CODEC, begin, what));
        } else if at < whole.len() {
            self.fault(code::BLOCK_FORM, "bytes are left over behind the leaves of a block".into());
        }
    }

    fn leaf(&mut self, facts: &leaf::Facts, bytes: Bytes) {
        let next = self.next();
        if facts.offset != next {
            let found = facts.offset;
            let what = format!("the leaf of offset {next} should be here, and there is that of {found}");
            self.faults.push(Fault::at(code::OFFSETS, next.min(found), what));
            self.tally.offsets.to = found;
        }
        if let Err(fault) = self.tally.add(&bytes, facts) {
            self.faults.push(fault);
        }
        self.leaves.push((facts.offset, bytes));
    }

    /// The next place behind a broken leaf at which the leaf after it begins.
    fn resume(&self, whole: &[u8], from: usize) -> Option<usize> {
        let mut begins = Vec::new();
        put_long(&mut begins, self.next().checked_add(1)?);
        let rest = whole.get(from..)?;
        let places = (0..rest.len()).filter(|at| rest[*at..].starts_with(&begins));
        places
            .take(MAX_PLACES)
            .find(|at| leaf::check(self.plan, &mut Cursor::strict(&rest[*at..])).is_ok())
            .map(|at| from + at)
    }

    /// Notes a fault at the next offset. How far it reaches is said when the next good leaf is found.
    fn fault(&mut self, code: &'static str, what: String) {
        if self.open.is_none() {
            self.open = Some(Fault::at(code, self.next(), what));
        }
    }

    /// The open fault, if there is one, ends before `offset`.
    fn close(&mut self, offset: i64) {
        let Some(mut fault) = self.open.take() else { return };
        let from = self.next();
        match offset.saturating_sub(from) {
            // the fault has a place, and no record is missing for it
            ..=0 => {}
            1 => fault.detail += &format!("; it is the record of offset {from}"),
            _ => fault.detail += &format!("; it is in the records of offsets {from} to {}", offset - 1),
        }
        self.tally.offsets.to = from.max(offset);
        self.faults.push(fault);
    }

    /// Puts a fault of the whole body into the record that was changed, if that can be found.
    fn place(&self, mut fault: Fault) -> Fault {
        let leaves: Vec<Bytes> = self.leaves.iter().map(|(_, bytes)| bytes.clone()).collect();
        let changed = restore::changed_bit(&leaves, &self.manifest.root);
        let found = changed.and_then(|c| Some((c, self.leaves.get(c.leaf)?)));
        match found {
            Some((changed, (offset, bytes))) => {
                let (byte, length) = (changed.byte + 1, bytes.len());
                fault.offset = Some(*offset);
                fault.detail +=
                    &format!("; one bit of the record of offset {offset} was changed (byte {byte} of {length})");
            }
            None if fault.code == code::ROOT => {
                let (count, offsets) = (self.leaves.len(), &self.manifest.offsets);
                let last = offsets.to - 1;
                fault.detail +=
                    &format!("; at least one of the {count} leaves of offsets {} to {last} was changed", offsets.from);
            }
            None => {}
        }
        fault
    }
}
