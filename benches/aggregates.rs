//! What an event costs in a window that holds 10, 1,000 or 16,000 events with 1 or 10,000 different values, for each
//! aggregate: it should be the same.

#![allow(clippy::unwrap_used, missing_docs)]

use authseal::{
    artifact::File,
    detect::{Detector, Input, Limits, RuleSet},
    event::{Activity, AuthEvent, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{sync::Arc, time::Duration};

const BATCH: i64 = 1000;
const START: i64 = 1_796_000_000_000;
const AGGREGATES: [&str; 15] = [
    "count()",
    "count_if(outcome == FAILURE)",
    "distinct(user)",
    "distinct_if(user, outcome == FAILURE)",
    "max_per(user)",
    "min_per(user)",
    "few_per(user, 2)",
    "present(user)",
    "sum(attr(\"amount\"))",
    "min(attr(\"amount\"))",
    "max(attr(\"amount\"))",
    "first(user)",
    "last(user)",
    "rate()",
    "span()",
];

/// A rule whose gate is never reached, so that the window is all that costs.
fn rules(aggregate: &str, seconds: i64) -> Arc<RuleSet> {
    let text = format!(
        "rule(\"B-1\", #{{ name: \"bench\", severity: LOW, runbook: \"none\", when: activity == LOGON, key: [tenant],
        window: \"{seconds}s\", agg: #{{ a: {aggregate}, n: count_if(user == ()) }}, at_least: #{{ n: 1 }},
        dedup: \"1d\" }});"
    );
    let file = File { path: "bench.rhai".into(), bytes: text.into() };
    Arc::new(RuleSet::load(&[file]).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// Ten events a second, so that a window of so many seconds holds ten times as many.
fn event(n: i64, values: i64) -> Outcome {
    let value = n * 7919 % values;
    let mut event = AuthEvent {
        event_id: format!("7d3a1c52-{n:012}").into(),
        time: Micros(START * 1000 + n * 100_000),
        source: "bench".into(),
        activity: Activity::Logon,
        outcome: if n % 3 == 0 { Ended::Success } else { Ended::Failure },
        user: Some(format!("user{value}").into()),
        ..AuthEvent::default()
    };
    event.attributes.insert("amount", format!("{value}.5"));
    Outcome::Event(Box::new(event))
}

fn window(c: &mut Criterion) {
    let chain: Arc<ChainId> = Arc::new("main/auth.events/0/0".parse().unwrap());
    let mut group = c.benchmark_group("aggregate");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(10);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    for aggregate in AGGREGATES {
        for (seconds, values) in [(1, 1), (1, 10_000), (100, 1), (100, 10_000), (1600, 1), (1600, 10_000)] {
            let limits = Limits { state_bytes: 128 << 20, lateness: Duration::from_secs(1) };
            let mut detector = Detector::new(rules(aggregate, seconds), limits);
            let (mut offset, mut findings) = (0, Vec::new());
            let mut judge = |outcome: &Outcome| {
                offset += 1;
                let now = START + offset * 100;
                detector.judge(&Input { chain: &chain, offset, timestamp: now, now, outcome }, &mut findings);
                findings.clear();
            };
            let mut number = 0;
            for _ in 0..seconds * 11 {
                number += 1;
                judge(&event(number, values));
            }
            let id = BenchmarkId::new(aggregate, format!("{} events, {values} values", seconds * 10));
            group.bench_function(id, |bencher| {
                bencher.iter_batched_ref(
                    || {
                        number += BATCH;
                        (number - BATCH + 1..=number).map(|n| event(n, values)).collect::<Vec<_>>()
                    },
                    |batch| batch.iter().for_each(&mut judge),
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, window);
criterion_main!(benches);
