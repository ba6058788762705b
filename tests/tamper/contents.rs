//! What lies in a segment: bits, bytes, records.

use super::*;
use authseal::{
    digest::Digest,
    record::{Decoded, Outcome, RawRecord},
};

#[tokio::test]
async fn a_flipped_bit() {
    for (region, expected) in [
        ("magic", &["not_a_segment main/auth/0/0#1"][..]),
        ("header", &["codec main/auth/0/0#1"]),
        ("schema", &["schema_digest main/auth/0/0#1"]),
        ("manifest", &["signature main/auth/0/0#1"]),
        ("signature", &["signature main/auth/0/0#1"]),
        ("sync", &["sync_marker main/auth/0/0#1"]),
        ("body", &["body_digest main/auth/0/0@14", "root main/auth/0/0@14"]),
    ] {
        check(region, |lab| flip_in(lab, region), 10, expected).await;
    }
    // its kind: an event of the kind OPAQUE is no record
    let kind = |lab: &Lab| {
        lab.edit(&key(A, 1), |bytes| {
            let leaf = leaf(15);
            let at = bytes.windows(leaf.len()).position(|w| w == leaf).unwrap();
            bytes[at + 1] ^= 4;
        });
    };
    let expected = ["body_digest main/auth/0/0@15", "leaf_form main/auth/0/0@15"];
    check("a record's kind", kind, 10, &expected).await;
}

#[tokio::test]
async fn the_packing_changed_and_the_records_did_not() {
    let repack = |lab: &Lab| {
        lab.rebuild(&key(B, 1), |parts| {
            let mut null = Parts { codec: "null".into(), ..parts.clone() };
            null.set_leaves(&(10..20).map(leaf).collect::<Vec<_>>());
            *parts = null;
        });
    };
    check("another codec", repack, 10, &["body_length main/auth/1/0#1"]).await;
    let lab = Lab::of(&STORE).await;
    repack(&lab);
    let report = lab.verify().await;
    assert!(report.findings[0].detail.contains("its records are all there and unchanged"), "{report}");
}

#[tokio::test]
async fn a_cut_or_lengthened_object() {
    let cut = |to: usize| move |lab: &Lab| lab.edit(&key(A, 1), |bytes| bytes.truncate(to));
    let regions = Parts::of(&STORE[&key(A, 1)]).regions();
    let body = regions.last().unwrap().1;
    check("to nothing", cut(0), 10, &["not_a_segment main/auth/0/0#1"]).await;
    check("in the schema", cut(100), 10, &["header_form main/auth/0/0#1"]).await;
    check("behind the header", cut(body), 10, &["body_length main/auth/0/0@10", "offsets main/auth/0/0@10"]).await;
    let inside = ["body_length main/auth/0/0@10", "block_form main/auth/0/0@10"];
    check("in the body", cut(body + 200), 10, &inside).await;
    let lengthen = |with: &'static [u8]| move |lab: &Lab| lab.edit(&key(A, 1), |bytes| bytes.extend_from_slice(with));
    let behind = ["body_length main/auth/0/0#1", "block_form main/auth/0/0#1"];
    check("by a byte", lengthen(b"\0"), 10, &behind).await;
    let again = |lab: &Lab| lab.edit(&key(A, 1), |bytes| bytes.extend_from_within(body..));
    check("by its own body", again, 10, &["body_length main/auth/0/0@10", "offsets main/auth/0/0@10"]).await;
}

/// What becomes of the ten leaves of segment 1 of chain A; what is found when the manifest stays as it was signed, and
/// what when body, root and counts in it are made to fit, which only breaks its signature.
struct Reshape {
    name: &'static str,
    to: fn(&mut Vec<Vec<u8>>),
    signed: &'static [&'static str],
    remade: &'static [&'static str],
}

macro_rules! at {
    ($($code:literal $place:literal),+) => { &[$(concat!($code, " main/auth/0/0", $place)),+] };
}

