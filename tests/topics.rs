//! Topics that live, in the simulated world: partitions that are added, topics that come and go.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // this test needs a part of it
mod sim;

use authseal::{error::Error, ingest::Begin, source::SourceEvent};
use sim::World;

/// A world in which chains begin with what comes next, and each partition has ten records before.
fn from_the_end(seed: u64) -> World {
    let world = World { begin: Begin::End, ..World::new(seed) };
    for n in 0..sim::PARTITIONS {
        ten(&world, n);
    }
    world
}

fn ten(world: &World, partition: i32) {
    for ago in 0..10 {
        world.produce_failure(partition, "u", ago);
    }
}

/// Offsets that were left out at the beginning of a chain, and records that were sealed; `None` without a chain.
async fn sealed(world: &World, partition: i32) -> Option<(i64, i64)> {
    let manifests = world.chain(partition).await;
    let before = manifests.iter().map(|m| m.counts.gaps.before_chain).sum();
    (!manifests.is_empty()).then(|| (before, manifests.iter().map(|m| m.counts.events).sum()))
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_added_begins_at_its_first_record() {
    let world = from_the_end(1);
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    world.pass(5).await;
    assert_eq!(sealed(&world, 0).await, Some((10, 0)), "the others begin at the end");
    // it is there, and has records, before anybody knows of it
    ten(&world, 3);
    world.cluster.assign(&one.source, &[world.partition(3)]);
    world.pass(5).await;
    assert_eq!(sealed(&world, 3).await, Some((0, 10)));
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_was_added_while_nobody_ran_does_so_too() {
    let world = from_the_end(2);
    let one = world.start("one");
    world.cluster.assign(&one.source, &[world.partition(0), world.partition(1)]);
    world.pass(5).await;
    one.task.abort();
    ten(&world, 3);
    let two = world.start("two");
    // the second in a process that has not seen the first
    world.cluster.assign(&two.source, &[world.partition(2), world.partition(3)]);
    world.pass(5).await;
    assert_eq!(sealed(&world, 3).await, Some((0, 10)), "the evidence says that there were three");
    assert_eq!(sealed(&world, 2).await, Some((10, 0)), "it was there from the beginning");
    two.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_goes_is_told_until_it_is_back() {
    let world = World::new(3);
    let one = world.start("one");
    let tell = |found: &[&str], gone: &[&str]| {
        let names = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect();
        world.cluster.tell(&one.source, SourceEvent::Topics { found: names(found), gone: names(gone) });
    };
    let warning = || one.status.warnings().remove("topics");
    tell(&["auth.1", "auth.2"], &[]);
    world.pass(1).await;
    assert_eq!(warning(), None);
    // librdkafka complains of it before it is known to be gone
    world.cluster.tell(&one.source, SourceEvent::Failed { partition: None, error: Error::config("unknown topic") });
    tell(&[], &["auth.2"]);
    world.pass(1).await;
    assert!(warning().is_some_and(|word| word.contains("auth.2") && !word.contains("auth.1")));
    assert!(one.status.parts().values().all(Option::is_none), "{:?}", one.status.parts());
    tell(&["auth.2"], &[]);
    world.pass(1).await;
    assert_eq!(warning(), None);
    one.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_does_not_end_is_told_until_it_does() {
    let world = World { gaps_expected: true, ..World::new(4) };
    let one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    ten(&world, 0);
    world.pass(5).await;
    let warning = || one.status.warnings().remove("transaction:auth/0");
    let open = world.end(0);
    ten(&world, 0);
    world.cluster.transaction(&world.partition(0), Some(open));
    world.pass(50).await;
    assert_eq!(warning(), None, "most transactions end");
    world.pass(60).await;
    assert!(warning().is_some_and(|word| word.contains(&format!("offset {open} "))), "{:?}", warning());
    assert!(one.status.parts().values().all(Option::is_none), "{:?}", one.status.parts());
    world.cluster.end_transaction(&world.partition(0), false);
    world.pass(30).await;
    assert_eq!(warning(), None);
    one.task.abort();
}
