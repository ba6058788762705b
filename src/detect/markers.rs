//! `marker("name", #{ when: …, key: […], ttl: "1h" })`: what a rule remembers of other events, as its header says it.

use super::{
    header::{FieldObject, PredObject},
    history::Keep,
    keys,
    predicate::Pred,
    spec::duration,
    subject::{Selector, Subject},
    suggest::hint,
};
use crate::event::{Field, FieldType};
use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, ImmutableString, Map, Position, Stmt};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Names that what a marker remembers has beside the fields.
pub(super) struct MarkNames;

impl MarkNames {
    pub const MISSING: &str = "missing";
    pub const AGE: &str = "age";
    pub const COUNT: &str = "count";
    pub const POSITION: &str = "position";
    pub const ALL: [&str; 4] = [Self::MISSING, Self::AGE, Self::COUNT, Self::POSITION];
}

/// How many markers one rule may have.
const MOST_MARKERS: usize = 16;
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const KEYS: [&str; 4] = ["when", "key", "of", "ttl"];

/// What a call of `marker(name, #{…})` said.
pub(super) struct RawMarker {
    /// The name.
    pub name: String,
    /// What stands in the braces.
    pub values: Map,
    /// Where the call stands.
    pub at: Position,
}

/// A marker, as its rule knows it.
#[derive(Debug, Clone)]
pub(super) struct Marker {
    /// By this name functions ask for it.
    pub name: ImmutableString,
    /// Which records it remembers.
    pub when: Pred,
    /// The fields of a remembered record under whose values it is remembered.
    of: Vec<Selector>,
    /// The fields of a judged record whose values are looked up.
    key: Vec<Selector>,
    /// How long.
    pub keep: Keep,
    /// The fields that its rule asks for.
    pub selectors: Arc<[Selector]>,
}

impl Marker {
    /// The fields under whose values a record is remembered.
    pub fn remembered_by(&self) -> &[Selector] {
        &self.of
    }

    /// What the state that answers a question of a judged record is called; false if the record lacks a field.
    pub fn name_for(&self, place: usize, subject: &Subject<'_>, name: &mut Vec<u8>) -> bool {
        name.clear();
        name.extend_from_slice(&Self::prefix(place));
        keys::append(&self.key, subject, name)
    }

    /// The fields whose values are looked up.
    pub fn looked_up_by(&self) -> &[Selector] {
        &self.key
    }

    /// Bytes before the canonical ones in what a marker's key is called.
    pub const PREFIX: usize = 5;

    /// No value of a key is so long that it begins like this: a rule's own keys are never taken for a marker's.
    pub fn prefix(place: usize) -> [u8; Self::PREFIX] {
        let [.., low] = place.to_be_bytes();
        [0xff, 0xff, 0xff, 0xff, low]
    }

    /// The canonical bytes in what a key is called.
    pub fn canonical(name: &[u8]) -> &[u8] {
        if Self::place_of(name).is_some() { name.get(Self::PREFIX..).unwrap_or_default() } else { name }
    }

    /// The place of the marker whose state has this name; `None` if it is no marker's.
    pub fn place_of(name: &[u8]) -> Option<usize> {
        name.strip_prefix(&[0xff; 4])?.first().map(|place| usize::from(*place))
    }
}

/// What the functions of a rule ask of its markers: only that is remembered.
pub(super) struct Wants {
    selectors: Arc<[Selector]>,
    counts: bool,
}

