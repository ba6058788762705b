//! `wait`: single events that are judged when the watermark has passed them, so that what is missing is missing and
//! not late.

use super::{
    Detector, Finding,
    finding::{Deferred, Evidence},
    judging::Work,
    keys::bucket,
    rule::Rule,
    ruleset::RuleSet,
    state::{Key, Mark, Waiting},
};
use crate::position::ChainId;
use std::collections::VecDeque;

/// How many events of one key wait at most: with more, the first is judged on what is known, as if pushed out.
const MOST_WAITING: usize = 256;

/// The events of one key whose judgement waits, in the order of their times.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: VecDeque<Waiting>,
}

impl Pending {
    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Waiting>() + 32
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The time of the first.
    pub fn first(&self) -> Option<i64> {
        self.events.front().map(|waiting| waiting.trigger)
    }

    fn insert(&mut self, waiting: Waiting) {
        fn order(w: &Waiting) -> (i64, &ChainId, i64) {
            (w.trigger, &w.record.record.chain, w.record.record.offset)
        }
        let at = self.events.partition_point(|other| order(other) < order(&waiting));
        if self.events.is_empty() {
            self.events.reserve_exact(1); // most keys never see a second one
        }
        self.events.insert(at, waiting);
    }

    /// Takes the first that is due at `low`, if there is one.
    fn take_due(&mut self, low: i64) -> Option<Waiting> {
        let at = self.events.iter().position(|waiting| waiting.due <= low)?;
        self.events.remove(at)
    }

    /// Drops the events of chains that are no longer read here: their next reader judges them.
    pub fn retain(&mut self, is_read: impl Fn(u32) -> bool) {
        self.events.retain(|waiting| is_read(waiting.record.chain));
    }

    fn has(&self, chain: u32, offset: i64, time: i64) -> bool {
        let same = |w: &Waiting| (w.record.chain, w.record.record.offset, w.trigger) == (chain, offset, time);
        self.events.iter().any(same)
    }
}

impl Detector {
    /// An event is judged when the watermark is `wait` past it. Events that come when it has passed them wait as long
    /// as others: what belongs to them comes as late as they do.
    pub(super) fn judge_later(
        &mut self,
        rules: &RuleSet,
        (rule, wait): (&Rule, i64),
        slot: u32,
        key: &mut Key,
        work: &mut Work<'_, '_>,
        out: &mut Vec<Finding>,
    ) {
        let (time, offset) = (work.subject.time, work.subject.offset);
        let raised = bucket(rule, time).is_some_and(|bucket| key.marks.iter().any(|mark| mark.bucket == bucket));
        let known = || key.pending.as_ref().is_some_and(|pending| pending.has(work.chain, offset, time));
        if raised || (work.again && known()) {
            return;
        }
        let due = time.max(self.partitions.low).saturating_add(wait);
        let record = Deferred::new(work.owned(), work.chain);
        self.partitions.defer(&record);
        self.set_wait_timer(wait, due, slot);
        let pending = key.pending.get_or_insert_default();
        pending.insert(Waiting { trigger: time, due, record });
        if pending.len() > MOST_WAITING
            && let Some(first) = pending.take_due(i64::MAX)
        {
            self.judge_waiting(rules, rule, key, first, work.now, out);
        }
    }

    /// Judges the events of a key that are due, or all of them at once.
    pub(super) fn judge_pending(&mut self, rules: &RuleSet, slot: u32, all: bool, now: i64, out: &mut Vec<Finding>) {
        let Some(mut key) = self.state.take(slot) else { return };
        let Some(rule) = rules.compiled().get(key.rule as usize) else { return };
        self.refresh_key(rule, &mut key);
        let low = if all { i64::MAX } else { self.partitions.low };
        while let Some(waiting) = key.pending.as_mut().and_then(|pending| pending.take_due(low)) {
            self.judge_waiting(rules, rule, &mut key, waiting, now, out);
        }
        if key.pending.as_ref().is_some_and(|pending| pending.len() == 0) {
            key.pending = None;
        }
        let empty = key.is_empty();
        self.put_back(rule, slot, key);
        // a rule without dedup has nothing to remember of a key
        if empty && !all {
            self.remove_key(slot);
        }
    }

    fn judge_waiting(
        &mut self,
        rules: &RuleSet,
        rule: &Rule,
        key: &mut Key,
        waiting: Waiting,
        now: i64,
        out: &mut Vec<Finding>,
    ) {
        let record = &waiting.record.record;
        self.partitions.release(&waiting.record);
        let bucket = bucket(rule, waiting.trigger);
        // each is judged on its own until one of them is a finding
        if bucket.is_some_and(|bucket| key.marks.iter().any(|mark| mark.bucket == bucket)) {
            return;
        }
        let case = self.single(rules, key.rule, &key.name, record, bucket, now);
        let marks = case.marks.clone();
        if self.raiser.raise(rules, case, || Evidence::of(record), out)
            && let Some(bucket) = bucket
        {
            let chains = self.chains_of(waiting.record.chain, record, &marks);
            key.marks.push(Mark { bucket, chains, waiting: None, level: 0 });
            self.saver.raised(&mut key.tracks, key.rule, (bucket, 0), &self.partitions, out);
        }
    }
}
