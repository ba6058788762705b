//! One chain, segment by segment. Pure: it is handed what was read, in the order of the sequences.

use super::{
    Freshness, VerifyOptions,
    examine::Examined,
    findings::Findings,
    inventory,
    logged::Comparison,
    protect::Locks,
    report::{Behind, ChainReport, Finding, Place, ProtectionReport, Range, add_counts},
};
use crate::{
    chain::{Head, follows},
    digest::Digest,
    error::{Error, Kind},
    fault::{Fault, code},
    manifest::{Counts, GapCounts, Manifest, Offsets, SegmentKind, Start},
    position::ChainId,
    record::{Gap, GapCause},
    retention::Retention,
    segment::Opened,
    store::Entry,
};
use std::collections::{BTreeMap, BTreeSet};

/// A segment that says it was sealed later than this after the audit's own clock is told.
const CLOCK_SKEW: i64 = 5 * 60 * 1000;
/// Broken segments of a chain that are looked at closely.
const CLOSER: u32 = 16;
/// Holes and misplaced segments that are kept back until more is known of them.
const KEPT_BACK: usize = 256;

/// What was read under one key of a chain's folder.
pub(super) enum Object {
    /// A key that is none of a segment.
    Unexpected,
    /// Only delete markers, or gone between the listing and the reading.
    Absent,
    /// It is there and cannot be read.
    Unreadable(Error),
    /// It was read and checked.
    Segment(Box<Examined>),
}

/// What the walk over a chain found.
pub(super) struct Walked {
    pub report: ChainReport,
    pub findings: Findings,
    /// The artifacts its manifests name.
    pub artifacts: BTreeMap<Digest, Needed>,
    /// What is known of the locks of its segments.
    pub locks: ProtectionReport,
    /// How it began, if its first segment can be trusted.
    pub start: Option<Start>,
    /// Hash of its last manifest, if the last object can be trusted.
    pub last: Option<Digest>,
    /// Partitions of the topic, as its newest segment knew them.
    pub partitions: Option<i64>,
    /// Segments that the log does not have: those that need not be in it yet, and those that should.
    pub waiting: (u64, u64),
}

/// An artifact that segments name: it must be there, and stay, as long as they do.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    /// The first segment that names it.
    pub place: Place,
    /// The longest of their locks.
    pub promise: Retention,
    /// When the newest of them was sealed.
    pub sealed: i64,
}

impl Needed {
    /// By these segments and by others.
    pub(super) fn merge(&mut self, other: &Self) {
        self.promise = self.promise.longer(other.promise);
        self.sealed = self.sealed.max(other.sealed);
    }
}

/// Segments of another origin than the store's.
struct Foreign {
    /// The first of them.
    place: Place,
    /// What it names.
    origin: String,
    /// How many there are.
    segments: u64,
}

impl Foreign {
    fn told(self, origin: Option<&str>) -> Finding {
        let Self { place, origin: named, segments } = self;
        let origin = origin.unwrap_or_default();
        let detail =
            format!("{segments} segments of this chain, from here on, name another origin than {origin:?}: {named:?}");
        Finding::new("origin_mismatch", place, detail)
    }
}

/// The walk so far.
pub(super) struct Walker {
    chain: ChainId,
    /// As in store.json; without one, that of the first segment.
    origin: Option<String>,
    now: i64,
    /// The newest signed manifest that lies in its place.
    head: Option<Head>,
    /// Whether `head` is the object directly before the next: only then its hash can be compared.
    linked: bool,
    /// The sequence expected next.
    next: u64,
    holes: Vec<Range<u64>>,
    /// The newest object that cannot be trusted, and where its records end.
    unsure: Option<(Place, i64)>,
    misplaced: Vec<(u64, Opened, Finding)>,
    /// Broken segments so far.
    closer: u32,
    foreign: Option<Foreign>,
    next_by: Option<i64>,
    log: Comparison,
    locks: Locks,
    out: Walked,
}

