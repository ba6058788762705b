//! `[registry]`: who is asked for the schemas of records that name them by an id.

use super::{
    check::Check,
    resolve::is_local,
    secret::Secret,
    settings::{OAuthSettings, RegistrySettings},
    topics::Topic,
};
use crate::decode::Format;
use std::{path::PathBuf, time::Duration};

/// The longest that one answer may take: longer, and a registry that hangs would not be noticed.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A schema registry.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Its addresses, without a slash at the end; at least one.
    pub urls: Vec<String>,
    /// Who we are to it.
    pub auth: Auth,
    /// Certificate authorities beside the system's: PEM.
    pub authorities: Option<Vec<u8>>,
    /// Where schemas are kept for the time when it is down.
    pub cache_dir: Option<PathBuf>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long a partition waits for a schema while it is down.
    pub wait: Duration,
}

/// Who we are to a registry.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody.
    None,
    /// HTTP Basic: name and password, or API key and secret.
    Basic(String, Secret),
    /// A bearer token that does not change.
    Token(Secret),
    /// Tokens of an identity provider, by client credentials.
    OAuth {
        /// The token endpoint.
        url: String,
        /// Client id.
        client: String,
        /// Client secret.
        secret: Secret,
        /// Scope, if the provider wants one.
        scope: Option<String>,
    },
}

/// Whether there is one: what is wrong with it is told elsewhere.
pub(super) fn is_given(check: &Check<'_>) -> bool {
    check.origin("registry.url").is_some()
}

pub(super) fn resolve(settings: RegistrySettings, topics: &[Topic], check: &mut Check<'_>) -> Option<Registry> {
    let auth = auth(&settings, check);
    let authorities = settings.ca_file.as_ref().and_then(|path| {
        let pem = check.read(check.origin("registry.ca_file"), "registry.ca_file", path)?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            check.wrong("registry.ca_file", format!("{} holds no PEM certificate", path.display()));
        }
        Some(pem)
    });
    let timeout = check.duration("registry.timeout", settings.timeout, Duration::from_secs(5));
    if timeout > MAX_TIMEOUT {
        check.wrong("registry.timeout", "is longer than a minute");
    }
    let wait = check.duration("registry.wait", settings.wait, Duration::from_secs(300));
    let Some(urls) = settings.url else {
        if check.origin("registry").is_some() && (!matches!(auth, Auth::None) || settings.cache_dir.is_some()) {
            check.missing("registry.url", "the address of the schema registry");
        }
        return None;
    };
    let is_secret = !matches!(auth, Auth::None);
    let urls: Vec<String> = urls.0.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    if urls.is_empty() {
        check.wrong("registry.url", "names no address");
    }
    for url in &urls {
        if let Err(message) = address(url, is_secret) {
            check.wrong("registry.url", message);
        }
    }
    if !topics.iter().any(|topic| matches!(topic.spec.format, Format::Registry { .. })) && !topics.is_empty() {
        check.warn("registry: no topic has format = \"confluent\", nobody asks it");
    }
    let cache_dir = settings.cache_dir.map(|dir| check.path(&dir));
    if cache_dir.is_none() {
        check.warn(
            "registry.cache_dir is not set: a restart while the registry is down waits for schemas that were known",
        );
    }
    Some(Registry { urls, auth, authorities, cache_dir, timeout, wait })
}

/// An address that may be asked, and told a secret if there is one.
fn address(url: &str, is_secret: bool) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        return Err(format!("{url:?} is no URL: it begins with https:// or http:// and a host"));
    }
    if host.contains('@') {
        // never repeated: the part before it is a password
        return Err("holds a user or password: use registry.user and registry.password_file".into());
    }
    if rest.contains(['?', '#']) {
        return Err(format!("{url:?} has a query: name the folder in which /schemas/ids lies"));
    }
    if scheme == "http" && is_secret && !is_local(host) {
        return Err(format!("{url:?} would send the password or token in the clear: use https://"));
    }
    Ok(())
}

fn auth(settings: &RegistrySettings, check: &mut Check<'_>) -> Auth {
    let password = check.secret("registry.password", settings.password.clone(), settings.password_file.as_deref());
    let token = check.secret("registry.token", settings.token.clone(), settings.token_file.as_deref());
    let oauth = oauth(&settings.oauth, check);
    let given = usize::from(settings.user.is_some()) + usize::from(token.is_some()) + usize::from(oauth.is_some());
    if given > 1 {
        check.wrong("registry", "has more than one of user, token_file and oauth: keep one of them");
    }
    match (settings.user.clone(), password, token, oauth) {
        (Some(user), Some(password), ..) => {
            if user.contains(':') {
                check.wrong("registry.user", "holds a colon, which HTTP Basic cannot carry");
            }
            Auth::Basic(user, password)
        }
        (Some(_), None, ..) => {
            check.missing("registry.password_file", "the password of registry.user");
            Auth::None
        }
        (None, Some(_), ..) => {
            check.missing("registry.user", "whose password registry.password_file is");
            Auth::None
        }
        (None, None, Some(token), _) => Auth::Token(token),
        (None, None, None, Some(oauth)) => oauth,
        (None, None, None, None) => Auth::None,
    }
}

fn oauth(settings: &OAuthSettings, check: &mut Check<'_>) -> Option<Auth> {
    let name = "registry.oauth.client_secret";
    let secret = check.secret(name, settings.client_secret.clone(), settings.client_secret_file.as_deref());
    if settings.url.is_none() && settings.client_id.is_none() && secret.is_none() && settings.scope.is_none() {
        return None;
    }
    if let Some(Err(message)) = settings.url.as_deref().map(|url| address(url, true)) {
        check.wrong("registry.oauth.url", message);
    }
    for (given, name, what) in [
        (settings.url.is_some(), "url", "the token endpoint of the identity provider"),
        (settings.client_id.is_some(), "client_id", "the client that asks for tokens"),
        (secret.is_some(), "client_secret_file", "the secret of that client"),
    ] {
        if !given {
            check.missing(&format!("registry.oauth.{name}"), what);
        }
    }
    let (url, client, scope) = (settings.url.clone()?, settings.client_id.clone()?, settings.scope.clone());
    Some(Auth::OAuth { url, client, secret: secret?, scope })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_encrypted_or_not_at_all() {
        for (url, secret, good) in [
            ("https://sr.example:8081", true, true),
            ("http://127.0.0.1:8081/apis/ccompat/v7", true, true),
            ("http://sr.example", false, true),
            ("http://sr.example", true, false),
            ("https://user:pw@sr.example", false, false),
            ("https://sr.example?x=1", false, false),
            ("sr.example:8081", false, false),
            ("ftp://sr.example", false, false),
            ("https://", false, false),
        ] {
            assert_eq!(address(url, secret).is_ok(), good, "{url}");
        }
        assert!(!address("https://user:pw@sr.example", false).unwrap_err().contains("pw"));
    }
}
