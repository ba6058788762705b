//! Aggregates in rules that are loaded and judged like any other, and findings that are told again when they grow.

use super::*;

/// A bench on one partition, and an event of it with an amount.
fn paid(bench: &mut Bench, seconds: i64, user: &str, amount: &str, outcome: Ended) {
    let mut event = AuthEvent { outcome, ..failed(seconds, &format!("{}", bench.offsets[0]), user, "192.0.2.1") };
    event.attributes.insert("amount", amount);
    bench.event(0, event);
}

fn any_logon(keys: &str, functions: &str) -> Arc<RuleSet> {
    load(&counting(keys, functions).replace(" & outcome == FAILURE", ""))
}

#[test]
fn failures_and_then_a_success_are_one_rule() {
    let keys = "key: [user], window: \"15m\", dedup: \"1h\", at_least: #{ failed: 4, n: 5 },
        agg: #{ n: count(), failed: count_if(outcome == FAILURE), end: last(outcome), begin: first(outcome) }";
    let text = "fn decide(e, w) { w.end == SUCCESS && w.begin == FAILURE }
        fn title(e, w) { `${w.failed} failures and then ${w.end}` }";
    let mut bench = Bench::new(any_logon(keys, text), 1);
    for n in 0..4 {
        paid(&mut bench, n, "ann", "1", Ended::Failure);
        paid(&mut bench, n, "bob", "1", Ended::Success);
    }
    assert_eq!(bench.titles(), [""; 0]);
    paid(&mut bench, 9, "ann", "1", Ended::Success);
    paid(&mut bench, 9, "bob", "1", Ended::Failure);
    assert_eq!(bench.titles(), ["4 failures and then SUCCESS"]);
}

#[test]
fn sums_open_gates_and_keep_whole_numbers_whole() {
    let keys = "key: [tenant], window: \"10m\", dedup: \"1h\", at_least: #{ total: 50000 },
        agg: #{ total: sum(attr(\"amount\")), least: min(attr(\"amount\")), most: max(attr(\"amount\")), n: count() }";
    let mut bench = Bench::new(any_logon(keys, "fn title(e, w) { `${w.total} ${w.least} ${w.most} ${w.n}` }"), 1);
    for (seconds, amount) in [(0, "49000"), (700, "30000.25"), (701, "no number"), (702, "19999.50"), (703, "0.25")] {
        paid(&mut bench, seconds, "ann", amount, Ended::Success);
    }
    assert_eq!(bench.titles(), ["50000 0.25 30000.25 4"], "the first amount has left the window");
    let values = &bench.alert(0)["evidences"][0]["data"]["values"];
    assert_eq!(*values, serde_json::json!({ "total": 50000, "least": 0.25, "most": 30000.25, "n": 4 }));
}

#[test]
fn a_gate_on_what_may_fall_is_asked_again_when_the_shape_has_settled() {
    let keys = "key: [src_ip], window: \"15m\", settle: \"2m\", dedup: \"1h\", at_least: #{ few: 10, n: 10 },
        agg: #{ few: few_per(user, 2), n: count(), users: distinct(user) }";
    let title = "fn title(e, w) { `${w.few} of ${w.users}` }";
    for (tries, wanted) in [(2, vec!["10 of 11"]), (3, vec![])] {
        let mut bench = Bench::new(load(&counting(keys, title)), 1);
        // one account is tried often; nine others and a tenth so many times each
        bench.logons((0..8).map(|n| (n, "root".to_owned())));
        bench.logons((0..10 * tries).map(|n| (10 + n, format!("u{}", n % 10))));
        bench.idle();
        assert_eq!(bench.titles(), wanted, "{tries}");
        assert_eq!(bench.deferred(), [None]);
    }
}

#[test]
fn repeated_events_count_once_in_every_aggregate() {
    let keys = "key: [src_ip], window: \"10m\", dedup: \"1h\", at_least: #{ a: 6 }, agg: #{ a: count(),
        b: count_if(user == \"u1\"), c: distinct(user), d: distinct_if(user, user != \"u1\"), e: max_per(user),
        f: min_per(user), g: few_per(user, 1), h: present(user), i: sum(acr), j: min(acr), k: max(acr),
        l: first(user), m: last(user), n: rate(), o: span() }";
    let title = "fn title(e, w) {
        `${w.a} ${w.b} ${w.c} ${w.d} ${w.e} ${w.f} ${w.g} ${w.h} ${w.i} ${w.j} ${w.k} ${w.l} ${w.m} ${w.n} ${w.o}` }";
    for times in [1, 3] {
        let mut bench = Bench::new(load(&counting(keys, title)), 2);
        for n in 0..6 {
            for turn in 0..times {
                let user = if n == 5 { "u9".to_owned() } else { format!("u{}", n % 2) };
                let event = failed(n * 10, &format!("{n}"), &user, "192.0.2.1");
                bench.event(turn % 2, AuthEvent { acr: Some(n as i32), ..event });
            }
        }
        assert_eq!(bench.titles(), ["6 2 3 2 3 1 1 6 15 0 5 u0 u9 0.6 50"], "each event {times} times");
    }
}

const STORM: &str = "key: [src_ip], window: \"10m\", agg: #{ a: count(), users: distinct(user) },
    at_least: #{ users: 10 }, dedup: \"1h\", update_on: \"x2\"";
