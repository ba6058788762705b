//! The configuration as a tree whose every value knows where it came from: a line and column of the file, or an
//! environment variable. Reads TOML and lays the `AUTHSEAL_…` variables over it; knows nothing of what settings mean.

use super::problem::{Origin, Problem};
use toml::de::{DeTable, DeValue};

/// Variables of this prefix are settings.
pub(super) const ENV_PREFIX: &str = "AUTHSEAL_";
/// Variables of the prefix that are not settings: of the command line, and of the tests.
const ENV_RESERVED: [&str; 3] = ["AUTHSEAL_CONFIG", "AUTHSEAL_LOG", "AUTHSEAL_PASSPHRASE"];
const ENV_TESTS: &str = "AUTHSEAL_TEST_";

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
    /// The text of an environment variable, for settings that want a string: `PASSWORD=123` is not a number there.
    pub raw: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table; its own place is where an unknown key is reported.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl Node {
    /// A table without entries.
    pub fn empty_table(origin: Origin) -> Self {
        Self { origin, value: Value::Table(Vec::new()), raw: None }
    }

    /// What stands behind a key, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// What stands behind a path of keys and places, such as `topics.0.name`.
    pub fn find(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, part| match &node.value {
            Value::Table(_) => node.get(part).map(|e| &e.node),
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Takes the nearest table entry at or above `path` out. False if there is none.
    pub fn remove(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        match &mut self.value {
            Value::Table(entries) => {
                let Some(place) = entries.iter().position(|e| e.key == *first) else { return false };
                if !entries[place].node.remove(rest) {
                    entries.remove(place);
                }
                true
            }
            Value::Array(items) => {
                first.parse().ok().and_then(|i: usize| items.get_mut(i)).is_some_and(|item| item.remove(rest))
            }
            _ => false,
        }
    }
}

/// Reads TOML. What cannot be read is reported; what can be is kept, so that one run shows as much as possible.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Node {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = error.span().map(|span| lines.origin(span.start));
        problems.push(Problem::at(origin, None, error.message().trim_end().replace('\n', "; ")));
    }
    let mut reader = Reader { lines, problems };
    let start = reader.lines.origin(0);
    Node { value: reader.table(table.get_ref(), &mut Vec::new()), origin: start, raw: None }
}

struct Reader<'a> {
    lines: Lines,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) -> Value {
        let mut entries: Vec<Entry> = Vec::with_capacity(table.len());
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            if let Some(node) = self.value(value.get_ref(), value.span().start, path) {
                let origin = self.lines.origin(key.span().start);
                entries.push(Entry { key: key.get_ref().to_string(), origin, node });
            }
            path.pop();
        }
        Value::Table(entries)
    }

    fn value(&mut self, value: &DeValue<'_>, at: usize, path: &mut Vec<String>) -> Option<Node> {
        let origin = self.lines.origin(at);
        let value = match value {
            DeValue::Table(table) => self.table(table, path),
            DeValue::Array(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (place, item) in items.iter().enumerate() {
                    path.push(place.to_string());
                    nodes.extend(self.value(item.get_ref(), item.span().start, path));
                    path.pop();
                }
                Value::Array(nodes)
            }
            scalar => match scalar_of(scalar) {
                Ok(value) => value,
                Err(message) => {
                    self.problems.push(Problem::at(Some(origin), Some(path.join(".")), message));
                    return None;
                }
            },
        };
        Some(Node { origin, value, raw: None })
    }
}

fn scalar_of(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("{number} does not fit into 64 bits"))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| format!("{number} is not a number"))?)
        }
        DeValue::String(text) => Value::Text(text.to_string()),
        // times of day are written as strings, so that one way of writing works in the file and in the environment
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => return Err("a value was expected".into()),
    })
}

/// Byte offsets at which lines begin.
struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text: text.to_owned(), starts }
    }

    /// Line and column of a byte, both from 1; columns are characters.
    fn origin(&self, at: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts[line - 1];
        let column = self.text.get(start..at.min(self.text.len())).map_or(1, |before| before.chars().count() + 1);
        Origin::File { line, column }
    }
}

