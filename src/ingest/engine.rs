//! The loop that owns every lane: it takes what the source, the sealing tasks and the publisher tell, and decides.

use super::{
    artifacts::{self, InForce},
    closing::FAREWELL,
    closing::Summary,
    fetching::Fetching,
    lane::{Lane, State},
    opening::{Place, ask_broker},
    options::{Clock, Options, Parts},
    outbox::Outbox,
    report,
    rule_figures::RuleFigures,
    schemas::Desk,
    seal::{Job, Outcome, Sealer},
    sources::SourceFigures,
    state::{Keeper, Loaded},
    status::{Notice, Status},
    switching::Switching,
    topics::{self, Known},
};
use crate::{
    detect::{Detector, Finding},
    error::{Error, Result},
    manifest::Broker,
    position::TopicPartition,
    source::{Batch, SourceControl, SourceEvent},
    telemetry,
};
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

/// How often ages, commits and memory are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often positions are committed and told.
const REPORT: Duration = Duration::from_secs(1);
/// How often our clock is compared with the store's.
const CLOCK_CHECK: Duration = Duration::from_secs(300);
/// How often while ours cannot be believed.
const CLOCK_CHECK_AGAIN: Duration = Duration::from_secs(5);
/// How often the broker is asked where its partitions begin and end.
const BROKER_CHECK: Duration = Duration::from_secs(15);
/// Pause before a lookup that failed is tried again.
pub(super) const LOOKUP_AGAIN: Duration = Duration::from_secs(1);

/// What tasks report to the loop.
pub(super) enum Told {
    Found { partition: TopicPartition, generation: u64, result: Result<Place> },
    Started { partition: TopicPartition, generation: u64, result: Result<u64> },
    Sealed { partition: TopicPartition, generation: u64, broker: Broker, outcome: Outcome },
    Broker { partition: TopicPartition, generation: u64, broker: Broker },
    State { partition: TopicPartition, generation: u64, state: Arc<Loaded> },
}

pub(super) struct Engine {
    pub(super) options: Options,
    pub(super) status: Arc<Status>,
    pub(super) lanes: HashMap<TopicPartition, Lane>,
    pub(super) outbox: Outbox,
    pub(super) keeper: Keeper,
    pub(super) detector: Detector,
    pub(super) control: Arc<dyn SourceControl>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) clock: Clock,
    pub(super) generation: u64,
    pub(super) tell: mpsc::UnboundedSender<Told>,
    pub(super) findings: Vec<Finding>,
    pub(super) figures: RuleFigures,
    pub(super) source_figures: SourceFigures,
    pub(super) in_force: InForce,
    pub(super) desk: Desk,
    pub(super) checks: Checks,
    pub(super) known: Known,
    source_fault: Option<Fault>,
    faulty: HashSet<TopicPartition>,
}

/// Runs until `shutdown` ends or the source closes. Then seals what is buffered, within the deadline.
///
/// Errors: what is in force cannot be stored, so nothing could be sealed. Everything later is waited for, or stops one
/// partition and is told in `status`.
pub async fn run(
    parts: Parts,
    options: Options,
    status: Arc<Status>,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary> {
    let in_force = InForce::of(&options);
    let mut switching = Switching::new(options.live.changes.clone());
    store_until_possible(&in_force, &*parts.store, &options, &parts.clock, &status).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut source = parts.source;
    let control = source.control();
    let sealer = Sealer::new(parts.store, parts.signer, parts.verifiers, parts.clock.clone(), &options, status.clone());
    let sealer = Arc::new(sealer);
    let mut engine = Engine {
        outbox: Outbox::new(parts.publisher, status.clone(), options.outbox),
        keeper: Keeper::new(options.state.clone(), status.clone()),
        detector: new_detector(&options),
        desk: Desk::new(options.live.schemas.clone()),
        options,
        status,
        lanes: HashMap::new(),
        control: control.clone(),
        sealer,
        clock: parts.clock,
        generation: 0,
        tell,
        findings: Vec::new(),
        figures: RuleFigures::default(),
        source_figures: SourceFigures::default(),
        in_force,
        checks: Checks::default(),
        known: Known::default(),
        source_fault: None,
        faulty: HashSet::new(),
    };
    let means = engine.means();
    let mut fetching = Fetching::default();
    engine.status.started();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let room = engine.has_room();
        fetching.begin(&mut engine);
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(told) = told.recv() => engine.told(told),
            () = engine.outbox.settle_one() => {}
            ready = switching.next(&means) => engine.switch(ready),
            landed = engine.keeper.landed() => engine.kept(landed),
            landed = engine.desk.landed() => engine.fetched(landed),
            ready = fetching.next() => engine.know(ready),
            _ = tick.tick() => engine.tick(),
            event = source.next(), if room => match event {
                Some(event) => engine.event(event),
                None => break,
            },
        }
    }
    let end = Instant::now() + engine.options.shutdown_deadline;
    let summary = engine.drain(&mut told, end).await;
    // a group that cannot be left notices it by itself
    let _ = tokio::time::timeout_at(end.max(Instant::now() + FAREWELL), control.close()).await;
    Ok(summary)
}

