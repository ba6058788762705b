//! How fields are made canonical, and what becomes of malformed ones.

use super::*;
use crate::event::{Activity, Factor, Micros, Outcome as Ended};

/// Decodes JSON members: the event's quality and raw attributes.
fn faults(members: &str) -> (AuthEvent, Vec<String>, Vec<(String, String)>) {
    let event = event(json(members));
    let quality = event.quality.iter().map(|q| q.to_string()).collect();
    let raw = event.attributes.iter().filter(|(k, _)| k.starts_with("raw."));
    let raw = raw.map(|(k, v)| (k.to_string(), v.to_string())).collect();
    (event, quality, raw)
}

#[test]
fn a_malformed_optional_field_becomes_null_and_its_text_is_kept() {
    for (members, quality, raw) in [
        (r#""src_ip":"300.1.1.1""#, "src_ip:invalid", "300.1.1.1"),
        (r#""src_ip":"1.2.3.4, 5.6.7.8""#, "src_ip:invalid", "1.2.3.4, 5.6.7.8"),
        (r#""country":"USA""#, "country:unknown", "USA"),
        (r#""lat":90.5"#, "lat:invalid", "90.5"),
        (r#""long":-181"#, "long:invalid", "-181"),
        (r#""lat":"NaN""#, "lat:invalid", "NaN"),
        (r#""lat":1e999"#, "lat:invalid", "1e999"),
        (r#""src_asn":"ASX""#, "src_asn:invalid", "ASX"),
        (r#""src_asn":4294967296"#, "src_asn:invalid", "4294967296"),
        (r#""acr":3000000000"#, "acr:invalid", "3000000000"),
        (r#""source_seq":1.5"#, "source_seq:invalid", "1.5"),
        (r#""is_vpn":"yes""#, "is_vpn:invalid", "yes"),
        (r#""is_mfa":2"#, "is_mfa:invalid", "2"),
        (r#""activity":"LOGIN""#, "activity:invalid", "LOGIN"),
        (r#""outcome":true"#, "outcome:invalid", "true"),
        (r#""auth_time":"noon""#, "auth_time:invalid", "noon"),
        (r#""session_start":"2999-01-01T00:00:00Z""#, "session_start:impossible", "2999-01-01T00:00:00Z"),
        (r#""device":{"id":7}"#, "device:invalid", r#"{"id":7}"#),
        (r#""attributes":"none""#, "attributes:invalid", "none"),
        (r#""src_ip":"1.2.3.4:443""#, "src_ip:port", "1.2.3.4:443"),
        (r#""src_ip":"fe80::1%eth0""#, "src_ip:zone", "fe80::1%eth0"),
    ] {
        let (_, said, kept) = faults(members);
        assert_eq!(said, [quality], "{members}");
        let name = quality.split(':').next().unwrap();
        assert_eq!(kept, [(format!("raw.{name}"), raw.to_string())], "{members}");
    }
    let (event, ..) = faults(r#""src_ip":"1.2.3.4:443","activity":"LOGIN","lat":90.5"#);
    assert_eq!((event.src_ip.as_deref(), event.activity, event.lat), (Some("1.2.3.4"), Activity::Other, None));
}

#[test]
fn what_can_be_read_in_one_way_is_read() {
    let (event, quality, raw) = faults(
        r#""src_ip":"::ffff:10.0.0.1","country":"de","activity":"step_up","outcome":"Success","factor":"push",
        "src_asn":"AS15169","lat":"52.5","long":13,"is_vpn":"TRUE","is_mfa":1,"acr":"2","source_seq":7.0,
        "user_id":42,"session":true,"auth_time":1765349748123,"session_start":"1765349748",
        "privileges":["a",1,null,""],"quality":["seen:twice"]"#,
    );
    assert_eq!((quality, raw), (vec!["seen:twice".to_string()], vec![]));
    assert_eq!((event.src_ip.as_deref(), event.country.as_deref()), (Some("10.0.0.1"), Some("DE")));
    assert_eq!((event.activity, event.outcome, event.factor), (Activity::StepUp, Ended::Success, Factor::Push));
    assert_eq!((event.src_asn, event.lat, event.long), (Some(15169), Some(52.5), Some(13.0)));
    assert_eq!((event.is_vpn, event.is_mfa, event.acr, event.source_seq), (Some(true), Some(true), Some(2), Some(7)));
    assert_eq!((event.user_id.as_deref(), event.session.as_deref()), (Some("42"), Some("true")));
    assert_eq!(event.auth_time, Some(Micros(1_765_349_748_123_000)));
    assert_eq!(event.session_start, Some(Micros(1_765_349_748_000_000)));
    assert_eq!(event.privileges, ["a", "1"]);
    assert_eq!(faults(r#""privileges":"admin""#).0.privileges, ["admin"]);
}

#[test]
fn empty_strings_are_nulls_that_are_told() {
    let (event, quality, raw) = faults(r#""src_ip":"","actor":"","outcome":"","event_id":"","auth_time":"","acr":"""#);
    assert_eq!((event.src_ip, event.actor, event.auth_time, event.acr), (None, None, None, None));
    let want = ["src_ip:empty", "actor:empty", "outcome:empty", "event_id:empty", "auth_time:empty", "acr:empty"];
    assert_eq!((quality, raw), (want.map(String::from).to_vec(), vec![]));
    assert_eq!(event.event_id, "main/auth/7/0@41");
}

#[test]
fn a_malformed_identity_is_an_identity_an_empty_one_is_none() {
    let ask = |members: &str| decode(&decoder(Format::Json), format!(r#"{{"time":1765349748,{members}}}"#));
    let found = event(ask(r#""src_ip":"what""#));
    assert_eq!(found.attributes.get("raw.src_ip"), Some("what"));
    event(ask(&format!(r#""user":"{}""#, "x".repeat(MAX_TEXT + 1))));
    for members in [r#""user":"""#, r#""user":null"#, r#""device":"d""#, r#""lat":"what""#] {
        assert_eq!(rejection(&ask(members)).0, codes::NO_IDENTITY, "{members}");
    }
    assert_eq!(rejection(&ask(r#""time":"""#)).0, codes::JSON_FORM);
    let empty = decode(&decoder(Format::Json), r#"{"time":"","user":"a"}"#);
    assert_eq!(rejection(&empty).0, codes::MISSING_TIME);
}

#[test]
fn what_is_too_long_is_cut_and_told() {
    let long = "é".repeat(MAX_TEXT);
    let (event, quality, _) =
        faults(&format!(r#""user_agent":"{long}","attributes":{{"a":"{long}","{long}":"b"}},"privileges":["{long}"]"#));
    let mut quality = quality;
    quality.sort();
    let want = ["attributes:name_too_long", "attributes:too_long", "privileges:too_long", "user_agent:too_long"];
    assert_eq!(quality, want);
    assert_eq!(event.user_agent, None);
    let cut = |bytes: usize| format!("{}… [cut: 16384 bytes]", "é".repeat(bytes / 2));
    assert_eq!(event.attributes.get("raw.user_agent"), Some(cut(MAX_RAW).as_str()));
    assert_eq!(event.attributes.get("a"), Some(cut(MAX_TEXT).as_str()));
    assert_eq!(event.privileges, [cut(MAX_TEXT)]);
}

#[test]
fn what_is_too_many_is_left_out_and_told() {
    let many: Vec<String> = (0..MAX_ATTRIBUTES + 9).map(|i| format!(r#""k{i:04}":{i}"#)).collect();
    let items: Vec<String> = (0..MAX_ITEMS + 9).map(|i| i.to_string()).collect();
    let (event, quality, raw) =
        faults(&format!(r#""attributes":{{{}}},"privileges":[{}],"src_ip":"what""#, many.join(","), items.join(",")));
    assert_eq!(quality, ["attributes:too_many", "privileges:too_many", "src_ip:invalid"]);
    assert_eq!((event.attributes.len(), event.privileges.len()), (MAX_ATTRIBUTES + 1, MAX_ITEMS));
    assert_eq!(raw.len(), 1);
    // other fields do not push out what is meant
    let (event, quality, _) = faults(&format!(r#"{},"attributes":{{"amount":5}}"#, many.join(",")));
    assert_eq!((event.attributes.len(), event.attributes.get("amount")), (MAX_ATTRIBUTES + 1, Some("5")));
    assert_eq!(quality, ["attributes:too_many"]);
}

#[test]
fn fields_that_the_event_lacks_become_attributes_by_their_path() {
    let (event, quality, _) = faults(
        r#""amount":12.50,"ok":true,"none":null,"geo":{"site":{"name":"HQ","floor":3}},"roles":["a",{"b":"c"}],
        "attributes":{"branch":"x","n":1,"deep":{"er":"y"}}"#,
    );
    let attributes: Vec<_> = event.attributes.iter().collect();
    let want = [
        ("amount", "12.50"),
        ("branch", "x"),
        ("deep.er", "y"),
        ("geo.site.floor", "3"),
        ("geo.site.name", "HQ"),
        ("n", "1"),
        ("ok", "true"),
        ("roles.0", "a"),
        ("roles.1.b", "c"),
    ];
    assert_eq!((attributes, quality), (want.to_vec(), vec![]));
}

#[test]
fn attributes_that_are_meant_win_and_raw_ones_are_not_forged() {
    for members in [r#""a":1,"attributes":{"a":2}"#, r#""attributes":{"a":2},"a":1"#] {
        let (event, quality, _) = faults(members);
        assert_eq!(event.attributes.get("a"), Some("2"));
        assert_eq!(quality, ["attributes:duplicate"]);
    }
    for members in [
        r#""src_ip":"what","attributes":{"raw.src_ip":"forged"}"#,
        r#""attributes":{"raw.src_ip":"forged"},"src_ip":"what""#,
        r#""src_ip":"what","raw.src_ip":"forged""#,
        r#""src_ip":"what","raw":{"src_ip":"forged"}"#,
    ] {
        assert_eq!(faults(members).0.attributes.get("raw.src_ip"), Some("what"), "{members}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| json(&format!(r#""x":{}1{}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth)));
    let flat = event(nested(8));
    assert_eq!(flat.attributes.get("x.a.a.a.a.a.a.a.a"), Some("1"));
    let deep = event(nested(64));
    assert_eq!((deep.attributes.len(), deep.quality.as_slice()), (0, &["attributes:too_deep".into()][..]));
    for depth in [65, 100_000] {
        assert_eq!(rejection(&nested(depth)), (codes::JSON_FORM, "the JSON nests deeper than 64 (byte 370)"));
    }
    let decoded = json(&"[".repeat(100_000));
    assert_eq!(rejection(&decoded).0, codes::NOT_JSON);
    let decoded = decode(&decoder(Format::Json), "[".repeat(100_000));
    assert_eq!(rejection(&decoded).0, codes::JSON_FORM);
}

#[test]
fn names_are_told_apart_however_many() {
    let names: Vec<String> = (0..40).map(|i| format!(r#""n{i}":1"#)).collect();
    event(json(&names.join(",")));
    for twice in [0, 15, 16, 39] {
        let decoded = json(&format!(r#"{},"n{twice}":2"#, names.join(",")));
        assert_eq!(rejection(&decoded).0, codes::JSON_FORM, "{twice}");
    }
    assert_eq!(rejection(&json(r#""user":"bob""#)).0, codes::JSON_FORM);
    let names: Vec<String> = (0..10_017).map(|i| format!(r#""n{i}":1"#)).collect();
    assert!(rejection(&json(&names.join(","))).1.starts_with("an object has more than 10,000 names"));
    assert_eq!(rejection(&json(r#""a":{"b":1,"\u0062":2}"#)).0, codes::JSON_FORM);
}

#[test]
fn defaults_stand_in_for_what_the_event_does_not_say() {
    let plain = event(json(""));
    assert_eq!((plain.source.as_str(), plain.tenant, plain.event_id.as_str()), ("auth", None, "main/auth/7/0@41"));
    let spec = TopicSpec { source: Some("okta".into()), tenant: Some("acme".into()), ..spec(Format::Json) };
    let decoder = Decoder::new(spec, &KEY).unwrap();
    let event_of = |value: &str| event(decode(&decoder, value));
    let silent = event_of(r#"{"time":1765349748,"user":"a"}"#);
    assert_eq!((silent.source.as_str(), silent.tenant.as_deref()), ("okta", Some("acme")));
    let own = event_of(r#"{"time":1765349748,"user":"a","source":"idp","tenant":"t","event_id":"e1"}"#);
    assert_eq!((own.source.as_str(), own.tenant.as_deref(), own.event_id.as_str()), ("idp", Some("t"), "e1"));
}

#[test]
fn broken_surrogates_are_replaced_and_told() {
    let decoded = decode(&decoder(Format::Json), r#"{"time":1765349748,"user":"a\ud83dz"}"#);
    let found = event(decoded);
    assert_eq!((found.user.as_deref(), found.quality.as_slice()), (Some("a\u{fffd}z"), &["json:surrogate".into()][..]));
}

#[test]
fn control_characters_are_kept_as_they_came() {
    assert_eq!(event(json(r#""reason":"a\u0000\u001b[31m\n""#)).reason.as_deref(), Some("a\0\u{1b}[31m\n"));
}

#[test]
fn large_values_take_no_longer_for_what_is_wrong_with_them() {
    // a million items, of which all but a few are told in one note: a look at all notes for each would take minutes
    let quality: Vec<String> = (0..MAX_ITEMS).map(|i| format!(r#""q{i}""#)).collect();
    let items = "1,".repeat(1_000_000) + "1";
    let members = format!(
        r#""quality":[{}],"privileges":[{items}],"x":[{items}],"attributes":{{"y":[{items}]}}"#,
        quality.join(",")
    );
    let start = std::time::Instant::now();
    let (event, ..) = faults(&members);
    assert!(start.elapsed().as_secs() < 20);
    assert_eq!(event.quality.len(), MAX_ITEMS + 2);
}
