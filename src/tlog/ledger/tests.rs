//! What the ledger makes of entries, and which it refuses.

use super::*;
use crate::{
    digest::Digest,
    manifest::*,
    merkle,
    note::Signer,
    retention::Retention,
    tlog::{KeyEntry, keep, key::Action},
};

const ORIGIN: &str = "example.com/auth";
const SEAL: &str = "example.com/auth/seal";
const DAY: i64 = 86_400_000;

fn chain() -> ChainId {
    "main/auth/3/0".parse().unwrap()
}

fn key(name: &str, seed: u8) -> Signer {
    Signer::from_seed(name, [seed; 32]).unwrap()
}

/// A segment of ten offsets, sealed a day after the one before and locked for ten days.
fn segment(sequence: u64) -> Entry {
    let from = sequence as i64 * 10;
    let sealed = (sequence as i64 + 1) * DAY;
    Entry::Segment(Box::new(Manifest {
        format: FORMAT.into(),
        origin: ORIGIN.into(),
        chain: chain(),
        sequence,
        previous: None,
        start: None,
        kind: SegmentKind::Data,
        offsets: Offsets { from, to: from + 10 },
        counts: Counts::default(),
        root: merkle::empty_root(),
        body: Body::of(b""),
        schema: Digest::of(b""),
        times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed },
        next_by: sealed,
        broker: Broker::default(),
        artifacts: Artifacts::default(),
        writer: writer(),
        retention: Retention { mode: LockMode::Governance, until: Some(sealed + 10 * DAY) },
        index: None,
    }))
}

fn writer() -> Writer {
    Writer { version: "0".into(), instance: "i".into() }
}

fn disposal(from: u64, to: u64, until: i64) -> Entry {
    Entry::Disposal(Box::new(Disposal {
        format: keep::DISPOSAL.into(),
        origin: ORIGIN.into(),
        chain: chain(),
        sequences: Sequences { from, to },
        offsets: Offsets { from: from as i64 * 10, to: to as i64 * 10 },
        until,
        time: until,
        reason: String::new(),
        writer: writer(),
    }))
}

fn hold(action: Switch, name: &str, from: i64, to: i64) -> Entry {
    Entry::Hold(Box::new(Hold {
        format: keep::HOLD.into(),
        origin: ORIGIN.into(),
        action,
        name: name.into(),
        chain: chain(),
        offsets: Offsets { from, to },
        time: 1,
        reason: String::new(),
        writer: writer(),
    }))
}

fn taken(entries: &[Entry]) -> (Ledger, Vec<Result<(), &'static str>>) {
    let mut ledger = Ledger::new(&Verifiers::of(&key(SEAL, 1)));
    let results = (0..).zip(entries).map(|(index, e)| ledger.take(index, e).map_err(|fault| fault.code)).collect();
    (ledger, results)
}

#[test]
fn what_is_past_its_date_goes_and_nothing_else() {
    let four: Vec<Entry> = (0..4).map(segment).collect();
    let last = |more: &[Entry]| {
        let all: Vec<Entry> = four.iter().chain(more).cloned().collect();
        let (ledger, results) = taken(&all);
        (ledger, *results.last().unwrap())
    };
    // segment 1 is locked until day 12
    let (ledger, result) = last(&[disposal(0, 2, 12 * DAY)]);
    assert_eq!(result, Ok(()));
    let account = ledger.account(&chain()).unwrap();
    assert!(account.disposed(1).is_some() && account.disposed(2).is_none());
    let refused = Err(code::DISPOSAL_ENTRY);
    assert_eq!(last(&[disposal(0, 2, 12 * DAY - 1)]).1, refused, "a day too early");
    assert_eq!(last(&[disposal(0, 4, 99 * DAY)]).1, refused, "the newest of its chain");
    assert_eq!(last(&[disposal(3, 4, 99 * DAY)]).1, refused);
    assert_eq!(last(&[disposal(7, 9, 99 * DAY)]).1, refused, "never logged");
    assert_eq!(last(&[disposal(0, 2, 99 * DAY), disposal(1, 3, 99 * DAY)]).1, refused, "twice");
    let mut other = disposal(0, 2, 99 * DAY);
    if let Entry::Disposal(disposal) = &mut other {
        disposal.offsets.to = 15;
    }
    assert_eq!(last(&[other]).1, refused, "other offsets than it says");
    assert_eq!(taken(&[disposal(0, 1, DAY)]).1, [refused], "a chain that is not logged");
}

