//! The topics that everybody reads: filled once, the same events at each run.

use crate::traffic::{Kind, Traffic};
use authseal::{
    event::{AuthEvent, Field, Value},
    record::Outcome,
    segment,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    message::ToBytes,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::{
    fmt::Write as _,
    fs,
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

/// A producer with a thread of its own.
pub type Feeder = ThreadedProducer<DefaultProducerContext>;

/// Partitions of the topics that everybody reads.
pub const PARTITIONS: i32 = 12;
/// People whose events they are.
const PEOPLE: u64 = 200_000;
/// Of so many events one is an attacker's, who tries a list of accounts from one address.
const ATTACKED: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Avro,
    Json,
}

impl Format {
    pub fn topic(self, events: u64) -> String {
        format!("bench.{}.{events}", if self == Self::Avro { "avro" } else { "json" })
    }
}

/// The events of every topic, the same at each run: people at work, and one attacker.
pub struct Events {
    people: Traffic,
    attacker: Traffic,
}

impl Events {
    pub fn new() -> Self {
        Self { people: Traffic::among(Kind::Ordinary, PEOPLE), attacker: Traffic::among(Kind::Stuffing, PEOPLE) }
    }
}

impl Iterator for Events {
    type Item = Box<AuthEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(Outcome::Event(mut event)) = self.people.batch(1).pop() else { return None };
        if self.people.number.is_multiple_of(ATTACKED) {
            let Some(Outcome::Event(attack)) = self.attacker.batch(1).pop() else { return None };
            event = Box::new(AuthEvent { event_id: event.event_id, time: event.time, ..*attack });
        }
        // as long as events are elsewhere: a browser's name of a hundred letters would be a third of it
        event.user_agent = event.user_agent.as_deref().and_then(|name| name.rsplit(' ').next()).map(Into::into);
        (event.lat, event.long, event.root_session) = (None, None, None);
        Some(event)
    }
}

pub fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// First and last offset of every partition.
pub fn ends(brokers: &str, topic: &str) -> Vec<(i32, i64, i64)> {
    let consumer: BaseConsumer = config(brokers).create().expect("a consumer");
    let partitions = || {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let found = metadata.topics().first()?.partitions().len();
        (found > 0).then_some(found as i32)
    };
    let mut tries = 0;
    let partitions = loop {
        match partitions() {
            Some(partitions) => break partitions,
            None => assert!(tries < 100, "cannot see the partitions of {topic}"),
        }
        std::thread::sleep(Duration::from_millis(200));
        tries += 1;
    };
    let of = |partition| {
        let mut tries = 0;
        loop {
            match consumer.fetch_watermarks(topic, partition, PATIENCE) {
                Ok((low, high)) => return (partition, low, high),
                // a topic that was just created has no leader yet
                Err(why) if tries > 100 => panic!("cannot see the ends of {topic}: {why}"),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
            tries += 1;
        }
    };
    (0..partitions).map(of).collect()
}

/// How many records of a topic a group has committed.
pub struct Progress {
    consumer: BaseConsumer,
    ends: Vec<(i32, i64, i64)>,
    topic: String,
}

impl Progress {
    pub fn new(brokers: &str, topic: &str, group: &str) -> Self {
        let consumer = config(brokers).set("group.id", group).create().expect("a consumer");
        Self { consumer, ends: ends(brokers, topic), topic: topic.into() }
    }

    pub fn goal(&self) -> u64 {
        self.ends.iter().map(|(_, low, high)| (high - low) as u64).sum()
    }

    /// Records committed; zero while the group does not answer.
    pub fn committed(&self) -> u64 {
        let mut list = TopicPartitionList::new();
        for (partition, ..) in &self.ends {
            list.add_partition(&self.topic, *partition);
        }
        let Ok(found) = self.consumer.committed_offsets(list, PATIENCE) else { return 0 };
        let of = |(partition, low, high): &(i32, i64, i64)| match found
            .find_partition(&self.topic, *partition)
            .map(|element| element.offset())
        {
            Some(Offset::Offset(offset)) => (offset.min(*high) - low).max(0) as u64,
            _ => 0,
        };
        self.ends.iter().map(of).sum()
    }
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    config(brokers).create().expect("an admin client")
}

/// Creates a topic unless it is there.
pub async fn create(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    // events are older than a week sooner or later: time must not delete them
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let made = admin(brokers).create_topics(&[topic], &AdminOptions::new()).await.expect("Kafka answers");
    for result in made {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, why)) => panic!("cannot create {name}: {why}"),
        }
    }
}

