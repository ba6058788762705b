//! `authseal keys introduce | rotate | retire | list`: keys as the transparency log has them.

use super::{
    desk,
    exit::{self, Failure},
    print, print_json,
};
use crate::{
    config::{self, Config, SignerSpec},
    log::{Desk, History, keys},
    note::Verifiers,
    signing::Sign,
    store::{self, StoreSpec},
    store_info::StoreInfo,
    tlog::keyring::Span,
};
use serde_json::json;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the commands that append are told.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The configuration: store, log key, and the key that vouches
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    pub config: PathBuf,
    /// Why, on one line, for whoever reads the log later
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// File with the passphrase of encrypted keys; or the variable AUTHSEAL_PASSPHRASE
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `keys introduce`
#[derive(Debug, clap::Args)]
pub struct Introduce {
    #[command(flatten)]
    common: Common,
    /// File of the new secret key, which signs as well
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File of a key of the same name that is good now, and vouches [default: the configured one]
    #[arg(long, value_name = "FILE")]
    by: Option<PathBuf>,
}

/// `keys rotate`
#[derive(Debug, clap::Args)]
pub struct Rotate {
    #[command(flatten)]
    common: Common,
    /// File of the new secret key, which takes the place of the configured one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Every instance that uses the configured key is stopped: what it signs afterwards is refused for ever
    #[arg(long)]
    stopped: bool,
}

/// `keys retire`
#[derive(Debug, clap::Args)]
pub struct Retire {
    #[command(flatten)]
    common: Common,
    /// The verifier key that is not to be used any more, or a file with it
    #[arg(value_name = "VKEY_OR_FILE")]
    key: String,
    /// File of a key of the same name that is good now; may be repeated: give the old one too, if you have it
    /// [default: the configured one]
    #[arg(long, value_name = "FILE")]
    by: Vec<PathBuf>,
}

