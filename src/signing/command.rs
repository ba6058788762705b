//! A signer that is a program: it is started for each signature, reads the bytes to sign from its standard input to
//! their end, and writes the signature to its standard output as one line of base64 (64 bytes, Ed25519, RFC 8032). Code
//! 0 says that it did. What it writes to standard error ends up in our messages.

use super::Sign;
use crate::{
    error::{Error, Result},
    note::{KeyId, Verifiers},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

/// More than a signature in base64 is none.
const MAX_ANSWER: u64 = 256;
/// As much of what it complains about is kept.
const MAX_COMPLAINT: u64 = 400;

/// Signs by running a program.
#[derive(Debug, Clone)]
pub struct CommandSigner {
    /// Program and arguments; at least the program.
    argv: Vec<String>,
    name: String,
    id: KeyId,
    vkey: String,
    timeout: Duration,
}

impl CommandSigner {
    /// `argv`: program and arguments, started without a shell. `vkey`: the verifier key of the key that it holds.
    pub fn new(argv: Vec<String>, vkey: &str, timeout: Duration) -> Result<Self> {
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::config("the program that signs is not named"));
        }
        let keys = Verifiers::parse(vkey)?;
        let mut named = keys.iter();
        let (Some((name, id)), None) = (named.next(), named.next()) else {
            return Err(Error::config("one verifier key is needed, that of the key which the program signs with"));
        };
        Ok(Self { argv, name: name.into(), id, vkey: vkey.trim().into(), timeout })
    }

    /// The program, for messages: arguments may be nobody's business.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    async fn run(&self, text: &str) -> Result<[u8; 64]> {
        let failed = |what: String| Error::retry(format!("{} {what}", self.program()));
        let mut command = Command::new(self.program());
        command.args(self.argv.iter().skip(1)).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = command.spawn().map_err(|e| failed("cannot be started".into()).caused_by(e))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut input) = input {
                // one that answers without reading everything is judged by its answer
                let _ = input.write_all(text.as_bytes()).await;
                let _ = input.shutdown().await;
            }
        };
        let (mut answer, mut complaint) = (Vec::new(), Vec::new());
        let read = async {
            if let Some(output) = output {
                let _ = output.take(MAX_ANSWER).read_to_end(&mut answer).await;
            }
        };
        let hear = async {
            if let Some(mut errors) = errors {
                let _ = (&mut errors).take(MAX_COMPLAINT).read_to_end(&mut complaint).await;
                // the rest is read and dropped, so that it does not wait for us
                let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            }
        };
        tokio::join!(write, read, hear);
        let status = child.wait().await.map_err(|e| failed("cannot be waited for".into()).caused_by(e))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&complaint).replace(|c: char| c.is_control(), " ");
            let said = said.trim();
            let said = if said.is_empty() { "it said nothing" } else { said };
            return Err(failed(format!("ended with {status}: {said}")));
        }
        let text = String::from_utf8_lossy(&answer);
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        bytes.ok_or_else(|| {
            let what = "answered something else than one line of base64 with the 64 bytes of a signature";
            Error::config(format!("{} {what}", self.program()))
        })
    }
}

#[async_trait]
impl Sign for CommandSigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> KeyId {
        self.id
    }

    fn verifier_key(&self) -> String {
        self.vkey.clone()
    }

    /// If this is dropped, or the time is over, the program is killed: what it signed is of no use to anybody.
    async fn sign(&self, text: &str) -> Result<[u8; 64]> {
        let ran = tokio::time::timeout(self.timeout, self.run(text)).await;
        ran.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs_f64();
            Err(Error::retry(format!("{} did not sign within {seconds} s, and was stopped", self.program())))
        })
    }
}
