//! `authseal demo`: how large, and where to.

use super::exit::{self, Failure};
use crate::demo::{self, DemoOptions};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  authseal demo
  authseal demo --dir /tmp/evidence --events 1000000";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A new or empty folder for everything [default: authseal-demo, or the first free name after it]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many records are published, attacks included
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = events)]
    events: u64,
}

fn events(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| (1..=50_000_000).contains(n));
    number.ok_or_else(|| "must be a number from 1 to 50000000".into())
}

/// Plays it.
pub fn main(args: Args) -> Result<u8, Failure> {
    let options = DemoOptions { dir: args.dir, events: args.events };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(demo::run(&options));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result?;
    Ok(exit::GOOD)
}
