//! Figures: what the workflow counts, and what it tells of its partitions once a second.

use super::{
    engine::Engine,
    lane::{Lane, State},
    status::LaneStatus,
};
use crate::{
    detect::Finding,
    event::Field,
    manifest::{Manifest, SegmentKind},
    position::TopicPartition,
    record::{Decoded, GapCause, Outcome, RawRecord},
    store::ReceiptKind,
    telemetry::*,
};
use metrics::{counter, gauge};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Counters of one partition, looked up once: a lookup by labels costs 150 ns, a cached handle 5.
pub struct Meter {
    topic: String,
    partition: String,
    events: metrics::Counter,
    rejections: metrics::Counter,
    opaque: metrics::Counter,
    bytes: metrics::Counter,
}

impl Meter {
    /// Of a partition.
    pub fn new(of: &TopicPartition) -> Self {
        let labels = [("topic", of.topic.to_string()), ("partition", of.partition.to_string())];
        let outcome = |outcome: &'static str| {
            let [topic, partition] = labels.clone();
            counter!(RECORDS, &[topic, partition, ("outcome", outcome.to_string())])
        };
        Self {
            events: outcome("event"),
            rejections: outcome("rejection"),
            opaque: outcome("opaque"),
            bytes: counter!(RECORD_BYTES, &labels),
            topic: of.topic.to_string(),
            partition: of.partition.to_string(),
        }
    }

    /// Counts a record that becomes a leaf.
    pub fn record(&self, raw: &RawRecord, decoded: &Decoded) {
        self.bytes.increment(raw.size() as u64);
        match &decoded.outcome {
            Outcome::Event(event) => {
                self.events.increment(1);
                // the names of fields are the only labels: who sends quality of their own makes no new ones
                for entry in &event.quality {
                    if let Some(field) = entry.strip_suffix(":unmapped").and_then(Field::from_name) {
                        counter!(UNMAPPED, "topic" => self.topic.clone(), "field" => field.name()).increment(1);
                    }
                }
            }
            Outcome::Opaque => self.opaque.increment(1),
            Outcome::Rejection(rejection) => {
                self.rejections.increment(1);
                counter!(REJECTIONS, "topic" => self.topic.clone(), "code" => rejection.code).increment(1);
            }
        }
        if let Some(withheld) = &decoded.withheld {
            counter!(WITHHELD, "topic" => self.topic.clone(), "code" => withheld.code).increment(1);
        }
    }

    /// Counts a segment that lies in the store.
    pub fn segment(&self, manifest: &Manifest, bytes: usize, receipt: &'static str) {
        let labels = [("topic", self.topic.clone()), ("partition", self.partition.clone())];
        let [topic, partition] = labels.clone();
        let kind = match manifest.kind {
            SegmentKind::Data => "data",
            SegmentKind::Heartbeat => "heartbeat",
            SegmentKind::Close => "close",
        };
        counter!(SEGMENTS, &[topic, partition, ("kind", kind.to_string())]).increment(1);
        counter!(SEGMENT_BYTES, &labels).increment(bytes as u64);
        counter!(RECEIPTS, "receipt" => receipt).increment(1);
        for (cause, offsets) in GapCause::ALL.iter().zip(manifest.counts.gaps.all()) {
            if offsets > 0 {
                let [topic, partition] = labels.clone();
                let labels = [topic, partition, ("cause", cause.name().to_string())];
                counter!(GAP_OFFSETS, &labels).increment(offsets.unsigned_abs());
            }
        }
    }
}

/// How a segment came to lie in the store.
pub fn receipt_name(kind: ReceiptKind) -> &'static str {
    match kind {
        ReceiptKind::Created => "created",
        ReceiptKind::OwnLostResponse => "own_lost_response",
    }
}

