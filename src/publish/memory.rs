//! A publisher in memory for tests and dry runs: it keeps what it was given and fails as it was told to.

use super::{Outgoing, Publisher, Stream};
use crate::error::{Error, Kind, Result};
use futures_util::future::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// What happens to one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// It is kept and acknowledged.
    Accept,
    /// It is acknowledged after this long.
    Delay(Duration),
    /// It is lost, and the sender is told so.
    Lose(Kind, String),
    /// It is kept, but the sender is told that it was lost.
    Land(Kind, String),
}

/// Decides the behaviour of a message that no script covers.
type Rule = Box<dyn FnMut(&Outgoing) -> Behaviour + Send>;

#[derive(Default)]
struct State {
    sent: Vec<Outgoing>,
    script: VecDeque<Behaviour>,
    rule: Option<Rule>,
    attempts: usize,
}

/// Keeps messages in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryPublisher {
    state: Arc<Mutex<State>>,
    held: Arc<watch::Sender<bool>>,
}

impl Default for MemoryPublisher {
    fn default() -> Self {
        Self { state: Arc::default(), held: Arc::new(watch::Sender::new(false)) }
    }
}

impl MemoryPublisher {
    /// A publisher that accepts everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens to the next messages, one each, in the order of the calls of `publish`.
    pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.lock().script.extend(behaviours);
    }

    /// Sets what happens to every message that the script does not cover.
    pub fn rule(&self, rule: impl FnMut(&Outgoing) -> Behaviour + Send + 'static) {
        self.lock().rule = Some(Box::new(rule));
    }

    /// Holds back all acknowledgements, or lets them go.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// What has landed so far, in the order of the calls; repeated messages included.
    pub fn sent(&self) -> Vec<Outgoing> {
        self.lock().sent.clone()
    }

    /// What has landed of one stream.
    pub fn sent_to(&self, stream: Stream) -> Vec<Outgoing> {
        self.lock().sent.iter().filter(|m| m.stream == stream).cloned().collect()
    }

    /// How often `publish` was called.
    pub fn attempts(&self) -> usize {
        self.lock().attempts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher for MemoryPublisher {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<()>> {
        let behaviour = {
            let mut state = self.lock();
            state.attempts += 1;
            let scripted = state.script.pop_front();
            let behaviour = scripted.unwrap_or_else(|| state.rule.as_mut().map_or(Behaviour::Accept, |r| r(&message)));
            if !matches!(behaviour, Behaviour::Lose(..)) {
                state.sent.push(message);
            }
            behaviour
        };
        let mut held = self.held.subscribe();
        Box::pin(async move {
            if let Behaviour::Delay(time) = &behaviour {
                tokio::time::sleep(*time).await;
            }
            // the sender lives in the publisher; when all clones are gone, nobody will ever let go
            let _ = held.wait_for(|held| !held).await;
            match behaviour {
                Behaviour::Accept | Behaviour::Delay(_) => Ok(()),
                Behaviour::Lose(kind, text) | Behaviour::Land(kind, text) => Err(Error::new(kind, text)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Outgoing {
        Outgoing { stream: Stream::Alerts, key: None, headers: Vec::new(), value: Some(text.into()) }
    }

    #[tokio::test]
    async fn fails_as_scripted_and_keeps_what_landed() {
        let publisher = MemoryPublisher::new();
        publisher.script([Behaviour::Lose(Kind::Retry, "lost".into()), Behaviour::Land(Kind::Retry, "landed".into())]);
        publisher.rule(|m| match m.value.as_deref() {
            Some(b"large") => Behaviour::Lose(Kind::Data, "too large".into()),
            _ => Behaviour::Accept,
        });
        assert!(publisher.publish(message("a")).await.unwrap_err().is_retry());
        assert!(publisher.publish(message("b")).await.unwrap_err().is_retry());
        assert_eq!(publisher.publish(message("large")).await.unwrap_err().kind(), Kind::Data);
        publisher.publish(message("c")).await.unwrap();
        assert_eq!(publisher.sent(), [message("b"), message("c")]);
        assert_eq!((publisher.attempts(), publisher.sent_to(Stream::DeadLetters).len()), (4, 0));
    }

    #[tokio::test]
    async fn acknowledgements_can_be_held_back() {
        let publisher = MemoryPublisher::new();
        publisher.hold(true);
        let ack = publisher.publish(message("a"));
        let mut ack = tokio::spawn(ack);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut ack).await.is_err());
        publisher.hold(false);
        ack.await.unwrap().unwrap();
    }
}
