//! From an event to its alert: how long a finding takes that needs no other event, at several rates.
//!
//! Probes are mixed into ordinary traffic. Each is an event of its own user that one rule selects and tells at once.
//! The clock begins when the probe is handed to the producer, and ends when the broker appended the alert (its record's
//! time, in milliseconds) and when a consumer of the alerts has it. Beside it a plain consumer reads the same topic:
//! when it has the probe is what Kafka and the machine need without authseal. So the producer's linger (5 ms, its
//! default), the broker's work, the reader's fetch and both sides of authseal are in it.

use crate::{
    Run,
    instance::{Instance, Rules, Setup},
    topic::{self, Events, Feeder},
    watch::{self, Running},
};
use authseal::{
    event::{Activity, AuthEvent, Micros},
    segment,
};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
    producer::{BaseRecord, Producer},
};
use serde::Serialize;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Events a second.
pub const RATES: [u64; 4] = [1_000, 10_000, 50_000, 100_000];
/// Probes a second among them.
const PROBES: u64 = 100;
/// Events that are made before the clock begins and sent again and again, each under an id and a time of its own.
const POOL: usize = 100_000;
/// Milliseconds that the producer gathers for. librdkafka sends a request for each partition: with less, the broker
/// would be measured, at ten thousand requests a second.
const LINGER: &str = "5";
/// How long a probe is waited for when the sending has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long authseal may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// What a probe's user is called, before its number.
const NAME: &str = "bench-probe-";

/// How long it took at one rate. Times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Level {
    /// Events a second that were asked for, and that were sent.
    pub rate: u64,
    pub sent: f64,
    pub probes: usize,
    pub lost: usize,
    /// p50, p90, p99, p99.9 and the most: until the broker had the alert, and until a consumer had it.
    pub appended: [f64; 5],
    pub read: [f64; 5],
    /// Until a plain consumer of the same topic had the probe itself: what is there without authseal.
    pub alone: [f64; 5],
    /// CPU of authseal, µs an event.
    pub cpu_us: f64,
}

/// The rates, with the rule of the probes alone or among the shipped ones.
#[derive(Debug, Clone, Serialize)]
pub struct Course {
    pub rules: &'static str,
    pub levels: Vec<Level>,
}

/// When a probe was sent, seen by a plain consumer, appended as an alert, and read: microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    sent: i64,
    seen: i64,
    appended: i64,
    read: i64,
}

type Probes = Arc<Mutex<Vec<Times>>>;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64)
}

fn lock(probes: &Probes) -> std::sync::MutexGuard<'_, Vec<Times>> {
    probes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both courses.
pub async fn measure(run: &Run) -> Result<Vec<Course>, String> {
    let mut courses = Vec::new();
    for (words, rules) in [("the probes' rule", Rules::Probe), ("all shipped rules", Rules::ShippedAndProbe)] {
        println!("latency, {words}");
        courses.push(Course { rules: words, levels: course(run, rules).await? });
    }
    Ok(courses)
}

async fn course(run: &Run, rules: Rules) -> Result<Vec<Level>, String> {
    let name = format!("latency-{}", now());
    let topic = format!("bench.{name}");
    topic::create(&run.brokers, &topic, topic::PARTITIONS, &[]).await;
    let setup = Setup { topic: &topic, name: &name, rules, s3: false, other: false, tables: ["state_mib = 1024", ""] };
    let instance = Instance::new(run, &setup).await?;
    let probes = Probes::default();
    let ended = Arc::new(AtomicBool::new(false));
    let watch = |topic: &str, take: Take| {
        let (brokers, topic, probes, ended) = (run.brokers.clone(), topic.to_owned(), probes.clone(), ended.clone());
        std::thread::spawn(move || read(&brokers, &topic, &probes, &ended, take))
    };
    let readers = [watch(&instance.alerts, alerted), watch(&topic, seen)];
    let running = watch::start(instance.command()?)?;
    let feeder = Sender::new(&run.brokers, &topic, probes.clone());
    let levels = levels(run, feeder, &running, &probes);
    drop(running);
    ended.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| drop(reader.join()));
    topic::remove(&run.brokers, &topic).await;
    levels.map_err(|why| format!("{why}; see {}", instance.log().display())).inspect(|levels| {
        drop(std::fs::remove_dir_all(instance.home.join("store")));
        levels.iter().for_each(|level| println!("{}", level.line()));
    })
}

fn levels(run: &Run, mut feeder: Sender, running: &Running, probes: &Probes) -> Result<Vec<Level>, String> {
    // it is ready when the first probe has come back, and warm a little later
    let began = Instant::now();
    while !lock(probes).iter().any(|probe| probe.read > 0) {
        if began.elapsed() > READY {
            return Err("no alert came".into());
        }
        feeder.feed(1_000, Duration::from_secs(1));
    }
    feeder.feed(10_000, Duration::from_secs(2));
    let mut levels = Vec::new();
    for rate in RATES {
        let first = lock(probes).len();
        let (begun, before) = (Instant::now(), watch::tree(running.id()).0);
        let sent = feeder.feed(rate, Duration::from_secs(run.seconds));
        let took = begun.elapsed().as_secs_f64();
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && lock(probes)[first..].iter().any(|probe| probe.read == 0) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let cpu = watch::tree(running.id()).0 - before;
        let found = lock(probes)[first..].to_vec();
        levels.push(Level {
            rate,
            sent: sent as f64 / took,
            probes: found.len(),
            lost: found.iter().filter(|probe| probe.read == 0).count(),
            // the broker's clock has milliseconds: what was appended in the millisecond of its sending took none
            appended: percentiles(&found, |probe| (probe.appended - probe.sent).max(0)),
            read: percentiles(&found, |probe| probe.read - probe.sent),
            alone: percentiles(&found, |probe| probe.seen - probe.sent),
            cpu_us: cpu * 1e6 / sent.max(1) as f64,
        });
    }
    Ok(levels)
}

