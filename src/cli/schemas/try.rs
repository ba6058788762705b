//! `authseal schemas try`: record by record what a mapping makes of a file, and a summary.

use crate::{
    artifact,
    backtest::{self, Record},
    cli::{
        exit::{self, Failure},
        lines_of,
        mapping::MappingArgs,
        print,
    },
    decode::{codes, mapping},
    event::{AuthEvent, Field, Value as FieldValue},
    record::{Outcome, Rejection},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write};

const EXAMPLES: &str = "\
Examples:
  authseal schemas try --mapping keycloak-event events.ndjson
  authseal schemas try --mapping sshd --record-time 2025-12-31 /var/log/auth.log
  authseal schemas try --mapping mine.toml --summary events.ndjson
  kafka-console-consumer … | authseal schemas try --mapping mine.toml -

Each line is a record. Without --mapping lines are JSON with the canonical field names (docs/input.md). A rejection is
no failure of this command: the exit code is 0. With --json each line is one record, and the last one the summary.";

/// Text or lines of JSON are handed over when there is so much of it.
const PIECE: usize = 64 * 1024;
/// So many unknown texts of a field are shown.
const SHOWN: usize = 5;
/// So many are counted: who sends ever new ones must not fill the memory.
const COUNTED: usize = 1000;

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A file of records, one a line, or - for stdin
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    mapping: MappingArgs,
    /// Print the summary alone
    #[arg(long)]
    summary: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut reader = lines_of(&args.file)?;
    let reading = args.mapping.reading(&mut reader)?;
    let mapping = args.mapping.file()?;
    let mut lines = backtest::lines(reader, &args.file, 0, &reading)?;
    let (mut out, mut summary) = (String::new(), Summary::default());
    while let Some((record, _)) = lines.next()? {
        summary.count(&record);
        if args.summary {
            continue;
        }
        if args.json {
            let _ = writeln!(out, "{}", record_json(&record, mapping.as_ref()));
        } else {
            tell(&record, mapping.as_ref(), &mut out);
        }
        if out.len() >= PIECE {
            print(&out)?;
            out.clear();
        }
    }
    if args.json {
        let _ = writeln!(out, "{}", json!({ "summary": summary.to_json() }));
    } else {
        let _ = write!(out, "{}{}", if args.summary { "" } else { "\n" }, summary.to_text());
    }
    print(&out)?;
    Ok(exit::GOOD)
}

/// A field as text; none if it is not set. What could drive a terminal is escaped.
fn text_of(event: &AuthEvent, field: Field) -> Option<String> {
    let quoted = |text: &str| match text.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
        true => format!("{text:?}"),
        false => text.to_owned(),
    };
    Some(match event.get(field) {
        FieldValue::Null | FieldValue::Map(_) => return None,
        FieldValue::Text(text) => quoted(text),
        FieldValue::Symbol(symbol) => symbol.to_owned(),
        FieldValue::Long(number) => number.to_string(),
        FieldValue::Double(number) => number.to_string(),
        FieldValue::Bool(value) => value.to_string(),
        FieldValue::Micros(moment) => {
            jiff::Timestamp::from_microsecond(moment.0).map_or_else(|_| moment.0.to_string(), |t| t.to_string())
        }
        FieldValue::Texts([]) => return None,
        FieldValue::Texts(texts) => texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","),
    })
}

/// Whether a field says more than that nothing is known.
fn is_filled(event: &AuthEvent, field: Field) -> bool {
    match event.get(field) {
        FieldValue::Symbol(symbol) => match field.field_type() {
            crate::event::FieldType::Enum(_, default) => symbol != default,
            _ => true,
        },
        FieldValue::Map(map) => !map.is_empty(),
        _ => text_of(event, field).is_some_and(|text| !text.is_empty()),
    }
}

fn tell(record: &Record, mapping: Option<&artifact::File>, out: &mut String) {
    let line = record.offset;
    match &record.outcome {
        Outcome::Opaque => {
            let _ = writeln!(out, "{line}: no authentication event: sealed as it is");
        }
        Outcome::Rejection(rejection) => {
            let _ = writeln!(out, "{line}: rejected, {}: {:?}", rejection.code, rejection.detail);
            if let Some(hint) = hint(rejection, mapping) {
                let _ = writeln!(out, "    {hint}");
            }
        }
        Outcome::Event(event) => {
            let time = text_of(event, Field::time).unwrap_or_default();
            let _ = write!(out, "{line}: {time} {} {}", event.activity, event.outcome);
            let head = [Field::time, Field::activity, Field::outcome, Field::quality, Field::attributes];
            for field in Field::ALL.iter().filter(|f| !head.contains(f) && is_filled(event, **f)) {
                let _ = write!(out, " {}={}", field.name(), text_of(event, *field).unwrap_or_default());
            }
            out.push('\n');
            for (name, value) in event.attributes.iter() {
                let _ = writeln!(out, "    {name} = {value:?}");
            }
            if !event.quality.is_empty() {
                let _ = writeln!(out, "    quality: {}", event.quality.join(", "));
            }
        }
    }
}

