//! Durable state of rules on librdkafka's mock cluster: the log as it lies in a topic, and the built binary that is
//! restarted between the failures of a slow attack.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use authseal::{
    detect::Saved,
    error::Kind,
    position::ChainId,
    publish::{
        kafka::{KafkaPublisher, PublisherSettings},
        state::{
            Record, StateLog,
            kafka::{KafkaStateLog, StateSettings},
            partition_of,
        },
    },
    record::RawRecord,
    source::kafka::topic::{TopicSettings, read_to_end},
};
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const STATE: &str = "authseal.state";
const ALERTS: &str = "authseal.alerts";
type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in [("auth", 1), (ALERTS, 1), ("authseal.dead-letters", 1), (STATE, 4)] {
        cluster.create_topic(topic, partitions, 1).unwrap();
    }
    cluster
}

fn log(cluster: &Cluster, topic: &str) -> KafkaStateLog {
    let brokers = cluster.bootstrap_servers();
    let publisher = KafkaPublisher::connect(PublisherSettings {
        brokers: brokers.clone(),
        alerts: ALERTS.into(),
        dead_letters: None,
        shadow: None,
        checkpoints: None,
        properties: BTreeMap::new(),
    });
    let settings = StateSettings { brokers, group: "g".into(), topic: topic.into(), properties: BTreeMap::new() };
    KafkaStateLog::new(settings, Arc::new(publisher.unwrap()))
}

fn record(chain: u32, key: &str, writer: &str, value: Option<&'static str>) -> Record {
    Record {
        chain: Arc::new(ChainId { cluster: "main".into(), topic: "auth".into(), partition: chain, incarnation: 0 }),
        rule: "T-1".into(),
        key: key.as_bytes().into(),
        writer: writer.into(),
        value: value.map(Into::into),
    }
}

