//! What the resolvers of all sections share: reporting a problem at its place, reading the files that settings name.

use super::{
    problem::{Origin, Problem},
    secret::Secret,
    settings::SecretText,
    tree::Node,
};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Files named by settings are keys, passwords and schemas: nothing larger is read.
const MAX_FILE: u64 = 4 << 20;

pub(super) struct Check<'a> {
    root: &'a Node,
    base: PathBuf,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl<'a> Check<'a> {
    /// `problems` are those found so far; what they name is not reported as missing again.
    pub fn new(file: &Path, root: &'a Node, problems: Vec<Problem>) -> Self {
        let base = file.parent().unwrap_or(Path::new("")).to_owned();
        Self { root, base, problems, warnings: Vec::new() }
    }

    /// Reports a problem where the setting was written.
    pub fn wrong(&mut self, setting: &str, message: impl Into<String>) {
        let origin = self.root.find(setting).map(|node| node.origin.clone());
        self.wrong_at(origin, setting, message);
    }

    /// The same, at a place of its own.
    pub fn wrong_at(&mut self, origin: Option<Origin>, setting: &str, message: impl Into<String>) {
        self.problems.push(Problem::at(origin, Some(setting.to_owned()), message));
    }

    /// Reports that a setting is missing, unless it was there and could not be read.
    pub fn missing(&mut self, setting: &str, what: &str) {
        let reported = |p: &Problem| {
            p.setting
                .as_deref()
                .is_some_and(|s| s == setting || setting.strip_prefix(s).is_some_and(|rest| rest.starts_with('.')))
        };
        if !self.problems.iter().any(reported) {
            // the place is the table that lacks it, where there is one
            let table = setting.rsplit_once('.').and_then(|(table, _)| self.root.find(table));
            self.problems.push(Problem::at(
                table.map(|node| node.origin.clone()),
                Some(setting.to_owned()),
                format!("is missing: {what}"),
            ));
        }
    }

    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Where a setting came from.
    pub fn origin(&self, setting: &str) -> Option<Origin> {
        self.root.find(setting).map(|node| node.origin.clone())
    }

    /// Where the entry `key` of the table `setting` came from; for keys that have dots themselves.
    pub fn origin_of_key(&self, setting: &str, key: &str) -> Option<Origin> {
        Some(self.root.find(setting)?.get(key)?.origin.clone())
    }

    /// A path as a setting means it: relative to the folder of the file.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The bytes of a file that a setting names.
    pub fn read(&mut self, origin: Option<Origin>, setting: &str, path: &Path) -> Option<Vec<u8>> {
        let path = self.path(path);
        let read = std::fs::metadata(&path).and_then(|meta| match meta.len() {
            _ if meta.is_dir() => Err(std::io::Error::other("it is a folder")),
            length if length > MAX_FILE => Err(std::io::Error::other("it is larger than 4 MiB")),
            _ => std::fs::read(&path),
        });
        match read {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.wrong_at(origin, setting, format!("{} cannot be read: {error}", path.display()));
                None
            }
        }
    }

    /// The text of a secret file, without the whitespace at its end. Refused when others on the machine could read or
    /// change it; a group that may read it (as Kubernetes mounts secrets with `fsGroup`) is worth a warning.
    pub fn read_secret(&mut self, origin: Option<Origin>, setting: &str, path: &Path) -> Option<Secret> {
        let bytes = zeroize::Zeroizing::new(self.read(origin.clone(), setting, path)?);
        let shown = self.path(path);
        let mode = std::fs::metadata(&shown).map_or(0, |meta| meta.permissions().mode() & 0o777);
        if mode & 0o037 != 0 {
            let message =
                format!("{} may be read or changed by others (mode {mode:04o}): chmod 600 it", shown.display());
            self.wrong_at(origin, setting, message);
            return None;
        }
        if mode & 0o040 != 0 {
            self.warn(format!("{setting}: {} may be read by its group (mode {mode:04o})", shown.display()));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Some(Secret::new(text.trim_end().to_owned())),
            Err(_) => {
                self.wrong_at(origin, setting, format!("{} is not text", shown.display()));
                None
            }
        }
    }

    /// A secret from `<setting>_file`, or from the variable of `setting`; never from the file itself, which gets copied
    /// about, committed and shown.
    pub fn secret(&mut self, setting: &str, text: Option<SecretText>, file: Option<&Path>) -> Option<Secret> {
        let file_setting = format!("{setting}_file");
        let variable = format!("AUTHSEAL_{}", setting.replace('.', "__").to_ascii_uppercase());
        let Some(text) = text else {
            return self.read_secret(self.origin(&file_setting), &file_setting, file?);
        };
        if !matches!(self.origin(setting), Some(Origin::Env(_))) {
            let message = format!("secrets do not belong in this file: use {file_setting} or the variable {variable}");
            self.wrong(setting, message);
            return None;
        }
        if file.is_some() {
            self.wrong(setting, format!("{file_setting} is set too: keep one of them"));
        }
        Some(Secret::new(text.0))
    }

    /// `value`, or `default`, when it lies within the bounds; reported otherwise.
    pub fn number(&mut self, setting: &str, value: Option<u64>, default: u64, min: u64, max: u64) -> usize {
        let value = value.unwrap_or(default);
        if !(min..=max).contains(&value) {
            self.wrong(setting, format!("{value} is not between {min} and {max}"));
        }
        value.clamp(min, max) as usize
    }

    /// `value`, or `default`, when it is not zero; reported otherwise.
    pub fn duration(
        &mut self,
        setting: &str,
        value: Option<super::units::Span>,
        default: std::time::Duration,
    ) -> std::time::Duration {
        let value = value.map_or(default, |span| span.0);
        if value.is_zero() {
            self.wrong(setting, "must be longer than nothing");
        }
        value
    }
}
