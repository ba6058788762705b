//! Rows 6 to 11, 13 to 18 and 31: histories that were cut off, rewritten, begun anew, or never written.

use super::{
    base::{A, B, C, L, MINUTE, alive, checkpoint, log_objects, log_signer},
    case::{At, Auditor, Op, Row},
    contents::SEGMENTS,
    entries,
};
use crate::lab::*;
use authseal::{digest::Digest, layout, manifest::Manifest, record::GapCause};

/// The checkpoint of the whole log, as somebody kept it elsewhere.
fn kept(row: &Row<'_>) -> Auditor {
    Auditor::with_checkpoint(String::from_utf8(row.object(layout::CHECKPOINT).to_vec()).unwrap())
}

/// Replaces the log by that of other batches: what the old one had and the new one has not is removed.
pub fn relogged(row: &Row<'_>, log: &[Vec<String>], seed: u8) -> Vec<Op> {
    let new = log_objects(log, &log_signer(seed));
    let old = row.base.objects.keys().filter(|key| key.starts_with(layout::LOG) && !new.contains_key(*key));
    old.cloned().map(Op::Remove).chain(new.iter().map(|(k, b)| Op::Put(k.clone(), b.clone()))).collect()
}

/// Chain A from segment `from` on, sealed anew by a holder of the key.
fn resealed(row: &Row<'_>, from: u64) -> Vec<(u64, authseal::segment::Sealed)> {
    let mut sealer = row.base.sealer(A, from);
    let mode = row.base.mode;
    for _ in from..6 {
        sealer.seal_edited(Part::Records(9), |m| m.retention = super::base::lock(mode, m.times.sealed));
    }
    (from..).zip(sealer.out).collect()
}

/// Cuts the log off behind so many batches, with tiles and what only they name; the checkpoint was genuine once.
pub fn cut(row: &Row<'_>, left: usize) -> Vec<Op> {
    let log = row.base.log[..left].to_vec();
    let named: Vec<&String> = log.iter().flatten().collect();
    let mut ops = relogged(row, &log, 5);
    for (key, bytes) in row.base.objects.iter().filter(|(key, _)| key.starts_with(layout::CHAINS)) {
        if !named.iter().any(|line| **line == Parts::of(bytes).manifest_line()) {
            ops.push(Op::Remove(key.clone()));
        }
    }
    ops
}

/// Chain A from segment `from` on and the log, by a holder of both keys.
pub fn rewritten(row: &Row<'_>, from: u64) -> Vec<Op> {
    let sealed = resealed(row, from);
    let mut log = row.base.log.clone();
    for line in log.iter_mut().flatten() {
        if let Ok(manifest) = serde_json::from_str::<Manifest>(line)
            && let Some((_, sealed)) =
                sealed.iter().find(|(n, _)| manifest.chain == chain(A) && *n == manifest.sequence)
        {
            *line = Parts::of(&sealed.bytes).manifest_line().to_owned();
        }
    }
    let mut ops: Vec<Op> = relogged(row, &log, 5);
    ops.extend(sealed.iter().map(|(n, sealed)| Op::Put(key(A, *n), sealed.bytes.clone())));
    ops
}

pub fn newest_dropped(row: &mut Row<'_>) {
    for (text, count) in SEGMENTS {
        for gone in 1..=count {
            let from = count - gone;
            let ops = (from..count).map(|n| Op::Remove(key(text, n))).collect();
            let position = format!("{text}, from segment {from} on");
            // the next incarnation names the last segment of this one, if there is any left
            let exit = if (text, from) == (B, 1) { 10 } else { 11 };
            row.add("the newest segments removed", position, ops, "removed", At::Segment(text, from), exit);
        }
    }
    let newest = row.base.batches() - 1;
    let op = Op::Remove(layout::batch_key(newest));
    row.add("the newest batch removed", "", vec![op], "log_truncated", At::Key(layout::batch_key(newest)), 11);
    for left in 1..=newest as usize {
        let ops = cut(row, left);
        let at = At::Key(layout::batch_key(left as u64));
        let position = format!("back to {left} batches, against a kept checkpoint");
        row.by(kept(row), "log and segments cut off together", position, ops, "checkpoint_ahead", at, 11);
    }
}

