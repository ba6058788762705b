//! What of the rules' state must outlive the process: which rules, which keys have something new, and what to write.
//!
//! Rules that look back further than a restart reads again (`rules.replay_horizon`) are *durable*. What each chain has
//! contributed to a key (events of its window, moments of its marker, findings raised) is written as one record of
//! that key, chain and writer, whole. **A contribution carries the position of its record.** So restoring is a union:
//! whoever wrote it, and however often, it counts once, and nobody's stale write does harm.

use super::{
    Detector, Finding,
    backlog::Backlog,
    partitions::Partitions,
    predicate::FINDING_CELL,
    rule::Rule,
    ruleset::RuleSet,
    saved::{self, Coverage, Covered, VERSION, Value},
    spec::Mode,
    state::Key,
};
use crate::{
    digest::Digest,
    position::{ChainId, Position},
};
use hashbrown::HashMap;
use std::{sync::Arc, time::Duration};

/// The offset of a change that holds no commit back: losing it costs a repeated alert under the same id at most.
const NO_OFFSET: i64 = i64::MAX;

/// Something to write to the log of the rules' state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The rule's id; empty for what is said of the chain as a whole.
    pub rule: Arc<str>,
    /// The canonical bytes of the key.
    pub key: Box<[u8]>,
    /// The lowest offset whose contribution was not written before: the commit must not pass it until this one is
    /// acknowledged.
    pub offset: Option<i64>,
    /// What it is now; `None` if nothing is left of it.
    pub value: Option<Vec<u8>>,
    /// Earlier writers whose records of this key are part of `value`: they go once it is acknowledged.
    pub supersedes: Vec<Arc<str>>,
}

/// What is known of a durable key, by chain. Boxed in keys of durable rules only.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    pub(super) raised: Vec<Raised>,
    /// Contributions since the key was taken out of its slot.
    fresh: Vec<(u32, i64)>,
}

/// What one chain has contributed to a key, and what of that is written.
#[derive(Debug)]
struct Track {
    chain: u32,
    /// The lowest offset that is not written.
    unsaved: Option<i64>,
    /// A record of ours may lie in the log.
    written: bool,
    /// Records of writers before us, which are part of what we know.
    older: Vec<Arc<str>>,
}

/// A finding raised: with the highest record of each chain behind it.
#[derive(Debug, Clone)]
pub(super) struct Raised {
    pub(super) bucket: i64,
    /// The number of the update; 0 is the finding itself.
    pub(super) level: u8,
    pub(super) reach: Vec<Position>,
}

impl Tracks {
    fn track(&mut self, chain: u32) -> &mut Track {
        let at = self.tracks.iter().position(|track| track.chain == chain).unwrap_or_else(|| {
            self.tracks.push(Track { chain, unsaved: None, written: false, older: Vec::new() });
            self.tracks.len() - 1
        });
        &mut self.tracks[at]
    }

    /// A record of an earlier writer was read into the key.
    pub(super) fn supersedes(&mut self, chain: u32, writer: &Arc<str>) {
        let older = &mut self.track(chain).older;
        if !older.contains(writer) {
            older.push(writer.clone());
        }
    }

    /// Drops what came from chains that are no longer read here: their next reader restores it.
    pub(super) fn retain(&mut self, partitions: &Partitions) {
        self.tracks.retain(|track| partitions.is_read(track.chain));
        self.fresh.retain(|(chain, _)| partitions.is_read(*chain));
        self.raised.retain(|raised| raised.reach.iter().all(|at| partitions.find(&at.chain).is_some()));
    }

    /// Bytes it takes, with itself.
    pub(super) fn bytes(&self) -> usize {
        let reach = self.raised.iter().map(|raised| raised.reach.len() * (size_of::<Position>() + 48)).sum::<usize>();
        let older = self.tracks.iter().map(|track| track.older.len() * 16).sum::<usize>();
        size_of::<Self>()
            + self.tracks.capacity() * size_of::<Track>()
            + self.raised.capacity() * size_of::<Raised>()
            + self.fresh.capacity() * size_of::<(u32, i64)>()
            + reach
            + older
            + 32
    }
}

/// A chain whose state was restored, or begun.
struct Resumed {
    /// Below it everything was published and acknowledged before.
    done: i64,
    /// Records of writers before us that say how far the chain was seen.
    older: Vec<Arc<str>>,
}

/// Which rules are durable, and what of them is not written yet.
#[derive(Default)]
pub(super) struct Saver {
    /// By rule: the digest of what it gathers; `None` for rules that are not durable.
    shapes: Vec<Option<Arc<str>>>,
    backlog: Backlog,
    resumed: HashMap<u32, Resumed>,
    /// Microseconds: from when on the state of a shape is whole for a chain, where that is known from the log.
    since: HashMap<(Arc<str>, u32), i64>,
}

