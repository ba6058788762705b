//! Keys that the log introduces and retires, and disposals: what they mean for what an audit finds. Pure.

use super::{
    report::{Finding, Place, Range},
    tlog::Fetched,
};
use crate::{
    fault::{Fault, code},
    layout,
    manifest::Offsets,
    note::{self, KeyId},
    position::ChainId,
    store_info::seal_key_name,
    tlog::{Batch, Checkpoint, Keyring, Ledger},
};
use std::{ops, sync::Arc};

/// What a checkpoint says that no given key signed; `None` if that is not what is wrong with it.
pub(super) fn claimed(fault: &Fault, note: &[u8]) -> Option<Checkpoint> {
    let parts = (fault.code == code::LOG_UNKNOWN_KEY).then(|| note::split(note).ok()).flatten()?;
    Checkpoint::parse(parts.text).ok()
}

/// Whether a key that is good at the size of a checkpoint signed it.
pub(super) fn judge(bytes: &[u8], ring: &Keyring, origin: &str) -> Result<(), Fault> {
    let checkpoint = Checkpoint::open(bytes, ring.verifiers(), origin)?;
    let note = ring.verifiers().open(bytes).map_err(|_| Fault::new(code::LOG_UNKNOWN_KEY, "no known key signed it"))?;
    let mut last = Ok(());
    for signature in note.signatures.iter().filter(|signature| signature.name == origin) {
        last = ring.judge(origin, signature.id, checkpoint.size);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Opens a batch again whose key was not given: an entry before it may have introduced that.
pub(super) fn again(fetched: Fetched, ring: &Keyring, origin: &str) -> Fetched {
    match fetched {
        Fetched::Fault(fault, Some((bytes, locked))) if fault.code == code::LOG_UNKNOWN_KEY => {
            match Batch::open(&bytes, ring.verifiers(), origin) {
                Ok(batch) => Fetched::Batch(Box::new(batch), locked, None),
                Err(fault) => Fetched::Fault(fault, None),
            }
        }
        other => other,
    }
}

/// What the ledger of the log says of one chain, for the walk over it.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    ledger: Arc<Ledger>,
    chain: ChainId,
    now: i64,
}

impl Rules {
    pub(super) fn new(ledger: Arc<Ledger>, chain: &ChainId, now: i64) -> Self {
        Self { ledger, chain: chain.clone(), now }
    }

    /// The finding that a segment is signed by a key that was not good there.
    pub(super) fn key(&self, place: &Place, origin: &str, sequence: u64, signed_by: &str) -> Option<Finding> {
        let id = KeyId::parse(signed_by)?;
        let fault = self.ledger.judge_segment(&self.chain, sequence, &seal_key_name(origin), id).err()?;
        Some(Finding::new(fault.code, place.clone(), fault.detail))
    }

    /// One of the holds that these offsets are under.
    pub(super) fn held(&self, offsets: Offsets) -> Option<&str> {
        self.ledger.account(&self.chain)?.held(offsets).first().copied()
    }

    /// Whether a segment that is not there may be gone: disposed of, and its date is past by our own clock too.
    fn expired(&self, sequence: u64) -> bool {
        let disposed = self.ledger.account(&self.chain).and_then(|account| account.disposed(sequence));
        disposed.is_some_and(|disposed| disposed.until <= self.now)
    }

    /// Splits sequences that are not there into runs, and says of each whether it is expired.
    pub(super) fn split(&self, missing: ops::Range<u64>) -> Vec<(ops::Range<u64>, bool)> {
        let mut runs: Vec<(ops::Range<u64>, bool)> = Vec::new();
        for sequence in missing {
            let expired = self.expired(sequence);
            match runs.last_mut() {
                Some((run, same)) if *same == expired => run.end = sequence + 1,
                _ => runs.push((sequence..sequence + 1, expired)),
            }
        }
        runs
    }

    /// The notice that segments went when their time was over.
    pub(super) fn told(&self, run: &ops::Range<u64>) -> Option<Finding> {
        let account = self.ledger.account(&self.chain)?;
        let (first, last) = (account.segment(run.start)?, account.segment(run.end - 1)?);
        let entry = account.disposed(run.start)?.index;
        let which = match run.end - run.start {
            1 => format!("segment {} went", run.start),
            n => format!("segments {} to {}, {n} of them, went", run.start, run.end - 1),
        };
        let (from, to) = (first.offsets.from, last.offsets.to);
        let span = if from < to { format!("; with them offsets {from} to {}", to - 1) } else { String::new() };
        let detail = format!("{which} when their time was over: entry {entry} of the log disposed of them{span}");
        let mut place = Place::segment(&self.chain, run.start, layout::segment_key(&self.chain, run.start));
        place.sequences = (run.end - run.start > 1).then_some(Range { from: run.start, to: Some(run.end) });
        place.offsets = Some(Range { from, to: Some(to) });
        Some(Finding::new("expired", place, detail))
    }

    /// The notice that a segment was disposed of and is still there.
    pub(super) fn kept(&self, place: &Place, sequence: u64) -> Option<Finding> {
        let disposed = self.ledger.account(&self.chain)?.disposed(sequence)?;
        let detail = format!("entry {} of the log disposed of it, and it is still there", disposed.index);
        Some(Finding::new("disposal_pending", place.clone(), detail))
    }
}
