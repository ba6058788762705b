//! The state of all keys of all rules, bounded in bytes.
//!
//! When there is too much, keys go in this order: least events first (in classes of powers of two), and within a class
//! the one that was longest without an event. So a flood of fresh keys pushes out fresh keys, and an attacker who has
//! got further than they have stays. A key that was pushed out is remembered in two Bloom filters of constant size;
//! when it comes back it starts one class higher than a fresh one, so that an attacker who is slower than the flood
//! still gathers events.

use super::{
    feed::Behind, finding::Deferred, history::History, keys::Called, markers::Marker, save::Tracks, window::Window,
};
use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Classes of keys: class n holds keys with 2^n events and more.
const CLASSES: usize = 16;
const NIL: u32 = u32::MAX;

/// That a finding was raised, or is about to be, for a key and bucket.
#[derive(Debug)]
pub(super) struct Mark {
    /// floor(trigger time / dedup).
    pub bucket: i64,
    /// The chains of its records. When one of them is no longer read here this is forgotten, for the finding may have
    /// been dropped with what that chain had not published yet.
    pub chains: Box<[u32]>,
    /// The judgement that waits for the shape to settle.
    pub waiting: Option<Box<Waiting>>,
    /// The number of the last update, or of the finding if there was none.
    pub level: u8,
}

/// A judgement that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The time at which the gate opened.
    pub trigger: i64,
    /// Judged when the watermark gets here.
    pub due: i64,
    /// The record that opened it.
    pub record: Deferred,
}

/// Window ends that an event out of order has changed and nobody has looked at.
#[derive(Debug)]
pub(super) struct Dirty {
    /// From this time on.
    pub from: i64,
    /// Up to this one.
    pub to: i64,
    /// What sweeping them may cost already: paid in by each event out of order, so that sweeps cost O(1) an event.
    pub credit: u64,
    /// The record that goes with a finding; the lowest offset of each chain that must not be let go.
    pub records: Vec<Deferred>,
}

/// The canonical bytes of a key's values. Most are a tenant and a name.
pub(super) type Name = SmallVec<[u8; 56]>;

/// What is known of one key of one rule.
#[derive(Debug)]
pub(super) struct Key {
    /// The rule.
    pub rule: u32,
    /// Canonical bytes of the key's values.
    pub name: Name,
    /// Events, for rules that count.
    pub window: Option<Box<Window>>,
    /// Findings raised and waiting, by bucket.
    pub marks: Vec<Mark>,
    /// Window ends to look at again.
    pub dirty: Option<Box<Dirty>>,
    /// Of a window over findings: the records behind them.
    pub behind: Option<Box<Behind>>,
    /// What a marker remembers of the key.
    pub history: Option<History>,
    /// Of a durable rule: what of it is written.
    pub tracks: Option<Box<Tracks>>,
    /// The detector's epoch when chains that went away were last taken out.
    pub epoch: u32,
    /// Whether it came back after it was pushed out.
    pub returned: bool,
    /// Nothing is lost by forgetting it once every partition is past this time.
    pub until: i64,
}

impl Key {
    /// A key of which nothing is known yet.
    pub fn new(rule: u32, name: &[u8], epoch: u32) -> Self {
        Self {
            rule,
            name: name.into(),
            window: None,
            marks: Vec::new(),
            dirty: None,
            behind: None,
            history: None,
            tracks: None,
            epoch,
            returned: false,
            until: i64::MAX,
        }
    }

