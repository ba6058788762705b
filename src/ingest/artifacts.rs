//! What is in force (rules, lists, schemas), stored before any manifest names it, and locked at least as long.

use super::options::Options;
use crate::{
    artifact,
    digest::Digest,
    error::{Error, Kind, Result},
    layout,
    manifest::Artifacts,
    retention::{LockMode, Retention},
    store::{self, Change, Create, Store},
};
use bytes::Bytes;
use std::time::Duration;

/// Locks are renewed this often …
pub const RENEW: Duration = Duration::from_secs(24 * 3600);
/// … and last so much longer than those of segments sealed now that they cover every segment sealed until the next
/// renewal.
const SLACK: Duration = Duration::from_secs(48 * 3600);

/// The bundles in force, and the names by which manifests call them.
#[derive(Clone)]
pub struct InForce {
    /// What the manifests say.
    pub names: Artifacts,
    bundles: [(Digest, Bytes); 2],
}

impl InForce {
    /// Of the rules and decoders of the workflow.
    pub fn of(options: &Options) -> Self {
        let (rules, bytes) = options.rules.bundle();
        let rules = (rules, Bytes::copy_from_slice(&bytes));
        let files = options.topics.labelled().flat_map(|(topic, t)| {
            t.decoder.files().into_iter().map(move |f| artifact::File { path: format!("{topic}/{}", f.path), ..f })
        });
        let (decode, bytes) = artifact::bundle(files.collect());
        // who does not judge names no rules: others judge, with rules that are not known here
        let judges = options.live.roles.detect;
        let names = Artifacts { rules: judges.then_some(rules.0), decode: Some(decode) };
        Self { names, bundles: [rules, (decode, bytes.into())] }
    }

    /// The same with the schemas and mappings of others: rules and these come into force each at their own time.
    pub fn with_decode_of(&self, other: &Self) -> Self {
        let names = Artifacts { decode: other.names.decode, ..self.names };
        let ([rules, _], [_, decode]) = (self.bundles.clone(), other.bundles.clone());
        Self { names, bundles: [rules, decode] }
    }

    /// Puts them, or lengthens the locks of those that lie there. If we crash here, the next start does it again. Who
    /// does not seal names none of them, and writes nothing.
    pub async fn store(&self, store: &dyn Store, options: &Options, now: i64) -> Result<()> {
        // segments of every topic name them
        let longest = options.seal.classes.values().fold(options.retention, |longest, class| longest.longer(*class));
        let retention = longest.at(now.saturating_add(SLACK.as_millis() as i64));
        if !options.live.roles.seal {
            return Ok(());
        }
        let named = [self.names.rules, self.names.decode];
        for (digest, bytes) in self.bundles.iter().filter(|(digest, _)| named.contains(&Some(*digest))) {
            let key = layout::artifact_key(digest);
            keep(store, &key, bytes, &retention).await.map_err(|e| e.context(format!("storing {key}")))?;
        }
        Ok(())
    }
}

/// Sees to it that `key` holds `bytes`, locked as `retention` says or longer.
async fn keep(store: &dyn Store, key: &str, bytes: &Bytes, retention: &Retention) -> Result<()> {
    if store.create(key, bytes.clone(), retention).await? == Create::Created {
        return Ok(());
    }
    let stored = store.read_oldest(key).await?.filter(|stored| stored.bytes == bytes);
    let Some(stored) = stored else {
        return Err(Error::tampered(format!(
            "{} holds other bytes than the name says, or they were deleted: somebody wrote to the store",
            store.describe()
        )));
    };
    if retention.mode == LockMode::None {
        return Ok(());
    }
    let lock = match stored.retention {
        Some(lock) => Some(lock),
        None => store.retention_of(key, &stored.version).await?,
    };
    if lock.is_none_or(|lock| store::covers(&lock, retention)) {
        return Ok(());
    }
    match store.set_retention(key, &stored.version, retention).await? {
        Change::Done => Ok(()),
        Change::Locked(why) | Change::Denied(why) => Err(Error::new(
            Kind::Config,
            format!("its lock cannot be lengthened, so it would end before those of new segments: {why}"),
        )),
    }
}
