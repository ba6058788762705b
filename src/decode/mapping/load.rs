//! Reads a mapping file into a [`Plan`]. Everything that is wrong is reported at once, each with its place.

use super::{
    path::{Glob, Names},
    plan::{About, Cells, Const, How, Kind, Lookup, Parse, Plan, Row, Sets, Table},
    source::{Item, Keys, Problems, Source, Value, texts},
    value::Read,
};
use crate::{
    artifact::File,
    detect::hint,
    event::{AuthEvent, Field, FieldType, Slot},
};

/// The version of the language that this reads.
const VERSION: &str = "1";

/// Reads a mapping.
pub(crate) fn load(file: &File) -> Result<Plan, Problems> {
    let Ok(text) = std::str::from_utf8(&file.bytes) else {
        let (mut source, _) = Source::read("");
        source.wrong(0, "the file is not UTF-8");
        return Err(source.problems(&file.path).err().unwrap_or(Problems { file: file.path.clone(), list: vec![] }));
    };
    let (source, root) = Source::read(text);
    let mut read = Read { source, names: Names::new(), dotted: false, tables: Vec::new(), pinned: None };
    let plan = plan(&mut read, &root);
    let Read { source, .. } = read;
    source.problems(&file.path)?;
    plan.ok_or_else(|| Problems { file: file.path.clone(), list: Vec::new() })
}

fn plan(read: &mut Read, root: &Item) -> Option<Plan> {
    let mut keys = Keys::of(root, "a mapping", &mut read.source)?;
    match keys.get("mapping") {
        Some(Item { value: Value::Number(version), .. }) if version == VERSION => {}
        Some(item) => read.source.wrong(item.at, "mapping = 1 is the only version of the language"),
        None => read.source.wrong(0, "mapping = 1 is missing: it says which version of the language this is"),
    }
    let about = about(&mut keys, read);
    read.dotted = keys.is("dotted_keys", &mut read.source);
    let zone = zone(&mut keys, read);
    // tables first: what stands before them may name them
    if let Some(item) = keys.get("tables") {
        tables(item, read);
    }
    let parse = list(keys.get("parse"), "[[parse]]", read).into_iter().filter_map(|item| step(item, read)).collect();
    let common = sets(&mut keys, read);
    let (keep, strip, except) = kept(&mut keys, read);
    let kinds: Vec<Kind> =
        list(keys.get("event"), "[[event]]", read).into_iter().filter_map(|item| kind(item, read)).collect();
    keys.done(&mut read.source);
    let times = |sets: &Sets| sets.fields.iter().any(|(field, _)| *field == Field::time);
    if !times(&common) && kinds.iter().all(|kind| kind.ignore.is_some() || !times(&kind.sets)) {
        read.source.wrong(0, "no field `time` is mapped: an event has no place without one");
    }
    let names = std::mem::take(&mut read.names);
    let tables = std::mem::take(&mut read.tables);
    Some(Plan { about, names, zone, parse, kinds, common, keep, strip, except, tables })
}

fn about(keys: &mut Keys<'_>, read: &mut Read) -> About {
    let source = &mut read.source;
    let mut text = |key: &'static str| match keys.text(key, source) {
        Some(text) => text.trim().to_owned(),
        None => {
            source.wrong(0, format!("{key} is missing"));
            String::new()
        }
    };
    let (name, product, what) = (text("name"), text("product"), text("about"));
    let secrets = keys.text("secrets", source).unwrap_or_default().trim().to_owned();
    let reference = keys.texts("reference", source).unwrap_or_default();
    let (mut json, mut lines) = (false, false);
    match keys.get("input") {
        None => source.wrong(0, "input is missing: \"json\", \"text\", or both in a list"),
        Some(item) => {
            for form in texts(item, "input", source) {
                match form.as_str() {
                    "json" => json = true,
                    "text" => lines = true,
                    other => source.wrong(item.at, format!("{other:?} is no form of input: \"json\" or \"text\"")),
                }
            }
        }
    }
    About { name, product, about: what, reference, secrets, json, text: lines }
}

/// An offset from UTC, such as `+02:00`.
pub fn offset(text: &str) -> Option<jiff::tz::Offset> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text.strip_prefix('+')), |rest| (-1, Some(rest)));
    let (hours, minutes) = rest?.split_once(':')?;
    let two = |text: &str| Some(text).filter(|t| t.len() == 2)?.parse::<u8>().ok().map(i32::from);
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    jiff::tz::Offset::from_seconds(sign * (hours * 60 + minutes) * 60).ok()
}

/// The zone of times without an offset.
fn zone(keys: &mut Keys<'_>, read: &mut Read) -> jiff::tz::TimeZone {
    let Some(text) = keys.text("zone", &mut read.source) else { return jiff::tz::TimeZone::UTC };
    match offset(text) {
        Some(offset) => offset.to_time_zone(),
        None if text == "UTC" => jiff::tz::TimeZone::UTC,
        None => {
            let at = keys.get("zone").map_or(0, |item| item.at);
            let message = "is no zone: \"UTC\" or an offset such as \"+02:00\" (the topic's `zone` may name a place)";
            read.source.wrong(at, format!("{text:?} {message}"));
            jiff::tz::TimeZone::UTC
        }
    }
}

