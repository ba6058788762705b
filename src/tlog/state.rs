//! The log as whoever extends it knows it: its tail, and how far each chain is logged. A batch becomes part of it only
//! if everything about it follows from what was known before.

use super::{Batch, Edge, Entry, Header, batch};
use crate::{
    digest::Digest,
    fault::{Fault, code},
    layout::Tile,
    manifest::Manifest,
    position::ChainId,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The newest manifest of a chain that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// Its sequence.
    pub sequence: u64,
    /// Its hash, which is the hash of its leaf in the log.
    pub hash: Digest,
}

/// A log, up to one of its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    origin: String,
    /// The number of the batch that comes next.
    next: u64,
    /// Hash of the newest batch's first line.
    previous: Option<Digest>,
    edge: Edge,
    chains: BTreeMap<ChainId, Logged>,
    /// The newest minute that each instance was logged alive in.
    alive: BTreeMap<String, i64>,
    /// The oldest batch that was read, and what it names as `previous`: what lies before it is not known.
    floor: (u64, Option<Digest>),
}

impl Log {
    /// The log without entries.
    pub fn empty(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            next: 0,
            previous: None,
            edge: Edge::default(),
            chains: BTreeMap::new(),
            alive: BTreeMap::new(),
            floor: (0, None),
        }
    }

    /// The log up to `batch`, with the edge that was restored from its tiles. What lies before is taken on the word of
    /// the batch's signature.
    pub fn at(batch: &Batch, edge: Edge) -> Result<Self, Fault> {
        if edge.size() != batch.header.size || edge.root() != batch.header.root {
            let detail = format!("the tiles do not give the root that batch {} signs", batch.header.batch);
            return Err(Fault::new(code::LOG_ROOT, detail));
        }
        let mut log = Self {
            next: batch.header.batch + 1,
            previous: Some(batch.hash),
            edge,
            floor: (batch.header.batch + 1, Some(batch.hash)),
            ..Self::empty(&batch.header.origin)
        };
        log.look_back(batch)?;
        Ok(log)
    }

    /// The number of the batch that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number and the hash of the newest batch.
    pub fn newest(&self) -> Option<(u64, Digest)> {
        self.next.checked_sub(1).zip(self.previous)
    }

    /// How many entries.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root over them.
    pub fn root(&self) -> Digest {
        self.edge.root()
    }

    /// The right edge of the tree.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The newest logged manifest of a chain, as far as is known: see [`Log::is_whole`].
    pub fn logged(&self, chain: &ChainId) -> Option<Logged> {
        self.chains.get(chain).copied()
    }

    /// Whether all batches were read: only then a chain that is not known is not in the log.
    pub fn is_whole(&self) -> bool {
        self.floor.0 == 0
    }

    /// The number of the oldest batch that was read.
    pub fn floor(&self) -> u64 {
        self.floor.0
    }

    /// The newest minute that an instance was logged alive in.
    pub fn alive(&self, instance: &str) -> Option<i64> {
        self.alive.get(instance).copied()
    }

    /// Takes the batch before the oldest one that was read: what it says of chains that were not known is news.
    pub fn look_back(&mut self, batch: &Batch) -> Result<(), Fault> {
        let (floor, previous) = self.floor;
        if Some(batch.header.batch) != floor.checked_sub(1) || Some(batch.hash) != previous {
            let detail = format!("batch {} is not the one that batch {floor} follows", batch.header.batch);
            return Err(Fault::new(code::LOG_PREVIOUS, detail));
        }
        let mut news: BTreeMap<ChainId, Logged> = BTreeMap::new();
        for line in &batch.lines {
            match Entry::parse(line, &self.origin)? {
                Entry::Segment(m) => {
                    let hash = Manifest::hash_of(line);
                    news.insert(m.chain, Logged { sequence: m.sequence, hash });
                }
                Entry::Alive(alive) => {
                    let newest = self.alive.entry(alive.writer.instance).or_insert(alive.time);
                    *newest = alive.time.max(*newest);
                }
                Entry::Key(_) | Entry::Disposal(_) | Entry::Hold(_) | Entry::Unknown { .. } => {}
            }
        }
        for (chain, logged) in news {
            self.chains.entry(chain).or_insert(logged);
        }
        self.floor = (batch.header.batch, batch.header.previous);
        Ok(())
    }

    /// Appends the batch that comes next. Everything is checked before anything is changed: number, `previous`,
    /// `first`, the form of each entry, the order of each chain, `root`. Tiles that are full now go to `full`.
    pub fn apply(&mut self, batch: &Batch, full: &mut Vec<(Tile, Bytes)>) -> Result<(), Fault> {
        let header = &batch.header;
        let follows = |good: bool, what: &str| match good {
            true => Ok(()),
            false => Err(Fault::new(code::LOG_PREVIOUS, format!("batch {} does not follow: {what}", header.batch))),
        };
        follows(header.origin == self.origin, "it is of another log")?;
        follows(header.batch == self.next, "another number comes next")?;
        follows(header.previous == self.previous, "previous is not the hash of the batch before")?;
        if header.first != self.size() {
            let detail = format!("it begins at entry {}, the log has {} before it", header.first, self.size());
            return Err(Fault::new(code::LOG_ROOT, detail));
        }
        let (mut edge, mut tiles) = (self.edge.clone(), Vec::new());
        let (mut chains, mut alive) = (BTreeMap::new(), BTreeMap::new());
        for line in &batch.lines {
            match Entry::parse(line, &self.origin)? {
                Entry::Segment(m) => {
                    let before = chains.get(&m.chain).copied().or_else(|| self.logged(&m.chain));
                    in_order(before, self.is_whole(), &m)?;
                    let hash = Manifest::hash_of(line);
                    chains.insert(m.chain, Logged { sequence: m.sequence, hash });
                }
                Entry::Alive(entry) => {
                    alive.insert(entry.writer.instance, entry.time);
                }
                Entry::Key(_) | Entry::Disposal(_) | Entry::Hold(_) | Entry::Unknown { .. } => {}
            }
            edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut tiles);
        }
        if edge.root() != header.root {
            let detail = format!("root is not that of the {} entries up to here", edge.size());
            return Err(Fault::new(code::LOG_ROOT, detail));
        }
        self.next += 1;
        self.previous = Some(batch.hash);
        self.edge = edge;
        self.chains.extend(chains);
        for (instance, time) in alive {
            let newest = self.alive.entry(instance).or_insert(time);
            *newest = time.max(*newest);
        }
        full.append(&mut tiles);
        Ok(())
    }

    /// The first line of the batch that would append these entries.
    pub fn header(&self, lines: &[String]) -> Header {
        let (mut edge, mut full) = (self.edge.clone(), Vec::new());
        for line in lines {
            edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full);
        }
        Header {
            format: batch::FORMAT.into(),
            origin: self.origin.clone(),
            batch: self.next,
            previous: self.previous,
            first: self.size(),
            count: lines.len() as u64,
            size: edge.size(),
            root: edge.root(),
        }
    }
}

