//! Extends the transparency log: every manifest that is sealed becomes an entry, in an order that no two instances can
//! see differently.
//!
//! ```text
//! ingest ── notices ──▶ Queue ──┐
//! store ── what it lacks ───────┴─▶ Appender ── create-only ──▶ log/batches/<n>   the order is decided here
//!                                     └─ derived ──▶ log/tile/… ──▶ log/checkpoint ──▶ topic
//! ```
//!
//! **Sealing never waits for the log.** The queue is bounded and never blocks; what found no room, or was sealed by a
//! process that died, is found again by listing its chain past what is logged. **Winning the create of a batch is the
//! commit of its order**; tiles, bundles and the checkpoint follow from the batches, so that anyone may make them, and
//! again. There is no lock, no leader and no database.
//!
//! | file | owns |
//! |---|---|
//! | `queue` | what waits, and which chains must be looked at |
//! | `appender` | the log in the store: read, verified, extended, derived |
//! | `find` | manifests that are sealed and not logged, from the store |
//! | `desk` | entries that persons make: read the whole log, decide, append |
//! | `retention`, `holds` | what goes when its time is over, and what stays |
//! | `keys` | introducing and retiring keys |
//! | `run` | the loop: once every few seconds, figures, readiness, the topic |
//! | `anchors` | who else is told of checkpoints: tasks beside the loop, which never waits for them |
//! | `witness` | cosignatures: asks the witnesses of the policy, publishes what they sign |
//! | `stamping` | stamps: asks an authority now and then, stores what it answers |

mod anchors;
mod appender;
mod desk;
mod find;
pub mod holds;
pub mod keys;
mod queue;
pub mod retention;
mod run;
mod stamping;
mod witness;

pub use anchors::{Anchors, Stamping, Witnessing};
pub use appender::{Appender, Committed};
pub use desk::{Desk, History};
pub use keys::is_retired;
pub use queue::Queue;
pub use run::{Logger, run};

use crate::{
    health::Health, manifest::Writer, note::Verifiers, publish::Publisher, retention::RetentionPolicy, signing::Sign,
    store::Store,
};
use std::{sync::Arc, time::Duration};

/// Wall clock: milliseconds since 1970. Passed in, so that a simulation can own it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How the log is extended.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the log: as in store.json.
    pub origin: String,
    /// Who extends it.
    pub writer: Writer,
    /// How batches are locked.
    pub retention: RetentionPolicy,
    /// A batch is written at most this often, unless there is more than one to write.
    pub every: Duration,
    /// How long a shutdown may take to log what is sealed.
    pub shutdown_deadline: Duration,
    /// Who else is told of checkpoints.
    pub anchors: Anchors,
}

impl Options {
    /// A batch every ten seconds: six times within the merge delay of a store.
    pub fn new(origin: &str, writer: Writer, retention: RetentionPolicy) -> Self {
        let (every, shutdown_deadline) = (Duration::from_secs(10), Duration::from_secs(10));
        let anchors = Anchors::default();
        Self { origin: origin.into(), writer, retention, every, shutdown_deadline, anchors }
    }
}

/// The parts that it drives.
#[derive(Clone)]
pub struct Parts {
    /// Where the log lies, and the segments.
    pub store: Arc<dyn Store>,
    /// The log's key: its name is the origin.
    pub signer: Arc<dyn Sign>,
    /// Keys of the log.
    pub keys: Arc<Verifiers>,
    /// Keys whose segments are entered.
    pub seal_keys: Arc<Verifiers>,
    /// Wall clock.
    pub clock: Clock,
    /// Where checkpoints are published, if they are.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Told how the log fares, as the part `log`: a warning, for sealing goes on without it.
    pub health: Arc<Health>,
    /// What is sealed here.
    pub queue: Queue,
}
