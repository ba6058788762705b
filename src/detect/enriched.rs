//! What of an alert's evidence was filled in by us, and out of which database: as OCSF's enrichments, so that an
//! analyst does not take it for the source's word.

use crate::{
    decode::enrich::{ENRICHED, marks},
    event::{AuthEvent, Field, Value as Held},
};
use serde_json::{Map, Value, json};

/// One enrichment for each origin.
pub(super) fn enrichments(event: &AuthEvent) -> Vec<Value> {
    let text = event.attributes.get(ENRICHED).unwrap_or_default();
    marks(text).filter_map(|(names, origin)| of_origin(event, names, origin)).collect()
}

fn of_origin<'a>(event: &AuthEvent, names: impl Iterator<Item = &'a str>, origin: &str) -> Option<Value> {
    let data: Map<String, Value> = names.filter_map(|name| Some((name.to_owned(), held(event, name)?))).collect();
    let of_agent = data.keys().any(|name| name.starts_with("ua."));
    let (name, kind, value) = match of_agent {
        true => ("evidences[0].http_request.user_agent", "user_agent", event.user_agent.as_deref()),
        false => ("evidences[0].src_endpoint.ip", "address", event.src_ip.as_deref()),
    };
    let value = super::script::clip(value?, 512);
    let mut all = json!({ "name": name, "value": value, "type": kind, "provider": origin, "data": data });
    let built = built(origin);
    if let (Some(built), Value::Object(entries)) = (built, &mut all) {
        entries.insert("created_time".into(), built.into());
    }
    Some(all)
}

/// When a database was built, in milliseconds: the day is part of its label.
fn built(origin: &str) -> Option<i64> {
    let day: jiff::civil::Date = origin.split(['@', '#']).nth(1)?.parse().ok()?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
        .filter(|time| *time > 100_000_000_000)
}

fn held(event: &AuthEvent, name: &str) -> Option<Value> {
    let Some(field) = Field::from_name(name) else { return event.attributes.get(name).map(Value::from) };
    match event.get(field) {
        Held::Text(text) => Some(text.into()),
        Held::Long(number) => Some(number.into()),
        Held::Double(number) => Some(number.into()),
        Held::Bool(value) => Some(value.into()),
        _ => None,
    }
}
