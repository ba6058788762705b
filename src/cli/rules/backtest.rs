//! `authseal rules backtest`: what rules would have found in sealed segments, or in files of events.

use super::{known_rules, read, report};
use crate::{
    backtest::{self, Options, Progress},
    cli::{
        exit::{self, Failure},
        mapping::{MappingArgs, moment},
        print, print_json, verify,
    },
    config::duration as parse_duration,
    detect::{Limits, RuleSet},
    store::{self, StoreSpec},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::File,
    io::{BufReader, IsTerminal},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const EXAMPLES: &str = "\
Examples:
  authseal rules backtest ./authseal-demo/store
  authseal rules backtest --rule AUTH-0001 --from 2026-11-01 --to 2026-12-01 s3://evidence/prod
  authseal rules backtest --rules candidates --json events-1.ndjson events-2.ndjson
  authseal rules backtest --mapping keycloak-event events.ndjson
  authseal rules backtest --mapping sshd --record-time 2025-12-31 /var/log/auth.log

A store is a folder or s3://BUCKET[/PREFIX], as for `authseal verify`; a file holds one JSON object a line, with the
canonical field names (docs/input.md), or with --mapping what another product writes (docs/mappings.md).
Findings are no failure: the exit code is 0. The report goes to stdout and is the same each time; how long it took goes
to stderr.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A store, or files of events (NDJSON)
    #[arg(value_name = "STORE|FILE", required = true)]
    sources: Vec<String>,
    /// Folder with *.rhai, lists/*.txt and exceptions/*.toml
    #[arg(long, value_name = "DIR", default_value = "rules")]
    rules: PathBuf,
    /// Tell of this rule only; may be repeated
    #[arg(long = "rule", value_name = "ID")]
    only: Vec<String>,
    /// Tell findings whose last event is at or after this: 2026-11-01, or 2026-11-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// Judge records before this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<i64>,
    /// Verify each segment before it is read: a verifier key, or a file of them; may be repeated
    #[arg(long = "key", value_name = "VKEY_OR_FILE")]
    keys: Vec<String>,
    #[command(flatten)]
    mapping: MappingArgs,
    /// How late events may be, as in the configuration
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    lateness: Duration,
    /// Megabytes of state over all rules
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    state: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit: 90s, 15m, 2h, 7d".into())
}

pub(super) fn backtest(args: &Args) -> Result<u8, Failure> {
    let rules = match RuleSet::load(&read(&args.rules)?) {
        Ok(rules) => Arc::new(rules),
        Err(problems) => return report(&args.rules, &problems, args.json),
    };
    known_rules(&rules, &args.only)?;
    if args.from.zip(args.to).is_some_and(|(from, to)| from >= to) {
        return Err(Failure::usage("--from must be before --to"));
    }
    let limits = Limits { state_bytes: (args.state as usize) << 20, lateness: args.lateness };
    let progress = Arc::new(Progress::default());
    // --to is where the next range would begin
    let to = args.to.map(|to| to.saturating_sub(1));
    let options = Options { limits, from: args.from, to, progress: progress.clone() };
    let began = Instant::now();
    let drawing = Drawing::begin(progress.clone());
    let mut told = judge(args, &rules, &options)?;
    drop(drawing);
    told.rules.retain(|rule| args.only.is_empty() || args.only.contains(&rule.id));
    if args.json {
        let value = serde_json::to_value(&told)
            .map_err(|e| Failure { code: exit::FAILED, message: format!("writing the report: {e}") })?;
        print_json(&value)?;
    } else {
        print(&told.to_string())?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (records, mib) = (progress.records.load(Relaxed), progress.bytes.load(Relaxed) >> 20);
    eprintln!("{records} records, {mib} MiB in {seconds:.1} s: {:.0} records a second", records as f64 / seconds);
    Ok(exit::GOOD)
}

fn judge(args: &Args, rules: &Arc<RuleSet>, options: &Options) -> Result<backtest::Report, Failure> {
    let is_file = |source: &String| Path::new(source).is_file();
    if args.sources.iter().all(is_file) {
        if !args.keys.is_empty() {
            return Err(Failure::usage("--key verifies the segments of a store: files of events have no signature"));
        }
        let open = |name: &String| match File::open(name) {
            Ok(file) => Ok((name.clone(), BufReader::with_capacity(1 << 18, file))),
            Err(e) => Err(Failure::usage(format!("reading {name}: {e}"))),
        };
        let mut files: Vec<_> = args.sources.iter().map(open).collect::<Result<_, _>>()?;
        let reading = match files.first_mut() {
            Some((_, first)) => args.mapping.reading(first)?,
            None => backtest::Reading::default(),
        };
        let feed = backtest::of_lines(files, &reading, &options.progress)?;
        return Ok(backtest::run(feed, rules, options)?);
    }
    if args.mapping.mapping.is_some() {
        return Err(Failure::usage("--mapping is for files: what a store holds was understood when it was sealed"));
    }
    let [source] = &args.sources[..] else {
        return Err(Failure::usage("give one store, or files of events; several stores are backtested one by one"));
    };
    let spec = StoreSpec::parse(source)?;
    if let StoreSpec::Dir(path) = &spec
        && !path.is_dir()
    {
        return Err(Failure::usage(format!("{} is neither a folder nor a file", path.display())));
    }
    let keys = if args.keys.is_empty() { None } else { Some(verify::verifiers(&args.keys)?) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let from = backtest::warm_from(options.from, rules.horizon(), &options.limits);
    let feed = runtime.block_on(async {
        let store = store::open(&spec).await?;
        backtest::of_store(store, keys, (from, options.to), options.progress.clone()).await
    })?;
    // the lanes use the runtime while this thread judges
    Ok(backtest::run(feed, rules, options)?)
}

/// Shows how far it is, where somebody looks; clears the line when dropped.
struct Drawing {
    bar: Option<ProgressBar>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drawing {
    fn begin(progress: Arc<Progress>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !std::io::stderr().is_terminal() {
            return Self { bar: None, done, thread: None };
        }
        let bar = ProgressBar::new(0);
        let style = "{bar:30} {pos}/{len} segments, {msg}, {elapsed} gone";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (drawn, ended) = (bar.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Relaxed) {
                drawn.set_length(progress.sources.load(Relaxed));
                drawn.set_position(progress.sources_done.load(Relaxed));
                let (records, mib) = (progress.records.load(Relaxed), progress.bytes.load(Relaxed) >> 20);
                drawn.set_message(format!("{records} records, {mib} MiB"));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { bar: Some(bar), done, thread: Some(thread) }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a bar that failed is no failure
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
