//! Which segment of a chain covers an offset: a search over its sequences, so that a chain of a million segments costs
//! a few reads. What is read on the way is believed only as far as a known key signed it.

use super::{Why, manifest_at, read_listed};
use crate::{
    audit::read::Reader,
    error::{Error, Result},
    layout::{self, MAX_SEQUENCE},
    manifest::{Manifest, SegmentKind},
    note::Verifiers,
    position::{ChainId, Position},
};
use bytes::Bytes;

/// A segment, read, its manifest verified; its contents are not.
pub(super) struct Found {
    pub manifest: Manifest,
    pub bytes: Bytes,
}

/// The segment whose offsets hold `position`.
pub(super) async fn segment(
    reader: &Reader,
    keys: &Verifiers,
    position: &Position,
) -> Result<std::result::Result<Found, Why>> {
    let (chain, offset) = (&position.chain, position.offset);
    let Some(first) = at_or_after(reader, chain, 0).await? else { return Ok(Err(Why::NoChain)) };
    let last = last(reader, chain, first).await?;
    let newest = read(reader, keys, chain, last).await?;
    let m = &newest.manifest;
    if offset >= m.offsets.to {
        let next_by = (m.kind != SegmentKind::Close).then_some(m.next_by);
        return Ok(Err(Why::NotSealed { to: m.offsets.to, sealed: m.times.sealed, next_by }));
    }
    if offset >= m.offsets.from {
        return Ok(Ok(newest));
    }
    // sequences `low` to before `high` may have it; offsets from `from` on lie there, and end at `to`
    let (mut low, mut high) = (0, last);
    let (mut from, mut to) = (0, m.offsets.from);
    let mut even = false;
    while low < high {
        // guessed by the offset, as segments are mostly of one size; every other time the middle, in case they are not
        let guess = if even { low.midpoint(high) } else { low + share(offset - from, to - from, high - low) };
        let guess = guess.clamp(low, high - 1);
        even = !even;
        let Some(sequence) = at_or_after(reader, chain, guess).await?.filter(|sequence| *sequence < high) else {
            high = guess;
            continue;
        };
        let found = read(reader, keys, chain, sequence).await?;
        let m = &found.manifest;
        if offset >= m.offsets.to {
            (low, from) = (sequence + 1, m.offsets.to);
        } else if offset < m.offsets.from {
            (high, to) = (guess, m.offsets.from);
        } else {
            return Ok(Ok(found));
        }
    }
    nowhere(reader, keys, position, low).await.map(Err)
}

/// Why no segment has it: sequences below `low` end before it, the next one that is there begins behind it.
async fn nowhere(reader: &Reader, keys: &Verifiers, position: &Position, low: u64) -> Result<Why> {
    let chain = &position.chain;
    let above = at_or_after(reader, chain, low).await?.unwrap_or(low);
    if above > low {
        return Ok(Why::Missing(low, above));
    }
    let begins = read(reader, keys, chain, above).await?.manifest.offsets.from;
    match low {
        0 => Ok(Why::BeforeChain(begins)),
        _ => Err(Error::tampered(format!(
            "no segment of {chain} covers offset {}, although none is missing: run `authseal verify`",
            position.offset
        ))),
    }
}

/// The share of `part` in `whole`, of `all`.
fn share(part: i64, whole: i64, all: u64) -> u64 {
    let (part, whole) = (u128::try_from(part).unwrap_or(0), u128::try_from(whole).unwrap_or(1).max(1));
    u64::try_from(part * u128::from(all) / whole).unwrap_or(all)
}

async fn read(reader: &Reader, keys: &Verifiers, chain: &ChainId, sequence: u64) -> Result<Found> {
    let key = layout::segment_key(chain, sequence);
    let bytes = read_listed(reader, &key).await?;
    let manifest = manifest_at(&bytes, keys, &key)?;
    Ok(Found { manifest, bytes })
}

/// The first segment at or behind a sequence that is there. One that left nothing but a delete marker is not.
async fn at_or_after(reader: &Reader, chain: &ChainId, sequence: u64) -> Result<Option<u64>> {
    let prefix = layout::chain_prefix(chain);
    let mut after = sequence.checked_sub(1).map(|before| layout::segment_key(chain, before));
    let mut limit = 1;
    loop {
        let page = reader.list(&prefix, after.as_deref(), limit).await?;
        let there = page.iter().filter(|entry| entry.versions > 0);
        let found = there.filter_map(|entry| layout::parse_segment_key(&entry.key)).find(|(of, _)| of == chain);
        if let Some((_, found)) = found {
            return Ok(Some(found));
        }
        match page.last() {
            Some(last) if page.len() >= limit => after = Some(last.key.clone()),
            _ => return Ok(None),
        }
        limit = 1000;
    }
}

/// The newest segment: doubling from the first, then halving.
async fn last(reader: &Reader, chain: &ChainId, first: u64) -> Result<u64> {
    let (mut last, mut step) = (first, 1);
    while let Some(next) = at_or_after(reader, chain, last.saturating_add(step).min(MAX_SEQUENCE)).await? {
        if next == last || next >= MAX_SEQUENCE {
            return Ok(next);
        }
        (last, step) = (next, step * 2);
    }
    // nothing is at or behind `nothing`
    let mut nothing = last.saturating_add(step);
    while last + 1 < nothing {
        let middle = last.midpoint(nothing);
        match at_or_after(reader, chain, middle).await? {
            Some(next) => last = next,
            None => nothing = middle,
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        retention::Retention,
        store::{Store, memory::MemoryStore},
    };
    use std::sync::Arc;

    #[test]
    fn a_share_is_never_beyond_the_whole_by_rounding() {
        assert_eq!((share(0, 10, 100), share(5, 10, 100), share(9, 10, 100)), (0, 50, 90));
        assert_eq!((share(1, 0, 7), share(-1, 10, 7), share(i64::MAX, 1, 7)), (7, 0, 7));
    }

    #[tokio::test]
    async fn the_newest_segment_is_found_whatever_is_missing() {
        let chain: ChainId = "main/a/0/0".parse().unwrap();
        for there in
            [&[0][..], &[0, 1], &[3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0, 5, 100, 101, 9999], &[MAX_SEQUENCE]]
        {
            let store = MemoryStore::new();
            for sequence in there {
                let key = layout::segment_key(&chain, *sequence);
                store.create(&key, Bytes::from_static(b"x"), &Retention::NONE).await.unwrap();
            }
            let key = layout::chain_prefix(&chain) + "zzz";
            store.create(&key, Bytes::from_static(b"x"), &Retention::NONE).await.unwrap();
            let reader = Reader::new(Arc::new(store), 1, None);
            let first = at_or_after(&reader, &chain, 0).await.unwrap().unwrap();
            assert_eq!(first, there[0]);
            assert_eq!(last(&reader, &chain, first).await.unwrap(), *there.last().unwrap(), "{there:?}");
        }
    }
}
