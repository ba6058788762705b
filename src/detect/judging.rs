//! The judgement of one key: window ends that open the gate, shapes that settle, ends that events out of order change.

use super::{
    Detector, Finding,
    feed::Behind,
    finding::{Deferred, Evidence},
    keys::{Names, bucket},
    memory::Memory,
    raise::Case,
    rule::Rule,
    ruleset::RuleSet,
    sight::look_back,
    state::{Dirty, Key, Mark, Waiting},
    subject::{Owned, Subject},
    tally::{Shape, Tally},
    updates::UpdateOn,
    waiting::Later,
    window::{Run, Window},
};
use std::sync::Arc;

/// What an event out of order pays for sweeps, in events looked at.
const CREDIT: u64 = 16;

/// What is worked out at most once for a record, and only if a rule selects it.
pub(super) struct Work<'a, 'b> {
    pub subject: &'a Subject<'b>,
    pub chain: u32,
    pub now: i64,
    /// Whether the record may have been judged before.
    pub again: bool,
    /// Whether durable rules know it from the log.
    pub known: bool,
    pub owned: Option<Arc<Owned>>,
    pub repeated: Option<bool>,
    /// Whether a judgement waited with the record before it came.
    pub waits: Option<bool>,
    /// What markers remember of it.
    pub memory: Option<Arc<Memory>>,
    /// Its judgements that are to wait.
    pub later: Later,
    /// The keys under which rules and markers look at it.
    pub names: Names,
}

impl Work<'_, '_> {
    pub fn owned(&mut self) -> Arc<Owned> {
        self.owned.get_or_insert_with(|| Arc::new(self.subject.to_owned())).clone()
    }
}

/// The judgement of one window.
pub(super) struct Judging<'a, 'b, 'c> {
    pub detector: &'a mut Detector,
    pub rules: &'a RuleSet,
    pub rule: &'a Rule,
    pub shape: &'a Shape,
    pub slot: u32,
    pub key: &'a mut Key,
    pub work: &'a mut Work<'b, 'c>,
    pub out: &'a mut Vec<Finding>,
}

