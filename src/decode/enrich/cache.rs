//! What was worked out lately, in two generations: when the young one is full it becomes the old one, and what is asked
//! for again comes back. Whatever comes, it holds no more than both, and what is in use stays.

use hashbrown::{Equivalent, HashMap};
use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Map<K, V> = HashMap<K, Arc<V>, ahash::RandomState>;

/// Bounded; shared by all threads.
pub(super) struct Cache<K, V> {
    /// The young one and the old one.
    generations: Mutex<[Map<K, V>; 2]>,
    /// Entries of a generation.
    most: usize,
}

impl<K: Hash + Eq, V> Cache<K, V> {
    /// Holds at most `most` entries.
    pub fn new(most: usize) -> Self {
        Self { generations: Mutex::default(), most: most / 2 }
    }

    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<Arc<V>> {
        let [young, old] = &mut *self.lock();
        if let Some(value) = young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = old.remove_entry(key)?;
        if young.len() >= self.most {
            *old = std::mem::take(young);
        }
        young.insert(key, value.clone());
        Some(value)
    }

    pub fn insert(&self, key: K, value: Arc<V>) {
        let [young, old] = &mut *self.lock();
        if young.len() >= self.most {
            *old = std::mem::take(young);
        }
        young.insert(key, value);
    }

    /// A panic elsewhere leaves nothing half done behind the lock.
    fn lock(&self) -> MutexGuard<'_, [Map<K, V>; 2]> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_what_is_asked_for() {
        let cache = Cache::new(100);
        cache.insert(0u32, Arc::new(0u32));
        for n in 1..10_000 {
            assert_eq!(cache.get(&n), None);
            cache.insert(n, Arc::new(n));
            assert_eq!((cache.get(&n).as_deref(), cache.get(&0).as_deref()), (Some(&n), Some(&0)));
            let [young, old] = &*cache.lock();
            assert!(young.len() + old.len() <= 100);
        }
        assert_eq!(cache.get(&1), None);
    }
}
