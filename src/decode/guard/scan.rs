//! Searches bytes that no decoder understands (or that nobody decodes: keys and headers) for material that must not
//! be kept: its names wherever they stand, its content at any offset.

use super::{
    Found, Rules,
    content::{self, magic},
    names::{Strength, classify},
};
use std::borrow::Cow;

/// A name in the bytes is judged by at most so many of them.
const MAX_NAME: usize = 128;
/// A weak name counts only if so many bytes follow: what it names must have room.
const WEAK_ROOM: usize = 64;

/// What names are sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any: the bytes were to be decoded and cannot be.
    Anywhere,
    /// Those before a colon or an equals sign: the bytes may be any text.
    OfPairs,
}

/// The first thing in `bytes` that must not be kept.
pub(crate) fn scan(bytes: &[u8], names: Names, rules: &Rules) -> Option<Found> {
    let bytes = unescape(bytes);
    scan_content(&bytes, names).or_else(|| scan_names(&bytes, names, rules))
}

/// Names may hide behind JSON's `\u005f`.
fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.windows(4).any(|w| w == b"\\u00") {
        return Cow::Borrowed(bytes);
    }
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at..at + 6).filter(|e| e.starts_with(b"\\u00"));
        let code = escaped.and_then(|e| std::str::from_utf8(&e[4..]).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(code.unwrap_or(byte));
        at += if code.is_some() { 6 } else { 1 };
    }
    Cow::Owned(out)
}

/// Files stand at any offset of bytes that were to be decoded; of other bytes, which may be a random id, they make up
/// the whole.
fn scan_content(bytes: &[u8], names: Names) -> Option<Found> {
    let mut before = b' ';
    for (at, &byte) in bytes.iter().enumerate() {
        let rest = &bytes[at..];
        let file = || magic(rest, rest.len()).filter(|_| at == 0 || names == Names::Anywhere);
        let found = match byte {
            0xff | 0x89 | 0 => file(),
            b'F' | b'I' | b'V' if rest.get(3) == Some(&0) => file().filter(|_| has_version(rest)),
            b'R' if rest.starts_with(b"RIFF") => file(),
            _ if is_text_start(before, byte) => content::of_text(rest),
            _ => None,
        };
        if let Some(what) = found {
            return Some(Found::content(what, at));
        }
        before = byte;
    }
    None
}

/// Behind the format identifier of ISO/IEC 19794 stands a version: three digits or spaces and a zero byte. Asked for
/// only where any offset counts.
fn has_version(bytes: &[u8]) -> bool {
    matches!(bytes.get(4..8), Some([a, b, c, 0]) if [a, b, c].iter().all(|d| d.is_ascii_digit() || **d == b' '))
}

/// Where a text may begin that is an image: not in the middle of a word.
fn is_text_start(before: u8, byte: u8) -> bool {
    matches!(
        byte,
        b'/' | b'_'
            | b'i'
            | b'A'
            | b'S'
            | b'U'
            | b'R'
            | b'd'
            | b'D'
            | b'f'
            | b'F'
            | b'4'
            | b'5'
            | b'8'
            | b'0'
            | b'I'
            | b'V'
    ) && !before.is_ascii_alphanumeric()
        && !matches!(before, b'+' | b'/' | b'-' | b'_')
}

fn scan_names(bytes: &[u8], names: Names, rules: &Rules) -> Option<Found> {
    if names == Names::OfPairs && !bytes.iter().any(|b| matches!(b, b':' | b'=')) {
        return None;
    }
    let mut at = 0;
    while at < bytes.len() {
        if !is_name(bytes[at]) {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().position(|b| !is_name(*b)).unwrap_or(bytes.len() - at);
        let (name, rest) = bytes[at..].split_at(length);
        if names == Names::Anywhere || is_pair(rest) {
            // a name at the very end of bytes that were cut off names nothing
            if let Some(found) =
                judge(&name[..length.min(MAX_NAME)], rest.len(), at, rules).filter(|_| !rest.is_empty())
            {
                return Some(found);
            }
        }
        at += length;
    }
    rules.unusual_secret(bytes)
}

fn judge(name: &[u8], room: usize, at: usize, rules: &Rules) -> Option<Found> {
    // only ASCII was taken
    let name = std::str::from_utf8(name).ok()?;
    if rules.is_secret(name) {
        return Some(Found::secret(name, at));
    }
    match classify(name).strength {
        Strength::Strong => Some(Found::name(name, at)),
        Strength::Weak if room >= WEAK_ROOM => Some(Found::name(name, at)),
        _ => None,
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$')
}

fn is_pair(rest: &[u8]) -> bool {
    let behind = rest.iter().position(|b| !matches!(b, b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'\r' | b'\n'));
    behind.is_some_and(|at| matches!(rest[at], b':' | b'='))
}
