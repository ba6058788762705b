//! After each schedule: every leaf against what was produced, every chain, every finding.

use super::{
    ends::End,
    schedule::{Judging, Stage},
    sim::{ORIGIN, PARTITIONS, TOPIC, World, settle, undisturbed},
};
use authseal::{
    chain::{self, Head},
    layout,
    manifest::Manifest,
    note::Verifiers,
    position::ChainId,
    publish::Stream,
    record::{GapCause, RawRecord, TimestampType},
    segment::{self, LeafKind, read},
    source::scripted::Cluster,
    store::Store,
};
use std::collections::BTreeSet;

/// Checks a chain from its first to its newest segment and every leaf in it. Returns where it ends.
pub async fn check_chain(stage: &Stage, n: i32) -> i64 {
    let (world, seed) = (&stage.world, stage.seed);
    let chain = ChainId { cluster: "main".into(), topic: TOPIC.into(), partition: n as u32, incarnation: 0 };
    let keys = Verifiers::of(&world.signer);
    let (mut head, mut next, mut sequence): (Option<Head>, i64, u64) = (None, 0, 0);
    for entry in world.store.list(&layout::chain_prefix(&chain), None, 100_000).await.unwrap() {
        let place = format!("seed {seed}: {}", entry.key);
        if stage.foreign.as_ref() == Some(&entry.key) {
            break;
        }
        if !stage.attacked.contains(&entry.key) {
            assert_eq!((entry.versions, entry.markers), (1, 0), "{place}");
        }
        assert_eq!(layout::parse_segment_key(&entry.key), Some((chain.clone(), sequence)), "{place}");
        let stored = world.store.read_oldest(&entry.key).await.unwrap().unwrap();
        let opened = segment::open(&stored.bytes, &keys).unwrap_or_else(|f| panic!("{place}: {f:?}"));
        chain::follows(ORIGIN, &chain, head.as_ref(), &opened.manifest).unwrap_or_else(|f| panic!("{place}: {f:?}"));
        let manifest = &opened.manifest;
        let place = format!("{place} by {} of {:?}", manifest.writer.instance, manifest.broker.topic_id);
        let known = stage.rules.iter().any(|rules| manifest.artifacts.rules == Some(rules.bundle().0));
        assert!(known, "{place}: other rules than there are");
        check_time(stage, &entry.key, manifest);
        for leaf in read::records(&stored.bytes).unwrap() {
            let leaf = leaf.unwrap();
            assert_eq!(leaf.offset(), next, "{place}: an offset twice or never");
            next = leaf.to();
            let record = leaf.record().unwrap();
            if leaf.kind() == LeafKind::Gap {
                let cause = record.gap.unwrap().cause;
                let told = stage.expired && matches!(cause, GapCause::Lost | GapCause::BeforeChain);
                let lost = stage.journal.range((n, leaf.offset())..(n, next)).next();
                assert!(told || lost.is_none(), "{place}: {lost:?} lies in a gap of cause {cause:?}");
                let plain = !world.gaps_expected && cause == GapCause::Unexplained;
                assert!(told || plain || cause == GapCause::NotDelivered, "{place}: a gap of cause {cause:?}");
            } else {
                let produced = stage.journal.get(&(n, leaf.offset())).map(|(_, value)| value);
                assert_eq!(Some(&record.value), produced, "{place}: offset {} holds other bytes", leaf.offset());
            }
        }
        assert_eq!(manifest.offsets.to, next, "{place}");
        head = Some(Head::of_opened(&opened));
        sequence += 1;
    }
    next
}

/// A segment was sealed when its manifest says, give or take the five minutes that a clock may be wrong.
fn check_time(stage: &Stage, key: &str, manifest: &Manifest) {
    const BORNE: i64 = 300_000;
    let (sealed, seed) = (manifest.times.sealed, stage.seed);
    if let Some(landed) = stage.landed.lock().unwrap().get(key) {
        assert!(sealed <= landed + BORNE, "seed {seed}: {key} was sealed {} ms before it was", sealed - landed);
    }
    let records = manifest.times.last_record.unwrap_or(i64::MIN);
    assert!(sealed >= records.saturating_sub(BORNE), "seed {seed}: {key} was sealed {} ms late", records - sealed);
}

/// What processes told of themselves fits together.
fn check_told(stage: &Stage) {
    assert_eq!(stage.observer.wrong(), Vec::<String>::new(), "seed {}", stage.seed);
}

