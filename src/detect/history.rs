//! What a marker remembers of one key: its events in order of event time, so that a question as of any time is
//! answered right, in whatever order events came.

use super::memory::Memory;
use crate::position::ChainId;
use smallvec::SmallVec;
use std::{cmp::Ordering, ops::Deref, sync::Arc};

/// How many events a marker remembers of one key at most. With more, the one goes whose neighbours are nearest to each
/// other: an answer is then older than it should be by less than their distance.
pub(super) const MOST_MOMENTS: usize = 64;

/// The records behind a finding: lowest and highest offset of each chain.
pub(super) type Reach = Arc<[(Arc<ChainId>, i64, i64)]>;

/// A record that matched a marker.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// Microseconds since 1970.
    pub time: i64,
    /// Index of its chain in the detector.
    pub chain: u32,
    /// Kafka offset.
    pub offset: i64,
    /// The fields that rules look at. Their bytes are accounted for by themselves: several markers share them.
    pub memory: Arc<Memory>,
    /// Of a finding: what stands behind it.
    pub reach: Option<Reach>,
}

impl Moment {
    fn bytes(&self) -> usize {
        self.reach.as_ref().map_or(0, |reach| size_of_val(&**reach) + 16)
    }
}

/// Up to when a question is asked: only records before this one count. By time; by position where times are equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf<'a> {
    pub time: i64,
    pub chain: &'a ChainId,
    pub offset: i64,
}

/// How long things are remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Microseconds: older ones are no answer.
    pub ttl: i64,
    /// Microseconds: how long questions may come after the watermark, beside the lateness.
    pub wait: i64,
    /// Whether anyone asks how many there were, so that more than the last one counts.
    pub counts: bool,
}

/// What a marker remembers of one key.
#[derive(Debug)]
pub(super) struct History {
    keep: Keep,
    /// By time, then by position.
    moments: SmallVec<[Moment; 1]>, // most keys never see a second one
    /// Bytes of what stands behind them.
    reach_bytes: usize,
    /// How many were remembered since there were none: what there is to lose.
    gathered: u32,
}

impl History {
    /// Nothing yet.
    pub fn new(keep: Keep) -> Self {
        Self { keep, moments: SmallVec::new(), reach_bytes: 0, gathered: 0 }
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        let outside = if self.moments.spilled() { self.moments.capacity() * size_of::<Moment>() + 16 } else { 0 };
        outside + self.reach_bytes
    }

    /// How much there is to lose, in events.
    pub fn weight(&self) -> usize {
        self.gathered as usize
    }

    /// The time after which nothing of it matters.
    pub fn until(&self) -> i64 {
        self.moments
            .last()
            .map_or(i64::MIN, |last| last.time.saturating_add(self.keep.ttl).saturating_add(self.keep.wait))
    }

    /// Remembers a record at its own time. `id` names chains that are read here.
    pub fn insert<C: Deref<Target = ChainId>>(&mut self, moment: Moment, id: impl Fn(u32) -> Option<C>) {
        let before = |other: &Moment| match other.time.cmp(&moment.time) {
            Ordering::Equal => {
                let (theirs, own) = (id(other.chain), id(moment.chain));
                (theirs.as_deref(), other.offset) < (own.as_deref(), moment.offset)
            }
            order => order.is_lt(),
        };
        let at = match self.moments.last() {
            Some(last) if !before(last) => self.moments.partition_point(before),
            _ => self.moments.len(), // most come in order
        };
        let same =
            |other: &Moment| (other.chain, other.offset, other.time) == (moment.chain, moment.offset, moment.time);
        // a record that is read twice; findings of several rules may share one
        if moment.reach.is_none() && self.moments.get(at).is_some_and(same) {
            return;
        }
        self.reach_bytes += moment.bytes();
        self.gathered = self.gathered.saturating_add(1);
        self.moments.insert(at, moment);
        if self.moments.len() > MOST_MOMENTS {
            self.thin();
        }
    }

    /// Drops the moment that is missed least.
    fn thin(&mut self) {
        let gap = |at: &usize| match (self.moments.get(at.wrapping_sub(1)), self.moments.get(at + 1)) {
            (Some(before), Some(after)) => after.time.saturating_sub(before.time),
            _ => i64::MAX,
        };
        if let Some(at) = (0..self.moments.len()).min_by_key(gap) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        self.reach_bytes -= self.moments.remove(at).bytes();
        if self.moments.is_empty() {
            self.gathered = 0;
        }
    }

    /// All moments, by time.
    pub fn moments(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter()
    }

    /// The last moment before a record that is not too old, and how many there are.
    pub fn before<C: Deref<Target = ChainId>>(
        &self,
        of: AsOf<'_>,
        id: impl Fn(u32) -> Option<C>,
    ) -> Option<(&Moment, usize)> {
        let oldest = of.time.saturating_sub(self.keep.ttl);
        let end = self.moments.partition_point(|moment| moment.time <= of.time);
        let mut found = self.moments[..end].iter().rev().take_while(|moment| moment.time >= oldest).filter(|moment| {
            // what came from a chain that is no longer read here will be read anew
            let Some(chain) = id(moment.chain) else { return false };
            moment.time < of.time || (&*chain, moment.offset) < (of.chain, of.offset)
        });
        let last = found.next()?;
        Some((last, 1 + found.count()))
    }