impl Judging<'_, '_, '_> {
    /// The gate is open for the window that ends at `end`.
    pub fn opened(&mut self, end: i64, tally: &Tally, run: Run<'_>, events: &Window) {
        let bucket = bucket(self.rule, end);
        if let Some(bucket) = bucket {
            match self.key.marks.iter_mut().find(|mark| mark.bucket == bucket) {
                Some(Mark { waiting: Some(waiting), .. }) if waiting.trigger > end => {
                    return self.opened_before(bucket, end);
                }
                Some(Mark { waiting: None, .. }) => {
                    self.detector.raiser.suppressed(self.key.rule);
                    return self.grown(end, tally, run, events);
                }
                Some(_) => return self.detector.raiser.suppressed(self.key.rule),
                None => {}
            }
            if let Some(settle) = self.rule.spec.settle {
                return self.wait(bucket, end, settle);
            }
        }
        let of = |update_on: UpdateOn| update_on.level_of(self.shape, tally, run, self.shape.window);
        let level = self.rule.spec.update_on.map_or(0, of);
        if let Some(chains) = self.raise(end, bucket, (0, level), (tally, run, events))
            && let Some(bucket) = bucket
        {
            self.key.marks.push(Mark { bucket, chains, waiting: None, level });
        }
    }

    /// Raises what is in the window that ends at `end`, as a finding (`update` 0) or as its nth update: the chains of
    /// its records, if it is one. `level` is what it has grown to.
    pub fn raise(
        &mut self,
        end: i64,
        bucket: Option<i64>,
        (update, level): (u8, u8),
        (tally, run, events): (&Tally, Run<'_>, &Window),
    ) -> Option<Box<[u32]>> {
        let record = self.work.owned();
        let from = end.saturating_sub(self.shape.window);
        let (marks, unknown) = self.detector.look_back(self.rule, self.key.rule, &record);
        let sights = marks.clone();
        let case = Case {
            rule: self.key.rule,
            key: &self.key.name,
            record: &record,
            marks,
            bucket,
            update,
            values: events.values(self.shape, tally, run, self.shape.window),
            window: Some((from, end)),
            truncated: events.truncated,
            warming: unknown || self.detector.saver.is_warming(self.key.rule, from, &self.detector.partitions),
            now: self.work.now,
        };
        let partitions = &self.detector.partitions;
        let behind = self.key.behind.as_deref();
        let evidence = || Evidence::of_run(run, |chain| partitions.id(chain)).with_behind(behind);
        if !self.detector.raiser.raise(self.rules, case, evidence, self.out) {
            return None;
        }
        if let Some(bucket) = bucket {
            self.detector.saver.raised(&mut self.key.tracks, self.key.rule, (bucket, level), partitions, self.out);
        }
        Some(sights.chains(run.chains(), behind.map_or(&[], Behind::reach), partitions))
    }

    /// The gate opens: its shape is judged once it has settled.
    fn wait(&mut self, bucket: i64, trigger: i64, settle: i64) {
        let due = self.due(trigger, settle);
        let record = Deferred::new(self.work.owned(), self.work.chain);
        self.detector.partitions.defer(&record);
        self.detector.set_timer(settle, due, self.slot, Some(bucket));
        let waiting = Some(Box::new(Waiting { trigger, due, record }));
        self.key.marks.push(Mark { bucket, chains: [self.work.chain].into(), waiting, level: 0 });
    }

    /// When a shape has settled. Events that come after the watermark has passed them (a shipper that was cut off) get
    /// as long to settle as others: what else belongs to their shape comes as late as they do.
    fn due(&self, trigger: i64, settle: i64) -> i64 {
        trigger.max(self.detector.partitions.low).saturating_add(settle)
    }

    /// The gate of a bucket that waits already was open earlier than was known.
    fn opened_before(&mut self, bucket: i64, trigger: i64) {
        let settle = self.rule.spec.settle.unwrap_or(0);
        let due = self.due(trigger, settle);
        if let Some(waiting) =
            self.key.marks.iter_mut().find(|mark| mark.bucket == bucket).and_then(|mark| mark.waiting.as_mut())
        {
            (waiting.trigger, waiting.due) = (trigger, due.min(waiting.due));
        }
        self.detector.set_timer(settle, due, self.slot, Some(bucket));
    }

    /// An event stands before others, or ahead of the clock: every window end from it on has changed.
    pub fn out_of_order(&mut self, window: &Window, time: i64) {
        let last = time.saturating_add(self.shape.window - 1).min(window.latest());
        if self.rule.spec.dedup.is_none() {
            // each event is a finding of its own: only its own window is judged, when it comes
            return self.sweep(window, time, time);
        }
        let (from, to) = (time.saturating_sub(self.shape.window), time.saturating_add(self.shape.window));
        let cost = window.between(from, to);
        if cost < self.shape.need || self.all_raised(time, last) {
            return;
        }
        let record = Deferred::new(self.work.owned(), self.work.chain);
        let (fresh, ready) = {
            let fresh = self.key.dirty.is_none();
            let dirty = self
                .key
                .dirty
                .get_or_insert_with(|| Box::new(Dirty { from: time, to: last, credit: 0, records: Vec::new() }));
            (dirty.from, dirty.to) = (dirty.from.min(time), dirty.to.max(last));
            dirty.credit += CREDIT;
            let span = (dirty.from.saturating_sub(self.shape.window), dirty.to.saturating_add(1));
            (fresh, dirty.credit >= window.between(span.0, span.1))
        };
        if ready {
            if let Some(dirty) = self.key.dirty.take() {
                for record in &dirty.records {
                    self.detector.partitions.release(record);
                }
                self.sweep(window, dirty.from, dirty.to);
            }
            return;
        }
        if fresh {
            let length = self.shape.window / 8;
            let due = time.max(self.detector.partitions.low).saturating_add(length);
            self.detector.set_timer(length, due, self.slot, None);
            self.detector.sweep_soon(self.slot, self.work.now);
        }
        self.remember(record);
    }

    /// Keeps the lowest offset of each chain with the window ends that wait.
    fn remember(&mut self, record: Deferred) {
        let Some(dirty) = &mut self.key.dirty else { return };
        match dirty.records.iter_mut().find(|known| known.chain == record.chain) {
            Some(known) if known.record.offset <= record.record.offset => {}
            Some(known) => {
                self.detector.partitions.release(known);
                self.detector.partitions.defer(&record);
                *known = record;
            }
            None => {
                self.detector.partitions.defer(&record);
                dirty.records.push(record);
            }
        }
    }

    /// Whether every bucket in which these window ends lie has its finding.
    fn all_raised(&self, from: i64, to: i64) -> bool {
        let (Some(first), Some(last)) = (bucket(self.rule, from), bucket(self.rule, to)) else { return false };
        let grows = |level| self.rule.spec.update_on.is_some_and(|update_on| update_on.can_grow(level));
        let done = |mark: &Mark| mark.waiting.is_none() && !grows(mark.level);
        last.saturating_sub(first) < 64
            && (first..=last).all(|b| self.key.marks.iter().any(|mark| mark.bucket == b && done(mark)))
    }

    /// Evaluates every window end in [from, to].
    fn sweep(&mut self, window: &Window, from: i64, to: i64) {
        let mut scratch = std::mem::take(&mut self.detector.scratch);
        let shape = self.shape;
        window.sweep(shape, (from, to), &mut scratch, |end, tally, run| {
            if tally.opens(shape, run) {
                self.opened(end, tally, run, window);
            }
            true
        });
        self.detector.scratch = scratch;
    }
}

