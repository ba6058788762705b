//! One numbering of a source, as it arrives: out of order, more than once, and begun anew when its producer restarts.
//!
//! Numbers that follow each other are kept as one stretch, whatever the order in which they came, so that an unbroken
//! numbering costs one. Stretches lie in runs: within a run numbers rise with time; where the producer begins to count
//! anew there is another run. A gap between two stretches is a hole once nothing that is still to come can fill it; who
//! calls says when that is ([`Sequence::settle`]).
//!
//! What comes of it depends on the numbers and their times alone, not on the order of arrival, as long as nothing is
//! later than what the caller waits for, and whoever begins anew does not reach the numbers of before in that time.

use std::collections::{BTreeMap, VecDeque};

/// Times of neighbours may be out of order by so much, in microseconds: several threads take a number, then the time. A
/// producer that begins anew is noticed so long after the last event from before.
pub(super) const SLACK: i64 = 30_000_000;
/// Runs that are not settled yet.
const MOST_RUNS: usize = 8;
/// Holes that are remembered, to tell what comes after all from what came twice.
const MOST_TOLD: usize = 32;

/// One event of a numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its number.
    pub number: i64,
    /// When it happened, at the latest when it came: microseconds since 1970.
    pub time: i64,
    /// Index of its chain in the detector.
    pub chain: u32,
    /// Its offset there.
    pub offset: i64,
}

/// Numbers without a gap.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: Mark,
    last: Mark,
}

/// By the first number of each stretch.
type Run = BTreeMap<i64, Stretch>;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has its place.
    New,
    /// Its number was there, or it lies before what is known.
    Repeat,
    /// Its number was told as missing.
    AfterAll,
}

/// What is certain now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// The numbers between these two never came.
    Hole { before: Mark, after: Mark },
    /// The producer counts anew.
    Reset { before: Mark, after: Mark },
}

/// A numbering.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// By time.
    runs: VecDeque<Run>,
    /// Whether what lies before the first stretch was settled: then nothing is put there.
    fixed: bool,
    /// Numbers that were told as missing: first, last, and the time of the event behind them.
    told: VecDeque<(i64, i64, i64)>,
}

impl Sequence {
    /// An event came.
    pub fn take(&mut self, mark: Mark) -> Taken {
        if self.is_told(mark.number, mark.time) {
            return Taken::AfterAll;
        }
        let mut best: Option<(u64, usize)> = None;
        for at in (0..self.runs.len()).rev() {
            match self.fit(at, &mark) {
                Fit::No => {}
                Fit::Inside if best.is_none() => return Taken::Repeat,
                Fit::Inside => {}
                Fit::Beside(distance) if best.is_none_or(|(least, _)| distance < least) => best = Some((distance, at)),
                Fit::Beside(_) => {}
            }
        }
        match best {
            Some((_, at)) => {
                let first = first_of(&self.runs[at]).filter(|first| at == 0 && mark.number < first.number);
                // what is older than the first may come yet; what is newer and has a lower number, begins anew
                let may_be = |first: Mark| mark.time <= first.time || mark.number.checked_add(1) == Some(first.number);
                if first.is_some_and(|first| self.fixed || !may_be(first)) {
                    return Taken::Repeat;
                }
                place(&mut self.runs[at], mark);
            }
            None => {
                let old = self.runs.front().and_then(first_of).is_some_and(|first| mark.time < first.time);
                if old && self.fixed {
                    return Taken::Repeat;
                }
                self.begin(mark);
            }
        }
        Taken::New
    }

    /// Whether a number was told as missing by an event of this time.
    pub fn is_told(&self, number: i64, time: i64) -> bool {
        let fits = |(first, last, after): &(i64, i64, i64)| {
            (*first..=*last).contains(&number) && time <= after.saturating_add(SLACK)
        };
        self.told.iter().any(fits)
    }

