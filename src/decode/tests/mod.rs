//! Tests of the decoder as a whole: what becomes of a record.

mod forms;
mod join;
mod keep;
mod normal;
mod rejections;

use super::*;
use crate::{
    event::AuthEvent,
    record::{Scope, TimestampType},
};
use bytes::Bytes;

const KEY: [u8; 32] = [7; 32];
/// The time of the test records, in milliseconds: 2025-12-10T06:55:48Z.
const NOW: i64 = 1_765_349_748_000;

fn spec(format: Format) -> TopicSpec {
    TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() }
}

fn decoder(format: Format) -> Decoder {
    Decoder::new(spec(format), &KEY).unwrap()
}

fn chain() -> ChainId {
    "main/auth/7/0".parse().unwrap()
}

fn record(value: impl Into<Vec<u8>>) -> RawRecord {
    let value = Some(Bytes::from(value.into()));
    RawRecord { offset: 41, timestamp: NOW, timestamp_type: TimestampType::CreateTime, value, ..RawRecord::default() }
}

fn decode(decoder: &Decoder, value: impl Into<Vec<u8>>) -> Decoded {
    decoder.decode(&chain(), &record(value))
}

/// Decodes JSON members behind a time and a user.
fn json(members: &str) -> Decoded {
    let comma = if members.is_empty() { "" } else { "," };
    decode(&decoder(Format::Json), format!(r#"{{"time":"2025-12-10T06:55:48Z","user":"alice"{comma}{members}}}"#))
}

fn event(decoded: Decoded) -> AuthEvent {
    match decoded.outcome {
        Outcome::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

fn rejection(decoded: &Decoded) -> (&'static str, &str) {
    match &decoded.outcome {
        Outcome::Rejection(rejection) => (rejection.code, &rejection.detail),
        other => panic!("no rejection: {other:?}"),
    }
}

/// Avro of the canonical schema: event_id "e", time, source "s", user "alice", and nothing else.
fn canonical_avro() -> Vec<u8> {
    use crate::{
        avro::{put_bytes, put_long},
        event::{Field, FieldType},
    };
    let mut out = Vec::new();
    for field in Field::ALL {
        match (field, field.field_type()) {
            (Field::time, _) => put_long(&mut out, NOW * 1000),
            (_, FieldType::Text) => put_bytes(&mut out, &field.name().as_bytes()[..1]),
            (Field::user, _) => {
                put_long(&mut out, 1);
                put_bytes(&mut out, b"alice");
            }
            (_, FieldType::Enum(symbols, default)) => {
                put_long(&mut out, symbols.iter().position(|s| *s == default).unwrap() as i64);
            }
            _ => put_long(&mut out, 0),
        }
    }
    out
}

fn file(schema: &str) -> File {
    File { path: "schemas/test.avsc".into(), bytes: schema.as_bytes().to_vec() }
}

/// A record schema of these fields.
fn schema(fields: &str) -> Format {
    Format::Avro { schema: Some(file(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#))) }
}

fn hmac(bytes: &[u8]) -> [u8; 32] {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&KEY).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}
