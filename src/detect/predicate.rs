//! Native predicates: what `when` becomes. Evaluated for every event that the activity index lets through.

use super::{
    derived::{Compared, Words, folded},
    fold::Folded,
    list::List,
    subject::{Selector, Subject},
};
use crate::event::{Activity, Field, FieldType, Outcome, Text, Value};
use std::{cmp::Ordering, str::Chars};

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    /// ==
    Equal,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
}

impl Compare {
    /// Whether an order satisfies it.
    pub fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

/// A number that a rule compares with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Whole.
    Int(i64),
    /// Floating point.
    Float(f64),
}

/// What `when` says. A null field makes every test of it false; `!` of such a test is true.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pred {
    /// Always or never.
    Const(bool),
    /// An enum field has one of these symbols: bit n is symbol n.
    Symbol(Field, u32),
    /// The record is a rejection.
    IsRejection,
    /// The record is a finding.
    IsFinding,
    /// A string equals.
    Text(Selector, Text),
    /// A string is one of these, sorted.
    OneOf(Selector, Box<[Text]>),
    /// A string matches a pattern of `*` and `?`.
    Matches(Selector, Text),
    /// A string matches a pattern of `*` and `?`, in whatever case.
    MatchesAnyCase(Selector, Folded),
    /// A number compares so.
    Number(Selector, Compare, Number),
    /// A boolean is this.
    Bool(Selector, bool),
    /// The field is not null, and no empty array.
    Exists(Selector),
    /// An array of strings has this one.
    Contains(Selector, Text),
    /// Two strings, symbols or truth values are equal, and neither is null.
    Same(Selector, Selector),
    /// Two strings are equal in lower case, and neither is null.
    Alike(Selector, Selector),
    /// A string satisfies a test, perhaps in lower case.
    Words(Selector, Words, bool),
    /// A number that is worked out of a field compares so.
    Compared(Box<Compared>),
    /// The value stands in the list of this index.
    InList(Selector, usize),
    /// Not so.
    Not(Box<Pred>),
    /// All hold.
    All(Box<[Pred]>),
    /// One holds.
    Any(Box<[Pred]>),
}

