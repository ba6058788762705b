//! The stores that are attacked: a directory, and a bucket in memory. The same operations on each, as far as it has
//! them.

use super::{
    base::{Base, keys},
    case::{Case, Op, Setting},
};
use authseal::{
    audit::{self, Report},
    retention::Retention,
    store::{
        Store,
        dir::DirStore,
        memory::{Call, Failure, Fault, Flaws, MemoryStore},
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

pub async fn audit(store: Arc<dyn Store>, case: &Case) -> Report {
    let usual = keys();
    let keys = case.auditor.keys.as_ref().unwrap_or(&usual);
    let report = audit::verify(store, keys, case.auditor.options()).await;
    report.unwrap_or_else(|e| panic!("{} {}, {}: {e}", case.row, case.attack, case.position))
}

pub async fn bucket(base: &Base) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in &base.objects {
        store.create(key, bytes.clone(), &base.lock_of(key)).await.unwrap();
    }
    store
}

/// Does it to a bucket in memory; `false` if there is no such thing there.
pub fn harm_bucket(store: &MemoryStore, ops: &[Op]) -> bool {
    for op in ops {
        match op.clone() {
            Op::Put(key, bytes) => {
                let lock = own_lock(&bytes).filter(|_| !store.keys().contains(&key));
                store.replace(&key, bytes);
                lock.iter().for_each(|lock| store.relock(&key, *lock));
            }
            Op::Remove(key) => store.remove(&key),
            Op::Shadow(key, bytes) => store.shadow(&key, bytes),
            Op::Under(key, bytes) => store.slip_under(&key, bytes),
            Op::Mark(key) => store.mark_deleted(&key),
            Op::Relock(key, lock) => store.relock(&key, lock),
            Op::Hold(key, on) => store.hold(&key, on),
            Op::Unreadable(key) => store.set_faults(move |call: &Call<'_>| match call.key == key {
                true => Fault::lost(Failure::Forbidden),
                false => Fault::NONE,
            }),
            Op::Bucket(setting) => store.set_flaws(flaws(setting)),
            Op::Huge(..) => return false, // it would need the memory
        }
    }
    true
}

/// The lock that the manifest of a segment promises: whoever adds one with the key locks it too.
pub fn own_lock(bytes: &[u8]) -> Option<Retention> {
    let from = bytes.windows(13).position(|w| w == br#""retention":{"#)? + 12;
    let to = from + bytes[from..].iter().position(|byte| *byte == b'}')?;
    serde_json::from_slice(&bytes[from..=to]).ok()
}

fn flaws(setting: Setting) -> Flaws {
    match setting {
        Setting::Unversioned => Flaws { unversioned: true, ..Flaws::default() },
        Setting::Unlocked => Flaws { unlockable: true, ..Flaws::default() },
        Setting::Expires => Flaws { expiry_rules: vec!["clean up after 90 days".into()], ..Flaws::default() },
    }
}

/// A directory with the base in it, and copies of it that share the bytes until somebody replaces them.
pub struct Template(tempfile::TempDir);

impl Template {
    pub fn of(base: &Base) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (key, bytes) in &base.objects {
            put(&folder.path().join(key), bytes);
        }
        Self(folder)
    }

    pub fn copy(&self) -> tempfile::TempDir {
        fn links(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let to = to.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    links(&entry.path(), &to);
                } else {
                    fs::hard_link(entry.path(), to).unwrap();
                }
            }
        }
        let copy = tempfile::tempdir().unwrap();
        links(self.0.path(), copy.path());
        copy
    }
}

fn put(path: &PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(path); // the template keeps its own name for the old bytes
    fs::write(path, bytes).unwrap();
}

/// Does it to a directory, which has neither versions nor locks nor settings: `false` for these.
pub fn harm_directory(root: &Path, ops: &[Op]) -> bool {
    for op in ops {
        match op {
            Op::Put(key, bytes) => put(&root.join(key), bytes),
            Op::Remove(key) => fs::remove_file(root.join(key)).unwrap(),
            Op::Huge(key, length) => {
                put(&root.join(key), b"");
                fs::OpenOptions::new().write(true).open(root.join(key)).unwrap().set_len(*length).unwrap();
            }
            Op::Shadow(..) | Op::Under(..) | Op::Mark(_) | Op::Hold(..) | Op::Relock(..) => return false,
            Op::Unreadable(_) | Op::Bucket(_) => return false,
        }
    }
    true
}

pub fn directory(root: &Path) -> Arc<dyn Store> {
    Arc::new(DirStore::new(root))
}
