//! The S3 store against a real endpoint, named by `AUTHSEAL_TEST_S3` (tests/services/localstack.sh): locks hold, the
//! self-test passes, and buckets or servers that fall short are refused by name. Where `CI` is set and there is no
//! endpoint, these tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod s3;

use authseal::{
    error::Kind,
    retention::{LockMode, Retention},
    store::{
        Change, Create, Put, ReceiptKind, Store, Stored, claim, put_new,
        s3::{S3Settings, S3Store},
        selftest::{self, Ask, Guarantee, State},
    },
};
use bytes::Bytes;
use s3::{
    Attacker, base, bucket, endpoint_or_missing,
    proxy::{self, Meddler},
    store,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn ask(lock: LockMode) -> Ask {
    Ask { lock, confirm_compliance: true, now: now() }
}

fn lock(mode: LockMode, seconds: i64) -> Retention {
    Retention { mode, until: Some((now() / 1000 + seconds) * 1000) }
}

const BYTES: Bytes = Bytes::from_static(b"evidence");

/// Refused, and each of `missing` named.
async fn refused(store: &S3Store, lock: LockMode, missing: &[Guarantee]) {
    let error = selftest::run(store, ask(lock)).await.expect_err("this store must be refused");
    assert_eq!(error.kind(), Kind::Config, "{error}");
    for guarantee in missing {
        assert!(error.to_string().contains(&format!("{} (", guarantee.name())), "{guarantee:?}: {error}");
    }
}

#[tokio::test]
async fn a_faithful_bucket_passes_the_self_test() {
    let Some(endpoint) = endpoint_or_missing("the self-test") else { return };
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let (store, _) = store(&endpoint, "selftest").await;
        let report = selftest::run(&store, ask(mode)).await.unwrap();
        println!("{report}");
        assert!(report.checks.iter().all(|check| check.state == State::Held), "{report}");
        assert_eq!(report.checks.len(), 9);
        // what is left is locked, and gone for good when its minute is over
        let left = store.list("", None, 10).await.unwrap();
        assert!(matches!(&left[..], [entry] if entry.key.ends_with(".locked")), "{left:?}");
    }
}

#[tokio::test]
async fn locks_hold_and_are_told() {
    let Some(endpoint) = endpoint_or_missing("locks") else { return };
    let (store, attacker) = store(&endpoint, "locks").await;
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let key = format!("chains/{mode:?}");
        let asked = lock(mode, 3600);
        assert_eq!(store.create(&key, BYTES, &asked).await.unwrap(), Create::Created);
        let stored = store.read_oldest(&key).await.unwrap().unwrap();
        assert_eq!((&stored.bytes, stored.retention), (&BYTES, Some(asked)));
        assert_eq!(store.retention_of(&key, &stored.version).await.unwrap(), Some(asked));

        let refused = store.delete_version(&key, &stored.version).await.unwrap();
        assert!(matches!(refused, Change::Locked(_)), "{refused:?}");
        let shorter = Retention { until: asked.until.map(|until| until - 1_800_000), ..asked };
        let refused = store.set_retention(&key, &stored.version, &shorter).await.unwrap();
        assert!(matches!(refused, Change::Locked(_)), "{refused:?}");
        let longer = Retention { until: asked.until.map(|until| until + 1_800_000), ..asked };
        assert_eq!(store.set_retention(&key, &stored.version, &longer).await.unwrap(), Change::Done);
        assert_eq!(store.retention_of(&key, &stored.version).await.unwrap(), Some(longer));

        // whatever is put over it, the first version stays the oldest and readable
        attacker.shadow(&key, b"shadow").await;
        attacker.mark_deleted(&key).await;
        assert_eq!(store.read_oldest(&key).await.unwrap().unwrap(), Stored { retention: Some(longer), ..stored });
    }
}

#[tokio::test]
async fn our_bytes_count_only_with_our_lock() {
    let Some(endpoint) = endpoint_or_missing("locks of our own bytes") else { return };
    let (store, _) = store(&endpoint, "ours").await;
    let asked = lock(LockMode::Governance, 3600);
    let put = |key: &'static str| put_new(&store, key, BYTES, &asked);
    for expected in [ReceiptKind::Created, ReceiptKind::OwnLostResponse] {
        match put("chains/a").await.unwrap() {
            Put::Ours(receipt) => assert_eq!(receipt.kind(), expected),
            put => panic!("{put:?}"),
        }
    }
    assert_eq!(store.create("chains/unlocked", BYTES, &Retention::NONE).await.unwrap(), Create::Created);
    let version = store.versions("chains/unlocked").await.unwrap().held[0].id.clone();
    assert_eq!(store.retention_of("chains/unlocked", &version).await.unwrap(), Some(Retention::NONE));
    let error = put("chains/unlocked").await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("no lock"), "{error}");
}

#[tokio::test]
async fn buckets_that_fall_short_are_refused_by_name() {
    let Some(endpoint) = endpoint_or_missing("unfit buckets") else { return };
    let (store, attacker) = bucket(&endpoint, &endpoint, "unfit", false).await;
    let error = selftest::run(&store, ask(LockMode::Governance)).await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("versions"), "{error}");

    attacker.enable_versioning().await;
    refused(&store, LockMode::Governance, &[Guarantee::LockKept]).await;
    selftest::run(&store, ask(LockMode::None)).await.unwrap();

    let (store, attacker) = bucket(&endpoint, &endpoint, "default", true).await;
    attacker.set_default_lock().await;
    refused(&store, LockMode::Governance, &[Guarantee::NoDefaultLock]).await;
}

