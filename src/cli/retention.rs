//! `authseal retention` and `authseal hold`: what goes when its time is over, what stays longer, what must not go.

use super::{
    desk,
    exit::{self, Failure},
    print, print_json,
};
use crate::{
    config::{self, Config, duration as parse_duration},
    log::{
        Desk,
        holds::{self, Ask, Held},
        retention::{self, Applied, Run},
    },
    manifest::Offsets,
    position::ChainId,
    retention::LockMode,
    tlog::{keep::Switch, ledger::Segment},
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

const EXAMPLES: &str = "\
Examples:
  authseal retention apply --dry-run                       # what is past its date
  authseal retention apply --reason 'yearly, ticket OPS-12'
  authseal retention extend --topic payments --until 2033-12-31
  authseal hold on main/payments/3/0@120..4096 --name CASE-7 --reason 'court order 12 O 345/26'
  authseal hold off main/payments/3/0@120..4096 --name CASE-7 --reason 'case closed'
  authseal hold list

A range is CLUSTER/TOPIC/PARTITION/INCARNATION@FROM..TO, without TO itself; without @ it is all that is logged of the
chain. Deletions need a role of their own: docs/operations.md.";

/// What `authseal retention` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What `authseal hold` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HoldArgs {
    #[command(subcommand)]
    command: HoldCommand,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Delete segments whose time is over, after the log says so. The newest segment of a chain always stays
    Apply(Apply),
    /// Lock segments longer. Never shortens
    Extend(Extend),
}

