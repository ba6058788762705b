//! Tests that can never hold together, such as `reason == "x" & reason == "y"`, and those of which one always holds,
//! such as `reason != "x" | reason != "y"`: both are slips of the pen, and a rule with one is silent or floods.

use super::{
    decimal::Decimal,
    derived::{Derived, How, Side, Words},
    header::{Gather, PredObject},
    predicate::{Compare, Number, Pred, matches},
    subject::Selector,
};
use crate::event::{Field, Text};
use rhai::NativeCallContext;

/// `a & b`, with a note if it never holds.
pub(super) fn both(g: &Gather, context: &NativeCallContext, a: Pred, b: Pred) -> PredObject {
    let parts = [a, b];
    // what one side says already was noted where that stands
    if parts.iter().all(|part| contradiction(&[(part, true)]).is_none())
        && let Some(name) = contradiction(&[(&parts[0], true), (&parts[1], true)])
    {
        let mend = "did you mean | in the place of &?";
        g.problem(context, format!("this can never hold: {name} cannot be all of it at once; {mend}"));
    }
    let [a, b] = parts;
    PredObject(a.and(b))
}

/// `a | b`, with a note if it always holds.
pub(super) fn either(g: &Gather, context: &NativeCallContext, a: Pred, b: Pred) -> PredObject {
    let parts = [a, b];
    if parts.iter().all(|part| contradiction(&[(part, false)]).is_none())
        && let Some(name) = contradiction(&[(&parts[0], false), (&parts[1], false)])
    {
        let mend = "did you mean & in the place of |?";
        g.problem(context, format!("this always holds: whatever {name} is, one side of it is true; {mend}"));
    }
    let [a, b] = parts;
    PredObject(a.or(b))
}

/// What one number must be.
struct Range {
    of: Derived,
    /// The bounds, and whether they belong to it.
    low: Option<(Decimal, bool)>,
    high: Option<(Decimal, bool)>,
    excluded: Vec<Decimal>,
}

impl Range {
    fn narrow(&mut self, compare: Compare, number: Decimal) {
        let (low, high) = match compare {
            Compare::Equal => (Some((number, true)), Some((number, true))),
            Compare::Less => (None, Some((number, false))),
            Compare::LessOrEqual => (None, Some((number, true))),
            Compare::Greater => (Some((number, false)), None),
            Compare::GreaterOrEqual => (Some((number, true)), None),
        };
        // a bound that leaves its number out is the narrower one of two
        let narrower = |a: (Decimal, bool), b: (Decimal, bool), a_is: bool| match a.0 == b.0 {
            true => (a.0, a.1 && b.1),
            false if a_is => a,
            false => b,
        };
        if let Some(low) = low {
            self.low = Some(self.low.map_or(low, |known| narrower(known, low, known.0 > low.0)));
        }
        if let Some(high) = high {
            self.high = Some(self.high.map_or(high, |known| narrower(known, high, known.0 < high.0)));
        }
    }

    fn is_empty(&self) -> bool {
        let (Some(low), Some(high)) = (self.low, self.high) else { return false };
        low.0 > high.0 || (low.0 == high.0 && (!(low.1 && high.1) || self.excluded.contains(&low.0)))
    }
}

/// What is demanded of one field.
struct Demand<'a> {
    field: &'a Selector,
    /// Whether it must be set, because a test of it must hold.
    set: bool,
    unset: bool,
    texts: Option<Vec<&'a Text>>,
    symbols: u32,
    truths: [bool; 2],
    numbers: Vec<Range>,
}

impl<'a> Demand<'a> {
    fn only(&mut self, texts: &'a [Text]) {
        match &mut self.texts {
            Some(known) => known.retain(|text| texts.contains(text)),
            None => self.texts = Some(texts.iter().collect()),
        }
    }

    fn keep(&mut self, holds: impl Fn(&str) -> bool) {
        if let Some(texts) = &mut self.texts {
            texts.retain(|text| holds(text));
        }
    }

    fn range(&mut self, how: How) -> &mut Range {
        let at = self.numbers.iter().position(|range| range.of.how == how).unwrap_or_else(|| {
            let of = Derived { field: self.field.clone(), how };
            self.numbers.push(Range { of, low: None, high: None, excluded: Vec::new() });
            self.numbers.len() - 1
        });
        &mut self.numbers[at]
    }

    fn is_impossible(&self) -> bool {
        let empty = self.texts.as_ref().is_some_and(Vec::is_empty) || self.symbols == 0 || self.truths == [false; 2];
        self.set && (self.unset || empty || self.numbers.iter().any(Range::is_empty))
    }
}

