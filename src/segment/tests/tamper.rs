//! Tamper vectors, named by their mutation, each with its reason code.

use super::{frame::Container, *};
use crate::{
    avro::{put_bytes, put_long},
    canonical,
    event::Attributes,
    fault::code,
    note::Verifiers,
};
use std::collections::BTreeSet;

pub fn keys() -> Verifiers {
    Verifiers::of(&signer())
}

pub fn opens(bytes: &[u8]) -> Result<(), &'static str> {
    open(bytes, &keys()).map(drop).map_err(|f| f.code)
}

/// A file from parts, signed with the right key whatever they say: what only a thief of the key, or a defect, could
/// make.
pub struct Forgery {
    codec: Codec,
    schema: Vec<u8>,
    leaves: Vec<Vec<u8>>,
    pub manifest: Manifest,
    marker: Option<[u8; 16]>,
    line: Option<String>,
    pub body: Option<Vec<u8>>,
}

impl Forgery {
    /// The sample, as it is.
    pub fn new() -> Self {
        let sealed = sealed(sample(Codec::Null));
        let leaves = read::records(&sealed.bytes).unwrap().map(|leaf| leaf.unwrap().bytes.to_vec()).collect();
        let schema = schema_bytes().to_vec();
        Self { codec: Codec::Null, schema, leaves, manifest: sealed.manifest, marker: None, line: None, body: None }
    }

    /// Makes root and body of the manifest those of the leaves.
    fn consistent(mut self) -> Self {
        let hashes: Vec<_> = self.leaves.iter().map(|leaf| Digest::leaf(leaf)).collect();
        self.manifest.root = crate::merkle::root(&hashes);
        self.manifest.body = Body::of(&self.body());
        self
    }

    pub fn marker(&self) -> [u8; 16] {
        self.marker.unwrap_or_else(|| schema::sync_marker(&self.schema, &self.manifest.root))
    }

    fn body(&self) -> Vec<u8> {
        if let Some(body) = &self.body {
            return body.clone();
        }
        let mut body = Vec::new();
        put_long(&mut body, self.leaves.len() as i64);
        put_bytes(&mut body, &self.leaves.concat());
        body.extend_from_slice(&self.marker());
        body
    }

    pub fn file(&self) -> Vec<u8> {
        let line = self.line.clone().unwrap_or_else(|| canonical::line(&self.manifest, 1 << 20).unwrap());
        let note = signer().sign(&line).unwrap();
        let mut file = frame::header(self.codec, &self.schema, &note, &self.marker()).unwrap();
        file.extend_from_slice(&self.body());
        file
    }
}

fn forged(change: impl FnOnce(&mut Forgery)) -> Vec<u8> {
    let mut forgery = Forgery::new();
    change(&mut forgery);
    forgery.file()
}

/// The leaf at `place` changed, everything else made to fit.
fn leaf(place: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut forgery = Forgery::new();
    change(&mut forgery.leaves[place]);
    forgery.consistent().file()
}

/// The sample, each part of its header given as bytes.
fn header(parts: &[(&str, &[u8])], count: i64, end: &[u8]) -> Vec<u8> {
    let sealed = sealed(sample(Codec::Null));
    let container = Container::parse(&sealed.bytes).unwrap();
    let mut file = b"Obj\x01".to_vec();
    put_long(&mut file, count);
    for (key, value) in parts {
        put_bytes(&mut file, key.as_bytes());
        put_bytes(&mut file, if value.is_empty() { part(&container, key) } else { value });
    }
    file.extend_from_slice(end);
    file.extend_from_slice(&container.marker);
    file.extend_from_slice(container.body);
    file
}

fn part<'a>(container: &Container<'a>, key: &str) -> &'a [u8] {
    match key {
        "avro.schema" => container.schema,
        "authseal.manifest" => container.note,
        _ => b"null",
    }
}

fn replaced(from: &str, to: &str) -> Vec<u8> {
    let line = canonical::line(&Forgery::new().manifest, 1 << 20).unwrap();
    assert!(line.contains(from), "{line}");
    forged(|f| f.line = Some(line.replacen(from, to, 1)))
}

