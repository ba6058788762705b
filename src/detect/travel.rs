//! How far and how fast: distances between the places of two events, and how like two strings are.

use super::{
    script::{EventView, clip},
    sight::MarkView,
    subject::Selector,
};
use crate::event::{Field, Value};
use rhai::{Dynamic, Engine, ImmutableString};

/// The mean radius of the earth.
const RADIUS_KM: f64 = 6371.0088;
/// Bytes of a string that is compared: the cost is their product.
const LONGEST_COMPARED: usize = 256;
const MICROS_PER_HOUR: f64 = 3.6e9;

/// What has a place and a time.
pub(super) trait Somewhere {
    fn number(&self, field: Field) -> Option<f64>;
    /// Microseconds since 1970.
    fn moment(&self) -> Option<i64>;
}

impl Somewhere for EventView {
    fn number(&self, field: Field) -> Option<f64> {
        number(self.record.subject().get(&Selector::Field(field)))
    }

    fn moment(&self) -> Option<i64> {
        Some(self.record.time)
    }
}

impl Somewhere for MarkView {
    fn number(&self, field: Field) -> Option<f64> {
        number(self.value(&Selector::Field(field)))
    }

    fn moment(&self) -> Option<i64> {
        self.time()
    }
}

pub(super) fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Double(number) => Some(number),
        _ => None,
    }
}

/// Latitude and longitude in degrees, if they can be some.
fn place(view: &dyn Somewhere) -> Option<(f64, f64)> {
    let (lat, long) = (view.number(Field::lat)?, view.number(Field::long)?);
    ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&long)).then_some((lat, long))
}

/// The great-circle distance of two places in degrees (haversine: good for near ones too).
fn kilometres((lat_a, long_a): (f64, f64), (lat_b, long_b): (f64, f64)) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let h = half(lat_a, lat_b) + lat_a.to_radians().cos() * lat_b.to_radians().cos() * half(long_a, long_b);
    2.0 * RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

/// Kilometres between the places of two events.
pub(super) fn distance(a: &dyn Somewhere, b: &dyn Somewhere) -> Option<f64> {
    Some(kilometres(place(a)?, place(b)?))
}

/// Kilometres an hour between the places and times of two events. No time between them is taken for a microsecond:
/// very fast, and a number still.
pub(super) fn speed(a: &dyn Somewhere, b: &dyn Somewhere) -> Option<f64> {
    let apart = a.moment()?.abs_diff(b.moment()?).max(1);
    Some(distance(a, b)? / (apart as f64 / MICROS_PER_HOUR))
}

fn dynamic(number: Option<f64>) -> Dynamic {
    number.map_or(Dynamic::UNIT, Dynamic::from)
}

/// How like two strings are: 1 if they are equal, 0 if they have nothing in common.
pub(super) fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (clip(a, LONGEST_COMPARED), clip(b, LONGEST_COMPARED));
    // most are: somebody's browser is the one they had before
    if a == b { 1.0 } else { strsim::normalized_levenshtein(a, b) }
}

/// Registers `distance_km`, `speed_kmh` and `similarity`.
pub(super) fn register(engine: &mut Engine) {
    fn pair<A, B>(engine: &mut Engine)
    where
        A: Somewhere + Clone + Send + Sync + 'static,
        B: Somewhere + Clone + Send + Sync + 'static,
    {
        engine.register_fn("distance_km", |a: A, b: B| dynamic(distance(&a, &b)));
        engine.register_fn("speed_kmh", |a: A, b: B| dynamic(speed(&a, &b)));
    }
    pair::<EventView, EventView>(engine);
    pair::<EventView, MarkView>(engine);
    pair::<MarkView, EventView>(engine);
    pair::<MarkView, MarkView>(engine);
    engine.register_fn("similarity", |a: ImmutableString, b: ImmutableString| similarity(&a, &b));
    // a field that is not set is like nothing
    engine.register_fn("similarity", |(): (), _: ImmutableString| Dynamic::UNIT);
    engine.register_fn("similarity", |_: ImmutableString, (): ()| Dynamic::UNIT);
    engine.register_fn("similarity", |(): (), (): ()| Dynamic::UNIT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone)]
    struct At(Option<f64>, Option<f64>, i64);

    impl Somewhere for At {
        fn number(&self, field: Field) -> Option<f64> {
            if field == Field::lat { self.0 } else { self.1 }
        }
        fn moment(&self) -> Option<i64> {
            Some(self.2)
        }
    }

    const BERLIN: (f64, f64) = (52.52, 13.405);
    const TOKYO: (f64, f64) = (35.6895, 139.6917);

    fn at((lat, long): (f64, f64), seconds: i64) -> At {
        At(Some(lat), Some(long), seconds * 1_000_000)
    }

    #[test]
    fn distances_and_speeds_are_those_of_the_globe() {
        let far = distance(&at(BERLIN, 0), &at(TOKYO, 0)).unwrap();
        assert!((far - 8918.0).abs() < 10.0, "{far}");
        let fast = speed(&at(BERLIN, 7200), &at(TOKYO, 0)).unwrap();
        assert!((fast - far / 2.0).abs() < 1e-6, "{fast}");
        let near = distance(&at((48.0, 11.0), 0), &at((48.0, 11.0001), 0)).unwrap();
        assert!((near - 0.00744).abs() < 0.0001, "{near}");
        assert!((kilometres((0.0, 179.9), (0.0, -179.9)) - 22.24).abs() < 0.01, "across the date line");
        assert!((kilometres((90.0, 0.0), (-90.0, 77.0)) - 20_015.1).abs() < 0.1, "from pole to pole");
        let at_once = speed(&at(BERLIN, 5), &at(TOKYO, 5)).unwrap();
        assert!(at_once > 1e12 && at_once.is_finite(), "{at_once}");
        assert_eq!(speed(&at(BERLIN, 5), &at(BERLIN, 5)), Some(0.0));
    }

    #[test]
    fn what_is_no_place_has_no_distance() {
        for bad in [(91.0, 0.0), (0.0, 180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(distance(&at(BERLIN, 0), &at(bad, 0)), None, "{bad:?}");
        }
        assert_eq!(distance(&At(None, Some(1.0), 0), &at(BERLIN, 0)), None);
        assert_eq!(speed(&at(BERLIN, 0), &At(Some(1.0), None, 0)), None);
    }

    #[test]
    fn strings_are_more_or_less_alike() {
        assert_eq!(similarity("Mozilla/5.0", "Mozilla/5.0"), 1.0);
        assert_eq!((similarity("abc", "xyz"), similarity("", "")), (0.0, 1.0));
        assert!(similarity("Mozilla/5.0 Firefox/120", "Mozilla/5.0 Firefox/121") > 0.95);
        let huge = "ü".repeat(1_000_000);
        assert_eq!(similarity(&huge, &huge), 1.0, "cut, and soon done");
    }

    proptest! {
        #[test]
        fn distances_are_finite_and_symmetric(
            a in (-90.0f64..=90.0, -180.0f64..=180.0), b in (-90.0f64..=90.0, -180.0f64..=180.0),
        ) {
            let (there, back) = (kilometres(a, b), kilometres(b, a));
            prop_assert!((0.0..20_016.0).contains(&there) && (there - back).abs() < 1e-6, "{there} {back}");
        }
    }
}
