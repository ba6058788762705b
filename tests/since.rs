//! Looking at what is new, at what must be there, and in how much memory.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;
mod matrix;

use authseal::{
    audit::{self, Expected, Report, Since, VerifyOptions},
    layout,
    retention::LockMode,
    segment::Codec,
    store::{
        Store,
        memory::{Call, Failure, Fault, MemoryStore, Verb},
    },
};
use lab::stores::Script;
use lab::*;
use matrix::{
    base::{A, B, MINUTE, base, checkpoint, keys, log_signer},
    run,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

async fn with(store: &MemoryStore, edit: impl FnOnce(&mut VerifyOptions)) -> Report {
    let mut options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW) };
    edit(&mut options);
    audit::verify(Arc::new(store.clone()), &keys(), options).await.unwrap()
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|f| f.name).collect()
}

/// Of each chain, how many segments were passed over, and how many looked at.
fn looked(report: &Report) -> Vec<(u64, u64)> {
    report.chains.iter().map(|chain| (chain.passed, chain.segments)).collect()
}

#[tokio::test]
async fn only_what_was_sealed_since_is_looked_at() {
    let store = run::bucket(&base(LockMode::Governance)).await;
    // segment n of an incarnation 0 is sealed n + 1 minutes after the beginning, of incarnation 1 half an hour later
    for (minutes, passed) in [(0, [0, 0, 0, 0]), (3, [1, 1, 0, 1]), (5, [3, 1, 0, 2]), (10, [5, 1, 0, 2])] {
        let report = with(&store, |o| o.since = Since::Sealed(BEGAN + minutes * MINUTE)).await;
        assert_eq!((report.exit_code(), codes(&report)), (0, vec![]), "{report}");
        // one segment before the cut is always looked at: what is new must follow it
        let expected: Vec<(u64, u64)> = passed.iter().zip([6, 2, 3, 3]).map(|(p, all)| (*p, all - p)).collect();
        assert_eq!(looked(&report), expected, "{minutes} minutes: {report}");
        assert_eq!(report.since.segments, passed.iter().sum::<u64>());
        let said = format!("{} segments before the cut were not looked at", passed.iter().sum::<u64>());
        assert!(report.to_string().replace("\n    ", " ").contains(&said), "{report}");
    }
}

#[tokio::test]
async fn what_lies_before_the_cut_is_not_seen_and_what_lies_behind_it_is() {
    let store = run::bucket(&base(LockMode::Governance)).await;
    let since = |o: &mut VerifyOptions| o.since = Since::Sealed(BEGAN + 5 * MINUTE);
    let changed = |sequence: u64| {
        let store = store.fork();
        store.shadow(&key(A, sequence), "x");
        store
    };
    for (sequence, exit) in [(0, 0), (2, 0), (3, 13), (4, 13), (5, 13)] {
        let report = with(&changed(sequence), since).await;
        assert_eq!(report.exit_code(), exit, "segment {sequence}\n{report}");
    }
    // one that cannot be trusted moves the cut before it
    let broken = store.fork();
    broken.replace(&key(A, 1), "x");
    let report = with(&broken, |o| o.since = Since::Sealed(BEGAN + 3 * MINUTE)).await;
    assert_eq!((report.exit_code(), codes(&report)[0]), (10, "not_a_segment"), "{report}");
    // the chain is cut off at the cut: the log tells, and without a log the memory of whoever looked before
    let cut = store.fork();
    (3..6).for_each(|n| cut.remove(&key(A, n)));
    assert_eq!(codes(&with(&cut, since).await), ["removed"]);
    cut.keys().iter().filter(|key| key.starts_with(layout::LOG)).for_each(|key| cut.remove(key));
    let known = BTreeMap::from([(chain(A), 4), (chain(B), 2)]);
    let report = with(&cut, |o| o.since = Since::Sequences(known)).await;
    assert_eq!((report.exit_code(), codes(&report)), (11, vec!["missing_segment"]), "{report}");
    assert_eq!(report.findings[0].place.sequence, Some(3));
}

#[tokio::test]
async fn what_a_kept_checkpoint_covers_is_passed_over() {
    let base = base(LockMode::Governance);
    let store = run::bucket(&base).await;
    // behind batch 1: three segments of A
    let batch = base.batch(1);
    let note = checkpoint(batch.header.size, batch.header.root, &log_signer(5));
    let report = with(&store, |o| {
        o.since = Since::Checkpoint;
        o.checkpoint = Some(note);
    })
    .await;
    assert_eq!((report.exit_code(), codes(&report)), (0, vec![]), "{report}");
    assert_eq!(looked(&report), [(2, 4), (0, 2), (0, 3), (0, 3)]);
    assert_eq!((report.since.checkpoint, report.since.segments), (Some(4), 2));
}

