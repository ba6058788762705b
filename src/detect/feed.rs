//! Rules over findings: what a rule raises is judged by the other rules at once, as a record of kind FINDING.

use super::{
    Detector, Finding, Problem,
    finding::Evidence,
    history::Reach,
    judging::Work,
    kept::Kept,
    predicate::Pred,
    rule::Rule,
    ruleset::RuleSet,
    severity::Severity,
    sight::Marks,
    subject::{Owned, OwnedWhat, Selector, What},
    suggest::hint,
    waiting::Later,
};
use crate::{
    event::{AuthEvent, Field, Slot, Text, Value},
    position::ChainId,
};
use std::sync::Arc;

/// A finding, as other rules see it.
#[derive(Debug)]
pub(super) struct Found {
    /// Its id.
    pub uid: Text,
    /// The rule that raised it.
    pub rule: Text,
    /// Index of that rule, which does not see its own findings.
    pub number: u32,
    /// How bad that rule says it is.
    pub severity: Severity,
    /// The fields of its key, and the tenant.
    pub fields: Box<[(Selector, Kept)]>,
    /// The records behind it.
    pub reach: Reach,
}

impl Found {
    /// What a field holds: those of the key and the tenant are known, all others are null.
    pub fn get(&self, wanted: &Selector) -> Value<'_> {
        let found = self.fields.iter().find(|(selector, _)| selector == wanted);
        found.map_or(Value::Null, |(_, value)| value.view())
    }

    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, value)| value.bytes() + size_of::<Selector>()).sum();
        size_of::<Self>() + fields + size_of_val(&*self.reach)
    }

    /// The fields in the shape of an event, for those who render one.
    pub fn event(&self) -> AuthEvent {
        let mut event = AuthEvent::default();
        for (selector, value) in &self.fields {
            if let (Selector::Field(field), Kept::Text(text)) = (selector, value) {
                match event.slot(*field) {
                    Slot::Text(slot) => *slot = text.clone(),
                    Slot::OptText(slot) => *slot = Some(text.clone()),
                    _ => {}
                }
            }
        }
        event
    }
}

/// The record by which other rules learn of a finding. `None` for a finding that is itself about a finding: one level
/// is enough to join detections, and there are no endless ones.
pub(super) fn record(
    rule: &Rule,
    number: u32,
    cause: &Owned,
    window: Option<(i64, i64)>,
    finding: &Finding,
    evidence: &Evidence,
) -> Option<Arc<Owned>> {
    if matches!(cause.what, OwnedWhat::Finding(_)) {
        return None;
    }
    let subject = cause.subject();
    let tenant = Selector::Field(Field::tenant);
    let named = rule.spec.key.iter().filter(|selector| **selector != tenant).chain([&tenant]);
    let found = Found {
        uid: finding.uid.as_str().into(),
        rule: finding.rule.as_str().into(),
        number,
        severity: finding.severity,
        fields: named.map(|selector| (selector.clone(), Kept::whole(subject.get(selector)))).collect(),
        reach: evidence.reach.as_slice().into(),
    };
    // a window that settles reaches beyond the time at which its gate opened
    let settle = rule.spec.settle.unwrap_or(0);
    let time = window.map_or(cause.time, |(_, to)| to.saturating_sub(settle));
    let what = OwnedWhat::Finding(Arc::new(found));
    Some(Arc::new(Owned::new(what, cause.chain.clone(), cause.offset, time)))
}

impl Detector {
    /// Judges the findings that were raised since the last call. Not while a key is being worked on: they may want it.
    pub(super) fn feed(&mut self, now: i64, out: &mut Vec<Finding>) {
        while let Some(record) = self.raiser.fed.pop_front() {
            // the next reader of a chain that went away judges its records anew, and finds this again
            let Some(chain) = self.partitions.find(&record.chain) else { continue };
            let rules = self.rules.clone();
            let subject = record.subject();
            let owned = Some(record.clone());
            let mut work = Work {
                subject: &subject,
                chain,
                now,
                again: false,
                known: false,
                owned,
                repeated: Some(false),
                waits: None,
                memory: None,
                names: self.names_of(&rules),
                later: Later::new(),
            };
            self.see(&rules, &mut work, out);
            self.names = work.names;
        }
    }

    /// Judges a finding that no rule raised: tests of rules bring their own.
    pub(super) fn judge_finding(&mut self, record: Arc<Owned>, now: i64, out: &mut Vec<Finding>) {
        self.partitions.index(&record.chain, now);
        self.raiser.fed.push_back(record);
        self.feed(now, out);
    }

    /// The chains of a judgement: that of its record, those behind it, and those of what its markers remember.
    pub(super) fn chains_of(&self, chain: u32, record: &Owned, marks: &Marks) -> Box<[u32]> {
        let behind = match &record.what {
            OwnedWhat::Finding(found) => &*found.reach,
            _ => &[],
        };
        marks.chains([chain], behind, &self.partitions)
    }
}

/// The records behind the findings that a window counted. Which findings have left the window since is not told apart:
/// naming one record too many only means that a finding may be published twice after a restart.
#[derive(Debug, Default)]
pub(super) struct Behind(Vec<(Arc<ChainId>, i64, i64)>);

impl Behind {
    /// A window that counts this record.
    pub fn note(behind: &mut Option<Box<Self>>, what: What<'_>) {
        let What::Finding(found) = what else { return };
        let known = &mut behind.get_or_insert_default().0;
        for (chain, low, high) in found.reach.iter() {
            match known.iter_mut().find(|(other, ..)| other == chain) {
                Some((_, from, to)) => (*from, *to) = ((*from).min(*low), (*to).max(*high)),
                None => known.push((chain.clone(), *low, *high)),
            }
        }
    }

    /// Lowest and highest offset of each chain.
    pub fn reach(&self) -> &[(Arc<ChainId>, i64, i64)] {
        &self.0
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice()) + 64
    }
}

/// Whether any rule or marker wants to see findings.
pub(super) fn is_wanted(rules: &RuleSet) -> bool {
    let cell = super::predicate::FINDING_CELL;
    !rules.at_cell(cell).is_empty() || !rules.markers_at_cell(cell).is_empty()
}

/// Rules that wait for findings of rules that there are not: they would stay quiet for ever.
pub(super) fn unknown_rules(rules: &RuleSet) -> Vec<Problem> {
    let known: Vec<&str> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    let mut problems = Vec::new();
    for rule in rules.compiled() {
        let mut check = |part: &Pred| {
            let wanted: &[Text] = match part {
                Pred::Text(Selector::FindingRule, id) => std::slice::from_ref(id),
                Pred::OneOf(Selector::FindingRule, ids) => ids,
                _ => &[],
            };
            for id in wanted.iter().filter(|id| !known.contains(&id.as_str())) {
                let near = hint(id, known.iter().copied());
                let message = format!("finding_rule is never {id:?}: no rule has this id{near}");
                problems.push(Problem { path: rule.info.path.clone(), at: None, message });
            }
        };
        rule.spec.when.walk(&mut check);
        rule.markers.iter().for_each(|marker| marker.when.walk(&mut check));
    }
    problems
}
