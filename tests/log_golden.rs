//! The golden log is never written again: what was logged must read for ever, and the log of the golden store made
//! today must be the one that is stored there, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use authseal::{
    audit::{self, VerifyOptions},
    health::Health,
    layout,
    log::{Logger, Options, Parts, Queue},
    manifest::Writer,
    note::{Signer, Verifiers},
    retention::{LockMode, Retention, RetentionPolicy},
    store::{Store, memory::MemoryStore},
    store_info::StoreInfo,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// 2026-01-01.
const BEGAN: i64 = 1_767_225_600_000;

type Objects = BTreeMap<String, Vec<u8>>;

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name)
}

fn walk(root: &Path, at: &Path, objects: &mut Objects) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, objects);
        } else {
            let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            objects.insert(key, fs::read(&path).unwrap());
        }
    }
}

fn read(folder: &str) -> Objects {
    let (root, mut objects) = (golden(folder), Objects::new());
    walk(&root, &root, &mut objects);
    objects
}

fn seal_keys() -> Verifiers {
    Verifiers::parse(&fs::read_to_string(golden("seal.vkey")).unwrap()).unwrap()
}

/// The golden store, logged chain by chain by two instances, and three minutes of their lives.
async fn logged() -> (MemoryStore, Signer) {
    let store = MemoryStore::new();
    let objects = read("format-1");
    for (key, bytes) in &objects {
        store.create(key, bytes.clone().into(), &Retention::NONE).await.unwrap();
    }
    let info = StoreInfo::parse(std::str::from_utf8(&objects[layout::STORE_JSON]).unwrap()).unwrap();
    // known to everyone, as that of the segments is
    let signer = Signer::from_seed(&info.origin, std::array::from_fn(|n| n as u8)).unwrap();
    let clock = Arc::new(AtomicI64::new(BEGAN));
    let mut instances = Vec::new();
    for name in ["golden-1", "golden-2"] {
        let (queue, now) = (Queue::default(), clock.clone());
        let parts = Parts {
            store: Arc::new(store.clone()),
            signer: Arc::new(Signer::parse(&signer.secret_text()).unwrap()),
            keys: Arc::new(Verifiers::of(&signer)),
            seal_keys: Arc::new(seal_keys()),
            clock: Arc::new(move || now.load(Ordering::Relaxed)),
            publisher: None,
            health: Health::new(Duration::from_secs(60)),
            queue: queue.clone(),
        };
        let writer = Writer { version: "0.1.0".into(), instance: name.into() };
        let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
        instances.push((Logger::new(parts, Options::new(&info.origin, writer, retention)), queue));
    }
    let chains = objects.keys().filter_map(|key| layout::parse_segment_key(key)).filter(|(_, sequence)| *sequence == 0);
    for (number, (chain, _)) in chains.enumerate() {
        let (logger, queue) = &mut instances[number % 2];
        queue.opened(&chain, Some(0));
        logger.turn().await.unwrap();
    }
    for minute in 1..=3 {
        clock.store(BEGAN + minute * 60_000, Ordering::Relaxed);
        for (logger, _) in &mut instances {
            logger.turn().await.unwrap();
        }
    }
    (store, signer)
}

#[tokio::test]
async fn what_is_logged_today_is_what_was_logged_then() {
    let (store, signer) = logged().await;
    let mut made = Objects::from([("log.vkey".to_owned(), (signer.verifier_key() + "\n").into_bytes())]);
    for entry in store.list(layout::LOG, None, 1000).await.unwrap() {
        let newest = store.read_newest(&entry.key).await.unwrap().unwrap();
        made.insert(entry.key, newest.bytes.to_vec());
    }
    // bytes that are there are never written again
    let folder = golden("log-1");
    if std::env::var_os("AUTHSEAL_WRITE_GOLDEN").is_some() && !folder.exists() {
        for (key, bytes) in &made {
            fs::create_dir_all(folder.join(key).parent().unwrap()).unwrap();
            fs::write(folder.join(key), bytes).unwrap();
        }
    }
    let stored = read("log-1");
    assert_eq!(made.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    for (key, bytes) in &made {
        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&stored[key]), "{key}");
    }
}

#[tokio::test]
async fn the_stored_log_verifies() {
    let store = MemoryStore::new();
    let (log, mut objects) = (read("log-1"), read("format-1"));
    let keys = format!("{}{}", seal_keys().text(), String::from_utf8(log["log.vkey"].clone()).unwrap());
    objects.extend(log.into_iter().filter(|(key, _)| key != "log.vkey"));
    for (key, bytes) in objects {
        store.create(&key, bytes.into(), &Retention::NONE).await.unwrap();
    }
    let options = VerifyOptions { require_log: true, ..VerifyOptions::new(BEGAN + 365 * 86_400_000) };
    let report = audit::verify(Arc::new(store), &Verifiers::parse(&keys).unwrap(), options).await.unwrap();
    // the golden store has gaps of every cause, and is put here without locks; nothing is said of its log
    let known = |name: &str| name.starts_with("gap_") || name == "lock_missing";
    assert!(report.findings.iter().filter(|f| f.is_failure()).all(|f| known(f.name)), "{report}");
    let log = report.log.as_ref().unwrap();
    assert_eq!((log.entries, log.checkpoint, log.unlogged), (17, Some(17), 0), "{report}");
}
