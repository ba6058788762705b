//! Decisions of the ingest workflow as pure functions: where to begin, what to make of what lies at our key, how far
//! everything is done. No I/O: facts in, a decision out.

use crate::{
    chain::{self, Head},
    detect::Heard,
    digest::Digest,
    error::{Error, Result},
    manifest::Broker,
    note::Verifiers,
    position::ChainId,
    segment::{self, Opened},
    source::Commit,
};
use serde::{Deserialize, Serialize};

/// What a commit says of the store, so that a store that was rolled back is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitNote {
    /// Incarnation of the chain.
    pub incarnation: u32,
    /// Sequence of its head when the commit was made.
    pub sequence: u64,
    /// Hash of that head's manifest.
    pub hash: Digest,
    /// Timestamp of the record at the committed offset, or of one before it, milliseconds: from where the rules' state
    /// is rebuilt.
    #[serde(default)]
    pub record_time: Option<i64>,
    /// When sources were heard that the inventory expects.
    #[serde(default, skip_serializing_if = "Heard::is_empty")]
    pub heard: Heard,
    /// Offset and timestamp of the last record sealed: the broker must still have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<(i64, i64)>,
}

impl CommitNote {
    /// The note of a head, of the time of the place that is committed, and of the last record sealed.
    pub fn of(head: &Head, record_time: Option<i64>, last: Option<(i64, i64)>) -> Self {
        let (incarnation, sequence, hash) = (head.chain.incarnation, head.sequence, head.hash);
        Self { incarnation, sequence, hash, record_time, heard: Heard::new(), last }
    }

    /// One line of JSON: the metadata of a commit.
    pub fn encode(&self) -> String {
        // a struct of numbers and a string always serialises
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the metadata of a commit; `None` if the commit is not ours.
    pub fn decode(metadata: &str) -> Option<Self> {
        serde_json::from_str(metadata).ok()
    }
}

/// What a commit says where nothing is sealed: that it is of such a process, and up to when records were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeNote {
    /// The next offset to judge.
    pub judged: i64,
    /// Timestamp of the record at the committed offset, or of one before it, milliseconds: from where the rules' state
    /// is rebuilt.
    pub record_time: Option<i64>,
    /// When sources were heard that the inventory expects.
    #[serde(default, skip_serializing_if = "Heard::is_empty")]
    pub heard: Heard,
}

impl JudgeNote {
    /// One line of JSON: the metadata of a commit.
    pub fn encode(&self) -> String {
        // a struct of numbers always serialises
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the metadata of a commit; `None` if the commit is not of such a process.
    pub fn decode(metadata: &str) -> Option<Self> {
        serde_json::from_str(metadata).ok()
    }
}

/// Decides where judging begins where nothing is sealed. What was `committed` counts, or else `begin`, within what the
/// broker has.
pub fn start_judging(chain: &ChainId, committed: Option<i64>, broker: &Broker, begin: i64) -> Result<Start> {
    let (Some(log_start), Some(end)) = (broker.log_start, broker.last_stable.or(broker.high_watermark)) else {
        return Err(Error::retry(format!("the broker did not tell the offsets of {}", chain.topic_partition())));
    };
    if let Some(beyond) = committed.filter(|committed| *committed > end) {
        return Err(judged_beyond(chain, beyond, end));
    }
    let from = committed.unwrap_or(begin.min(end)).max(log_start);
    Ok(Start { seal_from: from, first: from, publish_from: from, read_from: from })
}

/// A topic that ends before what was judged.
pub fn judged_beyond(chain: &ChainId, judged: i64, end: i64) -> Error {
    Error::tampered(format!(
        "source_truncated: chain {chain} is judged up to offset {judged}, but the broker ends at {end}: the topic was \
         re-created or truncated. Find out why; then delete the offsets that the group of this process committed for it"
    ))
}

/// Where the work on a partition begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Sealing begins here.
    pub seal_from: i64,
    /// Offsets below it were retained away before they were sealed: `seal_from` ≤ x < `first` is a gap.
    pub first: i64,
    /// Findings and dead letters of records from here on are published.
    pub publish_from: i64,
    /// Reading begins here, unless the rules want older records for their state.
    pub read_from: i64,
}

