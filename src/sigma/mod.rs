//! Sigma rules and correlations, made into rules of authseal. No I/O: files come in, files go out.
//!
//! A document is read ([`yaml`], bounded), its fields and values are looked up in tables ([`mapping`], data that people
//! without Rust review), its detection becomes an expression over the canonical event ([`detection`], [`values`],
//! [`expr`]), a correlation becomes a window ([`correlation`]), and both are written with a test beside them ([`emit`],
//! [`example`]). What was made is loaded and its tests are run before it is handed out. Nothing is guessed: what cannot
//! be translated is refused, what is judged otherwise is told ([`report`]).

mod condition;
mod correlation;
mod detection;
mod emit;
mod example;
mod expr;
mod mapping;
mod meta;
mod pattern;
mod report;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

use self::{
    correlation::Correlation,
    detection::Detection,
    emit::{About, Draft, Plan},
    expr::{Expr, Target, Test},
    mapping::LogSource,
    meta::Meta,
    pattern::Pattern,
    report::Notes,
    yaml::{At, Node, shown},
};
use crate::{
    artifact::File,
    detect::{RuleSet, testing},
    event::{Field, FieldType},
};
use std::collections::BTreeSet;

pub use self::{
    mapping::Mapping,
    report::{Entry, Level, Note, Verdict},
};

/// Documents of one import.
const MOST_DOCUMENTS: usize = 1000;
const NO_EXAMPLE: &str = "no event was found that it selects: does it contradict itself?";

/// How an import is done.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The id of the rule, if there is only one.
    pub id: Option<String>,
    /// What the events' `source` is, if not what the mapping says.
    pub source: Vec<String>,
    /// The field that is put first in every key; `None` for none.
    pub tenant: Option<Field>,
    /// Whether fields that are not mapped are looked up among the attributes.
    pub attributes: bool,
    /// Names of files, without endings, that are taken.
    pub taken: BTreeSet<String>,
}

/// A field that can stand first in every key, or why it cannot.
pub fn tenant_field(name: &str) -> Result<Option<Field>, String> {
    if name == "none" {
        return Ok(None);
    }
    let field = Field::from_name(name).ok_or_else(|| format!("events have no field `{name}`"))?;
    match field.field_type() {
        FieldType::Text | FieldType::OptText => Ok(Some(field)),
        _ => Err(format!("{name} holds no string: name the field that tells tenants apart, or none")),
    }
}

/// A rule that was read, and what it selects if it could be translated.
struct Base<'m> {
    name: Option<String>,
    id: Option<String>,
    meta: Meta,
    expr: Expr,
    sources: Vec<&'m LogSource>,
}

impl Base<'_> {
    /// Who is to be named where it is used.
    fn credit(&self) -> String {
        let head = self.meta.head.iter();
        let kept =
            head.filter(|line| ["Sigma id: ", "Author: ", "License: "].iter().any(|what| line.starts_with(what)));
        let kept: Vec<&str> = kept.map(String::as_str).collect();
        format!("Uses the Sigma rule \"{}\" ({})", self.meta.title, kept.join("; "))
    }

    /// Whether correlations call it so.
    fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.id.as_deref() == Some(name)
    }
}

/// A document on its way.
struct Document<'m> {
    path: String,
    node: Node,
    notes: Notes,
    base: Option<Base<'m>>,
    /// Titles of the correlations that use it.
    used: Vec<String>,
    /// A correlation wants it as a rule of its own too.
    generate: bool,
}

impl Document<'_> {
    fn is_called(&self, name: &str) -> bool {
        ["name", "id"].iter().any(|key| self.node.get(key).and_then(Node::text) == Some(name))
    }
}

/// Imports all documents of these files. There is an entry for each document, and for each file that cannot be read.
pub fn import(inputs: &[File], mapping: &Mapping, options: &Options) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut documents = read(inputs, &mut entries);
    let importer = Importer { mapping, options };
    for document in &mut documents {
        document.base = importer.base(&document.node, &mut document.notes);
    }
    mark_used(&mut documents);
    let mut taken = options.taken.clone();
    let mut ids: BTreeSet<String> = BTreeSet::new();
    // all of them before any is handed out: correlations repeat what is to be said about their rules
    let drafts: Vec<Option<Draft>> = (0..documents.len()).map(|at| importer.draft(&mut documents, at)).collect();
    for (document, draft) in documents.iter_mut().zip(drafts) {
        if draft.is_some() {
            let id = document.base.as_ref().map(|base| base.meta.rule.clone());
            if id.is_some_and(|id| !ids.insert(id)) {
                document.notes.refuse(
                    document.node.at,
                    "another rule of this import has the same id: import them one by one, each with its own --id",
                );
            }
        }
        entries.push(importer.entry(document, draft, &mut taken));
    }
    entries.sort_by(|a, b| (&a.path, a.at).cmp(&(&b.path, b.at)));
    entries
}

