//! apache-avro as the oracle: it writes random events under random writer schemas, and the decoder must read what was
//! written, field by field.

use crate::{decode, decoder, event, file, hostile::Random};
use apache_avro::{Schema, types::Value, writer::datum::GenericDatumWriter};
use authseal::{
    decode::{CANONICAL_SCHEMA, Format},
    event::{AuthEvent, Field, FieldType, Micros, Slot, Text},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};

const NOW: i64 = 1_765_349_748_123_456;

/// A writer's type.
#[derive(Debug, Clone)]
enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Moment(&'static str),
    Date,
    Enum(String, Vec<String>),
    Fixed(String, usize),
    Array(Box<Kind>),
    Map(Box<Kind>),
    Union(Vec<Kind>),
    Record(String, Vec<(String, Kind)>),
}

impl Kind {
    fn json(&self) -> Json {
        match self {
            Self::Null => json!("null"),
            Self::Boolean => json!("boolean"),
            Self::Int => json!("int"),
            Self::Long => json!("long"),
            Self::Float => json!("float"),
            Self::Double => json!("double"),
            Self::Bytes => json!("bytes"),
            Self::String => json!("string"),
            Self::Moment(unit) => json!({"type": "long", "logicalType": format!("timestamp-{unit}")}),
            Self::Date => json!({"type": "int", "logicalType": "date"}),
            Self::Enum(name, symbols) => json!({"type": "enum", "name": name, "symbols": symbols}),
            Self::Fixed(name, size) => json!({"type": "fixed", "name": name, "size": size}),
            Self::Array(items) => json!({"type": "array", "items": items.json()}),
            Self::Map(values) => json!({"type": "map", "values": values.json()}),
            Self::Union(branches) => branches.iter().map(Self::json).collect(),
            Self::Record(name, fields) => {
                let fields: Vec<_> = fields.iter().map(|(n, k)| json!({"name": n, "type": k.json()})).collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
        }
    }
}

/// Makes types and values.
struct Maker {
    random: Random,
    names: usize,
}

impl Maker {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("N{}", self.names)
    }

    fn text(&mut self) -> String {
        let letters: Vec<char> = "abcdeXYZ019 .-_@äß€".chars().collect();
        (0..=self.random.below(40)).map(|_| *self.random.pick(&letters)).collect()
    }

    fn symbols(&mut self) -> Vec<String> {
        (0..=self.random.below(3)).map(|i| format!("S{i}")).collect()
    }

    /// Any type.
    fn kind(&mut self, depth: usize) -> Kind {
        match self.random.below(if depth == 0 { 12 } else { 16 }) {
            0 => Kind::Null,
            1 => Kind::Boolean,
            2 => Kind::Int,
            3 => Kind::Long,
            4 => Kind::Float,
            5 => Kind::Double,
            6 => Kind::Bytes,
            7 => Kind::String,
            8 => Kind::Moment(["millis", "micros", "nanos"][self.random.below(3)]),
            9 => Kind::Date,
            10 => Kind::Enum(self.name(), self.symbols()),
            11 => Kind::Fixed(self.name(), self.random.below(4)),
            12 => Kind::Array(Box::new(self.kind(depth - 1))),
            13 => Kind::Map(Box::new(self.kind(depth - 1))),
            14 => {
                let inner = self.kind(depth - 1);
                match inner {
                    Kind::Null | Kind::Union(_) => inner,
                    _ if self.random.below(2) == 0 => Kind::Union(vec![Kind::Null, inner]),
                    _ => Kind::Union(vec![inner, Kind::Null]),
                }
            }
            _ => {
                let fields = (0..self.random.below(4)).map(|i| (format!("m{i}"), self.kind(depth - 1))).collect();
                Kind::Record(self.name(), fields)
            }
        }
    }

