//! Findings: their ids, and the records that they name.

use super::{
    feed::Behind,
    sight::Marks,
    subject::{Owned, OwnedWhat},
    window::Run,
};
use crate::{
    digest::hex,
    position::{ChainId, Position},
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What separates this use of SHA-256 from all others.
const DOMAIN: &[u8] = b"authseal/finding@1\0";

/// The id of a finding: rule id, colon, 128 bits of SHA-256 in hexadecimal. `key` is what [`push_value`] made.
///
/// The hash is over: the domain, the rule id, the number of values of the key (4 bytes big-endian) and the values, and
/// either 0x01 and the bucket (8 bytes big-endian) or 0x00 and the position's text. Each text is preceded by its length
/// in 4 bytes big-endian, so no two different inputs have the same bytes.
pub(super) fn uid(rule: &str, values: usize, key: &[u8], bucket: Option<i64>, position: &Position) -> String {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    update_text(&mut hash, rule.as_bytes());
    hash.update((values as u32).to_be_bytes());
    hash.update(key);
    match bucket {
        Some(bucket) => {
            hash.update([1]);
            hash.update(bucket.to_be_bytes());
        }
        None => {
            hash.update([0]);
            update_text(&mut hash, position.to_string().as_bytes());
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    format!("{rule}:{}", hex(&digest[..16]))
}

fn update_text(hash: &mut Sha256, text: &[u8]) {
    hash.update((text.len() as u32).to_be_bytes());
    hash.update(text);
}

/// Appends a value to the canonical bytes of a key: its length in 4 bytes big-endian, and its text.
pub(super) fn push_value(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u32).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// The values in the canonical bytes of a key.
pub(super) fn values(mut key: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<4>() {
        let Some((text, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        found.push(std::str::from_utf8(text).unwrap_or_default());
        key = rest;
    }
    found
}

/// A record that a judgement waits with: it must not be let go before.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    /// The record. Its bytes are accounted for once, however many judgements wait with it: by its partition.
    pub record: Arc<Owned>,
    /// Index of its chain in the detector.
    pub chain: u32,
}

impl Deferred {
    /// A record of the chain of this index.
    pub fn new(record: Arc<Owned>, chain: u32) -> Self {
        Self { record, chain }
    }
}

/// How many positions of contributing events an alert names, from the first and from the last.
pub(super) const SAMPLE: usize = 16;

/// The records that made a finding.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// How many.
    pub count: u64,
    /// Microseconds since 1970: first and last.
    pub times: Option<(i64, i64)>,
    /// Some of them, by time: the first ones and the last ones.
    pub sample: Vec<(i64, Position)>,
    /// Lowest and highest offset of each chain.
    pub reach: Vec<(Arc<ChainId>, i64, i64)>,
}

impl Evidence {
    /// Of one record.
    pub fn of(record: &Owned) -> Self {
        Self {
            count: 1,
            times: Some((record.time, record.time)),
            sample: vec![(record.time, record.chain.at(record.offset))],
            reach: match &record.what {
                OwnedWhat::Finding(found) => found.reach.to_vec(),
                _ => vec![(record.chain.clone(), record.offset, record.offset)],
            },
        }
    }

    /// With the records that markers remembered and functions asked for: without them it would not be a finding.
    pub fn with_marks(mut self, marks: &Marks) -> Self {
        for (_, seen) in marks.asked().filter_map(|sighting| sighting.seen.as_ref()) {
            match &seen.reach {
                Some(behind) => behind.iter().for_each(|(chain, low, high)| self.add(chain, *low, *high)),
                None => self.add(&seen.chain, seen.offset, seen.offset),
            }
        }
        self
    }

    /// With the records behind the findings that a window counted.
    pub fn with_behind(mut self, behind: Option<&Behind>) -> Self {
        for (chain, low, high) in behind.into_iter().flat_map(Behind::reach) {
            self.add(chain, *low, *high);
        }
        self
    }

    fn add(&mut self, chain: &Arc<ChainId>, from: i64, to: i64) {
        match self.reach.iter_mut().find(|(known, ..)| known == chain) {
            Some((_, low, high)) => (*low, *high) = ((*low).min(from), (*high).max(to)),
            None => self.reach.push((chain.clone(), from, to)),
        }
    }

    /// Of a run of events.
    pub fn of_run(run: Run<'_>, chain: impl Fn(u32) -> Option<Arc<ChainId>>) -> Self {
        let count = run.iter().len();
        let mut reach: Vec<(u32, i64, i64)> = Vec::new();
        for entry in run.iter() {
            match reach.iter_mut().find(|(chain, ..)| *chain == entry.chain) {
                Some((_, low, high)) => (*low, *high) = ((*low).min(entry.offset), (*high).max(entry.offset)),
                None => reach.push((entry.chain, entry.offset, entry.offset)),
            }
        }
        let shown = run.iter().enumerate().filter(|(at, _)| *at < SAMPLE || *at + SAMPLE >= count);
        let sample = shown.filter_map(|(_, entry)| Some((entry.time, chain(entry.chain)?.at(entry.offset)))).collect();
        let times = run.iter().next().zip(run.iter().next_back()).map(|(first, last)| (first.time, last.time));
        let reach = reach.into_iter().filter_map(|(at, low, high)| Some((chain(at)?, low, high))).collect();
        Self { count: count as u64, times, sample, reach }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Vec<u8> {
        let mut key = Vec::new();
        values.iter().for_each(|value| push_value(&mut key, value));
        key
    }

    #[test]
    fn ids_are_as_documented() {
        let position: Position = "main/auth/0/0@7".parse().unwrap();
        // docs/rules.md shows this id, and how to compute it
        let id = uid("AUTH-0001", 2, &key(&["acme", "203.0.113.7"]), Some(490_896), &position);
        assert_eq!(id, "AUTH-0001:249daf834264d0a22a31d13cacf59d3b");
        let id = uid("AUTH-0001", 2, &key(&["acme", "203.0.113.7"]), None, &position);
        assert_eq!(id, "AUTH-0001:0c87083153495c4381d26edd43343e43");
    }

    #[test]
    fn keys_are_unambiguous_and_read_back() {
        let position: Position = "main/auth/0/0@7".parse().unwrap();
        let of = |values: &[&str]| uid("R", values.len(), &key(values), Some(1), &position);
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["", "a"]), of(&["a", ""]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(values(&key(&["acme", "", "ü|x"])), ["acme", "", "ü|x"]);
    }
}
