//! The client of schema registries against one that answers what it is told to: errors, garbage, silence, floods,
//! references that never end. What it may believe, and how it tells a registry that is away from an id that is bad.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod fakes;

use authseal::{
    avro::schema::Schema,
    registry::{
        Failure, Registry,
        http::{Auth, Client, Settings},
    },
};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const EVENT: &str = r#"{"type":"record","name":"E","fields":[{"name":"user","type":"string"}]}"#;

fn settings(urls: &[&str]) -> Settings {
    Settings {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        auth: Auth::None,
        authorities: None,
        timeout: Duration::from_millis(700),
        cache: None,
    }
}

fn client(url: &str) -> Client {
    Client::new(settings(&[url])).unwrap()
}

fn body(json: Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

fn unknown() -> Option<(u16, Vec<u8>)> {
    Some((404, body(json!({ "error_code": 40403, "message": "Schema not found" }))))
}

/// A registry whose odd answers are to one id; it answers all else. Its URL.
fn odd_about_seven(answer: impl Fn() -> Option<(u16, Vec<u8>)> + Send + Sync + 'static) -> String {
    fakes::http(move |path, _| match path {
        "/schemas/types" => Some((200, body(json!(["JSON", "AVRO"])))),
        "/schemas/ids/7" => answer(),
        "/schemas/ids/8" => Some((200, body(json!({ "schema": EVENT })))),
        _ => unknown(),
    })
}

async fn seven(url: &str) -> Failure {
    let client = client(url);
    assert_eq!(client.fetch(8).await.unwrap(), EVENT.as_bytes(), "byte for byte");
    client.fetch(7).await.unwrap_err()
}

#[tokio::test]
async fn an_id_that_is_unknown_or_cannot_be_used_is_told_from_a_registry_that_is_away() {
    assert!(matches!(seven(&odd_about_seven(unknown)).await, Failure::Unknown));
    for (schema, want) in [
        (json!({ "schema": "{" }), "not JSON"),
        (json!({ "schema": "\"nope\"" }), "not defined"),
        (json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" }), "of type PROTOBUF"),
        (json!({ "schema": EVENT, "references": [{ "name": "x" }] }), "without name, subject or version"),
    ] {
        match seven(&odd_about_seven(move || Some((200, body(schema.clone()))))).await {
            Failure::Unusable(why) => assert!(why.contains(want), "{why}"),
            other => panic!("{want}: {other:?}"),
        }
    }
    // it answers others, so that what is wrong is this one
    type Answer = fn() -> Option<(u16, Vec<u8>)>;
    let odd: [(&str, Answer); 7] = [
        ("answered 500: it broke", || Some((500, body(json!({ "error_code": 50001, "message": "it\nbroke" }))))),
        ("no JSON", || Some((200, b"<html>".to_vec()))),
        ("without a schema", || Some((200, body(json!({ "status": "ok" }))))),
        ("is this the address", || Some((404, b"<html>".to_vec()))),
        ("more than 1048576 bytes", || Some((200, vec![b' '; 3 << 20]))),
        ("no answer within", || {
            std::thread::sleep(Duration::from_secs(2));
            None
        }),
        ("", || None),
    ];
    for (want, answer) in odd {
        match seven(&odd_about_seven(answer)).await {
            Failure::Withheld(error) => assert!(error.to_string().contains(want), "{want}: {error}"),
            other => panic!("{want}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_registry_that_serves_nobody_is_away_and_says_what_to_do() {
    type Answer = (u16, &'static [u8]);
    let cases: [(Answer, &str); 6] = [
        ((401, b"{\"message\":\"who are you\"}"), "answered 401: who are you: check the registry's user"),
        ((403, b""), "check the registry's user"),
        ((302, b""), "redirections are not followed"),
        ((429, b""), "answered 429"),
        ((503, b"<html>"), "answered 503"),
        ((404, b"<html>not here"), "is this the address of a schema registry"),
    ];
    for ((status, text), want) in cases {
        let url = fakes::http(move |_, _| Some((status, text.to_vec())));
        match client(&url).fetch(7).await {
            Err(Failure::Away(error)) => assert!(error.to_string().contains(want), "{error}"),
            other => panic!("{want}: {other:?}"),
        }
    }
    // a web server that answers everything is no registry, and knows of no unknown ids
    let url = fakes::http(|_, _| Some((200, b"{}".to_vec())));
    assert!(matches!(client(&url).fetch(7).await, Err(Failure::Away(_))));
    assert!(matches!(client("http://127.0.0.1:1").fetch(7).await, Err(Failure::Away(_))));
}

#[tokio::test]
async fn the_next_address_is_asked_where_one_does_not_answer() {
    let there = odd_about_seven(unknown);
    let client = Client::new(settings(&["http://127.0.0.1:1", &there])).unwrap();
    assert!(client.fetch(8).await.is_ok());
    assert!(matches!(client.fetch(7).await, Err(Failure::Unknown)));
    assert_eq!(client.describe(), format!("http://127.0.0.1:1, {there}"));
}

#[tokio::test]
async fn passwords_and_tokens_are_sent_and_shown_to_nobody_else() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let url = fakes::http_heads(move |_, head, _| {
        seen.lock().unwrap().push(head.to_ascii_lowercase());
        Some((403, body(json!({ "message": "no" }))))
    });
    let auths = [
        Auth::None,
        Auth::Basic { user: "key".into(), password: "s3cret".to_owned().into() },
        Auth::Bearer("t0ken".to_owned().into()),
        Auth::Bearer("bad\nline".to_owned().into()),
    ];
    for auth in auths {
        let Err(Failure::Away(error)) = Client::new(Settings { auth, ..settings(&[&url]) }).unwrap().fetch(1).await
        else {
            panic!("a refusal is none of the id's")
        };
        let told = format!("{error} {error:?}");
        assert!(!["s3cret", "t0ken", "bad", "OnMzY3JldA"].iter().any(|s| told.contains(s)), "{told}");
    }
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 3, "what is no header is not sent");
    assert!(!heads[0].contains("authorization"));
    // "key:s3cret"
    assert!(heads[1].contains("authorization: basic a2v5onmzy3jlda=="), "{}", heads[1]);
    assert!(heads[2].contains("authorization: bearer t0ken"), "{}", heads[2]);
    assert!(heads[2].contains("accept: application/vnd.schemaregistry.v1+json"));
}

/// A registry of schemas that refer to others: subject and version → (schema, references).
fn referring(of: impl Fn(&str) -> Option<(String, Vec<Value>)> + Send + Sync + 'static) -> String {
    fakes::http(move |path, _| match path {
        "/schemas/types" => Some((200, body(json!(["AVRO"])))),
        path => match of(path.split('?').next().unwrap()) {
            Some((schema, references)) => Some((200, body(json!({ "schema": schema, "references": references })))),
            None => unknown(),
        },
    })
}

fn reference(name: &str, subject: &str, version: i64) -> Value {
    json!({ "name": name, "subject": subject, "version": version })
}

#[tokio::test]
async fn references_are_part_of_the_schema() {
    let url = referring(|path| {
        match path {
            "/schemas/ids/1" => Some((
                r#"{"type":"record","name":"a.Event","fields":[
                {"name":"geo","type":"a.Geo"},{"name":"place","type":"a.Place"}]}"#
                    .into(),
                vec![reference("a.Place", "place/x", 2), reference("a.Geo", "geo", 1)],
            )),
            // a subject is one part of the path, whatever is in it
            "/subjects/place%2Fx/versions/2" => Some((
                r#"{"type":"record","name":"a.Place","fields":[{"name":"geo","type":"Geo"}]}"#.into(),
                vec![reference("a.Geo", "geo", 1)],
            )),
            "/subjects/geo/versions/1" => Some((
                r#"{"type":"record","name":"a.Geo","fields":[{"name":"country","type":"string"}]}"#.into(),
                vec![],
            )),
            _ => None,
        }
    });
    let whole = client(&url).fetch(1).await.unwrap();
    let schema = Schema::parse(&whole).unwrap();
    assert_eq!(schema.named.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["a.Event", "a.Geo", "a.Place"]);
    assert!(matches!(client(&url).fetch(2).await, Err(Failure::Unknown)));
}

#[tokio::test]
async fn references_without_an_end_are_refused() {
    let record = |name: String| format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
    let url = referring(move |path| {
        let last = path.rsplit('/').next().unwrap().to_owned();
        let subject = path.split('/').nth(2).unwrap_or_default().to_owned();
        match (path.starts_with("/schemas"), last.as_str(), subject.as_str()) {
            (true, "1", _) => Some((record("A".into()), vec![reference("B", "circle", 1)])),
            (true, "2", _) => Some((record("A".into()), vec![reference("B", "deep", 1)])),
            (true, "3", _) => Some((record("A".into()), (1..100).map(|n| reference("B", "wide", n)).collect())),
            (true, "4", _) => Some((record("A".into()), vec![reference("B", "missing", 1)])),
            (false, version, "circle") => Some((record(format!("C{version}")), vec![reference("C", "circle", 1)])),
            (false, version, "deep") => {
                Some((record(format!("D{version}")), vec![reference("D", "deep", version.parse::<i64>().unwrap() + 1)]))
            }
            (false, version, "wide") => Some((record(format!("W{version}")), vec![])),
            _ => None,
        }
    });
    for (id, want) in [
        (1, "refers to itself"),
        (2, "more than 64 others, or deeper than 16"),
        (3, "more than 64 others, or deeper than 16"),
        (4, "does not have the reference"),
    ] {
        match client(&url).fetch(id).await {
            Err(Failure::Unusable(why)) => assert!(why.contains(want), "{id}: {why}"),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_fetched_once_is_known_after_a_restart_without_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let url = odd_about_seven(unknown);
    let cached = |dir: &Path| Settings { cache: Some(dir.join("schemas")), ..settings(&[&url]) };
    Client::new(cached(dir.path())).unwrap().fetch(8).await.unwrap();
    // the same address, at which nobody answers: the folder is named by it
    let other = dir.path().join("schemas");
    let folder = std::fs::read_dir(&other).unwrap().next().unwrap().unwrap().path();
    let gone = Settings { cache: Some(other.clone()), ..settings(&["http://127.0.0.1:1"]) };
    let gone = Client::new(gone).unwrap();
    assert!(matches!(gone.fetch(8).await, Err(Failure::Away(_))), "ids of another registry are other ids");
    let mine = std::fs::read_dir(&other).unwrap().map(|e| e.unwrap().path()).find(|path| *path != folder).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), mine.join(entry.file_name())).unwrap();
    }
    let gone = Settings { cache: Some(other), ..settings(&["http://127.0.0.1:1"]) };
    assert_eq!(Client::new(gone).unwrap().fetch(8).await.unwrap(), EVENT.as_bytes());
}
