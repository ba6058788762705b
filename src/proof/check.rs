//! Whether a proof proves what it says, link by link. Pure: the file and the keys are all there is.

use super::{Outer, Part, Proof, code};
use crate::{
    digest::{Digest, hex},
    fault::Fault,
    manifest::{Manifest, SegmentKind},
    merkle,
    note::{self, Verifiers},
    position::Position,
    segment::{self, SealedRecord, read},
    tlog::{
        Checkpoint, Grade, Policy, grade,
        stamp::{Authorities, Stamp},
    },
};
use bytes::Bytes;

/// What holders of the given keys have signed. Equal statements say the same of the same record.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The manifest of the segment that the record was sealed in.
    pub manifest: Manifest,
    /// SHA-256(0x00 ‖ manifest line): its name everywhere else.
    pub manifest_hash: Digest,
    /// Name and id of the key that signed the manifest.
    pub sealed_by: String,
    /// Which leaf of its segment the record is, from 0.
    pub leaf: u64,
    /// SHA-256(0x00 ‖ record).
    pub leaf_hash: Digest,
    /// The record's bytes, as they were sealed.
    pub bytes: Bytes,
    /// What they say.
    pub record: SealedRecord,
    /// Where in the log the manifest is; `None` in a pending proof.
    pub log: Option<InLog>,
}

/// Where in the log a manifest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InLog {
    /// Which entry, from 0.
    pub index: u64,
    /// What the log was when the proof was made.
    pub checkpoint: Checkpoint,
    /// Names and ids of the keys of the log that signed the checkpoint.
    pub signed_by: Vec<String>,
}

impl Statement {
    /// Where the record stands; of a gap, its first offset.
    pub fn position(&self) -> Position {
        self.manifest.chain.at(self.record.offset)
    }

    /// The first offset behind the record, or behind the gap.
    pub fn to(&self) -> i64 {
        self.record.gap.map_or(self.record.offset.saturating_add(1), |gap| gap.to)
    }
}

/// A proof that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// What it proves.
    pub statement: Statement,
    /// The checkpoint as it stands in the file, for whoever knows keys of witnesses: their lines are in it.
    pub checkpoint: Option<String>,
    /// Names and ids of signatures on the checkpoint that none of the given keys made. They prove nothing here.
    pub unchecked: Vec<String>,
    /// The stamp of that checkpoint, as it stands in the file. By itself it proves nothing.
    pub stamp: Option<Bytes>,
}

impl Proven {
    /// What its checkpoint is worth to somebody who does not trust the log: who else has seen it (`policy` names those
    /// who are believed), and since when it exists (by stamps of `authorities`). Nothing, if there is no checkpoint.
    ///
    /// The fault: a witness that is named did not sign what stands there, or the stamp was tampered with.
    pub fn grade(&self, policy: Option<&Policy>, authorities: Option<&Authorities>) -> Result<Grade, Fault> {
        let Some(note) = &self.checkpoint else { return Ok(Grade::default()) };
        let mut stamps = Vec::new();
        if let (Some(stamp), Some(authorities)) = (&self.stamp, authorities) {
            match Stamp::open(note.as_bytes(), stamp)?.verify(authorities) {
                Ok(stamp) => stamps.push(stamp),
                // genuine, by somebody who is not believed
                Err(fault) if fault.code == crate::fault::code::STAMP_UNTRUSTED => {}
                Err(fault) => return Err(fault),
            }
        }
        grade(note.as_bytes(), policy, &stamps)
    }
}

