//! Bundles of files in force (rules, lists, schemas, mappings), named by their digest.

use crate::{
    digest::Digest,
    fault::{Fault, code},
};

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path below the bundle's root, with `/`.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The bytes of a bundle: for each file, by the bytes of the paths, path ‖ 0x00 ‖ length as 8 bytes big-endian ‖ bytes.
/// The digest of the bundle is the SHA-256 of these bytes, which are stored under `artifacts/<digest>`.
pub fn bundle(mut files: Vec<File>) -> (Digest, Vec<u8>) {
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut out = Vec::with_capacity(files.iter().map(|f| f.path.len() + 9 + f.bytes.len()).sum());
    for file in &files {
        out.extend_from_slice(file.path.as_bytes());
        out.push(0);
        out.extend_from_slice(&(file.bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(&file.bytes);
    }
    (Digest::of(&out), out)
}

/// Reads what [`bundle`] writes: the files, by the bytes of their paths. Paths that lead out of a folder are refused,
/// so that a
/// bundle can be unpacked.
pub fn unbundle(bytes: &[u8]) -> Result<Vec<File>, Fault> {
    let wrong = |what: &str| Fault::new(code::FORMAT, format!("the artifact is no bundle of files: {what}"));
    let mut files: Vec<File> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(|| wrong("a path does not end"))?;
        let path = std::str::from_utf8(&rest[..end]).ok().filter(|p| is_path(p));
        let path = path.ok_or_else(|| wrong("a path is not relative, in UTF-8, with /"))?;
        if files.last().is_some_and(|last| last.path.as_bytes() >= path.as_bytes()) {
            return Err(wrong("the files are not in order"));
        }
        let (length, after) = rest[end + 1..].split_first_chunk::<8>().ok_or_else(|| wrong("a length is cut short"))?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok().filter(|n| *n <= after.len());
        let (bytes, after) = after.split_at(length.ok_or_else(|| wrong("a file is cut short"))?);
        files.push(File { path: path.into(), bytes: bytes.into() });
        rest = after;
    }
    Ok(files)
}

/// Whether a path stays below its root: parts between single `/`, none of them `.` or `..`, no control characters, no
/// `\`.
pub fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.chars().any(|c| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, bytes: &[u8]) -> File {
        File { path: path.into(), bytes: bytes.into() }
    }

    #[test]
    fn bundles_are_sorted_by_the_bytes_of_the_paths_and_read_back() {
        let files = vec![file("b", b"2"), file("a/b", b""), file("a", b"\0\0"), file("é", b"3")];
        let (digest, bytes) = bundle(files.clone());
        assert_eq!(digest, Digest::of(&bytes));
        assert!(bytes.starts_with(b"a\0\0\0\0\0\0\0\0\x02\0\0a/b\0\0\0\0\0\0\0\0\0b\0"));
        let paths: Vec<_> = unbundle(&bytes).unwrap().into_iter().map(|f| f.path).collect();
        assert_eq!(paths, ["a", "a/b", "b", "é"]);
        assert_eq!(bundle(files.into_iter().rev().collect()).0, digest);
        assert_eq!(unbundle(b""), Ok(vec![]));
    }

    #[test]
    fn hostile_bundles_are_refused() {
        let one = |path: &str| bundle(vec![file(path, b"x")]).1;
        for path in ["", "/a", "a//b", "../a", "a/..", "./a", "a/", "a\\b", "a\nb"] {
            assert!(unbundle(&one(path)).is_err(), "{path:?}");
        }
        let good = one("a");
        for bad in
            [&good[..good.len() - 1], &good[..5], b"a", &[&good[..], &good].concat(), &[&one("b")[..], &good].concat()]
        {
            assert!(unbundle(bad).is_err(), "{bad:?}");
        }
        assert!(unbundle(b"a\0\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            if let Ok(files) = unbundle(&bytes) {
                prop_assert_eq!(bundle(files).1, bytes);
            }
        }
    }
}