/// A detector without state that measures what its rules cost.
pub(super) fn new_detector(options: &Options) -> Detector {
    let mut detector = Detector::new(options.rules.clone(), options.limits.clone());
    detector.measure_with(nanoseconds);
    detector.watch_sources(&options.live.sources);
    if let Some(keeping) = &options.state {
        detector.keep(keeping.horizon, i64::MIN);
    }
    detector
}

/// A monotonic clock.
fn nanoseconds() -> u64 {
    static BEGAN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    BEGAN.elapsed().as_nanos() as u64
}

/// What is wrong with the source as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It may pass by itself: a broker that restarts.
    Passing,
    /// Somebody must mend it: a topic that does not exist.
    Lasting,
}

/// When things that are done now and then were done last.
#[derive(Default)]
pub(super) struct Checks {
    clock: Option<Instant>,
    broker: Option<Instant>,
    artifacts: Option<Instant>,
    report: Option<Instant>,
    pub(super) commit: Option<Instant>,
}

impl Checks {
    /// Whether it is time again; the first time at once, or after one period.
    pub(super) fn due(last: &mut Option<Instant>, period: Duration, at_once: bool) -> bool {
        let now = Instant::now();
        let due = last.map_or(at_once, |last| now.duration_since(last) >= period);
        if due || last.is_none() {
            *last = Some(now);
        }
        due
    }
}