/// Reads all files; those that cannot be read become entries at once.
fn read<'m>(inputs: &[File], entries: &mut Vec<Entry>) -> Vec<Document<'m>> {
    let mut documents: Vec<Document<'m>> = Vec::new();
    let mut broken = |path: &str, at: At, message: String| {
        let note = Note { level: Level::Refused, at: Some(at), message };
        let title = "(the file)".into();
        let path = path.into();
        entries.push(Entry {
            path,
            at,
            title,
            verdict: Verdict::Not,
            rule: None,
            files: Vec::new(),
            notes: vec![note],
        });
    };
    for file in inputs {
        let Ok(text) = std::str::from_utf8(&file.bytes) else {
            broken(&file.path, (1, 1), "the file is not UTF-8 text: save it as UTF-8".into());
            continue;
        };
        let (nodes, fault) = yaml::read(text);
        if nodes.is_empty() && fault.is_none() {
            broken(&file.path, (1, 1), "the file holds no document".into());
        }
        for node in nodes {
            if documents.len() == MOST_DOCUMENTS {
                broken(&file.path, node.at, format!("more than {MOST_DOCUMENTS} documents: import them in parts"));
                return documents;
            }
            let path = file.path.clone();
            let (notes, used) = (Notes::default(), Vec::new());
            documents.push(Document { path, node, notes, base: None, used, generate: false });
        }
        if let Some(fault) = fault {
            broken(&file.path, fault.at, fault.message);
        }
    }
    documents
}

