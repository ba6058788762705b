//! `decide`, worked out without the script engine where that is possible: most judgements end at its first words
//! (`!s.missing && …`), and a script call costs more than all else about an event.
//!
//! What comes out is what the function says, or nothing. Nothing whenever it is not certain: a call that is not known
//! here, types that Rhai would refuse to compare, an overflow. Then the function is asked, so that its errors are told
//! as ever. Operands are worked out in the order in which Rhai does it, and `&&` and `||` stop where it stops.

use super::{
    header::symbols,
    lint::ENTRIES,
    markers::{MarkNames, Marker},
    measure::Measured,
    script::{LONGEST_FIELD, clip},
    severity::Severity,
    sight::{Marks, Sighting},
    subject::{Owned, Selector, Subject},
    travel::{self, Somewhere},
};
use crate::event::{Field, Value};
use rhai::{AST, ASTNode, Expr, FnCallExpr, ImmutableString, Stmt};
use std::cmp::Ordering;

/// A value, as Rhai would have it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Val<'a> {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// The judged record.
    Event,
    /// What the marker at this place remembers.
    Mark(usize),
}

/// An expression. What is not known here is not compiled: there is no node for it.
#[derive(Debug, PartialEq)]
enum Node {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(ImmutableString),
    Field(Place, Selector),
    Missing(usize),
    Age(usize),
    Window(usize),
    Local(usize),
    Distance(Place, Place),
    Speed(Place, Place),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Binary(Operator, Box<(Node, Node)>),
    /// Only the function itself can tell.
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
}

/// A function `decide`, as far as it is known here.
#[derive(Debug)]
pub(super) struct Decide {
    /// Values of `let`, in their order: all are worked out first.
    locals: Vec<Node>,
    answer: Node,
}

impl Decide {
    /// Compiles `decide` among the functions of a rule; `None` if there is none, or nothing of it is known here.
    pub fn of(functions: &AST, names: &[ImmutableString], markers: &[Marker]) -> Option<Self> {
        let [name, ..] = ENTRIES;
        // a rule's own function of such a name is another one
        if functions.iter_functions().any(|function| ["mark", "distance_km", "speed_kmh"].contains(&function.name)) {
            return None;
        }
        let params: Vec<String> = functions
            .iter_functions()
            .find(|function| function.name == name && function.params.len() == 2)
            .map(|function| function.params.iter().map(ToString::to_string).collect())?;
        let mut compiler = Compiler { params, names, markers, marks: Vec::new(), values: Vec::new() };
        let (mut locals, mut answer) = (Vec::new(), None);
        let body = functions.clone_functions_only_filtered(|_, _, _, other, arity| other == name && arity == 2);
        body.walk(&mut |path| {
            let [ASTNode::Stmt(statement)] = path else { return true };
            match (statement, &answer) {
                (Stmt::Var(var, ..), None) => match compiler.mark(&var.1) {
                    Some(place) => compiler.marks.push((var.0.name.to_string(), place)),
                    None => {
                        // a name that is taken twice means what it was given last
                        locals.push(compiler.node(&var.1));
                        compiler.values.push((var.0.name.to_string(), locals.len() - 1));
                    }
                },
                (Stmt::Expr(expr), None) => answer = Some(compiler.node(expr)),
                (Stmt::FnCall(call, _), None) => answer = Some(compiler.call(call)),
                // anything else, or something behind the answer: leave it to Rhai
                _ => answer = Some(Node::Ask),
            }
            true
        });
        let answer = answer.filter(|answer| *answer != Node::Ask)?;
        (!locals.contains(&Node::Ask)).then_some(Self { locals, answer })
    }

    /// What the function says about a record; `None` if only it can tell.
    pub fn says(&self, record: &Owned, marks: &Marks, values: &[Measured]) -> Option<bool> {
        let subject = record.subject();
        let about = About { record, subject: &subject, marks, values };
        let mut locals = [Val::Unit; MOST_LOCALS];
        for (at, local) in self.locals.iter().enumerate() {
            *locals.get_mut(at)? = about.value(local, &locals)?;
        }
        match about.value(&self.answer, &locals)? {
            Val::Bool(answer) => Some(answer),
            _ => None, // an error that the function tells
        }
    }
}

