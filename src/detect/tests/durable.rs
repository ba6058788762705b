//! State that outlives the process: a detector that is restarted anywhere finds what one finds that never was.

use super::{
    super::{Change, Detector, Finding, Input, Limits, RuleSet, Saved},
    START, chain, failed, file, load,
};
use crate::{
    event::{AuthEvent, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const HORIZON: Duration = Duration::from_secs(2 * 3600);

/// Windows of half a day, and memories of a month.
const RULES: &str = r#"
rule("T-1", #{
    name: "slow", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [user], window: "12h",
    agg: #{ failures: count(), ips: distinct(src_ip), high: sum(attr("n")) }, at_least: #{ failures: 4, ips: 2 },
    dedup: "6h",
});
"#;
const REMEMBERS: &str = r#"
marker("known", #{ when: activity == LOGON & outcome == SUCCESS, key: [user], ttl: "30d" });
rule("T-2", #{
    name: "fails after", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [user], wait: "2m",
});
fn decide(e, w) { let known = e.mark("known"); !known.missing && known.count >= 2 && known.src_ip != e.src_ip }
"#;

const GROWS: &str = r#"
rule("T-5", #{
    name: "grows", severity: LOW, when: activity == LOGON, key: [user], window: "12h", dedup: "12h", update_on: "x2",
    agg: #{ failures: count_if(outcome == FAILURE), far: distinct_if(src_ip, outcome == FAILURE) },
    at_least: #{ failures: 2 },
});
"#;

/// The last success of an account is all that is asked for: what came before it is of no use, but to a judgement that
/// is made again.
const LAST: &str = r#"
marker("last", #{ when: activity == LOGON & outcome == SUCCESS, key: [user], ttl: "30d" });
rule("T-6", #{
    name: "moved", severity: LOW, when: activity == LOGON & outcome == SUCCESS, key: [user], dedup: "1h",
});
fn decide(e, w) { !e.mark("last").missing && e.mark("last").src_ip != e.src_ip }
"#;

