//! Manifests: their one line, and every line and value that is none.

use super::*;
use crate::{merkle, retention::LockMode};
use proptest::prelude::*;

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

/// A manifest in which everything that can be set is set.
fn full() -> Manifest {
    Manifest {
        format: FORMAT.into(),
        origin: "example.com/auth".into(),
        chain: "main/auth.events/7/0".parse().unwrap(),
        sequence: 41,
        previous: Some(digest(1)),
        start: None,
        kind: SegmentKind::Data,
        offsets: Offsets { from: 100, to: 210 },
        counts: Counts {
            records: 12,
            events: 5,
            rejections: 3,
            opaque: 2,
            gaps: GapCounts { not_delivered: 40, lost: 60, ..GapCounts::default() },
        },
        root: digest(2),
        body: Body { bytes: 1234, sha256: digest(3) },
        schema: digest(4),
        times: Times {
            first_event: Some(-5),
            last_event: Some(7),
            first_record: Some(i64::MIN),
            last_record: Some(i64::MAX),
            sealed: 1_767_225_600_000,
        },
        next_by: 1_767_229_200_000,
        broker: Broker {
            cluster_id: Some("5L6g3nShT-eMCtK--X86sw".into()),
            topic_id: Some("é\n\"".into()),
            partitions: Some(12),
            leader_epoch: Some(0),
            log_start: Some(10),
            last_stable: Some(300),
            high_watermark: Some(301),
        },
        artifacts: Artifacts { rules: Some(digest(5)), decode: Some(digest(6)) },
        writer: Writer { version: "0.1.0".into(), instance: "host-1".into() },
        retention: Retention { mode: LockMode::Compliance, until: Some(1_798_761_600_000) },
        index: Some(digest(7)),
    }
}

/// The first segment of a chain, alive and empty.
fn first() -> Manifest {
    Manifest {
        sequence: 0,
        previous: None,
        start: Some(Start { reason: StartReason::New, detail: "first seen".into(), previous: None }),
        kind: SegmentKind::Heartbeat,
        offsets: Offsets { from: 0, to: 0 },
        counts: Counts::default(),
        root: merkle::empty_root(),
        body: Body::of(b""),
        times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed: 5 },
        next_by: 5,
        broker: Broker::default(),
        artifacts: Artifacts::default(),
        retention: Retention::NONE,
        index: None,
        ..full()
    }
}

