//! What is pushed is what is sealed, opened and read.

use super::{strategies::*, *};
use crate::note::Verifiers;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_record_that_kafka_can_deliver_is_sealed_and_reads_back(
        from in 0..i64::MAX / 2, codec in codec(), items in items(),
    ) {
        let (builder, want) = build(from, codec, &items);
        prop_assert_eq!(builder.records(), want.len());
        let sealed = sealed(builder);
        let opened = open(&sealed.bytes, &Verifiers::of(&signer()));
        let manifest = sealed.manifest.clone();
        prop_assert_eq!(&opened, &Ok(Opened { manifest, hash: sealed.hash, signed_by: signer().id().to_string() }));
        prop_assert_eq!(records(&sealed.bytes), want);
        prop_assert!(diagnose(&sealed.bytes, &Verifiers::of(&signer()), None).faults.is_empty());
    }

    #[test]
    fn the_manifest_says_what_the_leaves_say(codec in codec(), items in items()) {
        let (builder, leaves) = build(3, codec, &items);
        let draft = builder.finish().unwrap();
        let of = |kind| leaves.iter().filter(|l| l.kind == kind).count() as i64;
        prop_assert_eq!(draft.counts.records, leaves.len() as i64);
        prop_assert_eq!(draft.counts.events, of(LeafKind::Event));
        prop_assert_eq!(draft.counts.rejections, of(LeafKind::Rejection));
        prop_assert_eq!(draft.counts.opaque, of(LeafKind::Opaque));
        for (cause, count) in GapCause::ALL.into_iter().zip(draft.counts.gaps.all()) {
            let gaps = leaves.iter().filter_map(|l| l.gap).filter(|g| g.cause == cause);
            prop_assert_eq!(count, gaps.map(|g| g.to - g.from).sum::<i64>());
        }
        let times = || leaves.iter().filter_map(|l| l.event.as_ref()).map(|e| e.time.0.div_euclid(1000));
        prop_assert_eq!((draft.times.first_event, draft.times.last_event), (times().min(), times().max()));
        let stamps = || leaves.iter().filter(|l| l.timestamp_type != TimestampType::None).map(|l| l.timestamp);
        prop_assert_eq!((draft.times.first_record, draft.times.last_record), (stamps().min(), stamps().max()));
    }

    #[test]
    fn the_same_records_make_the_same_bytes(codec in codec(), items in items()) {
        let bytes = || sealed(build(0, codec, &items).0).bytes;
        prop_assert_eq!(bytes(), bytes());
    }
}

#[test]
fn a_mixed_segment_opens_with_every_codec_and_has_one_root() {
    let roots: Vec<_> = Codec::ALL
        .map(|codec| {
            let sealed = sealed(sample(codec));
            assert!(open(&sealed.bytes, &Verifiers::of(&signer())).is_ok());
            let name = codec.name().as_bytes();
            assert!(
                sealed.bytes.starts_with(&[&b"Obj\x01\x06\x14avro.codec"[..], &[2 * name.len() as u8], name].concat())
            );
            sealed.manifest.root
        })
        .into();
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn an_empty_segment_is_a_header_alone() {
    for (kind, name) in [(SegmentKind::Heartbeat, "heartbeat"), (SegmentKind::Close, "close")] {
        let draft = SegmentBuilder::new(40, Codec::Zstandard, 3).finish().unwrap();
        let manifest = Manifest { kind, ..manifest(&draft) };
        let sealed = seal(draft, manifest, &signer()).unwrap();
        assert_eq!(records(&sealed.bytes), []);
        assert!(
            sealed
                .manifest
                .line()
                .unwrap()
                .contains(&format!("\"kind\":\"{name}\",\"offsets\":{{\"from\":40,\"to\":40}}"))
        );
    }
}

#[test]
fn parts_of_a_record_share_the_memory_of_their_block() {
    let sealed = sealed(sample(Codec::Null));
    let leaf = read::records(&sealed.bytes).unwrap().next().unwrap().unwrap();
    let (value, leaf) = (leaf.record().unwrap().value.unwrap(), leaf.bytes.clone());
    assert!(leaf.as_ptr_range().contains(&value.as_ptr()));
}
