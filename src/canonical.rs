//! Canonical JSON: one line of ASCII, no whitespace, fields in the order of the struct. Two programs that write the
//! same
//! values write the same bytes, so a line can be hashed and signed. The same bytes as Python's
//! `json.dumps(x, ensure_ascii=True, separators=(",", ":"))` followed by a newline.

use crate::{
    error::{Error, Result},
    fault::Fault,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::Formatter};
use std::io;

/// The canonical line of `value`, its newline included.
pub fn line<T: Serialize>(value: &T, max: usize) -> Result<String> {
    let mut out = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Ascii);
    value.serialize(&mut serializer).map_err(|e| Error::bug("a value has no JSON form").caused_by(e))?;
    out.push(b'\n');
    if out.len() > max {
        return Err(Error::data(format!("a canonical line may have {max} bytes, this one has {}", out.len())));
    }
    String::from_utf8(out).map_err(|e| Error::bug("canonical JSON is not ASCII").caused_by(e))
}

/// The codes with which [`parse`] says that a line is not of the form, and that it has a field it should not have.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// The line is not of the form.
    pub form: &'static str,
    /// The line has a field that is not known.
    pub unknown_field: &'static str,
}

/// Reads what [`line`] writes and nothing else: whatever is read is written again and compared.
pub fn parse<T: Serialize + DeserializeOwned>(text: &str, max: usize, codes: Codes) -> Result<T, Fault> {
    let form = |detail: String| Fault::new(codes.form, detail);
    if text.len() > max {
        return Err(form(format!("the line has {} bytes, at most {max} are allowed", text.len())));
    }
    let json = text.strip_suffix('\n').ok_or_else(|| form("the line does not end in a newline".into()))?;
    if json.contains('\n') {
        return Err(form("there is more than one line".into()));
    }
    let value: T = serde_json::from_str(json).map_err(|e| {
        // serde_json says this of deny_unknown_fields alone; a wrong guess changes the code, not the verdict
        let unknown = e.is_data() && e.to_string().starts_with("unknown field");
        Fault::new(if unknown { codes.unknown_field } else { codes.form }, e.to_string())
    })?;
    match line(&value, max) {
        Ok(again) if again == text => Ok(value),
        Ok(_) => Err(form(not_canonical(json))),
        Err(e) => Err(form(e.to_string())),
    }
}

/// Says what is not canonical about a line that parses: order and omission of fields are the likely ones.
fn not_canonical(json: &str) -> String {
    let compact = serde_json::from_str::<Value>(json).map(|v| v.to_string().len() == json.len()).unwrap_or(false);
    let what =
        if compact { "fields are missing or in another order, or text is escaped otherwise" } else { "whitespace" };
    format!("the line is not canonical JSON: {what}")
}

/// Escapes everything outside 0x20..=0x7e; serde_json itself escapes quotes, backslashes and control characters.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !(' '..='~').contains(&c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut chars = rest[at..].chars();
            for unit in chars.next().iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODES: Codes = Codes { form: "form", unknown_field: "unknown" };

    #[test]
    fn text_is_escaped_as_python_does() {
        // python3 -c 'import json; print(json.dumps("…", ensure_ascii=True, separators=(",", ":")))'
        for (text, want) in [
            ("\n\r\t\u{8}\u{c}\"\\/", r#""\n\r\t\b\f\"\\/""#),
            ("\u{0}\u{1f}\u{7f}\u{80}", r#""\u0000\u001f\u007f\u0080""#),
            ("é€😀z", r#""\u00e9\u20ac\ud83d\ude00z""#),
            ("\u{ffff}\u{10ffff}", r#""\uffff\udbff\udfff""#),
        ] {
            assert_eq!(line(&text, 100).unwrap(), format!("{want}\n"));
            assert_eq!(parse::<String>(&format!("{want}\n"), 100, CODES).unwrap(), text);
        }
    }

    #[test]
    fn another_spelling_of_the_same_value_is_refused() {
        for bad in [
            "\"a\"",
            "\"a\"\n\n",
            " \"a\"\n",
            "\"\\u0061\"\n",
            "\"\\u00E9\"\n",
            "\"é\"\n",
            "\"\\ud83d\"\n",
            "\"\\/\"\n",
        ] {
            assert_eq!(parse::<String>(bad, 100, CODES).unwrap_err().code, "form", "{bad:?}");
        }
        for bad in ["1.0\n", "01\n", "-0\n", "1e0\n", "+1\n"] {
            assert_eq!(parse::<i64>(bad, 100, CODES).unwrap_err().code, "form", "{bad:?}");
        }
        assert_eq!(parse::<String>("\"aaaa\"\n", 6, CODES).unwrap_err().code, "form");
        assert!(line(&"aaaa", 6).is_err());
    }

    proptest! {
        #[test]
        fn any_text_reads_back_and_is_ascii(text: String) {
            let written = line(&text, usize::MAX).unwrap();
            prop_assert!(written.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
            prop_assert_eq!(parse::<String>(&written, usize::MAX, CODES).unwrap(), text);
        }
    }
}
