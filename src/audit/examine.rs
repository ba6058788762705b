//! One object by itself: is it a segment, signed by a known key, and are its contents those that were signed. Pure.

use super::protect::Lock;
use crate::{
    avro::Cursor,
    digest,
    fault::{Fault, code},
    manifest::Offsets,
    note::{self, Verifiers},
    record::{Gap, GapCause},
    segment::{self, LeafKind, Opened, read},
};

/// Gaps listed of one segment; the counts in its manifest hold all.
const GAPS: usize = 100;

/// What an object turned out to be.
pub(super) struct Examined {
    /// Its manifest, if a known key signed it, whatever the rest is like.
    pub trusted: Option<Opened>,
    /// What is wrong; nothing if it is a good segment.
    pub faults: Vec<Fault>,
    /// Gaps of a good segment that somebody should look at, at most [`GAPS`].
    pub gaps: Vec<Gap>,
    /// Further ones.
    pub gaps_left_out: u64,
    /// The offsets that the records of an object cover whose manifest cannot be trusted: what it claims to hold.
    pub claims: Option<Offsets>,
    /// Length of the object.
    pub bytes: u64,
    /// Its lock.
    pub lock: Lock,
    /// The name of its version, if that is not the oldest: what lies below it was not sealed here.
    pub above: Option<String>,
}

/// How closely a broken object is looked at. It can take seconds, and somebody may have broken all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The first fault.
    Once,
    /// Every fault, at the most exact place.
    Closely,
}

/// Checks an object completely.
pub(super) fn examine(bytes: &[u8], keys: &Verifiers, look: Look) -> Examined {
    let mut examined = Examined {
        trusted: None,
        faults: Vec::new(),
        gaps: Vec::new(),
        gaps_left_out: 0,
        claims: None,
        bytes: bytes.len() as u64,
        lock: Lock::UNASKED,
        above: None,
    };
    match (segment::open(bytes, keys), look) {
        (Ok(opened), _) => {
            let gaps = &opened.manifest.counts.gaps;
            if gaps.lost > 0 || gaps.unexplained > 0 || gaps.skipped > 0 {
                list_gaps(bytes, &mut examined);
            }
            examined.trusted = Some(opened);
        }
        (Err(fault), Look::Once) => {
            // without a body there is nothing in it to look for
            let header = header(bytes).map_or(bytes, |header| header.whole);
            examined.trusted = segment::diagnose(header, keys, None).opened;
            examined.faults.push(named(fault, bytes));
        }
        (Err(fault), Look::Closely) => {
            let diagnosis = segment::diagnose(bytes, keys, None);
            examined.trusted = diagnosis.opened;
            examined.faults = diagnosis.faults.into_iter().map(|fault| named(fault, bytes)).collect();
            // the diagnosis is the second opinion: it cannot make a bad segment good
            if examined.faults.is_empty() {
                examined.faults.push(fault);
            }
            if examined.trusted.is_none() {
                unsigned(bytes, &mut examined);
            }
        }
    }
    examined
}

/// The header of an object, not verified.
struct Header<'a> {
    /// From the first byte to the sync marker, which is included.
    whole: &'a [u8],
    /// The signed note.
    note: &'a [u8],
}

fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let mut cursor = Cursor::strict(bytes);
    cursor.take(4).ok()?; // the magic; then a map of which the third entry is the note
    cursor.long().ok()?;
    let mut note = &[][..];
    for _ in 0..3 {
        cursor.bytes().ok()?;
        note = cursor.bytes().ok()?;
    }
    cursor.long().ok()?;
    cursor.take(16).ok()?;
    Some(Header { whole: cursor.since(0), note })
}

/// Adds the key that the object says it was signed with: an operator knows it, or knows that he does not.
fn named(mut fault: Fault, bytes: &[u8]) -> Fault {
    if fault.code == code::UNKNOWN_KEY
        && let Some(parts) = header(bytes).and_then(|header| note::split(header.note).ok())
        && let Some((name, blob)) = parts.lines.first()
        && let Some(id) = blob.get(..4)
    {
        fault.detail.push_str(&format!(": it names {name}+{}", digest::hex(id)));
    }
    fault
}

/// Nothing in the object can be trusted, but its records still tell where one is missing among them: whoever took it
/// out could make body and manifest fit again, and not the offsets.
fn unsigned(bytes: &[u8], examined: &mut Examined) {
    let Ok(records) = read::records(bytes) else { return };
    for leaf in records {
        match leaf {
            Ok(leaf) => {
                let from = examined.claims.map_or(leaf.offset(), |claims| claims.from);
                examined.claims = Some(Offsets { from, to: leaf.to() });
            }
            Err(mut fault) => {
                fault.detail.push_str(", by the records themselves: no manifest that could be trusted tells");
                if fault.offset.is_some() {
                    examined.faults.push(fault);
                }
                return;
            }
        }
    }
}

fn list_gaps(bytes: &[u8], examined: &mut Examined) {
    let leaves = read::records(bytes).into_iter().flatten().flatten();
    for leaf in leaves.filter(|leaf| leaf.kind() == LeafKind::Gap) {
        let gap = leaf.record().ok().and_then(|record| record.gap);
        let told = |gap: &Gap| matches!(gap.cause, GapCause::Lost | GapCause::Unexplained | GapCause::Skipped);
        match gap.filter(told) {
            Some(_) if examined.gaps.len() >= GAPS => examined.gaps_left_out += 1,
            Some(gap) => examined.gaps.push(gap),
            None => {}
        }
    }
}
