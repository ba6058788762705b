//! The way of a rule from nothing to live, with the built binary: new, check, test, explain, backtest, exceptions.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod lab;

use authseal::{cli::exit, note::Verifiers};
use lab::{Lab, ORIGIN, STORE, key, signer};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openssh/events.ndjson");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run_fed(dir: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    command.current_dir(dir).arg("rules").args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().and_then(|code| code.try_into().ok()).unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    run_fed(dir, args, "")
}

/// A run that must be good; its stdout.
fn good(dir: &Path, args: &[&str]) -> String {
    let ran = run(dir, args);
    assert_eq!(ran.code, exit::GOOD, "{args:?}: {}{}", ran.out, ran.err);
    ran.out
}

/// A run whose usage is wrong; what it says.
fn wrong(dir: &Path, args: &[&str]) -> String {
    let ran = run(dir, args);
    assert_eq!((ran.code, ran.out.as_str()), (exit::USAGE, ""), "{args:?}: {}", ran.err);
    ran.err
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A folder with a copy of the shipped rules.
fn shipped() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for below in ["", "lists/"] {
        fs::create_dir_all(dir.path().join("rules").join(below)).unwrap();
        for entry in fs::read_dir(Path::new(RULES).join(below)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), dir.path().join("rules").join(below).join(entry.file_name())).unwrap();
            }
        }
    }
    dir
}

#[test]
fn a_new_rule_loads_passes_its_tests_and_is_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let told = good(dir.path(), &["new", "ACME-0001", "Token \"used\" again \\ ${x} `y`"]);
    assert!(told.starts_with("rules/token_used_again_x_y.rhai\nrules/token_used_again_x_y.test.rhai\n"), "{told}");
    assert!(good(dir.path(), &["check"]).starts_with("good: 1 rules, 0 lists, replay of 0s needed"));
    let tested = good(dir.path(), &["test"]);
    assert!(tested.ends_with("4 passed, 0 failed\n"), "{tested}");
    let listed = json(&good(dir.path(), &["list", "--json"]));
    let rule = &listed["rules"][0];
    assert_eq!((&rule["mode"], &rule["status"]), (&"shadow".into(), &"experimental".into()));
    assert_eq!((&rule["tests"], &rule["window_seconds"]), (&4.into(), &600.into()));
    assert_eq!(rule["key"], serde_json::json!(["tenant", "src_ip"]));
    assert_eq!(rule["name"], "Token \"used\" again \\ ${x} `y`");

    let before = fs::read(dir.path().join("rules/token_used_again_x_y.rhai")).unwrap();
    let again = wrong(dir.path(), &["new", "ACME-0002", "token used again x y"]);
    assert!(again.contains("token_used_again_x_y.rhai is there already: nothing was written"), "{again}");
    assert_eq!(fs::read(dir.path().join("rules/token_used_again_x_y.rhai")).unwrap(), before);
    let taken = wrong(dir.path(), &["new", "ACME-0001", "Another"]);
    assert!(taken.contains("rule id ACME-0001 is taken"), "{taken}");
    assert!(wrong(dir.path(), &["new", "no id", "Another"]).contains("is no rule id"));
    assert!(wrong(dir.path(), &["new", "A-1", "…"]).contains("NAME needs a letter"));
    assert!(!dir.path().join("rules/another.rhai").exists());
}

#[test]
fn results_of_tests_are_written_for_ci_whether_good_or_bad() {
    let dir = shipped();
    good(dir.path(), &["test", "--junit", "good.xml"]);
    let xml = fs::read_to_string(dir.path().join("good.xml")).unwrap();
    assert!(xml.contains("<testsuite name=\"rules/brute_force.test.rhai\" tests=\"9\" failures=\"0\""), "{xml}");
    let tests = dir.path().join("rules/brute_force.test.rhai");
    let text = fs::read_to_string(&tests).unwrap().replacen("alerts: 1", "alerts: 7", 1);
    fs::write(&tests, text).unwrap();
    assert_eq!(run(dir.path(), &["test", "--junit", "bad.xml"]).code, exit::USAGE);
    let xml = fs::read_to_string(dir.path().join("bad.xml")).unwrap();
    assert!(xml.contains("<failure message=\"expected 7 alerts of AUTH-0004, got 1"), "{xml}");
    assert!(xml.contains(">rules/brute_force.test.rhai:"), "{xml}");
    assert!(wrong(dir.path(), &["test", "--junit", "no/such/dir.xml"]).contains("--junit: writing"));
}

