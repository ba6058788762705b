//! What judging an event costs.
//!
//! `cargo bench --bench detect [-- WHAT] [EVENTS]`, where WHAT is one of
//!
//! - `ordinary`: a million events of people at work, judged by all shipped rules, by the same 25 detections as naive
//!   Rhai scripts (the first 200,000 events), and by no rules at all;
//! - `attack`: the same rules under stuffing from one source, a spray from twenty, and a flood of fresh keys;
//! - `curve`: one rule, with ten times the events, a thousand times the keys, a hundred times the window;
//! - `flood`: ten million fresh sources and accounts, and a slow attacker among them;
//! - `per-rule`: each rule alone, on ordinary traffic;
//! - `rules`: `ordinary` without the scripts, for a profiler.
//!
//! Without one of them, all but the last two. What is compared is interleaved in one run on the same events, in batches
//! of some milliseconds, so that a noisy neighbour hits all alike. Time is CPU time of the judging thread (user and
//! system), of which making the events is no part. Ratios travel between machines; nanoseconds do not.
//!
//! # The naive scripts
//!
//! `benches/naive/auth_*.rhai` are the shipped rules but AUTH-0026 (which is about rejections, not events), written as
//! somebody would who had an embedded Rhai engine and nothing else: a script a rule, each called on every event, which
//! it gets as a map that is made once an event and shared. Each keeps its state in a map of its own; windows are arrays
//! that are appended to and shifted, and values are counted anew when there are enough events. They have the same
//! selections, keys, windows, thresholds and shapes.
//!
//! They do less than the rules: they judge at once (no `settle`, no `wait`), take events in the order in which they
//! come (no watermark, no lateness, no duplicates), bound neither memory nor time, repeat a finding on every event (no
//! dedup), write no title, severity or alert. The host lends them hash sets for lists, `similarity`, and what the
//! others found. So the ratio is in their favour.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)] // what fails here must end the run

mod contest;
mod curve;
mod flood;
mod measure;
mod naive;
mod scenario;
mod traffic;

#[global_allocator]
static COUNTING: measure::Counting = measure::Counting;

fn main() {
    // cargo passes --bench
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let events = words.iter().find_map(|word| word.parse::<usize>().ok());
    let among = words.iter().find_map(|word| word.strip_prefix("people=")?.parse::<u64>().ok());
    let among = among.unwrap_or(traffic::PEOPLE);
    let asked = |name: &str| words.iter().any(|word| word == name);
    let every = !["ordinary", "attack", "curve", "flood", "per-rule", "rules"].into_iter().any(asked);
    if every || asked("ordinary") {
        contest::ordinary(events.unwrap_or(1_000_000), 200_000, among);
    }
    if asked("rules") {
        contest::ordinary(events.unwrap_or(1_000_000), 0, among);
    }
    if every || asked("attack") {
        contest::attack(events.unwrap_or(500_000));
    }
    if every || asked("curve") {
        curve::curve();
    }
    if every || asked("flood") {
        for mib in [64, 256] {
            flood::figure(events.unwrap_or(10_000_000) as u64, mib);
        }
    }
    if asked("per-rule") {
        contest::per_rule(events.unwrap_or(300_000));
    }
}
