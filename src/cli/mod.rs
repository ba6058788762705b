//! The command line: arguments as typed, one file a command, results for people (text) and for programs (`--json`).
//!
//! Results go to stdout, everything else to stderr. Nothing is coloured and no progress is drawn unless a person looks.

mod anchors;
pub mod chain;
pub mod check_proof;
pub mod config;
pub mod cost;
mod databases;
pub mod dead_letters;
pub mod demo;
mod desk;
pub mod exit;
pub mod keys;
mod keys_log;
mod letters_select;
mod mapping;
mod matching;
mod proof_view;
pub mod prove;
mod pseudonym;
mod registry;
mod reload;
pub mod retention;
pub mod rules;
pub mod rules_import;
pub mod run;
pub mod schemas;
pub mod verify;
mod watch;
pub mod wire;

use clap::{Parser, Subcommand, ValueEnum};
use exit::Failure;
use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Write},
    process::ExitCode,
};

/// Turns the authentication events on Kafka into signed, chained, write-once evidence, and judges them on the way.
#[derive(Debug, Parser)]
#[command(name = "authseal", version, after_help = exit::HELP, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Command,
}

/// How the process logs; the same for every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Logging {
    /// How log lines are written to stderr [default: as configured, else text]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Log more: -v for details of authseal, -vv for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Logging {
    /// Sets logging up; `json` and `level` are what the configuration says, or the defaults of the command.
    pub fn start(&self, json: bool, level: &str) -> Result<(), Failure> {
        let json = self.log_format.map_or(json, |format| format == LogFormat::Json);
        let variable = std::env::var("AUTHSEAL_LOG").ok();
        Ok(crate::telemetry::logging(json, &crate::telemetry::filter(self.verbose, variable.as_deref(), level))?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read from Kafka, judge, and seal until told to stop
    Run(run::Args),
    /// Show all of it in one process: nothing to install, nothing to configure
    Demo(demo::Args),
    /// Check sealed evidence: is it what was sealed, all of it, recent, locked
    Verify(verify::Args),
    /// Write one file that proves one record, or that an offset held none
    Prove(prove::Args),
    /// Check such a file, without store and network
    CheckProof(check_proof::Args),
    /// Make and show the keys that sign the evidence
    Keys(keys::Args),
    /// Write, check, test, explain, backtest, list and import rules
    Rules(rules::Args),
    /// List, try and infer mappings of other products' records; check changes of Avro schemas
    Schemas(schemas::Args),
    /// List what was rejected, and publish it again once the reason is gone
    DeadLetters(dead_letters::Args),
    /// Delete what is past its date, after the log says so; lock what must stay longer
    Retention(retention::Args),
    /// Hold evidence beyond its date, and let it go
    Hold(retention::HoldArgs),
    /// Open the next incarnation of chains whose topic is another one than before
    Chain(chain::Args),
    /// Check the configuration and say what it would connect to and cost
    Config(config::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // clap prints and exits by itself: 2 for wrong usage, 0 for --help and --version
    let cli = Cli::parse();
    // what a panic says may quote a record: where it happened is enough to find it
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        tracing::error!("a defect of authseal{at}: please report it");
    }));
    let result = match cli.command {
        Command::Run(args) => run::serve(&args, &cli.logging, wire::ingest),
        Command::Demo(args) => quiet(&cli.logging).and_then(|()| demo::main(args)),
        Command::Verify(args) => quiet(&cli.logging).and_then(|()| verify::main(&args)),
        Command::Prove(args) => quiet(&cli.logging).and_then(|()| prove::main(&args)),
        Command::CheckProof(args) => quiet(&cli.logging).and_then(|()| check_proof::main(&args)),
        Command::Keys(args) => quiet(&cli.logging).and_then(|()| keys::main(args)),
        Command::Rules(args) => quiet(&cli.logging).and_then(|()| rules::main(args)),
        Command::Schemas(args) => quiet(&cli.logging).and_then(|()| schemas::main(args)),
        Command::DeadLetters(args) => quiet(&cli.logging).and_then(|()| dead_letters::main(args)),
        Command::Retention(args) => quiet(&cli.logging).and_then(|()| retention::main(args)),
        Command::Hold(args) => quiet(&cli.logging).and_then(|()| retention::hold(args)),
        Command::Chain(args) => quiet(&cli.logging).and_then(|()| chain::main(args)),
        Command::Config(args) => quiet(&cli.logging).and_then(|()| config::main(args)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            for line in failure.message.lines() {
                let _ = writeln!(stderr, "error: {line}"); // nobody is left to tell
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Logging of commands that end by themselves: warnings only, unless asked for more.
fn quiet(logging: &Logging) -> Result<(), Failure> {
    logging.start(false, "warn")
}

/// Lines of input: a file, or stdin for `-`.
pub fn lines_of(name: &str) -> Result<Box<dyn BufRead>, Failure> {
    if name == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(name).map_err(|e| Failure::usage(format!("reading {name}: {e}")))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Writes a result to stdout in one piece. A reader that has had enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure { code: exit::FAILED, message: format!("writing the result: {error}") })
        }
        _ => Ok(()),
    }
}

/// Writes a result for programs: one JSON value, indented.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
