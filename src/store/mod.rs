//! Write-once storage: the contract, and the only place where a [`Receipt`] is made.
//!
//! | file | owns |
//! |---|---|
//! | `key` | which keys may be written |
//! | `dir` | a local directory |
//! | `memory` | a store for tests and simulation, with scripted faults |
//! | `s3` | S3 with Object Lock |
//! | `open` | from `s3://…` or a path to a store |
//! | `claim` | `store.json`: one origin for each store |
//! | `selftest` | whether a store keeps what it promises, tried at every start |

mod claim;
pub mod dir;
mod key;
pub mod memory;
mod open;
pub mod s3;
pub mod selftest;

pub use claim::claim;
pub use key::{MAX_KEY, check_key};
pub use open::{StoreSpec, open};

use crate::{
    error::{Error, Result},
    layout,
    retention::{LockMode, Retention},
};
use async_trait::async_trait;
use bytes::Bytes;

/// No object of ours is longer: 64 MiB of uncompressed leaves, with room. Longer ones are not read into memory.
pub const MAX_OBJECT: u64 = 256 << 20;

/// What became of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// The object is there, durable, with these bytes and this lock.
    Created,
    /// There was an object already; nothing was written.
    Exists,
}

/// One key with everything the store knows of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, without the store's prefix.
    pub key: String,
    /// Versions that hold bytes.
    pub versions: usize,
    /// Delete markers.
    pub markers: usize,
    /// Length of the oldest version; 0 when there are only markers.
    pub size: u64,
    /// The store's name of the oldest version, for [`Store::read_version`]; empty where it has none.
    pub oldest: String,
}

/// An object as it was first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes of the oldest version.
    pub bytes: Bytes,
    /// The store's name of that version, empty where it has none.
    pub version: String,
    /// Its lock as the store told it along with the bytes. `None` where it told none: then [`Store::retention_of`]
    /// knows whether there is no lock or no telling.
    pub retention: Option<Retention>,
    /// Whether it is under legal hold; `None` where the answer did not tell.
    pub hold: Option<bool>,
}

/// The versions of one key. Each list begins with the oldest; how the two interleave is not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Versions {
    /// Versions that hold bytes.
    pub held: Vec<Version>,
    /// Names of the delete markers.
    pub markers: Vec<String>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The store's name of it.
    pub id: String,
    /// Length in bytes.
    pub size: u64,
}

/// What became of an attempt to delete a version or to change its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was done.
    Done,
    /// The lock refused it, in the store's words.
    Locked(String),
    /// A policy refused it before the lock was asked, in the store's words.
    Denied(String),
}

/// An answer of a bucket about its own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// We may not ask, or the store does not know the question: in words.
    Unknown(String),
}

/// What a bucket says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// It keeps all versions of a key.
    pub versioned: Answer,
    /// Object Lock is enabled.
    pub lockable: Answer,
    /// It locks objects that did not ask for it.
    pub locks_by_default: Answer,
    /// It has rules that delete evidence when it has become old, or put delete markers on it.
    pub expires: Answer,
    /// The names of these rules.
    pub expiry_rules: Vec<String>,
}

/// Write-once storage. Keys are those of `layout`; the implementation adds its own prefix.
///
/// Errors: `Kind::Retry` — it may or may not have happened, ask again with the same bytes; `Kind::Config` — forbidden
/// or misconfigured, nothing happened and nothing will until a person acts; `Kind::Tampered` — what lies under the key
/// is no object of a store at all (a link, a folder). Retries of these are the caller's, bounded and jittered; an
/// implementation retries only what one call to a service needs.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What it is, for people: `s3://bucket/prefix` or a path. No secrets.
    fn describe(&self) -> String;

    /// Creates `key` only if it does not exist. Durable once it returns `Created`, with the lock read back where one
    /// was asked for. Two concurrent creates never both return it. `Exists` is durable too.
    async fn create(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create>;

    /// The oldest version of `key`; `None` if there is none. Delete markers hide nothing.
    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>>;

    /// The newest version of `key`: of an object that is replaced, what it is now. `None` if there is none, or if a
    /// delete marker is newer.
    async fn read_newest(&self, key: &str) -> Result<Option<Stored>>;

    /// Puts `bytes` under `key`, whatever is there: a new version where the store keeps versions. Readers see the old
    /// bytes or the new ones. Only for the log's checkpoint ([`check_replace`]): everything else is written once.
    async fn replace(&self, key: &str, bytes: Bytes) -> Result<()>;

    /// Keys under `prefix` in byte order, those after `after` only, at most `limit`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>>;

    /// The store's clock, milliseconds since 1970 (whole seconds from S3); `None` where it has none but ours.
    async fn clock(&self) -> Result<Option<i64>>;

    /// The version of `key` named `version` (from [`Entry::oldest`] or [`Store::versions`]); `None` if it is gone.
    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>>;

    /// All versions and delete markers of exactly this key.
    async fn versions(&self, key: &str) -> Result<Versions>;

    /// The lock of one version: `Some(Retention::NONE)` if it has none, `None` if the store or its policy does not
    /// tell.
    async fn retention_of(&self, key: &str, version: &str) -> Result<Option<Retention>>;

    /// What lies directly under `prefix` (empty, or ending in `/`) and has keys below it: `prefix` + name + `/`, in
    /// byte order. Folders that hold nothing but delete markers are told too.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>>;

    /// Deletes one version for good, without bypassing anything. For the self-test and for expiry.
    async fn delete_version(&self, key: &str, version: &str) -> Result<Change>;

    /// Changes the lock of one version, without bypassing anything: a store that locks refuses to shorten it.
    async fn set_retention(&self, key: &str, version: &str, retention: &Retention) -> Result<Change>;

    /// Whether a legal hold lies on one version; `None` if the store has none, or it or its policy does not tell.
    async fn legal_hold_of(&self, _key: &str, _version: &str) -> Result<Option<bool>> {
        Ok(None)
    }

    /// Puts a legal hold on one version, or lifts it. It has no end, and holds besides the lock.
    async fn set_legal_hold(&self, key: &str, _version: &str, _on: bool) -> Result<Change> {
        Err(Error::config(format!("{}: {key} cannot be held: this store has no legal holds", self.describe())))
    }

    /// What the bucket says of itself; `None` where there is no bucket.
    async fn bucket(&self) -> Result<Option<Bucket>>;
}

