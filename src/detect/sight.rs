//! What the markers of a rule say about one judged record, and how its functions see it: `e.mark("name")`.

use super::{
    Detector, Finding,
    decide::{Facts, Glance},
    history::{AsOf, History, Moment, Reach},
    judging::Work,
    keys::{Called, Names},
    markers::MarkNames,
    memory::Memory,
    partitions::Partitions,
    rule::Rule,
    ruleset::RuleSet,
    save::Saver,
    script::{EventView, dynamic},
    state::{Key, State},
    subject::{Owned, Selector, What},
};
use crate::{event::Value, position::ChainId};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString};
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// The remembered record that answers.
#[derive(Debug)]
pub(super) struct Seen {
    /// Microseconds since 1970.
    pub time: i64,
    /// Its chain.
    pub chain: Arc<ChainId>,
    /// The index of its chain in the detector.
    pub at: u32,
    /// Kafka offset.
    pub offset: i64,
    /// Of a finding: what stands behind it.
    pub reach: Option<Reach>,
    /// What is remembered of it.
    pub memory: Arc<Memory>,
    /// How many there were, with it.
    pub count: usize,
}

/// What one marker says.
#[derive(Debug)]
pub(super) struct Sighting {
    /// The marker.
    pub name: ImmutableString,
    /// Microseconds from the remembered record to the judged one, and the remembered one.
    pub seen: Option<(i64, Seen)>,
    /// There is none, but there may have been one that was pushed out for want of room.
    pub lost: bool,
}

/// What all markers of a rule say, and which were asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks(Option<Arc<(Vec<Sighting>, AtomicU32)>>);

/// The last record before this one that a marker remembers under a name, and how many there are.
fn last_before<'s>(
    (rule, name): (u32, Called<'_>),
    record: &Owned,
    state: &'s State,
    partitions: &Partitions,
) -> Option<(&'s Moment, usize)> {
    let of = AsOf { time: record.time, chain: &record.chain, offset: record.offset };
    state.find(rule, name)?.history.as_ref()?.before(of, |chain| partitions.chain(chain))
}

impl Marks {
    /// What the markers of a rule say about a record, as of the record's own time.
    pub fn of(rule: &Rule, number: u32, record: &Owned, state: &State, partitions: &Partitions) -> Self {
        if rule.markers.is_empty() {
            return Self(None);
        }
        let subject = record.subject();
        let mut bytes = Vec::new();
        let sightings = rule.markers.iter().enumerate().map(|(place, marker)| {
            let (mut seen, mut lost) = (None, false);
            if marker.name_for(place, &subject, &mut bytes) {
                let name = state.called(&bytes);
                seen = last_before((number, name), record, state, partitions).and_then(|(moment, count)| {
                    let age = record.time.saturating_sub(moment.time);
                    let (time, at, offset) = (moment.time, moment.chain, moment.offset);
                    let (chain, reach) = (partitions.id(at)?, moment.reach.clone());
                    Some((age, Seen { time, chain, at, offset, reach, memory: moment.memory.clone(), count }))
                });
                lost = seen.is_none() && state.was_pushed_out(number, name);
            }
            Sighting { name: marker.name.clone(), seen, lost }
        });
        Self(Some(Arc::new((sightings.collect(), AtomicU32::new(0)))))
    }

