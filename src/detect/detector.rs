//! Judging records: which rules select one, what its key has seen, and what waits for the watermark.

use super::{
    Finding, Input, Limits,
    feed::Behind,
    finding::Evidence,
    judging::{Judging, Work},
    keys::{Names, bucket, value_text},
    partitions::Partitions,
    predicate::{self, Pred},
    raise::{Case, Raiser},
    repeats::Repeats,
    rule::Rule,
    ruleset::RuleSet,
    save::Saver,
    sight::Marks,
    sources::Sources,
    spec::COLUMNS,
    state::{Key, Mark, State},
    stats::{Counters, RuleStats, SAMPLED},
    subject::{Owned, Subject, What},
    tally::{Shape, Tally},
    timers::Timers,
    waiting::{Later, Pending},
    watermark::record_time,
    window::{Incoming, Inserted, Window},
};
use crate::{position::ChainId, record::Outcome};
use ahash::RandomState;
use std::{borrow::Cow, collections::VecDeque, sync::Arc};

/// How far before the wall clock an event may be and still move the window of its key, in microseconds.
pub(super) const AHEAD: i64 = 60_000_000;
/// What events out of order have changed is looked at after so long at the latest, in milliseconds of wall clock: a
/// finding does not wait for the watermark, and a key with many events is not swept more often than this.
const SWEEP_AFTER: i64 = 5_000;
/// The source under which records that are no events move the watermark.
const NO_SOURCE: &str = "";

/// What a detector did so far, over all rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records given to it.
    pub records: u64,
    /// Records too late to be judged.
    pub late: u64,
    /// Selected events that had been counted before.
    pub repeats: u64,
    /// Keys pushed out to stay within the bound.
    pub evicted: u64,
    /// Keys with state.
    pub keys: u64,
    /// Bytes of state.
    pub bytes: u64,
}

/// What happens to a key when the watermark gets somewhere.
#[derive(Debug)]
pub(super) struct Alarm {
    slot: u32,
    /// What tells the key from one that had its slot before.
    generation: u32,
    /// The bucket whose shape is judged; none for a sweep.
    bucket: Option<i64>,
}

/// A key to sweep.
struct Sweep {
    /// When events out of order first changed it: milliseconds of wall clock.
    since: i64,
    slot: u32,
    generation: u32,
}

/// Judges records. One instance sees the partitions that one process reads.
pub struct Detector {
    pub(super) rules: Arc<RuleSet>,
    /// The latest time of an event, up to the wall clock: what begins now has seen nothing before.
    pub(super) latest: i64,
    pub(super) limit: usize,
    pub(super) state: State,
    repeats: Repeats,
    pub(super) partitions: Partitions,
    timers: Timers<Alarm>,
    /// Events whose own judgement waits.
    pub(super) pending: Timers<Pending>,
    /// In the order in which they were changed.
    sweeps: VecDeque<Sweep>,
    pub(super) raiser: Raiser,
    totals: Totals,
    pub(super) lateness: i64,
    pub(super) hasher: RandomState,
    pub(super) saver: Saver,
    pub(super) scratch: Tally,
    /// Room for the keys of a record.
    pub(super) names: Names,
    /// Watches sources, if that is asked for.
    pub(super) sources: Option<Box<Sources>>,
}

