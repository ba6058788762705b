//! Reads one topic from a time to its end, without joining a group and without moving an offset: for commands that end.

use super::{
    Consumer,
    context::{Context, Note},
    faults,
    ffi::{borrowed_headers, error_text},
    oauth::Tokens,
    properties::{CONSUMER, Properties, Scrubber, configure, creation_error},
    query,
};
use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::{TopicPartition, is_kafka_name},
    record::{RawRecord, TimestampType},
};
use bytes::Bytes;
use rdkafka::{
    Message as _, Offset, Timestamp, TopicPartitionList, consumer::Consumer as _, error::KafkaError,
    message::BorrowedMessage,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a question to the brokers may take, and how long nothing may come although there is more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(200);

/// What to read.
pub struct TopicSettings<'a> {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub brokers: &'a str,
    /// A consumer group that this principal may name; it is not joined.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Any other property of librdkafka.
    pub properties: &'a Properties,
    /// The first record whose timestamp is at or after this, milliseconds; `None` for the first there is.
    pub since: Option<i64>,
}

/// How to reach a cluster.
pub struct Cluster<'a> {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub brokers: &'a str,
    /// A consumer group that this principal may name; it is not joined.
    pub group: &'a str,
    /// Any other property of librdkafka.
    pub properties: &'a Properties,
}

/// What the brokers do with old records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    /// They keep each until its time is over.
    Kept,
    /// They keep the last of each key.
    Compacted,
    /// They do not say.
    Unknown,
}

/// The topics of the cluster that we may see and whose name pleases `wants`. Blocks, at most about as long as
/// `patience` for the list, and again for each topic.
pub fn list(
    cluster: &Cluster<'_>,
    patience: Duration,
    wants: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Clean>> {
    let Cluster { brokers, group, properties } = *cluster;
    let reading = Reading::open(&TopicSettings { brokers, group, topic: "", properties, since: None }, patience)?;
    let consumer = Arc::new(reading.consumer);
    let names = query::topics(&consumer, patience)?;
    let wanted = names.into_iter().filter(|name| wants(name));
    let clean = |name: String| match query::is_compacted(&consumer, &name, patience) {
        Ok(Some(true)) => (name, Clean::Compacted),
        Ok(Some(false)) => (name, Clean::Kept),
        Ok(None) | Err(_) => (name, Clean::Unknown),
    };
    Ok(wanted.map(clean).collect())
}

/// What the cluster says of each partition of the topic. Blocks.
///
/// Errors if the topic does not exist or must not be described.
pub fn describe(settings: &TopicSettings<'_>) -> Result<BTreeMap<i32, Broker>> {
    let reading = Reading::connect(settings)?;
    let consumer = Arc::new(reading.consumer);
    let partitions = query::partitions(&consumer, settings.topic)?;
    let ask = |partition| {
        let place = TopicPartition::new(settings.topic, partition);
        Ok((partition, query::broker(&consumer, &place)?))
    };
    partitions.into_iter().map(ask).collect()
}

/// Reads every record that the topic holds when this begins, partition by partition in the order of offsets; `each`
/// gets its partition and says whether to go on. Blocks.
///
/// Errors if the topic does not exist, must not be read, or nothing comes for half a minute.
pub fn read_to_end(settings: &TopicSettings<'_>, each: impl FnMut(i32, RawRecord) -> bool) -> Result<()> {
    let mut reading = Reading::connect(settings)?;
    let ranges = reading.ranges(settings.since)?;
    reading.run(ranges, each).map(drop)
}

/// The same with one partition: the one that `choose` chooses among so many. What came while it was read is read too:
/// in a compacted topic, a value that was there when this began may have gone because a newer one came behind it.
pub fn read_partition(
    settings: &TopicSettings<'_>,
    choose: impl FnOnce(usize) -> i32,
    mut each: impl FnMut(RawRecord) -> bool,
) -> Result<()> {
    let mut reading = Reading::connect(settings)?;
    let mut ranges = reading.ranges(settings.since)?;
    let chosen = choose(ranges.len());
    ranges.retain(|partition, _| *partition == chosen);
    let end = ranges.get(&chosen).map(|(_, end)| *end);
    if let (true, Some(end)) = (reading.run(ranges, |_, record| each(record))?, end) {
        let (_, now) =
            reading.consumer.fetch_watermarks(settings.topic, chosen, PATIENCE).map_err(|e| reading.failed(&e))?;
        reading.run(BTreeMap::from([(chosen, (end, now))]), |_, record| each(record))?;
    }
    Ok(())
}

struct Reading<'a> {
    consumer: Consumer,
    topic: &'a str,
    /// The last error that librdkafka told apart from records: it says why nothing comes.
    worst: Option<Error>,
}

impl<'a> Reading<'a> {
    /// A consumer that joins no group.
    fn connect(settings: &TopicSettings<'a>) -> Result<Self> {
        if !is_kafka_name(settings.topic) {
            return Err(Error::config(format!("{:?} is not the name of a topic", settings.topic)));
        }
        Self::open(settings, PATIENCE)
    }

