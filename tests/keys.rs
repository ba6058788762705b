//! Keys that the log introduces and retires: an auditor who starts from the first key follows them, and a key that was
//! stolen after its time cannot seal anything anew.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod keeping;
mod lab;

use authseal::{
    audit::{self, Report, VerifyOptions},
    layout,
    log::{Logger, is_retired, keys},
    manifest::Manifest,
    note::{Signer, Verifiers},
    retention::Retention,
    segment,
    signing::{self, Gated},
    store::{Store, memory::MemoryStore},
    tlog::{Batch, Checkpoint, Edge, KeyEntry, key::Action},
};
use bytes::Bytes;
use keeping::{World, chain, log_key, seal_key};
use lab::{ORIGIN, Part};
use std::sync::Arc;

fn failures(report: &Report) -> Vec<&str> {
    report.findings.iter().filter(|finding| finding.is_failure()).map(|finding| finding.name).collect()
}

fn keys_of(signers: &[&Signer]) -> Verifiers {
    let mut keys = Verifiers::default();
    signers.iter().for_each(|signer| keys.extend(&Verifiers::of(signer)).unwrap());
    keys
}

async fn audit_of(store: &MemoryStore, keys: &Verifiers, now: i64) -> Report {
    let options = VerifyOptions { jobs: 2, require_log: true, ..VerifyOptions::new(now) };
    audit::verify(Arc::new(store.clone()), keys, options).await.unwrap()
}

/// Three segments by the first key, three by the second, three after the first was retired.
async fn rotated() -> World {
    let mut world = World::new();
    let (old, new) = (seal_key(1), seal_key(2));
    world.seal_and_log(3).await;
    keys::introduce(&mut world.desk().await, &new, &old, "yearly").await.unwrap();
    world.chain.signer = seal_key(2);
    world.seal_and_log(3).await;
    keys::retire(&mut world.desk().await, &old.verifier_key(), &[&old, &new], "yearly").await.unwrap();
    world.seal_and_log(3).await;
    world
}

#[tokio::test]
async fn an_auditor_with_the_first_key_follows_the_others() {
    let world = rotated().await;
    let report = audit_of(&world.store, &keys_of(&[&seal_key(1), &log_key(5)]), world.now()).await;
    assert_eq!(failures(&report), [""; 0], "{report}");
    assert_eq!(report.totals.verified, 9);
    assert!(is_retired(&world.store, &seal_key(1).verifier_key()).await.unwrap());
    assert!(!is_retired(&world.store, &seal_key(2).verifier_key()).await.unwrap());
    // one who knows the second alone does not know who sealed the beginning, nor who vouches for it
    let report = audit_of(&world.store, &keys_of(&[&seal_key(2), &log_key(5)]), world.now()).await;
    assert!(failures(&report).contains(&"unknown_key"), "{report}");
}

/// The thief of the old key seals in perfect form. He has no key of the log.
#[tokio::test]
async fn a_stolen_old_key_cannot_seal_anew() {
    let world = rotated().await;
    let keys = keys_of(&[&seal_key(1), &log_key(5)]);
    // behind the end
    let mut thief = world.fork();
    thief.chain.signer = seal_key(1);
    thief.seal(1).await;
    let report = audit_of(&thief.store, &keys, thief.now()).await;
    assert_eq!(failures(&report), ["key_retired"], "{report}");
    let finding = report.findings.iter().find(|finding| finding.name == "key_retired").unwrap();
    assert_eq!(finding.place.sequence, Some(9));
    // in place of one that was sealed when his key was not good any more: the manifest is the same, the key is not
    let thief = world.fork();
    let sealed = &thief.chain.out[7];
    let note = seal_key(1).sign(&sealed.manifest.line().unwrap()).unwrap();
    let forged = keeping::resign(&sealed.bytes, &note);
    thief.store.replace(&layout::segment_key(&chain(), 7), forged.clone());
    assert!(segment::open(&forged, &Verifiers::of(&seal_key(1))).is_ok());
    assert_eq!(failures(&audit_of(&thief.store, &keys, thief.now()).await), ["key_retired"]);
    // and the new key in place of what was sealed before it was introduced
    let thief = world.fork();
    let sealed = &thief.chain.out[1];
    let note = seal_key(2).sign(&sealed.manifest.line().unwrap()).unwrap();
    thief.store.replace(&layout::segment_key(&chain(), 1), keeping::resign(&sealed.bytes, &note));
    assert_eq!(failures(&audit_of(&thief.store, &keys, thief.now()).await), ["key_not_introduced"]);
}

