//! The log of state as a compacted Kafka topic. All records of a chain lie in one partition, so that whoever takes a
//! chain over reads that one only.

use super::{Record, StateLog, partition_of};
use crate::{
    detect::Saved,
    error::{Error, Result},
    position::ChainId,
    publish::{kafka::KafkaPublisher, letter::Replay},
    source::kafka::{
        properties::{PRODUCER, Properties, Scrubber, configure, creation_error},
        topic::{TopicSettings, read_partition},
    },
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How long the question for the topic's configuration may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the topic is.
#[derive(Clone)]
pub struct StateSettings {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub brokers: String,
    /// A consumer group that this principal may name; it is not joined.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Any other property of librdkafka.
    pub properties: Properties,
}

/// A compacted topic.
pub struct KafkaStateLog {
    settings: StateSettings,
    publisher: Arc<KafkaPublisher>,
    /// How many partitions the topic has; zero before it was read.
    partitions: Arc<AtomicUsize>,
    /// The topic was found to be compacted, or nobody may ask.
    compacted: AtomicBool,
}

impl KafkaStateLog {
    /// The log in this topic, written by this publisher. Returns at once.
    pub fn new(settings: StateSettings, publisher: Arc<KafkaPublisher>) -> Self {
        Self { settings, publisher, partitions: Arc::default(), compacted: AtomicBool::new(false) }
    }

    /// Refuses a topic that would forget the state of keys that are quiet for a while.
    async fn check_compacted(&self) -> Result<()> {
        if self.compacted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let scrubber = Scrubber::new(&self.settings.properties);
        let config = configure(&self.settings.brokers, &[], &self.settings.properties, PRODUCER)?;
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(|error| creation_error(error, &scrubber))?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = [ResourceSpecifier::Topic(&self.settings.topic)];
        let policy = match tokio::time::timeout(PATIENCE * 2, admin.describe_configs(&asked, &options)).await {
            Ok(Ok(answers)) => {
                answers.into_iter().flatten().find_map(|topic| topic.get("cleanup.policy")?.value.clone())
            }
            _ => None,
        };
        match policy {
            Some(policy) if !policy.split(',').any(|part| part.trim() == "compact") => {
                return Err(Error::config(format!(
                    "topic {} has cleanup.policy={policy}: it would forget state that rules still need. Set \
                     cleanup.policy=compact (docs/operations.md)",
                    self.settings.topic
                )));
            }
            Some(_) => {}
            // the right to ask (DESCRIBE_CONFIGS) is not needed for anything else
            None => tracing::debug!("whether {} is compacted cannot be seen", self.settings.topic),
        }
        self.compacted.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl StateLog for KafkaStateLog {
    async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>> {
        let (settings, partitions, chain) = (self.settings.clone(), self.partitions.clone(), chain.clone());
        let read = move || {
            let topic = TopicSettings {
                brokers: &settings.brokers,
                group: &settings.group,
                topic: &settings.topic,
                properties: &settings.properties,
                since: None,
            };
            let mut newest: HashMap<Vec<u8>, Record> = HashMap::new();
            let choose = |count| {
                partitions.store(count, Ordering::Relaxed);
                partition_of(&chain, count)
            };
            read_partition(&topic, choose, |raw| {
                let Some(key) = raw.key else { return true };
                match Record::parse(&key, raw.value).filter(|record| *record.chain == chain) {
                    Some(record) if record.value.is_some() => drop(newest.insert(key.to_vec(), record)),
                    Some(_) => drop(newest.remove(&key[..])),
                    None => {} // another chain's
                }
                true
            })?;
            let saved = |record: Record| {
                let value = record.value?.to_vec();
                Some(Saved { rule: record.rule, key: record.key, writer: record.writer, value })
            };
            Ok(newest.into_values().filter_map(saved).collect())
        };
        let ended = |error| Error::bug(format!("reading the state of rules ended badly: {error}"));
        let saved: Result<Vec<Saved>> = tokio::task::spawn_blocking(read).await.map_err(ended)?;
        // after the reading: that says better what is wrong with a topic that is not there
        let saved = saved?;
        self.check_compacted().await?;
        Ok(saved)
    }

    fn save(&self, record: Record) -> BoxFuture<'static, Result<()>> {
        let count = self.partitions.load(Ordering::Relaxed);
        if count == 0 {
            return Box::pin(async { Err(Error::retry("the topic of the rules' state was not read yet")) });
        }
        self.publisher.replay(&Replay {
            topic: self.settings.topic.clone(),
            partition: Some(partition_of(&record.chain, count)),
            key: Some(record.log_key().into()),
            headers: Vec::new(),
            value: record.value,
        })
    }
}
