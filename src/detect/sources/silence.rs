//! Sources that should be heard: which are silent, which speak again, which nobody expects.
//!
//! A source is silent when all that Kafka holds was read up to a moment, and nothing of it was there for longer than
//! the inventory allows. Both are told by Kafka's clock, the timestamps of records: where reading lags, because the
//! store is away or a broker is, that moment stands still and nobody is called silent. Where there is nothing more to
//! read, it is the wall clock.

use super::super::{
    Finding, Input,
    finding::{push_value, uid},
    partitions::Partitions,
    script::clip,
    watermark::record_time,
};
use super::{
    Expected,
    alert::{NEW, Report, SILENT},
};
use crate::{
    digest::Digest,
    event::{AuthEvent, Text},
    position::Position,
};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Sources that are not expected and are told, and remembered.
const MOST_NEW: usize = 100;

/// When sources were heard last, by [`Expected::mark`]: milliseconds since 1970. Of one that was never heard the moment
/// since which somebody listens, negative.
pub type Heard = BTreeMap<String, i64>;

/// How a source that is expected does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listened<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its tenant, if it is one of a tenant.
    pub tenant: Option<&'a str>,
    /// Milliseconds since 1970 when it was heard last, or since when it was listened to; `None`: not yet.
    pub since: Option<i64>,
    /// Whether it was told to be silent, and has not spoken since.
    pub is_silent: bool,
}

struct Entry {
    spec: Expected,
    mark: String,
    /// Milliseconds: when it was heard last, or since when it should have been.
    since: Option<i64>,
    never: bool,
    /// Where it was heard last.
    at: Option<Position>,
    /// When the silence began that was told.
    silent: Option<i64>,
}

/// The inventory, and what was heard.
pub(super) struct Silence {
    entries: Vec<Entry>,
    tell_unknown: bool,
    new: HashSet<Text>,
    /// Up to when each chain was read, milliseconds.
    read: HashMap<u32, i64>,
    /// Whether all of every topic is read here.
    pub whole: bool,
    /// Events of sources that are not expected, by topic.
    pub unknown: BTreeMap<String, u64>,
}

impl Silence {
    /// Listens to these.
    pub fn new(expected: &[Expected], tell_unknown: bool) -> Self {
        let entry = |spec: &Expected| Entry {
            mark: spec.mark(),
            spec: spec.clone(),
            since: None,
            never: true,
            at: None,
            silent: None,
        };
        Self {
            entries: expected.iter().map(entry).collect(),
            tell_unknown,
            new: HashSet::new(),
            read: HashMap::new(),
            whole: false,
            unknown: BTreeMap::new(),
        }
    }

    /// When each was heard: for whoever comes next.
    pub fn heard(&self) -> Heard {
        let told = |entry: &Entry| Some((entry.mark.clone(), if entry.never { -entry.since? } else { entry.since? }));
        self.entries.iter().filter_map(told).collect()
    }

    /// What whoever came before had heard.
    pub fn restore(&mut self, heard: &Heard) {
        for entry in &mut self.entries {
            let Some(told) = heard.get(&entry.mark).copied().filter(|told| *told != i64::MIN) else { continue };
            match (told < 0, entry.never) {
                (true, true) => entry.since = Some(entry.since.map_or(-told, |since| since.min(-told))),
                (true, false) => {}
                (false, never) => {
                    entry.since = Some(entry.since.filter(|_| !never).map_or(told, |since| since.max(told)));
                    entry.never = false;
                }
            }
        }
    }

