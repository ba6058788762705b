//! Exceptions and silences: how they are read, what they cover, and what becomes of a finding that they cover.

use super::*;
use crate::detect::Problem;

const COUNTING: &str = "rule(\"T-1\", #{ name: \"test\", severity: LOW, when: activity == LOGON & outcome == FAILURE,\n\
    key: [tenant, src_ip], window: \"10m\", agg: #{ n: count() }, at_least: #{ n: 2 }, dedup: \"1h\" });";
const SINGLE: &str = "rule(\"T-2\", #{ name: \"single\", severity: LOW, when: activity == LOGON & outcome == FAILURE,\n\
    key: [user] });";

fn with(toml: &str) -> Result<RuleSet, Vec<Problem>> {
    RuleSet::load(&[file("a.rhai", COUNTING), file("b.rhai", SINGLE), file("exceptions/x.toml", toml)])
}

fn entry(kind: &str, rule: &str, wanted: &str) -> String {
    format!(
        "[[{kind}]]\nrule = \"{rule}\"\nmatch = {wanted}\nowner = \"o\"\nreason = \"CHG-1\"\nexpires = 2027-03-31\n"
    )
}

/// What is raised for two failed logons of ann from 192.0.2.1, and the statistics of a rule.
fn judged(toml: &str) -> Bench {
    let mut bench = Bench::new(Arc::new(with(toml).unwrap_or_else(|problems| panic!("{problems:#?}"))), 1);
    bench.logons([(0, "ann".to_owned()), (10, "ann".to_owned())]);
    bench.idle();
    bench
}

#[test]
fn an_exception_keeps_a_finding_back_and_counts_it() {
    assert_eq!(judged("").found.len(), 3, "one of the counting rule, two of the other");
    for wanted in [
        "{ src_ip = \"192.0.2.0/24\" }",
        "{ src_ip = [\"10.0.0.0/8\", \"192.0.2.1\"], tenant = \"\" }",
        "{ src_ip = \"::ffff:192.0.2.1\" }",
    ] {
        let bench = judged(&entry("exception", "T-1", wanted));
        assert!(bench.found.iter().all(|finding| finding.rule == "T-2"), "{wanted}");
        let stats = bench.detector.rule_stats();
        assert_eq!((stats[0].excepted, stats[0].findings, stats[1].excepted), (1, 0, 0), "{wanted}");
    }
    for other in ["{ src_ip = \"192.0.3.0/24\" }", "{ src_ip = \"192.0.2.1\", tenant = \"acme\" }"] {
        assert_eq!(judged(&entry("exception", "T-1", other)).found.len(), 3, "{other}");
    }
}

#[test]
fn an_exception_for_all_rules_applies_where_its_fields_can_be_judged() {
    let bench = judged(&entry("exception", "*", "{ user = \"a*\" }"));
    let rules: Vec<_> = bench.found.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(rules, ["T-1"], "the counting rule has no user in its key");
    let bench = judged(&entry("exception", "*", "{ src_ip = \"192.0.2.1\" }"));
    assert_eq!(bench.found.len(), 0);
}

#[test]
fn a_silenced_finding_goes_out_as_suppressed() {
    let bench = judged(&entry("silence", "T-1", "{ src_ip = \"192.0.2.1\" }"));
    let silenced: Vec<_> = bench.found.iter().filter(|finding| finding.silenced).collect();
    assert_eq!((silenced.len(), bench.found.len()), (1, 3));
    assert!(silenced[0].live, "it is published");
    let alert: serde_json::Value = serde_json::from_slice(&silenced[0].ocsf).unwrap();
    assert_eq!(
        (&alert["status_id"], &alert["status"], &alert["is_alert"]),
        (&3.into(), &"Suppressed".into(), &false.into())
    );
    let silence = &alert["unmapped"]["authseal"]["silence"];
    assert_eq!((&silence["reason"], &silence["expires"]), (&"CHG-1".into(), &"2027-03-31".into()));
    assert_eq!(bench.detector.rule_stats()[0].silenced, 1);
    let other = bench.found.iter().position(|finding| !finding.silenced).unwrap();
    assert_eq!((&bench.alert(other)["status_id"], &bench.alert(other)["is_alert"]), (&1.into(), &true.into()));
}

#[test]
fn what_an_exception_refused_may_be_found_later_in_the_same_period() {
    let single = SINGLE.replace("key: [user] }", "key: [user], dedup: \"1h\" }");
    let toml = entry("exception", "T-2", "{ src_ip = \"192.0.2.1\" }");
    let rules = RuleSet::load(&[file("b.rhai", &single), file("exceptions/x.toml", &toml)]).unwrap();
    let mut bench = Bench::new(Arc::new(rules), 1);
    bench.event(0, failed(0, "1", "ann", "192.0.2.1"));
    bench.event(0, failed(1, "2", "ann", "203.0.113.7"));
    assert_eq!(bench.found.len(), 1, "the exception does not hide the other address");
}

#[test]
fn entries_end_by_the_time_of_the_event() {
    // tests begin on 2026-01-05
    let of = |day: &str| entry("exception", "T-1", "{ src_ip = \"192.0.2.1\" }").replace("2027-03-31", day);
    assert_eq!(judged(&of("2026-01-04")).found.len(), 3);
    assert_eq!(judged(&of("2026-01-05")).found.len(), 2);
    assert_eq!(judged(&of("\"2026-01-05\"")).found.len(), 2);
}

