//! What an event costs, stage by stage, and what the whole write path does with the demo's traffic on this machine.
//!
//! `cargo bench --bench pipeline [-- EVENTS]`. Stages run alone on one thread. The
//! pipeline runs as in production but for the network: a scripted source instead of Kafka, a directory store on a
//! temporary folder. CPU is user and system time of the process. Compare within one run; the machine is part of
//! every figure.

#![allow(clippy::expect_used)] // what fails here must end the run

use authseal::{
    decode::{Decoder, Format, TopicSpec},
    demo::{rules, traffic},
    detect::{Detector, Finding, Input, Limits, RuleSet},
    digest::Digest,
    ingest::{self, Begin, Live, Options, Parts, RetentionPolicy, SealOptions, Topic, status::Status},
    manifest::*,
    note::{Signer, Verifiers},
    position::{ChainId, TopicPartition},
    publish::memory::MemoryPublisher,
    record::{Decoded, RawRecord, TimestampType},
    retention::{LockMode, Retention},
    segment::{self, Codec, SegmentBuilder},
    source::scripted::Cluster,
    store::dir::DirStore,
};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const NOW: i64 = 1_767_225_600_000;
/// Leaves of a segment: well under the 64 MiB of the format.
const SEGMENT: usize = 50_000;

fn main() {
    // cargo passes --bench
    let events = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let records = records(events);
    let bytes: usize = records.iter().map(RawRecord::size).sum();
    println!("{events} records of the demo's traffic, all as bare Avro, {} bytes each on average\n", bytes / events);
    stages(&records);
    pipeline(&records);
}

/// The demo's events as bare Avro: one format, so that the stages compare.
fn records(events: usize) -> Vec<RawRecord> {
    let values = traffic::Traffic::new(events as u64 * 2, NOW).filter_map(|produced| match produced.value {
        traffic::Value::Event(event) => {
            let mut value = Vec::new();
            segment::encode_event(&mut value, &event);
            Some((produced.key, value, produced.timestamp))
        }
        traffic::Value::Bytes(_) => None,
    });
    let record = |(offset, (key, value, timestamp)): (usize, (String, Vec<u8>, i64))| RawRecord {
        offset: offset as i64,
        timestamp,
        timestamp_type: TimestampType::CreateTime,
        key: Some(key.into()),
        value: Some(value.into()),
        ..RawRecord::default()
    };
    values.take(events).enumerate().map(record).collect()
}

fn decoder() -> Decoder {
    let spec = TopicSpec {
        format: Format::Avro { schema: None },
        source: None,
        tenant: None,
        keep_event_only: false,
        secret_fields: Vec::new(),
    };
    Decoder::new(spec, &[1; 32]).expect("the canonical schema")
}

fn ruleset() -> Arc<RuleSet> {
    Arc::new(RuleSet::load(&rules()).expect("the shipped rules"))
}

fn limits() -> Limits {
    Limits { state_bytes: 64 << 20, lateness: Duration::from_secs(300) }
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
    let chain: Arc<ChainId> = Arc::new("main/auth/0/0".parse().expect("a chain"));
    let signer = Signer::from_seed("bench.example/seal", [7; 32]).expect("a key");
    println!("stages, one thread:");
    let decoder = decoder();
    let decoded: Vec<Decoded> =
        stage("decode and validate", n, || records.iter().map(|record| decoder.decode(&chain, record)).collect());
    let rules = ruleset();
    let mut detector = Detector::new(rules.clone(), limits());
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
        builders.into_iter().map(|builder| seal(builder, &chain, &signer)).collect()
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

fn seal(builder: SegmentBuilder, chain: &ChainId, signer: &Signer) -> Bytes {
    let draft = builder.finish().expect("a whole segment");
    let first = draft.offsets.from == 0;
    let manifest = Manifest {
        format: FORMAT.into(),
        origin: "bench.example".into(),
        chain: chain.clone(),
        sequence: u64::from(!first),
        previous: (!first).then(|| Digest::of(b"before")),
        start: first.then(|| Start { reason: StartReason::New, detail: String::new(), previous: None }),
        kind: SegmentKind::Data,
        offsets: draft.offsets,
        counts: draft.counts,
        root: draft.root,
        body: draft.body(),
        schema: segment::schema_digest(),
        times: Times { sealed: NOW, ..draft.times },
        next_by: NOW + 1,
        broker: Broker::default(),
        artifacts: Artifacts::default(),
        writer: Writer { version: "bench".into(), instance: "bench".into() },
        retention: Retention::NONE,
        index: None,
    };
    segment::seal(draft, manifest, signer).expect("a draft that reads back").bytes
}

fn pipeline(records: &[RawRecord]) {
    const PARTITIONS: usize = 4;
    let cluster = Cluster::new();
    cluster.topic("auth", PARTITIONS as i32);
    cluster.batch_size(2_000);
    let partition = |n: usize| TopicPartition::new("auth", (n % PARTITIONS) as i32);
    for (n, record) in records.iter().enumerate() {
        cluster.produce(&partition(n), record.clone());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (cpu, began) = (cpu_seconds(), Instant::now());
    runtime.block_on(async {
        let source = cluster.join();
        let signer = Arc::new(Signer::from_seed("bench.example/seal", [7; 32]).expect("a key"));
        let parts = Parts {
            source: Box::new(source.clone()),
            store: Arc::new(DirStore::new(dir.path())),
            publisher: Arc::new(MemoryPublisher::new()),
            verifiers: Arc::new(Verifiers::of(&signer)),
            signer,
            clock: Arc::new(|| jiff::Timestamp::now().as_millisecond()),
        };
        let status = Arc::new(Status::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(ingest::run(parts, options(), status.clone(), async {
            let _ = stopped.await;
        }));
        cluster.assign(&source, &(0..PARTITIONS).map(partition).collect::<Vec<_>>());
        let left = |status: &Status| status.lanes().values().map(|lane| lane.next).sum::<i64>() < records.len() as i64;
        while left(&status) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send(()).expect("it still runs");
        let summary = running.await.expect("no panic").expect("no error");
        assert!(summary.sealed && summary.stopped.is_empty(), "{summary:?}");
    });
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let n = records.len() as f64;
    println!("the whole write path, {PARTITIONS} partitions, without Kafka:");
    println!(
        "  {:.0} records a second, {:.2} µs of CPU a record ({:.1} s wall, {cpu:.1} s CPU)",
        n / wall,
        cpu / n * 1e6,
        wall
    );
}

fn options() -> Options {
    let topic = Topic { decoder: Arc::new(decoder()), gaps_expected: false, begin: Begin::LogStart };
    Options {
        origin: "bench.example".into(),
        cluster: "main".into(),
        instance: "bench".into(),
        topics: [("auth".to_string(), topic)].into_iter().collect(),
        rules: ruleset(),
        limits: limits(),
        live: Live::default(),
        seal: SealOptions { max_records: SEGMENT, ..SealOptions::default() },
        retention: RetentionPolicy { mode: LockMode::None, period: Duration::ZERO },
        alerts: true,
        dead_letters: true,
        replay_records: 0,
        state: None,
        outbox: 20_000,
        shutdown_deadline: Duration::from_secs(60),
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |place: usize| after.split_whitespace().nth(place).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
