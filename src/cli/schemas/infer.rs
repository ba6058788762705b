//! `authseal schemas infer`: a mapping proposed from samples.

use crate::{
    cli::{
        exit::{self, Failure},
        lines_of, print,
    },
    decode::mapping::infer::{Survey, propose},
};
use std::{io::Read, path::Path};

const EXAMPLES: &str = "\
Examples:
  authseal schemas infer events.ndjson > mine.toml
  authseal schemas try --mapping mine.toml events.ndjson
  kafka-console-consumer … --max-messages 1000 | authseal schemas infer - --name gateway > gateway.toml

The proposal loads, and says with DECIDE where a person must look: what values mean is not told by their names.";

/// So much of a file is read: a proposal gets no better by more.
const MOST: u64 = 256 << 20;

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Samples, one JSON object a line, or - for stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// The mapping's name [default: the file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut survey = Survey::default();
    let mut others = 0_u64;
    let stem = Path::new(&args.file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = args.name.as_deref().unwrap_or(if args.file == "-" { "mine" } else { stem });
    let mut bytes = Vec::new();
    lines_of(&args.file)?.take(MOST).read_to_end(&mut bytes)?;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let added = serde_json::from_slice(line).is_ok_and(|record| survey.add(&record));
        others += u64::from(!added);
    }
    if survey.records() == 0 {
        let file = &args.file;
        return Err(Failure::usage(format!(
            "{file}: no line is a JSON object; begin a mapping for lines of text with `authseal schemas show sshd`"
        )));
    }
    if others > 0 {
        eprintln!("warning: {others} lines are no JSON object and were passed over");
    }
    print(&propose(&survey, name))?;
    Ok(exit::GOOD)
}