/// Values of `let` in one function.
const MOST_LOCALS: usize = 8;

struct Compiler<'a> {
    params: Vec<String>,
    names: &'a [ImmutableString],
    markers: &'a [Marker],
    /// Variables that are what a marker remembers, and others; the last one of a name counts.
    marks: Vec<(String, usize)>,
    values: Vec<(String, usize)>,
}

impl Compiler<'_> {
    fn node(&self, expr: &Expr) -> Node {
        match expr {
            Expr::Unit(_) => Node::Unit,
            Expr::BoolConstant(value, _) => Node::Bool(*value),
            Expr::IntegerConstant(value, _) => Node::Int(*value),
            Expr::FloatConstant(value, _) => Node::Float(**value),
            Expr::StringConstant(text, _) => Node::Text(text.clone()),
            Expr::Variable(variable, ..) if variable.2.is_empty() => self.variable(&variable.1),
            Expr::And(parts, _) => Node::And(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Or(parts, _) => Node::Or(parts.iter().map(|part| self.node(part)).collect()),
            Expr::FnCall(call, _) => self.call(call),
            Expr::Dot(chain, flags, _) if flags.is_empty() => self.dot(&chain.lhs, &chain.rhs),
            _ => Node::Ask,
        }
    }

    fn variable(&self, name: &str) -> Node {
        if self.params.iter().any(|param| param == name) || self.marks.iter().any(|(mark, _)| mark == name) {
            return Node::Ask;
        }
        if let Some((_, at)) = self.values.iter().rev().find(|(known, _)| known == name) {
            return Node::Local(*at);
        }
        let constant = symbols().chain(Severity::ALL.map(Severity::name)).any(|symbol| symbol == name);
        if constant { Node::Text(name.into()) } else { Node::Ask }
    }

    /// `e.field`, `w.name`, `s.field` of a remembered record, and the same behind `e.mark("…")`.
    fn dot(&self, lhs: &Expr, rhs: &Expr) -> Node {
        if let (Expr::Variable(..), Expr::Dot(rest, flags, _)) = (lhs, rhs)
            && flags.is_empty()
            && let Some(place) = self.mark_call(lhs, &rest.lhs)
        {
            return self.of_mark(place, &rest.rhs);
        }
        let (Expr::Variable(variable, ..), Expr::Property(property, _)) = (lhs, rhs) else { return Node::Ask };
        let (name, property) = (variable.1.as_str(), property.2.as_str());
        if let Some(place) = self.mark_named(name) {
            return self.of_mark(place, rhs);
        }
        if self.is_event(name) {
            return Selector::from_name(property).map_or(Node::Ask, |field| Node::Field(Place::Event, field));
        }
        let is_window = !self.is_local(name) && self.params.get(1).is_some_and(|param| param == name);
        let at = self.names.iter().position(|known| known == property).filter(|_| is_window);
        at.map_or(Node::Ask, Node::Window)
    }

    fn of_mark(&self, place: usize, property: &Expr) -> Node {
        let Expr::Property(property, _) = property else { return Node::Ask };
        match property.2.as_str() {
            MarkNames::MISSING => Node::Missing(place),
            MarkNames::AGE => Node::Age(place),
            name => Selector::from_name(name).map_or(Node::Ask, |field| Node::Field(Place::Mark(place), field)),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.marks.iter().chain(&self.values).any(|(known, _)| known == name)
    }

    fn is_event(&self, name: &str) -> bool {
        !self.is_local(name) && self.params.first().is_some_and(|param| param == name)
    }

    /// The marker that a variable stands for; a name that is used for something else as well is left alone.
    fn mark_named(&self, name: &str) -> Option<usize> {
        let mut places = self.marks.iter().filter(|(known, _)| known == name);
        let (_, place) = places.next()?;
        (places.next().is_none() && !self.values.iter().any(|(known, _)| known == name)).then_some(*place)
    }

    /// `e.mark("…")`
    fn mark(&self, expr: &Expr) -> Option<usize> {
        let Expr::Dot(chain, flags, _) = expr else { return None };
        if flags.is_empty() { self.mark_call(&chain.lhs, &chain.rhs) } else { None }
    }

    fn mark_call(&self, of: &Expr, call: &Expr) -> Option<usize> {
        let (Expr::Variable(event, ..), Expr::MethodCall(call, _)) = (of, call) else { return None };
        match call.args.as_slice() {
            [Expr::StringConstant(name, _)] if call.name == "mark" && self.is_event(&event.1) => {
                self.markers.iter().position(|marker| marker.name == *name)
            }
            _ => None,
        }
    }

    fn place(&self, expr: &Expr) -> Option<Place> {
        if let Some(place) = self.mark(expr) {
            return Some(Place::Mark(place));
        }
        let Expr::Variable(variable, ..) = expr else { return None };
        if self.is_event(&variable.1) {
            return Some(Place::Event);
        }
        self.mark_named(&variable.1).map(Place::Mark)
    }

    fn call(&self, call: &FnCallExpr) -> Node {
        let places = || match call.args.as_slice() {
            [a, b] => self.place(a).zip(self.place(b)),
            _ => None,
        };
        match (call.is_operator_call(), call.name.as_str(), call.args.as_slice()) {
            (true, "!", [inner]) => Node::Not(Box::new(self.node(inner))),
            (true, name, [a, b]) => {
                let operator = match name {
                    "==" => Operator::Equal,
                    "!=" => Operator::NotEqual,
                    "<" => Operator::Less,
                    "<=" => Operator::LessOrEqual,
                    ">" => Operator::Greater,
                    ">=" => Operator::GreaterOrEqual,
                    "+" => Operator::Plus,
                    "-" => Operator::Minus,
                    "*" => Operator::Times,
                    _ => return Node::Ask,
                };
                Node::Binary(operator, Box::new((self.node(a), self.node(b))))
            }
            (false, "distance_km", _) => places().map_or(Node::Ask, |(a, b)| Node::Distance(a, b)),
            (false, "speed_kmh", _) => places().map_or(Node::Ask, |(a, b)| Node::Speed(a, b)),
            _ => Node::Ask,
        }
    }
}

/// What a function is asked about.
#[derive(Clone, Copy)]
struct About<'a> {
    record: &'a Owned,
    subject: &'a Subject<'a>,
    marks: &'a Marks,
    values: &'a [Measured],
}

