//! The window of one key in event time: events in order of time, aggregates kept up by adding and removing one event
//! at a time, and sweeps that evaluate every window end that an event out of order has changed.

use super::{
    column::{Column, NONE},
    measure::Measured,
    spec::COLUMNS,
    tally::{Shape, Tally},
};
use ahash::RandomState;
use std::collections::VecDeque;

/// How many events one key of one rule keeps: with more, the oldest go, and the finding says so.
pub(super) const MOST_ENTRIES: usize = 16_384;

/// An event in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Microseconds since 1970.
    pub time: i64,
    /// Kafka offset.
    pub offset: i64,
    /// Index of the chain in the detector.
    pub chain: u32,
    /// The conditions that hold for it: bit n is condition n.
    conditions: u32,
    /// Slots of its values, by column.
    pub values: [u32; COLUMNS],
}

impl Entry {
    /// Whether the condition of this index holds for it.
    pub fn meets(&self, condition: usize) -> bool {
        self.conditions & (1 << condition) != 0
    }

    /// The conditions that hold for it: bit n is condition n.
    pub fn conditions(&self) -> u32 {
        self.conditions
    }

    /// In this order events stand: which is first and which is last does not depend on how partitions are read.
    fn order(&self) -> (i64, i64, u32) {
        (self.time, self.offset, self.chain)
    }
}

/// An event that comes into a window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Incoming<'a> {
    /// Microseconds since 1970.
    pub time: i64,
    /// Index of the chain in the detector.
    pub chain: u32,
    /// Kafka offset.
    pub offset: i64,
    /// Whether the record may have been put in before.
    pub again: bool,
    /// Its values, by column.
    pub values: [Option<&'a str>; COLUMNS],
    /// The conditions that hold for it: bit n is condition n.
    pub conditions: u32,
}

/// What came of inserting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It stands in the window.
    New,
    /// The very record was there before.
    Repeat,
    /// It is older than everything in a window that is full.
    TooOld,
}

/// The events of one key.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    columns: Vec<Column>,
    /// The end of the window that `tally` is of.
    head: i64,
    /// `entries[start..end]` are those in `tally`: times in (head − window, head].
    start: usize,
    end: usize,
    tally: Tally,
    /// Whether events were dropped because there were too many.
    pub truncated: bool,
}

