//! What a bucket says of itself: versioning, Object Lock, and the rules by which it deletes.

use super::{
    S3Store,
    errors::{Class, Reply, reply},
};
use crate::{
    error::Result,
    layout,
    store::{Answer, Bucket},
};
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule, ObjectLockEnabled};

/// Where evidence lies. Checkpoints and partial tiles are replaced, so that their old versions may go.
const EVIDENCE: [&str; 4] = [layout::STORE_JSON, layout::CHAINS, layout::ARTIFACTS, layout::BATCHES];

impl S3Store {
    /// Three requests.
    pub(super) async fn describe_bucket(&self) -> Result<Bucket> {
        let name = &self.settings.bucket;
        let unknown = |reply: Reply, permission: &str| match reply.class {
            Class::Forbidden => Ok(Answer::Unknown(format!("{}; allow {permission}", reply.text))),
            Class::Unsupported | Class::Refused => Ok(Answer::Unknown(reply.text)),
            _ => Err(reply.error(&format!("{}: reading its settings", self.settings), permission)),
        };
        let versioned = match self.client.get_bucket_versioning().bucket(name).send().await {
            Ok(answer) if answer.status() == Some(&BucketVersioningStatus::Enabled) => Answer::Yes,
            Ok(_) => Answer::No,
            Err(e) => unknown(reply(&e), "s3:GetBucketVersioning")?,
        };
        let (lockable, locks_by_default) = match self.client.get_object_lock_configuration().bucket(name).send().await {
            Ok(answer) => {
                let lock = answer.object_lock_configuration();
                let enabled = lock.and_then(|lock| lock.object_lock_enabled()) == Some(&ObjectLockEnabled::Enabled);
                let default = lock.and_then(|lock| lock.rule()).and_then(|rule| rule.default_retention()).is_some();
                (yes(enabled), yes(default))
            }
            Err(e) => match reply(&e) {
                Reply { class: Class::NoLock | Class::Missing, .. } => (Answer::No, Answer::No),
                other => {
                    let answer = unknown(other, "s3:GetBucketObjectLockConfiguration")?;
                    (answer.clone(), answer)
                }
            },
        };
        let (expires, expiry_rules) = match self.client.get_bucket_lifecycle_configuration().bucket(name).send().await {
            Ok(answer) => {
                let rules: Vec<String> =
                    answer.rules().iter().filter(|rule| self.deletes_evidence(rule)).map(named).collect();
                (yes(!rules.is_empty()), rules)
            }
            Err(e) => match reply(&e) {
                // NoSuchLifecycleConfiguration
                Reply { class: Class::Missing, .. } => (Answer::No, Vec::new()),
                other => (unknown(other, "s3:GetLifecycleConfiguration")?, Vec::new()),
            },
        };
        Ok(Bucket { versioned, lockable, locks_by_default, expires, expiry_rules })
    }

    /// Whether a rule deletes objects, or older versions, of a place where evidence lies. A rule for objects with a
    /// tag does not concern ours, which have none.
    fn deletes_evidence(&self, rule: &LifecycleRule) -> bool {
        let current = rule.expiration().is_some_and(|rule| rule.days().is_some() || rule.date().is_some());
        let deletes = current || rule.noncurrent_version_expiration().is_some();
        let filter = rule.filter();
        let and = filter.and_then(|filter| filter.and());
        let tagged = filter.is_some_and(|f| f.tag().is_some()) || and.is_some_and(|and| !and.tags().is_empty());
        #[allow(deprecated)] // the prefix of rules that were made before filters
        let old = rule.prefix();
        let prefix = old.or_else(|| filter?.prefix()).or_else(|| and?.prefix()).unwrap_or_default();
        let touches = |place: &&str| {
            let place = self.full_key(place);
            place.starts_with(prefix) || prefix.starts_with(&place)
        };
        *rule.status() == ExpirationStatus::Enabled && deletes && !tagged && EVIDENCE.iter().any(touches)
    }
}

fn named(rule: &LifecycleRule) -> String {
    match rule.id() {
        Some(id) if !id.is_empty() => id.chars().filter(|c| !c.is_control()).take(255).collect(),
        _ => "a rule without a name".into(),
    }
}

fn yes(yes: bool) -> Answer {
    if yes { Answer::Yes } else { Answer::No }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::s3::S3Settings;
    use aws_config::{BehaviorVersion, SdkConfig};
    use aws_sdk_s3::types::{LifecycleExpiration, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag};

    #[test]
    fn rules_that_delete_evidence_are_told_from_others() {
        let base = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let store = S3Store::with_config(S3Settings::new("bucket", "some/prefix"), &base).unwrap();
        let after = || LifecycleExpiration::builder().days(30).build();
        let older = || NoncurrentVersionExpiration::builder().noncurrent_days(30).build();
        let under = |prefix: &str| LifecycleRuleFilter::builder().prefix(prefix).build();
        let rule = || LifecycleRule::builder().status(ExpirationStatus::Enabled);
        let tag = Tag::builder().key("a").value("b").build().unwrap();
        let markers = LifecycleExpiration::builder().expired_object_delete_marker(true).build();
        for (deletes, rule) in [
            (true, rule().expiration(after())),
            (true, rule().noncurrent_version_expiration(older())),
            (true, rule().filter(under("")).expiration(after())),
            (true, rule().filter(under("some")).expiration(after())),
            (true, rule().filter(under("some/prefix/chains/main/auth/")).expiration(after())),
            (true, rule().filter(under("some/prefix/log/")).noncurrent_version_expiration(older())),
            (false, rule().filter(under("some/prefix/log/checkpoint")).noncurrent_version_expiration(older())),
            (false, rule().filter(under("other/")).expiration(after())),
            (false, rule().filter(LifecycleRuleFilter::builder().tag(tag).build()).expiration(after())),
            (false, rule().expiration(markers)),
            (false, rule().status(ExpirationStatus::Disabled).expiration(after())),
        ] {
            let rule = rule.build().unwrap();
            assert_eq!(store.deletes_evidence(&rule), deletes, "{rule:?}");
        }
    }
}
