//! Whether what lies in the store is locked as its manifests promise, or longer. Pure: it is handed the locks as the
//! store told them.
//!
//! A segment's lock is promised by its manifest, a batch's by the manifests in it, an artifact's by those that name it.

use super::{
    findings::Findings,
    report::{BucketReport, Finding, Place, ProtectionReport, Range},
};
use crate::{
    layout,
    manifest::Manifest,
    position::ChainId,
    retention::{LockMode, Retention},
    store::{Answer, Bucket, covers, show_lock},
};

/// Batches and artifacts are locked by the clock of whoever writes them, segments by that of whoever sealed them. Each
/// may be five minutes away from the store's, and alive entries name whole minutes.
const CLOCKS: i64 = 11 * 60_000;

/// What a store told of the lock of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is this.
    Lock(Retention),
    /// The store or its policy does not tell.
    Nothing,
    /// There is nothing of the kind in such a store.
    NoLocks,
}

/// What a store told of the legal hold of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is under one.
    On,
    /// It is not.
    Off,
    /// The store or its policy does not tell, or was not asked.
    Untold,
    /// There is nothing of the kind in such a store.
    Without,
}

/// The lock of one version, and whether it is under legal hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    pub told: Told,
    pub hold: Hold,
}

impl Lock {
    /// Of what nobody asked for.
    pub(super) const UNASKED: Self = Self { told: Told::Nothing, hold: Hold::Untold };
}

/// A lock that falls short of what it should be: the code, and in words.
type Short = (&'static str, String);

/// The judge of locks: of one chain, or of the log, or of the artifacts. Each counts for itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Locks {
    /// What was asked for: from its sealing on, each object must be locked for so many milliseconds.
    required: Option<i64>,
    /// What was counted.
    pub(super) counts: ProtectionReport,
    /// Segments one after the other whose locks fall short in the same way.
    run: Option<Run>,
    /// The same of their legal holds.
    holds: Option<Run>,
}

#[derive(Debug, Clone)]
struct Run {
    code: &'static str,
    place: Place,
    from: u64,
    to: u64,
    detail: String,
}

impl Run {
    /// Goes on with a run, or ends it and begins another. The finding is about the one that ended.
    fn next(run: &mut Option<Self>, chain: &ChainId, sequence: u64, short: Option<Short>) -> Option<Finding> {
        match (short, &mut *run) {
            (Some((code, _)), Some(run)) if run.code == code && run.to == sequence => {
                run.to += 1;
                None
            }
            (short, _) => {
                let new = short.map(|(code, detail)| Self {
                    code,
                    place: Place::segment(chain, sequence, layout::segment_key(chain, sequence)),
                    from: sequence,
                    to: sequence + 1,
                    detail,
                });
                std::mem::replace(run, new).map(Self::told)
            }
        }
    }

    fn told(self) -> Finding {
        let Self { code, mut place, from, to, mut detail } = self;
        if to - from > 1 {
            place.sequences = Some(Range { from, to: Some(to) });
            detail = format!("{} segments one after the other; of the first: {detail}", to - from);
        }
        Finding::new(code, place, detail)
    }
}

impl Locks {
    pub(super) fn new(required: Option<i64>) -> Self {
        let counts = ProtectionReport { required, ..ProtectionReport::default() };
        Self { required, counts, run: None, holds: None }
    }

    /// Judges the lock of a segment, and its legal hold: `held` names one that the log has it under. Those that follow
    /// each other with the same fault are one finding.
    pub(super) fn segment(
        &mut self,
        chain: &ChainId,
        manifest: &Manifest,
        lock: Lock,
        held: Option<&str>,
    ) -> impl Iterator<Item = Finding> + use<> {
        let short = self.judge(&manifest.retention, manifest.times.sealed, 0, lock);
        let unheld = self.judge_hold(held, lock.hold);
        let sequence = manifest.sequence;
        let told =
            [Run::next(&mut self.run, chain, sequence, short), Run::next(&mut self.holds, chain, sequence, unheld)];
        told.into_iter().flatten()
    }

