//! `authseal run` with a transparency log, on librdkafka's mock cluster: what is sealed is logged, also by a successor
//! of a process that was killed; checkpoints go to their topic; and an auditor who has the keys misses nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const CHECKPOINTS: &str = "authseal.checkpoints";

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["auth", "authseal.alerts", "authseal.dead-letters", CHECKPOINTS] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster
}

fn produce(cluster: &Cluster, records: std::ops::Range<usize>) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in records {
        let value = format!(r#"{{"event_id":"{n}","time":"2026-01-01T00:00:00Z","activity":"LOGON","user":"u{n}"}}"#);
        producer.send(BaseRecord::<(), String>::to("auth").partition(0).payload(&value)).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command
}

fn authseal(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = command(dir, args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn good(dir: &Path, args: &[&str]) -> String {
    let (code, text) = authseal(dir, args);
    assert_eq!(code, Some(0), "{args:?}: {text}");
    text
}

fn configure(dir: &Path, cluster: &Cluster, log: &str) {
    let config = format!(
        "origin = \"auth.example.com/prod\"\n[kafka]\nbrokers = \"{}\"\n[kafka.properties]\n\"session.timeout.ms\" = \
         \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n[[topics]]\nname = \"auth\"\nformat = \
         \"json\"\n[seal]\nkey_file = \"seal.key\"\nmax_age = \"1s\"\n[store]\nkind = \"dir\"\npath = \
         \"store\"\n[http]\nlisten = \"127.0.0.1:0\"\n{log}",
        cluster.bootstrap_servers()
    );
    fs::write(dir.join("authseal.toml"), config).unwrap();
}

fn start(dir: &Path) -> Child {
    let log = fs::File::create(dir.join("log")).unwrap();
    command(dir, &["run"]).stderr(log).stdout(Stdio::null()).spawn().unwrap()
}

fn wait_for(dir: &Path, what: &str) {
    let began = Instant::now();
    while !dir.join(what).exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {}", fs::read_to_string(dir.join("log")).unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// SIGTERM, and it ends well.
fn end(dir: &Path, mut child: Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(dir.join("log")).unwrap());
}

fn segment(sequence: u64) -> String {
    format!("store/chains/main/auth/00000/0000/{sequence:012}.avro")
}

fn report(dir: &Path) -> Value {
    let args = ["verify", "store", "--key", "seal.vkey", "--log-key", "log.vkey", "--json"];
    let (code, text) = authseal(dir, &args);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(code.map(i64::from), report["exit_code"].as_i64());
    report
}

/// The newest checkpoint on the topic.
fn published(cluster: &Cluster) -> String {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "copies");
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create().unwrap();
    let mut partitions = rdkafka::TopicPartitionList::new();
    partitions.add_partition_offset(CHECKPOINTS, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let (mut newest, mut wait) = (None, Duration::from_secs(20));
    while let Some(message) = consumer.poll(wait) {
        newest = Some(String::from_utf8(message.unwrap().payload().unwrap().to_vec()).unwrap());
        wait = Duration::from_secs(1);
    }
    newest.expect("a checkpoint on the topic")
}

#[test]
fn what_is_sealed_is_logged_also_after_a_kill_and_removals_are_found() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let dir = dir.path();
    let origin = "auth.example.com/prod";
    good(dir, &["keys", "generate", "--origin", origin, "--out", "seal.key", "--vkey", "seal.vkey"]);
    good(dir, &["keys", "generate", "--log", "--origin", origin, "--out", "log.key", "--vkey", "log.vkey"]);
    let key = fs::read_to_string(dir.join("log.vkey")).unwrap();
    assert!(key.starts_with("auth.example.com/prod+"), "{key}");

    // an old configuration goes on without a log, and is told what that means
    configure(dir, &cluster, "");
    let text = good(dir, &["config", "check"]);
    assert!(text.contains("transparency log  none: if the newest segments are removed, nothing tells"), "{text}");
    produce(&cluster, 0..10);
    let child = start(dir);
    wait_for(dir, &segment(0));
    end(dir, child);
    assert!(!dir.join("store/log").exists());
    let (code, text) = authseal(dir, &["verify", "store", "--key", "seal.vkey"]);
    assert!(code == Some(0) && text.contains("no transparency log that names them"), "{text}");
    assert_eq!(report(dir)["findings"][0]["code"], "log_missing");

    // with a key everything enters it, also what was there before
    configure(dir, &cluster, "[log]\nkey_file = \"log.key\"\ncheckpoint_topic = \"authseal.checkpoints\"\n");
    let text = good(dir, &["config", "check"]);
    assert!(text.contains("transparency log  in the store, key auth.example.com/prod\n"), "{text}");
    assert!(text.contains("authseal.dead-letters, authseal.checkpoints\n"), "{text}");
    produce(&cluster, 10..20);
    let child = start(dir);
    wait_for(dir, &segment(1));
    end(dir, child);
    let first = report(dir);
    assert_eq!((first["exit_code"].as_i64(), first["log"]["unlogged"].as_i64()), (Some(0), Some(0)), "{first}");
    // and that somebody lived, if it took a minute
    assert!(first["log"]["entries"].as_u64() >= first["totals"]["segments"].as_u64(), "{first}");
    let kept = published(&cluster);
    assert_eq!(kept, fs::read_to_string(dir.join("store/log/checkpoint")).unwrap());
    fs::write(dir.join("kept.checkpoint"), &kept).unwrap();

    // a process that seals and never comes to log, and is killed: its successor enters what it left
    configure(dir, &cluster, "");
    produce(&cluster, 20..30);
    let mut child = start(dir);
    let sealed = first["totals"]["segments"].as_u64().unwrap();
    wait_for(dir, &segment(sealed));
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = report(dir);
    let waiting = killed["log"]["pending"].as_u64().unwrap() + killed["log"]["unlogged"].as_u64().unwrap();
    assert!(waiting > 0, "{killed}");
    configure(dir, &cluster, "[log]\nkey_file = \"log.key\"\n");
    produce(&cluster, 30..40);
    let child = start(dir);
    wait_for(dir, &segment(sealed + 1));
    end(dir, child);
    let last = report(dir);
    let log = &last["log"];
    assert_eq!(
        (last["exit_code"].as_i64(), log["pending"].as_i64(), log["unlogged"].as_i64()),
        (Some(0), Some(0), Some(0))
    );
    let verify = ["verify", "store", "--key", "seal.vkey", "--log-key", "log.vkey", "--checkpoint", "kept.checkpoint"];
    let text = good(dir, &verify);
    assert!(text.contains("goes on from your checkpoint"), "{text}");

    // the newest segment is removed; without the log's key nothing is taken for good either
    let newest = last["totals"]["segments"].as_u64().unwrap() - 1;
    fs::remove_file(dir.join(segment(newest))).unwrap();
    let report = report(dir);
    assert_eq!(
        (report["exit_code"].as_i64(), &report["findings"][0]["code"]),
        (Some(11), &"removed".into()),
        "{report}"
    );
    let (code, text) = authseal(dir, &["verify", "store", "--key", "seal.vkey"]);
    assert!(code == Some(11) && text.contains("log_key_missing"), "{text}");
}

#[test]
fn keys_and_topics_that_do_not_belong_to_the_log_are_refused() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let dir = dir.path();
    let origin = "auth.example.com/prod";
    good(dir, &["keys", "generate", "--origin", origin, "--out", "seal.key"]);
    good(dir, &["keys", "generate", "--log", "--origin", "auth.example.com/other", "--out", "other.key"]);
    for (log, wanted) in [
        ("[log]\nkey_file = \"seal.key\"\n", "seal and log have a key each"),
        ("[log]\nkey_file = \"other.key\"\n", "it belongs to another origin"),
        ("[log]\nkey_file = \"none.key\"\n", "none.key cannot be read"),
        ("[log]\ncheckpoint_topic = \"c\"\n", "has no effect without log.key_file"),
        ("[log]\ncheckpoint_topic = \"authseal.alerts\"\n", "is the alerts topic as well"),
    ] {
        configure(dir, &cluster, log);
        let (code, text) = authseal(dir, &["config", "check"]);
        assert!(code == Some(2) && text.contains(wanted), "{log}: {text}");
    }
}