pub fn cut_and_continued(row: &mut Row<'_>) {
    for from in [1, 2, 5] {
        let ops = resealed(row, from).into_iter().map(|(n, sealed)| Op::Put(key(A, n), sealed.bytes)).collect();
        let position = format!("{A}, from segment {from} on");
        row.add(
            "a chain cut off and gone on with, with its key",
            position,
            ops,
            "log_mismatch",
            At::Segment(A, from),
            10,
        );
    }
    for left in 1..row.base.log.len() {
        let mut log = row.base.log.clone();
        log.insert(left, vec![alive(NOW - 30 * MINUTE)]);
        let ops = relogged(row, &log, 5);
        let position = format!("behind batch {}, against a kept checkpoint", left - 1);
        let at = At::Key(layout::BATCHES.into());
        row.by(kept(row), "the log cut off and gone on with, with its key", position, ops, "checkpoint_fork", at, 10);
    }
}

pub fn replaced(row: &mut Row<'_>) {
    let ops = relogged(row, &row.base.log, 6);
    let at = At::Key(layout::batch_key(0));
    row.add("another log of the same name", "the whole log", ops, "log_unknown_key", at, 10);
    let mut ops = Vec::new();
    for (text, count) in SEGMENTS {
        for n in 0..count {
            ops.push(row.rebuilt(&key(text, n), |parts| {
                let line = parts.manifest_line().to_owned();
                parts.note = signer(ORIGIN, 9).sign(&line).unwrap();
            }));
        }
    }
    row.add("another sealer of the same name", "every segment", ops, "unknown_key", At::Segment(L, 2), 10);
    let op = Op::Put("store.json".into(), store_json("evil.example"));
    row.add("another origin in store.json", "", vec![op], "origin_mismatch", At::Chain(A), 10);
    for text in [A, B, L] {
        let op = row.rebuilt(&key(text, 1), |parts| {
            let line = edited(parts.manifest_line(), |m| m.broker.cluster_id = Some("other".into()));
            parts.note = signer(ORIGIN, 1).sign(&line).unwrap();
        });
        let position = format!("{text}, segment 1");
        row.add(
            "a segment from another cluster, signed",
            position,
            vec![op],
            "cluster_changed",
            At::Segment(text, 1),
            10,
        );
    }
}

pub fn split_view(row: &mut Row<'_>) {
    let size = row.base.log.iter().map(Vec::len).sum::<usize>() as u64;
    for seen in 1..=size {
        let other = checkpoint(seen, Digest::of(b"another view"), &log_signer(5));
        let position = format!("a kept checkpoint of {seen} entries");
        let at = At::Key(layout::BATCHES.into());
        row.by(Auditor::with_checkpoint(other), "two views of the log", position, vec![], "checkpoint_fork", at, 10);
    }
    entries::witnessed_split(row);
}

pub fn stolen_keys(row: &mut Row<'_>) {
    for from in [0, 2, 5] {
        let ops = rewritten(row, from);
        let position = format!("{A} from segment {from} on, and the log, against a kept checkpoint");
        let at = At::Key(layout::BATCHES.into());
        row.by(kept(row), "everything rewritten with both keys", position, ops, "checkpoint_fork", at, 10);
        let ops = resealed(row, from).into_iter().map(|(n, sealed)| Op::Put(key(A, n), sealed.bytes)).collect();
        let position = format!("{A}, from segment {from} on");
        row.add("segments rewritten with their key", position, ops, "log_mismatch", At::Segment(A, from), 10);
    }
    entries::witnessed_rewrite(row);
    entries::own_key(row);
}

