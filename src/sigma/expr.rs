//! What a Sigma rule selects, in terms of the canonical event: written as a rule's `when`, and evaluated, so that
//! examples can be found.

use super::pattern::Pattern;
use crate::event::{AuthEvent, Field, Value};
use ipnet::IpNet;
use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

/// What is tested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A field of the canonical event.
    Field(Field),
    /// An attribute.
    Attribute(String),
}

impl Target {
    /// As rules write it.
    pub fn written(&self) -> String {
        match self {
            Self::Field(field) => field.name().into(),
            Self::Attribute(name) => format!("attr({})", quoted(name)),
        }
    }

    /// Its text in an event.
    pub fn text<'a>(&self, event: &'a AuthEvent) -> Option<&'a str> {
        match self {
            Self::Attribute(name) => event.attributes.get(name),
            Self::Field(field) => match event.get(*field) {
                Value::Text(text) => Some(text),
                _ => None,
            },
        }
    }
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    /// As rules write it.
    pub fn written(self) -> &'static str {
        ["==", "<", "<=", ">", ">="][self as usize]
    }

    fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
        }
    }
}

/// One test of one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// An enum field has this symbol.
    Symbol(Field, &'static str),
    /// A string matches; `true`: case matters.
    Text(Target, Pattern, bool),
    /// A truth value.
    Bool(Field, bool),
    /// A number compares so.
    Number(Field, Order, f64),
    /// The field is set.
    Exists(Target),
    /// Two fields are equal.
    Same(Target, Target),
    /// The address lies in one of the networks of this list.
    InList(String, Vec<IpNet>),
    /// An array of strings has this one.
    Contains(Field, String),
}

impl Test {
    /// The fields it looks at.
    pub fn targets(&self) -> Vec<Target> {
        match self {
            Self::Symbol(field, _) | Self::Bool(field, _) | Self::Number(field, ..) | Self::Contains(field, _) => {
                vec![Target::Field(*field)]
            }
            Self::Text(target, ..) | Self::Exists(target) => vec![target.clone()],
            Self::Same(a, b) => vec![a.clone(), b.clone()],
            Self::InList(..) => vec![Target::Field(Field::src_ip)],
        }
    }

    /// Whether it looks at this field.
    pub fn is_about(&self, target: &Target) -> bool {
        match (self, target) {
            (
                Self::Symbol(field, _) | Self::Bool(field, _) | Self::Number(field, ..) | Self::Contains(field, _),
                Target::Field(other),
            ) => field == other,
            (Self::Text(own, ..) | Self::Exists(own), _) => own == target,
            (Self::Same(a, b), _) => a == target || b == target,
            (Self::InList(..), Target::Field(field)) => *field == Field::src_ip,
            _ => false,
        }
    }

    /// Whether it holds, as the engine would say.
    pub fn holds(&self, event: &AuthEvent) -> bool {
        match self {
            Self::Symbol(field, symbol) => event.get(*field) == Value::Symbol(symbol),
            Self::Text(target, pattern, cased) => target.text(event).is_some_and(|text| pattern.matches(text, *cased)),
            Self::Bool(field, value) => event.get(*field) == Value::Bool(*value),
            Self::Number(field, order, with) => match event.get(*field) {
                Value::Long(found) => order.holds(found as f64, *with),
                Value::Double(found) => order.holds(found, *with),
                _ => false,
            },
            Self::Exists(Target::Field(field)) => match event.get(*field) {
                Value::Null => false,
                Value::Texts(texts) => !texts.is_empty(),
                _ => true,
            },
            Self::Exists(target @ Target::Attribute(_)) => target.text(event).is_some(),
            Self::Same(a, b) => a.text(event).is_some_and(|text| Some(text) == b.text(event)),
            Self::InList(_, nets) => {
                let ip = event.src_ip.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
                ip.is_some_and(|ip| nets.iter().any(|net| net.contains(&ip.to_canonical())))
            }
            Self::Contains(field, text) => match event.get(*field) {
                Value::Texts(texts) => texts.iter().any(|found| found == text),
                _ => false,
            },
        }
    }