/// Where the mapping takes from what the record lacks.
fn hint(rejection: &Rejection, mapping: Option<&artifact::File>) -> Option<String> {
    let fields: &[Field] = match rejection.code {
        codes::MISSING_TIME | codes::IMPOSSIBLE_TIME => &[Field::time],
        codes::NO_IDENTITY => &[Field::user, Field::user_id, Field::actor, Field::session, Field::src_ip],
        _ => return None,
    };
    let file = mapping?;
    let from = |field: &Field| {
        let origins = mapping::origins(file, *field);
        (!origins.is_empty()).then(|| format!("{} from {}", field.name(), origins.join(", ")))
    };
    let taken: Vec<String> = fields.iter().filter_map(from).collect();
    (!taken.is_empty()).then(|| format!("the mapping takes {}", taken.join("; ")))
}

fn record_json(record: &Record, mapping: Option<&artifact::File>) -> Value {
    match &record.outcome {
        Outcome::Opaque => json!({ "line": record.offset, "opaque": true }),
        Outcome::Rejection(rejection) => json!({
            "line": record.offset,
            "rejection": { "code": rejection.code, "detail": rejection.detail, "hint": hint(rejection, mapping) },
        }),
        Outcome::Event(event) => {
            let mut fields = Map::new();
            for field in Field::ALL {
                let value = match event.get(*field) {
                    FieldValue::Null | FieldValue::Texts([]) => continue,
                    FieldValue::Text(text) => text.into(),
                    FieldValue::Symbol(symbol) => symbol.into(),
                    FieldValue::Long(number) => number.into(),
                    FieldValue::Double(number) => number.into(),
                    FieldValue::Bool(value) => value.into(),
                    FieldValue::Micros(_) => text_of(event, *field).into(),
                    FieldValue::Texts(texts) => texts.iter().map(|text| Value::from(text.as_str())).collect(),
                    FieldValue::Map(map) if map.is_empty() => continue,
                    FieldValue::Map(map) => map.iter().map(|(k, v)| (k.to_owned(), Value::from(v))).collect(),
                };
                fields.insert(field.name().into(), value);
            }
            json!({ "line": record.offset, "event": fields })
        }
    }
}

/// What a file came to.
#[derive(Default)]
struct Summary {
    events: u64,
    opaque: u64,
    rejections: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<(&'static str, &'static str), u64>,
    filled: BTreeMap<Field, u64>,
    /// What was wrong, by the entry of `quality`.
    quality: BTreeMap<String, u64>,
    /// Texts that no table knows, by field.
    unknown: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Summary {
    fn count(&mut self, record: &Record) {
        match &record.outcome {
            Outcome::Opaque => self.opaque += 1,
            Outcome::Rejection(rejection) => *self.rejections.entry(rejection.code).or_default() += 1,
            Outcome::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: &AuthEvent) {
        self.events += 1;
        *self.kinds.entry((event.activity.symbol(), event.outcome.symbol())).or_default() += 1;
        for field in Field::ALL.iter().filter(|field| is_filled(event, **field)) {
            *self.filled.entry(*field).or_default() += 1;
        }
        for entry in &event.quality {
            if self.quality.len() < COUNTED {
                *self.quality.entry(entry.to_string()).or_default() += 1;
            }
            let Some(field) = entry.strip_suffix(":unmapped") else { continue };
            if let Some(raw) = event.attributes.get(&format!("raw.{field}")) {
                let texts = self.unknown.entry(field.to_owned()).or_default();
                if texts.len() < COUNTED || texts.contains_key(raw) {
                    *texts.entry(raw.to_owned()).or_default() += 1;
                }
            }
        }
    }

    fn records(&self) -> u64 {
        self.events + self.opaque + self.rejections.values().sum::<u64>()
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        let rejected: u64 = self.rejections.values().sum();
        let (all, events, opaque) = (self.records(), self.events, self.opaque);
        let _ = writeln!(out, "{all} records: {events} events, {opaque} no authentication events, {rejected} rejected");
        for (code, count) in &self.rejections {
            let _ = writeln!(out, "  {count:>7} rejected, {code}");
        }
        for ((activity, outcome), count) in &self.kinds {
            let _ = writeln!(out, "  {count:>7} {activity} {outcome}");
        }
        if self.events > 0 {
            let _ = writeln!(out, "fields:");
        }
        for (field, count) in &self.filled {
            let percent = *count as f64 * 100.0 / self.events as f64;
            let _ = writeln!(out, "  {count:>7} {percent:>5.1} % {}", field.name());
        }
        if !self.quality.is_empty() {
            let _ = writeln!(out, "quality:");
        }
        for (entry, count) in &self.quality {
            let _ = writeln!(out, "  {count:>7} {}", entry.escape_debug());
        }
        for (field, texts) in &self.unknown {
            let mut texts: Vec<_> = texts.iter().collect();
            texts.sort_by_key(|(text, count)| (std::cmp::Reverse(**count), text.as_str()));
            let shown = texts.iter().take(SHOWN).map(|(text, count)| format!("{text:?} ({count})"));
            let more = if texts.len() > SHOWN { format!(" and {} more", texts.len() - SHOWN) } else { String::new() };
            let shown = shown.collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "{}: the mapping does not know {shown}{more}", field.escape_debug());
        }
        out
    }

    fn to_json(&self) -> Value {
        let kinds = self
            .kinds
            .iter()
            .map(|((activity, outcome), count)| json!({ "activity": activity, "outcome": outcome, "events": count }));
        let filled: Map<String, Value> =
            self.filled.iter().map(|(field, count)| (field.name().to_owned(), (*count).into())).collect();
        json!({
            "records": self.records(), "events": self.events, "opaque": self.opaque, "rejections": self.rejections,
            "kinds": kinds.collect::<Vec<_>>(), "fields": filled, "quality": self.quality, "unknown": self.unknown,
        })
    }
}
