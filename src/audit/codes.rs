//! Every reason code of an audit: which verdict it fails, what it means, what to do. `docs/verify.md` lists the same.

use super::report::{Severity, Verdict};

/// A reason code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// As in `--json`.
    pub code: &'static str,
    /// Whether it fails its verdict.
    pub severity: Severity,
    /// Which verdict it speaks of.
    pub verdict: Verdict,
    /// Whether the chain is broken there: what follows may be a consequence.
    pub breaks: bool,
    /// What to do.
    pub advice: &'static str,
}

const fn code(code: &'static str, verdict: Verdict, breaks: bool, advice: &'static str) -> Code {
    Code { code, severity: Severity::Failure, verdict, breaks, advice }
}

const fn notice(code: &'static str, verdict: Verdict, advice: &'static str) -> Code {
    Code { code, severity: Severity::Notice, verdict, breaks: false, advice }
}

use Verdict::{Completeness, Freshness, Integrity, Protection};

const RESTORE: &str = "keep the object as evidence; compare it with a replica or an older version, find out from the \
    storage's access log who wrote it, and check the key's other versions";
const KEY: &str = "if the key is one of yours (another instance, a key that was rotated), give its verifier key too; \
    otherwise somebody without your key wrote this object: keep it as evidence";
const FORMAT: &str = "a program other than authseal wrote it, or a newer version did: check with the newest authseal \
    before you draw conclusions, and keep the object as evidence";
const LINK: &str = "one of the two segments is not the one that was sealed there, or two writers sealed the same \
    chain: compare both with a replica and with the log of the instance that the manifest names";
const MISSING: &str = "look for delete markers and in the storage's access log; restore the object from a replica: its \
    bytes prove themselves";
const LOG: &str = "keep the object as evidence and restore it from a replica; find out from the storage's access log \
    who wrote it, and compare the log with checkpoints that were kept elsewhere";
const STAMP: &str = "keep both objects as evidence and restore them from a replica; the log itself does not \
    depend on them: have it stamped again, and find out from the storage's access log who wrote them";
const ENTRY: &str = "somebody with the log's key entered it, and it counts for nothing: find out who, from the batch \
    that holds it; if its key is missing among those that you gave, give it too";
const RETIRED: &str = "an old key that was stolen, or an instance that goes on with it: the log says up to which entry \
    the key is good; keep the object as evidence, and compare with the instance that its manifest names";
const LOCK: &str = "find out from the storage's access log who changed the lock (PutObjectRetention, \
    BypassGovernanceRetention) or wrote the object without it, and lock it again";
const SOURCE: &str = "what Kafka held is gone before it was sealed: look at time to loss and at the retention of the \
    topic, and find out from the sources what these offsets held";