pub fn newer_key(row: &mut Row<'_>) {
    for sequence in [0, 2, 5] {
        let mut sealer = row.base.sealer(A, sequence);
        sealer.signer = signer(ORIGIN, 2);
        let op = Op::Put(key(A, sequence), sealer.seal(Part::Records(10)).bytes.clone());
        let position = format!("{A}, segment {sequence}");
        let auditor = Auditor::with_key(&signer(ORIGIN, 2).verifier_key());
        row.by(
            auditor,
            "old data sealed anew with a newer key",
            position,
            vec![op],
            "log_mismatch",
            At::Segment(A, sequence),
            10,
        );
    }
    entries::newer_key(row);
}

pub fn backdated(row: &mut Row<'_>) {
    for next in [1, 2, 5, 6] {
        let bytes = row.base.forged(A, next, Part::Records(10), |m| m.times.sealed = BEGAN);
        let position = format!("{A}, segment {next}");
        let op = Op::Put(key(A, next), bytes);
        row.add(
            "sealed earlier than its predecessor, with the key",
            position,
            vec![op],
            "sealed_time",
            At::Segment(A, next),
            10,
        );
    }
    entries::witnessed_backdating(row);
}

pub fn clocks(row: &mut Row<'_>) {
    for (text, next) in [(A, 6), (C, 3)] {
        let bytes = row.base.forged(text, next, Part::Records(10), |m| {
            m.times.sealed = NOW + 86_400_000;
            m.next_by = NOW + 2 * 86_400_000;
        });
        let op = Op::Put(key(text, next), bytes);
        row.add("sealed a day ahead", text, vec![op], "sealed_in_future", At::Segment(text, next), 0);
    }
    let bytes = row.base.forged(A, 6, Part::Records(10), |m| m.times.sealed -= 10 * MINUTE);
    let op = Op::Put(key(A, 6), bytes);
    row.add("the clock went back", A, vec![op], "sealed_time", At::Segment(A, 6), 10);
}

/// A chain of its own that a broken or dishonest writer made.
fn extra(parts: &[(i64, Part)]) -> Vec<Op> {
    let mut sealer = Sealer::new("main/extra/0/0", authseal::segment::Codec::Null);
    for (from, part) in parts {
        sealer.to = *from;
        sealer.seal(*part);
    }
    sealer.out.iter().map(|s| Op::Put(key("main/extra/0/0", s.manifest.sequence), s.bytes.clone())).collect()
}

const EXTRA: &str = "main/extra/0/0";

pub fn never_written(row: &mut Row<'_>) {
    let ten = Part::Records(10);
    for (position, parts) in
        [("behind the first", [(0, ten), (11, ten), (21, ten)]), ("at the end", [(0, ten), (10, ten), (25, ten)])]
    {
        let sequence = if position == "at the end" { 2 } else { 1 };
        row.add("offsets left out", position, extra(&parts), "offsets_gap", At::Segment(EXTRA, sequence), 11);
    }
    let gap = extra(&[(0, ten), (10, Part::Gap(3, GapCause::Unexplained, 6))]);
    row.add("records that the broker did not deliver", "", gap, "gap_unexplained", At::Record(EXTRA, 13), 11);
    for partition in [A, L] {
        // never sealed, never logged: the number of partitions tells, if another of the topic is there
        let log: Vec<Vec<String>> = row
            .base
            .log
            .iter()
            .map(|batch| {
                let of_it =
                    |line: &String| serde_json::from_str::<Manifest>(line).is_ok_and(|m| m.chain == chain(partition));
                let kept: Vec<String> = batch.iter().filter(|line| !of_it(line)).cloned().collect();
                if kept.is_empty() { vec![alive(BEGAN + MINUTE)] } else { kept }
            })
            .collect();
        if partition == A {
            let mut ops = relogged(row, &log, 5);
            ops.extend((0..6).map(|n| Op::Remove(key(A, n))));
            row.add("a partition that was never sealed", A, ops, "chain_missing", At::Chain(A), 11);
        }
    }
}