const WORDS: &str = "fn few(w) { w.users < 15 }
    fn decide(e, w) { few(w) }
    fn severity(e, w) { if w.users >= 40 { HIGH } else { LOW } }
    fn title(e, w) { `${w.users} users` }";

/// What a SIEM tells alerts by, and their activity.
fn told(bench: &Bench) -> Vec<(String, i64)> {
    let of = |at| {
        let alert = bench.alert(at);
        (alert["metadata"]["uid"].as_str().unwrap().to_owned(), alert["activity_id"].as_i64().unwrap())
    };
    (0..bench.found.len()).map(of).collect()
}

#[test]
fn a_finding_that_grows_is_told_again_at_each_doubling() {
    let rules = any_logon(STORM, WORDS);
    let mut bench = Bench::new(rules.clone(), 1);
    bench.logons((0..100).map(|n| (n, format!("u{n}"))));
    assert_eq!(bench.titles(), ["10 users", "20 users", "40 users", "80 users"]);
    assert_eq!(bench.ids().len(), 1);
    let uid = bench.found[0].uid.clone();
    let wanted: Vec<_> = [("", 1), ("#1", 2), ("#2", 2), ("#3", 2)].map(|(n, id)| (format!("{uid}{n}"), id)).into();
    assert_eq!(told(&bench), wanted);
    assert_eq!(bench.found.iter().map(|finding| finding.update).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let severities: Vec<_> = bench.found.iter().map(|finding| finding.severity.name()).collect();
    assert_eq!(severities, ["LOW", "LOW", "HIGH", "HIGH"], "as of now");
    let stats = &bench.detector.rule_stats()[0];
    assert_eq!((stats.findings, stats.updates), (1, 3));
    let update = bench.alert(2);
    assert_eq!((update["type_uid"].as_i64(), update["count"].as_i64()), (Some(200_402), Some(40)));
    assert_eq!((&update["finding_info"]["uid"], &update["unmapped"]["authseal"]["update"]), (&uid.into(), &2.into()));
    assert!(update["finding_info"]["created_time"].is_null() && update["finding_info"]["modified_time"].is_i64());
    // it is done with when the newest record of it is
    assert_eq!(bench.found[2].reach.iter().map(|position| position.offset).collect::<Vec<_>>(), [139]);
    // the next period has a finding of its own, which begins where the count stands
    bench.logons((0..20).map(|n| (3600 + n, format!("u{n}"))));
    assert_eq!((bench.ids().len(), bench.found.len()), (2, 6));
}

#[test]
fn updates_have_the_same_ids_however_and_how_often_the_records_are_read() {
    let logons: Vec<_> = (0..100).map(|n| (n * 3, format!("u{}", n % 45))).collect();
    let rules = any_logon(STORM, "");
    let read = |partitions: usize, turn: usize| {
        let mut bench = Bench::new(rules.clone(), partitions as u32);
        let mut queues: Vec<Vec<_>> = vec![Vec::new(); partitions];
        logons.iter().enumerate().for_each(|(at, logon)| queues[at % partitions].push((at, logon)));
        while queues.iter().any(|queue| !queue.is_empty()) {
            for (partition, queue) in queues.iter_mut().enumerate() {
                for (at, (seconds, user)) in queue.drain(..turn.min(queue.len())) {
                    bench.event(partition, failed(*seconds, &format!("{at}"), user, "192.0.2.1"));
                }
            }
        }
        bench.idle();
        let told: BTreeSet<_> = told(&bench).into_iter().collect();
        assert_eq!(told.len(), bench.found.len(), "each once");
        told
    };
    let plain = read(1, 1);
    assert_eq!(plain.len(), 3, "{plain:?}");
    for (partitions, turn) in [(2, 1), (2, 25), (3, 100), (4, 7)] {
        let told = read(partitions, turn);
        // a count that comes to stand above two steps at once is told once
        let last = plain.last();
        assert!(told.is_subset(&plain) && told.last() == last, "{partitions} {turn}: {told:?}");
    }
}

#[test]
fn a_shape_that_has_settled_goes_on_growing() {
    let keys = STORM.replace("dedup", "settle: \"1m\", dedup").replace("\"x2\"", "#{ users: \"x3\" }");
    let mut bench = Bench::new(load(&counting(&keys, "fn title(e, w) { `${w.users}` }")), 1);
    bench.logons((0..40).map(|n| (n, format!("u{n}"))));
    for n in 0..3 {
        bench.event(0, failed(90 + n, &format!("other{n}"), "bob", "192.0.2.9"));
    }
    assert_eq!(bench.titles(), ["40"], "three times the gate was there when it settled");
    bench.logons((0..100).map(|n| (100 + n, format!("v{n}"))));
    assert_eq!(bench.titles(), ["40", "90"]);
    assert_eq!(bench.found[1].update, 2);
}

#[test]
fn updates_end_somewhere() {
    let keys = "key: [tenant], window: \"10m\", agg: #{ total: sum(attr(\"amount\")) }, at_least: #{ total: 1 },
        dedup: \"1h\", update_on: \"x2\"";
    let mut bench = Bench::new(any_logon(keys, ""), 1);
    for n in 0..60 {
        paid(&mut bench, n, "ann", &format!("{}", 1_i64 << n), Ended::Success);
    }
    assert_eq!((bench.found.len(), bench.ids().len()), (17, 1));
}
