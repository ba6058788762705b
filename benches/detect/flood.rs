//! Ten million fresh sources and accounts within forty minutes, and who is found among them.

use crate::{
    measure::{Cost, resident_mib},
    scenario::Flood,
};

/// Events judged at a stretch.
const BATCH: u64 = 20_000;

/// Prints what the flood costs, what it takes, and what is found.
pub fn figure(keys: u64, mib: u64) {
    let before = resident_mib();
    let mut flood = Flood::new(keys, (mib << 20) as usize);
    let (mut cost, mut most_resident) = (Cost::default(), before);
    while let Some(batch) = flood.batch(BATCH) {
        cost.add(batch.len(), || flood.judge(&batch));
        most_resident = most_resident.max(resident_mib());
    }
    let totals = flood.totals();
    println!("a flood of {keys} sources and accounts in 40 minutes, all shipped rules, rules.state_mib = {mib}");
    println!("  {:.0} ns of CPU an event, {:.1} allocations", cost.each(), cost.allocated());
    println!(
        "  bytes accounted for: at most {:.1} MiB; resident: {before} MiB before, {} after, at most {most_resident}",
        flood.most_bytes as f64 / f64::from(1 << 20),
        resident_mib()
    );
    println!("  keys kept {}, pushed out {}", totals.keys, totals.evicted);
    println!("  {} findings; of the slow attackers: {:?}\n", flood.findings(), flood.found());
    assert!(flood.most_bytes <= mib << 20, "the bound of memory holds");
}
