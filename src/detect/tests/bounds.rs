//! Nothing grows, nothing stops: floods of keys, hostile functions, broken functions.

use super::*;
use crate::detect::Severity;

const SLOW: &str =
    "key: [src_ip], window: \"1h\", agg: #{ n: count(), users: distinct(user) }, at_least: #{ n: 20 }, dedup: \"6h\"";

#[test]
fn a_flood_of_a_million_keys_pushes_out_no_slow_attacker() {
    let limit = 4 << 20;
    let mut bench = Bench::with(load(&counting(SLOW, "")), 1, limit);
    let every = 30_000;
    for n in 0..1_000_000_i64 {
        // all within one window: nothing goes by age
        let seconds = n / 400;
        let ip = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        bench.event(0, failed(seconds, &format!("flood-{n}"), "root", &ip));
        if n % every == 0 {
            bench.event(0, failed(seconds, &format!("slow-{n}"), "ann", "203.0.113.7"));
        }
        if n % 500 == 0 {
            assert!(bench.detector.totals().bytes <= limit as u64, "{:?} at {n}", bench.detector.totals());
        }
    }
    let totals = bench.detector.totals();
    assert!(totals.evicted > 900_000 && totals.keys > 2_000, "{totals:?}");
    assert_eq!(bench.found.len(), 1, "{:?}", bench.titles());
    assert_eq!(bench.found[0].key[0].1, "203.0.113.7");
}

#[test]
fn what_waits_is_judged_when_it_is_pushed_out() {
    let keys =
        "key: [src_ip], window: \"1h\", agg: #{ n: count() }, at_least: #{ n: 3 }, settle: \"30m\", dedup: \"6h\"";
    let mut bench = Bench::with(load(&counting(keys, "")), 1, 256 << 10);
    for n in 0..3 {
        bench.event(0, failed(n, &format!("a{n}"), "ann", "203.0.113.7"));
    }
    assert_eq!(bench.deferred(), [Some(102)]);
    // keys with more events than that one has
    for n in 0..2_000 {
        for m in 0..8 {
            bench.event(0, failed(n / 10, &format!("b{n}-{m}"), "ann", &format!("10.0.{}.{}", n >> 8, n & 255)));
        }
    }
    assert!(bench.detector.totals().bytes <= 256 << 10, "{:?}", bench.detector.totals());
    assert!(bench.found.iter().any(|finding| finding.key[0].1 == "203.0.113.7"), "it was judged on what was known");
    bench.idle();
    assert_eq!(bench.deferred(), [None]);
    let named: BTreeSet<_> = bench.found.iter().map(|finding| finding.key[0].1.clone()).collect();
    assert_eq!(named.len(), 2_001, "nobody was lost");
}

#[test]
fn state_goes_when_nothing_can_come_of_it_any_more() {
    let mut bench = Bench::new(load(&counting(SLOW, "")), 1);
    for n in 0..20_000_i64 {
        bench.event(0, failed(n * 10, &format!("{n}"), "ann", &format!("10.0.{}.{}", n >> 8, n & 255)));
    }
    let totals = bench.detector.totals();
    assert!(totals.keys < 700, "an hour and the lateness are 420 keys: {totals:?}");
    assert_eq!(totals.evicted, 0);
}

#[test]
fn one_hot_key_is_bounded_and_says_that_it_was_cut() {
    let keys = "key: [tenant], window: \"1h\", agg: #{ n: count(), users: distinct(user), most: max_per(user) },
        at_least: #{ n: 10000 }, dedup: \"1m\"";
    let mut bench = Bench::new(load(&counting(keys, "fn title(e, w) { `${w.n} ${w.users} ${w.most}` }")), 1);
    for n in 0..60_000_i64 {
        bench.event(0, failed(n / 100, &format!("{n}"), &format!("user-with-a-long-name-{n}"), "192.0.2.1"));
    }
    assert!(bench.detector.totals().bytes < 12 << 20, "{:?}", bench.detector.totals());
    assert_eq!(bench.titles().last(), Some(&"16384 16384 1"));
    let last = bench.found.len() - 1;
    assert_eq!(bench.alert(last)["unmapped"]["authseal"]["window_truncated"], true);
    assert!(bench.alert(0)["unmapped"]["authseal"]["window_truncated"].is_null());
}

/// Fires on each event.
fn each(functions: &str) -> Bench {
    Bench::new(
        load(&format!(
            "rule(\"E-1\", #{{ name: \"fallback\", severity: MEDIUM, when: activity == LOGON, key: [src_ip] }});\n\
         {functions}"
        )),
        1,
    )
}

fn one_each(count: i64) -> Vec<(i64, String)> {
    (0..count).map(|n| (n, "ann".to_owned())).collect()
}

