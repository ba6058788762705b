//! What is past its date goes, after the log says so, and a crash at any call leaves a store that verifies and that the
//! next run brings to the same end. What is held stays. Nothing else deletes.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod keeping;
mod lab;

use authseal::{
    audit::{self, Report, VerifyOptions},
    layout,
    log::{
        holds::{self, Ask, Held},
        retention::{self, Applied},
    },
    manifest::Offsets,
    note::Verifiers,
    position::ChainId,
    retention::{LockMode, Retention},
    store::{
        Change, Store,
        memory::{Call, Failure, Fault, Flaws},
    },
    tlog::{keep::Switch, ledger::Segment},
};
use keeping::{DAY, World, chain, log_key, seal_key};
use lab::BEGAN;
use std::{fs, path::Path, sync::Arc};

/// Nothing but the locks decides.
fn by_lock(_: &ChainId, _: &Segment) -> Option<i64> {
    None
}

/// Eight segments of ten offsets, locked for ten days; eleven days later.
async fn old() -> World {
    let mut world = World::new();
    world.retention = Some((LockMode::Governance, 10 * DAY));
    world.seal_and_log(8).await;
    world.set_now(BEGAN + 11 * DAY);
    world
}

async fn audit_of(world: &World) -> Report {
    let mut keys = Verifiers::of(&seal_key(1));
    keys.extend(&Verifiers::of(&log_key(5))).unwrap();
    let options = VerifyOptions { jobs: 2, require_log: true, ..VerifyOptions::new(world.now()) };
    audit::verify(Arc::new(world.store.clone()), &keys, options).await.unwrap()
}

fn names(report: &Report, failures: bool) -> Vec<&str> {
    report.findings.iter().filter(|finding| finding.is_failure() == failures).map(|finding| finding.name).collect()
}

fn segments(world: &World) -> Vec<u64> {
    world.store.keys().iter().filter_map(|key| layout::parse_segment_key(key)).map(|(_, sequence)| sequence).collect()
}

async fn apply(world: &World) -> authseal::error::Result<Applied> {
    retention::apply(&mut world.try_desk().await?, &by_lock, "past its date").await
}

async fn hold(world: &World, action: Switch, name: &str, from: i64, to: i64) -> authseal::error::Result<Held> {
    let ask = Ask { action, name: name.into(), chain: chain(), offsets: Offsets { from, to }, reason: "court".into() };
    holds::switch(&mut world.try_desk().await?, &ask).await
}

#[tokio::test]
async fn what_is_past_its_date_goes_and_is_told_from_what_was_removed() {
    let world = old().await;
    let due = retention::due(&world.desk().await, &by_lock).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].sequences.from, due[0].sequences.to, &due[0].stays), (0, 7, &None));
    assert_eq!(segments(&world).len(), 8, "asking does nothing");
    let applied = apply(&world).await.unwrap();
    assert_eq!((applied.deleted, applied.kept.len()), (7, 0));
    assert_eq!(segments(&world), [7]);
    let report = audit_of(&world).await;
    assert_eq!((names(&report, true), names(&report, false)), (vec![], vec!["expired"]), "{report}");
    // the same again does nothing
    assert_eq!(apply(&world).await.unwrap(), Applied::default());
    // what nobody disposed of was removed
    let thief = world.fork();
    thief.store.remove(&layout::segment_key(&chain(), 7));
    let report = audit_of(&thief).await;
    let removed = report.findings.iter().find(|finding| finding.name == "removed");
    assert_eq!(removed.and_then(|finding| finding.place.sequence), Some(7), "{report}");
    let thief = old().await;
    thief.store.remove(&layout::segment_key(&chain(), 3));
    assert_eq!(names(&audit_of(&thief).await, true), ["missing_segment"]);
}

