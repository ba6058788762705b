//! What each outage does to a process that seals and judges: its memory, what its readiness says, whether it goes on
//! sealing, and how it comes out of it. One process, a real Kafka, a real S3 endpoint behind a gate, 64 partitions of
//! which 60 are idle, and records that never stop coming.
//!
//! The short form has the outages of the store, a few seconds each. `make outages` (`AUTHSEAL_TEST_OUTAGES=long`) has
//! all of them, a minute each, and prints the table of docs/reliability.md.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod chaos;
mod live;
mod outages;

use chaos::{Gate, RULE};
use live::{Live, Record, Site, read_topic, unique};
use outages::{Seen, Topic, Watch, member, wait_until};
use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const PARTITIONS: i32 = 64;
/// Partitions that records come to.
const BUSY: i64 = 4;
/// Records a second.
const RATE: i64 = 3000;
/// `kafka.queue_mib`, `seal.memory_mib`, `rules.state_mib`: small, so that a few seconds fill them.
const QUEUE_MIB: u64 = 4;
const MEMORY_MIB: u64 = 4;
const STATE_MIB: u64 = 16;
/// What docs/operations.md says that a process needs beside these.
const REST_MIB: u64 = 150;
/// Of so many records the first eight are failures of one user, and the last is no event.
const ROUND: i64 = 500;

/// The nth record. All event times lie in one bucket of the rule: each attacked user is one finding.
fn record(n: i64, bucket: i64) -> Record {
    let attacked = n % ROUND < 8;
    let user = if attacked { format!("victim{}", n / ROUND) } else { format!("user{}", n % 9_973) };
    let value = if n % ROUND == ROUND - 1 {
        format!("record {n} is no event")
    } else {
        let time = jiff::Timestamp::from_microsecond(bucket * 1000 + n * 300).unwrap();
        json!({"event_id": n.to_string(), "time": time.to_string(), "activity": "LOGON", "user": user,
            "outcome": if attacked { "FAILURE" } else { "SUCCESS" }, "src_ip": "10.0.0.1"})
        .to_string()
    };
    let partition = Some((n / ROUND % BUSY) as i32);
    Record { key: Some(user.into()), value: Some(value.into()), partition, ..Record::default() }
}

/// Produces until it is told to end, whole rounds, and holds on while it is told to.
struct Producer {
    end: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    count: Arc<AtomicI64>,
    thread: JoinHandle<()>,
}

impl Producer {
    fn start(kafka: &str, topic: &str) -> Self {
        let (kafka, topic) = (kafka.to_owned(), topic.to_owned());
        let (end, pause, count): (Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicI64>) = Default::default();
        // ten minutes of event time that are over or have begun, and in which the whole run fits
        let bucket = jiff::Timestamp::now().as_millisecond() / 600_000 * 600_000 - 600_000;
        let (told, held, counted) = (end.clone(), pause.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
                .set("bootstrap.servers", &kafka)
                .set("enable.idempotence", "true")
                .create()
                .unwrap();
            let (mut n, mut began) = (0, Instant::now());
            while !told.load(Ordering::SeqCst) {
                if held.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                    began = Instant::now() - Duration::from_micros((n * 1_000_000 / RATE) as u64);
                    continue;
                }
                for record in (n..n + ROUND).map(|n| record(n, bucket)) {
                    let mut message = BaseRecord::<[u8], [u8]>::to(&topic);
                    (message.key, message.payload) = (record.key.as_deref(), record.value.as_deref());
                    message.partition = record.partition;
                    producer.send(message).unwrap();
                }
                // all are acknowledged, or the test ends: what is counted is there
                producer.flush(Duration::from_secs(60)).unwrap();
                n += ROUND;
                counted.store(n, Ordering::SeqCst);
                std::thread::sleep(
                    Duration::from_micros((n * 1_000_000 / RATE) as u64).saturating_sub(began.elapsed()),
                );
            }
        });
        Self { end, pause, count, thread }
    }

    /// How many it has produced in all.
    fn finish(self) -> i64 {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.count.load(Ordering::SeqCst)
    }
}

