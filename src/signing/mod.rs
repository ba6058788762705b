//! Who signs: a key in a file, or something else that holds the key (a KMS, an HSM) and gives signatures alone.
//!
//! A signer may be slow, wrong or away. What it gives is verified before it is used, so that a fault of it can never be
//! sealed; and whoever needs a signature waits for it and asks again, as for a store that is down.

mod command;

pub use command::CommandSigner;

use crate::{
    error::{Error, Result},
    note::{self, KeyId, Signer, Verifiers},
};
use async_trait::async_trait;
use std::sync::Arc;

/// Gives signatures of one Ed25519 key.
///
/// Errors: `Kind::Retry` — it is slow or away, ask again; `Kind::Config` — it refuses, or gave something that is no
/// signature of this key: nothing will change until a person acts, and asking again is harmless.
#[async_trait]
pub trait Sign: Send + Sync + 'static {
    /// Key name.
    fn name(&self) -> &str;

    /// Key id.
    fn id(&self) -> KeyId;

    /// `<name>+<hash>+<keydata>`: what verifiers need.
    fn verifier_key(&self) -> String;

    /// The signature over the bytes of `text`. Bounded in time. Callers go through [`signature`] or [`note`], which
    /// verify it.
    async fn sign(&self, text: &str) -> Result<[u8; 64]>;
}

#[async_trait]
impl Sign for Signer {
    fn name(&self) -> &str {
        Signer::name(self)
    }

    fn id(&self) -> KeyId {
        Signer::id(self)
    }

    fn verifier_key(&self) -> String {
        Signer::verifier_key(self)
    }

    async fn sign(&self, text: &str) -> Result<[u8; 64]> {
        Ok(self.signature(text))
    }
}

/// Why a key must not sign any more; `None`: it may.
type Refuse = dyn Fn(&str, KeyId) -> Option<String> + Send + Sync;

/// A signer that is asked only as long as nothing speaks against it: a key that was retired while we run must sign
/// nothing more.
pub struct Gated {
    inner: Arc<dyn Sign>,
    refuse: Box<Refuse>,
}

impl Gated {
    /// `refuse` is asked with name and id of the key before each signature.
    pub fn new(inner: Arc<dyn Sign>, refuse: impl Fn(&str, KeyId) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { inner, refuse: Box::new(refuse) }
    }
}

#[async_trait]
impl Sign for Gated {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn id(&self) -> KeyId {
        self.inner.id()
    }

    fn verifier_key(&self) -> String {
        self.inner.verifier_key()
    }

    async fn sign(&self, text: &str) -> Result<[u8; 64]> {
        match (self.refuse)(self.name(), self.id()) {
            Some(why) => Err(Error::config(why)),
            None => self.inner.sign(text).await,
        }
    }
}

/// The key of a signer, for verifying.
pub fn verifiers(signer: &dyn Sign) -> Result<Verifiers> {
    Verifiers::parse(&signer.verifier_key())
}

/// A signature over `text`, verified.
pub async fn signature(signer: &dyn Sign, text: &str) -> Result<[u8; 64]> {
    let signature = signer.sign(text).await?;
    match verifiers(signer)?.verify(signer.name(), signer.id(), text, &signature) {
        Some(true) => Ok(signature),
        _ => Err(Error::config(format!(
            "the signer of {}+{} gave a signature that is not of this key: nothing was signed with it; check which key \
             it uses",
            signer.name(),
            signer.id()
        ))),
    }
}

/// The note of `text` (which ends in a newline), signed and verified.
pub async fn note(signer: &dyn Sign, text: &str) -> Result<String> {
    note::assemble(text, signer.name(), signer.id(), &signature(signer, text).await?)
}
