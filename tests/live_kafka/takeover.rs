//! A consumer that is killed, and the one that takes over.

use super::{
    kafka_contract::{Kafka, assigned, next, read_from, reader},
    live, logs,
};
use authseal::{
    error::Kind,
    source::{
        Source, SourceEvent,
        kafka::{KafkaSettings, KafkaSource},
    },
};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

const CHILD: &str = "AUTHSEAL_TEST_CHILD";

/// Not a test by itself: the process that [`a_killed_consumer_is_replaced`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(child) = std::env::var(CHILD) else { return };
    logs();
    let (brokers, topic) = child.split_once(' ').unwrap();
    let mut settings = KafkaSettings::new(brokers, topic, [topic]);
    settings.properties.insert("session.timeout.ms".into(), "6000".into());
    settings.properties.insert("heartbeat.interval.ms".into(), "500".into());
    let (told, mut covered) = mpsc::unbounded_channel();
    let stop = watch::Sender::new(false);
    tokio::spawn(reader(settings, told, stop.subscribe()));
    let mut seen = 0;
    while let Some((_, partition, offset)) = covered.recv().await {
        seen += 1;
        if seen % 100 == 0 {
            println!("read {partition} {offset}");
        }
    }
}

fn spawn_child(kafka: &Kafka) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "takeover::child", "--nocapture"])
        .env(CHILD, format!("{} {}", kafka.brokers, kafka.topic))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Ends when the child has read something. Its output is read on to the end: it must not break on a closed pipe.
async fn first_read(child: &mut std::process::Child) {
    use std::io::BufRead;
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let (told, mut heard) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok).filter(|line| line.starts_with("read ")) {
            let _ = told.send(line);
        }
    });
    let first = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await;
    first.expect("the child reads within 60 s").expect("the child lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_consumer_is_replaced() {
    let Some((_, kafka)) = live(4, "cooperative-sticky").await else { return };
    for partition in 0..4 {
        kafka.produce(partition, 0..1000);
    }
    let mut child = spawn_child(&kafka);
    first_read(&mut child).await;
    // what it had read by then is committed soon
    tokio::time::sleep(Duration::from_millis(500)).await;
    // SIGKILL: it neither commits nor leaves the group
    child.kill().unwrap();
    child.wait().unwrap();
    let before = Instant::now();
    let mut source = kafka.connect();
    let all = assigned(&mut source, 4).await;
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    let starts: Vec<_> = all
        .iter()
        .map(|one| (one.partition.partition, one.committed.as_ref().map_or(0, |commit| commit.offset)))
        .collect();
    assert!(starts.iter().any(|(_, from)| *from > 0), "the child had committed: {starts:?}");
    let records = read_from(&kafka, &mut source, &starts).await;
    for (partition, from) in starts {
        assert_eq!(records[&partition].len() as i64, 1000 - from);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_leave_no_hole() {
    for strategy in ["cooperative-sticky", "range"] {
        let Some((_, kafka)) = live(6, strategy).await else { return };
        let (told, mut covered) = mpsc::unbounded_channel();
        let member = || {
            let stop = watch::Sender::new(false);
            (tokio::spawn(reader(kafka.settings(), told.clone(), stop.subscribe())), stop)
        };
        let mut members = vec![member()];
        for round in 0..15 {
            let writer = kafka.clone();
            let from = round * 100;
            tokio::task::spawn_blocking(move || (0..6).for_each(|p| writer.produce(p, from..from + 100)))
                .await
                .unwrap();
            if round % 3 == 2 {
                // the oldest leaves
                let (reader, stop) = members.remove(0);
                stop.send_replace(true);
                reader.await.unwrap();
            }
            if members.len() < 3 {
                members.push(member());
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        // within an epoch each reader checks that nothing is missing; here that nothing is missing between them
        let mut missing: std::collections::BTreeSet<(i32, i64)> =
            (0..6).flat_map(|partition| (0..1500).map(move |offset| (partition, offset))).collect();
        let give_up = Instant::now() + Duration::from_secs(60);
        while !missing.is_empty() {
            let heard = tokio::time::timeout_at(give_up.into(), covered.recv()).await;
            let (_, partition, offset) = heard.expect("all is delivered within 60 s").unwrap();
            missing.remove(&(partition, offset));
        }
        for (reader, stop) in members {
            stop.send_replace(true);
            reader.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_instance_are_told() {
    let Some((_, kafka)) = live(1, "cooperative-sticky").await else { return };
    let mut settings = kafka.settings();
    settings.instance = Some("one".into());
    let mut first = KafkaSource::connect(settings.clone()).unwrap();
    assigned(&mut first, 1).await;
    let mut second = KafkaSource::connect(settings).unwrap();
    assigned(&mut second, 1).await;
    // the brokers let the last one in; the other must end, or both would believe to own the partition
    let error = loop {
        match next(&mut first).await {
            SourceEvent::Failed { error, .. } if error.kind() == Kind::Config => break error,
            SourceEvent::Failed { .. } | SourceEvent::Revoked(_) => {}
            event => panic!("{event:?}"),
        }
    };
    assert!(error.to_string().contains("`instance`"), "{error}");
    let before = Instant::now();
    first.control().close().await;
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_protocol_of_kip_848_works() {
    let Some((_, kafka)) = live(2, "cooperative-sticky").await else { return };
    kafka.produce(0, 0..100);
    kafka.produce(1, 0..100);
    let mut settings = kafka.settings();
    // the brokers decide what these did
    for name in ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"] {
        settings.properties.remove(name);
    }
    settings.properties.insert("group.protocol".into(), "consumer".into());
    let mut source = KafkaSource::connect(settings).unwrap();
    assigned(&mut source, 2).await;
    let records = read_from(&kafka, &mut source, &[(0, 0), (1, 50)]).await;
    assert_eq!((records[&0].len(), records[&1].len()), (100, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_comes_back_moves_no_partition() {
    let Some((_, kafka)) = live(2, "cooperative-sticky").await else { return };
    let connect = |name: &str| {
        let mut settings = kafka.settings();
        settings.instance = Some(name.into());
        KafkaSource::connect(settings).unwrap()
    };
    let mut one = connect("one");
    assigned(&mut one, 2).await;
    let mut two = connect("two");
    let first = assigned(&mut two, 1).await;
    loop {
        if let SourceEvent::Revoked(given) = next(&mut one).await {
            assert_eq!(given, [first[0].partition.clone()], "one partition moves to the new member");
            break;
        }
    }
    // within the session: the group does not notice
    two.control().close().await;
    drop(two);
    let mut two = connect("two");
    assert_eq!(assigned(&mut two, 1).await, first);
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), one.next()).await {
        let quiet = match &event {
            Some(SourceEvent::Failed { error, .. }) => error.is_retry(),
            Some(SourceEvent::Assigned(_) | SourceEvent::Revoked(_)) | None => false,
            Some(_) => true,
        };
        assert!(quiet, "the other member is not disturbed: {event:?}");
    }
}
