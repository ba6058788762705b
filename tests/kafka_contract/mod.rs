//! What the Kafka source and publisher must do on any cluster: run on librdkafka's mock and on a real broker.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod kit;

pub use kit::*;

use authseal::{
    error::Kind,
    publish::{Outgoing, Publisher, Stream},
    record::{Header, TimestampType},
    source::{Commit, Source, SourceEvent, kafka::KafkaSource},
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Makes a test of every function here. `$new` is `async fn(partitions: i32, strategy: &'static str) -> Option<(G,
/// Kafka)>` and makes a topic; `G` is dropped after the test. Without a topic there is nothing to test.
#[macro_export]
macro_rules! kafka_contract {
    ($new:path) => {
        $crate::kafka_contract!($new, cooperative, "cooperative-sticky", [
            exact_offsets_from_four_partitions: 4,
            every_start_has_its_epoch_and_stop_is_silent: 1,
            random_starts_and_stops_deliver_from_where_they_say: 2,
            a_slow_reader_loses_nothing_and_stays_a_member: 2,
            a_second_consumer_takes_over_without_a_hole: 4,
            every_record_that_kafka_can_hold_comes_byte_for_byte: 1,
            offsets_out_of_range_are_told_and_can_be_mended: 2,
            commits_come_back_with_their_metadata: 2,
            a_topic_that_is_not_there_is_an_error_of_the_settings: 1,
            fifty_thousand_messages_can_be_under_way: 4,
        ]);
        $crate::kafka_contract!($new, eager, "range", [
            exact_offsets_from_four_partitions: 4,
            random_starts_and_stops_deliver_from_where_they_say: 2,
            a_second_consumer_takes_over_without_a_hole: 4,
            offsets_out_of_range_are_told_and_can_be_mended: 2,
        ]);
    };
    ($new:path, $module:ident, $strategy:literal, [$($test:ident: $partitions:literal),+ $(,)?]) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some((_guard, kafka)) = $new($partitions, $strategy).await {
                    super::kafka_contract::$test(kafka).await;
                }
            })+
        }
    };
}

pub async fn exact_offsets_from_four_partitions(kafka: Kafka) {
    for partition in 0..4 {
        kafka.produce(partition, 0..500);
    }
    let mut source = kafka.connect();
    let control = source.control();
    assert!(assigned(&mut source, 4).await.iter().all(|a| a.committed.is_none()));
    let records = read_from(&kafka, &mut source, &[(0, 0), (1, 100), (2, 200), (3, 499)]).await;
    for (partition, from) in [(0, 0), (1, 100), (2, 200), (3, 499)] {
        assert_eq!(records[&partition].len(), 500 - from);
        for record in &records[&partition] {
            assert_eq!(record.key.as_ref().unwrap(), &format!("k{}", record.offset));
            assert_eq!(record.value.as_ref().unwrap(), &format!("value {} of {partition}", record.offset));
            assert_eq!(record.timestamp_type, TimestampType::CreateTime);
        }
    }
    let before = Instant::now();
    control.close().await;
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    while let Some(event) = source.next().await {
        assert!(matches!(event, SourceEvent::AtEnd { .. }), "{event:?}");
    }
}

pub async fn every_start_has_its_epoch_and_stop_is_silent(kafka: Kafka) {
    kafka.produce(0, 0..1000);
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(500), source.next()).await.is_err(), "nothing before start");
    let mut last = 0;
    for from in [990, 0, 500, 999, 0] {
        let epoch = control.start(&kafka.tp(0), from).await.unwrap();
        assert!(epoch > last);
        last = epoch;
        let records = read_all(&mut source, &BTreeMap::from([(0, epoch)])).await;
        assert_eq!(records[&0].iter().map(|r| r.offset).collect::<Vec<_>>(), (from..1000).collect::<Vec<_>>());
    }
    // started again in the middle of the delivery: what was on its way is never heard under the new epoch
    for from in [10, 800, 5] {
        control.start(&kafka.tp(0), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let epoch = control.start(&kafka.tp(0), from).await.unwrap();
        let records = read_all(&mut source, &BTreeMap::from([(0, epoch)])).await;
        assert_eq!(records[&0].iter().map(|r| r.offset).collect::<Vec<_>>(), (from..1000).collect::<Vec<_>>());
    }
    control.stop(&kafka.tp(0)).await.unwrap();
    kafka.produce(0, 1000..1010);
    assert!(tokio::time::timeout(Duration::from_secs(2), source.next()).await.is_err(), "nothing after stop");
    assert!(control.start(&kafka.tp(1), 0).await.unwrap_err().is_retry(), "it is not assigned");
    assert_eq!(control.start(&kafka.tp(0), -1).await.unwrap_err().kind(), Kind::Bug);
}

