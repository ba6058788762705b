//! What rules look at: an event or a rejection at its position, and the names by which rules select its fields.

use super::feed::Found;
use crate::{
    event::{AuthEvent, Field, FieldType, Micros, Text, Value},
    position::ChainId,
    record::Rejection,
};
use std::{
    cell::OnceCell,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Names that rules know beside the fields of the event.
pub(super) const PSEUDO: [&str; 6] =
    ["kind", "rejection_code", "rejection_detail", "topic", "finding_rule", "finding_severity"];
/// The symbols of `kind`.
pub(super) const KINDS: &[&str] = &["EVENT", "REJECTION", "FINDING"];

/// Something a rule can select: a field of the event, an attribute, or what stands beside the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    /// A field of the event. Of a rejection all are null, but for `source`, which is its topic.
    Field(Field),
    /// `attr("name")`
    Attribute(Text),
    /// `kind`: EVENT, REJECTION or FINDING
    Kind,
    /// `rejection_code`, null for an event
    RejectionCode,
    /// `rejection_detail`, null for an event
    RejectionDetail,
    /// `topic` of the record
    Topic,
    /// `finding_rule`, the id of the rule that raised a finding; null for all else
    FindingRule,
    /// `finding_severity`, null for all else
    FindingSeverity,
    /// A name that does not exist: already reported.
    Unknown,
}

impl Selector {
    /// The selector called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "kind" => Self::Kind,
            "rejection_code" => Self::RejectionCode,
            "rejection_detail" => Self::RejectionDetail,
            "topic" => Self::Topic,
            "finding_rule" => Self::FindingRule,
            "finding_severity" => Self::FindingSeverity,
            _ => Self::Field(Field::from_name(name)?),
        })
    }

    /// All names, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Field::ALL.iter().map(|field| field.name()).chain(PSEUDO)
    }

    /// As it is written in a rule.
    pub fn name(&self) -> String {
        match self {
            Self::Field(field) => field.name().into(),
            Self::Attribute(name) => format!("attr({name:?})"),
            Self::Kind => "kind".into(),
            Self::RejectionCode => "rejection_code".into(),
            Self::RejectionDetail => "rejection_detail".into(),
            Self::Topic => "topic".into(),
            Self::FindingRule => "finding_rule".into(),
            Self::FindingSeverity => "finding_severity".into(),
            Self::Unknown => "?".into(),
        }
    }

    /// Its type. `kind` has an enum of its own.
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Field(field) => field.field_type(),
            Self::Kind => FieldType::Enum(KINDS, "EVENT"),
            Self::Topic => FieldType::Text,
            Self::Attribute(_)
            | Self::RejectionCode
            | Self::RejectionDetail
            | Self::FindingRule
            | Self::FindingSeverity
            | Self::Unknown => FieldType::OptText,
        }
    }

    /// Whether the rule that uses it wants to see rejections.
    pub fn is_about_rejections(&self) -> bool {
        matches!(self, Self::Kind | Self::RejectionCode | Self::RejectionDetail)
    }

    /// Whether it is null for all but findings.
    pub fn is_about_findings(&self) -> bool {
        matches!(self, Self::FindingRule | Self::FindingSeverity)
    }
}

