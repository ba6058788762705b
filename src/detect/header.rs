//! The host objects of a rule's header: `activity == LOGON & !src_ip.in_list("egress")` builds a native predicate here.
//!
//! Nothing in this file throws: what is wrong is noted at its place and stands for a harmless value, so that the
//! author sees all problems of a file at once.

use super::{
    aggregate,
    fold::Folded,
    list::List,
    markers::RawMarker,
    methods, never,
    predicate::{Compare, Number, Pred, symbol_bit},
    severity::Severity,
    subject::{KINDS, Selector},
    suggest::hint,
};
use crate::event::{Activity, Factor, Field, FieldType, Outcome, UserKind, Verification};
use rhai::{Array, Dynamic, Engine, ImmutableString, Map, NativeCallContext, Position, Scope};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A field, as the header sees it.
#[derive(Debug, Clone)]
pub(super) struct FieldObject(pub Selector);
/// A predicate, as the header sees it.
#[derive(Debug, Clone)]
pub(super) struct PredObject(pub Pred);
/// A symbol: LOGON, FAILURE, PASSWORD …
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol(pub &'static str);
/// What a call of `rule(id, #{…})` said.
pub(super) struct RawRule {
    /// The id.
    pub id: String,
    /// The header's values.
    pub values: Map,
    /// Where the call stands.
    pub at: Position,
}

/// What was gathered while a header ran.
#[derive(Default)]
pub(super) struct Gathered {
    /// The rules.
    pub rules: Vec<RawRule>,
    /// The markers.
    pub markers: Vec<RawMarker>,
    /// What is wrong, and where.
    pub problems: Vec<(Position, String)>,
    /// Lists in which addresses are looked up.
    pub address_lists: Vec<usize>,
}

/// Shared between the engine's functions and the loader.
#[derive(Clone)]
pub(super) struct Gather {
    state: Arc<Mutex<Gathered>>,
    lists: Arc<[List]>,
}

impl Gather {
    /// Gathers; `lists` are those that exist.
    pub fn new(lists: Arc<[List]>) -> Self {
        Self { state: Arc::default(), lists }
    }

    /// What was gathered since the last call.
    pub fn take(&self) -> Gathered {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // a panic while holding it leaves plain lists behind: nothing that could be half-changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is wrong with a call.
    pub fn problem(&self, context: &NativeCallContext, message: impl Into<String>) {
        self.lock().problems.push((context.call_position(), message.into()));
    }
}

/// Symbols of the event's enums and of `kind`, and names of severities: constants in headers, functions and tests.
pub(super) fn symbols() -> impl Iterator<Item = &'static str> {
    let lists = [Activity::SYMBOLS, Outcome::SYMBOLS, UserKind::SYMBOLS, Factor::SYMBOLS, Verification::SYMBOLS];
    lists.into_iter().flatten().copied().chain(KINDS.iter().copied())
}

/// The scope in which a header runs: every field and every constant by its name.
pub(super) fn scope() -> Scope<'static> {
    let mut scope = Scope::new();
    for name in Selector::names() {
        if let Some(selector) = Selector::from_name(name) {
            scope.push_constant(name, FieldObject(selector));
        }
    }
    for symbol in symbols() {
        if !scope.contains(symbol) {
            scope.push_constant(symbol, Symbol(symbol));
        }
    }
    for severity in Severity::ALL {
        scope.push_constant(severity.name(), severity);
    }
    scope
}

/// What can stand on the other side of a comparison.
#[derive(Debug, Clone)]
enum Operand {
    Symbol(Symbol),
    Text(ImmutableString),
    Number(Number),
    Bool(bool),
    Null,
    Field(FieldObject),
    Severity(Severity),
}

