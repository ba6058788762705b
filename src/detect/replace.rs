//! Other rules under way: what is kept of the state, what goes, and what is judged before it goes.

use super::{Detector, Finding, ruleset::RuleSet, stats::Counters};
use std::sync::Arc;

/// What became of rules when others came into force: their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Their files are the same: they go on with what they know.
    pub kept: Vec<String>,
    /// New ones, and those whose files changed: they begin with nothing.
    pub begun: Vec<String>,
    /// They are there no longer.
    pub gone: Vec<String>,
}

impl Detector {
    /// Puts other rules into force. A rule whose file is the same keeps its state, whatever became of the lists that it
    /// looks things up in; a new or changed one begins with nothing, and says in its findings that its windows are not
    /// whole yet. What waits for a rule that goes or changes is judged now, by the old one: a change must not hide it.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>, now: i64, out: &mut Vec<Finding>) -> Replaced {
        let old = self.rules.clone();
        let place = |rule: &super::RuleInfo| {
            rules.rules().iter().position(|new| (&new.id, new.digest) == (&rule.id, rule.digest)).map(|at| at as u32)
        };
        let places: Vec<Option<u32>> = old.rules().iter().map(place).collect();
        let place = |rule: u32| places.get(rule as usize).copied().flatten();
        for slot in self.state.slots(|key| place(key.rule).is_none()) {
            self.conclude(&old, slot, now, out);
        }
        // what that raised is seen by the rules that were in force then: after this their numbers mean others
        self.feed(now, out);
        for slot in self.state.slots(|key| place(key.rule).is_none()) {
            self.conclude(&old, slot, now, out);
            self.remove_key(slot);
        }
        self.raiser.fed.clear();
        self.rules = rules.clone();
        self.state.renumber(place);
        let mut before: Vec<Option<Counters>> = self.raiser.counters.drain(..).map(Some).collect();
        let mut replaced = Replaced::default();
        for (at, rule) in rules.rules().iter().enumerate() {
            let was = places.iter().position(|place| *place == Some(at as u32));
            let counters = match was.and_then(|was| before.get_mut(was)?.take()) {
                Some(counters) => {
                    replaced.kept.push(rule.id.clone());
                    counters
                }
                None => {
                    replaced.begun.push(rule.id.clone());
                    let mut counters = Counters::new(&rule.id, rule.mode);
                    counters.began = self.latest;
                    counters
                }
            };
            self.raiser.counters.push(counters);
        }
        let known = |id: &str| rules.rules().iter().any(|rule| rule.id == id);
        replaced.gone = old.rules().iter().map(|rule| rule.id.clone()).filter(|id| !known(id)).collect();
        replaced
    }
}
