//! Looks into the demo's store, as anybody can who has a reader for Avro.

use super::traffic::{STUFFING_IP, TRACE};
use crate::{
    error::{Error, Result},
    event::{AuthEvent, Outcome},
    layout,
    position::Position,
    segment,
};
use std::path::{Path, PathBuf};

/// The logon with which the stuffing attack got in: what somebody would most like to have gone. The key of its segment,
/// its position, and what it is.
pub fn break_in(store: &Path) -> Result<(String, Position, String)> {
    let (mut found, mut any) = (None, None);
    events(store, |key, position, event| {
        let who = event.user.as_deref().unwrap_or("somebody");
        if event.outcome == Outcome::Success && event.src_ip.as_deref() == Some(STUFFING_IP) {
            found = Some((key.to_owned(), position, format!("the attacker's logon as {who}")));
            return false;
        }
        any.get_or_insert_with(|| (key.to_owned(), position, format!("a logon of {who}")));
        true
    })?;
    // a very small demo has no break-in
    found.or(any).ok_or_else(|| Error::bug("the store holds no event"))
}

/// The events of one action, from all systems, in their order; `None` in a demo that is too small to have it.
pub fn joined(store: &Path) -> Result<Option<String>> {
    let mut found = Vec::new();
    events(store, |_, position, event| {
        if event.trace_id.as_deref() == Some(TRACE) {
            found.push((event.time, position, event));
        }
        true
    })?;
    found.sort_by_key(|(time, ..)| *time);
    let Some((.., last)) = found.last() else { return Ok(None) };
    let (who, session) = (last.user.clone().unwrap_or_default(), last.session.clone().unwrap_or_default());
    if found.iter().any(|(.., event)| event.session.as_ref() != Some(&session)) {
        return Err(Error::bug("the events of one action do not join by their session"));
    }
    let lines = found.iter().map(|(time, position, event)| {
        let time = jiff::Timestamp::from_microsecond(time.0).unwrap_or_default().strftime("%H:%M:%S%.3f");
        let what = event.reason.as_deref().or(event.action.as_deref()).unwrap_or_default();
        let (activity, outcome) = (event.activity.symbol(), event.outcome.symbol());
        format!("\n  {time}  {:9} {activity:17} {outcome:8} {what:17} {position}", event.source)
    });
    Ok(Some(format!(
        "One action over three systems: a payout of {who}, found in the store by its trace id, which the gateway \
         sent as\n`traceparent`. The session joins as well: in events it is an HMAC, so that nobody can use it.\n{}\n  \
         trace {TRACE}\n  session {session}",
        lines.collect::<String>()
    )))
}

/// Hands out the events of a store, until `each` says no.
fn events(store: &Path, mut each: impl FnMut(&str, Position, AuthEvent) -> bool) -> Result<()> {
    for file in segments(store)? {
        let bytes = std::fs::read(&file).map_err(|e| Error::bug(format!("reading {}", file.display())).caused_by(e))?;
        let key = file.strip_prefix(store).unwrap_or(&file).to_string_lossy().into_owned();
        let Some((chain, _)) = layout::parse_segment_key(&key) else { continue };
        for leaf in segment::read::records(&bytes).map_err(|f| Error::bug(f.detail))? {
            let leaf = leaf.map_err(|f| Error::bug(f.detail))?;
            let Some(event) = leaf.record().map_err(|f| Error::bug(f.detail))?.event else { continue };
            if !each(&key, chain.at(leaf.offset()), *event) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The segments of a store, by their names.
pub fn segments(store: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(&store.join("chains"), &mut files)?;
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e: std::io::Error| Error::bug(format!("reading {}", dir.display())).caused_by(e);
    let mut entries = std::fs::read_dir(dir).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.path().is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
