//! Methods of fields in a header: `user.lower().starts_with("svc-")`, `attr("amount").number() >= 1000`,
//! `time.hour() < 6`.

use super::{
    decimal::Decimal,
    derived::{Compared, Derived, How, Side, Words},
    header::{FieldObject, Gather, OPERATORS, PredObject, compare_of, flipped, type_name},
    predicate::{Compare, Pred},
    subject::Selector,
};
use crate::event::{FieldType, Text};
use rhai::{Array, Dynamic, Engine, ImmutableString, NativeCallContext, Variant};

/// A number worked out of a field, as the header sees it.
#[derive(Debug, Clone)]
struct DerivedObject(Derived);
/// A string field in lower case, as the header sees it.
#[derive(Debug, Clone)]
struct LowerObject(Selector);

/// Whether a field holds a string.
pub(super) fn is_text(field: &Selector) -> bool {
    matches!(field.field_type(), FieldType::Text | FieldType::OptText)
}

fn is_moment(field: &Selector) -> bool {
    matches!(field.field_type(), FieldType::Micros | FieldType::OptMicros)
}

fn is_number(field: &Selector) -> bool {
    matches!(field.field_type(), FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble)
}

/// Registers them.
pub(super) fn register(engine: &mut Engine, gather: &Gather) {
    engine.register_type_with_name::<DerivedObject>("number of a field");
    engine.register_type_with_name::<LowerObject>("field in lower case");
    register_derived(engine, gather);
    register_words(engine, gather);
    register_lower(engine, gather);
}

fn register_derived(engine: &mut Engine, gather: &Gather) {
    type Fits = fn(&Selector) -> bool;
    let all: [(How, Fits, &str); 5] = [
        (
            How::Length,
            |f| is_text(f) || matches!(f.field_type(), FieldType::Texts | FieldType::Map),
            "strings and arrays",
        ),
        (How::Number, |f| is_text(f) || is_number(f), "numbers and strings that say one, such as attr(\"amount\")"),
        (How::Hour, is_moment, "moments, such as time"),
        (How::Weekday, is_moment, "moments, such as time"),
        (How::Age, is_moment, "moments, such as session_start"),
    ];
    for (how, fits, what) in all {
        let g = gather.clone();
        engine.register_fn(how.name(), move |context: NativeCallContext, field: &mut FieldObject| {
            if !fits(&field.0) && field.0 != Selector::Unknown {
                let (name, kind) = (field.0.name(), type_name(field.0.field_type()));
                g.problem(&context, format!("{}() is for {what}; {name} holds {kind}", how.name()));
            }
            DerivedObject(Derived { field: field.0.clone(), how })
        });
    }
    register_numbers::<i64>(engine, gather, |number| Some(Decimal::whole(number)));
    register_numbers::<f64>(engine, gather, Decimal::of_float);
    register_numbers::<ImmutableString>(engine, gather, |_| None);
    for operator in OPERATORS {
        engine.register_fn(operator, move |left: DerivedObject, right: DerivedObject| {
            compared(left.0, operator, Side::Derived(right.0))
        });
    }
    let g = gather.clone();
    engine.register_fn("one_of", move |context: NativeCallContext, field: &mut DerivedObject, values: Array| {
        if values.is_empty() {
            g.problem(&context, EMPTY);
        }
        let test = |value: Dynamic| {
            let number = value.as_int().ok().map(Decimal::whole);
            let number = number.or_else(|| value.as_float().ok().and_then(Decimal::of_float));
            let Some(number) = number else {
                g.problem(
                    &context,
                    format!("{}() is a number: one_of() takes an array of numbers", field.0.how.name()),
                );
                return Pred::Const(false);
            };
            in_bounds(&g, &context, &field.0, "==", number);
            compared(field.0.clone(), "==", Side::Number(number)).0
        };
        PredObject(Pred::Any(values.into_iter().map(test).collect()))
    });
}

/// What is said of an array without values.
pub(super) const EMPTY: &str = "one_of() needs at least one value: without any it can never hold";

fn register_numbers<T: Variant + Clone>(engine: &mut Engine, gather: &Gather, decimal: fn(T) -> Option<Decimal>) {
    for operator in OPERATORS {
        let build = move |g: &Gather, context: &NativeCallContext, left: Derived, operator: &'static str, right: T| {
            let Some(number) = decimal(right) else {
                let (field, how) = (left.field.name(), left.how.name());
                g.problem(context, format!("{field}.{how}() is a number: compare it with a number"));
                return PredObject(Pred::Const(false));
            };
            in_bounds(g, context, &left, operator, number);
            compared(left, operator, Side::Number(number))
        };
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, left: DerivedObject, right: T| {
            build(&g, &context, left.0, operator, right)
        });
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, left: T, right: DerivedObject| {
            build(&g, &context, right.0, flipped(operator), left)
        });
    }
}

/// Notes a number that is never reached: an hour is at most 23.
fn in_bounds(g: &Gather, context: &NativeCallContext, left: &Derived, operator: &str, number: Decimal) {
    let (least, most) = left.how.bounds();
    let (below, above) = (
        least.is_some_and(|least| number < Decimal::whole(least)),
        most.is_some_and(|most| number > Decimal::whole(most)),
    );
    let at = |bound: Option<i64>| bound.is_some_and(|bound| number == Decimal::whole(bound));
    let never = match operator {
        "==" => below || above,
        "<" => below || at(least),
        "<=" => below,
        ">" => above || at(most),
        ">=" => above,
        _ => false,
    };
    if never {
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            _ => "never negative".into(),
        };
        g.problem(context, format!("this can never hold: {}() is {range}", left.how.name()));
    }
}

