//! One record, or one gap, proven by one file: no store, no network, and nothing of any other record (docs/format.md).
//!
//! ```text
//! record ── path ──▶ root of its segment ── in ──▶ manifest, signed by a seal key ── path ──▶ checkpoint, signed
//! └─────────────── extra, re-derived from the entry ────────────────────────────┘└─ c2sp.org/tlog-proof@v1 ─┘
//! ```
//!
//! [`Proof`] is the file, [`Part`] what travels in its `extra`, [`check`] what makes a [`Proven`] of it. What `extra`
//! says is believed in nothing: the manifest in it must be the entry that is in the log, and all else must follow from
//! the manifest.

mod check;
mod file;
mod part;
#[cfg(test)]
mod tests;

pub use check::{InLog, Proven, Statement, check};
pub use file::{MAX_FILE, Outer, Proof};
pub use part::{FORMAT, Part};

/// Reason codes of what only a proof can have; all others are [`crate::fault::code`]'s.
pub mod code {
    /// The file is not a proof of the form that docs/format.md describes.
    pub const FORM: &str = "proof_form";
    /// The record is not at its place in the segment: its path does not lead to the root in the manifest, or its offset
    /// is none of the segment's.
    pub const RECORD: &str = "proof_record";
    /// The manifest is not at its place in the log: its path does not lead to the root in the checkpoint.
    pub const LOG: &str = "proof_log";
    /// The proof is of a record that was not in the log when it was made.
    pub const PENDING: &str = "proof_pending";

    /// All of them.
    pub const ALL: [&str; 4] = [FORM, RECORD, LOG, PENDING];
}