fn header_vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let good = sealed(sample(Codec::Null)).bytes;
    let (c, s, m) = (("avro.codec", &b""[..]), ("avro.schema", &b""[..]), ("authseal.manifest", &b""[..]));
    let two = |text: &[u8]| {
        let note = String::from_utf8(text.to_vec()).unwrap();
        let signature = note.rsplit_once("\n\n").unwrap().1.to_string();
        note + signature.as_str()
    };
    let container = Container::parse(&good).unwrap();
    let note = String::from_utf8(container.note.to_vec()).unwrap();
    let line = note.split_once("\n\n").unwrap().0.to_string() + "\n";
    let other = Signer::from_seed("example.com/test/other", [1; 32]).unwrap().sign(&line).unwrap();
    let stranger = Signer::from_seed("example.com/test/seal", [2; 32]).unwrap().sign(&line).unwrap();
    let altered = note.replace("\"sequence\":7", "\"sequence\":8");
    let signed = |note: &str| header(&[c, s, ("authseal.manifest", note.as_bytes())], 3, &[0]);
    vec![
        ("empty file", code::NOT_A_SEGMENT, vec![]),
        ("another magic", code::NOT_A_SEGMENT, [b"Obj\x02", &good[4..]].concat()),
        ("cut in the header", code::HEADER_FORM, good[..200].to_vec()),
        ("cut before the sync marker", code::HEADER_FORM, good[..good.len() - container.body.len() - 1].to_vec()),
        ("metadata in another order", code::HEADER_FORM, header(&[s, c, m], 3, &[0])),
        ("metadata twice", code::HEADER_FORM, header(&[c, s, s], 3, &[0])),
        ("an unknown metadata key", code::HEADER_FORM, header(&[c, s, m, ("note", b"x")], 4, &[0])),
        ("metadata missing", code::HEADER_FORM, header(&[c, s], 2, &[0])),
        ("a second metadata block", code::HEADER_FORM, header(&[c, s, m], 3, b"\x02\x02a\x02b\0")),
        ("metadata with a byte count", code::HEADER_FORM, header(&[c, s, m], -3, &[0])),
        ("padded metadata count", code::HEADER_FORM, [b"Obj\x01\x86\0", &good[5..]].concat()),
        ("metadata too long", code::HEADER_FORM, header(&[c, ("avro.schema", &[b' '; 140_000]), m], 3, &[0])),
        ("an unknown codec", code::CODEC, header(&[("avro.codec", b"bzip2"), s, m], 3, &[0])),
        ("no signature", code::NOTE_FORM, signed(&line)),
        ("two signatures", code::NOTE_FORM, signed(&two(container.note))),
        (
            "a second signature by a stranger",
            code::NOTE_FORM,
            signed(&(note.clone() + stranger.rsplit_once("\n\n").unwrap().1)),
        ),
        ("not UTF-8", code::NOTE_FORM, header(&[c, s, ("authseal.manifest", b"\xff\n\n")], 3, &[0])),
        ("signed by a stranger", code::UNKNOWN_KEY, signed(&stranger)),
        ("signed under another name", code::UNKNOWN_KEY, signed(&other)),
        ("manifest edited under its signature", code::SIGNATURE, signed(&altered)),
    ]
}

fn manifest_vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("an unknown field", code::MANIFEST_UNKNOWN_FIELD, replaced("\"index\":null", "\"index\":null,\"x\":1")),
        ("an unknown nested field", code::MANIFEST_UNKNOWN_FIELD, replaced("\"offsets\":{", "\"offsets\":{\"x\":1,")),
        ("an unknown format", code::MANIFEST_FORM, replaced("segment@1", "segment@2")),
        ("an unknown kind", code::MANIFEST_FORM, replaced("\"data\"", "\"dust\"")),
        ("a field missing", code::MANIFEST_FORM, replaced(",\"index\":null", "")),
        ("a float", code::MANIFEST_FORM, replaced("\"sequence\":7", "\"sequence\":7.0")),
        ("a key twice", code::MANIFEST_FORM, replaced("\"sequence\":7", "\"sequence\":7,\"sequence\":7")),
        ("whitespace", code::MANIFEST_FORM, replaced("\"sequence\":7", "\"sequence\": 7")),
        ("two lines", code::MANIFEST_FORM, replaced("}\n", "}\n{}\n")),
        ("a heartbeat with leaves", code::MANIFEST_FORM, replaced("\"kind\":\"data\"", "\"kind\":\"heartbeat\"")),
        ("another origin than the key's", code::KEY_NAME, forged(|f| f.manifest.origin = "example.com/else".into())),
        ("another schema digest", code::SCHEMA_DIGEST, forged(|f| f.manifest.schema = Digest::of(b"x"))),
        ("another schema", code::SCHEMA_FORM, {
            let mut forgery = Forgery::new();
            forgery.schema = b"\"string\"".to_vec();
            forgery.manifest.schema = Digest::of(&forgery.schema);
            forgery.consistent().file()
        }),
        ("another sync marker", code::SYNC_MARKER, forged(|f| f.marker = Some([7; 16]))),
        (
            "another root",
            code::SYNC_MARKER,
            forged(|f| {
                f.marker = Some(f.marker());
                f.manifest.root = Digest::of(b"x");
            }),
        ),
    ]
}

