//! What a mapping does, in words: the tables of `docs/sources.md`, and hints for people who look for a field.

use super::plan::{Cells, Const, Get, Kind, Lookup, Piece, Plan, Sets};
use crate::event::Field;
use std::{collections::BTreeSet, fmt::Write};

/// The kinds of records that a mapping knows: name, and why it is ignored if it is.
pub fn kinds_of(file: &crate::artifact::File) -> Result<Vec<(String, Option<String>)>, super::Problems> {
    let plan = super::load(file)?;
    Ok(plan.kinds.into_iter().map(|kind| (kind.name, kind.ignore)).collect())
}

/// A mapping as Markdown: what each kind of record and each value of its tables becomes, and where fields come from.
pub fn describe(file: &crate::artifact::File) -> Result<String, super::Problems> {
    let plan = super::load(file)?;
    let mut out = String::new();
    let about = &plan.about;
    let _ = writeln!(out, "{}\n", about.about);
    for url in &about.reference {
        let _ = writeln!(out, "- documentation: <{url}>");
    }
    if !about.reference.is_empty() {
        out.push('\n');
    }
    if !about.secrets.is_empty() {
        let _ = writeln!(out, "Secrets in its records: {}\n", about.secrets);
    }
    kinds(&plan, &mut out);
    let sets = plan.kinds.iter().map(|kind| &kind.sets).chain([&plan.common]);
    let mut shown: Vec<(usize, &str)> = Vec::new();
    for lookup in sets.flat_map(|sets| &sets.lookups) {
        if !shown.contains(&(lookup.table, &lookup.shown)) {
            shown.push((lookup.table, &lookup.shown));
            rows(&plan, lookup, &mut out);
        }
    }
    fields(&plan, &mut out);
    Ok(out.trim_end().to_owned() + "\n")
}

/// The names of sources that a mapping states: none of a mapping that cannot be loaded.
pub fn sources_of(file: &crate::artifact::File) -> BTreeSet<String> {
    let Ok(plan) = super::load(file) else { return BTreeSet::new() };
    let mut names = BTreeSet::new();
    for sets in plan.kinds.iter().map(|kind| &kind.sets).chain([&plan.common]) {
        for candidate in sets.fields.iter().filter(|(field, _)| *field == Field::source).flat_map(|(_, all)| all) {
            if let Get::Const(value) = &candidate.get {
                names.insert(value.text().into_owned());
            }
        }
        for table in sets.lookups.iter().filter_map(|lookup| plan.tables.get(lookup.table)) {
            for row in &table.rows {
                let Cells::Fields(cells) = &row.cells else { continue };
                let stated = cells.iter().filter(|(field, _)| *field == Field::source);
                names.extend(stated.map(|(_, value)| value.text().into_owned()));
            }
        }
    }
    names
}

/// What a mapping knows, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Kinds of records, those that are no events among them.
    pub kinds: usize,
    /// Rows of the tables by which events are told apart.
    pub entries: usize,
    /// Fields that it can fill.
    pub fields: BTreeSet<Field>,
}

