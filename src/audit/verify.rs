//! The audit as a whole: lists, walks all chains at once, compares them, and sums up.

use super::{
    Freshness, VerifyOptions, artifacts, cross,
    examine::{Examined, Look, examine},
    findings::Findings,
    inventory::{self, PAGE},
    key_rules::Rules,
    logged::Comparison,
    read::{Read, Reader},
    report::{
        ChainReport, Finding, FindingCounts, FreshnessReport, LogReport, Place, Report, Totals, Verdict, Verdicts, exit,
    },
    tlog::{self, LogView},
    walk::{Object, Walked, Walker},
};
use crate::{
    error::{Error, Kind, Result},
    layout, note,
    position::ChainId,
    store::{Entry, Store, Stored},
    store_info::{MERGE_DELAY, StoreInfo},
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinHandle, JoinSet},
};

/// What this version's verdict does not cover, whatever it says.
const LIMITS: &[&str] = &[
    "Locks (retention, legal hold) are not read. Shadow versions and delete markers are looked for.",
    "It is proven that holders of the given keys sealed these bytes, not that Kafka held them: whoever holds a key can \
     seal anything.",
];

/// What a store without a log cannot show.
const WITHOUT_LOG: &[&str] = &[
    "The newest segments of a chain can be removed unseen: this store has no transparency log that names them. Compare \
     \"sealed up to\" below with the broker.",
    "A whole chain can be removed unseen if no other chain of its topic is there to tell how many partitions \
     there are.",
];

/// What a log says to one alone.
const UNWITNESSED: &str = "What is said here is consistent with what this store shows. Whether somebody was \
    shown another one is not known: no quorum of witnesses has cosigned its log (--policy names those you believe).";

/// What a log says that others have seen.
const WITNESSED: &str = "What was logged after the checkpoint that the witnesses cosigned, they have not seen. \
    Before it, another log could have been shown to somebody only with the help of a quorum of them.";

/// What a log shows only to whoever remembers it.
const WITHOUT_PIN: &[&str] = &[
    "The newest batches can be removed together with the segments that they name, by one who puts an older checkpoint \
       in place of the newest: keep checkpoints elsewhere (the topic of checkpoints has them), and give one with \
       --checkpoint.",
];

/// Checks every segment of every chain in `store`, and the chains among each other, against `keys`.
///
/// It holds at most `options.jobs` segments in memory. It fails only if it cannot say anything: the store is away, or
/// no key was given. Whatever else goes wrong is in the report, and fails a verdict.
pub async fn verify(store: Arc<dyn Store>, keys: &note::Verifiers, options: VerifyOptions) -> Result<Report> {
    if keys.is_empty() {
        return Err(Error::config(
            "no verifier key was given: without one, anybody could have signed; see `authseal keys show`",
        ));
    }
    let reader = Arc::new(Reader::new(store, options.jobs, options.progress.clone()));
    let mut findings = Findings::new(options.max_findings);
    let info = store_info(&reader, &mut findings).await?;
    let origin = info.as_ref().map(|info| info.origin.clone());
    let log = tlog::check(&reader, keys, origin.as_deref(), &options, &mut findings).await?;
    let due = options.now.saturating_sub(info.map_or(MERGE_DELAY, |info| info.merge_delay));
    let chains = match inventory::chains(&reader, &mut findings).await {
        Err(e) if e.kind() == Kind::Tampered => {
            findings.push(Finding::new("unexpected_object", Place::object(layout::CHAINS), e.to_string()));
            Vec::new()
        }
        chains => chains?,
    };
    reader.progress.chains.store(chains.len() as u64, Relaxed);
    if chains.is_empty() {
        let detail = format!("{} holds no chain", reader.describe());
        findings.push(Finding::new("no_chains", Place::default(), detail));
    }
    let known = log.as_ref().map_or(keys, |log| log.ledger.ring().verifiers());
    let walking = Walking { keys: Arc::new(known.clone()), origin: origin.as_deref(), options: &options, due };
    let walked = walking.all(&reader, &chains, log.as_ref(), &mut findings).await?;
    cross::check(&walked, &mut findings);
    let (artifacts, artifact_bytes) = artifacts::check(&reader, &walked, &mut findings).await?;
    let mut totals = Totals { artifacts, bytes: artifact_bytes, ..Totals::default() };
    walked.values().for_each(|w| totals.add(&w.report));
    let waiting = walked.values().fold((0, 0), |sum, w| (sum.0 + w.waiting.0, sum.1 + w.waiting.1));
    let chains: Vec<ChainReport> = walked.into_values().map(|w| w.report).collect();
    let keys = keys.iter().map(|(name, id)| format!("{name}+{id}")).collect();
    let (findings, counts) = findings.finish();
    let freshness = freshness(&chains, options.freshness);
    let of_log = match (&log, options.checkpoint.is_some()) {
        (None, _) => WITHOUT_LOG,
        (Some(_), false) => WITHOUT_PIN,
        (Some(_), true) => &[],
    };
    let is_witnessed = log.as_ref().is_some_and(|log| log.report.anchors.witnessed.is_some());
    let seen = if is_witnessed { WITNESSED } else { UNWITNESSED };
    Ok(Report {
        format: "authseal/verify@1",
        version: env!("CARGO_PKG_VERSION"),
        store: reader.describe(),
        origin,
        keys,
        now: options.now,
        exit_code: exit_code(&counts),
        verdicts: verdicts(&counts, &freshness, &chains),
        totals,
        freshness,
        log: log.map(|log| LogReport { pending: waiting.0, unlogged: waiting.1, ..log.report }),
        chains,
        finding_counts: counts,
        findings,
        limits: of_log.iter().copied().chain([seen]).chain(LIMITS.iter().copied()).collect(),
    })
}

