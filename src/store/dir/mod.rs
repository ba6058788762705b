//! A store in a local directory. It creates without replacing and is durable, but it cannot lock: whoever may write to
//! the directory may delete from it. It says so (`retention: None`), and `authseal verify` finds what was done.

mod walk;
mod write;

use super::{
    Bucket, Change, Create, Entry, MAX_OBJECT, Store, Stored, Version, Versions, check_create, check_key,
    check_replace, key::check_prefix, too_long,
};
use crate::{
    error::{Error, Result},
    retention::Retention,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

/// A directory as a store. Opening it touches nothing; the first create makes the directory, so that a store which is
/// only read is never written to. Clones share what they know.
#[derive(Debug, Clone)]
pub struct DirStore {
    inner: Arc<Dir>,
}

/// The blocking half.
#[derive(Debug)]
struct Dir {
    root: PathBuf,
    /// Folders whose entry in their parent this process has made durable. One for each chain: bounded by the
    /// partitions.
    durable: Mutex<HashSet<PathBuf>>,
    /// The place for half-written files, once it is swept.
    temp: OnceLock<PathBuf>,
}

impl DirStore {
    /// The store in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let dir = Dir { root: root.into(), durable: Mutex::default(), temp: OnceLock::new() };
        Self { inner: Arc::new(dir) }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Dir) -> Result<T> + Send + 'static) -> Result<T> {
        let dir = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&dir)).await {
            Ok(result) => result,
            Err(e) => Err(Error::bug("a file operation panicked").caused_by(e)),
        }
    }
}

#[async_trait]
impl Store for DirStore {
    fn describe(&self) -> String {
        self.inner.root.display().to_string()
    }

    async fn create(&self, key: &str, bytes: Bytes, retention: &Retention) -> Result<Create> {
        // a lock that was asked for is not kept: the self-test refuses that combination at the start
        check_create(key, &bytes, retention)?;
        let key = key.to_owned();
        self.blocking(move |dir| dir.create(&key, &bytes)).await
    }

    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>> {
        check_key(key)?;
        let key = key.to_owned();
        self.blocking(move |dir| dir.read(&key)).await
    }

    async fn read_newest(&self, key: &str) -> Result<Option<Stored>> {
        self.read_oldest(key).await
    }

    async fn replace(&self, key: &str, bytes: Bytes) -> Result<()> {
        check_replace(key)?;
        let key = key.to_owned();
        self.blocking(move |dir| dir.replace(&key, &bytes)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        check_prefix(prefix)?;
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(move |dir| dir.list(&prefix, after.as_deref(), limit)).await
    }

    async fn clock(&self) -> Result<Option<i64>> {
        Ok(None)
    }

    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>> {
        if version.is_empty() { self.read_oldest(key).await } else { Ok(None) }
    }

    async fn versions(&self, key: &str) -> Result<Versions> {
        check_key(key)?;
        let key = key.to_owned();
        let size = self.blocking(move |dir| dir.stat(&key)).await?.map(|meta| meta.len());
        let held = size.map(|size| Version { id: String::new(), size }).into_iter().collect();
        Ok(Versions { held, markers: Vec::new() })
    }

    async fn retention_of(&self, _key: &str, _version: &str) -> Result<Option<Retention>> {
        Ok(None)
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |dir| dir.folders(&prefix)).await
    }

    async fn delete_version(&self, key: &str, version: &str) -> Result<Change> {
        check_key(key)?;
        if !version.is_empty() {
            return Err(Error::bug(format!("{key}: a directory has no version {version:?}")));
        }
        let key = key.to_owned();
        self.blocking(move |dir| dir.delete(&key)).await
    }

    async fn set_retention(&self, key: &str, _version: &str, _retention: &Retention) -> Result<Change> {
        Err(Error::config(format!("{}: {key} cannot be locked: a directory has no locks", self.describe())))
    }

    async fn bucket(&self) -> Result<Option<Bucket>> {
        Ok(None)
    }
}

