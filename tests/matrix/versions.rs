//! Rows 19 to 25, 27 and 28: versions, delete markers, locks, and objects of others.

use super::{
    base::{A, L, PERIOD, log_signer},
    case::{At, Auditor, Op, Row, Setting},
    contents::segments,
    entries,
};
use crate::lab::*;
use authseal::{
    digest::Digest,
    layout,
    retention::{LockMode, Retention},
    tlog::Checkpoint,
};

/// Everything with a key of its own that is written once.
fn written_once(row: &Row<'_>) -> Vec<String> {
    let mut keys = row.base.evidence();
    keys.push("store.json".into());
    keys.extend(row.base.tiles());
    keys
}

pub fn late_put(row: &mut Row<'_>) {
    for sequence in 0..6 {
        let bytes = row.base.forged(A, sequence, Part::Records(10), |_| {});
        let op = Op::Shadow(key(A, sequence), bytes);
        let position = format!("{A}, segment {sequence}");
        row.add(
            "a put of another writer that came late",
            position,
            vec![op],
            "shadow_version",
            At::Segment(A, sequence),
            13,
        );
    }
}

pub fn twins(row: &mut Row<'_>) {
    for name in written_once(row) {
        let op = Op::Shadow(name.clone(), row.object(&name));
        row.add("the same bytes put twice", &name, vec![op], "shadow_version", At::Key(name.clone()), 13);
    }
}

pub fn shadows(row: &mut Row<'_>) {
    for name in written_once(row) {
        let op = Op::Shadow(name.clone(), "forged".into());
        row.add("another object put over it", &name, vec![op], "shadow_version", At::Key(name.clone()), 13);
    }
    for name in row.base.evidence() {
        let op = Op::Under(name.clone(), "forged".into());
        row.add("another object slipped below it", &name, vec![op], "shadow_below", At::Key(name.clone()), 13);
    }
    for sequence in [0, 2, 5] {
        // genuine, but of another place
        let op = Op::Under(key(A, sequence), row.object(&key(L, 0)));
        let position = format!("{A}, segment {sequence}");
        row.add(
            "a genuine segment of another chain slipped below it",
            position,
            vec![op],
            "shadow_below",
            At::Segment(A, sequence),
            13,
        );
    }
}

pub fn markers(row: &mut Row<'_>) {
    for name in written_once(row) {
        row.add("a delete marker", &name, vec![Op::Mark(name.clone())], "delete_marker", At::Key(name.clone()), 13);
    }
    let name = layout::CHECKPOINT.to_owned();
    row.add("a delete marker", &name, vec![Op::Mark(name.clone())], "delete_marker", At::Key(name.clone()), 11);
}

pub fn recreated(row: &mut Row<'_>) {
    for name in row.base.evidence() {
        let ops = vec![Op::Mark(name.clone()), Op::Shadow(name.clone(), "forged".into())];
        row.add("deleted and created again", &name, ops, "delete_marker", At::Key(name.clone()), 13);
    }
    for sequence in [0, 2, 5] {
        let name = key(A, sequence);
        let ops = vec![Op::Remove(name.clone()), Op::Mark(name.clone()), Op::Shadow(name, "forged".into())];
        let position = format!("{A}, segment {sequence}");
        row.add(
            "removed for good, and forged behind a marker",
            position,
            ops,
            "not_a_segment",
            At::Segment(A, sequence),
            10,
        );
    }
}

