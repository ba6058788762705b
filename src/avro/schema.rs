//! Avro schemas, parsed from JSON into a tree whose named types are resolved to places in a table.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// Schemas nest at most this deep; deeper ones are refused.
const MAX_DEPTH: usize = 64;

/// A type. Named types (record, enum, fixed) stand in [`Schema::named`], so that a type can refer to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the Avro specification
pub enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// Place in [`Schema::named`].
    Named(usize),
    /// A primitive type with the name of its logical type, e.g. `timestamp-micros`; a decimal with its scale, e.g.
    /// `decimal:2`.
    Logical(Box<Type>, String),
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordField {
    /// Its name.
    pub name: String,
    /// Other names it had or has.
    pub aliases: Vec<String>,
    /// Its type.
    pub r#type: Type,
}

/// A named type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Fields, in the order in which they are encoded.
    Record(Vec<RecordField>),
    /// Symbols.
    Enum(Vec<String>),
    /// So many bytes.
    Fixed(usize),
}

/// A parsed schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The outermost type.
    pub root: Type,
    /// Full names and definitions of the named types.
    pub named: Vec<(String, Named)>,
}

impl Schema {
    /// Parses the JSON text of a schema. The error says what is wrong, and where.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(text).map_err(|e| format!("the schema is not JSON: {e}"))?;
        let mut parser = Parser { named: Vec::new(), places: HashMap::new() };
        let root = parser.parse(&json, "", 0)?;
        let mut named = Vec::with_capacity(parser.named.len());
        for (name, definition) in parser.named {
            named.push((name, definition.ok_or("a named type was never defined")?));
        }
        Ok(Self { root, named })
    }

    /// The fields of the outermost record, if the schema is one.
    pub fn fields(&self) -> Option<&[RecordField]> {
        match self.root {
            Type::Named(place) => match &self.named[place].1 {
                Named::Record(fields) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    }
}

struct Parser {
    named: Vec<(String, Option<Named>)>,
    places: HashMap<String, usize>,
}

impl Parser {
    fn parse(&mut self, json: &Value, space: &str, depth: usize) -> Result<Type, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the schema nests deeper than {MAX_DEPTH}"));
        }
        match json {
            Value::String(name) => self.by_name(name, space),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.parse(b, space, depth + 1)).collect::<Result<_, _>>()?;
                Ok(Type::Union(branches))
            }
            Value::Object(object) => self.complex(object, space, depth),
            other => Err(format!("{other} is no Avro type")),
        }
    }

    fn by_name(&self, name: &str, space: &str) -> Result<Type, String> {
        Ok(match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => {
                let full = full_name(name, space);
                let place = self.places.get(&full).or_else(|| self.places.get(name));
                Type::Named(*place.ok_or_else(|| format!("type {name:?} is not defined before it is used"))?)
            }
        })
    }

    fn complex(&mut self, object: &Map<String, Value>, space: &str, depth: usize) -> Result<Type, String> {
        let kind =
            object.get("type").ok_or_else(|| format!("a type without \"type\": {}", Value::from(object.clone())))?;
        let part = |name: &str| object.get(name).ok_or_else(|| format!("{kind} without {name:?}"));
        match kind.as_str() {
            Some("array") => Ok(Type::Array(Box::new(self.parse(part("items")?, space, depth + 1)?))),
            Some("map") => Ok(Type::Map(Box::new(self.parse(part("values")?, space, depth + 1)?))),
            Some("record" | "error") => {
                let (place, space) = self.define(object, space)?;
                let fields = part("fields")?.as_array().ok_or("\"fields\" is not an array")?;
                let fields = fields.iter().map(|f| self.field(f, &space, depth)).collect::<Result<Vec<_>, _>>()?;
                self.named[place].1 = Some(Named::Record(fields));
                Ok(Type::Named(place))
            }
            Some("enum") => {
                let symbols = strings(part("symbols")?).ok_or("\"symbols\" is not an array of strings")?;
                let (place, _) = self.define(object, space)?;
                self.named[place].1 = Some(Named::Enum(symbols));
                Ok(Type::Named(place))
            }
            Some("fixed") => {
                let size = part("size")?.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n < 1 << 30);
                let (place, _) = self.define(object, space)?;
                self.named[place].1 = Some(Named::Fixed(size.ok_or("\"size\" of a fixed is no small number")?));
                Ok(Type::Named(place))
            }
            _ => {
                let inner = self.parse(kind, space, depth + 1)?;
                Ok(match object.get("logicalType").and_then(Value::as_str) {
                    Some("decimal") => {
                        let scale = object.get("scale").and_then(Value::as_u64).unwrap_or(0);
                        Type::Logical(Box::new(inner), format!("decimal:{scale}"))
                    }
                    Some(logical) => Type::Logical(Box::new(inner), logical.to_string()),
                    None => inner,
                })
            }
        }
    }

    fn field(&mut self, json: &Value, space: &str, depth: usize) -> Result<RecordField, String> {
        let name = json.get("name").and_then(Value::as_str).ok_or_else(|| format!("a field without a name: {json}"))?;
        let kind = json.get("type").ok_or_else(|| format!("field {name:?} without a type"))?;
        let r#type = self.parse(kind, space, depth + 1).map_err(|e| format!("field {name:?}: {e}"))?;
        let aliases = json.get("aliases").and_then(strings).unwrap_or_default();
        Ok(RecordField { name: name.to_string(), aliases, r#type })
    }

    /// Enters a named type before its contents are parsed, so that they can refer to it.
    fn define(&mut self, object: &Map<String, Value>, space: &str) -> Result<(usize, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type without a name")?;
        let space = object.get("namespace").and_then(Value::as_str).unwrap_or(space);
        let full = full_name(name, space);
        let space = full.rsplit_once('.').map_or("", |(space, _)| space).to_string();
        let place = self.named.len();
        if self.places.insert(full.clone(), place).is_some() {
            return Err(format!("type {full:?} is defined twice"));
        }
        self.named.push((full, None));
        Ok((place, space))
    }
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_string() } else { format!("{space}.{name}") }
}

fn strings(json: &Value) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|s| s.as_str().map(str::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_types_are_resolved_within_their_namespace_and_may_refer_to_themselves() {
        let schema = Schema::parse(
            br#"{"type":"record","name":"a.Node","fields":[
                {"name":"next","type":["null","Node"]},
                {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},
                {"name":"at","aliases":["when"],"type":{"type":"long","logicalType":"timestamp-micros"}}]}"#,
        )
        .unwrap();
        let fields = schema.fields().unwrap();
        assert_eq!(fields[0].r#type, Type::Union(vec![Type::Null, Type::Named(0)]));
        assert_eq!(fields[1].r#type, Type::Named(1));
        assert_eq!(fields[2].aliases, ["when"]);
        assert_eq!(fields[2].r#type, Type::Logical(Box::new(Type::Long), "timestamp-micros".into()));
        assert_eq!(schema.named[1], ("a.Kind".into(), Named::Enum(vec!["A".into(), "B".into()])));
    }

    #[test]
    fn bad_schemas_are_refused_with_the_place() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for (text, want) in [
            ("{", "not JSON"),
            (r#""nope""#, "not defined"),
            (r#"{"type":"record","name":"R","fields":[{"name":"f","type":"X"}]}"#, "field \"f\""),
            (r#"{"type":"enum","name":"E","symbols":[1]}"#, "symbols"),
            (r#"{"type":"record","fields":[]}"#, "without a name"),
            (deep.as_str(), "deeper"),
        ] {
            let error = Schema::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
