//! How fields and values of other systems stand in the canonical event: the tables in `schemas/sigma`, and what a user
//! adds to them.

use super::{
    expr::{Expr, Target, Test},
    pattern::Pattern,
};
use crate::{
    artifact::File,
    detect::Problem,
    event::{Field, FieldType},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write};

/// The tables that are part of the program.
const BUILT_IN: [(&str, &str); 4] = [
    ("schemas/sigma/okta.toml", include_str!("../../schemas/sigma/okta.toml")),
    ("schemas/sigma/microsoft.toml", include_str!("../../schemas/sigma/microsoft.toml")),
    ("schemas/sigma/cloud.toml", include_str!("../../schemas/sigma/cloud.toml")),
    ("schemas/sigma/systems.toml", include_str!("../../schemas/sigma/systems.toml")),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    logsource: Vec<RawSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    about: String,
    product: String,
    #[serde(default)]
    service: Vec<String>,
    #[serde(default)]
    source: Vec<String>,
    #[serde(default)]
    when: BTreeMap<String, toml::Value>,
    #[serde(default)]
    canonical: bool,
    #[serde(default)]
    fields: BTreeMap<String, RawField>,
    #[serde(default)]
    values: BTreeMap<String, BTreeMap<String, BTreeMap<String, toml::Value>>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawField {
    Plain(String),
    Noted { field: String, but: String },
}

/// One kind of log: its fields, and what they are in the canonical event.
#[derive(Debug)]
pub(super) struct LogSource {
    about: String,
    product: String,
    service: Vec<String>,
    /// What the canonical event's `source` is; empty for any.
    pub source: Vec<String>,
    /// What holds of all its events.
    pub when: Vec<Test>,
    /// Whether its fields are those of the canonical event.
    canonical: bool,
    fields: BTreeMap<String, Mapped>,
}

/// What is known of a field.
#[derive(Debug, Default, Clone)]
pub(super) struct Mapped {
    /// The name, as the table writes it.
    pub name: String,
    /// The field that holds its value.
    pub field: Option<Field>,
    /// What does not hold of that.
    pub but: Option<String>,
    /// (value, what the event has then)
    pub values: Vec<(String, Vec<Test>)>,
}

/// All tables: the user's first.
#[derive(Debug)]
pub struct Mapping {
    sources: Vec<LogSource>,
}

impl Mapping {
    /// The built-in tables, and before them those of `files`.
    pub fn load(files: &[File]) -> Result<Self, Vec<Problem>> {
        let (mut sources, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match std::str::from_utf8(&file.bytes) {
                Ok(text) => read(&file.path, text, &mut sources, &mut problems),
                Err(_) => problems.push(problem(&file.path, None, "a mapping must be UTF-8 text: save it as UTF-8")),
            }
        }
        for (path, text) in BUILT_IN {
            read(path, text, &mut sources, &mut problems);
        }
        if problems.is_empty() { Ok(Self { sources }) } else { Err(problems) }
    }

    /// The kinds of log that a rule's `product` and `service` name, or why there is none.
    pub(super) fn find(&self, product: &str, service: Option<&str>) -> Result<Vec<&LogSource>, String> {
        let of_product: Vec<&LogSource> =
            self.sources.iter().filter(|source| source.product.eq_ignore_ascii_case(product)).collect();
        if of_product.is_empty() {
            let mut known: Vec<&str> = self.sources.iter().map(|source| source.product.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(format!(
                "there is no mapping for the product `{product}`: there are {}; write one (docs/sigma.md) and give it \
                 with --mapping",
                known.join(", ")
            ));
        }
        let fits = |source: &&LogSource| {
            source.service.is_empty()
                || service.is_some_and(|name| source.service.iter().any(|known| known.eq_ignore_ascii_case(name)))
        };
        let found: Vec<&LogSource> = of_product.iter().copied().filter(fits).collect();
        if found.is_empty() {
            let mut known: Vec<&str> = of_product.iter().flat_map(|s| &s.service).map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            let what = match service {
                Some(service) => format!("there is no mapping for the service `{service}` of {product}"),
                None => format!("the logsource has no service, and {product} has several kinds of log"),
            };
            return Err(format!("{what}: there are {}", known.join(", ")));
        }
        Ok(found)
    }

    /// The tables as Markdown, for people.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // writing to a string cannot fail
        for source in &self.sources {
            let service = if source.service.is_empty() { "any".into() } else { source.service.join(", ") };
            let _ = writeln!(out, "### {}: {service}\n", source.product);
            let _ = write!(out, "{}.", source.about);
            if !source.source.is_empty() {
                let _ = write!(out, " Events have `source` {}.", source.source.join(" or "));
            }
            if !source.when.is_empty() {
                let _ = write!(out, " Every event is `{}`.", conjunction(&source.when).written());
            }
            out.push_str("\n\n");
            if source.fields.is_empty() {
                continue;
            }
            out.push_str("| Sigma | canonical event |\n|---|---|\n");
            for mapped in source.fields.values() {
                if let Some(field) = mapped.field {
                    let but = mapped.but.as_ref().map_or_else(String::new, |but| format!(" — {but}"));
                    let _ = writeln!(out, "| `{}` | `{}`{but} |", mapped.name, field.name());
                }
                for (value, tests) in &mapped.values {
                    let _ = writeln!(out, "| `{}: {value}` | `{}` |", mapped.name, conjunction(tests).written());
                }
            }
            out.push('\n');
        }
        out
    }
}

/// All of these tests.
pub(super) fn conjunction(tests: &[Test]) -> Expr {
    Expr::all(tests.iter().cloned().map(Expr::Test))
}

impl LogSource {
    /// What is known of the field called `name`; case does not matter, as Okta's fields come in two spellings.
    fn field(&self, name: &str) -> Option<Mapped> {
        if self.canonical {
            let field = Field::from_name(name)?;
            return Some(Mapped { name: name.into(), field: Some(field), ..Mapped::default() });
        }
        self.fields.get(&name.to_lowercase()).cloned()
    }

    /// Names of its fields.
    fn names(&self) -> Vec<String> {
        if self.canonical {
            return Field::ALL.iter().map(|field| field.name().into()).collect();
        }
        self.fields.values().map(|mapped| mapped.name.clone()).collect()
    }
}

/// What several tables know of a field: the first that has a canonical field or a value decides.
pub(super) fn look_up(sources: &[&LogSource], name: &str) -> Option<Mapped> {
    let mut found: Option<Mapped> = None;
    for more in sources.iter().filter_map(|source| source.field(name)) {
        match &mut found {
            None => found = Some(more),
            Some(known) => {
                if known.field.is_none() {
                    (known.field, known.but) = (more.field, more.but);
                }
                for value in more.values {
                    if !known.values.iter().any(|(text, _)| text.eq_ignore_ascii_case(&value.0)) {
                        known.values.push(value);
                    }
                }
            }
        }
    }
    found
}

/// Names of the fields that these tables know.
pub(super) fn names(sources: &[&LogSource]) -> Vec<String> {
    sources.iter().flat_map(|source| source.names()).collect()
}

fn problem(path: &str, at: Option<(usize, usize)>, message: impl Into<String>) -> Problem {
    Problem { path: path.into(), at, message: message.into() }
}

fn read(path: &str, text: &str, sources: &mut Vec<LogSource>, problems: &mut Vec<Problem>) {
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map(|span| {
                let before = &text[..span.start.min(text.len())];
                let line = before.matches('\n').count() + 1;
                (line, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
            });
            return problems.push(problem(path, at, format!("this is no mapping: {}", error.message())));
        }
    };
    for raw in table.logsource {
        let mut wrong = |message: String| problems.push(problem(path, None, message));
        let mut fields: BTreeMap<String, Mapped> = BTreeMap::new();
        for (name, to) in raw.fields {
            let (to, but) = match to {
                RawField::Plain(field) => (field, None),
                RawField::Noted { field, but } => (field, Some(but)),
            };
            match Field::from_name(&to) {
                Some(field) => {
                    let mapped = Mapped { name: name.clone(), field: Some(field), but, values: Vec::new() };
                    if fields.insert(name.to_lowercase(), mapped).is_some() {
                        wrong(format!("{}: the field `{name}` is there twice", raw.about));
                    }
                }
                None => wrong(format!("{}: `{name}` is mapped to `{to}`, which events do not have", raw.about)),
            }
        }
        for (name, values) in raw.values {
            let mapped = fields.entry(name.to_lowercase()).or_default();
            mapped.name.clone_from(&name);
            for (value, tests) in values {
                match read_tests(&tests) {
                    Ok(tests) => mapped.values.push((value, tests)),
                    Err(why) => wrong(format!("{}: `{name}: {value}`: {why}", raw.about)),
                }
            }
        }
        let when = read_tests(&raw.when).unwrap_or_else(|why| {
            if !raw.when.is_empty() {
                wrong(format!("{}: `when`: {why}", raw.about));
            }
            Vec::new()
        });
        sources.push(LogSource {
            about: raw.about,
            product: raw.product,
            service: raw.service,
            source: raw.source,
            when,
            canonical: raw.canonical,
            fields,
        });
    }
}

