//! Finding the place of a partition that was assigned: what the store holds, what the group committed, what the
//! broker has.

use super::{
    accuracy::Accuracy,
    engine::{Engine, LOOKUP_AGAIN, Told},
    lane::Lane,
    last_sealed::LastSealed,
    naming::Naming,
    options::Begin,
    plan::{self, CommitNote},
    seal::Sealer,
    sources::heard_in,
    state::{self, Keeping, Loaded},
    tail::{self, Tail},
    topics,
};
use crate::{
    error::{Error, Result},
    manifest::Broker,
    position::{ChainId, TopicPartition},
    source::{Assigned, Commit, SourceControl},
};
use std::{sync::Arc, time::Duration};

/// Where a partition begins, as looked up in store and broker.
pub(super) struct Place {
    pub(super) tail: Tail,
    pub(super) broker: Broker,
    pub(super) start: plan::Start,
    pub(super) read_from: i64,
    /// What rules know of it; `None` if that could not be read in time.
    pub(super) state: Option<Arc<Loaded>>,
}

impl Engine {
    pub(super) fn assigned(&mut self, assigned: Assigned) {
        self.open_lane(assigned, None);
    }

    /// Looks up the place of a partition. `state` is what the rules know of it, if that was read since it was assigned.
    pub(super) fn open_lane(&mut self, assigned: Assigned, state: Option<Arc<Loaded>>) {
        let partition = assigned.partition;
        let Some(topic) = self.options.topics.get(&partition.topic).cloned() else {
            let error = Error::bug(format!("partition {partition} was assigned, but its topic is not configured"));
            return self.status.fail("source", error.to_string());
        };
        // opened anew, it must not begin before the stop of its former life has landed
        let stopping = self.lanes.get_mut(&partition).and_then(|lane| lane.stopping.take());
        self.revoked(&partition);
        self.generation += 1;
        let chain = ChainId {
            cluster: self.options.cluster.clone(),
            topic: partition.topic.to_string(),
            partition: partition.partition.unsigned_abs(),
            incarnation: 0,
        };
        let lookup = Lookup {
            sealer: self.sealer.clone(),
            control: self.control.clone(),
            partition: partition.clone(),
            chain: chain.clone(),
            committed: assigned.committed,
            begin: topic.begin,
            seen: self.known.partitions(&partition.topic),
            gaps_expected: topic.gaps_expected,
            horizon: self.options.live.sources.horizon.max(match &self.options.state {
                Some(keeping) => self.options.rules.replay(keeping.horizon, self.options.limits.lateness),
                None => self.options.rules.horizon(),
            }),
            keeping: self.options.state.clone(),
            state,
            most: self.options.replay_records,
            seals: self.options.live.roles.seal,
        };
        let (generation, tell) = (self.generation, self.tell.clone());
        let naming = Naming::new(self.in_force.names);
        let accuracy = Accuracy::new(&partition.topic, self.options.live.known_sources.clone());
        let seal = self.options.seal.clone();
        let mut lane = Lane::new(partition.clone(), generation, chain, topic, seal, naming, accuracy);
        lane.seals = lookup.seals;
        lane.stopping = stopping;
        if let Some(committed) = &lookup.committed {
            self.detector.restore_heard(&heard_in(&committed.metadata));
        }
        lane.found_committed = lookup.committed.clone();
        // from now on, not from when its place is found: what others have read meanwhile must wait for it
        self.detector.watch(&lane.chain, self.now());
        self.keeper.looks_up(&partition);
        self.lanes.insert(partition.clone(), lane);
        // outside the loop, which must not wait for the store
        tokio::spawn(async move {
            if let Some(result) = lookup.until_known(|| tell.is_closed()).await {
                // the loop may be gone: then nobody needs the answer
                let _ = tell.send(Told::Found { partition, generation, result });
            }
        });
    }
}

/// Everything needed to find the place of a partition.
struct Lookup {
    sealer: Arc<Sealer>,
    control: Arc<dyn SourceControl>,
    partition: TopicPartition,
    chain: ChainId,
    committed: Option<Commit>,
    begin: Begin,
    /// How many partitions the topic had when this process first saw it.
    seen: Option<i64>,
    gaps_expected: bool,
    horizon: Duration,
    keeping: Option<Keeping>,
    state: Option<Arc<Loaded>>,
    most: i64,
    seals: bool,
}

impl Lookup {
    /// Looks until the place is found, or cannot be. `None` when nobody waits any more.
    async fn until_known(&self, abandoned: impl Fn() -> bool) -> Option<Result<Place>> {
        loop {
            match self.find().await {
                Err(error) if error.is_retry() => {
                    self.sealer.status.fail(&format!("partition:{}", self.partition), error.to_string());
                    tokio::time::sleep(LOOKUP_AGAIN).await;
                    if abandoned() {
                        return None;
                    }
                }
                result => return Some(result),
            }
        }
    }

