//! Asking other parties (witnesses, time-stamp authorities) over HTTP: one POST, with bounds on how long it takes
//! and on how much comes back. What comes back is verified by whoever asked: nothing here is secret, and nobody is
//! believed.

use crate::error::{self, Error, Result};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// How long a request and its answer may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of what goes wrong is told.
const WORDS: usize = 500;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// `https://…` or `http://…`.
    pub url: String,
    /// Content type of the body.
    pub content_type: &'static str,
    /// What is sent.
    pub body: Vec<u8>,
    /// A longer answer is an error.
    pub at_most: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// Asks once. Errors are of kind `Retry`: it could not be reached, took too long, or said too much.
pub trait Remote: Send + Sync + 'static {
    /// Posts and waits for the whole answer, whatever its status.
    fn post(&self, ask: Ask) -> BoxFuture<'static, Result<Told>>;
}

/// Over HTTP, with the system's certificate authorities and the proxy that the environment names. Redirections are
/// not followed.
pub struct Http {
    connector: Arc<Connector>,
    patience: Duration,
}

impl Http {
    /// Connects to nobody yet.
    pub fn new() -> Result<Self> {
        let tls = TlsContext::builder().with_trust_store(TrustStore::default()).build();
        let tls = tls.map_err(|error| Error::config("the system's certificates cannot be used").caused_by(error))?;
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .proxy_config(ProxyConfig::from_env())
            .build();
        Ok(Self { connector: Arc::new(connector), patience: PATIENCE })
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

impl Remote for Http {
    fn post(&self, ask: Ask) -> BoxFuture<'static, Result<Told>> {
        let (connector, patience) = (self.connector.clone(), self.patience);
        Box::pin(async move {
            let url = ask.url.clone();
            let late = || Err(Error::retry(format!("no answer within {} s", patience.as_secs_f32())));
            let told = tokio::time::timeout(patience, post(&connector, ask)).await.unwrap_or_else(|_| late());
            told.map_err(|error| error.context(plain(&url)))
        })
    }
}

async fn post(connector: &Connector, ask: Ask) -> Result<Told> {
    let odd = |what: &str| Error::config(format!("{what} is not accepted by the HTTP client"));
    let length = ask.body.len().to_string();
    let mut request = HttpRequest::new(SdkBody::from(ask.body));
    request.set_method("POST").map_err(|_| odd("the method"))?;
    request.set_uri(ask.url.as_str()).map_err(|_| odd("the URL"))?;
    let headers = request.headers_mut();
    headers.insert("content-type", ask.content_type);
    headers.insert("content-length", length);
    headers.insert("user-agent", concat!("authseal/", env!("CARGO_PKG_VERSION")));
    let answer = connector.call(request).await.map_err(|error| Error::retry(plain(&error::causes(&error))))?;
    let status = answer.status().as_u16();
    let mut stream = ByteStream::new(answer.into_body());
    let mut body = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| Error::retry(plain(&error::causes(&error))))?;
        if body.len() + part.len() > ask.at_most {
            return Err(Error::retry(format!("answered with more than {} bytes", ask.at_most)));
        }
        body.extend_from_slice(&part);
    }
    Ok(Told { status, body: body.into() })
}

/// What another party wrote, fit for a line of a log.
pub fn plain(text: &str) -> String {
    error::plain(text, WORDS)
}
