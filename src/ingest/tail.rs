//! Finding the newest segment of a chain. The store is the truth: neither Kafka's commit nor any pointer is trusted,
//! they only say where to begin to look.

use super::last_sealed::LastSealed;
use crate::{
    chain::Head,
    error::{Error, Result},
    layout,
    note::Verifiers,
    position::ChainId,
    segment,
    store::{Entry, Store},
};

/// How many keys a forward listing asks for at a time.
const PAGE: usize = 1000;
/// Segments without records before the newest one that are looked through for the last record.
const BACK: usize = 8;

/// The newest incarnation of a partition and its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The chain to continue, or to begin when there is no head.
    pub chain: ChainId,
    /// Its newest segment.
    pub head: Option<Head>,
    /// The last record in it, or the gaps at its end.
    pub last: Option<LastSealed>,
}

/// Finds the newest incarnation at or after `chain.incarnation` and its head. `hint` is a sequence that was once
/// sealed.
///
/// Errors: `Kind::Tampered` when what lies there is not a valid segment of this chain.
pub async fn find(
    store: &dyn Store,
    keys: &Verifiers,
    origin: &str,
    mut chain: ChainId,
    mut hint: Option<u64>,
) -> Result<Tail> {
    let asked = chain.incarnation;
    chain = incarnation(store, chain).await?;
    if chain.incarnation != asked {
        hint = None;
    }
    let Some(entry) = newest(store, &chain, hint.unwrap_or(0)).await? else {
        return Ok(Tail { chain, head: None, last: None });
    };
    let (head, last) = read_head(store, keys, origin, &chain, &entry).await?;
    Ok(Tail { chain, head: Some(head), last })
}

/// The last record sealed before the newest segment, if that one holds no record and one of those before it does:
/// heartbeats and gaps lie behind it. Looks at a few of them; what cannot be opened says nothing.
pub async fn last_before(
    store: &dyn Store,
    keys: &Verifiers,
    chain: &ChainId,
    head: &Head,
) -> Result<Option<LastSealed>> {
    for sequence in (0..head.sequence).rev().take(BACK) {
        let Some(stored) = store.read_oldest(&layout::segment_key(chain, sequence)).await? else { return Ok(None) };
        if segment::open(&stored.bytes, keys).is_err() {
            return Ok(None);
        }
        let last = LastSealed::of_segment(&stored.bytes).ok().flatten();
        if let Some(last) = last.filter(|last| last.record.is_some()) {
            return Ok(Some(last.up_to(head.to)));
        }
    }
    Ok(None)
}

/// The newest incarnation of a partition at or after `chain.incarnation`.
pub async fn incarnation(store: &dyn Store, mut chain: ChainId) -> Result<ChainId> {
    while exists_from(store, &ChainId { incarnation: chain.incarnation + 1, ..chain.clone() }, 0).await? {
        chain.incarnation += 1;
    }
    Ok(chain)
}

/// Whether any version or marker of any sequence from `from` on exists.
async fn exists_from(store: &dyn Store, chain: &ChainId, from: u64) -> Result<bool> {
    Ok(!list_from(store, chain, from, 1).await?.is_empty())
}

async fn list_from(store: &dyn Store, chain: &ChainId, from: u64, limit: usize) -> Result<Vec<Entry>> {
    let after = from.checked_sub(1).map(|before| layout::segment_key(chain, before));
    store.list(&layout::chain_prefix(chain), after.as_deref(), limit).await
}

/// The last key of the chain. Keys are found by "does anything at or after x exist", which holds after old segments
/// expired too; a listing from the first key would cost a request per thousand segments.
async fn newest(store: &dyn Store, chain: &ChainId, hint: u64) -> Result<Option<Entry>> {
    let mut low = hint;
    if !exists_from(store, chain, low).await? {
        // behind the hint: the store was rolled back, or the hint was of another incarnation. The caller judges.
        low = 0;
        if !exists_from(store, chain, 0).await? {
            return Ok(None);
        }
    }
    let mut step = PAGE as u64;
    while exists_from(store, chain, low + step).await? {
        low += step;
        step *= 2;
    }
    // something exists at or after `low`, nothing at or after `low + step`
    let mut high = low + step;
    while high - low > PAGE as u64 {
        let middle = low + (high - low) / 2;
        if exists_from(store, chain, middle).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut last = None;
    loop {
        let page = list_from(store, chain, low, PAGE).await?;
        let Some(entry) = page.last() else { return Ok(last) };
        let Some((_, sequence)) = layout::parse_segment_key(&entry.key) else {
            return Err(Error::tampered(format!(
                "{:?} in {} is no segment's name: authseal writes nothing else there; move it away",
                entry.key,
                store.describe()
            )));
        };
        let full = page.len() == PAGE;
        last = page.into_iter().next_back();
        if !full {
            return Ok(last);
        }
        low = sequence + 1;
    }
}

async fn read_head(
    store: &dyn Store,
    keys: &Verifiers,
    origin: &str,
    chain: &ChainId,
    entry: &Entry,
) -> Result<(Head, Option<LastSealed>)> {
    let at = || format!("{} in {}", entry.key, store.describe());
    let Some(stored) = store.read_oldest(&entry.key).await? else {
        return Err(Error::tampered(format!(
            "{} is hidden by a delete marker and has no version left: the newest segment of chain {chain} was removed",
            at()
        )));
    };
    let invalid = |fault: crate::fault::Fault| {
        Error::tampered(format!("{} is not a valid segment: {} ({})", at(), fault.detail, fault.code))
    };
    let opened = segment::open(&stored.bytes, keys).map_err(invalid)?;
    let manifest = &opened.manifest;
    if manifest.origin != origin || layout::segment_key(&manifest.chain, manifest.sequence) != entry.key {
        return Err(Error::tampered(format!(
            "{} holds segment {} of chain {} of {}: it does not belong there",
            at(),
            manifest.sequence,
            manifest.chain,
            manifest.origin
        )));
    }
    Ok((Head::of_opened(&opened), LastSealed::of_segment(&stored.bytes).map_err(invalid)?))
}
