//! Markers, `wait` and what they say together.

use super::*;
use crate::detect::testing;

/// The rule of docs/rules.md.
const STEP_UP: &str = r#"// A sensitive action completes although the session holds no fresh, strong enough step-up.
marker("stepup_ok", #{ when: activity == STEP_UP & outcome == SUCCESS, key: [session], ttl: "1h" });

rule("AUTH-0008", #{
    name:     "Sensitive action without step-up",
    severity: HIGH,
    when:     activity == PRIVILEGED_ACTION & outcome == SUCCESS & action.in_list("stepup_required"),
    key:      [session],
    wait:     "10s",
    dedup:    "15m",
});

fn decide(e, w) {
    let s = e.mark("stepup_ok");
    s.missing || s.age > 600 || s.acr < 2 || s.device != e.device
}
fn severity(e, w) { if e.action == "mfa.reset" || e.action == "role.grant" { CRITICAL } else { HIGH } }
fn title(e, w) {
    let s = e.mark("stepup_ok");
    let why = if s.missing { "no step-up in this session" } else if s.age > 600 { `step-up is ${s.age} s old` }
              else if s.acr < 2 { "step-up too weak" } else { "step-up came from another device" };
    `${e.user} did ${e.action}: ${why}`
}
"#;

const STEP_UP_TESTS: &str = r#"
fn step(device, acr) {
    event(#{ activity: STEP_UP, outcome: SUCCESS, user: "ann", session: "s2", device: device, acr: acr })
}
fn act(action) {
    event(#{ activity: PRIVILEGED_ACTION, outcome: SUCCESS, action: action, user: "ann", session: "s2", device: "d1" })
}
fn line() {
    let t = timeline("step_up_bypass");
    t.list("stepup_required", ["payout.create", "role.grant"]);
    t
}
test("a step-up that arrives 4 s late is still honoured", || {
    let t = line();
    t.late(0, 34, step("d1", 2));
    t.at(30, act("payout.create"));
    for i in 31..34 { t.at(i, event(#{ activity: LOGON, user: "bob" })); }
    t.expect(#{ alerts: 0 });
});
test("a topic that is behind is waited for", || {
    let t = line();
    t.at(3, rejection(#{ topic: "other" }));
    t.at(30, act("payout.create"));
    for i in 31..60 { t.at(i, event(#{ activity: LOGON, user: "bob" })); }
    t.late(0, 61, step("d1", 2));
    t.expect(#{ alerts: 0 });
});
test("without one it fires", || {
    let t = line();
    t.at(30, act("role.grant"));
    t.expect(#{ alerts: 1, severity: CRITICAL, title: "ann did role.grant: no step-up in this session" });
});
test("one that comes after the action is none", || {
    let t = line();
    t.at(30, act("payout.create"));
    t.at(31, step("d1", 2));
    t.expect(#{ alerts: 1, severity: HIGH, title: "*no step-up*" });
});
test("one of another session is none", || {
    let t = line();
    t.at(0, event(#{ activity: STEP_UP, outcome: SUCCESS, user: "ann", session: "s3", device: "d1", acr: 2 }));
    t.at(30, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*no step-up*", key: #{ session: "s2" } });
});
test("old, weak, elsewhere", || {
    let t = line();
    t.at(0, step("d1", 2));
    t.at(700, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*700 s old" });
    let t = line();
    t.at(0, step("d1", 2));
    t.at(3000, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*3000 s old" });
    let t = line();
    t.at(0, step("d1", 1));
    t.at(9, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*too weak" });
    let t = line();
    t.at(0, step("d9", 2));
    t.at(9, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*other device" });
    let t = line();
    t.at(0, step("d1", 2));
    t.at(3601, act("payout.create"));
    t.expect(#{ alerts: 1, title: "*no step*" });
});
test("one alert for each quarter of an hour", || {
    let t = line();
    for i in 0..20 { t.at(i * 60, act("payout.create")); }
    t.expect(#{ alerts: 2 });
});
"#;

fn step_up_files(rule: &str) -> Vec<File> {
    vec![
        file("step_up_bypass.rhai", rule),
        file("step_up_bypass.test.rhai", STEP_UP_TESTS),
        file("lists/stepup_required.txt", "# owner: x\n# expires: never\npayout.create\nrole.grant\n"),
    ]
}

#[test]
fn the_step_up_rule_passes_its_tests_and_each_mutant_fails_one() {
    let reports = testing::run(&step_up_files(STEP_UP));
    let failures: Vec<_> = reports.iter().flat_map(|report| &report.failures).collect();
    assert!(failures.is_empty() && reports.len() == 7, "{reports:#?}");
    for (from, to) in [
        ("wait:     \"10s\"", "wait: \"1s\""),
        ("key: [session], ttl", "key: [user], ttl"),
        ("ttl: \"1h\"", "ttl: \"20m\""),
        ("ttl: \"1h\"", "ttl: \"2h\""),
        ("& outcome == SUCCESS, key: [session]", "& outcome == FAILURE, key: [session]"),
        ("s.age > 600 || s.acr", "s.acr"),
        (" || s.acr < 2", ""),
        (" || s.device != e.device", ""),
        ("dedup:    \"15m\"", "dedup: \"1h\""),
    ] {
        let mutant = STEP_UP.replacen(from, to, 1);
        assert_ne!(mutant, STEP_UP, "{from}");
        let reports = testing::run(&step_up_files(&mutant));
        let failed = reports.iter().any(|report| !report.passed() && report.name != "the rules load");
        assert!(failed, "no test minds {to:?} in the place of {from:?}: {reports:#?}");
    }
}

/// A rule about privileged actions, with this marker and these keys and functions.
fn acting(marker: &str, keys: &str, functions: &str) -> Arc<RuleSet> {
    load(&format!(
        "marker(\"m\", #{{ {marker} }});\nrule(\"M-1\", #{{ name: \"test\", severity: LOW,\n\
         when: activity == PRIVILEGED_ACTION, {keys} }});\n{functions}"
    ))
}

const STEPS: &str = "when: activity == STEP_UP, key: [session], ttl: \"1h\"";
const WAITS: &str = "key: [session], wait: \"10s\", dedup: \"15m\"";
const MISSING: &str = "fn decide(e, w) { e.mark(\"m\").missing }";

fn record(seconds: i64, id: &str, activity: Activity, session: &str) -> AuthEvent {
    AuthEvent { activity, session: Some(session.into()), ..failed(seconds, id, "ann", "192.0.2.1") }
}

fn step(seconds: i64, id: &str, session: &str) -> AuthEvent {
    record(seconds, id, Activity::StepUp, session)
}

fn act(seconds: i64, id: &str, session: &str) -> AuthEvent {
    record(seconds, id, Activity::PrivilegedAction, session)
}

#[test]
fn a_mark_from_another_partition_that_comes_later_is_honoured() {
    for (at, fires) in [(29, 0), (31, 1)] {
        let mut bench = Bench::new(acting(STEPS, WAITS, MISSING), 2);
        bench.event(0, act(30, "a", "s1"));
        (31..60).for_each(|n| bench.event(0, failed(n, &format!("{n}"), "bob", "192.0.2.9")));
        assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(100), None]), "the other may show a step-up");
        bench.event(1, step(at, "s", "s1"));
        (41..60).for_each(|n| bench.event(1, failed(n, &format!("x{n}"), "bob", "192.0.2.9")));
        assert_eq!((bench.found.len(), bench.deferred()), (fires, vec![None, None]), "step-up at {at}");
    }
}

#[test]
fn without_wait_a_rule_sees_what_has_come() {
    let rules = acting(STEPS, "key: [session]", "fn decide(e, w) { !e.mark(\"m\").missing }");
    let mut bench = Bench::new(rules, 1);
    bench.event(0, act(9, "a", "s1"));
    bench.event(0, step(5, "s", "s1"));
    assert_eq!(bench.found.len(), 0);
    bench.event(0, act(10, "b", "s1"));
    bench.event(0, act(11, "c", "s2"));
    bench.event(0, act(4, "d", "s1"));
    assert_eq!(bench.found.len(), 1, "not of another session, and not of a later time");
    assert_eq!(bench.deferred(), [None]);
}

#[test]
fn a_finding_names_the_marks_that_it_was_made_of() {
    let functions = "fn decide(e, w) { let m = e.mark(\"m\"); !m.missing && m.age < 60 && m.count == 2 }
        fn title(e, w) { let m = e.mark(\"m\"); `${m.user} ${m.age} ${m.time == e.time} ${m.position} ${m.acr}` }";
    let mut bench = Bench::new(acting(STEPS, "key: [session]", functions), 2);
    bench.offsets = vec![0, 0];
    bench.event(1, step(3, "s", "s1"));
    bench.event(1, step(3, "s", "s1"));
    bench.event(1, step(5, "t", "s1"));
    bench.event(0, AuthEvent { time: Micros((START + 9) * 1_000_000 + 500_000), ..act(0, "a", "s1") });
    assert_eq!(bench.titles(), ["ann 4.5 false main/auth/1/0@2 "], "an event that is repeated counts once");
    let finding = &bench.found[0];
    assert_eq!(finding.position.to_string(), "main/auth/0/0@0");
    let reach: Vec<String> = finding.reach.iter().map(ToString::to_string).collect();
    assert_eq!(reach, ["main/auth/0/0@0", "main/auth/1/0@2"]);
    let alert = bench.alert(0);
    let mark = &alert["evidences"][0]["data"]["marks"]["m"];
    assert_eq!(*mark, serde_json::json!({ "position": "main/auth/1/0@2", "age": 4.5 }));
    assert_eq!(alert["unmapped"]["authseal"]["warming"], false, "both partitions are read from their first record");
}

#[test]
fn a_key_may_be_another_field_of_the_remembered_event() {
    let marker = "when: activity == STEP_UP, of: [user], key: [actor], ttl: \"1h\"";
    let mut bench = Bench::new(acting(marker, "key: [session]", "fn decide(e, w) { !e.mark(\"m\").missing }"), 1);
    bench.event(0, step(1, "s", "s1"));
    bench.event(0, act(2, "a", "s1"));
    bench.event(0, AuthEvent { actor: Some("bob".into()), ..act(3, "b", "s1") });
    bench.event(0, AuthEvent { actor: Some("ann".into()), ..act(4, "c", "s1") });
    assert_eq!(bench.found.len(), 1);
    assert_eq!(bench.found[0].position.offset, 103);
}

#[test]
fn what_a_chain_remembered_goes_with_it_and_comes_back() {
    let mut bench = Bench::new(acting(STEPS, WAITS, MISSING), 2);
    bench.event(1, step(1, "s", "s1"));
    let chain = bench.chains[1].clone();
    bench.detector.forget(&chain);
    bench.event(0, act(2, "a", "s1"));
    bench.idle();
    assert_eq!(bench.found.len(), 1, "nobody here has seen a step-up");
    // its partition comes back, and with it the record that contradicts; the alert is out already
    bench.offsets[1] = 100;
    bench.event(1, step(1, "s", "s1"));
    bench.event(0, act(1000, "b", "s1"));
    bench.now += 60;
    bench.idle();
    bench.now += 60;
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (1, vec![None, None]));
}

#[test]
fn what_waits_on_a_chain_that_is_forgotten_is_left_to_its_next_reader() {
    let mut bench = Bench::new(acting(STEPS, WAITS, MISSING), 1);
    bench.event(0, act(2, "a", "s1"));
    assert_eq!(bench.deferred(), [Some(100)]);
    let chain = bench.chains[0].clone();
    bench.detector.forget(&chain);
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![None]));
    bench.offsets[0] = 100;
    bench.event(0, act(2, "a", "s1"));
    bench.now += 60;
    bench.idle();
    bench.now += 60;
    bench.idle();
    assert_eq!(bench.found.len(), 1);
}

#[test]
fn each_event_that_waits_is_judged_until_one_is_a_finding() {
    let functions = "fn decide(e, w) { e.mark(\"m\").missing && e.acr == 1 }";
    let mut bench = Bench::new(acting(STEPS, WAITS, functions), 1);
    for n in 0..20 {
        bench.event(0, AuthEvent { acr: Some(i32::from(n >= 5)), ..act(n, &format!("{n}"), "s1") });
    }
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (1, vec![None]));
    assert_eq!(bench.found[0].position.offset, 105, "the first that was not refused");
    assert_eq!(bench.detector.rule_stats()[0].gated, 6);
    assert_eq!(bench.detector.rule_stats()[0].keys, 1);
}

#[test]
fn a_rule_with_a_window_asks_too_and_is_told_again_when_what_it_asked_comes_back() {
    for settle in ["", "settle: \"1m\", "] {
        let text = format!(
            "marker(\"m\", #{{ when: activity == STEP_UP, key: [user], ttl: \"1h\" }});
             rule(\"M-1\", #{{ name: \"n\", severity: LOW, when: activity == LOGON, key: [src_ip], window: \"5m\",
                agg: #{{ n: count() }}, at_least: #{{ n: 3 }}, {settle}dedup: \"1h\" }});
             fn decide(e, w) {{ let m = e.mark(\"m\"); !m.missing && m.device == \"d1\" }}"
        );
        let mut bench = Bench::new(load(&text), 2);
        let known = |seconds| AuthEvent { device: Some("d1".into()), ..step(seconds, "s", "s1") };
        bench.event(1, known(1));
        (2..5).for_each(|n| bench.event(0, failed(n, &format!("{n}"), "ann", "192.0.2.1")));
        bench.idle();
        assert_eq!(bench.found.len(), 1, "{settle}");
        let reach: Vec<String> = bench.found[0].reach.iter().map(ToString::to_string).collect();
        assert_eq!(reach, ["main/auth/0/0@102", "main/auth/1/0@100"], "{settle}");
        let age = bench.alert(0)["evidences"][0]["data"]["marks"]["m"]["age"].as_f64();
        assert_eq!(age, Some(3.0), "{settle}");
        // the partition of the mark goes away, and perhaps with it the alert: it is raised again, under the same id
        let chain = bench.chains[1].clone();
        bench.detector.forget(&chain);
        bench.offsets[1] = 100;
        bench.event(0, failed(6, "5", "ann", "192.0.2.1"));
        bench.now += 120;
        bench.idle();
        assert_eq!(bench.found.len(), 1, "{settle}nobody here remembers a step-up");
        bench.event(1, known(1));
        bench.event(0, failed(7, "6", "ann", "192.0.2.1"));
        bench.now += 120;
        bench.idle();
        bench.now += 120;
        bench.idle();
        assert_eq!((bench.found.len(), bench.ids().len()), (2, 1), "{settle}");
    }
}

#[test]
fn records_that_are_read_twice_are_remembered_and_judged_once() {
    let text = "marker(\"bad\", #{ when: kind == REJECTION, key: [source], ttl: \"365d\" });
        rule(\"M-1\", #{ name: \"n\", severity: LOW, when: kind == REJECTION, key: [source], wait: \"10s\" });
        fn decide(e, w) { e.mark(\"bad\").count == 2 }";
    let mut bench = Bench::new(load(text), 1);
    for offset in [100, 101, 102, 101, 102] {
        bench.offsets[0] = offset;
        bench.now += 1;
        let outcome = Outcome::Rejection(Rejection::new("trailing_bytes", "x"));
        let (chain, timestamp, now) = (bench.chains[0].clone(), (START + offset) * 1000, bench.millis());
        bench.detector.judge(&Input { chain: &chain, offset, timestamp, now, outcome: &outcome }, &mut bench.found);
    }
    bench.idle();
    bench.now += 60;
    bench.idle();
    let found: Vec<_> = bench.found.iter().map(|finding| finding.position.offset).collect();
    assert_eq!((found, bench.deferred()), (vec![102], vec![None]), "the third has two before it");
}

#[test]
fn a_rule_that_waits_without_dedup_keeps_nothing_of_what_it_judged() {
    let mut bench = Bench::new(acting(STEPS, "key: [session], wait: \"10s\"", MISSING), 1);
    for n in 0..30 {
        bench.event(0, act(n, &format!("{n}"), &format!("s{}", n % 3)));
    }
    assert_eq!((bench.found.len(), bench.deferred()), (19, vec![Some(119)]));
    bench.idle();
    assert_eq!((bench.found.len(), bench.ids().len(), bench.deferred()), (30, 30, vec![None]));
    assert_eq!(bench.detector.totals().keys, 0);
}

#[test]
fn a_flood_of_waiting_events_is_bounded_and_hides_none() {
    let limit = 2 << 20;
    let mut bench = Bench::with(acting(STEPS, "key: [session], wait: \"10s\"", MISSING), 1, limit);
    bench.event(0, failed(0, "first", "bob", "192.0.2.9"));
    for n in 0..5_000 {
        bench.event(0, act(1, &format!("{n}"), "hot"));
        bench.event(0, act(1, &format!("x{n}"), &format!("s{n}")));
        assert!(bench.detector.totals().bytes <= limit as u64, "{:?}", bench.detector.totals());
    }
    bench.idle();
    assert_eq!((bench.ids().len(), bench.found.len(), bench.deferred()), (10_000, 10_000, vec![None]));
}

#[test]
fn a_flood_of_keys_pushes_out_nobody_who_comes_again_and_again() {
    let limit = 1 << 20;
    let marker = "when: activity == LOGON, key: [user], ttl: \"7d\"";
    let mut bench = Bench::with(acting(marker, "key: [user], wait: \"10s\"", MISSING), 1, limit);
    bench.event(0, failed(0, "bob", "bob", "192.0.2.1"));
    for n in 0..40_000_i64 {
        bench.event(0, failed(n, &format!("{n}"), &format!("flood-{n}"), "192.0.2.1"));
        if n % 1000 == 0 {
            bench.event(0, failed(n, &format!("ann-{n}"), "ann", "192.0.2.1"));
        }
    }
    let totals = bench.detector.totals();
    assert!(totals.bytes <= limit as u64 && totals.evicted > 30_000, "{totals:?}");
    for user in ["ann", "bob", "flood-30000", "flood-39999", "never"] {
        bench.event(0, AuthEvent { user: Some(user.into()), ..act(40_000, user, "s") });
    }
    bench.idle();
    let named: Vec<_> = bench.found.iter().map(|finding| finding.key[0].1.as_str()).collect();
    assert_eq!(named, ["bob", "flood-30000", "never"], "who came once, and was pushed out by those who came after");
    let mark = |at: usize| bench.alert(at)["evidences"][0]["data"]["marks"]["m"].clone();
    assert_eq!(mark(1), serde_json::json!({ "missing": true, "pushed_out": true }));
    assert_eq!(bench.alert(0)["unmapped"]["authseal"]["warming"], true, "read from offset 100");
}

#[test]
fn what_is_remembered_goes_when_no_question_can_reach_it() {
    let mut bench = Bench::new(acting(STEPS, WAITS, MISSING), 1);
    for n in 0..20_000 {
        bench.event(0, step(n, &format!("{n}"), &format!("s{n}")));
    }
    let totals = bench.detector.totals();
    assert!(totals.keys < 4_300 && totals.evicted == 0, "an hour, the lateness and the wait are 4210: {totals:?}");
}

#[test]
fn the_horizon_holds_what_markers_remember() {
    assert_eq!(acting(STEPS, WAITS, MISSING).horizon(), Duration::from_secs(3610));
}

#[test]
fn what_comes_first_and_what_is_far_away() {
    // a device that a user was not seen with for a week; impossible travel; a session that changes its agent
    let text = "marker(\"last\", #{ when: activity == LOGON, key: [user], ttl: \"1d\" });
        marker(\"device\", #{ when: activity == LOGON, key: [user, device], ttl: \"7d\" });
        rule(\"M-1\", #{ name: \"n\", severity: LOW, when: activity == LOGON, key: [user], wait: \"1m\" });
        fn decide(e, w) { true }
        fn whole(x) { if x == () { -1 } else { x.to_int() } }
        fn title(e, w) {
            let last = e.mark(\"last\");
            let fast = speed_kmh(last, e);
            let far = distance_km(e, last);
            let like = similarity(e.user_agent, last.user_agent);
            `${e.mark(\"device\").missing} ${whole(far)} ${whole(fast)} ${like}`
        }";
    let mut bench = Bench::new(load(text), 1);
    let logon = |n: i64, device: &str, place: Option<(f64, f64)>, agent: &str| AuthEvent {
        device: Some(device.into()),
        lat: place.map(|place| place.0),
        long: place.map(|place| place.1),
        user_agent: Some(agent.into()),
        ..failed(n, &format!("{n}"), "ann", "192.0.2.1")
    };
    bench.event(0, logon(0, "d1", Some((52.52, 13.405)), "abcd"));
    bench.event(0, logon(3600, "d2", Some((35.6895, 139.6917)), "abcx"));
    bench.event(0, logon(7200, "d1", None, "wxyz"));
    bench.idle();
    assert_eq!(bench.titles(), ["true -1 -1 ", "true 8916 8916 0.75", "false -1 -1 0.0"]);
}
