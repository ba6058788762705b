//! Proofs from tiles: whoever can read the hashes of a log proves inclusion and consistency without its entries.
//! The proofs are those of RFC 6962 §2.1; [`crate::merkle`] verifies them.

use crate::{digest::Digest, merkle};

/// Gives the hash at an index of a level of tiles: the root of 256^level entries. `None` where it cannot be had.
pub trait Hashes {
    /// The hash at `index` of tile level `level`.
    fn hash(&self, level: u8, index: u64) -> Option<Digest>;
}

impl<F: Fn(u8, u64) -> Option<Digest>> Hashes for F {
    fn hash(&self, level: u8, index: u64) -> Option<Digest> {
        self(level, index)
    }
}

/// The root over the first `size` entries.
pub fn root(hashes: &impl Hashes, size: u64) -> Option<Digest> {
    if size == 0 { Some(merkle::empty_root()) } else { range(hashes, 0, size) }
}

/// `PATH(index, D[size])`: the siblings from the leaf up to the root.
pub fn inclusion(hashes: &impl Hashes, index: u64, size: u64) -> Option<Vec<Digest>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to, mut proof) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(hashes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Some(proof)
}

/// `PROOF(old, D[size])`: that the first `old` entries are the log that was. `None` unless 0 < `old` ≤ `size`.
pub fn consistency(hashes: &impl Hashes, old: u64, size: u64) -> Option<Vec<Digest>> {
    if old == 0 || old > size {
        return None;
    }
    let (mut from, mut to, mut proof) = (0, size, Vec::new());
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(hashes, from, middle)?);
            from = middle;
        }
    }
    if from > 0 {
        proof.push(range(hashes, from, to)?);
    }
    proof.reverse();
    Some(proof)
}

/// Where a tree of `n` > 1 entries splits: the largest power of two below `n`.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// The root over entries `from` to `to`, which RFC 6962 makes a subtree: `from` is a multiple of every power of two
/// up to the largest in `to` − `from`.
fn range(hashes: &impl Hashes, from: u64, to: u64) -> Option<Digest> {
    let size = to - from;
    if size.is_power_of_two() {
        let (level, below) = (size.trailing_zeros() / 8, size.trailing_zeros() % 8);
        let unit = 1_u64 << (8 * level);
        let first = from / unit;
        let level = u8::try_from(level).ok()?;
        let nodes: Option<Vec<Digest>> = (first..first + (1 << below)).map(|at| hashes.hash(level, at)).collect();
        return nodes.map(|nodes| merkle::root(&nodes));
    }
    let middle = from + split(size);
    Some(Digest::node(&range(hashes, from, middle)?, &range(hashes, middle, to)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::{Tile, TileKind},
        tlog::{Edge, tiles},
    };
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The tiles of a log of `size` entries, as a client reads them.
    fn read(size: u64) -> impl Fn(u8, u64) -> Option<Digest> {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        (0..size).for_each(|n| edge.push(Bytes::from(n.to_be_bytes().to_vec()), &mut full));
        let all: BTreeMap<Tile, Bytes> = full.into_iter().chain(edge.partials()).collect();
        move |level, index| {
            let of = |tile: &&Tile| tile.kind == TileKind::Hashes(level) && tile.index == index / 256;
            let (_, bytes) = all.iter().find(|(tile, _)| of(tile))?;
            tiles::hashes(bytes)?.get((index % 256) as usize).copied()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn proofs_from_tiles_are_those_of_the_naive_tree(
            size in 1_u64..900, index: prop::sample::Index, old: prop::sample::Index,
        ) {
            let leaves: Vec<Digest> = (0..size).map(|n| Digest::leaf(&n.to_be_bytes())).collect();
            let hashes = read(size);
            let (index, old) = (index.index(size as usize), 1 + old.index(size as usize));
            prop_assert_eq!(root(&hashes, size), Some(merkle::root(&leaves)));
            prop_assert_eq!(root(&hashes, old as u64), Some(merkle::root(&leaves[..old])));
            let proof = inclusion(&hashes, index as u64, size);
            prop_assert_eq!(&proof, &merkle::inclusion_proof(&leaves, index));
            let good = merkle::verify_inclusion(
                index as u64, size, leaves[index], &proof.unwrap(), &merkle::root(&leaves));
            prop_assert!(good);
            let proof = consistency(&hashes, old as u64, size);
            prop_assert_eq!(&proof, &merkle::consistency_proof(&leaves, old));
            let (was, is) = (merkle::root(&leaves[..old]), merkle::root(&leaves));
            prop_assert!(merkle::verify_consistency(old as u64, size, &was, &is, &proof.unwrap()));
        }
    }

    #[test]
    fn large_logs_need_their_upper_levels_alone() {
        let hashes = read(70_000);
        let leaves: Vec<Digest> = (0..70_000_u64).map(|n| Digest::leaf(&n.to_be_bytes())).collect();
        assert_eq!(inclusion(&hashes, 65_535, 70_000), merkle::inclusion_proof(&leaves, 65_535));
        assert_eq!(consistency(&hashes, 65_536, 70_000), merkle::consistency_proof(&leaves, 65_536));
        let none = |_: u8, _: u64| None;
        assert_eq!((root(&none, 5), inclusion(&none, 0, 5), consistency(&hashes, 0, 5)), (None, None, None));
        assert_eq!((root(&none, 0), inclusion(&hashes, 5, 5)), (Some(merkle::empty_root()), None));
    }
}