/// `{ activity = "LOGON", is_mfa = false, reason = "policy" }`
fn read_tests(raw: &BTreeMap<String, toml::Value>) -> Result<Vec<Test>, String> {
    if raw.is_empty() {
        return Err("it says nothing about the event".into());
    }
    let mut tests = Vec::new();
    for (name, value) in raw {
        let field = Field::from_name(name).ok_or_else(|| format!("events have no field `{name}`"))?;
        let wrong = || format!("{name} cannot be {value}");
        tests.push(match (field.field_type(), value) {
            (FieldType::Enum(symbols, _), toml::Value::String(text)) => {
                Test::Symbol(field, symbols.iter().find(|symbol| *symbol == text).ok_or_else(wrong)?)
            }
            (FieldType::Text | FieldType::OptText, toml::Value::String(text)) => {
                Test::Text(Target::Field(field), Pattern::literal(text), true)
            }
            (FieldType::OptBool, toml::Value::Boolean(value)) => Test::Bool(field, *value),
            _ => return Err(wrong()),
        });
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_that_come_with_it_can_be_read() {
        let mapping = Mapping::load(&[]).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(mapping.sources.len() >= 12);
        let okta = mapping.find("okta", Some("okta")).unwrap();
        let field = look_up(&okta, "eventtype").unwrap();
        assert!(field.values.iter().any(|(value, _)| value == "user.session.start"));
        assert_eq!(look_up(&okta, "client.ipaddress").unwrap().field, Some(Field::src_ip));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let mapping = Mapping::load(&[]).unwrap();
        let why = |product, service| mapping.find(product, service).map(|_| ()).unwrap_err();
        assert!(why("solaris", None).contains("there are authseal, aws, azure, gcp"));
        assert!(why("azure", None).contains("several kinds of log: there are auditlogs, signinlogs"));
        assert!(why("azure", Some("activitylogs")).contains("no mapping for the service `activitylogs`"));
    }

    #[test]
    fn a_user_adds_to_the_tables_and_is_told_what_is_wrong_with_it() {
        let file = |text: &str| File { path: "own.toml".into(), bytes: text.into() };
        let own = "[[logsource]]\nabout = \"own\"\nproduct = \"okta\"\nservice = [\"okta\"]\nsource = [\"okta-eu\"]\n\
                   [logsource.fields]\n\"extra\" = \"device\"\n[logsource.values.eventType]\n\
                   \"user.session.start\" = { activity = \"STEP_UP\" }\n";
        let mapping = Mapping::load(&[file(own)]).unwrap();
        let okta = mapping.find("okta", Some("okta")).unwrap();
        assert_eq!(okta[0].source, ["okta-eu"]);
        assert_eq!(look_up(&okta, "Extra").unwrap().field, Some(Field::device));
        let starts = look_up(&okta, "eventType").unwrap();
        let starts: Vec<_> = starts.values.iter().filter(|(value, _)| value == "user.session.start").collect();
        assert_eq!(starts, [&("user.session.start".to_owned(), vec![Test::Symbol(Field::activity, "STEP_UP")])]);
        for (from, to, wanted) in [
            ("\"device\"", "\"devise\"", "`extra` is mapped to `devise`, which events do not have"),
            ("STEP_UP", "STEPUP", "activity cannot be \"STEPUP\""),
            ("activity =", "activty =", "events have no field `activty`"),
            ("about", "abaut", "own.toml:2:1: this is no mapping: unknown field `abaut`"),
            ("{ activity = \"STEP_UP\" }", "{}", "it says nothing about the event"),
        ] {
            let problems = Mapping::load(&[file(&own.replacen(from, to, 1))]).unwrap_err();
            assert!(problems[0].to_string().contains(wanted), "{problems:?}");
        }
    }
}
