//! Biometric material known by its content: images and the interchange formats of ISO/IEC 19794 and ANSI/INCITS 378
//! and 381, as bytes, in base64, in hexadecimal digits or in a `data:` URL.

/// Shorter bytes hold no template.
const MIN_BYTES: usize = 4;
/// Shorter texts hold none either.
const MIN_TEXT: usize = 8;

/// The first two bytes of texts that may carry something, or be JSON. Spaces may be followed by anything.
const SUSPICIOUS: &[u8] = b"/9/6/0_9_6_0iVAARkSUVkUkFMFIFAIIVIRIfffFFfFF8900464956595249560x0X\\xdadADaDA";

/// Which first bytes these are, and which bytes follow them: a bit for each kind of first byte.
const STARTS: ([u32; 256], [u32; 256]) = {
    let (mut first, mut second) = ([0_u32; 256], [0_u32; 256]);
    let (mut i, mut bits) = (0, 0);
    while i < SUSPICIOUS.len() {
        let (one, two) = (SUSPICIOUS[i] as usize, SUSPICIOUS[i + 1] as usize);
        if first[one] == 0 {
            first[one] = 1 << bits;
            bits += 1;
        }
        second[two] |= first[one];
        i += 2;
    }
    let (any, mut i) = (1 << bits, 0);
    while i < 256 {
        second[i] |= any;
        i += 1;
    }
    let (spaces, mut i) = (b" \t\r\n{[", 0);
    while i < spaces.len() {
        first[spaces[i] as usize] = any;
        i += 1;
    }
    (first, second)
};

/// Whether a text has to be looked at: nearly none has.
#[inline]
pub(super) fn is_suspicious(text: &[u8]) -> bool {
    matches!(text, [one, two, ..] if STARTS.0[usize::from(*one)] & STARTS.1[usize::from(*two)] != 0)
}

/// What bytes begin with, be they a file or a text that carries one.
#[inline]
pub(crate) fn of_bytes(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff | 0x89 | 0, _, _, _, ..] => magic(bytes, bytes.len()),
        _ => of_text(bytes),
    }
}

/// What a text carries. Nearly all texts are dismissed by their first bytes.
#[inline]
pub(crate) fn of_text(text: &[u8]) -> Option<&'static str> {
    if is_suspicious(text) { of_suspicious(text) } else { None }
}

fn of_suspicious(text: &[u8]) -> Option<&'static str> {
    match text {
        _ if text.len() < MIN_TEXT => None,
        [b'/' | b'_', b'9', b'j', ..]
        | [b'/' | b'_', b'6', b'D', ..]
        | [b'/' | b'_', b'0', b'/' | b'_', ..]
        | [b'i', b'V', b'B', ..]
        | [b'A', b'A', b'A', ..]
        | [b'R', b'k', b'1' | b'l' | b'F', ..]
        | [b'S', b'U', b'l', ..]
        | [b'V' | b'U', b'k', b'l', ..] => of_base64(text),
        [b'F', b'M' | b'I', b'R', ..] | [b'F', b'A', b'C', ..] | [b'I' | b'V', b'I', b'R', ..] => {
            magic(text, text.len())
        }
        [b'R', b'I', b'F', b'F', ..] => magic(text, text.len()),
        [b'f' | b'F', b'f' | b'F', ..] | [b'8', b'9', b'5', b'0', ..] | [b'0', b'0', b'0', ..] => of_hex(text),
        [b'4', b'6', b'4', ..] | [b'4' | b'5', b'9' | b'6' | b'2', b'4', b'9', ..] => of_hex(text),
        [b'0', b'x' | b'X', rest @ ..] | [b'\\', b'x', rest @ ..] => of_hex(rest),
        [b'd' | b'D', b'a' | b'A', b't' | b'T', b'a' | b'A', b':', rest @ ..] => of_data_url(rest),
        [b' ' | b'\n' | b'\r' | b'\t', ..] => of_text(text.trim_ascii_start()),
        _ => None,
    }
}

/// A shorter JPEG is none, unless it says so by name: random bytes, as in ids and digests, must not pass for one.
const MIN_JPEG: usize = 32;