impl Detector {
    /// Judges everything of a key that waits, at once.
    pub(super) fn conclude(&mut self, rules: &RuleSet, slot: u32, now: i64, out: &mut Vec<Finding>) {
        let Some(key) = self.state.get(slot) else { return };
        let (dirty, waiting) = (key.dirty.is_some(), key.marks.iter().any(|mark| mark.waiting.is_some()));
        if dirty {
            self.sweep_dirty(rules, slot, now, out);
        }
        if dirty || waiting {
            self.judge_settled(rules, slot, None, now, out);
        }
    }

    /// Judges the shapes of a key that have settled: that of one bucket, if it is due, or of all at once.
    pub(super) fn judge_settled(
        &mut self,
        rules: &RuleSet,
        slot: u32,
        bucket: Option<i64>,
        now: i64,
        out: &mut Vec<Finding>,
    ) {
        let Some(mut key) = self.state.take(slot) else { return };
        let Some(rule) = rules.compiled().get(key.rule as usize) else { return };
        self.refresh_key(rule, &mut key);
        let mut refused = Vec::new();
        if let (Some(shape), Some(window)) = (&rule.shape, &key.window) {
            for mark in &mut key.marks {
                let low = self.partitions.low;
                let due = mark.waiting.as_ref().is_some_and(|waiting| bucket.is_none() || waiting.due <= low);
                if !due || bucket.is_some_and(|bucket| bucket != mark.bucket) {
                    continue;
                }
                let Some(waiting) = mark.waiting.take() else { continue };
                self.partitions.release(&waiting.record);
                let settled = waiting.trigger.saturating_add(rule.spec.settle.unwrap_or(0));
                let span = (waiting.trigger.saturating_sub(shape.window), settled);
                let run = window.over(shape, span, &mut self.scratch);
                let length = span.1.saturating_sub(span.0);
                if !self.scratch.still_open(shape, run, length) {
                    refused.push(mark.bucket);
                    continue;
                }
                let record = &waiting.record.record;
                let (marks, unknown) = look_back(rule, key.rule, record, &self.state, (&self.partitions, &self.saver));
                let sights = marks.clone();
                let case = Case {
                    rule: key.rule,
                    key: &key.name,
                    record,
                    marks,
                    bucket: Some(mark.bucket),
                    update: 0,
                    values: window.values(shape, &self.scratch, run, length),
                    window: Some(span),
                    truncated: window.truncated,
                    warming: unknown || self.saver.is_warming(key.rule, span.0, &self.partitions),
                    now,
                };
                let (partitions, behind) = (&self.partitions, key.behind.as_deref());
                let evidence = || Evidence::of_run(run, |chain| partitions.id(chain)).with_behind(behind);
                if self.raiser.raise(rules, case, evidence, out) {
                    mark.chains = sights.chains(run.chains(), behind.map_or(&[], Behind::reach), partitions);
                    let of = |update_on: UpdateOn| update_on.level_of(shape, &self.scratch, run, length);
                    mark.level = rule.spec.update_on.map_or(0, of);
                    self.saver.raised(&mut key.tracks, key.rule, (mark.bucket, mark.level), partitions, out);
                } else {
                    refused.push(mark.bucket); // a later event may open the gate of this bucket again
                }
            }
        }
        key.marks.retain(|mark| !refused.contains(&mark.bucket));
        self.put_back(rule, slot, key);
    }

    /// Evaluates the window ends that events out of order have changed.
    pub(super) fn sweep_dirty(&mut self, rules: &RuleSet, slot: u32, now: i64, out: &mut Vec<Finding>) {
        let Some(mut key) = self.state.take(slot) else { return };
        let Some(rule) = rules.compiled().get(key.rule as usize) else { return };
        self.refresh_key(rule, &mut key);
        // a sweep that was made before its timer leaves nothing to do
        if let (Some(shape), Some(dirty)) = (&rule.shape, key.dirty.take()) {
            for record in &dirty.records {
                self.partitions.release(record);
            }
            if let (Some(first), Some(window)) = (dirty.records.first(), key.window.take()) {
                let record = first.record.clone();
                let subject = record.subject();
                let owned = Some(first.record.clone());
                let mut work = Work {
                    subject: &subject,
                    chain: first.chain,
                    now,
                    again: false,
                    known: false,
                    owned,
                    repeated: None,
                    waits: None,
                    memory: None,
                    later: Later::new(),
                    names: Names::default(), // nothing is looked up for it
                };
                let mut judging =
                    Judging { detector: self, rules, rule, shape, slot, key: &mut key, work: &mut work, out };
                judging.sweep(&window, dirty.from, dirty.to);
                key.window = Some(window);
            }
        }
        self.put_back(rule, slot, key);
    }
}
