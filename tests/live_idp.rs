//! SASL/OAUTHBEARER with a real identity provider: Keycloak issues tokens that live for twelve seconds, a real Kafka
//! checks them against Keycloak's keys and asks for another every fifteen, and authseal reads and publishes through it.
//! Logons of people there become events: `idp/logins.rs`. `make test-idp` starts all of it; where `CI` is set it must
//! be there.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;
#[path = "idp/logins.rs"]
mod logins;

use live::{Process, Record, authseal, create_topics, publish, read_topic, unique};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

const SECRET: &str = "authseal-test-secret";

struct Site {
    dir: tempfile::TempDir,
    plain: String,
    topic: String,
}

impl Site {
    /// A source topic, the alerts' and the dead letters', and a configuration that reaches them as a client.
    async fn new(client: &str, secret: &str) -> Option<Self> {
        let names =
            ["AUTHSEAL_TEST_KAFKA", "AUTHSEAL_TEST_KAFKA_OAUTH", "AUTHSEAL_TEST_KAFKA_CA", "AUTHSEAL_TEST_OIDC"];
        let [plain, brokers, authority, issuer] = names.map(|name| std::env::var(name).ok());
        let (Some(plain), Some(brokers), Some(authority), Some(issuer)) = (plain, brokers, authority, issuer) else {
            assert!(std::env::var_os("CI").is_none(), "{names:?} must name the services: run `make test-idp`");
            eprintln!("no services named by {names:?}: run `make test-idp`");
            return None;
        };
        let topic = unique("idp");
        let (alerts, dead) = (format!("{topic}.alerts"), format!("{topic}.dead-letters"));
        create_topics(&plain, &[(&topic, 2), (&alerts, 1), (&dead, 1)]).await;
        let site = Self { dir: tempfile::tempdir().unwrap(), plain, topic: topic.clone() };
        let made = authseal()
            .args(["keys", "generate", "--origin", "authseal.test/idp", "--out"])
            .arg(site.path("seal.key"))
            .output()
            .unwrap();
        assert!(made.status.success());
        let rules = site.path("rules");
        std::fs::create_dir(&rules).unwrap();
        std::fs::write(
            rules.join("every_failure.rhai"),
            r#"rule("IDP-1", #{
    name: "Five failures of one user", severity: HIGH, status: "stable", mode: "live",
    attack: ["TA0006/T1110"], owner: "tests", runbook: "https://runbooks.example/IDP-1", falsepos: ["none"],
    when: activity == LOGON & outcome == FAILURE, key: [user], window: "1h",
    agg: #{ failures: count() }, at_least: #{ failures: 5 }, dedup: "1h",
});
"#,
        )
        .unwrap();
        let config = format!(
            r#"origin = "authseal.test/idp"
[kafka]
brokers = "{brokers}"
group = "{topic}"
[kafka.properties]
"security.protocol" = "SASL_SSL"
"ssl.ca.location" = "{authority}"
"sasl.mechanism" = "OAUTHBEARER"
"sasl.oauthbearer.method" = "oidc"
"sasl.oauthbearer.client.id" = "{client}"
"sasl.oauthbearer.token.endpoint.url" = "{issuer}/protocol/openid-connect/token"
[kafka.property_files]
"sasl.oauthbearer.client.secret" = "client.secret"
[[topics]]
name = "{topic}"
format = "json"
[rules]
dir = "rules"
[alerts]
topic = "{alerts}"
[dead_letters]
topic = "{dead}"
[seal]
key_file = "seal.key"
max_age = "2s"
shutdown_deadline = "5s"
[store]
kind = "dir"
path = "store"
[store.retention]
mode = "NONE"
[http]
listen = "127.0.0.1:0"
[log]
level = "debug"
"#
        );
        std::fs::write(site.path("authseal.toml"), config).unwrap();
        let file = site.path("client.secret");
        std::fs::write(&file, secret).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self) -> Process {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = authseal();
        command.args(["run", "-c"]).arg(self.path("authseal.toml")).stdin(Stdio::null());
        Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits for something; says the log when it does not come.
    fn wait<T>(&self, what: &str, mut come: impl FnMut() -> Option<T>) -> T {
        for _ in 0..240 {
            if let Some(it) = come() {
                return it;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("{what} did not come\n{}", self.log());
    }

    /// What `/readyz` says.
    fn readiness(&self) -> Option<String> {
        let log = self.log();
        let address = log.split("address=").nth(1)?.split_whitespace().next()?;
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Publishes failures of a user, past the identity provider.
    fn fail(&self, user: &str, count: usize) {
        let record = |n: usize| {
            let value = json!({"event_id": format!("{user}-{n}"), "time": jiff::Timestamp::now().to_string(),
                "activity": "LOGON", "outcome": "FAILURE", "user": user});
            Record { key: Some(user.into()), value: Some(value.to_string().into()), ..Record::default() }
        };
        publish(&self.plain, &self.topic, (0..count).map(record));
    }
}

#[tokio::test]
async fn authseal_reads_and_publishes_with_tokens_that_are_renewed() {
    let Some(site) = Site::new("authseal", SECRET).await else { return };
    let one = site.run();
    // more rounds than a token lives: connections that were not renewed would be closed by the broker
    for round in 0..4 {
        site.fail(&format!("user{round}"), 50);
        std::thread::sleep(Duration::from_secs(8));
    }
    site.wait("the alert of the last round", || {
        let alerts = read_topic(&site.plain, &format!("{}.alerts", site.topic));
        let alerts: Vec<Value> =
            alerts.iter().map(|m| serde_json::from_slice(m.value.as_deref()?).ok()).collect::<Option<_>>()?;
        (0..4).all(|round| alerts.iter().any(|alert| alert.to_string().contains(&format!("user{round}")))).then_some(())
    });
    assert_eq!(one.terminate(), Some(0), "{}", site.log());
    let log = site.log();
    assert!(log.matches("a token for Kafka was issued").count() >= 4, "{log}");
    assert!(!log.contains(SECRET) && !log.contains("eyJ"), "neither the secret nor a token is in the log");
    let shown = authseal().args(["keys", "show"]).arg(site.path("seal.key")).output().unwrap();
    std::fs::write(site.path("seal.vkey"), shown.stdout).unwrap();
    let mut verify = authseal();
    verify.arg("verify").arg(site.path("store")).args(["--json", "--key"]).arg(site.path("seal.vkey"));
    let report: Value = serde_json::from_slice(&verify.output().unwrap().stdout).unwrap();
    assert_eq!(report["totals"]["events"], json!(200), "{report:#}");
}

#[tokio::test]
async fn a_wrong_secret_is_named_by_readiness_and_ends_nothing() {
    let Some(site) = Site::new("authseal", "not-the-secret").await else { return };
    let mut one = site.run();
    let told =
        site.wait("the reason", || site.readiness().filter(|text| text.contains("the identity provider refuses")));
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("source"), "{told}");
    assert!(told.contains("401") && told.contains("sasl.oauthbearer"), "{told}");
    assert!(one.0.try_wait().unwrap().is_none(), "it goes on trying");
    assert!(!site.log().contains("not-the-secret"));
    assert_eq!(one.terminate(), Some(0), "there was nothing to seal");
}

#[tokio::test]
async fn another_client_is_known_and_has_no_rights() {
    let Some(site) = Site::new("stranger", "stranger-test-secret").await else { return };
    let one = site.run();
    let told = site.wait("the reason", || site.readiness().filter(|text| text.contains("READ")));
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    one.terminate();
}
