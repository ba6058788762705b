//! The schema that segments carry, and how the leaves of a file are laid out by the schema in that file.
//!
//! The fields of `authseal.SealedRecord` are fixed in authseal/segment@1. The fields of `authseal.AuthEvent` grow: a
//! file is
//! read by its own list, whatever authseal wrote it.

use crate::{
    avro::schema::{Named, RecordField, Schema, Type},
    digest::Digest,
    event::{Field, FieldType},
    fault::{Fault, code},
};
use serde_json::Value;
use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

/// The schema as people read it.
const SOURCE: &str = include_str!("../../schemas/sealed_record.avsc");
/// Who owns the names.
const SEALED: &str = "authseal.SealedRecord";
const EVENT: &str = "authseal.AuthEvent";

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut schema: Value = serde_json::from_str(SOURCE).unwrap_or_default();
    strip_docs(&mut schema);
    schema.to_string().into_bytes()
});
static DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::of(&BYTES));
static PLAN: LazyLock<Result<Arc<Plan>, Fault>> = LazyLock::new(|| Plan::compile(&BYTES).map(Arc::new));

/// The `avro.schema` bytes that this version writes: `schemas/sealed_record.avsc` without its docs and whitespace.
pub fn schema_bytes() -> &'static [u8] {
    &BYTES
}

/// SHA-256 of [`schema_bytes`]: `schema` of every manifest that this version writes.
pub fn schema_digest() -> Digest {
    *DIGEST
}

/// The first 16 bytes of SHA-256(`avro.schema` bytes ‖ root): it separates the blocks of one segment and of no other.
pub fn sync_marker(schema: &[u8], root: &Digest) -> [u8; 16] {
    let mut marker = [0; 16];
    marker.copy_from_slice(&Digest::of_parts(&[schema, &root.0]).0[..16]);
    marker
}

fn strip_docs(json: &mut Value) {
    match json {
        Value::Object(object) => {
            object.shift_remove("doc");
            object.values_mut().for_each(strip_docs);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_docs),
        _ => {}
    }
}

/// How a field of an event is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// string
    Text,
    /// long, and its logical types
    Long,
    /// int
    Int,
    /// double
    Double,
    /// boolean
    Bool,
    /// enum, by the symbols of the file
    Enum(Vec<String>),
    /// array of string
    Texts,
    /// map of string
    Map,
}

/// One field of the events in a file.
#[derive(Debug, Clone)]
pub struct Step {
    /// The field as this version knows it; `None` when another version added it.
    pub field: Option<Field>,
    /// Whether it is a union with null.
    pub optional: bool,
    /// How it is encoded.
    pub shape: Shape,
    /// How many optional fields stand here one after the other, this one included.
    pub run: usize,
}

/// How the leaves of a file are laid out.
#[derive(Debug)]
pub struct Plan {
    /// Fields of an event, in the order of the file.
    pub event: Vec<Step>,
}

impl Plan {
    /// The plan for a file with these `avro.schema` bytes.
    pub fn of(schema: &[u8]) -> Result<Arc<Self>, Fault> {
        if schema == schema_bytes() {
            return PLAN.clone();
        }
        Self::compile(schema).map(Arc::new)
    }

