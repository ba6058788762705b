//! A store in memory, for tests and simulation. It behaves like a versioned S3 bucket with Object Lock, several writers
//! share it, its failures are scripted, and it can be made unfaithful or be tampered with from outside.
//!
//! It panics if one of its users would change an immutable object: that is a defect of authseal, found where it
//! happens.

mod faults;

pub use faults::{Call, Failure, Fault, Faults, Seeded, Verb};

use super::{
    Answer, Bucket, Change, Create, Entry, Store, Stored, Version, Versions, check_create, check_key, check_replace,
    covers, key::check_prefix,
};
use crate::{
    digest::Digest,
    error::Result,
    retention::{LockMode, Retention},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

/// Ways in which real servers fall short of S3.
#[derive(Debug, Clone, Default)]
pub struct Flaws {
    /// Creates always succeed and make another version (Ceph RGW 16 in versioned buckets).
    pub replaces: bool,
    /// The lock that is asked for is dropped.
    pub drops_locks: bool,
    /// Locks are written but not enforced: versions can be deleted.
    pub deletes_locked: bool,
    /// Locks can be shortened (moto).
    pub shortens_locks: bool,
    /// Every object gets this lock.
    pub default_lock: Option<Retention>,
    /// A create overwrites nothing, but no version is kept apart either: versioning is off.
    pub unversioned: bool,
    /// Object Lock is off: locks that are asked for are not kept.
    pub unlockable: bool,
    /// The names of rules that delete evidence when it is old.
    pub expiry_rules: Vec<String>,
    /// Nobody may ask for locks, nor for the settings of the bucket.
    pub tells_nothing: bool,
    /// A create is refused while a delete marker is the newest version. S3 lets it through.
    pub markers_block: bool,
    /// Deletions and changes of locks are refused by policy before the lock is asked.
    pub denies_changes: bool,
    /// Reads return other bytes than were written.
    pub garbles: bool,
}

/// A store in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<Held>>,
    /// What the first version of a key was when it was made: what no writer may change.
    first: BTreeMap<String, Digest>,
    next_id: u64,
    calls: u64,
    clock: Option<i64>,
    flaws: Flaws,
    faults: Option<Box<dyn Faults>>,
}

/// A version, the oldest first in its list.
#[derive(Debug, Clone)]
struct Held {
    id: String,
    /// `None`: a delete marker.
    bytes: Option<Bytes>,
    retention: Retention,
    /// A legal hold lies on it.
    hold: bool,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} keys)", self.lock().objects.len())
    }
}

impl MemoryStore {
    /// An empty, faithful store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with `flaws`.
    pub fn flawed(flaws: Flaws) -> Self {
        let store = Self::new();
        store.lock().flaws = flaws;
        store
    }

