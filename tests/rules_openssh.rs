//! The shipped rules on real events: 534 of an SSH server under attack (see `data/openssh/LICENSE`), however they are
//! spread over partitions and read; and on a working day of ordinary logons, on which they stay quiet.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot read its data has failed

use authseal::{
    artifact::File,
    detect::{Detector, Finding, Input, Limits, RuleSet},
    event::{Activity, AuthEvent, Factor, Micros, Outcome as Ended, Verification},
    position::ChainId,
    record::Outcome,
};
use std::{collections::BTreeSet, io::Write, path::Path, sync::Arc, time::Duration};

/// When the events are published, in milliseconds: a year after they happened.
const NOW: i64 = 1_796_000_000_000;

fn rules() -> Arc<RuleSet> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files = Vec::new();
    for folder in ["", "lists/"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let path = format!("{folder}{}", entry.file_name().to_str().unwrap());
                files.push(File { path, bytes: std::fs::read(entry.path()).unwrap() });
            }
        }
    }
    Arc::new(RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:?}")))
}

fn openssh() -> Vec<AuthEvent> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openssh/events.ndjson");
    std::fs::read_to_string(path).unwrap().lines().map(event).collect()
}

/// An event of the sample. It has these fields only; another one would be news.
fn event(line: &str) -> AuthEvent {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    let mut event = AuthEvent::default();
    for (name, value) in fields {
        let text = || value.as_str().unwrap();
        match name.as_str() {
            "event_id" => event.event_id = text().into(),
            "time" => event.time = Micros(text().parse::<jiff::Timestamp>().unwrap().as_microsecond()),
            "source" => event.source = text().into(),
            "tenant" => event.tenant = Some(text().into()),
            "app" => event.app = Some(text().into()),
            "protocol" => event.protocol = Some(text().into()),
            "session" => event.session = Some(text().into()),
            "activity" => event.activity = Activity::from_symbol(text()).unwrap(),
            "outcome" => event.outcome = Ended::from_symbol(text()).unwrap(),
            "user" => event.user = Some(text().into()),
            "src_ip" => event.src_ip = Some(text().into()),
            "factor" => event.factor = Factor::from_symbol(text()).unwrap(),
            "reason" => event.reason = Some(text().into()),
            "verification" => event.verification = Verification::from_symbol(text()).unwrap(),
            "attributes" => {
                for (key, value) in value.as_object().unwrap() {
                    event.attributes.insert(key.as_str(), value.as_str().unwrap());
                }
            }
            other => panic!("the sample has a new field {other}"),
        }
    }
    event
}

fn chain(partition: u32) -> Arc<ChainId> {
    Arc::new(ChainId { cluster: "main".into(), topic: "auth.events".into(), partition, incarnation: 0 })
}

/// Judges partitions that are read in turns of so many events; all of them are idle in the end.
fn judge(partitions: &[Vec<AuthEvent>], turn: usize) -> Vec<Finding> {
    let mut detector = Detector::new(rules(), Limits { state_bytes: 16 << 20, lateness: Duration::from_secs(600) });
    let chains: Vec<_> = (0..partitions.len() as u32).map(chain).collect();
    let mut findings = Vec::new();
    for chain in &chains {
        detector.watch(chain, NOW);
    }
    let mut next = vec![0; partitions.len()];
    while next.iter().zip(partitions).any(|(next, events)| *next < events.len()) {
        for (at, events) in partitions.iter().enumerate() {
            for event in events.iter().skip(next[at]).take(turn) {
                let outcome = Outcome::Event(Box::new(event.clone()));
                let input =
                    Input { chain: &chains[at], offset: next[at] as i64, timestamp: NOW, now: NOW, outcome: &outcome };
                detector.judge(&input, &mut findings);
                next[at] += 1;
            }
        }
    }
    for chain in &chains {
        // at its end for a minute
        detector.idle(chain, NOW + 60_000, &mut findings);
    }
    for chain in &chains {
        assert_eq!(detector.deferred(chain), None, "everything is judged in the end");
    }
    assert_eq!((detector.totals().late, detector.totals().repeats), (0, 0));
    findings
}

fn ids(findings: &[Finding]) -> BTreeSet<String> {
    findings.iter().map(|finding| finding.uid.clone()).collect()
}

