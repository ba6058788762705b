//! A real Kafka, a real S3 endpoint and the built binary: what the live tests share. `make test` starts the services
//! and names them in the environment; with `CI` set, a service that is not named is a failure.

#![allow(dead_code)] // each test binary compiles this for itself and uses a part of it

use authseal::digest::Digest;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The services, or `None` when they are not there and need not be.
pub struct Live {
    pub kafka: String,
    pub s3: String,
    pub python: PathBuf,
}

impl Live {
    pub fn get() -> Option<Self> {
        let names = ["AUTHSEAL_TEST_KAFKA", "AUTHSEAL_TEST_S3", "AUTHSEAL_TEST_PYTHON"];
        let [kafka, s3, python] = names.map(|name| std::env::var(name).ok());
        if let (Some(kafka), Some(s3), Some(python)) = (kafka, s3, python) {
            return Some(Self { kafka, s3, python: python.into() });
        }
        assert!(std::env::var_os("CI").is_none(), "{names:?} must name the services: run `make test`");
        eprintln!("no services named by {names:?}: run `make test`");
        None
    }
}

/// A name that no other test and no earlier run uses.
pub fn unique(what: &str) -> String {
    let mut random = [0; 4];
    getrandom::fill(&mut random).unwrap();
    format!("{what}-{}", authseal::digest::hex(&random))
}

pub async fn create_topics(kafka: &str, topics: &[(&str, i32)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka).create().unwrap();
    let new: Vec<_> = topics
        .iter()
        .map(|(name, partitions)| {
            // old timestamps must not let retention delete what the test just wrote
            NewTopic::new(name, *partitions, TopicReplication::Fixed(1))
                .set("retention.ms", "-1")
                .set("message.timestamp.before.max.ms", "9223372036854775807")
                .set("message.timestamp.after.max.ms", "9223372036854775807")
        })
        .collect();
    for result in admin.create_topics(&new, &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

/// Creates a topic that keeps the last record of each key, as `rules.state_topic` must be.
pub async fn create_compacted(kafka: &str, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka).create().unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    for result in admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

/// Creates a bucket with Object Lock.
pub async fn create_bucket(s3: &str, name: &str) {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .endpoint_url(s3)
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new("test", "test", None, None, "tests"))
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    client.create_bucket().bucket(name).object_lock_enabled_for_bucket(true).send().await.unwrap();
}

/// A record to publish.
#[derive(Clone, Default)]
pub struct Record {
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Where each published value landed: SHA-256 of the value (or none) by partition and offset.
pub type Published = BTreeMap<(i32, i64), Option<Digest>>;

struct Landed(Arc<Mutex<Published>>);

impl rdkafka::ClientContext for Landed {}

impl ProducerContext for Landed {
    type DeliveryOpaque = Box<Option<Digest>>;

    fn delivery(&self, result: &DeliveryResult<'_>, digest: Self::DeliveryOpaque) {
        let message = result.as_ref().unwrap_or_else(|(error, _)| panic!("{error}"));
        self.0.lock().unwrap().insert((message.partition(), message.offset()), *digest);
    }
}

/// Publishes records and says where they landed.
pub fn publish(kafka: &str, topic: &str, records: impl IntoIterator<Item = Record>) -> Published {
    let landed = Arc::new(Mutex::new(Published::new()));
    let producer: ThreadedProducer<Landed> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("enable.idempotence", "true")
        .create_with_context(Landed(landed.clone()))
        .unwrap();
    for record in records {
        let digest = Box::new(record.value.as_deref().map(Digest::of));
        let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, digest);
        message.partition = record.partition;
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            message.headers = Some(record.headers.iter().fold(headers, |headers, (key, value)| {
                headers.insert(rdkafka::message::Header { key, value: value.as_deref() })
            }));
        }
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
            message = back;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    std::mem::take(&mut landed.lock().unwrap())
}

/// A message read back.
#[derive(Debug, Clone)]
pub struct Read {
    pub value: Option<Vec<u8>>,
    pub headers: HashMap<String, Vec<u8>>,
}

/// Everything that is on a topic now.
pub fn read_topic(kafka: &str, topic: &str) -> Vec<Read> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let timeout = Duration::from_secs(20);
    let metadata = consumer.fetch_metadata(Some(topic), timeout).unwrap();
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), timeout).unwrap();
        left += high - low;
        list.add_partition_offset(topic, partition.id(), rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut read = Vec::new();
    let began = Instant::now();
    while (read.len() as i64) < left {
        assert!(began.elapsed() < Duration::from_secs(60), "only {} of {left} messages of {topic}", read.len());
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.unwrap();
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        read.push(Read {
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|h| (h.key.to_string(), h.value.unwrap_or_default().to_vec())).collect(),
        });
    }
    read
}

/// A folder with a configuration, a key and what the processes print.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub bucket: String,
    pub group: String,
    pub alerts: String,
    pub dead_letters: String,
}