#[tokio::test]
async fn the_cut_is_found_with_few_requests() {
    let mut objects = Objects::new();
    objects.insert("store.json".into(), store_json(ORIGIN));
    let mut sealer = Sealer::new("main/long/0/0", Codec::Null);
    for _ in 0..1500 {
        sealer.seal(Part::Heartbeat);
    }
    sealer.put(&mut objects);
    let store = memory(&objects).await;
    let reads = Arc::new(Mutex::new(0));
    let counted = reads.clone();
    store.set_faults(Script(move |call: &Call<'_>| {
        *counted.lock().unwrap() += usize::from(call.verb == Verb::Read && call.key.starts_with(layout::CHAINS));
        Fault::NONE
    }));
    let report = with(&store, |o| {
        o.now = NOW + 1_000_000_000;
        o.since = Since::Sealed(BEGAN + 60_000 * 1491);
    })
    .await;
    assert_eq!((report.exit_code(), looked(&report)), (0, vec![(1489, 11)]), "{report}");
    assert!(*reads.lock().unwrap() <= 11 + 12, "{} segments read", reads.lock().unwrap());
}

#[tokio::test]
async fn chains_that_somebody_expects_must_be_there() {
    let store = run::bucket(&base(LockMode::Governance)).await;
    let expect = |texts: &[&str]| {
        let expect: Vec<Expected> = texts.iter().map(|text| Expected::parse(text).unwrap()).collect();
        with(&store, |o| o.expect = expect)
    };
    assert_eq!(expect(&["auth:2", "logins:1"]).await.exit_code(), 0);
    let report = expect(&["auth:3", "payments:2", "eu/auth:1"]).await;
    let told: Vec<String> = report.findings.iter().map(|f| f.place.chain.as_ref().unwrap().to_string()).collect();
    assert_eq!(told, ["eu/auth/0/0", "main/auth/2/0", "main/payments/0/0", "main/payments/1/0"], "{report}");
    assert!(codes(&report).iter().all(|code| *code == "chain_missing"));
    assert_eq!(report.exit_code(), 11);
}

/// A bucket that tells locks neither along with the bytes nor when it is asked: it is asked some times, and no more.
#[tokio::test]
async fn a_store_that_tells_no_locks_fails_and_is_not_asked_for_ever() {
    let base = base(LockMode::Governance);
    let store = run::bucket(&base).await;
    let flaws = authseal::store::memory::Flaws { tells_nothing: true, ..Default::default() };
    store.set_flaws(flaws);
    let report = with(&store, |_| {}).await;
    assert_eq!((report.exit_code(), report.verdicts.protection), (13, "unprotected"), "{report}");
    let p = report.protection;
    assert_eq!((p.promised, p.unknown, p.requests), (22, 22, 16), "{report}");
    let bucket = p.bucket.unwrap();
    assert_eq!((bucket.versioning, bucket.object_lock, bucket.expiry_rules), ("unknown", "unknown", "unknown"));
    // the segments of a chain are one finding
    let unknown = |text: &str| {
        let of_it = report.findings.iter().filter(|f| f.name == "lock_unknown");
        of_it.filter(|f| f.place.chain == Some(chain(text))).filter(|f| f.place.sequence.is_some()).count()
    };
    assert!(unknown(B) == 1 && codes(&report).contains(&"bucket_unknown"), "{report}");
    // what was promised no lock needs no asking
    let open = run::bucket(&matrix::base::base(LockMode::None)).await;
    open.set_flaws(authseal::store::memory::Flaws { tells_nothing: true, ..Default::default() });
    let report = with(&open, |_| {}).await;
    assert_eq!((report.exit_code(), report.verdicts.protection, report.protection.requests), (0, "unlocked", 0));
    let report = with(&open, |o| o.require_retention = Some(1000)).await;
    assert_eq!((report.exit_code(), report.verdicts.protection), (13, "unprotected"), "{report}");
}

/// Asking for settings may fail for a moment, or for good: the audit goes on.
#[tokio::test]
async fn a_bucket_that_does_not_answer_about_itself_is_a_notice() {
    let store = run::bucket(&base(LockMode::Compliance)).await;
    store.set_faults(Script(|call: &Call<'_>| match call.key {
        "" => Fault::lost(Failure::Forbidden),
        _ => Fault::NONE,
    }));
    let report = with(&store, |_| {}).await;
    assert_eq!((report.exit_code(), codes(&report)), (0, vec!["bucket_unknown"]), "{report}");
    assert_eq!(report.verdicts.protection, "good");
}

#[tokio::test]
async fn holds_are_counted() {
    let store = run::bucket(&base(LockMode::Compliance)).await;
    store.hold(&key(A, 2), true);
    let report = with(&store, |_| {}).await;
    assert_eq!((report.exit_code(), report.protection.holds), (0, 1), "{report}");
    assert!(report.to_string().contains("1 under legal hold"), "{report}");
    assert_eq!(store.list("", None, 1000).await.unwrap().len(), store.keys().len());
}
