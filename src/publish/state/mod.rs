//! The log in which the durable state of rules outlives the process: the contract that `ingest` is written against.
//!
//! It keeps the newest value of each record key (a compacted Kafka topic). A record key names chain, rule, the rule's
//! key and the writer, and each assignment of a partition is a writer of its own: nobody overwrites another one's.

pub mod kafka;
pub mod memory;

use crate::{detect::Saved, error::Result, position::ChainId};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The version of record keys.
const VERSION: u8 = 1;

/// What one writer says of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The chain whose records contributed it.
    pub chain: Arc<ChainId>,
    /// The rule's id; empty for what is said of the chain as a whole.
    pub rule: Arc<str>,
    /// The canonical bytes of the key.
    pub key: Box<[u8]>,
    /// The assignment that wrote it.
    pub writer: Arc<str>,
    /// What it says; `None` deletes it.
    pub value: Option<Bytes>,
}

/// Where durable state is written and read back.
#[async_trait]
pub trait StateLog: Send + Sync + 'static {
    /// The newest records of all writers of a chain, up to what had been acknowledged when this was called.
    async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>>;
    /// Writes a record. Records of one key land in the order of the calls. The future ends as that of
    /// [`super::Publisher::publish`] does.
    fn save(&self, record: Record) -> BoxFuture<'static, Result<()>>;
}

impl Record {
    /// The key of the record in the log: the version, then chain, rule, key and writer, each after its length in 4
    /// bytes big-endian.
    pub fn log_key(&self) -> Vec<u8> {
        let chain = self.chain.to_string();
        let mut bytes = vec![VERSION];
        for part in [chain.as_bytes(), self.rule.as_bytes(), &self.key, self.writer.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// A record as it lies in the log; `None` if it is none of ours.
    pub fn parse(key: &[u8], value: Option<Bytes>) -> Option<Self> {
        let mut rest = key.strip_prefix(&[VERSION])?;
        let mut part = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            Some(part)
        };
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let chain: ChainId = text(part()?)?.parse().ok()?;
        let (rule, key, writer) = (text(part()?)?.into(), part()?.into(), text(part()?)?.into());
        rest.is_empty().then_some(Self { chain: Arc::new(chain), rule, key, writer, value })
    }
}

/// The partition, among so many, in which the records of a chain lie.
pub fn partition_of(chain: &ChainId, partitions: usize) -> i32 {
    let digest: [u8; 32] = Sha256::digest(chain.to_string().as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    (u32::from_be_bytes([a, b, c, d]) as usize % partitions.max(1)) as i32 // fewer than a topic has: far below 2^31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_are_as_documented_and_read_back() {
        let record = Record {
            chain: Arc::new("main/auth/3/0".parse().unwrap()),
            rule: "AUTH-0001".into(),
            key: [0, 0, 0, 1, b'x'].into(),
            writer: "p.7".into(),
            value: Some("{}".into()),
        };
        let key = record.log_key();
        let wanted = b"\x01\0\0\0\x0dmain/auth/3/0\0\0\0\x09AUTH-0001\0\0\0\x05\0\0\0\x01x\0\0\0\x03p.7";
        assert_eq!(key, wanted);
        assert_eq!(Record::parse(&key, Some("{}".into())), Some(record));
        for wrong in [&key[1..], &key[..key.len() - 1], &[&key[..], b"x"].concat(), b"", b"\x02"] {
            assert_eq!(Record::parse(wrong, None), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_chain_keeps_its_partition() {
        let chain = |n: u32| format!("main/auth/{n}/0").parse().unwrap();
        // for ever: who changes this leaves all state behind
        assert_eq!([0, 1, 2, 3].map(|n| partition_of(&chain(n), 12)), [9, 10, 1, 0]);
        assert_eq!(partition_of(&chain(0), 1), 0);
        assert_eq!((0..100).map(|n| partition_of(&chain(n), 4)).collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
