//! No secret of any kind is in anything that the binary prints: logs at trace level, errors, the configuration as it is
//! shown, readiness and metrics; with edges that fail, and that send back what they were sent.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Kinds of secrets; every value is unlike anything else that is printed.
const SASL_PASSWORD: &str = "hunter2-sasl-password";
const KEY_PASSPHRASE: &str = "hunter2-key-passphrase";
const CLIENT_SECRET: &str = "hunter2-client-secret";
const TRUST_PASSWORD: &str = "hunter2-keystore-password";
const AWS_SECRET: &str = "hunter2/aws+secret";
const AWS_SESSION: &str = "hunter2-aws-session-token";
const TOKEN: &str = "hunter2.issued.token";
const WITHHOLD: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

struct Stage {
    dir: TempDir,
    seed: String,
}

/// Answers every request with a status and everything that it was sent, headers included: the rudest of servers.
fn echo(status: u16, prefix: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                head += &line;
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let words = format!("{prefix}{}", head.replace("\r\n", " ").replace('"', "'"));
            let answer = match prefix {
                _ if status == 200 => format!(r#"{{"access_token":"{TOKEN}","expires_in":300,"you sent":"{words}"}}"#),
                "" => format!(
                    "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message>\
                     <CanonicalRequest>{words}</CanonicalRequest><Token-0>{AWS_SESSION}</Token-0></Error>"
                ),
                _ => format!(r#"{{"error":"invalid_client","error_description":"{words}"}}"#),
            };
            let answer =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

impl Stage {
    fn new(properties: &str, store: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_authseal"))
            .args(["keys", "generate", "--origin", "auth.example.com/prod", "--out", "seal.key"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success());
        // "PRIVATE+KEY+<name>+<id>+<base64>"
        let key = fs::read_to_string(dir.path().join("seal.key")).unwrap();
        let seed = key.trim().splitn(5, '+').last().unwrap().to_owned();
        assert!(seed.len() > 40, "the key's secret part");
        for (name, secret) in [
            ("sasl", SASL_PASSWORD),
            ("passphrase", KEY_PASSPHRASE),
            ("client", CLIENT_SECRET),
            ("keystore", TRUST_PASSWORD),
            ("withhold", WITHHOLD),
        ] {
            let file = dir.path().join(name);
            fs::write(&file, secret).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = format!(
            r#"origin = "auth.example.com/prod"
[kafka]
{properties}
[[topics]]
name = "auth"
format = "json"
[seal]
key_file = "seal.key"
withhold_key_file = "withhold"
shutdown_deadline = "1s"
[store]
{store}
[http]
listen = "127.0.0.1:0"
[log]
level = "trace"
"#
        );
        fs::write(dir.path().join("authseal.toml"), config).unwrap();
        Self { dir, seed }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
            command.env_remove(name);
        }
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
        command.env("AWS_SESSION_TOKEN", AWS_SESSION).env("AWS_REGION", "us-east-1").env("RUST_BACKTRACE", "1");
        command.current_dir(self.dir.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs until the log has all of `words`, asks for readiness and metrics, and ends it. Returns what was printed.
    fn run(&self, words: &[&str]) -> String {
        let file = self.dir.path().join("log");
        let log = fs::File::create(&file).unwrap();
        let mut run = self.command(&["run"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut text = String::new();
        for _ in 0..600 {
            text = fs::read_to_string(&file).unwrap();
            if words.iter().all(|word| text.contains(word)) || run.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let address = text.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
        let told =
            ["/readyz", "/metrics"].map(|path| address.as_ref().and_then(|at| get(at, path)).unwrap_or_default());
        Command::new("kill").arg(run.id().to_string()).stderr(Stdio::null()).status().unwrap();
        run.wait().unwrap();
        text = fs::read_to_string(&file).unwrap();
        for word in words {
            assert!(text.contains(word), "{word} did not come:\n{text}");
        }
        text + &told.concat()
    }

    /// What `config check` prints of the same settings, as text and as JSON.
    fn shown(&self) -> String {
        let mut text = String::new();
        for arguments in [&["config", "check"][..], &["config", "check", "--json"]] {
            let output = self.command(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            text += &String::from_utf8_lossy(&output.stdout);
            text += &String::from_utf8_lossy(&output.stderr);
        }
        text
    }

    /// None of the secrets is in `text`, as it is or in a usual disguise.
    fn assert_silent(&self, text: &str) {
        let pair = STANDARD.encode(format!("authseal:{CLIENT_SECRET}"));
        let hidden = [
            SASL_PASSWORD,
            KEY_PASSPHRASE,
            CLIENT_SECRET,
            TRUST_PASSWORD,
            AWS_SECRET,
            AWS_SESSION,
            TOKEN,
            WITHHOLD,
            &self.seed,
            &pair,
        ];
        for secret in hidden {
            let base64 = STANDARD.encode(secret);
            let debug = format!("{:?}", secret.as_bytes());
            for form in [secret, base64.trim_end_matches('='), debug.trim_matches(['[', ']'])] {
                if let Some(at) = text.find(form) {
                    let line = text[..at].matches('\n').count();
                    panic!("{secret:?} was printed: {}", text.lines().nth(line).unwrap_or_default());
                }
            }
        }
    }
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

const DIR: &str = "kind = \"dir\"\npath = \"store\"\nretention = { mode = \"NONE\" }";

#[test]
fn passwords_of_kafka_are_never_printed() {
    // a port at which nobody listens
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let properties = format!(
        r#"brokers = "{gone}"
password_file = "sasl"
[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "authseal"
"debug" = "all"
[kafka.property_files]
"ssl.key.password" = "passphrase"
"ssl.keystore.password" = "keystore"
"#
    );
    let stage = Stage::new(&properties, DIR);
    stage.assert_silent(&stage.run(&["reading from Kafka", "librdkafka", "Connection refused"]));
    stage.assert_silent(&stage.shown());
}

#[test]
fn the_secret_of_the_identity_provider_s_client_is_never_printed() {
    for (status, words) in [
        (401, ["no token for Kafka", "invalid_client", "401"]),
        (500, ["no token for Kafka", "invalid_client", "500"]),
        (200, ["a token for Kafka was issued", "reading from Kafka", "OAUTHBEARER"]),
    ] {
        let properties = format!(
            r#"brokers = "127.0.0.1:1"
[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "OAUTHBEARER"
"sasl.oauthbearer.client.id" = "authseal"
"sasl.oauthbearer.token.endpoint.url" = "http://{}/token"
"debug" = "all"
[kafka.property_files]
"sasl.oauthbearer.client.secret" = "client"
"#,
            echo(status, "you sent ")
        );
        let stage = Stage::new(&properties, DIR);
        stage.assert_silent(&stage.run(&words));
        stage.assert_silent(&stage.shown());
    }
}

#[test]
fn keys_of_the_store_are_never_printed() {
    let store = format!("kind = \"s3\"\nbucket = \"evidence\"\nendpoint = \"http://{}\"", echo(403, ""));
    let stage = Stage::new("brokers = \"127.0.0.1:1\"", &store);
    stage.assert_silent(&stage.run(&["evidence", "403"]));
    stage.assert_silent(&stage.shown());
}

#[test]
fn keys_that_cannot_be_read_are_not_shown_in_the_error() {
    let stage = Stage::new("brokers = \"127.0.0.1:1\"", DIR);
    let key = stage.dir.path().join("seal.key");
    let good = fs::read_to_string(&key).unwrap();
    for (name, text) in [("seal.key", good.replace("PRIVATE", "PRIVAT")), ("withhold", format!("{WITHHOLD}5e"))] {
        let file = stage.dir.path().join(name);
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, text).unwrap();
        let output = stage.command(&["run"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        stage.assert_silent(&String::from_utf8_lossy(&output.stderr));
        fs::write(&file, before).unwrap();
    }
}

#[test]
fn without_a_setting_only_this_machine_is_answered() {
    let stage = Stage::new("brokers = \"127.0.0.1:1\"", DIR);
    let file = stage.dir.path().join("authseal.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[http]\nlisten = \"127.0.0.1:0\"\n", "")).unwrap();
    let shown = stage.shown();
    assert!(shown.contains("127.0.0.1:9464") && !shown.contains("0.0.0.0"), "{shown}");
}
