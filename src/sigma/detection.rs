//! The detection of a Sigma rule: its selections and their modifiers, joined as the condition says.

use super::{
    condition::{self, Condition, Names},
    expr::{Expr, Order, Target},
    mapping::{self, LogSource, Mapped},
    pattern::Pattern,
    report::Notes,
    values,
    yaml::{At, Entry, Kind, Node, shown},
};
use crate::detect::hint;

/// What a rule may consist of: generated files must stay readable, and small enough to load.
const MOST_TESTS: usize = 1000;
/// `2 of x*` is written out for so many selections.
const MOST_CHOSEN: usize = 8;

/// How the values of an item are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    /// As strings; open at the beginning, at the end.
    Text(bool, bool),
    /// As a regular expression; `true`: case does not matter.
    Regex(bool),
    /// Addresses in networks.
    Cidr,
    /// Whether the field is set.
    Exists,
    /// With another field.
    Field,
    /// As numbers.
    Number(Order),
}

/// The modifiers of an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modifiers {
    pub compare: Compare,
    /// All values, not one of them.
    pub all: bool,
    /// Case matters.
    pub cased: bool,
    /// None of the values.
    pub negated: bool,
}

/// What an item's field is in the canonical event.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// What the mapping says.
    Mapped(Mapped),
    /// An attribute of that name.
    Attribute(Target),
}

/// Translates one detection.
pub(super) struct Detection<'a> {
    /// The kinds of log that it is about.
    pub sources: &'a [&'a LogSource],
    /// Whether fields that are not mapped are looked up among the attributes.
    pub attributes: bool,
    /// How lists of networks are called, without the number.
    pub lists: &'a str,
    /// How many there are.
    pub list_count: usize,
    /// What is to be said.
    pub notes: &'a mut Notes,
}

