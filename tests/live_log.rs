//! The log read with code that is not ours: Go's sumdb/note and sumdb/tlog, over batches, checkpoint, tiles and
//! bundles. It needs Go, and its module proxy the first time; where CI is set, their absence is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;

use authseal::{
    health::Health,
    layout,
    log::{Logger, Options, Parts, Queue},
    manifest::Writer,
    note::{Signer, Verifiers},
    retention::{LockMode, RetentionPolicy},
};
use lab::{BEGAN, Lab, ORIGIN, STORE, chain, signer};
use std::{
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Whether there is a Go. Without one the test says so.
fn has_go() -> bool {
    let found = Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "go is not installed, and where CI is set it must be");
        eprintln!("go is not installed: the log is not read with it");
    }
    found
}

fn golog(store: &Path, key: &str) -> Output {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/golog");
    let mut command = Command::new("go");
    command.args(["run", "."]).arg(store).arg(key).current_dir(module);
    command.env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local").output().unwrap()
}

/// The store of the lab with a log that has full and partial tiles: 13 manifests, and 260 minutes of life.
async fn logged(key: &Signer) -> Lab {
    let lab = Lab::of(&STORE).await;
    let (queue, clock) = (Queue::default(), Arc::new(AtomicI64::new(BEGAN)));
    let now = clock.clone();
    let parts = Parts {
        store: Arc::new(lab.store()),
        signer: Arc::new(Signer::parse(&key.secret_text()).unwrap()),
        keys: Arc::new(Verifiers::of(key)),
        seal_keys: Arc::new(Verifiers::of(&signer(ORIGIN, 1))),
        clock: Arc::new(move || now.load(Ordering::Relaxed)),
        publisher: None,
        health: Health::new(Duration::from_secs(60)),
        queue: queue.clone(),
    };
    let writer = Writer { version: "0.1.0".into(), instance: "test".into() };
    let retention = RetentionPolicy { mode: LockMode::None, period: Duration::ZERO };
    let mut logger = Logger::new(parts, Options::new(ORIGIN, writer, retention));
    for text in ["main/auth/0/0", "main/auth/1/1", "main/logins/0/0"] {
        queue.opened(&chain(text), Some(0));
    }
    for minute in 0..=260 {
        clock.store(BEGAN + minute * 60_000, Ordering::Relaxed);
        logger.turn().await.unwrap();
    }
    lab
}

#[tokio::test]
async fn go_reads_the_log_and_proves_every_entry() {
    if !has_go() {
        return;
    }
    let key = Signer::from_seed(ORIGIN, [5; 32]).unwrap();
    let lab = logged(&key).await;
    let read = golog(lab.root(), &key.verifier_key());
    let (out, err) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert_eq!(out.trim(), "273 261", "{err}");

    // and it is no rubber stamp: what is changed, it refuses
    for key_of in [
        layout::batch_key(3),
        layout::CHECKPOINT.to_owned(),
        "log/tile/0/000".to_owned(),
        "log/tile/0/001.p/17".to_owned(),
        "log/tile/entries/001.p/17".to_owned(),
    ] {
        let good = lab.read(&key_of);
        lab.edit(&key_of, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let read = golog(lab.root(), &key.verifier_key());
        assert!(!read.status.success(), "{key_of}: {}", String::from_utf8_lossy(&read.stdout));
        lab.write(&key_of, &good);
    }
    let other = Signer::from_seed(ORIGIN, [6; 32]).unwrap();
    assert!(!golog(lab.root(), &other.verifier_key()).status.success(), "another key");
}