/// Removes a topic that nobody reads again; what cannot be removed only takes room.
pub async fn remove(brokers: &str, name: &str) {
    drop(admin(brokers).delete_topics(&[name], &AdminOptions::new()).await);
}

/// How much a topic holds.
pub fn held(brokers: &str, topic: &str) -> u64 {
    ends(brokers, topic).iter().map(|(_, low, high)| (high - low) as u64).sum()
}

/// Hands a record over; waits while the producer has no room.
pub fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(producer: &Feeder, mut record: BaseRecord<'_, K, V>) {
    while let Err((why, again)) = producer.send(record) {
        assert_eq!(why.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "Kafka takes what is sent");
        std::thread::sleep(Duration::from_millis(5));
        record = again;
    }
}

/// Fills a topic with so many events, unless it holds them.
pub async fn fill(brokers: &str, format: Format, events: u64, topic: &str, partitions: i32) {
    create(brokers, topic, partitions, &[]).await;
    let there = held(brokers, topic);
    if there == events {
        return;
    }
    assert_eq!(there, 0, "{topic} holds {there} records of {events}: a run was stopped; remove the broker's data");
    let producer: Feeder = config(brokers)
        .set("compression.type", "lz4")
        .set("batch.size", "131072")
        .set("linger.ms", "20")
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .expect("a producer");
    let mut bytes = 0;
    for event in Events::new().take(events as usize) {
        let value = match format {
            Format::Avro => {
                let mut value = Vec::new();
                segment::encode_event(&mut value, &event);
                value
            }
            Format::Json => json(&event).into_bytes(),
        };
        bytes += value.len();
        let key = event.user.as_deref().unwrap_or_default();
        send(&producer, BaseRecord::to(topic).key(key).payload(&value).timestamp(event.time.millis()));
    }
    producer.flush(Duration::from_secs(120)).expect("all are written");
    assert_eq!(held(brokers, topic), events, "{topic} does not hold what was sent: did Kafka refuse it?");
    println!("{topic}: {events} events of {:.1} bytes, {partitions} partitions", bytes as f64 / events as f64);
}

/// Writes events as lines of JSON, unless the file is there.
pub fn write_lines(path: &Path, events: u64) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("part");
    let mut out = BufWriter::new(fs::File::create(&unfinished)?);
    for event in Events::new().take(events as usize) {
        writeln!(out, "{}", json(&event))?;
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(unfinished, path)
}

/// An event as canonical JSON, without what is not set.
fn json(event: &AuthEvent) -> String {
    let mut out = String::from("{");
    let mut put = |name: &str, value: String| {
        let comma = if out.len() > 1 { "," } else { "" };
        write!(out, "{comma}\"{name}\":{value}").expect("a string takes all");
    };
    let text = |text: &str| serde_json::to_string(text).expect("text is JSON");
    for field in Field::ALL {
        let value = match event.get(*field) {
            Value::Null => continue,
            Value::Text(value) => text(value),
            Value::Symbol(symbol) => text(symbol),
            Value::Long(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Micros(moment) => {
                text(&jiff::Timestamp::from_microsecond(moment.0).expect("a moment of our century").to_string())
            }
            Value::Texts([]) => continue,
            Value::Texts(list) => {
                serde_json::to_string(&list.iter().map(|t| t.as_str()).collect::<Vec<_>>()).expect("text")
            }
            // the made-up traffic has no attributes
            Value::Map(_) => continue,
        };
        put(field.name(), value);
    }
    out.push('}');
    out
}
