//! `authseal verify`: which store and which keys, how far the audit is, and its report.

use super::{
    anchors::AnchorArgs,
    exit::{self, Failure},
    print, watch,
};
use crate::{
    audit::{self, Expected, Freshness, Progress, Since, VerifyOptions},
    config::duration as parse_duration,
    note::Verifiers,
    store::{self, StoreSpec},
    tlog::Trust,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const EXAMPLES: &str = "\
Examples:
  authseal verify ./authseal-demo/store --key ./authseal-demo/seal.vkey
  authseal verify s3://evidence/prod --key seal.vkey --log-key log.vkey --fresh --json
  authseal verify s3://evidence/prod --key seal.vkey --log-key log.vkey --checkpoint kept.checkpoint
  authseal verify s3://evidence/prod --key seal.vkey --log-key log.vkey --policy w.policy --require witnessed
  authseal verify s3://evidence/prod --key seal.vkey --log-key log.vkey --checkpoint kept.checkpoint --since checkpoint
  authseal verify s3://evidence/prod --key seal.vkey --log-key log.vkey --watch --fresh
  authseal verify 's3://evidence?endpoint=http://127.0.0.1:4566&region=us-east-1' --key seal.vkey

A store is a folder or s3://BUCKET[/PREFIX]; behind a question mark: endpoint, region, path_style=true|false,
checksum=when_required. Credentials come from the usual AWS places. docs/verify.md explains every reason code.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder, or s3://BUCKET[/PREFIX]
    #[arg(value_name = "STORE")]
    store: String,
    /// A verifier key, a file of them, or a trust file; may be repeated
    #[arg(long = "key", visible_alias = "trust", value_name = "VKEY_OR_FILE", required = true)]
    keys: Vec<String>,
    /// A verifier key of the transparency log, or a file of them; there must be a log then. May be repeated
    #[arg(long = "log-key", value_name = "VKEY_OR_FILE")]
    log_keys: Vec<String>,
    /// A checkpoint that you kept: the log must go on from it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    anchors: AnchorArgs,
    /// Look only at what was sealed since: a date (2026-11-01), a time (2026-11-01T12:00:00Z), a duration (36h), or
    /// `checkpoint` for what the one of --checkpoint does not cover. The rest is not looked at, and the report says so
    #[arg(long, value_name = "WHEN", conflicts_with = "watch")]
    since: Option<String>,
    /// A topic that must be there: topic:partitions or cluster/topic:partitions, or a file of them. May be repeated
    #[arg(long, value_name = "TOPIC:PARTITIONS_OR_FILE")]
    expect: Vec<String>,
    /// Go on until told to stop: verify all of it at once, then what is new
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    watching: watch::WatchArgs,
    /// Fail unless every segment, batch and artifact is locked for so long from its sealing on: 90d, 7y
    #[arg(long, value_name = "DURATION", value_parser = retention)]
    require_retention: Option<Duration>,
    /// Fail when a chain has not kept its promise to be sealed again by now
    #[arg(long, conflicts_with = "max_age")]
    fresh: bool,
    /// Fail when the newest segment of a chain is older than this: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    /// Segments checked at the same time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 90s, 15m, 2h, 7d".into())
}

/// Durations, and years of as many days as so many calendar years can have at most: 365, and one more for each four
/// that are begun. `7y` is 2,557 days.
fn retention(text: &str) -> Result<Duration, String> {
    let years = text.strip_suffix('y').and_then(|years| years.parse::<u64>().ok()).filter(|years| *years <= 200);
    match years {
        Some(years) => Ok(Duration::from_secs((years * 365 + years.div_ceil(4)) * 86_400)),
        None => parse_duration(text).ok_or_else(|| "write a number and a unit: 24h, 90d, 7y".into()),
    }
}

