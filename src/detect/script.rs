//! The functions of rules: an engine without loops, files, clock or output, with limits on everything, and the views
//! `e` and `w` that functions get.

use super::{
    failure::{Failure, overdue},
    functions,
    header::symbols,
    lint::VIEW_NAMES,
    list::List,
    measure::Measured,
    severity::Severity,
    sight::{self, Marks},
    subject::{Owned, Selector},
    travel,
};
use crate::event::Value;
use rhai::{
    AST, CallFnOptions, Dynamic, Engine, EvalAltResult, ImmutableString, Map, Module, NativeCallContext,
    OptimizationLevel, Scope,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Operations a call may take: a decision of thirty lines takes some hundred.
const MOST_OPERATIONS: u64 = 20_000;
/// Bytes of a string in a function.
const LONGEST_STRING: usize = 16 * 1024;
/// Bytes of a field as functions see it: a hostile event must not make every function fail by its length.
pub(super) const LONGEST_FIELD: usize = 2 * 1024;

/// The record that is judged, as functions see it.
#[derive(Clone)]
pub(super) struct EventView {
    /// The record.
    pub record: Arc<Owned>,
    /// What the markers of the rule say about it.
    pub marks: Marks,
}

/// The values of the window, as functions see them.
#[derive(Clone)]
pub(super) struct WindowView {
    /// Names, in the order of the values.
    pub names: Arc<[ImmutableString]>,
    /// Values.
    pub values: Arc<[Measured]>,
}

/// An engine with the limits that hold for all scripts here.
pub(super) fn engine() -> Engine {
    let mut engine = Engine::new();
    // Rhai's optimiser would fold comparisons of host objects without asking them
    engine.set_optimization_level(OptimizationLevel::None);
    engine.set_max_operations(MOST_OPERATIONS).set_max_call_levels(16).set_max_expr_depths(64, 32);
    engine.set_max_string_size(LONGEST_STRING).set_max_array_size(1024).set_max_map_size(256);
    engine.set_max_functions(64).set_max_modules(0).set_max_variables(128);
    engine.set_allow_looping(false).set_allow_anonymous_fn(false);
    for symbol in ["eval", "print", "debug", "import", "export"] {
        engine.disable_symbol(symbol);
    }
    engine.on_print(|_| {}).on_debug(|_, _, _| {});
    engine
}

/// Calls the functions of rules.
pub(super) struct Scripts {
    engine: Engine,
}

impl Scripts {
    /// An engine whose `in_list` looks into these lists.
    pub fn new(lists: Arc<[List]>) -> Self {
        let mut engine = engine();
        let mut constants = Module::new();
        for name in symbols().chain(Severity::ALL.map(Severity::name)) {
            constants.set_var(name, ImmutableString::from(name));
        }
        engine.register_global_module(constants.into());
        engine.register_type_with_name::<EventView>("event").register_type_with_name::<WindowView>("window");
        for name in Selector::names() {
            if let Some(selector) = Selector::from_name(name) {
                engine.register_get(name, move |view: &mut EventView| dynamic(view.record.subject().get(&selector)));
            }
        }
        let [position, partition, offset] = VIEW_NAMES;
        engine.register_get(position, |view: &mut EventView| view.record.chain.at(view.record.offset).to_string());
        engine.register_get(partition, |view: &mut EventView| i64::from(view.record.chain.partition));
        engine.register_get(offset, |view: &mut EventView| view.record.offset);
        engine.register_fn("attr", |view: &mut EventView, name: ImmutableString| {
            dynamic(view.record.subject().get(&Selector::Attribute(name.as_str().into())))
        });
        engine.register_indexer_get(|view: &mut WindowView, name: ImmutableString| {
            let at = view.names.iter().position(|known| *known == name);
            at.and_then(|at| view.values.get(at))
                .map(Measured::to_dynamic)
                .ok_or_else(|| Box::<EvalAltResult>::from(format!("the window has no value `{name}`")))
        });
        functions::register(&mut engine);
        let in_list = move |context: &NativeCallContext, text: Option<&str>, name: &str| {
            let list = lists.iter().find(|list| list.name == name);
            let list = list.ok_or_else(|| Box::<EvalAltResult>::from(format!("there is no list lists/{name}.txt")))?;
            let time = context.tag().and_then(|tag| tag.as_int().ok()).unwrap_or_default();
            Ok::<bool, Box<EvalAltResult>>(text.is_some_and(|text| list.in_force(time) && list.contains_text(text)))
        };
        let null = in_list.clone();
        engine.register_fn(
            "in_list",
            move |context: NativeCallContext, text: ImmutableString, name: ImmutableString| {
                in_list(&context, Some(&text), &name)
            },
        );
        engine.register_fn("in_list", move |context: NativeCallContext, (): (), name: ImmutableString| {
            null(&context, None, &name)
        });
        sight::register(&mut engine);
        travel::register(&mut engine);
        engine.on_progress(overdue);
        Self { engine }
    }

    /// Calls a function with (e, w). An error is one line; a panic of the engine or of ours is an error too.
    pub fn call(&self, functions: &AST, name: &str, e: &EventView, w: &WindowView) -> Result<Dynamic, Failure> {
        let options = CallFnOptions::new().eval_ast(false).rewind_scope(true).with_tag(e.record.time);
        let call = || {
            self.engine.call_fn_with_options::<Dynamic>(
                options,
                &mut Scope::new(),
                functions,
                name,
                (e.clone(), w.clone()),
            )
        };
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::of(name, &error)),
            Err(_) => Err(Failure::panic(name)),
        }
    }
}

