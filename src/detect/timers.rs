//! What happens when the watermark gets somewhere, in order of time. Most timers are set for a constant time after an
//! event, and events come nearly in order: so each length has a queue of its own, which is nearly sorted by itself.
//! Only what comes far out of order goes into a heap, whose cost grows with all that waits.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

/// Queues at most: rules with more different lengths share the heap.
const MOST_QUEUES: usize = 16;
/// A timer is put at most so far before the end of its queue.
const NEAR: usize = 32;
/// Up to so many timers none is looked for that has become pointless.
const FEW: usize = 1024;

/// Something that is due when the watermark gets somewhere.
#[derive(Debug)]
struct Timer<T> {
    /// Microseconds: when.
    due: i64,
    /// In the order in which they were set, so that nothing depends on the layout of memory.
    number: u64,
    what: T,
}

impl<T> Timer<T> {
    fn order(&self) -> (i64, u64) {
        (self.due, self.number)
    }
}

impl<T> PartialEq for Timer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<T> Eq for Timer<T> {}

impl<T> PartialOrd for Timer<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Timer<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// All timers of a kind.
pub(super) struct Timers<T> {
    /// By length in microseconds.
    queues: Vec<(i64, VecDeque<Timer<T>>)>,
    heap: BinaryHeap<Reverse<Timer<T>>>,
    number: u64,
    /// How many there are.
    count: usize,
    before_cleaning: usize,
}

impl<T> Timers<T> {
    /// None yet.
    pub fn new() -> Self {
        Self { queues: Vec::new(), heap: BinaryHeap::new(), number: 0, count: 0, before_cleaning: FEW }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        let queued: usize = self.queues.iter().map(|(_, queue)| queue.capacity()).sum();
        (self.heap.capacity() + queued) * size_of::<Timer<T>>()
    }

    /// Sets a timer of a length. Those that have become pointless are dropped before there are more of them than of
    /// others: `is_alive` tells them apart.
    pub fn push(&mut self, length: i64, due: i64, what: T, is_alive: impl Fn(&T) -> bool) {
        if self.len() >= self.before_cleaning {
            self.retain(is_alive);
        }
        self.number += 1;
        self.count += 1;
        let timer = Timer { due, number: self.number, what };
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

    /// Drops timers that are not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        self.heap.retain(|timer| wanted(&timer.0.what));
        self.heap.shrink_to(self.heap.len() * 2);
        for (_, queue) in &mut self.queues {
            queue.retain(|timer| wanted(&timer.what));
            queue.shrink_to(queue.len() * 2);
        }
        self.queues.retain(|(_, queue)| !queue.is_empty());
        self.count = self.heap.len() + self.queues.iter().map(|(_, queue)| queue.len()).sum::<usize>();
        self.before_cleaning = (self.count * 2).max(FEW);
    }

    /// Changes all of them, but not when they are due.
    pub fn each(&mut self, mut change: impl FnMut(&mut T)) {
        self.queues.iter_mut().flat_map(|(_, queue)| queue).for_each(|timer| change(&mut timer.what));
        let mut heap = std::mem::take(&mut self.heap).into_vec();
        heap.iter_mut().for_each(|timer| change(&mut timer.0.what));
        self.heap = heap.into();
    }

    /// Takes out of each what `part` gives, in their order. It says whether anything is left that must stay.
    pub fn split(&mut self, mut part: impl FnMut(&mut T) -> (Option<T>, bool)) -> Vec<T> {
        let mut taken = Vec::new();
        let mut stays = |timer: &mut Timer<T>| {
            let (out, stays) = part(&mut timer.what);
            taken.extend(out.map(|what| Timer { what, ..*timer }));
            stays
        };
        let mut heap = std::mem::take(&mut self.heap).into_vec();
        heap.retain_mut(|timer| stays(&mut timer.0));
        self.heap = heap.into();
        self.queues.iter_mut().for_each(|(_, queue)| queue.retain_mut(&mut stays));
        self.count = self.heap.len() + self.queues.iter().map(|(_, queue)| queue.len()).sum::<usize>();
        taken.sort_unstable();
        taken.into_iter().map(|timer| timer.what).collect()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let queued = self.queues.iter().flat_map(|(_, queue)| queue);
        queued.chain(self.heap.iter().map(|timer| &timer.0)).map(|timer| &timer.what)
    }

    /// The place of the first one (none for the heap), and when it is due.
    fn first(&self) -> Option<(Option<usize>, i64)> {
        let fronts = self.queues.iter().enumerate().filter_map(|(at, (_, queue))| Some((queue.front()?, at)));
        let first = fronts.min();
        match (first, self.heap.peek()) {
            (Some((timer, at)), heap) if heap.is_none_or(|heap| *timer < heap.0) => Some((Some(at), timer.due)),
            (_, heap) => heap.map(|timer| (None, timer.0.due)),
        }
    }

    /// When the first one is due.
    pub fn next(&self) -> Option<i64> {
        Some(self.first()?.1)
    }

    /// Takes the first one that is due at `reached`.
    pub fn pop(&mut self, reached: i64) -> Option<(i64, T)> {
        let (at, due) = self.first().filter(|(_, due)| *due <= reached)?;
        let timer = match at {
            Some(at) => self.queues.get_mut(at)?.1.pop_front()?,
            None => self.heap.pop()?.0,
        };
        self.count -= 1;
        Some((due, timer.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timers_come_in_order_however_they_were_set(
            sets in proptest::collection::vec((0..20_i64, 0..5_000_i64), 0..400),
            reached in 0..6_000_i64,
        ) {
            let mut timers = Timers::new();
            let mut model = Vec::new();
            for (number, (length, time)) in sets.into_iter().enumerate() {
                let due = time + length;
                timers.push(length, due, number, |_| true);
                model.push((due, number));
            }
            model.sort_unstable();
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.iter().count(), model.len());
            prop_assert_eq!(timers.next(), model.first().map(|(due, _)| *due));
            let due: Vec<(i64, usize)> = std::iter::from_fn(|| timers.pop(reached)).collect();
            let wanted: Vec<(i64, usize)> = model.iter().copied().filter(|timer| timer.0 <= reached).collect();
            prop_assert_eq!(due, wanted);
            prop_assert_eq!(timers.len(), timers.iter().count());
            timers.retain(|number| number % 2 == 0);
            let rest: Vec<(i64, usize)> = std::iter::from_fn(|| timers.pop(i64::MAX)).collect();
            let left = model.into_iter().filter(|timer| timer.0 > reached && timer.1 % 2 == 0);
            prop_assert_eq!(rest, left.collect::<Vec<_>>());
            prop_assert_eq!(timers.len(), 0);
        }
    }

    #[test]
    fn timers_of_keys_that_are_gone_do_not_gather() {
        let mut timers = Timers::new();
        for n in 0..100_000_i64 {
            // in order, and far out of order
            timers.push(5, n * 10, n, |then| *then > n - 10);
            timers.push(5, -n * 10, n, |then| *then > n - 10);
            assert!(timers.len() <= FEW + 2 && timers.bytes() <= 4 * FEW * size_of::<Timer<i64>>(), "{}", timers.len());
        }
    }
}
