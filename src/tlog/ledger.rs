//! What all entries of a log together say: which keys were good where, how far each chain is logged, what of it was
//! disposed of, what is held. Fed from the first entry on, by an auditor and by whoever appends such entries.

use super::{
    Entry, Keyring,
    keep::{Disposal, Hold, Sequences, Switch},
};
use crate::{
    fault::{Fault, code},
    manifest::{Manifest, Offsets},
    note::{KeyId, Verifiers},
    position::ChainId,
    retention::LockMode,
};
use std::collections::BTreeMap;

/// A log may name any sequence if somebody tampered with it: no chain is believed to leap further.
const MAX_LEAP: u64 = 1 << 20;

/// One segment, as much of its manifest as is needed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    /// `offsets.to`.
    to: i64,
    /// `retention.until`; `i64::MIN` without a lock.
    until: i64,
    /// `times.sealed`.
    sealed: i64,
}

/// Segments that an entry disposed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposed {
    /// Which.
    pub sequences: Sequences,
    /// When it was decided, milliseconds since 1970.
    pub time: i64,
    /// Up to when they had to stay.
    pub until: i64,
    /// Index of the entry.
    pub index: u64,
}

/// What the log says of one chain.
#[derive(Debug, Clone, Default)]
pub struct Account {
    lines: Vec<Option<Line>>,
    /// Where its offsets begin.
    from: i64,
    /// From each of these sequences on, the index of the newest key entry before it, plus one.
    epochs: Vec<(u64, u64)>,
    disposed: Vec<Disposed>,
    holds: BTreeMap<String, Vec<Offsets>>,
}

/// A segment as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its sequence.
    pub sequence: u64,
    /// What it covers.
    pub offsets: Offsets,
    /// Up to when it is locked by its manifest; `None`: it is not.
    pub until: Option<i64>,
    /// When it was sealed.
    pub sealed: i64,
}

impl Account {
    /// The sequence that comes next.
    pub fn next(&self) -> u64 {
        self.lines.len() as u64
    }

    /// One segment; `None`: it is not logged, or not known because the log could not be read there.
    pub fn segment(&self, sequence: u64) -> Option<Segment> {
        let at = usize::try_from(sequence).ok()?;
        let line = (*self.lines.get(at)?)?;
        let from = match at.checked_sub(1) {
            None => self.from,
            Some(before) => self.lines.get(before).copied().flatten().map_or(line.to, |before| before.to),
        };
        let until = (line.until != i64::MIN).then_some(line.until);
        Some(Segment { sequence, offsets: Offsets { from, to: line.to }, until, sealed: line.sealed })
    }

    /// All segments that are known, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        (0..self.next()).filter_map(|sequence| self.segment(sequence))
    }

    /// The entry that disposed of a segment.
    pub fn disposed(&self, sequence: u64) -> Option<&Disposed> {
        self.disposed.iter().find(|d| (d.sequences.from..d.sequences.to).contains(&sequence))
    }

    /// All disposals, in the order of the log.
    pub fn disposals(&self) -> &[Disposed] {
        &self.disposed
    }

    /// The names of the holds that a range of offsets is under. A segment without offsets is held with what lies around
    /// it.
    pub fn held(&self, offsets: Offsets) -> Vec<&str> {
        let touches = |held: &Offsets| match offsets.from == offsets.to {
            true => held.from < offsets.from && offsets.from < held.to,
            false => held.from < offsets.to && offsets.from < held.to,
        };
        self.holds.iter().filter(|(_, ranges)| ranges.iter().any(touches)).map(|(name, _)| name.as_str()).collect()
    }

    /// The holds that are on, by name.
    pub fn holds(&self) -> &BTreeMap<String, Vec<Offsets>> {
        &self.holds
    }

    /// Where the offsets of the newest segment end.
    pub fn end(&self) -> i64 {
        self.lines.last().copied().flatten().map_or(0, |line| line.to)
    }

    fn epoch(&self, sequence: u64) -> u64 {
        let at = self.epochs.partition_point(|(from, _)| *from <= sequence);
        at.checked_sub(1).and_then(|at| self.epochs.get(at)).map_or(0, |(_, index)| *index)
    }

    fn push(&mut self, manifest: &Manifest, epoch: u64) {
        let leap = manifest.sequence.saturating_sub(self.next());
        let (Ok(at), true) = (usize::try_from(manifest.sequence), leap < MAX_LEAP) else { return };
        if at < self.lines.len() {
            return; // told as a fault of the order by whoever reads the log
        }
        if at == 0 {
            self.from = manifest.offsets.from;
        }
        self.lines.resize(at, None);
        let until = match manifest.retention.mode {
            LockMode::None => None,
            LockMode::Compliance | LockMode::Governance => manifest.retention.until,
        };
        let (to, sealed) = (manifest.offsets.to, manifest.times.sealed);
        self.lines.push(Some(Line { to, until: until.unwrap_or(i64::MIN), sealed }));
        if self.epochs.last().map_or(0, |(_, epoch)| *epoch) != epoch {
            self.epochs.push((manifest.sequence, epoch));
        }
    }

    /// Why an entry may not dispose of these segments now; `None`: it may.
    fn refuses(&self, disposal: &Disposal) -> Option<String> {
        let Sequences { from, to } = disposal.sequences;
        if to >= self.next() {
            return Some(format!("the newest logged segment of {} stays, and nothing behind it", disposal.chain));
        }
        let (first, last) = (self.segment(from), self.segment(to - 1));
        let covered = first.zip(last).map(|(a, b)| Offsets { from: a.offsets.from, to: b.offsets.to });
        if covered != Some(disposal.offsets) {
            return Some(format!("segments {from} to {} cover other offsets than it says", to - 1));
        }
        for segment in (from..to).map(|sequence| self.segment(sequence)) {
            let Some(segment) = segment else { return Some("the log before it is not whole".into()) };
            let sequence = segment.sequence;
            if self.disposed(sequence).is_some() {
                return Some(format!("segment {sequence} was disposed of before"));
            }
            if segment.until.unwrap_or(segment.sealed) > disposal.until {
                return Some(format!("segment {sequence} must stay longer than it says"));
            }
            if let Some(name) = self.held(segment.offsets).first() {
                return Some(format!("segment {sequence} is held by {name}"));
            }
        }
        None
    }

    fn hold(&mut self, hold: &Hold) {
        let ranges = self.holds.entry(hold.name.clone()).or_default();
        match hold.action {
            Switch::On => ranges.push(hold.offsets),
            Switch::Off => {
                let Offsets { from, to } = hold.offsets;
                let left = |held: Offsets| {
                    let before = Offsets { from: held.from, to: held.to.min(from) };
                    let behind = Offsets { from: held.from.max(to), to: held.to };
                    [before, behind].into_iter().filter(|range| range.from < range.to)
                };
                *ranges = ranges.drain(..).flat_map(left).collect();
            }
        }
        if ranges.is_empty() {
            self.holds.remove(&hold.name);
        }
    }
}

