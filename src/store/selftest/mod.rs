//! Whether a store keeps what it promises, tried at every start with small objects under `selftest/`.
//!
//! Servers that speak S3 differ in exactly what authseal lives on: some ignore `If-None-Match`, some drop a lock, some
//! let it be shortened. What they say of themselves is asked too, but what they do decides.

mod report;

pub use report::{Check, Guarantee, Report, State};

use super::{Answer, Bucket, Change, Create, Put, Store, covers, put_new, show_lock};
use crate::{
    digest::hex,
    error::{Error, Kind, Result},
    retention::{LockMode, Retention},
};
use bytes::Bytes;
use futures_util::future::join_all;

/// The largest difference between our clock and the store's: 5 minutes. Retentions and the times in manifests depend on
/// it.
pub const MAX_SKEW_MS: i64 = 5 * 60 * 1000;
/// How long the test's locked object stays locked.
const LOCK_MS: i64 = 60_000;
/// Where its objects lie.
const FOLDER: &str = "selftest/";
/// Objects of tests that began so many seconds ago are swept.
const STALE_S: i64 = 3_600;
/// So many at once.
const SWEEP: usize = 64;
/// Creates at once.
const RACERS: u8 = 8;

/// What is asked of the store.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The lock that segments will be given.
    pub lock: LockMode,
    /// The operator said in the settings that nobody, not even they, can delete before the date.
    pub confirm_compliance: bool,
    /// Our clock, milliseconds since 1970.
    pub now: i64,
}

/// Tries everything. An error of `Kind::Config` names each guarantee that is missing and what that means; `Kind::Retry`
/// says that the test could not be done now. Objects that are not locked are deleted at the end where the policy lets
/// us.
pub async fn run(store: &dyn Store, ask: Ask) -> Result<Report> {
    let report = probe(store, ask).await?;
    report.verdict()?;
    Ok(report)
}

/// The same, but what is missing is only reported.
pub async fn probe(store: &dyn Store, ask: Ask) -> Result<Report> {
    if ask.lock == LockMode::Compliance && !ask.confirm_compliance {
        return Err(Error::config(
            "retention mode COMPLIANCE needs confirm_compliance = true: until its date nobody can delete such an \
             object, not even the owner of the account; use GOVERNANCE until you are sure",
        ));
    }
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|e| Error::retry("the system has no random bytes").caused_by(e))?;
    // the seconds let a later test sweep what this one could not delete yet
    let name = format!("{FOLDER}{:012}-{}", ask.now.max(0) / 1000, hex(&random));
    let mut test = Test { store, ask, name, report: Report::new(store.describe()) };
    let result = test.all().await;
    test.clean_up().await;
    result.map_err(|e| e.context("testing the store"))?;
    Ok(test.report)
}

struct Test<'a> {
    store: &'a dyn Store,
    ask: Ask,
    name: String,
    report: Report,
}

