//! Whether `decide` can turn from true to false as more events come. Then it must not be asked at once: a bound from
//! above holds at the 25th event of an attack that breaks it at the 30th.

use super::{
    lint::Note,
    measure::{Agg, Measure},
};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

/// What more events do to a value: a truth value grows when it turns from false to true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trend {
    /// Nothing.
    Still,
    Grows,
    Falls,
    /// The one or the other.
    Mixed,
    /// This check cannot tell.
    Unknown,
}

impl Trend {
    fn and(self, other: Self) -> Self {
        use Trend::{Mixed, Still, Unknown};
        match (self, other) {
            (Unknown, _) | (_, Unknown) => Unknown,
            (Still, trend) | (trend, Still) => trend,
            (a, b) if a == b => a,
            _ => Mixed,
        }
    }

    fn turned(self) -> Self {
        match self {
            Self::Grows => Self::Falls,
            Self::Falls => Self::Grows,
            other => other,
        }
    }

    /// Of a value that depends on this one in a way that has no direction.
    fn any_way(self) -> Self {
        if matches!(self, Self::Grows | Self::Falls) { Self::Mixed } else { self }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Falls | Self::Mixed)
    }
}

/// What is known while a function is read.
struct Reading<'a> {
    window: &'a str,
    aggs: &'a [Agg],
    variables: Vec<(String, Trend)>,
    /// Comparisons that may turn false, and all others that depend on the window.
    bad: Vec<Position>,
    others: Vec<Position>,
}

/// Notes a `decide` that can turn from true to false; only where that is certain.
pub(super) fn check(ast: &AST, aggs: &[Agg]) -> Option<Note> {
    let decide = ast.iter_functions().find(|function| function.name == "decide" && function.params.len() == 2)?;
    let window = (*decide.params.get(1)?).to_owned();
    let body = super::lint::only(ast, "decide", 2);
    let mut statements: Vec<Stmt> = Vec::new();
    body.walk(&mut |path| {
        if let [ASTNode::Stmt(statement)] = path {
            statements.push((*statement).clone());
        }
        true
    });
    let mut reading = Reading { window: &window, aggs, variables: Vec::new(), bad: Vec::new(), others: Vec::new() };
    if !reading.block(&statements).is_bad() {
        return None;
    }
    let at = reading.bad.first().or(reading.others.first()).copied().unwrap_or(Position::NONE);
    let why = "this may be true now and false when more events have come, so that the rule fires on what it should not";
    let mend = "add settle: \"2m\", so that it is asked once the shape has settled, or turn the bound round";
    Some((at, format!("{why}: {mend}")))
}