impl Walker {
    pub(super) fn new(
        chain: &ChainId,
        origin: Option<&str>,
        options: &VerifyOptions,
        from: u64,
        log: Comparison,
    ) -> Self {
        let report = ChainReport {
            chain: chain.clone(),
            passed: from,
            segments: 0,
            verified: 0,
            sequences: None,
            offsets: None,
            counts: Counts::default(),
            bytes: 0,
            head: None,
            last_sealed: None,
            next_by: None,
            stale: false,
            closed: false,
            superseded: false,
            behind: None,
            signed_by: Vec::new(),
            first_break: None,
        };
        Self {
            chain: chain.clone(),
            origin: origin.map(Into::into),
            now: options.now,
            head: None,
            linked: from == 0,
            next: from,
            holes: Vec::new(),
            unsure: None,
            misplaced: Vec::new(),
            closer: 0,
            foreign: None,
            next_by: None,
            log,
            locks: Locks::new(options.require_retention),
            out: Walked {
                report,
                findings: Findings::new(options.max_findings),
                artifacts: BTreeMap::new(),
                locks: ProtectionReport::default(),
                start: None,
                last: None,
                partitions: None,
                waiting: (0, 0),
            },
        }
    }

    /// The sequence that should come next.
    pub(super) fn expects(&self) -> u64 {
        self.next
    }

    /// Whether the next broken segment is worth a closer look; bounded, because that takes time.
    pub(super) fn looks_closer(&mut self) -> bool {
        self.closer += 1;
        self.closer <= CLOSER
    }

    /// Takes the object under `entry.key`. Keys come in order.
    pub(super) fn step(&mut self, entry: &Entry, sequence: Option<u64>, object: Object) {
        let Some(sequence) = sequence else {
            return inventory::unexpected(entry, &mut self.out.findings);
        };
        let place = Place::segment(&self.chain, sequence, &entry.key);
        match &object {
            Object::Segment(examined) if let Some(version) = &examined.above => {
                inventory::below(entry, version, &place, &mut self.out.findings);
            }
            _ => inventory::versions(entry, &place, &mut self.out.findings),
        }
        if matches!(object, Object::Absent) {
            return; // a hole like any other: the next object, or the end, tells of it
        }
        if sequence > self.next {
            self.hole(self.next, sequence);
        }
        let first = self.out.report.sequences.map_or(sequence, |range| range.from);
        self.out.report.sequences = Some(Range { from: first, to: Some(sequence + 1) });
        self.out.report.segments += 1;
        self.next = sequence + 1;
        self.out.last = None;
        match object {
            Object::Segment(examined) => self.segment(place, sequence, *examined),
            Object::Unreadable(error) => {
                self.linked = false;
                self.tell(Finding::new(unreadable(&error), place, error.to_string()));
            }
            Object::Unexpected | Object::Absent => {}
        }
    }

    fn segment(&mut self, place: Place, sequence: u64, mut examined: Examined) {
        self.out.report.bytes += examined.bytes;
        let Some(opened) = examined.trusted else {
            let offset_known = examined.faults.iter().any(|fault| fault.offset.is_some());
            self.faults(&place, examined.faults);
            return self.untrusted(place, examined.claims.filter(|_| !offset_known));
        };
        let manifest = &opened.manifest;
        let mut good = examined.faults.is_empty();
        if manifest.chain != self.chain || manifest.sequence != sequence {
            self.faults(&place, examined.faults);
            self.linked = false;
            return self.keep_misplaced(place, sequence, opened);
        }
        let place = place.among(manifest.offsets);
        for fault in &mut examined.faults {
            // behind the last record there is none to name; but `offsets` names one that should not be there
            fault.offset = fault.offset.filter(|at| *at < manifest.offsets.to || fault.code == code::OFFSETS);
        }
        self.faults(&place, examined.faults);
        self.fill_holes(Some(manifest.offsets.from));
        if let Some((place, to)) = self.unsure.take().filter(|(p, _)| p.sequence.map(|s| s + 1) == Some(sequence)) {
            self.short(place, to, manifest.offsets.from);
        }
        good &= self.origin_fits(&place, manifest);
        good &= self.link_fits(&place, manifest);
        good &= self.rules_fit(&place, &opened);
        self.note_clock(&place, manifest);
        self.gaps(&place, &manifest.counts.gaps, &examined.gaps, examined.gaps_left_out);
        let held = self.log.rules.as_ref().and_then(|rules| rules.held(manifest.offsets));
        let locked = self.locks.segment(&self.chain, manifest, examined.lock, held);
        self.out.findings.extend(locked);
        self.take(&place, opened, good);
    }

    /// An object whose manifest cannot be trusted. Where the segments around it can, they tell which records it lacks
    /// at its beginning and its end.
    fn untrusted(&mut self, place: Place, claims: Option<Offsets>) {
        if let (Some(claims), Some(head), true) = (claims, &self.head, self.linked) {
            let to = head.to;
            self.short(place.clone(), to, claims.from);
        }
        self.linked = false;
        self.unsure = claims.map(|claims| (place, claims.to));
    }

