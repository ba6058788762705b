//! What does not load, and what is said about it.

use super::*;

const KEYS: &str = "key: [src_ip], window: \"5m\", agg: #{ n: count() }, at_least: #{ n: 5 }, dedup: \"1h\"";

/// The problems of a rule file, each as "line:message".
fn problems(text: &str) -> Vec<String> {
    match RuleSet::load(&[file("t.rhai", text), file("lists/egress.txt", "# owner: x\n# expires: never\n")]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|p| format!("{}:{}", p.at.map_or(0, |at| at.0), p.message)).collect(),
    }
}

fn with_when(when: &str) -> String {
    format!("rule(\"T-1\", #{{ name: \"t\", severity: LOW,\nwhen: {when},\n{KEYS} }});")
}

#[test]
fn a_good_rule_has_no_problems() {
    for when in [
        "activity == LOGON & outcome == FAILURE & !src_ip.in_list(\"egress\")",
        "LOGON == activity",
        "activity.one_of([LOGON, STEP_UP]) | action == \"payout\"",
        "user != () & acr >= 2 & 3 > acr & lat < 1.5 & is_vpn == true",
        "user.exists() & user.matches(\"svc-*\") & reason.one_of([\"a\", \"b\"])",
        "user.matches_any_case(\"svc-*\") | attr(\"a\").matches_any_case([\"a\", \"b*\"])",
        "privileges.contains(\"admin\") & attr(\"branch\") == \"7\" & user != actor",
        "kind == REJECTION & topic == \"auth\"",
        "kind == EVENT",
    ] {
        assert_eq!(problems(&with_when(when)), Vec::<String>::new(), "{when}");
    }
}

#[test]
fn each_mistake_in_when_is_named_at_its_line() {
    for (when, wanted) in [
        ("activty == LOGON", "`activty` is no field and no symbol: did you mean `activity`?"),
        ("activity == LOGNO", "`LOGNO` is no field and no symbol: did you mean `LOGON`?"),
        ("activity == LOGON && outcome == FAILURE", "with & and |, not with && and ||"),
        ("activity == FAILURE", "activity is never FAILURE: it is one of LOGON"),
        ("activity == \"logon\"", "activity holds a symbol, not the string \"logon\": write LOGON without quotes"),
        ("user == 5", "user holds a string and is compared with a number"),
        ("user < \"b\"", "only numbers have an order, and user is none"),
        ("acr == \"2\"", "acr holds a number and is compared with the string \"2\""),
        ("is_vpn", "`when` must be a test of fields"),
        ("is_vpn & activity == LOGON", "`is_vpn` alone is no test"),
        ("!is_vpn", "`is_vpn` alone is no test"),
        ("activity == LOGON & true", "each side of & and | must be a test of a field"),
        ("privileges == \"admin\"", "privileges is an array: write privileges.contains(\"…\")"),
        ("user.contains(\"x\")", "contains() is for arrays; user is none: write user.matches(\"*x*\")"),
        ("attributes == \"x\"", "attributes is a map: write attr(\"name\")"),
        ("time == 5", "comparing moments in `when` is not supported"),
        ("user.mathces(\"x\")", "headers have no function `mathces`: did you mean `matches`?"),
        ("user.name == \"x\"", "fields have no property `name`"),
        ("user.one_of([1])", "one_of() takes an array of strings"),
        ("user.one_of([])", "one_of() needs at least one value"),
        ("activity.one_of([LOGON, SUCCESS])", "activity is never SUCCESS"),
        ("src_ip.in_list(\"egres\")", "there is no list lists/egres.txt: did you mean `egress`?"),
        ("acr.matches(\"2\")", "matches() is for strings; acr holds a number"),
        ("acr.matches_any_case(\"2\")", "matches_any_case() is for strings; acr holds a number"),
        ("user.matches_any_case([])", "matches_any_case() needs at least one pattern"),
        ("user.matches_any_case([5])", "matches_any_case() takes strings, not i64"),
        ("activity == LOGON & activity == STEP_UP", "`when` can never hold"),
        ("kind == REJECTION & activity == LOGON", "`when` can never hold"),
        ("5", "`when` must be a test of fields"),
        ("user =! 5", "this is no valid Rhai"),
    ] {
        let found = problems(&with_when(when));
        assert_eq!(found.len(), 1, "{when}: {found:#?}");
        assert!(found[0].starts_with("2:") && found[0].contains(wanted), "{when}: {found:#?}");
    }
}