impl Reading<'_> {
    /// The value of the last statement.
    fn block(&mut self, statements: &[Stmt]) -> Trend {
        let Some((last, before)) = statements.split_last() else { return Trend::Still };
        for statement in before {
            match statement {
                Stmt::Var(variable, ..) => {
                    let trend = self.expression(&variable.1);
                    self.variables.push((variable.0.name.to_string(), trend));
                }
                Stmt::Noop(_) => {}
                // an early return, or a variable that changes
                _ => return Trend::Unknown,
            }
        }
        self.statement(last)
    }

    fn statement(&mut self, statement: &Stmt) -> Trend {
        match statement {
            Stmt::Expr(expression) | Stmt::Return(Some(expression), ..) => self.expression(expression),
            Stmt::FnCall(call, at) => self.call(call, *at),
            Stmt::Block(block) => self.block(block.statements()),
            Stmt::If(flow, _) => {
                let condition = self.expression(&flow.expr);
                let known = self.variables.len();
                let (yes, no) = (self.block(flow.body.statements()), self.block(flow.branch.statements()));
                self.variables.truncate(known);
                match (constant(flow.body.statements()), constant(flow.branch.statements())) {
                    (Some(true), _) => condition.and(no),
                    (Some(false), _) => condition.turned().and(no),
                    (_, Some(false)) => condition.and(yes),
                    (_, Some(true)) => condition.turned().and(yes),
                    _ if condition == Trend::Still => yes.and(no),
                    _ => Trend::Unknown,
                }
            }
            _ => Trend::Unknown,
        }
    }

    fn expression(&mut self, expression: &Expr) -> Trend {
        match expression {
            Expr::Variable(variable, ..) => {
                let known = self.variables.iter().rev().find(|(name, _)| *name == variable.1.as_str());
                known.map_or(if variable.1 == self.window { Trend::Unknown } else { Trend::Still }, |(_, trend)| *trend)
            }
            Expr::And(parts, _) | Expr::Or(parts, _) => {
                parts.iter().fold(Trend::Still, |trend, part| trend.and(self.expression(part)))
            }
            Expr::Stmt(block) => self.block(block.statements()),
            Expr::FnCall(call, at) => self.call(call, *at),
            Expr::Dot(chain, ..) => match &chain.lhs {
                Expr::Variable(variable, ..) if variable.1 == self.window => self.value(&chain.rhs),
                subject => {
                    let subject = self.expression(subject);
                    if subject == Trend::Still { self.method(&chain.rhs) } else { Trend::Unknown }
                }
            },
            constant if constant.is_constant() => Trend::Still,
            _ => Trend::Unknown,
        }
    }

    /// What stands behind `w.`: a value, or a value and a method of it.
    fn value(&mut self, rhs: &Expr) -> Trend {
        match rhs {
            Expr::Property(property, _) => self.aggregate(&property.2),
            Expr::Dot(chain, ..) => match (&chain.lhs, &chain.rhs) {
                (Expr::Property(property, _), Expr::MethodCall(call, _)) if call.args.is_empty() => {
                    let keeps = ["to_float", "to_int", "floor", "ceiling", "round"].contains(&call.name.as_str());
                    let trend = self.aggregate(&property.2);
                    if keeps || trend == Trend::Still { trend } else { Trend::Unknown }
                }
                _ => Trend::Unknown,
            },
            _ => Trend::Unknown,
        }
    }

    /// A method of something still.
    fn method(&mut self, rhs: &Expr) -> Trend {
        match rhs {
            Expr::Property(..) => Trend::Still,
            Expr::MethodCall(call, _) => {
                let still = call.args.iter().all(|argument| self.expression(argument) == Trend::Still);
                if still { Trend::Still } else { Trend::Unknown }
            }
            Expr::Dot(chain, ..) => {
                let first = self.method(&chain.lhs);
                if first == Trend::Still { self.method(&chain.rhs) } else { first }
            }
            _ => Trend::Unknown,
        }
    }

    fn aggregate(&self, name: &str) -> Trend {
        match self.aggs.iter().find(|agg| agg.name == name).map(|agg| agg.measure) {
            None => Trend::Unknown,
            // asked at the time of each event, and meant so: "the last one is a success"
            Some(Measure::First(..) | Measure::Last(..)) => Trend::Still,
            Some(Measure::Min(_)) => Trend::Falls,
            Some(measure) if measure.may_fall() => Trend::Mixed,
            Some(_) => Trend::Grows,
        }
    }

    fn call(&mut self, call: &FnCallExpr, at: Position) -> Trend {
        let of: Vec<Trend> = call.args.iter().map(|argument| self.expression(argument)).collect();
        if !call.is_operator_call() {
            return if of.iter().all(|trend| *trend == Trend::Still) { Trend::Still } else { Trend::Unknown };
        }
        let trend = match (call.name.as_str(), of.as_slice()) {
            ("!" | "-", [a]) => return a.turned(),
            ("+" | "*", [a, b]) => return a.and(*b),
            ("-" | "/", [a, b]) => return a.and(b.turned()),
            (">" | ">=", [a, b]) => a.and(b.turned()),
            ("<" | "<=", [a, b]) => a.turned().and(*b),
            ("==" | "!=", [a, b]) => a.and(*b).any_way(),
            _ => return if of.iter().all(|trend| *trend == Trend::Still) { Trend::Still } else { Trend::Unknown },
        };
        match trend {
            Trend::Falls | Trend::Mixed => self.bad.push(at),
            Trend::Grows => self.others.push(at),
            Trend::Still | Trend::Unknown => {}
        }
        trend
    }
}

/// The truth value that a block is.
fn constant(statements: &[Stmt]) -> Option<bool> {
    match statements {
        [Stmt::Expr(expression)] => match &**expression {
            Expr::BoolConstant(value, _) => Some(*value),
            _ => None,
        },
        _ => None,
    }
}
