//! Entries that a person makes: keys, holds, disposals. They are appended as an instance appends manifests, by winning
//! the create of a batch; whether an entry may be made is decided again with every batch that somebody else wins.

use super::{Appender, Committed, Options, Parts, appender::read_batch};
use crate::{
    error::{Error, Result},
    fault::code,
    layout,
    note::Verifiers,
    store::Store,
    tlog::{Batch, Entry, Ledger, Log},
};
use futures_util::{StreamExt, stream};
use std::sync::Arc;

/// Batches of others between ours: more than that, and something is wrong.
const ROUNDS: usize = 100;
/// Entries of one batch.
const ENTRIES: usize = 256;
/// Batches read at the same time.
const AHEAD: usize = 16;
/// Keys asked for at once.
const PAGE: usize = 1000;

/// The log from its first entry on, verified.
pub struct History {
    log: Log,
    ledger: Ledger,
    origin: String,
}

impl History {
    /// The log without entries. `roots`: keys of log and seals that are trusted from the start.
    pub fn new(origin: &str, roots: &Verifiers) -> Self {
        Self { log: Log::empty(origin), ledger: Ledger::new(roots), origin: origin.into() }
    }

    /// What the entries say together.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many entries were read.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Reads the batches that are new.
    pub async fn advance(&mut self, store: &Arc<dyn Store>) -> Result<()> {
        loop {
            let next = self.log.next();
            let after = next.checked_sub(1).map(layout::batch_key);
            let page = store.list(layout::BATCHES, after.as_deref(), PAGE).await?;
            let last = page.last().and_then(|entry| layout::parse_batch_key(&entry.key));
            let Some(last) = last else { return Ok(()) };
            let fetch = |number: u64| {
                let (store, key) = (store.clone(), layout::batch_key(number));
                async move { store.read_oldest(&key).await.map(|stored| (key, stored)) }
            };
            let mut fetched = stream::iter(next..=last).map(fetch).buffered(AHEAD).boxed();
            while let Some(one) = fetched.next().await {
                let (key, stored) = one?;
                let place = || format!("{key} in {}", store.describe());
                let stored = stored.ok_or_else(|| Error::tampered(format!("{} was removed", place())))?;
                // opened in order: a batch may be signed by a key that the one before introduces
                let batch = Batch::open(&stored.bytes, self.ledger.ring().verifiers(), &self.origin);
                let taken = batch.and_then(|batch| self.take(&batch));
                taken.map_err(|fault| {
                    let hint = if fault.code == code::LOG_UNKNOWN_KEY {
                        "; give its key, or name it in trust_file"
                    } else {
                        ""
                    };
                    Error::tampered(format!("{}: {fault}{hint}", place()))
                })?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), crate::fault::Fault> {
        self.ledger.batch(&self.origin, batch.signed_by, batch.header.first)?;
        self.log.apply(batch, &mut Vec::new())?;
        for (index, line) in (batch.header.first..).zip(&batch.lines) {
            // what has no effect has none here either; `verify` names it
            let _ = self.ledger.take(index, &Entry::parse(line, &self.origin)?);
        }
        Ok(())
    }
}

/// Appends entries of persons.
pub struct Desk {
    history: History,
    parts: Parts,
    options: Options,
}

impl Desk {
    /// Reads the log. `parts.signer` signs the batches; `parts.keys` and `parts.seal_keys` are trusted from the start.
    pub async fn open(parts: Parts, options: Options) -> Result<Self> {
        let mut roots = (*parts.keys).clone();
        roots.extend(&parts.seal_keys)?;
        let mut history = History::new(&options.origin, &roots);
        history.advance(&parts.store).await?;
        Ok(Self { history, parts, options })
    }

    /// What the log says.
    pub fn ledger(&self) -> &Ledger {
        &self.history.ledger
    }

    /// The parts that it was opened with.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The settings that it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// From now on another key signs batches and checkpoints.
    pub fn sign_with(&mut self, signer: Arc<dyn crate::signing::Sign>) {
        self.parts.signer = signer;
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        (self.parts.clock)()
    }

    /// Appends the entries that `decide` makes of the log as it is, and says how many. It is asked again with whatever
    /// others append meanwhile, so that what it decides is true at the place where it is entered. No entries: nothing
    /// is done.
    ///
    /// If we crash here: before the put nothing has happened; after it, the entries are in the log, and whoever reads
    /// it next derives tiles and checkpoint.
    pub async fn append(&mut self, mut decide: impl FnMut(&Ledger) -> Result<Vec<String>>) -> Result<usize> {
        for _ in 0..ROUNDS {
            self.history.advance(&self.parts.store).await?;
            let mut lines = decide(&self.history.ledger)?;
            let all = lines.len();
            if lines.is_empty() {
                return Ok(0);
            }
            self.refuse_without_effect(&lines)?;
            let rest = lines.split_off(all.min(ENTRIES));
            let keys = Arc::new(self.history.ledger.ring().verifiers().named(&self.options.origin));
            let mut appender = Appender::new(&Parts { keys, ..self.parts.clone() }, &self.options);
            appender.refresh().await?;
            if appender.log().map(Log::next) != Some(self.history.log.next()) {
                continue; // somebody was faster: decide again
            }
            if appender.commit(&lines).await? == Committed::Lost {
                continue;
            }
            self.history.advance(&self.parts.store).await?;
            // more than one batch: the rest is decided anew on top of the first
            if rest.is_empty() {
                return Ok(all);
            }
        }
        Err(Error::retry("other instances appended to the log each time: try again"))
    }

    /// Derives tiles and checkpoint of what was appended.
    pub async fn publish(&mut self) -> Result<()> {
        let keys = Arc::new(self.history.ledger.ring().verifiers().named(&self.options.origin));
        let mut appender = Appender::new(&Parts { keys, ..self.parts.clone() }, &self.options);
        appender.refresh().await?;
        appender.publish().await.map(drop)
    }

    /// An entry without effect would be a fault of the log for ever.
    fn refuse_without_effect(&self, lines: &[String]) -> Result<()> {
        let mut tried = self.history.ledger.clone();
        for (index, line) in (self.history.size()..).zip(lines) {
            let entry = Entry::parse(line, &self.options.origin).map_err(|fault| Error::bug(fault.detail))?;
            tried.take(index, &entry).map_err(|fault| Error::config(fault.detail))?;
        }
        let signer = &self.parts.signer;
        let judged = self.history.ledger.ring().judge(&self.options.origin, signer.id(), self.history.size());
        judged.map_err(|fault| Error::config(format!("the log cannot be extended with this key: {}", fault.detail)))
    }

    /// The newest batch, read again: for messages.
    pub async fn newest(&self) -> Result<Option<Batch>> {
        let Some((number, _)) = self.history.log.newest() else { return Ok(None) };
        let keys = self.history.ledger.ring().verifiers();
        read_batch(&*self.parts.store, keys, &self.options.origin, number).await.map(Some)
    }
}
