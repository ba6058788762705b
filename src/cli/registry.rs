//! The client of the schema registry that the configuration names, or that an address on the command line names.

use crate::{
    config::{self, Config, RegistryAuth},
    error::Result,
    ingest::Schemas,
    registry::http::{Auth, Client, Settings},
    source::kafka::oauth::ClientCredentials,
};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// What the workflow needs to ask for schemas; nothing where no registry is configured.
pub(super) fn schemas(config: &Config) -> Result<Option<Schemas>> {
    let Some(settings) = &config.registry else { return Ok(None) };
    let client = client(settings)?;
    tracing::info!(url = settings.urls.join(","), "schemas are asked of a registry");
    Ok(Some(Schemas { registry: Arc::new(client), wait: settings.wait }))
}

/// The client of a configured registry.
pub(super) fn client(settings: &config::Registry) -> Result<Client> {
    let authorities = settings.authorities.as_deref();
    let auth = match &settings.auth {
        RegistryAuth::None => Auth::None,
        RegistryAuth::Basic(user, password) => {
            Auth::Basic { user: user.clone(), password: Zeroizing::new(password.reveal().to_owned()) }
        }
        RegistryAuth::Token(token) => Auth::Bearer(Zeroizing::new(token.reveal().to_owned())),
        RegistryAuth::OAuth { url, client, secret, scope } => {
            Auth::OAuth(ClientCredentials::new(url, client, secret.reveal(), scope.as_deref(), authorities)?)
        }
    };
    Client::new(Settings {
        urls: settings.urls.clone(),
        auth,
        authorities: settings.authorities.clone(),
        timeout: settings.timeout,
        cache: settings.cache_dir.clone(),
    })
}

/// The client of a registry that asks for no password.
pub(super) fn open(url: &str) -> Result<Client> {
    Client::new(Settings {
        urls: vec![url.trim_end_matches('/').to_owned()],
        auth: Auth::None,
        authorities: None,
        timeout: Duration::from_secs(10),
        cache: None,
    })
}
