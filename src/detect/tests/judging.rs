//! What is judged, when, and what is said about it.

use super::*;
use crate::digest::Digest;

const COUNT5: &str = "key: [tenant, src_ip], window: \"5m\", agg: #{ n: count() }, at_least: #{ n: 5 }, dedup: \"1h\"";

fn users(times: impl IntoIterator<Item = i64>) -> Vec<(i64, String)> {
    times.into_iter().map(|seconds| (seconds, "ann".to_owned())).collect()
}

#[test]
fn a_window_covers_what_is_younger_than_its_length() {
    // five at 0, 75, 150, 225 and then exactly 300 s: the first has just left (t − w, t]
    for (last, fires) in [(300, 0), (299, 1)] {
        let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
        bench.logons(users([0, 75, 150, 225, last]));
        assert_eq!(bench.found.len(), fires, "last at {last}");
    }
}

#[test]
fn one_finding_for_each_key_and_period() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
    bench.logons(users((0..200).map(|n| n * 30)));
    assert_eq!(bench.found.len(), 2, "100 minutes are two periods");
    assert_eq!(bench.ids().len(), 2);
    let without = COUNT5.replace(", dedup: \"1h\"", "");
    let mut bench = Bench::new(load(&counting(&without, "")), 1);
    bench.logons(users(0..20));
    assert_eq!(bench.ids().len(), 16, "without a period each event past the gate is a finding of its own");
}

#[test]
fn an_event_without_a_field_of_the_key_is_not_judged_but_for_the_tenant() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
    for n in 0..10 {
        bench.event(0, AuthEvent { src_ip: None, ..failed(n, &format!("{n}"), "ann", "") });
    }
    assert_eq!((bench.found.len(), bench.detector.rule_stats()[0].keyless), (0, 10));
    bench.logons(users(20..30));
    assert_eq!(bench.found[0].key, [("tenant".into(), String::new()), ("src_ip".into(), "192.0.2.1".into())]);
}

#[test]
fn repeats_count_once_wherever_they_come_from() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 2);
    for n in 0..40 {
        bench.event(n % 2, failed(10, &format!("{}", n % 4), "ann", "192.0.2.1"));
    }
    assert_eq!((bench.found.len(), bench.detector.totals().repeats), (0, 36));
    // another tenant's event of the same id is another event
    for n in 0..5 {
        let event = AuthEvent { tenant: Some("b".into()), ..failed(10, &format!("{n}"), "ann", "192.0.2.1") };
        bench.event(0, event);
    }
    assert_eq!(bench.found.len(), 1);
}

#[test]
fn late_events_are_counted_and_not_judged() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 2);
    bench.logons(users([0, 1, 2, 3]));
    for (n, time) in [2000, 2001, 2002].into_iter().enumerate() {
        bench.event(0, failed(time, &format!("x{n}"), "bob", "192.0.2.2"));
    }
    bench.event(0, failed(4, "late", "ann", "192.0.2.1"));
    assert_eq!((bench.found.len(), bench.detector.totals().late), (0, 1));
    // within the bound it is judged at its own time, and so it is on a partition that has not come so far
    bench.event(1, failed(4, "in time", "ann", "192.0.2.1"));
    bench.idle();
    assert_eq!((bench.found.len(), bench.detector.totals().late), (1, 1));
}

#[test]
fn a_partition_that_comes_with_a_backlog_is_judged_though_the_others_are_weeks_ahead() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 2);
    bench.detector.forget(&chain(1));
    for n in 0..3 {
        bench.event(0, failed(20 * 86_400 + n, &format!("now-{n}"), "bob", "192.0.2.2"));
    }
    // as a rebalance gives it to a process that has been at work for long
    for n in 0..5 {
        bench.event(1, failed(n * 20, &format!("then-{n}"), "ann", "192.0.2.1"));
        // each new key makes room by what no longer matters
        bench.event(1, failed(n * 20, &format!("other-{n}"), "eve", &format!("198.51.100.{n}")));
        bench.event(1, failed(n * 20, &format!("another-{n}"), "eve", &format!("203.0.113.{n}")));
    }
    assert_eq!((bench.found.len(), bench.detector.totals().late), (1, 0));
}

