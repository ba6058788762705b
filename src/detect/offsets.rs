//! The offsets of a partition that judgements wait with. They come nearly in order and go nearly in order, so they
//! stand in a queue; one that goes out of order leaves its place until those before it have gone.

use std::collections::VecDeque;

/// Up to so many places that are left stay.
const FEW: usize = 64;

/// Offsets, each with how often it is there.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// In order; those that went have 0. The first one never has.
    queue: VecDeque<(i64, u32)>,
    /// How many have gone.
    gone: usize,
}

impl Offsets {
    /// One more of this offset.
    pub fn insert(&mut self, offset: i64) {
        if self.queue.back().is_none_or(|(last, _)| *last < offset) {
            return self.queue.push_back((offset, 1));
        }
        match self.queue.binary_search_by_key(&offset, |(known, _)| *known) {
            Ok(at) => {
                if let Some((_, count)) = self.queue.get_mut(at) {
                    self.gone -= usize::from(*count == 0);
                    *count += 1;
                }
            }
            Err(at) => self.queue.insert(at, (offset, 1)),
        }
    }

    /// One less of it. Whether it was there.
    pub fn remove(&mut self, offset: i64) -> bool {
        let Ok(at) = self.queue.binary_search_by_key(&offset, |(known, _)| *known) else { return false };
        let Some((_, count)) = self.queue.get_mut(at).filter(|(_, count)| *count > 0) else { return false };
        *count -= 1;
        self.gone += usize::from(*count == 0);
        while self.queue.front().is_some_and(|(_, count)| *count == 0) {
            self.queue.pop_front();
            self.gone -= 1;
        }
        // one that waits for days must not keep the places of all that came after it
        if self.gone > FEW && self.gone > self.queue.len() / 2 {
            self.queue.retain(|(_, count)| *count > 0);
            self.queue.shrink_to(self.queue.len() * 2);
            self.gone = 0;
        }
        true
    }

    /// Whether it is there.
    pub fn contains(&self, offset: i64) -> bool {
        let found = self.queue.binary_search_by_key(&offset, |(known, _)| *known);
        found.is_ok_and(|at| self.queue.get(at).is_some_and(|(_, count)| *count > 0))
    }

    /// The lowest one.
    pub fn first(&self) -> Option<i64> {
        self.queue.front().map(|(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn they_are_those_of_a_map(steps in proptest::collection::vec((any::<bool>(), 0..300_i64), 0..2_000)) {
            let (mut offsets, mut model) = (Offsets::default(), BTreeMap::<i64, u32>::new());
            for (comes, offset) in steps {
                if comes {
                    offsets.insert(offset);
                    *model.entry(offset).or_default() += 1;
                } else {
                    prop_assert_eq!(offsets.remove(offset), model.contains_key(&offset));
                    if let Some(count) = model.get_mut(&offset) {
                        *count -= 1;
                        if *count == 0 {
                            model.remove(&offset);
                        }
                    }
                }
                prop_assert_eq!(offsets.first(), model.keys().next().copied());
                prop_assert_eq!(offsets.contains(offset), model.contains_key(&offset));
                prop_assert!(offsets.queue.len() <= (2 * model.len()).max(model.len() + FEW) + 1);
            }
        }
    }
}