    /// A type that can be read into a field.
    fn kind_for(&mut self, field: Field) -> Kind {
        let name = self.name();
        let plain = match field.field_type() {
            _ if matches!(field, Field::src_ip | Field::country) => vec![Kind::String, Kind::Bytes],
            FieldType::Text | FieldType::OptText => {
                let symbols = vec!["S0".into(), "S1".into()];
                vec![Kind::String, Kind::String, Kind::Bytes, Kind::Long, Kind::Boolean, Kind::Enum(name, symbols)]
            }
            FieldType::Micros | FieldType::OptMicros => {
                vec![Kind::Moment("millis"), Kind::Moment("micros"), Kind::Moment("nanos"), Kind::Long, Kind::String]
            }
            FieldType::OptLong | FieldType::OptInt => vec![Kind::Int, Kind::Long, Kind::Double, Kind::String],
            FieldType::OptDouble => vec![Kind::Int, Kind::Float, Kind::Double, Kind::String],
            FieldType::OptBool => vec![Kind::Boolean, Kind::String, Kind::Int],
            FieldType::Enum(symbols, _) => {
                let lower = symbols.iter().rev().map(|s| s.to_lowercase()).collect();
                vec![Kind::String, Kind::Enum(name, lower)]
            }
            FieldType::Texts => vec![Kind::Array(Box::new(Kind::String))],
            FieldType::Map => vec![Kind::Map(Box::new(Kind::String))],
        };
        let plain = self.random.pick(&plain).clone();
        match self.random.below(4) {
            0 => Kind::Union(vec![Kind::Null, plain]),
            1 => Kind::Union(vec![plain, Kind::Null]),
            // a union that is no plain "optional"
            2 if !matches!(plain, Kind::Float) => Kind::Union(vec![Kind::Null, Kind::Float, plain]),
            _ => plain,
        }
    }

