//! What `when` works out of a field before it compares: its length, the number in a text, the hour of a moment, a text
//! in lower case. Nothing here allocates.

use super::{
    decimal::Decimal,
    predicate::{Compare, glob},
    subject::{Selector, Subject},
};
use crate::event::{Micros, Text, Value};

const HOUR: i64 = 3_600_000_000;

/// What is worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Characters of a string, entries of an array or a map.
    Length,
    /// The number that a field is, or that its text says.
    Number,
    /// 0 to 23, UTC.
    Hour,
    /// Monday is 1, Sunday 7, UTC.
    Weekday,
    /// Seconds from the moment to the event.
    Age,
    /// The moment itself, in microseconds.
    Moment,
}

impl How {
    /// As rules write it.
    pub fn name(self) -> &'static str {
        ["len", "number", "hour", "weekday", "age", ""][self as usize]
    }

    /// The least and the largest that it can be, where there are bounds.
    pub fn bounds(self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Length => (Some(0), None),
            Self::Hour => (Some(0), Some(23)),
            Self::Weekday => (Some(1), Some(7)),
            _ => (None, None),
        }
    }
}

/// A number worked out of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derived {
    /// The field.
    pub field: Selector,
    /// What of it.
    pub how: How,
}

impl Derived {
    /// The number; none if the field is not set, or holds none.
    pub fn of(&self, subject: &Subject<'_>) -> Option<Decimal> {
        Some(match (self.how, subject.get(&self.field)) {
            (How::Length, Value::Text(text)) => Decimal::whole(text.chars().count() as u64),
            (How::Length, Value::Texts(texts)) => Decimal::whole(texts.len() as u64),
            (How::Length, Value::Map(map)) => Decimal::whole(map.len() as u64),
            (How::Number, Value::Long(number)) => Decimal::whole(number),
            (How::Number, Value::Double(number)) => Decimal::of_float(number)?,
            (How::Number, Value::Text(text)) => Decimal::parse(text)?,
            (How::Hour, Value::Micros(moment)) => Decimal::whole(hour(moment)),
            (How::Weekday, Value::Micros(moment)) => Decimal::whole(weekday(moment)),
            (How::Age, Value::Micros(moment)) => {
                Decimal(i128::from(subject.time.saturating_sub(moment.0)) * 1000) // from microseconds to billionths
            }
            (How::Moment, Value::Micros(moment)) => Decimal(moment.0.into()),
            _ => return None,
        })
    }
}

/// The hour of a moment, UTC.
pub(super) fn hour(moment: Micros) -> i64 {
    moment.0.div_euclid(HOUR).rem_euclid(24)
}

/// The day of the week of a moment, UTC: Monday is 1.
pub(super) fn weekday(moment: Micros) -> i64 {
    (moment.0.div_euclid(24 * HOUR) + 3).rem_euclid(7) + 1 // 1970-01-01 was a Thursday
}

/// What a number is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    /// A number of the rule.
    Number(Decimal),
    /// Another number of the record.
    Derived(Derived),
}

/// A comparison of numbers that are worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// The left side.
    pub left: Derived,
    /// How.
    pub compare: Compare,
    /// The right side.
    pub right: Side,
}

impl Compared {
    /// Whether it holds: not if a side has no number.
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        let right = match &self.right {
            Side::Number(number) => Some(*number),
            Side::Derived(derived) => derived.of(subject),
        };
        self.left.of(subject).zip(right).is_some_and(|(left, right)| self.compare.holds(left.cmp(&right)))
    }

    /// Whether a field of it satisfies a test.
    pub fn any_field(&self, test: impl Fn(&Selector) -> bool) -> bool {
        let right = match &self.right {
            Side::Number(_) => false,
            Side::Derived(derived) => test(&derived.field),
        };
        test(&self.left.field) || right
    }
}

/// A test of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// It is this one.
    Is(Text),
    /// It is one of these.
    OneOf(Box<[Text]>),
    /// It begins so.
    Starts(Text),
    /// It ends so.
    Ends(Text),
    /// This stands in it.
    Has(Text),
    /// It matches a pattern of `*` and `?`.
    Matches(Text),
}