impl Pred {
    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self::All(
            [self, other].into_iter().flat_map(|p| if let Self::All(parts) = p { parts } else { [p].into() }).collect(),
        )
    }

    /// Either.
    pub fn or(self, other: Self) -> Self {
        Self::Any(
            [self, other].into_iter().flat_map(|p| if let Self::Any(parts) = p { parts } else { [p].into() }).collect(),
        )
    }

    /// Whether the record is selected.
    pub fn holds(&self, subject: &Subject<'_>, lists: &[List]) -> bool {
        match self {
            Self::Const(value) => *value,
            Self::Symbol(field, mask) => match subject.what {
                super::subject::What::Event(event) => mask & (1 << place(event, *field)) != 0,
                super::subject::What::Rejection(_) | super::subject::What::Finding(_) => false,
            },
            Self::IsRejection => matches!(subject.what, super::subject::What::Rejection(_)),
            Self::IsFinding => matches!(subject.what, super::subject::What::Finding(_)),
            Self::Text(selector, text) => subject.get(selector) == Value::Text(text),
            Self::OneOf(selector, texts) => match subject.get(selector) {
                Value::Text(found) => texts.binary_search_by(|text| text.as_str().cmp(found)).is_ok(),
                _ => false,
            },
            Self::Matches(selector, pattern) => match subject.get(selector) {
                Value::Text(text) => matches(pattern.as_bytes(), text.as_bytes()),
                _ => false,
            },
            Self::MatchesAnyCase(selector, pattern) => match subject.get(selector) {
                Value::Text(text) => pattern.matches(text),
                _ => false,
            },
            Self::Number(selector, compare, with) => {
                order(subject.get(selector), *with).is_some_and(|found| compare.holds(found))
            }
            Self::Bool(selector, value) => subject.get(selector) == Value::Bool(*value),
            Self::Exists(selector) => match subject.get(selector) {
                Value::Null => false,
                Value::Texts(texts) => !texts.is_empty(),
                Value::Map(map) => !map.is_empty(),
                _ => true,
            },
            Self::Contains(selector, text) => match subject.get(selector) {
                Value::Texts(texts) => texts.contains(text),
                _ => false,
            },
            Self::Same(a, b) => match (subject.get(a), subject.get(b)) {
                (Value::Text(a), Value::Text(b)) => a == b,
                (Value::Symbol(a), Value::Symbol(b)) => a == b,
                (Value::Bool(a), Value::Bool(b)) => a == b,
                _ => false,
            },
            Self::Alike(a, b) => match (subject.get(a), subject.get(b)) {
                (Value::Text(a), Value::Text(b)) => folded(a).eq(folded(b)),
                _ => false,
            },
            Self::Words(selector, words, fold) => match subject.get(selector) {
                Value::Text(text) => words.holds(text, *fold),
                _ => false,
            },
            Self::Compared(compared) => compared.holds(subject),
            Self::InList(selector, list) => {
                let field = if let Selector::Field(field) = selector { Some(*field) } else { None };
                lists.get(*list).is_some_and(|list| list.selects(subject, field, subject.get(selector)))
            }
            Self::Not(inner) => !inner.holds(subject, lists),
            Self::All(parts) => parts.iter().all(|part| part.holds(subject, lists)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(subject, lists)),
        }
    }

    /// What is left to test of a record of this cell: its activity and outcome are known, or that it has none.
    pub fn in_cell(&self, cell: usize) -> Self {
        let (yes, no) = self.possible();
        if yes & (1 << cell) == 0 || no & (1 << cell) == 0 {
            return Self::Const(yes & (1 << cell) != 0);
        }
        let left = |parts: &[Self], neutral: bool| {
            let parts = parts.iter().map(|part| part.in_cell(cell));
            parts.filter(|part| *part != Self::Const(neutral)).collect::<Vec<Self>>()
        };
        let one = |mut parts: Vec<Self>, all: fn(Box<[Self]>) -> Self| match parts.len() {
            1 => parts.remove(0),
            _ => all(parts.into()),
        };
        match self {
            Self::Not(inner) => Self::Not(Box::new(inner.in_cell(cell))),
            Self::All(parts) => one(left(parts, true), Self::All),
            Self::Any(parts) => one(left(parts, false), Self::Any),
            other => other.clone(),
        }
    }

    /// The same predicate, cheap tests first: all tests are pure, so their order does not matter to the result.
    pub fn ordered(self) -> Self {
        let sort = |parts: Box<[Self]>| {
            let mut parts: Vec<Self> = parts.into_iter().map(Self::ordered).collect();
            parts.sort_by_key(Self::cost);
            parts.into_boxed_slice()
        };
        match self {
            Self::All(parts) => Self::All(sort(parts)),
            Self::Any(parts) => Self::Any(sort(parts)),
            Self::Not(inner) => Self::Not(Box::new(inner.ordered())),
            other => other,
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Const(_) => 0,
            Self::Symbol(..) | Self::IsRejection | Self::IsFinding => 1,
            Self::Number(..) | Self::Bool(..) | Self::Exists(_) => 2,
            Self::Text(..) => 4,
            Self::Same(..) => 5,
            Self::Compared(_) => 6,
            Self::OneOf(_, texts) => 4 + texts.len().max(1).ilog2(),
            Self::Matches(..) | Self::Contains(..) | Self::Words(_, _, false) => 12,
            Self::MatchesAnyCase(..) => 16,
            Self::Alike(..) | Self::Words(_, _, true) => 20,
            Self::InList(..) => 30,
            Self::Not(inner) => inner.cost(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::cost).sum(),
        }
    }

    /// Every part of it.
    pub fn walk(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        match self {
            Self::Not(inner) => inner.walk(visit),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.walk(visit)),
            _ => {}
        }
    }

    /// The cells of the activity index in which the predicate can hold. A rule sees rejections, and findings, only if
    /// it speaks of them.
    pub fn cells(&self) -> u128 {
        let (mut about_rejections, mut about_findings) = (false, false);
        self.walk(&mut |part| {
            about_findings |= matches!(part, Self::IsFinding) || part.is_only_of_findings();
            about_rejections |= match part {
                Self::IsRejection => true,
                Self::Text(s, _) | Self::OneOf(s, _) | Self::Matches(s, _) | Self::Exists(s) | Self::InList(s, _) => {
                    s.is_about_rejections()
                }
                Self::Words(s, ..) | Self::MatchesAnyCase(s, _) => s.is_about_rejections(),
                Self::Same(a, b) | Self::Alike(a, b) => a.is_about_rejections() || b.is_about_rejections(),
                Self::Compared(compared) => compared.any_field(Selector::is_about_rejections),
                _ => false,
            }
        });
        let unasked = if about_rejections { 0 } else { REJECTIONS } | if about_findings { 0 } else { FINDINGS };
        self.possible().0 & !unasked
    }

    /// Whether it is a test of something that only findings have.
    fn is_only_of_findings(&self) -> bool {
        match self {
            Self::Text(s, _) | Self::OneOf(s, _) | Self::Matches(s, _) | Self::Exists(s) => s.is_about_findings(),
            _ => false,
        }
    }

    /// (cells in which it can be true, cells in which it can be false)
    fn possible(&self) -> (u128, u128) {
        match self {
            Self::Const(value) => {
                if *value {
                    (ALL_CELLS, 0)
                } else {
                    (0, ALL_CELLS)
                }
            }
            Self::IsRejection => (REJECTIONS, ALL_CELLS & !REJECTIONS),
            Self::IsFinding => (FINDINGS, ALL_CELLS & !FINDINGS),
            test if test.is_only_of_findings() => (FINDINGS, ALL_CELLS),
            Self::Symbol(Field::activity, mask) => split(|activity, _| mask & (1 << activity) != 0),
            Self::Symbol(Field::outcome, mask) => split(|_, outcome| mask & (1 << outcome) != 0),
            Self::Not(inner) => {
                let (yes, no) = inner.possible();
                (no, yes)
            }
            Self::All(parts) => parts.iter().map(Self::possible).fold((ALL_CELLS, 0), |a, b| (a.0 & b.0, a.1 | b.1)),
            Self::Any(parts) => parts.iter().map(Self::possible).fold((0, ALL_CELLS), |a, b| (a.0 | b.0, a.1 & b.1)),
            _ => (ALL_CELLS, ALL_CELLS),
        }
    }
}