    fn bytes(&self) -> usize {
        // 16 bytes for each allocation's own cost
        let marks = self.marks.iter().filter(|mark| mark.waiting.is_some()).count() * (size_of::<Waiting>() + 16);
        let dirty = self
            .dirty
            .as_ref()
            .map_or(0, |dirty| size_of::<Dirty>() + dirty.records.capacity() * size_of::<Deferred>() + 32);
        size_of::<Self>()
            + if self.name.spilled() { self.name.capacity() + 16 } else { 0 }
            + self.window.as_ref().map_or(0, |window| size_of::<Window>() + window.bytes() + 64)
            + self.marks.capacity() * size_of::<Mark>()
            + self.marks.iter().map(|mark| size_of_val(&*mark.chains)).sum::<usize>()
            + marks
            + dirty
            + self.behind.as_ref().map_or(0, |behind| behind.bytes())
            + self.history.as_ref().map_or(0, History::bytes)
            + self.tracks.as_ref().map_or(0, |tracks| tracks.bytes())
            + 48
    }

    fn class(&self) -> usize {
        let remembered = self.history.as_ref().map_or(0, |history| history.weight());
        let events = self.window.as_ref().map_or(1, |window| window.len()).max(remembered).max(1);
        let events = events + usize::from(self.returned);
        (events.ilog2() as usize).min(CLASSES - 1)
    }
}

struct Slot {
    key: Option<Box<Key>>,
    hash: u64,
    generation: u32,
    prev: u32,
    next: u32,
    bytes: usize,
    class: u8,
}

