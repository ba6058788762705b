//! The shipped rules: they load, their own tests pass, and they say who answers for them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot read its data has failed

use authseal::{
    artifact::File,
    detect::{Detector, Finding, Input, Limits, RuleSet, testing},
    event::{Activity, AuthEvent, Micros, Outcome as Ended, UserKind},
    position::ChainId,
    record::{Outcome, Rejection},
};
use std::{collections::BTreeSet, io::Write, path::Path, sync::Arc, time::Duration};

/// The files of `rules/`, with paths below it.
fn shipped() -> Vec<File> {
    fn walk(folder: &Path, below: &str, files: &mut Vec<File>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{below}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), &format!("{path}/"), files),
                false => files.push(File { path, bytes: std::fs::read(entry.path()).unwrap() }),
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"), "", &mut files);
    files
}

#[test]
fn the_tests_beside_the_rules_pass() {
    let reports = testing::run(&shipped());
    let failures: Vec<String> = reports.iter().flat_map(|report| &report.failures).map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(reports.len() >= 30, "only {} tests ran", reports.len());
}

#[test]
fn every_rule_says_who_answers_for_it_and_what_to_do() {
    let rules = RuleSet::load(&shipped()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(
        rules.rules().iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(),
        ["AUTH-0001", "AUTH-0002", "AUTH-0003", "AUTH-0004", "AUTH-0026"]
    );
    for rule in rules.rules() {
        let said = [&rule.owner, &rule.runbook, &rule.description].iter().all(|text| !text.is_empty());
        assert!(said && !rule.falsepos.is_empty() && !rule.attack.is_empty(), "{rule:?}");
    }
    assert_eq!(rules.horizon(), std::time::Duration::from_secs(3600 + 120));
}

/// A rule with everything that an alert can hold, on anything that fails.
const ODD: &str = r#"// Odd things.
rule("ODD-1", #{
    name: "odd", version: 7, severity: INFO, mode: "shadow", status: "experimental", runbook: "ask the desk",
    attack: ["TA0006/T1110", "TA0040/T1531"],
    when: kind == REJECTION | outcome == UNKNOWN, key: [topic, source],
});
fn context(e, w) { #{ deep: #{ deeper: [1, 2.5, true, (), "\u0000"] }, attributes: e.attributes, all: e.privileges } }
fn title(e, w) { if e.user == () { throw "nobody" } else { `odd: ${e.user}` } }
"#;

/// Attacks that make every shipped rule fire, and odd records.
fn attacks() -> Vec<Outcome> {
    let start = 1_796_000_000_000_000;
    let event = |at: i64, activity: Activity, user: String, ip: &str| AuthEvent {
        event_id: format!("{activity}-{at}-{user}").into(),
        time: Micros(start + at * 1_000_000),
        source: "okta".into(),
        activity,
        outcome: if activity == Activity::Logon { Ended::Failure } else { Ended::Success },
        user: Some(user.as_str().into()),
        src_ip: Some(ip.into()),
        ..AuthEvent::default()
    };
    // the ends of what a decoder accepts; first, so that none is late
    let times = [0, 32_503_680_000_000_000, start];
    let edges = times.map(|micros| AuthEvent {
        event_id: format!("edge-{micros}").into(),
        time: Micros(micros),
        outcome: Ended::Unknown,
        user: None,
        ..event(0, Activity::Other, String::new(), "")
    });
    let mut events = edges.to_vec();
    for n in 0..60 {
        events.push(event(n, Activity::Logon, format!("stuffed{n}"), "203.0.113.7"));
        events.push(event(n, Activity::Logon, format!("sprayed{}", n % 12), "2001:db8::1:2"));
        events.push(event(n, Activity::AccountLock, format!("locked{n}"), "::ffff:192.0.2.1"));
    }
    let odd = |time: i64, text: &str| AuthEvent {
        outcome: Ended::Unknown,
        user_id: Some(text.into()),
        user_kind: UserKind::Service,
        actor: Some(text.into()),
        dst_host: Some(text.into()),
        src_asn: Some(-1),
        city: Some(text.into()),
        reason: Some(text.into()),
        user_agent: Some(text.into()),
        privileges: vec![text.into(); 100],
        tenant: Some(text.into()),
        ..event(time, Activity::Other, text.into(), text)
    };
    for text in ["", "\u{0}\n\"\\", "\u{202e}ü\u{1f511}", &"long ".repeat(20_000)] {
        events.push(odd(70, text));
    }
    let mut outcomes: Vec<_> = events.into_iter().map(|event| Outcome::Event(Box::new(event))).collect();
    outcomes.push(Outcome::Rejection(Rejection::new("trailing_bytes", "3 bytes after the value")));
    outcomes.push(Outcome::Opaque);
    outcomes
}

/// The alerts go to a file, which `tests/ocsf/validate.sh` checks against OCSF's schema in the live tests.
#[test]
fn alerts_of_every_rule_are_json_of_bounded_size() {
    let mut files = shipped();
    files.push(File { path: "odd.rhai".into(), bytes: ODD.into() });
    let rules = RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut detector =
        Detector::new(Arc::new(rules), Limits { state_bytes: 8 << 20, lateness: Duration::from_secs(600) });
    let chain: Arc<ChainId> = Arc::new("main/auth.events/3/0".parse().unwrap());
    let mut findings: Vec<Finding> = Vec::new();
    for (offset, outcome) in (0..).zip(attacks()) {
        let now = 1_796_000_100_000;
        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome: &outcome }, &mut findings);
    }
    detector.idle(&chain, 1_796_001_000_000, &mut findings);
    let fired: BTreeSet<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    let expected = ["AUTH-0001", "AUTH-0002", "AUTH-0003", "AUTH-0004", "AUTHSEAL-RULE-ERROR", "ODD-1"];
    assert_eq!(fired.into_iter().collect::<Vec<_>>(), expected);
    let odd: Vec<_> = findings.iter().filter(|finding| finding.rule == "ODD-1").collect();
    assert_eq!(odd.len(), 8, "{:?}", odd.iter().map(|finding| &finding.title).collect::<Vec<_>>());
    assert!(odd.iter().all(|finding| !finding.live));

    let mut file = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts.ndjson")).unwrap();
    for finding in &findings {
        let alert: serde_json::Value = serde_json::from_slice(&finding.ocsf).unwrap();
        assert_eq!(alert["finding_info"]["uid"], finding.uid);
        assert_eq!(alert["metadata"]["labels"][0], if finding.live { "mode:live" } else { "mode:shadow" });
        assert!(finding.ocsf.len() <= 256 * 1024);
        file.write_all(&finding.ocsf).unwrap();
        file.write_all(b"\n").unwrap();
    }
}

