//! Every reason code, reached; what is withheld with it, and what its detail does not show.

use super::*;
use crate::record::Header;

fn header(key: &[u8], value: &[u8]) -> Header {
    Header { key: Bytes::copy_from_slice(key), value: Some(Bytes::copy_from_slice(value)) }
}

fn confluent() -> Format {
    Format::Confluent { schemas: BTreeMap::from([(7, file(CANONICAL_SCHEMA))]) }
}

fn single_object() -> Format {
    Format::SingleObject { schemas: Vec::new() }
}

/// A record for each reason code.
fn examples() -> Vec<(&'static str, Decoder, Vec<u8>)> {
    let avro = || decoder(Format::Avro { schema: None });
    let json = || decoder(Format::Json);
    let secret = TopicSpec { secret_fields: vec!["api_key".into()], ..spec(Format::Json) };
    let mut broken = json();
    broken.panics = true;
    vec![
        (codes::EMPTY, json(), vec![]),
        (codes::OVERSIZED, json(), vec![b' '; MAX_VALUE + 1]),
        (codes::WRONG_MAGIC, decoder(confluent()), vec![1, 0, 0, 0, 7]),
        (codes::UNKNOWN_SCHEMA_ID, decoder(confluent()), vec![0, 0, 0, 0, 8]),
        (codes::UNKNOWN_FINGERPRINT, decoder(single_object()), vec![0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        (codes::TRUNCATED, avro(), canonical_avro()[..9].to_vec()),
        (codes::NOT_AVRO, avro(), vec![1]),
        (codes::TRAILING_BYTES, avro(), [canonical_avro(), vec![0]].concat()),
        (codes::NOT_JSON, json(), b"{time}".to_vec()),
        (codes::JSON_FORM, json(), b"[1]".to_vec()),
        (codes::UNMAPPED, decoder(mapped()), b"{}".to_vec()),
        (codes::MISSING_TIME, json(), br#"{"user":"a"}"#.to_vec()),
        (codes::IMPOSSIBLE_TIME, json(), br#"{"time":-1,"user":"a"}"#.to_vec()),
        (codes::NO_IDENTITY, json(), br#"{"time":1765349748}"#.to_vec()),
        (codes::BIOMETRIC, json(), br#"{"face_image":"AAAA"}"#.to_vec()),
        (codes::SECRET_FIELD, Decoder::new(secret, &KEY).unwrap(), br#"{"x":{"API_Key":"hunter2"}}"#.to_vec()),
        (codes::INTERNAL, broken, b"{}".to_vec()),
    ]
}

/// A mapping that knows one kind of record.
fn mapped() -> Format {
    let head = "mapping = 1\nname = \"m\"\nproduct = \"M\"\nabout = \"M.\"\ninput = \"json\"\n";
    let kind = "[[event]]\nname = \"k\"\nwhen = { a = { exists = true } }\nfields.time = \"a\"\n";
    let mapping = File { path: "m.toml".into(), bytes: format!("{head}{kind}").into_bytes() };
    Format::Mapped { mapping, text: false, zone: None }
}

#[test]
fn every_code_is_reached_and_explained() {
    let mut reached: Vec<_> = examples()
        .into_iter()
        .map(|(code, decoder, value)| {
            let decoded = decode(&decoder, value);
            assert_eq!(rejection(&decoded).0, code);
            code
        })
        .collect();
    let mut large = record("{}");
    large.headers = vec![header(b"h", &vec![0; MAX_VALUE])];
    let decoded = decoder(Format::Json).decode(&chain(), &large);
    reached.push(rejection(&decoded).0);
    let withheld = decoded.withheld.unwrap();
    assert_eq!(
        (withheld.code, withheld.scope, withheld.length),
        ("oversized_record", Scope::Record, large.size() as i64)
    );
    // what a registry refuses
    let asks = decoder(Format::Registry { schemas: BTreeMap::new() });
    for code in [codes::SCHEMA_UNUSABLE, codes::SCHEMA_UNAVAILABLE] {
        let refusal = Refusal { code, detail: "schema id 7: why".into() };
        let decoded = asks.decode_with(&chain(), &record("\0\0\0\0\u{7}x"), Some(&refusal));
        assert_eq!(rejection(&decoded), (code, "schema id 7: why"));
        assert_eq!(decoded.schema_id.as_deref(), Some("7"));
        reached.push(code);
    }
    let mut listed: Vec<_> = codes::ALL.iter().map(|c| c.code).collect();
    assert!(codes::ALL.iter().all(|c| !c.cause.is_empty() && !c.remedy.is_empty()));
    reached.sort_unstable();
    listed.sort_unstable();
    assert_eq!(reached, listed);
}

#[test]
fn ids_are_asked_for_that_a_registry_can_have_given_and_nobody_knows() {
    let pinned = || BTreeMap::from([(7, file(CANONICAL_SCHEMA))]);
    let asks = decoder(Format::Registry { schemas: pinned() });
    let value = |id: u32| {
        let bytes = [&[0][..], &id.to_be_bytes(), b"x"].concat();
        RawRecord { value: Some(bytes.into()), ..RawRecord::default() }
    };
    assert_eq!(asks.wants(&value(8)), Some(8));
    for never in [value(7), value(1 << 31), record("\u{1}abcdef"), record("\0\0\0"), RawRecord::default()] {
        assert_eq!(asks.wants(&never), None, "{never:?}");
    }
    assert_eq!(decoder(Format::Confluent { schemas: pinned() }).wants(&value(8)), None);
    // what came is known, and part of what is in force
    let more = asks.with_schemas(&[(8, file(CANONICAL_SCHEMA)), (7, file(CANONICAL_SCHEMA))]).unwrap();
    assert_eq!((more.wants(&value(8)), more.knows(8), asks.knows(8)), (None, true, false));
    assert_eq!((asks.files().len(), more.files().len()), (1, 2));
    assert!(decoder(Format::Json).with_schemas(&[]).is_err());
}

#[test]
fn the_manual_explains_every_code() {
    let manual = include_str!("../../../docs/input.md");
    for code in codes::ALL {
        let row = format!("| `{}` | {} | {} |", code.code, code.cause, code.remedy);
        assert!(manual.contains(&row), "docs/input.md lacks the row\n{row}");
    }
}

#[test]
fn details_say_where() {
    for (format, value, want) in [
        (Format::Json, &br#"{"time":"2025-12-10T06:55:48Z",}"#[..], "here should be a name in quotes (byte 31)"),
        (Format::Json, b"\xef\xbb\xbf{\"a\":nul}", "here should be null, true or false (byte 8)"),
        (Format::Json, br#"{"a":1,"b":{"c":1,"c":2}}"#, "a name stands twice in an object (field \"c\", byte 18)"),
        (Format::Json, br#"{"user":1"#, "the JSON ends too early (byte 9)"),
        (Format::Json, br#"{"user":1} {}"#, "something follows the event (byte 11)"),
        (Format::Json, b"{\"\xff\":1}", "the value is not UTF-8 (byte 2)"),
        (
            Format::Json,
            br#"{"time":"2025-12-12T06:55:48Z","user":"a"}"#,
            "the time is more than 24 hours after the record's own: 2025-12-12T06:55:48Z (field \"time\")",
        ),
        (
            Format::Json,
            br#"{"time":32503680000,"user":"a"}"#,
            "the time is after 2999: 3000-01-01T00:00:00Z (field \"time\")",
        ),
        (
            Format::Json,
            br#"{"time":"yesterday"}"#,
            "the time is neither RFC 3339 nor a number: yesterday (field \"time\")",
        ),
        (Format::Json, br#"{"time":["x"]}"#, "the time is neither RFC 3339 nor a number: [\"x\"] (field \"time\")"),
        (confluent(), &[0, 0, 0, 1, 0], "schema id 256 is not known for this topic"),
        (confluent(), &[0, 0, 0], "the bytes end within the schema id (byte 3)"),
        (confluent(), &[0, 0, 0, 0, 7, 1], "a length is negative (field \"event_id\", byte 5)"),
        (
            schema(r#"{"name":"when","type":"int"}"#),
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1],
            "an int is beyond 32 bits (field \"when\", byte 0)",
        ),
    ] {
        let decoded = decode(&decoder(format), value);
        assert_eq!(rejection(&decoded).1, want);
        assert_eq!(decoded.withheld, None);
    }
}

#[test]
fn schema_ids_are_told_even_if_unknown() {
    let id = |format, value: &[u8]| decode(&decoder(format), value).schema_id;
    assert_eq!(id(confluent(), &[0, 0, 0, 0, 9]).as_deref(), Some("9"));
    assert_eq!(id(confluent(), &[&[0, 0, 0, 0, 7][..], &canonical_avro()].concat()).as_deref(), Some("7"));
    assert_eq!(id(single_object(), &[0xc3, 1, 1, 0, 0, 0, 0, 0, 0, 0]).as_deref(), Some("0000000000000001"));
    assert_eq!(id(confluent(), &[1]), None);
}

#[test]
fn a_time_may_be_a_day_ahead_of_its_record_and_no_more() {
    let at = |seconds: i64, kind, stamp| {
        let value = format!(r#"{{"time":{seconds},"user":"a"}}"#);
        let raw = RawRecord { timestamp_type: kind, timestamp: stamp, ..record(value) };
        matches!(decoder(Format::Json).decode(&chain(), &raw).outcome, Outcome::Event(_))
    };
    let day = NOW / 1000 + 24 * 3600;
    for kind in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        assert!(at(day, kind, NOW) && !at(day + 1, kind, NOW));
        // the record's own time is no time: the event's is taken for what it says
        assert!(at(day + 1, kind, -1) && at(day + 1, kind, i64::MAX) && at(day + 1, kind, i64::MIN));
    }
    assert!(at(day + 1, TimestampType::None, NOW));
    assert!(at(0, TimestampType::CreateTime, NOW) && !at(32_503_680_000, TimestampType::None, 0));
}

#[test]
fn biometric_material_is_withheld_wherever_it_stands() {
    let jpeg = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAgGBgcGBQgHBwc";
    for members in [
        r#""fingerprint_template":"Rk1SACAyMAAAAAEI""#.to_string(),
        r#""faceImage":"x""#.into(),
        r#""details":{"capture":{"face_image":"x"}}"#.into(),
        r#""face":{"image":"x"}"#.into(),
        r#""attributes":{"iris_code":"x"}"#.into(),
        r#""list":[{"a":1},{"minutiae":[[1,2],[3,4]]}]"#.into(),
        r#""biometric_template":[0.12,0.5]"#.into(),
        r#""user":{"voiceprint":"x"}"#.into(),
        r#""privileges":[{"face_image":"x"}]"#.into(),
        format!(r#""photo":"{jpeg}""#),
        format!(r#""user_agent":"{jpeg}""#),
        format!(r#""device":["{jpeg}"]"#),
        format!(r#""privileges":["{jpeg}"]"#),
        format!(r#""attributes":{{"x":"data:image/png;base64,{jpeg}"}}"#),
        r#""blob":[255,216,255,224,0,16,74,70]"#.into(),
        r#""blob":[-1,-40,-1,-32,0,16,74,70]"#.into(),
        r#""payload":"{\"face_image\":\"AAAA\"}""#.into(),
        r#""face_image":"x","then":"malformed"#.into(),
        r#""malformed":01,"face_image":"x""#.into(),
        r#""malformed":01,"face\u005fimage":"x""#.into(),
        format!(r#""malformed":01,"x":"{jpeg}""#),
    ] {
        let decoded = json(&members);
        let (code, detail) = rejection(&decoded);
        assert_eq!(code, codes::BIOMETRIC, "{members}: {detail}");
        let withheld = decoded.withheld.as_ref().unwrap();
        let value = format!(r#"{{"time":"2025-12-10T06:55:48Z","user":"alice",{members}}}"#);
        assert_eq!(
            (withheld.code, withheld.scope, withheld.length, withheld.mac),
            (codes::BIOMETRIC, Scope::Value, value.len() as i64, hmac(value.as_bytes()))
        );
        assert!(!detail.contains(jpeg) && !detail.contains("Rk1S") && !detail.contains("alice"), "{detail}");
    }
}

#[test]
fn what_only_speaks_of_biometrics_is_no_material() {
    for members in [
        r#""factor":"FINGERPRINT","credential_id":"fp-17","verification":"VERIFIED""#,
        r#""device_fingerprint":"a3f9c2","ja4":"t13d1516h2_8daaf6152771_b186095e22b6""#,
        r#""ssh_fingerprint":"SHA256:uNiVztksCsDhcc0u9e8BrqXwXXbnGKUUKGhHqzz3wX5""#,
        r#""face_image":null,"fingerprint_template":"","face_score":0.98,"has_face_image":true"#,
        r#""face_image_id":"img-17","face_image_url":"https://vault/17","face_scan":"passed""#,
        r#""minutiae":34,"face":{"result":"match"},"image":"registry/app:1","template":"otp""#,
        r#""resource":"/9j/index.html","user_agent":"data and more""#,
        r#""face_image":{"id":"17","format":"jpeg"}"#,
    ] {
        event(json(members));
    }
}

#[test]
fn keys_and_headers_are_searched_too() {
    let clean = r#"{"time":"2025-12-10T06:55:48Z","user":"alice"}"#;
    let jpeg: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF";
    let with = |key: Option<&[u8]>, headers: Vec<Header>, value: Option<&str>| {
        let mut raw = record("");
        raw.key = key.map(Bytes::copy_from_slice);
        raw.headers = headers;
        raw.value = value.map(|v| Bytes::copy_from_slice(v.as_bytes()));
        let secret_fields = vec!["x-token".into()];
        let decoder = Decoder::new(TopicSpec { secret_fields, ..spec(Format::Json) }, &KEY).unwrap();
        (decoder.decode(&chain(), &raw), raw)
    };
    for (key, headers, code) in [
        (Some(jpeg), vec![], codes::BIOMETRIC),
        (Some(&br#"{"face_image":"x"}"#[..]), vec![], codes::BIOMETRIC),
        (None, vec![header(b"a", b"b"), header(b"face_image", b"x")], codes::BIOMETRIC),
        (None, vec![header(b"a", jpeg)], codes::BIOMETRIC),
        (None, vec![header(b"X-Token", b"x")], codes::SECRET_FIELD),
        (None, vec![header(b"h", b"a=1; x-token=2")], codes::SECRET_FIELD),
    ] {
        for value in [Some(clean), None] {
            let (decoded, raw) = with(key, headers.clone(), value);
            assert_eq!(rejection(&decoded).0, code);
            let withheld = decoded.withheld.unwrap();
            assert_eq!((withheld.scope, withheld.length), (Scope::Record, raw.size() as i64));
        }
    }
    let (decoded, _) =
        with(Some(b"alice"), vec![header(b"traceparent", b"00-4bf9"), header(b"\xff", b"\0")], Some(clean));
    event(decoded);
}

#[test]
fn the_mac_of_a_record_is_over_its_parts_in_their_order() {
    let mut raw = record("v");
    raw.headers = vec![header(b"face_image", b"x"), Header { key: Bytes::from_static(b"n"), value: None }];
    let withheld = decoder(Format::Json).decode(&chain(), &raw).withheld.unwrap();
    let part = |bytes: &[u8]| [&[1][..], &(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let parts = [vec![0], part(b"face_image"), part(b"x"), part(b"n"), vec![0], part(b"v")].concat();
    assert_eq!(withheld.mac, hmac(&parts));
}

#[test]
fn secret_fields_are_withheld_wherever_they_stand() {
    let strict = |format| {
        let secret_fields = ["Session", "api_key", "clé", "details.pin"].map(String::from).to_vec();
        Decoder::new(TopicSpec { secret_fields, ..spec(format) }, &KEY).unwrap()
    };
    for members in [
        r#""session":"s3cr3t""#,
        r#""a":{"b":[{"API_KEY":"s3cr3t"}]}"#,
        r#""attributes":{"api_key":"s3cr3t"}"#,
        r#""x":01,"api_key":"s3cr3t""#,
        r#""x":01,"clé":"s3cr3t""#,
        r#""clé":"s3cr3t""#,
        r#""details":{"PIN":"s3cr3t"}"#,
        r#""more":{"details":{"pin":"s3cr3t"}}"#,
    ] {
        let value = format!(r#"{{"time":1765349748,"user":"alice",{members}}}"#);
        let decoded = decode(&strict(Format::Json), value);
        assert_eq!(rejection(&decoded).0, codes::SECRET_FIELD, "{members}");
        assert_eq!(decoded.withheld.as_ref().unwrap().code, "secret");
        assert!(!rejection(&decoded).1.contains("s3cr3t"));
    }
    event(decode(&strict(Format::Json), r#"{"time":1765349748,"user":"alice","session":null,"api_keys":1,"pin":"1"}"#));
    // Avro carries no names: what does not decode could be the secret
    let decoded = decode(&strict(Format::Avro { schema: None }), vec![1, 2, 3]);
    assert_eq!((rejection(&decoded).0, decoded.withheld.unwrap().code), (codes::NOT_AVRO, "secret"));
    // and the schema that names it tells which value it is
    let decoded = decode(&strict(Format::Avro { schema: None }), canonical_avro());
    event(decoded);
}

#[test]
fn avro_of_a_schema_with_biometric_fields_is_not_kept_unless_it_decodes() {
    let fields = r#"{"name":"time","type":"long"},{"name":"user","type":"string"},
        {"name":"scan","type":["null",{"type":"record","name":"S","fields":[
            {"name":"face_image","type":["null","bytes"]}]}]}"#;
    let decoder = decoder(schema(fields));
    let time = [0x80, 0x80, 0x80, 0x80, 0x0d];
    let value = |tail: &[u8]| [&time[..], &[2, b'a'], tail].concat();
    event(decode(&decoder, value(&[0])));
    event(decode(&decoder, value(&[2, 0])));
    let decoded = decode(&decoder, value(&[2, 2, 2, 9]));
    assert_eq!(
        rejection(&decoded),
        (codes::BIOMETRIC, "a field named as a biometric template or image has a value (field \"face_image\", byte 8)")
    );
    let decoded = decode(&decoder, value(&[2, 2, 8, 9]));
    assert_eq!((rejection(&decoded).0, decoded.withheld.unwrap().code), (codes::TRUNCATED, codes::BIOMETRIC));
}

#[test]
fn after_a_panic_the_bytes_are_kept_only_if_nothing_is_found_in_them() {
    let mut decoder = decoder(Format::Json);
    decoder.panics = true;
    assert_eq!(decode(&decoder, "{}").withheld, None);
    let withheld = decode(&decoder, r#"{"face_image":"x"}"#).withheld.unwrap();
    assert_eq!((withheld.code, withheld.scope), (codes::BIOMETRIC, Scope::Record));
}
