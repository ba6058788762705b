//! What is done with entries of the log in rows 10, 11, 24 and 31, keys, holds and disposals; and in rows 9, 10 and 13
//! against a checkpoint that the store keeps because witnesses cosigned it.

use super::{
    base::{A, MINUTE, PERIOD, alive, lock},
    case::{At, Op, Row},
    history::{cut, relogged, rewritten},
};
use crate::lab::*;
use authseal::{
    layout,
    manifest::{Offsets, Writer},
    note::Signer,
    retention::{LockMode, Retention},
    tlog::{
        Disposal, Hold, KeyEntry,
        keep::{DISPOSAL, HOLD, Sequences, Switch},
        key::Action,
    },
};

fn writer() -> Writer {
    Writer { version: "0.1.0".into(), instance: "test".into() }
}

/// The log with one more batch of these entries, by a holder of its key.
fn entered(row: &Row<'_>, lines: Vec<String>) -> Vec<Op> {
    let mut log = row.base.log.clone();
    log.push(lines);
    let mut ops = relogged(row, &log, 5);
    ops.retain(|op| !matches!(op, Op::Put(key, bytes) if row.base.objects.get(key) == Some(bytes)));
    ops
}

/// The key of that batch.
fn new_batch(row: &Row<'_>) -> String {
    layout::batch_key(row.base.batches())
}

fn key_line(action: Action, about: &Signer, signers: &[&Signer]) -> String {
    let mut entry = KeyEntry::new(ORIGIN, action, &about.verifier_key(), NOW - MINUTE, "yearly");
    for signer in signers {
        entry.add(signer.id(), &signer.signature(&entry.text().unwrap()));
    }
    entry.line().unwrap()
}

/// The manifest is the one that the log has: only the key tells.
pub fn newer_key(row: &mut Row<'_>) {
    let (old, new) = (signer(ORIGIN, 1), signer(ORIGIN, 2));
    let introduced = key_line(Action::Introduce, &new, &[&new, &old]);
    for sequence in 0..6 {
        let mut ops = entered(row, vec![introduced.clone()]);
        ops.push(row.rebuilt(&key(A, sequence), |parts| {
            let line = parts.manifest_line().to_owned();
            parts.note = new.sign(&line).unwrap();
        }));
        let position = format!("{A}, segment {sequence}");
        let at = At::Segment(A, sequence);
        row.add("signed anew with a key that the log introduces later", position, ops, "key_not_introduced", at, 10);
    }
    let retired = key_line(Action::Retire, &old, &[&old, &new]);
    let forged = row.base.forged(A, 6, Part::Records(10), |_| {});
    let line = Parts::of(&forged).manifest_line().to_owned();
    for (position, logged) in [("not logged", None), ("logged with the log's key", Some(line))] {
        let lines = [introduced.clone(), retired.clone()].into_iter().chain(logged).collect();
        let mut ops = entered(row, lines);
        ops.push(Op::Put(key(A, 6), forged.clone()));
        let position = format!("{A}, segment 6, {position}");
        row.add("gone on with by a retired key", position, ops, "key_retired", At::Segment(A, 6), 10);
    }
}

pub fn own_key(row: &mut Row<'_>) {
    let (good, own) = (signer(ORIGIN, 1), signer(ORIGIN, 9));
    for (position, line) in [
        ("introduced", key_line(Action::Introduce, &own, &[&own])),
        ("in place of the good one", key_line(Action::Retire, &good, &[&own])),
    ] {
        let at = At::Key(new_batch(row));
        let ops = entered(row, vec![line]);
        row.add("a key of one's own, with the log's key alone", position, ops, "key_entry", at, 10);
    }
}

fn hold_line() -> String {
    let hold = Hold {
        format: HOLD.into(),
        origin: ORIGIN.into(),
        action: Switch::On,
        name: "CASE-7".into(),
        chain: chain(A),
        offsets: Offsets { from: 0, to: 50 },
        time: NOW - MINUTE,
        reason: "court order".into(),
        writer: writer(),
    };
    hold.line().unwrap()
}

pub fn holds(row: &mut Row<'_>) {
    let held = |row: &Row<'_>| {
        let mut ops = entered(row, vec![hold_line()]);
        ops.push(Op::Relock(new_batch(row), lock(row.base.mode, NOW)));
        ops
    };
    for lifted in 0..6 {
        let mut ops = held(row);
        ops.extend((0..6).map(|n| Op::Hold(key(A, n), true)));
        ops.push(Op::Hold(key(A, lifted), false));
        let position = format!("{A}, segment {lifted}");
        row.add("a legal hold lifted", position, ops, "hold_missing", At::Segment(A, lifted), 13);
    }
    let ops = held(row);
    row.add("legal holds that were entered and never put", A, ops, "hold_missing", At::Segment(A, 5), 13);
}

