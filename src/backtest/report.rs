//! What a backtest found, rule by rule: for people as text, for programs as JSON.

use crate::detect::{Finding, Mode, RuleSet, RuleStats, Severity, Totals};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// Findings of a rule that are shown.
const SAMPLES: usize = 5;
/// Keys of a rule that are told, those with the most findings first.
const TOP: usize = 5;
/// Different keys of a rule that are counted apart; further ones are counted together.
const MOST_KEYS: usize = 100_000;
/// Days shown as text, the latest ones.
const DAYS: usize = 14;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingSample {
    /// Its id.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// How bad it is.
    pub severity: &'static str,
    /// When the last of its events happened, RFC 3339.
    pub time: String,
    /// The record that raised it.
    pub position: String,
}

/// What one rule would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// Rule id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// live, shadow or off: rules that are off are not judged.
    pub mode: &'static str,
    /// Findings.
    pub findings: u64,
    /// Those of them that fall under a silence.
    pub silenced: u64,
    /// What would have been findings, but for an exception; over the whole time that was judged.
    pub excepted: u64,
    /// Findings by day (UTC) of their last event.
    pub by_day: BTreeMap<String, u64>,
    /// Findings by severity, the worst first.
    pub by_severity: Vec<(&'static str, u64)>,
    /// Keys with the most findings.
    pub top_keys: Vec<(String, u64)>,
    /// How many different keys have findings.
    pub keys: u64,
    /// The first findings.
    pub samples: Vec<FindingSample>,
    /// Records that `when` selected.
    pub selected: u64,
    /// Selected records that lack a field of the key.
    pub keyless: u64,
    /// Times the gate was open and the functions were asked.
    pub asked: u64,
    /// Calls of functions that failed.
    pub errors: u64,
    /// The first of the errors.
    pub first_errors: Vec<String>,
    /// Switched off after too many errors in a row: what it would have found later is missing.
    pub disabled: bool,
}

/// What a backtest found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Digest of the rules, lists and exceptions.
    pub rules_digest: String,
    /// Partitions or files.
    pub chains: usize,
    /// Records judged.
    pub records: u64,
    /// Events among them.
    pub events: u64,
    /// Rejections among them.
    pub rejections: u64,
    /// Rejections by code.
    pub rejections_by_code: BTreeMap<&'static str, u64>,
    /// Records that were sealed as they were.
    pub opaque: u64,
    /// Records too late to be judged.
    pub late: u64,
    /// Events that had been counted before.
    pub repeats: u64,
    /// Keys that were pushed out to stay within the bound of state.
    pub evicted: u64,
    /// When the first event happened: milliseconds since 1970.
    pub first: Option<i64>,
    /// When the last event happened: milliseconds since 1970.
    pub last: Option<i64>,
    /// By rule, in the order of their ids.
    pub rules: Vec<RuleReport>,
}

/// Findings of a rule so far.
#[derive(Default)]
struct Tally {
    days: BTreeMap<String, u64>,
    severities: BTreeMap<Severity, u64>,
    keys: BTreeMap<String, u64>,
    samples: Vec<FindingSample>,
    findings: u64,
    silenced: u64,
}

/// Gathers findings into a report.
pub(super) struct Collector {
    pub found: Vec<Finding>,
    pub report: Report,
    from: Option<i64>,
    rules: BTreeMap<String, Tally>,
    infos: Vec<(String, String, &'static str)>,
}

impl Collector {
    pub fn new(rules: &RuleSet, from: Option<i64>) -> Self {
        let infos = rules.rules().iter().map(|rule| (rule.id.clone(), rule.name.clone(), rule.mode.name())).collect();
        let report = Report { rules_digest: rules.bundle().0.hex(), ..Report::default() };
        Self { found: Vec::new(), report, from, rules: BTreeMap::new(), infos }
    }

    /// Counts what was found since, so that findings do not pile up.
    pub fn collect(&mut self) {
        for finding in self.found.drain(..) {
            let time = time_of(&finding);
            if self.from.is_some_and(|from| time.is_none_or(|time| time < from)) {
                continue;
            }
            let shown = time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
            let shown = shown.map_or_else(String::new, |time| time.to_string());
            let tally = self.rules.entry(finding.rule.clone()).or_default();
            tally.findings += 1;
            tally.silenced += u64::from(finding.silenced);
            *tally.days.entry(shown.get(..10).unwrap_or("unknown").to_owned()).or_default() += 1;
            *tally.severities.entry(finding.severity).or_default() += 1;
            let key: Vec<String> = finding.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let key = key.join(" ");
            if tally.keys.len() < MOST_KEYS || tally.keys.contains_key(&key) {
                *tally.keys.entry(key).or_default() += 1;
            } else {
                *tally.keys.entry("(others)".into()).or_default() += 1;
            }
            if tally.samples.len() < SAMPLES {
                tally.samples.push(FindingSample {
                    uid: finding.uid,
                    title: finding.title,
                    severity: finding.severity.name(),
                    time: shown,
                    position: finding.position.to_string(),
                });
            }
        }
    }