#[test]
fn the_rule_in_the_documentation_works() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let blocks: Vec<&str> = text.split("```rhai\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [rule, tests] = blocks[..] else { panic!("docs/rules.md shows a rule and its tests") };
    let list = "# owner: network team\n# expires: 2027-12-31\n";
    let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
    let files =
        [file("token_reuse.rhai", rule), file("token_reuse.test.rhai", tests), file("lists/known_clients.txt", list)];
    let failures: Vec<_> = testing::run(&files).into_iter().flat_map(|report| report.failures).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn every_number_and_test_of_a_shipped_rule_is_held_by_its_tests() {
    let mut unheld = Vec::new();
    for (rule, from, to) in [
        ("credential_stuffing", "activity == LOGON & ", ""),
        ("credential_stuffing", "outcome == FAILURE", "outcome != UNKNOWN & user.exists()"),
        ("credential_stuffing", "!reason.exists() | ", ""),
        ("credential_stuffing", " & !src_ip.in_list(\"trusted_egress\")", ""),
        ("credential_stuffing", "key:      [tenant, src_ip]", "key: [tenant]"),
        ("credential_stuffing", "key:      [tenant, src_ip]", "key: [src_ip]"),
        ("credential_stuffing", "window:   \"15m\"", "window: \"2h\""),
        ("credential_stuffing", "attempts: 25", "attempts: 24"),
        ("credential_stuffing", "attempts: 25", "attempts: 31"),
        ("credential_stuffing", "settle:   \"2m\",", ""),
        ("credential_stuffing", "dedup:    \"1h\"", "dedup: \"1m\""),
        ("credential_stuffing", "dedup:    \"1h\"", "dedup: \"1d\""),
        ("credential_stuffing", "w.per_user <= 2 ||", "w.per_user <= 4 ||"),
        ("credential_stuffing", "w.users >= 100", "w.users >= 1000"),
        ("password_spray", "users: 5", "users: 4"),
        ("password_spray", "window:   \"1h\"", "window: \"9h\""),
        ("password_spray", "!stuffing && ", ""),
        ("password_spray", "w.per_user <= 8 ||", "true ||"),
        ("password_spray", "|| w.attempts - w.per_user >= 15", ""),
        ("password_spray", " && again", ""),
        ("password_spray", "w.users >= 50", "w.users >= 500"),
        ("password_spray", " & !src_ip.in_list(\"trusted_egress\")", ""),
        ("lockout_storm", "activity == ACCOUNT_LOCK", "activity.one_of([ACCOUNT_LOCK, ACCOUNT_UNLOCK])"),
        ("lockout_storm", "outcome != FAILURE", "user.exists()"),
        ("lockout_storm", "outcome != FAILURE", "outcome == SUCCESS"),
        ("lockout_storm", "key:      [tenant]", "key: [source]"),
        ("lockout_storm", "window:   \"5m\"", "window: \"15m\""),
        ("lockout_storm", "at_least: #{ users: 10 }", "at_least: #{ locks: 10 }"),
        ("lockout_storm", "at_least: #{ users: 10 }", "at_least: #{ users: 9 }"),
        ("lockout_storm", "dedup:    \"30m\"", "dedup: \"1m\""),
        ("rejection_surge", "kind == REJECTION", "kind == REJECTION | activity == LOGON"),
        ("rejection_surge", "key:      [topic]", "key: [tenant]"),
        ("rejection_surge", "window:   \"5m\"", "window: \"6m\""),
        ("rejection_surge", "rejections: 100 ", "rejections: 99 "),
        ("rejection_surge", "rejections: 100 ", "rejections: 101 "),
        ("rejection_surge", "dedup:    \"1h\"", "dedup: \"5m\""),
        ("rejection_surge", "dedup:    \"1h\"", "dedup: \"1d\""),
        ("rejection_surge", "w.codes == 1", "w.codes >= 1"),
        ("brute_force", "attempts: 20", "attempts: 19"),
        ("brute_force", "attempts: 20", "attempts: 21"),
        ("brute_force", "window:   \"1h\"", "window: \"2h\""),
        ("brute_force", "dedup:    \"6h\"", "dedup: \"1h\""),
        ("brute_force", "\"invalid_credentials\", ", "\"invalid_credentials\", \"policy\", "),
        ("brute_force", "e.user == \"root\"", "e.user == \"rot\""),
    ] {
        let mut files = shipped();
        let path = format!("{rule}.rhai");
        files.retain(|file| [&path, &format!("{rule}.test.rhai")].contains(&&file.path) || file.path.ends_with(".txt"));
        for file in files.iter_mut().filter(|file| file.path == path) {
            let text = String::from_utf8(file.bytes.clone()).unwrap();
            assert!(text.contains(from), "{path} has no {from}");
            file.bytes = text.replacen(from, to, 1).into_bytes();
        }
        let reports = testing::run(&files);
        assert!(reports.iter().all(|report| report.name != "the rules load"), "{path}: {to}: {reports:?}");
        if reports.iter().all(testing::TestReport::passed) {
            unheld.push(format!("{path}: no test minds {to:?} in the place of {from:?}"));
        }
    }
    assert!(unheld.is_empty(), "{}", unheld.join("\n"));
}
