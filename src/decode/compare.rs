//! What a writer's schema says to authseal, and what a change of it takes away: which fields of the event it fills, and
//! how well.

use super::{
    guard::Rules,
    plan::{Plan, targets},
};
use crate::{
    avro::schema::{Named, Schema, Type},
    event::{Field, FieldType},
};
use std::collections::{BTreeMap, BTreeSet};

/// How well values of a type fit a field of the event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Always.
    Always,
    /// It depends on the value, and on what.
    Sometimes(String),
    /// Never: the field is null, and the text is kept beside it.
    Never(String),
}

/// A field of the event that a schema fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// What the schema calls it.
    pub name: String,
    /// How well its type fits.
    pub fit: Fit,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What a schema says to authseal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Fields of the event.
    pub fields: BTreeMap<Field, Filled>,
    /// Names that become attributes.
    pub attributes: BTreeSet<String>,
    /// Fields whose names say that they carry biometric material: every record that has one is rejected.
    pub biometric: BTreeSet<String>,
}

/// Fields that say whom an event is about: it needs one of them.
pub const IDENTITY: [Field; 5] = [Field::user, Field::user_id, Field::actor, Field::session, Field::src_ip];

/// How much a change matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something new.
    Gain,
    /// Rules and people may miss something.
    Warning,
    /// Records are rejected, or fields that were filled are not.
    Loss,
}

/// A difference between two schemas that authseal notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How much it matters.
    pub weight: Weight,
    /// The field, or the name of the attribute.
    pub subject: String,
    /// What.
    pub what: String,
}

