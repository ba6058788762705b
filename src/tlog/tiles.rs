//! The tree as tiles: each holds up to 256 hashes of one level, an entry bundle up to 256 entries
//! (c2sp.org/tlog-tiles). [`Edge`] is what a growing log must remember: the incomplete tile of each level.

use crate::{
    digest::Digest,
    layout::{Tile, TileKind},
    merkle,
};
use bytes::Bytes;

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: usize = 256;
/// A bundle has two bytes for the length of an entry.
pub const MAX_ENTRY: usize = 65_535;

/// The right edge of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Of each level, the hashes of its last tile while that is not full.
    levels: Vec<Vec<Digest>>,
    /// The entries of the last bundle while that is not full.
    entries: Vec<Bytes>,
}

impl Edge {
    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry of at most [`MAX_ENTRY`] bytes; what is full now goes to `full`.
    pub fn push(&mut self, entry: Bytes, full: &mut Vec<(Tile, Bytes)>) {
        let mut hash = Digest::leaf(&entry);
        self.entries.push(entry);
        if self.entries.len() == WIDTH {
            full.push((Tile::full(TileKind::Entries, self.size / 256), bundle(&self.entries)));
            self.entries.clear();
        }
        let mut index = self.size;
        for level in 0.. {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else { break };
            hashes.push(hash);
            if hashes.len() < WIDTH {
                break;
            }
            index /= 256;
            full.push((Tile::full(TileKind::Hashes(level), index), concat(hashes)));
            hash = merkle::root(hashes);
            hashes.clear();
        }
        self.size += 1;
    }

    /// The root over all entries. A level's hashes are complete subtrees of one size, so that with what is left below
    /// as the last of them they make a tree of their own: RFC 6962 splits at the same places.
    pub fn root(&self) -> Digest {
        let mut below = None;
        for hashes in &self.levels {
            let level: Vec<Digest> = hashes.iter().copied().chain(below).collect();
            if !level.is_empty() {
                below = Some(merkle::root(&level));
            }
        }
        below.unwrap_or_else(merkle::empty_root)
    }

    /// The tiles and the bundle at the edge that are not full, none of them empty.
    pub fn partials(&self) -> Vec<(Tile, Bytes)> {
        at_edge(self.size)
            .into_iter()
            .map(|tile| match tile.kind {
                TileKind::Entries => (tile, bundle(&self.entries)),
                TileKind::Hashes(level) => (tile, concat(self.levels.get(usize::from(level)).map_or(&[], |l| &l[..]))),
            })
            .collect()
    }

    /// The edge of a log of `size` entries from its partial tiles ([`at_edge`]). What was read may be anything: compare
    /// the [`Edge::root`] with one that is signed.
    pub fn restore(size: u64, read: &[(Tile, Bytes)]) -> Result<Self, &'static str> {
        let mut edge = Self { size, ..Self::default() };
        for tile in at_edge(size) {
            let found = read.iter().find(|(other, _)| *other == tile);
            let (_, bytes) = found.ok_or("a tile at the edge is missing")?;
            let width = usize::from(tile.width);
            match tile.kind {
                TileKind::Entries => {
                    let entries = unbundle(bytes).filter(|entries| entries.len() == width);
                    edge.entries = entries.ok_or("the bundle at the edge is not of its form")?;
                }
                TileKind::Hashes(level) => {
                    let hashes = hashes(bytes).filter(|hashes| hashes.len() == width);
                    edge.levels.resize_with(usize::from(level) + 1, Vec::new);
                    if let Some(last) = edge.levels.last_mut() {
                        *last = hashes.ok_or("a tile at the edge is not of its form")?;
                    }
                }
            }
        }
        let leaves = edge.levels.first().map_or(&[][..], |l| l);
        match edge.entries.iter().map(|entry| Digest::leaf(entry)).eq(leaves.iter().copied()) {
            true => Ok(edge),
            false => Err("the bundle at the edge holds other entries than its tile"),
        }
    }
}

/// The partial tiles and the partial bundle of a tree of `size` entries, the bundle first.
pub fn at_edge(size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut of = |kind, hashes: u64| {
        let width = (hashes % 256) as u16;
        if width > 0 {
            tiles.push(Tile { kind, index: hashes / 256, width });
        }
    };
    of(TileKind::Entries, size);
    let (mut level, mut hashes) = (0, size);
    while hashes > 0 {
        of(TileKind::Hashes(level), hashes);
        (level, hashes) = (level + 1, hashes / 256);
    }
    tiles
}

