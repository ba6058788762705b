//! The transparency log: its batches one after the other, what derives from them byte for byte, and its checkpoints.
//!
//! Read before the chains: what is sealed meanwhile is then newer than what is known of the log, and not the other way.

use super::{
    VerifyOptions,
    anchors::Anchors,
    cross::Partitions,
    findings::Findings,
    inventory::{self, PAGE},
    key_rules,
    logged::LoggedChain,
    protect::{BatchLocks, Named},
    read::{Locked, Read, Reader},
    report::{AnchorReport, Finding, LogReport, Place, ProtectionReport},
    tiles::{Expected, TileChecker},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    fault::{Fault, code},
    layout,
    manifest::Manifest,
    note::Verifiers,
    position::ChainId,
    retention::LockMode,
    store::Entry as Listed,
    tlog::{Batch, Checkpoint, Edge, Entry, Ledger, Logged, state::in_order},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{collections::BTreeMap, sync::Arc};

/// What the log says.
pub(super) struct LogView {
    /// Every chain that has an entry.
    pub chains: BTreeMap<ChainId, Arc<LoggedChain>>,
    /// Whether every batch could be read and follows the one before.
    pub whole: bool,
    /// Keys, disposals and holds, as of the newest entry.
    pub ledger: Arc<Ledger>,
    /// How many segments of each chain the kept checkpoint covers; empty without one.
    pub covered: BTreeMap<ChainId, u64>,
    /// How many partitions topics have, by the newest manifest that says so.
    pub partitions: Partitions,
    /// What is known of the locks of its batches.
    pub locks: ProtectionReport,
    /// For the report.
    pub report: LogReport,
}

/// Reads and checks the log of `origin`. `None`: there is none, or none that can be checked; the findings say so where
/// that is a fault.
pub(super) async fn check(
    reader: &Arc<Reader>,
    keys: &Verifiers,
    origin: Option<&str>,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Result<Option<LogView>> {
    let required = options.require_log || options.checkpoint.is_some();
    let first = match reader.list(layout::LOG, None, 1).await {
        Err(e) if e.kind() == Kind::Tampered => {
            findings.push(Finding::new("unexpected_object", Place::object(layout::LOG), e.to_string()));
            return Ok(None);
        }
        first => first?,
    };
    if first.is_empty() {
        if required {
            let detail = "nothing lies under log/: the log was removed, or there never was one";
            findings.push(Finding::new("log_missing", Place::object(layout::BATCHES), detail));
        }
        return Ok(None);
    }
    let mut named = keys.iter().map(|(name, _)| name).filter(|name| match origin {
        Some(origin) => *name == origin,
        None => !name.ends_with("/seal"),
    });
    let Some(origin) = named.next().map(str::to_owned) else {
        let detail = match origin {
            Some(origin) => format!("the store has a log, and no key called {origin} was given: it was not checked"),
            None => "the store has a log, and no key of a log was given: it was not checked".into(),
        };
        findings.push(Finding::new("log_key_missing", Place::object(layout::LOG), detail));
        return Ok(None);
    };
    let mut pinned = None;
    if let Some(note) = &options.checkpoint {
        let opened = Checkpoint::open(note.as_bytes(), keys, &origin);
        let usage = |fault: Fault| Error::config(format!("the checkpoint to compare with cannot be used: {fault}"));
        pinned = Some(opened.map_err(usage)?);
    }
    let (checkpoint, note) = checkpoint(reader, keys, &origin, findings).await?;
    let anchors = Anchors::read(reader, keys, &origin, note.clone(), &options.anchors, findings).await?;
    let tiles = TileChecker::new(reader.clone(), checkpoint.as_ref());
    let locks = BatchLocks::new(options.require_retention);
    let mut walk = Walk::new(origin, (checkpoint, pinned), (anchors, tiles, locks), Ledger::new(keys));
    walk.unproven = note;
    walk.batches(reader, keys, findings).await?;
    walk.finish(reader, findings).await.map(Some)
}

/// The checkpoint that lies in the store, and its note. If none of the given keys signed it, one may have that an entry
/// of the log introduces: it is judged when all of them were read, and is taken at its word until then.
async fn checkpoint(
    reader: &Reader,
    keys: &Verifiers,
    origin: &str,
    findings: &mut Findings,
) -> Result<(Option<Checkpoint>, Option<Bytes>)> {
    let place = Place::object(layout::CHECKPOINT);
    match reader.read_newest(layout::CHECKPOINT).await? {
        Read::Found(stored) => match Checkpoint::open(&stored.bytes, keys, origin) {
            Ok(checkpoint) => return Ok((Some(checkpoint), Some(stored.bytes))),
            Err(fault) => match key_rules::claimed(&fault, &stored.bytes) {
                Some(claimed) => return Ok((Some(claimed), Some(stored.bytes))),
                None => findings.push(Finding::new(fault.code, place, fault.detail)),
            },
        },
        Read::Absent => {
            let detail = "the log has batches, and nothing that says how large it is";
            findings.push(Finding::new("log_checkpoint_missing", place, detail));
        }
        Read::Unreadable(e) => {
            let of_form = matches!(e.kind(), Kind::Data | Kind::Tampered);
            findings.push(Finding::new(if of_form { code::LOG_FORM } else { "unreadable" }, place, e.to_string()));
        }
    }
    Ok((None, None))
}

/// What became of one batch.
pub(super) enum Fetched {
    /// The name of its version is given if that is not the oldest.
    Batch(Box<Batch>, Locked, Option<String>),
    Absent,
    /// It is none; its bytes and its lock, where it could be read.
    Fault(Fault, Option<(Bytes, Locked)>),
    Unreadable(Error),
}

/// The walk over the batches so far.
struct Walk {
    origin: String,
    /// The number that comes next.
    next: u64,
    /// Hash of the batch before; `None` if it is not known.
    previous: Option<Option<Digest>>,
    edge: Edge,
    /// Whether the tree is what the batches sign, so far.
    whole: bool,
    chains: BTreeMap<ChainId, LoggedChain>,
    checkpoint: Option<Checkpoint>,
    pinned: Option<Checkpoint>,
    anchors: Anchors,
    tiles: TileChecker,
    covered: BTreeMap<ChainId, u64>,
    partitions: Partitions,
    locks: BatchLocks,
    /// When the newest entry so far was made.
    newest: Option<i64>,
    report: LogReport,
    ledger: Ledger,
    /// The note of the checkpoint, until its key is judged; and what was found of it on its word.
    unproven: Option<Bytes>,
    differs: Option<Finding>,
}

impl Walk {
    fn new(
        origin: String,
        (checkpoint, pinned): (Option<Checkpoint>, Option<Checkpoint>),
        (anchors, tiles, locks): (Anchors, TileChecker, BatchLocks),
        ledger: Ledger,
    ) -> Self {
        let report = LogReport {
            batches: 0,
            entries: 0,
            root: None,
            checkpoint: checkpoint.as_ref().map(|c| c.size),
            pinned: pinned.as_ref().map(|c| c.size),
            unknown: 0,
            pending: 0,
            unlogged: 0,
            anchors: AnchorReport::default(),
            newest: None,
        };
        Self {
            origin,
            next: 0,
            previous: Some(None),
            edge: Edge::default(),
            whole: true,
            chains: BTreeMap::new(),
            checkpoint,
            pinned,
            anchors,
            tiles,
            covered: BTreeMap::new(),
            partitions: Partitions::new(),
            locks,
            newest: None,
            report,
            ledger,
            unproven: None,
            differs: None,
        }
    }

    /// Reads every batch, in order, some ahead.
    async fn batches(&mut self, reader: &Arc<Reader>, keys: &Verifiers, findings: &mut Findings) -> Result<()> {
        let (keys, origin) = (Arc::new(keys.clone()), self.origin.clone());
        let mut after: Option<String> = None;
        loop {
            let page = reader.list(layout::BATCHES, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let fetch = |entry: Listed| {
                let (reader, keys, origin) = (reader.clone(), keys.clone(), origin.clone());
                async move {
                    let fetched = fetch(&reader, &keys, &origin, &entry).await;
                    fetched.map(|fetched| (entry, fetched))
                }
            };
            let mut fetched = stream::iter(page).map(fetch).buffered(8).boxed();
            while let Some(one) = fetched.next().await {
                let (entry, fetched) = one?;
                let Some(number) = layout::parse_batch_key(&entry.key) else {
                    inventory::unexpected(&entry, findings);
                    continue;
                };
                self.look_again(reader, &keys, number, findings).await?;
                self.step(reader, number, &entry, fetched, findings).await?;
            }
        }
    }

    /// Asks for batches that the listing left out: reading a directory while it is written to may show the newer of two
    /// files alone.
    async fn look_again(
        &mut self,
        reader: &Arc<Reader>,
        keys: &Verifiers,
        to: u64,
        findings: &mut Findings,
    ) -> Result<()> {
        while self.next < to {
            let key = layout::batch_key(self.next);
            let entry = Listed { key, versions: 1, markers: 0, size: 0, oldest: String::new() };
            match fetch(reader, keys, &self.origin, &entry).await? {
                Fetched::Absent => return Ok(()),
                fetched => self.step(reader, self.next, &entry, fetched, findings).await?,
            }
        }
        Ok(())
    }

    async fn step(
        &mut self,
        reader: &Reader,
        number: u64,
        entry: &Listed,
        fetched: Fetched,
        findings: &mut Findings,
    ) -> Result<()> {
        let place = Place::object(&entry.key);
        match &fetched {
            Fetched::Batch(_, _, Some(version)) => inventory::below(entry, version, &place, findings),
            _ => inventory::versions(entry, &place, findings),
        }
        let mut lost = |walk: &mut Self, code: &'static str, detail: String| {
            findings.push(Finding::new(code, place.clone(), detail));
            (walk.whole, walk.previous) = (false, None);
        };
        if number > self.next {
            let missing = match number - self.next {
                1 => format!("batch {} is not there", self.next),
                n => format!("batches {} to {}, {n} of them, are not there", self.next, number - 1),
            };
            lost(self, "log_batch_missing", missing);
        }
        if matches!(fetched, Fetched::Absent) {
            // a hole like any other: the next batch, or the checkpoint, tells of it
            return Ok(());
        }
        self.next = number + 1;
        let (batch, locked) = match key_rules::again(fetched, self.ledger.ring(), &self.origin) {
            Fetched::Batch(batch, locked, _) if batch.header.batch == number => (batch, locked),
            Fetched::Batch(batch, ..) => {
                lost(self, code::LOG_PREVIOUS, format!("it is batch {}", batch.header.batch));
                return Ok(());
            }
            Fetched::Fault(fault, _) => {
                lost(self, fault.code, fault.detail);
                return Ok(());
            }
            Fetched::Unreadable(error) => {
                lost(self, "unreadable", error.to_string());
                return Ok(());
            }
            Fetched::Absent => return Ok(()),
        };
        self.report.batches += 1;
        if self.previous.is_some_and(|previous| previous != batch.header.previous) {
            lost(self, code::LOG_PREVIOUS, "previous is not the hash of the batch before".into());
        }
        self.previous = Some(Some(batch.hash));
        if self.whole && batch.header.first != self.edge.size() {
            let (first, size) = (batch.header.first, self.edge.size());
            lost(self, code::LOG_ROOT, format!("it begins at entry {first}, and {size} are before it"));
            self.previous = Some(Some(batch.hash));
        }
        if let Err(fault) = self.ledger.batch(&self.origin, batch.signed_by, batch.header.first) {
            findings.push(Finding::new(fault.code, place.clone(), fault.detail));
        }
        let known = self.differs.is_some();
        let mut named = Named::default();
        let compared = self.entries(&batch, &place, &mut named, findings).await?;
        self.lock(reader, &place, &named, &locked, findings).await;
        if self.whole && self.edge.root() == batch.header.root {
            compared.into_iter().for_each(|finding| findings.push(finding));
        } else if self.whole {
            let detail = format!("its root is not that of the {} entries up to here", self.edge.size());
            findings.push(Finding::new(code::LOG_ROOT, place, detail));
            self.whole = false;
            self.differs = self.differs.take().filter(|_| known);
        }
        Ok(())
    }

    /// Judges the lock of a batch.
    async fn lock(&mut self, reader: &Reader, place: &Place, named: &Named, locked: &Locked, findings: &mut Findings) {
        let asked = self.locks.asks() || named.promise.is_some_and(|promise| promise.mode != LockMode::None);
        let lock = reader.lock(place.key.as_deref().unwrap_or_default(), locked, asked).await;
        self.locks.batch(place, named, lock, findings);
    }

    /// Takes the entries in. What the checkpoints say otherwise is given back: it means nothing if the batch
    /// contradicts itself.
    async fn entries(
        &mut self,
        batch: &Batch,
        place: &Place,
        named: &mut Named,
        findings: &mut Findings,
    ) -> Result<Vec<Finding>> {
        let (mut full, mut compared) = (Vec::new(), Vec::new());
        for (index, line) in (batch.header.first..).zip(&batch.lines) {
            let entry = Entry::parse(line, &self.origin);
            if let Some(Err(fault)) = entry.as_ref().ok().map(|entry| self.ledger.take(index, entry)) {
                findings.push(Finding::new(fault.code, place.clone(), fault.detail));
            }
            match entry {
                Ok(Entry::Segment(manifest)) => {
                    named.manifest(&manifest);
                    self.manifest(&manifest, line, place, findings);
                }
                Ok(Entry::Alive(alive)) => named.alive(alive.time),
                Ok(Entry::Key(entry)) => named.alive(entry.time),
                Ok(Entry::Disposal(entry)) => named.alive(entry.time),
                Ok(Entry::Hold(entry)) => named.alive(entry.time),
                Ok(Entry::Unknown { format }) => {
                    self.report.unknown += 1;
                    let detail = format!("entry {index} is of format {format:?}");
                    findings.push(Finding::new("log_entry_unknown", place.clone(), detail));
                }
                Err(fault) => {
                    let detail = format!("entry {index}: {}", fault.detail);
                    findings.push(Finding::new(fault.code, place.clone(), detail));
                }
            }
            self.newest = self.newest.max(named.time);
            if self.whole {
                self.edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full);
                self.compare(&mut compared);
            }
        }
        for (tile, bytes) in full {
            self.tiles.full(Expected { tile, bytes }, findings).await?;
        }
        Ok(compared)
    }

    fn manifest(&mut self, manifest: &Manifest, line: &str, place: &Place, findings: &mut Findings) {
        if let Some(partitions) = manifest.broker.partitions {
            let topic = (manifest.chain.cluster.to_string(), manifest.chain.topic.to_string());
            self.partitions.insert(topic, partitions);
        }
        let chain = self.chains.entry(manifest.chain.clone()).or_default();
        let before = chain.next().checked_sub(1).zip(chain.last());
        let before = before.map(|(sequence, hash)| Logged { sequence, hash });
        // behind a hole in the log any later manifest may come
        let skipped = !self.whole && manifest.sequence > chain.next();
        if let (false, Err(fault)) = (skipped, in_order(before, self.whole, manifest)) {
            let place =
                Place { sequence: Some(manifest.sequence), key: place.key.clone(), ..Place::chain(&manifest.chain) };
            findings.push(Finding::new(fault.code, place, fault.detail));
        }
        if manifest.sequence >= chain.next() {
            chain.push(manifest, Manifest::hash_of(line));
        }
    }

    /// Whether the tree, at the size of a checkpoint, is what the checkpoint says.
    fn compare(&mut self, findings: &mut Vec<Finding>) {
        let size = self.edge.size();
        self.anchors.compare(&self.edge, findings);
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.size == size) {
            self.report.newest = self.newest;
        }
        if self.pinned.as_ref().is_some_and(|pinned| pinned.size == size) {
            self.covered = self.chains.iter().map(|(chain, logged)| (chain.clone(), logged.next())).collect();
        }
        let differs = |checkpoint: &Option<Checkpoint>| {
            checkpoint.as_ref().filter(|c| c.size == size).is_some_and(|c| c.root != self.edge.root())
        };
        if differs(&self.checkpoint) {
            let detail = format!("its root of {size} entries is not the one that the batches give");
            self.differs = Some(Finding::new("log_checkpoint", Place::object(layout::CHECKPOINT), detail));
        }
        if differs(&self.pinned) {
            let detail = format!("the root of its first {size} entries is not the one that you hold a checkpoint of");
            findings.push(Finding::new("checkpoint_fork", Place::object(layout::BATCHES), detail));
        }
    }

    async fn finish(mut self, reader: &Reader, findings: &mut Findings) -> Result<LogView> {
        let size = self.edge.size();
        self.judge_checkpoint(findings);
        self.locks.end(findings);
        self.anchors.locks(reader, &mut self.locks, findings).await;
        if self.next == 0 {
            let detail = "there are other objects of a log, and none of its batches";
            findings.push(Finding::new("log_missing", Place::object(layout::BATCHES), detail));
            self.whole = false;
        }
        let ahead = |checkpoint: &Option<Checkpoint>| {
            checkpoint.as_ref().map(|c| c.size).filter(|claimed| *claimed > size && self.whole)
        };
        if let Some(claimed) = ahead(&self.checkpoint) {
            let detail = format!("the checkpoint has {claimed} entries, and the batches hold {size}");
            findings.push(Finding::new("log_truncated", Place::object(layout::batch_key(self.next)), detail));
        }
        if let Some(claimed) = ahead(&self.pinned) {
            let detail = format!("you hold a checkpoint of {claimed} entries, and the batches hold {size}");
            findings.push(Finding::new("checkpoint_ahead", Place::object(layout::batch_key(self.next)), detail));
        }
        self.report.anchors = self.anchors.finish(size, self.whole, self.ledger.ring(), findings);
        if self.whole {
            for (tile, bytes) in self.edge.partials() {
                self.tiles.partial(Expected { tile, bytes }, findings).await?;
            }
            self.tiles.finish(size, self.next, findings).await?;
            self.report.root = Some(self.edge.root());
        }
        self.report.entries = size;
        let chains = self.chains.into_iter().map(|(chain, logged)| (chain, Arc::new(logged))).collect();
        Ok(LogView {
            chains,
            whole: self.whole,
            ledger: Arc::new(self.ledger),
            covered: self.covered,
            partitions: self.partitions,
            locks: self.locks.locks.counts,
            report: self.report,
        })
    }

    /// Whether a key that is good at its size signed the checkpoint. If none did, it promises nothing.
    fn judge_checkpoint(&mut self, findings: &mut Findings) {
        let judged = self.unproven.take().map(|note| key_rules::judge(&note, self.ledger.ring(), &self.origin));
        match judged {
            Some(Err(fault)) => {
                findings.push(Finding::new(fault.code, Place::object(layout::CHECKPOINT), fault.detail));
                self.checkpoint = None;
                (self.report.checkpoint, self.report.newest) = (None, None);
                self.tiles.forget();
            }
            Some(Ok(())) | None => self.differs.take().into_iter().for_each(|finding| findings.push(finding)),
        }
    }
}

