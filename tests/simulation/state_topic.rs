//! The compacted topic in which durable rules keep their state, as one process sees it: its records lie in the order in
//! which they came, a reader takes them piece by piece, and older values of a key may vanish under its eyes.

use super::{life::Life, sim::Random, tally::Tally};
use async_trait::async_trait;
use authseal::{
    detect::Saved,
    error::{Error, Result},
    position::ChainId,
    publish::state::{Record, StateLog},
};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

#[derive(Default)]
struct Topic {
    /// By offset: what was compacted away is missing.
    records: BTreeMap<u64, Record>,
    end: u64,
}

/// The topic. Clones share it.
#[derive(Clone, Default)]
pub struct StateTopic {
    topic: Arc<Mutex<Topic>>,
    /// No broker answers.
    pub down: Arc<AtomicBool>,
}

impl StateTopic {
    fn lock(&self) -> MutexGuard<'_, Topic> {
        self.topic.lock().unwrap()
    }

    fn append(&self, record: Record) {
        let mut topic = self.lock();
        let end = topic.end;
        topic.records.insert(end, record);
        topic.end += 1;
    }

    /// The cleaner runs over all but the newest `spared` records: older values of a key vanish, and tombstones if they
    /// are `old` enough.
    pub fn compact(&self, spared: u64, old: bool) -> u64 {
        let mut topic = self.lock();
        let dirty = topic.end.saturating_sub(spared);
        let mut newest = HashMap::new();
        for (offset, record) in topic.records.range(..dirty) {
            newest.insert(record.log_key(), *offset);
        }
        let before = topic.records.len();
        topic.records.retain(|offset, record| {
            *offset >= dirty || (newest[&record.log_key()] == *offset && (record.value.is_some() || !old))
        });
        (before - topic.records.len()) as u64
    }

    /// The next records from `from` on, at most so many, and where it ends now.
    fn piece(&self, from: u64, most: usize) -> (Vec<(u64, Record)>, u64) {
        let topic = self.lock();
        (topic.records.range(from..).take(most).map(|(at, record)| (*at, record.clone())).collect(), topic.end)
    }

    /// Reads as production does: to where the topic ended, and then to where it ends by then. A process (a slow one)
    /// reads piece by piece.
    async fn read(&self, chain: &ChainId, by: Option<(&Life, bool)>) -> Vec<Saved> {
        let (mut at, mut newest) = (0, HashMap::new());
        for _ in 0..2 {
            let end = self.lock().end;
            while at < end {
                let (piece, _) = self.piece(at, 100);
                let Some(last) = piece.last().map(|(offset, _)| *offset) else { break };
                for (_, record) in piece.into_iter().filter(|(offset, record)| *offset < end && *record.chain == *chain)
                {
                    newest.insert(record.log_key(), record);
                }
                at = last.min(end - 1) + 1;
                if let Some((life, slow)) = by {
                    if slow {
                        tokio::time::sleep(Duration::from_millis(life.draw(1_500))).await;
                    }
                    life.point("while loading").await;
                }
            }
            at = at.max(end);
        }
        let saved = |record: Record| {
            let value = record.value?.to_vec();
            Some(Saved { rule: record.rule, key: record.key, writer: record.writer, value })
        };
        newest.into_values().filter_map(saved).collect()
    }
}

#[async_trait]
impl StateLog for StateTopic {
    async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>> {
        Ok(self.read(chain, None).await)
    }

    fn save(&self, record: Record) -> BoxFuture<'static, Result<()>> {
        self.append(record);
        Box::pin(async { Ok(()) })
    }
}

type Sending = (Record, oneshot::Sender<Result<()>>);

/// The topic as one process sees it: what it hands over lands in its order, or not at all.
#[derive(Clone)]
pub struct LivingStateLog {
    life: Arc<Life>,
    topic: StateTopic,
    sending: mpsc::UnboundedSender<Sending>,
}

impl LivingStateLog {
    /// Of a process. `disturbed`: more happens than crashes.
    pub fn new(life: &Arc<Life>, topic: &StateTopic, tally: &Tally, seed: u64, disturbed: bool) -> Self {
        let (sending, sent) = mpsc::unbounded_channel();
        let random = Random(seed ^ 0x57a7_e000);
        tokio::spawn(deliver(sent, life.clone(), topic.clone(), tally.clone(), random, disturbed));
        Self { life: life.clone(), topic: topic.clone(), sending }
    }
}

/// The producer of a process.
async fn deliver(
    mut sent: mpsc::UnboundedReceiver<Sending>,
    life: Arc<Life>,
    topic: StateTopic,
    tally: Tally,
    mut random: Random,
    disturbed: bool,
) {
    let mut first = true;
    while let Some((record, told)) = sent.recv().await {
        life.point("before save").await;
        let draw = if disturbed { random.below(24) } else { 23 };
        if draw == 0 {
            tally.count("state: slow to land");
            tokio::time::sleep(Duration::from_millis(random.below(6_000))).await;
            life.point("before save").await;
        }
        let answer = match draw {
            _ if topic.down.load(Relaxed) => {
                tally.count(if first { "state: down at its first record" } else { "state: down" });
                Err(Error::retry("the brokers are away"))
            }
            1..=3 => {
                tally.count("state: lost");
                Err(Error::retry("no answer in time"))
            }
            4..=6 => {
                tally.count("state: landed, reported failed");
                topic.append(record);
                Err(Error::retry("no answer in time"))
            }
            7 => {
                tally.count("state: refused");
                Err(Error::config("not authorized"))
            }
            _ => {
                topic.append(record);
                Ok(())
            }
        };
        first = false;
        life.point("after save").await;
        let late = if (8..=10).contains(&draw) { random.below(9_000) } else { 0 };
        let life = life.clone();
        tokio::spawn(async move {
            if late > 0 {
                tokio::time::sleep(Duration::from_millis(late)).await;
            }
            life.thawed().await;
            // who asked may have given up
            let _ = told.send(answer);
        });
        if late > 0 {
            tally.count("state: answered late");
        }
    }
}

#[async_trait]
impl StateLog for LivingStateLog {
    async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>> {
        self.life.point("before load").await;
        self.life.asks("load").await?;
        if self.topic.down.load(Relaxed) {
            self.life.tally.count("state: cannot be loaded");
            return Err(Error::config("the topic is missing"));
        }
        let slow = self.life.happens(4, "state: slow to load");
        let loaded = self.topic.read(chain, Some((&self.life, slow))).await;
        if slow {
            tokio::time::sleep(Duration::from_millis(self.life.draw(14_000))).await;
        }
        self.life.point("after load").await;
        Ok(loaded)
    }

    fn save(&self, record: Record) -> BoxFuture<'static, Result<()>> {
        let (told, answer) = oneshot::channel();
        // the producer ends with its process
        let _ = self.sending.send((record, told));
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        })
    }
}
