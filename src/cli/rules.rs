//! `authseal rules`: what the rules engine says about a folder of rules, for people and programs.

use super::{
    exit::{self, Failure},
    print, print_json,
};
use crate::{
    artifact::File,
    detect::{Problem, RuleInfo, RuleSet, Technique, testing},
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// A rule file, a list or a test is never larger.
const MAX_FILE: u64 = 4 << 20;
/// A folder of rules holds at most so many files.
const MAX_FILES: usize = 4096;
/// Folders nest at most so deep: a link in a circle ends here.
const MAX_DEPTH: usize = 8;

const EXAMPLES: &str = "\
Examples:
  authseal rules check rules/
  authseal rules test rules/ --json
  authseal rules list rules/";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile all rules and lists; report every problem at its place
    Check(Folder),
    /// Run the tests beside the rules (*.test.rhai)
    Test(Folder),
    /// List the rules
    List(Folder),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder with *.rhai and lists/*.txt
    #[arg(value_name = "DIR", default_value = "rules")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Check(folder) => check(&folder),
        Command::Test(folder) => test(&folder),
        Command::List(folder) => list(&folder),
    }
}

fn check(folder: &Folder) -> Result<u8, Failure> {
    let rules = match RuleSet::load(&read(&folder.dir)?) {
        Ok(rules) => rules,
        Err(problems) => return report(&folder.dir, &problems, folder.json),
    };
    let (count, lists, digest, horizon) = (rules.rules().len(), rules.lists().len(), rules.bundle().0, rules.horizon());
    if folder.json {
        print_json(&json!({
            "ok": true, "rules": count, "lists": lists, "digest": digest, "horizon_seconds": horizon.as_secs(),
            "problems": [],
        }))?;
    } else {
        let horizon = crate::config::show_duration(horizon);
        print(&format!("good: {count} rules, {lists} lists, replay of {horizon} needed, digest {digest}"))?;
    }
    Ok(exit::GOOD)
}

/// Runs all tests. Rules that fail their tests must not go live: the code is that of a wrong configuration.
fn test(folder: &Folder) -> Result<u8, Failure> {
    let reports = testing::run(&read(&folder.dir)?);
    let failed = reports.iter().filter(|report| !report.passed()).count();
    if folder.json {
        let tests: Vec<Value> = reports
            .iter()
            .map(|report| {
                let failures: Vec<Value> = report.failures.iter().map(|p| problem_json(&folder.dir, p)).collect();
                json!({
                    "path": folder.dir.join(&report.path), "line": report.line, "name": report.name,
                    "firing": report.firing, "quiet": report.quiet, "passed": report.passed(), "failures": failures,
                })
            })
            .collect();
        let passed = reports.len() - failed;
        print_json(&json!({ "ok": failed == 0, "passed": passed, "failed": failed, "tests": tests }))?;
    } else {
        let mut text = String::new();
        // writing to a string cannot fail
        for report in &reports {
            let verdict = if report.passed() { "ok    " } else { "FAILED" };
            let _ = writeln!(text, "{verdict} {}: {}", report.path, report.name);
            for problem in &report.failures {
                let _ = writeln!(text, "         {}", shown(&folder.dir, problem));
            }
        }
        let _ = writeln!(text, "{} passed, {failed} failed", reports.len() - failed);
        print(&text)?;
    }
    Ok(if failed == 0 { exit::GOOD } else { exit::USAGE })
}

fn list(folder: &Folder) -> Result<u8, Failure> {
    let rules = match RuleSet::load(&read(&folder.dir)?) {
        Ok(rules) => rules,
        Err(problems) => return report(&folder.dir, &problems, folder.json),
    };
    if folder.json {
        let all: Vec<Value> = rules.rules().iter().map(rule_json).collect();
        print_json(&json!({ "digest": rules.bundle().0, "rules": all }))?;
        return Ok(exit::GOOD);
    }
    let row = |rule: &RuleInfo| {
        [
            rule.id.clone(),
            rule.mode.name().to_owned(),
            rule.severity.name().to_lowercase(),
            rule.status.name().to_owned(),
            attack(rule).join(" "),
            rule.name.clone(),
        ]
    };
    let mut rows = vec![["ID", "MODE", "SEVERITY", "STATUS", "ATTACK", "NAME"].map(str::to_owned)];
    rows.extend(rules.rules().iter().map(row));
    let widths: Vec<usize> = (0..6).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    print(&rows.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    Ok(exit::GOOD)
}

fn rule_json(rule: &RuleInfo) -> Value {
    json!({
        "id": rule.id, "name": rule.name, "version": rule.version, "mode": rule.mode.name(),
        "status": rule.status.name(), "severity": rule.severity.name(), "attack": attack(rule),
        "owner": rule.owner, "runbook": rule.runbook, "falsepos": rule.falsepos,
        "description": rule.description, "path": rule.path, "digest": rule.digest,
    })
}

/// `TA0006/T1110.004`, as rules write it.
fn attack(rule: &RuleInfo) -> Vec<String> {
    let id = |t: &Technique| t.sub_technique.as_ref().map_or(t.technique.clone(), |(id, _)| id.clone());
    rule.attack.iter().map(|t| format!("{}/{}", t.tactic, id(t))).collect()
}

fn report(dir: &Path, problems: &[Problem], json: bool) -> Result<u8, Failure> {
    if json {
        let problems: Vec<Value> = problems.iter().map(|problem| problem_json(dir, problem)).collect();
        print_json(&json!({ "ok": false, "problems": problems }))?;
        return Ok(exit::USAGE);
    }
    Err(Failure::usage(problems.iter().map(|problem| shown(dir, problem)).collect::<Vec<_>>().join("\n")))
}

/// Shows a problem as compilers do: `path:line:column: message`, the path as seen from here.
pub(super) fn shown(dir: &Path, problem: &Problem) -> String {
    let path = dir.join(&problem.path).display().to_string();
    Problem { path, ..problem.clone() }.to_string()
}

fn problem_json(dir: &Path, problem: &Problem) -> Value {
    json!({
        "path": dir.join(&problem.path), "line": problem.at.map(|at| at.0), "column": problem.at.map(|at| at.1),
        "message": problem.message,
    })
}

/// Whether a path is a rule, not the test of one.
fn is_rule(path: &str) -> bool {
    path.ends_with(".rhai") && !path.ends_with(".test.rhai")
}

/// Reads the rules, tests and lists of a folder: `*.rhai` at any depth and `lists/*.txt`, by path with slashes. What
/// begins with a dot is passed over: that is where Kubernetes keeps the versions of a mounted folder.
pub fn read(dir: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    walk(dir, "", 0, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if !files.iter().any(|file| is_rule(&file.path)) {
        return Err(Failure::usage(format!("{} holds no rules (*.rhai)", dir.display())));
    }
    Ok(files)
}

fn walk(dir: &Path, below: &str, depth: usize, files: &mut Vec<File>) -> Result<(), Failure> {
    let cannot = |path: &Path, e: &dyn std::fmt::Display| Failure::usage(format!("reading {}: {e}", path.display()));
    if depth > MAX_DEPTH {
        return Err(cannot(dir, &"folders nest too deep"));
    }
    for entry in std::fs::read_dir(dir).map_err(|e| cannot(dir, &e))? {
        let path = entry.map_err(|e| cannot(dir, &e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(cannot(&path, &"the name is not UTF-8"));
        };
        if name.starts_with('.') {
            continue;
        }
        let shown = format!("{below}{name}");
        // follows links, as a mounted folder consists of them
        let meta = std::fs::metadata(&path).map_err(|e| cannot(&path, &e))?;
        if meta.is_dir() {
            walk(&path, &format!("{shown}/"), depth + 1, files)?;
        } else if name.ends_with(".rhai") || (shown.starts_with("lists/") && name.ends_with(".txt")) {
            if meta.len() > MAX_FILE {
                return Err(cannot(&path, &"it is larger than 4 MiB"));
            }
            if files.len() == MAX_FILES {
                return Err(cannot(dir, &"it holds more than 4096 files"));
            }
            files.push(File { path: shown, bytes: std::fs::read(&path).map_err(|e| cannot(&path, &e))? });
        }
    }
    Ok(())
}
