//! The partitions that are read here: how far each has come, what it defers, and how far all of them have come.

use super::{finding::Deferred, offsets::Offsets, watermark::Watermark};
use crate::position::ChainId;
use ahash::RandomState;
use hashbrown::HashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A partition that says nothing for so long, in milliseconds during which others do, no longer holds them back.
const PATIENCE: i64 = 60_000;
/// Of places that are not committed, one is taken down each time events have come so much further, in microseconds.
const PLACES_APART: i64 = 1_000_000;
/// So many places are taken down for a partition at most.
const MOST_PLACES: usize = 1024;
/// A partition is idle when it had nothing to read for so long, in milliseconds of wall clock. A producer that pauses
/// in the middle of a backlog, or a reader that is faster, must not let the wall clock stand for the events to come.
const QUIET: i64 = 10_000;

/// So many partitions are looked through before their names are hashed.
const FEW: usize = 16;
/// Microseconds.
const SECOND: i64 = 1_000_000;
/// Bytes that the indexes of a record take that a judgement waits with, about.
const ENTRY: usize = 96;

struct Partition {
    id: Arc<ChainId>,
    mark: Watermark,
    /// When it last said something, on the clock of all partitions.
    heard: i64,
    /// When it last had a record to judge, on that clock.
    fed: i64,
    /// The same, in milliseconds of wall clock; `None` while there was none.
    fed_at: Option<i64>,
    /// Offsets whose judgement waits.
    deferred: Offsets,
    /// Bytes of the records at these offsets.
    waiting_bytes: usize,
    /// The highest offset judged so far.
    highest: i64,
    /// Microseconds: the time of its first record here, unless that was the first of the log.
    since: Option<i64>,
    /// Milliseconds: when there was nothing to read for the first time, before its first record here.
    empty_at: Option<i64>,
    /// Offsets that are not committed, with how far events had come when each was judged: judged again, it asks for
    /// what was known then.
    places: VecDeque<(i64, i64)>,
}

impl Partition {
    /// A record is judged when events have come to `low`. Whether what is asked for goes back.
    fn pass(&mut self, offset: i64, low: i64) -> bool {
        match self.places.back() {
            Some((_, last)) if low < *last => {
                // a partition has come that is behind: what is judged again is judged beside it
                self.places.iter_mut().for_each(|(_, known)| *known = low.min(*known));
                return true;
            }
            Some((_, last)) if low.saturating_sub(*last) < PLACES_APART => return false,
            _ => {}
        }
        if self.places.len() >= MOST_PLACES {
            let mut at = 0;
            // of two neighbours the earlier one stands for both
            self.places.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.places.push_back((offset, low));
        self.places.len() == 1
    }

    /// Whoever comes next begins at this offset or after it.
    fn committed(&mut self, offset: i64) {
        if offset > self.highest {
            self.places.clear();
        }
        while self.places.get(1).is_some_and(|(next, _)| *next <= offset) {
            self.places.pop_front();
        }
    }
}

/// All partitions.
pub(super) struct Partitions {
    /// By index. A partition that goes away leaves its place empty, and is a new one when it comes back: what was
    /// gathered under the old index is known to be void.
    all: Vec<Option<Box<Partition>>>,
    /// Indexes in use.
    live: Vec<u32>,
    by_id: HashMap<Arc<ChainId>, u32, RandomState>,
    last: u32,
    /// Counts up each time a partition goes away.
    pub epoch: u32,
    /// Microseconds. Every partition has come at least here: judgements that wait until then can be made.
    pub low: i64,
    /// Microseconds. Events have come at least here: what is older by more than the lateness will not come. It goes
    /// back when a partition comes, for that may have a backlog of weeks.
    pub low_events: i64,
    /// Microseconds. Records that are not committed may be judged again as of here; `i64::MAX` without any.
    pub uncommitted: i64,
    /// Whether that matters: whether the state outlives the process.
    pub outlives: bool,
    /// Room for places that are not committed, over all partitions.
    places: usize,
    holders: [u32; 2],
    lateness: i64,
    /// Milliseconds in which anything was read at all: a pause of everything makes no partition silent.
    clock: i64,
    last_now: i64,
    calls: u32,
    /// Bytes of the records that judgements wait with, each counted once.
    waiting_bytes: usize,
    /// How many records of this second and chain judgements wait with.
    waiting: BTreeMap<(i64, u32), u32>,
    /// The first of these seconds, in microseconds: it is asked for with every key that is touched.
    oldest: Option<i64>,
    /// Events that were counted before, by topic.
    pub repeats: BTreeMap<String, u64>,
}

impl Partitions {
    /// None yet. `lateness` is in microseconds.
    pub fn new(lateness: i64) -> Self {
        Self {
            all: Vec::new(),
            live: Vec::new(),
            by_id: HashMap::default(),
            last: u32::MAX,
            epoch: 0,
            low: i64::MIN,
            low_events: i64::MIN,
            uncommitted: i64::MAX,
            outlives: false,
            places: 0,
            holders: [u32::MAX; 2],
            lateness,
            clock: 0,
            last_now: i64::MIN,
            calls: 0,
            waiting_bytes: 0,
            waiting: BTreeMap::new(),
            oldest: None,
            repeats: BTreeMap::new(),
        }
    }

