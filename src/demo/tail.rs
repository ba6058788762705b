//! Reads back what authseal publishes, as a SIEM would, and writes it to files.

use crate::{
    digest::hex,
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A stop for a [`follow`], and its count.
#[derive(Default)]
pub struct Tail {
    /// Set when nothing more will be published: it then reads to the end of the topic and stops.
    pub finish: AtomicBool,
    /// Messages read.
    pub read: AtomicU64,
}

/// How a message becomes a line.
#[derive(Clone, Copy)]
pub enum As {
    /// Its value is JSON: the line.
    Json,
    /// A JSON object with key, headers and value; bytes that are not text as base64.
    Envelope,
}

/// Writes every message of partition 0 of `topic` to `file`, one a line; each line is also handed to `seen`.
pub fn follow(brokers: &str, topic: &str, file: &Path, form: As, tail: &Arc<Tail>, seen: impl Fn(&str)) -> Result<()> {
    let failed = |e: std::io::Error| Error::config(format!("writing {}", file.display())).caused_by(e);
    let kafka = |e: rdkafka::error::KafkaError| Error::config(format!("reading {topic}")).caused_by(e);
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "authseal-demo-siem")
        .set("enable.auto.commit", "false")
        .create()
        .map_err(kafka)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).map_err(kafka)?;
    consumer.assign(&from).map_err(kafka)?;
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            // the broker is in this process: an error here is only ever a passing one
            let Ok(message) = message else { continue };
            let line = match form {
                As::Json => String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
                As::Envelope => envelope(&message),
            };
            writeln!(out, "{line}").map_err(failed)?;
            seen(&line);
            tail.read.fetch_add(1, Ordering::Relaxed);
        } else if tail.finish.load(Ordering::Relaxed) {
            let (_, high) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)).map_err(kafka)?;
            if tail.read.load(Ordering::Relaxed) as i64 >= high {
                return out.flush().map_err(failed);
            }
        }
    }
}

fn envelope(message: &BorrowedMessage<'_>) -> String {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::json!(text),
        Err(_) => serde_json::json!({ "base64": STANDARD.encode(bytes) }),
    };
    let headers: serde_json::Map<_, _> = message
        .headers()
        .into_iter()
        .flat_map(Headers::iter)
        .map(|h| (h.key.to_string(), h.value.map_or(serde_json::Value::Null, text)))
        .collect();
    serde_json::json!({
        "offset": message.offset(),
        "key": message.key().map(|key| std::str::from_utf8(key).map_or_else(|_| hex(key), str::to_string)),
        "headers": headers,
        "value": message.payload().map(text),
    })
    .to_string()
}
