//! The transparency log, to the byte (docs/format.md): what an entry is, how entries make a tree and its tiles, how a
//! batch commits their order, what a checkpoint says. Pure: the store is read and written elsewhere.
//!
//! ```text
//! manifests, alive … ── Entry ──▶ Batch (signed, create-only: its order is the log's)
//!                                   └─▶ Edge ──▶ tiles and bundles (derived) ──▶ Checkpoint (signed)
//! ```
//!
//! What others say of a checkpoint: [`cosign`] (witnesses), [`policy`] (whose word is enough), [`stamp`] (since
//! when it exists), [`mod@grade`] (what all of it is worth).
//!
//! Sources: RFC 6962 §2.1, c2sp.org/signed-note, c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint,
//! c2sp.org/tlog-cosignature, c2sp.org/tlog-policy, RFC 3161.

pub mod batch;
pub mod checkpoint;
pub mod cosign;
pub mod entry;
pub mod grade;
pub mod keep;
pub mod key;
pub mod keyring;
pub mod ledger;
pub mod policy;
pub mod proof;
pub mod stamp;
pub mod state;
pub mod tiles;
pub mod trust;
pub mod witness;

pub use batch::{Batch, Header};
pub use checkpoint::Checkpoint;
pub use entry::{Alive, Entry};
pub use grade::{Grade, grade};
pub use keep::{Disposal, Hold};
pub use key::KeyEntry;
pub use keyring::Keyring;
pub use ledger::Ledger;
pub use policy::Policy;
pub use state::{Log, Logged};
pub use tiles::Edge;
pub use trust::Trust;

use crate::{
    fault::{Fault, code},
    note::Refused,
};

/// What to say of a note of the log that is not accepted.
fn refused(refused: Refused) -> Fault {
    match refused {
        Refused::Form(what) => Fault::new(code::LOG_FORM, what),
        Refused::Signature(id) => Fault::new(code::LOG_SIGNATURE, format!("the signature of key {id} is bad")),
        Refused::Unknown => Fault::new(code::LOG_UNKNOWN_KEY, "no known key signed it"),
    }
}
