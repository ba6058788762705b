//! `[[topics]]`: what is read and how it is decoded.

use super::{
    check::Check,
    mapping, registry,
    settings::{FormatName, Gaps, Keep, Schemas, TopicSettings},
};
use crate::{
    artifact::File,
    avro::schema::Schema,
    decode::{Format, TopicSpec},
    detect::is_sequence_field,
    event::Field,
    position::is_kafka_name,
    topics::Pattern,
};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Component, Path, PathBuf},
};

/// A topic to read.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name; of topics that are found by a pattern, the pattern.
    pub name: String,
    /// The pattern, if it is one: every topic that matches and is not named or found by one before.
    pub pattern: Option<Pattern>,
    /// How its values are decoded.
    pub spec: TopicSpec,
    /// Whether offsets may be missing: transactions, compaction. Such gaps are `not_delivered`, others `unexplained`.
    pub gaps_expected: bool,
    /// Where a new chain begins to read.
    pub start: Start,
    /// The fields of the event by which the producer partitions it; none: not known.
    pub partitioned_by: Vec<String>,
    /// The fields that tell one numbering of its sources from another; none: their numbers are not looked at.
    pub sequence_by: Vec<String>,
}

/// Where a new chain begins to read. What lies before is sealed as a gap `before_chain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first offset that the broker still has.
    LogStart,
    /// The next record produced.
    End,
    /// The first record whose timestamp is at or after this: milliseconds since 1970.
    At(i64),
}

/// Where our own messages go: such a topic may be sealed, but not judged, or alerts would raise alerts.
pub(super) struct OwnTopics<'a>(pub [Option<&'a str>; 4]);

pub(super) fn resolve(settings: Vec<TopicSettings>, own: &OwnTopics<'_>, check: &mut Check<'_>) -> Vec<Topic> {
    if settings.is_empty() {
        check.missing("topics", "at least one [[topics]] with a name and a format");
    }
    let mut seen = HashSet::new();
    let mut schemas = BTreeMap::new();
    let mut topics = Vec::with_capacity(settings.len());
    for (place, settings) in settings.into_iter().enumerate() {
        let at = format!("topics.{place}");
        if let Some(topic) = topic(settings, &at, own, &mut schemas, check) {
            let setting = if topic.pattern.is_some() { "pattern" } else { "name" };
            if !seen.insert((setting, topic.name.clone())) {
                check.wrong(&format!("{at}.{setting}"), format!("{:?} is listed twice", topic.name));
            }
            topics.push(topic);
        }
    }
    topics
}

/// Schema files read so far, by the name they get in `artifacts/`.
pub(super) type Known = BTreeMap<String, File>;