/// What store.json says; it becomes a finding if it says nothing.
async fn store_info(reader: &Reader, findings: &mut Findings) -> Result<Option<StoreInfo>> {
    let key = layout::STORE_JSON;
    let place = Place::object(key);
    if let Some(entry) = reader.list(key, None, 1).await?.into_iter().find(|e| e.key == key) {
        inventory::versions(&entry, &place, findings);
    }
    match reader.read(key).await? {
        Read::Found(stored) => match std::str::from_utf8(&stored.bytes).map(StoreInfo::parse) {
            Ok(Ok(info)) => return Ok(Some(info)),
            Ok(Err(fault)) => findings.push(Finding::new("store_json_invalid", place, fault.detail)),
            Err(_) => findings.push(Finding::new("store_json_invalid", place, "it is not UTF-8")),
        },
        Read::Absent => {
            let detail = "nothing says whose store this is: the origin of its segments is taken from themselves";
            findings.push(Finding::new("store_json_missing", place, detail));
        }
        Read::Unreadable(e) => return Err(e.context(format_args!("reading {key} of {}", reader.describe()))),
    }
    Ok(None)
}

/// What the walks over the chains have in common.
struct Walking<'a> {
    keys: Arc<note::Verifiers>,
    origin: Option<&'a str>,
    options: &'a VerifyOptions,
    /// What was sealed up to then must be in the log.
    due: i64,
}

impl Walking<'_> {
    /// Walks all chains, `options.jobs` at a time; then tells of those that only the log knows.
    async fn all(
        &self,
        reader: &Arc<Reader>,
        chains: &[ChainId],
        log: Option<&LogView>,
        findings: &mut Findings,
    ) -> Result<BTreeMap<ChainId, Walked>> {
        let options = self.options;
        let mut walked = BTreeMap::new();
        let mut walks = JoinSet::new();
        // the incarnations of a partition stand one after the other
        let mut waiting = chains.iter().enumerate();
        loop {
            while walks.len() < options.jobs.max(1) {
                let Some((at, chain)) = waiting.next() else { break };
                let superseded = chains.get(at + 1).is_some_and(|next| {
                    (&next.cluster, &next.topic, next.partition) == (&chain.cluster, &chain.topic, chain.partition)
                });
                let log = log.map(|log| self.comparison(chain, log)).unwrap_or_default();
                let walker = Walker::new(chain, self.origin, options.now, options.max_findings, log);
                let folder = Folder { reader: Arc::clone(reader), keys: Arc::clone(&self.keys), chain: chain.clone() };
                let (jobs, freshness) = (options.jobs.max(1), options.freshness);
                walks.spawn(async move {
                    let chain = folder.chain.clone();
                    let walker = Arc::new(folder).walk(walker, jobs).await?;
                    Ok::<_, Error>((chain, walker.finish(superseded, freshness)))
                });
            }
            let Some(done) = walks.join_next().await else { break };
            let (chain, mut done) =
                done.map_err(|e| Error::bug("the walk over a chain ended early").caused_by(e))??;
            findings.merge(std::mem::replace(&mut done.findings, Findings::new(0)));
            reader.progress.chains_done.fetch_add(1, Relaxed);
            walked.insert(chain, done);
        }
        let logged = log.iter().flat_map(|log| &log.chains);
        for (chain, logged) in logged.filter(|(chain, _)| !walked.contains_key(chain)) {
            let rules = log.map(|log| Rules::new(log.ledger.clone(), chain, self.options.now));
            logged.removed(chain, 0, 0, rules.as_ref()).into_iter().for_each(|finding| findings.push(finding));
        }
        Ok(walked)
    }

    fn comparison(&self, chain: &ChainId, log: &LogView) -> Comparison {
        let logged = log.chains.get(chain).cloned().unwrap_or_default();
        let mut comparison = Comparison::new(logged, log.whole, self.due);
        comparison.rules = Some(Rules::new(log.ledger.clone(), chain, self.options.now));
        comparison
    }
}

