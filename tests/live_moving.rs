//! Evidence moves to another bucket, as docs/operations.md says: what a copy needs, what verify says of one that lacks
//! it, and that the work goes on there.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;

use authseal::{
    retention::Retention,
    store::{self, Create, Store, StoreSpec},
};
use live::{Live, Record, Site, create_bucket, publish, unique};
use serde_json::json;
use std::sync::Arc;

fn records(from: u64, count: u64) -> impl Iterator<Item = Record> {
    (from..from + count).map(|n| {
        let value = json!({"event_id": n.to_string(), "time": "2026-01-01T00:00:00Z", "activity": "LOGON",
            "outcome": "SUCCESS", "user": format!("u{n}"), "src_ip": "10.0.0.1"});
        Record { value: Some(value.to_string().into()), ..Record::default() }
    })
}

async fn open(site: &Site, live: &Live, bucket: &str) -> Arc<dyn Store> {
    let spec = site.store(live).replace(&site.bucket, bucket);
    store::open(&StoreSpec::parse(&spec).unwrap()).await.unwrap()
}

/// Copies the oldest version of each key, with its lock or without; what is there already stays.
async fn copy(from: &dyn Store, to: &dyn Store, locks: bool) -> usize {
    let (mut after, mut copied): (Option<String>, usize) = (None, 0);
    loop {
        let page = from.list("", after.as_deref(), 1000).await.unwrap();
        let Some(last) = page.last() else { return copied };
        after = Some(last.key.clone());
        for entry in page.iter().filter(|entry| !entry.key.starts_with("selftest/")) {
            let stored = from.read_oldest(&entry.key).await.unwrap().unwrap();
            let lock = match stored.retention {
                Some(lock) => Some(lock),
                None => from.retention_of(&entry.key, &stored.version).await.unwrap(),
            };
            let lock = lock.filter(|_| locks).unwrap_or(Retention::NONE);
            copied += usize::from(to.create(&entry.key, stored.bytes, &lock).await.unwrap() == Create::Created);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_with_its_locks_verifies_and_the_work_goes_on_there() {
    let Some(live) = Live::get() else { return };
    let topic = unique("moving");
    let site = Site::new(&live, &topic, 1, "json", "").await;
    let one = site.run("one");
    publish(&live.kafka, &topic, records(0, 500));
    site.wait_until_sealed(&live, 500, 60);
    assert_eq!(one.terminate(), Some(0), "{}", site.log("one"));

    let from = open(&site, &live, &site.bucket).await;
    let [bare, whole] = [unique("bare"), unique("whole")];
    let verify = |bucket: &str| site.verify(&site.store(&live).replace(&site.bucket, bucket));
    create_bucket(&live.s3, &bare).await;
    assert!(copy(&*from, &*open(&site, &live, &bare).await, false).await > 3);
    let (code, report) = verify(&bare);
    assert_eq!(code, 13, "{report:#}");
    assert!(report["findings"].to_string().contains("lock_missing"), "{report:#}");

    create_bucket(&live.s3, &whole).await;
    let to = open(&site, &live, &whole).await;
    assert!(copy(&*from, &*to, true).await > 3);
    let (code, report) = verify(&whole);
    assert_eq!(code, 0, "{report:#}");

    let file = site.path("authseal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&site.bucket, &whole)).unwrap();
    publish(&live.kafka, &topic, records(500, 500));
    let two = site.run("two");
    let moved = Site { bucket: whole.clone(), ..site };
    moved.wait_until_sealed(&live, 1000, 60);
    assert_eq!(two.terminate(), Some(0), "{}", moved.log("two"));
    let (code, report) = moved.verify(&moved.store(&live));
    assert_eq!((code, &report["totals"]["events"]), (0, &json!(1000)), "{report:#}");
}
