//! Stores of random shape in which nobody did any harm.

use super::base::{Base, MINUTE, alive, lock, log_objects, log_signer};
use crate::lab::*;
use authseal::{
    artifact, layout,
    manifest::{Artifacts, Start, StartReason},
    record::GapCause,
    retention::{LockMode, Retention},
    segment::Codec,
};
use std::collections::BTreeMap;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// The retention policy of the moment: it may change whenever somebody restarts an instance.
struct Policy {
    mode: LockMode,
    days: i64,
}

impl Policy {
    fn new(random: &mut Random) -> Self {
        let mode = [LockMode::Compliance, LockMode::Governance, LockMode::None][random.below(3) as usize];
        Self { mode, days: [1, 30, 400, 3650][random.below(4) as usize] }
    }

    fn at(&self, time: i64) -> Retention {
        match lock(self.mode, time) {
            Retention::NONE => Retention::NONE,
            lock => Retention { until: Some((time + self.days * 86_400_000 + 999) / 1000 * 1000), ..lock },
        }
    }
}

/// A store with up to eight chains and a log, sealed in the order of time under policies that change.
pub fn store(random: &mut Random) -> Base {
    let mut objects = Objects::new();
    let mut locks: BTreeMap<String, Retention> = BTreeMap::new();
    let (name, bytes) = artifact::bundle(vec![artifact::File { path: "a.rhai".into(), bytes: vec![1] }]);
    let name_key = layout::artifact_key(&name);
    let (mut sealers, mut waiting) = (Vec::new(), Vec::new());
    for topic in 0..=random.below(2) {
        for partition in 0..=random.below(3) {
            let codec = [Codec::Null, Codec::Zstandard, Codec::Deflate, Codec::Snappy][random.below(4) as usize];
            let mut sealer = Sealer::new(&format!("main/t{topic}/{partition}/0"), codec);
            sealer.artifacts = Artifacts { rules: (random.below(2) == 0).then_some(name), decode: None };
            sealers.push((sealer, false));
        }
    }
    let mut policy = Policy::new(random);
    let mut time = BEGAN;
    let mut log: Vec<(Vec<String>, Retention)> = Vec::new();
    let mut artifact_lock = None;
    let turns = random.below(30) + sealers.len() as u64;
    for turn in 0..turns {
        time += 1 + random.below(3 * MINUTE as u64) as i64 / 2;
        if random.below(12) == 0 {
            policy = Policy::new(random);
        }
        let chosen = if turn < sealers.len() as u64 { turn } else { random.below(sealers.len() as u64) };
        let (sealer, closed) = &mut sealers[chosen as usize];
        if *closed {
            // the topic is back: another incarnation
            let mut chain = sealer.chain.clone();
            chain.incarnation += 1;
            let mut next = Sealer::new(&chain.to_string(), sealer.codec);
            let previous = sealer.head.as_ref().map(|head| head.hash);
            next.start = Some(Start { reason: StartReason::Reset, detail: "re-created".into(), previous });
            (*sealer, *closed) = (next, false);
        }
        let benign = [GapCause::NotDelivered, GapCause::BeforeChain][random.below(2) as usize];
        let part = match random.below(8) {
            0 => Part::Heartbeat,
            1 => Part::Gap(random.below(3) as i64, benign, 1 + random.below(50) as i64),
            2 if sealer.head.is_some() && random.below(3) == 0 => Part::Close,
            n => Part::Records(n as i64),
        };
        *closed = matches!(part, Part::Close);
        let retention = policy.at(time);
        let sealed = sealer.seal_edited(part, |m| {
            m.times.sealed = time;
            m.next_by = time + 7_200_000;
            m.retention = retention;
        });
        let key = layout::segment_key(&sealed.manifest.chain, sealed.manifest.sequence);
        // a longer lock than was promised is no fault
        let longer = retention.until.map(|until| until + 1000 * random.below(2) as i64);
        locks.insert(key.clone(), Retention { until: longer, ..retention });
        objects.insert(key, sealed.bytes.clone());
        if sealed.manifest.artifacts.rules.is_some() {
            let lasts = policy.at(time + 2 * 86_400_000);
            artifact_lock = Some(lasts.longer(artifact_lock.unwrap_or(Retention::NONE)));
        }
        waiting.push((Parts::of(&sealed.bytes).manifest_line().to_owned(), retention));
        if random.below(3) > 0 {
            let (mut lines, lock) = batch(&mut waiting, policy.at(time));
            if random.below(2) == 0 {
                lines.push(alive(time / MINUTE * MINUTE));
            }
            log.push((lines, lock));
        } else if random.below(3) == 0 {
            log.push((vec![alive(time / MINUTE * MINUTE)], policy.at(time)));
        }
    }
    if !waiting.is_empty() {
        log.push(batch(&mut waiting, policy.at(time)));
    }
    let entries: Vec<Vec<String>> = log.iter().map(|(lines, _)| lines.clone()).collect();
    objects.extend(log_objects(&entries, &log_signer(5)));
    for (number, (_, lock)) in (0..).zip(&log) {
        locks.insert(layout::batch_key(number), *lock);
    }
    if let Some(lock) = artifact_lock {
        objects.insert(name_key.clone(), bytes.into());
        locks.insert(name_key, lock);
    }
    objects.insert(layout::STORE_JSON.into(), store_json(ORIGIN));
    Base { objects, locks, mode: policy.mode, log: entries, artifacts: Vec::new() }
}

/// What waited, and the lock of the batch that takes it in: as long as that of anything in it.
fn batch(waiting: &mut Vec<(String, Retention)>, lock: Retention) -> (Vec<String>, Retention) {
    let lock = waiting.iter().fold(lock, |lock, (_, promised)| lock.longer(*promised));
    (waiting.drain(..).map(|(line, _)| line).collect(), lock)
}
