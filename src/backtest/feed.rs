//! Lanes and their merge: each lane is a thread that reads ahead, within bounds; records come out by time.

use crate::{
    error::{Error, Result},
    position::ChainId,
    record::Outcome,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// Records that a lane hands over at once.
const BATCH: usize = 256;
/// Bytes that a batch holds, about: records may be large.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait to be judged, for each lane.
const AHEAD: usize = 2;

/// A record to judge.
#[derive(Debug)]
pub struct Record {
    /// When it came in, as far as one can tell: milliseconds since 1970.
    pub time: i64,
    /// Its chain.
    pub chain: Arc<ChainId>,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, or -1.
    pub timestamp: i64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where a lane puts its records.
pub(super) struct Out {
    batch: Vec<Record>,
    bytes: usize,
    sender: SyncSender<Result<Vec<Record>>>,
}

/// Nobody wants records any more.
pub(super) struct Closed;

impl Out {
    /// Hands a record of about so many bytes over.
    pub fn push(&mut self, record: Record, bytes: usize) -> Result<(), Closed> {
        self.batch.push(record);
        self.bytes += bytes;
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Closed> {
        self.bytes = 0;
        self.sender.send(Ok(std::mem::take(&mut self.batch))).map_err(|_| Closed)
    }
}

struct Lane {
    receiver: Receiver<Result<Vec<Record>>>,
    batch: VecDeque<Record>,
}

impl Lane {
    /// The next record, waiting for it.
    fn next(&mut self) -> Result<Option<Record>> {
        while self.batch.is_empty() {
            match self.receiver.recv() {
                Ok(batch) => self.batch = batch?.into(),
                Err(_) => return Ok(None), // the lane has ended
            }
        }
        Ok(self.batch.pop_front())
    }
}

/// The records of all lanes, by time. Those of one lane keep their order.
pub struct Feed {
    lanes: Vec<Lane>,
    /// The first record of each lane that has one.
    heads: Vec<Option<Record>>,
    order: BinaryHeap<Reverse<(i64, usize)>>,
    begun: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Feed {
    /// Ends the lanes: they may not go on to use a runtime that is gone.
    fn drop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a lane that panicked has told already
        }
    }
}

impl Feed {
    /// No lanes yet.
    pub(super) fn new() -> Self {
        Self { lanes: Vec::new(), heads: Vec::new(), order: BinaryHeap::new(), begun: false, threads: Vec::new() }
    }

    /// Adds a lane, which runs in a thread of its own and ends with its error, with its records, or when the feed is
    /// dropped.
    pub(super) fn lane(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Out) -> Result<Result<(), Closed>> + Send + 'static,
    ) -> Result<()> {
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = std::thread::Builder::new().name(format!("lane {name}"));
        let run = move || {
            let mut out = Out { batch: Vec::new(), bytes: 0, sender };
            match work(&mut out) {
                Ok(Ok(())) => drop(out.flush()),
                Ok(Err(Closed)) => {}
                Err(error) => drop(out.sender.send(Err(error))), // nobody is left to tell if this fails
            }
        };
        let thread = thread.spawn(run).map_err(|e| Error::retry("starting a thread").caused_by(e))?;
        self.threads.push(thread);
        self.lanes.push(Lane { receiver, batch: VecDeque::new() });
        Ok(())
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        if !self.begun {
            self.begun = true;
            self.heads.resize_with(self.lanes.len(), || None);
            for at in 0..self.lanes.len() {
                self.pull(at)?;
            }
        }
        let Some(Reverse((_, at))) = self.order.pop() else { return Ok(None) };
        let record = self.heads.get_mut(at).and_then(Option::take);
        self.pull(at)?;
        Ok(record)
    }

    fn pull(&mut self, at: usize) -> Result<()> {
        let head = self.lanes[at].next()?;
        if let Some(record) = &head {
            self.order.push(Reverse((record.time, at)));
        }
        self.heads[at] = head;
        Ok(())
    }
}
