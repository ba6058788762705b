//! Asking other parties (witnesses, time-stamp authorities, schema registries) over HTTP: one request, with bounds on
//! how long it takes and on how much comes back. What comes back is verified by whoever asked: nobody is believed.

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
use zeroize::Zeroizing;

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

/// A question without a body.
#[derive(Clone)]
pub struct Look {
    /// `https://…` or `http://…`.
    pub url: String,
    /// What is wanted back, as in `Accept`.
    pub accept: &'static str,
    /// The value of `Authorization`: a secret.
    pub authorization: Option<Zeroizing<String>>,
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

/// Whose certificates are believed: those of the system's authorities, and of the authorities of a PEM file.
pub fn trusting(authorities: Option<&[u8]>) -> Result<TlsContext> {
    let mut store = TrustStore::default();
    if let Some(pem) = authorities {
        store = store.with_pem_certificate(pem);
    }
    let built = TlsContext::builder().with_trust_store(store).build();
    built.map_err(|error| Error::config("the trusted certificates cannot be used").caused_by(error))
}

/// Connections over TLS to whom `tls` believes, through the proxy that the environment names.
pub fn connector(tls: TlsContext) -> Connector {
    let builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls);
    builder.proxy_config(ProxyConfig::from_env()).build()
}

/// Over HTTP, with the system's certificate authorities and the proxy that the environment names. Redirections are
/// not followed.
#[derive(Clone)]
pub struct Http {
    connector: Arc<Connector>,
    patience: Duration,
}

impl Http {
    /// Connects to nobody yet.
    pub fn new() -> Result<Self> {
        Self::trusting(None)
    }

    /// The same, which also trusts the certificate authorities of a PEM file.
    pub fn trusting(authorities: Option<&[u8]>) -> Result<Self> {
        Ok(Self { connector: Arc::new(connector(trusting(authorities)?)), patience: PATIENCE })
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

impl Remote for Http {
    fn post(&self, ask: Ask) -> BoxFuture<'static, Result<Told>> {
        let http = self.clone();
        Box::pin(async move {
            let length = ask.body.len().to_string();
            let mut request = HttpRequest::new(SdkBody::from(ask.body));
            request.set_method("POST").map_err(|_| odd("the method"))?;
            let headers = request.headers_mut();
            headers.insert("content-type", ask.content_type);
            headers.insert("content-length", length);
            http.call(request, &ask.url, ask.at_most).await
        })
    }
}

impl Http {
    /// Asks with GET and waits for the whole answer, whatever its status. Errors are those of [`Remote`].
    pub async fn look(&self, look: Look) -> Result<Told> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method("GET").map_err(|_| odd("the method"))?;
        let headers = request.headers_mut();
        headers.insert("accept", look.accept);
        if let Some(secret) = look.authorization {
            // the client wants text that it owns, and drops it with the request
            headers.try_insert("authorization", secret.to_string()).map_err(|_| odd("the password or token"))?;
        }
        self.call(request, &look.url, look.at_most).await
    }

    async fn call(&self, mut request: HttpRequest, url: &str, at_most: usize) -> Result<Told> {
        request.set_uri(url).map_err(|_| odd("the URL"))?;
        request.headers_mut().insert("user-agent", concat!("authseal/", env!("CARGO_PKG_VERSION")));
        let late = || Err(Error::retry(format!("no answer within {} s", self.patience.as_secs_f32())));
        let told = tokio::time::timeout(self.patience, exchange(&self.connector, request, at_most)).await;
        told.unwrap_or_else(|_| late()).map_err(|error| error.context(plain(url)))
    }
}

fn odd(what: &str) -> Error {
    Error::config(format!("{what} is not accepted by the HTTP client"))
}

async fn exchange(connector: &Connector, request: HttpRequest, at_most: usize) -> Result<Told> {
    let answer = connector.call(request).await.map_err(|error| Error::retry(plain(&error::causes(&error))))?;
    let status = answer.status().as_u16();
    let mut stream = ByteStream::new(answer.into_body());
    let mut body = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| Error::retry(plain(&error::causes(&error))))?;
        if body.len() + part.len() > at_most {
            return Err(Error::retry(format!("answered with more than {at_most} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(Told { status, body: body.into() })
}

/// What another party wrote, fit for a line of a log.
pub fn plain(text: &str) -> String {
    error::plain(text, WORDS)
}