/// The folder of one chain.
struct Folder {
    reader: Arc<Reader>,
    keys: Arc<note::Verifiers>,
    chain: ChainId,
}

/// A task that ends when nobody waits for it any more.
struct Spawned<T>(JoinHandle<Result<T>>);

impl<T> Future for Spawned<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(done.unwrap_or_else(|e| Err(Error::bug("reading a segment ended early").caused_by(e))))
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An entry of a folder, the sequence in its key if it is one of a segment, and what was read.
type Fetched = (Entry, Option<u64>, Object);

impl Folder {
    /// Hands every key to the walker, in order, while the next ones are being read and checked.
    async fn walk(self: Arc<Self>, mut walker: Walker, jobs: usize) -> Result<Walker> {
        let fetch = {
            let folder = Arc::clone(&self);
            // spawned, because each holds a permit: one that nobody polls would hold it against all others
            move |entry| Spawned(tokio::spawn(Arc::clone(&folder).fetch(entry)))
        };
        let mut objects = pin!(Arc::clone(&self).entries().map_ok(fetch).try_buffered(jobs));
        while let Some((entry, sequence, mut object)) = objects.next().await.transpose()? {
            if let Some(sequence) = sequence {
                Arc::clone(&self).look_again(&mut walker, sequence).await?;
            }
            if let Object::Segment(examined) = &mut object
                && !examined.faults.is_empty()
                && walker.looks_closer()
            {
                self.look_closer(&entry.key, examined).await?;
            }
            walker.step(&entry, sequence, object);
            self.reader.progress.segments_done.fetch_add(1, Relaxed);
        }
        Ok(walker)
    }

    fn entries(self: Arc<Self>) -> impl Stream<Item = Result<Entry>> + Send {
        stream::try_unfold((self, None::<String>), |(folder, after)| async move {
            let page = folder.reader.list(&layout::chain_prefix(&folder.chain), after.as_deref(), PAGE).await?;
            folder.reader.progress.segments.fetch_add(page.len() as u64, Relaxed);
            let Some(last) = page.last().map(|entry| entry.key.clone()) else { return Ok(None) };
            Ok(Some((stream::iter(page.into_iter().map(Ok)), (folder, Some(last)))))
        })
        .try_flatten()
    }

    /// Asks for segments that the listing left out: reading a directory while it is written to may show the newer of
    /// two files alone. A long hole is no such accident.
    async fn look_again(self: Arc<Self>, walker: &mut Walker, to: u64) -> Result<()> {
        const ACCIDENT: u64 = 16;
        if to.saturating_sub(walker.expects()) > ACCIDENT {
            return Ok(());
        }
        for sequence in walker.expects()..to {
            let key = layout::segment_key(&self.chain, sequence);
            let entry = Entry { key, versions: 1, markers: 0, size: 0, oldest: String::new() };
            let (entry, sequence, object) = Arc::clone(&self).fetch(entry).await?;
            if !matches!(object, Object::Absent) {
                walker.step(&entry, sequence, object);
            }
        }
        Ok(())
    }

