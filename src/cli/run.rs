//! `authseal run`: loads the configuration, serves health and metrics, runs the ingest workflow until a signal.

use super::{
    Logging,
    exit::{self, Failure},
};
use crate::{
    config::{self, Config},
    error::{Error, Result},
    health::Health,
    telemetry, web,
};
use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The loop is dead when it has not turned for so long: longer than any single call that it waits for.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// How long after the deadline of the shutdown the workflow may still say goodbye. Then something hangs that should
/// not, such as a start whose store does not answer, and the process ends without it.
const OVERDUE: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  authseal run -c /etc/authseal/authseal.toml
  AUTHSEAL_KAFKA__BROKERS=kafka:9092 authseal run --log-format json";

/// What the command is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_FILE, env = "AUTHSEAL_CONFIG")]
    pub config: PathBuf,
}

/// Told when the process shall end: SIGTERM or SIGINT. A second signal ends it at once.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Ends when the process shall.
    pub async fn wait(&mut self) {
        // an error means that whoever tells is gone: then it shall end as well
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it shall end.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

/// Loads the configuration, starts logs, metrics and the web surface, and runs `workflow` to its end. `workflow` gets
/// the configuration, the health to report to and the signal to obey; when it returns, the process ends.
pub fn serve<W, F>(args: &Args, logging: &Logging, workflow: W) -> Result<u8, Failure>
where
    W: FnOnce(Arc<Config>, Arc<Health>, Stop) -> F,
    F: Future<Output = Result<()>>,
{
    let config = Arc::new(Config::load(&args.config, &config::environment())?);
    logging.start(config.log.json, &config.log.level)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(config, workflow));
    // blocking calls of the edges (librdkafka's) may still hang: they must not hold the exit
    runtime.shutdown_timeout(Duration::from_secs(1));
    result?;
    Ok(exit::GOOD)
}

async fn run<W, F>(config: Arc<Config>, workflow: W) -> Result<()>
where
    W: FnOnce(Arc<Config>, Arc<Health>, Stop) -> F,
    F: Future<Output = Result<()>>,
{
    let health = Health::new(MAX_SILENCE);
    let metrics = telemetry::recorder()?;
    let listener = tokio::net::TcpListener::bind(config.http).await.map_err(|e| {
        Error::config(format!("http.listen: {} cannot be opened; choose another port", config.http)).caused_by(e)
    })?;
    let address = listener.local_addr().unwrap_or(config.http);
    tracing::info!(%address, "answering /livez, /readyz and /metrics");
    let upkeep = tokio::spawn(telemetry::upkeep(metrics.clone()));
    let stop = stop_on_signal()?;
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    // health is told until the workflow has ended, not until it was asked to
    let web = web::Web { health: health.clone(), metrics };
    let web = tokio::spawn(web::serve(listener, web, async move { drop(finished.await) }));
    let deadline = config.seal.shutdown_deadline + OVERDUE;
    let mut told = stop.clone();
    let overdue = async {
        told.wait().await;
        tokio::time::sleep(deadline).await;
    };
    let result = tokio::select! {
        result = workflow(config, health, stop) => result,
        () = overdue => Err(Error::retry(format!(
            "the shutdown did not end within {} s: what was read and is not sealed is read again at the next start",
            deadline.as_secs()
        ))),
    };
    drop(done);
    upkeep.abort();
    match web.await {
        Ok(Err(error)) => tracing::warn!(%error, "the web surface ended badly"),
        Err(error) => tracing::warn!(%error, "the web surface ended badly"),
        Ok(Ok(())) => {}
    }
    result
}

/// A stop that SIGTERM and SIGINT set. The second of them ends the process with code 1: what is not sealed is read
/// again.
fn stop_on_signal() -> Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::bug("listening to signals").caused_by(e));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (told, stop) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.send_replace(true) {
                tracing::warn!("stopped at once by a second signal");
                std::process::exit(exit::FAILED.into());
            }
            tracing::info!("stopping: sealing what is buffered; a second signal stops at once");
        }
    });
    Ok(Stop(stop))
}
