//! A mapping proposed from samples: where in the records what could stand, so that a person decides instead of typing.

mod propose;

use crate::decode::moment;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

pub use propose::propose;

/// Objects are followed so deep.
const MAX_DEPTH: usize = 8;
/// Paths that are looked at; more are passed over.
const MAX_PATHS: usize = 2_000;
/// Different values of a path that are remembered, and how much of each.
const MAX_VALUES: usize = 64;
const MAX_VALUE: usize = 120;

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shape {
    /// Text without anything to it.
    Text,
    Empty,
    Number,
    Bool,
    /// RFC 3339 with an offset.
    Moment,
    /// A number, or digits, that count from 1970 to a moment of this century: seconds, milliseconds …
    Epoch(u32),
    Address,
    Mail,
    /// Letters, digits and signs, long and without spaces: an id.
    Id,
    /// As browsers write.
    Browser,
    /// Two capital letters.
    Country,
}

/// What stands at a path.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Records that have a value there that is not null.
    pub records: u64,
    pub shapes: BTreeMap<Shape, u64>,
    /// Values and how often; all of them only if there are few.
    pub values: BTreeMap<String, u64>,
    /// There were more values than are remembered.
    pub many: bool,
}

impl Seen {
    /// The part of the values that have one of these shapes.
    pub fn part(&self, wanted: impl Fn(Shape) -> bool) -> f64 {
        let all: u64 = self.shapes.iter().filter(|(shape, _)| **shape != Shape::Empty).map(|(_, n)| n).sum();
        let fits: u64 = self.shapes.iter().filter(|(shape, _)| wanted(**shape)).map(|(_, n)| n).sum();
        if all == 0 { 0.0 } else { fits as f64 / all as f64 }
    }

    /// How many different values there are, if few enough to be counted; an empty text is none.
    pub fn kinds(&self) -> Option<usize> {
        (!self.many).then(|| self.values.keys().filter(|value| !value.is_empty()).count())
    }
}

/// Everything that stands in some records.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) records: u64,
    pub(super) paths: BTreeMap<String, Seen>,
    /// There were more paths than are looked at.
    pub(super) more: bool,
}

impl Survey {
    /// Looks at a record; false if it is no object.
    pub fn add(&mut self, record: &Value) -> bool {
        let Value::Object(members) = record else { return false };
        self.records += 1;
        let mut here = BTreeSet::new();
        for (name, value) in members {
            self.walk(quoted(name), value, 0, &mut here);
        }
        true
    }

    /// How many records it has seen.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn walk(&mut self, path: String, value: &Value, depth: usize, here: &mut BTreeSet<String>) {
        if depth > MAX_DEPTH || path.len() > 512 {
            return;
        }
        match value {
            Value::Null => {}
            Value::Object(members) => {
                for (name, value) in members {
                    self.walk(format!("{path}.{}", quoted(name)), value, depth + 1, here);
                }
            }
            Value::Array(items) => self.items(&path, items, depth, here),
            scalar => self.scalar(path, scalar, here),
        }
    }

    fn items(&mut self, path: &str, items: &[Value], depth: usize, here: &mut BTreeSet<String>) {
        let is_pair = |item: &Value| item.get("name").is_some_and(Value::is_string) && item.get("value").is_some();
        let pairs = !items.is_empty() && items.iter().all(is_pair);
        for (place, item) in items.iter().enumerate() {
            match item.get("name").and_then(Value::as_str) {
                Some(name) if pairs && is_word(name) => {
                    if let Some(value) = item.get("value") {
                        self.walk(format!("{path}[name={name}].value"), value, depth + 1, here);
                    }
                }
                _ if item.is_object() || item.is_array() => {
                    if place == 0 {
                        self.walk(format!("{path}[0]"), item, depth + 1, here);
                    }
                }
                _ => self.walk(format!("{path}[*]"), item, depth + 1, here),
            }
        }
    }

    fn scalar(&mut self, path: String, value: &Value, here: &mut BTreeSet<String>) {
        if !self.paths.contains_key(&path) && self.paths.len() >= MAX_PATHS {
            self.more = true;
            return;
        }
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let seen = self.paths.entry(path.clone()).or_default();
        *seen.shapes.entry(shape(value, &text)).or_default() += 1;
        let text: String = text.chars().take(MAX_VALUE).collect();
        if seen.values.len() < MAX_VALUES || seen.values.contains_key(&text) {
            *seen.values.entry(text).or_default() += 1;
        } else {
            seen.many = true;
        }
        if here.insert(path) {
            seen.records += 1;
        }
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A name as a step of a path.
fn quoted(name: &str) -> String {
    if is_word(name) || (name.starts_with('@') && is_word(&name[1..])) { name.to_owned() } else { format!("{name:?}") }
}

fn shape(value: &Value, text: &str) -> Shape {
    if let Value::Bool(_) = value {
        return Shape::Bool;
    }
    let number = text.parse::<f64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    if let Some(number) = number {
        // moments from 2001 to 2096
        for (unit, digits) in [(1.0, 0), (1e3, 3), (1e6, 6), (1e9, 9)] {
            if (1e9 * unit..4e9 * unit).contains(&number) {
                return Shape::Epoch(digits);
            }
        }
        return Shape::Number;
    }
    if value.is_number() {
        return Shape::Number;
    }
    let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.' | b'/' | b'+' | b'=');
    match text {
        "" => Shape::Empty,
        text if moment::parse(text).is_some() => Shape::Moment,
        // nobody knows which moment it is
        text if text.parse::<jiff::civil::DateTime>().is_ok() => Shape::Text,
        text if text.parse::<IpAddr>().is_ok() => Shape::Address,
        text if is_mail(text) => Shape::Mail,
        text if text.starts_with("Mozilla/") || text.contains("AppleWebKit") => Shape::Browser,
        text if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) => Shape::Country,
        text if text.len() >= 12 && text.bytes().all(is_id) && text.bytes().any(|b| b.is_ascii_digit()) => Shape::Id,
        _ => Shape::Text,
    }
}