impl Words {
    /// Whether it holds for a text; `fold` says that the text is taken in lower case.
    pub fn holds(&self, text: &str, fold: bool) -> bool {
        match (self, fold) {
            (Self::Is(wanted), false) => text == wanted,
            (Self::OneOf(wanted), false) => wanted.iter().any(|wanted| text == wanted),
            (Self::Starts(wanted), false) => text.starts_with(wanted.as_str()),
            (Self::Ends(wanted), false) => text.ends_with(wanted.as_str()),
            (Self::Has(wanted), false) => text.contains(wanted.as_str()),
            (Self::Matches(pattern), false) => glob(pattern.chars(), text.chars()),
            (Self::Is(wanted), true) => folded(text).eq(wanted.chars()),
            (Self::OneOf(wanted), true) => wanted.iter().any(|wanted| folded(text).eq(wanted.chars())),
            (Self::Starts(wanted), true) => begins(folded(text), wanted.chars()),
            (Self::Ends(wanted), true) => begins(folded(text).rev(), wanted.chars().rev()),
            (Self::Has(wanted), true) => {
                let mut rest = folded(text);
                loop {
                    if begins(rest.clone(), wanted.chars()) {
                        return true;
                    }
                    if rest.next().is_none() {
                        return false;
                    }
                }
            }
            (Self::Matches(pattern), true) => glob(pattern.chars(), folded(text)),
        }
    }

    /// The strings of the rule in it.
    pub fn texts(&self) -> &[Text] {
        match self {
            Self::OneOf(texts) => texts,
            Self::Is(text) | Self::Starts(text) | Self::Ends(text) | Self::Has(text) | Self::Matches(text) => {
                std::slice::from_ref(text)
            }
        }
    }
}

/// A text in lower case.
pub(super) fn folded(text: &str) -> impl DoubleEndedIterator<Item = char> + Clone {
    text.chars().flat_map(char::to_lowercase)
}

fn begins(mut text: impl Iterator<Item = char>, mut wanted: impl Iterator<Item = char>) -> bool {
    wanted.all(|wanted| text.next() == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_days_are_those_of_utc() {
        // 2026-01-05T00:00:00Z, a Monday
        let monday = 1_767_571_200_000_000;
        for (after, wanted) in [
            (0, (0, 1)),
            (HOUR - 1, (0, 1)),
            (HOUR, (1, 1)),
            (24 * HOUR - 1, (23, 1)),
            (24 * HOUR, (0, 2)),
            (-1, (23, 7)),
        ] {
            let moment = Micros(monday + after);
            assert_eq!((hour(moment), weekday(moment)), wanted, "{after}");
        }
        assert_eq!((hour(Micros(-1)), weekday(Micros(-1)), weekday(Micros(0))), (23, 3, 4), "before 1970");
    }

    #[test]
    fn words_are_tested_as_they_are_or_in_lower_case() {
        let text = |text: &str| Text::from(text);
        for (words, as_is, folded) in [
            (Words::Is(text("Ädmin@EU")), true, false),
            (Words::Is(text("ädmin@eu")), false, true),
            (Words::OneOf([text("x"), text("ädmin@eu")].into()), false, true),
            (Words::Starts(text("Ä")), true, false),
            (Words::Starts(text("ädm")), false, true),
            (Words::Starts(text("")), true, true),
            (Words::Ends(text("EU")), true, false),
            (Words::Ends(text("n@eu")), false, true),
            (Words::Ends(text("xädmin@eu")), false, false),
            (Words::Has(text("n@E")), true, false),
            (Words::Has(text("n@e")), false, true),
            (Words::Has(text("eu!")), false, false),
            (Words::Matches(text("Ädmin*")), true, false),
            (Words::Matches(text("*in@?u")), false, true),
        ] {
            assert_eq!((words.holds("Ädmin@EU", false), words.holds("Ädmin@EU", true)), (as_is, folded), "{words:?}");
        }
    }
}
