//! Nanoseconds an event, from the record to the validated event: an ordinary logon of about 250 bytes in each format,
//! and what apache-avro takes to read the same bytes into its own values, without validating anything.

// a bench fails by panicking
#![allow(clippy::unwrap_used, clippy::expect_used)]

use apache_avro::{Schema, reader::datum::GenericDatumReader};
use authseal::{
    artifact::File,
    avro::{
        canonical::{Style, fingerprint},
        put_bytes, put_long,
    },
    decode::{CANONICAL_SCHEMA, Decoder, Format, TopicSpec},
    event::{Field, FieldType},
    position::ChainId,
    record::{Outcome, RawRecord, TimestampType},
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::{collections::BTreeMap, hint::black_box};

const TIME: i64 = 1_765_349_748_000_000;

/// The strings of the event; enums have their first symbol, and one attribute is set.
const TEXTS: [(Field, &str); 12] = [
    (Field::event_id, "def2ffe6c26eaa2cc76631f2"),
    (Field::source, "keycloak"),
    (Field::tenant, "acme-retail"),
    (Field::reason, "invalid_credentials"),
    (Field::user, "webmaster"),
    (Field::user_id, "524b0452-de7d-402f"),
    (Field::src_ip, "173.234.31.186"),
    (Field::country, "DE"),
    (Field::user_agent, "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0"),
    (Field::session, "-76KGyQcNeLgH77shPO49Dr1"),
    (Field::app, "portal"),
    (Field::protocol, "oidc"),
];

fn text(field: Field) -> Option<&'static str> {
    TEXTS.iter().find(|(f, _)| *f == field).map(|(_, text)| *text)
}

/// Whether the narrow schema has the field: those that are set.
fn is_set(field: Field) -> bool {
    text(field).is_some()
        || matches!(field, Field::time | Field::activity | Field::outcome | Field::factor | Field::attributes)
}

fn avro(has: impl Fn(Field) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for field in Field::ALL.iter().copied().filter(|field| has(*field)) {
        match (field.field_type(), text(field)) {
            (FieldType::Text, Some(text)) => put_bytes(&mut out, text.as_bytes()),
            (_, Some(text)) => {
                put_long(&mut out, 1);
                put_bytes(&mut out, text.as_bytes());
            }
            (FieldType::Micros, _) => put_long(&mut out, TIME),
            (FieldType::Map, _) => {
                put_long(&mut out, 1);
                put_bytes(&mut out, b"src_port");
                put_bytes(&mut out, b"38926");
                put_long(&mut out, 0);
            }
            // null, the first symbol, or no items
            _ => put_long(&mut out, 0),
        }
    }
    out
}

/// The canonical schema with the fields that are set alone: what a producer's own schema looks like.
fn narrow_schema() -> String {
    let mut schema: serde_json::Value = serde_json::from_str(CANONICAL_SCHEMA).unwrap();
    let fields = schema["fields"].as_array().unwrap().iter();
    let set = |field: &&serde_json::Value| is_set(Field::from_name(field["name"].as_str().unwrap()).unwrap());
    let fields: Vec<_> = fields.filter(set).cloned().collect();
    schema["fields"] = fields.into();
    schema.to_string()
}

fn json() -> Vec<u8> {
    let mut object = serde_json::Map::new();
    for (field, text) in TEXTS {
        object.insert(field.name().into(), text.into());
    }
    object.insert("time".into(), "2025-12-10T06:55:48Z".into());
    for (name, symbol) in [("activity", "LOGON"), ("outcome", "SUCCESS"), ("factor", "PASSWORD")] {
        object.insert(name.into(), symbol.into());
    }
    object.insert("attributes".into(), serde_json::json!({"src_port": "38926"}));
    serde_json::Value::Object(object).to_string().into_bytes()
}

fn file(schema: &str) -> File {
    File { path: "schemas/bench.avsc".into(), bytes: schema.as_bytes().to_vec() }
}

fn formats() -> Vec<(&'static str, Format, Vec<u8>)> {
    let canonical = avro(|_| true);
    let narrow = avro(is_set);
    let id = fingerprint(CANONICAL_SCHEMA.as_bytes(), Style::Specification).unwrap().to_le_bytes();
    let schemas = BTreeMap::from([(7, file(&narrow_schema()))]);
    vec![
        ("avro, narrow schema", Format::Avro { schema: Some(file(&narrow_schema())) }, narrow.clone()),
        ("avro, canonical schema", Format::Avro { schema: None }, canonical.clone()),
        ("confluent, narrow schema", Format::Confluent { schemas }, [&[0, 0, 0, 0, 7], &narrow[..]].concat()),
        (
            "single object, canonical schema",
            Format::SingleObject { schemas: Vec::new() },
            [&[0xc3, 1], &id[..], &canonical].concat(),
        ),
        ("json", Format::Json, json()),
        ("mapping, json of Keycloak", mapped("keycloak-event", false), KEYCLOAK_JSON.into()),
        ("mapping, log line of Keycloak", mapped("keycloak-event", true), KEYCLOAK_LINE.into()),
        ("mapping, line of sshd", mapped("sshd", true), SSHD_LINE.into()),
    ]
}

