//! Kafka as a source: one consumer of one group, polled by a thread of its own whatever its reader does.
//!
//! # How records come
//!
//! All partitions deliver to one queue of librdkafka (`ffi::DataQueue`), apart from the consumer's own queue, which
//! carries rebalances, errors and logs. The thread serves the latter always and takes records from the former while
//! [`queue`] has room. So a slow reader stops the fetching by librdkafka's own limits, without `pause` (which throws
//! away what was prefetched), and without leaving the group.
//!
//! # Why nothing is skipped
//!
//! A partition is assigned paused. `start` seeks, waits until librdkafka has taken the seek up, then resumes; both
//! put a barrier behind which librdkafka delivers nothing older. librdkafka pauses everything during a rebalance and
//! goes on from where it thinks the application stands: that can be earlier than what was delivered (such records are
//! dropped) but never later, except after an error in the place of a record: then the partition is sought again, from
//! the offset that we know.

pub(crate) mod context;
pub(crate) mod faults;
pub(crate) mod ffi;
mod found;
pub(crate) mod oauth;
mod partitions;
mod poller;
pub mod properties;
mod query;
mod queue;
pub mod topic;

pub use found::Wanted;

use self::{
    context::{Context, lock},
    found::Found,
    oauth::Tokens,
    poller::{Command, Poller},
    properties::{CONSUMER, Properties, Scrubber, configure, creation_error, shown},
    queue::EventQueue,
};
use super::{Commit, Source, SourceControl, SourceEvent};
use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::{TopicPartition, is_kafka_name},
};
use async_trait::async_trait;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, Weak, mpsc},
    thread,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

type Consumer = BaseConsumer<Context>;
/// Leader epochs by partition: the first offset delivered of each, the newest last.
type LeaderEpochs = HashMap<TopicPartition, Vec<(i64, i32)>>;

/// How to reach Kafka and what to read.
#[derive(Clone)]
pub struct KafkaSettings {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Topics to read besides, among those that exist or will.
    pub wanted: Option<Wanted>,
    /// `group.instance.id`, for static membership: the same after a restart, another one for each process.
    pub instance: Option<String>,
    /// Any other property of librdkafka: TLS, SASL, timeouts, fetch sizes.
    pub properties: Properties,
    /// Bytes of records that wait for the reader; librdkafka prefetches as much again.
    pub queue_bytes: usize,
}

impl KafkaSettings {
    /// 16 MiB for records that wait, and as much prefetched.
    pub const QUEUE_BYTES: usize = 16 << 20;

    /// Settings with defaults for the rest.
    pub fn new(
        brokers: impl Into<String>,
        group: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            brokers: brokers.into(),
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            wanted: None,
            instance: None,
            properties: Properties::new(),
            queue_bytes: Self::QUEUE_BYTES,
        }
    }

    fn check(&self) -> Result<()> {
        if self.group.trim().is_empty() {
            return Err(Error::config("the consumer group has no name: set `group`"));
        }
        if self.topics.is_empty() && self.wanted.is_none() {
            return Err(Error::config("there are no topics to read: name at least one"));
        }
        match self.topics.iter().find(|topic| !is_kafka_name(topic)) {
            // librdkafka would take a name that begins with ^ for a pattern
            Some(topic) => Err(Error::config(format!(
                "{topic:?} is not the name of a topic: 1 to 249 of letters, digits, full stop, underscore and hyphen"
            ))),
            None => Ok(()),
        }
    }

    /// librdkafka's limit of prefetched records, KiB: for all partitions together.
    fn prefetch(&self) -> String {
        (self.queue_bytes / 1024).clamp(1024, 2_097_151).to_string()
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("wanted", &self.wanted)
            .field("instance", &self.instance)
            .field("properties", &shown(&self.properties))
            .field("queue_bytes", &self.queue_bytes)
            .finish()
    }
}

/// A consumer of Kafka. Dropping it leaves the group without waiting for it.
pub struct KafkaSource {
    control: Arc<Control>,
}

impl KafkaSource {
    /// Batches that wait for the reader at most.
    const BATCHES: usize = 4096;

    /// Joins the group. Returns at once: brokers that cannot be reached are told as events.
    pub fn connect(settings: KafkaSettings) -> Result<Self> {
        settings.check()?;
        let scrubber = Scrubber::new(&settings.properties);
        let prefetch = settings.prefetch();
        let mut defaults = vec![
            ("client.id", "authseal"),
            ("queued.max.messages.kbytes", prefetch.as_str()),
            ("queued.min.messages", "50000"),
            // a full queue would otherwise make librdkafka wait for a second
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "524288"),
            ("fetch.max.bytes", "4194304"),
            ("topic.metadata.refresh.interval.ms", "60000"),
        ];
        // with the consumer protocol of KIP-848 the brokers assign, and librdkafka refuses the property
        if settings.properties.get("group.protocol").is_none_or(|protocol| protocol != "consumer") {
            defaults.push(("partition.assignment.strategy", "cooperative-sticky"));
        }
        let mut config = configure(&settings.brokers, &defaults, &settings.properties, CONSUMER)?;
        config.set("group.id", &settings.group);
        if let Some(instance) = &settings.instance {
            config.set("group.instance.id", instance);
        }
        let consumer: Consumer = config
            .create_with_context(Context::new(scrubber.clone(), Tokens::of(&settings.properties)?))
            .map_err(|error| creation_error(error, &scrubber))?;
        let found = Found::new(settings.topics, settings.wanted, &settings.properties);
        query::subscribe(&consumer, &found.topics())?;

