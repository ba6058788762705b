//! A Kafka cluster in memory, driven step by step by a test: no threads, no clock, the same run for the same seed.
//!
//! It has what ingest must survive: holes in the offsets, a log start that moves, open transactions, truncated and
//! re-created topics, rebalances, owners that do not know yet that they lost a partition, and stale batches.

mod leaders;

use self::leaders::{Known, Leaders};
use super::{Assigned, Batch, Commit, Source, SourceControl, SourceEvent};
use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::TopicPartition,
    record::RawRecord,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The log of one partition.
#[derive(Debug, Default)]
struct Log {
    records: BTreeMap<i64, RawRecord>,
    start: i64,
    end: i64,
    /// An open transaction begins here: nothing from it on is stable.
    open: Option<i64>,
    /// The member that the group believes to be the owner, and what was committed.
    owner: Option<usize>,
    committed: Option<Commit>,
    leaders: Leaders,
}

impl Log {
    fn stable(&self) -> i64 {
        self.open.map_or(self.end, |open| open.min(self.end))
    }
}

/// What one consumer believes of a partition.
#[derive(Debug, Default)]
struct Reading {
    epoch: u64,
    next: Option<i64>,
    told_end: bool,
    /// Leader epochs of what was delivered since the start.
    known: Known,
}

impl Reading {
    /// Where the log was cut off, if what was delivered before the place of this reader is no longer in it. As in
    /// librdkafka, only who knows the leader epoch of the record before its place can be told.
    fn cut(&self, log: &Log) -> Option<i64> {
        let next = self.next?;
        let end = log.leaders.end_of(self.known.before(next)?, log.end);
        (end < next).then_some(end)
    }
}

#[derive(Debug, Default)]
struct Member {
    events: VecDeque<SourceEvent>,
    reading: BTreeMap<TopicPartition, Reading>,
    last: Option<TopicPartition>,
    closed: bool,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<Arc<str>, u32>,
    logs: BTreeMap<TopicPartition, Log>,
    members: Vec<Member>,
    epoch: u64,
    batch: usize,
    stale: bool,
    /// After a seek up to so many records before its place are delivered too.
    early: usize,
    given: Given,
    random: u64,
}

/// What consumers were given besides what they had asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Batches of an epoch that was over.
    pub stale: u64,
    /// Seeks after which records from before their place came again.
    pub early: u64,
}