async fn fetch(reader: &Reader, keys: &Verifiers, origin: &str, entry: &Listed) -> Result<Fetched> {
    let Some(number) = layout::parse_batch_key(&entry.key).filter(|_| entry.versions > 0) else {
        return Ok(Fetched::Absent);
    };
    let of_this = |batch: &Batch| batch.header.batch == number;
    let oldest = match reader.read_listed(entry).await? {
        Read::Absent => Fetched::Absent,
        Read::Found(stored) => match Batch::open(&stored.bytes, keys, origin) {
            Ok(batch) => Fetched::Batch(Box::new(batch), Locked::of(&stored), None),
            Err(fault) => {
                let locked = Locked::of(&stored);
                Fetched::Fault(fault, Some((stored.bytes, locked)))
            }
        },
        Read::Unreadable(e) if matches!(e.kind(), Kind::Data | Kind::Tampered) => {
            Fetched::Fault(Fault::new(code::LOG_FORM, e.to_string()), None)
        }
        Read::Unreadable(e) => Fetched::Unreadable(e),
    };
    let bad = match &oldest {
        Fetched::Batch(batch, ..) => !of_this(batch),
        Fetched::Fault(..) => true,
        Fetched::Absent | Fetched::Unreadable(_) => false,
    };
    if bad && entry.versions > 1 {
        for version in reader.newer_versions(&entry.key).await? {
            let Read::Found(stored) = reader.read_version(&entry.key, &version).await? else { continue };
            if let Some(batch) = Batch::open(&stored.bytes, keys, origin).ok().filter(of_this) {
                return Ok(Fetched::Batch(Box::new(batch), Locked::of(&stored), Some(version)));
            }
        }
    }
    Ok(oldest)
}
