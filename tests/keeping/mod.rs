//! A store in memory with one chain and its log, and the hands of those who make entries in it: for the tests of keys,
//! holds and disposals.
#![allow(dead_code)] // each test file uses its own part

use super::lab::{BEGAN, ORIGIN, Part, Sealer, store_json};
use authseal::{
    error::Result,
    health::Health,
    layout,
    log::{Desk, Logger, Options, Parts, Queue},
    manifest::Writer,
    note::{Signer, Verifiers},
    position::ChainId,
    retention::{LockMode, Retention, RetentionPolicy},
    segment::Codec,
    store::{Create, Store, memory::MemoryStore},
    tlog::{Batch, Checkpoint, Edge, Header, batch},
};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

pub const DAY: i64 = 86_400_000;

pub fn chain() -> ChainId {
    "main/auth/0/0".parse().unwrap()
}

pub fn seal_key(seed: u8) -> Signer {
    Signer::from_seed(&format!("{ORIGIN}/seal"), [seed; 32]).unwrap()
}

pub fn log_key(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, [seed; 32]).unwrap()
}

pub struct World {
    pub store: MemoryStore,
    pub chain: Sealer,
    /// How its segments are locked.
    pub retention: Option<(LockMode, i64)>,
    pub log_key: u8,
    /// Keys of log and seals that are configured beside those in use.
    pub trusted: Vec<Signer>,
    pub clock: Arc<AtomicI64>,
    queue: Queue,
    minute: i64,
}

