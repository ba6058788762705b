//! Whether data of one schema can be read with another: schema resolution of the Avro 1.12 specification, without data.

use super::join::Flat;
use serde_json::Value;
use std::collections::HashSet;

/// Why data of the writer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Where: field names, with dots; empty for the schema itself.
    pub path: String,
    /// What.
    pub what: String,
}

/// What stands in the way of reading data of `writer` with `reader`: nothing, if all of it can be read.
pub fn obstacles(reader: &Flat, writer: &Flat) -> Vec<Obstacle> {
    let mut compare = Compare { reader, writer, seen: HashSet::new() };
    let mut found = Vec::new();
    compare.types(&reader.root, &writer.root, "", &mut found);
    found
}

struct Compare<'a> {
    reader: &'a Flat,
    writer: &'a Flat,
    /// Pairs of named types that are looked at, or were: types may hold themselves.
    seen: HashSet<(String, String)>,
}

/// The type without the logical type around it, with the definition of its name.
fn plain<'a>(flat: &'a Flat, json: &'a Value) -> &'a Value {
    match json {
        Value::String(name) => flat.types.get(name).unwrap_or(json),
        Value::Object(object) => match object.get("type") {
            Some(Value::String(kind)) if ["array", "map"].contains(&kind.as_str()) => json,
            Some(inner) if !object.contains_key("name") => plain(flat, inner),
            _ => json,
        },
        other => other,
    }
}