impl<'a> About<'a> {
    fn value(&self, node: &'a Node, locals: &[Val<'a>]) -> Option<Val<'a>> {
        Some(match node {
            Node::Ask => return None,
            Node::Unit => Val::Unit,
            Node::Bool(value) => Val::Bool(*value),
            Node::Int(value) => Val::Int(*value),
            Node::Float(value) => Val::Float(*value),
            Node::Text(text) => Val::Text(text),
            Node::Field(Place::Event, field) => seen(self.subject.get(field))?,
            Node::Field(Place::Mark(place), field) => seen(self.marks.peek(*place)?.value(field))?,
            Node::Missing(place) => Val::Bool(self.marks.peek(*place)?.age().is_none()),
            Node::Age(place) => match self.marks.peek(*place)?.age() {
                None => Val::Unit,
                Some(age) if age % 1_000_000 == 0 => Val::Int(age / 1_000_000),
                Some(age) => Val::Float(age as f64 / 1e6),
            },
            Node::Window(at) => match self.values.get(*at)? {
                Measured::None => Val::Unit,
                Measured::Whole(number) => Val::Int(*number),
                Measured::Float(number) => Val::Float(*number),
                Measured::Text(text) => Val::Text(clip(text, LONGEST_FIELD)),
                Measured::Bool(value) => Val::Bool(*value),
            },
            Node::Local(at) => *locals.get(*at)?,
            Node::Distance(a, b) => travel::distance(&self.spot(*a)?, &self.spot(*b)?).map_or(Val::Unit, Val::Float),
            Node::Speed(a, b) => travel::speed(&self.spot(*a)?, &self.spot(*b)?).map_or(Val::Unit, Val::Float),
            Node::Not(inner) => match self.value(inner, locals)? {
                Val::Bool(value) => Val::Bool(!value),
                _ => return None,
            },
            Node::And(parts) => self.until(parts, false, locals)?,
            Node::Or(parts) => self.until(parts, true, locals)?,
            Node::Binary(operator, sides) => {
                operator.of(self.value(&sides.0, locals)?, self.value(&sides.1, locals)?)?
            }
        })
    }

    /// The first part that is `end` ends it.
    fn until(&self, parts: &'a [Node], end: bool, locals: &[Val<'a>]) -> Option<Val<'a>> {
        for part in parts {
            match self.value(part, locals)? {
                Val::Bool(value) if value == end => return Some(Val::Bool(end)),
                Val::Bool(_) => {}
                _ => return None,
            }
        }
        Some(Val::Bool(!end))
    }

    fn spot(&self, place: Place) -> Option<Spot<'a>> {
        match place {
            Place::Event => Some(Spot::Event(self.record, self.subject)),
            Place::Mark(at) => self.marks.peek(at).map(Spot::Mark),
        }
    }
}

