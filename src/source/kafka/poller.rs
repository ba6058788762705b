//! The poll thread: it alone touches the partitions. It serves the group, reads while there is room, and does what it
//! is told. `starts` moves partitions to where they are to be read, `asks` puts questions to the cluster.

mod asks;
mod starts;

use super::{
    Consumer, LeaderEpochs, commit_list,
    context::{Note, lock},
    faults::{self, Limiter, is_rebalance},
    ffi::{self, Buffer, DataQueue, admin::Asker},
    found::Found,
    partitions::{Partition, Partitions, State},
    query::Committed,
    queue::EventQueue,
};
use crate::{
    error::{Error, Result},
    position::TopicPartition,
    source::{Commit, SourceEvent},
};
use rdkafka::{
    consumer::{CommitMode, Consumer as _},
    types::RDKafkaRespErr as Code,
};
use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What the poll thread is told.
pub enum Command {
    /// Deliver a partition from an offset on.
    Start { partition: TopicPartition, offset: i64, reply: oneshot::Sender<Result<u64>> },
    /// Deliver no more of it.
    Stop { partition: TopicPartition, reply: oneshot::Sender<Result<()>> },
    /// Commit, without waiting.
    Commit(Vec<(TopicPartition, Commit)>),
    /// The answer to what the group has committed, for partitions of these assignments.
    Committed { asked: Vec<(TopicPartition, u64)>, answer: Result<Committed> },
    /// The answer to which offsets the broker has, for a partition whose own was out of range.
    Range { partition: TopicPartition, epoch: u64, answer: Result<(i64, i64)> },
    /// The answer to which topics there are.
    Topics(Result<Vec<String>>),
    /// Leave the group and end.
    Close,
}

/// Messages taken at once.
const BATCH: usize = 1024;
/// Events of the group served at once.
const CALLS: usize = 1000;
/// How long to wait for the first message: how long a command or a rebalance may have to wait when nothing comes.
const IDLE: Duration = Duration::from_millis(20);
/// How long to wait for a question that is under way when the group is to be left.
const LEAVE: Duration = Duration::from_secs(2);
/// How long to wait for room when there is none.
const FULL: Duration = Duration::from_millis(5);
/// How long to wait before something that failed is tried again.
pub const AGAIN: Duration = Duration::from_secs(1);

/// The state of the poll thread.
pub struct Poller {
    // before the consumer: queues must not outlive their client
    data: Arc<DataQueue<super::Context>>,
    ends: Asker<super::Context>,
    ends_asked: Option<Vec<(TopicPartition, u64)>>,
    consumer: Arc<Consumer>,
    events: Arc<EventQueue>,
    own: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    epochs: Arc<Mutex<LeaderEpochs>>,
    partitions: Partitions,
    found: Found,
    counter: u64,
    limiter: Limiter,
    buffer: Buffer,
    touched: Vec<usize>,
    /// When the reader was last so far behind that nothing was read.
    room: Instant,
}

impl Poller {
    /// A poller of a consumer that has subscribed and was not polled yet.
    pub fn new(
        consumer: Arc<Consumer>,
        events: Arc<EventQueue>,
        (own, commands): (mpsc::Sender<Command>, mpsc::Receiver<Command>),
        epochs: Arc<Mutex<LeaderEpochs>>,
        found: Found,
    ) -> Result<Self> {
        let data = Arc::new(DataQueue::new(consumer.clone())?);
        consumer.context().deliver_to(Arc::downgrade(&data));
        Ok(Self {
            data,
            ends: Asker::new(consumer.clone())?,
            ends_asked: None,
            consumer,
            events,
            own,
            commands,
            epochs,
            partitions: Partitions::default(),
            found,
            counter: 0,
            limiter: Limiter::default(),
            buffer: Buffer::new(BATCH),
            touched: Vec::new(),
            room: Instant::now(),
        })
    }

    /// Polls until it is told to close, then leaves the group.
    pub fn run(mut self) {
        while self.obey() {
            self.serve(Duration::ZERO);
            if self.events.has_room() {
                self.read();
            } else {
                // nothing is fetched beyond librdkafka's own limits while the reader is behind; the group is served
                self.serve(FULL);
                self.room = Instant::now();
            }
            let now = Instant::now();
            self.start_due(now);
            self.ask_due(now);
        }
        self.finish();
    }