/// A probe that never came back took as long as it was waited for.
fn percentiles(probes: &[Times], of: impl Fn(&Times) -> i64) -> [f64; 5] {
    let waited = PATIENCE.as_micros() as i64;
    let mut all: Vec<i64> = probes.iter().map(|probe| if probe.read == 0 { waited } else { of(probe) }).collect();
    all.sort_unstable();
    [0.5, 0.9, 0.99, 0.999, 1.0].map(|part: f64| {
        let at = ((all.len() as f64 * part).ceil() as usize).saturating_sub(1);
        all.get(at).map_or(f64::NAN, |micros| *micros as f64 / 1000.0)
    })
}

impl Level {
    pub fn line(&self) -> String {
        let [p50, p90, p99, p999, most] = self.appended;
        format!(
            "{:7} events/s ({:7.0} sent): p50 {p50:.1}, p90 {p90:.1}, \
             p99 {p99:.1}, p99.9 {p999:.1}, most {most:.1} ms; \
             read p99 {:.1} ms; Kafka alone p50 {:.1}, p99 {:.1} ms; {} probes, {} lost; {:.2} µs of CPU an event",
            self.rate, self.sent, self.read[2], self.alone[0], self.alone[2], self.probes, self.lost, self.cpu_us
        )
    }
}

/// Sends traffic at a rate.
struct Sender {
    producer: Feeder,
    topic: String,
    pool: Vec<AuthEvent>,
    number: u64,
    probes: Probes,
}

impl Sender {
    fn new(brokers: &str, topic: &str, probes: Probes) -> Self {
        let mut config = topic::config(brokers);
        config.set("linger.ms", LINGER).set("compression.type", "lz4").set("queue.buffering.max.kbytes", "262144");
        let producer = config.create().expect("a producer");
        Self {
            producer,
            topic: topic.into(),
            pool: Events::new().take(POOL).map(|event| *event).collect(),
            number: 0,
            probes,
        }
    }

    /// Sends for so long at so many events a second; says how many were sent.
    fn feed(&mut self, rate: u64, time: Duration) -> u64 {
        let began = Instant::now();
        let (mut sent, every) = (0, (rate / PROBES).max(1));
        while began.elapsed() < time {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            while sent < due {
                sent += 1;
                self.one(sent % every == 0);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.producer.flush(Duration::from_secs(60)).expect("all are written");
        sent
    }

    fn one(&mut self, is_probe: bool) {
        self.number += 1;
        let number = self.number;
        let event = &mut self.pool[number as usize % POOL];
        let sent = now();
        event.event_id = format!("7d3a1c52-0000-4000-9000-{number:012}").into();
        event.time = Micros(sent);
        let mut value = Vec::with_capacity(300);
        if is_probe {
            let mut probes = lock(&self.probes);
            let user = format!("{NAME}{}.", probes.len());
            let probe = AuthEvent {
                user: Some(user.as_str().into()),
                activity: Activity::Other,
                action: Some("bench.probe".into()),
                ..event.clone()
            };
            segment::encode_event(&mut value, &probe);
            probes.push(Times { sent: now(), ..Times::default() });
        } else {
            segment::encode_event(&mut value, event);
        }
        let key = match is_probe {
            true => format!("{NAME}{}.", lock(&self.probes).len() - 1).into_bytes(),
            false => number.to_le_bytes().to_vec(),
        };
        topic::send(&self.producer, BaseRecord::to(&self.topic).key(&key).payload(&value));
    }
}

/// What is made of a message.
type Take = fn(&BorrowedMessage<'_>, &Probes);

/// Takes the messages of a topic as they come.
fn read(brokers: &str, topic: &str, probes: &Probes, ended: &AtomicBool, take: Take) {
    let mut config = topic::config(brokers);
    config.set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for (partition, ..) in topic::ends(brokers, topic) {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    while !ended.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            take(&message, probes);
        }
    }
}

/// An alert.
fn alerted(message: &BorrowedMessage<'_>, probes: &Probes) {
    let read = now();
    let appended = message.timestamp().to_millis().unwrap_or(0) * 1000;
    let Some(number) = message.payload().and_then(number) else { return };
    if let Some(probe) = lock(probes).get_mut(number).filter(|probe| probe.read == 0) {
        (probe.appended, probe.read) = (appended, read);
    }
}

/// An event: the keys of probes say that they are.
fn seen(message: &BorrowedMessage<'_>, probes: &Probes) {
    let Some(number) = message.key().filter(|key| key.len() != 8).and_then(number) else { return };
    if let Some(probe) = lock(probes).get_mut(number) {
        probe.seen = now();
    }
}

/// The number of the probe that a text names.
fn number(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(NAME)?;
    rest.split('.').next()?.parse().ok()
}