async fn behind(endpoint: &str, meddler: Arc<Meddler>) -> (S3Store, Attacker) {
    let proxy = proxy::start(endpoint, meddler).await;
    bucket(endpoint, &proxy, "proxy", true).await
}

#[tokio::test]
async fn servers_that_ignore_headers_are_refused_by_name() {
    let Some(endpoint) = endpoint_or_missing("unfaithful servers") else { return };
    let (store, _) = behind(&endpoint, Arc::new(Meddler { drops: &["if-none-match"], ..Meddler::default() })).await;
    refused(&store, LockMode::Governance, &[Guarantee::CreateOnly, Guarantee::OneWinner]).await;

    let drops = &["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"];
    let (store, _) = behind(&endpoint, Arc::new(Meddler { drops, ..Meddler::default() })).await;
    refused(&store, LockMode::Compliance, &[Guarantee::LockKept]).await;
    let error = store.create("chains/a", BYTES, &lock(LockMode::Compliance, 60)).await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("no lock"), "{error}");

    // the same bucket behind an honest proxy
    let (store, _) = behind(&endpoint, Arc::new(Meddler::default())).await;
    selftest::run(&store, ask(LockMode::Compliance)).await.unwrap();
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_recognised() {
    let Some(endpoint) = endpoint_or_missing("lost answers") else { return };
    let meddler = Arc::new(Meddler::default());
    let (store, _) = behind(&endpoint, meddler.clone()).await;
    meddler.loses.store(1, Ordering::SeqCst);
    match put_new(&store, "chains/a", BYTES, &lock(LockMode::Governance, 60)).await.unwrap() {
        Put::Ours(receipt) => assert_eq!(receipt.kind(), ReceiptKind::OwnLostResponse),
        put => panic!("{put:?}"),
    }
    assert_eq!(meddler.puts.load(Ordering::SeqCst), 2);
    assert_eq!(store.versions("chains/a").await.unwrap().held.len(), 1);
}

#[tokio::test]
async fn more_keys_than_a_page_are_listed() {
    let Some(endpoint) = endpoint_or_missing("long lists") else { return };
    let (store, _) = store(&endpoint, "pages").await;
    let keys: Vec<String> = (0..1_030).map(|n| format!("chains/main/topic/00000/0000/{n:012}.avro")).collect();
    for some in keys.chunks(64) {
        let puts = some.iter().map(|key| store.create(key, BYTES, &Retention::NONE));
        for result in futures_util::future::join_all(puts).await {
            assert_eq!(result.unwrap(), Create::Created);
        }
    }
    let listed = store.list("chains/", None, usize::MAX).await.unwrap();
    assert!(listed.iter().map(|entry| &entry.key).eq(keys.iter()));
    let tail = store.list("chains/", Some(&keys[1_010]), 1_000).await.unwrap();
    assert_eq!(tail.len(), 19);
    assert_eq!(store.folders("chains/main/").await.unwrap(), ["chains/main/topic/"]);
}

#[tokio::test]
async fn the_clock_and_the_claim_work() {
    let Some(endpoint) = endpoint_or_missing("clock and claim") else { return };
    let (store, _) = store(&endpoint, "claim").await;
    let clock = store.clock().await.unwrap().expect("S3 tells the time");
    assert!((clock - now()).abs() < selftest::MAX_SKEW_MS, "{clock}");
    let first = claim(&store, "log.example.org/a", 1_000).await.unwrap();
    assert_eq!(claim(&store, "log.example.org/a", 2_000).await.unwrap(), first);
    let error = claim(&store, "log.example.org/b", 3_000).await.unwrap_err();
    assert!(error.to_string().contains("org/a") && error.to_string().contains("org/b"), "{error}");
}

/// The endpoint does not enforce policies for its only user; it does check that they are well formed.
#[tokio::test]
async fn the_shipped_bucket_policy_is_accepted() {
    let Some(endpoint) = endpoint_or_missing("the bucket policy") else { return };
    let (_, attacker) = store(&endpoint, "policy").await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bucket-policy.json");
    let policy = std::fs::read_to_string(path).unwrap();
    let policy = policy.replace("EVIDENCE-BUCKET", &attacker.bucket).replace("ACCOUNT", "000000000000");
    let policy = policy.replace("MINIMUM-DAYS", "29").replace("MAXIMUM-DAYS", "3660");
    attacker.client.put_bucket_policy().bucket(&attacker.bucket).policy(policy).send().await.unwrap();
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let Some(endpoint) = endpoint_or_missing("a missing bucket") else { return };
    let mut settings = S3Settings::new("authseal-no-such-bucket", "");
    settings.endpoint = Some(endpoint);
    settings.path_style = true;
    let store = S3Store::with_config(settings, &base().await).unwrap();
    for error in [
        store.create("chains/a", BYTES, &Retention::NONE).await.unwrap_err(),
        store.list("", None, 1).await.unwrap_err(),
        store.read_oldest("chains/a").await.unwrap_err(),
        selftest::run(&store, ask(LockMode::Governance)).await.unwrap_err(),
    ] {
        assert!(error.kind() == Kind::Config && error.to_string().contains("authseal-no-such-bucket"), "{error}");
        assert!(error.to_string().contains("create the bucket"), "{error}");
    }
}