    /// How an event goes with a run.
    fn fit(&self, at: usize, mark: &Mark) -> Fit {
        let run = &self.runs[at];
        let before = run.range(..=mark.number).next_back().map(|(_, stretch)| stretch);
        let after = run.range(mark.number..).find(|(first, _)| **first > mark.number).map(|(_, stretch)| stretch);
        if let Some(inside) = before.filter(|stretch| mark.number <= stretch.last.number) {
            let (from, to) = (inside.first.time.saturating_sub(SLACK), inside.last.time.saturating_add(SLACK));
            return if (from..=to).contains(&mark.time) { Fit::Inside } else { Fit::No };
        }
        // between runs time alone decides
        let floor = match before {
            Some(stretch) => Some(stretch.last.time.saturating_sub(SLACK)),
            None => at.checked_sub(1).and_then(|at| last_of(self.runs.get(at)?)).map(|last| last.time),
        };
        let ceiling = match after {
            Some(stretch) => Some(stretch.first.time.saturating_add(SLACK)),
            None => self.runs.get(at + 1).and_then(first_of).map(|first| first.time),
        };
        let fits = floor.is_none_or(|floor| mark.time >= floor) && ceiling.is_none_or(|ceiling| mark.time <= ceiling);
        if !fits {
            return Fit::No;
        }
        let behind = before.map(|stretch| mark.number.abs_diff(stretch.last.number));
        let ahead = after.map(|stretch| mark.number.abs_diff(stretch.first.number));
        Fit::Beside([behind, ahead].into_iter().flatten().min().unwrap_or(u64::MAX))
    }

    /// An event that goes with no run begins one.
    fn begin(&mut self, mark: Mark) {
        let at = self.runs.iter().take_while(|run| first_of(run).is_some_and(|first| first.time <= mark.time)).count();
        let mut run = Run::from([(mark.number, Stretch { first: mark, last: mark })]);
        // what came before this one, and happened after it, belongs to its run
        if let Some(before) = at.checked_sub(1).and_then(|at| self.runs.get_mut(at)) {
            let later = before.values().find(|stretch| stretch.first.time > mark.time.saturating_add(SLACK));
            if let Some(key) = later.map(|stretch| stretch.first.number).filter(|number| *number > mark.number) {
                run.append(&mut before.split_off(&key));
            }
        }
        self.runs.insert(at, run);
        while self.runs.len() > MOST_RUNS {
            self.runs.pop_front();
        }
    }

    /// When the event happened behind the first gap, or of the first run but one; `None`: nothing is to be settled.
    pub fn due(&self) -> Option<i64> {
        let first = self.runs.front()?;
        match first.values().nth(1) {
            Some(second) => Some(second.first.time),
            None => first_of(self.runs.get(1)?).map(|mark| mark.time),
        }
    }

    /// What is certain when nothing is to come any more that happened before `reached` (and [`SLACK`] later). One thing
    /// at a time.
    pub fn settle(&mut self, reached: i64) -> Option<Settled> {
        if self.due()? > reached {
            return None;
        }
        self.fixed = true;
        let run = self.runs.front_mut()?;
        let (_, before) = run.pop_first()?;
        let Some((_, after)) = run.first_key_value() else {
            self.runs.pop_front();
            let after = first_of(self.runs.front()?)?;
            return Some(Settled::Reset { before: before.last, after });
        };
        let (before, after) = (before.last, after.first);
        self.told.push_back((before.number.saturating_add(1), after.number.saturating_sub(1), after.time));
        if self.told.len() > MOST_TOLD {
            self.told.pop_front();
        }
        Some(Settled::Hole { before, after })
    }

