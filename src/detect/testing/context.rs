//! What a test expects of the context of a finding, as it stands in the alert.

use crate::detect::{Finding, suggest::hint};
use rhai::{Dynamic, Map};
use serde_json::Value;

/// Compares the entries that the test names with those of the alert; what the alert has besides does not matter.
pub(super) fn compare(finding: &Finding, wanted: &Dynamic, fail: &dyn Fn(String)) -> Result<(), &'static str> {
    let wanted = wanted.read_lock::<Map>().ok_or("context is a map: #{ country: \"…\" }")?;
    let alert: Value = serde_json::from_slice(&finding.ocsf).map_err(|_| "the alert is no JSON")?;
    let none = serde_json::Map::new();
    let found = alert.pointer("/evidences/0/data/context").and_then(Value::as_object).unwrap_or(&none);
    for (name, value) in wanted.iter() {
        match found.get(name.as_str()) {
            Some(there) if text(there) == value.to_string() => {}
            Some(there) => fail(format!("expected context {name} to be {value}, it is {there}")),
            None => {
                let near = hint(name, found.keys().map(String::as_str));
                fail(format!("the context of {} has no {name}{near}", finding.rule));
            }
        }
    }
    Ok(())
}

/// As scripts write it: null is nothing, and a string has no quotes.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
