//! `[log]`: what this process writes about itself, and the transparency log of what it seals.

use super::{
    Roles, SignerSpec,
    check::Check,
    resolve,
    settings::{LogFormatName, LogSettings, TimestampSettings},
    signer::SignerSettings,
};
use crate::tlog::{Policy, stamp::Authorities};
use std::{path::PathBuf, sync::Arc, time::Duration};

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
    /// Which witnesses are asked to cosign checkpoints, and which of them are enough.
    pub policy: Option<Arc<Policy>>,
    /// Who stamps checkpoints.
    pub timestamps: Option<Timestamps>,
}

/// A time-stamp authority.
#[derive(Debug, Clone)]
pub struct Timestamps {
    /// Where it answers.
    pub url: String,
    /// Whose stamps are stored.
    pub authorities: Arc<Authorities>,
    /// How often a checkpoint is stamped.
    pub every: Duration,
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
    let stamps_given = settings.timestamps.url.is_some() || settings.timestamps.certificates_file.is_some();
    for (setting, given) in [
        ("log.checkpoint_topic", topic.is_some()),
        ("log.policy_file", settings.policy_file.is_some()),
        ("log.timestamps.url", stamps_given),
    ] {
        if given && !signer.given() {
            check.wrong(setting, "has no effect without log.key_file: there is no log, and no checkpoint");
        }
    }
    let policy = policy(settings.policy_file, check);
    let timestamps = timestamps(settings.timestamps, check);
    let given = signer.given();
    let signer = signer.resolve("log", origin.map(str::to_owned), check)?;
    if given && !roles.seal {
        check.warn("log.key_file: has no effect in a process that does not seal");
    }
    if let Some(policy) = policy.as_ref().filter(|policy| !policy.logs().is_empty()) {
        let is_ours = |(name, id)| name == signer.name() && id == signer.id();
        if !policy.logs().iter().any(is_ours) {
            let message = format!(
                "names logs, and this one is not among them: auditors who use it would not believe it; add `log {}`",
                signer.verifier_key()
            );
            check.wrong("log.policy_file", message);
        }
    }
    let checkpoint_topic = topic.map(|topic| resolve::publish("log.checkpoint_topic", Some(topic), "", check));
    Some(TransparencyLog { signer, checkpoint_topic, policy, timestamps })
}

fn policy(file: Option<PathBuf>, check: &mut Check<'_>) -> Option<Arc<Policy>> {
    let (file, setting) = (file?, "log.policy_file");
    let bytes = check.read(check.origin(setting), setting, &file)?;
    let policy = match Policy::read(check.path(&file).display(), &bytes) {
        Ok(policy) => policy,
        Err(error) => {
            check.wrong(setting, error.to_string());
            return None;
        }
    };
    if !policy.asks_for_witnesses() {
        check.wrong(setting, "its quorum is none: nobody would be asked; name witnesses and a quorum, or take it out");
    } else if !policy.is_met(&policy.asked()) {
        let message = "the witnesses that have a URL are no quorum: it could never be met; give the others theirs";
        check.wrong(setting, message);
    }
    Some(Arc::new(policy))
}

fn timestamps(settings: TimestampSettings, check: &mut Check<'_>) -> Option<Timestamps> {
    let every = check.duration("log.timestamps.every", settings.every, Duration::from_secs(3600));
    if every < Duration::from_secs(60) {
        check.wrong("log.timestamps.every", "is shorter than a minute: authorities shut out who asks so often");
    }
    let certificates = "log.timestamps.certificates_file";
    let (url, file) = match (settings.url, settings.certificates_file) {
        (None, None) => return None,
        (Some(url), Some(file)) => (url, file),
        (Some(_), None) => {
            let what = "the PEM certificate of the authority, or of who issued it: stamps of nobody else are stored";
            check.missing(certificates, what);
            return None;
        }
        (None, Some(_)) => {
            check.wrong(certificates, "has no effect without log.timestamps.url");
            return None;
        }
    };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if rest.split(['/', '?', '#']).next().is_none_or(|host| host.is_empty() || host.contains('@')) {
        check.wrong("log.timestamps.url", "is no URL: it begins with https:// or http:// and a host, without a user");
    }
    let pem = check.read(check.origin(certificates), certificates, &file)?;
    match Authorities::parse(&pem) {
        Ok(authorities) => Some(Timestamps { url, authorities: Arc::new(authorities), every }),
        Err(error) => {
            check.wrong(certificates, format!("{}: {error}", check.path(&file).display()));
            None
        }
    }
}
