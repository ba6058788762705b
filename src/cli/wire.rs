//! From the configuration to the parts of the workflow: the only place that knows every implementation.

use super::run::Stop;
use crate::{
    artifact::File,
    cli::{
        databases, registry,
        reload::{self, Lookback, Watcher},
        rules,
    },
    config::{self, Config, Inventory, Start, TransparencyLog},
    decode::{Decoder, Format, enrich::Enricher, mapping},
    detect::{Limits, RuleSet, Watch},
    digest::hex,
    error::{Error, Result},
    health::Health,
    ingest::{
        self, Begin, Clock, Keeping, KnownSources, Live, Options, Parts, Roles, SealOptions, Topic,
        status::{Notice, Status},
    },
    log,
    manifest::Writer,
    note::{Signer, Verifiers},
    publish::{
        Publisher,
        kafka::{KafkaPublisher, PublisherSettings},
        state::kafka::{KafkaStateLog, StateSettings},
    },
    remote::{Http, Remote},
    signing::{self, Sign},
    source::kafka::{KafkaSettings, KafkaSource, Wanted},
    store::{self, Store, StoreSpec, selftest},
    topics::ByTopic,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// Records read again before the committed offset at most, to rebuild the state of the rules.
const REPLAY_RECORDS: i64 = 5_000_000;
/// Messages that may wait for the broker's acknowledgement.
const OUTBOX: usize = 20_000;

/// The wall clock: milliseconds since 1970.
pub fn clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// Connects everything, says to what, and runs until `stop`. An error if anything that was read could not be sealed.
pub async fn ingest(config: Arc<Config>, health: Arc<Health>, mut stop: Stop) -> Result<()> {
    // from here on SIGHUP asks for a look at the rules; it ends nothing, also where there are none
    drop(reload::hangups()?);
    let clock = clock();
    let store = open_store(&config, &clock).await?;
    let (rules, files) = load_rules(&config)?;
    let roles = config.roles;
    let enricher = enricher(&config);
    let mut options = options(&config, rules, enricher.as_ref())?;
    options.live.schemas = registry::schemas(&config)?;
    let (rules, decode) = (options.rules.bundle().0, config.topics.len());
    tracing::info!(rules = %rules.hex(), topics = decode, "rules and schemas loaded");
    let properties = config.kafka.client_properties();
    let source = KafkaSource::connect(KafkaSettings {
        instance: config.kafka.instance_id.clone(),
        properties: properties.clone(),
        queue_bytes: config.kafka.queue_bytes,
        wanted: config.topics.iter().any(|t| t.pattern.is_some()).then(|| Wanted::new(config.finds())),
        ..KafkaSettings::new(&config.kafka.brokers, &config.kafka.group, config.named_topics())
    })?;
    let publisher = KafkaPublisher::connect(PublisherSettings {
        brokers: config.kafka.brokers.clone(),
        alerts: config.alerts_topic.clone(),
        dead_letters: Some(config.dead_letters_topic.clone()),
        shadow: config.shadow_topic.clone(),
        checkpoints: config.transparency_log.as_ref().and_then(|log| log.checkpoint_topic.clone()),
        properties: properties.clone(),
    })?;
    let publisher = Arc::new(publisher);
    options.state = keeping(&config, properties, &publisher)?;
    tracing::info!(
        brokers = config.kafka.brokers,
        group = config.kafka.group,
        seal = roles.seal,
        detect = roles.detect,
        topics = config.topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(","),
        alerts = config.alerts_topic,
        shadow = config.shadow_topic,
        dead_letters = config.dead_letters_topic,
        "reading from Kafka"
    );
    let signer = signer(&config)?;
    let keys = keys_with(&config.trusted, &*signer)?;
    refuse_retired(&config, &*store, &*signer).await?;
    let logging = Logging::start(&config, &store, &keys, &clock, &publisher, &health).await?;
    let parts = Parts {
        source: Box::new(source),
        store,
        publisher,
        verifiers: Arc::new(keys),
        signer: logging.gate(signer),
        clock,
    };
    let status = Arc::new(Status::new(health, logging.watcher()));
    let mut watching = tokio::task::JoinSet::new();
    if let Some(dir) = config.rules.dir.clone().filter(|_| roles.detect) {
        let (lookback, every) = (Lookback::of(&config), config.rules.reload);
        let (watcher, changes) = Watcher::new(dir, lookback, status.clone(), options.rules.clone(), &files);
        options.live.changes = Some(changes);
        watching.spawn(watcher.watch(every));
    }
    if let Some(enricher) = enricher.filter(|_| !config.enrich.databases.is_empty()) {
        watching.spawn(databases::Watcher::new(&config.enrich, enricher, status.clone()).watch());
    }
    let summary = ingest::run(parts, options, status, async move { stop.wait().await }).await?;
    watching.abort_all();
    logging.end().await;
    if !summary.published {
        tracing::warn!("not every finding and dead letter was acknowledged: the next start publishes them again");
    }
    if let Some((partition, why)) = summary.stopped.first() {
        return Err(Error::retry(format!(
            "{} partitions had stopped, {partition} among them: {why}",
            summary.stopped.len()
        )));
    }
    if !summary.sealed {
        return Err(Error::retry(
            "not everything that was read could be sealed before the deadline: the next start reads it again",
        ));
    }
    tracing::info!("everything that was read is sealed");
    Ok(())
}

/// The transparency log's task, where there is a log.
pub(super) struct Logging {
    queue: log::Queue,
    task: Option<(oneshot::Sender<()>, JoinHandle<bool>)>,
}

impl Logging {
    async fn start(
        config: &Config,
        store: &Arc<dyn Store>,
        seal_keys: &Verifiers,
        clock: &Clock,
        publisher: &Arc<KafkaPublisher>,
        health: &Arc<Health>,
    ) -> Result<Self> {
        let queue = log::Queue::default();
        let Some(settings) = config.transparency_log.as_ref().filter(|_| config.roles.seal) else {
            return Ok(Self { queue, task: None });
        };
        let signer = settings.signer.open()?;
        refuse_retired(config, &**store, &*signer).await?;
        let publisher: Arc<dyn Publisher> = publisher.clone();
        let parts = log::Parts {
            store: store.clone(),
            keys: Arc::new(keys_with(&config.trusted, &*signer)?),
            signer,
            seal_keys: Arc::new(seal_keys.clone()),
            clock: clock.clone(),
            publisher: settings.checkpoint_topic.is_some().then_some(publisher),
            health: health.clone(),
            queue: queue.clone(),
        };
        let writer = Writer { version: env!("CARGO_PKG_VERSION").into(), instance: config.instance.clone() };
        let options = log::Options::new(&config.origin, writer, config.store.classes.longest());
        let options = log::Options { anchors: anchors(settings)?, ..options };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(log::run(parts, options, async move { drop(stopped.await) }));
        tracing::info!(log = config.origin, topic = settings.checkpoint_topic, "what is sealed is entered in the log");
        Ok(Self { queue, task: Some((stop, task)) })
    }

    /// The signer, until the log says that its key is retired.
    fn gate(&self, signer: Arc<dyn Sign>) -> Arc<dyn Sign> {
        let queue = self.queue.clone();
        Arc::new(signing::Gated::new(signer, move |name, id| {
            let entry = queue.retired_at(name, id)?;
            Some(format!(
                "the key {name}+{id} was retired by entry {entry} of the log, and nothing more is sealed with it: \
                 configure the key that took its place, and restart"
            ))
        }))
    }

    /// Hears what is sealed. Without a log nobody empties the queue, so that nothing is put into it.
    fn watcher(&self) -> impl Fn(&Notice<'_>) + Send + Sync + 'static {
        let queue = self.task.is_some().then(|| self.queue.clone());
        move |notice| {
            if let Some(queue) = &queue {
                hear(queue, notice);
            }
            tell(notice);
        }
    }

    /// Lets the log enter what still waits.
    async fn end(self) {
        let Some((stop, task)) = self.task else { return };
        // an error means that it has ended already
        let _ = stop.send(());
        if !task.await.unwrap_or(false) {
            tracing::warn!(
                "not everything that is sealed is in the log yet: whoever seals these chains next enters it"
            );
        }
    }
}

/// Who else is told of the log's checkpoints.
fn anchors(settings: &TransparencyLog) -> Result<log::Anchors> {
    if settings.policy.is_none() && settings.timestamps.is_none() {
        return Ok(log::Anchors::default());
    }
    let remote: Arc<dyn Remote> = Arc::new(Http::new()?);
    let witnessing = settings.policy.as_ref().map(|policy| {
        tracing::info!(witnesses = policy.asked().len(), "checkpoints are sent to witnesses");
        log::Witnessing::new(policy.clone(), remote.clone())
    });
    let stamping = settings.timestamps.as_ref().map(|stamps| {
        tracing::info!(url = stamps.url, every = config::show_duration(stamps.every), "checkpoints are stamped");
        let (authorities, every) = (stamps.authorities.clone(), stamps.every);
        log::Stamping { url: stamps.url.clone(), authorities, every, remote: remote.clone() }
    });
    Ok(log::Anchors { witnessing, stamping })
}

/// Hands what is sealed to the log.
pub(crate) fn hear(queue: &log::Queue, notice: &Notice<'_>) {
    match notice {
        Notice::Opened { chain, sequence, .. } => queue.opened(chain, *sequence),
        Notice::Sealed { manifest, .. } => queue.sealed(manifest),
        Notice::Adopted { chain, .. } => queue.adopted(chain),
        Notice::Revoked { partition } => queue.revoked(partition),
        Notice::Finding(_) | Notice::Rules { .. } | Notice::Stopped { .. } | Notice::Trouble { .. } => {}
    }
}

/// The key that signs. A process that only judges has none, and is given one that nobody knows and that signs nothing.
fn signer(config: &Config) -> Result<Arc<dyn Sign>> {
    match &config.seal.signer {
        Some(signer) => signer.open(),
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|e| Error::config(format!("no random numbers for a key: {e}")))?;
            Ok(Arc::new(Signer::from_seed(&format!("{}/nobody", config.origin), seed)?))
        }
    }
}