/// Runs it.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let spec = StoreSpec::parse(&args.store)?;
    if let StoreSpec::Dir(path) = &spec
        && !path.is_dir()
    {
        return Err(Failure::usage(format!("{} is not a folder", path.display())));
    }
    let keys = verifiers(&[&args.keys[..], &args.log_keys].concat())?;
    let options = args.options()?;
    if args.watch {
        return watch::main(&args.watching, &spec, &keys, options, args.json);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let store = store::open(&spec).await?;
        let progress = Arc::new(Progress::default());
        let drawing = tokio::spawn(draw(progress.clone()));
        let options = VerifyOptions { progress: Some(progress), ..options };
        let report = audit::verify(store, &keys, options).await;
        drawing.abort();
        // ended before the report is printed, or the bar would be drawn into it
        let _ = drawing.await;
        report
    })?;
    if args.json {
        print(&report.to_json()?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(report.exit_code())
}

impl Args {
    fn options(&self) -> Result<VerifyOptions, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut options = VerifyOptions::new(i64::try_from(now).unwrap_or(i64::MAX));
        options.jobs = self.jobs.map_or(options.jobs, usize::from);
        options.freshness = match self.max_age {
            Some(age) => Freshness::MaxAge(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
            None if self.fresh => Freshness::Promised,
            None => Freshness::Tell,
        };
        options.anchors = self.anchors.options()?;
        options.require_log = !self.log_keys.is_empty() || self.anchors.is_demanding();
        options.since = since(self.since.as_deref(), options.now, self.checkpoint.is_some())?;
        options.expect = expected(&self.expect)?;
        options.require_retention =
            self.require_retention.map(|period| i64::try_from(period.as_millis()).unwrap_or(i64::MAX));
        if let Some(file) = &self.checkpoint {
            let read = std::fs::read_to_string(file);
            let cannot = |e| Failure::usage(format!("--checkpoint: {} cannot be read: {e}", file.display()));
            options.checkpoint = Some(read.map_err(cannot)?);
        }
        Ok(options)
    }
}

/// From where on. `now` is in milliseconds since 1970; `pinned`: whether a checkpoint was given.
fn since(text: Option<&str>, now: i64, pinned: bool) -> Result<Since, Failure> {
    let Some(text) = text else { return Ok(Since::Beginning) };
    if text == "checkpoint" {
        let missing = || Failure::usage("--since checkpoint: give the checkpoint that you kept with --checkpoint");
        return if pinned { Ok(Since::Checkpoint) } else { Err(missing()) };
    }
    if let Some(age) = parse_duration(text) {
        return Ok(Since::Sealed(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))));
    }
    let midnight = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    let time = match midnight.map(|date| date.to_zoned(jiff::tz::TimeZone::UTC)) {
        Some(Ok(zoned)) => Some(zoned.timestamp()),
        _ => text.parse::<jiff::Timestamp>().ok(),
    };
    time.map(|time| Since::Sealed(time.as_millisecond())).ok_or_else(|| {
        Failure::usage(format!(
            "--since {text:?}: write a date (2026-11-01), a time (2026-11-01T12:00:00Z), a duration (36h) or \
             `checkpoint`"
        ))
    })
}

/// The topics that must be there. A text with a colon that is no file is one of them; everything else is a file.
fn expected(texts: &[String]) -> Result<Vec<Expected>, Failure> {
    let wrong = |place: &str, text: &str| {
        Failure::usage(format!("--expect: {place}{text:?} is not topic:partitions, nor cluster/topic:partitions"))
    };
    let mut all = Vec::new();
    for text in texts {
        if text.contains(':') && !Path::new(text).exists() {
            all.push(Expected::parse(text).ok_or_else(|| wrong("", text))?);
            continue;
        }
        let read = std::fs::read_to_string(text);
        let read = read.map_err(|e| Failure::usage(format!("--expect: {text} cannot be read: {e}")))?;
        for (number, line) in (1..).zip(read.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                all.push(Expected::parse(line).ok_or_else(|| wrong(&format!("{text}:{number}: "), line))?);
            }
        }
    }
    Ok(all)
}

/// The keys that may have signed. A text with two plus signs is a key; everything else is a file.
pub(crate) fn verifiers(keys: &[String]) -> Result<Verifiers, Failure> {
    let mut lines = String::new();
    for key in keys {
        if key.matches('+').count() >= 2 && !Path::new(key).exists() {
            lines.push_str(key);
        } else {
            let text = std::fs::read_to_string(key)
                .map_err(|e| Failure::usage(format!("--key: {key} is no verifier key, and no file: {e}")))?;
            lines.push_str(&text);
        }
        lines.push('\n');
    }
    if lines.contains("PRIVATE+KEY") {
        let message = "--key: that is a secret key: verifiers need what `authseal keys show` prints of it";
        return Err(Failure::usage(message));
    }
    let trust =
        Trust::parse(&lines).map_err(|e| Failure { code: exit::USAGE, message: e.context("--key").to_string() });
    Ok(trust?.keys)
}

