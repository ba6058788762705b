//! The demo, as a newcomer runs it: everything it promises to leave is there, and says what it should.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use serde_json::Value;
use std::{collections::BTreeSet, path::Path, process::Command};

const EVENTS: usize = 30_000;
/// What the attacks make fire: stuffing, storm, brute force (the stuffing has many tries), bypass, success, theft.
const EXPECTED: [&str; 7] = ["AUTH-0001", "AUTH-0003", "AUTH-0004", "AUTH-0008", "AUTH-0009", "AUTH-0016", "AUTH-0020"];

fn authseal(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_authseal")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_demo_seals_judges_verifies_and_catches_what_was_done_to_a_copy() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("demo");
    let path = |name: &str| dir.join(name).display().to_string();
    let (code, text) = authseal(&["demo", "--dir", &dir.display().to_string(), "--events", &EVENTS.to_string()]);
    assert_eq!(code, Some(0), "{text}");

    // one action as three systems tell it
    let action = text.split("One action over three systems").nth(1).expect("the demo shows it");
    let action = action.split("session hmac:session:").next().expect("the session is shown");
    for (source, activity) in
        [("gateway", "FAILURE"), ("keycloak", "STEP_UP"), ("payroll", "PRIVILEGED_ACTION"), ("gateway", "SUCCESS")]
    {
        let told = action.lines().any(|line| [source, activity, " demo/auth."].iter().all(|part| line.contains(part)));
        assert!(told, "{source} {activity}: {action}");
    }
    assert!(!text.contains("s-0bb3-the-action"), "{text}");

    let produced = lines(&dir.join("produced.ndjson"));
    let place = |r: &Value| (r["topic"].to_string(), r["partition"].as_i64(), r["offset"].as_i64());
    assert_eq!(produced.iter().map(place).collect::<BTreeSet<_>>().len(), EVENTS);
    assert!(produced.iter().all(|r| r["sha256"].as_str().unwrap().len() == 64));
    let rules: BTreeSet<String> = lines(&dir.join("alerts.ndjson"))
        .iter()
        .map(|alert| alert["finding_info"]["analytic"]["uid"].as_str().unwrap().to_owned())
        .collect();
    // stuffing, storm, step-up bypass, success after the stuffing, stolen session
    for rule in ["AUTH-0001", "AUTH-0003", "AUTH-0008", "AUTH-0009", "AUTH-0016"] {
        assert!(rules.contains(rule), "{rule}: {rules:?}");
    }
    let noise: Vec<_> = rules.iter().filter(|rule| !EXPECTED.contains(&rule.as_str())).collect();
    assert!(noise.is_empty(), "an ordinary morning is quiet: {noise:?}");

    let (code, json) = authseal(&["verify", &path("store"), "--key", &path("seal.vkey"), "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, report["totals"]["records"].as_u64()), (Some(0), Some(EVENTS as u64)), "{json}");
    let log = &report["log"];
    let segments = report["totals"]["segments"].as_u64().unwrap();
    assert!(log["entries"].as_u64().unwrap() >= segments && log["unlogged"] == 0 && log["pending"] == 0, "{json}");
    let rejections = report["totals"]["rejections"].as_u64().unwrap();
    let dead = lines(&dir.join("dead-letters.ndjson"));
    assert!(rejections > 0 && dead.len() as u64 == rejections, "{rejections} rejections, {} dead letters", dead.len());
    assert!(!dead.iter().any(|letter| letter.to_string().contains("not to be kept")), "biometrics are withheld");

    let (code, json) = authseal(&["verify", &path("tampered"), "--key", &path("seal.vkey"), "--json"]);
    assert_eq!(code, Some(10), "{json}");
    let named = text.split("at ").find_map(|part| part.split(". Verifying").next().filter(|p| p.starts_with("demo/")));
    assert!(json.contains(named.expect("the demo names the record")), "{named:?}: {json}");

    // the newest segment of a chain removed: the log names it
    let (code, json) = authseal(&["verify", &path("cut"), "--key", &path("seal.vkey"), "--json"]);
    assert!(code == Some(11) && json.contains("\"removed\""), "{json}");
    assert!(text.contains("INCOMPLETE removed"), "{text}");

    // a folder with something in it is never written over
    let (code, text) = authseal(&["demo", "--dir", &dir.display().to_string()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is not empty"), "{text}");
}
