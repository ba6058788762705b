//! Durable state read back: the records of a chain become what they were, before anything of the chain is judged.

use super::{
    Detector, Finding,
    column::NONE,
    detector::AHEAD,
    history::{History, Moment},
    keys::Called,
    markers::Marker,
    memory::Memory,
    rule::Rule,
    save::Raised,
    saved::{self, Coverage, Value},
    spec::COLUMNS,
    state::{Key, Mark},
    window::{Incoming, Window},
};
use crate::position::{ChainId, Position};
use std::sync::Arc;

/// A record of the log, as one writer left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The rule's id; empty for what is said of the chain as a whole.
    pub rule: Arc<str>,
    /// The canonical bytes of the key.
    pub key: Box<[u8]>,
    /// Who wrote it.
    pub writer: Arc<str>,
    /// What it says.
    pub value: Vec<u8>,
}

/// What became of the records of a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records that were taken over.
    pub records: usize,
    /// Records of rules that are not there, or gather something else now, or of another version.
    pub passed_over: usize,
}

impl Detector {
    /// Restores what a chain has contributed to durable keys, from all writers' records: a union. Nothing is judged.
    ///
    /// Everything below `done` was published and acknowledged before, and is taken from the log alone: durable rules do
    /// not look at these records when they are read again. What lies behind it is judged again, so whatever it brings
    /// about (a finding that was not acknowledged) is brought about again.
    pub fn restore(
        &mut self,
        chain: &Arc<ChainId>,
        done: i64,
        saved: &[Saved],
        now: i64,
        out: &mut Vec<Finding>,
    ) -> Restored {
        let at = self.partitions.index(chain, now);
        self.saver.resume(at, done);
        let mut restored = Restored::default();
        for record in saved {
            let known = if record.rule.is_empty() {
                self.restore_coverage(at, done, record)
            } else {
                self.restore_key(at, done, record, now, out)
            };
            match known {
                Some(()) => restored.records += 1,
                None => restored.passed_over += 1,
            }
        }
        restored
    }

    fn restore_coverage(&mut self, chain: u32, done: i64, record: &Saved) -> Option<()> {
        let coverage: Coverage = saved::decode(&record.value)?;
        let older = (coverage.begun < done).then_some(&record.writer);
        // records between were judged by somebody who saved nothing: the state has a hole
        let whole = coverage.to >= done;
        self.saver.take_over(chain, if whole { &coverage.rules } else { &[] }, older);
        Some(())
    }

    fn restore_key(&mut self, chain: u32, done: i64, record: &Saved, now: i64, out: &mut Vec<Finding>) -> Option<()> {
        let rules = self.rules.clone();
        let number = rules.compiled().iter().position(|rule| rule.spec.id == *record.rule)?;
        let rule = rules.compiled().get(number)?;
        let number = number as u32; // as many rules as files
        let value: Value = saved::decode(&record.value)?;
        if self.saver.shape(number).is_none_or(|shape| **shape != *value.shape) {
            return None;
        }
        let marker = Marker::place_of(&record.key).map(|place| rule.markers.get(place));
        let epoch = self.partitions.epoch;
        let name = Called::new(&record.key, &self.hasher);
        let slot = match marker {
            Some(marker) => {
                let keep = marker?.keep;
                self.state.find_or_insert(number, name, || Key {
                    history: Some(History::new(keep)),
                    ..Key::new(number, &record.key, epoch)
                })
            }
            None => self.state.find_or_insert(number, name, || Key {
                window: rule.shape.as_ref().map(|shape| Box::new(Window::new(shape))),
                ..Key::new(number, &record.key, epoch)
            }),
        };
        let mut key = self.state.take(slot)?;
        self.refresh_key(rule, &mut key);
        self.fill_window(rule, &mut key, (chain, done), &value, now);
        if let Some(Some(marker)) = marker {
            self.fill_history(marker, &mut key, (chain, done), &value);
        }
        self.restore_marks(&mut key, &value);
        // a record of the same age may be of an owner after us: it is left for the next one
        if value.begun < done {
            key.tracks.get_or_insert_default().supersedes(chain, &record.writer);
        }
        self.put_back(rule, slot, key);
        self.make_room(slot, now, out);
        Some(())
    }

    fn fill_window(&self, rule: &Rule, key: &mut Key, (chain, done): (u32, i64), value: &Value, now: i64) {
        let (Some(shape), Some(window)) = (&rule.shape, &mut key.window) else { return };
        window.truncated |= value.truncated;
        let clock = now.saturating_mul(1000).saturating_add(AHEAD);
        let mut latest = i64::MIN;
        for event in value.events.iter().filter(|event| event.1 < done) {
            let mut values = [None; COLUMNS];
            for (column, text) in values.iter_mut().enumerate() {
                *text = value.text(event, column);
            }
            let (time, offset, conditions) = (event.0, event.1, event.2);
            window.insert(shape, Incoming { time, chain, offset, again: true, values, conditions }, &self.hasher);
            if time <= clock {
                latest = latest.max(time);
            }
        }
        // windows that end before were judged in an earlier life
        window.advance(shape, latest);
    }

    fn fill_history(&self, marker: &Marker, key: &mut Key, (chain, done): (u32, i64), value: &Value) {
        let Some(history) = &mut key.history else { return };
        for moment in value.moments.iter().filter(|moment| moment.1 < done) {
            let values = marker.selectors.iter().zip(&moment.2).map(|(selector, field)| field.kept(selector)).collect();
            let memory = Memory::new(marker.selectors.clone(), values, self.state.memories());
            let moment = Moment { time: moment.0, chain, offset: moment.1, memory, reach: None };
            history.insert(moment, |chain| self.partitions.id(chain));
        }
    }

    /// Findings that were published are not raised again in their bucket. Whether they were is known once all chains
    /// behind them are back.
    fn restore_marks(&self, key: &mut Key, value: &Value) {
        for (bucket, level, reach) in &value.raised {
            let reach: Option<Vec<Position>> = reach.iter().map(|position| position.parse().ok()).collect();
            let Some(reach) = reach.filter(|reach| self.saver.was_published(reach, &self.partitions)) else { continue };
            let mut chains: Vec<u32> =
                reach.iter().map(|position| self.partitions.find(&position.chain).unwrap_or(NONE)).collect();
            match key.marks.iter_mut().find(|mark| mark.bucket == *bucket) {
                Some(mark) if mark.level >= *level => continue,
                Some(mark) => {
                    chains.extend(mark.chains.iter().filter(|chain| !chains.contains(chain)).collect::<Vec<_>>());
                    (mark.level, mark.chains) = (*level, chains.into());
                }
                None => key.marks.push(Mark { bucket: *bucket, chains: chains.into(), waiting: None, level: *level }),
            }
            key.tracks.get_or_insert_default().raised.push(Raised { bucket: *bucket, level: *level, reach });
        }
    }
}
