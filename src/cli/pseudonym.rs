//! `authseal keys pseudonym`: what stands in events for an identifier that somebody has at hand, to look for it.

use super::{
    exit::{self, Failure},
    keys, print,
};
use crate::{
    config::Key32,
    decode::{PSEUDONYM_CLASSES, Pseudonyms},
};
use std::{io::Read, path::PathBuf};
use zeroize::Zeroizing;

/// What the command is told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key of pseudonyms: the file of correlate.key_file
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// What the identifiers are of
    #[arg(long, value_parser = PSEUDONYM_CLASSES, default_value = PSEUDONYM_CLASSES[0])]
    class: String,
}

/// Reads identifiers from stdin, one a line, and prints the pseudonym of each. Not from the command line, which
/// everybody on the machine sees.
pub(super) fn main(args: Args) -> Result<u8, Failure> {
    let text = keys::secret_text(&args.key_file)?;
    let wrong = || Failure::usage(format!("{} {}", args.key_file.display(), Key32::WRONG));
    let key = Key32::parse(&text).ok_or_else(wrong)?;
    let pseudonyms = Pseudonyms::new(key.bytes());
    let mut identifiers = Zeroizing::new(String::new());
    std::io::stdin()
        .read_to_string(&mut identifiers)
        .map_err(|e| Failure::usage(format!("the identifiers on stdin cannot be read: {e}")))?;
    for identifier in identifiers.lines().map(str::trim).filter(|line| !line.is_empty()) {
        print(&pseudonyms.of(&args.class, identifier))?;
    }
    Ok(exit::GOOD)
}
