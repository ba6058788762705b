//! One contract for every store: a directory, memory, and S3 where `AUTHSEAL_TEST_S3` names an endpoint. Where `CI` is
//! set and there is no endpoint, that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod s3;

use authseal::{
    error::{Error, Kind},
    retention::{LockMode, Retention},
    store::{
        Create, Put, ReceiptKind, Store,
        dir::DirStore,
        memory::{Failure, Fault, MemoryStore, Verb},
        put_new,
    },
};
use bytes::Bytes;
use std::sync::Arc;

const NONE: Retention = Retention::NONE;

/// A store under test, and how an attacker gets at it.
struct Subject {
    store: Arc<dyn Store>,
    attacker: Attacker,
    /// What keeps the store alive.
    _keep: Option<tempfile::TempDir>,
}

enum Attacker {
    /// Whoever can write to a directory can replace and remove: there is nothing behind it.
    Directory,
    Memory(MemoryStore),
    S3(s3::Attacker),
}

impl Subject {
    fn dir() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(DirStore::new(root.path()));
        Self { store, attacker: Attacker::Directory, _keep: Some(root) }
    }

    fn memory() -> Self {
        let store = MemoryStore::new();
        Self { store: Arc::new(store.clone()), attacker: Attacker::Memory(store), _keep: None }
    }

    async fn s3() -> Option<Self> {
        let endpoint = s3::endpoint_or_missing("the contract of S3")?;
        let (store, attacker) = s3::store(&endpoint, "contract").await;
        Some(Self { store: Arc::new(store), attacker: Attacker::S3(attacker), _keep: None })
    }

    async fn shadow(&self, key: &str, bytes: &'static [u8]) {
        match &self.attacker {
            Attacker::Directory => unreachable!("a directory has no versions"),
            Attacker::Memory(store) => store.shadow(key, bytes),
            Attacker::S3(attacker) => attacker.shadow(key, bytes).await,
        }
    }

    async fn mark_deleted(&self, key: &str) {
        match &self.attacker {
            Attacker::Directory => unreachable!("a directory has no markers"),
            Attacker::Memory(store) => store.mark_deleted(key),
            Attacker::S3(attacker) => attacker.mark_deleted(key).await,
        }
    }

    fn has_versions(&self) -> bool {
        !matches!(self.attacker, Attacker::Directory)
    }

    async fn put(&self, key: &str, bytes: &'static [u8]) -> Create {
        self.store.create(key, Bytes::from_static(bytes), &NONE).await.unwrap()
    }

    async fn oldest(&self, key: &str) -> Bytes {
        self.store.read_oldest(key).await.unwrap().expect("an object").bytes
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.store.list(prefix, after, limit).await.unwrap().into_iter().map(|entry| entry.key).collect()
    }
}

/// Runs every clause of the contract. Each works under a prefix of its own.
async fn check(subject: &Subject) {
    creates_once(subject).await;
    sizes(subject).await;
    races_have_one_winner(subject).await;
    refuses_odd_keys(subject).await;
    lists(subject).await;
    lists_in_pages(subject).await;
    names_folders(subject).await;
    answers_put_new(subject).await;
    deletes_what_is_not_locked(subject).await;
    replaces_the_checkpoint_alone(subject).await;
    if subject.has_versions() {
        sees_through_shadows_and_markers(subject).await;
    }
}

