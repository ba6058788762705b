//! How long what is sealed of each topic stays: `[store.retention]`, its classes, and the topics that choose one.

use super::{
    check::Check,
    settings::{ModeName, RetentionSettings, StoreKindName},
    units::Span,
};
use crate::{
    retention::{LockMode, RetentionPolicy},
    topics::{ByTopic, Pattern},
};
use std::{collections::BTreeMap, time::Duration};

/// Unless something else is said.
const PERIOD: Duration = Duration::from_secs(400 * 86_400);

/// How segments are locked, and after how long `authseal retention apply` may dispose of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// The lock of what is sealed.
    pub policy: RetentionPolicy,
    /// From sealing. `None`: never, for there is no lock and no period was given.
    pub expires: Option<Duration>,
}

/// The classes of a store.
#[derive(Debug, Clone)]
pub struct Classes {
    /// Of topics that choose none.
    pub default: Class,
    /// Of topics that choose one.
    pub topics: ByTopic<Class>,
}

impl Classes {
    /// The class of a topic.
    pub fn of(&self, topic: &str) -> &Class {
        self.topics.get(topic).unwrap_or(&self.default)
    }

    /// The lock of what segments of all topics need, the log: as long as that of any of them.
    pub fn longest(&self) -> RetentionPolicy {
        self.topics.values().fold(self.default.policy, |longest, class| longest.longer(class.policy))
    }

    /// The locks of topics that differ from the default.
    pub fn policies(&self) -> ByTopic<RetentionPolicy> {
        self.topics.map(|class| class.policy)
    }
}

/// What decides besides the settings of a class.
#[derive(Clone, Copy)]
pub(super) struct Ground {
    pub is_dir: bool,
    pub confirm_compliance: bool,
    pub heartbeat: Duration,
}

/// The default, and the classes by name.
pub(super) fn resolve(
    settings: &RetentionSettings,
    kind: Option<StoreKindName>,
    confirm_compliance: bool,
    heartbeat: Duration,
    check: &mut Check<'_>,
) -> (Class, BTreeMap<String, Class>) {
    let ground = Ground { is_dir: kind == Some(StoreKindName::Dir), confirm_compliance, heartbeat };
    let default = class("store.retention", settings.mode, settings.period, None, ground, check);
    let named = settings.classes.iter().map(|(name, class_settings)| {
        let setting = format!("store.retention.classes.{name}");
        let mode = class_settings.mode.or(settings.mode);
        (name.clone(), class(&setting, mode, class_settings.period, Some(&default), ground, check))
    });
    let named = named.collect();
    (default, named)
}

/// A topic's name, or its pattern, and the class that it chooses.
pub(super) struct Choice {
    pub name: Option<String>,
    pub pattern: Option<String>,
    pub class: Option<String>,
}

/// The class that each topic chooses.
pub(super) fn of_topics(
    choices: &[Choice],
    default: &Class,
    named: &BTreeMap<String, Class>,
    check: &mut Check<'_>,
) -> Classes {
    let mut topics = ByTopic::default();
    // where there are patterns, what chooses none must still not get the class of a pattern behind it
    let patterns = choices.iter().any(|choice| choice.pattern.is_some());
    for (place, choice) in choices.iter().enumerate() {
        let class = match &choice.class {
            Some(class) => named.get(class),
            None if patterns => Some(default),
            None => continue,
        };
        let (Some(class), name) = (class, choice.name.clone()) else {
            let message = format!("there is no [store.retention.classes.{}]", choice.class.as_deref().unwrap_or(""));
            check.wrong(&format!("topics.{place}.retention"), message);
            continue;
        };
        // what is wrong with a pattern is told where it is
        match (name, choice.pattern.as_deref().and_then(|text| Pattern::parse(text).ok())) {
            (Some(name), _) => topics.insert(name, class.clone()),
            (None, Some(pattern)) => topics.insert_pattern(pattern, class.clone()),
            (None, None) => {}
        }
    }
    Classes { default: default.clone(), topics }
}

fn class(
    setting: &str,
    mode: Option<ModeName>,
    period: Option<Span>,
    default: Option<&Class>,
    ground: Ground,
    check: &mut Check<'_>,
) -> Class {
    let usual = if ground.is_dir { ModeName::None } else { ModeName::Governance };
    let mode = match mode.unwrap_or(usual) {
        ModeName::None => LockMode::None,
        ModeName::Governance => LockMode::Governance,
        ModeName::Compliance => LockMode::Compliance,
    };
    let given = period.is_some();
    let otherwise = default.map_or(PERIOD, |default| default.policy.period);
    let period = check.duration(&format!("{setting}.period"), period, otherwise);
    match mode {
        LockMode::None if given && !ground.is_dir => {
            check.wrong(&format!("{setting}.period"), "has no effect with mode NONE: take it out");
        }
        LockMode::None if !ground.is_dir => {
            check.warn(format!("{setting}: mode NONE: whoever may write to the bucket may delete the evidence"));
        }
        LockMode::None => {}
        _ if ground.is_dir => {
            check.wrong(&format!("{setting}.mode"), "a folder cannot lock: the mode of kind = \"dir\" is NONE");
        }
        LockMode::Compliance if !ground.confirm_compliance => {
            let message = "COMPLIANCE cannot be undone by anyone, the root account included, and every object is paid \
                           for until its date: set store.confirm_compliance = true if that is meant";
            check.wrong(&format!("{setting}.mode"), message);
        }
        _ if period < ground.heartbeat => {
            let message = "is shorter than seal.heartbeat: the head of a chain would be unlocked";
            check.wrong(&format!("{setting}.period"), message);
        }
        _ => {}
    }
    // in a folder, nothing goes unless somebody said when
    let inherited = default.is_some_and(|default| default.expires.is_some());
    let expires = (mode != LockMode::None || given || inherited).then_some(period);
    Class { policy: RetentionPolicy { mode, period }, expires }
}
