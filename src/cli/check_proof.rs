//! `authseal check-proof`: what one file proves, for a court and for programs. No store, no network.

use super::{
    anchors::AnchorArgs,
    exit::{self, Failure},
    print, print_json,
    proof_view::{self, Checked},
    verify::verifiers,
};
use crate::{fault::Fault, proof};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Examples:
  authseal check-proof main-auth-0-0@12.tlog-proof --key seal.vkey --log-key log.vkey
  authseal check-proof main-auth-0-0@12.pending-proof --key seal.vkey --pending
  authseal check-proof case-4711.tlog-proof --key seal.vkey --log-key log.vkey --json
  authseal check-proof case-4711.tlog-proof --key seal.vkey --log-key log.vkey --policy w.policy --require witnessed
  authseal check-proof case-4711.tlog-proof --key seal.vkey --log-key log.vkey --tsa-cert tsa.pem --require stamped

It needs the file and the verifier keys, and nothing else: take the keys from whom you trust, not from whom gave you
the file. 0: it proves what is printed; 10: it does not hold; 11: it holds, and the record is not in the log, or nobody
else has seen that log as --require demands.
docs/verification.md says what a proof shows, and how to check one by hand.";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The proof
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A verifier key, or a file of them; may be repeated
    #[arg(long = "key", value_name = "VKEY_OR_FILE", required = true)]
    keys: Vec<String>,
    /// A verifier key of the transparency log, or a file of them; may be repeated
    #[arg(long = "log-key", value_name = "VKEY_OR_FILE", required_unless_present = "pending")]
    log_keys: Vec<String>,
    /// Be content with a proof of a record that is not in the log
    #[arg(long)]
    pending: bool,
    #[command(flatten)]
    anchors: AnchorArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let bytes = read(&args.file)?;
    let keys = verifiers(&[&args.keys[..], &args.log_keys].concat())?;
    let options = args.anchors.options()?;
    let (policy, authorities) = (options.policy.as_deref(), options.authorities.as_deref());
    let checked: Checked =
        proof::check(&bytes, &keys).and_then(|proven| proven.grade(policy, authorities).map(|grade| (proven, grade)));
    if let Err(fault) = &checked
        && fault.code == crate::fault::code::LOG_UNKNOWN_KEY
        && args.log_keys.is_empty()
    {
        return Err(Failure::usage("this record is in a log: give the log's key with --log-key"));
    }
    let lacking = checked.as_ref().ok().and_then(|(proven, grade)| {
        let fault = |code, detail: &str| Some(Fault::new(code, detail));
        if proven.statement.log.is_none() && !args.pending {
            let detail = "the record was not in the log when this proof was made, and that it is was asked for";
            return fault(proof::code::PENDING, detail);
        }
        if options.require_witnessed && !grade.is_witnessed() {
            return fault(UNWITNESSED, "no quorum of the policy has cosigned the checkpoint in this proof");
        }
        let stamped = !options.require_stamped || grade.is_stamped();
        if stamped { None } else { fault(UNSTAMPED, "it carries no stamp by an authority that was given") }
    });
    let code = match (&checked, &lacking) {
        (Err(_), _) => exit::TAMPERED,
        (Ok(_), Some(_)) => exit::INCOMPLETE,
        (Ok(_), None) => exit::GOOD,
    };
    if args.json {
        print_json(&proof_view::json(&args.file, &checked, lacking, code))?;
    } else {
        print(&proof_view::text(&args.file, &checked, lacking, code))?;
    }
    Ok(code)
}

/// What a proof lacks whose checkpoint others have not seen: the codes that `verify` has for it.
const UNWITNESSED: &str = "unwitnessed";
const UNSTAMPED: &str = "unstamped";

/// The bytes of the file, and never more than a proof can have.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |e: std::io::Error| Failure { code: exit::FAILED, message: format!("reading {}: {e}", path.display()) };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(proof::MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What to do about a proof that does not hold.
pub(super) fn advice(fault: &Fault) -> &'static str {
    use crate::fault::code::*;
    match fault.code {
        UNKNOWN_KEY | LOG_UNKNOWN_KEY => {
            "Ask whoever seals for the verifier keys that were in use then, over a way that you trust, and check again."
        }
        SIGNATURE | LOG_SIGNATURE | NOTE_FORM | LOG_FORM => {
            "What is signed was changed after it was signed, or never was. Ask for the proof again, at its source."
        }
        proof::code::PENDING => {
            "Ask for it again: what is sealed is logged within a minute. --pending is content with this one."
        }
        UNWITNESSED | UNSTAMPED => {
            "Ask for it again in some minutes: witnesses and authorities are asked when the log grows. Or give the \
             policy, or the certificate, of those that this log asks."
        }
        COSIGNATURE | STAMP_FORM | STAMP_IMPRINT | STAMP_SIGNATURE => {
            "Somebody changed the checkpoint, or what others have said of it. Ask for the proof again, at its source."
        }
        proof::code::FORM => {
            "The file is damaged, or is no proof. Ask for it again; it may not be edited, or re-wrapped."
        }
        _ => "Somebody changed the file, or it was put together from several. Ask for the proof again, at its source.",
    }
}
