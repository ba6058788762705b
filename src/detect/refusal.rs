//! Which test of a predicate refused a record, in the words of the rule: for people who ask why a rule is quiet. It
//! costs allocations and is never used on the way of an event.

use super::{
    derived::{Compared, Derived, Side, Words},
    list::List,
    predicate::{Compare, Number, Pred},
    script::clip,
    subject::{Selector, Subject},
};
use crate::event::{Field, FieldType, Value};

/// Bytes of a field's text that are shown.
const LONGEST: usize = 200;

/// A test that a record did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The test, as a rule would write it.
    pub test: String,
    /// The fields that it looks at, and what they hold; `None` for one that is not set.
    pub found: Vec<(String, Option<String>)>,
}

impl Refusal {
    /// One line: `outcome == FAILURE: it is SUCCESS`.
    pub fn line(&self) -> String {
        let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        match self.found.as_slice() {
            [] => self.test.clone(),
            [(_, value)] => format!("{}: it is {}", self.test, told(value)),
            several => {
                let fields: Vec<String> =
                    several.iter().map(|(name, value)| format!("{name} is {}", told(value))).collect();
                format!("{}: {}", self.test, fields.join(", "))
            }
        }
    }
}

impl Pred {
    /// The tests that refused a record: of tests joined with `&` each one that failed; a choice (`|`) is one test.
    /// Empty if the predicate holds.
    pub(super) fn refusals(&self, subject: &Subject<'_>, lists: &[List]) -> Vec<Refusal> {
        if self.holds(subject, lists) {
            return Vec::new();
        }
        if let Self::All(parts) = self {
            return parts.iter().flat_map(|part| part.refusals(subject, lists)).collect();
        }
        let mut selectors: Vec<Selector> = Vec::new();
        self.walk(&mut |part| {
            for selector in part.selectors() {
                if !selectors.contains(&selector) {
                    selectors.push(selector);
                }
            }
        });
        let found = selectors.iter().map(|selector| (selector.name(), show_value(subject.get(selector)))).collect();
        vec![Refusal { test: self.shown(lists), found }]
    }

    /// The fields that this part itself looks at, without those of the parts in it.
    fn selectors(&self) -> Vec<Selector> {
        match self {
            Self::Const(_) | Self::Not(_) | Self::All(_) | Self::Any(_) => Vec::new(),
            Self::Symbol(field, _) => vec![Selector::Field(*field)],
            Self::IsRejection | Self::IsFinding => vec![Selector::Kind],
            Self::Text(selector, _)
            | Self::OneOf(selector, _)
            | Self::Matches(selector, _)
            | Self::Number(selector, ..)
            | Self::Bool(selector, _)
            | Self::Exists(selector)
            | Self::Contains(selector, _)
            | Self::InList(selector, _) => vec![selector.clone()],
            Self::Words(selector, ..) | Self::MatchesAnyCase(selector, _) => vec![selector.clone()],
            Self::Same(one, other) | Self::Alike(one, other) => vec![one.clone(), other.clone()],
            Self::Compared(compared) => {
                let right = match &compared.right {
                    Side::Number(_) => None,
                    Side::Derived(derived) => Some(derived.field.clone()),
                };
                [compared.left.field.clone()].into_iter().chain(right).collect()
            }
        }
    }

    /// The predicate as a rule would write it.
    pub(super) fn shown(&self, lists: &[List]) -> String {
        match self {
            Self::Const(value) => value.to_string(),
            Self::Symbol(field, mask) => symbols(*field, *mask, "=="),
            Self::IsRejection => "kind == REJECTION".into(),
            Self::IsFinding => "kind == FINDING".into(),
            Self::Text(selector, text) => format!("{} == {text:?}", selector.name()),
            Self::OneOf(selector, texts) => {
                let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
                format!("{}.one_of([{}])", selector.name(), texts.join(", "))
            }
            Self::Matches(selector, pattern) => format!("{}.matches({pattern:?})", selector.name()),
            Self::Number(selector, compare, number) => {
                format!("{} {} {}", selector.name(), sign(*compare), show_number(*number))
            }
            Self::Bool(selector, value) => format!("{} == {value}", selector.name()),
            Self::Exists(selector) => format!("{}.exists()", selector.name()),
            Self::Contains(selector, text) => format!("{}.contains({text:?})", selector.name()),
            Self::Same(one, other) => format!("{} == {}", one.name(), other.name()),
            Self::Alike(one, other) => format!("{}.lower() == {}.lower()", one.name(), other.name()),
            Self::Words(selector, words, fold) => show_words(selector, words, *fold),
            Self::Compared(compared) => show_compared(compared),
            Self::MatchesAnyCase(selector, pattern) => {
                format!("{}.matches_any_case({:?})", selector.name(), pattern.to_string())
            }
            Self::InList(selector, list) => {
                let name = lists.get(*list).map_or("?", |list| list.name.as_str());
                format!("{}.in_list({name:?})", selector.name())
            }
            Self::Not(inner) => inner.turned_round(lists),
            Self::All(parts) => joined(parts, " & ", lists),
            Self::Any(parts) => joined(parts, " | ", lists),
        }
    }