    /// The findings that are not told yet.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Finding> + use<> {
        [self.run.take(), self.holds.take()].into_iter().flatten().map(Run::told)
    }

    /// Compares a legal hold with what the log says. One that the log does not know is somebody else's, and no fault.
    fn judge_hold(&mut self, held: Option<&str>, hold: Hold) -> Option<Short> {
        let name = held?;
        match hold {
            Hold::On | Hold::Without => None,
            Hold::Off => {
                Some(("hold_missing", format!("by the log it is held ({name}), and no legal hold lies on it")))
            }
            Hold::Untold => {
                self.counts.unknown += 1;
                let what = "and the store does not tell whether a legal hold lies on it";
                Some(("lock_unknown", format!("by the log it is held ({name}), {what}")))
            }
        }
    }

    /// Judges the lock of another object: `promise` is the longest of those that need it, `since` when the first of
    /// them was sealed.
    pub(super) fn object(&mut self, place: &Place, promise: &Retention, since: i64, lock: Lock) -> Option<Finding> {
        let (code, detail) = self.judge(promise, since, CLOCKS, lock)?;
        Some(Finding::new(code, place.clone(), detail))
    }

    fn judge(&mut self, promise: &Retention, since: i64, slack: i64, lock: Lock) -> Option<Short> {
        let counts = &mut self.counts;
        counts.holds += u64::from(lock.hold == Hold::On);
        let promised = promise.mode != LockMode::None;
        counts.promised += u64::from(promised);
        let found = match lock.told {
            Told::Lock(found) => found,
            Told::Nothing | Told::NoLocks if !promised && self.required.is_none() => {
                counts.unlocked += 1;
                return None;
            }
            Told::NoLocks if self.required.is_none() => {
                counts.unknown += 1;
                return None;
            }
            Told::NoLocks => {
                counts.unknown += 1;
                return Some(("lock_unknown", "this store has no locks; one was required".into()));
            }
            Told::Nothing => {
                counts.unknown += 1;
                let what = if promised { show_lock(promise) } else { "a lock".into() };
                let who = if promised { "its manifest promises" } else { "there must be" };
                return Some(("lock_unknown", format!("{who} {what}, and the store does not tell what there is")));
            }
        };
        match found.mode {
            LockMode::Compliance => counts.compliance += 1,
            LockMode::Governance => counts.governance += 1,
            LockMode::None => counts.unlocked += 1,
        }
        if let Some(until) = found.until {
            counts.until = Some(counts.until.map_or(until, |before| before.min(until)));
        }
        let asked = Retention { until: promise.until.map(|until| until.saturating_sub(slack)), ..*promise };
        if promised && !covers(&found, &asked) {
            let code = match (found.mode, promise.mode) {
                (LockMode::None, _) => "lock_missing",
                (LockMode::Governance, LockMode::Compliance) => "lock_weaker",
                _ => "lock_shorter",
            };
            return Some((code, format!("promised is {}; there is {}", show_lock(promise), show_lock(&found))));
        }
        let required = since.saturating_add(self.required?);
        if found.until.is_some_and(|until| until >= required.saturating_sub(slack)) {
            return None;
        }
        let required = Retention { mode: LockMode::Governance, until: Some(required) };
        let date = show_lock(&required).split_off("GOVERNANCE ".len());
        Some(("retention_short", format!("it must be locked {date}; there is {}", show_lock(&found))))
    }
}

/// What a batch was promised by its own entries, and when it was written at the earliest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named {
    /// The longest promise of the manifests in it.
    pub(super) promise: Option<Retention>,
    /// When the newest of its entries was made.
    pub(super) time: Option<i64>,
    /// The weakest mode of its manifests, and the shortest time from sealing to the end of a lock.
    least: Option<Retention>,
}

impl Named {
    pub(super) fn manifest(&mut self, manifest: &Manifest) {
        self.promise = Some(self.promise.map_or(manifest.retention, |before| before.longer(manifest.retention)));
        let Retention { mode, until } = manifest.retention;
        let lasts = Retention { mode, until: until.map(|until| until.saturating_sub(manifest.times.sealed)) };
        self.least = Some(self.least.map_or(lasts, |before| before.shorter(lasts)));
        self.alive(manifest.times.sealed);
    }

    pub(super) fn alive(&mut self, time: i64) {
        self.time = self.time.max(Some(time));
    }
}

/// The locks of the log's batches. A batch that names no manifest is promised nothing by itself: its lock must last as
/// long as that of the batches with manifests before or behind it, whichever asks for less: the policy may have changed
/// in between.
#[derive(Debug, Default)]
pub(super) struct BatchLocks {
    pub(super) locks: Locks,
    before: Option<Retention>,
    /// The weakest mode of all batches: what their manifests promise; of those without one, what is on them.
    weakest: Option<LockMode>,
    /// Of the batches without a manifest since then, the one whose lock lasts shortest.
    waiting: Option<(Place, i64, Lock, u64)>,
}

