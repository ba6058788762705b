//! The simulated world of `tests/ingest.rs`: everything that outlives a process, processes to kill, and the audit.

use authseal::{
    artifact::File,
    chain::{self, Head},
    decode::{Decoder, Format, TopicSpec},
    detect::{Limits, RuleSet},
    ingest::{
        self, Begin, Clock, Keeping, Live, Options, Parts, RetentionPolicy, SealOptions, Summary, Topic,
        reset::Resetter, status::Status,
    },
    layout,
    manifest::Manifest,
    note::{Signer, Verifiers},
    position::{ChainId, TopicPartition},
    publish::{
        Outgoing, Stream,
        memory::MemoryPublisher,
        state::{StateLog, memory::MemoryStateLog},
    },
    record::{RawRecord, TimestampType},
    retention::LockMode,
    segment::{self, Codec},
    signing::Sign,
    source::{
        Source,
        scripted::{Cluster, ScriptedSource},
    },
    store::{Store, memory::MemoryStore},
};
use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

pub const ORIGIN: &str = "authseal.test/sim";
pub const TOPIC: &str = "auth";
pub const PARTITIONS: i32 = 3;
/// 2026-01-01 00:20: when every simulation begins. Event times stay within one hour, the bucket of the rule: a
/// trigger that straddles the edge of a bucket may get either id.
pub const EPOCH: i64 = 1_767_226_800_000;

pub const RULE: &str = r#"
rule("SIM-1", #{
    name: "Five failures of one user", severity: HIGH, status: "stable", mode: "live",
    attack: ["TA0006/T1110"], owner: "tests", runbook: "https://runbooks.example/SIM-1", falsepos: ["none"],
    when: activity == LOGON & outcome == FAILURE, key: [user], window: "1h",
    agg: #{ failures: count() }, at_least: #{ failures: 5 }, dedup: "1h",
});
"#;

/// Rules that remember for longer than a restart reads again. Without `dedup` every event is a finding of its own: one
/// that is forgotten, or counted twice, changes which.
const DURABLE: &str = r#"
marker("before", #{ when: activity == LOGON & outcome == SUCCESS, key: [user], ttl: "30d" });
rule("SIM-2", #{
    name: "Fails after successes", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [user],
});
fn decide(e, w) { e.mark("before").count % 3 == 2 }
"#;
const DURABLE_WINDOWS: [&str; 2] = [
    r#"
rule("SIM-3", #{
    name: "Many failures", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [user], window: "12h",
    agg: #{ failures: count() }, at_least: #{ failures: 5 },
});
fn decide(e, w) { w.failures % 3 == 0 }
"#,
    r#"
rule("SIM-4", #{
    name: "Six failures", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [user], window: "12h",
    agg: #{ failures: count() }, at_least: #{ failures: 6 }, dedup: "12h",
});
"#,
];

