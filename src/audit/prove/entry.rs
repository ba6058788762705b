//! Which entry of the log is a manifest. A log has no index; its entries are roughly in the order of time, and those of
//! one chain exactly in that of their sequences: a search over the bundles finds the place in a few reads.
//!
//! Bundles and tiles are believed in nothing: what comes out of here is checked against the signed checkpoint.

use super::read_listed;
use crate::{
    audit::read::{Read, Reader},
    digest::Digest,
    error::{Error, Kind, Result},
    fault::{Fault, code},
    layout::{self, Tile, TileKind},
    manifest::Manifest,
    merkle,
    note::Verifiers,
    proof::Outer,
    tlog::{Checkpoint, Entry, proof, tiles},
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

/// Proves that a manifest is in the log. The error: how many entries the log's checkpoint covers, none of which is the
/// manifest; `None` if there is no checkpoint.
pub(super) async fn of(
    reader: &Reader,
    keys: &Verifiers,
    manifest: &Manifest,
) -> Result<std::result::Result<Outer, Option<u64>>> {
    let note = match reader.read_newest(layout::CHECKPOINT).await? {
        Read::Found(stored) => stored.bytes,
        Read::Absent => return Ok(Err(None)),
        Read::Unreadable(e) => return Err(e.context(format_args!("reading the log of {}", reader.describe()))),
    };
    let checkpoint = Checkpoint::open(&note, keys, &manifest.origin).map_err(|fault| refused(reader, &fault))?;
    let line = manifest.line()?;
    let log = Log { reader, size: checkpoint.size, manifest, line: &line };
    let Some(index) = log.find().await? else { return Ok(Err(Some(checkpoint.size))) };
    let path = log.path(index).await?;
    let leaf = Manifest::hash_of(&line);
    if !merkle::verify_inclusion(index, checkpoint.size, leaf, &path, &checkpoint.root) {
        return Err(log.tampered("its tiles do not give the root that its checkpoint signs"));
    }
    let checkpoint = String::from_utf8(note.to_vec()).map_err(|e| Error::bug("a note is not UTF-8").caused_by(e))?;
    Ok(Ok(Outer { index, path, checkpoint }))
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
struct Log<'a> {
    reader: &'a Reader,
    size: u64,
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
        let hashes = self.size >> (8 * level).min(63);
        let width = hashes.saturating_sub(index * 256).min(256) as u16;
        let full = layout::tile_key(&Tile::full(kind, index));
        if width == 256 {
            return read_listed(self.reader, &full).await;
        }
        let partial = layout::tile_key(&Tile { kind, index, width });
        match read_listed(self.reader, &partial).await {
            Err(e) if e.kind() == Kind::Tampered => read_listed(self.reader, &full).await.map_err(|_| e),
            read => read,
        }
    }

    fn tampered(&self, what: &str) -> Error {
        Error::tampered(format!("the log of {}: {what}: run `authseal verify`", self.reader.describe()))
    }
}