    fn short(&mut self, place: Place, from: i64, to: i64) {
        if from < to {
            let which = span(from, to);
            let detail = format!("by the segments around it, it should hold the records of {which}, and does not");
            self.tell(Finding::new(code::OFFSETS, place.at(Some(from)).among(Offsets { from, to }), detail));
        }
    }

    /// The manifest is signed and in its place: it is the head, whatever else may be wrong with it.
    fn take(&mut self, place: &Place, opened: Opened, good: bool) {
        let manifest = &opened.manifest;
        if let Some(finding) = self.log.segment(place, manifest, &opened.hash) {
            self.tell(finding);
        }
        self.head = Some(match &self.head {
            Some(head) => head.advance(manifest, opened.hash),
            None => Head::of_opened(&opened),
        });
        self.linked = true;
        self.out.last = Some(opened.hash);
        if manifest.sequence == 0 {
            self.out.start.clone_from(&manifest.start);
            self.note_beginning(place, manifest.offsets.from);
        }
        for digest in [manifest.artifacts.rules, manifest.artifacts.decode].into_iter().flatten() {
            let needed = Needed { place: place.clone(), promise: manifest.retention, sealed: manifest.times.sealed };
            let known = self.out.artifacts.entry(digest).or_insert_with(|| needed.clone());
            known.merge(&needed);
        }
        self.out.partitions = manifest.broker.partitions.or(self.out.partitions);
        self.next_by = Some(manifest.next_by);
        let report = &mut self.out.report;
        let from = report.offsets.map_or(manifest.offsets.from, |o| o.from);
        report.offsets = Some(Offsets { from, to: manifest.offsets.to });
        report.head = Some(opened.hash);
        report.last_sealed = Some(manifest.times.sealed);
        report.closed = manifest.kind == SegmentKind::Close;
        report.behind = behind(manifest);
        if good {
            report.verified += 1;
            add_counts(&mut report.counts, &manifest.counts);
        }
        if !report.signed_by.contains(&opened.signed_by) {
            report.signed_by.push(opened.signed_by);
        }
    }

    /// Whether the manifest names the store's origin. Told once a chain: it is one fault, not one for each segment.
    fn origin_fits(&mut self, place: &Place, manifest: &Manifest) -> bool {
        if *self.origin.get_or_insert_with(|| manifest.origin.clone()) == manifest.origin {
            return true;
        }
        let new = || Foreign { place: place.clone(), origin: manifest.origin.clone(), segments: 0 };
        self.foreign.get_or_insert_with(new).segments += 1;
        false
    }

    fn link_fits(&mut self, place: &Place, manifest: &Manifest) -> bool {
        let head = match (&self.head, self.linked && manifest.sequence == self.head_sequence()) {
            (head, true) => head.clone(),
            (_, false) if manifest.sequence == 0 => None,
            (head, false) => Some(assumed(head.as_ref(), manifest)),
        };
        match follows(&manifest.origin, &self.chain, head.as_ref(), manifest) {
            Ok(()) => true,
            Err(fault) => {
                self.tell(Finding::new(fault.code, place.clone().at(fault.offset), fault.detail));
                false
            }
        }
    }

    /// What the log says of the key that signed a segment, and of the segment's going.
    fn rules_fit(&mut self, place: &Place, opened: &Opened) -> bool {
        let Some(rules) = &self.log.rules else { return true };
        let Manifest { origin, sequence, .. } = &opened.manifest;
        let (key, kept) = (rules.key(place, origin, *sequence, &opened.signed_by), rules.kept(place, *sequence));
        let good = key.is_none();
        key.into_iter().chain(kept).for_each(|finding| self.tell(finding));
        good
    }

