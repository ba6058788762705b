//! Who signs: a key file, encrypted or not, or a program that holds the key. The same settings for `[seal]` and
//! `[log]`.

use super::{check::Check, secret::Secret, settings::SecretText, units::Span};
use crate::{
    error::Result,
    keyfile,
    note::{KeyId, Signer, Verifiers},
    signing::{CommandSigner, Sign},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A signature takes at most so long, unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who signs.
#[derive(Debug)]
pub enum SignerSpec {
    /// A key that was read.
    Key(Signer),
    /// A program.
    Command(CommandSigner),
}

impl SignerSpec {
    /// Key name.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(signer) => signer.name(),
            Self::Command(signer) => Sign::name(signer),
        }
    }

    /// Key id.
    pub fn id(&self) -> KeyId {
        match self {
            Self::Key(signer) => signer.id(),
            Self::Command(signer) => Sign::id(signer),
        }
    }

    /// `<name>+<hash>+<keydata>`: what verifiers need.
    pub fn verifier_key(&self) -> String {
        match self {
            Self::Key(signer) => signer.verifier_key(),
            Self::Command(signer) => Sign::verifier_key(signer),
        }
    }

    /// The program that signs, where it is one.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Key(_) => None,
            Self::Command(signer) => Some(signer.program()),
        }
    }

    /// The signer.
    pub fn open(&self) -> Result<Arc<dyn Sign>> {
        Ok(match self {
            Self::Key(signer) => Arc::new(Signer::parse(&signer.secret_text())?),
            Self::Command(signer) => Arc::new(signer.clone()),
        })
    }

    /// The key, for verifying.
    pub fn verifiers(&self) -> Result<Verifiers> {
        Verifiers::parse(&self.verifier_key())
    }
}

/// The settings of a section, as written.
pub(super) struct SignerSettings {
    pub key: Option<SecretText>,
    pub key_file: Option<PathBuf>,
    pub passphrase: Option<SecretText>,
    pub passphrase_file: Option<PathBuf>,
    pub command: Option<Vec<String>>,
    pub verifier_key: Option<String>,
    pub timeout: Option<Span>,
}

impl SignerSettings {
    /// Whether anything of a key is said.
    pub fn given(&self) -> bool {
        self.key.is_some() || self.key_file.is_some() || self.command.is_some()
    }

    /// Who signs for `section`, by a key that must be called `wanted`. `None`: nobody, or it was reported why.
    pub fn resolve(self, section: &str, wanted: Option<String>, check: &mut Check<'_>) -> Option<SignerSpec> {
        let setting = |name: &str| format!("{section}.{name}");
        let timeout = check.duration(&setting("sign_timeout"), self.timeout, TIMEOUT);
        let Some(command) = self.command else {
            if self.verifier_key.is_some() {
                check.wrong(&setting("verifier_key"), format!("belongs to {section}.sign_command"));
            }
            let key = setting("key");
            let text = check.secret(&key, self.key, self.key_file.as_deref())?;
            let passphrase = check.secret(&setting("key_passphrase"), self.passphrase, self.passphrase_file.as_deref());
            return super::resolve::signer(&text, passphrase.as_ref(), &key, wanted, check).map(SignerSpec::Key);
        };
        if self.key.is_some() || self.key_file.is_some() {
            check.wrong(&setting("sign_command"), format!("{section}.key_file is set too: keep one of them"));
        }
        let Some(vkey) = self.verifier_key else {
            check.missing(&setting("verifier_key"), "the verifier key of the key that sign_command signs with");
            return None;
        };
        let signer = match CommandSigner::new(command, &vkey, timeout) {
            Ok(signer) => signer,
            Err(error) => {
                check.wrong(&setting("verifier_key"), error.to_string());
                return None;
            }
        };
        super::resolve::right_name(Sign::name(&signer), &setting("verifier_key"), wanted, check);
        Some(SignerSpec::Command(signer))
    }
}

/// The key of a text, which may be encrypted under `passphrase`.
pub(super) fn read_key(text: &Secret, passphrase: Option<&Secret>) -> Result<Signer> {
    keyfile::read(text.reveal(), passphrase.map(Secret::reveal))
}
