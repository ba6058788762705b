//! `authseal dead-letters`: what was rejected and why, and publishing it again once the reason is gone.

use super::{
    exit::{self, Failure},
    letters_select::Select,
    print, print_json,
};
use crate::{
    config::{self, Config},
    error::Error,
    publish::{
        kafka::{KafkaPublisher, PublisherSettings},
        letter::{Letter, Replay},
    },
    source::kafka::topic::{TopicSettings, read_to_end},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::Subcommand;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    io::{BufWriter, ErrorKind, Write},
    path::PathBuf,
};
use tokio::sync::mpsc;

const EXAMPLES: &str = "\
Examples:
  authseal dead-letters list -c authseal.toml --since 2h
  authseal dead-letters list --code unknown_schema_id --json | jq -r .position
  authseal dead-letters replay --code unknown_schema_id          # says what it would do
  authseal dead-letters replay --code unknown_schema_id --yes

A replayed record is a new record of the same partition, byte for byte, with a header authseal-replay-of that names
the position at which it is sealed already. It is sealed again and judged at its event's own time: what is older than
the lateness by then is sealed, and not judged (`authseal rules backtest` judges it).";

/// Messages that may wait for the broker's acknowledgement.
const IN_FLIGHT: usize = 256;
/// Letters read ahead.
const AHEAD: usize = 16;
/// Failures that are told one by one.
const TOLD: usize = 20;

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what was rejected, and why
    List {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        select: Select,
        /// Print JSON, an object a line
        #[arg(long)]
        json: bool,
        /// With --json: key, headers and value too, in base64
        #[arg(long, requires = "json")]
        values: bool,
    },
    /// Publish rejected records again, to the partitions that they came from
    Replay {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        select: Select,
        /// Publish to this topic instead, to the partition of the key
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// Do it; without this nothing is published
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::List { config, select, json, values } => {
            let config = Config::load(&config, &config::environment())?;
            list(&config, &select, json, values)
        }
        Command::Replay { config, select, to, yes, json } => {
            let config = Config::load(&config, &config::environment())?;
            replay(&config, &select, to.as_deref(), yes, json)
        }
    }
}

/// Hands every letter that is selected to `each`, which says whether to go on.
fn read(config: &Config, select: &Select, mut each: impl FnMut(Letter) -> bool) -> Result<(), Error> {
    let properties = config.kafka.client_properties();
    let settings = TopicSettings {
        brokers: &config.kafka.brokers,
        group: &config.kafka.group,
        topic: &config.dead_letters_topic,
        properties: &properties,
        since: select.since,
    };
    read_to_end(&settings, |_, record| match Letter::parse(record) {
        Some(letter) if select.wants(&letter) => each(letter),
        _ => true,
    })
}

/// How many letters of each kind.
#[derive(Default)]
struct Counts {
    letters: u64,
    codes: BTreeMap<String, u64>,
    left_out: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, letter: &Letter) {
        self.letters += 1;
        *self.codes.entry(letter.code.clone()).or_default() += 1;
    }

    fn leave_out(&mut self, why: impl Into<String>) {
        *self.left_out.entry(why.into()).or_default() += 1;
    }
}

fn list(config: &Config, select: &Select, json: bool, values: bool) -> Result<u8, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut counts, mut failed) = (Counts::default(), None);
    if !json {
        writeln!(out, "{:<24}  {:<22}  {:<36}  {:>8}  DETAIL", "PUBLISHED", "CODE", "POSITION", "BYTES")?;
    }
    read(config, select, |letter| {
        counts.add(&letter);
        if let Err(why) = letter.replay() {
            counts.leave_out(why);
        }
        let line = if json { object(&letter, values).to_string() } else { line(&letter) };
        failed = writeln!(out, "{line}").err();
        failed.is_none()
    })?;
    let end = failed.map_or_else(|| out.flush(), Err);
    drop(out);
    match end {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(exit::GOOD), // the reader has had enough
        other => other?,
    }
    if !json {
        print(&format!("\n{}", total(config, &counts)))?;
    }
    Ok(exit::GOOD)
}

fn total(config: &Config, counts: &Counts) -> String {
    let codes: Vec<String> = counts.codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let what = if codes.is_empty() { String::new() } else { format!(": {}", codes.join(", ")) };
    let mut text = format!("{} dead letters on {}{what}\n", counts.letters, config.dead_letters_topic);
    for (why, count) in &counts.left_out {
        let _ = writeln!(text, "{count} cannot be replayed: {why}"); // a string takes everything
    }
    text
}

/// Text of a record on one line of a terminal: control characters are shown, not obeyed.
fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn when(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

fn place(letter: &Letter) -> String {
    letter.position.as_ref().map_or_else(|| "?".into(), ToString::to_string)
}

fn line(letter: &Letter) -> String {
    let replayed = letter.replay_of.as_ref().map_or(String::new(), |of| format!(" (replay of {})", visible(of)));
    format!(
        "{:<24}  {:<22}  {:<36}  {:>8}  {}{replayed}",
        when(letter.published),
        visible(&letter.code),
        place(letter),
        letter.size(),
        visible(&letter.detail)
    )
}

fn object(letter: &Letter, values: bool) -> Value {
    let mut object = json!({
        "published": letter.published, "code": letter.code, "detail": letter.detail,
        "position": letter.position.as_ref().map(ToString::to_string), "schema_id": letter.schema_id,
        "version": letter.version, "withheld": letter.withheld, "trimmed": letter.trimmed,
        "replay_of": letter.replay_of, "bytes": letter.size(), "replayable": letter.replay().is_ok(),
    });
    if values {
        let base64 = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let headers: Vec<Value> = letter
            .headers
            .iter()
            .map(|header| json!({ "key": STANDARD.encode(&header.key), "value": base64(&header.value) }))
            .collect();
        object["key"] = json!(base64(&letter.key));
        object["headers"] = json!(headers);
        object["value"] = json!(base64(&letter.value));
    }
    object
}

/// What became of the letters that were selected.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    /// Records published, or that would be, by topic.
    topics: BTreeMap<String, u64>,
    /// What was not acknowledged.
    failed: Vec<(String, Error)>,
}

