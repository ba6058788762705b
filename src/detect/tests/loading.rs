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
        "session_start < time & auth_time.age() > 3600 & time >= \"2026-01-05T00:00:00Z\" & time != session_start",
        "attr(\"amount\").number() >= 1000.5 & user.len() > 3 & privileges.len() == 0 & 5 < attributes.len()",
        "user.lower() == actor.lower() & user.lower().one_of([\"a\", \"b\"]) & user.lower().matches(\"svc-*\")",
        "user.starts_with(\"a\") & user.lower().ends_with(\"z\") & user.contains(\"m\") & acr.one_of([1, 2])",
        "(time.hour() < 6 | time.weekday().one_of([6, 7])) & lat > long & is_vpn == is_proxy & is_vpn.one_of([true])",
        "privileges.one_of([\"admin\", \"root\"]) & src_asn != acr & attr(\"a\").number() > attr(\"b\").number()",
        "kind == EVENT",
        "reason != \"a\" & reason != \"b\" & (acr < 2 | acr > 5) & acr != 3 & is_vpn != true & is_vpn != false",
        "acr >= 3 & acr <= 3 & user.exists() & user != \"x\" & (reason == \"a\" | reason == \"b\")",
        "(user == \"x\" & reason == \"a\") | (user == \"y\" & reason == \"b\") | reason.len() > 5 | user == ()",
        "attr(\"a\") == \"1\" & attr(\"b\") == \"2\" & user.starts_with(\"a\") & user.starts_with(\"b\")",
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
        ("user < \"b\"", "only numbers and moments have an order, and user is neither"),
        ("acr == \"2\"", "acr holds a number and is compared with the string \"2\""),
        ("is_vpn", "`when` must be a test of fields"),
        ("is_vpn & activity == LOGON", "`is_vpn` alone is no test"),
        ("!is_vpn", "`is_vpn` alone is no test"),
        ("activity == LOGON & true", "each side of & and | must be a test of a field"),
        ("privileges == \"admin\"", "privileges is an array: write privileges.contains(\"…\")"),
        ("acr.contains(\"x\")", "contains() is for strings and arrays; acr holds a number"),
        ("acr.lower() == \"x\"", "lower() is for strings; acr holds a number"),
        ("user.lower() == \"Ann\"", "this can never hold: \"Ann\" is not in lower case; write \"ann\""),
        ("user.lower().one_of([\"a\", \"B\"])", "this can never hold: \"B\" is not in lower case"),
        ("user.starts_with(\"\")", "starts_with(\"\") holds for every string"),
        ("user.hour() == 5", "hour() is for moments, such as time; user holds a string"),
        ("time.hour() == 24", "this can never hold: hour() is from 0 to 23"),
        ("time.weekday() < 1", "this can never hold: weekday() is from 1 to 7"),
        ("user.len() < 0", "this can never hold: len() is never negative"),
        ("time.weekday().one_of([6, 0])", "this can never hold: weekday() is from 1 to 7"),
        ("time.hour().one_of([])", "one_of() needs at least one value"),
        ("privileges.one_of([])", "one_of() needs at least one value"),
        ("privileges.one_of([1])", "one_of() takes an array of strings"),
        ("attr(\"n\").number() == \"5\"", "attr(\"n\").number() is a number: compare it with a number"),
        ("is_vpn.number() == 5", "number() is for numbers and strings that say one"),
        ("time < \"yesterday\"", "time is a moment: compare it with another moment"),
        ("time == user", "time holds a moment and user a string: they cannot be compared"),
        ("is_vpn < is_proxy", "only numbers and moments have an order"),
        ("acr == user", "acr holds a number and user a string: they cannot be compared"),
        ("attributes == \"x\"", "attributes is a map: write attr(\"name\")"),
        ("time == 5", "time is a moment: compare it with another moment, or with \"2026-01-05T00:00:00Z\""),
        ("user.mathces(\"x\")", "headers have no function `mathces`: did you mean `matches`?"),
        ("user.name == \"x\"", "fields have no property `name`"),
        ("user.one_of([1])", "one_of() takes an array of strings"),
        ("user.one_of([])", "one_of() needs at least one value"),
        ("activity.one_of([LOGON, SUCCESS])", "activity is never SUCCESS"),
        ("src_ip.in_list(\"egres\")", "there is no list lists/egres.txt: did you mean `egress`?"),
        ("acr.matches(\"2\")", "matches() is for strings; acr holds a number"),
        ("activity == LOGON & activity == STEP_UP", "this can never hold: activity cannot be all of it at once"),
        ("reason == \"a\" & user == \"x\" & reason == \"b\"", "this can never hold: reason cannot be all of it"),
        ("reason.one_of([\"a\", \"b\"]) & !reason.one_of([\"b\", \"a\", \"c\"])", "this can never hold: reason"),
        ("reason == \"abc\" & reason.matches(\"b*\")", "this can never hold: reason"),
        ("reason == \"abc\" & reason.lower().starts_with(\"b\")", "this can never hold: reason"),
        ("acr > 3 & acr <= 3", "this can never hold: acr"),
        ("acr > 3 & (user == \"x\" & acr < 2)", "this can never hold: acr"),
        ("acr == 3 & acr != 3", "this can never hold: acr"),
        ("lat >= 1.5 & !(lat >= 1.5)", "this can never hold: lat"),
        ("attr(\"n\").number() > 5 & attr(\"n\").number() < 4.5", "this can never hold: attr(\"n\")"),
        ("time.hour() < 6 & time.hour() > 20", "this can never hold: time"),
        ("user == () & user == \"x\"", "this can never hold: user"),
        ("is_vpn == true & is_vpn == false", "this can never hold: is_vpn"),
        ("is_vpn == true & is_vpn != true", "this can never hold: is_vpn"),
        ("outcome == SUCCESS & outcome != SUCCESS", "this can never hold: outcome"),
        ("reason != \"a\" | reason != \"b\"", "this always holds: whatever reason is, one side of it is true"),
        ("acr >= 2 | !(acr >= 2)", "this always holds: whatever acr is"),
        ("user.exists() | user == ()", "this always holds: whatever user is"),
        ("acr.matches_any_case(\"2\")", "matches_any_case() is for strings; acr holds a number"),
        ("user.matches_any_case([])", "matches_any_case() needs at least one pattern"),
        ("user.matches_any_case([5])", "matches_any_case() takes strings, not i64"),
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
fn names_that_do_not_exist_are_not_called_impossible_as_well() {
    let found = problems(&with_when("nme.one_of([\"a\"]) & eml.one_of([\"b\"])"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|problem| problem.contains("is no field and no symbol")), "{found:#?}");
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
        ("n: count()", "n: sum(user)", "sum() is for numbers and for attr(\"…\"); user holds a string"),
        ("n: count()", "n: avg(acr)", "there is no avg(): take sum(acr) and present(acr)"),
        ("n: count()", "n: few_per(user, 0)", "n is a whole number from 1 to 10000"),
        ("n: count()", "n: count_if(user)", "`user` alone is no test"),
        ("n: count()", "n: distinct_if(privileges, acr == 1)", "distinct_if() takes a single value"),
        ("n: count()", "n: last(user)", "`n` is no number that grows"),
        ("n: count()", "n: min_per(user)", "`n` may fall again with more events: add settle: \"2m\""),
        (", at_least", ", at_most: #{ n: 3 }, at_least", "there is no `at_most`"),
        ("n: count()", "n: distinct(privileges)", "distinct() takes a single value"),
        ("n: count()", "n: distinct(src_ip)", "an aggregate over a field of the key always sees one value"),
        ("n: count()", "n: 5", "`n` must be count(), count_if(test), distinct(field)"),
        ("dedup: \"1h\"", "settle: \"1m\"", "`settle` needs `window` and `dedup`"),
        ("dedup: \"1h\"", "dedup: \"1h\", wait: \"5s\"", "`wait` is for rules that judge single events"),
        ("dedup: \"1h\"", "dedup: \"1h\", update_on: \"2\"", "\"2\" says not by how much: write \"x2\""),
        ("dedup: \"1h\"", "dedup: \"1h\", update_on: #{ m: \"x2\" }", "update_on names `m`, which has no gate"),
        ("dedup: \"1h\"", "update_on: \"x2\"", "`update_on` needs `dedup`"),
        ("dedup: \"1h\"", "dedup: \"1h\", mode: \"life\"", "unknown mode \"life\": did you mean `live`?"),
        ("dedup: \"1h\"", "dedup: \"1h\", status: \"good\"", "unknown status \"good\""),
        ("dedup: \"1h\"", "dedup: \"1h\", attack: [\"T1110\"]", "is no ATT&CK reference"),
        ("dedup: \"1h\"", "dedup: \"1h\", attack: \"TA0006/T1110\"", "`attack` must be an array of strings"),
        ("\"T-1\"", "\"T 1\"", "\"T 1\" is no rule id"),
        ("rule(\"T-1\"", "rul(\"T-1\"", "headers have no function `rul`: did you mean `rule`?"),
        ("rule(", "marker(\"m\", #{ when: kind == EVENT, key: [user] }); rule(", "the marker has no `ttl`"),
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
fn what_may_turn_false_again_needs_to_settle() {
    let keys = "key: [src_ip], window: \"5m\", at_least: #{ n: 5 }, dedup: \"1h\", agg: #{ n: count(),
        users: distinct(user), most: max_per(user), few: few_per(user, 2), least: min(acr), end: last(outcome) }";
    for (body, at) in [
        ("w.most <= 2", Some(26)),
        ("2 >= w.most", Some(21)),
        ("w.users >= 3 && w.most < 9", Some(42)),
        ("w.n == 5", Some(23)),
        ("!(w.n > 5)", Some(25)),
        ("w.n - w.most >= 15", Some(32)),
        ("w.most * 2 <= w.n * 3", Some(30)),
        ("w.few * 10 >= w.users * 8", Some(30)),
        ("w.few >= 3", Some(25)),
        ("let odd = w.most <= 2; odd || e.acr == 1", Some(36)),
        ("let many = w.users > 3; !many", Some(38)),
        ("if w.users < 3 { true } else { false }", Some(30)),
        ("return w.most <= 2;", Some(33)),
        ("w.n.to_float() / w.users > 0.5", Some(44)),
        // these only turn from false to true
        ("w.most > 2 && w.users >= 3 || e.is_vpn == true", None),
        ("!(w.most <= 2)", None),
        ("w.end == SUCCESS && w.n > 6", None),
        ("w.least < 2 || 3 > w.least", None),
        ("let single = w.most <= 1; !single && w.users + w.n * 2 >= 9", None),
        ("if e.acr == 2 { w.n > 7 } else { w.n.to_float() > 9.5 }", None),
        ("if w.users < 3 { false } else { w.n > 6 }", None),
        ("e.user.len() < 5 && e.src_ip.in_list(\"egress\") == false && e.acr != 3", None),
        // and of these nobody can tell
        ("if w.users < 3 { return true; } w.n > 9", None),
        ("abs(w.n) < 3", None),
    ] {
        let text = |keys: &str| {
            format!(
                "rule(\"T-1\", #{{ name: \"t\", severity: LOW, when: activity == LOGON, {keys} }});\n\
                 fn decide(e, w) {{ {body} }}"
            )
        };
        let found =
            RuleSet::load(&[file("t.rhai", &text(keys)), file("lists/egress.txt", "# owner: x\n# expires: never\n")]);
        let found: Vec<_> = found.err().unwrap_or_default();
        assert_eq!(found.len(), usize::from(at.is_some()), "{body}: {found:#?}");
        if let Some(at) = at {
            assert!(found[0].message.contains("add settle: \"2m\""), "{body}: {found:#?}");
            // the first line of the function, and the operator in it
            assert_eq!(found[0].at.map(|place| place.1), Some(at), "{body}: {found:#?}");
        }
        assert_eq!(problems(&text(&format!("settle: \"1m\", {keys}"))), Vec::<String>::new(), "{body}");
    }
}

