//! One item of a selection: a field, modifiers and values, in terms of the canonical event.

use super::{
    detection::{Compare, Detection, Known, Modifiers},
    expr::{Expr, Target, Test},
    mapping::{Mapped, conjunction},
    pattern::Pattern,
    yaml::{Kind, Node, shown},
};
use crate::event::{Field, FieldType};
use ipnet::IpNet;
use std::net::IpAddr;

/// What an item selects; `None` if it cannot be translated, which the notes say.
pub(super) fn translate(
    detection: &mut Detection<'_>,
    known: &Known,
    name: &str,
    modifiers: Modifiers,
    values: &[&Node],
) -> Option<Expr> {
    if modifiers.compare == Compare::Cidr {
        return networks(detection, known, name, modifiers, values);
    }
    let parts: Vec<Option<Expr>> = values
        .iter()
        .map(|value| {
            let found = one(detection, known, modifiers, value);
            found.map_err(|why| detection.notes.refuse(value.at, format!("`{}`: {why}", shown(name)))).ok()
        })
        .collect();
    let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
    if let Known::Mapped(mapped) = known {
        tell_what_falls_together(detection, mapped, modifiers, values);
    }
    Some(if modifiers.all { Expr::all(parts) } else { Expr::union(parts) })
}

/// One value.
fn one(detection: &mut Detection<'_>, known: &Known, modifiers: Modifiers, value: &Node) -> Result<Expr, String> {
    let mapped = match known {
        Known::Mapped(mapped) => mapped,
        Known::Attribute(target) => return held(detection, target, modifiers, value),
    };
    if let (Compare::Text(before, after), Some(text)) = (modifiers.compare, value.text()) {
        let pattern = Pattern::parse(text).open(before, after);
        match pattern.plain() {
            Some(plain) => {
                let found = mapped.values.iter().find(|(known, _)| known.eq_ignore_ascii_case(&plain));
                if let Some((_, tests)) = found {
                    return Ok(conjunction(tests));
                }
            }
            None if mapped.field.is_none() && !pattern.is_anything() => {
                return listed(detection, mapped, &pattern, value);
            }
            None => {}
        }
    }
    let Some(field) = mapped.field else {
        let what = match value.text() {
            Some(text) if matches!(modifiers.compare, Compare::Text(..)) => {
                format!("the value `{}` has no counterpart in the canonical event", shown(text))
            }
            _ => "only single values of this field are mapped, not the field itself".into(),
        };
        return Err(format!("{what}: add it to a mapping of your own (--mapping; docs/sigma.md)"));
    };
    tell_but(detection, &mapped.name, field, mapped.but.as_deref());
    held(detection, &Target::Field(field), modifiers, value)
}

/// Says what the mapping says does not hold of a field.
fn tell_but(detection: &mut Detection<'_>, name: &str, field: Field, but: Option<&str>) {
    if let Some(but) = but {
        detection.notes.differs(None, format!("`{name}` is taken for `{}`: {but}", field.name()));
    }
}

/// A pattern over values of which the mapping knows some.
fn listed(detection: &mut Detection<'_>, mapped: &Mapped, pattern: &Pattern, value: &Node) -> Result<Expr, String> {
    let fits: Vec<_> = mapped.values.iter().filter(|(known, _)| pattern.matches(known, false)).collect();
    let shown_pattern = shown(value.text().unwrap_or_default());
    if fits.is_empty() {
        return Err(format!(
            "no value that the mapping knows fits `{shown_pattern}`: add some (--mapping; docs/sigma.md)"
        ));
    }
    let names: Vec<&str> = fits.iter().map(|(known, _)| known.as_str()).collect();
    detection.notes.differs(
        value.at,
        format!(
            "`{}`: `{shown_pattern}` stands for the values that the mapping knows: {}",
            mapped.name,
            names.join(", ")
        ),
    );
    Ok(Expr::union(fits.iter().map(|(_, tests)| conjunction(tests)).collect()))
}

