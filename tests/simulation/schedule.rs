//! One schedule: up to four processes, and whatever can happen to them, to Kafka, to the store and to the publisher.

use super::{
    life::Actor,
    sim::{PARTITIONS, Random, World, rules, usual_rules},
    tally::Tally,
};
use authseal::{
    detect::RuleSet,
    error::{Error, Kind},
    ingest::plan::CommitNote,
    layout,
    publish::memory::Behaviour,
    source::SourceEvent,
    store::{
        Store,
        memory::{Call, Failure, Fault, Faults, Seeded},
    },
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// The same rule in the version of before: another digest, the same findings.
pub fn older_rules() -> Arc<RuleSet> {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| rules(&[("owner: \"tests\"", "owner: \"older\"")]));
    RULES.clone()
}

/// What was ever produced and not aborted: timestamp and value at each offset.
pub type Journal = BTreeMap<(i32, i64), (i64, Option<Bytes>)>;

/// A world and what happens in it.
pub struct Stage {
    pub world: World,
    pub tally: Tally,
    pub seed: u64,
    pub random: Random,
    pub journal: Journal,
    pub actors: Vec<Actor>,
    /// Whether retention has overtaken the reader.
    pub expired: bool,
    /// Keys over which somebody put a newer version or a delete marker.
    pub attacked: BTreeSet<String>,
    /// The key that somebody took to end the chain of partition 0.
    pub foreign: Option<String>,
    /// A partition that gets no more records.
    pub quiet: Option<i32>,
    /// Rebalances take all partitions from everybody first.
    eager: bool,
    expiring: bool,
    named: u64,
    store_down: Arc<AtomicBool>,
    publisher_down: Arc<AtomicBool>,
}

impl Stage {
    pub fn new(seed: u64, tally: &Tally) -> Self {
        let mut random = Random(seed ^ 0x5eed_5eed);
        let mut world = World::new(seed);
        world.gaps_expected = true;
        world.cluster.early([0, 5, 40][random.below(3) as usize]);
        if random.below(3) == 0 {
            world.outbox = 8;
        }
        let (eager, expiring) = (random.below(2) == 0, random.below(8) == 0);
        let mut stage = Self {
            world,
            tally: tally.clone(),
            seed,
            random,
            journal: Journal::new(),
            actors: Vec::new(),
            expired: false,
            attacked: BTreeSet::new(),
            foreign: None,
            quiet: None,
            eager,
            expiring,
            named: 0,
            store_down: Arc::default(),
            publisher_down: Arc::default(),
        };
        stage.disturb();
        stage
    }

    /// A schedule in which retention overtakes nobody.
    pub fn without_retention(seed: u64, tally: &Tally) -> Self {
        Self { expiring: false, ..Self::new(seed, tally) }
    }

    /// Begins, or goes on after a calm.
    pub fn disturb(&mut self) {
        self.store_down.store(false, Relaxed);
        self.publisher_down.store(false, Relaxed);
        self.disturb_store();
        self.disturb_publisher();
        for _ in 0..2 + self.random.below(3) {
            self.join();
        }
    }

