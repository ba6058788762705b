//! Cosignatures: every new checkpoint goes to the witnesses of the policy, all at once; what they sign is verified
//! and published. A witness that fails is told of, left alone for a while, and asked again.

use super::{Options, Parts, anchors::Witnessing, run::Newest};
use crate::{
    digest::Digest,
    error::{Error, Result},
    layout::{self, Tile, TileKind},
    remote::{Ask, plain},
    signing,
    store::{self, Put, Store},
    telemetry,
    tlog::{
        Checkpoint,
        cosign::{Cosignature, cosignatures, with_cosignatures},
        proof, tiles,
        witness::{self, Answer},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The part that readiness names for the quorum; one of a witness is called `witness:NAME`.
const PART: &str = "log:witnesses";
/// Requests to one witness for one checkpoint: it says what it has seen, and again if somebody was faster.
const ATTEMPTS: usize = 4;
/// Figures are told at least this often.
const FIGURES: Duration = Duration::from_secs(30);
/// Without a quorum for so long, readiness has a warning.
const PATIENCE: Duration = Duration::from_secs(600);
/// The pause after failures is at most two to this power times the first.
const DOUBLINGS: u32 = 6;
/// Signature lines of a checkpoint that is published, at most: other people's readers accept 16 and more.
const MAX_LINES: usize = 48;

/// What this process knows of one witness.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The size that it has seen last, as far as we know; asking from 0 tells.
    seen: u64,
    /// Failures in a row, and until when it is left alone.
    failures: u32,
    until: Option<Instant>,
}

/// What went wrong with a witness: the outcome for the metric, and words. Without words nothing is wrong with it.
struct Failed {
    outcome: &'static str,
    words: String,
}

impl Failed {
    /// Another instance was faster with a larger checkpoint: ours is of no use to anybody.
    fn overtaken() -> Self {
        Self { outcome: "behind", words: String::new() }
    }
}

/// Asks witnesses, checkpoint by checkpoint.
pub(super) struct Cosigning {
    settings: Witnessing,
    parts: Parts,
    options: Options,
    topic: watch::Sender<Newest>,
    witnesses: BTreeMap<usize, Known>,
    /// The checkpoint that is being cosigned, and what was signed of it.
    current: Option<Checkpoint>,
    signed: BTreeMap<usize, Cosignature>,
    /// How many of these were published.
    published: usize,
    /// When a quorum was there last, or when we began.
    quorum: Instant,
    /// The last one that was kept.
    kept: Option<Instant>,
}

impl Cosigning {
    pub(super) fn new(settings: Witnessing, parts: &Parts, options: &Options, topic: watch::Sender<Newest>) -> Self {
        let witnesses = settings.policy.asked().into_iter().map(|at| (at, Known::default())).collect();
        Self {
            settings,
            parts: parts.clone(),
            options: options.clone(),
            topic,
            witnesses,
            current: None,
            signed: BTreeMap::new(),
            published: 0,
            quorum: Instant::now(),
            kept: None,
        }
    }

    /// Until nobody tells of checkpoints any more; the last one is still sent out.
    pub(super) async fn run(mut self, mut told: watch::Receiver<Option<Checkpoint>>) {
        loop {
            let wake = self.wake();
            tokio::select! {
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // also when the same one was signed again: it was put over the one with cosignatures
                    self.published = 0;
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            let newest = told.borrow_and_update().clone();
            if newest.is_some() && newest != self.current {
                self.current = newest;
                self.signed.clear();
            }
            if let Some(checkpoint) = self.current.clone() {
                self.round(&checkpoint).await;
            }
            self.figures();
        }
    }

    /// When there is something to do although no checkpoint comes: figures, or a witness whose pause is over.
    fn wake(&self) -> Instant {
        let missing = self.witnesses.iter().filter(|(at, _)| self.current.is_some() && !self.signed.contains_key(at));
        let due = missing.filter_map(|(_, known)| known.until).min();
        let figures = Instant::now() + FIGURES;
        due.map_or(figures, |due| due.min(figures))
    }

    /// Asks those who have not signed yet and are not being left alone, all at once. It ends with the slowest, and
    /// that is bounded by the patience of a request; a checkpoint that comes meanwhile is the next round.
    async fn round(&mut self, checkpoint: &Checkpoint) {
        // a signer that is away keeps the log from growing too, and readiness says so
        let Ok(note) = signing::note(&*self.parts.signer, &checkpoint.text()).await else { return };
        let now = Instant::now();
        let mut asked = FuturesUnordered::new();
        for (at, known) in &self.witnesses {
            if !self.signed.contains_key(at) && known.until.is_none_or(|until| until <= now) {
                asked.push(ask(&self.settings, &self.parts, checkpoint, &note, *at, known.seen));
            }
        }
        let mut answers = Vec::new();
        let mut met = self.is_met();
        while let Some((at, seen, answer)) = asked.next().await {
            if let Ok(cosignature) = &answer {
                self.signed.insert(at, cosignature.clone());
            }
            answers.push((at, seen, answer.err()));
            // a quorum is published at once; what comes behind it is published at the end
            if !met && self.settings.policy.is_met(&self.signed.keys().copied().collect()) {
                met = true;
                publish_all(
                    &self.settings,
                    &self.parts,
                    &self.topic,
                    checkpoint,
                    &note,
                    &self.signed,
                    &mut self.published,
                )
                .await;
            }
        }
        drop(asked);
        for (at, seen, failed) in answers {
            self.learn(at, seen, failed, checkpoint);
        }
        publish_all(&self.settings, &self.parts, &self.topic, checkpoint, &note, &self.signed, &mut self.published)
            .await;
        if self.is_met() {
            self.quorum = Instant::now();
            self.keep(checkpoint, &note).await;
        }
    }

    fn is_met(&self) -> bool {
        self.settings.policy.is_met(&self.signed.keys().copied().collect())
    }

    /// Remembers how a witness answered, and says so.
    fn learn(&mut self, at: usize, seen: u64, failed: Option<Failed>, checkpoint: &Checkpoint) {
        let Some(witness) = self.settings.policy.witnesses().get(at) else { return };
        let Some(known) = self.witnesses.get_mut(&at) else { return };
        known.seen = seen;
        let name = witness.name.clone();
        let outcome = failed.as_ref().map_or("cosigned", |failed| failed.outcome);
        metrics::counter!(telemetry::WITNESS_ANSWERS, "witness" => name.clone(), "outcome" => outcome).increment(1);
        let is_overtaken = failed.as_ref().is_some_and(|failed| failed.words.is_empty());
        let word = failed.map(|failed| failed.words);
        match &word {
            None => (known.failures, known.until) = (0, None),
            Some(_) if is_overtaken => known.until = Some(Instant::now() + self.settings.pause),
            Some(_) => {
                let pause = self.settings.pause * 2_u32.pow(known.failures.min(DOUBLINGS));
                known.failures = known.failures.saturating_add(1);
                known.until = Some(Instant::now() + pause);
            }
        }
        if word.is_none() {
            metrics::gauge!(telemetry::WITNESS_SIZE, "witness" => name.clone()).set(checkpoint.size as f64);
        }
        if is_overtaken {
            return;
        }
        if self.parts.health.warn(&format!("witness:{name}"), word.clone()) {
            match word {
                Some(word) => tracing::warn!(witness = name, size = checkpoint.size, "{word}"),
                None => tracing::info!(witness = name, size = checkpoint.size, "the witness cosigns"),
            }
        }
    }

    /// Keeps what a quorum has signed, create-only and locked: the checkpoint itself is replaced with every batch.
    ///
    /// If we crash before: a later one is kept.
    async fn keep(&mut self, checkpoint: &Checkpoint, note: &str) {
        if self.kept.is_some_and(|kept| kept.elapsed() < self.settings.keep) {
            return;
        }
        let all: Vec<Cosignature> = self.signed.values().cloned().collect();
        let note = with_cosignatures(note, &all);
        let retention = self.options.retention.at((self.parts.clock)());
        let key = layout::witnessed_key(checkpoint.size);
        let word = match store::put_new(&*self.parts.store, &key, note.into(), &retention).await {
            // another instance has kept the same with signatures of another second
            Ok(Put::Ours(_) | Put::Taken(_)) => None,
            Ok(Put::Marker) => Some(format!("{key} could not be kept: only a delete marker is left of it")),
            Err(error) => Some(format!("{key} could not be kept: {error}")),
        };
        self.kept = word.is_none().then(Instant::now).or(self.kept);
        if let Some(word) = word {
            tracing::warn!(part = PART, "{word}");
        }
    }

    fn figures(&self) {
        let age = if self.current.is_some() && self.is_met() { Duration::ZERO } else { self.quorum.elapsed() };
        metrics::gauge!(telemetry::LOG_WITNESSED_AGE).set(age.as_secs_f64());
        for (at, known) in &self.witnesses {
            if let Some(witness) = self.settings.policy.witnesses().get(*at).filter(|_| known.seen > 0) {
                metrics::gauge!(telemetry::WITNESS_SIZE, "witness" => witness.name.clone()).set(known.seen as f64);
            }
        }
        let word = (age > PATIENCE).then(|| {
            "no quorum of witnesses has cosigned a checkpoint for 10 minutes; sealing and the log go on without".into()
        });
        if self.parts.health.warn(PART, word.clone())
            && let Some(word) = word
        {
            tracing::warn!(part = PART, "{word}");
        }
    }
}

/// Publishes a checkpoint with what was signed so far, if that is more than before.
async fn publish_all(
    settings: &Witnessing,
    parts: &Parts,
    topic: &watch::Sender<Newest>,
    checkpoint: &Checkpoint,
    note: &str,
    signed: &BTreeMap<usize, Cosignature>,
    published: &mut usize,
) {
    if signed.len() <= *published {
        return;
    }
    let all: Vec<Cosignature> = signed.values().cloned().collect();
    match publish(settings, parts, checkpoint, note, &all).await {
        Ok(note) => {
            *published = all.len();
            // a newer one that still waits for the broker is worth more
            topic.send_if_modified(|newest| {
                let is_old = newest.as_ref().is_some_and(|(size, _)| *size > checkpoint.size);
                if !is_old {
                    *newest = Some((checkpoint.size, note));
                }
                !is_old
            });
        }
        Err(error) => tracing::warn!(part = PART, "the cosigned checkpoint could not be published: {error}"),
    }
}

/// Puts the cosigned checkpoint where the one lies that it is: what others have added stays. One of another size is
/// left alone. Returns the note as it is now.
async fn publish(
    settings: &Witnessing,
    parts: &Parts,
    checkpoint: &Checkpoint,
    note: &str,
    signed: &[Cosignature],
) -> Result<String> {
    let there = parts.store.read_newest(layout::CHECKPOINT).await?;
    let there = there.and_then(|stored| String::from_utf8(stored.bytes.to_vec()).ok());
    let opened = there.and_then(|there| {
        let opened = Checkpoint::open(there.as_bytes(), &parts.keys, &checkpoint.origin).ok()?;
        Some((opened, there))
    });
    let base = match opened {
        Some((opened, there)) if opened == *checkpoint => {
            // what another instance has published is kept if all of it is good
            let witnesses = settings.policy.witnesses().iter().map(|witness| &witness.key);
            let is_good = cosignatures(there.as_bytes(), witnesses).is_ok();
            if is_good && there.lines().count() + signed.len() <= MAX_LINES { there } else { note.to_owned() }
        }
        Some((opened, _)) if opened.size > checkpoint.size => return Ok(with_cosignatures(note, signed)),
        // an older one, or nothing that can be read: the loop mends it, and what we have is true
        _ => note.to_owned(),
    };
    let whole = with_cosignatures(&base, signed);
    parts.store.replace(layout::CHECKPOINT, whole.clone().into()).await?;
    Ok(whole)
}

/// Asks one witness, from what it is thought to have seen; it says if that is not so. With its place, what it has
/// seen now, and its cosignature.
async fn ask(
    settings: &Witnessing,
    parts: &Parts,
    checkpoint: &Checkpoint,
    note: &str,
    at: usize,
    seen: u64,
) -> (usize, u64, Result<Cosignature, Failed>) {
    let mut old = if seen > checkpoint.size { 0 } else { seen };
    let mut tried = BTreeSet::new();
    for _ in 0..ATTEMPTS {
        tried.insert(old);
        match ask_once(settings, parts, checkpoint, note, at, old).await {
            Ok(Ok(cosignature)) => return (at, checkpoint.size, Ok(cosignature)),
            Err(failed) => return (at, old, Err(failed)),
            Ok(Err(0)) if old == 0 => {
                let words = "says that it has seen nothing, and does not take the first checkpoint".into();
                return (at, old, Err(Failed { outcome: "invalid", words }));
            }
            Ok(Err(other)) if other == old => {
                let words = format!(
                    "has cosigned another log of {other} entries than this one: it was rewritten, or somebody with its \
                     key shows another one; keep both, and run authseal verify"
                );
                return (at, old, Err(Failed { outcome: "refused", words }));
            }
            Ok(Err(other)) if other > checkpoint.size => {
                if in_store(parts, &checkpoint.origin).await.is_some_and(|there| there >= other) {
                    return (at, other, Err(Failed::overtaken()));
                }
                let words = format!(
                    "has cosigned a log of {other} entries, and the one in this store has {}: the newest batches were \
                     removed, or somebody else has its key",
                    checkpoint.size
                );
                return (at, other, Err(Failed { outcome: "behind", words }));
            }
            Ok(Err(other)) if tried.contains(&other) => {
                let words = format!("says that it has seen {other} entries, and then that it has not");
                return (at, old, Err(Failed { outcome: "invalid", words }));
            }
            Ok(Err(other)) => old = other,
        }
    }
    let words = "says each time that it has seen another size: somebody else asks it at the same time".into();
    (at, old, Err(Failed { outcome: "failed", words }))
}

/// The size of the checkpoint in the store now, if it can be read.
async fn in_store(parts: &Parts, origin: &str) -> Option<u64> {
    let stored = parts.store.read_newest(layout::CHECKPOINT).await.ok()??;
    Checkpoint::open(&stored.bytes, &parts.keys, origin).ok().map(|checkpoint| checkpoint.size)
}

/// One request. The inner error: it has seen a log of this size instead.
async fn ask_once(
    settings: &Witnessing,
    parts: &Parts,
    checkpoint: &Checkpoint,
    note: &str,
    at: usize,
    old: u64,
) -> Result<Result<Cosignature, u64>, Failed> {
    let failed = |outcome, words: String| Failed { outcome, words };
    let Some(named) = settings.policy.witnesses().get(at) else {
        return Err(failed("failed", "is not in the policy".into()));
    };
    let proof = prove(&*parts.store, old, checkpoint).await;
    let proof = proof.map_err(|error| failed("failed", format!("is not asked: {error}")))?;
    let url = format!("{}/add-checkpoint", named.url.as_deref().unwrap_or_default());
    let body = witness::request(old, &proof, note).into_bytes();
    let ask = Ask { url, content_type: "text/plain; charset=utf-8", body, at_most: witness::MAX_ANSWER };
    let told =
        settings.remote.post(ask).await.map_err(|error| failed("failed", format!("does not answer: {error}")))?;
    let said = || match plain(String::from_utf8_lossy(&told.body).trim()) {
        nothing if nothing.is_empty() => String::new(),
        words => format!(": {words}"),
    };
    match witness::read(told.status, &told.body) {
        Answer::Lines => match named.key.find(&checkpoint.text(), &told.body) {
            Ok(cosignature) => Ok(Ok(cosignature)),
            Err(words) => Err(failed("invalid", words)),
        },
        Answer::Seen(size) => Ok(Err(size)),
        Answer::UnknownLog => {
            let words = format!("refuses: it does not know the log {}; ask its operator to add it", checkpoint.origin);
            Err(failed("refused", words + said().as_str()))
        }
        Answer::UnknownKey => {
            let key = parts.signer.verifier_key();
            let words = format!("refuses: it does not know the key of this log; give its operator {key}");
            Err(failed("refused", words + said().as_str()))
        }
        Answer::NoProof => {
            let words = format!(
                "refuses: the {} entries that it has seen are not the beginning of this log, or tiles in the store are \
                 broken; run authseal verify",
                old
            );
            Err(failed("refused", words + said().as_str()))
        }
        Answer::Later => Err(failed("failed", format!("answers {}{}", told.status, said()))),
        Answer::Odd => {
            Err(failed("invalid", format!("answers {}, which is no answer of a witness{}", told.status, said())))
        }
    }
}

/// The proof that the log goes on from `old`, from the tiles in the store. Nothing is to be proven from 0, nor from
/// the checkpoint itself.
async fn prove(store: &dyn Store, old: u64, checkpoint: &Checkpoint) -> Result<Vec<Digest>> {
    if old == 0 || old >= checkpoint.size {
        return Ok(Vec::new());
    }
    let mut read: BTreeMap<(u8, u64), Vec<Digest>> = BTreeMap::new();
    for tile in witness::tiles(old, checkpoint.size) {
        let TileKind::Hashes(level) = tile.kind else { continue };
        let full = Tile::full(tile.kind, tile.index);
        let mut hashes = None;
        // a log that has grown since may have the full one alone
        for candidate in [tile, full] {
            if let Some(stored) = store.read_oldest(&layout::tile_key(&candidate)).await? {
                hashes = tiles::hashes(&stored.bytes);
                break;
            }
        }
        let missing = || Error::tampered(format!("{} is not there, or is no tile", layout::tile_key(&tile)));
        read.insert((level, tile.index), hashes.ok_or_else(missing)?);
    }
    let hashes = |level: u8, index: u64| {
        let tile = read.get(&(level, index / 256))?;
        tile.get(usize::try_from(index % 256).ok()?).copied()
    };
    let proof = proof::consistency(&hashes, old, checkpoint.size);
    proof.ok_or_else(|| Error::tampered("a tile of the log holds fewer hashes than it should"))
}
