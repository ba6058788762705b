//! What a log and a witness say to each other (c2sp.org/tlog-witness, `add-checkpoint`): a checkpoint with the
//! proof that it goes on from the one that the witness has seen last, and the answer.

use super::proof;
use crate::{
    digest::Digest,
    layout::{Tile, TileKind},
};
use std::{cell::RefCell, collections::BTreeSet};

/// A proof has at most so many lines.
pub const MAX_PROOF: usize = 63;
/// An answer is at most this long.
pub const MAX_ANSWER: usize = 65_536;

/// The body of a request: the size that the witness has seen, the proof from there, the checkpoint.
pub fn request(old: u64, proof: &[Digest], note: &str) -> String {
    let lines: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
    format!("old {old}\n{lines}\n{note}")
}

/// What a witness answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200: the body is signature lines.
    Lines,
    /// 409: it has seen a log of this size.
    Seen(u64),
    /// 404: it does not know the log.
    UnknownLog,
    /// 403: no key that it knows of this log signed the checkpoint.
    UnknownKey,
    /// 422: the proof does not verify.
    NoProof,
    /// 409 without a size, or something that the protocol does not have.
    Odd,
    /// It may answer otherwise later: too many requests, a fault of its own.
    Later,
}

/// Reads status and body of an answer.
pub fn read(status: u16, body: &[u8]) -> Answer {
    match status {
        200 => Answer::Lines,
        403 => Answer::UnknownKey,
        404 => Answer::UnknownLog,
        409 => size(body).map_or(Answer::Odd, Answer::Seen),
        422 => Answer::NoProof,
        408 | 425 | 429 | 500..=599 => Answer::Later,
        _ => Answer::Odd,
    }
}

/// A size in decimal and a newline, nothing else.
fn size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let digits =
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok()).flatten()
}

/// The tiles whose hashes prove that a log of `size` entries goes on from one of `old`: those of that size, at the
/// edge the partial ones. None where nothing is to be proven.
pub fn tiles(old: u64, size: u64) -> BTreeSet<Tile> {
    let asked = RefCell::new(BTreeSet::new());
    let record = |level: u8, index: u64| {
        let hashes = size >> (8 * u32::from(level)).min(63);
        let width = hashes.saturating_sub(index / 256 * 256).min(256) as u16;
        asked.borrow_mut().insert(Tile { kind: TileKind::Hashes(level), index: index / 256, width });
        Some(Digest([0; 32]))
    };
    let _ = proof::consistency(&record, old, size);
    asked.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        merkle,
        tlog::{Edge, tiles as edge},
    };
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_request_has_the_form_of_the_specification() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(request(7, &[a, b], "log\n9\n"), format!("old 7\n{a}\n{b}\n\nlog\n9\n"));
        assert_eq!(request(0, &[], "log\n9\n"), "old 0\n\nlog\n9\n");
    }

    #[test]
    fn answers_are_told_apart() {
        for (status, body, answer) in [
            (200, "x", Answer::Lines),
            (403, "", Answer::UnknownKey),
            (404, "", Answer::UnknownLog),
            (409, "0\n", Answer::Seen(0)),
            (409, "20852014\n", Answer::Seen(20_852_014)),
            (409, "20852014", Answer::Odd),
            (409, "020\n", Answer::Odd),
            (409, "-1\n", Answer::Odd),
            (409, "99999999999999999999\n", Answer::Odd),
            (409, "", Answer::Odd),
            (422, "", Answer::NoProof),
            (429, "", Answer::Later),
            (503, "", Answer::Later),
            (302, "", Answer::Odd),
            (400, "", Answer::Odd),
        ] {
            assert_eq!(read(status, body.as_bytes()), answer, "{status} {body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn the_tiles_that_are_named_are_enough(size in 1_u64..1200, old: prop::sample::Index) {
            let old = 1 + old.index(size as usize) as u64;
            let (mut grown, mut full) = (Edge::default(), Vec::new());
            (0..size).for_each(|n| grown.push(Bytes::from(n.to_be_bytes().to_vec()), &mut full));
            let all: BTreeMap<Tile, Bytes> = full.into_iter().chain(grown.partials()).collect();
            let wanted = tiles(old, size);
            prop_assert!(wanted.iter().all(|tile| all.contains_key(tile)), "{wanted:?}");
            let read = |level, index: u64| {
                let tile = wanted.iter().find(|t| t.kind == TileKind::Hashes(level) && t.index == index / 256)?;
                edge::hashes(&all[tile])?.get((index % 256) as usize).copied()
            };
            let proof = proof::consistency(&read, old, size).unwrap();
            prop_assert!(proof.len() <= MAX_PROOF);
            let root = |n: u64| merkle::root(&(0..n).map(|n| Digest::leaf(&n.to_be_bytes())).collect::<Vec<_>>());
            prop_assert!(merkle::verify_consistency(old, size, &root(old), &root(size), &proof));
        }
    }
}
