//! `authseal prove`: one record of a store, by its position or its event id, into one file.

use super::{
    exit::{self, Failure},
    print, print_json, proof_view,
    verify::{draw, verifiers},
};
use crate::{
    audit::{
        Progress,
        prove::{self, Answer, By, Events, Made, Why},
    },
    note::Verifiers,
    position::Position,
    store::{self, Store, StoreSpec},
};
use serde_json::json;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

const EXAMPLES: &str = "\
Examples:
  authseal prove s3://evidence/prod main/auth/0/0@12 --key seal.vkey --log-key log.vkey
  authseal prove ./store --event-id 7c1f… --key seal.vkey --log-key log.vkey --out case-4711.tlog-proof
  authseal prove ./store main/auth/0/0@12 --key seal.vkey --pending

A position is written as alerts and `authseal verify` write it: cluster/topic/partition/incarnation@offset.
The file shows this record and no other. Whoever has it and the verifier keys checks it with
`authseal check-proof`, or by hand: docs/verification.md. Nothing is written unless it holds.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group(clap::ArgGroup::new("what").required(true).args(["position", "event_id"])))]
pub struct Args {
    /// A folder, or s3://BUCKET[/PREFIX]
    #[arg(value_name = "STORE")]
    store: String,
    /// Which record: cluster/topic/partition/incarnation@offset
    #[arg(value_name = "POSITION")]
    position: Option<Position>,
    /// Which record, by the id of its event: everything that is sealed is looked through
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    event_id: Option<String>,
    /// A verifier key, or a file of them; may be repeated
    #[arg(long = "key", value_name = "VKEY_OR_FILE", required = true)]
    keys: Vec<String>,
    /// A verifier key of the transparency log, or a file of them; may be repeated
    #[arg(long = "log-key", value_name = "VKEY_OR_FILE", required_unless_present = "pending")]
    log_keys: Vec<String>,
    /// Prove by the seal alone, of a record that is not in the log yet, or where there is no log
    #[arg(long, conflicts_with = "log_keys")]
    pending: bool,
    /// By which checkpoint of the log: the first one behind the record that was stamped, else the first that a quorum
    /// of witnesses has cosigned, else the newest (best); or one of the latter two
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Checkpoint::Best, conflicts_with = "pending")]
    checkpoint: Checkpoint,
    /// File for the proof, never overwritten; - for stdout [default: named after the position]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Segments looked through at the same time for --event-id [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Checkpoint {
    Best,
    Witnessed,
    Newest,
}

/// Runs it.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let spec = StoreSpec::parse(&args.store)?;
    if let StoreSpec::Dir(path) = &spec
        && !path.is_dir()
    {
        return Err(Failure::usage(format!("{} is not a folder", path.display())));
    }
    if let Some(path) = args.out.as_deref().filter(|path| path.exists()) {
        return Err(taken(path));
    }
    let keys = verifiers(&[&args.keys[..], &args.log_keys].concat())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (position, answer) = runtime.block_on(async {
        let store = store::open(&spec).await?;
        let position = args.which(&store, &keys).await?;
        let answer = prove::prove(store, &keys, &position, args.by()).await?;
        Ok::<_, Failure>((position, answer))
    })?;
    match answer {
        Answer::Nothing(why) => Err(nothing(&position, &why)),
        Answer::Made(made) => args.write(&position, &made),
    }
}

fn nothing(position: &Position, why: &Why) -> Failure {
    let code = match why {
        Why::NoChain => exit::USAGE,
        Why::Missing(..) => exit::INCOMPLETE,
        Why::NotSealed { .. } | Why::BeforeChain(_) | Why::NotLogged { .. } => exit::FAILED,
    };
    Failure { code, message: format!("{position} cannot be proven: {why}") }
}

impl Args {
    /// How it is proven; `None`: by the seal alone.
    fn by(&self) -> Option<By> {
        let by = match self.checkpoint {
            Checkpoint::Best => By::Best,
            Checkpoint::Witnessed => By::Witnessed,
            Checkpoint::Newest => By::Newest,
        };
        (!self.pending).then_some(by)
    }

