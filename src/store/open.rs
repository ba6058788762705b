//! From what a person writes to a store: `s3://bucket/prefix?endpoint=…`, or a path.

use super::{
    Store,
    dir::DirStore,
    s3::{S3Settings, S3Store, decode},
};
use crate::error::{Error, Result};
use std::{fmt, path::PathBuf, sync::Arc};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSpec {
    /// A local directory.
    Dir(PathBuf),
    /// A bucket, or a prefix of one.
    S3(S3Settings),
}

impl StoreSpec {
    /// Reads `s3://bucket/prefix?endpoint=http://…&path_style=true&region=…&checksum=when_required`, `file:///path` or
    /// a path.
    ///
    /// An endpoint implies `path_style=true` unless it says otherwise. Values may be percent-encoded.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("s3", rest)) => parse_s3(text, rest).map(Self::S3),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::Dir(path.into())),
            Some(_) => Err(Error::config(format!("{text:?} is not a store: write s3://bucket/prefix, or a path"))),
            None if text.is_empty() => Err(Error::config("the store is empty: write s3://bucket/prefix, or a path")),
            None => Ok(Self::Dir(text.into())),
        }
    }
}

fn parse_s3(text: &str, rest: &str) -> Result<S3Settings> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let mut settings = S3Settings::new(bucket, prefix);
    let mut path_style = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value, false);
        let wrong = |known: &str| Error::config(format!("{name}={value:?} in the store {place:?}: {known}"));
        match (name, value.as_str()) {
            ("endpoint", endpoint) => settings.endpoint = Some(endpoint.to_owned()),
            ("region", region) if !region.is_empty() => settings.region = Some(region.to_owned()),
            ("path_style", "true") => path_style = Some(true),
            ("path_style", "false") => path_style = Some(false),
            ("checksum", "when_required") => settings.when_required = true,
            ("checksum", "when_supported") => settings.when_required = false,
            ("path_style", _) => return Err(wrong("write true or false")),
            ("checksum", _) => return Err(wrong("write when_required or when_supported")),
            ("region", _) => return Err(wrong("write the name of a region")),
            _ => return Err(wrong("known are endpoint, region, path_style, checksum")),
        }
    }
    settings.path_style = path_style.unwrap_or(settings.endpoint.is_some());
    // an endpoint with a password in it must not be echoed
    let shown = text.split('?').next().unwrap_or_default();
    settings.check().map_err(|e| e.context(format!("the store {shown:?}")))?;
    Ok(settings)
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "{}", path.display()),
            Self::S3(settings) => write!(f, "{settings}"),
        }
    }
}

/// The store of `spec`. Nothing is asked of it yet, and nothing written.
pub async fn open(spec: &StoreSpec) -> Result<Arc<dyn Store>> {
    Ok(match spec {
        StoreSpec::Dir(path) => Arc::new(DirStore::new(path)),
        StoreSpec::S3(settings) => Arc::new(S3Store::connect(settings.clone()).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_read_as_people_write_them() {
        let s3 = |text: &str| match StoreSpec::parse(text).unwrap() {
            StoreSpec::S3(settings) => settings,
            spec => panic!("{spec:?}"),
        };
        assert_eq!(s3("s3://evidence"), S3Settings::new("evidence", ""));
        assert_eq!(s3("s3://evidence/a/b/"), S3Settings::new("evidence", "a/b"));
        let local = s3("s3://evidence/a?endpoint=http://127.0.0.1:4566&region=eu-central-1&checksum=when_required");
        assert_eq!(local.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
        assert_eq!(local.region.as_deref(), Some("eu-central-1"));
        assert!(local.path_style && local.when_required);
        assert_eq!(local.to_string(), "s3://evidence/a at http://127.0.0.1:4566");
        let encoded = s3("s3://evidence?endpoint=https%3A%2F%2Fs3.example.org&path_style=false");
        assert_eq!(encoded.endpoint.as_deref(), Some("https://s3.example.org"));
        assert!(!encoded.path_style);

        for (text, path) in [("store", "store"), ("/var/lib/store", "/var/lib/store"), ("file:///srv/a", "/srv/a")] {
            assert_eq!(StoreSpec::parse(text).unwrap(), StoreSpec::Dir(path.into()));
        }
    }

    #[test]
    fn what_is_no_store_is_refused_without_echoing_passwords() {
        for text in [
            "",
            "s3://",
            "s3:///prefix",
            "s3://buc ket",
            "s3://b/../c",
            "s3://b/a//c",
            "s3://b?colour=red",
            "s3://b?path_style=yes",
            "s3://b?region=",
            "s3://b?endpoint=127.0.0.1:4566",
            "s3://b?endpoint=",
            "s3://b?endpoint=https://user:hunter2@host",
            "gs://bucket",
            "file://relative",
        ] {
            let error = StoreSpec::parse(text).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Config, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