#[test]
fn an_event_from_the_future_makes_nobody_late_and_hides_nothing() {
    let plain = {
        let mut bench = Bench::new(load(&counting(COUNT5, "")), 2);
        bench.logons(users((0..100).map(|n| n * 50)));
        bench.idle();
        bench.ids()
    };
    for repeated in [1, 3] {
        let mut bench = Bench::new(load(&counting(COUNT5, "")), 2);
        for n in 0..100 {
            bench.logons(users([n * 50]));
            if n % 10 == 3 {
                // of the very key that is counted, on both partitions
                for _ in 0..repeated {
                    bench.event(0, failed(29 * 86_400, "future", "ann", "192.0.2.1"));
                    bench.event(1, failed(29 * 86_400, "future", "ann", "192.0.2.1"));
                }
            }
        }
        bench.idle();
        assert_eq!(bench.detector.totals().late, 0);
        assert_eq!(bench.ids(), plain);
        assert!(!plain.is_empty());
    }
}

const SHAPE: &str = "key: [src_ip], window: \"15m\", agg: #{ n: count(), users: distinct(user), most: max_per(user) },
    at_least: #{ n: 25, users: 15 }, settle: \"2m\", dedup: \"1h\"";

#[test]
fn settle_judges_the_shape_that_came_of_it() {
    let rules =
        load(&counting(SHAPE, "fn decide(e, w) { w.most <= 2 }\nfn title(e, w) { `${w.n} on ${w.users}, ${w.most}` }"));
    // one try on each of 40 accounts
    let mut bench = Bench::new(rules.clone(), 1);
    bench.logons((0..40).map(|n| (n * 3, format!("u{n}"))));
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(124)]), "the 25th event opened the gate");
    bench.idle();
    assert_eq!((bench.titles(), bench.deferred()), (vec!["40 on 40, 1"], vec![None]));
    // four tries on each of 15 in turn: at the 25th event nobody was tried more than twice
    let mut bench = Bench::new(rules.clone(), 1);
    bench.logons((0..60).map(|n| (n * 3, format!("u{}", n % 15))));
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![None]));
    assert_eq!(bench.detector.rule_stats()[0].gated, 1, "asked when it had settled, not at each event");
}

#[test]
fn a_pause_of_the_producer_settles_nothing_before_its_time() {
    let rules = load(&counting(SHAPE, "fn decide(e, w) { w.most <= 2 }"));
    let logons: Vec<_> = (0..60).map(|n| (n * 3, format!("u{}", n % 15))).collect();
    // a day's backlog is published, with a moment in which everything published has been read
    let mut bench = Bench::new(rules.clone(), 1);
    bench.logons(logons[..20].to_vec());
    bench.at_end();
    bench.logons(logons[20..].to_vec());
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![None]), "judged before its shape had settled");
    // a shipper that was cut off for long sends what it has: the wall clock is far ahead of it
    let mut bench = Bench::new(rules, 1);
    bench.logons(logons[..20].to_vec());
    bench.idle();
    bench.logons(logons[20..].to_vec());
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(124)]));
    bench.idle();
    assert_eq!(bench.deferred(), [Some(124)], "two minutes of settling are not over");
    bench.now += 120;
    bench.idle();
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![None]));
}

#[test]
fn an_event_out_of_order_is_judged_within_seconds() {
    let rule = COUNT5.replace("n: 5", "n: 40");
    let mut bench = Bench::new(load(&counting(&rule, "")), 1);
    bench.idle();
    bench.logons(users((0..39).chain([500, 501])));
    bench.logons(users([20]));
    assert_eq!((bench.found.len(), bench.deferred()), (0, vec![Some(141)]), "too many events to look at for each one");
    bench.now += 10;
    bench.event(0, failed(502, "another", "bob", "192.0.2.9"));
    assert_eq!((bench.found.len(), bench.deferred()), (1, vec![None]));
}

#[test]
fn settle_waits_for_the_watermark_of_every_partition() {
    let rules = load(&counting(SHAPE, "fn decide(e, w) { w.most <= 2 }"));
    let mut bench = Bench::new(rules, 2);
    bench.logons((0..40).map(|n| (n * 3, format!("u{n}"))));
    for n in 0..50 {
        bench.event(0, failed(1000 + n, &format!("later{n}"), "bob", "192.0.2.9"));
    }
    assert_eq!(bench.found.len(), 0, "the other partition may still show another shape");
    bench.now += 60;
    let now = bench.millis();
    let other = bench.chains[1].clone();
    bench.detector.idle(&other, now, &mut bench.found);
    // a watermark moves with the next event
    bench.event(0, failed(1100, "last", "bob", "192.0.2.9"));
    bench.event(0, failed(1101, "very last", "bob", "192.0.2.9"));
    assert_eq!(bench.found.len(), 1);
    assert_eq!(bench.found[0].position.to_string(), "main/auth/0/0@124");
}