fn named(findings: &[Finding], rule: &str) -> BTreeSet<String> {
    let of_rule = findings.iter().filter(|finding| finding.rule == rule);
    of_rule
        .flat_map(|finding| finding.key.iter().filter(|(name, _)| name == "src_ip").map(|(_, ip)| ip.clone()))
        .collect()
}

#[test]
fn the_attackers_of_the_sample_are_named() {
    let findings = judge(&[openssh()], 1);
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        named(&findings, "AUTH-0004"),
        texts(&["183.62.140.253", "187.141.143.180", "103.99.0.122", "112.95.230.3", "5.188.10.180"])
    );
    let sprayed = named(&findings, "AUTH-0002");
    for source in ["187.141.143.180", "103.99.0.122"] {
        assert!(sprayed.contains(source), "{sprayed:?}");
    }
    assert_eq!(named(&findings, "AUTH-0001"), texts(&[]), "nobody replays a list of credentials here");
    let fired: BTreeSet<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(
        fired,
        BTreeSet::from(["AUTH-0002", "AUTH-0004"]),
        "and nobody got in, nor is one account tried by many"
    );
    let root = findings.iter().find(|f| f.rule == "AUTH-0004" && f.key[1].1 == "183.62.140.253").unwrap();
    assert_eq!(root.title, "Brute force from 183.62.140.253: 20 failed logons on 3 accounts within an hour");

    // for tests/ocsf/validate.sh
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut file = std::fs::File::create(folder.join("openssh-alerts.ndjson")).unwrap();
    for finding in &findings {
        file.write_all(&finding.ocsf).unwrap();
        file.write_all(b"\n").unwrap();
    }
}

#[test]
fn it_does_not_matter_how_the_events_are_spread_and_read() {
    let one = judge(&[openssh()], 1);
    for (by, count) in [("src_ip", 4), ("user", 4), ("nothing", 4), ("user", 7)] {
        let mut partitions = vec![Vec::new(); count];
        for (at, event) in openssh().into_iter().enumerate() {
            let place = match by {
                "src_ip" => event.src_ip.as_deref().unwrap_or_default().bytes().map(usize::from).sum(),
                "user" => event.user.as_deref().unwrap_or_default().bytes().map(usize::from).sum(),
                _ => at,
            };
            partitions[place % count].push(event);
        }
        for turn in [1, 10, 1000] {
            let many = judge(&partitions, turn);
            assert_eq!(ids(&many), ids(&one), "by {by}, {count} partitions, {turn} at a time");
            assert_eq!(many.len(), ids(&many).len(), "each finding is raised once");
        }
    }
}

#[test]
fn a_working_day_of_ordinary_logons_is_quiet() {
    let start = NOW * 1000 - 12 * 3_600_000_000;
    let mut events = Vec::new();
    // 300 people, each with an address; offices of 100 people share one; some mistype, a few forget their password
    for person in 0..300_i64 {
        for logon in 0..4_i64 {
            let at = start + (logon * 9000 + (person * 131) % 9000) * 1_000_000;
            let ip = if person < 100 {
                "198.51.100.1".to_owned()
            } else {
                format!("10.0.{}.{}", person / 250, person % 250)
            };
            let tries = match (person * 7 + logon * 3) % 50 {
                0 => 3,
                1..=3 => 1,
                _ => 0,
            };
            for n in 0..=tries {
                let failed = n < tries;
                events.push(AuthEvent {
                    event_id: format!("{person}-{logon}-{n}").into(),
                    time: Micros(at + n * 8_000_000),
                    source: if person % 2 == 0 { "okta" } else { "keycloak" }.into(),
                    activity: Activity::Logon,
                    outcome: if failed { Ended::Failure } else { Ended::Success },
                    reason: failed.then(|| "invalid_credentials".into()),
                    user: Some(format!("p{person}").into()),
                    src_ip: Some(ip.as_str().into()),
                    ..AuthEvent::default()
                });
            }
        }
    }
    events.sort_by_key(|event| event.time);
    let findings = judge(&[events], 1);
    let titles: Vec<_> = findings.iter().map(|finding| &finding.title).collect();
    assert!(findings.is_empty(), "{titles:?}");
}