/// Starts and stops two partitions at random while records are appended. Whatever comes belongs to the epoch that is
/// running, begins where it was started, and has no hole.
pub async fn random_starts_and_stops_deliver_from_where_they_say(kafka: Kafka) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut settings = kafka.settings();
    settings.queue_bytes = 20_000;
    let mut source = KafkaSource::connect(settings).unwrap();
    let control = source.control();
    assigned(&mut source, 2).await;
    kafka.produce(0, 0..3000);
    kafka.produce(1, 0..3000);
    // by partition: the epoch and the offset to come next; none where it is stopped
    let mut running: BTreeMap<i32, (u64, i64)> = BTreeMap::new();
    let (mut steps, mut seen) = (0, 0);
    while steps < 150 {
        let partition = random.below(2) as i32;
        match random.below(10) {
            0 => {
                let from = random.below(3000);
                let epoch = control.start(&kafka.tp(partition), from).await.unwrap();
                running.insert(partition, (epoch, from));
                steps += 1;
            }
            1 if random.below(4) == 0 => {
                control.stop(&kafka.tp(partition)).await.unwrap();
                running.remove(&partition);
                steps += 1;
            }
            2 if random.below(10) == 0 => kafka.produce(partition, 0..20),
            _ => {
                let wait = Duration::from_millis(random.below(30) as u64);
                match tokio::time::timeout(wait, source.next()).await {
                    Err(_) => {}
                    Ok(Some(SourceEvent::Batch(batch))) => {
                        let (epoch, next) = running.get_mut(&batch.partition.partition).expect("it is running");
                        assert_eq!(batch.epoch, *epoch);
                        for record in batch.records {
                            assert_eq!(record.offset, *next);
                            *next += 1;
                            seen += 1;
                        }
                    }
                    Ok(Some(SourceEvent::AtEnd { partition, epoch, end })) => {
                        assert_eq!(running.get(&partition.partition), Some(&(epoch, end)));
                    }
                    Ok(Some(SourceEvent::Failed { error, .. })) if error.is_retry() => {}
                    Ok(event) => panic!("{event:?}"),
                }
            }
        }
    }
    assert!(seen > 10_000, "{seen}");
}

