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
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::{fmt::Write as _, time::Duration};

/// Partitions of each topic.
pub const PARTITIONS: i32 = 12;
/// People whose events they are.
const PEOPLE: u64 = 200_000;
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

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// First and last offset of every partition.
pub fn ends(brokers: &str, topic: &str) -> Vec<(i32, i64, i64)> {
    let consumer: BaseConsumer = config(brokers).create().expect("a consumer");
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
    (0..PARTITIONS).map(of).collect()
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

/// Creates a topic unless it is there.
pub async fn create(brokers: &str, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("an admin client");
    // events are older than a week sooner or later: time must not delete them
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let made = admin.create_topics(&[topic], &AdminOptions::new()).await.expect("Kafka answers");
    for result in made {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, why)) => panic!("cannot create {name}: {why}"),
        }
    }
}

/// Fills a topic with so many events, unless it holds them.
pub async fn fill(brokers: &str, format: Format, events: u64) {
    let topic = format.topic(events);
    create(brokers, &topic, PARTITIONS).await;
    let held: i64 = ends(brokers, &topic).iter().map(|(_, low, high)| high - low).sum();
    if held as u64 == events {
        return;
    }
    assert_eq!(held, 0, "{topic} holds {held} records of {events}: another run was stopped; remove the broker's data");
    let producer: ThreadedProducer<DefaultProducerContext> = config(brokers)
        .set("compression.type", "lz4")
        .set("batch.size", "131072")
        .set("linger.ms", "20")
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .expect("a producer");
    let mut traffic = Traffic::among(Kind::Ordinary, PEOPLE);
    let mut bytes = 0;
    for _ in 0..events {
        let Some(Outcome::Event(mut event)) = traffic.batch(1).pop() else { unreachable!("traffic is events") };
        // as long as events are elsewhere: a browser's name of a hundred letters would be a third of it
        event.user_agent = event.user_agent.as_deref().and_then(|name| name.rsplit(' ').next()).map(Into::into);
        (event.lat, event.long, event.root_session) = (None, None, None);
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
        let mut record = BaseRecord::to(&topic).key(key).payload(&value).timestamp(event.time.millis());
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) = producer.send(record) {
            std::thread::sleep(Duration::from_millis(5));
            record = again;
        }
    }
    producer.flush(Duration::from_secs(120)).expect("all are written");
    let held: i64 = ends(brokers, &topic).iter().map(|(_, low, high)| high - low).sum();
    assert_eq!(held as u64, events, "{topic} does not hold what was sent: did Kafka refuse it?");
    println!("{topic}: {events} events of {:.1} bytes, {PARTITIONS} partitions", bytes as f64 / events as f64);
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