#[test]
fn a_chain_that_is_forgotten_defers_nothing_and_comes_back_as_if_new() {
    let rules = load(&counting(SHAPE, "fn decide(e, w) { w.most <= 2 }"));
    let mut bench = Bench::new(rules.clone(), 1);
    let logons: Vec<_> = (0..40).map(|n| (n * 3, format!("u{n}"))).collect();
    bench.logons(logons.clone());
    let chain = bench.chains[0].clone();
    bench.detector.forget(&chain);
    assert_eq!(bench.deferred(), [None]);
    bench.offsets[0] = 100;
    bench.idle();
    assert_eq!(bench.found.len(), 0, "its next reader judges that");
    // the same records again: judged again, under the same id
    bench.logons(logons.clone());
    bench.idle();
    bench.now += 120;
    bench.idle();
    let mut fresh = Bench::new(rules, 1);
    fresh.logons(logons);
    fresh.idle();
    assert_eq!(bench.found.len(), 1);
    assert_eq!(bench.ids(), fresh.ids());
}

#[test]
fn a_finding_that_was_raised_on_a_forgotten_chain_is_raised_again() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
    bench.logons(users(0..10));
    let chain = bench.chains[0].clone();
    bench.detector.forget(&chain);
    bench.offsets[0] = 100;
    bench.logons(users(0..10));
    assert_eq!((bench.found.len(), bench.ids().len()), (2, 1), "it may not have been published before");
}

#[test]
fn a_finding_is_raised_again_when_any_chain_that_it_names_comes_back() {
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 3);
    let read = |bench: &mut Bench, partition: usize, of: &[i64]| {
        for n in of {
            bench.event(partition, failed(*n, &format!("{n}"), "ann", "192.0.2.1"));
        }
    };
    read(&mut bench, 1, &[0, 1]);
    read(&mut bench, 2, &[5000, 5001]);
    read(&mut bench, 0, &[2, 3, 4]);
    bench.idle();
    assert_eq!(bench.found.len(), 1);
    let reach: Vec<_> = bench.found[0].reach.iter().map(|position| position.chain.partition).collect();
    assert_eq!(reach, [1, 0]);
    // partition 2 has no part in it; partition 1 has, though its record did not raise it
    for (partition, of, found) in [(2, &[5000, 5001], 1), (1, &[0, 1], 2)] {
        let chain = bench.chains[partition].clone();
        bench.detector.forget(&chain);
        bench.offsets[partition] = 100;
        read(&mut bench, partition, of);
        bench.idle();
        assert_eq!((bench.found.len(), bench.ids().len()), (found, 1), "partition {partition}");
    }
}

#[test]
fn rejections_are_seen_by_rules_that_ask_for_them_and_by_no_others() {
    let rejections = "rule(\"R-1\", #{ name: \"bad input\", severity: LOW,
        when: kind == REJECTION & rejection_code != \"tombstone\", key: [source], window: \"1m\",
        agg: #{ n: count(), codes: distinct(rejection_code) }, at_least: #{ n: 3 }, dedup: \"1h\" });
        fn title(e, w) { `${w.n} rejections of ${e.topic}: ${e.rejection_code}, ${w.codes} codes` }";
    let anything =
        "rule(\"R-2\", #{ name: \"not ann\", severity: LOW, when: user != \"ann\", key: [tenant], dedup: \"1h\" });";
    let rules = RuleSet::load(&[file("a.rhai", rejections), file("b.rhai", anything)]).unwrap();
    let mut bench = Bench::new(Arc::new(rules), 1);
    for code in ["tombstone", "trailing", "magic", "trailing"] {
        bench.rejection(0, code);
    }
    assert_eq!(bench.titles(), ["3 rejections of auth: trailing, 2 codes"]);
    assert_eq!(bench.alert(0)["evidences"][0]["data"]["rejection"]["code"], "trailing");
}

#[test]
fn rules_without_a_window_judge_single_events() {
    let text = |dedup: &str| {
        format!(
            "rule(\"S-1\", #{{ name: \"token reuse\", severity: HIGH, when: reason == \"token_reused\",
            key: [token_family]{dedup} }}); fn decide(e, w) {{ e.acr != 9 }}"
        )
    };
    let reuse = |n: i64, acr: i32| AuthEvent {
        reason: Some("token_reused".into()),
        token_family: Some("f1".into()),
        acr: Some(acr),
        ..failed(n, &format!("{n}"), "ann", "192.0.2.1")
    };
    for (dedup, count) in [("", 9), (", dedup: \"1m\"", 2)] {
        let mut bench = Bench::new(load(&text(dedup)), 1);
        for n in 0..10 {
            bench.event(0, reuse(n * 10, if n == 0 { 9 } else { 1 }));
        }
        assert_eq!((bench.found.len(), bench.ids().len()), (count, count), "{dedup}");
    }
}

