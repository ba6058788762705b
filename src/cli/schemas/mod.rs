//! `authseal schemas`: the mappings of other products' records, and the schemas of Avro ones.

mod check;
mod infer;
mod r#try;

use super::{
    exit::{self, Failure},
    mapping::named,
    print, print_json,
};
use crate::decode::mapping::{self, SHIPPED, shipped};
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write;

/// What the command is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the mappings that come with authseal
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a mapping as it is written, to read it or to begin one's own with it
    Show {
        /// A shipped mapping, or a file
        #[arg(value_name = "NAME|FILE")]
        mapping: String,
        /// Print what it does, as Markdown tables
        #[arg(long)]
        tables: bool,
    },
    /// Show what becomes of each record of a file, and how much of it is understood
    Try(r#try::Args),
    /// Propose a mapping for the records of a file
    Infer(infer::Args),
    /// Say what a change of an Avro schema takes away: from authseal, and from other readers
    Check(check::Args),
    /// Print a schema that a registry has, with what it refers to in it
    Fetch(check::FetchArgs),
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::List { json } => list(json),
        Command::Show { mapping, tables } => show(&mapping, tables),
        Command::Try(args) => r#try::run(&args),
        Command::Infer(args) => infer::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fetch(args) => check::fetch(&args),
    }
}

fn list(json: bool) -> Result<u8, Failure> {
    let mut all = Vec::new();
    for file in SHIPPED.iter().filter_map(|(name, _)| shipped(name)) {
        all.push(mapping::check(&file).map_err(Failure::usage)?);
    }
    if json {
        let one = |about: &mapping::About| {
            json!({
                "name": about.name, "product": about.product, "about": about.about,
                "reads": reads(about), "secrets": about.secrets, "reference": about.reference,
            })
        };
        print_json(&all.iter().map(one).collect::<Value>())?;
    } else {
        let width = all.iter().map(|about| about.name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for about in &all {
            let _ = writeln!(text, "{:width$}  {} ({})", about.name, about.product, reads(about).join(", "));
        }
        print(&text)?;
    }
    Ok(exit::GOOD)
}

fn reads(about: &mapping::About) -> Vec<&'static str> {
    [("json", about.json), ("text", about.text)].into_iter().filter_map(|(form, reads)| reads.then_some(form)).collect()
}

fn show(name: &str, tables: bool) -> Result<u8, Failure> {
    let file = named(name)?;
    if tables {
        print(&mapping::describe(&file).map_err(Failure::usage)?)?;
    } else {
        print(&String::from_utf8_lossy(&file.bytes))?;
    }
    Ok(exit::GOOD)
}
