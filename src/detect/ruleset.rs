//! Loading rules: every file is read, every problem is reported, and only a set without problems is used.

use super::{
    Problem,
    exceptions::{self, Exceptions},
    feed,
    header::{self, Gather},
    keys::KeyFields,
    lint::{self, Note},
    list::{self, List},
    markers::{self, Marker, Wants},
    predicate::{CELLS, Pred},
    rule::{Rule, RuleInfo},
    script::{self, Scripts},
    spec::{self, Mode},
    subject::Selector,
    suggest::hint,
    trend,
};
use crate::{
    artifact::{self, File},
    digest::Digest,
};
use rhai::{AST, Dynamic, Engine, Position};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Bytes of a rule file.
const LONGEST_RULE: usize = 256 * 1024;

/// Compiled rules and lists. Immutable; cheap to share.
pub struct RuleSet {
    rules: Vec<Rule>,
    infos: Vec<RuleInfo>,
    lists: Arc<[List]>,
    exceptions: Exceptions,
    /// The rules that can select a record of each cell, with what is left to test of one.
    index: Vec<Box<[(u32, Pred)]>>,
    /// The markers that can, each as rule and place in it, with the same.
    marker_index: Vec<Box<[(u32, usize, Pred)]>>,
    remembered: Arc<[Selector]>,
    key_fields: KeyFields,
    scripts: Scripts,
    bundle: (Digest, Arc<[u8]>),
}

impl RuleSet {
    /// No rules.
    pub fn empty() -> Self {
        Self::of(Vec::new(), Vec::new().into(), Exceptions::default(), Vec::new())
    }

    /// Compiles `*.rhai` (without `*.test.rhai`), lists (`lists/*.txt`) and exceptions (`exceptions/*.toml`). All
    /// problems are reported, not only the first one.
    pub fn load(files: &[File]) -> Result<Self, Vec<Problem>> {
        let rules = Self::load_with(files, Vec::new())?;
        let problems = feed::unknown_rules(&rules);
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }

    /// Loads with these lists in the place of those of the same names: tests of rules bring their own.
    pub(super) fn load_with(files: &[File], instead: Vec<List>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let lists = lists(files, instead, &mut problems);
        let gather = Gather::new(lists.clone());
        let mut engine = script::engine();
        header::register(&mut engine, &gather);
        let mut rules: Vec<Rule> = Vec::new();
        for file in files.iter().filter(|file| kind(&file.path) == Kind::Rule) {
            let loader = Loader { engine: &engine, gather: &gather, lists: &lists, path: &file.path };
            let Some(rule) = loader.load(file, &mut problems) else { continue };
            if let Some(other) = rules.iter().find(|other| other.info.id == rule.info.id) {
                let message = format!("rule id {} is taken by {}: give it another one", rule.info.id, other.info.path);
                problems.push(problem(&file.path, rule.spec.at, message));
            }
            rules.push(rule);
        }
        let entries = Exceptions::parse(files, &rules, &mut problems);
        if !problems.is_empty() {
            problems.sort_by(|a, b| (&a.path, a.at, &a.message).cmp(&(&b.path, b.at, &b.message)));
            problems.dedup();
            return Err(problems);
        }
        // the order of files must not matter to anything
        rules.sort_by(|a, b| a.info.id.cmp(&b.info.id));
        let is_kept = |file: &&File| matches!(kind(&file.path), Kind::Rule | Kind::List | Kind::Exceptions);
        let kept = files.iter().filter(is_kept).cloned().collect();
        Ok(Self::of(rules, lists, entries, kept))
    }