#[test]
fn shadow_rules_keep_state_and_are_not_live_and_rules_that_are_off_do_nothing() {
    for (mode, found) in [("shadow", 1), ("off", 0), ("live", 1)] {
        let mut bench = Bench::new(load(&counting(&format!("mode: \"{mode}\", {COUNT5}"), "")), 1);
        bench.logons(users(0..10));
        assert_eq!(bench.found.len(), found, "{mode}");
        assert!(bench.found.iter().all(|finding| finding.live == (mode == "live")));
    }
}

#[test]
fn a_finding_names_its_records_and_its_rule() {
    let rule = counting(COUNT5, "fn context(e, w) { #{ seen: w.n, address: e.src_ip, roles: e.privileges } }");
    let text = format!("// What it finds.\n// In two lines.\n//\n// More.\n{rule}");
    let mut bench = Bench::new(load(&text), 2);
    for n in 0..6 {
        let event = AuthEvent { privileges: vec!["admin".into()], ..failed(n, &format!("{n}"), "ann", "192.0.2.1") };
        bench.event((n % 2) as usize, event);
    }
    let finding = &bench.found[0];
    assert_eq!(finding.position.to_string(), "main/auth/0/0@102");
    let reach: Vec<String> = finding.reach.iter().map(ToString::to_string).collect();
    assert_eq!(reach, ["main/auth/0/0@102", "main/auth/1/0@101"]);
    let alert = bench.alert(0);
    let info = &alert["finding_info"];
    assert_eq!(info["desc"], "What it finds. In two lines.");
    assert_eq!(info["data_sources"], serde_json::json!(["kafka:main/auth/0/0@100-102", "kafka:main/auth/1/0@100-101"]));
    let data = &alert["evidences"][0]["data"];
    assert_eq!(data["positions"].as_array().unwrap().len(), 5);
    assert_eq!(data["context"], serde_json::json!({ "seen": 5, "address": "192.0.2.1", "roles": ["admin"] }));
    assert_eq!((data["values"]["n"].as_i64(), data["at_least"]["n"].as_i64()), (Some(5), Some(5)));
    let own = &alert["unmapped"]["authseal"];
    let digest = Digest::of(text.as_bytes()).hex();
    assert_eq!(own["rule"]["sha256"], digest);
    assert_eq!(info["analytic"]["version"], format!("1+sha256:{}", &digest[..8]));
    assert_eq!(own["warming"], true, "the partitions are read from offset 100: there may have been more before");
}

#[test]
fn a_partition_that_is_read_from_its_first_record_is_not_warming() {
    for (first, warming) in [(0, false), (100, true)] {
        let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
        bench.offsets[0] = first;
        bench.logons(users(0..5));
        assert_eq!(bench.alert(0)["unmapped"]["authseal"]["warming"], warming);
    }
    let mut bench = Bench::new(load(&counting(COUNT5, "")), 1);
    bench.logons(users([0, 5000, 5001, 5002, 5003, 5004]));
    assert_eq!(bench.alert(0)["unmapped"]["authseal"]["warming"], false, "the window begins after the first record");
}

#[test]
fn lists_are_looked_up_in_headers_and_functions_until_they_expire() {
    let rule = counting(
        COUNT5,
        "fn severity(e, w) { if e.src_ip.in_list(\"hot\") { CRITICAL } else { LOW } }
         fn title(e, w) { `${e.user.in_list(\"names\")} ${e.user_id.in_list(\"names\")}` }",
    )
    .replace("outcome == FAILURE,", "outcome == FAILURE & !src_ip.in_list(\"egress\"),");
    let lists = |expires: &str| {
        [
            file("r.rhai", &rule),
            file("lists/egress.txt", &format!("# owner: x\n# expires: {expires}\n192.0.2.0/28\n")),
            file("lists/hot.txt", "# owner: x\n# expires: never\n198.51.100.0/24\n"),
            file("lists/names.txt", "# owner: x\n# expires: never\nann\n"),
        ]
    };
    // tests begin on 2026-01-05
    for (expires, found) in [("2026-01-05", 0), ("2026-01-04", 1), ("never", 0)] {
        let mut bench = Bench::new(Arc::new(RuleSet::load(&lists(expires)).unwrap()), 1);
        bench.logons(users(0..5));
        assert_eq!(bench.found.len(), found, "{expires}");
        for n in 10..20 {
            bench.event(0, failed(n, &format!("{n}"), "ann", "198.51.100.77"));
        }
        let last = bench.found.last().unwrap();
        assert_eq!((last.severity, last.title.as_str()), (crate::detect::Severity::Critical, "true false"));
    }
}
