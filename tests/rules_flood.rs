//! A flood of fresh keys neither grows memory nor hides a slow attacker from the shipped rules. `cargo bench --bench
//! detect -- flood` is the same with ten million keys.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

#[path = "../benches/detect/scenario.rs"]
mod scenario;

use scenario::{Flood, GUESSED, GUESSER, SURROUNDED};

const KEYS: u64 = 1_000_000;
/// The filters that remember what was pushed out take a 32nd of it: they must hold what the flood pushes out between
/// two tries of the attackers, here 125,000 keys.
const STATE: usize = 16 << 20;

#[test]
fn a_flood_of_a_million_sources_and_accounts_hides_nobody_and_stays_within_its_memory() {
    let mut flood = Flood::new(KEYS, STATE);
    while let Some(batch) = flood.batch(5_000) {
        flood.judge(&batch);
        assert!(flood.totals().bytes <= STATE as u64, "{:?}", flood.totals());
    }
    let totals = flood.totals();
    assert!(totals.evicted > 4 * KEYS, "the flood was more than there is room for: {totals:?}");
    let found = flood.found();
    for (rule, who) in [("AUTH-0004", GUESSER), ("AUTH-0006", SURROUNDED)] {
        assert!(found.contains(&(rule.into(), who.into())), "{rule} {who}: {found:?}, {totals:?}");
    }
    assert!(!found.iter().any(|(rule, who)| rule == "AUTH-0006" && who == GUESSED), "one address alone: {found:?}");
    assert!(flood.findings() < 100, "{} findings of a flood of single failures", flood.findings());
}
