//! One schedule: up to four processes, and whatever can happen to them, to Kafka, to the store and to the publisher.

use super::{
    life::{Actor, Landed, Surroundings},
    observe::Observer,
    sim::{DURABLE_BASELINE, PARTITIONS, Random, World, durable_rules, rules, usual_rules},
    state_topic::StateTopic,
    tally::Tally,
};
use authseal::{
    artifact::File,
    detect::RuleSet,
    error::{Error, Kind},
    layout,
    publish::memory::Behaviour,
    source::SourceEvent,
    store::memory::{Call, Failure, Fault, Faults, Seeded},
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

/// A rule that finds something in every failure, and the same under the name that it had before.
pub fn every_now() -> Arc<RuleSet> {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| every_failure("A failure"));
    RULES.clone()
}

pub fn every_before() -> Arc<RuleSet> {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| every_failure("A failure, as it was called before"));
    RULES.clone()
}

/// The durable rules with one more, which nobody asks about: its records are those of a rule that others do not have.
fn durable_before() -> Arc<RuleSet> {
    const MORE: &str = r#"
        rule("SIM-9", #{ name: "Gone since", severity: LOW, when: activity == LOGON, key: [user], window: "6h",
            agg: #{ logons: count() }, at_least: #{ logons: 3 }, dedup: "12h" });
    "#;
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| durable_rules(&[DURABLE_BASELINE, MORE]));
    RULES.clone()
}

fn durable_now() -> Arc<RuleSet> {
    static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| durable_rules(&[DURABLE_BASELINE]));
    RULES.clone()
}

/// Which rules judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// What they need is read again after a restart.
    Volatile,
    /// They look back hours to months: their state lies in a topic.
    Durable,
    /// They find something in every failure, and change under way.
    Every,
}

/// What is left out of a schedule, to find out what a failure needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    pub store: bool,
    pub publisher: bool,
    pub state: bool,
    pub broker: bool,
    pub kafka: bool,
}

/// A schedule: its number, the steps that are taken (all, unless it is being shrunk) and what is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    pub seed: u64,
    pub steps: Option<BTreeSet<u64>>,
    pub without: Without,
}

/// A rule that finds something in every failure, so that each record says with which rules it was judged.
const EVERY: &str = r#"
rule("SIM-6", #{
    name: "A failure", severity: LOW, status: "stable", mode: "live", attack: ["TA0006/T1110"], owner: "tests",
    runbook: "https://runbooks.example/SIM-6", falsepos: ["none"],
    when: activity == LOGON & outcome == FAILURE, key: [user],
});
"#;

/// The rule that finds something in every failure, under this title.
fn every_failure(title: &str) -> Arc<RuleSet> {
    let text = EVERY.replace("A failure", title);
    let rules = RuleSet::load(&[File { path: "every.rhai".into(), bytes: text.into() }]);
    Arc::new(rules.unwrap_or_else(|problems| panic!("{problems:?}")))
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
    /// When each segment was first known to be there, on a clock that is right.
    pub landed: Landed,
    pub observer: Observer,
    pub judging: Judging,
    pub script: Script,
    /// Rules in force: those of now, and those of before.
    pub rules: [Arc<RuleSet>; 2],
    /// Rebalances take all partitions from everybody first.
    eager: bool,
    expiring: bool,
    named: u64,
    /// Steps so far, taken or not.
    at: u64,
    state: Option<StateTopic>,
    store_down: Arc<AtomicBool>,
    publisher_down: Arc<AtomicBool>,
}