    fn compile(text: &[u8]) -> Result<Self, Fault> {
        let wrong = |what: String| Fault::new(code::SCHEMA_FORM, what);
        let schema = Schema::parse(text).map_err(wrong)?;
        let Type::Named(root) = schema.root else { return Err(wrong("the schema is no record".into())) };
        let Some((SEALED, Named::Record(fields))) = schema.named.get(root).map(|(n, t)| (n.as_str(), t)) else {
            return Err(wrong(format!("the schema is not of {SEALED}")));
        };
        if fields.len() != OUTER.len() {
            return Err(wrong(format!("{SEALED} has {} fields, not {}", fields.len(), OUTER.len())));
        }
        for (field, (name, shape)) in fields.iter().zip(OUTER) {
            let found = render(&schema, &field.r#type, 0);
            if field.name != *name || found != *shape {
                return Err(wrong(format!("field {:?} of {SEALED} is {found}, not {name:?} as {shape}", field.name)));
            }
        }
        let event = schema.named.iter().find_map(|(name, named)| match named {
            Named::Record(fields) if name == EVENT => Some(fields),
            _ => None,
        });
        let event = event.ok_or_else(|| wrong(format!("the schema does not define {EVENT}")))?;
        Ok(Self { event: steps(&schema, event).map_err(wrong)? })
    }
}

/// Names and types of a sealed record's fields, as [`render`] writes types.
const OUTER: &[(&str, &str)] = &[
    ("offset", "long"),
    ("kind", "enum authseal.Kind(EVENT,REJECTION,OPAQUE,GAP)"),
    ("timestamp", "long"),
    ("timestamp_type", "enum authseal.TimestampType(NONE,CREATE_TIME,LOG_APPEND_TIME)"),
    ("key", "[null,bytes]"),
    ("headers", "array<authseal.Header{key:bytes,value:[null,bytes]}>"),
    ("value", "[null,bytes]"),
    ("withheld", "[null,authseal.Withheld{code:string,length:long,mac:bytes}]"),
    ("protection", "[null,authseal.Protection{scheme:string,key_id:string,nonce:bytes,ciphertext:bytes}]"),
    ("event", "[null,authseal.AuthEvent]"),
    ("rejection", "[null,authseal.Rejection{code:string,detail:string}]"),
    ("gap", "[null,authseal.Gap{to:long,cause:string}]"),
];

/// A type in few words. Deep or long types are cut: they equal none of [`OUTER`].
fn render(schema: &Schema, of: &Type, depth: usize) -> String {
    if depth > 4 {
        return "…".into();
    }
    let inner = |of: &Type| render(schema, of, depth + 1);
    match of {
        Type::Array(items) => format!("array<{}>", inner(items)),
        Type::Map(values) => format!("map<{}>", inner(values)),
        Type::Union(branches) if branches.len() <= 2 => {
            format!("[{}]", branches.iter().map(inner).collect::<Vec<_>>().join(","))
        }
        Type::Union(_) => "a large union".into(),
        Type::Logical(of, name) => format!("{} {name}", inner(of)),
        Type::Named(place) => match schema.named.get(*place) {
            Some((name, Named::Enum(symbols))) => format!("enum {name}({})", symbols.join(",")),
            Some((name, Named::Record(fields))) if name != EVENT && fields.len() <= 4 => {
                let fields: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name, inner(&f.r#type))).collect();
                format!("{name}{{{}}}", fields.join(","))
            }
            Some((name, _)) => name.clone(),
            None => "undefined".into(),
        },
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

fn steps(schema: &Schema, fields: &[RecordField]) -> Result<Vec<Step>, String> {
    let mut seen = HashSet::new();
    let mut steps = Vec::with_capacity(fields.len());
    for field in fields {
        if !seen.insert(&field.name) {
            return Err(format!("field {:?} of {EVENT} is there twice", field.name));
        }
        let step = step(schema, field);
        steps.push(step.ok_or_else(|| format!("field {:?} of {EVENT} has a type that it cannot have", field.name))?);
    }
    if !steps.iter().any(|step| step.field == Some(Field::time)) {
        return Err(format!("{EVENT} has no field \"time\""));
    }
    let mut run = 0;
    for step in steps.iter_mut().rev() {
        run = if step.optional { run + 1 } else { 0 };
        step.run = run;
    }
    Ok(steps)
}

fn step(schema: &Schema, field: &RecordField) -> Option<Step> {
    let (optional, of) = match &field.r#type {
        Type::Union(branches) => match &branches[..] {
            [Type::Null, of] => (true, of),
            _ => return None,
        },
        of => (false, of),
    };
    let shape = shape(schema, of)?;
    let known = Field::from_name(&field.name);
    // a field never changes its type: else old and new readers would see different events in the same bytes
    let same = known.is_none_or(|known| match (known.field_type(), optional, &shape) {
        (FieldType::Text, false, Shape::Text) | (FieldType::OptText, true, Shape::Text) => true,
        (FieldType::Micros, false, Shape::Long) | (FieldType::OptMicros, true, Shape::Long) => is_micros(of),
        (FieldType::OptLong, true, Shape::Long) => *of == Type::Long,
        (FieldType::OptInt, true, Shape::Int) => true,
        (FieldType::OptDouble, true, Shape::Double) | (FieldType::OptBool, true, Shape::Bool) => true,
        (FieldType::Enum(..), false, Shape::Enum(_)) => true,
        (FieldType::Texts, false, Shape::Texts) | (FieldType::Map, false, Shape::Map) => true,
        _ => false,
    });
    same.then_some(Step { field: known, optional, shape, run: 0 })
}

fn is_micros(of: &Type) -> bool {
    matches!(of, Type::Logical(_, name) if name == "timestamp-micros")
}

fn shape(schema: &Schema, of: &Type) -> Option<Shape> {
    Some(match of {
        Type::String => Shape::Text,
        Type::Long => Shape::Long,
        Type::Int => Shape::Int,
        Type::Double => Shape::Double,
        Type::Boolean => Shape::Bool,
        Type::Logical(of, _) if **of == Type::Long => Shape::Long,
        Type::Array(items) if **items == Type::String => Shape::Texts,
        Type::Map(values) if **values == Type::String => Shape::Map,
        Type::Named(place) => match &schema.named.get(*place)?.1 {
            Named::Enum(symbols) => Shape::Enum(symbols.clone()),
            _ => return None,
        },
        _ => return None,
    })
}