/// What products write: an ordinary failed logon.
const KEYCLOAK_JSON: &str = concat!(
    r#"{"id":"00eaab4c-e261-4a31-b313-800bccfcca17","time":1765349748579,"type":"LOGIN_ERROR","realmId":"ad"#,
    r#"a3450a-280e-4cab-896f-2f1566713504","clientId":"app","userId":"524b0452-de7d-402f-883b-79bd2a5391f7""#,
    r#","ipAddress":"127.0.0.1","error":"invalid_user_credentials","details":{"auth_method":"openid-connect"#,
    r#"","grant_type":"password","client_auth_method":"client-secret","username":"alice"}}"#,
);
const KEYCLOAK_LINE: &str = concat!(
    r#"2025-12-10 06:55:48,583 WARN  [org.keycloak.events] (executor-thread-1) type="LOGIN_ERROR", realmId="#,
    r#""ada3450a-280e-4cab-896f-2f1566713504", realmName="authseal", clientId="app", userId="524b0452-de7d-"#,
    r#"402f-883b-79bd2a5391f7", ipAddress="127.0.0.1", error="invalid_user_credentials", auth_method="openi"#,
    r#"d-connect", grant_type="password", client_auth_method="client-secret", username="alice""#,
);
const SSHD_LINE: &str =
    "Dec 10 06:55:48 LabSZ sshd[24200]: Failed password for invalid user webmaster from 173.234.31.186 port 38926 ssh2";

fn mapped(name: &str, text: bool) -> Format {
    Format::Mapped { mapping: authseal::decode::mapping::shipped(name).unwrap(), text, zone: None }
}

/// What a program of one's own would do with serde_json: read the JSON into values, and look twelve of them up.
fn lookups(c: &mut Criterion) {
    let paths = [
        "/id",
        "/time",
        "/type",
        "/realmId",
        "/clientId",
        "/userId",
        "/sessionId",
        "/ipAddress",
        "/error",
        "/details/auth_method",
        "/details/grant_type",
        "/details/username",
    ];
    let mut group = c.benchmark_group("serde_json reads values");
    group.throughput(Throughput::Elements(1));
    let read = || -> Vec<Option<String>> {
        let value: serde_json::Value = serde_json::from_str(black_box(KEYCLOAK_JSON)).unwrap();
        paths.iter().map(|path| value.pointer(path)?.as_str().map(str::to_owned)).collect()
    };
    group.bench_function("json of Keycloak, and 12 lookups", |b| b.iter(|| black_box(read())));
    group.finish();
}

fn decode(c: &mut Criterion) {
    let chain: ChainId = "main/auth/7/0".parse().unwrap();
    let mut group = c.benchmark_group("decode and validate");
    group.throughput(Throughput::Elements(1));
    for (name, format, value) in formats() {
        let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
        let decoder = Decoder::new(spec, &[7; 32]).unwrap();
        let raw = RawRecord {
            timestamp: TIME / 1000,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"webmaster")),
            value: Some(value.into()),
            ..RawRecord::default()
        };
        assert!(matches!(decoder.decode(&chain, &raw).outcome, Outcome::Event(_)));
        group.bench_function(name, |b| b.iter(|| black_box(decoder.decode(black_box(&chain), black_box(&raw)))));
    }
    group.finish();
}

fn oracle(c: &mut Criterion) {
    let mut group = c.benchmark_group("apache-avro reads values");
    group.throughput(Throughput::Elements(1));
    for (name, schema, value) in [
        ("narrow schema", narrow_schema(), avro(is_set)),
        ("canonical schema", CANONICAL_SCHEMA.into(), avro(|_| true)),
    ] {
        let schema = Schema::parse_str(&schema).unwrap();
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        group.bench_function(name, |b| b.iter(|| black_box(reader.read_value(&mut black_box(&value[..])).unwrap())));
    }
    group.finish();
}

criterion_group!(benches, decode, oracle, lookups);
criterion_main!(benches);
