//! Faithful stores pass; each way of falling short is named.

use super::*;
use crate::store::{
    dir::DirStore,
    memory::{Call, Failure, Fault, Flaws, MemoryStore},
};

const NOW: i64 = 1_800_000_000_123;

fn ask(lock: LockMode) -> Ask {
    Ask { lock, confirm_compliance: true, now: NOW }
}

fn memory(flaws: Flaws) -> MemoryStore {
    let store = MemoryStore::flawed(flaws);
    store.set_clock(Some(NOW + 2_000));
    store
}

#[tokio::test]
async fn a_faithful_store_passes_and_is_left_clean() {
    for lock in [LockMode::Governance, LockMode::Compliance] {
        let store = memory(Flaws::default());
        let report = run(&store, ask(lock)).await.unwrap();
        assert!(report.checks.iter().all(|check| check.state == State::Held), "{report}");
        assert_eq!(report.checks.len(), 9);
        let keys = store.keys();
        assert!(matches!(&keys[..], [key] if key.starts_with("selftest/") && key.ends_with(".locked")), "{keys:?}");
        assert!(report.to_string().contains("create_only        held"), "{report}");
    }
    let store = memory(Flaws::default());
    let report = run(&store, ask(LockMode::None)).await.unwrap();
    assert_eq!(report.state(Guarantee::LockKept), Some(State::NotTried));
    assert!(store.keys().is_empty());
}

#[tokio::test]
async fn each_flaw_is_named() {
    let default_lock = Some(Retention { mode: LockMode::Governance, until: Some(NOW + 86_400_000) });
    for (flaws, missing) in [
        (Flaws { replaces: true, ..Flaws::default() }, &["create_only", "one_winner"][..]),
        (Flaws { drops_locks: true, ..Flaws::default() }, &["lock_kept"]),
        (Flaws { deletes_locked: true, ..Flaws::default() }, &["lock_holds"]),
        (Flaws { shortens_locks: true, ..Flaws::default() }, &["lock_not_shortened"]),
        (Flaws { default_lock, ..Flaws::default() }, &["no_default_lock"]),
        (Flaws { unversioned: true, ..Flaws::default() }, &["versions", "lock_kept"]),
        (Flaws { garbles: true, ..Flaws::default() }, &["reads_back"]),
    ] {
        let store = memory(flaws.clone());
        let error = run(&store, ask(LockMode::Compliance)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{flaws:?}");
        for name in missing {
            assert!(error.to_string().contains(&format!("{name} (")), "{flaws:?}: {error}");
        }
    }
}

#[tokio::test]
async fn where_the_policy_denies_trying_it_says_read_back_only() {
    let store = memory(Flaws { denies_changes: true, ..Flaws::default() });
    let report = run(&store, ask(LockMode::Governance)).await.unwrap();
    assert_eq!(report.state(Guarantee::LockKept), Some(State::Held));
    for guarantee in [Guarantee::LockHolds, Guarantee::LockNotShortened] {
        assert_eq!(report.state(guarantee), Some(State::NotTried));
    }
    assert!(report.to_string().contains("read back only"), "{report}");
}

#[tokio::test]
async fn a_wrong_clock_is_named_and_five_minutes_are_not() {
    for (skew, good) in
        [(MAX_SKEW_MS, true), (MAX_SKEW_MS + 1_000, false), (-MAX_SKEW_MS, true), (-MAX_SKEW_MS - 1_000, false)]
    {
        let store = memory(Flaws::default());
        store.set_clock(Some(NOW + skew));
        let result = run(&store, ask(LockMode::Governance)).await;
        assert_eq!(result.is_ok(), good, "{skew}: {result:?}");
        if let Err(e) = result {
            assert!(e.to_string().contains("clock (") && e.to_string().contains("301 s"), "{e}");
        }
    }
}

#[tokio::test]
async fn compliance_needs_to_be_confirmed() {
    let store = memory(Flaws::default());
    let error = run(&store, Ask { confirm_compliance: false, ..ask(LockMode::Compliance) }).await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("confirm_compliance"), "{error}");
    assert_eq!(store.calls(), 0);
}

#[tokio::test]
async fn a_directory_is_honest_about_locks() {
    let root = tempfile::tempdir().unwrap();
    let store = DirStore::new(root.path());
    let report = run(&store, ask(LockMode::None)).await.unwrap();
    assert_eq!(report.state(Guarantee::CreateOnly), Some(State::Held));
    assert_eq!(report.state(Guarantee::OneWinner), Some(State::Held));
    assert_eq!(report.state(Guarantee::LockKept), Some(State::NotTried));
    assert!(store.list("", None, 9).await.unwrap().is_empty());
    let error = run(&store, ask(LockMode::Governance)).await.unwrap_err();
    assert!(error.to_string().contains("lock_kept ("), "{error}");
}

#[tokio::test]
async fn an_outage_is_no_verdict() {
    for number in 0..40 {
        let store = memory(Flaws::default());
        store.set_faults(
            move |call: &Call<'_>| {
                if call.number == number { Fault::lost(Failure::Unavailable) } else { Fault::NONE }
            },
        );
        match run(&store, ask(LockMode::Governance)).await {
            Ok(report) => assert!(report.checks.iter().all(|check| check.state == State::Held), "{number}: {report}"),
            Err(e) => assert!(e.is_retry(), "{number}: {e}"),
        }
    }
}

#[tokio::test]
async fn what_earlier_tests_left_is_swept_and_what_another_is_doing_is_not() {
    let store = memory(Flaws::default());
    let hour = 3_600_000;
    for (ago, left) in [(2 * hour, 1), (hour / 2, 1), (0, 2)] {
        store.set_clock(Some(NOW - ago));
        run(&store, Ask { now: NOW - ago, ..ask(LockMode::Governance) }).await.unwrap();
        assert_eq!(store.keys().len(), left, "{:?}", store.keys());
    }
}