#[test]
fn a_live_rule_without_a_runbook_is_warned_of() {
    let of = |extra: &str| {
        let text = with_when("activity == LOGON").replace("severity", &format!("{extra} severity"));
        let rules = RuleSet::load(&[file("t.rhai", &text)]).unwrap();
        rules.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let found = of("");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("t.rhai:1:1: live rule T-1 does not say what to do"), "{found:?}");
    assert_eq!((of("runbook: \"call ann\","), of("mode: \"shadow\",")), (vec![], vec![]));
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
fn each_mistake_about_markers_is_named_at_its_line() {
    let rule = |marker: &str, decide: &str| {
        format!(
            "marker(\"ok\", #{{\n{marker} }});\nrule(\"T-1\", #{{ name: \"t\", severity: LOW,\n\
             when: activity == LOGON, key: [user], wait: \"10s\" }});\nfn decide(e, w) {{ {decide} }}"
        )
    };
    let (marker, decide) = ("when: activity == STEP_UP, key: [session], ttl: \"1h\"", "e.mark(\"ok\").missing");
    let good = rule(marker, decide);
    assert_eq!(problems(&good), Vec::<String>::new());
    for (from, to, wanted) in [
        ("ttl: \"1h\"", "ttl: \"1 h\"", "2:\"1 h\" is no duration"),
        (", ttl: \"1h\"", "", "1:the marker has no `ttl`: add ttl: \"1h\""),
        ("key: [session]", "key: []", "2:`key` must be an array of fields"),
        ("key: [session]", "key: [privileges]", "2:privileges cannot be a key"),
        ("key: [session]", "key: [sesion]", "2:`sesion` is no field and no symbol: did you mean `session`?"),
        ("key: [session]", "key: [session], of: [user, device]", "2:`of` names the fields"),
        ("key: [session]", "keys: [session]", "2:markers have no key `keys`: did you mean `key`?"),
        ("when: activity == STEP_UP", "when: STEP_UP", "2:`when` must be a test of fields"),
        ("activity == STEP_UP", "activity == STEP_UP & activity == LOGON", "2:this can never hold: activity"),
        ("e.mark(\"ok\").missing", "true", "1:nothing asks for marker `ok`"),
        ("e.mark(\"ok\")", "e.mark(\"okk\")", "5:there is no marker `okk`: did you mean `ok`?"),
        ("e.mark(\"ok\")", "e.mark(e.user)", "5:mark() takes the name of a marker as it stands"),
        ("e.mark(\"ok\").missing", "e.mark(\"ok\").devcie == 1", "5:what a marker remembers has no field `devcie`"),
        ("e.mark(\"ok\").missing", "let s = e.mark(\"ok\"); s.devcie.len() > 1", "did you mean `device`?"),
        (
            "rule(\"T-1\"",
            "marker(\"ok\", #{ when: kind == EVENT, key: [user], ttl: \"1m\" }); rule(\"T-1\"",
            "two markers",
        ),
        (", wait: \"10s\"", "", "5:absence without `wait`"),
        (", wait: \"10s\"", ", wait: \"0s\"", "\"0s\" is no duration"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(wanted)), "{to}: {found:#?}");
        assert!(found.len() <= 2, "{to}: {found:#?}");
    }
    assert!(problems(&good.replace("\"ok\"", "\"o k\""))[0].contains("1:\"o k\" is no marker name"));
    let now = |decide: &str| problems(&rule(marker, decide).replacen(", wait: \"10s\"", "", 1));
    for presence in [
        "!e.mark(\"ok\").missing",
        "let s = e.mark(\"ok\"); !s.missing && s.age < 60",
        "let s = e.mark(\"ok\"); if s.missing || s.age > 60 { return false; } s.acr < 2",
        "let s = e.mark(\"ok\"); if s.missing { false } else { s.acr < 2 }",
        "e.mark(\"ok\").missing == false",
        "e.mark(\"ok\").age < 60",
    ] {
        assert_eq!(now(presence), Vec::<String>::new(), "{presence}");
    }
    for absence in [
        "let s = e.mark(\"ok\"); s.missing || s.age > 600",
        "if e.mark(\"ok\").missing { true } else { false }",
        "e.mark(\"ok\").missing == true",
    ] {
        assert!(now(absence).iter().any(|problem| problem.contains("absence without `wait`")), "{absence}");
    }
    let told = rule(marker, "e.mark(\"ok\").age < 60").replacen(", wait: \"10s\"", "", 1);
    let told = format!("{told}\nfn severity(e, w) {{ if e.mark(\"ok\").missing {{ HIGH }} else {{ LOW }} }}");
    assert_eq!(problems(&told), Vec::<String>::new(), "how bad it is may be known better later");
    let windowed = with_when("activity == LOGON").replacen("dedup", "wait: \"5s\", dedup", 1);
    assert!(problems(&windowed)[0].contains("with a `window`, use `settle`"));
    let many: String =
        (0..17).map(|n| format!("marker(\"m{n}\", #{{ when: kind == EVENT, key: [user], ttl: \"1m\" }});\n")).collect();
    assert!(
        problems(&format!("{many}{good}")).iter().any(|problem| problem.contains("17:a rule has at most 16 markers"))
    );
}

