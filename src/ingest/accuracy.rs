//! How well the events of a source are understood: counted locally for each event, told once a second. Labels are names
//! of the configuration and of the schema, never what an event says.

use crate::{
    decode::WHYS,
    event::{Activity, AuthEvent, Field, Outcome as Ended},
    record::{Decoded, Outcome, RawRecord, TimestampType},
    telemetry::*,
};
use metrics::counter;
use std::{collections::BTreeSet, sync::Arc};

/// Names of sources that may stand in labels.
pub type KnownSources = Arc<BTreeSet<String>>;

/// The source of events that name none of the known ones.
const OTHER: &str = "other";
const ACTIVITIES: usize = Activity::SYMBOLS.len();
const OUTCOMES: usize = Ended::SYMBOLS.len();
const FIELDS: usize = Field::ALL.len();
/// Upper bounds of an event's time less its record's, in seconds.
const SKEWS: [i64; 11] = [-86_400, -3600, -300, -60, -10, -1, 1, 10, 60, 300, 3600];
/// Milliseconds. Records from before 2000 have no time: producers that give seconds, or nothing.
const SANE: i64 = 946_684_800_000;

struct Source {
    name: String,
    events: [[u64; OUTCOMES]; ACTIVITIES],
    fields: [u64; FIELDS],
    /// Of records with the producer's time, and with the broker's: events by bound, and those beyond all.
    skews: [[u64; SKEWS.len() + 1]; 2],
    touched: bool,
}

/// What one partition's events say, by source.
pub struct Accuracy {
    topic: String,
    known: KnownSources,
    sources: Vec<Source>,
    last: usize,
}

impl Accuracy {
    /// Of a topic.
    pub fn new(topic: &str, known: KnownSources) -> Self {
        Self { topic: topic.to_owned(), known, sources: Vec::new(), last: 0 }
    }

    /// Counts a record.
    pub fn count(&mut self, raw: &RawRecord, decoded: &Decoded) {
        let Outcome::Event(event) = &decoded.outcome else { return };
        let at = self.source(&event.source);
        let Some(source) = self.sources.get_mut(at) else { return };
        source.touched = true;
        source.events[event.activity as usize][event.outcome as usize] += 1;
        let mut filled = event.filled();
        while filled != 0 {
            source.fields[filled.trailing_zeros() as usize] += 1;
            filled &= filled - 1;
        }
        if let Some((clock, skew)) = skew(raw, event) {
            // in whole seconds, away from zero: 1.5 s ahead is more than 1
            let seconds = skew.div_euclid(1000) + i64::from(skew.rem_euclid(1000) > 0);
            source.skews[clock][SKEWS.partition_point(|bound| *bound < seconds)] += 1;
        }
        for entry in &event.quality {
            quality(&self.topic, &source.name, entry);
        }
    }

    fn source(&mut self, name: &str) -> usize {
        if self.sources.get(self.last).is_some_and(|source| source.name == name) {
            return self.last;
        }
        let name = if self.known.contains(name) { name } else { OTHER };
        let found = self.sources.iter().position(|source| source.name == name);
        self.last = found.unwrap_or_else(|| {
            self.sources.push(Source {
                name: name.to_owned(),
                events: [[0; OUTCOMES]; ACTIVITIES],
                fields: [0; FIELDS],
                skews: Default::default(),
                touched: false,
            });
            self.sources.len() - 1
        });
        self.last
    }

    /// Tells what was counted since the last time.
    pub fn tell(&mut self) {
        for source in self.sources.iter_mut().filter(|source| source.touched) {
            source.touched = false;
            let of = || [("topic", self.topic.clone()), ("source", source.name.clone())];
            for (activity, outcomes) in Activity::SYMBOLS.iter().zip(&mut source.events) {
                for (outcome, count) in Ended::SYMBOLS.iter().zip(outcomes) {
                    if *count > 0 {
                        let [topic, source] = of();
                        let said = [("activity", (*activity).to_owned()), ("outcome", (*outcome).to_owned())];
                        let [activity, outcome] = said;
                        counter!(EVENTS, &[topic, source, activity, outcome]).increment(std::mem::take(count));
                    }
                }
            }
            for (field, count) in Field::ALL.iter().zip(&mut source.fields) {
                if *count > 0 {
                    let [topic, source] = of();
                    let labels = [topic, source, ("field", field.name().to_owned())];
                    counter!(EVENT_FIELDS, &labels).increment(std::mem::take(count));
                }
            }
            for (clock, counts) in ["producer", "broker"].iter().zip(&mut source.skews) {
                if counts.iter().all(|count| *count == 0) {
                    continue;
                }
                let bounds = SKEWS.iter().map(i64::to_string).chain(["+Inf".to_owned()]);
                let mut below = 0;
                for (bound, count) in bounds.zip(std::mem::take(counts)) {
                    below += count;
                    let [topic, source] = of();
                    let labels = [topic, source, ("clock", (*clock).to_owned()), ("le", bound)];
                    counter!(EVENT_SKEW, &labels).increment(below);
                }
            }
        }
    }
}