/// A site whose process reaches the store through the gate and has little memory.
async fn site(live: &Live, topic: &str, store: &str) -> Site {
    let site = Site::new(live, topic, PARTITIONS, "json", "").await;
    let rules = site.path("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("outage.rhai"), RULE).unwrap();
    let file = site.path("authseal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let changes = [
        (format!("dir = \"{}\"", shipped.display()), format!("dir = \"{}\"\nstate_mib = {STATE_MIB}", rules.display())),
        (live.s3.clone(), store.to_owned()),
        ("[kafka]\n".into(), format!("[kafka]\nqueue_mib = {QUEUE_MIB}\n")),
        ("max_records = 10000\n".into(), format!("max_records = 10000\nmax_mib = 2\nmemory_mib = {MEMORY_MIB}\n")),
    ];
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    std::fs::write(&file, text).unwrap();
    site
}

/// What is done, and what must come of it.
struct Outage<'a> {
    name: &'static str,
    /// The part that readiness must name; none where the process stays ready.
    part: Option<&'static str>,
    /// Whether sealing goes on.
    seals: bool,
    seconds: u64,
    begin: Box<dyn Fn() + 'a>,
    end: Box<dyn Fn() + 'a>,
}

/// A line of the table.
fn suffer(outage: &Outage<'_>, live: &Live, site: &Site, watch: &Watch) -> String {
    let before = member(&live.kafka, &site.group);
    watch.take();
    let sealed = watch.latest().sealed;
    (outage.begin)();
    std::thread::sleep(Duration::from_secs(outage.seconds));
    if outage.seals {
        // however slow: it goes on
        wait_until(outage.name, Duration::from_secs(60), || watch.latest().sealed > sealed);
    }
    let during: Vec<Seen> = watch.take();
    (outage.end)();
    let begun = Instant::now();
    // all parts work again, and what had gathered is sealed and acknowledged
    wait_until(outage.name, Duration::from_secs(120), || {
        let now = watch.latest();
        now.faults.is_empty() && now.lag < RATE * 4 && now.in_flight < 100
    });
    let (drained, after) = (begun.elapsed(), watch.take());
    let all = during.iter().chain(&after);
    let most = |of: fn(&Seen) -> u64| all.clone().map(of).max().unwrap();
    let (rss, buffer) = (most(|seen| seen.rss), most(|seen| seen.buffer));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    // what is read in one go may come on top, for each partition that is read
    let bound = (MEMORY_MIB + 2) << 20;
    assert!(buffer <= bound, "{}: {} MiB buffered", outage.name, mib(buffer));
    assert!(rss <= (QUEUE_MIB + MEMORY_MIB + STATE_MIB + REST_MIB) << 20, "{}: {} MiB", outage.name, mib(rss));
    let faults: BTreeSet<&str> = during.iter().flat_map(|seen| seen.faults.iter().map(String::as_str)).collect();
    let expected: BTreeSet<&str> = outage.part.into_iter().collect();
    assert_eq!(faults, expected, "{}: readiness names the part at fault, and no other", outage.name);
    let last = during.last().unwrap();
    let gone_on = last.sealed - sealed;
    if outage.seals {
        assert!(gone_on > 0, "{}: nothing was sealed", outage.name);
    }
    assert!(during.iter().all(|seen| seen.alive), "{}: the loop turns", outage.name);
    assert_eq!(member(&live.kafka, &site.group), before, "{}: it is still the same member of its group", outage.name);
    format!(
        "| {} | {} s | {:.0} MiB | {:.1} MiB | {} | {gone_on} | {} | {:.0} s |",
        outage.name,
        outage.seconds,
        mib(rss),
        mib(buffer),
        outage.part.unwrap_or("ready"),
        during.iter().map(|seen| seen.in_flight).max().unwrap(),
        drained.as_secs_f64(),
    )
}

/// What can be wrong with the topics that authseal writes to. `calm` deletes one when all that was acknowledged is
/// seen.
fn outages_of_topics<'a>(
    alerts: &'a Topic<'_>,
    letters: &'a Topic<'_>,
    calm: &'a dyn Fn(&Topic<'_>),
) -> [Outage<'a>; 3] {
    [
        Outage {
            name: "the alerts topic takes 300 bytes",
            part: Some("publish:alerts"),
            seals: true,
            seconds: 60,
            begin: Box::new(move || alerts.take_at_most(300)),
            end: Box::new(move || alerts.take_at_most(1_048_588)),
        },
        Outage {
            name: "the alerts topic is deleted",
            part: Some("publish:alerts"),
            seals: true,
            seconds: 60,
            begin: Box::new(move || calm(alerts)),
            end: Box::new(move || alerts.create()),
        },
        Outage {
            name: "the dead-letter topic is deleted",
            part: Some("publish:dead_letters"),
            seals: true,
            seconds: 60,
            begin: Box::new(move || calm(letters)),
            end: Box::new(move || letters.create()),
        },
    ]
}

