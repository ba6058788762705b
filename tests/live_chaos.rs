//! Everything at once: three processes share a topic of a real Kafka and write to a real S3 endpoint, while one of them
//! is killed every few seconds, the broker is killed and started again, and the store is cut off or stands still. Then
//! every record must be sealed exactly once, and the findings must be those of a process that nothing happened to.
//!
//! `AUTHSEAL_TEST_CHAOS_EVENTS` records (100,000; `make chaos`: 2,000,000), in an order of faults that
//! `AUTHSEAL_TEST_CHAOS_SEED` decides. What happens at which byte is up to the machine.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod chaos;
mod live;

use chaos::{Broker, Gate, RULE};
use live::{Live, Process, Published, Record, Site, publish, read_topic, unique};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const PARTITIONS: i32 = 6;
const NAMES: [&str; 3] = ["one", "two", "three"];
/// Records a second that are published, so that the faults meet work.
const RATE: u64 = 20_000;
/// Milliseconds of event time between two records: windows of the rule end, and its findings are many.
const STEP_MS: i64 = 5;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The nth record: mostly successes; of each 500, the first eight are failures of one user. One in a thousand is none.
fn record(n: u64, begun: i64) -> Record {
    let attacked = n % 500 < 8;
    let user = if attacked { format!("victim{}", n / 500 % 701) } else { format!("user{}", n % 9_973) };
    let at = begun + n as i64 * STEP_MS;
    let value = if n % 1000 == 999 {
        format!("record {n} is no event")
    } else {
        let time = jiff::Timestamp::from_millisecond(at).unwrap();
        json!({"event_id": n.to_string(), "time": time.to_string(), "activity": "LOGON", "user": user,
            "outcome": if attacked { "FAILURE" } else { "SUCCESS" }, "src_ip": "10.0.0.1"})
        .to_string()
    };
    Record { key: Some(user.into()), value: Some(value.into()), timestamp: Some(at), ..Record::default() }
}

/// What was done to the processes.
#[derive(Debug, Default)]
struct Done {
    kills: usize,
    stops: usize,
    broker: usize,
    cuts: usize,
    freezes: usize,
}

/// Faults until `over`, then everything is whole again and the processes are handed back.
fn disturb(
    site: &Site,
    broker: &mut Broker,
    gate: &Gate,
    random: &mut Random,
    over: &AtomicBool,
) -> (Vec<Process>, Done) {
    let mut running: Vec<Option<Process>> = NAMES.iter().map(|name| Some(site.run(name))).collect();
    let mut done = Done::default();
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        round += 1;
        std::thread::sleep(Duration::from_millis(1500 + random.below(2500)));
        match round % 12 {
            4 | 10 => {
                gate.shut();
                std::thread::sleep(Duration::from_millis(500 + random.below(3000)));
                gate.open();
                done.cuts += 1;
            }
            7 => {
                broker.kill();
                std::thread::sleep(Duration::from_millis(random.below(2000)));
                broker.restart();
                done.broker += 1;
            }
            9 => {
                gate.freeze();
                std::thread::sleep(Duration::from_millis(500 + random.below(4000)));
                gate.open();
                done.freezes += 1;
            }
            _ => {}
        }
        let which = random.below(NAMES.len() as u64) as usize;
        let process = running[which].take().unwrap();
        if round % 6 == 5 {
            // asked to end: everything was sealed, or not; both are allowed here
            let code = process.terminate();
            assert!(matches!(code, Some(0 | 1)), "{code:?}\n{}", site.log(NAMES[which]));
            done.stops += 1;
        } else {
            process.kill();
            done.kills += 1;
        }
        // sometimes the others have its work for a while
        std::thread::sleep(Duration::from_millis(random.below(3) * 700));
        running[which] = Some(site.run(NAMES[which]));
    }
    gate.open();
    (running.into_iter().flatten().collect(), done)
}