    /// Does what was commanded. Says whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start { partition, offset, reply }) => self.start(&partition, offset, reply),
                Ok(Command::Stop { partition, reply }) => drop(reply.send(self.stop(&partition))),
                Ok(Command::Commit(commits)) => self.commit(&commits),
                Ok(Command::Committed { asked, answer }) => self.committed(&asked, answer),
                Ok(Command::Range { partition, epoch, answer }) => self.ranged(&partition, epoch, answer),
                Ok(Command::Topics(answer)) => self.topics(answer),
                Ok(Command::Close) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    /// Serves the consumer's own queue: rebalances, errors, commits, logs.
    fn serve(&mut self, wait: Duration) {
        // one call serves one event: a rebalance must not wait behind log lines
        for at in 0..CALLS {
            if at > 0 && self.data.calls_waiting() == 0 {
                break;
            }
            match self.consumer.poll(if at == 0 { wait } else { Duration::ZERO }) {
                None => {}
                Some(Ok(stray)) => {
                    use rdkafka::Message as _;
                    // its queue was not forwarded to ours; read again, it comes the right way
                    let id = TopicPartition::new(stray.topic(), stray.partition());
                    tracing::warn!("{id}@{}: a record came the wrong way and is read again", stray.offset());
                    if let Some(partition) = self.partitions.get_mut(&id).filter(|p| p.is_running()) {
                        let now = Instant::now();
                        partition.again(now);
                    }
                }
                // told by the callback, with more words; what is fatal is asked for here
                Some(Err(rdkafka::error::KafkaError::MessageConsumptionFatal(_))) => {
                    if let Some((code, words)) = self.consumer.client().fatal_error() {
                        self.fail(None, code as i32, &words);
                    }
                }
                Some(Err(_)) => {}
            }
        }
        for note in self.consumer.context().take_notes() {
            match note {
                Note::Assigned(ids) => self.assigned(ids),
                Note::Revoked(ids) => self.revoked(ids),
                Note::Error { code, words } => self.fail(None, code, &words),
                Note::Committed { code, failed, kept } => {
                    if !kept.is_empty() {
                        self.events.push(SourceEvent::Committed(kept));
                    }
                    let failed = failed.into_iter().map(|(id, code)| (Some(id), code));
                    for (id, code) in failed.chain((code != 0).then_some((None, code))) {
                        self.commit_failed(id, code);
                    }
                }
            }
        }
    }

    fn assigned(&mut self, ids: Vec<TopicPartition>) {
        let now = Instant::now();
        for id in ids {
            self.counter += 1;
            lock(&self.epochs).remove(&id);
            self.partitions.insert(Partition::new(id, self.counter, now));
        }
    }

    fn revoked(&mut self, ids: Vec<TopicPartition>) {
        let mut told = Vec::new();
        for id in ids {
            self.events.forget(&id);
            lock(&self.epochs).remove(&id);
            let Some(mut partition) = self.partitions.remove(&id) else { continue };
            partition.rest(|| starts::not_assigned(&id));
            // what was never told as assigned was not anybody's yet
            if partition.told {
                told.push(id);
            }
        }
        if !told.is_empty() {
            self.events.push(SourceEvent::Revoked(told));
        }
    }

    /// Takes records in and hands them over.
    fn read(&mut self) {
        self.partitions.forget_places();
        let messages = self.data.take(&mut self.buffer, IDLE);
        for message in messages.iter() {
            let Some(place) = self.partitions.place(message) else { continue };
            let Some(partition) = self.partitions.at(place) else { continue };
            if let Some(error) = message.error() {
                partition.fault = Some(error);
                self.touched.push(place);
            } else if partition.add(message) {
                self.touched.push(place);
            }
        }
        drop(messages);
        let now = Instant::now();
        let mut faults = Vec::new();
        for place in std::mem::take(&mut self.touched) {
            let Some(partition) = self.partitions.at(place) else { continue };
            if let Some(batch) = partition.batch() {
                partition.active = now;
                let mut epochs = lock(&self.epochs);
                if epochs.get(&partition.id) != Some(&partition.leader_epochs) {
                    epochs.insert(partition.id.clone(), partition.leader_epochs.clone());
                }
                drop(epochs);
                self.events.push(SourceEvent::Batch(batch));
            }
            if let Some(fault) = partition.fault.take() {
                faults.push((partition.id.clone(), fault));
            }
        }
        for (id, (code, words)) in faults {
            self.fault(&id, code, &words);
        }
    }