fn rules() -> Arc<RuleSet> {
    let files = [file("a.rhai", RULES), file("b.rhai", REMEMBERS), file("c.rhai", GROWS), file("d.rhai", LAST)];
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn detector(rules: &Arc<RuleSet>) -> Detector {
    let limits = Limits { state_bytes: 64 << 20, lateness: Duration::from_secs(600) };
    let mut detector = Detector::new(rules.clone(), limits);
    detector.keep(HORIZON, i64::MIN);
    detector
}

/// Where a record lies in the log: chain, rule, key and writer.
type Place = (u32, Arc<str>, Box<[u8]>, Arc<str>);

/// Everything that outlives a process, and the process.
struct World {
    rules: Arc<RuleSet>,
    /// Partition and event, in the order in which they come.
    events: Vec<(u32, i64, AuthEvent)>,
    log: BTreeMap<Place, Vec<u8>>,
    /// What the group has committed, by partition.
    committed: Vec<i64>,
    judged: Vec<i64>,
    lives: u32,
    detector: Detector,
    /// The process before, which does not know that it is gone.
    zombie: Option<(Detector, Arc<str>)>,
    found: Vec<Finding>,
    restored: usize,
}

impl World {
    fn new(rules: Arc<RuleSet>, partitions: usize) -> Self {
        let mut world = Self {
            detector: detector(&rules),
            rules,
            events: Vec::new(),
            log: BTreeMap::new(),
            committed: vec![100; partitions],
            judged: vec![100; partitions],
            lives: 0,
            zombie: None,
            found: Vec::new(),
            restored: 0,
        };
        world.restore();
        world
    }

    fn chains(&self) -> Vec<Arc<ChainId>> {
        (0..self.committed.len() as u32).map(chain).collect()
    }

    fn writer(&self) -> Arc<str> {
        format!("life.{}", self.lives).into()
    }

    fn now(&self) -> i64 {
        self.events.last().map_or(START * 1000, |(.., event)| event.time.0 / 1000 + 1000)
    }

    fn restore(&mut self) {
        let now = self.now();
        for (at, chain) in self.chains().iter().enumerate() {
            let saved: Vec<Saved> = self.log.iter().filter(|(place, _)| place.0 == at as u32).map(saved).collect();
            self.restored += self.detector.restore(chain, self.committed[at], &saved, now, &mut self.found).records;
        }
    }

    fn event(&mut self, partition: usize, event: AuthEvent) {
        let offset = 100 + self.events.iter().filter(|(other, ..)| *other == partition as u32).count() as i64;
        self.events.push((partition as u32, offset, event));
        self.judge(self.events.len() - 1);
    }

    fn judge(&mut self, at: usize) {
        let (partition, offset, event) = self.events[at].clone();
        let (chain, now) = (chain(partition), event.time.0 / 1000 + 1000);
        let outcome = Outcome::Event(Box::new(event));
        let input = Input { chain: &chain, offset, timestamp: now, now, outcome: &outcome };
        self.detector.judge(&input, &mut self.found);
        self.judged[partition as usize] = offset + 1;
    }

    /// Writes up to so many changes of each chain; if they are lost, or land without an answer, they come again.
    fn flush(&mut self, most: usize, answered: bool, lands: bool) {
        let writer = self.writer();
        for (at, chain) in self.chains().iter().enumerate() {
            let mut changes = self.detector.unsaved(chain, most);
            changes.extend(self.detector.coverage(chain, self.judged[at]));
            for change in changes {
                if lands || answered {
                    land(&mut self.log, at as u32, &change, &writer, answered);
                }
                match (answered, change.rule.is_empty()) {
                    (true, _) => {}
                    (false, true) => self.detector.uncover(chain, &change),
                    (false, false) => self.detector.unsave(chain, &change),
                }
            }
            self.commit(at, chain);
        }
    }

    fn commit(&mut self, at: usize, chain: &ChainId) {
        let held = [self.detector.lowest_unsaved(chain), self.detector.deferred(chain)];
        let done = held.into_iter().flatten().chain([self.judged[at]]).min().unwrap();
        self.committed[at] = self.committed[at].max(done);
        self.detector.committed(chain, self.committed[at]);
    }

    /// kill -9, and a successor that restores what is written and judges what was not committed again.
    fn restart(&mut self) {
        self.lives += 1;
        let old = std::mem::replace(&mut self.detector, detector(&self.rules));
        self.zombie = Some((old, format!("life.{}", self.lives - 1).into()));
        self.restore();
        self.judged = self.committed.clone();
        for at in 0..self.events.len() {
            let (partition, offset, _) = self.events[at];
            if offset >= self.committed[partition as usize] {
                self.judge(at);
            }
        }
    }

    /// What the process before still has under way lands now.
    fn haunt(&mut self) {
        let Some((mut zombie, writer)) = self.zombie.take() else { return };
        for (at, chain) in self.chains().iter().enumerate() {
            for change in zombie.unsaved(chain, 3) {
                land(&mut self.log, at as u32, &change, &writer, true);
            }
        }
        self.zombie = Some((zombie, writer));
    }

    /// Every partition is at its end: what waits is judged.
    fn end(&mut self) -> BTreeSet<String> {
        let now = self.now() + 3_600_000;
        for n in 0..20 {
            for chain in self.chains() {
                self.detector.idle(&chain, now + n * 10_000, &mut self.found);
            }
        }
        // which steps an update leaves out may depend on how many records were known at once
        self.found.iter().filter(|finding| !finding.is_update()).map(|finding| finding.uid.clone()).collect()
    }
}

fn saved((place, value): (&Place, &Vec<u8>)) -> Saved {
    let (_, rule, key, writer) = place.clone();
    Saved { rule, key, writer, value: value.clone() }
}

fn land(log: &mut BTreeMap<Place, Vec<u8>>, chain: u32, change: &Change, writer: &Arc<str>, answered: bool) {
    let place = |writer: &Arc<str>| (chain, change.rule.clone(), change.key.clone(), writer.clone());
    match &change.value {
        Some(value) => drop(log.insert(place(writer), value.clone())),
        None => drop(log.remove(&place(writer))),
    }
    for older in change.supersedes.iter().filter(|_| answered) {
        log.remove(&place(older));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Event { partition: usize, user: u8, success: bool, ip: u8, early: i64 },
    Flush { most: usize, answered: bool, lands: bool },
    Restart,
    Haunt,
}

fn steps(partitions: usize) -> impl Strategy<Value = Vec<Step>> {
    let event = (0..partitions, 0u8..3, proptest::bool::weighted(0.4), 0u8..3, 0i64..30);
    let event = event.prop_map(|(partition, user, success, ip, early)| {
        // out of order by less than the rule waits
        Step::Event { partition, user, success, ip, early }
    });
    let flush = (1usize..6, proptest::bool::weighted(0.7), any::<bool>());
    let flush = flush.prop_map(|(most, answered, lands)| Step::Flush { most, answered, lands });
    proptest::collection::vec(
        prop_oneof![16 => event, 2 => flush, 1 => Just(Step::Restart), 1 => Just(Step::Haunt)],
        1..160,
    )
}

fn logon(step: i64, user: u8, success: bool, ip: u8, early: i64) -> AuthEvent {
    // a quarter of an hour between two: windows of half a day hold many of them, the horizon few
    let mut event = failed(step * 900 - early, &format!("{step}"), &format!("u{user}"), &format!("192.0.2.{ip}"));
    event.attributes.insert("n", format!("{step}.5"));
    if success {
        event.outcome = Ended::Success;
    }
    event
}

/// Findings of a world in which all this happens, and of one in which only the events do.
fn compare(rules: &Arc<RuleSet>, partitions: usize, steps: &[Step]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut world, mut calm) = (World::new(rules.clone(), partitions), World::new(rules.clone(), partitions));
    for (at, step) in (0..).zip(steps) {
        match *step {
            Step::Event { partition, user, success, ip, early } => {
                let event = logon(at, user, success, ip, early);
                world.event(partition, event.clone());
                calm.event(partition, event);
            }
            Step::Flush { most, answered, lands } => world.flush(most, answered, lands),
            Step::Restart => world.restart(),
            Step::Haunt => world.haunt(),
        }
    }
    (world.end(), calm.end())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_detector_that_is_restarted_anywhere_finds_the_same(steps in steps(2)) {
        let (found, wanted) = compare(&rules(), 2, &steps);
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn so_do_rules_whose_every_event_is_a_finding(steps in steps(1)) {
        let each = "window: \"12h\", key: [user], agg: #{ n: count() }, at_least: #{ n: 4 },";
        let (found, wanted) = compare(&load(&super::counting(each, "")), 1, &steps);
        prop_assert_eq!(found, wanted);
    }
}

/// Three failures, a restart, and a fourth half a day after the first.
fn slow(events: i64) -> World {
    let mut world = World::new(rules(), 1);
    for n in 0..events {
        world.event(0, logon(n * 10, 0, false, n as u8, 0));
    }
    world
}

#[test]
fn what_is_written_is_bounded_and_removed_when_it_no_longer_matters() {
    let mut world = slow(3);
    world.flush(100, true, true);
    assert_eq!(world.log.len(), 3, "two keys, and what is said of the chain: {:?}", world.log.keys());
    let text = String::from_utf8(world.log.values().nth(1).unwrap().clone()).unwrap();
    assert!(text.contains(r#""v":1"#) && text.contains("192.0.2.1") && text.contains("20.5"), "{text}");
    world.restart();
    assert_eq!(world.restored, 3);
    // days later: other keys come, and this one goes
    for n in 0..20 {
        let mut event = logon(1000 + n, 0, false, 0, 0);
        event.user = Some(format!("other{n}").as_str().into());
        world.event(0, event);
        // what is not committed is kept: it may be judged again
        world.flush(100, true, true);
    }
    let left = world.log.keys().filter(|place| place.2.ends_with(b"u0")).count();
    assert_eq!(left, 0, "{:?}", world.log.keys());
    // a hot key writes its newest events, and says that there were more
    let mut hot = World::new(rules(), 1);
    (0..3000).for_each(|n| {
        let mut event = failed(n, &format!("{n}"), "u", &format!("192.0.2.{}", n % 250));
        event.attributes.insert("n", format!("{}{n}", "x".repeat(400)));
        hot.event(0, event);
    });
    hot.flush(100, true, true);
    let value = hot.log.iter().find(|(place, _)| !place.1.is_empty()).unwrap().1;
    assert!(value.len() <= 512 * 1024, "{}", value.len());
    assert!(String::from_utf8_lossy(value).contains(r#""truncated":true"#));
    hot.restart();
    let before = hot.found.len();
    hot.event(0, failed(6 * 3600, "last", "u", "192.0.2.1"));
    let alert: serde_json::Value = serde_json::from_slice(&hot.found[before].ocsf).unwrap();
    assert!(alert.to_string().contains("truncated"), "{alert}");
}

#[test]
fn findings_say_that_they_warm_up_only_until_the_log_covers_their_window() {
    let warming = |world: &World| {
        let last = world.found.last().expect("a finding");
        String::from_utf8(last.ocsf.clone()).unwrap().contains(r#""warming":true"#)
    };
    // the detector began in the middle of the log: it cannot know what was before
    let world = slow(4);
    assert!(warming(&world));
    // half a day later the window is whole, and so it is after a restart
    let mut world = slow(9);
    assert!(!warming(&world));
    world.flush(100, true, true);
    world.restart();
    (9..12).for_each(|n| world.event(0, logon(n * 10, 0, false, n as u8, 0)));
    assert!(!warming(&world), "{:?}", world.log);
    // somebody committed further without writing state: there is a hole
    world.flush(100, true, true);
    world.event(0, logon(125, 0, false, 0, 0));
    world.committed[0] = 113;
    world.restart();
    (13..18).for_each(|n| world.event(0, logon(n * 10, 0, false, n as u8, 0)));
    assert!(warming(&world));
}

#[test]
fn rules_that_come_later_are_whole_from_then_on() {
    // as when rules are changed under way: first without, then with the durable ones
    let mut world = World::new(rules(), 1);
    world.detector.keep(Duration::from_secs(90 * 86_400), i64::MIN);
    world.event(0, logon(0, 0, false, 0, 0));
    let since = |world: &mut World| {
        let coverage = world.detector.coverage(&chain(0), 101).unwrap().value.unwrap();
        String::from_utf8(coverage).unwrap().split("\"rules\":").nth(1).unwrap().to_owned()
    };
    assert_eq!(since(&mut world), "[]}");
    let began = (START + 86_400) * 1_000_000;
    world.detector.keep(HORIZON, began);
    assert_eq!(since(&mut world).matches(&began.to_string()).count(), 4);
    world.detector.keep(HORIZON, began + 1);
    assert_eq!(since(&mut world).matches(&began.to_string()).count(), 4, "those that were there stay as they were");
}

#[test]
fn a_finding_that_grows_goes_on_growing_after_a_restart() {
    let rules = Arc::new(RuleSet::load(&[file("c.rhai", GROWS)]).unwrap());
    let mut world = World::new(rules, 1);
    let updates = |world: &World| world.found.iter().map(|finding| finding.update).collect::<Vec<_>>();
    (0..4).for_each(|n| world.event(0, logon(n, 0, false, 0, 0)));
    assert_eq!(updates(&world), [0, 1]);
    world.flush(100, true, true);
    world.restart();
    (4..7).for_each(|n| world.event(0, logon(n, 0, n == 5, 0, 0)));
    assert_eq!(updates(&world), [0, 1], "six failures, a success and nothing new to tell");
    (7..10).for_each(|n| world.event(0, logon(n, 0, false, 0, 0)));
    assert_eq!(updates(&world), [0, 1, 2]);
}

#[test]
fn rules_that_change_and_gather_the_same_lose_nothing_of_what_is_written() {
    let mut world = slow(3);
    world.flush(100, true, true);
    let before = world.log.clone();
    let files = [file("a.rhai", &format!("// Other words.\n{}", RULES.replace("failures: 4", "failures: 5")))];
    let now = world.now();
    let changed = Arc::new(RuleSet::load(&files).unwrap());
    let replaced = world.detector.replace_rules(changed.clone(), now, &mut world.found);
    assert_eq!((replaced.changed, replaced.gone.len()), (vec!["T-1".to_owned()], 3));
    let latest = world.detector.latest();
    world.detector.keep(HORIZON, latest);
    world.rules = changed;
    (3..5).for_each(|n| world.event(0, logon(n * 10, 0, false, n as u8, 0)));
    assert_eq!(world.found.iter().filter(|finding| finding.rule == "T-1").count(), 1, "the fifth of all");
    world.flush(100, true, true);
    let keys = |log: &BTreeMap<Place, Vec<u8>>| log.keys().filter(|place| &*place.1 == "T-1").count();
    assert_eq!((keys(&before), keys(&world.log)), (1, 1));
    assert_eq!(world.log.len(), 2, "what the rules that are gone had written is removed: {:?}", world.log.keys());
    // a restart knows what both have gathered
    world.restart();
    let found = world.found.len();
    world.event(0, logon(41, 0, false, 9, 0));
    assert_eq!(world.found.len(), found, "the period has its finding");
}

#[test]
fn state_of_a_rule_that_gathers_something_else_is_passed_over() {
    let mut world = slow(3);
    world.flush(100, true, true);
    let mut log = world.log.clone();
    log.retain(|place, _| ["", "T-1"].contains(&&*place.1));
    let restored = |text: &str| {
        let rules = Arc::new(RuleSet::load(&[file("a.rhai", text)]).unwrap());
        let mut detector = detector(&rules);
        let saved: Vec<Saved> = log.iter().map(saved).collect();
        let restored = detector.restore(&chain(0), 103, &saved, START * 1000, &mut Vec::new());
        (restored.records, restored.passed_over)
    };
    assert_eq!(restored(&RULES.replace("slow", "another title").replace("failures: 4", "failures: 9")), (2, 0));
    for (from, to) in [("12h", "13h"), ("FAILURE", "SUCCESS"), ("src_ip", "device"), ("T-1", "T-9")] {
        assert_eq!(restored(&RULES.replace(from, to)), (1, 1), "{from}");
    }
    // what others write into the topic is nothing
    for wrong in ["", "{}", "[1]", r#"{"v":2,"shape":"x","begun":0}"#, "\u{fffd}"] {
        let mut detector = detector(&rules());
        let (rule, key) = ("T-1".into(), [0, 0, 0, 1, b'x'].into());
        let saved = Saved { rule, key, writer: "w".into(), value: wrong.as_bytes().to_vec() };
        let restored = detector.restore(&chain(0), 103, &[saved], START * 1000, &mut Vec::new());
        assert_eq!((restored.records, restored.passed_over), (0, 1), "{wrong}");
    }
}

#[test]
fn what_a_rule_gathers_has_a_digest_that_stays() {
    // a new version of authseal must not forget what the one before has gathered. If this must change, say so in the
    // changelog: durable rules warm up anew
    let mut world = slow(1);
    world.flush(100, true, true);
    let text = String::from_utf8(world.log.values().next().unwrap().clone()).unwrap();
    assert!(text.contains("8b3980b0e4d6632d") && text.contains("52096a304b0d4823"), "{text}");
}

#[test]
fn rules_that_look_back_far_are_durable_but_for_those_over_findings() {
    let over = r#"
rule("T-3", #{ name: "over", severity: LOW, when: kind == FINDING, key: [user], window: "1d",
    agg: #{ n: count() }, at_least: #{ n: 2 }, dedup: "1d" });"#;
    let short = r#"
rule("T-4", #{ name: "short", severity: LOW, when: outcome == FAILURE, key: [user], window: "1h",
    agg: #{ n: count() }, at_least: #{ n: 2 }, dedup: "1h" });"#;
    let files = [file("a.rhai", RULES), file("o.rhai", over), file("s.rhai", short)];
    let rules = RuleSet::load(&files).unwrap();
    let beyond: Vec<_> =
        rules.beyond(HORIZON).map(|(id, far, keepable)| (id, far.as_secs() / 3600, keepable)).collect();
    assert_eq!(beyond, [("T-1", 12, true), ("T-3", 24, false)]);
    assert!(rules.has_durable(HORIZON) && !rules.has_durable(Duration::from_secs(86_400)));
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let rules = RuleSet::load(&[files[0].clone(), files[2].clone()]).unwrap();
    assert_eq!(rules.replay(HORIZON, minutes(5)), minutes(60), "what the others need");
    let rules = RuleSet::load(&files[..1]).unwrap();
    assert_eq!(rules.replay(HORIZON, minutes(5)), minutes(5), "at least what may come late");
    assert_eq!(rules.replay(minutes(6000), minutes(5)), minutes(720), "without a log all is read again");
}
