//! The log in the store, as one instance reads and extends it. Everything is verified before anything is signed on top
//! of it. Methods may be dropped at any await: what is in the store stands, and the next call finds it.

use super::{Clock, Options, Parts, is_retired};
use crate::{
    digest::Digest,
    error::{Error, Result},
    fault::Fault,
    layout::{self, MAX_SEQUENCE, Tile},
    note::{KeyId, Verifiers},
    position::ChainId,
    retention::Retention,
    signing::{self, Sign},
    store::{self, Create, Put, Store},
    tlog::{Batch, Checkpoint, Edge, Entry, Keyring, Log, Logged, key, tiles},
};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use std::{collections::VecDeque, sync::Arc};

/// Keys asked for at once.
const PAGE: usize = 1000;
/// Batches read at the same time.
const AHEAD: usize = 8;
/// Full tiles held in memory before they are written, while a long log is read.
const HELD: usize = 64;
/// Batches whose size and root are remembered, to judge checkpoints by.
const REMEMBERED: usize = 4096;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It lies in the store: its entries are in the log.
    Ours,
    /// Another batch lies there. Read the log again, and try again with what is not in it yet.
    Lost,
}

/// Reads and extends one log.
pub struct Appender {
    store: Arc<dyn Store>,
    signer: Arc<dyn Sign>,
    keys: Arc<Verifiers>,
    clock: Clock,
    options: Options,
    /// `None` until it was read.
    log: Option<Log>,
    /// Tiles that are full, and that no checkpoint is known to cover: the size of the log behind each.
    underived: Vec<(u64, Tile, Bytes)>,
    /// Sizes and roots of the newest batches.
    known: VecDeque<(u64, Digest)>,
    /// The newest checkpoint that was signed here.
    note: Option<String>,
    /// Keys of log and seals, as far as the entries that were read say something of them.
    ring: Keyring,
    /// Keys of which an artifact says that they were retired, before anything of the log was read.
    buried: Vec<(String, KeyId)>,
}

impl Appender {
    /// Asks the store nothing yet.
    pub fn new(parts: &Parts, options: &Options) -> Self {
        let mut roots = (*parts.keys).clone();
        // the same names and ids mean the same keys in both, or one of them is passed over
        let _ = roots.extend(&parts.seal_keys);
        Self {
            ring: Keyring::new(&roots),
            buried: Vec::new(),
            store: parts.store.clone(),
            signer: parts.signer.clone(),
            keys: parts.keys.clone(),
            clock: parts.clock.clone(),
            options: options.clone(),
            log: None,
            underived: Vec::new(),
            known: VecDeque::new(),
            note: None,
        }
    }

    /// The log as it was read last.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Keys of log and seals, as far as the entries that were read say something of them.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// The keys that may sign what is entered next, as far as is known.
    pub fn good(&self) -> Verifiers {
        let size = self.log.as_ref().map_or(0, Log::size);
        self.ring.good(size).filtered(|name, id| !self.buried.iter().any(|(n, i)| n == name && *i == id))
    }

    /// The keys that the store says were retired.
    async fn bury(&self) -> Result<Vec<(String, KeyId)>> {
        let mut buried = Vec::new();
        for (name, id) in self.ring.verifiers().iter() {
            let Some(vkey) = self.ring.verifiers().text_of(name, id) else { continue };
            if is_retired(&*self.store, &vkey).await? {
                buried.push((name.to_owned(), id));
            }
        }
        Ok(buried)
    }

    /// Learns what a batch says of keys. What has no effect has none here.
    fn learn(&mut self, batch: &Batch) {
        for (index, line) in (batch.header.first..).zip(&batch.lines).filter(|(_, line)| line.contains(key::FORMAT)) {
            if let Ok(Entry::Key(entry)) = Entry::parse(line, &self.options.origin)
                && self.ring.take(index, &entry).is_ok()
            {
                self.keys = Arc::new(self.ring.verifiers().named(&self.options.origin));
            }
        }
    }

