//! Records that name their schemas by ids, against a registry that is away, slow or says no: nothing is lost, nobody
//! waits for what does not concern him, and every manifest names the schemas that its records were read with.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use async_trait::async_trait;
use authseal::{
    artifact,
    avro::{put_bytes, put_long},
    decode::Format,
    digest::Digest,
    error::{Error, Result},
    ingest::{Live, Schemas},
    layout,
    manifest::{Broker, Manifest},
    position::{ChainId, TopicPartition},
    publish::Stream,
    record::{RawRecord, TimestampType},
    registry::{Failure, Registry},
    segment::{self, SealedRecord},
    source::{Commit, Source, SourceControl, SourceEvent, scripted::ScriptedSource},
    store::{Store, memory::Seeded},
};
use futures_util::future::BoxFuture;
use sim::{PARTITIONS, Random, TOPIC, World, settle};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// What the registry says of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    Schema,
    Unknown,
    NoRecord,
    Withheld,
}

#[derive(Default)]
struct State {
    says: HashMap<u32, Says>,
    away: bool,
    takes: Duration,
    asked: BTreeMap<u32, u32>,
}

/// A registry that does as it is told; ids that it was told nothing of are unknown.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn of(ids: &[(u32, Says)]) -> Self {
        let fake = Self::default();
        fake.0.lock().unwrap().says = ids.iter().copied().collect();
        fake
    }

    fn says(&self, id: u32, says: Says) {
        self.0.lock().unwrap().says.insert(id, says);
    }

    fn away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    fn asked(&self, id: u32) -> u32 {
        self.0.lock().unwrap().asked.get(&id).copied().unwrap_or(0)
    }
}

impl Registry for Fake {
    fn fetch(&self, id: u32) -> BoxFuture<'static, Result<Vec<u8>, Failure>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let takes = shared.lock().unwrap().takes;
            tokio::time::sleep(takes).await;
            let mut state = shared.lock().unwrap();
            *state.asked.entry(id).or_default() += 1;
            if state.away {
                return Err(Failure::Away(Error::retry("connection refused")));
            }
            match state.says.get(&id) {
                Some(Says::Schema) => Ok(schema(id)),
                Some(Says::NoRecord) => Ok(br#""string""#.to_vec()),
                Some(Says::Withheld) => Err(Failure::Withheld(Error::retry("answered 500"))),
                Some(Says::Unknown) | None => Err(Failure::Unknown),
            }
        })
    }

    fn describe(&self) -> String {
        "fake".into()
    }
}

/// A schema that differs from id to id.
fn schema(id: u32) -> Vec<u8> {
    format!(
        r#"{{"type":"record","name":"E{id}","fields":[{{"name":"user","type":"string"}},
        {{"name":"time","type":{{"type":"long","logicalType":"timestamp-millis"}}}}]}}"#
    )
    .into()
}

fn world(fake: &Fake) -> World {
    let mut world = World::new(1);
    world.format = Format::Registry { schemas: BTreeMap::new() };
    let schemas = Schemas { registry: Arc::new(fake.clone()), wait: Duration::from_secs(60) };
    world.live = Live { schemas: Some(schemas), ..Live::default() };
    world
}

fn produce(world: &World, partition: i32, id: u32, user: &str) {
    let mut value = [&[0][..], &id.to_be_bytes()].concat();
    put_bytes(&mut value, user.as_bytes());
    put_long(&mut value, world.now());
    let timestamp_type = TimestampType::CreateTime;
    let record =
        RawRecord { timestamp: world.now(), timestamp_type, value: Some(value.into()), ..RawRecord::default() };
    world.cluster.produce(&world.partition(partition), record);
}

/// What is sealed of a partition, with the manifest of each.
async fn sealed(world: &World, partition: i32) -> Vec<(Manifest, SealedRecord)> {
    let chain = ChainId { cluster: "main".into(), topic: TOPIC.into(), partition: partition as u32, incarnation: 0 };
    let mut all = Vec::new();
    for manifest in world.chain(partition).await {
        let stored = world.store.read_oldest(&layout::segment_key(&chain, manifest.sequence)).await.unwrap().unwrap();
        for leaf in segment::read::records(&stored.bytes).unwrap() {
            all.push((manifest.clone(), leaf.unwrap().record().unwrap()));
        }
    }
    all
}