/// Shows how far the audit is, where somebody looks.
pub(crate) async fn draw(progress: Arc<Progress>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(0);
    let style = "{bar:30} {pos}/{len} segments, {msg}, {elapsed} gone, {eta} to go";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    // clears the line when the task is dropped
    let bar = Cleared(bar);
    loop {
        bar.0.set_length(progress.segments.load(Relaxed));
        bar.0.set_position(progress.segments_done.load(Relaxed));
        let (records, mib) = (progress.records.load(Relaxed), progress.bytes.load(Relaxed) >> 20);
        bar.0.set_message(format!("{records} records, {mib} MiB"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::parse_from(["verify"].iter().chain(line)).args
    }

    #[test]
    fn freshness_is_enforced_when_asked_for() {
        for (line, freshness) in [
            (&["s", "--key", "k"][..], Freshness::Tell),
            (&["s", "--key", "k", "--fresh"], Freshness::Promised),
            (&["s", "--key", "k", "--max-age", "2h"], Freshness::MaxAge(7_200_000)),
        ] {
            assert_eq!(args(line).options().unwrap().freshness, freshness);
        }
        assert!(Line::try_parse_from(["verify", "s", "--key", "k", "--fresh", "--max-age", "2h"]).is_err());
        assert!(Line::try_parse_from(["verify", "s", "--key", "k", "--max-age", "2"]).is_err());
    }

    #[test]
    fn the_cut_is_a_date_a_time_a_duration_or_the_checkpoint() {
        let at = |text| since(Some(text), 1_000_000_000_000, true).map_err(|e| e.message);
        assert_eq!(since(None, 0, false).unwrap(), Since::Beginning);
        assert_eq!(at("2026-01-01"), Ok(Since::Sealed(1_767_225_600_000)));
        assert_eq!(at("2026-01-01T01:00:00+01:00"), Ok(Since::Sealed(1_767_225_600_000)));
        assert_eq!(at("1s"), Ok(Since::Sealed(999_999_999_000)));
        assert_eq!(at("checkpoint"), Ok(Since::Checkpoint));
        assert!(since(Some("checkpoint"), 0, false).unwrap_err().message.contains("--checkpoint"));
        for bad in ["", "yesterday", "2026-13-01", "20260101", "5"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expected_topics_come_from_words_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("topics");
        std::fs::write(&file, "# ours\nauth:12 # logons\n\neu/auth:3\n").unwrap();
        let file = file.display().to_string();
        let names = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let show = |e: &Expected| format!("{}/{}:{}", e.cluster, e.topic, e.partitions);
            expected(&texts).map(|all| all.iter().map(show).collect::<Vec<_>>()).map_err(|e| e.message)
        };
        assert_eq!(names(&["x:1", &file]).unwrap(), ["main/x:1", "main/auth:12", "eu/auth:3"]);
        assert!(names(&["auth:many"]).unwrap_err().contains("auth:many"));
        assert!(names(&["no-such-file"]).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "auth:12\nauth\n").unwrap();
        assert!(names(&[&file]).unwrap_err().contains("topics:2: \"auth\""));
    }

    #[test]
    fn a_year_of_retention_is_never_too_short() {
        for (text, days) in [("7y", 2557), ("1y", 366), ("4y", 1461), ("10y", 3653), ("90d", 90), ("48h", 2)] {
            assert_eq!(retention(text), Ok(Duration::from_secs(days * 86_400)), "{text}");
        }
        assert!(retention("7").is_err() && retention("7Y").is_err() && retention("201y").is_err());
    }

    #[test]
    fn a_secret_key_is_refused_where_a_verifier_key_belongs() {
        let secret = verifiers(&args(&["store", "--key", "PRIVATE+KEY+a/seal+00000000+AA"]).keys);
        assert!(secret.err().unwrap().message.contains("secret key"));
        let absent = verifiers(&args(&["store", "--key", "no-such-file"]).keys);
        assert!(absent.err().unwrap().message.contains("no-such-file"));
    }
}
