//! A flood of fresh keys, and two slow attackers in it: what the shipped rules make of it within a bound of memory.
//! Shared with `tests/rules_flood.rs`, which runs it smaller.

use authseal::{
    demo,
    detect::{Detector, Finding, Input, Limits, RuleSet, Totals},
    event::{Activity, AuthEvent, Factor, Micros, Outcome as Ended},
    position::ChainId,
    record::Outcome,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const START: i64 = 1_796_000_000_000;
/// The flood lasts so long, in milliseconds of event time, however many keys it has.
const LASTS: i64 = 40 * 60 * 1000;
/// The account that one address tries once a minute. Twenty times within an hour are brute force: AUTH-0004.
pub const GUESSED: &str = "ann@acme.example";
/// From here.
pub const GUESSER: &str = "203.0.113.7";
/// The account that is tried once a minute, each time from another address. Ten times from eight addresses are
/// AUTH-0006.
pub const SURROUNDED: &str = "bob@acme.example";

/// A flood of so many accounts, each from an address of its own.
pub struct Flood {
    keys: u64,
    made: u64,
    minute: i64,
    detector: Detector,
    chain: Arc<ChainId>,
    offset: i64,
    findings: Vec<Finding>,
    /// The most bytes that were accounted for.
    pub most_bytes: u64,
}

impl Flood {
    /// Judged by the shipped rules, with this bound of memory.
    pub fn new(keys: u64, state_bytes: usize) -> Self {
        let rules = Arc::new(RuleSet::load(&demo::rules()).expect("the shipped rules"));
        let limits = Limits { state_bytes, lateness: Duration::from_secs(300) };
        let chain = Arc::new("main/auth.events/0/0".parse().expect("a chain"));
        let detector = Detector::new(rules, limits);
        Self { keys, made: 0, minute: 0, detector, chain, offset: 0, findings: Vec::new(), most_bytes: 0 }
    }

    /// The next events: `None` when the flood is over.
    pub fn batch(&mut self, size: u64) -> Option<Vec<Outcome>> {
        let mut events = Vec::new();
        while self.made < self.keys && (events.len() as u64) < size {
            let n = self.made;
            self.made += 1;
            let time = START * 1000 + (n as i128 * LASTS as i128 * 1000 / self.keys as i128) as i64;
            let address = format!("{}.{}.{}.{}", 11 + (n >> 24), (n >> 16) & 255, (n >> 8) & 255, n & 255);
            events.push(failed(time, &format!("flood-{n}"), &format!("user{n:08}@acme.example"), &address));
            let minute = (time / 1000 - START) / 60_000;
            if minute >= self.minute {
                self.minute = minute + 1;
                events.push(failed(time, &format!("ann-{minute}"), GUESSED, GUESSER));
                events.push(failed(time, &format!("bob-{minute}"), SURROUNDED, &format!("198.51.100.{}", minute + 1)));
            }
        }
        (!events.is_empty()).then(|| events.into_iter().map(|event| Outcome::Event(Box::new(event))).collect())
    }

    /// Judges events.
    pub fn judge(&mut self, batch: &[Outcome]) {
        for outcome in batch {
            let Outcome::Event(event) = outcome else { continue };
            let now = event.time.millis() + 20;
            let input = Input { chain: &self.chain, offset: self.offset, timestamp: now, now, outcome };
            self.detector.judge(&input, &mut self.findings);
            self.offset += 1;
        }
        self.most_bytes = self.most_bytes.max(self.detector.totals().bytes);
    }

    /// What the detector did.
    pub fn totals(&self) -> Totals {
        self.detector.totals()
    }

    /// The rules that found something about the attackers, each with whom.
    pub fn found(&self) -> BTreeSet<(String, String)> {
        let named = self.findings.iter().flat_map(|finding| {
            let who = finding
                .key
                .iter()
                .map(|(_, value)| value)
                .find(|value| [GUESSED, SURROUNDED, GUESSER].contains(&value.as_str()));
            who.map(|who| (finding.rule.clone(), who.clone()))
        });
        named.collect()
    }

    /// How many findings there were at all.
    pub fn findings(&self) -> usize {
        self.findings.len()
    }
}

fn failed(time: i64, id: &str, user: &str, address: &str) -> AuthEvent {
    AuthEvent {
        event_id: id.into(),
        time: Micros(time),
        source: "keycloak".into(),
        tenant: Some("acme".into()),
        activity: Activity::Logon,
        outcome: Ended::Failure,
        reason: Some("invalid_credentials".into()),
        user: Some(user.into()),
        src_ip: Some(address.into()),
        user_agent: Some("python-requests/2.32.3".into()),
        factor: Factor::Password,
        ..AuthEvent::default()
    }
}
