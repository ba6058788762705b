//! Who is believed beside a log: witnesses by a policy, time-stamp authorities by their certificates. Of `verify` and
//! `check-proof`.

use super::exit::Failure;
use crate::{
    audit::AnchorOptions,
    tlog::{Policy, stamp::Authorities},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Who is believed, and what is demanded of them.
#[derive(Debug, clap::Args)]
pub struct AnchorArgs {
    /// A policy (c2sp.org/tlog-policy): which witnesses you believe, and which of them are enough
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// PEM certificates of time-stamp authorities that you believe, or of who issued these; may be repeated
    #[arg(long = "tsa-cert", value_name = "FILE")]
    tsa_certs: Vec<PathBuf>,
    /// Fail when the log has not this grade; may be repeated
    #[arg(long, value_name = "GRADE", value_enum)]
    require: Vec<Grade>,
}

/// What can be demanded of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Grade {
    /// A quorum of the witnesses of --policy has cosigned it
    Witnessed,
    /// An authority of --tsa-cert has stamped it
    Stamped,
}

impl AnchorArgs {
    /// Whether anything is demanded.
    pub(super) fn is_demanding(&self) -> bool {
        !self.require.is_empty()
    }

    /// What the files say. What is demanded needs somebody who could give it.
    pub(super) fn options(&self) -> Result<AnchorOptions, Failure> {
        let cannot =
            |name: &str, file: &Path, e| Failure::usage(format!("{name}: {} cannot be read: {e}", file.display()));
        let policy = match &self.policy {
            None => None,
            Some(file) => {
                let bytes = std::fs::read(file).map_err(|e| cannot("--policy", file, e))?;
                let policy = Policy::read(file.display(), &bytes);
                Some(Arc::new(policy.map_err(|e| Failure::usage(e.context("--policy")))?))
            }
        };
        let mut authorities: Option<Authorities> = None;
        for file in &self.tsa_certs {
            let pem = std::fs::read(file).map_err(|e| cannot("--tsa-cert", file, e))?;
            let more = Authorities::parse(&pem).map_err(|e| e.context(format_args!("--tsa-cert: {}", file.display())));
            let more = more.map_err(Failure::usage)?;
            authorities = Some(match authorities {
                Some(known) => known.and(more),
                None => more,
            });
        }
        let (witnessed, stamped) = (self.require.contains(&Grade::Witnessed), self.require.contains(&Grade::Stamped));
        if witnessed && !policy.as_ref().is_some_and(|policy| policy.asks_for_witnesses()) {
            return Err(Failure::usage("--require witnessed needs --policy with a quorum: who are the witnesses?"));
        }
        if stamped && authorities.is_none() {
            return Err(Failure::usage("--require stamped needs --tsa-cert: whose stamps are believed?"));
        }
        Ok(AnchorOptions {
            policy,
            authorities: authorities.map(Arc::new),
            require_witnessed: witnessed,
            require_stamped: stamped,
        })
    }
}