pub async fn a_slow_reader_loses_nothing_and_stays_a_member(kafka: Kafka) {
    let mut settings = kafka.settings();
    settings.queue_bytes = 64 << 10;
    let mut source = KafkaSource::connect(settings).unwrap();
    let control = source.control();
    assigned(&mut source, 2).await;
    for partition in 0..2 {
        kafka.produce(partition, 0..50_000);
    }
    let mut epochs = BTreeMap::new();
    for partition in 0..2 {
        epochs.insert(partition, control.start(&kafka.tp(partition), 0).await.unwrap());
    }
    // longer than the session timeout
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut next_offset = BTreeMap::from([(0, 0), (1, 0)]);
    let mut batches = 0;
    while next_offset.values().any(|next| *next < 50_000) {
        match next(&mut source).await {
            SourceEvent::Batch(batch) => {
                assert_eq!(batch.epoch, epochs[&batch.partition.partition]);
                let expected = next_offset.get_mut(&batch.partition.partition).unwrap();
                for record in batch.records {
                    assert_eq!(record.offset, *expected);
                    *expected += 1;
                }
                batches += 1;
                if batches % 10 == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            SourceEvent::AtEnd { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

pub async fn a_second_consumer_takes_over_without_a_hole(kafka: Kafka) {
    let settings = kafka.settings();
    let (told, mut covered) = mpsc::unbounded_channel();
    let stop = watch::Sender::new(false);
    let mut readers = vec![tokio::spawn(reader(settings.clone(), told.clone(), stop.subscribe()))];
    let writer = {
        let kafka = kafka.clone();
        tokio::task::spawn_blocking(move || {
            for round in 0..40 {
                for partition in 0..4 {
                    kafka.produce(partition, round * 50..(round + 1) * 50);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        })
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    readers.push(tokio::spawn(reader(settings, told, stop.subscribe())));
    writer.await.unwrap();
    // every offset of every partition is delivered by one of them, in whatever epoch
    let mut seen: BTreeMap<i32, Vec<bool>> = (0..4).map(|p| (p, vec![false; 2000])).collect();
    let mut by_reader: BTreeMap<u64, usize> = BTreeMap::new();
    let give_up = Instant::now() + Duration::from_secs(60);
    while seen.values().flatten().any(|seen| !seen) {
        let wait = tokio::time::timeout_at(give_up.into(), covered.recv()).await;
        let (reader, partition, offset): (u64, i32, i64) = wait.expect("all is delivered within 60 s").unwrap();
        seen.get_mut(&partition).unwrap()[usize::try_from(offset).unwrap()] = true;
        *by_reader.entry(reader).or_default() += 1;
    }
    assert_eq!(by_reader.len(), 2, "both have read: {by_reader:?}");
    stop.send_replace(true);
    for reader in readers {
        assert!(reader.await.unwrap() > 0, "both had partitions");
    }
}

pub async fn every_record_that_kafka_can_hold_comes_byte_for_byte(kafka: Kafka) {
    let publisher = kafka.publisher(&[]);
    let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    let long: &'static [u8] = Box::leak(vec![0xfe; 100_000].into_boxed_slice());
    type Parts = (Option<&'static [u8]>, Option<&'static [u8]>, Vec<Header>);
    let sent: Vec<Parts> = vec![
        (None, None, vec![]),
        (Some(b""), Some(b""), vec![header(b"", None), header(b"", Some(b""))]),
        (Some(b"\xff\0"), Some(b"\0\xfe"), vec![header(b"\xff\xfe", Some(b"\x80")), header(b"a\0b", None)]),
        (Some(b"k"), None, vec![header(b"twice", Some(b"1")), header(b"twice", Some(b"2"))]),
        (None, Some(long), vec![header(long, Some(long))]),
    ];
    for (key, value, headers) in &sent {
        let message = Outgoing {
            stream: Stream::Alerts,
            key: key.map(Bytes::from_static),
            headers: headers.clone(),
            value: value.map(Bytes::from_static),
        };
        publisher.publish(message).await.unwrap();
    }
    let mut source = kafka.connect();
    assigned(&mut source, 1).await;
    let records = read_from(&kafka, &mut source, &[(0, 0)]).await;
    let got: Vec<_> = records[&0].iter().map(|r| (r.key.as_deref(), r.value.as_deref(), r.headers.clone())).collect();
    assert_eq!(got, sent);
}

pub async fn offsets_out_of_range_are_told_and_can_be_mended(kafka: Kafka) {
    kafka.produce(0, 0..100);
    kafka.produce(1, 0..100);
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 2).await;
    let other = control.start(&kafka.tp(1), 50).await.unwrap();
    let records = read_all(&mut source, &BTreeMap::from([(1, other)])).await;
    assert_eq!(records[&1].len(), 50);
    let started = control.start(&kafka.tp(0), 101).await.unwrap();
    loop {
        match next(&mut source).await {
            SourceEvent::OutOfRange { partition, epoch, log_start, end } => {
                assert_eq!((partition, epoch, log_start, end), (kafka.tp(0), started, 0, 100));
                break;
            }
            SourceEvent::AtEnd { partition, .. } => assert_eq!(partition, kafka.tp(1)),
            event => panic!("{event:?}"),
        }
    }
    // the other partition goes on in its epoch, through the assignment that mends this one
    let mended = control.start(&kafka.tp(0), 90).await.unwrap();
    kafka.produce(1, 100..120);
    let records = read_all(&mut source, &BTreeMap::from([(0, mended), (1, other)])).await;
    assert_eq!(records[&0].iter().map(|r| r.offset).collect::<Vec<_>>(), (90..100).collect::<Vec<_>>());
    assert_eq!(records[&1].iter().map(|r| r.offset).collect::<Vec<_>>(), (100..120).collect::<Vec<_>>());
}

pub async fn commits_come_back_with_their_metadata(kafka: Kafka) {
    kafka.produce(0, 0..10);
    kafka.produce(1, 0..10);
    let commit = |offset, metadata: &str| Commit { offset, metadata: metadata.into() };
    let mut source = kafka.connect();
    assigned(&mut source, 2).await;
    let control = source.control();
    control.commit(vec![(kafka.tp(0), commit(3, "{\"incarnation\":0}"))]);
    control.commit_now(vec![(kafka.tp(1), commit(5, "é"))]).await.unwrap();
    let broker = control.broker(&kafka.tp(0)).await.unwrap();
    assert_eq!((broker.partitions, broker.log_start), (Some(2), Some(0)));
    assert_eq!((broker.last_stable, broker.high_watermark), (Some(10), Some(10)));
    assert!(broker.cluster_id.is_some());
    control.close().await;
    assert!(control.commit_now(vec![(kafka.tp(1), commit(6, ""))]).await.unwrap_err().is_retry());
    let mut source = kafka.connect();
    let mut all = assigned(&mut source, 2).await;
    all.sort_by_key(|a| a.partition.partition);
    assert_eq!(all[0].committed, Some(commit(3, "{\"incarnation\":0}")));
    assert_eq!(all[1].committed, Some(commit(5, "é")));
}

pub async fn a_topic_that_is_not_there_is_an_error_of_the_settings(kafka: Kafka) {
    let mut settings = kafka.settings();
    settings.topics = vec!["no.such.topic".into()];
    let mut source = KafkaSource::connect(settings).unwrap();
    let SourceEvent::Failed { partition: None, error } = next(&mut source).await else { panic!("an error") };
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains("no.such.topic"), "{error}");
}

pub async fn fifty_thousand_messages_can_be_under_way(kafka: Kafka) {
    let publisher = kafka.publisher(&[]);
    let sent: Vec<_> = (0..50_000).map(|n| publisher.publish(alert(format!("alert {n}")))).collect();
    for outcome in join_all(sent).await {
        outcome.unwrap();
    }
}
