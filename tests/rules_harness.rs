//! The harness for tests of rules: what it says when a test, a test file or a rule is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use authseal::{
    artifact::File,
    detect::testing::{self, TestReport},
};

const RULE: &str = r#"rule("H-1", #{
    name: "harness", severity: LOW, when: activity == LOGON & outcome == FAILURE & !src_ip.in_list("egress"),
    key: [tenant, src_ip], window: "5m", agg: #{ n: count() }, at_least: #{ n: 3 }, dedup: "1h",
});
fn title(e, w) { `${w.n} from ${e.src_ip}` }
fn context(e, w) { #{ times: w.n, place: #{ ip: e.src_ip }, who: e.user } }
"#;

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), bytes: text.into() }
}

/// Runs this test file for the rule above.
fn run(tests: &str) -> Vec<TestReport> {
    testing::run(&[
        file("auth/harness.rhai", RULE),
        file("auth/harness.test.rhai", tests),
        file("lists/egress.txt", "# owner: x\n# expires: never\n"),
    ])
}

fn failures(tests: &str) -> Vec<String> {
    run(tests).iter().flat_map(|report| &report.failures).map(ToString::to_string).collect()
}

/// A test file with a firing test, a quiet test, and this one.
fn with(body: &str) -> String {
    format!(
        "fn bad(ip) {{ event(#{{ activity: LOGON, outcome: FAILURE, src_ip: ip }}) }}\n\
         test(\"fires\", || {{ let t = timeline(\"harness\"); for i in 0..3 {{ t.at(i, bad(\"192.0.2.1\")); }} \
         t.expect(#{{ alerts: 1 }}); }});\n\
         test(\"quiet\", || {{ let t = timeline(\"harness\"); t.at(0, bad(\"192.0.2.1\")); \
         t.expect(#{{ alerts: 0 }}); }});\n\
         test(\"more\", || {{\nlet t = timeline(\"harness\");\nfor i in 0..3 {{ t.at(i, bad(\"192.0.2.1\")); }}\n\
         {body}\n}});\n"
    )
}

#[test]
fn good_tests_pass_and_say_what_they_cover() {
    let reports = run(&with(
        "t.expect(#{ alerts: 1, severity: LOW, title: \"3 from 192.0.2.1\", key: #{ src_ip: \"192.0.2.1\" }, \
         context: #{ times: 3, who: () } });",
    ));
    assert!(reports.iter().all(TestReport::passed), "{reports:#?}");
    let told: Vec<_> =
        reports.iter().map(|r| (r.path.as_str(), r.line, r.name.as_str(), r.firing.len(), r.quiet.len())).collect();
    let path = "auth/harness.test.rhai";
    assert_eq!(told, [(path, 2, "fires", 1, 0), (path, 3, "quiet", 0, 1), (path, 4, "more", 1, 0)]);
    assert_eq!(reports[0].firing, ["H-1"]);
}

#[test]
fn wrong_expectations_are_told_with_their_place_and_the_reason() {
    for (body, wanted) in [
        (
            "t.expect(#{ alerts: 2 });",
            "7:3: expected 2 alerts of H-1, got 1: \"3 from 192.0.2.1\" (of 3 records `when` selected 3, \
             and the functions were asked 1 times)",
        ),
        ("t.expect(#{ alerts: 1, severity: HIGH });", "7:3: expected severity HIGH, got LOW"),
        (
            "t.expect(#{ alerts: 1, title: \"4 from\" });",
            "7:3: expected a title like \"4 from\", got \"3 from 192.0.2.1\"",
        ),
        ("t.expect(#{ alerts: 1, title: \"from*\" });", "7:3: expected a title like \"from*\""),
        (
            "t.expect(#{ alerts: 1, key: #{ src_ip: \"x\" } });",
            "7:3: expected key src_ip to be \"x\", it is \"192.0.2.1\"",
        ),
        ("t.expect(#{ alerts: 1, key: #{ src_pi: \"x\" } });", "the key of H-1 has no src_pi: did you mean `src_ip`?"),
        ("t.expect(#{ alerts: 1, context: #{ times: 4 } });", "7:3: expected context times to be 4, it is 3"),
        ("t.expect(#{ alerts: 1, context: #{ time: 3 } });", "the context of H-1 has no time: did you mean `times`?"),
        ("t.expect(#{ alerts: 1, context: 3 });", "context is a map"),
        ("t.expect(#{ alert: 1 });", "expect knows no `alert`: did you mean `alerts`?"),
        ("t.expect(#{ title: \"x\" });", "expect needs the number of alerts"),
        ("t.at(0, event(#{ usr: \"x\" }));", "events have no field `usr`: did you mean `user`?"),
        ("t.at(0, event(#{ activity: \"logn\" }));", "not \"logn\": did you mean `LOGON`?"),
        ("t.at(0, event(#{ acr: \"high\" }));", "acr must be a whole number"),
        ("t.at(\"x\", bad(\"1\"));", "times are numbers of seconds"),
        ("timeline(\"harnes\");", "there is no rule file harnes.rhai: did you mean `harness`?"),
        ("t.list(\"egress\", [\"192.0.2.0/24\"]); t.expect(#{ alerts: 1 });", "got 0 (of 3 records `when` selected 0"),
        ("", "4:1: the test expects nothing: end it with t.expect(#{ alerts: … })"),
    ] {
        let found = failures(&with(body));
        assert_eq!(found.len(), 1, "{body}: {found:#?}");
        assert!(found[0].starts_with("auth/harness.test.rhai:") && found[0].contains(wanted), "{body}: {found:#?}");
    }
}

