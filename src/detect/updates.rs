//! Updates: a finding that was raised and goes on growing is told again each time a count doubles.
//!
//! The steps are those of the gate, not of the first finding: gate × 2, × 4 and so on. So it does not matter when a
//! finding was raised, and after a restart an update has the number that it had before.

use super::{
    Finding,
    aggregate::Counted,
    decimal::Decimal,
    judging::Judging,
    keys::bucket,
    spec::Reader,
    suggest::hint,
    tally::{Shape, Tally},
    window::{Run, Window},
};

/// How many updates a finding can have: 2^16 times the gate is the end of it.
const MOST: u8 = 16;
const LARGEST_FACTOR: u64 = 100;

/// When a finding is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpdateOn {
    /// The index of the aggregate.
    pub agg: usize,
    /// By how much it has to grow each time.
    factor: u64,
    /// Its gate.
    base: u64,
}

impl UpdateOn {
    /// How many steps a number lies above the gate.
    pub fn level(&self, number: Decimal) -> u8 {
        let (mut level, mut next) = (0, Decimal::whole(self.base));
        while level < MOST {
            next = Decimal(next.0.saturating_mul(i128::from(self.factor)));
            if number < next {
                break;
            }
            level += 1;
        }
        level
    }

    /// The level of a window.
    pub fn level_of(&self, shape: &Shape, tally: &Tally, run: Run<'_>, length: i64) -> u8 {
        let number = shape.aggs.get(self.agg).and_then(|agg| tally.number(agg.measure, run, length));
        number.map_or(0, |number| self.level(number))
    }

    /// Whether a finding of this level can be told again.
    pub fn can_grow(&self, level: u8) -> bool {
        level < MOST
    }
}

/// Reads `update_on: "x2"` or `update_on: #{ users: "x2" }`.
pub(super) fn read(reader: &mut Reader<'_>, counted: &Counted) -> Option<UpdateOn> {
    let value = reader.value("update_on")?;
    let gated: Vec<usize> = (0..counted.aggs.len()).filter(|at| counted.aggs[*at].at_least > 0).collect();
    let (agg, text, place) = match value.clone().try_cast::<rhai::Map>() {
        None => {
            // maps have no order of their own: the first gate is the one that is written first
            let first = gated.into_iter().min_by_key(|at| {
                let at = reader.place(&format!("at_least.{}", counted.aggs[*at].name));
                (at.line(), at.position())
            });
            (first, value, "update_on".to_owned())
        }
        Some(map) => {
            let Some((name, text)) = map.iter().next().filter(|_| map.len() == 1) else {
                reader.note("update_on", "`update_on` names one aggregate: #{ users: \"x2\" }");
                return None;
            };
            let place = format!("update_on.{name}");
            let Some(agg) = gated.into_iter().find(|at| counted.aggs[*at].name == name.as_str()) else {
                let near = hint(name, counted.aggs.iter().map(|agg| agg.name.as_str()));
                reader.note(&place, format!("update_on names `{name}`, which has no gate in at_least{near}"));
                return None;
            };
            (Some(agg), text.clone(), place)
        }
    };
    let text = text.into_immutable_string().unwrap_or_default();
    let factor = text.strip_prefix('x').and_then(|n| n.parse().ok()).filter(|n| (2..=LARGEST_FACTOR).contains(n));
    let Some(factor) = factor else {
        reader.note(&place, format!("{text:?} says not by how much: write \"x2\", at most \"x{LARGEST_FACTOR}\""));
        return None;
    };
    let Some(agg) = agg else {
        reader.note("update_on", "`update_on` needs `agg` and `at_least`: it looks at a count that has a gate");
        return None;
    };
    let chosen = &counted.aggs[agg];
    if chosen.measure.may_fall() {
        reader.note(&place, format!("`{}` may fall again with more events: name one that only grows", chosen.name));
        return None;
    }
    if !reader.has("dedup") {
        reader.note("update_on", "`update_on` needs `dedup`: without it each event past the gate is a finding");
    }
    Some(UpdateOn { agg, factor, base: chosen.at_least })
}

/// The id by which an update is told from the finding itself and from others: the finding's, and the update's number.
pub(super) fn uid(finding: &str, number: u8) -> String {
    if number == 0 { finding.to_owned() } else { format!("{finding}#{number}") }
}

impl Finding {
    /// Whether it is told again because it has grown: it has the id of the finding that it is about.
    pub fn is_update(&self) -> bool {
        self.update > 0
    }
}

impl Judging<'_, '_, '_> {
    /// The gate is open for a window of a bucket whose finding was raised: it is told again if it has grown.
    pub fn grown(&mut self, end: i64, tally: &Tally, run: Run<'_>, events: &Window) {
        let Some(update_on) = self.rule.spec.update_on else { return };
        let level = update_on.level_of(self.shape, tally, run, self.shape.window);
        let bucket = bucket(self.rule, end);
        let Some(at) = self
            .key
            .marks
            .iter()
            .position(|mark| Some(mark.bucket) == bucket && mark.waiting.is_none() && mark.level < level)
        else {
            return;
        };
        if let Some(seen) = self.raise(end, bucket, (level, level), (tally, run, events)) {
            let mark = &mut self.key.marks[at];
            mark.level = level;
            // should one of these chains go away, the update may have been dropped with what it had not published
            let mut chains = mark.chains.to_vec();
            chains.extend(seen.iter().filter(|chain| !mark.chains.contains(chain)));
            mark.chains = chains.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_steps_above_the_gate() {
        let twice = UpdateOn { agg: 0, factor: 2, base: 10 };
        for (number, level) in [(0, 0), (10, 0), (19, 0), (20, 1), (39, 1), (40, 2), (1000, 6), (i64::MAX, MOST)] {
            assert_eq!(twice.level(Decimal::whole(number)), level, "{number}");
        }
        let ten = UpdateOn { factor: 10, ..twice };
        assert_eq!([99, 100, 1000].map(|number| ten.level(Decimal::whole(number))), [0, 1, 2]);
        assert_eq!((uid("R:1", 0), uid("R:1", 3)), ("R:1".to_owned(), "R:1#3".to_owned()));
    }
}
