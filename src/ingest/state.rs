//! Durable state of rules: written while records come, restored before the first one is taken.
//!
//! # Why nothing is lost
//!
//! 1. A record that contributes to a durable key marks the key; within a second its state is written whole. **The
//!    commit of a chain never passes the lowest offset whose contribution is not acknowledged** ([`Keeper::lowest`]).
//!    Nor does it pass what the chain's own record says was seen (`to`): a reader must know whether there is a hole.
//! 2. The next owner first learns what was committed, and only then reads the log. So all that was contributed below
//!    the commit lies in what it reads.
//! 3. It takes from the log what lies below the commit, and judges the rest again. So nothing counts twice, and
//!    whatever a judgement was to bring about (an alert that was not acknowledged) it brings about.
//! 4. Judging again asks for what was known at the commit, which may lie hours of event time behind what was judged
//!    last. So durable rules forget nothing that judging from the commit on could ask for ([`Detector::committed`]).
//!
//! # Why nobody does harm
//!
//! Every assignment writes under a name of its own; what is read is the union of all of them, by position. An owner
//! removes a record of another one only once its own, which has all that it read there, is acknowledged, and only if
//! the other's work began at a lower offset: commits never go back, so the other one was an owner before. Whatever such
//! a zombie still writes comes from records that its successors judge themselves.
//!
//! Sealing waits for none of this. A partition whose state cannot be read is sealed without being judged after
//! [`PATIENCE`], for judging it would miss what the rules know; its commit stays where it was. Once its state is there,
//! the partition is opened anew and judged from the commit on, as after a restart.