    /// How each does.
    pub fn listened(&self) -> impl Iterator<Item = Listened<'_>> {
        self.entries.iter().map(|entry| Listened {
            name: &entry.spec.name,
            tenant: entry.spec.tenant.as_deref(),
            since: entry.since,
            is_silent: entry.silent.is_some(),
        })
    }

    /// A chain is no longer read here.
    pub fn forget(&mut self, chain: u32) {
        self.read.remove(&chain);
    }

    /// A record was read.
    pub fn read(&mut self, chain: u32, input: &Input<'_>) {
        self.read_to(chain, record_time(input.timestamp, input.now).div_euclid(1000));
    }

    /// Everything was read that a chain holds at this moment.
    pub fn at_end(&mut self, chain: u32, now: i64) {
        self.read_to(chain, now);
    }

    fn read_to(&mut self, chain: u32, time: i64) {
        let read = self.read.entry(chain).or_insert(time);
        *read = (*read).max(time);
    }

    /// An event came.
    pub fn event(&mut self, event: &AuthEvent, input: &Input<'_>, out: &mut Vec<Finding>) {
        if self.entries.is_empty() {
            return;
        }
        let time = record_time(input.timestamp, input.now).div_euclid(1000);
        let mut expected = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.spec.is(event)) {
            expected = true;
            if entry.never || entry.since.is_none_or(|since| time > since) {
                (entry.since, entry.never) = (Some(time), false);
                let at = entry.at.get_or_insert_with(|| input.chain.at(input.offset));
                if at.chain != **input.chain {
                    at.chain = (**input.chain).clone();
                }
                at.offset = input.offset;
                if let Some(began) = entry.silent.take_if(|began| time > *began) {
                    out.push(entry.told(began, Some(time), input.chain.at(input.offset), input.now));
                }
            }
        }
        if !expected {
            self.unexpected(event, input, out);
        }
    }

    fn unexpected(&mut self, event: &AuthEvent, input: &Input<'_>, out: &mut Vec<Finding>) {
        match self.unknown.get_mut(&input.chain.topic) {
            Some(count) => *count += 1,
            None => {
                self.unknown.insert(input.chain.topic.clone(), 1);
            }
        }
        if !self.tell_unknown || self.new.len() >= MOST_NEW || self.new.contains(&event.source) {
            return;
        }
        self.new.insert(event.source.clone());
        let position = input.chain.at(input.offset);
        let mut key = Vec::new();
        push_value(&mut key, &event.source);
        let report = Report {
            rule: &NEW,
            uid: uid(NEW.id, 1, &key, Some(0), &position),
            title: format!("Source {} is not in the inventory", clip(&event.source, 256)),
            key: vec![("source".into(), event.source.to_string())],
            tenant: event.tenant.as_deref(),
            reach: vec![position.clone()],
            times: (event.time.0, event.time.0),
            data: json!({
                "source": clip(&event.source, 256), "more_are_only_counted": self.new.len() == MOST_NEW,
            }),
            position,
            owner: "",
            runbook: "",
            is_over: false,
            now: input.now,
        };
        out.push(report.finding());
    }

    /// Tells who is silent. Not while a part of what there is was not read, or is read elsewhere.
    pub fn tell(&mut self, partitions: &Partitions, now: i64, out: &mut Vec<Finding>) {
        if self.entries.is_empty() || !self.whole {
            return;
        }
        let mut reached: Option<(i64, u32)> = None;
        for chain in partitions.chains() {
            let Some(read) = self.read.get(&chain).copied() else { return };
            if reached.is_none_or(|(least, _)| read < least) {
                reached = Some((read, chain));
            }
        }
        let Some((reached, chain)) = reached else { return };
        let Some(place) = partitions.id(chain) else { return };
        for entry in &mut self.entries {
            let since = *entry.since.get_or_insert(reached);
            let allowed = i64::try_from(entry.spec.max_silence.as_millis()).unwrap_or(i64::MAX);
            if entry.silent.is_none() && reached.saturating_sub(since) >= allowed {
                entry.silent = Some(since);
                // it has no record of its own: the place says where somebody listened
                let at = entry.at.clone().unwrap_or_else(|| place.at(0));
                out.push(entry.told(since, None, at, now));
            }
        }
    }
}

impl Entry {
    /// The finding that it is silent since `began`, or that it spoke again.
    fn told(&self, began: i64, spoke: Option<i64>, at: Position, now: i64) -> Finding {
        let spec = &self.spec;
        let key = [("source", spec.name.as_str()), ("tenant", spec.tenant.as_deref().unwrap_or_default())];
        let mut canonical = Vec::new();
        key.iter().for_each(|(_, value)| push_value(&mut canonical, value));
        let never = self.never && spoke.is_none();
        let allowed = show(spec.max_silence.as_millis());
        let title = match spoke {
            Some(spoke) => {
                let lasted = show(u128::try_from(spoke.saturating_sub(began)).unwrap_or_default());
                format!("Source {} speaks again, after {lasted}", spec.name)
            }
            None if never => format!("Source {} was never heard, for more than {allowed}", spec.name),
            None => format!("Source {} has been silent for more than {allowed}", spec.name),
        };
        // what was heard by whoever came before has no position here
        let is_known = spoke.is_some() || self.at.is_some();
        let micros = began.saturating_mul(1000);
        let report = Report {
            rule: &SILENT,
            uid: uid(SILENT.id, key.len(), &canonical, Some(began), &at),
            title,
            key: key.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            tenant: spec.tenant.as_deref(),
            reach: if is_known { vec![at.clone()] } else { Vec::new() },
            times: (micros, spoke.map_or(micros, |spoke| spoke.saturating_mul(1000))),
            data: json!({
                "source": spec.name, "since": began, "max_silence_seconds": spec.max_silence.as_secs(),
                "heard": !never, "spoke": spoke,
            }),
            position: at,
            owner: &spec.owner,
            runbook: &spec.runbook,
            is_over: spoke.is_some(),
            now,
        };
        report.finding()
    }
}

/// Milliseconds in words.
fn show(millis: u128) -> String {
    match millis / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

impl Expected {
    /// Names it in [`Heard`]: the first 48 bits of SHA-256 over name and tenant, each behind its length.
    pub fn mark(&self) -> String {
        let mut bytes = Vec::new();
        push_value(&mut bytes, &self.name);
        push_value(&mut bytes, self.tenant.as_deref().unwrap_or_default());
        Digest::of(&bytes).hex()[..12].to_owned()
    }

    fn is(&self, event: &AuthEvent) -> bool {
        event.source == self.name.as_str()
            && self.tenant.as_deref().is_none_or(|tenant| event.tenant.as_deref() == Some(tenant))
    }
}

impl Finding {
    /// Whether it speaks of what did not come: no record of its own says whether it was told before.
    pub fn is_about_silence(&self) -> bool {
        self.rule == SILENT.id
    }
}
