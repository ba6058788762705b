//! Tokens for SASL/OAUTHBEARER: asked of an identity provider with the client's own credentials (RFC 6749 §4.4), kept
//! by a thread of their own and renewed before they end, so that whoever polls Kafka never waits for the provider.
//!
//! The properties are librdkafka's own for `sasl.oauthbearer.method=oidc`; librdkafka would need libcurl for them. We
//! have an HTTP client already, the one that speaks to S3, and hand librdkafka the finished token.

use super::properties::Properties;
use crate::{
    error::{self, Error, Kind, Result},
    remote,
};
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rdkafka::client::OAuthToken;
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use zeroize::Zeroizing;

/// How long one answer of the provider may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the first token is waited for: without it there is no connection that could be served meanwhile.
const FIRST: Duration = Duration::from_secs(15);
/// Between attempts that failed: from the one to the other, doubling.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// An answer may have so many bytes.
const MOST: usize = 256 * 1024;
/// So much of what the provider says is told.
const WORDS: usize = 1_000;
/// How an error begins that only a person can mend. `faults` knows it: librdkafka passes nothing but texts.
pub const REFUSED: &str = "the identity provider refuses";

const METHOD: &str = "sasl.oauthbearer.method";
const GRANT: &str = "sasl.oauthbearer.grant.type";
const CLIENT: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const AUTHORITY: &str = "https.ca.location";

/// Whether a property is ours and none of librdkafka's business.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("sasl.oauthbearer.") || name == AUTHORITY
}

/// Where tokens come from.
struct Settings {
    endpoint: String,
    client: String,
    secret: Zeroizing<String>,
    scope: Option<String>,
    tls: TlsContext,
}

impl Settings {
    /// Those of `properties`; none if they ask for another mechanism.
    fn of(properties: &Properties) -> Result<Option<Self>> {
        let value = |name: &str| properties.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let mechanism = value("sasl.mechanism").or_else(|| value("sasl.mechanisms")).unwrap_or_default();
        if !mechanism.eq_ignore_ascii_case("OAUTHBEARER") {
            return match properties.keys().find(|name| is_ours(name)) {
                Some(name) => Err(Error::config(format!(
                    "the Kafka property {name} is for sasl.mechanism = \"OAUTHBEARER\" only; set that, or remove it"
                ))),
                None => Ok(None),
            };
        }
        for (name, only) in [(METHOD, "oidc"), (GRANT, "client_credentials")] {
            if let Some(other) = value(name).filter(|value| *value != only) {
                return Err(Error::config(format!(
                    "the Kafka property {name} is {other:?}, and only {only:?} is supported"
                )));
            }
        }
        let known = [METHOD, GRANT, CLIENT, SECRET, SCOPE, ENDPOINT, AUTHORITY];
        if let Some(name) = properties.keys().find(|name| is_ours(name) && !known.contains(&name.as_str())) {
            return Err(Error::config(format!(
                "the Kafka property {name} is not supported; those of OAUTHBEARER that are: {}",
                known.join(", ")
            )));
        }
        let required = |name| {
            value(name).map(str::to_owned).ok_or_else(|| {
                Error::config(format!("the Kafka property {name} is missing: OAUTHBEARER needs it to ask for tokens"))
            })
        };
        let settings = Self {
            endpoint: endpoint(&required(ENDPOINT)?)?,
            client: required(CLIENT)?,
            secret: Zeroizing::new(required(SECRET)?),
            scope: value(SCOPE).map(str::to_owned),
            tls: trust(value(AUTHORITY))?,
        };
        Ok(Some(settings))
    }
}

/// The same credentials for another client of ours than Kafka's: that of a schema registry.
pub struct ClientCredentials(Settings);

impl ClientCredentials {
    /// Asks nobody yet. Who calls has checked that the secret may travel to the endpoint. `authorities` is PEM.
    pub fn new(
        endpoint: &str,
        client: &str,
        secret: &str,
        scope: Option<&str>,
        authorities: Option<&[u8]>,
    ) -> Result<Self> {
        Ok(Self(Settings {
            endpoint: endpoint.to_owned(),
            client: client.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            scope: scope.map(str::to_owned),
            tls: remote::trusting(authorities)?,
        }))
    }

    /// A new token, and for how long it holds.
    pub async fn token(&self) -> Result<(Zeroizing<String>, Duration)> {
        let late = |_| Err(Error::retry(format!("no answer within {} s", PATIENCE.as_secs())));
        let token = tokio::time::timeout(PATIENCE, fetch(&self.0)).await.unwrap_or_else(late)?;
        Ok((token.text, token.lifetime))
    }
}

impl Settings {
    /// What goes into the header: RFC 6749 §2.3.1, both form-encoded, then as in HTTP Basic.
    fn basic(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", form(&self.client), form(&self.secret)));
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }

    /// An error without the secret, which a careless provider may have repeated in its answer.
    fn hide(&self, error: Error) -> Error {
        let secrets = [self.basic(), Zeroizing::new(form(&self.secret)), self.secret.clone()];
        let clean = |text: String, secret: &Zeroizing<String>| text.replace(secret.as_str(), "[redacted]");
        Error::new(error.kind(), secrets.iter().fold(error.to_string(), clean))
    }
}

