//! Reads the parts of a mapping that say where a value comes from: candidates, conditions, patterns.

use super::{
    load::{check, constant, table},
    pairs::Pairs,
    path::{Glob, Id, Names, Path},
    plan::{Candidate, Case, Cells, Get, Pattern, Piece, Table, Test, When},
    source::{Item, Keys, Source, Value, texts},
    time::Time,
};
use crate::{
    detect::hint,
    event::{Field, FieldType},
};
use regex::{Regex, RegexBuilder};

/// A compiled pattern takes at most so much memory: more is a mistake.
const MAX_PATTERN: usize = 1 << 20;

/// What is known while a mapping is read.
pub(super) struct Read {
    pub source: Source,
    pub names: Names,
    pub dotted: bool,
    pub tables: Vec<Table>,
    /// The table that was written in place last.
    pub pinned: Option<usize>,
}

impl Read {
    /// Paths, in a string or a list.
    pub fn paths(&mut self, item: &Item) -> Vec<Path> {
        let written = texts(item, "a path", &mut self.source);
        written.iter().filter_map(|text| self.path(text, item.at)).collect()
    }

    fn path(&mut self, text: &str, at: usize) -> Option<Path> {
        match Path::parse(text, self.dotted, &mut self.names) {
            Ok(path) => Some(path),
            Err(why) => {
                self.source.wrong(at, format!("the path {text:?}: {why}"));
                None
            }
        }
    }

    /// Where a field's value comes from: a path, a table, or a list of them in order.
    pub fn candidates(&mut self, item: &Item, field: Option<Field>) -> Vec<Candidate> {
        match &item.value {
            Value::List(items) => items.iter().filter_map(|item| self.candidate(item, field)).collect(),
            _ => self.candidate(item, field).into_iter().collect(),
        }
    }

    fn candidate(&mut self, item: &Item, field: Option<Field>) -> Option<Candidate> {
        let plain = |get| Candidate {
            get,
            when: None,
            unless: Vec::new(),
            pattern: None,
            case: None,
            split: None,
            table: None,
            times: Vec::new(),
        };
        if let Value::Text(text) = &item.value {
            return Some(plain(Get::Paths(vec![self.path(text, item.at)?])));
        }
        if !matches!(item.value, Value::Table(_)) {
            let what = "a path in quotes, { from = \"path\", … }, { value = … } or { text = \"{path}\" }";
            self.source.wrong(item.at, format!("expected {what}, not {}", item.kind()));
            return None;
        }
        let mut keys = Keys::of(item, "", &mut self.source)?;
        let (from, value) = (keys.get("from"), keys.get("value"));
        let (text, record) = (keys.get("text"), keys.get("record"));
        let get = match (from, value, text, record) {
            (Some(from), None, None, None) => Get::Paths(self.paths(from)),
            (None, Some(value), None, None) => {
                let constant = constant(value, self)?;
                if let Some(field) = field {
                    check(field, &constant, value.at, self);
                }
                Get::Const(constant)
            }
            (None, None, Some(text), None) => Get::Template(self.template(text)?),
            (None, None, None, Some(Item { value: Value::Text(what), .. })) if what == "timestamp" => Get::RecordTime,
            (None, None, None, Some(item)) => {
                self.source.wrong(item.at, "record = \"timestamp\" is all that there is of the Kafka record");
                return None;
            }
            _ => {
                self.source.wrong(item.at, "needs one of from, value, text, record");
                return None;
            }
        };
        let mut candidate = plain(get);
        candidate.when = keys.get("when").map(|when| self.when(when));
        candidate.unless = keys.texts("unless", &mut self.source).unwrap_or_default();
        candidate.pattern = match keys.get("pattern") {
            Some(item) => Some(self.regex(item)?),
            None => None,
        };
        candidate.case = self.case(&mut keys, item.at);
        candidate.split = keys.text("split", &mut self.source).filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(item) = keys.get("table") {
            candidate.table = Some(self.table(item)?);
            self.check_table(candidate.table, field, item.at);
        }
        if let Some(item) = keys.get("time") {
            candidate.times = self.times(item, field);
        }
        keys.done(&mut self.source);
        Some(candidate)
    }