    /// Which faults the store injects, and their count.
    fn disturb_store(&mut self) {
        let forbidden = self.random.below(4) == 0;
        let longest = Duration::from_secs([1, 5, 20][self.random.below(3) as usize]);
        let mut seeded = Seeded { seed: self.seed, failing: 8, slow: 10, longest, forbidden };
        let (tally, down) = (self.tally.clone(), self.store_down.clone());
        self.world.store.set_faults(move |call: &Call<'_>| {
            if down.load(Relaxed) {
                tally.count("store: down");
                return Fault::lost(Failure::Unavailable);
            }
            let fault = seeded.decide(call);
            if let Some(failure) = fault.lost {
                tally.count(format!("store: {failure:?}, lost"));
            }
            if let Some(failure) = fault.landed {
                tally.count(format!("store: {failure:?}, landed"));
            }
            if !fault.before.is_zero() {
                tally.count("store: slow before the effect");
            }
            if !fault.after.is_zero() {
                tally.count("store: slow answer");
            }
            fault
        });
    }

    fn disturb_publisher(&self) {
        let (tally, down) = (self.tally.clone(), self.publisher_down.clone());
        let mut random = Random(self.seed ^ 0xa1e7);
        self.world.publisher.rule(move |_| {
            let draw = if down.load(Relaxed) { 0 } else { random.below(20) };
            let (kind, behaviour) = match draw {
                0 => ("lost", Behaviour::Lose(Kind::Retry, "no answer in time".into())),
                1 => ("landed, reported failed", Behaviour::Land(Kind::Retry, "no answer in time".into())),
                2 => ("refused", Behaviour::Lose(Kind::Data, "too large".into())),
                3 => ("forbidden", Behaviour::Lose(Kind::Config, "forbidden".into())),
                4 | 5 => ("delayed", Behaviour::Delay(Duration::from_millis(random.below(9_000)))),
                _ => return Behaviour::Accept,
            };
            tally.count(format!("publisher: {kind}"));
            behaviour
        });
    }

    /// Another process joins the group; one in four still has the rules of before.
    fn join(&mut self) {
        let older = self.random.below(4) == 0;
        if older {
            self.tally.count("writer: older rules");
        }
        let rules = if older { older_rules() } else { usual_rules() };
        self.named += 1;
        let name = format!("{}-{}", if older { "old" } else { "new" }, self.named);
        let seed = self.seed ^ self.named << 32;
        self.actors.push(Actor::start(&self.world, &self.tally, &name, rules, seed));
        self.rebalance();
    }

    /// The group gives partitions to its members: all anew, or some of them.
    fn rebalance(&mut self) {
        let all = self.world.all();
        if self.eager {
            self.tally.count("group: eager rebalance");
            self.world.cluster.revoke(&all);
        } else {
            self.tally.count("group: cooperative rebalance");
        }
        for partition in all {
            let owned = self.actors.iter().any(|a| !a.is_gone() && self.world.cluster.is_owner(&partition, &a.source));
            if !owned || self.random.below(3) == 0 {
                let to = &self.actors[self.random.below(self.actors.len() as u64) as usize];
                self.world.cluster.assign(&to.source, &[partition]);
            }
        }
    }

    pub fn any_partition(&mut self) -> i32 {
        self.random.below(PARTITIONS as u64) as i32
    }

    /// Appends a record to the log and to the journal.
    pub fn produce(&mut self, n: i32) {
        if self.quiet == Some(n) {
            return;
        }
        self.world.produce(&mut self.random, n);
        let (partition, offset) = (self.world.partition(n), self.world.end(n) - 1);
        let record = self.world.cluster.record(&partition, offset).expect("it was just appended");
        self.journal.insert((n, offset), (record.timestamp, record.value));
    }

    /// A transaction: open for a while, then committed or aborted.
    fn transaction(&mut self) {
        let n = self.any_partition();
        let partition = self.world.partition(n);
        for gone in self.world.cluster.end_transaction(&partition, true) {
            self.journal.remove(&(n, gone));
        }
        if self.quiet == Some(n) {
            return;
        }
        let from = self.world.end(n);
        self.world.cluster.transaction(&partition, Some(from));
        for _ in 0..self.random.below(12) {
            self.produce(n);
        }
        self.tally.count("kafka: transaction left open");
    }

    fn end_transactions(&mut self, force: bool) {
        for n in 0..PARTITIONS {
            if !force && self.random.below(2) == 0 {
                continue;
            }
            let aborted = self.random.below(2) == 0;
            let before = self.world.end(n);
            for gone in self.world.cluster.end_transaction(&self.world.partition(n), aborted) {
                self.journal.remove(&(n, gone));
            }
            if self.world.end(n) > before {
                self.tally.count(if aborted { "kafka: transaction aborted" } else { "kafka: transaction committed" });
            }
        }
    }

    /// Somebody puts a newer version or a delete marker over a segment with two more behind it.
    fn attack(&mut self) {
        let n = self.any_partition() as u32;
        let segments = self
            .world
            .store
            .keys()
            .into_iter()
            .filter(|key| layout::parse_segment_key(key).is_some_and(|(chain, _)| chain.partition == n));
        let mut segments: Vec<String> = segments.collect();
        segments.truncate(segments.len().saturating_sub(2));
        if segments.is_empty() {
            return;
        }
        let key = segments.swap_remove(self.random.below(segments.len() as u64) as usize);
        if self.random.below(2) == 0 {
            self.tally.count("store: shadow version over a segment");
            self.world.store.shadow(&key, "not a segment");
        } else {
            self.tally.count("store: delete marker over a segment");
            self.world.store.mark_deleted(&key);
        }
        self.attacked.insert(key);
    }

    /// Retention removes records, read or not.
    fn expire(&mut self) {
        if !self.expiring {
            return;
        }
        let n = self.any_partition();
        let partition = self.world.partition(n);
        self.end_transactions(true);
        let start = self.world.cluster.log_start(&partition);
        let room = (self.world.end(n) - start).max(0) as u64;
        self.world.cluster.expire(&partition, start + self.random.below(room + 1) as i64);
        self.tally.count("kafka: log start jumps");
        self.expired = true;
    }

    /// One step of whatever can happen.
    pub async fn step(&mut self) {
        let who = self.random.below(self.actors.len() as u64) as usize;
        match self.random.below(24) {
            0..=6 => {
                for _ in 0..self.random.below(40) {
                    let n = self.any_partition();
                    self.produce(n);
                }
            }
            7 => {
                let n = self.any_partition();
                let count = 1 + self.random.below(3) as i64;
                if self.quiet != Some(n) {
                    self.world.cluster.hole(&self.world.partition(n), count);
                }
                self.tally.count("kafka: offsets never delivered");
            }
            8 => self.transaction(),
            9 => self.end_transactions(false),
            10..=12 => {
                self.tally.count("writer: to be killed at one of its next effects");
                self.actors[who].life.doom(1 + self.random.below(60));
            }
            13 => {
                self.tally.count("writer: killed in between");
                self.actors[who].life.kill();
            }
            14 => {
                self.tally.count("writer: frozen");
                self.actors[who].life.freeze(Duration::from_millis(self.random.below(20_000)));
            }
            15 => self.rebalance(),
            16 | 17 => {
                // a zombie: it goes on reading and sealing what the group has given to another
                self.tally.count("writer: lost a partition and does not know");
                let n = self.any_partition();
                self.world.cluster.steal(&self.actors[who].source, &[self.world.partition(n)]);
            }
            18 => self.world.cluster.confess(),
            19 => self.jump(who),
            20 => self.outage(),
            21 => self.attack(),
            22 => self.expire(),
            _ => self.trouble(who),
        }
        self.replace_the_dead();
        let seconds = self.random.below(24).saturating_sub(20);
        self.world.pass(seconds).await;
        tokio::time::sleep(Duration::from_millis(self.random.below(900))).await;
    }

    /// A clock jumps, forwards or back.
    fn jump(&mut self, who: usize) {
        let most = [2_000, 240_000][self.random.below(2) as usize];
        let by = self.random.below(2 * most + 1) as i64 - most as i64;
        self.tally.count(if by < 0 { "clock: jumps back" } else { "clock: jumps forward" });
        self.actors[who].life.skew.store(by, Relaxed);
    }

    /// The store or the publisher is down for all, or back.
    fn outage(&mut self) {
        let (part, name) = match self.random.below(2) {
            0 => (&self.store_down, "store: outage"),
            _ => (&self.publisher_down, "publisher: outage"),
        };
        if !part.fetch_xor(true, Relaxed) {
            self.tally.count(name);
        }
    }

    /// The source reports an error, or a process is asked to end.
    fn trouble(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        if self.random.below(2) == 0 {
            self.tally.count("broker: error reported");
            let error = Error::retry("all brokers are down");
            self.world.cluster.tell(&actor.source, SourceEvent::Failed { partition: None, error });
        } else if let Some(stop) = actor.stop.take() {
            self.tally.count("writer: asked to end");
            // if it is gone already there is nobody to ask
            let _ = stop.send(());
        }
    }

    fn replace_the_dead(&mut self) {
        let before = self.actors.len();
        self.actors.retain(|actor| !actor.is_gone());
        while self.actors.len() < before.max(1) {
            self.join();
        }
    }

    /// Everything that disturbs is over: transactions end, clocks do not matter any more, nobody is left.
    pub fn calm(&mut self) {
        self.end_transactions(true);
        self.actors.drain(..).for_each(|actor| actor.life.kill());
        self.world.store.clear_faults();
        self.world.publisher.rule(|_| Behaviour::Accept);
        self.world.cluster.early(0);
    }

    /// Writes down what the cluster did by itself.
    pub fn count_given(&self) {
        let given = self.world.cluster.given();
        self.tally.add("kafka: batch of an epoch that is over", given.stale);
        self.tally.add("kafka: records again after a seek", given.early);
    }
}

