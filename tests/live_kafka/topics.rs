//! Topics of a real broker that live: they appear and go, gain partitions, are compacted.

use super::{
    admin, create,
    kafka_contract::{Kafka, assigned, next, read_all},
    live, options, unique,
};
use authseal::source::{
    Source, SourceEvent,
    kafka::{KafkaSource, Wanted},
};
use rdkafka::admin::NewPartitions;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Looks for changes several times a second.
fn quick(kafka: &Kafka) -> authseal::source::kafka::KafkaSettings {
    let mut settings = kafka.settings();
    settings.properties.insert("topic.metadata.refresh.interval.ms".into(), "300".into());
    settings
}

/// Hears events until topics change.
async fn change(source: &mut KafkaSource) -> (Vec<String>, Vec<String>) {
    loop {
        match next(source).await {
            SourceEvent::Topics { found, gone } => return (found, gone),
            SourceEvent::Failed { error, .. } => eprintln!("{error}"),
            SourceEvent::Assigned(_) | SourceEvent::Revoked(_) | SourceEvent::AtEnd { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

/// Hears events until these topics, and no others, are assigned.
async fn assigned_topics(source: &mut KafkaSource, mut have: BTreeSet<String>, wanted: &[&String]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|topic| (*topic).clone()).collect();
    while have != wanted {
        match next(source).await {
            SourceEvent::Assigned(all) => have.extend(all.into_iter().map(|a| a.partition.topic.to_string())),
            SourceEvent::Revoked(all) => have.retain(|topic| !all.iter().any(|p| *p.topic == **topic)),
            SourceEvent::Failed { error, .. } => eprintln!("{error}"),
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_match_are_found_when_they_appear_and_told_when_they_go() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let prefix = unique("matching");
    let [first, second, other] = ["a", "b", "alerts"].map(|name| format!("{prefix}.{name}"));
    for topic in [&first, &other] {
        create(&kafka.brokers, topic, 1, &[]).await;
    }
    let mut settings = quick(&kafka);
    let (like, not) = (prefix.clone(), other.clone());
    settings.wanted = Some(Wanted::new(move |topic| topic.starts_with(&like) && topic != not));
    let mut source = KafkaSource::connect(settings).unwrap();
    assert_eq!(change(&mut source).await, (vec![first.clone()], vec![]));
    assigned_topics(&mut source, BTreeSet::new(), &[&kafka.topic, &first]).await;
    create(&kafka.brokers, &second, 1, &[]).await;
    assert_eq!(change(&mut source).await, (vec![second.clone()], vec![]));
    let have = BTreeSet::from([kafka.topic.clone(), first.clone()]);
    assigned_topics(&mut source, have, &[&kafka.topic, &first, &second]).await;
    admin(&kafka.brokers).delete_topics(&[&first], &options()).await.unwrap();
    assert_eq!(change(&mut source).await, (vec![], vec![first]));
    source.control().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_assigned() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let mut source = KafkaSource::connect(quick(&kafka)).unwrap();
    assigned(&mut source, 1).await;
    let more = NewPartitions::new(&kafka.topic, 3);
    for result in admin(&kafka.brokers).create_partitions(&[more], &options()).await.unwrap() {
        result.unwrap();
    }
    kafka.produce(2, 0..5);
    let mut new: Vec<_> = assigned(&mut source, 2).await.into_iter().map(|a| a.partition.partition).collect();
    new.sort_unstable();
    assert_eq!(new, [1, 2]);
    let epoch = source.control().start(&kafka.tp(2), 0).await.unwrap();
    assert_eq!(read_all(&mut source, &BTreeMap::from([(2, epoch)])).await[&2].len(), 5);
    assert_eq!(source.control().broker(&kafka.tp(2)).await.unwrap().partitions, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_known_as_one() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let source = kafka.connect();
    let control = source.control();
    for (policy, compacted) in [("delete", false), ("compact", true), ("compact,delete", true)] {
        let topic = unique("policy");
        create(&kafka.brokers, &topic, 1, &[("cleanup.policy", policy)]).await;
        // a broker that has not heard of it yet is asked again, as for a partition that is assigned
        let told = loop {
            match control.is_compacted(&topic).await {
                Err(error) if error.is_retry() => tokio::time::sleep(Duration::from_millis(100)).await,
                told => break told.unwrap(),
            }
        };
        assert_eq!(told, Some(compacted), "{policy}");
    }
}
