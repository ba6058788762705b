//! Rows 1 to 5, 12, 26, 29, 30 and 33: what lies in objects, and in which order.

use super::{
    base::{A, B, C, L, log_objects, log_signer},
    case::{At, Op, Row},
};
use crate::lab::*;
use authseal::{
    avro::{put_bytes, put_long},
    digest::Digest,
    layout,
    tlog::{Batch, Header},
};

/// Segments of chain A that hold ten records, and what they are.
pub const DATA: [(&str, u64, i64); 5] = [
    ("in the first segment", 0, 0),
    ("in the second segment", 1, 10),
    ("in a middle segment", 2, 20),
    ("in the last but one", 4, 30),
    ("in the newest segment", 5, 40),
];
/// Records of a segment.
pub const RECORDS: [(&str, usize); 3] = [("first record", 0), ("middle record", 5), ("last record", 9)];
/// Every segment.
pub const SEGMENTS: [(&str, u64); 4] = [(A, 6), (B, 2), (C, 3), (L, 3)];

pub fn segments() -> impl Iterator<Item = (&'static str, u64)> {
    SEGMENTS.iter().flat_map(|(text, count)| (0..*count).map(move |n| (*text, n)))
}

pub fn edited_entries(row: &mut Row<'_>) {
    for (place, sequence, from) in DATA {
        for (record, at) in RECORDS {
            let op = row.rebuilt(&key(A, sequence), |parts| {
                let mut leaves = parts.leaves(from);
                let (mut raw, decoded) = decoded(from + at as i64);
                raw.value = Some(raw.value.unwrap().to_ascii_uppercase().into());
                leaves[at] = leaf_of(&raw, &decoded);
                parts.set_leaves(&leaves);
            });
            row.add(
                "a record changed",
                format!("{record} {place}"),
                vec![op],
                "body_digest",
                At::Segment(A, sequence),
                10,
            );
        }
    }
    for (text, sequence) in segments().filter(|(text, n)| *text != A && !(*text == L && *n == 2)) {
        let op = row.edited(&key(text, sequence), |bytes| {
            let middle = bytes.len() - 40;
            bytes[middle] ^= 1;
        });
        let position = format!("{text}, segment {sequence}, compressed");
        row.add("a byte of the body changed", position, vec![op], "body_digest", At::Segment(text, sequence), 10);
    }
    for name in row.base.artifacts.clone() {
        let op = row.edited(&name, |bytes| *bytes.last_mut().unwrap() ^= 1);
        row.add("rules or schemas changed", &name, vec![op], "artifact_digest", At::Key(name.clone()), 10);
    }
}

pub fn edited_below_a_kept_tree(row: &mut Row<'_>) {
    for name in row.base.tiles().into_iter().filter(|name| name.contains("/entries/")) {
        for (position, at) in [("first entry", 40), ("last entry", row.object(&name).len() - 40)] {
            let op = row.edited(&name, |bytes| bytes[at] ^= 1);
            row.add(
                "an entry of a bundle changed, the tiles kept",
                position,
                vec![op],
                "log_tile",
                At::Key(name.clone()),
                10,
            );
        }
    }
    for number in 0..row.base.batches() {
        let batch = row.base.batch(number);
        let lines: Vec<String> = (0..batch.lines.len()).map(|n| format!("{{\"format\":\"x{n}\"}}\n")).collect();
        let forged = Batch::seal(&batch.header, &lines, &log_signer(5)).unwrap();
        let name = layout::batch_key(number);
        let op = Op::Put(name.clone(), forged.into());
        let position = format!("batch {number}");
        row.add(
            "entries changed under the old root, with the log's key",
            position,
            vec![op],
            "log_root",
            At::Key(name),
            10,
        );
    }
}

pub fn deleted(row: &mut Row<'_>) {
    for (text, sequence) in segments().filter(|(text, n)| !SEGMENTS.contains(&(*text, n + 1))) {
        let op = Op::Remove(key(text, sequence));
        let position = format!("{text}, segment {sequence}");
        row.add("a segment removed", position, vec![op], "missing_segment", At::Segment(text, sequence), 11);
    }
    for (place, sequence, from) in DATA {
        for (record, at) in RECORDS {
            let op = row.rebuilt(&key(A, sequence), |parts| {
                let mut leaves = parts.leaves(from);
                leaves.remove(at);
                parts.set_leaves(&leaves);
            });
            let at = At::Record(A, from + at as i64);
            row.add("a record removed", format!("{record} {place}"), vec![op], "offsets", at, 10);
        }
    }
    for number in 0..row.base.batches() - 1 {
        let op = Op::Remove(layout::batch_key(number));
        let at = At::Key(layout::batch_key(number + 1));
        row.add("a batch of the log removed", format!("batch {number}"), vec![op], "log_batch_missing", at, 11);
    }
    for name in row.base.tiles() {
        let op = Op::Remove(name.clone());
        row.add("a tile of the log removed", &name, vec![op], "log_tile_missing", At::Key(name.clone()), 11);
    }
    for name in row.base.artifacts.clone() {
        row.add(
            "rules or schemas removed",
            &name,
            vec![Op::Remove(name.clone())],
            "artifact_missing",
            At::Key(name.clone()),
            11,
        );
    }
    row.add(
        "store.json removed",
        "",
        vec![Op::Remove("store.json".into())],
        "store_json_missing",
        At::Key("store.json".into()),
        11,
    );
}