pub fn source_lost(row: &mut Row<'_>) {
    let ten = Part::Records(10);
    let lost = extra(&[(0, ten), (10, Part::Gap(3, GapCause::Lost, 6))]);
    row.add("records expired before they were read", "", lost, "gap_lost", At::Record(EXTRA, 13), 11);
    row.add(
        "a chain that begins above its partition",
        "",
        extra(&[(3, ten)]),
        "offsets_before_start",
        At::Segment(EXTRA, 0),
        11,
    );
    row.add("offsets set back", "", extra(&[(0, ten), (4, ten)]), "offsets_overlap", At::Segment(EXTRA, 1), 10);
    let bytes = row.base.forged(A, 6, ten, |m| m.broker.topic_id = Some("other".into()));
    let op = Op::Put(key(A, 6), bytes);
    row.add("a re-created topic under the same chain", A, vec![op], "topic_changed", At::Segment(A, 6), 10);
}

pub fn switched_off(row: &mut Row<'_>) {
    let auditor = || Auditor { fresh: true, later: 10 * 3_600_000, ..Auditor::default() };
    for text in [A, C] {
        row.by(auditor(), "nobody seals any more", text, vec![], "stale", At::Chain(text), 12);
    }
    row.by(auditor(), "nobody logs any more", "", vec![], "log_stale", At::Key(layout::CHECKPOINT.into()), 12);
    let whole: Vec<Op> =
        row.base.objects.keys().filter(|k| k.starts_with(layout::CHAINS)).cloned().map(Op::Remove).collect();
    row.add("an empty store", "", whole, "no_chains", At::Store, 11);
    let log = row.base.objects.keys().filter(|k| k.starts_with(layout::LOG)).cloned().map(Op::Remove).collect();
    row.add("no log", "", log, "log_missing", At::Key(layout::BATCHES.into()), 11);
    let late = Auditor { later: 3_600_000, ..Auditor::default() };
    let op = Op::Put(key(A, 6), row.base.forged(A, 6, Part::Records(10), |_| {}));
    row.by(late, "sealed and never logged", A, vec![op], "unlogged", At::Segment(A, 6), 11);
}

pub fn two_writers(row: &mut Row<'_>) {
    let ten = Part::Records(10);
    let bytes = row.base.forged(A, 6, ten, |m| m.previous = Some(Digest::of(b"another history")));
    row.add("gone on with by another history", A, vec![Op::Put(key(A, 6), bytes)], "previous", At::Segment(A, 6), 10);
    for n in [1, 2, 5] {
        let bytes = row.base.forged(A, n, ten, |_| {});
        let position = format!("{A}, segment {n}");
        row.add(
            "the other writer's segment",
            position,
            vec![Op::Put(key(A, n), bytes)],
            "log_mismatch",
            At::Segment(A, n),
            10,
        );
    }
    let bytes = row.base.forged(L, 3, ten, |m| m.broker.partitions = Some(1));
    row.add("behind the close", L, vec![Op::Put(key(L, 3), bytes)], "after_close", At::Segment(L, 3), 10);
    let bytes = row.base.forged(B, 2, ten, |_| {});
    row.add("behind a reset", B, vec![Op::Put(key(B, 2), bytes)], "incarnation_link", At::Segment(C, 0), 10);
}

pub fn erasure(row: &mut Row<'_>) {
    for (position, sequence, code) in [("a middle segment", 2, "missing_segment"), ("the newest segment", 5, "removed")]
    {
        for format in ["authseal/erasure@9", "authseal/disposal@9"] {
            let mut log = row.base.log.clone();
            log.push(vec![format!("{{\"format\":\"{format}\",\"sequence\":{sequence}}}\n")]);
            let mut ops = relogged(row, &log, 5);
            ops.push(Op::Remove(key(A, sequence)));
            let position = format!("{position}, {format}");
            row.add(
                "removed, and an entry that nobody knows for excuse",
                position,
                ops,
                code,
                At::Segment(A, sequence),
                11,
            );
        }
    }
    entries::disposals(row);
}