        let consumer = Arc::new(consumer);
        let events = Arc::new(EventQueue::new(settings.queue_bytes.max(1), Self::BATCHES));
        let (commands, received) = mpsc::channel();
        let (done, ended) = watch::channel(false);
        let epochs = Arc::new(Mutex::new(LeaderEpochs::new()));
        let control = Control {
            consumer: Arc::downgrade(&consumer),
            events: events.clone(),
            commands: commands.clone(),
            ended,
            epochs: epochs.clone(),
        };
        let ended_by = End { events: events.clone(), done };
        let poller = Poller::new(consumer, events, (commands, received), epochs, found)?;
        thread::Builder::new()
            .name("authseal-kafka".into())
            .spawn(move || {
                let _end = ended_by;
                poller.run();
            })
            .map_err(|e| Error::retry("no thread for the Kafka consumer").caused_by(e))?;
        Ok(Self { control: Arc::new(control) })
    }
}

/// The end of the poll thread, however it comes: nobody waits for it in vain.
struct End {
    events: Arc<EventQueue>,
    done: watch::Sender<bool>,
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            let error = Error::bug("the thread of the Kafka consumer panicked: nothing is read any more");
            self.events.push(SourceEvent::Failed { partition: None, error });
        }
        self.events.close();
        self.done.send_replace(true);
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        self.control.events.next().await
    }

    fn control(&self) -> Arc<dyn SourceControl> {
        self.control.clone()
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.control.send(Command::Close);
    }
}

struct Control {
    /// The poll thread owns it: who asks a question holds it for as long as that takes.
    consumer: Weak<Consumer>,
    events: Arc<EventQueue>,
    commands: mpsc::Sender<Command>,
    ended: watch::Receiver<bool>,
    epochs: Arc<Mutex<LeaderEpochs>>,
}

impl Control {
    /// How long `close` waits for the group to be left.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn send(&self, command: Command) {
        // the thread is gone after `close`: who waits for an answer sees that none comes
        let _ = self.commands.send(command);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply));
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a question that waits, apart from the runtime's own threads.
    async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Arc<Consumer>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let consumer = self.consumer.clone();
        let asked = move || question(&consumer.upgrade().ok_or_else(closed)?);
        let joined = tokio::task::spawn_blocking(asked).await;
        joined.unwrap_or_else(|e| Err(Error::bug("a question to Kafka was broken off").caused_by(e)))
    }
}

fn closed() -> Error {
    Error::retry("the Kafka consumer is closed")
}

/// A list of commits for librdkafka, with the leader epochs that let the broker notice a truncated log.
fn commit_list(commits: &[(TopicPartition, Commit)], epochs: &LeaderEpochs) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (partition, commit) in commits {
        let mut entry = list.add_partition(&partition.topic, partition.partition);
        // an offset that is not one is refused by the broker, and told
        let _ = entry.set_offset(rdkafka::Offset::Offset(commit.offset));
        if !commit.metadata.is_empty() {
            entry.set_metadata(&commit.metadata);
        }
        if let Some(epoch) = epochs.get(partition).and_then(|known| epoch_before(known, commit.offset)) {
            ffi::set_leader_epoch(&mut list, &partition.topic, partition.partition, epoch);
        }
    }
    list
}

/// The leader epoch of the record before `offset`, if it was delivered.
fn epoch_before(known: &[(i64, i32)], offset: i64) -> Option<i32> {
    known.iter().rev().find(|(first, _)| *first < offset).map(|(_, epoch)| *epoch)
}

#[async_trait]
impl SourceControl for Control {
    async fn start(&self, partition: &TopicPartition, offset: i64) -> Result<u64> {
        if offset < 0 {
            return Err(Error::bug(format!("{partition} cannot be read from offset {offset}")));
        }
        self.ask(|reply| Command::Start { partition: partition.clone(), offset, reply }).await
    }

    async fn stop(&self, partition: &TopicPartition) -> Result<()> {
        self.ask(|reply| Command::Stop { partition: partition.clone(), reply }).await
    }

    fn commit(&self, commits: Vec<(TopicPartition, Commit)>) {
        if !commits.is_empty() {
            self.send(Command::Commit(commits));
        }
    }

    async fn commit_now(&self, commits: Vec<(TopicPartition, Commit)>) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let list = commit_list(&commits, &lock(&self.epochs));
        self.query(move |consumer| match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => Ok(()),
            Err(e) => match e.rdkafka_error_code().map_or(-1, |code| code as i32) {
                code if faults::is_rebalance(code) => {
                    tracing::debug!("a commit was passed over: {e}");
                    Ok(())
                }
                code => Err(faults::error(code, "").context("the offsets cannot be committed")),
            },
        })
        .await
    }

    async fn offset_at(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let partition = partition.clone();
        self.query(move |consumer| query::offset_at(consumer, &partition, timestamp)).await
    }

    async fn broker(&self, partition: &TopicPartition) -> Result<Broker> {
        let epoch = lock(&self.epochs).get(partition).and_then(|known| known.last()).map(|(_, epoch)| (*epoch).into());
        let partition = partition.clone();
        let broker = self.query(move |consumer| query::broker(consumer, &partition)).await?;
        Ok(Broker { leader_epoch: epoch, ..broker })
    }

    async fn is_compacted(&self, topic: &str) -> Result<Option<bool>> {
        let topic = topic.to_owned();
        self.query(move |consumer| query::is_compacted(consumer, &topic, query::SETTINGS)).await
    }

    async fn close(&self) {
        self.send(Command::Close);
        let mut ended = self.ended.clone();
        if tokio::time::timeout(Self::PATIENCE, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!("the Kafka group was not left within {} s", Self::PATIENCE.as_secs());
            self.events.close();
        }
    }
}
