//! Where a record stands: the partition it came from, the chain that seals that partition, its offset.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// A Kafka topic and partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name, in Kafka's alphabet `[a-zA-Z0-9._-]{1,249}`.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic`/`partition`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The chain that seals one partition: cluster/topic/partition/incarnation.
///
/// Another incarnation is opened when the topic behind the name is another one than before (`authseal chain reset`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainId {
    /// The configured name of the Kafka cluster, in Kafka's topic alphabet.
    pub cluster: String,
    /// Topic name.
    pub topic: String,
    /// Partition number, 0 to 99,999.
    pub partition: u32,
    /// 0 to 9,999.
    pub incarnation: u32,
}

impl ChainId {
    /// A record of this chain.
    pub fn at(&self, offset: i64) -> Position {
        Position { chain: self.clone(), offset }
    }

    /// The topic and partition behind the chain.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition as i32)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.cluster, self.topic, self.partition, self.incarnation)
    }
}

impl FromStr for ChainId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::data(format!("{text:?} is not a chain: cluster/topic/partition/incarnation"));
        let parts: Vec<&str> = text.split('/').collect();
        let [cluster, topic, partition, incarnation] = parts[..] else { return Err(wrong()) };
        if !is_kafka_name(cluster) || !is_kafka_name(topic) {
            return Err(wrong());
        }
        let number = |text: &str, below: u32| {
            text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|n| *n < below)
        };
        Ok(Self {
            cluster: cluster.into(),
            topic: topic.into(),
            partition: number(partition, 100_000).ok_or_else(wrong)?,
            incarnation: number(incarnation, 10_000).ok_or_else(wrong)?,
        })
    }
}

/// One Kafka offset of one chain, written cluster/topic/partition/incarnation@offset everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The chain.
    pub chain: ChainId,
    /// The Kafka offset.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.chain, self.offset)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::data(format!("{text:?} is not a position: cluster/topic/partition/incarnation@offset"));
        let (chain, offset) = text.rsplit_once('@').ok_or_else(wrong)?;
        let offset = offset.parse().ok().filter(|o: &i64| *o >= 0 && o.to_string() == offset);
        Ok(Self { chain: chain.parse().map_err(|_| wrong())?, offset: offset.ok_or_else(wrong)? })
    }
}

/// Whether `name` is in Kafka's topic alphabet: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
pub fn is_kafka_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back() {
        let text = "main/auth.events/7/0@123";
        assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        assert_eq!("main/a/00007/0000@5".parse::<Position>().unwrap().to_string(), "main/a/7/0@5");
        for bad in [
            "",
            "main/a/7@5",
            "main/a/7/0",
            "main/a/7/0@-1",
            "main/a/7/0@05",
            "main/a/x/0@1",
            "../a/7/0@1",
            "main/a b/7/0@1",
            "main/a/+7/0@1",
            "main/a/100000/0@1",
            "main/a/1/0/0@1",
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
