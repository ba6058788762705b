//! Whether the cost of an event depends on how long a window is, how many events are in it, and how many keys there
//! are.

use crate::measure::Cost;
use authseal::{
    artifact::File,
    detect::{Detector, Finding, Input, Limits, RuleSet},
    event::{Activity, AuthEvent, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use std::{sync::Arc, time::Duration};

const START: i64 = 1_796_000_000_000;
/// Events judged at a stretch.
const BATCH: u64 = 5_000;
/// Rounds that are measured.
const ROUNDS: usize = 40;

/// A window of so many seconds, with so many events of each of so many keys in it.
struct Case {
    name: &'static str,
    seconds: u64,
    in_window: u64,
    keys: u64,
    detector: Detector,
    findings: Vec<Finding>,
    number: u64,
    cost: Cost,
}

impl Case {
    fn new(name: &'static str, seconds: u64, in_window: u64, keys: u64) -> Self {
        // the gate is never reached: the window is all that costs
        let text = format!(
            "rule(\"B-1\", #{{ name: \"bench\", severity: LOW, runbook: \"none\",
            when: activity == LOGON, key: [tenant], window: \"{seconds}s\",
            agg: #{{ n: count(), users: distinct(user), most: max_per(user),
            none: count_if(user == ()) }}, at_least: #{{ none: 1 }}, dedup: \"1d\" }});"
        );
        let file = File { path: "bench.rhai".into(), bytes: text.into() };
        let rules = RuleSet::load(&[file]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let limits = Limits { state_bytes: 1 << 30, lateness: Duration::from_secs(1) };
        let detector = Detector::new(Arc::new(rules), limits);
        Self { name, seconds, in_window, keys, detector, findings: Vec::new(), number: 0, cost: Cost::default() }
    }

    /// The next events: keys take turns, and come so often that the window of each holds what it should.
    fn batch(&mut self, size: u64) -> Vec<Outcome> {
        let step = self.seconds as f64 * 1e6 / (self.in_window * self.keys) as f64;
        let event = |n: u64| AuthEvent {
            event_id: format!("7d3a1c52-{n:012}").into(),
            time: Micros(START * 1000 + (n as f64 * step) as i64),
            source: "bench".into(),
            tenant: Some(format!("tenant{}", n % self.keys).into()),
            activity: Activity::Logon,
            outcome: Ended::Failure,
            user: Some(format!("user{}", n * 7919 % 100_003 % self.in_window).into()),
            ..AuthEvent::default()
        };
        let events = (self.number..self.number + size).map(|n| Outcome::Event(Box::new(event(n)))).collect();
        self.number += size;
        events
    }

    fn judge(&mut self, batch: &[Outcome], chain: &Arc<ChainId>) {
        for outcome in batch {
            let Outcome::Event(event) = outcome else { continue };
            let now = event.time.millis() + 1;
            let offset = self.detector.totals().records as i64;
            let input = Input { chain, offset, timestamp: now, now, outcome };
            self.detector.judge(&input, &mut self.findings);
        }
        assert!(self.findings.is_empty(), "the gate is never reached");
    }
}

/// Prints the costs as ratios to the first case.
pub fn curve() {
    let chain: Arc<ChainId> = Arc::new("main/auth.events/0/0".parse().expect("a chain"));
    let mut cases = [
        Case::new("a minute, 100 events, 10 keys", 60, 100, 10),
        Case::new("10 times the events", 60, 1_000, 10),
        Case::new("100 times the events", 60, 10_000, 10),
        Case::new("100 times the window, as many events", 6_000, 100, 10),
        Case::new("100 times the window and the events", 6_000, 10_000, 10),
        Case::new("1,000 times the keys", 60, 100, 10_000),
    ];
    for case in &mut cases {
        // windows are full before anything is measured
        let mut left = case.in_window * case.keys * 11 / 10;
        while left > 0 {
            let size = left.min(BATCH);
            let batch = case.batch(size);
            case.judge(&batch, &chain);
            left -= size;
        }
    }
    for _ in 0..ROUNDS {
        for case in &mut cases {
            let batch = case.batch(BATCH);
            let mut cost = Cost::default();
            cost.add(BATCH as usize, || case.judge(&batch, &chain));
            case.cost = case.cost.plus(cost);
        }
    }
    let base = cases[0].cost.each();
    println!("a rule with count, distinct and max_per, {} events of each case", ROUNDS as u64 * BATCH);
    for case in &cases {
        let (ns, bytes) = (case.cost.each(), case.detector.totals().bytes);
        println!("  {:40} {ns:6.0} ns, {:.2} times the first; {} KiB of state", case.name, ns / base, bytes >> 10);
    }
    println!();
}
