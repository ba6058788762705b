//! The shipped policies (deploy/) allow what authseal does and deny what an attacker would do, by AWS's rules of
//! evaluation for the few operators that they use: an explicit deny wins, and what nobody allows is denied.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

const BUCKET: &str = "arn:aws:s3:::EVIDENCE-BUCKET";
const WRITER: &str = "arn:aws:iam::ACCOUNT:role/authseal-writer";
const RETENTION: &str = "arn:aws:iam::ACCOUNT:role/authseal-retention";

/// A request as a policy sees it.
#[derive(Debug, Clone)]
struct Request {
    action: &'static str,
    resource: String,
    context: BTreeMap<&'static str, String>,
}

impl Request {
    /// Of the writer, over TLS.
    fn new(action: &'static str, key: &str) -> Self {
        let resource = if key.is_empty() { BUCKET.to_owned() } else { format!("{BUCKET}/{key}") };
        let context = [("aws:PrincipalArn", WRITER.to_owned()), ("aws:SecureTransport", "true".to_owned())];
        Self { action, resource, context: context.into() }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.context.insert(key, value.to_string());
        self
    }

    fn create_only(self) -> Self {
        self.with("s3:if-none-match", "*")
    }

    fn lock(self, days: u32) -> Self {
        self.with("s3:object-lock-mode", "COMPLIANCE").with("s3:object-lock-remaining-retention-days", days)
    }
}

fn policy(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    let text = std::fs::read_to_string(path).unwrap().replace("MINIMUM-DAYS", "29").replace("MAXIMUM-DAYS", "3660");
    let policy: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    policy["Statement"].as_array().unwrap().clone()
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().map(|value| value.as_str().unwrap()).collect(),
        Value::Null => Vec::new(),
        other => panic!("{other}"),
    }
}

/// A star stands for the rest: the policies use it nowhere else.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, "")) => text.starts_with(start),
        None => pattern == text,
        Some(_) => panic!("{pattern}: a star in the middle"),
    }
}

fn holds(operator: &str, expected: &str, actual: Option<&str>) -> bool {
    let number = |text: &str| text.parse::<f64>().unwrap();
    match (operator, actual) {
        ("Null", actual) => (expected == "true") == actual.is_none(),
        ("ArnNotLike", Some(actual)) => !like(expected, actual),
        ("ArnNotLike", None) => true,
        ("Bool", Some(actual)) => expected == actual,
        ("NumericLessThan", Some(actual)) => number(actual) < number(expected),
        ("NumericGreaterThan", Some(actual)) => number(actual) > number(expected),
        // a key that the request does not have satisfies no other operator
        ("Bool" | "NumericLessThan" | "NumericGreaterThan", None) => false,
        _ => panic!("{operator}: not known to this test"),
    }
}

fn applies(statement: &Value, request: &Request) -> bool {
    let action = texts(&statement["Action"]).iter().any(|pattern| like(pattern, request.action));
    let resource = match (&statement["Resource"], &statement["NotResource"]) {
        (some, Value::Null) => texts(some).iter().any(|pattern| like(pattern, &request.resource)),
        (Value::Null, not) => !texts(not).iter().any(|pattern| like(pattern, &request.resource)),
        _ => panic!("{statement}"),
    };
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let condition =
        conditions.flat_map(|(operator, keys)| keys.as_object().unwrap().iter().map(move |key| (operator, key)));
    action
        && resource
        && condition.into_iter().all(|(operator, (key, expected))| {
            holds(operator, expected.as_str().unwrap(), request.context.get(key.as_str()).map(String::as_str))
        })
}

/// Which statement denies it.
fn denied_by_bucket(request: &Request) -> Option<String> {
    let statements = policy("bucket-policy.json");
    assert!(
        statements.iter().all(|s| s["Effect"] == "Deny" && s["Principal"] == "*"),
        "the bucket's policy only denies"
    );
    statements.iter().find(|s| applies(s, request)).map(|s| s["Sid"].as_str().unwrap().to_owned())
}

fn allowed_to_writer(request: &Request) -> bool {
    policy("iam-policy.json").iter().any(|s| s["Effect"] == "Allow" && applies(s, request))
        && denied_by_bucket(request).is_none()
}

#[test]
fn the_writer_may_do_what_it_does() {
    let put = |key| Request::new("s3:PutObject", key);
    let segment = "chains/main/auth/00000/0000/000000000000.avro";
    for request in [
        Request::new("s3:GetBucketVersioning", ""),
        Request::new("s3:GetBucketObjectLockConfiguration", ""),
        Request::new("s3:ListBucket", ""),
        Request::new("s3:ListBucketVersions", ""),
        Request::new("s3:GetObject", segment),
        Request::new("s3:GetObjectVersion", segment),
        Request::new("s3:GetObjectRetention", segment),
        put(segment).create_only().lock(30),
        Request::new("s3:PutObjectRetention", segment).lock(30),
        put("artifacts/e3b0").create_only().lock(3650),
        put("log/batches/000000000000").create_only().lock(30),
        put("log/stamps/000000000041.tsr").create_only().lock(30),
        put("log/witnessed/000000000041").create_only().lock(30),
        put("store.json").create_only(),
        put("log/checkpoint"),
        put("log/tile/0/x001/067"),
        put("selftest/x.once").create_only(),
        put("selftest/x.locked").create_only().lock(0),
        Request::new("s3:PutObjectRetention", "selftest/x.locked").lock(0),
        Request::new("s3:DeleteObjectVersion", "selftest/x.once"),
    ] {
        assert!(allowed_to_writer(&request), "{request:?}, denied by {:?}", denied_by_bucket(&request));
    }
}

