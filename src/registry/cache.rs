//! Schemas that were fetched once, on disk, so that a restart finds them while the registry is down. A file is called
//! by the id and the SHA-256 of its bytes; what does not hold is passed over and fetched again.
//!
//! Ids belong to a registry: each has a folder of its own, named by its addresses. If we crash here: a file comes to
//! its name complete, or not at all.

use crate::{
    digest::Digest,
    error::{Error, Result},
};
use std::{
    collections::HashMap,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Larger files are not ours.
const MAX_FILE: u64 = 8 << 20;
/// So many hexadecimal digits of the digest of its addresses name a registry's folder.
const FOLDER: usize = 16;

/// The cache of one registry.
pub(super) struct Cache {
    folder: PathBuf,
    files: Mutex<HashMap<u32, PathBuf>>,
}

impl Cache {
    /// Opens the folder, or makes it. An error if others could put schemas there: they would decide what events say.
    pub fn open(dir: &Path, registry: &str) -> Result<Self> {
        let digest = Digest::of(registry.as_bytes()).hex();
        let folder = dir.join(digest.get(..FOLDER).unwrap_or(&digest));
        let wrong = |e: std::io::Error| {
            Error::config(format!("registry.cache_dir: {} cannot be used", folder.display())).caused_by(e)
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(wrong)?;
        for place in [dir, &folder] {
            let mode = fs::metadata(place).map_err(wrong)?.permissions().mode();
            if mode & 0o022 != 0 {
                let shown = place.display();
                return Err(Error::config(format!(
                    "registry.cache_dir: {shown} may be written by others (mode {:04o}), who would decide how events \
                     are read: chmod 700 it",
                    mode & 0o7777
                )));
            }
        }
        let mut files = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(wrong)?.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".avsc")?.split_once('-')?.0.parse().ok());
            if let Some(id) = id {
                files.insert(id, entry.path());
            }
        }
        Ok(Self { folder, files: Mutex::new(files) })
    }

    /// The schema of an id, if it is there and is what its name says.
    pub fn get(&self, id: u32) -> Option<Vec<u8>> {
        let path = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.clone();
        if fs::metadata(&path).ok()?.len() > MAX_FILE {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        if path.file_name()?.to_str()? == name(id, &bytes) {
            return Some(bytes);
        }
        tracing::warn!(file = %path.display(), "a cached schema is not what its name says: it is fetched again");
        None
    }

    /// Keeps a schema. What cannot be kept is fetched again after a restart.
    pub fn put(&self, id: u32, bytes: &[u8]) {
        let path = self.folder.join(name(id, bytes));
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_data()?;
            file.persist(&path)?;
            Ok(())
        };
        match write() {
            Ok(()) => {
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(old) = files.insert(id, path.clone()).filter(|old| *old != path) {
                    // damaged: it would only be in the way
                    let _ = fs::remove_file(old);
                }
            }
            Err(error) => tracing::warn!(file = %path.display(), %error, "a schema cannot be cached"),
        }
    }
}

fn name(id: u32, bytes: &[u8]) -> String {
    format!("{id}-{}.avsc", Digest::of(bytes).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_survive_and_damaged_ones_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "http://a").unwrap();
        assert_eq!(cache.get(7), None);
        cache.put(7, b"seven");
        cache.put(8, b"eight");
        let again = Cache::open(dir.path(), "http://a").unwrap();
        assert_eq!((again.get(7).as_deref(), again.get(8).as_deref()), (Some(&b"seven"[..]), Some(&b"eight"[..])));
        assert_eq!(Cache::open(dir.path(), "http://b").unwrap().get(7), None, "another registry, other ids");

        let file = again.folder.join(name(7, b"seven"));
        fs::write(&file, b"s3ven").unwrap();
        assert_eq!(again.get(7), None);
        again.put(7, b"new");
        assert_eq!((again.get(7), file.exists()), (Some(b"new".to_vec()), false));
        assert_eq!(Cache::open(dir.path(), "http://a").unwrap().get(7), Some(b"new".to_vec()));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(dir.path(), "http://a").err().unwrap().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
