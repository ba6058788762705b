//! The records of durable state: what one chain has contributed to one key, as JSON. `docs/operations.md` describes it.

use super::{
    kept::Kept, markers::Marker, memory::Memory, partitions::Partitions, rule::Rule, save::Raised, state::Key,
    subject::Selector,
};
use crate::event::{Attributes, FieldType, Micros, Text};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of the format. Records of another one are passed over.
pub(super) const VERSION: u32 = 1;
/// The newest events of a window that are written, for each chain.
pub(super) const MOST_EVENTS: usize = 1024;
/// Bytes of a record: what is larger loses its oldest events until it is not.
pub(super) const MOST_BYTES: usize = 512 * 1024;

/// What is said of a chain as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Coverage {
    #[serde(rename = "v")]
    pub version: u32,
    /// The offset from which on its writer published.
    pub begun: i64,
    /// Durable rules have seen every record below it.
    pub to: i64,
    /// Since when their state is whole.
    pub rules: Vec<Covered>,
}

/// A rule's id, its shape, and the time since which its state is whole, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Covered(pub String, pub String, pub i64);

/// What one chain has contributed to one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Value {
    #[serde(rename = "v")]
    pub version: u32,
    /// What its rule gathered then.
    pub shape: String,
    /// The offset from which on its writer published: of two writers the one with the lower offset came first.
    pub begun: i64,
    /// Events of the window, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The texts that events name, by column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<Vec<String>>,
    /// Older events were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Moments of a marker, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moments: Vec<Moment>,
    /// Findings raised: bucket, what they had grown to, and the highest record of each chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raised: Vec<(i64, u8, Vec<String>)>,
}

/// Time, offset, conditions that hold, and the place of the text of each column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event(pub i64, pub i64, pub u32, pub Vec<Option<usize>>);

/// Time, offset and the fields that were remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Moment(pub i64, pub i64, pub Vec<Field>);

/// A field that was remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Field {
    Null,
    Text(String),
    Symbol(String),
    Long(i64),
    Micros(i64),
    /// Its bits: not every number survives being written in decimal.
    Double(u64),
    Bool(bool),
    Texts(Vec<String>),
    Map(Vec<(String, String)>),
}

