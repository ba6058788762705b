//! Introducing and retiring keys by entries of the log.

use super::Desk;
use crate::{
    artifact::{self, File},
    digest::Digest,
    error::{Error, Result},
    layout,
    note::{KeyId, Verifiers},
    position::ChainId,
    retention::Retention,
    segment,
    signing::{self, Sign},
    store::{self, Put, Store},
    tlog::{KeyEntry, Ledger, key::Action},
};

/// Segments of one chain looked at before a key is retired.
const PAGE: usize = 1000;

/// The artifact that says of a key that it was retired: an instance that is started with it finds it by one read, where
/// finding the entry would take reading all of the log. It is not evidence: the entry is. It is named by its content,
/// which follows from the key.
fn tombstone(vkey: &str) -> (String, Vec<u8>) {
    let path = format!("retired-key/{}", Digest::of(vkey.as_bytes()).hex());
    let (digest, bytes) = artifact::bundle(vec![File { path, bytes: format!("{vkey}\n").into_bytes() }]);
    (layout::artifact_key(&digest), bytes)
}

/// Whether a key was retired in the log of this store.
pub async fn is_retired(store: &dyn Store, vkey: &str) -> Result<bool> {
    let (key, _) = tombstone(vkey.trim());
    Ok(store.list(&key, None, 1).await?.iter().any(|entry| entry.key == key))
}

/// An entry about a key, signed by each of these.
async fn entry(
    desk: &Desk,
    action: Action,
    vkey: &str,
    reason: &str,
    signers: &[&dyn Sign],
    now: i64,
) -> Result<String> {
    let mut entry = KeyEntry::new(&desk.options().origin, action, vkey.trim(), now, reason);
    let text = entry.text()?;
    for signer in signers {
        if !entry.signatures.iter().any(|made| made.id == signer.id().to_string()) {
            entry.add(signer.id(), &signing::signature(*signer, &text).await?);
        }
    }
    entry.line()
}

/// Introduces `new`, on the word of `by`: a key of the same name that is good now.
///
/// If we crash here: see [`Desk::append`]; asking again says that it is known.
pub async fn introduce(desk: &mut Desk, new: &dyn Sign, by: &dyn Sign, reason: &str) -> Result<()> {
    let line = entry(desk, Action::Introduce, &new.verifier_key(), reason, &[new, by], desk.now()).await?;
    desk.append(|_| Ok(vec![line.clone()])).await?;
    desk.publish().await
}

/// Retires a key on the word of `by`, keys of its name of which at least one is good now. What is sealed by it and not
/// logged yet would be refused for ever: then this is refused.
///
/// If we crash here: after the entry the key is retired; asking again leaves the tombstone.
pub async fn retire(desk: &mut Desk, vkey: &str, by: &[&dyn Sign], reason: &str) -> Result<()> {
    let (name, id) = only(vkey)?;
    if !already(desk.ledger(), &name, id) {
        refuse_if_unlogged(desk, &name, id).await?;
        let line = entry(desk, Action::Retire, vkey, reason, by, desk.now()).await?;
        desk.append(|_| Ok(vec![line.clone()])).await?;
    }
    bury(desk, vkey).await?;
    // a key of the log that retired itself signs no checkpoint any more: its successor's instances do
    match desk.ledger().ring().judge(&desk.options().origin, desk.parts().signer.id(), desk.ledger().size()) {
        Ok(()) => desk.publish().await,
        Err(_) => Ok(()),
    }
}

/// Introduces `new` and retires `old` in one batch: either both have happened or neither. Nothing may be sealed with
/// the old key meanwhile.
///
/// If we crash here: after the batch, asking again leaves the tombstone.
pub async fn rotate(desk: &mut Desk, old: &dyn Sign, new: &dyn Sign, reason: &str) -> Result<()> {
    if already(desk.ledger(), old.name(), old.id()) {
        return bury(desk, &old.verifier_key()).await;
    }
    refuse_if_unlogged(desk, old.name(), old.id()).await?;
    let now = desk.now();
    let introduced = entry(desk, Action::Introduce, &new.verifier_key(), reason, &[new, old], now).await?;
    let retired = entry(desk, Action::Retire, &old.verifier_key(), reason, &[old, new], now).await?;
    desk.append(|_| Ok(vec![introduced.clone(), retired.clone()])).await?;
    bury(desk, &old.verifier_key()).await
}

fn only(vkey: &str) -> Result<(String, KeyId)> {
    let keys = Verifiers::parse(vkey)?;
    let mut named = keys.iter();
    match (named.next(), named.next()) {
        (Some((name, id)), None) => Ok((name.to_owned(), id)),
        _ => Err(Error::config("one verifier key is needed")),
    }
}

fn already(ledger: &Ledger, name: &str, id: KeyId) -> bool {
    ledger.ring().find(name, id).is_some_and(|span| span.retired.is_some())
}

/// Leaves the tombstone, locked as batches are.
async fn bury(desk: &Desk, vkey: &str) -> Result<()> {
    let (key, bytes) = tombstone(vkey.trim());
    let retention: Retention = desk.options().retention.at(desk.now());
    match store::put_new(&*desk.parts().store, &key, bytes.into(), &retention).await {
        Ok(Put::Ours(_) | Put::Taken(_)) => Ok(()),
        Ok(Put::Marker) => Err(Error::tampered(format!("{key}: a delete marker lies there: remove it, and try again"))),
        // there with an older lock: it says what it should
        Err(error) if is_retired(&*desk.parts().store, vkey).await? => {
            tracing::debug!("{error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Looks behind the logged end of every chain for segments that a key has sealed.
async fn refuse_if_unlogged(desk: &Desk, name: &str, id: KeyId) -> Result<()> {
    let (store, keys) = (&*desk.parts().store, desk.ledger().ring().verifiers());
    if !name.ends_with("/seal") {
        return Ok(());
    }
    for chain in chains(store).await? {
        let next = desk.ledger().account(&chain).map_or(0, |account| account.next());
        let after = next.checked_sub(1).map(|last| layout::segment_key(&chain, last));
        for found in store.list(&layout::chain_prefix(&chain), after.as_deref(), PAGE).await? {
            let Some(stored) = store.read_oldest(&found.key).await? else { continue };
            let signed_by = segment::open(&stored.bytes, keys).map(|opened| opened.signed_by);
            if signed_by.is_ok_and(|signer| signer == id.to_string()) {
                return Err(Error::config(format!(
                    "{} was sealed with {name}+{id} and is not in the log yet: retired now, it would be refused for \
                     ever; stop the instances that seal with this key, wait until it is logged, and try again",
                    found.key
                )));
            }
        }
    }
    Ok(())
}

/// Every chain that has a folder.
pub(super) async fn chains(store: &dyn Store) -> Result<Vec<ChainId>> {
    let mut folders = vec![layout::CHAINS.to_owned()];
    for _ in 0..4 {
        let mut below = Vec::new();
        for folder in folders {
            below.extend(store.folders(&folder).await?);
        }
        folders = below;
    }
    Ok(folders.iter().filter_map(|folder| layout::parse_chain_prefix(folder)).collect())
}
