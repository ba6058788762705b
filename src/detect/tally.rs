//! Aggregates of a window, kept up by adding and removing one event at a time: each costs the same however many events
//! and values there are (those that keep numbers in order, a logarithm of the values).

use super::{
    column::{Column, NONE},
    decimal::Decimal,
    levels::Levels,
    measure::{Agg, Measure, Measured, Track},
    window::{Entry, Run},
};
use std::collections::BTreeSet;

/// What a rule's windows have in common.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Length in microseconds.
    pub window: i64,
    /// The aggregates.
    pub aggs: Vec<Agg>,
    /// For each column, whether its values are counted with.
    pub columns: Vec<bool>,
    /// What is kept up of the columns.
    tracks: Vec<Track>,
    /// How many conditions there are.
    conditions: usize,
    /// Fewer events than this cannot open the gate.
    pub need: u64,
}

impl Shape {
    /// Windows of this length with these aggregates, over so many columns and conditions.
    pub fn new(window: i64, aggs: Vec<Agg>, columns: usize, tracks: Vec<Track>, conditions: usize) -> Self {
        let mut numeric = vec![false; columns];
        for track in tracks.iter().filter(|track| track.sum || track.order) {
            numeric[track.column] = true;
        }
        let counting = aggs.iter().filter(|agg| agg.measure.counts_events());
        let need = counting.map(|agg| agg.at_least).max().unwrap_or(1).max(1);
        Self { window, aggs, columns: numeric, tracks, conditions, need }
    }
}

/// Aggregates over a run of entries, kept up one entry at a time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events.
    count: u64,
    /// Events for which each condition holds.
    conditions: Vec<u64>,
    tracks: Vec<Kept>,
}

/// What is kept of one track.
#[derive(Debug, Default)]
struct Kept {
    /// Events of each slot.
    live: Vec<u32>,
    /// Events with a value.
    present: u64,
    /// Slots with an event.
    distinct: u64,
    /// Slots by their number of events.
    levels: Option<Box<Levels>>,
    /// What few rules ask for.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// Slots that have few events, by limit.
    few: Vec<u64>,
    /// The sum of the numbers.
    sum: i128,
    /// The numbers, with their slots.
    order: Option<BTreeSet<(Decimal, u32)>>,
}

impl Kept {
    fn clear(&mut self, track: &Track) {
        self.live.clear();
        (self.present, self.distinct) = (0, 0);
        match &mut self.levels {
            Some(levels) => levels.clear(),
            None if track.levels => self.levels = Some(Box::default()),
            None => {}
        }
        if self.more.is_none() && track.needs_more() {
            self.more = Some(Box::default());
        }
        if let Some(more) = &mut self.more {
            more.few.clear();
            more.few.resize(track.few.len(), 0);
            more.sum = 0;
            // a tree keeps a node even when it is empty
            more.order = track.order.then(BTreeSet::new);
        }
    }

    fn add(&mut self, slot: u32, track: &Track, columns: &[Column]) {
        if self.live.len() <= slot as usize {
            self.live.resize(slot as usize + 1, 0);
        }
        let live = &mut self.live[slot as usize];
        let was = *live;
        *live += 1;
        self.present += 1;
        self.distinct += u64::from(was == 0);
        if track.levels
            && let Some(levels) = &mut self.levels
        {
            levels.up(was);
        }
        let Some(more) = self.more.as_mut().filter(|_| track.needs_more()) else { return };
        for (few, limit) in more.few.iter_mut().zip(&track.few) {
            *few += u64::from(was == 0);
            *few -= u64::from(was == *limit);
        }
        if let Some(number) = columns[track.column].number(slot) {
            more.sum += number.0;
            if was == 0
                && let Some(order) = &mut more.order
            {
                order.insert((number, slot));
            }
        }
    }

    fn remove(&mut self, slot: u32, track: &Track, columns: &[Column]) {
        let live = &mut self.live[slot as usize];
        let was = *live;
        *live -= 1;
        self.present -= 1;
        self.distinct -= u64::from(was == 1);
        if track.levels
            && let Some(levels) = &mut self.levels
        {
            levels.down(was);
        }
        let Some(more) = self.more.as_mut().filter(|_| track.needs_more()) else { return };
        for (few, limit) in more.few.iter_mut().zip(&track.few) {
            *few += u64::from(was == *limit + 1);
            *few -= u64::from(was == 1);
        }
        if let Some(number) = columns[track.column].number(slot) {
            more.sum -= number.0;
            if was == 1
                && let Some(order) = &mut more.order
            {
                order.remove(&(number, slot));
            }
        }
    }

    fn bytes(&self) -> usize {
        let levels = self.levels.as_ref().map_or(0, |levels| levels.bytes() + size_of::<Levels>());
        let more = self.more.as_ref().map_or(0, |more| {
            // a node of the tree holds 11 numbers, and all but one are at least five full
            let order = more.order.as_ref().map_or(0, |order| (12 + order.len() * 3) * size_of::<(Decimal, u32)>());
            size_of::<More>() + more.few.capacity() * size_of::<u64>() + order
        });
        self.live.capacity() * size_of::<u32>() + levels + more
    }
}

