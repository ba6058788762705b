//! Holes in the numbers that sources give their events: which numberings there are, when a gap is a hole, what is told.

use super::super::{
    Finding, Input,
    finding::{push_value, uid, values},
    keys::value_text,
    partitions::Partitions,
    script::clip,
    subject::Selector,
    watermark::record_time,
};
use super::{
    alert::{HOLE, Report},
    runs::{Mark, SLACK, Sequence, Settled, Taken},
};
use crate::{
    event::{AuthEvent, Field, Text},
    position::ChainId,
    topics::ByTopic,
};
use ahash::RandomState;
use hashbrown::HashMap;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Numberings at most, over all topics.
const MOST: usize = 10_000;
/// One that was not heard for so long makes room for another: microseconds.
const STALE: i64 = 24 * 3_600_000_000;
/// Numberings that are looked at to find a stale one.
const LOOK: usize = 8;
/// Holes of one numbering that are told within an hour. Those beyond are counted: who skips every other number must not
/// drown the alerts.
const MOST_TOLD: u32 = 16;
const HOUR: i64 = 3_600_000_000;
/// Bytes of a value of a key.
const LONGEST: usize = 256;

/// What became of the numbers of a topic, ever growing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NumberCounts {
    /// Gaps that nothing filled.
    pub holes: u64,
    /// Numbers in them.
    pub missing: u64,
    /// Times that a producer began to count anew.
    pub resets: u64,
    /// Numbers that came after they had been told as missing.
    pub after_all: u64,
    /// Numbered events, and gaps, of which nothing can be said: too many numberings, or a part of the topic is read
    /// elsewhere, or was not read.
    pub unjudged: u64,
    /// Numberings that are followed now.
    pub followed: u64,
}

struct Topic {
    name: String,
    by: Vec<Selector>,
    /// By when it happened what is behind the first gap.
    due: BTreeSet<(i64, u32)>,
    counts: NumberCounts,
}

struct Numbering {
    topic: usize,
    /// The canonical values of its fields.
    key: Box<[u8]>,
    source: Text,
    tenant: Option<Text>,
    sequence: Sequence,
    /// As it stands in the topic's list.
    due: Option<i64>,
    /// When its latest event happened.
    heard: i64,
    /// The chain of its latest event (`u32::MAX` before the first), and whether there were others.
    chain: u32,
    is_spread: bool,
    /// Of each chain the lowest offset that the commit must not pass while there is a gap.
    held: BTreeMap<u32, i64>,
    /// Holes told of an hour of events.
    told: (i64, u32),
}

/// All numberings.
pub(super) struct Holes {
    /// The fields of the numberings of each topic.
    by: ByTopic<Vec<String>>,
    /// Of these all is read here.
    whole: BTreeSet<String>,
    /// Those that were heard of, as far as their events are numbered.
    topics: Vec<Topic>,
    slots: Vec<Option<Box<Numbering>>>,
    free: Vec<u32>,
    by_key: HashMap<Box<[u8]>, u32, RandomState>,
    /// Where to look next for one that is stale.
    hand: usize,
    gaps: usize,
    most_gaps: usize,
    lateness: i64,
    key: Vec<u8>,
}

impl Holes {
    /// Follows the numbers of these topics, each by these fields, within about so many bytes.
    pub fn new(topics: &ByTopic<Vec<String>>, lateness: i64, bytes: usize) -> Self {
        let mut holes = Self {
            by: topics.clone(),
            whole: BTreeSet::new(),
            topics: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::default(),
            hand: 0,
            gaps: 0,
            // each is a stretch more, in a map of them
            most_gaps: (bytes / 128).max(1000),
            lateness,
            key: Vec::new(),
        };
        for name in topics.names() {
            holes.topic(name);
        }
        holes
    }

