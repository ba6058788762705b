//! `claim`, and what a lock must cover.

use super::{memory::MemoryStore, *};
use crate::{error::Kind, layout::STORE_JSON};

#[tokio::test]
async fn a_store_belongs_to_one_origin() {
    let store = MemoryStore::new();
    let first = claim(&store, "log.example.org/a", 1_000).await.unwrap();
    assert_eq!((first.origin.as_str(), first.created), ("log.example.org/a", 1_000));
    let again = claim(&store, "log.example.org/a", 2_000).await.unwrap();
    assert_eq!(again, first);
    let error = claim(&store, "log.example.org/b", 3_000).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("org/a") && error.to_string().contains("org/b"), "{error}");
    assert_eq!(store.keys(), [STORE_JSON]);
}

#[tokio::test]
async fn a_store_json_that_is_not_ours_is_refused() {
    let store = MemoryStore::new();
    store.shadow(STORE_JSON, "{}");
    let error = claim(&store, "log.example.org/a", 1_000).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("memory/store.json"), "{error}");
}

#[test]
fn a_lock_covers_what_is_weaker_and_shorter() {
    let lock = |mode, until| Retention { mode, until: Some(until) };
    let (governance, compliance) = (LockMode::Governance, LockMode::Compliance);
    for (found, asked, covered) in [
        (lock(compliance, 5_000), lock(compliance, 5_000), true),
        (lock(compliance, 6_000), lock(compliance, 5_000), true),
        (lock(compliance, 4_000), lock(compliance, 5_000), false),
        (lock(compliance, 5_000), lock(governance, 5_000), true),
        (lock(governance, 9_000), lock(compliance, 5_000), false),
        (Retention::NONE, lock(governance, 5_000), false),
        (Retention::NONE, Retention::NONE, true),
    ] {
        assert_eq!(covers(&found, &asked), covered, "{found:?} for {asked:?}");
    }
    assert_eq!(show_lock(&lock(compliance, 1_800_000_000_000)), "COMPLIANCE until 2027-01-15T08:00:00Z");
    assert_eq!(show_lock(&Retention::NONE), "no lock");
}
