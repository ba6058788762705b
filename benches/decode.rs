//! Nanoseconds an event, from the record to the validated event: an ordinary logon of about 250 bytes in each format,
//! and the samples of each shipped mapping. Beside it what others take to read the same bytes without validating
//! anything: apache-avro into its own values, serde_json into its own values and into a struct.

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
use criterion::{
    Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use std::{collections::BTreeMap, hint::black_box};

type Criterion = criterion::Criterion<CpuTime>;

/// Time on a processor, not on the wall: that holds on a machine which others use too.
struct CpuTime;

impl CpuTime {
    /// Nanoseconds that this thread has run.
    fn now() -> u64 {
        // the kernel adds it up when a thread is switched, and otherwise some hundred times a second
        std::thread::yield_now();
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        told.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        Self::now()
    }

    fn end(&self, began: u64) -> u64 {
        Self::now() - began
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, nanoseconds: &u64) -> f64 {
        *nanoseconds as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

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

/// A struct as somebody would write it who needs these twelve fields of Keycloak's events, and nothing else.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "what is read is what costs")]
struct KeycloakEvent {
    id: Option<String>,
    time: i64,
    r#type: String,
    realm_id: Option<String>,
    client_id: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    ip_address: Option<String>,
    error: Option<String>,
    #[serde(default)]
    details: BTreeMap<String, String>,
}

/// The same of the canonical names.
#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "what is read is what costs")]
struct CanonicalEvent {
    event_id: String,
    time: String,
    source: String,
    tenant: Option<String>,
    activity: String,
    outcome: String,
    reason: Option<String>,
    user: Option<String>,
    user_id: Option<String>,
    src_ip: Option<String>,
    country: Option<String>,
    user_agent: Option<String>,
    session: Option<String>,
    app: Option<String>,
    protocol: Option<String>,
    factor: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

fn structs(c: &mut Criterion) {
    let mut group = c.benchmark_group("serde_json reads a struct");
    group.throughput(Throughput::Elements(1));
    let canonical = json();
    group.bench_function("json", |b| {
        b.iter(|| black_box(serde_json::from_slice::<CanonicalEvent>(black_box(&canonical)).unwrap()));
    });
    group.bench_function("json of Keycloak", |b| {
        b.iter(|| black_box(serde_json::from_str::<KeycloakEvent>(black_box(KEYCLOAK_JSON)).unwrap()));
    });
    group.finish();
}

/// The samples of shipped mappings: name, files, whether they are lines of text.
const SAMPLES: &[(&str, &[&str], bool)] = &[
    ("auth0", &["auth0/events.ndjson"], false),
    ("cloudtrail", &["cloudtrail/events.ndjson", "cloudtrail/eventbridge.ndjson"], false),
    ("duo", &["duo/authentication.ndjson", "duo/administrator.ndjson", "duo/activity.ndjson"], false),
    ("ecs", &["ecs/events.ndjson"], false),
    ("entra", &["entra/sign-ins.ndjson", "entra/audit.ndjson", "entra/graph.ndjson"], false),
    ("google-workspace-login", &["google-workspace/events.ndjson"], false),
    ("keycloak-event", &["keycloak/events.ndjson", "keycloak/admin-events.ndjson"], false),
    ("keycloak-event, lines", &["keycloak/events.log", "keycloak/admin-events.log"], true),
    ("ocsf", &["ocsf/events.ndjson"], false),
    ("okta-system-log", &["okta/events.ndjson"], false),
    ("sshd, lines", &["openssh/OpenSSH_2k.log"], true),
];

/// Each mapping over those of its samples that become events, one after the other, and serde_json over the same bytes.
fn samples(c: &mut Criterion) {
    let chain: ChainId = "main/auth/7/0".parse().unwrap();
    for (name, files, text) in SAMPLES {
        let mapping = name.split(',').next().unwrap();
        let format = mapped(mapping, *text);
        let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
        let decoder = Decoder::new(spec, &[7; 32]).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let text_of = |file: &&str| std::fs::read_to_string(folder.join(file)).unwrap();
        let lines: Vec<String> =
            files.iter().flat_map(|f| text_of(f).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let record = |line: String| RawRecord {
            // 2026-12-01: no event may be from the future
            timestamp: 1_796_083_200_000,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"webmaster")),
            value: Some(line.into()),
            ..RawRecord::default()
        };
        let is_event = |raw: &RawRecord| matches!(decoder.decode(&chain, raw).outcome, Outcome::Event(_));
        let records: Vec<RawRecord> = lines.into_iter().map(record).filter(is_event).collect();
        let bytes: usize = records.iter().map(RawRecord::size).sum();
        println!("{name}: {} events of {} bytes on average", records.len(), bytes / records.len());
        let mut group = c.benchmark_group("samples");
        group.throughput(Throughput::Elements(1));
        let mut at = 0;
        group.bench_function(format!("mapping {name}"), |b| {
            b.iter(|| {
                at = (at + 1) % records.len();
                black_box(decoder.decode(black_box(&chain), black_box(&records[at])))
            });
        });
        if !text {
            group.bench_function(format!("serde_json's values, {name}"), |b| {
                b.iter(|| {
                    at = (at + 1) % records.len();
                    let value = records[at].value.as_deref().unwrap_or_default();
                    black_box(serde_json::from_slice::<serde_json::Value>(black_box(value)).unwrap())
                });
            });
        }
        group.finish();
    }
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

/// What coverage costs: which fields of an event say something, asked for each.
fn filled(c: &mut Criterion) {
    let chain: ChainId = "main/auth/7/0".parse().unwrap();
    let format = Format::Avro { schema: None };
    let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
    let raw = RawRecord { value: Some(avro(|_| true).into()), ..RawRecord::default() };
    let Outcome::Event(event) = Decoder::new(spec, &[7; 32]).unwrap().decode(&chain, &raw).outcome else {
        panic!("it is an event");
    };
    c.bench_function("which fields say something", |b| b.iter(|| black_box(&event).filled()));
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

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().with_measurement(CpuTime);
    targets = decode, filled, oracle, structs, lookups, samples
}
criterion_main!(benches);
