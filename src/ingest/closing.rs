//! What is done and committed, and how the workflow ends.

use super::{
    engine::{Checks, Engine, Told},
    lane::State,
    report,
};
use crate::{error::Error, position::TopicPartition, source::Commit};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};

/// How often a commit is repeated although nothing has changed.
const COMMIT_AGAIN: Duration = Duration::from_secs(15);
/// What a broker that does not answer may take of the exit when the deadline is over: once for the commit, once for the
/// group. What it does not hear of costs the next start some reading, no more.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// How the workflow ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whether every record that was read lies in the store.
    pub sealed: bool,
    /// Whether every finding and dead letter was acknowledged, and all that durable rules know.
    pub published: bool,
    /// Partitions that had stopped, with the reason.
    pub stopped: Vec<(TopicPartition, String)>,
}

impl Engine {
    /// What is to be committed: everything below it is sealed, judged and acknowledged. `again`: also what was
    /// committed already, for the group passes over a commit that meets a rebalance, and nobody is told.
    fn commits(&mut self, again: bool) -> Vec<(TopicPartition, Commit)> {
        let mut commits = Vec::new();
        let unacknowledged: Vec<_> = self.lanes.values().map(|lane| self.unacknowledged(lane)).collect();
        for (lane, unacknowledged) in self.lanes.values_mut().zip(unacknowledged) {
            let sequence = lane.head.as_ref().map_or(0, |head| head.sequence);
            let deferred = self.detector.deferred(&lane.chain);
            let done = lane.done_to(unacknowledged, deferred);
            let now = (done, sequence);
            // while state is rebuilt the cursors are behind what was committed: never go back
            if lane.committed.is_some_and(|before| done < before.0 || now == before && !again)
                || done < lane.publish_from
            {
                continue;
            }
            let Some(metadata) = lane.note(done) else { continue };
            lane.committed = Some(now);
            self.outbox.committed(&lane.partition, done);
            let commit = Commit { offset: done, metadata };
            commits.push((lane.partition.clone(), commit));
        }
        commits
    }

    pub(super) fn report(&mut self) {
        self.keep_state();
        self.scope_sources();
        self.pass_on_heard();
        let again = Checks::due(&mut self.checks.commit, COMMIT_AGAIN, false);
        let commits = self.commits(again);
        if !commits.is_empty() {
            self.control.commit(commits);
        }
        report::tell(self);
    }

    /// Seals what is buffered and waits for answers until `end`; then commits.
    pub(super) async fn drain(&mut self, told: &mut mpsc::UnboundedReceiver<Told>, end: Instant) -> Summary {
        let deadline = tokio::time::sleep_until(end);
        let mut deadline = std::pin::pin!(deadline);
        loop {
            let waiting: Vec<_> =
                self.lanes.values().filter(|lane| lane.has_leaves()).map(|lane| lane.partition.clone()).collect();
            waiting.iter().for_each(|partition| self.seal(partition));
            self.keep_state();
            let published = self.outbox.len() == 0 && self.is_kept();
            if self.lanes.values().all(|lane| lane.under_way.is_none()) && published {
                break;
            }
            tokio::select! {
                () = &mut deadline => break,
                Some(told) = told.recv() => self.told(told),
                () = self.outbox.settle_one() => {}
                landed = self.keeper.landed() => self.kept(landed),
            }
        }
        let commits = self.commits(true);
        if !commits.is_empty() {
            let committed =
                tokio::time::timeout_at(end.max(Instant::now() + FAREWELL), self.control.commit_now(commits));
            let late = |_| Err(Error::retry("the broker did not answer in time"));
            if let Err(error) = committed.await.unwrap_or_else(late) {
                // the next start finds what is sealed in the store, and publishes again under the same ids
                self.status.fail("source", error.context("committing at shutdown").to_string());
            }
        }
        report::tell(self);
        let stopped = self.lanes.values().filter_map(|lane| match &lane.state {
            State::Stopped(why) => Some((lane.partition.clone(), why.clone())),
            _ => None,
        });
        Summary {
            sealed: self.lanes.values().all(|lane| lane.under_way.is_none() && !lane.has_leaves()),
            published: self.outbox.len() == 0 && self.is_kept(),
            stopped: stopped.collect(),
        }
    }
}