#[test]
fn each_mistake_in_the_header_is_named() {
    let good = with_when("activity == LOGON");
    for (from, to, wanted) in [
        ("severity: LOW", "sevrity: LOW", "rules have no key `sevrity`: did you mean `severity`?"),
        ("severity: LOW", "severity: \"HGIH\"", "unknown severity \"HGIH\": did you mean `HIGH`?"),
        ("severity: LOW,", "", "the rule has no `severity`"),
        ("name: \"t\",", "", "the rule has no `name`"),
        ("name: \"t\"", "name: \"\"", "`name` must have 1 to 1,024 bytes"),
        ("key: [src_ip],", "", "the rule has no `key`"),
        ("key: [src_ip]", "key: []", "`key` must be an array of fields"),
        ("key: [src_ip]", "key: [privileges]", "privileges cannot be a key"),
        ("key: [src_ip]", "key: [src_ip, src_ip]", "src_ip stands twice in the key"),
        ("when: activity == LOGON,", "", "the rule has no `when`"),
        ("window: \"5m\",", "", "`agg` needs a `window`"),
        ("window: \"5m\"", "window: \"5 min\"", "\"5 min\" is no duration"),
        ("agg: #{ n: count() }, at_least: #{ n: 5 },", "", "`window` without `agg` has no effect"),
        (", at_least: #{ n: 5 }", "", "`agg` needs `at_least`"),
        ("at_least: #{ n: 5 }", "at_least: #{ m: 5 }", "at_least names `m`, which agg does not have"),
        ("at_least: #{ n: 5 }", "at_least: #{ n: 0 }", "`n` must be a whole number from 1 to 10000"),
        ("n: count()", "n: sum(acr)", "sum() is not supported yet"),
        ("n: count()", "n: distinct(privileges)", "distinct() takes a single value"),
        ("n: count()", "n: distinct(src_ip)", "an aggregate over a field of the key always sees one value"),
        ("n: count()", "n: 5", "`n` must be count(), distinct(field) or max_per(field)"),
        ("dedup: \"1h\"", "settle: \"1m\"", "`settle` needs `window` and `dedup`"),
        ("dedup: \"1h\"", "dedup: \"1h\", wait: \"5s\"", "`wait` is not supported yet"),
        ("dedup: \"1h\"", "dedup: \"1h\", update_on: \"x2\"", "`update_on` is not supported yet"),
        ("dedup: \"1h\"", "dedup: \"1h\", mode: \"life\"", "unknown mode \"life\": did you mean `live`?"),
        ("dedup: \"1h\"", "dedup: \"1h\", status: \"good\"", "unknown status \"good\""),
        ("dedup: \"1h\"", "dedup: \"1h\", attack: [\"T1110\"]", "is no ATT&CK reference"),
        ("dedup: \"1h\"", "dedup: \"1h\", attack: \"TA0006/T1110\"", "`attack` must be an array of strings"),
        ("\"T-1\"", "\"T 1\"", "\"T 1\" is no rule id"),
        ("rule(\"T-1\"", "rul(\"T-1\"", "headers have no function `rul`: did you mean `rule`?"),
        ("rule(", "marker(\"m\", #{ when: 1 }); rule(", "markers are not supported yet"),
        ("});", "}); rule(\"T-2\", #{});", "this one has 2"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(wanted)), "{to}: {found:#?}");
        assert!(found.len() <= 2, "{to}: {found:#?}");
    }
    assert!(problems("let x = 1;")[0].contains("this one has 0"));
}

