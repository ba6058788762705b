//! What `decide` says where that needs no script engine: most gates that open are judged "no" by a comparison or two.
//!
//! `fn decide(e, w)` of plain comparisons is read once into terms. Only a "no" counts, and only where every term up to
//! it could be worked out here; for all else, and for every "yes", the function itself is called. So this may never say
//! no where the function would say yes or fail: terms are worked out in the function's own order, as far as it would
//! come, and what is not known to give what Rhai gives is given up (`None`). The tests compare both.

use super::{
    header::symbols,
    lint,
    markers::{MarkNames, Marker},
    measure::Measured,
    memory::Memory,
    script::{LONGEST_FIELD, clip},
    severity::Severity,
    spec::Spec,
    subject::{Owned, Selector, Subject},
    travel::{self, Somewhere},
};
use crate::event::{Field, Value};
use rhai::{AST, ASTFlags, ASTNode, Expr, FnCallExpr, ImmutableString, Stmt};
use std::{cell::OnceCell, cmp::Ordering};

/// Variables that a function may have here.
const MOST_LETS: usize = 8;
/// Markers that it may ask here.
const MOST_MARKERS: usize = 8;

/// What is to be worked out.
#[derive(Debug)]
enum Term {
    /// Nobody knows here.
    Unknown,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(ImmutableString),
    /// A field of the event.
    Event(Selector),
    /// A field of what a marker remembers.
    Mark(usize, Selector),
    Missing(usize),
    Age(usize),
    Count(usize),
    /// A value of the window.
    Window(usize),
    /// What a variable holds.
    Let(usize),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Compare(Comparison, Box<(Self, Self)>),
    Arithmetic(char, Box<(Self, Self)>),
    Similarity(Box<(Self, Self)>),
    Distance(Party, Party),
    Speed(Party, Party),
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "==" => Self::Is,
            "!=" => Self::IsNot,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Is => order == Some(Ordering::Equal),
            Self::IsNot => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
        }
    }
}

/// Who is somewhere.
#[derive(Debug, Clone, Copy)]
enum Party {
    Event,
    Mark(usize),
}

/// What something is.
#[derive(Debug, Clone, Copy)]
enum Answer<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
}

impl<'a> Answer<'a> {
    /// A field, as scripts see it.
    fn of(value: Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(clip(text, LONGEST_FIELD)),
            Value::Symbol(symbol) => Self::Text(symbol),
            Value::Long(number) => Self::Int(number),
            Value::Micros(moment) => Self::Int(moment.millis()),
            Value::Double(number) => Self::Float(number),
            Value::Bool(value) => Self::Bool(value),
            Value::Texts(_) | Value::Map(_) => return None,
        })
    }

    fn float(self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(number as f64), // as Rhai does it
            Self::Float(number) => Some(number),
            _ => None,
        }
    }

    fn compare(self, how: Comparison, other: Self) -> Option<bool> {
        let order = match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Null, Self::Null) | (Self::Bool(_), Self::Bool(_)) => {
                let same = self.bool() == other.bool();
                match how {
                    Comparison::Is => return Some(same),
                    Comparison::IsNot => return Some(!same),
                    _ => return None,
                }
            }
            _ => match (self.float(), other.float()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                // of different kinds: never equal, and neither is less
                _ => None,
            },
        };
        Some(how.holds(order))
    }

    fn bool(self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }
}

/// What a marker says, without a copy of it.
pub(super) struct Glance<'a> {
    /// Microseconds from the remembered record to the judged one.
    pub age: i64,
    /// Microseconds since 1970.
    pub time: i64,
    /// How many there were.
    pub count: usize,
    pub memory: &'a Memory,
}

impl Somewhere for Glance<'_> {
    fn number(&self, field: Field) -> Option<f64> {
        travel::number(self.memory.get(&Selector::Field(field)))
    }

    fn moment(&self) -> Option<i64> {
        Some(self.time)
    }
}

impl Somewhere for Subject<'_> {
    fn number(&self, field: Field) -> Option<f64> {
        travel::number(self.get(&Selector::Field(field)))
    }

    fn moment(&self) -> Option<i64> {
        Some(self.time)
    }
}

/// What can be known about a case.
pub(super) struct Facts<'a, F> {
    subject: Subject<'a>,
    look: F,
    seen: [OnceCell<Option<Glance<'a>>>; MOST_MARKERS],
    values: &'a [Measured],
}

