//! Builds the event field by field and makes its values canonical. A malformed optional field never makes a
//! rejection: it becomes null, its text goes to `attributes["raw.<field>"]` and its name to `quality`.

use super::{
    codes,
    enrich::ENRICHED,
    fail::{Fail, Name, cut},
    guard::{Mark, Rules, Trip, judge_content, judge_text},
    moment,
    place::{self, Address},
    pseudonym,
    scalar::Scalar,
    trace,
};
use crate::{
    event::{AuthEvent, Field, FieldType, Micros, Slot, Text},
    position::ChainId,
    record::{RawRecord, TimestampType},
};
use std::borrow::Cow;

/// The longest string of an event, in bytes; of a longer one [`MAX_RAW`] bytes are kept as raw text.
pub const MAX_TEXT: usize = 8 * 1024;
/// What is kept of a text that became no field, in bytes.
pub const MAX_RAW: usize = 1024;
/// The most attributes from `attributes`, and the most from fields that the event does not have. Who can send any
/// number of the latter must not push out the former.
pub const MAX_ATTRIBUTES: usize = 256;
/// The longest name of an attribute, in bytes.
pub const MAX_KEY: usize = 256;
/// The most entries of `privileges`, and of `quality`.
pub const MAX_ITEMS: usize = 256;
/// What can be wrong with a field, an attribute or the whole of a record: all that stands behind the colon in entries
/// of `quality` that decoding makes. Figures count by these and by nothing that a producer may write.
pub const WHYS: [&str; 17] = [
    "ahead",
    "ambiguous",
    "duplicate",
    "empty",
    "impossible",
    "invalid",
    "name_too_long",
    "not_utf8",
    "port",
    "reserved",
    "surrogate",
    "too_deep",
    "too_long",
    "too_many",
    "unknown",
    "unmapped",
    "zone",
];

/// Where a value that is no field of the event comes from, and so whether it becomes an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// From `attributes`.
    Explicit,
    /// From a field that the event does not have.
    Unknown,
    /// From within a field that should be a plain value.
    Raw,
    /// It does not become one: it is looked at only for what must not be kept.
    Nothing,
}

/// The fields one of which an event must have.
const IDENTITY: u64 =
    bit(Field::user) | bit(Field::user_id) | bit(Field::actor) | bit(Field::session) | bit(Field::src_ip);

const fn bit(field: Field) -> u64 {
    1 << field as u64
}

/// An event in the making.
pub(crate) struct Builder<'d> {
    pub event: Box<AuthEvent>,
    rules: &'d Rules,
    /// The first moment that is too late.
    end: Micros,
    /// The record's own time, if Kafka gave one that can be.
    record_time: Option<Micros>,
    /// Fields that were given but could not be read: bit by place.
    unreadable: u64,
    has_time: bool,
    bad_time: Option<Fail>,
    /// How many attributes there are from `attributes`, and how many from elsewhere.
    explicit: usize,
    others: usize,
    /// What has been noted, to tell quickly that it has.
    noted: Vec<(&'static str, &'static str)>,
}

impl<'d> Builder<'d> {
    pub fn new(rules: &'d Rules, raw: &RawRecord) -> Self {
        Self {
            event: Box::default(),
            rules,
            end: record_time(raw).map_or(moment::END, end_of_time),
            record_time: record_time(raw),
            unreadable: 0,
            has_time: false,
            bad_time: None,
            explicit: 0,
            others: 0,
            noted: Vec::new(),
        }
    }