impl Field {
    fn of(kept: &Kept) -> Self {
        match kept {
            Kept::Null => Self::Null,
            Kept::Text(text) => Self::Text(text.to_string()),
            Kept::Symbol(symbol) => Self::Symbol((*symbol).into()),
            Kept::Long(number) => Self::Long(*number),
            Kept::Micros(moment) => Self::Micros(moment.0),
            Kept::Double(number) => Self::Double(number.to_bits()),
            Kept::Bool(value) => Self::Bool(*value),
            Kept::Texts(texts) => Self::Texts(texts.iter().map(ToString::to_string).collect()),
            Kept::Map(map) => Self::Map(map.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
        }
    }

    /// As it was remembered, under this selector. A symbol that is known no longer is nothing.
    pub fn kept(&self, selector: &Selector) -> Kept {
        match self {
            Self::Null => Kept::Null,
            Self::Text(text) => Kept::Text(text.as_str().into()),
            Self::Symbol(symbol) => match selector.field_type() {
                FieldType::Enum(symbols, _) => {
                    symbols.iter().find(|known| *known == symbol).map_or(Kept::Null, |known| Kept::Symbol(known))
                }
                _ => Kept::Null,
            },
            Self::Long(number) => Kept::Long(*number),
            Self::Micros(moment) => Kept::Micros(Micros(*moment)),
            Self::Double(bits) => Kept::Double(f64::from_bits(*bits)),
            Self::Bool(value) => Kept::Bool(*value),
            Self::Texts(texts) => Kept::Texts(texts.iter().map(|text| Text::from(text.as_str())).collect()),
            Self::Map(pairs) => {
                let mut map = Attributes::default();
                pairs.iter().for_each(|(key, value)| drop(map.insert(key.as_str(), value.as_str())));
                Kept::Map(Box::new(map))
            }
        }
    }
}

impl Value {
    /// What a chain has contributed to a key; `None` if that is nothing.
    pub fn of(
        key: &Key,
        chain: u32,
        rule: &Rule,
        (shape, begun): (&str, i64),
        partitions: &Partitions,
    ) -> Option<Self> {
        let mut value = Self {
            version: VERSION,
            shape: shape.into(),
            begun,
            events: Vec::new(),
            texts: Vec::new(),
            truncated: false,
            moments: Vec::new(),
            raised: Vec::new(),
        };
        if let Some(window) = &key.window {
            value.truncated = window.truncated;
            let own = window.entries().filter(|entry| entry.chain == chain);
            let left_out = own.clone().count().saturating_sub(MOST_EVENTS);
            value.truncated |= left_out > 0;
            value.texts = vec![Vec::new(); window.columns()];
            let mut places = vec![hashbrown::HashMap::<u32, usize>::new(); window.columns()];
            for entry in own.skip(left_out) {
                let texts = (0..window.columns()).map(|column| {
                    let slot = entry.values[column];
                    let text = window.text(column, slot)?;
                    let known = &mut value.texts[column];
                    Some(*places[column].entry(slot).or_insert_with(|| {
                        known.push(text.to_owned());
                        known.len() - 1
                    }))
                });
                value.events.push(Event(entry.time, entry.offset, entry.conditions(), texts.collect()));
            }
        }
        if let Some(history) = &key.history {
            let own = history.moments().filter(|moment| moment.chain == chain);
            let marker = Marker::place_of(&key.name).and_then(|place| rule.markers.get(place));
            let selectors = marker.map_or(&[][..], |marker| &marker.selectors);
            let fields = |m: &Memory| selectors.iter().map(|s| Field::of(&Kept::of(m.get(s)))).collect();
            value.moments = own.map(|m| Moment(m.time, m.offset, fields(&m.memory))).collect();
        }
        let raised = key.tracks.iter().flat_map(|tracks| &tracks.raised);
        let own = |raised: &&Raised| raised.reach.iter().any(|at| partitions.find(&at.chain) == Some(chain));
        let known = |raised: &&Raised| key.marks.iter().any(|mark| mark.bucket == raised.bucket);
        value.raised = raised
            .filter(own)
            .filter(known)
            .map(|raised| (raised.bucket, raised.level, raised.reach.iter().map(ToString::to_string).collect()))
            .collect();
        let nothing = value.events.is_empty() && value.moments.is_empty() && value.raised.is_empty();
        (!nothing).then_some(value)
    }

    /// The bytes of the record. What would be too large is cut, and says so.
    pub fn encode(mut self) -> Vec<u8> {
        loop {
            let bytes = encode(&self);
            if bytes.len() <= MOST_BYTES || (self.events.is_empty() && self.moments.len() < 2) {
                return bytes;
            }
            self.truncated = true;
            self.events.drain(..self.events.len().div_ceil(2));
            if self.events.is_empty() {
                self.texts.clear();
                self.moments.drain(..self.moments.len() / 2);
            } else {
                self.forget_texts();
            }
        }
    }

    /// Drops the texts that no event names any more.
    fn forget_texts(&mut self) {
        for (column, texts) in self.texts.iter_mut().enumerate() {
            let old = std::mem::take(texts);
            let mut places = vec![None; old.len()];
            for Event(.., named) in &mut self.events {
                let Some(Some(place)) = named.get_mut(column) else { continue };
                let (Some(text), Some(new)) = (old.get(*place), places.get_mut(*place)) else { continue };
                *place = *new.get_or_insert_with(|| {
                    texts.push(text.clone());
                    texts.len() - 1
                });
            }
        }
    }

    /// The text of a column of an event.
    pub fn text(&self, event: &Event, column: usize) -> Option<&str> {
        Some(self.texts.get(column)?.get((*event.3.get(column)?)?)?.as_str())
    }
}

/// JSON.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // numbers, strings and arrays of them always serialise
    serde_json::to_vec(value).unwrap_or_default()
}

/// What a record says; `None` if it is of another version, or none of ours.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let versioned: Versioned = serde_json::from_slice(bytes).ok()?;
    if versioned.v != VERSION { None } else { serde_json::from_slice(bytes).ok() }
}