#[tokio::test]
async fn nothing_goes_before_its_time() {
    let world = old().await;
    // segments are sealed a minute apart: three of them are due
    world.set_now(BEGAN + 10 * DAY + 3 * 60_000);
    assert_eq!(apply(&world).await.unwrap().deleted, 3);
    // what is configured may be longer than the lock, never shorter
    world.set_now(BEGAN + 11 * DAY);
    let longer = |_: &ChainId, segment: &Segment| Some(segment.sealed + 12 * DAY);
    assert_eq!(retention::due(&world.desk().await, &longer).await.unwrap(), []);
    let shorter = |_: &ChainId, segment: &Segment| Some(segment.sealed);
    world.set_now(BEGAN + 10 * DAY + 4 * 60_000);
    assert_eq!(retention::due(&world.desk().await, &shorter).await.unwrap().len(), 1);
    // what is not logged stays
    let mut world = World::new();
    world.retention = Some((LockMode::Governance, 10 * DAY));
    world.seal_and_log(2).await;
    world.seal(2).await;
    world.set_now(BEGAN + 99 * DAY);
    assert_eq!(apply(&world).await.unwrap().deleted, 1);
    assert_eq!(segments(&world), [1, 2, 3]);
}

#[tokio::test]
async fn without_a_lock_only_what_is_configured_goes() {
    let mut world = World::new();
    world.seal_and_log(4).await;
    world.set_now(BEGAN + 99 * DAY);
    assert_eq!(retention::due(&world.desk().await, &by_lock).await.unwrap(), []);
    let week = |_: &ChainId, segment: &Segment| Some(segment.sealed + 7 * DAY);
    assert_eq!(retention::due(&world.desk().await, &week).await.unwrap()[0].sequences.to, 3);
}

#[tokio::test]
async fn what_was_tampered_with_or_locked_longer_stays() {
    let world = old().await;
    let key = |sequence| layout::segment_key(&chain(), sequence);
    world.store.shadow(&key(1), "x");
    world.store.mark_deleted(&key(3));
    world.store.relock(&key(5), Retention { mode: LockMode::Governance, until: Some(BEGAN + 99 * DAY) });
    let applied = apply(&world).await.unwrap();
    let stays: Vec<(u64, &str)> =
        applied.runs.iter().filter_map(|run| Some((run.sequences.from, &run.stays.as_ref()?[..20]))).collect();
    assert_eq!(stays, [(1, "there are other vers"), (3, "there are other vers"), (5, "its lock was made lo")]);
    assert_eq!(segments(&world), [1, 3, 5, 7]);
    let report = audit_of(&world).await;
    assert!(names(&report, true).iter().all(|name| ["shadow_version", "delete_marker"].contains(name)), "{report}");
}

#[tokio::test]
async fn what_is_held_stays_until_it_is_let_go() {
    let world = old().await;
    let held = hold(&world, Switch::On, "case-1", 15, 35).await.unwrap();
    assert_eq!((held.entered, held.segments, held.changed), (true, 3, 3));
    hold(&world, Switch::On, "case-2", 30, 31).await.unwrap();
    // again: nothing more is entered
    let again = hold(&world, Switch::On, "case-1", 20, 30).await.unwrap();
    assert_eq!((again.entered, again.changed), (false, 0));
    assert_eq!(apply(&world).await.unwrap().deleted, 4);
    assert_eq!(segments(&world), [1, 2, 3, 7]);
    assert_eq!(names(&audit_of(&world).await, true), [""; 0]);
    // nobody else can delete them either
    let key = layout::segment_key(&chain(), 2);
    let version = world.store.versions(&key).await.unwrap().held[0].id.clone();
    assert!(matches!(world.store.delete_version(&key, &version).await.unwrap(), Change::Locked(_)));
    // let go: one of them is held by another
    let held = hold(&world, Switch::Off, "case-1", 0, 80).await.unwrap();
    assert_eq!((held.entered, held.changed, held.others), (true, 2, 1));
    assert_eq!(apply(&world).await.unwrap().deleted, 2);
    assert_eq!(segments(&world), [3, 7]);
    hold(&world, Switch::Off, "case-2", 30, 31).await.unwrap();
    apply(&world).await.unwrap();
    assert_eq!(segments(&world), [7]);
    let error = hold(&world, Switch::On, "case-3", 70, 81).await.unwrap_err();
    assert!(error.to_string().contains("logged up to offset 80"), "{error}");
}