#[test]
fn what_is_held_stays_until_the_same_name_lets_go() {
    let mut entries: Vec<Entry> = (0..6).map(segment).collect();
    entries.push(hold(Switch::On, "case-1", 15, 35));
    entries.push(hold(Switch::On, "case-2", 30, 31));
    let (ledger, _) = taken(&entries);
    let held = |ledger: &Ledger| -> Vec<usize> {
        let account = ledger.account(&chain()).unwrap();
        account.segments().map(|segment| account.held(segment.offsets).len()).collect()
    };
    assert_eq!(held(&ledger), [0, 1, 1, 2, 0, 0]);
    let with = |more: Entry| {
        let (_, results) = taken(&[&entries[..], &[more]].concat());
        *results.last().unwrap()
    };
    assert_eq!(with(disposal(0, 1, 99 * DAY)), Ok(()));
    assert_eq!(with(disposal(0, 2, 99 * DAY)), Err(code::DISPOSAL_ENTRY));
    assert_eq!(with(disposal(4, 5, 99 * DAY)), Ok(()));
    // let go in the middle, and by another name not at all
    entries.push(hold(Switch::Off, "case-1", 20, 30));
    entries.push(hold(Switch::Off, "case-3", 0, 99));
    let (ledger, _) = taken(&entries);
    assert_eq!(held(&ledger), [0, 1, 0, 2, 0, 0]);
    entries.push(hold(Switch::Off, "case-1", 0, 99));
    entries.push(hold(Switch::Off, "case-2", 30, 31));
    let (ledger, _) = taken(&entries);
    assert_eq!(held(&ledger), [0; 6]);
    assert!(ledger.account(&chain()).unwrap().holds().is_empty());
}

#[test]
fn segments_are_judged_by_their_place_in_the_log() {
    let (old, new) = (key(SEAL, 1), key(SEAL, 2));
    let entry = |action, about: &Signer| {
        let mut entry = KeyEntry::new(ORIGIN, action, &about.verifier_key(), 1, "");
        for signer in [&old, &new] {
            entry.add(signer.id(), &signer.signature(&entry.text().unwrap()));
        }
        Entry::Key(Box::new(entry))
    };
    let entries =
        [segment(0), entry(Action::Introduce, &new), segment(1), segment(2), entry(Action::Retire, &old), segment(3)];
    let (ledger, results) = taken(&entries);
    assert!(results.iter().all(Result::is_ok));
    let judged =
        |sequence, key: &Signer| ledger.judge_segment(&chain(), sequence, SEAL, key.id()).map_err(|fault| fault.code);
    assert_eq!(judged(0, &old), Ok(()));
    assert_eq!(judged(0, &new), Err(code::KEY_NOT_INTRODUCED));
    assert_eq!((judged(1, &old), judged(1, &new), judged(2, &old)), (Ok(()), Ok(()), Ok(())));
    assert_eq!((judged(3, &old), judged(3, &new)), (Err(code::KEY_RETIRED), Ok(())));
    // not logged yet: as if it came next
    assert_eq!((judged(4, &old), judged(4, &new)), (Err(code::KEY_RETIRED), Ok(())));
}

#[test]
fn a_key_of_the_log_that_signed_before_it_was_introduced_is_found() {
    let log = key(ORIGIN, 5);
    let mut entry = KeyEntry::new(ORIGIN, Action::Introduce, &log.verifier_key(), 1, "");
    entry.add(log.id(), &log.signature(&entry.text().unwrap()));
    let mut ledger = Ledger::new(&Verifiers::of(&log));
    ledger.batch(ORIGIN, log.id(), 0).unwrap();
    let fault = ledger.take(7, &Entry::Key(Box::new(entry))).unwrap_err();
    assert_eq!(fault.code, code::KEY_NOT_INTRODUCED);
}
