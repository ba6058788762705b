//! Figures of rules: what each did and costs, counted on when a detector or a rule begins anew.

use super::status::Status;
use crate::{
    detect::{RuleStats, Totals},
    telemetry::*,
};
use metrics::{counter, gauge};
use std::collections::HashMap;

/// What was told so far of the detector that runs now.
#[derive(Default)]
pub struct RuleFigures {
    rules: HashMap<String, [u64; COUNTED]>,
    totals: Totals,
}

const COUNTED: usize = 9;

/// What is counted of a rule.
fn counts(rule: &RuleStats) -> [u64; COUNTED] {
    let nanoseconds = rule.native_nanos + rule.script_nanos;
    let RuleStats { evaluated, matched, keyless, gated, suppressed, errors, excepted, silenced, .. } = *rule;
    [evaluated, matched, keyless, gated, suppressed, errors, nanoseconds, excepted, silenced]
}

impl RuleFigures {
    /// Another detector begins, from zero.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Tells what rules did since the last time, and what they hold now. A rule that is switched off is told in
    /// `status` as well; one that is there no longer is taken out of it.
    pub fn tell(&mut self, rules: &[RuleStats], totals: Totals, status: &Status) {
        let gone: Vec<String> = self.rules.keys().filter(|id| rules.iter().all(|r| r.id != **id)).cloned().collect();
        for id in gone {
            self.rules.remove(&id);
            status.remove(&part(&id));
            hold(&RuleStats { id, ..RuleStats::default() });
        }
        for rule in rules {
            let now = counts(rule);
            let before = self.rules.insert(rule.id.clone(), now).unwrap_or_default();
            // less than before: the rule changed, and counts from zero again
            let grown: [u64; COUNTED] = std::array::from_fn(|at| now[at].checked_sub(before[at]).unwrap_or(now[at]));
            let labels = [("rule", rule.id.clone())];
            let [evaluated, matched, keyless, gated, suppressed, errors, nanoseconds, excepted, silenced] = grown;
            counter!(RULE_EVALUATED, &labels).increment(evaluated);
            counter!(RULE_MATCHED, &labels).increment(matched);
            counter!(RULE_KEYLESS, &labels).increment(keyless);
            counter!(RULE_GATED, &labels).increment(gated);
            counter!(RULE_SUPPRESSED, &labels).increment(suppressed);
            counter!(RULE_ERRORS, &labels).increment(errors);
            counter!(RULE_NANOSECONDS, &labels).increment(nanoseconds);
            for (kind, count) in [("exception", excepted), ("silence", silenced)] {
                counter!(SUPPRESSED, "rule" => rule.id.clone(), "kind" => kind).increment(count);
            }
            hold(rule);
            match rule.first_errors.first().filter(|_| rule.disabled) {
                Some(error) => status.fail(&part(&rule.id), format!("switched off after its errors: {error}")),
                None => status.ok(&part(&rule.id)),
            }
        }
        gauge!(DETECTOR_BYTES).set(totals.bytes as f64);
        counter!(LATE).increment(totals.late.saturating_sub(self.totals.late));
        counter!(EVICTED).increment(totals.evicted.saturating_sub(self.totals.evicted));
        self.totals = totals;
    }
}

/// The part of readiness that stands for a rule.
fn part(rule: &str) -> String {
    format!("rule:{rule}")
}

/// What a rule holds now.
fn hold(rule: &RuleStats) {
    let labels = [("rule", rule.id.clone())];
    gauge!(RULE_KEYS, &labels).set(rule.keys as f64);
    gauge!(RULE_BYTES, &labels).set(rule.bytes as f64);
    gauge!(RULE_OFF, &labels).set(if rule.disabled { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn rule(id: &str, evaluated: u64, keys: u64) -> RuleStats {
        RuleStats { id: id.into(), evaluated, keys, suppressed: evaluated / 2, ..RuleStats::default() }
    }

    #[test]
    fn counts_go_on_when_rules_or_the_detector_begin_anew() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let status = Status::default();
        let totals = |late| Totals { late, ..Totals::default() };
        metrics::with_local_recorder(&recorder, || {
            let mut figures = RuleFigures::default();
            figures.tell(&[rule("A", 10, 3), rule("B", 4, 1)], totals(2), &status);
            figures.tell(&[rule("A", 16, 5), rule("B", 4, 1)], totals(3), &status);
            assert!(status.parts().contains_key("rule:B"));
            // B goes, A changes and counts from zero
            figures.tell(&[rule("A", 2, 1)], totals(3), &status);
            assert!(!status.parts().contains_key("rule:B"));
            // the same with the detector: without being told, 20 would be taken for 18 more
            figures.begin_anew();
            figures.tell(&[rule("A", 20, 1)], totals(1), &status);
        });
        let text = handle.render();
        for line in [
            "authseal_rule_evaluated_total{rule=\"A\"} 38",
            "authseal_rule_suppressed_total{rule=\"A\"} 19",
            "authseal_rule_evaluated_total{rule=\"B\"} 4",
            "authseal_rule_keys{rule=\"A\"} 1",
            "authseal_rule_keys{rule=\"B\"} 0",
            "authseal_late_total 4",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_rule_that_is_off_is_told_in_readiness() {
        let status = Status::default();
        let off = RuleStats { disabled: true, first_errors: vec!["fn decide: no".into()], ..rule("A", 1, 1) };
        let mut figures = RuleFigures::default();
        figures.tell(&[off], Totals::default(), &status);
        assert!(status.parts()["rule:A"].as_deref().is_some_and(|why| why.contains("fn decide: no")));
        figures.tell(&[rule("A", 2, 1)], Totals::default(), &status);
        assert_eq!(status.parts()["rule:A"], None);
    }
}