impl From<Symbol> for Operand {
    fn from(value: Symbol) -> Self {
        Self::Symbol(value)
    }
}
impl From<ImmutableString> for Operand {
    fn from(value: ImmutableString) -> Self {
        Self::Text(value)
    }
}
impl From<i64> for Operand {
    fn from(value: i64) -> Self {
        Self::Number(Number::Int(value))
    }
}
impl From<f64> for Operand {
    fn from(value: f64) -> Self {
        Self::Number(Number::Float(value))
    }
}
impl From<bool> for Operand {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<Severity> for Operand {
    fn from(value: Severity) -> Self {
        Self::Severity(value)
    }
}
impl From<()> for Operand {
    fn from((): ()) -> Self {
        Self::Null
    }
}
impl From<FieldObject> for Operand {
    fn from(value: FieldObject) -> Self {
        Self::Field(value)
    }
}

pub(super) const OPERATORS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

/// What an operator asks; `!=` is `==` turned round.
pub(super) fn compare_of(operator: &str) -> Compare {
    match operator {
        "<" => Compare::Less,
        "<=" => Compare::LessOrEqual,
        ">" => Compare::Greater,
        ">=" => Compare::GreaterOrEqual,
        _ => Compare::Equal,
    }
}

/// The operator with its sides exchanged.
pub(super) fn flipped(operator: &str) -> &'static str {
    match operator {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        "!=" => "!=",
        _ => "==",
    }
}

fn register_comparisons<T: Into<Operand> + rhai::Variant + Clone>(engine: &mut Engine, gather: &Gather) {
    for operator in OPERATORS {
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, field: FieldObject, with: T| {
            compare(&g, &context, field.0, operator, with.into())
        });
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, with: T, field: FieldObject| {
            compare(&g, &context, field.0, flipped(operator), with.into())
        });
    }
}

/// Builds the predicate of a comparison, or notes why there is none.
fn compare(g: &Gather, context: &NativeCallContext, selector: Selector, operator: &str, with: Operand) -> PredObject {
    let negated = operator == "!=";
    let equality = negated || operator == "==";
    let wrong = |message: String| {
        g.problem(context, message);
        PredObject(Pred::Const(false))
    };
    if selector == Selector::Unknown || matches!(&with, Operand::Field(FieldObject(Selector::Unknown))) {
        return PredObject(Pred::Const(false));
    }
    if let (Selector::FindingSeverity, Operand::Severity(severity)) = (&selector, &with) {
        return PredObject(of_severity(operator, *severity));
    }
    let name = selector.name();
    if !equality && !has_order(selector.field_type()) {
        return wrong(format!("`{name} {operator} …`: only numbers and moments have an order, and {name} is neither"));
    }
    let pred = match (selector.field_type(), with) {
        (_, Operand::Null) if equality => Pred::Not(Box::new(Pred::Exists(selector))),
        (FieldType::Enum(symbols, _), Operand::Symbol(Symbol(symbol))) => {
            match (&selector, symbols.contains(&symbol)) {
                (Selector::Kind, true) if symbol == "REJECTION" => Pred::IsRejection,
                (Selector::Kind, true) if symbol == "FINDING" => Pred::IsFinding,
                (Selector::Kind, true) => Pred::Not(Box::new(Pred::IsRejection.or(Pred::IsFinding))),
                (Selector::Field(field), true) => Pred::Symbol(*field, symbol_bit(*field, symbol).unwrap_or_default()),
                _ => return wrong(format!("{name} is never {symbol}: it is one of {}", symbols.join(", "))),
            }
        }
        (FieldType::Enum(symbols, _), Operand::Text(text)) => {
            let upper = text.to_uppercase();
            let symbol = symbols.iter().find(|s| **s == upper);
            let hint =
                symbol.map_or_else(|| hint(&upper, symbols.iter().copied()), |s| format!(": write {s} without quotes"));
            return wrong(format!("{name} holds a symbol, not the string {text:?}{hint}"));
        }
        (_, Operand::Text(text)) if selector == Selector::FindingSeverity => {
            return wrong(format!("{name} is a severity, not the string {text:?}: write HIGH without quotes"));
        }
        (FieldType::Text | FieldType::OptText, Operand::Text(text)) => Pred::Text(selector, text.as_str().into()),
        (kind, Operand::Field(FieldObject(other))) => {
            let (other_name, other_kind) = (other.name(), type_name(other.field_type()));
            match methods::fields(selector, operator, other) {
                Some(pred) => pred,
                None => {
                    let message = format!("{name} holds {} and {other_name} {other_kind}", type_name(kind));
                    return wrong(format!("{message}: they cannot be compared"));
                }
            }
        }
        (FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble, Operand::Number(number)) => {
            Pred::Number(selector, compare_of(operator), number)
        }
        (FieldType::OptBool, Operand::Bool(value)) => Pred::Bool(selector, value),
        (FieldType::Texts, _) => return wrong(format!("{name} is an array: write {name}.contains(\"…\")")),
        (FieldType::Map, _) => return wrong(format!("{name} is a map: write attr(\"name\") == \"…\"")),
        (FieldType::Micros | FieldType::OptMicros, with) => {
            let moment = match &with {
                Operand::Text(text) => methods::moment(selector, compare_of(operator), text),
                _ => None,
            };
            let Some(pred) = moment else {
                let how = "compare it with another moment, or with \"2026-01-05T00:00:00Z\"";
                return wrong(format!("{name} is a moment: {how}, or use {name}.age(), .hour() or .weekday()"));
            };
            pred
        }
        (kind, with) => {
            return wrong(format!("{name} holds {} and is compared with {}", type_name(kind), operand_name(&with)));
        }
    };
    PredObject(if negated { Pred::Not(Box::new(pred)) } else { pred })
}