/// Each attacked user is one finding, under one id, and each record that is no event one dead letter.
fn account(live: &Live, site: &Site, (alerts, letters): (&Topic<'_>, &Topic<'_>), records: i64) {
    let (rounds, mut users): (i64, BTreeMap<String, BTreeSet<String>>) = (records / ROUND, BTreeMap::new());
    for message in alerts.all(read_topic(&live.kafka, &site.alerts)) {
        let alert: Value = serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
        let uid = alert["finding_info"]["uid"].as_str().unwrap().to_owned();
        let text = alert.to_string();
        let at = text.find("victim").unwrap_or_else(|| panic!("whom it is about: {alert:#}"));
        let user = text[at..].chars().take_while(char::is_ascii_alphanumeric).collect();
        users.entry(user).or_default().insert(uid);
    }
    assert_eq!(users.len() as i64, rounds, "each attacked user is a finding");
    assert!(users.values().all(|uids| uids.len() == 1), "each under one id: {users:?}");
    let position = |m: live::Read| String::from_utf8(m.headers["authseal-position"].clone()).unwrap();
    let told: BTreeSet<String> = letters.all(read_topic(&live.kafka, &site.dead_letters)).map(position).collect();
    assert_eq!(told.len() as i64, rounds, "each rejection is a dead letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_outage_costs_no_more_than_its_bound_and_nothing_afterwards() {
    let Some(live) = Live::get() else { return };
    let long = std::env::var("AUTHSEAL_TEST_OUTAGES").is_ok_and(|form| form == "long");
    let gate = Gate::before(&live.s3);
    let topic = unique("outages");
    let site = site(&live, &topic, &gate.endpoint()).await;
    let process = site.run("one");
    let watch = Watch::start(process.0.id(), site.path("one.log"));
    let producer = Producer::start(&live.kafka, &topic);
    wait_until("the start", Duration::from_secs(60), || watch.latest().sealed > RATE);

    let (alerts, letters) = (Topic::new(&live, &site.alerts), Topic::new(&live, &site.dead_letters));
    // what was acknowledged must be seen before the topic goes with it
    let calm = |topic: &Topic| {
        producer.pause.store(true, Ordering::SeqCst);
        wait_until("nothing under way", Duration::from_secs(60), || watch.latest().in_flight == 0);
        std::thread::sleep(Duration::from_secs(2));
        topic.collect();
        topic.delete();
        producer.pause.store(false, Ordering::SeqCst);
    };
    let seconds = |short: u64| if long { 60 } else { short };
    let mut all = vec![
        Outage {
            name: "the store is cut off",
            part: Some("store"),
            seals: false,
            // longer than the session of the group
            seconds: seconds(7),
            begin: Box::new(|| gate.shut()),
            end: Box::new(|| gate.open()),
        },
        Outage {
            name: "each answer of the store takes 1 s",
            part: None,
            seals: true,
            seconds: seconds(3),
            begin: Box::new(|| gate.slow(Duration::from_secs(1))),
            end: Box::new(|| gate.open()),
        },
    ];
    if long {
        all.extend(outages_of_topics(&alerts, &letters, &calm));
    }
    println!("| outage | for | RSS | buffers | readiness | sealed meanwhile | unacknowledged | drained in |");
    for outage in &all {
        let line = tokio::task::block_in_place(|| suffer(outage, &live, &site, &watch));
        println!("{line}");
    }
    drop(all);
    let records = tokio::task::block_in_place(|| producer.finish());
    wait_until("everything", Duration::from_secs(120), || {
        let now = watch.latest();
        now.lag == 0 && now.in_flight == 0 && now.done >= records
    });
    drop(watch);
    assert_eq!(process.terminate(), Some(0), "{}", site.log("one"));
    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    let totals = &report["totals"];
    let rejections = records / ROUND;
    assert_eq!((&totals["events"], &totals["rejections"]), (&json!(records - rejections), &json!(rejections)));

    account(&live, &site, (&alerts, &letters), records);
}