impl Detection<'_> {
    /// What the detection selects; `None` if something cannot be translated, which the notes say.
    pub fn translate(&mut self, detection: &Node) -> Option<Expr> {
        let Some(text) = detection.get("condition") else {
            self.notes.refuse(detection.at, "the detection has no `condition`");
            return None;
        };
        if let Some(frame) = detection.entry("timeframe") {
            let why = "`timeframe` is no longer part of Sigma (since 2.0): write a correlation rule";
            self.notes.refuse(frame.at, why);
        }
        let Some(conditions) = text.texts().filter(|texts| !texts.is_empty()) else {
            self.notes.refuse(text.at, format!("the condition must be a text or a list of texts, not {}", text.name()));
            return None;
        };
        if conditions.len() > 1 {
            self.notes.note(text.at, "several conditions: one rule that holds if one of them does");
        }
        let mut used = Vec::new();
        let parts: Vec<Option<Expr>> = conditions
            .into_iter()
            .map(|(text, at)| match condition::read(text) {
                Ok(condition) => self.condition(&condition, detection, at, &mut used),
                Err((column, why)) => {
                    self.notes.refuse((at.0, at.1 + column), format!("the condition `{}`: {why}", shown(text)));
                    None
                }
            })
            .collect();
        for entry in selections(detection).filter(|entry| !used.contains(&entry.key)) {
            self.notes.note(entry.at, format!("the condition does not use `{}`: left out", shown(&entry.key)));
        }
        let expr = Expr::any(parts.into_iter().collect::<Option<Vec<_>>>()?);
        if expr.size() > MOST_TESTS {
            self.notes.refuse(detection.at, format!("the rule has more than {MOST_TESTS} tests: split it"));
            return None;
        }
        Some(expr)
    }

    fn condition(&mut self, condition: &Condition, detection: &Node, at: At, used: &mut Vec<String>) -> Option<Expr> {
        match condition {
            Condition::Name(name) => {
                let Some(entry) = selections(detection).find(|entry| entry.key == *name) else {
                    let near = hint(name, selections(detection).map(|entry| entry.key.as_str()));
                    self.notes.refuse(at, format!("the detection has no selection `{}`{near}", shown(name)));
                    return None;
                };
                self.selection(entry, used)
            }
            Condition::Not(inner) => self.condition(inner, detection, at, used).map(Expr::negated),
            Condition::And(parts) | Condition::Or(parts) => {
                // all of them, so that everything that is wrong is told at once
                let parts: Vec<Option<Expr>> =
                    parts.iter().map(|part| self.condition(part, detection, at, used)).collect();
                let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
                Some(if matches!(condition, Condition::And(_)) { Expr::all(parts) } else { Expr::any(parts) })
            }
            Condition::Of(count, names) => {
                let fits = |entry: &&Entry| match names {
                    Names::Them => !entry.key.starts_with('_'),
                    Names::Like(pattern) => Pattern::parse(pattern).matches(&entry.key, true),
                };
                let chosen: Vec<&Entry> = selections(detection).filter(fits).collect();
                if chosen.is_empty() {
                    let names = if let Names::Like(names) = names { shown(names) } else { "them".into() };
                    self.notes.refuse(at, format!("no selection is called `{names}`"));
                    return None;
                }
                let parts: Vec<Option<Expr>> = chosen.iter().map(|entry| self.selection(entry, used)).collect();
                self.of(*count, parts.into_iter().collect::<Option<Vec<_>>>()?, at)
            }
        }
    }

    /// So many of these.
    fn of(&mut self, count: Option<usize>, parts: Vec<Expr>, at: At) -> Option<Expr> {
        match count {
            None => Some(Expr::all(parts)),
            Some(1) => Some(Expr::any(parts)),
            Some(count) if count > parts.len() => {
                self.notes.refuse(at, format!("`{count} of`: there are only {} selections", parts.len()));
                None
            }
            Some(_) if parts.len() > MOST_CHOSEN => {
                self.notes.refuse(
                    at,
                    format!(
                        "`N of` with N over 1 is written out, for at most {MOST_CHOSEN} selections; here are {}",
                        parts.len()
                    ),
                );
                None
            }
            Some(count) => {
                let groups =
                    (0_u32..1 << parts.len()).filter(|group| group.count_ones() as usize == count).map(|group| {
                        Expr::all(
                            parts
                                .iter()
                                .enumerate()
                                .filter(|(i, _)| group & (1 << i) != 0)
                                .map(|(_, part)| part.clone()),
                        )
                    });
                Some(Expr::any(groups))
            }
        }
    }

    fn selection(&mut self, entry: &Entry, used: &mut Vec<String>) -> Option<Expr> {
        if !used.contains(&entry.key) {
            used.push(entry.key.clone());
        }
        let keywords = format!(
            "`{}` searches the raw text for keywords: rules judge the fields of events; name the fields",
            shown(&entry.key)
        );
        match &entry.value.kind {
            Kind::Map(items) => self.map(items, entry.value.at),
            Kind::List(maps) if !maps.is_empty() => {
                let parts: Vec<Option<Expr>> = maps
                    .iter()
                    .map(|map| match &map.kind {
                        Kind::Map(items) => self.map(items, map.at),
                        _ => {
                            self.notes.refuse(map.at, keywords.clone());
                            None
                        }
                    })
                    .collect();
                Some(Expr::any(parts.into_iter().collect::<Option<Vec<_>>>()?))
            }
            Kind::Text(_) => {
                self.notes.refuse(entry.value.at, keywords);
                None
            }
            Kind::List(_) | Kind::Null => {
                self.notes.refuse(entry.at, format!("the selection `{}` is empty", shown(&entry.key)));
                None
            }
        }
    }

    /// All items of a map.
    fn map(&mut self, items: &[Entry], at: At) -> Option<Expr> {
        if items.is_empty() {
            self.notes.refuse(at, "an empty map selects nothing");
            return None;
        }
        let parts: Vec<Option<Expr>> = items.iter().map(|item| self.item(item)).collect();
        Some(Expr::all(parts.into_iter().collect::<Option<Vec<_>>>()?))
    }

    fn item(&mut self, item: &Entry) -> Option<Expr> {
        let mut words = item.key.split('|');
        let name = words.next().unwrap_or_default();
        let modifiers = self.modifiers(words, item);
        if name.is_empty() {
            self.notes.refuse(item.at, "a value without a field searches the raw text: rules judge fields; name one");
            return None;
        }
        let known = self.field(name, item.at);
        let values = match &item.value.kind {
            Kind::List(values) if values.is_empty() => {
                self.notes.refuse(item.value.at, format!("`{}` has an empty list of values", shown(name)));
                return None;
            }
            Kind::List(values) => values.iter().collect(),
            _ => vec![&item.value],
        };
        if let Some(bad) = values.iter().find(|value| matches!(value.kind, Kind::Map(_) | Kind::List(_))) {
            self.notes.refuse(
                bad.at,
                format!("`{}` is compared with {}: only single values can be", shown(name), bad.name()),
            );
            return None;
        }
        let (modifiers, known) = (modifiers?, known?);
        let expr = values::translate(self, &known, name, modifiers, &values)?;
        Some(if modifiers.negated { expr.negated() } else { expr })
    }

    /// What a field is in the canonical event.
    pub fn field(&mut self, name: &str, at: At) -> Option<Known> {
        if let Some(mapped) = mapping::look_up(self.sources, name) {
            return Some(Known::Mapped(mapped));
        }
        if name.len() > 200 || name.chars().any(char::is_control) {
            self.notes.refuse(at, format!("`{}` is no name of a field", shown(name)));
            return None;
        }
        if self.attributes {
            self.notes
                .note(at, format!("`{name}` is not mapped: judged as attr(\"{name}\"), which your events must have"));
            return Some(Known::Attribute(Target::Attribute(name.into())));
        }
        let names = mapping::names(self.sources);
        let near = hint(name, names.iter().map(String::as_str));
        self.notes.refuse(
            at,
            format!(
                "the field `{name}` has no counterpart in the canonical event{near}: map it with --mapping, or judge \
                 it as an attribute with --attributes"
            ),
        );
        None
    }

    fn modifiers<'w>(&mut self, words: impl Iterator<Item = &'w str>, item: &Entry) -> Option<Modifiers> {
        let mut found = Modifiers { compare: Compare::Text(false, false), all: false, cased: false, negated: false };
        let mut compares = 0;
        let mut good = true;
        for word in words {
            let compare = match word {
                "all" => {
                    found.all = true;
                    continue;
                }
                "cased" => {
                    found.cased = true;
                    continue;
                }
                "neq" => {
                    found.negated = true;
                    continue;
                }
                "i" if matches!(found.compare, Compare::Regex(_)) => {
                    found.compare = Compare::Regex(true);
                    continue;
                }
                "contains" => Compare::Text(true, true),
                "startswith" => Compare::Text(false, true),
                "endswith" => Compare::Text(true, false),
                "re" => Compare::Regex(false),
                "cidr" => Compare::Cidr,
                "exists" => Compare::Exists,
                "fieldref" => Compare::Field,
                "lt" => Compare::Number(Order::Less),
                "lte" => Compare::Number(Order::LessOrEqual),
                "gt" => Compare::Number(Order::Greater),
                "gte" => Compare::Number(Order::GreaterOrEqual),
                other => {
                    self.notes.refuse(item.at, format!("the modifier `{}`: {}", shown(other), why_not(other)));
                    good = false;
                    continue;
                }
            };
            compares += 1;
            found.compare = compare;
        }
        if compares > 1 {
            self.notes.refuse(item.at, format!("`{}`: these modifiers cannot stand together", shown(&item.key)));
            good = false;
        }
        good.then_some(found)
    }
}

/// The selections: everything in the detection but the condition.
fn selections(detection: &Node) -> impl Iterator<Item = &Entry> {
    let entries = if let Kind::Map(entries) = &detection.kind { &entries[..] } else { &[] };
    entries.iter().filter(|entry| !matches!(entry.key.as_str(), "condition" | "timeframe"))
}

/// Why a modifier cannot be translated.
fn why_not(modifier: &str) -> &'static str {
    match modifier {
        "base64" | "base64offset" | "utf16" | "utf16le" | "utf16be" | "wide" => {
            "it searches raw data for encoded text; rules judge the decoded event"
        }
        "windash" => "it varies the dashes of command lines, which authentication events do not have",
        "expand" => "its placeholders stand for lists of yours: write the values out, or use in_list() in the rule",
        "minute" | "hour" | "day" | "week" | "month" | "year" => "rules cannot take moments apart in `when`",
        "m" | "s" | "i" => "flags belong behind `re`, and of them only `i` can be translated",
        _ => "Sigma 2 has no such modifier that can be translated",
    }
}