impl Tally {
    /// Forgets everything but its room.
    pub fn clear(&mut self, shape: &Shape) {
        self.count = 0;
        self.conditions.clear();
        self.conditions.resize(shape.conditions, 0);
        if self.tracks.len() < shape.tracks.len() {
            self.tracks.reserve_exact(shape.tracks.len() - self.tracks.len());
            self.tracks.resize_with(shape.tracks.len(), Kept::default);
        }
        for (kept, track) in self.tracks.iter_mut().zip(&shape.tracks) {
            kept.clear(track);
        }
    }

    /// One more event.
    pub fn add(&mut self, entry: &Entry, shape: &Shape, columns: &[Column]) {
        self.count += 1;
        for (at, count) in self.conditions.iter_mut().enumerate() {
            *count += u64::from(entry.meets(at));
        }
        for (kept, track) in self.tracks.iter_mut().zip(&shape.tracks) {
            if let Some(slot) = slot(entry, track) {
                kept.add(slot, track, columns);
            }
        }
    }

    /// One event less.
    pub fn remove(&mut self, entry: &Entry, shape: &Shape, columns: &[Column]) {
        self.count -= 1;
        for (at, count) in self.conditions.iter_mut().enumerate() {
            *count -= u64::from(entry.meets(at));
        }
        for (kept, track) in self.tracks.iter_mut().zip(&shape.tracks) {
            if let Some(slot) = slot(entry, track) {
                kept.remove(slot, track, columns);
            }
        }
    }

    /// The number that an aggregate is, over these events in so many microseconds.
    pub fn number(&self, measure: Measure, run: Run<'_>, length: i64) -> Option<Decimal> {
        let track = |at: usize| self.tracks.get(at);
        let whole = |count: u64| Decimal::whole(count);
        Some(match measure {
            Measure::Count => whole(self.count),
            Measure::CountIf(condition) => whole(*self.conditions.get(condition)?),
            Measure::Distinct(at) => whole(track(at)?.distinct),
            Measure::MaxPer(at) => Decimal::whole(track(at)?.levels.as_ref()?.most()),
            Measure::MinPer(at) => Decimal::whole(track(at)?.levels.as_ref()?.least()),
            Measure::FewPer(at, limit) => whole(*track(at)?.more.as_ref()?.few.get(limit)?),
            Measure::Present(at) => whole(track(at)?.present),
            Measure::Sum(at) => Decimal(track(at)?.more.as_ref()?.sum),
            Measure::Min(at) => track(at)?.more.as_ref()?.order.as_ref()?.first()?.0,
            Measure::Max(at) => track(at)?.more.as_ref()?.order.as_ref()?.last()?.0,
            Measure::Rate => Decimal(whole(self.count).0 * 60_000_000 / i128::from(length.max(1))),
            Measure::Span => Decimal(i128::from(run.span()) * 1000), // from microseconds to billionths
            Measure::First(..) | Measure::Last(..) => return None,
        })
    }

    /// Whether every gate is open.
    pub fn opens(&self, shape: &Shape, run: Run<'_>) -> bool {
        shape.aggs.iter().all(|agg| self.passes(agg, run, shape.window))
    }

    /// Whether the gates that may have closed again with more events are open.
    pub fn still_open(&self, shape: &Shape, run: Run<'_>, length: i64) -> bool {
        shape.aggs.iter().filter(|agg| agg.measure.may_fall()).all(|agg| self.passes(agg, run, length))
    }

    fn passes(&self, agg: &Agg, run: Run<'_>, length: i64) -> bool {
        agg.at_least == 0
            || self.number(agg.measure, run, length).is_some_and(|number| number >= Decimal::whole(agg.at_least))
    }

    /// The values of the aggregates, in their order.
    pub fn values(&self, shape: &Shape, columns: &[Column], run: Run<'_>, length: i64) -> Vec<Measured> {
        let text = |entry: Option<&Entry>, column: usize, kind| {
            let slot = entry.map_or(NONE, |entry| entry.values[column]);
            Measured::of_text(columns.get(column).and_then(|column| column.text(slot)), kind)
        };
        let value = |agg: &Agg| match agg.measure {
            Measure::First(column, kind) => text(run.first(), column, kind),
            Measure::Last(column, kind) => text(run.last(), column, kind),
            measure => self.number(measure, run, length).map_or(Measured::None, Measured::from),
        };
        shape.aggs.iter().map(value).collect()
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.conditions.capacity() * size_of::<u64>()
            + self.tracks.capacity() * size_of::<Kept>()
            + self.tracks.iter().map(Kept::bytes).sum::<usize>()
    }
}

/// The value of an event that a track is about.
fn slot(entry: &Entry, track: &Track) -> Option<u32> {
    let slot = entry.values[track.column];
    (slot != NONE && track.condition.is_none_or(|condition| entry.meets(condition))).then_some(slot)
}