    /// From now on `faults` decides what becomes of every call.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        self.lock().faults = Some(Box::new(faults));
    }

    /// From now on every call succeeds.
    pub fn clear_faults(&self) {
        self.lock().faults = None;
    }

    /// Sets what [`Store::clock`] answers, in milliseconds since 1970. Locks end by it; without it they never end.
    pub fn set_clock(&self, now: Option<i64>) {
        self.lock().clock = now;
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// All keys that hold a version or a marker.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// A copy that shares nothing: the store of another world, where an attacker works.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock();
        let copy = State {
            objects: state.objects.clone(),
            first: state.first.clone(),
            next_id: state.next_id,
            clock: state.clock,
            flaws: state.flaws.clone(),
            calls: 0,
            faults: None,
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// The attacker puts a newer version over `key`. The old one stays below it.
    pub fn shadow(&self, key: &str, bytes: impl Into<Bytes>) {
        self.lock().push(key, Some(bytes.into()), Retention::NONE);
    }

    /// The attacker puts a delete marker over `key`.
    pub fn mark_deleted(&self, key: &str) {
        self.lock().push(key, None, Retention::NONE);
    }

    /// The attacker removes every version and marker of `key`, locks or not.
    pub fn remove(&self, key: &str) {
        let mut state = self.lock();
        state.objects.remove(key);
        state.first.remove(key);
    }

    /// The attacker replaces `key` in place, leaving one version with `bytes` and its lock.
    pub fn replace(&self, key: &str, bytes: impl Into<Bytes>) {
        let mut state = self.lock();
        let retention =
            state.objects.get(key).and_then(|held| held.first()).map_or(Retention::NONE, |held| held.retention);
        state.objects.remove(key);
        state.first.remove(key);
        state.push(key, Some(bytes.into()), retention);
    }

    /// The attacker changes the lock of the oldest version of `key`.
    pub fn relock(&self, key: &str, retention: Retention) {
        if let Some(held) =
            self.lock().objects.get_mut(key).and_then(|held| held.iter_mut().find(|v| v.bytes.is_some()))
        {
            held.retention = retention;
        }
    }

    /// The attacker slips a version below all others, as a multipart upload does that was begun before them.
    pub fn slip_under(&self, key: &str, bytes: impl Into<Bytes>) {
        let mut state = self.lock();
        let bytes = bytes.into();
        let id = format!("u{:08}", state.calls);
        state.first.insert(key.to_owned(), Digest::of(&bytes));
        let held = Held { id, bytes: Some(bytes), retention: Retention::NONE, hold: false };
        state.objects.entry(key.to_owned()).or_default().insert(0, held);
    }

    /// Somebody puts the oldest version of `key` under legal hold, or lifts it.
    pub fn hold(&self, key: &str, on: bool) {
        if let Some(held) =
            self.lock().objects.get_mut(key).and_then(|held| held.iter_mut().find(|v| v.bytes.is_some()))
        {
            held.hold = on;
        }
    }

    /// Somebody changes the settings of the bucket, or the server its ways.
    pub fn set_flaws(&self, flaws: Flaws) {
        self.lock().flaws = flaws;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic here is a defect that the test is to see, also from the next caller
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts the call, waits and fails as scripted, and has the effect unless it is scripted to be lost.
    async fn call<T>(&self, verb: Verb, key: &str, effect: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let fault = {
            let mut state = self.lock();
            let call = Call { number: state.calls, verb, key };
            state.calls += 1;
            state.faults.as_mut().map_or(Fault::NONE, |faults| faults.decide(&call))
        };
        // Dropping the future here loses the request, dropping it below loses the answer.
        faults::sleep(fault.before).await;
        if let Some(failure) = fault.lost {
            return Err(failure.error(verb, key));
        }
        let result = effect(&mut self.lock());
        faults::sleep(fault.after).await;
        match fault.landed {
            Some(failure) => Err(failure.error(verb, key)),
            None => result,
        }
    }
}

impl State {
    fn push(&mut self, key: &str, bytes: Option<Bytes>, retention: Retention) {
        self.next_id += 1;
        let id = if self.flaws.unversioned { "null".into() } else { format!("v{:08}", self.next_id) };
        if let Some(bytes) = &bytes {
            self.first.entry(key.to_owned()).or_insert_with(|| Digest::of(bytes));
        }
        self.objects.entry(key.to_owned()).or_default().push(Held { id, bytes, retention, hold: false });
    }

    fn create(&mut self, key: &str, bytes: Bytes, asked: Retention) -> Create {
        let newest = self.objects.get(key).and_then(|held| held.last());
        let taken = newest.is_some_and(|held| held.bytes.is_some() || self.flaws.markers_block);
        if taken && !self.flaws.replaces {
            return Create::Exists;
        }
        let asked = if self.flaws.drops_locks || self.flaws.unlockable { Retention::NONE } else { asked };
        let retention = match self.flaws.default_lock {
            Some(default) if asked.mode == LockMode::None => default,
            _ => asked,
        };
        self.push(key, Some(bytes), retention);
        Create::Created
    }

    /// The version named `id`, or the oldest that holds bytes.
    fn read(&self, key: &str, id: Option<&str>) -> Option<Stored> {
        let held = self.objects.get(key)?;
        let found = held.iter().find(|v| v.bytes.is_some() && id.is_none_or(|id| v.id == id))?;
        let bytes = found.bytes.clone()?;
        if id.is_none() {
            assert_eq!(
                self.first.get(key),
                Some(&Digest::of(&bytes)),
                "{key}: the oldest version is another than the first"
            );
        }
        let bytes = if self.flaws.garbles { Bytes::from([&bytes[..], b"!"].concat()) } else { bytes };
        let told = !self.flaws.tells_nothing;
        let (retention, hold) = (told.then_some(found.retention), told.then_some(found.hold));
        Some(Stored { bytes, version: found.id.clone(), retention, hold })
    }

    fn entry(key: &str, held: &[Held]) -> Entry {
        let oldest = held.iter().find(|v| v.bytes.is_some());
        Entry {
            key: key.to_owned(),
            versions: held.iter().filter(|v| v.bytes.is_some()).count(),
            markers: held.iter().filter(|v| v.bytes.is_none()).count(),
            size: oldest.and_then(|v| v.bytes.as_ref()).map_or(0, |bytes| bytes.len() as u64),
            oldest: oldest.map_or(String::new(), |v| v.id.clone()),
        }
    }

    /// Everything whose key begins with `prefix`.
    fn under<'a>(&'a self, prefix: &'a str, from: Bound<&'a str>) -> impl Iterator<Item = (&'a String, &'a Vec<Held>)> {
        self.objects.range::<str, _>((from, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn is_locked(&self, held: &Held) -> bool {
        held.hold
            || held.retention.mode != LockMode::None
                && held.retention.until.is_none_or(|until| self.clock.is_none_or(|now| now < until))
    }

    fn delete(&mut self, key: &str, id: &str) -> Change {
        if self.flaws.denies_changes {
            return Change::Denied("not authorized to perform: s3:DeleteObjectVersion".into());
        }
        let Some((at, held)) = self.objects.get(key).and_then(|held| held.iter().enumerate().find(|(_, v)| v.id == id))
        else {
            return Change::Done;
        };
        if held.hold {
            return Change::Locked("object protected by a legal hold".into());
        }
        let locked = self.is_locked(held);
        if locked && !self.flaws.deletes_locked {
            return Change::Locked("object protected by object lock".into());
        }
        let expired = held.retention.mode != LockMode::None && !locked;
        assert!(expired || !is_immutable(key), "{key}: deleting an immutable object that no lock held");
        if let Some(held) = self.objects.get_mut(key) {
            held.remove(at);
            if held.iter().all(|v| v.bytes.is_none()) {
                self.first.remove(key);
            }
            if held.is_empty() {
                self.objects.remove(key);
            }
        }
        Change::Done
    }

    fn set_retention(&mut self, key: &str, id: &str, asked: &Retention) -> Change {
        if self.flaws.denies_changes {
            return Change::Denied("not authorized to perform: s3:PutObjectRetention".into());
        }
        let shortens = self.flaws.shortens_locks;
        let Some(held) = self.objects.get_mut(key).and_then(|held| held.iter_mut().find(|v| v.id == id)) else {
            return Change::Denied("no such version".into());
        };
        if !shortens && !covers(asked, &held.retention) {
            return Change::Locked("object protected by object lock".into());
        }
        held.retention = *asked;
        Change::Done
    }
}

/// What no writer may change, whether a lock holds it or not.
fn is_immutable(key: &str) -> bool {
    ["chains/", "artifacts/", "log/batches/", "store.json"].iter().any(|prefix| key.starts_with(prefix))
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".into()
    }

    async fn create(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create> {
        check_create(key, &bytes, retention)?;
        self.call(Verb::Create, key, |state| Ok(state.create(key, bytes, *retention))).await
    }

    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        self.call(Verb::Read, key, |state| Ok(state.read(key, None))).await
    }

    async fn read_newest(&self, key: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        self.call(Verb::Read, key, |state| {
            let newest = state.objects.get(key).and_then(|held| held.last()).filter(|v| v.bytes.is_some());
            Ok(newest.and_then(|v| state.read(key, Some(&v.id))))
        })
        .await
    }

    async fn replace(&self, key: &str, bytes: Bytes) -> Result<()> {
        check_replace(key)?;
        self.call(Verb::Change, key, |state| {
            state.push(key, Some(bytes), Retention::NONE);
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        self.call(Verb::List, prefix, |state| {
            let from = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            Ok(state.under(prefix, from).take(limit).map(|(key, held)| State::entry(key, held)).collect())
        })
        .await
    }

    async fn clock(&self) -> Result<Option<i64>> {
        self.call(Verb::Clock, "", |state| Ok(state.clock)).await
    }

    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        self.call(Verb::Read, key, |state| Ok(state.read(key, Some(version)))).await
    }

    async fn versions(&self, key: &str) -> Result<Versions> {
        check_key(key)?;
        self.call(Verb::List, key, |state| {
            let mut versions = Versions::default();
            for held in state.objects.get(key).into_iter().flatten() {
                match &held.bytes {
                    Some(bytes) => versions.held.push(Version { id: held.id.clone(), size: bytes.len() as u64 }),
                    None => versions.markers.push(held.id.clone()),
                }
            }
            Ok(versions)
        })
        .await
    }

    async fn retention_of(&self, key: &str, version: &str) -> Result<Option<Retention>> {
        check_key(key)?;
        self.call(Verb::Read, key, |state| Ok(state.read(key, Some(version)).and_then(|stored| stored.retention))).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        check_prefix(prefix)?;
        self.call(Verb::List, prefix, |state| {
            let keys = state.under(prefix, Bound::Included(prefix)).map(|(key, _)| key);
            let below = keys.filter_map(|key| key.get(prefix.len()..)?.split_once('/'));
            let names: BTreeSet<String> = below.map(|(name, _)| format!("{prefix}{name}/")).collect();
            Ok(names.into_iter().collect())
        })
        .await
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<Change> {
        check_key(key)?;
        self.call(Verb::Change, key, |state| Ok(state.delete(key, version))).await
    }

    async fn set_retention(&self, key: &str, version: &str, retention: &Retention) -> Result<Change> {
        check_key(key)?;
        self.call(Verb::Change, key, |state| Ok(state.set_retention(key, version, retention))).await
    }

    async fn legal_hold_of(&self, key: &str, version: &str) -> Result<Option<bool>> {
        check_key(key)?;
        self.call(Verb::Read, key, |state| {
            let held = state.objects.get(key).and_then(|held| held.iter().find(|v| v.id == version));
            Ok(held.map(|version| version.hold))
        })
        .await
    }

    async fn set_legal_hold(&self, key: &str, version: &str, on: bool) -> Result<Change> {
        check_key(key)?;
        self.call(Verb::Change, key, |state| {
            if state.flaws.denies_changes {
                return Ok(Change::Denied("not authorized to perform: s3:PutObjectLegalHold".into()));
            }
            let Some(held) = state.objects.get_mut(key).and_then(|held| held.iter_mut().find(|v| v.id == version))
            else {
                return Ok(Change::Denied("no such version".into()));
            };
            held.hold = on;
            Ok(Change::Done)
        })
        .await
    }

    async fn bucket(&self) -> Result<Option<Bucket>> {
        self.call(Verb::Read, "", |state| {
            let flaws = &state.flaws;
            let answer = |yes| match (flaws.tells_nothing, yes) {
                (true, _) => Answer::Unknown("403 AccessDenied".into()),
                (false, true) => Answer::Yes,
                (false, false) => Answer::No,
            };
            Ok(Some(Bucket {
                versioned: answer(!flaws.unversioned),
                lockable: answer(!flaws.unversioned && !flaws.unlockable),
                locks_by_default: answer(flaws.default_lock.is_some()),
                expires: answer(!flaws.expiry_rules.is_empty()),
                expiry_rules: flaws.expiry_rules.clone(),
            }))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