/// The format of bytes by the bytes they begin with; `total` is how many there are in all.
pub(super) fn magic(bytes: &[u8], total: usize) -> Option<&'static str> {
    Some(match bytes {
        [0xff, 0xd8, 0xff, 0xe0 | 0xe1, _, _, b'J' | b'E', b'F' | b'x', b'I' | b'i', b'F' | b'f', ..] => "a JPEG image",
        [0xff, 0xd8, 0xff, 0xc0 | 0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe, ..] if total >= MIN_JPEG => "a JPEG image",
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "a PNG image",
        [0xff, 0xa0, 0xff, 0xa4..=0xa8, ..] => "a WSQ fingerprint image",
        [0, 0, 0, 12, b'j', b'P', b' ' | 0x1a, b' ' | 0x1a, ..] | [0xff, 0x4f, 0xff, 0x51, ..] => "a JPEG 2000 image",
        [b'F', b'M', b'R', 0, ..] => "a fingerprint template",
        [b'F', b'I', b'R', 0, ..] => "a fingerprint image record",
        [b'F', b'A', b'C', 0, ..] => "a face image record",
        [b'I', b'I', b'R', 0, ..] => "an iris image record",
        [b'V', b'I', b'R', 0, ..] => "a vascular image record",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP image",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "a voice recording",
        _ => return None,
    })
}

/// What follows `data:`: `image/…;base64,…`. Drawings (SVG) pass: they are no pictures of a body.
fn of_data_url(url: &[u8]) -> Option<&'static str> {
    let is = |head: &[u8]| url.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head));
    if is(b"image/") {
        return (!is(b"image/svg")).then_some("an image as a data: URL");
    }
    if is(b"audio/") {
        return Some("a recording as a data: URL");
    }
    let behind = url.iter().take(128).position(|c| *c == b',')?;
    of_base64(&url[behind + 1..])
}

/// Decodes the first bytes only: 16 sextets say what it is.
fn of_base64(text: &[u8]) -> Option<&'static str> {
    let (mut bytes, mut length) = ([0_u8; 12], 0);
    let (mut bits, mut held) = (0_u32, 0);
    for &c in text.iter().take(16) {
        let Some(sextet) = sextet(c) else { break };
        bits = bits << 6 | u32::from(sextet);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes[length] = (bits >> held) as u8;
            length += 1;
        }
    }
    if length < MIN_BYTES { None } else { magic(&bytes[..length], text.len() / 4 * 3) }
}

/// Standard and URL-safe alphabet alike.
fn sextet(c: u8) -> Option<u8> {
    Some(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn of_hex(text: &[u8]) -> Option<&'static str> {
    let (mut bytes, mut length) = ([0_u8; 12], 0);
    for pair in text.chunks_exact(2).take(12) {
        let digit = |c: u8| char::from(c).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { break };
        bytes[length] = (high << 4 | low) as u8;
        length += 1;
    }
    if length < MIN_BYTES { None } else { magic(&bytes[..length], text.len() / 2) }
}

/// The first numbers of an array, in case they are the bytes of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Octets {
    bytes: [u8; 12],
    length: usize,
    spoilt: bool,
}

