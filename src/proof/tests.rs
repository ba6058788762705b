//! Proofs of every kind of leaf, and what becomes of them when anything in the file is changed.

use super::*;
use crate::{
    digest::Digest,
    event::{AuthEvent, Micros},
    manifest::*,
    merkle::{self, Levels},
    note::{Signer, Verifiers},
    record::{Decoded, Gap, GapCause, Outcome, RawRecord, Rejection, TimestampType},
    retention::Retention,
    segment::{self, Codec, LeafKind, Sealed, SegmentBuilder, read},
    tlog::Checkpoint,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::LazyLock;

const ORIGIN: &str = "example.com/auth";
const BEGAN: i64 = 1_767_225_600_000;

fn seal_key() -> Signer {
    Signer::from_seed(&format!("{ORIGIN}/seal"), [1; 32]).unwrap()
}

fn log_key() -> Signer {
    Signer::from_seed(ORIGIN, [2; 32]).unwrap()
}

fn keys() -> Verifiers {
    Verifiers::parse(&format!("{}\n{}\n", seal_key().verifier_key(), log_key().verifier_key())).unwrap()
}

static SEALED: LazyLock<Sealed> = LazyLock::new(seal);

/// An event, a rejection, an opaque record, three offsets that were not delivered, an event.
fn sealed() -> Sealed {
    SEALED.clone()
}

fn seal() -> Sealed {
    let mut builder = SegmentBuilder::new(7, Codec::Null, 1);
    let kinds = [
        Outcome::Event(Box::new(AuthEvent {
            event_id: "e-7".into(),
            time: Micros(BEGAN * 1000),
            user: Some("mia".into()),
            ..AuthEvent::default()
        })),
        Outcome::Rejection(Rejection::new("trailing_bytes", "3 bytes")),
        Outcome::Opaque,
    ];
    let last = kinds[0].clone();
    let mut push = |outcome: Outcome| {
        let offset = builder.to();
        let raw = RawRecord {
            offset,
            timestamp: BEGAN,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from(format!("key of {offset}"))),
            headers: vec![],
            value: Some(Bytes::from(format!("value of {offset}"))),
        };
        builder.push_record(&raw, &Decoded { outcome, withheld: None, schema_id: None }).unwrap();
        if offset == 9 {
            builder.push_gap(Gap { from: 10, to: 13, cause: GapCause::Lost }).unwrap();
        }
    };
    kinds.into_iter().for_each(&mut push);
    push(last);
    let draft = builder.finish().unwrap();
    let manifest = Manifest {
        format: crate::manifest::FORMAT.into(),
        origin: ORIGIN.into(),
        chain: "main/auth/0/0".parse().unwrap(),
        sequence: 3,
        previous: Some(Digest::of(b"the one before")),
        start: None,
        kind: SegmentKind::Data,
        offsets: draft.offsets,
        counts: draft.counts,
        root: draft.root,
        body: draft.body(),
        schema: segment::schema_digest(),
        times: Times { sealed: BEGAN + 60_000, ..draft.times },
        next_by: BEGAN + 3_600_000,
        broker: Broker::default(),
        artifacts: Artifacts::default(),
        writer: Writer { version: "0.1.0".into(), instance: "i-1".into() },
        retention: Retention::NONE,
        index: None,
    };
    segment::seal(draft, manifest, &seal_key()).unwrap()
}

/// What proves leaf `leaf` of a segment.
fn part(sealed: &Sealed, leaf: usize) -> Part {
    let records = read::records(&sealed.bytes).unwrap();
    let (manifest, schema) = (Bytes::copy_from_slice(records.note()), Bytes::copy_from_slice(records.schema()));
    let leaves: Vec<_> = records.map(|leaf| leaf.unwrap()).collect();
    let tree = Levels::of(leaves.iter().map(|leaf| leaf.hash()).collect());
    let (path, record) = (tree.inclusion_proof(leaf).unwrap(), leaves[leaf].bytes.clone());
    Part { leaf: leaf as u64, path, manifest, schema, record, stamp: Bytes::new() }
}