impl Wants {
    /// By the names that stand in the functions: more than is asked for, never less.
    pub fn of(functions: &AST) -> Self {
        let mut selectors: Vec<Selector> = Vec::new();
        let mut counts = false;
        let mut add = |selector: Selector| {
            if !selectors.contains(&selector) {
                selectors.push(selector);
            }
        };
        functions.walk(&mut |path| {
            match path.last() {
                Some(ASTNode::Expr(Expr::Property(property, _))) => {
                    counts |= property.2 == MarkNames::COUNT;
                    if let Some(selector) = Selector::from_name(&property.2) {
                        add(selector);
                    }
                }
                Some(node) => {
                    if let Some(call) = super::lint::call_of(node) {
                        match (call.name.as_str(), call.args.last()) {
                            ("attr", Some(Expr::StringConstant(name, _))) => {
                                add(Selector::Attribute(name.as_str().into()));
                            }
                            ("attr", _) => add(Selector::Field(Field::attributes)),
                            ("distance_km" | "speed_kmh", _) => {
                                [Field::lat, Field::long].into_iter().for_each(|field| add(Selector::Field(field)));
                            }
                            _ => {}
                        }
                    }
                }
                None => {}
            }
            true
        });
        Self { selectors: selectors.into(), counts }
    }
}

/// Where the keys of each marker stand, in the order in which the markers do.
pub(super) fn places(ast: &AST) -> Vec<BTreeMap<String, Position>> {
    let mut found = Vec::new();
    ast.clone_statements_only().walk(&mut |path| {
        if let Some(call) = path.last().and_then(super::lint::call_of)
            && call.name == "marker"
        {
            found.push(match call.args.get(1) {
                Some(Expr::Map(map, _)) => map.0.iter().map(|(key, _)| (key.name.to_string(), key.pos)).collect(),
                _ => BTreeMap::new(),
            });
        }
        true
    });
    found
}

/// Reads the markers of a rule. What is wrong goes to `notes`; then the rule must not be used.
pub(super) fn read(
    raw: Vec<RawMarker>,
    places: &[BTreeMap<String, Position>],
    wants: &Wants,
    wait: Option<i64>,
    notes: &mut Vec<(Position, String)>,
) -> Vec<Marker> {
    // where something is wrong already, what stands in its place must not be called wrong as well
    let clean = notes.is_empty();
    let mut markers: Vec<Marker> = Vec::new();
    if let Some(one) = raw.get(MOST_MARKERS) {
        notes.push((one.at, format!("a rule has at most {MOST_MARKERS} markers")));
    }
    for (number, one) in raw.into_iter().enumerate() {
        if !is_name(&one.name) {
            let message = format!("{:?} is no marker name: use letters, digits and _, at most 64", one.name);
            notes.push((one.at, message));
        }
        if markers.iter().any(|other| other.name == one.name.as_str()) {
            notes.push((one.at, format!("there are two markers called `{}`: rename one", one.name)));
        }
        let none = BTreeMap::new();
        let mut reader = Reader { places: places.get(number).unwrap_or(&none), raw: one, clean, notes };
        markers.extend(reader.read(wants, wait.unwrap_or(0)));
    }
    markers
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

struct Reader<'a> {
    raw: RawMarker,
    places: &'a BTreeMap<String, Position>,
    clean: bool,
    notes: &'a mut Vec<(Position, String)>,
}

