//! Which events were counted already: a bounded window of their ids.

use ahash::RandomState;
use hashbrown::HashMap;

/// SHA-256 of tenant, source and event id, cut to 128 bits.
pub(super) type Identity = [u8; 16];

/// Two generations of ids: when the newer is full, the older is thrown away.
pub(super) struct Repeats {
    generations: [HashMap<Identity, u32, RandomState>; 2],
    most: usize,
}

impl Repeats {
    /// A window of ids that takes at most about `bytes`.
    pub fn new(bytes: usize, hasher: RandomState) -> Self {
        let slots = (bytes / 2 / (size_of::<(Identity, u32)>() + 1)).max(16);
        let slots = 1usize << slots.ilog2();
        let table = || HashMap::with_hasher(hasher.clone());
        Self { generations: [table(), table()], most: slots / 8 * 7 }
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.generations.iter().map(HashMap::allocation_size).sum()
    }

    /// Remembers an id. Says whether it was known from a chain that is still read here.
    pub fn seen(&mut self, id: Identity, chain: u32, is_read: impl Fn(u32) -> bool) -> bool {
        let [new, old] = &mut self.generations;
        let known = [&*new, &*old].into_iter().find_map(|generation| generation.get(&id));
        if known.is_some_and(|chain| is_read(*chain)) {
            return true;
        }
        old.remove(&id);
        if new.len() >= self.most && !new.contains_key(&id) {
            self.generations.swap(0, 1);
            self.generations[0].clear();
        }
        self.generations[0].insert(id, chain);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_remembered_within_the_bound() {
        let mut repeats = Repeats::new(64 * 1024, RandomState::with_seeds(1, 2, 3, 4));
        let id = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        assert!(!repeats.seen(id(0), 7, |_| true));
        assert!(repeats.seen(id(0), 7, |_| true));
        assert!(!repeats.seen(id(0), 7, |chain| chain != 7), "a chain that went away is read anew");
        for n in 0..100_000 {
            repeats.seen(id(n), 1, |_| true);
            assert!(repeats.bytes() <= 64 * 1024, "{}", repeats.bytes());
        }
        assert!(repeats.seen(id(99_000), 1, |_| true), "recent ids are known");
        assert!(!repeats.seen(id(1), 1, |_| true), "old ones are not");
    }
}
