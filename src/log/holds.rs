//! Holding offsets, and letting them go: an entry of the log first, and a legal hold on each version where the store
//! has them. The entry alone keeps `retention apply` away; the legal hold keeps everybody away.

use super::Desk;
use crate::{
    error::{Error, Result},
    layout,
    manifest::Offsets,
    position::ChainId,
    store::{Change, Store},
    tlog::{
        Hold, Ledger,
        keep::{self, Switch},
        ledger::Segment,
    },
};

/// What is to be held or let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// On or off.
    pub action: Switch,
    /// Which hold: a case.
    pub name: String,
    /// Of which chain.
    pub chain: ChainId,
    /// Which offsets.
    pub offsets: Offsets,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Whether an entry was made; else the log said so already.
    pub entered: bool,
    /// Segments with any of these offsets.
    pub segments: u64,
    /// Versions whose legal hold was put or lifted.
    pub changed: u64,
    /// Versions that stay under a legal hold, for another hold needs it.
    pub others: u64,
    /// Whether the store has no legal holds: then the entry stands alone.
    pub without: bool,
    /// Segments that are gone, or that could not be held or let go, and why.
    pub failed: Vec<(String, String)>,
}

/// Holds offsets, or lets them go.
///
/// If we crash here: behind the entry, asking again sees to the legal holds that are not as they should be. Until then
/// versions that are let go are still held by the store, and those that are held by the entry alone.
pub async fn switch(desk: &mut Desk, ask: &Ask) -> Result<Held> {
    let (end, range) = (desk.ledger().account(&ask.chain).map_or(0, |account| account.end()), ask.offsets);
    if range.to > end {
        return Err(Error::config(format!(
            "{} is logged up to offset {end}: what is not logged yet cannot be held",
            ask.chain
        )));
    }
    let entry = Hold {
        format: keep::HOLD.into(),
        origin: desk.options().origin.clone(),
        action: ask.action,
        name: ask.name.clone(),
        chain: ask.chain.clone(),
        offsets: range,
        time: desk.now(),
        reason: ask.reason.clone(),
        writer: desk.options().writer.clone(),
    };
    let line = entry.line()?;
    let decide = |ledger: &Ledger| Ok(if says(ledger, ask) { Vec::new() } else { vec![line.clone()] });
    let mut held = Held { entered: desk.append(decide).await? > 0, ..Held::default() };
    if held.entered {
        desk.publish().await?;
    }
    let Some(account) = desk.ledger().account(&ask.chain) else { return Ok(held) };
    let touched = |segment: &Segment| segment.offsets.from < range.to && range.from < segment.offsets.to;
    for segment in account.segments().filter(touched) {
        held.segments += 1;
        let wanted = !account.held(segment.offsets).is_empty();
        if wanted && ask.action == Switch::Off {
            held.others += 1;
            continue;
        }
        let key = layout::segment_key(&ask.chain, segment.sequence);
        one(&*desk.parts().store, &key, wanted, &mut held).await?;
    }
    Ok(held)
}

/// Sees to it that every version of a key is held, or is not.
async fn one(store: &dyn Store, key: &str, wanted: bool, held: &mut Held) -> Result<()> {
    let versions = store.versions(key).await?.held;
    if versions.is_empty() && wanted {
        held.failed.push((key.to_owned(), "it is not there: it was disposed of before, or removed".into()));
    }
    for version in versions {
        match store.legal_hold_of(key, &version.id).await? {
            None => held.without = true,
            Some(now) if now == wanted => {}
            Some(_) => match store.set_legal_hold(key, &version.id, wanted).await? {
                Change::Done => held.changed += 1,
                Change::Locked(why) | Change::Denied(why) => held.failed.push((key.to_owned(), why)),
            },
        }
    }
    Ok(())
}

/// Whether the log says so already.
fn says(ledger: &Ledger, ask: &Ask) -> bool {
    let Offsets { from, to } = ask.offsets;
    let ranges = ledger.account(&ask.chain).and_then(|account| account.holds().get(&ask.name));
    let mut ranges: Vec<Offsets> = ranges.cloned().unwrap_or_default();
    ranges.sort_by_key(|range| range.from);
    match ask.action {
        Switch::Off => !ranges.iter().any(|range| range.from < to && from < range.to),
        Switch::On => {
            // whether the ranges, one after the other, cover it
            let covered = ranges.iter().fold(from, |at, range| if range.from <= at { at.max(range.to) } else { at });
            covered >= to
        }
    }
}