/// Says which other values cannot be told apart from those that are asked for.
fn tell_what_falls_together(detection: &mut Detection<'_>, mapped: &Mapped, modifiers: Modifiers, values: &[&Node]) {
    let Compare::Text(before, after) = modifiers.compare else { return };
    let asked: Vec<Pattern> =
        values.iter().filter_map(|value| value.text()).map(|text| Pattern::parse(text).open(before, after)).collect();
    let (chosen, others): (Vec<_>, Vec<_>) =
        mapped.values.iter().partition(|(value, _)| asked.iter().any(|pattern| pattern.matches(value, false)));
    for (value, tests) in chosen {
        let same: Vec<&str> = others
            .iter()
            .filter(|(_, other)| tests.iter().all(|test| other.contains(test)))
            .map(|(other, _)| other.as_str())
            .collect();
        if !same.is_empty() {
            let says = conjunction(tests).written();
            detection.notes.differs(
                values.first().map(|value| value.at),
                format!("`{}: {value}` is `{says}`, which also holds for {}", mapped.name, same.join(", ")),
            );
        }
    }
}

/// A value of a field that the event holds.
fn held(detection: &mut Detection<'_>, target: &Target, modifiers: Modifiers, value: &Node) -> Result<Expr, String> {
    let unset = || Expr::Test(Test::Exists(target.clone())).negated();
    let kind = match target {
        Target::Field(field) => field.field_type(),
        Target::Attribute(_) => FieldType::OptText,
    };
    if matches!(kind, FieldType::Micros | FieldType::OptMicros | FieldType::Map) {
        return Err(format!("{} cannot be compared in `when`", target.written()));
    }
    let text = match &value.kind {
        Kind::Text(text) => text.as_str(),
        _ if matches!(kind, FieldType::Enum(..)) => return Err(format!("{} is never unset", target.written())),
        _ => return Ok(unset()),
    };
    match modifiers.compare {
        Compare::Exists if matches!(kind, FieldType::Enum(..)) => Err(format!("{} is always set", target.written())),
        Compare::Exists => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" => Ok(unset().negated()),
            "false" | "no" => Ok(unset()),
            _ => Err("`exists` takes true or false".into()),
        },
        Compare::Field => {
            let other =
                match detection.field(text, value.at).ok_or("the field that it is compared with is not known")? {
                    Known::Attribute(target) => target,
                    Known::Mapped(Mapped { name, field: Some(field), but, .. }) => {
                        tell_but(detection, &name, field, but.as_deref());
                        Target::Field(field)
                    }
                    Known::Mapped(_) => return Err(format!("`{}` is not held by events", shown(text))),
                };
            let is_text = |target: &Target| match target {
                Target::Field(field) => matches!(field.field_type(), FieldType::Text | FieldType::OptText),
                Target::Attribute(_) => true,
            };
            if !is_text(target) || !is_text(&other) {
                return Err("two fields can be compared if both hold strings".into());
            }
            detection.notes.differs(value.at, "two fields are compared with regard to case");
            Ok(Expr::Test(Test::Same(target.clone(), other)))
        }
        Compare::Number(order) => match (target, kind) {
            (Target::Field(field), FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble) => {
                Ok(Expr::Test(Test::Number(*field, order, number(text, kind)?)))
            }
            _ => Err(format!("only numbers have an order, and {} is none", target.written())),
        },
        Compare::Text(before, after) => {
            let pattern = Pattern::parse(text).open(before, after);
            match pattern.plain() {
                Some(plain) if plain.is_empty() => Ok(unset()),
                _ if pattern.is_anything() && !matches!(kind, FieldType::Enum(..)) => Ok(unset().negated()),
                _ => typed(target, kind, pattern, modifiers.cased),
            }
        }
        Compare::Regex(any_case) => typed(target, kind, Pattern::from_regex(text)?, !any_case),
        // networks() has taken it
        Compare::Cidr => Err("networks are compared with addresses".into()),
    }
}

