//! Sigma correlations: several events of one key within a time become a rule with a window.

use super::{
    Base,
    detection::{Detection, Known},
    emit::{Draft, Gate, Plan},
    example,
    expr::{Expr, Target, Test},
    mapping::Mapped,
    report::Notes,
    yaml::{Entry, Kind, Node, shown},
};
use crate::event::{Field, FieldType};
use std::collections::BTreeSet;

/// The largest gate that rules take.
const LARGEST: u64 = 10_000;

/// What is tried out, in tests of values.
const MOST_TRIES: u64 = 1_000_000;

/// How many events or values: at least, and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least: u64,
    most: Option<u64>,
}

/// What is common to all kinds of correlation.
pub(super) struct Correlation<'a, 'm> {
    /// The value of `correlation`.
    pub body: &'a Node,
    /// The rules that it correlates.
    pub bases: Vec<&'a Base<'m>>,
    /// What is put first in the key.
    pub tenant: &'a [Target],
    /// Whether fields that are not mapped are looked up among the attributes.
    pub attributes: bool,
    /// What is to be said.
    pub notes: &'a mut Notes,
}

/// The rules that a correlation names.
pub(super) fn names(body: &Node) -> Vec<(String, super::yaml::At)> {
    let texts = body.get("rules").and_then(Node::texts).unwrap_or_default();
    texts.into_iter().map(|(text, at)| (text.to_owned(), at)).collect()
}

impl Correlation<'_, '_> {
    /// The rule that finds the same; `None` if there is none, which the notes say.
    pub fn translate(&mut self) -> Option<Draft> {
        let kind = self.body.get("type").and_then(Node::text).unwrap_or_default().to_owned();
        let key = self.key();
        let window = self.timespan();
        let at = self.body.get("type").map_or(self.body.at, |node| node.at);
        let draft = match kind.as_str() {
            "event_count" => self.counted(None, key?, window?),
            "value_count" => {
                let field = self.counted_field();
                self.counted(Some(field?), key?, window?)
            }
            "temporal" => self.together(key?, window?),
            other => {
                self.notes.refuse(at, format!("the correlation type `{}`: {}", shown(other), why_not(other)));
                None
            }
        }?;
        self.notes.note(
            self.body.at,
            format!(
                "one finding for each key in each {} (dedup): Sigma does not say how often to tell",
                draft.window()
            ),
        );
        Some(draft)
    }

    fn counted(&mut self, distinct: Option<Target>, key: Vec<Target>, window: String) -> Option<Draft> {
        let bounds = self.bounds()?;
        let when = Expr::union(self.bases.iter().map(|base| base.expr.clone()).collect());
        if let Some(target) = &distinct
            && key.contains(target)
        {
            let name = target.written();
            self.notes.refuse(self.body.at, format!("{name} is counted and in the key: it always has one value there"));
            return None;
        }
        let set: Vec<Target> = key.iter().chain(&distinct).cloned().collect();
        let Some(event) = example::find(&when, &set) else {
            self.notes.refuse(self.body.at, super::NO_EXAMPLE);
            return None;
        };
        let most = bounds.most.map_or(bounds.least, |most| most + 1);
        if distinct.is_some() && most.saturating_mul(when.size() as u64) > MOST_TRIES {
            self.notes
                .refuse(self.body.at, "so many tests and so high a bound cannot be tried out together: split the rule");
            return None;
        }
        let varied = match &distinct {
            None => None,
            Some(target) => match example::vary(&when, &event, target, usize::try_from(most).unwrap_or(usize::MAX)) {
                Some(varied) => Some((target.clone(), varied)),
                None => {
                    let name = target.written();
                    self.notes.refuse(
                        self.body.at,
                        format!(
                            "no {most} different values of {name} were found that the rules select: would it fire?"
                        ),
                    );
                    return None;
                }
            },
        };
        if let Some(most) = bounds.most {
            self.notes.differs(
                self.body.at,
                format!(
                    "the upper bound ({most}) is judged {window} after the lower one ({}) was reached, over everything \
                     from {window} before to {window} after",
                    bounds.least
                ),
            );
        }
        let (name, measure) = match &distinct {
            None => ("events".to_owned(), "count()".to_owned()),
            Some(target) => ("values".to_owned(), format!("distinct({})", target.written())),
        };
        let miss = example::miss(&when, &event);
        Some(Draft {
            when,
            key,
            gate: Some(Gate { window, name, measure, least: bounds.least, most: bounds.most }),
            plan: Plan::Counted { event: Box::new(event), varied, miss: miss.map(Box::new) },
        })
    }

