//! A registry that speaks Confluent's API: schemas by id, and what they refer to by subject and version.
//!
//! What it answers is not believed: sizes, counts and depths are bounded, a schema must parse, redirections are not
//! followed (they would carry the password to another host). A failure is told apart: whether the registry is away, or
//! keeps this one answer from us. After an odd answer it is asked something harmless, and so says which.

use super::{Failure, Registry, cache::Cache};
use crate::{
    avro::{join::join, schema::Schema},
    error::{Error, Result},
    remote::{Http, Look, Told, plain},
    source::kafka::oauth::ClientCredentials,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};
use zeroize::Zeroizing;

/// One answer has at most so many bytes.
const MOST: usize = 1 << 20;
/// A schema may refer to so many others, what these refer to included …
const MOST_REFERENCES: usize = 64;
/// … so deep.
const MAX_DEPTH: usize = 16;
const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// A registry that answers this with 200 is one, and works.
const PROBE: &str = "schemas/types";

/// Who we are to the registry.
pub enum Auth {
    /// Nobody.
    None,
    /// HTTP Basic.
    Basic {
        /// Name, or API key.
        user: String,
        /// Password, or API secret.
        password: Zeroizing<String>,
    },
    /// A token that does not change.
    Bearer(Zeroizing<String>),
    /// Tokens of an identity provider.
    OAuth(ClientCredentials),
}

/// How to reach a registry.
pub struct Settings {
    /// Its addresses, without a slash at the end: asked one after the other until one answers. At least one.
    pub urls: Vec<String>,
    /// Who we are.
    pub auth: Auth,
    /// Certificate authorities to trust beside the system's: PEM.
    pub authorities: Option<Vec<u8>>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Where schemas are kept for the time when it is down.
    pub cache: Option<PathBuf>,
}

/// The client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: Http,
    urls: Vec<String>,
    /// The address that answered last.
    at: AtomicUsize,
    auth: Auth,
    /// Of an identity provider: the token, and until when it is used.
    token: Mutex<Option<(Zeroizing<String>, Instant)>>,
    cache: Option<Cache>,
}

/// A schema as the registry tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Its id.
    pub id: Option<u32>,
    /// Its version, where it was asked for by its subject.
    pub version: Option<i64>,
    /// Its text.
    pub schema: String,
    /// What it refers to: name, subject, version.
    references: Vec<(String, String, i64)>,
}

impl Client {
    /// Asks nobody yet.
    pub fn new(settings: Settings) -> Result<Self> {
        let http = Http::trusting(settings.authorities.as_deref())?.with_patience(settings.timeout);
        let name = settings.urls.join(" ");
        let cache = settings.cache.map(|dir| Cache::open(&dir, &name)).transpose()?;
        Ok(Self(Arc::new(Inner {
            http,
            urls: settings.urls,
            at: AtomicUsize::new(0),
            auth: settings.auth,
            token: Mutex::new(None),
            cache,
        })))
    }

    /// The schema of a version of a subject (`latest`, or a number), with what it refers to in it.
    pub async fn version(&self, subject: &str, version: &str) -> Result<(Stated, Vec<u8>), Failure> {
        let stated = self.0.stated(&subject_path(subject, version)).await?;
        let whole = self.0.resolve(&stated).await?;
        Ok((stated, whole))
    }
}

impl Registry for Client {
    fn fetch(&self, id: u32) -> BoxFuture<'static, Result<Vec<u8>, Failure>> {
        let inner = self.0.clone();
        Box::pin(async move {
            if let Some(bytes) = inner.cache.as_ref().and_then(|cache| cache.get(id)) {
                return Ok(bytes);
            }
            let stated = inner.stated(&format!("schemas/ids/{id}")).await?;
            let whole = inner.resolve(&stated).await?;
            if let Some(cache) = &inner.cache {
                cache.put(id, &whole);
            }
            Ok(whole)
        })
    }

    fn describe(&self) -> String {
        self.0.urls.join(", ")
    }
}