/// The legal hold on the object is what holds it against everybody else: lifted behind our back, it is found.
#[tokio::test]
async fn a_hold_that_was_lifted_in_the_store_is_found() {
    let world = old().await;
    let key = |sequence| layout::segment_key(&chain(), sequence);
    hold(&world, Switch::On, "case-1", 15, 55).await.unwrap();
    let report = audit_of(&world).await;
    assert_eq!((names(&report, true), report.protection.holds, report.protection.requests), (vec![], 5, 0));
    // one that the log does not know is somebody else's
    world.store.hold(&key(7), true);
    let report = audit_of(&world).await;
    assert_eq!((names(&report, true), report.protection.holds), (vec![], 6), "{report}");
    // runs of segments are one finding
    [2, 3, 5].iter().for_each(|sequence| world.store.hold(&key(*sequence), false));
    let report = audit_of(&world).await;
    let places: Vec<_> = report.findings.iter().map(|f| (f.name, f.place.sequence, f.place.sequences)).collect();
    let run = audit::Range { from: 2, to: Some(4) };
    assert_eq!(places, [("hold_missing", Some(2), Some(run)), ("hold_missing", Some(5), None)], "{report}");
    assert_eq!((report.exit_code(), report.verdicts.protection), (13, "unprotected"));
    assert!(report.to_string().contains("held (case-1)"), "{report}");
    // let go, nothing is missing
    hold(&world, Switch::Off, "case-1", 0, 80).await.unwrap();
    assert_eq!(names(&audit_of(&world).await, true), [""; 0]);
}

/// S3 says nothing along with the bytes of what is not held: then it is asked, of what the log holds alone.
#[tokio::test]
async fn a_store_that_leaves_holds_out_is_asked_for_those_that_the_log_knows() {
    let mut world = World::new();
    world.seal_and_log(8).await;
    hold(&world, Switch::On, "case-1", 15, 35).await.unwrap();
    world.store.set_flaws(Flaws { tells_nothing: true, ..Flaws::default() });
    let report = audit_of(&world).await;
    assert_eq!((names(&report, true), report.protection.holds, report.protection.requests), (vec![], 3, 3), "{report}");
    world.store.hold(&layout::segment_key(&chain(), 2), false);
    let report = audit_of(&world).await;
    assert_eq!((names(&report, true), report.protection.requests), (vec!["hold_missing"], 3), "{report}");
}

/// The log's key in bad hands: entries that dispose of what must stay excuse nothing.
#[tokio::test]
async fn forged_disposals_excuse_nothing() {
    let world = old().await;
    world.set_now(BEGAN + 9 * DAY);
    let mut forged = authseal::tlog::Disposal {
        format: authseal::tlog::keep::DISPOSAL.into(),
        origin: lab::ORIGIN.into(),
        chain: chain(),
        sequences: authseal::tlog::keep::Sequences { from: 2, to: 4 },
        offsets: Offsets { from: 20, to: 40 },
        until: world.now(),
        time: world.now(),
        reason: String::new(),
        writer: world.options().writer,
    };
    let early = world.fork();
    early.append_raw(&[forged.line().unwrap()]).await;
    early.store.remove(&layout::segment_key(&chain(), 2));
    assert_eq!(names(&audit_of(&early).await, true), ["disposal_entry", "missing_segment"]);
    // dated into the future, it has its form: but the time has not come
    (forged.until, forged.time) = (BEGAN + 11 * DAY, BEGAN + 11 * DAY);
    let future = world.fork();
    future.append_raw(&[forged.line().unwrap()]).await;
    future.store.remove(&layout::segment_key(&chain(), 2));
    assert_eq!(names(&audit_of(&future).await, true), ["missing_segment"]);
}

/// The process dies at its n-th call to the store: the request is lost, or it has landed and nobody heard of it.
async fn dies(world: &World, n: u64, landed: bool, mut work: impl AsyncFnMut(&World) -> bool) -> bool {
    world.store.set_faults(move |call: &Call<'_>| match call.number {
        number if number < n => Fault::NONE,
        number if number == n && landed => Fault::landed(Failure::Timeout),
        _ => Fault::lost(Failure::Timeout),
    });
    let done = work(world).await;
    world.store.clear_faults();
    done
}

