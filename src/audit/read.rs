//! Reading from the store with patience: faults of the moment are tried again, and what stays unreadable is told apart.

use super::{
    Progress,
    protect::{Hold, Lock, Told},
};
use crate::{
    error::{Error, Kind, Result},
    retention::Retention,
    store::{Answer, Bucket, Entry, Store, Stored},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often a call is made before its fault counts.
const ATTEMPTS: u32 = 4;
/// The wait after the first attempt; it doubles.
const WAIT: Duration = Duration::from_millis(250);
/// After so many objects that could not be read for reasons of the moment, it is the store that is away.
const PATIENCE: u64 = 8;
/// After so many locks that the store did not tell, it is not asked for more: each is a request that costs.
const SILENCE: u64 = 16;
/// Versions of one key that are looked at, when the oldest is not what was sealed.
const VERSIONS: usize = 8;

/// The store, and how many segments may be in memory at once.
pub(super) struct Reader {
    store: Arc<dyn Store>,
    room: Arc<Semaphore>,
    away: AtomicU64,
    /// What the bucket says of itself, once it was asked; the inner `None`: there is no bucket.
    bucket: OnceLock<Option<Bucket>>,
    silent: AtomicU64,
    /// The same of legal holds.
    silent_holds: AtomicU64,
    /// Requests for locks alone.
    pub(super) lock_requests: AtomicU64,
    pub(super) progress: Arc<Progress>,
}

/// What became of a read.
pub(super) enum Read {
    /// The oldest version.
    Found(Stored),
    /// There is none.
    Absent,
    /// It is there and cannot be read: why.
    Unreadable(Error),
}

/// Which version is read.
#[derive(Clone, Copy)]
enum Which<'a> {
    Oldest,
    Newest,
    Version(&'a str),
}

/// What a store told of the lock of a version along with its bytes.
pub(super) struct Locked {
    version: String,
    retention: Option<Retention>,
    hold: Option<bool>,
}

impl Locked {
    pub(super) fn of(stored: &Stored) -> Self {
        Self { version: stored.version.clone(), retention: stored.retention, hold: stored.hold }
    }
}

impl Reader {
    pub(super) fn new(store: Arc<dyn Store>, jobs: usize, progress: Option<Arc<Progress>>) -> Self {
        let room = Arc::new(Semaphore::new(jobs.max(1)));
        Self {
            store,
            room,
            away: AtomicU64::new(0),
            bucket: OnceLock::new(),
            silent: AtomicU64::new(0),
            silent_holds: AtomicU64::new(0),
            lock_requests: AtomicU64::new(0),
            progress: progress.unwrap_or_default(),
        }
    }

    /// A place in memory for one segment; it is given back when the permit is dropped.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|e| Error::bug("the audit's semaphore was closed").caused_by(e))
    }

    pub(super) fn describe(&self) -> String {
        self.store.describe()
    }

    /// As [`Store::list`].
    pub(super) async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let mut attempt = 1;
        loop {
            match self.store.list(prefix, after, limit).await {
                Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                result => {
                    return result.map_err(|e| e.context(format_args!("listing {prefix} of {}", self.describe())));
                }
            }
        }
    }

    /// Reads the oldest version of `key`. The error says that the store is away; then nothing can be said at all.
    pub(super) async fn read(&self, key: &str) -> Result<Read> {
        self.patiently(key, Which::Oldest).await
    }

    /// Reads the oldest version that a list told of.
    pub(super) async fn read_listed(&self, entry: &Entry) -> Result<Read> {
        match entry.oldest.as_str() {
            "" => self.read(&entry.key).await,
            // its name is known: a request less than to look for the oldest
            version => self.patiently(&entry.key, Which::Version(version)).await,
        }
    }

    /// Names of the versions of `key` that are newer than the oldest, the oldest of them first; not all, if there are
    /// very many.
    pub(super) async fn newer_versions(&self, key: &str) -> Result<Vec<String>> {
        let mut attempt = 1;
        loop {
            match self.store.versions(key).await {
                Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                versions => {
                    let versions = versions.map_err(|e| e.context(format_args!("listing versions of {key}")))?;
                    return Ok(versions.held.into_iter().skip(1).take(VERSIONS).map(|version| version.id).collect());
                }
            }
        }
    }

    /// Reads one version by its name.
    pub(super) async fn read_version(&self, key: &str, version: &str) -> Result<Read> {
        self.patiently(key, Which::Version(version)).await
    }

    /// Asks the bucket for its settings, once. What it does not answer is unknown, never fine.
    pub(super) async fn bucket(&self) -> Option<&Bucket> {
        if self.bucket.get().is_none() {
            let mut attempt = 1;
            let bucket = loop {
                match self.store.bucket().await {
                    Ok(bucket) => break bucket,
                    Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                    Err(e) => {
                        let unknown = || Answer::Unknown(e.to_string());
                        break Some(Bucket {
                            versioned: unknown(),
                            lockable: unknown(),
                            locks_by_default: unknown(),
                            expires: unknown(),
                            expiry_rules: Vec::new(),
                        });
                    }
                }
            };
            let _ = self.bucket.set(bucket); // asked twice at once, it answered twice
        }
        self.bucket.get().and_then(Option::as_ref)
    }

    /// The lock of a version that was read. Stores tell it along with the bytes; where they did not, they are asked
    /// for it, if it is `needed` and they have not been silent too often.
    pub(super) async fn lock(&self, key: &str, read: &Locked, needed: bool) -> Lock {
        let hold = |untold| match read.hold {
            Some(true) => Hold::On,
            Some(false) => Hold::Off,
            None => untold,
        };
        let lock = |told| Lock { told, hold: hold(Hold::Untold) };
        if let Some(retention) = read.retention {
            return lock(Told::Lock(retention));
        }
        match self.bucket().await {
            None => return Lock { told: Told::NoLocks, hold: hold(Hold::Without) },
            Some(bucket) if bucket.lockable == Answer::No => {
                return Lock { told: Told::Lock(Retention::NONE), hold: hold(Hold::Without) };
            }
            Some(_) => {}
        }
        if !needed || self.silent.load(Relaxed) >= SILENCE {
            return lock(Told::Nothing);
        }
        let mut attempt = 1;
        loop {
            self.lock_requests.fetch_add(1, Relaxed);
            match self.store.retention_of(key, &read.version).await {
                Ok(Some(retention)) => return lock(Told::Lock(retention)),
                Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                Ok(None) | Err(_) => {
                    self.silent.fetch_add(1, Relaxed);
                    return lock(Told::Nothing);
                }
            }
        }
    }

    /// The legal hold of a version that the log says is held. S3 says nothing along with the bytes where there is none,
    /// and where we may not ask: then it is asked, unless it has been silent too often.
    pub(super) async fn hold(&self, key: &str, read: &Locked, told: Hold) -> Hold {
        if told != Hold::Untold || self.silent_holds.load(Relaxed) >= SILENCE {
            return told;
        }
        let mut attempt = 1;
        loop {
            self.lock_requests.fetch_add(1, Relaxed);
            match self.store.legal_hold_of(key, &read.version).await {
                Ok(Some(on)) => return if on { Hold::On } else { Hold::Off },
                Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                Ok(None) | Err(_) => {
                    self.silent_holds.fetch_add(1, Relaxed);
                    return Hold::Untold;
                }
            }
        }
    }

    /// Reads the newest version of `key`: of the one object that is replaced.
    pub(super) async fn read_newest(&self, key: &str) -> Result<Read> {
        self.patiently(key, Which::Newest).await
    }

    async fn patiently(&self, key: &str, which: Which<'_>) -> Result<Read> {
        let mut attempt = 1;
        let error = loop {
            let read = match which {
                Which::Oldest => self.store.read_oldest(key),
                Which::Newest => self.store.read_newest(key),
                Which::Version(version) => self.store.read_version(key, version),
            };
            match read.await {
                Ok(Some(stored)) => {
                    self.progress.bytes.fetch_add(stored.bytes.len() as u64, Relaxed);
                    return Ok(Read::Found(stored));
                }
                Ok(None) => return Ok(Read::Absent),
                Err(e) if e.is_retry() && attempt < ATTEMPTS => pause(&mut attempt).await,
                Err(e) => break e,
            }
        };
        if error.kind() == Kind::Retry && self.away.fetch_add(1, Relaxed) >= PATIENCE {
            return Err(error.context(format_args!("reading {key} of {}", self.describe())));
        }
        Ok(Read::Unreadable(error))
    }
}

async fn pause(attempt: &mut u32) {
    tokio::time::sleep(WAIT * 2_u32.pow(*attempt - 1)).await;
    *attempt += 1;
}