/// `keys list`
#[derive(Debug, clap::Args)]
pub struct List {
    /// A folder, or s3://BUCKET[/PREFIX]
    #[arg(value_name = "STORE")]
    store: String,
    /// A verifier key or a trust file that you start from; may be repeated
    #[arg(long = "key", visible_alias = "trust", value_name = "VKEY_OR_FILE", required = true)]
    keys: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Introduces a key.
pub fn introduce(args: Introduce) -> Result<u8, Failure> {
    let config = Config::load(&args.common.config, &config::environment())?;
    let new = key_file(&args.key, args.common.passphrase_file.as_deref())?;
    let by = match &args.by {
        Some(file) => key_file(file, args.common.passphrase_file.as_deref())?,
        None => configured(&config, new.name())?,
    };
    desk::run(&config, async |desk: &mut Desk| {
        keys::introduce(desk, &*new, &*by, &args.common.reason).await?;
        told(desk, &*new, "is good from here on")
    })
}

/// Introduces a key and retires the configured one.
pub fn rotate(args: Rotate) -> Result<u8, Failure> {
    let config = Config::load(&args.common.config, &config::environment())?;
    let new = key_file(&args.key, args.common.passphrase_file.as_deref())?;
    let old = configured(&config, new.name())?;
    if !args.stopped {
        return Err(Failure::usage(
            "stop every instance that uses the configured key, then add --stopped; to change keys without a pause use \
             `authseal keys introduce`, configure the new key everywhere, and then `authseal keys retire` the old one",
        ));
    }
    desk::run(&config, async |desk: &mut Desk| {
        let of_log = new.name() == config.origin;
        keys::rotate(desk, &*old, &*new, &args.common.reason).await?;
        if of_log {
            desk.sign_with(new.clone());
        }
        desk.publish().await?;
        told(desk, &*new, "is good from here on, and the one before is not")
    })
}

/// Retires a key.
pub fn retire(args: Retire) -> Result<u8, Failure> {
    let config = Config::load(&args.common.config, &config::environment())?;
    let vkey = one_key(&args.key)?;
    let name = vkey.split('+').next().unwrap_or_default().to_owned();
    let mut by = Vec::new();
    for file in &args.by {
        by.push(key_file(file, args.common.passphrase_file.as_deref())?);
    }
    if by.is_empty() {
        by.push(configured(&config, &name)?);
    }
    desk::run(&config, async |desk: &mut Desk| {
        let signers: Vec<&dyn Sign> = by.iter().map(|signer| &**signer).collect();
        keys::retire(desk, &vkey, &signers, &args.common.reason).await?;
        print(&format!("{} is retired behind entry {}", short(&vkey), desk.ledger().size() - 1))?;
        Ok(exit::GOOD)
    })
}

/// Lists the keys of a log.
pub fn list(args: List) -> Result<u8, Failure> {
    let spec = StoreSpec::parse(&args.store)?;
    let roots = super::verify::verifiers(&args.keys)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (spans, size) = runtime.block_on(async {
        let store = store::open(&spec).await?;
        let info = store.read_oldest(crate::layout::STORE_JSON).await?;
        let text = info.map(|stored| String::from_utf8_lossy(&stored.bytes).into_owned()).unwrap_or_default();
        let info = StoreInfo::parse(&text)
            .map_err(|fault| Failure::usage(format!("{}: store.json: {}", store.describe(), fault.detail)))?;
        let mut history = History::new(&info.origin, &roots);
        history.advance(&store).await?;
        Ok::<_, Failure>((history.ledger().ring().spans().to_vec(), history.size()))
    })?;
    if args.json {
        let object = |span: &Span| {
            json!({
                "name": span.name, "id": span.id.to_string(), "given": span.root,
                "introduced": span.introduced, "retired": span.retired,
            })
        };
        print_json(&json!({ "entries": size, "keys": spans.iter().map(object).collect::<Vec<_>>() }))?;
        return Ok(exit::GOOD);
    }
    let mut text = String::new();
    for Span { name, id, root, introduced, retired } in &spans {
        let from = match (introduced, root) {
            (Some(entry), _) => format!("behind entry {entry}"),
            (None, _) => "from the beginning".into(),
        };
        let to = retired.map_or(String::new(), |entry| format!(" up to entry {entry}, which retires it"));
        let given = if *root { "given" } else { "introduced" };
        let _ = writeln!(text, "{name}+{id}  {given:<10}  good {from}{to}"); // a string takes everything
    }
    print(&format!("{text}{size} entries\n"))?;
    Ok(exit::GOOD)
}

fn told(desk: &Desk, key: &dyn Sign, what: &str) -> Result<u8, Failure> {
    print(&format!("{}+{} {what}: the log has {} entries", key.name(), key.id(), desk.ledger().size()))?;
    eprintln!("add it to trust_file of every instance, and give it to whoever verifies: {}", key.verifier_key());
    Ok(exit::GOOD)
}

/// The configured signer of this name.
fn configured(config: &Config, name: &str) -> Result<Arc<dyn Sign>, Failure> {
    let log = config.transparency_log.as_ref().map(|log| &log.signer);
    let spec: Option<&SignerSpec> = [config.seal.signer.as_ref(), log].into_iter().flatten().find(|s| s.name() == name);
    match spec {
        Some(spec) => Ok(spec.open()?),
        None => Err(Failure::usage(format!("the configuration has no key called {name}: give one with --by"))),
    }
}

/// The key of a file, decrypted if it is encrypted.
fn key_file(path: &Path, passphrase: Option<&Path>) -> Result<Arc<dyn Sign>, Failure> {
    Ok(Arc::new(super::keys::read(path, passphrase)?))
}

fn one_key(text: &str) -> Result<String, Failure> {
    let keys: Verifiers = super::verify::verifiers(&[text.to_owned()])?;
    let text = keys.text();
    match text.lines().count() {
        1 => Ok(text.trim_end().to_owned()),
        n => Err(Failure::usage(format!("one verifier key is needed, and there are {n}"))),
    }
}

fn short(vkey: &str) -> String {
    vkey.splitn(3, '+').take(2).collect::<Vec<_>>().join("+")
}