    /// What the topic forbids.
    pub fn rules(&self) -> &'d Rules {
        self.rules
    }

    /// The record's own time, if Kafka gave one that can be.
    pub fn record_time(&self) -> Option<Micros> {
        self.record_time
    }

    /// Keeps a text that could not be read under a name of our own.
    pub fn put_raw(&mut self, name: &'static str, text: &str) {
        self.event.attributes.insert(name, shorten(text, MAX_RAW).as_ref());
    }

    /// How values of fields that the event does not have are kept: not at all where the bytes may carry live secrets.
    pub fn unknown(&self) -> Keep {
        if self.rules.keep_event_only { Keep::Nothing } else { Keep::Unknown }
    }

    /// Sets a field from a string.
    #[inline]
    pub fn put_text(&mut self, field: Field, text: &str) -> Result<(), Trip> {
        if text.is_empty() {
            self.note(field.name(), "empty");
            return Ok(());
        }
        if let Some(trip) = judge_text(text, self.rules) {
            return Err(trip);
        }
        if text.len() > MAX_TEXT {
            self.reject_field(field, text, "too_long");
            return Ok(());
        }
        match (field, self.event.slot(field)) {
            (Field::src_ip, _) => self.put_address(text),
            (Field::country, _) => self.put_country(text),
            (Field::trace_id, Slot::OptText(slot)) => match trace::id(text) {
                Some(id) => *slot = Some(id),
                None => self.reject_field(field, text, "invalid"),
            },
            (_, Slot::OptText(slot)) => *slot = Some(text.into()),
            (_, Slot::Text(slot)) => *slot = text.into(),
            _ => self.put_parsed(field, &Scalar::text(text)),
        }
        Ok(())
    }

    /// Sets a field from any value.
    pub fn put(&mut self, field: Field, value: &Scalar) -> Result<(), Trip> {
        match value {
            Scalar::Null => return Ok(()),
            Scalar::Text(text) => return self.put_text(field, text),
            _ => {}
        }
        if let Some(trip) = judge_content(value, self.rules) {
            return Err(trip);
        }
        if value.is_empty() {
            self.note(field.name(), "empty");
            return Ok(());
        }
        match (field.field_type(), value) {
            (FieldType::OptText, Scalar::Bytes(bytes)) if field == Field::src_ip => {
                match place::address_of_bytes(bytes) {
                    Some(ip) if std::str::from_utf8(bytes).is_ok_and(|text| place::address(text).is_none()) => {
                        self.event.src_ip = Some(text_of(&ip));
                    }
                    Some(ip) if std::str::from_utf8(bytes).is_err() => self.event.src_ip = Some(text_of(&ip)),
                    _ => self.put_other_text(field, value),
                }
            }
            (FieldType::Text | FieldType::OptText, _) => self.put_other_text(field, value),
            _ => self.put_parsed(field, value),
        }
        Ok(())
    }

    /// A field of type string, given as something else.
    fn put_other_text(&mut self, field: Field, value: &Scalar) {
        match value.to_text() {
            // its content has been judged
            (text, true) => {
                let _ = self.put_text(field, &text);
            }
            (text, false) => self.reject_field(field, &text, "invalid"),
        }
    }

    /// A field of another type than string.
    fn put_parsed(&mut self, field: Field, value: &Scalar) {
        let end = self.end;
        let possible = |moment: Micros| (moment::FIRST..end).contains(&moment);
        let why = match self.event.slot(field) {
            Slot::Micros(_) => return self.put_time(value),
            Slot::OptMicros(slot) => match value.to_micros() {
                Some(moment) if possible(moment) => return *slot = Some(moment),
                Some(_) => "impossible",
                None => "invalid",
            },
            Slot::OptLong(slot) => match long_of(field, value) {
                Some(number) => return *slot = Some(number),
                None => "invalid",
            },
            Slot::OptInt(slot) => match value.to_long().and_then(|n| i32::try_from(n).ok()) {
                Some(number) => return *slot = Some(number),
                None => "invalid",
            },
            Slot::OptDouble(slot) => match value.to_double().filter(|n| n.abs() <= limit_of(field)) {
                Some(number) => return *slot = Some(number),
                None => "invalid",
            },
            Slot::OptBool(slot) => match value.to_bool() {
                Some(value) => return *slot = Some(value),
                None => "invalid",
            },
            Slot::Enum(slot) => match value {
                Scalar::Symbol(_) | Scalar::Text(_) | Scalar::Bytes(_) if slot.set_symbol(&value.to_text().0) => return,
                _ => "invalid",
            },
            // one item stands for an array of it
            Slot::Texts(_) => return self.put_judged_item(field, value),
            Slot::Map(_) | Slot::Text(_) | Slot::OptText(_) => "invalid",
        };
        let (text, _) = value.to_text();
        self.reject_field(field, &text, why);
    }

    /// Sets a moment whose unit the schema tells: `None` is beyond 64 bits.
    #[inline]
    pub fn put_moment(&mut self, field: Field, micros: Option<i64>) {
        let possible = micros.map(Micros).filter(|moment| (moment::FIRST..self.end).contains(moment));
        match (possible, self.event.slot(field)) {
            (Some(moment), Slot::OptMicros(slot)) => *slot = Some(moment),
            (Some(moment), Slot::Micros(slot)) => {
                *slot = moment;
                self.has_time = true;
            }
            _ => self.put_parsed(field, &Scalar::Moment(micros)),
        }
    }

    fn put_time(&mut self, value: &Scalar) {
        match value.to_micros() {
            Some(moment) if (moment::FIRST..self.end).contains(&moment) => {
                self.event.time = moment;
                self.has_time = true;
            }
            Some(moment) => {
                let what = match moment {
                    early if early < moment::FIRST => "the time is before 1970",
                    late if late >= moment::END => "the time is after 2999",
                    _ => "the time is more than 24 hours after the record's own",
                };
                self.refuse_time(what, &moment::write(moment));
            }
            None => self.refuse_time("the time is neither RFC 3339 nor a number", &value.to_text().0),
        }
    }

    fn refuse_time(&mut self, what: &'static str, shown: &str) {
        let fail = Fail::new(codes::IMPOSSIBLE_TIME, what).named(Name::Ours("time".into()));
        self.bad_time = Some(fail.showing(shown));
    }

    fn put_address(&mut self, text: &str) {
        if place::is_plain_v4(text) {
            self.event.src_ip = Some(text.into());
            return;
        }
        match place::address(text) {
            Some(Address { ip, without }) => {
                self.event.src_ip = Some(text_of(&ip));
                if let Some(without) = without {
                    self.keep_raw(Field::src_ip, text);
                    self.note("src_ip", without);
                }
            }
            None => self.reject_field(Field::src_ip, text, "invalid"),
        }
    }

    fn put_country(&mut self, text: &str) {
        if place::is_country(text) {
            let mut code = Text::from(text);
            code.make_ascii_uppercase();
            self.event.country = Some(code);
        } else {
            self.reject_field(Field::country, text, "unknown");
        }
    }

    /// Adds an item to a field that is an array.
    pub fn put_item(&mut self, field: Field, value: &Scalar) -> Result<(), Trip> {
        if let Some(trip) = judge_content(value, self.rules) {
            return Err(trip);
        }
        self.put_judged_item(field, value);
        Ok(())
    }

    fn put_judged_item(&mut self, field: Field, value: &Scalar) {
        if matches!(value, Scalar::Null) || value.is_empty() {
            return;
        }
        let Slot::Texts(items) = self.event.slot(field) else { return };
        if items.len() >= MAX_ITEMS {
            return self.note(field.name(), "too_many");
        }
        let (text, _) = value.to_text();
        let short = shorten(&text, MAX_TEXT);
        let is_cut = matches!(short, Cow::Owned(_));
        items.push(short.into());
        if is_cut {
            self.note(field.name(), "too_long");
        }
    }

    /// A value that is no field of the event: judged by the names around it and by its content, then kept as an
    /// attribute called `path`.
    pub fn put_attribute(
        &mut self,
        path: &str,
        mark: Mark,
        value: &Scalar,
        place: Option<usize>,
        keep: Keep,
    ) -> Result<(), Trip> {
        if let Some(trip) = mark.judge(value, place).or_else(|| judge_content(value, self.rules)) {
            return Err(trip);
        }
        if let Scalar::Text(text) = value {
            self.take_trace(path, text);
        }
        self.keep_value(path, value, keep);
        Ok(())
    }

    /// An entry of the event's own attributes.
    pub fn put_entry(&mut self, name: &str, value: &str) -> Result<(), Trip> {
        let mark = self.rules.mark(name, name, Mark::default());
        let trip = if mark.is_set() { mark.judge(&Scalar::text(value), None) } else { None };
        match trip.or_else(|| judge_text(value, self.rules)) {
            Some(trip) => Err(trip),
            None => {
                self.take_trace(name, value);
                self.keep_attribute(name, value, Keep::Explicit);
                Ok(())
            }
        }
    }

    /// What the W3C calls the header that carries the trace names the trace, wherever it stands. The field itself goes
    /// before it.
    fn take_trace(&mut self, path: &str, value: &str) {
        if self.event.trace_id.is_none() && trace::is_header(path) {
            self.event.trace_id = trace::of_header(value);
        }
    }

    fn keep_value(&mut self, path: &str, value: &Scalar, keep: Keep) {
        if keep == Keep::Nothing || matches!(value, Scalar::Null) {
            return;
        }
        if self.is_full(keep) {
            return self.note("attributes", "too_many");
        }
        let (text, _) = value.to_text();
        self.keep_attribute(path, &text, keep);
    }

    fn keep_attribute(&mut self, path: &str, text: &str, keep: Keep) {
        if path.len() > MAX_KEY {
            return self.note("attributes", "name_too_long");
        }
        if self.is_full(keep) {
            return self.note("attributes", "too_many");
        }
        let short = shorten(text, MAX_TEXT);
        if let Cow::Owned(_) = short {
            self.note("attributes", "too_long");
        }
        // what stands in `attributes` is meant; and what authseal wrote about a field is not to be forged
        let yields = match keep {
            Keep::Unknown => self.event.attributes.get(path).is_some(),
            Keep::Explicit => self.is_raw(path),
            Keep::Raw | Keep::Nothing => false,
        };
        if yields || self.event.attributes.insert(path, short.as_ref()).is_some() {
            return self.note("attributes", "duplicate");
        }
        match keep {
            Keep::Explicit => self.explicit += 1,
            Keep::Unknown | Keep::Raw | Keep::Nothing => self.others += 1,
        }
    }

    /// Whether attributes of this origin are left out from now on.
    pub fn is_full(&self, keep: Keep) -> bool {
        let count = if keep == Keep::Explicit { self.explicit } else { self.others };
        count >= MAX_ATTRIBUTES
    }

    fn is_raw(&self, path: &str) -> bool {
        let field = path.strip_prefix("raw.").and_then(Field::from_name);
        field.is_some_and(|field| self.unreadable & bit(field) != 0)
    }

    /// Notes that a field was given but is not what it should be, and keeps its text.
    pub fn reject_field(&mut self, field: Field, text: &str, why: &'static str) {
        self.keep_raw(field, text);
        self.note(field.name(), why);
        if field == Field::time {
            self.refuse_time("the time is neither RFC 3339 nor a number", text);
        }
    }

    /// The same where no text can stand for the value: its parts follow as attributes, if at all.
    pub fn reject_parts(&mut self, field: Field) {
        self.unreadable |= bit(field);
        self.note(field.name(), "invalid");
        if field == Field::time {
            self.refuse_time("the time is neither RFC 3339 nor a number", "several values");
        }
    }

    fn keep_raw(&mut self, field: Field, text: &str) {
        self.unreadable |= bit(field);
        if self.rules.hashes && pseudonym::class_of(field).is_some() {
            return;
        }
        let key = format!("raw.{}", field.name());
        self.event.attributes.insert(key, shorten(text, MAX_RAW).as_ref());
    }

    /// Says `<name>:<why>` in `quality`, once. `why` is one of [`WHYS`].
    pub fn note(&mut self, name: &'static str, why: &'static str) {
        debug_assert!(WHYS.contains(&why), "{why} is not in WHYS, so nobody would count it");
        // some things are noted once for each of millions of items
        if self.noted.contains(&(name, why)) {
            return;
        }
        self.noted.push((name, why));
        let entry = Text::from(format!("{name}:{why}"));
        // the producer's own entries leave room for one of every field
        if self.event.quality.len() < 2 * MAX_ITEMS && !self.event.quality.contains(&entry) {
            self.event.quality.push(entry);
        }
    }

    /// The event, if it has what an event needs.
    pub fn finish(
        mut self,
        chain: &ChainId,
        offset: i64,
        source: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<Box<AuthEvent>, Fail> {
        if let Some(fail) = self.bad_time {
            return Err(fail);
        }
        if !self.has_time {
            return Err(Fail::new(codes::MISSING_TIME, "the event has no time").named(Name::Ours("time".into())));
        }
        if self.record_time.is_some_and(|record| self.event.time.0.saturating_sub(record.0) > moment::SKEWED) {
            self.note("time", "ahead");
        }
        // what authseal says of an event is not to be forged
        if let Some(text) = self.event.attributes.remove(ENRICHED) {
            self.event.attributes.insert("raw.enriched", text);
            self.note("attributes", "reserved");
        }
        let event = &mut self.event;
        let named = [&event.user, &event.user_id, &event.actor, &event.session, &event.src_ip];
        if named.iter().all(|field| field.is_none()) && self.unreadable & IDENTITY == 0 {
            return Err(Fail::new(codes::NO_IDENTITY, "the event has none of user, user_id, actor, session, src_ip"));
        }
        if event.event_id.is_empty() {
            event.event_id = chain.at(offset).to_string().into();
        }
        if event.source.is_empty() {
            event.source = source.unwrap_or(&chain.topic).into();
        }
        if event.tenant.is_none() {
            event.tenant = tenant.map(Text::from);
        }
        Ok(self.event)
    }
}

