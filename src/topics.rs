//! Which settings belong to which topic: by its name, or by a pattern that its name matches.

use crate::error::{Error, Result};
use regex::Regex;
use std::{collections::HashMap, fmt};

/// A regular expression over names of topics. A name matches as a whole.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Kafka's own limit of a name, and more than enough for a pattern.
    const LONGEST: usize = 249;

    /// Reads one. `^` and `$` at its ends may be there and change nothing.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > Self::LONGEST {
            return Err(Error::config(format!("a pattern has 1 to {} characters", Self::LONGEST)));
        }
        // apart, so that what is wrong is told of the pattern and not of what is put around it
        let wrong = |e: &regex::Error| {
            // the crate draws the place into the pattern, over several lines; the last one says what it is
            let words = e.to_string();
            let words = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Error::config(format!("{text:?} is no regular expression: {words}"))
        };
        Regex::new(text).map_err(|e| wrong(&e))?;
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|e| wrong(&e))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether the whole name matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A name for what belongs to it that is no topic's name and stays a part of a path: `~` and the pattern, in which
    /// whatever is not of Kafka's alphabet is `%` and its hexadecimal byte.
    pub fn label(&self) -> String {
        self.text.bytes().fold(String::from("~"), |mut label, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => label.push(byte.into()),
                _ => label.push_str(&format!("%{byte:02X}")),
            }
            label
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Values of topics. A name comes before every pattern, an earlier pattern before a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByTopic<T> {
    names: HashMap<String, T>,
    patterns: Vec<(Pattern, T)>,
}

impl<T> ByTopic<T> {
    /// Adds the value of one topic.
    pub fn insert(&mut self, topic: String, value: T) {
        self.names.insert(topic, value);
    }

    /// Adds the value of all topics that match and have none yet.
    pub fn insert_pattern(&mut self, pattern: Pattern, value: T) {
        self.patterns.push((pattern, value));
    }

    /// The value of a topic.
    pub fn get(&self, topic: &str) -> Option<&T> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(topic)).map(|(_, value)| value);
        self.names.get(topic).or_else(by_pattern)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.names.values().chain(self.patterns.iter().map(|(_, value)| value))
    }

    /// All values, with the names of topics and the [labels](Pattern::label) of patterns.
    pub fn labelled(&self) -> impl Iterator<Item = (String, &T)> {
        let names = self.names.iter().map(|(name, value)| (name.clone(), value));
        names.chain(self.patterns.iter().map(|(pattern, value)| (pattern.label(), value)))
    }

    /// The same, to change them.
    pub fn labelled_mut(&mut self) -> impl Iterator<Item = (String, &mut T)> {
        let names = self.names.iter_mut().map(|(name, value)| (name.clone(), value));
        names.chain(self.patterns.iter_mut().map(|(pattern, value)| (pattern.label(), value)))
    }

    /// The topics that have a value by their name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The patterns, in their order.
    pub fn patterns(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        self.patterns.iter().map(|(pattern, value)| (pattern, value))
    }

    /// The same choice with other values.
    pub fn map<U>(&self, to: impl Fn(&T) -> U) -> ByTopic<U> {
        ByTopic {
            names: self.names.iter().map(|(name, value)| (name.clone(), to(value))).collect(),
            patterns: self.patterns.iter().map(|(pattern, value)| (pattern.clone(), to(value))).collect(),
        }
    }
}

impl<T> Default for ByTopic<T> {
    fn default() -> Self {
        Self { names: HashMap::new(), patterns: Vec::new() }
    }
}

impl<T> FromIterator<(String, T)> for ByTopic<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(values: I) -> Self {
        Self { names: values.into_iter().collect(), patterns: Vec::new() }
    }
}

impl<T> From<HashMap<String, T>> for ByTopic<T> {
    fn from(names: HashMap<String, T>) -> Self {
        Self { names, patterns: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_as_a_whole_or_not_at_all() {
        for (pattern, topic, matches) in [
            (r"auth\..*", "auth.logins", true),
            (r"auth\..*", "my.auth.logins", false),
            (r"^auth\.[a-z]+$", "auth.logins", true),
            (r"^auth\.[a-z]+$", "auth.logins.2", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("auth", "auth.logins", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(topic), matches, "{pattern} {topic}");
        }
        for wrong in ["", "(", "a)(b", "*", &"x".repeat(250)] {
            let error = Pattern::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("(?:"), "{error}");
        }
    }

    #[test]
    fn a_name_comes_before_patterns_and_these_come_in_their_order() {
        let mut by = ByTopic::default();
        by.insert_pattern(Pattern::parse(r"auth\..*").unwrap(), 1);
        by.insert_pattern(Pattern::parse(".*").unwrap(), 2);
        by.insert("auth.admin".into(), 3);
        assert_eq!(["auth.admin", "auth.logins", "vpn"].map(|topic| by.get(topic).copied()), [3, 1, 2].map(Some));
        assert_eq!(ByTopic::<u8>::default().get("auth"), None);
        let doubled = by.map(|value| value * 2);
        assert_eq!((doubled.get("vpn"), doubled.values().sum::<i32>()), (Some(&4), 12));
    }

    #[test]
    fn the_label_of_a_pattern_is_no_topic_and_stays_in_its_folder() {
        for (pattern, label) in [(r"auth\..*", "~auth%5C..%2A"), ("..", "~.."), ("a/b", "~a%2Fb"), ("ä", "~%C3%A4")] {
            let found = Pattern::parse(pattern).unwrap().label();
            assert_eq!(found, label);
            assert!(crate::position::is_kafka_name("a") && !crate::position::is_kafka_name(&found));
        }
    }
}