impl Test<'_> {
    async fn all(&mut self) -> Result<()> {
        let offset = self.clock().await?;
        let bucket = self.store.bucket().await?;
        self.creates_once().await?;
        self.one_winner().await?;
        self.versions(bucket.as_ref()).await?;
        self.no_default_lock(bucket.as_ref()).await?;
        if self.ask.lock == LockMode::None {
            for guarantee in [Guarantee::LockKept, Guarantee::LockHolds, Guarantee::LockNotShortened] {
                self.report
                    .not_tried(guarantee, "no lock is configured: whoever may delete in the store can remove evidence");
            }
            return Ok(());
        }
        // the date must lie ahead by the store's clock, and S3 keeps whole seconds
        let until = (self.ask.now + offset + LOCK_MS) / 1000 * 1000;
        self.locks(bucket.as_ref(), Retention { mode: self.ask.lock, until: Some(until) }).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Returns the store's clock less ours.
    async fn clock(&mut self) -> Result<i64> {
        let Some(theirs) = self.store.clock().await? else {
            self.report.not_tried(Guarantee::Clock, "the store has no clock but this machine's");
            return Ok(0);
        };
        let offset = theirs - self.ask.now;
        let (seconds, word) = (offset.abs() / 1000, if offset < 0 { "ahead of" } else { "behind" });
        if offset.abs() > MAX_SKEW_MS {
            let text = format!("this machine's clock is {seconds} s {word} the store's: set it (NTP)");
            self.report.missing(Guarantee::Clock, text);
        } else {
            self.report.held(Guarantee::Clock, format!("{seconds} s {word} the store's"));
        }
        Ok(offset)
    }

    async fn creates_once(&mut self) -> Result<()> {
        let key = self.key("once");
        let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
        match put_new(self.store, &key, first.clone(), &Retention::NONE).await? {
            Put::Ours(_) => {}
            other => {
                let text = format!("a new key was taken at once: {other:?}");
                self.report.missing(Guarantee::CreateOnly, text);
                return Ok(());
            }
        }
        match self.store.create(&key, second, &Retention::NONE).await? {
            Create::Exists => self.report.held(Guarantee::CreateOnly, "a second create of the same key was refused"),
            Create::Created => {
                self.report.missing(
                    Guarantee::CreateOnly,
                    "a second create of the same key was accepted: If-None-Match is ignored",
                );
            }
        }
        match self.store.read_oldest(&key).await? {
            Some(stored) if stored.bytes == first => {
                self.report.held(Guarantee::ReadsBack, "the bytes read back as written")
            }
            Some(_) => self.report.missing(Guarantee::ReadsBack, "other bytes read back than were written"),
            None => self.report.missing(Guarantee::ReadsBack, "an object is not there after it was written"),
        }
        Ok(())
    }

    async fn one_winner(&mut self) -> Result<()> {
        let key = self.key("race");
        let bytes: Vec<Bytes> = (0..RACERS).map(|racer| Bytes::from(vec![racer; 64])).collect();
        let creates = bytes.iter().map(|bytes| self.store.create(&key, bytes.clone(), &Retention::NONE));
        let mut winners = Vec::new();
        for (racer, result) in join_all(creates).await.into_iter().enumerate() {
            if result? == Create::Created {
                winners.push(racer);
            }
        }
        let oldest = self.store.read_oldest(&key).await?.map(|stored| stored.bytes);
        let versions = self.store.versions(&key).await?.held.len();
        // without any winner the winner's answer was lost, which is no fault of the store
        let winner_is_oldest = match winners[..] {
            [] => oldest.is_some(),
            [winner] => bytes.get(winner) == oldest.as_ref(),
            _ => false,
        };
        if winner_is_oldest && versions == 1 {
            self.report.held(Guarantee::OneWinner, format!("of {RACERS} creates at once exactly one won"));
        } else {
            let text = format!("of {RACERS} creates at once {} won, and {versions} versions lie there", winners.len());
            self.report.missing(Guarantee::OneWinner, text);
        }
        Ok(())
    }

    async fn versions(&mut self, bucket: Option<&Bucket>) -> Result<()> {
        let Some(bucket) = bucket else {
            self.report.not_tried(
                Guarantee::Versions,
                "a directory keeps one version: whoever may write to it can replace files",
            );
            return Ok(());
        };
        let ids = self.store.versions(&self.key("once")).await?.held;
        let named = ids.iter().all(|version| !version.id.is_empty() && version.id != "null");
        match &bucket.versioned {
            Answer::Yes if named => self.report.held(Guarantee::Versions, "the bucket keeps all versions"),
            Answer::Unknown(why) if named => {
                self.report.held(
                    Guarantee::Versions,
                    format!("each object has a version id (the bucket does not tell: {why})"),
                );
            }
            _ => self.report.missing(Guarantee::Versions, "versioning is not enabled on the bucket"),
        }
        Ok(())
    }

    async fn no_default_lock(&mut self, bucket: Option<&Bucket>) -> Result<()> {
        let Some(bucket) = bucket else {
            self.report.not_tried(Guarantee::NoDefaultLock, "a directory locks nothing");
            return Ok(());
        };
        if bucket.locks_by_default == Answer::Yes {
            self.report.missing(Guarantee::NoDefaultLock, "the bucket has a default retention");
            return Ok(());
        }
        match self.lock_of(&self.key("once")).await? {
            Some(lock) if lock == Retention::NONE => {
                self.report.held(Guarantee::NoDefaultLock, "an object that asked for no lock has none");
            }
            Some(lock) => {
                let text = format!("an object that asked for no lock got {}", show_lock(&lock));
                self.report.missing(Guarantee::NoDefaultLock, text);
            }
            None if bucket.locks_by_default == Answer::No => {
                self.report.held(Guarantee::NoDefaultLock, "the bucket has no default retention");
            }
            None => {
                self.report.not_tried(Guarantee::NoDefaultLock, "neither the bucket nor the object tells of its lock")
            }
        }
        Ok(())
    }

    /// The lock of the oldest version of `key`.
    async fn lock_of(&self, key: &str) -> Result<Option<Retention>> {
        match self.store.versions(key).await?.held.first() {
            Some(version) => self.store.retention_of(key, &version.id).await,
            None => Ok(None),
        }
    }

    async fn locks(&mut self, bucket: Option<&Bucket>, lock: Retention) -> Result<()> {
        let key = self.key("locked");
        let bytes = Bytes::from_static(b"locked");
        let skip = |report: &mut Report| {
            for guarantee in [Guarantee::LockHolds, Guarantee::LockNotShortened] {
                report.not_tried(guarantee, "there is no lock to try");
            }
        };
        if bucket.is_some_and(|bucket| bucket.lockable == Answer::No) {
            self.report.missing(Guarantee::LockKept, "Object Lock is not enabled on the bucket");
            skip(&mut self.report);
            return Ok(());
        }
        let refused = match put_new(self.store, &key, bytes, &lock).await {
            Ok(Put::Ours(_)) => None,
            Ok(other) => Some(format!("a new key was taken at once: {other:?}")),
            Err(e) if e.kind() == Kind::Config => Some(e.to_string()),
            Err(e) => return Err(e),
        };
        let found = if refused.is_none() { self.lock_of(&key).await? } else { None };
        let fault = match (refused, found) {
            (Some(refused), _) => refused,
            (None, None) => "the store does not tell of any lock".to_owned(),
            (None, Some(found)) if found != lock => {
                format!("asked for {}, it reads back as {}", show_lock(&lock), show_lock(&found))
            }
            (None, Some(_)) => {
                self.report.held(Guarantee::LockKept, format!("{} reads back as written", show_lock(&lock)));
                self.shortening(&key, lock).await?;
                return self.deletion(&key).await;
            }
        };
        self.report.missing(Guarantee::LockKept, fault);
        skip(&mut self.report);
        Ok(())
    }

    async fn shortening(&mut self, key: &str, lock: Retention) -> Result<()> {
        let Some(version) = self.store.versions(key).await?.held.into_iter().next() else { return Ok(()) };
        let shorter = Retention { until: lock.until.map(|until| until - LOCK_MS / 2), ..lock };
        let change = self.store.set_retention(key, &version.id, &shorter).await?;
        let after = self.store.retention_of(key, &version.id).await?;
        let still = after.is_none_or(|after| covers(&after, &lock));
        match change {
            _ if !still => self.report.missing(Guarantee::LockNotShortened, "a lock was shortened"),
            Change::Locked(why) => {
                self.report.held(Guarantee::LockNotShortened, format!("shortening it was refused: {why}"))
            }
            Change::Denied(why) => self.report.not_tried(
                Guarantee::LockNotShortened,
                format!("read back only: the policy lets us not try to shorten it: {why}"),
            ),
            Change::Done => self.report.missing(Guarantee::LockNotShortened, "shortening a lock was accepted"),
        }
        Ok(())
    }

    async fn deletion(&mut self, key: &str) -> Result<()> {
        let Some(version) = self.store.versions(key).await?.held.into_iter().next() else { return Ok(()) };
        let change = self.store.delete_version(key, &version.id).await?;
        let still = self.store.read_version(key, &version.id).await?.is_some();
        match change {
            _ if !still => self.report.missing(Guarantee::LockHolds, "a locked version was deleted"),
            Change::Locked(why) => self.report.held(Guarantee::LockHolds, format!("deleting it was refused: {why}")),
            Change::Denied(why) => self.report.not_tried(
                Guarantee::LockHolds,
                format!("read back only: the policy lets us not try to delete it: {why}"),
            ),
            Change::Done => self.report.missing(Guarantee::LockHolds, "deleting a locked version was accepted"),
        }
        Ok(())
    }

    /// Leaves nothing but the locked object, which a later test sweeps; all as far as the policy lets us. What stays is
    /// a few bytes.
    async fn clean_up(&self) {
        let mut keys = vec![self.key("once"), self.key("race")];
        let stale = |key: &str| {
            let seconds = key.strip_prefix(FOLDER)?.split('-').next()?.parse::<i64>().ok()?;
            Some(seconds < self.ask.now / 1000 - STALE_S)
        };
        // the oldest come first
        let left = self.store.list(FOLDER, None, SWEEP).await.unwrap_or_default();
        keys.extend(left.into_iter().map(|entry| entry.key).filter(|key| stale(key) == Some(true)));
        for key in keys {
            let held = self.store.versions(&key).await.map(|versions| versions.held).unwrap_or_default();
            for version in held {
                let _ = self.store.delete_version(&key, &version.id).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
