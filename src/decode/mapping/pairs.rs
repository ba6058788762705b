//! `key=value` pairs in a line of text: logfmt, and what products make of it.

use std::{borrow::Cow, ops::Range};

/// How pairs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pairs {
    /// Between two pairs.
    pub between: String,
    /// Between key and value.
    pub equals: String,
    /// Around values that hold what stands between pairs.
    pub quote: Option<char>,
    /// Before a quote that belongs to the value.
    pub escape: Option<char>,
    /// Whether the escape also stands before itself. Where it does not, a value that ends in it cannot be told from one
    /// that goes on.
    pub escapes_itself: bool,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Each key once: what stands first counts, so that what a user sends later in the line forges nothing.
    pub pairs: Vec<Pair<'a>>,
    /// Where the text could be read in more than one way, or in none: what follows was left alone.
    pub unclear: Option<Range<usize>>,
}

/// A key and its value.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Pairs of a line; of more the rest is left alone.
const MAX_PAIRS: usize = 512;

impl Pairs {
    pub fn read<'a>(&self, text: &'a str) -> Found<'a> {
        let mut found = Found::default();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if self.between.trim().is_empty() && rest.starts_with(char::is_whitespace) {
                at += rest.len() - rest.trim_start().len();
                continue;
            }
            let Some((pair, length)) = self.pair(rest) else {
                found.unclear = Some(at..text.len());
                break;
            };
            let repeated = found.pairs.iter().any(|(key, _)| *key == pair.0);
            if repeated || found.pairs.len() >= MAX_PAIRS {
                found.unclear = Some(at..text.len());
                break;
            }
            found.pairs.push(pair);
            at += length;
        }
        found
    }

    /// The next pair, and how many bytes it and what stands behind it take.
    fn pair<'a>(&self, text: &'a str) -> Option<(Pair<'a>, usize)> {
        let equals = text.find(&self.equals)?;
        let key = text[..equals].trim();
        if key.is_empty() || key.contains(char::is_whitespace) || key.contains(&self.between) {
            return None;
        }
        let start = equals + self.equals.len();
        let rest = &text[start..];
        let (value, length) = match self.quote {
            Some(quote) if rest.starts_with(quote) => self.quoted(rest, quote)?,
            _ => {
                let end = rest.find(&self.between).unwrap_or(rest.len());
                (Cow::Borrowed(rest[..end].trim_end()), end)
            }
        };
        let behind = &rest[length..];
        let gap =
            if behind.is_empty() { 0 } else { behind.starts_with(&self.between).then_some(self.between.len())? };
        Some(((Cow::Borrowed(key), value), start + length + gap))
    }

    /// A value in quotes, which is where `text` begins.
    fn quoted<'a>(&self, text: &'a str, quote: char) -> Option<(Cow<'a, str>, usize)> {
        let inner = &text[quote.len_utf8()..];
        let mut value: Option<String> = None;
        let mut plain = 0;
        let mut chars = inner.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                let length = quote.len_utf8() + at + quote.len_utf8();
                return Some(match value {
                    None => (Cow::Borrowed(&inner[..at]), length),
                    Some(value) => (Cow::Owned(value + &inner[plain..at]), length),
                });
            }
            let escaped = |next: char| next == quote || self.escapes_itself && Some(next) == self.escape;
            if Some(c) == self.escape
                && let Some((next_at, next)) = chars.next_if(|(_, next)| escaped(*next))
            {
                let value = value.get_or_insert_default();
                value.push_str(&inner[plain..at]);
                value.push(next);
                plain = next_at + next.len_utf8();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keycloak() -> Pairs {
        let quote = Some('"');
        Pairs { between: ", ".into(), equals: "=".into(), quote, escape: Some('\\'), escapes_itself: false }
    }

    fn logfmt() -> Pairs {
        let quote = Some('"');
        Pairs { between: " ".into(), equals: "=".into(), quote, escape: Some('\\'), escapes_itself: true }
    }

    fn read(pairs: &Pairs, text: &str) -> (Vec<(String, String)>, bool) {
        let found = pairs.read(text);
        let owned = |(k, v): (Cow<str>, Cow<str>)| (k.into_owned(), v.into_owned());
        (found.pairs.into_iter().map(owned).collect(), found.unclear.is_some())
    }

    #[test]
    fn quotes_escapes_and_plain_values_are_read() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let ab = vec![pair("a", "1"), pair("b", "2 3")];
        assert_eq!(read(&logfmt(), r#"a=1 b="2 3""#), (ab.clone(), false));
        assert_eq!(read(&logfmt(), r#"  a=1   b="2 3"  "#), (ab, false));
        assert_eq!(read(&logfmt(), r#"a="x\\" b="y\"z""#).0, [pair("a", "x\\"), pair("b", "y\"z")]);
        assert_eq!(read(&logfmt(), "a= b=2").0, [pair("a", ""), pair("b", "2")]);
        assert_eq!(read(&keycloak(), r#"u="mal\", error=\"none", ip="1""#).0[1], pair("ip", "1"));
        assert_eq!(read(&keycloak(), r#"u="back\slash""#).0, [pair("u", "back\\slash")]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_left_alone() {
        // the value of u ends in a backslash
        let (pairs, unclear) = read(&keycloak(), r#"t="LOGIN", u="evil\", s="1""#);
        assert_eq!((pairs.len(), unclear), (1, true));
        let (pairs, unclear) = read(&keycloak(), r#"t="LOGIN", t="LOGOUT", u="x""#);
        assert_eq!((pairs[0].1.as_str(), pairs.len(), unclear), ("LOGIN", 1, true));
        for broken in ["x", "=1", "a b=1", r#"a="1"b="2""#, r#"a="1"#] {
            assert!(read(&keycloak(), broken).1, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_with_quotes_reads_back(values in prop::collection::vec("[^\\\\]{0,12}", 1..6)) {
            let line: Vec<String> =
                values.iter().enumerate().map(|(i, v)| format!("k{i}=\"{}\"", v.replace('"', "\\\""))).collect();
            let (pairs, unclear) = read(&keycloak(), &line.join(", "));
            prop_assert!(!unclear);
            prop_assert_eq!(pairs.into_iter().map(|(_, v)| v).collect::<Vec<_>>(), values);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: String, more in "[a-c=\", \\\\]{0,30}") {
            for pairs in [keycloak(), logfmt()] {
                let _ = (pairs.read(&text), pairs.read(&more));
            }
        }
    }
}
