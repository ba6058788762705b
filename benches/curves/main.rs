//! How the cost of an event grows: with ten times the events, eight times the partitions, a thousand times the keys,
//! four times the rules.
//!
//! `cargo bench --bench curves [-- keep-docs] [SCALE]` prints a table and writes it, with a plot, to
//! docs/performance.md. SCALE divides the events (10 for a quick look, which is not written down). CPU is user and
//! system time, of the process or of the judging thread; the points of a curve take turns, and the least of the rounds
//! counts, so that neighbours on a shared machine disturb little. What matters is the shape: a curve that stays at 1
//! costs the same for each event.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the run

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/marks.rs"]
mod marks;
mod page;
mod plot;
#[path = "../detect/traffic.rs"]
#[allow(dead_code)]
mod traffic;

use authseal::{
    artifact::File,
    audit::{self, VerifyOptions},
    backtest, demo,
    detect::{Detector, Finding, Input, Limits, RuleSet},
    note::Verifiers,
    position::ChainId,
    record::{Outcome, RawRecord},
};
use common::{NOW, cpu_nanos, cpu_seconds, write_path};
use std::{sync::Arc, time::Duration};
use traffic::{Kind, Traffic};

/// One measured line.
pub struct Series {
    /// What was done.
    pub name: &'static str,
    /// Each with how many times the first it has, and nanoseconds of CPU an event.
    pub points: Vec<(f64, f64)>,
}

/// What grows.
pub struct Curve {
    /// Its name.
    pub grows: &'static str,
    /// The first point, in words.
    pub from: String,
    /// What was done with it.
    pub series: Vec<Series>,
}

/// Rounds of what is run anew for each.
const ROUNDS: usize = 2;
/// Seconds of CPU that a point takes at least in each round: the kernel counts in hundredths.
const STRETCH: f64 = 0.3;
/// Records of a segment where segments are counted in tens.
const SEGMENT: usize = 10_000;
/// Events judged at a stretch: some milliseconds.
const BATCH: usize = 2_000;

fn main() {
    // cargo passes --bench
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let scale = words.iter().find_map(|word| word.parse::<usize>().ok()).unwrap_or(1).max(1);
    let curves = [events(scale), partitions(scale), keys(scale), rules(scale)];
    let table = page::table(&curves);
    println!("{table}");
    if scale == 1 && !words.iter().any(|word| word == "keep-docs") {
        page::write(&table, &plot::svg(&curves));
    }
}

/// Nanoseconds an event that each of the works takes: the least of some rounds, in which they take turns.
fn least(points: &[(f64, usize)], work: impl Fn(usize, usize)) -> Vec<(f64, f64)> {
    let mut least = vec![f64::INFINITY; points.len()];
    for _ in 0..ROUNDS {
        for (at, (_, events)) in points.iter().enumerate() {
            let (began, mut times, mut took) = (cpu_seconds(), 0.0, 0.0);
            while took < STRETCH {
                work(at, *events);
                times += 1.0;
                took = cpu_seconds() - began;
            }
            least[at] = least[at].min(took / times * 1e9 / *events as f64);
        }
    }
    points.iter().map(|(factor, _)| *factor).zip(least).collect()
}

/// What is sealed, verified and judged once more, of each of these stores: a store is records and partitions.
fn three(stores: &[(f64, &[RawRecord], usize)]) -> Vec<Series> {
    let points: Vec<(f64, usize)> = stores.iter().map(|(factor, records, _)| (*factor, records.len())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let keys = Verifiers::of(&common::signer());
    let filled: Vec<_> = stores
        .iter()
        .map(|(_, records, partitions)| {
            let parts = (0..*partitions).flat_map(|partition| {
                let part = records.iter().skip(partition).step_by(*partitions).enumerate();
                let part: Vec<RawRecord> =
                    part.map(|(offset, record)| RawRecord { offset: offset as i64, ..record.clone() }).collect();
                common::sealed(&part, &common::chain(partition), SEGMENT)
            });
            Arc::new(runtime.block_on(common::store(&parts.collect::<Vec<_>>())))
        })
        .collect();
    let sealing = least(&points, |at, _| {
        write_path::run(stores[at].1, stores[at].2);
    });
    let verifying = least(&points, |at, _| {
        let options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW + 1_000_000) };
        let report = runtime.block_on(audit::verify(filled[at].clone(), &keys, options)).unwrap();
        assert_eq!(report.exit_code(), 0, "{report}");
    });
    let reading = least(&points, |at, events| {
        let options = backtest::Options { limits: common::limits(), from: None, to: None, progress: Arc::default() };
        let feed = backtest::of_store(filled[at].clone(), None, (None, None), options.progress.clone());
        let feed = runtime.block_on(feed).unwrap();
        let report = backtest::run(feed, &Arc::new(RuleSet::empty()), &options).unwrap();
        assert_eq!(report.events as usize, events);
    });
    [("the write path", sealing), ("verify", verifying), ("backtest without rules", reading)]
        .map(|(name, points)| Series { name, points })
        .into()
}

