//! What goes over the wire and what is made of the answers, against a scripted server in this process. A real S3 server
//! is in tests/live_s3.rs.

use super::*;
use crate::error::Kind;
use aws_config::BehaviorVersion;
use aws_sdk_s3::config::{Credentials, Region};
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const VERSION: (&str, &str) = ("x-amz-version-id", "v1");
const LOCK: Retention = Retention { mode: LockMode::Governance, until: Some(1_800_000_000_000) };
const LOCK_HEADERS: [(&str, &str); 2] =
    [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", "2027-01-15T08:00:00Z")];

#[derive(Debug, Clone)]
struct Request {
    /// `PUT /bucket/key?query`
    line: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

enum Answer {
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// Closes the connection instead of answering.
    HangUp,
    Never,
}

fn ok(headers: &[(&'static str, &'static str)]) -> Answer {
    Answer::Status(200, headers.to_vec(), String::new())
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>because</Message></Error>");
    Answer::Status(status, vec![("content-type", "application/xml")], body)
}

/// A server that answers by `script`, given the number of the request, and the requests it got.
async fn serve(
    script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
) -> (S3Store, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = S3Settings::new("bucket", "a/b");
    settings.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    settings.path_style = true;
    settings.attempts = 3;
    settings.attempt_timeout = Duration::from_secs(5);
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (script, log) = (Arc::new(script), requests.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, script.clone(), log.clone()));
        }
    });
    (S3Store::with_config(settings, &base(true).await).unwrap(), requests)
}

async fn base(credentials: bool) -> SdkConfig {
    let base = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("us-east-1"));
    let base = if credentials {
        base.credentials_provider(Credentials::new("AKIDTEST", "hunter2", None, None, "test"))
    } else {
        base.no_credentials()
    };
    base.load().await
}

async fn converse<F>(mut stream: TcpStream, script: Arc<F>, log: Arc<Mutex<Vec<Request>>>)
where
    F: Fn(usize, &Request) -> Answer,
{
    while let Some(request) = receive(&mut stream).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        match script(number, &request) {
            Answer::HangUp => return,
            Answer::Never => std::future::pending().await,
            Answer::Status(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} X\r\n");
                if !headers.iter().any(|(name, _)| *name == "content-length") {
                    write!(text, "content-length: {}\r\n", body.len()).unwrap();
                }
                for (name, value) in headers {
                    write!(text, "{name}: {value}\r\n").unwrap();
                }
                let body = if request.line.starts_with("HEAD") { "" } else { &body };
                if stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_lowercase(), v.trim().to_owned())).collect();
    let request = Request { line, headers, body: bytes.split_off(end + 4) };
    let length: usize = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = request.body.clone();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { body, ..request })
}

async fn put(store: &S3Store, lock: &Retention) -> Result<Create> {
    store.create("chains/x", Bytes::from_static(b"bytes"), lock).await
}

fn lines(requests: &Arc<Mutex<Vec<Request>>>) -> Vec<String> {
    requests.lock().unwrap().iter().map(|r| r.line.clone()).collect()
}

#[tokio::test]
async fn a_put_carries_condition_checksum_and_lock_and_the_lock_is_read_back() {
    let (store, requests) = serve(|number, _| match number {
        0 => ok(&[VERSION]),
        _ => ok(&[VERSION, LOCK_HEADERS[0], LOCK_HEADERS[1], ("content-length", "5")]),
    })
    .await;
    assert_eq!(put(&store, &LOCK).await.unwrap(), Create::Created);
    let requests = requests.lock().unwrap().clone();
    let put = &requests[0];
    assert!(put.line.starts_with("PUT /bucket/a/b/chains/x"), "{}", put.line);
    assert_eq!(put.body, b"bytes");
    for (name, value) in [
        ("if-none-match", "*"),
        ("content-length", "5"),
        ("x-amz-checksum-sha256", crate::digest::Digest::of(b"bytes").base64().as_str()),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2027-01-15T08:00:00Z"),
    ] {
        assert_eq!(put.header(name), Some(value), "{name}");
    }
    // no chunks, no trailers, no second checksum: what many servers refuse
    for name in [
        "transfer-encoding",
        "content-encoding",
        "x-amz-trailer",
        "x-amz-checksum-crc32",
        "x-amz-decoded-content-length",
    ] {
        assert_eq!(put.header(name), None, "{name}");
    }
    assert!(requests[1].line.starts_with("HEAD /bucket/a/b/chains/x?versionId=v1"), "{}", requests[1].line);
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn without_a_lock_none_is_sent_and_none_read() {
    let (store, requests) = serve(|_, _| ok(&[VERSION])).await;
    assert_eq!(put(&store, &Retention::NONE).await.unwrap(), Create::Created);
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].headers.iter().all(|(name, _)| !name.starts_with("x-amz-object-lock")));
}