fn concat(hashes: &[Digest]) -> Bytes {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` if its length is none of a tile.
pub fn hashes(tile: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = tile.as_chunks::<32>();
    let fits = rest.is_empty() && (1..=WIDTH).contains(&hashes.len());
    fits.then(|| hashes.iter().copied().map(Digest).collect())
}

/// For each entry its length in two bytes, big-endian, and its bytes.
pub fn bundle(entries: &[Bytes]) -> Bytes {
    let mut out = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 2).sum());
    for entry in entries {
        out.extend_from_slice(&u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(entry);
    }
    out.into()
}

/// The entries of a bundle; `None` if it is not whole, is empty or has too many.
pub fn unbundle(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
        let end = at + 2 + usize::from(length);
        if end > bytes.len() || entries.len() == WIDTH {
            return None;
        }
        entries.push(bytes.slice(at + 2..end));
        at = end;
    }
    (!entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tile_key;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn grown(size: u64) -> (Edge, BTreeMap<Tile, Bytes>) {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for n in 0..size {
            edge.push(Bytes::from(n.to_string()), &mut full);
        }
        (edge, full.into_iter().collect())
    }

    /// testdata/log of transparency-dev/tessera: fifteen entries, its tile and its bundle.
    #[test]
    fn the_golden_log_is_derived_byte_for_byte() {
        let words = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten";
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for word in words.split(' ') {
            edge.push(Bytes::from_static(word.as_bytes()), &mut full);
        }
        assert!(full.is_empty());
        assert_eq!(edge.root().base64(), "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=");
        let told: Vec<_> = edge.partials().iter().map(|(t, b)| (tile_key(t), Digest::of(b).hex())).collect();
        let entries = "9ac6a9fc9012f2b4d67ac26041933c119e1505defc5c808ed614c5778c9f1716";
        let tile = "93593af14d2cce39867d2e73fe4ca400a38581605c5c4501a03e752d9b51a130";
        assert_eq!(
            told,
            [
                ("log/tile/entries/000.p/15".to_owned(), entries.to_owned()),
                ("log/tile/0/000.p/15".to_owned(), tile.to_owned())
            ]
        );
    }

    /// The example of c2sp.org/tlog-tiles: a tree of 70,000 entries.
    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let (edge, full) = grown(70_000);
        let count = |kind| full.keys().filter(|tile| tile.kind == kind).count();
        assert_eq!((count(TileKind::Hashes(0)), count(TileKind::Hashes(1)), count(TileKind::Entries)), (273, 1, 273));
        let partial: Vec<_> = edge.partials().iter().map(|(tile, _)| tile_key(tile)).collect();
        let keys = ["entries/273.p/112", "0/273.p/112", "1/001.p/17", "2/000.p/1"];
        assert_eq!(partial, keys.map(|key| format!("log/tile/{key}")));
        let leaves: Vec<_> = (0..70_000).map(|n: u64| Digest::leaf(n.to_string().as_bytes())).collect();
        assert_eq!(edge.root(), merkle::root(&leaves));
    }

    #[test]
    fn bundles_read_back_and_broken_ones_do_not() {
        let entries = vec![Bytes::from_static(b"a"), Bytes::new(), Bytes::from(vec![b'x'; MAX_ENTRY])];
        let whole = bundle(&entries);
        assert_eq!(&whole[..5], b"\x00\x01a\x00\x00");
        assert_eq!(unbundle(&whole), Some(entries));
        for cut in [0, 1, 2, 4, whole.len() - 1] {
            let read = unbundle(&whole.slice(..cut));
            assert!(read.is_none_or(|read| bundle(&read) == whole.slice(..cut)), "{cut}");
        }
        assert_eq!(unbundle(&Bytes::from(vec![0; 2 * 257])), None, "more than a bundle holds");
        assert_eq!((hashes(&[0; 31]), hashes(&[]), hashes(&[0; 257 * 32])), (None, None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Whatever the size: the naive root, and an edge that comes back from its tiles, or not at all.
        #[test]
        fn the_edge_is_the_naive_tree_and_comes_back(size in 0_u64..1200, bit in 0_usize..4096) {
            let (edge, _) = grown(size);
            let leaves: Vec<_> = (0..size).map(|n| Digest::leaf(n.to_string().as_bytes())).collect();
            prop_assert_eq!(edge.root(), merkle::root(&leaves));
            let mut tiles = edge.partials();
            prop_assert_eq!(Edge::restore(size, &tiles), Ok(edge.clone()));
            if let Some((_, bytes)) = tiles.last_mut() {
                let mut changed = bytes.to_vec();
                let at = bit % (changed.len() * 8);
                changed[at / 8] ^= 1 << (at % 8);
                *bytes = changed.into();
                let restored = Edge::restore(size, &tiles);
                prop_assert!(restored.is_err() || restored.is_ok_and(|other| other.root() != edge.root()));
                tiles.pop();
                prop_assert!(Edge::restore(size, &tiles).is_err());
            }
        }
    }
}
