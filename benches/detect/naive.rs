//! The same detections as somebody would write them who had Rhai alone: one script a rule, each called on every event.

use authseal::{
    event::{AuthEvent, Field, Value},
    record::Outcome,
};
use rhai::{AST, CallFnOptions, Dynamic, Engine, ImmutableString, Map, OptimizationLevel, Scope};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

/// When each script last found something, by script and key.
type Found = Arc<Mutex<HashMap<(String, String), i64>>>;

struct Script {
    name: String,
    ast: AST,
    /// #{ keys: #{…}, calls: n }
    state: RefCell<Dynamic>,
}

/// All scripts, with what they remember.
pub struct Naive {
    engine: Engine,
    scripts: Vec<Script>,
    found: Found,
    /// How many findings there were.
    pub findings: u64,
}

impl Naive {
    /// Compiles `benches/naive/auth_*.rhai`, each with the helpers of `lib.rhai`, in the order of their names.
    pub fn new(root: &Path) -> Self {
        let mut engine = Engine::new();
        engine.set_optimization_level(OptimizationLevel::Full);
        let found = Found::default();
        host(&mut engine, root, &found);
        let folder = root.join("benches/naive");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a script");
        let library = read("lib.rhai");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("benches/naive")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.starts_with("auth_"))
            .collect();
        names.sort();
        let scripts = names.iter().map(|name| {
            let source = format!("{library}\n{}", read(name));
            let ast = engine.compile(source).unwrap_or_else(|error| panic!("{name}: {error}"));
            let state = Map::from([("keys".into(), Map::new().into()), ("calls".into(), 0_i64.into())]);
            let name = name.trim_end_matches(".rhai").to_owned();
            Script { name, ast: ast.clone_functions_only(), state: RefCell::new(state.into()) }
        });
        let scripts = scripts.collect();
        Self { engine, scripts, found, findings: 0 }
    }

    /// How many scripts there are.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether a script has found something under this key.
    pub fn has_found(&self, script: &str, key: &str) -> bool {
        self.found.lock().expect("no panic").contains_key(&(script.into(), key.into()))
    }

    /// Asks every script about an event.
    pub fn judge(&mut self, outcome: &Outcome) {
        let Outcome::Event(event) = outcome else { return };
        // made once and shared: a copy for every script would cost more than the scripts
        let map = Dynamic::from_map(map(event)).into_shared();
        for script in &self.scripts {
            let mut state = script.state.borrow_mut();
            let options = CallFnOptions::new().eval_ast(false).rewind_scope(true).bind_this_ptr(&mut state);
            let answer: Dynamic = self
                .engine
                .call_fn_with_options(options, &mut Scope::new(), &script.ast, "judge", (map.clone(),))
                .unwrap_or_else(|error| panic!("{}: {error}", script.name));
            if let Ok(key) = answer.into_string() {
                self.findings += 1;
                self.found.lock().expect("no panic").insert((script.name.clone(), key), event.time.millis());
            }
        }
    }
}

/// What the host lends the scripts: lists, what other scripts found, and how like two strings are.
fn host(engine: &mut Engine, root: &Path, found: &Found) {
    let mut lists: HashMap<String, HashSet<String>> = HashMap::new();
    for entry in fs::read_dir(root.join("rules/lists")).expect("rules/lists") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a list");
        let entries = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned);
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        lists.insert(name.into(), entries.collect());
    }
    engine.register_fn("in_list", move |text: ImmutableString, name: ImmutableString| {
        lists.get(name.as_str()).is_some_and(|list| list.contains(text.as_str()))
    });
    engine.register_fn("in_list", |(): (), _: ImmutableString| false);
    engine.register_fn("similarity", |a: ImmutableString, b: ImmutableString| strsim::normalized_levenshtein(&a, &b));
    let found = found.clone();
    engine.register_fn("found", move |script: ImmutableString, key: ImmutableString| {
        let found = found.lock().expect("no panic");
        found.get(&(script.into(), key.into())).map_or(Dynamic::UNIT, |time| (*time).into())
    });
}

/// The fields of an event that are set.
fn map(event: &AuthEvent) -> Map {
    let mut map = Map::new();
    for field in Field::ALL {
        let value: Dynamic = match event.get(*field) {
            Value::Null | Value::Map(_) => continue,
            Value::Text(text) => text.into(),
            Value::Symbol(symbol) => symbol.into(),
            Value::Long(number) => number.into(),
            Value::Micros(moment) => moment.millis().into(),
            Value::Double(number) => number.into(),
            Value::Bool(value) => value.into(),
            Value::Texts(texts) => texts.iter().map(|text| text.as_str().into()).collect::<rhai::Array>().into(),
        };
        map.insert(field.name().into(), value);
    }
    map
}