fn body_vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let good = sealed(sample(Codec::Null)).bytes;
    let body = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forgery = Forgery::new();
        let mut body = forgery.body();
        change(&mut body);
        forgery.body = Some(body.clone());
        forgery.manifest.body = Body::of(&body);
        forgery.file()
    };
    let block = |count: i64, data: &[u8]| {
        let (data, marker) = (data.to_vec(), Forgery::new().marker());
        let mut out = Vec::new();
        put_long(&mut out, count);
        put_bytes(&mut out, &data);
        out.extend_from_slice(&marker);
        body(&|b| *b = out.clone())
    };
    let leaves = Forgery::new().leaves.concat();
    let large: Vec<u8> = vec![0; MAX_BLOCK + 1];
    vec![
        ("one byte more", code::BODY_LENGTH, [&good[..], b"x"].concat()),
        ("the last byte missing", code::BODY_LENGTH, good[..good.len() - 1].to_vec()),
        ("one bit flipped", code::BODY_DIGEST, {
            let mut bytes = good.to_vec();
            let at = bytes.len() - 40;
            bytes[at] ^= 4;
            bytes
        }),
        ("a last block without marker", code::BLOCK_FORM, body(&|b| b.truncate(b.len() - 3))),
        ("bytes after the last block", code::BLOCK_FORM, body(&|b| b.push(0))),
        ("a block without leaves", code::BLOCK_FORM, block(0, b"")),
        ("a negative count", code::BLOCK_FORM, block(-6, &leaves)),
        ("fewer leaves counted than there are", code::BLOCK_FORM, block(5, &leaves)),
        ("more leaves counted than there are", code::LEAF_FORM, block(7, &leaves)),
        ("another marker behind the block", code::SYNC_MARKER, body(&|b| *b.last_mut().unwrap() ^= 1)),
        ("a block too large", code::CODEC, block(2, &large)),
        ("a codec that the blocks are not in", code::CODEC, forged(|f| f.codec = Codec::Zstandard)),
    ]
}

