//! Holes and silences as the detector tells them.

use super::super::{Detector, Finding, Input, Limits, RuleSet};
use super::{Expected, Heard, Watch};
use crate::{
    event::{AuthEvent, Micros},
    position::ChainId,
    record::Outcome,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Seconds since 1970 at which tests begin.
const START: i64 = 1_767_571_200;
const LATENESS: i64 = 300;

struct Bench {
    detector: Detector,
    chains: Vec<Arc<ChainId>>,
    offsets: Vec<i64>,
    found: Vec<Finding>,
}

fn watch() -> Watch {
    let by = ["source", "attributes.host"].map(str::to_owned).to_vec();
    let expected = |name: &str, minutes: u64| Expected {
        name: name.into(),
        tenant: None,
        max_silence: Duration::from_secs(minutes * 60),
        owner: "identity".into(),
        runbook: "https://runbooks.example/silent".into(),
    };
    Watch {
        sequences: [("auth".to_owned(), by)].into_iter().collect(),
        expected: vec![expected("gateway", 30), expected("vpn", 120)],
        tell_unknown: true,
        horizon: Duration::ZERO,
    }
}

impl Bench {
    fn new(partitions: u32) -> Self {
        Self::watching(partitions, &watch())
    }

    /// Who watches numbers alone.
    fn numbers(partitions: u32) -> Self {
        Self::watching(partitions, &Watch { expected: Vec::new(), ..watch() })
    }

    fn watching(partitions: u32, watch: &Watch) -> Self {
        let limits = Limits { state_bytes: 8 << 20, lateness: Duration::from_secs(LATENESS as u64) };
        let mut detector = Detector::new(Arc::new(RuleSet::empty()), limits);
        detector.watch_sources(watch);
        let chain = |partition| ChainId { cluster: "main".into(), topic: "auth".into(), partition, incarnation: 0 };
        let chains: Vec<_> = (0..partitions).map(|partition| Arc::new(chain(partition))).collect();
        chains.iter().for_each(|chain| detector.watch(chain, START * 1000));
        detector.scope_sources(&BTreeSet::from(["auth".to_owned()]), true);
        Self { detector, offsets: vec![0; chains.len()], chains, found: Vec::new() }
    }

    /// An event that happened and came so many seconds after the start.
    fn number(&mut self, partition: usize, host: &str, number: i64, seconds: i64) {
        self.event(partition, "gateway", Some((host, number)), (seconds, seconds));
    }

    fn event(&mut self, partition: usize, source: &str, number: Option<(&str, i64)>, (time, came): (i64, i64)) {
        let mut event = AuthEvent {
            event_id: format!("{source}-{number:?}-{time}").into(),
            time: Micros((START + time) * 1_000_000),
            source: source.into(),
            source_seq: number.map(|(_, number)| number),
            user: Some("alice".into()),
            ..AuthEvent::default()
        };
        if let Some((host, _)) = number {
            event.attributes.insert("host", host);
        }
        let (offset, millis) = (self.offsets[partition], (START + came) * 1000);
        self.offsets[partition] += 1;
        let outcome = Outcome::Event(Box::new(event));
        let input = Input { chain: &self.chains[partition], offset, timestamp: millis, now: millis, outcome: &outcome };
        self.detector.judge(&input, &mut self.found);
    }

    /// Every partition is at its end then.
    fn end(&mut self, seconds: i64) {
        for chain in &self.chains {
            self.detector.idle(chain, (START + seconds) * 1000, &mut self.found);
        }
    }

    fn titles(&self) -> Vec<&str> {
        self.found.iter().map(|finding| finding.title.as_str()).collect()
    }

    fn counts(&self) -> super::NumberCounts {
        self.detector.source_totals().numbers["auth"]
    }
}

fn alert(finding: &Finding) -> serde_json::Value {
    serde_json::from_slice(&finding.ocsf).unwrap()
}

#[test]
fn a_hole_is_told_once_when_nothing_can_fill_it_any_more() {
    let mut bench = Bench::numbers(2);
    for (n, number) in [1, 2, 3, 6, 7].into_iter().enumerate() {
        bench.number(n % 2, "a", number, n as i64 * 10);
    }
    let deferred = |bench: &Bench| bench.chains.iter().map(|c| bench.detector.deferred(c)).collect::<Vec<_>>();
    assert_eq!(deferred(&bench), [Some(2), Some(1)], "until it is told nobody may forget what is behind it");
    bench.end(LATENESS);
    assert_eq!(bench.titles(), [""; 0], "something may still come");
    bench.end(LATENESS + 61);
    assert_eq!(bench.titles(), ["Events of gateway are missing: numbers 4 to 5 are not in auth"]);
    assert_eq!(deferred(&bench), [None, None]);
    let told = alert(&bench.found[0]);
    assert_eq!(told["evidences"][0]["data"]["before"], "main/auth/0/0@1");
    assert_eq!(told["evidences"][0]["data"]["after"], "main/auth/1/0@1");
    assert_eq!(told["unmapped"]["authseal"]["key"]["attr(\"host\")"], "a");
    assert_eq!((&told["class_uid"], &told["activity_id"]), (&2004.into(), &1.into()));
    bench.end(10 * LATENESS);
    let counts = bench.counts();
    assert_eq!((bench.found.len(), counts.holes, counts.missing, counts.unjudged), (1, 1, 2, 0));
    bench.event(0, "gateway", Some(("a", 4)), (31, 11 * LATENESS));
    assert_eq!(bench.counts().after_all, 1);
}

#[test]
fn an_alert_about_a_source_has_the_parts_of_any_alert_in_their_order() {
    let mut bench = Bench::numbers(1);
    bench.number(0, "a", 1, 0);
    bench.number(0, "a", 3, 10);
    bench.end(LATENESS + 71);
    let told = alert(&bench.found[0]);
    let names = |value: &serde_json::Value| {
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        names.join(" ")
    };
    let head = "metadata category_uid category_name class_uid class_name activity_id activity_name type_uid type_name \
                severity_id severity status_id status is_alert time start_time end_time";
    assert_eq!(names(&told), format!("{head} message finding_info evidences remediation unmapped"));
    let metadata = "version uid correlation_uid product processed_time labels";
    assert_eq!(names(&told["metadata"]), metadata);
    assert_eq!(told["metadata"]["labels"][0], "mode:live");
}

#[test]
fn producers_with_a_numbering_each_are_told_apart_and_may_begin_anew() {
    let mut bench = Bench::numbers(1);
    for n in 0..50 {
        bench.number(0, "a", n + 1, n * 5);
        bench.number(0, "b", 1000 - n, n * 5 + 1);
    }
    let mut bench = Bench::numbers(1);
    for n in 0..50 {
        bench.number(0, "a", n + 1, n * 5);
        bench.number(0, "b", 1000 + n, n * 5 + 1);
    }
    (0..50).for_each(|n| bench.number(0, "a", n, 400 + n));
    bench.end(10 * LATENESS);
    let counts = bench.counts();
    assert_eq!((bench.titles(), counts.resets, counts.followed), (vec![], 1, 2));
}

#[test]
fn nothing_is_told_while_a_partition_is_not_read() {
    let mut bench = Bench::numbers(2);
    for n in 0..100 {
        // the other half lies on a partition whose broker is down
        bench.number(0, "a", 2 * n, n * 10);
    }
    let far = 100_000;
    bench.detector.idle(&bench.chains[0].clone(), (START + far) * 1000, &mut bench.found);
    assert_eq!(bench.titles(), [""; 0]);
    assert!(bench.detector.deferred(&bench.chains[0]).is_some());
    for n in 0..99 {
        bench.number(1, "a", 2 * n + 1, n * 10 + 5);
    }
    bench.end(far);
    assert_eq!(bench.titles(), [""; 0]);
    assert_eq!(bench.detector.deferred(&bench.chains[0]), None);
}

#[test]
fn nothing_is_told_of_what_was_there_before_reading_began() {
    let mut bench = Bench::numbers(2);
    // from the middle of two logs: the second begins later, and 11 and 13 lie before
    bench.offsets = vec![500, 700];
    bench.number(0, "a", 10, 0);
    bench.number(0, "a", 12, 20);
    bench.number(0, "a", 14, 40);
    bench.number(1, "a", 15, 45);
    bench.number(0, "a", 17, 5000);
    bench.end(20_000);
    assert_eq!(bench.titles(), ["Events of gateway are missing: number 16 is not in auth"; 0]);
    assert_eq!(bench.counts().unjudged, 3);
    bench.number(0, "a", 18, 20_000);
    bench.number(0, "a", 20, 20_010);
    bench.end(21_000);
    assert_eq!(bench.titles(), ["Events of gateway are missing: number 19 is not in auth"]);
}

#[test]
fn nothing_is_told_when_others_read_a_part() {
    let mut bench = Bench::numbers(2);
    bench.number(0, "a", 1, 0);
    bench.number(1, "a", 2, 1);
    bench.number(0, "a", 4, 2);
    bench.detector.scope_sources(&BTreeSet::new(), false);
    bench.number(0, "a", 6, 3);
    bench.end(10_000);
    assert_eq!((bench.titles(), bench.counts().unjudged), (vec![], 1));
    bench.detector.scope_sources(&BTreeSet::from(["auth".to_owned()]), true);
    bench.number(0, "a", 8, 10_001);
    bench.end(20_000);
    assert_eq!(bench.titles(), [""; 0], "what was read meanwhile is not missed");
    // a partition that goes takes the numberings with it that it was a part of
    bench.number(0, "a", 10, 20_001);
    bench.number(1, "a", 11, 20_002);
    bench.detector.forget(&bench.chains[1].clone());
    bench.number(0, "a", 14, 20_003);
    bench.detector.idle(&bench.chains[0].clone(), (START + 30_000) * 1000, &mut bench.found);
    assert_eq!(bench.titles(), [""; 0]);
}

#[test]
fn a_flood_of_numberings_and_of_holes_is_bounded() {
    let mut bench = Bench::numbers(1);
    bench.number(0, "honest", 1, 0);
    for n in 0..30_000_i64 {
        bench.number(0, &format!("h{n}"), 7, n / 1000);
    }
    let counts = bench.counts();
    assert_eq!((counts.followed, counts.unjudged), (10_000, 20_001));
    for n in 0..200_000 {
        bench.number(0, "h1", 10 + 2 * n, 40 + n / 10_000);
    }
    bench.number(0, "honest", 3, 100);
    bench.end(10_000);
    let honest = bench.found.iter().filter(|finding| finding.key.iter().any(|(_, value)| value == "honest")).count();
    assert_eq!(honest, 1, "who was there first is still followed");
    assert!(bench.found.len() <= 17, "{}", bench.found.len());
    assert!(bench.counts().unjudged > 100_000, "{:?}", bench.counts());
}

#[test]
fn a_silent_source_is_told_once_and_again_when_it_speaks() {
    let mut bench = Bench::new(2);
    bench.event(0, "gateway", None, (0, 0));
    bench.event(1, "vpn", None, (0, 0));
    bench.end(1799);
    assert_eq!(bench.titles(), [""; 0]);
    bench.end(1800);
    bench.end(1801);
    bench.end(3600);
    assert_eq!(bench.titles(), ["Source gateway has been silent for more than 30 min"]);
    bench.event(1, "gateway", None, (3700, 3700));
    bench.event(0, "gateway", None, (3701, 3701));
    bench.end(3702);
    assert_eq!(bench.titles()[1..], ["Source gateway speaks again, after 61 min"]);
    let (told, over) = (alert(&bench.found[0]), alert(&bench.found[1]));
    assert_eq!(told["finding_info"]["uid"], over["finding_info"]["uid"]);
    assert_ne!(told["metadata"]["uid"], over["metadata"]["uid"]);
    assert_eq!((&over["activity_id"], &over["status_id"]), (&3.into(), &4.into()));
    assert_eq!(told["finding_info"]["src_url"], "https://runbooks.example/silent");
    bench.end(3701 + 1800);
    assert_eq!(bench.found.len(), 3, "and anew");
    assert_ne!(bench.found[2].uid, bench.found[0].uid);
}

#[test]
fn who_lags_does_not_call_anybody_silent() {
    let mut bench = Bench::new(2);
    bench.event(0, "gateway", None, (0, 0));
    bench.event(0, "vpn", None, (0, 0));
    // a partition that nothing is known of; then one that is hours behind
    bench.detector.idle(&bench.chains[0].clone(), (START + 50_000) * 1000, &mut bench.found);
    assert_eq!(bench.titles(), [""; 0]);
    for n in 1..=500 {
        bench.event(1, "gateway", None, (n * 100, n * 100));
    }
    assert_eq!(bench.titles(), ["Source vpn has been silent for more than 2 h"], "gateway spoke all the time");
}

#[test]
fn a_restart_neither_loses_nor_doubles_a_silence() {
    let mut first = Bench::new(1);
    first.event(0, "gateway", None, (0, 0));
    first.end(2000);
    assert_eq!(first.titles(), ["Source gateway has been silent for more than 30 min"]);
    let heard: Heard = serde_json::from_str(&serde_json::to_string(&first.detector.heard()).unwrap()).unwrap();
    let mut second = Bench::new(1);
    second.detector.restore_heard(&heard);
    // read again from a time in which nobody spoke
    second.offsets = vec![9];
    second.event(0, "other", None, (50_000, 50_000));
    second.end(50_001);
    let silent: Vec<_> = second.found.iter().filter(|finding| finding.rule == "AUTHSEAL-SOURCE-SILENT").collect();
    assert_eq!(silent[0].uid, first.found[0].uid, "the same finding, under the same id");
    let never = silent.iter().find(|finding| finding.title.contains("vpn")).unwrap();
    assert_eq!(never.title, "Source vpn was never heard, for more than 120 min".replace("120 min", "2 h"));
    let mut third = Bench::new(1);
    third.detector.restore_heard(&second.detector.heard());
    third.end(60_000);
    assert!(third.found.iter().any(|finding| finding.uid == never.uid), "it has not begun anew");
}

#[test]
fn a_source_that_nobody_expects_is_told_once() {
    let mut bench = Bench::new(1);
    bench.event(0, "gateway", None, (0, 0));
    (1..10).for_each(|n| bench.event(0, "shadow-it", None, (n, n)));
    assert_eq!(bench.titles(), ["Source shadow-it is not in the inventory"]);
    (0..1000).for_each(|n| bench.event(0, &format!("s{n}"), None, (n + 20, n + 20)));
    assert_eq!(bench.found.len(), 100, "bounded");
    assert_eq!(bench.detector.source_totals().unknown["auth"], 1009);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Partitions that are read at different paces, each in its order, none further behind than what is waited for: the
    /// same findings, whatever the interleaving.
    #[test]
    fn holes_do_not_depend_on_how_partitions_interleave(
        lost in prop::collection::btree_set(2_i64..150, 0..12),
        partition in prop::collection::vec(0_usize..3, 160),
        paces in prop::collection::vec(0_usize..3, 400),
    ) {
        let read = |paces: &[usize]| {
            let mut bench = Bench::numbers(3);
            let mut waiting: Vec<Vec<i64>> = vec![Vec::new(); 3];
            // the first of each partition, so that all begin to be read at the beginning
            (0..3).for_each(|p| waiting[p].push(-3 + p as i64));
            for n in 0..=160 {
                if !lost.contains(&n) {
                    waiting[partition[n as usize % 160]].push(n);
                }
            }
            waiting.iter_mut().for_each(|numbers| numbers.reverse());
            let mut paces = paces.iter().copied();
            while waiting.iter().any(|numbers| !numbers.is_empty()) {
                let next = (0..3).filter(|p| !waiting[*p].is_empty());
                // whoever is furthest behind is read when the paces have run out
                let behind = next.max_by_key(|p| std::cmp::Reverse(waiting[*p].last().copied())).unwrap();
                let at = paces.next().filter(|at| !waiting[*at].is_empty()).unwrap_or(behind);
                let number = waiting[at].pop().unwrap();
                bench.number(at, "a", number, number * 20 + 100);
            }
            bench.end(100_000);
            let told: BTreeSet<(String, String)> =
                bench.found.iter().map(|finding| (finding.uid.clone(), finding.title.clone())).collect();
            prop_assert_eq!(told.len(), bench.found.len());
            Ok((told, bench.counts().missing))
        };
        let (calm, missing) = read(&[])?;
        prop_assert_eq!(missing, lost.len() as u64);
        prop_assert_eq!(read(&paces)?, (calm, missing));
    }
}
