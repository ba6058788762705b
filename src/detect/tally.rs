//! Aggregates of a window, kept up by adding and removing one event at a time, and the values that they are about.

use super::{
    spec::{Agg, COLUMNS, Measure},
    window::Entry,
};
use crate::event::Text;
use ahash::RandomState;
use hashbrown::HashTable;

/// Stands for a null value.
pub(super) const NONE: u32 = u32::MAX;
/// Up to this many values, a column is searched without an index.
const FEW: usize = 8;

/// What a rule's windows have in common.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Length in microseconds.
    pub window: i64,
    /// The aggregates.
    pub aggs: Vec<Agg>,
    pub columns: usize,
    max_per: [bool; COLUMNS],
    /// Fewer events than this cannot open the gate.
    pub need: u64,
}

impl Shape {
    /// Windows of this length with these aggregates over so many columns.
    pub fn new(window: i64, aggs: Vec<Agg>, columns: usize) -> Self {
        let mut max_per = [false; COLUMNS];
        for agg in &aggs {
            if let Measure::MaxPer(column) = agg.measure {
                max_per[column] = true;
            }
        }
        let need = aggs.iter().map(|agg| agg.at_least).max().unwrap_or(1).max(1);
        Self { window, aggs, columns, max_per, need }
    }
}

/// Aggregates over a run of entries, kept up one entry at a time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events.
    pub count: u64,
    columns: Vec<ColumnTally>,
}

#[derive(Debug, Default)]
struct ColumnTally {
    /// Events of each slot.
    live: Vec<u32>,
    /// Slots with an event.
    distinct: u64,
    /// How many slots have n events: kept only where `max_per` asks for it.
    of_count: Vec<u32>,
    /// The largest n.
    most: usize,
}

impl Tally {
    pub fn clear(&mut self, shape: &Shape) {
        self.count = 0;
        if self.columns.len() < shape.columns {
            self.columns.resize_with(shape.columns, ColumnTally::default);
        }
        for column in &mut self.columns {
            column.live.clear();
            column.of_count.clear();
            (column.distinct, column.most) = (0, 0);
        }
    }

    pub fn add(&mut self, entry: &Entry, shape: &Shape) {
        self.count += 1;
        for at in 0..shape.columns {
            let (slot, column) = (entry.values[at], &mut self.columns[at]);
            if slot == NONE {
                continue;
            }
            if column.live.len() <= slot as usize {
                column.live.resize(slot as usize + 1, 0);
            }
            let live = &mut column.live[slot as usize];
            *live += 1;
            column.distinct += u64::from(*live == 1);
            if shape.max_per[at] {
                let now = *live as usize;
                if column.of_count.len() <= now {
                    column.of_count.resize(now + 1, 0);
                }
                column.of_count[now - 1] = column.of_count[now - 1].saturating_sub(1);
                column.of_count[now] += 1;
                column.most = column.most.max(now);
            }
        }
    }

    pub fn remove(&mut self, entry: &Entry, shape: &Shape) {
        self.count -= 1;
        for at in 0..shape.columns {
            let (slot, column) = (entry.values[at], &mut self.columns[at]);
            if slot == NONE {
                continue;
            }
            let live = &mut column.live[slot as usize];
            *live -= 1;
            column.distinct -= u64::from(*live == 0);
            if shape.max_per[at] {
                let was = *live as usize + 1;
                column.of_count[was] -= 1;
                column.of_count[was - 1] += 1;
                // a value went from `was` to `was - 1`: the largest count falls by one at most
                if was == column.most && column.of_count[was] == 0 {
                    column.most = was - 1;
                }
            }
        }
    }

    fn measure(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Count => self.count,
            Measure::Distinct(column) => self.columns[column].distinct,
            Measure::MaxPer(column) => self.columns[column].most as u64,
        }
    }

    /// Whether every gate is open.
    pub fn opens(&self, shape: &Shape) -> bool {
        shape.aggs.iter().all(|agg| self.measure(agg.measure) >= agg.at_least)
    }

    /// The values of the aggregates, in their order.
    pub fn values(&self, shape: &Shape) -> Vec<u64> {
        shape.aggs.iter().map(|agg| self.measure(agg.measure)).collect()
    }

    pub fn bytes(&self) -> usize {
        let counts: usize = self.columns.iter().map(|c| c.live.capacity() + c.of_count.capacity()).sum();
        self.columns.capacity() * size_of::<ColumnTally>() + counts * size_of::<u32>()
    }
}

/// The different values of one field among the events of a key.
#[derive(Debug, Default)]
pub(super) struct Column {
    slots: Vec<Slot>,
    /// First slot that is free, and from there through `refs`.
    free: Option<u32>,
    index: Option<HashTable<u32>>,
    /// Bytes of strings outside their slots.
    heap: usize,
}

#[derive(Debug)]
struct Slot {
    text: Text,
    /// Events that have this value.
    refs: u32,
    used: bool,
}

impl Column {
    pub fn intern(&mut self, text: &str, hasher: &RandomState) -> u32 {
        if let Some(found) = self.find(text, hasher) {
            self.slots[found as usize].refs += 1;
            return found;
        }
        let text = Text::from(text);
        self.heap += outside(&text);
        let slot = Slot { text, refs: 1, used: true };
        let place = match self.free {
            Some(place) => {
                self.free = Some(self.slots[place as usize].refs).filter(|next| *next != NONE);
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32 // at most MOST_ENTRIES of them
            }
        };
        let slots = &self.slots;
        match &mut self.index {
            Some(index) => {
                let hash = |place: u32| hasher.hash_one(slots[place as usize].text.as_str());
                index.insert_unique(hash(place), place, |other| hash(*other));
            }
            None if self.slots.len() > FEW => {
                let hash = |place: u32| hasher.hash_one(slots[place as usize].text.as_str());
                let mut index = HashTable::with_capacity(2 * FEW);
                for place in (0..slots.len() as u32).filter(|place| slots[*place as usize].used) {
                    index.insert_unique(hash(place), place, |other| hash(*other));
                }
                self.index = Some(index);
            }
            None => {}
        }
        place
    }

    fn find(&self, text: &str, hasher: &RandomState) -> Option<u32> {
        match &self.index {
            Some(index) => index.find(hasher.hash_one(text), |place| self.slots[*place as usize].text == text).copied(),
            None => self.slots.iter().position(|slot| slot.used && slot.text == text).map(|place| place as u32),
        }
    }

    pub fn release(&mut self, place: u32, hasher: &RandomState) {
        let Some(slot) = self.slots.get_mut(place as usize) else { return };
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        let text = std::mem::take(&mut slot.text);
        slot.used = false;
        slot.refs = self.free.unwrap_or(NONE);
        self.free = Some(place);
        self.heap -= outside(&text);
        if let Some(index) = &mut self.index
            && let Ok(found) = index.find_entry(hasher.hash_one(text.as_str()), |other| *other == place)
        {
            found.remove();
        }
    }

    pub fn bytes(&self) -> usize {
        self.heap
            + self.slots.capacity() * size_of::<Slot>()
            + self.index.as_ref().map_or(0, HashTable::allocation_size)
    }
}

/// Bytes that a string keeps outside its struct.
fn outside(text: &Text) -> usize {
    if text.is_heap_allocated() { text.capacity() } else { 0 }
}
