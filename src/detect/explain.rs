//! Why a rule did or did not do something with a record: a detector that is asked about each step. For people who write
//! rules; the way of events does not pass here, but for one line in [`super::raise`] that notes what functions answered
//! if somebody wants to know.

use super::{
    Detector, Finding, Input, Limits, Severity,
    finding::values,
    keys::{bucket, canonical_key, value_text},
    measure::{Agg, Measured},
    raise::Case,
    refusal::Refusal,
    rule::Rule,
    ruleset::RuleSet,
    spec::Mode,
    subject::{Selector, Subject, What},
    watermark::record_time,
};
use crate::{event::Field, position::ChainId, record::Outcome};
use std::sync::Arc;

/// A value of a window and its gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its name in `agg`.
    pub name: String,
    /// What it is: a number, a string, or null if there is nothing to compute it from.
    pub value: serde_json::Value,
    /// What it must be at least; 0 without a gate.
    pub at_least: u64,
}

impl Gate {
    /// Whether it keeps the functions from being asked.
    pub fn is_shut(&self) -> bool {
        self.at_least > 0 && self.value.as_f64().is_none_or(|value| value < self.at_least as f64)
    }
}

/// What became of a case once the gate was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A finding.
    Raised {
        /// Its id.
        uid: String,
        /// Its title.
        title: String,
        /// How bad it is.
        severity: Severity,
        /// The silence that it falls under, as `file:line: reason`.
        silenced: Option<String>,
    },
    /// `decide` said no.
    Refused,
    /// `decide` failed: why.
    Failed(String),
    /// `decide` said yes, and an exception keeps it from being a finding: `file:line: reason`.
    Excepted(String),
}

/// A question to the functions of a rule, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Rule id.
    pub rule: String,
    /// Fields of the key, and what they hold.
    pub key: Vec<(String, String)>,
    /// The record that opened the gate, as `cluster/topic/partition/incarnation@offset`.
    pub position: String,
    /// From (not included) and to, microseconds, of the window.
    pub window: Option<(i64, i64)>,
    /// What the window held.
    pub gates: Vec<Gate>,
    /// What came of it.
    pub answer: Answer,
}

/// How far a rule got with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// The rule is off.
    Off,
    /// It was switched off after too many errors.
    Disabled,
    /// `when` did not select it: the tests that failed.
    NotSelected(Vec<Refusal>),
    /// It is older than its partition's watermark by more than the lateness.
    Late,
    /// It lacks these fields of the key.
    Keyless(Vec<String>),
    /// Its event id was counted before.
    Repeat,
    /// It was counted, and opens no gate.
    Counted,
    /// It came out of order: the windows that it changes are judged a little later.
    Pending,
    /// The gate is open; the shape is judged when every partition has passed this time, in microseconds.
    Waits(i64),
    /// The gate is open, and the finding of this period was raised before; the next can come at this time.
    Deduplicated(i64),
    /// The functions were asked.
    Asked(Vec<Asked>),
}

impl Stand {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Disabled => "disabled",
            Self::NotSelected(_) => "not_selected",
            Self::Late => "late",
            Self::Keyless(_) => "keyless",
            Self::Repeat => "repeat",
            Self::Counted => "counted",
            Self::Pending => "pending",
            Self::Waits(_) => "waits",
            Self::Deduplicated(_) => "deduplicated",
            Self::Asked(_) => "asked",
        }
    }
}

/// What one rule made of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Rule id.
    pub rule: String,
    /// Fields of the key, and what they hold, if the record has them.
    pub key: Vec<(String, String)>,
    /// What the window of the key holds now.
    pub gates: Vec<Gate>,
    /// How far it got.
    pub stand: Stand,
}

/// What became of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explained {
    /// By rule, in the order of their ids. Empty for a record that is sealed as it is.
    pub verdicts: Vec<Verdict>,
    /// What was asked besides: of other keys and other rules, which the record made due by moving time on.
    pub besides: Vec<Asked>,
}

/// A detector that tells what it does.
pub struct Explainer {
    detector: Detector,
    rules: Arc<RuleSet>,
    findings: Vec<Finding>,
}

impl Explainer {
    /// One without state.
    pub fn new(rules: Arc<RuleSet>, limits: Limits) -> Self {
        Self { detector: Detector::new(rules.clone(), limits), rules, findings: Vec::new() }
    }

    /// As [`Detector::watch`].
    pub fn watch(&mut self, chain: &Arc<ChainId>, now: i64) {
        self.detector.watch(chain, now);
    }

    /// Judges a record and tells what each rule made of it.
    pub fn judge(&mut self, input: &Input<'_>) -> Explained {
        let before = self.detector.totals();
        self.detector.raiser.trace = Some(Vec::new());
        self.detector.judge(input, &mut self.findings);
        let mut asked = self.detector.raiser.trace.take().unwrap_or_default();
        let (what, time) = match input.outcome {
            Outcome::Event(event) => (What::Event(event), event.time.0),
            Outcome::Rejection(rejection) => (What::Rejection(rejection), record_time(input.timestamp, input.now)),
            Outcome::Opaque => return Explained { verdicts: Vec::new(), besides: asked },
        };
        let after = self.detector.totals();
        let subject = Subject::new(what, input.chain, input.offset, time);
        let (late, repeat) = (after.late > before.late, after.repeats > before.repeats);
        let rules = self.rules.clone();
        let verdicts = (0..).zip(rules.compiled());
        let verdicts = verdicts.map(|(at, rule)| self.verdict((at, rule), &subject, (late, repeat), &mut asked));
        Explained { verdicts: verdicts.collect(), besides: asked }
    }