#[derive(Debug, clap::Args)]
struct Apply {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    config: PathBuf,
    /// Say what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for whoever reads the log later
    #[arg(long, value_name = "TEXT", default_value = "past its date")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Extend {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    config: PathBuf,
    /// Everything of this topic
    #[arg(long, value_name = "TOPIC", required_unless_present = "range", conflicts_with = "range")]
    topic: Option<String>,
    /// Segments with any of these offsets
    #[arg(long, value_name = "RANGE")]
    range: Option<String>,
    /// Locked until this day ends (2033-12-31), or this moment (RFC 3339)
    #[arg(long, value_name = "DATE", required_unless_present = "period")]
    until: Option<String>,
    /// Locked for so long from now: 400d
    #[arg(long, value_name = "DURATION", conflicts_with = "until")]
    period: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum HoldCommand {
    /// Hold a range: nothing of it goes until the same name lets it go
    On(Switching),
    /// Let a range go
    Off(Switching),
    /// Show what is held
    List {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Switching {
    /// Which offsets
    #[arg(value_name = "RANGE")]
    range: String,
    /// Which hold: a case. Holds of different names do not end each other
    #[arg(long, value_name = "NAME", default_value = "hold")]
    name: String,
    /// Why, for whoever reads the log later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `authseal retention`.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Apply(args) => apply(&args),
        Command::Extend(args) => extend(&args),
    }
}

/// Runs `authseal hold`.
pub fn hold(args: HoldArgs) -> Result<u8, Failure> {
    match args.command {
        HoldCommand::On(args) => switch(Switch::On, &args),
        HoldCommand::Off(args) => switch(Switch::Off, &args),
        HoldCommand::List { config, json } => list(&config, json),
    }
}

fn load(file: &Path) -> Result<Config, Failure> {
    Ok(Config::load(file, &config::environment())?)
}

fn apply(args: &Apply) -> Result<u8, Failure> {
    let config = load(&args.config)?;
    let expires = |chain: &ChainId, segment: &Segment| {
        let period = config.store.classes.of(&chain.topic).expires?;
        Some(segment.sealed.saturating_add(i64::try_from(period.as_millis()).unwrap_or(i64::MAX)))
    };
    desk::run(&config, async |desk: &mut Desk| {
        let applied = match args.dry_run {
            true => Applied { runs: retention::due(desk, &expires).await?, ..Applied::default() },
            false => retention::apply(desk, &expires, &args.reason).await?,
        };
        if args.json {
            print_json(&applied_json(&applied, args.dry_run))?;
        } else {
            print(&applied_text(&applied, args.dry_run))?;
        }
        Ok(if applied.kept.is_empty() { exit::GOOD } else { exit::FAILED })
    })
}

fn applied_text(applied: &Applied, dry: bool) -> String {
    let mut text = String::new();
    let mut going = 0;
    for run in &applied.runs {
        let Run { chain, sequences, offsets, until, stays } = run;
        let count = sequences.to - sequences.from;
        let what = match stays {
            Some(why) => format!("stays: {why}"),
            None => {
                going += count;
                if dry { "would go".into() } else { "disposed of".into() }
            }
        };
        let (first, last) = (sequences.from, sequences.to - 1);
        // a string takes everything
        let _ = writeln!(
            text,
            "{chain}: segments {first} to {last}, offsets {}..{}, due since {}: {what}",
            offsets.from,
            offsets.to,
            day(*until)
        );
    }
    for (key, why) in &applied.kept {
        let _ = writeln!(text, "{key}: could not be deleted: {why}");
    }
    match (dry, going) {
        (true, 0) => text + "nothing would go\n",
        (true, n) => text + format!("{n} segments would go; nothing was done\n").as_str(),
        (false, n) => text + format!("{n} segments disposed of, {} deleted\n", applied.deleted).as_str(),
    }
}

fn applied_json(applied: &Applied, dry: bool) -> Value {
    let run = |run: &Run| {
        json!({
            "chain": run.chain.to_string(), "sequences": run.sequences, "offsets": run.offsets, "until": run.until,
            "stays": run.stays,
        })
    };
    json!({
        "dry_run": dry, "runs": applied.runs.iter().map(run).collect::<Vec<_>>(), "deleted": applied.deleted,
        "kept": failures(&applied.kept),
    })
}

fn failures(list: &[(String, String)]) -> Vec<Value> {
    list.iter().map(|(key, why)| json!({ "key": key, "why": why })).collect()
}

fn extend(args: &Extend) -> Result<u8, Failure> {
    let config = load(&args.config)?;
    let until = until(args)?;
    let range = args.range.as_deref().map(range).transpose()?;
    let all = Offsets { from: 0, to: i64::MAX };
    let chosen = |chain: &ChainId| match &range {
        Some((wanted, offsets)) => (wanted == chain).then_some(offsets.unwrap_or(all)),
        None => (args.topic.as_deref() == Some(&*chain.topic)).then_some(all),
    };
    let mode = match config.store.retention.mode {
        LockMode::None => return Err(Failure::usage("this store has no locks that could be made longer")),
        mode => mode,
    };
    desk::run(&config, async |desk: &mut Desk| {
        let extended = retention::extend(desk, &chosen, until, mode).await?;
        if args.json {
            print_json(&json!({
                "until": until, "longer": extended.longer, "enough": extended.enough,
                "failed": failures(&extended.failed),
            }))?;
        } else {
            let failed = extended.failed.iter().map(|(key, why)| format!("{key}: {why}\n"));
            print(&format!(
                "{}{} versions are locked until {} now, {} were locked as long already\n",
                failed.collect::<String>(),
                extended.longer,
                day(until),
                extended.enough
            ))?;
        }
        Ok(if extended.failed.is_empty() { exit::GOOD } else { exit::FAILED })
    })
}

/// The end of the lock, a whole second in milliseconds since 1970.
fn until(args: &Extend) -> Result<i64, Failure> {
    let now = jiff::Timestamp::now().as_millisecond();
    let until = match (&args.until, &args.period) {
        (Some(text), _) => moment(text).ok_or_else(|| {
            Failure::usage(format!("--until: {text:?} is no day such as 2033-12-31, and no moment in RFC 3339"))
        })?,
        (None, Some(text)) => {
            let period: Option<Duration> = parse_duration(text);
            let period = period.ok_or_else(|| Failure::usage("--period: write a number and a unit: 400d"))?;
            now.saturating_add(i64::try_from(period.as_millis()).unwrap_or(i64::MAX))
        }
        (None, None) => return Err(Failure::usage("--until or --period is needed")),
    };
    match until > now {
        true => Ok(until.div_euclid(1000).saturating_add(i64::from(until % 1000 != 0)) * 1000),
        false => Err(Failure::usage("the lock would have ended already: choose a later date")),
    }
}

fn moment(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_millisecond());
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    let end = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(end.timestamp().as_millisecond())
}

/// A chain, and the offsets of it that are meant; `None`: all.
fn range(text: &str) -> Result<(ChainId, Option<Offsets>), Failure> {
    let wrong = || Failure::usage(format!("{text:?} is no range: cluster/topic/partition/incarnation@from..to"));
    let Some((chain, offsets)) = text.rsplit_once('@') else {
        return Ok((text.parse().map_err(|_| wrong())?, None));
    };
    let (from, to) = offsets.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| *n >= 0 && n.to_string() == text);
    let (from, to) = (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?);
    match from < to {
        true => Ok((chain.parse().map_err(|_| wrong())?, Some(Offsets { from, to }))),
        false => Err(Failure::usage(format!("{text:?} holds no offset: the end is not part of it"))),
    }
}

