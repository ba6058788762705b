//! What an event costs in memory: nothing if no rule selects it, and no more than is accounted for if some do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use authseal::{
    artifact::File,
    detect::{Detector, Input, Limits, RuleSet},
    event::{Activity, AuthEvent, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are cells of plain numbers that never
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get() + layout.size() as i64));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.with(|bytes| bytes.set(bytes.get() - layout.size() as i64));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The shipped rules.
fn rules() -> Arc<RuleSet> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let names = ["credential_stuffing", "password_spray", "lockout_storm", "brute_force"];
    let paths = names.iter().map(|name| format!("{name}.rhai")).chain(["lists/trusted_egress.txt".into()]);
    let files: Vec<File> = paths.map(|path| File { bytes: std::fs::read(folder.join(&path)).unwrap(), path }).collect();
    Arc::new(RuleSet::load(&files).unwrap())
}

const NOW: i64 = 1_796_000_000_000;

/// A logon with identifiers of ordinary length, which do not fit inline.
fn logon(number: i64, outcome: Ended) -> Outcome {
    Outcome::Event(Box::new(AuthEvent {
        event_id: format!("7d3a1c52-0000-4000-8000-{number:012}").into(),
        time: Micros(NOW * 1000 + number * 1000),
        source: "an identity provider with a long name".into(),
        activity: Activity::Logon,
        outcome,
        user: Some(format!("somebody.with.a.name.{number}@customer.example").into()),
        // a few keys with many events, and many with few
        app: Some(if number % 2 == 0 { "one".into() } else { number.to_string().as_str().into() }),
        src_asn: Some(number),
        src_ip: Some(format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255).as_str().into()),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64)".into()),
        ..AuthEvent::default()
    }))
}

#[test]
fn events_that_no_rule_selects_allocate_nothing() {
    let mut detector = Detector::new(rules(), Limits { state_bytes: 16 << 20, lateness: Duration::from_secs(600) });
    let chain = Arc::new("main/auth/0/0".parse::<ChainId>().unwrap());
    let events: Vec<Outcome> = (0..2000).map(|number| logon(number, Ended::Success)).collect();
    let mut findings = Vec::new();
    let mut count = 0;
    for (offset, outcome) in (0..).zip(&events) {
        if offset == 1000 {
            count = COUNT.with(Cell::get); // the partition and its source are known by now
        }
        let now = NOW + offset;
        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome }, &mut findings);
    }
    assert_eq!(COUNT.with(Cell::get) - count, 0);
    assert_eq!(detector.totals().records, 2000);
}

/// A rule of one file, with a list of patterns.
fn rule(text: &str) -> Arc<RuleSet> {
    let list = "# owner: x\n# expires: never\n*.corp.example\n*@mail.example\n";
    let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
    let files = [file("t.rhai", text), file("lists/names.txt", list)];
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

#[test]
fn no_test_of_a_field_allocates() {
    // every test runs, for all hold but the look into the list, which is the last because it costs most
    let rules = rule(
        r#"rule("T-1", #{ name: "t", severity: LOW, runbook: "none", key: [user], when: activity == LOGON
        & user.lower().starts_with("somebody") & user.lower().ends_with(".example") & user.lower().contains("@customer")
        & user.lower().matches("*with*name*@*") & !user.lower().one_of(["ann", "bob"]) & user.lower() != actor.lower()
        & user.starts_with("some") & user.contains("body.") & user.len() > 20 & user.in_list("names") & user != actor
        & time.hour() != 24.5 & time.weekday() < 7.5 & time > "2020-01-01T00:00:00Z" & !(session_start < time)
        & !(session_start.age() > 60) & !(attr("amount").number() >= 1000) & !privileges.one_of(["admin"])
        & privileges.len() == 0 & user.number() != 5 & acr.number() != 3 });"#,
    );
    let mut detector = Detector::new(rules, Limits { state_bytes: 16 << 20, lateness: Duration::from_secs(600) });
    let chain = Arc::new("main/auth/0/0".parse::<ChainId>().unwrap());
    let events: Vec<Outcome> = (0..200).map(|number| logon(number, Ended::Success)).collect();
    let (mut findings, mut count) = (Vec::new(), 0);
    for (offset, outcome) in (0..).zip(&events) {
        if offset == 100 {
            count = COUNT.with(Cell::get);
        }
        let now = NOW + offset;
        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome }, &mut findings);
    }
    assert_eq!(COUNT.with(Cell::get) - count, 0);
    assert_eq!(detector.rule_stats()[0].evaluated, 200);
}

#[test]
fn state_takes_no_more_memory_than_is_accounted_for() {
    accounted_for(rules());
}

#[test]
fn nor_does_that_of_a_rule_with_every_aggregate() {
    accounted_for(rule(
        r#"rule("T-1", #{ name: "t", severity: LOW, runbook: "none", key: [tenant, app], window: "1h", dedup: "1h",
        when: activity == LOGON, at_least: #{ a: 9000 }, update_on: "x2", agg: #{ a: count(),
        b: count_if(user == "ann"), c: distinct(user), d: distinct_if(user, outcome == FAILURE), e: max_per(user),
        f: min_per(user), g: few_per(user, 2), h: present(user), i: sum(src_asn), j: min(src_asn), k: max(src_asn),
        l: first(user), m: last(user), n: rate(), o: span() } });"#,
    ));
}

fn accounted_for(rules: Arc<RuleSet>) {
    let limit = 8 << 20;
    let chain = Arc::new("main/auth/0/0".parse::<ChainId>().unwrap());
    let before = BYTES.with(Cell::get);
    let mut detector = Detector::new(rules, Limits { state_bytes: limit, lateness: Duration::from_secs(600) });
    let mut findings = Vec::new();
    for offset in 0..60_000 {
        let outcome = logon(offset, Ended::Failure);
        let now = NOW + offset;
        detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome: &outcome }, &mut findings);
        drop(outcome);
        if offset % 1000 == 0 {
            let (real, told) = (BYTES.with(Cell::get) - before, detector.totals().bytes as i64);
            assert!(told <= limit as i64, "told {told} of {limit}");
            // small things that do not grow (counters of rules, the buffers of one judgement) are not accounted for
            assert!(real <= told + 64 * 1024, "took {real}, told {told}");
        }
    }
    assert!(detector.totals().evicted > 10_000, "{:?}", detector.totals());
}
