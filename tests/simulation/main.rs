//! Ingest under thousands of schedules drawn from a seed: crashes at every effect, zombies, lost answers, outages,
//! clocks that jump, a log that moves, state of rules that is lost or late. After each one a full audit; at the end,
//! what was injected and which decisions were taken.
//!
//! `AUTHSEAL_TEST_SCHEDULES=n` runs as many as wanted, from `AUTHSEAL_TEST_FIRST=n` on. One that fails is made smaller
//! until nothing more can be left out (`AUTHSEAL_TEST_SHRINK=no`: not), and what is printed then runs it again:
//! `AUTHSEAL_TEST_SEED=n`, with `AUTHSEAL_TEST_STEPS` and `AUTHSEAL_TEST_WITHOUT`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod audit;
mod ends;
mod life;
mod observe;
mod run;
mod schedule;
#[allow(dead_code)] // each test file uses its part of the simulated world
#[path = "../sim/mod.rs"]
mod sim;
mod state_topic;
mod tally;

use ends::End;
use run::schedules;
use schedule::Stage;
use std::collections::BTreeMap;

/// Prints what was injected, and insists on every kind once there were enough schedules to expect it.
fn insist(injected: &BTreeMap<String, u64>, schedules: u64, kinds: &[&str], one_in: u64) {
    println!("{schedules} schedules");
    injected.iter().for_each(|(kind, times)| println!("{times:>9}  {kind}"));
    let least = schedules / one_in;
    let unknown: Vec<_> = injected.keys().filter(|kind| kind.starts_with("stop: for another reason")).collect();
    assert!(unknown.is_empty(), "a partition stopped for a reason that is not listed: {unknown:?}");
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

/// What must have come up of durable state, each in one of a thousand schedules.
const STATE: &[&str] = &[
    "audit: findings of durable rules",
    "crash after load",
    "crash after save",
    "crash before load",
    "crash before save",
    "crash while loading",
    "rules: Durable",
    "rules: Every",
    "rules: Volatile",
    "seen: rules changed under way",
    "state: answered late",
    "state: cannot be loaded",
    "state: compacted away",
    "state: compacted away after a day",
    "state: down",
    "state: down at its first record",
    "state: landed, reported failed",
    "state: lost",
    "state: outage",
    "state: refused",
    "state: slow to land",
    "state: slow to load",
];

#[test]
fn whatever_happens_every_offset_is_sealed_exactly_once_and_findings_are_the_same() {
    let (injected, count) = schedules(10_000, 30, async |script, tally| {
        let mut stage = Stage::new(&script, &tally);
        for _ in 0..30 {
            stage.step().await;
        }
        audit::settle_and_audit(&mut stage).await;
    });
    insist(&injected, count, KINDS, 100);
    insist(&injected, count, STATE, 1_000);
    insist(&injected, count, observe::GOING_ON, 10_000);
}

#[test]
fn what_ends_a_chain_stops_its_partition_with_its_reason_and_the_others_run_on() {
    let (injected, count) = schedules(600, 20, async |script, tally| {
        let end = End::ALL[script.seed as usize % End::ALL.len()];
        let mut stage = Stage::without_retention(&script, &tally);
        for _ in 0..12 {
            stage.step().await;
        }
        // every chain has begun: one without a segment knows no topic yet
        (0..5 * sim::PARTITIONS).for_each(|n| stage.produce(n % sim::PARTITIONS));
        stage.calm();
        sim::settle(&stage.world).await;
        let (journal, mut steps) = (stage.journal.clone(), 8);
        // under the eyes of processes that seal. Not for a marker: S3 lets a create through behind it
        let live = end.needs_eyes() || (end == End::Regrown && stage.random.below(2) == 0);
        if live {
            stage.disturb();
            while steps > 4 {
                stage.step().await;
                steps -= 1;
            }
            stage.end(end).await;
        } else {
            stage.end(end).await;
            stage.disturb();
        }
        stage.quiet = end.is_quiet().then_some(0);
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
    insist(&injected, count, &kinds.each_ref().map(String::as_str), 20);
    insist(&injected, count, observe::STOPPING, 600);
}