    /// All rules within the timespan, in any order: told apart by a field that has another value in each of them.
    fn together(&mut self, key: Vec<Target>, window: String) -> Option<Draft> {
        if let Some(condition) = self.body.get("condition") {
            self.notes.refuse(condition.at, "`temporal` with a condition of its own is not translated: leave it out");
            return None;
        }
        if self.bases.len() < 2 {
            self.notes.refuse(self.body.at, "`temporal` needs two rules at least");
            return None;
        }
        let Some(target) = self.telling(&key) else {
            self.notes.refuse(
                self.body.at,
                "`temporal`: no field has one value in each of these rules and a different one in each, so a window \
                 cannot tell whether all of them were seen; write the rule by hand",
            );
            return None;
        };
        let when = Expr::union(self.bases.iter().map(|base| base.expr.clone()).collect());
        let events: Option<Vec<_>> = self.bases.iter().map(|base| example::find(&base.expr, &key)).collect();
        let Some(mut events) = events else {
            self.notes.refuse(self.body.at, super::NO_EXAMPLE);
            return None;
        };
        // the rules may ask for different things: what the key holds must be the same in all of them
        if !agree(&mut events, &self.bases, &key) {
            let what = "no events were found that all of these rules select with the same key: would it fire?";
            self.notes.refuse(self.body.at, what);
            return None;
        }
        let least = events.len() as u64;
        let measure = format!("distinct({})", target.written());
        Some(Draft {
            when,
            key,
            gate: Some(Gate { window, name: "kinds".into(), measure, least, most: None }),
            plan: Plan::Each(events),
        })
    }

    /// A field outside the key that tells the rules apart.
    fn telling(&self, key: &[Target]) -> Option<Target> {
        let pins: Vec<BTreeSet<(Target, String)>> = self.bases.iter().map(|base| pins(&base.expr)).collect();
        let usual = [Field::activity, Field::outcome, Field::reason, Field::action].map(Target::Field);
        let all = pins.first()?.iter().map(|(target, _)| target.clone());
        usual.into_iter().chain(all).find(|target| {
            let values: Vec<Option<&String>> = pins
                .iter()
                .map(|pins| {
                    let mut of = pins.iter().filter(|(found, _)| found == target).map(|(_, value)| value);
                    of.next().filter(|_| of.next().is_none())
                })
                .collect();
            let different: BTreeSet<_> = values.iter().flatten().collect();
            !key.contains(target) && different.len() == values.len()
        })
    }

    /// `tenant`, and the fields of `group-by`.
    fn key(&mut self) -> Option<Vec<Target>> {
        let mut key = self.tenant.to_vec();
        let Some(fields) = self.body.get("group-by") else {
            self.notes.note(self.body.at, "no `group-by`: all events of a tenant are counted together");
            return Some(super::key_or_source(key));
        };
        let Some(fields_texts) = fields.texts() else {
            self.notes.refuse(fields.at, format!("`group-by` must be a list of fields, not {}", fields.name()));
            return None;
        };
        let mut good = true;
        for (name, at) in fields_texts {
            let Some(target) = self.same_in_all(name, at) else {
                good = false;
                continue;
            };
            let kind = match &target {
                Target::Field(field) => field.field_type(),
                Target::Attribute(_) => FieldType::OptText,
            };
            if matches!(kind, FieldType::Texts | FieldType::Map | FieldType::OptDouble | FieldType::Micros) {
                self.notes.refuse(at, format!("{} cannot be a key", target.written()));
                good = false;
            } else if !key.contains(&target) {
                key.push(target);
            }
        }
        good.then(|| super::key_or_source(key))
    }

