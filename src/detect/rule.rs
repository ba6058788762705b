//! A compiled rule, and what is told about it.

use super::{
    attack::Technique,
    decide::Decide,
    lint::ENTRIES,
    markers::Marker,
    severity::Severity,
    spec::{Mode, Spec, Status},
    subject::Selector,
    tally::Shape,
};
use crate::digest::Digest;
use rhai::{AST, ImmutableString};
use std::{sync::Arc, time::Duration};

/// What is known about a rule without running it.
#[derive(Debug, Clone)]
pub struct RuleInfo {
    /// AUTH-0001
    pub id: String,
    /// Its title.
    pub name: String,
    /// Its own version number.
    pub version: i64,
    /// What its findings do.
    pub mode: Mode,
    /// How far it has come.
    pub status: Status,
    /// Unless its function says otherwise.
    pub severity: Severity,
    /// What of ATT&CK it finds.
    pub attack: Vec<Technique>,
    /// The fields of its key.
    pub key: Vec<String>,
    /// How far back it counts, if it counts.
    pub window: Option<Duration>,
    /// Who answers for it.
    pub owner: String,
    /// What to do about a finding.
    pub runbook: String,
    /// When it fires for nothing.
    pub falsepos: Vec<String>,
    /// What it finds, from the comment at the head of its file.
    pub description: String,
    /// Its file.
    pub path: String,
    /// SHA-256 of its file.
    pub digest: Digest,
}

/// A rule ready to judge.
pub(super) struct Rule {
    /// What its header says.
    pub spec: Spec,
    /// What is told about it.
    pub info: RuleInfo,
    /// Its windows, if it counts.
    pub shape: Option<Shape>,
    /// Names of the values of its windows.
    pub names: Arc<[ImmutableString]>,
    /// Its functions.
    pub functions: AST,
    /// Which of them there are: decide, severity, title, context.
    pub has: [bool; 4],
    /// What it remembers of other events.
    pub markers: Vec<Marker>,
    /// What `decide` says, where that needs no script engine.
    pub decide: Option<Decide>,
}

impl Rule {
    /// Puts a rule together.
    pub fn new(spec: Spec, markers: Vec<Marker>, path: &str, source: &str, functions: AST) -> Self {
        let has = ENTRIES.map(|entry| functions.iter_functions().any(|function| function.name == entry));
        let shape = spec.window.map(|window| {
            let (aggs, tracks) = (spec.aggs.clone(), spec.tracks.clone());
            Shape::new(window, aggs, spec.columns.len(), tracks, spec.conditions.len())
        });
        let info = RuleInfo {
            id: spec.id.clone(),
            name: spec.name.clone(),
            version: spec.version,
            mode: spec.mode,
            status: spec.status,
            severity: spec.severity,
            attack: spec.attack.clone(),
            key: spec.key.iter().map(Selector::name).collect(),
            window: spec.window.map(|window| Duration::from_micros(window.unsigned_abs())),
            owner: spec.owner.clone(),
            runbook: spec.runbook.clone(),
            falsepos: spec.falsepos.clone(),
            description: description(source),
            path: path.into(),
            digest: Digest::of(source.as_bytes()),
        };
        let names = spec.aggs.iter().map(|agg| agg.name.as_str().into()).collect();
        let decide = Decide::of(&functions, &markers, &spec);
        Self { spec, info, shape, names, functions, has, markers, decide }
    }

    /// How far back its judgements look, in microseconds.
    pub fn horizon(&self) -> i64 {
        let remembered = self.markers.iter().map(|marker| marker.keep.ttl).max().unwrap_or(0);
        self.memory().saturating_add(remembered).saturating_add(self.spec.wait.unwrap_or(0))
    }

    /// How long an event matters to this rule's windows, in microseconds.
    pub fn memory(&self) -> i64 {
        self.spec.window.unwrap_or(0).saturating_add(self.spec.settle.unwrap_or(0))
    }
}

/// The first paragraph of the comment at the head of a file.
fn description(source: &str) -> String {
    let lines =
        source.lines().map_while(|line| line.trim().strip_prefix("//")).map(|line| line.trim_matches(['/', ' ']));
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
