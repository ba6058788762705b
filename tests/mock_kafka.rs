//! The Kafka source and publisher on librdkafka's mock cluster: the real protocol, without a broker.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod kafka_contract;

use authseal::{
    error::Kind,
    publish::{
        Outgoing, Publisher, Stream,
        kafka::{KafkaPublisher, PublisherSettings},
    },
    source::{
        Source, SourceEvent,
        kafka::{KafkaSettings, KafkaSource},
    },
};
use futures_util::future::join_all;
use kafka_contract::{Kafka, alert, assigned, logs, next, read_from};
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr as Code},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Three brokers in this process, with one topic.
async fn mock(partitions: i32, strategy: &'static str) -> Option<(Cluster, Kafka)> {
    logs();
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("auth.events", partitions, 3).unwrap();
    let brokers = cluster.bootstrap_servers();
    Some((cluster, Kafka { brokers, topic: "auth.events".into(), properties: BTreeMap::new(), strategy }))
}

kafka_contract!(super::mock);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_down_are_tried_again_and_can_be_left() {
    logs();
    let connect = || KafkaSource::connect(KafkaSettings::new("127.0.0.1:1", "g", ["auth"])).unwrap();
    let mut source = connect();
    let SourceEvent::Failed { error, .. } = next(&mut source).await else { panic!("an error") };
    assert!(error.is_retry(), "{error}");
    let before = Instant::now();
    source.control().close().await;
    while source.next().await.is_some() {}
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    let dropped = connect();
    let before = Instant::now();
    drop(dropped);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_timestamp_is_kept() {
    let (_cluster, kafka) = mock(1, "range").await.unwrap();
    let producer: BaseProducer = kafka.client().create().unwrap();
    let times = [1, i64::MAX, i64::MIN, -2, 253_402_300_800_000];
    for time in times {
        producer.send(BaseRecord::<(), str>::to(&kafka.topic).partition(0).payload("x").timestamp(time)).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    }
    let mut source = kafka.connect();
    assigned(&mut source, 1).await;
    let records = read_from(&kafka, &mut source, &[(0, 0)]).await;
    assert_eq!(records[&0].iter().map(|r| r.timestamp).collect::<Vec<_>>(), times);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_in_the_place_of_records_leave_no_hole() {
    let (cluster, kafka) = mock(1, "cooperative-sticky").await.unwrap();
    kafka.produce(0, 0..2000);
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    let mut expected = 0;
    let epoch = control.start(&kafka.tp(0), 0).await.unwrap();
    for round in 1..=4 {
        cluster.request_errors(RDKafkaApiKey::Fetch, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN; 3]);
        kafka.produce(0, 0..500);
        while expected < 2000 + round * 500 {
            match next(&mut source).await {
                SourceEvent::Batch(batch) => {
                    assert_eq!(batch.epoch, epoch);
                    for record in batch.records {
                        assert_eq!(record.offset, expected);
                        expected += 1;
                    }
                }
                SourceEvent::AtEnd { end, .. } => assert_eq!(end, expected),
                SourceEvent::Failed { error, .. } => assert!(error.is_retry(), "{error}"),
                event => panic!("{event:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_errors_say_whether_to_send_again() {
    let (cluster, kafka) = mock(1, "range").await.unwrap();
    let nowhere = Kafka { brokers: "127.0.0.1:1".into(), ..kafka.clone() };
    let small = kafka.publisher(&[("message.max.bytes", "1000")]);
    let too_large = small.publish(alert(vec![7; 2000])).await.unwrap_err();
    assert_eq!(too_large.kind(), Kind::Data, "{too_large}");
    assert!(too_large.to_string().contains("max.message.bytes"), "{too_large}");
    small.publish(alert("small")).await.unwrap();

    let letter = Outgoing { stream: Stream::DeadLetters, ..alert("x") };
    assert_eq!(small.publish(letter).await.unwrap_err().kind(), Kind::Config);

    cluster.request_errors(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let forbidden = small.publish(alert("x")).await.unwrap_err();
    assert_eq!(forbidden.kind(), Kind::Config, "{forbidden}");
    assert!(forbidden.to_string().contains("WRITE"), "{forbidden}");

    let unreachable = nowhere.publisher(&[("message.timeout.ms", "1000")]);
    let late = unreachable.publish(alert("x")).await.unwrap_err();
    assert!(late.is_retry(), "{late}");

    let full = nowhere.publisher(&[("queue.buffering.max.messages", "10"), ("message.timeout.ms", "1000")]);
    let outcomes = join_all((0..20).map(|_| full.publish(alert("x")))).await;
    assert!(outcomes.iter().all(|o| o.as_ref().is_err_and(|e| e.is_retry())), "{outcomes:?}");

    let settings = PublisherSettings {
        brokers: kafka.brokers.clone(),
        alerts: "no.such.topic".into(),
        dead_letters: None,
        checkpoints: None,
        shadow: Some("no.such.shadow".into()),
        properties: [("topic.metadata.propagation.max.ms".to_owned(), "1000".to_owned())].into(),
    };
    let publisher = KafkaPublisher::connect(settings.clone()).unwrap();
    let shadow = || Outgoing { stream: Stream::Shadow, ..alert("x") };
    let unknown = publisher.publish(shadow()).await.unwrap_err();
    assert!(unknown.to_string().contains("no.such.shadow"), "{unknown}");
    let without = KafkaPublisher::connect(PublisherSettings { shadow: None, ..settings }).unwrap();
    let nowhere = without.publish(shadow()).await.unwrap_err();
    assert!(nowhere.kind() == Kind::Config && nowhere.to_string().contains("alerts.shadow_topic"), "{nowhere}");
    let unknown = publisher.publish(alert("x")).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::Config, "{unknown}");
    assert!(unknown.to_string().contains("no.such.topic"), "{unknown}");
}

#[test]
fn settings_hide_secrets_and_refuse_what_is_fixed() {
    let mut source = KafkaSettings::new("a:1", "g", ["auth"]);
    source.properties.insert("sasl.password".into(), "hunter2".into());
    assert!(!format!("{source:?}").contains("hunter2"));
    source.properties.insert("isolation.level".into(), "read_uncommitted".into());
    let error = KafkaSource::connect(source).err().unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("isolation.level") && error.to_string().contains("aborted"), "{error}");
    let mut pattern = KafkaSettings::new("a:1", "g", ["auth"]);
    pattern.topics = vec!["^auth.*".into()];
    assert_eq!(KafkaSource::connect(pattern).err().unwrap().kind(), Kind::Config);
    assert_eq!(KafkaSource::connect(KafkaSettings::new("a:1", "", ["auth"])).err().unwrap().kind(), Kind::Config);
}