/// What proves that a manifest is entry `index` of a log of `size` entries, witnessed by somebody who is not known.
fn outer(sealed: &Sealed, index: usize, size: usize) -> Outer {
    let mut entries: Vec<Digest> = (0..size).map(|n| Digest::leaf(&n.to_be_bytes())).collect();
    entries[index] = sealed.hash;
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: size as u64, root: merkle::root(&entries) };
    let note = checkpoint.sign(&log_key()).unwrap();
    let witness = Signer::from_seed("witness.example/w", [9; 32]).unwrap().sign(&checkpoint.text()).unwrap();
    let path = merkle::inclusion_proof(&entries, index).unwrap();
    let checkpoint = note + witness.rsplit_once("\n\n").unwrap().1;
    Outer { index: index as u64, path, checkpoint }
}

fn proof(leaf: usize) -> Proof {
    let sealed = sealed();
    Proof { part: part(&sealed, leaf), outer: Some(outer(&sealed, 5, 11)) }
}

fn code_of(proof: &Proof) -> &'static str {
    super::check(proof.encode().unwrap().as_bytes(), &keys()).unwrap_err().code
}

#[test]
fn every_kind_of_leaf_is_proven_and_says_what_it_is() {
    let sealed = sealed();
    let want = [
        (LeafKind::Event, 7, 8),
        (LeafKind::Rejection, 8, 9),
        (LeafKind::Opaque, 9, 10),
        (LeafKind::Gap, 10, 13),
        (LeafKind::Event, 13, 14),
    ];
    for (leaf, (kind, from, to)) in want.into_iter().enumerate() {
        let file = proof(leaf).encode().unwrap();
        let proven = check(file.as_bytes(), &keys()).unwrap();
        let statement = &proven.statement;
        assert_eq!((statement.record.kind, statement.position().offset, statement.to()), (kind, from, to));
        assert_eq!((&statement.manifest, statement.manifest_hash), (&sealed.manifest, sealed.hash));
        let log = statement.log.as_ref().unwrap();
        assert_eq!((log.index, log.checkpoint.size), (5, 11));
        assert_eq!(log.signed_by, [format!("{ORIGIN}+{}", log_key().id())]);
        assert!(proven.unchecked[0].starts_with("witness.example/w+"), "{:?}", proven.unchecked);
        assert!(proven.checkpoint.unwrap().contains("\u{2014} witness.example/w "));
        // without its log the same record is proven by the seal alone, and not as the same statement
        let pending = Proof { outer: None, ..proof(leaf) }.encode().unwrap();
        let pending = check(pending.as_bytes(), &keys()).unwrap().statement;
        assert!(pending != *statement && pending == Statement { log: None, ..statement.clone() });
    }
}

#[test]
fn nothing_of_a_neighbour_is_in_the_file() {
    let file = proof(0).encode().unwrap();
    let extra = file.lines().nth(1).unwrap().strip_prefix("extra ").unwrap();
    let extra = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, extra).unwrap();
    let holds = |part: &str| extra.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(holds("key of 7") && holds("value of 7"));
    for offset in [8, 9, 13] {
        assert!(!holds(&format!("key of {offset}")) && !holds(&format!("value of {offset}")));
    }
    // what is there is counted for: one line, the signed manifest, the schema, the record
    let part = proof(0).part;
    let line = extra.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(extra.len(), line + part.manifest.len() + part.schema.len() + part.record.len());
    assert_eq!(part.record, read::records(&sealed().bytes).unwrap().next().unwrap().unwrap().bytes);
}

