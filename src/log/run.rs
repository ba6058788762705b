//! The loop: now and then it reads the log, enters what waits, and says how it went.

use super::{Appender, Committed, Options, Parts, anchors, find};
use crate::{
    digest::Digest,
    error::{Error, Result},
    manifest::Manifest,
    position::ChainId,
    publish::{Outgoing, Stream},
    telemetry,
    tlog::{
        Alive, Checkpoint, batch,
        entry::MINUTE,
        state::{Logged, in_order},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The part that readiness names.
const PART: &str = "log";
/// The same of the topic.
const TOPIC_PART: &str = "log:checkpoint_topic";
/// Batches written in one turn at most.
const ROUNDS: usize = 64;
/// Entries of one batch, and their bytes: well below what a batch may have.
const ENTRIES: usize = 256;
const BYTES: usize = 900_000;
/// Older batches read in one turn to learn how far a chain is logged.
const LOOK_BACK: u64 = 512;
/// A message to the topic is given up after so long; the next checkpoint says more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Extends a log turn by turn.
pub struct Logger {
    appender: Appender,
    parts: Parts,
    options: Options,
    /// The newest minute that we were logged alive in, or began in.
    minute: i64,
    /// What is wrong with chains that cannot be logged.
    held: BTreeMap<ChainId, String>,
    /// The size of the newest checkpoint, and since when it is known.
    seen: (u64, Instant),
}

impl Logger {
    /// Asks the store nothing yet.
    pub fn new(parts: Parts, options: Options) -> Self {
        let minute = (parts.clock)().div_euclid(MINUTE);
        let appender = Appender::new(&parts, &options);
        Self { appender, parts, options, minute, held: BTreeMap::new(), seen: (0, Instant::now()) }
    }

    /// One turn: reads the log, mends what a crash left undone, enters what waits. The newest checkpoint, if one was
    /// signed.
    ///
    /// If we crash here, at any await: what was committed is in the log, the rest is found in the store by whoever
    /// seals these chains next.
    pub async fn turn(&mut self) -> Result<Option<Checkpoint>> {
        self.held.clear();
        let mut looked = BTreeSet::new();
        self.appender.refresh().await?;
        let mut newest = self.appender.publish().await?;
        for _ in 0..ROUNDS {
            self.forget_logged();
            self.find().await?;
            let holes = looked.len();
            let lines = self.choose(&mut looked).await?;
            match (lines.is_empty(), looked.len() > holes) {
                (true, false) => break,
                (true, true) => continue,
                (false, _) => {}
            }
            if self.appender.commit(&lines).await? == Committed::Lost {
                metrics::counter!(telemetry::LOG_CONFLICTS).increment(1);
                self.appender.refresh().await?;
            }
            newest = self.appender.publish().await?.or(newest);
        }
        self.forget_logged();
        Ok(newest)
    }

    /// Entries that wait.
    pub fn pending(&self) -> usize {
        self.parts.queue.len()
    }

    /// The log as it was read last, and what extends it.
    pub fn appender(&self) -> &Appender {
        &self.appender
    }

    /// Takes out of the queue what is in the log, whoever entered it.
    fn forget_logged(&self) {
        self.parts.queue.retired(self.appender.ring());
        let Some(log) = self.appender.log() else { return };
        for chain in self.parts.queue.chains() {
            if let Some(logged) = log.logged(&chain) {
                self.parts.queue.logged(&chain, logged.sequence);
            }
        }
    }

    /// Looks in the store where something may lie that is not in the queue. A chain that cannot be read holds up none
    /// but itself.
    async fn find(&mut self) -> Result<()> {
        let looks = self.parts.queue.take_looks();
        let mut failed = Ok(());
        for chain in looks {
            match self.look(&chain).await {
                Ok(true) => {}
                Ok(false) => self.parts.queue.look(&chain),
                Err(error) => {
                    self.parts.queue.look(&chain);
                    if error.is_retry() {
                        failed = Err(error);
                    } else {
                        self.held.insert(chain, error.to_string());
                    }
                }
            }
        }
        failed
    }

    async fn look(&mut self, chain: &ChainId) -> Result<bool> {
        let Some(logged) = self.appender.logged(chain, LOOK_BACK).await? else { return Ok(false) };
        let from = logged.map_or(0, |logged| logged.sequence + 1);
        let Parts { store, queue, .. } = &self.parts;
        // what a retired key has sealed since, whoever has it, must not enter
        let good = self.appender.good();
        find::fill(&**store, &good, &self.options.origin, queue, chain, from).await
    }

    /// The entries of the next batch: of each chain what follows what is logged; and once a minute that we live. A
    /// chain of which later manifests are here than the one that it needs is looked at once a turn (`looked`).
    async fn choose(&mut self, looked: &mut BTreeSet<ChainId>) -> Result<Vec<String>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for chain in self.parts.queue.chains() {
            // one that is not known yet waits: nothing of it may be entered twice
            let Some(mut logged) = self.appender.logged(&chain, LOOK_BACK).await? else { continue };
            let from = logged.map_or(0, |logged| logged.sequence + 1);
            let run = self.parts.queue.run_of(&chain, from, ENTRIES);
            if run.is_empty() && self.parts.queue.waits_behind(&chain, from) && !looked.insert(chain.clone()) {
                let why = format!("its segment {from} is not in the store, and later ones are");
                self.held.insert(chain.clone(), why);
            }
            for line in run {
                if lines.len() >= ENTRIES || bytes + line.len() > BYTES {
                    return Ok(lines);
                }
                match Self::follows(logged, &line) {
                    Ok(next) => logged = Some(next),
                    Err(error) => {
                        self.held.insert(chain, error.to_string());
                        break;
                    }
                }
                bytes += line.len();
                lines.push(line);
            }
        }
        lines.extend(self.alive()?);
        Ok(lines)
    }

    /// Whether a manifest is the one that its chain needs next in the log.
    fn follows(logged: Option<Logged>, line: &str) -> Result<Logged> {
        let manifest = Manifest::parse(line).map_err(|fault| Error::bug(fault.detail))?;
        in_order(logged, true, &manifest)
            .map_err(|fault| Error::tampered(format!("{}: one of the two was replaced", fault.detail)))?;
        Ok(Logged { sequence: manifest.sequence, hash: Manifest::hash_of(line) })
    }

    fn alive(&mut self) -> Result<Option<String>> {
        let now = (self.parts.clock)();
        let Some(log) = self.appender.log() else { return Ok(None) };
        let writer = self.options.writer.clone();
        let logged = log.alive(&writer.instance).map_or(i64::MIN, |time| time.div_euclid(MINUTE));
        if now.div_euclid(MINUTE) <= logged.max(self.minute) {
            return Ok(None);
        }
        let head = |(chain, waiting): (ChainId, Option<Digest>)| {
            let hash = waiting.or_else(|| log.logged(&chain).map(|logged| logged.hash));
            Some((chain, hash?))
        };
        let heads = self.parts.queue.owned().into_iter().filter_map(head).collect();
        Alive::new(&self.options.origin, writer, now, &heads).line().map(Some)
    }

    /// Tells figures and readiness after a turn.
    fn tell(&mut self, result: &Result<Option<Checkpoint>>) {
        if let Some(log) = self.appender.log() {
            metrics::gauge!(telemetry::LOG_SIZE).set(log.size() as f64);
            if result.is_ok() && log.size() != self.seen.0 {
                self.seen = (log.size(), Instant::now());
            }
        }
        metrics::gauge!(telemetry::LOG_PENDING).set(self.pending() as f64);
        metrics::gauge!(telemetry::LOG_CHECKPOINT_AGE).set(self.seen.1.elapsed().as_secs_f64());
        let word = match (result, self.held.first_key_value()) {
            (Err(error), _) => {
                metrics::counter!(telemetry::LOG_ERRORS).increment(1);
                Some(format!("nothing is logged, sealing goes on: {error}"))
            }
            (Ok(_), Some((chain, why))) => {
                Some(format!("{} chains are not logged, {chain} among them: {why}", self.held.len()))
            }
            (Ok(_), None) => None,
        };
        if self.parts.health.warn(PART, word.clone())
            && let Some(word) = word
        {
            tracing::warn!(part = PART, "{word}");
        }
    }
}

// a batch must fit: entries of ours are far shorter than what one may have
const _: () = assert!(ENTRIES < batch::MAX_ENTRIES && BYTES + 65_536 < batch::MAX_BYTES);

/// Extends the log until `stop` ends; then enters what still waits, within the deadline. Whether all of it is logged.
pub async fn run(parts: Parts, options: Options, stop: impl Future<Output = ()>) -> bool {
    let topic = Topic::start(&parts);
    let anchors = anchors::Tasks::start(&parts, &options, topic.newest.clone());
    let mut logger = Logger::new(parts, options);
    let mut stop = std::pin::pin!(stop);
    loop {
        let result = logger.turn().await;
        logger.tell(&result);
        if let Ok(Some(checkpoint)) = &result {
            topic.tell(checkpoint, &logger.appender);
            anchors.tell(checkpoint);
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(logger.options.every) => {}
        }
    }
    let deadline = logger.options.shutdown_deadline;
    let flushed = tokio::time::timeout(deadline, async {
        loop {
            let result = logger.turn().await;
            logger.tell(&result);
            match result {
                Ok(newest) => {
                    if let Some(checkpoint) = &newest {
                        topic.tell(checkpoint, &logger.appender);
                        anchors.tell(checkpoint);
                    }
                    break logger.parts.queue.is_empty() && logger.held.is_empty();
                }
                Err(error) if error.is_retry() => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(_) => break false,
            }
        }
    });
    let logged = flushed.await.unwrap_or(false);
    // first, for what was cosigned goes to the topic too
    anchors.end().await;
    topic.end(deadline).await;
    logged
}

/// The newest checkpoint: its size, and its note.
pub(super) type Newest = Option<(u64, String)>;

/// Publishes the newest checkpoint, one at a time: an older one that is still waiting is of no use.
struct Topic {
    newest: watch::Sender<Newest>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Topic {
    fn start(parts: &Parts) -> Self {
        let (newest, mut told) = watch::channel::<Newest>(None);
        let Some(publisher) = parts.publisher.clone() else { return Self { newest, task: None } };
        let (health, key) = (parts.health.clone(), parts.signer.name().to_owned());
        let task = tokio::spawn(async move {
            while told.changed().await.is_ok() {
                let Some((_, note)) = told.borrow_and_update().clone() else { continue };
                let message = Outgoing {
                    stream: Stream::Checkpoints,
                    key: Some(key.clone().into()),
                    headers: Vec::new(),
                    value: Some(note.into()),
                };
                let sent = tokio::time::timeout(PATIENCE, publisher.publish(message)).await;
                let sent = sent.unwrap_or_else(|_| Err(Error::retry("the broker did not acknowledge it in time")));
                let word = sent.err().map(|error| format!("the newest checkpoint was not published: {error}"));
                if health.warn(TOPIC_PART, word.clone())
                    && let Some(word) = word
                {
                    tracing::warn!(part = TOPIC_PART, "{word}");
                }
            }
        });
        Self { newest, task: Some(task) }
    }

    fn tell(&self, checkpoint: &Checkpoint, appender: &Appender) {
        if let Some(note) = appender.note() {
            self.newest.send_replace(Some((checkpoint.size, note.to_owned())));
        }
    }

    /// Waits until the last one is out, or for so long.
    async fn end(self, deadline: Duration) {
        drop(self.newest);
        if let Some(task) = self.task {
            // what is not acknowledged lies in the store
            let _ = tokio::time::timeout(deadline, task).await;
        }
    }
}
