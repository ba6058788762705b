//! `log.policy_file` and `[log.timestamps]` in the configuration, and what `verify` is told about them:
//! everything that is wrong is told at its place, with file, line and column of the policy.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod fakes;

use authseal::{config::Config, note::Signer};
use fakes::Fake;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use tempfile::TempDir;

const ORIGIN: &str = "auth.example.com/prod";

fn log_key() -> Signer {
    Signer::from_seed(ORIGIN, [5; 32]).unwrap()
}

/// A folder with keys, a policy and a certificate.
fn folder(policy: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let seal = Signer::from_seed(&format!("{ORIGIN}/seal"), [7; 32]).unwrap();
    for (name, key) in [("seal.key", &seal), ("log.key", &log_key())] {
        let path = dir.path().join(name);
        fs::write(&path, key.secret_text().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(dir.path().join("log.vkey"), log_key().verifier_key()).unwrap();
    fs::write(dir.path().join("w.policy"), policy).unwrap();
    fs::write(dir.path().join("tsa.pem"), include_bytes!("data/stamps/rsa-tsa.pem")).unwrap();
    dir
}

fn load(dir: &Path, log: &str) -> Result<Config, String> {
    let text = format!(
        "origin = \"{ORIGIN}\"\ninstance = \"a\"\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n[[topics]]\nname = \
         \"auth\"\nformat = \"json\"\n[seal]\nkey_file = \"seal.key\"\n[store]\nkind = \"dir\"\npath = \
         \"store\"\n[log]\n{log}"
    );
    Config::parse(&dir.join("authseal.toml"), &text, &[]).map_err(|problems| problems.to_string())
}

fn witness(seed: u8) -> Fake {
    Fake::new(&format!("w{seed}"), seed, &log_key())
}

#[test]
fn a_policy_and_an_authority_are_taken_and_shown() {
    let fake = witness(1);
    let policy =
        format!("log {}\nwitness w1 {} {}\nquorum w1\n", log_key().verifier_key(), fake.verifier_key(), fake.url());
    let dir = folder(&policy);
    let log = "key_file = \"log.key\"\npolicy_file = \"w.policy\"\n[log.timestamps]\nurl = \
               \"http://tsa.example.com/x\"\ncertificates_file = \"tsa.pem\"\n";
    let config = load(dir.path(), log).unwrap();
    let shown = config.to_json();
    assert_eq!(shown["log"]["witnesses"][0]["name"], "w1");
    assert_eq!(shown["log"]["timestamps"]["every"], "1h");
    let transparency = config.transparency_log.unwrap();
    assert!(transparency.policy.is_some() && transparency.timestamps.is_some());
    let without = load(dir.path(), "key_file = \"log.key\"\n").unwrap().transparency_log.unwrap();
    assert!(without.policy.is_none() && without.timestamps.is_none());
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let (one, two) = (witness(1), witness(2));
    let named = |url: &str| format!("witness w1 {} {url}\nquorum w1\n", one.verifier_key());
    let both = format!(
        "witness w1 {} {}\nwitness w2 {}\ngroup g all w1 w2\nquorum g\n",
        one.verifier_key(),
        one.url(),
        two.verifier_key()
    );
    let elsewhere = Signer::from_seed("other.example/log", [8; 32]).unwrap().verifier_key();
    let other_log = format!("log {elsewhere}\n{}", named(one.url()));
    let (policy, stamps) =
        ("key_file = \"log.key\"\npolicy_file = \"w.policy\"\n", "key_file = \"log.key\"\n[log.timestamps]\n");
    let at = |line: usize, column: usize, setting: &str| format!("authseal.toml:{line}:{column}: {setting}: ");
    let policy_at = at(15, 15, "log.policy_file");
    for (file, log, place, word) in [
        ("quorum nobody\n", policy.to_owned(), &policy_at, "w.policy:1:8: no line before this one defines \"nobody\""),
        ("quorum none\n", policy.to_owned(), &policy_at, "its quorum is none: nobody would be asked"),
        (&named(""), policy.to_owned(), &policy_at, "the witnesses that have a URL are no quorum"),
        (&both, policy.to_owned(), &policy_at, "the witnesses that have a URL are no quorum"),
        (&other_log, policy.to_owned(), &policy_at, "names logs, and this one is not among them"),
        ("", "policy_file = \"w.policy\"\n".into(), &at(14, 15, "log.policy_file"), "without log.key_file"),
        ("", policy.replace("w.policy", "absent"), &policy_at, "absent cannot be read"),
        ("", format!("{stamps}url = \"http://a/\"\n"), &at(15, 1, "log.timestamps.certificates_file"), "is missing: "),
        (
            "",
            format!("{stamps}certificates_file = \"tsa.pem\"\n"),
            &at(16, 21, "log.timestamps.certificates_file"),
            "has no effect without log.timestamps.url",
        ),
        (
            "",
            format!("{stamps}url = \"tsa.example.com\"\ncertificates_file = \"tsa.pem\"\n"),
            &at(16, 7, "log.timestamps.url"),
            "is no URL",
        ),
        (
            "",
            format!("{stamps}url = \"http://a/\"\ncertificates_file = \"log.vkey\"\n"),
            &at(17, 21, "log.timestamps.certificates_file"),
            "there is no PEM certificate in it",
        ),
        (
            "",
            format!("{stamps}url = \"http://a/\"\ncertificates_file = \"tsa.pem\"\nevery = \"5s\"\n"),
            &at(18, 9, "log.timestamps.every"),
            "is shorter than a minute",
        ),
    ] {
        let dir = folder(file);
        let told = load(dir.path(), &log).err().unwrap_or_else(|| panic!("{word}: it was taken"));
        assert!(told.contains(place.as_str()) && told.contains(word), "{told}\nbut expected\n{place}{word}");
    }
}

#[test]
fn verify_wants_to_know_whom_to_believe() {
    let dir = folder("quorum w1\n");
    fs::create_dir(dir.path().join("store")).unwrap();
    for (more, word) in [
        (&["--require", "witnessed"][..], "--require witnessed needs --policy with a quorum"),
        (&["--require", "stamped"], "--require stamped needs --tsa-cert"),
        (&["--require", "notarised"], "possible values: witnessed, stamped"),
        (&["--policy", "w.policy"], "--policy: w.policy:1:8: no line before this one defines \"w1\""),
        (&["--policy", "absent"], "--policy: absent cannot be read"),
        (&["--tsa-cert", "log.vkey"], "--tsa-cert: log.vkey: there is no PEM certificate in it"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
        command.current_dir(dir.path()).args(["verify", "store", "--key", "log.vkey"]).args(more);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {told}");
        assert!(told.contains(word), "{more:?}: {told}");
    }
}