/// A pattern over a field of this type.
fn typed(target: &Target, kind: FieldType, pattern: Pattern, cased: bool) -> Result<Expr, String> {
    let plain = pattern.plain();
    let field = match target {
        Target::Field(field) => *field,
        Target::Attribute(_) => return text(target, pattern, cased),
    };
    let single = || plain.clone().ok_or_else(|| format!("{} takes no wildcards", field.name()));
    match kind {
        FieldType::Enum(symbols, _) => {
            // all symbols are known: a pattern is the symbols that fit
            let fits: Vec<Expr> = symbols
                .iter()
                .filter(|symbol| pattern.matches(symbol, false))
                .map(|symbol| Expr::Test(Test::Symbol(field, symbol)))
                .collect();
            if fits.is_empty() {
                return Err(format!("{} is never so: it is one of {}", field.name(), symbols.join(", ")));
            }
            Ok(Expr::any(fits))
        }
        FieldType::OptBool => match single()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(Expr::Test(Test::Bool(field, true))),
            "false" | "no" | "0" => Ok(Expr::Test(Test::Bool(field, false))),
            _ => Err(format!("{} is true or false", field.name())),
        },
        FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble => {
            let order = super::expr::Order::Equal;
            Ok(Expr::Test(Test::Number(field, order, number(&single()?, kind)?)))
        }
        FieldType::Texts if cased => Ok(Expr::Test(Test::Contains(field, single()?))),
        FieldType::Texts => {
            Err(format!("{} is an array, whose entries are compared with regard to case: say |cased", field.name()))
        }
        FieldType::Text | FieldType::OptText => match (field, plain) {
            (Field::src_ip, Some(plain)) => address(&plain),
            (Field::country, Some(code)) if code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic()) => {
                // the event has codes in upper case, whatever the producer sent
                text(target, Pattern::literal(&code.to_ascii_uppercase()), true)
            }
            (Field::country, Some(name)) => {
                Err(format!("country holds codes of two letters, and `{}` is none", shown(&name)))
            }
            _ => text(target, pattern, cased),
        },
        FieldType::Micros | FieldType::OptMicros | FieldType::Map => {
            Err(format!("{} cannot be compared", field.name()))
        }
    }
}

fn text(target: &Target, pattern: Pattern, cased: bool) -> Result<Expr, String> {
    if !(cased && pattern.plain().is_some()) {
        pattern.glob()?;
    }
    Ok(Expr::Test(Test::Text(target.clone(), pattern, cased)))
}

/// An address as events hold it.
fn address(text: &str) -> Result<Expr, String> {
    let target = Target::Field(Field::src_ip);
    if text == "-" {
        // how Windows writes that there is none
        return Ok(Expr::Test(Test::Exists(target)).negated());
    }
    if text.parse::<IpNet>().is_ok() {
        return Err(format!("`{text}` is a network: say |cidr"));
    }
    let ip: IpAddr = text.parse().map_err(|_| format!("src_ip holds addresses, and `{}` is none", shown(text)))?;
    Ok(Expr::Test(Test::Text(target, Pattern::literal(&ip.to_canonical().to_string()), true)))
}

fn number(text: &str, kind: FieldType) -> Result<f64, String> {
    let wrong = || format!("`{}` is no number that can be compared here", shown(text));
    let number: f64 = text.trim().parse().map_err(|_| wrong())?;
    let whole = number.fract() == 0.0;
    let small = number.is_finite() && number.abs() < 9e15;
    if small && (whole || kind == FieldType::OptDouble) { Ok(number) } else { Err(wrong()) }
}

/// `src_ip|cidr`: a list of networks.
fn networks(
    detection: &mut Detection<'_>,
    known: &Known,
    name: &str,
    modifiers: Modifiers,
    values: &[&Node],
) -> Option<Expr> {
    if !matches!(known, Known::Mapped(Mapped { field: Some(Field::src_ip), .. })) {
        let at = values.first().map(|value| value.at);
        detection.notes.refuse(at, format!("`{}`: only src_ip can be looked up in networks", shown(name)));
        return None;
    }
    let mut nets: Vec<IpNet> = Vec::new();
    for value in values {
        let text = value.text().unwrap_or_default();
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => nets.push(net.trunc()),
            Err(_) => detection.notes.refuse(value.at, format!("`{}` is no network: write 10.0.0.0/8", shown(text))),
        }
    }
    if nets.len() < values.len() {
        return None;
    }
    let mut list = |nets: Vec<IpNet>| {
        detection.list_count += 1;
        Expr::Test(Test::InList(format!("{}-{}", detection.lists, detection.list_count), nets))
    };
    // all of several networks: a list for each
    let lists: Vec<Expr> =
        if modifiers.all { nets.into_iter().map(|net| list(vec![net])).collect() } else { vec![list(nets)] };
    Some(Expr::all(lists))
}
