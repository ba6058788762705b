//! The configuration from outside: the documented example, the messages people get, the environment, secrets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use authseal::{
    config::{Config, Origin, Problems, Start, known_settings},
    decode::Format,
    note::Signer,
    store::StoreSpec,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

mod sources;

const EXAMPLE: &str = include_str!("../../authseal.example.toml");

/// The smallest configuration that is good.
const MINIMAL: &str = r#"
origin = "auth.example.com/prod"
[kafka]
brokers = "127.0.0.1:9092"
[[topics]]
name = "auth"
format = "json"
[seal]
key_file = "seal.key"
[store]
kind = "dir"
path = "store"
"#;

/// A folder with a key, a schema and rules, as the examples name them.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::from_seed("auth.example.com/prod/seal", [7; 32]).unwrap();
    secret(dir.path(), "seal.key", &format!("{}\n", &*signer.secret_text()));
    secret(dir.path(), "withhold.key", &"ab".repeat(32));
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::create_dir(dir.path().join("schemas")).unwrap();
    let schema = r#"{"type":"record","name":"Login","fields":[{"name":"user","type":"string"}]}"#;
    fs::write(dir.path().join("schemas/login.avsc"), schema).unwrap();
    dir
}

fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn parse(dir: &TempDir, text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::parse(&dir.path().join("authseal.toml"), text, &env)
}

fn good(dir: &TempDir, text: &str, env: &[(&str, &str)]) -> Config {
    parse(dir, text, env).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The messages, without the path of the folder.
fn wrong(dir: &TempDir, text: &str, env: &[(&str, &str)]) -> String {
    let problems = parse(dir, text, env).map(|_| ()).unwrap_err();
    problems.to_string().replace(&format!("{}/", dir.path().display()), "")
}

/// The example with the lines uncommented that `wanted` wants.
fn uncommented(wanted: impl Fn(&str) -> bool) -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|l| l.starts_with(|c: char| c.is_ascii_lowercase() || c == '"'))
    };
    let line = |line: &str| if is_setting(line) && wanted(line) { line[1..].to_owned() } else { line.to_owned() };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_good_and_the_defaults_that_it_states_are_the_real_ones() {
    let dir = folder();
    let stated = uncommented(|line| !line.contains("# unset"));
    assert_ne!(stated, EXAMPLE);
    assert_eq!(good(&dir, EXAMPLE, &[]).to_json(), good(&dir, &stated, &[]).to_json());
}

#[test]
fn the_configuration_of_docker_compose_is_good() {
    let dir = folder();
    let signer = Signer::from_seed("localhost/compose/seal", [8; 32]).unwrap();
    secret(dir.path(), "seal.key", &signer.secret_text());
    // in the container the keys lie in a volume
    let text = include_str!("../../deploy/compose.toml").replace("/var/lib/authseal/keys/", "");
    let config = good(&dir, &text, &[]);
    assert!(config.seal.withhold_key.is_some());
    assert_eq!(config.http.port(), 9464);
}

#[test]
fn the_example_mentions_every_setting_and_no_other() {
    fn paths(prefix: &str, value: &toml::Value, out: &mut BTreeSet<String>) {
        // tables whose keys are the user's own
        let own = ["kafka.properties", "kafka.property_files", "topics.schemas"];
        match value {
            toml::Value::Table(table) if !own.contains(&prefix) => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    out.insert(path.clone());
                    paths(&path, value, out);
                }
            }
            toml::Value::Array(items) => items.iter().for_each(|item| paths(prefix, item, out)),
            _ => {}
        }
    }
    let everything = uncommented(|_| true);
    let mut shown = BTreeSet::new();
    paths("", &toml::Value::Table(everything.parse().unwrap()), &mut shown);
    // secrets that only the environment may hold
    for (path, variable) in [
        ("kafka.password", "AUTHSEAL_KAFKA__PASSWORD"),
        ("registry.password", "AUTHSEAL_REGISTRY__PASSWORD"),
        ("registry.token", "AUTHSEAL_REGISTRY__TOKEN"),
        ("registry.oauth.client_secret", "AUTHSEAL_REGISTRY__OAUTH__CLIENT_SECRET"),
        ("seal.key", "AUTHSEAL_SEAL__KEY"),
        ("seal.withhold_key", "AUTHSEAL_SEAL__WITHHOLD_KEY"),
        ("seal.key_passphrase", "AUTHSEAL_SEAL__KEY_PASSPHRASE"),
        ("correlate.key", "AUTHSEAL_CORRELATE__KEY"),
        ("log.key", "AUTHSEAL_LOG__KEY"),
        ("log.key_passphrase", "AUTHSEAL_LOG__KEY_PASSPHRASE"),
    ] {
        assert!(EXAMPLE.contains(variable), "{variable}");
        shown.insert(path.to_owned());
    }
    // the name of a class is the user's own
    shown.remove("store.retention.classes.payments");
    assert_eq!(shown, known_settings(&everything));
    // and what is written there has the right types
    let problems = wrong(&folder(), &everything, &[]);
    assert!(!problems.contains("expected") && !problems.contains("unknown"), "{problems}");
}

