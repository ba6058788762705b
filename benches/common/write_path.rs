//! The whole write path as in production but for the network: a scripted source instead of Kafka, a directory store on
//! a temporary folder.

use super::{ORIGIN, SEGMENT, cpu_seconds, decoder, limits, ruleset, signer};
use authseal::{
    ingest::{self, Begin, Live, Options, Parts, RetentionPolicy, SealOptions, Topic, status::Status},
    note::Verifiers,
    position::TopicPartition,
    publish::memory::MemoryPublisher,
    record::RawRecord,
    retention::LockMode,
    source::scripted::Cluster,
    store::dir::DirStore,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Seals these records, spread over so many partitions: seconds by the clock on the wall, and of CPU.
pub fn run(records: &[RawRecord], partitions: usize) -> (f64, f64) {
    let cluster = Cluster::new();
    cluster.topic("auth", partitions as i32);
    cluster.batch_size(2_000);
    let partition = |n: usize| TopicPartition::new("auth", (n % partitions) as i32);
    for (n, record) in records.iter().enumerate() {
        cluster.produce(&partition(n), record.clone());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (cpu, began) = (cpu_seconds(), Instant::now());
    runtime.block_on(async {
        let source = cluster.join();
        let signer = Arc::new(signer());
        let parts = Parts {
            source: Box::new(source.clone()),
            store: Arc::new(DirStore::new(dir.path())),
            publisher: Arc::new(MemoryPublisher::new()),
            verifiers: Arc::new(Verifiers::of(&signer)),
            signer,
            clock: Arc::new(|| jiff::Timestamp::now().as_millisecond()),
        };
        let status = Arc::new(Status::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(ingest::run(parts, options(), status.clone(), async {
            let _ = stopped.await;
        }));
        cluster.assign(&source, &(0..partitions).map(partition).collect::<Vec<_>>());
        let left = |status: &Status| status.lanes().values().map(|lane| lane.next).sum::<i64>() < records.len() as i64;
        while left(&status) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.send(()).expect("it still runs");
        let summary = running.await.expect("no panic").expect("no error");
        assert!(summary.sealed && summary.stopped.is_empty(), "{summary:?}");
    });
    (began.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

fn options() -> Options {
    let topic = Topic { decoder: Arc::new(decoder()), gaps_expected: false, begin: Begin::LogStart };
    Options {
        origin: ORIGIN.into(),
        cluster: "main".into(),
        instance: "bench".into(),
        topics: [("auth".to_string(), topic)].into_iter().collect(),
        rules: ruleset(),
        limits: limits(),
        live: Live::default(),
        seal: SealOptions { max_records: SEGMENT, ..SealOptions::default() },
        retention: RetentionPolicy { mode: LockMode::None, period: Duration::ZERO },
        alerts: true,
        dead_letters: true,
        replay_records: 0,
        state: None,
        outbox: 20_000,
        shutdown_deadline: Duration::from_secs(60),
    }
}
