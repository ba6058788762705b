//! `mapping` and `zone` of a topic: records of other products.

use super::{
    check::Check,
    settings::{FormatName, TopicSettings},
    topics::{Known, artifact_name},
};
use crate::{
    artifact::File,
    decode::{
        Format,
        mapping::{SHIPPED, check as check_mapping, offset, shipped},
    },
    detect::hint,
};
use std::path::{Path, PathBuf};

/// A mapping as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// One that comes with authseal.
    Shipped(File),
    /// A file of their own.
    Path(PathBuf),
}

impl Choice {
    /// Reads a name or a path: what holds a slash or ends in `.toml` is a path. The error says what is shipped.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') || text.ends_with(".toml") {
            return Ok(Self::Path(text.into()));
        }
        shipped(text).map(Self::Shipped).ok_or_else(|| {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            let hint = hint(text, names.iter().copied());
            let known = names.join(", ");
            format!("no mapping {text:?} is shipped{hint} (shipped: {known}; a path ends in .toml)")
        })
    }
}

/// The zone of a place (`Europe/Berlin`), `UTC`, or an offset (`+02:00`).
pub fn zone(text: &str) -> Result<jiff::tz::TimeZone, String> {
    let wrong =
        || format!("{text:?} is no zone: write UTC, an offset such as +02:00, or a place such as Europe/Berlin");
    if text.eq_ignore_ascii_case("utc") {
        return Ok(jiff::tz::TimeZone::UTC);
    }
    if let Some(offset) = offset(text) {
        return Ok(offset.to_time_zone());
    }
    jiff::tz::TimeZone::get(text).map_err(|_| wrong())
}

/// Settings of mappings where there is none.
pub(super) fn check_unused(format: FormatName, settings: &TopicSettings, at: &str, check: &mut Check<'_>) {
    let mapped = matches!(format, FormatName::Json | FormatName::Text);
    if settings.mapping.is_some() && !mapped && format != FormatName::Opaque {
        check.wrong(&format!("{at}.mapping"), "belongs to the formats json and text: Avro says by name what is what");
    }
    if settings.zone.is_some() && settings.mapping.is_none() {
        check.wrong(&format!("{at}.zone"), "belongs to a mapping: authseal's own times have an offset");
    }
}

/// The format of a topic whose records are read through a mapping.
pub(super) fn format_of(
    format: FormatName,
    settings: &TopicSettings,
    at: &str,
    known: &mut Known,
    check: &mut Check<'_>,
) -> Option<Format> {
    let setting = format!("{at}.mapping");
    let Some(name) = &settings.mapping else {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        check.missing(&setting, &format!("how lines are understood: one of {}, or a file", names.join(", ")));
        return None;
    };
    // first, so that one run tells of it too
    let zone = settings.zone.as_deref().map(zone).transpose().unwrap_or_else(|message| {
        check.wrong(&format!("{at}.zone"), message);
        None
    });
    let file = match Choice::parse(name) {
        Ok(Choice::Shipped(file)) => file,
        Ok(Choice::Path(path)) => own(&path, &setting, known, check)?,
        Err(message) => {
            check.wrong(&setting, message);
            return None;
        }
    };
    let text = format == FormatName::Text;
    match check_mapping(&file) {
        Err(problems) => {
            for problem in problems.list {
                let message = format!("{}:{}:{}: {}", problems.file, problem.line, problem.column, problem.message);
                check.wrong(&setting, message);
            }
            return None;
        }
        Ok(about) if !(if text { about.text } else { about.json }) => {
            let other = if text { "json" } else { "text" };
            check.wrong(&setting, format!("{name} reads format = {other:?} only"));
            return None;
        }
        Ok(_) => {}
    }
    Some(Format::Mapped { mapping: file, text, zone })
}

/// A mapping of the user's own. No other file may have the same name among the artifacts.
fn own(path: &Path, setting: &str, known: &mut Known, check: &mut Check<'_>) -> Option<File> {
    let origin = check.origin(setting);
    let bytes = check.read(origin.clone(), setting, path)?;
    let Some(name) = artifact_name(path) else {
        check.wrong_at(origin, setting, format!("{} has no file name in UTF-8", path.display()));
        return None;
    };
    let file = File { path: name.clone(), bytes };
    if known.get(&name).is_some_and(|other| other.bytes != file.bytes) {
        let message = format!("another file is called {name} already: the sealed evidence names files so, rename one");
        check.wrong_at(origin, setting, message);
        return None;
    }
    known.insert(name, file.clone());
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_names_or_paths() {
        assert!(matches!(Choice::parse("keycloak-event"), Ok(Choice::Shipped(_))));
        assert_eq!(Choice::parse("mine.toml"), Ok(Choice::Path("mine.toml".into())));
        assert_eq!(Choice::parse("a/b"), Ok(Choice::Path("a/b".into())));
        let wrong = Choice::parse("keycloak-events").unwrap_err();
        assert!(wrong.contains("did you mean `keycloak-event`"), "{wrong}");
    }

    #[test]
    fn zones_are_places_or_offsets() {
        for good in ["UTC", "utc", "+02:00", "-05:30"] {
            assert!(zone(good).is_ok(), "{good}");
        }
        for bad in ["", "here", "+2", "+99:00"] {
            assert!(zone(bad).is_err(), "{bad}");
        }
    }
}
