//! Guards what must not be kept: raw biometric material and configured secret fields, by name and by content.

pub(crate) mod content;
pub(crate) mod names;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use super::{
    codes,
    fail::{Fail, Name},
    scalar::Scalar,
};
use crate::event::{Field, Text};
use names::{Class, Strength};

/// Texts under a weak name are material from so many bytes on.
const WEAK_TEXT: usize = 64;
/// Bytes under a weak name.
const WEAK_BYTES: usize = 16;
/// Numbers of an array under a weak name.
const WEAK_NUMBERS: usize = 16;

/// What a topic forbids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// In lower case.
    secrets: Vec<String>,
    /// Which fields of the event are among them: bit by place.
    secret_fields: u64,
    /// Whether only the event is kept, not the value.
    pub keep_event_only: bool,
    /// Whether pseudonyms stand for the identifiers in events: always where only the event is kept.
    pub hashes: bool,
}

const _: () = assert!(Field::ALL.len() <= 64, "fields are counted in the bits of a u64");

impl Rules {
    pub fn new(secrets: &[String], keep_event_only: bool) -> Self {
        let secrets: Vec<String> = secrets.iter().map(|name| name.to_ascii_lowercase()).collect();
        let fields = Field::ALL.iter().filter(|field| secrets.iter().any(|s| s == field.name()));
        let secret_fields = fields.fold(0, |bits, field| bits | 1 << *field as u64);
        Self { secrets, secret_fields, keep_event_only, hashes: keep_event_only }
    }

    /// Whether any secret field is configured.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Whether a field of the event is a configured secret.
    pub fn is_secret_field(&self, field: Field) -> bool {
        self.secret_fields >> (field as u64) & 1 == 1
    }

    /// Whether a name, or the last part of a path, is a configured secret, in any case.
    pub fn is_secret(&self, name: &str) -> bool {
        let is = |secret: &String| {
            name.len() == secret.len() && name.eq_ignore_ascii_case(secret)
                || name.len() > secret.len()
                    && name.as_bytes()[name.len() - secret.len() - 1] == b'.'
                    && name.as_bytes()[name.len() - secret.len()..].eq_ignore_ascii_case(secret.as_bytes())
        };
        self.secrets.iter().any(is)
    }

    /// Secret names that are no names to the scanner ("x y", "clé") are sought as bytes.
    fn unusual_secret(&self, bytes: &[u8]) -> Option<Found> {
        let unusual = |s: &&String| !s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'));
        let found = self.secrets.iter().filter(unusual).find(|s| names::contains(bytes, s.as_bytes()))?;
        Some(Found { code: codes::SECRET_FIELD, what: "a secret field", name: Some(found.as_str().into()), at: 0 })
    }

    /// What is known of a name before its value is seen. The name is the last part of `path`.
    pub fn mark(&self, path: &str, name: &str, outer: Mark) -> Mark {
        Mark { secret: outer.secret || self.is_secret(path), class: names::classify_within(name, outer.class) }
    }
}

/// What the names around a value say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// It is, or is in, a secret field.
    pub secret: bool,
    /// It is, or is in, a field of this class.
    pub class: Class,
}

impl Mark {
    /// Whether a value under this mark may have to be withheld because of its name.
    pub fn is_set(self) -> bool {
        self.secret || self.class.strength != Strength::None
    }

    /// Judges a value by the names around it. `place` counts the values of the array it stands in.
    pub fn judge(self, value: &Scalar, place: Option<usize>) -> Option<Trip> {
        if !self.is_set() || matches!(value, Scalar::Null) {
            return None;
        }
        if self.secret {
            return Some(Trip::Secret);
        }
        let strong = self.class.strength == Strength::Strong;
        let material = match value {
            Scalar::Text(text) => text.len() >= if strong { 1 } else { WEAK_TEXT },
            Scalar::Bytes(bytes) => bytes.len() >= if strong { 1 } else { WEAK_BYTES },
            Scalar::Null | Scalar::Bool(_) | Scalar::Symbol(_) => false,
            // a number alone counts or measures; an array of them is a vector
            _ => place.is_some_and(|place| strong || place >= WEAK_NUMBERS - 1),
        };
        material.then_some(Trip::Named)
    }
}

