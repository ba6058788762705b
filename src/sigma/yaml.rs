//! YAML as Sigma rules use it, with the place of everything. Files come from strangers: what Sigma never needs
//! (aliases, tags, keys that are no names, keys twice) is refused, and size, depth and number of nodes are bounded.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::collections::BTreeSet;

/// Line and column, from 1.
pub(super) type At = (usize, usize);

/// Bytes of a file.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// How deep lists and maps nest.
const DEEPEST: usize = 16;
/// Nodes of a file, keys counted.
const MOST_NODES: usize = 20_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Where it begins.
    pub at: At,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Null,
    /// A string, number or truth value, as written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: At,
    /// The value.
    pub value: Node,
}

/// Why a file cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where.
    pub at: At,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Node {
    /// The entry called `key`, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// The texts of a list, or the one text: how Sigma writes lists of one.
    pub fn texts(&self) -> Option<Vec<(&str, At)>> {
        match &self.kind {
            Kind::Text(text) => Some(vec![(text, self.at)]),
            Kind::List(items) => items.iter().map(|item| item.text().map(|text| (text, item.at))).collect(),
            Kind::Null => Some(Vec::new()),
            Kind::Map(_) => None,
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Text(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Reads all documents of a file. Those before a fault are returned with it.
pub(super) fn read(text: &str) -> (Vec<Node>, Option<Fault>) {
    let mut documents = Vec::new();
    if text.len() > MOST_BYTES {
        let message = format!("the file has {} bytes; a Sigma file has at most {MOST_BYTES}", text.len());
        return (documents, Some(Fault { at: (1, 1), message }));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    let fault = reader.stream(&mut documents).err();
    (documents, fault)
}

type Step<'a> = Result<(Event<'a>, At), Fault>;

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

fn place(span: &Span) -> At {
    (span.start.line().max(1), span.start.col() + 1)
}

fn fault(at: At, message: impl Into<String>) -> Fault {
    Fault { at, message: message.into() }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Step<'a> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, place(&span))),
            Some(Err(error)) => Err(scan_fault(&error)),
            None => Err(fault((1, 1), "the file ends too early")),
        }
    }

    fn stream(&mut self, documents: &mut Vec<Node>) -> Result<(), Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, at) => {
                    let node = self.node(event, at, 0)?;
                    if node.kind != Kind::Null {
                        documents.push(node);
                    }
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: At, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(fault(at, format!("more than {MOST_NODES} values: split the file")));
        }
        if depth > DEEPEST {
            return Err(fault(at, format!("it nests deeper than {DEEPEST}: no Sigma rule does")));
        }
        let tagged = |has: bool| {
            let message = "YAML tags (`!name`) and anchors (`&name`) are not taken: write the plain value";
            if has { Err(fault(at, message)) } else { Ok(()) }
        };
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                tagged(anchor != 0 || tag.is_some())?;
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                if null { Kind::Null } else { Kind::Text(text.into_owned()) }
            }
            Event::SequenceStart(anchor, tag) => {
                tagged(anchor != 0 || tag.is_some())?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                tagged(anchor != 0 || tag.is_some())?;
                self.map(depth)?
            }
            Event::Alias(_) => {
                return Err(fault(at, "YAML aliases (`*name`) are not taken: write the value out"));
            }
            _ => return Err(fault(at, "the YAML ends in the middle of a value")),
        };
        Ok(Node { at, kind })
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known = BTreeSet::new();
        loop {
            let (event, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Kind::Map(entries)),
                other => other,
            };
            let key = match self.node(event, at, depth + 1)?.kind {
                Kind::Text(key) => key,
                Kind::Null => String::new(),
                Kind::List(_) | Kind::Map(_) => return Err(fault(at, "a key must be a name")),
            };
            if key == "<<" {
                return Err(fault(at, "YAML merge keys (`<<`) are not taken: write the values out"));
            }
            if !known.insert(key.clone()) {
                return Err(fault(at, format!("the key `{}` stands twice in this map", shown(&key))));
            }
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            entries.push(Entry { key, at, value });
        }
    }
}

fn scan_fault(error: &ScanError) -> Fault {
    let at = (error.marker().line().max(1), error.marker().col() + 1);
    if error.info().contains("recursion") {
        // the parser's own bound, which is reached first where it has to look ahead
        return fault(at, "it nests too deep: no Sigma rule does");
    }
    let hint = if error.info().contains("tab") { ": YAML is indented with spaces" } else { "" };
    fault(at, format!("this is no valid YAML: {}{hint}", shown(error.info())))
}

/// A text for messages: short, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let (_, fault) = read(text);
        let fault = fault.unwrap_or_else(|| panic!("accepted: {}", shown(text)));
        format!("{}:{}: {}", fault.at.0, fault.at.1, fault.message)
    }

    #[test]
    fn documents_come_with_their_places() {
        let (documents, fault) = read("---\ntitle: a\nlist:\n  - 1\n  - null\n---\n---\n'x': \"null\"\n");
        assert_eq!((documents.len(), fault), (2, None));
        let list = documents[0].get("list").unwrap();
        assert_eq!(list.at, (4, 3));
        let Kind::List(items) = &list.kind else { panic!("{list:?}") };
        assert_eq!((items[0].text(), &items[1].kind, items[1].at), (Some("1"), &Kind::Null, (5, 5)));
        assert_eq!(documents[1].get("x").unwrap().text(), Some("null"), "quoted, it is a text");
    }

    #[test]
    fn what_sigma_never_needs_is_refused_at_its_place() {
        for (text, wanted) in [
            ("a: &x [1]\nb: *x\n", "1:4: YAML tags"),
            ("b: *x\n", "this is no valid YAML"),
            ("a: !!binary aGk=\n", "1:4: YAML tags"),
            ("a: 1\na: 2\n", "2:1: the key `a` stands twice"),
            ("? [a]\n: 1\n", "a key must be a name"),
            ("a:\n  <<: {b: 1}\n", "2:3: YAML merge keys"),
            ("a: [1, 2\nb: 3\n", "this is no valid YAML"),
            ("a:\n\tb: 1\n", "this is no valid YAML"),
        ] {
            let found = refused(text);
            assert!(found.contains(wanted), "{text:?}: {found}");
        }
    }

    #[test]
    fn hostile_files_are_refused_soon() {
        let brackets = refused(&"[".repeat(100_000));
        assert!(brackets.contains("it nests"), "{brackets}");
        assert!(refused(&"- ".repeat(100_000)).contains("nests deeper than 16"));
        assert!(refused(&"- 1\n".repeat(100_000)).contains("more than 20000 values"));
        assert!(refused(&"x".repeat(MOST_BYTES + 1)).contains("at most 1048576"));
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
        assert!(refused(bomb).contains("anchors"));
    }

    #[test]
    fn documents_before_a_fault_are_kept() {
        let (documents, fault) = read("title: a\n---\ntitle: [\n");
        assert_eq!(documents.len(), 1);
        assert!(fault.is_some());
    }
}