/// Every offset in exactly one leaf with the bytes that were produced, every chain whole, findings and dead letters
/// those of an undisturbed run. Where retention has overtaken the reader they lie between those of an undisturbed run
/// over what is left and of one over all that ever was.
pub async fn audit(stage: &Stage) {
    check_told(stage);
    let (world, seed) = (&stage.world, stage.seed);
    for n in 0..PARTITIONS {
        assert_eq!(check_chain(stage, n).await, world.end(n), "seed {seed}: partition {n} is not sealed to its end");
    }
    let (alerts, letters) = (known(world.uids(Stream::Alerts)), world.uids(Stream::DeadLetters));
    let (calm_alerts, calm_letters) = undisturbed(world).await;
    count_findings(stage, calm_alerts.len());
    if !stage.expired {
        for (what, found, calm) in [("findings", alerts, calm_alerts), ("dead letters", letters, calm_letters)] {
            let (missed, more) =
                (calm.difference(&found).collect::<Vec<_>>(), found.difference(&calm).collect::<Vec<_>>());
            assert!(
                missed.is_empty() && more.is_empty(),
                "seed {seed}: of {} {what} of an undisturbed run {missed:?} were missed; no other run has {more:?}",
                calm.len()
            );
        }
        return;
    }
    let whole = World { cluster: as_produced(stage, 0), ..world.clone() };
    let (all_alerts, all_letters) = undisturbed(&whole).await;
    for (what, least, found, most) in
        [("finding", calm_alerts, alerts, all_alerts), ("dead letter", calm_letters, letters, all_letters)]
    {
        assert_eq!(least.difference(&found).next(), None, "seed {seed}: a {what} of what is left was not published");
        assert_eq!(found.difference(&most).next(), None, "seed {seed}: a {what} that no run finds");
    }
}

/// Without those of a rule that only some processes have.
fn known(mut findings: BTreeSet<String>) -> BTreeSet<String> {
    findings.retain(|uid| !uid.starts_with("SIM-9:"));
    findings
}

fn count_findings(stage: &Stage, found: usize) {
    if stage.judging == Judging::Durable {
        stage.tally.add("audit: findings of durable rules", found as u64);
    }
}

/// The log of the partitions from `first` on as it would be without retention.
fn as_produced(stage: &Stage, first: i32) -> Cluster {
    let cluster = Cluster::new();
    cluster.topic(TOPIC, PARTITIONS);
    for ((n, offset), (timestamp, value)) in stage.journal.range((first, 0)..) {
        let partition = stage.world.partition(*n);
        cluster.hole(&partition, offset - cluster.end(&partition));
        let record = RawRecord {
            timestamp: *timestamp,
            timestamp_type: TimestampType::CreateTime,
            value: value.clone(),
            ..RawRecord::default()
        };
        cluster.produce(&partition, record);
    }
    cluster
}

/// Runs what is left to its end and audits.
pub async fn settle_and_audit(stage: &mut Stage) {
    stage.calm();
    settle(&stage.world).await;
    stage.count_given();
    audit(stage).await;
}

/// After the chain of partition 0 has ended: it stands still and says why, the others are sealed and judged to their
/// end. Of a topic that was created again every partition stands still.
pub async fn audit_end(stage: &mut Stage, end: End) {
    stage.calm();
    let (world, seed) = (&stage.world, stage.seed);
    let last = world.start("last");
    world.cluster.assign(&last.source, &world.all());
    // judgements that wait do so for minutes
    world.pass(if stage.judging == Judging::Durable { 900 } else { 90 }).await;
    let lanes = last.status.lanes();
    for n in 0..PARTITIONS {
        let lane = &lanes[&world.partition(n)];
        let place = format!("seed {seed}: {end:?}: partition {n}: {lane:?}");
        let sealed_to = check_chain(stage, n).await;
        if n == 0 || end == End::Recreated {
            assert_eq!(lane.state, "stopped", "{place}");
            let error = lane.error.as_deref().unwrap_or_default();
            assert!(end.says().iter().any(|says| error.contains(says)), "{place}");
        } else {
            assert_eq!((lane.state, sealed_to), ("active", world.end(n)), "{place}");
        }
    }
    last.task.abort();
    let _ = last.task.await;
    if end == End::Recreated {
        return;
    }
    check_told(stage);
    let (found, letters) = (world.uids(Stream::Alerts), world.uids(Stream::DeadLetters));
    let others = World { cluster: as_produced(stage, 1), ..world.clone() };
    let (least_found, least_letters) = undisturbed(&others).await;
    for (what, least, found) in [("finding", least_found, found), ("dead letter", least_letters, letters)] {
        assert_eq!(least.difference(&found).next(), None, "seed {seed}: a {what} of the others was not published");
    }
}
