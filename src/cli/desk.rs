//! What the commands have in common that append entries of their own to the log: keys, holds, disposals.

use super::{exit::Failure, wire};
use crate::{
    config::Config,
    health::Health,
    log::{Desk, Options, Parts, Queue},
    manifest::Writer,
    store::StoreSpec,
};
use std::{sync::Arc, time::Duration};

/// Opens the store and the log of a configuration, and runs `work` on it.
pub fn run<T>(config: &Config, work: impl AsyncFnOnce(&mut Desk) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut desk = open(config).await?;
        work(&mut desk).await
    })
}

async fn open(config: &Config) -> Result<Desk, Failure> {
    let Some(log) = &config.transparency_log else {
        return Err(Failure::usage("log.key_file is not set: without a log there is nothing to enter this in"));
    };
    if let StoreSpec::Dir(path) = &config.store.spec
        && !path.is_dir()
    {
        return Err(Failure::usage(format!("store.path: {} is not a folder", path.display())));
    }
    let clock = wire::clock();
    // as a process that seals opens it: its promises are tried before anything is relied on
    let store = wire::open_store(config, &clock).await?;
    let signer = log.signer.open()?;
    let mut seal_keys = config.trusted.named(&crate::store_info::seal_key_name(&config.origin));
    if let Some(seal) = &config.seal.signer {
        seal_keys.extend(&seal.verifiers()?)?;
    }
    let parts = Parts {
        store,
        keys: Arc::new(wire::keys_with(&config.trusted, &*signer)?),
        signer,
        seal_keys: Arc::new(seal_keys),
        clock,
        publisher: None,
        health: Health::new(Duration::from_secs(120)),
        queue: Queue::default(),
    };
    let writer = Writer { version: env!("CARGO_PKG_VERSION").into(), instance: config.instance.clone() };
    Ok(Desk::open(parts, Options::new(&config.origin, writer, config.store.classes.longest())).await?)
}