    pub fn finish(mut self, chains: usize, totals: Totals, stats: Vec<RuleStats>) -> Report {
        let mut report = self.report;
        (report.chains, report.late, report.repeats, report.evicted) =
            (chains, totals.late, totals.repeats, totals.evicted);
        for (id, name, mode) in self.infos {
            let tally = self.rules.remove(&id).unwrap_or_default();
            let stats = stats.iter().find(|stats| stats.id == id).cloned().unwrap_or_default();
            let mut top: Vec<(String, u64)> = tally.keys.iter().map(|(key, n)| (key.clone(), *n)).collect();
            top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            top.truncate(TOP);
            report.rules.push(RuleReport {
                id,
                name,
                mode,
                findings: tally.findings,
                silenced: tally.silenced,
                excepted: stats.excepted,
                by_day: tally.days,
                by_severity: tally.severities.iter().rev().map(|(severity, n)| (severity.name(), *n)).collect(),
                top_keys: top,
                keys: tally.keys.len() as u64,
                samples: tally.samples,
                selected: stats.matched,
                keyless: stats.keyless,
                asked: stats.gated,
                errors: stats.errors,
                first_errors: stats.first_errors,
                disabled: stats.disabled,
            });
        }
        report
    }
}

/// When the last event of a finding happened: milliseconds since 1970.
fn time_of(finding: &Finding) -> Option<i64> {
    let alert: serde_json::Value = serde_json::from_slice(&finding.ocsf).ok()?;
    alert.get("end_time").or_else(|| alert.get("time"))?.as_i64()
}

/// A number with commas.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 finding`, `2 findings`
fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = |time: Option<i64>| {
            time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok()).map_or("?".into(), |t| t.to_string())
        };
        let (records, chains) = (counted(self.records, "record"), counted(self.chains as u64, "partition"));
        writeln!(f, "{records} of {chains}, {} to {}", moment(self.first), moment(self.last))?;
        write!(f, "{}, {}", counted(self.events, "event"), counted(self.rejections, "rejection"))?;
        for (at, (code, n)) in self.rejections_by_code.iter().enumerate() {
            let last = if at + 1 == self.rejections_by_code.len() { ")" } else { "" };
            write!(f, "{}{code} {}{last}", if at == 0 { " (" } else { ", " }, count(*n))?;
        }
        writeln!(f, ", {} opaque, {} late, {}", count(self.opaque), count(self.late), counted(self.repeats, "repeat"))?;
        if self.evicted > 0 {
            let keys = counted(self.evicted, "key");
            writeln!(f, "{keys} were pushed out of memory: slow attacks may be missing")?;
        }
        for rule in &self.rules {
            writeln!(f)?;
            rule.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for RuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}  ({})", self.id, self.name, self.mode)?;
        if self.mode == Mode::Off.name() {
            return writeln!(f, "  off: not judged; set mode: \"shadow\" to try it");
        }
        let mut line = counted(self.findings, "finding");
        for (at, (severity, n)) in self.by_severity.iter().enumerate() {
            let _ = write!(line, "{} {} {severity}", if at == 0 { ":" } else { "," }, count(*n)); // to a string
        }
        if self.silenced > 0 {
            let _ = write!(line, "; {} silenced", count(self.silenced));
        }
        if self.excepted > 0 {
            let _ = write!(line, "; {} more fell under an exception", count(self.excepted));
        }
        writeln!(f, "  {line}")?;
        let (selected, asked) = (counted(self.selected, "record"), counted(self.asked, "time"));
        write!(f, "  selected {selected}, functions asked {asked}")?;
        if self.keyless > 0 {
            write!(f, ", {} lack a field of the key", counted(self.keyless, "record"))?;
        }
        writeln!(f)?;
        if self.errors > 0 {
            let error = self.first_errors.first().map_or("", String::as_str);
            let off = if self.disabled { "; the rule was switched off after ten in a row" } else { "" };
            writeln!(f, "  {}: {error}{off}", counted(self.errors, "error"))?;
        }
        if self.findings == 0 {
            return Ok(());
        }
        let skipped = self.by_day.len().saturating_sub(DAYS);
        let days = self.by_day.iter().skip(skipped).map(|(day, n)| format!("{day} ×{}", count(*n)));
        let more = if skipped > 0 { format!(" (and {skipped} days before)") } else { String::new() };
        writeln!(f, "  by day   {}{more}", days.collect::<Vec<_>>().join(", "))?;
        for (at, (key, n)) in self.top_keys.iter().enumerate() {
            writeln!(f, "  {}   {key} ×{}", if at == 0 { "by key" } else { "      " }, count(*n))?;
        }
        if self.keys > self.top_keys.len() as u64 {
            writeln!(f, "           and {}", counted(self.keys - self.top_keys.len() as u64, "other key"))?;
        }
        for (at, sample) in self.samples.iter().enumerate() {
            let head = if at == 0 { "such as" } else { "       " };
            writeln!(f, "  {head}  {}  {}  {}  {}", sample.time, sample.severity, sample.position, sample.title)?;
        }
        Ok(())
    }
}
