//! What Rhai itself lets pass: misspelt fields, functions and variables, found by walking the syntax tree.

use super::{header::symbols, severity::Severity, subject::Selector, suggest::hint};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};
use std::collections::BTreeMap;

/// The functions of a rule that are called by name, each with (e, w).
pub(super) const ENTRIES: [&str; 4] = ["decide", "severity", "title", "context"];

/// Names that `e` has beside the fields.
pub(super) const VIEW_NAMES: [&str; 3] = ["position", "partition", "offset"];

/// What functions may call; operators apart.
pub(super) const CALLABLE: [&str; 44] = [
    "abs",
    "attr",
    "ceiling",
    "contains",
    "distance_km",
    "ends_with",
    "floor",
    "get",
    "in_list",
    "index_of",
    "int",
    "is_empty",
    "is_even",
    "is_odd",
    "is_zero",
    "keys",
    "len",
    "mark",
    "max",
    "min",
    "parse_float",
    "parse_int",
    "push",
    "round",
    "set",
    "sign",
    "similarity",
    "speed_kmh",
    "split",
    "starts_with",
    "sqrt",
    "sub_string",
    "to_float",
    "to_int",
    "to_lower",
    "to_string",
    "to_upper",
    "trim",
    "type_of",
    "values",
    "number",
    "lower",
    "hour",
    "weekday",
];

/// What headers may call.
const HEADER_CALLABLE: [&str; 34] = [
    "rule",
    "attr",
    "count",
    "distinct",
    "max_per",
    "one_of",
    "in_list",
    "exists",
    "matches",
    "contains",
    "marker",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "rate",
    "avg",
    "list",
    "count_if",
    "distinct_if",
    "min_per",
    "few_per",
    "present",
    "span",
    "len",
    "number",
    "hour",
    "weekday",
    "age",
    "lower",
    "starts_with",
    "ends_with",
    "matches_any_case",
];

/// A note at its place.
pub(super) type Note = (Position, String);

/// Where the keys of the header stand.
pub(super) fn header_places(ast: &AST) -> BTreeMap<String, Position> {
    let mut places = BTreeMap::new();
    ast.clone_statements_only().walk(&mut |path| {
        if let Some(call) = path.last().and_then(call_of)
            && call.name == "rule"
            && let Some(Expr::Map(map, _)) = call.args.get(1)
        {
            for (key, value) in &map.0 {
                places.insert(key.name.to_string(), key.pos);
                if let Expr::Map(inner, _) = value {
                    places.extend(inner.0.iter().map(|(k, _)| (format!("{}.{}", key.name, k.name), k.pos)));
                }
            }
        }
        true
    });
    places
}

/// A call, as expression or as statement.
pub(super) fn call_of<'a>(node: &'a ASTNode<'_>) -> Option<&'a FnCallExpr> {
    match node {
        ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _)) => {
            Some(call)
        }
        _ => None,
    }
}

/// What is wrong in the header, and the names in it that nothing is known by. `fatal` says that it cannot be run.
pub(super) struct HeaderLint {
    /// What is wrong.
    pub notes: Vec<Note>,
    /// Variables that do not exist.
    pub unknown: Vec<String>,
    /// Running it would only fail.
    pub fatal: bool,
}

/// Checks the names of a header.
pub(super) fn header(ast: &AST) -> HeaderLint {
    let mut lint = HeaderLint { notes: Vec::new(), unknown: Vec::new(), fatal: false };
    ast.clone_statements_only().walk(&mut |path| {
        let Some(node) = path.last() else { return true };
        match node {
            ASTNode::Expr(Expr::Variable(variable, short, at)) if variable.0.is_none() && short.is_none() => {
                let name = variable.1.as_str();
                if Selector::from_name(name).is_none() && !is_constant(name) {
                    let near = hint(name, Selector::names().chain(symbols()).chain(Severity::ALL.map(Severity::name)));
                    lint.notes.push((*at, format!("`{name}` is no field and no symbol{near}")));
                    lint.unknown.push(name.into());
                }
            }
            ASTNode::Expr(Expr::And(_, at) | Expr::Or(_, at)) => {
                lint.notes.push((*at, "a header joins tests with & and |, not with && and ||".into()));
                lint.fatal = true;
            }
            ASTNode::Expr(Expr::Property(property, at)) => {
                let near = hint(&property.2, HEADER_CALLABLE);
                lint.notes.push((*at, format!("fields have no property `{}`{near}", property.2)));
                lint.fatal = true;
            }
            _ => {
                if let Some(call) = call_of(node)
                    && !call.is_operator_call()
                    && !HEADER_CALLABLE.contains(&call.name.as_str())
                {
                    let near = hint(&call.name, HEADER_CALLABLE);
                    lint.notes.push((node.position(), format!("headers have no function `{}`{near}", call.name)));
                    lint.fatal = true;
                }
            }
        }
        true
    });
    lint
}

fn is_constant(name: &str) -> bool {
    symbols().any(|symbol| symbol == name) || Severity::ALL.iter().any(|severity| severity.name() == name)
}

