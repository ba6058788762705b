//! Nanoseconds an event for what enrichment adds: a logon that carries an address and a user agent, against databases
//! of 100,000 networks. Each row copies an event first; the first one does nothing else.

// a bench fails by panicking
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/enrich/mmdb.rs"]
mod mmdb;

use authseal::{
    decode::enrich::{Database, Enricher},
    event::AuthEvent,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::{hint::black_box, sync::Arc};

const NETWORKS: u32 = 100_000;
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// The nth network of 256 addresses.
fn network(n: u32) -> String {
    format!("{}.{}.{}", 20 + n / 65_536, n / 256 % 256, n % 256)
}

fn database(kind: &str, record: impl Fn(u32) -> Value) -> Arc<Database> {
    let names: Vec<String> = (0..NETWORKS).map(|n| format!("{}.0/24", network(n))).collect();
    let networks: Vec<(&str, Value)> = names.iter().zip(0..).map(|(name, n)| (name.as_str(), record(n))).collect();
    Arc::new(Database::new(mmdb::database(kind, 1_794_873_600, 28, &networks)).unwrap())
}

fn city() -> Arc<Database> {
    // two networks share a record
    database("Bench-City", |n| {
        let names = |name: &str| json!({ "de": name, "en": name, "es": name, "fr": name, "ja": name });
        json!({
            "city": { "geoname_id": n / 2, "names": names(&format!("City {}", n / 2)) },
            "country": { "geoname_id": 1, "iso_code": "DE", "names": names("Germany") },
            "location": { "accuracy_radius": 20, "latitude": 50.5 + f64::from(n % 100) / 100.0, "longitude": 8.5,
                "time_zone": "Europe/Berlin" },
        })
    })
}

fn networks() -> Arc<Database> {
    database(
        "Bench-ASN",
        |n| json!({ "autonomous_system_number": 1000 + n / 50, "autonomous_system_organization": "x" }),
    )
}

fn events(addresses: u32, agent: bool) -> Vec<AuthEvent> {
    let event = |n: u32| AuthEvent {
        user: Some("webmaster".into()),
        // spread over all networks
        src_ip: Some(format!("{}.7", network(n.wrapping_mul(7919) % NETWORKS)).into()),
        user_agent: agent.then(|| CHROME.into()),
        ..AuthEvent::default()
    };
    (0..addresses).map(event).collect()
}

fn enrich(c: &mut Criterion) {
    let mut group = c.benchmark_group("enrich");
    group.throughput(Throughput::Elements(1));
    let (city, networks) = (city(), networks());
    let rows = [
        ("nothing", vec![], false, 4_096),
        ("city and network, 4,096 addresses", vec![city.clone(), networks.clone()], false, 4_096),
        ("city and network, 100,000 addresses", vec![city, networks], false, NETWORKS),
        ("user agent", vec![], true, 4_096),
    ];
    for (name, databases, agent, addresses) in rows {
        let enricher = Enricher::new(databases, agent);
        let events = events(addresses, agent);
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut event = events[at % events.len()].clone();
                at += 1;
                enricher.enrich(black_box(&mut event));
                event
            });
        });
    }
    group.finish();
}

criterion_group!(benches, enrich);
criterion_main!(benches);