    fn of(rules: Vec<Rule>, lists: Arc<[List]>, exceptions: Exceptions, files: Vec<File>) -> Self {
        let mut index = vec![Vec::new(); CELLS];
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.spec.mode != Mode::Off) {
            let cells = rule.spec.when.cells();
            for (cell, list) in index.iter_mut().enumerate().filter(|(cell, _)| cells & (1 << cell) != 0) {
                list.push((at as u32, rule.spec.when.in_cell(cell))); // as many rules as files: far below 2^32
            }
        }
        let mut marker_index = vec![Vec::new(); CELLS];
        let mut remembered: Vec<Selector> = Vec::new();
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.spec.mode != Mode::Off) {
            for (place, marker) in rule.markers.iter().enumerate() {
                for selector in marker.selectors.iter() {
                    if !remembered.contains(selector) {
                        remembered.push(selector.clone());
                    }
                }
                let cells = marker.when.cells();
                for (cell, list) in marker_index.iter_mut().enumerate().filter(|(cell, _)| cells & (1 << cell) != 0) {
                    list.push((at as u32, place, marker.when.in_cell(cell)));
                }
            }
        }
        let (digest, bytes) = artifact::bundle(files);
        Self {
            infos: rules.iter().map(|rule| rule.info.clone()).collect(),
            key_fields: KeyFields::of(&rules),
            rules,
            scripts: Scripts::new(lists.clone()),
            lists,
            exceptions,
            index: index.into_iter().map(Vec::into_boxed_slice).collect(),
            remembered: remembered.into(),
            marker_index: marker_index.into_iter().map(Vec::into_boxed_slice).collect(),
            bundle: (digest, bytes.into()),
        }
    }

    /// Digest and bytes of the bundle of rules, lists and exceptions, tests left out.
    pub fn bundle(&self) -> (Digest, Arc<[u8]>) {
        self.bundle.clone()
    }

    /// How far back replay must reach so that the volatile state of live rules is whole: the largest
    /// window + settle + ttl + wait.
    /// Shadow rules may look back further: what they miss after a restart is counted, not alerted.
    pub fn horizon(&self) -> Duration {
        self.longest(|mode| mode == Mode::Live)
    }

    /// How long an event matters to any rule that judges.
    pub(super) fn longest_memory(&self) -> Duration {
        self.longest(|mode| mode != Mode::Off)
    }

    fn longest(&self, of: fn(Mode) -> bool) -> Duration {
        let longest = self.rules.iter().filter(|rule| of(rule.spec.mode)).map(Rule::horizon).max();
        Duration::from_micros(longest.unwrap_or(0).unsigned_abs())
    }

    /// What is not wrong and still should be mended: live rules that do not say what to do about a finding.
    pub fn warnings(&self) -> Vec<Problem> {
        let silent = |rule: &&Rule| rule.spec.mode == Mode::Live && rule.spec.runbook.is_empty();
        let warning = |rule: &Rule| {
            let say = "add runbook: \"https://…\", or a sentence";
            let message = format!("live rule {} does not say what to do about a finding: {say}", rule.spec.id);
            problem(&rule.info.path, rule.spec.at, message)
        };
        self.rules.iter().filter(silent).map(warning).collect()
    }

    /// All rules, by id.
    pub fn rules(&self) -> &[RuleInfo] {
        &self.infos
    }

    /// All lists.
    pub fn lists(&self) -> &[List] {
        &self.lists
    }

    /// Exceptions and silences.
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// The rules that can select a record of this cell.
    pub(super) fn at_cell(&self, cell: usize) -> &[(u32, Pred)] {
        self.index.get(cell).map_or(&[], |rules| rules)
    }

    /// The markers that can remember a record of this cell.
    pub(super) fn markers_at_cell(&self, cell: usize) -> &[(u32, usize, Pred)] {
        self.marker_index.get(cell).map_or(&[], |markers| markers)
    }

    /// The lists of fields that rules and markers have as their keys.
    pub(super) fn key_fields(&self) -> &KeyFields {
        &self.key_fields
    }

    /// The same rules, with every question put to their functions.
    #[cfg(test)]
    pub(super) fn with_functions_only(mut self) -> Self {
        self.rules.iter_mut().for_each(|rule| rule.decide = None);
        self
    }

    /// The fields that markers remember, over all rules.
    pub(super) fn remembered(&self) -> &Arc<[Selector]> {
        &self.remembered
    }

    /// The compiled rules.
    pub(super) fn compiled(&self) -> &[Rule] {
        &self.rules
    }

    /// What calls their functions.
    pub(super) fn scripts(&self) -> &Scripts {
        &self.scripts
    }
}

/// What a file of a rule folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rule,
    Test,
    List,
    Exceptions,
    Other,
}

/// What a file is, by its path.
pub(super) fn kind(path: &str) -> Kind {
    if path.ends_with(".test.rhai") {
        Kind::Test
    } else if path.ends_with(".rhai") {
        Kind::Rule
    } else if list::name_of(path).is_some() {
        Kind::List
    } else if exceptions::is_file(path) {
        Kind::Exceptions
    } else {
        Kind::Other
    }
}

fn lists(files: &[File], instead: Vec<List>, problems: &mut Vec<Problem>) -> Arc<[List]> {
    let mut lists: Vec<List> = instead;
    let own = lists.len();
    for file in files.iter().filter(|file| kind(&file.path) == Kind::List) {
        let list = List::parse(file, problems);
        match lists.iter().position(|other| other.name == list.name) {
            Some(at) if at < own => {} // a test brought another one
            Some(_) => {
                let message = format!("there are two lists called {}: rename one", list.name);
                problems.push(Problem { path: file.path.clone(), at: None, message });
            }
            None => lists.push(list),
        }
    }
    lists.into()
}

/// What loads one rule file.
struct Loader<'a> {
    engine: &'a Engine,
    gather: &'a Gather,
    lists: &'a Arc<[List]>,
    path: &'a str,
}

