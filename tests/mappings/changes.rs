//! `schemas check`: what people see of a change, and what their build sees of it.

use serde_json::Value;
use std::{path::Path, process::Command};

const OLD: &str = r#"{"type":"record","name":"L","fields":[{"name":"time","type":"long"},
    {"name":"user","type":"string"},{"name":"amount","type":"int"}]}"#;

/// Exit code and stdout of `schemas check old.avsc new.avsc`, with more arguments.
fn check(new: &str, args: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("old.avsc", OLD);
    write("new.avsc", new);
    run(dir.path(), &[&["schemas", "check", "old.avsc", "new.avsc"], args].concat())
}

fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_authseal")).args(args).current_dir(dir).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_change_that_takes_nothing_away_is_compatible() {
    let new = OLD.replace("\"user\"", "\"login\",\"aliases\":[\"user\"]").replace("\"int\"", "[\"null\",\"long\"]");
    let (code, text) = check(&new, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("compatible\nfor authseal:\n  nothing changes\n"), "{text}");
    assert!(text.contains("backward (new readers, old data): yes"), "{text}");
    let forward = "forward (old readers, new data): no (not asked for)\n    user: the data does not have it";
    assert!(text.contains(forward), "{text}");
    // the same, where others must get along too
    let (code, text) = check(&new, &["--avro", "full"]);
    assert!(code == 1 && text.starts_with("NOT compatible"), "{text}");
    assert_eq!(check(&new, &["--avro", "backward"]).0, 0);
}

#[test]
fn what_is_lost_is_told_to_people_and_to_programs() {
    let new = r#"{"type":"record","name":"L","fields":[
        {"name":"time","type":"boolean"},{"name":"who","type":"string"}]}"#;
    let (code, text) = check(new, &[]);
    assert_eq!(code, 1);
    for line in [
        "  loss     time: no field fills it: every record is rejected (missing_time)",
        "  loss     user: is no longer filled (\"user\" is gone)",
        "  warning  amount: is no longer an attribute: rules may read it",
        "  gain     who: becomes an attribute",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (code, text) = check(new, &["--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["compatible"], &json["authseal"][0]["weight"]), (1, &false.into(), &"loss".into()));
    assert_eq!(json["backward"]["compatible"], false);
}

#[test]
fn what_cannot_be_compared_is_said() {
    for (new, want) in [
        ("{", "new.avsc: the schema is not JSON"),
        ("\"string\"", "new.avsc: the schema is not a record"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"f","type":"X"}]}"#,
            "field \"f\": type \"X\" is not defined",
        ),
    ] {
        let (code, text) = check(new, &[]);
        assert!(code == 2 && text.contains(want), "{code} {text}");
    }
    let here = Path::new(".");
    let (code, text) = run(here, &["schemas", "fetch", "registry:logins"]);
    assert!(code == 2 && text.contains("--registry URL"), "{text}");
    let nobody = "http://127.0.0.1:1";
    let (code, text) = run(here, &["schemas", "fetch", "registry:logins", "--registry", nobody]);
    assert!(code == 1 && text.contains("registry:logins: http://127.0.0.1:1/subjects/logins/"), "{text}");
}
