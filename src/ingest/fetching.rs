//! Schemas on their way from the registry into force: asked for, stored, and then known to the decoders between two
//! records.
//!
//! If we crash here: before a schema is in force nothing was read with it, and the next start asks again. After it,
//! what was read and not sealed is read again. Either way every manifest names a bundle that lies in the store and
//! holds the schema.

use super::{
    artifacts::InForce,
    engine::{Engine, LOOKUP_AGAIN},
    lane::{Lane, State},
    options::{Options, Topic},
    schemas::{Desk, Sight},
    switching::Means,
};
use crate::{
    decode::{Decoder, Refusal},
    digest::Digest,
    error::Error,
    position::TopicPartition,
    record::RawRecord,
    telemetry,
};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Ids that are asked for ahead, from the records behind the one that waits.
const AHEAD: usize = 64;
/// When the schema of the first record is there, how long those ahead are waited for before reading goes on.
const TOGETHER: Duration = Duration::from_secs(1);
/// Ids that readiness names.
const NAMED: usize = 5;
/// Stands in readiness for the registry.
const PART: &str = "registry";

/// What a partition waits for.
#[derive(Debug)]
pub struct Awaited {
    /// The id that its next record names.
    first: u32,
    /// Those that records behind it name.
    ahead: BTreeSet<u32>,
    since: Instant,
}

/// Decoders that know more schemas, whose bundle lies in the store.
pub(super) struct Ready {
    decoders: HashMap<String, Arc<Decoder>>,
    in_force: InForce,
}

/// Schemas on their way into force.
#[derive(Default)]
pub(super) struct Fetching {
    storing: Option<BoxFuture<'static, Ready>>,
}

impl Fetching {
    /// Waits for schemas that can be put into force. May be dropped and called again.
    pub async fn next(&mut self) -> Ready {
        let Some(storing) = &mut self.storing else { return pending().await };
        let ready = storing.await;
        self.storing = None;
        ready
    }

    /// Stores what came, unless it is still busy with what came before.
    pub fn begin(&mut self, engine: &mut Engine) {
        if self.storing.is_none() && engine.desk.take_news() {
            let means = engine.means();
            match more(&engine.desk, &means.options) {
                Ok(decoders) => self.storing = Some(store(decoders, means)),
                Err(error) => means.status.fail(PART, error.to_string()),
            }
        }
    }
}

/// Decoders of the topics for which schemas came, by their labels.
fn more(desk: &Desk, options: &Options) -> Result<HashMap<String, Arc<Decoder>>, Error> {
    let mut decoders = HashMap::new();
    for (label, topic) in options.topics.labelled() {
        // those of a pattern have one decoder, and no other topic has that
        let has_it = |of: &Topic| Arc::ptr_eq(&of.decoder, &topic.decoder);
        let mut new = desk.of_topics(|name| options.topics.get(name).is_some_and(has_it));
        new.retain(|(id, _)| !topic.decoder.knows(*id));
        if !new.is_empty() {
            decoders.insert(label, Arc::new(topic.decoder.with_schemas(&new)?));
        }
    }
    Ok(decoders)
}

/// Stores the bundle until it lies there: a store that is down delays it, as it delays sealing.
fn store(decoders: HashMap<String, Arc<Decoder>>, means: Means) -> BoxFuture<'static, Ready> {
    Box::pin(async move {
        let mut options = means.options;
        know(&mut options, &decoders);
        let in_force = InForce::of(&options);
        while let Err(error) = in_force.store(&*means.store, &options, (means.clock)()).await {
            let why = error.context("a schema came from the registry and cannot be stored: its records wait");
            means.status.fail("artifacts", why.to_string());
            tokio::time::sleep(LOOKUP_AGAIN).await;
        }
        means.status.ok("artifacts");
        Ready { decoders, in_force }
    })
}

fn know(options: &mut Options, decoders: &HashMap<String, Arc<Decoder>>) {
    for (label, topic) in options.topics.labelled_mut() {
        if let Some(decoder) = decoders.get(&label) {
            topic.decoder = decoder.clone();
        }
    }
}