#[test]
fn everything_wrong_is_told_at_once_and_at_its_place() {
    let text = r#"origin = "auth example"
instanc = "a"
[kafka]
broker = "127.0.0.1:9092"
group = 5
[[topics]]
name = "auth"
format = "avrro"
[[topics]]
name = "a b"
format = "json"
secret_fields = ["pin", 4]
[seal]
key_file = "seal.key"
max_mib = "big"
max_age = "1 minute"
[store]
kind = "s3"
[store.retention]
mode = "COMPLIANCE"
"#;
    let told = wrong(&folder(), text, &[]);
    for (line, part) in told.lines().zip([
        "authseal.toml:1:10: origin: must be 1 to 200 printable ASCII characters without spaces",
        "authseal.toml:2:1: instanc: unknown setting; did you mean \"instance\"?",
        "authseal.toml:3:1: kafka.brokers: is missing: host:port of at least one broker",
        "authseal.toml:4:1: kafka.broker: unknown setting; did you mean \"brokers\"?",
        "authseal.toml:5:9: kafka.group: expected a string, found a whole number",
        "authseal.toml:8:10: topics.0.format: \"avrro\" is unknown; did you mean \"avro\"? (one of: avro, confluent,",
        "authseal.toml:10:8: topics.1.name: \"a b\" is no topic name",
        "authseal.toml:12:25: topics.1.secret_fields.1: expected a string, found a whole number",
        "authseal.toml:15:11: seal.max_mib: expected a whole number, not negative, found a string",
        "authseal.toml:16:11: seal.max_age: expected a duration such as",
        "authseal.toml:17:1: store.bucket: is missing: the bucket",
        "authseal.toml:20:8: store.retention.mode: COMPLIANCE cannot be undone by anyone",
    ]) {
        assert!(line.starts_with(part), "{line}\nbut expected\n{part}\nin\n{told}");
    }
    assert_eq!(told.lines().count(), 12, "{told}");
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let told = wrong(&folder(), "origin = \"a\"\n[kafka\nbrokers = 1 2\n", &[]);
    assert!(told.contains("authseal.toml:2:"), "{told}");
    let told = wrong(&folder(), "", &[]);
    for setting in ["origin", "kafka.brokers", "topics", "seal.key_file", "store.kind"] {
        assert!(told.contains(&format!("authseal.toml: {setting}: is missing: ")), "{setting} in {told}");
    }
}

