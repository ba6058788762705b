//! Whether the wall clock can be believed: it has run as the monotonic clock did since the store last agreed with it.
//!
//! A wall clock that was set, or a machine that was suspended, is noticed when the time is next needed, not minutes
//! later: then the store is asked first. It is the store that decides, for after a suspension the jump is right.

use super::{options::Clock, status::Status};
use crate::store::Store;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The most our clock and the store's may differ, milliseconds.
const SKEW_MS: i64 = 300_000;
/// The most our wall clock may have moved otherwise than our monotonic one since it was confirmed, milliseconds: a
/// clock that is slewed stays far below it.
const JUMP_MS: i64 = 60_000;
/// Pause before the store is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the wall clock.
pub struct ClockWatch {
    clock: Clock,
    store: Arc<dyn Store>,
    status: Arc<Status>,
    known: Mutex<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    /// What the clock said when the store agreed, or when we began, and when that was.
    was: i64,
    since: Instant,
    /// What the store said, if it was asked.
    agreed: Option<bool>,
}

impl ClockWatch {
    /// Nothing is known yet.
    pub fn new(clock: Clock, store: Arc<dyn Store>, status: Arc<Status>) -> Self {
        let known = Known { was: clock(), since: Instant::now(), agreed: None };
        Self { clock, store, status, known: Mutex::new(known) }
    }

    /// The time, what is known, and whether the clock has jumped since.
    fn look(&self) -> (i64, Known, bool) {
        let (now, at) = ((self.clock)(), Instant::now());
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = at.duration_since(known.since).as_millis() as i64;
        let jump = now.saturating_sub(known.was).saturating_sub(passed);
        (now, known, jump.abs() > JUMP_MS)
    }

    /// Whether nothing speaks against the clock: enough where no store need be asked, and may be down.
    pub fn holds(&self) -> bool {
        let (_, known, jumped) = self.look();
        !jumped && known.agreed != Some(false)
    }

    /// The time, if the store has agreed with the clock and it has not jumped since.
    fn confirmed(&self) -> Option<i64> {
        let (now, known, jumped) = self.look();
        (!jumped && known.agreed == Some(true)).then_some(now)
    }

    /// Asks the store. A store without a clock agrees with everything; one that does not answer says nothing.
    pub async fn check(&self) {
        let Ok(theirs) = self.store.clock().await else { return };
        let (now, at) = ((self.clock)(), Instant::now());
        let skew = theirs.map_or(0, |theirs| now.saturating_sub(theirs));
        let good = skew.abs() <= SKEW_MS;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known { was: now, since: at, agreed: Some(good) };
        if good {
            self.status.ok("clock");
        } else {
            let text = format!("our clock is {} s off the store's: nothing is sealed until it is set", skew / 1000);
            self.status.fail("clock", text);
        }
    }

    /// Waits until the clock is confirmed, and says the time.
    pub async fn now(&self) -> i64 {
        loop {
            if let Some(now) = self.confirmed() {
                return now;
            }
            self.check().await;
            if self.confirmed().is_none() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_is_believed_again_when_the_store_agrees() {
        let (store, ours) = (MemoryStore::new(), Arc::new(AtomicI64::new(1_000_000_000)));
        store.set_clock(Some(1_000_000_000));
        let status = Arc::new(Status::default());
        let reads = ours.clone();
        let watch =
            Arc::new(ClockWatch::new(Arc::new(move || reads.load(Relaxed)), Arc::new(store.clone()), status.clone()));
        assert!(watch.holds() && watch.confirmed().is_none(), "nobody has confirmed it yet");
        assert_eq!(watch.now().await, 1_000_000_000);
        ours.fetch_add(59_000, Relaxed);
        assert!(watch.confirmed().is_some(), "slewed");
        // set wrong, in both directions: nobody gets the time
        for jump in [7_200_000, -14_400_000] {
            ours.fetch_add(jump, Relaxed);
            assert!(!watch.holds() && watch.confirmed().is_none());
            let asked = tokio::time::timeout(Duration::from_secs(30), watch.now()).await;
            assert!(asked.is_err() && status.parts()["clock"].is_some(), "{jump}");
        }
        // the machine was suspended: the store's clock has jumped too
        store.set_clock(Some(ours.load(Relaxed)));
        let waits = tokio::spawn({
            let watch = watch.clone();
            async move { watch.now().await }
        });
        assert_eq!(waits.await.unwrap(), ours.load(Relaxed));
        assert!(watch.holds() && status.parts()["clock"].is_none());
        // a store without a clock agrees with everything
        store.set_clock(None);
        ours.fetch_add(86_400_000, Relaxed);
        assert!(!watch.holds());
        watch.now().await;
        assert!(watch.holds());
    }
}
