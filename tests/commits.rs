//! Commits that a group passes over: nobody is told, and nothing may change afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[allow(dead_code)] // each test file uses its part of the simulated world
mod sim;

use sim::{PARTITIONS, Random, World};
use std::time::Duration;

fn is_committed(world: &World) -> bool {
    (0..PARTITIONS).all(|n| world.cluster.committed(&world.partition(n)).is_some_and(|c| c.offset == world.end(n)))
}

/// As if every commit had met a rebalance.
fn lose_commits(world: &World) {
    world.all().iter().for_each(|partition| world.cluster.set_committed(partition, None));
    assert!(!is_committed(world));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_passed_over_is_made_again_although_nothing_more_comes() {
    let mut world = World::new(1);
    // no sign of life, which would be committed as something new
    world.seal.heartbeat = Duration::from_secs(3600);
    let mut random = Random(1);
    let mut one = world.start("one");
    world.cluster.assign(&one.source, &world.all());
    for n in 0..400 {
        world.produce(&mut random, n % PARTITIONS);
    }
    world.pass(30).await;
    assert!(is_committed(&world));
    lose_commits(&world);
    world.pass(30).await;
    assert!(is_committed(&world), "within half a minute");
    lose_commits(&world);
    one.stop.take().unwrap().send(()).unwrap();
    one.task.await.unwrap().unwrap();
    assert!(is_committed(&world), "at the shutdown");
}
