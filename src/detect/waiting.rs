//! `wait`: single events that are judged when the watermark has passed them, so that what is missing is missing and
//! not late. They wait in order of time, all rules together, and need no state of their keys: most of them turn out to
//! be nothing.

use super::{
    Detector, Finding,
    finding::{Deferred, Evidence},
    judging::Work,
    keys::{bucket, canonical_key},
    rule::Rule,
    ruleset::RuleSet,
    state::{Key, Mark},
    subject::Subject,
};

/// An event whose own judgement by a rule waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// The event.
    pub record: Deferred,
    /// The rule.
    pub rule: u32,
}

impl Detector {
    /// An event is judged when the watermark is `wait` past it. Events that come when it has passed them wait as long
    /// as others: what belongs to them comes as late as they do.
    pub(super) fn judge_later(&mut self, rule: u32, wait: i64, work: &mut Work<'_, '_>, out: &mut Vec<Finding>) {
        let (chain, offset) = (work.chain, work.subject.offset);
        let again = work.again;
        // a record that is read again while it waits is judged once
        if *work.waits.get_or_insert_with(|| again && self.partitions.is_deferred(chain, offset)) {
            return;
        }
        let due = work.subject.time.max(self.partitions.low).saturating_add(wait);
        let record = Deferred::new(work.owned(), chain);
        self.partitions.defer(&record);
        self.pending.push(wait, due, Pending { record, rule }, |_| true);
        self.make_room(u32::MAX, work.now, out);
    }

    /// Judges an event that has waited. It makes no room: whoever calls it does.
    pub(super) fn judge_pending(&mut self, rules: &RuleSet, pending: Pending, now: i64, out: &mut Vec<Finding>) {
        let Pending { record, rule: at } = pending;
        // the next reader of a chain that went away judges its records
        if let Some(rule) = rules.compiled().get(at as usize)
            && self.partitions.is_read(record.chain)
            && !self.refuses(rule, at, &record.record)
        {
            let mut name = std::mem::take(&mut self.key);
            if canonical_key(rule, &record.record.subject(), &mut name) {
                self.judge_ripe(rules, (rule, at), &name, &record, now, out);
            }
            self.key = name;
        }
        // not before: what it asks for must not be forgotten
        self.partitions.release(&record);
    }

    fn judge_ripe(
        &mut self,
        rules: &RuleSet,
        (rule, at): (&Rule, u32),
        name: &[u8],
        waiting: &Deferred,
        now: i64,
        out: &mut Vec<Finding>,
    ) {
        let record = &waiting.record;
        let bucket = bucket(rule, record.time);
        // each is judged on its own until one of them is a finding
        if bucket.is_some_and(|bucket| self.was_raised(rule, at, name, bucket)) {
            return;
        }
        let case = self.single(rules, at, name, record, bucket, now);
        let marks = case.marks.clone();
        if self.raiser.raise(rules, case, || Evidence::of(record), out)
            && let Some(bucket) = bucket
        {
            let chains = self.chains_of(waiting.chain, record, &marks);
            let epoch = self.partitions.epoch;
            let slot = self.state.find_or_insert(at, name, || Key::new(at, name, epoch));
            let Some(mut key) = self.state.take(slot) else { return };
            self.refresh_key(rule, &mut key);
            key.marks.push(Mark { bucket, chains, waiting: None, level: 0 });
            self.saver.raised(&mut key.tracks, at, (bucket, 0), &self.partitions, out);
            self.put_back(rule, slot, key);
            self.drop_stale(slot);
        }
    }

    /// Whether a key has its finding in this bucket.
    fn was_raised(&mut self, rule: &Rule, at: u32, name: &[u8], bucket: i64) -> bool {
        let Some(slot) = self.state.slot_of(at, name) else { return false };
        let Some(mut key) = self.state.take(slot) else { return false };
        self.refresh_key(rule, &mut key);
        let raised = key.marks.iter().any(|mark| mark.bucket == bucket);
        self.put_back(rule, slot, key);
        raised
    }

    /// Judges what waits longest on what is known now. Whether anything waited.
    pub(super) fn hurry(&mut self, rules: &RuleSet, now: i64, out: &mut Vec<Finding>) -> bool {
        let Some((_, pending)) = self.pending.pop(i64::MAX) else { return false };
        self.judge_pending(rules, pending, now, out);
        true
    }

    /// Judges what waits for these rules on what is known now.
    pub(super) fn conclude_pending(
        &mut self,
        rules: &RuleSet,
        of: impl Fn(u32) -> bool,
        now: i64,
        out: &mut Vec<Finding>,
    ) {
        for pending in self.pending.take(|pending| of(pending.rule)) {
            self.judge_pending(rules, pending, now, out);
        }
    }

    /// Whether a rule's judgement of a record waits.
    pub(super) fn waits(&self, rule: u32, subject: &Subject<'_>) -> bool {
        let same = |record: &Deferred| (&record.record.chain, record.record.offset) == (subject.chain, subject.offset);
        self.pending.iter().any(|pending| pending.rule == rule && same(&pending.record))
    }
}