    /// The record that is meant.
    async fn which(&self, store: &Arc<dyn Store>, keys: &Verifiers) -> Result<Position, Failure> {
        if let Some(position) = &self.position {
            return Ok(position.clone());
        }
        let id = self.event_id.as_deref().unwrap_or_default();
        let jobs = self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()), usize::from);
        let progress = Arc::new(Progress::default());
        let drawing = tokio::spawn(draw(progress.clone()));
        let events = prove::find_events(store.clone(), keys, id, jobs, progress).await;
        drawing.abort();
        // ended before anything is printed, or the bar would be drawn into it
        let _ = drawing.await;
        one_of(id, events?)
    }

    fn write(&self, position: &Position, made: &Made) -> Result<u8, Failure> {
        let statement = &made.proven.statement;
        if self.out.as_deref() == Some(Path::new("-")) {
            print(&made.file)?;
            eprintln!("it proves {}", proof_view::headline(statement));
            return Ok(exit::GOOD);
        }
        let path = self.out.clone().unwrap_or_else(|| named(position, !self.pending));
        create(&path, made.file.as_bytes())?;
        if self.json {
            let proof = proof_view::statement(statement);
            print_json(&json!({ "format": "authseal/prove@1", "file": path, "statement": proof }))?;
            return Ok(exit::GOOD);
        }
        let mut text = format!("wrote {}, {} bytes\n", path.display(), made.file.len());
        let _ = writeln!(text, "it proves {}", proof_view::headline(statement));
        let keys: Vec<String> = match &statement.log {
            Some(log) => {
                let (index, size, origin) = (log.index, log.checkpoint.size, &log.checkpoint.origin);
                let _ = writeln!(text, "it is sealed, and in the log {origin}: entry {index} of {size}");
                if made.proven.stamp.is_some() {
                    text.push_str("it carries a time stamp of that checkpoint: check it with --tsa-cert\n");
                }
                vec![format!("--key {}", statement.sealed_by), format!("--log-key {}", log.signed_by.join(", "))]
            }
            None => {
                text.push_str("by the seal's signature alone: it does not show that the record is in the log\n");
                vec!["--pending".into(), format!("--key {}", statement.sealed_by)]
            }
        };
        let _ = writeln!(text, "check it anywhere, with the full keys of these names:");
        let _ = writeln!(text, "  authseal check-proof {} {}", path.display(), keys.join(" "));
        print(&text)?;
        Ok(exit::GOOD)
    }
}

/// The only record of an event id, or why there is none.
fn one_of(id: &str, events: Events) -> Result<Position, Failure> {
    let failed = |message: String| Failure { code: exit::FAILED, message };
    for segment in &events.distrusted {
        eprintln!("warning: not looked through: {segment}");
    }
    match &events.positions[..] {
        [] if !events.distrusted.is_empty() => {
            let message = format!("no event of id {id:?} was found, and segments that may have held it are broken");
            Err(Failure { code: exit::TAMPERED, message })
        }
        [] => {
            let segments = events.segments;
            Err(failed(format!("no event of id {id:?} is sealed here: {segments} segments were looked through")))
        }
        [one] if events.count == 1 => Ok(one.clone()),
        several => {
            let mut message = format!("{} events have the id {id:?}: say which, by its position", events.count);
            for position in several {
                let _ = write!(message, "\n{position}");
            }
            if events.count > several.len() as u64 {
                let _ = write!(message, "\nand {} more", events.count - several.len() as u64);
            }
            Err(failed(message))
        }
    }
}

/// `main-auth-0-0@12.tlog-proof`
fn named(position: &Position, logged: bool) -> PathBuf {
    let extension = if logged { "tlog-proof" } else { "pending-proof" };
    format!("{}.{extension}", position.to_string().replace('/', "-")).into()
}

/// Writes a new file that survives a power cut, or nothing at all.
fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed =
        |e: std::io::Error| Failure { code: exit::FAILED, message: format!("writing {}: {e}", path.display()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Err(taken(path)),
        Err(e) => Err(failed(e.error)),
    }
}

fn taken(path: &Path) -> Failure {
    Failure::usage(format!("{} is there already, and is not overwritten: name another with --out", path.display()))
}
