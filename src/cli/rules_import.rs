//! `authseal rules import`: Sigma rules and correlations made into rules, with a report of what could not be.

use super::{
    exit::{self, Failure},
    print, print_json, rules,
};
use crate::{
    artifact::File,
    detect::{Problem, RuleSet},
    sigma::{self, Entry, Mapping, Options, Verdict},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// A Sigma file or a mapping is never larger: what is larger is not even read.
const MAX_FILE: u64 = 4 << 20;

const EXAMPLES: &str = "\
Examples:
  authseal rules import okta_failed_logins.yml
  authseal rules import sigma/*.yml --dir rules/sigma --dry-run
  authseal rules import base.yml correlation.yml --source okta-eu --json
  authseal rules import --show-mapping

Every rule is made in mode \"shadow\", with a test beside it. What is judged otherwise than the Sigma rule says is told
as `differs`, what cannot be translated as `refused`: then no file is written for that rule, and the exit code is 2.
docs/sigma.md has the details.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files with Sigma rules and correlations; rules that correlations name must be among them
    #[arg(value_name = "FILE", required_unless_present = "show_mapping")]
    files: Vec<PathBuf>,
    /// Folder that the rules, their tests and lists are written to
    #[arg(long, value_name = "DIR", default_value = "rules")]
    dir: PathBuf,
    /// Id of the rule, if the files make only one [default: SIGMA- and the first 8 digits of the Sigma id]
    #[arg(long)]
    id: Option<String>,
    /// What the events' `source` is [default: as the mapping says]
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// The field that is put first in every key, so that tenants are counted apart; `none` for none
    #[arg(long, value_name = "FIELD", default_value = "tenant", value_parser = tenant)]
    tenant_field: Tenant,
    /// Judge fields that are not mapped as attributes of the event
    #[arg(long)]
    attributes: bool,
    /// Tables of your own (TOML), looked at before the built-in ones
    #[arg(long, value_name = "FILE")]
    mapping: Vec<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Write nothing, report only
    #[arg(long)]
    dry_run: bool,
    /// Print the tables of fields and values, as Markdown, and end
    #[arg(long)]
    show_mapping: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A field, or none.
#[derive(Debug, Clone, Copy)]
struct Tenant(Option<crate::event::Field>);

fn tenant(name: &str) -> Result<Tenant, String> {
    sigma::tenant_field(name).map(Tenant)
}

/// Runs it.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let own = args.mapping.iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>()?;
    let mapping = Mapping::load(&own).map_err(|problems| Failure::usage(lines(&problems)))?;
    if args.show_mapping {
        print(&mapping.markdown())?;
        return Ok(exit::GOOD);
    }
    let inputs = args.files.iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>()?;
    let there = if args.dir.is_dir() { rules::files(&args.dir)? } else { Vec::new() };
    let options = Options {
        id: args.id.clone(),
        source: args.source.clone(),
        tenant: args.tenant_field.0,
        attributes: args.attributes,
        taken: elsewhere(&there),
    };
    let entries = sigma::import(&inputs, &mapping, &options);
    fits(&entries, there, args)?;
    if !args.dry_run {
        write(&entries, args)?;
    }
    report(&entries, args)?;
    let refused = entries.iter().any(|entry| entry.verdict == Verdict::Not);
    Ok(if refused { exit::USAGE } else { exit::GOOD })
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn file(path: &Path) -> Result<File, Failure> {
    let cannot = |e: &dyn std::fmt::Display| Failure::usage(format!("reading {}: {e}", path.display()));
    let meta = std::fs::metadata(path).map_err(|e| cannot(&e))?;
    if meta.len() > MAX_FILE {
        return Err(cannot(&"it is larger than 4 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|e| cannot(&e))?;
    Ok(File { path: path.display().to_string(), bytes })
}

/// Names of rule files in folders below: tests name rules without their folder, so these are taken.
fn elsewhere(there: &[File]) -> BTreeSet<String> {
    let below = |file: &&File| file.path.contains('/');
    let stem = |file: &File| file.path.rsplit('/').next()?.strip_suffix(".rhai").map(str::to_owned);
    there.iter().filter(below).filter_map(stem).collect()
}

/// Whether the new files go with those that are there.
fn fits(entries: &[Entry], there: Vec<File>, args: &Args) -> Result<(), Failure> {
    let new: Vec<&File> = entries.iter().flat_map(|entry| &entry.files).collect();
    let is_new = |path: &str| new.iter().any(|file| file.path == path);
    if !args.force && !args.dry_run {
        let clashes: Vec<String> = new
            .iter()
            .filter(|file| args.dir.join(&file.path).exists())
            .map(|file| format!("{} is there already: --force replaces it", args.dir.join(&file.path).display()))
            .collect();
        if !clashes.is_empty() {
            return Err(Failure::usage(format!("{}\nnothing was written", clashes.join("\n"))));
        }
    }
    let mut all: Vec<File> = there.into_iter().filter(|file| !is_new(&file.path)).collect();
    all.extend(new.iter().map(|file| (*file).clone()));
    let problems = RuleSet::load(&all).err().unwrap_or_default();
    // rules that were bad before are not the business of an import
    let ours: Vec<Problem> = problems
        .into_iter()
        .filter(|problem| is_new(&problem.path) || new.iter().any(|file| problem.message.contains(&file.path)))
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{}\nnothing was written", lines(&ours))))
}

fn write(entries: &[Entry], args: &Args) -> Result<(), Failure> {
    for file in entries.iter().flat_map(|entry| &entry.files) {
        let path = args.dir.join(&file.path);
        let cannot = |e: std::io::Error| {
            let message = format!("writing {}: {e}", path.display());
            Failure { code: if e.kind() == ErrorKind::AlreadyExists { exit::USAGE } else { exit::FAILED }, message }
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true);
        let options = if args.force { options.create(true).truncate(true) } else { options.create_new(true) };
        options.open(&path).and_then(|mut out| out.write_all(&file.bytes)).map_err(cannot)?;
    }
    Ok(())
}

fn report(entries: &[Entry], args: &Args) -> Result<(), Failure> {
    let count = |verdict| entries.iter().filter(|entry| entry.verdict == verdict).count();
    let all = [Verdict::Translated, Verdict::Partly, Verdict::Not, Verdict::Used];
    let files: usize = entries.iter().map(|entry| entry.files.len()).sum();
    if args.json {
        let documents: Vec<Value> = entries.iter().map(Entry::json).collect();
        return print_json(&json!({
            "ok": count(Verdict::Not) == 0, "dir": args.dir, "written": !args.dry_run,
            "translated": count(Verdict::Translated), "partly": count(Verdict::Partly),
            "not_translated": count(Verdict::Not), "used": count(Verdict::Used), "documents": documents,
        }));
    }
    let mut text: String = entries.iter().map(Entry::text).collect();
    let counts: Vec<String> = all
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {}", count(verdict), verdict.name()))
        .collect();
    let what = if args.dry_run { "would be written" } else { "written" };
    // writing to a string cannot fail
    let _ = writeln!(text, "{}; {files} files {what} to {}", counts.join(", "), args.dir.display());
    print(&text)
}
