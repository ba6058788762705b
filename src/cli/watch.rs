//! `authseal verify --watch`: all of it at the start and once a day, what is new in between, and metrics of both.
//!
//! If we crash here nothing is lost: the next start looks at all of it again.

use super::{
    exit::{self, Failure},
    print,
};
use crate::{
    audit::{self, Finding, Report, Since, Verdict, VerifyOptions},
    config::duration as parse_duration,
    error::{Error, Kind, Result},
    health::Health,
    note::Verifiers,
    position::ChainId,
    store::{self, Store, StoreSpec},
    telemetry, web,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::watch};

/// Gauges that nobody sets vanish after five minutes: they are told again this often.
const TELL: Duration = Duration::from_secs(30);
/// The loop tells that it is alive while it waits, and while a run goes on.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// How to go on.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --watch")]
pub struct WatchArgs {
    /// How often to look at what is new
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = interval, requires = "watch")]
    every: Duration,
    /// How often to look at all of it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = interval, requires = "watch")]
    complete: Duration,
    /// Where to serve /metrics, /livez and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9465", requires = "watch")]
    listen: SocketAddr,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).filter(|interval| *interval >= Duration::from_secs(1));
    interval.ok_or_else(|| "write a number and a unit, at least 1s: 90s, 15m, 2h, 7d".into())
}

/// Runs until a signal.
pub(super) fn main(
    args: &WatchArgs,
    spec: &StoreSpec,
    keys: &Verifiers,
    options: VerifyOptions,
    json: bool,
) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let store = store::open(spec).await?;
        let handle = telemetry::recorder()?;
        let cannot =
            |e| Error::config(format!("--listen: {} cannot be opened; choose another port", args.listen)).caused_by(e);
        let listener = TcpListener::bind(args.listen).await.map_err(cannot)?;
        let address = listener.local_addr().unwrap_or(args.listen);
        eprintln!("answering /metrics, /livez and /readyz on http://{address}");
        let upkeep = tokio::spawn(telemetry::upkeep(handle.clone()));
        let stop = stop_on_signal()?;
        let health = Health::new(MAX_SILENCE);
        let mut told = stop.clone();
        let web = web::Web { health: health.clone(), metrics: handle };
        let web = tokio::spawn(web::serve(listener, web, async move { drop(told.wait_for(|stop| *stop).await) }));
        let mut watch = Watch::new(store, keys, options, health, json);
        let result = watch.run(args.every, args.complete, stop).await;
        upkeep.abort();
        web.abort();
        result
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| exit::GOOD)
}

/// Set by SIGTERM and SIGINT.
fn stop_on_signal() -> Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::bug("listening to signals").caused_by(e));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (told, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.send_replace(true);
    });
    Ok(stop)
}

/// What is known from one run to the next.
struct Watch {
    store: Arc<dyn Store>,
    keys: Verifiers,
    options: VerifyOptions,
    health: Arc<Health>,
    json: bool,
    /// Of each chain, up to where it was good.
    good: BTreeMap<ChainId, u64>,
    /// Failures by verdict: of the last complete run, and of the last one over what is new.
    standing: [[u64; 4]; 2],
    /// What was printed last: the same is not printed again.
    told: Option<Vec<Finding>>,
    /// When the last run of each kind ended: complete, new.
    ended: [Option<SystemTime>; 2],
}

const VERDICTS: [Verdict; 4] = [Verdict::Integrity, Verdict::Completeness, Verdict::Protection, Verdict::Freshness];

impl Watch {
    fn new(store: Arc<dyn Store>, keys: &Verifiers, options: VerifyOptions, health: Arc<Health>, json: bool) -> Self {
        health.started();
        health.set("verify", Err("the first complete run is not done yet".into()));
        let (good, standing, told, ended) = (BTreeMap::new(), [[0; 4]; 2], None, [None; 2]);
        Self { store, keys: keys.clone(), options, health, json, good, standing, told, ended }
    }

    async fn run(
        &mut self,
        every: Duration,
        complete: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let mut whole: Option<Instant> = None;
        loop {
            let all = whole.is_none_or(|at| at.elapsed() >= complete);
            let begun = Instant::now();
            let done = tokio::select! {
                done = self.once(all) => done,
                // in the middle of a run: nothing is written, so that nothing is left behind
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            match done {
                Ok(report) => {
                    if all {
                        whole = Some(begun);
                    }
                    print(&self.line(&report, all, begun.elapsed())?)?;
                }
                Err(error) if whole.is_none() && error.kind() != Kind::Retry => return Err(error.into()),
                Err(error) => {
                    metrics::counter!(telemetry::VERIFY_ERRORS).increment(1);
                    eprintln!("error: this run could not be made, the next is in {} s: {error}", every.as_secs());
                }
            }
            let next = tokio::time::Instant::from_std(begun + every);
            loop {
                self.tell();
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = tokio::time::sleep(TELL) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                }
            }
        }
    }

