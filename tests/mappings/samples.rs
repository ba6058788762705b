//! Samples of products whose events nobody may publish: written from the vendors' documentation (see the README in each
//! directory of `tests/data`), each with the event that it must become, compared field by field.

use crate::{RECORD_TIME, as_json, decode_at, decoder, shipped};
use authseal::{decode::Decoder, record::Outcome};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// A mapping and the files of its samples in `tests/data`: `X.ndjson`, and `X.expected.ndjson`, line by line.
pub const PRODUCTS: &[(&str, &[&str])] = &[
    ("entra", &["entra/sign-ins", "entra/audit", "entra/graph", "entra/other"]),
    ("cloudtrail", &["cloudtrail/events", "cloudtrail/eventbridge", "cloudtrail/other"]),
    ("ecs", &["ecs/events", "ecs/other"]),
    ("ocsf", &["ocsf/events", "ocsf/other"]),
    ("okta-system-log", &["okta/events"]),
    ("auth0", &["auth0/events"]),
    ("google-workspace-login", &["google-workspace/events"]),
    ("duo", &["duo/authentication", "duo/administrator", "duo/activity", "duo/other"]),
];

pub fn lines(path: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// When records of a product came, in milliseconds since 1970: an event may not be from the future then.
pub fn came(mapping: &str) -> i64 {
    match mapping {
        // 2026-04-01T00:00:00Z
        "okta-system-log" | "auth0" | "google-workspace-login" => 1_775_001_600_000,
        _ => RECORD_TIME,
    }
}

/// What becomes of a sample, as the expected files have it: an event, `"opaque"`, or the code of a rejection.
fn becomes((mapping, decoder): (&str, &Decoder), line: &str) -> Value {
    match decode_at(decoder, line.as_bytes(), came(mapping)).outcome {
        Outcome::Event(event) => Value::Object(as_json(&event)),
        Outcome::Opaque => json!("opaque"),
        Outcome::Rejection(rejection) => json!(rejection.code),
    }
}

/// `AUTHSEAL_BLESS=1 cargo test --test mappings each_sample` writes what mappings make of their samples: read every
/// line of the difference before it is committed.
fn bless(file: &str, made: impl FnOnce() -> String) {
    if std::env::var_os("AUTHSEAL_BLESS").is_some() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
        fs::write(path.with_extension("expected.ndjson"), made()).unwrap();
    }
}

#[test]
fn each_sample_becomes_the_event_that_is_written_beside_it() {
    for (mapping, files) in PRODUCTS {
        let decoder = decoder(shipped(mapping), false);
        for file in *files {
            let samples = lines(&format!("{file}.ndjson"));
            bless(file, || samples.iter().map(|line| format!("{}\n", becomes((mapping, &decoder), line))).collect());
            let wanted = lines(&format!("{file}.expected.ndjson"));
            assert!(!samples.is_empty());
            assert_eq!(samples.len(), wanted.len(), "{file}: a line for each line");
            for (number, (sample, want)) in samples.iter().zip(&wanted).enumerate() {
                let want: Value = serde_json::from_str(want).unwrap();
                assert_eq!(becomes((mapping, &decoder), sample), want, "{file}.ndjson:{}: {sample}", number + 1);
            }
        }
    }
}

/// The activities that a mapping states.
fn stated(mapping: &str) -> BTreeSet<String> {
    let file = shipped(mapping);
    let text = std::str::from_utf8(&file.bytes).unwrap();
    let after = text.split("activity = ").skip(1);
    let symbol = |rest: &str| {
        let rest = rest.strip_prefix("{ value = ").unwrap_or(rest);
        rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    after.filter_map(symbol).collect()
}

#[test]
fn each_activity_of_a_mapping_has_a_sample() {
    for (mapping, files) in PRODUCTS {
        let mut met = BTreeSet::from(["OTHER".to_owned()]);
        for line in files.iter().flat_map(|file| lines(&format!("{file}.expected.ndjson"))) {
            let event: Value = serde_json::from_str(&line).unwrap();
            met.extend(event["activity"].as_str().map(str::to_owned));
        }
        let stated = stated(mapping);
        assert!(stated.len() > 3, "{mapping}: {stated:?}");
        let missing: Vec<&String> = stated.difference(&met).collect();
        assert!(missing.is_empty(), "{mapping}: no sample becomes {missing:?}");
    }
}

/// What products report by their documentation, where their mappings take it from a table.
const DOCUMENTED: &[(&str, &str)] = &[
    (
        "okta-system-log",
        "LOGON LOGOFF STEP_UP MFA_CHALLENGE MFA_ENROLL MFA_REMOVE PASSWORD_CHANGE PASSWORD_RESET \
         ACCOUNT_CREATE ACCOUNT_LOCK ACCOUNT_UNLOCK ACCOUNT_DISABLE ACCOUNT_DELETE TOKEN_ISSUE TOKEN_REFRESH \
         TOKEN_REVOKE PRIVILEGE_GRANT PRIVILEGE_REVOKE PRIVILEGED_ACTION RESOURCE_ACCESS IMPERSONATE \
         POLICY_CHANGE",
    ),
    (
        "auth0",
        "LOGON LOGOFF MFA_CHALLENGE MFA_ENROLL MFA_REMOVE PASSWORD_CHANGE PASSWORD_RESET ACCOUNT_CREATE \
         ACCOUNT_LOCK ACCOUNT_UNLOCK ACCOUNT_DISABLE ACCOUNT_DELETE TOKEN_ISSUE TOKEN_REFRESH TOKEN_REVOKE \
         PRIVILEGE_GRANT PRIVILEGE_REVOKE PRIVILEGED_ACTION RESOURCE_ACCESS IMPERSONATE POLICY_CHANGE",
    ),
    (
        "google-workspace-login",
        "LOGON LOGOFF STEP_UP MFA_CHALLENGE MFA_ENROLL MFA_REMOVE PASSWORD_CHANGE ACCOUNT_DISABLE TOKEN_ISSUE \
         RESOURCE_ACCESS PRIVILEGED_ACTION",
    ),
];

#[test]
fn each_activity_that_a_product_reports_has_a_sample() {
    for (mapping, activities) in DOCUMENTED {
        let (_, files) = PRODUCTS.iter().find(|(name, _)| name == mapping).unwrap();
        let expected: String = files.iter().flat_map(|file| lines(&format!("{file}.expected.ndjson"))).collect();
        for activity in activities.split_whitespace() {
            let met = expected.contains(&format!("\"activity\":\"{activity}\""));
            assert!(met, "{mapping}: no sample is {activity}");
        }
    }
}

/// The envelope of a log stream changes nothing.
#[test]
fn auth0_with_and_without_the_envelope() {
    let decoder = decoder(shipped("auth0"), false);
    for line in lines("auth0/events.ndjson") {
        let record: Value = serde_json::from_str(&line).unwrap();
        let bare = record.get("data").unwrap_or(&record).to_string();
        assert_eq!(becomes(("auth0", &decoder), &bare), becomes(("auth0", &decoder), &line), "{line}");
    }
}
