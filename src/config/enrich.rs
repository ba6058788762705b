//! `[enrich]` and `[correlate]`: what is filled into events, and what is hashed in them.

use super::{
    check::Check,
    secret::Key32,
    settings::{CorrelateSettings, EnrichSettings},
    topics::Topic,
};
use crate::decode::{
    Format,
    enrich::{Database, MAX_DATABASE, MOST_DATABASES},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A database of addresses is out of date after so many days: places and networks move on.
pub const OLD_DAYS: i64 = 60;

/// What is filled into events.
#[derive(Debug, Clone, Default)]
pub struct Enrich {
    /// Databases in MaxMind's format, with their files.
    pub databases: Vec<(PathBuf, Arc<Database>)>,
    /// Whether user agents are parsed.
    pub user_agent: bool,
}

impl Enrich {
    /// Whether nothing is filled in.
    pub fn is_nothing(&self) -> bool {
        self.databases.is_empty() && !self.user_agent
    }
}

/// Reads a database and checks it as a whole. The error says what is wrong with it.
pub fn open_database(path: &Path) -> Result<Arc<Database>, String> {
    let read = std::fs::metadata(path).and_then(|meta| match meta.len() {
        _ if meta.is_dir() => Err(std::io::Error::other("it is a folder")),
        length if length > MAX_DATABASE => Err(std::io::Error::other("it is larger than 1 GiB")),
        _ => std::fs::read(path),
    });
    let bytes = read.map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    Database::new(bytes).map(Arc::new).map_err(|why| format!("{}: {why}", path.display()))
}

/// How many days ago a database was built, if that is too many.
pub fn out_of_date(database: &Database) -> Option<i64> {
    let days = (jiff::Timestamp::now().as_second() - database.built()) / 86_400;
    (days > OLD_DAYS).then_some(days)
}

pub(super) fn resolve(settings: EnrichSettings, check: &mut Check<'_>) -> Enrich {
    if settings.databases.len() > MOST_DATABASES {
        check.wrong("enrich.databases", format!("names more than {MOST_DATABASES} databases"));
        return Enrich::default();
    }
    let mut databases = Vec::new();
    for (place, path) in settings.databases.iter().enumerate() {
        let path = check.path(path);
        let setting = format!("enrich.databases.{place}");
        match open_database(&path) {
            Ok(database) => {
                if let Some(days) = out_of_date(&database) {
                    check.warn(format!(
                        "{setting}: {} is {days} days old: addresses have moved since",
                        database.label()
                    ));
                }
                databases.push((path, database));
            }
            Err(why) => {
                let origin = check.origin(&setting).or_else(|| check.origin("enrich.databases"));
                check.wrong_at(origin, &setting, why);
            }
        }
    }
    Enrich { databases, user_agent: settings.user_agent.unwrap_or(false) }
}

/// The key of pseudonyms. What it does not hide is said.
pub(super) fn correlate(
    settings: CorrelateSettings,
    withhold: Option<&Key32>,
    topics: &[Topic],
    check: &mut Check<'_>,
) -> Option<Key32> {
    let judged = |topic: &&Topic| !matches!(topic.spec.format, Format::Opaque);
    let names = |event_only: bool| -> Vec<&str> {
        let of = topics.iter().filter(judged).filter(|topic| topic.spec.keep_event_only == event_only);
        of.map(|topic| topic.name.as_str()).collect()
    };
    let (hidden, open) = (names(true), names(false));
    let Some(text) = check.secret("correlate.key", settings.key, settings.key_file.as_deref()) else {
        if settings.key_file.is_none() && !hidden.is_empty() && !open.is_empty() {
            check.warn(format!(
                "sessions and tokens of {} are HMACs (keep = \"event\") and do not join with those of {}: set \
                 correlate.key_file, if they are the same",
                hidden.join(", "),
                open.join(", ")
            ));
        }
        return None;
    };
    let place = check.origin("correlate.key_file").or_else(|| check.origin("correlate.key"));
    let Some(key) = Key32::parse(text.reveal()) else {
        check.wrong_at(place, "correlate.key_file", Key32::WRONG);
        return None;
    };
    if withhold == Some(&key) {
        let message = "is the key of seal.withhold_key_file as well: whoever may compute pseudonyms could then tell \
                       what was withheld, and destroying the one would destroy the other; make a key of its own";
        check.wrong_at(place, "correlate.key_file", message);
    }
    if !open.is_empty() {
        check.warn(format!(
            "correlate: sessions and tokens in the events of {} are HMACs, but their records are sealed as they came \
             and hold them readable (keep = \"value\"); keep = \"event\" seals the event alone",
            open.join(", ")
        ));
    }
    Some(key)
}
