//! Retention and holds on a real S3 endpoint with Object Lock: what is locked or held cannot be deleted by anybody,
//! what is past its date goes, and the audit tells it from what was removed.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod lab;
mod s3;

use authseal::{
    audit::{self, VerifyOptions},
    health::Health,
    layout,
    log::{
        Desk, Logger, Options, Parts, Queue,
        holds::{self, Ask},
        retention,
    },
    manifest::{Offsets, Writer},
    note::{Signer, Verifiers},
    retention::{LockMode, Retention, RetentionPolicy},
    segment::Codec,
    store::{Change, Create, Store},
    tlog::keep::Switch,
};
use lab::{ORIGIN, Part, Sealer, chain, signer, store_json};
use std::{sync::Arc, time::Duration};

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn log_key() -> Signer {
    Signer::from_seed(ORIGIN, [5; 32]).unwrap()
}

fn parts(store: &Arc<dyn Store>, queue: &Queue) -> Parts {
    Parts {
        store: store.clone(),
        signer: Arc::new(log_key()),
        keys: Arc::new(Verifiers::of(&log_key())),
        seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
        clock: Arc::new(now),
        publisher: None,
        health: Health::new(Duration::from_secs(60)),
        queue: queue.clone(),
    }
}

fn options() -> Options {
    let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
    let retention = RetentionPolicy { mode: LockMode::Governance, period: Duration::from_secs(3600) };
    Options::new(ORIGIN, writer, retention)
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_legal_holds_are_the_stores_and_disposal_is_the_logs() {
    let Some(endpoint) = s3::endpoint_or_missing("retention on S3") else { return };
    let (store, _) = s3::store(&endpoint, "retention").await;
    let store: Arc<dyn Store> = Arc::new(store);
    // five segments, locked for some seconds from now
    let until = (now() / 1000 + 8) * 1000;
    let mut sealer = Sealer::new("main/auth/0/0", Codec::Null);
    let queue = Queue::default();
    let lock = Retention { mode: LockMode::Governance, until: Some(until) };
    let created = store.create(layout::STORE_JSON, store_json(ORIGIN), &Retention::NONE).await.unwrap();
    assert_eq!(created, Create::Created);
    for _ in 0..5 {
        let sealed = sealer.seal_edited(Part::Records(10), |manifest| manifest.retention = lock);
        let key = layout::segment_key(&sealed.manifest.chain, sealed.manifest.sequence);
        assert_eq!(store.create(&key, sealed.bytes.clone(), &lock).await.unwrap(), Create::Created);
        queue.sealed(&sealed.manifest);
    }
    Logger::new(parts(&store, &queue), options()).turn().await.unwrap();
    let key = |sequence| layout::segment_key(&chain("main/auth/0/0"), sequence);
    let version = async |sequence| store.versions(&key(sequence)).await.unwrap().held[0].id.clone();

    let mut desk = Desk::open(parts(&store, &queue), options()).await.unwrap();
    let ask = |action, from, to| Ask {
        action,
        name: "CASE-7".into(),
        chain: chain("main/auth/0/0"),
        offsets: Offsets { from, to },
        reason: "court order".into(),
    };
    let held = holds::switch(&mut desk, &ask(Switch::On, 12, 14)).await.unwrap();
    assert_eq!((held.changed, held.without, held.failed.len()), (1, false, 0));
    assert_eq!(store.legal_hold_of(&key(1), &version(1).await).await.unwrap(), Some(true));
    assert_eq!(store.legal_hold_of(&key(2), &version(2).await).await.unwrap(), Some(false));
    // one is locked longer, and cannot be locked shorter again
    let longer = Retention { mode: LockMode::Governance, until: Some(until + 3_600_000) };
    let third =
        |id: &authseal::position::ChainId| (*id == chain("main/auth/0/0")).then_some(Offsets { from: 35, to: 36 });
    let extended = retention::extend(&desk, &third, until + 3_600_000, LockMode::Governance).await.unwrap();
    assert_eq!((extended.longer, extended.failed.len()), (1, 0));
    assert_eq!(store.retention_of(&key(3), &version(3).await).await.unwrap(), Some(longer));
    assert!(!matches!(store.set_retention(&key(3), &version(3).await, &lock).await.unwrap(), Change::Done));
    // before the date nothing is due
    if now() < until {
        assert_eq!(retention::due(&desk, &|_, _| None).await.unwrap(), []);
    }
    while now() <= until + 1000 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!matches!(store.delete_version(&key(1), &version(1).await).await.unwrap(), Change::Done), "it is held");
    let applied = retention::apply(&mut desk, &|_, _| None, "past its date").await.unwrap();
    assert_eq!((applied.deleted, applied.kept.len()), (2, 0), "{applied:?}");
    let mut keys = Verifiers::of(&signer(ORIGIN, 1));
    keys.extend(&Verifiers::of(&log_key())).unwrap();
    let audited = async || {
        let verify = VerifyOptions { require_log: true, ..VerifyOptions::new(now()) };
        let report = audit::verify(store.clone(), &keys, verify).await.unwrap();
        report.findings.iter().map(|finding| finding.name).collect::<Vec<_>>()
    };
    assert_eq!(audited().await, ["expired", "expired"]);
    // let go, it goes
    let held = holds::switch(&mut desk, &ask(Switch::Off, 0, 50)).await.unwrap();
    assert_eq!(held.changed, 1);
    assert_eq!(retention::apply(&mut desk, &|_, _| None, "past its date").await.unwrap().deleted, 1);
    let left: Vec<String> =
        store.list(layout::CHAINS, None, 10).await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(left, [key(3), key(4)]);
    assert_eq!(audited().await, ["expired"]);
}