    /// What the field called `name` is in the events of all rules: it must be the same.
    fn same_in_all(&mut self, name: &str, at: super::yaml::At) -> Option<Target> {
        let mut found: Option<(Target, &str)> = None;
        for base in &self.bases {
            let own = self.alias(name, base).unwrap_or(name).to_owned();
            let mut detection = Detection {
                sources: &base.sources,
                attributes: self.attributes,
                lists: "",
                list_count: 0,
                notes: self.notes,
            };
            let target = match detection.field(&own, at)? {
                Known::Attribute(target) => target,
                Known::Mapped(Mapped { field: Some(field), but, .. }) => {
                    if let Some(but) = but {
                        self.notes.differs(at, format!("`{own}` is taken for `{}`: {but}", field.name()));
                    }
                    Target::Field(field)
                }
                Known::Mapped(_) => {
                    self.notes.refuse(
                        at,
                        format!("`{own}` is not held by the canonical event: only values of it are mapped"),
                    );
                    return None;
                }
            };
            match &found {
                Some((known, of)) if *known != target => {
                    let (known, other) = (known.written(), target.written());
                    self.notes.refuse(
                        at,
                        format!(
                            "`{name}` is {known} in the rule \"{of}\" and {other} in \"{}\": a key is one field",
                            base.meta.title
                        ),
                    );
                    return None;
                }
                _ => found = Some((target, &base.meta.title)),
            }
        }
        found.map(|(target, _)| target)
    }

    /// What the alias called `name` stands for in a rule.
    fn alias(&self, name: &str, base: &Base<'_>) -> Option<&str> {
        let aliases = self.body.get("aliases")?.get(name)?;
        let Kind::Map(entries) = &aliases.kind else { return None };
        entries.iter().find(|entry| base.is_called(&entry.key)).and_then(|entry| entry.value.text())
    }

    fn counted_field(&mut self) -> Option<Target> {
        let condition = self.body.get("condition");
        let Some(field) = condition.and_then(|condition| condition.get("field")) else {
            self.notes
                .refuse(self.body.at, "`value_count` needs the field whose values are counted: condition: field: …");
            return None;
        };
        let Some(name) = field.text() else {
            self.notes.refuse(field.at, "values of several fields together cannot be counted: name one field");
            return None;
        };
        let target = self.same_in_all(name, field.at)?;
        if matches!(&target, Target::Field(field) if matches!(field.field_type(), FieldType::Texts | FieldType::Map)) {
            self.notes
                .refuse(field.at, format!("{} holds several values at once: they cannot be counted", target.written()));
            return None;
        }
        Some(target)
    }

    /// `timespan: 15m`, as rules write it.
    fn timespan(&mut self) -> Option<String> {
        let Some(node) = self.body.get("timespan") else {
            self.notes.refuse(self.body.at, "the correlation has no `timespan`");
            return None;
        };
        let text = node.text().unwrap_or_default();
        if seconds(text).is_none_or(|s| s == 0 || s > 366 * 86_400) {
            let what = "write 90s, 15m, 2h or 7d, at most 366d (months and years have no fixed length)";
            self.notes.refuse(node.at, format!("`{}` is no timespan that a window can have: {what}", shown(text)));
            return None;
        }
        Some(text.to_owned())
    }

