//! Rules that change under way: stored first, then put into force between two records.
//!
//! If we crash here: before the switch the old rules were in force and the next start stores and takes the new ones;
//! after it, what was judged with the new ones and not sealed is read and judged again. Either way every manifest names
//! rules that lie in the store.

use super::{
    artifacts::InForce,
    engine::{Engine, LOOKUP_AGAIN},
    options::{Clock, Options},
    status::{Notice, Status},
};
use crate::{detect::RuleSet, store::Store, telemetry};
use futures_util::future::BoxFuture;
use std::{future::pending, sync::Arc};
use tokio::sync::watch;

/// Where rules come from that are to come into force: checked and tested. Only the newest counts.
pub type Changes = watch::Receiver<Arc<RuleSet>>;

/// Rules on their way into force.
pub(super) struct Switching {
    changes: Option<Changes>,
    storing: Option<BoxFuture<'static, Ready>>,
}

/// Rules that lie in the store.
pub(super) struct Ready {
    rules: Arc<RuleSet>,
    in_force: InForce,
}

/// What storing takes.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) status: Arc<Status>,
    pub(super) options: Options,
}

impl Switching {
    /// Nothing is on its way yet.
    pub fn new(changes: Option<Changes>) -> Self {
        Self { changes, storing: None }
    }

    /// Waits for rules that can be put into force. May be dropped and called again.
    pub async fn next(&mut self, means: &Means) -> Ready {
        loop {
            tokio::select! {
                biased;
                rules = changed(&mut self.changes) => {
                    // what was on its way is out of date
                    self.storing = rules.map(|rules| store(rules, means.clone()));
                }
                ready = stored(&mut self.storing) => {
                    self.storing = None;
                    return ready;
                }
            }
        }
    }
}

/// The next rules; `None` when nobody watches them any more. Pends for ever after that.
async fn changed(changes: &mut Option<Changes>) -> Option<Arc<RuleSet>> {
    let Some(receiver) = changes else { return pending().await };
    if receiver.changed().await.is_err() {
        *changes = None;
        return pending().await;
    }
    Some(receiver.borrow_and_update().clone())
}

async fn stored(storing: &mut Option<BoxFuture<'static, Ready>>) -> Ready {
    match storing {
        Some(storing) => storing.await,
        None => pending().await,
    }
}

/// Stores rules until they lie there: a store that is down delays them, and nothing else.
fn store(rules: Arc<RuleSet>, means: Means) -> BoxFuture<'static, Ready> {
    Box::pin(async move {
        let options = Options { rules: rules.clone(), ..means.options };
        let in_force = InForce::of(&options);
        while let Err(error) = in_force.store(&*means.store, &options, (means.clock)()).await {
            let why = error.context("the new rules are good, but cannot be stored: the old ones stay in force");
            means.status.fail("rules", why.to_string());
            tokio::time::sleep(LOOKUP_AGAIN).await;
        }
        Ready { rules, in_force }
    })
}

impl Engine {
    /// What storing new rules takes.
    pub(super) fn means(&self) -> Means {
        Means {
            store: self.sealer.store.clone(),
            clock: self.clock.clone(),
            status: self.status.clone(),
            options: self.options.clone(),
        }
    }

    /// Puts rules into force: from the next record on. What was judged before is sealed by itself, so that each
    /// manifest names the rules of its records.
    pub(super) fn switch(&mut self, ready: Ready) {
        let Ready { rules, in_force } = ready;
        let (was, digest) = (self.options.rules.bundle().0, rules.bundle().0);
        if was != digest {
            let now = self.now();
            let replaced = self.detector.replace_rules(rules.clone(), now, &mut self.findings);
            if let Some(keeping) = &self.options.state {
                let began = self.detector.latest();
                self.detector.keep(keeping.horizon, began);
            }
            self.options.rules = rules;
            // schemas may have come into force while these were stored
            self.in_force = in_force.with_decode_of(&self.in_force);
            for lane in self.lanes.values_mut() {
                lane.naming.change(lane.judge_next, self.in_force.names);
            }
            self.publish_findings();
            let partitions: Vec<_> = self.lanes.keys().cloned().collect();
            partitions.iter().for_each(|partition| self.seal_if_due(partition));
            metrics::counter!(telemetry::RULE_RELOADS, "result" => "in_force").increment(1);
            self.status.tell(&Notice::Rules { digest, replaced: &replaced });
        }
        self.status.ok("rules");
    }
}
