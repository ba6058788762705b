//! Which keys may be written: those that mean the same to every store, and nothing outside of it.

use crate::error::{Error, Result};

/// The longest key in bytes. S3 allows 1,024 with the store's prefix.
pub const MAX_KEY: usize = 800;

/// Where the directory store keeps half-written files; no key begins with it.
pub(super) const TEMP: &str = ".tmp";

/// Refuses keys that `layout` cannot have built: other characters than `[A-Za-z0-9._-]` in parts divided by `/`, empty
/// parts, `.`, `..`, parts over 255 bytes. Such a key would leave the directory, or be another key to another store.
pub fn check_key(key: &str) -> Result<()> {
    let fault = if key.is_empty() || key.len() > MAX_KEY {
        Some("its length")
    } else if key.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255) {
        Some("an empty, over-long or dotted part")
    } else if key.split('/').next() == Some(TEMP) {
        Some("a name reserved for half-written files")
    } else if !key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'/')) {
        Some("a character outside of A-Z a-z 0-9 . _ - /")
    } else {
        None
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err(Error::bug(format!("{key:?} is not a key of a store: {fault}"))),
    }
}

/// Refuses prefixes under which no key can lie: the same rules, but the last part may be cut anywhere.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    match prefix.strip_suffix('/').unwrap_or(prefix) {
        // a lone "/" is not an empty prefix
        "" if prefix.is_empty() => Ok(()),
        whole => match whole.rsplit_once('/') {
            // a cut part may be "." or ".." of ".hidden" or "..a"
            Some((folder, "." | "..")) if !prefix.ends_with('/') => check_key(folder),
            None if matches!(whole, "." | "..") && !prefix.ends_with('/') => Ok(()),
            _ => check_key(whole),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_layout_pass_and_the_rest_is_refused() {
        for good in [
            "store.json",
            "chains/main/.hidden/00000/0000/000000000000.avro",
            "chains/main/..a/00000/0000/000000000000.avro",
            "log/tile/0/x001/067.p/8",
            "artifacts/e3b0",
        ] {
            assert!(check_key(good).is_ok(), "{good}");
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        let long = "a/".repeat(500) + "a";
        let part = "a".repeat(256);
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a b", "a\\b", "a\0", "ä", "a:b", ".tmp/a",
            &long, &part,
        ] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_may_be_cut_anywhere() {
        for good in ["", "chains/", "chains/main/a.b", "chains/.", "chains/..", ".", "chains/main/a/00000/0000/0000"] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["/", "//", "../", "chains/../", "chains//", "chains/../a", "a b/", ".tmp/", ".tmp/a"] {
            assert!(check_prefix(bad).is_err(), "{bad:?}");
        }
    }
}
