//! The last record that a chain has sealed, so that it is known again when the broker delivers it once more.
//!
//! Offsets alone do not tell a log that was cut off by an unclean election and has grown again past its old end from
//! the one that was sealed: the topic has its id, the offsets fit, and the broker only compares leader epochs (KIP-320)
//! with a reader that names one, which after a restart nobody can for the place where reading begins. So reading begins
//! no later than the last sealed record, that record must be the one that was sealed, and none may come at the offsets
//! behind it that were sealed as gaps.

use crate::{
    digest::Digest,
    error::Error,
    fault::Fault,
    position::ChainId,
    record::{GapCause, Header, RawRecord},
    segment::{LeafKind, read},
};
use bytes::Bytes;

/// As much of a record as tells it from another one at its offset, and the gaps behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSealed {
    /// Offset and timestamp (milliseconds) as Kafka gave them; `None` if it is not known: then there are gaps alone.
    pub record: Option<(i64, i64)>,
    /// SHA-256 of key, headers and value; `None` where they were withheld or are not known.
    bytes: Option<Digest>,
    /// The offsets that were sealed as gaps: the broker had nothing there.
    gaps: (i64, i64),
    /// It came, or retention took it.
    seen: bool,
}

/// What became of the record that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// What was sealed is still coming.
    NotYet,
    /// It is what was sealed, or what is missing may be missing here.
    Yes,
    /// Another record lies at its offset, or at one that was sealed as a gap.
    Replaced,
    /// Records behind it came without it, in a topic that loses none.
    Missing,
}

impl LastSealed {
    /// The last record of a segment that was opened, or the gaps at its end; `None` if it has neither (a heartbeat, or
    /// gaps where there were records once).
    pub fn of_segment(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let (mut last, mut gaps) = (None, None);
        for leaf in read::records(bytes)? {
            let leaf = leaf?;
            let (from, to) = (leaf.offset(), leaf.to());
            if leaf.kind() != LeafKind::Gap {
                (last, gaps) = (Some(leaf), Some((to, to)));
                continue;
            }
            gaps = match leaf.record()?.gap.map(|gap| gap.cause) {
                Some(GapCause::NotDelivered | GapCause::Unexplained) => Some((gaps.map_or(from, |(from, _)| from), to)),
                _ => Some((to, to)),
            };
        }
        let gaps = gaps.unwrap_or_default();
        let Some(leaf) = last else {
            return Ok((gaps.0 < gaps.1).then_some(Self { record: None, bytes: None, gaps, seen: true }));
        };
        let record = leaf.record()?;
        let whole = record.withheld.is_none();
        let bytes = whole.then(|| digest(record.key.as_ref(), &record.headers, record.value.as_ref()));
        Ok(Some(Self { bytes, ..Self::of_note((record.offset, record.timestamp), gaps.1) }))
    }

    /// The one that a commit speaks of: offset and timestamp. The chain is `sealed_to`.
    pub fn of_note(record: (i64, i64), sealed_to: i64) -> Self {
        Self { record: Some(record), bytes: None, gaps: (record.0 + 1, sealed_to), seen: false }
    }

    /// The same in a chain that was sealed further since, with gaps alone.
    pub fn up_to(mut self, sealed_to: i64) -> Self {
        self.gaps.1 = sealed_to;
        self
    }

    /// What is still to be looked at when the log begins at `log_start`.
    pub fn within(mut self, log_start: i64) -> Option<Self> {
        self.seen |= self.record.is_some_and(|(offset, _)| offset < log_start);
        self.gaps.0 = self.gaps.0.max(log_start);
        (self.gaps.1 > log_start).then_some(self)
    }

    /// Where reading must begin, if it must begin anywhere.
    pub fn from(&self) -> Option<i64> {
        match self.record {
            Some((offset, _)) => (!self.seen).then_some(offset),
            None => Some(self.gaps.0),
        }
    }

    /// Whether it should have come when all below `end` was delivered, and did not.
    pub fn is_missed(&self, end: i64) -> bool {
        !self.seen && self.record.is_some_and(|(offset, _)| offset < end)
    }

    /// Compares it with a record that was delivered. `gaps_expected`: records of the topic may vanish (compaction).
    pub fn meet(&mut self, record: &RawRecord, gaps_expected: bool) -> Met {
        match (record.offset, self.record) {
            (at, Some((offset, timestamp))) if at == offset => {
                let same = || digest(record.key.as_ref(), &record.headers, record.value.as_ref());
                self.seen = timestamp == record.timestamp && self.bytes.is_none_or(|bytes| bytes == same());
                if self.seen { Met::NotYet } else { Met::Replaced }
            }
            (before, _) if before < self.gaps.0 => Met::NotYet,
            (gap, _) if gap < self.gaps.1 => Met::Replaced,
            _ if self.seen || gaps_expected => Met::Yes,
            _ => Met::Missing,
        }
    }

