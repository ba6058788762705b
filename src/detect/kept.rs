//! Values that outlive their record: what markers remember of an event, and what a finding tells other rules.

use super::{script::clip, subject::Selector};
use crate::event::{Attributes, Field, Micros, Text, Value};

/// Bytes of a string that is kept.
const LONGEST: usize = 512;
/// Entries of an array or map that are kept.
const MOST_ENTRIES: usize = 64;
/// Bytes of each of them.
const LONGEST_ENTRY: usize = 128;

/// A value, owned and bounded: a hostile event must not make a memory of it large.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kept {
    Null,
    Text(Text),
    Symbol(&'static str),
    Long(i64),
    Micros(Micros),
    Double(f64),
    Bool(bool),
    Texts(Box<[Text]>),
    Map(Box<Attributes>),
}

impl Kept {
    /// A copy of what a field holds. Keys are told apart by whole values: only what is never looked up is cut.
    pub fn of(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(clip(text, LONGEST).into()),
            Value::Symbol(symbol) => Self::Symbol(symbol),
            Value::Long(number) => Self::Long(number),
            Value::Micros(moment) => Self::Micros(moment),
            Value::Double(number) => Self::Double(number),
            Value::Bool(value) => Self::Bool(value),
            Value::Texts(texts) => {
                Self::Texts(texts.iter().take(MOST_ENTRIES).map(|text| clip(text, LONGEST_ENTRY).into()).collect())
            }
            Value::Map(map) => {
                let mut kept = Attributes::default();
                for (key, value) in map.iter().take(MOST_ENTRIES) {
                    kept.insert(clip(key, LONGEST_ENTRY), clip(value, LONGEST_ENTRY));
                }
                Self::Map(Box::new(kept))
            }
        }
    }

    /// The value of a field of a key, whole.
    pub fn whole(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.into()),
            other => Self::of(other),
        }
    }

    /// What it holds.
    pub fn view(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => Value::Text(text),
            Self::Symbol(symbol) => Value::Symbol(symbol),
            Self::Long(number) => Value::Long(*number),
            Self::Micros(moment) => Value::Micros(*moment),
            Self::Double(number) => Value::Double(*number),
            Self::Bool(value) => Value::Bool(*value),
            Self::Texts(texts) => Value::Texts(texts),
            Self::Map(map) => Value::Map(map),
        }
    }

    /// Bytes it takes, with what it keeps outside itself.
    pub fn bytes(&self) -> usize {
        let text = |text: &str| if text.len() > size_of::<Text>() { text.len() } else { 0 };
        size_of::<Self>()
            + match self {
                Self::Text(kept) => text(kept),
                Self::Texts(texts) => texts.iter().map(|kept| size_of::<Text>() + text(kept)).sum(),
                Self::Map(map) => {
                    size_of::<Attributes>()
                        + map.iter().map(|(k, v)| 2 * size_of::<Text>() + text(k) + text(v)).sum::<usize>()
                }
                _ => 0,
            }
    }
}

/// What is found under a selector among values kept under these selectors.
pub(super) fn find<'a>(selectors: &[Selector], values: &'a [Kept], wanted: &Selector) -> Value<'a> {
    if let Some(at) = selectors.iter().position(|selector| selector == wanted) {
        return values.get(at).map_or(Value::Null, Kept::view);
    }
    // an attribute whose name was only known when the function ran
    if let Selector::Attribute(name) = wanted
        && let Some(at) = selectors.iter().position(|selector| *selector == Selector::Field(Field::attributes))
        && let Some(Kept::Map(map)) = values.get(at)
    {
        return map.get(name).map_or(Value::Null, Value::Text);
    }
    Value::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_hostile_ones_are_cut() {
        let long = "ü".repeat(100_000);
        let texts: Vec<Text> = vec![long.as_str().into(); 1000];
        let mut map = Attributes::default();
        (0..1000).for_each(|n| drop(map.insert(format!("{n:04}"), long.as_str())));
        for value in [
            Value::Null,
            Value::Text("ann"),
            Value::Symbol("LOGON"),
            Value::Long(-1),
            Value::Micros(Micros(7)),
            Value::Double(1.5),
            Value::Bool(true),
        ] {
            assert_eq!(Kept::of(value).view(), value);
        }
        for value in [Value::Text(&long), Value::Texts(&texts), Value::Map(&map)] {
            assert!(Kept::of(value).bytes() < 24 * 1024, "{}", Kept::of(value).bytes());
        }
        assert_eq!(Kept::whole(Value::Text(&long)).view(), Value::Text(&long));
        let (selectors, values) = ([Selector::Field(Field::attributes)], [Kept::of(Value::Map(&map))]);
        let found = find(&selectors, &values, &Selector::Attribute("0003".into()));
        assert!(matches!(found, Value::Text(text) if text.len() == 128));
        assert_eq!(find(&selectors, &values, &Selector::Attribute("0900".into())), Value::Null);
    }
}