impl Octets {
    /// Takes the next number; says what the array carries as soon as it can be told.
    pub fn push(&mut self, number: Option<i64>) -> Option<&'static str> {
        if self.spoilt || self.length == self.bytes.len() {
            return None;
        }
        match number {
            // bytes are signed in Java
            Some(number @ -128..=255) => self.bytes[self.length] = number as u8,
            _ => {
                self.spoilt = true;
                return None;
            }
        }
        self.length += 1;
        // how many follow is not known yet, but these are no random bytes
        if self.length < MIN_BYTES { None } else { magic(&self.bytes[..self.length], usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };

    const FILES: [(&[u8], &str); 13] = [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01", "a JPEG image"),
        (b"\xff\xd8\xff\xdb\x00\x43\0\x08, and what follows a quantization table", "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        (b"\xff\xa0\xff\xa4\x00\x3a\x09\x07\x00\x09\x32\xd3", "a WSQ fingerprint image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftyp", "a JPEG 2000 image"),
        (b"\xff\x4f\xff\x51\0\x2f\0\0\0\0\x01\x02\x03", "a JPEG 2000 image"),
        (b"FMR\0 20\0\0\0\0\x3c\0\0\0\0\x01\x2c", "a fingerprint template"),
        (b"FIR\x00010\x00\0\0\0\x3c\0\0\0\0\x01\x2c", "a fingerprint image record"),
        (b"FAC\x00010\x00\0\0\x10\x3c\0\x01\0\0", "a face image record"),
        (b"IIR\x00020\x00\0\0\0\x3c\0\0\0\0\x01\x2c", "an iris image record"),
        (b"VIR\x00010\x00\0\0\0\x3c\0\0\0\0\x01\x2c", "a vascular image record"),
        (b"RIFF\x24\x08\0\0WEBPVP8 \0\0", "a WebP image"),
        (b"RIFF\x24\x08\0\0WAVEfmt ", "a voice recording"),
    ];

    #[test]
    fn files_are_known_as_bytes_in_base64_and_in_digits() {
        for (file, want) in FILES {
            assert_eq!(of_bytes(file), Some(want));
            let hex: String = file.iter().map(|b| format!("{b:02x}")).collect();
            for text in [
                STANDARD.encode(file),
                URL_SAFE_NO_PAD.encode(file),
                format!("  {}", STANDARD.encode(file)),
                format!("data:application/octet-stream;base64,{}", STANDARD.encode(file)),
                format!("0x{hex}"),
                format!("\\x{hex}"),
                hex.to_uppercase(),
                hex,
            ] {
                assert_eq!(of_text(text.as_bytes()), Some(want), "{text}");
                assert_eq!(of_bytes(text.as_bytes()), Some(want), "{text}");
            }
            let mut octets = Octets::default();
            let found: Vec<_> = file.iter().filter_map(|b| octets.push(Some((*b as i8).into()))).collect();
            assert_eq!(found.first(), Some(&want));
        }
        assert_eq!(of_text(b"data:image/png;base64,AAAA"), Some("an image as a data: URL"));
        assert_eq!(of_text(b"DATA:IMAGE/jpeg;base64,"), Some("an image as a data: URL"));
    }

    #[test]
    fn whatever_is_looked_for_is_suspicious() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let looked_at = |rest: &[u8]| of_suspicious(&[&[first, second], rest].concat()).is_some();
                for (file, _) in FILES {
                    let (base64, hex) = (STANDARD.encode(file), crate::digest::hex(file));
                    for text in [file, base64.as_bytes(), hex.as_bytes(), b"ta:image/png"] {
                        if looked_at(&text[2..]) || looked_at(text) {
                            assert!(is_suspicious(&[first, second]), "{first} {second}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ordinary_texts_pass() {
        for text in [
            "",
            "a",
            "/",
            "/9j",
            "/index.html",
            "/9j/login",
            "iVBOR",
            "Rk1S",
            "FMR report",
            "FACTORY",
            "RIFF raff raff",
            "data:",
            "data:image",
            "data:text/plain;base64,aGVsbG8=",
            "data:image/svg+xml;base64,AAAA",
            "ffd8",
            "0x",
            "Mozilla/5.0 (X11; Linux x86_64)",
            "1.2.3.4",
            "d2ffe6c26eaa2cc76631f2aa",
            "Indiana",
            "Ängström",
            "dé:image/x",
            "SHA256:uNiVztksCsDhcc0u9e8BrqXXxUUKGhHqzz3wX5R7v9g",
            "AAAADOnotAnImage",
            "\\x",
            "\\server\\share",
        ] {
            assert_eq!(of_text(text.as_bytes()), None, "{text}");
            assert_eq!(of_bytes(text.as_bytes()), None, "{text}");
        }
        // a random id
        assert_eq!(of_bytes(b"\xff\xd8\xff\xe0\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34\x56\x78"), None);
        let mut octets = Octets::default();
        for number in [Some(255), None, Some(0xd8), Some(255), Some(0xe0)] {
            assert_eq!(octets.push(number), None);
        }
    }
}
