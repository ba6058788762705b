//! Schemas that name types of other schemas, made into one that stands by itself: what a schema registry keeps as a
//! schema and its `references`. Names are resolved as the Avro 1.12 specification has it ("Names").

use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// Schemas nest at most this deep; deeper ones are refused.
const MAX_DEPTH: usize = 64;
/// Named types of one schema and all that it refers to.
const MAX_TYPES: usize = 5_000;
/// The joined schema has at most so many bytes.
const MAX_BYTES: usize = 4 << 20;
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// A schema taken apart: each named type once, by its full name, and full names in their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flat {
    /// Definitions of the named types, whose parts name other ones.
    pub types: BTreeMap<String, Value>,
    /// The outermost type.
    pub root: Value,
}

impl Flat {
    /// Takes a schema apart. `references` come first, each behind those that it refers to. The error says what is
    /// wrong, and in which of them.
    pub fn of(schema: &[u8], references: &[(String, Vec<u8>)]) -> Result<Self, String> {
        let mut flat = Self { types: BTreeMap::new(), root: Value::Null };
        for (name, bytes) in references {
            flat.add(bytes).map_err(|e| format!("reference {name:?}: {e}"))?;
        }
        flat.root = flat.add(schema)?;
        Ok(flat)
    }

    fn add(&mut self, schema: &[u8]) -> Result<Value, String> {
        let json: Value = serde_json::from_slice(schema).map_err(|e| format!("the schema is not JSON: {e}"))?;
        self.flatten(&json, "", 0)
    }

    /// The type with full names in place of its definitions, which are taken down.
    fn flatten(&mut self, json: &Value, space: &str, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the schema nests deeper than {MAX_DEPTH}"));
        }
        match json {
            Value::String(name) if PRIMITIVES.contains(&name.as_str()) => Ok(json.clone()),
            Value::String(name) => {
                let full = full_name(name, space);
                let known = [&full, name].into_iter().find(|name| self.types.contains_key(*name));
                known.map(|name| Value::from(name.as_str())).ok_or_else(|| {
                    format!("type {name:?} is not defined before it is used, and no reference defines it")
                })
            }
            Value::Array(branches) => branches.iter().map(|branch| self.flatten(branch, space, depth + 1)).collect(),
            Value::Object(object) => self.complex(object, space, depth),
            other => Err(format!("{other} is no Avro type")),
        }
    }

    fn complex(&mut self, object: &Map<String, Value>, space: &str, depth: usize) -> Result<Value, String> {
        let kind = object.get("type").ok_or("a type without \"type\"")?;
        let part = |name: &str| object.get(name).ok_or_else(|| format!("{kind} without {name:?}"));
        let mut out = object.clone();
        match kind.as_str() {
            Some(container @ ("array" | "map")) => {
                let name = if container == "array" { "items" } else { "values" };
                out.insert(name.into(), self.flatten(part(name)?, space, depth + 1)?);
                Ok(Value::Object(out))
            }
            Some("record" | "error" | "enum" | "fixed") => {
                let name = object.get("name").and_then(Value::as_str).ok_or("a named type without a name")?;
                let space = object.get("namespace").and_then(Value::as_str).unwrap_or(space);
                let full = full_name(name, space);
                let space = full.rsplit_once('.').map_or("", |(space, _)| space);
                out.insert("name".into(), full.as_str().into());
                // a name with dots needs none; without one it would take that of the type around it
                out.shift_remove("namespace");
                if space.is_empty() {
                    out.insert("namespace".into(), "".into());
                }
                // known by its name before its parts are looked at, so that they can refer to it
                let before = self.types.insert(full.clone(), Value::Null);
                if self.types.len() > MAX_TYPES {
                    return Err(format!("the schema has more than {MAX_TYPES} named types"));
                }
                if let Some(fields) = object.get("fields") {
                    let fields = fields.as_array().ok_or("\"fields\" is not an array")?;
                    let fields = fields.iter().map(|field| self.field(field, space, depth));
                    out.insert("fields".into(), fields.collect::<Result<_, _>>()?);
                }
                let definition = Value::Object(out);
                if before.is_some_and(|before| before != definition) {
                    return Err(format!("type {full:?} is defined twice, and differently"));
                }
                self.types.insert(full.clone(), definition);
                Ok(full.into())
            }
            _ => {
                out.insert("type".into(), self.flatten(kind, space, depth + 1)?);
                Ok(Value::Object(out))
            }
        }
    }

    fn field(&mut self, field: &Value, space: &str, depth: usize) -> Result<Value, String> {
        let name =
            field.get("name").and_then(Value::as_str).ok_or_else(|| format!("a field without a name: {field}"))?;
        let kind = field.get("type").ok_or_else(|| format!("field {name:?} without a type"))?;
        let flat = self.flatten(kind, space, depth + 1).map_err(|e| format!("field {name:?}: {e}"))?;
        let mut out = field.clone();
        if let Some(object) = out.as_object_mut() {
            object.insert("type".into(), flat);
        }
        Ok(out)
    }

    /// One schema again: each named type is defined where it is first used.
    pub fn whole(&self) -> Result<Value, String> {
        self.expand(&self.root, &mut HashSet::new(), 0)
    }

    fn expand(&self, json: &Value, done: &mut HashSet<String>, depth: usize) -> Result<Value, String> {
        // a type within a type costs two levels
        if depth > 2 * MAX_DEPTH {
            return Err(format!("the schema and what it refers to nest deeper than {MAX_DEPTH}"));
        }
        let mut within = |json: &Value| self.expand(json, done, depth + 1);
        Ok(match json {
            Value::String(name) => match self.types.get(name) {
                Some(definition) if done.insert(name.clone()) => {
                    let mut definition = definition.clone();
                    if let Some(Value::Array(fields)) = definition.get_mut("fields") {
                        for field in fields {
                            if let Some(kind) = field.get_mut("type") {
                                *kind = self.expand(kind, done, depth + 1)?;
                            }
                        }
                    }
                    definition
                }
                _ => json.clone(),
            },
            Value::Array(branches) => branches.iter().map(within).collect::<Result<_, _>>()?,
            Value::Object(object) => {
                let mut object = object.clone();
                for part in ["items", "values", "type"] {
                    // `array`, `map` and the like stand for themselves: no type can be called so
                    if let Some(inner) = object.get_mut(part) {
                        *inner = within(inner)?;
                    }
                }
                Value::Object(object)
            }
            other => other.clone(),
        })
    }
}

