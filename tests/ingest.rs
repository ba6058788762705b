//! The write path against a scripted Kafka and a store in memory: crashes at any await, zombies, lost answers, outages.
//! After every schedule a full audit: each offset is sealed by exactly one leaf, chains hold, and the set of
//! findings and dead letters is that of an undisturbed run.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use authseal::{
    audit::{VerifyOptions, exit, verify},
    error::Error,
    layout,
    manifest::StartReason,
    note::Verifiers,
    position::ChainId,
    publish::Stream,
    source::{Source, SourceEvent},
    store::{
        self, Store,
        memory::{Call, Failure, Fault, Seeded},
    },
};
use sim::{PARTITIONS, Random, TOPIC, World, audit, settle};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

/// One schedule: two processes, and forty steps of whatever can happen to them.
async fn schedule(seed: u64) {
    let mut world = World::new(seed);
    disturb(&mut world, seed).await;
    audit(&world, seed).await;
}

/// Whatever can happen to processes, and then one that ends the work.
async fn disturb(world: &mut World, seed: u64) {
    let mut random = Random(seed);
    world.gaps_expected = true;
    let mut instances = [world.start("a-0"), world.start("b-0")];
    world.cluster.assign(&instances[0].source, &world.all());
    world.store.set_faults(Seeded {
        seed,
        failing: 8,
        slow: 10,
        longest: Duration::from_secs(5),
        forbidden: random.below(4) == 0,
    });
    for step in 0..40 {
        let who = random.below(2) as usize;
        match random.below(10) {
            0..=3 => {
                for _ in 0..random.below(60) {
                    let partition = random.below(PARTITIONS as u64) as i32;
                    world.produce(&mut random, partition);
                }
            }
            4 => world.cluster.hole(&world.partition(random.below(3) as i32), 1 + random.below(3) as i64),
            // kill -9: the task ends at whatever await it is at; what it had begun may still land
            5 => {
                instances[who].task.abort();
                instances[who] = world.start(&format!("{}-{step}", ["a", "b"][who]));
                world.cluster.assign(&instances[who].source, &world.all());
            }
            6 => world.cluster.assign(&instances[who].source, &[world.partition(random.below(3) as i32)]),
            // a slow zombie: it goes on reading and sealing what the group has given to the other
            7 => world.cluster.steal(&instances[who].source, &[world.partition(random.below(3) as i32)]),
            8 => world.cluster.confess(),
            _ => world.pass(random.below(5)).await,
        }
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
    }
    instances.iter().for_each(|instance| instance.task.abort());
    world.store.clear_faults();
    settle(world).await;
}

fn simulate<T>(schedule: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(schedule)
}