    /// The opposite of the predicate, as a rule would write it.
    fn turned_round(&self, lists: &[List]) -> String {
        match self {
            Self::Symbol(field, mask) => symbols(*field, *mask, "!="),
            Self::IsRejection => "kind != REJECTION".into(),
            Self::IsFinding => "kind != FINDING".into(),
            Self::Text(selector, text) => format!("{} != {text:?}", selector.name()),
            Self::Same(one, other) => format!("{} != {}", one.name(), other.name()),
            other => match other {
                Self::All(_) | Self::Any(_) => format!("!{}", grouped(other, lists)),
                _ => format!("!{}", other.shown(lists)),
            },
        }
    }
}

fn grouped(part: &Pred, lists: &[List]) -> String {
    match part {
        Pred::All(_) | Pred::Any(_) => format!("({})", part.shown(lists)),
        _ => part.shown(lists),
    }
}

fn joined(parts: &[Pred], with: &str, lists: &[List]) -> String {
    parts.iter().map(|part| grouped(part, lists)).collect::<Vec<_>>().join(with)
}

fn sign(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "==",
        Compare::Less => "<",
        Compare::LessOrEqual => "<=",
        Compare::Greater => ">",
        Compare::GreaterOrEqual => ">=",
    }
}

fn show_words(selector: &Selector, words: &Words, fold: bool) -> String {
    let name = if fold { format!("{}.lower()", selector.name()) } else { selector.name() };
    match words {
        Words::Is(text) => format!("{name} == {text:?}"),
        Words::OneOf(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
            format!("{name}.one_of([{}])", texts.join(", "))
        }
        Words::Starts(text) => format!("{name}.starts_with({text:?})"),
        Words::Ends(text) => format!("{name}.ends_with({text:?})"),
        Words::Has(text) => format!("{name}.contains({text:?})"),
        Words::Matches(pattern) => format!("{name}.matches({pattern:?})"),
    }
}

fn show_compared(compared: &Compared) -> String {
    let side = |derived: &Derived| match derived.how.name() {
        "" => derived.field.name(),
        how => format!("{}.{how}()", derived.field.name()),
    };
    let right = match &compared.right {
        Side::Number(number) => number.to_whole().map_or_else(|| number.to_float().to_string(), |n| n.to_string()),
        Side::Derived(derived) => side(derived),
    };
    format!("{} {} {right}", side(&compared.left), sign(compared.compare))
}

fn show_number(number: Number) -> String {
    match number {
        Number::Int(number) => number.to_string(),
        Number::Float(number) => number.to_string(),
    }
}

fn symbols(field: Field, mask: u32, sign: &str) -> String {
    let FieldType::Enum(all, _) = field.field_type() else { return format!("{} {sign} ?", field.name()) };
    let named: Vec<&str> =
        all.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, symbol)| *symbol).collect();
    match named.as_slice() {
        [one] => format!("{} {sign} {one}", field.name()),
        several => {
            let not = if sign == "!=" { "!" } else { "" };
            format!("{not}{}.one_of([{}])", field.name(), several.join(", "))
        }
    }
}