    async fn find(&self) -> Result<Place> {
        if !self.seals {
            return self.find_judging().await;
        }
        let (sealer, committed) = (&self.sealer, self.committed.as_ref());
        let note = committed.and_then(|c| CommitNote::decode(&c.metadata));
        let hint = note.as_ref().filter(|n| n.incarnation == self.chain.incarnation).map(|n| n.sequence);
        let mut tail = tail::find(&*sealer.store, &sealer.verifiers, &sealer.origin, self.chain.clone(), hint).await?;
        let broker = self.control.broker(&self.partition).await?;
        if !self.gaps_expected {
            topics::refuse_compacted(&*self.control, &self.partition.topic).await?;
        }
        let begin = if tail.head.is_some() { 0 } else { self.begin_at().await? };
        let start = plan::start(&tail.chain, tail.head.as_ref(), committed, &broker, begin)?;
        tail.last = self.last_sealed(&mut tail, note).await?;
        let newest = plan::newest_record(tail.head.as_ref(), self.committed.as_ref());
        let read_from = self.with_horizon(newest, &broker, start.read_from).await?;
        // after the question for what is committed: only then all that was contributed below it is in the log
        let state = match &self.state {
            Some(state) => Some(state.clone()),
            None => state::load_in_time(self.keeping.as_ref(), &tail.chain, &sealer.status).await,
        };
        Ok(Place { read_from, tail, broker, start, state })
    }

    /// The last record sealed. Behind heartbeats and gaps, who committed the newest segment knew it; else the segments
    /// before it say.
    async fn last_sealed(&self, tail: &mut Tail, note: Option<CommitNote>) -> Result<Option<LastSealed>> {
        let (last, Some(head)) = (tail.last.take(), &tail.head) else { return Ok(None) };
        if last.as_ref().is_some_and(|last| last.record.is_some()) {
            return Ok(last);
        }
        let same = |n: &CommitNote| n.incarnation == tail.chain.incarnation && n.sequence == head.sequence;
        if let Some(noted) = note.filter(same).and_then(|note| note.last) {
            return Ok(Some(LastSealed::of_note(noted, head.to)));
        }
        let before = tail::last_before(&*self.sealer.store, &self.sealer.verifiers, &tail.chain, head).await?;
        Ok(before.or(last))
    }

    /// The place of a partition that is judged and not sealed: the store is only asked what its chain is called, so
    /// that findings name the positions that are sealed elsewhere.
    async fn find_judging(&self) -> Result<Place> {
        let chain = tail::incarnation(&*self.sealer.store, self.chain.clone()).await?;
        let broker = self.control.broker(&self.partition).await?;
        let note = self.committed.as_ref().and_then(|c| Some((c.offset, plan::JudgeNote::decode(&c.metadata)?)));
        let begin = if note.is_some() { 0 } else { self.begin_at().await? };
        let start = plan::start_judging(&chain, note.as_ref().map(|note| note.0), &broker, begin)?;
        // a record from the future must not make the state reach back to nothing
        let newest = note.and_then(|note| note.1.record_time).map(|time| time.min((self.sealer.clock)()));
        let read_from = self.with_horizon(newest, &broker, start.read_from).await?;
        // whoever only judges has nothing to do before
        let state = Some(state::load(self.keeping.as_ref(), &chain, &self.sealer.status).await);
        Ok(Place { read_from, tail: Tail { chain, head: None, last: None }, broker, start, state })
    }

    /// The offset at which a new chain begins; the plan applies the broker's bounds.
    async fn begin_at(&self) -> Result<i64> {
        match self.begin {
            Begin::LogStart => Ok(0),
            _ if self.was_added().await? => Ok(0),
            Begin::End => Ok(i64::MAX),
            Begin::At(time) => Ok(self.control.offset_at(&self.partition, time).await?.unwrap_or(i64::MAX)),
        }
    }

    /// Whether the partition was added while its topic was read. Who only judges knows no more than what it has seen.
    async fn was_added(&self) -> Result<bool> {
        let number = i64::from(self.partition.partition);
        if self.seen.is_some_and(|seen| number >= seen) {
            return Ok(true);
        }
        let at_first = match self.seals && number > 0 {
            true => topics::partitions_at_first(&self.sealer, &self.chain).await?,
            false => None,
        };
        Ok(at_first.is_some_and(|count| number >= count))
    }

    /// Goes back as far as the rules need for their state. A topic that cannot say is read from where the work begins;
    /// a broker that does not answer now is asked again: without the state a finding would be missed for good.
    async fn with_horizon(&self, newest: Option<i64>, broker: &Broker, read_from: i64) -> Result<i64> {
        let Some(newest) = newest.filter(|_| !self.horizon.is_zero()) else { return Ok(read_from) };
        let from = newest.saturating_sub(self.horizon.as_millis() as i64).max(0);
        let floor = broker.log_start.unwrap_or(0).max(read_from - self.most);
        match self.control.offset_at(&self.partition, from).await {
            Ok(Some(offset)) => Ok(read_from.min(offset.max(floor))),
            Err(error) if error.is_retry() => Err(error),
            _ => Ok(read_from),
        }
    }
}

/// What the broker says now, or, when it does not answer, the ids that cannot have changed.
pub(super) async fn ask_broker(control: &dyn SourceControl, partition: &TopicPartition, known: Broker) -> Broker {
    match tokio::time::timeout(Duration::from_secs(3), control.broker(partition)).await {
        Ok(Ok(broker)) => Broker {
            cluster_id: broker.cluster_id.or(known.cluster_id),
            topic_id: broker.topic_id.or(known.topic_id),
            ..broker
        },
        _ => Broker { cluster_id: known.cluster_id, topic_id: known.topic_id, ..Broker::default() },
    }
}
