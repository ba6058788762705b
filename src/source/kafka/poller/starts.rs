//! Moving partitions: to where they are to be read, to rest, and back to life where librdkafka gave them up.

use super::{AGAIN, Poller};
use crate::{
    error::{Error, Result},
    position::TopicPartition,
    source::kafka::{
        context::lock,
        epoch_before, ffi,
        partitions::{Partition, State},
    },
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, RebalanceProtocol},
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often librdkafka is asked whether it can seek by now, while somebody waits for it.
const SEEK: Duration = Duration::from_millis(50);
/// When it should be able to: after that the partition is assigned anew.
const STUCK: Duration = Duration::from_secs(3);
/// How long `start` may take.
const START: Duration = Duration::from_secs(30);

impl Poller {
    /// Tries again what could not be started yet.
    pub(super) fn start_due(&mut self, now: Instant) {
        let due = |p: &&Partition| match &p.state {
            State::Starting { tried, reply, .. } => {
                now.duration_since(*tried) >= if reply.is_some() { SEEK } else { AGAIN }
            }
            _ => false,
        };
        let due: Vec<_> = self.partitions.iter().filter(due).map(|p| p.id.clone()).collect();
        for id in due {
            self.try_start(id, now);
        }
    }

    /// Begins a new epoch at `offset`. The reply comes when librdkafka is there.
    pub(super) fn start(&mut self, id: &TopicPartition, offset: i64, reply: oneshot::Sender<Result<u64>>) {
        let Some(partition) = self.partitions.get_mut(id) else {
            drop(reply.send(Err(not_assigned(id))));
            return;
        };
        partition.rest(|| superseded(id));
        self.counter += 1;
        partition.epoch = self.counter;
        partition.next = offset;
        partition.fresh = true;
        partition.asked = None;
        // the epoch that was committed is that of the last record before: behind it, markers of transactions may have
        // been written under a newer leader, and the broker would take the log for one that was cut off. Whether it is
        // still the log that was read, its reader sees by its last record
        partition.leader_epochs.clear();
        let since = Instant::now();
        partition.state = State::Starting { since, tried: since, reply: Some(reply) };
        lock(&self.epochs).insert(id.clone(), partition.leader_epochs.clone());
        self.events.forget(id);
        self.try_start(id.clone(), since);
    }

    /// Ends the epoch: nothing of it is delivered any more.
    pub(super) fn stop(&mut self, id: &TopicPartition) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(id) else { return Err(not_assigned(id)) };
        partition.rest(|| superseded(id));
        self.counter += 1;
        partition.epoch = self.counter;
        self.events.forget(id);
        let list = one(id, None);
        self.consumer.pause(&list).map_err(|e| Error::retry(format!("{id} cannot be paused: {e}")))
    }

    /// Moves librdkafka to where a partition is to be read, as far as it lets us by now.
    fn try_start(&mut self, id: TopicPartition, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let State::Starting { since, tried, .. } = &mut partition.state else { return };
        *tried = now;
        let waited = now.duration_since(*since);
        if partition.given_up {
            partition.given_up = false;
            partition.anew = Some(now);
            self.reassign(&id);
            return;
        }
        // only behind a record that was delivered: see `start`
        let behind = partition.next == partition.delivered;
        let epoch = epoch_before(&partition.leader_epochs, partition.next).filter(|_| behind);
        let list = one(&id, Some((partition.next, epoch)));
        // pause: a barrier, behind which nothing older is delivered, and nothing newer before resume
        let paused = self.consumer.pause(&list).is_ok();
        let sought = paused && self.consumer.seek_partitions(list, AGAIN).is_ok_and(|list| no_error(&list));
        // it can seek, so it is fetching: what it stopped before, and forgot of our queue then, is past
        let forwarded = sought && self.data.forward(&id.topic, id.partition).is_ok();
        if forwarded && self.consumer.resume(&one(&id, None)).is_ok() {
            partition.active = now;
            if let State::Starting { reply: Some(reply), .. } = std::mem::replace(&mut partition.state, State::Running)
            {
                drop(reply.send(Ok(partition.epoch)));
            }
        } else if waited > START && partition.is_awaited() {
            partition.rest(|| Error::retry(format!("{id} cannot be read yet: librdkafka does not seek in it")));
        } else if waited > STUCK && partition.anew.is_none_or(|at| now.duration_since(at) > STUCK) {
            // it does not get ready by itself: an earlier error may have stopped it
            partition.given_up = true;
        }
    }

    /// Has librdkafka begin anew with a partition that it has given up. Others are not disturbed, or read on from
    /// where they are.
    fn reassign(&mut self, id: &TopicPartition) {
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let list = one(id, self.partitions.get_mut(id).map(|p| (p.next, None)));
                let removed = self.consumer.incremental_unassign(&list);
                removed.and_then(|()| self.consumer.pause(&list)).and_then(|()| self.consumer.incremental_assign(&list))
            }
            _ => {
                let mut list = TopicPartitionList::new();
                let now = Instant::now();
                for partition in self.partitions.iter_mut() {
                    let id = &partition.id;
                    // an offset that is not negative is always accepted
                    let _ = list.add_partition_offset(&id.topic, id.partition, Offset::Offset(partition.next));
                    if partition.is_running() {
                        partition.again(now);
                    }
                }
                self.consumer.pause(&list).and_then(|()| self.consumer.assign(&list))
            }
        };
        if let Err(error) = assigned {
            tracing::warn!("{id} could not be assigned anew: {error}");
        }
    }
}

/// The answer to who asks for a partition that the group has given to another one.
pub(super) fn not_assigned(id: &TopicPartition) -> Error {
    Error::retry(format!("{id} is not assigned to this consumer"))
}

fn superseded(id: &TopicPartition) -> Error {
    Error::retry(format!("{id} was stopped, or started elsewhere, before it was started"))
}

/// A list of one partition, with an offset and the leader epoch of the record before.
fn one(id: &TopicPartition, offset: Option<(i64, Option<i32>)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&id.topic, id.partition);
    if let Some((offset, epoch)) = offset {
        // an offset that is not negative is always accepted
        let _ = list.set_partition_offset(&id.topic, id.partition, Offset::Offset(offset));
        if let Some(epoch) = epoch {
            ffi::set_leader_epoch(&mut list, &id.topic, id.partition, epoch);
        }
    }
    list
}

fn no_error(list: &TopicPartitionList) -> bool {
    ffi::entries(list).iter().all(|entry| entry.error == 0)
}
