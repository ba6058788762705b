//! Stamps: now and then a checkpoint goes to a time-stamp authority, and its answer, verified, into the store
//! beside the bytes that were stamped. All instances look at what is there first, so that they take turns without
//! knowing it.

use super::{Options, Parts, anchors::Stamping};
use crate::{
    error::{Error, Kind, Result},
    layout,
    remote::{Ask, plain},
    store::{self, Put},
    telemetry,
    tlog::{
        Checkpoint,
        stamp::{self, Stamp},
    },
};
use bytes::Bytes;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// The part that readiness names.
const PART: &str = "log:stamps";
/// Whether a stamp is due is looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// Keys asked for at once.
const PAGE: usize = 1000;
/// The pause after a failure: it doubles from the one to the other.
const PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(960));

/// Has checkpoints stamped.
pub(super) struct Stamper {
    settings: Stamping,
    parts: Parts,
    options: Options,
    /// The newest key below `log/stamps/` that was seen.
    seen: Option<String>,
    /// Size and time (milliseconds since 1970) of the newest stamp in the store.
    newest: Option<(u64, i64)>,
    began: Instant,
    until: Option<Instant>,
    pause: Duration,
}

impl Stamper {
    pub(super) fn new(settings: Stamping, parts: &Parts, options: &Options) -> Self {
        Self {
            settings,
            parts: parts.clone(),
            options: options.clone(),
            seen: None,
            newest: None,
            began: Instant::now(),
            until: None,
            pause: PAUSE.0,
        }
    }

    /// Until nobody tells of checkpoints any more.
    pub(super) async fn run(mut self, mut told: watch::Receiver<Option<Checkpoint>>) {
        if told.changed().await.is_err() {
            return;
        }
        loop {
            let now = Instant::now();
            if self.until.is_none_or(|until| until <= now) {
                let result = self.turn().await;
                self.tell(&result);
            }
            self.figures();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Has the newest checkpoint stamped, if that is due. Whether it was.
    ///
    /// If we crash here: a stamp that was given and not stored is lost, and another is asked for. A checkpoint that
    /// lies there without its stamp is a true one, and no more.
    pub(super) async fn turn(&mut self) -> Result<bool> {
        self.look().await?;
        let now = (self.parts.clock)();
        let every = i64::try_from(self.settings.every.as_millis()).unwrap_or(i64::MAX);
        if self.newest.is_some_and(|(_, time)| now < time.saturating_add(every)) {
            return Ok(false);
        }
        let Some(stored) = self.parts.store.read_newest(layout::CHECKPOINT).await? else { return Ok(false) };
        let note = stored.bytes;
        let tampered = |fault| Error::tampered(format!("{}: {fault}", layout::CHECKPOINT));
        let checkpoint = Checkpoint::open(&note, &self.parts.keys, &self.options.origin).map_err(tampered)?;
        if self.newest.is_some_and(|(size, _)| checkpoint.size <= size) {
            return Ok(false);
        }
        let (answer, time) = self.ask(&note).await?;
        let retention = self.options.retention.at(now);
        let key = layout::stamped_key(checkpoint.size);
        // first what was stamped: the stamp alone would say nothing
        match store::put_new(&*self.parts.store, &key, note, &retention).await? {
            Put::Ours(_) => {}
            // another instance is stamping the same size, with cosignatures of its own: its stamp is as good
            Put::Taken(_) => return Ok(false),
            Put::Marker => return Err(Error::tampered(format!("only a delete marker is left of {key}"))),
        }
        let key = layout::stamp_key(checkpoint.size);
        match store::put_new(&*self.parts.store, &key, answer, &retention).await? {
            Put::Ours(_) | Put::Taken(_) => {}
            Put::Marker => return Err(Error::tampered(format!("only a delete marker is left of {key}"))),
        }
        self.newest = Some((checkpoint.size, time));
        tracing::info!(size = checkpoint.size, url = self.settings.url, "the checkpoint is stamped");
        Ok(true)
    }

    /// Looks which stamps are there, past those that were seen.
    async fn look(&mut self) -> Result<()> {
        let mut last = None;
        loop {
            let page = self.parts.store.list(layout::STAMPS, self.seen.as_deref(), PAGE).await?;
            for entry in &page {
                if let Some((size, true)) = layout::parse_stamp_key(&entry.key).filter(|_| entry.versions > 0) {
                    last = Some(size);
                }
            }
            if let Some(entry) = page.last() {
                self.seen = Some(entry.key.clone());
            }
            if page.len() < PAGE {
                break;
            }
        }
        let Some(size) = last else { return Ok(()) };
        let note = self.parts.store.read_oldest(&layout::stamped_key(size)).await?;
        let answer = self.parts.store.read_oldest(&layout::stamp_key(size)).await?;
        if let (Some(note), Some(answer)) = (note, answer)
            && let Ok(stamp) = Stamp::open(&note.bytes, &answer.bytes)
        {
            self.newest = Some((size, stamp.time()));
        }
        Ok(())
    }

    /// Asks for a stamp, and verifies it as an auditor would.
    async fn ask(&self, note: &Bytes) -> Result<(Bytes, i64)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| Error::retry(format!("no random numbers for a nonce: {e}")))?;
        let nonce = u64::from_be_bytes(random);
        let url = self.settings.url.clone();
        let body = stamp::request(note, nonce)?;
        let ask = Ask { url: url.clone(), content_type: "application/timestamp-query", body, at_most: stamp::MAX };
        let told = self.settings.remote.post(ask).await?;
        if told.status != 200 {
            let words = plain(String::from_utf8_lossy(&told.body).trim());
            return Err(Error::retry(format!("{url} answers {}: {words}", told.status)));
        }
        // what it gave is of no use to an auditor either: a person must look at it
        let refused = |what: String| Error::config(format!("{url}: {what}"));
        let stamp = Stamp::open(note, &told.body).map_err(|fault| refused(fault.to_string()))?;
        if !stamp.answers(nonce) {
            return Err(refused("it answers another request than ours: the nonce is another".into()));
        }
        let stamped = stamp.verify(&self.settings.authorities).map_err(|fault| refused(fault.to_string()))?;
        Ok((told.body, stamped.time))
    }

    fn tell(&mut self, result: &Result<bool>) {
        let outcome = match result {
            Ok(false) => None,
            Ok(true) => Some("stored"),
            Err(error) if error.kind() == Kind::Retry => Some("failed"),
            Err(_) => Some("refused"),
        };
        if let Some(outcome) = outcome {
            metrics::counter!(telemetry::STAMPS, "outcome" => outcome).increment(1);
        }
        match result {
            Ok(_) => (self.until, self.pause) = (None, PAUSE.0),
            Err(_) => {
                self.until = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE.1);
            }
        }
        let word = result.as_ref().err().map(|error| format!("checkpoints are not stamped: {error}"));
        if self.parts.health.warn(PART, word.clone())
            && let Some(word) = word
        {
            tracing::warn!(part = PART, "{word}");
        }
    }

    fn figures(&self) {
        let age = match self.newest {
            Some((_, time)) => Duration::from_millis((self.parts.clock)().saturating_sub(time).max(0).unsigned_abs()),
            None => self.began.elapsed(),
        };
        metrics::gauge!(telemetry::STAMP_AGE).set(age.as_secs_f64());
    }
}