impl World {
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let mut chain = Sealer::new("main/auth/0/0", Codec::Null);
        chain.signer = seal_key(1);
        Self {
            store,
            chain,
            retention: None,
            log_key: 5,
            trusted: vec![seal_key(1), seal_key(2)],
            clock: Arc::new(AtomicI64::new(BEGAN)),
            queue: Queue::default(),
            minute: 0,
        }
    }

    /// The same world, and what becomes of it from here on is another's business.
    pub fn fork(&self) -> Self {
        let mut chain = Sealer::new("main/auth/0/0", Codec::Null);
        chain.signer = Signer::parse(&self.chain.signer.secret_text()).unwrap();
        (chain.head, chain.to, chain.out) = (self.chain.head.clone(), self.chain.to, self.chain.out.clone());
        let copy = |signer: &Signer| Signer::parse(&signer.secret_text()).unwrap();
        Self {
            store: self.store.fork(),
            chain,
            retention: self.retention,
            log_key: self.log_key,
            trusted: self.trusted.iter().map(copy).collect(),
            clock: Arc::new(AtomicI64::new(self.now())),
            queue: Queue::default(),
            minute: self.minute,
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub fn set_now(&self, now: i64) {
        self.clock.store(now, Ordering::Relaxed);
        self.store.set_clock(Some(now));
    }

    pub fn parts(&self) -> Parts {
        let clock = self.clock.clone();
        let mut keys = Verifiers::of(&log_key(self.log_key));
        let mut seal_keys = Verifiers::of(&self.chain.signer);
        for key in &self.trusted {
            let ours = if key.name() == ORIGIN { &mut keys } else { &mut seal_keys };
            ours.extend(&Verifiers::of(key)).unwrap();
        }
        Parts {
            store: Arc::new(self.store.clone()),
            signer: Arc::new(log_key(self.log_key)),
            keys: Arc::new(keys),
            seal_keys: Arc::new(seal_keys),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            publisher: None,
            health: Health::new(Duration::from_secs(60)),
            queue: self.queue.clone(),
        }
    }

    pub fn options(&self) -> Options {
        let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
        Options::new(ORIGIN, writer, self.policy())
    }

    /// How the log is locked: as the segments are.
    fn policy(&self) -> RetentionPolicy {
        let (mode, period) = self.retention.unwrap_or((LockMode::None, 0));
        RetentionPolicy { mode, period: Duration::from_millis(period as u64) }
    }

    pub async fn desk(&self) -> Desk {
        self.try_desk().await.unwrap()
    }

    pub async fn try_desk(&self) -> Result<Desk> {
        Desk::open(self.parts(), self.options()).await
    }

    /// Seals so many segments of ten records; the clock stands a minute behind the newest.
    pub async fn seal(&mut self, count: usize) {
        if self.chain.out.is_empty() {
            put(&self.store, layout::STORE_JSON, store_json(ORIGIN), &Retention::NONE).await;
        }
        for _ in 0..count {
            let lock = self.retention;
            let sealed = self.chain.seal_edited(Part::Records(10), |manifest| {
                if let Some((mode, period)) = lock {
                    manifest.retention = Retention { mode, until: Some(manifest.times.sealed + period) };
                }
            });
            let key = layout::segment_key(&sealed.manifest.chain, sealed.manifest.sequence);
            put(&self.store, &key, sealed.bytes.clone(), &sealed.manifest.retention).await;
            self.queue.sealed(&sealed.manifest);
            let now = sealed.manifest.times.sealed + 1;
            self.set_now(now.max(self.now()));
        }
    }

    /// One turn of the log.
    pub async fn turn(&self) -> Result<()> {
        Logger::new(self.parts(), self.options()).turn().await.map(drop)
    }

    pub async fn log(&self) {
        self.turn().await.unwrap();
        assert!(self.queue.is_empty());
    }

    pub async fn seal_and_log(&mut self, count: usize) {
        self.seal(count).await;
        self.log().await;
    }

    /// A chain of two segments by another writer, logged.
    pub async fn also_sealed_by(&mut self, signer: &Signer, chain: &str) {
        let mut other = Sealer::new(chain, Codec::Null);
        other.signer = Signer::parse(&signer.secret_text()).unwrap();
        other.seal(Part::Records(5));
        other.seal(Part::Heartbeat);
        for sealed in &other.out {
            let key = layout::segment_key(&sealed.manifest.chain, sealed.manifest.sequence);
            put(&self.store, &key, sealed.bytes.clone(), &Retention::NONE).await;
            self.queue.sealed(&sealed.manifest);
        }
        self.trusted.push(Signer::parse(&signer.secret_text()).unwrap());
        self.log().await;
    }

    /// Appends entries as somebody does who has the log's key and leaves out every check; tiles and checkpoint follow.
    pub async fn append_raw(&self, lines: &[String]) {
        let (mut edge, mut full, mut previous, mut number) = (Edge::default(), Vec::new(), None, 0);
        let keys = {
            let mut keys = Verifiers::of(&log_key(5));
            keys.extend(&Verifiers::of(&log_key(6))).unwrap();
            keys
        };
        while let Some(stored) = self.store.read_oldest(&layout::batch_key(number)).await.unwrap() {
            let batch = Batch::open(&stored.bytes, &keys, ORIGIN).unwrap();
            batch.lines.iter().for_each(|line| edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full));
            (previous, number) = (Some(batch.hash), number + 1);
        }
        let first = edge.size();
        lines.iter().for_each(|line| edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full));
        let header = Header {
            format: batch::FORMAT.into(),
            origin: ORIGIN.into(),
            batch: number,
            previous,
            first,
            count: lines.len() as u64,
            size: edge.size(),
            root: edge.root(),
        };
        let signer = log_key(self.log_key);
        let note = Batch::seal(&header, lines, &signer).unwrap();
        put(&self.store, &layout::batch_key(number), note.into(), &self.policy().at(self.now())).await;
        for (tile, bytes) in full.into_iter().chain(edge.partials()) {
            let _ = self.store.create(&layout::tile_key(&tile), bytes, &Retention::NONE).await.unwrap();
        }
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: edge.size(), root: edge.root() };
        let note = checkpoint.sign(&signer).unwrap();
        Store::replace(&self.store, layout::CHECKPOINT, note.into()).await.unwrap();
    }
}

async fn put(store: &MemoryStore, key: &str, bytes: Bytes, retention: &Retention) {
    assert_eq!(store.create(key, bytes, retention).await.unwrap(), Create::Created, "{key}");
}

/// The object with another note of the same manifest: what whoever has a key makes of it.
pub fn resign(object: &[u8], note: &str) -> Vec<u8> {
    let text = note.split("\n\n").next().unwrap();
    let at = object.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let old = object[at..].windows(1).enumerate().filter(|(_, byte)| byte == b"\n").nth(2).unwrap().0 + 1;
    // both are as long: keys have the same name
    assert_eq!(old, note.len());
    [&object[..at], note.as_bytes(), &object[at + old..]].concat()
}