    /// Drops what no question can be answered with any more: there are none as of a time before `passed`.
    pub fn prune(&mut self, passed: i64) {
        let earliest = passed.saturating_sub(self.keep.wait);
        let dead = self.moments.partition_point(|moment| moment.time < earliest.saturating_sub(self.keep.ttl));
        let settled = self.moments.partition_point(|moment| moment.time < earliest);
        // if only the last one is asked for, those before it are none
        let drop = if self.keep.counts { dead } else { dead.max(settled.saturating_sub(1)) };
        if drop > 0 {
            self.reach_bytes -= self.moments.drain(..drop).map(|moment| moment.bytes()).sum::<usize>();
            if self.moments.is_empty() {
                self.gathered = 0;
            }
            if self.moments.capacity() > 8 && self.moments.len() < self.moments.capacity() / 4 {
                self.moments.shrink_to_fit();
            }
        }
    }

    /// Drops the records of chains that are no longer read here.
    pub fn retain(&mut self, is_read: impl Fn(u32) -> bool) {
        self.moments.retain(|moment| is_read(moment.chain));
        self.reach_bytes = self.moments.iter().map(Moment::bytes).sum();
        if self.moments.is_empty() {
            self.gathered = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(at: u32) -> Option<Arc<ChainId>> {
        (at < 3).then(|| Arc::new(format!("main/auth/{at}/0").parse().unwrap()))
    }

    fn moment(time: i64, chain: u32, offset: i64) -> Moment {
        Moment { time, chain, offset, memory: Memory::empty(), reach: None }
    }

    fn found(time: i64) -> Moment {
        Moment { reach: Some([(id(0).unwrap(), time, time)].into()), ..moment(time, 0, time) }
    }

    fn keep(ttl: i64, counts: bool) -> Keep {
        Keep { ttl, wait: 5, counts }
    }

    fn ask(history: &History, time: i64, chain: u32, offset: i64) -> Option<(i64, u32, i64, usize)> {
        let chain = id(chain).unwrap();
        let found = history.before(AsOf { time, chain: &chain, offset }, id);
        found.map(|(moment, count)| (moment.time, moment.chain, moment.offset, count))
    }

    #[test]
    fn the_last_one_before_a_record_is_found_whatever_came_since() {
        let mut history = History::new(keep(100, true));
        for (time, chain, offset) in [(50, 0, 7), (10, 1, 3), (50, 1, 2), (90, 0, 9), (50, 2, 1)] {
            history.insert(moment(time, chain, offset), id);
        }
        assert_eq!(ask(&history, 10, 1, 3), None, "never the record itself");
        assert_eq!(ask(&history, 11, 0, 0), Some((10, 1, 3, 1)));
        assert_eq!(ask(&history, 50, 1, 5), Some((50, 1, 2, 3)), "by position where times are equal");
        assert_eq!(ask(&history, 50, 0, 7), Some((10, 1, 3, 1)));
        assert_eq!(ask(&history, 60, 0, 0), Some((50, 2, 1, 4)));
        assert_eq!(ask(&history, 150, 0, 0), Some((90, 0, 9, 4)), "exactly as old as the ttl is not too old");
        assert_eq!(ask(&history, 151, 0, 0), Some((90, 0, 9, 1)));
        assert_eq!(ask(&history, 191, 0, 0), None);
        history.insert(moment(90, 0, 9), id);
        assert_eq!(ask(&history, 95, 0, 0), Some((90, 0, 9, 5)), "a record that is read again counts once");
    }

    #[test]
    fn only_what_can_be_an_answer_is_kept() {
        for (counts, left) in [(true, 21), (false, 7)] {
            let mut history = History::new(keep(20, counts));
            (0..50).for_each(|n| history.insert(found(n), id));
            history.prune(49);
            assert_eq!(history.moments.len(), left + usize::from(counts) * 5, "counts: {counts}");
            assert_eq!(ask(&history, 44, 0, 0).map(|found| found.0), Some(43), "a judgement may wait for five");
            assert_eq!(history.reach_bytes, history.moments.iter().map(Moment::bytes).sum::<usize>());
        }
    }

    #[test]
    fn a_hot_key_is_thinned_where_it_is_densest() {
        let mut history = History::new(keep(1_000_000, false));
        history.insert(moment(0, 0, 0), id);
        history.insert(moment(5_000, 0, 1), id);
        (0..10_000).for_each(|n| history.insert(moment(90_000 + n, 0, 2 + n), id));
        assert_eq!(history.moments.len(), MOST_MOMENTS);
        assert_eq!(ask(&history, 4_999, 0, 9).map(|found| found.0), Some(0));
        assert_eq!(ask(&history, 80_000, 0, 9).map(|found| found.0), Some(5_000));
        assert_eq!(ask(&history, 200_000, 0, 9).map(|found| found.0), Some(99_999), "the last one always stays");
        assert_eq!(history.weight(), 10_002);
        history.retain(|_| false);
        assert_eq!((history.weight(), history.reach_bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn answers_are_those_of_the_definition(
            events in proptest::collection::vec((0i64..60, 0u32..3), 1..60),
            ttl in 0i64..50, at in 0i64..70, from in 0u32..3,
        ) {
            let mut history = History::new(keep(ttl, true));
            for (offset, (time, chain)) in events.iter().enumerate() {
                history.insert(moment(*time, *chain, offset as i64), id);
            }
            let numbered = (0i64..).zip(&events);
            let mut sorted: Vec<_> = numbered.map(|(offset, (time, chain))| (*time, *chain, offset)).collect();
            sorted.sort_unstable();
            let before: Vec<_> = sorted.iter().filter(|e| **e < (at, from, 30) && e.0 >= at - ttl).collect();
            let wanted = before.last().map(|last| (last.0, last.1, last.2, before.len()));
            prop_assert_eq!(ask(&history, at, from, 30), wanted);
        }
    }
}
