//! Moments as producers write them: RFC 3339, or a number whose unit is told by its size.

use crate::event::Micros;

/// The first moment that an event can have: 1970-01-01T00:00:00Z.
pub(crate) const FIRST: Micros = Micros(0);
/// The first moment beyond: 3000-01-01T00:00:00Z.
pub(crate) const END: Micros = Micros(32_503_680_000_000_000);
/// How far beyond the time of its record an event may be.
pub(crate) const AHEAD: i64 = 24 * 3600 * 1_000_000;

/// An event that is ahead of its record by more than this has its time from a clock that is wrong.
pub(crate) const SKEWED: i64 = 300 * 1_000_000;

/// A number below this (100 billion) counts seconds, below a thousand times it milliseconds, below a million times it
/// microseconds, above nanoseconds. So milliseconds are read right from 1973-03-03 on, seconds up to the year 5138.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// The moment of a number.
pub(crate) fn from_number(number: i64) -> Option<Micros> {
    let size = number.unsigned_abs();
    Some(Micros(if size < SECONDS_BELOW {
        number.checked_mul(1_000_000)?
    } else if size < SECONDS_BELOW * 1000 {
        number.checked_mul(1000)?
    } else if size < SECONDS_BELOW * 1_000_000 {
        number
    } else {
        number.div_euclid(1000)
    }))
}

/// The moment of a number with a fraction.
pub(crate) fn from_float(number: f64) -> Option<Micros> {
    let size = number.abs();
    let below = SECONDS_BELOW as f64;
    let micros = if size < below {
        number * 1e6
    } else if size < below * 1e3 {
        number * 1e3
    } else if size < below * 1e6 {
        number
    } else {
        number / 1e3
    };
    (micros.is_finite() && micros.abs() < 9e18).then(|| Micros(micros.round() as i64))
}

/// The moment of a number in decimal digits. A fraction of up to six digits of seconds is read exactly.
pub(crate) fn from_digits(text: &str) -> Option<Micros> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    if let Ok(number) = text.parse() {
        return from_number(number);
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && let Ok(seconds) = seconds.parse::<u64>()
        && seconds < SECONDS_BELOW
        && fraction.bytes().all(|c| c.is_ascii_digit())
    {
        return Some(Micros(seconds as i64 * 1_000_000 + micros_of_fraction(fraction.as_bytes())));
    }
    from_float(text.parse().ok()?)
}

/// RFC 3339, with a space for the T as its section 5.6 allows; what is finer than microseconds is cut off. Second 60,
/// of a leap second, is read as 59.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    let text = text.as_bytes();
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else { return None };
    let [b'T' | b't' | b' ', hh0, hh1, b':', mm0, mm1, b':', ss0, ss1] = *clock else { return None };
    let year = digits(&[y0, y1, y2, y3])?;
    let (month, day) = (digits(&[m0, m1])?, digits(&[d0, d1])?);
    let (hour, minute, second) = (digits(&[hh0, hh1])?, digits(&[mm0, mm1])?, digits(&[ss0, ss1])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', rest)) => {
            let length = rest.iter().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
            if length == 0 {
                return None;
            }
            (micros_of_fraction(&rest[..length]), &rest[length..])
        }
        _ => (0, rest),
    };
    let offset = match *rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (digits(&[h0, h1])?, digits(&[m0, m1])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    let seconds = days_from_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset;
    Some(Micros(seconds * 1_000_000 + fraction))
}

/// RFC 3339 in UTC, as many digits of the fraction as needed; a plain number outside the years 0 to 9999.
pub(crate) fn write(moment: Micros) -> String {
    match jiff::Timestamp::from_microsecond(moment.0) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => moment.0.to_string(),
    }
}

fn micros_of_fraction(digits: &[u8]) -> i64 {
    let zeros = std::iter::repeat(&b'0');
    digits.iter().chain(zeros).take(6).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, c| c.is_ascii_digit().then(|| sum * 10 + i64::from(c - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days_before_month = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + days_before_month + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_by_their_size() {
        let moment = Micros(1_733_814_948_123_456);
        assert_eq!(from_number(1_733_814_948), Some(Micros(1_733_814_948_000_000)));
        assert_eq!(from_number(1_733_814_948_123), Some(Micros(1_733_814_948_123_000)));
        assert_eq!(from_number(1_733_814_948_123_456), Some(moment));
        assert_eq!(from_number(1_733_814_948_123_456_789), Some(moment));
        assert_eq!(from_digits("1733814948.123456"), Some(moment));
        assert_eq!(from_digits("1733814948.1234569"), Some(moment));
        assert_eq!(from_digits("1.733814948e9"), Some(Micros(1_733_814_948_000_000)));
        assert_eq!(from_float(1_733_814_948_123.5), Some(Micros(1_733_814_948_123_500)));
        for bad in ["", "-", "x", "1e999", "NaN", "1.2.3", "1733814948 "] {
            assert_eq!(from_digits(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_that_are_not_rfc_3339_are_refused() {
        for good in
            ["2024-02-29T23:59:60Z", "2024-01-01t00:00:00.1z", "2024-01-01 00:00:00+05:30", "0000-01-01T00:00:00Z"]
        {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0530",
            "2024-01-01T00:00:00Z ",
            "2024-00-10T00:00:00Z",
            "２024-01-01T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00+24:00",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_others_read_it(micros in 0..END.0, offset in -1439..1440_i32) {
            let text = write(Micros(micros));
            prop_assert_eq!(parse(&text), Some(Micros(micros)));
            let zone = jiff::tz::Offset::from_seconds(offset * 60).unwrap().to_time_zone();
            let zoned = jiff::Timestamp::from_microsecond(micros).unwrap().to_zoned(zone);
            let text = zoned.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string();
            prop_assert_eq!(parse(&text), Some(Micros(micros)), "{}", text);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: String) {
            let _ = (parse(&text), from_digits(&text));
        }
    }
}
