//! What waits to be logged: filled by whoever seals, emptied by the log. Never blocks, and bounded: a line that finds
//! no room is dropped and its chain is looked at later, for the store has it.

use crate::{
    digest::Digest,
    manifest::Manifest,
    note::KeyId,
    position::{ChainId, TopicPartition},
    tlog::Keyring,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Lines that wait at most: some ten megabytes.
const MAX_LINES: usize = 8192;

/// What waits. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    chains: BTreeMap<ChainId, Waiting>,
    lines: usize,
    /// Keys that entries of the log retire, and the index of the entry, as far as the log was read.
    retired: BTreeMap<(String, KeyId), u64>,
}

/// What is known of one chain.
#[derive(Debug, Default)]
struct Waiting {
    /// This instance seals it.
    owned: bool,
    /// The store may hold manifests that are neither here nor in the log.
    look: bool,
    /// Manifest lines by sequence.
    lines: BTreeMap<u64, String>,
}

impl Queue {
    /// A segment of ours lies in the store.
    pub fn sealed(&self, manifest: &Manifest) {
        let mut inner = self.lock();
        let room = inner.lines < MAX_LINES;
        let waiting = inner.chains.entry(manifest.chain.clone()).or_default();
        waiting.owned = true;
        match manifest.line() {
            Ok(line) if room => {
                let news = waiting.lines.insert(manifest.sequence, line).is_none();
                inner.lines += usize::from(news);
            }
            // the store has it
            _ => waiting.look = true,
        }
    }

    /// A chain is sealed here from now on. `sequence`: that of its newest segment. Its predecessors may have sealed
    /// what they did not log; those of an earlier incarnation too.
    pub fn opened(&self, chain: &ChainId, sequence: Option<u64>) {
        let mut inner = self.lock();
        let waiting = inner.chains.entry(chain.clone()).or_default();
        waiting.owned = true;
        waiting.look |= sequence.is_some();
        for incarnation in 0..chain.incarnation {
            inner.chains.entry(ChainId { incarnation, ..chain.clone() }).or_default().look = true;
        }
    }

    /// Another writer sealed a segment of a chain.
    pub fn adopted(&self, chain: &ChainId) {
        self.lock().chains.entry(chain.clone()).or_default().look = true;
    }

    /// A partition is sealed elsewhere from now on. What waits is logged all the same.
    pub fn revoked(&self, partition: &TopicPartition) {
        for (_, waiting) in self.lock().chains.iter_mut().filter(|(chain, _)| chain.topic_partition() == *partition) {
            waiting.owned = false;
        }
    }

    /// Whoever seals may ask this before each signature: the entry that retires a key, if the log was read up to one.
    pub fn retired_at(&self, name: &str, id: KeyId) -> Option<u64> {
        self.lock().retired.get(&(name.to_owned(), id)).copied()
    }

    /// What the log says of keys.
    pub(super) fn retired(&self, ring: &Keyring) {
        let spans = ring.spans().iter();
        let retired = spans.filter_map(|span| Some(((span.name.clone(), span.id), span.retired?)));
        self.lock().retired = retired.collect();
    }

    /// How many lines wait.
    pub fn len(&self) -> usize {
        self.lock().lines
    }

