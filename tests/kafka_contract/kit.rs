//! What the contract and the tests of one cluster share: a topic, its clients, and ways to hear a source.

use authseal::{
    position::TopicPartition,
    publish::{
        Outgoing, Stream,
        kafka::{KafkaPublisher, PublisherSettings},
    },
    record::RawRecord,
    source::{
        Assigned, Commit, Source, SourceEvent,
        kafka::{KafkaSettings, KafkaSource},
    },
};
use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::{mpsc, watch};

/// A topic of its own on a cluster, and how to reach it.
#[derive(Clone)]
pub struct Kafka {
    pub brokers: String,
    pub topic: String,
    /// Properties of every client: TLS, SASL.
    pub properties: BTreeMap<String, String>,
    /// How partitions are assigned: cooperative-sticky, or range as an eager one.
    pub strategy: &'static str,
}

/// Logs of a failed test, where RUST_LOG asks for them (librdkafka's own: `RUST_LOG=librdkafka=debug`).
pub fn logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

impl Kafka {
    pub fn tp(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    /// Settings of a consumer; the group is called like the topic.
    pub fn settings(&self) -> KafkaSettings {
        let mut settings = KafkaSettings::new(&self.brokers, &self.topic, [&self.topic]);
        settings.properties.clone_from(&self.properties);
        let mut set = |name: &str, value: &str| settings.properties.insert(name.into(), value.into());
        set("session.timeout.ms", "6000");
        set("heartbeat.interval.ms", "500");
        set("fetch.wait.max.ms", "50");
        set("partition.assignment.strategy", self.strategy);
        if let Ok(contexts) = std::env::var("LIBRDKAFKA_DEBUG") {
            set("debug", &contexts);
        }
        settings
    }

    pub fn connect(&self) -> KafkaSource {
        KafkaSource::connect(self.settings()).unwrap()
    }

    /// A client configuration of the `rdkafka` crate, for what tests do beside the source.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.extend(self.properties.clone());
        config
    }

    /// Appends `k<n>` → `value <n> of <partition>`.
    pub fn produce(&self, partition: i32, values: std::ops::Range<i64>) {
        let producer: BaseProducer = self.client().set("compression.type", "lz4").create().unwrap();
        for n in values {
            let (key, value) = (format!("k{n}"), format!("value {n} of {partition}"));
            while producer.send(BaseRecord::to(&self.topic).partition(partition).key(&key).payload(&value)).is_err() {
                producer.poll(Duration::from_millis(10));
            }
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    pub fn publisher(&self, properties: &[(&str, &str)]) -> KafkaPublisher {
        let mut all = self.properties.clone();
        all.extend(properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        KafkaPublisher::connect(PublisherSettings {
            brokers: self.brokers.clone(),
            alerts: self.topic.clone(),
            dead_letters: None,
            shadow: None,
            checkpoints: None,
            properties: all,
        })
        .unwrap()
    }
}

pub fn alert(value: impl Into<Bytes>) -> Outgoing {
    Outgoing { stream: Stream::Alerts, key: Some("k".into()), headers: Vec::new(), value: Some(value.into()) }
}

/// The next event, or a failed test.
pub async fn next(source: &mut KafkaSource) -> SourceEvent {
    let event = tokio::time::timeout(Duration::from_secs(30), source.next()).await;
    event.expect("an event within 30 s").expect("the source is open")
}

/// Waits until so many partitions are assigned.
pub async fn assigned(source: &mut KafkaSource, count: usize) -> Vec<Assigned> {
    let mut all: Vec<Assigned> = Vec::new();
    while all.len() < count {
        match next(source).await {
            SourceEvent::Assigned(some) => all.extend(some),
            SourceEvent::Failed { error, .. } if error.is_retry() => {}
            SourceEvent::Committed(_) => {}
            other => panic!("{other:?} before the assignment"),
        }
    }
    all
}

/// Reads until every partition of `epochs` has told its end; what was read, by partition.
pub async fn read_all(source: &mut KafkaSource, epochs: &BTreeMap<i32, u64>) -> BTreeMap<i32, Vec<RawRecord>> {
    let mut records: BTreeMap<i32, Vec<RawRecord>> = epochs.keys().map(|p| (*p, Vec::new())).collect();
    let mut ended = BTreeMap::new();
    while ended.len() < epochs.len() {
        match next(source).await {
            SourceEvent::Batch(batch) => {
                assert_eq!(batch.epoch, epochs[&batch.partition.partition]);
                assert!(!batch.records.is_empty());
                records.get_mut(&batch.partition.partition).unwrap().extend(batch.records);
            }
            SourceEvent::AtEnd { partition, epoch, end } => {
                assert_eq!(epoch, epochs[&partition.partition]);
                ended.insert(partition.partition, end);
            }
            SourceEvent::Failed { error, .. } if error.is_retry() => {}
            other => panic!("{other:?}"),
        }
    }
    for (partition, end) in ended {
        if let Some(last) = records[&partition].last() {
            assert_eq!(last.offset + 1, end);
        }
    }
    records
}

/// Reads from the given offsets to the ends, and checks that each partition came in order, without a hole.
pub async fn read_from(
    kafka: &Kafka,
    source: &mut KafkaSource,
    starts: &[(i32, i64)],
) -> BTreeMap<i32, Vec<RawRecord>> {
    let control = source.control();
    let mut epochs = BTreeMap::new();
    for (partition, offset) in starts {
        epochs.insert(*partition, control.start(&kafka.tp(*partition), *offset).await.unwrap());
    }
    let records = read_all(source, &epochs).await;
    for (partition, from) in starts {
        let offsets: Vec<_> = records[partition].iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (*from..*from + offsets.len() as i64).collect::<Vec<_>>());
    }
    records
}

/// A member of the group that commits what it has read and reads on where the one before it committed. Within an epoch
/// offsets are consecutive. Says how many partitions it was assigned.
pub async fn reader(
    settings: KafkaSettings,
    told: mpsc::UnboundedSender<(u64, i32, i64)>,
    mut stop: watch::Receiver<bool>,
) -> usize {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut source = KafkaSource::connect(settings).unwrap();
    let control = source.control();
    let mut expected: BTreeMap<i32, (u64, i64)> = BTreeMap::new();
    let mut partitions = 0;
    loop {
        let event = tokio::select! {
            event = source.next() => event.unwrap(),
            _ = stop.changed() => break,
        };
        match event {
            SourceEvent::Assigned(all) => {
                for one in all {
                    let from = one.committed.map_or(0, |commit| commit.offset);
                    // it may be taken away again at once
                    let Ok(epoch) = control.start(&one.partition, from).await else { continue };
                    expected.insert(one.partition.partition, (epoch, from));
                    partitions += 1;
                }
            }
            SourceEvent::Revoked(all) => {
                for one in all {
                    expected.remove(&one.partition);
                }
            }
            SourceEvent::Batch(batch) => {
                let partition = batch.partition.partition;
                let Some((epoch, next)) = expected.get_mut(&partition) else { continue };
                assert_eq!(batch.epoch, *epoch);
                for record in batch.records {
                    assert_eq!(record.offset, *next, "partition {partition}");
                    *next += 1;
                    let _ = told.send((number, partition, record.offset));
                }
                let metadata = format!("reader {number}");
                control.commit(vec![(batch.partition, Commit { offset: *next, metadata })]);
            }
            SourceEvent::AtEnd { .. } => {}
            SourceEvent::Failed { error, .. } if error.is_retry() => {}
            other => panic!("{other:?}"),
        }
    }
    control.close().await;
    partitions
}

/// The same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as i64
    }
}