/// The endpoint, if the client's secret may travel to it: over TLS, or without leaving this machine.
fn endpoint(url: &str) -> Result<String> {
    let wrong = |why: &str| Err(Error::config(format!("the Kafka property {ENDPOINT} {why}")));
    let Some((scheme, rest)) = url.split_once("://") else { return wrong("is no URL: begin it with https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return wrong("must name a host, and no user or password");
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(url.to_owned()),
        "http" if is_here => Ok(url.to_owned()),
        "http" => wrong("would send the client's secret in the clear: use https://"),
        _ => wrong("must begin with https://"),
    }
}

/// The authorities that the provider's certificate may come from: the system's, and one of the user's.
fn trust(authority: Option<&str>) -> Result<TlsContext> {
    let Some(path) = authority else { return remote::trusting(None) };
    let wrong = |what: String| Error::config(format!("the Kafka property {AUTHORITY}: {what}"));
    let pem = std::fs::read(path).map_err(|e| wrong(format!("reading {path}")).caused_by(e))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong(format!("{path} holds no PEM certificate")));
    }
    remote::trusting(Some(&pem)).map_err(|e| e.context(format!("the Kafka property {AUTHORITY}")))
}

/// A token as the provider gave it.
struct Token {
    text: Zeroizing<String>,
    principal: String,
    /// When it ends, milliseconds since 1970, by our clock.
    ends: i64,
    /// How long it lives from its arrival.
    lifetime: Duration,
    handed_over: bool,
}

#[derive(Default)]
struct State {
    newest: Option<Token>,
    /// Why the last attempt failed.
    error: Option<String>,
    is_running: bool,
    is_closed: bool,
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic elsewhere leaves the state whole: each change is one assignment
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, hands over, waits, again: until nobody wants tokens any more.
    fn keep(&self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(e) => {
                self.lock().error = Some(format!("no runtime to ask for tokens: {e}"));
                return self.changed.notify_all();
            }
        };
        let mut pause = RETRY.0;
        loop {
            let asked = Instant::now();
            let outcome = runtime.block_on(async {
                let timed_out = || Error::retry(format!("no answer within {} s", PATIENCE.as_secs()));
                tokio::time::timeout(PATIENCE, fetch(&self.settings)).await.unwrap_or_else(|_| Err(timed_out()))
            });
            let mut state = self.lock();
            let wait = match outcome {
                Ok(token) => {
                    tracing::debug!(seconds = token.lifetime.as_secs(), "a token for Kafka was issued");
                    // librdkafka asks at four fifths; what it then gets must be new already
                    let due = (token.lifetime * 3 / 4).saturating_sub(asked.elapsed()).max(RETRY.0);
                    (state.newest, state.error, pause) = (Some(token), None, RETRY.0);
                    due
                }
                Err(error) => {
                    let message = error.to_string();
                    if state.error.as_ref() != Some(&message) {
                        tracing::warn!("no token for Kafka: {message}");
                    }
                    state.error = Some(message);
                    pause = (pause * 2).min(RETRY.1);
                    pause / 2
                }
            };
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(state, wait, |state| !state.is_closed);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_closed {
                return;
            }
        }
    }
}

/// Where a client of Kafka gets its tokens; nothing, unless its mechanism is OAUTHBEARER.
pub struct Tokens(Option<Arc<Shared>>);

impl Tokens {
    /// Checks the properties. Nothing is asked yet.
    pub fn of(properties: &Properties) -> Result<Self> {
        let shared = |settings| Arc::new(Shared { settings, state: Mutex::default(), changed: Condvar::new() });
        Ok(Self(Settings::of(properties)?.map(shared)))
    }

    /// Whether a client has to get a token before it can connect.
    pub fn are_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Whether librdkafka has got one.
    pub fn are_there(&self) -> bool {
        let handed_over = |shared: &Arc<Shared>| shared.lock().newest.as_ref().is_some_and(|token| token.handed_over);
        self.0.as_ref().is_none_or(handed_over)
    }

    /// A token for librdkafka, which asks when it connects and at four fifths of a token's life. Waits for the first
    /// one only; an error is told by librdkafka, which asks again after ten seconds.
    pub fn next(&self) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        let shared = self.0.as_ref().ok_or("the mechanism is not OAUTHBEARER")?;
        let mut state = shared.lock();
        if !state.is_running {
            let keeper = shared.clone();
            std::thread::Builder::new().name("authseal-oauth".into()).spawn(move || keeper.keep())?;
            state.is_running = true;
        }
        let nothing = |state: &mut State| state.newest.is_none() && state.error.is_none();
        let (mut state, _) =
            shared.changed.wait_timeout_while(state, FIRST, nothing).unwrap_or_else(PoisonError::into_inner);
        let State { newest, error, .. } = &mut *state;
        match (newest, error) {
            (Some(token), error) if !token.handed_over || error.is_none() => {
                token.handed_over = true;
                Ok(OAuthToken {
                    token: token.text.to_string(),
                    principal_name: token.principal.clone(),
                    lifetime_ms: token.ends,
                })
            }
            (_, Some(error)) => Err(error.clone().into()),
            (_, None) => Err("the identity provider has not answered yet".into()),
        }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().is_closed = true;
            shared.changed.notify_all();
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.0.as_ref().map(|shared| &shared.settings.endpoint);
        f.debug_tuple("Tokens").field(&endpoint).finish()
    }
}

