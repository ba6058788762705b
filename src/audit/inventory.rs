//! What lies in the store: which chains there are, and what lies there that has no place.

use super::{findings::Findings, read::Reader, report::Finding, report::Place};
use crate::{error::Result, layout, position::ChainId, store::Entry};

/// Entries asked for at once.
pub(super) const PAGE: usize = 1000;

/// Every chain that has at least one key, in the order of the store. Keys under `chains/` that are in no chain's folder
/// become findings; those inside of one are left to the walk over that chain.
///
/// It jumps from folder to folder, so that it costs a request for each chain and not one for each thousand segments.
pub(super) async fn chains(reader: &Reader, findings: &mut Findings) -> Result<Vec<ChainId>> {
    let mut chains: Vec<ChainId> = Vec::new();
    // that of the newest chain: what lies in it is left to the walk
    let mut folder: Option<String> = None;
    let mut after: Option<String> = None;
    let mut limit = 1;
    loop {
        let page = reader.list(layout::CHAINS, after.as_deref(), limit).await?;
        let full = page.len() >= limit;
        let mut jumped = false;
        for entry in page {
            if folder.as_ref().is_none_or(|folder| !entry.key.starts_with(folder)) {
                if let Some(chain) = chain_of_key(&entry.key) {
                    let prefix = layout::chain_prefix(&chain);
                    // past every key that we write there; a key behind it is passed over by itself
                    after = Some(format!("{prefix}z"));
                    folder = Some(prefix);
                    chains.push(chain);
                    jumped = true;
                    break;
                }
                unexpected(&entry, findings);
            }
            after = Some(entry.key);
        }
        if !jumped && !full {
            return Ok(chains);
        }
        limit = if jumped { 1 } else { PAGE };
    }
}

/// The chain in whose folder a key lies, whatever its last part is. Only the one spelling that `layout` writes counts.
pub(super) fn chain_of_key(key: &str) -> Option<ChainId> {
    let folder = &key[..=key.rfind('/')?];
    layout::parse_chain_prefix(folder)
}

/// Tells of a key that no version of this layout writes.
pub(super) fn unexpected(entry: &Entry, findings: &mut Findings) {
    let place = match chain_of_key(&entry.key) {
        Some(chain) => Place { key: Some(entry.key.clone()), ..Place::chain(&chain) },
        None => Place::object(&entry.key),
    };
    let detail = format!("{} bytes under a key that is not one of the layout", entry.size);
    findings.push(Finding::new("unexpected_object", place.clone(), detail));
    versions(entry, &place, findings);
}

/// Tells of versions and delete markers that stand in front of what was written first.
pub(super) fn versions(entry: &Entry, place: &Place, findings: &mut Findings) {
    if entry.versions > 1 {
        let detail = format!(
            "{} versions of one key: the oldest was checked, and a reader that does not ask for it sees the newest",
            entry.versions
        );
        findings.push(Finding::new("shadow_version", place.clone(), detail));
    }
    markers(entry, place, findings);
}

/// Tells of versions that lie below the one that was sealed, and of delete markers.
pub(super) fn below(entry: &Entry, version: &str, place: &Place, findings: &mut Findings) {
    let detail = format!(
        "{} versions of one key: the oldest is not what was sealed; version {version:?}, above it, is, and was checked",
        entry.versions
    );
    findings.push(Finding::new("shadow_below", place.clone(), detail));
    markers(entry, place, findings);
}

fn markers(entry: &Entry, place: &Place, findings: &mut Findings) {
    if entry.markers > 0 {
        let markers =
            if entry.markers == 1 { "a delete marker".into() } else { format!("{} delete markers", entry.markers) };
        let detail = match entry.versions {
            0 => format!("{markers} and no version: what lay here was deleted for good, or was never there"),
            _ => format!("{markers} on a key that holds an object: ordinary readers may not see it"),
        };
        findings.push(Finding::new("delete_marker", place.clone(), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_of_the_layout_is_a_chain() {
        assert!(chain_of_key("chains/main/auth/00001/0000/000000000000.avro").is_some());
        assert!(chain_of_key("chains/main/auth/00001/0000/whatever").is_some());
        for bad in [
            "chains/main/auth/1/0000/000000000000.avro",
            "chains/main/auth/00001/0000",
            "chains/main/auth/00001/0000/a/b",
            "chains/main/auth/000001/0000/a",
            "chains/main/auth/00001/00000/a",
            "chains/main/a b/00001/0000/a",
            "chains/x",
            "chains/",
            "store.json",
            "",
        ] {
            assert_eq!(chain_of_key(bad), None, "{bad}");
        }
    }
}