    /// Reads a broken object once more, and says all that can be said of it.
    async fn look_closer(&self, key: &str, examined: &mut Examined) -> Result<()> {
        let room = self.reader.room().await?;
        if let Read::Found(stored) = self.reader.read(key).await? {
            let closer = self.examine(key, stored, Look::Closely, room).await?;
            // an object that is good now was not when it was read first: what was found then stands
            if !closer.faults.is_empty() {
                *examined = closer;
            }
        }
        Ok(())
    }

    /// Checks one object where it may take time. The permit goes with the bytes: it is given back when they are,
    /// also if nobody waits any more.
    async fn examine(&self, key: &str, stored: Stored, look: Look, room: OwnedSemaphorePermit) -> Result<Examined> {
        let keys = Arc::clone(&self.keys);
        let work = move || {
            let examined = examine(&stored.bytes, &keys, look);
            drop((stored, room));
            examined
        };
        let examined = tokio::task::spawn_blocking(work).await;
        examined.map_err(|e| Error::bug(format!("checking {key} did not end")).caused_by(e))
    }

    /// Reads one object and checks it by itself.
    async fn fetch(self: Arc<Self>, entry: Entry) -> Result<Fetched> {
        let place = layout::parse_segment_key(&entry.key).filter(|(chain, _)| *chain == self.chain);
        let Some((_, sequence)) = place else { return Ok((entry, None, Object::Unexpected)) };
        if entry.versions == 0 {
            return Ok((entry, Some(sequence), Object::Absent));
        }
        let room = self.reader.room().await?;
        let object = match self.reader.read(&entry.key).await? {
            Read::Absent => Object::Absent,
            Read::Unreadable(error) => Object::Unreadable(error),
            Read::Found(stored) => {
                let examined = self.examine(&entry.key, stored, Look::Once, room).await?;
                if let Some(opened) = &examined.trusted {
                    self.reader.progress.records.fetch_add(opened.manifest.counts.records.max(0) as u64, Relaxed);
                }
                Object::Segment(Box::new(examined))
            }
        };
        Ok((entry, Some(sequence), object))
    }
}

fn freshness(chains: &[ChainReport], policy: Freshness) -> FreshnessReport {
    FreshnessReport {
        enforced: policy != Freshness::Tell,
        max_age: match policy {
            Freshness::MaxAge(age) => Some(age),
            Freshness::Tell | Freshness::Promised => None,
        },
        last_sealed: chains.iter().filter_map(|c| c.last_sealed).max(),
        next_by: chains.iter().filter_map(|c| c.next_by).min(),
        stale_chains: chains.iter().filter(|c| c.stale).count() as u64,
    }
}

fn verdicts(counts: &FindingCounts, freshness: &FreshnessReport, chains: &[ChainReport]) -> Verdicts {
    let word = |failures: u64, good, bad| if failures == 0 { good } else { bad };
    Verdicts {
        integrity: word(counts.integrity, "good", "tampered"),
        completeness: word(counts.completeness, "good", "incomplete"),
        freshness: match chains {
            [] => "not_checked",
            _ => word(freshness.stale_chains, "good", "stale"),
        },
        protection: word(counts.protection, "not_checked", "unprotected"),
    }
}

/// The first of the failed verdicts, in the order of [`exit`].
fn exit_code(counts: &FindingCounts) -> u8 {
    let failed = [
        (Verdict::Integrity, counts.integrity),
        (Verdict::Completeness, counts.completeness),
        (Verdict::Protection, counts.protection),
        (Verdict::Freshness, counts.freshness),
    ];
    failed.into_iter().find(|(_, failures)| *failures > 0).map_or(exit::GOOD, |(verdict, _)| verdict.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_in_the_documented_order_is_the_exit_code() {
        let none = FindingCounts::default();
        let stale = FindingCounts { freshness: 1, notices: 9, ..none };
        let unprotected = FindingCounts { protection: 1, ..stale };
        let incomplete = FindingCounts { completeness: 1, ..unprotected };
        let tampered = FindingCounts { integrity: 1, ..incomplete };
        let codes = [none, stale, unprotected, incomplete, tampered].map(|counts| exit_code(&counts));
        assert_eq!(codes, [0, 12, 13, 11, 10]);
        assert_eq!(exit_code(&FindingCounts { notices: 1, ..none }), 0);
    }
}
