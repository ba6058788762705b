//! Records on their way through a lane: decode, judge, dead letters, leaf.

use super::{
    engine::Engine,
    fetching::look,
    lane::{Lane, State},
    outbox::{Outbox, names},
    report,
    status::Notice,
};
use crate::{
    decode::Refusal,
    detect::{Detector, Finding, Input},
    error::Result,
    position::TopicPartition,
    publish::{self, Stream},
    record::RawRecord,
    source::{Assigned, Batch, Commit},
};

impl Engine {
    pub(super) fn batch(&mut self, batch: Batch) {
        let now = (self.clock)();
        let mut failed = None;
        if let Some(lane) = self.lanes.get_mut(&batch.partition).filter(|lane| lane.takes(batch.epoch)) {
            lane.end = None;
            for (place, record) in batch.records.iter().enumerate() {
                let refusal = match look(&mut self.desk, lane, batch.records.get(place..).unwrap_or_default()) {
                    Ok(refusal) => refusal,
                    // it and what follows is read again when the registry has answered
                    Err(awaited) => {
                        lane.state = State::Awaiting(awaited);
                        break;
                    }
                };
                let how = How { now, dead_letters: self.options.dead_letters, refusal: refusal.as_deref() };
                match take(lane, record, &how, &mut self.detector, &mut self.outbox, &mut self.findings) {
                    Ok(true) => {}
                    // full: what follows is read again when the segment under way is sealed
                    Ok(false) => {
                        lane.state = State::Held;
                        break;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = failed {
            self.stop(&batch.partition, error.context(format!("partition {}", batch.partition)));
        }
        self.publish_findings();
        let paused = |lane: &Lane| matches!(lane.state, State::Held | State::Awaiting(_));
        if self.lanes.get(&batch.partition).is_some_and(paused) {
            self.hush(&batch.partition);
        }
        self.seal_if_due(&batch.partition);
    }

    /// Tells the source to deliver no more of a partition, unless it is just being told: what was on its way comes
    /// still, and must not make more stops than the one that the next start waits for.
    pub(super) fn hush(&mut self, partition: &TopicPartition) {
        let is_told = |lane: &Lane| lane.stopping.as_ref().is_some_and(|stopping| !stopping.is_finished());
        let Some(lane) = self.lanes.get_mut(partition).filter(|lane| !is_told(lane)) else { return };
        let (control, partition) = (self.control.clone(), partition.clone());
        lane.stopping = Some(tokio::spawn(async move {
            // if it cannot be stopped its records keep coming and are dropped: nothing is lost, they are not committed
            let _ = control.stop(&partition).await;
        }));
    }

    pub(super) fn publish_findings(&mut self) {
        for finding in std::mem::take(&mut self.findings) {
            let Some((partition, offset)) = self.newest_part(&finding) else { continue };
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            report::count_finding(&finding);
            self.status.tell(&Notice::Finding(&finding));
            let wanted = if finding.live { self.options.alerts } else { self.options.live.shadow };
            if !wanted {
                continue;
            }
            if self.outbox.was_told(&partition, offset, &finding) {
                continue;
            }
            if lane.finding_held.is_none() && self.outbox.has_room() {
                self.outbox.push_finding(&partition, lane.generation, offset, &finding);
            } else {
                // the detector will not raise it again: it is held back from the commit, and raised anew when all is
                // opened anew
                lane.finding_held = Some(lane.finding_held.map_or(offset, |held| held.min(offset)));
                self.status.fail(
                    names(if finding.live { Stream::Alerts } else { Stream::Shadow }).0,
                    "too many messages wait for the broker: findings are held back until it has taken them".into(),
                );
            }
        }
    }

    /// A record of the finding that was not done with when the work began. Without one, every record of it was
    /// judged and everything acknowledged in an earlier life: it is raised again only because its state was rebuilt.
    ///
    /// The record that triggers a finding is not enough to go by: read again in another order, another one does. It
    /// goes first all the same: what other chains contributed may come back from the state log, where nothing triggers.
    fn newest_part(&self, finding: &Finding) -> Option<(TopicPartition, i64)> {
        if finding.is_about_silence() {
            // it is about what did not come: told again after a restart, it has the same id
            let partition = finding.position.chain.topic_partition();
            return self.lanes.get(&partition).map(|lane| lane.judge_next).map(|offset| (partition, offset));
        }
        [&finding.position].into_iter().chain(&finding.reach).find_map(|newest| {
            let partition = newest.chain.topic_partition();
            let lane = self.lanes.get(&partition)?;
            (newest.offset >= lane.publish_from).then_some((partition, newest.offset))
        })
    }

    pub(super) fn at_end(&mut self, partition: &TopicPartition, epoch: u64, end: i64) {
        let now = (self.clock)();
        let Some(lane) = self.lanes.get_mut(partition).filter(|lane| lane.takes(epoch)) else { return };
        if let Err(error) = lane.reached(end) {
            return self.stop(partition, error);
        }
        // a wall clock that is wrong must not stand for events to come
        if lane.judges() && lane.is_idle(end, now) && (!lane.seals || self.sealer.watch.holds()) {
            self.detector.idle(&lane.chain, now, &mut self.findings);
        }
        self.publish_findings();
    }

    pub(super) fn out_of_range(&mut self, partition: &TopicPartition, epoch: u64, log_start: i64, end: i64) {
        let Some(lane) = self.lanes.get_mut(partition).filter(|lane| lane.takes(epoch)) else { return };
        match lane.out_of_range(log_start, end) {
            Ok(()) => self.restart(partition),
            Err(error) => self.stop(partition, error),
        }
    }

    /// What found no room in the outbox is made again, now that there is room.
    pub(super) fn make_again(&mut self) {
        if self.lanes.values().any(|lane| lane.finding_held.is_some()) {
            self.open_anew();
        } else {
            self.read_overflow_again();
        }
    }

    /// What a restart does: forget the detector's state, rebuild it by replay, publish from where everything is done.
    fn open_anew(&mut self) {
        let going = self.lanes.values().filter(|lane| !matches!(lane.state, State::Stopped(_)));
        let again: Vec<_> = going.map(|lane| self.again(lane)).collect();
        self.forget_state();
        self.figures.begin_anew();
        self.source_figures.begin_anew();
        again.into_iter().for_each(|assigned| self.assigned(assigned));
    }

    /// The assignment that a lane would get if all that is done were committed and it were assigned anew.
    pub(super) fn again(&self, lane: &Lane) -> Assigned {
        let offset = lane.done_to(self.unacknowledged(lane), self.detector.deferred(&lane.chain));
        let committed = lane.note(offset).map(|metadata| Commit { offset, metadata });
        // without a head nothing was done yet
        Assigned { partition: lane.partition.clone(), committed: committed.or_else(|| lane.found_committed.clone()) }
    }

    /// Dead letters that found no room are derived again from their records.
    fn read_overflow_again(&mut self) {
        let behind = self.lanes.values_mut().filter(|lane| matches!(lane.state, State::Active { .. }));
        let mut again = Vec::new();
        for lane in behind {
            if let Some(from) = lane.overflow.filter(|from| *from < lane.dead_next) {
                lane.overflow = None;
                lane.dead_next = from;
                again.push(lane.partition.clone());
            }
        }
        again.iter().for_each(|partition| self.restart(partition));
    }
}

/// What a record is taken with.
struct How<'a> {
    now: i64,
    /// Whether rejections are published.
    dead_letters: bool,
    /// Why its schema cannot be had, if it needs one of the registry.
    refusal: Option<&'a Refusal>,
}

/// Passes a record along the three cursors of its lane. `false`: there is no room for its leaf, take it again later.
fn take(
    lane: &mut Lane,
    record: &RawRecord,
    how: &How<'_>,
    detector: &mut Detector,
    outbox: &mut Outbox,
    findings: &mut Vec<Finding>,
) -> Result<bool> {
    let offset = record.offset;
    lane.meets(record)?;
    if offset < lane.read_next() {
        return Ok(true); // delivered again after a seek
    }
    let seals = lane.seals && offset >= lane.seal_next();
    if seals && !(lane.builder.has_room(record) && lane.naming.fits(offset)) {
        return Ok(false);
    }
    let decoded = lane.topic.decoder.decode_with(&lane.chain, record, how.refusal);
    lane.read(record);
    if offset >= lane.judge_next {
        if lane.judges() {
            let outcome = &decoded.outcome;
            let input = Input { chain: &lane.chain, offset, timestamp: record.timestamp, now: how.now, outcome };
            detector.judge(&input, findings);
        }
        lane.judge_next = offset + 1;
    }
    if lane.seals && offset >= lane.dead_next {
        let letter = publish::dead_letter::dead_letter(&lane.chain, record, &decoded).filter(|_| how.dead_letters);
        match letter {
            Some(letter) if lane.overflow.is_none() && outbox.has_room_for_letter() => {
                outbox.push(&lane.partition, lane.generation, offset, letter);
            }
            Some(_) => lane.overflow = Some(lane.overflow.map_or(offset, |o| o.min(offset))),
            None => {}
        }
        lane.dead_next = offset + 1;
    }
    if seals {
        lane.meter.record(record, &decoded);
        lane.accuracy.count(record, &decoded);
        lane.push(record, &decoded)?;
    }
    Ok(true)
}
