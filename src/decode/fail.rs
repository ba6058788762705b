//! Why a value is no event, and what of the reason may be told: a detail never shows a piece of a value that is
//! not kept.

use super::codes;
use crate::{avro::Malformed, event::Text, record::Rejection};
use std::borrow::Cow;

/// A detail is at most so many bytes long.
pub(super) const MAX_DETAIL: usize = 512;
/// A name in a detail is at most so many bytes long.
const MAX_NAME: usize = 64;

/// A name in a detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// From a schema or from the table of fields: never a secret.
    Ours(Text),
    /// From the record itself.
    Theirs(Text),
}

/// How much of the record a detail may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// Anything: the record is kept.
    All,
    /// Names that look like names, and no values: something in the record is withheld.
    Names,
    /// Nothing that came out of the value.
    Nothing,
}

/// Why a value is no event. Boxed: results are small where nothing fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fail(Box<Reason>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    code: &'static str,
    /// What is wrong, in words that hold no piece of the record.
    what: Cow<'static, str>,
    /// A piece of the record that explains more.
    shown: Option<String>,
    name: Option<Name>,
    at: Option<usize>,
}

impl Fail {
    pub fn new(code: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Reason { code, what: what.into(), shown: None, name: None, at: None }))
    }

    /// One of [`codes`].
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// An Avro failure at a byte of the value.
    pub fn avro(malformed: Malformed, at: usize) -> Self {
        let code = if malformed == Malformed::Truncated { codes::TRUNCATED } else { codes::NOT_AVRO };
        Self::new(code, malformed.to_string()).at(at)
    }

    /// Counted from the first byte of the value.
    pub fn at(mut self, at: usize) -> Self {
        self.0.at = Some(at);
        self
    }

    /// Counted from `by` bytes earlier.
    pub fn moved(mut self, by: usize) -> Self {
        self.0.at = self.0.at.map(|at| at + by);
        self
    }

    /// Set only when no inner reader knew better.
    pub fn named(mut self, name: Name) -> Self {
        self.0.name.get_or_insert(name);
        self
    }

    /// A piece of the record; told only where the record is kept.
    pub fn showing(mut self, piece: impl Into<String>) -> Self {
        self.0.shown = Some(piece.into());
        self
    }

    /// The rejection, at most [`MAX_DETAIL`] bytes of detail.
    pub fn rejection(&self, show: Show) -> Rejection {
        let Reason { code, what, shown, name, at } = &*self.0;
        let mut detail = what.to_string();
        if let (Show::All, Some(shown)) = (show, shown) {
            detail.push_str(": ");
            detail.push_str(cut(shown, 128));
        }
        let name = name.as_ref().and_then(|name| match name {
            Name::Ours(name) => Some(name),
            Name::Theirs(name) if show == Show::All || show == Show::Names && is_plain(name) => Some(name),
            Name::Theirs(_) => None,
        });
        match (name, at) {
            (Some(name), Some(at)) => detail += &format!(" (field {:?}, byte {at})", cut(name, MAX_NAME)),
            (Some(name), None) => detail += &format!(" (field {:?})", cut(name, MAX_NAME)),
            (None, Some(at)) => detail += &format!(" (byte {at})"),
            (None, None) => {}
        }
        detail.truncate(cut(&detail, MAX_DETAIL).len());
        Rejection::new(code, detail)
    }
}

/// Whether a name reads like one that a programmer gave, not like data used as a key.
fn is_plain(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
}

/// The longest beginning of `text` of at most `most` bytes that ends between characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_show_no_more_than_they_may() {
        let fail = Fail::new("x", "bad").named(Name::Theirs("4111 1111".into())).at(7).showing("hunter2");
        assert_eq!(fail.rejection(Show::All).detail, "bad: hunter2 (field \"4111 1111\", byte 7)");
        assert_eq!(fail.rejection(Show::Names).detail, "bad (byte 7)");
        let fail = Fail::new("x", "bad").named(Name::Theirs("face_image".into())).named(Name::Ours("outer".into()));
        assert_eq!(fail.rejection(Show::Names).detail, "bad (field \"face_image\")");
        assert_eq!(fail.rejection(Show::Nothing).detail, "bad");
        let fail = Fail::new("x", "bad").named(Name::Ours("user".into()));
        assert_eq!(fail.rejection(Show::Nothing).detail, "bad (field \"user\")");
    }

    #[test]
    fn details_are_cut_between_characters() {
        let detail = Fail::new("x", "€".repeat(400)).rejection(Show::All).detail;
        assert_eq!(detail, "€".repeat(170));
    }
}