pub fn locks(row: &mut Row<'_>) {
    let weaker = Retention { mode: LockMode::Governance, until: Some(BEGAN + 2 * PERIOD) };
    for name in row.base.evidence() {
        let lock = row.base.lock_of(&name);
        // nothing with a manifest follows the newest batch yet, so that any date of its lock may be meant
        let newest = layout::batch_key(row.base.batches() - 1);
        let at = || match segments().find(|(text, n)| key(text, *n) == name) {
            Some((text, n)) => At::Segment(text, n),
            None => At::Key(name.clone()),
        };
        if name != newest {
            // a real server takes no date that has passed
            let half = Retention { until: Some(NOW + PERIOD / 2), ..lock };
            row.add("a lock shortened", &name, vec![Op::Relock(name.clone(), half)], "lock_shorter", at(), 13);
        }
        let none = vec![Op::Relock(name.clone(), Retention::NONE)];
        row.add("a lock lifted", &name, none, "lock_missing", at(), 13);
        if row.base.mode == LockMode::Compliance {
            row.add(
                "COMPLIANCE made GOVERNANCE",
                &name,
                vec![Op::Relock(name.clone(), weaker)],
                "lock_weaker",
                at(),
                13,
            );
        }
        let auditor = Auditor { required: Some(2 * PERIOD), ..Auditor::default() };
        row.by(auditor, "a lock shorter than is required", &name, vec![], "retention_short", at(), 13);
    }
    for (attack, setting, code) in [
        ("versioning suspended", Setting::Unversioned, "bucket_unversioned"),
        ("Object Lock off", Setting::Unlocked, "bucket_unlocked"),
        ("a lifecycle rule that deletes", Setting::Expires, "bucket_expires"),
    ] {
        row.add(attack, "the bucket", vec![Op::Bucket(setting)], code, At::Store, 13);
    }
    entries::holds(row);
    entries::kept_locks(row);
}

pub fn unreadable(row: &mut Row<'_>) {
    for name in row.base.evidence() {
        let op = Op::Unreadable(name.clone());
        row.add("its encryption key or permission gone", &name, vec![op], "unreadable", At::Key(name.clone()), 11);
    }
}

pub fn forged_paths(row: &mut Row<'_>) {
    for name in row.base.tiles().into_iter().filter(|name| !name.contains("/entries/")) {
        let hashes = row.object(&name).len() / 32;
        for (position, at) in [("first", 0), ("middle", hashes / 2), ("last", hashes - 1)] {
            let op = row.edited(&name, |bytes| bytes[at * 32] ^= 1);
            let position = format!("{position} hash of {name}");
            row.add("a hash of a proof's path changed", position, vec![op], "log_tile", At::Key(name.clone()), 10);
        }
    }
    for name in ["log/tile/0/005", "log/tile/3/000.p/1", "log/tile/entries/001.p/99"] {
        let op = Op::Put(name.into(), "x".into());
        row.add("a tile planted", name, vec![op], "log_tile", At::Key(name.into()), 10);
    }
}

pub fn of_another(row: &mut Row<'_>) {
    let evil = || signer("evil.example", 9);
    let trusted = || Auditor::with_key(&evil().verifier_key());
    for sequence in [0, 2, 5] {
        let position = format!("{A}, segment {sequence}");
        let origin = |name: &'static str| {
            row.rebuilt(&key(A, sequence), |parts| {
                let line = edited(parts.manifest_line(), |m| m.origin = name.into());
                parts.note = evil().sign(&line).unwrap();
            })
        };
        let (theirs, ours) = (origin("evil.example"), origin(ORIGIN));
        let at = || At::Segment(A, sequence);
        // of the first segment the others are foreign; of the others it is
        row.by(trusted(), "a segment of another origin", &position, vec![theirs], "origin_mismatch", at(), 10);
        row.by(trusted(), "ours, signed with another origin's key", &position, vec![ours], "key_name", at(), 10);
    }
    for number in [0, 5] {
        let batch = row.base.batch(number);
        let other = authseal::note::Signer::from_seed("evil.example", [5; 32]).unwrap();
        let header = authseal::tlog::Header { origin: "evil.example".into(), ..batch.header.clone() };
        let note = authseal::tlog::Batch::seal(&header, &batch.lines, &other).unwrap();
        let name = layout::batch_key(number);
        let auditor = Auditor::with_key(&other.verifier_key());
        let op = Op::Put(name.clone(), note.into());
        row.by(
            auditor,
            "a batch of another log",
            format!("batch {number}"),
            vec![op],
            "log_unknown_key",
            At::Key(name),
            10,
        );
    }
    let other = Checkpoint { origin: "evil.example".into(), size: 1, root: Digest::of(b"x") };
    let note = other.sign(&log_signer(5)).unwrap();
    let at = At::Key(layout::CHECKPOINT.into());
    row.add(
        "a checkpoint of another log",
        "",
        vec![Op::Put(layout::CHECKPOINT.into(), note.into())],
        "log_form",
        at,
        10,
    );
}
