//! What of durable state waits to be written: keys with something new, and keys that are there no longer. How much that
//! is is kept up, for with every event it is asked what all state takes.

use super::save::Change;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// A key with something new: its lowest offset that is not written, its slot and generation.
pub(super) type Unsaved = (i64, u32, u32);

/// Bytes of an entry of a set, about.
const ENTRY: usize = 32;

/// By chain, what waits.
#[derive(Default)]
pub(super) struct Backlog {
    unsaved: HashMap<u32, BTreeSet<Unsaved>>,
    gone: HashMap<u32, VecDeque<Change>>,
    keys: usize,
    bytes: usize,
}

fn bytes(change: &Change) -> usize {
    size_of::<Change>() + change.key.len()
}

impl Backlog {
    /// How many keys, over all chains.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Bytes taken, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A key of a chain has something new.
    pub fn insert(&mut self, chain: u32, key: Unsaved) {
        if self.unsaved.entry(chain).or_default().insert(key) {
            (self.keys, self.bytes) = (self.keys + 1, self.bytes + ENTRY);
        }
    }

    /// It need not be written under this offset any more.
    pub fn remove(&mut self, chain: u32, key: &Unsaved) {
        if self.unsaved.get_mut(&chain).is_some_and(|unsaved| unsaved.remove(key)) {
            (self.keys, self.bytes) = (self.keys - 1, self.bytes - ENTRY);
        }
    }

    /// The lowest offset of a chain.
    pub fn lowest(&self, chain: u32) -> Option<i64> {
        self.unsaved.get(&chain)?.first().map(|(offset, ..)| *offset)
    }

    /// Takes the key of a chain with the lowest offset.
    pub fn pop(&mut self, chain: u32) -> Option<Unsaved> {
        let key = self.unsaved.get_mut(&chain)?.pop_first()?;
        (self.keys, self.bytes) = (self.keys - 1, self.bytes - ENTRY);
        Some(key)
    }

    /// A key of a chain is there no longer: this removes what was written of it.
    pub fn let_go(&mut self, chain: u32, change: Change) {
        (self.keys, self.bytes) = (self.keys + 1, self.bytes + bytes(&change));
        self.gone.entry(chain).or_default().push_back(change);
    }

    /// Takes up to `most` of the keys of a chain that are there no longer, the first ones first.
    pub fn take_gone(&mut self, chain: u32, most: usize) -> Vec<Change> {
        let Some(gone) = self.gone.get_mut(&chain) else { return Vec::new() };
        let taken: Vec<Change> = gone.drain(..most.min(gone.len())).collect();
        (self.keys, self.bytes) = (self.keys - taken.len(), self.bytes - taken.iter().map(bytes).sum::<usize>());
        taken
    }

    /// A chain is no longer read here.
    pub fn forget(&mut self, chain: u32) {
        let unsaved = self.unsaved.remove(&chain).unwrap_or_default();
        (self.keys, self.bytes) = (self.keys - unsaved.len(), self.bytes - unsaved.len() * ENTRY);
        self.take_gone(chain, usize::MAX);
        self.gone.remove(&chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gone(length: usize) -> Change {
        Change { rule: "R".into(), key: vec![0; length].into(), offset: None, value: None, supersedes: Vec::new() }
    }

    proptest! {
        #[test]
        fn what_is_kept_up_is_what_is_there(steps in proptest::collection::vec((0..6, 0u32..3, 0i64..5), 0..200)) {
            let mut backlog = Backlog::default();
            for (step, chain, n) in steps {
                match step {
                    0 | 1 => backlog.insert(chain, (n, 1, 1)),
                    2 => backlog.remove(chain, &(n, 1, 1)),
                    3 => drop(backlog.pop(chain)),
                    4 => backlog.let_go(chain, gone(n as usize)),
                    _ if n == 0 => backlog.forget(chain),
                    _ => drop(backlog.take_gone(chain, n as usize)),
                }
                let unsaved = backlog.unsaved.values().map(BTreeSet::len).sum::<usize>();
                let gone = backlog.gone.values().map(VecDeque::len).sum::<usize>();
                let sizes = backlog.gone.values().flatten().map(bytes).sum::<usize>();
                prop_assert_eq!((backlog.len(), backlog.bytes()), (unsaved + gone, unsaved * ENTRY + sizes));
            }
        }
    }
}