    /// As rules write it, or its opposite.
    fn written(&self, negated: bool) -> String {
        let equals = if negated { "!=" } else { "==" };
        let not = if negated { "!" } else { "" };
        match self {
            Self::Symbol(field, symbol) => format!("{} {equals} {symbol}", field.name()),
            Self::Text(target, pattern, cased) => {
                let target = target.written();
                match (pattern.plain(), *cased) {
                    (Some(text), true) => format!("{target} {equals} {}", quoted(&text)),
                    (_, cased) => {
                        let function = if cased { "matches" } else { "matches_any_case" };
                        // whoever builds the test has asked for the pattern before
                        format!("{not}{target}.{function}({})", quoted(&pattern.glob().unwrap_or_default()))
                    }
                }
            }
            Self::Bool(field, value) => format!("{} {equals} {value}", field.name()),
            Self::Number(field, Order::Equal, number) => format!("{} {equals} {number}", field.name()),
            Self::Number(field, order, number) if negated => {
                format!("!({} {} {number})", field.name(), order.written())
            }
            Self::Number(field, order, number) => format!("{} {} {number}", field.name(), order.written()),
            Self::Exists(target) => format!("{not}{}.exists()", target.written()),
            Self::Same(a, b) => format!("{} {equals} {}", a.written(), b.written()),
            Self::InList(name, _) => format!("{not}src_ip.in_list({})", quoted(name)),
            Self::Contains(field, text) => format!("{not}{}.contains({})", field.name(), quoted(text)),
        }
    }
}

/// A text as Rhai writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // also what turns the direction of writing round: a rule must show what it does
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                // writing to a string cannot fail
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Tests, joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// One test.
    Test(Test),
    /// Not so.
    Not(Box<Expr>),
    /// All hold.
    All(Vec<Expr>),
    /// One holds.
    Any(Vec<Expr>),
}

/// Parts side by side in one expression: Rhai bounds how deep they nest, and a chain nests as deep as it is long.
const SIDE_BY_SIDE: usize = 12;
/// Values in one array.
const IN_ARRAY: usize = 256;

