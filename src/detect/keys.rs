//! Canonical forms: the key of a rule, the identity of an event, the bucket of a time. All deterministic.

use super::{
    finding::push_value,
    repeats::Identity,
    rule::Rule,
    subject::{Selector, Subject},
};
use crate::event::{Field, Value};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// floor(time / dedup), for rules that have one.
pub(super) fn bucket(rule: &Rule, time: i64) -> Option<i64> {
    rule.spec.dedup.map(|dedup| time.div_euclid(dedup))
}

/// The canonical bytes of a rule's key for a record; false if it lacks one of the fields.
pub(super) fn canonical_key(rule: &Rule, subject: &Subject<'_>, key: &mut Vec<u8>) -> bool {
    canonical(&rule.spec.key, subject, key)
}

/// The canonical bytes of the values of these fields; false if the record lacks one of them.
pub(super) fn canonical(selectors: &[Selector], subject: &Subject<'_>, key: &mut Vec<u8>) -> bool {
    key.clear();
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

/// Tells an event from all others: SHA-256 of tenant, source and event id, cut to 128 bits.
pub(super) fn identity(subject: &Subject<'_>) -> Identity {
    let mut hash = Sha256::new();
    for field in [Field::tenant, Field::source, Field::event_id] {
        let text = value_text(subject.get(&Selector::Field(field))).unwrap_or_default();
        hash.update((text.len() as u32).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut identity = [0; 16];
    identity.copy_from_slice(&digest[..16]);
    identity
}