pub fn inserted(row: &mut Row<'_>) {
    for sequence in [0, 1, 2, 4, 5, 6] {
        let mut sealer = row.base.sealer(A, sequence);
        sealer.signer = signer(ORIGIN, 9);
        let op = Op::Put(key(A, sequence), sealer.seal(Part::Records(10)).bytes.clone());
        let position = format!("{A}, segment {sequence}");
        row.add("a segment by another key", position, vec![op], "unknown_key", At::Segment(A, sequence), 10);
    }
    for (place, sequence, from) in DATA {
        for (record, at) in RECORDS {
            let op = row.rebuilt(&key(A, sequence), |parts| {
                let mut leaves = parts.leaves(from);
                leaves.insert(at, leaf(from + 5000 + at as i64));
                parts.set_leaves(&leaves);
            });
            let at = At::Record(A, from + at as i64);
            row.add("a record put in", format!("before the {record} {place}"), vec![op], "offsets", at, 10);
        }
    }
    let batches = log_objects(&row.base.log, &log_signer(6));
    for number in 0..row.base.batches() {
        let name = layout::batch_key(number);
        let op = Op::Put(name.clone(), batches[&name].clone());
        row.add("a batch by another key", format!("batch {number}"), vec![op], "log_unknown_key", At::Key(name), 10);
    }
    for stray in ["chains/readme.txt", "artifacts/rules.zip", "log/batches/1", "log/notes.txt", "log/tile/0/0"] {
        let op = Op::Put(stray.into(), "x".into());
        row.add("a stray object", stray, vec![op], "unexpected_object", At::Key(stray.into()), 10);
    }
}

pub fn reordered(row: &mut Row<'_>) {
    for (one, other) in [(0, 1), (1, 2), (2, 4), (4, 5)] {
        let put = |to: u64, from: u64| Op::Put(key(A, to), row.object(&key(A, from)));
        let ops = vec![put(one, other), put(other, one)];
        row.add(
            "two segments swapped",
            format!("{one} and {other}"),
            ops,
            "segment_misplaced",
            At::Segment(A, one),
            10,
        );
    }
    for (place, sequence, from) in DATA {
        for (one, other) in [(0, 9), (3, 6), (8, 9)] {
            let op = row.rebuilt(&key(A, sequence), |parts| {
                let mut leaves = parts.leaves(from);
                leaves.swap(one, other);
                parts.set_leaves(&leaves);
            });
            let at = At::Record(A, from + one as i64);
            row.add("two records swapped", format!("{one} and {other} {place}"), vec![op], "offsets", at, 10);
        }
    }
    for (one, other) in [(0, 1), (1, 2), (3, 4), (4, 5)] {
        let name = layout::batch_key;
        let put = |to: u64, from: u64| Op::Put(name(to), row.object(&name(from)));
        let ops = vec![put(one, other), put(other, one)];
        row.add("two batches swapped", format!("{one} and {other}"), ops, "log_previous", At::Key(name(one)), 10);
    }
}

pub fn stripped(row: &mut Row<'_>) {
    let bare = |note: &str| note.rsplit_once("\n\n").unwrap().0.to_owned() + "\n";
    for (text, sequence) in segments() {
        let op = row.rebuilt(&key(text, sequence), |parts| parts.note = parts.manifest_line().to_owned());
        let position = format!("{text}, segment {sequence}");
        row.add(
            "the signature of a segment stripped",
            position,
            vec![op],
            "note_form",
            At::Segment(text, sequence),
            10,
        );
    }
    let batches = (0..row.base.batches()).map(layout::batch_key);
    for name in batches.chain([layout::CHECKPOINT.to_owned()]) {
        let note = String::from_utf8(row.object(&name).to_vec()).unwrap();
        let op = Op::Put(name.clone(), bare(&note).into());
        row.add(
            "the signature of a batch or checkpoint stripped",
            &name,
            vec![op],
            "log_form",
            At::Key(name.clone()),
            10,
        );
    }
}

