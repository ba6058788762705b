//! Questions to the cluster, and what their answers mean. What waits is asked on a thread of its own.

use super::{AGAIN, Command, Poller};
use crate::{
    error::{Error, Kind, Result},
    position::TopicPartition,
    source::{
        Assigned, SourceEvent,
        kafka::{
            Consumer,
            ffi::{self, admin::Spec},
            partitions::{Partition, State},
            query::{self, Committed},
        },
    },
};
use rdkafka::consumer::Consumer as _;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A partition without records for this long is asked for its end at once, else once a second.
const QUIET: Duration = Duration::from_millis(100);

impl Poller {
    /// Asks what is to be asked by now, and hears answers.
    pub(super) fn ask_due(&mut self, now: Instant) {
        let ask: Vec<_> = self
            .partitions
            .iter_mut()
            .filter(|p| p.ask_committed.is_some_and(|at| at <= now))
            .map(|p| {
                p.ask_committed = None;
                (p.id.clone(), p.assignment)
            })
            .collect();
        if !ask.is_empty() {
            self.ask_committed(ask);
        }
        if self.found.is_due(now) {
            self.apart(|consumer| Command::Topics(query::topics(consumer, query::TIMEOUT)));
        }
        self.hear_ends(now);
        // whether or not records come: a partition without any must be told at its end beside busy ones
        if self.ends_asked.is_none() {
            self.ask_ends(now);
        }
    }

    fn ask_committed(&mut self, asked: Vec<(TopicPartition, u64)>) {
        let ids: Vec<_> = asked.iter().map(|(id, _)| id.clone()).collect();
        self.apart(move |consumer| Command::Committed { asked, answer: query::committed(consumer, &ids) });
    }