/// Every record of a topic, with its partition.
fn read(cluster: &Cluster, topic: &str) -> Vec<(i32, RawRecord)> {
    let (brokers, properties) = (cluster.bootstrap_servers(), BTreeMap::new());
    let settings = TopicSettings { brokers: &brokers, group: "t", topic, properties: &properties, since: None };
    let mut records = Vec::new();
    read_to_end(&settings, |partition, record| {
        records.push((partition, record));
        true
    })
    .unwrap();
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_record_of_each_writer_is_read_back_from_the_partition_of_its_chain() {
    let cluster = cluster();
    let log = log(&cluster, STATE);
    let chain = |n| record(n, "", "", None).chain;
    assert!(log.save(record(0, "a", "w1", Some("x"))).await.unwrap_err().is_retry(), "its partitions are not known");
    assert_eq!(log.load(&chain(0)).await.unwrap(), []);
    for (n, key, writer, value) in [
        (0, "a", "w1", Some("old")),
        (0, "a", "w1", Some("new")),
        (0, "a", "w2", Some("theirs")),
        (0, "b", "w1", Some("gone")),
        (0, "b", "w1", None),
    ] {
        log.save(record(n, key, writer, value)).await.unwrap();
    }
    for n in 1..8 {
        log.save(record(n, "a", "w1", Some("of another chain"))).await.unwrap();
    }
    let found: BTreeSet<_> =
        log.load(&chain(0)).await.unwrap().into_iter().map(|s: Saved| (s.writer, s.value)).collect();
    let wanted = [("w1", "new"), ("w2", "theirs")].map(|(writer, value)| (writer.into(), value.as_bytes().to_vec()));
    assert_eq!(found, BTreeSet::from(wanted));
    assert_eq!(log.load(&chain(7)).await.unwrap().len(), 1);
    assert_eq!(log.load(&chain(8)).await.unwrap().len(), 0);
    for (partition, raw) in read(&cluster, STATE) {
        let record = Record::parse(&raw.key.unwrap(), raw.value).unwrap();
        assert_eq!(partition, partition_of(&record.chain, 4));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_named() {
    let cluster = cluster();
    let error = log(&cluster, "no such topic").load(&record(0, "", "", None).chain).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains("no such topic"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_are_restored_in_seconds() {
    use authseal::{
        artifact::File,
        detect::{Detector, Limits, RuleSet},
    };
    let asks = "fn decide(e, w) { !e.mark(\"m\").missing }";
    let rule = format!("marker(\"m\", #{{ when: activity == LOGON, key: [user], ttl: \"90d\" }});\n{RULE}\n{asks}");
    let rules = Arc::new(RuleSet::load(&[File { path: "r.rhai".into(), bytes: rule.into_bytes() }]).unwrap());
    let detector = || {
        let mut detector =
            Detector::new(rules.clone(), Limits { state_bytes: 512 << 20, lateness: Duration::from_secs(600) });
        detector.keep(Duration::from_secs(7200), 0);
        detector
    };
    let (cluster, chain) = (cluster(), record(0, "", "", None).chain);
    let log = log(&cluster, STATE);
    log.load(&chain).await.unwrap();
    let mut first = detector();
    first.restore(&chain, 0, &[], 0, &mut Vec::new());
    for n in 0..100_000i64 {
        let event = authseal::event::AuthEvent {
            event_id: n.to_string().as_str().into(),
            time: authseal::event::Micros(n * 1_000),
            activity: authseal::event::Activity::Logon,
            outcome: authseal::event::Outcome::Failure,
            user: Some(format!("user-{n}").as_str().into()),
            ..Default::default()
        };
        let outcome = authseal::record::Outcome::Event(Box::new(event));
        let input = authseal::detect::Input { chain: &chain, offset: n, timestamp: n, now: n, outcome: &outcome };
        first.judge(&input, &mut Vec::new());
    }
    let began = Instant::now();
    let changes = first.unsaved(&chain, usize::MAX);
    let (count, bytes) = (changes.len(), changes.iter().map(|c| c.value.as_ref().map_or(0, Vec::len)).sum::<usize>());
    println!("{count} records, {bytes} bytes, made in {:?}", began.elapsed());
    // the mock cluster keeps 5 MiB of a partition
    let saved = changes.into_iter().filter_map(|change| {
        let (rule, key, value) = (change.rule, change.key, change.value?);
        Some(Saved { rule, key, writer: "w".into(), value })
    });
    let saved: Vec<Saved> = saved.collect();
    let mut last = None;
    for part in saved.iter().take(10_000) {
        let (chain, rule) = (chain.clone(), part.rule.clone());
        let (key, writer, value) = (part.key.clone(), part.writer.clone(), Some(part.value.clone().into()));
        last = Some(log.save(Record { chain, rule, key, writer, value }));
    }
    last.unwrap().await.unwrap();
    let began = Instant::now();
    let read = log.load(&chain).await.unwrap().len();
    println!("{read} records read in {:?}", began.elapsed());
    let (began, mut second) = (Instant::now(), detector());
    let restored = second.restore(&chain, 100_000, &saved, 100_000, &mut Vec::new());
    println!("{restored:?} in {:?}, {:?}", began.elapsed(), second.totals());
    // the key of the rule's window and that of its marker
    assert_eq!((restored.records, read, second.totals().keys), (200_000, 10_000, 200_000));
    assert!(began.elapsed() < Duration::from_secs(60));
}

const RULE: &str = r#"
rule("T-1", #{
    name: "slow", severity: HIGH, status: "stable", mode: "live", attack: ["TA0006/T1110"], owner: "tests",
    runbook: "https://runbooks.example/T-1", falsepos: ["none"],
    when: activity == LOGON & outcome == FAILURE, key: [user], window: "12h",
    agg: #{ failures: count() }, at_least: #{ failures: 5 }, dedup: "12h",
});
"#;

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::null());
    command
}

fn configure(dir: &Path, cluster: &Cluster, state: &str) {
    let config = format!(
        "origin = \"auth.example.com/prod\"\ncluster = \"main\"\n[kafka]\nbrokers = \"{}\"\n[[topics]]\nname = \
         \"auth\"\nformat = \"json\"\n[rules]\ndir = \"rules\"\nlateness = \"1m\"\n{state}\n[seal]\nkey_file = \
         \"seal.key\"\nmax_age = \"1s\"\n[store]\nkind = \"dir\"\npath = \"store\"\n[http]\nlisten = \
         \"127.0.0.1:0\"\n",
        cluster.bootstrap_servers()
    );
    fs::write(dir.join("authseal.toml"), config).unwrap();
}

/// Appends failed logons of these users, so many minutes ago.
fn produce(cluster: &Cluster, logons: &[(&str, i64)]) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for (user, ago) in logons {
        let time = jiff::Timestamp::now() - Duration::from_secs(*ago as u64 * 60);
        let value = format!(
            r#"{{"event_id":"{user}-{ago}","time":"{time}","activity":"LOGON","outcome":"FAILURE","user":"{user}"}}"#
        );
        let record = BaseRecord::<(), String>::to("auth").partition(0).payload(&value);
        producer.send(record.timestamp(time.as_millisecond())).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Runs the pipeline until `enough`, and ends it.
fn run_until(dir: &Path, name: &str, enough: impl Fn() -> bool) {
    let log = dir.join(format!("{name}.log"));
    let stderr = fs::File::create(&log).unwrap();
    let mut child: Child = command(dir, &["run"]).stderr(stderr).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let mut reached = false;
    while !reached && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(300));
        reached = enough();
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap();
    assert!(reached, "{}", fs::read_to_string(&log).unwrap());
}

/// What the log says the durable rules have seen of the chain.
fn covered(cluster: &Cluster) -> i64 {
    let records = read(cluster, STATE).into_iter().filter_map(|(_, raw)| Record::parse(&raw.key?, raw.value));
    let of_chain = records.filter(|record| record.rule.is_empty()).filter_map(|record| record.value);
    let to = of_chain.map(|value| serde_json::from_slice::<serde_json::Value>(&value).unwrap()["to"].as_i64().unwrap());
    to.max().unwrap_or(0)
}

#[test]
fn an_attack_that_is_slower_than_the_replay_horizon_is_found_across_a_restart() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let dir = dir.path();
    let keys = ["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key"];
    assert!(command(dir, &keys).stdout(Stdio::null()).status().unwrap().success());
    fs::create_dir(dir.join("rules")).unwrap();
    fs::write(dir.join("rules/slow.rhai"), RULE).unwrap();

    configure(dir, &cluster, "");
    let refused = command(dir, &["run"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("rule T-1 looks back 12h") && text.contains("set rules.state_topic"), "{text}");

    configure(dir, &cluster, &format!("state_topic = \"{STATE}\""));
    // the failures lie hours back, whoever else failed just now: a restart does not read so far
    produce(&cluster, &[("ann", 300), ("ann", 290), ("ann", 280), ("ann", 270), ("somebody", 0)]);
    run_until(dir, "first", || covered(&cluster) >= 5);
    assert_eq!(read(&cluster, ALERTS).len(), 0);
    produce(&cluster, &[("ann", 0)]);
    run_until(dir, "second", || covered(&cluster) >= 6 && !read(&cluster, ALERTS).is_empty());
    let alerts = read(&cluster, ALERTS);
    assert_eq!(alerts.len(), 1);
    let alert: serde_json::Value = serde_json::from_slice(alerts[0].1.value.as_ref().unwrap()).unwrap();
    assert!(alert.to_string().contains("\"failures\":5"), "{alert:#}");
    let log = fs::read_to_string(dir.join("second.log")).unwrap();
    // a mock broker has no settings of topics
    let warns = |line: &str| line.contains("WARN") && !line.contains("does not tell whether the topic is compacted");
    assert!(log.contains("state of the rules restored") && !log.lines().any(warns), "{log}");
}