/// The cluster and the one group that reads it. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Cluster {
    /// A cluster without topics. Partitions take turns, batches have up to 100 records.
    pub fn new() -> Self {
        let state = State { batch: 100, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// Which partition speaks next and how large its batch is are drawn from `seed`.
    pub fn with_seed(seed: u64) -> Self {
        let cluster = Self::new();
        // xorshift must not start at 0
        cluster.lock().random = seed.wrapping_mul(2).wrapping_add(1);
        cluster
    }

    /// Creates a topic, or creates it again: empty, from offset 0, under another topic id. Commits stay, as in Kafka.
    pub fn topic(&self, name: &str, partitions: i32) {
        self.change(|state| {
            let name: Arc<str> = name.into();
            *state.topics.entry(name.clone()).or_default() += 1;
            for partition in 0..partitions {
                let log = state.logs.entry(TopicPartition::new(name.clone(), partition)).or_default();
                *log = Log { owner: log.owner, committed: log.committed.take(), ..Log::default() };
            }
        });
    }

    /// Appends a record; its offset is the one returned, whatever it says.
    pub fn produce(&self, partition: &TopicPartition, record: RawRecord) -> i64 {
        self.log(partition, |log| {
            let offset = log.end;
            log.records.insert(offset, RawRecord { offset, ..record });
            log.end += 1;
            offset
        })
    }

    /// Appends `count` offsets that are never delivered: transaction markers, aborted or compacted records.
    pub fn hole(&self, partition: &TopicPartition, count: i64) {
        self.log(partition, |log| log.end += count);
    }

    /// Retention: records below `start` are gone.
    pub fn expire(&self, partition: &TopicPartition, start: i64) {
        self.log(partition, |log| {
            log.records = log.records.split_off(&start);
            log.start = start;
            log.end = log.end.max(start);
        });
    }

    /// An unclean leader election: the log ends at `end` now, and other records may follow.
    pub fn lose_tail(&self, partition: &TopicPartition, end: i64) {
        self.log(partition, |log| {
            log.records.split_off(&end);
            log.end = end;
            log.leaders.elect(end);
        });
    }

    /// A clean leader election: nothing is lost.
    pub fn elect(&self, partition: &TopicPartition) {
        self.log(partition, |log| log.leaders.elect(log.end));
    }

    /// A transaction is open from `from` on (`None`: no longer). What is in it is not delivered.
    pub fn transaction(&self, partition: &TopicPartition, from: Option<i64>) {
        self.log(partition, |log| log.open = from);
    }

    /// Ends the open transaction of a partition, with its marker behind it. Aborted, its records are never delivered:
    /// their offsets are returned.
    pub fn end_transaction(&self, partition: &TopicPartition, aborted: bool) -> Vec<i64> {
        self.log(partition, |log| {
            let Some(open) = log.open.take() else { return Vec::new() };
            log.end += 1;
            let gone = if aborted { log.records.split_off(&open) } else { BTreeMap::new() };
            gone.into_keys().collect()
        })
    }

    /// The record at an offset, if the log still has it.
    pub fn record(&self, partition: &TopicPartition, offset: i64) -> Option<RawRecord> {
        self.log(partition, |log| log.records.get(&offset).cloned())
    }

    /// Where the log of a partition begins.
    pub fn log_start(&self, partition: &TopicPartition) -> i64 {
        self.log(partition, |log| log.start)
    }

    /// The member that the group believes to own a partition.
    pub fn is_owner(&self, partition: &TopicPartition, consumer: &ScriptedSource) -> bool {
        self.log(partition, |log| log.owner == Some(consumer.member.id))
    }

    /// Where the log of a partition ends.
    pub fn end(&self, partition: &TopicPartition) -> i64 {
        self.log(partition, |log| log.end)
    }

    /// How many records a partition still has.
    pub fn records(&self, partition: &TopicPartition) -> usize {
        self.log(partition, |log| log.records.len())
    }

    /// What the group has committed.
    pub fn committed(&self, partition: &TopicPartition) -> Option<Commit> {
        self.log(partition, |log| log.committed.clone())
    }

    /// Commits in the place of the group: what a crashed process left behind, or an operator set.
    pub fn set_committed(&self, partition: &TopicPartition, commit: Option<Commit>) {
        self.log(partition, |log| log.committed = commit);
    }

    /// The largest batch, at least 1.
    pub fn batch_size(&self, records: usize) {
        self.lock().batch = records.max(1);
    }

    /// Whether a batch of the old epoch still arrives after `start`, `stop` and revocation, as the contract allows.
    pub fn stale_batches(&self, stale: bool) {
        self.lock().stale = stale;
    }

    /// After a seek up to `records` from before its place are delivered again, as whole batches of a broker are.
    pub fn early(&self, records: usize) {
        self.lock().early = records;
    }

    /// What consumers were given so far besides what they had asked for.
    pub fn given(&self) -> Given {
        self.lock().given
    }

    /// Lets a consumer tell an event: an error, or something out of order.
    pub fn tell(&self, consumer: &ScriptedSource, event: SourceEvent) {
        self.change(|state| state.members[consumer.member.id].events.push_back(event));
    }

    /// Another second has passed: what is at its end says so again.
    pub fn tick(&self) {
        self.change(|state| {
            for reading in state.members.iter_mut().flat_map(|m| m.reading.values_mut()) {
                reading.told_end = false;
            }
        });
    }

    /// A new member of the group. Nothing is assigned to it yet.
    pub fn join(&self) -> ScriptedSource {
        let id = self.change(|state| {
            state.members.push(Member::default());
            state.members.len() - 1
        });
        ScriptedSource { member: Arc::new(Control { cluster: self.clone(), id }) }
    }

    /// A rebalance: these partitions go to `to`. Their owners are told that they lost them.
    pub fn assign(&self, to: &ScriptedSource, partitions: &[TopicPartition]) {
        self.steal(to, partitions);
        self.change(State::confess);
    }

    /// The same, but the owners are not told yet: they go on reading, and their commits are passed over.
    pub fn steal(&self, to: &ScriptedSource, partitions: &[TopicPartition]) {
        let to = to.member.id;
        self.change(|state| {
            let mut assigned = Vec::new();
            for partition in partitions {
                let Some(log) = state.logs.get_mut(partition) else { continue };
                if log.owner.replace(to) != Some(to) {
                    assigned.push(Assigned { partition: partition.clone(), committed: log.committed.clone() });
                    state.members[to].reading.insert(partition.clone(), Reading::default());
                }
            }
            if !assigned.is_empty() {
                state.members[to].events.push_back(SourceEvent::Assigned(assigned));
            }
        });
    }

    /// Takes partitions from whoever has them, and tells it.
    pub fn revoke(&self, partitions: &[TopicPartition]) {
        self.change(|state| {
            for partition in partitions {
                if let Some(log) = state.logs.get_mut(partition) {
                    log.owner = None;
                }
            }
            state.confess();
        });
    }

    /// Tells every member what it has lost by now.
    pub fn confess(&self) {
        self.change(State::confess);
    }

    fn log<T>(&self, partition: &TopicPartition, change: impl FnOnce(&mut Log) -> T) -> T {
        self.change(|state| change(state.logs.entry(partition.clone()).or_default()))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells every member what the group took from it.
    fn confess(&mut self) {
        for id in 0..self.members.len() {
            let owned = |p: &TopicPartition| self.logs.get(p).is_some_and(|log| log.owner == Some(id));
            let lost: Vec<_> = self.members[id].reading.keys().filter(|p| !owned(p)).cloned().collect();
            if lost.is_empty() {
                continue;
            }
            let late: Vec<_> = lost.iter().filter_map(|p| self.stale_batch(id, p)).collect();
            let member = &mut self.members[id];
            member.reading.retain(|p, _| !lost.contains(p));
            member.events.push_back(SourceEvent::Revoked(lost));
            member.events.extend(late.into_iter().map(SourceEvent::Batch));
        }
    }

    /// What was on its way when the delivery of a partition was stopped.
    fn stale_batch(&mut self, id: usize, partition: &TopicPartition) -> Option<Batch> {
        let late = if self.stale { self.read(id, partition) } else { None };
        self.given.stale += u64::from(late.is_some());
        late
    }

    /// The next records of a partition, if it is being delivered and has some.
    fn read(&mut self, id: usize, partition: &TopicPartition) -> Option<Batch> {
        let limit = if self.random == 0 { self.batch } else { 1 + self.draw(self.batch) };
        let reading = self.members[id].reading.get_mut(partition)?;
        let log = self.logs.get(partition)?;
        let next = reading.next.filter(|next| *next >= log.start && *next < log.stable())?;
        if reading.cut(log).is_some() {
            return None;
        }
        let records: Vec<_> = log.records.range(next..log.stable()).take(limit).map(|(_, r)| r.clone()).collect();
        // what follows are holes only: step over them, as a consumer's position does
        reading.next = Some(records.last().map_or(log.stable(), |last| last.offset + 1));
        reading.told_end = false;
        records.iter().for_each(|record| reading.known.note(record.offset, log.leaders.of(record.offset)));
        if records.is_empty() && log.stable() > 0 {
            // markers and aborted records come as batches too, with the epoch of their leader
            reading.known.note(log.stable() - 1, log.leaders.of(log.stable() - 1));
        }
        let epoch = reading.epoch;
        (!records.is_empty()).then(|| Batch { partition: partition.clone(), epoch, records })
    }

    /// What a member hears next; `None` if there is nothing to tell.
    fn next(&mut self, id: usize) -> Option<SourceEvent> {
        if let Some(event) = self.members[id].events.pop_front() {
            return Some(event);
        }
        let mut partitions: Vec<_> = self.members[id].reading.keys().cloned().collect();
        if partitions.is_empty() {
            return None;
        }
        let first = match (self.random, &self.members[id].last) {
            (0, None) => 0,
            (0, Some(last)) => partitions.partition_point(|p| p <= last) % partitions.len(),
            _ => self.draw(partitions.len()),
        };
        partitions.rotate_left(first);
        for partition in partitions {
            let event = match self.read(id, &partition) {
                Some(batch) => Some(SourceEvent::Batch(batch)),
                None => self.edge(id, &partition),
            };
            if event.is_some() {
                self.members[id].last = Some(partition);
                return event;
            }
        }
        None
    }

    /// Whether a partition has come to its end, or stands where the log has nothing.
    fn edge(&mut self, id: usize, partition: &TopicPartition) -> Option<SourceEvent> {
        let log = self.logs.get(partition)?;
        let reading = self.members[id].reading.get_mut(partition)?;
        let (partition, epoch, next) = (partition.clone(), reading.epoch, reading.next?);
        let cut = reading.cut(log);
        if next < log.start || next > log.end || cut.is_some() {
            reading.next = None;
            let end = cut.map_or(log.stable(), |cut| cut.min(log.stable()).max(log.start));
            return Some(SourceEvent::OutOfRange { partition, epoch, log_start: log.start, end });
        }
        let end = log.stable();
        if next < end || reading.told_end {
            return None;
        }
        reading.told_end = true;
        Some(SourceEvent::AtEnd { partition, epoch, end })
    }

    /// Where delivery begins after a seek: there, or in the middle of what was read before.
    fn sought(&mut self, partition: &TopicPartition, next: i64) -> i64 {
        let back = if self.early == 0 { 0 } else { self.draw(self.early + 1) as i64 };
        let Some(log) = self.logs.get(partition).filter(|log| back > 0 && next <= log.stable()) else { return next };
        let from = (next - back).max(log.start);
        if from >= next {
            return next;
        }
        self.given.early += 1;
        from
    }

    /// A number below `below`, from the seed.
    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below as u64) as usize
    }
}

