//! From the values of a header to a rule: every key checked, every problem said.

use super::{
    aggregate::{self, Counted},
    attack::{self, Technique},
    failure,
    header::{FieldObject, PredObject},
    measure::{Agg, Track},
    predicate::Pred,
    severity::Severity,
    subject::Selector,
    suggest::hint,
    updates::{self, UpdateOn},
};
use crate::event::FieldType;
use rhai::{Dynamic, Map, Position};
use std::{collections::BTreeMap, time::Duration};

/// What a rule's findings do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are alerts.
    Live,
    /// They are counted; the state is kept.
    Shadow,
    /// The rule is checked, but does not judge.
    Off,
}

impl Mode {
    /// As rules write it.
    pub fn name(self) -> &'static str {
        ["live", "shadow", "off"][self as usize]
    }
}

/// How far a rule has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being tried.
    Experimental,
    /// Proven.
    Stable,
    /// On its way out.
    Deprecated,
}

impl Status {
    /// As rules write it.
    pub fn name(self) -> &'static str {
        ["experimental", "stable", "deprecated"][self as usize]
    }
}

/// How many different fields the aggregates of a rule may use.
pub(super) const COLUMNS: usize = 4;
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What a header says.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// Where the rule begins.
    pub at: Position,
    pub id: String,
    pub name: String,
    pub version: i64,
    pub severity: Severity,
    pub status: Status,
    pub mode: Mode,
    pub attack: Vec<Technique>,
    pub owner: String,
    pub runbook: String,
    pub falsepos: Vec<String>,
    pub when: Pred,
    pub key: Vec<Selector>,
    /// Microseconds; `None` for a rule that judges single events.
    pub window: Option<i64>,
    pub aggs: Vec<Agg>,
    /// The fields that the aggregates use.
    pub columns: Vec<Selector>,
    /// What is kept up of them.
    pub tracks: Vec<Track>,
    /// The conditions of `count_if` and `distinct_if`.
    pub conditions: Vec<Pred>,
    /// Microseconds.
    pub settle: Option<i64>,
    /// Microseconds.
    pub dedup: Option<i64>,
    /// Microseconds: how long the watermark must be past an event before it is judged.
    pub wait: Option<i64>,
    /// When a finding is told again.
    pub update_on: Option<UpdateOn>,
}

const KEYS: [&str; 18] = [
    "name",
    "version",
    "severity",
    "status",
    "mode",
    "attack",
    "owner",
    "runbook",
    "falsepos",
    "when",
    "key",
    "window",
    "agg",
    "at_least",
    "settle",
    "dedup",
    "wait",
    "update_on",
];
/// Keys that later versions bring. A rule that relies on one must not load as if it were not there.
const LATER: [&str; 3] = ["sequence", "sequences", "confidence"];

/// Reads the header of rule `id`. What is wrong goes to `notes`; then the rule must not be used.
pub(super) fn read(
    id: String,
    values: Map,
    at: Position,
    places: &BTreeMap<String, Position>,
    notes: &mut Vec<(Position, String)>,
) -> Option<Spec> {
    let before = notes.len();
    // where something is wrong already, what stands in its place must not be called wrong as well
    let clean = notes.is_empty();
    let mut reader = Reader { values, at, places, clean, notes };
    reader.unknown_keys();
    if !is_id(&id) {
        reader
            .note_at(at, format!("{id:?} is no rule id: use letters, digits, - and _, at most 64, such as AUTH-0001"));
    }
    if id.starts_with(failure::RESERVED) {
        reader.note_at(
            at,
            format!("rule ids that begin with {} are authseal's own: choose another one", failure::RESERVED),
        );
    }
    let counted = aggregate::read(&mut reader);
    let update_on = updates::read(&mut reader, &counted);
    let Counted { aggs, columns, tracks, conditions } = counted;
    let spec = Spec {
        at,
        id,
        name: reader.required_text("name"),
        version: reader.version(),
        severity: reader.severity(),
        status: reader.choice(
            "status",
            Status::Stable,
            &[Status::Experimental, Status::Stable, Status::Deprecated],
            Status::name,
        ),
        mode: reader.choice("mode", Mode::Live, &[Mode::Live, Mode::Shadow, Mode::Off], Mode::name),
        attack: reader.attack(),
        owner: reader.text("owner").unwrap_or_default(),
        runbook: reader.text("runbook").unwrap_or_default(),
        falsepos: reader.texts("falsepos").unwrap_or_default(),
        when: reader.when(),
        key: reader.key(),
        window: reader.duration("window"),
        aggs,
        columns,
        tracks,
        conditions,
        settle: reader.duration("settle"),
        dedup: reader.duration("dedup"),
        wait: reader.duration("wait"),
        update_on,
    };
    reader.together(&spec);
    (notes.len() == before).then_some(spec)
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
}