    /// The newest checkpoint that was signed here, as a note.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Reads what is new in the log; the first time, as much of it as is needed to go on: from the batch that the
    /// checkpoint covers, for tiles give the tree up to there.
    ///
    /// Errors: `Kind::Tampered` when what lies there does not follow from what is known. Then nothing is extended.
    pub async fn refresh(&mut self) -> Result<()> {
        match self.log.as_ref().map(Log::newest) {
            None => {
                // the entry that retires a key may lie before everything that is going to be read
                self.buried = self.bury().await?;
                if self.buried.contains(&(self.signer.name().to_owned(), self.signer.id())) {
                    let (name, id) = (self.signer.name(), self.signer.id());
                    let what = "an entry of the log retires it: configure the key that took its place";
                    return Err(Error::config(format!("the log is not extended with key {name}+{id}: {what}")));
                }
                let log = self.open().await?;
                if log.size() > 0 {
                    self.known.push_back((log.size(), log.root()));
                }
                self.log = Some(log);
            }
            Some(None) => {}
            Some(Some((number, hash))) => self.check_seen(number, hash).await?,
        }
        loop {
            let next = self.known_log()?.next();
            let after = next.checked_sub(1).map(layout::batch_key);
            let page = self.store.list(layout::BATCHES, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let last = layout::parse_batch_key(&last.key).ok_or_else(|| self.stray(&last.key))?;
            let mut batches = self.batches(next..=last);
            while let Some(batch) = batches.next().await {
                self.take(&batch?)?;
                if self.underived.len() >= HELD {
                    self.write_full_tiles().await?;
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Puts a batch of these entries, which must be more than none. Before it is put, it is read as everybody else will
    /// read it.
    ///
    /// If we crash here: before the put nothing has happened; after it, the entries are in the log, and whoever reads
    /// it next derives the rest.
    pub async fn commit(&mut self, lines: &[String]) -> Result<Committed> {
        let log = self.known_log()?;
        let judged = self.ring.judge(&self.options.origin, self.signer.id(), log.size());
        judged.map_err(|fault| Error::config(format!("the log is not extended: {}", fault.detail)))?;
        let header = log.header(lines);
        let key = layout::batch_key(header.batch);
        let note = signing::note(&*self.signer, &Batch::text(&header, lines)?).await?;
        let bug = |fault: Fault| Error::bug(format!("our own {key} would not be accepted: {fault}"));
        let batch = Batch::open(note.as_bytes(), &self.keys, &self.options.origin).map_err(bug)?;
        log.clone().apply(&batch, &mut Vec::new()).map_err(bug)?;
        // what a predecessor sealed under a longer policy needs its entry as long
        let promised = lines.iter().filter_map(|line| match Entry::parse(line, &self.options.origin) {
            Ok(Entry::Segment(manifest)) => Some(manifest.retention),
            _ => None,
        });
        let retention = promised.fold(self.options.retention.at((self.clock)()), Retention::longer);
        match store::put_new(&*self.store, &key, Bytes::from(note), &retention).await? {
            Put::Ours(_) => {
                self.take(&batch)?;
                Ok(Committed::Ours)
            }
            Put::Taken(_) => Ok(Committed::Lost),
            Put::Marker => Err(self.tampered(&key, "only a delete marker is left of it: somebody deleted it")),
        }
    }

    /// Sees to it that tiles, bundles and checkpoint say what the batches say, whoever wrote these. Returns the
    /// checkpoint that was signed, if the one in the store was older.
    pub async fn publish(&mut self) -> Result<Option<Checkpoint>> {
        let mut there = self.checkpoint().await?;
        let ahead = |there: &Option<Checkpoint>, size| there.as_ref().is_some_and(|there| there.size > size);
        if ahead(&there, self.known_log()?.size()) {
            // written between our reading of the batches and of the checkpoint
            self.refresh().await?;
            let size = self.known_log()?.size();
            if ahead(&there, size) {
                return Err(self.rolled_back(there.map_or(0, |there| there.size), size));
            }
        }
        if let Some(there) = there.take() {
            self.check_known(&there)?;
            let derived = there.size;
            self.underived.retain(|(size, ..)| *size > derived);
            if derived == self.known_log()?.size() {
                return Ok(None);
            }
        }
        let log = self.known_log()?;
        if log.size() == 0 {
            return Ok(None);
        }
        let checkpoint = Checkpoint { origin: self.options.origin.clone(), size: log.size(), root: log.root() };
        let partials = log.edge().partials();
        self.write_full_tiles().await?;
        for (tile, bytes) in partials {
            self.write(&tile, bytes).await?;
        }
        let note = signing::note(&*self.signer, &checkpoint.text()).await?;
        self.note = Some(note.clone());
        // Tiles first: whoever reads a checkpoint must find them. A crash before this leaves the older checkpoint,
        // which is as true. A slower instance may put an older one over ours: its next turn, or ours, mends it.
        self.store.replace(layout::CHECKPOINT, note.into()).await?;
        Ok(Some(checkpoint))
    }

    /// What the log holds of a chain; the inner `None`: nothing. The outer one: not known yet, after looking back over
    /// at most `budget` batches.
    pub async fn logged(&mut self, chain: &ChainId, budget: u64) -> Result<Option<Option<Logged>>> {
        let mut left = budget;
        loop {
            let log = self.known_log()?;
            if let Some(logged) = log.logged(chain) {
                return Ok(Some(Some(logged)));
            }
            if log.is_whole() {
                return Ok(Some(None));
            }
            if left == 0 {
                return Ok(None);
            }
            let (floor, step) = (log.floor(), left.min(AHEAD as u64).min(log.floor()));
            left -= step;
            let older: Vec<Batch> = self.batches((floor - step..=floor - 1).rev()).try_collect().await?;
            for batch in older {
                let key = layout::batch_key(batch.header.batch);
                let looked = self.log.as_mut().map(|log| log.look_back(&batch));
                looked.unwrap_or(Ok(())).map_err(|fault| self.tampered(&key, &fault.to_string()))?;
                self.learn(&batch);
            }
        }
    }

    fn known_log(&self) -> Result<&Log> {
        self.log.as_ref().ok_or_else(|| Error::bug("the log was not read yet"))
    }

    /// The log up to the batch that the checkpoint covers; from its beginning where there is no checkpoint, or where
    /// the tiles that it needs are not there.
    async fn open(&self) -> Result<Log> {
        // first the checkpoint, then the batches: so these are at least as new
        let checkpoint = self.checkpoint().await?;
        let newest = self.newest().await?;
        let empty = Log::empty(&self.options.origin);
        let (Some(newest), Some(checkpoint)) = (newest, &checkpoint) else {
            return match checkpoint.filter(|there| there.size > 0) {
                Some(there) => Err(self.rolled_back(there.size, 0)),
                None => Ok(empty),
            };
        };
        let mut number = newest;
        loop {
            let batch = read_batch(&*self.store, &self.keys, &self.options.origin, number).await?;
            let (size, root) = (batch.header.size, batch.header.root);
            if number == newest && size < checkpoint.size {
                return Err(self.rolled_back(checkpoint.size, size));
            }
            if size == checkpoint.size && root == checkpoint.root {
                return Ok(match self.edge(size).await? {
                    Some(edge) => Log::at(&batch, edge).unwrap_or(empty),
                    None => empty,
                });
            }
            if size <= checkpoint.size {
                return Err(self.forked(checkpoint));
            }
            number = number.checked_sub(1).ok_or_else(|| self.forked(checkpoint))?;
        }
    }

    /// The edge of the tree from the tiles in the store; `None` if they are not all there, or not of their form.
    async fn edge(&self, size: u64) -> Result<Option<Edge>> {
        let mut read = Vec::new();
        for tile in tiles::at_edge(size) {
            match self.store.read_oldest(&layout::tile_key(&tile)).await? {
                Some(stored) => read.push((tile, stored.bytes)),
                None => return Ok(None),
            }
        }
        Ok(Edge::restore(size, &read).ok())
    }

    /// The number of the newest batch, by "does anything at or after x exist".
    async fn newest(&self) -> Result<Option<u64>> {
        let from = async |number: u64| {
            let after = number.checked_sub(1).map(layout::batch_key);
            self.store.list(layout::BATCHES, after.as_deref(), 1).await.map(|page| !page.is_empty())
        };
        if !from(0).await? {
            return Ok(None);
        }
        // what sorts behind every number is none
        let behind = self.store.list(layout::BATCHES, Some(&layout::batch_key(MAX_SEQUENCE)), 1).await?;
        if let Some(stray) = behind.first() {
            return Err(self.stray(&stray.key));
        }
        let (mut low, mut high) = (0, 1);
        while high <= MAX_SEQUENCE && from(high).await? {
            (low, high) = (high, (high * 2).min(MAX_SEQUENCE + 1));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if from(middle).await? {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }

    /// Reads these batches, some at a time, and gives them in this order.
    fn batches(&self, numbers: impl Iterator<Item = u64>) -> BoxStream<'static, Result<Batch>> {
        let (store, keys, origin) = (self.store.clone(), self.keys.clone(), self.options.origin.clone());
        // at most as many as were listed
        let numbers: Vec<u64> = numbers.take(PAGE).collect();
        let read = move |number| {
            let (store, keys, origin) = (store.clone(), keys.clone(), origin.clone());
            async move { read_batch(&*store, &keys, &origin, number).await }
        };
        stream::iter(numbers).map(read).buffered(AHEAD).boxed()
    }

    /// Makes a batch part of the log that is known.
    fn take(&mut self, batch: &Batch) -> Result<()> {
        let mut full = Vec::new();
        let applied = self.log.as_mut().map(|log| log.apply(batch, &mut full));
        let key = layout::batch_key(batch.header.batch);
        applied.unwrap_or(Ok(())).map_err(|fault| self.tampered(&key, &fault.to_string()))?;
        self.learn(batch);
        let size = batch.header.size;
        self.underived.extend(full.into_iter().map(|(tile, bytes)| (size, tile, bytes)));
        self.known.push_back((size, batch.header.root));
        if self.known.len() > REMEMBERED {
            self.known.pop_front();
        }
        Ok(())
    }

    async fn write_full_tiles(&mut self) -> Result<()> {
        for (_, tile, bytes) in &self.underived {
            self.write(tile, bytes.clone()).await?;
        }
        self.underived.clear();
        Ok(())
    }

    /// Creates a tile. It follows from the batches, so that one that is there must be the same.
    async fn write(&self, tile: &Tile, bytes: Bytes) -> Result<()> {
        let key = layout::tile_key(tile);
        if self.store.create(&key, bytes.clone(), &Retention::NONE).await? == Create::Created {
            return Ok(());
        }
        match self.store.read_oldest(&key).await? {
            Some(stored) if stored.bytes == bytes => Ok(()),
            Some(_) => {
                Err(self.tampered(&key, "it holds other bytes than the batches give: remove it, and it is made"))
            }
            None => Err(self.tampered(&key, "only a delete marker is left of it: remove the marker")),
        }
    }

    /// The checkpoint in the store, if there is one.
    async fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(stored) = self.store.read_newest(layout::CHECKPOINT).await? else { return Ok(None) };
        let opened = Checkpoint::open(&stored.bytes, &self.keys, &self.options.origin);
        opened.map(Some).map_err(|fault| self.tampered(layout::CHECKPOINT, &fault.to_string()))
    }

    /// A checkpoint must be what one of the batches says; of those that are older than what is remembered nothing is
    /// known.
    fn check_known(&self, checkpoint: &Checkpoint) -> Result<()> {
        let oldest = self.known.front().map_or(0, |(size, _)| *size);
        let is = (checkpoint.size, checkpoint.root);
        match checkpoint.size < oldest || checkpoint.size == 0 || self.known.contains(&is) {
            true => Ok(()),
            false => Err(self.forked(checkpoint)),
        }
    }

    /// What this process has read is still there, as it was: else the log was cut off or rewritten, and whoever went on
    /// would hide it.
    async fn check_seen(&self, number: u64, hash: Digest) -> Result<()> {
        let batch = read_batch(&*self.store, &self.keys, &self.options.origin, number).await?;
        match batch.hash == hash {
            true => Ok(()),
            false => {
                let key = layout::batch_key(number);
                Err(self.tampered(&key, "it is another batch than this process has read there before"))
            }
        }
    }

    fn tampered(&self, key: &str, what: &str) -> Error {
        Error::tampered(format!("{key} in {}: {what}", self.store.describe()))
    }

    fn stray(&self, key: &str) -> Error {
        self.tampered(key, "no batch has such a name: move it away")
    }

    fn rolled_back(&self, checkpoint: u64, batches: u64) -> Error {
        self.tampered(
            layout::CHECKPOINT,
            &format!(
                "it says that the log has {checkpoint} entries, and its batches hold {batches}: the newest were \
                 removed; restore them, nothing is logged until then"
            ),
        )
    }

    fn forked(&self, checkpoint: &Checkpoint) -> Error {
        self.tampered(
            layout::CHECKPOINT,
            &format!(
                "it signs root {} of {} entries, and the batches give another: the log has two histories; nothing is \
                 logged until it is known which one is true",
                checkpoint.root, checkpoint.size
            ),
        )
    }
}

/// Reads one batch that must be there.
pub(super) async fn read_batch(store: &dyn Store, keys: &Verifiers, origin: &str, number: u64) -> Result<Batch> {
    let key = layout::batch_key(number);
    let place = || format!("{key} in {}", store.describe());
    let Some(stored) = store.read_oldest(&key).await? else {
        return Err(Error::tampered(format!(
            "{} was removed: this process has read it before, or a later batch is there",
            place()
        )));
    };
    let batch = Batch::open(&stored.bytes, keys, origin);
    let batch = batch.map_err(|fault| Error::tampered(format!("{}: {fault}", place())))?;
    match batch.header.batch == number {
        true => Ok(batch),
        false => Err(Error::tampered(format!("{} holds batch {}", place(), batch.header.batch))),
    }
}
