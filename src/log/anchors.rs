//! Who else is told of checkpoints: witnesses and a time-stamp authority. Each has a task of its own beside the loop.
//! Neither sealing nor the log ever waits for them; what they do not answer is missing from the grade, and told.

use super::{Options, Parts, run::Newest, stamping, witness};
use crate::{
    remote::Remote,
    tlog::{Checkpoint, Policy, stamp::Authorities},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// How long a shutdown waits for the cosignatures of the last checkpoint.
const FAREWELL: Duration = Duration::from_secs(3);

/// Witnesses that cosign checkpoints.
#[derive(Clone)]
pub struct Witnessing {
    /// Who they are, and which of them are enough. Those with a URL are asked.
    pub policy: Arc<Policy>,
    /// How they are asked.
    pub remote: Arc<dyn Remote>,
    /// A witnessed checkpoint is kept in the store at most this often.
    pub keep: Duration,
    /// After a failure a witness is left alone for so long at first; the pause doubles, up to 64 times this.
    pub pause: Duration,
}

impl Witnessing {
    /// With the usual pauses: a checkpoint is kept every five minutes, a witness that fails is left alone for 10 s at
    /// first, and for 10 min 40 s at last.
    pub fn new(policy: Arc<Policy>, remote: Arc<dyn Remote>) -> Self {
        Self { policy, remote, keep: Duration::from_secs(300), pause: Duration::from_secs(10) }
    }
}

/// An authority that stamps checkpoints.
#[derive(Clone)]
pub struct Stamping {
    /// Where it answers.
    pub url: String,
    /// Whose stamps are believed: others are not stored.
    pub authorities: Arc<Authorities>,
    /// How often a checkpoint is stamped, all instances together.
    pub every: Duration,
    /// How it is asked.
    pub remote: Arc<dyn Remote>,
}

/// All of them; by default nobody.
#[derive(Clone, Default)]
pub struct Anchors {
    /// Witnesses, if there are any.
    pub witnessing: Option<Witnessing>,
    /// The authority, if there is one.
    pub stamping: Option<Stamping>,
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let witnesses = self.witnessing.as_ref().map(|w| w.policy.witnesses().len());
        let url = self.stamping.as_ref().map(|s| &s.url);
        f.debug_struct("Anchors").field("witnesses", &witnesses).field("stamps", &url).finish()
    }
}

/// The tasks.
pub(super) struct Tasks {
    newest: watch::Sender<Option<Checkpoint>>,
    witness: Option<JoinHandle<()>>,
    stamping: Option<JoinHandle<()>>,
}

impl Tasks {
    /// `topic`: where what was cosigned goes as well.
    pub(super) fn start(parts: &Parts, options: &Options, topic: watch::Sender<Newest>) -> Self {
        let (newest, told) = watch::channel(None);
        let Anchors { witnessing, stamping } = &options.anchors;
        let witness = witnessing.as_ref().map(|settings| {
            let cosigner = witness::Cosigning::new(settings.clone(), parts, options, topic);
            tokio::spawn(cosigner.run(told.clone()))
        });
        let stamping = stamping.as_ref().map(|settings| {
            let stamper = stamping::Stamper::new(settings.clone(), parts, options);
            tokio::spawn(stamper.run(told))
        });
        Self { newest, witness, stamping }
    }

    /// There is a new checkpoint.
    pub(super) fn tell(&self, checkpoint: &Checkpoint) {
        self.newest.send_replace(Some(checkpoint.clone()));
    }

    /// Lets the witnesses sign the last checkpoint, for a moment; the next start has it signed otherwise. A stamp
    /// that is being asked for is given up.
    ///
    /// If we crash here: what was cosigned and not published is asked for again with the next checkpoint.
    pub(super) async fn end(self) {
        drop(self.newest);
        if let Some(task) = self.stamping {
            task.abort();
        }
        if let Some(mut task) = self.witness
            && tokio::time::timeout(FAREWELL, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}
