//! What a mapping file says, checked and compiled: paths as numbers, tables as hash maps, patterns as automata.

use super::{
    path::{Glob, Id, Names, Path},
    time::Time,
};
use crate::{decode::scalar::Scalar, event::Field};
use regex::Regex;
use std::{borrow::Cow, collections::HashMap};

/// A value that the mapping itself states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Const {
    Text(String),
    Number(String),
    Bool(bool),
}

impl Const {
    pub fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::text(text),
            Self::Number(text) => Scalar::Number(text),
            Self::Bool(value) => Scalar::Bool(*value),
        }
    }

    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) | Self::Number(text) => Cow::Borrowed(text),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        }
    }
}

/// A table of values: what a source says, and what it means.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    pub at: usize,
    pub rows: Vec<Row>,
    exact: HashMap<String, usize>,
    /// Tried in the order of the file where no exact key fits.
    globs: Vec<(Glob, usize)>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub key: String,
    pub cells: Cells,
}

#[derive(Debug)]
pub(super) enum Cells {
    /// `KEY = value`
    One(Const),
    /// `KEY = { field = value, … }`
    Fields(Vec<(Field, Const)>),
}

impl Table {
    pub fn new(name: &str, at: usize, rows: Vec<Row>) -> Self {
        let (mut exact, mut globs) = (HashMap::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            if Glob::is_glob(&row.key) {
                globs.push((Glob::new(&row.key), place));
            } else {
                exact.insert(row.key.clone(), place);
            }
        }
        Self { name: name.into(), at, rows, exact, globs }
    }

    pub fn find(&self, key: &str) -> Option<&Cells> {
        let glob = || self.globs.iter().find(|(glob, _)| glob.matches(key)).map(|(_, place)| place);
        let place = self.exact.get(key).or_else(glob)?;
        self.rows.get(*place).map(|row| &row.cells)
    }
}

/// Where a value comes from, and what is made of it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub get: Get,
    pub when: Option<When>,
    /// These texts are no value.
    pub unless: Vec<String>,
    /// Cuts a piece out: its first group, or all that matches. No match is no value.
    pub pattern: Option<Regex>,
    pub case: Option<Case>,
    /// Each piece between is a value.
    pub split: Option<String>,
    pub table: Option<usize>,
    pub times: Vec<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
}

#[derive(Debug)]
pub(super) enum Get {
    /// The first that has a value.
    Paths(Vec<Path>),
    Const(Const),
    Template(Vec<Piece>),
    /// The time that Kafka gave the record.
    RecordTime,
}

#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Path(Path),
}

/// Conditions: one of the lists must hold as a whole.
#[derive(Debug, Default)]
pub(super) struct When(pub Vec<Vec<(Path, Test)>>);

#[derive(Debug)]
pub(super) enum Test {
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Exists(bool),
    Glob(Vec<Glob>),
    /// There is no text, or it fits none.
    Unlike(Vec<Glob>),
    /// Both values are there, and their texts are not the same.
    Differs(Path),
    /// The named groups become values of the mapping's own.
    Pattern(Pattern),
}

#[derive(Debug)]
pub(super) struct Pattern {
    pub regex: Regex,
    /// Named groups: number in the pattern, number as a name, name.
    pub groups: Vec<(usize, Id, String)>,
}

/// Takes a text of the record apart.
#[derive(Debug)]
pub(super) struct Parse {
    pub from: Vec<Path>,
    pub when: Option<When>,
    pub how: How,
}

#[derive(Debug)]
pub(super) enum How {
    /// The first that matches; its groups become values.
    Patterns(Vec<Pattern>),
    /// `key=value` pairs.
    Pairs { pairs: super::pairs::Pairs, into: Id },
    /// JSON in a string.
    Json { into: Id },
}

/// A kind of record.
#[derive(Debug)]
pub(super) struct Kind {
    pub name: String,
    pub when: Option<When>,
    /// Why it is no authentication event, if it is none.
    pub ignore: Option<String>,
    pub sets: Sets,
}

/// What an event gets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub fields: Vec<(Field, Vec<Candidate>)>,
    pub lookups: Vec<Lookup>,
    pub attributes: Vec<(String, Vec<Candidate>)>,
}

/// A table whose row sets several fields at once.
#[derive(Debug)]
pub(super) struct Lookup {
    pub on: Vec<Candidate>,
    /// As it was written, for the docs.
    pub shown: String,
    pub table: usize,
    /// The field that is told as unmapped where the table has no row.
    pub field: Field,
}

/// What the head of the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The mapping's name.
    pub name: String,
    /// The product and its version.
    pub product: String,
    /// What it covers.
    pub about: String,
    /// Where the product's own documentation is.
    pub reference: Vec<String>,
    /// Which secrets the records carry, and so whether `keep = "event"` is advised.
    pub secrets: String,
    /// Whether it reads records that are JSON objects.
    pub json: bool,
    /// Whether it reads records that are lines of text.
    pub text: bool,
}

/// A mapping, ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) about: About,
    pub(super) names: Names,
    pub(super) zone: jiff::tz::TimeZone,
    pub(super) parse: Vec<Parse>,
    pub(super) kinds: Vec<Kind>,
    pub(super) common: Sets,
    /// What the mapping does not ask for becomes attributes, with this prefix.
    pub(super) keep: Option<String>,
    /// These beginnings of paths are left out of the names of such attributes.
    pub(super) strip: Vec<String>,
    /// Values that are not kept although nothing asks for them: paths as in the names of attributes.
    pub(super) except: Vec<Glob>,
    pub(super) tables: Vec<Table>,
}

impl Plan {
    /// What the mapping says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The zone of times without an offset.
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.zone
    }
}
