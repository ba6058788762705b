//! The commands: what people see of mappings.

use std::{path::Path, process::Command};

/// Exit code, stdout and stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_authseal")).args(args).current_dir(root).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const LOG: &str = "tests/data/openssh/OpenSSH_2k.log";
const EVENTS: &str = "tests/data/keycloak/events.ndjson";

#[test]
fn a_file_is_tried_record_by_record() {
    let (code, out, _) = run(&["schemas", "try", "--mapping", "sshd", "--record-time", "2025-12-31", LOG]);
    assert_eq!(code, 0);
    assert!(out.starts_with("1: no authentication event: sealed as it is\n"));
    assert!(out.contains("\n6: 2025-12-10T06:55:48Z LOGON FAILURE "), "{}", &out[..800]);
    assert!(out.contains("\n2000 records: 526 events, 1474 no authentication events, 0 rejected\n"));
    let (code, out, _) = run(&["schemas", "try", "--mapping", "keycloak-event", "--json", EVENTS]);
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((code, out.lines().count()), (0, 71));
    assert_eq!((&last["summary"]["events"], &last["summary"]["fields"]["tenant"]), (&70.into(), &70.into()));
    let (code, out, _) = run(&["schemas", "try", "--summary", "tests/data/openssh/events.ndjson"]);
    assert!(code == 0 && out.starts_with("534 records: 534 events"), "{out}");
}

#[test]
fn what_is_wrong_is_said() {
    let (code, _, err) = run(&["schemas", "try", "--mapping", "keycloak-evnt", EVENTS]);
    assert_eq!(code, 2);
    assert!(err.contains("no mapping \"keycloak-evnt\" is shipped: did you mean `keycloak-event`?"), "{err}");
    let (code, _, err) = run(&["schemas", "try", "--mapping", "deploy/none.toml", EVENTS]);
    assert!(code == 2 && err.contains("reading deploy/none.toml"), "{err}");
    let (code, _, err) = run(&["schemas", "try", "--mapping", "rustfmt.toml", EVENTS]);
    assert!(code == 2 && err.contains("rustfmt.toml:1:1: mapping = 1 is missing"), "{err}");
    let (code, _, err) = run(&["rules", "backtest", "--zone", "UTC", EVENTS]);
    assert!(code == 2 && err.contains("--mapping"), "{err}");
}

#[test]
fn shipped_mappings_are_listed_and_shown() {
    let (code, out, _) = run(&["schemas", "list"]);
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 0 && words.contains("keycloak-event Keycloak 26 (json, text)"), "{out}");
    let (code, out, _) = run(&["schemas", "show", "sshd"]);
    assert_eq!((code, out.as_str()), (0, include_str!("../../schemas/mappings/sshd.toml")));
}

#[test]
fn rules_judge_what_other_products_wrote() {
    let (code, out, err) = run(&["rules", "backtest", "--json", "--mapping", "keycloak-event", EVENTS]);
    assert_eq!(code, 0, "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let fired = report["rules"].as_array().unwrap().iter().filter(|rule| rule["findings"].as_u64() > Some(0));
    let fired: Vec<&str> = fired.map(|rule| rule["id"].as_str().unwrap()).collect();
    assert!(fired.contains(&"AUTH-0002") && fired.contains(&"AUTH-0004"), "{fired:?}");
    let (_, canonical, _) = run(&["rules", "backtest", "tests/data/openssh/events.ndjson"]);
    let (code, mapped, _) = run(&["rules", "backtest", "--mapping", "sshd", "--record-time", "2025-12-31", LOG]);
    assert_eq!(code, 0);
    // the 8 events that two lines stand for make no other rule fire
    let fired = |text: &str| text.lines().filter(|line| line.trim_start().contains(" finding")).count();
    assert_eq!(fired(&mapped), fired(&canonical));
}
