//! Functions of rules that fail: in how many ways, how a call is stopped in time, and the finding that says so.
//!
//! A rule that fails is a blind spot. It is counted and, after enough failures, switched off; whoever reads alerts is
//! told as well, by a finding of a built-in rule about the rule itself.

use super::{
    Finding,
    finding::{Evidence, push_value, uid},
    ocsf,
    rule::{Rule, RuleInfo},
    script::clip,
    severity::Severity,
    sight::Marks,
    spec::{Mode, Status},
    subject::Owned,
};
use crate::digest::Digest;
use rhai::{Dynamic, EvalAltResult};
use serde_json::json;
use std::{cell::Cell, sync::Arc};

/// The built-in rule that fires when another one fails.
pub(super) const ID: &str = "AUTHSEAL-RULE-ERROR";
/// Ids that begin so are ours.
pub(super) const RESERVED: &str = "AUTHSEAL-";
/// Nanoseconds that a call may take. Its operations are bounded already, and take a few milliseconds at worst: this is
/// for what nobody has thought of.
const LONGEST_CALL: u64 = 100_000_000;
/// The clock is looked at once in so many operations: it costs as much as some of them.
const LOOK: u64 = 64;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Failures of events that are older than so many days are told with those of that day, so that made-up times cannot
/// make up findings.
const OLDEST: i64 = 7;

/// Why a call failed. There are few of them, whatever an event says: each makes one finding a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It took too many operations.
    Operations,
    /// It nested too deep.
    Depth,
    /// A string, an array or a map grew too large.
    Size,
    /// It took too long by the clock.
    Time,
    /// The engine, or a function of ours, panicked.
    Panic,
    /// It returned what it must not.
    Answer,
    /// It called what does not exist for such values: a missing field is ().
    Types,
    /// It threw something, or did what cannot be done.
    Error,
    /// The last of too many failures in a row: the rule is switched off.
    Off,
}

impl Reason {
    fn of(error: &EvalAltResult) -> Self {
        match error.unwrap_inner() {
            EvalAltResult::ErrorTooManyOperations(_) => Self::Operations,
            EvalAltResult::ErrorStackOverflow(_) | EvalAltResult::ErrorTooManyVariables(_) => Self::Depth,
            EvalAltResult::ErrorDataTooLarge(..) => Self::Size,
            EvalAltResult::ErrorTerminated(..) => Self::Time,
            EvalAltResult::ErrorFunctionNotFound(..) | EvalAltResult::ErrorMismatchDataType(..) => Self::Types,
            _ => Self::Error,
        }
    }

    /// In keys of findings.
    fn name(self) -> &'static str {
        ["operations", "depth", "size", "time", "panic", "answer", "types", "error", "off"][self as usize]
    }

    fn words(self) -> &'static str {
        [
            "takes too many operations",
            "nests too deep",
            "makes too large a value",
            "takes too long",
            "makes the script engine panic",
            "returns what it must not",
            "does something with values that cannot do it",
            "fails",
            "failed too often: the rule is switched off",
        ][self as usize]
    }
}

/// A call that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// In what way.
    pub reason: Reason,
    /// One line, with the name of the function.
    pub text: String,
}

impl Failure {
    /// What the engine says of a call of the function `name`.
    pub fn of(name: &str, error: &EvalAltResult) -> Self {
        Self { reason: Reason::of(error), text: format!("fn {name}: {error}") }
    }

    /// A call that panicked.
    pub fn panic(name: &str) -> Self {
        Self { reason: Reason::Panic, text: format!("fn {name}: panicked") }
    }

    /// A call that returned something else than `wanted`.
    pub fn answer(name: &str, wanted: &str) -> Self {
        Self { reason: Reason::Answer, text: format!("fn {name}: must return {wanted}") }
    }
}

type Clock = fn() -> u64;

thread_local! {
    /// The call that runs on this thread: its clock, and when it must be over. The engine is shared by all threads, and
    /// what it asks on its way gets no argument.
    static LIMIT: Cell<Option<(Clock, u64)>> = const { Cell::new(None) };
}

