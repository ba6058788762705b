//! Records from sealed segments: one lane a partition, its segments in order, the next one read and verified while one
//! is decoded.

use super::{
    Progress,
    feed::{Closed, Feed, Out, Record},
};
use crate::{
    decode::codes,
    error::{Error, Result},
    layout,
    manifest::Manifest,
    note::Verifiers,
    position::ChainId,
    record::{Outcome, Rejection},
    segment::{self, LeafKind, SealedRecord, read},
    store::Store,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::runtime::Handle;

/// Keys asked for at once.
const PAGE: usize = 1000;
/// How often a read is made before its fault counts.
const ATTEMPTS: u32 = 5;
/// The wait after the first attempt; it doubles.
const WAIT: Duration = Duration::from_millis(250);
/// Record times before 2000 are no times: producers that give seconds, or nothing.
const SANE: i64 = 946_684_800_000;

/// What all lanes of a store share.
struct Shared {
    store: Arc<dyn Store>,
    keys: Option<Arc<Verifiers>>,
    /// Milliseconds since 1970: what lies outside is passed over.
    from: i64,
    to: i64,
    progress: Arc<Progress>,
}

/// The records of all chains of a store, without those of segments that lie wholly before `from` or after `to`
/// (milliseconds since 1970). With `keys` every segment is verified before it is read. The lanes use the runtime of the
/// caller for what they ask of the store.
pub async fn of_store(
    store: Arc<dyn Store>,
    keys: Option<Verifiers>,
    (from, to): (Option<i64>, Option<i64>),
    progress: Arc<Progress>,
) -> Result<Feed> {
    let mut partitions: BTreeMap<(String, String, u32), Vec<ChainId>> = BTreeMap::new();
    for chain in chains(&*store).await? {
        partitions.entry((chain.cluster.clone(), chain.topic.clone(), chain.partition)).or_default().push(chain);
    }
    if partitions.is_empty() {
        return Err(Error::config(format!("{} holds no chain of segments: is it a store?", store.describe())));
    }
    let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
    let shared = Arc::new(Shared { store, keys: keys.map(Arc::new), from, to, progress });
    let mut feed = Feed::new();
    for ((_, topic, partition), chains) in partitions {
        let (shared, handle) = (shared.clone(), Handle::current());
        feed.lane(&format!("{topic}/{partition}"), move |out| {
            for chain in chains {
                if let Err(Closed) = shared.chain(&handle, chain, out)? {
                    return Ok(Err(Closed));
                }
            }
            Ok(Ok(()))
        })?;
    }
    Ok(feed)
}

/// All chains of a store, in order: `chains/<cluster>/<topic>/<partition>/<incarnation>/`.
async fn chains(store: &dyn Store) -> Result<Vec<ChainId>> {
    let mut folders = vec![layout::CHAINS.to_owned()];
    for _ in 0..4 {
        let mut below = Vec::new();
        for folder in folders {
            below.extend(patiently(|| store.folders(&folder)).await?);
        }
        folders = below;
    }
    Ok(folders.iter().filter_map(|folder| layout::parse_chain_prefix(folder)).collect())
}

/// Calls again what failed for reasons of the moment.
async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if error.is_retry() && attempt < ATTEMPTS => {
                tokio::time::sleep(WAIT * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

impl Shared {
    /// Reads a segment, and verifies it if there are keys: on a thread that may block, beside the lane, which decodes
    /// the one before.
    async fn read(self: Arc<Self>, key: String) -> Result<(String, Bytes)> {
        let found = patiently(|| self.store.read_oldest(&key)).await?;
        let gone = || Error::tampered(format!("{key} was listed, and cannot be read: run `authseal verify`"));
        let bytes = found.ok_or_else(gone)?.bytes;
        self.progress.bytes.fetch_add(bytes.len() as u64, Relaxed);
        let Some(keys) = self.keys.clone() else { return Ok((key, bytes)) };
        let object = bytes.clone();
        let verified = tokio::task::spawn_blocking(move || segment::open(&object, &keys).map(drop)).await;
        let verified = verified.map_err(|e| Error::bug("verifying a segment ended early").caused_by(e))?;
        verified.map_err(|fault| broken(fault).context(format!("segment {key}")))?;
        Ok((key, bytes))
    }

    fn chain(self: &Arc<Self>, handle: &Handle, chain: ChainId, out: &mut Out) -> Result<Result<(), Closed>> {
        let (prefix, chain) = (layout::chain_prefix(&chain), Arc::new(chain));
        let mut after: Option<String> = None;
        loop {
            let page = handle.block_on(patiently(|| self.store.list(&prefix, after.as_deref(), PAGE)))?;
            let Some(last) = page.last() else { return Ok(Ok(())) };
            after = Some(last.key.clone());
            let segments = page.into_iter().filter(|entry| entry.versions > 0);
            let keys: Vec<String> =
                segments.map(|entry| entry.key).filter(|key| layout::parse_segment_key(key).is_some()).collect();
            self.progress.sources.fetch_add(keys.len() as u64, Relaxed);
            let mut keys = keys.into_iter();
            let begin = |key: Option<String>| key.map(|key| handle.spawn(self.clone().read(key)));
            let mut coming = begin(keys.next());
            while let Some(reading) = coming {
                let read =
                    handle.block_on(reading).map_err(|e| Error::bug("reading a segment ended early").caused_by(e));
                let (key, bytes) = read??;
                coming = begin(keys.next());
                let done = self.segment(&chain, &bytes, out).map_err(|e| e.context(format!("segment {key}")))?;
                self.progress.sources_done.fetch_add(1, Relaxed);
                if let Err(Closed) = done {
                    return Ok(Err(Closed));
                }
            }
        }
    }

    fn segment(&self, chain: &Arc<ChainId>, bytes: &[u8], out: &mut Out) -> Result<Result<(), Closed>> {
        let records = read::records(bytes).map_err(broken)?;
        let manifest = Manifest::parse(records.manifest_line().map_err(broken)?).map_err(broken)?;
        let times = manifest.times;
        let last = times.last_event.max(times.last_record);
        let first = [times.first_event, times.first_record].into_iter().flatten().min();
        if last.is_none_or(|last| last < self.from) || first.is_none_or(|first| first > self.to) {
            return Ok(Ok(()));
        }
        for leaf in records {
            let leaf = leaf.map_err(broken)?;
            let size = leaf.bytes.len();
            let Some(record) = judged(leaf.record().map_err(broken)?, chain) else { continue };
            if (self.from..=self.to).contains(&record.time)
                && let Err(Closed) = out.push(record, size)
            {
                return Ok(Err(Closed));
            }
        }
        Ok(Ok(()))
    }
}

fn broken(fault: segment::Fault) -> Error {
    Error::tampered(format!("{fault}: run `authseal verify`"))
}

/// A sealed record as it was judged; none for a gap.
fn judged(sealed: SealedRecord, chain: &Arc<ChainId>) -> Option<Record> {
    let outcome = match (sealed.kind, sealed.event, sealed.rejection) {
        (LeafKind::Event, Some(event), _) => Outcome::Event(event),
        (LeafKind::Rejection, _, Some(rejection)) => {
            // a code of a later version has no name here
            let known = codes::ALL.iter().find(|known| known.code == rejection.code);
            Outcome::Rejection(Rejection::new(known.map_or("other", |known| known.code), rejection.detail))
        }
        (LeafKind::Opaque, ..) => Outcome::Opaque,
        _ => return None,
    };
    let time = match &outcome {
        _ if sealed.timestamp >= SANE => sealed.timestamp,
        Outcome::Event(event) => event.time.millis(),
        _ => sealed.timestamp,
    };
    Some(Record { time, chain: chain.clone(), offset: sealed.offset, timestamp: sealed.timestamp, outcome })
}
