//! The write path: records in, judged, sealed, acknowledged. The only place where effects are ordered.
//!
//! One task owns every lane and the detector, and decides; looking up, sealing and publishing are tasks of their own
//! that report back. **Evidence first**: sealing never waits for publishing. **Two positions**: `sealed_to` is what
//! the store holds, `done_to` (Kafka's commit) is what is sealed *and* judged *and* acknowledged.

mod accuracy;
mod artifacts;
mod clock;
mod closing;
mod coverage;
mod engine;
mod fetching;
mod intake;
mod lane;
mod last_sealed;
mod naming;
mod opening;
pub mod options;
mod outbox;
pub mod plan;
mod record_times;
mod report;
pub mod reset;
mod rule_figures;
mod schemas;
mod seal;
mod sources;
mod state;
pub mod status;
mod switching;
pub mod tail;
mod topics;

pub use accuracy::KnownSources;
pub use closing::Summary;
pub use engine::run;
pub use options::{Begin, Clock, Keeping, Live, Options, Parts, RetentionPolicy, Roles, SealOptions, Topic};
pub use schemas::Schemas;
pub use switching::Changes;
