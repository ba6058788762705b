//! The Kafka source and publisher on a real broker: `tests/services/kafka.sh 19092`, then
//! `AUTHSEAL_TEST_KAFKA=127.0.0.1:19092 cargo test --test live_kafka`. With `tests/services/tls-scram.sh 19192` there
//! is a second listener: `AUTHSEAL_TEST_KAFKA_TLS=127.0.0.1:19194` and
//! `AUTHSEAL_TEST_KAFKA_CA=target/services/kafka-19192/ca.pem`. Without them there is nothing to test, which is a
//! failure where `CI` is set.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod kafka_contract;
#[path = "live_kafka/log.rs"]
mod log;
#[path = "live_kafka/secure.rs"]
mod secure;
#[path = "live_kafka/takeover.rs"]
mod takeover;
#[path = "live_kafka/topics.rs"]
mod topics;

use kafka_contract::{Kafka, logs};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

/// What a variable holds. A test whose service is missing has nothing to say, and must not pass for that in CI.
fn service(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is not set, and CI is: start the service and name it");
        eprintln!("not run: {variable} is not set");
    }
    value
}

/// A name that no other test, and no earlier run, has used.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    format!("{what}.{now}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(30))).operation_timeout(Some(Duration::from_secs(30)))
}

/// Creates a topic that keeps any record for ever, whatever its timestamp.
async fn create(brokers: &str, topic: &str, partitions: i32, extra: &[(&str, &str)]) {
    let mut topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    for (name, value) in extra {
        topic = topic.set(name, value);
    }
    for result in admin(brokers).create_topics(&[topic], &options()).await.unwrap() {
        result.unwrap();
    }
}

/// A topic on the broker that the environment names.
async fn live(partitions: i32, strategy: &'static str) -> Option<((), Kafka)> {
    live_with(partitions, strategy, &[]).await.map(|kafka| ((), kafka))
}

async fn live_with(partitions: i32, strategy: &'static str, extra: &[(&str, &str)]) -> Option<Kafka> {
    logs();
    let brokers = service("AUTHSEAL_TEST_KAFKA")?;
    let topic = unique("auth");
    create(&brokers, &topic, partitions, extra).await;
    Some(Kafka { brokers, topic, properties: BTreeMap::new(), strategy })
}

kafka_contract!(super::live);