#[test]
fn explain_says_what_each_rule_made_of_each_event() {
    let dir = shipped();
    let told = good(dir.path(), &["explain", "--rule", "AUTH-0004", "--rule", "AUTH-0003", SAMPLE]);
    for part in [
        "AUTH-0003  not selected: activity == ACCOUNT_LOCK: it is LOGON",
        "AUTH-0004  counted, gate shut: tenant=LabSZ src_ip=173.234.31.186; ",
        "attempts 1 of 20",
        "FINDING HIGH \"Brute force from 187.141.143.180: 20 failed logons on one account within an hour\"",
        "gate open, and the finding of this period was raised before; next at ",
        "AUTH-0004: of 534 records `when` selected 532; functions asked 5×; findings 5",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("AUTH-0001"));
    let input =
        "{\"time\":\"2026-01-05T00:00:00Z\",\"activity\":\"LOGON\",\"outcome\":\"FAILURE\",\"user\":\"ann\"}\nx\n";
    let ran = run_fed(dir.path(), &["explain", "--json", "-"], input);
    assert_eq!(ran.code, exit::GOOD, "{}", ran.err);
    let lines: Vec<Value> = ran.out.lines().map(json).collect();
    assert_eq!(lines.len(), 3, "{}", ran.out);
    assert_eq!(
        (&lines[0]["rules"][0]["stand"], &lines[0]["rules"][0]["lacks"][0]),
        (&"keyless".into(), &"src_ip".into())
    );
    let refused = &lines[0]["rules"][2]["refused_by"][0];
    assert_eq!(
        (&refused["test"], &refused["found"]["activity"]),
        (&"activity == ACCOUNT_LOCK".into(), &"LOGON".into())
    );
    assert_eq!((&lines[1]["line"], &lines[1]["event"]["rejection"]), (&2.into(), &"not_json".into()));
    assert_eq!((&lines[2]["records"], &lines[2]["rules"][0]["selected"]), (&2.into(), &1.into()));
    assert!(wrong(dir.path(), &["explain", "--rule", "AUTH-9", SAMPLE]).contains("there is no rule AUTH-9"));
    assert!(wrong(dir.path(), &["explain", "nowhere.ndjson"]).contains("reading nowhere.ndjson"));
}

#[test]
fn a_backtest_of_files_finds_what_a_run_would_have() {
    let dir = shipped();
    let args = ["backtest", "--rule", "AUTH-0004", "--json", SAMPLE];
    let report = json(&good(dir.path(), &args));
    assert_eq!((&report["records"], &report["late"], &report["rules"][1]), (&534.into(), &0.into(), &Value::Null));
    let rule = &report["rules"][0];
    assert_eq!((&rule["findings"], &rule["by_day"]["2025-12-10"]), (&5.into(), &5.into()));
    assert_eq!(rule["by_severity"], serde_json::json!([["HIGH", 3], ["MEDIUM", 2]]));
    assert_eq!(rule["top_keys"][0][0], "tenant=LabSZ src_ip=103.99.0.122");
    assert_eq!(rule["samples"][0]["position"], "file/events/0/0@30");
    assert_eq!(good(dir.path(), &args), good(dir.path(), &args), "the same each time");
    let ranged =
        ["backtest", "--rule", "AUTH-0004", "--from", "2025-12-10T09:00:00Z", "--to", "2025-12-10T10:00:00Z", SAMPLE];
    let told = good(dir.path(), &ranged);
    assert!(told.contains("2 findings: 1 HIGH, 1 MEDIUM"), "{told}");
    for bad in [
        &["backtest", "nowhere"][..],
        &["backtest", SAMPLE, "."],
        &["backtest", "--from", "soon", SAMPLE],
        &["backtest", "--from", "2026-01-02", "--to", "2026-01-01", SAMPLE],
        &["backtest", "--rule", "AUTH-9", SAMPLE],
        &["backtest", "--key", "k", SAMPLE],
        &["backtest", "gs://bucket"],
        &["backtest", "rules"],
    ] {
        assert!(wrong(dir.path(), bad).starts_with("error: "), "{bad:?}");
    }
}