impl<'a, F: Fn(usize) -> Option<Glance<'a>>> Facts<'a, F> {
    /// A record, what the marker of a place says of it, and the values of the window.
    pub fn new(record: &'a Owned, look: F, values: &'a [Measured]) -> Self {
        Self { subject: record.subject(), look, seen: [const { OnceCell::new() }; MOST_MARKERS], values }
    }

    fn mark(&self, place: usize) -> Option<&Glance<'a>> {
        // a marker is looked up once, and only if the function comes to it
        self.seen.get(place)?.get_or_init(|| (self.look)(place)).as_ref()
    }
}

/// `decide` of a rule, as far as it can be worked out here.
#[derive(Debug)]
pub(super) struct Decide {
    lets: Vec<Term>,
    answer: Term,
}

impl Decide {
    /// Reads the function; `None` if there is nothing here that could refuse.
    pub fn of(functions: &AST, markers: &[Marker], spec: &Spec) -> Option<Self> {
        let params = functions.iter_functions().find(|f| f.name == "decide" && f.params.len() == 2)?.params;
        let &[event, window] = params.as_slice() else { return None };
        let body = lint::only(functions, "decide", 2);
        let mut statements: Vec<Stmt> = Vec::new();
        body.walk(&mut |path| {
            if let [ASTNode::Stmt(statement)] = path {
                statements.push((*statement).clone());
            }
            true
        });
        let last = statements.pop()?;
        let mut reader = Reader { event, window, markers, spec, names: Vec::new(), lets: Vec::new() };
        for statement in &statements {
            reader.variable(statement)?;
        }
        let answer = match &last {
            Stmt::Expr(expr) => reader.term(expr),
            Stmt::FnCall(call, _) => reader.call(call),
            _ => None,
        }?;
        Some(Self { lets: reader.lets, answer })
    }

    /// Whether the function says no, for certain.
    pub fn refuses<'a, F: Fn(usize) -> Option<Glance<'a>>>(&'a self, facts: &Facts<'a, F>) -> bool {
        let mut lets = [Answer::Null; MOST_LETS];
        for (at, term) in self.lets.iter().enumerate() {
            match answer(term, facts, &lets) {
                Some(value) => lets[at] = value,
                None => return false,
            }
        }
        matches!(answer(&self.answer, facts, &lets), Some(Answer::Bool(false)))
    }
}

fn answer<'a, F: Fn(usize) -> Option<Glance<'a>>>(
    term: &'a Term,
    facts: &Facts<'a, F>,
    lets: &[Answer<'a>; MOST_LETS],
) -> Option<Answer<'a>> {
    let both = |pair: &'a (Term, Term)| Some((answer(&pair.0, facts, lets)?, answer(&pair.1, facts, lets)?));
    Some(match term {
        Term::Unknown => return None,
        Term::Null => Answer::Null,
        Term::Bool(value) => Answer::Bool(*value),
        Term::Int(number) => Answer::Int(*number),
        Term::Float(number) => Answer::Float(*number),
        Term::Text(text) => Answer::Text(text),
        Term::Event(selector) => Answer::of(facts.event(selector))?,
        Term::Mark(place, selector) => match facts.mark(*place) {
            Some(glance) => Answer::of(glance.memory.get(selector))?,
            None => Answer::Null,
        },
        Term::Missing(place) => Answer::Bool(facts.mark(*place).is_none()),
        Term::Age(place) => match facts.mark(*place).map(|glance| glance.age) {
            None => Answer::Null,
            Some(age) if age % 1_000_000 == 0 => Answer::Int(age / 1_000_000),
            Some(age) => Answer::Float(age as f64 / 1e6),
        },
        Term::Count(place) => Answer::Int(i64::try_from(facts.mark(*place).map_or(0, |glance| glance.count)).ok()?),
        Term::Window(at) => match facts.values.get(*at)? {
            Measured::None => Answer::Null,
            Measured::Whole(number) => Answer::Int(*number),
            Measured::Float(number) => Answer::Float(*number),
            Measured::Text(text) => Answer::Text(clip(text, LONGEST_FIELD)),
            Measured::Bool(value) => Answer::Bool(*value),
        },
        Term::Let(at) => *lets.get(*at)?,
        Term::Not(term) => Answer::Bool(!answer(term, facts, lets)?.bool()?),
        Term::And(terms) => Answer::Bool(first(terms, false, |term| answer(term, facts, lets))?),
        Term::Or(terms) => Answer::Bool(first(terms, true, |term| answer(term, facts, lets))?),
        Term::Compare(how, pair) => {
            let (a, b) = both(pair)?;
            Answer::Bool(a.compare(*how, b)?)
        }
        Term::Arithmetic(sign, pair) => calculate(*sign, both(pair)?)?,
        Term::Similarity(pair) => match both(pair)? {
            (Answer::Text(a), Answer::Text(b)) => Answer::Float(travel::similarity(a, b)),
            (Answer::Null, Answer::Null | Answer::Text(_)) | (Answer::Text(_), Answer::Null) => Answer::Null,
            _ => return None,
        },
        Term::Distance(a, b) => facts.between(*a, *b, false).map_or(Answer::Null, Answer::Float),
        Term::Speed(a, b) => facts.between(*a, *b, true).map_or(Answer::Null, Answer::Float),
    })
}

