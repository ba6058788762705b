//! Which events were counted already: a bounded window of their ids.

use crate::event::AuthEvent;
use ahash::RandomState;
use hashbrown::HashTable;
use std::{
    collections::hash_map::RandomState as Keyed,
    hash::{BuildHasher, Hasher},
};

/// What tells an event from all others, by tenant, source and event id: two hashes of 64 bits, both under keys that
/// this process drew, one of them SipHash, so that nobody can make an event that is taken for another one. It is kept
/// in memory alone.
type Identity = [u32; 4];

/// Two generations of ids: when the newer is full, the older is thrown away.
pub(super) struct Repeats {
    generations: [HashTable<(Identity, u32)>; 2],
    most: usize,
    hasher: RandomState,
    keyed: Keyed,
}

impl Repeats {
    /// A window of ids that takes at most about `bytes`.
    pub fn new(bytes: usize, hasher: RandomState) -> Self {
        let slots = (bytes / 2 / (size_of::<(Identity, u32)>() + 1)).max(16);
        let slots = 1usize << slots.ilog2();
        Self { generations: Default::default(), most: slots / 8 * 7, hasher, keyed: Keyed::new() }
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.generations.iter().map(HashTable::allocation_size).sum()
    }

    /// Remembers an event. Says whether it was known from a chain that is still read here.
    pub fn seen(&mut self, event: &AuthEvent, chain: u32, is_read: impl Fn(u32) -> bool) -> bool {
        let id = self.identity(event);
        self.seen_id(id, chain, is_read)
    }

    fn identity(&self, event: &AuthEvent) -> Identity {
        let parts = [event.tenant.as_deref().unwrap_or_default(), event.source.as_str(), event.event_id.as_str()];
        let mut keyed = self.keyed.build_hasher();
        for part in parts {
            keyed.write_u32(part.len() as u32); // a value has 16 MiB at most
            keyed.write(part.as_bytes());
        }
        let (a, b) = (self.hasher.hash_one(parts), keyed.finish());
        [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
    }

    fn seen_id(&mut self, id: Identity, chain: u32, is_read: impl Fn(u32) -> bool) -> bool {
        let [new, old] = &mut self.generations;
        let (place, same) = (place(&id), |(known, _): &(Identity, u32)| *known == id);
        if let Some((_, known)) = new.find_mut(place, same) {
            return is_read(*known) || {
                *known = chain;
                false
            };
        }
        if let Ok(known) = old.find_entry(place, same) {
            if is_read(known.get().1) {
                return true;
            }
            known.remove();
        }
        if new.len() >= self.most {
            self.generations.swap(0, 1);
            self.generations[0].clear();
        }
        self.generations[0].insert_unique(place, (id, chain), |(id, _)| self::place(id));
        false
    }
}

/// Where an id stands: it is a hash already.
fn place([a, b, ..]: &Identity) -> u64 {
    u64::from(*a) | u64::from(*b) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_remembered_within_the_bound() {
        let mut repeats = Repeats::new(64 * 1024, RandomState::with_seeds(1, 2, 3, 4));
        let id = |n: u32| [n.wrapping_mul(0x9e37_79b9), n.wrapping_mul(0x85eb_ca6b), 0, n];
        assert!(!repeats.seen_id(id(0), 7, |_| true));
        assert!(repeats.seen_id(id(0), 7, |_| true));
        assert!(!repeats.seen_id(id(0), 7, |chain| chain != 7), "a chain that went away is read anew");
        for n in 0..100_000 {
            repeats.seen_id(id(n), 1, |_| true);
            assert!(repeats.bytes() <= 64 * 1024, "{}", repeats.bytes());
        }
        assert!(repeats.seen_id(id(99_000), 1, |_| true), "recent ids are known");
        assert!(!repeats.seen_id(id(1), 1, |_| true), "old ones are not");
    }

    #[test]
    fn an_event_is_known_by_tenant_source_and_id() {
        let repeats = Repeats::new(64 * 1024, RandomState::new());
        let of = |tenant: Option<&str>, source: &str, id: &str| {
            let (tenant, source, event_id) = (tenant.map(Into::into), source.into(), id.into());
            repeats.identity(&AuthEvent { tenant, source, event_id, ..AuthEvent::default() })
        };
        let all = [
            of(None, "okta", "1"),
            of(Some("acme"), "okta", "1"),
            of(Some("acme"), "okta", "2"),
            of(Some("acme"), "okta1", ""),
            of(Some("acmeo"), "kta", "1"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(of(None, "okta", "1"), of(Some(""), "okta", "1"), "no tenant is the empty one, as in keys");
    }
}