/// The hash of a rule's key, or of a marker's: that of its name is worked out once for all who ask for it.
fn hash(rule: u32, name: Called<'_>) -> u64 {
    // as many places as a rule has markers; 0 is the rule's own
    let place = Marker::place_of(name.bytes).map_or(0, |place| place as u64 + 1);
    let whose = (u64::from(rule) << 8 | place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let product = u128::from(name.hash ^ whose) * 0x5851_f42d_4c95_7f2d_u128;
    (product >> 64) as u64 ^ product as u64
}

/// Keys, found by name, in order of how much there is to lose.
pub(super) struct State {
    slots: Vec<Slot>,
    free: u32,
    table: HashTable<u32>,
    hasher: RandomState,
    /// (most recent, longest ago) of each class.
    lists: [(u32, u32); CLASSES],
    key_bytes: usize,
    /// Bytes of what is remembered of records, for all keys.
    memories: Arc<AtomicUsize>,
    ghosts: Ghosts,
    /// Keys pushed out so far.
    pub evicted: u64,
}

impl State {
    /// No keys. `limit` is what all of detection may take; the filters take a 32nd of it.
    pub fn new(limit: usize, hasher: RandomState) -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            table: HashTable::new(),
            hasher,
            lists: [(NIL, NIL); CLASSES],
            key_bytes: 0,
            memories: Arc::default(),
            ghosts: Ghosts::new(limit / 64),
            evicted: 0,
        }
    }

    /// Bytes that all keys take, with everything that finds them.
    pub fn bytes(&self) -> usize {
        self.key_bytes
            + self.memories.load(Relaxed)
            + self.slots.capacity() * size_of::<Slot>()
            + self.table.allocation_size()
            + self.ghosts.bytes()
    }

    /// Where bytes of what is remembered of records are counted.
    pub fn memories(&self) -> &Arc<AtomicUsize> {
        &self.memories
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Keys and their bytes, by rule.
    pub fn by_rule(&self, rules: usize) -> Vec<(u64, u64)> {
        let mut found = vec![(0, 0); rules];
        for slot in &self.slots {
            if let Some(key) = &slot.key
                && let Some((keys, bytes)) = found.get_mut(key.rule as usize)
            {
                *keys += 1;
                *bytes += slot.bytes as u64;
            }
        }
        found
    }

    /// A key, by its name.
    pub fn find(&self, rule: u32, name: Called<'_>) -> Option<&Key> {
        self.get(self.slot_of(rule, name)?)
    }

    /// The slot of a key, by its name.
    pub fn slot_of(&self, rule: u32, name: Called<'_>) -> Option<u32> {
        self.probe(hash(rule, name), rule, name.bytes)
    }

    fn probe(&self, hash: u64, rule: u32, name: &[u8]) -> Option<u32> {
        let same = |at: &u32| {
            let slot = self.slots.get(*at as usize).filter(|slot| slot.hash == hash);
            slot.and_then(|slot| slot.key.as_ref()).is_some_and(|key| key.rule == rule && *key.name == *name)
        };
        self.table.find(hash, same).copied()
    }

    /// How keys are called whose bytes alone are known.
    pub fn called<'a>(&self, name: &'a [u8]) -> Called<'a> {
        Called::new(name, &self.hasher)
    }

    /// Whether a key was pushed out of late. It may say yes for one that was not, once in forty times.
    pub fn was_pushed_out(&self, rule: u32, name: Called<'_>) -> bool {
        self.evicted > 0 && self.ghosts.contains(hash(rule, name))
    }

    /// The slot of a key, made by `make` if there is none.
    pub fn find_or_insert(&mut self, rule: u32, name: Called<'_>, make: impl FnOnce() -> Key) -> u32 {
        let hash = hash(rule, name);
        if let Some(found) = self.probe(hash, rule, name.bytes) {
            return found;
        }
        let mut key = make();
        key.returned = self.evicted > 0 && self.ghosts.contains(hash);
        let at = self.allocate(hash);
        let bytes = key.bytes();
        let class = key.class() as u8;
        let slot = &mut self.slots[at as usize];
        (slot.key, slot.bytes, slot.class) = (Some(Box::new(key)), bytes, class);
        self.key_bytes += bytes;
        let slots = &self.slots;
        self.table.insert_unique(hash, at, |other| slots[*other as usize].hash);
        self.link(at);
        at
    }

    fn allocate(&mut self, hash: u64) -> u32 {
        if self.free != NIL {
            let at = self.free;
            let slot = &mut self.slots[at as usize];
            self.free = slot.next;
            slot.hash = hash;
            return at;
        }
        if self.slots.len() == self.slots.capacity() {
            // by an eighth, not by doubling: the bound must not be overshot by the index of the keys
            self.slots.reserve_exact(64 + self.slots.len() / 8);
        }
        self.slots.push(Slot { key: None, hash, generation: 0, prev: NIL, next: NIL, bytes: 0, class: 0 });
        (self.slots.len() - 1) as u32 // the bound of bytes keeps this far below 2^32
    }

    /// What tells a slot from one that was used again.
    pub fn generation(&self, at: u32) -> u32 {
        self.slots.get(at as usize).map_or(0, |slot| slot.generation)
    }

    /// Takes a key out of its slot to work on it. It must be put back.
    pub fn take(&mut self, at: u32) -> Option<Box<Key>> {
        self.slots.get_mut(at as usize)?.key.take()
    }

    /// Puts a key back, as the one that had an event most recently.
    pub fn put(&mut self, at: u32, key: Box<Key>) {
        self.unlink(at);
        let (bytes, class) = (key.bytes(), key.class() as u8);
        let slot = &mut self.slots[at as usize];
        self.key_bytes = self.key_bytes - slot.bytes + bytes;
        (slot.key, slot.bytes, slot.class) = (Some(key), bytes, class);
        self.link(at);
    }

    /// Forgets a key for good: nothing is lost by it.
    pub fn remove(&mut self, at: u32) -> Option<Box<Key>> {
        self.unlink(at);
        let hash = self.slots[at as usize].hash;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        let slot = &mut self.slots[at as usize];
        let key = slot.key.take();
        self.key_bytes -= slot.bytes;
        (slot.bytes, slot.generation, slot.next) = (0, slot.generation.wrapping_add(1), self.free);
        self.free = at;
        key
    }

    /// Pushes a key out to make room, and remembers that it was there.
    pub fn evict(&mut self, at: u32) -> Option<Box<Key>> {
        self.ghosts.insert(self.slots[at as usize].hash);
        self.evicted += 1;
        self.remove(at)
    }

    /// The key with the least to lose, other than `but`.
    pub fn victim(&self, but: u32) -> Option<u32> {
        self.lists.iter().find_map(|(_, last)| {
            let at = if *last == but { self.slots.get(*last as usize)?.prev } else { *last };
            (at != NIL).then_some(at)
        })
    }

    /// A key that nothing is lost by forgetting, now that every partition is past `low`.
    pub fn stale(&self, low: i64, but: u32) -> Option<u32> {
        self.lists.iter().map(|(_, last)| *last).find(|at| {
            *at != but
                && self.slots.get(*at as usize).and_then(|slot| slot.key.as_ref()).is_some_and(|key| key.until < low)
        })
    }

    /// A key in its slot.
    pub fn get(&self, at: u32) -> Option<&Key> {
        self.slots.get(at as usize)?.key.as_deref()
    }

    /// The slots of keys that `wanted` wants.
    pub fn slots(&self, wanted: impl Fn(&Key) -> bool) -> Vec<u32> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(at, slot)| slot.key.as_deref().is_some_and(&wanted).then_some(at)).collect()
    }

    /// Gives the keys of every rule its new number. Keys without one must have been removed.
    pub fn renumber(&mut self, number: impl Fn(u32) -> Option<u32>) {
        self.table.clear();
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            let Some(key) = &mut slot.key else { continue };
            let Some(rule) = number(key.rule) else { continue };
            key.rule = rule;
            slot.hash = hash(rule, Called::new(&key.name, &self.hasher));
            let (hash, slots) = (slot.hash, &self.slots);
            self.table.insert_unique(hash, at as u32, |other| slots[*other as usize].hash);
        }
    }

    /// A key in its slot, to take something down: it does not count as an event.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut Key> {
        self.slots.get_mut(at as usize)?.key.as_deref_mut()
    }

    fn link(&mut self, at: u32) {
        let class = self.slots[at as usize].class as usize;
        let (first, _) = self.lists[class];
        (self.slots[at as usize].prev, self.slots[at as usize].next) = (NIL, first);
        match first {
            NIL => self.lists[class].1 = at,
            first => self.slots[first as usize].prev = at,
        }
        self.lists[class].0 = at;
    }

    fn unlink(&mut self, at: u32) {
        let Slot { prev, next, class, .. } = self.slots[at as usize];
        let list = &mut self.lists[class as usize];
        match prev {
            NIL => list.0 = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NIL => list.1 = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }
}

