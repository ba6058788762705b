//! The schemas: they agree with each other, with the table of fields, with what is pinned, and with what other versions
//! wrote.

use super::*;
use crate::{
    artifact::File,
    avro::{put_bytes, put_long},
    event::{Field, FieldType},
    fault::code,
    segment::schema::Plan,
};
use serde_json::{Value, json};

const AUTH_EVENT: &str = include_str!("../../../schemas/auth_event.avsc");
const SEALED_RECORD: &str = include_str!("../../../schemas/sealed_record.avsc");

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Changing what segments carry changes this. That is allowed for new optional fields of events, with a golden store
/// beside
/// the old ones; it is never allowed for anything else.
#[test]
fn the_schema_bytes_are_pinned() {
    assert_eq!(schema_digest().hex(), "19031f460a8a83096dd2acc69fe5aec1051d0894b2b059a42ef668922c012d21");
    assert_eq!(schema_digest(), Digest::of(schema_bytes()));
    let text = std::str::from_utf8(schema_bytes()).unwrap();
    assert!(
        text.starts_with(r#"{"type":"record","name":"SealedRecord","namespace":"authseal","fields":[{"name":"offset""#)
    );
    assert!(text.is_ascii() && !text.contains("\"doc\"") && !text.contains(": "), "{text}");
}

#[test]
fn the_sealed_record_holds_the_event_of_its_own_file() {
    let mut event = parsed(AUTH_EVENT);
    assert_eq!(event.as_object_mut().unwrap().shift_remove("namespace"), Some(json!("authseal")));
    let sealed = parsed(SEALED_RECORD);
    assert_eq!(sealed["namespace"], "authseal");
    let fields = sealed["fields"].as_array().unwrap();
    let inlined = &fields.iter().find(|f| f["name"] == "event").unwrap()["type"][1];
    assert_eq!(
        inlined.to_string(),
        event.to_string(),
        "schemas/auth_event.avsc and its copy in sealed_record.avsc differ"
    );
    // every Avro parser must take both, alone
    apache_avro::Schema::parse_str(AUTH_EVENT).unwrap();
    apache_avro::Schema::parse_str(SEALED_RECORD).unwrap();
}

#[test]
fn the_event_schema_is_the_table_of_fields() {
    let schema = parsed(AUTH_EVENT);
    let fields = schema["fields"].as_array().unwrap();
    assert_eq!(fields.len(), Field::ALL.len());
    for (field, json) in Field::ALL.iter().zip(fields) {
        assert_eq!(json["name"], field.name());
        assert!(json["doc"].as_str().is_some_and(|doc| doc.len() > 5), "{json}");
        let optional = |of: Value| (json!(["null", of]), Some(Value::Null));
        let micros = json!({"type": "long", "logicalType": "timestamp-micros"});
        let (of, default) = match field.field_type() {
            FieldType::Text => (json!("string"), None),
            FieldType::OptText => optional(json!("string")),
            FieldType::Micros => (micros, None),
            FieldType::OptMicros => optional(micros),
            FieldType::OptLong => optional(json!("long")),
            FieldType::OptInt => optional(json!("int")),
            FieldType::OptDouble => optional(json!("double")),
            FieldType::OptBool => optional(json!("boolean")),
            FieldType::Texts => (json!({"type": "array", "items": "string"}), Some(json!([]))),
            FieldType::Map => (json!({"type": "map", "values": "string"}), Some(json!({}))),
            FieldType::Enum(symbols, default) => {
                assert_eq!((&json["type"]["symbols"], &json["type"]["default"]), (&json!(symbols), &json!(default)));
                assert_eq!(json["type"]["type"], "enum");
                (json["type"].clone(), Some(json!(default)))
            }
        };
        assert_eq!(json["type"], of, "{}", field.name());
        assert_eq!(json.get("default").cloned(), default, "{}", field.name());
    }
}

/// The schema with `change` made to it, as another version of authseal might write it.
fn changed(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut schema: Value = serde_json::from_slice(schema_bytes()).unwrap();
    change(&mut schema);
    schema.to_string().into_bytes()
}

fn event_fields(schema: &mut Value) -> &mut Vec<Value> {
    schema["fields"][9]["type"][1]["fields"].as_array_mut().unwrap()
}

#[test]
fn schemas_of_other_shapes_are_refused() {
    let outer = |name: &'static str, value: Value| move |s: &mut Value| s[name] = value.clone();
    let field = |n: usize, value: Value| move |s: &mut Value| s["fields"][n]["type"] = value.clone();
    let step = |name: &'static str, value: Value| {
        move |s: &mut Value| {
            let fields = event_fields(s);
            fields.iter_mut().find(|f| f["name"] == name).unwrap()["type"] = value.clone();
        }
    };
    let nested = json!({"type": "record", "name": "Deep", "fields": [{"name": "more", "type": ["null", "Deep"]}]});
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no JSON", b"{".to_vec()),
        ("no record", b"\"string\"".to_vec()),
        ("another name", changed(outer("name", json!("Other")))),
        ("another namespace", changed(outer("namespace", json!("other")))),
        ("no fields", changed(outer("fields", json!([])))),
        ("timestamp as text", changed(field(2, json!("string")))),
        ("timestamp as moment", changed(field(2, json!({"type": "long", "logicalType": "timestamp-millis"})))),
        ("key not optional", changed(field(4, json!("bytes")))),
        ("a recursive key", changed(field(4, nested))),
        ("no event", changed(|s| s["fields"][9]["type"] = json!(["null", "bytes"]))),
        ("another order", changed(|s| s["fields"].as_array_mut().unwrap().swap(0, 2))),
        ("one more field", changed(|s| s["fields"].as_array_mut().unwrap().push(json!({"name": "x", "type": "long"})))),
        ("another kind", changed(|s| s["fields"][1]["type"]["symbols"][3] = json!("HOLE"))),
        ("time as text", changed(step("time", json!("string")))),
        ("time without its unit", changed(step("time", json!("long")))),
        ("user not optional", changed(step("user", json!("string")))),
        ("acr as long", changed(step("acr", json!(["null", "long"])))),
        ("city as fixed", changed(step("city", json!(["null", {"type": "fixed", "name": "F", "size": 2}])))),
        ("no time", changed(|s| event_fields(s).retain(|f| f["name"] != "time"))),
        ("time twice", changed(|s| event_fields(s).push(json!({"name": "time", "type": ["null", "string"]})))),
    ];
    for (what, schema) in cases {
        assert_eq!(Plan::of(&schema).map(drop).map_err(|f| f.code), Err(code::SCHEMA_FORM), "{what}");
    }
}

