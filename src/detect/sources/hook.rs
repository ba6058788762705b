//! The detector's side: what it tells those who watch sources, and what they tell it.

use super::super::{Detector, Finding, Input};
use super::{Heard, Listened, SourceTotals, Sources, Watch};
use crate::{position::ChainId, record::Outcome};
use std::collections::{BTreeMap, BTreeSet};

impl Detector {
    /// Watches sources from now on. Nothing is told before [`Detector::scope_sources`] says what is read here.
    pub fn watch_sources(&mut self, watch: &Watch) {
        let sources = || Box::new(Sources::new(watch, self.lateness, self.limit / 8));
        self.sources = (!watch.is_idle()).then(sources);
    }

    /// Says of which topics all of each numbering is read here, and whether all of everything is. What is not read
    /// here must not be taken for what never came.
    pub fn scope_sources(&mut self, numbered: &BTreeSet<String>, everything: bool) {
        if let Some(sources) = &mut self.sources {
            sources.scope(numbered, everything);
        }
    }

    /// When sources were heard, for whoever comes next.
    pub fn heard(&self) -> Heard {
        self.sources.as_ref().map(|sources| sources.heard()).unwrap_or_default()
    }

    /// When sources were heard by whoever came before.
    pub fn restore_heard(&mut self, heard: &Heard) {
        if let Some(sources) = &mut self.sources {
            sources.restore(heard);
        }
    }

    /// How the sources do that are expected.
    pub fn listened(&self) -> impl Iterator<Item = Listened<'_>> {
        self.sources.iter().flat_map(|sources| sources.listened())
    }

    /// What became of what is watched.
    pub fn source_totals(&self) -> SourceTotals {
        self.sources.as_ref().map(|sources| sources.totals()).unwrap_or_default()
    }

    /// By topic, events that a rule selected and that had been counted before: see [`Totals::repeats`].
    ///
    /// [`Totals::repeats`]: crate::detect::Totals::repeats
    pub fn repeats(&self) -> &BTreeMap<String, u64> {
        &self.partitions.repeats
    }

    /// A record was judged.
    pub(in crate::detect) fn watch_record(&mut self, at: u32, input: &Input<'_>, late: bool, out: &mut Vec<Finding>) {
        let Some(sources) = &mut self.sources else { return };
        sources.read(at, input);
        if let Outcome::Event(event) = input.outcome {
            sources.event(event, input, at, late, out);
        }
        sources.tick(&self.partitions, input.now, out);
    }

    /// Everything that a chain holds was judged.
    pub(in crate::detect) fn watch_end(&mut self, at: u32, now: i64, out: &mut Vec<Finding>) {
        let Some(sources) = &mut self.sources else { return };
        sources.at_end(at, now);
        sources.tell(&self.partitions, now, out);
    }

    /// The lowest offset of a chain that waits for a hole to be filled.
    pub(in crate::detect) fn source_deferred(&self, chain: &ChainId) -> Option<i64> {
        self.sources.as_ref()?.deferred(self.partitions.find(chain)?)
    }
}
