//! What the workflow tells those who watch it: readiness, positions, and notices of what happens.

use super::plan;
use crate::{
    detect::{Finding, Replaced},
    digest::Digest,
    error::Error,
    health::Health,
    manifest::Manifest,
    position::{ChainId, TopicPartition},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Where a partition stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// `resolving`, `active`, `held`, `awaiting` (a schema) or `stopped`.
    pub state: &'static str,
    /// Why it stopped.
    pub error: Option<String>,
    /// The next offset to seal.
    pub sealed_to: i64,
    /// Sequence of the newest segment.
    pub sequence: Option<u64>,
    /// The next offset to read.
    pub next: i64,
    /// The last stable offset of the broker, where known.
    pub end: Option<i64>,
    /// First offset that the broker still has, where known.
    pub log_start: Option<i64>,
    /// Timestamp of the last record read, milliseconds.
    pub record_time: Option<i64>,
    /// When the newest segment was sealed, milliseconds.
    pub sealed_at: Option<i64>,
    /// Everything below it is sealed, judged and published.
    pub done_to: i64,
    /// The lowest offset whose judgement still waits.
    pub deferred: Option<i64>,
    /// The lowest offset whose alerts and dead letters are not all acknowledged.
    pub unacknowledged: Option<i64>,
    /// Records buffered and not yet sealed.
    pub buffered: usize,
}

/// Something that happened.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A partition was assigned and its place found.
    Opened {
        /// Its chain.
        chain: &'a ChainId,
        /// Sequence of the newest segment; none for a new chain.
        sequence: Option<u64>,
        /// Where sealing, publishing and reading begin.
        start: &'a plan::Start,
        /// Where reading begins: before that, when the rules' state is rebuilt.
        read_from: i64,
    },
    /// A segment lies in the store.
    Sealed {
        /// Its manifest.
        manifest: &'a Manifest,
        /// Length of the object.
        bytes: usize,
    },
    /// Another writer's segment was taken as the head.
    Adopted {
        /// Its chain.
        chain: &'a ChainId,
        /// Its sequence.
        sequence: u64,
    },
    /// A finding was raised and handed to the publisher, if its rule is live.
    Finding(&'a Finding),
    /// Other rules are in force from the next record on.
    Rules {
        /// Digest of their bundle.
        digest: Digest,
        /// What became of which rule.
        replaced: &'a Replaced,
    },
    /// A partition was stopped.
    Stopped {
        /// Which.
        partition: &'a TopicPartition,
        /// Why.
        error: &'a Error,
    },
    /// A partition went to another owner.
    Revoked {
        /// Which.
        partition: &'a TopicPartition,
    },
    /// Something went wrong that does not stop anything.
    Trouble {
        /// The part at fault, as readiness names it.
        part: &'a str,
        /// What it says.
        error: &'a str,
    },
}

type Watcher = Box<dyn Fn(&Notice<'_>) + Send + Sync>;

/// Shared between the workflow and the surfaces.
pub struct Status {
    health: Arc<Health>,
    lanes: Mutex<BTreeMap<TopicPartition, LaneStatus>>,
    watcher: Watcher,
}

impl Status {
    /// A status that reports to `health` and whose notices go to `watcher`.
    pub fn new(health: Arc<Health>, watcher: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        Self { health, lanes: Mutex::default(), watcher: Box::new(watcher) }
    }

    /// Tells the watcher.
    pub fn tell(&self, notice: &Notice<'_>) {
        (self.watcher)(notice);
    }

    /// A part works.
    pub fn ok(&self, part: &str) {
        self.health.set(part, Ok(()));
    }

    /// A part does not work, and why. The watcher is told when the reason is new.
    pub fn fail(&self, part: &str, why: String) {
        let news = self.health.parts().get(part).and_then(|p| p.reason.clone()).as_ref() != Some(&why);
        if news {
            self.tell(&Notice::Trouble { part, error: &why });
        }
        self.health.set(part, Err(why));
    }

    /// A part works, but something about it deserves a word; `None`: no longer. The watcher is told when the word is
    /// new.
    pub fn warn(&self, part: &str, word: Option<String>) {
        if self.health.warn(part, word.clone())
            && let Some(word) = &word
        {
            self.tell(&Notice::Trouble { part, error: word });
        }
    }

    /// A part is gone.
    pub fn remove(&self, part: &str) {
        self.health.forget(part);
    }

    /// Parts by name; `None` works, `Some` says why not.
    pub fn parts(&self) -> BTreeMap<String, Option<String>> {
        self.health.parts().into_iter().map(|(name, part)| (name, part.reason)).collect()
    }

    /// What deserves a word about parts that work, by their names.
    pub fn warnings(&self) -> BTreeMap<String, String> {
        self.health.parts().into_iter().filter_map(|(name, part)| Some((name, part.warning?))).collect()
    }

    /// Partitions by name.
    pub fn lanes(&self) -> BTreeMap<TopicPartition, LaneStatus> {
        lock(&self.lanes).clone()
    }

    /// Replaces what is known of the partitions.
    pub(super) fn set_lanes(&self, lanes: BTreeMap<TopicPartition, LaneStatus>) {
        *lock(&self.lanes) = lanes;
    }

    /// The loop turned.
    pub(super) fn beat(&self) {
        self.health.beat();
    }

    /// Everything is wired.
    pub(super) fn started(&self) {
        self.health.started();
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new(Health::new(Duration::from_secs(120)), |_| ())
    }
}

/// A panic elsewhere must not silence the status: what is behind the lock is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
