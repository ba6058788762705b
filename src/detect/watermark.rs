//! The watermark of a partition: up to when its events have been seen, as far as one can tell.
//!
//! It moves by min(event time, record time, wall clock). One event from the future must not make the others late, so
//! a source counts with its second-highest time, and a partition with its second-highest source. Where one source alone
//! is heard, that source decides; a source that was not heard for a while no longer holds the others back.

use crate::event::Text;

/// How many sources of a partition are told apart: more than that are not heard until others fall silent.
const MOST_SOURCES: usize = 64;
/// A source holds the watermark back for so long after it was heard, in milliseconds of wall clock, at least.
const PATIENCE: i64 = 60_000;
/// Record times before 2000 are no times: producers that give seconds, or nothing.
const SANE: i64 = 946_684_800_000;

/// The time of a record that has no other, in microseconds: Kafka's, if it can be one, or else the wall clock.
pub(super) fn record_time(record: i64, now: i64) -> i64 {
    if (SANE..=now).contains(&record) { record * 1000 } else { now.saturating_mul(1000) }
}

struct Source {
    name: Text,
    /// Highest time and the event it came from: a repeated delivery must not count as a second event.
    highest: (i64, u64),
    /// The highest time of another event: how far the source has come.
    second: i64,
    /// Wall clock, milliseconds.
    heard: i64,
}

/// The watermark of one partition. Times are microseconds but for the wall clock.
#[derive(Default)]
pub(super) struct Watermark {
    sources: Vec<Source>,
    last: usize,
    /// Wall clock, milliseconds, when an event last came.
    now: i64,
    /// By events; `None` until two events came.
    events: Option<i64>,
    /// By the wall clock, when there was nothing more to read.
    idle: Option<i64>,
}

impl Watermark {
    /// How far events have come.
    pub fn events(&self) -> Option<i64> {
        self.events
    }

    /// How far the partition has come: for judgements that wait.
    pub fn value(&self) -> Option<i64> {
        self.events.max(self.idle)
    }

    /// There is nothing more to read.
    pub fn idle(&mut self, now: i64) {
        self.idle = self.idle.max(Some(now.saturating_mul(1000)));
    }

    /// An event of `source` happened at `time`; `id` tells it from others. Whether the watermark moved.
    pub fn note(&mut self, source: &str, id: u64, time: i64, record: i64, now: i64, lateness: i64) -> bool {
        let bound = if record >= SANE { record.min(now) } else { now };
        let time = time.min(bound.saturating_mul(1000));
        let patience = (lateness / 1000).max(PATIENCE);
        if now < self.now {
            // the wall clock was set back: who was heard in what is the future now must not hold the others back
            self.sources.iter_mut().for_each(|source| source.heard = source.heard.min(now));
        }
        self.now = now;
        let Some(at) = self.place(source, now, patience) else { return false };
        let heard = &mut self.sources[at];
        heard.heard = now;
        let before = heard.second;
        if time > heard.highest.0 {
            if id != heard.highest.1 {
                heard.second = heard.highest.0;
            }
            heard.highest = (time, id);
        } else if time > heard.second && id != heard.highest.1 {
            heard.second = time;
        }
        if heard.second <= before {
            return false;
        }
        let (mut first, mut second, mut count) = (i64::MIN, i64::MIN, 0);
        for source in &self.sources {
            if source.second == i64::MIN || now - source.heard > patience {
                continue;
            }
            count += 1;
            (first, second) = (first.max(source.second), second.max(source.second.min(first)));
        }
        let reached = if count > 1 { second } else { first };
        let moved = self.events.is_none_or(|events| reached > events);
        if moved {
            self.events = Some(reached);
        }
        moved
    }

