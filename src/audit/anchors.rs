//! Who else has seen the log: cosignatures on its checkpoints, and stamps of them. Every checkpoint that was kept
//! for that is compared with the batches, whoever signed it: a log that was rewritten or cut off behind it is found
//! so.

use super::{
    AnchorOptions,
    findings::Findings,
    inventory::{self, PAGE},
    key_rules,
    protect::BatchLocks,
    read::{Locked, Read, Reader},
    report::{AnchorReport, Finding, Place},
};
use crate::{
    digest::Digest,
    error::{Error, Result},
    fault::{Fault, code},
    layout,
    note::Verifiers,
    tlog::{
        Checkpoint, Edge, Keyring, grade,
        grade::name,
        stamp::{Stamp, Stamped},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Witnessed checkpoints that are read, the newest of them: each is the log up to there, so that the newest says
/// most.
const WITNESSED: usize = 64;
/// Read at the same time.
const AHEAD: usize = 8;

/// A size that some kept checkpoint has, with its root, and the object that says so.
type Claim = (u64, Digest, String);

/// What the kept checkpoints say.
#[derive(Default)]
pub(super) struct Anchors {
    options: AnchorOptions,
    /// By size; several may say the same, or contradict each other.
    claims: BTreeMap<u64, Vec<Claim>>,
    /// The objects that `witnessed` and `stamped` of the report come from.
    witnessed_in: String,
    stamped_in: String,
    /// Those that no given key signed, with their objects: an entry of the log may introduce the key that did.
    unproven: Vec<(String, Bytes)>,
    /// What was read, and what the store told of its lock.
    locked: Vec<(String, Locked)>,
    origin: String,
    report: AnchorReport,
}

/// Whose checkpoints they must be.
struct Log<'a> {
    keys: &'a Verifiers,
    origin: &'a str,
}

/// What became of a kept checkpoint: not there, told as a finding, or good.
type Opened = Option<Result<Kept, ()>>;

/// A kept checkpoint that is signed by the log.
struct Kept {
    size: u64,
    key: String,
    note: Bytes,
}

/// A checkpoint of the log, and whether a key that was given signed it. If none did it is taken at its word, and its
/// key is judged at the end, when all that the log introduces are known.
fn opened(log: &Log<'_>, note: &[u8]) -> Result<(Checkpoint, bool), Fault> {
    match Checkpoint::open(note, log.keys, log.origin) {
        Ok(checkpoint) => Ok((checkpoint, true)),
        Err(fault) => {
            let claimed = key_rules::claimed(&fault, note).filter(|claimed| claimed.origin == log.origin);
            claimed.map(|claimed| (claimed, false)).ok_or(fault)
        }
    }
}

impl Anchors {
    /// Reads and verifies all that needs nothing of the batches. `note`: the store's checkpoint.
    pub(super) async fn read(
        reader: &Reader,
        keys: &Verifiers,
        origin: &str,
        note: Option<Bytes>,
        options: &AnchorOptions,
        findings: &mut Findings,
    ) -> Result<Self> {
        let mut anchors = Self { options: options.clone(), origin: origin.to_owned(), ..Self::default() };
        let log = Log { keys, origin };
        let mut cosigned = anchors.witnessed(reader, &log, findings).await?;
        if let Some(note) = note
            && let Ok((checkpoint, _)) = opened(&log, &note)
        {
            // its root is compared anyway, and so is its key
            cosigned.insert(0, Kept { size: checkpoint.size, key: layout::CHECKPOINT.into(), note });
        }
        cosigned.sort_by_key(|kept| std::cmp::Reverse(kept.size));
        anchors.grade(&cosigned, findings);
        anchors.stamps(reader, &log, findings).await?;
        Ok(anchors)
    }

    /// The newest checkpoints that were kept with cosignatures.
    async fn witnessed(&mut self, reader: &Reader, log: &Log<'_>, findings: &mut Findings) -> Result<Vec<Kept>> {
        let mut newest = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = reader.list(layout::WITNESSED, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in page {
                match layout::parse_witnessed_key(&entry.key) {
                    None => inventory::unexpected(&entry, findings),
                    Some(size) => {
                        inventory::versions(&entry, &Place::object(&entry.key), findings);
                        if entry.versions > 0 {
                            newest.push((size, entry.key));
                        }
                    }
                }
            }
            newest.drain(..newest.len().saturating_sub(WITNESSED));
        }
        let mut kept = Vec::new();
        let read = stream::iter(newest).map(async |(size, key)| {
            let read = reader.read(&key).await;
            read.map(|read| (size, key, read))
        });
        let read: Vec<_> = read.buffered(AHEAD).try_collect().await?;
        for (size, key, read) in read {
            kept.extend(self.open(log, size, key, read, findings).and_then(Result::ok));
        }
        Ok(kept)
    }

    /// Opens a kept checkpoint as it was read; `None`: it is not there. What is wrong with it becomes a finding, and an
    /// error.
    fn open(&mut self, log: &Log<'_>, size: u64, key: String, read: Read, findings: &mut Findings) -> Opened {
        let place = Place::object(&key);
        let note = match read {
            Read::Found(stored) => {
                self.locked.push((key.clone(), Locked::of(&stored)));
                stored.bytes
            }
            Read::Absent => return None,
            Read::Unreadable(e) => {
                findings.push(Finding::new("unreadable", place, e.to_string()));
                return Some(Err(()));
            }
        };
        match opened(log, &note) {
            Ok((checkpoint, proven)) if checkpoint.size == size => {
                if !proven {
                    self.unproven.push((key.clone(), note.clone()));
                }
                self.claims.entry(size).or_default().push((size, checkpoint.root, key.clone()));
                return Some(Ok(Kept { size, key, note }));
            }
            Ok((checkpoint, _)) => {
                let detail = format!("it lies under {size}, and has {} entries", checkpoint.size);
                findings.push(Finding::new(code::LOG_FORM, place, detail));
            }
            Err(fault) => findings.push(Finding::new(fault.code, place, fault.detail)),
        }
        Some(Err(()))
    }

    /// Grades cosigned checkpoints, the largest first.
    fn grade(&mut self, cosigned: &[Kept], findings: &mut Findings) {
        let Some(policy) = self.options.policy.as_deref() else { return };
        for kept in cosigned {
            match grade(&kept.note, Some(policy), &[]) {
                Err(fault) => findings.push(Finding::new(fault.code, Place::object(&kept.key), fault.detail)),
                Ok(grade) => {
                    if self.report.cosigned_by.is_empty() {
                        let names = grade.cosignatures.iter().map(|c| format!("{}+{}", c.name, c.id));
                        self.report.cosigned_by = names.collect();
                    }
                    if self.report.witnessed.is_none()
                        && let Some(at) = grade.witnessed_at()
                    {
                        self.report.witnessed = Some(kept.size);
                        self.witnessed_in.clone_from(&kept.key);
                        self.report.witnessed_at = i64::try_from(at.saturating_mul(1000)).ok();
                        let names = grade.cosignatures.iter().map(|c| format!("{}+{}", c.name, c.id));
                        self.report.cosigned_by = names.collect();
                    }
                }
            }
        }
    }

    /// Reads every stamp.
    async fn stamps(&mut self, reader: &Reader, log: &Log<'_>, findings: &mut Findings) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = reader.list(layout::STAMPS, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let mut stamps = Vec::new();
            for entry in page {
                let Some((size, is_stamp)) = layout::parse_stamp_key(&entry.key) else {
                    inventory::unexpected(&entry, findings);
                    continue;
                };
                inventory::versions(&entry, &Place::object(&entry.key), findings);
                if entry.versions > 0 && is_stamp {
                    stamps.push((size, entry.key));
                }
            }
            let pairs = stream::iter(stamps).map(async |(size, key)| {
                let answer = reader.read(&key).await?;
                let note = reader.read(&layout::stamped_key(size)).await?;
                Ok::<_, Error>((size, key, answer, note))
            });
            let pairs: Vec<_> = pairs.buffered(AHEAD).try_collect().await?;
            for (size, key, answer, note) in pairs {
                let place = Place::object(&key);
                let answer = match answer {
                    Read::Found(stored) => {
                        self.locked.push((key.clone(), Locked::of(&stored)));
                        stored.bytes
                    }
                    Read::Absent => continue,
                    Read::Unreadable(e) => {
                        findings.push(Finding::new("unreadable", place, e.to_string()));
                        continue;
                    }
                };
                match self.open(log, size, layout::stamped_key(size), note, findings) {
                    Some(Ok(kept)) => self.stamp(size, &kept.note, &answer, place, findings),
                    Some(Err(())) => {}
                    None => {
                        let detail = "the checkpoint that it is the stamp of is not there";
                        findings.push(Finding::new(code::STAMP_FORM, place, detail));
                    }
                }
            }
        }
    }

    fn stamp(&mut self, size: u64, note: &[u8], answer: &[u8], place: Place, findings: &mut Findings) {
        let stamp = match Stamp::open(note, answer) {
            Ok(stamp) => stamp,
            Err(fault) => return findings.push(Finding::new(fault.code, place, fault.detail)),
        };
        self.report.stamps += 1;
        let Some(authorities) = self.options.authorities.as_deref() else { return };
        match stamp.verify(authorities) {
            Ok(Stamped { time, authority, .. }) if self.report.stamped.is_none_or(|stamped| stamped < size) => {
                self.report.stamped = Some(size);
                self.stamped_in = layout::stamped_key(size);
                (self.report.stamped_at, self.report.stamped_by) = (Some(time), Some(authority));
            }
            Ok(_) => {}
            Err(fault) => findings.push(Finding::new(fault.code, place, fault.detail)),
        }
    }

    /// Judges the locks of all that was read, when those of the batches are known.
    pub(super) async fn locks(&mut self, reader: &Reader, batches: &mut BatchLocks, findings: &mut Findings) {
        for (key, locked) in std::mem::take(&mut self.locked) {
            let lock = reader.lock(&key, &locked, batches.asks()).await;
            findings.extend(batches.kept(&key, lock));
        }
    }

    /// Compares what was kept at the size that the log has reached.
    pub(super) fn compare(&mut self, edge: &Edge, findings: &mut Vec<Finding>) {
        let Some(claims) = self.claims.remove(&edge.size()) else { return };
        let root = edge.root();
        for (size, _, key) in claims.into_iter().filter(|(_, claimed, _)| *claimed != root) {
            let detail = format!("its root of {size} entries is not the one that the batches give");
            self.distrust(&key);
            findings.push(Finding::new("anchor_fork", Place::object(key), detail));
        }
    }

    /// What was said of a log that is not this one does not count.
    fn distrust(&mut self, key: &str) {
        if self.witnessed_in == key {
            (self.report.witnessed, self.report.witnessed_at) = (None, None);
        }
        if self.stamped_in == key {
            (self.report.stamped, self.report.stamped_at, self.report.stamped_by) = (None, None, None);
        }
    }

    /// What is left to say when the log has `size` entries; `whole`: all of it could be read.
    pub(super) fn finish(&mut self, size: u64, whole: bool, ring: &Keyring, findings: &mut Findings) -> AnchorReport {
        for (key, note) in std::mem::take(&mut self.unproven) {
            if let Err(fault) = key_rules::judge(&note, ring, &self.origin) {
                self.distrust(&key);
                findings.push(Finding::new(fault.code, Place::object(&key), fault.detail));
            }
        }
        let left = std::mem::take(&mut self.claims);
        for (claimed, _, key) in left.into_values().flatten() {
            // a log that cannot be read to its end shows nothing about what is behind it
            if claimed > size && whole {
                let detail = format!("it has {claimed} entries, and the batches hold {size}");
                findings.push(Finding::new("anchor_ahead", Place::object(key), detail));
            }
        }
        if self.report.witnessed.is_some_and(|at| at > size) {
            self.distrust(&self.witnessed_in.clone());
        }
        if self.report.stamped.is_some_and(|at| at > size) {
            self.distrust(&self.stamped_in.clone());
        }
        let AnchorOptions { require_witnessed, require_stamped, .. } = self.options;
        let place = Place::object(layout::CHECKPOINT);
        if require_witnessed && self.report.witnessed.is_none() {
            let detail = match (&self.options.policy, self.report.cosigned_by.len()) {
                (None, _) => "no policy was given, so that nobody is believed".into(),
                (Some(_), 0) => "no witness of the policy has cosigned a checkpoint that is there".into(),
                (Some(_), n) => format!("{n} witnesses of the policy have cosigned, and these are no quorum of it"),
            };
            findings.push(Finding::new("unwitnessed", place.clone(), detail));
        }
        if require_stamped && self.report.stamped.is_none() {
            let detail = match (&self.options.authorities, self.report.stamps) {
                (None, _) => "no certificate of an authority was given, so that nobody is believed".into(),
                (Some(_), 0) => "no stamp is there".into(),
                (Some(_), n) => format!("{n} stamps are there, none of them by an authority that was given"),
            };
            findings.push(Finding::new("unstamped", place, detail));
        }
        let mut report = std::mem::take(&mut self.report);
        report.grade = name(report.witnessed.is_some(), report.stamped.is_some());
        report
    }
}
