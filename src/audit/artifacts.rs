//! The bundles that manifests name: each must be there, and be what its name says.

use super::{
    findings::Findings,
    inventory::{self, PAGE},
    read::{Read, Reader},
    report::{Finding, Place},
    walk::Walked,
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    layout,
    position::ChainId,
};
use std::collections::BTreeMap;

/// Checks everything under `artifacts/`, and that nothing named is missing. Returns how many there are and their bytes.
/// One that nobody names is no fault: it is put before the first manifest that names it.
pub(super) async fn check(
    reader: &Reader,
    walked: &BTreeMap<ChainId, Walked>,
    findings: &mut Findings,
) -> Result<(u64, u64)> {
    let mut named: BTreeMap<Digest, Place> = BTreeMap::new();
    for (digest, place) in walked.values().flat_map(|w| &w.artifacts) {
        named.entry(*digest).or_insert_with(|| place.clone());
    }
    let (mut count, mut bytes) = (0, 0);
    let mut after: Option<String> = None;
    loop {
        let page = match reader.list(layout::ARTIFACTS, after.as_deref(), PAGE).await {
            Err(e) if e.kind() == Kind::Tampered => {
                findings.push(Finding::new("unexpected_object", Place::object(layout::ARTIFACTS), e.to_string()));
                break;
            }
            page => page?,
        };
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for entry in page {
            let Some(digest) = layout::parse_artifact_key(&entry.key) else {
                inventory::unexpected(&entry, findings);
                continue;
            };
            inventory::versions(&entry, &Place::object(&entry.key), findings);
            if entry.versions == 0 {
                continue;
            }
            let place = Place { key: Some(entry.key.clone()), ..named.remove(&digest).unwrap_or_default() };
            let _room = reader.room().await?;
            match reader.read(&entry.key).await? {
                Read::Found(stored) => {
                    (count, bytes) = (count + 1, bytes + stored.bytes.len() as u64);
                    compare(digest, stored.bytes, place, findings).await?;
                }
                Read::Absent => missing(place, findings),
                Read::Unreadable(e) => {
                    let code = match e.kind() {
                        Kind::Data | Kind::Tampered => "artifact_digest",
                        Kind::Retry | Kind::Config | Kind::Bug => "unreadable",
                    };
                    findings.push(Finding::new(code, place, e.to_string()));
                }
            }
        }
    }
    for (digest, place) in named {
        missing(Place { key: Some(layout::artifact_key(&digest)), ..place }, findings);
    }
    Ok((count, bytes))
}

async fn compare(digest: Digest, bytes: bytes::Bytes, place: Place, findings: &mut Findings) -> Result<()> {
    let hash = move || (Digest::of(&bytes), bytes.len());
    let (found, length) = tokio::task::spawn_blocking(hash)
        .await
        .map_err(|e| Error::bug("hashing an artifact did not end").caused_by(e))?;
    if found != digest {
        let detail = format!("its {length} bytes have the digest {}", found.hex());
        findings.push(Finding::new("artifact_digest", place, detail));
    }
    Ok(())
}

fn missing(place: Place, findings: &mut Findings) {
    let detail = match &place.chain {
        Some(chain) => format!(
            "named by a manifest of {chain} and not there: which rules or schemas were in force cannot be shown"
        ),
        None => "it was listed and is gone".to_owned(),
    };
    findings.push(Finding::new("artifact_missing", place, detail));
}
