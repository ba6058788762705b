//! The 534 logons of `tests/data/openssh/events.ndjson`: every line is an event that says what the line says.

use crate::{decode, decoder, event};
use authseal::{
    decode::Format,
    event::{Activity, Factor, Micros, Outcome, UserKind, Verification},
};
use serde_json::Value;
use std::collections::BTreeMap;

const LINES: &str = include_str!("../data/openssh/events.ndjson");

#[test]
fn every_line_is_the_event_that_it_says() {
    let decoder = decoder(Format::Json);
    for line in LINES.lines() {
        let found = event(decode(&decoder, line));
        let json: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        assert_eq!(Some(found.event_id.as_str()), text("event_id"));
        assert_eq!(Some(found.source.as_str()), text("source"));
        for (ours, name) in [
            (&found.tenant, "tenant"),
            (&found.app, "app"),
            (&found.protocol, "protocol"),
            (&found.session, "session"),
            (&found.user, "user"),
            (&found.src_ip, "src_ip"),
            (&found.reason, "reason"),
        ] {
            assert_eq!(ours.as_deref(), text(name), "{name} of {line}");
        }
        let time: jiff::Timestamp = text("time").unwrap().parse().unwrap();
        assert_eq!(found.time, Micros(time.as_microsecond()));
        assert_eq!(found.activity.symbol(), text("activity").unwrap());
        assert_eq!(found.outcome.symbol(), text("outcome").unwrap());
        assert_eq!(found.factor.symbol(), text("factor").unwrap_or("UNKNOWN"));
        assert_eq!(found.verification.symbol(), text("verification").unwrap_or("UNKNOWN"));
        let port = json.get("attributes").and_then(|a| a["src_port"].as_str());
        assert_eq!((found.attributes.get("src_port"), found.attributes.len()), (port, usize::from(port.is_some())));
        assert!(found.quality.is_empty() && found.user_kind == UserKind::Unknown);
    }
}

#[test]
fn the_attack_in_them_is_there_in_full() {
    let decoder = decoder(Format::Json);
    let events: Vec<_> = LINES.lines().map(|line| event(decode(&decoder, line))).collect();
    let count = |what: &dyn Fn(&authseal::event::AuthEvent) -> bool| events.iter().filter(|e| what(e)).count();
    assert_eq!(events.len(), 534);
    assert_eq!(count(&|e| e.activity == Activity::Logon && e.outcome == Outcome::Failure), 532);
    assert_eq!(count(&|e| e.outcome == Outcome::Success && e.verification == Verification::Verified), 1);
    assert_eq!(count(&|e| e.activity == Activity::Logoff && e.user.as_deref() == Some("fztu")), 1);
    assert_eq!(count(&|e| e.factor == Factor::Password), 529);
    assert_eq!(count(&|e| e.reason.as_deref() == Some("unknown_user")), 139);
    assert_eq!(count(&|e| e.reason.as_deref() == Some("invalid_credentials")), 393);
    assert_eq!(count(&|e| e.user.as_deref() == Some(" 0101")), 1);
}
