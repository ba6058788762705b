//! Rules alone: no Kafka, nothing kept. The same lines of JSON are judged by rsigma, and by `authseal rules backtest`
//! with the same Sigma rules imported and with its own.

use crate::{
    Run,
    instance::{PROBE, command, quiet, shipped, write},
    topic,
    watch::{self, Figure, Until},
};
use serde::Serialize;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
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
    let (said, one) = (dir.join("judged.json"), dir.join("one-rule"));
    fs::create_dir_all(&one).map_err(|e| e.to_string())?;
    // asked of every event, matched by none
    write(&one.join("probe.rhai"), PROBE)?;
    let ours = |rules: &Path| {
        let mut ours = command(None);
        // as much state as the pipeline has
        ours.args(["rules", "backtest", "--json", "--state", "1024", "--rules"]).arg(rules).arg(&events);
        ours
    };
    let own = shipped();
    let new = |name, does| Judged { name, does, figures: Vec::new(), findings: 0 };
    let mut all = [
        new("authseal, a rule that matches nothing", "parses and validates"),
        new("authseal, the 25 Sigma rules", "the same, and the rules as `authseal rules import` makes them"),
        new("authseal, its own rules", "the same, with the shipped rules: markers, histories, scripts past a gate"),
        new("rsigma 0.23, the 25 Sigma rules", "parses, judges; fields of an event are not validated"),
    ];
    for _ in 0..run.rounds {
        for (at, judged) in all.iter_mut().enumerate() {
            let mut command = match at {
                0 => ours(&one),
                1 => ours(&imported),
                2 => ours(&own),
                _ => peer(),
            };
            if at < 3 {
                command.stdout(fs::File::create(&said).map_err(|e| e.to_string())?);
            }
            command.stderr(Stdio::null());
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

/// The findings of all rules in a report of `rules backtest`.
fn number(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let report: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let rules = report.pointer("/rules").and_then(serde_json::Value::as_array).ok_or("a report without rules")?;
    Ok(rules.iter().filter_map(|rule| rule.pointer("/findings")?.as_u64()).sum())
}
