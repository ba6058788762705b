//! One partition on its way: three cursors (seal, judge, dead letters) over one stream of records.

use super::{
    accuracy::Accuracy,
    fetching::Awaited,
    last_sealed::{LastSealed, Met},
    naming::Naming,
    options::{SealOptions, Topic},
    plan,
    record_times::RecordTimes,
    report::Meter,
    tail::Tail,
};
use crate::{
    chain::Head,
    detect::Heard,
    error::{Error, Result},
    manifest::Broker,
    position::{ChainId, TopicPartition},
    record::{Gap, GapCause, RawRecord},
    segment::SegmentBuilder,
    source::{Commit, SourceEvent},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

/// Log starts remembered, one for each time the broker was asked: an hour's worth.
const STARTS: usize = 240;
/// What the broker said holds for so long, milliseconds of wall clock: it is asked four times as often.
const ANSWER_HOLDS: i64 = 60_000;

/// What a lane is doing.
#[derive(Debug)]
pub enum State {
    /// Its place in store and broker is being looked up, or the source is being told where to begin.
    Opening,
    /// Records of this epoch are taken.
    Active { epoch: u64 },
    /// Reading pauses until the segment under way is sealed: its successor is full.
    Held,
    /// Reading pauses until the registry has said what schemas its next records have.
    Awaiting(Awaited),
    /// Something that a person must look at. Other lanes run on.
    Stopped(String),
}

/// One assigned partition.
pub struct Lane {
    /// Which partition.
    pub partition: TopicPartition,
    /// Which assignment: answers to an earlier one are void.
    pub generation: u64,
    /// The chain that seals it.
    pub chain: Arc<ChainId>,
    /// How it is read.
    pub topic: Topic,
    /// What it is doing.
    pub state: State,
    /// The newest segment in the store.
    pub head: Option<Head>,
    /// What came of a new epoch before its start was answered: taken when the answer is there.
    ahead: Vec<SourceEvent>,
    /// Bytes of its records.
    ahead_bytes: usize,
    /// Leaves not yet on their way.
    pub builder: SegmentBuilder,
    /// Offset and timestamp of the last record among them, of the last one on its way, and of the last one sealed.
    lasts: [Option<(i64, i64)>; 3],
    /// The last record sealed, until it was seen that the broker still has it.
    expects: Option<LastSealed>,
    /// The source is being told to stop: it must not hear that after it was told to begin again.
    pub stopping: Option<JoinHandle<()>>,
    /// When the first of them arrived.
    pub first_at: Option<Instant>,
    /// Bytes of the segment on its way; `None` when none is.
    pub under_way: Option<usize>,
    /// The task that seals it.
    pub task: Option<AbortHandle>,
    /// The next offset to judge.
    pub judge_next: i64,
    /// The next offset whose dead letter, if it has one, is published.
    pub dead_next: i64,
    /// Findings triggered from here on are published.
    pub publish_from: i64,
    /// The outbox was full at this offset: dead letters from here on are read again when there is room.
    pub overflow: Option<i64>,
    /// A finding triggered at this offset found no room in the outbox: everything is opened anew when there is room.
    pub finding_held: Option<i64>,
    /// What the broker last said.
    pub broker: Broker,
    /// When the broker's log began where: how fast retention comes after us.
    starts: VecDeque<(Instant, i64)>,
    /// The last stable offset behind which the broker has records, and since when it has stood there.
    held_back: Option<(i64, Instant)>,
    /// When the broker last said where its log ends, milliseconds of wall clock.
    answered: Option<i64>,
    /// The last stable offset, when everything up to it was delivered.
    pub end: Option<i64>,
    /// Timestamp of the last record read.
    pub record_time: Option<i64>,
    /// When the records that are not done were written.
    record_times: RecordTimes,
    /// What the group had committed when the partition was assigned.
    pub found_committed: Option<Commit>,
    /// What was committed last.
    pub committed: Option<(i64, u64)>,
    /// When something was last sealed or found sealed.
    pub sealed_at: Instant,
    /// Its counters.
    pub meter: Meter,
    /// What its events say.
    pub accuracy: Accuracy,
    /// When sources were heard: goes into its commits.
    pub heard: Arc<Heard>,
    /// With what its records were judged.
    pub naming: Naming,
    /// Whether its records are sealed here. If not there is one cursor: nothing but judging.
    pub seals: bool,
    /// Whether it has taken its place.
    opened: bool,
    /// Whether it is sealed and not judged, because the state of the rules cannot be read.
    blind: bool,
    options: SealOptions,
}

impl Lane {
    /// A lane whose place is not known yet.
    pub fn new(
        partition: TopicPartition,
        generation: u64,
        chain: ChainId,
        topic: Topic,
        options: SealOptions,
        naming: Naming,
        accuracy: Accuracy,
    ) -> Self {
        Self {
            meter: Meter::new(&partition),
            accuracy,
            heard: Arc::default(),
            naming,
            seals: true,
            opened: false,
            blind: false,
            partition,
            generation,
            chain: Arc::new(chain),
            topic,
            state: State::Opening,
            ahead: Vec::new(),
            ahead_bytes: 0,
            head: None,
            builder: SegmentBuilder::new(0, options.codec, options.level),
            lasts: [None; 3],
            expects: None,
            first_at: None,
            stopping: None,
            under_way: None,
            task: None,
            judge_next: 0,
            dead_next: 0,
            publish_from: 0,
            overflow: None,
            finding_held: None,
            broker: Broker::default(),
            starts: VecDeque::new(),
            held_back: None,
            answered: None,
            end: None,
            record_time: None,
            record_times: RecordTimes::default(),
            found_committed: None,
            committed: None,
            sealed_at: Instant::now(),
            options,
        }
    }

    /// Takes its place. Offsets that the broker no longer has become a gap.
    pub fn open(
        &mut self,
        chain: Arc<ChainId>,
        tail: &mut Tail,
        start: &plan::Start,
        read_from: i64,
        broker: &Broker,
    ) -> Result<()> {
        let head = tail.head.take();
        self.chain = chain;
        self.publish_from = start.publish_from;
        self.opened = true;
        self.judge_next = read_from;
        // until something was read nobody knows better
        let found = self.found_committed.as_ref().and_then(|found| Some((found.offset, plan::noted_time(found)?)));
        if let Some((offset, time)) = found {
            self.record_times.note(offset, time);
        }
        if !self.seals {
            return Ok(());
        }
        self.builder = SegmentBuilder::new(start.seal_from, self.options.codec, self.options.level);
        if start.first > start.seal_from {
            let cause = if head.is_none() { GapCause::BeforeChain } else { GapCause::Lost };
            self.push_gap(Gap { from: start.seal_from, to: start.first, cause })?;
        }
        self.head = head;
        self.dead_next = start.publish_from;
        self.must_meet(tail.last.take(), broker.log_start.unwrap_or(0));
        Ok(())
    }

    /// Seals without judging: what is committed stays where it is, so that all of it is judged later.
    pub fn be_blind(&mut self) {
        self.blind = true;
        self.judge_next = self.publish_from;
    }

    /// Whether its records are judged.
    pub fn judges(&self) -> bool {
        !self.blind
    }

    /// Where the next leaf begins.
    pub fn seal_next(&self) -> i64 {
        self.builder.to()
    }

    /// The lowest offset that any cursor still wants.
    pub fn read_next(&self) -> i64 {
        if !self.seals {
            return self.judge_next;
        }
        let wanted = self.seal_next().min(self.judge_next).min(self.dead_next);
        self.expects.as_ref().and_then(LastSealed::from).map_or(wanted, |from| from.min(wanted))
    }

    /// From now on this is the last record sealed: it must come first, unless retention took it.
    fn must_meet(&mut self, last: Option<LastSealed>, log_start: i64) {
        if let Some(record) = last.as_ref().and_then(|last| last.record) {
            self.lasts[2] = Some(record);
        }
        self.expects = last.and_then(|last| last.within(log_start));
    }

    /// A record was delivered. Errors if the log is not the one that was sealed.
    pub fn meets(&mut self, record: &RawRecord) -> Result<()> {
        let Some(last) = &mut self.expects else { return Ok(()) };
        match last.meet(record, self.topic.gaps_expected) {
            Met::NotYet => Ok(()),
            Met::Yes => {
                self.expects = None;
                Ok(())
            }
            met => Err(last.refusal(&self.chain, met)),
        }
    }

    /// The next offset to seal after what the store holds; where nothing is sealed, the next one to judge.
    pub fn sealed_to(&self) -> i64 {
        if !self.seals {
            return self.judge_next;
        }
        self.head.as_ref().map_or(0, |h| h.to)
    }

    /// Whether records of `epoch` are to be taken.
    pub fn takes(&self, epoch: u64) -> bool {
        matches!(self.state, State::Active { epoch: mine } if mine == epoch)
    }

    /// Leaves that wait, gap leaves included.
    pub fn has_leaves(&self) -> bool {
        self.builder.records() > 0
    }

    /// Bytes of memory held, those of the segment under way included.
    pub fn memory(&self) -> usize {
        self.builder.memory_bytes() + self.under_way.unwrap_or(0) + self.ahead_bytes
    }

    /// Keeps what came of a new epoch before its start was answered.
    pub fn keep_ahead(&mut self, event: SourceEvent) {
        if let SourceEvent::Batch(batch) = &event {
            self.ahead_bytes += batch.records.iter().map(|r| r.size() + size_of::<RawRecord>()).sum::<usize>();
        }
        self.ahead.push(event);
    }

    /// Takes it out.
    pub fn take_ahead(&mut self) -> Vec<SourceEvent> {
        self.ahead_bytes = 0;
        std::mem::take(&mut self.ahead)
    }

    /// Appends a gap.
    pub fn push_gap(&mut self, gap: Gap) -> Result<()> {
        self.first_at.get_or_insert_with(Instant::now);
        self.builder.push_gap(gap)
    }

    /// Everything that the broker has below `end` was delivered: for offsets that were not (markers, aborted records,
    /// what was compacted away), nothing ever will be. Errors if the last record sealed is among them.
    pub fn reached(&mut self, end: i64) -> Result<()> {
        if self.seals {
            let missed = self.expects.as_ref().filter(|last| last.is_missed(end));
            if let Some(last) = missed.filter(|_| !self.topic.gaps_expected) {
                return Err(last.refusal(&self.chain, Met::Missing));
            }
            if let Some(gap) = self.gap_before(end) {
                self.push_gap(gap)?;
            }
            self.dead_next = self.dead_next.max(end);
        }
        // sealed already or not: without it a lane that reads again what is sealed would never be at its end
        self.judge_next = self.judge_next.max(end);
        self.end = Some(end);
        Ok(())
    }

    /// The gap that must be sealed before a record at `offset`, if offsets are missing.
    pub fn gap_before(&self, offset: i64) -> Option<Gap> {
        let from = self.seal_next();
        let cause = if self.topic.gaps_expected { GapCause::NotDelivered } else { GapCause::Unexplained };
        (offset > from).then_some(Gap { from, to: offset, cause })
    }

    /// Appends a record as a leaf, behind the gap before it. `decoded` is what became of it.
    pub fn push(&mut self, raw: &RawRecord, decoded: &crate::record::Decoded) -> Result<()> {
        if let Some(gap) = self.gap_before(raw.offset) {
            self.push_gap(gap)?;
        }
        self.first_at.get_or_insert_with(Instant::now);
        self.naming.took(raw.offset);
        self.lasts[0] = Some((raw.offset, raw.timestamp));
        self.builder.push_record(raw, decoded)
    }

    /// Whether what waits is due to be sealed.
    pub fn is_due(&self, now: Instant) -> bool {
        let aged = |first: Instant| now.duration_since(first) >= self.options.max_age;
        self.has_leaves()
            && (self.builder.records() >= self.options.max_records
                || self.builder.uncompressed_bytes() >= self.options.max_bytes
                || !self.naming.fits(self.seal_next())
                || self.first_at.is_some_and(aged))
    }

    /// Whether an idle chain owes a sign of life: it has no segment yet, or the last one is old.
    pub fn owes_heartbeat(&self, now: Instant) -> bool {
        let caught_up = self.end.is_some_and(|end| self.seal_next() >= end);
        let silent = now.duration_since(self.sealed_at) >= self.options.heartbeat;
        self.seals && !self.has_leaves() && self.under_way.is_none() && caught_up && (self.head.is_none() || silent)
    }

    /// Takes what waits out of the lane, to be sealed; the next leaf follows it.
    pub fn take_builder(&mut self) -> SegmentBuilder {
        let next = SegmentBuilder::new(self.builder.to(), self.options.codec, self.options.level);
        self.first_at = None;
        self.lasts[1] = self.lasts[0].take();
        self.under_way = Some(self.builder.memory_bytes());
        std::mem::replace(&mut self.builder, next)
    }

    /// A segment of ours lies in the store.
    pub fn sealed(&mut self, head: Head) {
        self.naming.prune(head.to);
        self.lasts[2] = self.lasts[1].take().or(self.lasts[2]);
        self.under_way = None;
        self.task = None;
        self.sealed_at = Instant::now();
        self.head = Some(head);
    }

    /// Another writer's segment is the head now. Everything buffered goes: what it does not cover is read again,
    /// without being judged twice.
    pub fn adopted(&mut self, head: Head, last: Option<LastSealed>) {
        self.builder = SegmentBuilder::new(head.to, self.options.codec, self.options.level);
        self.naming.clear();
        self.first_at = None;
        self.lasts = [None, None, self.lasts[2]];
        let to = head.to;
        self.sealed(head);
        // read by somebody else, perhaps before the log was cut off
        let last = match (last, self.expects.take()) {
            (None, expected) => expected,
            (Some(gaps), Some(expected)) if gaps.record.is_none() => Some(expected.up_to(to)),
            (last, _) => last,
        };
        self.must_meet(last, self.broker.log_start.unwrap_or(0));
    }

    /// Offsets below `log_start` are gone from the broker. Errors if it is no gap but a topic that shrank.
    pub fn out_of_range(&mut self, log_start: i64, end: i64) -> Result<()> {
        if !self.seals {
            if self.judge_next > end {
                return Err(plan::judged_beyond(&self.chain, self.judge_next, end));
            }
            self.judge_next = self.judge_next.max(log_start);
            return Ok(());
        }
        if self.seal_next() > end {
            return Err(Error::tampered(format!(
                "source_truncated: chain {} expects offset {}, but the broker ends at {end}: the topic was \
                     re-created or \
                 truncated. Find out why; then open the next incarnation with `authseal chain reset`",
                self.chain,
                self.seal_next()
            )));
        }
        self.expects = self.expects.take().and_then(|last| last.within(log_start));
        if log_start > self.seal_next() {
            self.push_gap(Gap { from: self.seal_next(), to: log_start, cause: GapCause::Lost })?;
        }
        self.judge_next = self.judge_next.max(log_start);
        self.dead_next = self.dead_next.max(log_start);
        self.overflow = self.overflow.map(|o| o.max(log_start));
        Ok(())
    }

    /// Everything below it is sealed, judged and acknowledged.
    pub fn done_to(&self, unacknowledged: Option<i64>, deferred: Option<i64>) -> i64 {
        let dead_next = if self.seals { self.dead_next } else { self.judge_next };
        let cursors = [self.sealed_to(), self.judge_next, dead_next].into_iter();
        let blind = self.blind.then_some(self.publish_from);
        let held = [self.overflow, self.finding_held, unacknowledged, deferred, blind].into_iter().flatten();
        cursors.chain(held).min().unwrap_or(0)
    }

    /// A record was read.
    pub fn read(&mut self, record: &RawRecord) {
        self.record_time = Some(record.timestamp);
        self.record_times.note(record.offset, record.timestamp);
    }

    /// The group keeps this place: nobody begins before it.
    pub fn kept(&mut self, offset: i64) {
        self.record_times.forget_before(offset);
    }

    /// What a commit of `offset` says of the place that was reached; `None` while nothing can be said.
    pub fn note(&self, offset: i64) -> Option<String> {
        let (record_time, heard) = (self.record_times.at(offset), || Heard::clone(&self.heard));
        match &self.head {
            Some(head) => {
                let note = plan::CommitNote::of(head, record_time, self.lasts[2]);
                Some(plan::CommitNote { heard: heard(), ..note }.encode())
            }
            None if self.seals || !self.opened => None,
            None => Some(plan::JudgeNote { judged: self.judge_next, record_time, heard: heard() }.encode()),
        }
    }

    /// Whether nothing more can be on its way: the broker has said so, not long ago. Records behind an open transaction
    /// come when it ends, and are as old as it is. After a leap of the clock (a machine that was suspended) nobody
    /// knows what has come meanwhile before the broker was asked. And what was said when `end` had been reached may
    /// have waited here, with what came behind it.
    pub fn is_idle(&self, end: i64, now: i64) -> bool {
        let lately = |at: i64| (at..=at.saturating_add(ANSWER_HOLDS)).contains(&now);
        let behind = self.broker.high_watermark.is_some_and(|known| known > end);
        self.held_back.is_none() && !behind && self.answered.is_some_and(lately)
    }

    /// Takes down what the broker says, at this time of the wall clock.
    pub fn heard(&mut self, broker: Broker, now: i64) {
        if broker.high_watermark.is_some() {
            self.answered = Some(now);
        }
        if let Some(log_start) = broker.log_start {
            if self.starts.len() == STARTS {
                self.starts.pop_front();
            }
            self.starts.push_back((Instant::now(), log_start));
        }
        // what the broker did not say changes nothing: a question may go unanswered
        if let (Some(stable), Some(end)) = (broker.last_stable, broker.high_watermark) {
            let known = self.held_back.filter(|(at, _)| *at == stable);
            self.held_back = (stable < end).then(|| known.unwrap_or((stable, Instant::now())));
        }
        self.broker = broker;
    }

    /// For how long an open transaction has held back the records behind it.
    pub fn held_back(&self, now: Instant) -> Duration {
        self.held_back.map_or(Duration::ZERO, |(_, since)| now.duration_since(since))
    }

    /// How long until the broker's retention overtakes what is sealed, at the pace of the last hour; `None` while the
    /// log's start does not move.
    pub fn time_to_loss(&self) -> Option<Duration> {
        let ((first_at, first), (last_at, last)) = (self.starts.front()?, self.starts.back()?);
        let (moved, took) = (last - first, last_at.duration_since(*first_at).as_secs_f64());
        if moved <= 0 || took <= 0.0 {
            return None;
        }
        let left = (self.sealed_to() - last).max(0) as f64;
        Duration::try_from_secs_f64(left * took / moved as f64).ok()
    }

    /// How long ago the last segment was sealed or found.
    pub fn seal_age(&self, now: Instant) -> Duration {
        now.duration_since(self.sealed_at)
    }
}