/// The items of a list of tables.
fn list<'t>(item: Option<&'t Item>, what: &str, read: &mut Read) -> Vec<&'t Item> {
    match item {
        None => Vec::new(),
        Some(Item { value: Value::List(items), .. }) => items.iter().collect(),
        Some(item) => {
            read.source.wrong(item.at, format!("write {what}, with two brackets: there may be several"));
            Vec::new()
        }
    }
}

fn tables(item: &Item, read: &mut Read) {
    let Some(keys) = Keys::of(item, "tables", &mut read.source) else { return };
    for entry in keys.entries() {
        if let Some(table) = table(&entry.key, &entry.item, read) {
            read.tables.push(table);
        }
    }
}

/// A table of values.
pub(super) fn table(name: &str, item: &Item, read: &mut Read) -> Option<Table> {
    let keys = Keys::of(item, "a table of values", &mut read.source)?;
    let mut rows = Vec::new();
    for entry in keys.entries() {
        let cells = match &entry.item.value {
            Value::Table(cells) => {
                let mut fields = Vec::new();
                for cell in cells {
                    let field = field(&cell.key, cell.at, read);
                    if let (Some(field), Some(value)) = (field, constant(&cell.item, read)) {
                        check(field, &value, cell.item.at, read);
                        fields.push((field, value));
                    }
                }
                Cells::Fields(fields)
            }
            _ => Cells::One(constant(&entry.item, read)?),
        };
        rows.push(Row { key: entry.key.clone(), cells });
    }
    if rows.is_empty() {
        read.source.wrong(item.at, format!("the table {name} has no rows"));
    }
    Some(Table::new(name, item.at, rows))
}

pub(super) fn constant(item: &Item, read: &mut Read) -> Option<Const> {
    Some(match &item.value {
        Value::Text(text) => Const::Text(text.clone()),
        Value::Number(text) => Const::Number(text.clone()),
        Value::Bool(value) => Const::Bool(*value),
        Value::List(_) | Value::Table(_) => {
            let message = format!("a value must be a string, a number or a truth value, not {}", item.kind());
            read.source.wrong(item.at, message);
            return None;
        }
    })
}

/// Whether a field can have a value that the mapping states: told when it is loaded, not at 3 a.m.
pub(super) fn check(field: Field, value: &Const, at: usize, read: &mut Read) {
    let text = value.text();
    if text.is_empty() {
        return;
    }
    if let FieldType::Enum(symbols, _) = field.field_type() {
        let mut event = AuthEvent::default();
        let known = match event.slot(field) {
            Slot::Enum(slot) => slot.set_symbol(&text),
            _ => true,
        };
        if !known {
            let hint = hint(&text, symbols.iter().copied());
            let message = format!("{text:?} is no {}{hint} (one of {})", field.name(), symbols.join(", "));
            read.source.wrong(at, message);
        }
        return;
    }
    let scalar = value.scalar();
    let fits = match field.field_type() {
        FieldType::OptBool => scalar.to_bool().is_some(),
        FieldType::OptLong | FieldType::OptInt => scalar.to_long().is_some(),
        FieldType::OptDouble => scalar.to_double().is_some(),
        FieldType::Micros | FieldType::OptMicros => scalar.to_micros().is_some(),
        _ => true,
    };
    if !fits {
        read.source.wrong(at, format!("{text:?} is no value of the field {}", field.name()));
    }
}

/// The field of a name. `attributes` and `quality` are not set like others.
pub(super) fn field(name: &str, at: usize, read: &mut Read) -> Option<Field> {
    match Field::from_name(name) {
        Some(Field::attributes) => read.source.wrong(at, "attributes are set in [attributes.fields]"),
        Some(Field::quality) => read.source.wrong(at, "quality is what authseal says of the record"),
        Some(field) => return Some(field),
        None => {
            let hint = hint(name, Field::ALL.iter().map(|field| field.name()));
            read.source.wrong(at, format!("{name:?} is no field of an event{hint}"));
        }
    }
    None
}

fn step(item: &Item, read: &mut Read) -> Option<Parse> {
    let mut keys = Keys::of(item, "[[parse]]", &mut read.source)?;
    let from = match keys.get("from") {
        Some(from) => read.paths(from),
        None => {
            read.source.wrong(item.at, "from is missing: the path of the text to take apart");
            Vec::new()
        }
    };
    let when = keys.get("when").map(|when| read.when(when));
    let patterns = keys.get("pattern");
    let (pairs, json) = (keys.get("pairs"), keys.get("json"));
    let how = match (patterns, pairs, json) {
        (Some(patterns), None, None) => {
            let wanted = match &patterns.value {
                Value::List(items) => items.iter().collect(),
                _ => vec![patterns],
            };
            How::Patterns(wanted.into_iter().filter_map(|item| read.pattern(item)).collect())
        }
        (None, Some(pairs), None) => {
            let mut keys = Keys::of(pairs, "pairs", &mut read.source)?;
            let into = read.into(&mut keys, pairs.at);
            let pairs = read.pairs(&mut keys);
            keys.done(&mut read.source);
            How::Pairs { pairs, into }
        }
        (None, None, Some(json)) => {
            let mut keys = Keys::of(json, "json", &mut read.source)?;
            let into = read.into(&mut keys, json.at);
            keys.done(&mut read.source);
            How::Json { into }
        }
        _ => {
            read.source.wrong(item.at, "a [[parse]] has one of pattern, pairs, json");
            return None;
        }
    };
    keys.done(&mut read.source);
    Some(Parse { from, when, how })
}

