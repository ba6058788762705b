//! What ends a chain for good, until a person has looked at it.

use super::{
    schedule::Stage,
    sim::{PARTITIONS, TOPIC, World},
};
use authseal::{
    ingest::plan::CommitNote,
    layout,
    manifest::{Manifest, SegmentKind, Times},
    note::Verifiers,
    segment::{self, Codec, SegmentBuilder},
    store::Store,
};
use bytes::Bytes;

/// What ends a chain for good, until a person has looked at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The topic is created again under its name.
    Recreated,
    /// An unclean election cut off what was sealed already.
    Truncated,
    /// Somebody's bytes lie at the key of the next segment.
    Foreign,
    /// An older segment of the chain, with a good signature, lies at the key of the next one.
    Misplaced,
    /// A delete marker lies at the key of the next segment, and no version.
    Removed,
    /// The store lost its newest segment.
    RolledBack,
    /// The same, and all others.
    Lost,
    /// The store lost its newest segment, and another one with a good signature lies there now.
    Replaced,
    /// An unclean election cut off what was sealed already, and the log has grown past its old end since.
    Regrown,
    /// The same, and where the last sealed record was there is nothing.
    RegrownHollow,
}

impl End {
    pub const ALL: [Self; 10] = [
        Self::Recreated,
        Self::Truncated,
        Self::Foreign,
        Self::Misplaced,
        Self::Removed,
        Self::RolledBack,
        Self::Lost,
        Self::Replaced,
        Self::Regrown,
        Self::RegrownHollow,
    ];

    /// Whether it comes to pass while processes seal.
    pub fn needs_eyes(self) -> bool {
        matches!(self, Self::Foreign | Self::Misplaced)
    }

    /// Whether nothing more may be written to the partition, or the log would have what it had before.
    pub fn is_quiet(self) -> bool {
        matches!(self, Self::Truncated | Self::Regrown | Self::RegrownHollow)
    }

    /// What the partition must say when it stops.
    pub fn says(self) -> &'static [&'static str] {
        match self {
            Self::Recreated => &["another topic", "source_truncated"],
            Self::Truncated | Self::Regrown | Self::RegrownHollow => &["source_truncated"],
            Self::Foreign | Self::Misplaced => &["do not continue the chain", "not a valid segment", "does not belong"],
            Self::Removed => &["delete marker"],
            Self::RolledBack | Self::Lost | Self::Replaced => &["store_rolled_back"],
        }
    }
}

impl Stage {
    /// The keys of the segments of a partition, in order.
    pub fn segments(&self, n: i32) -> Vec<String> {
        let of = |key: &String| layout::parse_segment_key(key).is_some_and(|(chain, _)| chain.partition == n as u32);
        self.world.store.keys().into_iter().filter(of).collect()
    }

    /// Ends the chain of partition 0, which has segments and is sealed to its end.
    pub async fn end(&mut self, end: End) {
        self.tally.count(format!("end: {end:?}"));
        let (world, segments) = (&self.world, self.segments(0));
        let newest = segments.last().expect("the chain has segments").clone();
        let (mut chain, sequence) = layout::parse_segment_key(&newest).unwrap();
        chain.incarnation = 0;
        let next = layout::segment_key(&chain, sequence + 1);
        if matches!(end, End::Foreign | End::Misplaced | End::Removed) {
            self.foreign = Some(next.clone());
        }
        match end {
            End::Recreated => world.cluster.topic(TOPIC, PARTITIONS),
            End::Truncated => {
                let partition = world.partition(0);
                let cut = 1 + self.random.below(3) as i64;
                let to = (world.end(0) - cut).max(0);
                world.cluster.lose_tail(&partition, to);
            }
            End::Foreign => world.store.shadow(&next, "not a segment"),
            End::Misplaced => {
                let older = &segments[self.random.below(segments.len() as u64) as usize];
                let stored = world.store.fork().read_oldest(older).await.unwrap().unwrap();
                world.store.shadow(&next, stored.bytes);
            }
            End::Removed => world.store.mark_deleted(&next),
            End::RolledBack => {
                let committed = world.cluster.committed(&world.partition(0)).expect("all was committed");
                let note = CommitNote::decode(&committed.metadata).expect("with its note");
                segments.iter().skip(note.sequence as usize).for_each(|key| world.store.remove(key));
            }
            End::Lost => segments.iter().for_each(|key| world.store.remove(key)),
            End::Replaced => {
                // by somebody who has the key: another writer's, sealed at another time
                let stored = world.store.fork().read_oldest(&newest).await.unwrap().unwrap();
                world.store.remove(&newest);
                world.store.shadow(&newest, resealed(world, &stored.bytes));
            }
            End::Regrown | End::RegrownHollow => self.regrow(end == End::RegrownHollow, &newest).await,
        }
    }

    /// The log of partition 0 is cut off before the end of what is sealed, and grows past its old end with other
    /// records. `hollow`: with none where the last one was, in a topic that should have no holes.
    async fn regrow(&mut self, hollow: bool, newest: &str) {
        self.end_transactions(true);
        let stored = self.world.store.fork().read_oldest(newest).await.unwrap().unwrap();
        let sealed = segment::open(&stored.bytes, &Verifiers::of(&self.world.signer)).unwrap().manifest.offsets;
        let (partition, end) = (self.world.partition(0), self.world.end(0));
        let last = self.journal.range((0, 0)..(0, sealed.to)).next_back().map(|((_, offset), _)| *offset);
        let to = sealed.to - 1 - self.random.below(12.min(sealed.to as u64)) as i64;
        self.world.cluster.lose_tail(&partition, to);
        self.world.gaps_expected &= !hollow;
        while self.world.end(0) < end + 1 + self.random.below(12) as i64 {
            match self.world.end(0) {
                at if hollow && Some(at) == last => self.world.cluster.hole(&partition, 1),
                _ => self.world.produce(&mut self.random, 0),
            }
        }
    }
}

/// Another segment at the place of this one, signed with the same key: without records, and sealed later.
fn resealed(world: &World, bytes: &[u8]) -> Bytes {
    let opened = segment::open(bytes, &Verifiers::of(&world.signer)).unwrap().manifest;
    let draft = SegmentBuilder::new(opened.offsets.from, Codec::Null, 0).finish().unwrap();
    let manifest = Manifest {
        kind: SegmentKind::Heartbeat,
        offsets: draft.offsets,
        counts: draft.counts,
        root: draft.root,
        body: draft.body(),
        times: Times { sealed: opened.times.sealed + 1, ..draft.times },
        ..opened
    };
    segment::seal(draft, manifest, &world.signer).unwrap().bytes
}