/// Waits until the group has committed the end of every partition: all is sealed and every finding acknowledged.
fn wait_until_done(kafka: &str, site: &Site, topic: &str, patience: Duration) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", &site.group).create().unwrap();
    let timeout = Duration::from_secs(20);
    let begun = Instant::now();
    loop {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition(topic, partition);
        }
        let left: Option<i64> = consumer.committed_offsets(list, timeout).ok().and_then(|committed| {
            let mut left = 0;
            for element in committed.elements() {
                let (_, end) = consumer.fetch_watermarks(topic, element.partition(), timeout).ok()?;
                left += end - element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(0);
            }
            Some(left)
        });
        if left == Some(0) {
            return;
        }
        let logs: String = NAMES.iter().map(|name| format!("--- {name}\n{}", tail(&site.log(name)))).collect();
        assert!(begun.elapsed() < patience, "{left:?} records are not done after {patience:?}\n{logs}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn tail(log: &str) -> String {
    log.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The findings on the alerts topic: rule, key and bucket, as their id says; and how many messages told them.
fn findings(kafka: &str, site: &Site) -> (BTreeSet<String>, usize) {
    let messages = read_topic(kafka, &site.alerts);
    let id = |m: &live::Read| -> String {
        let alert: Value = serde_json::from_slice(m.value.as_deref().unwrap()).unwrap();
        alert["finding_info"]["uid"].as_str().unwrap().to_owned()
    };
    (messages.iter().map(id).collect(), messages.len())
}

/// How many records are not sealed, sealed twice, or sealed with other bytes, by the decoder in another language.
fn account(live: &Live, site: &Site, published: &Published) -> (usize, usize, usize) {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/leaves.py");
    let output = std::process::Command::new(&live.python).arg(script).arg(site.path("copy")).output().unwrap();
    assert!(output.status.success(), "{}", live::show(&output));
    let (mut sealed, mut twice, mut other) = (BTreeMap::new(), 0, 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let place: (i32, i64) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
        assert_ne!(parts[2], "GAP", "{line}: every offset of this topic is a record");
        other +=
            usize::from(published.get(&place).and_then(Option::as_ref).map(|d| d.hex()).as_deref() != Some(parts[3]));
        twice += usize::from(sealed.insert(place, ()).is_some());
    }
    let lost = published.keys().filter(|place| !sealed.contains_key(place)).count();
    (lost, twice, other)
}

/// A site whose processes reach the store through the gate, with our rule and nothing else.
async fn site(live: &Live, topic: &str, store: &str) -> Site {
    let through = Live { kafka: live.kafka.clone(), s3: live.s3.clone(), python: live.python.clone() };
    let site = Site::new(&through, topic, PARTITIONS, "json", "").await;
    let rules = site.path("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("chaos.rhai"), RULE).unwrap();
    let file = site.path("authseal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let shipped = format!("dir = \"{}\"", std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").display());
    assert!(text.contains(&shipped) && text.contains(&live.s3));
    let ours = format!("dir = \"{}\"\nreplay_horizon = \"2m\"", rules.display());
    std::fs::write(&file, text.replace(&shipped, &ours).replace(&live.s3, store)).unwrap();
    site
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_and_the_findings_are_those_of_a_calm_run() {
    let Some(live) = Live::get() else { return };
    let (events, seed) = (setting("AUTHSEAL_TEST_CHAOS_EVENTS", 100_000), setting("AUTHSEAL_TEST_CHAOS_SEED", 1));
    let begun = Instant::now();
    let home = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(home.path());
    let live = Live { kafka: broker.address(), ..live };
    let gate = Gate::before(&live.s3);
    let topic = unique("chaos");
    let disturbed = site(&live, &topic, &gate.endpoint()).await;

    // event times end now: none lies in the future
    let first = jiff::Timestamp::now().as_millisecond() - events as i64 * STEP_MS;
    let over = Arc::new(AtomicBool::new(false));
    let producer = std::thread::spawn({
        let (kafka, topic, over) = (live.kafka.clone(), topic.clone(), over.clone());
        move || {
            let mut published = Published::new();
            let began = Instant::now();
            for part in (0..events).step_by(RATE as usize / 2) {
                let due = Duration::from_millis(part * 1000 / RATE);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                let end = events.min(part + RATE / 2);
                published.extend(publish(&kafka, &topic, (part..end).map(|n| record(n, first))));
            }
            // and a while longer: the faults also meet what is left
            std::thread::sleep(Duration::from_secs(15));
            over.store(true, Ordering::SeqCst);
            published
        }
    });
    let (processes, done) = disturb(&disturbed, &mut broker, &gate, &mut Random(seed), &over);
    let published = producer.join().unwrap();
    assert_eq!(published.len() as u64, events);
    let (under_fire, drained) = (begun.elapsed(), Instant::now());
    wait_until_done(&live.kafka, &disturbed, &topic, Duration::from_secs(600));
    let drained = drained.elapsed();
    for (process, name) in processes.into_iter().zip(NAMES) {
        assert_eq!(process.terminate(), Some(0), "{}", disturbed.log(name));
    }
    let (code, report) = disturbed.verify(&disturbed.store(&live));
    assert_eq!(code, 0, "{report:#}");
    disturbed.download(&live, &disturbed.path("copy")).await;
    let (lost, twice, other) = account(&live, &disturbed, &published);
    let segments = report["totals"]["segments"].clone();
    let (found, messages) = findings(&live.kafka, &disturbed);

    // the same topic, and nothing happens
    let calm = calm_site(&live, &topic).await;
    let one = calm.run("one");
    wait_until_done(&live.kafka, &calm, &topic, Duration::from_secs(600));
    assert_eq!(one.terminate(), Some(0), "{}", calm.log("one"));
    let (expected, _) = findings(&live.kafka, &calm);
    println!(
        "seed {seed}: {events} records; kills {}, stops {}, broker restarts {}, store cut off {} and frozen {}; \
         {} s under fire, drained in {} s; segments {segments}; lost {lost}, twice {twice}, other bytes {other}; \
         findings {} of {}, told {messages} times",
        done.kills,
        done.stops,
        done.broker,
        done.cuts,
        done.freezes,
        under_fire.as_secs(),
        drained.as_secs(),
        found.len(),
        expected.len(),
    );
    assert_eq!((lost, twice, other), (0, 0, 0));
    let (missing, more): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, and more {more:?}");
    assert!(expected.len() as u64 >= events / 1000, "the rule fires often enough to tell: {}", expected.len());
}

/// The site of the calm run: another group, bucket and alerts topic for the same source topic.
async fn calm_site(live: &Live, topic: &str) -> Site {
    let own = unique("calm");
    let site = site(live, &own, &live.s3).await;
    let file = site.path("authseal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (from, to) = (format!("[[topics]]\nname = \"{own}\""), format!("[[topics]]\nname = \"{topic}\""));
    assert!(text.contains(&from));
    std::fs::write(&file, text.replace(&from, &to)).unwrap();
    site
}