fn topic(
    settings: TopicSettings,
    at: &str,
    own: &OwnTopics<'_>,
    schemas: &mut Known,
    check: &mut Check<'_>,
) -> Option<Topic> {
    let setting = |name: &str| format!("{at}.{name}");
    let pattern = pattern_of(&settings, at, check);
    if settings.format.is_none() {
        check.missing(&setting("format"), "one of avro, confluent, single-object, json, text, opaque");
    }
    let start = start_of(settings.start.as_deref(), &setting("start"), check);
    if start == Start::End && settings.pattern.is_some() {
        let message = "a topic that is found later would lose what came before it was found: take it out, write a \
                       moment, or name the topics for which it is meant";
        check.wrong(&setting("start"), message);
    }
    let (name, format) = (settings.name.clone().or(settings.pattern.clone())?, settings.format?);
    if format == FormatName::Opaque {
        let unused = [
            ("source", settings.source.is_some()),
            ("tenant", settings.tenant.is_some()),
            ("keep", settings.keep.is_some()),
            ("secret_fields", !settings.secret_fields.is_empty()),
            ("partitioned_by", !settings.partitioned_by.is_empty()),
            ("sequence_by", !settings.sequence_by.is_empty()),
            ("mapping", settings.mapping.is_some()),
        ];
        for (name, _) in unused.iter().filter(|(_, set)| *set) {
            check.wrong(&setting(name), "has no effect on an opaque topic, which is sealed as it is: take it out");
        }
    } else if pattern.is_none() && own.0.contains(&Some(name.as_str())) {
        let message = "authseal writes to this topic itself: it can only be read as format = \"opaque\", \
                       or every alert would be judged again";
        check.wrong(&setting("format"), message);
    }
    for field in settings.partitioned_by.iter().filter(|field| Field::from_name(field).is_none()) {
        check.wrong(&setting("partitioned_by"), format!("{field:?} is no field of an event"));
    }
    for field in settings.sequence_by.iter().filter(|field| !is_sequence_field(field)) {
        check.wrong(&setting("sequence_by"), format!("{field:?} is no field of an event, nor attributes.NAME"));
    }
    for field in &settings.secret_fields {
        if field.trim().is_empty() {
            check.wrong(&setting("secret_fields"), "holds an empty name");
        }
    }
    let (partitioned_by, sequence_by) = (settings.partitioned_by.clone(), settings.sequence_by.clone());
    let spec = TopicSpec {
        format: format_of(format, &settings, at, schemas, check)?,
        source: settings.source,
        tenant: settings.tenant,
        keep_event_only: settings.keep.unwrap_or_default() == Keep::Event,
        secret_fields: settings.secret_fields,
    };
    let gaps_expected = settings.gaps.unwrap_or(Gaps::None) == Gaps::Expected;
    Some(Topic { name, pattern, spec, gaps_expected, start, partitioned_by, sequence_by })
}

/// The pattern, if it is one. A topic has a name, or it has a pattern.
fn pattern_of(settings: &TopicSettings, at: &str, check: &mut Check<'_>) -> Option<Pattern> {
    let setting = format!("{at}.name");
    match (&settings.name, &settings.pattern) {
        (None, None) => check.missing(&setting, "the topic to read, or a pattern for several"),
        (Some(_), Some(_)) => check.wrong(&format!("{at}.pattern"), "name is set too: keep one of them"),
        (Some(name), None) if name.starts_with('^') => {
            check.wrong(&setting, format!("{name:?} is no topic name: topics that match are read with pattern = …"));
        }
        (Some(name), None) if !is_kafka_name(name) => {
            check.wrong(&setting, format!("{name:?} is no topic name: 1 to 249 of a-z A-Z 0-9 . _ -"));
        }
        (Some(_), None) => {}
        (None, Some(text)) => match Pattern::parse(text) {
            Ok(pattern) => return Some(pattern),
            Err(error) => check.wrong(&format!("{at}.pattern"), error.to_string()),
        },
    }
    None
}

fn start_of(text: Option<&str>, setting: &str, check: &mut Check<'_>) -> Start {
    match text {
        None | Some("log-start") => Start::LogStart,
        Some("end") => Start::End,
        Some(moment) => match moment.parse::<jiff::Timestamp>() {
            Ok(moment) => Start::At(moment.as_millisecond()),
            Err(_) => {
                let message = "expected \"log-start\", \"end\" or a moment such as \"2026-01-31T00:00:00Z\"";
                check.wrong(setting, message);
                Start::LogStart
            }
        },
    }
}

