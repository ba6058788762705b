//! The golden store, made anew: every kind of segment, codec, leaf, gap cause and withheld part of format @1.

use super::{Chain, signer};
use authseal::{
    artifact::{self, File},
    event::{AuthEvent, Field, FieldType, Micros, Slot},
    layout,
    manifest::*,
    record::{Decoded, Gap, GapCause, Header, Outcome, RawRecord, Rejection, Scope, TimestampType, Withheld},
    retention::{LockMode, Retention},
    segment::{Codec, SegmentBuilder},
    store_info::StoreInfo,
};
use bytes::Bytes;
use std::collections::BTreeMap;

pub(crate) const ORIGIN: &str = "example.com/golden";
/// 2026-01-01T00:00:00Z
pub(crate) const BEGIN: i64 = 1_767_225_600_000;

/// Keys and bytes.
pub(crate) type Objects = BTreeMap<String, Vec<u8>>;

/// The whole store.
pub(crate) fn store() -> Objects {
    let mut objects = Objects::new();
    let line = StoreInfo::new(ORIGIN, BEGIN).line().unwrap();
    objects.insert(layout::STORE_JSON.into(), line.into_bytes());
    let rules = |text: &str| {
        let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
        artifact::bundle(vec![file("rules/brute_force.rhai", text), file("lists/offices.txt", "10.0.0.0/8\n")])
    };
    let schema = include_bytes!("../golden/auth_event.avsc").to_vec();
    let bundles = [
        rules("severity = 3;\n"),
        rules("severity = 4;\n"),
        artifact::bundle(vec![File { path: "auth.logons/auth_event.avsc".into(), bytes: schema }]),
    ];
    let [(first, _), (second, _), (decode, _)] = &bundles;
    let artifacts = [(Some(*first), Some(*decode)), (Some(*second), Some(*decode))]
        .map(|(rules, decode)| Artifacts { rules, decode });
    for (digest, bytes) in &bundles {
        objects.insert(layout::artifact_key(digest), bytes.clone());
    }
    zstandard(&mut objects, artifacts);
    deflate(&mut objects, artifacts[0]);
    snappy(&mut objects, artifacts[1]);
    null(&mut objects);
    let mut quiet = new("dr/auth.logons/0/0", BEGIN);
    put(&mut objects, &mut quiet, SegmentBuilder::new(0, Codec::Zstandard, 3), SegmentKind::Heartbeat);
    objects.insert("seal.vkey".into(), (signer(ORIGIN).verifier_key() + "\n").into_bytes());
    objects
}

fn new(id: &str, clock: i64) -> Chain {
    let start = Start { reason: StartReason::New, detail: "first seen".into(), previous: None };
    let mut chain = Chain::new(ORIGIN, id, start, clock);
    if id.starts_with("main/auth.logons/") {
        chain.broker = Broker {
            cluster_id: Some("5L6g3nShT-eMCtK--X86sw".into()),
            topic_id: Some("lF3oPZUkQlyqEFmmqQwYtA".into()),
            partitions: Some(3),
            ..Broker::default()
        };
    }
    chain
}

fn put(objects: &mut Objects, chain: &mut Chain, builder: SegmentBuilder, kind: SegmentKind) {
    let sealed = chain.seal(builder.finish().unwrap(), kind);
    let key = layout::segment_key(&chain.id, sealed.manifest.sequence);
    assert!(objects.insert(key, sealed.bytes.to_vec()).is_none());
}

