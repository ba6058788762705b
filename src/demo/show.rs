//! The demo's play: what happens in which order, and what is said about it.

use super::{
    DemoOptions,
    load::{self, Load},
    look,
    stage::{ALERTS, DEAD_LETTERS, ORIGIN, Stage},
    tail::{self, As, Tail},
    tamper,
    traffic::{AVRO_TOPIC, JSON_TOPIC, PARTITIONS, Traffic},
};
use crate::{
    audit::{self, Report, VerifyOptions},
    error::{Error, Result},
    health::Health,
    ingest::{
        self, Clock, Parts,
        status::{Notice, Status},
    },
    log,
    manifest::Writer,
    note::{Signer, Verifiers},
    publish::kafka::{KafkaPublisher, PublisherSettings},
    retention::{LockMode, RetentionPolicy},
    source::kafka::{KafkaSettings, KafkaSource, properties::Properties},
    store::{self, Store, dir::DirStore},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Nothing the demo does takes longer than this.
const PATIENCE: Duration = Duration::from_secs(300);

/// Lines above a progress bar; plain lines when nobody looks.
#[derive(Clone)]
struct Screen(MultiProgress);

impl Screen {
    fn say(&self, line: impl AsRef<str>) {
        // without a terminal the bars are hidden and would swallow the line
        if self.0.is_hidden() {
            // a reader that has had enough (`| head`) must not stop the demo
            let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
        } else {
            let _ = self.0.println(line.as_ref());
        }
    }

    fn bar(&self, total: u64, what: &'static str) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(total));
        let style = ProgressStyle::with_template("  {msg:10} {bar:40} {human_pos}/{human_len} {per_sec}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar
    }
}

/// Segments and bytes sealed so far, for the summary.
#[derive(Default)]
struct Tally {
    segments: AtomicU64,
    bytes: AtomicU64,
}

/// Plays the demo. The text goes to stdout.
pub async fn run(options: &DemoOptions) -> Result<()> {
    let began = Instant::now();
    let stage = Stage::build(options)?;
    let screen = Screen(MultiProgress::new());
    screen.say(format!(
        "authseal demo: {} records from four systems; among them a credential-stuffing attack, a payout without\n\
         step-up, a stolen session and a lockout storm.\n\
         Broker: in this process, real Kafka protocol on {}. Store: {}.\n",
        options.events,
        stage.broker.bootstrap_servers(),
        stage.dir.join("store").display()
    ));
    let store: Arc<dyn Store> = Arc::new(DirStore::new(stage.dir.join("store")));
    let sealed = seal(options, &stage, &screen, &store).await?;
    screen.say(format!(
        "\nSealed in {:.1} s: {} segments, {:.1} MiB; {} alerts, {} dead letters.\n",
        began.elapsed().as_secs_f64(),
        sealed.segments,
        sealed.bytes as f64 / f64::from(1 << 20),
        sealed.alerts,
        sealed.dead_letters
    ));
    let keys = format!("{}\n{}\n", stage.signer.verifier_key(), stage.log_signer.verifier_key());
    let keys = Verifiers::parse(&keys)?;
    screen.say("Verifying, as an auditor would who has only the store and the verifier key:\n");
    let report = verify(&store, &keys).await?;
    screen.say(report.to_string());
    if report.exit_code() != 0 {
        return Err(Error::bug("the demo's store does not verify"));
    }
    let path = stage.dir.join("store");
    let joined = tokio::task::spawn_blocking(move || look::joined(&path)).await;
    let joined = joined.map_err(|e| Error::bug("looking for one action").caused_by(e))??;
    joined.into_iter().for_each(|text| screen.say(text));
    screen.say(caught(&stage.dir, &keys).await?);
    screen.say(cut(&stage.dir, &keys).await?);
    screen.say(next_steps(&stage.dir));
    Ok(())
}

/// What was sealed and published.
struct Sealed {
    segments: u64,
    bytes: u64,
    alerts: u64,
    dead_letters: u64,
}

/// Produces, seals and publishes everything.
async fn seal(options: &DemoOptions, stage: &Stage, screen: &Screen, store: &Arc<dyn Store>) -> Result<Sealed> {
    let brokers = stage.broker.bootstrap_servers();
    let clock: Clock = Arc::new(|| jiff::Timestamp::now().as_millisecond());
    store::claim(&**store, ORIGIN, clock()).await?;
    let tally = Arc::new(Tally::default());
    let health = Health::new(PATIENCE);
    let (queue, logging) = log(stage, store, &clock, &health)?;
    let status = Arc::new(Status::new(health, watcher(screen.clone(), tally.clone(), queue)));
    let source = KafkaSource::connect(KafkaSettings::new(&brokers, "authseal-demo", [AVRO_TOPIC, JSON_TOPIC]))?;
    let publisher = KafkaPublisher::connect(PublisherSettings {
        brokers: brokers.clone(),
        alerts: ALERTS.into(),
        dead_letters: Some(DEAD_LETTERS.into()),
        shadow: None,
        checkpoints: None,
        properties: Properties::new(),
    })?;
    let signer = Signer::parse(&stage.signer.secret_text())?;
    let parts = Parts {
        source: Box::new(source),
        store: store.clone(),
        publisher: Arc::new(publisher),
        verifiers: Arc::new(Verifiers::of(&signer)),
        signer: Arc::new(signer),
        clock: clock.clone(),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ingest = tokio::spawn(ingest::run(parts, Stage::options(Stage::rules()?)?, status.clone(), async {
        let _ = stopped.await;
    }));
    let (alerts, dead_letters) = (Arc::new(Tail::default()), Arc::new(Tail::default()));
    let followers = [
        follow(&brokers, ALERTS, stage.dir.join("alerts.ndjson"), As::Json, &alerts, Some(screen.clone())),
        follow(&brokers, DEAD_LETTERS, stage.dir.join("dead-letters.ndjson"), As::Envelope, &dead_letters, None),
    ];
    let load = Arc::new(Load::default());
    let producer = produce(options, stage, &brokers, clock(), &load);
    let mut ingest = ingest;
    tokio::select! {
        watched = watch(options.events, screen, &status, &load) => watched?,
        ended = &mut ingest => {
            return Err(join(ended).err().unwrap_or_else(|| Error::bug("the pipeline ended before it was told to")));
        }
    }
    join(producer.await)?;
    // an error means that the workflow has ended already, with an error of its own
    let _ = stop.send(());
    let summary = join(ingest.await)?;
    if !summary.sealed || !summary.published || !summary.stopped.is_empty() {
        return Err(Error::bug(format!("the demo did not end well: {summary:?}")));
    }
    if !logging.end().await {
        return Err(Error::bug("not everything that was sealed could be logged"));
    }
    for tail in [&alerts, &dead_letters] {
        tail.finish.store(true, Ordering::Relaxed);
    }
    for follower in followers {
        join(follower.await)?;
    }
    Ok(Sealed {
        segments: tally.segments.load(Ordering::Relaxed),
        bytes: tally.bytes.load(Ordering::Relaxed),
        alerts: alerts.read.load(Ordering::Relaxed),
        dead_letters: dead_letters.read.load(Ordering::Relaxed),
    })
}

fn join<T>(ended: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    ended.map_err(|e| Error::bug("a part of the demo panicked").caused_by(e))?
}

type Task = tokio::task::JoinHandle<Result<()>>;

fn produce(options: &DemoOptions, stage: &Stage, brokers: &str, until: i64, load: &Arc<Load>) -> Task {
    // rules with `settle` judge some minutes of event time later: the traffic is over long enough for all of them. It
    // ends with an hour, so that the periods of the rules begin at the same place in it whenever the demo is run
    let until = (until - 600_000).div_euclid(3_600_000) * 3_600_000;
    let (traffic, load) = (Traffic::new(options.events, until), load.clone());
    let (brokers, note) = (brokers.to_string(), stage.dir.join("produced.ndjson"));
    tokio::task::spawn_blocking(move || {
        load::publish(&brokers, traffic, &note, &load).inspect_err(|e| load.fail(e.to_string()))
    })
}

fn follow(
    brokers: &str,
    topic: &'static str,
    file: std::path::PathBuf,
    form: As,
    tail: &Arc<Tail>,
    screen: Option<Screen>,
) -> Task {
    let (brokers, tail) = (brokers.to_string(), tail.clone());
    tokio::task::spawn_blocking(move || {
        tail::follow(&brokers, topic, &file, form, &tail, |line| {
            if let Some(screen) = &screen {
                screen.say(alert_line(line));
            }
        })
    })
}

/// One line of an alert, as read back from the topic.
fn alert_line(json: &str) -> String {
    let alert: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |pointer: &str| alert.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or("?").to_string();
    let severity = text("/severity").to_uppercase();
    format!("  ALERT {severity:8} {}  ({})", text("/finding_info/title"), text("/finding_info/uid"))
}

/// The log's task, and how to end it.
struct Logging(tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<bool>);

impl Logging {
    /// Waits until everything is logged. Whether it is.
    async fn end(self) -> bool {
        // an error means that it has ended already
        let _ = self.0.send(());
        self.1.await.unwrap_or(false)
    }
}

/// Enters what is sealed in the log, once a second so that something is to be seen.
fn log(stage: &Stage, store: &Arc<dyn Store>, clock: &Clock, health: &Arc<Health>) -> Result<(log::Queue, Logging)> {
    let signer = Signer::parse(&stage.log_signer.secret_text())?;
    let queue = log::Queue::default();
    let parts = log::Parts {
        store: store.clone(),
        keys: Arc::new(Verifiers::of(&signer)),
        signer: Arc::new(signer),
        seal_keys: Arc::new(Verifiers::of(&stage.signer)),
        clock: clock.clone(),
        publisher: None,
        health: health.clone(),
        queue: queue.clone(),
    };
    let writer = Writer { version: env!("CARGO_PKG_VERSION").into(), instance: "demo".into() };
    let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
    let options = log::Options { every: Duration::from_secs(1), ..log::Options::new(ORIGIN, writer, retention) };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(log::run(parts, options, async move { drop(stopped.await) }));
    Ok((queue, Logging(stop, task)))
}

fn watcher(screen: Screen, tally: Arc<Tally>, queue: log::Queue) -> impl Fn(&Notice<'_>) + Send + Sync + 'static {
    move |notice| {
        crate::cli::wire::hear(&queue, notice);
        watch_one(&screen, &tally, notice);
    }
}

fn watch_one(screen: &Screen, tally: &Tally, notice: &Notice<'_>) {
    match notice {
        Notice::Sealed { manifest, bytes } => {
            tally.segments.fetch_add(1, Ordering::Relaxed);
            tally.bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
            let offsets = manifest.offsets;
            screen.say(format!(
                "  sealed {} #{} [{}, {}) {:.0} KiB  {}",
                manifest.chain,
                manifest.sequence,
                offsets.from,
                offsets.to,
                *bytes as f64 / 1024.0,
                &manifest.root.hex()[..12]
            ));
        }
        Notice::Stopped { partition, error } => screen.say(format!("  STOPPED {partition}: {error}")),
        Notice::Trouble { part, error } => screen.say(format!("  trouble with {part}: {error}")),
        _ => {}
    }
}

/// Waits until everything is produced, sealed, judged and acknowledged.
async fn watch(events: u64, screen: &Screen, status: &Status, load: &Load) -> Result<()> {
    let (produced, sealed) = (screen.bar(events, "produced"), screen.bar(events, "sealed"));
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let lanes = status.lanes();
        let sum = |of: fn(&ingest::status::LaneStatus) -> i64| lanes.values().map(of).sum::<i64>().unsigned_abs();
        let landed = load.landed.load(Ordering::Relaxed);
        load.taken.store(sum(|lane| lane.next), Ordering::Relaxed);
        produced.set_position(landed);
        sealed.set_position(sum(|lane| lane.sealed_to));
        if let Some(why) = load.failure() {
            return Err(Error::config(why));
        }
        if let Some((partition, lane)) = lanes.iter().find(|(_, lane)| lane.error.is_some()) {
            return Err(Error::bug(format!("{partition}: {}", lane.error.clone().unwrap_or_default())));
        }
        if landed == events && lanes.len() == 2 * PARTITIONS as usize && sum(|lane| lane.done_to) == events {
            produced.finish_and_clear();
            sealed.finish_and_clear();
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            load.stop.store(true, Ordering::Relaxed);
            return Err(Error::bug(format!("after {PATIENCE:?} not everything was sealed: {lanes:?}")));
        }
    }
}

async fn verify(store: &Arc<dyn Store>, keys: &Verifiers) -> Result<Report> {
    audit::verify(store.clone(), keys, VerifyOptions::new(jiff::Timestamp::now().as_millisecond())).await
}

/// Takes the attacker's logon out of a copy, and shows that verify names it.
async fn caught(dir: &Path, keys: &Verifiers) -> Result<String> {
    let copy = dir.join("tampered");
    tamper::copy(&dir.join("store"), &copy)?;
    let (key, position, what) = tokio::task::spawn_blocking({
        let copy = copy.clone();
        move || look::break_in(&copy)
    })
    .await
    .map_err(|e| Error::bug("looking for the attacker's logon").caused_by(e))??;
    tamper::remove_record(&copy.join(&key), &position)?;
    let store: Arc<dyn Store> = Arc::new(DirStore::new(&copy));
    let report = verify(&store, keys).await?;
    let named = report.to_string().contains(&position.to_string());
    if report.exit_code() != audit::exit::TAMPERED || !named {
        return Err(Error::bug(format!("the tampering with {position} was not found:\n{report}")));
    }
    Ok(format!(
        "\nNow somebody tampers with a copy ({}): one record is taken out of its segment, cleanly, everything else \
             stays.\n\
         It is {what}, at {position}. Verifying the copy:\n\n{report}",
        copy.display()
    ))
}

/// Removes the newest segment of a chain from another copy, and shows that the log names it.
async fn cut(dir: &Path, keys: &Verifiers) -> Result<String> {
    let copy = dir.join("cut");
    tamper::copy(&dir.join("store"), &copy)?;
    let newest = look::segments(&copy)?.pop().ok_or_else(|| Error::bug("the store holds no segment"))?;
    std::fs::remove_file(&newest).map_err(|e| Error::config(format!("removing {}", newest.display())).caused_by(e))?;
    let store: Arc<dyn Store> = Arc::new(DirStore::new(&copy));
    let report = verify(&store, keys).await?;
    let removed = report.findings.iter().find(|finding| finding.name == "removed");
    let (Some(removed), audit::exit::INCOMPLETE) = (removed, report.exit_code()) else {
        return Err(Error::bug(format!("the removal of {} was not found:\n{report}", newest.display())));
    };
    Ok(format!(
        "\nAnd somebody removes the newest segment of a chain from another copy ({}), as if it had never been\n\
         sealed. Nothing that is left in the chain names it, but the log does. Verifying that copy, exit code {}:\n\n  \
         INCOMPLETE removed  {}\n    {}",
        copy.display(),
        report.exit_code(),
        removed.place.key.as_deref().unwrap_or_default(),
        removed.detail
    ))
}

fn next_steps(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "\nWhat lies in {dir} now:\n  \
           store/               the evidence; every .avro file opens in any Avro reader\n  \
           store/log/           the transparency log: batches, tiles, checkpoint\n  \
           seal.vkey            the verifier keys of segments and log: all that an auditor needs\n  \
           alerts.ndjson        findings as OCSF 2004, read back from the alerts topic\n  \
           dead-letters.ndjson  rejected records with their reasons, read back from the dead-letter topic\n  \
           produced.ndjson      what was published: topic, partition, offset, SHA-256 of the value\n  \
           tampered/            the copy with one record gone\n  \
           cut/                 the copy with the newest segment of a chain gone\n\n\
         Try next:\n  \
           authseal verify {dir}/store --key {dir}/seal.vkey\n  \
           authseal verify {dir}/tampered --key {dir}/seal.vkey; echo $?\n  \
           authseal verify {dir}/cut --key {dir}/seal.vkey; echo $?\n  \
           python3 -c \"import fastavro,glob; [print(r['offset'], r['event']['user']) for f in \
         sorted(glob.glob('{dir}/store/chains/**/*.avro', recursive=True))[:1] for r in \
         fastavro.reader(open(f,'rb')) if r['event']]\"\n  \
           authseal rules test          # the rules that fired, and their tests\n  \
           authseal run --help          # the same against your own Kafka and bucket"
    )
}
