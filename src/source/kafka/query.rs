//! Questions to the cluster that wait for their answer: never asked on the poll thread.

use super::{
    Consumer,
    faults::error,
    ffi::{
        self,
        admin::{Asker, Failure, Spec},
    },
};
use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::TopicPartition,
    source::Commit,
};
use rdkafka::{TopicPartitionList, consumer::Consumer as _, types::RDKafkaRespErr as Code};
use std::{sync::Arc, time::Duration};

/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The settings of a topic are asked for so long. A broker that answers other questions and not this one never will:
/// not all that speaks like Kafka has settings.
pub const SETTINGS: Duration = Duration::from_secs(3);
/// A request ends by its own timeout; we wait a little longer, so that its answer is never taken for another one's.
const GRACE: Duration = Duration::from_secs(5);

/// What the group has committed for partitions, with the leader epoch of the record before.
pub type Committed = Vec<(TopicPartition, Option<(Commit, Option<i32>)>)>;

/// What the group has committed.
pub fn committed(consumer: &Consumer, partitions: &[TopicPartition]) -> Result<Committed> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    let list = consumer.committed_offsets(list, TIMEOUT).map_err(|e| {
        let code = e.rdkafka_error_code().map_or(-1, |code| code as i32);
        error(code, "").context("what the group has committed cannot be read")
    })?;
    let mut found = Vec::with_capacity(partitions.len());
    for entry in ffi::entries(&list) {
        let partition = TopicPartition::new(entry.topic, entry.partition);
        if entry.error != 0 {
            return Err(error(entry.error, "").context(format!("what the group has committed for {partition}")));
        }
        let commit = Commit { offset: entry.offset, metadata: entry.metadata };
        found.push((partition, (entry.offset >= 0).then_some((commit, entry.leader_epoch))));
    }
    Ok(found)
}

/// Reads these topics from now on, instead of those before.
pub fn subscribe(consumer: &Consumer, topics: &[&str]) -> Result<()> {
    if topics.is_empty() {
        // librdkafka takes no empty list
        consumer.unsubscribe();
        return Ok(());
    }
    consumer.subscribe(topics).map_err(|e| Error::config(format!("the topics cannot be subscribed to: {e}")))
}

