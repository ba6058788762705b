//! The decoder from outside: against another implementation of Avro, against other people's bytes, against real
//! events, and against hostile ones.

// helpers of tests fail by panicking, as tests do
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hostile;
mod interop;
mod openssh;
mod oracle;
mod verdict;

use authseal::{
    artifact::File,
    decode::{Decoder, Format, TopicSpec},
    event::AuthEvent,
    position::ChainId,
    record::{Decoded, Outcome, RawRecord},
};
use bytes::Bytes;

fn spec(format: Format) -> TopicSpec {
    TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() }
}

fn decoder(format: Format) -> Decoder {
    Decoder::new(spec(format), &[7; 32]).unwrap()
}

fn chain() -> ChainId {
    "main/auth/7/0".parse().unwrap()
}

fn decode(decoder: &Decoder, value: impl Into<Vec<u8>>) -> Decoded {
    let raw = RawRecord { offset: 41, value: Some(Bytes::from(value.into())), ..RawRecord::default() };
    decoder.decode(&chain(), &raw)
}

fn event(decoded: Decoded) -> AuthEvent {
    match decoded.outcome {
        Outcome::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

fn file(schema: &str) -> File {
    File { path: "schemas/test.avsc".into(), bytes: schema.as_bytes().to_vec() }
}