/// The first field of which these tests, each with the answer that it must have, demand too much.
fn contradiction(tests: &[(&Pred, bool)]) -> Option<String> {
    let mut flat = Vec::new();
    tests.iter().for_each(|(pred, answer)| flatten(pred, *answer, &mut flat));
    let mut demands: Vec<Demand<'_>> = Vec::new();
    // what must hold comes first: what must not hold says nothing of a field that may be unset
    flat.sort_by_key(|(_, answer)| !answer);
    for (pred, answer) in flat {
        // a name that does not exist was noted, and two of them are not the same field
        let Some(field) = field(pred).filter(|field| **field != Selector::Unknown) else { continue };
        let at = demands.iter().position(|demand| demand.field == field).unwrap_or_else(|| {
            let (symbols, truths) = (u32::MAX, [true; 2]);
            demands.push(Demand { field, set: false, unset: false, texts: None, symbols, truths, numbers: Vec::new() });
            demands.len() - 1
        });
        demand(&mut demands[at], pred, answer);
    }
    demands.iter().find(|demand| demand.is_impossible()).map(|demand| demand.field.name())
}

/// The tests that must have their answer for this one to have it; what cannot be taken apart is left out.
fn flatten<'a>(pred: &'a Pred, answer: bool, flat: &mut Vec<(&'a Pred, bool)>) {
    match pred {
        Pred::Not(inner) => flatten(inner, !answer, flat),
        Pred::All(parts) if answer => parts.iter().for_each(|part| flatten(part, true, flat)),
        Pred::Any(parts) if !answer => parts.iter().for_each(|part| flatten(part, false, flat)),
        Pred::All(_) | Pred::Any(_) => {}
        test => flat.push((test, answer)),
    }
}

/// The field that a test is about, if it is about one.
fn field(pred: &Pred) -> Option<&Selector> {
    match pred {
        Pred::Symbol(field, _) => Some(match field {
            Field::activity => &Selector::Field(Field::activity),
            Field::outcome => &Selector::Field(Field::outcome),
            Field::user_kind => &Selector::Field(Field::user_kind),
            Field::factor => &Selector::Field(Field::factor),
            _ => &Selector::Field(Field::verification),
        }),
        Pred::Text(field, _)
        | Pred::OneOf(field, _)
        | Pred::Matches(field, _)
        | Pred::Number(field, ..)
        | Pred::Bool(field, _)
        | Pred::Exists(field)
        | Pred::Contains(field, _)
        | Pred::InList(field, _)
        | Pred::MatchesAnyCase(field, _)
        | Pred::Words(field, ..) => Some(field),
        Pred::Compared(compared) => match compared.right {
            Side::Number(_) => Some(&compared.left.field),
            Side::Derived(_) => None,
        },
        _ => None,
    }
}

/// Adds what a test demands.
fn demand<'a>(demand: &mut Demand<'a>, pred: &'a Pred, answer: bool) {
    if let (Pred::Exists(_), false) = (pred, answer) {
        demand.unset = true;
        return;
    }
    demand.set |= answer;
    match pred {
        Pred::Text(_, text) if answer => demand.only(std::slice::from_ref(text)),
        Pred::OneOf(_, texts) if answer => demand.only(texts),
        Pred::Words(_, Words::Is(text), false) if answer => demand.only(std::slice::from_ref(text)),
        Pred::Text(_, text) => demand.keep(|known| known != text),
        Pred::OneOf(_, texts) => demand.keep(|known| !texts.iter().any(|text| text == known)),
        Pred::Matches(_, pattern) => {
            demand.keep(|known| matches(pattern.as_bytes(), known.as_bytes()) == answer);
        }
        Pred::Words(_, words, fold) => demand.keep(|known| words.holds(known, *fold) == answer),
        Pred::Symbol(_, mask) => demand.symbols &= if answer { *mask } else { !mask },
        // it must be this truth value, or must not be it: either way the other one, or this one, is out
        Pred::Bool(_, value) => demand.truths[usize::from(*value != answer)] = false,
        Pred::Number(_, compare, number) => {
            let number = match number {
                Number::Int(number) => Some(Decimal::whole(*number)),
                Number::Float(number) => Decimal::of_float(*number),
            };
            if let Some(number) = number {
                bound(demand.range(How::Number), *compare, number, answer);
            }
        }
        Pred::Compared(compared) => {
            if let Side::Number(number) = compared.right {
                bound(demand.range(compared.left.how), compared.compare, number, answer);
            }
        }
        _ => {}
    }
}

fn bound(range: &mut Range, compare: Compare, number: Decimal, answer: bool) {
    let compare = match (compare, answer) {
        (compare, true) => compare,
        (Compare::Equal, false) => return range.excluded.push(number),
        (Compare::Less, false) => Compare::GreaterOrEqual,
        (Compare::LessOrEqual, false) => Compare::Greater,
        (Compare::Greater, false) => Compare::LessOrEqual,
        (Compare::GreaterOrEqual, false) => Compare::Less,
    };
    range.narrow(compare, number);
}
