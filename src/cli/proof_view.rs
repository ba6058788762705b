//! A proof in words, for people who have never heard of authseal, and as JSON.

use super::{check_proof::advice, exit};
use crate::{
    event::{AuthEvent, Field, FieldType, Value as FieldValue},
    fault::Fault,
    proof::{Proven, Statement},
    record::{GapCause, TimestampType},
    segment::{LeafKind, SealedRecord},
    tlog::Grade,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{fmt::Write, path::Path};

/// Bytes of a key, header or value that are shown in text; `--json` has all.
const SHOWN: usize = 2048;

/// What a proof of a record does not show, and what one of a gap does not.
const OF_RECORD: &str = "That the record is true. It shows which bytes Kafka delivered at this place, as holders of \
                         the named key sealed them; whoever holds that key can seal anything.";
const OF_GAP: &str = "Why nothing was delivered, beyond doubt. It shows what the sealing machine saw and concluded, \
                      as holders of the named key sealed it; whoever holds that key can seal anything.";
/// What no proof of this form shows.
const OTHERS: &str =
    "Anything of other records: what else is in the store, and whether it is whole, is for `authseal verify` to say.";
const UNSTAMPED: &str = "The time beyond doubt: it is what the clock of the sealing machine said. No time stamp of an \
                         authority that was given (--tsa-cert) says more.";
const STAMPED: &str =
    "That it happened when it says: the stamp shows that it was sealed by then, and not how long before.";
const UNWITNESSED: &str = "That everybody was shown the same log: no quorum of witnesses that were named (--policy) \
                           has cosigned its checkpoint.";

/// What came of a check: what is proven, and what its checkpoint is worth; or the first link that does not hold.
pub(super) type Checked = Result<(Proven, Grade), Fault>;
const NOT_LOGGED: &str = "That the record is in the log. Until it is, the holder of the sealing key could seal another \
                          one in its place, and nobody could tell.";

/// One sentence without its end: what is proven.
pub(super) fn headline(statement: &Statement) -> String {
    let (record, position) = (&statement.record, statement.position());
    if let Some(gap) = record.gap {
        let chain = &statement.manifest.chain;
        let (from, last) = (gap.from, gap.to.saturating_sub(1));
        let cause = cause(gap.cause);
        return match from == last {
            true => format!("that no record was delivered at offset {from} of {chain}: {cause}"),
            false => format!("that no record was delivered at offsets {from} to {last} of {chain}: {cause}"),
        };
    }
    match (&record.event, &record.rejection) {
        (Some(event), _) => format!("the event {position}: {}", summary(event)),
        (_, Some(rejection)) => format!("the record {position}, which is no event: {}", quoted(&rejection.code)),
        _ => format!("the record {position}, sealed as it is"),
    }
}

fn summary(event: &AuthEvent) -> String {
    let mut out = format!("{} {}", event.activity.symbol(), event.outcome.symbol());
    let who = event.user.as_ref().or(event.user_id.as_ref()).or(event.actor.as_ref());
    for (word, text) in [("of", who), ("from", event.src_ip.as_ref())] {
        if let Some(text) = text {
            let _ = write!(out, " {word} {}", quoted(text));
        }
    }
    let _ = write!(out, " at {}", micros(event.time.0));
    out
}

fn cause(cause: GapCause) -> &'static str {
    match cause {
        GapCause::NotDelivered => "not_delivered (transaction markers, aborted or compacted records)",
        GapCause::Unexplained => "unexplained (the broker left it out, and nothing says why)",
        GapCause::Lost => "lost (the broker had deleted it before it was read)",
        GapCause::BeforeChain => "before_chain (the broker had deleted it before sealing began)",
        GapCause::Skipped => "skipped (an operator passed over it)",
    }
}

/// The whole result, for people.
pub(super) fn text(file: &Path, checked: &Checked, lacking: Option<Fault>, code: u8) -> String {
    let mut out = String::new();
    let file = file.display();
    match checked {
        Err(fault) => {
            let _ = writeln!(out, "NOT PROVEN: {file} does not hold\n\n{fault}\n{}", advice(fault));
        }
        Ok((proven, grade)) => {
            let log = proven.statement.log.is_some();
            let _ = writeln!(out, "{}: {file} proves", if log { "PROVEN" } else { "SEALED, NOT LOGGED" });
            let _ = writeln!(out, "  {}\n", headline(&proven.statement));
            if let Some(fault) = lacking {
                let _ = writeln!(out, "{fault}\n{}\n", advice(&fault));
            }
            place(&proven.statement, grade, &mut out);
            contents(&proven.statement.record, &mut out);
            out.push_str("\nWhat this does not show\n");
            for limit in limits(proven, grade) {
                wrapped(&limit, &mut out);
            }
        }
    }
    let _ = writeln!(out, "\nexit code {code}");
    out
}

