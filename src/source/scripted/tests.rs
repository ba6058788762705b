//! The cluster in memory keeps the contract of `Source`.

use super::*;
use futures_util::FutureExt;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("auth", partition)
}

fn record(timestamp: i64) -> RawRecord {
    RawRecord { timestamp, ..RawRecord::default() }
}

fn filled(partitions: i32, records: i64) -> Cluster {
    let cluster = Cluster::new();
    cluster.topic("auth", partitions);
    for partition in 0..partitions {
        for n in 0..records {
            cluster.produce(&tp(partition), record(n * 10));
        }
    }
    cluster
}

/// What the source says now, without waiting.
fn now(source: &mut ScriptedSource) -> Option<SourceEvent> {
    source.next().now_or_never().map(|event| event.expect("it is not closed"))
}

/// Offsets of all batches of an epoch until there is nothing more to hear, and the end that was told.
fn drain(source: &mut ScriptedSource, epoch: u64) -> (Vec<i64>, Option<i64>) {
    let (mut offsets, mut told) = (Vec::new(), None);
    while let Some(event) = now(source) {
        match event {
            SourceEvent::Batch(batch) if batch.epoch == epoch => offsets.extend(batch.records.iter().map(|r| r.offset)),
            SourceEvent::AtEnd { epoch: of, end, .. } if of == epoch => told = Some(end),
            _ => {}
        }
    }
    (offsets, told)
}

#[tokio::test]
async fn delivers_nothing_before_start_and_steps_over_holes() {
    let cluster = filled(1, 3);
    cluster.hole(&tp(0), 2);
    cluster.produce(&tp(0), record(0));
    cluster.hole(&tp(0), 1);
    let mut source = cluster.join();
    assert!(now(&mut source).is_none());
    cluster.assign(&source, &[tp(0)]);
    assert!(matches!(now(&mut source), Some(SourceEvent::Assigned(a)) if a[0].committed.is_none()));
    assert!(now(&mut source).is_none());
    let epoch = source.control().start(&tp(0), 1).await.unwrap();
    assert_eq!(drain(&mut source, epoch), (vec![1, 2, 5], Some(7)));
    cluster.tick();
    assert_eq!(drain(&mut source, epoch), (vec![], Some(7)));
}

#[tokio::test]
async fn what_is_not_stable_waits() {
    let cluster = filled(1, 4);
    cluster.transaction(&tp(0), Some(2));
    let mut source = cluster.join();
    cluster.assign(&source, &[tp(0)]);
    let epoch = source.control().start(&tp(0), 0).await.unwrap();
    assert_eq!(drain(&mut source, epoch), (vec![0, 1], Some(2)));
    cluster.transaction(&tp(0), None);
    assert_eq!(drain(&mut source, epoch), (vec![2, 3], Some(4)));
}

#[tokio::test]
async fn offsets_outside_the_log_are_told_and_stop_the_partition() {
    let cluster = filled(1, 10);
    cluster.expire(&tp(0), 5);
    let mut source = cluster.join();
    cluster.assign(&source, &[tp(0)]);
    let control = source.control();
    for offset in [4, 11] {
        while now(&mut source).is_some() {}
        let started = control.start(&tp(0), offset).await.unwrap();
        let event = now(&mut source);
        assert!(
            matches!(event, Some(SourceEvent::OutOfRange { epoch, log_start: 5, end: 10, .. }) if epoch == started),
            "{event:?}"
        );
        assert!(now(&mut source).is_none());
    }
    let epoch = control.start(&tp(0), 5).await.unwrap();
    assert_eq!(drain(&mut source, epoch), ((5..10).collect(), Some(10)));
}

#[tokio::test]
async fn a_rebalance_moves_partitions_and_leaves_a_stale_batch() {
    let cluster = filled(2, 5);
    cluster.stale_batches(true);
    cluster.batch_size(2);
    let (mut old, mut new) = (cluster.join(), cluster.join());
    cluster.assign(&old, &[tp(0), tp(1)]);
    let epoch = old.control().start(&tp(0), 0).await.unwrap();
    assert!(matches!(now(&mut old), Some(SourceEvent::Assigned(_))));
    cluster.assign(&new, &[tp(0)]);
    assert!(matches!(now(&mut old), Some(SourceEvent::Revoked(lost)) if lost == [tp(0)]));
    assert!(matches!(now(&mut old), Some(SourceEvent::Batch(late)) if late.epoch == epoch));
    assert!(now(&mut old).is_none());
    assert!(old.control().start(&tp(0), 0).await.unwrap_err().is_retry());
    assert!(matches!(now(&mut new), Some(SourceEvent::Assigned(a)) if a[0].partition == tp(0)));
    let later = new.control().start(&tp(0), 3).await.unwrap();
    assert!(later > epoch);
    assert_eq!(drain(&mut new, later), (vec![3, 4], Some(5)));
}

#[tokio::test]
async fn a_zombie_reads_on_but_its_commits_are_passed_over() {
    let cluster = filled(1, 3);
    let (mut zombie, new) = (cluster.join(), cluster.join());
    cluster.assign(&zombie, &[tp(0)]);
    let epoch = zombie.control().start(&tp(0), 0).await.unwrap();
    let commit = |offset| vec![(tp(0), Commit { offset, metadata: "m".into() })];
    zombie.control().commit(commit(1));
    cluster.steal(&new, &[tp(0)]);
    assert_eq!(drain(&mut zombie, epoch).0, [0, 1, 2]);
    zombie.control().commit_now(commit(3)).await.unwrap();
    assert_eq!(cluster.committed(&tp(0)).unwrap().offset, 1);
    cluster.confess();
    assert!(matches!(now(&mut zombie), Some(SourceEvent::Revoked(_))));
}

#[tokio::test]
async fn seeds_repeat_and_every_record_comes_once_in_order() {
    let run = |seed| async move {
        let cluster = Cluster::with_seed(seed);
        cluster.topic("auth", 3);
        for n in 0..200 {
            cluster.produce(&tp(n % 3), record(0));
        }
        let mut source = cluster.join();
        cluster.assign(&source, &[tp(0), tp(1), tp(2)]);
        for partition in 0..3 {
            source.control().start(&tp(partition), 0).await.unwrap();
        }
        let mut seen = Vec::new();
        while let Some(event) = now(&mut source) {
            if let SourceEvent::Batch(batch) = event {
                seen.extend(batch.records.iter().map(|r| (batch.partition.partition, r.offset)));
            }
        }
        seen
    };
    let (one, again, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
    for partition in 0..3 {
        let offsets: Vec<_> = one.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
        assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>());
    }
    assert_eq!(one.len(), 200);
}

#[tokio::test]
async fn a_created_again_topic_has_another_id_and_close_ends_the_stream() {
    let cluster = filled(1, 3);
    let mut source = cluster.join();
    cluster.assign(&source, &[tp(0)]);
    let control = source.control();
    let before = control.broker(&tp(0)).await.unwrap();
    assert_eq!((before.log_start, before.last_stable, before.partitions), (Some(0), Some(3), Some(1)));
    assert_eq!(control.offset_at(&tp(0), 11).await.unwrap(), Some(2));
    assert_eq!(control.offset_at(&tp(0), 21).await.unwrap(), None);
    cluster.topic("auth", 1);
    assert_ne!(control.broker(&tp(0)).await.unwrap().topic_id, before.topic_id);
    control.close().await;
    while let Some(event) = source.next().await {
        assert!(matches!(event, SourceEvent::Assigned(_)), "{event:?}");
    }
}
