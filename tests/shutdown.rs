//! How `authseal run` ends: within its deadline, at once at a second signal, and with a code that says whether
//! everything that was read is sealed. On the built binary, against librdkafka's mock cluster and a directory.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const RECORDS: usize = 500;

struct Stage {
    cluster: Option<MockCluster<'static, DefaultProducerContext>>,
    dir: TempDir,
}

struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.current_dir(dir.path());
    command
}

impl Stage {
    /// Records that wait in Kafka, and a segment that only the shutdown ends.
    fn new(seal: &str, store: &str) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("auth", 2, 1).unwrap();
        let stage = Self { cluster: Some(cluster), dir: tempfile::tempdir().unwrap() };
        let brokers = stage.cluster.as_ref().unwrap().bootstrap_servers();
        let made = command(&stage.dir)
            .args(["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key", "--vkey", "seal.vkey"])
            .output()
            .unwrap();
        assert!(made.status.success());
        let config = format!(
            r#"origin = "auth.example.com/prod"
[kafka]
brokers = "{brokers}"
[kafka.properties]
"session.timeout.ms" = "6000"
[[topics]]
name = "auth"
format = "json"
[seal]
key_file = "seal.key"
max_age = "1h"
grace = "2h"
{seal}
[store]
{store}
[http]
listen = "127.0.0.1:0"
"#
        );
        fs::write(stage.path("authseal.toml"), config).unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        for n in 0..RECORDS {
            let value = json!({"event_id": n.to_string(), "time": "2026-01-01T00:00:00Z", "activity": "LOGON",
                "outcome": "SUCCESS", "user": format!("u{n}")});
            let (key, value) = (n.to_string(), value.to_string());
            producer.send(BaseRecord::to("auth").key(&key).payload(&value)).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        stage
    }

    fn dir(seal: &str) -> Self {
        Self::new(seal, "kind = \"dir\"\npath = \"store\"\nretention = { mode = \"NONE\" }")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self) -> Run {
        let log = fs::File::create(self.path("log")).unwrap();
        Run(command(&self.dir).arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn wait(&self, what: &str, mut come: impl FnMut() -> bool) {
        for _ in 0..1200 {
            if come() {
                return;
            }
            assert!(!self.log().starts_with("error:"), "it did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what} did not come\n{}", self.log());
    }

    /// Waits until every record was read; none is sealed yet.
    fn wait_until_read(&self) {
        self.wait("the end of the topic", || {
            let read = metrics(&self.log()).map(|text| {
                let lines = text.lines().filter(|line| line.starts_with("authseal_records_total{"));
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
            });
            read == Some(RECORDS as f64)
        });
    }

    /// From now on nothing can be written under `chains/`: a file is in its place.
    fn break_the_store(&self) {
        let chains = self.path("store/chains");
        if chains.exists() {
            fs::rename(&chains, self.path("store/away")).unwrap();
        }
        fs::write(chains, "").unwrap();
    }
}

fn metrics(log: &str) -> Option<String> {
    let address = log.split("address=").nth(1)?.split_whitespace().next()?;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn terminate(run: &Run) {
    assert!(Command::new("kill").arg(run.0.id().to_string()).status().unwrap().success());
}

fn code(mut run: Run) -> Option<i32> {
    run.0.wait().unwrap().code()
}

#[test]
fn what_was_read_is_sealed_before_the_exit_and_the_code_says_so() {
    let stage = Stage::dir("shutdown_deadline = \"60s\"");
    let run = stage.run();
    stage.wait_until_read();
    terminate(&run);
    assert_eq!(code(run), Some(0), "{}", stage.log());
    assert!(stage.log().contains("everything that was read is sealed"), "{}", stage.log());
    let verify = command(&stage.dir).args(["verify", "store", "--key", "seal.vkey", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(report["totals"]["events"], json!(RECORDS), "{report:#}");
}

#[test]
fn what_cannot_be_sealed_before_the_deadline_is_told_by_the_code() {
    let stage = Stage::dir("shutdown_deadline = \"2s\"");
    let run = stage.run();
    stage.wait_until_read();
    stage.break_the_store();
    terminate(&run);
    assert_eq!(code(run), Some(1), "{}", stage.log());
    let log = stage.log();
    assert!(log.contains("could be sealed") || log.contains("had stopped"), "{log}");
    assert!(!log.contains("everything that was read is sealed"), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let stage = Stage::dir("shutdown_deadline = \"1h\"");
    let run = stage.run();
    stage.wait_until_read();
    stage.break_the_store();
    terminate(&run);
    stage.wait("the first signal", || stage.log().contains("a second signal stops at once"));
    terminate(&run);
    assert_eq!(code(run), Some(1), "{}", stage.log());
    assert!(stage.log().contains("stopped at once by a second signal"), "{}", stage.log());
}

#[test]
fn a_broker_that_is_gone_does_not_hold_up_the_exit() {
    let mut stage = Stage::dir("shutdown_deadline = \"5s\"");
    let run = stage.run();
    stage.wait_until_read();
    drop(stage.cluster.take());
    terminate(&run);
    assert_eq!(code(run), Some(0), "everything is sealed: {}", stage.log());
}

#[test]
fn a_store_that_never_answers_does_not_hold_up_the_exit() {
    // it takes connections, and that is all it does
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!(
        "kind = \"s3\"\nbucket = \"evidence\"\nendpoint = \"http://{}\"\nretention = {{ mode = \"GOVERNANCE\", \
         period = \"1d\" }}",
        silent.local_addr().unwrap()
    );
    let stage = Stage::new("shutdown_deadline = \"1s\"", &store);
    let log = fs::File::create(stage.path("log")).unwrap();
    let mut start = command(&stage.dir);
    start.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let run = Run(start.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let asked = silent.accept().unwrap();
    terminate(&run);
    assert_eq!(code(run), Some(1), "{}", stage.log());
    assert!(stage.log().contains("the shutdown did not end within"), "{}", stage.log());
    drop(asked);
}
