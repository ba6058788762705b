//! `[store]`: where segments go and how long they are locked.

use super::{
    check::Check,
    classes::{self, Classes},
    settings::{ChecksumName, StoreKindName, StoreSettings},
};
use crate::{
    ingest::RetentionPolicy,
    store::{StoreSpec, s3::S3Settings},
};
use std::time::Duration;

/// Where segments go.
#[derive(Debug, Clone)]
pub struct Store {
    /// Which store.
    pub spec: StoreSpec,
    /// How objects are locked, unless the topic says otherwise.
    pub retention: RetentionPolicy,
    /// How long what is sealed of each topic stays.
    pub classes: Classes,
    /// Whether locks that nobody can shorten are meant.
    pub confirm_compliance: bool,
}

/// `topics`: each with the class that it chooses.
pub(super) fn resolve(
    settings: StoreSettings,
    topics: &[classes::Choice],
    heartbeat: Duration,
    check: &mut Check<'_>,
) -> Option<Store> {
    let kind = match settings.kind {
        None => {
            check.missing("store.kind", "\"s3\" or \"dir\"");
            None
        }
        Some(StoreKindName::Dir) => dir(&settings, check),
        Some(StoreKindName::S3) => s3(&settings, check),
    };
    let confirm_compliance = settings.confirm_compliance;
    let (default, named) = classes::resolve(&settings.retention, settings.kind, confirm_compliance, heartbeat, check);
    let classes = classes::of_topics(topics, &default, &named, check);
    Some(Store { spec: kind?, retention: default.policy, classes, confirm_compliance })
}

fn dir(settings: &StoreSettings, check: &mut Check<'_>) -> Option<StoreSpec> {
    let foreign = [
        ("bucket", settings.bucket.is_some()),
        ("prefix", settings.prefix.is_some()),
        ("region", settings.region.is_some()),
        ("endpoint", settings.endpoint.is_some()),
        ("path_style", settings.path_style.is_some()),
        ("checksum", settings.checksum.is_some()),
    ];
    for (name, _) in foreign.iter().filter(|(_, set)| *set) {
        check.wrong(&format!("store.{name}"), "belongs to kind = \"s3\"");
    }
    match &settings.path {
        Some(path) => Some(StoreSpec::Dir(check.path(path))),
        None => {
            check.missing("store.path", "the folder that holds the evidence");
            None
        }
    }
}

fn s3(settings: &StoreSettings, check: &mut Check<'_>) -> Option<StoreSpec> {
    if settings.path.is_some() {
        check.wrong("store.path", "belongs to kind = \"dir\"");
    }
    let Some(bucket) = settings.bucket.clone() else {
        check.missing("store.bucket", "the bucket that holds the evidence, created with Object Lock");
        return None;
    };
    // each part is checked by itself, so that each fault is told at its place
    let place = S3Settings::new(bucket, "");
    if let Err(error) = place.check() {
        check.wrong("store.bucket", error.to_string());
    }
    let mut s3 = S3Settings::new("bucket", settings.prefix.as_deref().unwrap_or_default());
    if let Err(error) = s3.check() {
        check.wrong("store.prefix", error.to_string());
    }
    if let Some(endpoint) = &settings.endpoint {
        let address = S3Settings { endpoint: Some(endpoint.clone()), ..S3Settings::new("bucket", "") };
        if let Err(error) = address.check() {
            check.wrong("store.endpoint", error.to_string());
        } else if endpoint.strip_prefix("http://").is_some_and(|host| !super::resolve::is_local(host)) {
            check.warn("store.endpoint: the connection is not encrypted");
        }
    }
    s3.bucket = place.bucket;
    s3.region.clone_from(&settings.region);
    s3.endpoint.clone_from(&settings.endpoint);
    // servers that are not AWS's seldom have a host name for each bucket
    s3.path_style = settings.path_style.unwrap_or(settings.endpoint.is_some());
    s3.when_required = settings.checksum.unwrap_or_default() == ChecksumName::WhenRequired;
    Some(StoreSpec::S3(s3))
}
