//! `[log]`: what this process writes about itself, and the transparency log of what it seals.

use super::{
    Roles, SignerSpec,
    check::Check,
    resolve,
    settings::{LogFormatName, LogSettings},
    signer::SignerSettings,
};

/// What is logged.
#[derive(Debug, Clone)]
pub struct Log {
    /// One JSON object a line.
    pub json: bool,
    /// A filter such as `info` or `info,authseal::ingest=debug`.
    pub level: String,
}

/// The transparency log.
pub struct TransparencyLog {
    /// Who signs for the log, with a key whose name is the origin.
    pub signer: SignerSpec,
    /// Where checkpoints are published, so that others hold copies.
    pub checkpoint_topic: Option<String>,
}

/// The lines of this process.
pub(super) fn lines(settings: &LogSettings, check: &mut Check<'_>) -> Log {
    let level = settings.level.clone().unwrap_or_else(|| "info".into());
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&level) {
        check.wrong("log.level", format!("{error}; expected something like info or info,authseal::ingest=debug"));
    }
    Log { json: settings.format.unwrap_or_default() == LogFormatName::Json, level }
}

/// The transparency log; `None` where no key is given.
pub(super) fn transparency(
    settings: LogSettings,
    origin: Option<&str>,
    roles: Roles,
    check: &mut Check<'_>,
) -> Option<TransparencyLog> {
    let topic = settings.checkpoint_topic;
    let signer = SignerSettings {
        key: settings.key,
        key_file: settings.key_file,
        passphrase: settings.key_passphrase,
        passphrase_file: settings.key_passphrase_file,
        command: settings.sign_command,
        verifier_key: settings.verifier_key,
        timeout: settings.sign_timeout,
    };
    if topic.is_some() && !signer.given() {
        check.wrong("log.checkpoint_topic", "has no effect without log.key_file: there is no log, and no checkpoint");
    }
    let given = signer.given();
    let signer = signer.resolve("log", origin.map(str::to_owned), check)?;
    if given && !roles.seal {
        check.warn("log.key_file: has no effect in a process that does not seal");
    }
    let checkpoint_topic = topic.map(|topic| resolve::publish("log.checkpoint_topic", Some(topic), "", check));
    Some(TransparencyLog { signer, checkpoint_topic })
}
