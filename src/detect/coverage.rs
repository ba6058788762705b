//! Which rules gather state by a key: those that need to see everything of it.

use super::{markers::Marker, ruleset::RuleSet, spec::Mode, subject::Selector};

impl RuleSet {
    /// The rules that count over several events, with the names of the fields of their keys. A rule that judges single
    /// events finds them wherever they are read. A rule with markers stands there once more for each of them.
    pub fn counting(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let judging = self.compiled().iter().filter(|rule| rule.spec.mode != Mode::Off);
        judging.flat_map(|rule| {
            let counts = rule.shape.as_ref().map(|_| rule.spec.key.as_slice());
            // what a marker remembers was read by whoever reads the partition of its record
            let keys = counts.into_iter().chain(rule.markers.iter().map(Marker::remembered_by));
            keys.map(|key| (rule.info.id.as_str(), key.iter().map(Selector::name).collect()))
        })
    }
}
