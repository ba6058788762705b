//! What functions of rules can call beside what Rhai brings: the same words as in `when`, for values that may not be
//! set.

use super::{decimal::Decimal, derived, measure::Measured};
use crate::event::Micros;
use rhai::{Dynamic, Engine, ImmutableString};

const NAMES: [&str; 4] = ["number", "lower", "hour", "weekday"];

fn moment(millis: i64) -> Micros {
    Micros(millis.saturating_mul(1000))
}

/// Registers them. Of a value that is not set each gives `()`.
pub(super) fn register(engine: &mut Engine) {
    let [number, lower, hour, weekday] = NAMES;
    engine.register_fn(number, |text: ImmutableString| {
        Decimal::parse(&text).map_or(Dynamic::UNIT, |number| Measured::from(number).to_dynamic())
    });
    engine.register_fn(number, |number: i64| number).register_fn(number, |number: f64| number);
    engine.register_fn(lower, |text: ImmutableString| text.to_lowercase());
    engine.register_fn(hour, |millis: i64| derived::hour(moment(millis)));
    engine.register_fn(weekday, |millis: i64| derived::weekday(moment(millis)));
    for name in NAMES {
        engine.register_fn(name, |(): ()| ());
    }
}
