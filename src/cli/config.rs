//! `authseal config check`: everything that can be known before starting.

use super::{
    cost,
    exit::{self, Failure},
    matching::Matching,
    print, print_json,
};
use crate::config::{self, Config};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{fmt::Write, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  authseal config check -c authseal.toml
  authseal config check --partitions 64 --events-per-second 50000 --json";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration; show it resolved (secrets redacted), what it would connect to, and what it costs.
    /// Connects to nothing, unless topics are read by a pattern: then Kafka is asked which ones match
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        load: cost::Load,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    let Command::Check { config: file, load, json } = args.command;
    match Config::load(&file, &config::environment()) {
        Err(problems) if json => {
            print_json(&json!({ "ok": false, "problems": problems.to_json() }))?;
            Ok(exit::USAGE)
        }
        Err(problems) => Err(problems.into()),
        Ok(config) => {
            let estimate = cost::estimate(&config, &load);
            let matching = Matching::of(&config);
            if json {
                let cost = estimate.to_json(&load);
                let mut shown = json!({ "ok": true, "config": config.to_json(), "estimate": cost });
                if let Some(matching) = matching {
                    shown["matching"] = matching.to_json();
                }
                print_json(&shown)?;
            } else {
                let matched = matching.map(|matching| matching.to_text()).unwrap_or_default();
                let connections = connections(&config, &matched);
                print(&format!("{}\n{connections}\n{}", shown(&config), estimate.to_text(&load)))?;
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
            }
            Ok(exit::GOOD)
        }
    }
}

/// The resolved configuration, one setting a line.
fn shown(config: &Config) -> String {
    let mut text = format!("{} is good; resolved:\n", config.file.display());
    let mut json = config.to_json();
    if let Value::Object(settings) = &mut json {
        settings.retain(|name, _| name != "file" && name != "warnings");
    }
    flatten("", &json, &mut text);
    text
}

fn flatten(path: &str, value: &Value, text: &mut String) {
    let below = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match value {
        Value::Null => {}
        Value::Object(entries) => entries.iter().for_each(|(key, value)| flatten(&below(key), value, text)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(place, value)| flatten(&below(&place.to_string()), value, text));
        }
        value => {
            let _ = writeln!(text, "  {path} = {value}"); // writing to a string cannot fail
        }
    }
}

/// What the configuration would connect to. `matched`: the topics that patterns match.
fn connections(config: &Config, matched: &str) -> String {
    let topics: Vec<&str> = config.topics.iter().map(|topic| topic.name.as_str()).collect();
    let encrypted = if config.kafka.is_encrypted() { "encrypted" } else { "not encrypted" };
    let mut text = String::from("would connect to:\n");
    // writing to a string cannot fail
    let _ = writeln!(text, "  Kafka             {} ({encrypted}), group {}", config.kafka.brokers, config.kafka.group);
    let _ = writeln!(text, "  topics read       {}", topics.join(", "));
    text.push_str(matched);
    let shadow = config.shadow_topic.as_ref().map(|topic| format!(", {topic}")).unwrap_or_default();
    let log = config.transparency_log.as_ref();
    let checkpoints = log.and_then(|log| log.checkpoint_topic.as_ref());
    let checkpoints = checkpoints.map(|topic| format!(", {topic}")).unwrap_or_default();
    let written = format!("{}, {}{shadow}{checkpoints}", config.alerts_topic, config.dead_letters_topic);
    let _ = writeln!(text, "  topics written    {written}");
    if let Some(registry) = &config.registry {
        let _ = writeln!(text, "  schema registry   {}", registry.urls.join(", "));
    }
    let _ = writeln!(text, "  store             {}", config.store.spec);
    let _ = match log {
        Some(log) => writeln!(text, "  transparency log  in the store, key {}", log.signer.name()),
        None if config.roles.seal => {
            writeln!(text, "  transparency log  none: if the newest segments are removed, nothing tells (log.key_file)")
        }
        None => Ok(()),
    };
    if let Some(policy) = log.and_then(|log| log.policy.as_ref()) {
        let asked = policy.witnesses().iter().filter_map(|w| Some(format!("{} ({})", w.name, w.url.as_ref()?)));
        let _ = writeln!(text, "  witnesses         {}", asked.collect::<Vec<_>>().join(", "));
    }
    if let Some(stamps) = log.and_then(|log| log.timestamps.as_ref()) {
        let every = config::show_duration(stamps.every);
        let _ = writeln!(text, "  time stamps       {}, every {every}", stamps.url);
    }
    let _ = writeln!(text, "  would listen on   http://{}", config.http);
    text
}
