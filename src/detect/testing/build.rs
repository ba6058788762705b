//! Events and rejections as tests write them: maps of the fields' names.

use super::super::{header::symbols, kept::Kept, severity::Severity, subject::Selector, suggest::hint};
use crate::{
    event::{Activity, AuthEvent, Factor, Field, Micros, Outcome, Text, UserKind, Verification},
    record::Rejection,
};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Map, Module, Scope};
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A record without a time.
#[derive(Debug, Clone)]
pub(super) enum Built {
    /// An event.
    Event(Box<AuthEvent>),
    /// A rejection, and the topic that it is from.
    Rejection(Rejection, Option<String>),
    /// What another rule raised: its id, how bad it is, and the fields of its key.
    Finding(Text, Severity, Vec<(Selector, Kept)>),
}

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// Registers `event(#{…})`, `rejection(#{…})`, `finding(#{…})` and the constants of rules.
pub(super) fn register(engine: &mut Engine) {
    let mut constants = Module::new();
    for name in symbols().chain(Severity::ALL.map(Severity::name)) {
        constants.set_var(name, ImmutableString::from(name));
    }
    engine.register_global_module(constants.into());
    engine.register_type_with_name::<Built>("record");
    engine.register_fn("event", |fields: Map| event(fields));
    engine.register_fn("rejection", |fields: Map| rejection(fields));
    engine.register_fn("finding", |fields: Map| finding(fields));
}

/// The constants once more: a closure captures what it names, and only captures what stands in the scope.
pub(super) fn scope() -> Scope<'static> {
    let mut scope = Scope::new();
    for name in symbols().chain(Severity::ALL.map(Severity::name)) {
        if !scope.contains(name) {
            scope.push(name, ImmutableString::from(name));
        }
    }
    scope
}

fn event(fields: Map) -> Result<Built> {
    let mut event = AuthEvent::default();
    for (name, value) in fields {
        let Some(field) = Field::from_name(&name) else {
            let near = hint(&name, Field::ALL.iter().map(|field| field.name()));
            return Err(format!("events have no field `{name}`{near}").into());
        };
        set(&mut event, field, value).map_err(|wanted| format!("{name} must be {wanted}"))?;
    }
    if event.source.is_empty() {
        event.source = "test".into();
    }
    Ok(Built::Event(Box::new(event)))
}

/// `finding(#{ rule: "AUTH-0001", severity: HIGH, src_ip: "…" })`: the rule, and the fields of its key.
fn finding(fields: Map) -> Result<Built> {
    let (mut rule, mut severity, mut event, mut named) = (None, Severity::High, AuthEvent::default(), Vec::new());
    for (name, value) in fields {
        match (name.as_str(), Field::from_name(&name)) {
            ("rule", _) => rule = Some(text::<Text>(value).map_err(|wanted| format!("rule must be {wanted}"))?),
            ("severity", _) => {
                let name = value.into_immutable_string().unwrap_or_default();
                severity = Severity::from_name(&name).ok_or("severity must be one, such as HIGH")?;
            }
            (_, Some(field)) => {
                set(&mut event, field, value).map_err(|wanted| format!("{name} must be {wanted}"))?;
                named.push(field);
            }
            (_, None) => {
                let known = Field::ALL.iter().map(|field| field.name()).chain(["rule", "severity"]);
                return Err(format!("findings have no field `{name}`{}", hint(&name, known)).into());
            }
        }
    }
    let rule = rule.ok_or("a finding needs the id of its rule: finding(#{ rule: \"AUTH-0001\", … })")?;
    let values = named.into_iter().map(|field| (Selector::Field(field), Kept::whole(event.get(field))));
    Ok(Built::Finding(rule, severity, values.collect()))
}

fn rejection(fields: Map) -> Result<Built> {
    let mut built = Rejection::new("malformed", "");
    let mut topic = None;
    for (name, value) in fields {
        let text = value.into_immutable_string().map_err(|_| format!("{name} must be a string"))?;
        match name.as_str() {
            "code" => built.code = code(&text),
            "detail" => built.detail = text.to_string(),
            "topic" => topic = Some(text.to_string()),
            _ => {
                let near = hint(&name, ["code", "detail", "topic"]);
                return Err(format!("rejections have no field `{name}`{near}").into());
            }
        }
    }
    Ok(Built::Rejection(built, topic))
}

/// A code as rejections carry it: they only know those of the program, a test may think of others. Each is kept once.
fn code(text: &str) -> &'static str {
    static CODES: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut codes = CODES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = codes.get(text) {
        return known;
    }
    // a test file that makes up codes in a loop must not grow this without end
    if codes.len() >= 1000 {
        return "other";
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    codes.insert(kept);
    kept
}

