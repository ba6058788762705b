//! How fast a store is verified and read back, beside what nobody can do without: SHA-256 of every object and every
//! record, and zstd, over the same bytes in the same run.
//!
//! `cargo bench --bench verify [-- EVENTS]`. The store is in memory, so that no disk or network is measured. CPU is
//! user and system time of the process, so that neighbours on a shared machine do not count; events a second and core
//! are by CPU. What is compared takes turns; each figure is the best of five.

#![allow(clippy::expect_used)] // what fails here must end the run

mod common;

use authseal::{
    audit::{self, VerifyOptions},
    backtest,
    detect::RuleSet,
    note::Verifiers,
    segment::{self, read},
    store::memory::MemoryStore,
};
use bytes::Bytes;
use common::{NOW, SEGMENT, cpu_seconds};
use std::{hint::black_box, sync::Arc, time::Instant};
use tokio::runtime::Runtime;

/// Chains of the store: what is parallel has something to be it over.
const CHAINS: usize = 2;
const ROUNDS: usize = 5;

fn main() {
    // cargo passes --bench
    let events = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let records = common::records(events / CHAINS);
    let objects: Vec<(String, Bytes)> =
        (0..CHAINS).flat_map(|partition| common::sealed(&records, &common::chain(partition), SEGMENT)).collect();
    let events = records.len() * CHAINS;
    drop(records);
    let size: usize = objects.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "{events} events of the demo's traffic in {CHAINS} chains, {} segments of zstd level 1, {:.1} bytes an event\n",
        objects.len(),
        size as f64 / events as f64
    );
    let keys = Verifiers::of(&common::signer());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let store = Arc::new(runtime.block_on(common::store(&objects)));
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let each = |work: &dyn Fn(&[u8])| objects.iter().for_each(|(_, bytes)| work(bytes));
    let work: [(&str, &dyn Fn()); 6] = [
        ("SHA-256 and zstd alone", &|| each(&common::floor)),
        ("open every segment", &|| each(&|bytes| drop(segment::open(bytes, &keys).expect("what was just sealed")))),
        ("verify the store, one job", &|| verify(&runtime, &store, &keys, 1)),
        ("verify the store, a job a core", &|| verify(&runtime, &store, &keys, cores)),
        ("read every record", &|| each(&read_back)),
        ("backtest, verified, no rules", &|| replay(&runtime, &store, &keys, events)),
    ];
    let mut best = [(f64::INFINITY, f64::INFINITY); 6];
    for _ in 0..ROUNDS {
        for ((_, work), best) in work.iter().zip(&mut best) {
            let (cpu, wall) = (cpu_seconds(), Instant::now());
            work();
            *best = (best.0.min(cpu_seconds() - cpu), best.1.min(wall.elapsed().as_secs_f64()));
        }
    }
    println!("  {:32} {:>8} {:>14} {:>10} {:>14}", "", "ns CPU", "a second, core", "to floor", "a second, wall");
    for ((name, _), (cpu, wall)) in work.iter().zip(best) {
        let (events, ratio) = (events as f64, cpu / best[0].0);
        println!("  {name:32} {:8.0} {:14.0} {ratio:10.2} {:14.0}", cpu * 1e9 / events, events / cpu, events / wall);
    }
}

fn verify(runtime: &Runtime, store: &Arc<MemoryStore>, keys: &Verifiers, jobs: usize) {
    let options = VerifyOptions { jobs, ..VerifyOptions::new(NOW + 1_000_000) };
    let report = runtime.block_on(audit::verify(store.clone(), keys, options)).expect("a report");
    assert_eq!(report.exit_code(), 0, "{report}");
}

/// What export and a proof do to find a record.
fn read_back(object: &[u8]) {
    for leaf in read::records(object).expect("a segment") {
        black_box(leaf.expect("it is whole").record().expect("it was sealed"));
    }
}

fn replay(runtime: &Runtime, store: &Arc<MemoryStore>, keys: &Verifiers, events: usize) {
    let options = backtest::Options { limits: common::limits(), from: None, to: None, progress: Arc::default() };
    let reading = backtest::of_store(store.clone(), Some(keys.clone()), (None, None), options.progress.clone());
    let feed = runtime.block_on(reading).expect("a chain");
    let report = backtest::run(feed, &Arc::new(RuleSet::empty()), &options).expect("a report");
    assert_eq!(report.events as usize, events);
}
