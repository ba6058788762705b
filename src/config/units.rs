//! Durations as people write them: `90s`, `15m`, `2h`, `7d`.

use serde::{Deserialize, Deserializer, de};
use std::{fmt, time::Duration};

/// A duration of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"500ms\", \"90s\", \"15m\", \"2h\" or \"7d\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                parse(text).map(Span).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

/// Milliseconds of the units, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a whole number and a unit; no sign, no fraction, at most 100,000 days.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let total = number.parse::<u64>().ok()?.checked_mul(*millis)?;
    (total <= 100_000 * 86_400_000).then(|| Duration::from_millis(total))
}

/// Writes a duration as settings do, in the largest unit that is exact: `90s`, `15m`, `2h`, `7d`.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let unit = UNITS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for text in ["1ms", "1500ms", "90s", "15m", "2h", "7d", "400d", "0s"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(show(parse("120m").unwrap()), "2h");
        for bad in ["", "5", "s", "-1s", "1.5h", "1 h", "1y", "99999999999999999999d", "100001d", "1H"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