/// Stores what is in force. Nothing can be sealed before: a store that is down is waited for.
async fn store_until_possible(
    in_force: &InForce,
    store: &dyn crate::store::Store,
    options: &Options,
    clock: &Clock,
    status: &Status,
) -> Result<()> {
    loop {
        match in_force.store(store, options, clock()).await {
            Err(error) if error.is_retry() => {
                status.fail("store", error.to_string());
                tokio::time::sleep(LOOKUP_AGAIN).await;
            }
            Ok(()) => {
                status.ok("store");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

impl Engine {
    /// Whether more records fit into memory.
    fn has_room(&self) -> bool {
        self.memory() < self.options.seal.memory
    }

    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    pub(super) fn memory(&self) -> usize {
        self.lanes.values().map(Lane::memory).sum()
    }

    fn event(&mut self, event: SourceEvent) {
        let of = match &event {
            SourceEvent::Batch(Batch { partition, .. })
            | SourceEvent::AtEnd { partition, .. }
            | SourceEvent::OutOfRange { partition, .. } => self.lanes.get_mut(partition),
            _ => None,
        };
        // the task that asked for the start may be slower than the source: what is dropped here is never told again
        if let Some(lane) = of.filter(|lane| matches!(lane.state, State::Opening)) {
            return lane.keep_ahead(event);
        }
        match event {
            SourceEvent::Assigned(assigned) => {
                // whatever was wrong with a topic, the group has been served anew
                self.source_recovered(true);
                for one in assigned {
                    self.outbox.forget_told(&one.partition);
                    self.assigned(one);
                }
            }
            SourceEvent::Revoked(partitions) => {
                for partition in &partitions {
                    self.outbox.forget_told(partition);
                    self.revoked(partition);
                }
            }
            SourceEvent::Batch(batch) => {
                self.delivers(&batch.partition);
                self.batch(batch);
            }
            SourceEvent::AtEnd { partition, epoch, end } => {
                self.delivers(&partition);
                self.at_end(&partition, epoch, end);
            }
            SourceEvent::OutOfRange { partition, epoch, log_start, end } => {
                self.out_of_range(&partition, epoch, log_start, end);
            }
            SourceEvent::Topics { found, gone } => self.topics_changed(&found, &gone),
            SourceEvent::Committed(kept) => {
                for (partition, offset) in kept {
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.kept(offset);
                        self.detector.committed(&lane.chain, offset);
                    }
                }
            }
            SourceEvent::Failed { partition: None, error } => {
                let passing = error.is_retry() && self.source_fault != Some(Fault::Lasting);
                self.source_fault = Some(if passing { Fault::Passing } else { Fault::Lasting });
                self.status.fail("source", error.to_string());
            }
            SourceEvent::Failed { partition: Some(partition), error } => {
                self.status.fail(&format!("source:{partition}"), error.to_string());
                self.faulty.insert(partition);
            }
        }
    }

    /// A partition delivers: what was wrong with it is over, and so is a fault of the moment of all.
    fn delivers(&mut self, partition: &TopicPartition) {
        if self.faulty.remove(partition) {
            self.status.remove(&format!("source:{partition}"));
        }
        self.source_recovered(false);
    }

    /// Takes back what was said against the source. A lasting fault (a topic that is missing) is not over because
    /// another topic delivers.
    pub(super) fn source_recovered(&mut self, wholly: bool) {
        if self.source_fault == Some(Fault::Passing) || (wholly && self.source_fault.is_some()) {
            self.source_fault = None;
            self.status.ok("source");
        }
    }

    pub(super) fn told(&mut self, told: Told) {
        let (partition, generation) = match &told {
            Told::Found { partition, generation, .. }
            | Told::Started { partition, generation, .. }
            | Told::Sealed { partition, generation, .. }
            | Told::Broker { partition, generation, .. }
            | Told::State { partition, generation, .. } => (partition.clone(), *generation),
        };
        // an answer to an earlier assignment: the partition went and perhaps came back since
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.generation == generation) else { return };
        match told {
            Told::Found { result: Ok(mut place), .. } => {
                self.keeper.found(&partition);
                if place.tail.chain != *lane.chain {
                    self.detector.forget(&lane.chain);
                }
                let chain = Arc::new(place.tail.chain.clone());
                let opened = lane.open(chain, &mut place.tail, &place.start, place.read_from, &place.broker);
                let broker = std::mem::take(&mut place.broker);
                self.known.heard(&partition, &broker);
                lane.heard(broker, (self.clock)());
                match opened {
                    Ok(()) => {
                        self.detector.watch(&lane.chain, (self.clock)());
                        self.status.ok(&format!("partition:{partition}"));
                        self.status.tell(&Notice::Opened {
                            chain: &lane.chain,
                            sequence: lane.head.as_ref().map(|h| h.sequence),
                            start: &place.start,
                            read_from: place.read_from,
                        });
                        self.begin(&partition, place);
                        self.scope_sources();
                    }
                    Err(error) => self.stop(&partition, error),
                }
            }
            Told::Found { result: Err(error), .. } => {
                self.keeper.found(&partition);
                self.stop(&partition, error);
            }
            Told::Started { result: Ok(epoch), .. } => {
                lane.state = State::Active { epoch };
                // those of epochs before are stale
                lane.take_ahead().into_iter().for_each(|event| self.event(event));
            }
            Told::Started { result: Err(error), .. } => self.stop(&partition, error),
            Told::Sealed { broker, outcome, .. } => {
                lane.heard(broker, (self.clock)());
                self.settled(&partition, outcome);
            }
            Told::Broker { broker, .. } => lane.heard(broker, (self.clock)()),
            Told::State { state, .. } => self.state_came(&partition, state),
        }
    }

    /// Tells the source to deliver from the lowest offset that is still wanted. Nothing is taken until it has.
    pub(super) fn restart(&mut self, partition: &TopicPartition) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        lane.state = State::Opening;
        drop(lane.take_ahead());
        lane.end = None;
        let (from, generation, stopping) = (lane.read_next(), lane.generation, lane.stopping.take());
        let (control, tell, partition) = (self.control.clone(), self.tell.clone(), partition.clone());
        tokio::spawn(async move {
            if let Some(stopping) = stopping {
                let _ = stopping.await; // a panic of it changes nothing
            }
            let result = loop {
                match control.start(&partition, from).await {
                    Err(error) if error.is_retry() && !tell.is_closed() => tokio::time::sleep(LOOKUP_AGAIN).await,
                    result => break result,
                }
            };
            let _ = tell.send(Told::Started { partition, generation, result });
        });
    }

    pub(super) fn revoked(&mut self, partition: &TopicPartition) {
        let Some(lane) = self.lanes.remove(partition) else { return };
        // what is buffered is discarded: the next owner reads it again. A put under way may still land: then it is
        // adopted
        if let Some(task) = lane.task {
            task.abort();
        }
        self.outbox.forget(partition);
        self.keeper.forget(partition, &lane.chain);
        self.detector.forget(&lane.chain);
        self.scope_sources();
        self.status.remove(&format!("partition:{partition}"));
        self.status.remove(&format!("source:{partition}"));
        self.status.remove(&topics::transaction_part(partition));
        self.status.tell(&Notice::Revoked { partition });
    }

    /// A person must look at a partition. Nothing of it advances any more; the others run on.
    pub(super) fn stop(&mut self, partition: &TopicPartition, error: Error) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        lane.state = State::Stopped(error.to_string());
        lane.under_way = None;
        self.status.fail(&format!("partition:{partition}"), error.to_string());
        self.status.tell(&Notice::Stopped { partition, error: &error });
        self.hush(partition);
    }

    fn settled(&mut self, partition: &TopicPartition, outcome: Outcome) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        match outcome {
            Outcome::Sealed { head, manifest, bytes, receipt } => {
                lane.sealed(head);
                lane.meter.segment(&manifest, bytes, report::receipt_name(receipt));
                self.status.tell(&Notice::Sealed { manifest: &manifest, bytes });
                if matches!(lane.state, State::Held) {
                    self.restart(partition);
                }
                self.seal_if_due(partition);
            }
            Outcome::Adopted(head, last) => {
                metrics::counter!(telemetry::RECEIPTS, "receipt" => "adopted").increment(1);
                self.status.tell(&Notice::Adopted { chain: &lane.chain, sequence: head.sequence });
                lane.adopted(head, last);
                self.restart(partition);
            }
            Outcome::Stop(error) => self.stop(partition, error),
        }
    }

    /// Sends the leaves that wait on their way, when they are due and no other segment of the chain is under way.
    pub(super) fn seal_if_due(&mut self, partition: &TopicPartition) {
        let Some(lane) = self.lanes.get(partition) else { return };
        if lane.is_due(Instant::now()) || (matches!(lane.state, State::Held) && lane.has_leaves()) {
            self.seal(partition);
        }
    }

    pub(super) fn seal(&mut self, partition: &TopicPartition) {
        let Some(lane) = self.lanes.get_mut(partition) else { return };
        if lane.under_way.is_some() || matches!(lane.state, State::Stopped(_)) {
            return;
        }
        let builder = lane.take_builder();
        let names = lane.naming.take();
        let (chain, head, known) = (lane.chain.clone(), lane.head.clone(), lane.broker.clone());
        let (partition, generation) = (partition.clone(), lane.generation);
        let (sealer, control, tell) = (self.sealer.clone(), self.control.clone(), self.tell.clone());
        let task = tokio::spawn(async move {
            let broker = ask_broker(&*control, &partition, known).await;
            let outcome = sealer.seal(Job { chain, head, builder, broker: broker.clone(), names }).await;
            let _ = tell.send(Told::Sealed { partition, generation, broker, outcome });
        });
        lane.task = Some(task.abort_handle());
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let check = if self.sealer.watch.holds() { CLOCK_CHECK } else { CLOCK_CHECK_AGAIN };
        if Checks::due(&mut self.checks.clock, check, true) && self.options.live.roles.seal {
            let sealer = self.sealer.clone();
            tokio::spawn(async move { sealer.watch.check().await });
        }
        if Checks::due(&mut self.checks.broker, BROKER_CHECK, false) {
            self.ask_brokers();
        }
        if Checks::due(&mut self.checks.artifacts, artifacts::RENEW, false) {
            self.renew_artifacts();
        }
        if Checks::due(&mut self.checks.report, REPORT, false) {
            self.report();
        }
        self.mind_schemas();
        self.status.beat();
        let due = |lane: &Lane| match lane.state {
            State::Active { .. } => lane.is_due(now) || lane.owes_heartbeat(now),
            State::Held | State::Opening | State::Awaiting(_) => lane.is_due(now),
            State::Stopped(_) => false,
        };
        let due: Vec<_> = self.lanes.values().filter(|lane| due(lane)).map(|lane| lane.partition.clone()).collect();
        due.iter().for_each(|partition| self.seal(partition));
        if !self.has_room() {
            // over the budget: the largest goes first, whatever its age. When all are under way, reading pauses
            let idle = self.lanes.values().filter(|lane| lane.under_way.is_none() && lane.has_leaves());
            if let Some(partition) = idle.max_by_key(|lane| lane.memory()).map(|lane| lane.partition.clone()) {
                self.seal(&partition);
            }
        }
        if self.outbox.is_relaxed() {
            self.make_again();
        }
    }

    /// Lengthens the locks of what is in force: it must outlive the segments that name it.
    fn renew_artifacts(&self) {
        let (in_force, sealer, options) = (self.in_force.clone(), self.sealer.clone(), self.options.clone());
        tokio::spawn(async move {
            match in_force.store(&*sealer.store, &options, (sealer.clock)()).await {
                Ok(()) => sealer.status.ok("artifacts"),
                Err(error) => sealer.status.fail("artifacts", error.to_string()),
            }
        });
    }

    /// Asks, one partition after the other, where the broker's log begins and ends: for lag and time to loss.
    fn ask_brokers(&self) {
        let active = self.lanes.values().filter(|lane| !matches!(lane.state, State::Opening | State::Stopped(_)));
        let ask: Vec<_> = active.map(|l| (l.partition.clone(), l.generation, l.broker.clone())).collect();
        let (control, tell) = (self.control.clone(), self.tell.clone());
        tokio::spawn(async move {
            for (partition, generation, known) in ask {
                let broker = ask_broker(&*control, &partition, known).await;
                let _ = tell.send(Told::Broker { partition, generation, broker });
            }
        });
    }
}