/// An object with this schema and these leaves, as another version of authseal would have sealed it.
fn foreign(schema: &[u8], leaves: &[Vec<u8>], times: (i64, i64)) -> Vec<u8> {
    let mut tree = crate::merkle::Tree::default();
    leaves.iter().for_each(|leaf| tree.push(Digest::leaf(leaf)));
    let marker = schema::sync_marker(schema, &tree.root());
    let mut body = Vec::new();
    put_long(&mut body, leaves.len() as i64);
    put_bytes(&mut body, &leaves.concat());
    body.extend_from_slice(&marker);
    let count = leaves.len() as i64;
    let draft = Draft {
        body,
        codec: Codec::Null,
        root: tree.root(),
        offsets: Offsets { from: 0, to: count },
        counts: Counts { records: count, events: count, ..Counts::default() },
        times: Times {
            first_event: Some(times.0),
            last_event: Some(times.1),
            first_record: None,
            last_record: None,
            sealed: 0,
        },
    };
    let manifest = Manifest { schema: Digest::of(schema), ..manifest(&draft) };
    let note = signer().sign(&manifest.line().unwrap()).unwrap();
    let mut file = frame::header(Codec::Null, schema, &note, &marker).unwrap();
    file.extend_from_slice(&draft.body);
    file
}

#[test]
fn segments_of_other_versions_are_read_by_their_own_schema() {
    // another version: it has only five fields of ours, in another order, more activities, and fields that we do not
    // know
    let activity = json!({"type": "enum", "name": "Activity", "symbols": ["DANCE", "LOGON"], "default": "DANCE"});
    let schema = changed(|s| {
        *event_fields(s) = vec![
            json!({"name": "mood", "type": ["null", "string"], "default": null}),
            json!({"name": "activity", "type": activity}),
            json!({"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}}),
            json!({"name": "scores", "type": ["null", {"type": "array", "items": "string"}]}),
            json!({"name": "user", "type": ["null", "string"], "default": null}),
            json!({"name": "extra", "type": {"type": "map", "values": "string"}}),
            json!({"name": "acr", "type": ["null", "int"]}),
            json!({"name": "weight", "type": "double"}),
        ];
    });
    let leaf = |offset: i64, activity: u8, user: &str| {
        let mut leaf = Vec::new();
        put_long(&mut leaf, offset);
        leaf.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 2]); // an event without key, headers, value …
        leaf.extend_from_slice(b"\x02\x06sad"); // mood
        leaf.push(2 * activity);
        put_long(&mut leaf, offset * 1_000_000); // time
        leaf.extend_from_slice(b"\x02\x04\x02a\x02b\x00"); // scores
        leaf.push(2);
        put_bytes(&mut leaf, user.as_bytes());
        leaf.extend_from_slice(b"\x02\x02k\x02v\x00"); // extra
        leaf.extend_from_slice(b"\x02\x0e"); // acr 7
        leaf.extend_from_slice(&1.5_f64.to_le_bytes());
        leaf.extend_from_slice(&[0, 0]);
        leaf
    };
    let file = foreign(&schema, &[leaf(0, 0, "mia"), leaf(1, 1, "tom")], (0, 1000));
    assert_eq!(open(&file, &crate::note::Verifiers::of(&signer())).map(drop), Ok(()));
    let events: Vec<_> = records(&file).into_iter().map(|r| *r.event.unwrap()).collect();
    let want = AuthEvent { user: Some("mia".into()), acr: Some(7), ..AuthEvent::default() };
    assert_eq!(events[0], want, "a symbol that is not known is the default");
    assert_eq!(events[1].activity, crate::event::Activity::Logon);
    assert_eq!((events[1].time, events[1].user.as_deref()), (Micros(1_000_000), Some("tom")));
}

#[test]
fn the_bundle_of_schemas_is_what_the_artifact_names() {
    let files = vec![File { path: "auth_event.avsc".into(), bytes: AUTH_EVENT.into() }];
    let (digest, bytes) = crate::artifact::bundle(files.clone());
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(crate::artifact::unbundle(&bytes), Ok(files));
}