/// What became of the record.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// An event.
    Event(&'a AuthEvent),
    /// A rejection.
    Rejection(&'a Rejection),
    /// What another rule raised.
    Finding(&'a Arc<Found>),
}

/// A record under judgement.
pub(super) struct Subject<'a> {
    /// What it is.
    pub what: What<'a>,
    /// Where it stands.
    pub chain: &'a Arc<ChainId>,
    /// Where it stands.
    pub offset: i64,
    /// When it happened: microseconds since 1970. Of a rejection, the time of its record; of a finding, that of the
    /// event whose window opened the gate.
    pub time: i64,
    ip: OnceCell<Option<IpAddr>>,
}

impl<'a> Subject<'a> {
    /// A record at its position.
    pub fn new(what: What<'a>, chain: &'a Arc<ChainId>, offset: i64, time: i64) -> Self {
        Self { what, chain, offset, time, ip: OnceCell::new() }
    }

    /// What the selector finds.
    pub fn get(&self, selector: &Selector) -> Value<'a> {
        match (selector, self.what) {
            (Selector::Field(field), What::Event(event)) => event.get(*field),
            (Selector::Field(Field::time), What::Finding(_)) => Value::Micros(Micros(self.time)),
            (Selector::Field(_) | Selector::Attribute(_), What::Finding(found)) => found.get(selector),
            (Selector::FindingRule, What::Finding(found)) => Value::Text(&found.rule),
            (Selector::FindingSeverity, What::Finding(found)) => Value::Text(found.severity.name()),
            (Selector::Kind, What::Finding(_)) => Value::Symbol("FINDING"),
            (Selector::Field(Field::source) | Selector::Topic, _) => Value::Text(&self.chain.topic),
            (Selector::Attribute(name), What::Event(event)) => {
                event.attributes.get(name).map_or(Value::Null, Value::Text)
            }
            (Selector::Kind, What::Event(_)) => Value::Symbol("EVENT"),
            (Selector::Kind, What::Rejection(_)) => Value::Symbol("REJECTION"),
            (Selector::RejectionCode, What::Rejection(rejection)) => Value::Text(rejection.code),
            (Selector::RejectionDetail, What::Rejection(rejection)) => Value::Text(&rejection.detail),
            _ => Value::Null,
        }
    }

    /// `src_ip` as an address, parsed once.
    pub fn src_ip(&self) -> Option<IpAddr> {
        *self.ip.get_or_init(|| match self.what {
            What::Event(event) => event.src_ip.as_deref().and_then(|text| text.parse().ok()),
            What::Rejection(_) => None,
            What::Finding(found) => match found.get(&Selector::Field(Field::src_ip)) {
                Value::Text(text) => text.parse().ok(),
                _ => None,
            },
        })
    }

    /// A copy that lives on its own: for scripts and deferred judgements.
    pub fn to_owned(&self) -> Owned {
        let what = match self.what {
            What::Event(event) => OwnedWhat::Event(Box::new(event.clone())),
            What::Rejection(rejection) => OwnedWhat::Rejection(rejection.clone()),
            What::Finding(found) => OwnedWhat::Finding(found.clone()),
        };
        Owned::new(what, self.chain.clone(), self.offset, self.time)
    }
}

/// What became of a record, owned.
#[derive(Debug)]
pub(super) enum OwnedWhat {
    /// An event.
    Event(Box<AuthEvent>),
    /// A rejection.
    Rejection(Rejection),
    /// What another rule raised.
    Finding(Arc<Found>),
}

/// A record under judgement, owned.
#[derive(Debug)]
pub(super) struct Owned {
    /// What it is.
    pub what: OwnedWhat,
    /// Where it stands.
    pub chain: Arc<ChainId>,
    /// Where it stands.
    pub offset: i64,
    /// When it happened: microseconds since 1970.
    pub time: i64,
    /// Bytes it takes, about: every rule that lets it wait asks.
    bytes: usize,
    /// How many judgements wait with it.
    waiting: AtomicU32,
}

impl Owned {
    /// A record at its position.
    pub fn new(what: OwnedWhat, chain: Arc<ChainId>, offset: i64, time: i64) -> Self {
        let bytes = size_of::<Self>() + what.bytes();
        Self { what, chain, offset, time, bytes, waiting: AtomicU32::new(0) }
    }

    /// One more judgement waits with it. Whether it is the first.
    pub fn begin_to_wait(&self) -> bool {
        self.waiting.fetch_add(1, Relaxed) == 0
    }

    /// One judgement less waits with it. Whether it was the last.
    pub fn end_to_wait(&self) -> bool {
        self.waiting.fetch_sub(1, Relaxed) == 1
    }

    /// The view that rules judge.
    pub fn subject(&self) -> Subject<'_> {
        let what = match &self.what {
            OwnedWhat::Event(event) => What::Event(event),
            OwnedWhat::Rejection(rejection) => What::Rejection(rejection),
            OwnedWhat::Finding(found) => What::Finding(found),
        };
        Subject::new(what, &self.chain, self.offset, self.time)
    }

    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl OwnedWhat {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => {
                let mut filled = event.filled();
                let mut bytes = size_of::<AuthEvent>();
                while filled != 0 {
                    let at = filled.trailing_zeros();
                    bytes += Field::ALL.get(at as usize).map_or(0, |field| heap(event.get(*field)));
                    filled &= filled - 1;
                }
                bytes
            }
            Self::Rejection(rejection) => rejection.detail.len(),
            Self::Finding(found) => found.bytes(),
        }
    }
}

/// Bytes that a value keeps outside its struct.
fn heap(value: Value<'_>) -> usize {
    let text = |text: &str| if text.len() > size_of::<Text>() { text.len() } else { 0 };
    match value {
        Value::Text(t) => text(t),
        Value::Texts(list) => list.iter().map(|t| size_of::<Text>() + text(t)).sum(),
        Value::Map(map) => map.iter().map(|(k, v)| 2 * size_of::<Text>() + text(k) + text(v)).sum(),
        _ => 0,
    }
}