#[test]
fn each_link_that_does_not_hold_is_named() {
    use crate::fault::code::*;
    type Edit = fn(&mut Proof);
    let rows: [(&str, Edit, &str); 14] = [
        ("another record", |p| p.part.record = part(&sealed(), 4).record, code::RECORD),
        ("another leaf", |p| p.part.leaf = 1, code::RECORD),
        ("a leaf beyond the segment", |p| p.part.leaf = 5, code::RECORD),
        ("another path", |p| p.part.path[1] = Digest::of(b"x"), code::RECORD),
        ("a path cut short", |p| p.part.path.truncate(1), code::RECORD),
        ("a longer path", |p| p.part.path.push(Digest::of(b"x")), code::RECORD),
        ("a record with bytes behind it", |p| p.part.record = [&p.part.record[..], b"\0"].concat().into(), LEAF_FORM),
        ("another schema", |p| p.part.schema = Bytes::from_static(b"\"long\""), SCHEMA_DIGEST),
        ("a manifest that nobody signed", |p| p.part.manifest = edit(&p.part.manifest, "i-1", "i-2"), SIGNATURE),
        ("another index", |p| p.outer.as_mut().unwrap().index = 4, code::LOG),
        ("an index beyond the log", |p| p.outer.as_mut().unwrap().index = 11, code::LOG),
        ("another path in the log", |p| p.outer.as_mut().unwrap().path[0] = Digest::of(b"x"), code::LOG),
        (
            "a checkpoint that is not signed",
            |p| p.outer.as_mut().unwrap().checkpoint = text(p, "\n11\n", "\n12\n"),
            LOG_SIGNATURE,
        ),
        (
            "a checkpoint without the log's signature",
            |p| p.outer.as_mut().unwrap().checkpoint = unsigned(p),
            LOG_UNKNOWN_KEY,
        ),
    ];
    for (name, edit, code) in rows {
        let mut proof = proof(0);
        edit(&mut proof);
        assert_eq!(code_of(&proof), code, "{name}");
    }
}

fn edit(bytes: &Bytes, from: &str, to: &str) -> Bytes {
    String::from_utf8(bytes.to_vec()).unwrap().replace(from, to).into()
}

fn text(proof: &Proof, from: &str, to: &str) -> String {
    proof.outer.as_ref().unwrap().checkpoint.replace(from, to)
}

fn unsigned(proof: &Proof) -> String {
    let (text, lines) = proof.outer.as_ref().unwrap().checkpoint.rsplit_once("\n\n").unwrap();
    format!("{text}\n\n{}\n", lines.lines().nth(1).unwrap())
}

#[test]
fn keys_prove_what_they_are_for_and_nothing_else() {
    let file = proof(0).encode().unwrap();
    let with = |signers: &[Signer]| {
        let lines: String = signers.iter().map(|signer| signer.verifier_key() + "\n").collect();
        check(file.as_bytes(), &Verifiers::parse(&lines).unwrap()).map(|_| ()).map_err(|fault| fault.code)
    };
    let other = |name: &str| Signer::from_seed(name, [7; 32]).unwrap();
    assert_eq!(with(&[seal_key(), log_key()]), Ok(()));
    assert_eq!(with(&[log_key()]), Err(crate::fault::code::UNKNOWN_KEY));
    assert_eq!(with(&[seal_key()]), Err(crate::fault::code::LOG_UNKNOWN_KEY));
    assert_eq!(with(&[seal_key(), other(ORIGIN)]), Err(crate::fault::code::LOG_UNKNOWN_KEY));
    assert_eq!(with(&[seal_key(), Signer::from_seed("witness.example/w", [9; 32]).unwrap()]), {
        // a witness is no log, although its signature on the checkpoint is good
        Err(crate::fault::code::LOG_UNKNOWN_KEY)
    });
    // the log of another origin does not stand for this one
    let mut foreign = proof(0);
    let outer = foreign.outer.as_mut().unwrap();
    outer.checkpoint = other("example.com/other")
        .sign(&outer.checkpoint.split("\n\n").next().map(|t| format!("{t}\n")).unwrap())
        .unwrap();
    let keys = format!("{}\n{}\n", seal_key().verifier_key(), other("example.com/other").verifier_key());
    let found = check(foreign.encode().unwrap().as_bytes(), &Verifiers::parse(&keys).unwrap()).unwrap_err();
    assert_eq!(found.code, crate::fault::code::LOG_UNKNOWN_KEY);
}

/// The file says the same, or nothing.
fn same_or_refused(good: &Statement, bytes: &[u8], what: &str) {
    if let Ok(proven) = check(bytes, &keys()) {
        assert_eq!(proven.statement, *good, "{what}");
    }
}

