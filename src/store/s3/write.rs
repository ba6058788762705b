//! Creating objects with their lock, and what the self-test tries against it.

use super::{
    S3Store,
    errors::{Class, Reply, reply},
};
use crate::{
    digest::Digest,
    error::{Error, Result},
    retention::{LockMode, Retention},
    store::{Change, Create, lock_missing},
};
use aws_sdk_s3::{
    operation::put_object::PutObjectOutput,
    primitives::{ByteStream, DateTime},
    types::{
        ChecksumMode, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
        ObjectLockRetentionMode,
    },
};
use bytes::Bytes;
use std::time::Duration;

/// How often the same put is sent again when another request is at the same key.
const CONFLICTS: u32 = 6;

impl S3Store {
    /// A crash before the answer leaves the object there or not; the next create of the same bytes finds out. A crash
    /// between the put and the reading back leaves a lock unread; `put_new` reads it then.
    pub(super) async fn create_object(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create> {
        let doing = format!("{}: creating {key}", self.settings);
        let digest = Digest::of(&bytes);
        let mut conflicts = 0;
        loop {
            let sent = self.put(key, bytes.clone(), &digest, retention).await;
            let reply = match sent {
                Ok(output) => {
                    let size = bytes.len();
                    return self.check_written(key, size, &digest, retention, &output).await.map(|()| Create::Created);
                }
                Err(reply) => reply,
            };
            match reply.class {
                // also our own put, if the SDK sent it again after a lost answer: `put_new` compares the bytes
                Class::Exists => return Ok(Create::Exists),
                Class::Conflict if conflicts < CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(backoff(conflicts)).await;
                }
                _ => return Err(reply.error(&doing, "s3:PutObject, and s3:PutObjectRetention for locks, on this key")),
            }
        }
    }

    /// Puts a new version, without a condition and without a lock.
    pub(super) async fn replace_object(&self, key: &str, bytes: Bytes) -> Result<()> {
        let doing = format!("{}: replacing {key}", self.settings);
        let request = self.client.put_object().bucket(&self.settings.bucket).key(self.full_key(key));
        let request = request.content_length(bytes.len() as i64).checksum_sha256(Digest::of(&bytes).base64());
        match request.body(ByteStream::from(bytes)).send().await {
            Ok(_) => Ok(()),
            Err(e) => Err(reply(&e).error(&doing, "s3:PutObject on this key")),
        }
    }