    /// The index of a chain, which is read here from now on.
    pub fn index(&mut self, id: &Arc<ChainId>, now: i64) -> u32 {
        if self.last_now != i64::MIN {
            self.clock += now.saturating_sub(self.last_now).clamp(0, 1000);
        }
        self.last_now = now;
        if !self.get(self.last).is_some_and(|last| Arc::ptr_eq(&last.id, id)) {
            // most readers hold the very same, and read few partitions
            let same = |at: &&u32| self.get(**at).is_some_and(|live| Arc::ptr_eq(&live.id, id));
            let known = self.live.iter().take(FEW).find(same);
            self.last = match known.or_else(|| self.by_id.get(id)) {
                Some(at) => *at,
                None => self.add(id),
            };
        }
        let clock = self.clock;
        if let Some(partition) = self.at(self.last) {
            partition.heard = clock;
        }
        self.last
    }

    fn add(&mut self, id: &Arc<ChainId>) -> u32 {
        let at = self.all.len() as u32; // assignments of one process: far below 2^32
        self.by_id.insert(id.clone(), at);
        self.live.push(at);
        (self.low_events, self.holders) = (i64::MIN, [u32::MAX; 2]);
        self.all.push(Some(Box::new(Partition {
            id: id.clone(),
            mark: Watermark::default(),
            heard: self.clock,
            fed: self.clock,
            fed_at: None,
            deferred: Offsets::default(),
            waiting_bytes: 0,
            highest: i64::MIN,
            since: None,
            empty_at: None,
            places: VecDeque::new(),
        })));
        at
    }

    fn at(&mut self, at: u32) -> Option<&mut Partition> {
        self.all.get_mut(at as usize)?.as_deref_mut()
    }

    fn get(&self, at: u32) -> Option<&Partition> {
        self.all.get(at as usize)?.as_deref()
    }

    /// Those that are read here, with their indexes.
    fn live(&self) -> impl Iterator<Item = (u32, &Partition)> {
        self.live.iter().filter_map(|at| Some((*at, self.get(*at)?)))
    }

    /// Whether a chain is read here.
    pub fn is_read(&self, at: u32) -> bool {
        self.get(at).is_some()
    }