/// Checks a proof against verifier keys: those that seal, and those of the log.
///
/// A proof whose record was not in the log when it was made is accepted here, and has no [`Statement::log`]: whether
/// that is enough is for the caller to say. The fault is the first link that does not hold, from the record to the
/// checkpoint.
pub fn check(bytes: &[u8], keys: &Verifiers) -> Result<Proven, Fault> {
    let Proof { part, outer } = Proof::parse(bytes)?;
    let mut statement = sealed(&part, keys)?;
    let Some(outer) = outer else {
        return Ok(Proven { statement, checkpoint: None, unchecked: Vec::new(), stamp: None });
    };
    let (log, unchecked) = logged(&outer, &statement, keys)?;
    statement.log = Some(log);
    let stamp = Some(part.stamp).filter(|stamp| !stamp.is_empty());
    if let Some(stamp) = &stamp {
        // one of another checkpoint has no business here
        Stamp::open(outer.checkpoint.as_bytes(), stamp)?;
    }
    Ok(Proven { statement, checkpoint: Some(outer.checkpoint), unchecked, stamp })
}

/// From the record to the signature over its segment.
fn sealed(part: &Part, keys: &Verifiers) -> Result<Statement, Fault> {
    let opened = segment::open_note(&part.manifest, keys)?;
    let manifest = opened.manifest;
    let schema = Digest::of(&part.schema);
    if schema != manifest.schema {
        let detail = format!("SHA-256 of the schema is {schema}, the manifest says {}", manifest.schema);
        return Err(Fault::new(crate::fault::code::SCHEMA_DIGEST, detail));
    }
    let leaf = read::leaf(&part.schema, part.record.clone())?;
    let wrong = |what: String| Fault::at(code::RECORD, leaf.offset(), what);
    let (from, to) = (manifest.offsets.from, manifest.offsets.to);
    if manifest.kind != SegmentKind::Data || leaf.offset() < from || leaf.to() > to {
        return Err(wrong(format!("the segment covers offsets {from} to {to}, and the record is of another")));
    }
    let leaf_hash = Digest::leaf(&part.record);
    let leaves = u64::try_from(manifest.counts.records).unwrap_or(0);
    if !merkle::verify_inclusion(part.leaf, leaves, leaf_hash, &part.path, &manifest.root) {
        let detail = format!("it is not leaf {} of the {leaves} that were sealed: its path leads elsewhere", part.leaf);
        return Err(wrong(detail));
    }
    let sealed_by = format!("{}+{}", crate::store_info::seal_key_name(&manifest.origin), opened.signed_by);
    let (record, leaf, bytes) = (leaf.record()?, part.leaf, part.record.clone());
    Ok(Statement { manifest_hash: opened.hash, manifest, sealed_by, leaf, leaf_hash, bytes, record, log: None })
}

/// From the manifest to the checkpoint; and who else signed that.
fn logged(outer: &Outer, statement: &Statement, keys: &Verifiers) -> Result<(InLog, Vec<String>), Fault> {
    let note = outer.checkpoint.as_bytes();
    let checkpoint = Checkpoint::open(note, keys, &statement.manifest.origin)?;
    let entry = statement.manifest_hash; // the leaf hash of the manifest's line
    if !merkle::verify_inclusion(outer.index, checkpoint.size, entry, &outer.path, &checkpoint.root) {
        let (index, size) = (outer.index, checkpoint.size);
        let detail = format!("the manifest is not entry {index} of the {size} in the log: its path leads elsewhere");
        return Err(Fault::new(code::LOG, detail));
    }
    let lines = note::split(note).map(|parts| parts.lines).unwrap_or_default();
    let named = lines.iter().map(|(name, blob)| {
        let id = hex(blob.get(..4).unwrap_or_default());
        let known = keys.iter().any(|(known, known_id)| known == *name && known_id.to_string() == id);
        (format!("{name}+{id}"), known && *name == checkpoint.origin)
    });
    let (signed, unchecked): (Vec<_>, Vec<_>) = named.partition(|(_, known)| *known);
    let names = |lines: Vec<(String, bool)>| lines.into_iter().map(|(name, _)| name).collect();
    Ok((InLog { index: outer.index, checkpoint, signed_by: names(signed) }, names(unchecked)))
}
