//! `decide` without the script engine says what it says with it: the same rules over the same events, once as they are,
//! and once with a word in `decide` that only the engine understands.

use super::*;
use crate::event::UserKind;
use proptest::prelude::*;

/// Bodies of `decide` of a rule with markers `before` (of the account) and `here` (of the account and address).
const WITH_MARKS: [&str; 20] = [
    "!e.mark(\"before\").missing",
    "let s = e.mark(\"before\"); !s.missing && s.src_ip != e.src_ip",
    "let s = e.mark(\"before\"); !s.missing && s.age >= 2 * 60",
    "let s = e.mark(\"before\"); s.age >= 3",
    "let s = e.mark(\"before\"); s.missing || s.age > 2.5 || s.acr == () || s.acr < 2 || s.device != e.device",
    "let s = e.mark(\"before\"); let d = distance_km(e, s); d != () && d >= 500.0 && speed_kmh(e, s) > 900.0",
    "distance_km(e.mark(\"before\"), e) == 0",
    "e.mark(\"before\").missing && !e.mark(\"here\").missing",
    "!e.mark(\"before\").missing || !e.mark(\"here\").missing || e.user == \"u1\"",
    "let s = e.mark(\"before\"); let s = e.mark(\"here\"); !s.missing",
    "let s = e.mark(\"before\"); let n = s.acr; let n = 1; n == 1 && e.acr == n",
    "let s = e.mark(\"before\"); let same = s.user_kind == e.user_kind; same && s.is_vpn != true",
    "e.mark(\"before\").acr + e.acr > 2",
    "let t = e.acr + 1; t > 2 || e.mark(\"before\").missing",
    "let e = e.mark(\"before\"); e.missing || e.acr == 1",
    "if e.mark(\"before\").missing { false } else { e.acr == 1 }",
    "let s = e.mark(\"before\"); s.outcome == SUCCESS && s.lat >= 10 && s.time < e.time",
    "let s = e.mark(\"before\"); similarity(s.device, e.device) < 0.9",
    "e.mark(\"before\").lat == e.lat && e.lat != 0",
    "let s = e.mark(\"before\"); s.acr",
];

/// Bodies of `decide` of a rule that counts.
const WITH_A_WINDOW: [&str; 10] = [
    "w.n >= 2 && w.users <= 1",
    "w.users * 2 <= w.n * 3 - 1",
    "w.n + w.users > 3 || e.user_kind == ADMIN",
    "w.last == e.user",
    "w.last == ()",
    "w.most >= 20.5",
    "w.rate > 1 && w.rate < 5.5",
    "w.n * 9223372036854775807 > 1",
    "w.n > 1 && w.last > 1",
    "let w = 1; w == 1",
];

/// (seconds since the one before, account, address, strength, place, device)
type Step = (i64, u8, u8, Option<i32>, Option<f64>, Option<u8>);

fn step() -> impl Strategy<Value = Step> {
    let place = proptest::option::of(prop_oneof![Just(0.0), Just(10.0), Just(52.5), Just(95.0)]);
    (0..200_i64, 0..2_u8, 0..2_u8, proptest::option::of(0..3_i32), place, proptest::option::of(0..2_u8))
}

fn run(rule: &str, steps: &[Step]) -> (Vec<String>, u64, Vec<String>) {
    let mut bench = Bench::new(load(rule), 1);
    let mut seconds = 0;
    for (n, (after, user, address, acr, place, device)) in steps.iter().enumerate() {
        seconds += after;
        let event = AuthEvent {
            acr: *acr,
            lat: *place,
            long: place.map(|lat| lat / 2.0),
            is_vpn: (*user == 0).then_some(*address == 0),
            user_kind: if *address == 0 { UserKind::Admin } else { UserKind::Person },
            device: device.map(|device| format!("device{device}").into()),
            ..failed(seconds, &format!("{n}"), &format!("u{user}"), &format!("192.0.2.{address}"))
        };
        bench.event(0, event);
    }
    bench.idle();
    let stats = &bench.detector.rule_stats()[0];
    // errors are found too: by whom and how often is part of what must be the same
    (bench.found.iter().map(|finding| finding.uid.clone()).collect(), stats.errors, stats.first_errors.clone())
}

fn marked(body: &str) -> String {
    format!(
        "marker(\"before\", #{{ when: activity == LOGON, key: [user], ttl: \"1h\" }});
         marker(\"here\", #{{ when: activity == LOGON & acr >= 1, key: [user, src_ip], ttl: \"1m\" }});
         rule(\"T-1\", #{{ name: \"t\", severity: LOW, when: activity == LOGON, key: [user], wait: \"10s\" }});
         fn decide(e, w) {{ {body} }}
         fn context(e, w) {{ #{{ a: e.mark(\"before\").src_ip, b: e.mark(\"here\").src_ip }} }}"
    )
}

fn counted(body: &str) -> String {
    let keys = "key: [src_ip], window: \"5m\", agg: #{ n: count(), users: distinct(user), last: last(device),
        most: max(acr), rate: rate() }, at_least: #{ n: 1 }";
    counting(keys, &format!("fn decide(e, w) {{ {body} }}"))
}

/// With something in `decide` that is not known without the engine, and changes nothing.
fn asked(body: &str) -> String {
    format!("let nothing = e.attr(\"nothing\"); {body}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rules_find_the_same_with_and_without_the_engine(steps in proptest::collection::vec(step(), 1..12)) {
        for body in WITH_MARKS {
            prop_assert_eq!(run(&marked(body), &steps), run(&marked(&asked(body)), &steps), "{}", body);
        }
        for body in WITH_A_WINDOW {
            prop_assert_eq!(run(&counted(body), &steps), run(&counted(&asked(body)), &steps), "{}", body);
        }
    }
}

#[test]
fn what_is_refused_without_the_engine_calls_no_script() {
    fn clock() -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static TICKS: AtomicU64 = AtomicU64::new(0);
        TICKS.fetch_add(10, Ordering::Relaxed)
    }
    let spent = |rule: &str| {
        let mut bench = Bench::new(load(rule), 1);
        bench.detector.measure_with(clock);
        bench.logons((0..20).map(|n| (n, "ann".to_owned())));
        bench.idle();
        let stats = &bench.detector.rule_stats()[0];
        assert_eq!((stats.gated, stats.findings), (20, 0), "{rule}");
        stats.script_nanos
    };
    let same = "let s = e.mark(\"before\"); !s.missing && s.src_ip != e.src_ip";
    for (with, without) in
        [(marked(&asked(same)), marked(same)), (counted(&asked("w.users > 1")), counted("w.users > 1"))]
    {
        assert!(spent(&with) > 0, "{with}");
        assert_eq!(spent(&without), 0, "{without}");
    }
}

#[test]
fn a_function_of_the_rule_is_not_taken_for_one_of_ours() {
    let rule = marked("distance_km(e, e) == 5") + " fn distance_km(a, b) { 5 }";
    let mut bench = Bench::new(load(&rule), 1);
    bench.logons([(0, "ann".to_owned())]);
    bench.idle();
    assert_eq!(bench.found.len(), 1, "{:?}", bench.titles());
}
