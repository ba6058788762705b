//! What a Keycloak wrote: the same events from REST and from the log.

use crate::{as_json, code, decode, decode_at, decoder, event, shipped};
use authseal::{decode::Decoder, event::Activity, event::AuthEvent, record::Outcome};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const EVENTS: &str = include_str!("../data/keycloak/events.ndjson");
const LOG: &str = include_str!("../data/keycloak/events.log");
const ADMIN: &str = include_str!("../data/keycloak/admin-events.ndjson");
const ADMIN_LOG: &str = include_str!("../data/keycloak/admin-events.log");
/// 2026-11-21T12:00:00Z
const CAME: i64 = 1_795_262_400_000;
/// What the log has and REST has not.
const LOG_ONLY: [&str; 4] = ["realmName", "authSessionParentId", "authSessionTabId", "code_id"];

fn json_decoder() -> Decoder {
    decoder(shipped("keycloak-event"), false)
}

fn log_decoder() -> Decoder {
    decoder(shipped("keycloak-event"), true)
}

fn events(decoder: &Decoder, lines: &str) -> Vec<AuthEvent> {
    lines.lines().map(|line| event(decode_at(decoder, line.as_bytes(), CAME))).collect()
}

/// Without what differs by its nature: the id, and the time at which the line was written.
fn comparable(event: &AuthEvent) -> Map<String, Value> {
    let mut fields = as_json(event);
    fields.remove("event_id");
    fields.remove("time");
    if let Some(attributes) = fields.get_mut("attributes").and_then(Value::as_object_mut) {
        LOG_ONLY.iter().for_each(|name| {
            attributes.remove(*name);
        });
    }
    fields.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    fields
}

#[test]
fn rest_and_log_give_the_same_events() {
    let (rest, log) = (events(&json_decoder(), EVENTS), events(&log_decoder(), LOG));
    assert_eq!((rest.len(), log.len()), (70, 70));
    let mut differ = Vec::new();
    for (place, (rest, log)) in rest.iter().zip(&log).enumerate() {
        // the line is written when the event is over
        let late = log.time.millis() - rest.time.millis();
        assert!((0..1000).contains(&late), "line {place}: {late} ms");
        if comparable(rest) != comparable(log) {
            differ.push((rest.user.clone().unwrap_or_default(), log.user.clone().unwrap_or_default()));
        }
    }
    // the log has spaces for line breaks: nothing else is lost in it
    assert_eq!(differ, [("two\nlines\r\ntype=\"LOGIN\"".into(), "two lines  type=\"LOGIN\"".into())]);
}

#[test]
fn the_log_within_the_json_of_a_shipper_gives_the_same() {
    let (log, json) = (log_decoder(), json_decoder());
    for line in LOG.lines().chain(ADMIN_LOG.lines()) {
        let want = event(decode_at(&log, line.as_bytes(), CAME));
        let wrapped = json!({"date": 1.5, "log": format!("{line}\n"), "kubernetes": {"pod_name": "keycloak-0"}});
        let mut found = event(decode_at(&json, wrapped.to_string().as_bytes(), CAME));
        assert_eq!(found.attributes.remove("kubernetes.pod_name").as_deref(), Some("keycloak-0"));
        found.attributes.remove("date");
        assert_eq!(as_json(&found), as_json(&want));
        let (_, message) = line.split_once(") ").unwrap();
        let own = json!({"timestamp": "2026-11-21T07:27:44.506Z", "level": "WARN", "sequence": 1,
            "loggerName": "org.keycloak.events", "message": message, "threadName": "executor-thread-1"});
        let mut found = event(decode_at(&json, own.to_string().as_bytes(), CAME));
        found.time = want.time;
        assert_eq!(as_json(&found), as_json(&want));
    }
}

#[test]
fn hostile_user_names_stay_user_names() {
    for (decoder, lines) in [(json_decoder(), EVENTS), (log_decoder(), LOG)] {
        let events = events(&decoder, lines);
        let forged: Vec<_> =
            events.iter().filter(|e| e.user.as_deref().is_some_and(|u| u.contains("error="))).collect();
        assert_eq!(forged.len(), 1);
        assert_eq!(forged[0].user.as_deref(), Some("mal\", error=\"none\", username=\"alice"));
        assert_eq!((forged[0].reason.as_deref(), forged[0].activity), (Some("unknown_user"), Activity::Logon));
        for name in ["back\\slash", "\u{202e}\u{43d}\u{435}\u{1f511}", &"x".repeat(300)] {
            assert_eq!(events.iter().filter(|e| e.user.as_deref() == Some(name)).count(), 1, "{name}");
        }
    }
    // a name that ends in a backslash: the log cannot be told apart from there on, and it says so
    let line = LOG.lines().nth(9).unwrap().replace("back\\slash", "back\\").to_owned() + ", next=\"x\"";
    let event = event(decode_at(&log_decoder(), line.as_bytes(), CAME));
    assert_eq!((event.user.as_deref(), event.reason.as_deref()), (None, Some("unknown_user")));
    assert!(event.quality.iter().any(|entry| entry == "line:ambiguous"), "{:?}", event.quality);
    assert_eq!(event.attributes.get("raw.line"), Some("username=\"back\\\", next=\"x\""));
}