fn switch(action: Switch, args: &Switching) -> Result<u8, Failure> {
    let config = load(&args.config)?;
    let (chain, offsets) = range(&args.range)?;
    desk::run(&config, async |desk: &mut Desk| {
        let end = desk.ledger().account(&chain).map(crate::tlog::ledger::Account::end);
        let Some(end) = end else { return Err(Failure::usage(format!("nothing of {chain} is in the log"))) };
        let offsets = offsets.unwrap_or(Offsets { from: 0, to: end });
        let (name, reason) = (args.name.clone(), args.reason.clone());
        let held = holds::switch(desk, &Ask { action, name, chain: chain.clone(), offsets, reason }).await?;
        if args.json {
            print_json(&json!({
                "entered": held.entered, "segments": held.segments, "changed": held.changed, "others": held.others,
                "without_legal_hold": held.without, "failed": failures(&held.failed),
            }))?;
        } else {
            print(&held_text(action, &held))?;
        }
        Ok(if held.failed.is_empty() { exit::GOOD } else { exit::FAILED })
    })
}

fn held_text(action: Switch, held: &Held) -> String {
    let mut text: String = held.failed.iter().map(|(key, why)| format!("{key}: {why}\n")).collect();
    let (done, changed) = match action {
        Switch::On => ("held", "put on"),
        Switch::Off => ("let go", "lifted from"),
    };
    let entered = if held.entered { "entered in the log" } else { "the log said so already" };
    text += format!("{} segments {done}: {entered}; legal hold {changed} {} versions\n", held.segments, held.changed)
        .as_str();
    if held.others > 0 {
        text += format!("{} of them stay held, for another hold is on them\n", held.others).as_str();
    }
    if held.without {
        text += "this store has no legal holds, or does not tell: the entry keeps authseal from disposing of them, and \
                 nobody else\n";
    }
    text
}

fn list(config: &Path, json: bool) -> Result<u8, Failure> {
    let config = load(config)?;
    desk::run(&config, async |desk: &mut Desk| {
        let mut text = String::new();
        let mut listed = Vec::new();
        for (chain, account) in desk.ledger().accounts() {
            for (name, offsets) in account.holds().iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)))
            {
                let _ = writeln!(text, "{chain}@{}..{}  {name}", offsets.from, offsets.to); // a string takes everything
                listed.push(json!({ "chain": chain.to_string(), "offsets": offsets, "name": name }));
            }
        }
        match (json, listed.is_empty()) {
            (true, _) => print_json(&Value::Array(listed))?,
            (false, true) => print("nothing is held\n")?,
            (false, false) => print(&text)?,
        }
        Ok(exit::GOOD)
    })
}

fn day(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |t| format!("{t:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_dates_are_read_as_people_write_them() {
        let (chain, offsets) = range("main/auth/3/0@120..4096").unwrap();
        assert_eq!((chain.to_string().as_str(), offsets), ("main/auth/3/0", Some(Offsets { from: 120, to: 4096 })));
        assert_eq!(range("main/auth/3/0").unwrap().1, None);
        for bad in ["main/auth/3@1..2", "main/auth/3/0@2..2", "main/auth/3/0@1-2", "main/auth/3/0@-1..2", "x@01..2"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("1970-01-01"), Some(86_400_000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(moment("tomorrow"), None);
    }
}