    fn open(settings: &TopicSettings<'a>, patience: Duration) -> Result<Self> {
        let scrubber = Scrubber::new(settings.properties);
        let defaults = [("client.id", "authseal"), ("queued.max.messages.kbytes", "16384")];
        let mut config = configure(settings.brokers, &defaults, settings.properties, CONSUMER)?;
        config.set("group.id", settings.group);
        let consumer = config
            .create_with_context(Context::new(scrubber.clone(), Tokens::of(settings.properties)?))
            .map_err(|error| creation_error(error, &scrubber))?;
        let mut reading = Self { consumer, topic: settings.topic, worst: None };
        reading.wait_for_token(patience)?;
        Ok(reading)
    }

    /// librdkafka asks for a token when it is polled, and a question to the brokers does not poll.
    fn wait_for_token(&mut self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.consumer.context().wants_token() {
            // nothing is assigned yet: what is polled is told in the notes
            drop(self.consumer.poll(POLL));
            self.listen()?;
            if begun.elapsed() > patience {
                let none = || Error::retry("there is no token from the identity provider");
                return Err(self.worst.take().unwrap_or_else(none));
            }
        }
        Ok(())
    }

    /// Reads these ranges. Whether nobody has ended it before.
    fn run(
        &mut self,
        mut left: BTreeMap<i32, (i64, i64)>,
        mut each: impl FnMut(i32, RawRecord) -> bool,
    ) -> Result<bool> {
        left.retain(|_, (from, end)| from < end);
        let mut list = TopicPartitionList::new();
        for (partition, (from, _)) in &left {
            list.add_partition_offset(self.topic, *partition, Offset::Offset(*from)).map_err(|e| self.failed(&e))?;
        }
        self.consumer.assign(&list).map_err(|e| self.failed(&e))?;
        let mut heard = Instant::now();
        while !left.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let partition = message.partition();
                    let Some((_, end)) = left.get(&partition) else { continue };
                    if message.offset() < *end && !each(partition, owned(&message)) {
                        return Ok(false);
                    }
                    if message.offset() + 1 >= *end {
                        left.remove(&partition);
                    }
                }
                Some(Err(error)) => self.worst = Some(self.failed(&error)),
                None => self.pass_markers(&mut left),
            }
            self.listen()?;
            if heard.elapsed() > PATIENCE {
                let none = || Error::retry("nothing came for half a minute although there is more");
                return Err(self.worst.take().unwrap_or_else(none).context(format!("reading {}", self.topic)));
            }
        }
        Ok(true)
    }

    /// Where each partition begins and ends.
    fn ranges(&mut self, since: Option<i64>) -> Result<BTreeMap<i32, (i64, i64)>> {
        let found = self.consumer.fetch_metadata(Some(self.topic), PATIENCE);
        self.listen()?;
        let found = found.map_err(|e| self.worst.take().unwrap_or_else(|| self.failed(&e)))?;
        let mut ranges = BTreeMap::new();
        for topic in found.topics() {
            if let Some(error) = topic.error() {
                return Err(
                    faults::error(error as i32, &error_text(error as i32)).context(format!("topic {}", self.topic))
                );
            }
            for partition in topic.partitions() {
                let range = self.consumer.fetch_watermarks(self.topic, partition.id(), PATIENCE);
                ranges.insert(partition.id(), range.map_err(|e| self.failed(&e))?);
            }
        }
        let Some(since) = since else { return Ok(ranges) };
        let mut times = TopicPartitionList::new();
        for partition in ranges.keys() {
            times.add_partition_offset(self.topic, *partition, Offset::Offset(since)).map_err(|e| self.failed(&e))?;
        }
        let found = self.consumer.offsets_for_times(times, PATIENCE).map_err(|e| self.failed(&e))?;
        for element in found.elements() {
            if let Some(range) = ranges.get_mut(&element.partition()) {
                // no offset: everything is older
                range.0 = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(range.1);
            }
        }
        Ok(ranges)
    }

    /// A partition may end with markers of transactions, which are never delivered.
    fn pass_markers(&self, left: &mut BTreeMap<i32, (i64, i64)>) {
        let Ok(positions) = self.consumer.position() else { return };
        for element in positions.elements() {
            let passed = element.offset().to_raw().unwrap_or(-1);
            if left.get(&element.partition()).is_some_and(|(_, end)| passed >= *end) {
                left.remove(&element.partition());
            }
        }
    }

    /// Hears what librdkafka tells apart from records. What only a person can mend ends the reading.
    fn listen(&mut self) -> Result<()> {
        for note in self.consumer.context().take_notes() {
            let Note::Error { code, words } = note else { continue };
            let error = faults::error(code, &words);
            if !error.is_retry() {
                return Err(error.context(format!("reading {}", self.topic)));
            }
            self.worst = Some(error);
        }
        Ok(())
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        faults::error(code, &error.to_string()).context(format!("reading {}", self.topic))
    }
}

fn owned(message: &BorrowedMessage<'_>) -> RawRecord {
    let (timestamp, timestamp_type) = match message.timestamp() {
        Timestamp::NotAvailable => (-1, TimestampType::None),
        Timestamp::CreateTime(time) => (time, TimestampType::CreateTime),
        Timestamp::LogAppendTime(time) => (time, TimestampType::LogAppendTime),
    };
    RawRecord {
        offset: message.offset(),
        timestamp,
        timestamp_type,
        key: message.key().map(Bytes::copy_from_slice),
        headers: message.headers().map(borrowed_headers).unwrap_or_default(),
        value: message.payload().map(Bytes::copy_from_slice),
    }
}
