//! What the ingest workflow is told: settings with their units, and the parts it drives.

use super::accuracy::KnownSources;
pub use super::state::Keeping;
use super::{schemas::Schemas, switching::Changes};
use crate::{
    decode::Decoder,
    detect::{Limits, RuleSet, Watch},
    note::Verifiers,
    publish::Publisher,
    segment::Codec,
    signing::Sign,
    source::Source,
    store::Store,
    topics::ByTopic,
};
use std::{sync::Arc, time::Duration};

pub use crate::retention::RetentionPolicy;

/// Wall clock: milliseconds since 1970. Passed in, so that a simulation can own it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How one topic is read.
#[derive(Clone)]
pub struct Topic {
    /// Decodes and validates its records.
    pub decoder: Arc<Decoder>,
    /// Whether offsets may be missing (transactions, compaction): then they are `not_delivered`, else `unexplained`.
    pub gaps_expected: bool,
    /// Where a new chain begins. What lies before is sealed as a gap `before_chain`.
    pub begin: Begin,
}

/// Where a new chain begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// The first offset that the broker still has.
    #[default]
    LogStart,
    /// The next record produced.
    End,
    /// The first record whose timestamp is at or after this: milliseconds since 1970.
    At(i64),
}

/// When a segment is rolled, and how it is written.
#[derive(Debug, Clone)]
pub struct SealOptions {
    /// Roll at this many leaves.
    pub max_records: usize,
    /// Roll at this many uncompressed bytes; at most 48 MiB, so that one more record fits under the format's 64 MiB.
    pub max_bytes: usize,
    /// Roll when this long has passed since the first record of the segment arrived.
    pub max_age: Duration,
    /// An idle chain seals a heartbeat this often.
    pub heartbeat: Duration,
    /// `next_by` of a manifest promises the next segment within `heartbeat` and this.
    pub grace: Duration,
    /// How blocks are compressed.
    pub codec: Codec,
    /// Compression level of the codec.
    pub level: i32,
    /// Bytes of all buffers together. When it is exceeded the largest segment rolls; when that does not help,
    /// reading pauses.
    pub memory: usize,
    /// Segments sealed at the same time.
    pub parallel: usize,
    /// Topics whose segments are locked otherwise than the rest.
    pub classes: ByTopic<RetentionPolicy>,
}

impl Default for SealOptions {
    fn default() -> Self {
        Self {
            max_records: 200_000,
            max_bytes: 32 << 20,
            max_age: Duration::from_secs(60),
            heartbeat: Duration::from_secs(3600),
            grace: Duration::from_secs(3600),
            codec: Codec::Zstandard,
            level: 1,
            memory: 256 << 20,
            parallel: 8,
            classes: ByTopic::default(),
        }
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It seals what it reads, and publishes dead letters.
    pub seal: bool,
    /// It judges what it reads, and publishes findings.
    pub detect: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self { seal: true, detect: true }
    }
}

/// How findings are made and where those of new rules go. The default: everything here, shadow findings only counted.
#[derive(Clone, Default)]
pub struct Live {
    /// What is done here.
    pub roles: Roles,
    /// Whether findings of rules in mode shadow are published, to their own topic.
    pub shadow: bool,
    /// Rules that are to come into force under way. They must not look back further than what a restart reads again.
    pub changes: Option<Changes>,
    /// Where schemas are asked for that records name by an id.
    pub schemas: Option<Schemas>,
    /// By which fields topics are partitioned; `None` where that is not known. No field at all: no record of the topic
    /// is judged.
    pub partitioned_by: ByTopic<Option<Vec<String>>>,
    /// What is watched of the sources.
    pub sources: Watch,
    /// Names of sources that may stand in metrics.
    pub known_sources: KnownSources,
}

impl Live {
    /// The fields by which a topic is partitioned, where that is known.
    pub fn partition_fields(&self, topic: &str) -> Option<&[String]> {
        self.partitioned_by.get(topic)?.as_deref()
    }

    /// Whether records of a topic are judged.
    pub fn judges(&self, topic: &str) -> bool {
        self.partition_fields(topic).is_none_or(|fields| !fields.is_empty())
    }
}

/// Settings of the workflow.
#[derive(Clone)]
pub struct Options {
    /// As in store.json.
    pub origin: String,
    /// Configured name of the Kafka cluster.
    pub cluster: String,
    /// Configured name of this instance.
    pub instance: String,
    /// Topics by name or pattern.
    pub topics: ByTopic<Topic>,
    /// Rules in force.
    pub rules: Arc<RuleSet>,
    /// Bounds of the detector.
    pub limits: Limits,
    /// How rules are run in production.
    pub live: Live,
    /// When and how to seal.
    pub seal: SealOptions,
    /// How to lock.
    pub retention: RetentionPolicy,
    /// Whether findings are published.
    pub alerts: bool,
    /// Whether rejections are published to the dead-letter topic.
    pub dead_letters: bool,
    /// At most this many records are read again before the committed offset, to rebuild the state of the rules.
    pub replay_records: i64,
    /// How the durable state of rules is kept; without it every rule remembers as far as a restart reads again.
    pub state: Option<Keeping>,
    /// Messages that may wait for the broker's acknowledgement; beyond it dead letters are read again later.
    pub outbox: usize,
    /// How long a shutdown may take to seal what is buffered.
    pub shutdown_deadline: Duration,
}

/// The parts it drives.
pub struct Parts {
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// Where segments go.
    pub store: Arc<dyn Store>,
    /// Where findings and dead letters go.
    pub publisher: Arc<dyn Publisher>,
    /// Signs manifests.
    pub signer: Arc<dyn Sign>,
    /// Keys whose segments are adopted: the signer's own, and those of the other writers.
    pub verifiers: Arc<Verifiers>,
    /// Wall clock.
    pub clock: Clock,
}
