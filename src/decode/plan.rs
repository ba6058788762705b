//! Compiles a writer's schema into steps: which field of the event each value becomes, and how it is read.

use super::guard::{Mark, Rules, names};
use crate::{
    avro::schema::{Named, RecordField, Schema, Type},
    event::{Field, FieldType, Text},
};

/// How a value is encoded.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// Null, and whatever else takes no bytes however often it stands there.
    Void,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    /// Symbols.
    Enum(Box<[Text]>),
    /// A long that counts from 1970.
    Moment(Unit),
    /// An int that counts days from 1970.
    Date,
    /// Bytes with this scale.
    Decimal(u32),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Box<[Node]>),
    /// Place in [`Plan::records`].
    Record(usize),
}

/// What a long counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// In microseconds, if that can be told in 64 bits.
    #[inline]
    pub fn micros(self, count: i64) -> Option<i64> {
        match self {
            Self::Millis => count.checked_mul(1000),
            Self::Micros => Some(count),
            Self::Nanos => Some(count.div_euclid(1000)),
        }
    }
}

/// A field of a record within the event.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub name: Text,
    /// What the name says.
    pub class: names::Class,
    pub node: Node,
}

impl Member {
    /// What is known of the value, given its path and what is known of the record.
    pub fn mark(&self, path: &str, rules: &Rules, outer: Mark) -> Mark {
        Mark { secret: outer.secret || rules.is_secret(path), class: self.class.within(outer.class) }
    }
}

/// What becomes of one value of the outermost record.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub name: Text,
    /// The field of the event; none, and it becomes an attribute.
    pub field: Option<Field>,
    /// The same, wherever `how` is not [`How::Other`].
    pub target: Field,
    pub mark: Mark,
    /// The byte that says that there is no value: the branch of null, or the end of an array or map.
    pub nothing: Option<u8>,
    /// The branch of the type that `how` reads, in a union of it and null.
    pub branch: Option<i64>,
    pub how: How,
    /// The whole type, for [`How::Other`].
    pub node: Node,
}

/// The quick ways of reading, for values that have the type of their field.
#[derive(Debug, Clone)]
pub(crate) enum How {
    Text,
    /// A number of more than 32 bits is no int.
    Int,
    Long,
    Double,
    Boolean,
    Moment(Unit),
    /// For each symbol of the writer the number of the event's, or [`NO_SYMBOL`].
    Enum(Box<[u8]>),
    Map,
    /// Everything else.
    Other,
}

/// A symbol that the event does not know.
pub(crate) const NO_SYMBOL: u8 = u8::MAX;

/// A compiled schema.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub records: Vec<Vec<Member>>,
    /// Whether some field is named as material that must not be kept, so that bytes which do not decode are not kept.
    pub marked: Option<Mark>,
}

impl Plan {
    /// Compiles a schema. The error says what is wrong with it.
    pub fn new(schema: &Schema, rules: &Rules) -> Result<Self, String> {
        let fields = schema.fields().ok_or("the schema is not a record: its fields are what is read")?;
        let compiler = Compiler { schema, void: void_types(schema), rules };
        let targets = targets(fields);
        let steps: Vec<Step> = fields.iter().zip(targets).map(|(field, target)| compiler.step(field, target)).collect();
        let records = schema.named.iter().map(|(_, named)| compiler.members(named)).collect::<Vec<_>>();
        let within = records.iter().flatten().map(|member| member.mark(&member.name, rules, Mark::default()));
        let marked = steps.iter().map(|step| step.mark).chain(within).find(|mark| mark.is_set());
        Ok(Self { steps, records, marked })
    }
}

/// For each field of the writer the field of the event that it becomes: by its name, else by an alias that no other
/// field has taken.
pub(super) fn targets(fields: &[RecordField]) -> Vec<Option<Field>> {
    let mut taken: Vec<Field> = fields.iter().filter_map(|field| Field::from_name(&field.name)).collect();
    let mut target = |field: &RecordField| {
        Field::from_name(&field.name).or_else(|| {
            let mut aliases = field.aliases.iter().filter_map(|alias| Field::from_name(alias));
            let found = aliases.find(|alias| !taken.contains(alias))?;
            taken.push(found);
            Some(found)
        })
    };
    fields.iter().map(&mut target).collect()
}

