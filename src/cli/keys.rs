//! `authseal keys`: makes keys, never over an old one, and shows what verifiers need of them.

use super::{
    exit::{self, Failure},
    keys_log, print, print_json,
};
use crate::{error::Error, note::Signer};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const EXAMPLES: &str = "\
Examples:
  authseal keys generate --origin auth.example.com/prod --out seal.key --vkey seal.vkey
  authseal keys generate --log --origin auth.example.com/prod --out log.key --vkey log.vkey
  authseal keys show seal.key
  authseal keys introduce --key seal-2.key --reason 'yearly change'      # then configure it, and
  authseal keys retire seal.vkey --by seal-2.key --by seal.key --reason 'yearly change'
  authseal keys list s3://evidence/prod --trust trust.txt
  authseal keys generate-withhold --out withhold.key";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the key that signs segments, or that of the log (C2SP signed note, Ed25519); print its verifier key
    Generate {
        /// Name of the evidence, as in the configuration; the key is called ORIGIN/seal, that of the log ORIGIN
        #[arg(long)]
        origin: String,
        /// Make the key of the transparency log
        #[arg(long)]
        log: bool,
        /// File for the secret key: created with mode 0600, never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File for the verifier key, which is no secret: give it to the auditors
        #[arg(long, value_name = "FILE")]
        vkey: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the destroyable key that stands for withheld values (32 random bytes)
    GenerateWithhold {
        /// File for the key: created with mode 0600, never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a new key good: enter it in the log, signed by itself and by one that is good now
    Introduce(keys_log::Introduce),
    /// Introduce a new key and retire the configured one at once, while nothing runs
    Rotate(keys_log::Rotate),
    /// Make a key good for nothing that comes behind this
    Retire(keys_log::Retire),
    /// Show which keys are good for which entries of the log
    List(keys_log::List),
    /// Print the verifier key of a secret key
    Show {
        /// File of the secret key
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Generate { origin, log, out, vkey, json } => generate(&origin, log, &out, vkey.as_deref(), json),
        Command::GenerateWithhold { out } => {
            let text = Zeroizing::new(STANDARD.encode(random()?) + "\n");
            create(&out, &text, 0o600)?;
            eprintln!("wrote {}; destroy it to make withheld values unverifiable for ever", out.display());
            Ok(exit::GOOD)
        }
        Command::Show { file, json } => show(&read(&file, None)?, &file, json),
        Command::Introduce(args) => keys_log::introduce(args),
        Command::Rotate(args) => keys_log::rotate(args),
        Command::Retire(args) => keys_log::retire(args),
        Command::List(args) => keys_log::list(args),
    }
}

fn generate(origin: &str, log: bool, out: &Path, vkey: Option<&Path>, json: bool) -> Result<u8, Failure> {
    crate::config::check_origin(origin).map_err(|message| Failure::usage(format!("--origin {message}")))?;
    // asked before the key is made, so that a mistyped name does not leave half a pair behind
    if let Some(path) = vkey.filter(|path| path.exists()) {
        return Err(taken(path));
    }
    let name = if log { origin.to_owned() } else { crate::store_info::seal_key_name(origin) };
    let signer = Signer::from_seed(&name, *random()?)?;
    create(out, &Zeroizing::new(format!("{}\n", signer.secret_text().trim_end())), 0o600)?;
    eprintln!("wrote {}: keep it secret, and keep a copy where only you can reach it", out.display());
    if let Some(path) = vkey {
        create(path, &format!("{}\n", signer.verifier_key()), 0o644)?;
        eprintln!("wrote {}: give it to whoever verifies", path.display());
    }
    show(&signer, out, json)
}

/// The secret key of a file.
pub(super) fn read(file: &Path, _passphrase: Option<&Path>) -> Result<Signer, Failure> {
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|e| Failure { code: exit::FAILED, message: format!("reading {}: {e}", file.display()) })?;
    Signer::parse(text.trim_end()).map_err(|e| Failure::usage(e.context(file.display())))
}

fn show(signer: &Signer, file: &Path, json: bool) -> Result<u8, Failure> {
    if json {
        print_json(&json!({ "name": signer.name(), "vkey": signer.verifier_key(), "file": file }))?;
    } else {
        print(&signer.verifier_key())?;
    }
    Ok(exit::GOOD)
}

fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|e| Failure { code: exit::FAILED, message: format!("the system gives no random bytes: {e}") })?;
    Ok(bytes)
}

/// Writes a new file that survives a power cut, or nothing at all.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken(path)),
        opened => opened.map_err(|e| cannot(path, e))?,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path); // half a key is worse than none
        cannot(path, error)
    })
}

fn cannot(path: &Path, error: std::io::Error) -> Failure {
    Failure { code: exit::FAILED, message: format!("writing {}: {error}", path.display()) }
}

fn taken(path: &Path) -> Failure {
    let message = format!("{} exists already, and keys are never overwritten: choose another name", path.display());
    Error::config(message).into()
}