/// Why a value is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trip {
    /// It is a configured secret field.
    Secret,
    /// Its name says that it is biometric material.
    Named,
    /// Its content does: what it is.
    Content(&'static str),
}

impl Trip {
    /// The failure to report.
    pub fn fail(self) -> Fail {
        match self {
            Self::Secret => Fail::new(codes::SECRET_FIELD, "a configured secret field is present"),
            Self::Named => Fail::new(codes::BIOMETRIC, "a field named as a biometric template or image has a value"),
            Self::Content(what) => Fail::new(codes::BIOMETRIC, format!("a field carries {what}")),
        }
    }
}

/// Judges a value by its content. A text that is JSON itself is searched too.
#[inline]
pub(crate) fn judge_content(value: &Scalar, rules: &Rules) -> Option<Trip> {
    match value {
        Scalar::Text(text) => judge_text(text, rules),
        Scalar::Bytes(bytes) => content::of_bytes(bytes).map(Trip::Content),
        _ => None,
    }
}

/// Judges a text by its content.
#[inline]
pub(crate) fn judge_text(text: &str, rules: &Rules) -> Option<Trip> {
    if content::is_suspicious(text.as_bytes()) { judge_suspicious(text, rules) } else { None }
}

fn judge_suspicious(text: &str, rules: &Rules) -> Option<Trip> {
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{' | b'[') => scan::scan(text.as_bytes(), scan::Names::OfPairs, rules).map(Found::trip),
        _ => content::of_text(text.as_bytes()).map(Trip::Content),
    }
}

/// The bytes of plain words, numbers, addresses: names with values have others among them, and so have files.
const PLAIN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'@' | b'/');
        byte += 1;
    }
    table
};

/// Judges a key, or the value of a header: any bytes.
pub(crate) fn judge_part(bytes: &[u8], rules: &Rules) -> Option<Found> {
    if let Some(what) = content::of_bytes(bytes) {
        return Some(Found::content(what, 0));
    }
    if bytes.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return None;
    }
    scan::scan(bytes, scan::Names::OfPairs, rules)
}

/// Judges a header by its name and its value.
pub(crate) fn judge_header(name: &[u8], value: Option<&[u8]>, rules: &Rules) -> Option<Found> {
    if let Ok(name) = std::str::from_utf8(name) {
        match rules.mark(name, name, Mark::default()).judge(&value.map_or(Scalar::Null, Scalar::Bytes), None) {
            Some(Trip::Secret) => return Some(Found::secret(name, 0)),
            Some(_) => return Some(Found::name(name, 0)),
            None => {}
        }
    }
    judge_part(name, rules).or_else(|| judge_part(value?, rules))
}

/// Something in bytes that must not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    code: &'static str,
    what: &'static str,
    name: Option<Text>,
    at: usize,
}

impl Found {
    fn content(what: &'static str, at: usize) -> Self {
        Self { code: codes::BIOMETRIC, what, name: None, at }
    }

    fn name(name: &str, at: usize) -> Self {
        let what = "a name of a biometric template or image";
        Self { code: codes::BIOMETRIC, what, name: Some(name.into()), at }
    }

    fn secret(name: &str, at: usize) -> Self {
        Self { code: codes::SECRET_FIELD, what: "a secret field", name: Some(name.into()), at }
    }

    /// The rejection code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    fn trip(self) -> Trip {
        match (self.code, self.name) {
            (codes::SECRET_FIELD, _) => Trip::Secret,
            (_, Some(_)) => Trip::Named,
            (_, None) => Trip::Content(self.what),
        }
    }

    /// The failure to report: `place` says in what.
    pub fn fail(self, place: &'static str) -> Fail {
        let fail = Fail::new(self.code, format!("{place} holds {}", self.what)).at(self.at);
        match self.name {
            Some(name) => fail.named(Name::Theirs(name)),
            None => fail,
        }
    }
}