const OUTCOMES: usize = Outcome::SYMBOLS.len();
const EVENT_CELLS: usize = Activity::SYMBOLS.len() * OUTCOMES;
/// How many cells the activity index has: one for each activity and outcome, one for rejections, one for findings.
pub(super) const CELLS: usize = EVENT_CELLS + 2;
/// The cell of findings.
pub(super) const FINDING_CELL: usize = EVENT_CELLS + 1;
const REJECTIONS: u128 = 1 << EVENT_CELLS;
const FINDINGS: u128 = 1 << FINDING_CELL;
const ALL_CELLS: u128 = (1 << CELLS) - 1;
const _: () = assert!(CELLS < 128, "the index is a u128");

/// The cell of a record.
pub(super) fn cell(subject: &Subject<'_>) -> usize {
    match subject.what {
        super::subject::What::Event(event) => event.activity as usize * OUTCOMES + event.outcome as usize,
        super::subject::What::Rejection(_) => EVENT_CELLS,
        super::subject::What::Finding(_) => FINDING_CELL,
    }
}

/// Cells of events for which the test holds, and all others (rejections and findings among them).
fn split(test: impl Fn(usize, usize) -> bool) -> (u128, u128) {
    let yes =
        (0..EVENT_CELLS).filter(|cell| test(cell / OUTCOMES, cell % OUTCOMES)).fold(0, |mask, cell| mask | 1 << cell);
    (yes, ALL_CELLS & !yes)
}

/// The place of an enum field's symbol.
fn place(event: &crate::event::AuthEvent, field: Field) -> usize {
    match field {
        Field::activity => event.activity as usize,
        Field::outcome => event.outcome as usize,
        Field::user_kind => event.user_kind as usize,
        Field::factor => event.factor as usize,
        Field::verification => event.verification as usize,
        _ => 31, // no other field is an enum; no enum has so many symbols, so no mask has this bit
    }
}

/// The bit of a symbol of an enum field.
pub(super) fn symbol_bit(field: Field, symbol: &str) -> Option<u32> {
    let FieldType::Enum(symbols, _) = field.field_type() else { return None };
    symbols.iter().position(|s| *s == symbol).map(|place| 1 << place)
}

/// How a value stands to a number; nothing if it is null, or not a number.
fn order(value: Value<'_>, with: Number) -> Option<Ordering> {
    match (value, with) {
        (Value::Long(found), Number::Int(with)) => Some(found.cmp(&with)),
        (Value::Long(found), Number::Float(with)) => (found as f64).partial_cmp(&with),
        (Value::Double(found), Number::Int(with)) => found.partial_cmp(&(with as f64)),
        (Value::Double(found), Number::Float(with)) => found.partial_cmp(&with),
        _ => None,
    }
}