    fn case(&mut self, keys: &mut Keys<'_>, at: usize) -> Option<Case> {
        match keys.text("case", &mut self.source) {
            None => None,
            Some("lower") => Some(Case::Lower),
            Some("upper") => Some(Case::Upper),
            Some(other) => {
                self.source.wrong(at, format!("case is \"lower\" or \"upper\", not {other:?}"));
                None
            }
        }
    }

    fn times(&mut self, item: &Item, field: Option<Field>) -> Vec<Time> {
        if !field.is_some_and(|f| matches!(f.field_type(), FieldType::Micros | FieldType::OptMicros)) {
            self.source.wrong(item.at, "time is for fields that hold a moment: time, auth_time, session_start");
        }
        let mut times = Vec::new();
        for text in texts(item, "time", &mut self.source) {
            match Time::parse(&text) {
                Ok(time) => times.push(time),
                Err(why) => self.source.wrong(item.at, why),
            }
        }
        times
    }

    /// A table by its name, or one that is written in place.
    pub fn table(&mut self, item: &Item) -> Option<usize> {
        if let Value::Text(name) = &item.value {
            let found = self.tables.iter().position(|table| table.name == *name);
            if found.is_none() {
                let hint = hint(name, self.tables.iter().map(|table| table.name.as_str()));
                self.source.wrong(item.at, format!("there is no table {name:?} in [tables]{hint}"));
            }
            return found;
        }
        let table = table("", item, self)?;
        self.tables.push(table);
        self.pinned = Some(self.tables.len() - 1);
        self.pinned
    }

    /// Each value of the table must be one of the field's.
    fn check_table(&mut self, table: Option<usize>, field: Option<Field>, at: usize) {
        let Some(table) = table.and_then(|table| self.tables.get(table)) else { return };
        let mut values = Vec::new();
        for row in &table.rows {
            match &row.cells {
                Cells::One(value) => values.push(value.clone()),
                Cells::Fields(_) => {
                    let message = format!("the row {:?} names fields: such tables are for [[lookup]]", row.key);
                    return self.source.wrong(at, message);
                }
            }
        }
        let at = if table.name.is_empty() { at } else { table.at };
        if let Some(field) = field {
            values.iter().for_each(|value| check(field, value, at, self));
        }
    }