use super::{
    engine::{Engine, LOOKUP_AGAIN, Told, new_detector},
    lane::{Lane, State},
    opening::Place,
    status::Status,
};
use crate::{
    detect::{Change, Detector, Restored, Saved},
    error::Result,
    position::{ChainId, TopicPartition},
    publish::state::{Record, StateLog},
    telemetry,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Records under way at most.
const MOST_FLYING: usize = 4_000;
/// Records of one chain handed over at once.
const BATCH: usize = 1_000;
/// Pause before what could not be written is written again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long partitions whose state is there wait for those whose place is still being looked up.
const TOGETHER: Duration = Duration::from_secs(30);
/// How long a partition waits for its state before it is sealed without being judged.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stands in readiness for the log as it is read, and as it is written.
const PARTS: [&str; 2] = ["state", "publish:state"];

/// How the durable state of rules is kept.
#[derive(Clone)]
pub struct Keeping {
    /// Where.
    pub log: Arc<dyn StateLog>,
    /// Rules that look back further than this are durable.
    pub horizon: Duration,
    /// Names this process: never the same twice.
    pub process: String,
}

/// The state of a chain, as it was read.
pub(super) struct Loaded {
    records: Vec<Saved>,
    took: Duration,
}

enum What {
    Change(Change),
    Coverage(Change, i64),
    Removal,
}

/// A record under way.
pub(super) struct Flight {
    chain: Arc<ChainId>,
    generation: u64,
    what: What,
}

/// A chain that is kept.
struct Held {
    writer: Arc<str>,
    generation: u64,
    /// Offsets of contributions under way.
    pending: BTreeMap<i64, u32>,
    /// The log says that everything below was seen.
    covered: i64,
    /// That is under way.
    covering: bool,
}

/// What is under way to the log, and the partitions that wait for each other at the start.
pub(super) struct Keeper {
    keeping: Option<Keeping>,
    status: Arc<Status>,
    flying: FuturesUnordered<BoxFuture<'static, (Flight, Result<()>)>>,
    chains: HashMap<Arc<ChainId>, Held>,
    /// Partitions whose place is being looked up, since when.
    looking: HashMap<TopicPartition, Instant>,
    /// Partitions that are restored and not begun.
    ready: Vec<TopicPartition>,
    /// Partitions that are sealed and not judged: their state, if it came since.
    blind: HashMap<TopicPartition, (Instant, Option<Arc<Loaded>>)>,
}

impl Keeper {
    /// Nothing under way.
    pub(super) fn new(keeping: Option<Keeping>, status: Arc<Status>) -> Self {
        let flying = FuturesUnordered::new();
        let (chains, looking, blind) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { keeping, status, flying, chains, looking, ready: Vec::new(), blind }
    }

    /// The place of a partition is being looked up.
    pub(super) fn looks_up(&mut self, partition: &TopicPartition) {
        if self.keeping.is_some() {
            self.looking.insert(partition.clone(), Instant::now());
        }
    }

    /// The place of a partition was found, or never will be.
    pub(super) fn found(&mut self, partition: &TopicPartition) {
        self.looking.remove(partition);
    }

    /// A partition is no longer ours: its next owner restores what is acknowledged and judges the rest again.
    pub(super) fn forget(&mut self, partition: &TopicPartition, chain: &ChainId) {
        self.chains.remove(chain);
        self.looking.remove(partition);
        self.ready.retain(|ready| ready != partition);
        self.blind.remove(partition);
    }

    /// Takes out the partitions that can be judged now: all that are blind, or those whose state came if the others let
    /// them wait for too long.
    fn seeing(&mut self) -> Vec<(TopicPartition, Arc<Loaded>)> {
        let waits = |(since, loaded): &(Instant, Option<_>)| loaded.is_none() && since.elapsed() < TOGETHER;
        if self.blind.values().any(waits) {
            return Vec::new();
        }
        let seeing = self.blind.extract_if(|_, (_, loaded)| loaded.is_some());
        seeing.filter_map(|(partition, (_, loaded))| Some((partition, loaded?))).collect()
    }

    /// The offset that the commit of a chain must not pass.
    pub(super) fn lowest(&self, chain: &ChainId, detector: &Detector) -> Option<i64> {
        let held = self.chains.get(chain)?;
        let pending = held.pending.keys().next().copied();
        [Some(held.covered), pending, detector.lowest_unsaved(chain)].into_iter().flatten().min()
    }

    /// Waits for an answer of the log. Pends for ever while nothing is under way.
    pub(super) async fn landed(&mut self) -> (Flight, Result<()>) {
        match self.flying.next().await {
            Some(landed) => landed,
            None => std::future::pending().await,
        }
    }

    /// Whether all that a chain has contributed up to `judged` lies in the log.
    fn is_settled(&self, chain: &ChainId, judged: i64, detector: &Detector) -> bool {
        self.chains.contains_key(chain) && self.lowest(chain, detector).is_none_or(|lowest| lowest >= judged)
    }

    fn send(&mut self, record: Record, what: What) {
        let (Some(keeping), Some(held)) = (&self.keeping, self.chains.get(&record.chain)) else { return };
        let chain = &record.chain;
        let flight = Flight { chain: chain.clone(), generation: held.generation, what };
        // handed over now, not when it is first polled: what is said of a key lands in this order
        let saved = keeping.log.save(record);
        self.flying.push(Box::pin(async move {
            let result = saved.await;
            if result.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            (flight, result)
        }));
    }

    /// Sends what a chain has to say, and that everything below `judged` was seen.
    fn flush(&mut self, chain: &Arc<ChainId>, judged: i64, detector: &mut Detector) {
        let room = MOST_FLYING.saturating_sub(self.flying.len()).min(BATCH);
        let Some(held) = self.chains.get_mut(chain).filter(|_| room > 0) else { return };
        if !detector.is_durable() && detector.unsaved_keys() == 0 {
            // nobody will miss it: a durable rule that comes later has seen nothing before it came
            held.covered = held.covered.max(judged);
            return;
        }
        let writer = held.writer.clone();
        let changes = detector.unsaved(chain, room);
        for offset in changes.iter().filter_map(|change| change.offset) {
            *held.pending.entry(offset).or_default() += 1;
        }
        let covers = judged > held.covered && !held.covering;
        let coverage = if covers { detector.coverage(chain, judged) } else { None };
        held.covering |= coverage.is_some();
        for mut change in changes {
            let record = record(chain, &mut change, &writer);
            self.send(record, What::Change(change));
        }
        if let Some(mut coverage) = coverage {
            let record = record(chain, &mut coverage, &writer);
            self.send(record, What::Coverage(coverage, judged));
        }
    }

    /// The log has answered.
    fn settle(&mut self, flight: Flight, result: &Result<()>, detector: &mut Detector) {
        let Flight { chain, generation, what } = flight;
        match result {
            Ok(()) => {
                self.status.ok(PARTS[1]);
                metrics::counter!(telemetry::STATE_SAVED).increment(1);
            }
            Err(_) => metrics::counter!(telemetry::STATE_FAILED).increment(1),
        }
        let Some(held) = self.chains.get_mut(&chain).filter(|held| held.generation == generation) else { return };
        if let What::Removal = what {
            return; // what could not be removed is a repetition, which the next owner removes
        }
        if let Err(error) = result {
            self.status.fail(PARTS[1], error.to_string());
        }
        let mut superseded = match what {
            What::Removal => return,
            What::Change(change) => {
                if result.is_err() {
                    // it may have landed: its newest form is written again, and the commit waits on
                    detector.unsave(&chain, &change);
                }
                if let Some(offset) = change.offset
                    && let Some(count) = held.pending.get_mut(&offset)
                {
                    *count -= 1;
                    if *count == 0 {
                        held.pending.remove(&offset);
                    }
                }
                change
            }
            What::Coverage(coverage, to) => {
                held.covering = false;
                match result {
                    Ok(()) => held.covered = held.covered.max(to),
                    Err(_) => detector.uncover(&chain, &coverage),
                }
                coverage
            }
        };
        if result.is_ok() {
            for writer in std::mem::take(&mut superseded.supersedes) {
                let record = record(&chain, &mut superseded, &writer);
                self.send(record, What::Removal);
            }
        }
    }
}

/// The record of a change, whose value goes with it.
fn record(chain: &Arc<ChainId>, change: &mut Change, writer: &Arc<str>) -> Record {
    let (rule, key, writer) = (change.rule.clone(), change.key.clone(), writer.clone());
    Record { chain: chain.clone(), rule, key, writer, value: change.value.take().map(Into::into) }
}

/// Reads the state of a chain, until that succeeds. Whatever is wrong with the log is waited for: readiness says so.
pub(super) async fn load(keeping: Option<&Keeping>, chain: &ChainId, status: &Status) -> Arc<Loaded> {
    loop {
        match try_load(keeping, chain, status).await {
            Ok(loaded) => return Arc::new(loaded),
            Err(_) => tokio::time::sleep(LOOKUP_AGAIN).await,
        }
    }
}

/// The same for a while.
pub(super) async fn load_in_time(keeping: Option<&Keeping>, chain: &ChainId, status: &Status) -> Option<Arc<Loaded>> {
    tokio::time::timeout(PATIENCE, load(keeping, chain, status)).await.ok()
}

async fn try_load(keeping: Option<&Keeping>, chain: &ChainId, status: &Status) -> Result<Loaded> {
    let began = Instant::now();
    let Some(keeping) = keeping else { return Ok(Loaded { records: Vec::new(), took: Duration::ZERO }) };
    match keeping.log.load(chain).await {
        Ok(records) => {
            status.ok(PARTS[0]);
            Ok(Loaded { records, took: began.elapsed() })
        }
        Err(error) => {
            let error = error.context("the state of the rules cannot be restored, nothing is judged before it is");
            status.fail(PARTS[0], error.to_string());
            Err(error)
        }
    }
}

impl Engine {
    /// The lowest offset of a lane that waits for an acknowledgement.
    pub(super) fn unacknowledged(&self, lane: &Lane) -> Option<i64> {
        let published = self.outbox.lowest(&lane.partition);
        [published, self.keeper.lowest(&lane.chain, &self.detector)].into_iter().flatten().min()
    }

    /// A place was found and its lane opened: restores what the rules know of it, and begins to read.
    pub(super) fn begin(&mut self, partition: &TopicPartition, place: Place) {
        let now = self.now();
        let Some(lane) = self.lanes.get(partition) else { return };
        let Some(keeping) = &self.options.state else { return self.restart(partition) };
        let chain = lane.chain.clone();
        let writer = format!("{}.{}", keeping.process, lane.generation).into();
        let Some(loaded) = place.state else { return self.begin_blind(partition) };
        let (done, pending) = (place.start.publish_from, BTreeMap::new());
        let held = Held { writer, generation: lane.generation, pending, covered: done, covering: false };
        self.keeper.chains.insert(chain.clone(), held);
        let began = Instant::now();
        let restored = self.detector.restore(&chain, done, &loaded.records, now, &mut self.findings);
        let took = loaded.took + began.elapsed();
        tell_restored(&chain, restored, took);
        self.keeper.ready.push(partition.clone());
        self.begin_together();
    }

    /// Seals a partition without judging it, until its state can be read.
    fn begin_blind(&mut self, partition: &TopicPartition) {
        let (Some(lane), Some(keeping)) = (self.lanes.get_mut(partition), self.options.state.clone()) else { return };
        lane.be_blind();
        tracing::warn!(%partition, "sealed without being judged until the state of the rules can be read");
        self.keeper.blind.insert(partition.clone(), (Instant::now(), None));
        let (chain, generation, partition) = (lane.chain.clone(), lane.generation, partition.clone());
        let (tell, status) = (self.tell.clone(), self.status.clone());
        self.restart(&partition);
        tokio::spawn(async move {
            tokio::select! {
                () = tell.closed() => {}
                state = load(Some(&keeping), &chain, &status) => {
                    let _ = tell.send(Told::State { partition, generation, state });
                }
            }
        });
    }

    /// The state of a partition that is sealed and not judged was read.
    pub(super) fn state_came(&mut self, partition: &TopicPartition, state: Arc<Loaded>) {
        if let Some((_, loaded)) = self.keeper.blind.get_mut(partition) {
            *loaded = Some(state);
        }
        self.see_again();
    }

    /// Opens partitions anew that were sealed without being judged and whose state is there: what was not judged is
    /// read again.
    fn see_again(&mut self) {
        for (partition, state) in self.keeper.seeing() {
            let Some(lane) = self.lanes.get(&partition) else { continue };
            if !matches!(lane.state, State::Stopped(_)) {
                let assigned = self.again(lane);
                self.open_lane(assigned, Some(state));
            }
        }
    }

    /// Begins to read partitions that are restored: once all are, so that no key is judged on half of what is known.
    fn begin_together(&mut self) {
        if self.keeper.looking.values().any(|since| since.elapsed() < TOGETHER) {
            return;
        }
        for partition in std::mem::take(&mut self.keeper.ready) {
            // one that was stopped meanwhile stays so
            if self.lanes.get(&partition).is_some_and(|lane| matches!(lane.state, State::Opening)) {
                self.restart(&partition);
            }
        }
    }

    /// Once a second: writes what is new.
    pub(super) fn keep_state(&mut self) {
        if self.options.state.is_none() {
            return;
        }
        for lane in self.lanes.values() {
            self.keeper.flush(&lane.chain, lane.judge_next, &mut self.detector);
        }
        self.begin_together();
        self.see_again();
        let waiting = self.detector.unsaved_keys() + self.keeper.flying.len();
        metrics::gauge!(telemetry::STATE_UNSAVED).set(waiting as f64);
    }

    /// The log has answered.
    pub(super) fn kept(&mut self, (flight, result): (Flight, Result<()>)) {
        self.keeper.settle(flight, &result, &mut self.detector);
    }

    /// Whether all that durable rules know lies in the log. A lane that never began has nothing to write.
    pub(super) fn is_kept(&self) -> bool {
        let settled = |lane: &Lane| {
            !self.keeper.chains.contains_key(&lane.chain)
                || self.keeper.is_settled(&lane.chain, lane.judge_next, &self.detector)
        };
        self.options.state.is_none() || (self.keeper.blind.is_empty() && self.lanes.values().all(settled))
    }

    /// Forgets all that rules know, to restore it.
    pub(super) fn forget_state(&mut self) {
        self.detector = new_detector(&self.options);
        self.keeper.chains.clear();
    }
}

fn tell_restored(chain: &ChainId, restored: Restored, took: Duration) {
    metrics::counter!(telemetry::STATE_RESTORED).increment(restored.records as u64);
    metrics::gauge!(telemetry::STATE_RESTORE_SECONDS).set(took.as_secs_f64());
    tracing::info!(
        %chain,
        records = restored.records,
        passed_over = restored.passed_over,
        milliseconds = took.as_millis() as u64,
        "state of the rules restored"
    );
}