/// What ends a chain for good, until a person has looked at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The topic is created again under its name.
    Recreated,
    /// An unclean election cut off what was sealed already.
    Truncated,
    /// Somebody's bytes lie at the key of the next segment.
    Foreign,
    /// An older segment of the chain, with a good signature, lies at the key of the next one.
    Misplaced,
    /// A delete marker lies at the key of the next segment, and no version.
    Removed,
    /// The store lost its newest segment.
    RolledBack,
}

impl End {
    pub const ALL: [Self; 6] =
        [Self::Recreated, Self::Truncated, Self::Foreign, Self::Misplaced, Self::Removed, Self::RolledBack];

    /// What the partition must say when it stops.
    pub fn says(self) -> &'static [&'static str] {
        match self {
            Self::Recreated => &["another topic", "source_truncated"],
            Self::Truncated => &["source_truncated"],
            Self::Foreign | Self::Misplaced => &["do not continue the chain", "not a valid segment", "does not belong"],
            Self::Removed => &["delete marker"],
            Self::RolledBack => &["store_rolled_back"],
        }
    }
}

impl Stage {
    /// The keys of the segments of a partition, in order.
    pub fn segments(&self, n: i32) -> Vec<String> {
        let of = |key: &String| layout::parse_segment_key(key).is_some_and(|(chain, _)| chain.partition == n as u32);
        self.world.store.keys().into_iter().filter(of).collect()
    }