#[test]
fn hostile_functions_are_stopped() {
    for (function, why) in [
        ("fn grow(n) { grow(n + 1) } fn decide(e, w) { grow(0) }", "tack overflow"),
        (
            "fn two(n) { if n == 0 { 0 } else { two(n - 1) + two(n - 1) } } fn decide(e, w) { two(14) > 0 }",
            "Too many operations",
        ),
        (
            "fn long(s, n) { if n == 0 { s } else { long(s + s, n - 1) } }
             fn decide(e, w) { long(\"xxxxxxxx\", 13).len() > 0 }",
            "too large",
        ),
        (
            "fn big(a, n) { if n == 0 { a } else { a += a; big(a, n - 1) } }
             fn decide(e, w) { big([1, 2, 3, 4], 12).len() > 0 }",
            "too large",
        ),
        ("fn decide(e, w) { throw \"no\" }", "no"),
        ("fn decide(e, w) { 5 }", "must return true or false"),
        ("fn decide(e, w) { e.acr + 1 > 2 }", "Function not found"),
    ] {
        let mut bench = each(function);
        bench.logons(one_each(1));
        let stats = &bench.detector.rule_stats()[0];
        let own = bench.found.iter().filter(|finding| finding.rule == "E-1").count();
        assert_eq!((own, bench.found.len(), stats.errors), (0, 1, 1), "{function}");
        let error = &stats.first_errors[0];
        assert!(error.contains(why) && error.starts_with("fn decide"), "{function}: {error}");
    }
}

#[test]
fn a_rule_that_fails_ten_times_in_a_row_is_switched_off() {
    let mut bench = each("fn decide(e, w) { if e.user == \"bob\" { true } else { throw e.user } }");
    let mut logons = one_each(9);
    logons.push((9, "bob".into()));
    logons.extend(one_each(9));
    bench.logons(logons);
    let own = |bench: &Bench| bench.found.iter().filter(|finding| finding.rule == "E-1").count();
    assert_eq!((own(&bench), bench.detector.rule_stats()[0].disabled), (1, false), "nine, one good, nine");
    bench.logons(one_each(5));
    bench.logons([(0, "bob".to_owned())]);
    let stats = &bench.detector.rule_stats()[0];
    assert_eq!((own(&bench), stats.errors, stats.disabled), (1, 19, true));
    assert_eq!(stats.first_errors.len(), 1, "the same error is kept once");
}

#[test]
fn a_finding_goes_out_when_its_words_fail() {
    let mut bench = each("fn severity(e, w) { \"AWFUL\" } fn title(e, w) { throw \"x\" } fn context(e, w) { [1] }");
    bench.logons(one_each(1));
    assert_eq!(bench.found.len(), 4, "it, and one about each function");
    let finding = &bench.found[3];
    assert_eq!((finding.severity, finding.title.as_str()), (Severity::Medium, "fallback"));
    let errors = bench.alert(3)["unmapped"]["authseal"]["rule_errors"].as_array().unwrap().len();
    assert_eq!((errors, bench.detector.rule_stats()[0].errors), (3, 3));
}

#[test]
fn an_alert_stays_within_256_kib_whatever_the_event_holds() {
    let text = "rule(\"E-1\", #{ name: \"n\", severity: LOW, when: activity == LOGON, key: [tenant, user, src_ip] });
        fn twice(s) { s + s }
        fn long(s) { twice(twice(s)) + twice(s) + s }
        fn title(e, w) { e.user + e.user_agent }
        fn context(e, w) { #{ a: long(e.user), b: long(e.user), c: [twice(e.user), twice(e.user), twice(e.user)] } }";
    let mut bench = Bench::new(load(text), 1);
    let huge = "\u{1}\u{fffd}ü".repeat(400_000);
    bench.event(
        0,
        AuthEvent {
            tenant: Some(huge.as_str().into()),
            user: Some(huge.as_str().into()),
            user_agent: Some(huge.as_str().into()),
            reason: Some(huge.as_str().into()),
            dst_host: Some(huge.as_str().into()),
            ..failed(0, &huge, "", &huge)
        },
    );
    // it, and what is said of the function that failed
    let at = bench.found.iter().position(|finding| finding.rule == "E-1").unwrap();
    let alert = bench.alert(at);
    assert!(bench.found.iter().all(|finding| finding.ocsf.len() <= 256 * 1024));
    assert!(alert["evidences"][0]["src_endpoint"].is_null(), "what is no address is not said to be one");
}

#[test]
fn costs_are_measured_with_the_clock_that_is_given() {
    fn clock() -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static TICKS: AtomicU64 = AtomicU64::new(0);
        TICKS.fetch_add(10, Ordering::Relaxed)
    }
    let mut bench = each("fn decide(e, w) { e.user.len() < 0 }");
    bench.logons(one_each(300));
    assert_eq!(bench.detector.rule_stats()[0].script_nanos, 0);
    bench.detector.measure_with(clock);
    bench.logons(one_each(300));
    let stats = &bench.detector.rule_stats()[0];
    assert!(stats.script_nanos >= 3000 && stats.native_nanos >= 6000, "{stats:?}");
    assert_eq!((stats.evaluated, stats.matched, stats.gated, stats.findings), (600, 600, 600, 0));
}
