//! Findings as OCSF Detection Finding (class 2004, version 1.8.0), at most 256 KiB of JSON.

use super::{
    attack, enriched,
    exceptions::Entry,
    finding::Evidence,
    measure::Measured,
    rule::RuleInfo,
    script::clip,
    severity::Severity,
    sight::{Marks, Sighting},
    spec::Mode,
    subject::{Owned, OwnedWhat, Selector},
    updates,
};
use crate::event::{self, AuthEvent, Field, UserKind};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Bytes of an alert at most.
pub(super) const LARGEST: usize = 256 * 1024;
/// Bytes of a string from an event or a rule.
const LONGEST_TEXT: usize = 512;
/// Partitions named in `data_sources`.
const MOST_SOURCES: usize = 64;
/// OCSF's range of times, in milliseconds: 1973 to 5138.
const TIMES: std::ops::RangeInclusive<i64> = 100_000_000_000..=99_999_999_999_999;

/// All that an alert says.
pub(super) struct Report<'a> {
    pub rule: &'a RuleInfo,
    pub uid: &'a str,
    /// 0 for the finding itself, n for its nth update.
    pub update: u8,
    pub title: &'a str,
    pub severity: Severity,
    /// Names and values of the key.
    pub key: Vec<(String, &'a str)>,
    pub record: &'a Owned,
    /// What the rule's markers said.
    pub marks: &'a Marks,
    pub evidence: &'a Evidence,
    /// Names, values and gates of the window.
    pub values: Vec<(&'a str, &'a Measured, u64)>,
    /// From and to, microseconds, of the window.
    pub window: Option<(i64, i64)>,
    /// Microseconds: when the same finding can come again.
    pub dedup_until: Option<i64>,
    pub context: Option<Value>,
    /// What the rule's functions got wrong.
    pub errors: &'a [String],
    /// The silence that it falls under.
    pub silence: Option<&'a Entry>,
    pub truncated: bool,
    pub warming: bool,
    /// Milliseconds.
    pub now: i64,
}

/// What can be left out of an alert, and where it stands. Whatever takes the most room and says the least goes first.
const STEPS: [(&str, &str); 4] = [
    ("context", "/evidences/0/data"),
    ("related_events", "/finding_info"),
    ("positions", "/evidences/0/data"),
    ("observables", ""),
];

/// The JSON of an alert.
pub(super) fn render(report: &Report<'_>) -> Vec<u8> {
    let mut alert = alert(report);
    let mut bytes = to_bytes(&alert);
    for (name, parent) in STEPS {
        if bytes.len() <= LARGEST {
            break;
        }
        leave_out(&mut alert, name, parent);
        bytes = to_bytes(&alert);
    }
    bytes
}

/// The alert without everything that can be left out: for a topic that refuses it as too large. `None` if there is
/// nothing left to leave out.
pub fn trimmed(alert: &[u8]) -> Option<Vec<u8>> {
    let mut alert: Value = serde_json::from_slice(alert).ok()?;
    let mut smaller = false;
    for (name, parent) in STEPS {
        smaller |= leave_out(&mut alert, name, parent);
    }
    smaller.then(|| to_bytes(&alert))
}

/// Leaves one part out and says so. Whether it was there.
fn leave_out(alert: &mut Value, name: &str, parent: &str) -> bool {
    let Some(Value::Object(holder)) = alert.pointer_mut(parent) else { return false };
    if holder.shift_remove(name).is_none() {
        return false;
    }
    if let Some(Value::Object(own)) = alert.pointer_mut("/unmapped/authseal")
        && let Value::Array(names) = own.entry("trimmed").or_insert_with(|| json!([]))
    {
        names.push(json!(name));
    }
    true
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

pub(super) fn text(text: &str) -> Value {
    Value::String(clip(text, LONGEST_TEXT).to_owned())
}

/// Milliseconds that OCSF accepts.
pub(super) fn millis(micros: i64) -> Option<i64> {
    Some(micros.div_euclid(1000)).filter(|time| TIMES.contains(time))
}

pub(super) fn put(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(name.into(), value);
    }
}

/// The nearest moment that OCSF accepts, in milliseconds.
pub(super) fn nearest(millis: i64) -> i64 {
    millis.clamp(*TIMES.start(), *TIMES.end())
}