impl Contents {
    /// Of a schema. The error says why it is none that records can be read with.
    pub fn of(schema: &Schema) -> Result<Self, String> {
        let fields = schema.fields().ok_or("the schema is not a record: its fields are what is read")?;
        let plan = Plan::new(schema, &Rules::new(&[], false))?;
        let mut contents = Self { fields: BTreeMap::new(), attributes: BTreeSet::new(), biometric: BTreeSet::new() };
        let marks = plan.steps.iter().map(|step| step.mark.is_set());
        for ((field, target), marked) in fields.iter().zip(targets(fields)).zip(marks) {
            if marked {
                contents.biometric.insert(field.name.clone());
            }
            match target {
                Some(target) => {
                    let fit = fit(schema, target.field_type(), &field.r#type, 0);
                    let nullable = branches(&field.r#type).any(|branch| *branch == Type::Null);
                    contents.fields.insert(target, Filled { name: field.name.clone(), fit, nullable });
                }
                None => {
                    contents.attributes.insert(field.name.clone());
                }
            }
        }
        Ok(contents)
    }

    /// What no record of this schema can do without.
    fn lacks(&self) -> Vec<Difference> {
        let loss = |subject: &str, what: &str| Difference {
            weight: Weight::Loss,
            subject: subject.to_owned(),
            what: what.to_owned(),
        };
        let never = |field: &Field| !matches!(self.fields.get(field), Some(f) if !matches!(f.fit, Fit::Never(_)));
        let mut lacks = Vec::new();
        if never(&Field::time) {
            lacks.push(loss("time", "no field fills it: every record is rejected (missing_time)"));
        }
        if IDENTITY.iter().all(never) {
            let what =
                "nothing fills one of user, user_id, actor, session, src_ip: every record is rejected (no_identity)";
            lacks.push(loss("identity", what));
        }
        for name in &self.biometric {
            lacks
                .push(loss(name, "its name says biometric material: every record that has it is rejected (biometric)"));
        }
        lacks
    }

    /// What a schema that comes after another changes, the weightiest first.
    pub fn changes(&self, new: &Self) -> Vec<Difference> {
        let mut found = new.lacks();
        let mut tell = |weight, subject: &str, what: String| {
            found.push(Difference { weight, subject: subject.to_owned(), what });
        };
        for field in Field::ALL {
            let name = field.name();
            match (self.fields.get(field), new.fields.get(field)) {
                (None, Some(now)) => tell(Weight::Gain, name, format!("is filled from {:?}", now.name)),
                (Some(before), None) => {
                    let hint = "keep the name, or give the new field the old one as an alias";
                    tell(Weight::Loss, name, format!("is no longer filled ({:?} is gone): {hint}", before.name));
                }
                (Some(before), Some(now)) => {
                    match &now.fit {
                        Fit::Never(why) if !matches!(before.fit, Fit::Never(_)) => {
                            tell(Weight::Loss, name, format!("is null from now on: {why}"));
                        }
                        Fit::Sometimes(why) if before.fit != now.fit && before.fit == Fit::Always => {
                            tell(Weight::Warning, name, format!("may be null from now on: {why}"));
                        }
                        _ => {}
                    }
                    if now.nullable && !before.nullable && *field == Field::time {
                        let what = "may be missing from now on: such records are rejected (missing_time)";
                        tell(Weight::Warning, name, what.into());
                    }
                }
                (None, None) => {}
            }
        }
        for name in self.attributes.difference(&new.attributes).filter(|name| Field::from_name(name).is_none()) {
            tell(Weight::Warning, name, "is no longer an attribute: rules may read it".into());
        }
        for name in new.attributes.difference(&self.attributes) {
            tell(Weight::Gain, name, "becomes an attribute".into());
        }
        found.sort_by_key(|difference| std::cmp::Reverse(difference.weight));
        found
    }
}

fn branches(kind: &Type) -> impl Iterator<Item = &Type> {
    match kind {
        Type::Union(branches) => branches.iter(),
        other => std::slice::from_ref(other).iter(),
    }
}

/// How well values of a type fit: of a union, of its branches together; null is no value.
fn fit(schema: &Schema, target: FieldType, kind: &Type, depth: usize) -> Fit {
    let fits: Vec<Fit> = branches(kind)
        .filter(|branch| **branch != Type::Null)
        .map(|branch| match branch {
            // unions do not hold unions
            Type::Union(_) => Fit::Never("a union within a union".into()),
            other => fit_of(schema, target, other, depth),
        })
        .collect();
    let best = fits.iter().min().cloned();
    let worst = fits.into_iter().max();
    match (best, worst) {
        (Some(Fit::Always), Some(Fit::Always)) => Fit::Always,
        (Some(never @ Fit::Never(_)), _) => never,
        (Some(_), Some(Fit::Sometimes(why) | Fit::Never(why))) => Fit::Sometimes(why),
        _ => Fit::Never("its type is null alone".into()),
    }
}

fn fit_of(schema: &Schema, target: FieldType, kind: &Type, depth: usize) -> Fit {
    let sometimes = |what: &str| Fit::Sometimes(what.to_owned());
    let never = |what: &str| Fit::Never(format!("{what} where {} is wanted", wanted(target)));
    let (base, logical) = match kind {
        Type::Logical(inner, logical) => (&**inner, logical.as_str()),
        other => (other, ""),
    };
    let named = match base {
        Type::Named(place) => schema.named.get(*place).map(|(_, named)| named),
        _ => None,
    };
    let is_number = matches!(base, Type::Int | Type::Long | Type::Float | Type::Double);
    let is_bytes = matches!(base, Type::Bytes) || matches!(named, Some(Named::Fixed(_)));
    let is_nested = matches!(base, Type::Array(_) | Type::Map(_)) || matches!(named, Some(Named::Record(_)));
    match target {
        FieldType::Map => match base {
            Type::Map(values) if **values == Type::String => Fit::Always,
            Type::Map(_) => sometimes("values that are no strings become text"),
            _ => never("no map"),
        },
        FieldType::Texts => match base {
            Type::Array(items) if depth == 0 => match fit(schema, FieldType::OptText, items, 1) {
                Fit::Never(why) => Fit::Never(why),
                other => other,
            },
            Type::String => Fit::Always,
            _ if is_nested => never("no array of strings"),
            _ => sometimes("one value stands for an array of it"),
        },
        _ if is_nested => never("an object or array"),
        _ if is_bytes && logical.is_empty() => sometimes("bytes that are no UTF-8 text"),
        FieldType::Text | FieldType::OptText => Fit::Always,
        FieldType::Micros | FieldType::OptMicros => match base {
            _ if is_number => Fit::Always,
            Type::Boolean => never("a truth value"),
            _ => sometimes("a text that is no moment (RFC 3339)"),
        },
        FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble => match base {
            Type::Boolean => never("a truth value"),
            Type::Float | Type::Double if target != FieldType::OptDouble => sometimes("a number with a fraction"),
            Type::Long if target == FieldType::OptInt => sometimes("a number beyond 32 bits"),
            _ if is_number => Fit::Always,
            _ => sometimes("a text that is no number"),
        },
        FieldType::OptBool => match base {
            Type::Boolean => Fit::Always,
            Type::Float | Type::Double => never("a number with a fraction"),
            _ => sometimes("other than true, false, 0 and 1"),
        },
        FieldType::Enum(ours, default) => match named {
            Some(Named::Enum(theirs)) => {
                let unknown = |symbol: &&String| !ours.iter().any(|our| our.eq_ignore_ascii_case(symbol));
                let unknown: Vec<&str> = theirs.iter().filter(unknown).map(String::as_str).collect();
                match (unknown.len(), theirs.len()) {
                    (0, _) => Fit::Always,
                    (n, all) if n == all => Fit::Never(format!("none of its symbols is known: all become {default}")),
                    _ => Fit::Sometimes(format!("{} become {default}", unknown.join(", "))),
                }
            }
            _ if *base == Type::String => sometimes("a text that is no symbol of the field"),
            _ => never("no symbol"),
        },
    }
}

fn wanted(target: FieldType) -> &'static str {
    match target {
        FieldType::Text | FieldType::OptText => "a text",
        FieldType::Micros | FieldType::OptMicros => "a moment",
        FieldType::OptLong | FieldType::OptInt => "a whole number",
        FieldType::OptDouble => "a number",
        FieldType::OptBool => "a truth value",
        FieldType::Enum(..) => "a symbol",
        FieldType::Texts => "an array of strings",
        FieldType::Map => "a map of strings",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = r#"{"name":"time","type":"long"},"#;

    fn contents(fields: &str) -> Contents {
        let text = format!(r#"{{"type":"record","name":"E","fields":[{fields}]}}"#);
        Contents::of(&Schema::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        let changes = contents(&format!("{TIME}{old}")).changes(&contents(&format!("{TIME}{new}")));
        changes.into_iter().map(|d| format!("{:?} {}: {}", d.weight, d.subject, d.what)).collect()
    }

    #[test]
    fn what_a_rename_takes_away_is_told_and_an_alias_keeps_it() {
        let user = r#"{"name":"user","type":"string"}"#;
        let told_of = told(user, r#"{"name":"src_ip","type":"string"},{"name":"login","type":"string"}"#);
        assert!(told_of[0].starts_with("Loss user: is no longer filled"), "{told_of:?}");
        assert_eq!(told_of[1..], ["Gain src_ip: is filled from \"src_ip\"", "Gain login: becomes an attribute"]);
        assert_eq!(told(user, r#"{"name":"login","aliases":["user"],"type":"string"}"#), Vec::<String>::new());
    }

    #[test]
    fn types_that_a_field_cannot_take_are_told() {
        let user = r#"{"name":"user","type":"string"},"#;
        let with = |kind: &str| format!(r#"{user}{{"name":"outcome","type":{kind}}}"#);
        let good = with(r#"{"type":"enum","name":"O","symbols":["SUCCESS","FAILURE"]}"#);
        for (new, want) in [
            (
                with(r#"{"type":"enum","name":"O","symbols":["SUCCESS","MAYBE"]}"#),
                "Warning outcome: may be null from now on: MAYBE become UNKNOWN",
            ),
            (with("\"int\""), "Loss outcome: is null from now on: no symbol where a symbol is wanted"),
            (
                with(r#"["null","string"]"#),
                "Warning outcome: may be null from now on: a text that is no symbol of the field",
            ),
        ] {
            assert_eq!(told(&good, &new), [want]);
        }
        assert_eq!(told(&good, &good), Vec::<String>::new());
    }

    #[test]
    fn schemas_of_which_every_record_is_rejected_are_told() {
        let nobody = contents(r#"{"name":"amount","type":"int"},{"name":"time","type":"boolean"}"#);
        let lacks: Vec<_> = nobody.lacks().into_iter().map(|d| d.subject).collect();
        assert_eq!(lacks, ["time", "identity"]);
        let face = r#"{"name":"user","type":"string"},{"name":"face_image","type":["null","bytes"]}"#;
        assert!(told(face, face)[0].starts_with("Loss face_image: its name says biometric"));
    }
}