impl Saver {
    /// Saves the durable ones of these rules. Those that were not there before know nothing of what came before
    /// `began`.
    fn follow(&mut self, rules: &RuleSet, horizon: Duration, began: i64) {
        let shape = |rule: &Rule| is_durable(rule, horizon).then(|| shape(rule));
        let before = std::mem::replace(&mut self.shapes, rules.compiled().iter().map(shape).collect());
        for shape in self.shapes.iter().flatten().filter(|shape| !before.iter().flatten().any(|old| old == *shape)) {
            self.since.extend(self.resumed.keys().map(|chain| ((shape.clone(), *chain), began)));
        }
    }

    /// What a durable rule gathers, as a digest.
    pub(super) fn shape(&self, rule: u32) -> Option<&Arc<str>> {
        self.shapes.get(rule as usize)?.as_ref()
    }

    /// Whether a window of this rule that begins here may lack events that were there before anything was read.
    pub(super) fn is_warming(&self, rule: u32, from: i64, partitions: &Partitions) -> bool {
        let shape = self.shape(rule);
        partitions.is_warming(from, |chain| self.since.get(&(shape?.clone(), chain)).copied())
    }

    /// An event or moment of this record came into a key.
    pub(super) fn contributed(&self, tracks: &mut Option<Box<Tracks>>, rule: u32, chain: u32, offset: i64) {
        if self.shape(rule).is_some() {
            tracks.get_or_insert_default().fresh.push((chain, offset));
        }
    }

    /// The last of `out` was raised for a key and bucket, having grown to `level`.
    pub(super) fn raised(
        &self,
        tracks: &mut Option<Box<Tracks>>,
        rule: u32,
        (bucket, level): (i64, u8),
        partitions: &Partitions,
        out: &[Finding],
    ) {
        let Some(finding) = out.last().filter(|_| self.shape(rule).is_some()) else { return };
        let tracks = tracks.get_or_insert_default();
        let chains = finding.reach.iter().filter_map(|position| partitions.find(&position.chain));
        tracks.fresh.extend(chains.map(|chain| (chain, NO_OFFSET)));
        tracks.raised.push(Raised { bucket, level, reach: finding.reach.clone() });
    }

    /// A key goes back into its slot: what it got is to be written.
    pub(super) fn note(&mut self, key: &mut Key, slot: u32, generation: u32) {
        let Some(tracks) = &mut key.tracks else { return };
        for (chain, offset) in std::mem::take(&mut tracks.fresh) {
            let track = tracks.track(chain);
            match track.unsaved {
                Some(known) if known <= offset => continue,
                Some(known) => self.backlog.remove(chain, &(known, slot, generation)),
                None => {}
            }
            track.unsaved = Some(offset);
            self.backlog.insert(chain, (offset, slot, generation));
        }
        if tracks.raised.len() > 4 {
            tracks.raised.retain(|raised| key.marks.iter().any(|mark| mark.bucket == raised.bucket));
        }
    }

    /// A key was forgotten: it no longer matters, or there was no room for it. What was written of it goes.
    pub(super) fn dropped(&mut self, rules: &RuleSet, key: &Key, slot: u32, generation: u32) {
        let Some(rule) = rules.compiled().get(key.rule as usize) else { return };
        for track in key.tracks.iter().flat_map(|tracks| &tracks.tracks) {
            if let Some(offset) = track.unsaved {
                self.backlog.remove(track.chain, &(offset, slot, generation));
            }
            if track.written || !track.older.is_empty() {
                let (rule, key, supersedes) =
                    (rule.spec.id.as_str().into(), key.name.as_slice().into(), track.older.clone());
                self.backlog.let_go(track.chain, Change { rule, key, offset: None, value: None, supersedes });
            }
        }
    }

    /// A chain is no longer read here.
    pub(super) fn forget(&mut self, chain: u32) {
        self.backlog.forget(chain);
        self.resumed.remove(&chain);
        self.since.retain(|(_, other), _| *other != chain);
    }

    /// A chain's state is being restored; everything below `done` was acknowledged before.
    pub(super) fn resume(&mut self, chain: u32, done: i64) {
        self.forget(chain);
        self.resumed.insert(chain, Resumed { done, older: Vec::new() });
    }

    /// Whether what this record has contributed was restored: durable rules do not see it again.
    pub(super) fn knows(&self, chain: u32, offset: i64) -> bool {
        !self.resumed.is_empty() && self.resumed.get(&chain).is_some_and(|resumed| offset < resumed.done)
    }

