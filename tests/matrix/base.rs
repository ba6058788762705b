//! The store that is attacked: chains of every codec, a reset, a closed topic, rules, and a log, locked for ten years.

use crate::lab::*;
use authseal::{
    artifact,
    digest::Digest,
    layout,
    manifest::{Artifacts, Manifest, Start, StartReason, Writer},
    note::{Signer, Verifiers},
    record::GapCause,
    retention::{LockMode, Retention},
    segment::Codec,
    tlog::{Alive, Batch, Checkpoint, Edge, Header, batch},
};
use bytes::Bytes;
use std::collections::BTreeMap;

pub const A: &str = "main/auth/0/0";
pub const B: &str = "main/auth/1/0";
pub const C: &str = "main/auth/1/1";
pub const L: &str = "main/logins/0/0";
/// Ten years, in milliseconds.
pub const PERIOD: i64 = 3650 * 86_400_000;
pub const MINUTE: i64 = 60_000;

pub fn log_signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, [seed; 32]).unwrap()
}

/// The keys that every auditor of this store has.
pub fn keys() -> Verifiers {
    let lines = format!("{}\n{}\n", signer(ORIGIN, 1).verifier_key(), log_signer(5).verifier_key());
    Verifiers::parse(&lines).unwrap()
}

/// The store, and what an attacker knows of it.
pub struct Base {
    pub objects: Objects,
    pub locks: BTreeMap<String, Retention>,
    pub mode: LockMode,
    /// The entries of each batch.
    pub log: Vec<Vec<String>>,
    pub artifacts: Vec<String>,
}

/// The lock of what is sealed at `sealed`.
pub fn lock(mode: LockMode, sealed: i64) -> Retention {
    match mode {
        LockMode::None => Retention::NONE,
        mode => Retention { mode, until: Some((sealed + PERIOD + 999) / 1000 * 1000) },
    }
}

pub fn alive(time: i64) -> String {
    let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
    Alive::new(ORIGIN, writer, time, &BTreeMap::new()).line().unwrap()
}

/// A log of these batches: the batches themselves, tiles, bundles and the checkpoint.
pub fn log_objects(batches: &[Vec<String>], signer: &Signer) -> Objects {
    let mut objects = Objects::new();
    let (mut edge, mut full, mut previous) = (Edge::default(), Vec::new(), None);
    for (number, lines) in (0..).zip(batches) {
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
        let note = Batch::seal(&header, lines, signer).unwrap();
        previous = Some(Batch::open(note.as_bytes(), &Verifiers::of(signer), ORIGIN).unwrap().hash);
        objects.insert(layout::batch_key(number), note.into());
    }
    full.extend(edge.partials());
    objects.extend(full.into_iter().map(|(tile, bytes)| (layout::tile_key(&tile), bytes)));
    let checkpoint = checkpoint(edge.size(), edge.root(), signer);
    objects.insert(layout::CHECKPOINT.into(), checkpoint.into());
    objects
}

pub fn checkpoint(size: u64, root: Digest, signer: &Signer) -> String {
    Checkpoint { origin: ORIGIN.into(), size, root }.sign(signer).unwrap()
}

