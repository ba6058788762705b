//! When the records of a lane were written, by offset: from there on a successor needs the state of the rules.
//!
//! Reading runs ahead of what is done: by seconds on a calm day, but a backlog of weeks may lie between two records of
//! one segment. The time of the newest record that was read would let the successor begin too late.

use std::collections::VecDeque;

/// Records whose times are so close stand for each other, milliseconds.
const APART: i64 = 1_000;
/// Places remembered at most.
const MOST: usize = 512;

/// Offsets with the time (milliseconds) of the record there, lowest offset first.
#[derive(Debug, Default)]
pub struct RecordTimes(VecDeque<(i64, i64)>);

impl RecordTimes {
    /// A record was read. One that is read again says nothing new.
    pub fn note(&mut self, offset: i64, time: i64) {
        if let Some((last, known)) = self.0.back()
            && (offset <= *last || (*known..known.saturating_add(APART)).contains(&time))
        {
            return;
        }
        if self.0.len() >= MOST {
            // of two neighbours the earlier offset stands for both, with the earlier time
            let thinned = self.0.make_contiguous().chunks(2).filter_map(|pair| {
                let time = pair.iter().map(|(_, time)| *time).min()?;
                pair.first().map(|(offset, _)| (*offset, time))
            });
            self.0 = thinned.collect();
        }
        self.0.push_back((offset, time));
    }

    /// The time of the record at `offset`, of the one before it that is known, or of the first that is known.
    pub fn at(&self, offset: i64) -> Option<i64> {
        let behind = self.0.partition_point(|(known, _)| *known <= offset);
        self.0.get(behind.saturating_sub(1)).map(|(_, time)| *time)
    }

    /// Nobody asks for what is before `offset` any more.
    pub fn forget_before(&mut self, offset: i64) {
        while self.0.get(1).is_some_and(|(next, _)| *next <= offset) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_time_of_its_record_however_far_reading_is_ahead() {
        let mut times = RecordTimes::default();
        assert_eq!(times.at(5), None);
        for (offset, time) in [(10, 50_000), (11, 50_900), (12, 51_500), (13, 90_000_000), (14, 60_000), (12, 7)] {
            times.note(offset, time);
        }
        let at = [9, 10, 11, 12, 13, 14, 99].map(|offset| times.at(offset).unwrap());
        assert_eq!(at, [50_000, 50_000, 50_000, 51_500, 90_000_000, 60_000, 60_000]);
        times.forget_before(13);
        assert_eq!((times.0.len(), times.at(12), times.at(13)), (2, Some(90_000_000), Some(90_000_000)));
    }

    #[test]
    fn it_is_bounded_and_never_names_a_later_time_for_it() {
        let mut times = RecordTimes::default();
        let time = |offset: i64| offset * 5_000;
        (0..100_000).for_each(|offset| times.note(offset, time(offset)));
        assert!(times.0.len() <= MOST);
        assert!((0..100_000).step_by(77).all(|offset| times.at(offset).unwrap() <= time(offset)));
        assert_eq!(times.at(99_999), Some(time(99_999)));
    }
}
