//! A process whose every effect passes a point at which it can be killed, frozen or disturbed.
//!
//! Killed, it has no effect any more: its main task ends, and whatever else of it still runs waits at its next point
//! for ever, as after `kill -9`.

use super::{
    observe::Observer,
    schedule::Without,
    sim::{Random, World},
    state_topic::{LivingStateLog, StateTopic},
    tally::Tally,
};
use async_trait::async_trait;
use authseal::{
    detect::RuleSet,
    error::{Error, Result},
    health::Health,
    ingest::{self, Clock, Keeping, Live, Options, Parts, Summary, status::Status},
    manifest::Broker,
    note::Verifiers,
    position::TopicPartition,
    publish::{Outgoing, Publisher, memory::MemoryPublisher},
    retention::Retention,
    source::{Commit, Source, SourceControl, SourceEvent, scripted::ScriptedSource},
    store::{Bucket, Change, Create, Entry, Store, Stored, Versions, memory::MemoryStore},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

/// What can happen to a process.
pub struct Life {
    pub tally: Tally,
    without: Without,
    random: Mutex<Random>,
    points: AtomicU64,
    doom: AtomicU64,
    dead: AtomicBool,
    frozen: Mutex<Option<Instant>>,
    abort: Mutex<Option<AbortHandle>>,
    /// By how many milliseconds its clock is wrong.
    pub skew: AtomicI64,
}

impl Life {
    fn new(tally: Tally, without: Without, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            tally,
            without,
            random: Mutex::new(Random(seed)),
            points: AtomicU64::new(0),
            doom: AtomicU64::new(u64::MAX),
            dead: AtomicBool::new(false),
            frozen: Mutex::default(),
            abort: Mutex::default(),
            skew: AtomicI64::new(0),
        })
    }

    /// It is killed at the `points`th point from now.
    pub fn doom(&self, points: u64) {
        self.doom.store(self.points.load(Relaxed) + points, Relaxed);
    }

    /// It is killed now.
    pub fn kill(&self) {
        self.dead.store(true, Relaxed);
        if let Some(abort) = self.abort.lock().unwrap().as_ref() {
            abort.abort();
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Its effects wait for so long: it hangs, and does not know what happens meanwhile.
    pub fn freeze(&self, time: Duration) {
        *self.frozen.lock().unwrap() = Some(Instant::now() + time);
    }

    /// Whether it is still alive behind this point.
    fn passes(&self, place: &str) -> bool {
        if self.is_dead() {
            return false;
        }
        if self.points.fetch_add(1, Relaxed) < self.doom.load(Relaxed) {
            return true;
        }
        self.tally.count(format!("crash {place}"));
        self.kill();
        false
    }

    /// Waits while it is frozen.
    pub async fn thawed(&self) {
        loop {
            let until = *self.frozen.lock().unwrap();
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Passes when it is not frozen, and never when it was killed.
    pub async fn point(&self, place: &str) {
        self.thawed().await;
        if !self.passes(place) {
            pending::<()>().await;
        }
    }

    /// Whether what happens once in `often` times happens now.
    pub fn happens(&self, often: u64, what: &str) -> bool {
        let happens = self.random.lock().unwrap().below(often) == 0 && !self.without.broker;
        if happens {
            self.tally.count(what);
        }
        happens
    }

    /// A number below `below`.
    pub fn draw(&self, below: u64) -> u64 {
        self.random.lock().unwrap().below(below)
    }

    /// A question to the broker: late, unanswered, or neither.
    pub async fn asks(&self, what: &str) -> Result<()> {
        if self.happens(12, "broker: slow") {
            tokio::time::sleep(Duration::from_millis(self.draw(6_000))).await;
        }
        if self.happens(15, &format!("broker: no answer to {what}")) {
            return Err(Error::retry(format!("{what}: the broker did not answer in time")));
        }
        Ok(())
    }
}

/// The store as one process sees it, and its clock, which is right.
struct LivingStore(Arc<Life>, MemoryStore, Clock, Landed);

/// When the segment at a key was first known to be there, on a clock that is right.
pub type Landed = Arc<Mutex<BTreeMap<String, i64>>>;

macro_rules! living {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl Store for LivingStore {
            fn describe(&self) -> String {
                self.1.describe()
            }

            async fn create(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create> {
                self.0.point("before create").await;
                let created = Store::create(&self.1, key, bytes, retention).await;
                if created.is_ok() && key.starts_with("chains/") {
                    self.3.lock().unwrap().entry(key.to_owned()).or_insert_with(|| (self.2)());
                }
                if matches!(created, Ok(Create::Exists)) && key.starts_with("chains/") {
                    self.0.tally.count("store: 412, a segment lies there");
                }
                self.0.point("after create").await;
                created
            }

            async fn clock(&self) -> Result<Option<i64>> {
                self.0.point("before clock").await;
                Store::clock(&self.1).await.map(|_| Some((self.2)()))
            }

            $(async fn $name(&self, $($arg: $type),*) -> $result {
                self.0.point(concat!("before ", stringify!($name))).await;
                let result = Store::$name(&self.1, $($arg),*).await;
                self.0.point(concat!("after ", stringify!($name))).await;
                result
            })*
        }
    };
}

living! {
    read_oldest(key: &str) -> Result<Option<Stored>>;
    read_newest(key: &str) -> Result<Option<Stored>>;
    replace(key: &str, bytes: Bytes) -> Result<()>;
    list(prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;
    read_version(key: &str, version: &str) -> Result<Option<Stored>>;
    versions(key: &str) -> Result<Versions>;
    retention_of(key: &str, version: &str) -> Result<Option<Retention>>;
    folders(prefix: &str) -> Result<Vec<String>>;
    delete_version(key: &str, version: &str) -> Result<Change>;
    set_retention(key: &str, version: &str, retention: &Retention) -> Result<Change>;
    bucket() -> Result<Option<Bucket>>;
}

struct LivingPublisher(Arc<Life>, MemoryPublisher);

impl Publisher for LivingPublisher {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<()>> {
        let (life, publisher) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            life.point("before publish").await;
            let result = publisher.publish(message).await;
            life.point("after publish").await;
            result
        })
    }
}

struct LivingSource(Arc<Life>, ScriptedSource);

#[async_trait]
impl Source for LivingSource {
    async fn next(&mut self) -> Option<SourceEvent> {
        // may be dropped here, but not behind: what was taken must be given
        self.0.thawed().await;
        let event = self.1.next().await;
        if !self.0.passes("with an event in hand") {
            pending::<()>().await;
        }
        event
    }

    fn control(&self) -> Arc<dyn SourceControl> {
        Arc::new(LivingControl(self.0.clone(), self.1.control()))
    }
}

struct LivingControl(Arc<Life>, Arc<dyn SourceControl>);

#[async_trait]
impl SourceControl for LivingControl {
    async fn start(&self, partition: &TopicPartition, offset: i64) -> Result<u64> {
        self.0.point("before start").await;
        self.0.asks("start").await?;
        let epoch = self.1.start(partition, offset).await;
        self.0.point("after start").await;
        epoch
    }

    async fn stop(&self, partition: &TopicPartition) -> Result<()> {
        self.0.point("before stop").await;
        self.1.stop(partition).await
    }

    fn commit(&self, commits: Vec<(TopicPartition, Commit)>) {
        if !self.0.passes("before commit") || self.0.happens(6, "broker: commit passed over") {
            return;
        }
        self.1.commit(commits);
        // killed here the main task ends at its next await
        let _ = self.0.passes("after commit");
    }

    async fn commit_now(&self, commits: Vec<(TopicPartition, Commit)>) -> Result<()> {
        self.0.point("before the last commit").await;
        self.0.asks("commit").await?;
        self.1.commit_now(commits).await?;
        self.0.point("after the last commit").await;
        Ok(())
    }

    async fn offset_at(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        self.0.point("before offset_at").await;
        self.0.asks("offset_at").await?;
        self.1.offset_at(partition, timestamp).await
    }

    async fn broker(&self, partition: &TopicPartition) -> Result<Broker> {
        self.0.point("before broker").await;
        self.0.asks("broker").await?;
        self.1.broker(partition).await
    }

    async fn close(&self) {
        self.0.point("before close").await;
        self.1.close().await;
    }
}

/// A process that runs.
pub struct Actor {
    pub life: Arc<Life>,
    pub source: ScriptedSource,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
    /// Puts other rules into force.
    pub rules: tokio::sync::watch::Sender<Arc<RuleSet>>,
    task: JoinHandle<Result<Summary>>,
}

/// What processes share besides the world.
#[derive(Clone)]
pub struct Surroundings {
    pub tally: Tally,
    pub without: Without,
    pub observer: Observer,
    pub landed: Landed,
    /// Where the state of durable rules lies, if there are any.
    pub state: Option<StateTopic>,
}

impl Actor {
    /// Starts a process with these rules. Nothing is assigned to it yet.
    pub fn start(world: &World, around: &Surroundings, name: &str, rules: Arc<RuleSet>, seed: u64) -> Self {
        let (life, source) = (Life::new(around.tally.clone(), around.without, seed), world.cluster.join());
        let (clock, clocked) = (world.clock(), life.clone());
        let store = LivingStore(life.clone(), world.store.clone(), clock.clone(), around.landed.clone());
        let parts = Parts {
            source: Box::new(LivingSource(life.clone(), source.clone())),
            store: Arc::new(store),
            publisher: Arc::new(LivingPublisher(life.clone(), world.publisher.clone())),
            signer: world.signer.clone(),
            verifiers: Arc::new(Verifiers::of(&world.signer)),
            clock: Arc::new(move || clock() + clocked.skew.load(Relaxed)),
        };
        let watcher = around.observer.watch();
        let status = Arc::new(Status::new(Health::new(Duration::from_secs(60)), watcher));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async move {
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let state = around.state.as_ref().map(|topic| {
            let log = LivingStateLog::new(&life, topic, &around.tally, seed, !around.without.state);
            Keeping { log: Arc::new(log), horizon: Duration::from_secs(7200), process: name.into() }
        });
        let (change, changes) = tokio::sync::watch::channel(rules.clone());
        let live = Live { changes: Some(changes), ..world.live.clone() };
        let options = Options { rules, state, live, ..world.options(name) };
        let task = tokio::spawn(ingest::run(parts, options, status, shutdown));
        *life.abort.lock().unwrap() = Some(task.abort_handle());
        Self { life, source, stop: Some(stop), rules: change, task }
    }

    /// Whether it runs no more, for whatever reason.
    pub fn is_gone(&self) -> bool {
        self.life.is_dead() || self.task.is_finished()
    }
}