impl Window {
    /// A window without events.
    pub fn new(shape: &Shape) -> Self {
        let mut tally = Tally::default();
        tally.clear(shape);
        Self {
            entries: VecDeque::new(),
            columns: shape.columns.iter().map(|numeric| Column::new(*numeric)).collect(),
            head: i64::MIN,
            start: 0,
            end: 0,
            tally,
            truncated: false,
        }
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.columns.capacity() * size_of::<Column>()
            + self.columns.iter().map(Column::bytes).sum::<usize>()
            + self.tally.bytes()
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All events, by time.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter()
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The text in a slot of a column.
    pub fn text(&self, column: usize, slot: u32) -> Option<&str> {
        self.columns.get(column)?.text(slot)
    }

    /// The same events in the same columns, counted for another shape.
    pub fn count_anew(&self, shape: &Shape, hasher: &RandomState) -> Self {
        let mut window = Self::new(shape);
        for entry in &self.entries {
            let mut values = [None; COLUMNS];
            for (column, value) in values.iter_mut().enumerate() {
                *value = self.text(column, entry.values[column]);
            }
            let Entry { time, offset, chain, conditions, .. } = *entry;
            window.insert(shape, Incoming { time, chain, offset, again: false, values, conditions }, hasher);
        }
        window.truncated = self.truncated;
        window.advance(shape, self.head);
        window
    }

    /// The latest time of an event.
    pub fn latest(&self) -> i64 {
        self.entries.back().map_or(i64::MIN, |entry| entry.time)
    }

    /// The end of the window that is kept up.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// The aggregates of the window that is kept up.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the gate is open for the window that is kept up.
    pub fn opens(&self, shape: &Shape) -> bool {
        self.tally.opens(shape, self.current())
    }

    /// The values of aggregates of this window, over these events in so many microseconds.
    pub fn values(&self, shape: &Shape, tally: &Tally, run: Run<'_>, length: i64) -> Vec<Measured> {
        tally.values(shape, &self.columns, run, length)
    }

    /// Puts an event in at its own time; among events of the same time, by its position.
    pub fn insert(&mut self, shape: &Shape, incoming: Incoming<'_>, hasher: &RandomState) -> Inserted {
        let order = (incoming.time, incoming.offset, incoming.chain);
        let at = match self.entries.back() {
            Some(last) if last.order() > order => self.entries.partition_point(|entry| entry.order() <= order),
            _ => self.entries.len(),
        };
        if incoming.again && at.checked_sub(1).is_some_and(|before| self.entries[before].order() == order) {
            return Inserted::Repeat;
        }
        if self.entries.len() >= MOST_ENTRIES {
            self.truncated = true;
            if at == 0 {
                return Inserted::TooOld;
            }
            self.pop_front(shape, hasher);
            return self.place(shape, at - 1, incoming, hasher);
        }
        self.place(shape, at, incoming, hasher)
    }

    fn place(&mut self, shape: &Shape, at: usize, incoming: Incoming<'_>, hasher: &RandomState) -> Inserted {
        let Incoming { time, chain, offset, values, conditions, .. } = incoming;
        let mut slots = [NONE; COLUMNS];
        for (place, column) in self.columns.iter_mut().enumerate() {
            slots[place] = values[place].map_or(NONE, |text| column.intern(text, hasher));
        }
        let entry = Entry { time, offset, chain, conditions, values: slots };
        if self.entries.is_empty() {
            self.entries.reserve_exact(1); // most keys never see a second event
        }
        self.entries.insert(at, entry);
        if time <= self.head.saturating_sub(shape.window) {
            (self.start, self.end) = (self.start + 1, self.end + 1);
        } else if time <= self.head {
            self.tally.add(&entry, shape, &self.columns);
            self.end += 1;
        }
        Inserted::New
    }

    /// Moves the window that is kept up forward, so that it ends at `time`.
    pub fn advance(&mut self, shape: &Shape, time: i64) {
        if time <= self.head {
            return;
        }
        self.head = time;
        while let Some(entry) = self.entries.get(self.end).filter(|entry| entry.time <= time) {
            self.tally.add(entry, shape, &self.columns);
            self.end += 1;
        }
        let edge = time.saturating_sub(shape.window);
        while self.start < self.end
            && let Some(entry) = self.entries.get(self.start).filter(|entry| entry.time <= edge)
        {
            self.tally.remove(entry, shape, &self.columns);
            self.start += 1;
        }
    }

    fn pop_front(&mut self, shape: &Shape, hasher: &RandomState) {
        let Some(entry) = self.entries.pop_front() else { return };
        if self.start > 0 {
            self.start -= 1;
            self.end -= 1;
        } else if self.end > 0 {
            self.tally.remove(&entry, shape, &self.columns);
            self.end -= 1;
        }
        for (column, slot) in self.columns.iter_mut().zip(entry.values) {
            if slot != NONE {
                column.release(slot, hasher);
            }
        }
    }

    /// Drops events at or before `cut` that no longer stand in the window that is kept up.
    pub fn prune(&mut self, shape: &Shape, cut: i64, hasher: &RandomState) {
        while self.start > 0 && self.entries.front().is_some_and(|entry| entry.time <= cut) {
            self.pop_front(shape, hasher);
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Drops the events of chains that are no longer read here.
    pub fn retain(&mut self, shape: &Shape, keep: impl Fn(u32) -> bool, hasher: &RandomState) {
        let (old, head) = (std::mem::take(&mut self.entries), self.head);
        self.tally.clear(shape);
        (self.start, self.end, self.head) = (0, 0, i64::MIN);
        for entry in old {
            if keep(entry.chain) {
                self.entries.push_back(entry);
                continue;
            }
            for (column, slot) in self.columns.iter_mut().zip(entry.values) {
                if slot != NONE {
                    column.release(slot, hasher);
                }
            }
        }
        self.advance(shape, head);
    }

    /// How many events stand in (from, to).
    pub fn between(&self, from: i64, to: i64) -> u64 {
        let low = self.entries.partition_point(|entry| entry.time <= from);
        let high = self.entries.partition_point(|entry| entry.time < to);
        high.saturating_sub(low) as u64
    }

    /// Evaluates the window at every time of an event in [from, to]. Each window covers (end − window, end].
    /// `visit` gets the end, its aggregates, and the run of entries; it says whether to go on.
    pub fn sweep(
        &self,
        shape: &Shape,
        (from, to): (i64, i64),
        scratch: &mut Tally,
        mut visit: impl FnMut(i64, &Tally, Run<'_>) -> bool,
    ) {
        scratch.clear(shape);
        let mut low = self.entries.partition_point(|entry| entry.time <= from.saturating_sub(shape.window));
        let mut high = low;
        let mut next = self.entries.partition_point(|entry| entry.time < from);
        while let Some(end) = self.entries.get(next).map(|entry| entry.time).filter(|end| *end <= to) {
            while let Some(entry) = self.entries.get(high).filter(|entry| entry.time <= end) {
                scratch.add(entry, shape, &self.columns);
                high += 1;
            }
            let edge = end.saturating_sub(shape.window);
            while let Some(entry) = self.entries.get(low).filter(|entry| entry.time <= edge) {
                scratch.remove(entry, shape, &self.columns);
                low += 1;
            }
            if !visit(end, scratch, Run { entries: &self.entries, low, high }) {
                return;
            }
            next = high;
        }
    }

    /// Evaluates all events in (from, to] as one window.
    pub fn over(&self, shape: &Shape, (from, to): (i64, i64), scratch: &mut Tally) -> Run<'_> {
        scratch.clear(shape);
        let run = self.run(from, to);
        for entry in run.iter() {
            scratch.add(entry, shape, &self.columns);
        }
        run
    }

    /// The events in (from, to].
    pub fn run(&self, from: i64, to: i64) -> Run<'_> {
        let low = self.entries.partition_point(|entry| entry.time <= from);
        let high = self.entries.partition_point(|entry| entry.time <= to);
        Run { entries: &self.entries, low, high: high.max(low) }
    }

    /// The events of the window that is kept up.
    pub fn current(&self) -> Run<'_> {
        Run { entries: &self.entries, low: self.start, high: self.end }
    }
}

/// Consecutive events of a window.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    entries: &'a VecDeque<Entry>,
    low: usize,
    high: usize,
}

impl<'a> Run<'a> {
    /// The events, by time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a Entry> + ExactSizeIterator + use<'a> {
        self.entries.range(self.low..self.high)
    }

    /// The first event.
    pub fn first(&self) -> Option<&'a Entry> {
        self.iter().next()
    }

    /// The last event.
    pub fn last(&self) -> Option<&'a Entry> {
        self.iter().next_back()
    }

    /// Microseconds from the first event to the last one.
    pub fn span(&self) -> i64 {
        self.first().zip(self.last()).map_or(0, |(first, last)| last.time.saturating_sub(first.time))
    }

    /// The chains of the events, each once.
    pub fn chains(&self) -> Box<[u32]> {
        let mut chains: Vec<u32> = Vec::new();
        for entry in self.iter() {
            if !chains.contains(&entry.chain) {
                chains.push(entry.chain);
            }
        }
        chains.into()
    }
}
