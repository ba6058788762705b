//! Moments as products write them: RFC 3339, numbers of a known unit, and formats of `strftime`. Times without a year
//! or an offset are read by the record's own time and the mapping's zone.

use crate::{decode::moment, event::Micros};
use jiff::{
    Timestamp,
    fmt::strtime::{self, BrokenDownTime},
    tz::TimeZone,
};

/// How a moment is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Time {
    /// RFC 3339, or a number whose unit its size tells.
    Auto,
    Rfc3339,
    /// A number that counts units of so many nanoseconds.
    Epoch(i128),
    Format {
        format: String,
        year: bool,
        offset: bool,
    },
}

/// How far back a time without a year may lie: the year is the latest that gives a possible date, and one that was a
/// leap year is at most 8 years ago.
const YEARS_BACK: i16 = 8;

impl Time {
    /// Reads the name of a form, or a format of `strftime`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "rfc3339" => Self::Rfc3339,
            "epoch_s" => Self::Epoch(1_000_000_000),
            "epoch_ms" => Self::Epoch(1_000_000),
            "epoch_us" => Self::Epoch(1000),
            "epoch_ns" => Self::Epoch(1),
            _ if text.contains('%') => {
                // what is written with the format must read back with it
                let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
                let written = strtime::format(text, &sample).map_err(|e| format!("the time format {text:?}: {e}"))?;
                let read = strtime::parse(text, &written).map_err(|e| format!("the time format {text:?}: {e}"))?;
                let (year, offset) = (read.year().is_some(), read.offset().is_some() || text.contains("%s"));
                let mut whole = read;
                let whole_date = text.contains("%s") || {
                    let filled = year || whole.set_year(Some(1970)).is_ok();
                    filled && whole.to_datetime().is_ok()
                };
                if !whole_date {
                    return Err(format!("the time format {text:?} lacks the day or the time of day"));
                }
                Self::Format { format: text.into(), year: year || text.contains("%s"), offset }
            }
            _ => {
                return Err(format!(
                    "{text:?} is no form of time: auto, rfc3339, epoch_s, epoch_ms, epoch_us, epoch_ns, or a format \
                     such as \"%Y-%m-%d %H:%M:%S\""
                ));
            }
        })
    }

    /// The moment of a text. `record` is when Kafka got it, for times without a year.
    pub fn read(&self, text: &str, zone: &TimeZone, record: Option<Micros>) -> Option<Micros> {
        match self {
            Self::Auto => moment::parse(text).or_else(|| moment::from_digits(text)),
            Self::Rfc3339 => moment::parse(text),
            Self::Epoch(unit) => epoch(text, *unit),
            Self::Format { format, year, offset } => {
                let mut time = strtime::parse(format, text).ok()?;
                if *year { of(&time, zone, *offset) } else { of_year(&mut time, zone, *offset, record?) }
            }
        }
    }
}

fn of(time: &BrokenDownTime, zone: &TimeZone, offset: bool) -> Option<Micros> {
    let timestamp = if offset {
        time.to_timestamp().ok()?
    } else {
        // of a time that the clocks go through twice the first, of one that they skip the one an hour later
        zone.to_timestamp(time.to_datetime().ok()?).ok()?
    };
    Some(Micros(timestamp.as_microsecond()))
}

/// The latest year that does not put the moment more than a day after the record.
fn of_year(time: &mut BrokenDownTime, zone: &TimeZone, offset: bool, record: Micros) -> Option<Micros> {
    let latest = record.0.saturating_add(moment::AHEAD);
    let year = Timestamp::from_microsecond(latest).ok()?.to_zoned(zone.clone()).year();
    (0..=YEARS_BACK).find_map(|back| {
        time.set_year(Some(year.checked_sub(back)?)).ok()?;
        of(time, zone, offset).filter(|moment| moment.0 <= latest)
    })
}

fn epoch(text: &str, unit: i128) -> Option<Micros> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let plain = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if digits.is_empty() || digits.len() > 20 || !plain(digits) || !plain(fraction) {
        // 1.7e9: rare, and as exact as it was written
        let number: f64 = text.parse().ok().filter(|_| text.contains(['e', 'E']))?;
        let micros = number * (unit as f64) / 1000.0;
        return (micros.is_finite() && micros.abs() < 9e18).then_some(Micros(micros as i64));
    }
    let scaled = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let billionths = scaled.fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let nanos = digits.parse::<i128>().ok()? * unit + billionths * unit / 1_000_000_000;
    let nanos = if whole.starts_with('-') { -nanos } else { nanos };
    i64::try_from(nanos.div_euclid(1000)).ok().map(Micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str, text: &str) -> Option<String> {
        let record = moment::parse("2026-01-03T00:00:00Z").unwrap();
        Time::parse(form).unwrap().read(text, &TimeZone::UTC, Some(record)).map(moment::write)
    }

    #[test]
    fn each_form_reads_its_own() {
        for (form, text, want) in [
            ("rfc3339", "2025-12-10T06:55:48.5Z", "2025-12-10T06:55:48.5Z"),
            ("epoch_s", "1765349748", "2025-12-10T06:55:48Z"),
            ("epoch_s", "1765349748.25", "2025-12-10T06:55:48.25Z"),
            ("epoch_ms", "1765349748001", "2025-12-10T06:55:48.001Z"),
            ("epoch_us", "1765349748000001", "2025-12-10T06:55:48.000001Z"),
            ("epoch_ns", "1765349748000001999", "2025-12-10T06:55:48.000001Z"),
            ("epoch_ms", "12", "1970-01-01T00:00:00.012Z"),
            ("auto", "1765349748", "2025-12-10T06:55:48Z"),
            ("%Y-%m-%d %H:%M:%S,%f", "2026-11-21 07:27:44,506", "2026-11-21T07:27:44.506Z"),
            ("%d/%b/%Y:%H:%M:%S %z", "10/Dec/2025:06:55:48 +0100", "2025-12-10T05:55:48Z"),
        ] {
            assert_eq!(read(form, text).as_deref(), Some(want), "{form} {text}");
        }
        for (form, text) in [("rfc3339", "1765349748"), ("epoch_s", "2025"), ("epoch_s", "x"), ("epoch_ms", "")] {
            let moment = read(form, text);
            assert!(moment.is_none() || text == "2025", "{form} {text}: {moment:?}");
        }
        for bad in ["", "iso", "%Q", "%H:%M", "%Y"] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_without_a_year_gets_the_latest_that_is_not_ahead_of_the_record() {
        let form = "%b %e %H:%M:%S";
        for (text, want) in [
            ("Jan  2 10:00:00", Some("2026-01-02T10:00:00Z")),
            ("Jan  3 23:00:00", Some("2026-01-03T23:00:00Z")),
            ("Jan  5 00:00:00", Some("2025-01-05T00:00:00Z")),
            ("Dec 31 23:59:59", Some("2025-12-31T23:59:59Z")),
            ("Dec 10 06:55:48", Some("2025-12-10T06:55:48Z")),
            ("Feb 29 00:00:00", Some("2024-02-29T00:00:00Z")),
            ("Feb 30 00:00:00", None),
        ] {
            assert_eq!(read(form, text).as_deref(), want, "{text}");
        }
        assert_eq!(Time::parse(form).unwrap().read("Jan  2 10:00:00", &TimeZone::UTC, None), None);
    }
}