/// One request and its answer.
async fn fetch(settings: &Settings) -> Result<Token> {
    let place = |e: Error| e.context(format!("the token endpoint {}", settings.endpoint));
    let mut body = String::from("grant_type=client_credentials");
    if let Some(scope) = &settings.scope {
        body += &format!("&scope={}", form(scope));
    }
    let mut request = HttpRequest::new(SdkBody::from(body.clone()));
    let odd = |what: &str| Error::config(format!("{what} is not accepted by the HTTP client"));
    request.set_method("POST").map_err(|_| odd("the method"))?;
    request.set_uri(settings.endpoint.as_str()).map_err(|_| place(odd("the URL")))?;
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Basic {}", settings.basic().as_str()));
    headers.insert("content-type", "application/x-www-form-urlencoded");
    headers.insert("content-length", body.len().to_string());
    headers.insert("accept", "application/json");
    let answer = remote::connector(settings.tls.clone())
        .call(request)
        .await
        .map_err(|e| place(Error::retry(plain(&error::causes(&e)))))?;
    let status = answer.status().as_u16();
    let body = ByteStream::new(answer.into_body()).collect().await;
    let body = body.map_err(|e| place(Error::retry(plain(&error::causes(&e)))))?.into_bytes();
    if body.len() > MOST {
        return Err(place(Error::retry(format!("answered with {} bytes, which is no token", body.len()))));
    }
    let token = read(status, &body, now()).map_err(|error| place(settings.hide(error)))?;
    // the client's id stands for it where the token is not one to look into
    Ok(Token { principal: if token.principal.is_empty() { settings.client.clone() } else { token.principal }, ..token })
}

/// Reads the provider's answer (RFC 6749 §5). Times are milliseconds since 1970.
fn read(status: u16, body: &[u8], now: i64) -> Result<Token> {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(|value| value.as_str());
    if status != 200 {
        let words: Vec<String> = ["error", "error_description"].into_iter().filter_map(text).map(plain).collect();
        let words = if words.is_empty() { "no reason given".into() } else { words.join(": ") };
        // 4xx is about what we sent; too many requests and all else are of the moment
        return Err(match status {
            400..=499 if status != 429 && status != 408 => Error::config(format!("{REFUSED}: {status} {words}")),
            _ => Error::retry(format!("the identity provider answered {status}: {words}")),
        });
    }
    let Some(token) = text("access_token").filter(|token| !token.is_empty() && !token.contains('\0')) else {
        return Err(Error::retry("the identity provider answered 200 without an access_token"));
    };
    if let Some(kind) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(Error::config(format!("{REFUSED}: its tokens are of type {:?}, not bearer", plain(kind))));
    }
    let claims = claims(token);
    let number = |value: Option<&serde_json::Value>| value.and_then(|value| value.as_f64());
    // by our own clock where we can: the provider's may differ
    let lifetime = number(json.get("expires_in")).map(|seconds| seconds * 1000.0);
    let lifetime = lifetime.or_else(|| number(claims.get("exp")).map(|exp| exp * 1000.0 - now as f64));
    let lifetime = lifetime.filter(|ms| *ms >= 1.0).ok_or_else(|| {
        Error::retry("the identity provider gave a token that has ended, or does not say when it ends (expires_in)")
    })?;
    let lifetime = lifetime.min(365.0 * 86_400_000.0) as i64;
    let subject = claims.get("sub").and_then(|sub| sub.as_str()).filter(|sub| !sub.contains('\0')).unwrap_or_default();
    Ok(Token {
        text: Zeroizing::new(token.to_owned()),
        principal: subject.to_owned(),
        ends: now + lifetime,
        lifetime: Duration::from_millis(lifetime.unsigned_abs()),
        handed_over: false,
    })
}

/// The claims of a JWT, not verified: the brokers do that. Nothing for other tokens.
fn claims(token: &str) -> serde_json::Value {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// `application/x-www-form-urlencoded`.
fn form(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

/// What the provider wrote, fit for a line of a log.
fn plain(text: &str) -> String {
    error::plain(text, WORDS)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// What an error of librdkafka about a token means for whoever runs authseal.
pub fn advice(words: &str) -> Option<(Kind, &'static str)> {
    if !words.contains("OAUTHBEARER token") {
        return None;
    }
    let kind = if words.contains(REFUSED) { Kind::Config } else { Kind::Retry };
    Some((kind, "check the sasl.oauthbearer properties, and whether the provider answers from here"))
}

#[cfg(test)]
mod tests;