/// What an answer means.
enum Answer {
    Good(Value),
    /// It says itself that there is no such thing.
    Missing,
    /// Nobody speaks for the registry: what is wrong with the answer.
    Odd(Error),
    /// The registry as a whole does not serve us.
    Away(Error),
}

impl Inner {
    /// A schema by a path of the API.
    async fn stated(&self, path: &str) -> Result<Stated, Failure> {
        let first = self.at.load(Ordering::Relaxed);
        let mut away = None;
        for n in 0..self.urls.len() {
            let place = (first + n) % self.urls.len();
            let Some(base) = self.urls.get(place) else { continue };
            let failure = match self.ask(base, path).await {
                Answer::Good(json) if json.get("schema").is_some_and(Value::is_string) => {
                    self.at.store(place, Ordering::Relaxed);
                    return read(&json);
                }
                Answer::Missing => {
                    self.at.store(place, Ordering::Relaxed);
                    return Err(Failure::Unknown);
                }
                Answer::Away(error) => error,
                Answer::Good(_) => {
                    let odd = Error::retry("answered 200 without a schema").context(plain(base));
                    self.withheld_or_away(base, odd).await?
                }
                Answer::Odd(error) => self.withheld_or_away(base, error).await?,
            };
            away.get_or_insert(failure);
        }
        Err(Failure::Away(away.unwrap_or_else(|| Error::config("no address of a schema registry is configured"))))
    }

    /// Tells whether a registry that gave an odd answer gives good ones to others; the error if not.
    async fn withheld_or_away(&self, base: &str, odd: Error) -> Result<Error, Failure> {
        match self.ask(base, PROBE).await {
            Answer::Good(json) if json.is_array() => Err(Failure::Withheld(odd)),
            _ => Ok(odd),
        }
    }

    async fn ask(&self, base: &str, path: &str) -> Answer {
        let url = format!("{base}/{path}");
        let authorization = match self.authorization().await {
            Ok(authorization) => authorization,
            Err(error) => return Answer::Away(error),
        };
        match self.http.look(Look { url: url.clone(), accept: ACCEPT, authorization, at_most: MOST }).await {
            Ok(told) => judge(&told, &url),
            // too slow or too long for one question need not be so for another
            Err(error) if error.is_retry() => Answer::Odd(error),
            Err(error) => Answer::Away(error),
        }
    }

    async fn authorization(&self) -> Result<Option<Zeroizing<String>>> {
        Ok(match &self.auth {
            Auth::None => None,
            Auth::Basic { user, password } => {
                let pair = Zeroizing::new(format!("{user}:{}", password.as_str()));
                Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
            }
            Auth::Bearer(token) => Some(Zeroizing::new(format!("Bearer {}", token.as_str()))),
            Auth::OAuth(credentials) => {
                let mut token = self.token.lock().await;
                if token.as_ref().is_none_or(|(_, until)| *until <= Instant::now()) {
                    let (text, lifetime) = credentials.token().await?;
                    // a clock that is a little off must not make it too old
                    *token = Some((text, Instant::now() + lifetime * 3 / 4));
                }
                token.as_ref().map(|(text, _)| Zeroizing::new(format!("Bearer {}", text.as_str())))
            }
        })
    }

    /// The schema with what it refers to in it.
    async fn resolve(&self, stated: &Stated) -> Result<Vec<u8>, Failure> {
        let unusable = |why: String| Failure::Unusable(plain(&why));
        let mut walk = Walk::default();
        for reference in &stated.references {
            self.collect(reference, &mut walk, 1).await?;
        }
        let whole = join(stated.schema.as_bytes(), &walk.found).map_err(unusable)?;
        Schema::parse(&whole).map_err(unusable)?;
        Ok(whole)
    }

