//! Databases of addresses that change while `authseal run` runs: looks at their files, checks what is new as a whole,
//! and puts what is good into force. What is not stays out, the old one stays in force, and readiness says so.

use super::reload;
use crate::{
    config::{self, Enrich},
    decode::enrich::{Database, Enricher},
    error::Result,
    ingest::status::Status,
    telemetry,
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// The part of readiness that stands for the databases.
const PART: &str = "enrichment";

/// What tells a file from the one that was there before: device, inode, size, change of contents in nanoseconds.
type Face = (u64, u64, u64, i128);

fn face(path: &Path) -> std::io::Result<Face> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino(), meta.size(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())))
}

/// A file and what of it is in force.
struct File {
    path: PathBuf,
    database: Arc<Database>,
    /// What was judged last, and why it was refused, if it was.
    judged: (Option<Face>, Option<String>),
    /// What the last look saw.
    seen: Option<Face>,
}

/// Looks after databases.
pub struct Watcher {
    files: Vec<File>,
    enricher: Arc<Enricher>,
    status: Arc<Status>,
}

impl Watcher {
    /// A watcher of the databases that are in force in `enricher`.
    pub fn new(config: &Enrich, enricher: Arc<Enricher>, status: Arc<Status>) -> Self {
        let file = |(path, database): &(PathBuf, Arc<Database>)| {
            let judged = (face(path).ok(), None);
            File { path: path.clone(), database: database.clone(), judged, seen: None }
        };
        let watcher = Self { files: config.databases.iter().map(file).collect(), enricher, status };
        watcher.tell();
        watcher
    }

    /// Looks now and then, and at each SIGHUP, until it is dropped.
    pub async fn watch(mut self) -> Result<()> {
        let mut hangup = reload::hangups()?;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            self.look(asked).await;
        }
    }

    /// Looks once. A change that nobody announced must look the same twice: a copy may be half done.
    async fn look(&mut self, asked: bool) {
        let mut changed = false;
        for file in &mut self.files {
            changed |= file.look(asked).await;
        }
        if changed {
            self.enricher.replace(self.files.iter().map(|file| file.database.clone()).collect());
        }
        self.tell();
    }

    /// What readiness and metrics say: again at each look, for gauges that nobody sets are dropped.
    fn tell(&self) {
        for file in &self.files {
            // the name of a file is the operator's own, and there are few
            let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            metrics::gauge!(telemetry::DATABASE_BUILT, "database" => name).set(file.database.built() as f64);
        }
        let refused = self.files.iter().find_map(|file| file.judged.1.clone());
        let old = || {
            self.files.iter().find_map(|file| {
                let days = config::out_of_date(&file.database)?;
                Some(format!("{} is {days} days old: addresses have moved since", file.database.label()))
            })
        };
        self.status.ok(PART);
        self.status.warn(PART, refused.or_else(old));
    }
}

impl File {
    /// Whether another database is in force now.
    async fn look(&mut self, asked: bool) -> bool {
        let face = match face(&self.path) {
            Ok(face) => face,
            Err(error) => {
                let why = format!("{} cannot be read: {error}", self.path.display());
                self.judged = (None, Some(format!("{} stays in force: {why}", self.database.label())));
                return false;
            }
        };
        if self.judged.0 == Some(face) && !(asked && self.judged.1.is_some()) {
            self.seen = None;
            return false;
        }
        if !asked && self.seen.replace(face) != Some(face) {
            return false;
        }
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || config::open_database(&path)).await;
        let opened = opened.unwrap_or_else(|panic| Err(format!("reading {} panicked: {panic}", self.path.display())));
        let result = if opened.is_ok() { "in_force" } else { "refused" };
        metrics::counter!(telemetry::DATABASE_RELOADS, "result" => result).increment(1);
        match opened {
            Ok(database) => {
                tracing::info!(was = self.database.label(), now = database.label(), "another database is in force");
                self.judged = (Some(face), None);
                self.database = database;
                true
            }
            Err(why) => {
                let why = format!("{} stays in force: the new one is refused: {why}", self.database.label());
                self.judged = (Some(face), Some(why));
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "../../tests/enrich/mmdb.rs"]
#[allow(clippy::unwrap_used)]
mod mmdb;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(path: &Path, country: &str, built: u64) {
        let record = json!({ "country": { "iso_code": country } });
        let new = path.with_extension("new");
        std::fs::write(&new, mmdb::database("Test-Country", built, 24, &[("9.9.9.0/24", record)])).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    #[tokio::test]
    async fn a_good_file_comes_into_force_and_a_bad_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("country.mmdb");
        let now = jiff::Timestamp::now().as_second() as u64;
        write(&path, "DE", now - 3 * 86_400);
        let database = config::open_database(&path).unwrap();
        let config = Enrich { databases: vec![(path.clone(), database.clone())], user_agent: false };
        let (enricher, status) = (Arc::new(Enricher::new(vec![database], false)), Arc::new(Status::default()));
        let mut watcher = Watcher::new(&config, enricher.clone(), status.clone());
        let label = || enricher.databases()[0].label().to_owned();
        let said = || status.warnings().get(PART).cloned();
        let first = label();
        watcher.look(false).await;
        assert_eq!((label(), said()), (first.clone(), None));

        write(&path, "FR", now - 2 * 86_400);
        watcher.look(false).await;
        assert_eq!(label(), first, "a copy may be half done");
        watcher.look(false).await;
        let second = label();
        assert_ne!(second, first);
        assert_eq!(said(), None);

        // half a file, no file, a good one again
        std::fs::write(&path, b"half a file").unwrap();
        watcher.look(true).await;
        let why = said().unwrap();
        assert!(label() == second && why.starts_with(&second) && why.contains("no database"), "{why}");
        assert_eq!(status.parts().get(PART), Some(&None), "what is in force works");
        std::fs::remove_file(&path).unwrap();
        watcher.look(false).await;
        assert!(said().unwrap().contains("cannot be read"), "{:?}", said());
        write(&path, "IT", now - 86_400);
        watcher.look(true).await;
        assert!(label() != second && said().is_none(), "{:?}", said());

        // one that nobody has looked after
        write(&path, "IT", now - 90 * 86_400);
        watcher.look(true).await;
        assert!(said().unwrap().contains("90 days old"), "{:?}", said());
    }
}
