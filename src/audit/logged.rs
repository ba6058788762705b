//! What the log says of each chain, and whether the chain in the store is that. Pure.

use super::{
    key_rules::Rules,
    report::{Finding, Place, Range},
};
use crate::{digest::Digest, layout, manifest::Manifest, position::ChainId};
use std::sync::Arc;

/// A chain as the log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LoggedChain {
    /// Of the manifest of each sequence, the first eight bytes of its hash; `None` where the log could not be read.
    /// Enough to say where two histories part: that they do is decided by the whole hash of the newest, which stands
    /// for all before it.
    hashes: Vec<Option<u64>>,
    /// The whole hash of the newest manifest, and where its offsets end.
    last: Option<(Digest, i64)>,
}

impl LoggedChain {
    /// The sequence that would come next.
    pub(super) fn next(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// The whole hash of the newest manifest.
    pub(super) fn last(&self) -> Option<Digest> {
        self.last.map(|(hash, _)| hash)
    }

    /// Adds a manifest whose sequence is not below the next. What is left out on the way is not known.
    pub(super) fn push(&mut self, manifest: &Manifest, hash: Digest) {
        let sequence = usize::try_from(manifest.sequence).unwrap_or(usize::MAX);
        // a log that was tampered with may name any sequence
        if sequence.saturating_sub(self.hashes.len()) < 1 << 20 {
            self.hashes.resize(sequence, None);
            self.hashes.push(Some(short(&hash)));
            self.last = Some((hash, manifest.offsets.to));
        }
    }

    fn fits(&self, sequence: u64, hash: &Digest) -> bool {
        if sequence + 1 == self.next() {
            return self.last() == Some(*hash);
        }
        let known = usize::try_from(sequence).ok().and_then(|at| self.hashes.get(at).copied().flatten());
        known.is_none_or(|known| known == short(hash))
    }

    /// The findings that segments from `next` on are logged and not there; `from`: where their offsets begin. What was
    /// disposed of is told as such.
    pub(super) fn removed(&self, chain: &ChainId, next: u64, from: i64, rules: Option<&Rules>) -> Vec<Finding> {
        let split = rules.map(|rules| rules.split(next..self.next()));
        let whole = (next < self.next()).then_some((next..self.next(), false));
        let mut from = from;
        let mut found = Vec::new();
        for (run, expired) in split.unwrap_or_else(|| whole.into_iter().collect()) {
            let told = rules.filter(|_| expired).and_then(|rules| rules.told(&run));
            if let Some(end) = told.as_ref().and_then(|told| told.place.offsets.and_then(|offsets| offsets.to)) {
                from = end;
            }
            found.extend(told.or_else(|| self.removed_run(chain, run.start, run.end, from)));
        }
        found
    }

    fn removed_run(&self, chain: &ChainId, next: u64, to: u64, from: i64) -> Option<Finding> {
        let which = match to - next {
            1 => format!("segment {next} is in the log and not in the store"),
            n => format!("segments {next} to {}, {n} of them, are in the log and not in the store", to - 1),
        };
        let end = self.last.map(|(_, end)| end).filter(|_| to == self.next());
        let detail = match end {
            Some(end) if end > from => format!("{which}; with them offsets {from} to {}", end - 1),
            _ => which,
        };
        let mut place = Place::segment(chain, next, layout::segment_key(chain, next));
        place.sequences = (to - next > 1).then_some(Range { from: next, to: Some(to) });
        place.offsets = Some(Range { from, to: end });
        Some(Finding::new("removed", place, detail))
    }
}

fn short(hash: &Digest) -> u64 {
    hash.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Compares a chain, segment by segment, with what the log has of it.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// `None`: there is no log to compare with. A chain that the log does not know is an empty one.
    logged: Option<Arc<LoggedChain>>,
    /// Whether all of the log could be read: only then something is unlogged because it is not there.
    whole: bool,
    /// What was sealed after this need not be logged yet.
    due: i64,
    unlogged: Option<(u64, u64)>,
    pending: Option<(u64, u64)>,
    /// Keys and disposals; `None` where there is no log.
    pub rules: Option<Rules>,
}

impl Comparison {
    /// With a chain of the log. What was sealed up to `due` (milliseconds since 1970) must be in it.
    pub(super) fn new(logged: Arc<LoggedChain>, whole: bool, due: i64) -> Self {
        Self { logged: Some(logged), whole, due, unlogged: None, pending: None, rules: None }
    }

    /// Whether the log has a segment of this sequence.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.logged.as_ref().is_some_and(|logged| sequence < logged.next())
    }

    /// A segment whose manifest is signed and in its place.
    pub(super) fn segment(&mut self, place: &Place, manifest: &Manifest, hash: &Digest) -> Option<Finding> {
        let logged = self.logged.as_ref()?;
        let sequence = manifest.sequence;
        if sequence >= logged.next() {
            let run = if manifest.times.sealed > self.due { &mut self.pending } else { &mut self.unlogged };
            *run = Some(run.map_or((sequence, sequence), |(from, _)| (from, sequence)));
            return None;
        }
        let detail = "its manifest is another one than the log has for this sequence: one of the two was sealed anew";
        (!logged.fits(sequence, hash)).then(|| Finding::new("log_mismatch", place.clone(), detail))
    }

    /// What there is to say at the end of a chain: `next` is the sequence behind its last object, `from` the offset.
    pub(super) fn end(&self, chain: &ChainId, next: u64, from: i64) -> Vec<Finding> {
        let Some(logged) = &self.logged else { return Vec::new() };
        let run = |code, run: Option<(u64, u64)>, what: &str| {
            let (from, to) = run?;
            let mut place = Place::segment(chain, from, layout::segment_key(chain, from));
            place.sequences = (to > from).then_some(Range { from, to: Some(to + 1) });
            Some(Finding::new(code, place, what))
        };
        let late = "it was sealed longer ago than the merge delay of this store, and no batch of the log has it";
        let soon = "it was sealed a moment ago, and no batch of the log has it yet";
        let unlogged = self.unlogged.filter(|_| self.whole);
        let told = [run("unlogged", unlogged, late), run("pending", self.pending, soon)];
        let removed = logged.removed(chain, next, from, self.rules.as_ref());
        removed.into_iter().chain(told.into_iter().flatten()).collect()
    }

    /// How many segments wait to be logged: those within the merge delay, and those beyond it.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |run: Option<(u64, u64)>| run.map_or(0, |(from, to)| to - from + 1);
        (count(self.pending), count(self.unlogged.filter(|_| self.whole)))
    }
}
