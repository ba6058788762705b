//! A mapping file as a tree of TOML whose every value knows where it stands, in the order of the file; and what is
//! wrong with it, by line and column.

use std::fmt;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Everything that is wrong with a mapping, in the order of the file. Shown as `file:line:column: message`, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as it was named.
    pub file: String,
    /// At least one.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.list.iter().enumerate() {
            let end = if place > 0 { "\n" } else { "" };
            write!(f, "{end}{}:{}:{}: {}", self.file, problem.line, problem.column, problem.message)?;
        }
        Ok(())
    }
}

/// A value and the byte at which it begins.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub at: usize,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    Text(String),
    List(Vec<Item>),
    Table(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub at: usize,
    pub item: Item,
}

/// Reads the file, and collects problems on the way.
pub(super) struct Source {
    text: String,
    starts: Vec<usize>,
    problems: Vec<(usize, String)>,
}

impl Source {
    /// The tree, as much of it as is TOML.
    pub fn read(text: &str) -> (Self, Item) {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut source = Self { text: text.into(), starts, problems: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            source.wrong(at, error.message().trim_end().replace('\n', "; "));
        }
        (source, Item { at: 0, value: table_of(table.get_ref()) })
    }

    /// Remembers what is wrong at a byte.
    pub fn wrong(&mut self, at: usize, message: impl Into<String>) {
        self.problems.push((at, message.into()));
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).max(1)
    }

    /// What was wrong, in the order of the file.
    pub fn problems(mut self, file: &str) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort();
        self.problems.dedup();
        let place = |(at, message): &(usize, String)| {
            let line = self.line(*at);
            let start = self.starts.get(line - 1).copied().unwrap_or_default();
            let before = self.text.get(start..(*at).min(self.text.len())).unwrap_or_default();
            Problem { line, column: before.chars().count() + 1, message: message.clone() }
        };
        Err(Problems { file: file.into(), list: self.problems.iter().map(place).collect() })
    }
}

fn table_of(table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        at: key.span().start,
        item: item_of(value),
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    // the parser sorts by name; what is tried in order is tried in the order of the file
    entries.sort_by_key(|entry| entry.at);
    Value::Table(entries)
}

fn item_of(value: &toml::Spanned<DeValue<'_>>) -> Item {
    let kind = match value.get_ref() {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(item_of).collect()),
        DeValue::Table(table) => table_of(table),
    };
    Item { at: value.span().start, value: kind }
}

impl Item {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A table that is read key by key; what is left over is unknown.
pub(super) struct Keys<'t> {
    entries: &'t [Entry],
    known: Vec<&'static str>,
}

impl<'t> Keys<'t> {
    /// Of a table; anything else is a problem.
    pub fn of(item: &'t Item, what: &str, source: &mut Source) -> Option<Self> {
        match &item.value {
            Value::Table(entries) => Some(Self { entries, known: Vec::new() }),
            _ => {
                source.wrong(item.at, format!("{what} must be a table, not {}", item.kind()));
                None
            }
        }
    }

    /// What stands under a key.
    pub fn get(&mut self, key: &'static str) -> Option<&'t Item> {
        self.known.push(key);
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.item)
    }

    /// A string under a key.
    pub fn text(&mut self, key: &'static str, source: &mut Source) -> Option<&'t str> {
        let item = self.get(key)?;
        match &item.value {
            Value::Text(text) => Some(text),
            _ => {
                source.wrong(item.at, format!("{key} must be a string, not {}", item.kind()));
                None
            }
        }
    }

    /// A truth value under a key; false if there is none.
    pub fn is(&mut self, key: &'static str, source: &mut Source) -> bool {
        match self.get(key) {
            None => false,
            Some(Item { value: Value::Bool(value), .. }) => *value,
            Some(item) => {
                source.wrong(item.at, format!("{key} must be true or false, not {}", item.kind()));
                false
            }
        }
    }

    /// A string, or strings in a list, under a key.
    pub fn texts(&mut self, key: &'static str, source: &mut Source) -> Option<Vec<String>> {
        let item = self.get(key)?;
        Some(texts(item, key, source))
    }

    /// The entries, for tables whose keys are data.
    pub fn entries(&self) -> &'t [Entry] {
        self.entries
    }

    /// Reports keys that nobody asked for.
    pub fn done(self, source: &mut Source) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let known = self.known.join(", ");
            let hint = crate::detect::hint(&entry.key, self.known.iter().copied());
            let hint = if hint.is_empty() { format!(" (known here: {known})") } else { hint };
            source.wrong(entry.at, format!("{:?} is unknown{hint}", entry.key));
        }
    }
}

/// A string, or strings in a list.
pub(super) fn texts(item: &Item, what: &str, source: &mut Source) -> Vec<String> {
    match &item.value {
        Value::Text(text) => vec![text.clone()],
        Value::Number(text) => vec![text.clone()],
        Value::Bool(value) => vec![value.to_string()],
        Value::List(items) if !items.is_empty() => items.iter().flat_map(|item| texts(item, what, source)).collect(),
        _ => {
            source.wrong(item.at, format!("{what} must be a string or a list of strings, not {}", item.kind()));
            Vec::new()
        }
    }
}
