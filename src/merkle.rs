//! RFC 6962 Merkle trees: the root of leaves as they come, proofs of inclusion and of consistency, and their
//! verification.

use crate::digest::Digest;

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// A tree that grows leaf by leaf and keeps one hash for each complete subtree at its right edge: O(log n) memory.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Roots of complete subtrees, largest first; their sizes are the bits of `len`.
    peaks: Vec<Digest>,
    len: u64,
}

impl Tree {
    /// How many leaves.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a leaf by its hash ([`Digest::leaf`]).
    #[inline]
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        // a carry in the binary counter joins two subtrees of the same size
        for _ in 0..self.len.trailing_ones() {
            match self.peaks.pop() {
                Some(left) => node = Digest::node(&left, &node),
                None => break,
            }
        }
        self.peaks.push(node);
        self.len += 1;
    }

    /// The root over the leaves so far.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(&last) => peaks.fold(last, |right, left| Digest::node(left, &right)),
        }
    }
}

/// The root over the hashes of leaves.
pub fn root(leaves: &[Digest]) -> Digest {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// Where a tree of `n` > 1 leaves splits: the largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() >> 1
}

/// A whole tree, level by level, for many proofs over the same leaves.
#[derive(Debug, Clone)]
pub struct Levels {
    /// Leaves first, the root last; a node without a sibling stands on the next level as it is.
    levels: Vec<Vec<Digest>>,
}

impl Levels {
    /// The tree over the hashes of leaves.
    pub fn of(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let join = |pair: &[Digest]| match pair {
                [left, right] => Digest::node(left, right),
                one => one.first().copied().unwrap_or_else(empty_root),
            };
            levels.push(below.chunks(2).map(join).collect());
        }
        Self { levels }
    }

    /// How many leaves.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The siblings from the leaf at `index` up to the root: `PATH(m, D[n])`. `None` when there is no such leaf.
    pub fn inclusion_proof(&self, index: usize) -> Option<Vec<Digest>> {
        let siblings = self.levels.iter().enumerate().filter_map(|(height, level)| level.get((index >> height) ^ 1));
        (index < self.len()).then(|| siblings.copied().collect())
    }
}

/// One proof of inclusion: see [`Levels::inclusion_proof`].
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    Levels::of(leaves.to_vec()).inclusion_proof(index)
}

