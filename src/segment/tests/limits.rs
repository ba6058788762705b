//! Sizes and orders that a builder refuses, and what it does at its limits.

use super::*;
use crate::{error::Kind, note::Verifiers};

fn large(offset: i64, length: usize) -> RawRecord {
    RawRecord { offset, value: Some(Bytes::from(vec![b'x'; length])), ..RawRecord::default() }
}

#[test]
fn offsets_come_one_after_the_other() {
    let opaque = decoded(record::Outcome::Opaque);
    let mut builder = SegmentBuilder::new(5, Codec::Null, 1);
    for offset in [4, 6, -1, i64::MAX] {
        assert_eq!(builder.push_record(&raw(offset, ""), &opaque).unwrap_err().kind(), Kind::Bug);
    }
    for (from, to) in [(5, 5), (5, 4), (4, 6), (6, 7)] {
        assert!(builder.push_gap(Gap { from, to, cause: GapCause::Lost }).is_err(), "{from}..{to}");
    }
    assert_eq!((builder.from(), builder.to(), builder.records(), builder.uncompressed_bytes()), (5, 5, 0, 0));
    builder.push_gap(Gap { from: 5, to: i64::MAX, cause: GapCause::Skipped }).unwrap();
    assert!(builder.push_record(&raw(i64::MAX, ""), &opaque).is_err(), "there is no offset after it");
    assert_eq!(sealed(builder).manifest.counts.gaps.skipped, i64::MAX - 5);
}

#[test]
fn blocks_hold_a_mebibyte_or_one_record() {
    for codec in Codec::ALL {
        let mut builder = SegmentBuilder::new(0, codec, 1);
        let opaque = decoded(record::Outcome::Opaque);
        for length in [10, MAX_BLOCK + 1, 300_000, 300_000, 300_000, 300_000, 10, 3 * MAX_BLOCK, 10] {
            builder.push_record(&large(builder.to(), length), &opaque).unwrap();
        }
        assert!(builder.memory_bytes() < 16 * MAX_BLOCK);
        let sealed = sealed(builder);
        assert!(open(&sealed.bytes, &Verifiers::of(&signer())).is_ok());
        let container = frame::Container::parse(&sealed.bytes).unwrap();
        let mut blocks = frame::Blocks::new(container.body, container.marker);
        let counts: Vec<_> = std::iter::from_fn(|| blocks.next().unwrap()).map(|b| b.count).collect();
        assert_eq!(counts, [1, 1, 3, 2, 1, 1], "{codec:?}");
    }
}

#[test]
fn a_full_segment_takes_no_more_and_is_as_it_was() {
    let opaque = decoded(record::Outcome::Opaque);
    let mut builder = SegmentBuilder::new(0, Codec::Zstandard, 1);
    for _ in 0..3 {
        let record = large(builder.to(), MAX_VALUE);
        assert!(builder.has_room(&record) || builder.to() > 0);
        builder.push_record(&record, &opaque).unwrap();
    }
    let before = (builder.to(), builder.records(), builder.uncompressed_bytes());
    assert!(!builder.has_room(&large(3, MAX_VALUE)));
    assert!(builder.has_room(&large(3, 1000)));
    assert_eq!(builder.push_record(&large(3, MAX_VALUE), &opaque).unwrap_err().kind(), Kind::Data);
    assert_eq!((builder.to(), builder.records(), builder.uncompressed_bytes()), before);
    builder.push_record(&large(3, 1000), &opaque).unwrap();
    let sealed = sealed(builder);
    assert_eq!(
        records(&sealed.bytes).iter().map(|r| r.value.as_ref().unwrap().len()).sum::<usize>(),
        3 * MAX_VALUE + 1000
    );
}