impl Drop for Accuracy {
    /// The partition goes elsewhere: what was counted is told.
    fn drop(&mut self) {
        self.tell();
    }
}

/// By whose clock the record has its time, and by how many milliseconds its event is ahead of it.
fn skew(raw: &RawRecord, event: &AuthEvent) -> Option<(usize, i64)> {
    let clock = match raw.timestamp_type {
        TimestampType::CreateTime => 0,
        TimestampType::LogAppendTime => 1,
        TimestampType::None => return None,
    };
    (raw.timestamp >= SANE).then(|| (clock, event.time.millis().saturating_sub(raw.timestamp)))
}

/// Counts an entry of `quality` that decoding makes. What producers say themselves is not told.
fn quality(topic: &str, source: &str, entry: &str) {
    let Some((name, why)) = entry.rsplit_once(':') else { return };
    let Some(why) = WHYS.iter().find(|known| **known == why) else { return };
    let field = match name {
        "attributes" | "json" | "line" => name,
        name => match Field::from_name(name) {
            Some(field) => field.name(),
            None => return,
        },
    };
    let labels = [("topic", topic), ("source", source), ("field", field), ("why", why)];
    counter!(EVENT_QUALITY, &labels.map(|(name, value)| (name, value.to_owned()))).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Micros;
    use metrics_exporter_prometheus::PrometheusBuilder;

    const TOLD: [&str; 4] = ["src_ip:invalid", "attributes:name_too_long", "attributes:reserved", "line:not_utf8"];
    const UNTOLD: [&str; 2] = ["mine:odd", "user:mine"];

    #[test]
    fn what_is_understood_of_a_source_can_be_read_off() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let base = 1_767_571_200_000;
        metrics::with_local_recorder(&recorder, || {
            let mut accuracy = Accuracy::new("auth", Arc::new(["okta".to_owned()].into()));
            for (source, user, ahead) in [("okta", true, 0), ("okta", false, 61_000), ("x\"y", true, -4000)] {
                let event = AuthEvent {
                    time: Micros((base + ahead) * 1000),
                    source: source.into(),
                    activity: Activity::Logon,
                    user: user.then(|| "alice".into()),
                    quality: TOLD.iter().chain(&UNTOLD).map(|entry| (*entry).into()).collect(),
                    ..AuthEvent::default()
                };
                let outcome = Outcome::Event(Box::new(event));
                let decoded = Decoded { outcome, withheld: None, schema_id: None };
                let timestamp_type = TimestampType::LogAppendTime;
                accuracy.count(&RawRecord { timestamp: base, timestamp_type, ..RawRecord::default() }, &decoded);
            }
            accuracy.tell();
            accuracy.tell();
        });
        let text = handle.render();
        for line in [
            r#"authseal_events_total{topic="auth",source="okta",activity="LOGON",outcome="UNKNOWN"} 2"#,
            r#"authseal_events_total{topic="auth",source="other",activity="LOGON",outcome="UNKNOWN"} 1"#,
            r#"authseal_event_fields_total{topic="auth",source="okta",field="user"} 1"#,
            r#"authseal_event_fields_total{topic="auth",source="okta",field="time"} 2"#,
            r#"authseal_event_quality_total{topic="auth",source="okta",field="src_ip",why="invalid"} 2"#,
            r#"authseal_event_quality_total{topic="auth",source="okta",field="attributes",why="name_too_long"} 2"#,
            r#"authseal_event_quality_total{topic="auth",source="okta",field="attributes",why="reserved"} 2"#,
            r#"authseal_event_quality_total{topic="auth",source="okta",field="line",why="not_utf8"} 2"#,
            r#"authseal_event_skew_seconds_bucket{topic="auth",source="okta",clock="broker",le="1"} 1"#,
            r#"authseal_event_skew_seconds_bucket{topic="auth",source="okta",clock="broker",le="60"} 1"#,
            r#"authseal_event_skew_seconds_bucket{topic="auth",source="okta",clock="broker",le="300"} 2"#,
            r#"authseal_event_skew_seconds_bucket{topic="auth",source="okta",clock="broker",le="+Inf"} 2"#,
            r#"authseal_event_skew_seconds_bucket{topic="auth",source="other",clock="broker",le="-1"} 1"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("odd") && !text.contains("x\\\"y") && !text.contains("mine"), "{text}");
    }
}