/// A point of a list, in lines of about a hundred characters.
fn wrapped(text: &str, out: &mut String) {
    let mut width = usize::MAX;
    for word in text.split(' ') {
        let (start, length) = if width == usize::MAX { ("  - ", 0) } else { ("\n    ", word.chars().count()) };
        if width == usize::MAX || width + length > 100 {
            out.push_str(start);
            width = 4;
        } else {
            out.push(' ');
        }
        out.push_str(word);
        width += word.chars().count() + 1;
    }
    out.push('\n');
}

/// Where the record stands, who signed it, and where that is logged.
fn place(statement: &Statement, grade: &Grade, out: &mut String) {
    let m = &statement.manifest;
    let row = |out: &mut String, name: &str, text: String| out.push_str(&format!("{name:<10} {text}\n"));
    let c = &m.chain;
    let to = statement.to();
    let offsets = match to - statement.record.offset {
        1 => format!("offset {}", statement.record.offset),
        _ => format!("offsets {} to {}", statement.record.offset, to.saturating_sub(1)),
    };
    row(out, "place", format!("{offsets} of partition {} of topic {}, cluster {}", c.partition, c.topic, c.cluster));
    row(out, "chain", format!("{c} of {}", m.origin));
    row(out, "sealed", format!("{}, by instance {}", millis(m.times.sealed), quoted(&m.writer.instance)));
    row(out, "signed by", statement.sealed_by.clone());
    row(
        out,
        "segment",
        format!("{}, of which it is record {} of {}", m.sequence, statement.leaf + 1, m.counts.records),
    );
    row(out, "manifest", statement.manifest_hash.to_string());
    row(out, "record", format!("{} bytes, hash {}", statement.bytes.len(), statement.leaf_hash));
    match &statement.log {
        Some(log) => {
            let (index, size, origin) = (log.index, log.checkpoint.size, &log.checkpoint.origin);
            row(out, "logged", format!("entry {index} of the {size} in the log {origin}"));
            row(out, "root", log.checkpoint.root.to_string());
            row(out, "signed by", log.signed_by.join(", "));
        }
        None => row(out, "logged", "no: this is proven by the seal's signature alone".into()),
    }
    for seen in &grade.cosignatures {
        let time = millis(i64::try_from(seen.time.saturating_mul(1000)).unwrap_or(i64::MAX));
        row(out, "seen by", format!("{}+{}, at {time}", quoted(&seen.name), seen.id));
    }
    for stamp in &grade.stamps {
        row(out, "stamped", format!("{}, by {}", millis(stamp.time), quoted(&stamp.authority)));
    }
    if statement.log.is_some() {
        row(out, "grade", grade.name().into());
    }
}

/// What the record says, and what Kafka delivered.
fn contents(record: &SealedRecord, out: &mut String) {
    let row = |out: &mut String, name: &str, text: String| out.push_str(&format!("  {name:<17} {text}\n"));
    if let Some(event) = &record.event {
        out.push_str("\nWhat the record says\n");
        for field in Field::ALL {
            if let Some(text) = field_text(event, *field) {
                row(out, field.name(), text);
            }
        }
        for (key, value) in event.attributes.iter() {
            row(out, "attribute", format!("{} = {}", quoted(key), quoted(value)));
        }
    }
    if let Some(rejection) = &record.rejection {
        out.push_str("\nWhy it is no event\n");
        row(out, "code", quoted(&rejection.code));
        row(out, "detail", quoted(&rejection.detail));
    }
    if record.kind == LeafKind::Gap {
        return;
    }
    out.push_str("\nWhat Kafka delivered\n");
    let by = match record.timestamp_type {
        TimestampType::None => "none",
        TimestampType::CreateTime => "set by the producer",
        TimestampType::LogAppendTime => "set by the broker",
    };
    row(out, "timestamp", format!("{}, {by}", millis(record.timestamp)));
    row(out, "key", shown(record.key.as_ref()));
    for header in &record.headers {
        row(out, "header", format!("{}: {}", shown(Some(&header.key)), shown(header.value.as_ref())));
    }
    match &record.withheld {
        Some(w) => {
            row(out, "withheld", format!("{}: {} bytes were not kept; an HMAC stands for them", w.code, w.length))
        }
        None => row(out, "value", shown(record.value.as_ref())),
    }
}

