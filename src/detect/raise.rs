//! Past the native gate: asking a rule's functions, and making the finding.

use super::{
    Finding,
    decide::Facts,
    exceptions::{Entry, Kind},
    explain::{Answer, Asked, note},
    failure::{self, Failure, Reason, in_time},
    feed,
    finding::{Evidence, uid, values},
    measure::Measured,
    ocsf,
    rule::Rule,
    ruleset::RuleSet,
    script::{EventView, WindowView, clip},
    severity::Severity,
    sight::Marks,
    stats::Counters,
    subject::{Owned, Selector},
};
use crate::position::Position;
use rhai::Dynamic;
use serde_json::Value;
use std::{collections::VecDeque, sync::Arc};

/// Bytes of a title.
const LONGEST_TITLE: usize = 512;

/// A gate that opened.
pub(super) struct Case<'a> {
    /// Index of the rule.
    pub rule: u32,
    /// Canonical bytes of the key.
    pub key: &'a [u8],
    /// The record whose judgement this is.
    pub record: &'a Arc<Owned>,
    /// What the rule's markers say about it.
    pub marks: Marks,
    /// floor(trigger / dedup), if the rule has a dedup.
    pub bucket: Option<i64>,
    /// 0 for a finding, n for the nth update of one that was raised.
    pub update: u8,
    /// The values of the window.
    pub values: Vec<Measured>,
    /// From and to, microseconds, of the window.
    pub window: Option<(i64, i64)>,
    /// Whether events were dropped because there were too many.
    pub truncated: bool,
    /// Whether the window may reach back before what this detector has read.
    pub warming: bool,
    /// Wall clock, milliseconds.
    pub now: i64,
}

/// Asks the functions of rules, and counts.
pub(super) struct Raiser {
    /// By rule.
    pub counters: Vec<Counters>,
    /// A monotonic clock in nanoseconds, if costs are wanted.
    pub clock: Option<fn() -> u64>,
    /// Findings that other rules have not seen yet.
    pub fed: VecDeque<Arc<Owned>>,
    /// What was asked, if somebody wants to know.
    pub trace: Option<Vec<Asked>>,
}

impl Raiser {
    /// A gate opened in a period that has its finding, or its judgement that waits.
    pub fn suppressed(&mut self, rule: u32) {
        if let Some(counters) = self.counters.get_mut(rule as usize) {
            counters.told.suppressed += 1;
        }
    }

    /// Judges a case: whether it is a finding, which is then appended to `out`.
    pub fn raise(
        &mut self,
        rules: &RuleSet,
        mut case: Case<'_>,
        evidence: impl FnOnce() -> Evidence,
        out: &mut Vec<Finding>,
    ) -> bool {
        let (Some(rule), Some(counters)) =
            (rules.compiled().get(case.rule as usize), self.counters.get_mut(case.rule as usize))
        else {
            return false;
        };
        if counters.told.disabled {
            return false;
        }
        counters.told.gated += 1;
        let from = case
            .window
            .map(|(from, _)| from)
            .or((!rule.markers.is_empty()).then(|| case.record.time.saturating_sub(rule.horizon())));
        case.warming |= from.is_some_and(|from| from < counters.began);
        if let (Some(decide), 0, None) = (&rule.decide, case.update, &self.trace)
            && decide.refuses(&Facts::new(case.record, |place| case.marks.glance(place), &case.values))
        {
            counters.succeeded();
            return false;
        }
        let view = EventView { record: case.record.clone(), marks: case.marks.clone() };
        let window = WindowView { names: rule.names.clone(), values: case.values.as_slice().into() };
        let mut asking =
            Asking { rules, rule, counters, clock: self.clock, view, window, errors: Vec::new(), failed: Vec::new() };
        // a finding that was raised is not taken back by its growing: an update is not decided again
        match if case.update == 0 { asking.decide() } else { Some(true) } {
            Some(true) => {}
            Some(false) => {
                asking.counters.succeeded();
                note(&mut self.trace, rule, &case, || Answer::Refused);
                return false;
            }
            None => {
                asking.tell_failures(&case, out);
                let error = asking.errors.pop().unwrap_or_default();
                note(&mut self.trace, rule, &case, || Answer::Failed(error));
                return false;
            }
        }
        let entry = rules.exceptions().covering(&rule.spec, &case.record.subject());
        if let Some(exception) = entry.filter(|entry| entry.kind == Kind::Exception) {
            // as if `decide` had said no: what else happens in this period is judged by itself
            asking.counters.succeeded();
            asking.counters.told.excepted += 1;
            note(&mut self.trace, rule, &case, || Answer::Excepted(exception.told()));
            return false;
        }
        let severity = asking.severity();
        let title = asking.title();
        let context = asking.context();
        asking.tell_failures(&case, out);
        let errors = asking.errors;
        if errors.is_empty() {
            counters.succeeded();
        }
        match case.update {
            0 => counters.told.findings += 1,
            _ => counters.told.updates += 1,
        }
        counters.told.silenced += u64::from(entry.is_some());
        let words = Words { severity, title, context, errors, silence: entry };
        let evidence = evidence().with_marks(&case.marks);
        let finding = finding(rule, &case, words, &evidence);
        // rules over findings see each once, however it grows
        if case.update == 0 && feed::is_wanted(rules) {
            self.fed.extend(feed::record(rule, case.rule, case.record, case.window, &finding, &evidence));
        }
        note(&mut self.trace, rule, &case, || Answer::Raised {
            uid: finding.uid.clone(),
            title: finding.title.clone(),
            severity,
            silenced: entry.map(Entry::told),
        });
        out.push(finding);
        true
    }
}