fn events(scale: usize) -> Curve {
    let first = 20_000 / scale;
    let records = common::records(first * 10);
    let stores = [1.0, 3.0, 10.0].map(|factor| (factor, &records[..first * factor as usize], 4));
    Curve { grows: "events", from: format!("{first} events, 4 partitions"), series: three(&stores) }
}

fn partitions(scale: usize) -> Curve {
    let records = common::records(100_000 / scale);
    let stores = [1, 2, 4, 8].map(|partitions| (partitions as f64, &records[..], partitions));
    Curve { grows: "partitions", from: format!("1 partition, {} events", records.len()), series: three(&stores) }
}

/// Judges ordinary traffic.
struct Judge {
    detector: Detector,
    chain: Arc<ChainId>,
    offset: i64,
    findings: Vec<Finding>,
    traffic: Traffic,
    /// Nanoseconds and events that count.
    cost: (u64, u64),
}

impl Judge {
    fn new(rules: RuleSet, people: u64) -> Self {
        // as the example configuration has it
        let limits = Limits { state_bytes: 256 << 20, lateness: Duration::from_secs(300) };
        let traffic = Traffic::among(Kind::Ordinary, people);
        let detector = Detector::new(Arc::new(rules), limits);
        Self { detector, chain: common::chain(0), offset: 0, findings: Vec::new(), traffic, cost: (0, 0) }
    }

    fn batch(&mut self, counts: bool) {
        let batch = self.traffic.batch(BATCH);
        let began = cpu_nanos();
        for outcome in &batch {
            self.offset += 1;
            let Outcome::Event(event) = outcome else { continue };
            let now = event.time.millis() + 20;
            let input = Input { chain: &self.chain, offset: self.offset, timestamp: now, now, outcome };
            self.detector.judge(&input, &mut self.findings);
        }
        if counts {
            self.cost = (self.cost.0 + cpu_nanos() - began, self.cost.1 + BATCH as u64);
        }
        self.findings.clear();
    }

    fn each(&self) -> f64 {
        self.cost.0 as f64 / self.cost.1 as f64
    }
}

/// Judges so many events each, in turns; what the second half costs.
fn judged(mut judges: Vec<(f64, Judge)>, events: usize) -> Vec<(f64, f64)> {
    let batches = events.div_ceil(BATCH).max(2);
    for done in 0..batches {
        judges.iter_mut().for_each(|(_, judge)| judge.batch(done >= batches / 2));
    }
    judges.iter().map(|(factor, judge)| (*factor, judge.each())).collect()
}

fn keys(scale: usize) -> Curve {
    let (people, events) = (400, 200_000 / scale);
    let judge = |factor: u64| (factor as f64, Judge::new(copies(1), people * factor));
    let points = judged([1, 10, 100, 1_000].map(judge).into(), events);
    let series = vec![Series { name: "all shipped rules", points }];
    Curve { grows: "keys", from: format!("{people} people, {events} events, 256 MiB of state"), series }
}

fn rules(scale: usize) -> Curve {
    let (people, events) = (2_000, 50_000 / scale);
    let judge = |factor: usize| (factor as f64, Judge::new(copies(factor), people));
    let points = judged([1, 2, 4].map(judge).into(), events);
    let series = vec![Series { name: "all shipped rules", points }];
    let count = copies(1).rules().len();
    Curve { grows: "rules", from: format!("{count} rules, {people} people, {events} events"), series }
}

/// The shipped rules so many times, under other names.
fn copies(times: usize) -> RuleSet {
    let copy = |n: usize| {
        demo::rules().into_iter().filter(|file| !file.path.ends_with(".test.rhai")).filter_map(move |file| {
            if n == 0 || !file.path.ends_with(".rhai") {
                return (n == 0).then_some(file);
            }
            let text = std::str::from_utf8(&file.bytes).expect("UTF-8").replace("AUTH-", &format!("COPY{n}-"));
            let path = file.path.replace(".rhai", &format!("_{n}.rhai"));
            Some(File { path, bytes: text.into() })
        })
    };
    let files: Vec<File> = (0..times).flat_map(copy).collect();
    RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}"))
}