    fn value(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Null => Value::Null,
            Kind::Boolean => Value::Boolean(self.random.below(2) == 0),
            Kind::Int => Value::Int(self.random.next() as i32),
            Kind::Long => Value::Long(self.random.next() as i64 >> self.random.below(64)),
            Kind::Float => Value::Float((self.random.next() as i32) as f32 / 256.0),
            Kind::Double => Value::Double((self.random.next() as i64) as f64 / 65536.0),
            Kind::Bytes => Value::Bytes((0..self.random.below(9)).map(|_| self.random.next() as u8).collect()),
            Kind::String => Value::String(self.text()),
            Kind::Moment(unit) => self.moment(unit),
            Kind::Date => Value::Date(self.random.below(100_000) as i32),
            Kind::Enum(_, symbols) => {
                let place = self.random.below(symbols.len());
                Value::Enum(place as u32, symbols[place].clone())
            }
            Kind::Fixed(_, size) => Value::Fixed(*size, (0..*size).map(|_| self.random.next() as u8).collect()),
            Kind::Array(items) => Value::Array((0..self.random.below(4)).map(|_| self.value(items)).collect()),
            Kind::Map(values) => {
                let keys: Vec<_> = (0..self.random.below(4)).map(|i| format!("k{i}")).collect();
                Value::Map(keys.into_iter().map(|key| (key, self.value(values))).collect())
            }
            Kind::Union(branches) => {
                let place = self.random.below(branches.len());
                Value::Union(place as u32, Box::new(self.value(&branches[place])))
            }
            Kind::Record(_, fields) => Value::Record(fields.iter().map(|(n, k)| (n.clone(), self.value(k))).collect()),
        }
    }

    fn moment(&mut self, unit: &str) -> Value {
        let micros = (self.random.next() % 4_000_000_000_000_000) as i64;
        match unit {
            "millis" => Value::TimestampMillis(micros / 1000),
            "micros" => Value::TimestampMicros(micros),
            _ => Value::TimestampNanos(micros * 1000 + 999),
        }
    }

    /// A value of `kind` that `field` can take, and sets it in `event`.
    fn value_for(&mut self, field: Field, kind: &Kind, event: &mut AuthEvent) -> Value {
        if let Kind::Union(branches) = kind {
            let null = branches.iter().position(|kind| matches!(kind, Kind::Null)).unwrap();
            if field != Field::time && self.random.below(3) == 0 {
                return Value::Union(null as u32, Box::new(Value::Null));
            }
            // a float, where there is one, stands before the type that is meant
            let place = branches.iter().rposition(|kind| !matches!(kind, Kind::Null)).unwrap();
            return Value::Union(place as u32, Box::new(self.value_for(field, &branches[place], event)));
        }
        match event.slot(field) {
            Slot::Text(slot) => {
                let value = self.short(kind);
                *slot = text_of(&value).0.into();
                value
            }
            Slot::OptText(slot) => {
                let value = match field {
                    Field::src_ip => as_text(kind, format!("10.1.{}.7", self.random.below(256))),
                    Field::country => as_text(kind, self.random.pick(&["DE", "US", "JP"]).to_string()),
                    _ => self.short(kind),
                };
                *slot = Some(text_of(&value).0.into());
                value
            }
            Slot::Micros(slot) => {
                let (value, micros) = self.possible(kind);
                *slot = micros;
                value
            }
            Slot::OptMicros(slot) => {
                let (value, micros) = self.possible(kind);
                *slot = Some(micros);
                value
            }
            Slot::OptLong(slot) => number_as(kind, *slot.insert(self.random.below(1 << 31) as i64)),
            Slot::OptInt(slot) => number_as(kind, (*slot.insert(self.random.below(1 << 31) as i32)).into()),
            Slot::OptDouble(slot) => number_as(kind, *slot.insert(self.random.below(90) as f64) as i64),
            Slot::OptBool(slot) => {
                let truth = self.random.below(2) == 0;
                *slot = Some(truth);
                match kind {
                    Kind::Boolean => Value::Boolean(truth),
                    Kind::Int => Value::Int(truth.into()),
                    _ => Value::String(truth.to_string().to_uppercase()),
                }
            }
            Slot::Enum(slot) => match self.value(kind) {
                Value::Enum(place, symbol) => {
                    assert!(slot.set_symbol(&symbol));
                    Value::Enum(place, symbol)
                }
                _ => {
                    slot.set_index(1);
                    Value::String(symbol_of(event, field))
                }
            },
            Slot::Texts(slot) => {
                let texts: Vec<String> = (0..self.random.below(5)).map(|_| self.text()).collect();
                *slot = texts.iter().map(Text::from).collect();
                Value::Array(texts.into_iter().map(Value::String).collect())
            }
            Slot::Map(_) => {
                let pairs: HashMap<_, _> = (0..self.random.below(5)).map(|i| (format!("a{i}"), self.text())).collect();
                for (key, value) in &pairs {
                    event.attributes.insert(key.as_str(), value.as_str());
                }
                Value::Map(pairs.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
            }
        }
    }

    /// A value of a plain type whose text is not empty, and which is UTF-8.
    fn short(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bytes => Value::Bytes(self.text().into_bytes()),
            _ => self.value(kind),
        }
    }

    /// A moment from 2025.
    fn possible(&mut self, kind: &Kind) -> (Value, Micros) {
        let micros = NOW + self.random.below(1_000_000_000) as i64;
        let whole = micros / 1000 * 1000;
        match kind {
            Kind::Moment("millis") => (Value::TimestampMillis(micros / 1000), Micros(whole)),
            Kind::Moment("micros") => (Value::TimestampMicros(micros), Micros(micros)),
            Kind::Moment(_) => (Value::TimestampNanos(micros * 1000 + 1), Micros(micros)),
            Kind::Long => (Value::Long(micros / 1000), Micros(whole)),
            _ => {
                let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
                (Value::String(text), Micros(micros))
            }
        }
    }
}

/// The symbol that an enum field holds, in lower case.
fn symbol_of(event: &AuthEvent, field: Field) -> String {
    match event.get(field) {
        authseal::event::Value::Symbol(symbol) => symbol.to_lowercase(),
        other => panic!("{other:?} is no symbol"),
    }
}

