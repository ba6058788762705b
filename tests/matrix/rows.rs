//! The taxonomy: 33 attacks and faults, how peers fare with each, and the cases that are run of it. Who the peers are
//! is said at the head of `docs/attacks.md`.

use super::{
    base::Base,
    case::{Case, Row},
    contents, history, versions,
};

pub struct Attack {
    pub title: &'static str,
    /// Who sees it, and by what.
    pub seen: &'static str,
    /// Who does not.
    pub missed: &'static str,
    /// What somebody should know beside the codes.
    pub note: &'static str,
    pub cases: fn(&mut Row<'_>),
}

fn none(_: &mut Row<'_>) {}

macro_rules! attacks {
    ($($title:literal, $cases:path, seen $seen:literal, missed $missed:literal, $note:literal;)*) => {
        /// In the order of the taxonomy; the first is number 1.
        pub const ATTACKS: &[Attack] =
            &[$(Attack { title: $title, seen: $seen, missed: $missed, note: $note, cases: $cases }),*];
    };
}

attacks! {
    "An entry is edited", contents::edited_entries,
        seen "transparency logs, CloudTrail, KSI, journald",
        missed "Vault, hoop, Teleport on a store without locks",
        "";
    "A value is edited, the stored hashes are kept", contents::edited_below_a_kept_tree,
        seen "Tessera's `fsck`, which hashes everything again",
        missed "immudb's auditor, unless told to look at values",
        "";
    "An entry in the middle is deleted", contents::deleted,
        seen "transparency logs, journald, KSI",
        missed "Vault, Teleport, hoop",
        "";
    "A forged entry is put into the past", contents::inserted,
        seen "transparency logs, CloudTrail",
        missed "chains of hashes without a key, which are made anew; hoop",
        "";
    "Entries change places", contents::reordered,
        seen "transparency logs, CloudTrail",
        missed "hoop",
        "";
    "The newest entries are dropped", history::newest_dropped,
        seen "witnesses; clients that remember a head",
        missed "CloudTrail's CLI, which only reports a shorter time; plain S3",
        "With the log cut off as well, by whoever keeps a checkpoint.";
    "Cut off, and gone on with", history::cut_and_continued,
        seen "witnesses, which refuse; journald since 2023",
        missed "journald before",
        "Of the log, by whoever keeps a checkpoint.";
    "The log is replaced by another of the same name", history::replaced,
        seen "witnesses; verifiers that pin name and key",
        missed "immudb before 1.4.1 (CVE-2022-39199)",
        "";
    "Two people are shown two histories", history::split_view,
        seen "a quorum of witnesses",
        missed "CloudTrail, QLDB, logs without witnesses",
        "By comparing a checkpoint that one of them kept, or that witnesses cosigned and the store keeps. Without, the \
         report says that it is not proven.";
    "The signing key is stolen, and the past rewritten", history::stolen_keys,
        seen "journald up to the theft; witnesses and time stamps",
        missed "logs with one key and nobody outside",
        "With both keys stolen, by whoever keeps a checkpoint, as the store does of those that witnesses cosigned.";
    "Old data is sealed anew with a newer key", history::newer_key,
        seen "journald since 2023 (CVE-2023-31439)",
        missed "journald before",
        "By the log, which has the other manifest, and says from where to where a key is good.";
    "The signature is stripped", contents::stripped,
        seen "signed notes, where none is a failure",
        missed "journald, which passes an unsealed file; KSI goes on without",
        "";
    "The operator backdates", history::backdated,
        seen "time stamps, cosignatures, KSI",
        missed "CloudTrail, plain transparency logs",
        "Within its chain. That all of it is backdated takes a witness or a time stamp to see.";
    "The clock is ahead, or goes back", history::clocks,
        seen "Sunlight, which stops",
        missed "most",
        "Ahead of the auditor's clock it is a notice: his may be wrong.";
    "An event is never written", history::never_written,
        seen "Vault, which refuses the request",
        missed "Teleport, hoop; every transparency log, by design",
        "Every offset of Kafka is accounted for.";
    "Offsets are set back, or Kafka's retention overtakes", history::source_lost,
        seen "nobody that was looked at",
        missed "all of them",
        "";
    "The logger is switched off", history::switched_off,
        seen "CloudTrail's empty digests, journald's epochs",
        missed "CloudTrail's CLI, which exits 0 on a gap",
        "Lateness fails with `--fresh`.";
    "A zombie, or two writers", history::two_writers,
        seen "Sunlight and Tessera, by compare-and-swap",
        missed "Teleport, which sorts duplicates out later",
        "";
    "A put arrives after the takeover", versions::late_put,
        seen "create-only puts",
        missed "early Sunlight",
        "The put is refused; where a server lets it through, it is a shadow version.";
    "One's own retry makes a twin", versions::twins,
        seen "nobody that was looked at",
        missed "Sunlight, which sends a second put after 75 ms, without a condition",
        "";
    "A version over or below a locked object", versions::shadows,
        seen "whoever compares contents, as an alarm",
        missed "Object Lock itself, which allows it",
        "The sealed version is found and checked.";
    "A delete marker hides it", versions::markers,
        seen "CloudTrail, as \"not found\"",
        missed "Object Lock itself, which allows it",
        "";
    "Deleted and created again", versions::recreated,
        seen "whoever compares contents",
        missed "conditional puts, which succeed behind a marker",
        "";
    "The lock is shortened, weakened or lifted", versions::locks,
        seen "nobody that was looked at",
        missed "all of them",
        "A legal hold, if an entry of the log says that there was one.";
    "The encryption key is deleted", versions::unreadable,
        seen "nobody that was looked at",
        missed "all of them",
        "";
    "A bit flips before it is hashed", contents::flipped,
        seen "monitors that compute everything again",
        missed "whoever checks consistency proofs alone (Yeti 2022)",
        "The writer decodes on a second path and compares before it signs.";
    "A forged path of a proof", versions::forged_paths,
        seen "immudb since its fix",
        missed "immudb before (CVE-2022-36111)",
        "In the store. Of a proof file, every byte is turned in `src/proof/tests.rs` (`proof_log`, `proof_record`).";
    "A proof of another log or tenant", versions::of_another,
        seen "origin and key id in what is signed",
        missed "systems whose tenants share a key",
        "";
    "Leaves taken for nodes; more than one encoding", contents::lax_encodings,
        seen "RFC 6962's prefixes",
        missed "naive chains of hashes",
        "";
    "An event is there twice", contents::replayed,
        seen "unique indexes",
        missed "Tessera's antispam, which is best effort",
        "";
    "Erasure as an excuse", history::erasure,
        seen "QLDB, which keeps the hash",
        missed "row deletes",
        "An entry excuses what is past its date, not held and not the newest; one that this version does not know, \
         nothing.";
    "Personal data guessed from hashes", none,
        seen "Vault, by a salted HMAC",
        missed "hoop, by unsalted hashes of 64 bits",
        "Nothing to find: no digest of personal data is kept without a key (`tests/secrets.rs`).";
    "The verifier is drowned", contents::huge,
        seen "C2SP, by limits in the formats",
        missed "parsers without bounds (sigstore-go#567)",
        "Memory stays bounded (`tests/verify_memory.rs`).";
}

/// All cases of all attacks on `base`.
pub fn cases(base: &Base) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, attack) in (1..).zip(ATTACKS) {
        (attack.cases)(&mut Row { base, number, cases: &mut cases });
    }
    cases
}
