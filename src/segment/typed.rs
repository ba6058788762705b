//! One leaf as a value: what search, export and proofs read. By the schema of its file, so that old segments stay
//! readable.

use super::{
    leaf::{self, Bad, LeafKind},
    schema::{Plan, Shape, Step},
};
use crate::{
    avro::Cursor,
    event::{Attributes, AuthEvent, Micros, Slot},
    record::{Gap, Header, TimestampType},
};
use bytes::Bytes;

/// Stands for bytes that were not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedWithheld {
    /// Why.
    pub code: String,
    /// How many bytes.
    pub length: i64,
    /// HMAC-SHA-256 of the bytes under a key that can be destroyed.
    pub mac: [u8; 32],
}

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRejection {
    /// Reason code.
    pub code: String,
    /// What was wrong and where.
    pub detail: String,
}

/// A leaf. Which of the last three parts is set follows from `kind`.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedRecord {
    /// Kafka offset; of a gap, its first.
    pub offset: i64,
    /// What it stands for.
    pub kind: LeafKind,
    /// Milliseconds as Kafka gave them.
    pub timestamp: i64,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// Key.
    pub key: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// Value, byte for byte as received.
    pub value: Option<Bytes>,
    /// What stands for bytes that were not kept.
    pub withheld: Option<SealedWithheld>,
    /// What authseal understood.
    pub event: Option<Box<AuthEvent>>,
    /// Why it is no event.
    pub rejection: Option<SealedRejection>,
    /// Which offsets were not delivered, and why.
    pub gap: Option<Gap>,
}

/// Reads a leaf that [`leaf::check`] has accepted. The parts of the record share the memory of `bytes`.
pub fn decode(plan: &Plan, bytes: &Bytes) -> Result<SealedRecord, Bad> {
    let mut cursor = Cursor::strict(bytes);
    let cursor = &mut cursor;
    let offset = cursor.long()?;
    let kind = usize::try_from(cursor.long()?).ok().and_then(|n| LeafKind::ALL.get(n).copied());
    let kind = kind.ok_or(Bad::Form("a leaf is of no kind"))?;
    let timestamp = cursor.long()?;
    let timestamp_type = match cursor.long()? {
        0 => TimestampType::None,
        1 => TimestampType::CreateTime,
        2 => TimestampType::LogAppendTime,
        _ => return Err(Bad::Form("a timestamp is of no type")),
    };
    let key = opt_bytes(cursor, bytes)?;
    let mut headers = Vec::new();
    leaf::items(cursor, |cursor| {
        let key = bytes.slice_ref(cursor.bytes()?);
        headers.push(Header { key, value: opt_bytes(cursor, bytes)? });
        Ok(())
    })?;
    let value = opt_bytes(cursor, bytes)?;
    let withheld = if leaf::is_set(cursor)? { Some(withheld(cursor)?) } else { None };
    if leaf::is_set(cursor)? {
        return Err(Bad::Form("a record is encrypted, which this version of the format does not know"));
    }
    let event = if leaf::is_set(cursor)? { Some(Box::new(event(plan, cursor)?)) } else { None };
    let rejection = if leaf::is_set(cursor)? {
        Some(SealedRejection { code: cursor.string()?.into(), detail: cursor.string()?.into() })
    } else {
        None
    };
    let gap = if leaf::is_set(cursor)? {
        Some(Gap { from: offset, to: cursor.long()?, cause: leaf::gap_cause(cursor)? })
    } else {
        None
    };
    Ok(SealedRecord { offset, kind, timestamp, timestamp_type, key, headers, value, withheld, event, rejection, gap })
}

fn opt_bytes(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Option<Bytes>, Bad> {
    Ok(if leaf::is_set(cursor)? { Some(whole.slice_ref(cursor.bytes()?)) } else { None })
}

fn withheld(cursor: &mut Cursor<'_>) -> Result<SealedWithheld, Bad> {
    let (code, length) = (cursor.string()?.into(), cursor.long()?);
    let mac = cursor.bytes()?.try_into().map_err(|_| Bad::Form("the MAC of what is withheld has not 32 bytes"))?;
    Ok(SealedWithheld { code, length, mac })
}

/// Reads an event by the schema of its file: fields that this version does not know are passed over, those that the
/// file does
/// not know keep their defaults, and so do symbols that this version does not know.
fn event(plan: &Plan, cursor: &mut Cursor<'_>) -> Result<AuthEvent, Bad> {
    let mut event = AuthEvent::default();
    let mut steps = &plan.event[..];
    while let [Step { field, optional, shape, run }, after @ ..] = steps {
        if *optional {
            let nulls = cursor.zeros(*run);
            if nulls > 0 {
                steps = steps.get(nulls..).unwrap_or_default();
                continue;
            }
            // no null: the branch of its type, or no leaf
            leaf::is_set(cursor)?;
        }
        steps = after;
        let slot = field.map(|field| event.slot(field));
        match shape {
            Shape::Text => set_text(slot, cursor.string()?),
            Shape::Long => set_long(slot, cursor.long()?),
            Shape::Int => {
                let value = leaf::int(cursor)?;
                if let Some(Slot::OptInt(slot)) = slot {
                    *slot = Some(value);
                }
            }
            Shape::Double => {
                let value = cursor.double()?;
                if let Some(Slot::OptDouble(slot)) = slot {
                    *slot = Some(value);
                }
            }
            Shape::Bool => {
                let value = cursor.boolean()?;
                if let Some(Slot::OptBool(slot)) = slot {
                    *slot = Some(value);
                }
            }
            Shape::Enum(symbols) => {
                let symbol = leaf::symbol(cursor, symbols)?;
                if let Some(Slot::Enum(slot)) = slot {
                    slot.set_symbol(symbol);
                }
            }
            Shape::Texts => {
                let mut texts = Vec::new();
                leaf::items(cursor, |cursor| {
                    texts.push(cursor.string()?.into());
                    Ok(())
                })?;
                if let Some(Slot::Texts(slot)) = slot {
                    *slot = texts;
                }
            }
            Shape::Map => {
                let mut map = Attributes::default();
                leaf::map(cursor, |key, value| drop(map.insert(key, value)))?;
                if let Some(Slot::Map(slot)) = slot {
                    *slot = map;
                }
            }
        }
    }
    Ok(event)
}

fn set_text(slot: Option<Slot<'_>>, value: &str) {
    match slot {
        Some(Slot::Text(slot)) => *slot = value.into(),
        Some(Slot::OptText(slot)) => *slot = Some(value.into()),
        _ => {}
    }
}

fn set_long(slot: Option<Slot<'_>>, value: i64) {
    match slot {
        Some(Slot::Micros(slot)) => *slot = Micros(value),
        Some(Slot::OptMicros(slot)) => *slot = Some(Micros(value)),
        Some(Slot::OptLong(slot)) => *slot = Some(value),
        _ => {}
    }
}