/// The built binary; `AUTHSEAL_TEST_BINARY` names another, such as an optimised one.
pub fn authseal() -> Command {
    let other = std::env::var_os("AUTHSEAL_TEST_BINARY");
    let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_authseal").into()));
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
    command
}

impl Site {
    /// Bucket, topics, key and configuration for one source topic.
    pub async fn new(live: &Live, topic: &str, partitions: i32, format: &str, extra: &str) -> Self {
        create_topics(&live.kafka, &[(topic, partitions)]).await;
        Self::make(live, topic, format, extra).await
    }

    /// The same for a source topic that is there, and that another site may read too.
    pub async fn beside(live: &Live, topic: &str, format: &str) -> Self {
        Self::make(live, topic, format, "").await
    }

    async fn make(live: &Live, topic: &str, format: &str, extra: &str) -> Self {
        let group = unique("authseal");
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            bucket: unique("evidence"),
            alerts: format!("{group}.alerts"),
            dead_letters: format!("{group}.dead-letters"),
            group,
        };
        create_bucket(&live.s3, &site.bucket).await;
        create_topics(&live.kafka, &[(&site.alerts, 1), (&site.dead_letters, 1)]).await;
        let key = site.path("seal.key");
        let output = authseal()
            .args(["keys", "generate", "--origin", "authseal.test/live", "--out"])
            .arg(&key)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown = authseal().args(["keys", "show"]).arg(&key).output().unwrap();
        std::fs::write(site.path("seal.vkey"), &shown.stdout).unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        let config = format!(
            r#"origin = "authseal.test/live"
[kafka]
brokers = "{kafka}"
group = "{group}"
[kafka.properties]
"session.timeout.ms" = "6000"
"heartbeat.interval.ms" = "1000"
[[topics]]
name = "{topic}"
format = "{format}"
[alerts]
topic = "{alerts}"
[dead_letters]
topic = "{dead_letters}"
[rules]
dir = "{rules}"
[seal]
key_file = "{key}"
max_age = "2s"
max_records = 10000
[store]
kind = "s3"
bucket = "{bucket}"
region = "us-east-1"
endpoint = "{s3}"
path_style = true
retention = {{ mode = "GOVERNANCE", period = "1d" }}
[http]
listen = "127.0.0.1:0"
{extra}
"#,
            kafka = live.kafka,
            group = site.group,
            alerts = site.alerts,
            dead_letters = site.dead_letters,
            rules = rules.display(),
            key = key.display(),
            bucket = site.bucket,
            s3 = live.s3,
        );
        std::fs::write(site.path("authseal.toml"), config).unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self, live: &Live) -> String {
        format!("s3://{}?endpoint={}&path_style=true&region=us-east-1", self.bucket, live.s3)
    }

    /// Starts `authseal run`; what it prints goes to `<name>.log`.
    pub fn run(&self, name: &str) -> Process {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let child = authseal()
            .args(["run", "-c"])
            .arg(self.path("authseal.toml"))
            .env("AUTHSEAL_INSTANCE", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    pub fn verify(&self, store: &str) -> (i32, Value) {
        let output =
            authseal().args(["verify", store, "--json", "--key"]).arg(self.path("seal.vkey")).output().unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", show(&output)));
        (output.status.code().unwrap(), json)
    }

    /// Copies the oldest version of every object into a folder, for the verifiers that know no S3.
    pub async fn download(&self, live: &Live, to: &Path) {
        use authseal::store::{self, Store};
        // the test endpoint takes any credentials, but the client insists on having some
        let spec = store::StoreSpec::parse(&self.store(live)).unwrap();
        let from: Arc<dyn Store> = store::open(&spec).await.unwrap();
        let mut after: Option<String> = None;
        loop {
            let page = from.list("", after.as_deref(), 1000).await.unwrap();
            let Some(last) = page.last() else { return };
            after = Some(last.key.clone());
            for entry in page {
                let file = to.join(&entry.key);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, from.read_oldest(&entry.key).await.unwrap().unwrap().bytes).unwrap();
            }
        }
    }

    /// Waits until verify counts `records` leaves that are no gaps, and the group has nothing left to do.
    pub fn wait_until_sealed(&self, live: &Live, records: i64, seconds: u64) -> Value {
        let began = Instant::now();
        loop {
            let (code, report) = self.verify(&self.store(live));
            let sealed = report["totals"]["events"].as_i64().unwrap_or(0)
                + report["totals"]["rejections"].as_i64().unwrap_or(0)
                + report["totals"]["opaque"].as_i64().unwrap_or(0);
            if sealed >= records {
                return report;
            }
            let waited = began.elapsed().as_secs();
            assert!(
                waited < seconds,
                "{sealed} of {records} sealed after {waited} s, verify says {code}\n{}",
                self.log("one")
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// What an external program printed, for the message of a failed test.
pub fn show(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A process that does not outlive its test.
pub struct Process(pub Child);

impl Process {
    /// `kill -9`.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let done = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(done.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