    /// What the marker of this place says.
    pub fn glance(&self, place: usize) -> Option<Glance<'_>> {
        let (age, seen) = self.0.as_ref()?.0.get(place)?.seen.as_ref()?;
        Some(Glance { age: *age, time: seen.time, count: seen.count, memory: &seen.memory })
    }

    /// The view of a marker; `None` if the rule has none of this name.
    fn view(&self, name: &str) -> Option<MarkView> {
        let inner = self.0.as_ref()?;
        let place = inner.0.iter().position(|sighting| sighting.name == name)?;
        inner.1.fetch_or(1 << place, Relaxed); // a rule has at most 16
        Some(MarkView { marks: self.clone(), place })
    }

    /// The markers that the functions asked.
    pub fn asked(&self) -> impl Iterator<Item = &Sighting> {
        let all = self.0.as_deref();
        let asked = all.map_or(0, |all| all.1.load(Relaxed));
        all.into_iter()
            .flat_map(|all| all.0.iter().enumerate())
            .filter_map(move |(place, sighting)| (asked & (1 << place) != 0).then_some(sighting))
    }

    /// These chains, those behind them, and those of the records that answered and of what stands behind them: each
    /// once.
    pub fn chains(
        &self,
        own: impl IntoIterator<Item = u32>,
        behind: &[(Arc<ChainId>, i64, i64)],
        partitions: &Partitions,
    ) -> Box<[u32]> {
        let mut chains: Vec<u32> = own.into_iter().collect();
        chains.extend(behind.iter().filter_map(|(chain, ..)| partitions.find(chain)));
        for (_, seen) in self.asked().filter_map(|sighting| sighting.seen.as_ref()) {
            let behind = seen.reach.iter().flat_map(|reach| reach.iter());
            chains.extend(behind.filter_map(|(chain, ..)| partitions.find(chain)).chain([seen.at]));
        }
        chains.sort_unstable();
        chains.dedup();
        chains.into()
    }
}

/// What a marker remembers, as functions see it.
#[derive(Debug, Clone)]
pub(super) struct MarkView {
    marks: Marks,
    place: usize,
}

impl MarkView {
    fn seen(&self) -> Option<&(i64, Seen)> {
        self.marks.0.as_ref()?.0.get(self.place)?.seen.as_ref()
    }

    /// When it happened: microseconds since 1970.
    pub fn time(&self) -> Option<i64> {
        self.seen().map(|(_, seen)| seen.time)
    }

    /// A field of the remembered record.
    pub fn value(&self, selector: &Selector) -> Value<'_> {
        self.seen().map_or(Value::Null, |(_, seen)| seen.memory.get(selector))
    }

    /// Seconds, whole where they are.
    fn age(&self) -> Dynamic {
        match self.seen() {
            None => Dynamic::UNIT,
            Some((age, _)) if age % 1_000_000 == 0 => (age / 1_000_000).into(),
            Some((age, _)) => (*age as f64 / 1e6).into(),
        }
    }
}

/// Registers `e.mark("name")` and what it returns.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<MarkView>("mark");
    engine.register_fn("mark", |e: &mut EventView, name: ImmutableString| {
        e.marks.view(&name).ok_or_else(|| Box::<EvalAltResult>::from(format!("the rule has no marker `{name}`")))
    });
    for name in Selector::names() {
        if let Some(selector) = Selector::from_name(name) {
            engine.register_get(name, move |view: &mut MarkView| dynamic(view.value(&selector)));
        }
    }
    engine.register_fn("attr", |view: &mut MarkView, name: ImmutableString| {
        dynamic(view.value(&Selector::Attribute(name.as_str().into())))
    });
    engine.register_get(MarkNames::MISSING, |view: &mut MarkView| view.seen().is_none());
    engine.register_get(MarkNames::AGE, |view: &mut MarkView| view.age());
    engine.register_get(MarkNames::COUNT, |view: &mut MarkView| {
        view.seen().map_or(0, |(_, seen)| i64::try_from(seen.count).unwrap_or(i64::MAX))
    });
    engine.register_get(MarkNames::POSITION, |view: &mut MarkView| {
        view.seen().map_or(Dynamic::UNIT, |(_, seen)| seen.chain.at(seen.offset).to_string().into())
    });
}

/// What the markers of a rule say about a record, and whether they may know too little because reading began after what
/// they should remember.
pub(super) fn look_back(
    rule: &Rule,
    number: u32,
    record: &Owned,
    state: &State,
    (partitions, saver): (&Partitions, &Saver),
) -> (Marks, bool) {
    let longest = rule.markers.iter().map(|marker| marker.keep.ttl).max();
    let warming = longest.is_some_and(|ttl| saver.is_warming(number, record.time.saturating_sub(ttl), partitions));
    (Marks::of(rule, number, record, state, partitions), warming)
}

