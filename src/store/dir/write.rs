//! Creating a file without replacing one, and so that it outlives a crash at any instruction.

use super::{Dir, io_error};
use crate::{
    digest::hex,
    error::{Error, Result},
    store::{Change, Create, key::TEMP},
};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A half-written file that is older was left by a process that died: writing one takes seconds.
const STALE: Duration = Duration::from_secs(3600);

impl Dir {
    /// The order is the guarantee: the bytes are durable before the name is, the name before we answer.
    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<Create> {
        let path = self.path(key);
        let folder = path.parent().ok_or_else(|| Error::bug(format!("{key} has no folder")))?;
        if self.is_taken(key)? {
            return self.exists(key, folder);
        }
        let temp = self.write_temp(bytes)?;
        // A crash up to here leaves a file under `.tmp`, which no list shows and a later start sweeps away.
        let linked = self.make_folders(key).and_then(|()| link(&temp.0, &path));
        // A crash here leaves the object complete under its key, not yet durable: our next create finds it, and makes
        // it so.
        drop(temp);
        match linked? {
            Create::Exists => self.exists(key, folder),
            Create::Created => {
                sync_folder(folder)?;
                // A crash after this changes nothing: the next create of the same bytes is `OwnLostResponse`.
                Ok(Create::Created)
            }
        }
    }

    /// A rename is all or nothing. A crash before it leaves the old bytes and a file under `.tmp`; a crash after it,
    /// the new bytes, perhaps not yet durable: they are derived, and are written again.
    pub(super) fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(key);
        let folder = path.parent().ok_or_else(|| Error::bug(format!("{key} has no folder")))?;
        self.stat(key)?;
        let temp = self.write_temp(bytes)?;
        self.make_folders(key)?;
        fs::rename(&temp.0, &path).map_err(|e| io_error("replacing", &path, e))?;
        sync_folder(folder)
    }

    fn is_taken(&self, key: &str) -> Result<bool> {
        self.check_folders(key)?;
        let path = self.path(key);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error("creating", &path, e)),
        }
    }

    /// Whoever made it may have died before the folder was durable. Our caller is going to rely on it, so make it so.
    fn exists(&self, key: &str, folder: &Path) -> Result<Create> {
        self.make_folders(key)?;
        sync_folder(folder)?;
        Ok(Create::Exists)
    }

    /// Makes the folders of `key`, each durable in its parent. A folder that is there already may have been made by a
    /// process that died before it was durable; so each is made durable once by every process.
    fn make_folders(&self, key: &str) -> Result<()> {
        for (end, _) in key.match_indices('/') {
            let folder = self.root.join(key.get(..end).unwrap_or_default());
            if self.known().contains(&folder) {
                continue;
            }
            make_folder(&folder)?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
            self.known().insert(folder);
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<PathBuf>> {
        // a set of paths is whole even if a thread died holding it
        self.durable.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A new file with `bytes`, durable, in the same file system as the store.
    fn write_temp(&self, bytes: &[u8]) -> Result<Temp> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| Error::retry("the system has no random bytes").caused_by(e))?;
        let path = self.temp_folder()?.join(hex(&random));
        let fail = |e| io_error("writing", &path, e);
        // nobody may write to it, not even its owner, without changing the mode first
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(fail)?;
        let temp = Temp(path.clone());
        file.write_all(bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        Ok(temp)
    }

    /// `<root>/.tmp`, made and swept at the first create of this process.
    fn temp_folder(&self) -> Result<&Path> {
        if let Some(temp) = self.temp.get() {
            return Ok(temp);
        }
        fs::create_dir_all(&self.root).map_err(|e| io_error("making the store", &self.root, e))?;
        if let Some(parent) = fs::canonicalize(&self.root).ok().as_deref().and_then(Path::parent) {
            // best effort: above the store the folders are the operator's
            let _ = sync_folder(parent);
        }
        let temp = self.root.join(TEMP);
        make_folder(&temp)?;
        sweep(&temp);
        Ok(self.temp.get_or_init(|| temp))
    }

    pub(super) fn delete(&self, key: &str) -> Result<Change> {
        let path = self.path(key);
        if self.stat(key)?.is_some() {
            fs::remove_file(&path).map_err(|e| io_error("deleting", &path, e))?;
            if let Some(folder) = path.parent() {
                sync_folder(folder)?;
            }
        }
        Ok(Change::Done)
    }
}

/// A half-written file; it goes when this goes.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        // what cannot be removed is swept by a later start
        let _ = fs::remove_file(&self.0);
    }
}

/// The one step that decides a race: a hard link never replaces.
fn link(temp: &Path, path: &Path) -> Result<Create> {
    match fs::hard_link(temp, path) {
        Ok(()) => Ok(Create::Created),
        // also our own link, if a network file system lost the answer: `put_new` compares the bytes
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Create::Exists),
        // swept by another process because the clock leapt, or the writer slept for an hour: write it again
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(Error::retry(format!("{} vanished", temp.display())).caused_by(e))
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(Error::config(format!(
            "creating {}: not permitted; give this user write access to the folder, and \
             use a file system that has hard links",
            path.display()
        ))
        .caused_by(e)),
        Err(e) => Err(io_error("creating", path, e)),
    }
}

/// Makes one folder; an existing one is good, a link or a file in its place is not.
fn make_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => match fs::symlink_metadata(folder) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(Error::config(format!(
                "{} lies where a folder of the store should be: move it away",
                folder.display()
            ))),
            Err(e) => Err(io_error("reading", folder, e)),
        },
        Err(e) => Err(io_error("making the folder", folder, e)),
    }
}

/// Makes the entries of a folder durable.
fn sync_folder(folder: &Path) -> Result<()> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| io_error("making durable", folder, e))
}

/// Removes what processes left that died while writing. Failing to is no harm: nothing lists these files.
fn sweep(temp: &Path) {
    let stale = |meta: &fs::Metadata| {
        let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        meta.is_file() && age.is_some_and(|age| age > STALE)
    };
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        if entry.metadata().is_ok_and(|meta| stale(&meta)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