impl Reader<'_> {
    fn note(&mut self, key: &str, message: String) {
        self.notes.push((self.places.get(key).copied().unwrap_or(self.raw.at), message));
    }

    fn read(&mut self, wants: &Wants, wait: i64) -> Option<Marker> {
        let before = self.notes.len();
        let unknown: Vec<String> =
            self.raw.values.keys().filter(|key| !KEYS.contains(&key.as_str())).map(ToString::to_string).collect();
        for key in unknown {
            self.note(&key, format!("markers have no key `{key}`{}", hint(&key, KEYS)));
        }
        let when = self.when();
        let key = self.required("key", "key: [session]").map(|value| self.fields("key", value)).unwrap_or_default();
        let of = match self.raw.values.get("of").cloned() {
            Some(value) => self.fields("of", value),
            None => key.clone(),
        };
        if of.len() != key.len() {
            let message = "`of` names the fields of the remembered event that `key` is compared with, one for each";
            self.note("of", message.into());
        }
        let ttl = self.ttl();
        let keep = Keep { ttl, wait, counts: wants.counts };
        let name = self.raw.name.as_str().into();
        (self.notes.len() == before).then(|| Marker { name, when, of, key, keep, selectors: wants.selectors.clone() })
    }

    fn required(&mut self, key: &str, example: &str) -> Option<Dynamic> {
        let value = self.raw.values.get(key).cloned();
        if value.is_none() {
            self.note(key, format!("the marker has no `{key}`: add {example}"));
        }
        value
    }

    fn when(&mut self) -> Pred {
        let Some(value) = self.required("when", "when: activity == STEP_UP & outcome == SUCCESS") else {
            return Pred::Const(false);
        };
        let Some(PredObject(pred)) = value.try_cast::<PredObject>() else {
            self.note("when", "`when` must be a test of fields, such as activity == STEP_UP".into());
            return Pred::Const(false);
        };
        if self.clean && pred.cells() == 0 {
            self.note("when", "`when` can never hold: no activity, outcome or kind of record satisfies it".into());
        }
        pred.ordered()
    }

    fn fields(&mut self, key: &str, value: Dynamic) -> Vec<Selector> {
        let fields: Option<Vec<Selector>> = value
            .into_array()
            .ok()
            .and_then(|fields| fields.into_iter().map(|f| f.try_cast::<FieldObject>().map(|f| f.0)).collect());
        let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
            self.note(key, format!("`{key}` must be an array of fields, such as [session]"));
            return Vec::new();
        };
        for field in &fields {
            if matches!(
                field.field_type(),
                FieldType::Texts | FieldType::Map | FieldType::OptDouble | FieldType::Micros
            ) {
                let name = field.name();
                self.note(key, format!("{name} cannot be a key: use a field that identifies someone or something"));
            }
        }
        fields
    }

    fn ttl(&mut self) -> i64 {
        let Some(value) = self.required("ttl", "ttl: \"1h\"") else { return 0 };
        let text = value.into_immutable_string().map(|text| text.to_string()).unwrap_or_default();
        let parsed = duration(&text).filter(|d| !d.is_zero() && *d <= LONGEST);
        if parsed.is_none() {
            self.note("ttl", format!("{text:?} is no duration: write 90s, 15m, 2h or 7d, at most 366d"));
        }
        parsed.and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0)
    }
}

/// Checks what the functions of a rule ask of its markers: names that do not exist, fields that do not, markers that
/// nobody asks for, and absence that is judged before everything has come (unless the rule `waits`).
pub(super) fn lint(ast: &AST, names: &[String], at: &[Position], waits: bool) -> Vec<(Position, String)> {
    let functions = ast.clone_functions_only();
    let mut notes = Vec::new();
    let mut asked: Vec<String> = Vec::new();
    functions.walk(&mut |path| {
        let Some(call) = path.last().and_then(super::lint::call_of).filter(|call| call.name == "mark") else {
            return true;
        };
        let place = path.last().map_or(Position::NONE, ASTNode::position);
        match call.args.last() {
            Some(Expr::StringConstant(name, at)) => {
                if !names.iter().any(|known| known == name.as_str()) {
                    let near = hint(name, names.iter().map(String::as_str));
                    let message = if names.is_empty() {
                        format!("there is no marker `{name}`: write marker(\"{name}\", #{{ … }}) before rule(…)")
                    } else {
                        format!("there is no marker `{name}`{near}")
                    };
                    notes.push((*at, message));
                }
                asked.push(name.to_string());
            }
            _ => notes.push((place, "mark() takes the name of a marker as it stands: e.mark(\"stepup_ok\")".into())),
        }
        true
    });
    for (name, at) in names.iter().zip(at) {
        if !asked.contains(name) {
            notes.push((*at, format!("nothing asks for marker `{name}`: use e.mark(\"{name}\") or remove it")));
        }
    }
    for function in functions.iter_functions().map(|f| (f.name.to_owned(), f.params.len())) {
        let body = super::lint::only(&functions, &function.0, function.1);
        fields(&body, &mut notes);
    }
    if !waits {
        let decide = super::lint::only(&functions, "decide", 2);
        if let Some(at) = absence(&decide) {
            let message = "absence without `wait`: what is missing now may only be late. Add wait: \"10s\" (with a \
                           window: settle), so that the rule is judged when all partitions have passed the event";
            notes.push((at, message.into()));
        }
    }
    notes
}