#[test]
fn the_line_is_as_the_design_says() {
    let b64 = |n: u8| digest(n).base64();
    let line = full().line().unwrap();
    let want = [
        r#"{"format":"authseal/segment@1","origin":"example.com/auth","#.to_string(),
        r#""chain":{"cluster":"main","topic":"auth.events","partition":7,"incarnation":0},"sequence":41,"#.into(),
        format!(r#""previous":"{}","start":null,"kind":"data","offsets":{{"from":100,"to":210}},"#, b64(1)),
        r#""counts":{"records":12,"events":5,"rejections":3,"opaque":2,"gaps":{"not_delivered":40,"unexplained":0,"#
            .into(),
        format!(r#""lost":60,"before_chain":0,"skipped":0}}}},"root":"{}","#, b64(2)),
        format!(r#""body":{{"bytes":1234,"sha256":"{}"}},"schema":"{}","#, b64(3), b64(4)),
        r#""times":{"first_event":-5,"last_event":7,"first_record":-9223372036854775808,"#.into(),
        r#""last_record":9223372036854775807,"sealed":1767225600000},"next_by":1767229200000,"#.into(),
        r#""broker":{"cluster_id":"5L6g3nShT-eMCtK--X86sw","topic_id":"\u00e9\n\"","partitions":12,"leader_epoch":0,"#
            .into(),
        r#""log_start":10,"last_stable":300,"high_watermark":301},"#.into(),
        format!(r#""artifacts":{{"rules":"{}","decode":"{}"}},"#, b64(5), b64(6)),
        r#""writer":{"version":"0.1.0","instance":"host-1"},"#.into(),
        format!(r#""retention":{{"mode":"COMPLIANCE","until":1798761600000}},"index":"{}"}}"#, b64(7)),
        "\n".into(),
    ];
    assert_eq!(line, want.concat());
    assert_eq!(Manifest::parse(&line), Ok(full()));
    assert_eq!(Manifest::hash_of(&line), Digest::of_parts(&[&[0], line.as_bytes()]));
    let line = first().line().unwrap();
    assert!(line.contains(
        r#""previous":null,"start":{"reason":"new","detail":"first seen","previous":null},"kind":"heartbeat""#
    ));
    assert!(line.contains(r#""retention":{"mode":"NONE","until":null},"index":null}"#));
    assert_eq!(Manifest::parse(&line), Ok(first()));
}

/// Each change alone makes a manifest that is written by nobody and read by nobody.
#[test]
fn values_that_contradict_each_other_are_refused() {
    type Change = fn(&mut Manifest);
    let of_full: [(&str, Change); 34] = [
        ("another format", |m| m.format = "authseal/segment@2".into()),
        ("an empty origin", |m| m.origin = String::new()),
        ("an origin with a plus", |m| m.origin = "a+b".into()),
        ("an origin with a space", |m| m.origin = "a b".into()),
        ("a cluster with a slash", |m| m.chain.cluster = "a/b".into()),
        ("a topic of two dots", |m| m.chain.topic = "..".into()),
        ("a partition too large", |m| m.chain.partition = 100_000),
        ("an incarnation too large", |m| m.chain.incarnation = 10_000),
        ("a sequence too large", |m| m.sequence = 1_000_000_000_000),
        ("no previous", |m| m.previous = None),
        ("a start", |m| m.start = first().start),
        ("negative offsets", |m| (m.offsets.from, m.offsets.to) = (-10, 100)),
        ("offsets that run back", |m| (m.offsets.from, m.offsets.to) = (210, 100)),
        ("a heartbeat with offsets", |m| m.kind = SegmentKind::Heartbeat),
        ("a close with offsets", |m| m.kind = SegmentKind::Close),
        ("one offset too many", |m| m.offsets.to += 1),
        ("a negative count", |m| (m.counts.events, m.counts.opaque) = (-1, 8)),
        ("a negative gap", |m| (m.counts.gaps.lost, m.counts.gaps.skipped) = (101, -41)),
        ("counts that overflow", |m| (m.counts.events, m.counts.opaque) = (i64::MAX, i64::MAX)),
        ("a cause without a leaf", |m| m.counts.records = 11),
        ("more gap leaves than offsets", |m| m.counts.records = 111),
        ("no body", |m| m.body.bytes = 0),
        ("a negative body", |m| m.body.bytes = -1),
        ("events without times", |m| (m.times.first_event, m.times.last_event) = (None, None)),
        ("half of the event times", |m| m.times.last_event = None),
        ("half of the record times", |m| m.times.first_record = None),
        ("event times that run back", |m| m.times.last_event = Some(-6)),
        ("record times that run back", |m| (m.times.first_record, m.times.last_record) = (Some(1), Some(0))),
        ("sealed before 1970", |m| m.times.sealed = -1),
        ("a promise for the past", |m| m.next_by = m.times.sealed - 1),
        ("an unknown epoch as -1", |m| m.broker.leader_epoch = Some(-1)),
        ("an unknown watermark as -1001", |m| m.broker.high_watermark = Some(-1001)),
        ("a lock without an end", |m| m.retention.until = None),
        ("a lock with milliseconds", |m| m.retention.until = Some(1_798_761_600_001)),
    ];
    let of_first: [(&str, Change); 9] = [
        ("a previous", |m| m.previous = Some(digest(1))),
        ("no start", |m| m.start = None),
        ("a reset in incarnation 0", |m| m.start.as_mut().unwrap().reason = StartReason::Reset),
        ("new in incarnation 1", |m| m.chain.incarnation = 1),
        ("new behind another", |m| m.start.as_mut().unwrap().previous = Some(digest(1))),
        ("data without offsets", |m| m.kind = SegmentKind::Data),
        ("a root without leaves", |m| m.root = digest(1)),
        ("a body without leaves", |m| m.body.bytes = 1),
        ("no lock with an end", |m| m.retention.until = Some(0)),
    ];
    let cases = of_full.map(|c| (full(), c)).into_iter().chain(of_first.map(|c| (first(), c)));
    for (mut manifest, (what, change)) in cases {
        change(&mut manifest);
        assert!(manifest.line().is_err(), "{what}");
        let line = canonical::line(&manifest, usize::MAX).unwrap();
        assert_eq!(Manifest::parse(&line).map_err(|f| f.code), Err(code::MANIFEST_FORM), "{what}");
    }
}

#[test]
fn a_reset_names_what_was_before_or_nothing() {
    for previous in [None, Some(digest(9))] {
        let mut manifest = first();
        manifest.chain.incarnation = 1;
        manifest.start = Some(Start { reason: StartReason::Reset, detail: String::new(), previous });
        assert_eq!(Manifest::parse(&manifest.line().unwrap()), Ok(manifest));
    }
}

#[test]
fn other_spellings_are_refused() {
    let line = full().line().unwrap();
    for (from, to, want) in [
        ("\"index\":", "\"indexes\":", code::MANIFEST_UNKNOWN_FIELD),
        ("\"cluster\":", "\"note\":1,\"cluster\":", code::MANIFEST_UNKNOWN_FIELD),
        (",\"log_start\":10", "", code::MANIFEST_FORM),
        (",\"start\":null", "", code::MANIFEST_FORM),
        ("\"log_start\":10,\"last_stable\":300", "\"last_stable\":300,\"log_start\":10", code::MANIFEST_FORM),
        ("\"partitions\":12", "\"partitions\":12.0", code::MANIFEST_FORM),
        ("\"partitions\":12", "\"partitions\":1.2e1", code::MANIFEST_FORM),
        ("\"partitions\":12", "\"partitions\":\"12\"", code::MANIFEST_FORM),
        ("\"partitions\":12", "\"partitions\":12,\"partitions\":12", code::MANIFEST_FORM),
        ("\"partitions\":12", "\"partitions\":9223372036854775808", code::MANIFEST_FORM),
        ("\"sequence\":41", "\"sequence\":-41", code::MANIFEST_FORM),
        ("\"sequence\":41", "\"sequence\":041", code::MANIFEST_FORM),
        ("{\"format\"", "{ \"format\"", code::MANIFEST_FORM),
        ("}\n", "} \n", code::MANIFEST_FORM),
        ("}\n", "}", code::MANIFEST_FORM),
        ("}\n", "}\r\n", code::MANIFEST_FORM),
        ("}\n", "}\n\n", code::MANIFEST_FORM),
        ("\\u00e9", "\\u00E9", code::MANIFEST_FORM),
        ("\\u00e9", "é", code::MANIFEST_FORM),
        ("\\u00e9", "\\ud800", code::MANIFEST_FORM),
        ("host-1", "host\\u002d1", code::MANIFEST_FORM),
        ("\"COMPLIANCE\"", "\"compliance\"", code::MANIFEST_FORM),
        ("AQEB", "AQE=", code::MANIFEST_FORM),
        ("0.1.0", &"0".repeat(MAX_LINE), code::MANIFEST_FORM),
    ] {
        assert!(line.contains(from), "{from}");
        let changed = line.replacen(from, to, 1);
        assert_eq!(Manifest::parse(&changed).map_err(|f| f.code), Err(want), "{from} → {to}");
    }
    let long = Manifest { writer: Writer { instance: "x".repeat(MAX_LINE), ..full().writer }, ..full() };
    assert!(long.line().unwrap_err().to_string().contains("4096 bytes"));
}

proptest! {
    #[test]
    fn any_text_in_a_manifest_reads_back(text: String) {
        let manifest = Manifest { writer: Writer { version: text.clone(), instance: text }, ..full() };
        if let Ok(line) = manifest.line() {
            prop_assert!(line.is_ascii() && line.len() <= MAX_LINE);
            prop_assert_eq!(Manifest::parse(&line), Ok(manifest));
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text: String) {
        prop_assert!(Manifest::parse(&text).is_err());
    }

    #[test]
    fn a_changed_byte_is_another_manifest_or_none(at: prop::sample::Index, byte: u8) {
        let line = full().line().unwrap();
        let mut changed = line.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(changed) = String::from_utf8(changed)
            && let Ok(manifest) = Manifest::parse(&changed)
        {
            prop_assert_eq!(manifest == full(), changed == line);
            prop_assert_eq!(manifest.line().unwrap(), changed);
        }
    }
}
