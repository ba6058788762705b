//! Rules, scripts and nothing, on the same events.

use crate::{
    measure::{Cost, resident_mib},
    naive::Naive,
    traffic::{Kind, Traffic},
};
use authseal::{
    artifact::File,
    demo,
    detect::{Detector, Finding, Input, Limits, RuleSet},
    position::ChainId,
    record::Outcome,
};
use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

/// Events judged at a stretch: some milliseconds of all rules.
const BATCH: usize = 5_000;
/// Partitions, by account.
const PARTITIONS: usize = 4;

/// A detector and where it is.
pub struct Judge {
    pub detector: Detector,
    chains: Vec<Arc<ChainId>>,
    offset: u64,
    pub findings: Vec<Finding>,
}

impl Judge {
    pub fn new(rules: RuleSet) -> Self {
        let limits = Limits { state_bytes: 2 << 30, lateness: Duration::from_secs(300) };
        let chain = |n: usize| Arc::new(format!("main/auth.events/{n}/0").parse().expect("a chain"));
        let chains = (0..PARTITIONS).map(chain).collect();
        Self { detector: Detector::new(Arc::new(rules), limits), chains, offset: 0, findings: Vec::new() }
    }

    pub fn judge(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.offset += 1;
            // it arrives as it happens
            let now = if let Outcome::Event(event) = outcome { event.time.0 / 1_000 + 20 } else { 0 };
            let at = match outcome {
                Outcome::Event(event) => event.user.as_ref().map_or(0, |user| user.len() + user.as_bytes()[9] as usize),
                _ => 0,
            };
            let chain = &self.chains[at % PARTITIONS];
            let input = Input { chain, offset: self.offset as i64, timestamp: now, now, outcome };
            self.detector.judge(&input, &mut self.findings);
        }
    }
}