fn as_text(kind: &Kind, text: String) -> Value {
    if let Kind::Bytes = kind { Value::Bytes(text.into_bytes()) } else { Value::String(text) }
}

fn number_as(kind: &Kind, number: i64) -> Value {
    match kind {
        Kind::Int => Value::Int(number as i32),
        Kind::Long => Value::Long(number),
        Kind::Float => Value::Float(number as f32),
        Kind::Double => Value::Double(number as f64),
        _ => Value::String(number.to_string()),
    }
}

/// The text of a plain value, and whether it is text at all.
fn text_of(value: &Value) -> (String, bool) {
    let moment = |micros: i64| jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
    let text = match value {
        Value::Boolean(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Double(number) => format!("{number:?}"),
        Value::String(text) | Value::Enum(_, text) => text.clone(),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => match String::from_utf8(bytes.clone()) {
            Ok(text) => text,
            Err(_) => return (STANDARD.encode(bytes), false),
        },
        Value::TimestampMillis(count) => moment(count * 1000),
        Value::TimestampMicros(count) => moment(*count),
        Value::TimestampNanos(count) => moment(count / 1000),
        Value::Date(days) => moment(i64::from(*days) * 86_400_000_000),
        other => panic!("{other:?} is not plain"),
    };
    (text, true)
}

/// The attributes that a value becomes.
fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Union(_, inner) => flatten(path, inner, out),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| flatten(&format!("{path}.{i}"), item, out));
        }
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, out)),
        Value::Record(fields) => fields.iter().for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, out)),
        // zero bytes leave no trace
        Value::Fixed(0, _) => {}
        plain => {
            out.insert(path.to_string(), text_of(plain).0);
        }
    }
}

/// A random schema, a random value of it as apache-avro writes it, and the event that it must become.
fn example(seed: u64) -> (String, Vec<u8>, AuthEvent) {
    let mut maker = Maker { random: Random(seed), names: 0 };
    let mut event = AuthEvent::default();
    let (mut fields, mut values, mut attributes) = (Vec::new(), Vec::new(), BTreeMap::new());
    for field in Field::ALL {
        let needed = matches!(field, Field::time | Field::user | Field::event_id | Field::source);
        if needed || maker.random.below(3) > 0 {
            let kind = if needed && *field != Field::time { Kind::String } else { maker.kind_for(*field) };
            values.push((field.name().to_string(), maker.value_for(*field, &kind, &mut event)));
            fields.push((field.name().to_string(), kind));
        }
    }
    for i in 0..maker.random.below(6) {
        let (name, kind) = (format!("u{i}"), maker.kind(3));
        let value = maker.value(&kind);
        flatten(&name, &value, &mut attributes);
        let at = maker.random.below(fields.len() + 1);
        fields.insert(at, (name.clone(), kind));
        values.insert(at, (name, value));
    }
    for (key, value) in attributes {
        event.attributes.insert(key, value);
    }
    let text = Kind::Record("Root".into(), fields).json().to_string();
    let schema = Schema::parse_str(&text).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    (text, writer.write_value_to_vec(Value::Record(values)).unwrap(), event)
}

/// Schemas and bytes, for others to mutate.
pub(crate) fn encoded(count: u64) -> Vec<(String, Vec<u8>)> {
    (0..count).map(example).map(|(schema, bytes, _)| (schema, bytes)).collect()
}

#[test]
fn what_apache_avro_writes_under_any_schema_is_read() {
    for seed in 0..4000 {
        let (schema, bytes, want) = example(seed);
        let found = event(decode(&decoder(Format::Avro { schema: Some(file(&schema)) }), bytes));
        assert_eq!(found, want, "seed {seed}: {schema}");
    }
}