/// Our own key, and those of the same name that are trusted beside it.
pub(super) fn keys_with(trusted: &Verifiers, signer: &dyn Sign) -> Result<Verifiers> {
    let mut keys = signing::verifiers(signer)?;
    keys.extend(&trusted.named(signer.name()))?;
    Ok(keys)
}

/// Refuses to start with a key that was retired: what it signs would be refused for ever.
async fn refuse_retired(config: &Config, store: &dyn Store, signer: &dyn Sign) -> Result<()> {
    if !config.roles.seal || !log::is_retired(store, &signer.verifier_key()).await? {
        return Ok(());
    }
    let (name, id) = (signer.name(), signer.id());
    Err(Error::config(format!(
        "the key {name}+{id} was retired in the log of {}: whatever it signs is refused by auditors; configure the key \
         that took its place (`authseal keys list` shows it)",
        store.describe()
    )))
}

/// Opens the store, tries what it promises, and binds it to the origin.
pub(super) async fn open_store(config: &Config, clock: &Clock) -> Result<Arc<dyn Store>> {
    if let StoreSpec::Dir(path) = &config.store.spec
        && config.roles.seal
    {
        std::fs::create_dir_all(path)
            .map_err(|e| Error::config(format!("store.path: creating {}", path.display())).caused_by(e))?;
    }
    let store = store::open(&config.store.spec).await?;
    if !config.roles.seal {
        tracing::info!(store = store.describe(), "the store is listed here, and nothing is written to it");
        return Ok(store);
    }
    let ask = selftest::Ask {
        lock: config.store.retention.mode,
        confirm_compliance: config.store.confirm_compliance,
        now: clock(),
    };
    let report = selftest::run(&*store, ask).await?;
    for check in &report.checks {
        tracing::info!(guarantee = check.guarantee.name(), state = ?check.state, "{}", check.text);
    }
    store::claim(&*store, &config.origin, clock()).await?;
    tracing::info!(store = store.describe(), origin = config.origin, "the store keeps what evidence needs");
    Ok(store)
}