macro_rules! set_fields {
    ($event:ident, $field:ident, $value:ident; $($kind:ident: $($name:ident)+;)+) => {
        match $field { $($(Field::$name => $event.$name = $kind($value)?,)+)+ }
    };
}

/// Sets a field. The error says what it must be.
fn set(event: &mut AuthEvent, field: Field, value: Dynamic) -> std::result::Result<(), String> {
    set_fields! { event, field, value;
        text: event_id source;
        moment: time;
        optional_moment: auth_time session_start;
        optional_text: source_instance tenant reason reason_detail user user_id actor src_ip dst_host country city
            user_agent ja4 device device_token device_trust session root_session trace_id request_id token_id
            token_family token_kind client_id credential_id verified_by verification_ref action resource app protocol
            corrects;
        optional_long: source_seq src_asn;
        optional_double: lat long;
        optional_bool: is_proxy is_vpn is_mfa;
        optional_int: acr;
        activity: activity;
        outcome: outcome;
        user_kind: user_kind;
        factor: factor;
        verification: verification;
        texts: privileges quality;
        attributes: attributes;
    }
    Ok(())
}

type Set<T> = std::result::Result<T, String>;

fn text<T: for<'a> From<&'a str>>(value: Dynamic) -> Set<T> {
    value.into_immutable_string().map(|text| T::from(text.as_str())).map_err(|_| "a string".into())
}

/// A value that may be absent: `()` is null.
fn optional<T>(value: Dynamic, set: impl FnOnce(Dynamic) -> Set<T>) -> Set<Option<T>> {
    if value.is_unit() { Ok(None) } else { set(value).map(Some) }
}

fn optional_text<T: for<'a> From<&'a str>>(value: Dynamic) -> Set<Option<T>> {
    optional(value, text)
}

fn long(value: Dynamic) -> Set<i64> {
    value.as_int().map_err(|_| "a whole number".into())
}

/// Moments are seconds since the timeline's start; the timeline turns them into times.
fn moment(value: Dynamic) -> Set<Micros> {
    long(value).map(|seconds| Micros(super::timeline::START + seconds.saturating_mul(1_000_000)))
}

fn optional_moment(value: Dynamic) -> Set<Option<Micros>> {
    optional(value, moment)
}

fn optional_long(value: Dynamic) -> Set<Option<i64>> {
    optional(value, long)
}

fn optional_int(value: Dynamic) -> Set<Option<i32>> {
    optional(value, |value| i32::try_from(long(value)?).map_err(|_| "a small whole number".into()))
}

fn optional_double(value: Dynamic) -> Set<Option<f64>> {
    optional(value, |value| {
        value.as_float().or_else(|_| value.as_int().map(|n| n as f64)).map_err(|_| "a number".into())
    })
}

fn optional_bool(value: Dynamic) -> Set<Option<bool>> {
    optional(value, |value| value.as_bool().map_err(|_| "true or false".into()))
}

fn symbol<T>(value: Dynamic, known: &'static [&'static str], parse: impl FnOnce(&str) -> Option<T>) -> Set<T> {
    let text = value.into_immutable_string().map_err(|_| format!("one of {}", known.join(", ")))?;
    parse(&text)
        .ok_or_else(|| format!("one of {}, not {text:?}{}", known.join(", "), hint(&text, known.iter().copied())))
}

fn activity(value: Dynamic) -> Set<Activity> {
    symbol(value, Activity::SYMBOLS, Activity::from_symbol)
}
fn outcome(value: Dynamic) -> Set<Outcome> {
    symbol(value, Outcome::SYMBOLS, Outcome::from_symbol)
}
fn user_kind(value: Dynamic) -> Set<UserKind> {
    symbol(value, UserKind::SYMBOLS, UserKind::from_symbol)
}
fn factor(value: Dynamic) -> Set<Factor> {
    symbol(value, Factor::SYMBOLS, Factor::from_symbol)
}
fn verification(value: Dynamic) -> Set<Verification> {
    symbol(value, Verification::SYMBOLS, Verification::from_symbol)
}

fn texts<T: for<'a> From<&'a str>>(value: Dynamic) -> Set<Vec<T>> {
    value.into_array().map_err(|_| "an array of strings")?.into_iter().map(text).collect()
}

fn attributes(value: Dynamic) -> Set<crate::event::Attributes> {
    let map = value.try_cast::<Map>().ok_or("a map of strings")?;
    let mut attributes = crate::event::Attributes::default();
    for (key, value) in map {
        attributes.insert(key.as_str(), text::<crate::event::Text>(value)?);
    }
    Ok(attributes)
}
