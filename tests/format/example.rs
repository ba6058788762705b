//! The worked example of docs/format.md, made anew and compared.

use super::{Chain, signer};
use authseal::{
    digest::{Digest, hex},
    event::{AuthEvent, Micros, Outcome as Ended},
    manifest::*,
    merkle,
    record::{Decoded, Gap, GapCause, Header, Outcome, RawRecord, TimestampType},
    segment::{self, Codec, Sealed, SegmentBuilder, read},
};
use bytes::Bytes;
use std::fmt::Write;

const ORIGIN: &str = "example.com/demo";
const BEGIN: &str = "<!-- example: made by tests/format/example.rs -->\n";
const END: &str = "<!-- end of example -->\n";

/// A gap of two offsets, an opaque record, an event.
fn sealed() -> Sealed {
    let mut builder = SegmentBuilder::new(0, Codec::Null, 1);
    builder.push_gap(Gap { from: 0, to: 2, cause: GapCause::BeforeChain }).unwrap();
    let opaque = RawRecord {
        offset: 2,
        timestamp: 1_767_225_600_000,
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from_static(b"k")),
        headers: vec![Header { key: Bytes::from_static(b"h"), value: None }],
        value: Some(Bytes::from_static(b"hi")),
    };
    let kept = |outcome| Decoded { outcome, withheld: None, schema_id: None };
    builder.push_record(&opaque, &kept(Outcome::Opaque)).unwrap();
    let event = AuthEvent {
        event_id: "e1".into(),
        time: Micros(1_767_225_600_001_500),
        source: "sshd".into(),
        outcome: Ended::Failure,
        user: Some("mia".into()),
        ..AuthEvent::default()
    };
    let raw = RawRecord { offset: 3, timestamp: 1_767_225_600_002, headers: vec![], ..opaque };
    builder.push_record(&raw, &kept(Outcome::Event(Box::new(event)))).unwrap();
    let start = Start { reason: StartReason::New, detail: String::new(), previous: None };
    let mut chain = Chain::new(ORIGIN, "main/auth/0/0", start, 1_767_225_660_000);
    chain.seal(builder.finish().unwrap(), SegmentKind::Data)
}

/// The fields of the second leaf, byte for byte; together they are the leaf.
const FIELDS: [(&str, &str, &str); 12] = [
    ("offset", "04", "2"),
    ("kind", "04", "OPAQUE"),
    ("timestamp", "80a0d5edee66", "1767225600000"),
    ("timestamp_type", "02", "CREATE_TIME"),
    ("key", "02026b", "branch 1, length 1, \"k\""),
    ("headers", "0202680000", "one item: key of length 1, \"h\", value null; then the end"),
    ("value", "02046869", "branch 1, length 2, \"hi\""),
    ("withheld", "00", "null"),
    ("protection", "00", "null"),
    ("event", "00", "null"),
    ("rejection", "00", "null"),
    ("gap", "00", "null"),
];

/// Hexadecimal digits, 64 a line, each line indented.
fn block(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| format!("    {}\n", hex(line))).collect()
}

