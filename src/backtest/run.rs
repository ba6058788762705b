//! Judging the records of a feed in the order of their times.

use super::{
    Options,
    feed::{Feed, Record},
    report::{Collector, Report},
    warm_from,
};
use crate::{
    detect::{Detector, Input, RuleSet},
    error::Result,
    position::ChainId,
    record::Outcome,
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Partitions without a record are told to be at their end after so long, in milliseconds of the time of records.
const TICK: i64 = 10_000;
/// After the last record everything that waits is judged: no rule waits longer than its horizon and this.
const AFTER: i64 = 86_400_000;

/// Judges all records of a feed with these rules. The same records give the same report.
pub fn run(mut feed: Feed, rules: &Arc<RuleSet>, options: &Options) -> Result<Report> {
    let from = warm_from(options.from, rules.horizon(), &options.limits).unwrap_or(i64::MIN);
    let to = options.to.unwrap_or(i64::MAX);
    let mut judge = Judge {
        detector: Detector::new(rules.clone(), options.limits.clone()),
        chains: Vec::new(),
        known: HashSet::new(),
        now: i64::MIN,
        ticked: i64::MIN,
        collector: Collector::new(rules, options.from),
    };
    while let Some(record) = feed.next()? {
        if (from..=to).contains(&record.time) {
            judge.record(&record);
            options.progress.records.fetch_add(1, Relaxed);
        }
    }
    Ok(judge.finish(rules))
}

struct Judge {
    detector: Detector,
    chains: Vec<Arc<ChainId>>,
    known: HashSet<Arc<ChainId>>,
    /// The latest time of a record: what a wall clock would have shown.
    now: i64,
    ticked: i64,
    collector: Collector,
}

impl Judge {
    fn record(&mut self, record: &Record) {
        self.now = self.now.max(record.time);
        if !self.known.contains(&record.chain) {
            self.known.insert(record.chain.clone());
            self.chains.push(record.chain.clone());
            self.detector.watch(&record.chain, self.now);
        }
        self.tick();
        let Record { chain, offset, timestamp, outcome, .. } = record;
        let input = Input { chain, offset: *offset, timestamp: *timestamp, now: self.now, outcome };
        self.detector.judge(&input, &mut self.collector.found);
        self.collector.count(record);
        self.collector.collect();
    }

    /// Everything before `now` was read: what had nothing to say since is at its end.
    fn tick(&mut self) {
        if self.now.saturating_sub(self.ticked) < TICK {
            return;
        }
        self.ticked = self.now;
        // what happened at this very moment is still to come
        let before = self.now.saturating_sub(1);
        for chain in &self.chains {
            self.detector.idle(chain, before, &mut self.collector.found);
        }
        self.collector.collect();
    }

    fn finish(mut self, rules: &RuleSet) -> Report {
        let horizon = i64::try_from(rules.horizon().as_millis()).unwrap_or(i64::MAX);
        let end = self.now.saturating_add(horizon).saturating_add(AFTER);
        for chain in &self.chains {
            self.detector.idle(chain, end, &mut self.collector.found);
        }
        self.collector.collect();
        self.collector.finish(self.chains.len(), self.detector.totals(), self.detector.rule_stats())
    }
}

impl Collector {
    fn count(&mut self, record: &Record) {
        self.report.records += 1;
        match &record.outcome {
            Outcome::Event(event) => {
                self.report.events += 1;
                let time = event.time.millis();
                self.report.first = Some(self.report.first.map_or(time, |first| first.min(time)));
                self.report.last = Some(self.report.last.map_or(time, |last| last.max(time)));
            }
            Outcome::Rejection(rejection) => {
                self.report.rejections += 1;
                *self.report.rejections_by_code.entry(rejection.code).or_default() += 1;
            }
            Outcome::Opaque => self.report.opaque += 1,
        }
    }
}
