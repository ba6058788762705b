//! `authseal schemas check` and `fetch`: what a change of a schema means before it is registered, and what a registry
//! has.

use super::super::{
    exit::{self, Failure},
    print, print_json, registry,
};
use crate::{
    avro::{
        compat::{Obstacle, obstacles},
        join::Flat,
        schema::Schema,
    },
    config::{self, Config},
    decode::compare::{Contents, Difference, Weight},
    error::{Error, Result},
    registry::{Failure as Refused, http::Client},
};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::{fmt::Write, path::PathBuf};

/// Files of schemas are smaller.
const MAX_FILE: u64 = 4 << 20;

const EXAMPLES: &str = "\
Examples:
  authseal schemas check logins-1.avsc logins-2.avsc
  authseal schemas check registry:auth.events-value logins-2.avsc -c authseal.toml
  authseal schemas check registry:logins@3 registry:logins@4 --registry http://127.0.0.1:8081 --avro full

A schema is a file, or registry:SUBJECT, registry:SUBJECT@VERSION. The exit code is 0 if nothing is lost to authseal,
which finds fields by their names and aliases, and 1 otherwise. --avro asks for more: that also readers that resolve
schemas as Avro does get along (backward: new ones read old data; forward: old ones read new data; full: both).";

/// What `check` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The schema in use
    #[arg(value_name = "OLD")]
    old: String,
    /// The schema to come
    #[arg(value_name = "NEW")]
    new: String,
    /// Fail as well if this compatibility of Avro's specification does not hold
    #[arg(long, value_name = "KIND")]
    avro: Option<Kind>,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `fetch` is told.
#[derive(Debug, clap::Args)]
pub(super) struct FetchArgs {
    /// registry:SUBJECT, registry:SUBJECT@VERSION
    #[arg(value_name = "SCHEMA")]
    schema: String,
    #[command(flatten)]
    place: Place,
}

/// Which registry is meant.
#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration whose [registry] is asked
    #[arg(short, long, value_name = "FILE", env = "AUTHSEAL_CONFIG", conflicts_with = "registry")]
    config: Option<PathBuf>,
    /// The registry to ask, if it wants no password
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Backward,
    Forward,
    Full,
}

pub(super) fn fetch(args: &FetchArgs) -> Result<u8, Failure> {
    let bytes = args.place.read(&args.schema)?;
    print(&String::from_utf8_lossy(&bytes))?;
    Ok(exit::GOOD)
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let (old, new) = (Side::of(&args.place, &args.old)?, Side::of(&args.place, &args.new)?);
    let verdict = Verdict {
        backward: obstacles(&new.flat, &old.flat),
        forward: obstacles(&old.flat, &new.flat),
        changes: old.contents.changes(&new.contents),
    };
    let good = verdict.is_good(args.avro);
    if args.json {
        print_json(&verdict.to_json(good))?;
    } else {
        print(&verdict.to_text(good, args.avro))?;
    }
    Ok(if good { exit::GOOD } else { exit::FAILED })
}

/// One of the two schemas.
struct Side {
    flat: Flat,
    contents: Contents,
}

impl Side {
    fn of(place: &Place, name: &str) -> Result<Self, Failure> {
        let wrong = |e: String| Failure::usage(format!("{name}: {e}"));
        let bytes = place.read(name)?;
        let flat = Flat::of(&bytes, &[]).map_err(wrong)?;
        let contents = Schema::parse(&bytes).and_then(|schema| Contents::of(&schema)).map_err(wrong)?;
        Ok(Self { flat, contents })
    }
}

impl Place {
    /// The bytes of a schema, with what it refers to in it.
    fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let Some(subject) = name.strip_prefix("registry:") else {
            let wrong = |e: std::io::Error| Failure::usage(format!("reading {name}: {e}"));
            if std::fs::metadata(name).map_err(wrong)?.len() > MAX_FILE {
                return Err(Failure::usage(format!("{name} is larger than 4 MiB: it is no schema")));
            }
            return std::fs::read(name).map_err(wrong);
        };
        let (subject, version) = versioned(subject);
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(client.version(subject, version)) {
            Ok((_, whole)) => Ok(whole),
            Err(refused) => Err(told(refused).context(name).into()),
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        if let Some(url) = &self.registry {
            return Ok(registry::open(url)?);
        }
        let Some(file) = &self.config else {
            return Err(Failure::usage("say which registry: --registry URL, or -c FILE with a [registry]"));
        };
        let config = Config::load(file, &config::environment())?;
        let settings = config.registry.as_ref();
        let settings =
            settings.ok_or_else(|| Failure::usage(format!("{}: has no [registry] with a url", file.display())))?;
        Ok(registry::client(settings)?)
    }
}