impl Stage {
    pub fn new(script: &Script, tally: &Tally) -> Self {
        let seed = script.seed;
        let mut random = Random(seed ^ 0x5eed_5eed);
        let judging = match random.below(8) {
            0 | 1 => Judging::Durable,
            2 => Judging::Every,
            _ => Judging::Volatile,
        };
        let state = (judging == Judging::Durable).then(StateTopic::default);
        let (mut world, rules) = match &state {
            Some(topic) => (World::durable(seed, topic.clone()), [durable_now(), durable_before()]),
            None if judging == Judging::Every => (World::new(seed), [every_now(), every_before()]),
            None => (World::new(seed), [usual_rules(), older_rules()]),
        };
        world.rules = rules[0].clone();
        world.gaps_expected = true;
        let early = [0, 5, 40][random.below(3) as usize];
        world.cluster.early(if script.without.kafka { 0 } else { early });
        world.cluster.stale_batches(!script.without.kafka);
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
            landed: Landed::default(),
            observer: Observer::new(tally, judging == Judging::Every),
            judging,
            script: script.clone(),
            rules,
            eager,
            expiring: expiring && judging != Judging::Durable,
            named: 0,
            at: 0,
            state,
            store_down: Arc::default(),
            publisher_down: Arc::default(),
        };
        tally.count(format!("rules: {judging:?}"));
        stage.disturb();
        stage
    }

    /// A schedule in which retention overtakes nobody, and offsets are left out only where that is declared.
    pub fn without_retention(script: &Script, tally: &Tally) -> Self {
        Self { expiring: false, ..Self::new(script, tally) }
    }

    /// Begins, or goes on after a calm.
    pub fn disturb(&mut self) {
        self.store_down.store(false, Relaxed);
        self.publisher_down.store(false, Relaxed);
        if let Some(topic) = self.state.as_ref().filter(|_| !self.script.without.state) {
            // it may be down when the first process starts
            topic.down.store(self.random.below(6) == 0, Relaxed);
        }
        if !self.script.without.store {
            self.disturb_store();
        }
        if !self.script.without.publisher {
            self.disturb_publisher();
        }
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
        let rules = self.rules[usize::from(older)].clone();
        self.named += 1;
        let name = format!("{}-{}", if older { "old" } else { "new" }, self.named);
        let seed = self.seed ^ self.named << 32;
        let around = Surroundings {
            tally: self.tally.clone(),
            without: self.script.without,
            observer: self.observer.clone(),
            landed: self.landed.clone(),
            state: self.state.clone(),
        };
        self.actors.push(Actor::start(&self.world, &around, &name, rules, seed));
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

    pub fn end_transactions(&mut self, force: bool) {
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

    /// One step of whatever can happen. Each is drawn from the number of the schedule and its own: without one of them
    /// the others stay what they are.
    pub async fn step(&mut self) {
        self.at += 1;
        if self.script.steps.as_ref().is_some_and(|steps| !steps.contains(&self.at)) {
            return;
        }
        self.random = Random((self.seed ^ 0x5eed_5eed).wrapping_add(self.at.wrapping_mul(0xd134_2543_de82_ef95)));
        self.replace_the_dead();
        let who = self.random.below(self.actors.len() as u64) as usize;
        match self.random.below(29) {
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
            23 => self.trouble(who),
            24 => self.leap(who),
            25 => {
                let partition = self.world.partition(self.random.below(PARTITIONS as u64) as i32);
                self.tally.count("kafka: another leader, nothing lost");
                self.world.cluster.elect(&partition);
            }
            26 => {
                let rules = &self.rules[self.random.below(2) as usize];
                self.actors[who].rules.send_replace(rules.clone());
            }
            _ => self.disturb_state(),
        }
        self.replace_the_dead();
        let seconds = self.random.below(24).saturating_sub(20);
        self.world.pass(seconds).await;
        tokio::time::sleep(Duration::from_millis(self.random.below(900))).await;
    }

    /// A clock jumps, forwards or back: a little, by as much as is still borne, by hours, by a month. Or it is set
    /// right.
    fn jump(&mut self, who: usize) {
        let most = [0, 2_000, 240_000, 4 * 3_600_000, 30 * 86_400_000][self.random.below(5) as usize];
        let by = self.random.below(2 * most + 1) as i64 - most as i64;
        self.tally.count(match by.abs() {
            0 => "clock: set right",
            1..=300_000 if by < 0 => "clock: jumps back",
            1..=300_000 => "clock: jumps forward",
            _ if by < 0 => "clock: jumps back by hours",
            _ => "clock: jumps forward by hours",
        });
        self.actors[who].life.skew.store(by, Relaxed);
    }

    /// Half days pass on every wall clock, the store's too, while no time passes for anybody: machines that are
    /// suspended, or a quiet night. One process may be in the middle of something.
    fn leap(&mut self, who: usize) {
        self.actors[who].life.freeze(Duration::from_millis(self.random.below(10_000)));
        let half_days = [1, 2, 14, 61, 182][self.random.below(5) as usize];
        self.tally.count("clock: everybody's goes on by half days");
        self.world.leapt.fetch_add(half_days * 43_200_000, Relaxed);
        if let Some(topic) = &self.state {
            self.tally.add("state: compacted away after a day", topic.compact(0, half_days > 1));
        }
    }

    /// The topic of the rules' state is down or back, or its cleaner runs.
    fn disturb_state(&mut self) {
        let Some(topic) = self.state.as_ref().filter(|_| !self.script.without.state) else { return };
        if self.random.below(3) > 0 {
            self.tally.add("state: compacted away", topic.compact(self.random.below(40), false));
        } else if !topic.down.fetch_xor(true, Relaxed) {
            self.tally.count("state: outage");
        }
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
        // the steps may have been left out
        self.random = Random(self.seed ^ 0xca1f);
        self.end_transactions(true);
        self.actors.drain(..).for_each(|actor| actor.life.kill());
        self.world.store.clear_faults();
        self.world.publisher.rule(|_| Behaviour::Accept);
        self.world.cluster.early(0);
        if let Some(topic) = &self.state {
            topic.down.store(false, Relaxed);
            topic.compact(0, true);
        }
    }

    /// Writes down what the cluster did by itself.
    pub fn count_given(&self) {
        let given = self.world.cluster.given();
        self.tally.add("kafka: batch of an epoch that is over", given.stale);
        self.tally.add("kafka: records again after a seek", given.early);
    }
}