/// How every alert begins, whatever it is about.
pub(super) struct Head<'a> {
    /// The id of the finding, and which telling of it this is.
    pub uid: &'a str,
    pub update: u8,
    /// What alerts about the same have in common.
    pub correlation: &'a str,
    pub tenant: Option<&'a str>,
    pub mode: &'static str,
    /// Ids and captions.
    pub activity: (i64, &'static str),
    pub status: (i64, &'static str),
    pub severity: Severity,
    pub is_alert: bool,
    /// Microseconds: the first and the last event.
    pub times: Option<(i64, i64)>,
    /// Wall clock, milliseconds that OCSF accepts.
    pub now: i64,
}

impl Head<'_> {
    /// The alert, to which the rest is added.
    pub fn begin(&self) -> Map<String, Value> {
        let ((activity_id, activity), (status_id, status)) = (self.activity, self.status);
        let mut alert = Map::new();
        for (name, value) in [
            ("metadata", self.metadata()),
            ("category_uid", json!(2)),
            ("category_name", json!("Findings")),
            ("class_uid", json!(2004)),
            ("class_name", json!("Detection Finding")),
            ("activity_id", json!(activity_id)),
            ("activity_name", json!(activity)),
            ("type_uid", json!(200_400 + activity_id)),
            ("type_name", json!(format!("Detection Finding: {activity}"))),
            ("severity_id", json!(self.severity.id())),
            ("severity", json!(self.severity.caption())),
            ("status_id", json!(status_id)),
            ("status", json!(status)),
            ("is_alert", json!(self.is_alert)),
            ("time", json!(self.now)),
        ] {
            alert.insert(name.into(), value);
        }
        put(&mut alert, "start_time", self.times.and_then(|times| millis(times.0)).map(Value::from));
        put(&mut alert, "end_time", self.times.and_then(|times| millis(times.1)).map(Value::from));
        alert
    }

    fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("version".into(), json!("1.8.0"));
        metadata.insert("uid".into(), json!(updates::uid(self.uid, self.update)));
        metadata.insert("correlation_uid".into(), text(self.correlation));
        let version = env!("CARGO_PKG_VERSION");
        metadata.insert("product".into(), json!({ "name": "authseal", "vendor_name": "authseal", "version": version }));
        put(&mut metadata, "tenant_uid", self.tenant.map(text));
        metadata.insert("processed_time".into(), json!(self.now));
        metadata.insert("labels".into(), json!([format!("mode:{}", self.mode)]));
        Value::Object(metadata)
    }
}

/// What to do: the runbook, or where it stands. None if there is none.
pub(super) fn remediation(runbook: &str) -> Option<Value> {
    if runbook.is_empty() {
        return None;
    }
    Some(match is_url(runbook) {
        true => json!({ "desc": "Follow the runbook", "references": [text(runbook)] }),
        false => json!({ "desc": text(runbook) }),
    })
}

fn alert(report: &Report<'_>) -> Value {
    let now = nearest(report.now);
    let title = text(report.title);
    let silenced = report.silence.is_some();
    let key: Vec<&str> = report.key.iter().map(|(_, value)| clip(value, 64)).collect();
    let subject = report.record.subject();
    let tenant = match subject.get(&Selector::Field(Field::tenant)) {
        event::Value::Text(tenant) => Some(tenant),
        _ => None,
    };
    let head = Head {
        uid: report.uid,
        update: report.update,
        correlation: &key.join("|"),
        tenant,
        mode: report.rule.mode.name(),
        activity: if report.update == 0 { (1, "Create") } else { (2, "Update") },
        status: if silenced { (3, "Suppressed") } else { (1, "New") },
        severity: report.severity,
        is_alert: report.rule.mode == Mode::Live && !silenced,
        times: report.evidence.times,
        now,
    };
    let mut alert = head.begin();
    alert.insert("count".into(), json!(report.evidence.count));
    alert.insert("message".into(), title.clone());
    alert.insert("finding_info".into(), finding_info(report, now, title));
    let (evidence, observables) = evidence(report);
    alert.insert("evidences".into(), json!([evidence]));
    if !observables.is_empty() {
        alert.insert("observables".into(), Value::Array(observables));
    }
    if let OwnedWhat::Event(event) = &report.record.what {
        let enrichments = enriched::enrichments(event);
        put(&mut alert, "enrichments", (!enrichments.is_empty()).then_some(Value::Array(enrichments)));
    }
    put(&mut alert, "remediation", remediation(&report.rule.runbook));
    alert.insert("unmapped".into(), json!({ "authseal": unmapped(report) }));
    Value::Object(alert)
}