#[tokio::test]
async fn refusals_are_told_from_faults_of_the_moment() {
    for (answer, kind, requests_made, word) in [
        (503, Some(Kind::Retry), 3, "503"),
        (500, Some(Kind::Retry), 3, "500"),
        (412, None, 1, ""),
        (403, Some(Kind::Config), 1, "s3:PutObjectRetention"),
        (404, Some(Kind::Config), 1, "Object Lock"),
        (400, Some(Kind::Config), 1, "Object Lock"),
    ] {
        let code = match answer {
            503 => "SlowDown",
            500 => "InternalError",
            412 => "PreconditionFailed",
            403 => "AccessDenied",
            404 => "NoSuchBucket",
            _ => "InvalidRequest",
        };
        let (store, requests) = serve(move |_, _| error(answer, code)).await;
        match put(&store, &LOCK).await {
            Ok(create) => assert!(kind.is_none() && create == Create::Exists, "{answer}"),
            Err(e) => {
                assert_eq!(Some(e.kind()), kind, "{answer}: {e}");
                let text = e.to_string();
                assert!(text.contains(word) && text.contains("s3://bucket/a/b") && text.contains("chains/x"), "{text}");
                assert!(text.contains(&format!("{answer} {code}: because")), "{text}");
            }
        }
        assert_eq!(requests.lock().unwrap().len(), requests_made, "{answer}");
    }
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_exists() {
    let (store, requests) = serve(|number, _| match number {
        0 => Answer::HangUp,
        _ => error(412, "PreconditionFailed"),
    })
    .await;
    assert_eq!(put(&store, &LOCK).await.unwrap(), Create::Exists);
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_conflict_sends_the_same_request_again_and_not_for_ever() {
    let (store, requests) = serve(|number, _| match number {
        0 | 1 => error(409, "ConditionalRequestConflict"),
        _ => ok(&[VERSION]),
    })
    .await;
    assert_eq!(put(&store, &Retention::NONE).await.unwrap(), Create::Created);
    {
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|r| r.body == b"bytes" && r.header("if-none-match") == Some("*")));
    }
    let (store, requests) = serve(|_, _| error(409, "ConditionalRequestConflict")).await;
    let error = put(&store, &Retention::NONE).await.unwrap_err();
    assert!(error.is_retry(), "{error}");
    assert_eq!(requests.lock().unwrap().len(), 7);
}