/// What fills events in, if anything does.
fn enricher(config: &Config) -> Option<Arc<Enricher>> {
    let enrich = &config.enrich;
    let databases: Vec<_> = enrich.databases.iter().map(|(_, database)| database.clone()).collect();
    databases.iter().for_each(|database| tracing::info!(database = database.label(), "events are enriched"));
    (!enrich.is_nothing()).then(|| Arc::new(Enricher::new(databases, enrich.user_agent)))
}

/// The settings of the workflow.
pub(super) fn options(config: &Config, rules: Arc<RuleSet>, enricher: Option<&Arc<Enricher>>) -> Result<Options> {
    let mut random = [0; 32];
    let key = match &config.seal.withhold_key {
        Some(key) => key.bytes(),
        None => {
            getrandom::fill(&mut random).map_err(|e| Error::config(format!("no random numbers for a key: {e}")))?;
            &random
        }
    };
    let mut topics = ByTopic::default();
    for topic in &config.topics {
        let mut decoder =
            Decoder::new(topic.spec.clone(), key).map_err(|e| e.context(format!("topic {}", topic.name)))?;
        if let Some(key) = &config.correlate {
            decoder = decoder.correlating(key.bytes());
        }
        if let Some(enricher) = enricher {
            decoder = decoder.enriching(enricher.clone());
        }
        let begin = match topic.start {
            Start::LogStart => Begin::LogStart,
            Start::End => Begin::End,
            Start::At(time) => Begin::At(time),
        };
        let read = Topic { decoder: Arc::new(decoder), gaps_expected: topic.gaps_expected, begin };
        match &topic.pattern {
            Some(pattern) => topics.insert_pattern(pattern.clone(), read),
            None => topics.insert(topic.name.clone(), read),
        }
    }
    let seal = &config.seal;
    Ok(Options {
        origin: config.origin.clone(),
        cluster: config.cluster.clone(),
        instance: config.instance.clone(),
        topics,
        rules,
        limits: Limits { state_bytes: config.rules.state_bytes, lateness: config.rules.lateness },
        live: live(config),
        seal: SealOptions {
            max_records: seal.max_records,
            max_bytes: seal.max_bytes,
            max_age: seal.max_age,
            heartbeat: seal.heartbeat,
            grace: seal.grace,
            codec: seal.codec,
            level: seal.level,
            memory: seal.memory_bytes,
            classes: config.store.classes.policies(),
            ..SealOptions::default()
        },
        retention: config.store.retention,
        alerts: true,
        dead_letters: true,
        replay_records: REPLAY_RECORDS,
        state: None,
        outbox: OUTBOX,
        shutdown_deadline: seal.shutdown_deadline,
    })
}