fn compared(left: Derived, operator: &str, right: Side) -> PredObject {
    let pred = Pred::Compared(Box::new(Compared { left, compare: compare_of(operator), right }));
    PredObject(if operator == "!=" { Pred::Not(Box::new(pred)) } else { pred })
}

/// A comparison of two fields; `None` if they hold different things.
pub(super) fn fields(left: Selector, operator: &str, right: Selector) -> Option<Pred> {
    let equality = operator == "==" || operator == "!=";
    let how = match (left.field_type(), right.field_type()) {
        _ if is_number(&left) && is_number(&right) => How::Number,
        _ if is_moment(&left) && is_moment(&right) => How::Moment,
        (FieldType::Enum(a, _), FieldType::Enum(b, _)) if a == b && equality => return Some(Pred::Same(left, right)),
        (FieldType::OptBool, FieldType::OptBool) if equality => return Some(Pred::Same(left, right)),
        _ if is_text(&left) && is_text(&right) && equality => return Some(Pred::Same(left, right)),
        _ => return None,
    };
    let right = Side::Derived(Derived { field: right, how });
    Some(Pred::Compared(Box::new(Compared {
        left: Derived { field: left, how },
        compare: compare_of(operator),
        right,
    })))
}

/// A comparison of a moment with one that the rule names; `None` if the text is none.
pub(super) fn moment(field: Selector, compare: Compare, text: &str) -> Option<Pred> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    let right = Side::Number(Decimal(moment.as_microsecond().into()));
    Some(Pred::Compared(Box::new(Compared { left: Derived { field, how: How::Moment }, compare, right })))
}

/// What a string method makes of its argument.
type Make = fn(Text) -> Words;
const WORDS: [(&str, Make); 3] = [("starts_with", Words::Starts), ("ends_with", Words::Ends), ("contains", Words::Has)];

fn register_words(engine: &mut Engine, gather: &Gather) {
    for (name, make) in WORDS {
        let g = gather.clone();
        let method = move |context: NativeCallContext, field: &mut FieldObject, text: ImmutableString| {
            let holder = field.0.clone();
            if name == "contains" && matches!(holder.field_type(), FieldType::Texts) {
                return PredObject(Pred::Contains(holder, text.as_str().into()));
            }
            if name == "contains" && !is_text(&holder) {
                let kind = type_name(holder.field_type());
                g.problem(&context, format!("contains() is for strings and arrays; {} holds {kind}", holder.name()));
            } else {
                g.text_only(&context, &holder, name);
            }
            not_empty(&g, &context, name, &text);
            PredObject(Pred::Words(holder, make(text.as_str().into()), false))
        };
        engine.register_fn(name, method);
    }
}

fn not_empty(g: &Gather, context: &NativeCallContext, name: &str, text: &str) {
    if text.is_empty() {
        g.problem(context, format!("{name}(\"\") holds for every string: write exists()"));
    }
}

fn register_lower(engine: &mut Engine, gather: &Gather) {
    let g = gather.clone();
    engine.register_fn("lower", move |context: NativeCallContext, field: &mut FieldObject| {
        g.text_only(&context, &field.0, "lower");
        LowerObject(field.0.clone())
    });
    let lower = |g: &Gather, context: &NativeCallContext, field: &Selector, words: Words| {
        if let Some(text) = words.texts().iter().find(|text| text.to_lowercase() != text.as_str()) {
            let right = text.to_lowercase();
            g.problem(context, format!("this can never hold: {text:?} is not in lower case; write {right:?}"));
        }
        PredObject(Pred::Words(field.clone(), words, true))
    };
    for (name, make) in WORDS.into_iter().chain([("matches", Words::Matches as Make)]) {
        let g = gather.clone();
        engine.register_fn(name, move |context: NativeCallContext, field: &mut LowerObject, text: ImmutableString| {
            not_empty(&g, &context, name, &text);
            lower(&g, &context, &field.0, make(text.as_str().into()))
        });
    }
    for operator in ["==", "!="] {
        let test = move |g: &Gather, context: &NativeCallContext, field: &Selector, text: &str| {
            let PredObject(pred) = lower(g, context, field, Words::Is(text.into()));
            PredObject(if operator == "!=" { Pred::Not(Box::new(pred)) } else { pred })
        };
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, field: LowerObject, text: ImmutableString| {
            test(&g, &context, &field.0, &text)
        });
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, text: ImmutableString, field: LowerObject| {
            test(&g, &context, &field.0, &text)
        });
        engine.register_fn(operator, move |a: LowerObject, b: LowerObject| {
            let pred = Pred::Alike(a.0, b.0);
            PredObject(if operator == "!=" { Pred::Not(Box::new(pred)) } else { pred })
        });
    }
    let g = gather.clone();
    engine.register_fn("one_of", move |context: NativeCallContext, field: &mut LowerObject, values: Array| {
        if values.is_empty() {
            g.problem(&context, EMPTY);
        }
        let texts: Option<Box<[Text]>> = values
            .into_iter()
            .map(|value| value.into_immutable_string().ok().map(|text| text.as_str().into()))
            .collect();
        let Some(texts) = texts else {
            g.problem(&context, format!("{} is a string: one_of() takes an array of strings", field.0.name()));
            return PredObject(Pred::Const(false));
        };
        lower(&g, &context, &field.0, Words::OneOf(texts))
    });
}