    fn template(&mut self, item: &Item) -> Option<Vec<Piece>> {
        let Value::Text(text) = &item.value else {
            self.source.wrong(item.at, format!("text must be a string, not {}", item.kind()));
            return None;
        };
        let (mut pieces, mut rest) = (Vec::new(), text.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, after)) = after.split_once('}') else {
                self.source.wrong(item.at, format!("{text:?} has a {{ without its }}"));
                return None;
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Path(self.path(path, item.at)?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Path(_))) {
            self.source.wrong(item.at, "text has no {path} in it: a constant is { value = … }");
        }
        Some(pieces)
    }

    /// Conditions: a table whose every entry must hold, or a list of tables of which one must.
    pub fn when(&mut self, item: &Item) -> When {
        match &item.value {
            Value::List(items) => When(items.iter().map(|item| self.all(item)).collect()),
            _ => When(vec![self.all(item)]),
        }
    }

    fn all(&mut self, item: &Item) -> Vec<(Path, Test)> {
        let Some(keys) = Keys::of(item, "when", &mut self.source) else { return Vec::new() };
        let mut all = Vec::new();
        for entry in keys.entries() {
            let path = self.path(&entry.key, entry.at);
            for test in self.tests(&entry.item) {
                all.extend(path.clone().map(|path| (path, test)));
            }
        }
        all
    }

    fn tests(&mut self, item: &Item) -> Vec<Test> {
        if !matches!(item.value, Value::Table(_)) {
            return vec![Test::OneOf(texts(item, "a condition", &mut self.source))];
        }
        let Some(mut keys) = Keys::of(item, "a condition", &mut self.source) else { return Vec::new() };
        let mut tests = Vec::new();
        if let Some(item) = keys.get("exists") {
            match item.value {
                Value::Bool(value) => tests.push(Test::Exists(value)),
                _ => self.source.wrong(item.at, "exists is true or false"),
            }
        }
        if let Some(globs) = keys.texts("glob", &mut self.source) {
            tests.push(Test::Glob(globs.iter().map(|glob| Glob::new(glob)).collect()));
        }
        if let Some(globs) = keys.texts("unlike", &mut self.source) {
            tests.push(Test::Unlike(globs.iter().map(|glob| Glob::new(glob)).collect()));
        }
        if let Some(none) = keys.texts("not", &mut self.source) {
            tests.push(Test::NoneOf(none));
        }
        if let Some(other) = keys.get("differs") {
            tests.extend(self.paths(other).into_iter().map(Test::Differs));
        }
        if let Some(item) = keys.get("pattern") {
            tests.extend(self.pattern(item).map(Test::Pattern));
        }
        keys.done(&mut self.source);
        if tests.is_empty() {
            let forms = "exists, glob, unlike, not, differs, pattern";
            self.source.wrong(item.at, format!("a condition is a value, a list of values, or one of {forms}"));
        }
        tests
    }

    /// A pattern with named groups.
    pub fn pattern(&mut self, item: &Item) -> Option<Pattern> {
        let regex = self.regex(item)?;
        let named = regex.capture_names().enumerate().filter_map(|(place, name)| Some((place, name?.to_owned())));
        let named: Vec<_> = named.collect();
        let groups = named.into_iter().map(|(place, name)| (place, self.names.learn(&name), name)).collect();
        Some(Pattern { regex, groups })
    }

    fn regex(&mut self, item: &Item) -> Option<Regex> {
        let Value::Text(text) = &item.value else {
            self.source.wrong(item.at, format!("a pattern must be a string, not {}", item.kind()));
            return None;
        };
        match RegexBuilder::new(text).size_limit(MAX_PATTERN).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.source.wrong(item.at, format!("the pattern {text:?}: {why}"));
                None
            }
        }
    }

    /// The name under which what is taken out of a text is found again.
    pub fn into(&mut self, keys: &mut Keys<'_>, at: usize) -> Id {
        match keys.text("into", &mut self.source) {
            Some(name) if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') => {
                self.names.learn(name)
            }
            _ => {
                self.source.wrong(at, "into is missing: a name of letters, digits and _; paths then begin with $name");
                self.names.learn("")
            }
        }
    }

    /// How `key=value` pairs are written.
    pub fn pairs(&mut self, keys: &mut Keys<'_>) -> Pairs {
        let mut mark = |key: &'static str, none: &str| -> Option<char> {
            let text = keys.text(key, &mut self.source).unwrap_or(none).to_owned();
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (c, None) => c,
                _ => {
                    let at = keys.get(key).map_or(0, |item| item.at);
                    self.source.wrong(at, format!("{key} is one character, or none"));
                    None
                }
            }
        };
        let (quote, escape) = (mark("quote", "\""), mark("escape", "\\"));
        let escapes_itself = match keys.get("escapes_itself") {
            None => true,
            Some(Item { value: Value::Bool(value), .. }) => *value,
            Some(item) => {
                self.source.wrong(item.at, "escapes_itself is true or false");
                true
            }
        };
        let mut text = |key: &'static str, default: &str| -> String {
            let text = keys.text(key, &mut self.source).unwrap_or(default).to_owned();
            if text.is_empty() {
                let at = keys.get(key).map_or(0, |item| item.at);
                self.source.wrong(at, format!("{key} must not be empty"));
                return default.into();
            }
            text
        };
        let (between, equals) = (text("between", " "), text("equals", "="));
        Pairs { between, equals, quote, escape, escapes_itself }
    }
}
