//! Products whose samples were written from their documentation: each record becomes the event that stands in the file
//! beside it, field by field, and every activity of the product is among them.

use crate::{as_json, decode_at, decoder, shipped};
use authseal::record::Outcome;
use serde_json::Value;

/// 2026-04-01T00:00:00Z
const CAME: i64 = 1_775_001_600_000;

/// What becomes of a record: the event, or in a word why there is none.
fn becomes(mapping: &str, lines: &str) -> Vec<Value> {
    let decoder = decoder(shipped(mapping), false);
    let of = |line: &str| match decode_at(&decoder, line.as_bytes(), CAME).outcome {
        Outcome::Event(event) => Value::Object(as_json(&event)),
        Outcome::Rejection(rejection) => Value::from(rejection.code),
        Outcome::Opaque => Value::from("opaque"),
    };
    lines.lines().map(of).collect()
}

fn check(mapping: &str, records: &str, expected: &str, activities: &[&str]) {
    let found = becomes(mapping, records);
    let want: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (place, (found, want)) in found.iter().zip(&want).enumerate() {
        assert_eq!(found, want, "{mapping}, line {}: {found}", place + 1);
    }
    assert_eq!(found.len(), want.len());
    for activity in activities {
        assert!(found.iter().any(|event| event["activity"] == *activity), "{mapping}: no sample is {activity}");
    }
}

#[test]
fn okta_system_log() {
    let records = include_str!("../data/okta/events.ndjson");
    let activities = [
        "LOGON",
        "LOGOFF",
        "STEP_UP",
        "MFA_CHALLENGE",
        "MFA_ENROLL",
        "MFA_REMOVE",
        "PASSWORD_CHANGE",
        "PASSWORD_RESET",
        "ACCOUNT_CREATE",
        "ACCOUNT_LOCK",
        "ACCOUNT_UNLOCK",
        "ACCOUNT_DISABLE",
        "ACCOUNT_DELETE",
        "TOKEN_ISSUE",
        "TOKEN_REFRESH",
        "TOKEN_REVOKE",
        "PRIVILEGE_GRANT",
        "PRIVILEGE_REVOKE",
        "PRIVILEGED_ACTION",
        "RESOURCE_ACCESS",
        "IMPERSONATE",
        "POLICY_CHANGE",
    ];
    check("okta-system-log", records, include_str!("../data/okta/expected.ndjson"), &activities);
}

#[test]
fn auth0() {
    let records = include_str!("../data/auth0/events.ndjson");
    let activities = [
        "LOGON",
        "LOGOFF",
        "MFA_CHALLENGE",
        "MFA_ENROLL",
        "MFA_REMOVE",
        "PASSWORD_CHANGE",
        "PASSWORD_RESET",
        "ACCOUNT_CREATE",
        "ACCOUNT_LOCK",
        "ACCOUNT_UNLOCK",
        "ACCOUNT_DISABLE",
        "ACCOUNT_DELETE",
        "TOKEN_ISSUE",
        "TOKEN_REFRESH",
        "TOKEN_REVOKE",
        "PRIVILEGE_GRANT",
        "PRIVILEGE_REVOKE",
        "PRIVILEGED_ACTION",
        "RESOURCE_ACCESS",
        "IMPERSONATE",
        "POLICY_CHANGE",
    ];
    check("auth0", records, include_str!("../data/auth0/expected.ndjson"), &activities);
}

/// The envelope of a log stream changes nothing.
#[test]
fn auth0_with_and_without_the_envelope() {
    let records = include_str!("../data/auth0/events.ndjson");
    let bare: Vec<String> = records
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record.get("data").unwrap_or(&record).to_string()
        })
        .collect();
    assert_eq!(becomes("auth0", &bare.join("\n")), becomes("auth0", records));
}

#[test]
fn google_workspace_login() {
    let records = include_str!("../data/google-workspace/events.ndjson");
    let expected = include_str!("../data/google-workspace/expected.ndjson");
    let activities = [
        "LOGON",
        "LOGOFF",
        "STEP_UP",
        "MFA_CHALLENGE",
        "MFA_ENROLL",
        "MFA_REMOVE",
        "PASSWORD_CHANGE",
        "ACCOUNT_DISABLE",
        "TOKEN_ISSUE",
        "RESOURCE_ACCESS",
        "PRIVILEGED_ACTION",
    ];
    check("google-workspace-login", records, expected, &activities);
}
