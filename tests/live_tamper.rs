//! The attacks of the taxonomy on a real S3 endpoint, as far as it lets them happen: versions, delete markers, locks,
//! and everything that somebody can do who may bypass GOVERNANCE. Needs `AUTHSEAL_TEST_S3`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;
mod matrix;
mod s3;

use authseal::{
    audit::{self, VerifyOptions},
    layout,
    retention::{LockMode, Retention},
    store::{
        Store,
        s3::{S3Settings, S3Store},
    },
};
use aws_sdk_s3::{
    Client,
    primitives::{ByteStream, DateTime},
    types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
        ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lab::*;
use matrix::{
    base::{Base, base, keys},
    case::{Case, Op},
    rows, run,
};
use std::{collections::BTreeMap, sync::Arc};

/// Stores next to each other in one bucket, each in a folder of its own; and somebody who may do anything to them.
struct Hands {
    client: Client,
    bucket: String,
    endpoint: String,
}

impl Hands {
    async fn store(&self, folder: &str) -> S3Store {
        let mut settings = S3Settings::new(&self.bucket, folder);
        settings.endpoint = Some(self.endpoint.clone());
        settings.path_style = true;
        S3Store::with_config(settings, &s3::base().await).unwrap()
    }

    async fn put(&self, key: &str, bytes: Bytes, lock: Retention) {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(bytes));
        let mode = match lock.mode {
            LockMode::None => None,
            LockMode::Governance => Some(ObjectLockMode::Governance),
            LockMode::Compliance => Some(ObjectLockMode::Compliance),
        };
        let put = put.set_object_lock_mode(mode);
        put.set_object_lock_retain_until_date(lock.until.map(DateTime::from_millis)).send().await.unwrap();
    }

    /// Deletes all versions and markers of a key, bypassing GOVERNANCE.
    async fn remove(&self, key: &str) {
        let listed = self.client.list_object_versions().bucket(&self.bucket).prefix(key).send().await.unwrap();
        let held = listed.versions().iter().map(|v| (v.key(), v.version_id()));
        let ids = held.chain(listed.delete_markers().iter().map(|m| (m.key(), m.version_id())));
        for (_, id) in ids.filter(|(name, _)| *name == Some(key)) {
            let delete =
                self.client.delete_object().bucket(&self.bucket).key(key).set_version_id(id.map(str::to_owned));
            delete.bypass_governance_retention(true).send().await.unwrap();
        }
    }

    async fn relock(&self, key: &str, lock: Retention) {
        let listed = self.client.list_object_versions().bucket(&self.bucket).prefix(key).send().await.unwrap();
        let oldest = listed.versions().iter().rfind(|v| v.key() == Some(key)).unwrap();
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .set_retain_until_date(lock.until.map(DateTime::from_millis))
            .build();
        let put = self.client.put_object_retention().bucket(&self.bucket).key(key).retention(retention);
        put.set_version_id(oldest.version_id().map(str::to_owned))
            .bypass_governance_retention(true)
            .send()
            .await
            .unwrap();
    }

    async fn hold(&self, key: &str, on: bool) {
        let status = if on { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        self.client.put_object_legal_hold().bucket(&self.bucket).key(key).legal_hold(hold).send().await.unwrap();
    }

    /// Does it; `false` where nobody can do it here.
    async fn harm(&self, base: &Base, folder: &str, ops: &[Op]) -> bool {
        let done = |op: &Op| match op {
            Op::Put(..) | Op::Remove(_) | Op::Shadow(..) | Op::Mark(_) | Op::Hold(..) => true,
            // a lock can be shortened here, not lifted; the bucket's settings are tried apart
            Op::Relock(_, lock) => lock.mode == LockMode::Governance,
            Op::Under(..) | Op::Unreadable(_) | Op::Huge(..) | Op::Bucket(_) => false,
        };
        if !ops.iter().all(done) {
            return false;
        }
        for op in ops {
            let full = |key: &str| format!("{folder}/{key}");
            match op.clone() {
                Op::Put(key, bytes) => {
                    let lock = match base.objects.contains_key(&key) {
                        true => base.lock_of(&key),
                        false => run::own_lock(&bytes).unwrap_or(Retention::NONE),
                    };
                    self.remove(&full(&key)).await;
                    self.put(&full(&key), bytes, lock).await;
                }
                Op::Remove(key) => self.remove(&full(&key)).await,
                Op::Shadow(key, bytes) => self.put(&full(&key), bytes, Retention::NONE).await,
                Op::Mark(key) => {
                    self.client.delete_object().bucket(&self.bucket).key(full(&key)).send().await.unwrap();
                }
                Op::Hold(key, on) => self.hold(&full(&key), on).await,
                Op::Relock(key, lock) => self.relock(&full(&key), lock).await,
                Op::Under(..) | Op::Unreadable(_) | Op::Huge(..) | Op::Bucket(_) => {}
            }
        }
        true
    }
}

async fn hands(endpoint: &str, name: &str) -> Hands {
    let (_, attacker) = s3::store(endpoint, name).await;
    Hands { client: attacker.client, bucket: attacker.bucket, endpoint: endpoint.to_owned() }
}

async fn fill(store: &S3Store, base: &Base) {
    let puts = base.objects.iter().map(|(key, bytes)| async move {
        match key == layout::CHECKPOINT {
            true => store.replace(key, bytes.clone()).await.unwrap(),
            false => drop(store.create(key, bytes.clone(), &base.lock_of(key)).await.unwrap()),
        }
    });
    stream::iter(puts).buffer_unordered(8).collect::<Vec<()>>().await;
}

/// Every attack and code, at the last of its places; what is done to versions and locks also at the first.
fn chosen(cases: Vec<Case>) -> Vec<Case> {
    let mut last: BTreeMap<(u8, &str, &str), usize> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        last.insert((case.row, case.attack, case.code), number);
    }
    let mut first: BTreeMap<(u8, &str, &str), ()> = BTreeMap::new();
    let keep = |(number, case): &(usize, Case)| {
        let kind = (case.row, case.attack, case.code);
        first.insert(kind, ()).is_none() && (19..=24).contains(&case.row) || last[&kind] == *number
    };
    let all = cases.into_iter().enumerate();
    all.filter(keep).map(|(_, case)| case).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_on_a_real_bucket_is_missed() {
    let Some(endpoint) = s3::endpoint_or_missing("attacks on a bucket") else { return };
    let base = base(LockMode::Governance);
    let hands = hands(&endpoint, "attacks").await;
    let untouched = hands.store("untouched").await;
    fill(&untouched, &base).await;
    let report = audit::verify(Arc::new(untouched), &keys(), VerifyOptions::new(NOW)).await.unwrap();
    assert_eq!((report.exit_code(), report.verdicts.protection), (0, "good"), "{report}");
    assert_eq!((report.protection.governance, report.protection.requests), (22, 0), "{report}");
    let (mut ran, mut faults) = (0, Vec::new());
    for (number, case) in chosen(rows::cases(&base)).into_iter().enumerate() {
        let folder = format!("case-{number}");
        let store = hands.store(&folder).await;
        fill(&store, &base).await;
        if hands.harm(&base, &folder, &case.ops).await {
            ran += 1;
            faults.extend(case.missed(&run::audit(Arc::new(store), &case).await));
        }
    }
    assert!(faults.is_empty(), "{} of {ran} missed:\n{}", faults.len(), faults[0]);
    assert!(ran >= 80, "only {ran} cases were run");
}

#[tokio::test]
async fn the_settings_of_a_real_bucket_and_holds_are_told() {
    let Some(endpoint) = s3::endpoint_or_missing("settings of a bucket") else { return };
    let base = base(LockMode::Governance);
    let hands = hands(&endpoint, "settings").await;
    let store = Arc::new(hands.store("evidence").await);
    fill(&store, &base).await;
    hands.hold(&format!("evidence/{}", key(matrix::base::A, 1)), true).await;
    let verify = async || audit::verify(store.clone(), &keys(), VerifyOptions::new(NOW)).await.unwrap();
    let report = verify().await;
    assert_eq!((report.exit_code(), report.protection.holds), (0, 1), "{report}");
    let rule = |prefix: &str| {
        let rule = LifecycleRule::builder().id("clean up").status(ExpirationStatus::Enabled);
        let filter = LifecycleRuleFilter::builder().prefix(prefix).build();
        let expiration = LifecycleExpiration::builder().days(90).build();
        let rules =
            BucketLifecycleConfiguration::builder().rules(rule.filter(filter).expiration(expiration).build().unwrap());
        rules.build().unwrap()
    };
    for (prefix, code, exit) in [("evidence/", Some("bucket_expires"), 13), ("elsewhere/", None, 0)] {
        let put = hands.client.put_bucket_lifecycle_configuration().bucket(&hands.bucket);
        put.lifecycle_configuration(rule(prefix)).send().await.unwrap();
        let report = verify().await;
        assert_eq!((report.exit_code(), report.findings.first().map(|f| f.name)), (exit, code), "{report}");
    }
}
