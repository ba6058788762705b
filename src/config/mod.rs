//! The configuration: one TOML file, `AUTHSEAL_…` variables over it, checked completely before anything starts.
//!
//! [`Settings`](settings) (as written) become a [`Config`] (resolved, valid, immutable). Everything that is wrong is
//! reported at once, each at its line and column or under the name of its variable. Secrets come from files or from the
//! environment, never from the file itself, and are never shown.

mod check;
mod classes;
mod de;
mod enrich;
mod inventory;
mod kafka;
mod log;
mod mapping;
mod problem;
mod registry;
mod render;
mod resolve;
mod secret;
mod settings;
mod signer;
mod store;
mod topics;
mod tree;
mod units;

pub use classes::{Class, Classes};
pub use enrich::{Enrich, open_database, out_of_date};
pub use inventory::Inventory;
pub use kafka::Kafka;
pub use log::{Log, Timestamps, TransparencyLog};
pub use mapping::{Choice as MappingChoice, zone as mapping_zone};
pub use problem::{Origin, Problem, Problems};
pub use registry::{Auth as RegistryAuth, Registry};
pub(crate) use resolve::check_origin;
pub use secret::{Key32, Secret};
pub use signer::SignerSpec;
pub use store::Store;
pub use topics::{Start, Topic};
pub use units::{parse as duration, show as show_duration};

use crate::{note::Verifiers, segment::Codec, topics::ByTopic};
use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The name of the file when none is given.
pub const DEFAULT_FILE: &str = "authseal.toml";

/// What a process does. At least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It seals.
    pub seal: bool,
    /// It judges.
    pub detect: bool,
}

/// Everything `authseal run` needs to know. Valid, and fixed for the life of the process.
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// Names the evidence for ever: the key names of seals and log derive from it.
    pub origin: String,
    /// Name of the Kafka cluster in chain ids.
    pub cluster: String,
    /// Name of this process in manifests.
    pub instance: String,
    /// What this process does: seal, judge, or both.
    pub roles: Roles,
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// What to read, by name or pattern; at least one, names and patterns unique.
    pub topics: Vec<Topic>,
    /// Who knows the schemas of records that name them by an id.
    pub registry: Option<Registry>,
    /// Topic of the alerts.
    pub alerts_topic: String,
    /// Topic of the findings of rules in mode shadow; without one they are only counted.
    pub shadow_topic: Option<String>,
    /// Topic of the dead letters.
    pub dead_letters_topic: String,
    /// What is filled into events.
    pub enrich: Enrich,
    /// The key of pseudonyms: with one, they stand for the identifiers of sessions and tokens in the events of all
    /// topics.
    pub correlate: Option<Key32>,
    /// Rules.
    pub rules: Rules,
    /// Sources that should be heard.
    pub inventory: Inventory,
    /// When and how to seal.
    pub seal: Seal,
    /// Where to.
    pub store: Store,
    /// Where `/livez`, `/readyz` and `/metrics` answer.
    pub http: SocketAddr,
    /// What is logged.
    pub log: Log,
    /// The transparency log; without one the removal of the newest segments cannot be found.
    pub transparency_log: Option<TransparencyLog>,
    /// Keys that are accepted beside our own: those of other writers, and older and newer ones of ours.
    pub trusted: Verifiers,
    /// What is allowed but deserves a word.
    pub warnings: Vec<String>,
}

/// Where rules lie and how much they may use.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `None`: nothing is judged.
    pub dir: Option<PathBuf>,
    /// How far back a restart reads for the state of volatile rules.
    pub replay_horizon: Duration,
    /// Where the state of rules that look back further is kept; `None`: nowhere.
    pub state_topic: Option<String>,
    /// Lateness up to which events are judged.
    pub lateness: Duration,
    /// Bytes of state over all rules.
    pub state_bytes: usize,
    /// How often the folder is looked at for changes; zero: only when asked.
    pub reload: Duration,
}