const RESHAPED: &[Reshape] = &[
    Reshape {
        name: "a record removed",
        to: |leaves| drop(leaves.remove(4)),
        signed: at!["body_length" "@14", "offsets" "@14"],
        remade: at!["signature" "#1", "offsets" "@14"],
    },
    Reshape {
        name: "the first record removed",
        to: |leaves| drop(leaves.remove(0)),
        signed: at!["body_length" "@10", "offsets" "@10"],
        remade: at!["signature" "#1", "offsets" "@10"],
    },
    Reshape {
        name: "the last record removed",
        to: |leaves| drop(leaves.pop()),
        signed: at!["body_length" "@19", "offsets" "@19"],
        remade: at!["signature" "#1", "offsets" "@19"],
    },
    Reshape {
        name: "a record put in twice",
        to: |leaves| leaves.insert(4, leaf(13)),
        signed: at!["body_length" "@13", "offsets" "@13"],
        remade: at!["signature" "#1", "offsets" "@14"],
    },
    Reshape {
        name: "a record of another segment put in",
        to: |leaves| leaves.insert(4, leaf(25)),
        signed: at!["body_length" "@14", "offsets" "@14", "offsets" "@14"],
        remade: at!["signature" "#1", "offsets" "@14"],
    },
    Reshape {
        name: "two records swapped",
        to: |leaves| leaves.swap(3, 6),
        signed: at!["body_digest" "@13", "offsets" "@13", "offsets" "@14", "offsets" "@13", "offsets" "@14"],
        remade: at!["signature" "#1", "offsets" "@13"],
    },
    Reshape {
        name: "a record added at the end",
        to: |leaves| leaves.push(leaf(20)),
        signed: at!["body_length" "#1", "offsets" "@20"],
        // the next segment begins with it as well: which of the two is right, no signature tells
        remade: at!["signature" "#1"],
    },
];

#[tokio::test]
async fn records_removed_inserted_reordered_behind_the_old_manifest() {
    for row in RESHAPED {
        let tamper = |lab: &Lab| {
            lab.rebuild(&key(A, 1), |parts| {
                let mut leaves = parts.leaves(10);
                (row.to)(&mut leaves);
                parts.set_leaves(&leaves);
            });
        };
        check(row.name, tamper, 10, row.signed).await;
    }
}

#[tokio::test]
async fn records_removed_inserted_reordered_and_the_manifest_made_to_fit() {
    for row in RESHAPED {
        let tamper = |lab: &Lab| {
            lab.rebuild(&key(A, 1), |parts| {
                let mut leaves = parts.leaves(10);
                (row.to)(&mut leaves);
                let schema_and_root = [&parts.schema[..], &root(&leaves).0].concat();
                parts.sync.copy_from_slice(&Digest::of(&schema_and_root).0[..16]);
                parts.set_leaves(&leaves);
                parts.remake_manifest(&leaves);
            });
        };
        check(row.name, tamper, 10, row.remade).await;
    }
}

#[tokio::test]
async fn a_record_changed_in_its_place() {
    let change = |edit: fn(&mut RawRecord, &mut Decoded)| {
        move |lab: &Lab| {
            lab.rebuild(&key(A, 1), |parts| {
                let mut leaves = parts.leaves(10);
                let (mut raw, mut decoded) = decoded(14);
                edit(&mut raw, &mut decoded);
                leaves[4] = leaf_of(&raw, &decoded);
                parts.set_leaves(&leaves);
            });
        }
    };
    let value = change(|raw, _| raw.value = Some(raw.value.as_ref().unwrap().to_ascii_uppercase().into()));
    check("its value", value, 10, &["body_digest main/auth/0/0#1", "root main/auth/0/0#1"]).await;
    let outcome = change(|_, decoded| {
        if let Outcome::Event(event) = &mut decoded.outcome {
            event.outcome = authseal::event::Outcome::Success;
        }
    });
    // one bit: that is little enough for the record to be found
    check("a failure into a success", outcome, 10, &["body_digest main/auth/0/0@14", "root main/auth/0/0@14"]).await;
    let kind = change(|_, decoded| decoded.outcome = Outcome::Opaque);
    check("an event into an opaque record", kind, 10, &["body_length main/auth/0/0#1", "counts main/auth/0/0#1"]).await;
    let time = change(|raw, _| raw.timestamp += 86_400_000);
    check("its timestamp", time, 10, &["body_digest main/auth/0/0#1", "times main/auth/0/0#1"]).await;
}
