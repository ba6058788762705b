//! Which rules count less than there is, because other processes read a part of what they count.
//!
//! A rule sees the partitions that its process reads. While a process reads all of a topic, or the topic is partitioned
//! by fields that are all in the rule's key, it sees everything of each key; otherwise an attack may be spread over
//! processes of which none sees enough.

use super::{lane::Lane, options::Options, status::Status};
use crate::telemetry;
use std::collections::{BTreeMap, BTreeSet};

/// The part of readiness that warns.
const PART: &str = "rules:coverage";

/// What is read here of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    here: i64,
    /// As the broker says; zero while it has not.
    all: i64,
}

/// The rules that may miss something, and why.
#[derive(Debug, Default, PartialEq, Eq)]
struct Partial<'a> {
    rules: BTreeSet<&'a str>,
    /// The topics of which others read a part.
    topics: BTreeMap<&'a str, Share>,
}

/// Tells which rules count only a part: in a metric each, in a warning all. Not before the broker has said how many
/// partitions there are.
pub(super) fn tell<'a>(options: &Options, lanes: impl Iterator<Item = &'a Lane>, status: &Status) {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for lane in lanes {
        let share = shares.entry(&lane.partition.topic).or_default();
        share.here += 1;
        share.all = share.all.max(lane.broker.partitions.unwrap_or(0));
    }
    let counting: Vec<(&str, Vec<String>)> = options.rules.counting().collect();
    // a pattern may have found several topics, also such that others read
    let patterned = shares.keys().any(|topic| !options.topics.names().any(|name| name == *topic));
    let named = options.topics.names().filter(|topic| options.live.judges(topic)).count();
    let judged = named + 2 * usize::from(patterned);
    let by = |topic: &str| options.live.partition_fields(topic);
    let shares = shares.into_iter().filter(|(topic, _)| options.live.judges(topic)).collect();
    let partial = partial(&counting, shares, judged, by);
    for (rule, _) in &counting {
        let is = if partial.rules.contains(rule) { 1.0 } else { 0.0 };
        metrics::gauge!(telemetry::RULE_PARTIAL, "rule" => (*rule).to_owned()).set(is);
    }
    status.warn(PART, partial.words());
}

fn partial<'a, 'b>(
    counting: &'a [(&'a str, Vec<String>)],
    shares: BTreeMap<&'a str, Share>,
    judged: usize,
    by: impl Fn(&str) -> Option<&'b [String]>,
) -> Partial<'a> {
    let topics: BTreeMap<_, _> = shares.into_iter().filter(|(_, share)| share.here < share.all).collect();
    let sees_all = |key: &[String]| {
        // partitions of several topics need not be assigned together, even if they are made alike
        topics.is_empty()
            || (judged == 1
                && topics.keys().all(|topic| by(topic).is_some_and(|by| by.iter().all(|field| key.contains(field)))))
    };
    let rules = counting.iter().filter(|(_, key)| !sees_all(key)).map(|(rule, _)| *rule).collect();
    Partial { rules, topics }
}

impl Partial<'_> {
    fn words(&self) -> Option<String> {
        if self.rules.is_empty() {
            return None;
        }
        let share =
            |(topic, share): (&&str, &Share)| format!("{} of the {} partitions of {topic}", share.here, share.all);
        let topics: Vec<String> = self.topics.iter().map(share).collect();
        let rules: Vec<&str> = self.rules.iter().copied().collect();
        Some(format!(
            "only {} are read here, so these rules may count less than there is: {}. Say topics.partitioned_by if the \
             topic is partitioned by fields of their keys; else let one process read all partitions",
            topics.join(", "),
            rules.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(shares: &[(&'static str, i64, i64)], judged: usize, by: Option<&[&str]>) -> Vec<String> {
        let key = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        let counting = [("BY-USER", key(&["tenant", "user"])), ("BY-IP", key(&["tenant", "src_ip"]))];
        let by = by.map(key);
        let shares = shares.iter().map(|(topic, here, all)| (*topic, Share { here: *here, all: *all })).collect();
        let partial = partial(&counting, shares, judged, |_| by.as_deref());
        assert_eq!(partial.words().is_none(), partial.rules.is_empty());
        partial.rules.iter().map(|rule| (*rule).to_owned()).collect()
    }

    #[test]
    fn a_rule_sees_all_of_a_key_or_is_named() {
        let both = ["BY-IP", "BY-USER"];
        assert_eq!(rules_of(&[("auth", 3, 3)], 1, None), [""; 0]);
        assert_eq!(rules_of(&[("auth", 2, 3)], 1, None), both, "nobody knows by what it is partitioned");
        assert_eq!(rules_of(&[("auth", 2, 3)], 1, Some(&["user"])), ["BY-IP"]);
        assert_eq!(rules_of(&[("auth", 2, 3)], 1, Some(&["tenant", "src_ip"])), ["BY-USER"]);
        assert_eq!(rules_of(&[("auth", 2, 3)], 1, Some(&["session"])), both);
        assert_eq!(rules_of(&[("auth", 2, 0)], 1, None), [""; 0], "the broker has not said how many there are");
        assert_eq!(rules_of(&[], 1, None), [""; 0], "nothing is assigned yet");
        assert_eq!(rules_of(&[("auth", 2, 3), ("vpn", 1, 1)], 2, Some(&["user"])), both);
        assert_eq!(rules_of(&[("auth", 3, 3), ("vpn", 1, 1)], 2, None), [""; 0]);
    }

    #[test]
    fn the_warning_names_what_is_read_and_the_rules() {
        let counting = [("R-1", Vec::new())];
        let shares = BTreeMap::from([("auth", Share { here: 2, all: 3 })]);
        let words = partial(&counting, shares, 1, |_| None).words().unwrap();
        assert!(words.contains("2 of the 3 partitions of auth") && words.contains("there is: R-1."), "{words}");
    }
}