/// What became of each record: `event` or the code of its rejection.
async fn fates(world: &World, partition: i32) -> Vec<String> {
    let fate = |record: SealedRecord| record.rejection.map_or("event".to_owned(), |rejection| rejection.code);
    sealed(world, partition).await.into_iter().map(|(_, record)| fate(record)).collect()
}

/// Every event was read with a schema that lies in the store under the name that its manifest says.
async fn schemas_are_sealed(world: &World) {
    let mut bundles: HashMap<Digest, Vec<artifact::File>> = HashMap::new();
    for partition in 0..PARTITIONS {
        for (manifest, record) in sealed(world, partition).await {
            let value = record.value.as_deref().unwrap_or_default();
            let id = u32::from_be_bytes(value[1..5].try_into().unwrap());
            let digest = manifest.artifacts.decode.unwrap();
            let stored = world.store.read_oldest(&layout::artifact_key(&digest)).await.unwrap().expect("it lies there");
            let files = bundles.entry(digest).or_insert_with(|| artifact::unbundle(&stored.bytes).unwrap());
            let path = format!("{TOPIC}/confluent/{id}/registry.avsc");
            let file = files.iter().find(|file| file.path == path);
            match &record.rejection {
                None => assert_eq!(file.map(|file| &file.bytes), Some(&schema(id)), "{path}"),
                Some(rejection) => assert!(file.is_none(), "{path} was there, and yet: {rejection:?}"),
            }
        }
    }
}

fn simulate(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work);
}

#[test]
fn known_ids_go_on_while_the_registry_is_away_and_new_ones_wait_for_it() {
    simulate(async {
        let fake = Fake::of(&[(7, Says::Schema), (8, Says::Schema)]);
        let world = world(&fake);
        let instance = world.start("a");
        world.cluster.assign(&instance.source, &world.all());
        (0..5).for_each(|n| produce(&world, 0, 7, &format!("a{n}")));
        (0..5).for_each(|n| produce(&world, 1, 7, &format!("b{n}")));
        world.pass(10).await;
        assert_eq!(fates(&world, 0).await, ["event"; 5]);
        assert_eq!(fake.asked(7), 1, "one question for all");

        fake.away(true);
        produce(&world, 0, 7, "c");
        produce(&world, 0, 8, "d");
        produce(&world, 0, 7, "behind it");
        (0..5).for_each(|n| produce(&world, 1, 7, &format!("e{n}")));
        world.pass(30).await;
        assert_eq!(fates(&world, 0).await, ["event"; 6], "what came before the new id is sealed");
        assert_eq!(fates(&world, 1).await, ["event"; 10], "and the other partition goes on");
        let lane = instance.status.lanes()[&world.partition(0)].clone();
        assert_eq!((lane.state, lane.sealed_to), ("awaiting", 6));
        let why = instance.status.parts()["registry"].clone().unwrap();
        assert!(why.contains("1 partitions wait for the schemas of ids 8: connection refused"), "{why}");

        fake.away(false);
        world.pass(20).await;
        assert_eq!(fates(&world, 0).await, ["event"; 8]);
        assert_eq!(instance.status.parts()["registry"], None);
        assert_eq!(world.uids(Stream::DeadLetters).len(), 0);
        schemas_are_sealed(&world).await;
    });
}

/// A source that is slow to stop the first time it is told to.
struct Slow(ScriptedSource, Arc<SlowControl>);

struct SlowControl {
    inner: Arc<dyn SourceControl>,
    stops: AtomicU32,
}

impl Slow {
    fn of(source: ScriptedSource) -> Self {
        let inner = source.control();
        Self(source, Arc::new(SlowControl { inner, stops: AtomicU32::new(0) }))
    }
}

#[async_trait]
impl Source for Slow {
    async fn next(&mut self) -> Option<SourceEvent> {
        self.0.next().await
    }

    fn control(&self) -> Arc<dyn SourceControl> {
        self.1.clone()
    }
}

#[async_trait]
impl SourceControl for SlowControl {
    async fn start(&self, partition: &TopicPartition, offset: i64) -> Result<u64> {
        self.inner.start(partition, offset).await
    }

