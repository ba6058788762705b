//! Patterns that do not care for case: `user.matches_any_case("adm*")`. Other systems' rules mean their strings so.

use super::{derived::folded, predicate::glob};
use crate::event::Text;
use std::fmt;

/// A pattern in lower case, ready to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folded(Text);

impl Folded {
    /// The pattern, in which `*` is any run of characters and `?` any character.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_lowercase().into())
    }

    /// Whether the whole of `text` matches, in whatever case.
    pub fn matches(&self, text: &str) -> bool {
        let pattern = self.0.chars();
        if text.is_ascii() {
            // most are, and need no tables
            return glob(pattern, text.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        glob(pattern, folded(text))
    }
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::predicate::matches;
    use proptest::prelude::*;

    #[test]
    fn case_does_not_matter_and_characters_count_once() {
        for (pattern, text, yes) in [
            ("Admin", "aDMIN", true),
            ("admin", "administrator", false),
            ("ADM*", "administrator", true),
            ("*@Example.org", "Ann@EXAMPLE.ORG", true),
            ("s?c", "SVC", true),
            ("s?c", "sc", false),
            ("größe", "GRÖSSE", false),
            ("größe", "GRÖßE", true),
            ("m?ller", "MÜLLER", true),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Folded::new(pattern).matches(text), yes, "{pattern} {text}");
        }
        assert_eq!(Folded::new("ADM*").to_string(), "adm*");
    }

    #[test]
    fn a_hostile_pattern_and_text_end_soon() {
        for text in ["a".repeat(8192), "ä".repeat(4096)] {
            assert!(!Folded::new("*A*a*A*a*A*a*b").matches(&text));
        }
    }

    proptest! {
        #[test]
        fn in_lower_case_it_is_what_matches_is(pattern in "[ab*?]{0,8}", text in "[ab]{0,12}") {
            let plain = matches(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Folded::new(&pattern).matches(&text), plain);
            prop_assert_eq!(Folded::new(&pattern.to_uppercase()).matches(&text.to_uppercase()), plain);
            // the same with characters that take two bytes
            let wide = |s: &str| s.replace('a', "Ä");
            prop_assert_eq!(Folded::new(&wide(&pattern)).matches(&wide(&text)), plain);
        }
    }
}
