//! Other rules under way: state that is kept, state that goes, and what waits for either.

use super::*;

const GATE: &str = "key: [user], window: \"1h\", agg: #{ n: count() }, at_least: #{ n: 5 }, dedup: \"1d\"";

/// A rule that counts failed logons by user.
fn counts(id: &str, gate: &str) -> File {
    file(&format!("{id}.rhai"), &counting(gate, "fn title(e, w) { `${e.user} ${w.n}` }").replace("T-1", id))
}

fn set(files: &[File]) -> Arc<RuleSet> {
    Arc::new(RuleSet::load(files).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

impl Bench {
    fn replace(&mut self, files: &[File]) -> crate::detect::Replaced {
        let now = self.millis();
        self.detector.replace_rules(set(files), now, &mut self.found)
    }

    fn of(&self, rule: &str) -> Vec<&str> {
        self.found.iter().filter(|f| f.rule == rule).map(|f| f.title.as_str()).collect()
    }

    fn users(&mut self, from: i64, count: i64) {
        self.logons((from..from + count).map(|n| (n, "ann".to_owned())));
    }
}

#[test]
fn a_rule_that_did_not_change_goes_on_where_it_was_whatever_comes_and_goes_beside_it() {
    let (a, b, c) = (counts("A", GATE), counts("B", GATE), counts("C", GATE));
    let mut bench = Bench::new(set(&[a.clone(), b.clone()]), 1);
    bench.users(0, 4);
    // B moves to another place among the rules, twice
    let replaced = bench.replace(&[b.clone(), c.clone()]);
    assert_eq!((replaced.kept, replaced.begun, replaced.gone), (vec!["B".into()], vec!["C".into()], vec!["A".into()]));
    let replaced = bench.replace(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!((replaced.kept.len(), replaced.begun, replaced.gone.len()), (2, vec!["A".into()], 0));
    bench.users(4, 1);
    assert_eq!((bench.of("A"), bench.of("B"), bench.of("C")), (vec![], vec!["ann 5"], vec![]));
    bench.users(5, 8);
    assert_eq!((bench.of("A"), bench.of("B"), bench.of("C")), (vec!["ann 5"], vec!["ann 5"], vec!["ann 5"]));
    let stats = bench.detector.rule_stats();
    assert_eq!(stats.iter().map(|rule| rule.matched).collect::<Vec<_>>(), [9, 13, 9], "counts are those of the rule");
    let keys: u64 = stats.iter().map(|rule| rule.keys).sum();
    assert_eq!((keys, bench.detector.totals().keys), (3, 3));
}

#[test]
fn a_rule_that_gathers_something_else_begins_with_nothing_and_says_so_until_its_windows_are_whole() {
    let short = GATE.replace("1h", "10m").replace("1d", "1m").replace("n: 5", "n: 4");
    let mut bench = Bench::new(set(&[counts("A", &short)]), 1);
    bench.offsets = vec![0]; // from the first record of the log on, nothing is missing
    bench.users(0, 3);
    assert_eq!(bench.replace(&[counts("A", &short.replace("10m", "9m"))]).begun, ["A"]);
    bench.users(4, 3);
    assert!(bench.found.is_empty(), "what the old one counted is not the new one's");
    bench.users(7, 1);
    assert_eq!((bench.of("A"), &bench.alert(0)["unmapped"]["authseal"]["warming"]), (vec!["ann 4"], &true.into()));
    bench.users(700, 4);
    assert_eq!((bench.of("A").len(), &bench.alert(1)["unmapped"]["authseal"]["warming"]), (2, &false.into()));
}

#[test]
fn a_rule_that_changed_and_gathers_the_same_goes_on_with_what_it_knows() {
    let mut bench = Bench::new(set(&[counts("A", GATE)]), 1);
    bench.offsets = vec![0];
    bench.users(0, 3);
    // another comment and another threshold, at another line
    let lower = counts("A", &GATE.replace("n: 5", "n: 4"));
    let lower = file("A.rhai", &format!("// Counts.\n//\n{}", String::from_utf8_lossy(&lower.bytes)));
    let replaced = bench.replace(std::slice::from_ref(&lower));
    assert_eq!((replaced.kept, replaced.changed, replaced.begun), (vec![], vec!["A".to_owned()], vec![]));
    bench.users(3, 1);
    assert_eq!((bench.of("A"), &bench.alert(0)["unmapped"]["authseal"]["warming"]), (vec!["ann 4"], &false.into()));
    // aggregates that were not there before count what was there before, and its period has its finding
    let more = GATE.replace("n: count()", "n: count(), r: rate()").replace("n: 5", "n: 2");
    assert_eq!(bench.replace(&[counts("A", &more)]).changed, ["A"]);
    bench.users(4, 1);
    assert_eq!(bench.of("A").len(), 1, "told already");
    let longer = GATE.replace("n: count()", "n: count(), r: rate()").replace("n: 5", "n: 6");
    assert_eq!(bench.replace(&[counts("A", &longer)]).changed, ["A"]);
    let keys: Vec<u64> = bench.detector.rule_stats().iter().map(|rule| rule.keys).collect();
    assert_eq!(keys, [1]);
}

#[test]
fn what_waits_for_a_rule_that_goes_is_judged_before_it_goes() {
    let settle = format!("{GATE}, settle: \"5m\"");
    for change in [Vec::new(), vec![counts("A", &settle.replace("n: 5", "n: 6"))]] {
        let mut bench = Bench::new(set(&[counts("A", &settle), counts("B", &settle)]), 1);
        bench.users(0, 6);
        assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(104)]));
        let mut files = change;
        files.push(counts("B", &settle));
        bench.replace(&files);
        assert_eq!((bench.of("A"), bench.of("B").len()), (vec!["ann 6"], 0), "the old rule judges what it knows");
        assert_eq!(bench.deferred(), [Some(104)], "B still waits");
        bench.idle();
        assert_eq!((bench.of("A").len(), bench.of("B"), bench.deferred()), (1, vec!["ann 6"], vec![None]));
    }
    let mut bench = Bench::new(set(&[counts("A", &settle)]), 1);
    bench.users(0, 6);
    bench.replace(&[]);
    assert_eq!((bench.deferred(), bench.detector.totals().keys), (vec![None], 0), "nothing holds the commit back");
    bench.idle();
    assert_eq!(bench.of("A").len(), 1);
}

