//! Rules in production: where shadow findings go, rules that change under way, processes that only seal or only judge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use authseal::{ingest::Live, publish::Stream};
use sim::{PARTITIONS, Random, World, rules, settle};

/// Records on all partitions, enough for findings.
fn produce(world: &World, random: &mut Random, records: usize) {
    for _ in 0..records {
        let partition = random.below(PARTITIONS as u64) as i32;
        world.produce(random, partition);
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