/// `finding_severity >= HIGH`: severities have an order.
fn of_severity(operator: &str, with: Severity) -> Pred {
    let holds = |found: Severity| match operator {
        "<" => (found as u8) < with as u8,
        "<=" => found as u8 <= with as u8,
        ">" => found as u8 > with as u8,
        ">=" => found as u8 >= with as u8,
        _ => found == with,
    };
    let mut names: Vec<crate::event::Text> =
        Severity::ALL.into_iter().filter(|found| holds(*found)).map(|found| found.name().into()).collect();
    names.sort();
    let pred = Pred::OneOf(Selector::FindingSeverity, names.into());
    if operator == "!=" { Pred::Not(Box::new(pred)) } else { pred }
}

fn has_order(kind: FieldType) -> bool {
    use FieldType::{Micros, OptDouble, OptInt, OptLong, OptMicros};
    matches!(kind, OptLong | OptInt | OptDouble | Micros | OptMicros)
}

pub(super) fn type_name(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text | FieldType::OptText => "a string",
        FieldType::Micros | FieldType::OptMicros => "a moment",
        FieldType::OptLong | FieldType::OptInt | FieldType::OptDouble => "a number",
        FieldType::OptBool => "true or false",
        FieldType::Enum(..) => "a symbol",
        FieldType::Texts => "an array of strings",
        FieldType::Map => "a map",
    }
}

fn operand_name(operand: &Operand) -> String {
    match operand {
        Operand::Symbol(Symbol(symbol)) => format!("the symbol {symbol}"),
        Operand::Text(text) => format!("the string {text:?}"),
        Operand::Number(_) => "a number".into(),
        Operand::Bool(value) => format!("{value}"),
        Operand::Null => "()".into(),
        Operand::Severity(severity) => format!("the severity {}", severity.name()),
        Operand::Field(FieldObject(field)) => format!("the field {}", field.name()),
    }
}

/// Registers everything that a header can say.
pub(super) fn register(engine: &mut Engine, gather: &Gather) {
    engine.register_type_with_name::<FieldObject>("field").register_type_with_name::<PredObject>("predicate");
    engine.register_type_with_name::<Symbol>("symbol").register_type_with_name::<Severity>("severity");
    register_comparisons::<Symbol>(engine, gather);
    register_comparisons::<ImmutableString>(engine, gather);
    register_comparisons::<i64>(engine, gather);
    register_comparisons::<f64>(engine, gather);
    register_comparisons::<bool>(engine, gather);
    register_comparisons::<()>(engine, gather);
    register_comparisons::<Severity>(engine, gather);
    for operator in OPERATORS {
        let g = gather.clone();
        engine.register_fn(operator, move |context: NativeCallContext, a: FieldObject, b: FieldObject| {
            compare(&g, &context, a.0, operator, Operand::Field(b))
        });
    }
    register_logic(engine, gather);
    register_methods(engine, gather);
    methods::register(engine, gather);
    aggregate::register(engine, gather);
    let g = gather.clone();
    engine.register_fn("rule", move |context: NativeCallContext, id: ImmutableString, values: Map| {
        g.lock().rules.push(RawRule { id: id.to_string(), values, at: context.call_position() });
    });
    let g = gather.clone();
    engine.register_fn("marker", move |context: NativeCallContext, name: ImmutableString, values: Map| {
        g.lock().markers.push(RawMarker { name: name.to_string(), values, at: context.call_position() });
    });
    engine.register_fn("attr", |name: ImmutableString| FieldObject(Selector::Attribute(name.as_str().into())));
}

