//! Which rules gather state by a key: those that need to see everything of it.

use super::{ruleset::RuleSet, spec::Mode, subject::Selector};

impl RuleSet {
    /// The rules that count over several events, with the names of the fields of their keys. A rule that judges single
    /// events finds them wherever they are read.
    pub fn counting(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let judging = self.compiled().iter().filter(|rule| rule.spec.mode != Mode::Off && rule.shape.is_some());
        judging.map(|rule| (rule.info.id.as_str(), rule.spec.key.iter().map(Selector::name).collect()))
    }
}
