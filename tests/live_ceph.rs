//! A real store that must be refused: Ceph 16 ignores `If-None-Match` in versioned buckets. It is named by
//! `AUTHSEAL_TEST_CEPH` (tests/services/ceph.sh), with the keys test and test; where `CI` is set it must be there. Ceph
//! also evaluates bucket policies, so the shipped one is tried on it, as far as it knows the conditions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod s3;

use authseal::{
    error::Kind,
    retention::{LockMode, Retention},
    store::{
        Create, Store as _,
        selftest::{self, Ask, Guarantee, State},
    },
};
use aws_sdk_s3::{
    operation::RequestId as _,
    primitives::{ByteStream, DateTime},
    types::{
        BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter, ObjectLockMode, VersioningConfiguration,
    },
};
use bytes::Bytes;
use serde_json::Value;
use std::{
    process::Command,
    time::{Duration, SystemTime},
};

fn ceph() -> Option<String> {
    let endpoint = std::env::var("AUTHSEAL_TEST_CEPH").ok().filter(|endpoint| !endpoint.is_empty());
    if endpoint.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set and AUTHSEAL_TEST_CEPH is not: start tests/services/ceph.sh and name its endpoint"
        );
        eprintln!("not tried: AUTHSEAL_TEST_CEPH names no endpoint");
    }
    endpoint
}

#[tokio::test]
async fn the_self_test_refuses_it_and_says_that_create_only_puts_are_ignored() {
    let Some(endpoint) = ceph() else { return };
    let (store, _) = s3::store(&endpoint, "refused").await;
    let now = jiff::Timestamp::now().as_millisecond();
    let ask = Ask { lock: LockMode::Governance, confirm_compliance: false, now };
    let error = selftest::run(&store, ask).await.expect_err("this store loses evidence");
    let words = error.to_string();
    assert_eq!(error.kind(), Kind::Config, "{words}");
    assert!(words.contains("create_only (") && words.contains("If-None-Match is ignored"), "{words}");
    assert!(words.contains("one_winner ("), "{words}");
    // everything else holds, so it is refused for what it lacks and not for what we got wrong
    let report = selftest::probe(&store, ask).await.unwrap();
    for check in &report.checks {
        let lacks = [Guarantee::CreateOnly, Guarantee::OneWinner, Guarantee::ReadsBack].contains(&check.guarantee);
        assert!(lacks || check.state == State::Held, "{report}");
    }
    // what the self-test keeps from happening: two writers that both believe they sealed the same segment
    for bytes in [&b"one"[..], b"two"] {
        let put = store.create("chains/a", Bytes::from_static(bytes), &Retention::NONE).await.unwrap();
        assert_eq!(put, Create::Created);
    }
}

#[tokio::test]
async fn the_binary_does_not_start_on_it() {
    let Some(endpoint) = ceph() else { return };
    let (_, attacker) = s3::store(&endpoint, "binary").await;
    let dir = tempfile::tempdir().unwrap();
    let authseal = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
        command.args(arguments).current_dir(dir.path());
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").output().unwrap()
    };
    let made = authseal(&["keys", "generate", "--origin", "authseal.test/ceph", "--out", "seal.key"]);
    assert!(made.status.success());
    let config = format!(
        r#"origin = "authseal.test/ceph"
[kafka]
brokers = "127.0.0.1:1"
[[topics]]
name = "auth"
format = "json"
[seal]
key_file = "seal.key"
[store]
kind = "s3"
bucket = "{}"
endpoint = "{endpoint}"
[http]
listen = "127.0.0.1:0"
"#,
        attacker.bucket
    );
    std::fs::write(dir.path().join("authseal.toml"), config).unwrap();
    let run = authseal(&["run"]);
    let words = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{words}");
    assert!(words.contains("create_only") && words.contains("If-None-Match is ignored"), "{words}");
}

/// Whether a request was refused with 403.
macro_rules! is_denied {
    ($request:expr) => {
        match $request.send().await {
            Ok(_) => false,
            Err(error) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                assert_eq!(status, Some(403), "{:?}: {error:?}", error.request_id());
                true
            }
        }
    };
}

#[tokio::test]
async fn it_enforces_the_shipped_bucket_policy() {
    let Some(endpoint) = ceph() else { return };
    let (_, attacker) = s3::store(&endpoint, "policy").await;
    let (client, bucket) = (&attacker.client, attacker.bucket.as_str());
    let put = |key: &str| client.put_object().bucket(bucket).key(key).body(ByteStream::from_static(b"x"));
    let until = DateTime::from(SystemTime::now() + Duration::from_secs(30 * 86_400));
    let sealed = put("chains/a").object_lock_mode(ObjectLockMode::Governance).object_lock_retain_until_date(until);
    let version = sealed.send().await.unwrap().version_id.unwrap();

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bucket-policy.json");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("EVIDENCE-BUCKET", bucket).replace("ACCOUNT", "000000000000");
    let text = text.replace("MINIMUM-DAYS", "29").replace("MAXIMUM-DAYS", "3660");
    let mut policy: Value = serde_json::from_str(&text).unwrap();
    // the endpoint has no TLS
    policy["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "NoPlainText");
    client.put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await.unwrap();

    // even the owner of the bucket is denied
    for key in ["chains/b", "artifacts/b", "log/batches/b", "store.json"] {
        assert!(is_denied!(put(key)), "{key}: a put that may replace");
    }
    for key in ["chains/a", "selftest/a", "log/checkpoint"] {
        assert!(is_denied!(client.delete_object().bucket(bucket).key(key)), "{key}: a delete marker");
    }
    let delete = || client.delete_object().bucket(bucket).key("chains/a").version_id(&version);
    assert!(is_denied!(delete()) && is_denied!(delete().bypass_governance_retention(true)));
    let expiry = LifecycleRule::builder()
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .expiration(LifecycleExpiration::builder().days(1).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder().rules(expiry).build().unwrap();
    assert!(is_denied!(client.put_bucket_lifecycle_configuration().bucket(bucket).lifecycle_configuration(rules)));
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    assert!(is_denied!(client.put_bucket_versioning().bucket(bucket).versioning_configuration(suspended)));

    // what authseal and an auditor do is not
    assert!(!is_denied!(put("log/checkpoint")) && !is_denied!(put("log/tile/0/x001/067")));
    assert!(!is_denied!(client.get_object().bucket(bucket).key("chains/a").version_id(&version)));
    let own = put("selftest/b").send().await.unwrap().version_id.unwrap();
    assert!(!is_denied!(client.delete_object().bucket(bucket).key("selftest/b").version_id(own)));
}