fn kind(item: &Item, read: &mut Read) -> Option<Kind> {
    let mut keys = Keys::of(item, "[[event]]", &mut read.source)?;
    let name = keys.text("name", &mut read.source).unwrap_or_default().to_owned();
    if name.is_empty() {
        read.source.wrong(item.at, "name is missing: what kind of record this is, for people");
    }
    let when = keys.get("when").map(|when| read.when(when));
    let ignore = keys.text("ignore", &mut read.source).map(str::to_owned);
    if ignore.as_ref().is_some_and(|why| why.trim().is_empty()) {
        read.source.wrong(item.at, "ignore must say why such a record is no authentication event");
    }
    let sets = sets(&mut keys, read);
    let is_set = !(sets.fields.is_empty() && sets.lookups.is_empty() && sets.attributes.is_empty());
    if ignore.is_some() && is_set {
        read.source.wrong(item.at, "what is ignored becomes no event: take its fields out");
    }
    keys.done(&mut read.source);
    Some(Kind { name, when, ignore, sets })
}

/// `fields`, `lookup` and `attributes.fields` of the file or of a kind.
fn sets(keys: &mut Keys<'_>, read: &mut Read) -> Sets {
    let mut sets = Sets::default();
    if let Some(item) = keys.get("fields")
        && let Some(fields) = Keys::of(item, "fields", &mut read.source)
    {
        for entry in fields.entries() {
            if let Some(field) = field(&entry.key, entry.at, read) {
                sets.fields.push((field, read.candidates(&entry.item, Some(field))));
            }
        }
    }
    for item in list(keys.get("lookup"), "[[lookup]]", read) {
        sets.lookups.extend(lookup(item, read));
    }
    if let Some(item) = keys.get("attributes")
        && let Some(mut attributes) = Keys::of(item, "attributes", &mut read.source)
        && let Some(item) = attributes.get("fields")
        && let Some(fields) = Keys::of(item, "attributes.fields", &mut read.source)
    {
        for entry in fields.entries() {
            sets.attributes.push((entry.key.clone(), read.candidates(&entry.item, None)));
        }
    }
    sets
}

fn lookup(item: &Item, read: &mut Read) -> Option<Lookup> {
    let mut keys = Keys::of(item, "[[lookup]]", &mut read.source)?;
    let on = keys.get("on");
    let Some(on) = on else {
        read.source.wrong(item.at, "on is missing: the path of the value to look up");
        return None;
    };
    let shown = shown(on);
    let on = read.candidates(on, None);
    let table = keys.get("table").and_then(|table| read.table(table));
    keys.done(&mut read.source);
    let table = match table {
        Some(table) => table,
        None => {
            read.source.wrong(item.at, "table is missing: the name of one of [tables]");
            return None;
        }
    };
    let rows = read.tables.get(table).map(|table| &table.rows);
    let columns = rows.into_iter().flatten().filter_map(|row| match &row.cells {
        Cells::Fields(cells) => cells.iter().map(|(field, _)| *field).min(),
        Cells::One(_) => None,
    });
    let Some(field) = columns.min() else {
        read.source.wrong(item.at, "the rows of a [[lookup]] name fields: KEY = { activity = \"LOGON\" }");
        return None;
    };
    Some(Lookup { on, shown, table, field })
}

/// What is looked up, in the words of the file: of several candidates the last, which is the record's own name where
/// the others are texts that were taken apart.
fn shown(on: &Item) -> String {
    match &on.value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.last().map(shown).unwrap_or_default(),
        Value::Table(entries) => entries.first().map(|entry| shown(&entry.item)).unwrap_or_default(),
        Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// What is kept of values that the mapping does not ask for: the prefix of such attributes, beginnings of paths that
/// are left out, and what is not kept.
fn kept(keys: &mut Keys<'_>, read: &mut Read) -> (Option<String>, Vec<String>, Vec<Glob>) {
    let nothing = (None, Vec::new(), Vec::new());
    let Some(item) = keys.get("attributes") else { return nothing };
    let Some(mut attributes) = Keys::of(item, "attributes", &mut read.source) else { return nothing };
    let _ = attributes.get("fields");
    let unmapped = attributes.is("unmapped", &mut read.source);
    let prefix = attributes.text("prefix", &mut read.source).unwrap_or_default().to_owned();
    let strip = attributes.texts("strip", &mut read.source).unwrap_or_default();
    let except = attributes.texts("except", &mut read.source).unwrap_or_default();
    attributes.done(&mut read.source);
    (unmapped.then_some(prefix), strip, except.iter().map(|pattern| Glob::new(pattern)).collect())
}
