//! The audit as a whole: lists, walks all chains at once, compares them, and sums up.

use super::{
    Freshness, VerifyOptions, artifacts, cross,
    findings::Findings,
    folder::Folder,
    inventory,
    key_rules::Rules,
    logged::Comparison,
    protect,
    read::{Read, Reader},
    report::{
        ChainReport, Finding, FindingCounts, FreshnessReport, LogReport, Place, ProtectionReport, Report, Totals,
        Verdict, Verdicts, exit,
    },
    since,
    tlog::{self, LogView},
    walk::{Walked, Walker},
};
use crate::{
    error::{Error, Kind, Result},
    layout, note,
    position::ChainId,
    store::Store,
    store_info::{MERGE_DELAY, StoreInfo},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::task::JoinSet;

/// What this version's verdict does not cover, whatever it says.
const LIMITS: &[&str] = &[
    "It is proven that holders of the given keys sealed these bytes, not that Kafka held them: whoever holds a key can \
     seal anything.",
];

/// The log is late when its newest entry is older than this and the merge delay.
const LOG_SILENCE: i64 = 5 * 60_000;

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
    let merge_delay = info.map_or(MERGE_DELAY, |info| info.merge_delay);
    let due = options.now.saturating_sub(merge_delay);
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
    cross::check(&walked, log.as_ref(), &options.expect, &mut findings);
    let artifacts = artifacts::check(&reader, &walked, &options, &mut findings).await?;
    let mut totals = Totals { artifacts: artifacts.count, bytes: artifacts.bytes, ..Totals::default() };
    let mut protection = ProtectionReport { required: options.require_retention, ..artifacts.locks };
    walked.values().map(|w| &w.locks).chain(log.iter().map(|log| &log.locks)).for_each(|l| protection.add(l));
    settings(&reader, &mut protection, &mut findings).await;
    walked.values().for_each(|w| totals.add(&w.report));
    let waiting = walked.values().fold((0, 0), |sum, w| (sum.0 + w.waiting.0, sum.1 + w.waiting.1));
    let chains: Vec<ChainReport> = walked.into_values().map(|w| w.report).collect();
    let keys = keys.iter().map(|(name, id)| format!("{name}+{id}")).collect();
    let freshness = freshness(&chains, log.as_ref(), merge_delay, &options, &mut findings);
    let (findings, counts) = findings.finish();
    let since =
        since::report(&options.since, log.as_ref().and_then(|log| log.report.pinned), &chains, artifacts.passed);
    let of_log = match (&log, options.checkpoint.is_some()) {
        (None, _) => WITHOUT_LOG,
        (Some(_), false) => WITHOUT_PIN,
        (Some(_), true) => &[],
    };
    let is_witnessed = log.as_ref().is_some_and(|log| log.report.anchors.witnessed.is_some());
    let seen = if is_witnessed { WITNESSED } else { UNWITNESSED };
    let said = of_log.iter().chain([&seen]).chain(LIMITS);
    Ok(Report {
        format: "authseal/verify@1",
        version: env!("CARGO_PKG_VERSION"),
        store: reader.describe(),
        origin,
        keys,
        now: options.now,
        exit_code: exit_code(&counts),
        verdicts: verdicts(&counts, &freshness, &chains, &protection),
        totals,
        freshness,
        protection,
        log: log.map(|log| LogReport { pending: waiting.0, unlogged: waiting.1, ..log.report }),
        chains,
        finding_counts: counts,
        findings,
        limits: since.limit().into_iter().chain(said.map(|limit| (*limit).to_owned())).collect(),
        since,
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
        // no store.json of ours is so long, or a link
        Read::Unreadable(e) if matches!(e.kind(), Kind::Data | Kind::Tampered) => {
            findings.push(Finding::new("store_json_invalid", place, e.to_string()));
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
        let covered = log.map(|log| &log.covered);
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
                let rules = log.rules.clone();
                let folder = Folder {
                    reader: Arc::clone(reader),
                    keys: Arc::clone(&self.keys),
                    chain: chain.clone(),
                    locked: options.require_retention.is_some(),
                    rules,
                };
                let from = since::from(&options.since, chain, covered);
                let (origin, options) = (self.origin.map(str::to_owned), options.clone());
                walks.spawn(async move {
                    let (chain, jobs, freshness) = (folder.chain.clone(), options.jobs.max(1), options.freshness);
                    let from = match from {
                        Ok(from) => from,
                        Err(time) => folder.cut(time).await?,
                    };
                    // the one before is checked as well: what is new must follow it
                    let walker = Walker::new(&chain, origin.as_deref(), &options, from.saturating_sub(1), log);
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

/// Reads the settings of the bucket into the report.
async fn settings(reader: &Reader, protection: &mut ProtectionReport, findings: &mut Findings) {
    let promised = protection.promised > 0 || protection.required.is_some();
    protection.bucket = reader.bucket().await.map(|bucket| protect::bucket(bucket, promised, findings));
    protection.requests = reader.lock_requests.load(Relaxed);
}

fn freshness(
    chains: &[ChainReport],
    log: Option<&LogView>,
    merge_delay: i64,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> FreshnessReport {
    let policy = options.freshness;
    // an instance enters that it lives once a minute, and a batch may take as long as the merge delay
    let age = match policy {
        Freshness::MaxAge(age) => age,
        Freshness::Tell | Freshness::Promised => LOG_SILENCE + merge_delay,
    };
    let alive = chains.iter().any(|chain| !chain.closed && !chain.superseded);
    let newest = log.filter(|log| alive && log.whole).and_then(|log| log.report.newest);
    let late = newest.filter(|newest| options.now.saturating_sub(*newest) > age);
    if let (Some(newest), true) = (late, policy != Freshness::Tell) {
        let detail =
            format!("the newest entry that its checkpoint covers is of {}", super::text::ago(options.now, newest));
        findings.push(Finding::new("log_stale", Place::object(layout::CHECKPOINT), detail));
    }
    FreshnessReport {
        enforced: policy != Freshness::Tell,
        max_age: match policy {
            Freshness::MaxAge(age) => Some(age),
            Freshness::Tell | Freshness::Promised => None,
        },
        last_sealed: chains.iter().filter_map(|c| c.last_sealed).max(),
        next_by: chains.iter().filter_map(|c| c.next_by).min(),
        stale_chains: chains.iter().filter(|c| c.stale).count() as u64,
        stale_log: late.is_some(),
    }
}

fn verdicts(
    counts: &FindingCounts,
    freshness: &FreshnessReport,
    chains: &[ChainReport],
    protection: &ProtectionReport,
) -> Verdicts {
    let word = |failures: u64, good, bad| if failures == 0 { good } else { bad };
    Verdicts {
        integrity: word(counts.integrity, "good", "tampered"),
        completeness: word(counts.completeness, "good", "incomplete"),
        freshness: match chains {
            [] => "not_checked",
            _ => word(freshness.stale_chains + u64::from(freshness.stale_log), "good", "stale"),
        },
        protection: protect::verdict(counts.protection, protection),
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
