//! Keys, retention and holds as a person at a terminal meets them: the built program, a folder as the store.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod lab;

use authseal::note::Signer;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

const ORIGIN: &str = lab::ORIGIN;

fn authseal(dir: &Path, line: &str) -> Output {
    let mut words = Vec::new();
    // words in single quotes are one
    for (n, part) in line.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    command.current_dir(dir).args(words).env_remove("AUTHSEAL_CONFIG");
    command.output().unwrap()
}

fn good(dir: &Path, line: &str) -> String {
    let output = authseal(dir, line);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn bad(dir: &Path, line: &str, code: i32) -> String {
    let output = authseal(dir, line);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{err}");
    format!("{out}{err}")
}

/// Keys made by hand, a configuration, and a store that was sealed by the key of this file, and not logged yet.
fn stage() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    good(at, &format!("keys generate --log --origin {ORIGIN} --out log.key --vkey log.vkey"));
    good(at, &format!("keys generate --origin {ORIGIN} --out seal.key --vkey seal.vkey"));
    let text = fs::read_to_string(at.join("seal.key")).unwrap();
    let mut chain = lab::Sealer::new("main/auth/0/0", authseal::segment::Codec::Null);
    chain.signer = Signer::parse(text.trim_end()).unwrap();
    for _ in 0..4 {
        chain.seal(lab::Part::Records(10));
    }
    let mut objects = lab::Objects::new();
    objects.insert("store.json".into(), lab::store_json(ORIGIN));
    chain.put(&mut objects);
    for (key, bytes) in &objects {
        let path = at.join("store").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let config = format!(
        "origin = \"{ORIGIN}\"\ninstance = \"desk\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[[topics]]\nname = \"auth\"\n\
         format = \"json\"\n[seal]\nkey_file = \"seal.key\"\n[log]\nkey_file = \"log.key\"\n[store]\nkind = \"dir\"\n\
         path = \"store\"\n[store.retention]\nperiod = \"30d\"\n"
    );
    fs::write(at.join("authseal.toml"), config).unwrap();
    log(at, &chain);
    dir
}

/// Enters what is sealed in the log, as `run` does.
fn log(at: &Path, chain: &lab::Sealer) {
    use authseal::{health::Health, log, manifest::Writer, note::Verifiers, retention, store::dir::DirStore};
    use std::{sync::Arc, time::Duration};
    let signer = Signer::parse(fs::read_to_string(at.join("log.key")).unwrap().trim_end()).unwrap();
    let queue = log::Queue::default();
    chain.out.iter().for_each(|sealed| queue.sealed(&sealed.manifest));
    let parts = log::Parts {
        store: Arc::new(DirStore::new(at.join("store"))),
        keys: Arc::new(Verifiers::of(&signer)),
        signer: Arc::new(signer),
        seal_keys: Arc::new(Verifiers::of(&chain.signer)),
        clock: Arc::new(|| lab::NOW),
        publisher: None,
        health: Health::new(Duration::from_secs(60)),
        queue,
    };
    let policy = retention::RetentionPolicy { mode: retention::LockMode::None, period: Duration::ZERO };
    let options = log::Options::new(ORIGIN, Writer { version: "0".into(), instance: "i".into() }, policy);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { log::Logger::new(parts, options).turn().await.unwrap() });
}

/// The runbook of docs/operations.md, step by step.
#[test]
fn a_key_is_changed_as_the_runbook_says() {
    let dir = stage();
    let at = dir.path();
    good(at, &format!("keys generate --origin {ORIGIN} --out seal-2.key --vkey seal-2.vkey"));
    let introduced = good(at, "keys introduce --key seal-2.key --reason 'yearly change'");
    assert!(introduced.contains("is good from here on: the log has 5 entries"), "{introduced}");
    let told = bad(at, "keys introduce --key seal-2.key --reason 'yearly change'", 2);
    assert!(told.contains("was introduced or retired before"), "{told}");
    let config = fs::read_to_string(at.join("authseal.toml")).unwrap();
    fs::write(at.join("authseal.toml"), config.replace("\"seal.key\"", "\"seal-2.key\"")).unwrap();
    let trust = format!(
        "origin {ORIGIN}\nlog {}seal {}",
        fs::read_to_string(at.join("log.vkey")).unwrap(),
        fs::read_to_string(at.join("seal.vkey")).unwrap()
    );
    fs::write(at.join("trust.txt"), trust).unwrap();
    // without the first key in the trust file, the log's entry about the second says nothing
    let told = bad(at, "keys retire seal.vkey --by seal-2.key --by seal.key --reason 'yearly change'", 2);
    assert!(told.contains("cannot be retired"), "{told}");
    let config = fs::read_to_string(at.join("authseal.toml")).unwrap();
    fs::write(at.join("authseal.toml"), format!("trust_file = \"trust.txt\"\n{config}")).unwrap();
    let retired = good(at, "keys retire seal.vkey --by seal-2.key --by seal.key --reason 'yearly change'");
    assert!(retired.contains("is retired behind entry 5"), "{retired}");
    let listed = good(at, "keys list store --trust trust.txt");
    let rows: Vec<&str> = listed.lines().collect();
    assert!(rows[0].ends_with("good from the beginning"), "{listed}");
    assert!(rows[1].ends_with("good from the beginning up to entry 5, which retires it"), "{listed}");
    assert!(rows[2].contains("introduced") && rows[2].ends_with("good behind entry 4"), "{listed}");
    assert!(good(at, "keys list store --trust trust.txt --json").contains("\"retired\": 5"));
    let report = good(at, "verify store --trust trust.txt");
    assert!(report.contains("4 of them good"), "{report}");
    // an instance with the retired key does not start
    let config = fs::read_to_string(at.join("authseal.toml")).unwrap();
    fs::write(at.join("authseal.toml"), config.replace("\"seal-2.key\"", "\"seal.key\"")).unwrap();
    let told = bad(at, "run", 2);
    assert!(told.contains("was retired in the log"), "{told}");
}