/// What a mapping knows.
pub fn known_of(file: &crate::artifact::File) -> Result<Known, super::Problems> {
    let plan = super::load(file)?;
    let sets = plan.kinds.iter().map(|kind| &kind.sets).chain([&plan.common]);
    let tables: BTreeSet<usize> = sets.flat_map(|sets| &sets.lookups).map(|lookup| lookup.table).collect();
    let rows = tables.iter().filter_map(|at| plan.tables.get(*at)).map(|table| table.rows.len());
    let filled = Field::ALL.iter().copied().filter(|field| !origins(&plan, *field).is_empty());
    Ok(Known { kinds: plan.kinds.len(), entries: rows.sum(), fields: filled.collect() })
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn kinds(plan: &Plan, out: &mut String) {
    if plan.kinds.is_empty() {
        return;
    }
    out.push_str("| kind of record | becomes |\n|---|---|\n");
    for kind in &plan.kinds {
        let becomes = match &kind.ignore {
            Some(why) => format!("no event: {why}"),
            None => becomes(plan, kind),
        };
        let _ = writeln!(out, "| {} | {} |", cell(&kind.name), cell(&becomes));
    }
    out.push('\n');
}

/// The activity and outcome that a kind states, or where they come from.
fn becomes(plan: &Plan, kind: &Kind) -> String {
    let stated = |field: Field| {
        let all = [&kind.sets, &plan.common];
        let candidates = all.iter().find_map(|sets| sets.fields.iter().find(|(f, _)| *f == field));
        match candidates.map(|(_, candidates)| &candidates[..]) {
            Some([one]) => match &one.get {
                Get::Const(value) => Some(value.text().into_owned()),
                _ => None,
            },
            _ => None,
        }
    };
    let said: Vec<String> = [Field::activity, Field::outcome, Field::reason].into_iter().filter_map(stated).collect();
    match said.is_empty() {
        false => said.join(" "),
        true => match kind.sets.lookups.first().or(plan.common.lookups.first()) {
            Some(lookup) => format!("by `{}`, below", lookup.shown),
            None => "an event".into(),
        },
    }
}

fn rows(plan: &Plan, lookup: &Lookup, out: &mut String) {
    let Some(table) = plan.tables.get(lookup.table) else { return };
    let mut columns: Vec<Field> = Vec::new();
    for row in &table.rows {
        if let Cells::Fields(cells) = &row.cells {
            columns.extend(cells.iter().map(|(field, _)| *field));
        }
    }
    columns.sort();
    columns.dedup();
    let head: Vec<&str> = columns.iter().map(|field| field.name()).collect();
    let _ = writeln!(out, "| `{}` | {} |", cell(&lookup.shown), head.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(columns.len()));
    for row in &table.rows {
        let Cells::Fields(cells) = &row.cells else { continue };
        let of = |column: &Field| {
            cells.iter().find(|(field, _)| field == column).map_or(String::new(), |(_, value)| cell(&value.text()))
        };
        let values: Vec<String> = columns.iter().map(of).collect();
        let _ = writeln!(out, "| `{}` | {} |", cell(&row.key), values.join(" | "));
    }
    out.push('\n');
}

fn fields(plan: &Plan, out: &mut String) {
    let mut lines = Vec::new();
    for field in Field::ALL.iter().filter(|field| !matches!(field, Field::attributes | Field::quality)) {
        let origins = origins(plan, *field);
        if !origins.is_empty() {
            lines.push(format!("| `{}` | {} |", field.name(), cell(&origins.join(", "))));
        }
    }
    out.push_str("| field | taken from |\n|---|---|\n");
    lines.iter().for_each(|line| {
        let _ = writeln!(out, "{line}");
    });
    out.push('\n');
}

/// Where a mapping takes a field from, in the words of the file.
pub(super) fn origins(plan: &Plan, field: Field) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    let all: Vec<&Sets> = plan.kinds.iter().map(|kind| &kind.sets).chain([&plan.common]).collect();
    for sets in all {
        for lookup in &sets.lookups {
            let rows = plan.tables.get(lookup.table).into_iter().flat_map(|table| &table.rows);
            let has = |cells: &Cells| matches!(cells, Cells::Fields(cells) if cells.iter().any(|(f, _)| *f == field));
            if rows.into_iter().any(|row| has(&row.cells)) {
                add(format!("a table, by `{}`", lookup.shown));
            }
        }
        for candidate in sets.fields.iter().filter(|(f, _)| *f == field).flat_map(|(_, candidates)| candidates) {
            match &candidate.get {
                Get::Paths(paths) => paths.iter().for_each(|path| add(format!("`{}`", path.text))),
                Get::Const(Const::Text(text) | Const::Number(text)) => add(format!("always \"{text}\"")),
                Get::Const(Const::Bool(value)) => add(format!("always {value}")),
                Get::RecordTime => add("the record's own timestamp".into()),
                Get::Template(pieces) => {
                    let written = pieces.iter().map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Path(path) => format!("{{{}}}", path.text),
                    });
                    add(format!("`{}`", written.collect::<String>()));
                }
            }
        }
    }
    found
}