fn finding_info(report: &Report<'_>, now: i64, title: Value) -> Value {
    let (rule, evidence) = (report.rule, report.evidence);
    let mut info = Map::new();
    info.insert("uid".into(), json!(report.uid));
    info.insert("title".into(), title);
    if !rule.description.is_empty() {
        info.insert("desc".into(), Value::String(clip(&rule.description, 2048).to_owned()));
    }
    // when the finding was created, its first alert says
    info.insert(if report.update == 0 { "created_time" } else { "modified_time" }.into(), json!(now));
    put(&mut info, "first_seen_time", evidence.times.and_then(|times| millis(times.0)).map(Value::from));
    put(&mut info, "last_seen_time", evidence.times.and_then(|times| millis(times.1)).map(Value::from));
    put(&mut info, "src_url", is_url(&rule.runbook).then(|| text(&rule.runbook)));
    let sources = evidence.reach.iter().take(MOST_SOURCES).map(|(chain, low, high)| match high - low {
        0 => format!("kafka:{chain}@{low}"),
        _ => format!("kafka:{chain}@{low}-{high}"),
    });
    info.insert("data_sources".into(), sources.collect());
    let (state_id, state) = if rule.mode == Mode::Live { (1, "Active") } else { (3, "Experimental") };
    info.insert(
        "analytic".into(),
        json!({
            "uid": rule.id, "name": rule.name, "type_id": 1, "type": "Rule",
            "version": format!("{}+sha256:{}", rule.version, &rule.digest.hex()[..8]),
            "state_id": state_id, "state": state,
        }),
    );
    let attacks = rule.attack.iter().map(|attack| {
        let mut entry = Map::new();
        entry.insert("version".into(), json!(attack::version()));
        entry.insert("tactic".into(), json!({ "uid": attack.tactic, "name": attack.tactic_name }));
        entry.insert("technique".into(), json!({ "uid": attack.technique, "name": attack.technique_name }));
        let sub = attack.sub_technique.as_ref();
        put(&mut entry, "sub_technique", sub.map(|(uid, name)| json!({ "uid": uid, "name": name })));
        Value::Object(entry)
    });
    if !rule.attack.is_empty() {
        info.insert("attacks".into(), attacks.collect());
    }
    info.insert("related_events_count".into(), json!(evidence.count));
    let related = evidence.sample.iter().map(|(time, position)| {
        let mut event = Map::new();
        event.insert("uid".into(), json!(position.to_string()));
        put(&mut event, "created_time", millis(*time).map(Value::from));
        Value::Object(event)
    });
    info.insert("related_events".into(), related.collect());
    Value::Object(info)
}

pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// The evidence, and the observables in it.
fn evidence(report: &Report<'_>) -> (Value, Vec<Value>) {
    let mut evidence = Map::new();
    let mut observables = Vec::new();
    let mut data = Map::new();
    let position = report.record.chain.at(report.record.offset).to_string();
    evidence.insert("uid".into(), json!(position));
    data.insert("position".into(), json!(position));
    match &report.record.what {
        OwnedWhat::Event(event) => {
            event_evidence(event, &mut evidence, &mut observables);
            data.insert("event_id".into(), text(&event.event_id));
            data.insert("source".into(), text(&event.source));
            data.insert("activity".into(), json!(event.activity.symbol()));
            data.insert("outcome".into(), json!(event.outcome.symbol()));
            put(&mut data, "reason", event.reason.as_deref().map(text));
        }
        OwnedWhat::Finding(found) => {
            event_evidence(&found.event(), &mut evidence, &mut observables);
            let found =
                json!({ "uid": text(&found.uid), "rule": text(&found.rule), "severity": found.severity.name() });
            data.insert("finding".into(), found);
        }
        OwnedWhat::Rejection(rejection) => {
            data.insert("rejection".into(), json!({ "code": rejection.code, "detail": text(&rejection.detail) }));
        }
    }
    if let Some((from, to)) = report.window {
        data.insert("window".into(), json!({ "after": from.div_euclid(1000), "to": to.div_euclid(1000) }));
        let values: Map<String, Value> =
            report.values.iter().map(|(name, value, _)| ((*name).into(), value.to_json())).collect();
        data.insert("values".into(), Value::Object(values));
        let gates =
            report.values.iter().filter(|(.., gate)| *gate > 0).map(|(name, _, gate)| ((*name).into(), json!(gate)));
        data.insert("at_least".into(), Value::Object(gates.collect()));
    }
    let sample = &report.evidence.sample;
    data.insert("positions".into(), sample.iter().map(|(_, position)| position.to_string()).collect());
    let omitted = report.evidence.count.saturating_sub(sample.len() as u64);
    if omitted > 0 {
        data.insert("positions_omitted".into(), json!(omitted));
    }
    let marks: Map<String, Value> = report.marks.asked().map(|mark| (mark.name.to_string(), sighting(mark))).collect();
    put(&mut data, "marks", (!marks.is_empty()).then_some(Value::Object(marks)));
    put(&mut data, "context", report.context.clone());
    evidence.insert("data".into(), Value::Object(data));
    (Value::Object(evidence), observables)
}