impl Expr {
    /// All of them, each once.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, Self::All, |part| if let Self::All(inner) = part { Ok(inner) } else { Err(part) })
    }

    /// One of them, each once.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, Self::Any, |part| if let Self::Any(inner) = part { Ok(inner) } else { Err(part) })
    }

    fn joined(
        parts: impl IntoIterator<Item = Self>,
        join: fn(Vec<Self>) -> Self,
        inner: fn(Self) -> Result<Vec<Self>, Self>,
    ) -> Self {
        let mut all: Vec<Self> = Vec::new();
        for part in parts {
            for part in inner(part).unwrap_or_else(|part| vec![part]) {
                if !all.contains(&part) {
                    all.push(part);
                }
            }
        }
        match (all.len(), all.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                all.extend(last);
                join(all)
            }
        }
    }

    /// One of them; what is common to all is asked once.
    pub fn union(parts: Vec<Self>) -> Self {
        let conjuncts = |part: Self| if let Self::All(inner) = part { inner } else { vec![part] };
        let parts: Vec<Vec<Self>> = parts.into_iter().map(conjuncts).collect();
        let common: Vec<Self> = parts.first().map_or_else(Vec::new, |first| {
            first.iter().filter(|test| parts.iter().all(|part| part.contains(test))).cloned().collect()
        });
        let rest: Vec<Self> =
            parts.into_iter().map(|part| Self::all(part.into_iter().filter(|test| !common.contains(test)))).collect();
        // one that asks for nothing more covers all others
        if rest.contains(&Self::All(Vec::new())) {
            return Self::all(common);
        }
        Self::all(common.into_iter().chain([Self::any(rest)]))
    }

    /// The opposite.
    pub fn negated(self) -> Self {
        if let Self::Not(inner) = self { *inner } else { Self::Not(Box::new(self)) }
    }

    /// Whether it holds, as the engine would say.
    pub fn holds(&self, event: &AuthEvent) -> bool {
        match self {
            Self::Test(test) => test.holds(event),
            Self::Not(inner) => !inner.holds(event),
            Self::All(parts) => parts.iter().all(|part| part.holds(event)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(event)),
        }
    }

    /// Every test in it, and whether it is asked for rather than excluded.
    pub fn walk<'a>(&'a self, positive: bool, visit: &mut impl FnMut(&'a Test, bool)) {
        match self {
            Self::Test(test) => visit(test, positive),
            Self::Not(inner) => inner.walk(!positive, visit),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.walk(positive, visit)),
        }
    }

    /// How many tests it has.
    pub fn size(&self) -> usize {
        let mut count = 0;
        self.walk(true, &mut |_, _| count += 1);
        count
    }

    /// The fields it looks at, each once.
    pub fn targets(&self) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        self.walk(true, &mut |test, _| targets.extend(test.targets()));
        targets
    }

    /// The lists of networks it looks addresses up in, each once.
    pub fn lists(&self) -> Vec<(&str, &[IpNet])> {
        let mut lists: Vec<(&str, &[IpNet])> = Vec::new();
        self.walk(true, &mut |test, _| {
            if let Test::InList(name, nets) = test
                && !lists.iter().any(|(known, _)| known == name)
            {
                lists.push((name, nets));
            }
        });
        lists
    }

    /// As a rule's `when`, one part a line, the lines behind the first so far to the right.
    pub fn lines(&self, right: usize) -> String {
        let gap = |right: usize| format!("\n{:right$}", "");
        match self {
            Self::All(parts) if parts.len() <= SIDE_BY_SIDE => {
                let lines: Vec<String> = parts
                    .iter()
                    .map(|part| match (part, part.operand()) {
                        (Self::Any(_), text) if text.len() + right > 118 && !is_call(&text) => {
                            format!("({})", part.lines(right + 3))
                        }
                        (_, text) => text,
                    })
                    .collect();
                lines.join(&format!("{}& ", gap(right)))
            }
            Self::Any(parts) if parts.len() <= SIDE_BY_SIDE => alternatives(parts).join(&format!("{}| ", gap(right))),
            other => other.written(),
        }
    }

    /// As rules write it.
    pub fn written(&self) -> String {
        match self {
            Self::Test(test) => test.written(false),
            Self::Not(inner) => match &**inner {
                Self::Test(test) => test.written(true),
                other => match other.written() {
                    // a call binds closer than `!`
                    call if matches!(other, Self::Any(_)) && is_call(&call) => format!("!{call}"),
                    text => format!("!({text})"),
                },
            },
            Self::All(parts) => chain(parts.iter().map(Self::operand).collect(), " & "),
            Self::Any(parts) => chain(alternatives(parts), " | "),
        }
    }

    /// As an operand of `&`.
    fn operand(&self) -> String {
        let text = self.written();
        match self {
            Self::Any(_) | Self::All(_) if !is_call(&text) => format!("({text})"),
            _ => text,
        }
    }
}

/// Whether alternatives became one call: `user.matches_any_case(["a", "b"])`.
fn is_call(text: &str) -> bool {
    text.ends_with("])") && !text.contains(" | ") && !text.contains(" & ") && !text.starts_with(['(', '!'])
}

/// Joins parts, in groups where there are many.
fn chain(mut parts: Vec<String>, joint: &str) -> String {
    while parts.len() > SIDE_BY_SIDE {
        parts = parts
            .chunks(SIDE_BY_SIDE)
            .map(|group| if group.len() == 1 { group[0].clone() } else { format!("({})", group.join(joint)) })
            .collect();
    }
    parts.join(joint)
}