#[test]
fn findings_are_selected_by_kind_rule_and_severity() {
    for when in [
        "kind == FINDING & finding_rule == \"T-1\"",
        "finding_rule.one_of([\"T-1\"]) & finding_severity >= HIGH",
        "finding_severity.one_of([LOW, HIGH]) | finding_severity != INFO",
        "kind.one_of([EVENT, FINDING])",
    ] {
        assert_eq!(problems(&with_when(when)), Vec::<String>::new(), "{when}");
    }
    for (when, wanted) in [
        ("finding_rule == \"T-2\"", "finding_rule is never \"T-2\": no rule has this id: did you mean `T-1`?"),
        ("finding_severity == \"HIGH\"", "finding_severity is a severity, not the string \"HIGH\""),
        ("user == HIGH", "user holds a string and is compared with the severity HIGH"),
        ("kind == FINDING & activity == LOGON", "`when` can never hold"),
        ("kind == FINDING & rejection_code == \"x\" & kind == REJECTION", "`when` can never hold"),
        ("kind == FINDNG", "did you mean `FINDING`?"),
    ] {
        let found = problems(&with_when(when));
        assert!(found.len() == 1 && found[0].contains(wanted), "{when}: {found:#?}");
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
    assert!(found.iter().any(|p| p == "b.rhai:1:1: rule id T-1 is taken by a.rhai: give it another one"), "{found:?}");
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
