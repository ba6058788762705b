//! How much memory an audit and a backtest take: counted by the allocator, not asked of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;

use async_trait::async_trait;
use authseal::{
    audit::{self, VerifyOptions},
    backtest,
    detect::{Limits, RuleSet},
    error::Result,
    note::Verifiers,
    retention::Retention,
    segment::Codec,
    store::{Bucket, Change, Create, Entry, Store, Stored, Versions, memory::MemoryStore},
};
use bytes::Bytes;
use lab::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Counts what is held, and the most that was ever held.
struct Counting;

static HELD: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    MOST.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain numbers that never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives out copies, as a store does that is somewhere else: what the auditor holds is counted as its own.
struct Elsewhere(MemoryStore);

fn copied(stored: Option<Stored>) -> Option<Stored> {
    stored.map(|stored| Stored { bytes: Bytes::copy_from_slice(&stored.bytes), ..stored })
}

#[async_trait]
impl Store for Elsewhere {
    fn describe(&self) -> String {
        "elsewhere".into()
    }
    async fn create(&self, _: &str, _: Bytes, _: &Retention) -> Result<Create> {
        panic!("an audit never writes")
    }
    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>> {
        self.0.read_oldest(key).await.map(copied)
    }
    async fn read_newest(&self, key: &str) -> Result<Option<Stored>> {
        self.0.read_newest(key).await.map(copied)
    }
    async fn replace(&self, _: &str, _: Bytes) -> Result<()> {
        panic!("an audit never writes")
    }
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        self.0.list(prefix, after, limit).await
    }
    async fn clock(&self) -> Result<Option<i64>> {
        self.0.clock().await
    }
    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>> {
        self.0.read_version(key, version).await.map(copied)
    }
    async fn versions(&self, key: &str) -> Result<Versions> {
        self.0.versions(key).await
    }
    async fn retention_of(&self, key: &str, version: &str) -> Result<Option<Retention>> {
        self.0.retention_of(key, version).await
    }
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.0.folders(prefix).await
    }
    async fn delete_version(&self, _: &str, _: &str) -> Result<Change> {
        panic!("an audit never writes")
    }
    async fn set_retention(&self, _: &str, _: &str, _: &Retention) -> Result<Change> {
        panic!("an audit never writes")
    }
    async fn bucket(&self) -> Result<Option<Bucket>> {
        self.0.bucket().await
    }
}

/// A chain of so many segments of twenty records, and the size of one.
async fn chain_of(segments: usize) -> (MemoryStore, usize) {
    let store = MemoryStore::new();
    store.create("store.json", store_json(ORIGIN), &Retention::NONE).await.unwrap();
    let mut sealer = Sealer::new("main/long/0/0", Codec::Null);
    for sequence in 0..segments {
        let bytes = sealer.seal(Part::Records(20)).bytes.clone();
        store.create(&key("main/long/0/0", sequence as u64), bytes, &Retention::NONE).await.unwrap();
        // the chain is in the store now
        let last = sealer.out.pop().unwrap();
        sealer.out = vec![last];
    }
    let size = sealer.out[0].bytes.len();
    (store, size)
}

/// Peak bytes of an audit, beyond what was held before it.
async fn peak(store: &MemoryStore, segments: usize, records: i64) -> i64 {
    let options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW + 10_000_000_000) };
    let elsewhere = Arc::new(Elsewhere(store.clone()));
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let report = audit::verify(elsewhere, &Verifiers::of(&signer(ORIGIN, 1)), options).await.unwrap();
    let peak = MOST.load(Relaxed) - before;
    assert_eq!((report.exit_code(), report.totals.verified, report.totals.records), (0, segments as u64, records));
    peak
}

/// The same of a backtest without rules, whose state would be counted too.
async fn peak_of_backtest(store: &MemoryStore, records: u64) -> i64 {
    let limits = Limits { state_bytes: 1 << 20, lateness: Duration::from_secs(300) };
    let options = backtest::Options { limits, from: None, to: None, progress: Arc::default() };
    let keys = Some(Verifiers::of(&signer(ORIGIN, 1)));
    let (elsewhere, progress) = (Arc::new(Elsewhere(store.clone())), options.progress.clone());
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let feed = backtest::of_store(elsewhere, keys, (None, None), progress).await.unwrap();
    // the lanes ask the store on the runtime of this test, which must not wait for them
    let judged = tokio::task::spawn_blocking(move || backtest::run(feed, &Arc::new(RuleSet::empty()), &options));
    let report = judged.await.unwrap().unwrap();
    let peak = MOST.load(Relaxed) - before;
    assert_eq!(report.records, records);
    peak
}

/// The only test of this file: others would be counted too.
#[tokio::test]
async fn memory_does_not_grow_with_the_chain() {
    let (long, size) = chain_of(10_000).await;
    let (short, _) = chain_of(1_000).await;
    let (of_short, of_long) = (peak(&short, 1_000, 20_000).await, peak(&long, 10_000, 200_000).await);
    let all = 10_000 * size as i64;
    println!("{of_short} bytes for 1,000 segments, {of_long} for 10,000 of {size} bytes each ({all} together)");
    // a page of the listing is the greatest part of it
    assert!(of_long < of_short + of_short / 4 + 64 * 1024, "{of_short} bytes for 1,000, {of_long} for 10,000");
    assert!(of_long < 2 << 20, "{of_long} bytes");
    assert!(of_long * 10 < all, "{of_long} of {all} bytes");

    let (short, whole) = (peak_of_backtest(&short, 20_000).await, peak_of_backtest(&long, 200_000).await);
    println!("{short} bytes to judge 1,000 segments, {whole} for 10,000");
    // batches that wait to be judged are the greatest part; how many there are depends on who is faster, up to four
    assert!(short.max(whole) < 3 << 20, "{short} bytes for 1,000, {whole} for 10,000");
    assert!(whole * 10 < all, "{whole} of {all} bytes");

    // a block that would swell to 128 MiB, with the key: refused before it does
    let bomb = zstd::bulk::compress(&vec![0; 128 << 20], 3).unwrap();
    let mut parts = Parts::of(&long.read_oldest(&key("main/long/0/0", 0)).await.unwrap().unwrap().bytes);
    parts.codec = "zstandard".into();
    parts.body.clear();
    authseal::avro::put_long(&mut parts.body, 20);
    authseal::avro::put_bytes(&mut parts.body, &bomb);
    parts.body.extend_from_slice(&parts.sync);
    let sha256 = authseal::digest::Digest::of(&parts.body);
    let body = authseal::manifest::Body { bytes: parts.body.len() as i64, sha256 };
    let line = edited(parts.manifest_line(), |m| m.body = body);
    parts.note = signer(ORIGIN, 1).sign(&line).unwrap();
    long.replace(&key("main/long/0/0", 0), parts.assemble());
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW + 10_000_000_000) };
    let keys = Verifiers::of(&signer(ORIGIN, 1));
    let report = audit::verify(Arc::new(Elsewhere(long.clone())), &keys, options).await.unwrap();
    let peak = MOST.load(Relaxed) - before;
    assert_eq!(report.exit_code(), 10);
    assert!(peak < 16 << 20, "{peak} bytes for a block that swells");
}
