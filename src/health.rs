//! What the process says about its own health: whether its loop turns, and which of its parts work. Workflows write it,
//! the web surface shows it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The part that stands for the start: unready until [`Health::started`].
const START: &str = "start";

/// The health of a process. Cheap to write from any task.
#[derive(Debug)]
pub struct Health {
    begun: Instant,
    /// Milliseconds after `begun` at which the loop turned last.
    beat: AtomicU64,
    max_silence: Duration,
    parts: Mutex<BTreeMap<String, Part>>,
}

/// How a part of the process fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Why it does not work; `None`: it works.
    pub reason: Option<String>,
    /// What deserves a word although it works: it does not make the process unready.
    pub warning: Option<String>,
    /// Since when it has worked, or not worked.
    pub since: Instant,
}

impl Health {
    /// Not ready, and alive as long as [`Health::beat`] is called within every `max_silence`.
    pub fn new(max_silence: Duration) -> Arc<Self> {
        let health =
            Self { begun: Instant::now(), beat: AtomicU64::new(0), max_silence, parts: Mutex::new(BTreeMap::new()) };
        health.set(START, Err("starting".into()));
        Arc::new(health)
    }

    /// The loop turned.
    pub fn beat(&self) {
        self.beat.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long the loop has not turned.
    pub fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }

    /// Whether the loop turns. When it does not, only a restart helps.
    pub fn is_alive(&self) -> bool {
        self.silence() <= self.max_silence
    }

    /// Everything was wired: readiness is now what the parts say.
    pub fn started(&self) {
        self.forget(START);
    }

    /// Says how a part fares: `source`, `store`, `publish:alerts`, `partition:auth/3`, `rules` …
    pub fn set(&self, part: &str, state: Result<(), String>) {
        let reason = state.err();
        let mut parts = self.lock();
        match parts.get_mut(part) {
            Some(old) if old.reason.is_some() == reason.is_some() => old.reason = reason,
            _ => {
                parts.insert(part.to_owned(), Part { reason, warning: None, since: Instant::now() });
            }
        }
    }

    /// Says what deserves a word about a part that works; `None`: no longer. Whether that is news.
    pub fn warn(&self, part: &str, warning: Option<String>) -> bool {
        let mut parts = self.lock();
        match parts.get_mut(part) {
            Some(old) if old.reason.is_none() && old.warning == warning => false,
            _ => {
                parts.insert(part.to_owned(), Part { reason: None, warning, since: Instant::now() });
                true
            }
        }
    }

    /// Forgets a part that is no longer ours: a partition that was revoked.
    pub fn forget(&self, part: &str) {
        self.lock().remove(part);
    }

    /// All parts, by name.
    pub fn parts(&self) -> BTreeMap<String, Part> {
        self.lock().clone()
    }

    /// Whether every part works, and the loop turns.
    pub fn is_ready(&self) -> bool {
        self.is_alive() && self.lock().values().all(|part| part.reason.is_none())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        // a panic elsewhere leaves the map whole: each change is one insert
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_every_part_says_and_begins_with_no() {
        let health = Health::new(Duration::from_secs(60));
        health.set("store", Ok(()));
        assert!(!health.is_ready(), "not before the start is over");
        health.started();
        assert!(health.is_ready());
        health.set("partition:auth/3", Err("its head is unknown".into()));
        assert!(!health.is_ready());
        health.forget("partition:auth/3");
        assert!(health.is_ready());
    }

    #[test]
    fn a_warning_is_told_and_leaves_the_process_ready() {
        let health = Health::new(Duration::from_secs(60));
        health.started();
        assert!(health.warn("rules:coverage", Some("a part".into())));
        assert!(!health.warn("rules:coverage", Some("a part".into())), "it is no news");
        assert!(health.is_ready());
        assert_eq!(health.parts()["rules:coverage"].warning.as_deref(), Some("a part"));
        assert!(health.warn("rules:coverage", None) && !health.warn("rules:coverage", None));
    }

    #[test]
    fn a_part_keeps_the_moment_it_broke() {
        let health = Health::new(Duration::from_secs(60));
        health.set("store", Err("timeout".into()));
        let first = health.parts()["store"].since;
        health.set("store", Err("refused".into()));
        let part = health.parts()["store"].clone();
        assert_eq!((part.since, part.reason.as_deref()), (first, Some("refused")));
        health.set("store", Ok(()));
        assert!(health.parts()["store"].since >= first);
    }

    #[test]
    fn a_loop_that_stops_is_dead_and_not_ready() {
        let health = Health::new(Duration::from_millis(20));
        health.started();
        health.beat();
        assert!(health.is_alive());
        std::thread::sleep(Duration::from_millis(60));
        assert!(!health.is_alive() && !health.is_ready());
        health.beat();
        assert!(health.is_alive());
    }
}