#[test]
fn every_byte_that_is_turned_is_refused_or_says_the_same() {
    let file = proof(0).encode().unwrap().into_bytes();
    let good = check(&file, &keys()).unwrap().statement;
    let halves = [0..file.len() / 2, file.len() / 2..file.len()];
    std::thread::scope(|scope| {
        for half in halves {
            let (file, good) = (&file, &good);
            scope.spawn(move || {
                let mut bytes = file.clone();
                for at in half {
                    for bit in 0..8 {
                        bytes[at] ^= 1 << bit;
                        same_or_refused(good, &bytes, &format!("bit {bit} of byte {at}"));
                        bytes[at] ^= 1 << bit;
                    }
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_cut_off_is_refused_or_says_the_same() {
    for proof in [proof(3), Proof { outer: None, ..proof(3) }] {
        let file = proof.encode().unwrap().into_bytes();
        let good = check(&file, &keys()).unwrap().statement;
        for length in 0..file.len() {
            same_or_refused(&good, &file[..length], &format!("{length} bytes"));
        }
        // the last line of all may go: it is of a witness that nobody asked about
        let all = check(&file[..file.len() - 1], &keys());
        assert_eq!(all.unwrap_err().code.split('_').next(), Some(if proof.outer.is_some() { "log" } else { "proof" }));
    }
}

#[test]
fn only_one_spelling_of_a_proof_is_read() {
    let good = proof(0).encode().unwrap();
    let form = |text: String| check(text.as_bytes(), &keys()).map(|_| ()).map_err(|fault| fault.code);
    let extra = good.lines().nth(1).unwrap();
    for bad in [
        String::new(),
        good.replace("tlog-proof@v1", "tlog-proof@v2"),
        good.replace('\n', "\r\n"),
        good.replace("\nindex 5", "\nindex 05"),
        good.replace("\nindex 5", "\nindex +5"),
        good.replace("\nindex 5", ""),
        good.replace("\nextra ", "\nextra  "),
        good.replace(&format!("{extra}\n"), ""),
        good.replace("extra ", "extra \n"),
        format!(" {good}"),
        format!("\u{feff}{good}"),
        good.replacen("=\n", "\n", 1),
        good.replacen("c2sp.org/tlog-proof@v1", "authseal/pending-proof@1", 1),
        "c2sp.org/tlog-proof@v1\n".repeat(3),
        format!("c2sp.org/tlog-proof@v1\n{extra}\nindex 0\n{}\n", format!("{}\n", Digest::of(b"")).repeat(64)),
    ] {
        assert_eq!(form(bad.clone()), Err(code::FORM), "{}", &bad[..bad.len().min(200)]);
    }
    let pending = Proof { outer: None, ..proof(0) }.encode().unwrap();
    assert_eq!(form(pending.clone()), Ok(()));
    assert_eq!(form(pending + "\n"), Err(code::FORM));
}

#[test]
fn the_guide_names_every_code_of_a_proof() {
    let guide = include_str!("../../docs/format.md");
    for code in code::ALL {
        assert!(guide.contains(&format!("| `{code}` |")), "{code}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, text: String) {
        prop_assert!(check(&bytes, &keys()).is_err());
        let extra = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        let file = format!("c2sp.org/tlog-proof@v1\nextra {extra}\nindex 0\n\n{text}");
        prop_assert!(check(file.as_bytes(), &keys()).is_err());
        let _ = Part::decode(&Bytes::from(bytes));
    }

    #[test]
    fn parts_mixed_from_two_proofs_prove_nothing_new(
        one in 0..5_usize, other in 0..5_usize, record: bool, path: bool, leaf: bool,
    ) {
        let (mut mixed, from) = (proof(one), proof(other));
        if record { mixed.part.record = from.part.record; }
        if path { mixed.part.path = from.part.path; }
        if leaf { mixed.part.leaf = from.part.leaf; }
        let mixed = check(mixed.encode().unwrap().as_bytes(), &keys());
        if let Ok(proven) = mixed {
            let statement = proven.statement;
            prop_assert!([one, other].contains(&(statement.leaf as usize)));
            prop_assert_eq!(statement.bytes, proof(statement.leaf as usize).part.record);
        }
    }
}