fn shipped() -> RuleSet {
    RuleSet::load(&demo::rules()).expect("the shipped rules")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All rules, naive scripts (for so many events) and no rules on ordinary traffic of so many people.
pub fn ordinary(events: usize, scripted: usize, among: u64) {
    let mut traffic = Traffic::among(Kind::Ordinary, among);
    let (mut rules, mut none, mut naive) = (Judge::new(shipped()), Judge::new(RuleSet::empty()), Naive::new(root()));
    // [while the scripts ran too, in the second half]
    let mut costs = [[Cost::default(); 2]; 2];
    let mut scripts = Cost::default();
    let mut people = HashSet::new();
    let mut selected = [0_usize; 2];
    for done in (0..events).step_by(BATCH) {
        let batch = traffic.batch(BATCH);
        for event in
            batch.iter().filter_map(|outcome| if let Outcome::Event(event) = outcome { Some(event) } else { None })
        {
            people.insert(event.user.clone());
            let logon = event.activity == authseal::event::Activity::Logon;
            selected[0] += usize::from(logon && event.outcome == authseal::event::Outcome::Success);
            selected[1] += usize::from(logon && event.outcome == authseal::event::Outcome::Failure);
        }
        let mut spans = Vec::new();
        if done < scripted.min(events) {
            scripts.add(BATCH, || batch.iter().for_each(|outcome| naive.judge(outcome)));
            spans.push(0);
        }
        if done >= events / 2 {
            spans.push(1);
        }
        let mut cost = [Cost::default(); 2];
        cost[0].add(BATCH, || rules.judge(&batch));
        cost[1].add(BATCH, || none.judge(&batch));
        for span in spans {
            for (all, one) in costs.iter_mut().zip(cost) {
                all[span] = all[span].plus(one);
            }
        }
    }
    let of = |n: usize| n as f64 * 100.0 / events as f64;
    println!(
        "ordinary traffic: {events} events of {} accounts, {:.0} % logons that succeed, {:.0} % that fail",
        people.len(),
        of(selected[0]),
        of(selected[1])
    );
    let [with, without] = costs;
    println!("  CPU time of an event, and allocations    first {scripted}      second half");
    let rules_count = rules.detector.rule_stats().len();
    let line = |name: String, costs: [Cost; 2]| {
        println!(
            "  {name:36} {:8.0} ns {:6.2}   {:8.0} ns {:6.2}",
            costs[0].each(),
            costs[0].allocated(),
            costs[1].each(),
            costs[1].allocated()
        );
    };
    line("no rules".into(), without);
    line(format!("all {rules_count} rules"), with);
    println!("  {:36} {:8.0} ns {:6.2}", format!("{} naive scripts", naive.len()), scripts.each(), scripts.allocated());
    println!(
        "  scripts : rules = {:.0}, rules : none = {:.1}",
        scripts.each() / with[0].each(),
        with[1].each() / without[1].each()
    );
    let totals = rules.detector.totals();
    println!("  {} findings ({} of the scripts); {totals:?}\n", rules.findings.len(), naive.findings);
}

/// All rules and no rules, under each attack.
pub fn attack(events: usize) {
    println!("attacks: {events} events of each, nothing else between them; CPU time of an event in the second half");
    let mut judges = Vec::new();
    for kind in [Kind::Stuffing, Kind::Spray, Kind::Flood] {
        judges.push((
            kind,
            Traffic::new(kind),
            [Judge::new(shipped()), Judge::new(RuleSet::empty())],
            [Cost::default(); 2],
        ));
    }
    for done in (0..events).step_by(BATCH) {
        for (_, traffic, judges, costs) in &mut judges {
            let batch = traffic.batch(BATCH);
            for (judge, cost) in judges.iter_mut().zip(costs) {
                let mut one = Cost::default();
                one.add(BATCH, || judge.judge(&batch));
                if done >= events / 2 {
                    *cost = cost.plus(one);
                }
            }
        }
    }
    for (kind, _, judges, costs) in &judges {
        let names: HashSet<&str> = judges[0].findings.iter().map(|finding| finding.rule.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_unstable();
        println!(
            "  {:10} {:6.0} ns, {:.2} allocations; no rules {:4.0} ns; found by {names:?}",
            format!("{kind:?}").to_lowercase(),
            costs[0].each(),
            costs[0].allocated(),
            costs[1].each()
        );
    }
    scripts_find_it_too();
    println!("  resident memory of all of them {} MiB\n", resident_mib());
}

/// The naive scripts do detect something.
fn scripts_find_it_too() {
    let mut naive = Naive::new(root());
    Traffic::new(Kind::Stuffing).batch(500).iter().for_each(|outcome| naive.judge(outcome));
    Traffic::new(Kind::Spray).batch(2_000).iter().for_each(|outcome| naive.judge(outcome));
    assert!(naive.has_found("auth_0001", "acme|60.0.0.7"), "stuffing");
    assert!(naive.has_found("auth_0004", "acme|60.0.0.1"), "brute force");
}

/// Each rule alone, the others switched off, on ordinary traffic.
pub fn per_rule(events: usize) {
    let infos: Vec<(String, String)> =
        shipped().rules().iter().map(|rule| (rule.id.clone(), rule.path.clone())).collect();
    let mut judges = vec![(String::new(), Judge::new(RuleSet::empty()), Cost::default())];
    for (id, path) in &infos {
        judges.push((id.clone(), Judge::new(only(path)), Cost::default()));
    }
    judges.push(("all".into(), Judge::new(shipped()), Cost::default()));
    let mut traffic = Traffic::new(Kind::Ordinary);
    for done in (0..events).step_by(BATCH) {
        let batch = traffic.batch(BATCH);
        for (_, judge, cost) in &mut judges {
            let mut one = Cost::default();
            one.add(BATCH, || judge.judge(&batch));
            if done >= events / 2 {
                *cost = cost.plus(one);
            }
        }
    }
    let none = judges[0].2.each();
    println!("each rule alone, second half of {events} ordinary events; no rules {none:.0} ns");
    println!("  rule          + ns an event   selected of 1,000   state MiB");
    for (id, judge, cost) in &judges[1..] {
        let stats = judge.detector.rule_stats();
        let matched: u64 = stats.iter().map(|stats| stats.matched).sum();
        println!(
            "  {id:12} {:10.0} {:17.0} {:16.1}",
            cost.each() - none,
            matched as f64 * 1000.0 / events as f64,
            judge.detector.totals().bytes as f64 / f64::from(1 << 20)
        );
    }
}

/// The shipped rules, all but one switched off.
fn only(path: &str) -> RuleSet {
    let mut files: Vec<File> = demo::rules();
    for file in files.iter_mut().filter(|file| file.path != path && file.path.ends_with(".rhai")) {
        let text = std::str::from_utf8(&file.bytes).expect("UTF-8");
        file.bytes = text
            .replace("mode:     \"live\"", "mode:     \"off\"")
            .replace("mode:     \"shadow\"", "mode:     \"off\"")
            .into();
    }
    RuleSet::load(&files).unwrap_or_else(|problems| panic!("{path}: {problems:?}"))
}