/// Where something happened.
enum Spot<'a> {
    Event(&'a Owned, &'a Subject<'a>),
    Mark(&'a Sighting),
}

impl Somewhere for Spot<'_> {
    fn number(&self, field: Field) -> Option<f64> {
        let field = Selector::Field(field);
        travel::number(match self {
            Self::Event(_, subject) => subject.get(&field),
            Self::Mark(sighting) => sighting.value(&field),
        })
    }

    fn moment(&self) -> Option<i64> {
        match self {
            Self::Event(record, _) => Some(record.time),
            Self::Mark(sighting) => sighting.time(),
        }
    }
}

/// A field's value, as functions see it; `None` for arrays and maps.
fn seen(value: Value<'_>) -> Option<Val<'_>> {
    Some(match value {
        Value::Null => Val::Unit,
        Value::Text(text) => Val::Text(clip(text, LONGEST_FIELD)),
        Value::Symbol(symbol) => Val::Text(symbol),
        Value::Long(number) => Val::Int(number),
        Value::Micros(moment) => Val::Int(moment.millis()),
        Value::Double(number) => Val::Float(number),
        Value::Bool(value) => Val::Bool(value),
        Value::Texts(_) | Value::Map(_) => return None,
    })
}

impl Operator {
    fn of<'a>(self, a: Val<'a>, b: Val<'a>) -> Option<Val<'a>> {
        Some(match self {
            Self::Equal => Val::Bool(same(a, b)),
            Self::NotEqual => Val::Bool(!same(a, b)),
            Self::Plus | Self::Minus | Self::Times => {
                let (Val::Int(a), Val::Int(b)) = (a, b) else { return None };
                Val::Int(match self {
                    Self::Plus => a.checked_add(b)?,
                    Self::Minus => a.checked_sub(b)?,
                    _ => a.checked_mul(b)?,
                })
            }
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => {
                let order = match (a, b) {
                    (Val::Int(a), Val::Int(b)) => a.cmp(&b),
                    (Val::Int(a), Val::Float(b)) => (a as f64).partial_cmp(&b)?,
                    (Val::Float(a), Val::Int(b)) => a.partial_cmp(&(b as f64))?,
                    (Val::Float(a), Val::Float(b)) => a.partial_cmp(&b)?,
                    _ => return None,
                };
                Val::Bool(match self {
                    Self::Less => order == Ordering::Less,
                    Self::LessOrEqual => order != Ordering::Greater,
                    Self::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                })
            }
        })
    }
}

/// `==`: values of different types are not equal, but numbers are compared as numbers.
fn same(a: Val<'_>, b: Val<'_>) -> bool {
    match (a, b) {
        (Val::Int(a), Val::Float(b)) | (Val::Float(b), Val::Int(a)) => a as f64 == b,
        (a, b) => a == b,
    }
}
