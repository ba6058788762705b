//! Avro's binary encoding: what the decoders, the segment writer and the segment reader share.
//! Source: Apache Avro 1.12 specification, "Binary encoding".

pub mod canonical;
pub mod compat;
pub mod join;
pub mod schema;

/// Why bytes are not the Avro they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end in the middle.
    Truncated,
    /// A varint of more than 10 bytes, or beyond 64 bits.
    Varint,
    /// A varint that could be shorter: one value would have two encodings.
    NotMinimal,
    /// A negative length.
    NegativeLength,
    /// A boolean other than 0 and 1.
    Boolean,
    /// A string that is not UTF-8.
    Utf8,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end too early",
            Self::Varint => "a variable-length number is longer than 64 bits",
            Self::NotMinimal => "a variable-length number is padded",
            Self::NegativeLength => "a length is negative",
            Self::Boolean => "a boolean is neither 0 nor 1",
            Self::Utf8 => "a string is not UTF-8",
        })
    }
}

/// Reads Avro values from borrowed bytes; never reads beyond them and never allocates.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    strict: bool,
    /// A stretch of the bytes that is known to be UTF-8, and where it begins: most strings lie close together, and
    /// one look at all of them is much cheaper than one at each.
    known: (usize, &'a str),
    /// The same for [`Cursor::string_bytes`], which makes no text: from where to where.
    valid: (usize, usize),
}

/// So far ahead a [`Cursor`] looks for UTF-8.
const AHEAD: usize = 512;

impl<'a> Cursor<'a> {
    /// Accepts padded varints, as other people's encoders may write them.
    pub fn lenient(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, strict: false, known: (0, ""), valid: (0, 0) }
    }

    /// Refuses padded varints: for our own format, in which a value has one encoding.
    pub fn strict(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, strict: true, known: (0, ""), valid: (0, 0) }
    }

    /// How far it has read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The bytes between an earlier [`Cursor::position`] and now.
    pub fn since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    /// `n` bytes as they are (`fixed`, or a marker).
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or(Malformed::Truncated)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Takes the next byte if it is this one.
    #[inline]
    pub fn take_if(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// `int` and `long`: zigzag varint.
    #[inline]
    pub fn long(&mut self) -> Result<i64, Malformed> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.longer()
    }

    /// A varint of more than one byte, or of none.
    #[inline(never)]
    fn longer(&mut self) -> Result<i64, Malformed> {
        let rest = &self.bytes[self.at..];
        let mut value = 0_u64;
        for (i, &byte) in rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if self.strict && byte == 0 {
                    return Err(Malformed::NotMinimal);
                }
                self.at += i + 1;
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if rest.len() >= 10 { Malformed::Varint } else { Malformed::Truncated })
    }

    /// `bytes`.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| Malformed::NegativeLength)?;
        self.take(length)
    }

    /// `string`.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        // a length of one byte, and a text that is known to be one: most strings are so
        if let Some(&head) = self.bytes.get(self.at)
            && head & 0x81 == 0
        {
            let length = usize::from(head >> 1);
            let from = (self.at + 1).wrapping_sub(self.known.0);
            if let Some(text) = self.known.1.get(from..from.wrapping_add(length)) {
                self.at += 1 + length;
                return Ok(text);
            }
        }
        self.another_string()
    }

    #[cold]
    #[inline(never)]
    fn another_string(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        let from = self.at - bytes.len();
        match self.known_text(from) {
            Some(text) => Ok(text),
            None => self.look_ahead(bytes, from),
        }
    }

    /// The text from `from` to here, if that is known to be UTF-8.
    fn known_text(&self, from: usize) -> Option<&'a str> {
        self.known.1.get(from.checked_sub(self.known.0)?..self.at.checked_sub(self.known.0)?)
    }

    /// Learns how far the bytes from a string on are UTF-8. Stretches do not overlap, so every byte is looked at a
    /// few times at most.
    fn look_ahead(&mut self, bytes: &'a [u8], from: usize) -> Result<&'a str, Malformed> {
        if from >= self.known.0 + self.known.1.len() {
            let ahead = &self.bytes[from..self.bytes.len().min(from + AHEAD)];
            let text = std::str::from_utf8(ahead)
                .or_else(|e| std::str::from_utf8(&ahead[..e.valid_up_to()]))
                .unwrap_or_default();
            self.known = (from, text);
            if let Some(text) = self.known_text(from) {
                return Ok(text);
            }
        }
        std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)
    }

    /// The bytes of a `string`; fails as [`Cursor::string`] does. A stretch of UTF-8 that ends early is not looked at a
    /// second time, as it must be to become a text.
    #[inline]
    pub fn string_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        if let Some(&head) = self.bytes.get(self.at)
            && head & 0x81 == 0
        {
            let from = self.at + 1;
            let to = from + usize::from(head >> 1);
            if self.is_valid(from, to) {
                self.at = to;
                return Ok(&self.bytes[from..to]);
            }
        }
        self.bytes_of_another()
    }

    #[inline(never)]
    fn bytes_of_another(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.bytes()?;
        let from = self.at - bytes.len();
        if self.is_valid(from, self.at) {
            return Ok(bytes);
        }
        if from >= self.valid.1 {
            let to = self.bytes.len().min(from + AHEAD);
            let valid = std::str::from_utf8(&self.bytes[from..to]).map_or_else(|e| from + e.valid_up_to(), |_| to);
            self.valid = (from, valid);
            if self.is_valid(from, self.at) {
                return Ok(bytes);
            }
        }
        std::str::from_utf8(bytes).map(|_| bytes).map_err(|_| Malformed::Utf8)
    }

    /// Whether the bytes between are known to be UTF-8: in the stretch, and cut where characters begin.
    #[inline]
    fn is_valid(&self, from: usize, to: usize) -> bool {
        let begins = |at: usize| at == self.valid.1 || self.bytes.get(at).is_some_and(|byte| byte & 0xc0 != 0x80);
        self.valid.0 <= from && to <= self.valid.1 && begins(from) && begins(to)
    }

    /// Takes the zero bytes that come next, `most` at most, and says how many those were.
    #[inline]
    pub fn zeros(&mut self, most: usize) -> usize {
        let rest = self.rest();
        let rest = &rest[..rest.len().min(most)];
        let mut zeros = 0;
        // eight at a time: most fields of most events are null
        while let Some(word) = rest[zeros..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            if word != 0 {
                zeros += word.trailing_zeros() as usize / 8;
                self.at += zeros;
                return zeros;
            }
            zeros += 8;
        }
        zeros += rest[zeros..].iter().take_while(|byte| **byte == 0).count();
        self.at += zeros;
        zeros
    }

    /// `boolean`.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Boolean),
        }
    }

    /// `double`: 8 bytes little-endian.
    pub fn double(&mut self) -> Result<f64, Malformed> {
        let mut out = [0; 8];
        out.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(out))
    }

    /// `float`: 4 bytes little-endian.
    pub fn float(&mut self) -> Result<f32, Malformed> {
        let mut out = [0; 4];
        out.copy_from_slice(self.take(4)?);
        Ok(f32::from_le_bytes(out))
    }
}