#[tokio::test]
async fn a_crash_at_any_call_leaves_a_good_store_and_the_next_run_goes_on() {
    let world = old().await;
    hold(&world, Switch::On, "case-1", 15, 25).await.unwrap();
    let mut crashes = 0;
    for landed in [false, true] {
        for n in 0.. {
            let crashed = world.fork();
            crashed.set_now(world.now());
            let done = dies(&crashed, n, landed, async |world| apply(world).await.is_ok()).await;
            let report = audit_of(&crashed).await;
            assert_eq!(names(&report, true), [""; 0], "call {n}, landed {landed}\n{report}");
            apply(&crashed).await.unwrap();
            assert_eq!(segments(&crashed), [1, 2, 7], "call {n}, landed {landed}");
            let report = audit_of(&crashed).await;
            assert_eq!(names(&report, true), [""; 0], "call {n}, landed {landed}\n{report}");
            assert!(names(&report, false).iter().all(|name| *name == "expired"), "{report}");
            // each segment was disposed of once: an entry more would be without effect, and a failure
            if done {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 40, "only {crashes} crashes: the schedule does not reach the calls");
}

#[tokio::test]
async fn a_hold_survives_a_crash_at_any_call() {
    let world = old().await;
    for (action, landed) in [(Switch::On, false), (Switch::On, true), (Switch::Off, false), (Switch::Off, true)] {
        for n in 0.. {
            let crashed = world.fork();
            crashed.set_now(world.now());
            if action == Switch::Off {
                hold(&crashed, Switch::On, "case-1", 15, 35).await.unwrap();
            }
            let before = crashed.store.calls();
            let done =
                dies(&crashed, before + n, landed, async |w| hold(w, action, "case-1", 15, 35).await.is_ok()).await;
            hold(&crashed, action, "case-1", 15, 35).await.unwrap();
            apply(&crashed).await.unwrap();
            let left: &[u64] = if action == Switch::On { &[1, 2, 3, 7] } else { &[7] };
            assert_eq!(segments(&crashed), left, "{action:?} call {n}, landed {landed}");
            assert_eq!(names(&audit_of(&crashed).await, true), [""; 0], "{action:?} call {n}");
            if done {
                break;
            }
        }
    }
}

#[tokio::test]
async fn locks_become_longer_and_never_shorter() {
    let world = old().await;
    let until = BEGAN + 50 * DAY;
    let all = |_: &ChainId| Some(Offsets { from: 15, to: 35 });
    let desk = world.desk().await;
    let extended = retention::extend(&desk, &all, until, LockMode::Governance).await.unwrap();
    assert_eq!((extended.longer, extended.enough, extended.failed.len()), (3, 0, 0));
    let shorter = retention::extend(&desk, &all, BEGAN + 20 * DAY, LockMode::Governance).await.unwrap();
    assert_eq!((shorter.longer, shorter.enough), (0, 3));
    let key = layout::segment_key(&chain(), 2);
    let version = world.store.versions(&key).await.unwrap().held[0].id.clone();
    let lock = world.store.retention_of(&key, &version).await.unwrap();
    assert_eq!(lock, Some(Retention { mode: LockMode::Governance, until: Some(until) }));
    apply(&world).await.unwrap();
    assert_eq!(segments(&world), [1, 2, 3, 7]);
}

/// Evidence is deleted in one place. The self-test deletes its own objects; a directory and S3 do what they are told.
#[test]
fn nothing_else_deletes() {
    fn walk(at: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let deletes = ["delete_version(", "delete_object(", "remove_file(", "remove_dir"];
                if deletes.iter().any(|word| text.contains(word)) {
                    out.push(path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string());
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    let allowed = [
        "src/cli/databases.rs",      // in its tests
        "src/cli/keys.rs",           // half a key file that could not be written
        "src/cli/reload.rs",         // in its tests
        "src/demo/show.rs",          // the demo shows what is found when somebody deletes
        "src/demo/tamper.rs",        // the same
        "src/log/retention.rs",      // the one place
        "src/registry/cache.rs",     // a cached schema that is damaged
        "src/store/dir/mod.rs",      // what a store is told
        "src/store/dir/write.rs",    // the same, and half-written files
        "src/store/memory/mod.rs",   // what a store is told
        "src/store/mod.rs",          // the contract
        "src/store/s3/mod.rs",       // what a store is told
        "src/store/s3/write.rs",     // the same
        "src/store/selftest/mod.rs", // its own objects
    ];
    assert_eq!(found, allowed);
}
