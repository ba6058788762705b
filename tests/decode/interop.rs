//! Bytes that other people's encoders wrote. Written by fastavro 1.13.1 and by avro 1.12.2 for Python, which agree:
//! a record with a timestamp, an enum, unions, a decimal, an array and a map. Java's `BinaryMessageEncoder` and
//! `KafkaAvroSerializer` write the same payload behind the headers that are tested here; its `BlockingBinaryEncoder`
//! writes negative block counts, which `decode::tests::forms` reads.

use crate::{decode, decoder, event, file};
use authseal::{
    avro::canonical::{Style, fingerprint, rabin},
    decode::Format,
    event::{Activity, AuthEvent, Micros},
};
use std::collections::BTreeMap;

const SCHEMA: &str = r#"{"type": "record", "name": "Logon", "namespace": "com.example", "fields": [
    {"name": "event_id", "type": "string"},
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "source", "type": "string"},
    {"name": "activity", "type": {"type": "enum", "name": "Activity", "symbols": ["LOGIN", "LOGOUT"]}},
    {"name": "login", "type": ["null", "string"], "aliases": ["user"], "default": null},
    {"name": "src_ip", "type": ["null", "string"], "default": null},
    {"name": "lat", "type": ["null", "float"], "default": null},
    {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}],
     "default": null},
    {"name": "privileges", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "attributes", "type": {"type": "map", "values": "string"}, "default": {}}]}"#;

const PAYLOAD: &str = "06652d31b6b6dbf0e0660669647002020cc3a56c696365021e3a3a666666663a31302e302e302e31\
    02000052420206fe1dc6040261026200020c6272616e6368027800";

/// What fastavro, and avro for Python, give as the fingerprint of the schema: bytes in the order of the encoding.
const FASTAVRO: &str = "b442414644a8b584";
const PYTHON: &str = "1b2f1efd4d941b99";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn check(found: &AuthEvent) {
    assert_eq!((found.event_id.as_str(), found.source.as_str()), ("e-1", "idp"));
    assert_eq!(found.time, Micros(1_765_349_748_123_000));
    assert_eq!((found.user.as_deref(), found.src_ip.as_deref()), (Some("ålice"), Some("10.0.0.1")));
    assert_eq!((found.lat, found.privileges.as_slice()), (Some(52.5), &["a".into(), "b".into()][..]));
    assert_eq!((found.activity, found.quality.as_slice()), (Activity::Other, &["activity:invalid".into()][..]));
    let attributes: Vec<_> = found.attributes.iter().collect();
    assert_eq!(attributes, [("amount", "-1234.50"), ("branch", "x"), ("raw.activity", "LOGOUT")]);
}

#[test]
fn events_written_in_python_are_read_from_every_framing() {
    check(&event(decode(&decoder(Format::Avro { schema: Some(file(SCHEMA)) }), bytes(PAYLOAD))));
    let confluent = Format::Confluent { schemas: BTreeMap::from([(100_007, file(SCHEMA))]) };
    let framed = [&[0, 0, 1, 0x86, 0xa7], &bytes(PAYLOAD)[..]].concat();
    let decoded = decode(&decoder(confluent), framed);
    assert_eq!(decoded.schema_id.as_deref(), Some("100007"));
    check(&event(decoded));
    for id in [FASTAVRO, PYTHON] {
        let framed = [&[0xc3, 1], &bytes(id)[..], &bytes(PAYLOAD)].concat();
        let decoded = decode(&decoder(Format::SingleObject { schemas: vec![file(SCHEMA)] }), framed);
        check(&event(decoded));
    }
}

#[test]
fn fingerprints_are_those_of_other_implementations() {
    let id = |style| fingerprint(SCHEMA.as_bytes(), style).unwrap().to_le_bytes().to_vec();
    assert_eq!(id(Style::Specification), bytes(FASTAVRO));
    assert_eq!(id(Style::Unreduced), bytes(PYTHON));
    // Avro's Ruby tests: the header of a single object of schema "int" is C3 01 and these bytes
    assert_eq!(rabin(b"\"int\"").to_le_bytes(), [0x8f, 0x5c, 0x39, 0x3f, 0x1a, 0xd5, 0x75, 0x72]);
}