fn is_mail(text: &str) -> bool {
    let Some((user, host)) = text.split_once('@') else { return false };
    let plain = |part: &str| !part.is_empty() && !part.contains([' ', '@', '/']);
    plain(user) && plain(host) && host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_told_by_their_shapes() {
        for (value, want) in [
            (json!("2025-12-10T06:55:48Z"), Shape::Moment),
            (json!("2025-12-10T06:55:48"), Shape::Text),
            (json!(1_765_349_748), Shape::Epoch(0)),
            (json!("1765349748001"), Shape::Epoch(3)),
            (json!(1_765_349_748.25), Shape::Epoch(0)),
            (json!(443), Shape::Number),
            (json!(-1), Shape::Number),
            (json!("203.0.113.7"), Shape::Address),
            (json!("2001:db8::1"), Shape::Address),
            (json!("a@example.com"), Shape::Mail),
            (json!("@"), Shape::Text),
            (json!("DE"), Shape::Country),
            (json!("d23058e7-6df3-4b43-a345-c0520ecb494f"), Shape::Id),
            (json!("Mozilla/5.0 (X11)"), Shape::Browser),
            (json!(true), Shape::Bool),
            (json!(""), Shape::Empty),
        ] {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(shape(&value, &text), want, "{value}");
        }
    }

    #[test]
    fn paths_are_those_of_the_mapping_language() {
        let mut survey = Survey::default();
        let record = json!({
            "@t": 1, "a.b": {"c d": 2}, "roles": ["x", "y"], "e": [{"p": [{"name": "k", "value": 3}]}, {"p": 4}],
        });
        assert!(survey.add(&record) && !survey.add(&json!([1])));
        let paths: Vec<&str> = survey.paths.keys().map(String::as_str).collect();
        assert_eq!(paths, ["\"a.b\".\"c d\"", "@t", "e[0].p[name=k].value", "roles[*]"]);
        assert_eq!(survey.paths["roles[*]"].records, 1);
    }

    #[test]
    fn samples_without_end_do_not_fill_the_memory() {
        let mut survey = Survey::default();
        for n in 0..5000 {
            survey.add(&json!({ format!("k{n}"): n, "same": format!("{n}") }));
        }
        assert!(survey.paths.len() <= MAX_PATHS && survey.more);
        assert_eq!((survey.paths["same"].values.len(), survey.paths["same"].kinds()), (MAX_VALUES, None));
        let deep = (0..200).fold(json!(1), |inner, _| json!({ "x": inner }));
        assert!(survey.add(&deep));
    }
}
