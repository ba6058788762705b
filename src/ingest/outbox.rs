//! Messages that wait for the broker's acknowledgement. They hold back the commit, never the seal.

use super::status::Status;
use crate::{
    detect::{Finding, ocsf},
    error::{Error, Kind, Result},
    position::TopicPartition,
    publish::{Outgoing, Publisher, Stream, dead_letter},
    telemetry,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// Pause before a message is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// Findings remembered as published, for each that fits into the outbox.
const REMEMBERED: usize = 16;
/// Pause before a message that the broker refuses for good, even trimmed, is tried again.
const REFUSED: Duration = Duration::from_secs(30);

struct Waiting {
    partition: TopicPartition,
    generation: u64,
    offset: i64,
    message: Outgoing,
    /// The id of a finding, and the number of its update.
    finding: Option<(String, u8)>,
}

/// Messages under way, by the partition and offset of the record that triggered them.
pub struct Outbox {
    publisher: Arc<dyn Publisher>,
    status: Arc<Status>,
    flying: FuturesUnordered<BoxFuture<'static, (Waiting, Result<()>)>>,
    pending: HashMap<TopicPartition, (u64, BTreeMap<i64, u32>)>,
    /// Findings that were acknowledged and are not behind the commit: raised anew, they need no room. Without that,
    /// what is raised first would take all the room each time everything is opened anew, and the rest never got any.
    told: HashMap<TopicPartition, BTreeSet<(i64, String, u8)>>,
    limit: usize,
    /// Messages under way, by stream.
    counts: [usize; 3],
}

impl Outbox {
    /// An empty outbox for at most `limit` messages.
    pub fn new(publisher: Arc<dyn Publisher>, status: Arc<Status>, limit: usize) -> Self {
        let (flying, pending, told) = (FuturesUnordered::new(), HashMap::new(), HashMap::new());
        Self { publisher, status, flying, pending, told, limit, counts: [0; 3] }
    }

    /// Whether another message fits.
    pub fn has_room(&self) -> bool {
        self.flying.len() < self.limit
    }

    /// Whether another dead letter fits. Findings keep a quarter for themselves: they come behind the dead letters of
    /// their batch, and where those had taken all the room every time, the findings would never go out.
    pub fn has_room_for_letter(&self) -> bool {
        self.flying.len() < self.limit - self.limit / 4
    }

    /// Whether at least half of it is free.
    pub fn is_relaxed(&self) -> bool {
        self.flying.len() <= self.limit / 2
    }

    /// Messages under way.
    pub fn len(&self) -> usize {
        self.flying.len()
    }

    /// Messages under way, by the name of their stream.
    pub fn by_stream(&self) -> [(&'static str, usize); 3] {
        [Stream::Alerts, Stream::DeadLetters, Stream::Shadow]
            .map(|stream| (names(stream).1, self.counts[stream as usize]))
    }

    /// Sends a message. `generation` is that of the partition's assignment.
    pub fn push(&mut self, partition: &TopicPartition, generation: u64, offset: i64, message: Outgoing) {
        self.push_as(partition, generation, (offset, None), message);
    }

    /// The same with a finding.
    pub fn push_finding(&mut self, partition: &TopicPartition, generation: u64, offset: i64, finding: &Finding) {
        let told = Some((finding.uid.clone(), finding.update));
        self.push_as(partition, generation, (offset, told), dead_letter::alert(finding));
    }

    /// Whether a finding was acknowledged since the partition was assigned.
    pub fn was_told(&self, partition: &TopicPartition, offset: i64, finding: &Finding) -> bool {
        let told = self.told.get(partition);
        told.is_some_and(|told| told.contains(&(offset, finding.uid.clone(), finding.update)))
    }

    /// Everything of a partition below `offset` is committed: nobody raises it again.
    pub fn committed(&mut self, partition: &TopicPartition, offset: i64) {
        if let Some(told) = self.told.get_mut(partition) {
            *told = told.split_off(&(offset, String::new(), 0));
        }
    }

    /// A partition was assigned or taken away: what others publish meanwhile is not known.
    pub fn forget_told(&mut self, partition: &TopicPartition) {
        self.told.remove(partition);
    }

    fn push_as(
        &mut self,
        partition: &TopicPartition,
        generation: u64,
        (offset, finding): (i64, Option<(String, u8)>),
        message: Outgoing,
    ) {
        let entry = self.pending.entry(partition.clone()).or_insert_with(|| (generation, BTreeMap::new()));
        if entry.0 != generation {
            *entry = (generation, BTreeMap::new());
        }
        *entry.1.entry(offset).or_default() += 1;
        let waiting = Waiting { partition: partition.clone(), generation, offset, message, finding };
        self.send(waiting, Duration::ZERO);
    }

    /// The lowest offset of a partition whose messages are not all acknowledged.
    pub fn lowest(&self, partition: &TopicPartition) -> Option<i64> {
        self.pending.get(partition)?.1.keys().next().copied()
    }

    /// Forgets a partition that is no longer ours: its next owner publishes again.
    pub fn forget(&mut self, partition: &TopicPartition) {
        self.pending.remove(partition);
    }

    /// Waits for an answer of the broker and deals with it. Pends for ever while nothing is under way.
    pub async fn settle_one(&mut self) {
        let Some((waiting, result)) = self.flying.next().await else {
            return std::future::pending().await;
        };
        let (part, stream) = names(waiting.message.stream);
        self.counts[waiting.message.stream as usize] -= 1;
        let Err(error) = result else {
            self.status.ok(part);
            metrics::counter!(telemetry::PUBLISHED, "stream" => stream).increment(1);
            self.acknowledged(&waiting);
            return;
        };
        let current = self.pending.get(&waiting.partition).is_some_and(|p| p.0 == waiting.generation);
        let kind = if error.is_retry() { "retry" } else { "permanent" };
        metrics::counter!(telemetry::PUBLISH_FAILED, "stream" => stream, "kind" => kind).increment(1);
        self.status.fail(part, error.to_string());
        if current {
            self.again(waiting, &error);
        }
    }

    fn acknowledged(&mut self, waiting: &Waiting) {
        let remembered: usize = self.told.values().map(BTreeSet::len).sum();
        if let Some((uid, update)) = waiting.finding.clone().filter(|_| remembered < self.limit * REMEMBERED) {
            self.told.entry(waiting.partition.clone()).or_default().insert((waiting.offset, uid, update));
        }
        let Some((generation, offsets)) = self.pending.get_mut(&waiting.partition) else { return };
        if *generation != waiting.generation {
            return;
        }
        if let Some(count) = offsets.get_mut(&waiting.offset) {
            *count -= 1;
            if *count == 0 {
                offsets.remove(&waiting.offset);
            }
        }
    }

    /// A passing fault is tried again as it is; what is itself refused (too large) is trimmed, step by step, and says
    /// so. Nothing is dropped: what is refused even so is tried again, now and then, until somebody has mended the
    /// topic. Where the topic is missing or forbidden, a smaller message would fare no better: it goes whole, once it
    /// can.
    fn again(&mut self, mut waiting: Waiting, error: &Error) {
        if error.is_retry() {
            return self.send(waiting, AGAIN);
        }
        match trimmed(&waiting.message).filter(|_| error.kind() == Kind::Data) {
            Some(smaller) => {
                waiting.message = smaller;
                self.send(waiting, Duration::ZERO);
            }
            None => self.send(waiting, REFUSED),
        }
    }

    fn send(&mut self, waiting: Waiting, after: Duration) {
        let publisher = self.publisher.clone();
        self.counts[waiting.message.stream as usize] += 1;
        self.flying.push(Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let result = publisher.publish(waiting.message.clone()).await;
            (waiting, result)
        }));
    }
}

/// A smaller form of the message, if there is one.
fn trimmed(message: &Outgoing) -> Option<Outgoing> {
    match message.stream {
        Stream::DeadLetters => dead_letter::trim(message),
        Stream::Alerts | Stream::Shadow => {
            let body = ocsf::trimmed(message.value.as_deref()?)?;
            Some(dead_letter::trimmed_alert(message, body))
        }
        Stream::Checkpoints => None,
    }
}

/// How a stream is called in readiness and in metrics.
pub(super) fn names(stream: Stream) -> (&'static str, &'static str) {
    match stream {
        Stream::Alerts => ("publish:alerts", "alerts"),
        Stream::DeadLetters => ("publish:dead_letters", "dead_letters"),
        Stream::Shadow => ("publish:shadow", "shadow"),
        Stream::Checkpoints => ("publish:checkpoints", "checkpoints"),
    }
}
