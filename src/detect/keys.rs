//! Canonical forms: the key of a rule, the identity of an event, the bucket of a time. All deterministic.

use super::{
    finding::push_value,
    markers::Marker,
    rule::Rule,
    subject::{Selector, Subject},
};
use crate::event::{Field, Value};
use ahash::RandomState;
use std::borrow::Cow;

/// floor(time / dedup), for rules that have one.
pub(super) fn bucket(rule: &Rule, time: i64) -> Option<i64> {
    rule.spec.dedup.map(|dedup| time.div_euclid(dedup))
}

/// The canonical bytes of a rule's key for a record; false if it lacks one of the fields.
pub(super) fn canonical_key(rule: &Rule, subject: &Subject<'_>, key: &mut Vec<u8>) -> bool {
    key.clear();
    append(&rule.spec.key, subject, key)
}

/// Appends the canonical bytes of the values of these fields; false if the record lacks one of them.
pub(super) fn append(selectors: &[Selector], subject: &Subject<'_>, key: &mut Vec<u8>) -> bool {
    for selector in selectors {
        match value_text(subject.get(selector)) {
            Some(text) => push_value(key, &text),
            // most installations have one tenant and never name it
            None if *selector == Selector::Field(Field::tenant) => push_value(key, ""),
            None => return false,
        }
    }
    true
}

/// A value as text, for keys and aggregates; none for null, arrays and maps.
pub(super) fn value_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Null | Value::Texts(_) | Value::Map(_) => return None,
        Value::Text(text) => Cow::Borrowed(text),
        Value::Symbol(symbol) => Cow::Borrowed(symbol),
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Long(number) => Cow::Owned(number.to_string()),
        Value::Micros(moment) => Cow::Owned(moment.0.to_string()),
        Value::Double(number) => Cow::Owned(number.to_string()),
    })
}

/// A list of fields that rules and markers have as their key, by its place in the rule set.
pub(super) type Fields = u32;

/// The lists of fields that the rules and markers of a set have as their keys.
#[derive(Debug, Default)]
pub(super) struct KeyFields {
    lists: Vec<Box<[Selector]>>,
    /// By rule: that of its key, and for each marker those by which it remembers and is looked up.
    rules: Vec<(Fields, Vec<(Fields, Fields)>)>,
}

impl KeyFields {
    /// Of these rules.
    pub fn of(rules: &[Rule]) -> Self {
        let mut lists: Vec<Box<[Selector]>> = Vec::new();
        let mut place = |list: &[Selector]| {
            let at = lists.iter().position(|known| **known == *list).unwrap_or_else(|| {
                lists.push(list.into());
                lists.len() - 1
            });
            at as Fields // as many as rules and markers at most
        };
        let mut found = Vec::new();
        for rule in rules {
            let own = place(&rule.spec.key);
            let markers = rule.markers.iter().map(|m| (place(m.remembered_by()), place(m.looked_up_by())));
            found.push((own, markers.collect()));
        }
        Self { lists, rules: found }
    }

    /// That of a rule's key.
    pub fn own(&self, rule: u32) -> Fields {
        self.rules.get(rule as usize).map_or(Fields::MAX, |(own, _)| *own)
    }

    /// That by which the marker of a place remembers records.
    pub fn remembered_by(&self, rule: u32, place: usize) -> Fields {
        self.marker(rule, place).map_or(Fields::MAX, |(of, _)| of)
    }

    /// That by which the marker of a place is looked up.
    pub fn looked_up_by(&self, rule: u32, place: usize) -> Fields {
        self.marker(rule, place).map_or(Fields::MAX, |(_, key)| key)
    }

    fn marker(&self, rule: u32, place: usize) -> Option<(Fields, Fields)> {
        self.rules.get(rule as usize)?.1.get(place).copied()
    }
}

/// What a key of the state is called, and the hash of that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called<'a> {
    /// The canonical bytes; of a marker's key, behind what says which marker it is.
    pub bytes: &'a [u8],
    /// Of the canonical bytes alone: what several rules and markers ask for is hashed once.
    pub hash: u64,
}

impl<'a> Called<'a> {
    /// A key of which only the bytes are known.
    pub fn new(bytes: &'a [u8], hasher: &RandomState) -> Self {
        Self { bytes, hash: hash(Marker::canonical(bytes), hasher) }
    }
}

fn hash(canonical: &[u8], hasher: &RandomState) -> u64 {
    hasher.hash_one(canonical)
}

/// The keys of one record: each list of fields is read and hashed once, however many rules and markers have it.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// By list of fields.
    made: Vec<Made>,
}

#[derive(Debug, Clone, Copy)]
enum Made {
    /// Nobody asked for it yet.
    Unasked,
    /// The record lacks one of the fields.
    Lacking,
    /// Its place among the bytes, with room for what says which marker it is before it, and its hash.
    Known(usize, usize, u64),
}

impl Names {
    /// Those of another record, of which nothing is known yet.
    pub fn clear(&mut self, fields: &KeyFields) {
        self.bytes.clear();
        self.made.clear();
        self.made.resize(fields.lists.len(), Made::Unasked);
    }

    /// What a key under this list of fields is called; `None` if the record lacks one of them.
    pub fn own(
        &mut self,
        (at, fields): (Fields, &KeyFields),
        of: &Subject<'_>,
        by: &RandomState,
    ) -> Option<Called<'_>> {
        let (from, to, hash) = self.make(at, fields, of, by)?;
        Some(Called { bytes: self.bytes.get(from + Marker::PREFIX..to)?, hash })
    }

    /// What the key of the marker of a place is called.
    pub fn marker(
        &mut self,
        (at, place): (Fields, usize),
        fields: &KeyFields,
        of: &Subject<'_>,
        by: &RandomState,
    ) -> Option<Called<'_>> {
        let (from, to, hash) = self.make(at, fields, of, by)?;
        self.bytes.get_mut(from..from + Marker::PREFIX)?.copy_from_slice(&Marker::prefix(place));
        Some(Called { bytes: self.bytes.get(from..to)?, hash })
    }

    fn make(
        &mut self,
        at: Fields,
        fields: &KeyFields,
        of: &Subject<'_>,
        by: &RandomState,
    ) -> Option<(usize, usize, u64)> {
        let made = self.made.get_mut(at as usize)?;
        if let Made::Unasked = made {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(&[0; Marker::PREFIX]);
            *made = if append(fields.lists.get(at as usize)?, of, &mut self.bytes) {
                Made::Known(from, self.bytes.len(), hash(&self.bytes[from + Marker::PREFIX..], by))
            } else {
                self.bytes.truncate(from);
                Made::Lacking
            };
        }
        match *made {
            Made::Known(from, to, hash) => Some((from, to, hash)),
            Made::Unasked | Made::Lacking => None,
        }
    }
}
