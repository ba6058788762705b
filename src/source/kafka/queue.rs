//! What the poll thread hands over to the reader: bounded by bytes and by count, and emptied of what became stale.

use super::super::SourceEvent;
use crate::{position::TopicPartition, record::RawRecord};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// What one record costs beside its bytes.
const OVERHEAD: usize = size_of::<RawRecord>();
/// Events other than batches that may wait. Repeated ones (errors, ends) are left out when there are more.
const REPEATED: usize = 1024;

#[derive(Default)]
struct State {
    events: VecDeque<(usize, SourceEvent)>,
    bytes: usize,
    batches: usize,
    closed: bool,
}

/// A queue with one writer, the poll thread, and one reader.
pub struct EventQueue {
    state: Mutex<State>,
    arrived: Notify,
    bytes: usize,
    batches: usize,
}

impl EventQueue {
    /// A queue that has room until it holds `bytes` or `batches`.
    pub fn new(bytes: usize, batches: usize) -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), bytes, batches }
    }

    /// Whether another batch may be read. What was read is always taken, so the bound is exceeded by one read at most.
    pub fn has_room(&self) -> bool {
        let state = self.lock();
        state.bytes < self.bytes && state.batches < self.batches
    }

    /// Adds an event that must be heard.
    pub fn push(&self, event: SourceEvent) {
        let cost = cost(&event);
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.bytes += cost;
        state.batches += usize::from(matches!(event, SourceEvent::Batch(_)));
        state.events.push_back((cost, event));
        drop(state);
        self.arrived.notify_one();
    }

    /// Adds an event that will come again: left out while the reader is far behind.
    pub fn push_repeated(&self, event: SourceEvent) {
        if self.lock().events.len() < REPEATED {
            self.push(event);
        }
    }

    /// Forgets batches and ends of a partition: its epoch is over.
    pub fn forget(&self, partition: &TopicPartition) {
        let mut state = self.lock();
        let before = std::mem::take(&mut state.events);
        for (cost, event) in before {
            let stale = match &event {
                SourceEvent::Batch(batch) => batch.partition == *partition,
                SourceEvent::AtEnd { partition: of, .. } | SourceEvent::OutOfRange { partition: of, .. } => {
                    of == partition
                }
                _ => false,
            };
            if stale {
                state.bytes -= cost;
                state.batches -= usize::from(matches!(event, SourceEvent::Batch(_)));
            } else {
                state.events.push_back((cost, event));
            }
        }
    }

    /// No event comes any more; what is there can still be heard.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The next event, `None` after [`EventQueue::close`] when all were heard.
    pub async fn next(&self) -> Option<SourceEvent> {
        loop {
            {
                let mut state = self.lock();
                if let Some((cost, event)) = state.events.pop_front() {
                    state.bytes -= cost;
                    state.batches -= usize::from(matches!(event, SourceEvent::Batch(_)));
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            // a push between the look and here leaves its permit behind
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Batch(batch) => batch.records.iter().map(|r| r.size() + OVERHEAD).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, source::Batch};

    fn batch(partition: i32, bytes: usize) -> SourceEvent {
        let record = RawRecord { value: Some(vec![0; bytes].into()), ..RawRecord::default() };
        SourceEvent::Batch(Batch { partition: TopicPartition::new("t", partition), epoch: 1, records: vec![record] })
    }

    #[tokio::test]
    async fn has_room_until_bytes_or_batches_are_reached() {
        let queue = EventQueue::new(1000, 3);
        queue.push(batch(0, 100));
        assert!(queue.has_room());
        queue.push(batch(0, 1000));
        assert!(!queue.has_room());
        queue.next().await.unwrap();
        queue.next().await.unwrap();
        assert!(queue.has_room());
        for _ in 0..3 {
            queue.push(batch(0, 1));
        }
        assert!(!queue.has_room());
    }

    #[tokio::test]
    async fn forgets_what_is_stale_and_keeps_the_rest_in_order() {
        let queue = EventQueue::new(1000, 10);
        queue.push(batch(0, 500));
        queue.push(SourceEvent::Revoked(vec![]));
        queue.push(batch(1, 1));
        queue.push(batch(0, 500));
        assert!(!queue.has_room());
        queue.forget(&TopicPartition::new("t", 0));
        assert!(queue.has_room());
        queue.close();
        queue.push(batch(1, 1));
        assert!(matches!(queue.next().await, Some(SourceEvent::Revoked(_))));
        assert!(matches!(queue.next().await, Some(SourceEvent::Batch(b)) if b.partition.partition == 1));
        assert!(queue.next().await.is_none());
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn repeated_events_are_bounded() {
        let queue = EventQueue::new(1000, 10);
        for _ in 0..10 * REPEATED {
            queue.push_repeated(SourceEvent::Failed { partition: None, error: Error::retry("again") });
        }
        queue.push(SourceEvent::Revoked(vec![]));
        assert_eq!(queue.lock().events.len(), REPEATED + 1);
    }
}
