//! Reads JSON (RFC 8259) from borrowed text: strings without a copy unless they hold escapes, numbers as written.

use super::super::{codes, fail::Fail};
use std::borrow::Cow;

/// Reads JSON tokens; never reads beyond the text.
pub(in crate::decode) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Half of a surrogate pair was met, and replaced by U+FFFD.
    pub lossy: bool,
}

/// What a value begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Start {
    Object,
    Array,
    String,
    Number,
    Word,
}

impl<'a> Lexer<'a> {
    /// Begins at a byte of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, lossy: false }
    }

    /// How far it has read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text between an earlier [`Lexer::at`] and now.
    pub fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The failure at the next byte.
    pub fn fail(&self, what: &'static str) -> Fail {
        let what = if self.at < self.text.len() { what } else { "the JSON ends too early" };
        Fail::new(codes::NOT_JSON, what).at(self.at)
    }

    /// Passes over white space; the byte behind it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next, behind white space.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// What kind of value is next.
    pub fn start(&mut self) -> Result<Start, Fail> {
        match self.peek() {
            Some(b'{') => Ok(Start::Object),
            Some(b'[') => Ok(Start::Array),
            Some(b'"') => Ok(Start::String),
            Some(b'-' | b'0'..=b'9') => Ok(Start::Number),
            Some(b'n' | b't' | b'f') => Ok(Start::Word),
            _ => Err(self.fail("here should be a value")),
        }
    }

    /// `null`, or a truth value.
    pub fn word(&mut self) -> Result<Option<bool>, Fail> {
        let rest = &self.bytes()[self.at..];
        let words = [("null", None), ("true", Some(true)), ("false", Some(false))];
        let (word, value) = words
            .into_iter()
            .find(|(word, _)| rest.starts_with(word.as_bytes()))
            .ok_or_else(|| Fail::new(codes::NOT_JSON, "here should be null, true or false").at(self.at))?;
        self.at += word.len();
        Ok(value)
    }

    /// A number, as it is written.
    pub fn number(&mut self) -> Result<&'a str, Fail> {
        let start = self.at;
        self.at += usize::from(self.bytes().get(self.at) == Some(&b'-'));
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(Fail::new(codes::NOT_JSON, "a number begins with a needless 0").at(start));
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes().get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes().get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Result<&'a str, Fail> {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.fail("here should be a digit")) } else { Ok(self.since(start)) }
    }

    /// A string; the next byte is its opening quote.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Fail> {
        self.at += 1;
        let start = self.at;
        match self.plain()? {
            b'"' => {
                let text = self.since(start);
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            _ => self.escaped(start).map(Cow::Owned),
        }
    }

    /// Passes over ordinary characters; the quote or backslash behind them.
    #[inline]
    fn plain(&mut self) -> Result<u8, Fail> {
        let rest = &self.bytes()[self.at..];
        let stop = find_stop(rest);
        self.at += stop.unwrap_or(rest.len());
        match stop.map(|stop| rest[stop]) {
            Some(byte @ (b'"' | b'\\')) => Ok(byte),
            _ => Err(self.fail("a control character stands in a string without its escape")),
        }
    }

    fn escaped(&mut self, start: usize) -> Result<String, Fail> {
        let mut out = self.since(start).to_string();
        loop {
            let plain = self.at;
            let stop = self.plain()?;
            out.push_str(self.since(plain));
            self.at += 1;
            if stop == b'"' {
                return Ok(out);
            }
            let c = self.bytes().get(self.at).copied().ok_or_else(|| self.fail(""))?;
            self.at += 1;
            out.push(match c {
                b'"' | b'\\' | b'/' => char::from(c),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode()?,
                _ => return Err(Fail::new(codes::NOT_JSON, "there is no such escape").at(self.at - 1)),
            });
        }
    }

    /// Behind `\u`. Half of a surrogate pair stands for no character.
    fn unicode(&mut self) -> Result<char, Fail> {
        let high = self.hex4()?;
        if let 0xd800..=0xdbff = high
            && self.bytes()[self.at..].starts_with(b"\\u")
        {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if let 0xdc00..=0xdfff = low {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(high).unwrap_or_else(|| {
            self.lossy = true;
            char::REPLACEMENT_CHARACTER
        }))
    }

    fn hex4(&mut self) -> Result<u32, Fail> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes().get(self.at).and_then(|c| char::from(*c).to_digit(16));
            code = code << 4 | digit.ok_or_else(|| self.fail("here should be a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(code)
    }
}

/// The first byte that ends a run of ordinary characters: a quote, a backslash, a control character. Eight at a time.
#[inline]
fn find_stop(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // the lowest set bit of these is exact: a borrow only runs upwards
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quote, slash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        let hits = (below(word, 0x20) | below(quote, 1) | below(slash, 1)) & (ONES * 0x80);
        if hits != 0 {
            return Some(i * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(words.len() * 8 + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> Option<String> {
        let mut lexer = Lexer::new(text);
        let read = lexer.string().ok()?;
        (lexer.at() == text.len()).then(|| read.into_owned())
    }

    #[test]
    fn strings_are_those_of_rfc_8259() {
        assert_eq!(string(r#""a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00é""#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tA😀é");
        for (text, want) in
            [(r#""\ud83d""#, "\u{fffd}"), (r#""\ude00x""#, "\u{fffd}x"), (r#""\ud83d\u0041""#, "\u{fffd}A")]
        {
            let mut lexer = Lexer::new(text);
            assert_eq!(lexer.string().unwrap(), want);
            assert!(lexer.lossy);
        }
        for bad in ["\"", "\"a", r#""\""#, r#""\x""#, r#""\u00""#, r#""\u00g0""#, "\"a\nb\"", "\"\\"] {
            assert_eq!(string(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_those_of_rfc_8259() {
        for good in ["0", "-0", "10", "1.50", "1e5", "-1.2E+10", "1e-2"] {
            let mut lexer = Lexer::new(good);
            assert_eq!(lexer.number().unwrap(), good);
        }
        for bad in ["-", "01", "1.", "1e", "1e+", "-a", "00"] {
            assert!(Lexer::new(bad).number().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_find_what_one_finds(
            bytes in prop::collection::vec(prop_oneof![0x1e..0x24_u8, 0x5a..0x5e_u8, any::<u8>()], 0..40),
        ) {
            let want = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(find_stop(&bytes), want);
        }

        #[test]
        fn strings_and_numbers_read_as_another_implementation_reads_them(text: String, number: f64) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(string(&quoted), Some(text));
            if number.is_finite() {
                let written = serde_json::to_string(&number).unwrap();
                prop_assert_eq!(Lexer::new(&written).number().unwrap().parse::<f64>().unwrap(), number);
            }
        }
    }
}
