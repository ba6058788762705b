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
}