/// Which named types take no bytes. Starts from "all" and takes back what is refuted, so that types which hold
/// themselves come to an end.
fn void_types(schema: &Schema) -> Vec<bool> {
    let mut void = vec![true; schema.named.len()];
    loop {
        let next: Vec<bool> = schema
            .named
            .iter()
            .map(|(_, named)| match named {
                Named::Record(fields) => fields.iter().all(|field| is_void(&field.r#type, &void)),
                Named::Enum(_) => false,
                Named::Fixed(size) => *size == 0,
            })
            .collect();
        // only ever from true to false
        let next: Vec<bool> = next.iter().zip(&void).map(|(next, before)| *next && *before).collect();
        if next == void {
            return void;
        }
        void = next;
    }
}

fn is_void(kind: &Type, void: &[bool]) -> bool {
    match kind {
        Type::Null => true,
        Type::Named(place) => void[*place],
        Type::Logical(inner, _) => is_void(inner, void),
        _ => false,
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    void: Vec<bool>,
    rules: &'a Rules,
}

impl Compiler<'_> {
    fn step(&self, field: &RecordField, target: Option<Field>) -> Step {
        let node = self.node(&field.r#type);
        let secret_target = target.is_some_and(|field| self.rules.is_secret_field(field));
        let mut mark = self.rules.mark(&field.name, &field.name, Mark::default());
        mark.secret |= secret_target;
        let (branch, inner) = match &node {
            Node::Union(branches) => match &branches[..] {
                [Node::Void, inner] => (Some(1), inner),
                [inner, Node::Void] => (Some(0), inner),
                _ => (None, &node),
            },
            _ => (None, &node),
        };
        let how = match target {
            Some(target) if !mark.is_set() => how(target, inner),
            _ => How::Other,
        };
        let branch = if matches!(how, How::Other) { None } else { branch };
        let nothing = match &node {
            Node::Union(branches) => {
                branches.iter().take(64).position(|b| matches!(b, Node::Void)).map(|at| at as u8 * 2)
            }
            Node::Array(_) | Node::Map(_) => Some(0),
            _ => None,
        };
        let (name, quick) = (field.name.as_str().into(), target.unwrap_or(Field::event_id));
        Step { name, field: target, target: quick, mark, nothing, branch, how, node }
    }

    fn members(&self, named: &Named) -> Vec<Member> {
        let Named::Record(fields) = named else { return Vec::new() };
        let member = |field: &RecordField| Member {
            name: field.name.as_str().into(),
            class: names::read(&field.name),
            node: self.node(&field.r#type),
        };
        fields.iter().map(member).collect()
    }

    fn node(&self, kind: &Type) -> Node {
        if is_void(kind, &self.void) {
            return Node::Void;
        }
        match kind {
            Type::Null => Node::Void,
            Type::Boolean => Node::Boolean,
            Type::Int => Node::Int,
            Type::Long => Node::Long,
            Type::Float => Node::Float,
            Type::Double => Node::Double,
            Type::Bytes => Node::Bytes,
            Type::String => Node::String,
            Type::Array(items) => Node::Array(Box::new(self.node(items))),
            Type::Map(values) => Node::Map(Box::new(self.node(values))),
            Type::Union(branches) => Node::Union(branches.iter().map(|branch| self.node(branch)).collect()),
            Type::Named(place) => match &self.schema.named[*place].1 {
                Named::Record(_) => Node::Record(*place),
                Named::Enum(symbols) => Node::Enum(symbols.iter().map(|symbol| symbol.as_str().into()).collect()),
                Named::Fixed(size) => Node::Fixed(*size),
            },
            Type::Logical(inner, logical) => self.logical(inner, logical),
        }
    }

    /// A logical type that is unknown, or does not fit its type, is read as the type: so the specification wants it.
    fn logical(&self, inner: &Type, logical: &str) -> Node {
        match (inner, logical) {
            (Type::Long, "timestamp-millis" | "local-timestamp-millis") => Node::Moment(Unit::Millis),
            (Type::Long, "timestamp-micros" | "local-timestamp-micros") => Node::Moment(Unit::Micros),
            (Type::Long, "timestamp-nanos" | "local-timestamp-nanos") => Node::Moment(Unit::Nanos),
            (Type::Int, "date") => Node::Date,
            (Type::Bytes, decimal) if decimal.starts_with("decimal:") => match decimal["decimal:".len()..].parse() {
                Ok(scale) => Node::Decimal(scale),
                Err(_) => Node::Bytes,
            },
            _ => self.node(inner),
        }
    }
}

/// The quick way of reading a value into a field, if there is one.
fn how(target: Field, node: &Node) -> How {
    match (target.field_type(), node) {
        (FieldType::Text | FieldType::OptText, Node::String) => How::Text,
        (FieldType::Micros | FieldType::OptMicros, Node::Moment(unit)) => How::Moment(*unit),
        (FieldType::OptLong | FieldType::OptInt, Node::Int) => How::Int,
        (FieldType::OptLong | FieldType::OptInt, Node::Long) => How::Long,
        (FieldType::OptDouble, Node::Double) => How::Double,
        (FieldType::OptBool, Node::Boolean) => How::Boolean,
        (FieldType::Enum(ours, _), Node::Enum(theirs)) => {
            let place = |symbol: &Text| ours.iter().position(|s| s.eq_ignore_ascii_case(symbol));
            How::Enum(theirs.iter().map(|symbol| place(symbol).map_or(NO_SYMBOL, |place| place as u8)).collect())
        }
        (FieldType::Map, Node::Map(values)) if matches!(**values, Node::String) => How::Map,
        _ => How::Other,
    }
}
