//! Stores that misbehave, or watch who reads them.

use async_trait::async_trait;
use authseal::{
    error::Result,
    retention::Retention,
    store::{
        Bucket, Change, Create, Entry, Store, Stored, Versions,
        memory::{Call, Fault, Faults, MemoryStore},
    },
};
use bytes::Bytes;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// A store that fails as it is told.
pub struct Script<F>(pub F);

impl<F: FnMut(&Call<'_>) -> Fault + Send> Faults for Script<F> {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        (self.0)(call)
    }
}

/// Counts how many reads are under way, and forgets one key in its lists, as a directory may that is being written to.
pub struct Watched {
    inner: MemoryStore,
    reading: AtomicUsize,
    pub most: Arc<AtomicUsize>,
    /// How often an object was read.
    pub reads: AtomicUsize,
    pub forget: Vec<String>,
    pub limits: Arc<Mutex<Vec<usize>>>,
}

impl Watched {
    pub fn new(inner: MemoryStore) -> Self {
        let reads = AtomicUsize::new(0);
        Self {
            inner,
            reading: AtomicUsize::new(0),
            most: Arc::default(),
            reads,
            forget: Vec::new(),
            limits: Arc::default(),
        }
    }

    async fn watched<T>(&self, read: impl Future<Output = T>) -> T {
        self.reads.fetch_add(1, Relaxed);
        let now = self.reading.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.reading.fetch_sub(1, Relaxed);
        read.await
    }
}

#[async_trait]
impl Store for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn create(&self, _: &str, _: Bytes, _: &Retention) -> Result<Create> {
        panic!("an audit never writes")
    }
    async fn read_oldest(&self, key: &str) -> Result<Option<Stored>> {
        self.watched(self.inner.read_oldest(key)).await
    }
    async fn read_newest(&self, key: &str) -> Result<Option<Stored>> {
        self.inner.read_newest(key).await
    }
    async fn replace(&self, _: &str, _: Bytes) -> Result<()> {
        panic!("an audit never writes")
    }
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let mut page = self.inner.list(prefix, after, limit + self.forget.len()).await?;
        page.retain(|entry| !self.forget.contains(&entry.key));
        page.truncate(limit);
        self.limits.lock().unwrap().push(page.len());
        Ok(page)
    }
    async fn clock(&self) -> Result<Option<i64>> {
        self.inner.clock().await
    }
    async fn read_version(&self, key: &str, version: &str) -> Result<Option<Stored>> {
        self.watched(self.inner.read_version(key, version)).await
    }
    async fn versions(&self, key: &str) -> Result<Versions> {
        self.inner.versions(key).await
    }
    async fn retention_of(&self, key: &str, version: &str) -> Result<Option<Retention>> {
        self.inner.retention_of(key, version).await
    }
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.folders(prefix).await
    }
    async fn delete_version(&self, _: &str, _: &str) -> Result<Change> {
        panic!("an audit never writes")
    }
    async fn set_retention(&self, _: &str, _: &str, _: &Retention) -> Result<Change> {
        panic!("an audit never writes")
    }
    async fn bucket(&self) -> Result<Option<Bucket>> {
        self.inner.bucket().await
    }
}