    /// The index of a chain that is read here.
    pub fn find(&self, id: &ChainId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The chain of an index that is in use.
    pub fn id(&self, at: u32) -> Option<Arc<ChainId>> {
        self.get(at).map(|partition| partition.id.clone())
    }

    /// The same, to look at.
    pub fn chain(&self, at: u32) -> Option<&ChainId> {
        self.get(at).map(|partition| &*partition.id)
    }

    /// Whether an event of this time is too late for its partition.
    pub fn is_late(&self, at: u32, time: i64) -> bool {
        let mark = self.get(at).and_then(|partition| partition.mark.events());
        mark.is_some_and(|mark| time < mark.saturating_sub(self.lateness))
    }

    /// A record was judged. Whether the low watermark may have moved.
    pub fn note(&mut self, at: u32, source: &str, id: u64, time: i64, record: i64, now: i64) -> bool {
        let (clock, lateness) = (self.clock, self.lateness);
        let Some(partition) = self.at(at) else { return false };
        (partition.fed, partition.fed_at) = (clock, Some(now));
        let moved = partition.mark.note(source, id, time, record, now, lateness);
        self.calls = self.calls.wrapping_add(1);
        if (moved && self.holders.contains(&at)) || self.holders.contains(&u32::MAX) || self.calls.is_multiple_of(4096)
        {
            self.refresh();
            return true;
        }
        false
    }

    /// A record comes. Whether it may have come before; the first one says from when on windows are whole.
    pub fn begin(&mut self, at: u32, offset: i64, time: i64) -> bool {
        if self.outlives {
            self.pass(at, offset);
        }
        let Some(partition) = self.at(at) else { return false };
        if partition.since.is_none() {
            partition.since = Some(if offset == 0 { i64::MIN } else { time });
        }
        let again = offset <= partition.highest;
        partition.highest = partition.highest.max(offset);
        again
    }

    /// Takes down how far events have come when this record is judged.
    fn pass(&mut self, at: u32, offset: i64) {
        let low = self.low_events;
        let Some(partition) = self.at(at) else { return };
        let before = partition.places.capacity();
        let first = partition.pass(offset, low);
        let after = partition.places.capacity();
        self.places = self.places - before + after;
        if first {
            self.uncommitted = self.uncommitted.min(low);
        }
    }

    /// Whether a window that begins here may lack events that were there before anything was read. `known` says of a
    /// chain since when what was read before is known all the same.
    pub fn is_warming(&self, from: i64, known: impl Fn(u32) -> Option<i64>) -> bool {
        self.live().any(|(at, partition)| known(at).or(partition.since).is_some_and(|since| from < since))
    }

    /// The time of the first record of a chain here; the beginning of time if that was the first of its log.
    pub fn since(&self, at: u32) -> Option<i64> {
        self.get(at)?.since
    }

    /// Those that are read here.
    pub fn chains(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.iter().copied()
    }

    fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Partition> {
        self.live().map(|(_, partition)| partition).filter(move |partition| partition.id.topic == topic)
    }

    /// How far every partition of a topic that is read here has come, in microseconds: also one that says nothing is
    /// waited for. `None` while one of them has said nothing yet.
    pub fn reached(&self, topic: &str) -> Option<i64> {
        let mut least = None;
        for partition in self.of(topic) {
            let value = partition.mark.value()?;
            least = Some(least.map_or(value, |least: i64| least.min(value)));
        }
        least
    }

    /// Since when, in microseconds, what comes in a topic is known whole: not before the first record here of any
    /// partition, unless that was the first of its log. `None` while that is not known of one of them.
    pub fn known_since(&self, topic: &str) -> Option<i64> {
        let mut latest = i64::MIN;
        for partition in self.of(topic) {
            let empty = partition.empty_at.map(|millis| millis.saturating_mul(1000));
            latest = latest.max(partition.since.or(empty)?);
        }
        Some(latest)
    }

    /// An event of a partition was counted before.
    pub fn repeated(&mut self, at: u32) {
        let Some(id) = self.id(at) else { return };
        match self.repeats.get_mut(&id.topic) {
            Some(count) => *count += 1,
            None => {
                self.repeats.insert(id.topic.clone(), 1);
            }
        }
    }

    /// There is nothing more to read in a partition. If that is so for a while, it holds nobody back.
    pub fn idle(&mut self, at: u32, now: i64) {
        if let Some(partition) = self.at(at).filter(|partition| partition.since.is_none()) {
            partition.empty_at.get_or_insert(now);
        }
        if let Some(partition) = self.at(at)
            // a wall clock that was set back says nothing: then it is idle at once
            && partition.fed_at.is_none_or(|fed| !(fed..fed.saturating_add(QUIET)).contains(&now))
        {
            partition.mark.idle(now);
        }
        self.refresh();
    }

    /// What has come before this offset of a chain is committed for good.
    pub fn committed(&mut self, at: u32, offset: i64) {
        if let Some(partition) = self.at(at) {
            partition.committed(offset);
        }
        self.refresh_uncommitted();
    }

    fn refresh_uncommitted(&mut self) {
        let places = self.live().filter_map(|(_, partition)| partition.places.front());
        self.uncommitted = places.map(|(_, low)| *low).min().unwrap_or(i64::MAX);
    }

    /// A judgement waits with this record. Several rules may wait with one: it is entered once.
    pub fn defer(&mut self, waiting: &Deferred) {
        let (at, time, offset) = (waiting.chain, waiting.record.time, waiting.record.offset);
        let Some(partition) = self.at(at) else { return };
        if waiting.record.begin_to_wait() {
            let bytes = waiting.record.bytes() + ENTRY;
            partition.deferred.insert(offset);
            partition.waiting_bytes += bytes;
            self.waiting_bytes += bytes;
            let second = time.div_euclid(SECOND);
            *self.waiting.entry((second, at)).or_default() += 1;
            let begins = second.saturating_mul(SECOND);
            self.oldest = Some(self.oldest.map_or(begins, |oldest| oldest.min(begins)));
        }
    }

    /// Whether a judgement waits with the record at this offset.
    pub fn is_deferred(&self, at: u32, offset: i64) -> bool {
        self.get(at).is_some_and(|partition| partition.deferred.contains(offset))
    }

    /// Bytes of the records that judgements wait with, about.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// A judgement no longer waits.
    pub fn release(&mut self, waiting: &Deferred) {
        let (at, time, offset) = (waiting.chain, waiting.record.time, waiting.record.offset);
        let Some(partition) = self.at(at) else { return };
        if !waiting.record.end_to_wait() {
            return;
        }
        if !partition.deferred.remove(offset) {
            return;
        }
        let bytes = waiting.record.bytes() + ENTRY;
        partition.waiting_bytes -= bytes;
        self.waiting_bytes -= bytes;
        let second = (time.div_euclid(SECOND), at);
        if let Some(count) = self.waiting.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&second);
                self.refresh_oldest();
            }
        }
    }

    fn refresh_oldest(&mut self) {
        self.oldest = self.waiting.keys().next().map(|(second, _)| second.saturating_mul(SECOND));
    }

    /// The second of the oldest record that a judgement waits with, in microseconds: questions are still asked as of
    /// then.
    pub fn oldest_waiting(&self) -> Option<i64> {
        self.oldest
    }

    /// The lowest offset of a chain that a judgement waits with.
    pub fn deferred(&self, id: &ChainId) -> Option<i64> {
        self.get(*self.by_id.get(id)?)?.deferred.first()
    }

    /// A chain is no longer read here.
    pub fn forget(&mut self, id: &ChainId) {
        let Some(at) = self.by_id.remove(id) else { return };
        self.live.retain(|live| *live != at);
        if let Some(partition) = self.all.get_mut(at as usize).and_then(Option::take) {
            self.waiting_bytes -= partition.waiting_bytes;
            self.places -= partition.places.capacity();
            self.waiting.retain(|(_, chain), _| *chain != at);
            self.refresh_oldest();
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.refresh_uncommitted();
        self.refresh();
    }

    /// Computes anew how far all have come. Neither mark moves back for those that are known.
    fn refresh(&mut self) {
        let patience = (self.lateness / 1000).max(PATIENCE);
        let (mut low, mut low_events) = ((i64::MAX, u32::MAX), (i64::MAX, u32::MAX));
        for (at, partition) in self.live() {
            if self.clock - partition.heard <= patience {
                low = low.min((partition.mark.value().unwrap_or(i64::MIN), at));
            }
            // a partition that has nothing to read and never had anything is not waited for
            let empty = partition.mark.events().is_none() && partition.mark.value().is_some();
            if self.clock - partition.fed <= patience && !empty {
                low_events = low_events.min((partition.mark.events().unwrap_or(i64::MIN), at));
            }
        }
        if low.1 != u32::MAX {
            self.low = self.low.max(low.0);
        }
        if low_events.1 != u32::MAX {
            self.low_events = self.low_events.max(low_events.0);
        }
        self.holders = [low.1, low_events.1];
    }

    /// Bytes taken, about.
    pub fn bytes(&self) -> usize {
        let places = self.all.capacity() * size_of::<usize>() + self.live.len() * size_of::<Partition>();
        places + self.places * size_of::<(i64, i64)>() + self.waiting_bytes
    }
}