    /// Whether a finding with these records behind it was published and acknowledged in an earlier life.
    pub(super) fn was_published(&self, reach: &[Position], partitions: &Partitions) -> bool {
        reach.iter().all(|position| {
            let resumed = partitions.find(&position.chain).and_then(|chain| self.resumed.get(&chain));
            resumed.is_some_and(|resumed| position.offset < resumed.done)
        })
    }

    /// Takes over what an earlier writer said of a chain that it and we have read without a hole.
    pub(super) fn take_over(&mut self, chain: u32, covered: &[Covered], writer: Option<&Arc<str>>) {
        for Covered(_, shape, since) in covered {
            let known = self.since.entry((shape.as_str().into(), chain)).or_insert(*since);
            *known = (*known).min(*since);
        }
        if let (Some(resumed), Some(writer)) = (self.resumed.get_mut(&chain), writer) {
            resumed.older.push(writer.clone());
        }
    }

    /// Bytes that waiting to be written takes.
    pub(super) fn bytes(&self) -> usize {
        self.backlog.bytes()
    }
}

/// Whether the state of a rule is kept in the log. Rules that look at findings are not: a finding that is raised anew
/// after a restart may stand at another record than before, and would count twice.
fn is_durable(rule: &Rule, horizon: Duration) -> bool {
    rule.spec.mode != Mode::Off && looks_back_beyond(rule, horizon) && !looks_at_findings(rule)
}

fn looks_back_beyond(rule: &Rule, horizon: Duration) -> bool {
    u128::from(rule.horizon().unsigned_abs()) > horizon.as_micros()
}

fn looks_at_findings(rule: &Rule) -> bool {
    let finding = |cells: u128| cells & (1 << FINDING_CELL) != 0;
    finding(rule.spec.when.cells()) || rule.markers.iter().any(|marker| finding(marker.when.cells()))
}

/// What a rule gathers, as a digest: state that was gathered otherwise is not taken for it. Its title, severity,
/// thresholds and functions do not matter to what is remembered, as long as they ask for the same fields.
pub(super) fn shape(rule: &Rule) -> Arc<str> {
    let spec = &rule.spec;
    let gathered = format!(
        "{:?}",
        (&spec.when, &spec.key, spec.window, spec.dedup, &spec.columns, &spec.conditions, &rule.markers)
    );
    Digest::of(gathered.as_bytes()).hex()[..16].into()
}

impl RuleSet {
    /// How far back a restart must read when rules that look back further than `horizon` are durable, whatever they
    /// do: as far as the others need, and at least `least`, in which events of several partitions may still change
    /// places, and repeats of events come.
    pub fn replay(&self, horizon: Duration, least: Duration) -> Duration {
        let durable = |rule: &&Rule| is_durable(rule, horizon);
        let live = || self.compiled().iter().filter(|rule| rule.spec.mode == Mode::Live);
        let others = live().filter(|rule| !durable(rule)).map(Rule::horizon).max();
        let others = Duration::from_micros(others.unwrap_or(0).unsigned_abs());
        if self.compiled().iter().any(|rule| is_durable(rule, horizon)) { others.max(least) } else { others }
    }

    /// Live rules that look back further than `horizon`, by id, how far, and whether a log of their state would do.
    pub fn beyond(&self, horizon: Duration) -> impl Iterator<Item = (&str, Duration, bool)> {
        let live = self.compiled().iter().filter(|rule| rule.spec.mode == Mode::Live);
        live.filter(move |rule| looks_back_beyond(rule, horizon)).map(|rule| {
            (rule.info.id.as_str(), Duration::from_micros(rule.horizon().unsigned_abs()), !looks_at_findings(rule))
        })
    }

    /// Whether any rule that looks back further than `horizon` is durable.
    pub fn has_durable(&self, horizon: Duration) -> bool {
        self.compiled().iter().any(|rule| is_durable(rule, horizon))
    }
}

impl Detector {
    /// Takes down what rules that look back further than `horizon` gather, so that it can be written and restored. To
    /// be said again when other rules came into force: the new ones have seen nothing before `began`, in microseconds.
    pub fn keep(&mut self, horizon: Duration, began: i64) {
        self.saver.follow(&self.rules, horizon, began);
        self.partitions.outlives = true;
    }

    /// The lowest offset of a chain whose contribution to a durable key was not handed out by [`Detector::unsaved`].
    pub fn lowest_unsaved(&self, chain: &ChainId) -> Option<i64> {
        self.saver.backlog.lowest(self.partitions.find(chain)?).filter(|offset| *offset != NO_OFFSET)
    }

    /// Whether any rule in force is durable.
    pub fn is_durable(&self) -> bool {
        self.saver.shapes.iter().any(Option::is_some)
    }

