//! What the demo plays on: a folder, a key, a broker inside the process, and the settings of the pipeline.

use super::{
    DemoOptions,
    shipped::RULES,
    traffic::{AVRO_TOPIC, JSON_TOPIC, PARTITIONS},
};
use crate::{
    artifact::File,
    decode::{Decoder, Format, TopicSpec},
    detect::{Limits, RuleSet},
    error::{Error, Result},
    ingest::{Begin, Live, Options, RetentionPolicy, SealOptions, Topic},
    note::Signer,
    retention::LockMode,
    store_info::seal_key_name,
};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Name of the evidence.
pub const ORIGIN: &str = "authseal.example/demo";
/// Topic of the alerts.
pub const ALERTS: &str = "authseal.alerts";
/// Topic of the dead letters.
pub const DEAD_LETTERS: &str = "authseal.dead-letters";

/// The shipped rules, their lists and tests.
pub fn rules() -> Vec<File> {
    RULES.iter().map(|(path, text)| File { path: (*path).into(), bytes: (*text).into() }).collect()
}

/// Folder, key and broker.
pub struct Stage {
    /// Where everything goes.
    pub dir: PathBuf,
    /// Signs the segments.
    pub signer: Signer,
    /// Signs the log.
    pub log_signer: Signer,
    /// Real Kafka protocol over TCP on loopback. Stops when it is dropped.
    pub broker: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    /// Makes the folder and the key, and starts the broker.
    pub fn build(options: &DemoOptions) -> Result<Self> {
        let dir = folder(options.dir.as_deref())?;
        let key = |name: &str| -> Result<Signer> {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|e| Error::config(format!("no random numbers for a key: {e}")))?;
            Signer::from_seed(name, seed)
        };
        let (signer, log_signer) = (key(&seal_key_name(ORIGIN))?, key(ORIGIN)?);
        let vkey = dir.join("seal.vkey");
        std::fs::write(&vkey, format!("{}\n{}\n", signer.verifier_key(), log_signer.verifier_key()))
            .map_err(|e| Error::config(format!("writing {}", vkey.display())).caused_by(e))?;
        let kafka =
            |e: rdkafka::error::KafkaError| Error::config("starting the broker inside the process").caused_by(e);
        let broker = MockCluster::new(1).map_err(kafka)?;
        for (topic, partitions) in [(AVRO_TOPIC, PARTITIONS), (JSON_TOPIC, PARTITIONS), (ALERTS, 1), (DEAD_LETTERS, 1)]
        {
            broker.create_topic(topic, partitions, 1).map_err(kafka)?;
        }
        Ok(Self { dir, signer, log_signer, broker })
    }

    /// The rules that are shipped, in the binary.
    pub fn rules() -> Result<Arc<RuleSet>> {
        RuleSet::load(&rules()).map(Arc::new).map_err(|problems| {
            let text: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
            Error::bug(format!("the shipped rules do not load: {}", text.join("; ")))
        })
    }

    /// The settings of the pipeline: short ages, so that something is to be seen.
    pub fn options(rules: Arc<RuleSet>) -> Result<Options> {
        let random = || -> Result<[u8; 32]> {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|e| Error::config(format!("no random numbers for a key: {e}")))?;
            Ok(key)
        };
        let shared = random()?;
        let topic = |format: Format, source: &str| -> Result<Topic> {
            let spec = TopicSpec {
                format,
                source: Some(source.to_string()),
                tenant: Some("acme".into()),
                keep_event_only: false,
                secret_fields: Vec::new(),
            };
            let decoder = Decoder::new(spec, &random()?)?.correlating(&shared);
            Ok(Topic { decoder: Arc::new(decoder), gaps_expected: false, begin: Begin::LogStart })
        };
        let topics = HashMap::from([
            (AVRO_TOPIC.to_string(), topic(Format::Avro { schema: None }, "events")?),
            (JSON_TOPIC.to_string(), topic(Format::Json, "gateway")?),
        ]);
        Ok(Options {
            origin: ORIGIN.into(),
            cluster: "demo".into(),
            instance: "demo".into(),
            topics: topics.into(),
            rules,
            limits: Limits { state_bytes: 256 << 20, lateness: Duration::from_secs(600) },
            live: Live::default(),
            seal: SealOptions { max_age: Duration::from_secs(2), max_records: 10_000, ..SealOptions::default() },
            retention: RetentionPolicy { mode: LockMode::None, period: Duration::ZERO },
            alerts: true,
            dead_letters: true,
            replay_records: 1_000_000,
            state: None,
            outbox: 10_000,
            shutdown_deadline: Duration::from_secs(30),
        })
    }
}

/// The folder asked for, which must be new or empty; or the first free one of authseal-demo, authseal-demo-2 …
fn folder(asked: Option<&Path>) -> Result<PathBuf> {
    let make = |dir: &Path| {
        std::fs::create_dir_all(dir).map_err(|e| Error::config(format!("creating {}", dir.display())).caused_by(e))
    };
    if let Some(dir) = asked {
        make(dir)?;
        let mut entries =
            std::fs::read_dir(dir).map_err(|e| Error::config(format!("reading {}", dir.display())).caused_by(e))?;
        if entries.next().is_some() {
            return Err(Error::config(format!("{} is not empty: name a new folder with --dir", dir.display())));
        }
        return Ok(dir.to_path_buf());
    }
    let names = std::iter::once("authseal-demo".to_string()).chain((2..1000).map(|n| format!("authseal-demo-{n}")));
    for dir in names.map(PathBuf::from) {
        if !dir.exists() {
            make(&dir)?;
            return Ok(dir);
        }
    }
    Err(Error::config("a thousand demos lie here already: remove some, or name a folder with --dir"))
}