/// Decides where to begin, from what the store, the group and the broker say. A new chain begins at `begin`, or at the
/// broker's log start if that is later. An error stops the partition.
pub fn start(
    chain: &ChainId,
    head: Option<&Head>,
    committed: Option<&Commit>,
    broker: &Broker,
    begin: i64,
) -> Result<Start> {
    let note = committed.and_then(|c| CommitNote::decode(&c.metadata));
    if let Some(note) = &note {
        check_not_rolled_back(chain, head, note)?;
    }
    if let Some(head) = head {
        check_same_topic(head, broker)?;
    }
    let (log_start, end) = match (broker.log_start, broker.last_stable.or(broker.high_watermark)) {
        (Some(log_start), Some(end)) => (log_start, end),
        _ => return Err(Error::retry(format!("the broker did not tell the offsets of {}", chain.topic_partition()))),
    };
    let seal_from = head.map_or(0, |h| h.to);
    if seal_from > end {
        return Err(Error::new(
            crate::error::Kind::Tampered,
            format!(
                "source_truncated: chain {chain} is sealed up to offset {seal_from}, but the broker ends at {end}: \
                     the topic \
                 was re-created or truncated. Find out why; then open the next incarnation with `authseal chain reset`"
            ),
        ));
    }
    let first = if head.is_none() { log_start.max(begin.min(end)) } else { seal_from.max(log_start) };
    // a commit without our note is of somebody else's making and says nothing about what was published
    let begun = if head.is_none() { first } else { log_start };
    // and so does one of an incarnation before: its offsets are those of another topic
    let ours = head.map_or(chain.incarnation, |h| h.chain.incarnation);
    let told = note.is_some_and(|note| note.incarnation == ours);
    let done = committed.filter(|_| told).map_or(begun, |c| c.offset.max(begun));
    let publish_from = done.min(end);
    Ok(Start { seal_from, first, publish_from, read_from: first.min(publish_from) })
}