#[test]
fn what_is_too_large_must_be_withheld() {
    let mut builder = SegmentBuilder::new(0, Codec::Null, 1);
    let record = large(0, MAX_VALUE + 1);
    assert_eq!(builder.push_record(&record, &decoded(record::Outcome::Opaque)).unwrap_err().kind(), Kind::Data);
    let length = record.size() as i64;
    let withheld = Withheld { code: "oversized", length, mac: [0; 32], scope: Scope::Value };
    let kept = Decoded { withheld: Some(withheld), ..decoded(record::Outcome::Opaque) };
    builder.push_record(&record, &kept).unwrap();
    // a key that no segment can hold: an empty segment says so instead of asking for another one
    let record = RawRecord { offset: 0, key: Some(Bytes::from(vec![0; MAX_SEGMENT])), ..RawRecord::default() };
    let mut empty = SegmentBuilder::new(0, Codec::Null, 1);
    assert!(empty.has_room(&record));
    assert_eq!(empty.push_record(&record, &decoded(record::Outcome::Opaque)).unwrap_err().kind(), Kind::Data);
    let withheld = Withheld { code: "oversized_record", length, mac: [0; 32], scope: Scope::Record };
    let kept = Decoded { withheld: Some(withheld), ..decoded(record::Outcome::Opaque) };
    empty.push_record(&record, &kept).unwrap();
    assert_eq!(records(&sealed(empty).bytes)[0].key, None);
}

#[test]
fn nothing_is_signed_that_does_not_agree() {
    let draft = || sample(Codec::Null).finish().unwrap();
    let refused = |draft: Draft, manifest: Manifest| seal(draft, manifest, &signer()).map(drop).unwrap_err();
    let good = manifest(&draft());
    type Change = fn(&mut Manifest);
    let changes: [(&str, Change); 7] = [
        ("offsets", |m| m.offsets.to += 1),
        ("counts", |m| (m.counts.events, m.counts.opaque) = (2, 2)),
        ("root", |m| m.root = Digest::of(b"x")),
        ("schema", |m| m.schema = Digest::of(b"x")),
        ("body", |m| m.body.bytes += 1),
        ("body", |m| m.body.sha256 = Digest::of(b"x")),
        ("times", |m| m.times.first_event = None),
    ];
    for (what, change) in changes {
        let mut manifest = good.clone();
        change(&mut manifest);
        let error = refused(draft(), manifest);
        assert!(error.to_string().contains(what) || error.kind() == Kind::Data, "{what}: {error}");
    }
    // a bit that turned in memory between building and sealing
    let flipped = |at: usize| {
        let mut draft = draft();
        draft.body[at] ^= 1;
        let manifest = manifest(&draft);
        refused(draft, manifest)
    };
    for at in 0..draft().body.len() {
        assert_eq!(flipped(at).kind(), Kind::Bug, "byte {at}");
    }
    let stranger = Signer::from_seed("example.com/other/seal", [1; 32]).unwrap();
    assert_eq!(seal(draft(), good, &stranger).map(drop).unwrap_err().kind(), Kind::Config);
}

#[test]
fn an_open_block_takes_no_more_memory_than_a_block() {
    let opaque = decoded(record::Outcome::Opaque);
    let mut builder = SegmentBuilder::new(0, Codec::Zstandard, 1);
    // four blocks of records that compress to next to nothing: what is held is the open block
    while builder.uncompressed_bytes() < 4 * MAX_BLOCK {
        builder.push_record(&large(builder.to(), 500), &opaque).unwrap();
        assert!(builder.memory_bytes() < MAX_BLOCK + MAX_BLOCK / 8, "{} bytes", builder.memory_bytes());
    }
    // one large record grows it, for as long as it is there
    builder.push_record(&large(builder.to(), 3 * MAX_BLOCK), &opaque).unwrap();
    assert!(builder.memory_bytes() >= 3 * MAX_BLOCK);
    for _ in 0..3 {
        builder.push_record(&large(builder.to(), 500), &opaque).unwrap();
    }
    assert!(builder.memory_bytes() < MAX_BLOCK + MAX_BLOCK / 8, "{} bytes", builder.memory_bytes());
    assert!(open(&sealed(builder).bytes, &Verifiers::of(&signer())).is_ok());
}
