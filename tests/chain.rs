//! `authseal chain reset` on the built binary: a topic that is another one than before, on librdkafka's mock cluster.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster with a topic of two partitions and so many records in the first.
fn cluster(records: usize) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["auth", "authseal.alerts", "authseal.dead-letters"] {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in 0..records {
        let value = format!(r#"{{"event_id":"{n}","time":"2026-01-01T00:00:00Z","activity":"LOGON","user":"u{n}"}}"#);
        producer.send(BaseRecord::<(), String>::to("auth").partition(0).payload(&value)).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    cluster
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    let output = command(dir, args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn good(dir: &Path, args: &[&str]) -> String {
    let ran = run(dir, args);
    assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
    ran.out
}

fn configure(dir: &Path, cluster: &Cluster) {
    let config = format!(
        "origin = \"auth.example.com/prod\"\ncluster = \"main\"\n[kafka]\nbrokers = \"{}\"\n[[topics]]\nname = \
         \"auth\"\nformat = \"json\"\n[seal]\nkey_file = \"seal.key\"\nmax_age = \"1s\"\n[store]\nkind = \"dir\"\npath \
         = \"store\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        cluster.bootstrap_servers()
    );
    fs::write(dir.join("authseal.toml"), config).unwrap();
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = ["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key", "--vkey", "seal.vkey"];
    good(dir.path(), &text);
    dir
}

/// Runs the pipeline until these segments are there, and ends it; what it said.
fn run_until(dir: &Path, segments: &[&str]) -> String {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut child: Child = command(dir, &["run"]).stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let there = |segment: &&str| dir.join("store/chains/main/auth").join(segment).exists();
    while !segments.iter().all(there) && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let kill = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    child.wait().unwrap();
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(segments.iter().all(there), "{log}");
    log
}

#[test]
fn a_topic_on_another_cluster_is_sealed_on_in_the_next_incarnation() {
    let (dir, before) = (folder(), cluster(30));
    let dir = dir.path();
    configure(dir, &before);
    let text = good(dir, &["chain", "reset", "--topic", "auth"]);
    assert!(text.contains("auth/0: nothing of it is sealed") && text.contains("no chain needs a reset"), "{text}");
    run_until(dir, &["00000/0000/000000000000.avro", "00001/0000/000000000000.avro"]);
    let text = good(dir, &["chain", "reset", "--topic", "auth"]);
    assert!(text.contains("main/auth/0/0: 1 segments, sealed up to offset 30\n  it can be continued\n"), "{text}");
    assert!(text.ends_with("no chain needs a reset: nothing was sealed\n"), "{text}");

    // the same names, another cluster
    let after = cluster(10);
    configure(dir, &after);
    let text = good(dir, &["chain", "reset", "--topic", "auth"]);
    assert!(text.contains("would open main/auth/0/1") && text.contains("add --reason and --yes"), "{text}");
    assert_eq!(fs::read_dir(dir.join("store/chains/main/auth/00000")).unwrap().count(), 1);
    let ran = run(dir, &["chain", "reset", "--topic", "auth", "--yes"]);
    assert!(ran.code == 2 && ran.err.contains("--reason"), "{}", ran.err);
    let reset = ["chain", "reset", "--topic", "auth", "--reason", "moved, OPS-1234", "--yes"];
    let text = good(dir, &reset);
    assert!(text.contains("opened main/auth/0/1") && text.contains("2 chains opened"), "{text}");
    let text = good(dir, &reset);
    assert!(text.ends_with("no chain needs a reset: nothing was sealed\n"), "{text}");

    run_until(dir, &["00000/0001/000000000001.avro"]);
    let report = good(dir, &["verify", "store", "--key", "seal.vkey"]);
    assert!(report.contains("main/auth/0/1: 2 of 2 segments good, sealed up to 10"), "{report}");
}

#[test]
fn mistakes_are_named() {
    let (dir, cluster) = (folder(), cluster(0));
    let dir = dir.path();
    configure(dir, &cluster);
    for (args, wanted) in [
        (&["--topic", "nothing"][..], "nothing is not among the topics of authseal.toml"),
        (&["--topic", "auth", "--partition", "7"], "--partition 7: auth has 2 partitions, from 0"),
        (&["--topic", "auth", "--force"], "--partition"),
    ] {
        let ran = run(dir, &[&["chain", "reset"], args].concat());
        assert!(ran.code == 2 && ran.err.contains(wanted), "{args:?}: {}", ran.err);
    }
}