    /// Whether nothing waits, and nothing must be looked at.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.lines == 0 && !inner.chains.values().any(|waiting| waiting.look)
    }

    /// All chains about which something is to be done.
    pub(super) fn chains(&self) -> Vec<ChainId> {
        let inner = self.lock();
        let busy = inner.chains.iter().filter(|(_, waiting)| waiting.look || !waiting.lines.is_empty());
        busy.map(|(chain, _)| chain.clone()).collect()
    }

    /// Chains to be looked at. The mark is taken off: whoever does not come to its end sets it again.
    pub(super) fn take_looks(&self) -> Vec<ChainId> {
        let mut inner = self.lock();
        let looks = inner.chains.iter_mut();
        looks.filter_map(|(chain, waiting)| std::mem::take(&mut waiting.look).then(|| chain.clone())).collect()
    }

    /// Sets the mark.
    pub(super) fn look(&self, chain: &ChainId) {
        self.lock().chains.entry(chain.clone()).or_default().look = true;
    }

    /// Whether the line of a sequence waits.
    pub(super) fn has(&self, chain: &ChainId, sequence: u64) -> bool {
        self.lock().chains.get(chain).is_some_and(|waiting| waiting.lines.contains_key(&sequence))
    }

    /// Adds what was found in the store. `false`: there is no room.
    pub(super) fn found(&self, chain: &ChainId, sequence: u64, line: String) -> bool {
        let mut inner = self.lock();
        if inner.lines >= MAX_LINES {
            return false;
        }
        let waiting = inner.chains.entry(chain.clone()).or_default();
        let news = waiting.lines.insert(sequence, line).is_none();
        inner.lines += usize::from(news);
        true
    }

    /// The lines of a chain from a sequence on that follow one another, at most so many. If the first of them is not
    /// here and later ones are, the chain is marked to be looked at.
    pub(super) fn run_of(&self, chain: &ChainId, from: u64, most: usize) -> Vec<String> {
        let mut inner = self.lock();
        let Some(waiting) = inner.chains.get_mut(chain) else { return Vec::new() };
        let run: Vec<String> = waiting
            .lines
            .range(from..)
            .zip(from..)
            .take_while(|((sequence, _), expected)| *sequence == expected)
            .take(most)
            .map(|((_, line), _)| line.clone())
            .collect();
        waiting.look |= run.is_empty() && waiting.lines.range(from..).next().is_some();
        run
    }

    /// Whether a line of a later sequence waits.
    pub(super) fn waits_behind(&self, chain: &ChainId, sequence: u64) -> bool {
        let inner = self.lock();
        inner.chains.get(chain).is_some_and(|waiting| waiting.lines.range(sequence..).next().is_some())
    }

    /// A chain is logged up to this sequence: what waits of it up to there is done.
    pub(super) fn logged(&self, chain: &ChainId, sequence: u64) {
        let mut inner = self.lock();
        if let Some(waiting) = inner.chains.get_mut(chain) {
            let before = waiting.lines.len();
            waiting.lines = waiting.lines.split_off(&sequence.saturating_add(1));
            let gone = before - waiting.lines.len();
            if !waiting.owned && !waiting.look && waiting.lines.is_empty() {
                inner.chains.remove(chain);
            }
            inner.lines -= gone;
        }
    }

    /// The chains that are sealed here, each with the hash of its newest manifest that waits.
    pub(super) fn owned(&self) -> Vec<(ChainId, Option<Digest>)> {
        let inner = self.lock();
        let owned = inner.chains.iter().filter(|(_, waiting)| waiting.owned);
        let newest = |waiting: &Waiting| waiting.lines.last_key_value().map(|(_, line)| Manifest::hash_of(line));
        owned.map(|(chain, waiting)| (chain.clone(), newest(waiting))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // a panic elsewhere leaves at most a count that is off by one batch of lines: the bound stays one
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> ChainId {
        text.parse().unwrap()
    }

    #[test]
    fn lines_come_out_in_order_and_holes_are_looked_for() {
        let (queue, a) = (Queue::default(), chain("main/a/0/0"));
        for sequence in [3, 4, 6] {
            assert!(queue.found(&a, sequence, format!("{sequence}\n")));
        }
        assert_eq!(queue.run_of(&a, 3, 9), ["3\n", "4\n"]);
        assert_eq!(queue.run_of(&a, 3, 1), ["3\n"]);
        assert!(queue.take_looks().is_empty());
        assert!(queue.run_of(&a, 2, 9).is_empty(), "2 is not here");
        assert_eq!(queue.take_looks(), std::slice::from_ref(&a));
        queue.logged(&a, 4);
        assert_eq!((queue.len(), queue.run_of(&a, 5, 9).len(), queue.take_looks().len()), (1, 0, 1));
        queue.logged(&a, 6);
        assert!(queue.is_empty() && queue.chains().is_empty());
    }

    #[test]
    fn a_full_queue_drops_lines_and_remembers_to_look() {
        let (queue, a) = (Queue::default(), chain("main/a/0/0"));
        for sequence in 0..MAX_LINES as u64 {
            assert!(queue.found(&a, sequence, "x\n".into()));
        }
        assert!(!queue.found(&a, MAX_LINES as u64, "x\n".into()));
        assert_eq!(queue.len(), MAX_LINES);
    }

    #[test]
    fn who_takes_over_looks_at_what_was_before_him() {
        let (queue, b) = (Queue::default(), chain("main/a/3/2"));
        queue.opened(&b, Some(7));
        assert_eq!(queue.take_looks(), ["main/a/3/0", "main/a/3/1", "main/a/3/2"].map(chain));
        assert_eq!(queue.owned(), [(b.clone(), None)]);
        queue.revoked(&TopicPartition::new("a", 3));
        assert!(queue.owned().is_empty());
        queue.opened(&chain("main/new/0/0"), None);
        assert!(queue.take_looks().is_empty(), "of a new chain there is nothing to find");
    }
}