#[test]
fn the_environment_comes_over_the_file() {
    let dir = folder();
    let config = good(
        &dir,
        MINIMAL,
        &[
            ("AUTHSEAL_KAFKA__BROKERS", "a:1, b:2"),
            ("AUTHSEAL_KAFKA__PASSWORD", "123"),
            ("AUTHSEAL_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
            ("AUTHSEAL_KAFKA__PROPERTIES__FETCH_WAIT_MAX_MS", "50"),
            ("AUTHSEAL_TOPICS__0__SECRET_FIELDS", r#"["pin", "cvv"]"#),
            ("AUTHSEAL_TOPICS__1__NAME", "more"),
            ("AUTHSEAL_TOPICS__1__FORMAT", "confluent"),
            ("AUTHSEAL_TOPICS__1__SCHEMAS__17", "schemas/login.avsc"),
            ("AUTHSEAL_TOPICS__1__START", "2026-01-31T00:00:00Z"),
            ("AUTHSEAL_SEAL__MAX_AGE", "10s"),
            ("AUTHSEAL_INSTANCE", "42"),
            ("AUTHSEAL_TEST_SOMETHING", "not a setting"),
            ("AUTHSEAL_LOG", "debug"),
            ("HOME", "/nowhere"),
        ],
    );
    assert_eq!(config.kafka.brokers, "a:1,b:2");
    let properties: Vec<_> = config.kafka.properties().collect();
    let expected = [("fetch.wait.max.ms", "50"), ("sasl.password", "123"), ("security.protocol", "SASL_SSL")];
    assert_eq!(properties, expected);
    assert_eq!(config.topics[0].spec.secret_fields, ["pin", "cvv"]);
    let Format::Confluent { schemas } = &config.topics[1].spec.format else { panic!("{config:?}") };
    assert_eq!(schemas[&17].path, "schemas/login.avsc");
    assert_eq!(config.topics[1].start, Start::At(1_769_817_600_000));
    assert_eq!((config.seal.max_age, config.instance.as_str()), (Duration::from_secs(10), "42"));
}

#[test]
fn unknown_variables_are_refused() {
    let told = wrong(
        &folder(),
        MINIMAL,
        &[
            ("AUTHSEAL_KAFKA__BROKER", "a:1"),
            ("AUTHSEAL_SEAL__MAX_MIB", "many"),
            ("AUTHSEAL_TOPICS__5__NAME", "x"),
            ("AUTHSEAL_KAFKA__", "x"),
            ("AUTHSEAL_ORIGIN__X", "x"),
        ],
    );
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "AUTHSEAL_KAFKA__: names no setting",
            "AUTHSEAL_KAFKA__BROKER: kafka.broker: unknown setting; did you mean \"brokers\"?",
            "AUTHSEAL_ORIGIN__X: origin.x: \"x\" is below a value that has no parts",
            "AUTHSEAL_SEAL__MAX_MIB: seal.max_mib: expected a whole number, not negative, found a string",
            "AUTHSEAL_TOPICS__5__NAME: topics.5.name: there are 1 entries: the next is 1",
        ]
    );
}

#[test]
fn secrets_are_refused_in_the_file_and_never_shown() {
    let dir = folder();
    let text = MINIMAL.replace(
        "[[topics]]",
        "password = \"hunter2\"\n[kafka.properties]\n\"ssl.key.password\" = \"hunter3\"\n[[topics]]",
    );
    let told = wrong(&dir, &text, &[]);
    assert!(told.contains("kafka.password: secrets do not belong in this file: use kafka.password_file"), "{told}");
    assert!(told.contains("kafka.properties.ssl.key.password: secrets do not belong in this file"), "{told}");
    assert!(!told.contains("hunter"), "{told}");

    secret(dir.path(), "pw", "hunter4\n");
    secret(dir.path(), "keypw", "hunter5");
    let text = MINIMAL.replace(
        "[[topics]]",
        "password_file = \"pw\"\n[kafka.property_files]\n\"ssl.key.password\" = \"keypw\"\n[[topics]]",
    );
    let config = good(&dir, &text, &[("AUTHSEAL_KAFKA__PROPERTIES__SASL_OAUTHBEARER_CLIENT_SECRET", "hunter6")]);
    let properties: Vec<_> = config.kafka.properties().collect();
    assert_eq!(
        properties,
        [("sasl.oauthbearer.client.secret", "hunter6"), ("sasl.password", "hunter4"), ("ssl.key.password", "hunter5")]
    );
    let seed = "BwcHBwcHBwcHBwc"; // the base64 of the signing key's seed
    for shown in [config.to_json().to_string(), format!("{config:?} {:?}", config.kafka)] {
        assert!(!shown.contains("hunter") && !shown.contains(seed) && !shown.contains(&"ab".repeat(32)), "{shown}");
        assert!(shown.contains("<redacted>"));
    }
}

