//! `authseal rules explain`: what each rule makes of each event of a file, and why.

use super::{read, report};
use crate::{
    backtest,
    cli::{
        exit::{self, Failure},
        lines_of,
        mapping::MappingArgs,
        print,
    },
    detect::{
        Limits, RuleSet,
        explain::{Answer, Asked, Explained, Explainer, Gate, Stand, Verdict},
    },
    event::{Field, Value as FieldValue},
    record::Outcome,
};
use serde_json::{Map, Value, json};
use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};

/// Text or lines of JSON are handed over when there is so much of it.
const PIECE: usize = 64 * 1024;
/// Bytes of state.
const STATE: usize = 512 << 20;
/// After the last event everything that waits is judged.
const AFTER: i64 = 86_400_000;

const EXAMPLES: &str = "\
Examples:
  authseal rules explain events.ndjson
  authseal rules explain --rule AUTH-0001 events.ndjson
  tail -n 100 events.ndjson | authseal rules explain --rule AUTH-0002 --json -

A file holds one JSON object a line, with the canonical field names (docs/input.md), or with --mapping what
another product writes. Events are judged in the order in
which they stand there. With --json each line is one event, and the last one the summary.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Files of events (NDJSON), or - for stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Folder with *.rhai, lists/*.txt and exceptions/*.toml
    #[arg(long, value_name = "DIR", default_value = "rules")]
    rules: PathBuf,
    #[command(flatten)]
    mapping: MappingArgs,
    /// Explain this rule only; may be repeated
    #[arg(long = "rule", value_name = "ID")]
    only: Vec<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &Args) -> Result<u8, Failure> {
    let rules = match RuleSet::load(&read(&args.rules)?) {
        Ok(rules) => Arc::new(rules),
        Err(problems) => return report(&args.rules, &problems, args.json),
    };
    super::known_rules(&rules, &args.only)?;
    let limits = Limits { state_bytes: STATE, lateness: Duration::from_secs(600) };
    let mut told = Told { args, text: String::new(), records: 0, sums: Vec::new() };
    let wanted = rules.rules().iter().filter(|rule| told.wanted(&rule.id));
    told.sums = wanted.map(|rule| Sum { rule: rule.id.clone(), ..Sum::default() }).collect();
    let mut explainer = Explainer::new(rules.clone(), limits);
    let (mut chains, mut now) = (Vec::new(), i64::MIN);
    for (place, name) in (0..).zip(&args.files) {
        let mut reader = lines_of(name)?;
        let reading = args.mapping.reading(&mut reader)?;
        let mut lines = backtest::lines(reader, name, place, &reading)?;
        chains.push(lines.chain().clone());
        while let Some((record, _)) = lines.next()? {
            now = now.max(record.time);
            let backtest::Record { chain, offset, timestamp, outcome, .. } = &record;
            let input = crate::detect::Input { chain, offset: *offset, timestamp: *timestamp, now, outcome };
            let explained = explainer.judge(&input);
            told.record(name, &record, &explained)?;
        }
    }
    let horizon = i64::try_from(rules.horizon().as_millis()).unwrap_or(i64::MAX);
    let rest = explainer.finish(&chains, now.saturating_add(horizon).saturating_add(AFTER));
    told.finish(&rest)?;
    Ok(exit::GOOD)
}

/// What one rule did over all.
#[derive(Default)]
struct Sum {
    rule: String,
    selected: u64,
    asked: u64,
    findings: u64,
}

/// What is told, a piece at a time.
struct Told<'a> {
    args: &'a Args,
    text: String,
    records: u64,
    sums: Vec<Sum>,
}

impl Told<'_> {
    fn wanted(&self, rule: &str) -> bool {
        self.args.only.is_empty() || self.args.only.iter().any(|id| id == rule)
    }

    fn record(&mut self, file: &str, record: &backtest::Record, explained: &Explained) -> Result<(), Failure> {
        self.records += 1;
        let verdicts: Vec<&Verdict> = explained.verdicts.iter().filter(|v| self.wanted(&v.rule)).collect();
        for verdict in &verdicts {
            let asked: &[Asked] = if let Stand::Asked(asked) = &verdict.stand { asked } else { &[] };
            let selected = !matches!(verdict.stand, Stand::NotSelected(_) | Stand::Off);
            self.count(&verdict.rule, selected, asked);
        }
        let besides: Vec<&Asked> = explained.besides.iter().filter(|asked| self.wanted(&asked.rule)).collect();
        besides.iter().for_each(|asked| self.count(&asked.rule, false, std::slice::from_ref(*asked)));
        if self.args.json {
            let value = json!({
                "file": file, "line": record.offset, "event": summary_json(&record.outcome),
                "rules": verdicts.iter().map(|verdict| verdict_json(verdict)).collect::<Vec<_>>(),
                "besides": besides.iter().map(|asked| asked_json(asked)).collect::<Vec<_>>(),
            });
            // writing to a string cannot fail, here and below
            let _ = writeln!(self.text, "{value}");
        } else {
            let _ = writeln!(self.text, "{file}:{}  {}", record.offset, summary(&record.outcome));
            let mut passed_over = Vec::new();
            for verdict in verdicts {
                match &verdict.stand {
                    // with many rules, those that look at other events would hide the ones that matter
                    Stand::NotSelected(_) if self.args.only.is_empty() => passed_over.push(verdict.rule.as_str()),
                    _ => verdict_text(&mut self.text, verdict),
                }
            }
            if !passed_over.is_empty() {
                let _ = writeln!(self.text, "  not selected by {} (--rule ID says why)", passed_over.join(", "));
            }
            besides.iter().for_each(|asked| asked_text(&mut self.text, "  then ", asked));
        }
        if self.text.len() >= PIECE { print(&std::mem::take(&mut self.text)) } else { Ok(()) }
    }

    fn count(&mut self, rule: &str, selected: bool, asked: &[Asked]) {
        let Some(sum) = self.sums.iter_mut().find(|sum| sum.rule == rule) else { return };
        sum.selected += u64::from(selected);
        sum.asked += asked.len() as u64;
        let raised = asked.iter().filter(|asked| matches!(asked.answer, Answer::Raised { .. }));
        sum.findings += raised.count() as u64;
    }

    fn finish(mut self, rest: &[Asked]) -> Result<(), Failure> {
        let rest: Vec<&Asked> = rest.iter().filter(|asked| self.wanted(&asked.rule)).collect();
        rest.iter().for_each(|asked| self.count(&asked.rule, false, std::slice::from_ref(*asked)));
        if self.args.json {
            print(&std::mem::take(&mut self.text))?;
            let sums: Vec<Value> = self.sums.iter().map(sum_json).collect();
            let rest: Vec<Value> = rest.iter().map(|asked| asked_json(asked)).collect();
            return print(&json!({ "records": self.records, "at_end": rest, "rules": sums }).to_string());
        }
        if !rest.is_empty() {
            let _ = writeln!(self.text, "when time had passed");
            rest.iter().for_each(|asked| asked_text(&mut self.text, "  ", asked));
        }
        let _ = writeln!(self.text);
        for Sum { rule, selected, asked, findings } in &self.sums {
            let records = self.records;
            let _ = writeln!(
                self.text,
                "{rule}: of {records} records `when` selected {selected}; functions asked {asked}×; findings {findings}"
            );
        }
        print(&self.text)
    }
}

fn sum_json(sum: &Sum) -> Value {
    json!({ "id": sum.rule, "selected": sum.selected, "asked": sum.asked, "findings": sum.findings })
}

/// The event in one line: what most rules look at.
fn summary(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Event(event) => {
            let mut line = jiff::Timestamp::from_microsecond(event.time.0).map_or("?".into(), |time| time.to_string());
            let _ = write!(line, "  {} {}", event.activity.symbol(), event.outcome.symbol());
            for field in [Field::tenant, Field::user, Field::src_ip, Field::reason] {
                if let FieldValue::Text(text) = event.get(field) {
                    let text: String = text.chars().take(80).collect();
                    let _ = write!(line, "  {}={text:?}", field.name());
                }
            }
            line
        }
        Outcome::Rejection(rejection) => format!("rejection {}: {:?}", rejection.code, rejection.detail),
        Outcome::Opaque => "sealed as it is: rules do not see it".into(),
    }
}

fn summary_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Event(event) => {
            let time = jiff::Timestamp::from_microsecond(event.time.0).map_or(Value::Null, |t| json!(t.to_string()));
            let mut map = Map::new();
            map.insert("time".into(), time);
            map.insert("activity".into(), json!(event.activity.symbol()));
            map.insert("outcome".into(), json!(event.outcome.symbol()));
            for field in [Field::event_id, Field::tenant, Field::user, Field::src_ip, Field::reason] {
                if let FieldValue::Text(text) = event.get(field) {
                    map.insert(field.name().into(), json!(text));
                }
            }
            Value::Object(map)
        }
        Outcome::Rejection(rejection) => json!({ "rejection": rejection.code, "detail": rejection.detail }),
        Outcome::Opaque => json!({ "opaque": true }),
    }
}

fn moment(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

fn key_text(key: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| {
        let quoted = value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control());
        if quoted { format!("{name}={value:?}") } else { format!("{name}={value}") }
    };
    key.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// `users 12 of 15, attempts 40`
fn gates_text(gates: &[Gate]) -> String {
    let one = |gate: &Gate| match gate.at_least {
        0 => format!("{} {}", gate.name, gate.value),
        least => format!("{} {} of {least}", gate.name, gate.value),
    };
    gates.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn verdict_text(out: &mut String, verdict: &Verdict) {
    let state = [key_text(&verdict.key), gates_text(&verdict.gates)];
    let state = state.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    let said = match &verdict.stand {
        Stand::Off => "off: not judged".into(),
        Stand::Disabled => "switched off after too many errors".into(),
        Stand::NotSelected(refusals) => {
            let lines: Vec<String> = refusals.iter().map(crate::detect::Refusal::line).collect();
            format!("not selected: {}", lines.join("; "))
        }
        Stand::Late => format!("late: older than its partition's watermark by more than ten minutes; {state}"),
        Stand::Keyless(fields) => format!("not judged: it lacks {} of the key", fields.join(", ")),
        Stand::Repeat => format!("a repeat: its event id was counted before; {state}"),
        Stand::Counted if verdict.gates.iter().any(Gate::is_shut) => format!("counted, gate shut: {state}"),
        Stand::Counted => format!("counted: {state}"),
        Stand::Pending => format!("out of order: its windows are judged a little later; {state}"),
        Stand::Waits(until) => format!("gate open, settles until {}: {state}", moment(*until)),
        Stand::Deduplicated(until) => {
            format!("gate open, and the finding of this period was raised before; next at {}: {state}", moment(*until))
        }
        Stand::Asked(asked) => {
            asked.iter().for_each(|asked| asked_text(out, "  ", asked));
            return;
        }
    };
    let _ = writeln!(out, "  {}  {said}", verdict.rule);
}

fn asked_text(out: &mut String, head: &str, asked: &Asked) {
    let mut line = format!("{head}{}  gate open at {}", asked.rule, asked.position);
    for part in [key_text(&asked.key), gates_text(&asked.gates)].into_iter().filter(|part| !part.is_empty()) {
        let _ = write!(line, "; {part}");
    }
    let _ = match &asked.answer {
        Answer::Raised { uid, title, severity, silenced } => {
            let silenced = silenced.as_ref().map_or(String::new(), |by| format!(" (silenced by {by})"));
            writeln!(out, "{line}\n      FINDING {} {title:?}{silenced}  {uid}", severity.name())
        }
        Answer::Refused => writeln!(out, "{line}\n      decide said no"),
        Answer::Failed(error) => writeln!(out, "{line}\n      decide failed: {error}"),
        Answer::Excepted(by) => writeln!(out, "{line}\n      no finding: exception {by}"),
    };
}

fn gates_json(gates: &[Gate]) -> Value {
    let gate = |gate: &Gate| json!({ "name": gate.name, "value": gate.value, "at_least": gate.at_least });
    gates.iter().map(gate).collect()
}

fn key_json(key: &[(String, String)]) -> Value {
    Value::Object(key.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn verdict_json(verdict: &Verdict) -> Value {
    let mut value = json!({ "id": verdict.rule, "stand": verdict.stand.name() });
    let Value::Object(map) = &mut value else { return value };
    if !verdict.key.is_empty() {
        map.insert("key".into(), key_json(&verdict.key));
    }
    if !verdict.gates.is_empty() {
        map.insert("values".into(), gates_json(&verdict.gates));
    }
    match &verdict.stand {
        Stand::NotSelected(refusals) => {
            let refused = refusals.iter().map(|refusal| {
                let found = refusal.found.iter().map(|(name, value)| (name.clone(), json!(value)));
                json!({ "test": refusal.test, "found": Value::Object(found.collect()) })
            });
            map.insert("refused_by".into(), refused.collect());
        }
        Stand::Keyless(fields) => drop(map.insert("lacks".into(), json!(fields))),
        Stand::Waits(until) | Stand::Deduplicated(until) => drop(map.insert("until".into(), json!(moment(*until)))),
        Stand::Asked(asked) => drop(map.insert("asked".into(), asked.iter().map(asked_json).collect())),
        Stand::Off | Stand::Disabled | Stand::Late | Stand::Repeat | Stand::Counted | Stand::Pending => {}
    }
    value
}

fn asked_json(asked: &Asked) -> Value {
    let answer = match &asked.answer {
        Answer::Raised { uid, title, severity, silenced } => json!({
            "finding": uid, "title": title, "severity": severity.name(), "silenced_by": silenced,
        }),
        Answer::Refused => json!({ "decide": false }),
        Answer::Failed(error) => json!({ "error": error }),
        Answer::Excepted(by) => json!({ "decide": true, "excepted_by": by }),
    };
    json!({
        "id": asked.rule, "key": key_json(&asked.key), "position": asked.position,
        "after": asked.window.map(|(from, _)| moment(from)), "to": asked.window.map(|(_, to)| moment(to)),
        "values": gates_json(&asked.gates), "answer": answer,
    })
}