/// `&`, `|`, `!`, and what people write instead.
fn register_logic(engine: &mut Engine, gather: &Gather) {
    let g = gather.clone();
    engine.register_fn("&", move |context: NativeCallContext, a: PredObject, b: PredObject| {
        never::both(&g, &context, a.0, b.0)
    });
    let g = gather.clone();
    engine.register_fn("|", move |context: NativeCallContext, a: PredObject, b: PredObject| {
        never::either(&g, &context, a.0, b.0)
    });
    engine.register_fn("!", |a: PredObject| PredObject(Pred::Not(Box::new(a.0))));
    for operator in ["&", "|"] {
        let (g, h) = (gather.clone(), gather.clone());
        let (i, j) = (gather.clone(), gather.clone());
        let test = "each side of & and | must be a test of a field, such as `is_vpn == true`";
        engine.register_fn(operator, move |context: NativeCallContext, a: PredObject, _: bool| {
            g.problem(&context, test);
            a
        });
        engine.register_fn(operator, move |context: NativeCallContext, _: bool, b: PredObject| {
            h.problem(&context, test);
            b
        });
        engine.register_fn(operator, move |context: NativeCallContext, a: PredObject, b: FieldObject| {
            i.bare(&context, &b);
            a
        });
        engine.register_fn(operator, move |context: NativeCallContext, a: FieldObject, b: PredObject| {
            j.bare(&context, &a);
            b
        });
    }
    let g = gather.clone();
    engine.register_fn("!", move |context: NativeCallContext, field: FieldObject| {
        g.bare(&context, &field);
        PredObject(Pred::Const(false))
    });
}

impl Gather {
    /// Notes a field that stands where a test should.
    pub fn bare(&self, context: &NativeCallContext, field: &FieldObject) {
        if field.0 != Selector::Unknown {
            let name = field.0.name();
            self.problem(context, format!("`{name}` alone is no test: write `{name} == …` or `{name}.exists()`"));
        }
    }
}

fn register_methods(engine: &mut Engine, gather: &Gather) {
    engine.register_fn("exists", |field: &mut FieldObject| PredObject(Pred::Exists(field.0.clone())));
    let g = gather.clone();
    engine.register_fn(
        "matches",
        move |context: NativeCallContext, field: &mut FieldObject, pattern: ImmutableString| {
            g.text_only(&context, &field.0, "matches");
            if pattern.len() > 256 {
                g.problem(&context, "a pattern has at most 256 bytes");
            }
            PredObject(Pred::Matches(field.0.clone(), pattern.as_str().into()))
        },
    );
    let g = gather.clone();
    engine.register_fn(
        "matches_any_case",
        move |context: NativeCallContext, field: &mut FieldObject, pattern: ImmutableString| {
            matches_any_case(&g, &context, &field.0, vec![pattern.into()])
        },
    );
    let g = gather.clone();
    engine.register_fn(
        "matches_any_case",
        move |context: NativeCallContext, field: &mut FieldObject, patterns: Array| {
            matches_any_case(&g, &context, &field.0, patterns)
        },
    );
    let g = gather.clone();
    engine.register_fn("one_of", move |context: NativeCallContext, field: &mut FieldObject, values: Array| {
        one_of(&g, &context, &field.0, values)
    });
    let g = gather.clone();
    engine.register_fn("in_list", move |context: NativeCallContext, field: &mut FieldObject, name: ImmutableString| {
        let Some(at) = g.lists.iter().position(|list| list.name == name.as_str()) else {
            let near = hint(&name, g.lists.iter().map(|list| list.name.as_str()));
            g.problem(&context, format!("there is no list lists/{name}.txt{near}"));
            return PredObject(Pred::Const(false));
        };
        if field.0 == Selector::Field(Field::src_ip) {
            g.lock().address_lists.push(at);
        }
        PredObject(Pred::InList(field.0.clone(), at))
    });
}

