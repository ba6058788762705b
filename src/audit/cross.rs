//! What the chains say of each other: incarnations follow one another, and every partition has a chain. Pure.

use super::{
    findings::Findings,
    report::{Finding, Place},
    since::Expected,
    tlog::LogView,
    walk::Walked,
};
use crate::{layout, position::ChainId};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions have five digits in a key.
const PARTITIONS: i64 = 100_000;

/// By cluster and topic, how many partitions the broker was said to have.
pub(super) type Partitions = BTreeMap<(String, String), i64>;

/// `log`: what the manifests in the log say of partitions; `expect`: what somebody knows.
pub(super) fn check(
    walked: &BTreeMap<ChainId, Walked>,
    log: Option<&LogView>,
    expect: &[Expected],
    findings: &mut Findings,
) {
    incarnations(walked, findings);
    partitions(walked, log, expect, findings);
}

/// Each incarnation names the last manifest of the one before.
fn incarnations(walked: &BTreeMap<ChainId, Walked>, findings: &mut Findings) {
    for (chain, this) in walked.iter().filter(|(chain, _)| chain.incarnation > 0) {
        let before = ChainId { incarnation: chain.incarnation - 1, ..chain.clone() };
        let Some(previous) = walked.get(&before) else {
            let detail = format!("{chain} is there, and no segment of the incarnation before it");
            findings.push(Finding::new("incarnation_missing", Place::chain(&before), detail));
            continue;
        };
        // where one of the two cannot be trusted, the walk has said so
        let (Some(start), Some(last)) = (&this.start, previous.last) else { continue };
        if start.previous == Some(last) {
            continue;
        }
        let detail = match start.previous {
            Some(named) => format!("it says that {before} ended with manifest {named}; it ends with {last}"),
            None => format!("it says that nothing came before; {before} ends with manifest {last}"),
        };
        let place = Place::segment(chain, 0, layout::segment_key(chain, 0));
        findings.push(Finding::new("incarnation_link", place, detail));
    }
}

/// Every partition that the broker had, or that somebody expects, has a chain.
fn partitions(walked: &BTreeMap<ChainId, Walked>, log: Option<&LogView>, expect: &[Expected], findings: &mut Findings) {
    let mut topics: BTreeMap<(&str, &str), (i64, BTreeSet<u32>)> = BTreeMap::new();
    for ((cluster, topic), known) in log.iter().flat_map(|log| &log.partitions) {
        topics.entry((cluster, topic)).or_default().0 = *known;
    }
    // what is in the log and not in the store is told as removed
    for chain in log.iter().flat_map(|log| log.chains.keys()) {
        topics.entry((&chain.cluster, &chain.topic)).or_default().1.insert(chain.partition);
    }
    for (chain, this) in walked {
        let (known, present) = topics.entry((&chain.cluster, &chain.topic)).or_default();
        *known = (*known).max(this.partitions.unwrap_or(0));
        present.insert(chain.partition);
    }
    let mut missing = |cluster: &str, topic: &str, known: i64, present: &BTreeSet<u32>, detail: String| {
        for partition in (0..known.clamp(0, PARTITIONS) as u32).filter(|p| !present.contains(p)) {
            let chain = ChainId { cluster: cluster.into(), topic: topic.into(), partition, incarnation: 0 };
            findings.push(Finding::new("chain_missing", Place::chain(&chain), detail.clone()));
        }
    };
    for ((cluster, topic), (known, present)) in &topics {
        let detail = format!("the broker said that {topic} has {known} partitions; nothing is sealed of this one");
        missing(cluster, topic, *known, present, detail);
    }
    for Expected { cluster, topic, partitions } in expect {
        let (known, mut present) = topics.get(&(&**cluster, &**topic)).cloned().unwrap_or_default();
        // those that the broker told of are told already
        present.extend(0..known.clamp(0, PARTITIONS) as u32);
        let detail = format!("you expect {partitions} partitions of {topic}; nothing is sealed of this one");
        missing(cluster, topic, i64::from(*partitions), &present, detail);
    }
}