    /// What the group has committed was told, or could not be.
    pub(super) fn committed(&mut self, asked: &[(TopicPartition, u64)], answer: Result<Committed>) {
        let (found, error) = match answer {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut assigned = Vec::new();
        let mut waiting = false;
        for (id, assignment) in asked {
            // the answer may be to an assignment that is over
            let current = |p: &&mut Partition| p.assignment == *assignment && !p.told;
            let Some(partition) = self.partitions.get_mut(id).filter(current) else { continue };
            let Some((_, committed)) = found.iter().find(|(found, _)| found == id) else {
                partition.ask_committed = Some(Instant::now() + AGAIN);
                waiting = true;
                continue;
            };
            partition.told = true;
            partition.committed.clone_from(committed);
            let committed = committed.as_ref().map(|(commit, _)| commit.clone());
            assigned.push(Assigned { partition: id.clone(), committed });
        }
        if let Some(error) = error.filter(|_| waiting) {
            self.tell(None, error);
        }
        if !assigned.is_empty() {
            self.events.push(SourceEvent::Assigned(assigned));
        }
    }

    /// Which topics there are was told, or could not be. If others are to be read than before, the group is told.
    pub(super) fn topics(&mut self, answer: Result<Vec<String>>) {
        let now = Instant::now();
        let all = match answer {
            Ok(all) => all,
            Err(error) => {
                self.found.asked(now, true);
                return self.tell(None, error.context("the topics that match cannot be looked for"));
            }
        };
        let change = self.found.heard(all);
        self.found.asked(now, false);
        let Some(change) = change else { return };
        if let Err(error) = query::subscribe(&self.consumer, &self.found.topics()) {
            self.tell(None, error);
        }
        self.events.push(SourceEvent::Topics { found: change.found, gone: change.gone });
    }

    /// Asks, after a while, which offsets the broker has of a partition that is lost.
    pub(super) fn ask_range(&mut self, partition: TopicPartition, after: Duration) {
        let Some(found) = self.partitions.get_mut(&partition) else { return };
        let State::Lost { words } = &found.state else { return };
        let (epoch, cut) = (found.epoch, truncated_at(words));
        self.apart(move |consumer| {
            thread::sleep(after);
            let answer = query::range(consumer, &partition);
            // a log that was cut off and has grown again has our offset, but not our record before it
            let answer = answer.map(|(start, end)| (start, cut.map_or(end, |cut| cut.min(end).max(start))));
            Command::Range { partition, epoch, answer }
        });
    }

    /// The offsets that the broker has were told, or could not be.
    pub(super) fn ranged(&mut self, id: &TopicPartition, epoch: u64, answer: Result<(i64, i64)>) {
        let Some(partition) = self.partitions.get_mut(id) else { return };
        if partition.epoch != epoch || !matches!(partition.state, State::Lost { .. }) {
            return;
        }
        match answer {
            Ok((log_start, end)) if partition.next < log_start || partition.next > end => {
                partition.state = State::Stopped;
                self.events.push(SourceEvent::OutOfRange { partition: id.clone(), epoch, log_start, end });
            }
            Ok(_) => {
                // a replica that lagged, or a leader that changed; not to be validated by an epoch that nobody knows
                partition.leader_epochs.clear();
                partition.again(Instant::now());
                let next = partition.next;
                let words = format!("offset {next} was not there for a moment: it is read again");
                self.tell(Some(id.clone()), Error::retry(words));
            }
            Err(error) if error.kind() == Kind::Retry => {
                self.tell(Some(id.clone()), error);
                self.ask_range(id.clone(), AGAIN);
            }
            Err(error) => {
                partition.state = State::Stopped;
                self.tell(Some(id.clone()), error);
            }
        }
    }

    /// Runs a question apart from this thread; its answer comes as a command.
    fn apart(&mut self, question: impl FnOnce(&Arc<Consumer>) -> Command + Send + 'static) {
        let (consumer, own) = (self.consumer.clone(), self.own.clone());
        let spawned = thread::Builder::new().name("authseal-kafka-ask".into()).spawn(move || {
            let answer = question(&consumer);
            drop(consumer);
            // the poller is gone when it was closed meanwhile
            let _ = own.send(answer);
        });
        if let Err(error) = spawned {
            self.tell(None, Error::retry("no thread for a question to Kafka").caused_by(error));
        }
    }

    /// Asks for the last stable offsets of partitions that may be at their end: one request to each broker.
    fn ask_ends(&mut self, now: Instant) {
        let due = |p: &&mut Partition| {
            let since = p.asked.map_or(Duration::MAX, |at| now.duration_since(at));
            let quiet = p.fresh && now.duration_since(p.active) >= QUIET;
            p.is_running() && (since >= AGAIN || (quiet && since >= QUIET * 2))
        };
        let asked: Vec<_> = self
            .partitions
            .iter_mut()
            .filter(due)
            .map(|p| {
                p.asked = Some(now);
                (p.id.clone(), p.epoch)
            })
            .collect();
        if asked.is_empty() {
            return;
        }
        let ask: Vec<_> = asked.iter().map(|(id, _)| (&*id.topic, id.partition, Spec::Latest)).collect();
        match self.ends.ask_offsets(&ask, true, query::TIMEOUT) {
            Ok(()) => self.ends_asked = Some(asked),
            Err(error) => self.tell(None, error),
        }
    }

    fn hear_ends(&mut self, now: Instant) {
        if self.ends_asked.is_none() {
            return;
        }
        let Some(answer) = self.ends.offsets(Duration::ZERO) else { return };
        let asked = self.ends_asked.take().unwrap_or_default();
        let Ok(entries) = answer.inspect_err(|(_, words)| tracing::debug!("the ends of partitions: {words}")) else {
            return;
        };
        let consumer = self.consumer.clone();
        for entry in entries.into_iter().filter(|entry| entry.error == 0) {
            let id = TopicPartition::new(entry.topic, entry.partition);
            let Some((_, epoch)) = asked.iter().find(|(asked, _)| *asked == id) else { continue };
            let Some(partition) = self.partitions.get_mut(&id).filter(|p| p.is_running() && p.epoch == *epoch) else {
                continue;
            };
            // librdkafka's position is past transaction markers, which are never delivered
            let position = ffi::position(consumer.client().native_client(), &id.topic, id.partition);
            partition.next = partition.next.max(position.unwrap_or(-1));
            if partition.next < entry.offset && partition.is_stuck(now, self.room) {
                partition.again(now);
                let words = format!("records up to {} are there and none came: reading again", entry.offset);
                self.tell(Some(id), Error::retry(words));
                continue;
            }
            // beyond it: records came since the answer, or it was started where the log has nothing
            if partition.next == entry.offset {
                partition.fresh = false;
                let (epoch, end) = (partition.epoch, entry.offset);
                self.events.push_repeated(SourceEvent::AtEnd { partition: id, epoch, end });
            }
        }
    }
}

/// Where the broker's log was cut off, if librdkafka's words are about that.
fn truncated_at(words: &str) -> Option<i64> {
    if words.contains("No epoch found less or equal to") {
        // nothing that we know is in it
        return Some(0);
    }
    let (_, after) = words.split_once("truncation detected")?;
    let (_, after) = after.split_once("broker end offset is ")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_about_a_truncated_log_are_understood() {
        // as rd_kafka_handle_OffsetForLeaderEpoch writes them
        let cut = "Partition log truncation detected at offset 120 (leader epoch 3): broker end offset is 87 \
                   (offset leader epoch 2). Reset to INVALID.: Local: Partition log truncated (broker 1)";
        let unknown = "No epoch found less or equal to offset 5 (leader epoch 0): broker end offset is -1 \
                       (offset leader epoch -1). Reset using configured policy.: Local: Partition log truncated";
        let other = "fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
        assert_eq!(truncated_at(cut), Some(87));
        assert_eq!(truncated_at(unknown), Some(0));
        assert_eq!(truncated_at(other), None);
    }
}