/// Whether `text` matches `pattern`, in which `*` is any run of bytes and `?` any byte. Case matters.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // where the last star stood, and up to where it has eaten: a later star never needs an earlier one to give back
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, eaten)) = star else { return false };
                star = Some((at, eaten + 1));
                (p, t) = (at + 1, eaten + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The same for characters, with any character for `?`.
pub(super) fn glob(mut pattern: Chars<'_>, mut text: impl Iterator<Item = char> + Clone) -> bool {
    let mut star = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                (star, text) = (Some((pattern.clone(), before.clone())), before);
            }
            (None, None) => return true,
            (Some(_), None) => return false, // a star that gives back leaves less text, not more
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {}
            _ => {
                let Some((after, eaten)) = &mut star else { return false };
                if eaten.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), eaten.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::subject::What, event::AuthEvent, position::ChainId};
    use std::sync::Arc;

    fn logon(outcome: Outcome) -> AuthEvent {
        AuthEvent { activity: Activity::Logon, outcome, user: Some("ann".into()), ..AuthEvent::default() }
    }

    fn holds(pred: &Pred, event: &AuthEvent) -> bool {
        let chain = Arc::new("main/a/0/0".parse::<ChainId>().unwrap());
        pred.holds(&Subject::new(What::Event(event), &chain, 0, 0), &[])
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, yes) in [
            ("*", "", true),
            ("ann", "ann", true),
            ("ann", "anna", false),
            ("a*a", "anna", true),
            ("a*b*c", "a1b2b3c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.example", "x.example.org", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), yes, "{pattern} {text}");
            assert_eq!(glob(pattern.chars(), text.chars()), yes, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_and_text_end_soon() {
        let text = "a".repeat(100_000);
        assert!(!matches(b"*a*a*a*a*a*a*a*b", text.as_bytes()));
        assert!(!glob("*a*a*a*a*a*a*a*b".chars(), text.chars()));
    }

    #[test]
    fn null_makes_tests_false_and_their_opposites_true() {
        let user = || Selector::Field(Field::user_id);
        let event = logon(Outcome::Failure);
        for pred in [
            Pred::Text(user(), "x".into()),
            Pred::OneOf(user(), ["x".into()].into()),
            Pred::Matches(user(), "*".into()),
            Pred::MatchesAnyCase(user(), Folded::new("*")),
            Pred::Exists(user()),
            Pred::Same(user(), user()),
            Pred::Number(Selector::Field(Field::acr), Compare::GreaterOrEqual, Number::Int(0)),
            Pred::Bool(Selector::Field(Field::is_vpn), false),
        ] {
            assert!(!holds(&pred, &event), "{pred:?}");
            assert!(holds(&Pred::Not(Box::new(pred.clone())), &event), "{pred:?}");
        }
    }

    #[test]
    fn what_is_left_in_a_cell_says_the_same_there() {
        let activity = |activity: Activity| Pred::Symbol(Field::activity, 1 << activity as u32);
        let failed = Pred::Symbol(Field::outcome, 1 << Outcome::Failure as u32);
        let (ann, bob) = (Pred::Text(Selector::Field(Field::user), "ann".into()), Pred::Exists(Selector::Kind));
        let not = |pred: &Pred| Pred::Not(Box::new(pred.clone()));
        let logs_on = activity(Activity::Logon);
        let parts = [logs_on.clone(), activity(Activity::Logoff), failed, ann, bob, Pred::IsRejection, Pred::IsFinding];
        for (a, b) in parts.iter().flat_map(|a| parts.iter().map(move |b| (a, b))) {
            for pred in [
                a.clone().and(b.clone()),
                a.clone().or(b.clone()),
                not(a).or(b.clone().and(not(&logs_on))),
                not(&a.clone().and(not(b))),
            ] {
                for activity in [Activity::Logon, Activity::Logoff, Activity::StepUp] {
                    for outcome in [Outcome::Success, Outcome::Failure] {
                        let event = AuthEvent { activity, ..logon(outcome) };
                        let left = pred.in_cell(activity as usize * OUTCOMES + outcome as usize);
                        assert_eq!(holds(&left, &event), holds(&pred, &event), "{pred:?} {left:?}");
                    }
                }
            }
        }
        let cell = Activity::Logon as usize * OUTCOMES + Outcome::Failure as usize;
        assert_eq!(parts[0].clone().and(parts[2].clone()).in_cell(cell), Pred::Const(true), "nothing is left");
    }

    #[test]
    fn the_index_holds_every_cell_in_which_a_predicate_can_hold() {
        let logon_bit = 1 << Activity::Logon as u32;
        let failed =
            Pred::Symbol(Field::activity, logon_bit).and(Pred::Symbol(Field::outcome, 1 << Outcome::Failure as u32));
        assert_eq!(failed.cells().count_ones(), 1);
        assert_eq!(Pred::Not(Box::new(failed.clone())).cells().count_ones() as usize, EVENT_CELLS - 1);
        let either = failed.clone().or(Pred::Text(Selector::Field(Field::user), "ann".into()));
        let events = ALL_CELLS & !REJECTIONS & !FINDINGS;
        assert_eq!(either.cells(), events, "no rule sees rejections or findings by accident");
        assert_eq!(failed.clone().or(Pred::IsFinding).cells().count_ones(), 2);
        let named = Pred::Text(Selector::FindingRule, "AUTH-0001".into());
        assert_eq!((named.cells(), Pred::Not(Box::new(named)).cells()), (FINDINGS, events | FINDINGS));
        assert_eq!(failed.or(Pred::IsRejection).cells().count_ones(), 2);
        assert_eq!(Pred::IsRejection.cells(), REJECTIONS);
        assert_eq!(Pred::IsRejection.and(Pred::Symbol(Field::activity, 1)).cells(), 0, "can never hold");
    }
}