    /// The sequence that directly follows the head.
    fn head_sequence(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.sequence + 1)
    }

    /// Every offset of a partition is in a leaf, also those from before the chain.
    fn note_beginning(&mut self, place: &Place, from: i64) {
        if from > 0 {
            let place = place.clone().among(Offsets { from: 0, to: from });
            let detail =
                format!("the first segment begins at offset {from}, and nothing says what became of those before it");
            self.tell(Finding::new("offsets_before_start", place, detail));
        }
    }

    fn note_clock(&mut self, place: &Place, manifest: &Manifest) {
        let ahead = manifest.times.sealed.saturating_sub(self.now);
        if ahead > CLOCK_SKEW {
            let detail = format!("it says that it was sealed {} seconds after this audit began", ahead / 1000);
            self.tell(Finding::new("sealed_in_future", place.clone(), detail));
        }
    }

    fn gaps(&mut self, place: &Place, counts: &GapCounts, gaps: &[Gap], left_out: u64) {
        for (code, cause, offsets) in [
            ("gap_lost", GapCause::Lost, counts.lost),
            ("gap_unexplained", GapCause::Unexplained, counts.unexplained),
            ("gap_skipped", GapCause::Skipped, counts.skipped),
        ] {
            let mut listed = false;
            for gap in gaps.iter().filter(|gap| gap.cause == cause) {
                let place = place.clone().at(Some(gap.from)).among(Offsets { from: gap.from, to: gap.to });
                let detail = format!("{} of them, {}", gap.to - gap.from, span(gap.from, gap.to));
                self.tell(Finding::new(code, place, detail));
                listed = true;
            }
            if offsets > 0 && !listed {
                // its body is broken: the manifest alone is known
                let detail = format!("{offsets} offsets, somewhere in this segment");
                self.tell(Finding::new(code, place.clone(), detail));
            }
        }
        if left_out > 0 {
            let detail = format!("{left_out} further gaps in this segment are not listed");
            self.tell(Finding::new("gaps_not_listed", place.clone(), detail));
        }
    }

    fn faults(&mut self, place: &Place, faults: Vec<Fault>) {
        for (order, fault) in (0..).zip(faults) {
            let place = place.clone().at(fault.offset);
            self.tell(Finding { order, ..Finding::new(fault.code, place, fault.detail) });
        }
    }

    fn hole(&mut self, from: u64, to: u64) {
        self.linked = false;
        if self.holes.len() >= KEPT_BACK {
            self.fill_holes(None);
        }
        let Some(rules) = self.log.rules.clone() else { return self.holes.push(Range { from, to: Some(to) }) };
        for (run, expired) in rules.split(from..to) {
            match rules.told(&run).filter(|_| expired) {
                Some(told) => self.tell(told),
                None => self.holes.push(Range { from: run.start, to: Some(run.end) }),
            }
        }
    }

    /// Tells of the holes kept back, now that it is known at which offset the chain goes on, or that it does not.
    fn fill_holes(&mut self, to: Option<i64>) {
        let from = self.head.as_ref().map_or(0, |head| head.to);
        for hole in std::mem::take(&mut self.holes) {
            let last = hole.to.unwrap_or(hole.from + 1) - 1;
            let what = match last - hole.from {
                0 => format!("segment {} is not there", hole.from),
                n => format!("segments {} to {last}, {} of them, are not there", hole.from, n + 1),
            };
            let detail = match to {
                Some(to) if to > from => format!("{what}; with them {}", span(from, to)),
                Some(_) => format!("{what}; by the segments around them they held no offsets"),
                None => format!("{what}; nothing signed lies behind them, so that the offsets they held are not known"),
            };
            let key = crate::layout::segment_key(&self.chain, hole.from);
            let mut place = Place::segment(&self.chain, hole.from, key);
            place.sequences = (last > hole.from).then_some(hole);
            place.offsets = Some(Range { from, to });
            self.tell(Finding::new("missing_segment", place, detail));
        }
    }

    fn keep_misplaced(&mut self, place: Place, sequence: u64, opened: Opened) {
        let manifest = &opened.manifest;
        let Offsets { from, to } = manifest.offsets;
        let detail =
            format!("it is segment {} of {}, which holds offsets {from}..{to}", manifest.sequence, manifest.chain);
        let finding = Finding::new("segment_misplaced", place, detail);
        self.note_break(&finding);
        if self.misplaced.len() < KEPT_BACK {
            self.misplaced.push((sequence, opened, finding));
        } else {
            self.out.findings.push(finding);
        }
    }

    /// Two that lie in each other's place are told as such.
    fn tell_misplaced(&mut self) {
        let misplaced = std::mem::take(&mut self.misplaced);
        let holds: BTreeSet<(u64, u64)> = misplaced
            .iter()
            .filter(|(_, opened, _)| opened.manifest.chain == self.chain)
            .map(|(key, opened, _)| (*key, opened.manifest.sequence))
            .collect();
        for (key, opened, mut finding) in misplaced {
            if holds.contains(&(opened.manifest.sequence, key)) {
                finding.detail.push_str("; the two lie in each other's place");
            }
            self.out.findings.push(finding);
        }
    }

    fn tell(&mut self, finding: Finding) {
        self.note_break(&finding);
        self.out.findings.push(finding);
    }

    fn note_break(&mut self, finding: &Finding) {
        let first = &mut self.out.report.first_break;
        if finding.code.breaks && first.as_ref().is_none_or(|f| finding.place.sequence < f.place.sequence) {
            *first = Some(Finding { first_break: true, ..finding.clone() });
        }
    }

    /// Ends the walk. `superseded`: a later incarnation of the chain exists.
    pub(super) fn finish(mut self, superseded: bool, freshness: Freshness) -> Walked {
        let passed = self.out.report.passed;
        if passed > 0 && self.next == passed && !self.log.has(passed) {
            // it was there when somebody looked last
            self.hole(passed, passed + 1);
        }
        if !self.holes.is_empty() {
            self.fill_holes(None);
        }
        self.tell_misplaced();
        let locked = self.locks.end();
        self.out.findings.extend(locked);
        self.out.locks = self.locks.counts;
        let end = self.head.as_ref().map_or(0, |head| head.to);
        let ends = self.log.end(&self.chain, self.next, end);
        ends.into_iter().for_each(|finding| self.tell(finding));
        self.out.waiting = self.log.counts();
        self.fresh(superseded, freshness);
        self.out.report.signed_by.sort();
        if let Some(finding) = self.foreign.take() {
            self.tell(finding.told(self.origin.as_deref()));
        }
        if let Some(first) = &self.out.report.first_break {
            self.out.findings.mark(first);
        }
        self.out
    }

    fn fresh(&mut self, superseded: bool, freshness: Freshness) {
        let report = &mut self.out.report;
        report.superseded = superseded;
        if superseded || report.closed {
            return;
        }
        report.next_by = self.next_by;
        let late = match (freshness, self.next_by, report.last_sealed) {
            (Freshness::MaxAge(age), _, Some(sealed)) => (self.now.saturating_sub(sealed) > age)
                .then(|| format!("its newest segment was sealed {}", super::text::ago(self.now, sealed))),
            (_, Some(next_by), _) => (next_by < self.now)
                .then(|| format!("its next segment was promised for {}", super::text::ago(self.now, next_by))),
            _ => Some("nothing signed says when it was last sealed".into()),
        };
        report.stale = late.is_some();
        if let (Some(detail), true) = (late, freshness != Freshness::Tell) {
            self.out.findings.push(Finding::new("stale", Place::chain(&self.chain), detail));
        }
    }
}

