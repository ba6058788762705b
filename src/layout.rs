//! Every key of the store, built and parsed here and nowhere else. The order of the keys of a chain is the order of its
//! sequences.

use crate::{
    digest::Digest,
    position::{ChainId, is_kafka_name},
};

/// `store.json`
pub const STORE_JSON: &str = "store.json";
/// What every key of a segment begins with.
pub const CHAINS: &str = "chains/";
/// What every key of an artifact begins with.
pub const ARTIFACTS: &str = "artifacts/";
/// What every key of the transparency log begins with. Behind it lies a log as c2sp.org/tlog-tiles has it.
pub const LOG: &str = "log/";
/// What every key of a batch begins with.
pub const BATCHES: &str = "log/batches/";
/// What every key of a tile or an entry bundle begins with.
pub const TILES: &str = "log/tile/";
/// The newest signed size and root of the log.
pub const CHECKPOINT: &str = "log/checkpoint";
/// What every checkpoint begins with that a quorum of witnesses has cosigned, and that was kept.
pub const WITNESSED: &str = "log/witnessed/";
/// What every checkpoint that was stamped begins with, and its stamp.
pub const STAMPS: &str = "log/stamps/";
/// Partitions are written with so many digits.
const PARTITION_DIGITS: usize = 5;
/// Incarnations are written with so many digits.
const INCARNATION_DIGITS: usize = 4;
/// Sequences are written with so many digits.
const SEQUENCE_DIGITS: usize = 12;
/// The largest sequence that has a key.
pub const MAX_SEQUENCE: u64 = 999_999_999_999;

/// `chains/<cluster>/<topic>/<partition>/<incarnation>/<sequence>.avro`
pub fn segment_key(chain: &ChainId, sequence: u64) -> String {
    format!("{}{sequence:0width$}.avro", chain_prefix(chain), width = SEQUENCE_DIGITS)
}

/// `chains/<cluster>/<topic>/<partition>/<incarnation>/`
pub fn chain_prefix(chain: &ChainId) -> String {
    let ChainId { cluster, topic, partition, incarnation } = chain;
    format!("{CHAINS}{cluster}/{topic}/{partition:0PARTITION_DIGITS$}/{incarnation:0INCARNATION_DIGITS$}/")
}

/// The chain of a prefix as [`chain_prefix`] writes it; `None` for anything else.
pub fn parse_chain_prefix(prefix: &str) -> Option<ChainId> {
    let parts: Vec<&str> = prefix.strip_prefix(CHAINS)?.strip_suffix('/')?.split('/').collect();
    let [cluster, topic, partition, incarnation] = parts[..] else { return None };
    if !is_kafka_name(cluster) || !is_kafka_name(topic) {
        return None;
    }
    Some(ChainId {
        cluster: cluster.into(),
        topic: topic.into(),
        partition: digits(partition, PARTITION_DIGITS)?.try_into().ok()?,
        incarnation: digits(incarnation, INCARNATION_DIGITS)?.try_into().ok()?,
    })
}

/// Chain and sequence of a segment's key; `None` for any other key.
pub fn parse_segment_key(key: &str) -> Option<(ChainId, u64)> {
    let slash = key.rfind('/')?;
    let (prefix, name) = key.split_at(slash + 1);
    let sequence = digits(name.strip_suffix(".avro")?, SEQUENCE_DIGITS)?;
    Some((parse_chain_prefix(prefix)?, sequence))
}

/// `artifacts/<sha256 hex>`
pub fn artifact_key(digest: &Digest) -> String {
    format!("{ARTIFACTS}{}", digest.hex())
}

/// The digest in an artifact's key; `None` for any other key.
pub fn parse_artifact_key(key: &str) -> Option<Digest> {
    Digest::from_hex(key.strip_prefix(ARTIFACTS)?)
}

/// `log/batches/<number>`
pub fn batch_key(number: u64) -> String {
    format!("{BATCHES}{number:0SEQUENCE_DIGITS$}")
}

