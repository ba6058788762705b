//! What librdkafka calls back: rebalances, errors, commits, logs. Nothing is decided here; the poll thread does that.

use super::{
    Consumer,
    faults::Limiter,
    ffi::{self, DataQueue},
    oauth::Tokens,
    properties::Scrubber,
};
use crate::position::TopicPartition;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

/// Something that librdkafka called back.
pub enum Note {
    /// The group gave us partitions.
    Assigned(Vec<TopicPartition>),
    /// The group took partitions, or we lost them.
    Revoked(Vec<TopicPartition>),
    /// An error that belongs to no partition.
    Error { code: i32, words: String },
    /// A commit was answered: by one code for all, and by one for each partition; the others keep these offsets.
    Committed { code: i32, failed: Vec<(TopicPartition, i32)>, kept: Vec<(TopicPartition, i64)> },
}

/// The callbacks of the consumer.
pub struct Context {
    notes: Mutex<Vec<Note>>,
    data: Mutex<Weak<DataQueue<Context>>>,
    logs: Logs,
    tokens: Tokens,
}

impl Context {
    /// Callbacks that keep secrets out of what they tell.
    pub fn new(scrubber: Scrubber, tokens: Tokens) -> Self {
        Self { notes: Mutex::default(), data: Mutex::new(Weak::new()), logs: Logs::new(scrubber), tokens }
    }

    /// Whether the client must be polled for a token before it can be asked anything.
    pub fn wants_token(&self) -> bool {
        self.tokens.are_needed() && !self.tokens.are_there()
    }

    /// Where assigned partitions deliver to. Set before the first poll.
    pub fn deliver_to(&self, data: Weak<DataQueue<Context>>) {
        *lock(&self.data) = data;
    }

    /// What was called back since the last time.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut lock(&self.notes))
    }

    fn note(&self, note: Note) {
        lock(&self.notes).push(note);
    }

    fn failed(&self, doing: &str, error: &KafkaError) {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        self.note(Note::Error { code, words: format!("{doing}: {error}") });
    }

    /// Accepts partitions so that nothing of them is delivered before it is started.
    fn assign(&self, consumer: &Consumer, list: &mut TopicPartitionList, ids: &[TopicPartition]) {
        let data = lock(&self.data).upgrade();
        for id in ids {
            // this makes librdkafka know the partition, so that it can be paused
            if let Some(Err(error)) = data.as_ref().map(|data| data.forward(&id.topic, id.partition)) {
                self.note(Note::Error { code: -1, words: error.to_string() });
            }
        }
        // paused before they are assigned, so that no fetch is sent: from this offset it could not be answered.
        // An absolute one, so that librdkafka neither asks for the committed offset nor fails without one
        let paused = consumer.pause(list).and_then(|()| list.set_all_offsets(Offset::Offset(0)));
        let assigned = paused.and_then(|()| match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            _ => consumer.assign(list),
        });
        if let Err(error) = assigned {
            self.failed("partitions could not be assigned", &error);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // lists can be empty; they must be accepted all the same
        let ids: Vec<_> = ffi::entries(list).into_iter().map(|e| TopicPartition::new(e.topic, e.partition)).collect();
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, list, &ids);
            self.note(Note::Assigned(ids));
            return;
        }
        let unassigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = unassigned {
            self.failed("partitions could not be given back", &error);
        }
        self.note(Note::Revoked(ids));
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let code = result.err().and_then(|e| e.rdkafka_error_code()).map_or(0, |code| code as i32);
        let (kept, failed): (Vec<_>, Vec<_>) = ffi::entries(offsets).into_iter().partition(|e| e.error == 0);
        let failed = failed.into_iter().map(|e| (TopicPartition::new(e.topic, e.partition), e.error)).collect();
        let kept = kept.into_iter().filter(|e| code == 0 && e.offset >= 0);
        let kept = kept.map(|e| (TopicPartition::new(e.topic, e.partition), e.offset)).collect();
        self.note(Note::Committed { code, failed, kept });
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.next()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.logs.log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        self.note(Note::Error { code, words: self.logs.scrubber.clean(reason) });
    }
}

/// librdkafka's own log lines, on their way to `tracing`.
pub struct Logs {
    scrubber: Scrubber,
    limiter: Mutex<Limiter>,
}

impl Logs {
    /// Lines without secrets.
    pub fn new(scrubber: Scrubber) -> Self {
        Self { scrubber, limiter: Mutex::default() }
    }

    /// Tells a line, unless it was told a moment ago. Numbers do not make a line another one.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let text = self.scrubber.clean(text);
        if level as i32 > RDKafkaLogLevel::Notice as i32 {
            tracing::debug!(target: "librdkafka", facility, "{text}");
            return;
        }
        let kind: String = facility.chars().chain(text.chars().filter(|c| !c.is_ascii_digit())).take(120).collect();
        let Some(held) = lock(&self.limiter).admit(&kind, Instant::now()) else { return };
        match level {
            RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", facility, held, "{text}"),
            // what is an error to librdkafka is one attempt of many; errors that matter are told as events
            _ => tracing::warn!(target: "librdkafka", facility, held, "{text}"),
        }
    }
}

/// Statistics, where `statistics.interval.ms` is set, as librdkafka writes them.
pub fn stats(json: &[u8]) {
    tracing::debug!(target: "librdkafka::stats", "{}", String::from_utf8_lossy(json));
}

/// A lock that a panic elsewhere does not close.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
