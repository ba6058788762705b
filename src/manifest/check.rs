//! What the values of a manifest must say of each other, whatever segment it belongs to.

use super::{Body, FORMAT, Manifest, SegmentKind, StartReason};
use crate::{
    digest::Digest,
    fault::{Fault, code},
    layout::MAX_SEQUENCE,
    merkle,
    position::is_kafka_name,
    retention::LockMode,
    store_info::is_origin,
};

/// Succeeds if `condition` holds.
fn must(condition: bool, otherwise: &str) -> Result<(), Fault> {
    if condition { Ok(()) } else { Err(Fault::new(code::MANIFEST_FORM, otherwise)) }
}

/// Checks one manifest by itself. Whether it is true of its segment, and continues its chain, is checked elsewhere.
pub(super) fn values(m: &Manifest) -> Result<(), Fault> {
    must(m.format == FORMAT, "format is not authseal/segment@1")?;
    must(is_origin(&m.origin), "origin cannot be one")?;
    must(is_kafka_name(&m.chain.cluster), "chain.cluster is no name")?;
    must(is_kafka_name(&m.chain.topic), "chain.topic is no topic name")?;
    must(m.chain.partition < 100_000, "chain.partition is over 99999")?;
    must(m.chain.incarnation < 10_000, "chain.incarnation is over 9999")?;
    must(m.sequence <= MAX_SEQUENCE, "sequence has more than 12 digits")?;
    start(m)?;
    must(0 <= m.offsets.from && m.offsets.from <= m.offsets.to, "offsets are not 0 ≤ from ≤ to")?;
    counts(m)?;
    contents(m)?;
    times(m)?;
    broker(m)?;
    let locked = m.retention.mode != LockMode::None;
    must(locked == m.retention.until.is_some(), "retention.until is null without a lock, and only then")?;
    let whole = m.retention.until.is_none_or(|until| until >= 0 && until % 1000 == 0);
    must(whole, "retention.until is not in whole seconds")
}

fn start(m: &Manifest) -> Result<(), Fault> {
    must((m.sequence == 0) == m.previous.is_none(), "previous is null at sequence 0, and only there")?;
    must((m.sequence == 0) == m.start.is_some(), "start is set at sequence 0, and only there")?;
    let Some(start) = &m.start else { return Ok(()) };
    let new = start.reason == StartReason::New;
    must(new == (m.chain.incarnation == 0), "start.reason is new in incarnation 0, and only there")?;
    must(!new || start.previous.is_none(), "start.previous is null where start.reason is new")
}

fn counts(m: &Manifest) -> Result<(), Fault> {
    let c = &m.counts;
    let gaps = c.gaps.all();
    let all = [c.records, c.events, c.rejections, c.opaque].into_iter().chain(gaps);
    must(all.into_iter().all(|n| n >= 0), "a count is negative")?;
    let sum = |numbers: &[i64]| numbers.iter().try_fold(0_i64, |sum, n| sum.checked_add(*n));
    let (kept, gone) = (sum(&[c.events, c.rejections, c.opaque]), sum(&gaps));
    let (Some(kept), Some(gone)) = (kept, gone) else { return must(false, "the counts overflow") };
    must(kept.checked_add(gone) == Some(m.offsets.to - m.offsets.from), "the counts do not add up to the offsets")?;
    // each leaf that is none of the three is a gap of at least one offset, and a leaf has one cause
    let causes = gaps.iter().filter(|n| **n > 0).count() as i64;
    let leaves = c.records.checked_sub(kept).unwrap_or(-1);
    must(causes <= leaves && leaves <= gone, "counts.records does not add up")
}

fn contents(m: &Manifest) -> Result<(), Fault> {
    if m.kind == SegmentKind::Data {
        must(m.offsets.from < m.offsets.to, "a data segment covers no offset")?;
        return must(m.body.bytes > 0, "a data segment has no body");
    }
    must(m.offsets.from == m.offsets.to, "a segment without records covers offsets")?;
    must(m.body == Body { bytes: 0, sha256: Digest::of(b"") }, "a segment without records has a body")?;
    must(m.root == merkle::empty_root(), "a segment without records has the root of one with records")
}

fn times(m: &Manifest) -> Result<(), Fault> {
    let t = &m.times;
    let ordered = |first: Option<i64>, last: Option<i64>| match (first, last) {
        (None, None) => true,
        (Some(first), Some(last)) => first <= last,
        _ => false,
    };
    must(ordered(t.first_event, t.last_event), "times.first_event and last_event contradict each other")?;
    must(ordered(t.first_record, t.last_record), "times.first_record and last_record contradict each other")?;
    must(
        (m.counts.events > 0) == t.first_event.is_some(),
        "times of events are set where there are events, and only there",
    )?;
    let records = m.counts.events > 0 || m.counts.rejections > 0 || m.counts.opaque > 0;
    must(records || t.first_record.is_none(), "times of records are set without a record")?;
    must(t.sealed >= 0, "times.sealed is negative")?;
    must(m.next_by >= t.sealed, "next_by is before times.sealed")
}

fn broker(m: &Manifest) -> Result<(), Fault> {
    let b = &m.broker;
    let numbers = [b.partitions, b.leader_epoch, b.log_start, b.last_stable, b.high_watermark];
    must(numbers.into_iter().flatten().all(|n| n >= 0), "a number of broker is negative: what is unknown is null")
}