/// The number in a batch's key; `None` for any other key.
pub fn parse_batch_key(key: &str) -> Option<u64> {
    digits(key.strip_prefix(BATCHES)?, SEQUENCE_DIGITS)
}

/// `log/witnessed/<size>`
pub fn witnessed_key(size: u64) -> String {
    format!("{WITNESSED}{size:0SEQUENCE_DIGITS$}")
}

/// The size in the key of a witnessed checkpoint; `None` for any other key.
pub fn parse_witnessed_key(key: &str) -> Option<u64> {
    digits(key.strip_prefix(WITNESSED)?, SEQUENCE_DIGITS)
}

/// `log/stamps/<size>.checkpoint`: what was stamped.
pub fn stamped_key(size: u64) -> String {
    format!("{STAMPS}{size:0SEQUENCE_DIGITS$}.checkpoint")
}

/// `log/stamps/<size>.tsr`: the stamp, as the authority answered.
pub fn stamp_key(size: u64) -> String {
    format!("{STAMPS}{size:0SEQUENCE_DIGITS$}.tsr")
}

/// The size in a key below `log/stamps/`, and whether it is the stamp; `None` for any other key.
pub fn parse_stamp_key(key: &str) -> Option<(u64, bool)> {
    let (size, kind) = key.strip_prefix(STAMPS)?.split_once('.')?;
    let is_stamp = match kind {
        "tsr" => true,
        "checkpoint" => false,
        _ => return None,
    };
    Some((digits(size, SEQUENCE_DIGITS)?, is_stamp))
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of a level: each the root of 256^level entries.
    Hashes(u8),
    /// Entries: a bundle.
    Entries,
}

/// A tile or bundle of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// Its index among those of its kind.
    pub index: u64,
    /// How many hashes or entries: 1 to 255 of a partial one, 256 of a full one.
    pub width: u16,
}

impl Tile {
    /// A full one.
    pub fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: 256 }
    }
}

/// `log/tile/<level or entries>/<index>`, and `.p/<width>` behind it where it is partial. The index stands in groups of
/// three digits, all but the last behind an x (c2sp.org/tlog-tiles).
pub fn tile_key(tile: &Tile) -> String {
    let kind = match tile.kind {
        TileKind::Hashes(level) => level.to_string(),
        TileKind::Entries => "entries".into(),
    };
    let mut index = format!("{:03}", tile.index % 1000);
    let mut rest = tile.index / 1000;
    while rest > 0 {
        index = format!("x{:03}/{index}", rest % 1000);
        rest /= 1000;
    }
    match tile.width {
        256 => format!("{TILES}{kind}/{index}"),
        width => format!("{TILES}{kind}/{index}.p/{width}"),
    }
}

/// The tile of a key as [`tile_key`] writes it; `None` for any other key.
pub fn parse_tile_key(key: &str) -> Option<Tile> {
    let (kind, rest) = key.strip_prefix(TILES)?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|level| *level < 8)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| (1..256).contains(width))?),
        None => (rest, 256),
    };
    let groups = index.split('/').map(|group| digits(group.strip_prefix('x').unwrap_or(group), 3));
    let index = groups.into_iter().try_fold(0_u64, |sum, group| sum.checked_mul(1000)?.checked_add(group?))?;
    let tile = Tile { kind, index, width };
    // whatever has another spelling is another key
    (tile_key(&tile) == key).then_some(tile)
}

