//! Which records are events of a given id: every segment of every chain is read, several at a time, verified and thrown
//! away again. Nothing keeps an index of ids, so that nothing has to be believed.

use super::{manifest_at, read_listed};
use crate::{
    audit::{Progress, findings::Findings, inventory, inventory::PAGE, read::Reader},
    error::{Error, Kind, Result},
    layout,
    note::Verifiers,
    position::{ChainId, Position},
    segment::{self, LeafKind, read},
    store::Store,
};
use bytes::Bytes;
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tokio::task::JoinSet;

/// Positions that are told; all are counted.
const TOLD: usize = 100;

/// The records of one event id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// Where they are, in the order of chains and offsets, at most a hundred.
    pub positions: Vec<Position>,
    /// How many there are.
    pub count: u64,
    /// Segments that were looked through.
    pub segments: u64,
    /// What is wrong with segments that were not, because they are not what was sealed; at most a hundred.
    pub distrusted: Vec<String>,
}

/// Looks through everything that is sealed for events whose `event_id` is `id`. At most `jobs` segments are in memory.
///
/// A segment that is not what was sealed is told in [`Events::distrusted`]: nobody can say what was in it. The error
/// is that the store is away.
pub async fn find_events(
    store: Arc<dyn Store>,
    keys: &Verifiers,
    id: &str,
    jobs: usize,
    progress: Arc<Progress>,
) -> Result<Events> {
    let reader = Arc::new(Reader::new(store, jobs, Some(progress)));
    let (keys, id) = (Arc::new(keys.clone()), Arc::<str>::from(id));
    let chains = inventory::chains(&reader, &mut Findings::new(0)).await?;
    reader.progress.chains.store(chains.len() as u64, Relaxed);
    let (mut events, mut looking) = (Events::default(), JoinSet::new());
    let mut take = |done: Result<Result<Vec<Position>>, tokio::task::JoinError>| {
        let done = done.map_err(|e| Error::bug("looking through a segment ended early").caused_by(e))?;
        let found = match done {
            Err(e) if matches!(e.kind(), Kind::Tampered | Kind::Data) => {
                events.distrusted.push(e.to_string());
                events.distrusted.sort();
                events.distrusted.truncate(TOLD);
                return Ok(());
            }
            done => done?,
        };
        events.segments += 1;
        events.count += found.len() as u64;
        events.positions.extend(found);
        events.positions.sort();
        events.positions.truncate(TOLD);
        Ok::<_, Error>(())
    };
    for chain in chains {
        let prefix = layout::chain_prefix(&chain);
        let mut after: Option<String> = None;
        loop {
            let page = reader.list(&prefix, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let segments = page.into_iter().filter(|entry| entry.versions > 0).map(|entry| entry.key);
            for key in segments.filter(|key| layout::parse_segment_key(key).is_some()) {
                reader.progress.segments.fetch_add(1, Relaxed);
                if looking.len() >= jobs.max(1)
                    && let Some(done) = looking.join_next().await
                {
                    take(done)?;
                }
                looking.spawn(segment(Arc::clone(&reader), Arc::clone(&keys), chain.clone(), key, Arc::clone(&id)));
            }
        }
        reader.progress.chains_done.fetch_add(1, Relaxed);
    }
    while let Some(done) = looking.join_next().await {
        take(done)?;
    }
    Ok(events)
}

async fn segment(
    reader: Arc<Reader>,
    keys: Arc<Verifiers>,
    chain: ChainId,
    key: String,
    id: Arc<str>,
) -> Result<Vec<Position>> {
    let bytes = read_listed(&reader, &key).await?;
    let looked = tokio::task::spawn_blocking(move || look(&bytes, &keys, &key, &id)).await;
    let (offsets, records) = looked.map_err(|e| Error::bug("looking through a segment ended early").caused_by(e))??;
    reader.progress.records.fetch_add(records, Relaxed);
    reader.progress.segments_done.fetch_add(1, Relaxed);
    Ok(offsets.into_iter().map(|offset| chain.at(offset)).collect())
}

/// The offsets of the events of this id in one object, and how many records it has.
fn look(bytes: &Bytes, keys: &Verifiers, key: &str, id: &str) -> Result<(Vec<i64>, u64)> {
    let broken = |fault: segment::Fault| Error::tampered(format!("{key}: {fault}: run `authseal verify`"));
    manifest_at(bytes, keys, key)?;
    segment::open(bytes, keys).map_err(broken)?;
    let (mut offsets, mut records) = (Vec::new(), 0);
    for leaf in read::records(bytes).map_err(broken)? {
        let leaf = leaf.map_err(broken)?;
        records += 1;
        // most records do not hold these bytes at all: no need to take them apart
        if leaf.kind() == LeafKind::Event && holds(&leaf.bytes, id.as_bytes()) {
            let event = leaf.record().map_err(broken)?.event;
            if event.is_some_and(|event| event.event_id == id) {
                offsets.push(leaf.offset());
            }
        }
    }
    Ok((offsets, records))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
