//! Numbers as rules count with them: decimals with nine places, exact under adding and taking away, so that a sum that
//! slides does not drift and does not depend on the order of its events.

/// One, in billionths.
const ONE: i128 = 1_000_000_000;
const PLACES: usize = 9;
/// Larger numbers are none: what 16,384 events add up to must fit.
const LARGEST: i128 = 1_000_000_000_000_000_000_000_000 * ONE;

/// A number, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Decimal(pub i128);

impl Decimal {
    /// A whole number.
    pub fn whole(number: impl Into<i128>) -> Self {
        Self(number.into().saturating_mul(ONE))
    }

    /// A floating point number, rounded to nine places; none if it is no finite number, or too large.
    pub fn of_float(number: f64) -> Option<Self> {
        // whole part and fraction apart: together they have more digits than the product could hold
        let (whole, fraction) = (number.trunc(), number.fract());
        let fits = whole.abs() < (LARGEST / ONE) as f64; // not so for NaN and infinities
        fits.then(|| Self(whole as i128 * ONE + (fraction * ONE as f64).round() as i128))
    }

    /// What a text says: digits, perhaps a sign before them, perhaps a fraction after a dot, perhaps an exponent. More
    /// than nine places are cut off. Allocates nothing.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 || text.starts_with('+') {
            return None;
        }
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        if !is_digits(whole) || !is_digits(fraction) {
            // `inf` and `nan` are read by f64 as well, and are none
            let exponent = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains(['e', 'E']);
            return exponent.then(|| text.parse().ok()).flatten().and_then(Self::of_float);
        }
        let digit = |sum: i128, byte: u8| Some(sum.checked_mul(10)? + i128::from(byte - b'0'));
        let whole = whole.bytes().try_fold(0, digit).filter(|whole| *whole < LARGEST / ONE)?;
        let mut places = fraction.bytes().chain(std::iter::repeat(b'0')).take(PLACES);
        let fraction = places.try_fold(0, digit)?;
        let all = whole * ONE + fraction;
        Some(Self(if negative { -all } else { all }))
    }

    /// As a whole number, if it is one that scripts can hold.
    pub fn to_whole(self) -> Option<i64> {
        (self.0 % ONE == 0).then(|| i64::try_from(self.0 / ONE).ok()).flatten()
    }

    /// As a floating point number: the nearest one.
    pub fn to_float(self) -> f64 {
        // whole part and fraction apart: each is exact up to 2^53
        let (whole, fraction) = (self.0 / ONE, self.0 % ONE);
        if whole.abs() < 1 << 23 { self.0 as f64 / ONE as f64 } else { whole as f64 + fraction as f64 / ONE as f64 }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_numbers_or_none() {
        for (text, wanted) in [
            ("0", 0),
            ("-0", 0),
            ("12", 12 * ONE),
            ("-12.5", -125 * ONE / 10),
            ("0.000000001", 1),
            ("0.1234567899", 123_456_789),
            ("00.50", ONE / 2),
            ("1e3", 1000 * ONE),
            ("2.5E-1", ONE / 4),
            ("9223372036854775807", i128::from(i64::MAX) * ONE),
        ] {
            assert_eq!(Decimal::parse(text), Some(Decimal(wanted)), "{text}");
        }
        let long = "9".repeat(65);
        for bad in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            " 1",
            "1 ",
            "1,000",
            "0x10",
            "inf",
            "NaN",
            "-inf",
            "e3",
            "1e",
            "1e400",
            "--1",
            "1.2.3",
            "١",
            "1000000000000000000000000",
            "99999999999999999999999999999999999999999999999999",
            &long,
        ] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn floats_that_are_no_numbers_are_none() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e24, -1e30, f64::MAX] {
            assert_eq!(Decimal::of_float(bad), None, "{bad}");
        }
        assert_eq!(Decimal::of_float(-0.25), Some(Decimal(-ONE / 4)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_given_back(number in any::<i64>(), cents in -1_000_000_000_i64..1_000_000_000) {
            prop_assert_eq!(Decimal::parse(&number.to_string()).and_then(Decimal::to_whole), Some(number));
            let float = cents as f64 / 100.0;
            prop_assert_eq!(Decimal::parse(&float.to_string()).map(Decimal::to_float), Some(float));
            prop_assert_eq!(Decimal::of_float(float).map(Decimal::to_float), Some(float));
        }
    }
}
