//! One segment on its way into the store: finish, describe, recheck, sign, put, and judge who won.

use super::{
    clock::ClockWatch,
    last_sealed::LastSealed,
    options::{Clock, Options, RetentionPolicy, SealOptions},
    plan::{self, Rival},
    status::Status,
};
use crate::{
    chain::Head,
    digest::Digest,
    error::{Error, Kind, Result},
    layout,
    manifest::*,
    note::Verifiers,
    position::ChainId,
    segment::{self, Draft, Sealed, SegmentBuilder, Unsigned},
    signing::{self, Sign},
    store::{self, Put, ReceiptKind, Store},
    telemetry,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// Pauses between attempts: they double from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What every sealing task needs.
pub struct Sealer {
    /// Where segments go.
    pub store: Arc<dyn Store>,
    /// Signs manifests.
    pub signer: Arc<dyn Sign>,
    /// Keys whose segments are adopted.
    pub verifiers: Arc<Verifiers>,
    /// Wall clock.
    pub clock: Clock,
    /// As in store.json.
    pub origin: String,
    /// Who seals.
    pub writer: Writer,
    /// How to lock.
    pub retention: RetentionPolicy,
    /// How to write.
    pub options: SealOptions,
    /// Bounds the segments sealed at the same time.
    pub permits: Arc<Semaphore>,
    /// Whether the wall clock can be believed: nothing is sealed while it cannot.
    pub watch: ClockWatch,
    /// Told what goes wrong.
    pub status: Arc<Status>,
}

/// A segment to seal.
pub struct Job {
    /// Which chain.
    pub chain: Arc<ChainId>,
    /// Its head.
    pub head: Option<Head>,
    /// Its leaves; empty for a heartbeat.
    pub builder: SegmentBuilder,
    /// What the broker says.
    pub broker: Broker,
    /// With what its records were judged and decoded.
    pub names: Artifacts,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// It lies in the store.
    Sealed {
        /// The new head.
        head: Head,
        /// The manifest, for those who watch.
        manifest: Box<Manifest>,
        /// Length of the object.
        bytes: usize,
        /// Whether an earlier attempt had landed without our knowing.
        receipt: ReceiptKind,
    },
    /// Another writer had sealed its own segment there: it is the head now, and ours is void. With its last record.
    Adopted(Head, Option<LastSealed>),
    /// The partition must stop.
    Stop(Error),
}

impl Sealer {
    /// Seals into `store` with these settings, and tells `status` what goes wrong.
    pub fn new(
        store: Arc<dyn Store>,
        signer: Arc<dyn Sign>,
        verifiers: Arc<Verifiers>,
        clock: Clock,
        options: &Options,
        status: Arc<Status>,
    ) -> Self {
        Self {
            watch: ClockWatch::new(clock.clone(), store.clone(), status.clone()),
            store,
            signer,
            verifiers,
            clock,
            origin: options.origin.clone(),
            writer: Writer { version: env!("CARGO_PKG_VERSION").into(), instance: options.instance.clone() },
            retention: options.retention,
            options: options.seal.clone(),
            permits: Arc::new(Semaphore::new(options.seal.parallel)),
            status,
        }
    }

    /// Seals a segment. Ends only when it is known what lies at its key: a store that is down is waited for.
    ///
    /// If we crash here: before the put, nothing happened and the records are read again; after it, the next start
    /// finds the segment as the head of the chain.
    pub async fn seal(self: &Arc<Self>, job: Job) -> Outcome {
        let Ok(_permit) = self.permits.acquire().await else {
            return Outcome::Stop(Error::bug("the sealer was closed"));
        };
        let now = self.watch.now().await;
        // a topic that was created again while we read it: nothing of it belongs into this chain
        if let Some(Err(error)) = job.head.as_ref().map(|head| plan::check_same_topic(head, &job.broker)) {
            return Outcome::Stop(error);
        }
        let (chain, head) = (job.chain.clone(), job.head.clone());
        let this = self.clone();
        let began = Instant::now();
        let sealed = match blocking(&chain, move || this.build(job, now)).await {
            Ok(unsigned) => self.sign(&chain, unsigned).await,
            Err(error) => Err(error),
        };
        match sealed {
            Ok(sealed) => {
                metrics::histogram!(telemetry::SEAL_SECONDS).record(began.elapsed().as_secs_f64());
                self.put(&chain, head.as_ref(), sealed).await
            }
            Err(error) => Outcome::Stop(error.context(format!("sealing chain {chain}"))),
        }
    }

    /// Signs. A signer that is slow, away or wrong is waited for, as a store is: nothing advances meanwhile, and the
    /// part `signer` says what is wrong.
    ///
    /// If we crash here: nothing happened, and the records are read again.
    async fn sign(&self, chain: &ChainId, unsigned: Unsigned) -> Result<Sealed> {
        let mut pause = BACKOFF.0;
        loop {
            match signing::note(&*self.signer, unsigned.line()).await {
                Ok(note) => {
                    self.status.ok("signer");
                    let keys = signing::verifiers(&*self.signer)?;
                    return blocking(chain, move || unsigned.finish(&note, &keys)).await;
                }
                Err(error) if matches!(error.kind(), Kind::Retry | Kind::Config) => {
                    self.status.fail("signer", error.context(format!("signing for chain {chain}")).to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn build(&self, job: Job, now: i64) -> Result<Unsigned> {
        let Job { chain, head, builder, broker, names } = job;
        let draft = builder.finish()?;
        let start = head.is_none().then(|| Start { reason: StartReason::New, detail: String::new(), previous: None });
        let described = self.describe(&chain, head.as_ref(), start, &draft, broker, now);
        let manifest = Manifest { artifacts: names, ..described };
        // a successor that our own rules would refuse must never be signed
        crate::chain::follows(&self.origin, &chain, head.as_ref(), &manifest)
            .map_err(|fault| Error::bug(format!("the new manifest does not follow its head: {}", fault.detail)))?;
        segment::prepare(draft, manifest, self.signer.name())
    }

    /// The manifest of a segment behind `head`, or with `start` of the first one of its chain.
    pub(super) fn describe(
        &self,
        chain: &ChainId,
        head: Option<&Head>,
        start: Option<Start>,
        draft: &Draft,
        broker: Broker,
        now: i64,
    ) -> Manifest {
        let sealed = head.map_or(now, |h| now.max(h.times.sealed + 1));
        Manifest {
            format: FORMAT.to_string(),
            origin: self.origin.clone(),
            chain: chain.clone(),
            sequence: head.map_or(0, |h| h.sequence + 1),
            previous: head.map(|h| h.hash),
            start,
            kind: if draft.offsets.from == draft.offsets.to { SegmentKind::Heartbeat } else { SegmentKind::Data },
            offsets: draft.offsets,
            counts: draft.counts,
            root: draft.root,
            body: Body { bytes: draft.body.len() as i64, sha256: Digest::of(&draft.body) },
            schema: segment::schema_digest(),
            times: Times { sealed, ..draft.times },
            next_by: sealed + (self.options.heartbeat + self.options.grace).as_millis() as i64,
            broker,
            artifacts: Artifacts { rules: None, decode: None },
            writer: self.writer.clone(),
            retention: self.options.classes.get(&chain.topic).unwrap_or(&self.retention).at(sealed),
            index: None,
        }
    }

    /// Puts until it is known whose bytes lie at the key. At most one put per chain is under way: the caller sees to
    /// it.
    async fn put(&self, chain: &ChainId, head: Option<&Head>, sealed: Sealed) -> Outcome {
        let key = layout::segment_key(chain, sealed.manifest.sequence);
        let mut pause = BACKOFF.0;
        let began = Instant::now();
        loop {
            let put = store::put_new(&*self.store, &key, sealed.bytes.clone(), &sealed.manifest.retention).await;
            match put {
                Ok(Put::Ours(receipt)) => {
                    self.status.ok("store");
                    metrics::histogram!(telemetry::PUT_SECONDS).record(began.elapsed().as_secs_f64());
                    return Outcome::Sealed {
                        head: Head::of_sealed(&sealed),
                        bytes: sealed.bytes.len(),
                        manifest: Box::new(sealed.manifest),
                        receipt: receipt.kind(),
                    };
                }
                Ok(Put::Taken(stored)) => {
                    self.status.ok("store");
                    return match plan::judge_rival(&stored.bytes, &self.verifiers, &self.origin, chain, head, &key) {
                        Rival::Adopt(opened) => match LastSealed::of_segment(&stored.bytes) {
                            Ok(last) => Outcome::Adopted(Head::of_opened(&opened), last),
                            Err(fault) => Outcome::Stop(Error::bug(format!("{key}: {}", fault.detail))),
                        },
                        Rival::Foreign(error) => Outcome::Stop(error),
                    };
                }
                Ok(Put::Marker) => {
                    return Outcome::Stop(Error::tampered(format!(
                        "{key} was to hold the next segment of chain {chain}, but a delete marker lies there and no \
                             version: \
                         somebody deleted it. Partition stopped; the others run on"
                    )));
                }
                Err(error) if matches!(error.kind(), Kind::Retry | Kind::Config) => {
                    // forbidden today may be allowed tomorrow, when somebody has mended the policy: nothing advances
                    // meanwhile
                    let reason = if error.is_retry() { "retry" } else { "config" };
                    metrics::counter!(telemetry::PUT_RETRIES, "reason" => reason).increment(1);
                    self.status.fail("store", error.context(format!("putting {key}")).to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(error) => return Outcome::Stop(error.context(format!("putting {key}"))),
            }
        }
    }
}

/// Runs what takes time where it may.
async fn blocking<T: Send + 'static>(chain: &ChainId, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(Error::bug(format!("sealing chain {chain} panicked")).caused_by(panic)))
}
