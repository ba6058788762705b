//! The scripts of faults, and the attacker's hands.

use super::*;
use crate::error::Kind;
use std::time::Duration;

async fn put(store: &MemoryStore, key: &str) -> Result<Create> {
    store.create(key, Bytes::from_static(b"bytes"), &Retention::NONE).await
}

#[tokio::test]
async fn a_seed_is_a_schedule() {
    let seeded = |seed| Seeded { seed, failing: 40, slow: 0, longest: Duration::ZERO, forbidden: true };
    let schedule = |seed: u64| -> Vec<Fault> {
        let mut faults = seeded(seed);
        (0..200).map(|number| faults.decide(&Call { number, verb: Verb::Create, key: "k" })).collect()
    };
    assert_eq!(schedule(7), schedule(7));
    assert_ne!(schedule(7), schedule(8));
    let faults = schedule(7);
    let count = |wanted: fn(&&Fault) -> bool| faults.iter().filter(wanted).count();
    assert!(
        count(|f| f.lost.is_some()) > 20 && count(|f| f.landed.is_some()) > 10 && count(|f| **f == Fault::NONE) > 80
    );
    assert!(faults.iter().all(|f| f.landed != Some(Failure::Conflict) && f.landed != Some(Failure::Forbidden)));
}

#[tokio::test]
async fn lost_has_no_effect_and_landed_has_one() {
    let store = MemoryStore::new();
    store.set_faults(|call: &Call<'_>| match call.number {
        0 => Fault::lost(Failure::Forbidden),
        1 => Fault::lost(Failure::Conflict),
        2 => Fault::landed(Failure::Timeout),
        _ => Fault::NONE,
    });
    assert_eq!(put(&store, "a").await.unwrap_err().kind(), Kind::Config);
    assert_eq!(put(&store, "a").await.unwrap_err().kind(), Kind::Retry);
    assert_eq!(store.keys(), [""; 0]);
    assert_eq!(put(&store, "a").await.unwrap_err().kind(), Kind::Retry);
    assert_eq!(store.keys(), ["a"]);
    assert_eq!(put(&store, "a").await.unwrap(), Create::Exists);
    assert_eq!(store.calls(), 4);
}

#[tokio::test]
async fn a_slow_request_lands_after_its_writer_gave_up_waiting_for_the_answer() {
    let store = MemoryStore::new();
    let hour = Duration::from_secs(3600);
    let slow_answer = Fault { after: hour, ..Fault::NONE };
    store.set_faults(move |call: &Call<'_>| match call.key {
        "dropped" => Fault::slow(hour),
        "landed" => slow_answer,
        _ => Fault::NONE,
    });
    let wait = Duration::from_millis(20);
    assert!(tokio::time::timeout(wait, put(&store, "dropped")).await.is_err());
    assert!(tokio::time::timeout(wait, put(&store, "landed")).await.is_err());
    assert_eq!(store.keys(), ["landed"]);
}

#[tokio::test]
async fn the_attacker_works_on_a_copy_or_in_place() {
    let store = MemoryStore::new();
    put(&store, "chains/a").await.unwrap();
    let copy = store.fork();
    copy.replace("chains/a", "other");
    assert_eq!(copy.read_oldest("chains/a").await.unwrap().unwrap().bytes, "other");
    assert_eq!(store.read_oldest("chains/a").await.unwrap().unwrap().bytes, "bytes");
    copy.remove("chains/a");
    assert!(copy.read_oldest("chains/a").await.unwrap().is_none());
    assert_eq!(copy.keys(), [""; 0]);
}

#[tokio::test]
async fn locks_hold_until_their_date() {
    let store = MemoryStore::new();
    store.set_clock(Some(1_000));
    let lock = Retention { mode: LockMode::Compliance, until: Some(5_000) };
    store.create("chains/a", Bytes::from_static(b"bytes"), &lock).await.unwrap();
    let id = store.versions("chains/a").await.unwrap().held[0].id.clone();
    assert!(matches!(store.delete_version("chains/a", &id).await.unwrap(), Change::Locked(_)));
    let shorter = Retention { until: Some(4_000), ..lock };
    assert!(matches!(store.set_retention("chains/a", &id, &shorter).await.unwrap(), Change::Locked(_)));
    let weaker = Retention { mode: LockMode::Governance, until: Some(9_000) };
    assert!(matches!(store.set_retention("chains/a", &id, &weaker).await.unwrap(), Change::Locked(_)));
    let longer = Retention { until: Some(6_000), ..lock };
    assert_eq!(store.set_retention("chains/a", &id, &longer).await.unwrap(), Change::Done);
    assert_eq!(store.retention_of("chains/a", &id).await.unwrap(), Some(longer));
    store.set_clock(Some(6_000));
    assert_eq!(store.delete_version("chains/a", &id).await.unwrap(), Change::Done);
    assert!(store.keys().is_empty());
}
