//! Segments from records to objects and back, by every path.

use super::*;
use crate::{
    event::{AuthEvent, Micros},
    note::Signer,
    record::{self, Decoded, Gap, GapCause, Header, RawRecord, Rejection, Scope, TimestampType, Withheld},
    retention::Retention,
};

mod damage;
mod limits;
mod oracle;
mod round_trip;
mod schemas;
mod strategies;
mod tamper;

const ORIGIN: &str = "example.com/test";

fn signer() -> Signer {
    Signer::from_seed(&format!("{ORIGIN}/seal"), [1; 32]).unwrap()
}

/// A manifest that fits a draft.
fn manifest(draft: &Draft) -> Manifest {
    Manifest {
        format: FORMAT.into(),
        origin: ORIGIN.into(),
        chain: "main/auth/3/0".parse().unwrap(),
        sequence: 7,
        previous: Some(Digest::of(b"before")),
        start: None,
        kind: if draft.counts.records > 0 { SegmentKind::Data } else { SegmentKind::Heartbeat },
        offsets: draft.offsets,
        counts: draft.counts,
        root: draft.root,
        body: draft.body(),
        schema: schema_digest(),
        times: Times { sealed: 1_767_225_600_000, ..draft.times },
        next_by: 1_767_229_200_000,
        broker: Broker::default(),
        artifacts: Artifacts::default(),
        writer: Writer { version: "0.1.0".into(), instance: "test".into() },
        retention: Retention::NONE,
        index: None,
    }
}

fn sealed(builder: SegmentBuilder) -> Sealed {
    let draft = builder.finish().unwrap();
    let manifest = manifest(&draft);
    seal(draft, manifest, &signer()).unwrap()
}

fn records(bytes: &[u8]) -> Vec<SealedRecord> {
    read::records(bytes).unwrap().map(|leaf| leaf.unwrap().record().unwrap()).collect()
}

/// Whatever the decoders make of a record, as it is.
fn decoded(outcome: record::Outcome) -> Decoded {
    Decoded { outcome, withheld: None, schema_id: None }
}

fn event(user: &str, seconds: i64) -> record::Outcome {
    record::Outcome::Event(Box::new(AuthEvent {
        event_id: format!("id-{user}-{seconds}").into(),
        time: Micros(seconds * 1_000_000),
        source: "sshd".into(),
        user: Some(user.into()),
        ..AuthEvent::default()
    }))
}

fn raw(offset: i64, value: &'static str) -> RawRecord {
    RawRecord {
        offset,
        timestamp: 1_767_225_000_000_i64.wrapping_add(offset),
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from_static(b"key")),
        headers: vec![Header { key: Bytes::from_static(b"\xff\xfe"), value: None }],
        value: Some(Bytes::from_static(value.as_bytes())),
    }
}

/// Offsets 5 to 11: an event, a gap of three, a rejection whose value is withheld, two events, an opaque record.
fn sample(codec: Codec) -> SegmentBuilder {
    let mut builder = SegmentBuilder::new(5, codec, 3);
    builder.push_record(&raw(5, "{\"user\":\"mia\"}"), &decoded(event("mia", 1_767_225_000))).unwrap();
    builder.push_gap(Gap { from: 6, to: 9, cause: GapCause::Lost }).unwrap();
    let withheld = Withheld { code: "biometric", length: 4, mac: [9; 32], scope: Scope::Value };
    let outcome = record::Outcome::Rejection(Rejection::new("biometric", "field face holds an image"));
    let rejected = Decoded { outcome, withheld: Some(withheld), schema_id: None };
    builder.push_record(&raw(9, "face"), &rejected).unwrap();
    builder.push_record(&raw(10, "{\"user\":\"tom\"}"), &decoded(event("tom", 1_767_225_001))).unwrap();
    builder.push_record(&raw(11, "{\"user\":\"eva\"}"), &decoded(event("eva", 1_767_225_002))).unwrap();
    builder.push_record(&raw(12, "plain"), &decoded(record::Outcome::Opaque)).unwrap();
    builder
}