/// One member of the group. Dropped, it is gone like a killed process: nobody is told, its partitions stay its own
/// until the test assigns them anew.
#[derive(Clone)]
pub struct ScriptedSource {
    member: Arc<Control>,
}

#[async_trait]
impl Source for ScriptedSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        loop {
            let changed = self.member.cluster.changed.clone();
            let mut notified = std::pin::pin!(changed.notified());
            // listen before looking, so that a change in between is not missed
            notified.as_mut().enable();
            {
                let mut state = self.member.cluster.lock();
                if let Some(event) = state.next(self.member.id) {
                    return Some(event);
                }
                if state.members[self.member.id].closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    fn control(&self) -> Arc<dyn SourceControl> {
        self.member.clone()
    }
}

struct Control {
    cluster: Cluster,
    id: usize,
}

impl Control {
    /// Ends the epoch of a partition that this member believes to own and begins another one at `next`.
    fn restart(&self, partition: &TopicPartition, next: Option<i64>) -> Result<u64> {
        self.cluster.change(|state| {
            let late = state.stale_batch(self.id, partition);
            state.epoch += 1;
            let next = next.map(|next| state.sought(partition, next));
            let (epoch, member) = (state.epoch, &mut state.members[self.id]);
            let Some(reading) = member.reading.get_mut(partition) else {
                return Err(Error::retry(format!("{partition} is not assigned to this consumer")));
            };
            // as the consumer of Kafka: for the place where it begins it names no leader epoch
            *reading = Reading { epoch, next, told_end: false, known: Known::default() };
            member.events.extend(late.map(SourceEvent::Batch));
            Ok(epoch)
        })
    }
}

#[async_trait]
impl SourceControl for Control {
    async fn start(&self, partition: &TopicPartition, offset: i64) -> Result<u64> {
        if offset < 0 {
            return Err(Error::bug(format!("{partition} cannot be read from offset {offset}")));
        }
        self.restart(partition, Some(offset))
    }