#[test]
fn keys_that_others_can_read_and_keys_of_another_origin_are_refused() {
    let dir = folder();
    let key = dir.path().join("seal.key");
    for (mode, good) in [(0o600, true), (0o400, true), (0o440, true), (0o644, false), (0o620, false), (0o601, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let result = parse(&dir, MINIMAL, &[]);
        assert_eq!(result.is_ok(), good, "{mode:o}");
        assert_eq!(
            result.is_ok_and(|config| config.warnings.join(" ").contains("its group")),
            mode == 0o440,
            "{mode:o}"
        );
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let told = wrong(&dir, &MINIMAL.replace("com/prod", "com/test"), &[]);
    let part = "seal.key_file: the key is called auth.example.com/prod/seal, not auth.example.com/test/seal";
    assert!(told.contains(&format!("authseal.toml:9:12: {part}")), "{told}");
    let told = wrong(&dir, &MINIMAL.replace("seal.key\"", "rules\""), &[]);
    assert!(told.contains("authseal.toml:9:12: seal.key_file: ") && told.contains("it is a folder"), "{told}");
    let told = wrong(&dir, &MINIMAL.replace("seal.key\"", "withhold.key\""), &[]);
    assert!(told.contains("PRIVATE+KEY") && !told.contains("abab"), "{told}");
    let named = good(
        &dir,
        &MINIMAL.replace("key_file = \"seal.key\"", ""),
        &[("AUTHSEAL_SEAL__KEY", fs::read_to_string(&key).unwrap().as_str())],
    );
    assert_eq!(named.seal.signer.as_ref().unwrap().name(), "auth.example.com/prod/seal");
}

/// Each row: what to replace in the minimal configuration, by what, and what must be said of it.
const ROWS: &[(&str, &str, &str)] = &[
    ("auth.example.com/prod", "https://auth.example.com", "origin: must be without scheme"),
    ("auth.example.com/prod", "auth+x", "origin: must be 1 to 200 printable ASCII"),
    (
        "name = \"auth\"",
        "name = \"^auth.*\"",
        "topics.0.name: \"^auth.*\" is no topic name: topics that match are read with",
    ),
    ("name = \"auth\"", "name = \"auth\"\npattern = \"auth\"", "topics.0.pattern: name is set too"),
    ("name = \"auth\"", "pattern = \"auth(\"", "topics.0.pattern: \"auth(\" is no regular expression"),
    (
        "name = \"auth\"",
        "pattern = \"auth\"\nstart = \"end\"",
        "topics.0.start: a topic that is found later would lose",
    ),
    (
        "name = \"auth\"",
        "pattern = \"auth\"\nformat = \"json\"\n[[topics]]\npattern = \"auth\"",
        "topics.1.pattern: \"auth\" is listed twice",
    ),
    ("[kafka]", "cluster = \"a/b\"\n[kafka]", "cluster: must be 1 to 249"),
    ("[kafka]", "instance = \"ä\"\n[kafka]", "instance: must be 1 to 64"),
    ("127.0.0.1:9092", "kafka", "kafka.brokers: \"kafka\" is not host:port"),
    ("[kafka]", "[kafka]\nqueue_mib = 0", "kafka.queue_mib: 0 is not between 1 and"),
    (
        "[kafka]",
        "[kafka.properties]\n\"isolation.level\" = \"x\"\n[kafka]",
        "kafka.properties.isolation.level: is fixed",
    ),
    (
        "[kafka]",
        "[kafka.properties]\n\"group.id\" = \"x\"\n[kafka]",
        "group.id: has a setting of its own: use kafka.group",
    ),
    ("[seal]", "[[topics]]\nname = \"auth\"\nformat = \"json\"\n[seal]", "topics.1.name: \"auth\" is listed twice"),
    ("name = \"auth\"", "name = \"authseal.alerts\"", "topics.0.format: authseal writes to this topic itself"),
    ("\"json\"", "\"json\"\nschema = \"schemas/login.avsc\"", "topics.0.schema: belongs to format = \"avro\""),
    ("\"json\"", "\"avro\"\nschema = \"none.avsc\"", "topics.0.schema: "),
    ("\"json\"", "\"avro\"\nschema = \"seal.key\"", "topics.0.schema: seal.key: the schema is not JSON"),
    ("\"json\"", "\"confluent\"", "topics.0.schemas: is missing: a [registry] with a url, or the schema files by id"),
    ("\"json\"", "\"confluent\"\nschemas = { x = \"a\" }", "topics.0.schemas: \"x\" is no schema id"),
    ("\"json\"", "\"single-object\"\nschemas = { 1 = \"a\" }", "topics.0.schemas: must be an array of files"),
    ("\"json\"", "\"opaque\"\nsource = \"x\"", "topics.0.source: has no effect on an opaque topic"),
    ("\"json\"", "\"json\"\nkeep = \"event\"", "topics.0.keep: \"event\" replaces tokens by HMACs"),
    ("\"json\"", "\"json\"\nstart = \"yesterday\"", "topics.0.start: expected \"log-start\", \"end\" or a moment"),
    ("[seal]", "[alerts]\ntopic = \"a b\"\n[seal]", "alerts.topic: \"a b\" is no topic name"),
    ("[seal]", "[alerts]\ntopic = \"authseal.dead-letters\"\n[seal]", "alerts.topic: is the dead-letter topic as well"),
    (
        "[seal]",
        "[alerts]\nshadow_topic = \"authseal.alerts\"\n[seal]",
        "alerts.shadow_topic: is the alerts topic as well",
    ),
    ("[kafka]", "roles = []\n[kafka]", "roles: names nothing to do"),
    ("[kafka]", "roles = [\"judge\"]\n[kafka]", "roles"),
    ("[kafka]", "roles = [\"detect\"]\n[kafka]", "rules.dir: is missing"),
    ("[kafka]", "[kafka]\ngroup = \"a\"\ndetect_group = \"a\"", "kafka.detect_group: is kafka.group as well"),
    ("name = \"auth\"", "name = \"auth\"\npartitioned_by = [\"usr\"]", "topics.0.partitioned_by: \"usr\" is no field"),
    ("[seal]", "[alerts]\nshadow_topic = \"a b\"\n[seal]", "alerts.shadow_topic: \"a b\" is no topic name"),
    ("[seal]", "[alerts]\nshadow_topic = \"auth\"\n[seal]", "topics.0.format: authseal writes to this topic itself"),
    ("[seal]", "[rules]\ndir = \"none\"\n[seal]", "rules.dir: "),
    ("[seal]", "[seal]\nmax_mib = 49", "seal.max_mib: 49 is not between 1 and 48"),
    ("[seal]", "[seal]\nmemory_mib = 16", "seal.memory_mib: is smaller than one segment"),
    ("[seal]", "[seal]\nheartbeat = \"30s\"", "seal.heartbeat: is shorter than seal.max_age (1m)"),
    ("[seal]", "[seal]\ngrace = \"30s\"", "seal.grace: is shorter than seal.max_age (1m)"),
    ("[seal]", "[seal]\nmax_age = \"0s\"", "seal.max_age: must be longer than nothing"),
    ("[seal]", "[seal]\ncodec = \"snappy\"\nlevel = 3", "seal.level: this codec has no levels"),
    ("[seal]", "[seal]\nlevel = 20", "seal.level: 20 is not between 1 and 19"),
    ("[seal]", "[seal]\nwithhold_key_file = \"seal.key\"", "seal.withhold_key_file: is neither 64 hexadecimal digits"),
    ("\"dir\"", "\"dir\"\nbucket = \"x\"", "store.bucket: belongs to kind = \"s3\""),
    ("\"dir\"", "\"dir\"\nretention = { mode = \"GOVERNANCE\" }", "store.retention.mode: a folder cannot lock"),
    ("\"dir\"\npath = \"store\"", "\"s3\"\nbucket = \"B B\"", "store.bucket: \"B B\" is not the name of a bucket"),
    (
        "\"dir\"\npath = \"store\"",
        "\"s3\"\nbucket = \"abc\"\nendpoint = \"s3:9\"",
        "store.endpoint: the endpoint must be http://",
    ),
    (
        "\"dir\"\npath = \"store\"",
        "\"s3\"\nbucket = \"abc\"\nprefix = \"a//b\"",
        "store.prefix: \"a//b\" is not a prefix",
    ),
    (
        "\"dir\"\npath = \"store\"",
        "\"s3\"\nbucket = \"abc\"\nretention = { period = \"1m\" }",
        "store.retention.period: is shorter than seal.heartbeat",
    ),
    (
        "[[topics]]",
        "[[topics]]\nretention = \"long\"",
        "topics.0.retention: there is no [store.retention.classes.long]",
    ),
    (
        "[store]",
        "[store]\nretention = { classes = { long = { mode = \"COMPLIANCE\" } } }",
        "store.retention.classes.long.mode: a folder cannot lock",
    ),
    ("key_file = \"seal.key\"", "sign_command = [\"sign\"]", "seal.verifier_key: is missing"),
    ("[seal]", "[seal]\nverifier_key = \"x\"", "seal.verifier_key: belongs to seal.sign_command"),
    ("[kafka]", "trust_file = \"seal.key\"\n[kafka]", "trust_file: line 1: "),
    ("[store]", "[http]\nlisten = \"localhost\"\n[store]", "http.listen: must be an IP address and a port"),
    ("[store]", "[log]\nlevel = \"a=b=c\"\n[store]", "log.level: "),
    ("name = \"auth\"", "name = \"auth\"\nsequence_by = [\"hots\"]", "topics.0.sequence_by: \"hots\" is no field"),
    ("[store]", "[inventory]\nunknown = \"alert\"\n[store]", "inventory.unknown: needs [[inventory.sources]]"),
    (
        "[store]",
        "[[inventory.sources]]\nname = \"okta\"\n[store]",
        "authseal.toml:10:1: inventory.sources.0.max_silence: is missing",
    ),
    (
        "[store]",
        "[[inventory.sources]]\nname = \"okta\"\nmax_silence = \"0s\"\n[store]",
        "inventory.sources.0.max_silence: must be longer than nothing",
    ),
    (
        "[store]",
        "[[inventory.sources]]\nname = \"a\"\nmax_silence = \"1h\"\n\
         [[inventory.sources]]\nname = \"a\"\nmax_silence = \"2h\"\n[store]",
        "inventory.sources.1.name: \"a\" is listed twice",
    ),
];

#[test]
fn values_that_cannot_work_are_refused_one_by_one() {
    let dir = folder();
    good(&dir, MINIMAL, &[]);
    for (old, new, expected) in ROWS {
        assert!(MINIMAL.contains(old), "{old}");
        let told = wrong(&dir, &MINIMAL.replacen(old, new, 1), &[]);
        assert_eq!(told.lines().count(), 1, "{new}: {told}");
        assert!(told.contains(expected), "{new}: {told}\nbut expected\n{expected}");
    }
}

#[test]
fn who_only_judges_needs_rules_and_a_group_of_its_own_and_no_key() {
    let dir = folder();
    let with = |roles: &str| {
        let text = MINIMAL.replace("key_file = \"seal.key\"", "");
        let text = text.replace("[store]", "[rules]\ndir = \"rules\"\n[store]");
        parse(&dir, &text.replace("[kafka]", &format!("roles = {roles}\n[kafka]")), &[])
    };
    let detect = with("[\"detect\"]").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((detect.kafka.group.as_str(), detect.roles.seal, detect.roles.detect), ("authseal-detect", false, true));
    assert!(detect.seal.signer.is_none());
    for roles in ["[\"seal\"]", "[\"seal\", \"detect\"]"] {
        assert!(with(roles).unwrap_err().to_string().contains("seal.key_file: is missing"));
    }
    let seal = good(&dir, &MINIMAL.replace("[kafka]", "roles = [\"seal\"]\n[kafka]"), &[]);
    assert_eq!((seal.kafka.group.as_str(), seal.roles.detect), ("authseal", false));
    assert!(!seal.warnings.iter().any(|warning| warning.contains("rules.dir")), "{:?}", seal.warnings);
}

#[test]
fn problems_know_their_places() {
    let problems = parse(&folder(), &MINIMAL.replace("kind = \"dir\"", "kind = \"ftp\""), &[]).map(|_| ()).unwrap_err();
    assert_eq!(problems.list[0].origin, Some(Origin::File { line: 11, column: 8 }));
    assert_eq!(problems.to_json()[0]["line"], 11);
}

#[test]
fn what_deserves_a_word_gets_one() {
    let dir = folder();
    let text = MINIMAL.replace("127.0.0.1", "kafka.example.com").replace(
        "kind = \"dir\"\npath = \"store\"",
        "kind = \"s3\"\nbucket = \"abc\"\nendpoint = \"http://s3.example.com\"",
    ) + "retention = { mode = \"NONE\" }\n[http]\nlisten = \"0.0.0.0:9464\"\n";
    let config = good(&dir, &text, &[]);
    let warnings = config.warnings.join("\n");
    for part in
        ["kafka: the connection is not encrypted", "nothing is judged", "store.endpoint: ", "mode NONE", "http.listen"]
    {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
    assert!(matches!(&config.store.spec, StoreSpec::S3(s3) if s3.path_style));
    let quiet = good(&dir, &MINIMAL.replace("[seal]", "[rules]\ndir = \"rules\"\n[seal]"), &[]);
    assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
}

#[test]
fn keys_may_be_encrypted_or_held_by_a_program() {
    let dir = folder();
    let signer = Signer::from_seed("auth.example.com/prod/seal", [7; 32]).unwrap();
    let fresh = authseal::keyfile::Fresh { salt: [1; 16], iv: [2; 16] };
    let text = authseal::keyfile::encrypt(&signer, "a long passphrase", fresh).unwrap();
    secret(dir.path(), "seal.key", &text);
    secret(dir.path(), "passphrase", "a long passphrase\n");
    let with = MINIMAL.replace("[store]", "key_passphrase_file = \"passphrase\"\n[store]");
    let read = good(&dir, &with, &[]);
    assert_eq!(read.seal.signer.as_ref().unwrap().verifier_key(), signer.verifier_key());
    assert!(!read.to_json().to_string().contains("long passphrase"));
    let from_environment = good(&dir, MINIMAL, &[("AUTHSEAL_SEAL__KEY_PASSPHRASE", "a long passphrase")]);
    assert_eq!(from_environment.seal.signer.as_ref().unwrap().name(), "auth.example.com/prod/seal");
    assert!(wrong(&dir, MINIMAL, &[]).contains("no passphrase was given"));
    let told = wrong(&dir, MINIMAL, &[("AUTHSEAL_SEAL__KEY_PASSPHRASE", "another passphrase")]);
    assert!(told.contains("seal.key_file") && told.contains("another one") && !told.contains("another pass"), "{told}");
    // never in the file itself
    let told = wrong(&dir, &MINIMAL.replace("[store]", "key_passphrase = \"a long passphrase\"\n[store]"), &[]);
    assert!(told.contains("secrets do not belong in this file") && !told.contains("long pass"), "{told}");

    let command = format!("sign_command = [\"kms\", \"--alias\"]\nverifier_key = \"{}\"", signer.verifier_key());
    let held = good(&dir, &MINIMAL.replace("key_file = \"seal.key\"", &command), &[]);
    assert_eq!(held.seal.signer.as_ref().unwrap().program(), Some("kms"));
    let other = Signer::from_seed("auth.example.com/other/seal", [7; 32]).unwrap();
    let other = command.replace(&signer.verifier_key(), &other.verifier_key());
    let told = wrong(&dir, &MINIMAL.replace("key_file = \"seal.key\"", &other), &[]);
    assert!(told.contains("seal.verifier_key: the key is called auth.example.com/other/seal"), "{told}");
}

#[test]
fn topics_may_stay_longer_than_others() {
    let dir = folder();
    let text = MINIMAL.replace("name = \"auth\"", "name = \"auth\"\nretention = \"long\"")
        + "retention = { period = \"30d\", classes = { long = { period = \"7d\" } } }\n";
    let config = good(&dir, &text, &[]);
    let days = |topic: &str| config.store.classes.of(topic).expires.map(|expires| expires.as_secs() / 86_400);
    assert_eq!((days("auth"), days("other")), (Some(7), Some(30)));
    // in a folder nothing goes unless somebody said when
    // what segments of all topics need stays as long as any of them
    assert_eq!(config.store.classes.longest().period.as_secs() / 86_400, 30);
    assert_eq!(good(&dir, MINIMAL, &[]).store.classes.of("auth").expires, None);
}