/// Subject and version; subjects may hold an @ themselves.
fn versioned(text: &str) -> (&str, &str) {
    match text.rsplit_once('@') {
        Some((subject, version)) if version == "latest" || version.parse::<u32>().is_ok() => (subject, version),
        _ => (text, "latest"),
    }
}

fn told(refused: Refused) -> Error {
    match refused {
        Refused::Unknown => Error::config("the registry has no such subject or version"),
        Refused::Unusable(why) => Error::config(why),
        Refused::Withheld(error) | Refused::Away(error) => error,
    }
}

/// What a change comes to.
struct Verdict {
    /// What keeps new readers from old data.
    backward: Vec<Obstacle>,
    /// What keeps old readers from new data.
    forward: Vec<Obstacle>,
    changes: Vec<Difference>,
}

impl Verdict {
    fn is_good(&self, avro: Option<Kind>) -> bool {
        let (backward, forward) = (self.backward.is_empty(), self.forward.is_empty());
        let avro = match avro {
            None => true,
            Some(Kind::Backward) => backward,
            Some(Kind::Forward) => forward,
            Some(Kind::Full) => backward && forward,
        };
        avro && self.changes.iter().all(|change| change.weight != Weight::Loss)
    }

    fn to_text(&self, good: bool, avro: Option<Kind>) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}", if good { "compatible" } else { "NOT compatible" });
        let _ = writeln!(out, "for authseal:");
        if self.changes.is_empty() {
            let _ = writeln!(out, "  nothing changes");
        }
        for change in &self.changes {
            let _ = writeln!(out, "  {:<8} {}: {}", word(change.weight), change.subject.escape_debug(), change.what);
        }
        let _ = writeln!(out, "for readers that resolve schemas as Avro does:");
        for (name, found, wanted) in [
            ("backward", &self.backward, [Kind::Backward, Kind::Full]),
            ("forward", &self.forward, [Kind::Forward, Kind::Full]),
        ] {
            let means = if name == "backward" { "new readers, old data" } else { "old readers, new data" };
            let counts = if avro.is_some_and(|kind| wanted.contains(&kind)) { "" } else { " (not asked for)" };
            let state = if found.is_empty() { "yes".to_owned() } else { format!("no{counts}") };
            let _ = writeln!(out, "  {name} ({means}): {state}");
            for obstacle in found {
                let path = if obstacle.path.is_empty() { "the schema" } else { &obstacle.path };
                let _ = writeln!(out, "    {}: {}", path.escape_debug(), obstacle.what.escape_debug());
            }
        }
        out
    }

    fn to_json(&self, good: bool) -> Value {
        let avro = |found: &[Obstacle]| {
            let found = found.iter().map(|o| json!({ "path": o.path, "what": o.what })).collect::<Value>();
            json!({ "compatible": found.as_array().is_none_or(Vec::is_empty), "obstacles": found })
        };
        let changes = self.changes.iter();
        let changes = changes.map(|c| json!({ "weight": word(c.weight), "subject": c.subject, "what": c.what }));
        json!({
            "compatible": good,
            "authseal": changes.collect::<Value>(),
            "backward": avro(&self.backward),
            "forward": avro(&self.forward),
        })
    }
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Gain => "gain",
        Weight::Warning => "warning",
        Weight::Loss => "loss",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_may_hold_an_at() {
        assert_eq!(versioned("logins"), ("logins", "latest"));
        assert_eq!(versioned("logins@3"), ("logins", "3"));
        assert_eq!(versioned("a@b"), ("a@b", "latest"));
        assert_eq!(versioned("a@b@latest"), ("a@b", "latest"));
    }
}
