//! What offsets cannot show: events that never reached Kafka. A source that numbers its events has holes (`holes`,
//! `runs`); one that does not may fall silent (`silence`).
//!
//! This is part of the detector, for it needs what the detector knows: how far every partition has come. Unlike rules
//! it never goes by what most partitions say: while one of them is not read, nothing is certain. `docs/sources.md` says
//! how to set it up.

mod alert;
mod holes;
mod hook;
mod runs;
mod silence;
#[cfg(test)]
mod tests;

pub use holes::{NumberCounts, is_key_field};
pub use silence::{Heard, Listened};

use super::{Finding, Input, partitions::Partitions};
use crate::{event::AuthEvent, topics::ByTopic};
use holes::Holes;
use silence::Silence;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is watched of sources. The default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// Topics whose sources number their events without holes, with the fields (`source`, `attributes.host` …) that
    /// tell one numbering from another. Of others the fields are none.
    pub sequences: ByTopic<Vec<String>>,
    /// Sources that should be heard.
    pub expected: Vec<Expected>,
    /// Whether a source that is not among them is told.
    pub tell_unknown: bool,
    /// How far a restart must read back for this.
    pub horizon: Duration,
}

/// A source that should be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `source` of its events.
    pub name: String,
    /// `tenant` of its events; `None`: any.
    pub tenant: Option<String>,
    /// It may be silent for so long.
    pub max_silence: Duration,
    /// Who answers for it.
    pub owner: String,
    /// What to do when it is silent.
    pub runbook: String,
}

impl Watch {
    /// Whether anything is watched.
    pub fn is_idle(&self) -> bool {
        self.sequences.values().all(Vec::is_empty) && self.expected.is_empty()
    }
}

/// What became of it, ever growing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTotals {
    /// By topic: what became of the numbers.
    pub numbers: BTreeMap<String, NumberCounts>,
    /// By topic: events of sources that are not expected.
    pub unknown: BTreeMap<String, u64>,
}

/// Watches sources. Fed by the detector.
pub(super) struct Sources {
    holes: Holes,
    silence: Silence,
    /// When what is due was looked for, in seconds of wall clock.
    ticked: i64,
}

impl Sources {
    /// Watches what is asked for. `lateness` in microseconds; `bytes`: the bound of what numberings take.
    pub fn new(watch: &Watch, lateness: i64, bytes: usize) -> Self {
        Self {
            holes: Holes::new(&watch.sequences, lateness, bytes),
            silence: Silence::new(&watch.expected, watch.tell_unknown),
            ticked: i64::MIN,
        }
    }

    /// A record was read.
    pub fn read(&mut self, chain: u32, input: &Input<'_>) {
        self.silence.read(chain, input);
    }

    /// It is an event. `late`: so late that rules do not see it.
    pub fn event(&mut self, event: &AuthEvent, input: &Input<'_>, chain: u32, late: bool, out: &mut Vec<Finding>) {
        self.silence.event(event, input, out);
        self.holes.event(event, input, chain, late);
    }

    /// Everything was read that a chain holds now.
    pub fn at_end(&mut self, chain: u32, now: i64) {
        self.silence.at_end(chain, now);
    }

    /// Looks for what is due, once a second of wall clock.
    pub fn tick(&mut self, partitions: &Partitions, now: i64, out: &mut Vec<Finding>) {
        let second = now.div_euclid(1000);
        if second != self.ticked {
            self.ticked = second;
            self.tell(partitions, now, out);
        }
    }

    /// Tells what is due.
    pub fn tell(&mut self, partitions: &Partitions, now: i64, out: &mut Vec<Finding>) {
        self.holes.settle(partitions, now, out);
        self.silence.tell(partitions, now, out);
    }

    /// A chain is no longer read here.
    pub fn forget(&mut self, chain: u32) {
        self.holes.forget(chain);
        self.silence.forget(chain);
    }

    /// The lowest offset of a chain that the commit must not pass.
    pub fn deferred(&self, chain: u32) -> Option<i64> {
        self.holes.deferred(chain)
    }

    /// What is read here: all of each numbering of these topics, and whether all of everything.
    pub fn scope(&mut self, numbered: &BTreeSet<String>, everything: bool) {
        self.holes.read_wholly(numbered);
        self.silence.whole = everything;
    }

    /// When sources were heard.
    pub fn heard(&self) -> Heard {
        self.silence.heard()
    }

    /// What whoever came before had heard.
    pub fn restore(&mut self, heard: &Heard) {
        self.silence.restore(heard);
    }

    /// How expected sources do.
    pub fn listened(&self) -> impl Iterator<Item = Listened<'_>> {
        self.silence.listened()
    }

    /// What became of it.
    pub fn totals(&self) -> SourceTotals {
        let numbers = self.holes.counts().map(|(topic, counts)| (topic.to_owned(), counts)).collect();
        SourceTotals { numbers, unknown: self.silence.unknown.clone() }
    }
}