/// What the engine asks on its way: whether to stop.
pub(super) fn overdue(operations: u64) -> Option<Dynamic> {
    if !operations.is_multiple_of(LOOK) {
        return None;
    }
    LIMIT.get().filter(|(clock, until)| clock() > *until).map(|_| "time".into())
}

/// Makes a call that is stopped when it takes too long by the clock, if there is one. It is given a second time: a
/// machine that stood still must not cost a finding.
pub(super) fn in_time<T>(clock: Option<Clock>, call: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    let Some(clock) = clock else { return call() };
    let once = || {
        LIMIT.set(Some((clock, clock().saturating_add(LONGEST_CALL))));
        let answer = call();
        LIMIT.set(None);
        answer
    };
    match once() {
        Err(failure) if failure.reason == Reason::Time => once(),
        answer => answer,
    }
}

/// Which failures of a rule were told: for what, and of which day.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Vec<(&'static str, Reason, i64)>);

impl Told {
    /// Whether this one is to be told; then it was. One a function, reason and day.
    fn first(&mut self, function: &'static str, reason: Reason, day: i64, today: i64) -> bool {
        let this = (function, reason, day);
        if self.0.contains(&this) {
            return false;
        }
        self.0.retain(|told| told.2 >= today - OLDEST);
        self.0.push(this);
        true
    }
}

/// The finding about a rule of which a function failed on a record, unless it was made already. It is an alert if those
/// of the rule are.
pub(super) fn finding(
    rule: &Rule,
    told: &mut Told,
    (function, failure): (&'static str, &Failure),
    record: &Arc<Owned>,
    now: i64,
) -> Option<Finding> {
    let today = now.div_euclid(DAY);
    let day = record.time.div_euclid(DAY * 1000).clamp(today - OLDEST, today);
    if !told.first(function, failure.reason, day, today) {
        return None;
    }
    let reason = failure.reason;
    let position = record.chain.at(record.offset);
    let mut key = Vec::new();
    let fields = [("rule", rule.info.id.as_str()), ("function", function), ("reason", reason.name())];
    fields.iter().for_each(|(_, value)| push_value(&mut key, value));
    let id = uid(ID, fields.len(), &key, Some(day), &position);
    let severity = if reason == Reason::Off { Severity::High } else { Severity::Medium };
    let title = clip(&format!("Rule {}: fn {function} {}", rule.info.id, reason.words()), 512).to_owned();
    let info = about(&rule.info);
    let evidence = Evidence::of(record);
    let ocsf = ocsf::render(&ocsf::Report {
        rule: &info,
        uid: &id,
        title: &title,
        severity,
        key: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        record,
        update: 0,
        marks: &Marks::default(),
        silence: None,
        evidence: &evidence,
        values: Vec::new(),
        window: None,
        dedup_until: Some((day + 1).saturating_mul(DAY * 1000)),
        context: Some(json!({
            "rule": rule.info.id, "path": rule.info.path, "sha256": rule.info.digest.hex(),
            "error": clip(&failure.text, 512),
        })),
        errors: &[],
        truncated: false,
        warming: false,
        now,
    });
    Some(Finding {
        uid: id,
        rule: ID.to_owned(),
        live: rule.info.mode == Mode::Live,
        silenced: false,
        update: 0,
        title,
        severity,
        key: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        reach: vec![position.clone()],
        position,
        ocsf,
    })
}

/// The built-in rule, in the mode and with the owner of the rule that it is about.
fn about(rule: &RuleInfo) -> RuleInfo {
    RuleInfo {
        id: ID.into(),
        name: "A detection rule fails".into(),
        version: 1,
        mode: rule.mode,
        status: Status::Stable,
        severity: Severity::Medium,
        attack: Vec::new(),
        key: ["rule", "function", "reason"].map(str::to_owned).into(),
        window: None,
        owner: rule.owner.clone(),
        runbook:
            "Read the error in the evidence, mend the rule, and run `authseal rules test`. Until then it may have \
                  missed what it should find"
                .into(),
        falsepos: Vec::new(),
        description:
            "A function of a rule failed: what it was asked about may have been missed. After ten failures in a \
                      row the rule is switched off."
                .into(),
        path: "built in".into(),
        // it has no file: its name stands for it
        digest: Digest::of(ID.as_bytes()),
    }
}
