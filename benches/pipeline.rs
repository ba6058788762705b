//! What an event costs, stage by stage, and what the whole write path does with the demo's traffic on this machine.
//!
//! `cargo bench --bench pipeline [-- EVENTS]`. Stages run alone on one thread. The
//! pipeline runs as in production but for the network: a scripted source instead of Kafka, a directory store on a
//! temporary folder. CPU is user and system time of the process. Compare within one run; the machine is part of
//! every figure.

#![allow(clippy::expect_used)] // what fails here must end the run

mod common;

use authseal::{
    detect::{Detector, Finding, Input},
    note::Verifiers,
    record::{Decoded, RawRecord},
    segment::{self, Codec, SegmentBuilder},
};
use bytes::Bytes;
use common::{NOW, SEGMENT, cpu_seconds, limits, ruleset, write_path};

fn main() {
    // cargo passes --bench
    let events = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let records = common::records(events);
    let bytes: usize = records.iter().map(RawRecord::size).sum();
    println!("{events} records of the demo's traffic, all as bare Avro, {} bytes each on average\n", bytes / events);
    stages(&records);
    pipeline(&records);
}

/// Runs a stage and prints the CPU time that a record cost: wall time would count the neighbours of a shared machine
/// too.
fn stage<T>(name: &str, records: usize, run: impl FnOnce() -> T) -> T {
    let began = cpu_seconds();
    let result = run();
    println!("  {name:44} {:8.0} ns of CPU a record", (cpu_seconds() - began) * 1e9 / records as f64);
    result
}

fn stages(records: &[RawRecord]) {
    let n = records.len();
    let (chain, signer) = (common::chain(0), common::signer());
    println!("stages, one thread:");
    let decoder = common::decoder();
    let decoded: Vec<Decoded> =
        stage("decode and validate", n, || records.iter().map(|record| decoder.decode(&chain, record)).collect());
    let mut detector = Detector::new(ruleset(), limits());
    let mut findings: Vec<Finding> = Vec::new();
    stage("judge (the shipped rules)", n, || {
        for (record, decoded) in records.iter().zip(&decoded) {
            let (offset, timestamp) = (record.offset, record.timestamp);
            let input = Input { chain: &chain, offset, timestamp, now: NOW, outcome: &decoded.outcome };
            detector.judge(&input, &mut findings);
        }
        detector.idle(&chain, NOW + 600_000, &mut findings);
    });
    let builders: Vec<SegmentBuilder> = stage("encode, hash, compress (zstd 1)", n, || {
        let chunks = records.chunks(SEGMENT).zip(decoded.chunks(SEGMENT));
        chunks
            .map(|(records, decoded)| {
                let mut builder = SegmentBuilder::new(records[0].offset, Codec::Zstandard, 1);
                for (record, decoded) in records.iter().zip(decoded) {
                    builder.push_record(record, decoded).expect("consecutive offsets");
                }
                builder
            })
            .collect()
    });
    let sealed: Vec<Bytes> = stage("finish, decode again, sign", n, || {
        let seal = |builder: SegmentBuilder| {
            let draft = builder.finish().expect("a whole segment");
            let manifest = common::manifest(&draft, &chain, None);
            segment::seal(draft, manifest, &signer).expect("a draft that reads back").bytes
        };
        builders.into_iter().map(seal).collect()
    });
    let size: usize = sealed.iter().map(Bytes::len).sum();
    let keys = Verifiers::of(&signer);
    stage("verify (as an auditor)", n, || {
        for object in &sealed {
            segment::open(object, &keys).expect("what was just sealed");
        }
    });
    println!(
        "  {} segments, {:.1} bytes a record; {} findings\n",
        sealed.len(),
        size as f64 / n as f64,
        findings.len()
    );
}

fn pipeline(records: &[RawRecord]) {
    const PARTITIONS: usize = 4;
    let (wall, cpu) = write_path::run(records, PARTITIONS);
    let n = records.len() as f64;
    println!("the whole write path, {PARTITIONS} partitions, without Kafka:");
    println!(
        "  {:.0} records a second, {:.2} µs of CPU a record ({:.1} s wall, {cpu:.1} s CPU)",
        n / wall,
        cpu / n * 1e6,
        wall
    );
}
