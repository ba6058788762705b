//! Reading from the store with patience: faults of the moment are tried again, and what stays unreadable is told apart.

use super::Progress;
use crate::{
    error::{Error, Kind, Result},
    store::{Entry, Store, Stored},
};
use std::{
    sync::{
        Arc,
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

/// The store, and how many segments may be in memory at once.
pub(super) struct Reader {
    store: Arc<dyn Store>,
    room: Arc<Semaphore>,
    away: AtomicU64,
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

impl Reader {
    pub(super) fn new(store: Arc<dyn Store>, jobs: usize, progress: Option<Arc<Progress>>) -> Self {
        let room = Arc::new(Semaphore::new(jobs.max(1)));
        Self { store, room, away: AtomicU64::new(0), progress: progress.unwrap_or_default() }
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
        self.patiently(key, false).await
    }

    /// Reads the newest version of `key`: of the one object that is replaced.
    pub(super) async fn read_newest(&self, key: &str) -> Result<Read> {
        self.patiently(key, true).await
    }

    async fn patiently(&self, key: &str, newest: bool) -> Result<Read> {
        let mut attempt = 1;
        let error = loop {
            let read = if newest { self.store.read_newest(key) } else { self.store.read_oldest(key) };
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