fn leaf_vectors() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let with = |change: &dyn Fn(&mut Forgery)| {
        let mut forgery = Forgery::new();
        change(&mut forgery);
        forgery.consistent().file()
    };
    let mut map = Attributes::default();
    map.insert("a", "1");
    map.insert("b", "2");
    let outcome = record::Outcome::Event(Box::new(AuthEvent { attributes: map, ..AuthEvent::default() }));
    let mut mapped = SegmentBuilder::new(5, Codec::Null, 1);
    mapped.push_record(&raw(5, ""), &decoded(outcome)).unwrap();
    let mapped = sealed(mapped);
    let mapped = read::records(&mapped.bytes).unwrap().next().unwrap().unwrap().bytes.to_vec();
    let remapped = |from: &[u8], to: &[u8]| {
        let at = mapped.windows(from.len()).position(|w| w == from).unwrap();
        let changed = [&mapped[..at], to, &mapped[at + from.len()..]].concat();
        leaf(0, |l| *l = changed)
    };
    vec![
        ("a padded offset", code::LEAF_FORM, leaf(0, |l| drop(l.splice(0..1, [0x8a, 0])))),
        ("an unknown kind", code::LEAF_FORM, leaf(0, |l| l[1] = 8)),
        ("an event that calls itself opaque", code::LEAF_FORM, leaf(0, |l| l[1] = 4)),
        ("an opaque record that calls itself an event", code::LEAF_FORM, leaf(5, |l| l[1] = 0)),
        ("a gap with a timestamp", code::LEAF_FORM, leaf(1, |l| l[2] = 2)),
        ("a gap that ends before it begins", code::LEAF_FORM, leaf(1, |l| l[12] = 2)),
        ("a gap of an unknown cause", code::LEAF_FORM, leaf(1, |l| *l.last_mut().unwrap() = b'x')),
        (
            "a withheld value that is there",
            code::LEAF_FORM,
            leaf(2, |l| {
                let at = l.windows(9).position(|w| w == b"biometric").unwrap();
                l.splice(at - 3..at - 2, [2, 2, b'x']);
            }),
        ),
        (
            "a MAC too short",
            code::LEAF_FORM,
            leaf(2, |l| {
                let at = l.windows(32).position(|w| w == [9; 32]).unwrap();
                l.splice(at - 1..at + 1, [62]);
            }),
        ),
        ("map keys out of order", code::LEAF_FORM, remapped(b"\x04\x02a\x021\x02b\x022", b"\x04\x02b\x022\x02a\x021")),
        ("a map key twice", code::LEAF_FORM, remapped(b"\x04\x02a\x021\x02b\x022", b"\x04\x02a\x021\x02a\x022")),
        (
            "a map in two blocks",
            code::LEAF_FORM,
            remapped(b"\x04\x02a\x021\x02b\x022", b"\x02\x02a\x021\x02\x02b\x022"),
        ),
        (
            "a map with a byte count",
            code::LEAF_FORM,
            remapped(b"\x04\x02a\x021\x02b\x022", b"\x03\x10\x02a\x021\x02b\x022"),
        ),
        ("text that is not UTF-8", code::LEAF_FORM, remapped(b"\x02a\x021", b"\x02\xff\x021")),
        ("a record removed", code::OFFSETS, with(&|f| drop(f.leaves.remove(3)))),
        ("a record twice", code::OFFSETS, with(&|f| f.leaves.insert(3, f.leaves[3].clone()))),
        ("two records swapped", code::OFFSETS, with(&|f| f.leaves.swap(3, 4))),
        ("the first record removed", code::OFFSETS, with(&|f| drop(f.leaves.remove(0)))),
        ("the last record removed", code::OFFSETS, with(&|f| drop(f.leaves.pop()))),
        ("a record more", code::OFFSETS, with(&|f| f.leaves.push([&[26][..], &f.leaves[5][1..]].concat()))),
        (
            "counts of other kinds",
            code::COUNTS,
            forged(|f| (f.manifest.counts.rejections, f.manifest.counts.opaque) = (0, 2)),
        ),
        (
            "gaps of another cause",
            code::COUNTS,
            forged(|f| {
                f.manifest.counts.gaps = GapCounts { skipped: 3, ..GapCounts::default() };
            }),
        ),
        ("an earlier first event", code::TIMES, forged(|f| *f.manifest.times.first_event.as_mut().unwrap() -= 1)),
        ("a later last record", code::TIMES, forged(|f| *f.manifest.times.last_record.as_mut().unwrap() += 1)),
        ("a value changed, and the root not", code::ROOT, {
            let mut forgery = Forgery::new();
            let at = forgery.leaves[0].windows(3).position(|w| w == b"mia").unwrap();
            forgery.leaves[0][at] = b'n';
            forgery.manifest.body = Body::of(&forgery.body());
            forgery.file()
        }),
    ]
}

#[test]
fn every_mutation_has_its_reason_code() {
    assert_eq!(opens(&Forgery::new().file()), Ok(()), "the forger's tools make a good file when nothing is changed");
    let vectors = [header_vectors(), manifest_vectors(), body_vectors(), leaf_vectors()].concat();
    for (what, code, bytes) in &vectors {
        assert_eq!(opens(bytes), Err(*code), "{what}: {:?}", open(bytes, &keys()));
        let diagnosis = diagnose(bytes, &keys(), Some(&Forgery::new().manifest));
        assert!(diagnosis.faults.iter().any(|f| f.code == *code), "{what}: {diagnosis:?}");
        if let Ok(leaves) = read::records(bytes) {
            leaves.for_each(|leaf| drop(leaf.map(|l| l.record())));
        }
    }
    let seen: BTreeSet<_> = vectors.iter().map(|(_, code, _)| *code).collect();
    let of_a_segment = code::ALL.iter().map(|(code, _)| *code).take_while(|code| *code != code::ORIGIN);
    assert_eq!(seen, of_a_segment.collect(), "every code of one segment has a vector");
}

