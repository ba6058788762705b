//! `wait`: single events that are judged when the watermark has passed them, so that what is missing is missing and
//! not late. They wait in order of time, all rules together, and need no state of their keys: most of them turn out to
//! be nothing.

use super::{
    Detector, Finding,
    finding::{Deferred, Evidence},
    judging::Work,
    keys::{Called, Names, bucket},
    rule::Rule,
    ruleset::RuleSet,
    state::{Key, Mark},
    subject::Subject,
};
use smallvec::SmallVec;

/// An event whose own judgement waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// The event.
    pub record: Deferred,
    /// The rules that let it wait so long, in the order in which they judge.
    pub rules: SmallVec<[u32; 4]>,
}

/// Judgements of a record that are to wait, by how long.
pub(super) type Later = SmallVec<[(i64, Pending); 2]>;

impl Detector {
    /// Room for the keys of another record.
    pub(super) fn names_of(&mut self, rules: &RuleSet) -> Names {
        let mut names = std::mem::take(&mut self.names);
        names.clear(rules.key_fields());
        names
    }

    /// An event is judged when the watermark is `wait` past it. Events that come when it has passed them wait as long
    /// as others: what belongs to them comes as late as they do.
    pub(super) fn judge_later(&mut self, rule: u32, wait: i64, work: &mut Work<'_, '_>) {
        let (chain, offset) = (work.chain, work.subject.offset);
        let again = work.again;
        // a record that is read again while it waits is judged once
        if *work.waits.get_or_insert_with(|| again && self.partitions.is_deferred(chain, offset)) {
            return;
        }
        if let Some((_, pending)) = work.later.iter_mut().find(|(length, _)| *length == wait) {
            return pending.rules.push(rule);
        }
        let record = Deferred::new(work.owned(), chain);
        self.partitions.defer(&record);
        work.later.push((wait, Pending { record, rules: [rule].into_iter().collect() }));
    }

    /// What is to wait of a record that all rules have seen.
    pub(super) fn let_wait(&mut self, work: &mut Work<'_, '_>, out: &mut Vec<Finding>) {
        if work.later.is_empty() {
            return;
        }
        let from = work.subject.time.max(self.partitions.low);
        for (wait, pending) in std::mem::take(&mut work.later) {
            self.pending.push(wait, from.saturating_add(wait), pending, |_| true);
        }
        self.make_room(u32::MAX, work.now, out);
    }

    /// Judges an event that has waited, by one rule after the other; `then` is done after each. It makes no room:
    /// whoever calls it does.
    pub(super) fn judge_pending(
        &mut self,
        rules: &RuleSet,
        pending: Pending,
        now: i64,
        out: &mut Vec<Finding>,
        then: impl Fn(&mut Self, &mut Vec<Finding>),
    ) {
        let Pending { record, rules: waiting } = pending;
        let mut names = self.names_of(rules);
        for at in waiting {
            // the next reader of a chain that went away judges its records
            if self.partitions.is_read(record.chain) && !self.refuses(rules, at, &record.record, &mut names) {
                let fields = (rules.key_fields().own(at), rules.key_fields());
                if let Some(name) = names.own(fields, &record.record.subject(), &self.hasher)
                    && let Some(rule) = rules.compiled().get(at as usize)
                {
                    self.judge_ripe(rules, (rule, at), name, &record, now, out);
                }
            }
            then(self, out);
        }
        self.names = names;
        // not before: what it asks for must not be forgotten
        self.partitions.release(&record);
    }

    fn judge_ripe(
        &mut self,
        rules: &RuleSet,
        (rule, at): (&Rule, u32),
        name: Called<'_>,
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
        let case = self.single(rules, at, name.bytes, record, bucket, now);
        let marks = case.marks.clone();
        if self.raiser.raise(rules, case, || Evidence::of(record), out)
            && let Some(bucket) = bucket
        {
            let chains = self.chains_of(waiting.chain, record, &marks);
            let epoch = self.partitions.epoch;
            let slot = self.state.find_or_insert(at, name, || Key::new(at, name.bytes, epoch));
            let Some(mut key) = self.state.take(slot) else { return };
            self.refresh_key(rule, &mut key);
            key.marks.push(Mark { bucket, chains, waiting: None, level: 0 });
            self.saver.raised(&mut key.tracks, at, (bucket, 0), &self.partitions, out);
            self.put_back(rule, slot, key);
            self.drop_stale(slot);
        }
    }

    /// Whether a key has its finding in this bucket.
    fn was_raised(&mut self, rule: &Rule, at: u32, name: Called<'_>, bucket: i64) -> bool {
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
        self.judge_pending(rules, pending, now, out, |_, _| {});
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
        let partitions = &mut self.partitions;
        let concluded = self.pending.split(|pending| {
            let wanted: SmallVec<[u32; 4]> = pending.rules.iter().copied().filter(|rule| of(*rule)).collect();
            pending.rules.retain(|rule| !of(*rule));
            let record = pending.record.clone();
            if !wanted.is_empty() && !pending.rules.is_empty() {
                partitions.defer(&record); // both parts wait with it now
            }
            ((!wanted.is_empty()).then_some(Pending { record, rules: wanted }), !pending.rules.is_empty())
        });
        for pending in concluded {
            self.judge_pending(rules, pending, now, out, |_, _| {});
        }
    }

    /// Whether a rule's judgement of a record waits.
    pub(super) fn waits(&self, rule: u32, subject: &Subject<'_>) -> bool {
        let same = |record: &Deferred| (&record.record.chain, record.record.offset) == (subject.chain, subject.offset);
        self.pending.iter().any(|pending| pending.rules.contains(&rule) && same(&pending.record))
    }
}