/// Counts a finding.
pub fn count_finding(finding: &Finding) {
    let mode = match (finding.live, finding.silenced) {
        (true, false) => "live",
        (true, true) => "silenced",
        (false, _) => "shadow",
    };
    let severity = finding.severity.name();
    if finding.is_update() {
        counter!(FINDING_UPDATES, "rule" => finding.rule.clone(), "mode" => mode).increment(1);
        return;
    }
    counter!(FINDINGS, "rule" => finding.rule.clone(), "severity" => severity, "mode" => mode).increment(1);
}

/// Tells where every partition stands.
pub(super) fn tell(engine: &mut Engine) {
    let mut lanes = BTreeMap::new();
    for lane in engine.lanes.values() {
        let mut status = lane_status(lane, engine.unacknowledged(lane), engine.detector.deferred(&lane.chain));
        status.unacknowledged = engine.outbox.lowest(&lane.partition);
        gauges(lane, &status, engine.now());
        super::topics::tell_held_back(lane, &engine.status);
        lanes.insert(lane.partition.clone(), status);
    }
    for (stream, messages) in engine.outbox.by_stream() {
        gauge!(PUBLISH_IN_FLIGHT, "stream" => stream).set(messages as f64);
    }
    engine.tell_registry();
    engine.lanes.values_mut().for_each(|lane| lane.accuracy.tell());
    super::sources::tell(engine);
    gauge!(BUFFER_BYTES).set(engine.memory() as f64);
    super::coverage::tell(&engine.options, engine.lanes.values(), &engine.status);
    engine.figures.tell(&engine.detector.rule_stats(), engine.detector.totals(), &engine.status);
    engine.status.set_lanes(lanes);
}

fn lane_status(lane: &Lane, unacknowledged: Option<i64>, deferred: Option<i64>) -> LaneStatus {
    let (state, error) = match &lane.state {
        State::Opening => ("resolving", None),
        State::Active { .. } => ("active", None),
        State::Held => ("held", None),
        State::Awaiting(_) => ("awaiting", None),
        State::Stopped(why) => ("stopped", Some(why.clone())),
    };
    LaneStatus {
        state,
        error,
        sealed_to: lane.sealed_to(),
        sequence: lane.head.as_ref().map(|h| h.sequence),
        next: lane.read_next(),
        end: lane.end.or(lane.broker.last_stable).or(lane.broker.high_watermark).map(|end| end.max(lane.read_next())),
        log_start: lane.broker.log_start,
        record_time: lane.record_time,
        sealed_at: lane.head.as_ref().map(|h| h.times.sealed),
        done_to: lane.done_to(unacknowledged, deferred),
        deferred,
        unacknowledged,
        buffered: lane.builder.records(),
    }
}

fn gauges(lane: &Lane, status: &LaneStatus, now: i64) {
    let labels = [("topic", lane.partition.topic.to_string()), ("partition", lane.partition.partition.to_string())];
    gauge!(DONE_OFFSET, &labels).set(status.done_to as f64);
    if lane.seals {
        gauge!(SEALED_OFFSET, &labels).set(status.sealed_to as f64);
        gauge!(SEAL_AGE, &labels).set(lane.seal_age(Instant::now()).as_secs_f64());
    }
    for state in ["resolving", "active", "held", "awaiting", "stopped"] {
        let [topic, partition] = labels.clone();
        let is = if status.state == state { 1.0 } else { 0.0 };
        gauge!(LANE_STATE, &[topic, partition, ("state", state.to_string())]).set(is);
    }
    if let Some(end) = status.end {
        let lag = (end - status.sealed_to).max(0);
        gauge!(LAG_OFFSETS, &labels).set(lag as f64);
        let behind = status.record_time.filter(|_| lag > 0).map_or(0, |time| now.saturating_sub(time).max(0));
        gauge!(LAG_SECONDS, &labels).set(behind as f64 / 1000.0);
    }
    let loss = lane.time_to_loss().map_or(f64::INFINITY, |left| left.as_secs_f64());
    gauge!(TIME_TO_LOSS, &labels).set(loss);
}
