//! Rules alone: no Kafka, nothing kept. The same lines of JSON are judged by rsigma, and by authseal with the same
//! Sigma rules imported and with its own.

use crate::{
    Run,
    instance::{command, quiet, shipped},
    topic,
    watch::{self, Figure, Until},
};
use authseal::{
    artifact::File,
    decode::{Decoder, Format, TopicSpec},
    detect::{Detector, Input, Limits, RuleSet},
    position::ChainId,
    record::{Outcome, RawRecord, TimestampType},
};
use clap::Args;
use serde::Serialize;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// Lines at most: a window of rsigma's is counted anew at every event, so that more of them cost more each.
const EVENTS: u64 = 500_000;
const RULES: &str = "benches/e2e/peers/sigma/authentication.yml";
const MAPPING: &str = "benches/e2e/peers/sigma/canonical.toml";

/// The whole contest.
#[derive(Serialize)]
pub struct Contest {
    pub events: u64,
    pub judged: Vec<Judged>,
}

/// A contestant and its runs.
#[derive(Serialize)]
pub struct Judged {
    pub name: &'static str,
    pub does: &'static str,
    pub figures: Vec<Figure>,
    /// What it found in the last run.
    pub findings: u64,
}

/// Judges a file of events: what `Judge` runs in a process of its own.
#[derive(Args)]
pub struct Judge {
    /// Lines of JSON.
    events: PathBuf,
    /// A folder of rules; without one the events are decoded, no more.
    #[arg(long)]
    rules: Option<PathBuf>,
}

/// Everybody, in as many interleaved rounds as there are.
pub fn measure(run: &Run) -> Result<Contest, String> {
    let count = run.events.min(EVENTS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = fs::canonicalize(&run.dir).map_err(|e| e.to_string())?;
    let events = dir.join(format!("events.{count}.jsonl"));
    topic::write_lines(&events, count).map_err(|e| e.to_string())?;
    let imported = dir.join("imported-rules");
    drop(fs::remove_dir_all(&imported));
    let mut import = command(None);
    import.args(["rules", "import", "--tenant-field", "none", "--mapping"]).arg(root.join(MAPPING));
    quiet(import.arg("--dir").arg(&imported).arg(root.join(RULES)))?;
    let home = dir.join("peers/rsigma");
    fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let found = home.join("matches.jsonl");
    let peer = || {
        let mut peer = Command::new(root.join("benches/e2e/peers/rsigma.sh"));
        peer.arg(&home).arg(root.join(RULES)).args([&events, &found]).stdin(Stdio::null());
        peer
    };
    println!("rules alone, {count} lines of JSON");
    let installed = peer().env("INSTALL", "1").status().map_err(|e| e.to_string())?;
    if !installed.success() {
        return Err(format!("rsigma could not be installed: {installed}"));
    }
    let ours = |rules: Option<&Path>| {
        let mut ours = Command::new(std::env::current_exe().unwrap_or_default());
        ours.arg("judge").arg(&events);
        if let Some(rules) = rules {
            ours.arg("--rules").arg(rules);
        }
        ours
    };
    let (own, said) = (shipped(), dir.join("judged.txt"));
    let new = |name, does| Judged { name, does, figures: Vec::new(), findings: 0 };
    let mut all = [
        new("authseal, no rules", "parses and validates, no more"),
        new("authseal, the 25 Sigma rules", "the same, and the rules as `authseal rules import` makes them"),
        new("authseal, its own rules", "the same, with the shipped rules: markers, histories, scripts past a gate"),
        new("rsigma 0.23, the 25 Sigma rules", "parses, judges; fields of an event are not validated"),
    ];
    for _ in 0..run.rounds {
        for (at, judged) in all.iter_mut().enumerate() {
            let mut command = match at {
                0 => ours(None),
                1 => ours(Some(&imported)),
                2 => ours(Some(&own)),
                _ => peer(),
            };
            if at < 3 {
                command.stdout(fs::File::create(&said).map_err(|e| e.to_string())?);
            } else {
                command.stderr(Stdio::null());
            }
            let figure = watch::run(command, count, &Until::Exit).map_err(|why| format!("{}: {why}", judged.name))?;
            judged.findings = match at {
                0..3 => number(&said)?,
                _ => fs::read_to_string(&found).map_err(|e| e.to_string())?.lines().count() as u64,
            };
            println!("{:36} {}, {} findings", judged.name, figure.line(), judged.findings);
            judged.figures.push(figure);
        }
    }
    Ok(Contest { events: count, judged: all.into() })
}

fn number(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    text.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or(format!("it printed {text:?}"))
}

/// Rules, their lists, no tests.
fn files(dir: &Path, below: &str, out: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a folder of rules").map(|entry| entry.expect("a file")) {
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files(&entry.path(), &format!("{path}/"), out);
        } else if !path.ends_with(".test.rhai") {
            out.push(File { path, bytes: fs::read(entry.path()).expect("a file") });
        }
    }
}

/// Decodes and judges line after line; prints how many findings there were.
pub fn judge(judge: &Judge) {
    let json = TopicSpec {
        format: Format::Json,
        source: None,
        tenant: None,
        keep_event_only: false,
        secret_fields: Vec::new(),
    };
    let decoder = Decoder::new(json, &[7; 32]).expect("a decoder");
    let mut rules = Vec::new();
    if let Some(dir) = &judge.rules {
        files(dir, "", &mut rules);
    }
    let rules = RuleSet::load(&rules).expect("rules that load");
    let limits = Limits { state_bytes: 1 << 30, lateness: Duration::from_secs(300) };
    let mut detector = Detector::new(Arc::new(rules), limits);
    let chain: Arc<ChainId> = Arc::new("main/bench/0/0".parse().expect("a chain"));
    let mut lines = BufReader::with_capacity(1 << 20, fs::File::open(&judge.events).expect("events"));
    let (mut line, mut offset, mut found, mut findings) = (Vec::new(), 0, 0, Vec::new());
    while lines.read_until(b'\n', &mut line).expect("a line") > 0 {
        let value = Some(bytes::Bytes::copy_from_slice(line.trim_ascii_end()));
        line.clear();
        // a line has no time of its own
        let raw = RawRecord { offset, value, timestamp_type: TimestampType::None, ..RawRecord::default() };
        let decoded = decoder.decode(&chain, &raw);
        let timestamp = match &decoded.outcome {
            Outcome::Event(event) => event.time.millis(),
            other => panic!("line {offset} is no event: {other:?}"),
        };
        if judge.rules.is_some() {
            let input = Input { chain: &chain, offset, timestamp, now: timestamp + 20, outcome: &decoded.outcome };
            detector.judge(&input, &mut findings);
            found += findings.drain(..).count();
        }
        offset += 1;
    }
    println!("{found} findings in {offset} events");
}