/// Whether a manifest is the next of its chain. `whole`: a chain that is not known is not in the log.
pub fn in_order(before: Option<Logged>, whole: bool, m: &Manifest) -> Result<(), Fault> {
    let order = |what: String| Err(Fault::new(code::LOG_ORDER, what));
    match before {
        Some(before) if Some(m.sequence) != before.sequence.checked_add(1) => {
            order(format!("segment {} of {} follows segment {} in the log", m.sequence, m.chain, before.sequence))
        }
        Some(before) if m.previous != Some(before.hash) => {
            order(format!("segment {} of {} names another predecessor than the log holds", m.sequence, m.chain))
        }
        None if whole && m.sequence != 0 => {
            order(format!("segment {} of {} is the first of its chain in the log", m.sequence, m.chain))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{Signer, Verifiers};

    const ORIGIN: &str = "example.com/auth";

    fn signer() -> Signer {
        Signer::from_seed(ORIGIN, [3; 32]).unwrap()
    }

    fn batch(log: &Log, lines: &[String]) -> Batch {
        let note = Batch::seal(&log.header(lines), lines, &signer()).unwrap();
        Batch::open(note.as_bytes(), &Verifiers::of(&signer()), ORIGIN).unwrap()
    }

    fn line(n: usize) -> String {
        format!("{{\"format\":\"test\",\"n\":{n}}}\n")
    }

    /// A log of some batches, and these.
    fn grown(sizes: &[usize]) -> (Log, Vec<Batch>, Vec<(Tile, Bytes)>) {
        let (mut log, mut batches, mut full, mut n) = (Log::empty(ORIGIN), Vec::new(), Vec::new(), 0);
        for size in sizes {
            let lines: Vec<String> = (n..n + size).map(line).collect();
            n += size;
            let batch = batch(&log, &lines);
            log.apply(&batch, &mut full).unwrap();
            batches.push(batch);
        }
        (log, batches, full)
    }

    #[test]
    fn a_batch_that_does_not_follow_changes_nothing() {
        let (log, batches, _) = grown(&[3, 300, 1]);
        assert_eq!((log.next(), log.size()), (3, 304));
        let next = batch(&log, &[line(9)]);
        let mut changed = log.clone();
        changed.apply(&next, &mut Vec::new()).unwrap();
        type Edit = fn(&mut Batch);
        let edits: [(Edit, &str); 6] = [
            (|b| b.header.batch += 1, code::LOG_PREVIOUS),
            (|b| b.header.previous = Some(Digest::of(b"x")), code::LOG_PREVIOUS),
            (|b| b.header.origin = "other".into(), code::LOG_PREVIOUS),
            (|b| b.header.first += 1, code::LOG_ROOT),
            (|b| b.header.root = Digest::of(b"x"), code::LOG_ROOT),
            (|b| b.lines = vec!["{}\n".into()], code::LOG_ENTRY),
        ];
        for (edit, code) in edits {
            let (mut bad, mut same, mut full) = (next.clone(), log.clone(), Vec::new());
            edit(&mut bad);
            assert_eq!(same.apply(&bad, &mut full).unwrap_err().code, code);
            assert!(same == log && full.is_empty());
        }
        // the same batch twice
        assert_eq!(changed.apply(&next, &mut Vec::new()).unwrap_err().code, code::LOG_PREVIOUS);
        assert_eq!(changed.apply(&batches[0], &mut Vec::new()).unwrap_err().code, code::LOG_PREVIOUS);
    }

    #[test]
    fn a_log_is_known_again_from_its_tiles_and_looks_back_batch_by_batch() {
        let (log, batches, _) = grown(&[200, 100, 7]);
        let edge = Edge::restore(307, &log.edge().partials()).unwrap();
        let mut again = Log::at(&batches[2], edge.clone()).unwrap();
        assert_eq!((again.size(), again.root(), again.next(), again.floor()), (307, log.root(), 3, 2));
        assert!(!again.is_whole());
        assert_eq!(again.look_back(&batches[0]).unwrap_err().code, code::LOG_PREVIOUS);
        again.look_back(&batches[1]).unwrap();
        again.look_back(&batches[0]).unwrap();
        assert!(again.is_whole());
        assert_eq!(again, log);
        assert_eq!(Log::at(&batches[1], edge).unwrap_err().code, code::LOG_ROOT);
    }
}
