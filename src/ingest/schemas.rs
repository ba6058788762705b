//! Schemas that a registry has: asked for while their partition waits, stored before anything that was read with them
//! is sealed, refused when they do not come. Decisions and books; `fetching` connects them with the loop.
//!
//! # Who waits, and for how long
//!
//! A partition waits at a record whose schema is not known, once for each id: until the registry answers, or until
//! the patience with it is over. Then the record is a rejection, as all that name the id are from then on, and the id
//! is asked for again beside them. So no id holds its partition twice, and another partition only if it names the id
//! meanwhile. Ids that are known are not asked for again, whatever becomes of the registry.
//!
//! Whoever writes ids at random would make a partition wait for each: beyond [`FLOOD`] unknown ones a minute in a topic
//! new ids do not hold it any more.

use crate::{
    artifact::File,
    avro::schema::Schema,
    decode::{Refusal, codes},
    error::Error,
    registry::{Failure, Registry},
    telemetry,
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// How schemas are asked for.
#[derive(Clone)]
pub struct Schemas {
    /// Whom.
    pub registry: Arc<dyn Registry>,
    /// How long a partition waits for a registry that does not answer.
    pub wait: Duration,
}

/// How long a partition waits for an id that the registry keeps from us while it answers others.
pub(super) const WITHHELD_WAIT: Duration = Duration::from_secs(15);
/// Pauses between attempts: they double from the first to the last, each half of it up to chance.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// An id that is unknown is asked for again before that is believed: a registry's followers lag behind its leader, and
/// producers use a schema as soon as it is registered.
const CONFIRM_AFTER: Duration = Duration::from_millis(500);
/// So many ids a minute are asked for twice so.
const CONFIRMED: u32 = 16;
/// Beyond so many unknown ids a minute, new ones of the topic do not hold it.
const FLOOD: u32 = 200;
const MINUTE: Duration = Duration::from_secs(60);
/// How long ids stay refused before they are asked for again: those that are unknown, and those that cannot be used …
const REFUSED: Duration = Duration::from_secs(60);
/// … and those that did not come.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// Questions under way at once; more wait for them.
const AT_ONCE: usize = 16;
/// Ids that are remembered, the refused ones included.
const MOST_IDS: usize = 20_000;
/// Schemas in force, and their bytes together: they are sealed as one bundle.
const MOST_SCHEMAS: usize = 2_000;
const MOST_BYTES: usize = 16 << 20;

/// What is known of an id.
struct Entry {
    /// Topics whose records name it.
    topics: BTreeSet<String>,
    found: Option<File>,
    refused: Option<Arc<Refusal>>,
    /// Whether a question is under way, or will be.
    asking: bool,
    /// Asked for the first time, since it was last refused.
    since: Instant,
    attempts: u32,
    /// How long a partition waits for it.
    patience: Duration,
    /// That it is unknown was said once.
    doubted: bool,
    /// Refused until then without being asked for.
    again: Instant,
}

/// What to do with a record that names an id.
pub(super) enum Sight {
    /// Its schema is on its way.
    Wait,
    /// It is a rejection.
    Refused(Arc<Refusal>),
}

type Flight = (u32, Result<Vec<u8>, Failure>);

/// Everything that is known of ids.
pub(super) struct Desk {
    schemas: Option<Schemas>,
    ids: HashMap<u32, Entry>,
    /// Those that hold partitions.
    held: BTreeSet<u32>,
    flying: FuturesUnordered<BoxFuture<'static, Flight>>,
    permits: Arc<Semaphore>,
    chance: RandomState,
    /// Unknown ids by topic in the minute that began then.
    unknown: HashMap<String, u32>,
    confirmed: u32,
    minute: Instant,
    bytes: usize,
    /// What the registry said last, if it did not answer.
    away: Option<String>,
    /// Schemas came that are not in force.
    news: bool,
}

impl Desk {
    /// Nothing is known.
    pub fn new(schemas: Option<Schemas>) -> Self {
        Self {
            schemas,
            ids: HashMap::new(),
            held: BTreeSet::new(),
            flying: FuturesUnordered::new(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            chance: RandomState::new(),
            unknown: HashMap::new(),
            confirmed: 0,
            minute: Instant::now(),
            bytes: 0,
            away: None,
            news: false,
        }
    }

    /// A record of a topic names an id that its decoder does not know.
    pub fn look(&mut self, topic: &str, id: u32) -> Sight {
        let now = Instant::now();
        let Some(schemas) = &self.schemas else {
            return Sight::Refused(refusal(codes::UNKNOWN_SCHEMA_ID, id, "no registry is configured"));
        };
        let patience = schemas.wait;
        self.turn_minute(now);
        if !self.ids.contains_key(&id) && !self.make_room() {
            return Sight::Refused(refusal(codes::SCHEMA_UNAVAILABLE, id, "too many other ids are asked for"));
        }
        let flooded = self.unknown.get(topic).is_some_and(|n| *n >= FLOOD);
        let entry = self.ids.entry(id).or_insert_with(|| Entry {
            topics: BTreeSet::new(),
            found: None,
            refused: flooded.then(|| {
                let why = "too many ids that the registry does not know were named just before";
                refusal(codes::SCHEMA_UNAVAILABLE, id, why)
            }),
            asking: false,
            since: now,
            attempts: 0,
            patience,
            doubted: false,
            again: now,
        });
        if !entry.topics.contains(topic) {
            entry.topics.insert(topic.to_owned());
            self.news |= entry.found.is_some();
        }
        if entry.found.is_some() {
            return Sight::Wait;
        }
        if !entry.asking && (entry.refused.is_none() || entry.again <= now) {
            (entry.asking, entry.attempts, entry.since) = (true, 0, now);
            self.ask(id, Duration::ZERO);
        }
        let Some(entry) = self.ids.get(&id) else { return Sight::Wait };
        match &entry.refused {
            Some(refusal) => Sight::Refused(refusal.clone()),
            None => {
                self.held.insert(id);
                Sight::Wait
            }
        }
    }

    /// Whether a record that names the id can be taken now.
    pub fn is_refused(&self, id: u32) -> bool {
        self.ids.get(&id).is_some_and(|entry| entry.refused.is_some() && entry.found.is_none())
    }

    fn turn_minute(&mut self, now: Instant) {
        if now.duration_since(self.minute) >= MINUTE {
            (self.minute, self.confirmed) = (now, 0);
            self.unknown.clear();
        }
    }

    /// Forgets ids that are refused and not asked for, if there are too many.
    fn make_room(&mut self) -> bool {
        if self.ids.len() >= MOST_IDS {
            self.ids.retain(|_, entry| entry.asking || entry.refused.is_none());
        }
        self.ids.len() < MOST_IDS
    }

    fn ask(&self, id: u32, pause: Duration) {
        let Some(Schemas { registry, .. }) = self.schemas.clone() else { return };
        let permits = self.permits.clone();
        self.flying.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            // never closed
            let _permit = permits.acquire().await;
            (id, registry.fetch(id).await)
        }));
    }

    /// Waits for an answer of the registry. Pends for ever while nothing is asked.
    pub async fn landed(&mut self) -> Flight {
        match self.flying.next().await {
            Some(landed) => landed,
            None => std::future::pending().await,
        }
    }

    /// The registry has answered. Whether something can go on.
    pub fn settle(&mut self, (id, result): Flight) -> bool {
        let now = Instant::now();
        self.turn_minute(now);
        metrics::counter!(telemetry::REGISTRY_REQUESTS, "result" => name(&result)).increment(1);
        match &result {
            Err(Failure::Away(error)) => self.away = Some(error.to_string()),
            _ => self.away = None,
        }
        let wait = self.schemas.as_ref().map_or(Duration::ZERO, |schemas| schemas.wait);
        let room = self.ids.values().filter(|entry| entry.found.is_some()).count() < MOST_SCHEMAS;
        let left = if room { MOST_BYTES.saturating_sub(self.bytes) } else { 0 };
        let Some(entry) = self.ids.get_mut(&id) else { return false };
        entry.asking = false;
        match result.and_then(|bytes| usable(bytes, left)) {
            Ok(file) => {
                self.bytes += file.bytes.len();
                (entry.found, entry.refused, self.news) = (Some(file), None, true);
                self.held.remove(&id);
                // it goes on when the schema is in force
                false
            }
            Err(Failure::Unknown) if !entry.doubted && entry.refused.is_none() && self.confirmed < CONFIRMED => {
                self.confirmed += 1;
                (entry.doubted, entry.asking) = (true, true);
                self.ask(id, CONFIRM_AFTER);
                false
            }
            Err(Failure::Unknown) => {
                for topic in &entry.topics {
                    *self.unknown.entry(topic.clone()).or_default() += 1;
                }
                self.refuse(id, refusal(codes::UNKNOWN_SCHEMA_ID, id, "the registry does not have it"), REFUSED)
            }
            Err(Failure::Unusable(why)) => self.refuse(id, refusal(codes::SCHEMA_UNUSABLE, id, &why), REFUSED),
            Err(Failure::Withheld(error)) => self.failed(id, &error, wait.min(WITHHELD_WAIT), now),
            Err(Failure::Away(error)) => self.failed(id, &error, wait, now),
        }
    }

    /// An attempt failed: another one, or none for now.
    fn failed(&mut self, id: u32, error: &Error, patience: Duration, now: Instant) -> bool {
        tracing::debug!(id, "a schema was not delivered: {error}");
        let Some(entry) = self.ids.get_mut(&id) else { return false };
        entry.patience = patience;
        if entry.refused.is_some() || now.duration_since(entry.since) >= patience {
            return self.refuse(id, not_delivered(id, patience), UNAVAILABLE);
        }
        entry.asking = true;
        entry.attempts += 1;
        let full = BACKOFF.0.saturating_mul(1 << entry.attempts.min(10)).min(BACKOFF.1);
        let chance = self.chance.hash_one((id, entry.attempts)) % 1000;
        let pause = full / 2 + full.mul_f64(chance as f64 / 2000.0);
        self.ask(id, pause);
        false
    }

    /// Records that name the id are rejections from now on.
    fn refuse(&mut self, id: u32, refusal: Arc<Refusal>, until: Duration) -> bool {
        self.held.remove(&id);
        let Some(entry) = self.ids.get_mut(&id) else { return false };
        if entry.refused.as_ref().is_none_or(|old| old.code != refusal.code) {
            tracing::warn!(id, code = refusal.code, "records are rejected: {}", refusal.detail);
        }
        (entry.refused, entry.again) = (Some(refusal), Instant::now() + until);
        true
    }

    /// Ends the waiting for ids that have had their time; the question goes on beside. Whether there were any.
    pub fn expire(&mut self) -> bool {
        let now = Instant::now();
        let over = |id: &&u32| {
            let waits = |entry: &Entry| now.duration_since(entry.since) >= entry.patience;
            self.ids.get(*id).is_some_and(waits)
        };
        let over: Vec<u32> = self.held.iter().filter(over).copied().collect();
        for id in &over {
            let patience = self.ids.get(id).map_or(Duration::ZERO, |entry| entry.patience);
            self.refuse(*id, not_delivered(*id, patience), UNAVAILABLE);
        }
        !over.is_empty()
    }

    /// Whether schemas came that are not in force. Asking again says no until more come.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The schemas of these topics.
    pub fn of_topics(&self, wanted: impl Fn(&str) -> bool) -> Vec<(u32, File)> {
        let wanted = self.ids.iter().filter(|(_, entry)| entry.topics.iter().any(|topic| wanted(topic)));
        wanted.filter_map(|(id, entry)| Some((*id, entry.found.clone()?))).collect()
    }

    /// Whether there is a registry.
    pub fn is_there(&self) -> bool {
        self.schemas.is_some()
    }

    /// The registry's address, for people.
    pub fn describe(&self) -> String {
        self.schemas.as_ref().map_or(String::new(), |schemas| schemas.registry.describe())
    }

    /// Why the registry does not answer, if it did not when it was last asked.
    pub fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    /// How many schemas are known, and how many ids are refused.
    pub fn counts(&self) -> (usize, usize) {
        let found = self.ids.values().filter(|entry| entry.found.is_some()).count();
        (found, self.ids.values().filter(|entry| entry.found.is_none() && entry.refused.is_some()).count())
    }

    /// Some of the ids that are refused, lowest first, with why.
    pub fn refused(&self, most: usize) -> Vec<(u32, Arc<Refusal>)> {
        let refused = self.ids.iter().filter(|(_, entry)| entry.found.is_none());
        let mut refused: Vec<_> = refused.filter_map(|(id, entry)| Some((*id, entry.refused.clone()?))).collect();
        refused.sort_by_key(|(id, _)| *id);
        refused.truncate(most);
        refused
    }
}