#[tokio::test]
async fn a_lock_that_does_not_read_back_is_refused_by_name() {
    let none: &[(&str, &str)] = &[VERSION, ("content-length", "5")];
    let shorter = [VERSION, LOCK_HEADERS[0], ("x-amz-object-lock-retain-until-date", "2027-01-15T07:59:59Z")];
    let other = [VERSION, ("x-amz-object-lock-mode", "COMPLIANCE"), LOCK_HEADERS[1]];
    for (head, retention, kind, word) in [
        (none, error(404, "NoSuchObjectLockConfiguration"), Kind::Config, "no lock"),
        (none, error(400, "InvalidRequest"), Kind::Config, "no lock"),
        (none, error(403, "AccessDenied"), Kind::Config, "s3:GetObjectRetention"),
        (none, error(503, "SlowDown"), Kind::Retry, "503"),
        (&shorter, Answer::HangUp, Kind::Config, "2027-01-15T07:59:59Z"),
        (&other, Answer::HangUp, Kind::Config, "COMPLIANCE"),
        (&[VERSION, ("content-length", "4")], Answer::HangUp, Kind::Tampered, "other bytes"),
        (
            &[VERSION, ("content-length", "5"), ("x-amz-checksum-sha256", "AAAA")],
            Answer::HangUp,
            Kind::Tampered,
            "other bytes",
        ),
    ] {
        let head: Vec<(&'static str, &'static str)> = head.to_vec();
        let retention = match retention {
            Answer::Status(status, headers, body) => Some((status, headers, body)),
            _ => None,
        };
        let (store, _) = serve(move |_, request| {
            if request.line.starts_with("PUT") {
                return ok(&[VERSION]);
            }
            match &retention {
                Some((status, headers, body)) if request.line.contains("retention") => {
                    Answer::Status(*status, headers.clone(), body.clone())
                }
                _ if head.iter().any(|(name, _)| *name == "content-length") => ok(&head),
                _ => ok(&[&head[..], &[("content-length", "5")]].concat()),
            }
        })
        .await;
        let error = put(&store, &LOCK).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_bucket_without_versions_is_refused() {
    for headers in [&[][..], &[("x-amz-version-id", "null")]] {
        let headers = headers.to_vec();
        let (store, _) = serve(move |_, _| ok(&headers)).await;
        let error = put(&store, &Retention::NONE).await.unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("versioning"), "{error}");
    }
}

fn page(truncated: Option<(&str, &str)>, entries: &[(&str, &str, u64)]) -> Answer {
    let mut body = String::from("<?xml version=\"1.0\"?><ListVersionsResult><EncodingType>url</EncodingType>");
    for (key, version, size) in entries {
        let kind = if *size == u64::MAX { "DeleteMarker" } else { "Version" };
        // all at the same second: only the order tells which is the oldest
        write!(
            body,
            "<{kind}><Key>{key}</Key><VersionId>{version}</VersionId><LastModified>2027-01-15T08:00:00Z</LastModified>"
        )
        .unwrap();
        if kind == "Version" {
            write!(body, "<Size>{size}</Size>").unwrap();
        }
        write!(body, "</{kind}>").unwrap();
    }
    if let Some((key, version)) = truncated {
        write!(body, "<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{version}</NextVersionIdMarker>")
            .unwrap();
    }
    write!(body, "<IsTruncated>{}</IsTruncated></ListVersionsResult>", truncated.is_some()).unwrap();
    Answer::Status(200, vec![("content-type", "application/xml")], body)
}

const MARKER: u64 = u64::MAX;

#[tokio::test]
async fn versions_are_gathered_across_pages() {
    let (store, requests) = serve(|number, _| match number {
        0 => page(Some(("a/b/k%2B1", "v8")), &[("a/b/k%2B1", "m9", MARKER), ("a/b/k%2B1", "v8", 8)]),
        1 => page(Some(("a/b/k%2B1", "null")), &[("a/b/k%2B1", "v7", 7), ("a/b/k%2B1", "null", 6)]),
        2 => page(None, &[("a/b/k%2B2", "v5", 5), ("a/b/k%2B3+x", "m4", MARKER)]),
        _ => error(500, "InternalError"),
    })
    .await;
    let entries = store.list("k", None, 10).await.unwrap();
    let entry = |key: &str, versions, markers, size, oldest: &str| Entry {
        key: key.into(),
        versions,
        markers,
        size,
        oldest: oldest.into(),
    };
    assert_eq!(entries, [entry("k+1", 3, 1, 6, "null"), entry("k+2", 1, 0, 5, "v5"), entry("k+3 x", 0, 1, 0, "")]);
    let lines = lines(&requests);
    assert!(lines[0].contains("prefix=a%2Fb%2Fk") && lines[0].contains("encoding-type=url"), "{lines:?}");
    assert!(lines[1].contains("key-marker=a%2Fb%2Fk%2B1") && lines[1].contains("version-id-marker=v8"), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[tokio::test]
async fn a_list_stops_when_it_has_enough() {
    let (store, requests) =
        serve(|_, _| page(Some(("a/b/k2", "v2")), &[("a/b/k1", "v1", 1), ("a/b/k2", "v2", 2)])).await;
    let entries = store.list("k", Some("k0"), 1).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["k1"]);
    let lines = lines(&requests);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("key-marker=a%2Fb%2Fk0") && lines[0].contains("max-keys=2"), "{lines:?}");
}

#[tokio::test]
async fn a_server_that_repeats_itself_is_left() {
    let (store, requests) = serve(|_, _| page(Some(("a/b/k1", "v1")), &[("a/b/k1", "v1", 1)])).await;
    assert!(store.list("k", None, 10).await.unwrap_err().is_retry());
    assert!(store.versions("k1").await.unwrap_err().is_retry());
    assert_eq!(requests.lock().unwrap().len(), 4);
    let (store, _) = serve(|_, _| page(None, &[("elsewhere/k1", "v1", 1)])).await;
    assert_eq!(store.list("k", None, 10).await.unwrap_err().kind(), Kind::Data);
}

#[tokio::test]
async fn the_oldest_version_is_read_by_its_id() {
    let (store, requests) = serve(|number, _| match number {
        0 => page(None, &[("a/b/k", "m3", MARKER), ("a/b/k", "v2", 6), ("a/b/k", "v1", 5), ("a/b/kk", "v9", 9)]),
        _ => Answer::Status(200, vec![VERSION, LOCK_HEADERS[0], LOCK_HEADERS[1]], "first".into()),
    })
    .await;
    let stored = store.read_oldest("k").await.unwrap().unwrap();
    assert_eq!(
        stored,
        Stored { bytes: Bytes::from_static(b"first"), version: "v1".into(), retention: Some(LOCK), hold: None }
    );
    let requests = requests.lock().unwrap();
    assert!(requests[1].line.contains("versionId=v1"), "{}", requests[1].line);
    assert_eq!(requests[1].header("x-amz-checksum-mode"), Some("ENABLED"));
}

#[tokio::test]
async fn damaged_and_oversized_bodies_are_refused() {
    let wrong = ("x-amz-checksum-sha256", "J3nzBBpo4Q/9DuwFnDvXuHBaSm0DZaNoEBZsKkeZBNc=");
    let (store, _) = serve(move |_, _| Answer::Status(200, vec![VERSION, wrong], "other".into())).await;
    let error = store.read_version("k", "v1").await.unwrap_err();
    assert!(error.is_retry(), "{error}");
    let (store, _) =
        serve(|_, _| Answer::Status(200, vec![VERSION, ("content-length", "999999999999")], "x".into())).await;
    let error = store.read_version("k", "v1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
}

#[tokio::test]
async fn the_time_comes_from_the_date_of_any_answer() {
    let date = ("date", "Fri, 15 Jan 2027 08:00:00 GMT");
    let (store, requests) = serve(move |_, _| Answer::Status(403, vec![date], String::new())).await;
    let now = store.clock().await.unwrap().unwrap();
    assert!((1_800_000_000_000..1_800_000_030_000).contains(&now), "{now}");
    store.clock().await.unwrap().unwrap();
    assert_eq!(lines(&requests).len(), 1);
    let (store, _) = serve(|_, _| ok(&[])).await;
    assert_eq!(store.clock().await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let (mut store, _) = serve(|_, _| Answer::Never).await;
    store.settings.attempt_timeout = Duration::from_millis(100);
    store.settings.operation_timeout = Duration::from_secs(3);
    store.settings.attempts = 2;
    let store = S3Store::with_config(store.settings, &base(true).await).unwrap();
    let error = put(&store, &LOCK).await.unwrap_err();
    assert!(error.is_retry(), "{error}");
    let mut settings = store.settings.clone();
    // nothing listens there
    settings.endpoint = Some("http://127.0.0.1:1".into());
    let store = S3Store::with_config(settings, &base(true).await).unwrap();
    let error = put(&store, &LOCK).await.unwrap_err();
    assert!(error.is_retry(), "{error}");
}

#[tokio::test]
async fn missing_credentials_are_a_matter_of_settings_and_secrets_are_not_shown() {
    let (store, _) = serve(|_, _| error(403, "SignatureDoesNotMatch")).await;
    let error = put(&store, &LOCK).await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("credentials"), "{error}");
    for text in [format!("{store:?}"), error.to_string(), format!("{error:?}"), store.describe()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let anonymous = S3Store::with_config(store.settings.clone(), &base(false).await).unwrap();
    let error = put(&anonymous, &LOCK).await.unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("credentials"), "{error}");
}