impl BatchLocks {
    pub(super) fn new(required: Option<i64>) -> Self {
        Self { locks: Locks::new(required), before: None, weakest: None, waiting: None }
    }

    /// Whether there may be something to say of the lock of any batch.
    pub(super) fn asks(&self) -> bool {
        self.locks.required.is_some() || self.before.is_some_and(|before| before.mode != LockMode::None)
    }

    pub(super) fn batch(&mut self, place: &Place, named: &Named, lock: Lock, findings: &mut Findings) {
        let mode = match (named.least, lock.told) {
            (Some(least), _) => Some(least.mode),
            (None, Told::Lock(found)) => Some(found.mode),
            (None, Told::Nothing | Told::NoLocks) => None,
        };
        self.weakest = [self.weakest, mode].into_iter().flatten().min_by_key(|mode| mode.strength());
        let Some(promise) = named.promise else {
            let time = named.time.unwrap_or_default();
            let lasts = |lock: &Lock, time: i64| match lock.told {
                Told::Lock(lock) => lock.until.map(|until| until.saturating_sub(time)),
                Told::Nothing | Told::NoLocks => None,
            };
            let (worse, count) = match &self.waiting {
                Some((_, t, before, n)) => (lasts(&lock, time) < lasts(before, *t), n + 1),
                None => (true, 1),
            };
            match &mut self.waiting {
                Some(waiting) if !worse => waiting.3 = count,
                waiting => *waiting = Some((place.clone(), time, lock, count)),
            }
            return;
        };
        let period = named.least;
        self.waited(self.before.zip(period).map(|(before, now)| before.shorter(now)), findings);
        self.before = period;
        findings.extend(self.locks.object(place, &promise, named.time.unwrap_or_default(), lock));
    }

    /// Ends it: what nothing with a manifest follows must be locked, and no more can be said of it than that.
    pub(super) fn end(&mut self, findings: &mut Findings) {
        let least = self.before.map(|before| Retention { until: Some(i64::MIN / 4), ..before });
        self.waited(least, findings);
    }

    /// Judges the lock of what is kept beside the batches, of a checkpoint that others have signed or of a stamp, once
    /// all batches are known. Nothing promises it by itself: whoever writes it locks it as he does a batch without a
    /// manifest, so that its mode is that of the weakest batch or stronger. Of the date no more can be said than that
    /// there is one.
    pub(super) fn kept(&mut self, key: &str, lock: Lock) -> Option<Finding> {
        let mode = self.weakest.unwrap_or(LockMode::None);
        let until = (mode != LockMode::None).then_some(i64::MIN / 4);
        let short = self.locks.object(&Place::object(key), &Retention { mode, until }, 0, lock)?;
        let detail = match (short.name, lock.told) {
            ("lock_missing" | "lock_weaker", Told::Lock(found)) => {
                let batches = if mode == LockMode::Compliance { "COMPLIANCE" } else { "GOVERNANCE" };
                format!("all batches of the log are locked in mode {batches} at least; of this, {}", show_lock(&found))
            }
            ("lock_unknown", Told::Nothing) => {
                "the batches of the log are locked, and the store does not tell what there is of this".into()
            }
            _ => short.detail,
        };
        Some(Finding { detail, ..short })
    }

    fn waited(&mut self, period: Option<Retention>, findings: &mut Findings) {
        let Some((place, time, lock, count)) = self.waiting.take() else { return };
        let period = period.unwrap_or(Retention::NONE);
        let promise = Retention { until: period.until.map(|lasts| time.saturating_add(lasts)), ..period };
        let promise = if promise.mode == LockMode::None { Retention::NONE } else { promise };
        let before = self.locks.counts;
        findings.extend(self.locks.object(&place, &promise, time, lock));
        self.locks.counts.times(&before, count);
    }
}

