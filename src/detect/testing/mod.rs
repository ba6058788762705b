//! Tests beside rules: `<rule>.test.rhai` files, run against the rule files that are checked.

mod build;
mod context;
mod timeline;

use super::{
    Problem,
    ruleset::{self, Kind, RuleSet},
    spec::Mode,
};
use crate::artifact::File;
use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, NativeCallContext, Position};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// The test file; for a check of a rule itself, the rule file.
    pub path: String,
    /// Line of the test, from 1; 0 where there is none.
    pub line: usize,
    /// What the test says it tests.
    pub name: String,
    /// Ids of the rules that it expects to fire.
    pub firing: Vec<String>,
    /// Ids of the rules that it expects to stay quiet.
    pub quiet: Vec<String>,
    /// What is wrong, at its place. A test without failures has passed.
    pub failures: Vec<Problem>,
}

impl TestReport {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Runs all tests. Rules that do not load, test files that do not run, and live rules without one firing and one quiet
/// test are reports with failures too: if all reports have passed, the rules may go live.
pub fn run(files: &[File]) -> Vec<TestReport> {
    let rules = match RuleSet::load(files) {
        Ok(rules) => rules,
        Err(problems) => {
            return vec![TestReport {
                path: problems.first().map_or_else(String::new, |problem| problem.path.clone()),
                line: 0,
                name: "the rules load".into(),
                firing: Vec::new(),
                quiet: Vec::new(),
                failures: problems,
            }];
        }
    };
    let files: Arc<[File]> = files.iter().filter(|file| ruleset::kind(&file.path) != Kind::Other).cloned().collect();
    let mut reports = Vec::new();
    for file in files.iter().filter(|file| ruleset::kind(&file.path) == Kind::Test) {
        reports.extend(run_file(file, &files));
    }
    for rule in rules.rules().iter().filter(|rule| rule.mode == Mode::Live) {
        let has = |of: fn(&TestReport) -> &Vec<String>| reports.iter().any(|report| of(report).contains(&rule.id));
        let missing: Vec<&str> = [(has(|r| &r.firing), "fires"), (has(|r| &r.quiet), "stays quiet")]
            .into_iter()
            .filter_map(|(has, what)| (!has).then_some(what))
            .collect();
        if !missing.is_empty() {
            let tests = rule.path.replace(".rhai", ".test.rhai");
            let message = format!(
                "live rule {} has no test in which it {}: add one to {tests}, or set mode: \"shadow\"",
                rule.id,
                missing.join(", and none in which it ")
            );
            reports.push(TestReport {
                path: rule.path.clone(),
                line: 0,
                name: "a live rule has a firing and a quiet test".into(),
                firing: Vec::new(),
                quiet: Vec::new(),
                failures: vec![Problem { path: rule.path.clone(), at: None, message }],
            });
        }
    }
    reports
}

/// What the functions of a test file write to.
#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<Vec<TestReport>>>,
    path: Arc<str>,
    files: Arc<[File]>,
}

impl Shared {
    fn reports(&self) -> MutexGuard<'_, Vec<TestReport>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure of the test that runs.
    fn fail(&self, at: Position, message: impl Into<String>) {
        if let Some(report) = self.reports().last_mut() {
            report.failures.push(ruleset::problem(&self.path, at, message.into()));
        }
    }
}

/// An engine for tests: loops and closures are fine here, files and output are not.
fn engine() -> Engine {
    let mut engine = super::script::engine();
    engine.set_allow_looping(true).set_allow_anonymous_fn(true).set_max_operations(50_000_000);
    engine.set_max_array_size(100_000);
    engine
}

fn run_file(file: &File, files: &Arc<[File]>) -> Vec<TestReport> {
    let shared = Shared { state: Arc::default(), path: file.path.as_str().into(), files: files.clone() };
    let mut engine = engine();
    build::register(&mut engine);
    timeline::register(&mut engine, &shared);
    let own = shared.clone();
    engine.register_fn("test", move |context: NativeCallContext, name: ImmutableString, body: FnPtr| {
        run_test(&own, &context, &name, &body);
    });
    let failure = match std::str::from_utf8(&file.bytes) {
        Err(_) => Some((Position::NONE, "a test file must be UTF-8 text".to_owned())),
        Ok(source) => match engine.compile(source) {
            Err(error) => Some((error.1, error.0.to_string())),
            Ok(ast) => match catch_unwind(AssertUnwindSafe(|| engine.run_ast_with_scope(&mut build::scope(), &ast))) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some((error.position(), error.unwrap_inner().to_string())),
                Err(_) => Some((Position::NONE, "the test file made the script engine panic".into())),
            },
        },
    };
    let mut reports = std::mem::take(&mut *shared.reports());
    let empty = failure.is_none() && reports.is_empty();
    let failure = failure.or_else(|| empty.then(|| (Position::NONE, "the file has no test(\"…\", || { … })".into())));
    if let Some((at, message)) = failure {
        reports.push(TestReport {
            path: file.path.clone(),
            line: at.line().unwrap_or(0),
            name: "the test file runs".into(),
            firing: Vec::new(),
            quiet: Vec::new(),
            failures: vec![ruleset::problem(&file.path, at, message)],
        });
    }
    reports
}

/// Runs one test; what it gets wrong does not keep the others from running.
fn run_test(shared: &Shared, context: &NativeCallContext, name: &str, body: &FnPtr) {
    let at = context.call_position();
    shared.reports().push(TestReport {
        path: shared.path.to_string(),
        line: at.line().unwrap_or(0),
        name: name.to_owned(),
        firing: Vec::new(),
        quiet: Vec::new(),
        failures: Vec::new(),
    });
    if let Err(error) = body.call_within_context::<Dynamic>(context, ()) {
        let place = Some(error.position()).filter(|place| !place.is_none()).unwrap_or(at);
        shared.fail(innermost(&error).unwrap_or(place), error.unwrap_inner().to_string());
    }
    let expects = shared
        .reports()
        .last()
        .is_some_and(|report| !report.failures.is_empty() || !report.firing.is_empty() || !report.quiet.is_empty());
    if !expects {
        shared.fail(at, "the test expects nothing: end it with t.expect(#{ alerts: … })");
    }
    if let Some(report) = shared.reports().last_mut() {
        let unique = |ids: &mut Vec<String>| *ids = ids.drain(..).collect::<BTreeSet<_>>().into_iter().collect();
        unique(&mut report.firing);
        unique(&mut report.quiet);
    }
}

/// Where an error in a function of the test file arose.
fn innermost(error: &EvalAltResult) -> Option<Position> {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => innermost(inner),
        other => Some(other.position()).filter(|at| !at.is_none()),
    }
}