/// How rules are run: what is opaque is read without being judged, so it is partitioned by nothing.
fn live(config: &Config) -> Live {
    let known = config.by_topic(|topic| match topic.spec.format {
        Format::Opaque => Some(Vec::new()),
        _ if topic.partitioned_by.is_empty() => None,
        _ => Some(topic.partitioned_by.clone()),
    });
    Live {
        roles: Roles { seal: config.roles.seal, detect: config.roles.detect },
        shadow: config.shadow_topic.is_some(),
        changes: None,
        schemas: None,
        partitioned_by: known,
        sources: watch(config),
        known_sources: known_sources(config),
    }
}

/// What is watched of sources, by whoever judges.
fn watch(config: &Config) -> Watch {
    if !config.roles.detect {
        return Watch::default();
    }
    let sequences = config.by_topic(|topic| topic.sequence_by.clone());
    // when sources were heard is in every commit; what their numbers were is not
    let horizon = if sequences.values().all(Vec::is_empty) { Duration::ZERO } else { config.rules.replay_horizon };
    let Inventory { expected, tell_unknown } = config.inventory.clone();
    Watch { sequences, expected, tell_unknown, horizon }
}

/// Names of sources that metrics may tell: those of the configuration and of the mappings in use. A topic stands for
/// events that name none.
fn known_sources(config: &Config) -> KnownSources {
    let topics = config.topics.iter();
    let mut names: BTreeSet<String> =
        topics.clone().flat_map(|t| [t.name.clone()].into_iter().chain(t.spec.source.clone())).collect();
    for topic in topics {
        if let Format::Mapped { mapping, .. } = &topic.spec.format {
            names.extend(mapping::sources_of(mapping));
        }
    }
    names.extend(config.inventory.expected.iter().map(|source| source.name.clone()));
    Arc::new(names)
}