/// What the bucket says of itself. Locked versions stay whatever it says: what cannot be asked is a notice.
pub(super) fn bucket(bucket: &Bucket, promised: bool, findings: &mut Findings) -> BucketReport {
    let mut tell = |code, detail: String| findings.push(Finding::new(code, Place::default(), detail));
    let mut unknown = Vec::new();
    let mut word = |what: &str, answer: &Answer| match answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Unknown(why) => {
            unknown.push(format!("{what}: {why}"));
            "unknown"
        }
    };
    let report = BucketReport {
        versioning: word("versioning", &bucket.versioned),
        object_lock: word("Object Lock", &bucket.lockable),
        default_retention: word("default retention", &bucket.locks_by_default),
        expiry_rules: word("lifecycle rules", &bucket.expires),
    };
    if bucket.versioned == Answer::No {
        tell("bucket_unversioned", "versioning is off or suspended: what is put over an object destroys it".into());
    }
    if bucket.lockable == Answer::No && promised {
        tell("bucket_unlocked", "Object Lock is not enabled, and locks are promised or required".into());
    }
    if bucket.expires == Answer::Yes {
        tell("bucket_expires", format!("these lifecycle rules delete evidence: {}", bucket.expiry_rules.join(", ")));
    }
    if bucket.locks_by_default == Answer::Yes {
        tell("bucket_default_lock", "it has a default retention: checkpoints and tiles are locked as well".into());
    }
    if !unknown.is_empty() {
        tell("bucket_unknown", unknown.join("; "));
    }
    report
}