/// Whoever stole the key of the log and an old seal key enters what he likes: it has no effect.
#[tokio::test]
async fn a_thief_of_the_log_key_makes_no_key_good() {
    let world = rotated().await;
    let keys = keys_of(&[&seal_key(1), &log_key(5)]);
    let thief = seal_key(9);
    let entry = |action, about: &Signer, signers: &[&Signer]| {
        let mut entry = KeyEntry::new(ORIGIN, action, &about.verifier_key(), 1, "");
        for signer in signers {
            entry.add(signer.id(), &signer.signature(&entry.text().unwrap()));
        }
        entry.line().unwrap()
    };
    let cases = [
        ("on the word of a retired key", entry(Action::Introduce, &thief, &[&thief, &seal_key(1)])),
        ("on his own", entry(Action::Introduce, &thief, &[&thief])),
        ("the retired one again", entry(Action::Introduce, &seal_key(1), &[&seal_key(1), &seal_key(2)])),
        ("retiring the good one", entry(Action::Retire, &seal_key(2), &[&seal_key(1)])),
    ];
    for (name, line) in cases {
        let forked = world.fork();
        forked.append_raw(&[line]).await;
        let report = audit_of(&forked.store, &keys, forked.now()).await;
        assert_eq!(failures(&report), ["key_entry"], "{name}\n{report}");
        // and nothing else became of it
        assert_eq!(report.totals.verified, 9, "{name}");
    }
}

#[tokio::test]
async fn what_is_sealed_and_not_logged_keeps_its_key() {
    let mut world = World::new();
    world.seal_and_log(2).await;
    let (old, new) = (seal_key(1), seal_key(2));
    keys::introduce(&mut world.desk().await, &new, &old, "").await.unwrap();
    world.seal(1).await;
    let error = keys::retire(&mut world.desk().await, &old.verifier_key(), &[&old], "").await.unwrap_err();
    assert!(error.to_string().contains("not in the log yet"), "{error}");
    world.log().await;
    keys::retire(&mut world.desk().await, &old.verifier_key(), &[&old], "").await.unwrap();
    // again: nothing more is entered
    let size = world.desk().await.ledger().size();
    keys::retire(&mut world.desk().await, &old.verifier_key(), &[&old], "").await.unwrap();
    assert_eq!(world.desk().await.ledger().size(), size);
    // entries without effect are not made
    let error = keys::introduce(&mut world.desk().await, &seal_key(3), &old, "").await.unwrap_err();
    assert!(error.to_string().contains("no effect"), "{error}");
}

#[tokio::test]
async fn the_key_of_the_log_is_rotated_and_the_old_one_extends_nothing() {
    let mut world = World::new();
    world.seal_and_log(2).await;
    let (old, new) = (log_key(5), log_key(6));
    let mut desk = world.desk().await;
    keys::rotate(&mut desk, &old, &new, "").await.unwrap();
    desk.sign_with(Arc::new(log_key(6)));
    desk.publish().await.unwrap();
    world.log_key = 6;
    world.trusted = vec![log_key(5), log_key(6)];
    world.seal_and_log(2).await;
    // the auditor was given the first key alone: batches and checkpoint are signed by one that he learns of
    let keys = keys_of(&[&seal_key(1), &old]);
    let report = audit_of(&world.store, &keys, world.now()).await;
    assert_eq!(failures(&report), [""; 0], "{report}");
    assert_eq!(report.log.as_ref().unwrap().checkpoint, Some(report.log.as_ref().unwrap().entries));
    // an instance that goes on with the old one stops by itself
    let mut zombie = world.fork();
    zombie.log_key = 5;
    zombie.seal(1).await;
    let error = zombie.turn().await.unwrap_err();
    assert!(error.to_string().contains("retires"), "{error}");
    // a thief leaves out that check: his batch, and his checkpoint, are found
    let mut thief = world.fork();
    thief.log_key = 5;
    thief.append_raw(&["{\"format\":\"x\"}\n".to_owned()]).await;
    let report = audit_of(&thief.store, &keys, thief.now()).await;
    assert_eq!(failures(&report), ["key_retired", "key_retired"], "{report}");
}