/// An entry that disposes of one segment of [`A`], decided at `time`.
fn disposal(row: &Row<'_>, sequence: u64, time: i64) -> String {
    let segment = authseal::segment::open(&row.object(&key(A, sequence)), &super::base::keys()).unwrap();
    let entry = Disposal {
        format: DISPOSAL.into(),
        origin: ORIGIN.into(),
        chain: chain(A),
        sequences: Sequences { from: sequence, to: sequence + 1 },
        offsets: segment.manifest.offsets,
        until: time,
        time,
        reason: "its time was over".into(),
        writer: writer(),
    };
    entry.line().unwrap()
}

pub fn disposals(row: &mut Row<'_>) {
    let over = NOW + 2 * PERIOD;
    for (attack, sequence, lines, gone) in [
        ("disposed of before its date", 2, vec![disposal(row, 2, NOW)], "missing_segment"),
        ("disposed of while it is held", 2, vec![hold_line(), disposal(row, 2, over)], "missing_segment"),
        ("disposed of, and it is the newest", 5, vec![disposal(row, 5, over)], "removed"),
    ] {
        let position = format!("{A}, segment {sequence}");
        for (code, at) in [("disposal_entry", At::Key(new_batch(row))), (gone, At::Segment(A, sequence))] {
            let mut ops = entered(row, lines.clone());
            ops.push(Op::Remove(key(A, sequence)));
            row.add(attack, &position, ops, code, at, 10);
        }
    }
    let mut ops = entered(row, vec![disposal(row, 2, over)]);
    ops.push(Op::Remove(key(A, 2)));
    let position = format!("{A}, segment 2");
    row.add("disposed of by an entry of the future", position, ops, "missing_segment", At::Segment(A, 2), 11);
}

/// The checkpoint of the whole log, as the store keeps it; and its key.
fn witnessed(row: &Row<'_>) -> (String, Op) {
    let size = row.base.log.iter().map(Vec::len).sum::<usize>() as u64;
    let key = layout::witnessed_key(size);
    (key.clone(), Op::Put(key, row.object(layout::CHECKPOINT)))
}

const WITNESSED: &str = "against a checkpoint that witnesses cosigned";

pub fn kept_locks(row: &mut Row<'_>) {
    let weaker = Retention { mode: LockMode::Governance, until: Some(BEGAN + 2 * PERIOD) };
    let compliance = row.base.mode == LockMode::Compliance;
    for (attack, found, code) in
        [("a lock lifted", Retention::NONE, "lock_missing"), ("COMPLIANCE made GOVERNANCE", weaker, "lock_weaker")]
    {
        if code == "lock_missing" || compliance {
            let (kept, op) = witnessed(row);
            let ops = vec![op, Op::Relock(kept.clone(), found)];
            row.add(attack, "of a checkpoint that witnesses cosigned", ops, code, At::Key(kept), 13);
        }
    }
}

pub fn witnessed_split(row: &mut Row<'_>) {
    for left in 1..row.base.log.len() {
        let (kept, op) = witnessed(row);
        let mut ops = cut(row, left);
        ops.push(op);
        let position = format!("back to {left} batches, {WITNESSED}");
        row.add("a shorter log shown", position, ops, "anchor_ahead", At::Key(kept), 11);
        let (kept, op) = witnessed(row);
        let mut log = row.base.log.clone();
        log.insert(left, vec![alive(NOW - 30 * MINUTE)]);
        let mut ops = relogged(row, &log, 5);
        ops.push(op);
        let position = format!("from batch {left} on, {WITNESSED}");
        row.add("another log shown", position, ops, "anchor_fork", At::Key(kept), 10);
    }
}

pub fn witnessed_rewrite(row: &mut Row<'_>) {
    for from in [0, 2, 5] {
        let (kept, op) = witnessed(row);
        let mut ops = rewritten(row, from);
        ops.push(op);
        let position = format!("{A} from segment {from} on, and the log, {WITNESSED}");
        row.add("everything rewritten with both keys", position, ops, "anchor_fork", At::Key(kept), 10);
    }
}

pub fn witnessed_backdating(row: &mut Row<'_>) {
    let (kept, op) = witnessed(row);
    let mut log = row.base.log.clone();
    for (n, line) in (0..).zip(log.iter_mut().flatten()) {
        if line.starts_with("{\"format\":\"authseal/alive@1\"") {
            *line = alive(BEGAN - 86_400_000 + n * MINUTE);
        }
    }
    let mut ops = relogged(row, &log, 5);
    ops.push(op);
    row.add("the log backdated by a day, with its key", WITNESSED, ops, "anchor_fork", At::Key(kept), 10);
}
