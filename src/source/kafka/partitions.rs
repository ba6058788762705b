//! What the poll thread knows of its partitions: which are delivered, from where, and what was read of them.

use super::ffi::Message;
use crate::{
    error::{Error, Result},
    position::TopicPartition,
    record::{Header, RawRecord, TimestampType},
    source::{Batch, Commit},
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Where a partition stands.
pub enum State {
    /// Assigned and paused: nothing is delivered.
    Stopped,
    /// A start that librdkafka has not accepted yet; who asked still waits, unless it was us.
    Starting { since: Instant, tried: Instant, reply: Option<oneshot::Sender<Result<u64>>> },
    /// Records are delivered.
    Running,
    /// librdkafka has given the partition up (its offset is out of range, it says why), and what the broker has is
    /// asked.
    Lost { words: String },
}

/// One assigned partition.
pub struct Partition {
    /// Which one.
    pub id: TopicPartition,
    /// Which assignment: answers to questions of an earlier one are stale.
    pub assignment: u64,
    /// Whether `Assigned` was told.
    pub told: bool,
    /// What the group had committed, and the leader epoch that went with it.
    pub committed: Option<(Commit, Option<i32>)>,
    /// Which start.
    pub epoch: u64,
    /// Where it stands.
    pub state: State,
    /// librdkafka has stopped fetching: it must be assigned anew before a seek.
    pub given_up: bool,
    /// When it was assigned anew for that.
    pub anew: Option<Instant>,
    /// The next offset to deliver: records below it were delivered.
    pub next: i64,
    /// The offset after the last record that was delivered.
    pub delivered: i64,
    /// Leader epochs of what was delivered: each with the first offset that had it, the newest last.
    pub leader_epochs: Vec<(i64, i32)>,
    /// When the last record came.
    pub active: Instant,
    /// An error that librdkafka gave in the place of a record: what follows may have a hole before it.
    pub fault: Option<(i32, String)>,
    /// When what the group has committed is to be asked for (again).
    pub ask_committed: Option<Instant>,
    /// When its end was last asked for, and whether records came since.
    pub asked: Option<Instant>,
    pub fresh: bool,
    /// Where it stood when it was last looked whether it moves, since when, and how long that may take.
    moved: (i64, Instant, Duration),
    building: Building,
}

/// Leader epochs remembered of a partition: what is committed lies among the last ones.
const LEADER_EPOCHS: usize = 32;
/// A partition that has records and delivers none for this long is sought again. Twice as long the next time: records
/// of aborted transactions take time too, and are never delivered.
const STUCK: Duration = Duration::from_secs(30);

impl Partition {
    /// A partition that was assigned now.
    pub fn new(id: TopicPartition, assignment: u64, now: Instant) -> Self {
        Self {
            id,
            assignment,
            told: false,
            committed: None,
            epoch: 0,
            state: State::Stopped,
            given_up: false,
            anew: None,
            next: 0,
            delivered: -1,
            leader_epochs: Vec::new(),
            active: now,
            fault: None,
            ask_committed: Some(now),
            asked: None,
            fresh: true,
            moved: (-1, now, STUCK),
            building: Building::default(),
        }
    }

    /// Whether records are delivered.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether somebody waits for it to start.
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::Starting { reply: Some(_), .. })
    }

    /// Stops it. Who waits for its start is told why it will not.
    pub fn rest(&mut self, why: impl FnOnce() -> Error) {
        if let State::Starting { reply: Some(reply), .. } = std::mem::replace(&mut self.state, State::Stopped) {
            // who asked may have gone
            let _ = reply.send(Err(why()));
        }
        self.building.records.clear();
        self.building.headers.clear();
        self.building.bytes.clear();
    }

    /// Reads again from the next offset, in the same epoch, in a moment.
    pub fn again(&mut self, now: Instant) {
        self.state = State::Starting { since: now, tried: now, reply: None };
    }

    /// Takes a record in. Records that were delivered before (librdkafka reads again after a rebalance) are dropped.
    /// Says whether it is the first one of its batch.
    pub fn add(&mut self, message: Message<'_>) -> bool {
        let offset = message.offset();
        if !self.is_running() || self.fault.is_some() || offset < self.next {
            return false;
        }
        self.next = offset + 1;
        self.delivered = self.next;
        if let Some(epoch) = message.leader_epoch()
            && self.leader_epochs.last().is_none_or(|(_, last)| *last != epoch)
        {
            if self.leader_epochs.len() >= LEADER_EPOCHS {
                self.leader_epochs.remove(0);
            }
            self.leader_epochs.push((offset, epoch));
        }
        self.fresh = true;
        let first = self.building.records.is_empty();
        self.building.add(message);
        first
    }

    /// Whether it has not moved for too long, though there are records, and there was room for them since `room`.
    pub fn is_stuck(&mut self, now: Instant, room: Instant) -> bool {
        let (at, since, patience) = self.moved;
        if at != self.next || now.duration_since(room) < patience {
            self.moved = (self.next, now, STUCK);
            return false;
        }
        let stuck = now.duration_since(since) >= patience;
        if stuck {
            self.moved = (at, now, patience * 2);
        }
        stuck
    }

    /// The batch of what was taken in, if anything was.
    pub fn batch(&mut self) -> Option<Batch> {
        let records = self.building.finish()?;
        Some(Batch { partition: self.id.clone(), epoch: self.epoch, records })
    }
}