/// The first of these that is `wanted`, in their order: what comes behind it is not asked, here as there.
fn first<'a>(terms: &'a [Term], wanted: bool, ask: impl Fn(&'a Term) -> Option<Answer<'a>>) -> Option<bool> {
    for term in terms {
        if ask(term)?.bool()? == wanted {
            return Some(wanted);
        }
    }
    Some(!wanted)
}

fn calculate<'a>(sign: char, pair: (Answer<'a>, Answer<'a>)) -> Option<Answer<'a>> {
    if let (Answer::Int(a), Answer::Int(b)) = pair {
        let number = match sign {
            '+' => a.checked_add(b),
            '-' => a.checked_sub(b),
            _ => a.checked_mul(b),
        };
        return number.map(Answer::Int);
    }
    let (a, b) = (pair.0.float()?, pair.1.float()?);
    Some(Answer::Float(match sign {
        '+' => a + b,
        '-' => a - b,
        _ => a * b,
    }))
}

impl<'a, F: Fn(usize) -> Option<Glance<'a>>> Facts<'a, F> {
    fn event(&self, selector: &Selector) -> Value<'a> {
        self.subject.get(selector)
    }

    fn between(&self, a: Party, b: Party, speed: bool) -> Option<f64> {
        let (a, b) = (self.party(a)?, self.party(b)?);
        if speed { travel::speed(a, b) } else { travel::distance(a, b) }
    }

    fn party(&self, party: Party) -> Option<&dyn Somewhere> {
        match party {
            Party::Event => Some(&self.subject),
            Party::Mark(place) => self.mark(place).map(|glance| glance as &dyn Somewhere),
        }
    }
}

/// What a variable of the function stands for.
#[derive(Clone, Copy)]
enum Bound {
    Mark(usize),
    Value(usize),
}

/// Reads `decide`.
struct Reader<'a> {
    event: &'a str,
    window: &'a str,
    markers: &'a [Marker],
    spec: &'a Spec,
    names: Vec<(ImmutableString, Bound)>,
    lets: Vec<Term>,
}