    /// Every partition is at its end since long before `now`: everything that waits is judged.
    pub fn finish(&mut self, chains: &[Arc<ChainId>], now: i64) -> Vec<Asked> {
        self.detector.raiser.trace = Some(Vec::new());
        for chain in chains {
            self.detector.idle(chain, now, &mut self.findings);
        }
        self.detector.raiser.trace.take().unwrap_or_default()
    }

    /// The findings so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn verdict(
        &self,
        (at, rule): (u32, &Rule),
        subject: &Subject<'_>,
        (late, repeat): (bool, bool),
        asked: &mut Vec<Asked>,
    ) -> Verdict {
        let mut verdict =
            Verdict { rule: rule.spec.id.clone(), key: Vec::new(), gates: Vec::new(), stand: Stand::Counted };
        if rule.spec.mode == Mode::Off {
            verdict.stand = Stand::Off;
            return verdict;
        }
        let refusals = self.refusals(rule, subject);
        if !refusals.is_empty() {
            verdict.stand = Stand::NotSelected(refusals);
            return verdict;
        }
        let mut name = Vec::new();
        if !canonical_key(rule, subject, &mut name) {
            let missing =
                rule.spec.key.iter().filter(|field| {
                    **field != Selector::Field(Field::tenant) && value_text(subject.get(field)).is_none()
                });
            verdict.stand = Stand::Keyless(missing.map(Selector::name).collect());
            return verdict;
        }
        verdict.key = named_key(rule, &name);
        let key = self.detector.state.find(at, self.detector.state.called(&name));
        if let (Some(shape), Some(window)) = (&rule.shape, key.and_then(|key| key.window.as_ref())) {
            let (tally, run) = (window.tally(), window.current());
            verdict.gates = gates(rule, &window.values(shape, tally, run, shape.window));
        }
        let position = subject.chain.at(subject.offset).to_string();
        let own = asked.extract_if(.., |asked| {
            asked.rule == rule.spec.id
                && asked.key == verdict.key
                && (rule.shape.is_some() || asked.position == position)
        });
        let own: Vec<Asked> = own.collect();
        let mark = key.and_then(|key| key.marks.iter().find(|mark| Some(mark.bucket) == bucket(rule, subject.time)));
        let disabled = self.detector.raiser.counters.get(at as usize).is_some_and(|c| c.told.disabled);
        verdict.stand = if !own.is_empty() {
            Stand::Asked(own)
        } else if late {
            Stand::Late
        } else if repeat {
            Stand::Repeat
        } else if disabled {
            Stand::Disabled
        } else if let Some(waiting) = mark.and_then(|mark| mark.waiting.as_ref()) {
            Stand::Waits(waiting.due)
        } else if let (Some(wait), true) = (rule.spec.wait, mark.is_none() && self.detector.waits(at, subject)) {
            Stand::Waits(subject.time.saturating_add(wait))
        } else if let (Some(mark), false) = (mark, verdict.gates.iter().any(Gate::is_shut)) {
            let dedup = rule.spec.dedup.unwrap_or(0);
            Stand::Deduplicated(mark.bucket.saturating_add(1).saturating_mul(dedup))
        } else if key.is_some_and(|key| key.dirty.is_some()) {
            Stand::Pending
        } else {
            Stand::Counted
        };
        verdict
    }

    /// What kept `when` from selecting a record.
    fn refusals(&self, rule: &Rule, subject: &Subject<'_>) -> Vec<Refusal> {
        let refusals = rule.spec.when.refusals(subject, self.rules.lists());
        let cell = super::predicate::cell(subject);
        if refusals.is_empty() && rule.spec.when.cells() & (1 << cell) == 0 {
            // it would hold by accident: a rule sees rejections only if it speaks of them
            let test = "the rule does not speak of rejections".into();
            return vec![Refusal { test, found: vec![("kind".into(), Some("REJECTION".into()))] }];
        }
        refusals
    }
}

fn named_key(rule: &Rule, key: &[u8]) -> Vec<(String, String)> {
    rule.spec.key.iter().map(Selector::name).zip(values(key).into_iter().map(str::to_owned)).collect()
}

fn gates(rule: &Rule, values: &[Measured]) -> Vec<Gate> {
    let gate = |(agg, value): (&Agg, &Measured)| Gate {
        name: agg.name.clone(),
        value: value.to_json(),
        at_least: agg.at_least,
    };
    rule.spec.aggs.iter().zip(values).map(gate).collect()
}

/// Notes what came of a case, if somebody wants to know.
pub(super) fn note(trace: &mut Option<Vec<Asked>>, rule: &Rule, case: &Case<'_>, answer: impl FnOnce() -> Answer) {
    if let Some(trace) = trace {
        trace.push(Asked {
            rule: rule.spec.id.clone(),
            key: named_key(rule, case.key),
            position: case.record.chain.at(case.record.offset).to_string(),
            window: case.window,
            gates: gates(rule, &case.values),
            answer: answer(),
        });
    }
}
