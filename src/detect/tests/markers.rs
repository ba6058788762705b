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
    let t = line(); t.at(0, step("d1", 2)); t.at(700, act("payout.create")); t.expect(#{ alerts: 1, title: "*700 s old" });
    let t = line(); t.at(0, step("d1", 1)); t.at(9, act("payout.create")); t.expect(#{ alerts: 1, title: "*too weak" });
    let t = line(); t.at(0, step("d9", 2)); t.at(9, act("payout.create")); t.expect(#{ alerts: 1, title: "*other device" });
    let t = line(); t.at(0, step("d1", 2)); t.at(3601, act("payout.create")); t.expect(#{ alerts: 1, title: "*no step*" });
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
    assert!(failures.is_empty() && reports.len() == 6, "{reports:#?}");
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