/// Exactly `count` decimal digits.
fn digits(text: &str, count: usize) -> Option<u64> {
    (text.len() == count && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let chain: ChainId = "main/auth.events/7/2".parse().unwrap();
        let key = segment_key(&chain, 41);
        assert_eq!(key, "chains/main/auth.events/00007/0002/000000000041.avro");
        assert_eq!(parse_segment_key(&key), Some((chain.clone(), 41)));
        assert_eq!(parse_chain_prefix(&chain_prefix(&chain)), Some(chain.clone()));
        assert_eq!(parse_segment_key(&segment_key(&chain, MAX_SEQUENCE)), Some((chain, MAX_SEQUENCE)));
        let digest = Digest::of(b"x");
        assert_eq!(parse_artifact_key(&artifact_key(&digest)), Some(digest));
    }

    #[test]
    fn other_spellings_of_a_key_are_no_key() {
        for bad in [
            "",
            "store.json",
            "chains/main/a/00007/0002/00000000041.avro",
            "chains/main/a/00007/0002/0000000000041.avro",
            "chains/main/a/00007/0002/00000000004x.avro",
            "chains/main/a/00007/0002/+00000000041.avro",
            "chains/main/a/00007/0002/000000000041.AVRO",
            "chains/main/a/7/0002/000000000041.avro",
            "chains/main/a/00007/2/000000000041.avro",
            "chains/main/../00007/0002/000000000041.avro",
            "chains/main/a b/00007/0002/000000000041.avro",
            "chains/main/a/b/00007/0002/000000000041.avro",
            "/chains/main/a/00007/0002/000000000041.avro",
            "chains/main//00007/0002/000000000041.avro",
            "chains/main/a/00007/0002/000000000041.avro/",
        ] {
            assert_eq!(parse_segment_key(bad), None, "{bad}");
        }
        assert_eq!(parse_artifact_key(&format!("artifacts/{}", Digest::of(b"x").hex().to_uppercase())), None);
    }

    #[test]
    fn keys_of_the_log_read_back() {
        assert_eq!(batch_key(41), "log/batches/000000000041");
        assert_eq!(parse_batch_key("log/batches/000000000041"), Some(41));
        for bad in ["log/batches/41", "log/batches/0000000000041", "log/batches/00000000004x", "log/checkpoint"] {
            assert_eq!(parse_batch_key(bad), None, "{bad}");
        }
        assert_eq!(parse_witnessed_key(&witnessed_key(41)), Some(41));
        assert_eq!(witnessed_key(41), "log/witnessed/000000000041");
        assert_eq!((stamp_key(41), stamped_key(7)).0, "log/stamps/000000000041.tsr");
        assert_eq!(parse_stamp_key(&stamp_key(41)), Some((41, true)));
        assert_eq!(parse_stamp_key(&stamped_key(41)), Some((41, false)));
        for bad in ["log/stamps/41.tsr", "log/stamps/000000000041", "log/stamps/000000000041.tsr.x", "log/witnessed/41"]
        {
            assert_eq!((parse_stamp_key(bad), parse_witnessed_key(bad)), (None, None), "{bad}");
        }
        let hashes = |level, index, width| Tile { kind: TileKind::Hashes(level), index, width };
        for (tile, key) in [
            (hashes(0, 0, 15), "log/tile/0/000.p/15"),
            (hashes(0, 0, 256), "log/tile/0/000"),
            (hashes(1, 1_234_067, 256), "log/tile/1/x001/x234/067"),
            (hashes(0, 1_234_067, 8), "log/tile/0/x001/x234/067.p/8"),
            (Tile::full(TileKind::Entries, 1000), "log/tile/entries/x001/000"),
        ] {
            assert_eq!(tile_key(&tile), key);
            assert_eq!(parse_tile_key(key), Some(tile));
        }
        for bad in [
            "log/tile/00/000",
            "log/tile/8/000",
            "log/tile/-1/000",
            "log/tile/x/000",
            "log/tile/0/0",
            "log/tile/0/1234",
            "log/tile/0/001/067",
            "log/tile/0/x000/067",
            "log/tile/0/x001",
            "log/tile/0/000.p/0",
            "log/tile/0/000.p/256",
            "log/tile/0/000.p/08",
            "log/tile/0/000.p",
            "log/tile/0/000/",
            "log/tile/0/",
            "log/tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(parse_tile_key(bad), None, "{bad}");
        }
    }
}
