//! Topics of which only the event is kept: nothing that could be replayed stays, and yet events join.

use super::*;
use crate::record::Header;

const SESSION: &str = "s3ss10n-cookie-value";

fn keeper(format: Format) -> Decoder {
    Decoder::new(TopicSpec { keep_event_only: true, ..spec(format) }, &KEY).unwrap()
}

fn keep(members: &str) -> Decoded {
    decode(&keeper(Format::Json), format!(r#"{{"time":1765349748,"user":"alice",{members}}}"#))
}

fn pseudonym(class: &str, text: &str) -> String {
    let mac = hmac(&[b"authseal/pseudonym@1\0", class.as_bytes(), b"\0", text.as_bytes()].concat());
    format!("{PSEUDONYM_PREFIX}{class}:{}", crate::digest::hex(&mac[..16]))
}

#[test]
fn identifiers_become_pseudonyms_that_join() {
    let found = event(keep(
        r#""session":"abc-123456","root_session":"abc-123456","token_id":"abc-123456",
        "token_family":"t","device_token":"d""#,
    ));
    assert_eq!(found.session.as_deref(), Some(pseudonym("session", "abc-123456").as_str()));
    assert_eq!(found.root_session, found.session);
    assert_eq!(found.token_id.as_deref(), Some(pseudonym("token", "abc-123456").as_str()));
    assert_eq!(found.token_family.as_deref(), Some(pseudonym("token", "t").as_str()));
    assert_eq!(found.device_token.as_deref(), Some(pseudonym("device", "d").as_str()));
    // of other events, under another key
    assert_eq!(event(keep(r#""session":"abc-123456""#)).session, found.session);
    let spec = TopicSpec { keep_event_only: true, ..spec(Format::Json) };
    let other = Decoder::new(spec, &[8; 32]).unwrap();
    let other = event(decode(&other, r#"{"time":1765349748,"session":"abc-123456"}"#));
    assert_ne!(other.session, found.session);
}

#[test]
fn the_value_is_withheld_whatever_its_outcome() {
    for (value, code) in [
        (r#"{"time":1765349748,"user":"a"}"#, "keep_event"),
        (r#"{"time":1765349748}"#, "keep_event"),
        ("not json", "keep_event"),
        (r#"{"face_image":"x"}"#, "biometric"),
    ] {
        let withheld = decode(&keeper(Format::Json), value).withheld.unwrap();
        let want = Withheld { code, length: value.len() as i64, mac: hmac(value.as_bytes()), scope: Scope::Value };
        assert_eq!(withheld, want);
    }
    let opaque = decode(&keeper(Format::Opaque), "anything");
    assert_eq!((opaque.outcome, opaque.withheld.unwrap().code), (Outcome::Opaque, "keep_event"));
    let tombstone = RawRecord { value: None, ..record("") };
    assert_eq!(keeper(Format::Json).decode(&chain(), &tombstone).withheld, None);
}

#[test]
fn nothing_that_could_be_replayed_stays_in_the_event() {
    let long = format!("{SESSION}{}", "x".repeat(MAX_TEXT));
    for members in [
        format!(r#""session":"{SESSION}","resource":"/x?sid={SESSION}&y","user_agent":"{SESSION}""#),
        format!(
            r#""session":"{SESSION}","attributes":{{"copy":"{SESSION}","in {SESSION}":"z"}},"privileges":["{SESSION}"]"#
        ),
        format!(r#""token_id":"{long}""#),
        format!(r#""session":{{"id":"{SESSION}"}}"#),
        format!(r#""device":{{"cookie":"{SESSION}"}}"#),
        format!(r#""refresh_token":"{SESSION}","headers":{{"cookie":"{SESSION}"}}"#),
        format!(r#""attributes":{{"refresh_token":"{SESSION}","Set-Cookie":"{SESSION}"}}"#),
    ] {
        let found = event(keep(&members));
        assert!(!format!("{found:?}").contains(SESSION), "{members}: {found:?}");
    }
    let found =
        event(keep(&format!(r#""session":"{SESSION}","attributes":{{"jsessionid":"{SESSION}","amount":"5"}}"#)));
    assert_eq!(found.attributes.get("jsessionid"), found.session.as_deref());
    assert_eq!(found.attributes.get("amount"), Some("5"));
}

#[test]
fn a_malformed_field_that_is_no_identifier_keeps_its_text() {
    let found = event(keep(r#""src_ip":"1.2.3.4:443""#));
    assert_eq!(found.attributes.get("raw.src_ip"), Some("1.2.3.4:443"));
}

#[test]
fn rejections_show_no_piece_of_the_value() {
    let avro = r#"{"name":"time","type":"long"},{"name":"note","type":"string"}"#;
    let avro = match schema(avro) {
        Format::Avro { schema } => Format::Avro { schema },
        other => other,
    };
    for (format, value, want) in [
        (Format::Json, format!(r#"{{"{SESSION}":1,"{SESSION}":2}}"#), "a name stands twice in an object (byte 26)"),
        (
            Format::Json,
            format!(r#"{{"time":"{SESSION}"}}"#),
            "the time is neither RFC 3339 nor a number (field \"time\")",
        ),
        (Format::Json, format!(r#"{{"x":{SESSION}}}"#), "here should be a value (byte 5)"),
        (
            Format::Json,
            r#"{"a":{"face_image":"x"}}"#.into(),
            "a field named as a biometric template or image has a value (byte 19)",
        ),
        (avro, "\u{2}\u{40}short".into(), "the bytes end too early (field \"note\", byte 1)"),
    ] {
        let decoded = decode(&keeper(format), value);
        assert_eq!(rejection(&decoded).1, want);
    }
}

#[test]
fn a_key_or_header_that_repeats_an_identifier_is_withheld_too() {
    let value = format!(r#"{{"time":1765349748,"session":"{SESSION}"}}"#);
    let mut raw = record(value);
    raw.key = Some(Bytes::from_static(b"alice"));
    let scope = |raw: &RawRecord| keeper(Format::Json).decode(&chain(), raw).withheld.unwrap().scope;
    assert_eq!(scope(&raw), Scope::Value);
    raw.key = Some(Bytes::from(SESSION));
    assert_eq!(scope(&raw), Scope::Record);
    raw.key = None;
    raw.headers = vec![Header { key: "cookie".into(), value: Some(format!("sid={SESSION}; x").into()) }];
    assert_eq!(scope(&raw), Scope::Record);
}