/// A value for people: texts in quotes, so that blanks are seen.
pub(super) fn show_value(value: Value<'_>) -> Option<String> {
    let text = |text: &str| {
        let cut = clip(text, LONGEST);
        format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
    };
    Some(match value {
        Value::Null => return None,
        Value::Text(found) => text(found),
        Value::Symbol(symbol) => symbol.into(),
        Value::Long(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Micros(moment) => show_time(moment.0),
        Value::Texts(texts) => {
            let shown: Vec<String> = texts.iter().take(8).map(|found| text(found)).collect();
            format!("[{}{}]", shown.join(", "), if texts.len() > 8 { ", …" } else { "" })
        }
        Value::Map(map) => format!("a map of {} entries", map.len()),
    })
}

/// A moment in RFC 3339, from microseconds since 1970.
pub(super) fn show_time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{predicate::symbol_bit, subject::What},
        event::{Activity, AuthEvent, Outcome},
        position::ChainId,
    };
    use std::sync::Arc;

    fn refused(pred: &Pred, event: &AuthEvent) -> Vec<String> {
        let chain = Arc::new("main/a/0/0".parse::<ChainId>().unwrap());
        let subject = Subject::new(What::Event(event), &chain, 0, 0);
        let lists = [List::of("egress", ["192.0.2.0/24".to_owned()])];
        let refusals = pred.refusals(&subject, &lists);
        assert_eq!(refusals.is_empty(), pred.holds(&subject, &lists), "{pred:?}");
        refusals.iter().map(Refusal::line).collect()
    }

    fn field(name: &str) -> Selector {
        Selector::from_name(name).unwrap()
    }

    fn symbol(field: Field, name: &str) -> Pred {
        Pred::Symbol(field, symbol_bit(field, name).unwrap())
    }

    #[test]
    fn each_test_that_failed_is_named_with_what_was_found() {
        let event = AuthEvent {
            activity: Activity::Logon,
            outcome: Outcome::Success,
            user: Some("ann".into()),
            src_ip: Some("192.0.2.7".into()),
            ..AuthEvent::default()
        };
        let when = symbol(Field::activity, "LOGON")
            .and(symbol(Field::outcome, "FAILURE"))
            .and(Pred::Not(Box::new(Pred::InList(field("src_ip"), 0))));
        assert_eq!(
            refused(&when, &event),
            ["outcome == FAILURE: it is SUCCESS", "!src_ip.in_list(\"egress\"): it is \"192.0.2.7\""]
        );
        assert_eq!(refused(&symbol(Field::activity, "LOGON"), &event), Vec::<String>::new());
        let either = Pred::Text(field("user"), "bob".into()).or(Pred::Exists(field("reason")));
        assert_eq!(refused(&either, &event), ["user == \"bob\" | reason.exists(): user is \"ann\", reason is not set"]);
    }

    #[test]
    fn every_kind_of_test_is_written_as_a_rule_writes_it() {
        let both = Pred::Symbol(
            Field::activity,
            symbol_bit(Field::activity, "LOGON").unwrap() | symbol_bit(Field::activity, "STEP_UP").unwrap(),
        );
        for (pred, text) in [
            (Pred::Const(false), "false"),
            (both.clone(), "activity.one_of([LOGON, STEP_UP])"),
            (Pred::Not(Box::new(both)), "!activity.one_of([LOGON, STEP_UP])"),
            (Pred::Not(Box::new(symbol(Field::outcome, "FAILURE"))), "outcome != FAILURE"),
            (Pred::IsRejection, "kind == REJECTION"),
            (Pred::Not(Box::new(Pred::IsRejection)), "kind != REJECTION"),
            (Pred::Not(Box::new(Pred::Text(field("user"), "a".into()))), "user != \"a\""),
            (Pred::OneOf(field("reason"), ["a".into(), "b".into()].into()), "reason.one_of([\"a\", \"b\"])"),
            (Pred::Matches(field("user"), "svc-*".into()), "user.matches(\"svc-*\")"),
            (Pred::Number(field("acr"), Compare::GreaterOrEqual, Number::Int(2)), "acr >= 2"),
            (Pred::Number(field("lat"), Compare::Less, Number::Float(48.5)), "lat < 48.5"),
            (Pred::Bool(field("is_vpn"), true), "is_vpn == true"),
            (Pred::Not(Box::new(Pred::Exists(field("user")))), "!user.exists()"),
            (Pred::Contains(field("privileges"), "admin".into()), "privileges.contains(\"admin\")"),
            (Pred::Not(Box::new(Pred::Same(field("actor"), field("user")))), "actor != user"),
            (
                Pred::Not(Box::new(Pred::Exists(field("user")).and(Pred::Exists(field("actor"))))),
                "!(user.exists() & actor.exists())",
            ),
            (Pred::Text(Selector::Attribute("x".into()), "7".into()), "attr(\"x\") == \"7\""),
        ] {
            assert_eq!(pred.shown(&[]), text);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = "x".repeat(1000);
        let shown = show_value(Value::Text(&long)).unwrap();
        assert!(shown.len() < 220 && shown.ends_with("\"…"), "{shown}");
        assert_eq!(show_time(1_767_571_200_000_000), "2026-01-05T00:00:00Z");
    }
}