/// The verdict in one word.
pub(super) fn verdict(failures: u64, counts: &ProtectionReport) -> &'static str {
    match counts {
        _ if failures > 0 => "unprotected",
        ProtectionReport { unknown: 1.., .. } => "not_checked",
        ProtectionReport { unlocked: 1.., .. } => "unlocked",
        ProtectionReport { promised: 0, compliance: 0, governance: 0, .. } => "not_checked",
        _ => "good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn lock(mode: LockMode, until: i64) -> Retention {
        Retention { mode, until: Some(until) }
    }

    fn told(retention: Retention) -> Lock {
        Lock { told: Told::Lock(retention), hold: Hold::Off }
    }

    #[test]
    fn a_lock_is_compared_with_the_promise_and_with_what_is_required() {
        let (c, g) = (LockMode::Compliance, LockMode::Governance);
        let year = 365 * DAY;
        for (promise, required, found, code) in [
            (lock(c, year), None, told(lock(c, year)), None),
            (lock(c, year), None, told(lock(c, year + DAY)), None),
            (lock(g, year), None, told(lock(c, year)), None),
            (lock(c, year), None, told(lock(c, year - 1000)), Some("lock_shorter")),
            (lock(c, year), None, told(lock(g, year)), Some("lock_weaker")),
            (lock(c, year), None, told(lock(g, DAY)), Some("lock_weaker")),
            (lock(c, year), None, told(Retention::NONE), Some("lock_missing")),
            (lock(c, year), None, Lock::UNASKED, Some("lock_unknown")),
            (lock(c, year), None, Lock { told: Told::NoLocks, hold: Hold::Off }, None),
            (lock(c, year), Some(year), told(lock(c, year)), None),
            (lock(c, year), Some(2 * year), told(lock(c, year)), Some("retention_short")),
            (lock(c, year), Some(2 * year), told(lock(c, 2 * year)), None),
            (lock(c, year), Some(1), Lock { told: Told::NoLocks, hold: Hold::Off }, Some("lock_unknown")),
            (Retention::NONE, None, told(Retention::NONE), None),
            (Retention::NONE, None, Lock::UNASKED, None),
            (Retention::NONE, Some(1), told(Retention::NONE), Some("retention_short")),
            (Retention::NONE, Some(DAY), told(lock(g, DAY)), None),
        ] {
            let judged = Locks::new(required).judge(&promise, 0, 0, found);
            assert_eq!(judged.map(|(code, _)| code), code, "{promise:?} {required:?} {found:?}");
        }
    }

    /// A hold that the log knows must lie on the store, where that has holds; another one is nobody's business.
    #[test]
    fn a_hold_is_compared_with_the_log() {
        let case = Some("CASE-7");
        for (held, hold, code) in [
            (case, Hold::On, None),
            (case, Hold::Off, Some("hold_missing")),
            (case, Hold::Untold, Some("lock_unknown")),
            (case, Hold::Without, None),
            (None, Hold::On, None),
            (None, Hold::Off, None),
            (None, Hold::Untold, None),
        ] {
            let mut locks = Locks::new(None);
            assert_eq!(locks.judge_hold(held, hold).map(|(code, _)| code), code, "{held:?} {hold:?}");
            assert_eq!(locks.counts.unknown, u64::from(code == Some("lock_unknown")));
        }
    }

    /// The policy is shortened between two batches with manifests: what lies between may have either lock.
    #[test]
    fn batches_without_a_manifest_take_the_weaker_of_their_neighbours() {
        let g = LockMode::Governance;
        let named = |time, days: i64| Named {
            promise: Some(lock(g, time + days * DAY)),
            time: Some(time),
            least: Some(lock(g, days * DAY)),
        };
        let alive = |time| Named { time: Some(time), ..Named::default() };
        let run = |locks: &[(Named, i64)]| {
            let mut all = BatchLocks::new(None);
            let mut findings = Findings::new(10);
            for (number, (named, until)) in locks.iter().enumerate() {
                let place = Place::object(layout::batch_key(number as u64));
                all.batch(&place, named, told(lock(g, *until)), &mut findings);
            }
            all.end(&mut findings);
            assert_eq!(all.locks.counts.governance, locks.len() as u64);
            let (kept, _) = findings.finish();
            kept.iter().map(|f| format!("{} {}", f.name, f.place.key.as_deref().unwrap())).collect::<Vec<_>>()
        };
        let honest = [(named(0, 30), 30 * DAY), (alive(DAY), 11 * DAY), (named(DAY, 10), 11 * DAY)];
        assert!(run(&honest).is_empty());
        let mut shortened = honest;
        shortened[1].1 = 5 * DAY;
        assert_eq!(run(&shortened), ["lock_shorter log/batches/000000000001"]);
        // nothing with a manifest follows yet
        assert!(run(&[(named(0, 30), 30 * DAY), (alive(DAY), 2 * DAY)]).is_empty());
        assert_eq!(run(&[(named(0, 30), 29 * DAY)]), ["lock_shorter log/batches/000000000000"]);
    }

    /// What is kept beside the batches is locked as the weakest of them.
    #[test]
    fn a_kept_checkpoint_is_locked_as_the_weakest_batch() {
        let (c, g) = (LockMode::Compliance, LockMode::Governance);
        let none = told(Retention::NONE);
        let with = |mode| Named { promise: Some(lock(mode, DAY)), time: Some(0), least: Some(lock(mode, DAY)) };
        let alive = Named { time: Some(0), ..Named::default() };
        for (batches, found, code) in [
            (vec![(with(c), c)], told(lock(c, 1)), None),
            (vec![(with(c), c)], told(lock(g, DAY)), Some("lock_weaker")),
            (vec![(with(c), c), (with(g), g)], told(lock(g, DAY)), None),
            (vec![(with(c), c), (alive, g)], told(lock(g, DAY)), None),
            (vec![(with(g), g), (alive, g)], none, Some("lock_missing")),
            (vec![(with(g), g), (alive, LockMode::None)], none, None),
            (vec![(with(g), g)], Lock::UNASKED, Some("lock_unknown")),
            (vec![(with(g), g)], Lock { told: Told::NoLocks, hold: Hold::Without }, None),
            (vec![], none, None),
        ] {
            let mut all = BatchLocks::new(None);
            let mut findings = Findings::new(10);
            for (named, mode) in &batches {
                let found = told(lock(*mode, DAY));
                all.batch(&Place::object(layout::batch_key(0)), named, found, &mut findings);
            }
            let finding = all.kept(&layout::witnessed_key(1), found);
            assert_eq!(finding.map(|finding| finding.name), code, "{batches:?} {found:?}");
        }
        let required = BatchLocks::new(Some(DAY)).kept(&layout::witnessed_key(1), none);
        assert_eq!(required.map(|finding| finding.name), Some("retention_short"));
    }

    #[test]
    fn the_verdict_is_good_only_if_everything_was_promised_told_and_kept() {
        let counts = |promised, unlocked, unknown| ProtectionReport {
            promised,
            unlocked,
            unknown,
            compliance: promised,
            ..ProtectionReport::default()
        };
        assert_eq!(verdict(0, &counts(5, 0, 0)), "good");
        assert_eq!(verdict(0, &counts(5, 1, 0)), "unlocked");
        assert_eq!(verdict(0, &counts(5, 1, 1)), "not_checked");
        assert_eq!(verdict(0, &counts(0, 0, 0)), "not_checked");
        assert_eq!(verdict(1, &counts(5, 0, 0)), "unprotected");
    }
}
