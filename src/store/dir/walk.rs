//! Listing a directory in the byte order of whole keys, without following links.
//!
//! A folder sorts as its name and a slash: `a-b` comes before `a/x` although `a` comes before `a-b`.

use super::{Dir, io_error};
use crate::{
    error::Result,
    store::{Entry, key::TEMP},
};
use std::{fs, io::ErrorKind};

/// A name in a folder, as a key: that of a folder ends in a slash.
struct Found {
    key: String,
    folder: bool,
}

impl Dir {
    pub(super) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let base = prefix.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut entries = Vec::new();
        self.check_root()?;
        self.check_folders(&base)?;
        self.walk(&base, prefix, after, limit, &mut entries)?;
        Ok(entries)
    }

    pub(super) fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.check_root()?;
        self.check_folders(prefix)?;
        let mut names = self.read_folder(prefix)?;
        names.retain(|found| found.folder);
        names.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        // a folder without a file is none to a store: an interrupted create leaves such
        let mut folders = Vec::new();
        for found in names {
            let mut one = Vec::new();
            self.walk(&found.key, &found.key, None, 1, &mut one)?;
            if !one.is_empty() {
                folders.push(found.key);
            }
        }
        Ok(folders)
    }

    /// Adds what lies under `folder` (empty, or a key that ends in a slash) until there are `limit` entries.
    fn walk(
        &self,
        folder: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<()> {
        let room = limit.saturating_sub(entries.len());
        if room == 0 {
            return Ok(());
        }
        let mut names = self.read_folder(folder)?;
        names.retain(|found| wanted(found, prefix, after));
        if names.len() > room && names.iter().all(|found| !found.folder) {
            // a long chain is read page by page: do not sort what no page of this call shows
            names.select_nth_unstable_by(room - 1, |a, b| a.key.cmp(&b.key));
            names.truncate(room);
        }
        names.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for found in names {
            if entries.len() >= limit {
                break;
            }
            if found.folder {
                self.walk(&found.key, prefix, after, limit, entries)?;
                continue;
            }
            match fs::symlink_metadata(self.path(&found.key)) {
                // links and devices are listed too, with no length: reading them says what they are
                Ok(meta) => entries.push(Entry {
                    size: if meta.is_file() { meta.len() } else { 0 },
                    versions: 1,
                    markers: 0,
                    oldest: String::new(),
                    key: found.key,
                }),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(io_error("listing", &self.path(&found.key), e)),
            }
        }
        Ok(())
    }

    /// The names in `folder`, in no order; none if there is no such folder.
    fn read_folder(&self, folder: &str) -> Result<Vec<Found>> {
        let path = self.path(folder);
        let fail = |e| io_error("listing", &path, e);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
            Err(e) => return Err(fail(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if folder.is_empty() && name == TEMP {
                continue;
            }
            let is_folder = entry.file_type().map_err(fail)?.is_dir();
            // a name that is not UTF-8 is shown as well as can be: it is not ours, and reading it is refused
            let mut key = format!("{folder}{}", name.to_string_lossy());
            if is_folder {
                key.push('/');
            }
            names.push(Found { key, folder: is_folder });
        }
        Ok(names)
    }
}

/// Whether `found`, or anything below it, begins with `prefix` and comes after `after`.
fn wanted(found: &Found, prefix: &str, after: Option<&str>) -> bool {
    let key = found.key.as_str();
    let in_prefix = key.starts_with(prefix) || (found.folder && prefix.starts_with(key));
    in_prefix && after.is_none_or(|after| key > after || (found.folder && after.starts_with(key)))
}