/// The rules of the folder that is configured, with its files; every problem is named.
pub(super) fn load_rules(config: &Config) -> Result<(Arc<RuleSet>, Vec<File>)> {
    let Some(dir) = config.rules.dir.as_ref().filter(|_| config.roles.detect) else {
        return Ok((Arc::new(RuleSet::empty()), Vec::new()));
    };
    let files: Vec<File> = rules::read(dir).map_err(|failure| Error::config(failure.message))?;
    let rules = reload::load(dir, &files, Lookback::of(config))?;
    Ok((Arc::new(rules), files))
}

/// Where the state of rules is kept that look back further than a restart reads again, if anywhere. Also when no rule
/// does so now: one may come while this runs.
fn keeping(
    config: &Config,
    properties: BTreeMap<String, String>,
    publisher: &Arc<KafkaPublisher>,
) -> Result<Option<Keeping>> {
    let Some(topic) = config.rules.state_topic.as_ref().filter(|_| config.roles.detect) else { return Ok(None) };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| Error::config(format!("no random numbers for a name: {e}")))?;
    let kafka = &config.kafka;
    let (brokers, group) = (kafka.brokers.clone(), kafka.group.clone());
    let settings = StateSettings { brokers, group, topic: topic.clone(), properties };
    let log = Arc::new(KafkaStateLog::new(settings, publisher.clone()));
    let process = format!("{}.{}", config.instance, hex(&random));
    tracing::info!(topic, process, "the state of rules that look far back is kept");
    Ok(Some(Keeping { log, horizon: config.rules.replay_horizon, process }))
}

/// What is worth a line in the log.
fn tell(notice: &Notice<'_>) {
    match notice {
        Notice::Opened { chain, sequence, start, read_from } => {
            tracing::info!(%chain, ?sequence, seal_from = start.seal_from, read_from, "partition opened");
        }
        Notice::Sealed { manifest, bytes } => tracing::info!(
            chain = %manifest.chain,
            sequence = manifest.sequence,
            from = manifest.offsets.from,
            to = manifest.offsets.to,
            events = manifest.counts.events,
            rejections = manifest.counts.rejections,
            bytes,
            "sealed"
        ),
        Notice::Adopted { chain, sequence } => {
            tracing::warn!(%chain, sequence, "another writer sealed first: its segment is the head now");
        }
        Notice::Finding(finding) => {
            tracing::info!(uid = finding.uid, live = finding.live, at = %finding.position, "{}", finding.title);
        }
        Notice::Rules { digest, replaced } => tracing::info!(
            digest = %digest.hex(),
            kept = replaced.kept.join(","),
            changed = replaced.changed.join(","),
            begun = replaced.begun.join(","),
            gone = replaced.gone.join(","),
            "other rules are in force"
        ),
        Notice::Stopped { partition, error } => tracing::error!(%partition, "stopped: {error}"),
        Notice::Revoked { partition } => tracing::info!(%partition, "partition went to another instance"),
        Notice::Trouble { part, error } => tracing::warn!(part, "{error}"),
    }
}