    /// One create-only put, sent as a whole: no chunked encoding, no trailer, which many servers refuse.
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        digest: &Digest,
        retention: &Retention,
    ) -> Result<PutObjectOutput, Reply> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.full_key(key))
            .if_none_match("*")
            .content_length(bytes.len() as i64)
            .checksum_sha256(digest.base64())
            .body(ByteStream::from(bytes));
        let mode = match retention.mode {
            LockMode::Compliance => Some(ObjectLockMode::Compliance),
            LockMode::Governance => Some(ObjectLockMode::Governance),
            LockMode::None => None,
        };
        if let (Some(mode), Some(until)) = (mode, retention.until) {
            request = request.object_lock_mode(mode).object_lock_retain_until_date(DateTime::from_millis(until));
        }
        request.send().await.map_err(|e| reply(&e))
    }

    /// Reads back what the put promised: a version of its own, all bytes, and the lock exactly as asked.
    async fn check_written(
        &self,
        key: &str,
        size: usize,
        digest: &Digest,
        retention: &Retention,
        written: &PutObjectOutput,
    ) -> Result<()> {
        let doing = format!("{}: reading back {key}", self.settings);
        let Some(version) = written.version_id().filter(|id| !id.is_empty() && *id != "null") else {
            return Err(Error::config(format!(
                "{doing}: the bucket keeps no versions, so a later put could destroy this one: \
                 enable versioning and Object Lock"
            )));
        };
        if retention.mode == LockMode::None {
            return Ok(());
        }
        let head = self
            .client
            .head_object()
            .bucket(&self.settings.bucket)
            .key(self.full_key(key))
            .version_id(version)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|e| {
                let reply = reply(&e);
                match reply.class {
                    // just written, and not there yet: a server that is not consistent, for the moment or for good
                    Class::Missing => Error::retry(format!("{doing}: {}", reply.text)),
                    _ => reply.error(&doing, "s3:GetObjectVersion on this key"),
                }
            })?;
        let other_sum = head.checksum_sha256().is_some_and(|sum| sum != digest.base64());
        if head.content_length().is_some_and(|length| length != size as i64) || other_sum {
            return Err(Error::tampered(format!("{doing}: the store holds other bytes than were sent")));
        }
        let found = match super::lock(head.object_lock_mode(), head.object_lock_retain_until_date()) {
            Some(found) => Some(found),
            None => self.lock_of(key, version).await?,
        };
        match found {
            Some(found) if found == *retention => Ok(()),
            Some(found) => Err(lock_missing(self, key, retention, &found)),
            None => Err(Error::config(format!(
                "{doing}: its lock cannot be read back, so nobody knows whether it holds; \
                 allow s3:GetObjectRetention on this key"
            ))),
        }
    }

    /// The lock of a version: none, or unknown if we may not ask or the server does not know the question.
    pub(super) async fn lock_of(&self, key: &str, version: &str) -> Result<Option<Retention>> {
        let doing = format!("{}: reading the lock of {key}", self.settings);
        let request = self.client.get_object_retention().bucket(&self.settings.bucket).key(self.full_key(key));
        match request.version_id(version).send().await {
            Ok(answer) => {
                let mode = answer
                    .retention()
                    .and_then(ObjectLockRetention::mode)
                    .map(|mode| ObjectLockMode::from(mode.as_str()));
                let until = answer.retention().and_then(ObjectLockRetention::retain_until_date);
                Ok(super::lock(mode.as_ref(), until).or(Some(Retention::NONE)))
            }
            Err(e) => {
                let reply = reply(&e);
                match reply.class {
                    // a bucket without Object Lock answers 400 InvalidRequest
                    Class::NoLock | Class::Refused => Ok(Some(Retention::NONE)),
                    Class::Missing | Class::Forbidden | Class::Unsupported => Ok(None),
                    _ => Err(reply.error(&doing, "s3:GetObjectRetention on this key")),
                }
            }
        }
    }

    pub(super) async fn delete(&self, key: &str, version: &str) -> Result<Change> {
        let doing = format!("{}: deleting a version of {key}", self.settings);
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(self.full_key(key));
        match request.version_id(version).send().await {
            Ok(_) => Ok(Change::Done),
            Err(e) => refusal(&reply(&e), &doing, "s3:DeleteObjectVersion on this key"),
        }
    }

    pub(super) async fn relock(&self, key: &str, version: &str, retention: &Retention) -> Result<Change> {
        let doing = format!("{}: changing the lock of {key}", self.settings);
        let mode = match retention.mode {
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::None => return Err(Error::bug(format!("{key}: a lock is never taken off"))),
        };
        let lock = ObjectLockRetention::builder()
            .mode(mode)
            .set_retain_until_date(retention.until.map(DateTime::from_millis))
            .build();
        let request = self.client.put_object_retention().bucket(&self.settings.bucket).key(self.full_key(key));
        match request.version_id(version).retention(lock).send().await {
            Ok(_) => Ok(Change::Done),
            Err(e) => refusal(&reply(&e), &doing, "s3:PutObjectRetention on this key"),
        }
    }

    /// Whether a version is under a legal hold: `None` if we may not ask, or the server does not know the question.
    pub(super) async fn hold_of(&self, key: &str, version: &str) -> Result<Option<bool>> {
        let doing = format!("{}: reading the legal hold of {key}", self.settings);
        let request = self.client.get_object_legal_hold().bucket(&self.settings.bucket).key(self.full_key(key));
        match request.version_id(version).send().await {
            Ok(answer) => {
                let status = answer.legal_hold().and_then(ObjectLockLegalHold::status);
                Ok(Some(status == Some(&ObjectLockLegalHoldStatus::On)))
            }
            Err(e) => {
                let reply = reply(&e);
                match reply.class {
                    // none was ever put on it
                    Class::NoLock => Ok(Some(false)),
                    Class::Refused | Class::Missing | Class::Forbidden | Class::Unsupported => Ok(None),
                    _ => Err(reply.error(&doing, "s3:GetObjectLegalHold on this key")),
                }
            }
        }
    }

    pub(super) async fn hold(&self, key: &str, version: &str, on: bool) -> Result<Change> {
        let doing = format!("{}: changing the legal hold of {key}", self.settings);
        let status = if on { ObjectLockLegalHoldStatus::On } else { ObjectLockLegalHoldStatus::Off };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = self.client.put_object_legal_hold().bucket(&self.settings.bucket).key(self.full_key(key));
        match request.version_id(version).legal_hold(hold).send().await {
            Ok(_) => Ok(Change::Done),
            Err(e) => refusal(&reply(&e), &doing, "s3:PutObjectLegalHold on this key"),
        }
    }
}