    /// Ends the chain of partition 0, which has segments and is sealed to its end.
    pub async fn end(&mut self, end: End) {
        self.tally.count(format!("end: {end:?}"));
        let (world, segments) = (&self.world, self.segments(0));
        let newest = segments.last().expect("the chain has segments").clone();
        let (mut chain, sequence) = layout::parse_segment_key(&newest).unwrap();
        chain.incarnation = 0;
        let next = layout::segment_key(&chain, sequence + 1);
        if matches!(end, End::Foreign | End::Misplaced | End::Removed) {
            self.foreign = Some(next.clone());
        }
        match end {
            End::Recreated => world.cluster.topic(super::sim::TOPIC, PARTITIONS),
            End::Truncated => {
                let partition = world.partition(0);
                let cut = 1 + self.random.below(3) as i64;
                let to = (world.end(0) - cut).max(0);
                world.cluster.lose_tail(&partition, to);
            }
            End::Foreign => world.store.shadow(&next, "not a segment"),
            End::Misplaced => {
                let older = &segments[self.random.below(segments.len() as u64) as usize];
                let stored = world.store.fork().read_oldest(older).await.unwrap().unwrap();
                world.store.shadow(&next, stored.bytes);
            }
            End::Removed => world.store.mark_deleted(&next),
            End::RolledBack => {
                let committed = world.cluster.committed(&world.partition(0)).expect("all was committed");
                let note = CommitNote::decode(&committed.metadata).expect("with its note");
                segments.iter().skip(note.sequence as usize).for_each(|key| world.store.remove(key));
            }
        }
    }
}
