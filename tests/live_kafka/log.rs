//! What the log of a real broker does: it is cut off, holds transactions, is deleted and created again.

use super::{
    admin, create,
    kafka_contract::{Kafka, alert, assigned, next, read_all, read_from},
    live, live_with, options,
};
use authseal::{
    error::Kind,
    publish::Publisher,
    source::{Source, SourceEvent, kafka::KafkaSource},
};
use futures_util::future::join_all;
use rdkafka::{
    Offset, TopicPartitionList,
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

async fn delete_before(kafka: &Kafka, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&kafka.topic, partition, Offset::Offset(offset)).unwrap();
    let deleted = admin(&kafka.brokers).delete_records(&list, &options()).await.unwrap();
    for entry in deleted.elements() {
        entry.error().unwrap();
    }
}

/// Hears events until one is `OutOfRange`: its epoch, log start and end.
async fn out_of_range(source: &mut KafkaSource) -> (u64, i64, i64) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while Instant::now() < give_up {
        match next(source).await {
            SourceEvent::OutOfRange { epoch, log_start, end, .. } => return (epoch, log_start, end),
            SourceEvent::Batch(_) | SourceEvent::AtEnd { .. } => {}
            SourceEvent::Failed { error, .. } if error.is_retry() => {}
            event => panic!("{event:?}"),
        }
    }
    panic!("the offset was never out of range");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_start_that_moved_is_out_of_range() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    kafka.produce(0, 0..100);
    delete_before(&kafka, 0, 50).await;
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    let broker = control.broker(&kafka.tp(0)).await.unwrap();
    assert_eq!((broker.log_start, broker.last_stable, broker.high_watermark), (Some(50), Some(100), Some(100)));
    let epoch = control.start(&kafka.tp(0), 10).await.unwrap();
    assert_eq!(out_of_range(&mut source).await, (epoch, 50, 100));
    let records = read_from(&kafka, &mut source, &[(0, 50)]).await;
    assert_eq!(records[&0].len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_that_overtakes_the_reader_is_told() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let mut settings = kafka.settings();
    settings.queue_bytes = 4096;
    for (name, value) in [("queued.max.messages.kbytes", "1"), ("fetch.message.max.bytes", "1000")] {
        settings.properties.insert(name.into(), value.into());
    }
    let mut source = KafkaSource::connect(settings).unwrap();
    let control = source.control();
    assigned(&mut source, 1).await;
    // batches of their own, so that they are fetched one by one
    for n in 0..200 {
        kafka.produce(0, n..n + 1);
    }
    let epoch = control.start(&kafka.tp(0), 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    delete_before(&kafka, 0, 200).await;
    kafka.produce(0, 200..210);
    assert_eq!(out_of_range(&mut source).await, (epoch, 200, 210));
    let records = read_from(&kafka, &mut source, &[(0, 200)]).await;
    assert_eq!(records[&0].len(), 10);
}

/// A producer of transactions.
fn transactional(kafka: &Kafka) -> BaseProducer {
    let producer: BaseProducer = kafka.client().set("transactional.id", &kafka.topic).create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    producer
}

fn send(kafka: &Kafka, producer: &BaseProducer, count: usize) {
    for _ in 0..count {
        producer.send(BaseRecord::<(), str>::to(&kafka.topic).partition(0).payload("x")).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_leave_holes_and_aborted_records_never_come() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let producer = transactional(&kafka);
    let wait = Duration::from_secs(30);
    producer.begin_transaction().unwrap();
    send(&kafka, &producer, 3); // 0, 1, 2; marker 3
    producer.commit_transaction(wait).unwrap();
    producer.begin_transaction().unwrap();
    send(&kafka, &producer, 4); // 4 to 7; marker 8
    producer.abort_transaction(wait).unwrap();
    producer.begin_transaction().unwrap();
    send(&kafka, &producer, 2); // 9, 10; marker 11
    producer.commit_transaction(wait).unwrap();

    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    for (from, expected) in [(0, vec![0, 1, 2, 9, 10]), (5, vec![9, 10]), (11, vec![]), (12, vec![])] {
        let epoch = control.start(&kafka.tp(0), from).await.unwrap();
        let (offsets, end) = to_end(&mut source, epoch, 12).await;
        assert_eq!((offsets, end), (expected, 12), "from {from}");
    }

    // an open transaction holds back what follows it
    producer.begin_transaction().unwrap();
    send(&kafka, &producer, 2); // 12, 13
    kafka.produce(0, 14..16); // 14, 15
    let epoch = control.start(&kafka.tp(0), 9).await.unwrap();
    assert_eq!(to_end(&mut source, epoch, 12).await, (vec![9, 10], 12));
    let broker = control.broker(&kafka.tp(0)).await.unwrap();
    assert_eq!((broker.last_stable, broker.high_watermark), (Some(12), Some(16)));
    producer.abort_transaction(wait).unwrap(); // marker 16
    assert_eq!(to_end(&mut source, epoch, 17).await, (vec![14, 15], 17));
}

/// Offsets of an epoch until its end is told to be `end`.
async fn to_end(source: &mut KafkaSource, of: u64, end: i64) -> (Vec<i64>, i64) {
    let mut offsets = Vec::new();
    let give_up = Instant::now() + Duration::from_secs(30);
    while Instant::now() < give_up {
        match next(source).await {
            SourceEvent::Batch(batch) if batch.epoch == of => offsets.extend(batch.records.iter().map(|r| r.offset)),
            SourceEvent::AtEnd { epoch, end: told, .. } if epoch == of && told >= end => return (offsets, told),
            SourceEvent::AtEnd { .. } => {}
            event => panic!("{event:?}"),
        }
    }
    panic!("the end {end} was not told after {offsets:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_created_again_has_another_id() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    kafka.produce(0, 0..100);
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    let first = control.broker(&kafka.tp(0)).await.unwrap();
    assert_eq!(first.topic_id.as_ref().map(String::len), Some(22), "{first:?}");
    assert_eq!((first.partitions, first.cluster_id.as_ref().map(String::len)), (Some(1), Some(22)));
    let records = read_from(&kafka, &mut source, &[(0, 0)]).await;
    assert_eq!(records[&0].len(), 100);
    assert_eq!(control.broker(&kafka.tp(0)).await.unwrap().leader_epoch, Some(0));

    let admin = admin(&kafka.brokers);
    admin.delete_topics(&[&kafka.topic], &options()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    create(&kafka.brokers, &kafka.topic, 1, &[]).await;
    kafka.produce(0, 0..10);
    // the reader stands at 100, which the new one has not
    let (_, log_start, end) = out_of_range(&mut source).await;
    assert!(log_start == 0 && end <= 10, "{log_start} to {end}");
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let now = control.broker(&kafka.tp(0)).await;
        if now.as_ref().is_ok_and(|now| now.topic_id.is_some() && now.topic_id != first.topic_id) {
            break;
        }
        assert!(Instant::now() < give_up, "{now:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_by_timestamp() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let producer: BaseProducer = kafka.client().create().unwrap();
    let times = [1, 1000, 2000, 2000, 5000];
    for time in times {
        producer.send(BaseRecord::<(), str>::to(&kafka.topic).partition(0).payload("x").timestamp(time)).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    for (time, offset) in [(-5, Some(0)), (0, Some(0)), (1001, Some(2)), (2000, Some(2)), (5000, Some(4)), (5001, None)]
    {
        assert_eq!(control.offset_at(&kafka.tp(0), time).await.unwrap(), offset, "{time}");
    }
    let records = read_from(&kafka, &mut source, &[(0, 0)]).await;
    assert_eq!(records[&0].iter().map(|r| r.timestamp).collect::<Vec<_>>(), times);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_come_and_too_large_ones_are_refused_alone() {
    let extra = [("max.message.bytes", "8000000")];
    let Some(kafka) = live_with(1, "cooperative-sticky", &extra).await else { return };
    let publisher = kafka.publisher(&[]);
    let body = |size: usize| {
        // does not compress
        let mut state = 88_172_645_463_325_252_u64;
        (0..size).map(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
    };
    let large: Vec<u8> = body(5_000_000).collect();
    let mut sent: Vec<_> = (0..50).map(|n| publisher.publish(alert(format!("small {n}")))).collect();
    sent.push(publisher.publish(alert(large.clone())));
    sent.push(publisher.publish(alert(body(10_000_000).collect::<Vec<u8>>())));
    sent.extend((0..50).map(|n| publisher.publish(alert(format!("small {n}")))));
    let outcomes = join_all(sent).await;
    for (at, outcome) in outcomes.into_iter().enumerate() {
        match (at, outcome) {
            (51, Err(error)) => assert_eq!(error.kind(), Kind::Data, "{error}"),
            (at, outcome) => assert!(at != 51 && outcome.is_ok(), "{at}: {outcome:?}"),
        }
    }
    let mut source = kafka.connect();
    assigned(&mut source, 1).await;
    let records = read_from(&kafka, &mut source, &[(0, 0)]).await;
    assert_eq!(records[&0].len(), 101);
    assert!(records[&0].iter().any(|r| r.value.as_ref().is_some_and(|value| *value == large)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_epoch_is_that_of_what_was_delivered() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    kafka.produce(0, 0..100);
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    read_from(&kafka, &mut source, &[(0, 0)]).await;
    let commit = authseal::source::Commit { offset: 60, metadata: "m".into() };
    control.commit_now(vec![(kafka.tp(0), commit.clone())]).await.unwrap();
    control.close().await;
    let mut source = kafka.connect();
    let all = assigned(&mut source, 1).await;
    assert_eq!(all[0].committed, Some(commit));
    let epoch = source.control().start(&kafka.tp(0), 60).await.unwrap();
    // that of the commit may be older than that of a transaction marker behind it: nobody begins with it
    assert_eq!(source.control().broker(&kafka.tp(0)).await.unwrap().leader_epoch, None);
    let records = read_all(&mut source, &BTreeMap::from([(0, epoch)])).await;
    assert_eq!(records[&0].iter().map(|r| r.offset).collect::<Vec<_>>(), (60..100).collect::<Vec<_>>());
    assert_eq!(source.control().broker(&kafka.tp(0)).await.unwrap().leader_epoch, Some(0));
}