fn limits(proven: &Proven, grade: &Grade) -> Vec<String> {
    let first = if proven.statement.record.gap.is_some() { OF_GAP } else { OF_RECORD };
    let mut limits = vec![first.to_owned()];
    limits.push(if grade.is_stamped() { STAMPED } else { UNSTAMPED }.to_owned());
    limits.extend((!grade.is_witnessed()).then(|| UNWITNESSED.to_owned()));
    limits.push(OTHERS.to_owned());
    if proven.statement.log.is_none() {
        limits.insert(0, NOT_LOGGED.to_owned());
    }
    let known: Vec<String> = grade.cosignatures.iter().map(|seen| format!("{}+{}", seen.name, seen.id)).collect();
    let names: Vec<String> =
        proven.unchecked.iter().filter(|name| !known.contains(name)).map(|name| quoted(name)).collect();
    if !names.is_empty() {
        limits.push(format!("What further signatures on the checkpoint are worth: {}", names.join(", ")));
    }
    limits
}

/// The whole result, for programs.
pub(super) fn json(file: &Path, checked: &Checked, lacking: Option<Fault>, code: u8) -> Value {
    let verdict = match checked {
        Err(_) => "refused",
        Ok((proven, _)) if proven.statement.log.is_none() => "pending",
        Ok(_) => "proven",
    };
    let fault = checked.as_ref().err().cloned().or(lacking).as_ref().map(
        |fault| json!({ "code": fault.code, "offset": fault.offset, "detail": fault.detail, "advice": advice(fault) }),
    );
    json!({
        "format": "authseal/check-proof@1",
        "version": env!("CARGO_PKG_VERSION"),
        "file": file,
        "verdict": verdict,
        "exit_code": code,
        "good": code == exit::GOOD,
        "fault": fault,
        "statement": checked.as_ref().ok().map(|(proven, _)| statement(&proven.statement)),
        "grade": checked.as_ref().ok().map(|(_, grade)| json!({
            "name": grade.name(),
            "cosigned_by": grade.cosignatures.iter().map(|c| format!("{}+{}", c.name, c.id)).collect::<Vec<_>>(),
            "witnessed_at": grade.witnessed_at().map(|at| at.saturating_mul(1000)),
            "stamped_by": grade.stamps.iter().map(|stamp| stamp.authority.as_str()).collect::<Vec<_>>(),
            "stamped_at": grade.stamped_at(),
        })),
        "unchecked": checked.as_ref().map_or(&[][..], |(proven, _)| &proven.unchecked),
        "limits": checked.as_ref().map_or_else(|_| Vec::new(), |(proven, grade)| limits(proven, grade)),
    })
}

/// What is proven, for programs.
pub(super) fn statement(statement: &Statement) -> Value {
    let (m, record) = (&statement.manifest, &statement.record);
    let log = statement.log.as_ref().map(|log| {
        let c = &log.checkpoint;
        json!({ "origin": c.origin, "index": log.index, "size": c.size, "root": c.root, "signed_by": log.signed_by })
    });
    let kind = ["event", "rejection", "opaque", "gap"][record.kind as usize];
    json!({
        "proves": headline(statement),
        "origin": m.origin,
        "position": statement.position().to_string(),
        "offsets": { "from": record.offset, "to": statement.to() },
        "kind": kind,
        "sealed": m.times.sealed,
        "sealed_by": statement.sealed_by,
        "instance": m.writer.instance,
        "segment": { "sequence": m.sequence, "manifest": statement.manifest_hash, "root": m.root,
            "leaf": statement.leaf, "leaves": m.counts.records, "leaf_hash": statement.leaf_hash },
        "log": log,
        "record": record_json(record),
        "avro": STANDARD.encode(&statement.bytes),
    })
}

