//! How fast a store is verified, beside what nobody can do without: SHA-256 of every object and every record, and zstd,
//! over the same bytes in the same run.
//!
//! `cargo bench --bench verify [-- EVENTS]`. The store is in memory, so that no disk or network is measured. CPU is
//! user and system time of the process, so that neighbours on a shared machine do not count; events a second and core
//! are by CPU. Each figure is the best of three.

#![allow(clippy::expect_used)] // what fails here must end the run

use authseal::{
    audit::{self, VerifyOptions},
    avro::Cursor,
    chain::Head,
    decode::{Decoder, Format, TopicSpec},
    demo::traffic,
    digest::Digest,
    layout,
    manifest::*,
    merkle,
    note::{Signer, Verifiers},
    position::ChainId,
    record::{RawRecord, TimestampType},
    retention::Retention,
    segment::{self, Codec, SegmentBuilder},
    store::{Store, memory::MemoryStore},
    store_info::StoreInfo,
};
use bytes::Bytes;
use std::sync::Arc;

const NOW: i64 = 1_767_225_600_000;
const ORIGIN: &str = "bench.example";
/// Records of a segment, as the pipeline's bench has them.
const SEGMENT: usize = 50_000;

fn main() {
    // cargo passes --bench
    let events = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let signer = Signer::from_seed(&format!("{ORIGIN}/seal"), [7; 32]).expect("a key");
    let objects = seal(&records(events), &signer);
    let size: usize = objects.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "{events} events of the demo's traffic in {} segments of zstd level 1, {:.1} bytes an event\n",
        objects.len(),
        size as f64 / events as f64
    );
    let floor = best("SHA-256 and zstd alone", events, || objects.iter().for_each(|(_, bytes)| floor(bytes)));
    let keys = Verifiers::of(&signer);
    let opened = best("open every segment", events, || {
        for (_, bytes) in &objects {
            segment::open(bytes, &keys).expect("what was just sealed");
        }
    });
    let whole = best("verify the store, one job", events, || verify(&objects, &keys, 1));
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let began = std::time::Instant::now();
    verify(&objects, &keys, cores);
    let wall = began.elapsed().as_secs_f64();
    println!("\nopening is {:.2}, verifying {:.2} times SHA-256 and zstd alone", opened / floor, whole / floor);
    println!("verify with {cores} jobs: {:.0} events a second by the clock on the wall", events as f64 / wall);
}

/// The demo's events as bare Avro.
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

/// One chain of them.
fn seal(records: &[RawRecord], signer: &Signer) -> Vec<(String, Bytes)> {
    let chain: Arc<ChainId> = Arc::new("main/auth/0/0".parse().expect("a chain"));
    let spec = TopicSpec {
        format: Format::Avro { schema: None },
        source: None,
        tenant: None,
        keep_event_only: false,
        secret_fields: Vec::new(),
    };
    let decoder = Decoder::new(spec, &[1; 32]).expect("the canonical schema");
    let (mut head, mut objects): (Option<Head>, Vec<(String, Bytes)>) = (None, Vec::new());
    for records in records.chunks(SEGMENT) {
        let mut builder = SegmentBuilder::new(records[0].offset, Codec::Zstandard, 1);
        for record in records {
            builder.push_record(record, &decoder.decode(&chain, record)).expect("consecutive offsets");
        }
        let draft = builder.finish().expect("a whole segment");
        let sequence = objects.len() as u64;
        let start = Start { reason: StartReason::New, detail: String::new(), previous: None };
        let manifest = Manifest {
            format: FORMAT.into(),
            origin: ORIGIN.into(),
            chain: (*chain).clone(),
            sequence,
            previous: head.as_ref().map(|head| head.hash),
            start: (sequence == 0).then_some(start),
            kind: SegmentKind::Data,
            offsets: draft.offsets,
            counts: draft.counts,
            root: draft.root,
            body: draft.body(),
            schema: segment::schema_digest(),
            times: Times { sealed: NOW + sequence as i64, ..draft.times },
            next_by: NOW * 2,
            broker: Broker::default(),
            artifacts: Artifacts::default(),
            writer: Writer { version: "bench".into(), instance: "bench".into() },
            retention: Retention::NONE,
            index: None,
        };
        let sealed = segment::seal(draft, manifest, signer).expect("a draft that reads back");
        head = Some(Head::of_sealed(&sealed));
        objects.push((layout::segment_key(&chain, sequence), sealed.bytes));
    }
    objects
}

fn verify(objects: &[(String, Bytes)], keys: &Verifiers, jobs: usize) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let report = runtime.block_on(async {
        let store = MemoryStore::new();
        let info = StoreInfo::new(ORIGIN, NOW).line().expect("an origin");
        store.create(layout::STORE_JSON, info.into(), &Retention::NONE).await.expect("memory");
        for (key, bytes) in objects {
            store.create(key, bytes.clone(), &Retention::NONE).await.expect("memory");
        }
        let options = VerifyOptions { jobs, ..VerifyOptions::new(NOW + 1_000_000) };
        audit::verify(Arc::new(store), keys, options).await.expect("a report")
    });
    assert_eq!((report.exit_code(), report.totals.segments), (0, objects.len() as u64), "{report}");
}

/// The least that a check can do: hash the body as it was signed, decompress it, hash every record and the tree above
/// them. Where records begin is not looked for: they are taken as equally long, which hashes as much.
fn floor(object: &[u8]) {
    let mut cursor = Cursor::strict(object);
    let read = (|| {
        cursor.take(4).ok()?;
        cursor.long().ok()?;
        for _ in 0..6 {
            cursor.bytes().ok()?;
        }
        cursor.long().ok()?;
        cursor.take(16).ok()
    })();
    read.expect("a header");
    let mut digests = vec![Digest::of(cursor.rest())];
    while !cursor.rest().is_empty() {
        let block = (|| Some((cursor.long().ok()?, cursor.bytes().ok()?, cursor.take(16).ok()?)))();
        let (count, block, _) = block.expect("a block");
        let data = zstd::bulk::decompress(block, 64 << 20).expect("one frame");
        digests.extend(data.chunks(data.len().div_ceil(count as usize)).map(Digest::leaf));
    }
    std::hint::black_box(merkle::root(&digests));
}

/// Runs it three times; seconds of CPU that the best took.
fn best(name: &str, events: usize, run: impl Fn()) -> f64 {
    let one = || {
        let began = cpu_seconds();
        run();
        cpu_seconds() - began
    };
    let best = (0..3).map(|_| one()).fold(f64::INFINITY, f64::min);
    let (each, rate) = (best * 1e9 / events as f64, events as f64 / best);
    println!("  {name:28} {each:6.0} ns of CPU an event, {rate:10.0} events a second and core");
    best
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |place: usize| after.split_whitespace().nth(place).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