    /// The place of a topic whose events are numbered. Those that a pattern finds come with their first event.
    fn topic(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.topics.iter().position(|topic| topic.name == name) {
            return Some(at);
        }
        let by = self.by.get(name).filter(|by| !by.is_empty())?;
        let selector = |name: &String| match name.strip_prefix("attributes.") {
            Some(attribute) => Selector::Attribute(attribute.into()),
            None => Selector::from_name(name).unwrap_or(Selector::Unknown),
        };
        self.topics.push(Topic {
            name: name.into(),
            by: by.iter().map(selector).collect(),
            due: BTreeSet::new(),
            counts: NumberCounts::default(),
        });
        Some(self.topics.len() - 1)
    }

    /// What became of the numbers, by topic.
    pub fn counts(&self) -> impl Iterator<Item = (&str, NumberCounts)> {
        self.topics.iter().enumerate().map(|(at, topic)| {
            let followed = self.slots.iter().flatten().filter(|numbering| numbering.topic == at).count() as u64;
            (topic.name.as_str(), NumberCounts { followed, ..topic.counts })
        })
    }

    /// Of these topics all of each numbering is read here, and of others not. What would be told of those is given up.
    pub fn read_wholly(&mut self, whole: &BTreeSet<String>) {
        let before = std::mem::replace(&mut self.whole, whole.clone());
        for name in before.difference(whole) {
            if let Some(at) = self.topics.iter().position(|topic| topic.name == *name) {
                self.drop_if(|numbering| numbering.topic == at);
            }
        }
    }

    /// A chain is no longer read here.
    pub fn forget(&mut self, chain: u32) {
        self.drop_if(|numbering| numbering.is_spread || numbering.chain == chain);
    }

    fn drop_if(&mut self, wanted: impl Fn(&Numbering) -> bool) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_deref().is_some_and(&wanted) {
                self.remove(slot as u32);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(numbering) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.gaps -= numbering.sequence.gaps();
        self.by_key.remove(&numbering.key);
        if let Some(due) = numbering.due {
            self.topics[numbering.topic].due.remove(&(due, slot));
        }
        self.free.push(slot);
    }

    /// The lowest offset of a chain that the commit must not pass: what was not told would be forgotten.
    pub fn deferred(&self, chain: u32) -> Option<i64> {
        let open = self.topics.iter().flat_map(|topic| &topic.due);
        let numberings = open.filter_map(|(_, slot)| self.slots.get(*slot as usize)?.as_deref());
        numberings.filter_map(|numbering| numbering.held.get(&chain)).min().copied()
    }

