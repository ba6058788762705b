//! Other rules under way: what is kept of the state, what goes, and what is judged before it goes.

use super::{Detector, Finding, rule::Rule, ruleset::RuleSet, save::shape, stats::Counters};
use std::sync::Arc;

/// What became of rules when others came into force: their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Their files are the same: they go on with what they know.
    pub kept: Vec<String>,
    /// Their files changed, but not what they gather: they go on with what they know.
    pub changed: Vec<String>,
    /// New ones, and those that gather something else now: they begin with nothing.
    pub begun: Vec<String>,
    /// They are there no longer.
    pub gone: Vec<String>,
}

/// Where the rules of old stand among the new ones, by their numbers.
struct Places {
    /// Those whose files are the same.
    same: Vec<Option<u32>>,
    /// Those that gather the same.
    alike: Vec<Option<u32>>,
}

impl Places {
    fn of(old: &RuleSet, new: &RuleSet) -> Self {
        let place = |rule: &Rule| new.rules().iter().position(|other| other.id == rule.info.id);
        let alike: Vec<Option<u32>> = old
            .compiled()
            .iter()
            .map(|rule| {
                let at = place(rule)?;
                (shape(rule) == shape(new.compiled().get(at)?)).then_some(at as u32) // as many rules as files
            })
            .collect();
        let same = |(rule, at): (&Rule, &Option<u32>)| {
            at.filter(|at| new.rules().get(*at as usize).is_some_and(|other| other.digest == rule.info.digest))
        };
        Self { same: old.compiled().iter().zip(&alike).map(same).collect(), alike }
    }

    fn same(&self, rule: u32) -> Option<u32> {
        self.same.get(rule as usize).copied().flatten()
    }

    fn alike(&self, rule: u32) -> Option<u32> {
        self.alike.get(rule as usize).copied().flatten()
    }

    /// The number that a new rule had, and whether its file is the same.
    fn before(&self, at: u32) -> Option<(usize, bool)> {
        let was = self.alike.iter().position(|place| *place == Some(at))?;
        Some((was, self.same(was as u32).is_some()))
    }
}

impl Detector {
    /// Puts other rules into force. A rule that gathers the same as before (the same events, key, window, dedup,
    /// columns and markers, whatever its thresholds, functions and texts say now, and whatever became of the lists that
    /// it looks things up in) goes on with what it knows; others begin with nothing, and say in their findings that
    /// their windows are not whole yet. What waits for a rule that goes or changes is judged now, by the old one: a
    /// change must not hide it.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>, now: i64, out: &mut Vec<Finding>) -> Replaced {
        let old = self.rules.clone();
        let places = Places::of(&old, &rules);
        for slot in self.state.slots(|key| places.same(key.rule).is_none()) {
            self.conclude(&old, slot, now, out);
        }
        self.conclude_pending(&old, |rule| places.same(rule).is_none(), now, out);
        // what that raised is seen by the rules that were in force then: after this their numbers mean others
        self.feed(now, out);
        for slot in self.state.slots(|key| places.same(key.rule).is_none()) {
            self.conclude(&old, slot, now, out);
            if self.state.get(slot).is_some_and(|key| places.alike(key.rule).is_none()) {
                self.remove_key(slot);
            }
        }
        self.conclude_pending(&old, |rule| places.same(rule).is_none(), now, out);
        self.raiser.fed.clear();
        self.rules = rules.clone();
        self.state.renumber(|rule| places.alike(rule));
        let renumber = |rule: &mut u32| *rule = places.same(*rule).unwrap_or(u32::MAX);
        self.pending.each(|pending| pending.rules.iter_mut().for_each(renumber));
        let mut before: Vec<Option<Counters>> = self.raiser.counters.drain(..).map(Some).collect();
        let mut replaced = Replaced::default();
        for (at, rule) in rules.rules().iter().enumerate() {
            let was = places.before(at as u32).and_then(|(was, same)| Some((before.get_mut(was)?.take()?, same)));
            let fresh = |began| {
                let mut counters = Counters::new(&rule.id, rule.mode);
                counters.began = began;
                counters
            };
            let (counters, told) = match was {
                Some((counters, true)) => (counters, &mut replaced.kept),
                Some((counters, false)) => (fresh(counters.began), &mut replaced.changed),
                None => (fresh(self.latest), &mut replaced.begun),
            };
            self.raiser.counters.push(counters);
            told.push(rule.id.clone());
        }
        let known = |id: &str| rules.rules().iter().any(|rule| rule.id == id);
        replaced.gone = old.rules().iter().map(|rule| rule.id.clone()).filter(|id| !known(id)).collect();
        self.count_anew(&rules, &replaced.changed);
        replaced
    }

    /// Rules that changed may count their events otherwise: their windows are made again of the same events.
    fn count_anew(&mut self, rules: &RuleSet, changed: &[String]) {
        let is_changed = |rule: u32| rules.rules().get(rule as usize).is_some_and(|rule| changed.contains(&rule.id));
        for slot in self.state.slots(|key| key.window.is_some() && is_changed(key.rule)) {
            let Some(mut key) = self.state.take(slot) else { continue };
            let shape = rules.compiled().get(key.rule as usize).and_then(|rule| rule.shape.as_ref());
            key.window = shape.zip(key.window).map(|(shape, window)| Box::new(window.count_anew(shape, &self.hasher)));
            self.state.put(slot, key);
        }
    }
}
