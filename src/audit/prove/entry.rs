//! Which entry of the log is a manifest. A log has no index; its entries are roughly in the order of time, and those of
//! one chain exactly in that of their sequences: a search over the bundles finds the place in a few reads.
//!
//! Bundles and tiles are believed in nothing: what comes out of here is checked against the signed checkpoint.

use super::{By, read_listed};
use crate::{
    audit::{
        inventory::PAGE,
        read::{Read, Reader},
    },
    digest::Digest,
    error::{Error, Kind, Result},
    fault::{Fault, code},
    layout::{self, Tile, TileKind},
    manifest::Manifest,
    merkle,
    note::Verifiers,
    proof::Outer,
    tlog::{Checkpoint, Entry, proof, stamp::Stamp, tiles},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Bundles read at the same time where they are read one after the other.
const AHEAD: usize = 8;
/// What was sealed is not looked for among entries that are older than this, in milliseconds: no two clocks of writers
/// are that far apart, for sealing is refused at five minutes.
const SKEW: i64 = 86_400_000;

/// Where in the log a manifest is, by one of its checkpoints.
pub(super) struct Logged {
    pub outer: Outer,
    /// The stamp of this checkpoint; empty: none.
    pub stamp: Bytes,
}

/// A checkpoint that may be the one to prove by.
struct Candidate {
    checkpoint: Checkpoint,
    note: Bytes,
    stamp: Bytes,
}

/// Proves that a manifest is in the log. The error: how many entries the log's checkpoint covers, none of which is the
/// manifest; `None` if there is no checkpoint.
pub(super) async fn of(
    reader: &Reader,
    keys: &Verifiers,
    manifest: &Manifest,
    by: By,
) -> Result<std::result::Result<Logged, Option<u64>>> {
    let note = match reader.read_newest(layout::CHECKPOINT).await? {
        Read::Found(stored) => stored.bytes,
        Read::Absent => return Ok(Err(None)),
        Read::Unreadable(e) => return Err(e.context(format_args!("reading the log of {}", reader.describe()))),
    };
    let checkpoint = Checkpoint::open(&note, keys, &manifest.origin).map_err(|fault| refused(reader, &fault))?;
    let line = manifest.line()?;
    let newest = checkpoint.size;
    let log = Log { reader, size: newest, newest, manifest, line: &line };
    let Some(index) = log.find().await? else { return Ok(Err(Some(newest))) };
    let mut candidates = vec![Candidate { checkpoint, note, stamp: Bytes::new() }];
    if by != By::Newest {
        candidates.extend(kept(reader, keys, manifest, index, layout::WITNESSED).await?);
    }
    if by == By::Best {
        candidates.extend(kept(reader, keys, manifest, index, layout::STAMPS).await?);
    }
    let leaf = Manifest::hash_of(&line);
    // the best stands last; one that the tiles do not lead to is for `verify` to tell of
    while let Some(Candidate { checkpoint, note, stamp }) = candidates.pop() {
        let log = Log { size: checkpoint.size, ..log };
        let path = match log.path(index).await {
            Err(e) if e.kind() == Kind::Tampered && !candidates.is_empty() => continue,
            path => path?,
        };
        if merkle::verify_inclusion(index, checkpoint.size, leaf, &path, &checkpoint.root) {
            let checkpoint = String::from_utf8(note.to_vec());
            let checkpoint = checkpoint.map_err(|e| Error::bug("a note is not UTF-8").caused_by(e))?;
            return Ok(Ok(Logged { outer: Outer { index, path, checkpoint }, stamp }));
        }
    }
    Err(log.tampered("its tiles do not give the root that its checkpoint signs"))
}

/// The first checkpoint behind an entry that was kept because others have seen it.
async fn kept(
    reader: &Reader,
    keys: &Verifiers,
    manifest: &Manifest,
    index: u64,
    prefix: &str,
) -> Result<Option<Candidate>> {
    // behind every key of a smaller size
    let mut after = Some(format!("{prefix}{index:012}.~"));
    loop {
        let page = reader.list(prefix, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = Some(last.key.clone());
        for entry in page.iter().filter(|entry| entry.versions > 0) {
            let stamped = layout::parse_stamp_key(&entry.key).filter(|(_, is_stamp)| *is_stamp).map(|(size, _)| size);
            let key = match (layout::parse_witnessed_key(&entry.key), stamped) {
                (Some(_), _) => entry.key.clone(),
                (_, Some(size)) => layout::stamped_key(size),
                (None, None) => continue,
            };
            let Read::Found(note) = reader.read(&key).await? else { continue };
            let Ok(checkpoint) = Checkpoint::open(&note.bytes, keys, &manifest.origin) else { continue };
            let stamp = match stamped {
                None => Bytes::new(),
                Some(_) => match reader.read(&entry.key).await? {
                    Read::Found(stamp) if Stamp::open(&note.bytes, &stamp.bytes).is_ok() => stamp.bytes,
                    _ => continue,
                },
            };
            if checkpoint.size > index {
                return Ok(Some(Candidate { checkpoint, note: note.bytes, stamp }));
            }
        }
    }
}

fn refused(reader: &Reader, fault: &Fault) -> Error {
    let what = format!("the checkpoint of the log in {}: {}", reader.describe(), fault.detail);
    match fault.code {
        code::LOG_UNKNOWN_KEY => Error::config(format!("{what}: give the log's key with --log-key")),
        _ => Error::tampered(format!("{what}: run `authseal verify`")),
    }
}

/// Where a manifest is, seen from one bundle.
enum Seen {
    /// Here, at this index of the log.
    Here(u64),
    /// Before it: a later manifest of its chain is here.
    Before,
    /// Behind it: an earlier manifest of its chain is here.
    Behind,
    /// No manifest of its chain is here; the newest time that an entry names.
    Elsewhere(i64),
}

/// The log up to its checkpoint, and what is looked for in it.
#[derive(Clone, Copy)]
struct Log<'a> {
    reader: &'a Reader,
    size: u64,
    /// The size of the newest checkpoint: its partial tiles are there.
    newest: u64,
    manifest: &'a Manifest,
    line: &'a str,
}

impl Log<'_> {
    async fn find(&self) -> Result<Option<u64>> {
        let sealed = self.manifest.times.sealed;
        let (mut low, mut high) = (0, self.size.div_ceil(256));
        // what is known for certain, by the order of the chain; times are a hint
        let (mut floor, mut ceiling) = (low, high);
        while low < high {
            let middle = low.midpoint(high);
            match self.look(middle).await? {
                Seen::Here(index) => return Ok(Some(index)),
                Seen::Before => (high, ceiling) = (middle, middle),
                Seen::Behind => (low, floor) = (middle + 1, middle + 1),
                Seen::Elsewhere(newest) if newest < sealed => low = middle + 1,
                Seen::Elsewhere(_) => high = middle,
            }
        }
        let mut ahead = stream::iter(low..ceiling).map(|bundle| self.look(bundle)).buffered(AHEAD);
        while let Some(seen) = ahead.next().await {
            match seen? {
                Seen::Here(index) => return Ok(Some(index)),
                Seen::Before => break,
                Seen::Behind | Seen::Elsewhere(_) => {}
            }
        }
        let mut back = stream::iter((floor..low).rev()).map(|bundle| self.look(bundle)).buffered(AHEAD);
        while let Some(seen) = back.next().await {
            match seen? {
                Seen::Here(index) => return Ok(Some(index)),
                Seen::Behind => break,
                Seen::Elsewhere(newest) if newest < sealed.saturating_sub(SKEW) => break,
                Seen::Before | Seen::Elsewhere(_) => {}
            }
        }
        Ok(None)
    }

    async fn look(&self, bundle: u64) -> Result<Seen> {
        let bytes = self.tile(TileKind::Entries, bundle).await?;
        let entries = tiles::unbundle(&bytes).ok_or_else(|| self.tampered("an entry bundle is not of its form"))?;
        let (mut behind, mut before, mut newest) = (false, false, i64::MIN);
        for (index, entry) in (bundle * 256..self.size).zip(&entries) {
            if entry[..] == *self.line.as_bytes() {
                return Ok(Seen::Here(index));
            }
            let parsed = std::str::from_utf8(entry).ok().map(|line| Entry::parse(line, &self.manifest.origin));
            match parsed {
                Some(Ok(Entry::Segment(m))) => {
                    newest = newest.max(m.times.sealed);
                    if m.chain != self.manifest.chain {
                        continue;
                    }
                    if m.sequence == self.manifest.sequence {
                        let (sequence, chain) = (m.sequence, m.chain);
                        let what = format!("entry {index} is another manifest of segment {sequence} of {chain}");
                        return Err(self.tampered(&what));
                    }
                    behind |= m.sequence < self.manifest.sequence;
                    before |= m.sequence > self.manifest.sequence;
                }
                Some(Ok(Entry::Alive(alive))) => newest = newest.max(alive.time),
                // entries of later formats tell nothing; what is broken is for `verify` to say
                _ => {}
            }
        }
        match (behind, before) {
            (true, true) => Err(self.tampered("it leaves out a segment between two others of its chain")),
            (true, false) => Ok(Seen::Behind),
            (false, true) => Ok(Seen::Before),
            (false, false) => Ok(Seen::Elsewhere(newest)),
        }
    }

    /// The inclusion proof of an entry, from the tiles that it needs.
    async fn path(&self, index: u64) -> Result<Vec<Digest>> {
        let mut known: BTreeMap<(u8, u64), Vec<Digest>> = BTreeMap::new();
        // each round asks for what the one before lacked: a level of tiles at the most
        for _ in 0..u64::BITS {
            let lacking = RefCell::new(BTreeSet::new());
            let hashes = |level: u8, at: u64| {
                let tile = known.get(&(level, at / 256));
                if tile.is_none() {
                    lacking.borrow_mut().insert((level, at / 256));
                }
                tile?.get((at % 256) as usize).copied()
            };
            let path = proof::inclusion(&hashes, index, self.size);
            let lacking = lacking.into_inner();
            match path {
                Some(path) => return Ok(path),
                None if lacking.is_empty() => break,
                None => {}
            }
            for (level, at) in lacking {
                let bytes = self.tile(TileKind::Hashes(level), at).await?;
                let hashes = tiles::hashes(&bytes).ok_or_else(|| self.tampered("a tile is not of its form"))?;
                known.insert((level, at), hashes);
            }
        }
        Err(self.tampered("its tiles do not hold what its checkpoint needs"))
    }

    /// A tile or bundle, as wide as the checkpoint needs it; the full one if the partial one is gone.
    async fn tile(&self, kind: TileKind, index: u64) -> Result<Bytes> {
        let level = match kind {
            TileKind::Hashes(level) => u32::from(level),
            TileKind::Entries => 0,
        };
        let width = |size: u64| (size >> (8 * level).min(63)).saturating_sub(index * 256).min(256) as u16;
        // partial tiles of an older size may be gone: those of the newest one begin alike
        let mut widths = vec![width(self.size), 256, width(self.newest)];
        widths.dedup();
        let mut first = None;
        for width in widths {
            match read_listed(self.reader, &layout::tile_key(&Tile { kind, index, width })).await {
                Err(e) if e.kind() == Kind::Tampered && (width < 256 || first.is_some()) => first = first.or(Some(e)),
                read => return read,
            }
        }
        Err(first.unwrap_or_else(|| self.tampered("a tile is not there")))
    }

    fn tampered(&self, what: &str) -> Error {
        Error::tampered(format!("the log of {}: {what}: run `authseal verify`", self.reader.describe()))
    }
}
