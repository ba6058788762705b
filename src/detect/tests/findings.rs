//! Rules over findings: what one rule raises, another looks at.

use super::*;
use crate::detect::testing;

/// Three failed logons from one address.
const ATTACK: &str = "// Guessing.
    rule(\"A-1\", #{ name: \"attack\", severity: LOW, when: activity == LOGON & outcome == FAILURE, key: [src_ip],
        window: \"5m\", agg: #{ n: count() }, at_least: #{ n: 3 }, settle: \"1m\", dedup: \"10m\" });
    fn severity(e, w) { if w.n >= 4 { HIGH } else { LOW } }";

/// A logon that succeeds from where an attack came.
const SUCCESS: &str = "// Success after an attack.
    marker(\"attacked\", #{ when: kind == FINDING & finding_rule == \"A-1\", key: [src_ip], ttl: \"1h\" });
    rule(\"B-1\", #{ name: \"success\", severity: CRITICAL, when: activity == LOGON & outcome == SUCCESS,
        key: [src_ip, user], wait: \"2m\", dedup: \"1h\" });
    fn decide(e, w) { !e.mark(\"attacked\").missing }
    fn title(e, w) { let a = e.mark(\"attacked\"); `${a.finding_rule} ${a.finding_severity} ${a.age} ${a.user}` }";

fn rules(texts: &[&str]) -> Arc<RuleSet> {
    let files: Vec<File> = texts.iter().enumerate().map(|(at, text)| file(&format!("{at}.rhai"), text)).collect();
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn success(seconds: i64, id: &str, ip: &str) -> AuthEvent {
    AuthEvent { outcome: Ended::Success, ..failed(seconds, id, "ann", ip) }
}

fn of<'a>(bench: &'a Bench, rule: &str) -> Vec<&'a Finding> {
    bench.found.iter().filter(|finding| finding.rule == rule).collect()
}

#[test]
fn a_success_after_an_attack_is_found() {
    let mut bench = Bench::new(rules(&[ATTACK, SUCCESS]), 2);
    bench.event(0, success(1, "before", "192.0.2.1"));
    for n in 0..4 {
        bench.event(0, failed(2 + n * 10, &format!("{n}"), "ann", "192.0.2.1"));
    }
    bench.event(1, success(30, "after", "192.0.2.1"));
    bench.event(1, success(31, "elsewhere", "192.0.2.2"));
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(100), Some(100)]));
    bench.idle();
    assert_eq!((of(&bench, "A-1").len(), bench.deferred()), (1, vec![None, None]));
    let found = of(&bench, "B-1");
    assert_eq!(found.len(), 1, "{:?}", bench.titles());
    assert_eq!((found[0].title.as_str(), found[0].position.to_string().as_str()), ("A-1 HIGH 8 ", "main/auth/1/0@100"));
    let reach: Vec<String> = found[0].reach.iter().map(ToString::to_string).collect();
    assert_eq!(reach, ["main/auth/1/0@100", "main/auth/0/0@104"], "with the records behind the attack");
    let at = bench.found.iter().position(|finding| finding.rule == "B-1").unwrap();
    let mark = &bench.alert(at)["evidences"][0]["data"]["marks"]["attacked"];
    assert_eq!(*mark, serde_json::json!({ "position": "main/auth/0/0@103", "age": 8.0 }));
}

#[test]
fn a_finding_is_judged_at_once_and_only_one_level_deep() {
    let texts = [
        "rule(\"L-0\", #{ name: \"zero\", severity: LOW, mode: \"shadow\", when: activity == LOGON,
            key: [tenant, src_ip, acr] });",
        "rule(\"L-1\", #{ name: \"one\", severity: LOW, when: kind == FINDING | outcome == UNKNOWN, key: [src_ip] });
            fn title(e, w) {
                `${e.kind} ${e.finding_rule} ${e.finding_severity} ${e.src_ip} ${e.acr} ${e.user} ${e.tenant} ${e.time}`
            }",
        "rule(\"L-2\", #{ name: \"two\", severity: LOW, when: finding_severity >= LOW, key: [tenant] });",
        "rule(\"L-3\", #{ name: \"events\", severity: LOW, when: src_ip.exists() & kind == EVENT, key: [tenant] });",
    ];
    let mut bench = Bench::new(rules(&texts), 1);
    bench.event(0, AuthEvent { acr: Some(2), ..failed(1, "a", "ann", "192.0.2.1") });
    let mut raised: Vec<&str> = bench.found.iter().map(|finding| finding.rule.as_str()).collect();
    raised.sort_unstable();
    // L-1 and L-2 about L-0, L-1 and L-2 about L-3, which has no address; nothing about findings about findings
    assert_eq!(raised, ["L-0", "L-1", "L-2", "L-2", "L-3"], "{:?}", bench.titles());
    assert!(of(&bench, "L-0").iter().all(|finding| !finding.live), "shadow rules are looked at too");
    let time = (START + 1) * 1000;
    assert_eq!(of(&bench, "L-1")[0].title, format!("FINDING L-0 LOW 192.0.2.1 2   {time}"));
    assert_eq!(of(&bench, "L-1")[0].position.offset, 100);
    let at = bench.found.iter().position(|finding| finding.rule == "L-1").unwrap();
    let evidence = &bench.alert(at)["evidences"][0];
    assert_eq!(
        (&evidence["src_endpoint"]["ip"], &evidence["data"]["finding"]["rule"]),
        (&"192.0.2.1".into(), &"L-0".into())
    );
}

#[test]
fn a_window_counts_findings_and_names_what_is_behind_them() {
    let risk = "rule(\"W-1\", #{ name: \"risk\", severity: HIGH, when: kind == FINDING, key: [tenant], window: \"1h\",
        agg: #{ n: count(), rules: distinct(finding_rule), ips: distinct(src_ip) }, at_least: #{ ips: 2 },
        dedup: \"1d\" });
        fn title(e, w) { `${w.n} ${w.rules} ${w.ips}` }";
    let attack = ATTACK.replace("settle: \"1m\", ", "");
    let mut bench = Bench::new(rules(&[&attack, risk]), 2);
    for n in 0..3 {
        bench.event(n % 2, failed(n as i64, &format!("a{n}"), "ann", "192.0.2.1"));
        bench.event(0, failed(n as i64, &format!("b{n}"), "ann", "192.0.2.2"));
    }
    let found = of(&bench, "W-1");
    assert_eq!((found.len(), found[0].title.as_str()), (1, "2 1 2"));
    let reach: Vec<String> = found[0].reach.iter().map(ToString::to_string).collect();
    assert_eq!(reach, ["main/auth/0/0@104", "main/auth/1/0@100"]);
    // a partition behind one of them goes away: it was perhaps not told, and is raised again when it is back
    let chain = bench.chains[1].clone();
    bench.detector.forget(&chain);
    bench.offsets[1] = 100;
    bench.event(1, failed(1, "a1", "ann", "192.0.2.1"));
    bench.idle();
    assert_eq!((of(&bench, "A-1").len(), of(&bench, "W-1").len(), bench.ids().len()), (3, 2, 3));
}

#[test]
fn a_finding_on_findings_is_raised_again_when_what_is_behind_them_comes_back() {
    let about = "rule(\"B-2\", #{ name: \"about\", severity: LOW, when: kind == FINDING, key: [src_ip], wait: \"1s\",
        dedup: \"1d\" });";
    let attack = ATTACK.replace("settle: \"1m\", ", "");
    let mut bench = Bench::new(rules(&[&attack, about]), 2);
    bench.event(1, failed(0, "x", "ann", "192.0.2.1"));
    bench.event(0, failed(1, "y", "ann", "192.0.2.1"));
    bench.event(0, failed(2, "z", "ann", "192.0.2.1"));
    assert_eq!(bench.deferred(), [Some(101), None], "the finding waits with the record that raised it");
    bench.idle();
    assert_eq!((of(&bench, "A-1").len(), of(&bench, "B-2").len()), (1, 1));
    let reach: Vec<String> = of(&bench, "B-2")[0].reach.iter().map(ToString::to_string).collect();
    assert_eq!(reach, ["main/auth/1/0@100", "main/auth/0/0@101"]);
    let chain = bench.chains[1].clone();
    bench.detector.forget(&chain);
    bench.offsets[1] = 100;
    bench.event(1, failed(0, "x", "ann", "192.0.2.1"));
    for _ in 0..2 {
        bench.now += 120;
        bench.idle();
    }
    assert_eq!((of(&bench, "A-1").len(), of(&bench, "B-2").len(), bench.ids().len()), (2, 2, 2));
    // what waits on a chain that goes away is left to its next reader
    let both = bench.chains.clone();
    bench.event(0, failed(10_000, "1", "ann", "192.0.2.9"));
    bench.event(0, failed(10_001, "2", "ann", "192.0.2.9"));
    bench.event(1, failed(10_002, "3", "ann", "192.0.2.9"));
    assert_eq!(bench.deferred()[1], Some(101));
    bench.detector.forget(&both[1]);
    bench.now += 120;
    bench.idle();
    assert_eq!((of(&bench, "A-1").len(), of(&bench, "B-2").len()), (3, 2));
}

#[test]
fn a_flood_of_findings_ends() {
    let each =
        "rule(\"F-1\", #{ name: \"each\", severity: LOW, when: activity == LOGON, key: [src_ip], wait: \"1m\" });
        fn decide(e, w) { true }";
    let about = "rule(\"F-2\", #{ name: \"about\", severity: LOW, when: kind == FINDING, key: [src_ip], wait: \"1m\",
        dedup: \"1h\" });";
    let limit = 256 << 10;
    let mut bench = Bench::with(rules(&[each, about]), 1, limit);
    for n in 0..5_000 {
        bench.event(0, failed(1, &format!("{n}"), "ann", &format!("10.0.{}.{}", n >> 8, n & 255)));
        assert!(bench.detector.totals().bytes <= limit as u64, "{:?}", bench.detector.totals());
    }
    bench.idle();
    bench.now += 120;
    bench.idle();
    assert_eq!((of(&bench, "F-1").len(), of(&bench, "F-2").len(), bench.deferred()), (5_000, 5_000, vec![None]));
}

#[test]
fn a_test_of_a_rule_brings_findings_or_the_rules_that_raise_them() {
    let tests = "test(\"brought\", || {
            let t = timeline(\"1\");
            t.at(0, finding(#{ rule: \"A-1\", severity: MEDIUM, src_ip: \"192.0.2.1\" }));
            t.at(60, event(#{ activity: LOGON, outcome: SUCCESS, user: \"ann\", src_ip: \"192.0.2.1\" }));
            t.expect(#{ alerts: 1, title: \"A-1 MEDIUM 60 \" });
        });
        test(\"raised\", || {
            let t = timeline(\"1\");
            t.also(\"0\");
            for i in 0..3 { t.at(i, event(#{ activity: LOGON, outcome: FAILURE, src_ip: \"192.0.2.1\" })); }
            t.at(60, event(#{ activity: LOGON, outcome: SUCCESS, user: \"ann\", src_ip: \"192.0.2.1\" }));
            t.expect(#{ alerts: 1, severity: CRITICAL, title: \"A-1 LOW 58 \" });
        });
        test(\"without\", || {
            let t = timeline(\"1\");
            for i in 0..3 { t.at(i, event(#{ activity: LOGON, outcome: FAILURE, src_ip: \"192.0.2.1\" })); }
            t.at(60, event(#{ activity: LOGON, outcome: SUCCESS, user: \"ann\", src_ip: \"192.0.2.1\" }));
            t.expect(#{ alerts: 0 });
        });
        test(\"wrong\", || { finding(#{ rul: \"A-1\" }) });";
    let attack = ATTACK.replace("severity: LOW,", "severity: LOW, mode: \"shadow\",");
    let files = [file("0.rhai", &attack), file("1.rhai", SUCCESS), file("1.test.rhai", tests)];
    let reports = testing::run(&files);
    let failures: Vec<String> = reports.iter().flat_map(|report| &report.failures).map(ToString::to_string).collect();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    assert!(failures[0].contains("findings have no field `rul`: did you mean `rule`?"), "{failures:#?}");
}