#[test]
fn admin_events_say_who_did_what_to_whom() {
    let events = events(&json_decoder(), ADMIN);
    assert_eq!(events.len(), 34);
    let mut kinds = BTreeMap::new();
    for event in &events {
        *kinds.entry(event.activity.symbol()).or_insert(0) += 1;
        assert_eq!(event.actor.as_deref(), Some("a0259f3e-b7fa-4c81-bb00-b11e5bf55e2d"));
        assert_eq!(event.src_ip.as_deref(), Some("127.0.0.1"));
        assert!(event.quality.is_empty(), "{:?}", event.quality);
    }
    let want = [
        ("ACCOUNT_CREATE", 6),
        ("ACCOUNT_DELETE", 1),
        ("ACCOUNT_DISABLE", 1),
        ("ACCOUNT_UNLOCK", 1),
        ("LOGOFF", 2),
        ("MFA_REMOVE", 1),
        ("OTHER", 2),
        ("PASSWORD_RESET", 1),
        ("POLICY_CHANGE", 14),
        ("PRIVILEGE_GRANT", 3),
        ("PRIVILEGE_REVOKE", 2),
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want);
    let grants = events.iter().filter(|e| e.activity == Activity::PrivilegeGrant);
    let grants: Vec<_> = grants.map(|e| e.privileges.iter().map(|p| p.as_str()).collect::<Vec<_>>()).collect();
    assert_eq!(grants, [["auditor"], ["realm-admin"], ["admins"]]);
    let created = events.iter().find(|e| e.activity == Activity::AccountCreate).unwrap();
    assert_eq!(created.user.as_deref(), Some("alice"));
    assert_eq!(created.user_id.as_deref(), Some("524b0452-de7d-402f-883b-79bd2a5391f7"));
}

#[test]
fn the_log_of_admin_events_tells_less_and_nothing_else() {
    // the first line is the creation of the realm, which REST has elsewhere
    let (rest, log) = (events(&json_decoder(), ADMIN), events(&log_decoder(), ADMIN_LOG));
    assert_eq!(log.len(), 35);
    for (rest, log) in rest.iter().zip(&log[1..]) {
        assert_eq!(log.actor, rest.actor);
        assert_eq!((&log.src_ip, &log.action, &log.user_id), (&rest.src_ip, &rest.action, &rest.user_id));
        assert_eq!(log.outcome, rest.outcome);
        // without the representation nobody knows that an account was disabled, or which credential was removed
        let told = [Activity::AccountDisable, Activity::MfaRemove];
        assert!(log.activity == rest.activity || told.contains(&rest.activity) && log.activity == Activity::Other);
    }
}

#[test]
fn every_event_type_of_keycloak_is_known() {
    // the realm was told to save them all: its own list of them is in an admin event
    let admin = ADMIN.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let saved = admin.filter_map(|event| serde_json::from_str::<Value>(event["representation"].as_str()?).ok());
    let types: Vec<String> = saved
        .filter_map(|representation| serde_json::from_value(representation["enabledEventTypes"].clone()).ok())
        .next()
        .unwrap();
    assert_eq!(types.len(), 132);
    let decoder = json_decoder();
    for name in types {
        let value = json!({"id": "1", "time": CAME, "type": name, "realmId": "r", "ipAddress": "192.0.2.1"});
        let event = event(decode_at(&decoder, value.to_string().as_bytes(), CAME));
        assert!(event.quality.is_empty(), "{name}: {:?}", event.quality);
        let want = if name.ends_with("_ERROR") { "FAILURE" } else { "SUCCESS" };
        assert_eq!(event.outcome.symbol(), want, "{name}");
        assert_eq!(event.action.as_deref(), Some(name.as_str()));
    }
}

#[test]
fn what_is_new_is_told_not_guessed() {
    let decoder = json_decoder();
    let value = r#"{"id":"1","time":1795246064497,"type":"TELEPORT","realmId":"r","userId":"u","error":"lost"}"#;
    let event = event(decode_at(&decoder, value.as_bytes(), CAME));
    assert_eq!((event.activity, event.outcome.symbol(), &event.reason), (Activity::Other, "UNKNOWN", &None));
    assert_eq!(event.attributes.get("raw.activity"), Some("TELEPORT"));
    assert_eq!(event.attributes.get("raw.reason"), Some("lost"));
    assert_eq!(event.quality, ["activity:unmapped", "reason:unmapped"]);
    assert_eq!(code(&decode(&decoder, r#"{"something":"else"}"#)), "unmapped");
    let log = log_decoder();
    let line = "2026-11-21 07:27:44,506 INFO  [io.quarkus] (main) Keycloak 26.7.3 started";
    assert_eq!(decode_at(&log, line.as_bytes(), CAME).outcome, Outcome::Opaque);
    let line = "2026-11-21 07:27:44,506 WARN  [org.keycloak.events] (t) a form of the listener that is not known";
    assert_eq!(code(&decode_at(&log, line.as_bytes(), CAME)), "unmapped");
}