/// What a retired key seals afterwards is not logged by an instance that runs on, and is not signed by it either.
#[tokio::test]
async fn an_instance_that_runs_on_signs_and_logs_nothing_with_a_retired_key() {
    let mut world = World::new();
    world.seal_and_log(3).await;
    let (old, new) = (seal_key(1), seal_key(2));
    let mut running = Logger::new(world.parts(), world.options());
    running.turn().await.unwrap();
    keys::introduce(&mut world.desk().await, &new, &old, "").await.unwrap();
    keys::retire(&mut world.desk().await, &old.verifier_key(), &[&old, &new], "").await.unwrap();
    running.turn().await.unwrap();
    let queue = world.parts().queue;
    assert_eq!(queue.retired_at(old.name(), old.id()), Some(4));
    assert_eq!(queue.retired_at(new.name(), new.id()), None);
    let gated =
        Gated::new(Arc::new(seal_key(1)), move |name, id| queue.retired_at(name, id).map(|at| format!("at {at}")));
    assert_eq!(signing::note(&gated, "text\n").await.unwrap_err().to_string(), "at 4");
    // the thief puts a segment behind the end, in perfect form: nobody who finds it in the store enters it, neither the
    // instance that runs nor one that is started now
    let sealed = world.chain.seal(Part::Records(10)).clone();
    let key = layout::segment_key(&chain(), sealed.manifest.sequence);
    world.store.create(&key, sealed.bytes.clone(), &Retention::NONE).await.unwrap();
    let size = world.desk().await.ledger().size();
    let started = Logger::new(world.parts(), world.options());
    for mut logger in [running, started] {
        world.parts().queue.opened(&chain(), Some(sealed.manifest.sequence));
        logger.turn().await.unwrap();
        logger.turn().await.unwrap();
        assert_eq!(world.desk().await.ledger().size(), size);
    }
}

/// Two writers of one origin, each with a key of its own, under one trust file.
#[tokio::test]
async fn two_writers_have_a_key_each() {
    let mut world = World::new();
    world.seal_and_log(2).await;
    let dublin = seal_key(7);
    world.also_sealed_by(&dublin, "main/auth/1/0").await;
    let trust = format!(
        "origin {ORIGIN}\nlog {}\nseal {} frankfurt\nseal {} dublin\n",
        log_key(5).verifier_key(),
        seal_key(1).verifier_key(),
        dublin.verifier_key()
    );
    let trust = authseal::tlog::Trust::parse(&trust).unwrap();
    let report = audit_of(&world.store, &trust.keys, world.now()).await;
    assert_eq!(failures(&report), [""; 0], "{report}");
    assert_eq!(report.chains.iter().map(|chain| chain.signed_by.len()).collect::<Vec<_>>(), [1, 1]);
}

/// A log of the golden key, with two entries about keys: read by whoever knows the tree alone.
#[tokio::test]
async fn entries_about_keys_are_leaves_like_any_other() {
    let world = rotated().await;
    let (mut edge, mut full, mut number) = (Edge::default(), Vec::new(), 0);
    while let Some(stored) = world.store.read_oldest(&layout::batch_key(number)).await.unwrap() {
        let batch = Batch::open(&stored.bytes, &Verifiers::of(&log_key(5)), ORIGIN).unwrap();
        batch.lines.iter().for_each(|line| edge.push(Bytes::copy_from_slice(line.as_bytes()), &mut full));
        number += 1;
    }
    let note = world.store.read_newest(layout::CHECKPOINT).await.unwrap().unwrap().bytes;
    let checkpoint = Checkpoint::open(&note, &Verifiers::of(&log_key(5)), ORIGIN).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (edge.size(), edge.root()));
    let _: fn(&str) -> authseal::digest::Digest = Manifest::hash_of;
    assert_eq!(world.chain.out[0].manifest.retention, Retention::NONE);
}