fn check_not_rolled_back(chain: &ChainId, head: Option<&Head>, note: &CommitNote) -> Result<()> {
    let behind = match head {
        None => true,
        Some(head) if head.chain.incarnation != note.incarnation => head.chain.incarnation < note.incarnation,
        Some(head) => head.sequence < note.sequence,
    };
    if behind {
        let has = head.map_or("nothing".to_string(), |h| format!("{}/{}", h.chain.incarnation, h.sequence));
        return Err(Error::tampered(format!(
            "store_rolled_back: segment {}/{} of chain {chain} was sealed, but the store holds {has} as its newest. \
                 The store \
             lost what it promised to keep, or it is another store: restore it, or point authseal at the right one",
            note.incarnation, note.sequence
        )));
    }
    match head {
        Some(head)
            if (head.chain.incarnation, head.sequence) == (note.incarnation, note.sequence)
                && head.hash != note.hash =>
        {
            Err(Error::tampered(format!(
                "store_rolled_back: segment {} of chain {chain} is another one than the one sealed before: its \
                     manifest \
                 hash is {}, committed was {}",
                note.sequence, head.hash, note.hash
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses to go on when the cluster or the topic behind the name is another one than the chain was sealed from.
pub fn check_same_topic(head: &Head, broker: &Broker) -> Result<()> {
    let changed = |what: &str, was: &Option<String>, is: &Option<String>| match (was, is) {
        (Some(was), Some(is)) if was != is => Err(Error::tampered(format!(
            "{what}: chain {} was sealed from {was}, the broker now says {is}. If that is meant, open the next \
                 incarnation \
             with `authseal chain reset`; otherwise point authseal back",
            head.chain
        ))),
        _ => Ok(()),
    };
    changed("another Kafka cluster", &head.broker.cluster_id, &broker.cluster_id)?;
    changed("another topic under the same name", &head.broker.topic_id, &broker.topic_id)
}

/// The time (milliseconds) of the record where work begins, or of one before it: the state of the rules reaches back
/// from there. A record from the future must not make it reach back to nothing.
pub fn newest_record(head: Option<&Head>, committed: Option<&Commit>) -> Option<i64> {
    const AHEAD: i64 = 86_400_000;
    let head = head?;
    let note = committed.and_then(|c| CommitNote::decode(&c.metadata));
    // a heartbeat has no records: then the commit knows, or else the clock of the sealer
    let told = note.and_then(|n| n.record_time).or(head.times.last_record);
    Some(told.filter(|time| *time <= head.times.sealed.saturating_add(AHEAD)).unwrap_or(head.times.sealed))
}

/// The time (milliseconds) that a commit of ours names.
pub fn noted_time(committed: &Commit) -> Option<i64> {
    match CommitNote::decode(&committed.metadata) {
        Some(note) => note.record_time,
        None => JudgeNote::decode(&committed.metadata)?.record_time,
    }
}

/// What to make of other bytes at the key where we wanted to put our next segment.
#[derive(Debug)]
pub enum Rival {
    /// A valid segment that continues our chain: another writer was faster.
    Adopt(Box<Opened>),
    /// Not a segment of ours: tampering, or a squatter.
    Foreign(Error),
}

/// Judges bytes found at the key of the successor of `head`.
pub fn judge_rival(
    bytes: &[u8],
    keys: &Verifiers,
    origin: &str,
    chain: &ChainId,
    head: Option<&Head>,
    key: &str,
) -> Rival {
    let foreign = |code: &str, detail: &str| {
        Rival::Foreign(Error::tampered(format!(
            "{key} was to hold the next segment of chain {chain}, but other bytes lie there and they do not \
                 continue the \
             chain: {detail} ({code}). Partition stopped; the others run on. Find out who wrote it before anything else"
        )))
    };
    match segment::open(bytes, keys) {
        Err(fault) => foreign(fault.code, &fault.detail),
        Ok(opened) => match chain::follows(origin, chain, head, &opened.manifest) {
            Err(fault) => foreign(fault.code, &fault.detail),
            Ok(()) => Rival::Adopt(Box::new(opened)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Times;

    fn chain() -> ChainId {
        ChainId { cluster: "main".into(), topic: "auth".into(), partition: 3, incarnation: 0 }
    }

    fn head(sequence: u64, to: i64) -> Head {
        Head {
            chain: chain(),
            origin: "o".into(),
            sequence,
            hash: Digest([7; 32]),
            to,
            times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed: 1 },
            broker: Broker { topic_id: Some("T1".into()), cluster_id: Some("C1".into()), ..Broker::default() },
            closed: false,
        }
    }

    fn broker(log_start: i64, end: i64) -> Broker {
        Broker { log_start: Some(log_start), last_stable: Some(end), ..Broker::default() }
    }

    fn commit(offset: i64, sequence: u64, hash: u8) -> Commit {
        let hash = Digest([hash; 32]);
        let note = CommitNote { incarnation: 0, sequence, hash, record_time: None, heard: Heard::new(), last: None };
        Commit { offset, metadata: note.encode() }
    }

    #[test]
    fn work_begins_where_the_store_and_the_group_say() {
        let cases = [
            // head.to, committed, log start, end → seal_from, first, publish_from, read_from
            (None, None, 0, 100, (0, 0, 0, 0)),
            (None, None, 40, 100, (0, 40, 40, 40)),
            (Some(50), Some(30), 0, 100, (50, 50, 30, 30)),
            (Some(50), Some(50), 0, 100, (50, 50, 50, 50)),
            (Some(50), None, 10, 100, (50, 50, 10, 10)),
            (Some(50), Some(30), 60, 100, (50, 60, 60, 60)),
            (Some(50), Some(30), 40, 100, (50, 50, 40, 40)),
        ];
        for (to, committed, log_start, end, want) in cases {
            let head = to.map(|to| head(4, to));
            let committed = committed.map(|offset| commit(offset, 4, 7));
            let got = start(&chain(), head.as_ref(), committed.as_ref(), &broker(log_start, end), 0).unwrap();
            assert_eq!((got.seal_from, got.first, got.publish_from, got.read_from), want, "{to:?} {committed:?}");
        }
    }

    #[test]
    fn a_store_behind_the_commit_and_another_topic_stop_the_partition() {
        let say = |head: Option<&Head>, committed: Option<&Commit>, broker: Broker| {
            start(&chain(), head, committed, &broker, 0).unwrap_err().to_string()
        };
        assert!(say(None, Some(&commit(5, 0, 7)), broker(0, 10)).contains("store_rolled_back"));
        assert!(say(Some(&head(3, 5)), Some(&commit(5, 4, 7)), broker(0, 10)).contains("store_rolled_back"));
        assert!(say(Some(&head(4, 5)), Some(&commit(5, 4, 8)), broker(0, 10)).contains("another one"));
        assert!(say(Some(&head(4, 50)), None, broker(0, 10)).contains("source_truncated"));
        let other = Broker { topic_id: Some("T2".into()), ..broker(0, 10) };
        assert!(say(Some(&head(4, 5)), None, other).contains("another topic"));
        let other = Broker { cluster_id: Some("C2".into()), ..broker(0, 10) };
        assert!(say(Some(&head(4, 5)), None, other).contains("another Kafka cluster"));
        assert!(start(&chain(), None, None, &Broker::default(), 0).unwrap_err().is_retry());
    }

    #[test]
    fn a_new_chain_begins_where_it_is_told_and_an_old_one_where_it_was() {
        for (begin, first) in [(0, 10), (40, 40), (1000, 100)] {
            let got = start(&chain(), None, None, &broker(10, 100), begin).unwrap();
            assert_eq!((got.seal_from, got.first, got.publish_from, got.read_from), (0, first, first, first));
        }
        let got = start(&chain(), Some(&head(4, 50)), None, &broker(10, 100), 90).unwrap();
        assert_eq!((got.first, got.publish_from), (50, 10));
    }

    #[test]
    fn state_reaches_back_from_the_newest_record_that_is_not_from_the_future() {
        let sealed = |last_record| {
            let mut head = head(4, 50);
            head.times = Times { last_record, sealed: 1_000_000, ..head.times };
            head
        };
        let note = |time| Commit { metadata: CommitNote::of(&sealed(None), time, None).encode(), ..commit(5, 4, 7) };
        assert_eq!(newest_record(Some(&sealed(Some(500))), None), Some(500));
        assert_eq!(newest_record(Some(&sealed(Some(500))), Some(&note(Some(400)))), Some(400));
        assert_eq!(newest_record(Some(&sealed(None)), Some(&note(Some(400)))), Some(400), "behind a heartbeat");
        assert_eq!(newest_record(Some(&sealed(None)), None), Some(1_000_000));
        assert_eq!(newest_record(Some(&sealed(Some(i64::MAX))), Some(&note(Some(i64::MAX)))), Some(1_000_000));
        assert_eq!(newest_record(None, Some(&note(Some(400)))), None);
    }

    #[test]
    fn judging_alone_begins_where_it_was_or_where_it_is_told() {
        for (committed, begin, log_start, from) in
            [(None, 0, 0, 0), (None, 0, 40, 40), (None, i64::MAX, 0, 100), (Some(30), 90, 0, 30), (Some(30), 0, 60, 60)]
        {
            let got = start_judging(&chain(), committed, &broker(log_start, 100), begin).unwrap();
            assert_eq!((got.publish_from, got.read_from), (from, from), "{committed:?} {begin} {log_start}");
        }
        let beyond = start_judging(&chain(), Some(101), &broker(0, 100), 0).unwrap_err().to_string();
        assert!(beyond.contains("source_truncated"), "{beyond}");
        let note = JudgeNote { judged: 7, record_time: Some(5), heard: Heard::new() };
        assert_eq!(JudgeNote::decode(&note.encode()), Some(note.clone()));
        assert_eq!(CommitNote::decode(&note.encode()), None, "a sealer does not take it for its own");
        assert_eq!(
            JudgeNote::decode(&CommitNote::of(&head(4, 50), None, None).encode()),
            None,
            "nor the other way round"
        );
    }

    #[test]
    fn a_commit_that_is_not_ours_says_nothing() {
        let foreign = Commit { offset: 99, metadata: "x".into() };
        let got = start(&chain(), Some(&head(4, 50)), Some(&foreign), &broker(0, 100), 0).unwrap();
        assert_eq!((got.publish_from, got.read_from), (0, 0));
    }
}