/// Turns two bits of each byte of the body, one at a time.
fn each_bit(codec: Codec, mut check: impl FnMut(usize, &Diagnosis)) {
    let good = sealed(sample(codec)).bytes;
    let start = good.len() - Container::parse(&good).unwrap().body.len();
    for at in start..good.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            assert!(opens(&bytes).is_err());
            check(at - start, &diagnose(&bytes, &keys(), None));
        }
    }
}

#[test]
fn one_turned_bit_is_found_in_its_record() {
    let leaves = Forgery::new().leaves;
    let framing = Forgery::new().body().len() - leaves.concat().len() - 16;
    let offsets = [5, 6, 9, 10, 11, 12];
    let (mut exact, mut all) = (0, 0);
    each_bit(Codec::Null, |at, diagnosis| {
        let mut end = framing;
        let place = leaves.iter().position(|leaf| {
            end += leaf.len();
            at >= framing && at < end
        });
        let Some(place) = place else { return };
        let found = diagnosis.faults.iter().find_map(|f| f.offset);
        all += 1;
        exact += usize::from(found == Some(offsets[place]));
    });
    // the rest are lengths: a record that swallows its neighbour, named with the one before or behind it
    assert!(exact * 100 >= all * 97, "{exact} of {all}");
}

#[test]
fn one_turned_bit_in_a_compressed_block_is_seen_and_placed() {
    for codec in [Codec::Zstandard, Codec::Deflate, Codec::Snappy] {
        each_bit(codec, |at, diagnosis| {
            assert!(diagnosis.opened.is_some() && diagnosis.faults[0].code == code::BODY_DIGEST, "{at}: {diagnosis:?}");
            let intact = diagnosis.faults[0].detail.contains("unchanged");
            assert!(intact || diagnosis.faults.len() > 1, "{codec:?} byte {at}: {diagnosis:?}");
        });
    }
}

#[test]
fn a_broken_block_is_told_by_its_neighbours() {
    for codec in [Codec::Zstandard, Codec::Snappy] {
        let mut builder = SegmentBuilder::new(0, codec, 1);
        for offset in 0..30_i64 {
            let noise = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ offset as u8);
            let value = Some(Bytes::from_iter(noise));
            let record = RawRecord { offset, value, ..RawRecord::default() };
            builder.push_record(&record, &decoded(record::Outcome::Opaque)).unwrap();
        }
        let mut bytes = sealed(builder).bytes.to_vec();
        let container = Container::parse(&bytes).unwrap();
        let start = bytes.len() - container.body.len();
        let mut blocks = frame::Blocks::new(container.body, container.marker);
        let first = blocks.next().unwrap().unwrap().count;
        let second = start + blocks.position();
        bytes[second + 20] ^= 0xff;
        let diagnosis = diagnose(&bytes, &keys(), None);
        let place = diagnosis.faults.iter().find(|f| f.code != code::BODY_DIGEST).unwrap();
        assert!((first..2 * first).contains(&place.offset.unwrap()), "{codec:?}: {diagnosis:?}");
        assert!(place.detail.contains(&format!("to {}", 2 * first - 1)), "{codec:?}: {diagnosis:?}");
        assert_eq!(diagnosis.faults[0].offset, place.offset);
    }
}

#[test]
fn a_file_written_again_with_the_same_records_is_told_from_changed_records() {
    let sealed = sealed(sample(Codec::Null));
    let leaves = Forgery::new().leaves;
    let mut forgery = Forgery::new();
    let mut body = Vec::new();
    for leaf in &leaves {
        put_long(&mut body, 1);
        put_bytes(&mut body, leaf);
        body.extend_from_slice(&forgery.marker());
    }
    forgery.body = Some(body);
    let faults = diagnose(&forgery.file(), &keys(), None).faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].code, code::BODY_LENGTH);
    assert!(faults[0].detail.contains("unchanged"), "{faults:?}");
    assert_eq!(opens(&sealed.bytes), Ok(()));
}