    /// Why the chain cannot go on in this log.
    pub fn refusal(&self, chain: &ChainId, met: Met) -> Error {
        let is = match (met, self.record) {
            (_, None) => format!("the offsets {} to {}, sealed as a gap, hold records now", self.gaps.0, self.gaps.1),
            (Met::Missing, Some((at, _))) => format!("{SEALED}, at offset {at}, is gone from the broker"),
            (_, Some((at, _))) if self.seen => {
                format!("{SEALED}, at offset {at}, is followed by others than were sealed")
            }
            (_, Some((at, _))) => format!("{SEALED}, at offset {at}, is another one on the broker now"),
        };
        Error::tampered(format!(
            "source_truncated: of chain {chain}, {is}: the log was cut off (an unclean leader election) or restored, \
             and has grown again with other records. Find out why; then open the next incarnation with `authseal \
             chain reset --force`"
        ))
    }
}

/// How the record is called.
const SEALED: &str = "the last record sealed";

/// Every part after its length, so that none can be taken for another.
fn digest(key: Option<&Bytes>, headers: &[Header], value: Option<&Bytes>) -> Digest {
    let parts = [key].into_iter().chain(headers.iter().flat_map(|h| [Some(&h.key), h.value.as_ref()])).chain([value]);
    let parts: Vec<Option<&Bytes>> = parts.collect();
    let lengths: Vec<[u8; 9]> = parts
        .iter()
        .map(|part| {
            let mut head = [0; 9];
            head[0] = u8::from(part.is_some());
            head[1..].copy_from_slice(&part.map_or(0, |part| part.len() as u64).to_be_bytes());
            head
        })
        .collect();
    let all: Vec<&[u8]> = lengths.iter().zip(&parts).flat_map(|(l, p)| [&l[..], p.map_or(&[][..], |p| p)]).collect();
    Digest::of_parts(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: &'static str) -> RawRecord {
        RawRecord { offset, timestamp: 7, value: Some(value.into()), ..RawRecord::default() }
    }

    /// Sealed up to offset 8, with a gap behind the record.
    fn sealed(record: &RawRecord) -> LastSealed {
        let bytes = digest(record.key.as_ref(), &record.headers, record.value.as_ref());
        LastSealed { bytes: Some(bytes), ..LastSealed::of_note((record.offset, record.timestamp), 8) }
    }

    #[test]
    fn the_record_is_known_again_and_another_one_is_not() {
        let later = RawRecord { timestamp: 8, ..record(5, "a") };
        let with_key = RawRecord { key: Some("".into()), ..record(5, "a") };
        let with_header =
            RawRecord { headers: vec![Header { key: "a".into(), value: None }], value: None, ..record(5, "a") };
        for (records, gaps_expected, met) in [
            (vec![record(4, "x")], false, Met::NotYet),
            (vec![record(5, "a")], false, Met::NotYet),
            (vec![record(5, "a"), record(8, "b")], false, Met::Yes),
            (vec![record(5, "a"), record(7, "b")], false, Met::Replaced),
            (vec![record(5, "a"), record(7, "b")], true, Met::Replaced),
            (vec![record(5, "b")], false, Met::Replaced),
            (vec![record(5, "b")], true, Met::Replaced),
            (vec![later], false, Met::Replaced),
            (vec![with_key], false, Met::Replaced),
            (vec![with_header], false, Met::Replaced),
            (vec![record(8, "a")], false, Met::Missing),
            (vec![record(8, "a")], true, Met::Yes),
            (vec![record(7, "a")], true, Met::Replaced),
        ] {
            let mut known = sealed(&record(5, "a"));
            let last = records.iter().map(|record| known.meet(record, gaps_expected)).last();
            assert_eq!(last, Some(met), "{records:?}");
        }
        let mut noted = LastSealed::of_note((5, 7), 8);
        assert_eq!(noted.meet(&record(5, "whatever"), false), Met::NotYet);
        assert_eq!(noted.meet(&RawRecord { timestamp: 8, ..record(5, "a") }, false), Met::Replaced);
    }

    #[test]
    fn what_retention_took_is_not_waited_for() {
        assert_eq!(sealed(&record(5, "a")).within(8), None);
        assert_eq!(sealed(&record(5, "a")).within(5).and_then(|last| last.from()), Some(5));
        let mut gap = sealed(&record(5, "a")).within(6).unwrap();
        assert!(gap.from().is_none() && !gap.is_missed(8));
        assert_eq!(gap.clone().meet(&record(8, "b"), false), Met::Yes);
        assert_eq!(gap.meet(&record(6, "b"), true), Met::Replaced);
    }

    #[test]
    fn where_only_gaps_are_sealed_no_record_may_come() {
        let gaps = LastSealed { record: None, bytes: None, gaps: (3, 8), seen: true };
        assert_eq!((gaps.from(), gaps.is_missed(8)), (Some(3), false));
        for (offset, met) in [(2, Met::NotYet), (3, Met::Replaced), (7, Met::Replaced), (8, Met::Yes)] {
            assert_eq!(gaps.clone().meet(&record(offset, "a"), false), met, "{offset}");
        }
        assert_eq!(gaps.clone().within(5).and_then(|gaps| gaps.from()), Some(5));
        assert_eq!(gaps.within(8), None);
    }
}