fn text() -> String {
    let sealed = sealed();
    let (signer, m) = (signer(ORIGIN), &sealed.manifest);
    let leaves: Vec<_> = read::records(&sealed.bytes).unwrap().map(|leaf| leaf.unwrap().bytes).collect();
    let hashes: Vec<_> = leaves.iter().map(|leaf| Digest::leaf(leaf)).collect();
    let line = m.line().unwrap();
    let note = signer.sign(&line).unwrap();
    let schema = segment::schema_bytes();
    let body = &sealed.bytes[sealed.bytes.len() - m.body.bytes as usize..];
    let header = &sealed.bytes[..sealed.bytes.len() - body.len()];
    let mut out = String::new();
    let o = &mut out;
    writeln!(o, "The key is made of the seed 00 01 02 … 1f and is known to everyone:\n").unwrap();
    writeln!(o, "    {}\n    {}\n", signer.secret_text().as_str(), signer.verifier_key()).unwrap();
    writeln!(
        o,
        "`avro.schema` is `schemas/sealed_record.avsc` without its docs and whitespace: {} bytes,",
        schema.len()
    )
    .unwrap();
    writeln!(o, "SHA-256 `{}`.\n", segment::schema_digest().hex()).unwrap();
    writeln!(
        o,
        "Three leaves: offsets 0 and 1 are a gap (`before_chain`), offset 2 is opaque, offset 3 is an event.\n"
    )
    .unwrap();
    for (n, (leaf, hash)) in leaves.iter().zip(&hashes).enumerate() {
        writeln!(o, "Leaf {n}, {} bytes, leaf hash `{}`:\n\n{}", leaf.len(), hash.hex(), block(leaf)).unwrap();
    }
    writeln!(o, "Leaf 1, field by field:\n\n| field | bytes | |\n|---|---|---|").unwrap();
    for (name, bytes, words) in FIELDS {
        writeln!(o, "| {name} | `{bytes}` | {words} |").unwrap();
    }
    let left = Digest::node(&hashes[0], &hashes[1]);
    writeln!(o, "\nNode over leaves 0 and 1: `{}`", left.hex()).unwrap();
    writeln!(o, "\nRoot, over that node and leaf 2: `{}` = `{}`", m.root.hex(), m.root).unwrap();
    let marker = &header[header.len() - 16..];
    writeln!(o, "\nSync marker, the first 16 bytes of SHA-256(`avro.schema` ‖ root): `{}`", hex(marker)).unwrap();
    writeln!(o, "\nThe body is one block, codec `null`, {} bytes, SHA-256 `{}`:", body.len(), m.body.sha256).unwrap();
    writeln!(o, "count 3 (`06`), size of the data, the leaves, the sync marker.\n\n{}", block(body)).unwrap();
    writeln!(o, "The signed note; its first line is the manifest:\n\n```\n{note}```\n").unwrap();
    writeln!(o, "Hash of the manifest, which the next one names as `previous`: `{}`\n", sealed.hash).unwrap();
    let at = 4 + header[4..].windows(schema.len()).position(|w| w == schema).unwrap();
    let up_to_schema = &header[..at];
    let behind_schema = &header[at + schema.len()..header.len() - note.len() - 17];
    writeln!(
        o,
        "The file begins with magic, count 3 of the metadata map, `avro.codec`, `null`, `avro.schema` and its length:\n"
    )
    .unwrap();
    writeln!(o, "{}\nBehind the schema stand `authseal.manifest` and the length of the note:\n", block(up_to_schema))
        .unwrap();
    writeln!(
        o,
        "{}\nBehind the note stand the end of the map, `00`, the sync marker and the body.",
        block(behind_schema)
    )
    .unwrap();
    writeln!(o, "The whole file has {} bytes, SHA-256 `{}`.", sealed.bytes.len(), Digest::of(&sealed.bytes).hex())
        .unwrap();
    out
}

#[test]
fn the_worked_example_is_what_is_sealed() {
    let text = text();
    let doc = include_str!("../../docs/format.md");
    let begin = doc.find(BEGIN).map(|at| at + BEGIN.len()).expect("docs/format.md has an example");
    let end = doc.find(END).expect("the example ends");
    assert!(doc[begin..end] == text, "the worked example of docs/format.md should be:\n{BEGIN}{text}{END}");
}

#[test]
fn the_fields_of_the_example_are_the_leaf_and_the_tree_is_its_root() {
    let sealed = sealed();
    let leaves: Vec<_> = read::records(&sealed.bytes).unwrap().map(|leaf| leaf.unwrap().bytes).collect();
    assert_eq!(FIELDS.map(|(_, bytes, _)| bytes).concat(), hex(&leaves[1]));
    let hashes: Vec<_> = leaves.iter().map(|leaf| Digest::leaf(leaf)).collect();
    assert_eq!(Digest::node(&Digest::node(&hashes[0], &hashes[1]), &hashes[2]), sealed.manifest.root);
    assert_eq!(merkle::root(&hashes), sealed.manifest.root);
}

/// What is part of the format is in its specification.
#[test]
fn the_specification_names_every_reason_code_and_field() {
    let doc = include_str!("../../docs/format.md");
    for (code, meaning) in authseal::fault::code::ALL {
        assert!(doc.contains(&format!("| `{code}` | {meaning} |")), "docs/format.md lacks: | `{code}` | {meaning} |");
    }
    let schema: serde_json::Value = serde_json::from_slice(segment::schema_bytes()).unwrap();
    for field in schema["fields"].as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        assert!(doc.contains(&format!("| {name} |")), "docs/format.md lacks field {name}");
    }
    let manifest: serde_json::Value = serde_json::from_str(&sealed().manifest.line().unwrap()).unwrap();
    for name in manifest.as_object().unwrap().keys() {
        assert!(doc.contains(&format!("| {name} |")), "docs/format.md lacks {name} of the manifest");
    }
    assert!(doc.contains(&segment::schema_digest().hex()), "docs/format.md names the schema of this version");
}
