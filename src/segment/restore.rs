//! Finds the record in which one bit was changed, although the manifest has one root and no hash of a single leaf: if
//! one bit
//! is all that changed, some leaf with one bit turned back has the signed root. The search is bounded.

use crate::{
    digest::Digest,
    merkle::{Levels, root_of_inclusion},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// How many blocks of SHA-256 are tried at most: a few seconds.
const BUDGET: u64 = 60_000_000;

/// A leaf with one changed bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Its place among the leaves.
    pub leaf: usize,
    /// Which byte of it.
    pub byte: usize,
    /// Which bit of the byte, as a mask.
    pub mask: u8,
}

/// The bit that has to be turned so that the leaves have this root. `None`: none does, or the search would take too
/// long.
pub fn changed_bit(leaves: &[Bytes], root: &Digest) -> Option<Changed> {
    let height = u64::from(usize::BITS - leaves.len().leading_zeros());
    let tries = |leaf: &Bytes| 8 * leaf.len() as u64 * (leaf.len() as u64 / 128 + 2 + 2 * height);
    if leaves.iter().map(tries).try_fold(0_u64, |sum, n| sum.checked_add(n)).is_none_or(|n| n > BUDGET) {
        return None;
    }
    let levels = Levels::of(leaves.iter().map(|leaf| Digest::leaf(leaf)).collect());
    leaves.iter().enumerate().find_map(|(leaf, bytes)| {
        let proof = levels.inclusion_proof(leaf)?;
        let (byte, mask) = in_leaf(bytes, leaf as u64, leaves.len() as u64, &proof, root)?;
        Some(Changed { leaf, byte, mask })
    })
}

fn in_leaf(bytes: &[u8], index: u64, size: u64, proof: &[Digest], root: &Digest) -> Option<(usize, u8)> {
    // the hash of what stands before the byte is computed once
    let mut before = Sha256::new_with_prefix([0]);
    for (place, byte) in bytes.iter().enumerate() {
        for mask in (0..8).map(|bit| 1 << bit) {
            let mut hash = before.clone();
            hash.update([byte ^ mask]);
            hash.update(bytes.get(place + 1..).unwrap_or_default());
            let leaf = Digest(hash.finalize().into());
            if root_of_inclusion(index, size, leaf, proof).as_ref() == Some(root) {
                return Some((place, mask));
            }
        }
        before.update([*byte]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle;

    #[test]
    fn a_turned_bit_is_found_wherever_it_is() {
        let good: Vec<Vec<u8>> = (0..7_u8).map(|n| vec![n; 3 + usize::from(n)]).collect();
        let hashes: Vec<_> = good.iter().map(|leaf| Digest::leaf(leaf)).collect();
        let root = merkle::root(&hashes);
        for leaf in 0..good.len() {
            for byte in 0..good[leaf].len() {
                for mask in [1, 0x40, 0x80] {
                    let mut bad = good.clone();
                    bad[leaf][byte] ^= mask;
                    let bad: Vec<Bytes> = bad.into_iter().map(Bytes::from).collect();
                    assert_eq!(changed_bit(&bad, &root), Some(Changed { leaf, byte, mask }));
                }
            }
        }
        let mut two: Vec<Bytes> = good.into_iter().map(Bytes::from).collect();
        two[1] = Bytes::from_static(b"another");
        assert_eq!(changed_bit(&two, &root), None);
        assert_eq!(changed_bit(&[Bytes::from(vec![0; 1 << 20])], &root), None, "too long a search is not begun");
    }
}