/// The root that `leaf` at `index` of `size` leaves has under `proof`; `None` when the proof has another length than it
/// must have.
pub fn root_of_inclusion(index: u64, size: u64, leaf: Digest, proof: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut node) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            node = Digest::node(sibling, &node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = Digest::node(&node, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(node)
}

/// Whether `proof` shows that `leaf` is at `index` in the tree of `size` leaves with `root`.
pub fn verify_inclusion(index: u64, size: u64, leaf: Digest, proof: &[Digest], root: &Digest) -> bool {
    root_of_inclusion(index, size, leaf, proof).as_ref() == Some(root)
}

/// What shows that the first `old` leaves are the tree that was: `PROOF(m, D[n])`. `None` unless 0 < `old` ≤ leaves.
pub fn consistency_proof(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let (mut proof, mut rest, mut at, mut whole) = (Vec::new(), leaves, old, true);
    while at != rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if at <= left.len() {
            proof.push(root(right));
            rest = left;
        } else {
            proof.push(root(left));
            at -= left.len();
            rest = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root(rest));
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that the tree of `old` leaves with `old_root` is the beginning of the tree of `new` leaves
/// with `new_root`.
pub fn verify_consistency(old: u64, new: u64, old_root: &Digest, new_root: &Digest, proof: &[Digest]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let (first, rest) = match proof {
        _ if old.is_power_of_two() => (old_root, proof),
        [first, rest @ ..] => (first, rest),
        [] => return false,
    };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut was, mut is) = (*first, *first);
    for node in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            was = Digest::node(node, &was);
            is = Digest::node(node, &is);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            is = Digest::node(&is, node);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && was == *old_root && is == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The eight leaves of the vectors in transparency-dev/merkle.
    fn vectors() -> Vec<Digest> {
        let hex = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let bytes = |h: &str| (0..h.len() / 2).map(|i| u8::from_str_radix(&h[2 * i..2 * i + 2], 16).unwrap()).collect();
        hex.iter().map(|h| Digest::leaf(&Vec::<u8>::clone(&bytes(h)))).collect()
    }

    /// The definition in RFC 6962 §2.1, word for word.
    fn defined(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [one] => *one,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                Digest::node(&defined(&leaves[..k]), &defined(&leaves[k..]))
            }
        }
    }

    #[test]
    fn roots_match_the_published_vectors() {
        let leaves = vectors();
        assert_eq!(root(&[]).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(root(&leaves).hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
        let three = root(&leaves[..3]).hex();
        assert!(three.starts_with("aeb6bcfe") && three.ends_with("29e06e77"), "{three}");
        // the golden log of transparency-dev/tessera
        let words = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten";
        let words: Vec<_> = words.split(' ').map(|w| Digest::leaf(w.as_bytes())).collect();
        assert_eq!(root(&words).base64(), "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=");
    }

    #[test]
    fn proofs_match_the_published_vectors() {
        let leaves = vectors();
        let base64 = |proof: Option<Vec<Digest>>| proof.unwrap().iter().map(Digest::base64).collect::<Vec<_>>();
        assert_eq!(
            base64(inclusion_proof(&leaves, 5)),
            [
                "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
                "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
                "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc="
            ]
        );
        assert_eq!(
            base64(consistency_proof(&leaves, 3)),
            [
                "ApjRIpBtz8EIkstTpzmS/FufST6kybrbJ7eRtBJ6f+c=",
                "B1Bqhf2d0vEg62lPhgEeW7RmLlxBWmKRcDPUqWJEh+c=",
                "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=",
                "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ="
            ]
        );
    }

    #[test]
    fn every_proof_up_to_65_leaves_verifies_and_no_other_place_or_size_does() {
        let leaves: Vec<_> = (0..65_u8).map(|n| Digest::leaf(&[n])).collect();
        for size in 0..=leaves.len() {
            let (tree, n) = (&leaves[..size], size as u64);
            let root = root(tree);
            assert_eq!(root, defined(tree));
            for (index, leaf) in tree.iter().enumerate() {
                let proof = inclusion_proof(tree, index).unwrap();
                let check = |index, size, proof: &[Digest]| verify_inclusion(index, size, *leaf, proof, &root);
                assert!(check(index as u64, n, &proof));
                assert!(!check(index as u64 ^ 1, n, &proof) && !check(n, n, &proof));
                let longer: Vec<_> = proof.iter().chain([&root]).copied().collect();
                assert!(!check(index as u64, n, &longer));
                assert!(proof.is_empty() || !check(index as u64, n, &proof[1..]));
            }
            assert_eq!(inclusion_proof(tree, size), None);
            for old in 1..=size {
                let was = defined(&tree[..old]);
                let proof = consistency_proof(tree, old).unwrap();
                let check = |old, proof: &[Digest]| verify_consistency(old, n, &was, &root, proof);
                assert!(check(old as u64, &proof), "{old} of {size}");
                assert!(!check(0, &proof) && !check(n + 1, &proof));
                let longer: Vec<_> = proof.iter().chain([&root]).copied().collect();
                assert!(!check(old as u64, &longer));
                assert!(proof.is_empty() || !check(old as u64, &proof[1..]));
            }
            assert_eq!((consistency_proof(tree, 0), consistency_proof(tree, size + 1)), (None, None));
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_proves_nothing(
            size in 2_usize..40, index: prop::sample::Index, at: prop::sample::Index, bit in 0..256_usize,
        ) {
            let leaves: Vec<_> = (0..size).map(|n| Digest::leaf(&n.to_be_bytes())).collect();
            let (index, root) = (index.index(size), root(&leaves));
            let mut proof = inclusion_proof(&leaves, index).unwrap();
            let at = at.index(proof.len());
            proof[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify_inclusion(index as u64, size as u64, leaves[index], &proof, &root));
        }
    }
}