/// Proof that an object lies in the store. Only [`put_new`] makes one.
#[derive(Debug)]
pub struct Receipt {
    kind: ReceiptKind,
}

/// How the object came to lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// This call wrote it.
    Created,
    /// An earlier call of ours had written it, and its answer was lost.
    OwnLostResponse,
}

impl Receipt {
    /// How it came to lie there.
    pub fn kind(&self) -> ReceiptKind {
        self.kind
    }
}

/// What [`put_new`] found.
#[derive(Debug)]
pub enum Put {
    /// Our bytes lie there.
    Ours(Receipt),
    /// Other bytes lie there: the oldest version of the key.
    Taken(Stored),
    /// The key is taken by a delete marker alone: somebody deleted what was there.
    Marker,
}

/// Creates `key`, or finds out who did.
///
/// Our own bytes under another or a weaker lock are no receipt but a `Kind::Config` error: somebody else put them
/// there, or the store dropped the lock. If we crash between the create and its answer, the next call with the same
/// bytes returns `OwnLostResponse`.
pub async fn put_new(store: &dyn Store, key: &str, bytes: Bytes, retention: &Retention) -> Result<Put> {
    if store.create(key, bytes.clone(), retention).await? == Create::Created {
        return Ok(Put::Ours(Receipt { kind: ReceiptKind::Created }));
    }
    let Some(stored) = store.read_oldest(key).await? else { return Ok(Put::Marker) };
    if stored.bytes != bytes {
        return Ok(Put::Taken(stored));
    }
    if retention.mode != LockMode::None {
        let told = match stored.retention {
            Some(lock) => Some(lock),
            None => store.retention_of(key, &stored.version).await?,
        };
        // a store that cannot lock tells nothing: the self-test has spoken about that at the start
        if let Some(lock) = told
            && !covers(&lock, retention)
        {
            return Err(lock_missing(store, key, retention, &lock));
        }
    }
    Ok(Put::Ours(Receipt { kind: ReceiptKind::OwnLostResponse }))
}

/// Whether `lock` is at least as strong and as long as `asked`.
pub fn covers(lock: &Retention, asked: &Retention) -> bool {
    lock.mode.strength() >= asked.mode.strength() && lock.until >= asked.until
}

/// The error for an object that lies in the store with a weaker lock than asked.
fn lock_missing(store: &dyn Store, key: &str, asked: &Retention, found: &Retention) -> Error {
    Error::config(format!(
        "{}: {key} was written, but its lock reads back as {} instead of {}: this store \
         does not keep the retention it is given; enable Object Lock on the bucket, and allow s3:PutObjectRetention \
         and s3:GetObjectRetention",
        store.describe(),
        show_lock(found),
        show_lock(asked)
    ))
}

/// `COMPLIANCE until 2027-01-01T00:00:00Z`, or `no lock`.
pub(crate) fn show_lock(lock: &Retention) -> String {
    let mode = match lock.mode {
        LockMode::None => return "no lock".into(),
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    };
    match lock.until.map(jiff::Timestamp::from_millisecond) {
        Some(Ok(until)) => format!("{mode} until {until}"),
        _ => format!("{mode} without a date"),
    }
}

/// Checks what every store asks of a create before it touches anything.
fn check_create(key: &str, bytes: &Bytes, retention: &Retention) -> Result<()> {
    check_key(key)?;
    if bytes.len() as u64 > MAX_OBJECT {
        return Err(Error::bug(format!("{key} is {} bytes long; no object is longer than {MAX_OBJECT}", bytes.len())));
    }
    match (retention.mode, retention.until) {
        (LockMode::None, None) => Ok(()),
        (LockMode::None, Some(_)) => Err(Error::bug(format!("{key}: a date without a lock mode"))),
        (_, Some(until)) if until > 0 && until % 1000 == 0 => Ok(()),
        (_, until) => Err(Error::bug(format!("{key}: a lock until {until:?}, which is not a whole second"))),
    }
}

/// Refuses to replace anything but what is meant to be replaced.
pub fn check_replace(key: &str) -> Result<()> {
    match key == layout::CHECKPOINT {
        true => Ok(()),
        false => Err(Error::bug(format!("{key} is written once, and never replaced"))),
    }
}

/// The error for an object that is too long to be ours.
fn too_long(place: &str, size: u64) -> Error {
    Error::data(format!(
        "{place} is {size} bytes long; no object of authseal is longer than {MAX_OBJECT}: it was not read"
    ))
}

#[cfg(test)]
mod tests;
