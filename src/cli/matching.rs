//! Which topics the patterns of a configuration match now: asked of the brokers, as far as they answer.

use crate::{
    config::Config,
    source::kafka::topic::{Clean, Cluster, list},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// How long the brokers are waited for: whoever checks a configuration is often not where they are.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pattern, and the topics that it finds.
type Found = (String, BTreeMap<String, Clean>);

/// What the patterns match.
pub struct Matching {
    /// The patterns, in their order, each with the topics that it finds; or why that is not known.
    found: Result<Vec<Found>, String>,
}

impl Matching {
    /// Asks the brokers. `None` where there is no pattern.
    pub fn of(config: &Config) -> Option<Self> {
        let all = config.by_topic(|topic| (topic.name.clone(), topic.gaps_expected));
        all.patterns().next()?;
        let properties = config.kafka.client_properties();
        let cluster = Cluster { brokers: &config.kafka.brokers, group: &config.kafka.group, properties: &properties };
        let finds = config.finds();
        let found = list(&cluster, PATIENCE, finds).map_err(|error| error.to_string()).map(|topics| {
            let mut found: Vec<_> = all.patterns().map(|(p, _)| (p.text().to_owned(), BTreeMap::new())).collect();
            for (topic, clean) in topics {
                let Some((by, gaps_expected)) = all.get(&topic) else { continue };
                // where holes are meant it does not matter
                let clean = if *gaps_expected { Clean::Kept } else { clean };
                if let Some((_, topics)) = found.iter_mut().find(|(pattern, _)| pattern == by) {
                    topics.insert(topic, clean);
                }
            }
            found
        });
        Some(Self { found })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let name = |(topic, clean): (&String, &Clean)| match clean {
            Clean::Compacted => format!("{topic} (compacted: would be refused)"),
            Clean::Kept | Clean::Unknown => topic.clone(),
        };
        // writing to a string cannot fail
        let _ = match &self.found {
            Err(why) => writeln!(text, "  topics matched    not known: {why}"),
            Ok(found) => found.iter().try_for_each(|(pattern, topics)| {
                let names: Vec<String> = topics.iter().map(name).collect();
                let names = if names.is_empty() { "none now".to_owned() } else { names.join(", ") };
                writeln!(text, "  {pattern} matches {names}")
            }),
        };
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        match &self.found {
            Err(why) => json!({ "error": why }),
            Ok(found) => {
                let of = |(pattern, topics): &Found| {
                    let refused = topics.iter().filter(|(_, clean)| **clean == Clean::Compacted).map(|(name, _)| name);
                    let refused: Vec<&String> = refused.collect();
                    json!({ "pattern": pattern, "topics": topics.keys().collect::<Vec<_>>(), "refused": refused })
                };
                json!({ "patterns": found.iter().map(of).collect::<Vec<_>>() })
            }
        }
    }
}
