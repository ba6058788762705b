//! What an aggregate computes, and the values that come of it.

use super::decimal::Decimal;
use crate::event::{FieldType, Micros, Text};
use rhai::Dynamic;
use serde_json::json;

/// What an aggregate of the window computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Events.
    Count,
    /// Events for which the condition of this index holds.
    CountIf(usize),
    /// Different values of a track.
    Distinct(usize),
    /// The largest count of events of one value of a track.
    MaxPer(usize),
    /// The smallest count of events of one value of a track.
    MinPer(usize),
    /// Values of a track that have few events: the limit of this index.
    FewPer(usize, usize),
    /// Events that have a value in a track.
    Present(usize),
    /// The sum of the numbers of a track.
    Sum(usize),
    /// Their smallest.
    Min(usize),
    /// Their largest.
    Max(usize),
    /// The value of a column in the first event.
    First(usize, FieldType),
    /// The value of a column in the last event.
    Last(usize, FieldType),
    /// Events a minute.
    Rate,
    /// Seconds between the first event and the last one.
    Span,
}

impl Measure {
    /// Whether it is never larger than the number of events.
    pub fn counts_events(self) -> bool {
        use Measure::{Count, CountIf, Distinct, FewPer, MaxPer, MinPer, Present};
        matches!(self, Count | CountIf(_) | Distinct(_) | MaxPer(_) | MinPer(_) | FewPer(..) | Present(_))
    }

    /// Whether one more event may make it smaller.
    pub fn may_fall(self) -> bool {
        matches!(self, Self::MinPer(_) | Self::FewPer(..) | Self::Min(_))
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::First(..) | Self::Last(..))
    }
}

/// An aggregate and its gate.
#[derive(Debug, Clone)]
pub(super) struct Agg {
    /// Its name: a getter of `w`.
    pub name: String,
    /// What it computes.
    pub measure: Measure,
    /// Below this no function runs. 0 is no gate.
    pub at_least: u64,
}

/// What is kept up of the values of one column: by all events, or only by those for which a condition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// The column.
    pub column: usize,
    /// The index of the condition.
    pub condition: Option<usize>,
    /// Whether numbers of events by value are kept in order.
    pub levels: bool,
    /// Numbers of events that are few.
    pub few: Vec<u32>,
    /// Whether numbers are added up.
    pub sum: bool,
    /// Whether numbers are kept in order.
    pub order: bool,
}

impl Track {
    /// Whether more is kept of it than how often each value is there.
    pub fn needs_more(&self) -> bool {
        self.sum || self.order || !self.few.is_empty()
    }
}

/// The value of an aggregate.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Measured {
    /// Nothing to compute it from.
    None,
    /// A whole number.
    Whole(i64),
    /// A number with a fraction, or one that is too large for a whole number.
    Float(f64),
    /// A string or a symbol.
    Text(Text),
    /// A truth value.
    Bool(bool),
}

impl Measured {
    /// A value of a field, from its text in a column.
    pub fn of_text(text: Option<&str>, kind: FieldType) -> Self {
        let Some(text) = text else { return Self::None };
        match kind {
            FieldType::OptLong | FieldType::OptInt => text.parse().map_or(Self::None, Self::Whole),
            FieldType::OptDouble => text.parse().map_or(Self::None, Self::Float),
            FieldType::Micros | FieldType::OptMicros => {
                text.parse().map_or(Self::None, |micros| Self::Whole(Micros(micros).millis()))
            }
            FieldType::OptBool => Self::Bool(text == "true"),
            _ => Self::Text(text.into()),
        }
    }

    /// As scripts see it.
    pub fn to_dynamic(&self) -> Dynamic {
        match self {
            Self::None => Dynamic::UNIT,
            Self::Whole(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => super::script::clip(text, super::script::LONGEST_FIELD).into(),
            Self::Bool(value) => (*value).into(),
        }
    }

    /// As alerts show it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::None => serde_json::Value::Null,
            Self::Whole(number) => json!(number),
            Self::Float(number) => json!(number),
            Self::Text(text) => json!(super::script::clip(text, 512)),
            Self::Bool(value) => json!(value),
        }
    }
}

impl From<Decimal> for Measured {
    fn from(number: Decimal) -> Self {
        number.to_whole().map_or_else(|| Self::Float(number.to_float()), Self::Whole)
    }
}
