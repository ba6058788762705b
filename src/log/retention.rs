//! Retention: what is past its date goes, once the log says so; what must stay longer is locked longer. Nothing else in
//! this program deletes evidence.
//!
//! Logged first, deleted then. A crash in between leaves segments that are disposed of and still there: the next run
//! deletes them. There is no other order in which a deletion would never look like tampering.

use super::{Desk, keys::chains};
use crate::{
    error::{Error, Result},
    layout,
    manifest::Offsets,
    position::ChainId,
    retention::{LockMode, Retention},
    store::{Change, Entry, Store, show_lock},
    tlog::{
        Disposal, Ledger,
        keep::{self, Sequences},
        ledger::Segment,
    },
};
use std::collections::BTreeMap;

/// Keys asked for at once.
const PAGE: usize = 1000;

/// Up to when a segment has to stay by what is configured now, milliseconds since 1970. `None`: for ever. Its own lock
/// counts besides.
pub type Expires<'a> = &'a dyn Fn(&ChainId, &Segment) -> Option<i64>;

/// Segments of one chain that are due, or that stay although they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which chain.
    pub chain: ChainId,
    /// Which segments.
    pub sequences: Sequences,
    /// What they cover.
    pub offsets: Offsets,
    /// Up to when they had to stay, the latest date of all.
    pub until: i64,
    /// Why they stay; `None`: they go.
    pub stays: Option<String>,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// What was found due.
    pub runs: Vec<Run>,
    /// Segments deleted, those of an earlier run that had ended before it was done included.
    pub deleted: u64,
    /// Those that could not be deleted, and why. The next run tries again.
    pub kept: Vec<(String, String)>,
}

/// Finds what is due. `expires` may only lengthen what a segment's own lock says.
pub async fn due(desk: &Desk, expires: Expires<'_>) -> Result<Vec<Run>> {
    let (mut runs, now) = (Vec::new(), desk.now());
    for (chain, account) in desk.ledger().accounts() {
        // the newest of a chain stays: it says where the chain ends
        let old = |segment: &Segment| {
            let date = date(chain, segment, expires)?;
            (segment.sequence + 1 < account.next() && account.disposed(segment.sequence).is_none() && date <= now)
                .then_some(date)
        };
        let due: BTreeMap<u64, (Segment, i64)> = account
            .segments()
            .filter_map(|segment| old(&segment).map(|date| (segment.sequence, (segment, date))))
            .collect();
        let Some(last) = due.last_key_value().map(|(last, _)| *last) else { continue };
        let found = list(&*desk.parts().store, chain, last).await?;
        let mut of_chain: Vec<Run> = Vec::new();
        for (sequence, (segment, until)) in due {
            let stays = match account.held(segment.offsets).first() {
                Some(name) => Some(format!("held by {name}")),
                None => stays(&*desk.parts().store, found.get(&sequence), now).await?,
            };
            push(&mut of_chain, chain, &segment, until, stays);
        }
        runs.extend(of_chain);
    }
    Ok(runs)
}

/// The date of a segment: the later one of its lock and of what is configured.
fn date(chain: &ChainId, segment: &Segment, expires: Expires<'_>) -> Option<i64> {
    match (segment.until, expires(chain, segment)) {
        (Some(lock), Some(configured)) => Some(lock.max(configured)),
        (lock, configured) => lock.or(configured),
    }
}

/// Adds a segment to the newest run if it goes on with it.
fn push(runs: &mut Vec<Run>, chain: &ChainId, segment: &Segment, until: i64, stays: Option<String>) {
    match runs.last_mut() {
        Some(run) if run.sequences.to == segment.sequence && run.stays == stays => {
            run.sequences.to = segment.sequence + 1;
            run.offsets.to = segment.offsets.to;
            run.until = run.until.max(until);
        }
        _ => runs.push(Run {
            chain: chain.clone(),
            sequences: Sequences { from: segment.sequence, to: segment.sequence + 1 },
            offsets: segment.offsets,
            until,
            stays,
        }),
    }
}

/// What lies under the keys of a chain up to a sequence.
async fn list(store: &dyn Store, chain: &ChainId, last: u64) -> Result<BTreeMap<u64, Entry>> {
    let (mut found, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let page = store.list(&layout::chain_prefix(chain), after.as_deref(), PAGE).await?;
        after = page.last().map(|entry| entry.key.clone());
        let whole = page.len() < PAGE;
        for entry in page {
            match layout::parse_segment_key(&entry.key) {
                Some((_, sequence)) if sequence <= last => drop(found.insert(sequence, entry)),
                Some(_) => return Ok(found),
                None => {}
            }
        }
        if whole {
            return Ok(found);
        }
    }
}

/// Why a segment stays, as the store has it; `None`: nothing speaks against its going.
async fn stays(store: &dyn Store, found: Option<&Entry>, now: i64) -> Result<Option<String>> {
    let Some(entry) = found else { return Ok(Some("it is not there: `authseal verify` says more".into())) };
    if entry.versions != 1 || entry.markers != 0 {
        let what = "there are other versions or delete markers of it: somebody has tampered with it";
        return Ok(Some(what.into()));
    }
    if let Some(lock) = store.retention_of(&entry.key, &entry.oldest).await?
        && lock.mode != LockMode::None
        && lock.until.is_none_or(|until| until > now)
    {
        return Ok(Some(format!("its lock was made longer: {}", show_lock(&lock))));
    }
    match store.legal_hold_of(&entry.key, &entry.oldest).await? {
        Some(true) => Ok(Some("a legal hold lies on it that the log does not name".into())),
        Some(false) | None => Ok(None),
    }
}