/// A record whose bytes are ranges of the arena.
struct Laid {
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// A batch being built: all bytes of its records lie in one allocation.
#[derive(Default)]
struct Building {
    bytes: BytesMut,
    records: Vec<Laid>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    expected: usize,
}

impl Building {
    /// As much is set aside for a batch at most, before it is known how large it is.
    const RESERVED: usize = 1 << 20;

    fn put(bytes: &mut BytesMut, part: &[u8]) -> Range<usize> {
        let from = bytes.len();
        bytes.extend_from_slice(part);
        from..bytes.len()
    }

    fn add(&mut self, message: Message<'_>) {
        let bytes = &mut self.bytes;
        if self.records.is_empty() {
            bytes.reserve(self.expected);
        }
        let key = message.key().map(|key| Self::put(bytes, key));
        let value = message.value().map(|value| Self::put(bytes, value));
        let from = self.headers.len();
        message.for_each_header(|name, value| {
            let name = Self::put(bytes, name);
            self.headers.push((name, value.map(|value| Self::put(bytes, value))));
        });
        let (timestamp, timestamp_type) = message.timestamp();
        let headers = from..self.headers.len();
        self.records.push(Laid { offset: message.offset(), timestamp, timestamp_type, key, value, headers });
    }

    fn finish(&mut self) -> Option<Vec<RawRecord>> {
        if self.records.is_empty() {
            return None;
        }
        // the next batch is probably as large as this one: reserving spares the copies of growing
        self.expected = self.bytes.len().min(Self::RESERVED);
        let arena = std::mem::take(&mut self.bytes).freeze();
        let slice = |range: Range<usize>| if range.is_empty() { Bytes::new() } else { arena.slice(range) };
        let mut headers = self.headers.drain(..);
        let records = self.records.drain(..).map(|laid| RawRecord {
            offset: laid.offset,
            timestamp: laid.timestamp,
            timestamp_type: laid.timestamp_type,
            key: laid.key.map(slice),
            headers: headers
                .by_ref()
                .take(laid.headers.len())
                .map(|(key, value)| Header { key: slice(key), value: value.map(slice) })
                .collect(),
            value: laid.value.map(slice),
        });
        Some(records.collect())
    }
}

/// All assigned partitions.
#[derive(Default)]
pub struct Partitions {
    all: Vec<Partition>,
    /// Places by librdkafka's topic object and partition, while messages hold these objects: see
    /// [`Partitions::forget_places`]. No topic name is compared for a record.
    places: HashMap<(usize, i32), usize, ahash::RandomState>,
}

impl Partitions {
    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.all.iter_mut()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.all.iter()
    }

    /// The one that is called so.
    pub fn get_mut(&mut self, id: &TopicPartition) -> Option<&mut Partition> {
        self.all.iter_mut().find(|p| p.id == *id)
    }

    /// The one at a place that [`Partitions::place`] gave.
    pub fn at(&mut self, place: usize) -> Option<&mut Partition> {
        self.all.get_mut(place)
    }

    /// To be called before messages are taken: librdkafka may have put another topic object where one was.
    pub fn forget_places(&mut self) {
        self.places.clear();
    }

    /// The place of the partition that a message belongs to.
    pub fn place(&mut self, message: Message<'_>) -> Option<usize> {
        let handle = (message.topic_handle(), message.partition());
        if let Some(place) = self.places.get(&handle) {
            return Some(*place);
        }
        let topic = message.topic();
        let place = self.all.iter().position(|p| *p.id.topic == *topic && p.id.partition == handle.1)?;
        self.places.insert(handle, place);
        Some(place)
    }

    /// Adds one; what was known under its name is forgotten.
    pub fn insert(&mut self, partition: Partition) {
        self.remove(&partition.id);
        self.all.push(partition);
    }

    /// Takes one away.
    pub fn remove(&mut self, id: &TopicPartition) -> Option<Partition> {
        self.forget_places();
        let at = self.all.iter().position(|p| p.id == *id)?;
        Some(self.all.swap_remove(at))
    }
}