/// A value as scripts see it: null is (), moments are milliseconds, symbols are strings.
pub(super) fn dynamic(value: Value<'_>) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Text(text) => clip(text, LONGEST_FIELD).into(),
        Value::Symbol(symbol) => symbol.into(),
        Value::Long(number) => number.into(),
        Value::Micros(moment) => moment.millis().into(),
        Value::Double(number) => number.into(),
        Value::Bool(value) => value.into(),
        Value::Texts(texts) => {
            // together no longer than a string may be, or every use of it would fail
            let array: rhai::Array = texts.iter().take(64).map(|text| clip(text, 128).into()).collect();
            array.into()
        }
        Value::Map(map) => {
            let map: Map = map.iter().take(64).map(|(k, v)| (clip(k, 64).into(), clip(v, 128).into())).collect();
            map.into()
        }
    }
}

/// The beginning of a text: at most so many bytes, at a character's edge.
pub(super) fn clip(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{lint::CALLABLE, subject::OwnedWhat},
        event::AuthEvent,
        position::ChainId,
    };

    fn call(scripts: &Scripts, source: &str) -> Result<Dynamic, String> {
        let functions = scripts.engine.compile(source).unwrap().clone_functions_only();
        let event = AuthEvent { user: Some("x".repeat(10_000).as_str().into()), ..AuthEvent::default() };
        let chain = Arc::new("main/auth/3/0".parse::<ChainId>().unwrap());
        let owned = Owned::new(OwnedWhat::Event(Box::new(event)), chain, 7, 0);
        let w = WindowView { names: ["n".into()].into(), values: [Measured::Whole(5)].into() };
        let e = EventView { record: Arc::new(owned), marks: Marks::default() };
        scripts.call(&functions, "decide", &e, &w).map_err(|failure| failure.text)
    }

    #[test]
    fn a_panic_inside_is_an_error() {
        let mut scripts = Scripts::new(Vec::new().into());
        scripts.engine.register_fn("boom", || -> i64 { panic!("on purpose") });
        assert_eq!(call(&scripts, "fn decide(e, w) { boom() }").unwrap_err(), "fn decide: panicked");
        assert_eq!(call(&scripts, "fn decide(e, w) { w.n }").unwrap().as_int(), Ok(5), "and the next call works");
    }

    #[test]
    fn views_show_fields_positions_and_values() {
        let scripts = Scripts::new(Vec::new().into());
        for (source, wanted) in [
            ("e.user.len() == 2048", true),
            ("e.position == \"main/auth/3/0@7\" && e.partition == 3 && e.offset == 7", true),
            ("e.activity == OTHER && e.kind == EVENT && e.rejection_code == ()", true),
            ("e.attr(\"x\") == () && e.privileges.len() == 0 && e.attributes.len() == 0", true),
            ("w.n == 5 && e.time == 0", true),
            ("number(\"12.50\") == 12.5 && number(\"12\") + 1 == 13 && number(\"x\") == () && number(7) == 7", true),
            ("e.attr(\"x\").number() == () && lower(\"ÄB\") == \"äb\" && e.actor.lower() == ()", true),
            ("hour(3600000) == 1 && weekday(0) == 4 && e.session_start.hour() == () && weekday(-1) == 3", true),
        ] {
            let answer = call(&scripts, &format!("fn decide(e, w) {{ {source} }}"));
            assert_eq!(answer.map(|value| value.as_bool()), Ok(Ok(wanted)), "{source}");
        }
        assert!(call(&scripts, "fn decide(e, w) { w.m }").unwrap_err().contains("no value `m`"));
    }

    #[test]
    fn what_may_be_called_exists() {
        let scripts = Scripts::new(Vec::new().into());
        for name in CALLABLE.into_iter().filter(|name| !["in_list", "mark"].contains(name)) {
            let calls = [
                format!("{name}(4)"),
                format!("{name}(\"4\")"),
                format!("{name}(4.5)"),
                format!("{name}(#{{}})"),
                format!("{name}(\"4\", \"4\")"),
                format!("{name}(\"4\", 0)"),
                format!("{name}(4, 5)"),
                format!("{name}(e, \"x\")"),
                format!("{name}(e, e)"),
                format!("let a = [1]; a.{name}(0)"),
                format!("let a = [1]; a.{name}(0, 1)"),
            ];
            let found = calls.iter().any(|text| call(&scripts, &format!("fn decide(e, w) {{ {text} }}")).is_ok());
            assert!(found, "{name}");
        }
    }
}