    async fn stop(&self, partition: &TopicPartition) -> Result<()> {
        if self.stops.fetch_add(1, Relaxed) == 0 {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        self.inner.stop(partition).await
    }

    fn commit(&self, commits: Vec<(TopicPartition, Commit)>) {
        self.inner.commit(commits);
    }

    async fn commit_now(&self, commits: Vec<(TopicPartition, Commit)>) -> Result<()> {
        self.inner.commit_now(commits).await
    }

    async fn offset_at(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        self.inner.offset_at(partition, timestamp).await
    }

    async fn broker(&self, partition: &TopicPartition) -> Result<Broker> {
        self.inner.broker(partition).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[test]
fn a_partition_goes_on_although_more_came_while_its_source_was_slow_to_stop() {
    simulate(async {
        let fake = Fake::of(&[(7, Says::Schema)]);
        let world = world(&fake);
        fake.away(true);
        let instance = world.start_behind("a", |source| Box::new(Slow::of(source)));
        world.cluster.assign(&instance.source, &world.all());
        for user in ["waits", "comes as well", "and again"] {
            produce(&world, 0, 7, user);
            world.pass(2).await;
        }
        fake.away(false);
        // a stop that landed after the start would leave the partition still for ever
        world.pass(60).await;
        produce(&world, 0, 7, "later");
        world.pass(10).await;
        assert_eq!(fates(&world, 0).await, ["event"; 4]);
    });
}

#[test]
fn what_waits_too_long_is_a_rejection_and_an_event_once_the_registry_is_back() {
    simulate(async {
        let fake = Fake::of(&[(7, Says::Schema)]);
        let world = world(&fake);
        fake.away(true);
        let instance = world.start("a");
        world.cluster.assign(&instance.source, &world.all());
        produce(&world, 0, 7, "a");
        produce(&world, 1, 7, "b");
        world.pass(50).await;
        assert_eq!(fates(&world, 0).await.len(), 0);
        world.pass(20).await;
        assert_eq!(fates(&world, 0).await, ["schema_unavailable"]);
        assert_eq!(fates(&world, 1).await, ["schema_unavailable"], "both had the one patience");
        // from now on nothing waits for it
        produce(&world, 0, 7, "c");
        world.pass(5).await;
        assert_eq!(fates(&world, 0).await, ["schema_unavailable"; 2]);
        assert_eq!(world.uids(Stream::DeadLetters).len(), 3);
        assert_eq!(instance.status.parts()["registry"], None, "nobody waits, so it is ready");
        assert!(instance.status.warnings()["registry"].contains("connection refused"));

        fake.away(false);
        world.pass(5).await;
        // the first one asks, and is refused meanwhile
        produce(&world, 0, 7, "d");
        world.pass(5).await;
        produce(&world, 0, 7, "e");
        world.pass(10).await;
        assert_eq!(fates(&world, 0).await.last().unwrap(), "event");
        schemas_are_sealed(&world).await;
    });
}

#[test]
fn a_poisoned_id_stalls_neither_its_chain_nor_another() {
    simulate(async {
        let poison = [(1, Says::Unknown), (2, Says::NoRecord), (3, Says::Withheld)];
        let fake = Fake::of(&[&poison[..], &[(7, Says::Schema)]].concat());
        let world = world(&fake);
        let instance = world.start("a");
        world.cluster.assign(&instance.source, &world.all());
        for (id, _) in poison {
            produce(&world, 0, 7, "before");
            produce(&world, 0, id, "x");
            produce(&world, 0, 7, "behind");
            produce(&world, 1, 7, "beside");
        }
        world.pass(5).await;
        assert_eq!(fates(&world, 1).await, ["event"; 3], "nothing concerns the other partition");
        world.pass(25).await;
        let want = ["event", "unknown_schema_id", "event", "event", "schema_unusable", "event", "event"];
        assert_eq!(fates(&world, 0).await[..7], want);
        assert_eq!(fates(&world, 0).await[7..], ["schema_unavailable", "event"]);
        assert_eq!(world.uids(Stream::DeadLetters).len(), 3);
        let warning = instance.status.warnings()["registry"].clone();
        assert!(warning.contains("records of 3 ids are rejected"), "{warning}");
        assert!(warning.contains("schema id 2: its outermost type is not a record"), "{warning}");
        assert_eq!(instance.status.parts()["registry"], None);
        let asked = fake.asked(1);

        // somebody registers it: seen after a while, without that anybody waits
        fake.says(1, Says::Schema);
        for _ in 0..15 {
            produce(&world, 0, 1, "late");
            world.pass(10).await;
        }
        let fates = fates(&world, 0).await;
        assert_eq!((fates[9].as_str(), fates.last().unwrap().as_str()), ("unknown_schema_id", "event"));
        assert_eq!(fake.asked(1), asked + 1, "refusals are remembered for a while");
        schemas_are_sealed(&world).await;
    });
}

#[test]
fn ids_at_random_do_not_hold_a_partition_for_long() {
    simulate(async {
        let fake = Fake::of(&[(7, Says::Schema)]);
        fake.0.lock().unwrap().takes = Duration::from_millis(200);
        let world = world(&fake);
        let instance = world.start("a");
        world.cluster.assign(&instance.source, &world.all());
        let mut random = Random(3);
        for _ in 0..3000 {
            produce(&world, 0, 1000 + random.below(1 << 30) as u32, "x");
        }
        produce(&world, 0, 7, "last");
        // 3000 answers would take ten minutes
        world.pass(60).await;
        produce(&world, 0, 7, "later");
        world.pass(120).await;
        let fates = fates(&world, 0).await;
        assert_eq!((fates.len(), fates.last().unwrap().as_str()), (3002, "event"));
        let unavailable = fates.iter().filter(|fate| *fate == "schema_unavailable").count();
        assert!(unavailable > 1000, "{unavailable}");
    });
}

#[test]
fn two_processes_of_which_one_cannot_reach_the_registry_make_one_chain() {
    simulate(async {
        let (there, away) = (Fake::of(&[(7, Says::Schema)]), Fake::of(&[]));
        let world = world(&there);
        let schemas = Schemas { registry: Arc::new(away.clone()), wait: Duration::from_secs(60) };
        let other = World { live: Live { schemas: Some(schemas), ..Live::default() }, ..world.clone() };
        let mut instances = [world.start("a"), other.start("b")];
        world.cluster.assign(&instances[0].source, &world.all());
        for turn in 0..6 {
            (0..10).for_each(|n| produce(&world, 0, 7, &format!("{turn}-{n}")));
            world.pass(1).await;
            // the other one takes the partition and the first does not know it yet: both seal
            world.cluster.steal(&instances[(turn + 1) % 2].source, &[world.partition(0)]);
            world.pass(4).await;
            world.cluster.confess();
        }
        instances.iter_mut().for_each(|instance| instance.task.abort());
        settle(&world).await;
        let fates = fates(&world, 0).await;
        assert_eq!(fates.len(), 60, "each offset once");
        assert!(fates.iter().any(|fate| fate == "event") && fates.iter().any(|fate| fate != "event"), "{fates:?}");
        schemas_are_sealed(&world).await;
    });
}

/// A schedule: processes die, the store fails, the registry comes and goes, ids of every kind.
async fn schedule(seed: u64) {
    let mut random = Random(seed);
    let fake = Fake::of(&[(1, Says::Schema), (2, Says::Schema), (3, Says::Withheld), (4, Says::NoRecord)]);
    fake.0.lock().unwrap().takes = Duration::from_millis(random.below(300));
    let mut world = world(&fake);
    world.live.schemas.as_mut().unwrap().wait = Duration::from_secs(1 + random.below(20));
    let mut instance = world.start("a");
    world.cluster.assign(&instance.source, &world.all());
    world.store.set_faults(Seeded { seed, failing: 8, slow: 10, longest: Duration::from_secs(5), forbidden: false });
    for step in 0..30 {
        match random.below(8) {
            0..=3 => (0..random.below(30)).for_each(|_| {
                let (partition, id) = (random.below(PARTITIONS as u64) as i32, 1 + random.below(6) as u32);
                produce(&world, partition, id, "u");
            }),
            4 => fake.away(random.below(2) == 0),
            5 => {
                instance.task.abort();
                instance = world.start(&format!("a-{step}"));
                world.cluster.assign(&instance.source, &world.all());
            }
            6 => fake.says(5 + step, Says::Schema),
            _ => world.pass(random.below(8)).await,
        }
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
    }
    instance.task.abort();
    world.store.clear_faults();
    fake.away(false);
    settle(&world).await;
    for n in 0..PARTITIONS {
        assert_eq!(fates(&world, n).await.len() as i64, world.end(n), "seed {seed}: partition {n}");
    }
    schemas_are_sealed(&world).await;
}

#[test]
fn whatever_happens_every_record_is_sealed_once_with_the_schemas_that_it_was_read_with() {
    for seed in 0..40 {
        simulate(schedule(seed));
    }
}
