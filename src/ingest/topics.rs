//! Topics that live: they are found by a pattern, gain partitions, are compacted or deleted.
//!
//! A partition that was added while its topic was read begins at its first record, wherever chains are told to begin:
//! else what was produced between its creation and its discovery would never be read. Which partitions were there when
//! the reading began is known from the evidence: each manifest says how many the topic had. So a restart in between
//! changes nothing.

use super::{engine::Engine, lane::Lane, seal::Sealer, status::Status, tail};
use crate::{
    error::{Error, Result},
    layout,
    manifest::Broker,
    position::{ChainId, TopicPartition},
    segment,
    source::SourceControl,
    telemetry,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The part of readiness that warns of topics that are gone.
const PART: &str = "topics";
/// A transaction that is open for longer than this is told.
const OPEN: Duration = Duration::from_secs(60);

/// What is known of topics while they are read.
#[derive(Default)]
pub(super) struct Known {
    /// How many partitions each had when this process first saw it.
    partitions: HashMap<Arc<str>, i64>,
    /// Topics that matched a pattern and are no longer there.
    gone: BTreeSet<String>,
}

impl Known {
    /// The broker has told something of a topic.
    pub fn heard(&mut self, partition: &TopicPartition, broker: &Broker) {
        if let Some(count) = broker.partitions {
            self.partitions.entry(partition.topic.clone()).or_insert(count);
        }
    }

    /// How many partitions the topic had when it was first seen here.
    pub fn partitions(&self, topic: &str) -> Option<i64> {
        self.partitions.get(topic).copied()
    }
}

impl Engine {
    /// Topics that match were found, or are no longer there.
    pub(super) fn topics_changed(&mut self, found: &[String], gone: &[String]) {
        // whatever was wrong with a topic that was deleted, or is read for the first time: it is told again if it lasts
        self.source_recovered(true);
        for topic in found {
            self.known.gone.remove(topic);
            tracing::info!(topic, "a topic that matches is read from now on");
        }
        for topic in gone {
            // created again under the same name it is another one, with as many partitions as it likes
            self.known.partitions.remove(topic.as_str());
            self.known.gone.insert(topic.clone());
        }
        let names: Vec<&str> = self.known.gone.iter().map(String::as_str).collect();
        let word = (!names.is_empty()).then(|| {
            format!(
                "no longer there, and was read: {}. If nobody meant to delete it, find out who did; what was sealed of \
                 it stays. This is told until the process is restarted or the topic is back",
                names.join(", ")
            )
        });
        self.status.warn(PART, word);
    }
}

/// The part of readiness that warns of a transaction that does not end.
pub(super) fn transaction_part(partition: &TopicPartition) -> String {
    format!("transaction:{partition}")
}

/// Tells for how long the records of a partition are held back by a transaction that nobody ends: its producer may have
/// died, or somebody may wish that nothing more is read.
pub(super) fn tell_held_back(lane: &Lane, status: &Status) {
    let open = lane.held_back(Instant::now());
    let topic = lane.partition.topic.to_string();
    let labels = [("topic", topic), ("partition", lane.partition.partition.to_string())];
    metrics::gauge!(telemetry::HELD_BACK, &labels).set(open.as_secs_f64());
    let part = transaction_part(&lane.partition);
    if open <= OPEN {
        // not warned away: a part that works and has nothing to say is none
        return status.remove(&part);
    }
    let from = lane.broker.last_stable.unwrap_or_default();
    let word = format!(
        "a transaction that began at offset {from} is open for longer than {} s: Kafka delivers nothing behind it. See \
         `kafka-transactions.sh find-hanging --topic {}`, and end it with `abort`",
        OPEN.as_secs(),
        lane.partition.topic
    );
    status.warn(&part, Some(word));
}

/// Refuses a topic of which the broker keeps only the last record of each key: what was overwritten before it was read
/// would be missing, and nobody could tell it from what was deleted.
pub(super) async fn refuse_compacted(control: &dyn SourceControl, topic: &str) -> Result<()> {
    match control.is_compacted(topic).await? {
        Some(true) => Err(Error::config(format!(
            "source_compacted: topic {topic} has cleanup.policy=compact: Kafka deletes records of it that were not \
             read yet, and a hole says nothing. Read a topic with cleanup.policy=delete; if holes are meant, say \
             gaps = \"expected\" in its [[topics]] and restart"
        ))),
        _ => Ok(()),
    }
}

/// How many partitions the topic of `of` had when its evidence began, as the chain of its first partition tells; zero
/// if that is so old that it is gone. `None`: there is no such evidence.
pub(super) async fn partitions_at_first(sealer: &Sealer, of: &ChainId) -> Result<Option<i64>> {
    let first = ChainId { partition: 0, incarnation: 0, ..of.clone() };
    let tail = tail::find(&*sealer.store, &sealer.verifiers, &sealer.origin, first, None).await?;
    let Some(head) = tail.head else { return Ok(None) };
    let Some(oldest) = sealer.store.read_oldest(&layout::segment_key(&tail.chain, 0)).await? else {
        return Ok(Some(0));
    };
    // what is wrong with it is told where it is verified: here it only means that nothing is known
    let opened = segment::open(&oldest.bytes, &sealer.verifiers).ok();
    Ok(opened.and_then(|opened| opened.manifest.broker.partitions).or(head.broker.partitions))
}
