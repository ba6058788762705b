//! A log of state in memory, for tests: compacted, and it fails as it was told to.

use super::{super::memory::Behaviour, Record, StateLog};
use crate::{
    detect::Saved,
    error::{Error, Result},
    position::ChainId,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Decides what happens to a record.
type Rule = Box<dyn FnMut(&Record) -> Behaviour + Send>;

#[derive(Default)]
struct State {
    /// The newest record of each key.
    landed: BTreeMap<Vec<u8>, Record>,
    rule: Option<Rule>,
    failing_loads: u32,
    loads: u32,
}

/// Keeps records in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryStateLog(Arc<Mutex<State>>);

impl MemoryStateLog {
    /// A log that accepts everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens to every record.
    pub fn rule(&self, rule: impl FnMut(&Record) -> Behaviour + Send + 'static) {
        self.lock().rule = Some(Box::new(rule));
    }

    /// Lets this many loads fail.
    pub fn fail_loads(&self, count: u32) {
        self.lock().failing_loads = count;
    }

    /// Loads so far that did not fail.
    pub fn loads(&self) -> u32 {
        self.lock().loads
    }

    /// What a reader finds.
    pub fn records(&self) -> Vec<Record> {
        self.lock().landed.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateLog for MemoryStateLog {
    async fn load(&self, chain: &ChainId) -> Result<Vec<Saved>> {
        let mut state = self.lock();
        if state.failing_loads > 0 {
            state.failing_loads -= 1;
            return Err(Error::config("the topic is missing"));
        }
        state.loads += 1;
        let of_chain = state.landed.values().filter(|record| *record.chain == *chain).cloned();
        let saved = |record: Record| {
            let value = record.value?.to_vec();
            Some(Saved { rule: record.rule, key: record.key, writer: record.writer, value })
        };
        Ok(of_chain.filter_map(saved).collect())
    }

    fn save(&self, record: Record) -> BoxFuture<'static, Result<()>> {
        let behaviour = {
            let mut state = self.lock();
            let behaviour = state.rule.as_mut().map_or(Behaviour::Accept, |rule| rule(&record));
            if !matches!(behaviour, Behaviour::Lose(..)) {
                match record.value {
                    Some(_) => drop(state.landed.insert(record.log_key(), record)),
                    None => drop(state.landed.remove(&record.log_key())),
                }
            }
            behaviour
        };
        Box::pin(async move {
            match behaviour {
                Behaviour::Accept => Ok(()),
                Behaviour::Delay(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                Behaviour::Lose(kind, text) | Behaviour::Land(kind, text) => Err(Error::new(kind, text)),
            }
        })
    }
}
