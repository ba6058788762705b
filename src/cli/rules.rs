//! `authseal rules`: what the rules engine says about a folder of rules, for people and programs.

mod backtest;
mod explain;
mod fresh;
mod junit;
mod listing;

use super::{
    exit::{self, Failure},
    print, print_json, rules_import,
};
use crate::{
    artifact::File,
    detect::{Problem, RuleSet, testing},
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Instant,
};

/// A rule file, a list or a test is never larger.
const MAX_FILE: u64 = 4 << 20;
/// A folder of rules holds at most so many files.
const MAX_FILES: usize = 4096;
/// Folders nest at most so deep: a link in a circle ends here.
const MAX_DEPTH: usize = 8;

const EXAMPLES: &str = "\
Examples:
  authseal rules new ACME-0007 \"Refresh token used again\"
  authseal rules check rules/
  authseal rules test rules/ --junit rules.xml
  authseal rules explain --rule ACME-0007 events.ndjson
  authseal rules backtest --rule ACME-0007 s3://evidence/prod
  authseal rules list rules/
  authseal rules import sigma/okta_failed_logins.yml --dir rules/

docs/rules.md says how rules are written, docs/rules-workflow.md how they get from an idea to mode \"live\".";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a new rule and its tests, to begin with
    New(fresh::Args),
    /// Compile all rules, lists and exceptions; report every problem at its place
    Check(Folder),
    /// Run the tests beside the rules (*.test.rhai)
    Test(Test),
    /// Say what rules make of events, and why
    Explain(explain::Args),
    /// Say what rules would have found in sealed records
    Backtest(backtest::Args),
    /// List the rules
    List(Folder),
    /// Make rules of Sigma rules and correlations
    Import(Box<rules_import::Args>),
}

#[derive(Debug, clap::Args)]
struct Test {
    #[command(flatten)]
    folder: Folder,
    /// Write the results to this file too, as JUnit XML for CI servers
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder with *.rhai, lists/*.txt and exceptions/*.toml
    #[arg(value_name = "DIR", default_value = "rules")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::New(args) => fresh::new(&args),
        Command::Check(folder) => check(&folder),
        Command::Test(args) => test(&args.folder, args.junit.as_deref()),
        Command::Explain(args) => explain::explain(&args),
        Command::Backtest(args) => backtest::backtest(&args),
        Command::List(folder) => listing::list(&folder),
        Command::Import(args) => rules_import::main(&args),
    }
}

fn check(folder: &Folder) -> Result<u8, Failure> {
    let rules = match RuleSet::load(&read(&folder.dir)?) {
        Ok(rules) => rules,
        Err(problems) => return report(&folder.dir, &problems, folder.json),
    };
    let mut review = rules.review(jiff::Timestamp::now().as_millisecond());
    review.warnings.extend(rules.warnings());
    if !review.problems.is_empty() {
        return report(&folder.dir, &review.problems, folder.json);
    }
    let (count, lists, digest, horizon) = (rules.rules().len(), rules.lists().len(), rules.bundle().0, rules.horizon());
    let exceptions = rules.exceptions().entries().len();
    if folder.json {
        let warnings: Vec<Value> = review.warnings.iter().map(|problem| problem_json(&folder.dir, problem)).collect();
        print_json(&json!({
            "ok": true, "rules": count, "lists": lists, "exceptions": exceptions, "digest": digest,
            "horizon_seconds": horizon.as_secs(), "problems": [], "warnings": warnings,
        }))?;
    } else {
        for warning in &review.warnings {
            eprintln!("warning: {}", shown(&folder.dir, warning));
        }
        let horizon = crate::config::show_duration(horizon);
        let excepted = match exceptions {
            0 => String::new(),
            count => format!("{count} exceptions and silences, "),
        };
        print(&format!("good: {count} rules, {lists} lists, {excepted}replay of {horizon} needed, digest {digest}"))?;
    }
    Ok(exit::GOOD)
}

/// Runs all tests. Rules that fail their tests must not go live: the code is that of a wrong configuration.
fn test(folder: &Folder, junit: Option<&Path>) -> Result<u8, Failure> {
    let (files, began) = (read(&folder.dir)?, Instant::now());
    let reports = testing::run(&files);
    if let Some(path) = junit {
        let seen = |path: &str| folder.dir.join(path).display().to_string();
        let xml = junit::xml(&reports, began.elapsed().as_secs_f64(), seen);
        std::fs::write(path, xml).map_err(|e| Failure::usage(format!("--junit: writing {}: {e}", path.display())))?;
    }
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

/// Fails if a rule that was asked for is not there.
fn known_rules(rules: &RuleSet, wanted: &[String]) -> Result<(), Failure> {
    match wanted.iter().find(|id| !rules.rules().iter().any(|rule| rule.id == **id)) {
        Some(id) => Err(Failure::usage(format!("--rule: there is no rule {id}: `authseal rules list` shows all"))),
        None => Ok(()),
    }
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

/// Whether a file of the folder belongs to the rules.
fn is_ours(path: &str) -> bool {
    let below = |folder: &str, ending: &str| path.starts_with(folder) && path.ends_with(ending);
    path.ends_with(".rhai") || below("lists/", ".txt") || below("exceptions/", ".toml")
}

/// Reads the rules, tests, lists and exceptions of a folder: `*.rhai` at any depth, `lists/*.txt` and
/// `exceptions/*.toml`, by path with slashes. What begins with a dot is passed over: that is where Kubernetes keeps the
/// versions of a mounted folder.
pub fn read(dir: &Path) -> Result<Vec<File>, Failure> {
    let files = files(dir)?;
    if !files.iter().any(|file| is_rule(&file.path)) {
        return Err(Failure::usage(format!("{} holds no rules (*.rhai)", dir.display())));
    }
    Ok(files)
}

/// The same, of a folder that may hold no rules yet.
pub(super) fn files(dir: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    walk(dir, "", 0, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
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
        } else if is_ours(&shown) {
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
