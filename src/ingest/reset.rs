//! Opening the next incarnation of a chain: when the topic behind its name is another one than before.
//!
//! The chain that was sealed stays as it is. The new one begins at offset 0, names the last manifest of the one before
//! and says who wanted it and why; what its topic no longer holds is a gap `before_chain`.

use super::{
    artifacts::InForce,
    options::{Clock, Options},
    plan,
    seal::Sealer,
    status::Status,
    tail,
};
use crate::{
    chain::{self, Head},
    error::{Error, Result},
    layout,
    manifest::{Broker, Manifest, Start, StartReason},
    note::Verifiers,
    position::{ChainId, TopicPartition},
    record::{Gap, GapCause},
    segment::{self, SegmentBuilder},
    signing::{self, Sign},
    store::{self, Put, Store},
};
use std::sync::Arc;

/// Longest reason, bytes: it stands in a manifest for ever.
pub const LONGEST_REASON: usize = 1024;

/// What resets chains.
pub struct Resetter {
    sealer: Sealer,
    in_force: InForce,
    options: Options,
}

/// A chain and what the broker says of its topic now.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The chain as it is.
    pub head: Head,
    /// The chain that would be opened.
    pub next: ChainId,
    /// Why the chain cannot be continued; `None`: it can.
    pub why: Option<String>,
    broker: Broker,
}

impl Proposal {
    /// Offsets that the topic no longer holds: the new chain begins with a gap up to here.
    pub fn first(&self) -> i64 {
        self.broker.log_start.unwrap_or(0)
    }
}

impl Resetter {
    /// Resets chains in `store` with the settings of the workflow.
    /// `verifiers`: the keys whose chains may be reset.
    pub fn new(
        store: Arc<dyn Store>,
        signer: Arc<dyn Sign>,
        verifiers: Arc<Verifiers>,
        clock: Clock,
        options: Options,
    ) -> Self {
        let in_force = InForce::of(&options);
        let sealer = Sealer::new(store, signer, verifiers, clock, &options, Arc::new(Status::default()));
        Self { sealer, in_force, options }
    }

    /// Looks a partition up. `None` if nothing of it was ever sealed: then there is nothing to reset.
    pub async fn propose(&self, partition: &TopicPartition, broker: Broker) -> Result<Option<Proposal>> {
        let chain = ChainId {
            cluster: self.options.cluster.clone(),
            topic: partition.topic.to_string(),
            partition: partition.partition.unsigned_abs(),
            incarnation: 0,
        };
        let Sealer { store, verifiers, origin, .. } = &self.sealer;
        let Some(head) = tail::find(&**store, verifiers, origin, chain, None).await?.head else { return Ok(None) };
        let end = broker.high_watermark.or(broker.last_stable);
        let why = match (plan::check_same_topic(&head, &broker), end) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(()), Some(end)) if head.to > end => {
                Some(format!("source_truncated: it is sealed up to offset {}, the broker ends at {end}", head.to))
            }
            _ => None,
        };
        let next = ChainId { incarnation: head.chain.incarnation + 1, ..head.chain.clone() };
        Ok(Some(Proposal { head, next, why, broker }))
    }

    /// Seals the first segment of the next incarnation. `reason` is for whoever reads the evidence later.
    ///
    /// If we crash here: before the put nothing has happened; after it, asking again finds nothing to reset.
    pub async fn open(&self, proposal: &Proposal, reason: &str) -> Result<Manifest> {
        if reason.trim().is_empty() || reason.len() > LONGEST_REASON || reason.chars().any(char::is_control) {
            return Err(Error::config(format!(
                "a reason is needed, on one line of at most {LONGEST_REASON} bytes: auditors will ask"
            )));
        }
        let now = (self.sealer.clock)();
        // what the manifest names must be there before it
        self.in_force.store(&*self.sealer.store, &self.options, now).await?;
        let mut builder = SegmentBuilder::new(0, self.sealer.options.codec, self.sealer.options.level);
        if proposal.first() > 0 {
            builder.push_gap(Gap { from: 0, to: proposal.first(), cause: GapCause::BeforeChain })?;
        }
        let draft = builder.finish()?;
        let previous = Some(proposal.head.hash);
        let start = Start { reason: StartReason::Reset, detail: reason.into(), previous };
        // later than anything of the chain before, whatever our clock says
        let now = now.max(proposal.head.times.sealed + 1);
        let next = &proposal.next;
        let described = self.sealer.describe(next, None, Some(start), &draft, proposal.broker.clone(), now);
        let manifest = Manifest { artifacts: self.in_force.names, ..described };
        chain::follows(&self.sealer.origin, next, None, &manifest)
            .map_err(|fault| Error::bug(format!("the new manifest does not begin a chain: {}", fault.detail)))?;
        let unsigned = segment::prepare(draft, manifest, self.sealer.signer.name())?;
        let note = signing::note(&*self.sealer.signer, unsigned.line()).await?;
        let sealed = unsigned.finish(&note, &signing::verifiers(&*self.sealer.signer)?)?;
        let key = layout::segment_key(next, 0);
        match store::put_new(&*self.sealer.store, &key, sealed.bytes.clone(), &sealed.manifest.retention).await? {
            Put::Ours(_) => Ok(sealed.manifest),
            Put::Taken(_) => {
                Err(Error::retry(format!("{key} is there already: somebody else has just opened {next}; look again")))
            }
            Put::Marker => Err(Error::tampered(format!("a delete marker lies at {key}: somebody deleted it"))),
        }
    }
}