    /// The events behind each gap and at the beginning of each run but the first: what is not settled.
    pub fn unsettled(&self) -> impl Iterator<Item = Mark> + '_ {
        self.runs.iter().flat_map(Run::values).skip(1).map(|stretch| stretch.first)
    }

    /// How many gaps and new beginnings are not settled.
    pub fn gaps(&self) -> usize {
        self.runs.iter().map(Run::len).sum::<usize>().saturating_sub(1)
    }

    /// Forgets all but the newest stretch: what was open is given up.
    pub fn give_up(&mut self) {
        let newest = self.runs.back().and_then(|run| run.last_key_value()).map(|(key, stretch)| (*key, *stretch));
        self.runs = newest.map(|newest| Run::from([newest])).into_iter().collect();
        self.fixed = true;
    }
}

/// How an event goes with a run.
enum Fit {
    /// It does not.
    No,
    /// It is in it.
    Inside,
    /// It has a place there, so far from the next number.
    Beside(u64),
}

fn first_of(run: &Run) -> Option<Mark> {
    run.first_key_value().map(|(_, stretch)| stretch.first)
}

fn last_of(run: &Run) -> Option<Mark> {
    run.last_key_value().map(|(_, stretch)| stretch.last)
}

/// Puts a number that is not there into a run.
fn place(run: &mut Run, mark: Mark) {
    let after = mark.number.checked_add(1).and_then(|next| run.get(&next).copied());
    if let Some((_, before)) = run.range_mut(..mark.number).next_back()
        && before.last.number.checked_add(1) == Some(mark.number)
    {
        // times rise with numbers, whatever the clocks say
        before.last = Mark { time: mark.time.max(before.last.time), ..mark };
        if let Some(after) = after {
            before.last = Mark { time: after.last.time.max(before.last.time), ..after.last };
            run.remove(&after.first.number);
        }
        return;
    }
    let stretch = match after {
        Some(after) => {
            run.remove(&after.first.number);
            Stretch { first: Mark { time: mark.time.min(after.first.time), ..mark }, last: after.last }
        }
        None => Stretch { first: mark, last: mark },
    };
    run.insert(mark.number, stretch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    fn mark(number: i64, seconds: i64) -> Mark {
        Mark { number, time: seconds * SECOND, chain: 0, offset: seconds }
    }

    /// What is said of these events when all of them came: holes as first and last number, resets as the number after.
    fn said(events: impl IntoIterator<Item = Mark>) -> Vec<(char, i64, i64)> {
        let mut sequence = Sequence::default();
        for event in events {
            sequence.take(event);
        }
        let settled = std::iter::from_fn(|| sequence.settle(i64::MAX));
        settled.map(told).collect()
    }

    fn told(settled: Settled) -> (char, i64, i64) {
        match settled {
            Settled::Hole { before, after } => ('h', before.number + 1, after.number - 1),
            Settled::Reset { after, .. } => ('r', after.number, after.number),
        }
    }

    #[test]
    fn a_gap_is_a_hole_and_a_filled_one_is_none() {
        let numbers = |all: &[i64]| all.iter().map(|n| mark(*n, *n)).collect::<Vec<_>>();
        assert_eq!(said(numbers(&[1, 2, 3, 4])), []);
        assert_eq!(said(numbers(&[5, 3, 4, 7, 6, 1, 2])), []);
        assert_eq!(said(numbers(&[1, 2, 5, 9, 10])), [('h', 3, 4), ('h', 6, 8)]);
        assert_eq!(said(numbers(&[1, 1, 3, 3, 1])), [('h', 2, 2)], "what comes twice changes nothing");
        assert_eq!(said([mark(i64::MIN, 1), mark(i64::MAX, 2)]), [('h', i64::MIN + 1, i64::MAX - 1)]);
    }

    #[test]
    fn a_producer_that_begins_anew_has_no_hole() {
        let first = (1..=100).map(|n| mark(n, n));
        let second = (1..=50).map(|n| mark(n, 200 + n));
        assert_eq!(said(first.clone().chain(second.clone())), [('r', 1, 1)]);
        assert_eq!(said(second.clone().chain(first.clone())), [('r', 1, 1)], "whatever comes first");
        let third = [mark(1, 400), mark(2, 401), mark(4, 403)];
        assert_eq!(said(first.chain(second).chain(third)), [('r', 1, 1), ('r', 1, 1), ('h', 3, 3)]);
    }

    #[test]
    fn events_of_before_go_to_the_run_of_before() {
        let events = [mark(100, 100), mark(3, 203), mark(101, 101), mark(1, 201), mark(103, 103), mark(2, 202)];
        assert_eq!(said(events), [('h', 102, 102), ('r', 1, 1)]);
    }

    #[test]
    fn what_was_told_is_known_when_it_comes_after_all() {
        let mut sequence = Sequence::default();
        for n in [1, 4, 5] {
            sequence.take(mark(n, n));
        }
        assert_eq!(sequence.settle(3 * SECOND), None, "something may still come");
        assert_eq!(sequence.settle(4 * SECOND).map(told), Some(('h', 2, 3)));
        assert_eq!(sequence.settle(i64::MAX), None);
        assert_eq!(sequence.take(mark(3, 3)), Taken::AfterAll);
        assert_eq!(sequence.take(mark(1, 1)), Taken::Repeat);
        assert_eq!(sequence.take(mark(5, 5)), Taken::Repeat);
        assert_eq!(sequence.take(mark(6, 6)), Taken::New);
        assert_eq!((sequence.due(), sequence.gaps()), (None, 0));
        assert_eq!(sequence.take(mark(3, 300)), Taken::New, "long after: the producer begins anew");
    }

    #[test]
    fn what_is_given_up_is_never_told() {
        let mut sequence = Sequence::default();
        (0..1000).for_each(|n| {
            sequence.take(mark(n * 2, n));
        });
        assert_eq!(sequence.unsettled().count(), 999);
        sequence.give_up();
        assert_eq!((sequence.gaps(), sequence.settle(i64::MAX)), (0, None));
        assert_eq!(sequence.take(mark(7, 3)), Taken::Repeat);
    }

    proptest! {
        /// Numberings with holes and restarts, delivered out of order by up to a minute, some of it twice: the same is
        /// said as of the events in order, at once or while they come.
        #[test]
        fn the_order_of_arrival_does_not_matter(
            runs in prop::collection::vec((0_i64..500, prop::collection::vec((1_i64..4, 0_i64..3), 1..40)), 1..4),
            delays in prop::collection::vec(0_i64..60, 120),
            twice in prop::collection::vec(any::<bool>(), 120),
        ) {
            let (mut now, mut events) = (1000, Vec::new());
            for (at, (base, steps)) in runs.iter().enumerate() {
                // a pause, so that who restarts is not taken for one who repeats himself
                now += 40;
                let mut number = 10_000 - 1000 * at as i64 + base;
                for (seconds, missing) in steps {
                    now += seconds;
                    number += 1 + missing;
                    events.push(mark(number, now));
                }
            }
            let calm = said(events.clone());
            let mut arrivals: Vec<(i64, Mark)> = Vec::new();
            for (at, event) in events.iter().enumerate() {
                arrivals.push((event.time + delays[at % delays.len()] * SECOND, *event));
                if twice[at % twice.len()] {
                    arrivals.push((event.time + delays[(at + 7) % delays.len()] * SECOND, *event));
                }
            }
            arrivals.sort_by_key(|(at, event)| (*at, event.number));
            prop_assert_eq!(&said(arrivals.iter().map(|(_, event)| *event)), &calm);
            // and while they come: what happened a minute ago is all there
            let (mut sequence, mut live) = (Sequence::default(), Vec::new());
            for (at, event) in arrivals {
                let reached = at - 61 * SECOND - SLACK;
                live.extend(std::iter::from_fn(|| sequence.settle(reached)).map(told));
                prop_assert_ne!(sequence.take(event), Taken::AfterAll);
            }
            live.extend(std::iter::from_fn(|| sequence.settle(i64::MAX)).map(told));
            prop_assert_eq!(live, calm);
        }
    }
}