/// The log, entry by entry.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    ring: Keyring,
    chains: BTreeMap<ChainId, Account>,
    /// Index of the newest key entry, plus one.
    epoch: u64,
    /// Entries taken.
    size: u64,
    /// Of each key of the log, the first entry of the first batch that it signed.
    first_signed: BTreeMap<KeyId, u64>,
}

impl Ledger {
    /// The ledger of a log without entries. `roots`: the keys that are trusted from the start.
    pub fn new(roots: &Verifiers) -> Self {
        Self { ring: Keyring::new(roots), ..Self::default() }
    }

    /// The keys.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// What is said of a chain.
    pub fn account(&self, chain: &ChainId) -> Option<&Account> {
        self.chains.get(chain)
    }

    /// All chains.
    pub fn accounts(&self) -> &BTreeMap<ChainId, Account> {
        &self.chains
    }

    /// Entries taken.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A batch that begins at entry `first` is signed by this key of the log: whether it may be.
    pub fn batch(&mut self, name: &str, id: KeyId, first: u64) -> Result<(), Fault> {
        self.first_signed.entry(id).or_insert(first);
        self.ring.judge(name, id, first)
    }

    /// Takes the entry at `index` in. A fault says that the entry has no effect; others have it all the same.
    pub fn take(&mut self, index: u64, entry: &Entry) -> Result<(), Fault> {
        self.size = self.size.max(index + 1);
        match entry {
            Entry::Segment(manifest) => {
                self.chains.entry(manifest.chain.clone()).or_default().push(manifest, self.epoch);
            }
            Entry::Key(key) => {
                self.ring.take(index, key)?;
                self.epoch = index + 1;
                return self.early(index);
            }
            Entry::Disposal(disposal) => {
                let refused = match self.chains.get(&disposal.chain) {
                    Some(account) => account.refuses(disposal),
                    None => Some(format!("nothing of {} is logged", disposal.chain)),
                };
                if let Some(why) = refused {
                    return Err(Fault::new(code::DISPOSAL_ENTRY, format!("entry {index} has no effect: {why}")));
                }
                let Disposal { sequences, time, until, .. } = **disposal;
                if let Some(account) = self.chains.get_mut(&disposal.chain) {
                    account.disposed.push(Disposed { sequences, time, until, index });
                }
            }
            Entry::Hold(hold) => self.chains.entry(hold.chain.clone()).or_default().hold(hold),
            Entry::Alive(_) | Entry::Unknown { .. } => {}
        }
        Ok(())
    }

    /// A key of the log that is introduced must not have signed batches before.
    fn early(&self, index: u64) -> Result<(), Fault> {
        let Some(span) = self.ring.spans().last().filter(|span| span.introduced == Some(index)) else { return Ok(()) };
        match self.first_signed.get(&span.id).filter(|first| **first <= index && !span.name.ends_with("/seal")) {
            None => Ok(()),
            Some(first) => Err(Fault::new(
                code::KEY_NOT_INTRODUCED,
                format!("entry {index} introduces {}+{}, which signed the batch at entry {first}", span.name, span.id),
            )),
        }
    }

    /// Whether a segment may be signed by this key: by its place in the log or, if it is not logged yet, as the newest.
    pub fn judge_segment(&self, chain: &ChainId, sequence: u64, name: &str, id: KeyId) -> Result<(), Fault> {
        let account = self.chains.get(chain).filter(|account| sequence < account.next());
        // between two key entries nothing changes, so that the beginning of the span stands for the segment's index
        let index = account.map_or(self.epoch, |account| account.epoch(sequence));
        self.ring.judge(name, id, index)
    }
}

#[cfg(test)]
mod tests;