#[test]
fn updates_are_counted_apart_from_alerts() {
    let grows = |wanted: i64| {
        let rule = RULE.replace("dedup: \"1h\"", "dedup: \"1h\", update_on: \"x2\"");
        let tests = with(&format!(
            "for i in 10..19 {{ t.at(i, bad(\"192.0.2.1\")); }}\n\
             t.expect(#{{ alerts: 1, title: \"3 from\", updates: {wanted} }});"
        ));
        let list = file("lists/egress.txt", "# owner: x\n# expires: never\n");
        let files = [file("harness.rhai", &rule), file("harness.test.rhai", &tests), list];
        testing::run(&files).iter().flat_map(|report| &report.failures).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(grows(2), Vec::<String>::new(), "twelve are three, six, and twelve");
    let found = grows(1);
    assert!(found.len() == 1 && found[0].contains("expected 1 updates of H-1, got 2"), "{found:?}");
}

#[test]
fn events_may_be_late_repeated_without_a_key_or_rejections() {
    let late = "for i in 0..5 { t.at(5000 + i, bad(\"192.0.2.9\")); } t.late(3, 5010, bad(\"192.0.2.1\"));
        t.expect(#{ alerts: 1 });";
    let found = failures(&with(late));
    assert!(found[0].contains("got 2") && found[0].contains("1 came too late to be judged"), "{found:?}");
    let repeated = "for i in 0..5 {
            t.at(9, event(#{ event_id: \"x\", activity: LOGON, outcome: FAILURE, src_ip: \"192.0.2.7\" }));
        }
        t.at(10, event(#{ activity: LOGON, outcome: FAILURE, user: \"ann\" }));
        t.at(11, rejection(#{ code: \"trailing_bytes\", detail: \"x\", topic: \"auth\" })); t.expect(#{ alerts: 3 });";
    let found = failures(&with(repeated));
    assert!(found[0].contains("4 were repeats of an event; 1 lacked a field of the key"), "{found:?}");
}

#[test]
fn a_live_rule_needs_a_firing_and_a_quiet_test() {
    let firing = "test(\"f\", || {
        let t = timeline(\"harness\");
        for i in 0..3 { t.at(i, event(#{ activity: LOGON, outcome: FAILURE, src_ip: \"192.0.2.1\" })); }
        t.expect(#{ alerts: 1 });
    });";
    let quiet = "test(\"q\", || { let t = timeline(\"harness\"); t.expect(#{ alerts: 0 }); });";
    assert_eq!(failures(&format!("{firing}{quiet}")), Vec::<String>::new());
    assert!(
        failures(firing)[0]
            .contains("live rule H-1 has no test in which it stays quiet: add one to auth/harness.test.rhai")
    );
    assert!(failures(quiet)[0].contains("no test in which it fires: add one"));
    let untested = testing::run(&[file("a.rhai", RULE), file("lists/egress.txt", "# owner: x\n# expires: never\n")]);
    assert!(untested[0].failures[0].message.contains("in which it fires, and none in which it stays quiet"));
    let shadow = file("a.rhai", &RULE.replace("name:", "mode: \"shadow\", name:"));
    assert_eq!(testing::run(&[shadow, file("lists/egress.txt", "# owner: x\n# expires: never\n")]), []);
}

#[test]
fn broken_files_are_reports_with_failures() {
    let broken = failures("test(\"x\", || { ");
    assert!(broken.iter().any(|text| text.starts_with("auth/harness.test.rhai:1:")), "{broken:?}");
    assert!(failures("let x = 5;")[0].contains("the file has no test"));
    assert!(failures("loop { }").iter().any(|text| text.contains("Too many operations")));
    let bad = testing::run(&[file("a.rhai", "rule(\"X\", #{ nam: 1 });")]);
    assert_eq!((bad.len(), bad[0].name.as_str()), (1, "the rules load"));
    assert!(bad[0].failures.len() > 2, "all problems at once: {bad:?}");
}

#[test]
fn a_test_that_goes_wrong_does_not_keep_others_from_running() {
    let reports =
        run(&with("throw \"oops\";")
            .replace("test(\"quiet\"", "test(\"thrown\", || { throw \"first\"; }); test(\"quiet\""));
    let names: Vec<_> = reports.iter().map(|report| (report.name.as_str(), report.passed())).collect();
    assert_eq!(names, [("fires", true), ("thrown", false), ("quiet", true), ("more", false)]);
}