#[test]
fn what_is_past_its_date_goes_and_what_is_held_does_not() {
    let dir = stage();
    let at = dir.path();
    let dry = good(at, "retention apply --dry-run");
    assert!(
        dry.contains("main/auth/0/0: segments 0 to 2, offsets 0..30") && dry.contains("3 segments would go"),
        "{dry}"
    );
    let held = good(at, "hold on main/auth/0/0@12..14 --name CASE-7 --reason 'court order'");
    assert!(held.contains("1 segments held: entered in the log") && held.contains("no legal holds"), "{held}");
    assert_eq!(good(at, "hold list"), "main/auth/0/0@12..14  CASE-7\n");
    let dry = good(at, "retention apply --dry-run");
    assert!(dry.contains("segments 1 to 1") && dry.contains("stays: held by CASE-7"), "{dry}");
    let applied = good(at, "retention apply --reason 'OPS-1234'");
    assert!(applied.contains("2 segments disposed of, 2 deleted"), "{applied}");
    let left = fs::read_dir(at.join("store/chains/main/auth/00000/0000")).unwrap().count();
    assert_eq!(left, 2);
    let report = good(at, "verify store --key seal.vkey --log-key log.vkey");
    assert!(report.contains("NOTICE expired"), "{report}");
    good(at, "hold off main/auth/0/0 --name CASE-7 --reason 'case closed'");
    assert_eq!(good(at, "hold list"), "nothing is held\n");
    assert!(good(at, "retention apply --json").contains("\"deleted\": 1"));
    good(at, "verify store --key seal.vkey --log-key log.vkey");
    assert!(bad(at, "retention extend --topic auth --until 2099-01-01", 2).contains("no locks"), "a folder has none");
    assert!(bad(at, "hold on main/auth/0/0@0..99 --reason x", 2).contains("logged up to offset 40"));
}

#[test]
fn an_encrypted_key_needs_its_passphrase_and_a_readable_one_is_refused() {
    let dir = stage();
    let at = dir.path();
    fs::write(at.join("passphrase"), "a long passphrase\n").unwrap();
    assert!(bad(at, "keys encrypt seal.key --out seal.pem --passphrase-file passphrase", 2).contains("chmod 600"));
    fs::set_permissions(at.join("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    good(at, "keys encrypt seal.key --out seal.pem --passphrase-file passphrase");
    assert_eq!(fs::metadata(at.join("seal.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(bad(at, "keys show seal.pem", 2).contains("no passphrase was given"));
    let shown = good(at, "keys show seal.pem --passphrase-file passphrase");
    assert_eq!(shown, fs::read_to_string(at.join("seal.vkey")).unwrap());
    let made = format!("keys generate --origin {ORIGIN} --out new.pem --encrypt --passphrase-file passphrase");
    let vkey = good(at, &made);
    good(at, "keys introduce --key new.pem --passphrase-file passphrase --reason x");
    // the base64 behind the second plus sign may hold some itself
    let id = vkey.split('+').nth(1).unwrap();
    assert!(good(at, "keys list store --key log.vkey --key seal.vkey").contains(id));
    fs::set_permissions(at.join("seal.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(bad(at, "keys show seal.key", 2).contains("may be read or changed by others"));
    assert!(bad(at, "config check", 2).contains("chmod 600"));
}