    /// An error came in the place of a partition's records.
    fn fault(&mut self, id: &TopicPartition, code: i32, words: &str) {
        let now = Instant::now();
        let Some(partition) = self.partitions.get_mut(id) else { return };
        let reset = code == Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32;
        partition.given_up |= reset;
        if !partition.is_running() {
            return;
        }
        if reset {
            // out of range, or a log that was truncated and has grown again: which, its offsets tell
            tracing::warn!("{id}: reading from {} failed: {words}", partition.next);
            partition.state = State::Lost { words: words.to_owned() };
            self.ask_range(id.clone(), Duration::ZERO);
        } else {
            // librdkafka may have moved past what it could not read: read again from what we know
            partition.again(now);
            self.fail(Some(id.clone()), code, words);
        }
    }

    /// Tells an error, unless the same was told a moment ago.
    fn fail(&mut self, partition: Option<TopicPartition>, code: i32, words: &str) {
        let quiet = [Code::RD_KAFKA_RESP_ERR__TRANSPORT, Code::RD_KAFKA_RESP_ERR__TIMED_OUT];
        if is_rebalance(code) || (partition.is_none() && quiet.iter().any(|known| *known as i32 == code)) {
            // one broker that closes an idle connection is nothing; all of them are told with a code of their own
            tracing::debug!("librdkafka: {words} ({})", ffi::error_text(code));
            return;
        }
        self.tell(partition, faults::error(code, words));
    }

    fn tell(&mut self, partition: Option<TopicPartition>, error: Error) {
        let error = match &partition {
            Some(id) => error.context(id),
            None => error,
        };
        let kind: String = error.to_string().chars().filter(|c| !c.is_ascii_digit()).collect();
        let which = partition.as_ref().map_or(-1, |id| id.partition);
        if self.limiter.admit(&format!("{which} {kind}"), Instant::now()).is_some() {
            self.events.push_repeated(SourceEvent::Failed { partition, error });
        }
    }

    fn commit(&mut self, commits: &[(TopicPartition, Commit)]) {
        let list = commit_list(commits, &lock(&self.epochs));
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            self.commit_failed(None, error.rdkafka_error_code().map_or(-1, |code| code as i32));
        }
    }

    fn commit_failed(&mut self, partition: Option<TopicPartition>, code: i32) {
        if is_rebalance(code) || code == Code::RD_KAFKA_RESP_ERR__NO_OFFSET as i32 {
            tracing::debug!("a commit was passed over: {}", ffi::error_text(code));
            return;
        }
        self.tell(partition, faults::error(code, "").context("the offsets cannot be committed"));
    }

    /// Leaves the group.
    fn finish(self) {
        let Self { data, ends, consumer, partitions, commands, .. } = self;
        drop((commands, partitions, ends, data));
        let mut shared = consumer;
        let give_up = Instant::now() + LEAVE;
        loop {
            match Arc::try_unwrap(shared) {
                // closes and waits until the group is left
                Ok(consumer) => return drop(consumer),
                // a question is under way; until its answer we are a member and serve the group
                Err(consumer) => shared = consumer,
            }
            drop(shared.poll(IDLE));
            if Instant::now() > give_up {
                break;
            }
        }
        // the question would hold up the others of the group: leave now; who asks destroys the consumer
        match shared.close_queue() {
            Ok(()) => {
                let give_up = Instant::now() + LEAVE;
                while !shared.closed() && Instant::now() < give_up {
                    drop(shared.poll(IDLE));
                }
            }
            Err(error) => tracing::warn!("the Kafka group could not be left: {error}"),
        }
    }
}