impl Detector {
    /// Whether `decide` says no to a record that waited, for certain: most do, and nothing need be copied for it.
    pub(super) fn refuses(&mut self, rules: &RuleSet, number: u32, record: &Owned, names: &mut Names) -> bool {
        let Some(rule) = rules.compiled().get(number as usize) else { return false };
        let Some(decide) = rule.decide.as_ref().filter(|_| self.raiser.trace.is_none()) else { return false };
        let subject = record.subject();
        let names = RefCell::new(names);
        let (state, partitions) = (&self.state, &self.partitions);
        let look = |place: usize| {
            let mut names = names.borrow_mut();
            let fields = (rules.key_fields().looked_up_by(number, place), place);
            let name = names.marker(fields, rules.key_fields(), &subject, &self.hasher)?;
            let (moment, count) = last_before((number, name), record, state, partitions)?;
            let (age, memory) = (record.time.saturating_sub(moment.time), &*moment.memory);
            Some(Glance { age, time: moment.time, count, memory })
        };
        let refused = decide.refuses(&Facts::new(record, look, &[]));
        if refused
            && let Some(counters) =
                self.raiser.counters.get_mut(number as usize).filter(|counters| !counters.told.disabled)
        {
            counters.told.gated += 1;
            counters.succeeded();
        }
        refused
    }

    /// What the markers of a rule say about a record.
    pub(super) fn look_back(&self, rule: &Rule, number: u32, record: &Owned) -> (Marks, bool) {
        look_back(rule, number, record, &self.state, (&self.partitions, &self.saver))
    }

    /// Remembers a record under every marker that matches it.
    pub(super) fn remember(&mut self, rules: &RuleSet, cell: usize, work: &mut Work<'_, '_>, out: &mut Vec<Finding>) {
        for (at, place, when) in rules.markers_at_cell(cell) {
            let Some(rule) = rules.compiled().get(*at as usize) else { continue };
            let Some(marker) = rule.markers.get(*place) else { continue };
            let fields = (rules.key_fields().remembered_by(*at, *place), *place);
            if self.raiser.counters.get(*at as usize).is_none_or(|counters| counters.told.disabled)
                || !when.holds(work.subject, rules.lists())
                || work.names.marker(fields, rules.key_fields(), work.subject, &self.hasher).is_none()
                || self.is_repeat(work)
                || (work.known && self.saver.shape(*at).is_some())
            {
                continue;
            }
            let (epoch, known) = (self.partitions.epoch, self.state.len());
            let Some(name) = work.names.marker(fields, rules.key_fields(), work.subject, &self.hasher) else {
                continue;
            };
            let slot = self.state.find_or_insert(*at, name, || Key {
                history: Some(History::new(marker.keep)),
                ..Key::new(*at, name.bytes, epoch)
            });
            let Some(mut key) = self.state.take(slot) else { continue };
            self.refresh_key(rule, &mut key);
            if let Some(history) = &mut key.history {
                let subject = work.subject;
                let memory =
                    work.memory.get_or_insert_with(|| Memory::of(subject, rules.remembered(), self.state.memories()));
                let reach = match subject.what {
                    What::Finding(found) => Some(found.reach.clone()),
                    _ => None,
                };
                let moment = Moment {
                    time: subject.time,
                    chain: work.chain,
                    offset: subject.offset,
                    memory: memory.clone(),
                    reach,
                };
                history.insert(moment, |chain| self.partitions.chain(chain));
                self.saver.contributed(&mut key.tracks, *at, work.chain, subject.offset);
            }
            self.put_back(rule, slot, key);
            if self.state.len() > known {
                self.drop_stale(slot);
            }
            self.make_room(slot, work.now, out);
        }
    }
}