    /// One run, while the gauges are told again.
    async fn once(&mut self, all: bool) -> Result<Report> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut options = VerifyOptions { now: i64::try_from(now).unwrap_or(i64::MAX), ..self.options.clone() };
        if !all {
            options.since = Since::Sequences(self.good.clone());
        }
        let begun = Instant::now();
        let (store, keys) = (self.store.clone(), self.keys.clone());
        let mut run = std::pin::pin!(audit::verify(store, &keys, options));
        let report = loop {
            tokio::select! {
                report = &mut run => break report?,
                () = tokio::time::sleep(TELL) => self.tell(),
            }
        };
        self.take(&report, all);
        let scope = scope(all);
        metrics::counter!(telemetry::VERIFY_RUNS, "scope" => scope, "exit_code" => report.exit_code.to_string())
            .increment(1);
        metrics::histogram!(telemetry::VERIFY_SECONDS, "scope" => scope).record(begun.elapsed().as_secs_f64());
        metrics::counter!(telemetry::VERIFY_SEGMENTS).increment(report.totals.segments);
        metrics::counter!(telemetry::VERIFY_BYTES).increment(report.totals.bytes);
        self.tell();
        Ok(report)
    }

    /// Remembers up to where each chain is good. One of which something is told is looked at again from where it was.
    fn take(&mut self, report: &Report, all: bool) {
        let n = &report.finding_counts;
        let counts = [n.integrity, n.completeness, n.protection, n.freshness];
        if all {
            self.standing = [counts, [0; 4]];
            self.good.clear();
        } else {
            self.standing[1] = counts;
        }
        self.ended[usize::from(!all)] = Some(SystemTime::now());
        let failures = counts.iter().sum::<u64>() + n.notices;
        let suspect: BTreeSet<&ChainId> = report.findings.iter().filter_map(|f| f.place.chain.as_ref()).collect();
        // where not all are listed, nobody knows which chains they are of
        if n.listed < failures {
            return;
        }
        for chain in report.chains.iter().filter(|chain| !suspect.contains(&chain.chain)) {
            if let Some(to) = chain.sequences.and_then(|range| range.to) {
                self.good.insert(chain.chain.clone(), to);
            }
        }
    }

    fn tell(&self) {
        self.health.beat();
        let mut failed = Vec::new();
        for (number, verdict) in VERDICTS.iter().enumerate() {
            // one failure may be in both
            let failures = self.standing[0][number].max(self.standing[1][number]);
            metrics::gauge!(telemetry::VERIFY_FAILURES, "verdict" => verdict.name()).set(failures as f64);
            if failures > 0 {
                failed.push(format!("{} {}", failures, verdict.name()));
            }
        }
        for (all, ended) in [(true, self.ended[0]), (false, self.ended[1])] {
            if let Some(at) = ended.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
                metrics::gauge!(telemetry::VERIFY_ENDED, "scope" => scope(all)).set(at.as_secs_f64());
            }
        }
        match (self.ended[0], failed.as_slice()) {
            (None, _) => {}
            // ready: it looks, and what it sees is not its own fault
            (Some(_), []) => drop(self.health.warn("verify", None)),
            (Some(_), failed) => {
                self.health.warn("verify", Some(format!("the store fails: {}", failed.join(", "))));
            }
        }
    }

    /// What is printed of a run: a line, and what it found if that is another thing than the last time.
    fn line(&mut self, report: &Report, all: bool, took: Duration) -> Result<String> {
        let words = report.verdicts;
        if self.json {
            let value = serde_json::json!({
                "format": "authseal/watch@1",
                "time": report.now,
                "scope": scope(all),
                "seconds": took.as_secs_f64(),
                "exit_code": report.exit_code,
                "verdicts": words,
                "segments": report.totals.segments,
                "passed": report.since.segments,
                "finding_counts": report.finding_counts,
                "findings": report.findings,
            });
            return Ok(format!("{value}\n"));
        }
        let time = jiff::Timestamp::from_millisecond(report.now).unwrap_or_default();
        let mut text = format!(
            "{time:.0} {}: integrity {}, completeness {}, freshness {}, protection {}; {} segments looked at, \
             {} passed over, {:.1} s\n",
            scope(all),
            words.integrity,
            words.completeness,
            words.freshness,
            words.protection,
            report.totals.segments,
            report.since.segments,
            took.as_secs_f64()
        );
        let news = self.told.as_ref() != Some(&report.findings);
        if news && !report.findings.is_empty() {
            text += &report.text();
        }
        self.told = Some(report.findings.clone());
        Ok(text)
    }
}

fn scope(all: bool) -> &'static str {
    if all { "complete" } else { "new" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_at_least_a_second() {
        assert_eq!(interval("5m"), Ok(Duration::from_secs(300)));
        for bad in ["0s", "500ms", "5", ""] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
