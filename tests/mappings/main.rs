//! Mappings from outside: the shipped ones on records that the products themselves wrote, the examples of the manual,
//! and records that somebody has tampered with.

// helpers of tests fail by panicking, as tests do
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod cli;
mod coverage;
mod docs;
mod hostile;
mod infer;
mod keycloak;
mod language;
mod openssh;
mod samples;

use authseal::{
    artifact::File,
    decode::{Decoder, Format, TopicSpec, mapping},
    event::{AuthEvent, Field, FieldType, Value},
    position::ChainId,
    record::{Decoded, Outcome, RawRecord, TimestampType},
};
use bytes::Bytes;
use serde_json::{Map, json};

/// When the records came, in milliseconds: 2026-01-01T00:00:00Z.
const RECORD_TIME: i64 = 1_767_225_600_000;

fn shipped(name: &str) -> File {
    mapping::shipped(name).unwrap()
}

fn written(text: &str) -> File {
    File { path: "test.toml".into(), bytes: text.as_bytes().to_vec() }
}

/// A decoder of JSON records, or of lines.
fn decoder(mapping: File, text: bool) -> Decoder {
    let format = Format::Mapped { mapping, text, zone: None };
    let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
    Decoder::new(spec, &[7; 32]).unwrap_or_else(|e| panic!("{e}"))
}

fn chain() -> ChainId {
    "main/logs/0/0".parse().unwrap()
}

/// What becomes of a record that came at a moment.
fn decode_at(decoder: &Decoder, value: &[u8], record_time: i64) -> Decoded {
    let value = Some(Bytes::copy_from_slice(value));
    let timestamp_type = TimestampType::CreateTime;
    let raw = RawRecord { offset: 5, timestamp: record_time, timestamp_type, value, ..RawRecord::default() };
    decoder.decode(&chain(), &raw)
}

fn decode(decoder: &Decoder, value: &str) -> Decoded {
    decode_at(decoder, value.as_bytes(), RECORD_TIME)
}

fn event(decoded: Decoded) -> AuthEvent {
    match decoded.outcome {
        Outcome::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

/// The code of a rejection.
fn code(decoded: &Decoded) -> &'static str {
    match &decoded.outcome {
        Outcome::Rejection(rejection) => rejection.code,
        other => panic!("no rejection: {other:?}"),
    }
}

/// An event as JSON: what is set, without the id that the position gives it.
fn as_json(event: &AuthEvent) -> Map<String, serde_json::Value> {
    let mut out = Map::new();
    for field in Field::ALL {
        let value = match event.get(*field) {
            Value::Null | Value::Texts([]) => continue,
            Value::Text(text) if *field == Field::event_id && text.starts_with("main/logs/") => continue,
            Value::Text("logs") if *field == Field::source => continue,
            Value::Text(text) => json!(text),
            Value::Symbol(symbol) => match field.field_type() {
                FieldType::Enum(_, default) if default == symbol => continue,
                _ => json!(symbol),
            },
            Value::Long(number) => json!(number),
            Value::Double(number) => json!(number),
            Value::Bool(value) => json!(value),
            Value::Micros(moment) => json!(jiff::Timestamp::from_microsecond(moment.0).unwrap().to_string()),
            Value::Texts(texts) => texts.iter().map(|text| json!(text.as_str())).collect(),
            Value::Map(map) if map.is_empty() => continue,
            Value::Map(map) => map.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect(),
        };
        out.insert(field.name().to_owned(), value);
    }
    out
}