/// The names of all topics that we may see.
pub fn topics(consumer: &Consumer, timeout: Duration) -> Result<Vec<String>> {
    let metadata = consumer
        .fetch_metadata(None, timeout)
        .map_err(|e| error(e.rdkafka_error_code().map_or(-1, |code| code as i32), ""))?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Whether a topic keeps only the last record of each key; `None` where we may not ask, or the broker cannot say.
pub fn is_compacted(consumer: &Arc<Consumer>, topic: &str, timeout: Duration) -> Result<Option<bool>> {
    let answer = Asker::new(consumer.clone())?.topic_config(topic, "cleanup.policy", timeout);
    match answer {
        Ok(policy) => Ok(policy.map(|policy| policy.split(',').any(|part| part.trim() == "compact"))),
        Err((code, words)) if code == Code::RD_KAFKA_RESP_ERR__TIMED_OUT as i32 => {
            tracing::warn!(topic, words, "the broker does not tell whether the topic is compacted");
            Ok(None)
        }
        // a broker that is away, or has not heard of the topic yet, will say later; one that refuses never will
        Err((code, words)) if may_say_later(code) => {
            let words = error(code, &words).to_string();
            Err(Error::retry(format!("the settings of topic {topic} cannot be read: {words}")))
        }
        Err((_, words)) => {
            tracing::debug!(topic, words, "whether the topic is compacted cannot be seen");
            Ok(None)
        }
    }
}

fn may_say_later(code: i32) -> bool {
    let is = |known: Code| known as i32 == code;
    is(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        || (error(code, "").is_retry() && !is(Code::RD_KAFKA_RESP_ERR_INVALID_REQUEST))
}

fn failed(partition: &TopicPartition, doing: &str, (code, words): Failure) -> Error {
    error(code, &words).context(format!("{partition}: {doing}"))
}

/// Several offsets of one partition, asked for at the same time: what, and whether of stable records only.
fn offsets(consumer: &Arc<Consumer>, partition: &TopicPartition, what: &[(Spec, bool)]) -> Result<Vec<i64>> {
    let mut askers = Vec::with_capacity(what.len());
    for (spec, committed) in what {
        let asker = Asker::new(consumer.clone())?;
        asker.ask_offsets(&[(&partition.topic, partition.partition, *spec)], *committed, TIMEOUT)?;
        askers.push(asker);
    }
    let answer = |asker: Asker<_>| {
        let late = || Error::retry(format!("{partition}: the brokers did not tell its offsets in time"));
        let answer = asker.offsets(TIMEOUT + GRACE).ok_or_else(late)?;
        let entries = answer.map_err(|f| failed(partition, "its offsets cannot be read", f))?;
        let entry = entries.into_iter().next().ok_or_else(late)?;
        match entry.error {
            0 => Ok(entry.offset),
            code => Err(failed(partition, "its offsets cannot be read", (code, String::new()))),
        }
    };
    askers.into_iter().map(answer).collect()
}

/// The offsets that the broker has: first, and one after the last (not only stable ones).
pub fn range(consumer: &Arc<Consumer>, partition: &TopicPartition) -> Result<(i64, i64)> {
    let found = offsets(consumer, partition, &[(Spec::Earliest, true), (Spec::Latest, false)])?;
    Ok((found[0], found[1]))
}

/// The first offset whose timestamp is at or after `timestamp`.
pub fn offset_at(consumer: &Arc<Consumer>, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
    let found = offsets(consumer, partition, &[(Spec::At(timestamp), true)])?;
    Ok(found.first().copied().filter(|offset| *offset >= 0))
}

/// The partitions of a topic.
pub fn partitions(consumer: &Consumer, topic: &str) -> Result<Vec<i32>> {
    let wrong = |code: i32| error(code, "").context(format!("topic {topic} cannot be described"));
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .map_err(|e| wrong(e.rdkafka_error_code().map_or(-1, |code| code as i32)))?;
    let found = metadata.topics().first().ok_or_else(|| wrong(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32))?;
    match found.error() {
        Some(code) => Err(wrong(code as i32)),
        None => Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()),
    }
}

/// The broker that leads a partition.
fn leader(consumer: &Consumer, partition: &TopicPartition) -> Result<i32> {
    let wrong = |code: i32| failed(partition, "its topic cannot be described", (code, String::new()));
    let metadata = consumer
        .fetch_metadata(Some(&partition.topic), TIMEOUT)
        .map_err(|e| wrong(e.rdkafka_error_code().map_or(-1, |code| code as i32)))?;
    let topic = metadata.topics().first().ok_or_else(|| wrong(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC as i32))?;
    if let Some(code) = topic.error() {
        return Err(wrong(code as i32));
    }
    let found = topic.partitions().iter().find(|p| p.id() == partition.partition);
    let found = found.ok_or_else(|| wrong(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as i32))?;
    Some(found.leader()).filter(|id| *id >= 0).ok_or_else(|| wrong(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32))
}

/// What the cluster says of a partition. The leader epoch is not asked for: it comes with the records.
pub fn broker(consumer: &Arc<Consumer>, partition: &TopicPartition) -> Result<Broker> {
    let topic = Asker::new(consumer.clone())?
        .describe(&partition.topic, leader(consumer, partition)?, TIMEOUT)
        .map_err(|f| failed(partition, "its topic cannot be described", f))?;
    let what = [(Spec::Earliest, true), (Spec::Latest, true), (Spec::Latest, false)];
    let found = offsets(consumer, partition, &what)?;
    Ok(Broker {
        cluster_id: consumer.client().fetch_cluster_id(TIMEOUT),
        topic_id: topic.id,
        partitions: Some(topic.partitions),
        leader_epoch: None,
        log_start: Some(found[0]),
        last_stable: Some(found[1]),
        high_watermark: Some(found[2]),
    })
}
