//! What each rule does and costs.

use super::{failure, spec::Mode};

/// Errors in a row after which a rule is switched off.
pub(super) const MOST_ERRORS: u32 = 10;
/// How many error texts are kept.
const KEPT_ERRORS: usize = 5;
/// One native evaluation in so many is timed.
pub(super) const SAMPLED: u64 = 256;

/// What a rule did so far.
#[derive(Debug, Clone, Default)]
pub struct RuleStats {
    /// Rule id.
    pub id: String,
    /// live, shadow or off.
    pub mode: &'static str,
    /// Records that the activity index let through to `when`.
    pub evaluated: u64,
    /// Records that `when` selected.
    pub matched: u64,
    /// Selected records that lack a field of the key: not judged.
    pub keyless: u64,
    /// Times the functions were asked, past the native gate.
    pub gated: u64,
    /// Gates that were open in a period that had its finding, or its judgement that waits, already.
    pub suppressed: u64,
    /// Findings.
    pub findings: u64,
    /// Findings that were told again because they had grown.
    pub updates: u64,
    /// What would have been findings, but for an exception.
    pub excepted: u64,
    /// Those of the findings that fall under a silence.
    pub silenced: u64,
    /// Calls of functions that failed.
    pub errors: u64,
    /// The first of the errors.
    pub first_errors: Vec<String>,
    /// Switched off after too many errors in a row.
    pub disabled: bool,
    /// Nanoseconds in `when`, extrapolated from samples. Zero without a clock.
    pub native_nanos: u64,
    /// Nanoseconds in functions. Zero without a clock.
    pub script_nanos: u64,
    /// Keys with state.
    pub keys: u64,
    /// Bytes of their state.
    pub bytes: u64,
}

/// What is counted while judging.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// What is told.
    pub told: RuleStats,
    /// Failures that findings were made of.
    pub failures: failure::Told,
    /// Microseconds: it was there no earlier, while others were. Its windows lack what was before.
    pub began: i64,
    errors_in_row: u32,
    sampled: u64,
    sampled_nanos: u64,
}

impl Counters {
    /// Counters of a rule.
    pub fn new(id: &str, mode: Mode) -> Self {
        let told = RuleStats { id: id.into(), mode: mode.name(), ..RuleStats::default() };
        Self { told, began: i64::MIN, ..Self::default() }
    }

    /// A call failed.
    pub fn failed(&mut self, error: String) {
        self.told.errors += 1;
        self.errors_in_row += 1;
        self.told.disabled |= self.errors_in_row >= MOST_ERRORS;
        if self.told.first_errors.len() < KEPT_ERRORS && !self.told.first_errors.contains(&error) {
            self.told.first_errors.push(error);
        }
    }

    /// A judgement went through without a failure.
    pub fn succeeded(&mut self) {
        self.errors_in_row = 0;
    }

    /// A native evaluation was timed.
    pub fn sample(&mut self, nanos: u64) {
        self.sampled += 1;
        self.sampled_nanos += nanos;
    }

    /// What is told, with costs extrapolated.
    pub fn tell(&self, (keys, bytes): (u64, u64)) -> RuleStats {
        let native = u128::from(self.sampled_nanos) * u128::from(self.told.evaluated) / u128::from(self.sampled.max(1));
        RuleStats { native_nanos: u64::try_from(native).unwrap_or(u64::MAX), keys, bytes, ..self.told.clone() }
    }
}
