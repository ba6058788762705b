//! Collecting findings in bounded memory: a store that is broken everywhere must not break its auditor.

use super::report::{Finding, FindingCounts, Severity, Verdict};

/// Keeps the first `max` findings in the order of the report, and counts them all. Which ones it keeps does not depend
/// on the order in which they come.
#[derive(Debug)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    max: usize,
    counts: FindingCounts,
}

impl Findings {
    pub(super) fn new(max: usize) -> Self {
        Self { kept: Vec::new(), max, counts: FindingCounts::default() }
    }

    pub(super) fn push(&mut self, finding: Finding) {
        let counts = &mut self.counts;
        *match (finding.code.severity, finding.code.verdict) {
            (Severity::Notice, _) => &mut counts.notices,
            (_, Verdict::Integrity) => &mut counts.integrity,
            (_, Verdict::Completeness) => &mut counts.completeness,
            (_, Verdict::Protection) => &mut counts.protection,
            (_, Verdict::Freshness) => &mut counts.freshness,
        } += 1;
        self.kept.push(finding);
        if self.kept.len() >= self.max.saturating_mul(2).max(16) {
            self.shrink();
        }
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.push(finding));
    }

    /// Adds what another one counted and kept. Both must have been made with the same `max`.
    pub(super) fn merge(&mut self, other: Self) {
        let (counts, more) = (&mut self.counts, other.counts);
        counts.integrity += more.integrity;
        counts.completeness += more.completeness;
        counts.protection += more.protection;
        counts.freshness += more.freshness;
        counts.notices += more.notices;
        self.kept.extend(other.kept);
        self.shrink();
    }

    /// Marks the finding that is the first break of its chain, if it is among those kept.
    pub(super) fn mark(&mut self, first: &Finding) {
        for finding in &mut self.kept {
            // the words may have been added to since
            let same = (finding.name, finding.order, &finding.place) == (first.name, first.order, &first.place);
            finding.first_break |= same;
        }
    }

    fn shrink(&mut self) {
        self.kept.sort_by(|a, b| a.rank().cmp(&b.rank()));
        self.kept.truncate(self.max);
    }

    /// The findings in order, and how many there were.
    pub(super) fn finish(mut self) -> (Vec<Finding>, FindingCounts) {
        self.shrink();
        self.counts.listed = self.kept.len() as u64;
        (self.kept, self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Place;
    use super::*;

    #[test]
    fn the_same_findings_are_kept_in_whatever_order_they_come() {
        let all: Vec<Finding> = (0..100)
            .map(|i| {
                let code = ["missing_segment", "segment_misplaced", "gap_skipped"][i % 3];
                Finding::new(code, Place::object(format!("{:03}", (i * 37) % 100)), "")
            })
            .collect();
        let mut straight = Findings::new(10);
        all.iter().cloned().for_each(|f| straight.push(f));
        let mut merged = Findings::new(10);
        for chunk in all.rchunks(7) {
            let mut part = Findings::new(10);
            chunk.iter().rev().cloned().for_each(|f| part.push(f));
            merged.merge(part);
        }
        let (kept, counts) = straight.finish();
        assert_eq!((kept.clone(), counts), merged.finish());
        assert_eq!((kept.len(), counts.integrity, counts.completeness, counts.notices), (10, 33, 34, 33));
        assert!(kept.iter().all(|f| f.name == "segment_misplaced"));
    }
}