impl Loader<'_> {
    fn load(&self, file: &File, problems: &mut Vec<Problem>) -> Option<Rule> {
        let mut notes: Vec<Note> = Vec::new();
        let rule = match std::str::from_utf8(&file.bytes) {
            Ok(_) if file.bytes.len() > LONGEST_RULE => {
                notes.push((Position::NONE, format!("a rule file has at most {LONGEST_RULE} bytes")));
                None
            }
            Ok(source) => self.compile(source, &mut notes, problems),
            Err(_) => {
                notes.push((Position::NONE, "a rule file must be UTF-8 text: save it as UTF-8".into()));
                None
            }
        };
        let failed = !notes.is_empty();
        problems.extend(notes.into_iter().map(|(at, message)| problem(self.path, at, message)));
        rule.filter(|_| !failed)
    }

    fn compile(&self, source: &str, notes: &mut Vec<Note>, problems: &mut Vec<Problem>) -> Option<Rule> {
        let mut scope = header::scope();
        let ast = match self.engine.compile_with_scope(&scope, source) {
            Ok(ast) => ast,
            Err(error) => {
                notes.push((error.1, syntax_error(&error)));
                return None;
            }
        };
        let lint = lint::header(&ast);
        notes.extend(lint.notes);
        for name in lint.unknown {
            // reported above; standing for a field it lets the rest of the header be checked
            scope.push_constant(name, header::FieldObject(super::subject::Selector::Unknown));
        }
        let places = lint::header_places(&ast);
        let read = if lint.fatal { None } else { self.run(&ast, &mut scope, &places, notes, problems) };
        let window: Vec<&str> = places.keys().filter_map(|key| key.strip_prefix("agg.")).collect();
        notes.extend(lint::functions(&ast, &window));
        let hasty = read.as_ref().map(|(spec, _)| spec).filter(|spec| spec.window.is_some() && spec.settle.is_none());
        notes.extend(hasty.and_then(|spec| trend::check(&ast, &spec.aggs)));
        let (spec, markers) = read?;
        Some(Rule::new(spec, markers, self.path, source, ast.clone_functions_only()))
    }

    /// Runs the header and reads what it said.
    fn run(
        &self,
        ast: &AST,
        scope: &mut rhai::Scope<'_>,
        places: &std::collections::BTreeMap<String, Position>,
        notes: &mut Vec<Note>,
        problems: &mut Vec<Problem>,
    ) -> Option<(spec::Spec, Vec<Marker>)> {
        let statements = ast.clone_statements_only();
        let run = catch_unwind(AssertUnwindSafe(|| self.engine.eval_ast_with_scope::<Dynamic>(scope, &statements)));
        let mut gathered = self.gather.take();
        notes.append(&mut gathered.problems);
        match run {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                notes.push((error.position(), run_error(&error)));
                return None;
            }
            Err(_) => {
                notes.push((Position::NONE, "the header made the script engine panic: simplify it".into()));
                return None;
            }
        }
        if gathered.rules.len() != 1 {
            let count = gathered.rules.len();
            notes.push((Position::NONE, format!("a rule file has one rule(\"id\", #{{ … }}), this one has {count}")));
        }
        let raw = gathered.rules.into_iter().next()?;
        for at in gathered.address_lists {
            if let Some(list) = self.lists.get(at) {
                list.check_addresses(&raw.id, problems);
            }
        }
        let spec = spec::read(raw.id, raw.values, raw.at, places, notes);
        let (named, at): (Vec<_>, Vec<_>) = gathered.markers.iter().map(|raw| (raw.name.clone(), raw.at)).unzip();
        let wait = spec.as_ref().and_then(|spec| spec.wait);
        let markers = markers::read(gathered.markers, &markers::places(ast), &Wants::of(ast), wait, notes);
        let waits = spec.as_ref().is_none_or(|spec| spec.wait.is_some() || spec.settle.is_some());
        notes.extend(markers::lint(ast, &named, &at, waits));
        spec.map(|spec| (spec, markers))
    }
}

/// A problem at a place of a script.
pub(super) fn problem(path: &str, at: Position, message: String) -> Problem {
    let at = at.line().map(|line| (line, at.position().unwrap_or(1)));
    Problem { path: path.into(), at, message }
}

/// A syntax error, with what is special here.
fn syntax_error(error: &rhai::ParseError) -> String {
    let text = error.0.to_string();
    let text = text.trim_end_matches('.');
    match &*error.0 {
        rhai::ParseErrorType::Reserved(word) | rhai::ParseErrorType::ModuleUndefined(word) => {
            let near = hint(word, lint::CALLABLE);
            format!("`{word}` is not available in rules{near}")
        }
        _ if ["'while'", "'for'", "'loop'", "'do'"].iter().any(|word| text.contains(word)) => {
            "rules have no loops: count with agg and at_least".into()
        }
        _ if text.contains("is disabled") => {
            let word = text.split('\'').nth(1).unwrap_or_default();
            format!("`{word}` is not available in rules: they stand alone")
        }
        _ => format!("this is no valid Rhai: {text}"),
    }
}

/// An error of a header that ran, in words about rules.
fn run_error(error: &rhai::EvalAltResult) -> String {
    match error.unwrap_inner() {
        rhai::EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            format!(
                "headers cannot do this: {signature}; fields are compared with values, tests are joined with & and |"
            )
        }
        other => format!("the header cannot be run: {other}"),
    }
}