/// Events, rejections, an opaque tombstone, every part that can be withheld; a heartbeat; every cause of a gap; a
/// close.
fn zstandard(objects: &mut Objects, artifacts: [Artifacts; 2]) {
    let mut chain = new("main/auth.logons/0/0", BEGIN);
    chain.artifacts = artifacts[0];
    chain.retention = Retention { mode: LockMode::Compliance, until: Some(BEGIN + 31_536_000_000) };
    let mut b = SegmentBuilder::new(0, Codec::Zstandard, 3);
    gap(&mut b, 1000, GapCause::BeforeChain);
    push(&mut b, |raw| raw.value = Some(Bytes::from_static(b"{\"user\":\"mia\"}")), kept(event(full_event())));
    push(&mut b, hostile, kept(event(AuthEvent { time: Micros(-1), ..AuthEvent::default() })));
    push(&mut b, |_| {}, kept(event(logon("tom", 3))));
    let detail = "field face holds an image";
    let image = |raw: &mut RawRecord| raw.value = Some(Bytes::from_static(b"{\"face\":\"/9j/4AAQ\"}"));
    push(&mut b, image, withheld("biometric", 19, Scope::Value, rejection("biometric", detail)));
    push(
        &mut b,
        |raw| raw.value = Some(Bytes::from_static(b"\0\x01\x02")),
        kept(rejection("trailing_bytes", "ä \u{0}")),
    );
    push(&mut b, |raw| raw.value = None, kept(Outcome::Opaque));
    put(objects, &mut chain, b, SegmentKind::Data);
    put(objects, &mut chain, SegmentBuilder::new(1006, Codec::Zstandard, 3), SegmentKind::Heartbeat);
    chain.artifacts = artifacts[1];
    let mut b = SegmentBuilder::new(1006, Codec::Zstandard, 3);
    for (length, cause) in (1..).zip(GapCause::ALL) {
        gap(&mut b, length, cause);
    }
    push(&mut b, |_| {}, withheld("keep_event", 230, Scope::Value, event(logon("eva", 4))));
    push(&mut b, |_| {}, withheld("oversized_record", 90_000_000, Scope::Record, rejection("oversized_record", "")));
    put(objects, &mut chain, b, SegmentKind::Data);
    put(objects, &mut chain, SegmentBuilder::new(1023, Codec::Zstandard, 3), SegmentKind::Close);
}

/// Several blocks, one of them a single large record.
fn deflate(objects: &mut Objects, artifacts: Artifacts) {
    let mut chain = new("main/auth.logons/1/0", BEGIN + 5);
    (chain.artifacts, chain.broker.leader_epoch) = (artifacts, Some(7));
    let mut b = SegmentBuilder::new(0, Codec::Deflate, 6);
    for length in [600_000, 600_000, 1_500_000, 10] {
        push(&mut b, |raw| raw.value = Some(Bytes::from(vec![b'a'; length])), kept(Outcome::Opaque));
    }
    put(objects, &mut chain, b, SegmentKind::Data);
    let mut b = SegmentBuilder::new(4, Codec::Deflate, 6);
    (0..50).for_each(|n| push(&mut b, |_| {}, kept(event(logon("many", n)))));
    put(objects, &mut chain, b, SegmentKind::Data);
}

fn snappy(objects: &mut Objects, artifacts: Artifacts) {
    let mut chain = new("main/auth.logons/2/0", BEGIN + 9);
    chain.artifacts = artifacts;
    chain.retention = Retention { mode: LockMode::Governance, until: Some(BEGIN + 86_400_000) };
    (chain.broker.log_start, chain.broker.last_stable, chain.broker.high_watermark) = (Some(0), Some(20), Some(25));
    let mut b = SegmentBuilder::new(0, Codec::Snappy, 1);
    (0..20).for_each(|n| push(&mut b, |_| {}, kept(event(logon("snap", n)))));
    put(objects, &mut chain, b, SegmentKind::Data);
}

/// Two incarnations. The blocks are as the leaves are: what these bytes are depends on no compressor.
fn null(objects: &mut Objects) {
    let mut chain = new("main/ssh/0/0", BEGIN + 11);
    for n in 0..2 {
        let mut b = SegmentBuilder::new(3 * n, Codec::Null, 1);
        push(&mut b, hostile, kept(event(full_event())));
        gap(&mut b, 1, GapCause::NotDelivered);
        push(&mut b, |_| {}, kept(rejection("no_identity", "")));
        put(objects, &mut chain, b, SegmentKind::Data);
    }
    let start =
        Start { reason: StartReason::Reset, detail: "topic re-created \u{1f512}".into(), previous: chain.hash() };
    let mut chain = Chain::new(ORIGIN, "main/ssh/0/1", start, BEGIN + 86_400_000);
    let mut b = SegmentBuilder::new(0, Codec::Null, 1);
    push(&mut b, |raw| (raw.timestamp_type, raw.timestamp) = (TimestampType::None, -1), kept(Outcome::Opaque));
    put(objects, &mut chain, b, SegmentKind::Data);
}