    async fn stop(&self, partition: &TopicPartition) -> Result<()> {
        self.restart(partition, None).map(drop)
    }

    fn commit(&self, commits: Vec<(TopicPartition, Commit)>) {
        self.cluster.change(|state| {
            let mut kept = Vec::new();
            for (partition, commit) in commits {
                // who lost the partition may not know yet: the group passes its commit over
                if let Some(log) = state.logs.get_mut(&partition).filter(|log| log.owner == Some(self.id)) {
                    kept.push((partition, commit.offset));
                    log.committed = Some(commit);
                }
            }
            if let Some(member) = state.members.get_mut(self.id).filter(|_| !kept.is_empty()) {
                member.events.push_back(SourceEvent::Committed(kept));
            }
        });
    }

    async fn commit_now(&self, commits: Vec<(TopicPartition, Commit)>) -> Result<()> {
        self.commit(commits);
        Ok(())
    }

    async fn offset_at(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        Ok(self.cluster.log(partition, |log| log.records.values().find(|r| r.timestamp >= timestamp).map(|r| r.offset)))
    }

    async fn broker(&self, partition: &TopicPartition) -> Result<Broker> {
        let state = self.cluster.lock();
        let unknown = || Error::config(format!("{partition} does not exist: create the topic, or mend its name"));
        let generation = state.topics.get(&partition.topic).ok_or_else(unknown)?;
        let log = state.logs.get(partition).ok_or_else(unknown)?;
        Ok(Broker {
            cluster_id: Some("scripted".into()),
            topic_id: Some(format!("{}#{generation}", partition.topic)),
            partitions: Some(state.logs.keys().filter(|p| p.topic == partition.topic).count() as i64),
            leader_epoch: Some(log.leaders.of(log.end).into()),
            log_start: Some(log.start),
            last_stable: Some(log.stable()),
            high_watermark: Some(log.end),
        })
    }

    async fn close(&self) {
        self.cluster.change(|state| {
            for log in state.logs.values_mut().filter(|log| log.owner == Some(self.id)) {
                log.owner = None;
            }
            state.members[self.id].reading.clear();
            state.members[self.id].closed = true;
        });
    }
}

#[cfg(test)]
mod tests;