/// One round of questions to a rule's functions.
struct Asking<'a> {
    rules: &'a RuleSet,
    rule: &'a Rule,
    counters: &'a mut Counters,
    clock: Option<fn() -> u64>,
    view: EventView,
    window: WindowView,
    errors: Vec<String>,
    /// What failed, by the name of the function.
    failed: Vec<(&'static str, Failure)>,
}

impl Asking<'_> {
    /// What a function says; `None` if there is none, or if it failed.
    fn ask<T>(&mut self, at: usize, convert: impl FnOnce(Dynamic) -> Result<T, String>) -> Option<T> {
        if !self.rule.has[at] {
            return None;
        }
        let name = super::lint::ENTRIES[at];
        let start = self.clock.map(|clock| clock());
        let call = || self.rules.scripts().call(&self.rule.functions, name, &self.view, &self.window);
        let answer = in_time(self.clock, call);
        if let (Some(clock), Some(start)) = (self.clock, start) {
            self.counters.told.script_nanos += clock().saturating_sub(start);
        }
        match answer.and_then(|value| convert(value).map_err(|wanted| Failure::answer(name, &wanted))) {
            Ok(value) => Some(value),
            Err(failure) => {
                let was_off = self.counters.told.disabled;
                self.counters.failed(failure.text.clone());
                self.errors.push(failure.text.clone());
                if self.counters.told.disabled && !was_off {
                    self.failed.push((name, Failure { reason: Reason::Off, ..failure.clone() }));
                }
                self.failed.push((name, failure));
                None
            }
        }
    }

    /// Makes findings about the rule itself of what failed.
    fn tell_failures(&mut self, case: &Case<'_>, out: &mut Vec<Finding>) {
        for (function, failure) in std::mem::take(&mut self.failed) {
            let told = &mut self.counters.failures;
            out.extend(failure::finding(self.rule, told, (function, &failure), case.record, case.now));
        }
    }

    /// `None` when it failed: then nobody knows, and the error is counted.
    fn decide(&mut self) -> Option<bool> {
        if !self.rule.has[0] {
            return Some(true);
        }
        self.ask(0, |value| value.as_bool().map_err(|_| "true or false".into()))
    }

    fn severity(&mut self) -> Severity {
        let named = self.ask(1, |value| {
            let text = value.into_immutable_string().map_err(|_| "a severity, such as HIGH".to_owned())?;
            Severity::from_name(&text).ok_or_else(|| "a severity, such as HIGH".to_owned())
        });
        named.unwrap_or(self.rule.spec.severity)
    }

    fn title(&mut self) -> String {
        let title = self.ask(2, |value| value.into_immutable_string().map_err(|_| "a string".into()));
        let title = title.filter(|title| !title.trim().is_empty());
        title.map_or_else(|| self.rule.spec.name.clone(), |title| clip(&title, LONGEST_TITLE).to_owned())
    }

    fn context(&mut self) -> Option<Value> {
        self.ask(3, |value| {
            if !value.is_map() {
                return Err("a map: #{ name: value }".into());
            }
            rhai::serde::from_dynamic::<Value>(&value).map_err(|_| "a map of plain values".into())
        })
    }
}

/// What is said about a case that is a finding.
struct Words<'a> {
    severity: Severity,
    title: String,
    context: Option<Value>,
    errors: Vec<String>,
    silence: Option<&'a Entry>,
}

fn finding(rule: &Rule, case: &Case<'_>, words: Words<'_>, evidence: &Evidence) -> Finding {
    let Words { severity, title, context, errors, silence } = words;
    let position = case.record.chain.at(case.record.offset);
    let id = uid(&rule.spec.id, rule.spec.key.len(), case.key, case.bucket, &position);
    let names = rule.spec.key.iter().map(Selector::name);
    let dedup_until =
        case.bucket.zip(rule.spec.dedup).map(|(bucket, dedup)| bucket.saturating_add(1).saturating_mul(dedup));
    let aggs = rule.spec.aggs.iter();
    let report = ocsf::Report {
        rule: &rule.info,
        uid: &id,
        update: case.update,
        title: &title,
        severity,
        key: names.zip(values(case.key)).collect(),
        record: case.record,
        marks: &case.marks,
        evidence,
        values: aggs.zip(&case.values).map(|(agg, value)| (agg.name.as_str(), value, agg.at_least)).collect(),
        window: case.window,
        dedup_until,
        context,
        errors: &errors,
        silence,
        truncated: case.truncated,
        warming: case.warming,
        now: case.now,
    };
    let ocsf = ocsf::render(&report);
    let reach =
        evidence.reach.iter().map(|(chain, _, high)| Position { chain: (**chain).clone(), offset: *high }).collect();
    let key = report.key.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
    let live = rule.spec.mode == super::Mode::Live;
    Finding {
        uid: id,
        rule: rule.spec.id.clone(),
        position,
        live,
        silenced: silence.is_some(),
        title,
        severity,
        key,
        reach,
        update: case.update,
        ocsf,
    }
}
