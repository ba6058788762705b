//! The demo's producer: publishes the traffic over TCP, paced by the reader, and notes where each record landed.

use super::traffic::{Produced, Traffic, Value};
use crate::{
    digest::Digest,
    error::{Error, Result},
    segment,
};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The broker inside the process keeps 5 MiB a partition and forgets the oldest beyond it without a word: never more
/// than this many records are on it unread.
const AHEAD: u64 = 30_000;

/// What the producer shares with the rest of the demo.
#[derive(Default)]
pub struct Load {
    /// Records acknowledged by the broker.
    pub landed: AtomicU64,
    /// Records that the reader has taken, told by the demo.
    pub taken: AtomicU64,
    /// Set to stop early.
    pub stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Load {
    /// The demo cannot go on.
    pub fn fail(&self, why: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Why the producer gave up, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Landing {
    load: Arc<Load>,
    file: Mutex<BufWriter<File>>,
}

impl ClientContext for Landing {}

impl ProducerContext for Landing {
    type DeliveryOpaque = Box<Digest>;

    fn delivery(&self, result: &DeliveryResult<'_>, digest: Self::DeliveryOpaque) {
        let message = match result {
            Ok(message) => message,
            Err((error, _)) => return self.load.fail(format!("a record was not acknowledged: {error}")),
        };
        let line = serde_json::json!({
            "topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
            "sha256": digest.hex(),
        });
        let written = writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        if let Err(error) = written {
            self.load.fail(format!("writing down what was produced: {error}"));
        }
        self.load.landed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Publishes all of `traffic`; blocks until the broker has acknowledged it. `note` gets a line for each record.
pub fn publish(brokers: &str, traffic: Traffic, note: &Path, load: &Arc<Load>) -> Result<()> {
    let file = File::create(note).map_err(|e| Error::config(format!("creating {}", note.display())).caused_by(e))?;
    let landing = Landing { load: load.clone(), file: Mutex::new(BufWriter::new(file)) };
    let producer: ThreadedProducer<Landing> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("acks", "all")
        .create_with_context(landing)
        .map_err(kafka)?;
    let mut value = Vec::new();
    for (sent, record) in traffic.enumerate() {
        while sent as u64 >= load.taken.load(Ordering::Relaxed) + AHEAD && !load.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if load.stop.load(Ordering::Relaxed) {
            break;
        }
        send(&producer, &record, &mut value)?;
    }
    producer.flush(Duration::from_secs(30)).map_err(kafka)?;
    let mut file = producer.context().file.lock().unwrap_or_else(PoisonError::into_inner);
    file.flush().map_err(|e| Error::config(format!("writing {}", note.display())).caused_by(e))
}

fn send(producer: &ThreadedProducer<Landing>, record: &Produced, value: &mut Vec<u8>) -> Result<()> {
    value.clear();
    match &record.value {
        Value::Event(event) => segment::encode_event(value, event),
        Value::Bytes(bytes) => value.extend_from_slice(bytes),
    }
    let mut message = BaseRecord::with_opaque_to(record.topic, Box::new(Digest::of(value)))
        .key(record.key.as_bytes())
        .payload(value.as_slice())
        .timestamp(record.timestamp);
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                message = back;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(kafka(error)),
        }
    }
}

fn kafka(error: KafkaError) -> Error {
    Error::config("publishing the demo's traffic").caused_by(error)
}
