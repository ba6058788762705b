//! What makes one segment the successor of another. Pure: the store is read elsewhere.

use crate::{
    digest::Digest,
    fault::{Fault, code},
    manifest::*,
    position::ChainId,
    segment::{Opened, Sealed},
};

/// The newest segment of a chain, as much of it as its successor needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which chain.
    pub chain: ChainId,
    /// As in store.json.
    pub origin: String,
    /// Its sequence.
    pub sequence: u64,
    /// SHA-256(0x00 ‖ manifest line).
    pub hash: Digest,
    /// `offsets.to`: the next offset to seal.
    pub to: i64,
    /// `times` of the manifest.
    pub times: Times,
    /// Ids that must not change within a chain.
    pub broker: Broker,
    /// Whether the chain was closed.
    pub closed: bool,
}

impl Head {
    /// The head that a verified segment makes.
    pub fn of_opened(opened: &Opened) -> Self {
        Self::of(&opened.manifest, opened.hash)
    }

    /// The head that a segment of our own makes.
    pub fn of_sealed(sealed: &Sealed) -> Self {
        Self::of(&sealed.manifest, sealed.hash)
    }

    /// The head that a segment with this manifest makes; `hash` is the hash of the manifest's line.
    pub fn of(manifest: &Manifest, hash: Digest) -> Self {
        Self {
            chain: manifest.chain.clone(),
            origin: manifest.origin.clone(),
            sequence: manifest.sequence,
            hash,
            to: manifest.offsets.to,
            times: manifest.times,
            broker: manifest.broker.clone(),
            closed: manifest.kind == SegmentKind::Close,
        }
    }

    /// The head behind this one's successor. The ids of cluster and topic stay known where the successor does not tell
    /// them: else a segment that tells none would let the next one tell others.
    #[must_use]
    pub fn advance(&self, manifest: &Manifest, hash: Digest) -> Self {
        let mut next = Self::of(manifest, hash);
        next.broker.cluster_id = next.broker.cluster_id.or_else(|| self.broker.cluster_id.clone());
        next.broker.topic_id = next.broker.topic_id.or_else(|| self.broker.topic_id.clone());
        next
    }
}

/// Whether `manifest` continues the chain behind `head` (`None`: it must begin it). A fault says what does not fit.
pub fn follows(origin: &str, chain: &ChainId, head: Option<&Head>, manifest: &Manifest) -> Result<(), Fault> {
    let m = manifest;
    if m.format != FORMAT {
        return Err(Fault::new(code::FORMAT, format!("format is {:?}, not {FORMAT}", m.format)));
    }
    if m.origin != origin {
        return Err(Fault::new(code::ORIGIN, format!("it is of origin {:?}, the chain is of {origin:?}", m.origin)));
    }
    if m.chain != *chain {
        return Err(Fault::new(code::CHAIN_ID, format!("it is of chain {}, it lies in {chain}", m.chain)));
    }
    match head {
        None => begins(m),
        Some(head) => continues(head, m),
    }
}

fn begins(m: &Manifest) -> Result<(), Fault> {
    if m.sequence != 0 {
        return Err(Fault::new(code::SEQUENCE, format!("its sequence is {}, a chain begins at 0", m.sequence)));
    }
    if m.previous.is_some() {
        return Err(Fault::new(code::PREVIOUS, "it names a previous segment, and none can be before sequence 0"));
    }
    if m.start.is_none() {
        return Err(Fault::new(code::START, "it does not say why the chain begins"));
    }
    Ok(())
}

fn continues(head: &Head, m: &Manifest) -> Result<(), Fault> {
    if head.closed {
        return Err(Fault::new(code::AFTER_CLOSE, format!("sequence {} closed the chain", head.sequence)));
    }
    if Some(m.sequence) != head.sequence.checked_add(1) {
        return Err(Fault::new(
            code::SEQUENCE,
            format!("its sequence is {}, the one before is {}", m.sequence, head.sequence),
        ));
    }
    if m.previous != Some(head.hash) {
        let named = m.previous.map_or("none".into(), |d| d.base64());
        return Err(Fault::new(
            code::PREVIOUS,
            format!("it names {named} as previous, the one before is {}", head.hash),
        ));
    }
    if m.start.is_some() {
        return Err(Fault::new(code::START, "it says why the chain begins, which only sequence 0 may"));
    }
    let (from, to) = (m.offsets.from, head.to);
    if from > to {
        return Err(Fault::at(code::OFFSETS_GAP, to, format!("it begins at {from}, the one before ends at {to}")));
    }
    if from < to {
        return Err(Fault::at(
            code::OFFSETS_OVERLAP,
            from,
            format!("it begins at {from}, the one before ends at {to}"),
        ));
    }
    if m.times.sealed <= head.times.sealed {
        let (now, before) = (m.times.sealed, head.times.sealed);
        return Err(Fault::new(code::SEALED_TIME, format!("it was sealed at {now}, the one before at {before}")));
    }
    same(code::CLUSTER_CHANGED, "Kafka cluster", &head.broker.cluster_id, &m.broker.cluster_id)?;
    same(code::TOPIC_CHANGED, "topic", &head.broker.topic_id, &m.broker.topic_id)
}

