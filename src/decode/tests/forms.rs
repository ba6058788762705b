//! Wire formats and writer schemas: what is read into which field, and that hostile bytes come to an end.

use super::*;
use crate::{
    avro::{
        canonical::{Style, fingerprint},
        put_bytes, put_long,
    },
    event::{Activity, Micros},
};

/// Writes one value.
type Put<'a> = &'a dyn Fn(&mut Vec<u8>);

fn bytes(parts: &[Put]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| part(&mut out));
    out
}

fn long(value: i64) -> impl Fn(&mut Vec<u8>) {
    move |out| put_long(out, value)
}

fn text(value: &str) -> impl Fn(&mut Vec<u8>) {
    move |out| put_bytes(out, value.as_bytes())
}

/// The schema fields `time` and `user`, and the bytes of both.
const TIME_AND_USER: &str = r#"{"name":"time","type":"long"},{"name":"user","type":"string"}"#;

fn time_and_user(out: &mut Vec<u8>) {
    put_long(out, NOW);
    put_bytes(out, b"alice");
}

/// Decodes a value of another field behind time and user.
fn with_field(field: &str, value: &[u8]) -> Decoded {
    let decoder = decoder(schema(&format!("{TIME_AND_USER},{field}")));
    decode(&decoder, [bytes(&[&time_and_user]), value.to_vec()].concat())
}

#[test]
fn the_same_event_comes_out_of_every_format() {
    let avro = canonical_avro();
    let id = fingerprint(CANONICAL_SCHEMA.as_bytes(), Style::Specification).unwrap().to_le_bytes();
    let rust_id = fingerprint(CANONICAL_SCHEMA.as_bytes(), Style::Unreduced).unwrap().to_le_bytes();
    assert_ne!(id, rust_id);
    let schemas = BTreeMap::from([(0x0102, file(CANONICAL_SCHEMA))]);
    let single = || Format::SingleObject { schemas: vec![] };
    let json = r#"{"event_id":"e","time":"2025-12-10T06:55:48.000Z","source":"s","user":"alice"}"#;
    let bare = event(decode(&decoder(Format::Avro { schema: None }), avro.clone()));
    assert_eq!((bare.time, bare.user.as_deref()), (Micros(NOW * 1000), Some("alice")));
    for (format, value) in [
        (Format::Avro { schema: Some(file(CANONICAL_SCHEMA)) }, avro.clone()),
        (Format::Confluent { schemas }, [&[0, 0, 0, 1, 2], &avro[..]].concat()),
        (single(), [&[0xc3, 1], &id[..], &avro].concat()),
        (single(), [&[0xc3, 1], &rust_id[..], &avro].concat()),
        (Format::Json, json.as_bytes().to_vec()),
    ] {
        assert_eq!(event(decode(&decoder(format), value)), bare);
    }
}

#[test]
fn tombstones_and_opaque_topics_are_sealed_as_they_are() {
    let opaque = Decoded { outcome: Outcome::Opaque, withheld: None, schema_id: None };
    let tombstone = RawRecord { value: None, ..record("") };
    for format in
        [Format::Json, Format::Avro { schema: None }, Format::SingleObject { schemas: vec![] }, Format::Opaque]
    {
        assert_eq!(decoder(format).decode(&chain(), &tombstone), opaque);
    }
    for value in ["", "anything", r#"{"face_image":"AAAA"}"#] {
        assert_eq!(decode(&decoder(Format::Opaque), value), opaque);
    }
}

#[test]
fn the_schemas_in_force_are_told() {
    let paths = |format| decoder(format).files().into_iter().map(|file| file.path).collect::<Vec<_>>();
    assert_eq!(paths(Format::Avro { schema: None }), ["schemas/auth_event.avsc"]);
    assert_eq!(paths(schema(TIME_AND_USER)), ["schemas/test.avsc"]);
    assert_eq!(paths(Format::Json), ["schemas/auth_event.avsc"]);
    assert!(paths(Format::Opaque).is_empty());
    let schemas = BTreeMap::from([(7, file(CANONICAL_SCHEMA)), (9, file(CANONICAL_SCHEMA))]);
    let want = ["confluent/7/schemas/test.avsc", "confluent/9/schemas/test.avsc"];
    assert_eq!(paths(Format::Confluent { schemas }), want);
}

