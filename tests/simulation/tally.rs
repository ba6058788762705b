//! What was injected, counted by kind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Counters by kind. Clones share them.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    pub fn count(&self, kind: impl Into<String>) {
        self.add(kind, 1);
    }

    pub fn add(&self, kind: impl Into<String>, times: u64) {
        *self.0.lock().unwrap().entry(kind.into()).or_default() += times;
    }

    pub fn merge(&self, other: &Self) {
        for (kind, times) in other.0.lock().unwrap().iter() {
            self.add(kind.clone(), *times);
        }
    }

    pub fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}
