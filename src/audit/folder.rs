//! The folder of one chain: its objects are listed, read some ahead, checked on threads that may block, and handed to
//! the walk in order.

use super::{
    examine::{Examined, Look, examine},
    inventory::PAGE,
    key_rules::Rules,
    read::{Locked, Read, Reader},
    walk::{Object, Walker},
};
use crate::{
    error::{Error, Result},
    layout, note,
    position::ChainId,
    retention::LockMode,
    segment::Opened,
    store::{Entry, Stored},
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

/// The folder of one chain.
pub(super) struct Folder {
    pub(super) reader: Arc<Reader>,
    pub(super) keys: Arc<note::Verifiers>,
    pub(super) chain: ChainId,
    /// Whether a lock is required, whatever is promised.
    pub(super) locked: bool,
    /// What the log says of the chain.
    pub(super) rules: Option<Rules>,
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
    pub(super) async fn walk(self: Arc<Self>, mut walker: Walker, jobs: usize) -> Result<Walker> {
        let fetch = {
            let folder = Arc::clone(&self);
            // spawned, because each holds a permit: one that nobody polls would hold it against all others
            move |entry| Spawned(tokio::spawn(Arc::clone(&folder).fetch(entry)))
        };
        let mut objects = pin!(Arc::clone(&self).entries(walker.expects()).map_ok(fetch).try_buffered(jobs));
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

    /// What lies in the folder from segment `from` on.
    fn entries(self: Arc<Self>, from: u64) -> impl Stream<Item = Result<Entry>> + Send {
        let after = from.checked_sub(1).map(|before| layout::segment_key(&self.chain, before));
        stream::try_unfold((self, after), |(folder, after)| async move {
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
                *examined = Examined { lock: examined.lock, ..closer };
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

    /// The first segment that was not sealed before `time` (milliseconds since 1970), by bisection: about two requests
    /// for each doubling of the chain. One that is not there, or cannot be trusted, counts as sealed later, so that it
    /// is looked at.
    pub(super) async fn cut(&self, time: i64) -> Result<u64> {
        let prefix = layout::chain_prefix(&self.chain);
        let mut beyond = 1_u64;
        while beyond < layout::MAX_SEQUENCE / 2 {
            let after = layout::segment_key(&self.chain, beyond - 1);
            let next = self.reader.list(&prefix, Some(&after), 1).await?;
            if !next.iter().any(|entry| layout::parse_segment_key(&entry.key).is_some()) {
                break;
            }
            beyond *= 2;
        }
        let (mut from, mut to) = (0, beyond);
        while from < to {
            let middle = from.midpoint(to);
            if self.sealed_before(middle, time).await? { from = middle + 1 } else { to = middle }
        }
        Ok(from)
    }

    async fn sealed_before(&self, sequence: u64, time: i64) -> Result<bool> {
        let key = layout::segment_key(&self.chain, sequence);
        let room = self.reader.room().await?;
        let Read::Found(stored) = self.reader.read(&key).await? else { return Ok(false) };
        let examined = self.examine(&key, stored, Look::Once, room).await?;
        let sealed = examined.trusted.as_ref().filter(|_| self.is_sealed(&examined, sequence));
        Ok(sealed.is_some_and(|opened| opened.manifest.times.sealed < time))
    }

    /// Whether it is a good segment of this place.
    fn is_sealed(&self, examined: &Examined, sequence: u64) -> bool {
        let here = |opened: &Opened| opened.manifest.chain == self.chain && opened.manifest.sequence == sequence;
        examined.faults.is_empty() && examined.trusted.as_ref().is_some_and(here)
    }

    /// The oldest version is not what was sealed: looks for it among those above. A multipart upload that was begun
    /// before our put ends below it.
    async fn above(&self, key: &str, sequence: u64) -> Result<Option<(Examined, Locked)>> {
        for version in self.reader.newer_versions(key).await? {
            let room = self.reader.room().await?;
            let Read::Found(stored) = self.reader.read_version(key, &version).await? else { continue };
            let locked = Locked::of(&stored);
            let examined = self.examine(key, stored, Look::Once, room).await?;
            if self.is_sealed(&examined, sequence) {
                return Ok(Some((Examined { above: Some(version), ..examined }, locked)));
            }
        }
        Ok(None)
    }

    /// Reads one object and checks it by itself.
    async fn fetch(self: Arc<Self>, entry: Entry) -> Result<Fetched> {
        let place = layout::parse_segment_key(&entry.key).filter(|(chain, _)| *chain == self.chain);
        let Some((_, sequence)) = place else { return Ok((entry, None, Object::Unexpected)) };
        if entry.versions == 0 {
            return Ok((entry, Some(sequence), Object::Absent));
        }
        let room = self.reader.room().await?;
        let object = match self.reader.read_listed(&entry).await? {
            Read::Absent => Object::Absent,
            Read::Unreadable(error) => Object::Unreadable(error),
            Read::Found(stored) => {
                let mut locked = Locked::of(&stored);
                let mut examined = self.examine(&entry.key, stored, Look::Once, room).await?;
                if entry.versions > 1
                    && !self.is_sealed(&examined, sequence)
                    && let Some((better, of_it)) = self.above(&entry.key, sequence).await?
                {
                    (examined, locked) = (better, of_it);
                }
                if let Some(opened) = &examined.trusted {
                    let needed = self.locked || opened.manifest.retention.mode != LockMode::None;
                    examined.lock = self.reader.lock(&entry.key, &locked, needed).await;
                    let held = self.rules.as_ref().and_then(|rules| rules.held(opened.manifest.offsets));
                    if held.is_some() {
                        examined.lock.hold = self.reader.hold(&entry.key, &locked, examined.lock.hold).await;
                    }
                    self.reader.progress.records.fetch_add(opened.manifest.counts.records.max(0) as u64, Relaxed);
                }
                Object::Segment(Box::new(examined))
            }
        };
        Ok((entry, Some(sequence), object))
    }
}