/// One schema of a schema and those that it refers to, each behind those that it refers to itself. Without references
/// it stays as it is, byte for byte.
pub fn join(schema: &[u8], references: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    if references.is_empty() {
        return Ok(schema.to_vec());
    }
    let whole = Flat::of(schema, references)?.whole()?;
    let bytes = serde_json::to_vec(&whole).map_err(|e| e.to_string())?;
    if bytes.len() > MAX_BYTES {
        return Err("the schema and what it refers to are larger than 4 MiB".into());
    }
    Ok(bytes)
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::schema::Schema;

    fn part(name: &str, text: &str) -> (String, Vec<u8>) {
        (name.into(), text.into())
    }

    const GEO: &str = r#"{"type":"record","name":"Geo","namespace":"a","fields":[
        {"name":"country","type":"string"},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["X","Y"]}}]}"#;
    const PLACE: &str = r#"{"type":"record","name":"b.Place","fields":[
        {"name":"geo","type":"a.Geo"},{"name":"kind","type":"a.Kind"},{"name":"in","type":["null","Place"]}]}"#;
    const EVENT: &str = r#"{"type":"record","name":"b.Event","fields":[
        {"name":"from","type":["null","Place"],"default":null},
        {"name":"all","type":{"type":"array","items":"Place"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

    #[test]
    fn a_schema_and_its_references_become_one_that_other_readers_read_as_well() {
        let references = [part("geo", GEO), part("place", PLACE)];
        let joined = join(EVENT.as_bytes(), &references).unwrap();
        let ours = Schema::parse(&joined).unwrap();
        let names: Vec<&str> = ours.named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b.Event", "b.Place", "a.Geo", "a.Kind"]);
        let theirs = apache_avro::Schema::parse_list([GEO, PLACE, EVENT]).unwrap();
        let alone = apache_avro::Schema::parse_str(std::str::from_utf8(&joined).unwrap()).unwrap();
        assert_eq!(alone.canonical_form().len(), theirs[2].canonical_form().len() + inlined(&theirs));
        // what it is made of is looked at in the same order again
        assert_eq!(join(&joined, &[part("geo", GEO)]).unwrap(), joined);
    }

    /// What the definitions of the references add to a canonical form in which they stood as names.
    fn inlined(theirs: &[apache_avro::Schema]) -> usize {
        let form = |n: usize| theirs[n].canonical_form().len();
        (form(1) - "\"b.Place\"".len()) + (form(0) - "\"a.Geo\"".len())
    }

    #[test]
    fn types_without_a_namespace_keep_having_none() {
        let bare = r#"{"type":"fixed","name":"Token","size":4}"#;
        let event = r#"{"type":"record","name":"n.Event","fields":[{"name":"t","type":"Token"}]}"#;
        let joined = join(event.as_bytes(), &[part("t", bare)]).unwrap();
        assert_eq!(Schema::parse(&joined).unwrap().named[1].0, "Token", "{}", String::from_utf8_lossy(&joined));
    }

    #[test]
    fn what_cannot_be_joined_is_refused_with_the_reason() {
        let twice = GEO.replace("country", "land");
        for (schema, references, want) in [
            (EVENT, vec![], "not defined"),
            (EVENT, vec![part("place", PLACE)], "reference \"place\": field \"geo\""),
            (EVENT, vec![part("a", GEO), part("b", &twice)], "defined twice"),
            ("{", vec![part("a", GEO)], "not JSON"),
            ("7", vec![part("a", GEO)], "no Avro type"),
            (r#"{"type":"record","name":"R","fields":7}"#, vec![part("a", GEO)], "not an array"),
        ] {
            let error = match references.is_empty() {
                true => Flat::of(schema.as_bytes(), &[]).unwrap_err(),
                false => join(schema.as_bytes(), &references).unwrap_err(),
            };
            assert!(error.contains(want), "{schema}: {error}");
        }
    }

    #[test]
    fn a_hostile_schema_neither_overflows_the_stack_nor_fills_the_memory() {
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
        assert!(Flat::of(deep.as_bytes(), &[]).unwrap_err().contains("deeper"));
        // a chain of records, each within the next
        let mut references = vec![part("0", r#"{"type":"record","name":"R0","fields":[]}"#)];
        for n in 1..200 {
            let below = n - 1;
            let text = format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":"R{below}"}}]}}"#);
            references.push(part(&n.to_string(), &text));
        }
        assert!(join(br#"{"type":"array","items":"R199"}"#, &references).unwrap_err().contains("deeper"));
    }
}
