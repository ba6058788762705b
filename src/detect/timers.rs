//! What happens when the watermark gets somewhere, in order of time. Most timers are set for a constant time after an
//! event, and events come nearly in order: so each length has a queue of its own, which is nearly sorted by itself.
//! Only what comes far out of order goes into a heap, whose cost grows with all that waits.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Queues at most: rules with more different lengths share the heap.
const MOST_QUEUES: usize = 16;
/// A timer is put at most so far before the end of its queue.
const NEAR: usize = 32;
/// Up to so many timers none is looked for that has become pointless.
const FEW: usize = 1024;

/// What happens when the watermark gets somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    /// Microseconds: when.
    pub due: i64,
    /// Whether events wait for it: they are judged after the windows that are due, whose findings they may look at.
    pub waits: bool,
    /// In the order in which they were set, so that nothing depends on the layout of memory.
    number: u64,
    /// The key.
    pub slot: u32,
    /// What tells it from one that had its slot before.
    pub generation: u32,
    /// The bucket whose shape is judged; none for a sweep.
    pub bucket: Option<i64>,
}

/// All timers.
pub(super) struct Timers {
    /// By length in microseconds.
    queues: Vec<(i64, VecDeque<Timer>)>,
    heap: BinaryHeap<Reverse<Timer>>,
    number: u64,
    before_cleaning: usize,
}

impl Timers {
    /// None yet.
    pub fn new() -> Self {
        Self { queues: Vec::new(), heap: BinaryHeap::new(), number: 0, before_cleaning: FEW }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.heap.len() + self.queues.iter().map(|(_, queue)| queue.len()).sum::<usize>()
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        let queued: usize = self.queues.iter().map(|(_, queue)| queue.capacity()).sum();
        (self.heap.capacity() + queued) * size_of::<Timer>()
    }

    /// Sets a timer of a length. Timers of keys that are gone are dropped before there are more of them than of others:
    /// `is_alive` says of a slot and generation whether the key is there.
    pub fn push(
        &mut self,
        length: i64,
        (due, waits, bucket): (i64, bool, Option<i64>),
        (slot, generation): (u32, u32),
        is_alive: impl Fn(u32, u32) -> bool,
    ) {
        if self.len() >= self.before_cleaning {
            self.clean(is_alive);
        }
        self.number += 1;
        let timer = Timer { due, waits, number: self.number, slot, generation, bucket };
        let at = match self.queues.iter().position(|(of, _)| *of == length) {
            Some(at) => at,
            None if self.queues.len() < MOST_QUEUES => {
                self.queues.push((length, VecDeque::new()));
                self.queues.len() - 1
            }
            None => return self.heap.push(Reverse(timer)),
        };
        let Some((_, queue)) = self.queues.get_mut(at) else { return };
        let later = queue.iter().rev().take(NEAR + 1).take_while(|other| **other > timer).count();
        if later > NEAR {
            self.heap.push(Reverse(timer));
        } else {
            queue.insert(queue.len() - later, timer);
        }
    }

    fn clean(&mut self, is_alive: impl Fn(u32, u32) -> bool) {
        self.heap.retain(|timer| is_alive(timer.0.slot, timer.0.generation));
        self.heap.shrink_to(self.heap.len() * 2);
        for (_, queue) in &mut self.queues {
            queue.retain(|timer| is_alive(timer.slot, timer.generation));
            queue.shrink_to(queue.len() * 2);
        }
        self.queues.retain(|(_, queue)| !queue.is_empty());
        self.before_cleaning = (self.len() * 2).max(FEW);
    }

    /// Takes the first one that is due at `reached`.
    pub fn pop(&mut self, reached: i64) -> Option<Timer> {
        let fronts = self.queues.iter().enumerate().filter_map(|(at, (_, queue))| Some((*queue.front()?, at)));
        let first = fronts.min();
        match (first, self.heap.peek()) {
            (Some((timer, at)), heap) if heap.is_none_or(|heap| timer < heap.0) => {
                if timer.due > reached {
                    return None;
                }
                self.queues.get_mut(at)?.1.pop_front()
            }
            (_, Some(Reverse(timer))) if timer.due <= reached => self.heap.pop().map(|timer| timer.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timers_come_in_order_however_they_were_set(
            sets in proptest::collection::vec((0..20_i64, 0..5_000_i64, any::<bool>(), 0..4_u32), 0..400),
            reached in 0..6_000_i64,
        ) {
            let mut timers = Timers::new();
            let mut model = Vec::new();
            for (number, (length, time, waits, slot)) in (1..).zip(sets) {
                let due = time + length;
                timers.push(length, (due, waits, None), (slot, 0), |_, _| true);
                model.push(Timer { due, waits, number, slot, generation: 0, bucket: None });
            }
            model.sort_unstable();
            prop_assert_eq!(timers.len(), model.len());
            let due: Vec<Timer> = std::iter::from_fn(|| timers.pop(reached)).collect();
            let wanted: Vec<Timer> = model.iter().copied().filter(|timer| timer.due <= reached).collect();
            prop_assert_eq!(due, wanted);
            let rest: Vec<Timer> = std::iter::from_fn(|| timers.pop(i64::MAX)).collect();
            prop_assert_eq!(rest, model.into_iter().filter(|timer| timer.due > reached).collect::<Vec<_>>());
        }
    }

    #[test]
    fn timers_of_keys_that_are_gone_do_not_gather() {
        let mut timers = Timers::new();
        for n in 0..100_000_i64 {
            // in order, and far out of order
            timers.push(5, (n * 10, false, None), (0, n as u32), |_, generation| i64::from(generation) > n - 10);
            timers.push(5, (-n * 10, false, None), (0, n as u32), |_, generation| i64::from(generation) > n - 10);
            assert!(timers.len() <= FEW + 2 && timers.bytes() <= 4 * FEW * size_of::<Timer>(), "{}", timers.len());
        }
    }
}
