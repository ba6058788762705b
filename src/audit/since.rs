//! From where on chains are looked at, and what is said of the rest; and which chains must be there. Pure.

use super::report::ChainReport;
use crate::position::ChainId;
use serde::Serialize;
use std::collections::BTreeMap;

/// From where on chains are looked at. The log is read from its beginning in any case: it is small, and what it says of
/// everything else needs all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Since {
    /// All of it.
    #[default]
    Beginning,
    /// What was sealed then or later, milliseconds since 1970.
    Sealed(i64),
    /// What the checkpoint that was kept does not cover.
    Checkpoint,
    /// Of each chain, from this sequence on; of others, all.
    Sequences(BTreeMap<ChainId, u64>),
}

/// A topic whose chains must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The name of its cluster.
    pub cluster: String,
    /// Its name.
    pub topic: String,
    /// Its partitions are those below this.
    pub partitions: u32,
}

impl Expected {
    /// Reads `topic:partitions` or `cluster/topic:partitions`; the cluster is `main` where none is named.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, partitions) = text.rsplit_once(':')?;
        let (cluster, topic) = name.split_once('/').unwrap_or(("main", name));
        let partitions: u32 = partitions.parse().ok().filter(|n| (1..=100_000).contains(n))?;
        // only what can be part of a key
        let chain = ChainId { cluster: cluster.into(), topic: topic.into(), partition: 0, incarnation: 0 };
        let valid = chain.to_string().parse::<ChainId>().is_ok_and(|read| read == chain);
        valid.then(|| Self { cluster: cluster.into(), topic: topic.into(), partitions })
    }
}

/// What was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SinceReport {
    /// Only what was sealed then or later was looked at, milliseconds since 1970; null if that was not asked for.
    pub sealed: Option<i64>,
    /// Only what lies behind so many entries of the log was looked at; null if that was not asked for.
    pub checkpoint: Option<u64>,
    /// Segments before that, which were not looked at.
    pub segments: u64,
    /// Artifacts that nothing that was looked at names: they are there, and were not read.
    pub artifacts: u64,
}

impl SinceReport {
    /// In words, for whoever thinks that all of it was checked.
    pub(super) fn limit(&self) -> Option<String> {
        if self.segments + self.artifacts == 0 && self.sealed.is_none() && self.checkpoint.is_none() {
            return None;
        }
        Some(format!(
            "{} segments before the cut were not looked at, neither whether they are there nor what is in them, and \
             {} artifacts that they alone name were not read. Of each chain the last segment before the cut was \
             checked, and that what is new follows it. Verify without --since to know about the rest.",
            self.segments, self.artifacts
        ))
    }
}

/// The sequence from which on a chain is looked at; `Err`: that of the first segment sealed at this time or later.
/// `covered`: how many segments of each chain the kept checkpoint covers.
pub(super) fn from(since: &Since, chain: &ChainId, covered: Option<&BTreeMap<ChainId, u64>>) -> Result<u64, i64> {
    match since {
        Since::Beginning => Ok(0),
        Since::Sealed(time) => Err(*time),
        Since::Checkpoint => Ok(covered.and_then(|covered| covered.get(chain)).copied().unwrap_or(0)),
        Since::Sequences(from) => Ok(from.get(chain).copied().unwrap_or(0)),
    }
}

pub(super) fn report(since: &Since, pinned: Option<u64>, chains: &[ChainReport], artifacts: u64) -> SinceReport {
    SinceReport {
        sealed: match since {
            Since::Sealed(time) => Some(*time),
            Since::Beginning | Since::Checkpoint | Since::Sequences(_) => None,
        },
        checkpoint: pinned.filter(|_| *since == Since::Checkpoint),
        segments: chains.iter().map(|chain| chain.passed).sum(),
        artifacts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_there_is_read_from_one_word() {
        let expected = |cluster: &str, topic: &str, partitions| {
            Some(Expected { cluster: cluster.into(), topic: topic.into(), partitions })
        };
        assert_eq!(Expected::parse("auth:12"), expected("main", "auth", 12));
        assert_eq!(Expected::parse("eu/auth.v1:1"), expected("eu", "auth.v1", 1));
        for bad in ["", "auth", "auth:", "auth:0", "auth:x", ":3", "a b:3", "a/b/c:3", "auth:100001", "/auth:3"] {
            assert_eq!(Expected::parse(bad), None, "{bad}");
        }
    }
}
