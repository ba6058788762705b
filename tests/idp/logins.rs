//! People log on to a real Keycloak, mistype, and are locked out. What it tells of that, over REST and in its log, goes
//! to Kafka as a poller and a log shipper would send it, and comes out sealed, each attempt once, and as alerts.

use crate::live::{Process, Record, authseal, create_topics, publish, read_topic, unique};
use authseal::{
    event::{Activity, AuthEvent, Outcome},
    segment,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// The rule about lockouts: Keycloak names whom it locks by id alone.
const LOCKED: &str = r#"rule("IDP-2", #{
    name: "An account was locked", severity: MEDIUM, status: "stable", mode: "live",
    attack: ["TA0006/T1110"], owner: "tests", runbook: "https://runbooks.example/IDP-2", falsepos: ["none"],
    when: activity == ACCOUNT_LOCK, key: [tenant, user_id], dedup: "1h",
});
"#;
/// One of our own, for a rule in mode live must have a test.
const LOCKED_TEST: &str = r#"fn one(activity, alerts) {
    let t = timeline("locked");
    t.at(0, event(#{ activity: activity, tenant: "t", user_id: "u" }));
    t.expect(#{ alerts: alerts });
}
test("fires", || one(ACCOUNT_LOCK, 1));
test("quiet", || one(LOGON, 0));
"#;

/// A Keycloak, reached by hand: nothing of ours speaks HTTP for tests.
struct Keycloak {
    address: String,
    token: String,
}

impl Keycloak {
    fn at(issuer: &str) -> Self {
        let address = issuer.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        let mut keycloak = Self { address, token: String::new() };
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let (status, answer) = keycloak.post_form("/realms/master/protocol/openid-connect/token", form);
        assert_eq!(status, 200, "{answer}");
        keycloak.token = answer["access_token"].as_str().unwrap().to_owned();
        keycloak
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let bearer =
            if self.token.is_empty() { String::new() } else { format!("Authorization: Bearer {}\r\n", self.token) };
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{bearer}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn post_form(&self, path: &str, form: &str) -> (u16, Value) {
        self.ask("POST", path, "application/x-www-form-urlencoded", form)
    }

    fn admin(&self, method: &str, path: &str) -> Value {
        let (status, answer) = self.ask(method, &format!("/admin/realms/logins{path}"), "application/json", "");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Whether somebody got in.
    fn log_on(&self, user: &str, password: &str) -> bool {
        let person = Self { address: self.address.clone(), token: String::new() };
        let form = format!("grant_type=password&client_id=app&scope=openid&username={user}&password={password}");
        let (status, answer) = person.post_form("/realms/logins/protocol/openid-connect/token", &form);
        assert!(matches!(status, 200 | 400 | 401), "{status} {answer}");
        status == 200
    }
}

/// Who tried how often, and got in or not.
type Attempts = BTreeMap<(String, bool), usize>;

/// Logons, mistakes, and an account that is locked. Says when the lock holds.
fn log_on_and_fail(keycloak: &Keycloak) -> Attempts {
    let mut attempts = Attempts::new();
    let mut attempt = |user: &str, password: &str| {
        let got_in = keycloak.log_on(user, password);
        *attempts.entry((user.to_owned(), got_in)).or_default() += 1;
        got_in
    };
    assert!(attempt("alice", "alice-test-password"));
    assert!(!attempt("bob", "mistyped"));
    assert!(attempt("bob", "bob-test-password"));
    assert!(!attempt("nobody", "whatever"));
    for _ in 0..5 {
        assert!(!attempt("mallory", "guess"));
    }
    let id = keycloak.admin("GET", "/users?exact=true&username=mallory")[0]["id"].as_str().unwrap().to_owned();
    wait("the lock", || {
        let state = keycloak.admin("GET", &format!("/attack-detection/brute-force/users/{id}"));
        (state["disabled"] == json!(true)).then_some(())
    });
    assert!(!attempt("mallory", "mallory-test-password"), "the right password does not help now");
    for _ in 0..14 {
        assert!(!attempt("mallory", "guess"));
    }
    assert!(attempt("alice", "alice-test-password"));
    attempts
}

fn wait<T>(what: &str, mut come: impl FnMut() -> Option<T>) -> T {
    for _ in 0..240 {
        if let Some(it) = come() {
            return it;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    panic!("{what} did not come");
}

/// What the server has written since, the last line only when it is whole.
fn lines_since(log: &Path, begun: usize) -> Vec<String> {
    let text = std::fs::read(log).unwrap();
    let text = String::from_utf8_lossy(&text[begun..]).into_owned();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

struct Site {
    dir: tempfile::TempDir,
    events: String,
    log: String,
    alerts: String,
}

impl Site {
    async fn new(brokers: &str) -> Self {
        let topic = unique("logins");
        let [events, log, alerts, dead] = ["events", "log", "alerts", "dead"].map(|what| format!("{topic}.{what}"));
        create_topics(brokers, &[(&events, 2), (&log, 1), (&alerts, 1), (&dead, 1)]).await;
        let site = Self { dir: tempfile::tempdir().unwrap(), events, log, alerts };
        let mut generate = authseal();
        generate.args(["keys", "generate", "--origin", "authseal.test/logins", "--out"]).arg(site.path("seal.key"));
        assert!(generate.arg("--vkey").arg(site.path("seal.vkey")).output().unwrap().status.success());
        site.rules();
        let (events, log, alerts) = (&site.events, &site.log, &site.alerts);
        let config = format!(
            r#"origin = "authseal.test/logins"
[kafka]
brokers = "{brokers}"
group = "{topic}"
[[topics]]
name = "{events}"
format = "json"
mapping = "keycloak-event"
[[topics]]
name = "{log}"
format = "text"
mapping = "keycloak-event"
[rules]
dir = "rules"
[alerts]
topic = "{alerts}"
[dead_letters]
topic = "{dead}"
[seal]
key_file = "seal.key"
max_age = "2s"
[store]
kind = "dir"
path = "store"
[store.retention]
mode = "NONE"
[http]
listen = "127.0.0.1:0"
"#
        );
        std::fs::write(site.path("authseal.toml"), config).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The shipped rule about brute force, and ours.
    fn rules(&self) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        std::fs::create_dir_all(self.path("rules/lists")).unwrap();
        for name in ["brute_force.rhai", "brute_force.test.rhai", "lists/trusted_egress.txt"] {
            std::fs::copy(shipped.join(name), self.path("rules").join(name)).unwrap();
        }
        std::fs::write(self.path("rules/locked.rhai"), LOCKED).unwrap();
        std::fs::write(self.path("rules/locked.test.rhai"), LOCKED_TEST).unwrap();
    }

    fn run(&self) -> Process {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = authseal();
        command.args(["run", "-c"]).arg(self.path("authseal.toml")).stdin(Stdio::null());
        Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// The events that were sealed of a topic.
    fn sealed(&self, topic: &str) -> Vec<AuthEvent> {
        fn walk(folder: &Path, events: &mut Vec<AuthEvent>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, events);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                let records = segment::read::records(&bytes).unwrap();
                events.extend(records.filter_map(|leaf| leaf.unwrap().record().unwrap().event.map(|event| *event)));
            }
        }
        let mut events = Vec::new();
        walk(&self.path("store/chains/main").join(topic), &mut events);
        events
    }
}

/// The attempts that events tell of.
fn told(events: &[AuthEvent]) -> Attempts {
    let mut told = Attempts::new();
    for event in events.iter().filter(|event| event.activity == Activity::Logon) {
        let who = event.user.as_deref().unwrap().to_owned();
        *told.entry((who, event.outcome == Outcome::Success)).or_default() += 1;
    }
    told
}

#[tokio::test]
async fn logons_failures_and_a_lockout_of_a_real_keycloak_are_sealed_once_each_and_raise_alerts() {
    let names = ["AUTHSEAL_TEST_KAFKA", "AUTHSEAL_TEST_OIDC", "AUTHSEAL_TEST_KEYCLOAK_LOG"];
    let [kafka, issuer, server_log] = names.map(|name| std::env::var(name).ok());
    let (Some(kafka), Some(issuer), Some(server_log)) = (kafka, issuer, server_log) else {
        assert!(std::env::var_os("CI").is_none(), "{names:?} must name the services: run `make test-idp`");
        eprintln!("no services named by {names:?}: run `make test-idp`");
        return;
    };
    let (site, keycloak, server_log) = (Site::new(&kafka).await, Keycloak::at(&issuer), PathBuf::from(server_log));
    // of an earlier run with the same server
    keycloak.admin("DELETE", "/events");
    keycloak.admin("DELETE", "/attack-detection/brute-force/users");
    let begun = std::fs::metadata(&server_log).unwrap().len() as usize;
    let attempts = log_on_and_fail(&keycloak);
    let made: usize = attempts.values().sum();

    // what Keycloak tells: each attempt, and the lock
    let mut events = wait("every event", || {
        let events = keycloak.admin("GET", "/events?max=1000").as_array().unwrap().clone();
        (events.len() > made).then_some(events)
    });
    events.reverse();
    assert_eq!(events.len(), made + 1, "{events:#?}");
    let of_realm = |line: &String| line.contains("[org.keycloak.events]") && line.contains("realmName=\"logins\"");
    let lines = wait("every line", || {
        let lines = lines_since(&server_log, begun);
        (lines.iter().filter(|line| of_realm(line)).count() > made).then_some(lines)
    });

    // the poller, and the shipper, which sends every line of the log
    let record = |value: String| Record { value: Some(value.into_bytes()), ..Record::default() };
    let keyed = |event: &Value| Record {
        key: event["userId"].as_str().map(|id| id.as_bytes().to_vec()),
        ..record(event.to_string())
    };
    let process = site.run();
    publish(&kafka, &site.events, events.iter().map(keyed));
    publish(&kafka, &site.log, lines.iter().map(|line| record(line.clone())));
    let alerts = wait("the alerts", || {
        let read = read_topic(&kafka, &site.alerts);
        let alerts: Vec<Value> =
            read.iter().map(|m| serde_json::from_slice(m.value.as_deref().unwrap()).unwrap()).collect();
        let rules = |rule: &str| alerts.iter().any(|alert| alert["finding_info"]["analytic"]["uid"] == rule);
        (rules("AUTH-0004") && rules("IDP-2")).then_some(alerts)
    });
    let log = || std::fs::read_to_string(site.path("log")).unwrap();
    assert_eq!(process.terminate(), Some(0), "{}", log());

    // found by their rules, at the address and the account
    let of = |rule: &str| -> Vec<&Value> {
        alerts.iter().filter(|alert| alert["finding_info"]["analytic"]["uid"] == rule).collect()
    };
    assert_eq!(of("AUTH-0004")[0]["evidences"][0]["src_endpoint"]["ip"], "127.0.0.1");
    let mallory = keycloak.admin("GET", "/users?exact=true&username=mallory")[0]["id"].clone();
    assert_eq!(of("IDP-2").len(), 1, "one finding of one lock, which two sources tell");
    assert_eq!(of("IDP-2")[0]["evidences"][0]["user"]["uid"], mallory);

    // every attempt once, from the one source and from the other
    let realm = keycloak.admin("GET", "")["id"].as_str().unwrap().to_owned();
    for topic in [&site.events, &site.log] {
        let mut sealed = site.sealed(topic);
        sealed.retain(|event| event.tenant.as_deref() == Some(&realm));
        assert_eq!(sealed.len(), made + 1, "{topic}");
        assert_eq!(told(&sealed), attempts, "{topic}");
        let count = |reason: &str| {
            sealed.iter().filter(|e| e.activity == Activity::Logon && e.reason.as_deref() == Some(reason)).count()
        };
        assert!(count("invalid_credentials") >= 6 && count("unknown_user") == 1 && count("locked_out") >= 1, "{topic}");
        assert_eq!(sealed.iter().filter(|event| event.activity == Activity::AccountLock).count(), 1, "{topic}");
        assert!(sealed.iter().all(|event| event.source == "keycloak" && event.quality.is_empty()), "{sealed:#?}");
    }
    let mut verify = authseal();
    verify.arg("verify").arg(site.path("store")).args(["--json", "--key"]).arg(site.path("seal.vkey"));
    let output = verify.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let records = (events.len() + lines.len()) as u64;
    assert_eq!(
        (report["totals"]["records"].as_u64(), report["totals"]["rejections"].as_u64()),
        (Some(records), Some(0))
    );
}