    /// Fetches a reference behind those that it refers to itself.
    fn collect<'a>(
        &'a self,
        reference: &'a (String, String, i64),
        walk: &'a mut Walk,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (name, subject, version) = reference;
            let key = (subject.clone(), *version);
            let shown = plain(&format!("{name:?} (version {version} of {subject})"));
            if walk.open.contains(&key) {
                return Err(Failure::Unusable(format!("the reference {shown} refers to itself")));
            }
            if walk.done.contains(&key) {
                return Ok(());
            }
            if depth > MAX_DEPTH || walk.done.len() + walk.open.len() >= MOST_REFERENCES {
                let what = format!("it refers to more than {MOST_REFERENCES} others, or deeper than {MAX_DEPTH}");
                return Err(Failure::Unusable(what));
            }
            walk.open.push(key.clone());
            let path = subject_path(subject, &version.to_string());
            let stated = self.stated(&path).await.map_err(|failure| match failure {
                Failure::Unknown => Failure::Unusable(format!("the registry does not have the reference {shown}")),
                Failure::Unusable(why) => Failure::Unusable(format!("the reference {shown}: {why}")),
                other => other,
            })?;
            for below in &stated.references {
                self.collect(below, walk, depth + 1).await?;
            }
            walk.open.pop();
            walk.done.push(key);
            walk.found.push((name.clone(), stated.schema.into_bytes()));
            Ok(())
        })
    }
}

/// References on the way.
#[derive(Default)]
struct Walk {
    open: Vec<(String, i64)>,
    done: Vec<(String, i64)>,
    found: Vec<(String, Vec<u8>)>,
}

/// Deleted versions may still be referred to.
fn subject_path(subject: &str, version: &str) -> String {
    let deleted = if version == "latest" { "" } else { "?deleted=true" };
    format!("subjects/{}/versions/{version}{deleted}", encode(subject))
}

/// A text as one part of a path (RFC 3986).
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What the status and the body of an answer mean.
fn judge(told: &Told, url: &str) -> Answer {
    let json: Option<Value> = serde_json::from_slice(&told.body).ok();
    let place = |error: Error| error.context(plain(url));
    let words = json.as_ref().and_then(|json| json.get("message")).and_then(Value::as_str).map(plain);
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    let code = json.as_ref().and_then(|json| json.get("error_code")).and_then(Value::as_i64);
    match (told.status, json) {
        (200, Some(json)) => Answer::Good(json),
        (200, None) => Answer::Odd(place(Error::retry("answered 200 with something that is no JSON"))),
        // only the registry's own words mean that it looked: any web server answers 404 to a wrong address
        (404, _) if code.is_some_and(|code| (40400..40500).contains(&code)) => Answer::Missing,
        (404, _) => Answer::Odd(place(Error::config(format!(
            "answered 404{words}: is this the address of a schema registry (with its path, if it has one)?"
        )))),
        (status @ (401 | 403), _) => Answer::Away(place(Error::config(format!(
            "answered {status}{words}: check the registry's user and password, or token"
        )))),
        (status @ 300..=399, _) => Answer::Away(place(Error::config(format!(
            "answered {status}: redirections are not followed, name the address that it leads to"
        )))),
        (429, _) => Answer::Away(place(Error::retry(format!("answered 429{words}")))),
        (status, _) => Answer::Odd(place(Error::retry(format!("answered {status}{words}")))),
    }
}

/// Reads a schema out of an answer.
fn read(json: &Value) -> Result<Stated, Failure> {
    let number = |name: &str| json.get(name).and_then(Value::as_i64);
    let schema = json.get("schema").and_then(Value::as_str).unwrap_or_default();
    if let Some(kind) = json.get("schemaType").and_then(Value::as_str).filter(|kind| *kind != "AVRO") {
        return Err(Failure::Unusable(format!("it is of type {}, not AVRO", plain(kind))));
    }
    let mut references = Vec::new();
    for reference in json.get("references").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| reference.get(name).and_then(Value::as_str).map(str::to_owned);
        let version = reference.get("version").and_then(Value::as_i64);
        match (text("name"), text("subject"), version) {
            (Some(name), Some(subject), Some(version)) => references.push((name, subject, version)),
            _ => return Err(Failure::Unusable("it has a reference without name, subject or version".into())),
        }
    }
    let id = number("id").and_then(|id| u32::try_from(id).ok());
    Ok(Stated { id, version: number("version"), schema: schema.to_owned(), references })
}
