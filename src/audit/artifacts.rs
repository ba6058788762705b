//! The bundles that manifests name: each must be there, and be what its name says.

use super::{
    VerifyOptions,
    findings::Findings,
    inventory::{self, PAGE},
    protect::Locks,
    read::{Locked, Read, Reader},
    report::{Finding, Place, ProtectionReport},
    since::Since,
    walk::{Needed, Walked},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    layout,
    position::ChainId,
    retention::LockMode,
    store::Entry,
};
use std::collections::BTreeMap;

/// What was found under `artifacts/`.
pub(super) struct Checked {
    /// How many artifacts were read.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were not read, because nothing that was looked at names them.
    pub passed: u64,
    /// Their locks.
    pub locks: ProtectionReport,
}

/// Checks everything under `artifacts/`, and that nothing named is missing. One that nobody names is no fault: it is
/// put before the first manifest that names it.
pub(super) async fn check(
    reader: &Reader,
    walked: &BTreeMap<ChainId, Walked>,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Result<Checked> {
    let required = options.require_retention;
    let mut passed = 0;
    let mut named: BTreeMap<Digest, Needed> = BTreeMap::new();
    for (digest, needed) in walked.values().flat_map(|w| &w.artifacts) {
        named.entry(*digest).or_insert_with(|| needed.clone()).merge(needed);
    }
    let mut checking =
        Checking { reader, findings, locks: Locks::new(required), required: required.is_some(), count: 0, bytes: 0 };
    let mut after: Option<String> = None;
    loop {
        let page = match reader.list(layout::ARTIFACTS, after.as_deref(), PAGE).await {
            Err(e) if e.kind() == Kind::Tampered => {
                let place = Place::object(layout::ARTIFACTS);
                checking.findings.push(Finding::new("unexpected_object", place, e.to_string()));
                break;
            }
            page => page?,
        };
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for entry in page {
            let Some(digest) = layout::parse_artifact_key(&entry.key) else {
                inventory::unexpected(&entry, checking.findings);
                continue;
            };
            if entry.versions == 0 {
                inventory::versions(&entry, &Place::object(&entry.key), checking.findings);
                continue;
            }
            let needed = named.remove(&digest);
            if needed.is_none() && options.since != Since::Beginning {
                inventory::versions(&entry, &Place::object(&entry.key), checking.findings);
                passed += 1;
                continue;
            }
            checking.one(&entry, digest, needed).await?;
        }
    }
    for (digest, needed) in named {
        missing(Place { key: Some(layout::artifact_key(&digest)), ..needed.place }, checking.findings);
    }
    Ok(Checked { count: checking.count, bytes: checking.bytes, passed, locks: checking.locks.counts })
}

/// The check so far.
struct Checking<'a> {
    reader: &'a Reader,
    findings: &'a mut Findings,
    locks: Locks,
    /// Whether a lock is required of everything.
    required: bool,
    count: u64,
    bytes: u64,
}

impl Checking<'_> {
    async fn one(&mut self, entry: &Entry, digest: Digest, needed: Option<Needed>) -> Result<()> {
        let bare = Place::object(&entry.key);
        let place = needed.as_ref().map_or_else(Place::default, |needed| needed.place.clone());
        let place = Place { key: Some(entry.key.clone()), ..place };
        let _room = self.reader.room().await?;
        let stored = match self.reader.read_listed(entry).await? {
            Read::Found(stored) => stored,
            Read::Absent => {
                inventory::versions(entry, &bare, self.findings);
                missing(place, self.findings);
                return Ok(());
            }
            Read::Unreadable(e) => {
                let code = match e.kind() {
                    Kind::Data | Kind::Tampered => "artifact_digest",
                    Kind::Retry | Kind::Config | Kind::Bug => "unreadable",
                };
                inventory::versions(entry, &bare, self.findings);
                self.findings.push(Finding::new(code, place, e.to_string()));
                return Ok(());
            }
        };
        (self.count, self.bytes) = (self.count + 1, self.bytes + stored.bytes.len() as u64);
        let mut locked = Locked::of(&stored);
        let mut different = differs(digest, stored.bytes).await?;
        let mut above = None;
        if different.is_some() && entry.versions > 1 {
            for version in self.reader.newer_versions(&entry.key).await? {
                let Read::Found(stored) = self.reader.read_version(&entry.key, &version).await? else { continue };
                let of_this = Locked::of(&stored);
                if differs(digest, stored.bytes).await?.is_none() {
                    (locked, different, above) = (of_this, None, Some(version));
                    break;
                }
            }
        }
        match above {
            Some(version) => inventory::below(entry, &version, &bare, self.findings),
            None => inventory::versions(entry, &bare, self.findings),
        }
        if let Some(detail) = different {
            self.findings.push(Finding::new("artifact_digest", place, detail));
        } else if let Some(needed) = needed {
            let asked = self.required || needed.promise.mode != LockMode::None;
            let lock = self.reader.lock(&entry.key, &locked, asked).await;
            self.findings.extend(self.locks.object(&place, &needed.promise, needed.sealed, lock));
        }
        Ok(())
    }
}

/// What is wrong with an artifact's bytes, if anything is.
async fn differs(digest: Digest, bytes: bytes::Bytes) -> Result<Option<String>> {
    let hash = move || (Digest::of(&bytes), bytes.len());
    let (found, length) = tokio::task::spawn_blocking(hash)
        .await
        .map_err(|e| Error::bug("hashing an artifact did not end").caused_by(e))?;
    Ok((found != digest).then(|| format!("its {length} bytes have the digest {}", found.hex())))
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
