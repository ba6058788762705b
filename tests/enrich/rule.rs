//! Impossible travel (AUTH-0011) on events that carry nothing but addresses.

use crate::{assert_ocsf, city, decode, enricher};
use authseal::{
    artifact::File,
    detect::{Detector, Finding, Input, Limits, RuleSet},
    position::ChainId,
    record::Outcome,
};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};

fn rule() -> Arc<RuleSet> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files = Vec::new();
    for path in ["impossible_travel.rhai", "impossible_travel.test.rhai", "lists/trusted_egress.txt"] {
        files.push(File { path: path.into(), bytes: std::fs::read(root.join(path)).unwrap() });
    }
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// What becomes of a logon in London and one near Seattle 40 minutes later.
fn judge(databases: Vec<Vec<u8>>) -> Vec<Finding> {
    let enricher = enricher(databases);
    let limits = Limits { state_bytes: 64 << 20, lateness: Duration::from_secs(300) };
    let mut detector = Detector::new(rule(), limits);
    let chain: Arc<ChainId> = Arc::new("main/auth/0/0".parse().unwrap());
    let mut findings = Vec::new();
    for (offset, (minute, ip)) in [(0, "81.2.69.142"), (40, "216.160.83.57"), (59, "10.0.0.1")].into_iter().enumerate()
    {
        let event = decode(
            &enricher,
            json!({ "time": format!("2026-11-21T08:{minute:02}:00Z"), "activity": "LOGON", "outcome": "SUCCESS",
                "src_ip": ip, "tenant": "acme", "user_agent": "curl/8.5.0", "event_id": format!("e{minute}") }),
        );
        let time = event.time.millis();
        let outcome = Outcome::Event(Box::new(event));
        let input = Input { chain: &chain, offset: offset as i64, timestamp: time, now: time, outcome: &outcome };
        detector.judge(&input, &mut findings);
    }
    // nothing more comes, for longer than the rule waits
    for now in [1_795_260_000_000, 1_795_260_060_000] {
        detector.idle(&chain, now, &mut findings);
    }
    findings
}

#[test]
fn impossible_travel_is_seen_once_addresses_have_places_and_the_alert_says_whose_word_they_are() {
    assert!(judge(vec![]).is_empty(), "without a database nobody knows");
    let findings = judge(vec![city()]);
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((finding.rule.as_str(), finding.position.offset), ("AUTH-0011", 1));
    assert!(finding.title.contains("ann logged on 77"), "{}", finding.title); // some 7,700 km
    let alert: Value = serde_json::from_slice(&finding.ocsf).unwrap();
    let [enrichment, agent] = &alert["enrichments"].as_array().unwrap()[..] else { panic!("{alert:#}") };
    assert_eq!((&agent["value"], &agent["data"]), (&json!("curl/8.5.0"), &json!({ "ua.client": "curl" })));
    assert_eq!(enrichment["name"], "evidences[0].src_endpoint.ip");
    assert_eq!(enrichment["value"], "216.160.83.57");
    assert!(enrichment["provider"].as_str().unwrap().starts_with("GeoLite2-City@2026-11-17#"), "{enrichment}");
    assert_eq!(enrichment["created_time"], 1_794_873_600_000i64);
    assert_eq!(enrichment["data"], json!({ "country": "US", "city": "Milton", "lat": 47.2513, "long": -122.3149 }));
    let sources = [&alert["evidences"][0]["src_endpoint"]["location"]["country"], &enrichment["data"]["country"]];
    assert!(sources.iter().all(|country| *country == "US"));
    assert_ocsf(&finding.ocsf);
}
