//! `authseal keys`: makes keys, never over an old one, and shows what verifiers need of them.

use super::{
    exit::{self, Failure},
    keys_log, print, print_json, pseudonym,
};
use crate::{
    config::Secret,
    error::Error,
    keyfile::{self, Fresh},
    note::Signer,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const EXAMPLES: &str = "\
Examples:
  authseal keys generate --origin auth.example.com/prod --out seal.key --vkey seal.vkey
  authseal keys generate --log --origin auth.example.com/prod --out log.key --vkey log.vkey
  authseal keys show seal.key
  authseal keys encrypt seal.key --out seal.pem --passphrase-file passphrase
  authseal keys introduce --key seal-2.key --reason 'yearly change'      # then configure it, and
  authseal keys retire seal.vkey --by seal-2.key --by seal.key --reason 'yearly change'
  authseal keys list s3://evidence/prod --trust trust.txt
  authseal keys generate-withhold --out withhold.key
  authseal keys generate-correlate --out correlate.key
  authseal keys pseudonym --key-file correlate.key < session-id.txt";

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
        /// Encrypt the file under a passphrase (--passphrase-file, or the variable AUTHSEAL_PASSPHRASE)
        #[arg(long)]
        encrypt: bool,
        /// File with the passphrase
        #[arg(long, value_name = "FILE", requires = "encrypt")]
        passphrase_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an encrypted copy of a key file; the old one stays, for you to destroy
    Encrypt {
        /// File of the secret key
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// File for the encrypted key: created with mode 0600, never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File with the passphrase; or the variable AUTHSEAL_PASSPHRASE
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Make the destroyable key that stands for withheld values (32 random bytes)
    GenerateWithhold {
        /// File for the key: created with mode 0600, never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make the key of pseudonyms, by which sessions and tokens join over topics (32 random bytes)
    GenerateCorrelate {
        /// File for the key: created with mode 0600, never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the pseudonyms of identifiers, read from stdin, one a line: what to look for in events
    Pseudonym(pseudonym::Args),
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
        /// File with the passphrase, if it is encrypted; or the variable AUTHSEAL_PASSPHRASE
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn main(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Generate { origin, log, out, vkey, encrypt, passphrase_file, json } => {
            let passphrase = if encrypt { Some(needed(passphrase_file.as_deref())?) } else { None };
            generate(&origin, log, &out, vkey.as_deref(), passphrase.as_ref(), json)
        }
        Command::Encrypt { file, out, passphrase_file } => {
            let passphrase = needed(passphrase_file.as_deref())?;
            let signer = parse(&file, None)?;
            create(&out, &encrypted(&signer, &passphrase)?, 0o600)?;
            eprintln!("wrote {}: configure it, try it, and then destroy {}", out.display(), file.display());
            Ok(exit::GOOD)
        }
        Command::GenerateCorrelate { out } => {
            create(&out, &Zeroizing::new(STANDARD.encode(random()?) + "\n"), 0o600)?;
            eprintln!("wrote {}; all processes whose events shall join need the same one", out.display());
            Ok(exit::GOOD)
        }
        Command::Pseudonym(args) => pseudonym::main(args),
        Command::GenerateWithhold { out } => {
            create(&out, &Zeroizing::new(STANDARD.encode(random()?) + "\n"), 0o600)?;
            eprintln!("wrote {}; destroy it to make withheld values unverifiable for ever", out.display());
            Ok(exit::GOOD)
        }
        Command::Show { file, passphrase_file, json } => show(&read(&file, passphrase_file.as_deref())?, &file, json),
        Command::Introduce(args) => keys_log::introduce(args),
        Command::Rotate(args) => keys_log::rotate(args),
        Command::Retire(args) => keys_log::retire(args),
        Command::List(args) => keys_log::list(args),
    }
}

fn generate(
    origin: &str,
    log: bool,
    out: &Path,
    vkey: Option<&Path>,
    passphrase: Option<&Secret>,
    json: bool,
) -> Result<u8, Failure> {
    crate::config::check_origin(origin).map_err(|message| Failure::usage(format!("--origin {message}")))?;
    // asked before the key is made, so that a mistyped name does not leave half a pair behind
    if let Some(path) = vkey.filter(|path| path.exists()) {
        return Err(taken(path));
    }
    let name = if log { origin.to_owned() } else { crate::store_info::seal_key_name(origin) };
    let signer = Signer::from_seed(&name, *random()?)?;
    let text = match passphrase {
        Some(passphrase) => encrypted(&signer, passphrase)?,
        None => Zeroizing::new(format!("{}\n", signer.secret_text().trim_end())),
    };
    create(out, &text, 0o600)?;
    eprintln!("wrote {}: keep it secret, and keep a copy where only you can reach it", out.display());
    if let Some(path) = vkey {
        create(path, &format!("{}\n", signer.verifier_key()), 0o644)?;
        eprintln!("wrote {}: give it to whoever verifies", path.display());
    }
    show(&signer, out, json)
}

/// The secret key of a file, decrypted with the passphrase of a file or of the environment if it is encrypted.
pub(super) fn read(file: &Path, passphrase: Option<&Path>) -> Result<Signer, Failure> {
    parse(file, self::passphrase(passphrase)?.as_ref())
}

/// Others on the machine must not be able to read a secret: as `ssh` does, such a file is refused.
pub(super) fn secret_text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed =
        |e: std::io::Error| Failure { code: exit::FAILED, message: format!("reading {}: {e}", file.display()) };
    let mode = std::fs::metadata(file).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o037 != 0 {
        let message = format!("{} may be read or changed by others (mode {mode:04o}): chmod 600 it", file.display());
        return Err(Failure::usage(message));
    }
    std::fs::read_to_string(file).map(Zeroizing::new).map_err(failed)
}

fn parse(file: &Path, passphrase: Option<&Secret>) -> Result<Signer, Failure> {
    let text = secret_text(file)?;
    // several keys are read with one passphrase, and not all of them need it
    let passphrase = passphrase.filter(|_| keyfile::is_encrypted(&text)).map(Secret::reveal);
    keyfile::read(text.trim_end(), passphrase).map_err(|e| Failure::usage(e.context(file.display())))
}

/// The passphrase of a file, or of the variable `AUTHSEAL_PASSPHRASE`. Never of the command line, which everybody sees.
fn passphrase(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    match file {
        Some(file) => Ok(Some(Secret::new(secret_text(file)?.trim_end_matches(['\r', '\n']).to_owned()))),
        None => Ok(std::env::var("AUTHSEAL_PASSPHRASE").ok().map(Secret::new)),
    }
}

fn needed(file: Option<&Path>) -> Result<Secret, Failure> {
    passphrase(file)?.ok_or_else(|| {
        Failure::usage("a passphrase is needed: --passphrase-file FILE, or the variable AUTHSEAL_PASSPHRASE")
    })
}

fn encrypted(signer: &Signer, passphrase: &Secret) -> Result<Zeroizing<String>, Failure> {
    let random = random()?;
    let mut fresh = Fresh { salt: [0; 16], iv: [0; 16] };
    fresh.salt.copy_from_slice(&random[..16]);
    fresh.iv.copy_from_slice(&random[16..]);
    Ok(keyfile::encrypt(signer, passphrase.reveal(), fresh)?)
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