async fn replaces_the_checkpoint_alone(subject: &Subject) {
    let (key, store) = ("log/checkpoint", &subject.store);
    let newest = || async { store.read_newest(key).await.unwrap().map(|stored| stored.bytes) };
    assert_eq!(newest().await, None);
    for bytes in [&b"one"[..], b"two", b"two", b""] {
        store.replace(key, Bytes::from_static(bytes)).await.unwrap();
        assert_eq!(newest().await.unwrap(), bytes);
    }
    assert_eq!(store.create(key, Bytes::from_static(b"x"), &NONE).await.unwrap(), Create::Exists);
    for key in ["store.json", "log/batches/000000000000", "log/tile/0/000", "chains/a", "../a"] {
        let error = store.replace(key, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Bug, "{key}");
        assert!(store.read_newest("chains/a").await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_keeps_the_contract() {
    check(&Subject::dir()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    check(&Subject::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_keeps_the_contract() {
    if let Some(subject) = Subject::s3().await {
        check(&subject).await;
    }
}

async fn creates_once(subject: &Subject) {
    let key = "once/a";
    assert!(subject.store.read_oldest(key).await.unwrap().is_none());
    assert!(subject.store.read_version(key, "no-such-version").await.unwrap().is_none());
    assert_eq!(subject.store.versions(key).await.unwrap().held.len(), 0);
    assert_eq!(subject.put(key, b"first").await, Create::Created);
    assert_eq!(subject.put(key, b"second").await, Create::Exists);
    assert_eq!(subject.put(key, b"first").await, Create::Exists);
    assert_eq!(subject.oldest(key).await, "first");

    let versions = subject.store.versions(key).await.unwrap();
    assert_eq!((versions.held.len(), versions.markers.len()), (1, 0));
    assert_eq!(versions.held[0].size, 5);
    let stored = subject.store.read_version(key, &versions.held[0].id).await.unwrap().unwrap();
    assert_eq!((stored.bytes, stored.version), (Bytes::from_static(b"first"), versions.held[0].id.clone()));
    // a key that begins like another is another
    assert!(subject.store.read_oldest("once/").await.is_err());
    assert!(subject.store.read_oldest("once/aa").await.unwrap().is_none());
}

async fn sizes(subject: &Subject) {
    let large: Vec<u8> = (0..20u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = Bytes::from(large);
    assert_eq!(subject.store.create("size/large", large.clone(), &NONE).await.unwrap(), Create::Created);
    assert_eq!(subject.oldest("size/large").await, large);
    assert_eq!(subject.put("size/empty", b"").await, Create::Created);
    assert_eq!(subject.put("size/empty", b"x").await, Create::Exists);
    assert_eq!(subject.oldest("size/empty").await, "");
    let sizes: Vec<u64> = subject.store.list("size/", None, 9).await.unwrap().iter().map(|e| e.size).collect();
    assert_eq!(sizes, [0, 20 << 20]);
}

async fn races_have_one_winner(subject: &Subject) {
    for round in 0..8 {
        let key = format!("race/{round}");
        let tasks: Vec<_> = (0..16u8)
            .map(|writer| {
                let (store, key) = (subject.store.clone(), key.clone());
                tokio::spawn(async move {
                    let bytes = Bytes::from(vec![writer; 1000 + usize::from(writer)]);
                    // the caller's duty: ask again with the same bytes
                    for _ in 0..20 {
                        match store.create(&key, bytes.clone(), &NONE).await {
                            Ok(created) => return (writer, created),
                            Err(e) => assert!(e.is_retry(), "{e}"),
                        }
                    }
                    panic!("{key}: no answer in 20 tries");
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            if let (writer, Create::Created) = task.await.unwrap() {
                winners.push(writer);
            }
        }
        let [winner] = winners[..] else { panic!("{key}: winners {winners:?}") };
        assert_eq!(subject.oldest(&key).await, vec![winner; 1000 + usize::from(winner)]);
        assert_eq!(subject.store.versions(&key).await.unwrap().held.len(), 1);
    }
}

async fn refuses_odd_keys(subject: &Subject) {
    for key in [
        "",
        "/",
        "/etc/passwd",
        "../x",
        "odd/../x",
        "odd//x",
        "odd/",
        "odd/x y",
        "odd/ä",
        "odd/\0",
        "odd/a\\b",
        ".tmp/x",
    ] {
        let refused = |e: Option<Error>| assert_eq!(e.map(|e| e.kind()), Some(Kind::Bug), "{key:?}");
        refused(subject.store.create(key, Bytes::new(), &NONE).await.err());
        refused(subject.store.read_oldest(key).await.err());
        refused(subject.store.versions(key).await.err());
    }
    // odd, but in the alphabet of the layout
    for key in ["odd/.x", "odd/..x", "odd/x.", "odd/-", "odd/_/...", "odd/x001/067.p/8"] {
        assert_eq!(subject.put(key, b"x").await, Create::Created, "{key}");
        assert_eq!(subject.oldest(key).await, "x");
    }
    for asked in [
        Retention { mode: LockMode::None, until: Some(1000) },
        Retention { mode: LockMode::Governance, until: None },
        Retention { mode: LockMode::Governance, until: Some(1001) },
    ] {
        let error = subject.store.create("odd/lock", Bytes::new(), &asked).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Bug, "{asked:?}");
    }
    assert!(subject.store.read_oldest("odd/lock").await.unwrap().is_none());
}

async fn lists(subject: &Subject) {
    // byte order of whole keys, not of folders: '-' and '.' come before '/'
    let keys = ["list/a-b", "list/a.b", "list/a/x", "list/a/y/z", "list/a0", "list/b", "list/c/d"];
    for key in keys.iter().rev() {
        subject.put(key, b"12345").await;
    }
    assert_eq!(subject.keys("list/", None, 100).await, keys);
    assert_eq!(subject.keys("list/a", None, 100).await, keys[..5]);
    assert_eq!(subject.keys("list/a/", None, 100).await, keys[2..4]);
    assert_eq!(subject.keys("list/a/y", None, 100).await, keys[3..4]);
    assert_eq!(subject.keys("list/zz/", None, 100).await, [""; 0]);
    assert_eq!(subject.keys("list/", None, 0).await, [""; 0]);
    for limit in 1..8 {
        assert_eq!(subject.keys("list/", None, limit).await, keys[..limit.min(7)]);
    }
    for (at, after) in keys.iter().enumerate() {
        assert_eq!(subject.keys("list/", Some(after), 100).await, keys[at + 1..], "after {after}");
        assert_eq!(subject.keys("list/", Some(after), 1).await, keys[at + 1..keys.len().min(at + 2)], "after {after}");
    }
    // `after` need not exist, nor lie under the prefix
    assert_eq!(subject.keys("list/", Some("list/a/"), 100).await, keys[2..]);
    assert_eq!(subject.keys("list/", Some("a"), 100).await, keys);
    assert_eq!(subject.keys("list/", Some("list0"), 100).await, [""; 0]);
    let entry = &subject.store.list("list/b", None, 1).await.unwrap()[0];
    assert_eq!((entry.versions, entry.markers, entry.size), (1, 0, 5));
    let stored = subject.store.read_version("list/b", &entry.oldest).await.unwrap().unwrap();
    assert_eq!(stored.bytes, "12345");
    assert!(subject.store.list("../", None, 1).await.is_err());
}

async fn lists_in_pages(subject: &Subject) {
    let keys: Vec<String> = (0..60).map(|n| format!("page/{n:012}.avro")).collect();
    for key in &keys {
        subject.put(key, b"p").await;
    }
    for size in [1, 7, 59, 60, 61] {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = subject.keys("page/", after.as_deref(), size).await;
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page);
        }
        assert_eq!(seen, keys, "pages of {size}");
    }
    // the question by which the tail of a chain is found
    assert_eq!(subject.keys("page/", Some("page/000000000058.avro"), 1).await, ["page/000000000059.avro"]);
    assert_eq!(subject.keys("page/", Some("page/000000000059.avro"), 1).await, [""; 0]);
}

async fn names_folders(subject: &Subject) {
    for key in ["dirs/main/a/0/x", "dirs/main/a/1/x", "dirs/main/a-b/0/x", "dirs/file", "dirs/main/a.b/0/x"] {
        subject.put(key, b"").await;
    }
    assert_eq!(subject.store.folders("dirs/").await.unwrap(), ["dirs/main/"]);
    assert_eq!(
        subject.store.folders("dirs/main/").await.unwrap(),
        ["dirs/main/a-b/", "dirs/main/a.b/", "dirs/main/a/"]
    );
    assert_eq!(subject.store.folders("dirs/main/a/").await.unwrap(), ["dirs/main/a/0/", "dirs/main/a/1/"]);
    assert_eq!(subject.store.folders("dirs/none/").await.unwrap(), [""; 0]);
    assert!(subject.store.folders("").await.unwrap().contains(&"dirs/".to_owned()));
}

async fn answers_put_new(subject: &Subject) {
    let store = &*subject.store;
    let put = |bytes: &'static [u8]| put_new(store, "put/a", Bytes::from_static(bytes), &NONE);
    let ours = |put: Put| match put {
        Put::Ours(receipt) => Some(receipt.kind()),
        _ => None,
    };
    assert_eq!(ours(put(b"mine").await.unwrap()), Some(ReceiptKind::Created));
    assert_eq!(ours(put(b"mine").await.unwrap()), Some(ReceiptKind::OwnLostResponse));
    match put(b"other").await.unwrap() {
        Put::Taken(stored) => assert_eq!(stored.bytes, "mine"),
        put => panic!("{put:?}"),
    }
}

async fn deletes_what_is_not_locked(subject: &Subject) {
    let key = "delete/a";
    subject.put(key, b"a").await;
    let version = subject.store.versions(key).await.unwrap().held[0].id.clone();
    let change = subject.store.delete_version(key, &version).await.unwrap();
    assert_eq!(change, authseal::store::Change::Done);
    assert!(subject.store.read_oldest(key).await.unwrap().is_none());
    assert!(subject.store.list("delete/", None, 9).await.unwrap().is_empty());
    assert_eq!(subject.put(key, b"b").await, Create::Created);
}

async fn sees_through_shadows_and_markers(subject: &Subject) {
    let key = "shadow/a";
    subject.put(key, b"first").await;
    subject.put("shadow/ab", b"neighbour").await;
    subject.shadow(key, b"shadow").await;
    assert_eq!(subject.oldest(key).await, "first");
    subject.mark_deleted(key).await;
    assert_eq!(subject.oldest(key).await, "first");
    for _ in 0..3 {
        subject.shadow(key, b"again").await;
    }
    subject.mark_deleted(key).await;
    assert_eq!(subject.oldest(key).await, "first");

    let versions = subject.store.versions(key).await.unwrap();
    assert_eq!((versions.held.len(), versions.markers.len()), (5, 2));
    assert_eq!(versions.held.iter().map(|v| v.size).collect::<Vec<_>>(), [5, 6, 5, 5, 5]);
    // one entry for each key, whatever lies above it, and pages that end within its versions
    for limit in [1, 2, 9] {
        let entries = subject.store.list("shadow/", None, limit).await.unwrap();
        assert_eq!(entries.len(), limit.min(2));
        let entry = &entries[0];
        assert_eq!((entry.key.as_str(), entry.versions, entry.markers, entry.size), (key, 5, 2, 5));
        assert_eq!(entry.oldest, versions.held[0].id);
    }
    // a marker over nothing takes the key and the folder
    subject.mark_deleted("shadow/lone/marker").await;
    assert!(subject.store.read_oldest("shadow/lone/marker").await.unwrap().is_none());
    let entry = subject.store.list("shadow/lone/", None, 9).await.unwrap().remove(0);
    assert_eq!((entry.versions, entry.markers, entry.size), (0, 1, 0));
    assert_eq!(subject.store.folders("shadow/").await.unwrap(), ["shadow/lone/"]);
}

/// What the killed writer writes: whole objects can be told from torn ones by their bytes.
fn content(number: u32) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(16 * 1024))
}

struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `kill -9` at any instruction leaves objects that are whole, or none: this test starts itself as the writer, and
/// kills it.
#[tokio::test]
async fn a_killed_writer_leaves_only_whole_objects() {
    const CHILD: &str = "AUTHSEAL_TEST_KILLED_WRITER";
    if let Some(root) = std::env::var_os(CHILD) {
        let store = DirStore::new(root);
        // bounded, should nobody be left to kill it
        for number in 0..4_000 {
            store.create(&format!("chains/{}/{number:012}", number % 7), content(number), &NONE).await.unwrap();
        }
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut whole = 0;
    for round in 0..6 {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_killed_writer_leaves_only_whole_objects", "--exact"])
            .env(CHILD, root.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let writer = KilledOnDrop(child);
        // not before it writes, and then at another moment each time
        let store = DirStore::new(root.path());
        while store.list("chains/", None, usize::MAX).await.unwrap().len() <= whole {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_micros(1_700 * round)).await;
        drop(writer);
        let entries = store.list("chains/", None, usize::MAX).await.unwrap();
        assert!(entries.len() > whole);
        whole = entries.len();
        for entry in entries {
            let number = entry.key.rsplit('/').next().unwrap().parse().unwrap();
            assert_eq!(store.read_oldest(&entry.key).await.unwrap().unwrap().bytes, content(number), "{}", entry.key);
        }
    }
}

/// Each effect fails twice: lost, and landed but reported as failed.
#[tokio::test]
async fn a_lost_answer_is_recognised_as_our_own() {
    for failure in [Failure::Timeout, Failure::Unavailable] {
        for (fault, expected) in
            [(Fault::lost(failure), ReceiptKind::Created), (Fault::landed(failure), ReceiptKind::OwnLostResponse)]
        {
            let store = MemoryStore::new();
            let lock = Retention { mode: LockMode::Compliance, until: Some(5_000) };
            let mut failed = false;
            store.set_faults(move |call: &authseal::store::memory::Call<'_>| {
                if call.verb == Verb::Create && !std::mem::replace(&mut failed, true) { fault } else { Fault::NONE }
            });
            let put = || put_new(&store, "chains/a", Bytes::from_static(b"bytes"), &lock);
            assert!(put().await.unwrap_err().is_retry());
            match put().await.unwrap() {
                Put::Ours(receipt) => assert_eq!(receipt.kind(), expected),
                put => panic!("{put:?}"),
            }
        }
    }
}

#[tokio::test]
async fn our_bytes_without_our_lock_are_no_receipt() {
    let store = MemoryStore::new();
    let lock = Retention { mode: LockMode::Compliance, until: Some(5_000) };
    store.create("chains/a", Bytes::from_static(b"bytes"), &NONE).await.unwrap();
    let put = || put_new(&store, "chains/a", Bytes::from_static(b"bytes"), &lock);
    for (weaker, refused) in [
        (NONE, true),
        (Retention { mode: LockMode::Governance, until: Some(9_000) }, true),
        (Retention { mode: LockMode::Compliance, until: Some(4_000) }, true),
        (lock, false),
        (Retention { mode: LockMode::Compliance, until: Some(9_000) }, false),
    ] {
        store.relock("chains/a", weaker);
        match put().await {
            Err(e) => assert!(refused && e.kind() == Kind::Config && e.to_string().contains("lock"), "{weaker:?}: {e}"),
            Ok(put) => assert!(!refused && matches!(put, Put::Ours(_)), "{weaker:?}: {put:?}"),
        }
    }
}

#[tokio::test]
async fn a_marker_alone_is_told_apart() {
    let store = MemoryStore::flawed(authseal::store::memory::Flaws { markers_block: true, ..Default::default() });
    store.mark_deleted("chains/a");
    let put = put_new(&store, "chains/a", Bytes::from_static(b"bytes"), &NONE).await.unwrap();
    assert!(matches!(put, Put::Marker), "{put:?}");
}

#[tokio::test]
#[should_panic(expected = "immutable")]
async fn memory_panics_when_a_user_removes_evidence() {
    let store = MemoryStore::new();
    store.create("chains/a", Bytes::from_static(b"bytes"), &NONE).await.unwrap();
    let version = store.versions("chains/a").await.unwrap().held[0].id.clone();
    let _ = store.delete_version("chains/a", &version).await;
}