/// An id that both know must be the same.
fn same(code: &'static str, what: &str, before: &Option<String>, now: &Option<String>) -> Result<(), Fault> {
    match (before, now) {
        (Some(before), Some(now)) if before != now => {
            Err(Fault::new(code, format!("the id of the {what} is {now:?}, it was {before:?}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{merkle, retention::Retention};

    const ORIGIN: &str = "example.com/auth";

    fn chain() -> ChainId {
        "main/auth/3/0".parse().unwrap()
    }

    /// A heartbeat: continues anything that ends at `at`.
    fn heartbeat(sequence: u64, previous: Option<Digest>, at: i64) -> Manifest {
        let start = Start { reason: StartReason::New, detail: String::new(), previous: None };
        Manifest {
            format: FORMAT.into(),
            origin: ORIGIN.into(),
            chain: chain(),
            sequence,
            previous,
            start: (sequence == 0).then_some(start),
            kind: SegmentKind::Heartbeat,
            offsets: Offsets { from: at, to: at },
            counts: Counts::default(),
            root: merkle::empty_root(),
            body: Body::of(b""),
            schema: Digest::of(b"schema"),
            times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed: 100 },
            next_by: 200,
            broker: Broker { cluster_id: Some("c".into()), topic_id: Some("t".into()), ..Broker::default() },
            artifacts: Artifacts::default(),
            writer: Writer { version: "0".into(), instance: "i".into() },
            retention: Retention::NONE,
            index: None,
        }
    }

    fn hash(manifest: &Manifest) -> Digest {
        Manifest::hash_of(&manifest.line().unwrap())
    }

    fn head(manifest: &Manifest) -> Head {
        Head::of(manifest, hash(manifest))
    }

    /// The successor of a head, sealed a millisecond later.
    fn after(head: &Head) -> Manifest {
        let mut next = heartbeat(head.sequence + 1, Some(head.hash), head.to);
        next.times.sealed = head.times.sealed + 1;
        next
    }

    fn code_of(head: Option<&Head>, manifest: &Manifest) -> Result<(), &'static str> {
        follows(ORIGIN, &chain(), head, manifest).map_err(|f| f.code)
    }

    #[test]
    fn a_chain_begins_and_goes_on() {
        let first = heartbeat(0, None, 7);
        assert_eq!(code_of(None, &first), Ok(()));
        let mut head = head(&first);
        for _ in 0..3 {
            let next = after(&head);
            assert_eq!(code_of(Some(&head), &next), Ok(()));
            head = head.advance(&next, hash(&next));
        }
        assert_eq!((head.sequence, head.to), (3, 7));
    }

    #[test]
    fn every_way_not_to_follow_has_its_reason_code() {
        let head = head(&heartbeat(0, None, 7));
        type Change = fn(&mut Manifest);
        let cases: [(&str, Change); 14] = [
            (code::FORMAT, |m| m.format = "authseal/segment@2".into()),
            (code::ORIGIN, |m| m.origin = "example.com/other".into()),
            (code::CHAIN_ID, |m| m.chain.partition = 4),
            (code::CHAIN_ID, |m| m.chain.incarnation = 1),
            (code::SEQUENCE, |m| m.sequence = 0),
            (code::SEQUENCE, |m| m.sequence = 2),
            (code::PREVIOUS, |m| m.previous = Some(Digest::of(b"x"))),
            (code::PREVIOUS, |m| m.previous = None),
            (code::START, |m| m.start = heartbeat(0, None, 0).start),
            (code::OFFSETS_GAP, |m| (m.offsets.from, m.offsets.to) = (8, 8)),
            (code::OFFSETS_OVERLAP, |m| (m.offsets.from, m.offsets.to) = (6, 9)),
            (code::SEALED_TIME, |m| m.times.sealed = 100),
            (code::CLUSTER_CHANGED, |m| m.broker.cluster_id = Some("d".into())),
            (code::TOPIC_CHANGED, |m| m.broker.topic_id = Some("u".into())),
        ];
        for (want, change) in cases {
            let mut next = after(&head);
            change(&mut next);
            assert_eq!(code_of(Some(&head), &next), Err(want));
        }
        let closed = Head { closed: true, ..head.clone() };
        assert_eq!(code_of(Some(&closed), &after(&head)), Err(code::AFTER_CLOSE));
        let first = heartbeat(0, None, 7);
        assert_eq!(code_of(None, &after(&head)), Err(code::SEQUENCE));
        assert_eq!(code_of(None, &Manifest { previous: Some(head.hash), ..first.clone() }), Err(code::PREVIOUS));
        assert_eq!(code_of(None, &Manifest { start: None, ..first }), Err(code::START));
    }

    #[test]
    fn a_gap_and_an_overlap_are_placed() {
        let head = head(&heartbeat(0, None, 7));
        let mut next = after(&head);
        (next.offsets.from, next.offsets.to) = (9, 9);
        assert_eq!(follows(ORIGIN, &chain(), Some(&head), &next).unwrap_err().offset, Some(7));
        (next.offsets.from, next.offsets.to) = (5, 9);
        assert_eq!(follows(ORIGIN, &chain(), Some(&head), &next).unwrap_err().offset, Some(5));
    }

    #[test]
    fn ids_stay_known_behind_a_segment_that_does_not_tell_them() {
        let first = head(&heartbeat(0, None, 7));
        let mut silent = after(&first);
        silent.broker = Broker::default();
        assert_eq!(code_of(Some(&first), &silent), Ok(()));
        let second = first.advance(&silent, hash(&silent));
        let mut other = after(&second);
        other.broker.topic_id = Some("u".into());
        assert_eq!(code_of(Some(&second), &other), Err(code::TOPIC_CHANGED));
        assert_eq!(code_of(Some(&head(&silent)), &other), Ok(()), "the last segment alone does not know");
    }

    #[test]
    fn a_close_ends_a_chain() {
        let head = head(&heartbeat(0, None, 7));
        let close = Manifest { kind: SegmentKind::Close, ..after(&head) };
        assert_eq!(code_of(Some(&head), &close), Ok(()));
        assert!(head.advance(&close, hash(&close)).closed);
    }
}