#[tokio::test]
async fn a_backtest_of_a_store_reads_every_chain_and_verifies_if_asked() {
    let dir = shipped();
    let lab = Lab::of(&STORE).await;
    let store = lab.root().to_str().unwrap();
    let keys = Verifiers::of(&signer(ORIGIN, 1)).text();
    let report = json(&good(dir.path(), &["backtest", "--json", store]));
    let counts = ["chains", "records", "events", "rejections", "opaque"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [4, 108, 89, 10, 9], "{report}");
    assert!(report["rules"][0]["selected"].as_u64().unwrap() > 0, "{report}");
    let verified = good(dir.path(), &["backtest", "--json", "--key", keys.trim(), store]);
    assert_eq!(json(&verified), report);
    let before = json(&good(dir.path(), &["backtest", "--json", "--to", "2020-01-01", store]));
    assert_eq!(before["records"], 0);

    let other = Verifiers::of(&signer(ORIGIN, 9)).text();
    assert_eq!(run(dir.path(), &["backtest", "--key", other.trim(), store]).code, exit::TAMPERED);
    let place = key("main/auth/0/0", 1);
    lab.edit(&place, |bytes| bytes.truncate(bytes.len() - 20));
    let ran = run(dir.path(), &["backtest", store]);
    assert_eq!((ran.code, ran.out.as_str()), (exit::TAMPERED, ""), "{}", ran.err);
    assert!(ran.err.contains(&place) && ran.err.contains("run `authseal verify`"), "{}", ran.err);
}

#[test]
fn exceptions_are_checked_counted_and_told() {
    let dir = shipped();
    let folder = dir.path().join("rules/exceptions");
    fs::create_dir(&folder).unwrap();
    let write = |kind: &str, expires: &str| {
        let text = format!(
            "# agreed with the scanning team\n[[{kind}]]\nrule = \"AUTH-0004\"\n\
             match = {{ src_ip = \"187.141.0.0/16\" }}\n\
             owner = \"scanning\"\nreason = \"CHG-7\"\nexpires = {expires}\n"
        );
        fs::write(folder.join("scan.toml"), text).unwrap();
    };
    let findings = || {
        let report = json(&good(dir.path(), &["backtest", "--rule", "AUTH-0004", "--json", SAMPLE]));
        let rule = &report["rules"][0];
        ["findings", "silenced", "excepted"].map(|name| rule[name].as_u64().unwrap())
    };
    // expired today, but in force when the events happened
    write("exception", "2025-12-10");
    let ran = run(dir.path(), &["check"]);
    assert_eq!(ran.code, exit::GOOD, "{}", ran.err);
    assert!(ran.out.contains("1 exceptions and silences"), "{}", ran.out);
    assert_eq!(
        ran.err,
        "warning: rules/exceptions/scan.toml:2:1: this exception has expired on 2025-12-10 and has no effect: remove \
         it, or renew it\n"
    );
    let warned = json(&good(dir.path(), &["check", "--json"]));
    assert_eq!((&warned["ok"], &warned["warnings"][0]["line"]), (&true.into(), &2.into()));
    assert_eq!(findings()[0], 4);
    assert!(findings()[2] > 0);
    let told = good(dir.path(), &["explain", "--rule", "AUTH-0004", SAMPLE]);
    assert!(told.contains("no finding: exception exceptions/scan.toml:2: CHG-7"), "{told}");
    write("silence", "2025-12-10");
    assert_eq!(findings(), [5, 1, 0]);
    write("silence", "2025-12-09");
    assert_eq!(findings(), [5, 0, 0]);
    write("silence", "2099-01-01");
    let told = wrong(dir.path(), &["check"]);
    assert!(told.contains("rules/exceptions/scan.toml:2:1: this silence would last until 2099-01-01"), "{told}");
    write("silense", "2025-12-09");
    let told = wrong(dir.path(), &["check"]);
    assert!(told.contains("scan.toml:2:3: unknown table `silense`: did you mean `silence`?"), "{told}");
}