fn push(builder: &mut SegmentBuilder, change: impl FnOnce(&mut RawRecord), decoded: Decoded) {
    let offset = builder.to();
    let mut raw = RawRecord {
        offset,
        timestamp: BEGIN - 1000 + offset,
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from_static(b"mia")),
        headers: vec![],
        value: Some(Bytes::from(format!("{{\"event_id\":\"{offset}\",\"user\":\"mia\"}}"))),
    };
    change(&mut raw);
    builder.push_record(&raw, &decoded).unwrap();
}

fn gap(builder: &mut SegmentBuilder, length: i64, cause: GapCause) {
    let from = builder.to();
    builder.push_gap(Gap { from, to: from + length, cause }).unwrap();
}

/// Everything that Kafka allows and few expect.
fn hostile(raw: &mut RawRecord) {
    let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    raw.timestamp = i64::MIN;
    raw.timestamp_type = TimestampType::LogAppendTime;
    raw.key = Some(Bytes::new());
    raw.headers = vec![header(b"\xff\xfe", None), header(b"", Some(b"\0")), header(b"", Some(b"again"))];
    raw.value = Some(Bytes::from_static(b"\x00\xff\xc3\x28"));
}

fn kept(outcome: Outcome) -> Decoded {
    Decoded { outcome, withheld: None, schema_id: None }
}

fn withheld(code: &'static str, length: i64, scope: Scope, outcome: Outcome) -> Decoded {
    let mac = std::array::from_fn(|n| 0xa0 + n as u8);
    Decoded { withheld: Some(Withheld { code, length, mac, scope }), ..kept(outcome) }
}

fn rejection(code: &'static str, detail: &str) -> Outcome {
    Outcome::Rejection(Rejection::new(code, detail))
}

fn event(event: AuthEvent) -> Outcome {
    Outcome::Event(Box::new(event))
}

fn logon(user: &str, n: i64) -> AuthEvent {
    AuthEvent {
        event_id: format!("e-{n}").into(),
        time: Micros((BEGIN + n) * 1000 + 999),
        source: "sshd".into(),
        user: Some(user.into()),
        src_ip: Some("192.0.2.7".into()),
        ..AuthEvent::default()
    }
}

/// An event in which every field is set, each to a value of its own.
fn full_event() -> AuthEvent {
    let mut event = AuthEvent::default();
    for (place, field) in Field::ALL.iter().enumerate() {
        let (n, text) = (place as i64 + 1, format!("{} ä", field.name()));
        match event.slot(*field) {
            Slot::Text(slot) => *slot = text.into(),
            Slot::OptText(slot) => *slot = Some(text.into()),
            Slot::Micros(slot) => *slot = Micros(BEGIN * 1000 + n),
            Slot::OptMicros(slot) => *slot = Some(Micros(BEGIN * 1000 + n)),
            Slot::OptLong(slot) => *slot = Some(-n),
            Slot::OptInt(slot) => *slot = Some(1000 * n as i32),
            Slot::OptDouble(slot) => *slot = Some(n as f64 + 0.25),
            Slot::OptBool(slot) => *slot = Some(n % 2 == 0),
            Slot::Enum(slot) => {
                let FieldType::Enum(symbols, _) = field.field_type() else { panic!("an enum has symbols") };
                assert!(slot.set_index(place % symbols.len()));
            }
            Slot::Texts(slot) => *slot = vec![text.into(), "".into()],
            Slot::Map(slot) => {
                for (key, value) in [("z", "1"), ("a", ""), ("ä", "2"), ("raw.src_ip", "1.2.3.4:443")] {
                    slot.insert(key, value);
                }
            }
        }
    }
    event
}
