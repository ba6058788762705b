//! Watching sources: what is read here of what they send, what is passed on to whoever comes next, and the figures.

use super::{
    engine::Engine,
    lane::{Lane, State},
    options::Options,
};
use crate::{
    detect::{Detector, Heard, NumberCounts, SourceTotals, Watch},
    telemetry::*,
};
use metrics::{counter, gauge};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The part of readiness that warns.
const PART: &str = "sources:coverage";

/// What a commit says of sources, beside all else.
#[derive(Deserialize)]
struct HeardNote {
    #[serde(default)]
    heard: Heard,
}

/// When sources were heard, as the metadata of a commit says; nothing if it is not ours.
pub(super) fn heard_in(metadata: &str) -> Heard {
    serde_json::from_str::<HeardNote>(metadata).map(|note| note.heard).unwrap_or_default()
}

/// What is read here of topics.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scope {
    /// Topics of which all of each numbering is read here.
    numbered: BTreeSet<String>,
    /// Topics of which it is not, although their sources number their events: how many partitions are read, of how
    /// many.
    partial: BTreeMap<String, (i64, i64)>,
    /// Whether every topic is read here wholly.
    everything: bool,
}

impl Scope {
    fn of<'a>(watch: &Watch, options: &Options, lanes: impl Iterator<Item = &'a Lane>) -> Self {
        let judged = options.topics.names().filter(|topic| options.live.judges(topic));
        // partitions here, and of all; a topic without any here is not read
        let mut shares: BTreeMap<&str, (i64, i64)> = judged.map(|topic| (topic, (0, 0))).collect();
        for lane in lanes.filter(|lane| lane.judges()) {
            let share = shares.entry(&lane.partition.topic).or_default();
            share.0 += 1;
            share.1 = share.1.max(lane.broker.partitions.unwrap_or(0));
        }
        let is_whole = |(here, all): &(i64, i64)| *all > 0 && here >= all;
        let mut scope = Self { everything: shares.values().all(is_whole), ..Self::default() };
        for (topic, share) in shares {
            let Some(by) = watch.sequences.get(topic).filter(|by| !by.is_empty()) else { continue };
            let parted = options.live.partition_fields(topic).filter(|fields| !fields.is_empty());
            // a numbering whose records all go to one partition is read by whoever reads that
            let together = parted.is_some_and(|fields| fields.iter().all(|field| by.contains(field)));
            if is_whole(&share) || together {
                scope.numbered.insert(topic.to_owned());
            } else if share.1 > 0 {
                scope.partial.insert(topic.to_owned(), share);
            }
        }
        scope
    }

    /// What cannot be told, in words.
    fn words(&self, watch: &Watch, known: bool) -> Option<String> {
        let mut words = Vec::new();
        for (topic, (here, all)) in &self.partial {
            words.push(format!(
                "holes in the numbers of {topic} are not told: {here} of its {all} partitions are read here, and it is \
                 not partitioned by fields of topics.sequence_by"
            ));
        }
        if known && !self.everything && !watch.expected.is_empty() {
            words.push(
                "silent sources are not told: others read a part of the topics. Let one process with roles = \
                 [\"detect\"] read all of them"
                    .to_owned(),
            );
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Engine {
    /// Tells the detector what is read here of what sources send.
    pub(super) fn scope_sources(&mut self) {
        let watch = &self.options.live.sources;
        if watch.is_idle() {
            return;
        }
        let scope = Scope::of(watch, &self.options, self.lanes.values());
        self.detector.scope_sources(&scope.numbered, scope.everything);
        let opening = |lane: &Lane| matches!(lane.state, State::Opening) || lane.broker.partitions.is_none();
        let known = !self.lanes.is_empty() && !self.lanes.values().any(opening);
        self.status.warn(PART, scope.words(watch, known));
    }

    /// Puts into every lane's commit when sources were heard. If we crash before it is committed, they were heard as
    /// the commit before says, and since then by what is read again.
    pub(super) fn pass_on_heard(&mut self) {
        if self.options.live.sources.expected.is_empty() {
            return;
        }
        let heard = Arc::new(self.detector.heard());
        self.lanes.values_mut().for_each(|lane| lane.heard = heard.clone());
    }
}

/// What was told so far of the detector that runs now.
#[derive(Default)]
pub struct SourceFigures {
    totals: SourceTotals,
    repeats: BTreeMap<String, u64>,
}

impl SourceFigures {
    /// Another detector begins, from zero.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Tells what became of sources since the last time.
    pub fn tell(&mut self, detector: &Detector, now: i64) {
        for (topic, count) in detector.repeats() {
            let before = self.repeats.insert(topic.clone(), *count).unwrap_or_default();
            counter!(REPEATS, "topic" => topic.clone()).increment(count.saturating_sub(before));
        }
        let totals = detector.source_totals();
        for (topic, counts) in &totals.numbers {
            let before = self.totals.numbers.get(topic).copied().unwrap_or_default();
            let grown = |of: fn(&NumberCounts) -> u64| of(counts).saturating_sub(of(&before));
            let labels = [("topic", topic.clone())];
            counter!(SOURCE_HOLES, &labels).increment(grown(|counts| counts.holes));
            counter!(SOURCE_MISSING, &labels).increment(grown(|counts| counts.missing));
            counter!(SOURCE_RESETS, &labels).increment(grown(|counts| counts.resets));
            counter!(SOURCE_AFTER_ALL, &labels).increment(grown(|counts| counts.after_all));
            counter!(SOURCE_UNJUDGED, &labels).increment(grown(|counts| counts.unjudged));
            gauge!(SOURCE_SEQUENCES, &labels).set(counts.followed as f64);
        }
        for (topic, count) in &totals.unknown {
            let before = self.totals.unknown.get(topic).copied().unwrap_or_default();
            counter!(SOURCE_UNKNOWN, "topic" => topic.clone()).increment(count.saturating_sub(before));
        }
        for source in detector.listened() {
            let labels = [("source", source.name.to_owned()), ("tenant", source.tenant.unwrap_or_default().to_owned())];
            gauge!(SOURCE_SILENT, &labels).set(if source.is_silent { 1.0 } else { 0.0 });
            if let Some(since) = source.since {
                gauge!(SOURCE_HEARD_AGE, &labels).set(now.saturating_sub(since).max(0) as f64 / 1000.0);
            }
        }
        self.totals = totals;
    }
}

/// Tells what became of sources.
pub(super) fn tell(engine: &mut Engine) {
    let now = engine.now();
    engine.source_figures.tell(&engine.detector, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_commit_says_of_sources_is_read_whatever_else_it_says() {
        let heard = Heard::from([("a1".to_owned(), 5), ("b2".to_owned(), -7)]);
        let note = super::super::plan::JudgeNote { judged: 3, record_time: None, heard: heard.clone() };
        assert_eq!(heard_in(&note.encode()), heard);
        assert_eq!(super::super::plan::JudgeNote::decode(&note.encode()), Some(note));
        assert_eq!(heard_in("not ours"), Heard::new());
        assert_eq!(heard_in(r#"{"judged":3,"record_time":null}"#), Heard::new());
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let watch = Watch {
            sequences: [("auth".to_owned(), vec!["source".to_owned()])].into_iter().collect(),
            ..Watch::default()
        };
        let partial = BTreeMap::from([("auth".to_owned(), (2, 3))]);
        let words = Scope { partial, ..Scope::default() }.words(&watch, true).unwrap();
        assert!(words.contains("auth") && words.contains("2 of its 3 partitions"), "{words}");
        assert_eq!(Scope { everything: true, ..Scope::default() }.words(&watch, true), None);
    }
}