/// | chain | segments | offsets |
/// |---|---|---|
/// | main/auth/0/0 | 0 1 2 heartbeat 4 5 | 0 10 20 30 30 40 50, uncompressed |
/// | main/auth/1/0 | 0 1 | 0 10 20 |
/// | main/auth/1/1 | 0 1 2 | 0 14 24 34 |
/// | main/logins/0/0 | 0 1 close | 0 10 20 20 |
///
/// | batch | entries |
/// |---|---|
/// | 0 | the first two of main/auth/0/0 |
/// | 1 | its third, and that an instance lives |
/// | 2 | that an instance lives |
/// | 3 | the rest of main/auth |
/// | 4 | main/logins |
/// | 5 | that an instance lives, five minutes before the audit |
pub fn base(mode: LockMode) -> Base {
    let mut objects = Objects::new();
    let file = |path: &str| artifact::File { path: path.into(), bytes: path.as_bytes().to_vec() };
    let (rules, rule_bytes) = artifact::bundle(vec![file("brute_force.rhai"), file("lists/offices.txt")]);
    let (decode, decode_bytes) = artifact::bundle(vec![file("auth_event.avsc")]);
    let named = Artifacts { rules: Some(rules), decode: Some(decode) };
    let new = |text: &str, codec, partitions| Sealer {
        partitions: Some(partitions),
        artifacts: named,
        ..Sealer::new(text, codec)
    };
    let seal = |sealer: &mut Sealer, parts: &[Part]| {
        for part in parts {
            sealer.seal_edited(*part, |m| m.retention = lock(mode, m.times.sealed));
        }
    };
    let ten = Part::Records(10);
    let mut first = new(A, Codec::Null, 2);
    seal(&mut first, &[ten, ten, ten, Part::Heartbeat, ten, ten]);
    let mut before = new(B, Codec::Zstandard, 2);
    seal(&mut before, &[ten, ten]);
    let mut after = new(C, Codec::Deflate, 2);
    let last = before.out.last().unwrap().hash;
    after.start = Some(Start { reason: StartReason::Reset, detail: "topic re-created".into(), previous: Some(last) });
    seal(&mut after, &[Part::Gap(5, GapCause::BeforeChain, 4), Part::Gap(4, GapCause::NotDelivered, 2), ten]);
    let mut closed = new(L, Codec::Snappy, 1);
    seal(&mut closed, &[ten, ten, Part::Close]);
    [&first, &before, &after, &closed].iter().for_each(|sealer| sealer.put(&mut objects));

    let lines = |text: &str, range: std::ops::Range<u64>| -> Vec<String> {
        range.map(|n| Parts::of(&objects[&key(text, n)]).manifest_line().to_owned()).collect()
    };
    let log = vec![
        lines(A, 0..2),
        [lines(A, 2..3), vec![alive(BEGAN + 5 * MINUTE)]].concat(),
        vec![alive(BEGAN + 20 * MINUTE)],
        [lines(A, 3..6), lines(B, 0..2), lines(C, 0..3)].concat(),
        lines(L, 0..3),
        vec![alive(NOW - 5 * MINUTE)],
    ];
    let mut locks = BTreeMap::new();
    for (key, bytes) in &objects {
        let manifest: Manifest = serde_json::from_str(Parts::of(bytes).manifest_line()).unwrap();
        locks.insert(key.clone(), manifest.retention);
    }
    objects.extend(log_objects(&log, &log_signer(5)));
    for number in 0..log.len() as u64 {
        locks.insert(layout::batch_key(number), lock(mode, NOW));
    }
    objects.insert(layout::STORE_JSON.into(), store_json(ORIGIN));
    let artifacts = vec![layout::artifact_key(&rules), layout::artifact_key(&decode)];
    for (name, bytes) in artifacts.iter().zip([rule_bytes, decode_bytes]) {
        objects.insert(name.clone(), bytes.into());
        locks.insert(name.clone(), lock(mode, NOW + 2 * 86_400_000));
    }
    Base { objects, locks, mode, log, artifacts }
}

impl Base {
    pub fn lock_of(&self, key: &str) -> Retention {
        self.locks.get(key).copied().unwrap_or(Retention::NONE)
    }

    pub fn batches(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn batch(&self, number: u64) -> Batch {
        Batch::open(&self.objects[&layout::batch_key(number)], &keys(), ORIGIN).unwrap()
    }

    /// Keys of tiles and bundles.
    pub fn tiles(&self) -> Vec<String> {
        self.objects.keys().filter(|key| key.starts_with(layout::TILES)).cloned().collect()
    }

    /// Everything that is written once, and locked.
    pub fn evidence(&self) -> Vec<String> {
        self.locks.keys().cloned().collect()
    }

    /// A chain up to segment `next` without it, ready to be gone on with by a holder of the key.
    pub fn sealer(&self, text: &str, next: u64) -> Sealer {
        let mut sealer = Sealer::new(text, Codec::Null);
        sealer.partitions = Some(2);
        if let Some(last) = next.checked_sub(1) {
            let keys = Verifiers::of(&sealer.signer);
            let head = authseal::segment::open(&self.objects[&key(text, last)], &keys).unwrap();
            sealer.to = head.manifest.offsets.to;
            sealer.head = Some(authseal::chain::Head::of_opened(&head));
        }
        sealer
    }

    /// What a holder of the key seals as segment `next` of a chain.
    pub fn forged(&self, text: &str, next: u64, part: Part, edit: impl FnOnce(&mut Manifest)) -> Bytes {
        let mode = self.mode;
        let edit = |m: &mut Manifest| {
            m.retention = lock(mode, m.times.sealed);
            edit(m);
        };
        self.sealer(text, next).seal_edited(part, edit).bytes.clone()
    }
}
