//! S3 with Object Lock, at AWS or any server that keeps its conditional writes and locks (the self-test tries).
//!
//! | file | owns |
//! |---|---|
//! | `settings` | where the bucket is, timeouts, attempts, checksums |
//! | `write` | create-only puts, locks and their reading back |
//! | `list` | listing versions |
//! | `errors` | what an answer means |
//! | `bucket` | what the bucket says of itself |
//! | `clock` | the `Date` of answers |

mod bucket;
mod clock;
mod errors;
mod list;
mod settings;
mod write;

pub(crate) use list::decode;
pub use settings::S3Settings;

use super::{
    Bucket, Change, Create, Entry, MAX_OBJECT, Store, Stored, Versions, check_create, check_key, check_replace,
    key::check_prefix, too_long,
};
use crate::{
    error::{Error, Result},
    retention::{LockMode, Retention},
};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    primitives::DateTime,
    types::{ChecksumMode, ObjectLockLegalHoldStatus, ObjectLockMode},
};
use bytes::{Bytes, BytesMut};
use clock::DateKeeper;
use errors::{Class, reply};

/// A bucket, or a prefix of one, as a store. Clones share the connections.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    settings: S3Settings,
    /// What all keys begin with: empty, or ending in a slash.
    root: String,
    dates: DateKeeper,
}

impl S3Store {
    /// The bucket of `settings`, with credentials from the standard AWS chain. Asks the bucket nothing yet.
    pub async fn connect(settings: S3Settings) -> Result<Self> {
        settings.check()?;
        let base = settings.standard_chain().await;
        if base.region().is_none() {
            return Err(Error::config(format!(
                "{settings}: no region: set it in the settings, or AWS_REGION, or in the profile"
            )));
        }
        Self::with_config(settings, &base)
    }

    /// The same with credentials, region and HTTP client of `base`.
    pub fn with_config(settings: S3Settings, base: &SdkConfig) -> Result<Self> {
        settings.check()?;
        let dates = DateKeeper::default();
        let client = settings.client(base, dates.clone());
        let root = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Ok(Self { client, settings, root, dates })
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// One version of an object, or without its name the newest.
    async fn get(&self, key: &str, version: Option<&str>) -> Result<Option<Stored>> {
        let doing = || format!("{}: reading {key}", self.settings);
        let request = self.client.get_object().bucket(&self.settings.bucket).key(self.full_key(key));
        // the SDK compares the body with the checksum if the store has one, and fails where they differ
        let request = request.set_version_id(version.map(str::to_owned)).checksum_mode(ChecksumMode::Enabled);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) => {
                let reply = reply(&e);
                return match reply.class {
                    Class::Missing => Ok(None),
                    // a version id that this store never gave out
                    Class::Refused if reply.text.to_ascii_lowercase().contains("version") => Ok(None),
                    _ => Err(reply.error(&doing(), "s3:GetObjectVersion on this key, and s3:ListBucket on the bucket")),
                };
            }
        };
        let length = answer.content_length().unwrap_or(0).max(0) as u64;
        if length > MAX_OBJECT {
            return Err(too_long(&doing(), length));
        }
        let mut bytes = BytesMut::with_capacity(length as usize);
        while let Some(chunk) = answer.body.next().await {
            let chunk =
                chunk.map_err(|e| Error::retry(format!("{}: its bytes did not arrive whole", doing())).caused_by(e))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > MAX_OBJECT {
                return Err(too_long(&doing(), bytes.len() as u64));
            }
        }
        if bytes.len() as u64 != length {
            return Err(Error::retry(format!("{}: {} of {length} bytes arrived", doing(), bytes.len())));
        }
        let retention = lock(answer.object_lock_mode(), answer.object_lock_retain_until_date());
        let version = answer.version_id().map_or_else(|| version.unwrap_or_default().to_owned(), str::to_owned);
        // S3 leaves the header out where there is no hold, and where we may not ask
        let hold = answer.object_lock_legal_hold_status().map(|status| *status == ObjectLockLegalHoldStatus::On);
        Ok(Some(Stored { bytes: bytes.freeze(), version, retention, hold }))
    }
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        self.settings.to_string()
    }

    async fn create(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create> {
        check_create(key, &bytes, retention)?;
        self.create_object(key, bytes, retention).await
    }

    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        match self.list_versions(key).await?.held.first() {
            Some(oldest) => self.get(key, Some(&oldest.id)).await,
            None => Ok(None),
        }
    }

    async fn read_newest(&self, key: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        self.get(key, None).await
    }

    async fn replace(&self, key: &str, bytes: Bytes) -> Result<()> {
        check_replace(key)?;
        self.replace_object(key, bytes).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        self.list_entries(prefix, after, limit).await
    }

    async fn clock(&self) -> Result<Option<i64>> {
        if let Some(now) = self.dates.now() {
            return Ok(Some(now));
        }
        // the cheapest request there is; a refusal has a date too
        let asked = self.client.head_bucket().bucket(&self.settings.bucket).send().await;
        match (self.dates.now(), asked) {
            (Some(now), _) => Ok(Some(now)),
            (None, Ok(_)) => Ok(None),
            (None, Err(e)) => Err(reply(&e).error(&format!("{}: asking for the time", self.settings), "s3:ListBucket")),
        }
    }

    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        // without a version S3 would answer with the newest one, which may be a shadow
        if version.is_empty() { Ok(None) } else { self.get(key, Some(version)).await }
    }

    async fn versions(&self, key: &str) -> Result<Versions> {
        check_key(key)?;
        self.list_versions(key).await
    }

    async fn retention_of(&self, key: &str, version: &str) -> Result<Option<Retention>> {
        check_key(key)?;
        if version.is_empty() { Ok(None) } else { self.lock_of(key, version).await }
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        check_prefix(prefix)?;
        self.list_folders(prefix).await
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<Change> {
        check_key(key)?;
        if version.is_empty() {
            // S3 would write a delete marker
            return Err(Error::bug(format!("{key}: deleting without naming a version")));
        }
        self.delete(key, version).await
    }

    async fn set_retention(&self, key: &str, version: &str, retention: &Retention) -> Result<Change> {
        check_create(key, &Bytes::new(), retention)?;
        self.relock(key, version, retention).await
    }

    async fn legal_hold_of(&self, key: &str, version: &str) -> Result<Option<bool>> {
        check_key(key)?;
        if version.is_empty() { Ok(None) } else { self.hold_of(key, version).await }
    }

    async fn set_legal_hold(&self, key: &str, version: &str, on: bool) -> Result<Change> {
        check_key(key)?;
        if version.is_empty() {
            return Err(Error::bug(format!("{key}: a legal hold without naming a version")));
        }
        self.hold(key, version, on).await
    }

    async fn bucket(&self) -> Result<Option<Bucket>> {
        self.describe_bucket().await.map(Some)
    }
}

/// The lock that an answer tells, if it tells one that we know.
fn lock(mode: Option<&ObjectLockMode>, until: Option<&DateTime>) -> Option<Retention> {
    let mode = match mode? {
        ObjectLockMode::Compliance => LockMode::Compliance,
        ObjectLockMode::Governance => LockMode::Governance,
        _ => return None,
    };
    Some(Retention { mode, until: Some(until?.to_millis().ok()?) })
}

#[cfg(test)]
mod tests;
