//! Events that an expression selects, and events that it only just does not: for the test beside a generated rule.

use super::{
    expr::{Expr, Order, Target, Test, quoted},
    pattern::Pattern,
};
use crate::event::{AuthEvent, Field, FieldType, Slot, Value};
use std::collections::BTreeSet;

/// So many ways to satisfy an expression are tried.
const MOST_WAYS: usize = 64;
/// Different values are made from so many patterns.
const MOST_PATTERNS: usize = 16;

/// A test, and whether it is to hold.
type Wish<'a> = (&'a Test, bool);

/// An event that `expr` selects and in which all of `set` are set; `None` if none was found.
pub(super) fn find(expr: &Expr, set: &[Target]) -> Option<AuthEvent> {
    ways(expr, true).into_iter().find_map(|wishes| {
        let mut event = AuthEvent { source: "test".into(), ..AuthEvent::default() };
        grant(&mut event, &wishes);
        for target in set {
            fill(&mut event, target, &wishes);
        }
        let set = set.iter().all(|target| Test::Exists(target.clone()).holds(&event));
        (set && expr.holds(&event)).then_some(event)
    })
}

/// Conjunctions that satisfy the expression, or its opposite.
fn ways(expr: &Expr, wanted: bool) -> Vec<Vec<Wish<'_>>> {
    match (expr, wanted) {
        (Expr::Test(test), wanted) => vec![vec![(test, wanted)]],
        (Expr::Not(inner), wanted) => ways(inner, !wanted),
        (Expr::Any(parts), true) | (Expr::All(parts), false) => {
            parts.iter().flat_map(|part| ways(part, wanted)).take(MOST_WAYS).collect()
        }
        (Expr::All(parts), true) | (Expr::Any(parts), false) => {
            let mut all: Vec<Vec<Wish<'_>>> = vec![Vec::new()];
            for part in parts {
                let more = ways(part, wanted);
                let joined = all.iter().flat_map(|left| {
                    more.iter().map(move |right| left.iter().chain(right).copied().collect::<Vec<_>>())
                });
                all = joined.take(MOST_WAYS).collect();
            }
            all
        }
    }
}