/// The head that must have been before `manifest`, when what lies before it cannot be trusted or is not there: its hash
/// is taken on trust, everything that an older head can still contradict is not.
fn assumed(head: Option<&Head>, manifest: &Manifest) -> Head {
    let mut times = manifest.times;
    times.sealed = head.map_or(times.sealed.saturating_sub(1), |h| h.times.sealed);
    Head {
        chain: manifest.chain.clone(),
        origin: manifest.origin.clone(),
        sequence: manifest.sequence.saturating_sub(1),
        // a manifest without one cannot follow anything, and `follows` says so
        hash: manifest.previous.unwrap_or(Digest([0; 32])),
        to: head.map_or(manifest.offsets.from, |h| h.to.max(manifest.offsets.from)),
        times,
        broker: head.map_or_else(|| manifest.broker.clone(), |h| h.broker.clone()),
        closed: head.is_some_and(|h| h.closed),
    }
}

/// A range of offsets that holds at least one, in words.
fn span(from: i64, to: i64) -> String {
    if to - from == 1 { format!("offset {from}") } else { format!("offsets {from} to {}", to - 1) }
}

/// An object that cannot be read because of what it is, not because of how it is kept, is no segment.
fn unreadable(error: &Error) -> &'static str {
    match error.kind() {
        Kind::Data | Kind::Tampered => code::NOT_A_SEGMENT,
        Kind::Retry | Kind::Config | Kind::Bug => "unreadable",
    }
}

fn behind(manifest: &Manifest) -> Option<Behind> {
    let known_to = manifest.broker.last_stable.or(manifest.broker.high_watermark)?;
    let sealed_to = manifest.offsets.to;
    Some(Behind { sealed_to, known_to, offsets: known_to.saturating_sub(sealed_to).max(0) })
}