impl Dir {
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// What lies at `key`, not following links; `None` if nothing does.
    fn stat(&self, key: &str) -> Result<Option<fs::Metadata>> {
        self.check_folders(key)?;
        let path = self.path(key);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == ErrorKind::NotFound => return self.check_root().map(|()| None),
            // a part of the key is a file: then nothing can lie below it
            Err(e) if e.kind() == ErrorKind::NotADirectory => return Ok(None),
            Err(e) => return Err(io_error("reading", &path, e)),
        };
        if !meta.is_file() {
            let what = if meta.is_symlink() { "a symbolic link" } else { "no ordinary file" };
            return Err(Error::tampered(format!(
                "{} is {what}: authseal did not write it, and does not read it",
                path.display()
            )));
        }
        Ok(Some(meta))
    }

    /// Refuses links in the way to `key`: they could lead out of the store, or make two keys one.
    fn check_folders(&self, key: &str) -> Result<()> {
        for (end, _) in key.match_indices('/') {
            let path = self.root.join(key.get(..end).unwrap_or_default());
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_symlink() => {
                    return Err(Error::tampered(format!(
                        "{} is a symbolic link where a folder should be",
                        path.display()
                    )));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
                Err(e) => return Err(io_error("reading", &path, e)),
            }
        }
        Ok(())
    }

    /// Whether there is a directory at all: "nothing lies here" must not be said of a mistyped path or an unmounted
    /// disk.
    fn check_root(&self) -> Result<()> {
        match fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(Error::config(format!(
                "{} is not a directory: name the directory of the store",
                self.root.display()
            ))),
            Err(e) => Err(io_error("opening the store", &self.root, e)),
        }
    }

    fn read(&self, key: &str) -> Result<Option<Stored>> {
        let Some(before) = self.stat(key)? else { return Ok(None) };
        let path = self.path(key);
        if before.len() > MAX_OBJECT {
            return Err(too_long(&path.display().to_string(), before.len()));
        }
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("reading", &path, e)),
        };
        // the file that was looked at is the file that was opened: nobody put a link in between
        let opened = file.metadata().map_err(|e| io_error("reading", &path, e))?;
        if (opened.dev(), opened.ino()) != (before.dev(), before.ino()) {
            return Err(Error::tampered(format!("{} was replaced while it was being read", path.display())));
        }
        let mut bytes = Vec::with_capacity(opened.len() as usize);
        let read = file.take(MAX_OBJECT + 1).read_to_end(&mut bytes).map_err(|e| io_error("reading", &path, e))?;
        if read as u64 > MAX_OBJECT {
            return Err(too_long(&path.display().to_string(), read as u64));
        }
        Ok(Some(Stored { bytes: bytes.into(), version: String::new(), retention: None, hold: None }))
    }
}

/// An error of the file system, with what to do about it.
fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let place = path.display();
    let wrapped = match error.kind() {
        ErrorKind::NotFound => {
            Error::config(format!("{doing} {place}: there is no such directory; check the path, or mount the disk"))
        }
        ErrorKind::PermissionDenied => Error::config(format!(
            "{doing} {place}: not permitted; give this user read and write access to the directory"
        )),
        ErrorKind::ReadOnlyFilesystem => {
            Error::config(format!("{doing} {place}: the file system is mounted read-only"))
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => Error::config(format!(
            "{doing} {place}: a file lies where a folder should be, or a folder where a file should be"
        )),
        ErrorKind::Unsupported => Error::config(format!(
            "{doing} {place}: this file system has no hard links, without which nothing can be created \
             without replacing; use another"
        )),
        // the rest may pass: a full disk is emptied, a network file system comes back
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::retry(format!("{doing} {place}: the disk is full; make room"))
        }
        _ => Error::retry(format!("{doing} {place}")),
    };
    wrapped.caused_by(error)
}

#[cfg(test)]
mod tests;