/// Runs schedules, as many as asked for, and says which one failed.
fn schedules<F: Future<Output = ()>>(usual: u64, schedule: impl Fn(u64) -> F + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (first, schedules) = match number("AUTHSEAL_TEST_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("AUTHSEAL_TEST_SCHEDULES").unwrap_or(usual)),
    };
    for seed in first..first + schedules {
        if let Err(panic) = std::panic::catch_unwind(|| simulate(schedule(seed))) {
            eprintln!("schedule {seed} failed: run it alone with AUTHSEAL_TEST_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn whatever_happens_every_offset_is_sealed_exactly_once_and_findings_are_the_same() {
    schedules(400, schedule);
}

#[tokio::test(start_paused = true)]
async fn sealing_goes_on_while_nothing_can_be_published_and_the_commit_waits() {
    let world = World { outbox: 10, ..World::new(1) };
    let mut random = Random(1);
    world.publisher.hold(true);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for _ in 0..600 {
        let partition = random.below(PARTITIONS as u64) as i32;
        world.produce(&mut random, partition);
    }
    world.pass(20).await;
    let mut held = false;
    for n in 0..PARTITIONS {
        assert_eq!(world.sealed_to(n).await, world.end(n), "evidence never waits for alerts");
        held |= world.cluster.committed(&world.partition(n)).map_or(0, |c| c.offset) < world.end(n);
    }
    assert!(held, "what is not acknowledged is not committed");
    one.task.abort();
    world.publisher.hold(false);
    settle(&world).await;
    audit(&world, 1).await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_found_no_room_are_published_when_there_is_room_again() {
    let world = World { outbox: 10, ..World::new(7) };
    let mut random = Random(7);
    world.publisher.hold(true);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for _ in 0..600 {
        world.produce_rejection(&mut random, 0);
    }
    world.pass(10).await;
    world.publisher.hold(false);
    world.pass(30).await;
    assert_eq!(world.uids(Stream::DeadLetters).len(), 600);
    assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 600);
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_waited_for_within_the_memory_budget() {
    let mut world = World::new(2);
    world.seal.memory = 64 << 10;
    let mut random = Random(2);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(1).await;
    world.store.set_faults(|_: &Call<'_>| Fault::lost(Failure::Unavailable));
    for _ in 0..5_000 {
        let partition = random.below(PARTITIONS as u64) as i32;
        world.produce(&mut random, partition);
    }
    world.pass(300).await;
    let buffered: usize = one.status.lanes().values().map(|lane| lane.buffered).sum();
    assert!(buffered < 2_000, "reading pauses when the buffers are full: {buffered}");
    let parts = one.status.parts();
    assert!(parts.get("store").is_some_and(Option::is_some), "readiness names the part at fault: {parts:?}");
    world.store.clear_faults();
    world.pass(120).await;
    for n in 0..PARTITIONS {
        assert_eq!(world.sealed_to(n).await, world.end(n));
    }
    assert_eq!(one.status.parts().get("store"), Some(&None));
    one.task.abort();
    audit(&world, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_place_is_found_late_holds_the_others_back() {
    const HOUR: i64 = 3600;
    let world = World::new(11);
    // a log of five hours; of the attack in the middle of it a part lies on another partition
    for n in 0..300 {
        world.produce_failure(0, &format!("somebody{n}"), 5 * HOUR - n * 60);
        if n == 60 {
            (0..3).for_each(|n| world.produce_failure(0, "victim", 4 * HOUR - n));
        }
    }
    (3..6).for_each(|n| world.produce_failure(1, "victim", 4 * HOUR - n));
    let mut refusals = 0;
    world.store.set_faults(move |call: &Call<'_>| {
        let refused = call.key.contains("/00001/") && refusals < 5;
        refusals += u64::from(refused);
        if refused { Fault::lost(Failure::Unavailable) } else { Fault::NONE }
    });
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(30).await;
    assert_eq!(world.sealed_to(1).await, 3, "{:?}", one.status.lanes());
    assert_eq!(world.uids(Stream::Alerts).len(), 1);
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_squatter_at_our_key_stops_its_partition_and_no_other() {
    let world = World::new(3);
    let mut random = Random(3);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(2).await;
    let chain = ChainId { cluster: "main".into(), topic: TOPIC.into(), partition: 1, incarnation: 0 };
    let squatted = layout::segment_key(&chain, world.chain(1).await.len() as u64);
    world.store.shadow(&squatted, "not a segment");
    for n in 0..PARTITIONS {
        for _ in 0..50 {
            world.produce(&mut random, n);
        }
    }
    world.pass(10).await;
    let lanes = one.status.lanes();
    let stopped = &lanes[&world.partition(1)];
    assert_eq!(stopped.state, "stopped");
    assert!(stopped.error.as_deref().unwrap().contains(&squatted), "{stopped:?}");
    for n in [0, 2] {
        assert_eq!(world.sealed_to(n).await, world.end(n));
        assert_eq!(lanes[&world.partition(n)].state, "active");
    }
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn retention_that_overtakes_the_reader_is_sealed_as_lost() {
    let world = World::new(4);
    let mut random = Random(4);
    for log_start in [10, 45] {
        for _ in 0..30 {
            world.produce(&mut random, 0);
        }
        world.cluster.expire(&world.partition(0), log_start);
        let one = world.start("one");
        world.cluster.assign(&one.source, &world.all());
        world.pass(10).await;
        one.task.abort();
    }
    let gaps = world
        .chain(0)
        .await
        .iter()
        .fold((0, 0), |(before, lost), m| (before + m.counts.gaps.before_chain, lost + m.counts.gaps.lost));
    assert_eq!(gaps, (10, 15));
    assert_eq!(world.sealed_to(0).await, 60);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_a_plain_topic_should_have_are_sealed_as_unexplained() {
    let world = World::new(8);
    let mut random = Random(8);
    world.produce(&mut random, 0);
    world.cluster.hole(&world.partition(0), 3);
    world.produce(&mut random, 0);
    // at the end of the log too: nothing may ever come behind them
    world.cluster.hole(&world.partition(0), 2);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(10).await;
    one.task.abort();
    assert_eq!(world.chain(0).await.iter().map(|m| m.counts.gaps.unexplained).sum::<i64>(), 5);
    assert_eq!((world.sealed_to(0).await, world.cluster.committed(&world.partition(0)).unwrap().offset), (7, 7));
}

#[tokio::test(start_paused = true)]
async fn idle_chains_give_signs_of_life_and_a_shutdown_seals_what_is_buffered() {
    let mut world = World::new(5);
    world.seal.max_age = Duration::from_secs(3600);
    let mut random = Random(5);
    let mut one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(200).await;
    let beats = world.chain(0).await;
    assert!((3..=5).contains(&beats.len()), "{}", beats.len());
    assert!(beats.windows(2).all(|pair| pair[1].times.sealed <= pair[0].next_by), "the promise is kept");
    for _ in 0..5 {
        world.produce(&mut random, 0);
    }
    world.pass(2).await;
    one.stop.take().unwrap().send(()).unwrap();
    let summary = one.task.await.unwrap().unwrap();
    assert!(summary.sealed && summary.published && summary.stopped.is_empty(), "{summary:?}");
    assert_eq!(world.sealed_to(0).await, 5);
    assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 5);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_rolled_back_stops_the_partition() {
    let world = World::new(6);
    let mut random = Random(6);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for _ in 0..50 {
        world.produce(&mut random, 0);
    }
    world.pass(10).await;
    one.task.abort();
    let segments = world.store.keys().into_iter().filter_map(|key| {
        let (chain, sequence) = layout::parse_segment_key(&key)?;
        (chain.partition == 0).then_some((sequence, key))
    });
    let segments: BTreeMap<u64, String> = segments.collect();
    world.store.remove(segments.last_key_value().unwrap().1);
    let two = world.start("two");
    world.cluster.assign(&two.source, &world.all());
    world.pass(5).await;
    let lanes = two.status.lanes();
    let error = lanes[&world.partition(0)].error.clone().unwrap();
    assert!(error.contains("store_rolled_back"), "{error}");
    assert_eq!(lanes[&world.partition(1)].state, "active");
    two.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_created_again_stops_the_partition_before_anything_of_it_is_sealed() {
    let world = World::new(9);
    let mut random = Random(9);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for _ in 0..10 {
        world.produce(&mut random, 0);
    }
    world.pass(10).await;
    let sealed = world.chain(0).await.len();
    world.cluster.topic(TOPIC, PARTITIONS);
    for _ in 0..30 {
        world.produce(&mut random, 0);
    }
    world.pass(20).await;
    let lanes = one.status.lanes();
    let lane = &lanes[&world.partition(0)];
    assert_eq!(lane.state, "stopped", "{lane:?}");
    assert!(lane.error.as_deref().unwrap().contains("another topic"), "{lane:?}");
    assert_eq!(world.chain(0).await.len(), sealed);
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reset_opens_the_next_incarnation_and_all_of_the_new_topic_is_sealed_and_judged() {
    let mut world = World::new(12);
    // a day of audit must not call the old incarnations stale
    world.seal.heartbeat = Duration::from_secs(3600);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    (0..40).for_each(|n| world.produce_failure(0, &format!("old{n}"), n));
    world.pass(10).await;
    one.task.abort();
    let broker = async |n| world.cluster.join().control().broker(&world.partition(n)).await.unwrap();
    let resetter = world.resetter();
    let proposal = resetter.propose(&world.partition(0), broker(0).await).await.unwrap().unwrap();
    assert_eq!(proposal.why, None, "nothing is wrong yet");

    // re-created: other records at the same offsets, the first three of them gone already
    world.cluster.topic(TOPIC, PARTITIONS);
    (0..30).for_each(|n| world.produce_failure(0, "victim", n));
    world.cluster.expire(&world.partition(0), 3);
    let two = world.start("two");
    world.cluster.assign(&two.source, &world.all());
    world.pass(10).await;
    assert_eq!(two.status.lanes()[&world.partition(0)].state, "stopped");
    two.task.abort();
    for n in 0..PARTITIONS {
        let proposal = resetter.propose(&world.partition(n), broker(n).await).await.unwrap().unwrap();
        assert!(proposal.why.as_ref().is_some_and(|why| why.contains("another topic")), "{proposal:?}");
        assert!(resetter.open(&proposal, " ").await.unwrap_err().to_string().contains("a reason is needed"));
        resetter.open(&proposal, "re-created by OPS-1234").await.unwrap();
        assert!(resetter.open(&proposal, "twice").await.unwrap_err().is_retry(), "it is there already");
        let again = resetter.propose(&world.partition(n), broker(n).await).await.unwrap().unwrap();
        assert_eq!((again.why, again.next.incarnation), (None, 2));
    }

    let three = world.start("three");
    world.cluster.assign(&three.source, &world.all());
    world.pass(20).await;
    let lanes = three.status.lanes();
    assert!(lanes.values().all(|lane| lane.error.is_none()), "{lanes:?}");
    let manifests = world.incarnation(0, 1).await;
    let start = manifests[0].start.as_ref().unwrap();
    assert_eq!((start.reason, start.detail.as_str()), (StartReason::Reset, "re-created by OPS-1234"));
    assert_eq!((manifests[0].counts.gaps.before_chain, manifests.last().unwrap().offsets.to), (3, 30));
    let titles = world.uids(Stream::Alerts);
    assert_eq!(titles.len(), 1, "what the group committed was of the old topic: all of the new one is published");
    assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 30);
    three.task.abort();
    let store: Arc<dyn Store> = Arc::new(world.store.clone());
    store::claim(&*store, sim::ORIGIN, 0).await.unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let report = verify(store, &Verifiers::of(&world.signer), VerifyOptions::new(now)).await.unwrap();
    assert_eq!(report.exit_code(), exit::GOOD, "{report}");
}

#[tokio::test(start_paused = true)]
async fn readiness_comes_back_when_the_broker_does() {
    let world = World::new(10);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(2).await;
    let tell = |partition, error| world.cluster.tell(&one.source, SourceEvent::Failed { partition, error });
    let fault = |part: &str| one.status.parts().get(part).cloned().flatten();
    // while nothing is assigned nothing can deliver
    world.cluster.revoke(&world.all());
    tell(None, Error::retry("the broker is away"));
    tell(Some(world.partition(1)), Error::retry("no leader"));
    world.pass(2).await;
    assert!(fault("source").is_some() && fault("source:auth/1").is_some());
    world.cluster.assign(&one.source, &world.all());
    world.pass(2).await;
    assert_eq!((fault("source"), fault("source:auth/1")), (None, None));
    tell(None, Error::retry("the broker is away"));
    world.pass(2).await;
    assert_eq!(fault("source"), None);
    // a topic that is missing is not there because another one delivers
    tell(None, Error::config("unknown topic"));
    world.pass(2).await;
    assert!(fault("source").is_some());
    world.cluster.revoke(&[world.partition(2)]);
    world.cluster.assign(&one.source, &[world.partition(2)]);
    world.pass(2).await;
    assert_eq!(fault("source"), None);
    one.task.abort();
}

mod durable {
    //! State of rules that must outlive processes.

    use super::{Random, World, audit, disturb, schedules, settle, sim, simulate};
    use async_trait::async_trait;
    use authseal::{
        detect::Saved,
        error::{Kind, Result},
        position::ChainId,
        publish::{
            Stream,
            memory::Behaviour,
            state::{Record, StateLog, memory::MemoryStateLog},
        },
    };
    use futures_util::future::BoxFuture;
    use std::time::Duration;

    /// A log of which much is lost, or lands without an answer, or late.
    fn unreliable(seed: u64) -> MemoryStateLog {
        let (log, mut random) = (MemoryStateLog::new(), Random(seed ^ 0x5747));
        log.fail_loads(if random.below(4) == 0 { 60 } else { random.below(4) as u32 });
        log.rule(move |_| match random.below(10) {
            0 | 1 => Behaviour::Lose(Kind::Retry, "lost".into()),
            2 | 3 => Behaviour::Land(Kind::Retry, "no answer".into()),
            4 => Behaviour::Lose(Kind::Config, "forbidden".into()),
            5 | 6 => Behaviour::Delay(Duration::from_millis(random.below(9_000))),
            _ => Behaviour::Accept,
        });
        log
    }

    #[test]
    fn whatever_happens_rules_that_look_back_far_find_the_same() {
        schedules(200, async |seed| {
            let log = unreliable(seed);
            let mut world = World::durable(seed, log.clone());
            // what is wrong with the log ends before the last process does its work
            let healed = log.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(240)).await;
                healed.rule(|_| Behaviour::Accept);
            });
            disturb(&mut world, seed).await;
            audit(&world, seed).await;
            assert!(log.loads() >= 3, "seed {seed}");
        });
    }

    /// How a log lies.
    #[derive(Clone, Copy)]
    enum Lie {
        /// Nothing was ever written.
        Forgets,
        /// What it says is written is not.
        Loses,
    }

    #[derive(Clone)]
    struct Liar(MemoryStateLog, Lie);

    #[async_trait]
    impl StateLog for Liar {
        async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>> {
            let saved = self.0.load(chain).await?;
            Ok(if matches!(self.1, Lie::Forgets) { Vec::new() } else { saved })
        }

        fn save(&self, record: Record) -> BoxFuture<'static, Result<()>> {
            match self.1 {
                Lie::Loses if record.log_key().len().is_multiple_of(2) => Box::pin(async { Ok(()) }),
                _ => self.0.save(record),
            }
        }
    }

    #[test]
    fn a_log_that_forgets_or_loses_what_it_acknowledged_is_noticed_by_this_simulation() {
        for lie in [Lie::Forgets, Lie::Loses] {
            let differs = |seed| {
                simulate(async {
                    let mut world = World::durable(seed, Liar(MemoryStateLog::new(), lie));
                    disturb(&mut world, seed).await;
                    let found = world.uids(Stream::Alerts);
                    found != sim::undisturbed(&world).await.0
                })
            };
            assert!((0..20).any(differs));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_commit_waits_for_the_log_and_sealing_does_not() {
        let log = MemoryStateLog::new();
        let world = World::durable(1, log.clone());
        log.rule(|_| Behaviour::Lose(Kind::Config, "forbidden".into()));
        let one = world.start("one");
        world.cluster.assign(&one.source, &world.all());
        (0..20).for_each(|n| world.produce_failure(0, "victim", n));
        world.pass(20).await;
        assert_eq!(world.sealed_to(0).await, 20);
        assert_eq!(world.cluster.committed(&world.partition(0)).map_or(0, |commit| commit.offset), 0);
        let fault = |part: &str| one.status.parts().get(part).cloned().flatten();
        assert!(fault("publish:state").unwrap().contains("forbidden"), "{:?}", one.status.parts());
        log.rule(|_| Behaviour::Accept);
        world.pass(10).await;
        assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 20);
        assert_eq!(fault("publish:state"), None);
        one.task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_judged_before_the_log_was_read_and_a_shutdown_leaves_all_in_it() {
        let log = MemoryStateLog::new();
        let world = World::durable(2, log.clone());
        log.fail_loads(120);
        let mut one = world.start("one");
        world.cluster.assign(&one.source, &world.all());
        (0..4).for_each(|n| world.produce_failure(0, "victim", n));
        world.pass(8).await;
        let fault = one.status.parts().get("state").cloned().flatten().unwrap();
        assert!(fault.contains("the topic is missing") && fault.contains("nothing is judged"), "{fault}");
        assert_eq!(world.sealed_to(0).await, 0, "it may be back in a moment");
        world.pass(20).await;
        assert_eq!(world.sealed_to(0).await, 4, "evidence does not wait");
        let committed = || world.cluster.committed(&world.partition(0)).map_or(0, |commit| commit.offset);
        assert_eq!((committed(), world.uids(Stream::Alerts).len()), (0, 0));
        assert!(one.status.parts().get("state").cloned().flatten().is_some());
        world.pass(40).await;
        assert_eq!(one.status.parts().get("state"), Some(&None));
        assert_eq!((world.sealed_to(0).await, committed()), (4, 4), "all that was sealed is judged");
        world.produce_failure(0, "victim", 9);
        // at once: what the last record has contributed was not written yet
        world.pass(1).await;
        one.stop.take().unwrap().send(()).unwrap();
        let summary = one.task.await.unwrap().unwrap();
        assert!(summary.published && summary.sealed, "{summary:?}");
        assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 5);
        let (before, two) = (log.loads(), world.start("two"));
        world.cluster.assign(&two.source, &world.all());
        world.produce_failure(0, "victim", 20);
        world.pass(10).await;
        assert_eq!(log.loads(), before + 3);
        // five failures before and one now: SIM-3 is asked twice and says yes once, SIM-4 needs six
        let found = world.uids(Stream::Alerts);
        assert!(found.iter().any(|uid| uid.starts_with("SIM-4")) && found.len() == 2, "{found:?}");
        two.task.abort();
        // what the writers before have left is in the record of the one that came last
        let records = log.records().into_iter().filter(|record| record.chain.partition == 0 && !record.rule.is_empty());
        let writers: Vec<_> = records.map(|record| record.writer).collect();
        assert!(!writers.is_empty() && writers.iter().all(|writer| writer.starts_with("two")), "{writers:?}");
        settle(&world).await;
    }
}
