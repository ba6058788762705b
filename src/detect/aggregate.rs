//! The aggregates of a rule's header: `count()`, `distinct(user)`, `sum(attr("amount"))` … and their gates.

use super::{
    header::{FieldObject, Gather, PredObject, type_name},
    measure::{Agg, Measure, Track},
    predicate::Pred,
    spec::{COLUMNS, Reader},
    subject::Selector,
    suggest::hint,
};
use crate::event::FieldType;
use rhai::{Engine, NativeCallContext};

/// The largest gate on a number of events: a window keeps [`super::window::MOST_ENTRIES`] of them.
const LARGEST_COUNT: i64 = 10_000;
/// The largest gate on anything else.
const LARGEST_GATE: i64 = 1_000_000_000_000_000;
/// How many conditions the aggregates of a rule may have.
const CONDITIONS: usize = 8;
/// What stands in `agg`, for messages.
const KNOWN: &str = "count(), count_if(test), distinct(field), distinct_if(field, test), max_per(field), \
    min_per(field), few_per(field, n), present(field), sum(field), min(field), max(field), first(field), \
    last(field), rate() or span()";

/// An aggregate over the window, as the header writes it.
#[derive(Debug, Clone)]
pub(super) enum Aggregate {
    /// `count()`
    Count,
    /// `count_if(test)`
    CountIf(Pred),
    /// `distinct(field)` and others that look at which events have which value
    Per(Per, Selector),
    /// `distinct_if(field, test)`
    DistinctIf(Selector, Pred),
    /// `few_per(field, n)`
    FewPer(Selector, u32),
    /// `rate()`
    Rate,
    /// `span()`
    Span,
}

/// What is computed of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Per {
    Distinct,
    Most,
    Fewest,
    Present,
    Sum,
    Min,
    Max,
    First,
    Last,
}

const OF_A_FIELD: [(&str, Per); 9] = [
    ("distinct", Per::Distinct),
    ("max_per", Per::Most),
    ("min_per", Per::Fewest),
    ("present", Per::Present),
    ("sum", Per::Sum),
    ("min", Per::Min),
    ("max", Per::Max),
    ("first", Per::First),
    ("last", Per::Last),
];

/// Registers the aggregates.
pub(super) fn register(engine: &mut Engine, gather: &Gather) {
    engine.register_type_with_name::<Aggregate>("aggregate");
    engine.register_fn("count", || Aggregate::Count);
    engine.register_fn("rate", || Aggregate::Rate);
    engine.register_fn("span", || Aggregate::Span);
    for (name, per) in OF_A_FIELD {
        let g = gather.clone();
        engine.register_fn(name, move |context: NativeCallContext, field: FieldObject| {
            single(&g, &context, name, &field.0);
            if matches!(per, Per::Sum | Per::Min | Per::Max) {
                numbers(&g, &context, name, &field.0);
            }
            Aggregate::Per(per, field.0)
        });
    }
    let g = gather.clone();
    engine.register_fn("few_per", move |context: NativeCallContext, field: FieldObject, most: i64| {
        single(&g, &context, "few_per", &field.0);
        if !(1..=LARGEST_COUNT).contains(&most) {
            let name = field.0.name();
            g.problem(&context, format!("few_per({name}, n): n is a whole number from 1 to {LARGEST_COUNT}"));
        }
        Aggregate::FewPer(field.0, most.clamp(1, LARGEST_COUNT) as u32)
    });
    engine.register_fn("count_if", |test: PredObject| Aggregate::CountIf(test.0.ordered()));
    let g = gather.clone();
    engine.register_fn("count_if", move |context: NativeCallContext, field: FieldObject| {
        g.bare(&context, &field);
        Aggregate::Count
    });
    let g = gather.clone();
    engine.register_fn("distinct_if", move |context: NativeCallContext, field: FieldObject, test: PredObject| {
        single(&g, &context, "distinct_if", &field.0);
        Aggregate::DistinctIf(field.0, test.0.ordered())
    });
    let g = gather.clone();
    engine.register_fn("avg", move |context: NativeCallContext, field: FieldObject| {
        let name = field.0.name();
        g.problem(&context, format!("there is no avg(): take sum({name}) and present({name}), and divide in decide"));
        Aggregate::Count
    });
}

/// Notes a field that has no single value.
fn single(g: &Gather, context: &NativeCallContext, name: &str, field: &Selector) {
    if matches!(field.field_type(), FieldType::Texts | FieldType::Map) {
        g.problem(context, format!("{name}() takes a single value; {} holds several", field.name()));
    }
}

