//! One leaf, checked without being built: that it is the one canonical encoding of a record that can be, and what it
//! counts as.

use super::{
    MAX_VALUE,
    schema::{Plan, Shape},
};
use crate::{
    avro::{Cursor, Malformed},
    event::{Field, Micros},
    record::GapCause,
};
use std::fmt;

/// What a leaf stands for. The place is the number in `schemas/sealed_record.avsc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// A record that decoded and validated.
    Event,
    /// A record that did not.
    Rejection,
    /// A record sealed as it is.
    Opaque,
    /// A run of offsets that the broker did not deliver.
    Gap,
}

impl LeafKind {
    /// All kinds, by their number.
    pub const ALL: [Self; 4] = [Self::Event, Self::Rejection, Self::Opaque, Self::Gap];
}

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// They are not Avro.
    Avro(Malformed),
    /// They are Avro, and no record that can be sealed.
    Form(&'static str),
}

impl From<Malformed> for Bad {
    fn from(malformed: Malformed) -> Self {
        Self::Avro(malformed)
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Avro(malformed) => write!(f, "{malformed}"),
            Self::Form(what) => f.write_str(what),
        }
    }
}

/// What a leaf counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its first offset.
    pub offset: i64,
    /// The first offset after it.
    pub to: i64,
    /// What it stands for.
    pub kind: LeafKind,
    /// The record's timestamp, if it has one.
    pub timestamp: Option<i64>,
    /// The event's time, if it is one.
    pub event_time: Option<Micros>,
    /// The cause, if it is a gap.
    pub gap: Option<GapCause>,
}

/// Succeeds if `condition` holds.
fn must(condition: bool, otherwise: &'static str) -> Result<(), Bad> {
    if condition { Ok(()) } else { Err(Bad::Form(otherwise)) }
}

/// The branch of a union with null: whether a value follows.
#[inline]
pub fn is_set(cursor: &mut Cursor<'_>) -> Result<bool, Bad> {
    match cursor.long()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Bad::Form("a union has a branch that it does not have")),
    }
}

/// The items of an array or map: how many, in one block.
#[inline]
pub fn items<'a>(cursor: &mut Cursor<'a>, mut item: impl FnMut(&mut Cursor<'a>) -> Result<(), Bad>) -> Result<(), Bad> {
    let count = cursor.long()?;
    must(count >= 0, "an array or map has a block with a byte count")?;
    if count > 0 {
        // hostile counts end where the bytes end: every item has at least one
        for _ in 0..count {
            item(cursor)?;
        }
        must(cursor.long()? == 0, "an array or map has more than one block")?;
    }
    Ok(())
}

fn opt_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Bad> {
    Ok(if is_set(cursor)? { Some(cursor.bytes()?) } else { None })
}

/// Reads one leaf and checks it.
pub fn check(plan: &Plan, cursor: &mut Cursor<'_>) -> Result<Facts, Bad> {
    let offset = cursor.long()?;
    must(offset >= 0, "an offset is negative")?;
    let kind = usize::try_from(cursor.long()?).ok().and_then(|n| LeafKind::ALL.get(n).copied());
    let kind = kind.ok_or(Bad::Form("a leaf is of no kind"))?;
    let timestamp = cursor.long()?;
    let timestamp_type = cursor.long()?;
    must((0..=2).contains(&timestamp_type), "a timestamp is of no type")?;
    let key = opt_bytes(cursor)?;
    let mut headers = 0_usize;
    items(cursor, |cursor| {
        headers += 1;
        cursor.bytes()?;
        opt_bytes(cursor).map(drop)
    })?;
    let value = opt_bytes(cursor)?;
    must(value.is_none_or(|v| v.len() <= MAX_VALUE), "a value is longer than what can be sealed")?;
    let withheld = withheld(cursor)?;
    must(!withheld || value.is_none(), "a value is there although it is withheld")?;
    must(!is_set(cursor)?, "a record is encrypted, which this version of the format does not know")?;
    let event_time = if is_set(cursor)? { Some(event(plan, cursor)?) } else { None };
    let rejection = is_set(cursor)?;
    if rejection {
        cursor.string_bytes()?;
        cursor.string_bytes()?;
    }
    let gap = if is_set(cursor)? { Some((cursor.long()?, gap_cause(cursor)?)) } else { None };
    let kinds = [event_time.is_some(), rejection, gap.is_some()];
    let (want, name) = match kind {
        LeafKind::Event => ([true, false, false], "an event has another part set than event"),
        LeafKind::Rejection => ([false, true, false], "a rejection has another part set than rejection"),
        LeafKind::Opaque => ([false, false, false], "an opaque record has a part that only other kinds have"),
        LeafKind::Gap => ([false, false, true], "a gap has another part set than gap"),
    };
    must(kinds == want, name)?;
    let to = match gap {
        None => offset.checked_add(1).ok_or(Bad::Form("an offset is the largest that can be"))?,
        Some((to, _)) => {
            let empty = timestamp == 0 && timestamp_type == 0 && key.is_none() && headers == 0;
            must(empty && value.is_none() && !withheld, "a gap carries parts of a record")?;
            must(to > offset, "a gap is empty")?;
            to
        }
    };
    let timestamp = (timestamp_type != 0).then_some(timestamp);
    Ok(Facts { offset, to, kind, timestamp, event_time, gap: gap.map(|(_, cause)| cause) })
}