#[test]
fn what_is_judged_for_a_rule_that_changes_is_seen_by_those_that_stay() {
    let settle = format!("{GATE}, settle: \"5m\"");
    let after = file(
        "Z.rhai",
        "marker(\"hit\", #{ when: kind == FINDING & finding_rule == \"B\", key: [user], ttl: \"1h\" });
         rule(\"Z\", #{ name: \"after\", severity: LOW, when: activity == LOGON & outcome == SUCCESS, key: [user],
             dedup: \"1h\" });
         fn decide(e, w) { !e.mark(\"hit\").missing }",
    );
    let mut bench = Bench::new(set(&[counts("A", GATE), counts("B", &settle), after.clone()]), 1);
    bench.users(0, 6);
    // B changes and A goes, so that Z gets another number
    bench.replace(&[counts("B", &settle.replace("n: 5", "n: 6")), after]);
    assert_eq!((bench.of("B"), bench.of("Z").len()), (vec!["ann 6"], 0));
    bench.event(0, AuthEvent { outcome: Ended::Success, ..failed(60, "in", "ann", "192.0.2.1") });
    assert_eq!(bench.of("Z").len(), 1, "the finding of the old rule is remembered");
}

#[test]
fn a_list_that_changed_keeps_the_state_of_the_rules_that_name_it() {
    let listed = GATE.to_owned();
    let rule = counting(&listed, "").replace("outcome == FAILURE", "outcome == FAILURE & !user.in_list(\"known\")");
    let files = |entries: &str| {
        [file("t.rhai", &rule), file("lists/known.txt", &format!("# owner: x\n# expires: never\n{entries}\n"))]
    };
    let mut bench = Bench::new(set(&files("bob")), 1);
    bench.users(0, 4);
    let before = bench.detector.rules.bundle().0;
    assert_eq!(bench.replace(&files("bob\ncarl")).kept, ["T-1"]);
    assert_ne!(bench.detector.rules.bundle().0, before);
    bench.logons((10..20).map(|n| (n, "carl".to_owned())));
    assert!(bench.found.is_empty(), "the new list is in force");
    bench.users(20, 1);
    assert_eq!(bench.found.len(), 1);
}

#[test]
fn a_rule_that_was_switched_off_comes_back_when_it_is_changed() {
    let bad = |text: &str| [file("t.rhai", &counting("key: [user]", &format!("fn decide(e, w) {{ {text} }}")))];
    let mut bench = Bench::new(set(&bad("throw 1")), 1);
    bench.users(0, 20);
    bench.replace(&bad("throw 1"));
    assert!(bench.detector.rule_stats()[0].disabled, "the same file is still switched off");
    bench.replace(&bad("true"));
    bench.users(20, 1);
    assert_eq!((bench.of("T-1").len(), bench.detector.rule_stats()[0].disabled), (1, false));
}