    fn bounds(&mut self) -> Option<Bounds> {
        let Some(condition) = self.body.get("condition") else {
            self.notes.refuse(self.body.at, "the correlation has no `condition`");
            return None;
        };
        let Kind::Map(entries) = &condition.kind else {
            self.notes.refuse(condition.at, "the condition of a correlation must be a map, such as `gte: 10`");
            return None;
        };
        let (mut least, mut most) = (None::<u64>, None::<u64>);
        for entry in entries.iter().filter(|entry| entry.key != "field") {
            let number = self.number(entry)?;
            let lower = |least: Option<u64>, number: u64| Some(least.map_or(number, |known| known.max(number)));
            let upper = |most: Option<u64>, number: u64| Some(most.map_or(number, |known| known.min(number)));
            match entry.key.as_str() {
                "gte" => least = lower(least, number),
                "gt" => least = lower(least, number + 1),
                "lte" => most = upper(most, number),
                "lt" => most = upper(most, number.saturating_sub(1)),
                "eq" => (least, most) = (lower(least, number), upper(most, number)),
                other => {
                    let known = "gt, gte, lt, lte and eq are";
                    self.notes
                        .refuse(entry.at, format!("the comparison `{}` cannot be translated: {known}", shown(other)));
                    return None;
                }
            }
        }
        if least.is_none() && most.is_none() {
            self.notes.refuse(condition.at, "the condition compares with no number: write `gte: 10`");
            return None;
        }
        if most == Some(0) {
            self.notes
                .refuse(condition.at, "no event at all cannot be found by counting: a key without events is not known");
            return None;
        }
        if least.is_none() {
            self.notes
                .differs(condition.at, "a key without any event is not known, so the bound is: at least one event");
        }
        let least = least.unwrap_or(1).max(1);
        if most.is_some_and(|most| most < least) {
            self.notes.refuse(condition.at, "the bounds exclude each other");
            return None;
        }
        if least > LARGEST || most.is_some_and(|most| most >= LARGEST) {
            self.notes.refuse(condition.at, format!("a gate is at most {LARGEST}"));
            return None;
        }
        Some(Bounds { least, most })
    }

    fn number(&mut self, entry: &Entry) -> Option<u64> {
        let number = entry.value.text().and_then(|text| text.parse::<u32>().ok()).map(u64::from);
        if number.is_none() {
            self.notes.refuse(entry.value.at, format!("`{}` takes a whole number from 0", shown(&entry.key)));
        }
        number
    }
}

/// Gives the key of all events the same values, if that is possible.
fn agree(events: &mut [crate::event::AuthEvent], bases: &[&Base<'_>], key: &[Target]) -> bool {
    for target in key {
        let texts: Vec<String> = events.iter().filter_map(|event| target.text(event).map(str::to_owned)).collect();
        if texts.len() < events.len() {
            continue; // no text: the same by construction, or the test beside the rule fails and says so
        }
        let fits = texts.iter().find_map(|text| {
            let changed: Vec<_> = events.iter().map(|event| example::with(event, target, text)).collect();
            changed.iter().zip(bases).all(|(event, base)| base.expr.holds(event)).then_some(changed)
        });
        match fits {
            Some(changed) => events.clone_from_slice(&changed),
            None => return false,
        }
    }
    true
}

/// Fields that have one certain value in every event that is selected.
fn pins(expr: &Expr) -> BTreeSet<(Target, String)> {
    match expr {
        Expr::Test(Test::Symbol(field, symbol)) => [(Target::Field(*field), (*symbol).to_owned())].into(),
        Expr::Test(Test::Bool(field, value)) => [(Target::Field(*field), value.to_string())].into(),
        Expr::Test(Test::Text(target, pattern, true)) => {
            pattern.plain().map(|text| (target.clone(), text)).into_iter().collect()
        }
        Expr::Test(_) | Expr::Not(_) => BTreeSet::new(),
        Expr::All(parts) => parts.iter().flat_map(pins).collect(),
        Expr::Any(parts) => {
            let mut each = parts.iter().map(pins);
            let first = each.next().unwrap_or_default();
            each.fold(first, |common, pins| common.intersection(&pins).cloned().collect())
        }
    }
}

/// The seconds of `15m`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let digits = !number.is_empty() && number.len() <= 9 && number.bytes().all(|c| c.is_ascii_digit());
    if digits { number.parse::<u64>().ok().map(|n| n * unit) } else { None }
}

fn why_not(kind: &str) -> &'static str {
    match kind {
        "temporal_ordered" => {
            "the order of events is not a matter of windows: say `temporal` if the order does not matter, or write the \
             rule by hand"
        }
        "value_sum" | "value_avg" | "value_percentile" | "value_median" => {
            "authentication events have no amounts that could be added up"
        }
        "" => "there is none",
        _ => "Sigma 2 has no such type that can be translated: event_count, value_count and temporal can",
    }
}
