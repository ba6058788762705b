//! A bad rule beside a good one: it is stopped, counted, told about and switched off, and the good one notices nothing.

use super::*;
use crate::detect::{Severity, failure};
use std::sync::atomic::{AtomicU64, Ordering};

/// A rule that finds something in every logon, and what stands beside it.
fn beside(bad: Option<&str>) -> Bench {
    let head = |id: &str, mode: &str| {
        format!(
            "rule(\"{id}\", #{{ name: \"{id}\", severity: LOW, mode: \"{mode}\",\n\
             when: activity == LOGON, key: [user] }});\n"
        )
    };
    let mut files = vec![file("good.rhai", &(head("GOOD", "live") + "fn title(e, w) { `good ${e.user}` }"))];
    files.extend(bad.map(|functions| file("bad.rhai", &(head("BAD", "live") + functions))));
    let mut bench = Bench::new(Arc::new(RuleSet::load(&files).unwrap_or_else(|p| panic!("{p:#?}"))), 1);
    bench.now = 0;
    bench
}

fn of<'a>(bench: &'a Bench, rule: &str) -> Vec<&'a Finding> {
    bench.found.iter().filter(|finding| finding.rule == rule).collect()
}

/// So many logons, all on the first day.
fn logons(count: i64) -> impl Iterator<Item = (i64, String)> {
    (0..count).map(|n| (n / 10, format!("u{}", n % 50)))
}

#[test]
fn a_bad_rule_costs_a_good_one_nothing() {
    let mut alone = beside(None);
    alone.logons(logons(500));
    for bad in [
        "fn two(n) { if n == 0 { 0 } else { two(n - 1) + two(n - 1) } } fn decide(e, w) { two(14) > 0 }",
        "fn grow(n) { grow(n + 1) } fn decide(e, w) { grow(0) }",
        "fn decide(e, w) { throw e.user }",
        "fn decide(e, w) { 1 / (e.offset - e.offset) == 0 }",
    ] {
        let mut bench = beside(Some(bad));
        bench.logons(logons(500));
        let titles =
            |bench: &Bench| of(bench, "GOOD").iter().map(|f| (f.uid.clone(), f.title.clone())).collect::<Vec<_>>();
        assert_eq!(titles(&bench), titles(&alone), "{bad}");
        let stats = bench.detector.rule_stats();
        let bad_stats = stats.iter().find(|rule| rule.id == "BAD").unwrap();
        // what it costs ends with it: however many events come, it was asked ten times
        assert_eq!((bad_stats.gated, bad_stats.errors, bad_stats.disabled), (10, 10, true), "{bad}");
        assert!(bad_stats.evaluated <= 10, "not even its native part runs any more");
    }
}

#[test]
fn a_rule_that_fails_is_told_about_once_for_each_reason_and_day() {
    let mut bench = beside(Some(
        "fn decide(e, w) { if e.user == \"u1\" { e.acr + 1 } else if e.user == \"u2\" { 5 } else { true } }",
    ));
    bench.logons((0..5).map(|n| (n, "u1".to_owned())));
    let told = of(&bench, failure::ID);
    assert_eq!(told.len(), 1, "{:?}", bench.titles());
    let (title, severity) = (told[0].title.as_str(), told[0].severity);
    assert_eq!(
        (title, severity),
        ("Rule BAD: fn decide does something with values that cannot do it", Severity::Medium)
    );
    let key: Vec<_> = told[0].key.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(key, [("rule", "BAD"), ("function", "decide"), ("reason", "types")]);
    assert!(told[0].live && told[0].uid.starts_with("AUTHSEAL-RULE-ERROR:"));
    let at = bench.found.iter().position(|finding| finding.rule == failure::ID).unwrap();
    let alert = bench.alert(at);
    let context = &alert["evidences"][0]["data"]["context"];
    assert_eq!((&context["rule"], &context["path"]), (&"BAD".into(), &"bad.rhai".into()));
    assert!(context["error"].as_str().unwrap().starts_with("fn decide:"), "{context}");
    // another way to fail, and then the same ones on the next day, of which the tenth in a row ends it
    bench.event(0, failed(7, "x", "u2", "192.0.2.1"));
    bench.now = 86_400;
    for n in 0..9 {
        bench.event(0, failed(86_400 + n, &format!("y{n}"), "u2", "192.0.2.1"));
    }
    let reasons: Vec<_> = of(&bench, failure::ID).iter().map(|f| (f.key[2].1.clone(), f.severity)).collect();
    let expected = [
        ("types", Severity::Medium),
        ("answer", Severity::Medium),
        ("answer", Severity::Medium),
        ("off", Severity::High),
    ];
    assert_eq!(reasons, expected.map(|(reason, severity)| (reason.to_owned(), severity)));
    assert_eq!(bench.ids().len(), bench.found.len(), "no id twice");
}

