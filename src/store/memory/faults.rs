//! What goes wrong in the memory store, and when: a script decides by the number of the call.
//!
//! Each effect can fail twice: *lost* (it did not happen) and *landed* (it happened, and was reported as failed).

use crate::error::Error;
use std::time::Duration;

/// What a call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Create an object.
    Create,
    /// Read one, or its lock, or the bucket's settings.
    Read,
    /// List keys, folders or versions.
    List,
    /// Delete a version, change its lock, or replace an object.
    Change,
    /// Ask for the time.
    Clock,
}

/// A call about to be made.
#[derive(Debug)]
pub struct Call<'a> {
    /// 0, 1, 2 … in the order in which the calls of all users arrive.
    pub number: u64,
    /// What it wants.
    pub verb: Verb,
    /// Of which key; the prefix of a list.
    pub key: &'a str,
}

/// How a call fails, in the words of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 409 `ConditionalRequestConflict`: another request was at the same key; ask again.
    Conflict,
    /// 403 `AccessDenied`: nothing will change until a person acts.
    Forbidden,
    /// 503 `SlowDown`.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The connection ended in the middle of the answer.
    Truncated,
}

impl Failure {
    pub(super) fn error(self, verb: Verb, key: &str) -> Error {
        let place = format!("memory: {verb:?} {key}");
        match self {
            Self::Conflict => Error::retry(format!("{place}: 409 ConditionalRequestConflict")),
            Self::Forbidden => Error::config(format!("{place}: 403 AccessDenied")),
            Self::Unavailable => Error::retry(format!("{place}: 503 SlowDown")),
            Self::Timeout => Error::retry(format!("{place}: no answer in time")),
            Self::Truncated => Error::retry(format!("{place}: the answer ended before its length was reached")),
        }
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fault {
    /// Waits before the effect: a slow request, of a zombie perhaps.
    pub before: Duration,
    /// Fails instead of the effect.
    pub lost: Option<Failure>,
    /// Waits after the effect: a slow answer.
    pub after: Duration,
    /// Fails after the effect.
    pub landed: Option<Failure>,
}

impl Fault {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { before: Duration::ZERO, lost: None, after: Duration::ZERO, landed: None };

    /// The effect does not happen.
    pub fn lost(failure: Failure) -> Self {
        Self { lost: Some(failure), ..Self::NONE }
    }

    /// The effect happens and is reported as failed.
    pub fn landed(failure: Failure) -> Self {
        Self { landed: Some(failure), ..Self::NONE }
    }

    /// The effect happens after `before`.
    pub fn slow(before: Duration) -> Self {
        Self { before, ..Self::NONE }
    }
}

/// Decides what becomes of each call. Closures are scripts too.
pub trait Faults: Send {
    /// What becomes of `call`.
    fn decide(&mut self, call: &Call<'_>) -> Fault;
}

impl<F: FnMut(&Call<'_>) -> Fault + Send> Faults for F {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        self(call)
    }
}

/// Faults drawn from a seed and the number of the call alone: the same seed gives the same schedule.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The seed.
    pub seed: u64,
    /// Of 100 calls, so many fail; some are lost, some have landed.
    pub failing: u64,
    /// Of 100 calls, so many are slow, before or after the effect.
    pub slow: u64,
    /// The longest wait.
    pub longest: Duration,
    /// Whether failures of the kind that stops a writer (403) are among them.
    pub forbidden: bool,
}

impl Faults for Seeded {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let mut state = self.seed ^ call.number.wrapping_mul(0xd134_2543_de82_ef95);
        let mut draw = |below: u64| next(&mut state) % below.max(1);
        let mut fault = Fault::NONE;
        if draw(100) < self.slow {
            let wait = Duration::from_millis(draw(self.longest.as_millis() as u64 + 1));
            if draw(2) == 0 {
                fault.before = wait;
            } else {
                fault.after = wait;
            }
        }
        if draw(100) < self.failing {
            let failure = match draw(if self.forbidden { 5 } else { 4 }) {
                0 => Failure::Conflict,
                1 => Failure::Unavailable,
                2 => Failure::Timeout,
                3 => Failure::Truncated,
                _ => Failure::Forbidden,
            };
            // a refusal never has an effect; only failures that leave the outcome open can have landed
            let open = matches!(failure, Failure::Unavailable | Failure::Timeout | Failure::Truncated);
            // where an answer began the server had come to an end
            if open && (failure == Failure::Truncated || draw(2) == 0) {
                fault.landed = Some(failure);
            } else {
                fault.lost = Some(failure);
            }
        }
        fault
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for schedules, and the same everywhere.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(super) async fn sleep(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}