/// Notes a field that is no number.
fn numbers(g: &Gather, context: &NativeCallContext, name: &str, field: &Selector) {
    let kind = field.field_type();
    let number = matches!(kind, FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble);
    let several = matches!(kind, FieldType::Texts | FieldType::Map); // noted already
    if !number && !several && !matches!(field, Selector::Attribute(_) | Selector::Unknown) {
        let (field, kind) = (field.name(), type_name(kind));
        g.problem(context, format!("{name}() is for numbers and for attr(\"…\"); {field} holds {kind}"));
    }
}

/// What a rule counts.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The aggregates, with their gates.
    pub aggs: Vec<Agg>,
    /// The fields that they use.
    pub columns: Vec<Selector>,
    /// What is kept up of them.
    pub tracks: Vec<Track>,
    /// Conditions of `count_if` and `distinct_if`.
    pub conditions: Vec<Pred>,
}

/// The place of `item`, which is put in if it is not there.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

impl Counted {
    /// The track of a field, by events for which the condition holds.
    fn track(&mut self, field: Selector, condition: Option<usize>) -> (usize, &mut Track) {
        let column = place(&mut self.columns, field);
        let same = |track: &Track| (track.column, track.condition) == (column, condition);
        let at = self.tracks.iter().position(same).unwrap_or_else(|| {
            self.tracks.push(Track { column, condition, ..Track::default() });
            self.tracks.len() - 1
        });
        (at, &mut self.tracks[at])
    }

    fn measure(&mut self, aggregate: Aggregate) -> Measure {
        match aggregate {
            Aggregate::Count => Measure::Count,
            Aggregate::Rate => Measure::Rate,
            Aggregate::Span => Measure::Span,
            Aggregate::CountIf(test) => Measure::CountIf(place(&mut self.conditions, test)),
            Aggregate::DistinctIf(field, test) => {
                let condition = place(&mut self.conditions, test);
                Measure::Distinct(self.track(field, Some(condition)).0)
            }
            Aggregate::FewPer(field, most) => {
                let (at, track) = self.track(field, None);
                Measure::FewPer(at, place(&mut track.few, most))
            }
            Aggregate::Per(per @ (Per::First | Per::Last), field) => {
                let kind = field.field_type();
                let column = place(&mut self.columns, field);
                if per == Per::First { Measure::First(column, kind) } else { Measure::Last(column, kind) }
            }
            Aggregate::Per(per, field) => {
                let (at, track) = self.track(field, None);
                track.levels |= matches!(per, Per::Most | Per::Fewest);
                track.sum |= per == Per::Sum;
                track.order |= matches!(per, Per::Min | Per::Max);
                match per {
                    Per::Most => Measure::MaxPer(at),
                    Per::Fewest => Measure::MinPer(at),
                    Per::Present => Measure::Present(at),
                    Per::Sum => Measure::Sum(at),
                    Per::Min => Measure::Min(at),
                    Per::Max => Measure::Max(at),
                    _ => Measure::Distinct(at),
                }
            }
        }
    }
}

/// Reads `agg` and `at_least`.
pub(super) fn read(reader: &mut Reader<'_>) -> Counted {
    let gates = reader.map("at_least").unwrap_or_default();
    let mut counted = Counted::default();
    for (name, value) in reader.map("agg").unwrap_or_default() {
        match value.try_cast::<Aggregate>() {
            Some(aggregate) => {
                let measure = counted.measure(aggregate);
                counted.aggs.push(Agg { name: name.to_string(), measure, at_least: 0 });
            }
            None => reader.note(&format!("agg.{name}"), format!("`{name}` must be {KNOWN}")),
        }
    }
    for (count, most, what) in
        [(counted.columns.len(), COLUMNS, "fields"), (counted.conditions.len(), CONDITIONS, "conditions")]
    {
        if count > most {
            reader.note("agg", format!("the aggregates use {count} different {what}; a rule has at most {most}"));
        }
    }
    for (name, value) in gates {
        let key = format!("at_least.{name}");
        let Some(agg) = counted.aggs.iter_mut().find(|agg| agg.name == name.as_str()) else {
            let near = hint(&name, counted.aggs.iter().map(|agg| agg.name.as_str()));
            reader.note(&key, format!("at_least names `{name}`, which agg does not have{near}"));
            continue;
        };
        if !agg.measure.is_number() {
            reader.note(&key, format!("`{name}` is no number that grows: compare it in decide(e, w)"));
            continue;
        }
        let most = if agg.measure.counts_events() { LARGEST_COUNT } else { LARGEST_GATE };
        let least = value.as_int().unwrap_or(0);
        if !(1..=most).contains(&least) {
            reader.note(&key, format!("`{name}` must be a whole number from 1 to {most}"));
        }
        agg.at_least = least.unsigned_abs();
    }
    counted
}
