//! `authseal dead-letters` on the built binary, against librdkafka's mock cluster: the real protocol, without a broker.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use authseal::{
    position::ChainId,
    publish::{
        Publisher,
        dead_letter::{dead_letter, trim},
        kafka::{KafkaPublisher, PublisherSettings},
    },
    record::{Decoded, Header, Outcome, RawRecord, Rejection, Scope, Withheld},
    source::kafka::topic::{TopicSettings, read_to_end},
};
use bytes::Bytes;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use std::{collections::BTreeMap, fs, path::Path, process::Command};
use tempfile::TempDir;

const LETTERS: &str = "authseal.dead-letters";

struct Stage {
    cluster: MockCluster<'static, DefaultProducerContext>,
    dir: TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Stage {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("auth", 4, 1).unwrap();
        cluster.create_topic(LETTERS, 3, 1).unwrap();
        cluster.create_topic("mended", 2, 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let stage = Self { cluster, dir };
        assert_eq!(stage.run(&["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key"]).code, 0);
        let config = format!(
            "origin = \"auth.example.com/prod\"\ncluster = \"main\"\n[kafka]\nbrokers = \"{}\"\n[[topics]]\nname = \
             \"auth\"\nformat = \"json\"\n[seal]\nkey_file = \"seal.key\"\n[store]\nkind = \"dir\"\npath = \"store\"\n",
            stage.brokers()
        );
        fs::write(stage.dir.path().join("authseal.toml"), config).unwrap();
        stage
    }

    fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
            command.env_remove(name);
        }
        let output = command.current_dir(self.path()).args(args).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn good(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Publishes the dead letters of these records as the pipeline does.
    async fn reject(&self, records: impl IntoIterator<Item = (u32, RawRecord, Decoded)>, small: bool) {
        let publisher = KafkaPublisher::connect(PublisherSettings {
            brokers: self.brokers(),
            alerts: "authseal.alerts".into(),
            dead_letters: Some(LETTERS.into()),
            shadow: None,
            checkpoints: None,
            properties: BTreeMap::new(),
        })
        .unwrap();
        for (partition, raw, decoded) in records {
            let chain = ChainId { cluster: "main".into(), topic: "auth".into(), partition, incarnation: 0 };
            let letter = dead_letter(&chain, &raw, &decoded).unwrap();
            publisher.publish(if small { trim(&letter).unwrap() } else { letter }).await.unwrap();
        }
    }

    /// Everything on a topic: (partition, record), by partition and offset.
    fn on(&self, topic: &str) -> Vec<(i32, RawRecord)> {
        let properties = BTreeMap::new();
        let brokers = self.brokers();
        let settings = TopicSettings { brokers: &brokers, group: "test", topic, properties: &properties, since: None };
        let mut found = Vec::new();
        read_to_end(&settings, |partition, record| {
            found.push((partition, record));
            true
        })
        .unwrap();
        found.sort_by_key(|(partition, record)| (*partition, record.offset));
        found
    }
}

fn rejected(code: &'static str, withheld: Option<Scope>) -> Decoded {
    let withheld = withheld.map(|scope| Withheld { code: "biometric", length: 5, mac: [0; 32], scope });
    Decoded {
        outcome: Outcome::Rejection(Rejection::new(code, "a\tdetail \u{1b}[31mred")),
        withheld,
        schema_id: Some("7".into()),
    }
}

fn odd(offset: i64) -> RawRecord {
    let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    RawRecord {
        offset,
        key: Some(Bytes::from(format!("k{offset}"))),
        headers: vec![header(b"\xff\0", None), header(b"authseal-code", Some(b"spoofed")), header(b"", Some(b""))],
        value: Some(Bytes::from(vec![0, 255, offset as u8])),
        ..RawRecord::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rejected_is_listed_and_comes_back_byte_for_byte() {
    let stage = Stage::new();
    let mended = (0..20).map(|n| (n as u32 % 4, odd(n), rejected("unknown_schema_id", None)));
    stage.reject(mended, false).await;
    // the pipeline publishes at least once: a letter may be there twice
    stage.reject([(3, odd(3), rejected("unknown_schema_id", None))], false).await;
    stage.reject([(0, odd(100), rejected("biometric", Some(Scope::Value)))], false).await;
    stage.reject([(0, odd(101), rejected("trailing_bytes", None))], true).await;
    let null = RawRecord { offset: 102, ..RawRecord::default() };
    stage.reject([(1, null.clone(), rejected("tombstone", None))], false).await;

    let text = stage.good(&["dead-letters", "list"]);
    assert!(text.contains("main/auth/2/0@2 "), "{text}");
    assert!(
        text.contains("24 dead letters on authseal.dead-letters: 1 biometric, 1 tombstone, 1 trailing_bytes, 21 unk")
    );
    assert!(text.contains("1 cannot be replayed: withheld (biometric): only its producer has it"), "{text}");
    assert!(text.contains(r"a\tdetail \u{1b}[31mred") && !text.contains('\u{1b}'), "{text}");
    let lines = stage.good(&["dead-letters", "list", "--json", "--values", "--position", "main/auth/2/0@2"]);
    let letter: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((letter["code"].as_str(), letter["schema_id"].as_str()), (Some("unknown_schema_id"), Some("7")));
    assert_eq!((letter["value"].as_str(), letter["key"].as_str()), (Some("AP8C"), Some("azI=")));
    assert_eq!(letter["headers"][0], serde_json::json!({ "key": "/wA=", "value": null }));

    // nothing is published without --yes
    let text = stage.good(&["dead-letters", "replay", "--code", "unknown_schema_id", "--code", "biometric"]);
    assert!(text.starts_with("would replay 20 of 22 dead letters\n") && text.contains("add --yes"), "{text}");
    assert!(stage.on("auth").is_empty());

    let text = stage.good(&["dead-letters", "replay", "--yes"]);
    assert!(text.starts_with("replayed 21 of 24 dead letters\n"), "{text}");
    for left_out in ["1  left out: a repeat", "1  left out: withheld", "1  left out: trimmed (body)"] {
        assert!(text.contains(left_out), "{text}");
    }
    let found = stage.on("auth");
    assert_eq!(found.len(), 21);
    for (partition, record) in found {
        let (ours, own) = record.headers.split_last().unwrap();
        assert_eq!(&ours.key[..], b"authseal-replay-of");
        let position = String::from_utf8(ours.value.as_ref().unwrap().to_vec()).unwrap();
        let offset: i64 = position.strip_prefix(&format!("main/auth/{partition}/0@")).unwrap().parse().unwrap();
        let original = if offset == 102 { null.clone() } else { odd(offset) };
        assert_eq!((&record.key, own, &record.value), (&original.key, &original.headers[..], &original.value));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_can_go_to_another_topic_and_those_of_other_clusters_stay() {
    let stage = Stage::new();
    stage.reject((0..6).map(|n| (n as u32 % 3, odd(n), rejected("bad_json", None))), false).await;
    let text = stage.good(&["dead-letters", "replay", "--to", "mended", "--yes", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["topics"]["mended"], &told["failed"]), (&6.into(), &serde_json::json!([])));
    assert_eq!(stage.on("mended").len(), 6);
    let config = fs::read_to_string(stage.path().join("authseal.toml")).unwrap();
    for (from, to, why) in [
        ("cluster = \"main\"", "cluster = \"other\"", "it was read from the cluster main, which is not this one"),
        ("name = \"auth\"", "name = \"others\"", "auth is not among the topics that are read here"),
    ] {
        fs::write(stage.path().join("authseal.toml"), config.replace(from, to)).unwrap();
        let text = stage.good(&["dead-letters", "replay", "--yes"]);
        assert!(text.starts_with("replayed 0 of 6") && text.contains(&format!("6  left out: {why}")), "{text}");
    }
    assert!(stage.on("auth").is_empty());
}

#[test]
fn a_topic_that_is_empty_or_missing_is_said() {
    let stage = Stage::new();
    assert!(stage.good(&["dead-letters", "list"]).contains("0 dead letters on authseal.dead-letters\n"));
    assert_eq!(stage.good(&["dead-letters", "list", "--json"]), "");
    let text = stage.good(&["dead-letters", "replay", "--since", "1h"]);
    assert_eq!(text, "would replay 0 of 0 dead letters\n");
    let config = fs::read_to_string(stage.path().join("authseal.toml")).unwrap();
    let missing = format!("{config}[dead_letters]\ntopic = \"nowhere\"\n");
    fs::write(stage.path().join("authseal.toml"), missing).unwrap();
    let ran = stage.run(&["dead-letters", "list"]);
    assert!(ran.code != 0 && ran.err.contains("nowhere"), "{}{}", ran.out, ran.err);
}
