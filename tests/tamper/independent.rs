//! The same tampered stores before the verifier in Python, which was written from docs/format.md alone: the same exit
//! code, and a reason code in common. It sees a directory, so that of versions and markers it knows nothing.

use super::*;
use authseal::store::memory::MemoryStore;
use serde_json::Value;
use std::{collections::BTreeSet, path::Path, process::Command};

/// Lets it look at a directory store, if there is a Python: `make test` has one.
pub(super) fn agrees(name: &str, root: &Path, keys: &str, report: &Report) {
    let Some(python) = super::python() else { return };
    // of locks and versions, which a directory has not, it cannot speak
    if report.exit_code() == 13 {
        return;
    }
    let keys_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys_file.path(), keys).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/verify_store.py");
    let output =
        Command::new(python).arg(script).arg(root).arg(keys_file.path()).arg(NOW.to_string()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{name}: {e}: {errors}"));
    assert_eq!(theirs["exit_code"], report.exit_code(), "{name}\n{theirs:#}\n{report}");
    let ours: BTreeSet<&str> = report.findings.iter().filter(|f| f.is_failure()).map(|f| f.name).collect();
    let faults = theirs["faults"].as_array().unwrap().iter();
    let common = faults.filter(|fault| ours.contains(fault["code"].as_str().unwrap())).count();
    assert!(ours.is_empty() || common > 0, "{name}\n{theirs:#}\n{report}");
}

/// The same of a store in memory: of each key the version that counts.
pub(super) async fn agrees_on(name: &str, store: &MemoryStore, keys: &str, report: &Report) {
    if super::python().is_none() || report.exit_code() == 13 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for entry in store.list("", None, 100_000).await.unwrap() {
        let newest = entry.key == authseal::layout::CHECKPOINT;
        let read = if newest { store.read_newest(&entry.key) } else { store.read_oldest(&entry.key) };
        let Some(stored) = read.await.unwrap() else { continue };
        let path = folder.path().join(&entry.key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &stored.bytes).unwrap();
    }
    agrees(name, folder.path(), keys, report);
}