    fn place(&mut self, source: &str, now: i64, patience: i64) -> Option<usize> {
        if self.sources.get(self.last).is_some_and(|known| known.name == source) {
            return Some(self.last);
        }
        let found = self.sources.iter().position(|known| known.name == source);
        let at = match found {
            Some(at) => at,
            None => {
                let fresh = Source { name: source.into(), highest: (i64::MIN, 0), second: i64::MIN, heard: now };
                if self.sources.len() < MOST_SOURCES {
                    self.sources.push(fresh);
                    self.sources.len() - 1
                } else {
                    let silent = self.sources.iter().position(|known| now - known.heard > patience)?;
                    self.sources[silent] = fresh;
                    silent
                }
            }
        };
        self.last = at;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const LATENESS: i64 = 600_000_000;
    const HOUR: i64 = 3_600_000_000;

    fn at(seconds: i64) -> i64 {
        (NOW - 86_400_000) * 1000 + seconds * 1_000_000
    }

    #[test]
    fn one_source_moves_it_by_the_event_before() {
        let mut mark = Watermark::default();
        for (n, time) in [10, 20, 15, 30].into_iter().enumerate() {
            mark.note("sshd", n as u64 + 1, at(time), -1, NOW, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(20)));
    }

    #[test]
    fn an_event_from_the_future_moves_nothing_even_when_it_is_repeated() {
        let mut mark = Watermark::default();
        for n in 1..=10 {
            mark.note("sshd", n, at(n as i64), -1, NOW, LATENESS);
        }
        for _ in 0..3 {
            mark.note("sshd", 99, at(0) + 20 * HOUR, -1, NOW, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(10)));
    }

    #[test]
    fn the_second_highest_source_decides() {
        let mut mark = Watermark::default();
        for n in 1..=100 {
            mark.note("fast", n, at(1000 + n as i64), -1, NOW, LATENESS);
            mark.note("slow", 1000 + n, at(n as i64), -1, NOW, LATENESS);
            mark.note("slower", 2000 + n, at(0), -1, NOW, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(1001)), "fast counted while it was alone");
        let mut mark = Watermark::default();
        for n in 1..=100 {
            mark.note("slow", 1000 + n, at(n as i64), -1, NOW, LATENESS);
            mark.note("fast", n, at(1000 + n as i64), -1, NOW, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(99)));
    }

    #[test]
    fn record_times_and_the_wall_clock_bound_it_and_silent_sources_let_go() {
        let mut mark = Watermark::default();
        let record = NOW - 86_400_000 + 5_000;
        for n in 1..=5 {
            mark.note("sshd", n, at(100 + n as i64), record, NOW, LATENESS);
        }
        assert_eq!(mark.events(), Some(record * 1000));
        mark.note("okta", 50, at(6), -1, NOW, LATENESS);
        mark.note("okta", 51, at(6), -1, NOW, LATENESS);
        let later = NOW + LATENESS / 1000 + 1;
        for n in 60..70 {
            mark.note("sshd", n, at(200 + n as i64), -1, later, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(268)), "okta was not heard for ten minutes");
        mark.idle(later);
        assert_eq!((mark.value(), mark.events()), (Some(later * 1000), Some(at(268))));
    }

    #[test]
    fn a_source_that_was_heard_before_the_clock_was_set_back_lets_go_all_the_same() {
        let mut mark = Watermark::default();
        for n in 1..=5 {
            mark.note("okta", n, at(n as i64), -1, NOW + 86_400_000, LATENESS);
            mark.note("sshd", 100 + n, at(n as i64), -1, NOW + 86_400_000, LATENESS);
        }
        mark.note("sshd", 106, at(7), -1, NOW, LATENESS);
        for n in 200..210 {
            mark.note("sshd", n, at(n as i64), -1, NOW + LATENESS / 1000 + 1, LATENESS);
        }
        assert_eq!(mark.events(), Some(at(208)), "okta was not heard for ten minutes");
    }

    #[test]
    fn sources_are_bounded() {
        let mut mark = Watermark::default();
        for n in 0..10_000 {
            mark.note(&format!("source{n}"), n, at(n as i64), -1, NOW, LATENESS);
        }
        assert_eq!(mark.sources.len(), MOST_SOURCES);
    }
}
