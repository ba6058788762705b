//! Arbitrary records, events, rejections and gaps: anything that Kafka and the decoders can hand over.

use super::*;
use crate::event::{Attributes, Field, FieldType, Slot};
use proptest::{prelude::*, sample::Index};

/// A leaf to be.
#[derive(Debug, Clone)]
pub enum Item {
    Record(Box<(RawRecord, Decoded)>),
    Gap(i64, GapCause),
}

/// Something of every type: the field takes what it can.
#[derive(Debug, Clone)]
struct Payload {
    field: Index,
    text: String,
    texts: Vec<String>,
    pairs: Vec<(String, String)>,
    long: i64,
    double: f64,
    symbol: Index,
}

fn payload() -> impl Strategy<Value = Payload> {
    use prop::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let double = NORMAL | SUBNORMAL | INFINITE | ZERO | POSITIVE | NEGATIVE;
    let texts = prop::collection::vec(".{0,6}", 0..4);
    let pairs = prop::collection::vec((".{0,6}", ".{0,6}"), 0..4);
    (any::<Index>(), ".{0,40}", texts, pairs, any::<i64>(), double, any::<Index>()).prop_map(
        |(field, text, texts, pairs, long, double, symbol)| Payload { field, text, texts, pairs, long, double, symbol },
    )
}

fn apply(event: &mut AuthEvent, p: &Payload) {
    let field = *p.field.get(Field::ALL);
    match event.slot(field) {
        Slot::Text(slot) => *slot = p.text.as_str().into(),
        Slot::OptText(slot) => *slot = Some(p.text.as_str().into()),
        Slot::Micros(slot) => *slot = Micros(p.long),
        Slot::OptMicros(slot) => *slot = Some(Micros(p.long)),
        Slot::OptLong(slot) => *slot = Some(p.long),
        Slot::OptInt(slot) => *slot = Some(p.long as i32),
        Slot::OptDouble(slot) => *slot = Some(p.double),
        Slot::OptBool(slot) => *slot = Some(p.long & 1 == 1),
        Slot::Enum(slot) => {
            let FieldType::Enum(symbols, _) = field.field_type() else { panic!("an enum has symbols") };
            assert!(slot.set_symbol(symbols[p.symbol.index(symbols.len())]));
        }
        Slot::Texts(slot) => *slot = p.texts.iter().map(|t| t.as_str().into()).collect(),
        Slot::Map(slot) => {
            let mut map = Attributes::default();
            for (key, value) in &p.pairs {
                map.insert(key.as_str(), value.as_str());
            }
            *slot = map;
        }
    }
}

pub fn auth_event() -> impl Strategy<Value = AuthEvent> {
    prop::collection::vec(payload(), 0..40).prop_map(|payloads| {
        let mut event = AuthEvent::default();
        payloads.iter().for_each(|p| apply(&mut event, p));
        event
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn raw_record() -> impl Strategy<Value = RawRecord> {
    const KINDS: [TimestampType; 3] = [TimestampType::None, TimestampType::CreateTime, TimestampType::LogAppendTime];
    let header = (bytes(), prop::option::of(bytes())).prop_map(|(key, value)| Header { key, value });
    let headers = prop::collection::vec(header, 0..4);
    (any::<i64>(), prop::sample::select(&KINDS[..]), prop::option::of(bytes()), headers, prop::option::of(bytes()))
        .prop_map(|(timestamp, timestamp_type, key, headers, value)| RawRecord {
            offset: 0,
            timestamp,
            timestamp_type,
            key,
            headers,
            value,
        })
}

fn outcome() -> impl Strategy<Value = Decoded> {
    let rejection = (prop::sample::select(&["no_identity", "trailing_bytes", ""][..]), any::<String>());
    let outcome = prop_oneof![
        3 => auth_event().prop_map(|e| record::Outcome::Event(Box::new(e))),
        1 => rejection.prop_map(|(code, detail)| record::Outcome::Rejection(Rejection::new(code, detail))),
        1 => Just(record::Outcome::Opaque),
    ];
    let scope = prop::sample::select(&[Scope::Value, Scope::Record][..]);
    let code = prop::sample::select(&["biometric", "oversized"][..]);
    let withheld = (code, 0..=i64::MAX, any::<[u8; 32]>(), scope).prop_map(|(code, length, mac, scope)| Withheld {
        code,
        length,
        mac,
        scope,
    });
    (outcome, prop::option::weighted(0.2, withheld), prop::option::of("[0-9]{1,5}"))
        .prop_map(|(outcome, withheld, id)| Decoded { outcome, withheld, schema_id: id.map(Into::into) })
}

pub fn items() -> impl Strategy<Value = Vec<Item>> {
    let gap = (1..1_000_000_000_i64, prop::sample::select(&GapCause::ALL[..]));
    let item = prop_oneof![
        6 => (raw_record(), outcome()).prop_map(|pair| Item::Record(Box::new(pair))),
        1 => gap.prop_map(|(length, cause)| Item::Gap(length, cause)),
    ];
    prop::collection::vec(item, 0..12)
}

pub fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

/// A segment of these items from `from` on, and what it must read back as.
pub fn build(from: i64, codec: Codec, items: &[Item]) -> (SegmentBuilder, Vec<SealedRecord>) {
    let mut builder = SegmentBuilder::new(from, codec, 1);
    let mut want = Vec::new();
    for item in items {
        let offset = builder.to();
        match item {
            Item::Gap(length, cause) => {
                let gap = Gap { from: offset, to: offset + length, cause: *cause };
                builder.push_gap(gap).unwrap();
                want.push(of_gap(gap));
            }
            Item::Record(pair) => {
                let raw = RawRecord { offset, ..pair.0.clone() };
                assert!(builder.has_room(&raw));
                builder.push_record(&raw, &pair.1).unwrap();
                want.push(of_record(&raw, &pair.1));
            }
        }
    }
    (builder, want)
}

fn of_gap(gap: Gap) -> SealedRecord {
    SealedRecord { kind: LeafKind::Gap, gap: Some(gap), ..empty(gap.from) }
}

fn of_record(raw: &RawRecord, decoded: &Decoded) -> SealedRecord {
    let scope = decoded.withheld.as_ref().map(|w| w.scope);
    let whole = scope != Some(Scope::Record);
    let mut record = SealedRecord {
        timestamp: raw.timestamp,
        timestamp_type: raw.timestamp_type,
        key: raw.key.clone().filter(|_| whole),
        headers: if whole { raw.headers.clone() } else { vec![] },
        value: raw.value.clone().filter(|_| scope.is_none()),
        withheld: decoded.withheld.as_ref().map(|w| SealedWithheld {
            code: w.code.into(),
            length: w.length,
            mac: w.mac,
        }),
        ..empty(raw.offset)
    };
    match &decoded.outcome {
        record::Outcome::Event(event) => (record.kind, record.event) = (LeafKind::Event, Some(event.clone())),
        record::Outcome::Rejection(r) => {
            let rejection = SealedRejection { code: r.code.into(), detail: r.detail.clone() };
            (record.kind, record.rejection) = (LeafKind::Rejection, Some(rejection));
        }
        record::Outcome::Opaque => {}
    }
    record
}

fn empty(offset: i64) -> SealedRecord {
    SealedRecord {
        offset,
        kind: LeafKind::Opaque,
        timestamp: 0,
        timestamp_type: TimestampType::None,
        key: None,
        headers: vec![],
        value: None,
        withheld: None,
        event: None,
        rejection: None,
        gap: None,
    }
}
