//! One value as a format gave it, before it is a field: and how it becomes a string, a number, a truth value.

use super::moment;
use crate::event::Micros;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::borrow::Cow;

/// A value that holds no others, borrowed from the record where that is possible.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Float(f32),
    Double(f64),
    /// A JSON number as it was written.
    Number(&'a str),
    /// A moment in microseconds since 1970, its unit known from the schema; `None` beyond what a long can hold.
    Moment(Option<i64>),
    /// The symbol of an enum: from the schema.
    Symbol(&'a str),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
}

impl<'a> Scalar<'a> {
    /// A text that is borrowed.
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A text made from another form.
    pub fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// The same, independent of the record. Numbers become their texts, which are read like them.
    pub fn into_owned<'b>(self) -> Scalar<'b> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Long(value) => Scalar::Long(value),
            Self::Float(value) => Scalar::Float(value),
            Self::Double(value) => Scalar::Double(value),
            Self::Moment(micros) => Scalar::Moment(micros),
            Self::Number(text) | Self::Symbol(text) => Scalar::owned(text.to_owned()),
            Self::Text(text) => Scalar::owned(text.into_owned()),
            Self::Bytes(_) => Scalar::owned(self.to_text().0.into_owned()),
        }
    }

    /// As a string: what attributes hold, and fields of type string. Bytes that are no UTF-8 in base64, and false.
    pub fn to_text(&self) -> (Cow<'_, str>, bool) {
        let text: Cow<str> = match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Long(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(format!("{value:?}")),
            Self::Double(value) => Cow::Owned(format!("{value:?}")),
            Self::Number(text) | Self::Symbol(text) => Cow::Borrowed(text),
            Self::Moment(Some(micros)) => Cow::Owned(moment::write(Micros(*micros))),
            Self::Moment(None) => Cow::Borrowed("beyond the range of 64 bits"),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => return (Cow::Owned(STANDARD.encode(bytes)), false),
            },
        };
        (text, true)
    }

    /// Whether there is nothing to read: no value, or no characters.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty()) || matches!(self, Self::Bytes([]))
    }

    /// A text of another kind of value, seen as text.
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Number(text) | Self::Symbol(text) => Some(text),
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// As a whole number, if it is one exactly.
    pub fn to_long(&self) -> Option<i64> {
        match self {
            Self::Long(value) => Some(*value),
            Self::Float(value) => whole(f64::from(*value)),
            Self::Double(value) => whole(*value),
            Self::Number(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
            _ => self.as_str()?.parse().ok(),
        }
    }

    /// As a floating point number that is finite.
    pub fn to_double(&self) -> Option<f64> {
        let value = match self {
            Self::Long(value) => *value as f64,
            // through its shortest text, so that 52.1 stays 52.1
            Self::Float(value) => value.to_string().parse().ok()?,
            Self::Double(value) => *value,
            _ => self.as_str()?.parse().ok()?,
        };
        Some(value).filter(|value: &f64| value.is_finite())
    }

    /// As a truth value: also "true" and "false" in any case, 0 and 1.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Long(0) => Some(false),
            Self::Long(1) => Some(true),
            _ => match self.as_str()? {
                "0" => Some(false),
                "1" => Some(true),
                text if text.eq_ignore_ascii_case("true") => Some(true),
                text if text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            },
        }
    }

    /// As a moment: RFC 3339, or a number whose unit is told by its size.
    pub fn to_micros(&self) -> Option<Micros> {
        match self {
            Self::Moment(micros) => micros.map(Micros),
            Self::Long(value) => moment::from_number(*value),
            Self::Float(value) => moment::from_float(f64::from(*value)),
            Self::Double(value) => moment::from_float(*value),
            Self::Number(text) => moment::from_digits(text),
            Self::Null | Self::Bool(_) => None,
            _ => {
                let text = self.as_str()?;
                moment::parse(text).or_else(|| moment::from_digits(text))
            }
        }
    }
}

fn whole(value: f64) -> Option<i64> {
    // within 2^53 a double that is whole is exact
    (value.trunc() == value && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

/// The text of an Avro decimal: its unscaled value, big-endian in two's complement, and its scale. `None` beyond
/// 128 bits.
pub(crate) fn decimal(bytes: &[u8], scale: u32) -> Option<String> {
    let sign = *bytes.first()? & 0x80 != 0;
    let fill = if sign { 0xff } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    if scale > 64 || bytes[..extra].iter().any(|b| *b != fill) {
        return None;
    }
    let mut wide = [fill; 16];
    let kept = &bytes[extra..];
    wide[16 - kept.len()..].copy_from_slice(kept);
    let value = i128::from_be_bytes(wide);
    if (value < 0) != sign {
        return None;
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (head, tail) = digits.split_at(digits.len() - scale as usize);
    let minus = if sign { "-" } else { "" };
    Some(if tail.is_empty() { format!("{minus}{head}") } else { format!("{minus}{head}.{tail}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_what_the_field_wants_or_nothing() {
        assert_eq!(Scalar::text("42").to_long(), Some(42));
        assert_eq!(Scalar::Number("1e3").to_long(), Some(1000));
        assert_eq!(Scalar::Double(2.5).to_long(), None);
        assert_eq!(Scalar::Double(1e300).to_long(), None);
        assert_eq!(Scalar::Bytes(b"-7").to_long(), Some(-7));
        assert_eq!(Scalar::Float(52.1).to_double(), Some(52.1));
        assert_eq!(Scalar::Number("1e999").to_double(), None);
        assert_eq!(Scalar::text("NaN").to_double(), None);
        assert_eq!(Scalar::text("TRUE").to_bool(), Some(true));
        assert_eq!(Scalar::Number("0").to_bool(), Some(false));
        assert_eq!(Scalar::text("yes").to_bool(), None);
        assert_eq!(Scalar::Bytes(b"\xff\x00").to_text(), ("/wA=".into(), false));
        assert_eq!(Scalar::Double(3.0).to_text().0, "3.0");
        assert_eq!(Scalar::Moment(Some(0)).to_text().0, "1970-01-01T00:00:00Z");
    }

    #[test]
    fn decimals_are_written_with_their_scale() {
        for (bytes, scale, want) in [
            (&[0x04, 0xd2][..], 2, Some("12.34")),
            (&[0xff, 0xff, 0xfb, 0x2e], 2, Some("-12.34")),
            (&[5], 3, Some("0.005")),
            (&[5], 0, Some("5")),
            (&[0; 40], 1, Some("0.0")),
            (&[0xff; 40], 1, Some("-0.1")),
            (&[0x7f; 17], 1, None),
            (&[], 1, None),
            (&[1], 99, None),
        ] {
            assert_eq!(decimal(bytes, scale).as_deref(), want, "{bytes:?}");
        }
    }
}