/// Tells each document which correlations use it.
fn mark_used(documents: &mut [Document<'_>]) {
    let uses: Vec<(String, String, bool)> = documents
        .iter()
        .filter_map(|document| document.node.get("correlation").map(|body| (&document.node, body)))
        .flat_map(|(node, body)| {
            let title = meta::title(node);
            let flag = |node: &Node| node.get("generate").and_then(Node::text) == Some("true");
            let generate = flag(body) || flag(node);
            correlation::names(body).into_iter().map(move |(name, _)| (name, title.clone(), generate))
        })
        .collect();
    for (name, title, generate) in uses {
        for document in documents.iter_mut().filter(|document| document.is_called(&name)) {
            document.used.push(title.clone());
            document.generate |= generate;
        }
    }
}

struct Importer<'m, 'o> {
    mapping: &'m Mapping,
    options: &'o Options,
}

impl<'m> Importer<'m, '_> {
    /// What a document is: a rule, the head of a correlation, or nothing that can be translated.
    fn base(&self, node: &Node, notes: &mut Notes) -> Option<Base<'m>> {
        let refuse = |notes: &mut Notes, what: &str| {
            notes.refuse(node.at, what.to_owned());
            None
        };
        if node.get("action").is_some() {
            return refuse(notes, "`action` (rule collections of Sigma 1) is not taken: convert the file to Sigma 2");
        }
        if node.get("filter").is_some() {
            return refuse(notes, "Sigma filters are not translated: add their exceptions to the rule, or to a list");
        }
        let meta = meta::read(node, self.options.id.as_deref(), notes);
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let (name, id) = (text("name"), text("id"));
        if node.get("correlation").is_some() {
            // what it selects comes from the rules that it names
            return Some(Base { name, id, meta, expr: Expr::Any(Vec::new()), sources: Vec::new() });
        }
        let Some(detection) = node.get("detection") else {
            return refuse(notes, "the document has neither `detection` nor `correlation`: it is no Sigma rule");
        };
        let sources = self.sources(node, notes)?;
        let lists = meta.rule.to_lowercase();
        let attributes = self.options.attributes;
        let mut translator = Detection { sources: &sources, attributes, lists: &lists, list_count: 0, notes };
        let detected = translator.translate(detection)?;
        let expr = Expr::all(self.assumed(&sources, notes).into_iter().chain([detected]));
        (!notes.is_refused()).then_some(Base { name, id, meta, expr, sources })
    }

    /// The kinds of log that the rule's logsource names.
    fn sources(&self, node: &Node, notes: &mut Notes) -> Option<Vec<&'m LogSource>> {
        let Some(logsource) = node.get("logsource") else {
            notes.refuse(node.at, "the rule has no `logsource`: which events is it about?");
            return None;
        };
        let text = |key: &str| logsource.get(key).and_then(Node::text);
        if let Some(category) = logsource.entry("category") {
            let name = category.value.text().unwrap_or_default();
            if name != "authentication" {
                let what =
                    format!("the category `{}` is not about authentication: authseal judges who signs in", shown(name));
                notes.refuse(category.at, what);
                return None;
            }
        }
        let Some(product) = text("product") else {
            notes.refuse(logsource.at, "the logsource names no `product`: which system is it about?");
            return None;
        };
        match self.mapping.find(product, text("service")) {
            Ok(sources) => Some(sources),
            Err(why) => {
                notes.refuse(logsource.at, why);
                None
            }
        }
    }

    /// What holds of all events of these kinds of log.
    fn assumed(&self, sources: &[&LogSource], notes: &mut Notes) -> Vec<Expr> {
        let known = sources.iter().find(|source| !source.source.is_empty()).map(|source| &source.source);
        let names = match (&self.options.source[..], known) {
            ([], Some(known)) => {
                notes
                    .note(None, format!("taken for granted: its events have source {} (--source)", known.join(" or ")));
                known
            }
            ([], None) => return Vec::new(),
            _ => &self.options.source,
        };
        let is = |name: &String| Test::Text(Target::Field(Field::source), Pattern::literal(name), true);
        let mut all = vec![Expr::any(names.iter().map(|name| Expr::Test(is(name))))];
        let when = sources.iter().find(|source| !source.when.is_empty()).map(|source| &source.when);
        all.extend(when.into_iter().flatten().cloned().map(Expr::Test));
        all
    }

    /// The rule that a document becomes, if it becomes one.
    fn draft(&self, documents: &mut [Document<'m>], at: usize) -> Option<Draft> {
        let tenant: Vec<Target> = self.options.tenant.map(Target::Field).into_iter().collect();
        let mut notes = std::mem::take(&mut documents[at].notes);
        let document = &documents[at];
        let mut credits: Vec<String> = Vec::new();
        let draft = match (&document.base, document.node.get("correlation")) {
            (None, _) => None,
            (Some(base), None) if document.used.is_empty() || document.generate => {
                single(base, key_or_source(tenant), document.node.at, &mut notes)
            }
            (Some(_), None) => None,
            (Some(_), Some(body)) => named(documents, body, &mut notes).and_then(|bases| {
                credits.extend(bases.iter().map(|base| base.credit()));
                let attributes = self.options.attributes;
                Correlation { body, bases, tenant: &tenant, attributes, notes: &mut notes }.translate()
            }),
        };
        documents[at].notes = notes;
        if let Some(base) = &mut documents[at].base {
            base.meta.head.extend(credits);
        }
        draft
    }

    /// Writes the files, tries them, and reports.
    fn entry(&self, document: &mut Document<'m>, draft: Option<Draft>, taken: &mut BTreeSet<String>) -> Entry {
        let mut notes = std::mem::take(&mut document.notes);
        let title = meta::title(&document.node);
        let (mut files, mut rule) = (Vec::new(), None);
        if let (Some(draft), Some(base), false) = (draft, &document.base, notes.is_refused()) {
            let stem = stem(&base.meta, taken);
            let name = document.path.rsplit(['/', '\\']).next().unwrap_or_default();
            let origin = format!("{}:{}", shown(name), document.node.at.0);
            let differs: Vec<String> =
                notes.0.iter().filter(|note| note.level == Level::Differs).map(|note| note.message.clone()).collect();
            let about = About { meta: &base.meta, stem: &stem, origin: &origin, differs: &differs };
            let made = emit::files(&about, &draft);
            match try_out(&made) {
                Ok(()) => {
                    taken.insert(stem);
                    (files, rule) = (made, Some(base.meta.rule.clone()));
                }
                Err(why) => notes.refuse(document.node.at, why),
            }
        }
        let verdict = match (notes.is_refused(), rule.is_some()) {
            (true, _) => Verdict::Not,
            (false, true) if notes.is_different() => Verdict::Partly,
            (false, true) => Verdict::Translated,
            (false, false) => Verdict::Used,
        };
        if verdict == Verdict::Used {
            let by = document.used.join("\", \"");
            notes
                .note(document.node.at, format!("used by \"{by}\"; no rule of its own (the correlation's `generate`)"));
        }
        let mut notes = notes.0;
        notes.sort_by_key(|note| (note.level, note.at));
        Entry { path: document.path.clone(), at: document.node.at, title, verdict, rule, files, notes }
    }
}

