//! Tests of detection as a whole. Rules are small ones written for the case; the shipped ones have tests of their own.

mod bounds;
mod decide;
mod durable;
mod exceptions;
mod explain;
mod findings;
mod growing;
mod isolation;
mod judging;
mod loading;
mod markers;
mod orders;
mod replacing;
mod selecting;

use super::{Detector, Finding, Input, Limits, RuleSet};
use crate::{
    artifact::File,
    event::{Activity, AuthEvent, Micros, Outcome as Ended},
    position::ChainId,
    record::{Outcome, Rejection},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Seconds since 1970 at which tests begin: a full day, so that buckets of up to a day begin here too.
const START: i64 = 1_767_571_200;

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), bytes: text.into() }
}

/// A rule that counts failed logons, with these keys of the header in place of the usual ones.
fn counting(keys: &str, functions: &str) -> String {
    format!(
        "rule(\"T-1\", #{{ name: \"test\", severity: LOW, when: activity == LOGON & outcome == FAILURE,\n\
         {keys}\n}});\n{functions}"
    )
}

fn load(text: &str) -> Arc<RuleSet> {
    Arc::new(RuleSet::load(&[file("t.rhai", text)]).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn chain(partition: u32) -> Arc<ChainId> {
    Arc::new(ChainId { cluster: "main".into(), topic: "auth".into(), partition, incarnation: 0 })
}

/// A failed logon `seconds` after the start.
fn failed(seconds: i64, id: &str, user: &str, ip: &str) -> AuthEvent {
    AuthEvent {
        event_id: id.into(),
        time: Micros((START + seconds) * 1_000_000),
        source: "sshd".into(),
        activity: Activity::Logon,
        outcome: Ended::Failure,
        user: Some(user.into()),
        src_ip: Some(ip.into()),
        ..AuthEvent::default()
    }
}

/// A detector, its partitions, and what it found.
struct Bench {
    detector: Detector,
    chains: Vec<Arc<ChainId>>,
    offsets: Vec<i64>,
    /// Seconds after the start that the wall clock shows.
    now: i64,
    found: Vec<Finding>,
}

impl Bench {
    fn new(rules: Arc<RuleSet>, partitions: u32) -> Self {
        Self::with(rules, partitions, 64 << 20)
    }

    fn with(rules: Arc<RuleSet>, partitions: u32, state_bytes: usize) -> Self {
        let mut detector = Detector::new(rules, Limits { state_bytes, lateness: Duration::from_secs(600) });
        let chains: Vec<_> = (0..partitions).map(chain).collect();
        for chain in &chains {
            detector.watch(chain, START * 1000);
        }
        Self { detector, offsets: vec![100; chains.len()], chains, now: 30 * 86_400, found: Vec::new() }
    }

    fn millis(&self) -> i64 {
        (START + self.now) * 1000
    }

    fn judge(&mut self, partition: usize, outcome: &Outcome) {
        let (now, offset) = (self.millis(), self.offsets[partition]);
        self.offsets[partition] += 1;
        let input = Input { chain: &self.chains[partition], offset, timestamp: -1, now, outcome };
        self.detector.judge(&input, &mut self.found);
    }

    fn event(&mut self, partition: usize, event: AuthEvent) {
        self.judge(partition, &Outcome::Event(Box::new(event)));
    }

    /// Failed logons of these (seconds, user) from one address on partition 0.
    fn logons(&mut self, logons: impl IntoIterator<Item = (i64, String)>) {
        for (seconds, user) in logons {
            let id = format!("{}", self.offsets[0]);
            self.event(0, failed(seconds, &id, &user, "192.0.2.1"));
        }
    }

    fn rejection(&mut self, partition: usize, code: &'static str) {
        self.judge(partition, &Outcome::Rejection(Rejection::new(code, "detail")));
    }

    /// Every partition has been at its end for a while.
    fn idle(&mut self) {
        self.now += 60;
        self.at_end();
    }

    /// Every partition has just come to its end.
    fn at_end(&mut self) {
        let now = self.millis();
        for at in 0..self.chains.len() {
            self.detector.idle(&self.chains[at].clone(), now, &mut self.found);
        }
    }

    fn deferred(&self) -> Vec<Option<i64>> {
        self.chains.iter().map(|chain| self.detector.deferred(chain)).collect()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.found.iter().map(|finding| finding.uid.clone()).collect()
    }

    fn titles(&self) -> Vec<&str> {
        self.found.iter().map(|finding| finding.title.as_str()).collect()
    }

    /// The alert of a finding.
    fn alert(&self, at: usize) -> serde_json::Value {
        serde_json::from_slice(&self.found[at].ocsf).unwrap()
    }
}