/// Checks the functions of a rule: their names and parameters, and every name in them. `window` are the names that `w`
/// has.
pub(super) fn functions(ast: &AST, window: &[&str]) -> Vec<Note> {
    let mut notes = Vec::new();
    let defined: Vec<(String, Vec<String>)> =
        ast.iter_functions().map(|f| (f.name.to_owned(), f.params.iter().map(|p| (*p).to_owned()).collect())).collect();
    let mut called = Vec::new();
    for (name, params) in &defined {
        let body = only(ast, name, params.len());
        let entry = ENTRIES.contains(&name.as_str());
        let at = body_position(&body);
        if entry && params.len() != 2 {
            notes.push((at, format!("fn {name} takes (e, w): the event and the values of the window")));
        }
        let view = Views { event: param(entry, params, 0, "e"), window: param(entry, params, 1, "w"), names: window };
        body.walk(&mut |path| {
            if let Some(node) = path.last() {
                node_of_function(node, &view, &defined, &mut called, &mut notes);
            }
            true
        });
    }
    for (name, params) in &defined {
        if !ENTRIES.contains(&name.as_str()) && !called.contains(name) {
            let body = only(ast, name, params.len());
            let near = hint(name, ENTRIES);
            notes.push((body_position(&body), format!("fn {name} is never called{near}")));
        }
    }
    notes
}

/// The function of this name and so many parameters, alone. (`clone_functions_only_filtered` of Rhai 1.27 does not look
/// at its filter.)
pub(super) fn only(ast: &AST, name: &str, arity: usize) -> AST {
    let mut one = ast.clone_functions_only();
    one.retain_functions(|_, _, other, params| other == name && params == arity);
    one
}

/// Where the body of the only function begins.
fn body_position(body: &AST) -> Position {
    let mut at = Position::NONE;
    body.walk(&mut |path| {
        at = path.first().map_or(Position::NONE, ASTNode::position);
        false
    });
    at
}

/// The name under which a function sees the event or the window.
fn param<'a>(entry: bool, params: &'a [String], place: usize, usual: &'a str) -> &'a str {
    if entry { params.get(place).map_or(usual, String::as_str) } else { usual }
}

/// What a function calls `e` and `w`, and what `w` has.
struct Views<'a> {
    event: &'a str,
    window: &'a str,
    names: &'a [&'a str],
}

fn node_of_function(
    node: &ASTNode<'_>,
    view: &Views<'_>,
    defined: &[(String, Vec<String>)],
    called: &mut Vec<String>,
    notes: &mut Vec<Note>,
) {
    match node {
        ASTNode::Expr(Expr::Variable(variable, short, at)) if variable.0.is_none() && short.is_none() => {
            let name = variable.1.as_str();
            if !is_constant(name) {
                let near = if Selector::from_name(name).is_some() {
                    format!(": write `{}.{name}`", view.event)
                } else {
                    hint(name, symbols().chain(Severity::ALL.map(Severity::name)))
                };
                notes.push((*at, format!("there is no variable `{name}`{near}")));
            }
        }
        ASTNode::Expr(Expr::Dot(chain, ..)) => {
            if let Expr::Variable(variable, ..) = &chain.lhs
                && let Some((name, at)) = first_property(&chain.rhs)
            {
                property(variable.1.as_str(), name, at, view, notes);
            }
        }
        ASTNode::Stmt(Stmt::Import(_, at) | Stmt::Export(_, at)) => {
            notes.push((*at, "rules stand alone: import and export are not available".into()));
        }
        _ => {
            let Some(call) = call_of(node) else { return };
            if call.is_operator_call() {
                return;
            }
            called.push(call.name.to_string());
            if !CALLABLE.contains(&call.name.as_str()) && !defined.iter().any(|(name, _)| name == call.name.as_str()) {
                let near = hint(&call.name, CALLABLE.into_iter().chain(defined.iter().map(|(name, _)| name.as_str())));
                notes.push((node.position(), format!("there is no function `{}`{near}", call.name)));
            }
        }
    }
}

/// The first property behind a dot: `user` of `e.user` and of `e.user.len()`.
pub(super) fn first_property(rhs: &Expr) -> Option<(&str, Position)> {
    match rhs {
        Expr::Property(property, at) => Some((&property.2, *at)),
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => first_property(&chain.lhs),
        _ => None,
    }
}

fn property(variable: &str, name: &str, at: Position, view: &Views<'_>, notes: &mut Vec<Note>) {
    if variable == view.event && Selector::from_name(name).is_none() && !VIEW_NAMES.contains(&name) {
        let near = hint(name, Selector::names().chain(VIEW_NAMES));
        notes.push((at, format!("events have no field `{name}`{near}")));
    } else if variable == view.window && !view.names.contains(&name) {
        let near = hint(name, view.names.iter().copied());
        let known = if view.names.is_empty() { "the rule has no agg".into() } else { view.names.join(", ") };
        notes.push((at, format!("the window has no value `{name}` ({known}){near}")));
    }
}