    /// An event came. `late`: so late that nobody waited for it.
    pub fn event(&mut self, event: &AuthEvent, input: &Input<'_>, chain: u32, late: bool) {
        let Some(number) = event.source_seq else { return };
        let Some(topic) = self.topic(&input.chain.topic) else { return };
        if !self.whole.contains(&input.chain.topic) {
            self.topics[topic].counts.unjudged += 1;
            return;
        }
        // a clock that is ahead must not make anybody wait
        let time = event.time.0.min(record_time(input.timestamp, input.now));
        let Some(slot) = self.find(topic, event, time, late) else {
            self.topics[topic].counts.unjudged += u64::from(!late);
            return;
        };
        let Some(numbering) = self.slots.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return };
        if late {
            self.topics[topic].counts.after_all += u64::from(numbering.sequence.is_told(number, time));
            return;
        }
        let before = numbering.sequence.gaps();
        match numbering.sequence.take(Mark { number, time, chain, offset: input.offset }) {
            Taken::New => {}
            Taken::AfterAll => self.topics[topic].counts.after_all += 1,
            Taken::Repeat => return,
        }
        self.gaps = self.gaps - before + numbering.sequence.gaps();
        numbering.heard = numbering.heard.max(time);
        numbering.is_spread |= ![u32::MAX, chain].contains(&numbering.chain);
        numbering.chain = chain;
        match numbering.sequence.gaps() {
            0 => numbering.held.clear(),
            _ => {
                let held = numbering.held.entry(chain).or_insert(input.offset);
                *held = (*held).min(input.offset);
            }
        }
        self.enter(slot);
        if self.gaps > self.most_gaps {
            self.give_one_up();
        }
    }

    /// The numbering of an event, if there is one or may be one more.
    fn find(&mut self, topic: usize, event: &AuthEvent, time: i64, known_only: bool) -> Option<u32> {
        self.key.clear();
        self.key.extend_from_slice(&(topic as u32).to_be_bytes());
        for selector in &self.topics[topic].by {
            let value = match selector {
                Selector::Field(field) => value_text(event.get(*field)),
                Selector::Attribute(name) => event.attributes.get(name).map(Into::into),
                _ => None,
            };
            push_value(&mut self.key, clip(&value.unwrap_or_default(), LONGEST));
        }
        if let Some(slot) = self.by_key.get(&*self.key) {
            return Some(*slot);
        }
        if known_only || !self.has_room(time) {
            return None;
        }
        let key: Box<[u8]> = self.key.as_slice().into();
        let numbering = Box::new(Numbering {
            topic,
            key: key.clone(),
            source: event.source.clone(),
            tenant: event.tenant.clone(),
            sequence: Sequence::default(),
            due: None,
            heard: time,
            chain: u32::MAX,
            is_spread: false,
            held: BTreeMap::new(),
            told: (i64::MIN, 0),
        });
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32); // at most MOST of them
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = Some(numbering),
            None => self.slots.push(Some(numbering)),
        }
        self.by_key.insert(key, slot);
        Some(slot)
    }

    /// Whether there is room for one more, made by forgetting one that has not been heard for long. Whoever floods this
    /// with new ones pushes out nobody.
    fn has_room(&mut self, time: i64) -> bool {
        if self.by_key.len() < MOST {
            return true;
        }
        for _ in 0..LOOK {
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let stale = |numbering: &Numbering| numbering.due.is_none() && numbering.heard < time.saturating_sub(STALE);
            if self.slots.get(self.hand).and_then(Option::as_deref).is_some_and(stale) {
                self.remove(self.hand as u32);
                return true;
            }
        }
        false
    }

    /// Puts a numbering where it stands by what is behind its first gap.
    fn enter(&mut self, slot: u32) {
        let Some(numbering) = self.slots.get_mut(slot as usize).and_then(Option::as_deref_mut) else { return };
        let due = numbering.sequence.due();
        if due == numbering.due {
            return;
        }
        let list = &mut self.topics[numbering.topic].due;
        if let Some(before) = numbering.due {
            list.remove(&(before, slot));
        }
        if let Some(due) = due {
            list.insert((due, slot));
        }
        numbering.due = due;
    }

    /// Gives up the numbering that takes the most room: what is not known whole is not told.
    fn give_one_up(&mut self) {
        let sized = self.slots.iter().enumerate().filter_map(|(at, n)| Some((n.as_ref()?.sequence.gaps(), at)));
        let Some((size, slot)) = sized.max() else { return };
        if let Some(numbering) = self.slots[slot].as_deref_mut() {
            numbering.sequence.give_up();
            numbering.held.clear();
            self.gaps -= size - numbering.sequence.gaps();
            self.topics[numbering.topic].counts.unjudged += size as u64;
        }
        self.enter(slot as u32);
    }

    /// Tells the gaps that nothing can fill any more.
    pub fn settle(&mut self, partitions: &Partitions, now: i64, out: &mut Vec<Finding>) {
        for topic in 0..self.topics.len() {
            if self.topics[topic].due.is_empty() {
                continue;
            }
            let Some(reached) = partitions.reached(&self.topics[topic].name) else { continue };
            let reached = reached.saturating_sub(self.lateness).saturating_sub(SLACK);
            let known = partitions.known_since(&self.topics[topic].name);
            while let Some((due, slot)) = self.topics[topic].due.first().copied().filter(|(due, _)| *due <= reached) {
                let Some(numbering) = self.slots.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
                    self.topics[topic].due.remove(&(due, slot));
                    continue;
                };
                let before = numbering.sequence.gaps();
                let settled = numbering.sequence.settle(reached);
                self.gaps = self.gaps - before + numbering.sequence.gaps();
                numbering.held.clear();
                for mark in numbering.sequence.unsettled() {
                    let held = numbering.held.entry(mark.chain).or_insert(mark.offset);
                    *held = (*held).min(mark.offset);
                }
                self.enter(slot);
                match settled {
                    Some(Settled::Reset { .. }) => self.topics[topic].counts.resets += 1,
                    // a partition may have had it before it was read here
                    Some(Settled::Hole { before, .. })
                        if known.is_none_or(|known| before.time.saturating_sub(self.lateness + SLACK) < known) =>
                    {
                        self.topics[topic].counts.unjudged += 1;
                    }
                    Some(Settled::Hole { before, after }) => {
                        let chain = |mark: Mark| partitions.id(mark.chain);
                        out.extend(self.tell(slot, (before, chain(before)), (after, chain(after)), now));
                    }
                    None => {}
                }
            }
        }
    }

    /// Counts a hole, and makes its finding.
    fn tell(&mut self, slot: u32, before: End, after: End, now: i64) -> Option<Finding> {
        let numbering = self.slots.get_mut(slot as usize)?.as_deref_mut()?;
        let topic = &mut self.topics[numbering.topic];
        let ((before, last_chain), (after, chain)) = (before, after);
        let (from, to) = (before.number.saturating_add(1), after.number.saturating_sub(1));
        let missing = to.abs_diff(from).saturating_add(1);
        topic.counts.holes += 1;
        topic.counts.missing = topic.counts.missing.saturating_add(missing);
        let hour = after.time.div_euclid(HOUR);
        if numbering.told.0 != hour {
            numbering.told = (hour, 0);
        }
        numbering.told.1 += 1;
        let position = chain?.at(after.offset);
        if numbering.told.1 > MOST_TOLD {
            return None;
        }
        let values = values(numbering.key.get(4..).unwrap_or_default());
        let key = topic.by.iter().map(Selector::name).zip(values.iter().map(|value| (*value).to_owned()));
        let key: Vec<(String, String)> = [("topic".to_owned(), topic.name.clone())].into_iter().chain(key).collect();
        let mut canonical = Vec::new();
        key.iter().for_each(|(_, value)| push_value(&mut canonical, value));
        let last = last_chain.map(|chain| chain.at(before.offset));
        let words = if missing == 1 { format!("number {from} is") } else { format!("numbers {from} to {to} are") };
        let is_last = numbering.told.1 == MOST_TOLD;
        let data = json!({
            "source": clip(&numbering.source, LONGEST), "missing": missing, "from": from, "to": to,
            "before": last.as_ref().map(ToString::to_string), "after": position.to_string(),
            "more_are_only_counted": is_last,
        });
        let report = Report {
            rule: &HOLE,
            uid: uid(HOLE.id, key.len(), &canonical, None, &position),
            title: format!("Events of {} are missing: {words} not in {}", clip(&numbering.source, 64), topic.name),
            key,
            tenant: numbering.tenant.as_deref(),
            reach: [position.clone()].into_iter().chain(last).collect(),
            position,
            times: (before.time, after.time),
            data,
            owner: "",
            runbook: "",
            is_over: false,
            now,
        };
        Some(report.finding())
    }
}

/// One side of a gap, with its chain if it is still read here.
type End = (Mark, Option<Arc<ChainId>>);

/// Whether a name can be a part of what tells numberings apart.
pub fn is_key_field(name: &str) -> bool {
    match name.strip_prefix("attributes.") {
        Some(attribute) => !attribute.is_empty(),
        None => Field::from_name(name).is_some(),
    }
}