/// Decides what is published again. A letter that was written twice is replayed once.
struct Plan<'a> {
    config: &'a Config,
    to: Option<&'a str>,
    seen: HashSet<String>,
}

impl Plan<'_> {
    fn of(&mut self, letter: &Letter) -> Result<Replay, String> {
        let mut replay = letter.replay()?;
        let Some(position) = &letter.position else { return Err("it does not name its position".into()) };
        if !self.seen.insert(position.to_string()) {
            return Err("a repeat of a letter before it".into());
        }
        match self.to {
            Some(topic) => (replay.topic, replay.partition) = (topic.to_owned(), None),
            None if position.chain.cluster != self.config.cluster => {
                return Err(format!("it was read from the cluster {}, which is not this one", position.chain.cluster));
            }
            None if !self.config.reads(&replay.topic) => {
                return Err(format!(
                    "{} is not among the topics that are read here: nobody would seal it",
                    replay.topic
                ));
            }
            None => {}
        }
        Ok(replay)
    }
}

fn replay(config: &Config, select: &Select, to: Option<&str>, yes: bool, json: bool) -> Result<u8, Failure> {
    let plan = Plan { config, to, seen: HashSet::new() };
    let outcome = if yes { publish(config, select, plan)? } else { rehearse(config, select, plan)? };
    if json {
        let failed: Vec<Value> = outcome
            .failed
            .iter()
            .map(|(position, error)| json!({ "position": position, "error": error.to_string() }))
            .collect();
        print_json(&json!({
            "dead_letters": outcome.counts.letters, "codes": outcome.counts.codes, "published": yes,
            "topics": outcome.topics, "left_out": outcome.counts.left_out, "failed": failed,
        }))?;
    } else {
        print(&told(&outcome, yes))?;
    }
    Ok(if outcome.failed.is_empty() { exit::GOOD } else { exit::FAILED })
}

fn told(outcome: &Outcome, yes: bool) -> String {
    let count: u64 = outcome.topics.values().sum();
    let did = if yes { "replayed" } else { "would replay" };
    let mut text = format!("{did} {count} of {} dead letters\n", outcome.counts.letters);
    let mut tell = |line: String| text += &line;
    for (topic, count) in &outcome.topics {
        tell(format!("  {count:>8}  to {topic}\n"));
    }
    for (why, count) in &outcome.counts.left_out {
        tell(format!("  {count:>8}  left out: {why}\n"));
    }
    for (position, error) in outcome.failed.iter().take(TOLD) {
        tell(format!("  not acknowledged: --position {position}: {error}\n"));
    }
    if outcome.failed.len() > TOLD {
        tell(format!("  … and {} more that were not acknowledged\n", outcome.failed.len() - TOLD));
    }
    if !yes && count > 0 {
        tell("nothing was published: add --yes\n".into());
    }
    text
}

/// What would be done.
fn rehearse(config: &Config, select: &Select, mut plan: Plan<'_>) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    read(config, select, |letter| {
        outcome.counts.add(&letter);
        match plan.of(&letter) {
            Ok(replay) => *outcome.topics.entry(replay.topic).or_default() += 1,
            Err(why) => outcome.counts.leave_out(why),
        }
        true
    })?;
    Ok(outcome)
}

/// Reads on a thread of its own and publishes what the plan says, with a bounded number on their way.
fn publish(config: &Config, select: &Select, plan: Plan<'_>) -> Result<Outcome, Failure> {
    let publisher = KafkaPublisher::connect(PublisherSettings {
        brokers: config.kafka.brokers.clone(),
        alerts: config.alerts_topic.clone(),
        dead_letters: None,
        shadow: None,
        checkpoints: None,
        properties: config.kafka.client_properties(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, letters) = mpsc::channel(AHEAD);
    std::thread::scope(|scope| {
        // when nobody takes letters any more, reading ends
        let reader = scope.spawn(move || read(config, select, |letter| sender.blocking_send(letter).is_ok()));
        let outcome = runtime.block_on(send_all(&publisher, plan, letters));
        reader.join().map_err(|_| Error::bug("the reader of the dead letters panicked"))??;
        Ok(outcome)
    })
}

async fn send_all(publisher: &KafkaPublisher, mut plan: Plan<'_>, mut letters: mpsc::Receiver<Letter>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            letter = letters.recv(), if flying.len() < IN_FLIGHT => {
                let Some(letter) = letter else { break };
                outcome.counts.add(&letter);
                match plan.of(&letter) {
                    Ok(replay) => {
                        let sent = publisher.replay(&replay);
                        flying.push(async move { (replay.topic, place(&letter), sent.await) });
                    }
                    Err(why) => outcome.counts.leave_out(why),
                }
            }
            Some(answer) = flying.next() => outcome.answered(answer),
        }
    }
    while let Some(answer) = flying.next().await {
        outcome.answered(answer);
    }
    outcome
}

impl Outcome {
    fn answered(&mut self, (topic, position, result): (String, String, crate::error::Result<()>)) {
        match result {
            Ok(()) => *self.topics.entry(topic).or_default() += 1,
            Err(error) => self.failed.push((position, error)),
        }
    }
}
