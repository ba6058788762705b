//! Events of one action join: pseudonyms under one key in all topics, whatever is kept of their records, and one form
//! of a trace.

use super::*;

const SHARED: [u8; 32] = [9; 32];
const SESSION: &str = "s3ss10n-cookie-value";

fn joined(keep_event_only: bool, withhold: u8) -> Decoder {
    let spec = TopicSpec { keep_event_only, ..spec(Format::Json) };
    Decoder::new(spec, &[withhold; 32]).unwrap().correlating(&SHARED)
}

fn record_of(members: &str) -> String {
    format!(r#"{{"time":1765349748,"user":"alice",{members}}}"#)
}

#[test]
fn sessions_join_over_topics_that_keep_their_records_and_those_that_do_not() {
    let value = record_of(&format!(r#""session":"{SESSION}","token_id":"jti-12345","resource":"/x?sid={SESSION}""#));
    // other instances have other keys of withheld values: only the key of correlation must be one
    let decoded: Vec<Decoded> =
        [(false, 1), (true, 2)].map(|(event_only, key)| decode(&joined(event_only, key), value.as_str())).into();
    assert_eq!(decoded[0].withheld, None, "the record is sealed as it came");
    assert_eq!(decoded[1].withheld.as_ref().unwrap().code, "keep_event");
    let [open, kept] = [0, 1].map(|at| event(decoded[at].clone()));
    assert_eq!((&open.session, &open.token_id, &open.resource), (&kept.session, &kept.token_id, &kept.resource));
    let pseudonyms = Pseudonyms::new(&SHARED);
    let session = open.session.unwrap();
    assert_eq!(session, pseudonyms.of("session", SESSION));
    assert_eq!(open.resource.unwrap(), format!("/x?sid={session}"));
    let [prefix, class, id, digits] = session.split(':').collect::<Vec<_>>()[..] else { panic!("{session}") };
    assert_eq!((prefix, class, id), ("hmac", "session", pseudonym_key_id(&SHARED).as_str()));
    assert!(id.len() == 8 && digits.len() == 32);
    // under another key it is another text, and says that the key is another one
    let other = Pseudonyms::new(&[8; 32]).of("session", SESSION);
    assert_ne!(other.split(':').nth(2), Some(id));
}

#[test]
fn what_began_as_one_session_or_token_joins_and_kinds_do_not() {
    let decoder = joined(false, 1);
    let of = |members: &str| event(decode(&decoder, record_of(members)));
    let all =
        of(r#""session":"same-text","root_session":"same-text","token_id":"same-text","token_family":"same-text",
        "device_token":"same-text""#);
    assert_eq!(all.session, all.root_session);
    assert_eq!(all.token_id, all.token_family);
    let mut kinds = vec![all.session, all.token_id, all.device_token];
    kinds.dedup();
    assert_eq!(kinds.len(), 3);
    // what joins without being usable stays as it is
    let plain = of(r#""request_id":"req-1","device":"d-1","credential_id":"c-1","client_id":"app""#);
    assert_eq!((plain.request_id.as_deref(), plain.device.as_deref()), (Some("req-1"), Some("d-1")));
    assert_eq!((plain.credential_id.as_deref(), plain.client_id.as_deref()), (Some("c-1"), Some("app")));
}

#[test]
fn no_identifier_stays_readable_in_the_event() {
    let long = format!("{SESSION}{}", "x".repeat(MAX_TEXT));
    for members in [
        format!(r#""session":"{SESSION}","user_agent":"{SESSION}","attributes":{{"copy":"{SESSION}"}}"#),
        format!(r#""session":"{long}""#),
        format!(r#""session":{{"id":"{SESSION}"}}"#),
        format!(r#""refresh_token":"{SESSION}","headers":{{"cookie":"{SESSION}","authorization":"{SESSION}"}}"#),
        format!(r#""attributes":{{"jsessionid":"{SESSION}","id_token":"{SESSION}"}}"#),
    ] {
        let found = event(decode(&joined(false, 1), record_of(&members)));
        assert!(!format!("{found:?}").contains(SESSION), "{members}: {found:?}");
    }
}

#[test]
fn a_trace_is_taken_from_wherever_the_header_stands() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let of = |members: &str| event(json(members));
    for members in [
        format!(r#""trace_id":"{header}""#),
        format!(r#""trace_id":"{}""#, TRACE.to_uppercase()),
        format!(r#""traceparent":"{header}""#),
        format!(r#""attributes":{{"traceparent":"{header}"}}"#),
        format!(r#""request":{{"headers":{{"Traceparent":"{header}"}}}}"#),
        format!(r#""traceparent":"00-{}-00f067aa0ba902b7-01","trace_id":"{TRACE}""#, "1".repeat(32)),
    ] {
        assert_eq!(of(&members).trace_id.as_deref(), Some(TRACE), "{members}");
    }
    let kept = TopicSpec { keep_event_only: true, ..spec(Format::Json) };
    let kept = Decoder::new(kept, &KEY).unwrap();
    let found = event(decode(&kept, record_of(&format!(r#""traceparent":"{header}""#))));
    assert_eq!(found.trace_id.as_deref(), Some(TRACE), "no attribute is kept, the trace is");
    // no trace at all would join everything
    let none = of(&format!(r#""trace_id":"{}""#, "0".repeat(32)));
    assert_eq!((none.trace_id, none.quality.as_slice()), (None, &["trace_id:invalid".into()][..]));
    assert_eq!(of(r#""traceparent":"nonsense""#).trace_id, None);
}
