//! What the benches of single stages share: the demo's events as records, a decoder, chains of sealed segments, a store
//! that holds them, and what nobody can do without, to compare with.

#![allow(dead_code)] // each bench takes a part of it

pub mod write_path;

use authseal::{
    avro::Cursor,
    chain::Head,
    decode::{Decoder, Format, TopicSpec},
    demo::{rules, traffic},
    detect::{Limits, RuleSet},
    digest::Digest,
    layout,
    manifest::*,
    merkle,
    note::Signer,
    position::ChainId,
    record::{Decoded, RawRecord, TimestampType},
    retention::Retention,
    segment::{self, Codec, Draft, SegmentBuilder},
    store::{Store, memory::MemoryStore},
    store_info::StoreInfo,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Milliseconds since 1970: a moment after all events.
pub const NOW: i64 = 1_767_225_600_000;
/// Of everything that is sealed.
pub const ORIGIN: &str = "bench.example";
/// Leaves of a segment: well under the 64 MiB of the format.
pub const SEGMENT: usize = 50_000;

/// The demo's events as bare Avro: one format, so that the stages compare. The same in each run.
pub fn records(events: usize) -> Vec<RawRecord> {
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

/// For values in this format.
pub fn decoder_of(format: Format) -> Decoder {
    let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
    Decoder::new(spec, &[1; 32]).expect("a format that can be read")
}

/// For bare Avro by the canonical schema.
pub fn decoder() -> Decoder {
    decoder_of(Format::Avro { schema: None })
}

/// The rules that are shipped.
pub fn ruleset() -> Arc<RuleSet> {
    Arc::new(RuleSet::load(&rules()).expect("the shipped rules"))
}

/// As in the example configuration.
pub fn limits() -> Limits {
    Limits { state_bytes: 64 << 20, lateness: Duration::from_secs(300) }
}

/// The chain of a partition.
pub fn chain(partition: usize) -> Arc<ChainId> {
    Arc::new(format!("main/auth/{partition}/0").parse().expect("a chain"))
}

/// What seals.
pub fn signer() -> Signer {
    Signer::from_seed(&format!("{ORIGIN}/seal"), [7; 32]).expect("a key")
}

/// Encoded, hashed and compressed: a segment that is not signed.
pub fn draft(records: &[RawRecord], decoded: &[Decoded], codec: Codec) -> Draft {
    let mut builder = SegmentBuilder::new(records[0].offset, codec, 1);
    for (record, decoded) in records.iter().zip(decoded) {
        builder.push_record(record, decoded).expect("consecutive offsets");
    }
    builder.finish().expect("a whole segment")
}

/// What is said of a draft that follows `head`.
pub fn manifest(draft: &Draft, chain: &ChainId, head: Option<&Head>) -> Manifest {
    let sequence = head.map_or(0, |head| head.sequence + 1);
    let start = Start { reason: StartReason::New, detail: String::new(), previous: None };
    Manifest {
        format: FORMAT.into(),
        origin: ORIGIN.into(),
        chain: chain.clone(),
        sequence,
        previous: head.map(|head| head.hash),
        start: head.is_none().then_some(start),
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
    }
}

/// A chain of these records in segments of so many: key and bytes of each object.
pub fn sealed(records: &[RawRecord], chain: &Arc<ChainId>, segment: usize) -> Vec<(String, Bytes)> {
    let (decoder, signer) = (decoder(), signer());
    let (mut head, mut objects): (Option<Head>, Vec<(String, Bytes)>) = (None, Vec::new());
    for records in records.chunks(segment) {
        let decoded: Vec<Decoded> = records.iter().map(|record| decoder.decode(chain, record)).collect();
        let draft = draft(records, &decoded, Codec::Zstandard);
        let manifest = manifest(&draft, chain, head.as_ref());
        let key = layout::segment_key(chain, manifest.sequence);
        let sealed = segment::seal(draft, manifest, &signer).expect("a draft that reads back");
        head = Some(Head::of_sealed(&sealed));
        objects.push((key, sealed.bytes));
    }
    objects
}

/// A store in memory that holds these objects: no disk and no network is measured.
pub async fn store(objects: &[(String, Bytes)]) -> MemoryStore {
    let store = MemoryStore::new();
    let info = StoreInfo::new(ORIGIN, NOW).line().expect("an origin");
    store.create(layout::STORE_JSON, info.into(), &Retention::NONE).await.expect("memory");
    for (key, bytes) in objects {
        store.create(key, bytes.clone(), &Retention::NONE).await.expect("memory");
    }
    store
}

/// The least that a check of an object can do: hash the body as it was signed, decompress it, hash every record and the
/// tree above them. Where records begin is not looked for: they are taken as equally long, which hashes as much.
pub fn floor(object: &[u8]) {
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

/// User and system time of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |place: usize| after.split_whitespace().nth(place).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// CPU time (user and system) that this thread has had, in nanoseconds.
pub fn cpu_nanos() -> u64 {
    // the kernel brings the account up to date when the thread gives way, and at ticks of 4 ms
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds")
}