/// A rule without a window.
fn single(base: &Base<'_>, key: Vec<Target>, at: At, notes: &mut Notes) -> Option<Draft> {
    let set: Vec<Target> = key.iter().filter(|target| **target != Target::Field(Field::tenant)).cloned().collect();
    let Some(event) = example::find(&base.expr, &set) else {
        notes.refuse(at, NO_EXAMPLE);
        return None;
    };
    let miss = example::miss(&base.expr, &event).map(Box::new);
    if miss.is_none() {
        notes.note(at, "no event was found that the rule does not select: its test only shows that it fires");
    }
    let plan = Plan::Single { event: Box::new(event), miss };
    Some(Draft { when: base.expr.clone(), key, gate: None, plan })
}

/// The rules that a correlation names; `None` if one is not there or cannot be translated.
fn named<'a, 'm>(documents: &'a [Document<'m>], body: &Node, notes: &mut Notes) -> Option<Vec<&'a Base<'m>>> {
    let names = correlation::names(body);
    if names.is_empty() {
        notes.refuse(body.at, "the correlation names no `rules`");
        return None;
    }
    let mut bases = Vec::new();
    for (name, at) in names {
        let Some(document) = documents.iter().find(|document| document.is_called(&name)) else {
            notes.refuse(at, format!("there is no rule `{}` among the files: give its file too", shown(&name)));
            continue;
        };
        match &document.base {
            _ if document.node.get("correlation").is_some() => {
                notes.refuse(
                    at,
                    format!("`{}` is a correlation itself: correlations of them are not translated", shown(&name)),
                );
            }
            Some(base) => {
                for note in document.notes.0.iter().filter(|note| note.level == Level::Differs) {
                    notes.differs(at, format!("in `{}`: {}", shown(&name), note.message));
                }
                bases.push(base);
            }
            None => notes.refuse(at, format!("the rule `{}` cannot be translated: see there", shown(&name))),
        }
    }
    (!notes.is_refused()).then_some(bases)
}

/// A key has at least one field.
fn key_or_source(key: Vec<Target>) -> Vec<Target> {
    if key.is_empty() { vec![Target::Field(Field::source)] } else { key }
}

/// The name of a rule's file: its title, in small letters.
fn stem(meta: &Meta, taken: &BTreeSet<String>) -> String {
    let mut stem = String::new();
    for c in meta.title.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            stem.push(c);
        } else if !stem.is_empty() && !stem.ends_with('_') {
            stem.push('_');
        }
    }
    stem.truncate(60);
    let stem = match stem.trim_end_matches('_') {
        "" => meta.rule.to_lowercase().replace('-', "_"),
        stem => stem.to_owned(),
    };
    let free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|n| format!("{stem}_{n}"));
    [stem.clone()].into_iter().chain(numbered).find(free).unwrap_or(stem)
}

/// Loads what was made and runs its tests: what does not pass is not handed out.
fn try_out(files: &[File]) -> Result<(), String> {
    if let Err(problems) = RuleSet::load(files) {
        let what: Vec<String> = problems.iter().take(3).map(ToString::to_string).collect();
        return Err(format!("the rule that was made does not load: {}", what.join("; ")));
    }
    let reports = testing::run(files);
    let failed: Vec<String> =
        reports.iter().flat_map(|report| &report.failures).take(3).map(ToString::to_string).collect();
    match (&failed[..], reports.is_empty()) {
        ([], false) => Ok(()),
        _ => Err(format!("the test of the rule that was made does not pass: {}", failed.join("; "))),
    }
}