fn format_of(
    name: FormatName,
    settings: &TopicSettings,
    at: &str,
    known: &mut Known,
    check: &mut Check<'_>,
) -> Option<Format> {
    let (one, many) = (format!("{at}.schema"), format!("{at}.schemas"));
    if settings.schema.is_some() && name != FormatName::Avro {
        check.wrong(&one, "belongs to format = \"avro\": other formats name their schema in each record");
    }
    if settings.schemas.is_some() && !matches!(name, FormatName::Confluent | FormatName::SingleObject) {
        check.wrong(&many, "belongs to the formats confluent and single-object");
    }
    mapping::check_unused(name, settings, at, check);
    Some(match name {
        FormatName::Avro => Format::Avro {
            schema: match &settings.schema {
                Some(path) => Some(schema(path, &one, &one, known, check)?),
                None => None,
            },
        },
        FormatName::Confluent => match &settings.schemas {
            Some(Schemas::ById(files)) if !files.is_empty() => {
                let mut schemas = BTreeMap::new();
                for (id, path) in files {
                    schemas.insert(*id, schema(path, &format!("{many}.{id}"), &many, known, check)?);
                }
                if registry::is_given(check) { Format::Registry { schemas } } else { Format::Confluent { schemas } }
            }
            None if registry::is_given(check) => Format::Registry { schemas: BTreeMap::new() },
            Some(_) => {
                check.wrong(&many, "must map at least one schema id to a file: schemas = { 17 = \"file.avsc\" }");
                return None;
            }
            None => {
                check.missing(
                    &many,
                    "a [registry] with a url, or the schema files by id, such as { 17 = \"file.avsc\" }",
                );
                return None;
            }
        },
        FormatName::SingleObject => {
            let mut schemas = Vec::new();
            match &settings.schemas {
                Some(Schemas::List(files)) => {
                    for (place, path) in files.iter().enumerate() {
                        schemas.push(schema(path, &format!("{many}.{place}"), &many, known, check)?);
                    }
                }
                Some(Schemas::ById(_)) => {
                    check
                        .wrong(&many, "must be an array of files: single-object records name a fingerprint, not an id");
                }
                None => {} // the canonical schema is always known
            }
            Format::SingleObject { schemas }
        }
        FormatName::Json if settings.mapping.is_none() => Format::Json,
        FormatName::Json | FormatName::Text => mapping::format_of(name, settings, at, known, check)?,
        FormatName::Opaque => Format::Opaque,
    })
}

/// Reads a schema file. It must be Avro, and no other file may have the same name among the artifacts.
fn schema(path: &Path, setting: &str, fallback: &str, known: &mut Known, check: &mut Check<'_>) -> Option<File> {
    let origin = check.origin(setting).or_else(|| check.origin(fallback));
    let bytes = check.read(origin.clone(), setting, path)?;
    let schema = Schema::parse(&bytes)
        .and_then(|schema| schema.fields().map(|_| ()).ok_or_else(|| "the outermost type is not a record".to_owned()));
    if let Err(message) = schema {
        check.wrong_at(origin, setting, format!("{}: {message}", path.display()));
        return None;
    }
    let Some(name) = artifact_name(path) else {
        check.wrong_at(origin, setting, format!("{} has no file name in UTF-8", path.display()));
        return None;
    };
    let file = File { path: name.clone(), bytes };
    if known.get(&name).is_some_and(|other| other.bytes != file.bytes) {
        let message =
            format!("another schema is called {name} already: the sealed evidence names schemas so, rename one");
        check.wrong_at(origin, setting, message);
        return None;
    }
    known.insert(name, file.clone());
    Some(file)
}

/// The name of a schema among the artifacts: a relative path as it was written, of others the last part, so that
/// the evidence says nothing about the machine it was sealed on.
pub(super) fn artifact_name(path: &Path) -> Option<String> {
    let parts: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let inside = parts.components().all(|part| matches!(part, Component::Normal(_)));
    let shown = if inside { parts.as_path() } else { Path::new(parts.file_name()?) };
    Some(shown.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_named_without_the_machine() {
        for (path, name) in [
            ("a.avsc", "a.avsc"),
            ("./schemas/a.avsc", "schemas/a.avsc"),
            ("../x/a.avsc", "a.avsc"),
            ("/etc/authseal/a.avsc", "a.avsc"),
        ] {
            assert_eq!(artifact_name(Path::new(path)).as_deref(), Some(name));
        }
    }
}