/// What was never seen in ninety days: forgotten, it is new again. It waits for longer than clocks may be wrong.
pub const DURABLE_BASELINE: &str = r#"
marker("seen", #{ when: activity == LOGON, key: [user], ttl: "90d" });
rule("SIM-5", #{ name: "First seen", severity: LOW, when: activity == LOGON, key: [user], wait: "7m" });
fn decide(e, w) { e.mark("seen").missing }
"#;

/// splitmix64: a schedule is drawn from one number, which is printed when it fails.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Everything that outlives a process.
#[derive(Clone)]
pub struct World {
    pub cluster: Cluster,
    pub store: MemoryStore,
    pub publisher: MemoryPublisher,
    pub signer: Arc<Signer>,
    /// Signs in place of `signer`, with the same key.
    pub signs: Option<Arc<dyn Sign>>,
    pub rules: Arc<RuleSet>,
    pub began: tokio::time::Instant,
    /// By how many milliseconds everybody's wall clock went ahead while no time passed for anybody.
    pub leapt: Arc<AtomicI64>,
    pub gaps_expected: bool,
    /// Where chains begin.
    pub begin: Begin,
    pub seal: SealOptions,
    pub outbox: usize,
    pub live: Live,
    pub format: Format,
    pub state: Option<Arc<dyn StateLog>>,
    /// How many records a restart may read again.
    pub replay: i64,
}

pub struct Instance {
    pub source: ScriptedSource,
    pub task: JoinHandle<authseal::error::Result<Summary>>,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
    pub status: Arc<Status>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let cluster = Cluster::with_seed(seed);
        cluster.topic(TOPIC, PARTITIONS);
        cluster.stale_batches(true);
        Self {
            cluster,
            store: MemoryStore::new(),
            publisher: MemoryPublisher::new(),
            signer: Arc::new(Signer::from_seed(&format!("{ORIGIN}/seal"), [7; 32]).unwrap()),
            signs: None,
            rules: usual_rules(),
            began: tokio::time::Instant::now(),
            leapt: Arc::default(),
            gaps_expected: false,
            begin: Begin::LogStart,
            seal: SealOptions {
                max_records: 20,
                max_age: Duration::from_secs(2),
                heartbeat: Duration::from_secs(60),
                grace: Duration::from_secs(60),
                codec: Codec::Null,
                ..SealOptions::default()
            },
            outbox: 1000,
            live: Live::default(),
            format: Format::Json,
            state: None,
            replay: 100_000,
        }
    }

    /// A world whose rules remember for longer than a restart reads again, which is not at all.
    pub fn durable(seed: u64, log: impl StateLog) -> Self {
        Self { rules: durable_rules(&[]), state: Some(Arc::new(log)), replay: 0, ..Self::new(seed) }
    }

    pub fn partition(&self, n: i32) -> TopicPartition {
        TopicPartition::new(TOPIC, n)
    }

    pub fn all(&self) -> Vec<TopicPartition> {
        (0..PARTITIONS).map(|n| self.partition(n)).collect()
    }

    pub fn end(&self, n: i32) -> i64 {
        self.cluster.end(&self.partition(n))
    }

    pub fn now(&self) -> i64 {
        EPOCH + self.began.elapsed().as_millis() as i64 + self.leapt.load(Relaxed)
    }

    /// A wall clock that is right.
    pub fn clock(&self) -> Clock {
        let world = (self.began, self.leapt.clone());
        Arc::new(move || EPOCH + world.0.elapsed().as_millis() as i64 + world.1.load(Relaxed))
    }

    /// The settings of a process.
    pub fn options(&self, name: &str) -> Options {
        let spec = TopicSpec {
            format: self.format.clone(),
            source: Some("sim".into()),
            tenant: None,
            keep_event_only: false,
            secret_fields: Vec::new(),
        };
        let decoder = Arc::new(Decoder::new(spec, &[1; 32]).unwrap());
        let topic = Topic { decoder, gaps_expected: self.gaps_expected, begin: self.begin };
        Options {
            origin: ORIGIN.into(),
            cluster: "main".into(),
            instance: name.into(),
            topics: [(TOPIC.to_string(), topic)].into_iter().collect(),
            rules: self.rules.clone(),
            limits: Limits { state_bytes: 64 << 20, lateness: Duration::from_secs(600) },
            live: self.live.clone(),
            seal: self.seal.clone(),
            retention: RetentionPolicy { mode: LockMode::Governance, period: Duration::from_secs(86_400) },
            alerts: true,
            dead_letters: true,
            replay_records: self.replay,
            state: self.state.clone().map(|log| Keeping {
                log,
                horizon: Duration::from_secs(7200),
                process: name.into(),
            }),
            outbox: self.outbox,
            shutdown_deadline: Duration::from_secs(30),
        }
    }

    /// Starts a process. Nothing is assigned to it yet.
    pub fn start(&self, name: &str) -> Instance {
        self.start_behind(name, |source| Box::new(source))
    }

    /// The same with something between it and the cluster.
    pub fn start_behind(&self, name: &str, between: impl FnOnce(ScriptedSource) -> Box<dyn Source>) -> Instance {
        let source = self.cluster.join();
        let parts = Parts {
            source: between(source.clone()),
            store: Arc::new(self.store.clone()),
            publisher: Arc::new(self.publisher.clone()),
            signer: self.signs.clone().unwrap_or_else(|| self.signer.clone()),
            verifiers: Arc::new(Verifiers::of(&self.signer)),
            clock: self.clock(),
        };
        let status = Arc::new(Status::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let task = tokio::spawn(ingest::run(parts, self.options(name), status.clone(), shutdown));
        Instance { source, task, stop: Some(stop), status }
    }

    /// What opens the next incarnations of chains.
    pub fn resetter(&self) -> Resetter {
        let signer = Signer::from_seed(&format!("{ORIGIN}/seal"), [7; 32]).unwrap();
        let keys = Arc::new(Verifiers::of(&signer));
        Resetter::new(Arc::new(self.store.clone()), Arc::new(signer), keys, self.clock(), self.options("resetter"))
    }

    /// Appends a record: mostly events, some rejections, now and then a tombstone.
    pub fn produce(&self, random: &mut Random, partition: i32) {
        let (user, id) = (random.below(12), random.below(u64::MAX));
        let time = self.now() - random.below(20_000) as i64;
        let outcome = if random.below(3) == 0 { "SUCCESS" } else { "FAILURE" };
        let value = match random.below(12) {
            0 => Some("not json".to_string()),
            1 => None,
            _ => Some(format!(
                r#"{{"event_id":"{id}","time":"{}","activity":"LOGON","outcome":"{outcome}","user":"{}"}}"#,
                jiff::Timestamp::from_millisecond(time).unwrap(),
                format_args!("u{partition}-{user}")
            )),
        };
        self.append(partition, value);
    }

    /// Appends a failed logon that happened so many seconds ago.
    pub fn produce_failure(&self, partition: i32, user: &str, ago: i64) {
        let time = jiff::Timestamp::from_millisecond(self.now() - ago * 1000).unwrap();
        let (id, event) = (format!("{user}-{ago}"), r#""activity":"LOGON","outcome":"FAILURE""#);
        self.append(partition, Some(format!(r#"{{"event_id":"{id}","time":"{time}",{event},"user":"{user}"}}"#)));
    }

    /// Appends a record that is no event.
    pub fn produce_rejection(&self, random: &mut Random, partition: i32) {
        self.append(partition, Some(format!("not json {}", random.below(1 << 40))));
    }

    pub fn append(&self, partition: i32, value: Option<String>) {
        let record = RawRecord {
            timestamp: self.now(),
            timestamp_type: TimestampType::CreateTime,
            value: value.map(Into::into),
            ..RawRecord::default()
        };
        self.cluster.produce(&self.partition(partition), record);
    }

    /// Lets time pass; whatever is at its end says so again every second.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.cluster.tick();
        }
    }

    /// The manifests of a chain, oldest first, each opened and checked against its predecessor.
    pub async fn chain(&self, partition: i32) -> Vec<Manifest> {
        self.incarnation(partition, 0).await
    }

    /// The same of another incarnation.
    pub async fn incarnation(&self, partition: i32, incarnation: u32) -> Vec<Manifest> {
        let chain = ChainId { cluster: "main".into(), topic: TOPIC.into(), partition: partition as u32, incarnation };
        let keys = Verifiers::of(&self.signer);
        let (mut head, mut manifests): (Option<Head>, Vec<Manifest>) = (None, Vec::new());
        for entry in self.store.list(&layout::chain_prefix(&chain), None, 100_000).await.unwrap() {
            let stored = self.store.read_oldest(&entry.key).await.unwrap().unwrap();
            assert_eq!(layout::parse_segment_key(&entry.key), Some((chain.clone(), manifests.len() as u64)));
            assert_eq!((entry.versions, entry.markers), (1, 0), "{}", entry.key);
            let opened = segment::open(&stored.bytes, &keys).unwrap_or_else(|f| panic!("{}: {f:?}", entry.key));
            chain::follows(ORIGIN, &chain, head.as_ref(), &opened.manifest).unwrap_or_else(|f| panic!("{f:?}"));
            head = Some(Head::of_opened(&opened));
            manifests.push(opened.manifest);
        }
        manifests
    }

    /// Where the newest segment ends, found as cheaply as a test may.
    pub async fn sealed_to(&self, partition: i32) -> i64 {
        self.chain(partition).await.last().map_or(0, |m| m.offsets.to)
    }

    /// Ids of what was published: finding ids, or positions of dead letters.
    pub fn uids(&self, stream: Stream) -> BTreeSet<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let position = |message: &Outgoing| {
            let header = message.headers.iter().find(|h| &h.key[..] == b"authseal-position");
            header.and_then(|h| h.value.as_deref()).map(text)
        };
        let id = |message: &Outgoing| match stream {
            Stream::Alerts | Stream::Shadow | Stream::Checkpoints => message.key.as_deref().map(text),
            Stream::DeadLetters => position(message),
        };
        self.publisher.sent_to(stream).iter().map(|m| id(m).expect("every message names what it is about")).collect()
    }
}

/// The rule of the simulations, compiled once.
pub fn usual_rules() -> Arc<RuleSet> {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| rules(&[]));
    RULES.clone()
}

/// The rule of the simulations, with another mode, id or gate: `change` is (what, by what).
pub fn rules(changes: &[(&str, &str)]) -> Arc<RuleSet> {
    let text = changes.iter().fold(RULE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let rules = RuleSet::load(&[File { path: "sim.rhai".into(), bytes: text.into() }]);
    Arc::new(rules.unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// The rules that look back far, and more of them.
pub fn durable_rules(more: &[&str]) -> Arc<RuleSet> {
    let texts = [DURABLE].iter().chain(&DURABLE_WINDOWS).chain(more).enumerate();
    let files: Vec<File> =
        texts.map(|(n, text)| File { path: format!("{n}.rhai"), bytes: text.to_string().into() }).collect();
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// Runs a fresh process over everything until all is sealed and committed.
pub async fn settle(world: &World) {
    let last = world.start("last");
    world.cluster.assign(&last.source, &world.all());
    // judgements that wait do so for minutes, and again where everything was opened anew
    let committed = |n| world.cluster.committed(&world.partition(n)).map_or(0, |c| c.offset);
    let done = || (0..PARTITIONS).all(|n| committed(n) >= world.end(n));
    for _ in 0..600 {
        world.pass(5).await;
        if done() {
            break;
        }
    }
    assert!(done(), "it stands still: {:?}", last.status.lanes());
    let faults: Vec<_> = last.status.parts().into_iter().filter(|(_, fault)| fault.is_some()).collect();
    assert_eq!(faults, [], "{:?}", last.status.lanes());
    last.task.abort();
    // its successor must hear nothing of it any more
    let _ = last.task.await;
}

/// What an undisturbed process makes of the same log.
pub async fn undisturbed(world: &World) -> (BTreeSet<String>, BTreeSet<String>) {
    let state = world.state.as_ref().map(|_| Arc::new(MemoryStateLog::new()) as Arc<dyn StateLog>);
    let calm =
        World { store: MemoryStore::new(), publisher: MemoryPublisher::new(), state, outbox: 1000, ..world.clone() };
    for partition in world.all() {
        world.cluster.set_committed(&partition, None);
    }
    settle(&calm).await;
    (calm.uids(Stream::Alerts), calm.uids(Stream::DeadLetters))
}

/// Every offset in exactly one leaf, every chain whole, findings and dead letters those of an undisturbed run.
pub async fn audit(world: &World, seed: u64) {
    for n in 0..PARTITIONS {
        let manifests = world.chain(n).await;
        assert_eq!(manifests.last().map_or(0, |m| m.offsets.to), world.end(n), "seed {seed}: partition {n}");
        let records: i64 = manifests.iter().map(|m| m.counts.events + m.counts.rejections + m.counts.opaque).sum();
        let gaps: i64 = manifests.iter().map(|m| m.counts.gaps.all().iter().sum::<i64>()).sum();
        assert_eq!(records, world.cluster.records(&world.partition(n)) as i64, "seed {seed}: partition {n}");
        assert_eq!(records + gaps, world.end(n), "seed {seed}: partition {n}");
        assert!(manifests.iter().all(|m| m.counts.gaps.lost == 0), "seed {seed}");
    }
    let (alerts, dead_letters) = (world.uids(Stream::Alerts), world.uids(Stream::DeadLetters));
    let (calm_alerts, calm_dead_letters) = undisturbed(world).await;
    assert!(!calm_alerts.is_empty() || seed == 0, "seed {seed}: a schedule without findings shows nothing");
    assert_eq!(alerts, calm_alerts, "seed {seed}: findings differ from those of an undisturbed run");
    assert_eq!(dead_letters, calm_dead_letters, "seed {seed}: dead letters differ from those of an undisturbed run");
}