/// Which keys were pushed out of late: two Bloom filters, of which the older is thrown away when the newer is full.
struct Ghosts {
    filters: [Vec<u64>; 2],
    count: usize,
}

impl Ghosts {
    /// Two filters of about `bytes` each.
    fn new(bytes: usize) -> Self {
        let words = (bytes / 8).max(8);
        let words = 1 << words.ilog2();
        Self { filters: [vec![0; words], vec![0; words]], count: 0 }
    }

    fn bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.capacity() * 8).sum()
    }

    fn bits(&self, hash: u64) -> [usize; 4] {
        let mask = self.filters[0].len() * 64 - 1;
        let step = (hash >> 32 | 1) as usize;
        [0, 1, 2, 3].map(|n: usize| (hash as usize).wrapping_add(step.wrapping_mul(n)) & mask)
    }

    fn insert(&mut self, hash: u64) {
        // eight bits a key: one fresh key in forty is mistaken for one that came back
        if self.count >= self.filters[0].len() * 8 {
            self.filters.swap(0, 1);
            self.filters[0].fill(0);
            self.count = 0;
        }
        self.count += 1;
        for bit in self.bits(hash) {
            self.filters[0][bit / 64] |= 1 << (bit % 64);
        }
    }

    fn contains(&self, hash: u64) -> bool {
        let bits = self.bits(hash);
        self.filters.iter().any(|filter| bits.iter().all(|bit| filter[bit / 64] & (1 << (bit % 64)) != 0))
    }
}