    /// Keys that wait to be written, over all chains.
    pub fn unsaved_keys(&self) -> usize {
        self.saver.backlog.len()
    }

    /// Hands out up to `most` changes of a chain, the lowest offsets first. What could not be written is given back to
    /// [`Detector::unsave`].
    pub fn unsaved(&mut self, chain: &ChainId, most: usize) -> Vec<Change> {
        let Some(at) = self.partitions.find(chain) else { return Vec::new() };
        let begun = self.saver.resumed.get(&at).map_or(0, |resumed| resumed.done);
        let mut changes = Vec::new();
        while changes.len() < most {
            let Some(next) = self.saver.backlog.pop(at) else { break };
            changes.extend(self.change(at, begun, next));
        }
        for change in self.saver.backlog.take_gone(at, most.saturating_sub(changes.len())) {
            // it came back meanwhile, and is written as it is then
            let rule = self.rules.compiled().iter().position(|rule| rule.spec.id == *change.rule);
            let back = rule.and_then(|rule| self.state.find(rule as u32, self.state.called(&change.key)));
            if back.is_none_or(|key| key.tracks.is_none()) {
                changes.push(change);
            }
        }
        changes
    }

    fn change(&mut self, chain: u32, begun: i64, (offset, slot, generation): (i64, u32, u32)) -> Option<Change> {
        if self.state.generation(slot) != generation {
            return None;
        }
        let partitions = &self.partitions;
        let key = self.state.get_mut(slot)?;
        let rule = self.rules.compiled().get(key.rule as usize)?;
        let shape = self.saver.shapes.get(key.rule as usize)?.clone()?;
        let value = Value::of(key, chain, rule, (&shape, begun), partitions);
        let track = key.tracks.as_mut()?.track(chain);
        track.unsaved = None;
        let (supersedes, was) = (std::mem::take(&mut track.older), track.written);
        track.written = value.is_some();
        if value.is_none() && !was && supersedes.is_empty() {
            return None;
        }
        let offset = Some(offset).filter(|offset| *offset != NO_OFFSET);
        let (rule, key) = (rule.spec.id.as_str().into(), key.name.as_slice().into());
        Some(Change { rule, key, offset, value: value.map(|value| value.encode()), supersedes })
    }

    /// A change could not be written: it is handed out again, as it is then.
    pub fn unsave(&mut self, chain: &ChainId, change: &Change) {
        let Some(at) = self.partitions.find(chain) else { return };
        let rule = self.rules.compiled().iter().position(|rule| rule.spec.id == *change.rule);
        let slot = rule.and_then(|rule| self.state.slot_of(rule as u32, self.state.called(&change.key)));
        let Some((slot, generation)) = slot.map(|slot| (slot, self.state.generation(slot))) else {
            if change.value.is_none() {
                self.saver.backlog.let_go(at, change.clone());
            }
            return; // pushed out since: there is nothing to write any more
        };
        let Some(key) = self.state.get_mut(slot) else { return };
        let tracks = key.tracks.get_or_insert_default();
        let track = tracks.track(at);
        track.written = true; // it may have landed
        change.supersedes.iter().for_each(|writer| tracks.supersedes(at, writer));
        tracks.fresh.push((at, change.offset.unwrap_or(NO_OFFSET)));
        self.saver.note(key, slot, generation);
    }

    /// What is said of a chain as a whole: that durable rules have seen everything below `to`, and since when.
    pub fn coverage(&mut self, chain: &ChainId, to: i64) -> Option<Change> {
        let at = self.partitions.find(chain)?;
        let resumed = self.saver.resumed.get_mut(&at)?;
        let (begun, supersedes) = (resumed.done, std::mem::take(&mut resumed.older));
        let rules = self.rules.compiled().iter().zip(&self.saver.shapes).filter_map(|(rule, shape)| {
            let shape = shape.as_ref()?;
            let known = self.saver.since.get(&(shape.clone(), at)).copied();
            Some(Covered(rule.spec.id.clone(), shape.to_string(), known.or_else(|| self.partitions.since(at))?))
        });
        let value = Coverage { version: VERSION, begun, to, rules: rules.collect() };
        let (rule, key) = ("".into(), Box::default());
        Some(Change { rule, key, offset: None, value: Some(saved::encode(&value)), supersedes })
    }

    /// What was said of a chain could not be written.
    pub fn uncover(&mut self, chain: &ChainId, change: &Change) {
        let resumed = self.partitions.find(chain).and_then(|at| self.saver.resumed.get_mut(&at));
        if let Some(resumed) = resumed {
            resumed.older.extend(change.supersedes.iter().cloned());
        }
    }
}
