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

mod attacks;

/// The ids of the catalogue.
fn ids() -> Vec<String> {
    (1..=26).map(|number| format!("AUTH-{number:04}")).collect()
}

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
    assert_eq!(rules.rules().iter().map(|rule| rule.id.clone()).collect::<Vec<_>>(), ids());
    let runbooks = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md")).unwrap();
    for rule in rules.rules() {
        let said = [&rule.owner, &rule.runbook, &rule.description].iter().all(|text| !text.is_empty());
        assert!(said && !rule.falsepos.is_empty() && !rule.attack.is_empty(), "{rule:?}");
        assert_eq!(rule.runbook, format!("https://runbooks.example/{}", rule.id));
        let heading = format!("\n## {} {}\n", rule.id, rule.name);
        let section = runbooks.split(&heading).nth(1).unwrap_or_else(|| panic!("docs/runbooks.md lacks {heading:?}"));
        let section = section.split("\n## ").next().unwrap();
        for part in ["**Meaning.**", "**Triage.**", "**Response.**", "**False positives.**", "**Tuning.**"] {
            assert!(section.contains(part), "the runbook of {} lacks {part}", rule.id);
        }
    }
    // what a default replay horizon can rebuild
    assert_eq!(rules.horizon(), Duration::from_secs(2 * 3600));
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

/// A rule whose findings are told again.
const GROWING: &str = r#"rule("ODD-2", #{
    name: "growing", severity: LOW, when: activity == ACCOUNT_LOCK, key: [tenant], window: "5m", dedup: "1d",
    agg: #{ users: distinct(user), first: first(user), rate: rate(), least: min(acr) }, at_least: #{ users: 10 },
    update_on: "x2",
});
"#;

/// Attacks that make every shipped rule fire, and odd records.
fn attacks() -> Vec<Outcome> {
    let start = 1_796_000_000_000_000;
    let event = |at: i64, activity: Activity, user: String, ip: &str| AuthEvent {
        event_id: format!("{activity}-{at}-{user}").into(),
        time: Micros(start + at * 1_000_000),
        source: "okta".into(),
        activity,
        outcome: Ended::Unknown,
        user: Some(user.as_str().into()),
        src_ip: Some(ip.into()),
        ..AuthEvent::default()
    };
    // the ends of what a decoder accepts; first, so that none is late
    let times = [0, 32_503_680_000_000_000, start];
    let edges = times.map(|micros| AuthEvent {
        event_id: format!("edge-{micros}").into(),
        time: Micros(micros),
        user: None,
        ..event(0, Activity::Other, String::new(), "")
    });
    let mut events = edges.to_vec();
    // the first of them is two months old: it must not be late either
    let mut attacks = attacks::catalogue(start);
    events.insert(1, attacks.remove(0));
    events.append(&mut attacks);
    let odd = |time: i64, text: &str| AuthEvent {
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
    let rejection = || Outcome::Rejection(Rejection::new("trailing_bytes", "3 bytes after the value"));
    outcomes.extend(std::iter::repeat_with(rejection).take(110));
    outcomes.push(Outcome::Opaque);
    outcomes
}

/// The alerts go to a file, which `tests/ocsf/validate.sh` checks against OCSF's schema in the live tests.
#[test]
fn alerts_of_every_rule_are_json_of_bounded_size() {
    let mut files = shipped();
    files.push(File { path: "odd.rhai".into(), bytes: ODD.into() });
    files.push(File { path: "growing.rhai".into(), bytes: GROWING.into() });
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
    let own = vec!["AUTHSEAL-RULE-ERROR".into(), "ODD-1".into(), "ODD-2".into()];
    assert_eq!(fired.into_iter().collect::<Vec<_>>(), [ids(), own].concat());
    let growing = findings.iter().filter(|finding| finding.rule == "ODD-2").map(|finding| finding.update);
    assert_eq!(growing.collect::<Vec<_>>(), [0, 1], "10 and 20 of 20 accounts");
    let odd: Vec<_> = findings.iter().filter(|finding| finding.rule == "ODD-1").collect();
    // one for each odd record; its functions fail on rejections, and after ten failures in a row it is switched off
    assert_eq!(odd.len(), 17, "{:?}", odd.iter().map(|finding| &finding.title).collect::<Vec<_>>());
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
    let [rule, tests, second, second_tests] = blocks[..] else { panic!("docs/rules.md shows rules and their tests") };
    let list = "# owner: network team\n# expires: 2027-12-31\n";
    let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
    let files = [
        file("token_reuse.rhai", rule),
        file("token_reuse.test.rhai", tests),
        file("logon_after_failures.rhai", second),
        file("logon_after_failures.test.rhai", second_tests),
        file("lists/known_clients.txt", list),
    ];
    let failures: Vec<_> = testing::run(&files).into_iter().flat_map(|report| report.failures).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

/// What stands between backticks in the first column of the table below this line of docs/rules.md.
fn examples(below: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let (_, rest) = text.split_once(below).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let first = rows.filter_map(|row| row.split("| ").nth(1).map(ToOwned::to_owned));
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_example_in_the_tables_of_the_documentation_loads() {
    let list = "# owner: x\n# expires: never\n192.0.2.0/24\n";
    let load = |text: &str| {
        let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
        let lists = ["lists/egress.txt", "lists/vips.txt"].map(|path| file(path, list));
        RuleSet::load(&[file("t.rhai", text), lists[0].clone(), lists[1].clone()]).err().unwrap_or_default()
    };
    let header = "rule(\"D-1\", #{ name: \"x\", severity: LOW, key: [dst_host],";
    let tests = examples("### `when`");
    assert_eq!(tests.len(), 43, "{tests:?}");
    for test in &tests {
        // fields that stand alone are named beside a test of them
        let test = if test.contains([' ', '(']) { test.clone() } else { format!("{test}.exists()") };
        assert_eq!(load(&format!("{header} when: {test} }});")), [], "{test}");
    }
    let aggregates = examples("### Aggregates");
    assert_eq!(aggregates.len(), 15, "{aggregates:?}");
    for aggregate in aggregates {
        let more = "window: \"5m\", at_least: #{ n: 2 }, dedup: \"1h\"";
        let text = format!("{header} when: acr > 1, {more}, agg: #{{ n: count(), a: {aggregate} }} }});");
        assert_eq!(load(&text), [], "{aggregate}");
    }
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
        ("credential_stuffing", "settle:   \"2m\"", "settle: \"1s\""),
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

#[test]
fn the_catalogue_in_the_documentation_is_that_of_the_rules() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let rules = RuleSet::load(&shipped()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| AUTH-"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), rules.rules().len());
    for (row, rule) in rows.iter().zip(rules.rules()) {
        let source =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(&rule.path)).unwrap();
        let body = source.split("\nrule(").nth(1).map_or(source.as_str(), |body| body);
        assert_eq!((row[0], row[1], row[5]), (rule.id.as_str(), rule.name.as_str(), rule.mode.name()));
        assert!(body.contains(&format!("[{}]", row[2])), "{}: key {}", rule.id, row[2]);
        assert!(source.contains(&format!("\"{}\"", row[3])), "{}: looks back {}", rule.id, row[3]);
        for technique in &rule.attack {
            let id = technique.sub_technique.as_ref().map_or(&technique.technique, |(id, _)| id);
            assert!(row[4].split(", ").any(|named| named == id), "{}: {id}", rule.id);
        }
    }
}