impl Reader<'_> {
    /// `let name = …;`
    fn variable(&mut self, statement: &Stmt) -> Option<()> {
        let Stmt::Var(var, ..) = statement else { return None };
        let bound = match self.marker(&var.1) {
            Some(place) => Bound::Mark(place),
            None => {
                let term = self.term(&var.1)?;
                self.lets.push(term);
                Bound::Value(self.lets.len() - 1)
            }
        };
        self.names.push((var.0.name.clone(), bound));
        (self.lets.len() <= MOST_LETS).then_some(())
    }

    fn bound(&self, name: &str) -> Option<Bound> {
        self.names.iter().rev().find(|(known, _)| known == name).map(|(_, bound)| *bound)
    }

    /// The place of the marker that `e.mark("name")`, or a variable that holds it, is about.
    fn marker(&self, expr: &Expr) -> Option<usize> {
        match (expr, chain(expr).as_slice()) {
            (Expr::Variable(variable, ..), _) => match self.bound(&variable.1)? {
                Bound::Mark(place) => Some(place),
                Bound::Value(_) => None,
            },
            (_, [Expr::Variable(e, ..), Expr::MethodCall(call, _)]) if self.is_event(&e.1) => self.called(call),
            _ => None,
        }
    }

    fn called(&self, call: &FnCallExpr) -> Option<usize> {
        let [Expr::StringConstant(name, _)] = call.args.as_slice() else { return None };
        let place = self.markers.iter().position(|marker| marker.name == *name)?;
        (call.name == "mark" && place < MOST_MARKERS).then_some(place)
    }

    /// A variable of this name may hide what it meant.
    fn is_event(&self, name: &str) -> bool {
        name == self.event && self.bound(name).is_none()
    }

    /// What cannot be worked out here is unknown: terms before it may still refuse.
    fn term(&self, expr: &Expr) -> Option<Term> {
        Some(match expr {
            Expr::Unit(_) => Term::Null,
            Expr::BoolConstant(value, _) => Term::Bool(*value),
            Expr::IntegerConstant(number, _) => Term::Int(*number),
            Expr::FloatConstant(number, _) => Term::Float(**number),
            Expr::StringConstant(text, _) => Term::Text(text.clone()),
            Expr::Variable(variable, ..) => match self.bound(&variable.1) {
                Some(Bound::Value(at)) => Term::Let(at),
                Some(Bound::Mark(_)) => return None,
                None => {
                    let mut known = symbols().chain(Severity::ALL.map(Severity::name));
                    let is_param = [self.event, self.window].contains(&variable.1.as_str());
                    Term::Text(known.find(|name| !is_param && *name == variable.1.as_str())?.into())
                }
            },
            Expr::And(terms, _) => Term::And(self.terms(terms)),
            Expr::Or(terms, _) => Term::Or(self.terms(terms)),
            Expr::FnCall(call, _) => return self.call(call),
            Expr::Dot(..) => return self.property(expr),
            _ => return None,
        })
    }

    fn terms(&self, terms: &[Expr]) -> Vec<Term> {
        terms.iter().map(|term| self.term(term).unwrap_or(Term::Unknown)).collect()
    }

    fn call(&self, call: &FnCallExpr) -> Option<Term> {
        if !call.namespace.is_empty() || call.capture_parent_scope {
            return None;
        }
        let pair = |a: &Expr, b: &Expr| Some(Box::new((self.term(a)?, self.term(b)?)));
        Some(match (call.name.as_str(), call.args.as_slice()) {
            ("!", [term]) => Term::Not(Box::new(self.term(term)?)),
            ("similarity", [a, b]) => Term::Similarity(pair(a, b)?),
            ("distance_km", [a, b]) => Term::Distance(self.party(a)?, self.party(b)?),
            ("speed_kmh", [a, b]) => Term::Speed(self.party(a)?, self.party(b)?),
            ("+" | "-" | "*", [a, b]) => Term::Arithmetic(call.name.chars().next()?, pair(a, b)?),
            (name, [a, b]) => Term::Compare(Comparison::of(name)?, pair(a, b)?),
            _ => return None,
        })
    }

    fn party(&self, expr: &Expr) -> Option<Party> {
        match expr {
            Expr::Variable(variable, ..) if self.is_event(&variable.1) => Some(Party::Event),
            expr => Some(Party::Mark(self.marker(expr)?)),
        }
    }

    /// `e.field`, `w.name`, `s.field` and `e.mark("name").field`.
    fn property(&self, expr: &Expr) -> Option<Term> {
        match chain(expr).as_slice() {
            [Expr::Variable(variable, ..), Expr::Property(property, _)] => {
                let (variable, name) = (variable.1.as_str(), property.2.as_str());
                match self.bound(variable) {
                    Some(Bound::Mark(place)) => remembered(place, name),
                    Some(Bound::Value(_)) => None,
                    None if variable == self.event => Some(Term::Event(Selector::from_name(name)?)),
                    None if variable == self.window => {
                        Some(Term::Window(self.spec.aggs.iter().position(|agg| agg.name == name)?))
                    }
                    None => None,
                }
            }
            [Expr::Variable(variable, ..), Expr::MethodCall(call, _), Expr::Property(property, _)]
                if self.is_event(&variable.1) =>
            {
                remembered(self.called(call)?, &property.2)
            }
            _ => None,
        }
    }
}

fn remembered(place: usize, name: &str) -> Option<Term> {
    Some(match name {
        MarkNames::MISSING => Term::Missing(place),
        MarkNames::AGE => Term::Age(place),
        MarkNames::COUNT => Term::Count(place),
        MarkNames::POSITION => return None,
        name => Term::Mark(place, Selector::from_name(name)?),
    })
}

/// The links of `a.b.c`; nothing if one of them is asked for only where it is set (`a?.b`).
fn chain(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Dot(_, flags, _) if flags.contains(ASTFlags::NEGATED) => Vec::new(),
        Expr::Dot(pair, ..) => {
            let (before, behind) = (chain(&pair.lhs), chain(&pair.rhs));
            if before.is_empty() || behind.is_empty() { Vec::new() } else { [before, behind].concat() }
        }
        expr => vec![expr],
    }
}