fn record_json(record: &SealedRecord) -> Value {
    let headers = record.headers.iter().map(|h| json!({ "key": raw(Some(&h.key)), "value": raw(h.value.as_ref()) }));
    let timestamp_type = ["none", "create_time", "log_append_time"][record.timestamp_type as usize];
    json!({
        "timestamp": record.timestamp,
        "timestamp_type": timestamp_type,
        "key": raw(record.key.as_ref()),
        "headers": headers.collect::<Vec<_>>(),
        "value": raw(record.value.as_ref()),
        "withheld": record.withheld.as_ref().map(
            |w| json!({ "code": w.code, "length": w.length, "mac": STANDARD.encode(w.mac) })),
        "event": record.event.as_ref().map(|event| event_json(event)),
        "rejection": record.rejection.as_ref().map(|r| json!({ "code": r.code, "detail": r.detail })),
        "gap": record.gap.map(|gap| json!({ "from": gap.from, "to": gap.to, "cause": gap.cause.name() })),
    })
}

/// Bytes as text, where they are some, and always as base64.
fn raw(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(
        Value::Null,
        |bytes| json!({ "text": std::str::from_utf8(bytes).ok(), "base64": STANDARD.encode(bytes) }),
    )
}

fn event_json(event: &AuthEvent) -> Map<String, Value> {
    let value = |field: &Field| match event.get(*field) {
        FieldValue::Null => Value::Null,
        FieldValue::Text(text) => text.into(),
        FieldValue::Symbol(symbol) => symbol.into(),
        FieldValue::Long(number) => number.into(),
        FieldValue::Double(number) => number.into(),
        FieldValue::Bool(value) => value.into(),
        FieldValue::Micros(moment) => moment.0.into(),
        FieldValue::Texts(texts) => texts.iter().map(|text| Value::from(text.as_str())).collect(),
        FieldValue::Map(map) => map.iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect(),
    };
    Field::ALL.iter().map(|field| (field.name().to_owned(), value(field))).collect()
}

/// A field as text; none if it says no more than that nothing is known.
fn field_text(event: &AuthEvent, field: Field) -> Option<String> {
    Some(match event.get(field) {
        FieldValue::Null | FieldValue::Map(_) | FieldValue::Texts([]) | FieldValue::Text("") => return None,
        FieldValue::Text(text) => quoted(text),
        FieldValue::Symbol(symbol) => match field.field_type() {
            FieldType::Enum(_, default) if symbol == default => return None,
            _ => symbol.to_owned(),
        },
        FieldValue::Long(number) => number.to_string(),
        FieldValue::Double(number) => number.to_string(),
        FieldValue::Bool(value) => value.to_string(),
        FieldValue::Micros(moment) => micros(moment.0),
        FieldValue::Texts(texts) => texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "),
    })
}

/// Text of others: what could drive a terminal, or pass for a row of ours, is escaped.
fn quoted(text: &str) -> String {
    match text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
        true => format!("{text:?}"),
        false => text.to_owned(),
    }
}

fn shown(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else { return "none".into() };
    let head = bytes.get(..SHOWN).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN { ", and more that --json shows" } else { "" };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let end = (0..=head.len()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            format!("{:?}{more}", text.get(..end).unwrap_or_default())
        }
        Err(_) => format!("base64 {}{more}", STANDARD.encode(head)),
    }
}

fn millis(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).map_or_else(|_| format!("{time} ms since 1970"), |t| t.to_string())
}

fn micros(time: i64) -> String {
    jiff::Timestamp::from_microsecond(time).map_or_else(|_| format!("{time} µs since 1970"), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_in_its_row() {
        assert_eq!((quoted("mia"), quoted("")), ("mia".into(), "\"\"".into()));
        let mut out = String::new();
        wrapped(&"word ".repeat(60), &mut out);
        assert!(out.starts_with("  - word word") && out.lines().count() == 4, "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 110), "{out}");
        for text in ["a\nexit code 0", "\u{1b}[2J", "\u{202e}rtl", "a b", "é"] {
            let quoted = quoted(text);
            assert!(quoted.starts_with('"') && !quoted.contains(['\n', '\u{1b}', '\u{202e}']), "{quoted}");
        }
        let long = Bytes::from("ä".repeat(SHOWN));
        assert!(shown(Some(&long)).ends_with("\", and more that --json shows"));
        assert_eq!(shown(Some(&Bytes::from_static(b"\xff"))), "base64 /w==");
    }

    #[test]
    fn every_fault_of_a_proof_has_an_advice() {
        for code in crate::proof::code::ALL {
            assert!(advice(&Fault::new(code, "")).ends_with('.'));
        }
    }
}