/// Reads the values of a header.
pub(super) struct Reader<'a> {
    values: Map,
    at: Position,
    places: &'a BTreeMap<String, Position>,
    clean: bool,
    notes: &'a mut Vec<(Position, String)>,
}

impl Reader<'_> {
    /// Where a key stands.
    pub fn place(&self, key: &str) -> Position {
        self.places.get(key).copied().unwrap_or(self.at)
    }

    /// Notes what is wrong with a key.
    pub fn note(&mut self, key: &str, message: impl Into<String>) {
        self.note_at(self.place(key), message);
    }

    /// Notes what is wrong at a place.
    pub fn note_at(&mut self, at: Position, message: impl Into<String>) {
        self.notes.push((at, message.into()));
    }

    fn unknown_keys(&mut self) {
        let keys: Vec<String> = self.values.keys().map(ToString::to_string).collect();
        for key in keys {
            if LATER.contains(&key.as_str()) {
                let why = "without it the rule would judge otherwise than it says";
                self.note(&key, format!("`{key}` is not supported yet by this version: {why}"));
            } else if key == "at_most" {
                let why = "a bound from above also holds before the window has filled";
                self.note(
                    &key,
                    format!("there is no `at_most`: {why}; write it in decide(e, w), and add settle: \"2m\""),
                );
            } else if !KEYS.contains(&key.as_str()) {
                let near = hint(&key, KEYS);
                self.note(&key, format!("rules have no key `{key}`{near}"));
            }
        }
    }

    /// What a key says.
    pub fn value(&self, key: &str) -> Option<Dynamic> {
        self.values.get(key).cloned()
    }

    /// Whether the header has a key.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn required(&mut self, key: &str, example: &str) -> Option<Dynamic> {
        let value = self.values.get(key).cloned();
        if value.is_none() {
            self.note_at(self.at, format!("the rule has no `{key}`: add {example}"));
        }
        value
    }

    fn required_text(&mut self, key: &str) -> String {
        match self.required(key, &format!("{key}: \"…\"")) {
            Some(_) => self.text(key).unwrap_or_default(),
            None => String::new(),
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.values.get(key)?.clone();
        match value.into_immutable_string() {
            Ok(text) if text.trim().is_empty() || text.len() > 1024 => {
                self.note(key, format!("`{key}` must have 1 to 1,024 bytes"));
                None
            }
            Ok(text) => Some(text.to_string()),
            Err(kind) => {
                self.note(key, format!("`{key}` must be a string, it is {kind}"));
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.values.get(key)?.clone();
        let texts: Option<Vec<String>> = value.into_array().ok().and_then(|array| {
            array.into_iter().map(|text| text.into_immutable_string().ok().map(|text| text.to_string())).collect()
        });
        if texts.is_none() {
            self.note(key, format!("`{key}` must be an array of strings"));
        }
        texts
    }

    fn version(&mut self) -> i64 {
        let Some(value) = self.values.get("version") else { return 1 };
        match value.as_int() {
            Ok(version) if version >= 1 => version,
            _ => {
                self.note("version", "`version` must be a whole number from 1");
                1
            }
        }
    }

    fn severity(&mut self) -> Severity {
        let known = Severity::ALL.map(Severity::name);
        let Some(value) = self.required("severity", "severity: HIGH") else { return Severity::Medium };
        if let Some(severity) = value.clone().try_cast::<Severity>() {
            return severity;
        }
        let text = value.into_immutable_string().map(|text| text.to_string()).unwrap_or_default();
        Severity::from_name(&text).unwrap_or_else(|| {
            let near = hint(&text, known);
            self.note("severity", format!("unknown severity {text:?}{near}: one of {}", known.join(", ")));
            Severity::Medium
        })
    }

    fn choice<T: Copy>(&mut self, key: &str, default: T, all: &[T], name: fn(T) -> &'static str) -> T {
        let Some(text) = self.text(key) else { return default };
        all.iter().copied().find(|value| name(*value) == text).unwrap_or_else(|| {
            let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
            let near = hint(&text, names.iter().copied());
            self.note(key, format!("unknown {key} {text:?}{near}: one of {}", names.join(", ")));
            default
        })
    }

    fn attack(&mut self) -> Vec<Technique> {
        let mut found = Vec::new();
        for text in self.texts("attack").unwrap_or_default() {
            match attack::technique(&text) {
                Ok(technique) => found.push(technique),
                Err(why) => self.note("attack", why),
            }
        }
        found
    }

    fn when(&mut self) -> Pred {
        let Some(value) = self.required("when", "when: activity == LOGON & outcome == FAILURE") else {
            return Pred::Const(false);
        };
        let Some(PredObject(pred)) = value.try_cast::<PredObject>() else {
            self.note("when", "`when` must be a test of fields, such as activity == LOGON");
            return Pred::Const(false);
        };
        if self.clean && pred.cells() == 0 {
            self.note("when", "`when` can never hold: no activity, outcome or kind of record satisfies it");
        }
        pred.ordered()
    }

    fn key(&mut self) -> Vec<Selector> {
        let Some(value) = self.required("key", "key: [tenant, src_ip]") else { return Vec::new() };
        let fields: Option<Vec<Selector>> = value
            .into_array()
            .ok()
            .and_then(|fields| fields.into_iter().map(|f| f.try_cast::<FieldObject>().map(|f| f.0)).collect());
        let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
            self.note("key", "`key` must be an array of fields, such as [tenant, src_ip]");
            return Vec::new();
        };
        for (at, field) in fields.iter().enumerate() {
            if matches!(
                field.field_type(),
                FieldType::Texts | FieldType::Map | FieldType::OptDouble | FieldType::Micros
            ) {
                self.note(
                    "key",
                    format!("{} cannot be a key: use a field that identifies someone or something", field.name()),
                );
            }
            if fields[..at].contains(field) {
                self.note("key", format!("{} stands twice in the key", field.name()));
            }
        }
        fields
    }

    /// A map of the header.
    pub fn map(&mut self, key: &str) -> Option<Map> {
        let value = self.values.get(key)?.clone();
        let map = value.try_cast::<Map>();
        if map.as_ref().is_none_or(Map::is_empty) {
            self.note(key, format!("`{key}` must be a map with at least one entry: #{{ attempts: … }}"));
        }
        map
    }

    fn duration(&mut self, key: &str) -> Option<i64> {
        let text = self.text(key)?;
        let parsed = duration(&text).filter(|d| !d.is_zero() && *d <= LONGEST);
        if parsed.is_none() {
            self.note(key, format!("{text:?} is no duration: write 90s, 15m, 2h or 7d, at most 366d"));
        }
        parsed.and_then(|d| i64::try_from(d.as_micros()).ok())
    }

    /// What only makes sense together.
    fn together(&mut self, spec: &Spec) {
        let has = |key: &str| self.values.contains_key(key);
        let (window, agg, gate) = (has("window"), has("agg"), has("at_least"));
        let (settle, dedup, wait) = (has("settle"), has("dedup"), has("wait"));
        if agg && !window {
            self.note("agg", "`agg` needs a `window`: add window: \"15m\"");
        }
        if window && !agg {
            self.note("window", "`window` without `agg` has no effect: add agg: #{ attempts: count() }, or remove it");
        }
        if agg && !gate {
            self.note(
                "agg",
                "`agg` needs `at_least`, the native gate below which no function runs: add at_least: #{ … }",
            );
        }
        if settle && !(window && dedup) {
            self.note(
                "settle",
                "`settle` needs `window` and `dedup`: it judges the shape of a window once for each dedup period",
            );
        }
        let falling = spec.aggs.iter().filter(|agg| agg.at_least > 0 && agg.measure.may_fall());
        for agg in falling.filter(|_| !settle) {
            let why = "the gate is asked again once the shape has settled";
            let message = format!("`{}` may fall again with more events: add settle: \"2m\", {why}", agg.name);
            self.note(&format!("at_least.{}", agg.name), message);
        }
        if wait && window {
            let message = "`wait` is for rules that judge single events; with a `window`, use `settle`";
            self.note("wait", message);
        }
        if !spec.columns.is_empty() && spec.key.iter().any(|key| spec.columns.contains(key)) {
            self.note(
                "agg",
                "an aggregate over a field of the key always sees one value: take it out of the key or of agg",
            );
        }
    }
}

/// A duration as rules write it: a number and one of s, m, h, d.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || number.len() > 9 || !number.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(number.parse::<u64>().ok()? * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "15", "1.5h", "-1m", "15 m", "15min", "1h30m", "99999999999s", "１m"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