/// The parts of `|`, with values of one field gathered in an array.
fn alternatives(parts: &[Expr]) -> Vec<String> {
    // (what is called, its values), in the order in which they come first
    let mut calls: Vec<(String, Vec<String>)> = Vec::new();
    let mut single: Vec<String> = Vec::new();
    for part in parts {
        let call = match part {
            Expr::Test(Test::Symbol(field, symbol)) => Some((format!("{}.one_of", field.name()), (*symbol).to_owned())),
            Expr::Test(Test::Text(target, pattern, cased)) => match (pattern.plain(), cased) {
                (Some(text), true) => Some((format!("{}.one_of", target.written()), quoted(&text))),
                (_, false) => {
                    let glob = quoted(&pattern.glob().unwrap_or_default());
                    Some((format!("{}.matches_any_case", target.written()), glob))
                }
                _ => None,
            },
            _ => None,
        };
        match call {
            Some((name, value)) => match calls.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => calls.push((name, vec![value])),
            },
            None => single.push(part.operand()),
        }
    }
    let mut out = Vec::new();
    for (name, values) in calls {
        if let [only] = &values[..] {
            let target = name.rsplit_once('.').map_or(name.as_str(), |(target, _)| target);
            out.push(if name.ends_with(".one_of") { format!("{target} == {only}") } else { format!("{name}({only})") });
            continue;
        }
        out.extend(values.chunks(IN_ARRAY).map(|values| format!("{name}([{}])", values.join(", "))));
    }
    out.extend(single);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    fn text(field: Field, pattern: &str, cased: bool) -> Expr {
        Expr::Test(Test::Text(Target::Field(field), Pattern::parse(pattern), cased))
    }

    fn failed() -> Expr {
        Expr::Test(Test::Symbol(Field::outcome, "FAILURE"))
    }

    #[test]
    fn expressions_are_written_as_rules_say_them() {
        let admins = Expr::any([text(Field::user, "adm*", false), text(Field::user, "root", false)]);
        let number = Expr::Test(Test::Number(Field::acr, Order::Less, 2.0));
        for (expr, wanted) in [
            (failed(), "outcome == FAILURE"),
            (failed().negated(), "outcome != FAILURE"),
            (failed().negated().negated(), "outcome == FAILURE"),
            (admins.clone(), r#"user.matches_any_case(["adm*", "root"])"#),
            (admins.clone().negated(), r#"!user.matches_any_case(["adm*", "root"])"#),
            (
                Expr::all([failed(), admins.clone(), failed()]),
                r#"outcome == FAILURE & user.matches_any_case(["adm*", "root"])"#,
            ),
            (Expr::any([admins, failed()]), r#"user.matches_any_case(["adm*", "root"]) | outcome == FAILURE"#),
            (text(Field::user, "a\"b", true), r#"user == "a\"b""#),
            (text(Field::user, "a*", true).negated(), r#"!user.matches("a*")"#),
            (number.clone(), "acr < 2"),
            (number.negated(), "!(acr < 2)"),
            (Expr::Test(Test::Exists(Target::Attribute("x.y".into()))), r#"attr("x.y").exists()"#),
            (
                Expr::any([Expr::all([failed(), text(Field::app, "x", true)]), text(Field::user, "y", true)]),
                r#"user == "y" | (outcome == FAILURE & app == "x")"#,
            ),
        ] {
            assert_eq!(expr.written(), wanted);
        }
        assert_eq!(quoted("a\u{202e}\u{7}\n"), r#""a\u202e\u0007\n""#);
    }

    #[test]
    fn what_alternatives_have_in_common_is_asked_once() {
        let user = |name: &str| text(Field::user, name, true);
        let union = |parts: Vec<Expr>| Expr::union(parts).written();
        assert_eq!(
            union(vec![Expr::all([failed(), user("a")]), Expr::all([failed(), user("b")])]),
            r#"outcome == FAILURE & user.one_of(["a", "b"])"#
        );
        assert_eq!(union(vec![failed(), Expr::all([failed(), user("b")])]), "outcome == FAILURE");
        assert_eq!(union(vec![failed(), user("b")]), r#"outcome == FAILURE | user == "b""#);
    }

    #[test]
    fn many_parts_nest_little() {
        let many = Expr::any((0..200).map(|i| Expr::all([failed(), text(Field::user, &format!("u{i}"), true)])));
        let mut depth: usize = 0;
        let mut deepest = 0;
        for c in many.written().chars() {
            depth = if c == '(' { depth + 1 } else { depth.saturating_sub(usize::from(c == ')')) };
            deepest = deepest.max(depth);
        }
        assert!((2..=4).contains(&deepest), "{deepest}");
    }

    #[test]
    fn tests_hold_as_the_engine_says() {
        let event = AuthEvent {
            outcome: Outcome::Failure,
            user: Some("Ann".into()),
            src_ip: Some("192.0.2.9".into()),
            ..AuthEvent::default()
        };
        let nets = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(Expr::all([failed(), text(Field::user, "ann", false)]).holds(&event));
        assert!(!text(Field::user, "ann", true).holds(&event));
        assert!(text(Field::app, "x", true).negated().holds(&event), "an unset field is not x");
        assert!(Test::InList("l".into(), nets).holds(&event));
        assert!(Test::Same(Target::Field(Field::user), Target::Field(Field::user)).holds(&event));
        assert!(!Test::Exists(Target::Field(Field::app)).holds(&event));
    }
}
