//! What offsets cannot show, against a scripted Kafka: numbers that never came and sources that fall silent, told once
//! whatever happens to the process that watches.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code, reason = "each test uses its part")]
mod sim;

use authseal::{
    detect::{Expected, Watch},
    ingest::Live,
    publish::Stream,
    store::memory::{Call, Failure, Fault},
};
use serde_json::Value;
use sim::{PARTITIONS, TOPIC, World};
use std::time::Duration;

/// Two sources that should be heard, and a topic whose events are numbered.
fn watching() -> World {
    let expected = |name: &str| Expected {
        name: name.into(),
        tenant: None,
        max_silence: Duration::from_secs(1800),
        owner: String::new(),
        runbook: String::new(),
    };
    let sources = Watch {
        sequences: [(TOPIC.to_owned(), vec!["source".to_owned()])].into_iter().collect(),
        expected: vec![expected("gateway")],
        tell_unknown: false,
        horizon: Duration::from_secs(7200),
    };
    World { live: Live { sources, ..Live::default() }, ..World::new(1) }
}

/// Appends an event of the gateway that happens now.
fn produce(world: &World, partition: i32, number: i64) {
    let time = jiff::Timestamp::from_millisecond(world.now()).unwrap();
    let event = format!(
        r#"{{"event_id":"{number}","time":"{time}","activity":"LOGON","outcome":"SUCCESS","user":"u",
           "source":"gateway","source_seq":{number}}}"#
    );
    world.append(partition, Some(event));
}

/// Titles of what was published, in order, and the ids of findings.
fn told(world: &World) -> Vec<(String, String)> {
    let alerts = world.publisher.sent_to(Stream::Alerts);
    let told = |alert: &[u8]| {
        let alert: Value = serde_json::from_slice(alert).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&alert["finding_info"]["title"]), text(&alert["finding_info"]["uid"]))
    };
    alerts.iter().map(|message| told(message.value.as_deref().unwrap())).collect()
}

fn titles(world: &World) -> Vec<String> {
    told(world).into_iter().map(|(title, _)| title).collect()
}

const HOLE: &str = "Events of gateway are missing: number 14 is not in auth";
const SILENT: &str = "Source gateway has been silent for more than 30 min";

#[tokio::test(start_paused = true)]
async fn a_hole_across_partitions_is_told_once_although_the_process_is_killed_before_it_is_certain() {
    let world = watching();
    let first = world.start("first");
    world.cluster.assign(&first.source, &world.all());
    for number in (0..30).filter(|number| *number != 14) {
        produce(&world, number as i32 % PARTITIONS, number);
        world.pass(3).await;
    }
    world.pass(60).await;
    let committed = |n| world.cluster.committed(&world.partition(n)).map_or(0, |commit| commit.offset);
    assert!((0..PARTITIONS).any(|n| committed(n) < world.end(n)), "the commit waits for what is behind the gap");
    assert_eq!(titles(&world), [""; 0]);
    first.task.abort();
    let second = world.start("second");
    world.cluster.assign(&second.source, &world.all());
    world.pass(700).await;
    assert_eq!(titles(&world), [HOLE]);
    assert!((0..PARTITIONS).all(|n| committed(n) == world.end(n)));
    second.task.abort();
    let third = world.start("third");
    world.cluster.assign(&third.source, &world.all());
    world.pass(700).await;
    assert_eq!(titles(&world), [HOLE], "it is done with");
    third.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silence_is_told_under_one_id_across_restarts_and_ends() {
    let world = watching();
    let first = world.start("first");
    world.cluster.assign(&first.source, &world.all());
    produce(&world, 0, 1);
    world.pass(1700).await;
    assert_eq!(titles(&world), [""; 0]);
    first.task.abort();
    // nobody listens for a while: the silence goes on all the same
    tokio::time::sleep(Duration::from_secs(600)).await;
    let second = world.start("second");
    world.cluster.assign(&second.source, &world.all());
    world.pass(60).await;
    assert_eq!(titles(&world), [SILENT]);
    world.pass(4 * 3600).await;
    assert_eq!(titles(&world), [SILENT], "once");
    second.task.abort();
    let third = world.start("third");
    world.cluster.assign(&third.source, &world.all());
    world.pass(60).await;
    produce(&world, 2, 2);
    world.pass(60).await;
    let told = told(&world);
    assert_eq!(told.last().unwrap().0, "Source gateway speaks again, after 4 h");
    assert!(told.iter().all(|(_, uid)| *uid == told[0].1), "{told:?}");
    third.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_no_silence() {
    let mut world = watching();
    world.seal.memory = 16 << 10;
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    produce(&world, 0, 0);
    world.pass(5).await;
    world.store.set_faults(|_: &Call<'_>| Fault::lost(Failure::Unavailable));
    for number in 1..3000 {
        produce(&world, number as i32 % PARTITIONS, number);
        world.pass(2).await;
    }
    let buffered: usize = one.status.lanes().values().map(|lane| lane.buffered).sum();
    assert!(buffered < 1000, "reading pauses: {buffered}");
    assert_eq!(titles(&world), [""; 0], "what is not read is not silent");
    world.store.clear_faults();
    world.pass(120).await;
    assert_eq!(titles(&world), [""; 0]);
    assert_eq!(world.sealed_to(0).await, world.end(0));
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn who_reads_a_part_tells_nothing_and_says_so() {
    let mut world = watching();
    let one = world.start("one");
    world.cluster.assign(&one.source, &[world.partition(0)]);
    for number in 0..30 {
        produce(&world, number as i32 % PARTITIONS, number);
        world.pass(1).await;
    }
    world.pass(4000).await;
    assert_eq!(titles(&world), [""; 0]);
    let warning = one.status.warnings()["sources:coverage"].clone();
    assert!(warning.contains("1 of its 3 partitions") && warning.contains("silent sources"), "{warning}");
    one.task.abort();
    // partitioned by what tells the numberings apart: each is read by whoever reads its partition
    world.live.partitioned_by.insert(TOPIC.into(), Some(vec!["source".into()]));
    let two = world.start("two");
    world.cluster.assign(&two.source, &[world.partition(0)]);
    world.pass(30).await;
    let warning = two.status.warnings()["sources:coverage"].clone();
    assert!(!warning.contains("holes"), "{warning}");
    two.task.abort();
}
