//! `authseal verify`: which store and which keys, how far the audit is, and its report.

use super::{
    exit::{self, Failure},
    print,
};
use crate::{
    audit::{self, AnchorOptions, Freshness, Progress, VerifyOptions},
    config::duration as parse_duration,
    note::Verifiers,
    store::{self, StoreSpec},
    tlog::{Policy, Trust, stamp::Authorities},
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
    /// A policy (c2sp.org/tlog-policy): which witnesses you believe, and which of them are enough
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// PEM certificates of time-stamp authorities that you believe, or of who issued these; may be repeated
    #[arg(long = "tsa-cert", value_name = "FILE")]
    tsa_certs: Vec<PathBuf>,
    /// Fail when the log has not this grade; may be repeated
    #[arg(long, value_name = "GRADE", value_enum)]
    require: Vec<Grade>,
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

/// What can be demanded of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Grade {
    /// A quorum of the witnesses of --policy has cosigned it
    Witnessed,
    /// An authority of --tsa-cert has stamped it
    Stamped,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 90s, 15m, 2h, 7d".into())
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
        options.anchors = self.anchors()?;
        options.require_log = !self.log_keys.is_empty() || !self.require.is_empty();
        if let Some(file) = &self.checkpoint {
            let read = std::fs::read_to_string(file);
            let cannot = |e| Failure::usage(format!("--checkpoint: {} cannot be read: {e}", file.display()));
            options.checkpoint = Some(read.map_err(cannot)?);
        }
        Ok(options)
    }

    /// Who is believed beside the log. What is demanded needs somebody who could give it.
    fn anchors(&self) -> Result<AnchorOptions, Failure> {
        let cannot =
            |name: &str, file: &Path, e| Failure::usage(format!("{name}: {} cannot be read: {e}", file.display()));
        let policy = match &self.policy {
            None => None,
            Some(file) => {
                let bytes = std::fs::read(file).map_err(|e| cannot("--policy", file, e))?;
                let policy = Policy::read(file.display(), &bytes);
                Some(Arc::new(policy.map_err(|e| Failure::usage(e.context("--policy")))?))
            }
        };
        let mut authorities: Option<Authorities> = None;
        for file in &self.tsa_certs {
            let pem = std::fs::read(file).map_err(|e| cannot("--tsa-cert", file, e))?;
            let more = Authorities::parse(&pem).map_err(|e| e.context(format_args!("--tsa-cert: {}", file.display())));
            let more = more.map_err(Failure::usage)?;
            authorities = Some(match authorities {
                Some(known) => known.and(more),
                None => more,
            });
        }
        let (witnessed, stamped) = (self.require.contains(&Grade::Witnessed), self.require.contains(&Grade::Stamped));
        if witnessed && !policy.as_ref().is_some_and(|policy| policy.asks_for_witnesses()) {
            return Err(Failure::usage("--require witnessed needs --policy with a quorum: who are the witnesses?"));
        }
        if stamped && authorities.is_none() {
            return Err(Failure::usage("--require stamped needs --tsa-cert: whose stamps are believed?"));
        }
        Ok(AnchorOptions {
            policy,
            authorities: authorities.map(Arc::new),
            require_witnessed: witnessed,
            require_stamped: stamped,
        })
    }
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
    fn a_secret_key_is_refused_where_a_verifier_key_belongs() {
        let secret = verifiers(&args(&["store", "--key", "PRIVATE+KEY+a/seal+00000000+AA"]).keys);
        assert!(secret.err().unwrap().message.contains("secret key"));
        let absent = verifiers(&args(&["store", "--key", "no-such-file"]).keys);
        assert!(absent.err().unwrap().message.contains("no-such-file"));
    }
}
