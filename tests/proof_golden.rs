//! The golden proofs are never written again: what was proven must hold for ever, and a proof of the same record made
//! today must be the one that is stored there, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use authseal::{
    audit::prove::{self, Answer, By},
    note::Verifiers,
    proof,
    retention::Retention,
    segment::LeafKind,
    store::{Store, memory::MemoryStore},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name, position, and whether the log is part of it.
const PROOFS: [(&str, &str, bool); 5] = [
    ("event.tlog-proof", "main/auth.logons/0/0@1002", true),
    ("rejection.tlog-proof", "main/auth.logons/0/0@1003", true),
    ("gap.tlog-proof", "main/auth.logons/0/0@500", true),
    ("hostile.tlog-proof", "main/ssh/0/0@3", true),
    ("event.pending-proof", "main/auth.logons/0/0@1002", false),
];

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name)
}

fn keys() -> Verifiers {
    let read = |name| fs::read_to_string(golden(name)).unwrap();
    Verifiers::parse(&format!("{}{}", read("seal.vkey"), read("log-1/log.vkey"))).unwrap()
}

/// The golden store and its log.
async fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let mut folders = vec![(golden("format-1"), golden("format-1")), (golden("log-1"), golden("log-1/log"))];
    while let Some((root, folder)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push((root.clone(), path));
            } else {
                let key = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                store.create(&key, fs::read(&path).unwrap().into(), &Retention::NONE).await.unwrap();
            }
        }
    }
    store
}

#[tokio::test]
async fn what_is_proven_today_is_what_was_proven_then() {
    let (store, keys) = (Arc::new(store().await), keys());
    let write = std::env::var_os("AUTHSEAL_WRITE_GOLDEN").is_some();
    for (name, position, logged) in PROOFS {
        let answer =
            prove::prove(store.clone(), &keys, &position.parse().unwrap(), logged.then(By::default)).await.unwrap();
        let Answer::Made(made) = answer else { panic!("{name}: {answer:?}") };
        let path = golden("proof-1").join(name);
        // bytes that are there are never written again
        if write && !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &made.file).unwrap();
        }
        assert_eq!(made.file, fs::read_to_string(path).unwrap(), "{name}");
    }
}

/// A stamp that is none, or of another checkpoint, has no business in a proof.
#[test]
fn a_proof_carries_no_stamp_but_of_its_own_checkpoint() {
    let stamp = include_bytes!("data/stamps/rsa.tsr");
    let with = |name: &str, stamp: &[u8]| {
        let mut proof = proof::Proof::parse(&fs::read(golden("proof-1").join(name)).unwrap()).unwrap();
        proof.part.stamp = bytes::Bytes::copy_from_slice(stamp);
        proof.encode()
    };
    for (stamp, code) in [(&stamp[..], "stamp_imprint"), (&stamp[1..], "stamp_form"), (b"garbage", "stamp_form")] {
        let file = with("event.tlog-proof", stamp).unwrap();
        assert_eq!(proof::check(file.as_bytes(), &keys()).unwrap_err().code, code);
    }
    assert!(with("event.pending-proof", stamp).is_err(), "what is not logged has no checkpoint");
}

#[test]
fn the_stored_proofs_hold() {
    let check = |name: &str| {
        let bytes = fs::read(golden("proof-1").join(name)).unwrap();
        proof::check(&bytes, &keys()).unwrap_or_else(|fault| panic!("{name}: {fault}")).statement
    };
    let event = check("event.tlog-proof");
    assert_eq!(event.position().to_string(), "main/auth.logons/0/0@1002");
    assert_eq!(event.record.event.as_ref().unwrap().user.as_deref(), Some("tom"));
    assert_eq!(event.record.value.as_deref(), Some(&b"{\"event_id\":\"1002\",\"user\":\"mia\"}"[..]));
    assert_eq!(event.log.as_ref().unwrap().checkpoint.size, 17);
    let rejection = check("rejection.tlog-proof");
    assert_eq!((rejection.record.rejection.unwrap().code.as_str(), rejection.leaf), ("biometric", 4));
    assert_eq!((rejection.record.withheld.unwrap().length, rejection.record.value), (19, None));
    let gap = check("gap.tlog-proof");
    assert_eq!((gap.record.kind, gap.record.offset, gap.to()), (LeafKind::Gap, 0, 1000));
    let hostile = check("hostile.tlog-proof");
    assert_eq!((hostile.record.timestamp, &hostile.record.headers[0].key[..]), (i64::MIN, &b"\xff\xfe"[..]));
    let pending = check("event.pending-proof");
    assert!(pending.log.is_none() && pending.bytes == event.bytes);
}