/// The record's own time, if Kafka gave one that lies from 1970 to 2999.
fn record_time(raw: &RawRecord) -> Option<Micros> {
    let given = matches!(raw.timestamp_type, TimestampType::CreateTime | TimestampType::LogAppendTime);
    let micros = raw.timestamp.checked_mul(1000).filter(|micros| given && (0..moment::END.0).contains(micros));
    micros.map(Micros)
}

/// An event may not be later than this: just 24 hours after the record is still accepted.
fn end_of_time(record: Micros) -> Micros {
    Micros((record.0 + moment::AHEAD + 1).min(moment::END.0))
}

fn long_of(field: Field, value: &Scalar) -> Option<i64> {
    if field == Field::src_asn {
        if let Scalar::Text(text) = value
            && let Some((head, number)) = text.split_at_checked(2)
            && head.eq_ignore_ascii_case("AS")
        {
            return number.parse::<u32>().ok().map(i64::from);
        }
        return value.to_long().filter(|number| u32::try_from(*number).is_ok());
    }
    value.to_long()
}

fn limit_of(field: Field) -> f64 {
    match field {
        Field::lat => 90.0,
        Field::long => 180.0,
        _ => f64::MAX,
    }
}

fn text_of(ip: &std::net::IpAddr) -> Text {
    compact_str::format_compact!("{ip}")
}

/// `text`, or its beginning and how long it was.
fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}… [cut: {} bytes]", cut(text, most), text.len()))
}
