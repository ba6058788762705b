//! The Apache Avro crate as an independent reader: it knows nothing of authseal and must see the same values.

use super::{strategies::*, *};
use crate::event::{Field, Value as Seen};
use apache_avro::{Reader, types::Value};
use proptest::prelude::*;

/// The file in the null codec: the oracle is built without zstd, and this takes another way through libzstd than ours.
fn without_zstd(bytes: &[u8], codec: Codec) -> Vec<u8> {
    if codec != Codec::Zstandard {
        return bytes.to_vec();
    }
    let container = frame::Container::parse(bytes).unwrap();
    let note = std::str::from_utf8(container.note).unwrap();
    let mut out = frame::header(Codec::Null, container.schema, note, &container.marker).unwrap();
    let mut blocks = frame::Blocks::new(container.body, container.marker);
    while let Some(block) = blocks.next().unwrap() {
        crate::avro::put_long(&mut out, block.count);
        crate::avro::put_bytes(&mut out, &zstd::stream::decode_all(block.data).unwrap());
        out.extend_from_slice(&container.marker);
    }
    out
}

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    let Value::Record(fields) = record else { panic!("{record:?} is no record") };
    &fields.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no field {name}")).1
}

/// The value inside a union with null.
fn set(value: &Value) -> Option<&Value> {
    let Value::Union(branch, inner) = value else { panic!("{value:?} is no union") };
    assert_eq!(*branch == 0, **inner == Value::Null);
    (*branch == 1).then_some(inner)
}

fn bytes(value: &Value) -> Bytes {
    let Value::Bytes(bytes) = value else { panic!("{value:?} are no bytes") };
    Bytes::copy_from_slice(bytes)
}

fn string(value: &Value) -> &str {
    let Value::String(text) = value else { panic!("{value:?} is no string") };
    text
}

fn compare_event(value: &Value, event: &AuthEvent) {
    for name in Field::ALL {
        let found = field(value, name.name());
        let found = match found {
            Value::Union(..) => set(found).cloned().unwrap_or(Value::Null),
            found => found.clone(),
        };
        let want = match event.get(*name) {
            Seen::Null => Value::Null,
            Seen::Text(text) => Value::String(text.into()),
            Seen::Symbol(symbol) => {
                let Value::Enum(_, found) = &found else { panic!("{found:?} is no enum") };
                assert_eq!(found, symbol);
                continue;
            }
            Seen::Long(n) if *name == Field::acr => Value::Int(n as i32),
            Seen::Long(n) => Value::Long(n),
            Seen::Micros(t) => Value::TimestampMicros(t.0),
            Seen::Double(x) => Value::Double(x),
            Seen::Bool(b) => Value::Boolean(b),
            Seen::Texts(texts) => Value::Array(texts.iter().map(|t| Value::String(t.to_string())).collect()),
            Seen::Map(map) => Value::Map(map.iter().map(|(k, v)| (k.into(), Value::String(v.into()))).collect()),
        };
        assert_eq!(found, want, "{}", name.name());
    }
}

fn compare(value: &Value, want: &SealedRecord) {
    assert_eq!(field(value, "offset"), &Value::Long(want.offset));
    assert_eq!(field(value, "timestamp"), &Value::Long(want.timestamp));
    let kinds = ["EVENT", "REJECTION", "OPAQUE", "GAP"];
    assert_eq!(field(value, "kind"), &Value::Enum(want.kind as u32, kinds[want.kind as usize].into()));
    let types = ["NONE", "CREATE_TIME", "LOG_APPEND_TIME"];
    let of = want.timestamp_type as usize;
    assert_eq!(field(value, "timestamp_type"), &Value::Enum(of as u32, types[of].into()));
    assert_eq!(set(field(value, "key")).map(bytes), want.key);
    assert_eq!(set(field(value, "value")).map(bytes), want.value);
    let Value::Array(headers) = field(value, "headers") else { panic!("headers are no array") };
    let headers =
        headers.iter().map(|h| Header { key: bytes(field(h, "key")), value: set(field(h, "value")).map(bytes) });
    assert_eq!(headers.collect::<Vec<_>>(), want.headers);
    assert_eq!(set(field(value, "protection")), None);
    let withheld = set(field(value, "withheld")).map(|w| {
        let mac = bytes(field(w, "mac"))[..].try_into().unwrap();
        let Value::Long(length) = field(w, "length") else { panic!("length is no long") };
        SealedWithheld { code: string(field(w, "code")).into(), length: *length, mac }
    });
    assert_eq!(withheld, want.withheld);
    let rejection = set(field(value, "rejection"));
    let rejection = rejection.map(|r| (string(field(r, "code")), string(field(r, "detail"))));
    assert_eq!(rejection, want.rejection.as_ref().map(|r| (r.code.as_str(), r.detail.as_str())));
    let gap = set(field(value, "gap")).map(|g| (field(g, "to").clone(), string(field(g, "cause"))));
    assert_eq!(gap, want.gap.map(|g| (Value::Long(g.to), g.cause.name())));
    let event = set(field(value, "event"));
    assert_eq!(event.is_some(), want.event.is_some());
    if let (Some(found), Some(event)) = (event, &want.event) {
        compare_event(found, event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn another_avro_reader_sees_the_same_values(from in 0..i64::MAX / 2, codec in codec(), items in items()) {
        let (builder, want) = build(from, codec, &items);
        let sealed = sealed(builder);
        let file = without_zstd(&sealed.bytes, codec);
        let reader = Reader::new(&file[..]).unwrap();
        let values: Vec<_> = reader.map(|value| value.unwrap()).collect();
        prop_assert_eq!(values.len(), want.len());
        values.iter().zip(&want).for_each(|(value, want)| compare(value, want));
    }
}