#[test]
fn nobody_may_do_what_an_attacker_would() {
    let put = |key| Request::new("s3:PutObject", key);
    for key in ["chains/a", "artifacts/a", "log/batches/a", "log/stamps/a", "log/witnessed/a"] {
        for (request, by) in [
            (put(key).lock(30), "NoReplacing"),
            (put(key).create_only(), "NoEvidenceWithoutALock"),
            (put(key).create_only().lock(28), "NoShorterLock"),
            (put(key).create_only().lock(36_500), "NoAbsurdLock"),
            (Request::new("s3:PutObjectRetention", key).lock(5), "NoShorterLock"),
            (Request::new("s3:PutObjectRetention", key).lock(36_500), "NoAbsurdLock"),
            (Request::new("s3:DeleteObject", key), "NoDeleteMarkers"),
            (Request::new("s3:DeleteObjectVersion", key), "NoDeletionButOfExpiredByItsRole"),
            (Request::new("s3:BypassGovernanceRetention", key), "NoBypassOfGovernance"),
        ] {
            assert_eq!(denied_by_bucket(&request).as_deref(), Some(by), "{request:?}");
        }
    }
    let by_retention = Request::new("s3:DeleteObjectVersion", "chains/a").with("aws:PrincipalArn", RETENTION);
    assert_eq!(denied_by_bucket(&by_retention), None);
    for (request, by) in [
        (put("store.json"), "NoReplacing"),
        (Request::new("s3:DeleteObjectVersion", "store.json"), "NoDeletionButOfExpiredByItsRole"),
        (Request::new("s3:DeleteObject", "selftest/a"), "NoDeleteMarkers"),
        (Request::new("s3:DeleteObject", "chains/a").with("aws:PrincipalArn", RETENTION), "NoDeleteMarkers"),
        (put("log/checkpoint").lock(30), "NoLockOfDaysElsewhere"),
        (put("selftest/a").create_only().lock(30), "NoLockOfDaysElsewhere"),
        (Request::new("s3:PutLifecycleConfiguration", ""), "NoExpiryOrDefaultLockBehindItsBack"),
        (Request::new("s3:PutBucketObjectLockConfiguration", ""), "NoExpiryOrDefaultLockBehindItsBack"),
        (Request::new("s3:PutBucketVersioning", ""), "NoExpiryOrDefaultLockBehindItsBack"),
        (Request::new("s3:GetObject", "chains/a").with("aws:SecureTransport", "false"), "NoPlainText"),
    ] {
        assert_eq!(denied_by_bucket(&request).as_deref(), Some(by), "{request:?}");
    }
    for request in [
        Request::new("s3:PutObject", "elsewhere/a").create_only(),
        Request::new("s3:PutBucketPolicy", ""),
        Request::new("s3:DeleteBucket", ""),
        Request::new("s3:PutObjectLegalHold", "chains/a"),
    ] {
        assert!(!allowed_to_writer(&request), "{request:?}");
    }
}

#[test]
fn who_applies_retention_may_do_that_and_seal_nothing() {
    let allowed = |request: &Request| {
        policy("iam-retention.json").iter().any(|s| s["Effect"] == "Allow" && applies(s, request))
            && denied_by_bucket(request).is_none()
    };
    let by = |action, key| Request::new(action, key).with("aws:PrincipalArn", RETENTION);
    let segment = "chains/main/auth/00000/0000/000000000000.avro";
    for request in [
        by("s3:DeleteObjectVersion", segment),
        by("s3:PutObjectRetention", segment).lock(400),
        by("s3:PutObjectLegalHold", segment),
        by("s3:GetObjectLegalHold", segment),
        by("s3:PutObject", "log/batches/000000000000").create_only().lock(400),
        by("s3:PutObject", "log/checkpoint"),
    ] {
        assert!(allowed(&request), "{request:?}");
    }
    for request in [
        by("s3:PutObject", segment).create_only().lock(400),
        by("s3:DeleteObject", segment),
        by("s3:DeleteObjectVersion", "log/batches/000000000000"),
        by("s3:BypassGovernanceRetention", segment),
    ] {
        assert!(!allowed(&request), "{request:?}");
    }
    // an instance may neither hold nor let go
    assert!(!allowed_to_writer(&Request::new("s3:PutObjectLegalHold", segment)));
    let lifted = denied_by_bucket(&Request::new("s3:PutObjectLegalHold", segment));
    assert_eq!(lifted.as_deref(), Some("NoLegalHoldButByItsRole"));
}
