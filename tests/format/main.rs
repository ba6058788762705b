//! Format @1: the golden store, which must open for ever, and the worked example of docs/format.md.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

use authseal::{
    chain::{self, Head},
    manifest::*,
    note::Signer,
    retention::Retention,
    segment::{self, Draft, Sealed},
};

mod example;
mod golden;
mod store;

/// The key of everything here. It is known to everyone: its seed is the bytes 0 to 31.
pub(crate) fn signer(origin: &str) -> Signer {
    let seed = std::array::from_fn(|n| n as u8);
    Signer::from_seed(&format!("{origin}/seal"), seed).unwrap()
}

/// Seals drafts one after the other into a chain.
pub(crate) struct Chain {
    origin: String,
    pub(crate) id: authseal::position::ChainId,
    head: Option<Head>,
    start: Start,
    /// The next segment is sealed at this time, and the one after it a minute later.
    clock: i64,
    pub(crate) broker: Broker,
    pub(crate) artifacts: Artifacts,
    pub(crate) retention: Retention,
}

impl Chain {
    pub(crate) fn new(origin: &str, id: &str, start: Start, clock: i64) -> Self {
        let (broker, artifacts) = (Broker::default(), Artifacts::default());
        let id = id.parse().unwrap();
        Self { origin: origin.into(), id, head: None, start, clock, broker, artifacts, retention: Retention::NONE }
    }

    /// The hash of the newest manifest.
    pub(crate) fn hash(&self) -> Option<authseal::digest::Digest> {
        self.head.as_ref().map(|head| head.hash)
    }

    pub(crate) fn seal(&mut self, draft: Draft, kind: SegmentKind) -> Sealed {
        let manifest = Manifest {
            format: FORMAT.into(),
            origin: self.origin.clone(),
            chain: self.id.clone(),
            sequence: self.head.as_ref().map_or(0, |head| head.sequence + 1),
            previous: self.hash(),
            start: self.head.is_none().then(|| self.start.clone()),
            kind,
            offsets: draft.offsets,
            counts: draft.counts,
            root: draft.root,
            body: draft.body(),
            schema: segment::schema_digest(),
            times: Times { sealed: self.clock, ..draft.times },
            next_by: self.clock + 3_600_000,
            broker: self.broker.clone(),
            artifacts: self.artifacts,
            writer: Writer { version: "0.1.0".into(), instance: "golden".into() },
            retention: self.retention,
            index: None,
        };
        self.clock += 60_000;
        chain::follows(&self.origin, &self.id, self.head.as_ref(), &manifest).unwrap();
        let sealed = segment::seal(draft, manifest, &signer(&self.origin)).unwrap();
        self.head = Some(match &self.head {
            None => Head::of_sealed(&sealed),
            Some(head) => head.advance(&sealed.manifest, sealed.hash),
        });
        sealed
    }
}