pub fn flipped(row: &mut Row<'_>) {
    for (place, sequence, _) in DATA {
        let parts = Parts::of(&row.object(&key(A, sequence)));
        for (region, from, to) in parts.regions() {
            let code = match region {
                "magic" => "not_a_segment",
                "header" => "codec",
                "schema" => "schema_digest",
                "sync" => "sync_marker",
                "body" => "body_digest",
                _ => "signature",
            };
            let op = row.edited(&key(A, sequence), |bytes| {
                // in the signature, one that stays base64: a letter that is not the last of its row
                let letter = |at: &usize| matches!(bytes[*at], b'A'..=b'Y' | b'b'..=b'y');
                let at = (from.midpoint(to)..to).find(|at| region != "signature" || letter(at)).unwrap();
                bytes[at] ^= 1;
            });
            row.add(
                "a bit flipped after sealing",
                format!("{region} {place}"),
                vec![op],
                code,
                At::Segment(A, sequence),
                10,
            );
        }
    }
    for number in 0..row.base.batches() {
        let name = layout::batch_key(number);
        for (position, part) in [("first line", 10), ("entries", 2)] {
            let op = row.edited(&name, |bytes| {
                let at = bytes.len() / part;
                bytes[at] ^= 1;
            });
            let position = format!("{position} of batch {number}");
            row.add("a bit of a batch flipped", position, vec![op], "log_signature", At::Key(name.clone()), 10);
        }
    }
    // before it was hashed a second time: the writer signs what is wrong
    for sequence in [0, 2, 5] {
        let root = Digest::of(b"of flipped bits");
        let op = row.rebuilt(&key(A, sequence), |parts| {
            let line = edited(parts.manifest_line(), |m| m.root = root);
            parts.note = signer(ORIGIN, 1).sign(&line).unwrap();
        });
        let position = format!("{A}, segment {sequence}");
        row.add("a wrong root signed", position, vec![op], "sync_marker", At::Segment(A, sequence), 10);
    }
    for number in 0..row.base.batches() {
        let batch = row.base.batch(number);
        let header = Header { root: Digest::of(b"of flipped bits"), ..batch.header.clone() };
        let name = layout::batch_key(number);
        let op = Op::Put(name.clone(), Batch::seal(&header, &batch.lines, &log_signer(5)).unwrap().into());
        row.add("a batch with a wrong root signed", format!("batch {number}"), vec![op], "log_root", At::Key(name), 10);
    }
}

pub fn lax_encodings(row: &mut Row<'_>) {
    let ours = || signer(ORIGIN, 1);
    for sequence in [0, 2, 5] {
        let spaced = row.rebuilt(&key(A, sequence), |parts| {
            let line = parts.manifest_line().replace("\":", "\": ");
            parts.note = ours().sign(&line).unwrap();
        });
        let position = format!("{A}, segment {sequence}");
        let at = || At::Segment(A, sequence);
        row.add("a manifest with spaces, signed", &position, vec![spaced], "manifest_form", at(), 10);
        let unknown = row.rebuilt(&key(A, sequence), |parts| {
            let line = parts.manifest_line().replace("\"index\":null", "\"index\":null,\"more\":1");
            parts.note = ours().sign(&line).unwrap();
        });
        row.add(
            "a manifest with an unknown field, signed",
            &position,
            vec![unknown],
            "manifest_unknown_field",
            at(),
            10,
        );
    }
    for (place, sequence, from) in DATA {
        let op = row.rebuilt(&key(A, sequence), |parts| {
            let mut leaves = parts.leaves(from);
            // the first byte of a leaf is the last of its offset's varint: 0x80 behind it adds nothing
            let length = leaves[0].iter().position(|byte| byte & 0x80 == 0).unwrap();
            leaves[0][length] |= 0x80;
            leaves[0].insert(length + 1, 0);
            let root = root(&leaves);
            let schema_and_root = [&parts.schema[..], &root.0].concat();
            parts.sync.copy_from_slice(&Digest::of(&schema_and_root).0[..16]);
            parts.set_leaves(&leaves);
            parts.remake_manifest(&leaves);
            let line = parts.manifest_line().to_owned();
            parts.note = ours().sign(&line).unwrap();
        });
        row.add("a number in a longer form, signed", place, vec![op], "leaf_form", At::Segment(A, sequence), 10);
    }
    for number in [0, 2, 5] {
        let mut log = row.base.log.clone();
        log[number][0] = log[number][0].replacen("\":", "\": ", 1);
        let name = layout::batch_key(number as u64);
        let ops = log_objects(&log, &log_signer(5)).into_iter().map(|(key, bytes)| Op::Put(key, bytes)).collect();
        row.add(
            "an entry with spaces, in a log made to fit",
            format!("batch {number}"),
            ops,
            "log_entry_form",
            At::Key(name),
            10,
        );
    }
    let size: usize = row.base.log.iter().map(Vec::len).sum();
    let note = String::from_utf8(row.object(layout::CHECKPOINT).to_vec()).unwrap();
    let text = note.rsplit_once("\n\n").unwrap().0.replace(&format!("\n{size}\n"), &format!("\n0{size}\n")) + "\n";
    let op = Op::Put(layout::CHECKPOINT.into(), log_signer(5).sign(&text).unwrap().into());
    row.add("a leading zero, signed", "checkpoint", vec![op], "log_form", At::Key(layout::CHECKPOINT.into()), 10);
}