/// Disposes of what is due.
///
/// If we crash here: before the entries nothing has happened; behind them, or between two deletions, the next run goes
/// on.
pub async fn apply(desk: &mut Desk, expires: Expires<'_>, reason: &str) -> Result<Applied> {
    let mut applied = Applied::default();
    // what an earlier run did not come to
    delete(desk, &mut applied).await?;
    applied.runs = due(desk, expires).await?;
    let going: Vec<Run> = applied.runs.iter().filter(|run| run.stays.is_none()).cloned().collect();
    let (origin, writer, now) = (desk.options().origin.clone(), desk.options().writer.clone(), desk.now());
    let decide = |ledger: &Ledger| {
        let entry = |run: &Run| Disposal {
            format: keep::DISPOSAL.into(),
            origin: origin.clone(),
            chain: run.chain.clone(),
            sequences: run.sequences,
            offsets: run.offsets,
            until: run.until,
            time: now,
            reason: reason.into(),
            writer: writer.clone(),
        };
        // somebody may have disposed of some of them, or have held them, since they were found
        still(ledger, &going).iter().map(|run| entry(run).line()).collect()
    };
    if desk.append(decide).await? > 0 {
        desk.publish().await?;
        delete(desk, &mut applied).await?;
    }
    Ok(applied)
}

/// The runs without what was disposed of or held meanwhile.
fn still(ledger: &Ledger, going: &[Run]) -> Vec<Run> {
    let mut left = Vec::new();
    for run in going {
        let Some(account) = ledger.account(&run.chain) else { continue };
        let mut of_run = Vec::new();
        for segment in (run.sequences.from..run.sequences.to).filter_map(|sequence| account.segment(sequence)) {
            if account.disposed(segment.sequence).is_none() && account.held(segment.offsets).is_empty() {
                push(&mut of_run, &run.chain, &segment, run.until, None);
            }
        }
        left.extend(of_run);
    }
    left
}

/// Deletes what the log says was disposed of, and is still there; oldest first. What is held stays, whatever came
/// first.
async fn delete(desk: &Desk, applied: &mut Applied) -> Result<()> {
    let store = &*desk.parts().store;
    for (chain, account) in desk.ledger().accounts() {
        let Some(last) = account.disposals().iter().map(|d| d.sequences.to - 1).max() else { continue };
        for (sequence, entry) in list(store, chain, last).await? {
            let Some(segment) = account.disposed(sequence).and_then(|_| account.segment(sequence)) else { continue };
            if let Some(name) = account.held(segment.offsets).first() {
                applied.kept.push((entry.key, format!("held by {name}, since it was disposed of")));
                continue;
            }
            if entry.versions == 0 {
                continue; // only a marker is left of it
            }
            match store.delete_version(&entry.key, &entry.oldest).await? {
                Change::Done => applied.deleted += 1,
                Change::Locked(why) | Change::Denied(why) => applied.kept.push((entry.key, why)),
            }
        }
    }
    Ok(())
}

/// What became of an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// Versions whose lock is longer now.
    pub longer: u64,
    /// Versions that were locked as long already.
    pub enough: u64,
    /// Those that could not be locked, and why.
    pub failed: Vec<(String, String)>,
}

/// Locks every version of these segments at least until `until`, in its own mode, or `mode` where it has none. Never
/// shortens.
///
/// If we crash here: asking again goes on.
pub async fn extend(
    desk: &Desk,
    chosen: &dyn Fn(&ChainId) -> Option<Offsets>,
    until: i64,
    mode: LockMode,
) -> Result<Extended> {
    let (store, mut extended) = (&*desk.parts().store, Extended::default());
    for chain in chains(store).await? {
        let Some(range) = chosen(&chain) else { continue };
        let account = desk.ledger().account(&chain);
        for (sequence, entry) in list(store, &chain, u64::MAX).await? {
            // what is not logged yet is taken along: its offsets are not known here
            let outside = |segment: Segment| segment.offsets.to <= range.from || segment.offsets.from >= range.to;
            if account.and_then(|account| account.segment(sequence)).is_some_and(outside) {
                continue;
            }
            for version in store.versions(&entry.key).await?.held {
                lock_longer(store, &entry.key, &version.id, until, mode, &mut extended).await?;
            }
        }
    }
    Ok(extended)
}

async fn lock_longer(
    store: &dyn Store,
    key: &str,
    version: &str,
    until: i64,
    mode: LockMode,
    extended: &mut Extended,
) -> Result<()> {
    let now = store.retention_of(key, version).await?;
    let Some(now) = now else {
        return Err(Error::config(format!(
            "{}: the lock of {key} cannot be read: allow s3:GetObjectRetention",
            store.describe()
        )));
    };
    if now.until.is_some_and(|there| there >= until) {
        extended.enough += 1;
        return Ok(());
    }
    let mode = if now.mode == LockMode::None { mode } else { now.mode };
    match store.set_retention(key, version, &Retention { mode, until: Some(until) }).await? {
        Change::Done => extended.longer += 1,
        Change::Locked(why) | Change::Denied(why) => extended.failed.push((key.to_owned(), why)),
    }
    Ok(())
}