/// Lays environment variables over the tree: `AUTHSEAL_KAFKA__BROKERS` is `kafka.brokers`, `AUTHSEAL_TOPICS__0__NAME`
/// is the name of the first topic. Other variables than `AUTHSEAL_…` are passed over.
pub(super) fn overlay(root: &mut Node, env: &[(String, String)], problems: &mut Vec<Problem>) {
    let mut settings: Vec<_> = env.iter().filter(|(name, _)| is_setting(name)).collect();
    settings.sort(); // AUTHSEAL_STORE before AUTHSEAL_STORE__BUCKET, topic 0 before topic 1
    for (name, text) in settings {
        let path = path_of(name);
        if path.iter().any(String::is_empty) {
            problems.push(Problem::at(Some(Origin::Env(name.clone())), None, "names no setting"));
        } else if let Err(message) = place(root, &path, name, text) {
            problems.push(Problem::at(Some(Origin::Env(name.clone())), Some(path.join(".")), message));
        }
    }
}

fn is_setting(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && !name.starts_with(ENV_TESTS) && !ENV_RESERVED.contains(&name)
}

/// The path that a variable names. Kafka's own property names have dots, which the environment cannot spell.
fn path_of(name: &str) -> Vec<String> {
    let lower = name[ENV_PREFIX.len()..].to_ascii_lowercase();
    let mut path: Vec<String> = lower.split("__").map(str::to_owned).collect();
    if path.len() > 2 && path[0] == "kafka" && path[1].starts_with("propert") {
        let property = path.split_off(2).join("_").replace('_', ".");
        path.push(property);
    }
    path
}

fn place(node: &mut Node, path: &[String], name: &str, text: &str) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *node = env_node(name, text);
        return Ok(());
    };
    let origin = Origin::Env(name.to_owned());
    match &mut node.value {
        Value::Table(entries) => {
            if !entries.iter().any(|e| e.key == *first) {
                let mut fresh = Node::empty_table(origin.clone());
                if first == "topics" {
                    fresh.value = Value::Array(Vec::new());
                }
                entries.push(Entry { key: first.clone(), origin, node: fresh });
            }
            match entries.iter_mut().find(|e| e.key == *first) {
                Some(entry) => {
                    entry.origin = Origin::Env(name.to_owned());
                    place(&mut entry.node, rest, name, text)
                }
                None => Ok(()),
            }
        }
        Value::Array(items) => {
            let count = items.len();
            let index: usize = first.parse().map_err(|_| format!("a number from 0 to {count} was expected"))?;
            if index == count {
                items.push(Node::empty_table(origin));
            }
            let item = items.get_mut(index).ok_or_else(|| format!("there are {count} entries: the next is {count}"))?;
            place(item, rest, name, text)
        }
        _ => Err(format!("{first:?} is below a value that has no parts")),
    }
}

/// A variable's text is TOML where it can be (numbers, booleans, arrays, quoted strings), else a string as it stands.
fn env_node(name: &str, text: &str) -> Node {
    fn convert(value: &DeValue<'_>, origin: &Origin) -> Option<Node> {
        let value = match value {
            DeValue::Table(table) => Value::Table(
                table
                    .iter()
                    .map(|(key, value)| {
                        let node = convert(value.get_ref(), origin)?;
                        Some(Entry { key: key.get_ref().to_string(), origin: origin.clone(), node })
                    })
                    .collect::<Option<_>>()?,
            ),
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| convert(item.get_ref(), origin)).collect::<Option<_>>()?)
            }
            scalar => scalar_of(scalar).ok()?,
        };
        Some(Node { origin: origin.clone(), value, raw: None })
    }
    let origin = Origin::Env(name.to_owned());
    let parsed = DeValue::parse(text).ok().and_then(|value| convert(value.get_ref(), &origin));
    let mut node = parsed.unwrap_or_else(|| Node { origin, value: Value::Text(text.to_owned()), raw: None });
    if !matches!(node.value, Value::Text(_)) {
        node.raw = Some(text.to_owned());
    }
    node
}
