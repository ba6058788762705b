//! What fires does not depend on the order in which partitions are read: checked against definitions that recompute
//! everything.

use super::*;
use crate::detect::{
    measure::Measured,
    tally::{Shape, Tally},
    window::{Incoming, Inserted, Window},
};
use ahash::RandomState;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// (time, user): user 0 is null
type Logon = (i64, u8);

/// An event of the test of all aggregates.
#[derive(Debug, Clone, Copy)]
struct Sample {
    time: i64,
    offset: i64,
    chain: u32,
    /// 0 is null.
    user: u8,
    /// 0 is null, 1 is no number, others are hundredths above -100.
    amount: u8,
    succeeded: bool,
}

impl Sample {
    fn user(self) -> Option<String> {
        (self.user != 0).then(|| format!("u{}", self.user))
    }

    fn amount(self) -> Option<String> {
        match self.amount {
            0 => None,
            1 => Some("much".into()),
            n => Some(format!("{:.2}", (i64::from(n) - 100) as f64 / 4.0)),
        }
    }

    fn hundredths(self) -> Option<i64> {
        (self.amount > 1).then(|| (i64::from(self.amount) - 100) * 25)
    }
}

/// All aggregates, by name, for a rule that is loaded like any other.
const ALL: &str = "key: [src_ip], window: \"10s\", at_least: #{ a: 1 }, dedup: \"1h\", agg: #{
    a: count(), b: count_if(outcome == SUCCESS), c: distinct(user), d: distinct_if(user, outcome == SUCCESS),
    e: max_per(user), f: min_per(user), g: few_per(user, 1), h: few_per(user, 2), i: present(user),
    j: sum(attr(\"amount\")), k: min(attr(\"amount\")), l: max(attr(\"amount\")), m: first(user),
    n: last(attr(\"amount\")),
    o: rate(), p: span(), q: present(attr(\"amount\")), r: distinct(attr(\"amount\")) }";

fn hundredths(number: Option<i64>) -> Measured {
    match number {
        None => Measured::None,
        Some(number) if number % 100 == 0 => Measured::Whole(number / 100),
        Some(number) => Measured::Float(number as f64 / 100.0),
    }
}

/// All aggregates of (end − window, end], computed from nothing. Times are in quarters of a second.
fn all_naive(events: &[Sample], window: i64, end: i64) -> Vec<Measured> {
    let mut inside: Vec<Sample> =
        events.iter().copied().filter(|event| event.time > end - window && event.time <= end).collect();
    inside.sort_by_key(|event| (event.time, event.offset, event.chain));
    let per = |test: &dyn Fn(&Sample) -> bool| {
        let mut per: BTreeMap<u8, i64> = BTreeMap::new();
        inside.iter().filter(|e| e.user != 0 && test(e)).for_each(|e| *per.entry(e.user).or_default() += 1);
        per
    };
    let whole = |count: usize| Measured::Whole(count as i64);
    let text = |text: Option<String>| text.map_or(Measured::None, |text| Measured::Text(text.as_str().into()));
    let (users, good) = (per(&|_| true), per(&|event| event.succeeded));
    let numbers = || inside.iter().filter_map(|event| event.hundredths());
    let amounts: BTreeSet<_> = inside.iter().filter_map(|event| event.amount()).collect();
    let few = |most: i64| whole(users.values().filter(|count| **count <= most).count());
    let span = inside.first().zip(inside.last()).map_or(0, |(first, last)| (last.time - first.time) * 25);
    let (count, minutes) = (inside.len() as i64, window as f64 / 4.0 / 60.0);
    let rate = if count * 240 % window == 0 {
        Measured::Whole(count * 240 / window)
    } else {
        // nine places are kept
        Measured::Float((count as f64 / minutes * 1e9).trunc() / 1e9)
    };
    vec![
        Measured::Whole(count),
        whole(inside.iter().filter(|event| event.succeeded).count()),
        whole(users.len()),
        whole(good.len()),
        Measured::Whole(users.values().max().copied().unwrap_or(0)),
        Measured::Whole(users.values().min().copied().unwrap_or(0)),
        few(1),
        few(2),
        whole(inside.iter().filter(|event| event.user != 0).count()),
        hundredths(Some(numbers().sum())),
        hundredths(numbers().min()),
        hundredths(numbers().max()),
        text(inside.first().and_then(|event| event.user())),
        text(inside.last().and_then(|event| event.amount())),
        rate,
        hundredths(Some(span)),
        whole(inside.iter().filter(|event| event.amount != 0).count()),
        whole(amounts.len()),
    ]
}

/// Equal, but for the last digits of a rate.
fn same(found: &[Measured], wanted: &[Measured]) -> bool {
    let close = |(found, wanted): (&Measured, &Measured)| match (found, wanted) {
        (Measured::Float(found), Measured::Float(wanted)) => (found - wanted).abs() < 2e-9,
        _ => found == wanted,
    };
    found.len() == wanted.len() && found.iter().zip(wanted).all(close)
}

fn quarters(time: i64) -> i64 {
    time * 250_000
}

fn put(kept: &mut Window, shape: &Shape, event: Sample, again: bool, hasher: &RandomState) -> Inserted {
    let (user, amount) = (event.user(), event.amount());
    let incoming = Incoming {
        time: quarters(event.time),
        chain: event.chain,
        offset: event.offset,
        again,
        // the columns are in the order in which the aggregates, by name, use them first
        values: [user.as_deref(), amount.as_deref(), None, None],
        conditions: u32::from(event.succeeded),
    };
    kept.insert(shape, incoming, hasher)
}

fn samples() -> impl Strategy<Value = Vec<(Sample, u8)>> {
    let sample = (0i64..60, 0u32..3, 0u8..8, 0u8..=200, any::<bool>(), 0u8..6).prop_map(
        |(time, chain, user, amount, succeeded, what)| {
            // few different amounts, or none would stand twice in a window
            let amount = if amount > 20 { amount / 20 * 20 + 1 } else { amount / 10 };
            (Sample { time, offset: 0, chain, user, amount, succeeded }, what)
        },
    );
    proptest::collection::vec(sample, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn incremental_aggregates_are_those_computed_from_nothing(
        steps in samples(), window in 1i64..40, spread in 1i64..4,
    ) {
        let rules = load(&counting(ALL, ""));
        let rule = &rules.compiled()[0];
        let mut shape = rule.shape.clone().unwrap();
        shape.window = quarters(window);
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut kept = Window::new(&shape);
        let mut events: Vec<Sample> = Vec::new();
        let (mut head, mut scratch) = (i64::MIN, Tally::default());
        for (number, (mut event, what)) in steps.into_iter().enumerate() {
            event.offset = number as i64 / spread; // partitions have the same offsets
            if events.iter().any(|known| (known.chain, known.offset) == (event.chain, event.offset)) {
                continue;
            }
            prop_assert_eq!(put(&mut kept, &shape, event, false, &hasher), Inserted::New);
            prop_assert_eq!(put(&mut kept, &shape, event, true, &hasher), Inserted::Repeat);
            events.push(event);
            if what > 0 {
                kept.advance(&shape, quarters(event.time));
                head = head.max(event.time);
            }
            if what == 3 {
                let cut = head - window - 5;
                kept.prune(&shape, quarters(cut), &hasher);
                events.retain(|event| event.time > cut);
            }
            if what == 4 && number % 7 == 0 {
                let gone = event.chain;
                kept.retain(&shape, |chain| chain != gone, &hasher);
                events.retain(|event| event.chain != gone);
            }
            if head > i64::MIN {
                let (found, wanted) =
                    (kept.values(&shape, kept.tally(), kept.current(), shape.window), all_naive(&events, window, head));
                prop_assert!(same(&found, &wanted), "{:?} {:?}", found, wanted);
            }
            let mut swept = BTreeMap::new();
            kept.sweep(&shape, (quarters(10), quarters(50)), &mut scratch, |end, tally, run| {
                swept.insert(end, (kept.values(&shape, tally, run, shape.window), run.iter().len() as i64));
                true
            });
            let ends: BTreeSet<i64> = events.iter().map(|event| event.time).filter(|t| (10..=50).contains(t)).collect();
            let swept_ends: Vec<i64> = swept.keys().copied().collect();
            prop_assert_eq!(swept_ends, ends.iter().map(|time| quarters(*time)).collect::<Vec<_>>());
            for ((found, count), end) in swept.values().zip(ends) {
                let wanted = all_naive(&events, window, end);
                prop_assert!(same(found, &wanted) && Measured::Whole(*count) == wanted[0], "{:?} {:?}", found, wanted);
            }
            let run = kept.over(&shape, (quarters(50 - window), quarters(50)), &mut scratch);
            let (found, wanted) =
                (kept.values(&shape, &scratch, run, shape.window), all_naive(&events, window, 50));
            prop_assert!(same(&found, &wanted), "{:?} {:?}", found, wanted);
        }
    }
}

/// The aggregates of the rule below over (end − window, end], computed from nothing.
fn naive(events: &[Logon], window: i64, end: i64) -> Vec<u64> {
    let inside = || events.iter().filter(|(time, _)| *time > end - window && *time <= end);
    let mut per: BTreeMap<u8, u64> = BTreeMap::new();
    inside().filter(|(_, user)| *user != 0).for_each(|(_, user)| *per.entry(*user).or_default() += 1);
    vec![inside().count() as u64, per.len() as u64, per.values().max().copied().unwrap_or(0)]
}

const RULE: &str = "key: [src_ip], window: \"5m\", agg: #{ n: count(), users: distinct(user), most: max_per(user) },
    at_least: #{ n: 6, users: 3, most: 2 }, dedup: \"10m\"";

/// Which (address, bucket) fire, by definition: those with an event whose window satisfies the gate.
fn by_definition(events: &[(i64, u8, u8)]) -> BTreeSet<(String, i64)> {
    let mut fired = BTreeSet::new();
    for ip in 0..3 {
        let own: Vec<Logon> = events.iter().filter(|e| e.1 == ip).map(|(time, _, user)| (*time, user + 1)).collect();
        for (end, _) in &own {
            let values = naive(&own, 300, *end);
            if values[0] >= 6 && values[1] >= 3 && values[2] >= 2 {
                fired.insert((format!("192.0.2.{ip}"), (START + end).div_euclid(600)));
            }
        }
    }
    fired
}

/// (address, bucket) of what fired; the bucket is read from the alert.
fn fired(bench: &Bench) -> BTreeSet<(String, i64)> {
    (0..bench.found.len())
        .map(|at| {
            let until = bench.alert(at)["unmapped"]["authseal"]["dedup_until"].as_i64().unwrap();
            (bench.found[at].key[0].1.clone(), until / 600_000 - 1)
        })
        .collect()
}

/// Reads the events of each partition in the order of the event's time plus a delay that stays within the lateness;
/// `turns` says which partition is next.
fn read(events: &[(i64, u8, u8)], spread: &[u8], delays: &[i64], turns: &[u8], partitions: u32) -> Bench {
    let mut bench = Bench::new(load(&counting(RULE, "")), partitions);
    let mut queues = vec![Vec::new(); partitions as usize];
    for (at, event) in events.iter().enumerate() {
        let partition = usize::from(spread[at % spread.len()]) % partitions as usize;
        queues[partition].push((event.0 + delays[at % delays.len()], at));
    }
    for queue in &mut queues {
        queue.sort_unstable();
        queue.reverse();
    }
    let mut turn = turns.iter().cycle();
    while queues.iter().any(|queue| !queue.is_empty()) {
        let mut partition = usize::from(*turn.next().unwrap()) % queues.len();
        while queues[partition].is_empty() {
            partition = (partition + 1) % queues.len();
        }
        let (_, at) = queues[partition].pop().unwrap();
        let (time, ip, user) = events[at];
        bench.event(partition, failed(time, &format!("{at}"), &format!("u{user}"), &format!("192.0.2.{ip}")));
    }
    bench.idle();
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_fires_does_not_depend_on_how_partitions_are_interleaved(
        events in proptest::collection::vec((0i64..4000, 0u8..3, 0u8..6), 1..250),
        spread in proptest::collection::vec(0u8..4, 1..50),
        delays in proptest::collection::vec(0i64..500, 1..20),
        turns in proptest::collection::vec(0u8..4, 1..80),
        partitions in 1u32..5,
    ) {
        let bench = read(&events, &spread, &delays, &turns, partitions);
        prop_assert_eq!(bench.detector.totals().late, 0);
        prop_assert_eq!(fired(&bench), by_definition(&events));
        prop_assert_eq!(bench.found.len(), bench.ids().len(), "each once");
        prop_assert_eq!(bench.deferred(), vec![None; partitions as usize]);
    }
}

#[test]
fn a_partition_that_is_hours_behind_still_counts() {
    // an attack that no partition sees more than a third of; the partitions are read one after the other
    let mut bench = Bench::new(load(&counting(RULE, "")), 3);
    let events: Vec<(i64, u8, u8)> = (0..12).map(|n| (n * 20, 0, (n % 3) as u8)).collect();
    for partition in 0..3 {
        for (at, (time, _, user)) in events.iter().enumerate().filter(|(at, _)| at % 3 == partition) {
            bench.event(partition, failed(*time, &format!("{at}"), &format!("u{user}"), "192.0.2.0"));
        }
        // the partition goes on for two hours, with the same address among others
        for n in 0..240 {
            let ip = if n == 100 { "192.0.2.0" } else { "192.0.2.200" };
            bench.event(partition, failed(1000 + n * 30, &format!("{partition}-{n}"), "zoe", ip));
        }
    }
    bench.idle();
    assert_eq!(fired(&bench).into_iter().filter(|(ip, _)| ip == "192.0.2.0").count(), 1);
    assert_eq!(bench.detector.totals().late, 0);
}

#[test]
fn window_ends_that_are_too_many_to_look_at_again_at_once_wait_for_the_watermark() {
    let rule = RULE.replace("n: 6, users: 3, most: 2", "n: 50, users: 3");
    for evict in [false, true] {
        let mut bench = Bench::with(load(&counting(&rule, "")), 2, if evict { 128 << 10 } else { 64 << 20 });
        for n in 0..100 {
            bench.event(0, failed(n, &format!("{n}"), if n % 2 == 0 { "ann" } else { "bob" }, "192.0.2.0"));
        }
        bench.event(0, failed(9_999, "later", "ann", "192.0.2.0"));
        bench.event(1, failed(20, "third", "zoe", "192.0.2.0"));
        assert_eq!((bench.found.len(), bench.deferred()), (0, vec![None, Some(100)]));
        if evict {
            for n in 0..20_000 {
                let ip = format!("10.0.{}.{}", (n / 200) >> 8, (n / 200) & 255);
                bench.event(0, failed(10_000, &format!("flood-{n}"), "ann", &ip));
            }
        } else {
            bench.idle();
        }
        assert_eq!(fired(&bench).into_iter().filter(|(ip, _)| ip == "192.0.2.0").count(), 1, "evict: {evict}");
        assert_eq!(bench.deferred()[1], None);
        let first = &bench.found[0];
        assert_eq!(first.position.to_string(), "main/auth/1/0@100", "the record whose judgement raised it");
    }
}

/// (seconds, session, what): a step-up, weak or strong, or a privileged action
type Deed = (i64, u8, u8);

const STEP_UP: &str = "marker(\"ok\", #{ when: activity == STEP_UP, key: [session], ttl: \"5m\" });
    rule(\"O-1\", #{ name: \"n\", severity: LOW, when: activity == PRIVILEGED_ACTION, key: [session], wait: \"20s\",
        dedup: \"10m\" });
    fn decide(e, w) { let s = e.mark(\"ok\"); s.missing || s.age > 120 || s.acr < 2 || s.count > 3 }";

/// Which (session, bucket) fire, by definition: those with an action whose last step-up before it is none, old or weak,
/// or has too many others before it.
fn bypasses(deeds: &[(Deed, (u32, i64))]) -> BTreeSet<(String, i64)> {
    let mut fired = BTreeSet::new();
    for ((time, session, _), position) in deeds.iter().filter(|((_, _, what), _)| *what == 2) {
        let before = |((t, s, what), p): &&(Deed, (u32, i64))| {
            *what < 2 && s == session && (*t, *p) < (*time, *position) && time - t <= 300
        };
        let last = deeds.iter().filter(before).max_by_key(|((t, ..), p)| (*t, *p));
        let bad = last.is_none_or(|((t, _, what), _)| time - t > 120 || *what == 0);
        if bad || deeds.iter().filter(before).count() > 3 {
            fired.insert((format!("s{session}"), (START + time).div_euclid(600)));
        }
    }
    fired
}

/// Deals records out to partitions; each is read in the order of its time plus a delay. The order, as (partition, at).
fn deal(times: &[i64], spread: &[u8], delays: &[i64], turns: &[u8], partitions: usize) -> Vec<(usize, usize)> {
    let mut queues = vec![Vec::new(); partitions];
    for (at, time) in times.iter().enumerate() {
        queues[usize::from(spread[at % spread.len()]) % partitions].push((time + delays[at % delays.len()], at));
    }
    queues.iter_mut().for_each(|queue| queue.sort_unstable_by(|a, b| b.cmp(a)));
    let mut turn = turns.iter().cycle();
    let mut order = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        let mut partition = usize::from(*turn.next().unwrap()) % partitions;
        while queues[partition].is_empty() {
            partition = (partition + 1) % partitions;
        }
        order.extend(queues[partition].pop().map(|(_, at)| (partition, at)));
    }
    order
}

/// What one rule's findings hold of their first key field, and their buckets.
fn fired_by(bench: &Bench, rule: &str, dedup: i64) -> BTreeSet<(String, i64)> {
    let found = (0..bench.found.len()).filter(|at| bench.found[*at].rule == rule);
    found
        .map(|at| {
            let until = bench.alert(at)["unmapped"]["authseal"]["dedup_until"].as_i64().unwrap();
            (bench.found[at].key[0].1.clone(), until / (dedup * 1000) - 1)
        })
        .collect()
}

const ATTACK: &str =
    "rule(\"O-2\", #{ name: \"n\", severity: LOW, when: outcome == FAILURE, key: [src_ip], window: \"5m\",
    agg: #{ n: count() }, at_least: #{ n: 3 }, settle: \"1m\", dedup: \"10m\" });";
const AFTER: &str = "marker(\"attacked\", #{ when: finding_rule == \"O-2\", key: [src_ip], ttl: \"15m\" });
    rule(\"O-3\", #{ name: \"n\", severity: LOW, when: outcome == SUCCESS, key: [src_ip],
        wait: \"2m\", dedup: \"1m\" });
    fn decide(e, w) { !e.mark(\"attacked\").missing }";

/// Which (address, bucket) of successes fire, by definition: the attack of each period of ten minutes is found at the
/// first event whose window has three failures.
fn successes(events: &[(i64, u8, bool)]) -> BTreeSet<(String, i64)> {
    let mut fired = BTreeSet::new();
    for ip in 0..2u8 {
        let failures = || events.iter().filter(|(_, other, failed)| *other == ip && *failed).map(|event| event.0);
        let mut attacks: BTreeMap<i64, i64> = BTreeMap::new();
        for end in failures().filter(|end| failures().filter(|t| *t > end - 300 && t <= end).count() >= 3) {
            let first = attacks.entry((START + end).div_euclid(600)).or_insert(end);
            *first = (*first).min(end);
        }
        for (time, ..) in events.iter().filter(|(_, other, failed)| *other == ip && !failed) {
            if attacks.values().any(|attack| attack < time && time - attack <= 900) {
                fired.insert((format!("192.0.2.{ip}"), (START + time).div_euclid(60)));
            }
        }
    }
    fired
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn what_markers_say_does_not_depend_on_how_partitions_are_interleaved(
        deeds in proptest::collection::vec((0i64..2400, 0u8..3, 0u8..3), 1..120),
        spread in proptest::collection::vec(0u8..4, 1..50),
        delays in proptest::collection::vec(0i64..20, 1..20),
        turns in proptest::collection::vec(0u8..4, 1..80),
        partitions in 1usize..5,
    ) {
        let mut bench = Bench::new(load(STEP_UP), partitions as u32);
        let times: Vec<i64> = deeds.iter().map(|deed| deed.0).collect();
        let mut placed = Vec::new();
        for (partition, at) in deal(&times, &spread, &delays, &turns, partitions) {
            let (time, session, what) = deeds[at];
            placed.push((deeds[at], (partition as u32, bench.offsets[partition])));
            bench.event(partition, AuthEvent {
                activity: if what < 2 { Activity::StepUp } else { Activity::PrivilegedAction },
                acr: Some(i32::from(what) + 1),
                session: Some(format!("s{session}").into()),
                ..failed(time, &format!("{at}"), "ann", "192.0.2.1")
            });
        }
        bench.idle();
        prop_assert_eq!(bench.detector.totals().late, 0);
        prop_assert_eq!(fired_by(&bench, "O-1", 600), bypasses(&placed));
        prop_assert_eq!(bench.found.len(), bench.ids().len(), "each once");
        prop_assert_eq!(bench.deferred(), vec![None; partitions]);
    }

    #[test]
    fn what_rules_say_about_findings_does_not_depend_on_it_either(
        times in proptest::collection::btree_set(0i64..3000, 1..120),
        kinds in proptest::collection::vec((0u8..2, proptest::bool::ANY), 120),
        spread in proptest::collection::vec(0u8..4, 1..50),
        turns in proptest::collection::vec(0u8..4, 1..80),
        partitions in 1usize..5,
    ) {
        let events: Vec<_> = times.iter().zip(&kinds).map(|(time, (ip, failed))| (*time, *ip, *failed)).collect();
        let rules = RuleSet::load(&[file("a.rhai", ATTACK), file("b.rhai", AFTER)]).unwrap();
        let mut bench = Bench::new(Arc::new(rules), partitions as u32);
        let times: Vec<i64> = times.into_iter().collect();
        for (partition, at) in deal(&times, &spread, &[0], &turns, partitions) {
            let (time, ip, is_failure) = events[at];
            let event = failed(time, &format!("{at}"), "ann", &format!("192.0.2.{ip}"));
            let outcome = if is_failure { Ended::Failure } else { Ended::Success };
            bench.event(partition, AuthEvent { outcome, ..event });
        }
        bench.idle();
        prop_assert_eq!(fired_by(&bench, "O-3", 60), successes(&events));
        prop_assert_eq!(bench.found.len(), bench.ids().len(), "each once");
        prop_assert_eq!(bench.deferred(), vec![None; partitions]);
    }
}

#[test]
fn an_event_that_the_clock_lets_through_changes_windows_that_are_ahead_of_it() {
    // the clock is slow: four failures are more than a minute ahead of it, and the one before them is not
    let gate = "key: [user], window: \"1h\", agg: #{ n: count() }, at_least: #{ n: 5 }, dedup: \"1h\"";
    let mut bench = Bench::new(load(&counting(gate, "")), 1);
    bench.now = 0;
    for (n, second) in [70, 71, 72, 73, 50].into_iter().enumerate() {
        bench.event(0, failed(second, &n.to_string(), "ann", "192.0.2.1"));
    }
    assert!(bench.found.len() == 1 || bench.deferred() != [None], "nothing is found, and nothing waits");
    bench.now = 3_600;
    bench.idle();
    assert_eq!(bench.found.len(), 1);
}
