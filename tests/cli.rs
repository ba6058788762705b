//! The built binary as people and scripts meet it: help, exit codes, what goes to stdout and what to stderr.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod lab;

use authseal::{cli::exit, note::Verifiers};
use lab::{Lab, ORIGIN, STORE, key, signer};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// What a run left behind.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run_with(dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    // settings of whoever runs the tests must not leak in
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(dir).args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().and_then(|code| code.try_into().ok()).unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    run_with(dir, &[], args)
}

/// A run that must be good; its stdout.
fn good(dir: &Path, args: &[&str]) -> String {
    let ran = run(dir, args);
    assert_eq!(ran.code, exit::GOOD, "{args:?}: {}", ran.err);
    ran.out
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const CONFIG: &str = r#"origin = "auth.example.com/prod"
[kafka]
brokers = "127.0.0.1:9092"
[[topics]]
name = "auth"
format = "json"
[seal]
key_file = "seal.key"
[store]
kind = "dir"
path = "store"
"#;

/// A folder with a key and a configuration.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path(), &["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key"]);
    fs::write(dir.path().join("authseal.toml"), CONFIG).unwrap();
    dir
}

#[test]
fn help_and_version_are_results() {
    let dir = tempfile::tempdir().unwrap();
    let help = good(dir.path(), &["--help"]);
    for part in ["Usage: authseal", "verify", "keys", "rules", "config", "Exit codes:", "10  tampered", "--log-format"]
    {
        assert!(help.contains(part), "{part} in {help}");
    }
    assert!(!help.contains('\u{1b}'), "no colour where nobody looks");
    assert_eq!(good(dir.path(), &["--version"]), format!("authseal {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["run", "demo", "verify", "keys", "rules", "config"] {
        assert!(good(dir.path(), &[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn wrong_usage_has_a_code_of_its_own_and_leaves_stdout_alone() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["keys"],
        &["keys", "generate"],
        &["keys", "show"],
        &["keys", "generate", "--origin", "a b", "--out", "k"],
        &["keys", "generate", "--origin", "a+b", "--out", "k"],
        &["config", "check", "--partitions", "0"],
        &["config", "check", "--events-per-second", "-1"],
        &["config", "check", "--log-format", "xml"],
        &["config", "check"],
        &["rules", "check", "nowhere"],
        &["run"],
        &["run", "-c", "nowhere.toml"],
        &["demo", "--events", "0"],
        &["verify", "."],
        &["verify", ".", "--key", "k", "--fresh", "--max-age", "1h"],
        &["verify", "nowhere", "--key", "a/seal+00000000+AA"],
        &["verify", ".", "--key", "no-such-file"],
        &["verify", "gs://bucket", "--key", "no-such-file"],
    ];
    for args in wrong {
        let ran = run(dir.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (exit::USAGE, ""), "{args:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{args:?}");
    }
    assert!(!dir.path().join("k").exists());
    let ran = run(dir.path(), &["key", "show"]);
    assert!(ran.err.contains("similar subcommand exists: 'keys'"), "{}", ran.err);
}

#[test]
fn keys_are_made_once_kept_secret_and_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let made = run(path, &["keys", "generate", "--origin", "o.example", "--out", "seal.key", "--vkey", "seal.vkey"]);
    assert_eq!(made.code, exit::GOOD, "{}", made.err);
    let secret = fs::read_to_string(path.join("seal.key")).unwrap();
    assert!(secret.starts_with("PRIVATE+KEY+o.example/seal+") && secret.ends_with('\n') && secret.lines().count() == 1);
    assert_eq!((mode(&path.join("seal.key")), mode(&path.join("seal.vkey"))), (0o600, 0o644));
    assert!(made.out.starts_with("o.example/seal+"), "{}", made.out);
    assert_eq!(fs::read_to_string(path.join("seal.vkey")).unwrap(), made.out);
    assert_eq!(good(path, &["keys", "show", "seal.key"]), made.out);
    let json: Value = serde_json::from_str(&good(path, &["keys", "show", "seal.key", "--json"])).unwrap();
    assert_eq!((&json["name"], &json["vkey"]), (&Value::from("o.example/seal"), &Value::from(made.out.trim_end())));
    // the verifier key belongs to the secret key: the library reads both
    let signer = authseal::note::Signer::parse(secret.trim_end()).unwrap();
    assert_eq!(signer.verifier_key(), made.out.trim_end());
    // PRIVATE+KEY+name+id+data, and base64 may hold a + too
    let data = secret.trim_end().splitn(5, '+').nth(4).unwrap();
    assert!(data.len() > 40 && !made.out.contains(data) && !made.err.contains(data), "the secret is printed");

    for args in [
        &["keys", "generate", "--origin", "o.example", "--out", "seal.key"][..],
        &["keys", "generate", "--origin", "o.example", "--out", "other.key", "--vkey", "seal.vkey"],
        &["keys", "generate-withhold", "--out", "seal.key"],
    ] {
        let again = run(path, args);
        assert_eq!((again.code, again.out.as_str()), (exit::USAGE, ""), "{args:?}");
        assert!(again.err.contains("exists already"), "{}", again.err);
    }
    assert_eq!(fs::read_to_string(path.join("seal.key")).unwrap(), secret);
    assert!(!path.join("other.key").exists(), "half a pair");
    let two = [
        good(path, &["keys", "generate", "--origin", "o.example", "--out", "a.key"]),
        good(path, &["keys", "generate", "--origin", "o.example", "--out", "b.key"]),
    ];
    assert_ne!(two[0], two[1]);
}

#[test]
fn a_withhold_key_is_what_the_configuration_wants() {
    let dir = folder();
    assert_eq!(good(dir.path(), &["keys", "generate-withhold", "--out", "withhold.key"]), "");
    assert_eq!(mode(&dir.path().join("withhold.key")), 0o600);
    let text = CONFIG.replace("[store]", "withhold_key_file = \"withhold.key\"\n[store]");
    let text = text.replace("format = \"json\"", "format = \"json\"\nkeep = \"event\"");
    fs::write(dir.path().join("authseal.toml"), text).unwrap();
    let shown = good(dir.path(), &["config", "check"]);
    assert!(shown.contains("seal.withhold_key = \"<redacted>\""), "{shown}");
}

#[test]
fn a_key_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("k"), "PRIVATE+KEY+o.example/seal+00000000+AAAA\n").unwrap();
    fs::set_permissions(dir.path().join("k"), fs::Permissions::from_mode(0o600)).unwrap();
    let ran = run(dir.path(), &["keys", "show", "k"]);
    assert_eq!((ran.code, ran.out.as_str()), (exit::USAGE, ""));
    assert!(ran.err.contains("error: k: ") && !ran.err.contains("AAAA"), "{}", ran.err);
    let ran = run(dir.path(), &["keys", "show", "nowhere"]);
    assert_eq!(ran.code, exit::FAILED, "{}", ran.err);
}

#[test]
fn a_good_configuration_is_shown_with_what_it_connects_to_and_costs() {
    let dir = folder();
    let shown = run(dir.path(), &["config", "check"]);
    assert_eq!(shown.code, exit::GOOD, "{}", shown.err);
    for part in [
        "authseal.toml is good",
        "  cluster = \"main\"",
        "  kafka.brokers = \"127.0.0.1:9092\"",
        "  seal.key = \"<redacted>\"",
        "  seal.verifier_key = \"auth.example.com/prod/seal+",
        "  topics read       auth",
        "  topics written    authseal.alerts, authseal.dead-letters",
        "first year",
        "assumed: S3 Standard",
    ] {
        assert!(shown.out.contains(part), "{part} in {}", shown.out);
    }
    assert!(shown.err.contains("warning: rules.dir is not set"), "{}", shown.err);
    let args = ["config", "check", "--json", "--partitions", "64", "--events-per-second", "0"];
    let json: Value = serde_json::from_str(&good(dir.path(), &args)).unwrap();
    assert_eq!((&json["ok"], &json["config"]["seal"]["key"]), (&true.into(), &"<redacted>".into()));
    // an idle chain seals one heartbeat an hour
    assert_eq!(json["estimate"]["objects_a_year"], 64.0 * 24.0 * 365.0);
    let args = ["config", "check", "--json", "--partitions", "1", "--events-per-second", "10000"];
    let json: Value = serde_json::from_str(&good(dir.path(), &args)).unwrap();
    // 32 MiB of (230 + 250) bytes are full before 250,000 records and before a minute
    let expected = 10_000.0 * 480.0 * 365.0 * 86_400.0 / f64::from(32 << 20);
    assert_eq!(json["estimate"]["objects_a_year"].as_f64(), Some(expected.round()));
}

#[test]
fn a_bad_configuration_is_refused_line_by_line() {
    let dir = folder();
    let text = CONFIG.replace("brokers", "broker").replace("\"json\"", "\"jsn\"");
    fs::write(dir.path().join("bad.toml"), text).unwrap();
    let ran = run(dir.path(), &["config", "check", "-c", "bad.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (exit::USAGE, ""));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines[0], "error: bad.toml:2:1: kafka.brokers: is missing: host:port of at least one broker");
    assert_eq!(lines[1], "error: bad.toml:3:1: kafka.broker: unknown setting; did you mean \"brokers\"?");
    assert!(lines[2].starts_with("error: bad.toml:6:10: topics.0.format: \"jsn\" is unknown; did you mean \"json\"?"));
    assert_eq!(lines.len(), 3);

    let ran = run(dir.path(), &["config", "check", "-c", "bad.toml", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (exit::USAGE, ""));
    assert_eq!(json["ok"], false);
    assert_eq!((&json["problems"][1]["line"], &json["problems"][1]["setting"]), (&3.into(), &"kafka.broker".into()));

    let ran = run(dir.path(), &["config", "check", "-c", "none.toml"]);
    assert_eq!(ran.code, exit::USAGE);
    assert!(ran.err.starts_with("error: none.toml: cannot be read: No such file"), "{}", ran.err);
}

#[test]
fn the_environment_overrides_and_is_checked() {
    let dir = folder();
    let env =
        [("AUTHSEAL_KAFKA__BROKERS", "k1:9092"), ("AUTHSEAL_SEAL__MAX_AGE", "5s"), ("AUTHSEAL_TEST_SOMETHING", "x")];
    let ran = run_with(dir.path(), &env, &["config", "check"]);
    assert_eq!(ran.code, exit::GOOD, "{}", ran.err);
    assert!(
        ran.out.contains("kafka.brokers = \"k1:9092\"") && ran.out.contains("seal.max_age = \"5s\""),
        "{}",
        ran.out
    );
    let ran = run_with(dir.path(), &[("AUTHSEAL_SEAL__MAXAGE", "5s")], &["config", "check"]);
    assert_eq!(ran.code, exit::USAGE);
    let expected = "error: AUTHSEAL_SEAL__MAXAGE: seal.maxage: unknown setting; did you mean \"max_age\"?\n";
    assert_eq!(ran.err, expected);
    let elsewhere = tempfile::tempdir().unwrap();
    let file = dir.path().join("authseal.toml");
    let ran = run_with(elsewhere.path(), &[("AUTHSEAL_CONFIG", file.to_str().unwrap())], &["config", "check"]);
    assert_eq!(ran.code, exit::GOOD, "paths are relative to the file: {}", ran.err);
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let dir = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_authseal"))
        .current_dir(dir.path())
        .args(["config", "check"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_rules_that_come_with_it_are_good_and_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tested = good(root, &["rules", "test", "rules"]);
    assert!(tested.lines().last().is_some_and(|sum| sum.ends_with(" passed, 0 failed")), "{tested}");
    assert!(tested.lines().filter(|line| line.starts_with("ok ")).count() >= 8, "{tested}");
    let told = good(root, &["rules", "check", "rules"]);
    assert!(told.starts_with("good: ") && told.contains(" rules, "), "{told}");
    let listed = good(root, &["rules", "list"]);
    let mut lines = listed.lines();
    assert!(lines.next().is_some_and(|head| head.starts_with("ID ") && head.ends_with("  NAME")), "{listed}");
    assert!(lines.clone().count() >= 4, "{listed}");
    assert!(listed.contains("TA0006/T1110.004"), "{listed}");
    let json: Value = serde_json::from_str(&good(root, &["rules", "list", "--json"])).unwrap();
    assert_eq!(json["rules"].as_array().unwrap().len(), lines.count());
}

#[test]
fn a_broken_rule_is_told_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::write(dir.path().join("rules/broken.rhai"), "let x = ;\n").unwrap();
    fs::write(dir.path().join("rules/.hidden.rhai"), "not read").unwrap();
    for command in ["check", "list"] {
        let ran = run(dir.path(), &["rules", command]);
        assert_eq!((ran.code, ran.out.as_str()), (exit::USAGE, ""), "{command}");
        assert!(ran.err.starts_with("error: rules/broken.rhai:1:"), "{}", ran.err);
        assert!(!ran.err.contains("hidden"), "{}", ran.err);
    }
    let ran = run(dir.path(), &["rules", "check", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["ok"], &json["problems"][0]["line"]), (exit::USAGE, &false.into(), &1.into()));
}

#[test]
fn a_rule_that_fails_its_test_is_told_at_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    fs::create_dir(&rules).unwrap();
    fs::copy(root.join("rules/lockout_storm.rhai"), rules.join("lockout_storm.rhai")).unwrap();
    // a live rule without tests
    let ran = run(dir.path(), &["rules", "test"]);
    assert_eq!(ran.code, exit::USAGE, "{}", ran.err);
    assert!(ran.out.contains("FAILED lockout_storm.rhai: "), "{}", ran.out);
    assert!(ran.out.contains("         rules/lockout_storm.rhai: live rule"), "{}", ran.out);
    let ran = run(dir.path(), &["rules", "test", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["ok"], &json["failed"]), (exit::USAGE, &false.into(), &1.into()));
}

/// A store made by the real writer, in a folder, and its key in a file beside it.
async fn sealed() -> (Lab, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let keys = Verifiers::of(&signer(ORIGIN, 1)).text();
    fs::write(dir.path().join("seal.vkey"), format!("# the auditor's copy\n{keys}\n")).unwrap();
    (Lab::of(&STORE).await, dir)
}

fn verify(lab: &Lab, dir: &TempDir, more: &[&str]) -> Ran {
    let store = lab.root().to_str().unwrap();
    run(dir.path(), &[&["verify", store, "--key", "seal.vkey"], more].concat())
}

#[tokio::test]
async fn verify_says_with_its_code_what_it_found() {
    let (lab, dir) = sealed().await;
    let ran = verify(&lab, &dir, &[]);
    assert_eq!(ran.code, exit::GOOD, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("110 records") && ran.err.is_empty(), "{}{}", ran.out, ran.err);
    let ran = verify(&lab, &dir, &["--json", "--jobs", "1"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["verdicts"]["integrity"], &json["exit_code"]), (exit::GOOD, &"good".into(), &0.into()));
    // the store was sealed long ago: that is told, and fails only when it is asked for
    for fresh in [&["--fresh"][..], &["--max-age", "7d"]] {
        assert_eq!(verify(&lab, &dir, fresh).code, exit::STALE, "{fresh:?}");
    }
    let place = key("main/auth/0/0", 1);
    lab.edit(&place, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let ran = verify(&lab, &dir, &["--fresh"]);
    assert_eq!(ran.code, exit::TAMPERED, "{}", ran.out);
    assert!(ran.out.contains(&place), "{}", ran.out);
    lab.remove(&place);
    assert_eq!(verify(&lab, &dir, &["--fresh"]).code, exit::INCOMPLETE);
}

#[tokio::test]
async fn verify_trusts_no_other_key() {
    let (lab, dir) = sealed().await;
    let store = lab.root().to_str().unwrap();
    let other = Verifiers::of(&signer(ORIGIN, 9)).text();
    let ran = run(dir.path(), &["verify", store, "--key", other.trim()]);
    assert_eq!(ran.code, exit::TAMPERED, "{}", ran.out);
    let right = Verifiers::of(&signer(ORIGIN, 1)).text();
    assert_eq!(run(dir.path(), &["verify", store, "--key", other.trim(), "--key", right.trim()]).code, exit::GOOD);
    let empty = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), &["verify", empty.path().to_str().unwrap(), "--key", "seal.vkey"]);
    assert_eq!(ran.code, exit::INCOMPLETE, "nothing is not everything: {}", ran.out);
}
