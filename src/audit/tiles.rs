//! Tiles and entry bundles: what lies in the store must be what the batches give, byte for byte.

use super::{
    findings::Findings,
    inventory::{self, PAGE},
    read::{Read, Reader},
    report::{Finding, Place},
};
use crate::{
    error::{Kind, Result},
    layout::{self, Tile, TileKind},
    tlog::{Checkpoint, tiles},
};
use bytes::Bytes;
use std::{collections::BTreeSet, sync::Arc};

/// A tile, and what it must hold.
pub(super) struct Expected {
    pub tile: Tile,
    pub bytes: Bytes,
}

/// Compares tiles while the batches are read.
pub(super) struct TileChecker {
    reader: Arc<Reader>,
    /// The size that the checkpoint says: up to there tiles must be there.
    promised: u64,
    /// The partial tiles that whoever reads the checkpoint asks for.
    needed: BTreeSet<Tile>,
}

impl TileChecker {
    pub(super) fn new(reader: Arc<Reader>, checkpoint: Option<&Checkpoint>) -> Self {
        let promised = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        Self { reader, promised, needed: tiles::at_edge(promised).into_iter().collect() }
    }

    /// The checkpoint promised nothing: no good key signed it.
    pub(super) fn forget(&mut self) {
        self.promised = 0;
        self.needed.clear();
    }

    /// A tile that is full now, and the partial ones that it once was.
    pub(super) async fn full(&mut self, expected: Expected, findings: &mut Findings) -> Result<()> {
        let unit = match expected.tile.kind {
            TileKind::Entries => 1,
            TileKind::Hashes(level) => 256_u64.saturating_pow(u32::from(level)),
        };
        let end = (expected.tile.index + 1).saturating_mul(256).saturating_mul(unit);
        if end <= self.promised {
            self.needed.insert(expected.tile);
        }
        self.partial(expected, findings).await
    }

    /// A tile at the edge: those that are there must hold its beginning.
    pub(super) async fn partial(&mut self, expected: Expected, findings: &mut Findings) -> Result<()> {
        let whole = layout::tile_key(&Tile::full(expected.tile.kind, expected.tile.index));
        for entry in self.reader.list(&whole, None, PAGE).await? {
            let Some(tile) = layout::parse_tile_key(&entry.key).filter(|_| entry.versions > 0) else { continue };
            self.needed.remove(&tile);
            if tile.width > expected.tile.width {
                continue; // beyond the log: told when the folder is listed
            }
            let place = Place::object(&entry.key);
            match self.reader.read(&entry.key).await? {
                Read::Found(stored) if beginning(&expected, tile.width).as_ref() == Some(&stored.bytes) => {}
                Read::Found(_) => {
                    let detail = "it holds other bytes than the batches give";
                    findings.push(Finding::new("log_tile", place, detail));
                }
                Read::Absent => {}
                Read::Unreadable(e) => {
                    let of_form = matches!(e.kind(), Kind::Data | Kind::Tampered);
                    findings.push(Finding::new(if of_form { "log_tile" } else { "unreadable" }, place, e.to_string()));
                }
            }
        }
        Ok(())
    }

    /// What is missing, and what lies where no tile of this log belongs.
    /// `next`: the number of the batch behind the last that was read.
    pub(super) async fn finish(&self, size: u64, next: u64, findings: &mut Findings) -> Result<()> {
        for tile in &self.needed {
            let level = match tile.kind {
                TileKind::Entries => 0,
                TileKind::Hashes(level) => u32::from(level),
            };
            // of a log that was cut off, what is missing is the batches
            if tile.index * 256 + u64::from(tile.width) <= size >> (8 * level).min(63) {
                let place = Place::object(layout::tile_key(tile));
                findings.push(Finding::new("log_tile_missing", place, "the checkpoint covers it, and it is not there"));
            }
        }
        let mut beyond = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.reader.list(layout::LOG, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in page {
                if entry.key.starts_with(layout::BATCHES) {
                    // told already
                    after = after.max(Some(format!("{}z", layout::BATCHES)));
                    continue;
                }
                if entry.key.starts_with(layout::STAMPS) || entry.key.starts_with(layout::WITNESSED) {
                    continue; // read with the anchors
                }
                let place = Place::object(&entry.key);
                if entry.key == layout::CHECKPOINT {
                    // it is replaced with every batch: many versions are what there should be
                    inventory::versions(&crate::store::Entry { versions: 1, ..entry }, &place, findings);
                    continue;
                }
                match layout::parse_tile_key(&entry.key) {
                    Some(tile) => {
                        inventory::versions(&entry, &place, findings);
                        let level = match tile.kind {
                            TileKind::Entries => 0,
                            TileKind::Hashes(level) => u32::from(level),
                        };
                        if tile.index * 256 + u64::from(tile.width) > size.max(self.promised) >> (8 * level).min(63) {
                            let detail = format!("the log has {size} entries: there is no such tile of it");
                            beyond.push(Finding::new("log_tile", place, detail));
                        }
                    }
                    None => inventory::unexpected(&entry, findings),
                }
                if beyond.len() >= PAGE {
                    break;
                }
            }
        }
        // a log that is being extended has them, and the batches that they derive from
        let before = next.checked_sub(1).map(layout::batch_key);
        if !beyond.is_empty() && self.reader.list(layout::BATCHES, before.as_deref(), 1).await?.is_empty() {
            beyond.into_iter().for_each(|finding| findings.push(finding));
        }
        Ok(())
    }
}

/// The first `width` hashes or entries of a tile.
fn beginning(expected: &Expected, width: u16) -> Option<Bytes> {
    if width == expected.tile.width {
        return Some(expected.bytes.clone());
    }
    match expected.tile.kind {
        TileKind::Hashes(_) => {
            (expected.bytes.len() >= usize::from(width) * 32).then(|| expected.bytes.slice(..usize::from(width) * 32))
        }
        TileKind::Entries => {
            let entries = tiles::unbundle(&expected.bytes)?;
            entries.get(..usize::from(width)).map(tiles::bundle)
        }
    }
}
