//! Ingest under thousands of schedules drawn from a seed: crashes at every effect, zombies, lost answers, outages,
//! clocks that jump, a log that moves. After each one a full audit; at the end, what was injected.
//!
//! `AUTHSEAL_TEST_SEED=n` runs one schedule again, `AUTHSEAL_TEST_SCHEDULES=n` as many as wanted.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod audit;
mod life;
mod schedule;
#[allow(dead_code)] // each test file uses its part of the simulated world
#[path = "../sim/mod.rs"]
mod sim;
mod tally;

use schedule::{End, Stage};
use std::{
    cell::Cell,
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use tally::Tally;

thread_local! {
    /// Panics on this thread, those of tasks that nobody waits for included.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Runs schedules on all cores, each in a runtime and a time of its own. Returns what was injected, and into how many.
fn schedules<F: Future<Output = ()>>(
    usual: u64,
    schedule: impl Fn(u64, Tally) -> F + Sync,
) -> (BTreeMap<String, u64>, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (first, count) = match number("AUTHSEAL_TEST_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("AUTHSEAL_TEST_SCHEDULES").unwrap_or(usual)),
    };
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        before(info);
    }));
    let (next, failed, total) = (AtomicU64::new(first), AtomicBool::new(false), Tally::default());
    let worker = || {
        let tally = Tally::default();
        while !failed.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + count {
                break;
            }
            let run = || {
                PANICS.set(0);
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
                runtime.block_on(schedule(seed, tally.clone()));
                assert_eq!(PANICS.get(), 0, "seed {seed}: a task panicked");
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                failed.store(true, Relaxed);
                eprintln!("schedule {seed} failed: run it alone with AUTHSEAL_TEST_SEED={seed}");
                resume_unwind(panic);
            }
        }
        total.merge(&tally);
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
    });
    (total.all(), count)
}

/// Prints what was injected, and insists on every kind once there were enough schedules to expect it.
fn insist(injected: &BTreeMap<String, u64>, schedules: u64, kinds: &[&str], one_in: u64) {
    println!("{schedules} schedules");
    injected.iter().for_each(|(kind, times)| println!("{times:>9}  {kind}"));
    let least = schedules / one_in;
    let missing: Vec<_> = kinds.iter().filter(|kind| injected.get(**kind).copied().unwrap_or(0) < least).collect();
    assert!(missing.is_empty(), "fewer than {least} times injected in {schedules} schedules: {missing:?}");
}

/// What must have been injected often enough. Of crashes every place counts by itself.
const KINDS: &[&str] = &[
    "broker: commit passed over",
    "broker: error reported",
    "broker: no answer to broker",
    "broker: no answer to offset_at",
    "broker: no answer to start",
    "broker: slow",
    "clock: jumps back",
    "clock: jumps forward",
    "crash after commit",
    "crash after create",
    "crash after list",
    "crash after publish",
    "crash after read_oldest",
    "crash after start",
    "crash before broker",
    "crash before commit",
    "crash before create",
    "crash before list",
    "crash before offset_at",
    "crash before publish",
    "crash before read_oldest",
    "crash before start",
    "crash with an event in hand",
    "group: cooperative rebalance",
    "group: eager rebalance",
    "kafka: batch of an epoch that is over",
    "kafka: log start jumps",
    "kafka: offsets never delivered",
    "kafka: records again after a seek",
    "kafka: transaction aborted",
    "kafka: transaction committed",
    "publisher: delayed",
    "publisher: forbidden",
    "publisher: landed, reported failed",
    "publisher: lost",
    "publisher: outage",
    "publisher: refused",
    "seen: a rival's segment adopted",
    "seen: chain taken over",
    "store: 412, a segment lies there",
    "store: Conflict, lost",
    "store: Forbidden, lost",
    "store: Timeout, landed",
    "store: Timeout, lost",
    "store: Truncated, landed",
    "store: Unavailable, landed",
    "store: Unavailable, lost",
    "store: delete marker over a segment",
    "store: outage",
    "store: shadow version over a segment",
    "store: slow answer",
    "store: slow before the effect",
    "writer: asked to end",
    "writer: frozen",
    "writer: killed in between",
    "writer: lost a partition and does not know",
    "writer: older rules",
];

#[test]
fn whatever_happens_every_offset_is_sealed_exactly_once_and_findings_are_the_same() {
    let (injected, count) = schedules(10_000, async |seed, tally| {
        let mut stage = Stage::new(seed, &tally);
        for _ in 0..30 {
            stage.step().await;
        }
        audit::settle_and_audit(&mut stage).await;
    });
    insist(&injected, count, KINDS, 100);
}

#[test]
fn what_ends_a_chain_stops_its_partition_with_its_reason_and_the_others_run_on() {
    let (injected, count) = schedules(600, async |seed, tally| {
        let end = End::ALL[seed as usize % End::ALL.len()];
        let mut stage = Stage::without_retention(seed, &tally);
        for _ in 0..12 {
            stage.step().await;
        }
        // every chain has begun: one without a segment knows no topic yet
        (0..5 * sim::PARTITIONS).for_each(|n| stage.produce(n % sim::PARTITIONS));
        stage.calm();
        sim::settle(&stage.world).await;
        let (journal, mut steps) = (stage.journal.clone(), 8);
        if matches!(end, End::Foreign | End::Misplaced) {
            // under the eyes of processes that seal. Not for a marker: S3 lets a create through behind it
            stage.disturb();
            while steps > 4 {
                stage.step().await;
                steps -= 1;
            }
            stage.end(end).await;
        } else {
            stage.end(end).await;
            stage.quiet = (end == End::Truncated).then_some(0);
            stage.disturb();
        }
        for _ in 0..steps {
            stage.step().await;
        }
        // what a writer has to seal meets what lies there
        stage.produce(0);
        stage.calm();
        if end == End::Recreated {
            stage.journal = journal;
        }
        audit::audit_end(&mut stage, end).await;
    });
    let kinds = End::ALL.map(|end| format!("end: {end:?}"));
    insist(&injected, count, &kinds.each_ref().map(String::as_str), 10);
}