impl Detector {
    /// A detector without state.
    pub fn new(rules: Arc<RuleSet>, limits: Limits) -> Self {
        let hasher = RandomState::new();
        let lateness = i64::try_from(limits.lateness.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let counters = rules.rules().iter().map(|rule| Counters::new(&rule.id, rule.mode)).collect();
        Self {
            rules,
            latest: i64::MIN,
            limit: limits.state_bytes,
            state: State::new(limits.state_bytes, hasher.clone()),
            repeats: Repeats::new(limits.state_bytes / 8, hasher.clone()),
            partitions: Partitions::new(lateness),
            timers: Timers::new(),
            pending: Timers::new(),
            sweeps: VecDeque::new(),
            raiser: Raiser { counters, clock: None, fed: VecDeque::new(), trace: None },
            totals: Totals::default(),
            lateness,
            hasher,
            saver: Saver::default(),
            scratch: Tally::default(),
            names: Names::default(),
            sources: None,
        }
    }

    /// Measures what rules cost, with a monotonic clock in nanoseconds. Without one, costs in [`RuleStats`] are zero.
    pub fn measure_with(&mut self, clock: fn() -> u64) {
        self.raiser.clock = Some(clock);
    }

    /// Tells that a chain will be read here, before its first record: until it has come as far as the others it holds
    /// back what they would let go.
    pub fn watch(&mut self, chain: &Arc<ChainId>, now: i64) {
        self.partitions.index(chain, now);
    }

    /// Judges a record; findings are appended to `out`.
    pub fn judge(&mut self, input: &Input<'_>, out: &mut Vec<Finding>) {
        self.totals.records += 1;
        let chain = self.partitions.index(input.chain, input.now);
        let record = record_time(input.timestamp, input.now);
        let (what, time, source, id) = match input.outcome {
            Outcome::Event(event) => {
                (What::Event(event), event.time.0, event.source.as_str(), self.hasher.hash_one(event.event_id.as_str()))
            }
            Outcome::Rejection(rejection) => (What::Rejection(rejection), record, NO_SOURCE, input.offset as u64),
            Outcome::Opaque => {
                self.advance(chain, (NO_SOURCE, input.offset as u64, record), input, out);
                return self.watch_record(chain, input, false, out);
            }
        };
        let again = self.partitions.begin(chain, input.offset, time);
        self.latest = self.latest.max(time.min(input.now.saturating_mul(1000)));
        let late = self.partitions.is_late(chain, time);
        if late {
            self.totals.late += 1;
        } else {
            let rules = self.rules.clone();
            let subject = Subject::new(what, input.chain, input.offset, time);
            let known = self.saver.knows(chain, input.offset);
            let now = input.now;
            let mut work = Work {
                subject: &subject,
                chain,
                now,
                again,
                known,
                owned: None,
                repeated: None,
                waits: None,
                memory: None,
                names: self.names_of(&rules),
                later: Later::new(),
            };
            self.see(&rules, &mut work, out);
            self.names = work.names;
            self.feed(input.now, out);
        }
        self.advance(chain, (source, id, time), input, out);
        self.watch_record(chain, input, late, out);
    }

    /// Remembers a record and judges it by every rule that selects it.
    pub(super) fn see(&mut self, rules: &RuleSet, work: &mut Work<'_, '_>, out: &mut Vec<Finding>) {
        let subject = work.subject;
        let cell = predicate::cell(subject);
        self.remember(rules, cell, work, out);
        for (at, when) in rules.at_cell(cell) {
            let own = matches!(subject.what, What::Finding(found) if found.number == *at);
            if !own && self.selects(rules, (*at, when), subject) {
                self.judge_rule(rules, *at, work, out);
            }
        }
        self.let_wait(work, out);
    }

    /// Tells that everything up to the last stable offset of a partition was judged. Once that is so for ten seconds
    /// its watermark follows the wall clock: say it again from time to time while there is nothing to read.
    pub fn idle(&mut self, chain: &Arc<ChainId>, now: i64, out: &mut Vec<Finding>) {
        let at = self.partitions.index(chain, now);
        self.partitions.idle(at, now);
        self.run_timers(now, out);
        self.run_sweeps(now, out);
        self.make_room(u32::MAX, now, out);
        self.feed(now, out);
        self.watch_end(at, now, out);
    }

    /// The lowest offset of a chain whose judgement is still deferred (`settle`, `wait`, a hole that may be filled).
    pub fn deferred(&self, chain: &ChainId) -> Option<i64> {
        [self.partitions.deferred(chain), self.source_deferred(chain)].into_iter().flatten().min()
    }

    /// Forgets the watermark and the deferred judgements of a chain that is no longer read here. Its events no longer
    /// count, and when it comes back they are judged anew.
    pub fn forget(&mut self, chain: &ChainId) {
        if let Some(at) = self.partitions.find(chain) {
            self.saver.forget(at);
            self.sources.iter_mut().for_each(|sources| sources.forget(at));
            self.pending.retain(|pending| pending.record.chain != at);
        }
        self.partitions.forget(chain);
    }

    /// The group keeps this offset of a chain: nothing before it will ever be judged again. Until that is said, durable
    /// rules keep what judging it again would ask for.
    pub fn committed(&mut self, chain: &ChainId, offset: i64) {
        if let Some(at) = self.partitions.find(chain) {
            self.partitions.committed(at, offset);
        }
    }

    /// The latest time of an event, up to the wall clock, in microseconds: what begins now has seen nothing before.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// What each rule did and costs, by id.
    pub fn rule_stats(&self) -> Vec<RuleStats> {
        let sizes = self.state.by_rule(self.raiser.counters.len());
        self.raiser.counters.iter().zip(sizes).map(|(counters, size)| counters.tell(size)).collect()
    }

    /// What the detector did.
    pub fn totals(&self) -> Totals {
        Totals { evicted: self.state.evicted, keys: self.state.len() as u64, bytes: self.bytes() as u64, ..self.totals }
    }

    /// Bytes of state: keys with their windows, what finds them, ids of counted events, and judgements that wait.
    fn bytes(&self) -> usize {
        self.state.bytes()
            + self.repeats.bytes()
            + self.timers.bytes()
            + self.pending.bytes()
            + self.sweeps.capacity() * size_of::<Sweep>()
            + self.partitions.bytes()
            + self.saver.bytes()
    }

    fn selects(&mut self, rules: &RuleSet, (at, when): (u32, &Pred), subject: &Subject<'_>) -> bool {
        let Some(counters) = self.raiser.counters.get_mut(at as usize) else { return false };
        if counters.told.disabled {
            return false;
        }
        counters.told.evaluated += 1;
        let selected = match self.raiser.clock {
            Some(clock) if counters.told.evaluated % SAMPLED == 1 => {
                let start = clock();
                let selected = when.holds(subject, rules.lists());
                counters.sample(clock().saturating_sub(start));
                selected
            }
            _ => when.holds(subject, rules.lists()),
        };
        counters.told.matched += u64::from(selected);
        selected
    }

    /// Judges a record that a rule selected.
    fn judge_rule(&mut self, rules: &RuleSet, at: u32, work: &mut Work<'_, '_>, out: &mut Vec<Finding>) {
        let Some(rule) = rules.compiled().get(at as usize) else { return };
        let fields = (rules.key_fields().own(at), rules.key_fields());
        if work.names.own(fields, work.subject, &self.hasher).is_none() {
            if let Some(counters) = self.raiser.counters.get_mut(at as usize) {
                counters.told.keyless += 1;
            }
            return;
        }
        if self.is_repeat(work) || (work.known && self.saver.shape(at).is_some()) {
            return;
        }
        if let (None, Some(wait)) = (&rule.shape, rule.spec.wait) {
            return self.judge_later(at, wait, work);
        }
        let record = (rule.shape.is_none() && rule.spec.dedup.is_none()).then(|| work.owned());
        let Some(name) = work.names.own(fields, work.subject, &self.hasher) else { return };
        if let Some(record) = record {
            let case = self.single(rules, at, name.bytes, &record, None, work.now);
            self.raiser.raise(rules, case, || Evidence::of(&record), out);
            return;
        }
        let epoch = self.partitions.epoch;
        let known = self.state.len();
        let slot = self.state.find_or_insert(at, name, || Key {
            window: rule.shape.as_ref().map(|shape| Box::new(Window::new(shape))),
            ..Key::new(at, name.bytes, epoch)
        });
        let Some(mut key) = self.state.take(slot) else { return };
        self.refresh_key(rule, &mut key);
        match &rule.shape {
            Some(shape) => self.judge_window(rules, (rule, shape), slot, &mut key, work, out),
            None => self.judge_single(rules, rule, &mut key, work, out),
        }
        self.put_back(rule, slot, key);
        if self.state.len() > known {
            self.drop_stale(slot);
        }
        self.make_room(slot, work.now, out);
    }

    /// Whether the event was counted before: asked once a record, for all rules.
    pub(super) fn is_repeat(&mut self, work: &mut Work<'_, '_>) -> bool {
        if let Some(repeated) = work.repeated {
            return repeated;
        }
        let partitions = &self.partitions;
        let repeated = match work.subject.what {
            What::Event(event) => self.repeats.seen(event, work.chain, |chain| partitions.is_read(chain)),
            // a rejection has no id: its window knows it by its position; a finding is raised once
            What::Rejection(_) | What::Finding(_) => false,
        };
        self.totals.repeats += u64::from(repeated);
        if repeated {
            self.partitions.repeated(work.chain);
        }
        work.repeated = Some(repeated);
        repeated
    }

    /// A case of a rule that judges single events.
    pub(super) fn single<'a>(
        &self,
        rules: &RuleSet,
        rule: u32,
        key: &'a [u8],
        record: &'a Arc<Owned>,
        bucket: Option<i64>,
        now: i64,
    ) -> Case<'a> {
        let (marks, warming) = match rules.compiled().get(rule as usize) {
            Some(compiled) => self.look_back(compiled, rule, record),
            None => (Marks::default(), false),
        };
        Case {
            rule,
            key,
            record,
            marks,
            bucket,
            update: 0,
            values: Vec::new(),
            window: None,
            truncated: false,
            warming,
            now,
        }
    }

    fn judge_single(
        &mut self,
        rules: &RuleSet,
        rule: &Rule,
        key: &mut Key,
        work: &mut Work<'_, '_>,
        out: &mut Vec<Finding>,
    ) {
        let Some(bucket) = bucket(rule, work.subject.time) else { return };
        if key.marks.iter().any(|mark| mark.bucket == bucket) {
            return self.raiser.suppressed(key.rule);
        }
        let record = work.owned();
        let case = self.single(rules, key.rule, &key.name, &record, Some(bucket), work.now);
        let marks = case.marks.clone();
        if self.raiser.raise(rules, case, || Evidence::of(&record), out) {
            let chains = self.chains_of(work.chain, &record, &marks);
            key.marks.push(Mark { bucket, chains, waiting: None, level: 0 });
            self.saver.raised(&mut key.tracks, key.rule, (bucket, 0), &self.partitions, out);
        }
    }

    /// Puts an event into its window and evaluates the window ends that it changes.
    fn judge_window(
        &mut self,
        rules: &RuleSet,
        (rule, shape): (&Rule, &Shape),
        slot: u32,
        key: &mut Key,
        work: &mut Work<'_, '_>,
        out: &mut Vec<Finding>,
    ) {
        let Some(mut window) = key.window.take() else { return };
        let time = work.subject.time;
        let texts: [Option<Cow<'_, str>>; COLUMNS] =
            std::array::from_fn(|at| rule.spec.columns.get(at).and_then(|column| value_text(work.subject.get(column))));
        let values = std::array::from_fn(|at| texts[at].as_deref());
        let meets = |at: &usize| rule.spec.conditions[*at].holds(work.subject, rules.lists());
        let conditions = (0..rule.spec.conditions.len()).filter(meets).fold(0, |all, at| all | 1 << at);
        let (chain, offset, again) = (work.chain, work.subject.offset, work.again);
        let inserted = window.insert(shape, Incoming { time, chain, offset, again, values, conditions }, &self.hasher);
        if inserted == Inserted::New {
            Behind::note(&mut key.behind, work.subject.what);
            self.saver.contributed(&mut key.tracks, key.rule, chain, offset);
            // an event far ahead of the clock must not drag the window with it: it is evaluated apart
            let in_order = time >= window.head() && time <= work.now.saturating_mul(1000).saturating_add(AHEAD);
            if in_order {
                window.advance(shape, time);
            }
            let head = window.head();
            let mut judging = Judging { detector: self, rules, rule, shape, slot, key, work, out };
            if time <= head && time > head.saturating_sub(shape.window) && window.opens(shape) {
                judging.opened(head, window.tally(), window.current(), &window);
            }
            // what is ahead of the clock was evaluated without it: their windows have changed too
            if !in_order || time < window.latest() {
                judging.out_of_order(&window, time);
            }
        }
        key.window = Some(window);
    }

    /// Takes out of a key what came from chains that are no longer read here, and what is too old to matter.
    pub(super) fn refresh_key(&mut self, rule: &Rule, key: &mut Key) {
        let partitions = &self.partitions;
        if key.epoch != partitions.epoch {
            key.epoch = partitions.epoch;
            if let (Some(shape), Some(window)) = (&rule.shape, &mut key.window) {
                window.retain(shape, |chain| partitions.is_read(chain), &self.hasher);
            }
            key.marks.retain(|mark| mark.chains.iter().all(|chain| partitions.is_read(*chain)));
            if let Some(history) = &mut key.history {
                history.retain(|chain| partitions.is_read(chain));
            }
            if let Some(tracks) = &mut key.tracks {
                tracks.retain(partitions);
            }
            if let Some(dirty) = &mut key.dirty {
                dirty.records.retain(|record| partitions.is_read(record.chain));
                if dirty.records.is_empty() {
                    key.dirty = None;
                }
            }
        }
        // what waits needs its events, however far everything else has come
        let waiting = key.marks.iter().filter_map(|mark| mark.waiting.as_ref()).map(|waiting| waiting.trigger);
        let needed = waiting.chain(key.dirty.as_ref().map(|dirty| dirty.from)).min().unwrap_or(i64::MAX);
        // a durable rule is asked again about what is not committed, and then its state comes from the log
        let held = self.saver.shape(key.rule).map_or(i64::MAX, |_| partitions.uncommitted);
        let passed = partitions.low_events.min(held).saturating_sub(self.lateness).min(needed);
        let asked = passed.min(partitions.oldest_waiting().unwrap_or(i64::MAX));
        if let Some(history) = &mut key.history {
            history.prune(asked);
        }
        // events that wait ask whether their bucket has its finding
        let passed = if rule.spec.wait.is_some() { asked } else { passed };
        let cut = passed.saturating_sub(rule.memory());
        if let (Some(shape), Some(window)) = (&rule.shape, &mut key.window) {
            window.prune(shape, cut, &self.hasher);
        }
        if key.marks.len() > 4 {
            let dedup = rule.spec.dedup.unwrap_or(0);
            key.marks
                .retain(|mark| mark.waiting.is_some() || mark.bucket.saturating_add(1).saturating_mul(dedup) > cut);
        }
    }

    /// Puts a key back with the time until which it matters.
    pub(super) fn put_back(&mut self, rule: &Rule, slot: u32, mut key: Box<Key>) {
        let waits = key.dirty.is_some() || key.marks.iter().any(|mark| mark.waiting.is_some());
        let dedup = rule.spec.dedup.unwrap_or(0);
        let latest = key.window.as_ref().map_or(i64::MIN, |window| window.latest()).saturating_add(rule.memory());
        let marked = key.marks.iter().map(|mark| mark.bucket.saturating_add(1).saturating_mul(dedup)).max();
        let remembered = key.history.as_ref().map_or(i64::MIN, |history| history.until());
        key.until = if waits { i64::MAX } else { latest.max(marked.unwrap_or(i64::MIN)).max(remembered) };
        self.saver.note(&mut key, slot, self.state.generation(slot));
        self.state.put(slot, key);
    }

    /// Forgets up to two keys that no longer matter: for each new key, so that there are never many of them.
    pub(super) fn drop_stale(&mut self, but: u32) {
        let waiting = self.partitions.oldest_waiting().unwrap_or(i64::MAX);
        let passed = self.partitions.low_events.min(self.partitions.uncommitted);
        let cut = passed.saturating_sub(self.lateness).min(waiting);
        for _ in 0..2 {
            let Some(stale) = self.state.stale(cut, but) else { break };
            self.remove_key(stale);
        }
    }

    /// Forgets a key of which nothing is needed any more.
    pub(super) fn remove_key(&mut self, slot: u32) {
        let generation = self.state.generation(slot);
        if let Some(key) = self.state.remove(slot) {
            self.saver.dropped(&self.rules, &key, slot, generation);
        }
    }

    /// Pushes out what there is no room for. `but` stays.
    pub(super) fn make_room(&mut self, but: u32, now: i64, out: &mut Vec<Finding>) {
        while self.bytes() > self.limit {
            let rules = self.rules.clone();
            // events that wait do not take the room of keys with something to lose
            let most = self.partitions.waiting_bytes() + self.pending.bytes() > self.limit / 2;
            if most && self.hurry(&rules, now, out) {
                continue;
            }
            let Some(victim) = self.state.victim(but) else {
                if self.hurry(&rules, now, out) {
                    continue;
                }
                break;
            };
            // what waits is judged on what is known: pushing it out must not hide it
            self.conclude(&rules, victim, now, out);
            let generation = self.state.generation(victim);
            if let Some(key) = self.state.evict(victim) {
                self.saver.dropped(&self.rules, &key, victim, generation);
            }
        }
    }

    /// Moves the watermark and does what it makes due.
    fn advance(&mut self, chain: u32, (source, id, time): (&str, u64, i64), input: &Input<'_>, out: &mut Vec<Finding>) {
        if self.partitions.note(chain, source, id, time, input.timestamp, input.now) {
            self.run_timers(input.now, out);
        }
        self.run_sweeps(input.now, out);
    }

    /// Events out of order have changed a key: it is swept within [`SWEEP_AFTER`].
    pub(super) fn sweep_soon(&mut self, slot: u32, now: i64) {
        self.sweeps.push_back(Sweep { since: now, slot, generation: self.state.generation(slot) });
    }

    fn run_sweeps(&mut self, now: i64, out: &mut Vec<Finding>) {
        // a wall clock that was set back must not hold them up
        let ripe = |sweep: &Sweep| !(sweep.since..sweep.since.saturating_add(SWEEP_AFTER)).contains(&now);
        while self.sweeps.front().is_some_and(ripe) {
            let Some(sweep) = self.sweeps.pop_front() else { return };
            if self.state.generation(sweep.slot) == sweep.generation {
                let rules = self.rules.clone();
                self.sweep_dirty(&rules, sweep.slot, now, out);
                self.feed(now, out);
            }
        }
    }

    /// A shape settles, or window ends are swept, `length` after what happened.
    pub(super) fn set_timer(&mut self, length: i64, due: i64, slot: u32, bucket: Option<i64>) {
        let state = &self.state;
        let alarm = Alarm { slot, generation: state.generation(slot), bucket };
        self.timers.push(length, due, alarm, |alarm| state.generation(alarm.slot) == alarm.generation);
    }

    /// Does what the watermark makes due. It may have come far at once (everything idle): things happen as if it had
    /// come step by step, so that what a judgement brings about is done before what is due after it. At the same time
    /// windows come first: events that wait may look at what they find.
    fn run_timers(&mut self, now: i64, out: &mut Vec<Finding>) {
        let reached = self.partitions.low;
        loop {
            let rules = self.rules.clone();
            let pending = self.pending.next().filter(|due| *due <= reached);
            if let Some((due, alarm)) = self.timers.pop(pending.unwrap_or(reached)) {
                self.partitions.low = due;
                // a key that was pushed out was judged then
                if self.state.generation(alarm.slot) == alarm.generation {
                    match alarm.bucket {
                        Some(bucket) => self.judge_settled(&rules, alarm.slot, Some(bucket), now, out),
                        None => self.sweep_dirty(&rules, alarm.slot, now, out),
                    }
                    self.feed(now, out);
                }
                continue;
            }
            let Some((due, pending)) = self.pending.pop(reached) else { break };
            self.partitions.low = due;
            // what a judgement brings about is seen before the next one
            self.judge_pending(&rules, pending, now, out, |detector, out| detector.feed(now, out));
        }
        self.partitions.low = reached;
        self.make_room(u32::MAX, now, out);
    }
}
