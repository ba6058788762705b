//! TLS, SASL/SCRAM and ACLs: what docs/kafka.md says must be granted is enough, and less is told as what it is.

use super::{
    create,
    kafka_contract::{Kafka, alert, assigned, logs, next, read_from},
    service, unique,
};
use authseal::{
    error::{Error, Kind},
    publish::Publisher,
    source::{Source, SourceEvent, kafka::KafkaSource},
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

/// The secure listener for a user, with a topic of two partitions under `prefix`.
async fn secure(prefix: &str, user: &str, password: &str) -> Option<Kafka> {
    logs();
    let (plain, brokers) = (service("AUTHSEAL_TEST_KAFKA")?, service("AUTHSEAL_TEST_KAFKA_TLS")?);
    let authority = service("AUTHSEAL_TEST_KAFKA_CA")?;
    let topic = unique(prefix);
    create(&plain, &topic, 2, &[]).await;
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", user),
        ("sasl.password", password),
        ("ssl.ca.location", &authority),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Some(Kafka { brokers, topic, properties, strategy: "cooperative-sticky" })
}

/// The first error that is not one of the moment.
async fn refused(source: &mut KafkaSource) -> Error {
    loop {
        match next(source).await {
            SourceEvent::Failed { error, .. } if error.kind() == Kind::Config => return error,
            SourceEvent::Failed { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_scram_work() {
    let Some(kafka) = secure("auth", "alice", "secret").await else { return };
    kafka.produce(0, 0..100);
    kafka.publisher(&[]).publish(alert("x")).await.unwrap();
    let mut source = kafka.connect();
    assigned(&mut source, 2).await;
    let records = read_from(&kafka, &mut source, &[(0, 0), (1, 0)]).await;
    assert_eq!(records[&0].len() + records[&1].len(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_an_error_of_the_settings_and_is_not_shown() {
    let Some(kafka) = secure("auth", "alice", "hunter2-wrong").await else { return };
    let error = refused(&mut kafka.connect()).await.to_string();
    assert!(error.contains("sasl.password") && !error.contains("hunter2"), "{error}");
    let late = kafka.publisher(&[("message.timeout.ms", "3000")]).publish(alert("x")).await.unwrap_err();
    assert!(late.is_retry() && late.to_string().contains("sasl.password"), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_is_an_error_of_the_settings() {
    let Some(mut kafka) = secure("auth", "alice", "secret").await else { return };
    // the authorities of this system do not know ours
    kafka.properties.remove("ssl.ca.location");
    let error = refused(&mut kafka.connect()).await.to_string();
    assert!(error.contains("ssl.ca.location"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_documentation_grants_is_enough() {
    let Some(kafka) = secure("bob", "bob", "secret").await else { return };
    let plain = service("AUTHSEAL_TEST_KAFKA").unwrap();
    let alerts = unique("bob.alerts");
    create(&plain, &alerts, 1, &[]).await;
    let admin = Kafka { brokers: plain.clone(), properties: BTreeMap::new(), ..kafka.clone() };
    admin.produce(0, 0..100);
    for (resource, name, operation) in [
        (Resource::Topic, &kafka.topic, Operation::Read),
        (Resource::Topic, &kafka.topic, Operation::Describe),
        (Resource::Group, &kafka.topic, Operation::Read),
        (Resource::Group, &kafka.topic, Operation::Describe),
        (Resource::Topic, &alerts, Operation::Write),
        (Resource::Topic, &alerts, Operation::Describe),
    ] {
        grant(&plain, "bob", resource, name, operation);
    }
    let mut source = kafka.connect();
    let control = source.control();
    assigned(&mut source, 2).await;
    let records = read_from(&kafka, &mut source, &[(0, 0), (1, 0)]).await;
    assert_eq!(records[&0].len(), 100);
    let commit = authseal::source::Commit { offset: 100, metadata: "m".into() };
    control.commit_now(vec![(kafka.tp(0), commit)]).await.unwrap();
    let broker = control.broker(&kafka.tp(0)).await.unwrap();
    assert!(broker.topic_id.is_some() && broker.cluster_id.is_some() && broker.last_stable == Some(100), "{broker:?}");
    assert_eq!(control.offset_at(&kafka.tp(0), 0).await.unwrap(), Some(0));
    let to_alerts = Kafka { topic: alerts, ..kafka.clone() };
    to_alerts.publisher(&[]).publish(alert("x")).await.unwrap();
    // what is not granted is told as such
    let forbidden = kafka.publisher(&[]).publish(alert("x")).await.unwrap_err();
    assert!(forbidden.kind() == Kind::Config && forbidden.to_string().contains("WRITE"), "{forbidden}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_is_told() {
    let Some(kafka) = secure("carol", "carol", "secret").await else { return };
    let plain = service("AUTHSEAL_TEST_KAFKA").unwrap();
    let error = refused(&mut kafka.connect()).await.to_string();
    assert!(error.contains("READ") || error.contains("DESCRIBE"), "{error}");
    // the topic alone is not enough
    grant(&plain, "carol", Resource::Topic, &kafka.topic, Operation::Read);
    let error = refused(&mut kafka.connect()).await.to_string();
    assert!(error.contains("group"), "{error}");
}

#[derive(Clone, Copy)]
enum Resource {
    Topic = 2,
    Group = 3,
}

#[derive(Clone, Copy)]
enum Operation {
    Read = 3,
    Write = 4,
    Describe = 8,
}

/// Allows a user something, by a CreateAcls request (key 30, version 1) of Kafka's protocol: the client has no call
/// for it.
fn grant(brokers: &str, user: &str, resource: Resource, name: &str, operation: Operation) {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let mut request = vec![0, 30, 0, 1, 0, 0, 0, 7];
    text(&mut request, "authseal-tests");
    request.extend_from_slice(&1_u32.to_be_bytes());
    request.push(resource as u8);
    text(&mut request, name);
    request.push(3); // the name as it is, not a prefix
    text(&mut request, &format!("User:{user}"));
    text(&mut request, "*");
    request.push(operation as u8);
    request.push(3); // allow
    let mut broker = TcpStream::connect(brokers).unwrap();
    broker.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).unwrap();
    // correlation id, throttle time, count of results, error code
    assert_eq!(answer[4 + 4 + 4..4 + 4 + 4 + 2], [0, 0], "CreateAcls: {answer:?}");
}
