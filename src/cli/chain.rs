//! `authseal chain`: opening the next incarnation of chains whose topic is another one than before.

use super::{
    exit::{self, Failure},
    print, print_json, wire,
};
use crate::{
    config::{self, Config},
    ingest::reset::{Proposal, Resetter},
    manifest::Broker,
    position::TopicPartition,
    source::kafka::topic::{TopicSettings, describe},
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  authseal chain reset --topic auth                       # what is wrong, and what would be opened
  authseal chain reset --topic auth --reason 'topic re-created by ticket OPS-1234' --yes

A partition stops when its topic was re-created, truncated, or is another cluster's: its offsets no longer mean what is
sealed under them. Find out why first. A reset touches nothing that is sealed: it opens the next incarnation of the
chain, which begins at offset 0 and names the last manifest of the one before, and your reason, for ever. Then restart
authseal.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open the next incarnation of chains that cannot be continued
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
struct Reset {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    config: PathBuf,
    /// The topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Only this partition; may be repeated
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Why, for whoever reads the evidence later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also chains that could be continued. Nothing may be sealing them meanwhile: what is sealed into the old
    /// incarnation afterwards would look like tampering
    #[arg(long, requires = "partition")]
    force: bool,
    /// Do it; without this nothing is sealed
    #[arg(long, requires = "reason")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    let Command::Reset(args) = args.command;
    let config = Config::load(&args.config, &config::environment())?;
    if !config.reads(&args.topic) {
        return Err(Failure::usage(format!(
            "--topic: {} is not among the topics of {}",
            args.topic,
            args.config.display()
        )));
    }
    let brokers = brokers(&config, &args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(reset(&config, &args, brokers))
}

/// What the cluster says of the partitions that are meant.
fn brokers(config: &Config, args: &Reset) -> Result<BTreeMap<i32, Broker>, Failure> {
    let properties = config.kafka.client_properties();
    let mut brokers = describe(&TopicSettings {
        brokers: &config.kafka.brokers,
        group: &config.kafka.group,
        topic: &args.topic,
        properties: &properties,
        since: None,
    })?;
    if let Some(missing) = args.partition.iter().find(|partition| !brokers.contains_key(partition)) {
        let count = brokers.len();
        return Err(Failure::usage(format!("--partition {missing}: {} has {count} partitions, from 0", args.topic)));
    }
    if !args.partition.is_empty() {
        brokers.retain(|partition, _| args.partition.contains(partition));
    }
    Ok(brokers)
}

async fn reset(config: &Config, args: &Reset, brokers: BTreeMap<i32, Broker>) -> Result<u8, Failure> {
    let clock = wire::clock();
    let store = wire::open_store(config, &clock).await?;
    let signer = config.seal.signer.as_ref().ok_or_else(|| {
        Failure::usage("this configuration only judges (roles): use one that seals, with its signing key")
    })?;
    let signer = signer.open()?;
    let keys = wire::keys_with(&config.trusted, &*signer)?;
    let (rules, _) = wire::load_rules(config)?;
    let resetter = Resetter::new(store, signer, keys.into(), clock, wire::options(config, rules, None)?);
    let (mut text, mut told, mut opened, mut due) = (String::new(), Vec::new(), 0, 0);
    for (partition, broker) in brokers {
        let place = TopicPartition::new(args.topic.as_str(), partition);
        let Some(proposal) = resetter.propose(&place, broker).await? else {
            let _ = writeln!(text, "{place}: nothing of it is sealed: it needs no reset"); // a string takes everything
            continue;
        };
        let wanted = proposal.why.is_some() || args.force;
        due += u32::from(wanted);
        let done = wanted && args.yes;
        if done {
            resetter.open(&proposal, args.reason.as_deref().unwrap_or_default()).await?;
            opened += 1;
        }
        line(&mut text, &proposal, wanted, done);
        told.push(object(&proposal, done));
    }
    if args.json {
        print_json(&Value::Array(told))?;
    } else {
        let end = match (opened, due) {
            (0, 0) => "no chain needs a reset: nothing was sealed".to_owned(),
            (0, _) => "nothing was sealed: add --reason and --yes".to_owned(),
            _ => format!("{opened} chains opened. Restart authseal: partitions that had stopped go on with them"),
        };
        print(&format!("{text}{end}\n"))?;
    }
    Ok(exit::GOOD)
}

fn line(text: &mut String, proposal: &Proposal, wanted: bool, done: bool) {
    let Proposal { head, next, why, .. } = proposal;
    let why = why.as_deref().unwrap_or("it can be continued");
    let what = match (wanted, done) {
        (_, true) => format!("opened {next}"),
        (true, false) => format!("would open {next}"),
        (false, false) => "stays as it is".to_owned(),
    };
    let gap = if wanted && proposal.first() > 0 {
        format!(", which begins with a gap: the broker has nothing before offset {}", proposal.first())
    } else {
        String::new()
    };
    let sealed = format!("{} segments, sealed up to offset {}", head.sequence + 1, head.to);
    let _ = writeln!(text, "{}: {sealed}\n  {why}\n  {what}{gap}", head.chain); // a string takes everything
}

fn object(proposal: &Proposal, done: bool) -> Value {
    let Proposal { head, next, why, .. } = proposal;
    json!({
        "chain": head.chain.to_string(), "sequence": head.sequence, "sealed_to": head.to, "why": why,
        "next": next.to_string(), "first": proposal.first(), "opened": done,
    })
}