/// Sets what the wishes ask for, as far as they do not contradict each other.
fn grant(event: &mut AuthEvent, wishes: &[Wish<'_>]) {
    for (test, wanted) in wishes {
        match test {
            Test::Symbol(field, symbol) if *wanted => set_symbol(event, *field, symbol),
            Test::Symbol(field, symbol) => {
                if event.get(*field) == Value::Symbol(symbol)
                    && let FieldType::Enum(symbols, _) = field.field_type()
                {
                    let excluded = |symbol: &str| {
                        wishes
                            .iter()
                            .any(|(test, w)| !*w && matches!(test, Test::Symbol(f, s) if f == field && *s == symbol))
                    };
                    if let Some(other) = symbols.iter().find(|symbol| !excluded(symbol)) {
                        set_symbol(event, *field, other);
                    }
                }
            }
            Test::Bool(field, value) if *wanted => set_bool(event, *field, Some(*value)),
            Test::Number(field, order, number) if *wanted => {
                let step = match order {
                    Order::Less => -1.0,
                    Order::Greater => 1.0,
                    _ => 0.0,
                };
                set_number(event, *field, number + step);
            }
            Test::Contains(Field::privileges, text) if *wanted => event.privileges.push(text.as_str().into()),
            Test::Contains(Field::quality, text) if *wanted => event.quality.push(text.as_str().into()),
            Test::Text(target, ..) | Test::Exists(target) if *wanted => fill(event, target, wishes),
            Test::InList(..) if *wanted => fill(event, &Target::Field(Field::src_ip), wishes),
            Test::Same(a, b) if *wanted => {
                fill(event, a, wishes);
                let text = a.text(event).unwrap_or_default().to_owned();
                set_text(event, b, Some(&text));
            }
            _ => {}
        }
    }
}

/// Gives the target a value with which as many of the wishes about it hold as can be.
fn fill(event: &mut AuthEvent, target: &Target, wishes: &[Wish<'_>]) {
    let about: Vec<&Wish<'_>> = wishes.iter().filter(|(test, _)| test.is_about(target)).collect();
    let content = |event: &AuthEvent| about.iter().all(|(test, wanted)| test.holds(event) == *wanted);
    if Test::Exists(target.clone()).holds(event) && content(event) {
        return;
    }
    for candidate in candidates(target, &about) {
        set_any(event, target, &candidate);
        if content(event) {
            return;
        }
    }
}

/// Values that a target may have, the likeliest first.
fn candidates(target: &Target, about: &[&Wish<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    let mut patterns: Vec<&Pattern> = Vec::new();
    for (test, wanted) in about {
        match test {
            Test::Text(_, pattern, _) if *wanted => patterns.push(pattern),
            Test::InList(_, nets) => out.extend(nets.iter().map(|net| net.network().to_string())),
            _ => {}
        }
    }
    if *target == Target::Field(Field::src_ip) {
        let usual = ["192.0.2.10", "10.1.2.3", "172.16.1.1", "192.168.1.1", "127.0.0.1", "2001:db8::1", "203.0.113.7"];
        out.extend(usual.map(str::to_owned));
    }
    for fill in ["", "x", "1"] {
        out.extend(patterns.iter().map(|pattern| pattern.instance(fill)));
    }
    // several `contains` at once: one after the other, and the other way round
    out.push(patterns.iter().map(|pattern| pattern.instance("")).collect());
    out.push(patterns.iter().rev().map(|pattern| pattern.instance("")).collect());
    // what is empty is unset once it has been decoded
    out.retain(|text| !text.is_empty());
    out.extend(["ann", "bob@example.org", "svc-1", "admin", "true", "5", "DE", "something-else"].map(str::to_owned));
    out
}

/// Sets a target to a text, read as its type wants it.
fn set_any(event: &mut AuthEvent, target: &Target, text: &str) {
    let Target::Field(field) = target else { return set_text(event, target, Some(text)) };
    match field.field_type() {
        FieldType::OptBool => set_bool(event, *field, Some(text != "false")),
        FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble => {
            set_number(event, *field, text.parse().unwrap_or(7.0));
        }
        FieldType::Enum(..) => set_symbol(event, *field, text),
        FieldType::Text | FieldType::OptText => set_text(event, target, Some(text)),
        _ => {}
    }
}

fn set_symbol(event: &mut AuthEvent, field: Field, symbol: &str) {
    if let Slot::Enum(slot) = event.slot(field) {
        slot.set_symbol(symbol);
    }
}

fn set_bool(event: &mut AuthEvent, field: Field, value: Option<bool>) {
    if let Slot::OptBool(slot) = event.slot(field) {
        *slot = value;
    }
}

fn set_number(event: &mut AuthEvent, field: Field, number: f64) {
    // whole numbers of fields with orders are small: what does not fit was refused
    match event.slot(field) {
        Slot::OptLong(slot) => *slot = Some(number as i64),
        Slot::OptInt(slot) => *slot = Some(number as i32),
        Slot::OptDouble(slot) => *slot = Some(number),
        _ => {}
    }
}

fn set_text(event: &mut AuthEvent, target: &Target, text: Option<&str>) {
    match target {
        Target::Attribute(name) => {
            match text {
                Some(text) => event.attributes.insert(name.as_str(), text),
                None => event.attributes.remove(name),
            };
        }
        Target::Field(field) => match event.slot(*field) {
            Slot::Text(slot) => *slot = text.unwrap_or("other").into(),
            Slot::OptText(slot) => *slot = text.map(Into::into),
            _ => {}
        },
    }
}

/// The event with another value of `target`.
pub(super) fn with(event: &AuthEvent, target: &Target, text: &str) -> AuthEvent {
    let mut event = event.clone();
    set_any(&mut event, target, text);
    event
}

/// The event with one thing changed so that `expr` no longer selects it, and what was changed.
pub(super) fn miss(expr: &Expr, event: &AuthEvent) -> Option<(AuthEvent, String)> {
    let first = [Field::outcome, Field::activity, Field::reason].map(Target::Field);
    let source = Target::Field(Field::source);
    let rest = expr.targets().into_iter().filter(|target| *target != source);
    // the source last: another source says little about the rule
    for target in first.into_iter().chain(rest).chain([source.clone()]) {
        for changed in changes(event, &target) {
            if !expr.holds(&changed) {
                return Some((changed, format!("another {}", target.written().replace(['"', '(', ')'], " ").trim())));
            }
        }
    }
    None
}

/// The event with another value of the target.
fn changes(event: &AuthEvent, target: &Target) -> Vec<AuthEvent> {
    let with = |change: &dyn Fn(&mut AuthEvent)| {
        let mut event = event.clone();
        change(&mut event);
        event
    };
    let texts = ["something-else", "ann", "192.0.2.10", "admin"];
    match target {
        Target::Field(field) => match field.field_type() {
            FieldType::Enum(symbols, _) => symbols.iter().map(|s| with(&|e| set_symbol(e, *field, s))).collect(),
            FieldType::OptBool => [Some(true), Some(false), None].map(|b| with(&|e| set_bool(e, *field, b))).to_vec(),
            FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble => {
                [0.0, 1.0, 1_000_000.0].map(|n| with(&|e| set_number(e, *field, n))).to_vec()
            }
            FieldType::Texts => vec![with(&|e| {
                e.privileges.clear();
                e.quality.clear();
            })],
            FieldType::Text => texts.map(|t| with(&|e| set_text(e, target, Some(t)))).to_vec(),
            FieldType::OptText => {
                let mut all = texts.map(|t| with(&|e| set_text(e, target, Some(t)))).to_vec();
                all.push(with(&|e| set_text(e, target, None)));
                all
            }
            _ => Vec::new(),
        },
        Target::Attribute(_) => {
            [Some("something-else"), None].map(|text| with(&|e| set_text(e, target, text))).to_vec()
        }
    }
}

/// How a field is given different values: as Rhai expressions over `i`.
pub(super) enum Varied {
    /// One expression for any `i`.
    Template(String),
    /// These, one after the other.
    Values(Vec<String>),
}

/// `count` different values of `target` with which the event is still selected.
pub(super) fn vary(expr: &Expr, event: &AuthEvent, target: &Target, count: usize) -> Option<Varied> {
    let mut event = event.clone();
    let address = *target == Target::Field(Field::src_ip);
    let numbered: Box<dyn Fn(usize) -> String> = match address {
        true => Box::new(|i| format!("10.{}.{}.{}", i / 65_536, i / 256 % 256, i % 256)),
        false => Box::new(|i| format!("value-{i}")),
    };
    let template = if address { "`10.${i / 65536}.${i / 256 % 256}.${i % 256}`" } else { "`value-${i}`" };
    let is_text = match target {
        Target::Field(field) => matches!(field.field_type(), FieldType::Text | FieldType::OptText),
        Target::Attribute(_) => true,
    };
    let mut fits = |text: &str| {
        set_any(&mut event, target, text);
        expr.holds(&event) && Test::Exists(target.clone()).holds(&event)
    };
    if is_text && (0..count).all(|i| fits(&numbered(i))) {
        return Some(Varied::Template(template.into()));
    }
    let mut patterns: Vec<&Pattern> = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    expr.walk(true, &mut |test, positive| match test {
        Test::Text(found, pattern, _) if found == target && positive => patterns.push(pattern),
        Test::InList(_, nets) if address && positive => {
            known.extend(nets.iter().flat_map(|net| net.hosts().take(count)).take(count).map(|ip| ip.to_string()));
        }
        _ => {}
    });
    for pattern in patterns.into_iter().take(MOST_PATTERNS) {
        known.extend((0..count).map(|i| pattern.instance(&i.to_string())));
    }
    let mut literal: fn(&str) -> String = quoted;
    if let Target::Field(field) = target {
        match field.field_type() {
            FieldType::Enum(symbols, _) => {
                known.extend(symbols.iter().map(|symbol| (*symbol).to_owned()));
                literal = str::to_owned;
            }
            FieldType::OptBool => {
                known.extend(["true".to_owned(), "false".to_owned()]);
                literal = str::to_owned;
            }
            FieldType::OptLong | FieldType::OptInt => {
                known.extend((1..=count).map(|i| i.to_string()));
                literal = str::to_owned;
            }
            _ => {}
        }
    }
    let values: Vec<String> = known.iter().filter(|text| fits(text)).take(count).map(|text| literal(text)).collect();
    (values.len() == count).then_some(Varied::Values(values))
}

/// The fields of the event as tests write them; the value of `varied` is the variable `v`.
pub(super) fn written(event: &AuthEvent, varied: Option<&Target>) -> Vec<String> {
    let mut parts = Vec::new();
    for field in Field::ALL {
        let target = Target::Field(*field);
        let default = AuthEvent::default();
        let value = match event.get(*field) {
            _ if varied == Some(&target) => "v".to_owned(),
            value if value == default.get(*field) => continue,
            Value::Text(text) => quoted(text),
            Value::Symbol(symbol) => symbol.to_owned(),
            Value::Long(number) => number.to_string(),
            Value::Double(number) => format!("{number:?}"),
            Value::Bool(value) => value.to_string(),
            Value::Texts(texts) => {
                format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
            Value::Map(map) => {
                let entry = |(key, value): (&str, &str)| {
                    let is_varied = varied == Some(&Target::Attribute(key.to_owned()));
                    format!("{}: {}", quoted(key), if is_varied { "v".into() } else { quoted(value) })
                };
                format!("#{{ {} }}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            Value::Null | Value::Micros(_) => continue,
        };
        parts.push(format!("{}: {value}", field.name()));
    }
    parts
}