#[test]
fn each_mistake_in_functions_is_named_at_its_line() {
    for (function, wanted) in [
        ("fn decide(e, w) { e.usr == \"x\" }", "events have no field `usr`: did you mean `user`?"),
        ("fn decide(e, w) { w.m > 3 }", "the window has no value `m` (n)"),
        ("fn decide(event, window) { event.usr.len() > window.m }", "events have no field `usr`"),
        ("fn decide(e, w) { user == \"x\" }", "there is no variable `user`: write `e.user`"),
        ("fn decide(e, w) { e.outcome == FALIURE }", "there is no variable `FALIURE`: did you mean `FAILURE`?"),
        ("fn decide(e, w) { e.user.to_lowr() == \"x\" }", "there is no function `to_lowr`: did you mean `to_lower`?"),
        ("fn decide(e) { true }", "fn decide takes (e, w)"),
        ("fn decid(e, w) { true }", "fn decid is never called: did you mean `decide`?"),
        ("fn decide(e, w) { while true { } true }", "rules have no loops"),
        ("fn decide(e, w) { for x in [1] { } true }", "rules have no loops"),
        ("fn decide(e, w) { loop { } }", "rules have no loops"),
        ("fn decide(e, w) { do { } until true; true }", "rules have no loops"),
        ("fn decide(e, w) { eval(\"1\") }", "`eval` is not available"),
        ("fn decide(e, w) { print(\"x\"); true }", "`print` is not available"),
        ("fn decide(e, w) { import \"x\" as y; true }", "`import` is not available"),
        ("fn decide(e, w) { let f = |x| x; true }", "this is no valid Rhai"),
        ("fn decide(e, w) { timestamp() }", "there is no function `timestamp`"),
    ] {
        let text = format!("{}\n{function}", with_when("activity == LOGON"));
        let found = problems(&text);
        assert!(!found.is_empty() && found.iter().any(|p| p.contains(wanted)), "{function}: {found:#?}");
        assert!(found.iter().all(|problem| problem.starts_with("4:")), "{function}: {found:#?}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "rule(\"T-1\", #{ name: \"t\", sevrity: LOW,\nwhen: activty == LOGON & user == 5 & is_vpn,\n\
        key: [src_pi], window: \"5x\" });\nfn title(e, w) { e.usr + w.n }";
    let found = problems(text);
    let wanted = [
        "sevrity",
        "the rule has no `severity`",
        "activty",
        "user holds a string",
        "`is_vpn` alone",
        "src_pi",
        "5x",
        "`window` without `agg`",
        "usr",
        "no value `n`",
    ];
    for part in wanted {
        assert!(found.iter().any(|problem| problem.contains(part)), "{part}: {found:#?}");
    }
    let twice = RuleSet::load(&[
        file("a.rhai", &with_when("activity == LOGON")),
        file("b.rhai", &with_when("activity == STEP_UP")),
        file("c.rhai", "("),
    ]);
    let found: Vec<_> = twice.err().unwrap().iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|p| p == "b.rhai: rule id T-1 is taken by a.rhai: give it another one"), "{found:?}");
    assert!(found.iter().any(|p| p.starts_with("c.rhai:1:")), "{found:?}");
}

#[test]
fn a_list_of_strings_holds_no_addresses() {
    let rule = with_when("src_ip.in_list(\"names\") & user.in_list(\"names\")");
    let list = file("lists/names.txt", "# owner: x\n# expires: never\nann\n10.0.0.1\n");
    let found: Vec<_> =
        RuleSet::load(&[file("t.rhai", &rule), list]).err().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("lists/names.txt:3:1: \"ann\" is no address or CIDR, and rule T-1 looks src_ip up here")
    );
}

#[test]
fn the_bundle_is_of_rules_and_lists_and_does_not_depend_on_the_order_of_files() {
    let (a, b) =
        (file("a.rhai", &with_when("activity == LOGON")), file("lists/x.txt", "# owner: x\n# expires: never\n"));
    let (test, other) = (file("a.test.rhai", "nonsense"), file("README.md", "words"));
    let of = |files: &[File]| RuleSet::load(files).unwrap().bundle().0;
    assert_eq!(of(&[a.clone(), b.clone()]), of(&[other, test, b.clone(), a.clone()]));
    assert_ne!(of(&[a.clone(), b]), of(&[a]));
    assert_eq!(RuleSet::empty().bundle().0, crate::artifact::bundle(Vec::new()).0);
    assert_eq!(RuleSet::empty().horizon(), Duration::ZERO);
}

#[test]
fn hostile_rule_files_are_problems_and_no_panics() {
    let deep = format!("{}activity == LOGON{}", "(".repeat(5000), ")".repeat(5000));
    for text in
        ["\u{0}", "fn decide(", "rule(", "rule(\"x\", #{", &with_when(&deep), &"x".repeat(300_000), &"{".repeat(10_000)]
    {
        assert!(!problems(text).is_empty());
    }
    let bytes = File { path: "x.rhai".into(), bytes: vec![0xff, 0xfe] };
    assert!(RuleSet::load(&[bytes]).err().unwrap()[0].message.contains("must be UTF-8"));
}
