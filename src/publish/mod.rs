//! Where findings and dead letters go: the contract that `ingest` is written against.

pub mod dead_letter;
pub mod kafka;
pub mod letter;
pub mod memory;
pub mod state;

use crate::{error::Result, record::Header};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Which stream a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The alerts topic.
    Alerts,
    /// The dead-letter topic.
    DeadLetters,
    /// The topic of findings of rules in mode shadow.
    Shadow,
    /// The topic of the log's checkpoints.
    Checkpoints,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub stream: Stream,
    /// Key.
    pub key: Option<Bytes>,
    /// Headers.
    pub headers: Vec<Header>,
    /// Value.
    pub value: Option<Bytes>,
}

/// Publishes at least once.
pub trait Publisher: Send + Sync + 'static {
    /// Hands a message over. The future ends when the broker has acknowledged it, or with an error:
    /// `Kind::Retry` — it was not acknowledged in time and may be sent again; any other — it never will be (too
    /// large, forbidden).
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<()>>;
}