/// Looks at the schema that a record needs: nothing if it is known, or the record is not taken anyway; the refusal;
/// or what its partition waits for.
pub(super) fn look(desk: &mut Desk, lane: &Lane, rest: &[RawRecord]) -> Result<Option<Arc<Refusal>>, Awaited> {
    let Some(record) = rest.first().filter(|record| record.offset >= lane.read_next()) else { return Ok(None) };
    let Some(first) = lane.topic.decoder.wants(record) else { return Ok(None) };
    let topic = &*lane.partition.topic;
    match desk.look(topic, first) {
        Sight::Refused(refusal) => Ok(Some(refusal)),
        Sight::Wait => {
            let mut ahead = BTreeSet::new();
            for id in rest.iter().filter_map(|record| lane.topic.decoder.wants(record)) {
                if id != first && ahead.len() < AHEAD && !ahead.contains(&id) {
                    desk.look(topic, id);
                    ahead.insert(id);
                }
            }
            Err(Awaited { first, ahead, since: Instant::now() })
        }
    }
}

impl Engine {
    /// The registry has answered.
    pub(super) fn fetched(&mut self, landed: (u32, Result<Vec<u8>, crate::registry::Failure>)) {
        if self.desk.settle(landed) {
            self.go_on();
        }
    }

    /// Puts schemas into force, from the next record on. What was read before is sealed by itself, so that each
    /// manifest names what its records were read with.
    pub(super) fn know(&mut self, ready: Ready) {
        let Ready { decoders, in_force } = ready;
        know(&mut self.options, &decoders);
        self.in_force = self.in_force.with_decode_of(&in_force);
        let decode: Option<Digest> = self.in_force.names.decode;
        for lane in self.lanes.values_mut() {
            if let Some(topic) = self.options.topics.get(&lane.partition.topic) {
                lane.topic.decoder = topic.decoder.clone();
            }
            lane.naming.decode(decode);
        }
        let partitions: Vec<_> = self.lanes.keys().cloned().collect();
        partitions.iter().for_each(|partition| self.seal_if_due(partition));
        self.go_on();
    }

    /// Looks at what waits too long, and lets partitions go on whose schemas are settled.
    pub(super) fn mind_schemas(&mut self) {
        if self.desk.is_there() {
            self.desk.expire();
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        let mut going: Vec<TopicPartition> = Vec::new();
        for lane in self.lanes.values() {
            let State::Awaiting(awaited) = &lane.state else { continue };
            let is_settled = |id: u32| lane.topic.decoder.knows(id) || self.desk.is_refused(id);
            let all = awaited.ahead.iter().all(|id| is_settled(*id));
            if is_settled(awaited.first) && (all || awaited.since.elapsed() >= TOGETHER) {
                going.push(lane.partition.clone());
            }
        }
        going.iter().for_each(|partition| self.restart(partition));
    }

    /// Says how the registry fares: partitions that wait make the process unready, what is refused deserves a word.
    pub(super) fn tell_registry(&self) {
        if !self.desk.is_there() {
            return;
        }
        let waiting = |lane: &&Lane| matches!(&lane.state, State::Awaiting(_));
        let waiting: Vec<_> = self.lanes.values().filter(waiting).collect();
        let (schemas, refused) = self.desk.counts();
        metrics::gauge!(telemetry::REGISTRY_SCHEMAS).set(schemas as f64);
        metrics::gauge!(telemetry::REGISTRY_REFUSED).set(refused as f64);
        metrics::gauge!(telemetry::REGISTRY_WAITING).set(waiting.len() as f64);
        let ids: BTreeSet<u32> = waiting
            .iter()
            .filter_map(|lane| match &lane.state {
                State::Awaiting(awaited) => Some(awaited.first),
                _ => None,
            })
            .collect();
        match self.desk.away() {
            Some(why) if !waiting.is_empty() => {
                let ids = ids.iter().take(NAMED).map(u32::to_string).collect::<Vec<_>>().join(", ");
                let count = waiting.len();
                self.status.fail(PART, format!("{count} partitions wait for the schemas of ids {ids}: {why}"));
            }
            Some(why) => {
                let word = format!("it did not answer when it was last asked; no partition waits for it: {why}");
                self.status.warn(PART, Some(word));
            }
            None => {
                let named: Vec<String> = self.desk.refused(NAMED).into_iter().map(|(_, r)| r.detail.clone()).collect();
                let more =
                    if refused > named.len() { format!(", and {} more", refused - named.len()) } else { String::new() };
                let word = (refused > 0).then(|| {
                    format!(
                        "records of {refused} ids are rejected ({}): {}{more}",
                        self.desk.describe(),
                        named.join("; ")
                    )
                });
                self.status.warn(PART, word);
            }
        }
    }
}
