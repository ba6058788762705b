//! Buckets of the S3 endpoint: made for one contestant, removed with what it has stored.

use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    types::{Delete, ObjectIdentifier},
};

/// What every run uses: the endpoint believes all.
pub const KEY: &str = "test";
pub const REGION: &str = "us-east-1";

fn client(s3: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(s3)
        .force_path_style(true)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "bench"))
        .build();
    Client::from_conf(config)
}

/// The bucket as `authseal` names it.
pub fn spec(s3: &str, name: &str) -> String {
    format!("s3://{name}?endpoint={s3}&path_style=true&region={REGION}")
}

/// Makes a bucket, one that can lock objects or not.
pub async fn create(s3: &str, name: &str, locks: bool) -> Result<(), String> {
    let made = client(s3).create_bucket().bucket(name).object_lock_enabled_for_bucket(locks).send().await;
    made.map(drop).map_err(|e| format!("cannot create the bucket {name}: {e:?}"))
}

/// Removes a bucket with all versions in it, locked ones too: what a dozen contestants store would fill the endpoint.
pub async fn remove(s3: &str, name: &str, locks: bool) -> Result<(), String> {
    let (client, why) = (client(s3), |e: String| format!("cannot empty the bucket {name}: {e}"));
    loop {
        let page = client.list_object_versions().bucket(name).send().await.map_err(|e| why(format!("{e:?}")))?;
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
        let all = versions.chain(page.delete_markers().iter().map(|m| (m.key(), m.version_id())));
        let named = all.filter_map(|(key, version)| {
            ObjectIdentifier::builder().key(key?).set_version_id(version.map(Into::into)).build().ok()
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            break;
        }
        let delete = Delete::builder().set_objects(Some(named)).quiet(true).build();
        let delete = delete.map_err(|e| why(e.to_string()))?;
        let deleted =
            client.delete_objects().bucket(name).delete(delete).set_bypass_governance_retention(locks.then_some(true));
        let deleted = deleted.send().await.map_err(|e| why(format!("{e:?}")))?;
        if let Some(error) = deleted.errors().first() {
            return Err(why(format!("{:?}", error.message())));
        }
    }
    client.delete_bucket().bucket(name).send().await.map(drop).map_err(|e| why(format!("{e:?}")))
}
