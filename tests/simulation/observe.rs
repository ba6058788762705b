//! What processes say of their decisions: counted by outcome, and compared with what they sealed.

use super::tally::Tally;
use authseal::{detect::RuleSet, digest::Digest, ingest::status::Notice, position::Position};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Every outcome of the functions that decide (`authseal::ingest::plan`, `authseal::chain::follows`, what a lane makes
/// of the offsets and records that come) where a chain goes on. All must come up.
pub const GOING_ON: &[&str] = &[
    "open: a new chain at the beginning of the log",
    "open: a new chain behind what retention took",
    "open: goes on, everything is done",
    "open: goes on, retention took something unsealed",
    "open: goes on, something sealed is not done",
    "open: reads what is done again, for the state of the rules",
    "open: the broker does not answer",
    "rival: adopted",
    "stop: the store forbids to look",
];

/// The same where it ends, as far as schedules were seen to come there.
pub const STOPPING: &[&str] = &[
    "stop: an older segment at our key",
    "stop: another topic",
    "stop: bytes that are no segment at our key",
    "stop: store rolled back, an older segment is the newest",
    "stop: store rolled back, another segment under the same number",
    "stop: store rolled back, nothing left",
    "stop: the last record is another one",
    "stop: the last record is followed by others",
    "stop: the last record is gone",
    "stop: the log ends before what is sealed (at the start)",
    "stop: the newest segment is no segment",
    "stop: the newest segment was removed",
];

/// Counts and compares. Clones share what they know.
#[derive(Clone)]
pub struct Observer {
    tally: Tally,
    /// Whether every failure is a finding, whose title says with which rules it was judged.
    every: bool,
    /// What does not fit, until somebody asks.
    wrong: Arc<Mutex<Vec<String>>>,
}

/// The digest of a rule set, and how its findings are called.
pub fn title(rules: &RuleSet) -> String {
    rules.rules().first().map(|rule| rule.name.clone()).unwrap_or_default()
}

impl Observer {
    pub fn new(tally: &Tally, every: bool) -> Self {
        Self { tally: tally.clone(), every, wrong: Arc::default() }
    }

    /// What was noticed that must not be.
    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// Watches one process.
    pub fn watch(&self) -> impl Fn(&Notice<'_>) + Send + Sync + 'static {
        let (this, judged) = (self.clone(), Mutex::new(BTreeMap::<Position, String>::new()));
        move |notice| {
            this.count(notice);
            if this.every {
                this.compare(notice, &mut judged.lock().unwrap());
            }
        }
    }

    fn count(&self, notice: &Notice<'_>) {
        let count = |what: &str| self.tally.count(what);
        match notice {
            Notice::Adopted { .. } => {
                count("rival: adopted");
            }
            Notice::Revoked { .. } => count("seen: partition revoked"),
            Notice::Opened { sequence, start, read_from, .. } => {
                match sequence {
                    None if start.first > 0 => count("open: a new chain behind what retention took"),
                    None => count("open: a new chain at the beginning of the log"),
                    Some(_) => {
                        count("seen: chain taken over");
                        if start.first > start.seal_from {
                            count("open: goes on, retention took something unsealed");
                        }
                        match start.publish_from.cmp(&start.seal_from) {
                            std::cmp::Ordering::Less => count("open: goes on, something sealed is not done"),
                            std::cmp::Ordering::Equal => count("open: goes on, everything is done"),
                            std::cmp::Ordering::Greater => count("open: more is done than is sealed"),
                        }
                    }
                }
                if *read_from < start.read_from {
                    count("open: reads what is done again, for the state of the rules");
                }
            }
            Notice::Stopped { error, .. } => self.tally.count(stop(&error.to_string())),
            Notice::Trouble { part: "clock", .. } => count("seen: clock refused"),
            Notice::Trouble { part, error } if part.starts_with("partition:") && error.contains("broker did not") => {
                count("open: the broker does not answer");
            }
            Notice::Rules { .. } => count("seen: rules changed under way"),
            _ => {}
        }
    }

    /// A segment names the rules with which its records were judged.
    fn compare(&self, notice: &Notice<'_>, judged: &mut BTreeMap<Position, String>) {
        match notice {
            Notice::Finding(finding) => {
                judged.insert(finding.position.clone(), finding.title.clone());
            }
            Notice::Sealed { manifest, .. } => {
                for (position, title) in judged.iter() {
                    let inside = (manifest.offsets.from..manifest.offsets.to).contains(&position.offset);
                    if inside && position.chain == manifest.chain && manifest.artifacts.rules != digest_of(title) {
                        let wrong = format!("{position} was judged with {title:?}, its segment names other rules");
                        self.wrong.lock().unwrap().push(wrong);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The digest of the rules whose findings have this title.
fn digest_of(title: &str) -> Option<Digest> {
    let all = [super::schedule::every_now(), super::schedule::every_before()];
    all.iter().find(|rules| title == self::title(rules)).map(|rules| rules.bundle().0)
}

/// Which decision stopped a partition.
fn stop(error: &str) -> String {
    let says = |what: &str| error.contains(what);
    let reason = match () {
        () if says("403 AccessDenied") => "stop: the store forbids to look",
        () if says("a delete marker lies there and no") => "stop: a delete marker at our key",
        () if says("another topic") => "stop: another topic",
        () if says("do not continue the chain") && says("its sequence is") => "stop: an older segment at our key",
        () if says("do not continue the chain") => "stop: bytes that are no segment at our key",
        () if says("store holds nothing") => "stop: store rolled back, nothing left",
        () if says("is another one than the one sealed before") => {
            "stop: store rolled back, another segment under the same number"
        }
        () if says("store_rolled_back") => "stop: store rolled back, an older segment is the newest",
        () if says("is another one on the broker now") => "stop: the last record is another one",
        () if says("is followed by others than") => "stop: the last record is followed by others",
        () if says("sealed as a gap, hold records now") => "stop: a gap holds records now",
        () if says("is gone from the broker") => "stop: the last record is gone",
        () if says("is sealed up to offset") => "stop: the log ends before what is sealed (at the start)",
        () if says("source_truncated") => "stop: the log ends before what is sealed (while reading)",
        () if says("it does not belong there") => "stop: the newest segment does not belong there",
        () if says("is not a valid segment") => "stop: the newest segment is no segment",
        () if says("was removed") => "stop: the newest segment was removed",
        () => return format!("stop: for another reason: {error}"),
    };
    reason.into()
}
