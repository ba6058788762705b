//! `authseal run` with a real witness (Torchwood's litewitness, Go) and a real time-stamp authority (OpenSSL):
//! what they sign lies in the store, `verify` grades the log by it, `openssl ts -verify` takes the stored stamps,
//! and while both are down sealing goes on. It needs Go, OpenSSL, Python and OpenSSH; where CI is set, their
//! absence is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ORIGIN: &str = "auth.example.com/prod";

/// What the services need. Without it the test says so.
fn has_tools() -> bool {
    let lacks =
        |tool: &str, arg: &str| !Command::new(tool).arg(arg).output().is_ok_and(|output| output.status.success());
    let missing: Vec<&str> = [("go", "version"), ("openssl", "version"), ("python3", "--version")]
        .into_iter()
        .filter(|(tool, arg)| lacks(tool, arg))
        .map(|(tool, _)| tool)
        .chain(Command::new("ssh-agent").arg("-h").output().is_err().then_some("ssh-agent"))
        .collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "{missing:?} is not installed, and where CI is set it must be");
        eprintln!("{missing:?} is not installed: no witness and no authority can be started");
    }
    missing.is_empty()
}

/// A service, stopped by its process id: the scripts become what they start. The witness's agent ends by itself.
struct Service(Child);

impl Service {
    fn start(script: &str, dir: &Path, name: &str, port: u16, more: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(script);
        let log = fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(script);
        command.arg(dir.join(name)).arg(port.to_string()).args(more).stdin(Stdio::null());
        command.env("WITNESS_NAME", "witness.example/w1").stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command
}

fn authseal(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = command(dir, args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn produce(cluster: &MockCluster<'static, DefaultProducerContext>, records: std::ops::Range<usize>) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in records {
        let value = format!(r#"{{"event_id":"{n}","time":"2026-01-01T00:00:00Z","activity":"LOGON","user":"u{n}"}}"#);
        producer.send(BaseRecord::<(), String>::to("auth").partition(0).payload(&value)).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Tries until there is an answer. Five minutes: the first use builds the witness.
fn until<T>(dir: &Path, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let logs = ["log", "witness.log", "tsa.log"].map(|log| fs::read_to_string(dir.join(log)).unwrap_or_default());
        assert!(began.elapsed() < Duration::from_secs(300), "{what}: {logs:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn files(dir: &Path, folder: &str, end: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.join("store/log").join(folder)).into_iter().flatten();
    let mut files: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_str().unwrap().ends_with(end));
    files.sort();
    files
}

fn start(dir: &Path) -> Child {
    let log = fs::File::create(dir.join("log")).unwrap();
    command(dir, &["run"]).stderr(log).stdout(Stdio::null()).spawn().unwrap()
}

fn end(dir: &Path, mut child: Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(dir.join("log")).unwrap());
}

const KEYS: [&str; 6] = ["verify", "store", "--key", "seal.vkey", "--log-key", "log.vkey"];
const BELIEVED: [&str; 8] =
    ["--policy", "witnesses.policy", "--tsa-cert", "tsa/ca.pem", "--require", "witnessed", "--require", "stamped"];

/// A proof of one record carries the stamp, or what the witness signed.
fn a_proof_carries_both(dir: &Path) {
    let prove = ["prove", "store", "main/auth/0/0@1", "--key", "seal.vkey", "--log-key", "log.vkey", "--out", "proof"];
    let (code, text) = authseal(dir, &prove);
    assert!(code == Some(0) && text.contains("carries a time stamp"), "{text}");
    let check = ["check-proof", "proof", "--key", "seal.vkey", "--log-key", "log.vkey"];
    let (code, text) = authseal(dir, &[&check[..], &["--tsa-cert", "tsa/ca.pem", "--require", "stamped"]].concat());
    assert!(code == Some(0) && text.contains("\nstamped ") && text.contains("by \"CN=test TSA\""), "{text}");
    assert!(!text.contains("The time beyond doubt"), "{text}");
    let (code, text) =
        authseal(dir, &[&check[..], &["--policy", "witnesses.policy", "--tsa-cert", "tsa/ca.pem"]].concat());
    assert!(code == Some(0) && text.contains("\ngrade "), "{text}");
    let witnessed = [&prove[..8], &["witnessed-proof", "--checkpoint", "witnessed"]].concat();
    let (code, text) = authseal(dir, &witnessed);
    assert_eq!(code, Some(0), "{text}");
    let check = ["check-proof", "witnessed-proof", "--key", "seal.vkey", "--log-key", "log.vkey"];
    let demanded = ["--policy", "witnesses.policy", "--require", "witnessed", "--json"];
    let (code, text) = authseal(dir, &[&check[..], &demanded].concat());
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["grade"]["name"]), (Some(0), &Value::from("witnessed")), "{text}");
    assert_eq!(told["grade"]["cosigned_by"].as_array().map(Vec::len), Some(1), "{text}");
}

#[test]
fn a_real_witness_and_a_real_authority_sign_and_sealing_goes_on_without_them() {
    if !has_tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["auth", "authseal.alerts", "authseal.dead-letters"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    for args in [
        &["keys", "generate", "--origin", ORIGIN, "--out", "seal.key", "--vkey", "seal.vkey"][..],
        &["keys", "generate", "--log", "--origin", ORIGIN, "--out", "log.key", "--vkey", "log.vkey"],
    ] {
        let (code, text) = authseal(dir, args);
        assert_eq!(code, Some(0), "{text}");
    }
    let log = fs::read_to_string(dir.join("log.vkey")).unwrap();
    let log = log.lines().find(|line| line.starts_with(ORIGIN)).unwrap();
    let (witness_port, tsa_port) = (free_port(), free_port());
    let witness = Service::start("witness.sh", dir, "witness", witness_port, &[log]);
    let tsa = Service::start("tsa.sh", dir, "tsa", tsa_port, &[]);
    let key = until(dir, "the witness", || fs::read_to_string(dir.join("witness/vkey")).ok());
    until(dir, "the authority", || dir.join("tsa/complete").exists().then_some(()));
    let policy = format!("log {log}\nwitness w1 {} http://127.0.0.1:{witness_port}\nquorum w1\n", key.trim());
    fs::write(dir.join("witnesses.policy"), policy).unwrap();
    let config = format!(
        "origin = \"{ORIGIN}\"\n[kafka]\nbrokers = \"{}\"\n[kafka.properties]\n\"session.timeout.ms\" = \
         \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n[[topics]]\nname = \"auth\"\nformat = \
         \"json\"\n[seal]\nkey_file = \"seal.key\"\nmax_age = \"1s\"\n[store]\nkind = \"dir\"\npath = \
         \"store\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[log]\nkey_file = \"log.key\"\npolicy_file = \"witnesses.policy\"\n\
         [log.timestamps]\nurl = \
         \"http://127.0.0.1:{tsa_port}/\"\ncertificates_file = \"tsa/ca.pem\"\nevery = \"1m\"\n",
        cluster.bootstrap_servers()
    );
    fs::write(dir.join("authseal.toml"), config).unwrap();
    let (code, text) = authseal(dir, &["config", "check"]);
    assert!(code == Some(0) && text.contains(&format!("w1 (http://127.0.0.1:{witness_port})")), "{text}");

    produce(&cluster, 0..10);
    let child = start(dir);
    let kept = until(dir, "a witnessed checkpoint", || files(dir, "witnessed", "").pop());
    let stamp = until(dir, "a stamp", || files(dir, "stamps", ".tsr").pop());
    end(dir, child);
    assert!(fs::read_to_string(&kept).unwrap().contains("\u{2014} witness.example/w1 "));

    // the stamp is one for OpenSSL too
    let openssl = |data: &Path| {
        let mut command = Command::new("openssl");
        command.args(["ts", "-verify", "-CAfile"]).arg(dir.join("tsa/ca.pem")).arg("-in").arg(&stamp);
        command.arg("-data").arg(data).output().unwrap()
    };
    let output = openssl(&stamp.with_extension("checkpoint"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!openssl(&dir.join("seal.vkey")).status.success(), "and of nothing else");

    let (code, text) = authseal(dir, &[&KEYS[..], &BELIEVED[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("grade    witnessed+stamped\n") && text.contains("by CN=test TSA"), "{text}");
    let (code, text) = authseal(dir, &[&KEYS[..], &["--json"][..]].concat());
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["log"]["anchors"]["grade"]), (Some(0), &Value::from("unwitnessed")));

    a_proof_carries_both(dir);

    // both are gone: what comes is sealed and logged all the same, and what they had signed still counts
    drop((witness, tsa));
    produce(&cluster, 10..20);
    let child = start(dir);
    let segments = || fs::read_dir(dir.join("store/chains/main/auth/00000/0000")).map_or(0, |entries| entries.count());
    let before = segments();
    until(dir, "sealing without them", || (segments() > before).then_some(()));
    until(dir, "the log to say so", || {
        let log = fs::read_to_string(dir.join("log")).unwrap();
        log.contains("does not answer").then_some(())
    });
    end(dir, child);
    let (code, text) = authseal(dir, &[&KEYS[..], &BELIEVED[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("later ones not yet"), "{text}");

    // a witness that remembers goes on from where it was
    let witness = Service::start("witness.sh", dir, "witness", witness_port, &[log]);
    produce(&cluster, 20..30);
    let child = start(dir);
    until(dir, "a newer witnessed checkpoint", || files(dir, "witnessed", "").pop().filter(|newest| *newest > kept));
    end(dir, child);
    drop(witness);
}