#[test]
fn made_up_times_make_no_findings_up() {
    let mut bench = beside(Some("fn decide(e, w) { if e.user == \"fine\" { false } else { throw 1 } }"));
    bench.now = 40 * 86_400;
    for day in 0..400 {
        bench.event(0, failed(day * 86_400, &format!("a{day}"), "ann", "192.0.2.1"));
        bench.event(0, failed(day * 86_400, &format!("b{day}"), "fine", "192.0.2.1"));
    }
    assert!(of(&bench, failure::ID).len() <= 8, "{}", of(&bench, failure::ID).len());
}

/// Each look at it, half of what a call may take has gone by.
fn slow() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    TICKS.fetch_add(51_000_000, Ordering::Relaxed)
}

#[test]
fn a_call_that_takes_too_long_by_the_clock_is_stopped() {
    let long = "fn two(n) { if n == 0 { 0 } else { two(n - 1) + two(n - 1) } } fn decide(e, w) { two(9) == 0 }";
    let mut bench = beside(Some(long));
    bench.logons(logons(1));
    assert_eq!(of(&bench, "BAD").len(), 1, "it is within its operations");
    bench.detector.measure_with(slow);
    bench.event(0, failed(1, "z", "u1", "192.0.2.1"));
    let told = of(&bench, failure::ID);
    assert_eq!((of(&bench, "BAD").len(), told.len()), (1, 1));
    assert_eq!(told[0].key[2].1, "time");
    assert_eq!(of(&bench, "GOOD").len(), 2, "short calls are not stopped by a slow clock");
}

/// It stands still once, for a second.
fn paused() -> u64 {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    if LOOKS.fetch_add(1, Ordering::Relaxed) < 3 { 0 } else { 1_000_000_000 }
}

#[test]
fn a_machine_that_stood_still_costs_no_finding() {
    let long = "fn two(n) { if n == 0 { 0 } else { two(n - 1) + two(n - 1) } } fn decide(e, w) { two(9) == 0 }";
    let rule =
        format!("rule(\"E-1\", #{{ name: \"n\", severity: LOW, when: activity == LOGON, key: [user] }});\n{long}");
    let mut bench = Bench::new(load(&rule), 1);
    bench.detector.measure_with(paused);
    bench.logons(logons(1));
    assert_eq!((bench.found.len(), bench.detector.rule_stats()[0].errors), (1, 0));
}

#[test]
fn ids_of_our_own_are_refused() {
    let text = "rule(\"AUTHSEAL-RULE-ERROR\", #{ name: \"n\", severity: LOW, when: activity == LOGON, key: [user] });";
    let problems = RuleSet::load(&[file("t.rhai", text)]).err().unwrap();
    assert!(problems[0].message.contains("authseal's own"), "{problems:?}");
}

#[test]
fn what_a_dedup_holds_back_is_counted() {
    let keys = "key: [src_ip], window: \"1h\", agg: #{ n: count() }, at_least: #{ n: 3 }, dedup: \"1h\"";
    let mut bench = Bench::new(load(&counting(keys, "")), 1);
    bench.logons((0..10).map(|n| (n, "ann".to_owned())));
    let stats = &bench.detector.rule_stats()[0];
    assert_eq!((stats.findings, stats.gated, stats.suppressed), (1, 1, 7));
}