/// Appends a `long` (or `int`).
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1) as u64 ^ (value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends `bytes` (or a `string`).
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_long(out, value.len() as i64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_byte_is_taken_only_if_it_is_the_one() {
        let mut cursor = Cursor::strict(&[7]);
        assert!(!cursor.take_if(8) && cursor.take_if(7) && !cursor.take_if(7));
        assert_eq!(cursor.position(), 1);
    }

    #[test]
    fn longs_match_the_specification() {
        for (value, bytes) in [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (-64, vec![0x7f]), (64, vec![0x80, 1])] {
            let mut out = Vec::new();
            put_long(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
        assert_eq!(Cursor::strict(&[0x80, 0]).long(), Err(Malformed::NotMinimal));
        assert_eq!(Cursor::lenient(&[0x80, 0]).long(), Ok(0));
        assert_eq!(Cursor::lenient(&[0xff; 9]).long(), Err(Malformed::Truncated));
        assert_eq!(Cursor::lenient(&[0xff; 11]).long(), Err(Malformed::Varint));
        assert_eq!(Cursor::strict(&[3, 1]).bytes(), Err(Malformed::NegativeLength));
    }

    proptest! {
        #[test]
        fn longs_read_back(value: i64, rest: Vec<u8>) {
            let mut out = Vec::new();
            put_long(&mut out, value);
            out.extend_from_slice(&rest);
            let mut cursor = Cursor::strict(&out);
            prop_assert_eq!(cursor.long(), Ok(value));
            prop_assert_eq!(cursor.rest(), &rest[..]);
        }

        #[test]
        fn strings_are_told_from_other_bytes_wherever_they_lie(parts: Vec<(Vec<u8>, String, bool)>) {
            let (mut out, mut want) = (Vec::new(), Vec::new());
            for (bytes, text, as_text) in &parts {
                let part = if *as_text { text.as_bytes() } else { bytes };
                put_bytes(&mut out, part);
                want.push(std::str::from_utf8(part).map_err(|_| Malformed::Utf8));
            }
            let (mut cursor, mut passing) = (Cursor::strict(&out), Cursor::strict(&out));
            for want in want {
                prop_assert_eq!(cursor.string(), want);
                prop_assert_eq!(passing.string_bytes(), want.map(str::as_bytes));
                prop_assert_eq!(cursor.position(), passing.position());
            }
            prop_assert!(cursor.rest().is_empty());
        }

        #[test]
        fn zeros_are_counted_up_to_the_first_other_byte(
            zeros in 0..40_usize, rest in proptest::collection::vec(1..=255_u8, 0..12), most in 0..50_usize,
        ) {
            let out = [vec![0; zeros], rest].concat();
            let mut cursor = Cursor::strict(&out);
            prop_assert_eq!(cursor.zeros(most), zeros.min(most));
            prop_assert_eq!(cursor.position(), zeros.min(most));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut cursor = Cursor::lenient(&bytes);
            while !cursor.rest().is_empty() && cursor.string().is_ok() {}
        }
    }
}
