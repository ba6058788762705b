//! Manifests that are sealed and not in the log, found in the store: what a predecessor left, what found no room in the
//! queue, what another writer sealed.

use super::Queue;
use crate::{
    error::{Error, Result},
    layout,
    manifest::Manifest,
    note::Verifiers,
    position::ChainId,
    segment,
    store::Store,
};

/// Segments of one chain read in one turn: each is read as a whole.
const MOST: usize = 64;

/// Fills the queue with the manifests of `chain` from sequence `from` on. Whether it came to the end of the chain.
///
/// Every segment is opened and checked as an auditor does, before its manifest may enter the log.
pub(super) async fn fill(
    store: &dyn Store,
    keys: &Verifiers,
    origin: &str,
    queue: &Queue,
    chain: &ChainId,
    from: u64,
) -> Result<bool> {
    let after = from.checked_sub(1).map(|before| layout::segment_key(chain, before));
    let page = store.list(&layout::chain_prefix(chain), after.as_deref(), MOST).await?;
    let whole = page.len() < MOST;
    for entry in page {
        let Some((_, sequence)) = layout::parse_segment_key(&entry.key) else { continue };
        if queue.has(chain, sequence) {
            continue;
        }
        let line = read(store, keys, origin, chain, sequence).await?;
        if !queue.found(chain, sequence, line) {
            return Ok(false);
        }
    }
    Ok(whole)
}

async fn read(store: &dyn Store, keys: &Verifiers, origin: &str, chain: &ChainId, sequence: u64) -> Result<String> {
    let key = layout::segment_key(chain, sequence);
    let place = || format!("{key} in {} cannot be logged", store.describe());
    let Some(stored) = store.read_oldest(&key).await? else {
        return Err(Error::tampered(format!("{}: only a delete marker is left of it", place())));
    };
    let keys = keys.clone();
    let opened = tokio::task::spawn_blocking(move || segment::open(&stored.bytes, &keys)).await;
    let opened = opened.map_err(|e| Error::bug(format!("checking {key} did not end")).caused_by(e))?;
    let opened = opened.map_err(|fault| Error::tampered(format!("{}: {fault}", place())))?;
    let Manifest { chain: named, sequence: number, origin: by, .. } = &opened.manifest;
    if named != chain || *number != sequence || by != origin {
        return Err(Error::tampered(format!("{}: it holds segment {number} of {named} of {by}", place())));
    }
    opened.manifest.line()
}
