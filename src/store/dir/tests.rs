//! What only a directory can get wrong; the rest is in tests/store_contract.rs.

use super::*;
use crate::{error::Kind, store::Create};
use std::{
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, SystemTime},
};

const NONE: Retention = Retention::NONE;

fn store() -> (tempfile::TempDir, DirStore) {
    let root = tempfile::tempdir().unwrap();
    let store = DirStore::new(root.path());
    (root, store)
}

async fn put(store: &DirStore, key: &str) -> Result<Create> {
    store.create(key, Bytes::from_static(b"bytes"), &NONE).await
}

async fn keys(store: &DirStore) -> Vec<String> {
    store.list("", None, usize::MAX).await.unwrap().into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn reading_writes_nothing_and_a_missing_directory_is_not_an_empty_store() {
    let (root, _) = store();
    let missing = root.path().join("missing");
    let store = DirStore::new(&missing);
    for error in [store.read_oldest("a").await.unwrap_err(), store.list("", None, 9).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("missing"), "{error}");
    }
    assert!(!missing.exists());
    let empty = DirStore::new(root.path());
    assert_eq!(keys(&empty).await, [""; 0]);
    assert!(empty.read_oldest("a").await.unwrap().is_none());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn files_are_read_only_and_leave_no_half_written_ones() {
    let (root, store) = store();
    assert_eq!(put(&store, "a/b").await.unwrap(), Create::Created);
    assert_eq!(put(&store, "a/b").await.unwrap(), Create::Exists);
    let mode = fs::metadata(root.path().join("a/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o444, 0, "{mode:o}");
    assert_eq!(fs::read_dir(root.path().join(".tmp")).unwrap().count(), 0);
    assert_eq!(keys(&store).await, ["a/b"]);
}

#[tokio::test]
async fn what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not() {
    let (root, store) = store();
    let temp = root.path().join(".tmp");
    fs::create_dir(&temp).unwrap();
    for (name, age) in [("old", 2 * 3600), ("young", 60)] {
        let file = fs::File::create(temp.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    assert_eq!(keys(&store).await, [""; 0]);
    put(&store, "a").await.unwrap();
    assert!(!temp.join("old").exists());
    assert!(temp.join("young").exists());
    assert_eq!(keys(&store).await, ["a"]);
    assert_eq!(store.folders("").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn links_are_listed_but_never_followed() {
    let (root, store) = store();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    put(&store, "a/file").await.unwrap();
    symlink(outside.path().join("secret"), root.path().join("a/link")).unwrap();
    symlink(outside.path(), root.path().join("b")).unwrap();
    assert_eq!(keys(&store).await, ["a/file", "a/link", "b"]);
    assert_eq!(store.folders("").await.unwrap(), ["a/"]);
    for key in ["a/link", "b/secret", "b"] {
        let error = store.read_oldest(key).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Tampered, "{key}: {error}");
    }
    assert_eq!(put(&store, "a/link").await.unwrap(), Create::Exists);
    assert_eq!(put(&store, "b/new").await.unwrap_err().kind(), Kind::Tampered);
    assert!(store.list("b/", None, 9).await.is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_in_the_place_of_a_folder_is_named() {
    let (_root, store) = store();
    put(&store, "a").await.unwrap();
    let error = put(&store, "a/b").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(store.read_oldest("a/b").await.unwrap().is_none());
    put(&store, "c/d").await.unwrap();
    assert_eq!(put(&store, "c").await.unwrap(), Create::Exists);
    assert_eq!(store.read_oldest("c").await.unwrap_err().kind(), Kind::Tampered);
}

#[tokio::test]
async fn an_object_that_is_too_long_is_not_read_into_memory() {
    let (root, store) = store();
    let file = fs::File::create(root.path().join("huge")).unwrap();
    file.set_len(MAX_OBJECT + 1).unwrap();
    let error = store.read_oldest("huge").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
}

#[tokio::test]
async fn folders_without_files_are_none() {
    let (root, store) = store();
    put(&store, "a/b/c").await.unwrap();
    fs::create_dir_all(root.path().join("empty/empty")).unwrap();
    assert_eq!(store.folders("").await.unwrap(), ["a/"]);
    assert_eq!(keys(&store).await, ["a/b/c"]);
}

#[tokio::test]
async fn a_hundred_thousand_files_are_listed_in_order() {
    let (root, store) = store();
    let folder = root.path().join("chains");
    fs::create_dir(&folder).unwrap();
    // hard links are cheap to make: one inode, many names
    fs::write(root.path().join("seed"), "x").unwrap();
    let mut seed = 0;
    for n in 0..100_000 {
        if n % 30_000 == 0 {
            // file systems bound the links of one inode
            seed += 1;
            fs::write(root.path().join(format!("seed{seed}")), "x").unwrap();
        }
        fs::hard_link(root.path().join(format!("seed{seed}")), folder.join(format!("{n:012}.avro"))).unwrap();
    }
    let all = store.list("chains/", None, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 100_000);
    assert!(all.windows(2).all(|pair| pair[0].key < pair[1].key));
    let tail = store.list("chains/", Some("chains/000000099997.avro"), 10).await.unwrap();
    assert_eq!(
        tail.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(),
        ["chains/000000099998.avro", "chains/000000099999.avro"]
    );
    let page = store.list("chains/", Some("chains/000000050000.avro"), 3).await.unwrap();
    assert_eq!(page[0].key, "chains/000000050001.avro");
    assert_eq!(page.len(), 3);
}
