//! What the outage test watches, and what it does to topics.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use super::live::{Live, Read, read_topic};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often the process is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// What a process said of itself at one moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Resident memory, bytes.
    pub rss: u64,
    /// Memory of segments that are not sealed, bytes.
    pub buffer: u64,
    /// Offsets sealed, all partitions together.
    pub sealed: i64,
    /// Offsets done, all partitions together.
    pub done: i64,
    /// Offsets that wait to be sealed.
    pub lag: i64,
    /// Messages that are not acknowledged.
    pub in_flight: i64,
    /// Whether the loop turns.
    pub alive: bool,
    /// Parts that do not work.
    pub faults: BTreeSet<String>,
}

/// What was seen since it was last asked for, and what was seen last.
type Shared = Arc<Mutex<(Vec<Seen>, Seen)>>;

/// Looks at a process every 200 ms, until it is dropped.
pub struct Watch {
    seen: Shared,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// `log`: where the process says on which port it answers.
    pub fn start(process: u32, log: PathBuf) -> Self {
        let (seen, end) = (Shared::default(), Arc::new(AtomicBool::new(false)));
        let (to, told) = (seen.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            let address = address(&log);
            while !told.load(Ordering::SeqCst) {
                if let Some(now) = look(process, &address) {
                    let mut seen = to.lock().unwrap();
                    seen.0.push(now.clone());
                    seen.1 = now;
                }
                std::thread::sleep(EVERY);
            }
        });
        Self { seen, end, thread: Some(thread) }
    }

    /// What was seen last.
    pub fn latest(&self) -> Seen {
        self.seen.lock().unwrap().1.clone()
    }

    /// What was seen since this was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap().0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "who watched has failed");
    }
}

/// Waits for something; says what never came.
pub fn wait_until(what: &str, patience: Duration, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < patience, "{what}: not after {patience:?}");
        std::thread::sleep(EVERY / 2);
    }
}

/// Where the process answers, as its log says.
fn address(log: &Path) -> String {
    let mut found = None;
    wait_until("the address of /readyz", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("answering /livez")).unwrap_or_default();
        let plain: String = line.replace("\u{1b}[", " ").chars().collect();
        found = plain.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).find_map(|part| {
            let (host, port) = part.rsplit_once(':')?;
            (host == "127.0.0.1" && !port.is_empty()).then(|| part.to_owned())
        });
        found.is_some()
    });
    found.unwrap()
}

fn get(address: &str, path: &str) -> Option<(bool, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let line = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let value = rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' '))??.1;
        value.parse::<f64>().ok()
    };
    metrics.lines().filter_map(line).sum()
}

/// `None` while the process does not answer: it begins, or ends.
fn look(process: u32, address: &str) -> Option<Seen> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss: u64 = rss.split_whitespace().next()?.parse().ok()?;
    let (_, metrics) = get(address, "/metrics")?;
    let (_, ready) = get(address, "/readyz")?;
    let ready: Value = serde_json::from_str(ready.trim()).ok()?;
    let parts = ready["parts"].as_object()?;
    Some(Seen {
        rss: rss << 10,
        buffer: sum(&metrics, "authseal_buffer_bytes") as u64,
        sealed: sum(&metrics, "authseal_sealed_offset") as i64,
        done: sum(&metrics, "authseal_done_offset") as i64,
        lag: sum(&metrics, "authseal_lag_offsets") as i64,
        in_flight: sum(&metrics, "authseal_publish_in_flight") as i64,
        alive: ready["alive"] == true,
        faults: parts.iter().filter(|(_, part)| part["ok"] == false).map(|(name, _)| name.clone()).collect(),
    })
}

/// The only member of a group, as the group calls it: another name means that it has left and joined again.
pub fn member(kafka: &str, group: &str) -> String {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", "tests").create().unwrap();
    let list = consumer.fetch_group_list(Some(group), Duration::from_secs(20)).unwrap();
    let found = &list.groups()[0];
    assert_eq!((found.state(), found.members().len()), ("Stable", 1), "{}", found.name());
    found.members()[0].id().to_owned()
}

/// A topic that authseal writes to, and what was read of it before it was deleted.
pub struct Topic<'a> {
    live: &'a Live,
    name: &'a str,
    before: RefCell<Vec<Read>>,
}

impl<'a> Topic<'a> {
    pub fn new(live: &'a Live, name: &'a str) -> Self {
        Self { live, name, before: RefCell::default() }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.live.kafka).create().unwrap()
    }

    /// Runs a request of the administrator; the test's own runtime is busy with the test.
    fn ask<T: Send>(
        &self,
        request: impl AsyncFnOnce(AdminClient<DefaultClientContext>, AdminOptions) -> T + Send,
    ) -> T {
        let admin = self.admin();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let patience = Some(Duration::from_secs(30));
                let options = AdminOptions::new().request_timeout(patience).operation_timeout(patience);
                runtime.block_on(request(admin, options))
            });
            asked.join().unwrap()
        })
    }

    /// Refuses messages that are longer, from now on.
    pub fn take_at_most(&self, bytes: u64) {
        let (name, bytes) = (self.name, bytes.to_string());
        self.ask(async move |admin, options| {
            let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set("max.message.bytes", &bytes);
            admin.alter_configs([&change], &options).await.unwrap().into_iter().for_each(|done| drop(done.unwrap()));
        });
    }

    pub fn delete(&self) {
        let name = self.name;
        self.ask(async move |admin, options| {
            admin.delete_topics(&[name], &options).await.unwrap().into_iter().for_each(|done| drop(done.unwrap()));
        });
    }

    pub fn create(&self) {
        let name = self.name;
        self.ask(async move |admin, options| {
            let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
            admin.create_topics(&[topic], &options).await.unwrap().into_iter().for_each(|done| drop(done.unwrap()));
        });
    }

    /// Remembers what is on it now.
    pub fn collect(&self) {
        self.before.borrow_mut().extend(read_topic(&self.live.kafka, self.name));
    }

    /// Everything that ever was on it, with what is there `now`.
    pub fn all(&self, now: Vec<Read>) -> impl Iterator<Item = Read> {
        self.before.take().into_iter().chain(now)
    }
}