/// `int`, `record` …; `union` of an array.
fn kind(json: &Value) -> &str {
    match json {
        Value::String(name) => name,
        Value::Array(_) => "union",
        other => other.get("type").and_then(Value::as_str).unwrap_or_default(),
    }
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(json: &'a Value, name: &str) -> Vec<&'a str> {
    json.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Whether the reader takes a named type of the writer for its own: by its name without the namespace, or by an alias.
fn is_called(reader: &Value, writer: &Value) -> bool {
    let theirs = text(writer, "name");
    let named = |name: &str| name == theirs || last(name) == last(theirs);
    named(text(reader, "name")) || texts(reader, "aliases").iter().any(|alias| named(alias))
}

impl Compare<'_> {
    fn types(&mut self, reader: &Value, writer: &Value, path: &str, found: &mut Vec<Obstacle>) {
        let (r, w) = (plain(self.reader, reader).clone(), plain(self.writer, writer).clone());
        let mut wrong = |what: String| found.push(Obstacle { path: path.to_owned(), what });
        match (kind(&r), kind(&w)) {
            (_, "union") => {
                for branch in w.as_array().into_iter().flatten() {
                    self.types(&r, branch, path, found);
                }
            }
            ("union", written) => {
                let branches: Vec<Value> = r.as_array().cloned().unwrap_or_default();
                let fits = branches.iter().any(|branch| {
                    let (mut tried, seen) = (Vec::new(), self.seen.clone());
                    self.types(branch, &w, path, &mut tried);
                    if !tried.is_empty() {
                        self.seen = seen;
                    }
                    tried.is_empty()
                });
                if !fits {
                    let shown: Vec<&str> = branches.iter().map(|branch| kind(plain(self.reader, branch))).collect();
                    wrong(format!("{written} is in none of the branches {}", shown.join(", ")));
                }
            }
            ("array", "array") => self.parts(&r, &w, "items", path, found),
            ("map", "map") => self.parts(&r, &w, "values", path, found),
            (named @ ("record" | "enum" | "fixed"), other) if named == other => self.named(&r, &w, path, found),
            (read, written) if read == written || promotes(written, read) => {}
            (read, written) => wrong(format!("{written} cannot be read as {read}")),
        }
    }

    fn parts(&mut self, r: &Value, w: &Value, part: &str, path: &str, found: &mut Vec<Obstacle>) {
        if let (Some(r), Some(w)) = (r.get(part), w.get(part)) {
            self.types(r, w, path, found);
        }
    }

    fn named(&mut self, r: &Value, w: &Value, path: &str, found: &mut Vec<Obstacle>) {
        let names = (text(r, "name").to_owned(), text(w, "name").to_owned());
        let mut wrong = |what: String| found.push(Obstacle { path: path.to_owned(), what });
        if !is_called(r, w) {
            return wrong(format!("{} is called {}, and that is no alias of it", names.1, names.0));
        }
        match kind(r) {
            "fixed" => {
                let size = |json: &Value| json.get("size").and_then(Value::as_u64);
                if size(r) != size(w) {
                    wrong("the fixed has another size".into());
                }
            }
            "enum" => {
                let ours = texts(r, "symbols");
                let lacks: Vec<&str> =
                    texts(w, "symbols").into_iter().filter(|symbol| !ours.contains(symbol)).collect();
                if !lacks.is_empty() && r.get("default").is_none() {
                    wrong(format!("the enum lacks {} and has no default", lacks.join(", ")));
                }
            }
            _ if self.seen.insert(names) => self.fields(r, w, path, found),
            _ => {}
        }
    }

    fn fields(&mut self, r: &Value, w: &Value, path: &str, found: &mut Vec<Obstacle>) {
        let fields = |json: &Value| json.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        let written = fields(w);
        for field in fields(r) {
            let name = text(&field, "name");
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let aliases = texts(&field, "aliases");
            let theirs = written.iter().find(|other| text(other, "name") == name);
            let theirs = theirs.or_else(|| written.iter().find(|other| aliases.contains(&text(other, "name"))));
            match (theirs, field.get("type")) {
                (Some(other), Some(kind)) => {
                    if let Some(written) = other.get("type") {
                        self.types(kind, written, &below, found);
                    }
                }
                _ if field.get("default").is_none() => {
                    found.push(Obstacle {
                        path: below,
                        what: "the data does not have it, and it has no default".into(),
                    });
                }
                _ => {}
            }
        }
    }
}

/// Whether values of the one primitive type are read as the other.
fn promotes(from: &str, to: &str) -> bool {
    matches!(
        (from, to),
        ("int", "long" | "float" | "double")
            | ("long", "float" | "double")
            | ("float", "double")
            | ("string", "bytes")
            | ("bytes", "string")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(fields: &str) -> Flat {
        let text = format!(r#"{{"type":"record","name":"a.E","fields":[{fields}]}}"#);
        Flat::of(text.as_bytes(), &[]).unwrap()
    }

    /// The obstacles of reading the second with the first, as `path: what`.
    fn told(reader: &str, writer: &str) -> Vec<String> {
        let found = obstacles(&flat(reader), &flat(writer));
        // apache-avro answers the same question
        let theirs = |fields: &str| {
            let text = format!(r#"{{"type":"record","name":"a.E","fields":[{fields}]}}"#);
            apache_avro::Schema::parse_str(&text).unwrap()
        };
        let (r, w) = (theirs(reader), theirs(writer));
        use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
        let oracle = SchemaCompatibility::can_read(&w, &r) == Ok(Compatibility::Full);
        assert_eq!(found.is_empty(), oracle, "{reader} {writer}: {found:?}");
        found.into_iter().map(|o| format!("{}: {}", o.path, o.what)).collect()
    }

    #[test]
    fn fields_come_and_go_with_defaults() {
        let (a, b) = (r#"{"name":"a","type":"string"}"#, r#"{"name":"b","type":["null","int"],"default":null}"#);
        let both = format!("{a},{b}");
        assert_eq!(told(&both, a), Vec::<String>::new());
        assert_eq!(told(a, &both), Vec::<String>::new());
        assert_eq!(told(a, b), ["a: the data does not have it, and it has no default"]);
        let more = r#"{"name":"b","type":"int"}"#;
        assert_eq!(told(more, b), ["b: null cannot be read as int"]);
        assert_eq!(told(b, more), Vec::<String>::new());
    }

    #[test]
    fn types_are_promoted_and_not_narrowed() {
        for (read, written, good) in [
            ("\"long\"", "\"int\"", true),
            ("\"int\"", "\"long\"", false),
            ("\"double\"", "\"long\"", true),
            ("\"string\"", "\"bytes\"", true),
            ("\"string\"", "\"int\"", false),
            (r#"["null","long"]"#, "\"int\"", true),
            (r#"["null","string"]"#, "\"int\"", false),
            (r#"{"type":"array","items":"long"}"#, r#"{"type":"array","items":"int"}"#, true),
            (r#"{"type":"map","values":"int"}"#, r#"{"type":"map","values":"string"}"#, false),
            (
                r#"{"type":"enum","name":"K","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"K","symbols":["B"]}"#,
                true,
            ),
            (r#"{"type":"enum","name":"K","symbols":["A"]}"#, r#"{"type":"enum","name":"K","symbols":["B"]}"#, false),
            (r#"{"type":"fixed","name":"F","size":4}"#, r#"{"type":"fixed","name":"F","size":5}"#, false),
        ] {
            let field = |kind: &str| format!(r#"{{"name":"f","type":{kind}}}"#);
            assert_eq!(told(&field(read), &field(written)).is_empty(), good, "{read} {written}");
        }
        let moment = r#"{"name":"f","type":{"type":"long","logicalType":"timestamp-millis"}}"#;
        assert_eq!(obstacles(&flat(moment), &flat(r#"{"name":"f","type":"int"}"#)), []);
    }

    #[test]
    fn aliases_and_types_that_hold_themselves_are_followed() {
        let old = flat(r#"{"name":"login","type":"string"}"#);
        let new = flat(r#"{"name":"user","aliases":["login"],"type":"string"}"#);
        assert_eq!(obstacles(&new, &old), []);
        assert_eq!(obstacles(&old, &new).len(), 1);
        let list = |kind: &str| {
            flat(&format!(
                r#"{{"name":"n","type":{{"type":"record","name":"N","fields":[
                {{"name":"v","type":"{kind}"}},{{"name":"next","type":["null","N"]}}]}}}}"#
            ))
        };
        assert_eq!(obstacles(&list("long"), &list("int")), []);
        assert_eq!(obstacles(&list("int"), &list("long"))[0].path, "n.v");
    }
}