#[test]
fn bad_settings_are_refused_by_name() {
    let error = |spec: TopicSpec| Decoder::new(spec, &KEY).err().unwrap().to_string();
    let bad = |text: &str| Some(file(text));
    let text = error(spec(Format::Avro { schema: bad("{") }));
    assert!(text.starts_with("schema schemas/test.avsc: the schema is not JSON"), "{text}");
    let text = error(spec(Format::Avro { schema: bad(r#""string""#) }));
    assert!(text.contains("is not a record"), "{text}");
    let text = error(spec(Format::Confluent { schemas: BTreeMap::from([(5, file("7"))]) }));
    assert!(text.starts_with("schema id 5: schema schemas/test.avsc: "), "{text}");
    let text = error(TopicSpec { secret_fields: vec![" ".into()], ..spec(Format::Json) });
    assert!(text.contains("secret_fields"), "{text}");
    let millis = r#"{"type":"record","name":"R","fields":[
        {"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
    let micros = millis.replace("millis", "micros");
    let text = error(spec(Format::SingleObject { schemas: vec![file(millis), file(&micros)] }));
    assert!(text.contains("one fingerprint"), "{text}");
    decoder(Format::SingleObject { schemas: vec![file(millis), file(millis), file(CANONICAL_SCHEMA)] });
}

#[test]
fn writer_types_are_read_into_the_types_of_the_fields() {
    let read = |field: &str, value: &[u8]| event(with_field(field, value));
    let double = 52.5_f64.to_le_bytes();
    assert_eq!(read(r#"{"name":"lat","type":"double"}"#, &double).lat, Some(52.5));
    assert_eq!(read(r#"{"name":"lat","type":"float"}"#, &52.1_f32.to_le_bytes()).lat, Some(52.1));
    assert_eq!(read(r#"{"name":"lat","type":"int"}"#, &bytes(&[&long(-7)])).lat, Some(-7.0));
    assert_eq!(read(r#"{"name":"lat","type":"string"}"#, &bytes(&[&text("1.5")])).lat, Some(1.5));
    assert_eq!(read(r#"{"name":"source_seq","type":"int"}"#, &bytes(&[&long(9)])).source_seq, Some(9));
    assert_eq!(read(r#"{"name":"acr","type":["null","long"]}"#, &bytes(&[&long(1), &long(3)])).acr, Some(3));
    assert_eq!(read(r#"{"name":"acr","type":["long","null"]}"#, &bytes(&[&long(0), &long(3)])).acr, Some(3));
    assert_eq!(read(r#"{"name":"acr","type":["long","null"]}"#, &bytes(&[&long(1)])).acr, None);
    let many = r#"{"name":"acr","type":["null","string","int","boolean"]}"#;
    assert_eq!(read(many, &bytes(&[&long(1), &text("4")])).acr, Some(4));
    assert_eq!(read(many, &bytes(&[&long(2), &long(5)])).acr, Some(5));
    assert_eq!(read(r#"{"name":"user_id","type":"bytes"}"#, &bytes(&[&text("u1")])).user_id.as_deref(), Some("u1"));
    assert_eq!(read(r#"{"name":"user_id","type":"long"}"#, &bytes(&[&long(17)])).user_id.as_deref(), Some("17"));
    assert_eq!(read(r#"{"name":"activity","type":"string"}"#, &bytes(&[&text("Logon")])).activity, Activity::Logon);
    let login = r#"{"name":"activity","type":{"type":"enum","name":"A","symbols":["logoff","LOGIN"]}}"#;
    assert_eq!(read(login, &bytes(&[&long(0)])).activity, Activity::Logoff);
    let unknown = read(login, &bytes(&[&long(1)]));
    assert_eq!((unknown.activity, unknown.attributes.get("raw.activity")), (Activity::Other, Some("LOGIN")));
    let four = r#"{"name":"src_ip","type":{"type":"fixed","name":"F","size":4}}"#;
    assert_eq!(read(four, &[10, 0, 0, 1]).src_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(read(r#"{"name":"src_ip","type":"bytes"}"#, &bytes(&[&text("::12")])).src_ip.as_deref(), Some("::12"));
    let raw = read(r#"{"name":"device","type":"bytes"}"#, &[4, 0xff, 0]);
    assert_eq!((raw.device.clone(), raw.attributes.get("raw.device")), (None, Some("/wA=")));
    for (unit, factor) in [("millis", 1000), ("micros", 1), ("nanos", 0)] {
        let field = format!(r#"{{"name":"auth_time","type":{{"type":"long","logicalType":"timestamp-{unit}"}}}}"#);
        let count = if factor == 0 { 1_000_000_000 } else { 1_000_000 / factor };
        assert_eq!(read(&field, &bytes(&[&long(count)])).auth_time, Some(Micros(1_000_000)), "{unit}");
    }
    let huge = read(
        r#"{"name":"auth_time","type":{"type":"long","logicalType":"timestamp-millis"}}"#,
        &bytes(&[&long(i64::MAX)]),
    );
    assert_eq!((huge.auth_time, huge.quality.as_slice()), (None, &["auth_time:invalid".into()][..]));
}

#[test]
fn fields_are_found_by_their_names_and_then_by_their_aliases() {
    let fields = r#"{"name":"time","type":"long"},{"name":"login","aliases":["user"],"type":"string"},
        {"name":"old","aliases":["user","actor"],"type":"string"}"#;
    let found = event(decode(&decoder(schema(fields)), bytes(&[&long(NOW), &text("alice"), &text("bob")])));
    assert_eq!((found.user.as_deref(), found.actor.as_deref()), (Some("alice"), Some("bob")));
    let fields = r#"{"name":"time","type":"long"},{"name":"login","aliases":["user"],"type":"string"},
        {"name":"user","type":"string"}"#;
    let found = event(decode(&decoder(schema(fields)), bytes(&[&long(NOW), &text("alice"), &text("bob")])));
    assert_eq!((found.user.as_deref(), found.attributes.get("login")), (Some("bob"), Some("alice")));
}

#[test]
fn fields_that_the_event_lacks_become_attributes() {
    let one = |kind: &str, value: &[u8]| {
        let found = event(with_field(&format!(r#"{{"name":"x","type":{kind}}}"#), value));
        found.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(one(r#""string""#, &bytes(&[&text("v")])), "x=v");
    assert_eq!(one(r#""long""#, &bytes(&[&long(-5)])), "x=-5");
    assert_eq!(one(r#""boolean""#, &[1]), "x=true");
    assert_eq!(one(r#""float""#, &0.1_f32.to_le_bytes()), "x=0.1");
    assert_eq!(one(r#""double""#, &1e300_f64.to_le_bytes()), "x=1e300");
    assert_eq!(one(r#""bytes""#, &[4, 0xff, 0]), "x=/wA=");
    assert_eq!(one(r#"["null","string"]"#, &[0]), "");
    assert_eq!(one(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2]), "x=B");
    assert_eq!(one(r#"{"type":"int","logicalType":"date"}"#, &bytes(&[&long(1)])), "x=1970-01-02T00:00:00Z");
    assert_eq!(
        one(r#"{"type":"long","logicalType":"timestamp-millis"}"#, &bytes(&[&long(1500)])),
        "x=1970-01-01T00:00:01.5Z"
    );
    assert_eq!(one(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, &[4, 4, 0xd2]), "x=12.34");
    assert_eq!(one(r#"{"type":"array","items":"int"}"#, &[4, 2, 4, 0]), "x.0=1 x.1=2");
    assert_eq!(one(r#"{"type":"map","values":"int"}"#, &[2, 2, b'k', 8, 0]), "x.k=4");
    let record =
        r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"},{"name":"next","type":["null","S"]}]}"#;
    assert_eq!(one(record, &[2, 2, 4, 0]), "x.a=1 x.next.a=2");
    let found =
        event(with_field(r#"{"name":"device","type":{"type":"map","values":"string"}}"#, &[2, 2, b'k', 2, b'v', 0]));
    assert_eq!((found.device.clone(), found.attributes.get("raw.device.k")), (None, Some("v")));
    assert_eq!(found.quality, ["device:invalid"]);
}

#[test]
fn blocks_of_every_kind_are_read() {
    let field = r#"{"name":"privileges","type":{"type":"array","items":"string"}}"#;
    // one block; two; a negative count with its size in bytes
    for value in [&[4, 2, b'a', 2, b'b', 0][..], &[2, 2, b'a', 2, 2, b'b', 0], &[3, 8, 2, b'a', 2, b'b', 0]] {
        assert_eq!(event(with_field(field, value)).privileges, ["a", "b"]);
    }
    for (value, code) in [
        (&[3, 6, 2, b'a', 2, b'b', 0][..], codes::NOT_AVRO),
        (&[3, 1, 2, b'a', 2, b'b', 0], codes::NOT_AVRO),
        (&[4, 2, b'a'], codes::TRUNCATED),
        (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, b'a'], codes::TRUNCATED),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], codes::TRUNCATED),
    ] {
        assert_eq!(rejection(&with_field(field, value)).0, code, "{value:?}");
    }
}

#[test]
fn bombs_come_to_an_end() {
    // 2^62 nulls, twice, and a block that says that it has 0 bytes
    let nulls = bytes(&[&long(1 << 62), &long(-(1 << 62)), &long(0), &long(0)]);
    for items in ["\"null\"", r#"{"type":"record","name":"E","fields":[]}"#, r#"{"type":"fixed","name":"Z","size":0}"#]
    {
        event(with_field(&format!(r#"{{"name":"x","type":{{"type":"array","items":{items}}}}}"#), &nulls));
        event(with_field(&format!(r#"{{"name":"privileges","type":{{"type":"array","items":{items}}}}}"#), &nulls));
    }
    // a record that is 2^60 empty ones
    let mut doubling = r#"{"type":"record","name":"D0","fields":[]}"#.to_string();
    for i in 1..=30 {
        let before = i - 1;
        doubling = format!(
            r#"{{"type":"record","name":"D{i}","fields":[{{"name":"a","type":{doubling}}},
                {{"name":"b","type":"D{before}"}},
                {{"name":"c","type":"D{before}"}},{{"name":"d","type":"D{before}"}}]}}"#
        );
    }
    event(with_field(&format!(r#"{{"name":"x","type":{doubling}}}"#), &[]));
    // a record that holds itself without an end
    event(with_field(r#"{"name":"x","type":{"type":"record","name":"L","fields":[{"name":"l","type":"L"}]}}"#, &[]));
    let list = r#"{"name":"x","type":{"type":"record","name":"L","fields":[{"name":"l","type":["null","L"]}]}}"#;
    event(with_field(list, &[&[2; 40][..], &[0]].concat()));
    assert_eq!(rejection(&with_field(list, &[2; 100_000])).1, "values nest too deep (field \"x\", byte 75)");
    let array = r#"{"name":"x","type":{"type":"record","name":"L","fields":[
        {"name":"l","type":{"type":"array","items":"L"}}]}}"#;
    assert_eq!(rejection(&with_field(array, &[2; 100_000])).0, codes::NOT_AVRO);
}

#[test]
fn a_date_beyond_every_moment_is_no_overflow() {
    let event = event(with_field(
        r#"{"name":"auth_time","type":{"type":"int","logicalType":"date"}}"#,
        &bytes(&[&long(i64::from(i32::MAX))]),
    ));
    assert_eq!(event.auth_time, None);
    assert_eq!(event.quality, ["auth_time:invalid"]);
}
