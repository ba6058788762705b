//! Topics that are read because their names match, and which there are now: whoever can list the cluster's topics can
//! say which were found and which are gone. Decides only; the poll thread asks and subscribes.
//!
//! librdkafka could subscribe to patterns itself. Its own have no exceptions (our alerts would be read), they match by
//! the rules of the system's C library, and by those of the brokers' with KIP-848; and they do not say what changed.

use super::properties::Properties;
use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Which topics are wanted besides those that are named.
#[derive(Clone)]
pub struct Wanted(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Wanted {
    /// Those whose name pleases `wants`.
    pub fn new(wants: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wants))
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted")
    }
}

/// What is different from before.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Topics that are there now.
    pub found: Vec<String>,
    /// Topics that are no longer there.
    pub gone: Vec<String>,
}

/// What is subscribed to.
pub struct Found {
    named: Vec<String>,
    wanted: Option<Wanted>,
    every: Option<Duration>,
    due: Option<Instant>,
    read: BTreeSet<String>,
    /// Missing from the last list: a broker that starts may not know all yet, so they are not given up at once.
    missed: BTreeSet<String>,
}

impl Found {
    /// As librdkafka's own look at the topics, whose property says how often both are done.
    const EVERY: Duration = Duration::from_secs(60);
    /// Milliseconds between two looks; negative: never again.
    const PROPERTY: &str = "topic.metadata.refresh.interval.ms";

    /// What is named, and what else is wanted, of which nothing is known yet.
    pub fn new(named: Vec<String>, wanted: Option<Wanted>, properties: &Properties) -> Self {
        let every = match properties.get(Self::PROPERTY).and_then(|text| text.parse::<i64>().ok()) {
            Some(millis) => u64::try_from(millis).ok().map(|millis| Duration::from_millis(millis.max(100))),
            None => Some(Self::EVERY),
        };
        Self { named, wanted, every, due: None, read: BTreeSet::new(), missed: BTreeSet::new() }
    }

    /// Whether the cluster is to be asked now for its topics. Not again before [`Found::asked`].
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.wanted.is_some() && self.due.is_none_or(|due| due <= now);
        if due {
            // until the answer is there
            self.due = Some(now + Duration::from_secs(86_400 * 365));
        }
        due
    }

    /// The answer was heard, or none came: it is asked again, sooner after a failure.
    pub fn asked(&mut self, now: Instant, failed: bool) {
        if failed {
            self.due = Some(now + super::poller::AGAIN);
        } else if let Some(every) = self.every {
            // what was missing once is looked for again at once
            self.due = Some(now + if self.missed.is_empty() { every } else { every.min(super::poller::AGAIN) });
        }
    }

    /// All topics of the cluster are told. What changes by that, if anything does.
    pub fn heard(&mut self, all: Vec<String>) -> Option<Change> {
        let Some(Wanted(wants)) = &self.wanted else { return None };
        let all: BTreeSet<String> =
            all.into_iter().filter(|topic| wants(topic) && !self.named.contains(topic)).collect();
        let found: Vec<String> = all.difference(&self.read).cloned().collect();
        let missing: BTreeSet<String> = self.read.difference(&all).cloned().collect();
        let gone: Vec<String> = missing.intersection(&self.missed).cloned().collect();
        self.missed = missing;
        self.read.extend(found.iter().cloned());
        for topic in &gone {
            self.read.remove(topic);
            self.missed.remove(topic);
        }
        (!found.is_empty() || !gone.is_empty()).then_some(Change { found, gone })
    }

    /// What is to be subscribed to.
    pub fn topics(&self) -> Vec<&str> {
        self.named.iter().chain(&self.read).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(named: &[&str]) -> Found {
        let named = named.iter().map(|name| (*name).to_owned()).collect();
        Found::new(named, Some(Wanted::new(|topic| topic.starts_with("auth"))), &Properties::new())
    }

    fn hear(found: &mut Found, all: &[&str]) -> Option<(String, String)> {
        let change = found.heard(all.iter().map(|name| (*name).to_owned()).collect())?;
        Some((change.found.join(","), change.gone.join(",")))
    }

    fn change(found: &str, gone: &str) -> Option<(String, String)> {
        Some((found.to_owned(), gone.to_owned()))
    }

    #[test]
    fn topics_come_and_go() {
        let mut of = found(&["auth.named", "vpn"]);
        assert_eq!(hear(&mut of, &["auth.1", "auth.named", "other", "vpn"]), change("auth.1", ""));
        assert_eq!(hear(&mut of, &["auth.1", "auth.2"]), change("auth.2", ""));
        assert_eq!(of.topics(), ["auth.named", "vpn", "auth.1", "auth.2"]);
        assert_eq!(hear(&mut of, &["auth.2"]), None, "missing once is not gone");
        assert_eq!(hear(&mut of, &["auth.1", "auth.2"]), None);
        assert_eq!(hear(&mut of, &["auth.2"]), None);
        assert_eq!(hear(&mut of, &["auth.2"]), change("", "auth.1"));
        assert_eq!(hear(&mut of, &["auth.2"]), None, "told once");
        assert_eq!(hear(&mut of, &["auth.1", "auth.2"]), change("auth.1", ""), "it is back");
    }

    #[test]
    fn the_cluster_is_asked_now_and_then() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut of = found(&[]);
        assert!(of.is_due(start) && !of.is_due(after(3600)), "once until it is answered");
        of.asked(after(1), true);
        assert!(!of.is_due(after(1)) && of.is_due(after(2)));
        assert_eq!(hear(&mut of, &["auth.1"]), change("auth.1", ""));
        of.asked(after(2), false);
        assert!(!of.is_due(after(61)) && of.is_due(after(62)));
        assert_eq!(hear(&mut of, &[]), None);
        of.asked(after(62), false);
        assert!(of.is_due(after(63)), "what is missing is looked for again soon");
        let properties = Properties::from([(Found::PROPERTY.to_owned(), "-1".to_owned())]);
        let mut once = Found::new(Vec::new(), Some(Wanted::new(|_| true)), &properties);
        assert!(once.is_due(start));
        once.asked(start, false);
        assert!(!once.is_due(after(1_000_000)));
        let mut none = Found::new(vec!["auth".into()], None, &Properties::new());
        assert!(!none.is_due(start) && none.heard(vec!["auth.1".into()]).is_none());
    }
}