#[test]
fn they_are_part_of_the_digest() {
    let toml = entry("exception", "T-1", "{ src_ip = \"192.0.2.1\" }");
    let (one, other) = (with(&toml).unwrap(), with(&toml.replace("192.0.2.1", "192.0.2.2")).unwrap());
    assert_ne!(one.bundle().0, other.bundle().0);
    assert_ne!(one.bundle().0, with("").unwrap().bundle().0);
}

#[test]
fn the_calendar_is_kept() {
    let day = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let rules = with(&entry("silence", "T-1", "{ src_ip = \"192.0.2.1\" }")).unwrap();
    let review = rules.review(day("2026-04-01T00:00:00Z"));
    assert_eq!((review.problems.len(), review.warnings.len()), (0, 0));
    let review = rules.review(day("2026-03-29T00:00:00Z"));
    assert!(review.problems[0].to_string().starts_with("exceptions/x.toml:1:1: this silence would last"), "{review:?}");
    let review = rules.review(day("2027-03-20T00:00:00Z"));
    assert!(review.warnings[0].message.contains("ends soon, on 2027-03-31: o answers"), "{review:?}");
    let review = rules.review(day("2027-04-01T00:00:00Z"));
    assert!(review.warnings[0].message.contains("has expired on 2027-03-31"), "{review:?}");
    let list = file("lists/l.txt", "# owner: net\n# expires: 2026-01-31\nx\n");
    let rules = RuleSet::load(&[file("b.rhai", SINGLE), list]).unwrap();
    let review = rules.review(day("2026-02-01T00:00:00Z"));
    assert_eq!(
        review.warnings[0].to_string(),
        "lists/l.txt:1:1: list l has expired and matches nothing: net answers for it"
    );
}

#[test]
fn everything_wrong_is_said_at_its_place() {
    let good = entry("exception", "T-1", "{ src_ip = \"192.0.2.1\" }");
    for (from, to, told) in [
        ("rule = \"T-1\"", "rule = \"T-9\"", "2:8: there is no rule T-9: did you mean `T-1`?"),
        ("src_ip", "scr_ip", "3:11: events have no field `scr_ip`: did you mean `src_ip`?"),
        ("\"192.0.2.1\"", "\"192.0.2\"", "3:20: \"192.0.2\" is no address or CIDR"),
        ("\"192.0.2.1\"", "\"0.0.0.0/0\"", "3:20: 0.0.0.0/0 is every address"),
        ("src_ip = \"192.0.2.1\"", "tenant = \"**\"", "3:20: \"**\" matches everything"),
        (
            "src_ip = \"192.0.2.1\"",
            "outcome = \"failure\"",
            "3:21: outcome is never \"failure\": did you mean `FAILURE`?",
        ),
        ("src_ip = \"192.0.2.1\"", "time = 7", "3:11: time cannot be matched"),
        (
            "src_ip = \"192.0.2.1\"",
            "user = \"ann\"",
            "2:8: T-1 counts events by [tenant, src_ip], and user of one event",
        ),
        ("{ src_ip = \"192.0.2.1\" }", "{}", "3:9: an empty `match` would match everything"),
        ("{ src_ip = \"192.0.2.1\" }", "\"x\"", "3:9: `match` must be a table of fields"),
        ("\"192.0.2.1\"", "[]", "3:20: an empty array matches nothing"),
        ("2027-03-31", "\"never\"", "6:11: every entry has an end: `expires` must be a day"),
        ("2027-03-31", "2027-02-30", "6:"),
        ("2027-03-31", "2027-03-31T08:00:00Z", "6:11: `expires` must be a day"),
        ("expires = 2027-03-31\n", "", "1:1: this exception has no `expires`"),
        ("owner = \"o\"\n", "", "1:1: this exception has no `owner`"),
        ("reason = \"CHG-1\"", "reason = \" \"", "5:10: `reason` must be a string"),
        ("owner =", "owners =", "4:1: exception entries have no key `owners`: did you mean `owner`?"),
        ("[[exception]]", "[[exceptions]]", "1:3: unknown table `exceptions`: did you mean `exception`?"),
        ("[[exception]]", "[exception]", "1:2: write [[exception]] in double brackets"),
        ("rule = \"T-1\"", "rule = T-1", "2:8: this is no valid TOML"),
    ] {
        assert!(good.contains(from), "{from}");
        let problems: Vec<String> = match with(&good.replacen(from, to, 1)) {
            Ok(_) => panic!("{to} loads"),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        };
        let wanted = format!("exceptions/x.toml:{told}");
        assert!(problems.iter().any(|problem| problem.starts_with(&wanted)), "{wanted} in {problems:#?}");
    }
    let silence = entry("silence", "T-2", "{ src_ip = \"192.0.2.1\" }");
    let single = SINGLE.replace("key: [user] }", "key: [user], dedup: \"1h\" }");
    let problems = RuleSet::load(&[file("b.rhai", &single), file("exceptions/x.toml", &silence)]).err().unwrap();
    assert!(problems[0].message.contains("would silence others"), "{problems:?}");
    let nowhere = entry("exception", "*", "{ device = \"d\", src_ip = \"192.0.2.1\" }");
    let problems = RuleSet::load(&[file("a.rhai", COUNTING), file("exceptions/x.toml", &nowhere)]).err().unwrap();
    assert!(problems[0].message.contains("it applies to no rule"), "{problems:?}");
}