/// When a segment is sealed, and how.
pub struct Seal {
    /// Who signs, with a key called `<origin>/seal`. Never missing where anything is sealed.
    pub signer: Option<SignerSpec>,
    /// The destroyable key of withheld values and pseudonyms. Without one, whoever seals makes up a key and forgets it:
    /// withheld values can then never be compared with anything, and no topic may have `keep = "event"`.
    pub withhold_key: Option<Key32>,
    /// Roll at this many leaves.
    pub max_records: usize,
    /// Roll at this many uncompressed bytes; at most 48 MiB.
    pub max_bytes: usize,
    /// Roll when the first record has waited so long.
    pub max_age: Duration,
    /// Seal an empty segment when nothing came for so long.
    pub heartbeat: Duration,
    /// `next_by` = sealed + heartbeat + this.
    pub grace: Duration,
    /// Compression.
    pub codec: Codec,
    /// Its level; 0 where the codec has none.
    pub level: i32,
    /// Buffers of all partitions together.
    pub memory_bytes: usize,
    /// SIGTERM to exit, at most.
    pub shutdown_deadline: Duration,
}

impl Config {
    /// Reads `file` and lays the variables `env` over it (those that do not begin with `AUTHSEAL_` are passed over).
    /// Relative paths in either are relative to the folder of the file.
    pub fn load(file: &Path, env: &[(String, String)]) -> Result<Self, Problems> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(file, &text, env),
            Err(error) => {
                let message = format!("cannot be read: {error}; write one after authseal.example.toml");
                Err(Problems::new(file.display().to_string(), vec![Problem::at(None, None, message)]))
            }
        }
    }

    /// The same with the text at hand.
    pub fn parse(file: &Path, text: &str, env: &[(String, String)]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut root = tree::parse(text, &mut problems);
        tree::overlay(&mut root, env, &mut problems);
        let read = de::read(&mut root);
        problems.extend(read.problems);
        resolve::resolve(file, &root, read.settings, problems)
            .map_err(|list| Problems::new(file.display().to_string(), list))
    }

    /// The topics to which authseal writes.
    pub fn own_topics(&self) -> Vec<&str> {
        let log = self.transparency_log.as_ref().and_then(|log| log.checkpoint_topic.as_deref());
        let maybe = [self.shadow_topic.as_deref(), self.rules.state_topic.as_deref(), log];
        [&*self.alerts_topic, &*self.dead_letters_topic].into_iter().chain(maybe.into_iter().flatten()).collect()
    }

    /// The topics that are read and named.
    pub fn named_topics(&self) -> impl Iterator<Item = &String> {
        self.topics.iter().filter(|topic| topic.pattern.is_none()).map(|topic| &topic.name)
    }

    /// A value for each topic that is read.
    pub fn by_topic<T>(&self, value: impl Fn(&Topic) -> T) -> ByTopic<T> {
        let mut all = ByTopic::default();
        for topic in &self.topics {
            match &topic.pattern {
                Some(pattern) => all.insert_pattern(pattern.clone(), value(topic)),
                None => all.insert(topic.name.clone(), value(topic)),
            }
        }
        all
    }

    /// Says of a topic that is not named whether a pattern is to find it. Never those that authseal writes to, which
    /// would be judged, or grow by being read; and never Kafka's own, which begin with two underscores.
    pub fn finds(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let all = self.by_topic(|_| ());
        let own: BTreeSet<String> = self.own_topics().into_iter().map(str::to_owned).collect();
        move |topic| {
            let named = all.names().any(|name| name == topic);
            !named && !own.contains(topic) && !topic.starts_with("__") && all.get(topic).is_some()
        }
    }

    /// Whether a topic of this name is read: named, or found by a pattern.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|t| t.pattern.is_none() && t.name == topic) || self.finds()(topic)
    }

    /// Everything, resolved, secrets redacted: what `authseal config check` shows.
    pub fn to_json(&self) -> serde_json::Value {
        render::to_json(self)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({})", self.to_json())
    }
}

/// The variables of this process that are settings. Those that are not Unicode cannot be settings and are passed over.
pub fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with(tree::ENV_PREFIX)).collect()
}

/// The paths of all settings, places in arrays left out: `kafka.brokers`, `topics.name` …
pub fn known_settings(example: &str) -> BTreeSet<String> {
    let mut root = tree::parse(example, &mut Vec::new());
    de::read::<settings::Settings>(&mut root).known
}