/// Who refused. AWS answers 403 AccessDenied for both and tells in words; where the words do not tell, the policy did:
/// the self-test must not claim that a lock held which was never asked.
fn refusal(reply: &Reply, doing: &str, permission: &str) -> Result<Change> {
    let words = reply.text.to_ascii_lowercase();
    let of_policy = ["not authorized", "policy"].iter().any(|word| words.contains(word));
    let of_lock = ["lock", "worm", "retain", "retention"].iter().any(|word| words.contains(word));
    match reply.class {
        Class::Forbidden if of_policy || !of_lock => Ok(Change::Denied(reply.text.clone())),
        Class::Forbidden => Ok(Change::Locked(reply.text.clone())),
        // some servers answer 400 to the shortening of a lock
        Class::Refused if of_lock => Ok(Change::Locked(reply.text.clone())),
        Class::Missing => Ok(Change::Done),
        _ => Err(reply.error(doing, permission)),
    }
}

/// 20 ms, doubling to 640 ms, and up to as much again at random: several writers at one key must not meet again.
fn backoff(conflicts: u32) -> Duration {
    let base = 20u64 << conflicts.saturating_sub(1).min(5);
    let mut random = [0; 8];
    // without random bytes the wait is fixed, which is no harm
    let _ = getrandom::fill(&mut random);
    Duration::from_millis(base + u64::from_le_bytes(random) % base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_from_a_policy() {
        let told = |text: &str, class| refusal(&Reply { class, text: text.into() }, "x", "y").unwrap();
        for text in [
            "403 AccessDenied: Access Denied because object protected by object lock.",
            "403 AccessDenied: forbidden by object lock",
            "403 AccessDenied: proposed retain-until date shortens an existing retention",
        ] {
            assert_eq!(told(text, Class::Forbidden), Change::Locked(text.into()));
        }
        for text in [
            "403 AccessDenied: Access Denied",
            "403 AccessDenied: User: arn:x is not authorized to perform: s3:PutObjectRetention on resource: y",
            "403 AccessDenied: with an explicit deny in a resource-based policy (s3:DeleteObjectVersion, object lock)",
        ] {
            assert_eq!(told(text, Class::Forbidden), Change::Denied(text.into()));
        }
        let worm = "400 ObjectLocked: Object is WORM protected and cannot be overwritten";
        assert_eq!(told(worm, Class::Refused), Change::Locked(worm.into()));
        assert_eq!(told("404 NoSuchVersion", Class::Missing), Change::Done);
    }

    #[test]
    fn waits_grow_and_differ() {
        for (conflicts, least) in [(1, 20), (2, 40), (6, 640), (60, 640)] {
            let wait = backoff(conflicts).as_millis() as u64;
            assert!((least..2 * least).contains(&wait), "{conflicts}: {wait}");
        }
    }
}
