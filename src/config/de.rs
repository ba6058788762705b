//! Turns the tree into typed settings. Unknown keys are reported with the nearest known one and passed over; a value of
//! the wrong type is reported with what was expected, taken out, and the rest is read again: one run shows everything.

use super::{
    problem::{Origin, Problem, nearest},
    tree::{Node, Value},
};
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer};
use std::{cell::RefCell, collections::BTreeSet, fmt, rc::Rc};

/// Typed settings, what was wrong, and the paths of all settings that the types know.
pub(super) struct Read<T> {
    pub settings: T,
    pub problems: Vec<Problem>,
    pub known: BTreeSet<String>,
}

/// Reads `T`, whose every field must have a default.
pub(super) fn read<T: DeserializeOwned + Default>(root: &mut Node) -> Read<T> {
    let mut wrong = Vec::new();
    loop {
        let notes = Rc::new(RefCell::new(Notes::default()));
        let result = T::deserialize(De { node: root, path: Vec::new(), notes: notes.clone() });
        let Notes { unknown, known } = notes.take();
        let (settings, again) = match result {
            Ok(settings) => (settings, false),
            Err(error) => {
                // each turn takes one entry out, so this ends
                let again = root.remove(&error.path);
                wrong.push(Problem::at(error.origin, Some(error.path.join(".")), error.message));
                (T::default(), again)
            }
        };
        if !again {
            wrong.extend(unknown);
            return Read { settings, problems: wrong, known };
        }
    }
}

#[derive(Default)]
struct Notes {
    unknown: Vec<Problem>,
    known: BTreeSet<String>,
}

/// What serde says, with the place of the innermost value that it was about.
#[derive(Debug)]
struct Wrong {
    message: String,
    origin: Option<Origin>,
    path: Vec<String>,
}

impl Wrong {
    fn located(mut self, de: &De<'_>) -> Self {
        if self.origin.is_none() {
            self.origin = Some(de.node.origin.clone());
            self.path.clone_from(&de.path);
        }
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), origin: None, path: Vec::new() }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        // the value itself is left out: it may be a secret
        let found = match found {
            de::Unexpected::Bool(_) => "a boolean",
            de::Unexpected::Signed(_) | de::Unexpected::Unsigned(_) => "a whole number",
            de::Unexpected::Float(_) => "a fraction",
            de::Unexpected::Str(_) => "a string",
            de::Unexpected::Seq => "an array",
            _ => "a table",
        };
        Self::custom(format_args!("expected {}, found {found}", plain(expected)))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {}", plain(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        Self::custom(match nearest(variant, expected.iter().copied()) {
            Some(meant) => format!("{variant:?} is unknown; did you mean {meant:?}? (one of: {known})"),
            None => format!("{variant:?} is unknown; expected one of: {known}"),
        })
    }
}

/// What serde's derived code calls its types, in words.
fn plain(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number, not negative".into(),
        "i64" | "i32" => "a whole number".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "path string" => "a path".into(),
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.strip_prefix("string or ").unwrap_or(other).into(),
    }
}

struct De<'a> {
    node: &'a Node,
    path: Vec<String>,
    notes: Rc<RefCell<Notes>>,
}

impl<'a> De<'a> {
    fn below(&self, key: &str, node: &'a Node) -> Self {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        De { node, path, notes: self.notes.clone() }
    }

    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::Array(items) => visitor.visit_seq(Items { de: self, items: items.iter().enumerate() }),
            Value::Table(entries) => {
                let places = (0..entries.len()).collect::<Vec<_>>();
                visitor.visit_map(Entries { de: self, places: places.into_iter(), at: 0 })
            }
        }
        .map_err(|wrong: Wrong| wrong.located(self))
    }

    fn note_fields(&self, fields: &'static [&'static str]) -> Vec<usize> {
        // places in arrays do not matter for what is known
        let names = |part: &&String| part.parse::<usize>().is_err();
        let base: String = self.path.iter().filter(names).map(|part| format!("{part}.")).collect();
        let mut notes = self.notes.borrow_mut();
        notes.known.extend(fields.iter().map(|field| format!("{base}{field}")));
        let Value::Table(entries) = &self.node.value else { return Vec::new() };
        let mut places = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            if fields.contains(&entry.key.as_str()) {
                places.push(place);
                continue;
            }
            let message = match nearest(&entry.key, fields.iter().copied()) {
                Some(meant) => format!("unknown setting; did you mean {meant:?}?"),
                None => format!("unknown setting; known here: {}", fields.join(", ")),
            };
            let path = self.path.iter().chain([&entry.key]).cloned().collect::<Vec<_>>().join(".");
            notes.unknown.push(Problem::at(Some(entry.origin.clone()), Some(path), message));
        }
        places
    }
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.raw {
            Some(raw) => visitor.visit_str(raw).map_err(|wrong: Wrong| wrong.located(&self)),
            None => self.visit(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let places = self.note_fields(fields);
        if !matches!(self.node.value, Value::Table(_)) {
            return self.visit(visitor);
        }
        let entries = Entries { de: &self, places: places.into_iter(), at: 0 };
        visitor.visit_map(entries).map_err(|wrong: Wrong| wrong.located(&self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(StrDeserializer::<Wrong>::new(text)),
            _ => Err(de::Error::custom(format_args!("expected a string, one of: {}", variants.join(", ")))),
        };
        result.map_err(|wrong| wrong.located(&self))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a, 'b, I> {
    de: &'b De<'a>,
    items: I,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Node)>> SeqAccess<'de> for Items<'a, '_, I> {
    type Error = Wrong;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((place, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.de.below(&place.to_string(), node)).map(Some)
    }
}

/// The entries of a table at these places.
struct Entries<'a, 'b> {
    de: &'b De<'a>,
    places: std::vec::IntoIter<usize>,
    at: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Wrong;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some(place) = self.places.next() else { return Ok(None) };
        self.at = place;
        let Value::Table(entries) = &self.de.node.value else { return Ok(None) };
        let entry = &entries[place];
        let key = seed.deserialize(StrDeserializer::<Wrong>::new(&entry.key));
        key.map(Some).map_err(|wrong| wrong.located(&self.de.below(&entry.key, &entry.node)))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Value::Table(entries) = &self.de.node.value else {
            return Err(de::Error::custom("expected a table"));
        };
        let entry = &entries[self.at];
        let below = self.de.below(&entry.key, &entry.node);
        let at = De { node: below.node, path: below.path.clone(), notes: below.notes.clone() };
        seed.deserialize(below).map_err(|wrong| wrong.located(&at))
    }
}