/// A schema that records can be read with.
fn usable(bytes: Vec<u8>, left: usize) -> Result<File, Failure> {
    let schema = Schema::parse(&bytes).map_err(Failure::Unusable)?;
    if schema.fields().is_none() {
        return Err(Failure::Unusable("its outermost type is not a record".into()));
    }
    if bytes.len() > left {
        let what = format!("more than {MOST_SCHEMAS} schemas, or {} MiB of them, are in force", MOST_BYTES >> 20);
        return Err(Failure::Unusable(what));
    }
    Ok(File { path: "registry.avsc".into(), bytes })
}

fn refusal(code: &'static str, id: u32, why: &str) -> Arc<Refusal> {
    Arc::new(Refusal { code, detail: format!("schema id {id}: {why}") })
}

fn not_delivered(id: u32, patience: Duration) -> Arc<Refusal> {
    let why = format!("the registry did not deliver it within {} s", patience.as_secs_f32());
    refusal(codes::SCHEMA_UNAVAILABLE, id, &why)
}

fn name(result: &Result<Vec<u8>, Failure>) -> &'static str {
    match result {
        Ok(_) => "found",
        Err(Failure::Unknown) => "unknown",
        Err(Failure::Unusable(_)) => "unusable",
        Err(Failure::Withheld(_)) => "withheld",
        Err(Failure::Away(_)) => "away",
    }
}
