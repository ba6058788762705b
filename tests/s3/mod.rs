//! A real S3 endpoint for tests: `AUTHSEAL_TEST_S3=http://127.0.0.1:4566` (tests/services/localstack.sh), with the
//! credentials test/test unless the environment has others.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod proxy;

use authseal::store::s3::{S3Settings, S3Store};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::{
    Client,
    config::{Credentials, Region},
    primitives::ByteStream,
    types::{
        BucketVersioningStatus, DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
        ObjectLockRule, VersioningConfiguration,
    },
};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where it is; `None` if there is none.
pub fn endpoint() -> Option<String> {
    std::env::var("AUTHSEAL_TEST_S3").ok().filter(|endpoint| !endpoint.is_empty())
}

/// Without an endpoint a test says that it did not run; where `CI` is set that is a failure.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what}: CI is set and AUTHSEAL_TEST_S3 is not: start tests/services/localstack.sh and name its endpoint"
    );
    eprintln!("{what}: not tried, AUTHSEAL_TEST_S3 names no endpoint");
}

/// The endpoint, if the test can run.
pub fn endpoint_or_missing(what: &str) -> Option<String> {
    let endpoint = endpoint();
    if endpoint.is_none() {
        missing(what);
    }
    endpoint
}

pub async fn base() -> SdkConfig {
    let key = |name: &str| std::env::var(name).unwrap_or_else(|_| "test".into());
    let credentials = Credentials::new(key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY"), None, None, "tests");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .load()
        .await
}

/// Whoever has the bucket's credentials and no scruples.
pub struct Attacker {
    pub client: Client,
    pub bucket: String,
    pub prefix: String,
}

impl Attacker {
    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.prefix)
    }

    /// Puts a newer version over `key`.
    pub async fn shadow(&self, key: &str, bytes: &'static [u8]) {
        let put = self.client.put_object().bucket(&self.bucket).key(self.key(key)).body(ByteStream::from_static(bytes));
        put.send().await.unwrap();
    }

    /// Puts a delete marker over `key`.
    pub async fn mark_deleted(&self, key: &str) {
        self.client.delete_object().bucket(&self.bucket).key(self.key(key)).send().await.unwrap();
    }

    /// Turns versioning on, as a bucket without locks may have it.
    pub async fn enable_versioning(&self) {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.client
            .put_bucket_versioning()
            .bucket(&self.bucket)
            .versioning_configuration(enabled)
            .send()
            .await
            .unwrap();
    }

    /// Gives every object of the bucket a lock.
    pub async fn set_default_lock(&self) {
        let default = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1).build();
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(ObjectLockRule::builder().default_retention(default).build())
            .build();
        let put = self.client.put_object_lock_configuration().bucket(&self.bucket).object_lock_configuration(lock);
        put.send().await.unwrap();
    }
}

/// A new bucket at `endpoint`, with Object Lock or without, and the store in it as reached through `via`.
pub async fn bucket(endpoint: &str, via: &str, name: &str, lock: bool) -> (S3Store, Attacker) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let bucket = format!("authseal-{name}-{:x}-{:x}-{number}", std::process::id(), since.as_millis());
    let base = base().await;
    let direct = aws_sdk_s3::config::Builder::from(&base).endpoint_url(endpoint).force_path_style(true).build();
    let client = Client::from_conf(direct);
    client.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(lock).send().await.unwrap();
    let mut settings = S3Settings::new(&bucket, "some/prefix");
    settings.endpoint = Some(via.to_owned());
    settings.path_style = true;
    let prefix = settings.prefix.clone();
    (S3Store::with_config(settings, &base).unwrap(), Attacker { client, bucket, prefix })
}

/// A store in a new bucket with Object Lock.
pub async fn store(endpoint: &str, name: &str) -> (S3Store, Attacker) {
    bucket(endpoint, endpoint, name, true).await
}