/// Misspelt fields of `let s = e.mark("…"); s.devcie` and of `e.mark("…").devcie`.
fn fields(body: &AST, notes: &mut Vec<(Position, String)>) {
    let mut views: Vec<String> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    body.walk(&mut |path| {
        if let Some(ASTNode::Stmt(Stmt::Var(var, ..))) = path.last() {
            let list = if is_mark(&var.1) { &mut views } else { &mut others };
            list.push(var.0.name.to_string());
        }
        true
    });
    // a name that also stands for something else may have other properties
    views.retain(|name| !others.contains(name));
    body.walk(&mut |path| {
        let Some(ASTNode::Expr(Expr::Dot(chain, ..))) = path.last() else { return true };
        let seen = match (&chain.lhs, &chain.rhs) {
            (Expr::Variable(variable, ..), rhs) if views.iter().any(|view| *view == variable.1.as_str()) => {
                super::lint::first_property(rhs)
            }
            (_, Expr::Dot(rest, ..)) if matches!(&rest.lhs, Expr::MethodCall(call, _) if call.name == "mark") => {
                super::lint::first_property(&rest.rhs)
            }
            _ => None,
        };
        if let Some((name, at)) = seen
            && Selector::from_name(name).is_none()
            && !MarkNames::ALL.contains(&name)
        {
            let near = hint(name, Selector::names().chain(MarkNames::ALL));
            notes.push((at, format!("what a marker remembers has no field `{name}`{near}")));
        }
        true
    });
}

/// Whether an expression is `….mark("…")` and nothing behind it.
fn is_mark(expr: &Expr) -> bool {
    match expr {
        Expr::Dot(chain, ..) => is_mark(&chain.rhs),
        Expr::MethodCall(call, _) | Expr::FnCall(call, _) => call.name == "mark",
        _ => false,
    }
}

/// Where `decide` says yes because something is missing. `!s.missing` does not, nor does `if s.missing { false }`.
fn absence(decide: &AST) -> Option<Position> {
    let mut excused: Vec<Position> = Vec::new();
    let mut missing: Vec<Position> = Vec::new();
    decide.walk(&mut |path| {
        let Some(node) = path.last() else { return true };
        match node {
            ASTNode::Stmt(Stmt::If(flow, _)) if says_no(flow.body.statements()) => {
                positions(&flow.expr, &mut excused);
            }
            ASTNode::Expr(Expr::Property(property, at)) if property.2 == MarkNames::MISSING => missing.push(*at),
            _ => {
                if let Some(call) = super::lint::call_of(node).filter(|call| is_denial(call)) {
                    call.args.iter().for_each(|inner| positions(inner, &mut excused));
                }
            }
        }
        true
    });
    missing.into_iter().find(|at| !excused.contains(at))
}

/// `!x`, `x == false`, `x != true`
fn is_denial(call: &FnCallExpr) -> bool {
    let has =
        |wanted: bool| call.args.iter().any(|arg| matches!(arg, Expr::BoolConstant(value, _) if *value == wanted));
    match call.name.as_str() {
        "!" => true,
        "==" => has(false),
        "!=" => has(true),
        _ => false,
    }
}

/// Where `missing` stands in an expression, other than behind a further `!`.
fn positions(expr: &Expr, found: &mut Vec<Position>) {
    match expr {
        Expr::Property(property, at) if property.2 == MarkNames::MISSING => found.push(*at),
        Expr::Dot(chain, ..) => positions(&chain.rhs, found),
        Expr::And(parts, _) | Expr::Or(parts, _) => parts.iter().for_each(|part| positions(part, found)),
        _ => {}
    }
}

/// Whether a block does nothing but say false.
fn says_no(block: &[Stmt]) -> bool {
    let no = |expr: &Expr| matches!(expr, Expr::BoolConstant(false, _));
    match block {
        [Stmt::Expr(expr)] => no(expr),
        [Stmt::Return(Some(expr), ..)] => no(expr),
        _ => false,
    }
}
