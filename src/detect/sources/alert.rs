//! Findings about sources, as OCSF Detection Finding: there is no rule behind them, and no single event.

use super::super::{
    Finding,
    ocsf::{Head, is_url, millis, nearest, put, remediation, text},
    severity::Severity,
};
use crate::{digest::Digest, position::Position};
use serde_json::{Map, Value, json};

/// One of authseal's own rules about sources.
#[derive(Debug)]
pub(super) struct Built {
    /// Begins with `AUTHSEAL-`.
    pub id: &'static str,
    pub name: &'static str,
    pub severity: Severity,
    /// What it finds, for whoever reads the alert.
    pub description: &'static str,
    /// What to do, where the inventory names no runbook.
    pub runbook: &'static str,
}

/// Numbers are missing.
pub(super) const HOLE: Built = Built {
    id: "AUTHSEAL-SOURCE-HOLE",
    name: "Events of a source are missing",
    severity: Severity::High,
    description: "A source numbers its events, and some numbers never came: events were lost or taken away before \
                  they reached Kafka.",
    runbook: "Look for the missing numbers at the source itself. Ask whether its shipper failed at that time, and who \
              could have stopped it. docs/sources.md, Holes",
};
/// A source says nothing.
pub(super) const SILENT: Built = Built {
    id: "AUTHSEAL-SOURCE-SILENT",
    name: "A source is silent",
    severity: Severity::High,
    description: "A source that should be heard has sent nothing for longer than the inventory allows. What happens \
                  there now is neither sealed nor judged.",
    runbook: "Find out whether the source has nothing to say, its shipper stands still, or somebody turned it off. \
              docs/sources.md, Silent sources",
};
/// A source that nobody expects.
pub(super) const NEW: Built = Built {
    id: "AUTHSEAL-SOURCE-NEW",
    name: "A source that is not in the inventory",
    severity: Severity::Low,
    description: "Events name a source that the inventory does not know.",
    runbook: "Add it to [[inventory.sources]], or find out who sends under this name. docs/sources.md, Silent sources",
};

/// What is told.
pub(super) struct Report<'a> {
    pub rule: &'static Built,
    pub uid: String,
    pub title: String,
    /// Names and values, of which the id is made.
    pub key: Vec<(String, String)>,
    pub tenant: Option<&'a str>,
    /// The record at which it was noticed.
    pub position: Position,
    /// Records that say so: the highest of each chain, `position` among them.
    pub reach: Vec<Position>,
    /// Microseconds: the first and the last event that speak of it.
    pub times: (i64, i64),
    /// What is known.
    pub data: Value,
    pub owner: &'a str,
    pub runbook: &'a str,
    /// Whether what was told is over.
    pub is_over: bool,
    /// Wall clock, milliseconds.
    pub now: i64,
}

impl Report<'_> {
    /// The finding.
    pub fn finding(self) -> Finding {
        let ocsf = self.ocsf().to_string().into_bytes();
        Finding {
            uid: self.uid,
            rule: self.rule.id.to_owned(),
            position: self.position,
            live: true,
            silenced: false,
            title: self.title,
            severity: self.rule.severity,
            key: self.key,
            reach: self.reach,
            update: u8::from(self.is_over),
            ocsf,
        }
    }

    fn ocsf(&self) -> Value {
        let rule = self.rule;
        let now = nearest(self.now);
        let correlation: Vec<&str> = self.key.iter().map(|(_, value)| value.as_str()).collect();
        let head = Head {
            uid: &self.uid,
            update: u8::from(self.is_over),
            correlation: &correlation.join("|"),
            tenant: self.tenant,
            mode: "live",
            activity: if self.is_over { (3, "Close") } else { (1, "Create") },
            status: if self.is_over { (4, "Resolved") } else { (1, "New") },
            severity: rule.severity,
            is_alert: !self.is_over,
            times: Some(self.times),
            now,
        };
        let mut alert = head.begin();
        alert.insert("message".into(), text(&self.title));
        alert.insert("finding_info".into(), self.info(now));
        let mut evidence = Map::new();
        put(&mut evidence, "uid", self.reach.first().map(|position| json!(position.to_string())));
        let mut data = self.data.clone();
        if let (Some(data), Some(position)) = (data.as_object_mut(), self.reach.first()) {
            data.insert("position".into(), json!(position.to_string()));
            data.insert("positions".into(), self.reach.iter().map(|position| json!(position.to_string())).collect());
        }
        evidence.insert("data".into(), data);
        alert.insert("evidences".into(), json!([evidence]));
        let runbook = if self.runbook.is_empty() { rule.runbook } else { self.runbook };
        put(&mut alert, "remediation", remediation(runbook));
        let key: Map<String, Value> = self.key.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let own = json!({
            "rule": {
                "id": rule.id, "version": 1, "sha256": Digest::of(rule.id.as_bytes()).hex(), "mode": "live",
                "status": "stable", "owner": text(self.owner),
            },
            "key": key,
            "warming": false,
        });
        alert.insert("unmapped".into(), json!({ "authseal": own }));
        Value::Object(alert)
    }

    fn info(&self, now: i64) -> Value {
        let rule = self.rule;
        let mut info = Map::new();
        info.insert("uid".into(), json!(self.uid));
        info.insert("title".into(), text(&self.title));
        info.insert("desc".into(), json!(rule.description));
        info.insert(if self.is_over { "modified_time" } else { "created_time" }.into(), json!(now));
        put(&mut info, "first_seen_time", millis(self.times.0).map(Value::from));
        put(&mut info, "last_seen_time", millis(self.times.1).map(Value::from));
        let runbook = Some(self.runbook).filter(|runbook| is_url(runbook));
        put(&mut info, "src_url", runbook.map(text));
        info.insert("data_sources".into(), self.reach.iter().map(|position| format!("kafka:{position}")).collect());
        let digest = Digest::of(rule.id.as_bytes()).hex();
        let analytic = json!({
            "uid": rule.id, "name": rule.name, "type_id": 1, "type": "Rule",
            "version": format!("1+sha256:{}", &digest[..8]), "state_id": 1, "state": "Active",
        });
        info.insert("analytic".into(), analytic);
        info.insert("related_events".into(), self.reach.iter().map(|at| json!({ "uid": at.to_string() })).collect());
        Value::Object(info)
    }
}
