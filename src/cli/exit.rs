//! What the exit code of the process says. Programs rely on these numbers: they never change their meaning.

use crate::error::{Error, Kind};
use std::fmt;

pub use crate::audit::exit::{GOOD, INCOMPLETE, STALE, TAMPERED, UNPROTECTED};

/// It could not run: a broker, a store or a file failed.
pub const FAILED: u8 = 1;
/// The arguments or the configuration are wrong.
pub const USAGE: u8 = 2;

/// The part of `--help` that documents them.
pub const HELP: &str = "\
Exit codes:
   0  good
   1  could not run
   2  usage or configuration
  10  tampered: the evidence was changed
  11  incomplete: evidence is missing
  13  unprotected: evidence is not locked as it should be
  12  stale: the newest evidence is older than was promised
When several verdicts fail, the first in this order.";

/// Why a command ends without doing what it was asked to: a code, and what to say on stderr.
#[derive(Debug)]
pub struct Failure {
    /// One of the codes above, never [`GOOD`].
    pub code: u8,
    /// One problem a line.
    pub message: String,
}

impl Failure {
    /// Arguments or configuration are wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Config => USAGE,
            Kind::Tampered => TAMPERED,
            Kind::Retry | Kind::Data | Kind::Bug => FAILED,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<crate::config::Problems> for Failure {
    fn from(problems: crate::config::Problems) -> Self {
        Self::usage(problems)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help_in_the_order_that_decides() {
        // the order in which they decide
        let codes = [TAMPERED, INCOMPLETE, UNPROTECTED, STALE];
        let places = codes.map(|code| HELP.find(&format!("\n  {code}  ")).unwrap());
        assert!(places.is_sorted());
        for code in [GOOD, FAILED, USAGE] {
            assert!(HELP.contains(&format!("\n   {code}  ")));
        }
    }
}
