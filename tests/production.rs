//! Rules in production: where shadow findings go, rules that change under way, processes that only seal or only judge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use authseal::{
    artifact::File,
    detect::RuleSet,
    digest::Digest,
    ingest::{Live, Roles},
    layout,
    publish::{Stream, memory::MemoryPublisher, state::memory::MemoryStateLog},
    store::memory::{Call, Failure, Fault, MemoryStore, Seeded, Verb},
};
use sim::{DURABLE_BASELINE, PARTITIONS, Random, World, durable_rules, rules, settle};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Records on all partitions, enough for findings.
fn produce(world: &World, random: &mut Random, records: usize) {
    for _ in 0..records {
        let partition = random.below(PARTITIONS as u64) as i32;
        world.produce(random, partition);
    }
}

/// Failed logons of a user on the first partition.
fn failures(world: &World, user: &str, count: usize) {
    for _ in 0..count {
        let (id, time) = (world.end(0), jiff::Timestamp::from_millisecond(world.now()).unwrap());
        let text =
            format!(r#"{{"event_id":"f{id}","time":"{time}","activity":"LOGON","outcome":"FAILURE","user":"{user}"}}"#);
        world.append(0, Some(text));
    }
}

#[tokio::test(start_paused = true)]
async fn shadow_findings_go_to_their_own_topic_at_least_once_and_never_to_the_alerts() {
    let shadow = rules(&[("mode: \"live\"", "mode: \"shadow\"")]);
    let world = World { rules: shadow, live: Live { shadow: true, ..Live::default() }, ..World::new(1) };
    let mut random = Random(1);
    world.publisher.hold(true);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    produce(&world, &mut random, 600);
    world.pass(10).await;
    let committed = |n| world.cluster.committed(&world.partition(n)).map_or(0, |c| c.offset);
    assert!((0..PARTITIONS).any(|n| committed(n) < world.end(n)), "what is not acknowledged is not committed");
    // killed before anything was acknowledged: the next one publishes it again under the same ids
    one.task.abort();
    let before = world.uids(Stream::Shadow);
    world.publisher.hold(false);
    settle(&world).await;
    let live = World { rules: rules(&[]), store: Default::default(), publisher: Default::default(), ..world.clone() };
    world.all().iter().for_each(|partition| live.cluster.set_committed(partition, None));
    settle(&live).await;
    assert!(!before.is_empty() && world.uids(Stream::Shadow).is_superset(&before));
    assert_eq!(world.uids(Stream::Shadow), live.uids(Stream::Alerts), "the ids are those of alerts");
    assert_eq!(world.uids(Stream::Alerts).len(), 0);
    assert_eq!(live.uids(Stream::Shadow).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_shadow_topic_shadow_findings_are_only_counted() {
    let world = World { rules: rules(&[("mode: \"live\"", "mode: \"shadow\"")]), ..World::new(2) };
    produce(&world, &mut Random(2), 300);
    settle(&world).await;
    assert_eq!((world.uids(Stream::Alerts).len(), world.uids(Stream::Shadow).len()), (0, 0));
}

/// The rule of the simulations with another gate, and what is handed to a process that runs.
fn gate(n: u32) -> Arc<RuleSet> {
    rules(&[("failures: 5", &format!("failures: {n}"))])
}

fn changing(world: World) -> (World, watch::Sender<Arc<RuleSet>>) {
    let (send, changes) = watch::channel(world.rules.clone());
    (World { live: Live { changes: Some(changes), ..Live::default() }, ..world }, send)
}

/// The digests that the manifests of a partition name, with the offsets that each covers.
async fn named(world: &World, partition: i32) -> Vec<(Digest, i64, i64)> {
    let mut all: Vec<(Digest, i64, i64)> = Vec::new();
    for manifest in world.chain(partition).await {
        let digest = manifest.artifacts.rules.unwrap();
        assert!(world.store.keys().contains(&layout::artifact_key(&digest)), "what is named lies there");
        match all.last_mut() {
            Some(last) if last.0 == digest => last.2 = manifest.offsets.to,
            _ => all.push((digest, manifest.offsets.from, manifest.offsets.to)),
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn every_manifest_names_the_rules_that_its_records_were_judged_with() {
    let mut world = World::new(3);
    // nothing but the change makes a segment end
    (world.seal.max_records, world.seal.max_age) = (100_000, Duration::from_secs(3600));
    world.seal.heartbeat = Duration::from_secs(3600);
    let (world, send) = changing(world);
    let (old, new) = (world.rules.bundle().0, gate(4).bundle().0);
    let mut random = Random(3);
    let mut one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    produce(&world, &mut random, 60);
    world.pass(3).await;
    let at: Vec<i64> = (0..PARTITIONS).map(|n| world.end(n)).collect();
    send.send(gate(4)).unwrap();
    world.pass(2).await;
    assert_eq!(one.status.parts().get("rules"), Some(&None));
    produce(&world, &mut random, 60);
    world.pass(3).await;
    one.stop.take().unwrap().send(()).unwrap();
    one.task.await.unwrap().unwrap();
    for n in 0..PARTITIONS {
        let (from, end) = (at[n as usize], world.end(n));
        // an idle chain gives a first sign of life before anything comes
        assert_eq!(named(&world, n).await, [(old, 0, from), (new, from, end)]);
    }
}

#[tokio::test(start_paused = true)]
async fn rules_change_while_a_segment_is_under_way_and_while_the_store_is_down() {
    let mut world = World::new(4);
    world.seal.max_age = Duration::from_millis(500);
    let (world, send) = changing(world);
    let mut random = Random(4);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for round in 0..12 {
        world.store.set_faults(Seeded {
            seed: round,
            failing: 3,
            slow: 2,
            longest: Duration::from_secs(3),
            forbidden: false,
        });
        produce(&world, &mut random, 90);
        tokio::time::sleep(Duration::from_millis(300)).await;
        send.send(gate(4 + (round % 3) as u32)).unwrap();
        produce(&world, &mut random, 90);
        world.pass(round % 3).await;
    }
    // the store is away when the last change comes: it waits, detection and reading go on with the rules before
    world.store.clear_faults();
    world.pass(30).await;
    world.store.set_faults(|_: &Call<'_>| Fault::lost(Failure::Unavailable));
    send.send(gate(9)).unwrap();
    world.pass(20).await;
    let said = one.status.parts().get("rules").cloned().flatten().unwrap_or_default();
    assert!(said.contains("cannot be stored: the old ones stay in force"), "{said}");
    produce(&world, &mut random, 30);
    world.store.clear_faults();
    world.pass(30).await;
    assert_eq!(one.status.parts().get("rules"), Some(&None));
    produce(&world, &mut random, 30);
    world.pass(30).await;
    let known: Vec<Digest> = [4, 5, 6, 9].map(|n| gate(n).bundle().0).into();
    let mut changes = 0;
    for n in 0..PARTITIONS {
        let manifests = world.chain(n).await;
        assert_eq!(manifests.last().unwrap().offsets.to, world.end(n));
        assert!(manifests.iter().all(|m| m.counts.gaps.all().iter().sum::<i64>() == 0));
        let named = named(&world, n).await;
        assert!(named.iter().all(|(digest, ..)| known.contains(digest)));
        assert_eq!(named.last().unwrap().0, known[3]);
        changes += named.len();
    }
    assert!(changes > 3 * PARTITIONS as usize, "the rules changed under way: {changes}");
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_new_rules_are_stored_and_before_a_segment_names_them_loses_nothing() {
    let mut world = World::new(5);
    (world.seal.max_records, world.seal.max_age) = (100_000, Duration::from_secs(3600));
    let (world, send) = changing(world);
    let mut random = Random(5);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    produce(&world, &mut random, 200);
    world.pass(3).await;
    // segments cannot be put, rules can
    world.store.set_faults(|call: &Call<'_>| match call.key.starts_with("artifacts/") {
        true => Fault::default(),
        false => Fault::lost(Failure::Unavailable),
    });
    send.send(gate(4)).unwrap();
    world.pass(2).await;
    assert!(world.store.keys().contains(&layout::artifact_key(&gate(4).bundle().0)));
    produce(&world, &mut random, 200);
    world.pass(2).await;
    one.task.abort();
    world.store.clear_faults();
    // the next process finds the new rules in their folder
    let next = World { rules: gate(4), live: Live::default(), seal: World::new(5).seal, ..world.clone() };
    settle(&next).await;
    sim::audit(&next, 5).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_knew_outlives_a_change_beside_it() {
    // of six failures one comes after the change: a rule that forgot would find nothing
    let other = |id: &str| rules(&[("SIM-1", id)]);
    let with = |id: &str| {
        let text = |n: &str| sim::RULE.replace("SIM-1", n);
        let files = [("sim.rhai", text("SIM-1")), ("other.rhai", text(id))];
        let files = files.map(|(path, text)| File { path: path.into(), bytes: text.into() });
        Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}")))
    };
    let (world, send) = changing(World { rules: with("A-1"), ..World::new(6) });
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    failures(&world, "ann", 4);
    world.pass(3).await;
    send.send(with("Z-1")).unwrap();
    world.pass(2).await;
    failures(&world, "ann", 1);
    world.pass(3).await;
    let rules_that_fired = |world: &World| {
        let ids = world.uids(Stream::Alerts).into_iter();
        ids.map(|id| id.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rules_that_fired(&world), ["SIM-1"]);
    send.send(other("NEW-1")).unwrap();
    world.pass(2).await;
    failures(&world, "ann", 4);
    world.pass(3).await;
    assert_eq!(rules_that_fired(&world), ["SIM-1"], "a new rule begins with nothing");
    failures(&world, "ann", 1);
    world.pass(3).await;
    assert_eq!(rules_that_fired(&world), ["NEW-1", "SIM-1"]);
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn rules_that_count_less_than_there_is_are_named_while_others_read_a_part() {
    let mut world = World::new(7);
    let (one, two) = (world.start("one"), world.start("two"));
    world.cluster.assign(&one.source, &world.all());
    world.pass(3).await;
    let warning = |instance: &sim::Instance| instance.status.warnings().remove("rules:coverage");
    assert_eq!((warning(&one), warning(&two)), (None, None), "one reads everything, the other nothing");
    world.cluster.assign(&two.source, &[world.partition(2)]);
    world.pass(20).await;
    for (instance, share) in [(&one, "2 of the 3"), (&two, "1 of the 3")] {
        let said = warning(instance).unwrap_or_default();
        assert!(said.contains(share) && said.contains("SIM-1"), "{said}");
        assert!(instance.status.parts().values().all(Option::is_none), "it works all the same");
    }
    // the producer partitions by what the rule counts by: each process sees everything of its users
    let by = [("auth".to_owned(), Some(vec!["user".to_owned()]))].into_iter().collect();
    world.live = Live { partitioned_by: by, ..Live::default() };
    let three = world.start("three");
    world.cluster.assign(&three.source, &[world.partition(0)]);
    world.pass(20).await;
    assert_eq!(warning(&three), None);
    world.cluster.assign(&one.source, &world.all());
    world.pass(20).await;
    assert_eq!(warning(&one), None, "it reads everything again");
    [one, two, three].iter().for_each(|instance| instance.task.abort());
}

/// The world with a process that only seals, or only judges, in a group of its own.
fn only(world: &World, roles: Roles) -> World {
    World { live: Live { roles, ..Live::default() }, publisher: MemoryPublisher::new(), ..world.clone() }
}

const SEAL: Roles = Roles { seal: true, detect: false };
const DETECT: Roles = Roles { seal: false, detect: true };

#[tokio::test(start_paused = true)]
async fn who_seals_and_who_judges_make_together_what_one_process_makes() {
    let mut world = World::new(8);
    world.gaps_expected = true;
    produce(&world, &mut Random(8), 500);
    world.cluster.hole(&world.partition(0), 2);
    produce(&world, &mut Random(9), 200);
    world.cluster.hole(&world.partition(1), 3);
    let both = World { store: MemoryStore::new(), publisher: MemoryPublisher::new(), ..world.clone() };
    settle(&both).await;
    let another_group = || world.all().iter().for_each(|partition| world.cluster.set_committed(partition, None));
    another_group();
    let seal = World { rules: Arc::new(RuleSet::empty()), ..only(&world, SEAL) };
    settle(&seal).await;
    assert_eq!(seal.uids(Stream::DeadLetters), both.uids(Stream::DeadLetters));
    assert_eq!(seal.uids(Stream::Alerts).len(), 0);
    for n in 0..PARTITIONS {
        let manifests = world.chain(n).await;
        assert_eq!(manifests.last().unwrap().offsets.to, world.end(n));
        assert!(manifests.iter().all(|m| m.artifacts.rules.is_none() && m.artifacts.decode.is_some()));
    }
    let sealed = world.store.keys();
    another_group();
    let detect = only(&world, DETECT);
    settle(&detect).await;
    let alerts = detect.uids(Stream::Alerts);
    assert!(!alerts.is_empty());
    assert_eq!((alerts, detect.uids(Stream::DeadLetters).len()), (both.uids(Stream::Alerts), 0));
    assert_eq!(world.store.keys(), sealed, "who judges writes nothing");
}

#[tokio::test(start_paused = true)]
async fn who_only_judges_loses_no_finding_when_it_is_killed_and_needs_no_store_that_can_be_written() {
    let world = World::new(9);
    let mut random = Random(9);
    produce(&world, &mut random, 300);
    let both = World { store: MemoryStore::new(), publisher: MemoryPublisher::new(), ..world.clone() };
    let detect = only(&world, DETECT);
    detect.store.set_faults(|call: &Call<'_>| match call.verb {
        Verb::List => Fault::default(),
        _ => Fault::lost(Failure::Forbidden),
    });
    for round in 0..6 {
        let one = detect.start(&format!("detect-{round}"));
        detect.cluster.assign(&one.source, &detect.all());
        detect.publisher.hold(round % 2 == 0);
        produce(&world, &mut random, 60);
        tokio::time::sleep(Duration::from_millis(400 + 300 * round)).await;
        assert!(one.status.parts().values().all(Option::is_none), "{:?}", one.status.parts());
        one.task.abort();
    }
    detect.publisher.hold(false);
    settle(&detect).await;
    assert!(detect.store.keys().is_empty());
    world.all().iter().for_each(|partition| world.cluster.set_committed(partition, None));
    settle(&both).await;
    let alerts = both.uids(Stream::Alerts);
    assert!(!alerts.is_empty());
    assert_eq!(detect.uids(Stream::Alerts), alerts);
}

#[tokio::test(start_paused = true)]
async fn who_only_judges_stops_at_a_topic_that_was_cut_off_and_goes_over_what_expired() {
    let world = only(&World::new(10), DETECT);
    let mut random = Random(10);
    produce(&world, &mut random, 90);
    let mut one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(5).await;
    one.stop.take().unwrap().send(()).unwrap();
    assert!(one.task.await.unwrap().unwrap().sealed, "there was nothing to seal");
    let end = world.end(0);
    assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, end);
    world.cluster.lose_tail(&world.partition(0), end - 5);
    produce(&world, &mut random, 90);
    world.cluster.expire(&world.partition(1), world.end(1) - 3);
    world.cluster.lose_tail(&world.partition(0), end - 5);
    let two = world.start("two");
    world.cluster.assign(&two.source, &world.all());
    world.pass(5).await;
    let lanes = two.status.lanes();
    let error = lanes[&world.partition(0)].error.clone().unwrap_or_default();
    assert!(error.contains("source_truncated") && error.contains("delete the offsets"), "{error}");
    assert_eq!(world.cluster.committed(&world.partition(1)).unwrap().offset, world.end(1));
    two.task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_waits_does_so_for_the_records_of_an_open_transaction_too() {
    let rules = durable_rules(&[DURABLE_BASELINE]);
    let world = World { gaps_expected: true, rules, ..World::durable(4, MemoryStateLog::new()) };
    let process = world.start("one");
    world.cluster.assign(&process.source, &world.all());
    world.produce_failure(0, "somebody", 1);
    world.cluster.transaction(&world.partition(0), Some(1));
    world.produce_failure(0, "somebody", 100);
    world.pass(560).await;
    assert_eq!(world.uids(Stream::Alerts).len(), 0, "nobody knows what it holds");
    world.cluster.transaction(&world.partition(0), None);
    world.pass(600).await;
    assert_eq!(world.uids(Stream::Alerts).len(), 1, "the second came first");
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_found_after_a_restart_though_nothing_is_delivered_at_the_end_of_the_log() {
    let rules = durable_rules(&[DURABLE_BASELINE]);
    let world = World { gaps_expected: true, rules, ..World::durable(3, MemoryStateLog::new()) };
    world.produce_failure(0, "somebody", 1);
    world.cluster.hole(&world.partition(0), 3);
    for name in ["one", "two"] {
        let process = world.start(name);
        world.cluster.assign(&process.source, &world.all());
        world.pass(if name == "one" { 60 } else { 600 }).await;
        assert_eq!(world.sealed_to(0).await, 4, "{name}");
        process.task.abort();
        let _ = process.task.await;
    }
    assert_eq!(world.uids(Stream::Alerts).len(), 1, "first seen");
    assert_eq!(world.cluster.committed(&world.partition(0)).unwrap().offset, 4);
}