/// All of them: first those of one segment, then of a chain, then of the store.
pub static CODES: &[Code] = &[
    code("not_a_segment", Integrity, true, RESTORE),
    code("header_form", Integrity, true, RESTORE),
    code("note_form", Integrity, true, RESTORE),
    code("unknown_key", Integrity, true, KEY),
    code("signature", Integrity, true, RESTORE),
    code("manifest_form", Integrity, true, FORMAT),
    code("manifest_unknown_field", Integrity, true, FORMAT),
    code("key_name", Integrity, true, KEY),
    code("schema_digest", Integrity, true, RESTORE),
    code("schema_form", Integrity, true, FORMAT),
    code("sync_marker", Integrity, true, RESTORE),
    code("body_length", Integrity, true, RESTORE),
    code("body_digest", Integrity, true, RESTORE),
    code("block_form", Integrity, true, FORMAT),
    code("codec", Integrity, true, FORMAT),
    code("leaf_form", Integrity, true, FORMAT),
    code("offsets", Integrity, true, FORMAT),
    code("counts", Integrity, true, FORMAT),
    code("times", Integrity, true, FORMAT),
    code("root", Integrity, true, RESTORE),
    code("format", Integrity, true, FORMAT),
    code("origin", Integrity, true, LINK),
    code("chain_id", Integrity, true, LINK),
    code("sequence", Integrity, true, LINK),
    code("after_close", Integrity, true, LINK),
    code("previous", Integrity, true, LINK),
    code("start", Integrity, true, LINK),
    code("offsets_gap", Completeness, true, LINK),
    code("offsets_overlap", Integrity, true, LINK),
    code("sealed_time", Integrity, true, LINK),
    code("cluster_changed", Integrity, true, LINK),
    code("topic_changed", Integrity, true, LINK),
    code(
        "segment_misplaced",
        Integrity,
        true,
        "the object is genuine and lies under the wrong key: find out from the storage's access log who put it there, \
         and restore what belongs there",
    ),
    code(
        "origin_mismatch",
        Integrity,
        true,
        "store.json or the segments come from another store: find out which of them was replaced",
    ),
    code("missing_segment", Completeness, true, MISSING),
    code(
        "offsets_before_start",
        Completeness,
        false,
        "the chain begins in the middle of its partition and does not say why: whatever was before should be a gap \
         with the cause before_chain",
    ),
    code(
        "unreadable",
        Completeness,
        true,
        "check the permission to read this object (s3:GetObjectVersion, the file's mode), the disk, and the object's \
         encryption key, then verify again",
    ),
    code("gap_lost", Completeness, false, SOURCE),
    code(
        "gap_unexplained",
        Completeness,
        false,
        "a topic that should have no holes has one: if it is compacted or written in transactions, say so in the \
         configuration; otherwise compare with the broker's log",
    ),
    notice("gap_skipped", Completeness, "an operator passed over these offsets: ask for the reason that was recorded"),
    notice(
        "gaps_not_listed",
        Completeness,
        "the counts of the chain hold all of them; read the segment's leaves for each one",
    ),
    notice(
        "sealed_in_future",
        Integrity,
        "compare this machine's clock with another; if it is right, the sealing instance's clock was wrong",
    ),
    code(
        "incarnation_link",
        Integrity,
        false,
        "the incarnation before ended with another segment than its successor says: its last segments were removed or \
         replaced, or added later: compare with a replica",
    ),
    code("incarnation_missing", Completeness, false, MISSING),
    code(
        "chain_missing",
        Completeness,
        false,
        "no segment of this partition is in the store: its folder was removed, or no instance has sealed it yet: look \
         whether it is assigned, and verify again after its first heartbeat",
    ),
    code(
        "no_chains",
        Completeness,
        false,
        "an empty store proves nothing: check the path, the bucket and the prefix, and whether anything was sealed yet",
    ),
    code(
        "store_json_missing",
        Completeness,
        false,
        "check the path, the bucket and the prefix; if they are right, restore store.json from a replica",
    ),
    code(
        "store_json_invalid",
        Integrity,
        false,
        "somebody changed store.json, or a newer version wrote it: compare it with a replica or an older version",
    ),
    code(
        "unexpected_object",
        Integrity,
        false,
        "no version of this layout writes such a key: find out from the storage's access log who did, and move it away \
         once it is kept as evidence",
    ),
    code("artifact_missing", Completeness, false, MISSING),
    code("artifact_digest", Integrity, false, RESTORE),
    code("log_form", Integrity, false, LOG),
    code("log_unknown_key", Integrity, false, KEY),
    code("log_signature", Integrity, false, LOG),
    code("log_previous", Integrity, false, LOG),
    code("log_root", Integrity, false, LOG),
    code("log_entry_form", Integrity, false, FORMAT),
    code(
        "log_order",
        Integrity,
        false,
        "a defect of the writer, or somebody with the log's key: the batches before it say what the log had; keep \
         everything, and compare with checkpoints that were kept elsewhere",
    ),
    code(
        "log_missing",
        Completeness,
        false,
        "check the path, the bucket and the prefix; if they are right, the batches were removed: restore them from a \
         replica, their bytes prove themselves",
    ),
    code(
        "log_key_missing",
        Completeness,
        false,
        "give the verifier key of the log with --log-key (`authseal keys show` prints it); without it nothing shows \
         whether the newest segments are there",
    ),
    code("log_batch_missing", Completeness, false, MISSING),
    code(
        "log_truncated",
        Completeness,
        false,
        "the newest batches were removed: look in the storage's access log, and restore them from a replica",
    ),
    code(
        "log_checkpoint",
        Integrity,
        false,
        "somebody with the log's key signed another history, or the batches were replaced: compare with checkpoints \
         that were kept elsewhere, and keep everything as evidence",
    ),
    code(
        "log_checkpoint_missing",
        Completeness,
        false,
        "the next batch writes it again; if no instance runs, find out from the storage's access log who removed it",
    ),
    code(
        "log_tile",
        Integrity,
        false,
        "the batches are the truth, and nothing is lost: keep it as evidence, remove it, and it is made again with \
         the next batch if the checkpoint is removed too",
    ),
    code(
        "log_tile_missing",
        Completeness,
        false,
        "the batches are the truth, and nothing is lost: remove the checkpoint, and it is made again with the next \
         batch",
    ),
    code(
        "checkpoint_fork",
        Integrity,
        false,
        "the log that you are shown is not the one that your checkpoint was signed for: it was rewritten, or somebody \
         was shown another; keep both, and ask others for their checkpoints",
    ),
    code(
        "checkpoint_ahead",
        Completeness,
        false,
        "the log was cut off behind your checkpoint: restore the batches and segments that were removed",
    ),
    code(
        "cosignature",
        Integrity,
        false,
        "somebody changed the checkpoint or the cosignature, or the policy names another key for this witness: compare \
         with a copy, and ask the witness what it has seen of this log",
    ),
    code("stamp_form", Integrity, false, STAMP),
    code("stamp_imprint", Integrity, false, STAMP),
    code("stamp_signature", Integrity, false, STAMP),
    notice(
        "stamp_untrusted",
        Integrity,
        "give the certificate of the authority, or of who issued it, with --tsa-cert, if you believe it",
    ),
    code(
        "anchor_fork",
        Integrity,
        false,
        "the log was rewritten after others had seen it: the kept checkpoint is genuine, and so are the batches; find \
         out who holds the log's key, and ask witnesses and holders of checkpoints which history they know",
    ),
    code(
        "anchor_ahead",
        Completeness,
        false,
        "the log was cut off behind a checkpoint that others had seen: restore the batches and segments that were \
         removed",
    ),
    code(
        "unwitnessed",
        Completeness,
        false,
        "look at the readiness of the instances (parts `log:witnesses` and `witness:…`), and whether the policy given \
         here is the one that they ask; without a quorum nothing shows that nobody was shown another log",
    ),
    code(
        "unstamped",
        Completeness,
        false,
        "look at the readiness of the instances (part `log:stamps`), and give the certificate of the authority with \
         --tsa-cert; without a stamp nobody but the log itself says since when it exists",
    ),
    code("key_entry", Integrity, false, ENTRY),
    code("key_not_introduced", Integrity, false, RETIRED),
    code("key_retired", Integrity, false, RETIRED),
    code("disposal_entry", Integrity, false, ENTRY),
    notice("expired", Completeness, "nothing: its time was over, and the log says who disposed of it, and why"),
    notice("disposal_pending", Completeness, "run `authseal retention apply` again: it ended before it was done"),
    code("log_mismatch", Integrity, false, LINK),
    code("removed", Completeness, false, MISSING),
    code(
        "unlogged",
        Completeness,
        false,
        "look whether an instance that has the log's key is assigned this partition, and what its readiness says of \
         `log`: until it is logged, nobody would notice if it was removed",
    ),
    notice("pending", Completeness, "nothing: it is logged within the merge delay"),
    notice(
        "log_entry_unknown",
        Integrity,
        "a newer authseal wrote it: verify with the newest version to know what it says",
    ),
    code(
        "shadow_version",
        Protection,
        false,
        "keep all versions; find out from the storage's access log who wrote the later ones, and deny puts without \
         If-None-Match in the bucket's policy",
    ),
    code(
        "delete_marker",
        Protection,
        false,
        "find out from the storage's access log who deleted it, deny s3:DeleteObject in the bucket's policy, and \
         remove the marker",
    ),
    code(
        "shadow_below",
        Protection,
        false,
        "the evidence is whole: a version was slipped below it, as a multipart upload does that was begun earlier; \
         find out from the storage's access log who did, and deny puts without If-None-Match in the bucket's policy",
    ),
    code("lock_missing", Protection, false, LOCK),
    code("lock_weaker", Protection, false, LOCK),
    code("lock_shorter", Protection, false, LOCK),
    code(
        "lock_unknown",
        Protection,
        false,
        "allow s3:GetObjectRetention and s3:GetObjectLegalHold on these objects to whoever verifies; in a directory \
         there are no locks: verify the bucket itself",
    ),
    code(
        "hold_missing",
        Protection,
        false,
        "find out from the storage's access log who lifted it, or whether `authseal hold on` ended before it was done; \
         give that again with the same name and offsets, which puts the hold on what is there",
    ),
    code(
        "retention_short",
        Protection,
        false,
        "the lock ends before you require: lengthen it on these objects, and set store.retention.period for those to \
         come",
    ),
    code(
        "bucket_unversioned",
        Protection,
        false,
        "enable versioning on the bucket, find out from the provider's log who suspended it and when, and look for \
         objects that were replaced meanwhile",
    ),
    code(
        "bucket_unlocked",
        Protection,
        false,
        "enable Object Lock on the bucket: without it no lock holds, whatever the objects say",
    ),
    code(
        "bucket_expires",
        Protection,
        false,
        "remove these rules: evidence expires by `authseal retention apply` alone, which says so in the log",
    ),
    notice(
        "bucket_default_lock",
        Protection,
        "remove the default retention: what authseal seals asks for its own lock, and what is replaced needs none",
    ),
    notice(
        "bucket_unknown",
        Protection,
        "allow s3:GetBucketVersioning, s3:GetBucketObjectLockConfiguration and s3:GetLifecycleConfiguration on the \
         bucket to whoever verifies; the locks of the objects were read and do not depend on them",
    ),
    code(
        "log_stale",
        Freshness,
        false,
        "look whether an instance that has the log's key runs, and what its readiness says of `log`; if one does, its \
         newest batches were removed",
    ),
    code(
        "stale",
        Freshness,
        false,
        "look whether an instance is assigned this partition, ready, and able to write to the store; if so, its newest \
         segments were removed",
    ),
];

/// A code that a newer core gives and this table does not have: a failure like any other.
static UNKNOWN: Code = code("unknown", Integrity, true, FORMAT);

/// What a code means; of one that is not known, the worst.
pub(super) fn lookup(code: &str) -> &'static Code {
    CODES.iter().find(|c| c.code == code).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_code_is_here_once_and_in_the_manual() {
        let manual = include_str!("../../docs/verify.md");
        let mut seen = HashSet::new();
        for code in CODES {
            assert!(seen.insert(code.code), "{} is there twice", code.code);
            assert!(manual.contains(&format!("| `{}` |", code.code)), "docs/verify.md does not explain {}", code.code);
            assert!(!code.advice.is_empty());
        }
    }

    #[test]
    fn each_code_of_the_core_is_here() {
        for (code, _) in crate::fault::code::ALL {
            assert_eq!(lookup(code).code, *code, "{code} has no verdict");
        }
        assert_eq!(lookup("no such code").verdict, Verdict::Integrity);
    }
}