impl Gather {
    /// Notes a field that is no string.
    pub fn text_only(&self, context: &NativeCallContext, selector: &Selector, what: &str) {
        if !matches!(selector.field_type(), FieldType::Text | FieldType::OptText) {
            let kind = type_name(selector.field_type());
            self.problem(context, format!("{what}() is for strings; {} holds {kind}", selector.name()));
        }
    }
}

/// `field.matches_any_case("…")`, and the same with an array: one of the patterns fits.
fn matches_any_case(g: &Gather, context: &NativeCallContext, selector: &Selector, patterns: Array) -> PredObject {
    g.text_only(context, selector, "matches_any_case");
    if patterns.is_empty() {
        g.problem(context, "matches_any_case() needs at least one pattern");
    }
    let tests = patterns.into_iter().map(|pattern| {
        let pattern = pattern.into_immutable_string().unwrap_or_else(|kind| {
            g.problem(context, format!("matches_any_case() takes strings, not {kind}"));
            ImmutableString::default()
        });
        if pattern.len() > 256 {
            g.problem(context, "a pattern has at most 256 bytes");
        }
        Pred::MatchesAnyCase(selector.clone(), Folded::new(&pattern))
    });
    PredObject(tests.collect::<Vec<_>>().into_iter().fold(Pred::Const(false), fold_or))
}

/// `field.one_of([…])`: strings for string fields, symbols for enum fields.
fn one_of(g: &Gather, context: &NativeCallContext, selector: &Selector, values: Array) -> PredObject {
    if values.is_empty() {
        g.problem(context, methods::EMPTY);
    }
    if matches!(selector.field_type(), FieldType::Text | FieldType::OptText) {
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let severity = value.clone().try_cast::<Severity>().filter(|_| *selector == Selector::FindingSeverity);
            match severity.map_or_else(|| value.into_immutable_string(), |severity| Ok(severity.name().into())) {
                Ok(text) => texts.push(text.as_str().into()),
                Err(_) => {
                    g.problem(context, format!("{} is a string: one_of() takes an array of strings", selector.name()))
                }
            }
        }
        texts.sort();
        texts.dedup();
        return PredObject(Pred::OneOf(selector.clone(), texts.into()));
    }
    if matches!(selector.field_type(), FieldType::Texts) {
        let test = |value: Dynamic| {
            let text = value.into_immutable_string().unwrap_or_else(|_| {
                g.problem(context, format!("{} holds strings: one_of() takes an array of strings", selector.name()));
                ImmutableString::default()
            });
            Pred::Contains(selector.clone(), text.as_str().into())
        };
        return PredObject(Pred::Any(values.into_iter().map(test).collect()));
    }
    let tests = values.into_iter().map(|value| {
        let operand = operand_of(&value);
        operand.map_or_else(
            || {
                g.problem(context, format!("one_of() of {} takes an array of its values", selector.name()));
                Pred::Const(false)
            },
            |operand| compare(g, context, selector.clone(), "==", operand).0,
        )
    });
    PredObject(tests.collect::<Vec<_>>().into_iter().fold(Pred::Const(false), fold_or))
}

/// `a | b`, joined into one mask where both test the same enum field.
fn fold_or(a: Pred, b: Pred) -> Pred {
    match (a, b) {
        (Pred::Const(false), other) => other,
        (Pred::Symbol(field, x), Pred::Symbol(other, y)) if field == other => Pred::Symbol(field, x | y),
        (a, b) => a.or(b),
    }
}

fn operand_of(value: &Dynamic) -> Option<Operand> {
    if let Some(symbol) = value.clone().try_cast::<Symbol>() {
        return Some(symbol.into());
    }
    if let Ok(text) = value.clone().into_immutable_string() {
        return Some(text.into());
    }
    let number = value.as_int().map(Operand::from).or_else(|_| value.as_float().map(Operand::from));
    number.or_else(|_| value.as_bool().map(Operand::from)).ok()
}