pub fn replayed(row: &mut Row<'_>) {
    for (place, sequence, from) in DATA {
        for (record, at) in RECORDS {
            let op = row.rebuilt(&key(A, sequence), |parts| {
                let mut leaves = parts.leaves(from);
                leaves.insert(at, leaves[at].clone());
                parts.set_leaves(&leaves);
            });
            let again = At::Segment(A, sequence);
            row.add("a record put in twice", format!("{record} {place}"), vec![op], "offsets", again, 10);
        }
    }
    for sequence in [0, 2, 5] {
        let op = Op::Put(key(A, 6), row.object(&key(A, sequence)));
        let position = format!("segment {sequence} at the end");
        row.add("a segment replayed", position, vec![op], "segment_misplaced", At::Segment(A, 6), 10);
    }
    for (chain, batch, line, sequence) in [(A, 0, 0, 0), (A, 3, 2, 5), (L, 4, 2, 2)] {
        let mut log = row.base.log.clone();
        log.push(vec![log[batch][line].clone()]);
        let ops = log_objects(&log, &log_signer(5)).into_iter().map(|(key, bytes)| Op::Put(key, bytes)).collect();
        let position = format!("{chain}, segment {sequence}");
        row.add(
            "a manifest entered twice, with the log's key",
            position,
            ops,
            "log_order",
            At::Segment(chain, sequence),
            10,
        );
    }
}

pub fn huge(row: &mut Row<'_>) {
    const HUGE: u64 = 300 << 20;
    for sequence in [0, 2, 5] {
        let op = Op::Huge(key(A, sequence), HUGE);
        let position = format!("{A}, segment {sequence}");
        row.add("an object of 300 MiB", position, vec![op], "not_a_segment", At::Segment(A, sequence), 10);
    }
    for (name, code) in [
        (layout::batch_key(0), "log_form"),
        (layout::batch_key(5), "log_form"),
        (row.base.artifacts[0].clone(), "artifact_digest"),
        ("store.json".to_owned(), "store_json_invalid"),
        (layout::CHECKPOINT.to_owned(), "log_form"),
    ] {
        row.add("an object of 300 MiB", &name, vec![Op::Huge(name.clone(), HUGE)], code, At::Key(name.clone()), 10);
    }
    // a block of a few KiB that would become 128 MiB, with the key, so that everything about it fits but its size
    let bomb = zstd::bulk::compress(&vec![0; 128 << 20], 3).unwrap();
    for sequence in [0, 2, 5] {
        let op = row.rebuilt(&key(A, sequence), |parts| {
            parts.codec = "zstandard".into();
            parts.body.clear();
            put_long(&mut parts.body, 10);
            put_bytes(&mut parts.body, &bomb);
            parts.body.extend_from_slice(&parts.sync);
            let body = authseal::manifest::Body { bytes: parts.body.len() as i64, sha256: Digest::of(&parts.body) };
            let line = edited(parts.manifest_line(), |m| m.body = body);
            parts.note = signer(ORIGIN, 1).sign(&line).unwrap();
        });
        let position = format!("{A}, segment {sequence}");
        row.add("a block that swells to 128 MiB, signed", position, vec![op], "codec", At::Segment(A, sequence), 10);
    }
    let deep = format!("{}{}\n", "[".repeat(3000), "]".repeat(3000));
    let op = row.rebuilt(&key(A, 1), |parts| parts.note = signer(ORIGIN, 1).sign(&deep).unwrap());
    row.add("a manifest of brackets, signed", "", vec![op], "manifest_form", At::Segment(A, 1), 10);
}