/// What a marker said: the record that it remembered and its age in seconds, or that there was none.
fn sighting(mark: &Sighting) -> Value {
    match &mark.seen {
        Some((age, seen)) => json!({ "position": seen.chain.at(seen.offset).to_string(), "age": *age as f64 / 1e6 }),
        // the rule may have fired for want of memory: who looks into it must know
        None if mark.lost => json!({ "missing": true, "pushed_out": true }),
        None => json!({ "missing": true }),
    }
}

fn event_evidence(event: &AuthEvent, evidence: &mut Map<String, Value>, observables: &mut Vec<Value>) {
    let mut observe = |path: &str, type_id: i64, caption: &str, value: &str| {
        observables.push(json!({
            "name": format!("evidences[0].{path}"), "type_id": type_id, "type": caption, "value": text(value),
        }));
    };
    if event.user.is_some() || event.user_id.is_some() {
        let (type_id, caption) = match event.user_kind {
            UserKind::Person => (1, "User"),
            UserKind::Admin => (2, "Admin"),
            UserKind::Service => (4, "Service"),
            UserKind::Unknown => (0, "Unknown"),
        };
        let mut user = Map::new();
        put(&mut user, "name", event.user.as_deref().map(text));
        put(&mut user, "uid", event.user_id.as_deref().map(text));
        user.insert("type_id".into(), json!(type_id));
        user.insert("type".into(), json!(caption));
        evidence.insert("user".into(), Value::Object(user));
        if let Some(user) = event.user.as_deref() {
            observe("user.name", 4, "User Name", user);
        }
    }
    // what is no address would make the alert invalid
    if let Some(ip) = event.src_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) {
        let mut endpoint = Map::new();
        endpoint.insert("ip".into(), json!(ip.to_string()));
        put(&mut endpoint, "autonomous_system", event.src_asn.map(|number| json!({ "number": number })));
        if event.country.is_some() || event.city.is_some() {
            let mut location = Map::new();
            put(&mut location, "country", event.country.as_deref().map(text));
            put(&mut location, "city", event.city.as_deref().map(text));
            endpoint.insert("location".into(), Value::Object(location));
        }
        evidence.insert("src_endpoint".into(), Value::Object(endpoint));
        observe("src_endpoint.ip", 2, "IP Address", &ip.to_string());
    }
    if let Some(host) = event.dst_host.as_deref() {
        evidence.insert("dst_endpoint".into(), json!({ "hostname": text(host) }));
    }
    if let Some(actor) = event.actor.as_deref() {
        evidence.insert("actor".into(), json!({ "user": { "name": text(actor) } }));
    }
    if let Some(agent) = event.user_agent.as_deref() {
        evidence.insert("http_request".into(), json!({ "user_agent": text(agent) }));
        observe("http_request.user_agent", 16, "HTTP User-Agent", agent);
    }
}

fn unmapped(report: &Report<'_>) -> Value {
    let mut own = Map::new();
    let rule = report.rule;
    own.insert(
        "rule".into(),
        json!({
            "id": rule.id, "version": rule.version, "sha256": rule.digest.hex(), "mode": rule.mode.name(),
            "status": rule.status.name(), "owner": text(&rule.owner),
        }),
    );
    let key: Map<String, Value> = report.key.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    own.insert("key".into(), Value::Object(key));
    if report.update > 0 {
        own.insert("update".into(), json!(report.update));
    }
    put(&mut own, "dedup_until", report.dedup_until.map(|until| json!(until.div_euclid(1000))));
    if let Some(silence) = report.silence {
        own.insert(
            "silence".into(),
            json!({
                "path": silence.path, "line": silence.line, "owner": text(&silence.owner),
                "reason": text(&silence.reason), "expires": silence.last_day.to_string(),
            }),
        );
    }
    own.insert("warming".into(), json!(report.warming));
    if report.truncated {
        own.insert("window_truncated".into(), json!(true));
    }
    let more = report.evidence.reach.len().saturating_sub(MOST_SOURCES);
    if more > 0 {
        own.insert("data_sources_omitted".into(), json!(more));
    }
    if !report.errors.is_empty() {
        own.insert("rule_errors".into(), report.errors.iter().map(|error| text(error)).collect());
    }
    Value::Object(own)
}