#[test]
fn what_apache_avro_writes_as_a_single_object_is_read() {
    use apache_avro::headers::{HeaderBuilder, RabinFingerprintHeader};
    for seed in 0..200 {
        let (schema, bytes, want) = example(seed);
        let header = RabinFingerprintHeader::from_schema(&Schema::parse_str(&schema).unwrap()).build_header();
        let decoder = decoder(Format::SingleObject { schemas: vec![file(&schema)] });
        assert_eq!(event(decode(&decoder, [header, bytes].concat())), want, "seed {seed}: {schema}");
    }
}

/// The event as apache-avro's value of the canonical schema.
fn canonical(event: &AuthEvent) -> Value {
    use authseal::event::Value as Ours;
    let optional = |value: Value| Value::Union(1, Box::new(value));
    let value = |field: &Field| match (field.field_type(), event.get(*field)) {
        (_, Ours::Null) => Value::Union(0, Box::new(Value::Null)),
        (FieldType::Text, Ours::Text(text)) => Value::String(text.into()),
        (_, Ours::Text(text)) => optional(Value::String(text.into())),
        (FieldType::Enum(symbols, _), Ours::Symbol(symbol)) => {
            Value::Enum(symbols.iter().position(|s| *s == symbol).unwrap() as u32, symbol.into())
        }
        (FieldType::OptInt, Ours::Long(number)) => optional(Value::Int(number as i32)),
        (_, Ours::Long(number)) => optional(Value::Long(number)),
        (FieldType::Micros, Ours::Micros(moment)) => Value::TimestampMicros(moment.0),
        (_, Ours::Micros(moment)) => optional(Value::TimestampMicros(moment.0)),
        (_, Ours::Double(number)) => optional(Value::Double(number)),
        (_, Ours::Bool(truth)) => optional(Value::Boolean(truth)),
        (_, Ours::Texts(texts)) => Value::Array(texts.iter().map(|t| Value::String(t.to_string())).collect()),
        (_, Ours::Map(map)) => {
            Value::Map(map.iter().map(|(k, v)| (k.to_string(), Value::String(v.to_string()))).collect())
        }
        (_, Ours::Symbol(symbol)) => panic!("{symbol} in no enum"),
    };
    Value::Record(Field::ALL.iter().map(|field| (field.name().to_string(), value(field))).collect())
}

/// The event as canonical JSON.
fn canonical_json(event: &AuthEvent) -> String {
    use authseal::event::Value as Ours;
    let value = |field: &Field| match event.get(*field) {
        Ours::Null => Json::Null,
        Ours::Text(text) => text.into(),
        Ours::Symbol(symbol) => symbol.to_lowercase().into(),
        Ours::Long(number) => number.into(),
        Ours::Micros(moment) => jiff::Timestamp::from_microsecond(moment.0).unwrap().to_string().into(),
        Ours::Double(number) => number.into(),
        Ours::Bool(truth) => truth.into(),
        Ours::Texts(texts) => texts.iter().map(|text| text.to_string()).collect(),
        Ours::Map(map) => map.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    };
    Json::Object(Field::ALL.iter().map(|field| (field.name().to_string(), value(field))).collect()).to_string()
}

/// Bytes of the canonical schema, for others to mutate.
pub(crate) fn encoded_canonically(count: u64) -> Vec<Vec<u8>> {
    let schema = Schema::parse_str(CANONICAL_SCHEMA).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    (0..count).map(|seed| writer.write_value_to_vec(canonical(&example(seed).2)).unwrap()).collect()
}

#[test]
fn canonical_avro_and_canonical_json_are_read_alike() {
    let schema = Schema::parse_str(CANONICAL_SCHEMA).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let (avro, json) = (decoder(Format::Avro { schema: None }), decoder(Format::Json));
    for seed in 10_000..11_000 {
        let (_, _, want) = example(seed);
        let bytes = writer.write_value_to_vec(canonical(&want)).unwrap();
        assert_eq!(event(decode(&avro, bytes)), want, "seed {seed}");
        assert_eq!(event(decode(&json, canonical_json(&want))), want, "seed {seed}");
    }
}
