//! Where records come from: the contract that `ingest` is written against. `kafka` fulfils it in production, `scripted`
//! in tests.

pub mod kafka;
pub mod scripted;

use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::TopicPartition,
    record::RawRecord,
};
use async_trait::async_trait;
use std::sync::Arc;

/// What is committed for a partition: `done_to`, and what the store held by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to work on.
    pub offset: i64,
    /// Opaque to the source.
    pub metadata: String,
}

/// A partition that was assigned. It delivers nothing before [`SourceControl::start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Which one.
    pub partition: TopicPartition,
    /// What the group had committed.
    pub committed: Option<Commit>,
}

/// Records of one partition, in the order of their offsets, not necessarily consecutive.
#[derive(Debug)]
pub struct Batch {
    /// Which partition.
    pub partition: TopicPartition,
    /// Which start: batches of an earlier epoch are stale and must be dropped.
    pub epoch: u64,
    /// Records, at least one.
    pub records: Vec<RawRecord>,
}

/// What a source tells.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are what the variants speak of
pub enum SourceEvent {
    /// Partitions were assigned.
    Assigned(Vec<Assigned>),
    /// Partitions were taken away: what is not sealed is discarded, the next owner reads it again.
    Revoked(Vec<TopicPartition>),
    /// Records.
    Batch(Batch),
    /// Everything up to the last stable offset was delivered. Told again every second or so while it holds.
    AtEnd {
        /// Which partition.
        partition: TopicPartition,
        /// Which start.
        epoch: u64,
        /// The last stable offset: the next one to come.
        end: i64,
    },
    /// The offset to read next is not among those that the broker has (`log_start` ≤ x ≤ `end`). Nothing is delivered
    /// until the partition is started again.
    OutOfRange {
        /// Which partition.
        partition: TopicPartition,
        /// Which start.
        epoch: u64,
        /// The first offset that the broker has.
        log_start: i64,
        /// The one after the last. Where the log was cut off and has grown again: where it was cut off.
        end: i64,
    },
    /// Topics that are read because their names match were found, or are there no longer.
    Topics {
        /// Read from now on.
        found: Vec<String>,
        /// No longer read: they do not exist any more.
        gone: Vec<String>,
    },
    /// The group keeps these offsets: whoever gets these partitions next begins there or later.
    Committed(Vec<(TopicPartition, i64)>),
    /// Something went wrong. The source goes on by itself where the error is `Kind::Retry`.
    Failed {
        /// With which partition; `None`: with all.
        partition: Option<TopicPartition>,
        /// What.
        error: Error,
    },
}

/// A consumer of partitions. Dropping it leaves the group.
#[async_trait]
pub trait Source: Send {
    /// The next event. `None` after [`SourceControl::close`], when all is told.
    ///
    /// While nobody calls this, the source stops fetching but stays in its group.
    async fn next(&mut self) -> Option<SourceEvent>;
    /// The part that can be shared.
    fn control(&self) -> Arc<dyn SourceControl>;
}

/// What a workflow can ask of a source, from any task.
#[async_trait]
pub trait SourceControl: Send + Sync {
    /// Delivers from `offset` on. Batches from now on carry the epoch returned.
    async fn start(&self, partition: &TopicPartition, offset: i64) -> Result<u64>;
    /// Delivers no more of a partition until it is started again.
    async fn stop(&self, partition: &TopicPartition) -> Result<()>;
    /// Commits, without waiting. A failure is reported as `SourceEvent::Failed`; what the group forbids (rebalance)
    /// is passed over.
    fn commit(&self, commits: Vec<(TopicPartition, Commit)>);
    /// The same, and waits for the broker's answer: for shutdown.
    async fn commit_now(&self, commits: Vec<(TopicPartition, Commit)>) -> Result<()>;
    /// The first offset whose timestamp is at or after `timestamp` (milliseconds); `None` if there is none.
    async fn offset_at(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>>;
    /// What the broker says of a partition now.
    async fn broker(&self, partition: &TopicPartition) -> Result<Broker>;
    /// Whether the broker keeps only the last record of each key of a topic; `None` if it does not say.
    async fn is_compacted(&self, topic: &str) -> Result<Option<bool>> {
        let _ = topic;
        Ok(None)
    }
    /// Leaves the group; `next` returns `None` afterwards.
    async fn close(&self);
}