fn withheld(cursor: &mut Cursor<'_>) -> Result<bool, Bad> {
    if !is_set(cursor)? {
        return Ok(false);
    }
    cursor.string_bytes()?;
    must(cursor.long()? >= 0, "the length of what is withheld is negative")?;
    must(cursor.bytes()?.len() == 32, "the MAC of what is withheld has not 32 bytes")?;
    Ok(true)
}

/// The cause of a gap.
pub fn gap_cause(cursor: &mut Cursor<'_>) -> Result<GapCause, Bad> {
    GapCause::from_name(cursor.string()?).ok_or(Bad::Form("a gap has a cause that is not known"))
}

/// Reads an event by the schema of its file; its time.
fn event(plan: &Plan, cursor: &mut Cursor<'_>) -> Result<Micros, Bad> {
    let mut time = Micros::default();
    let mut steps = &plan.event[..];
    while let [step, after @ ..] = steps {
        if step.optional {
            // a zero byte each, and most fields of most events
            let nulls = cursor.zeros(step.run);
            if nulls > 0 {
                steps = &steps[nulls..];
                continue;
            }
            must(is_set(cursor)?, "a union is not set, and is")?;
        }
        steps = after;
        match &step.shape {
            Shape::Text => {
                cursor.string_bytes()?;
            }
            Shape::Long => {
                let value = cursor.long()?;
                if step.field == Some(Field::time) {
                    time = Micros(value);
                }
            }
            Shape::Int => {
                int(cursor)?;
            }
            Shape::Double => {
                cursor.double()?;
            }
            Shape::Bool => {
                cursor.boolean()?;
            }
            Shape::Enum(symbols) => {
                symbol(cursor, symbols)?;
            }
            Shape::Texts => items(cursor, |cursor| cursor.string_bytes().map(drop).map_err(Bad::from))?,
            Shape::Map => ordered(cursor)?,
        }
    }
    Ok(time)
}

/// An `int`: 32 bits.
pub fn int(cursor: &mut Cursor<'_>) -> Result<i32, Bad> {
    i32::try_from(cursor.long()?).map_err(|_| Bad::Form("an int has more than 32 bits"))
}

/// A symbol of an enum.
pub fn symbol<'a>(cursor: &mut Cursor<'_>, symbols: &'a [String]) -> Result<&'a str, Bad> {
    let place = usize::try_from(cursor.long()?).ok();
    place
        .and_then(|n| symbols.get(n))
        .map(String::as_str)
        .ok_or(Bad::Form("an enum has a symbol that it does not have"))
}

/// Passes over a map of strings; its keys must be in the order of their bytes, each once.
fn ordered(cursor: &mut Cursor<'_>) -> Result<(), Bad> {
    let mut last: Option<&[u8]> = None;
    items(cursor, |cursor| {
        let key = cursor.string_bytes()?;
        must(last.is_none_or(|last| last < key), UNORDERED)?;
        cursor.string_bytes()?;
        last = Some(key);
        Ok(())
    })
}

const UNORDERED: &str = "the keys of a map are not in order";

/// Reads one.
pub fn map<'a>(cursor: &mut Cursor<'a>, mut pair: impl FnMut(&'a str, &'a str)) -> Result<(), Bad> {
    let mut last: Option<&str> = None;
    items(cursor, |cursor| {
        let key = cursor.string()?;
        must(last.is_none_or(|last| last.as_bytes() < key.as_bytes()), UNORDERED)?;
        pair(key, cursor.string()?);
        last = Some(key);
        Ok(())
    })
}
