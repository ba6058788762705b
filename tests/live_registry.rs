//! A real schema registry (Apicurio, tests/services/schema-registry.sh), a real Kafka and a real S3 endpoint: Avro that
//! Java's and Python's own encoders wrote, with two versions of a schema and a reference; the registry is killed and
//! comes back; ids that are no schemas. Nothing is lost, and nobody waits for what does not concern him.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;

use authseal::remote::{Ask, Http, Remote};
use live::{Live, Process, Record, Site, authseal, publish, read_topic, show, unique};
use serde_json::{Value, json};
use std::{
    io::Write,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const LOGIN_1: &str = r#"{"type":"record","name":"Login","namespace":"shop","fields":[
    {"name":"user","type":"string"},{"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"outcome","type":{"type":"enum","name":"Outcome","symbols":["SUCCESS","FAILURE"]}}]}"#;
const PLACE: &str = r#"{"type":"record","name":"Place","namespace":"shop","fields":[{"name":"site","type":"string"}]}"#;
/// A field renamed, one that came, another order, and a type of another schema.
const LOGIN_2: &str = r#"{"type":"record","name":"Login","namespace":"shop","fields":[
    {"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"login","aliases":["user"],"type":["null","string"],"default":null},
    {"name":"src_ip","type":["null","string"],"default":null},
    {"name":"outcome","type":"string","default":"UNKNOWN"},{"name":"place","type":"shop.Place"}]}"#;
const LOGIN_3: &str = r#"{"type":"record","name":"Login","namespace":"shop","fields":[
    {"name":"user","type":"string"},{"name":"time","type":"long"},{"name":"device","type":"string","default":""}]}"#;
/// 2026-01-01, in milliseconds.
const TIME: i64 = 1_767_225_600_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn services() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("services/schema-registry")
}

/// The registry, whose schemas survive it.
struct Registry {
    port: u16,
    home: tempfile::TempDir,
    process: Option<Process>,
}

impl Registry {
    async fn start() -> Self {
        // free now; whoever takes it meanwhile fails the start, and that says why
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut registry = Self { port, home: tempfile::tempdir().unwrap(), process: None };
        registry.go().await;
        registry
    }

    async fn go(&mut self) {
        let log = self.home.path().join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(root().join("tests/services/schema-registry.sh"));
        command.arg(self.port.to_string()).env("REGISTRY_HOME", self.home.path()).stdin(Stdio::null());
        // the script becomes the registry: they are one process
        command.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let mut child = command.spawn().unwrap();
        for _ in 0..3000 {
            let types = format!("{}/schemas/types", self.url());
            let look = authseal::remote::Look { url: types, accept: "*/*", authorization: None, at_most: 1 << 20 };
            if Http::new().unwrap().look(look).await.is_ok_and(|told| told.status == 200) {
                self.process = Some(Process(child));
                return;
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "the registry ended: {text}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the registry does not answer: {}", std::fs::read_to_string(&log).unwrap_or_default());
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Registers a schema; its id.
    async fn register(&self, subject: &str, schema: Value) -> u32 {
        let ask = Ask {
            url: format!("{}/subjects/{subject}/versions", self.url()),
            content_type: "application/vnd.schemaregistry.v1+json",
            body: schema.to_string().into_bytes(),
            at_most: 1 << 20,
        };
        let told = Http::new().unwrap().post(ask).await.unwrap();
        let json: Value = serde_json::from_slice(&told.body).unwrap();
        u32::try_from(json["id"].as_u64().unwrap_or_else(|| panic!("{} {json}", told.status))).unwrap()
    }
}

/// A datum by a program's own encoder: the schema in a file, the datum in JSON on its stdin.
fn encode(mut program: Command, datum: &str) -> Vec<u8> {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(datum.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", show(&output));
    output.stdout
}

/// By Apache Avro's encoder in Java, as Java's serialisers for registries use it.
fn java(schema: &Path, datum: &str) -> Vec<u8> {
    let mut command = Command::new("java");
    command.arg("-XX:TieredStopAtLevel=1").arg("-jar").arg(services().join("avro-tools.jar"));
    command.arg("jsontofrag").arg("--schema-file").arg(schema).arg("-");
    encode(command, datum)
}

/// By fastavro, as Confluent's serialiser in Python uses it.
fn python(live: &Live, schemas: &[&Path], datum: &str) -> Vec<u8> {
    let script = "import fastavro, json, sys\nnamed = {}\n\
                  for file in sys.argv[1:]: schema = fastavro.parse_schema(json.load(open(file)), named)\n\
                  fastavro.schemaless_writer(sys.stdout.buffer, schema, json.load(sys.stdin))";
    let mut command = Command::new(&live.python);
    command.arg("-c").arg(script).args(schemas);
    encode(command, datum)
}

/// As a registry's serialisers frame it.
fn framed(partition: i32, id: u32, datum: &[u8]) -> Record {
    let value = [&[0][..], &id.to_be_bytes(), datum].concat();
    Record { partition: Some(partition), value: Some(value), timestamp: Some(TIME), ..Record::default() }
}

#[tokio::test]
async fn schemas_of_a_registry_are_read_while_it_comes_and_goes() {
    let Some(live) = Live::get() else { return };
    let mut registry = Registry::start().await;
    let one = registry.register("login", json!({ "schema": LOGIN_1 })).await;
    registry.register("place", json!({ "schema": PLACE })).await;
    let references = json!([{ "name": "shop.Place", "subject": "place", "version": 1 }]);
    let two = registry.register("login", json!({ "schema": LOGIN_2, "references": references })).await;
    let three = registry.register("login-3", json!({ "schema": LOGIN_3 })).await;
    let document = json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" }).to_string();
    let no_avro = registry.register("document", json!({ "schema": document, "schemaType": "JSON" })).await;

    let topic = unique("login");
    let extra = format!("[registry]\nurl = \"{}\"\nwait = \"2m\"\ntimeout = \"2s\"", registry.url());
    let site = Site::new(&live, &topic, 2, "confluent", &extra).await;
    let file = |name: &str, text: &str| {
        std::fs::write(site.path(name), text).unwrap();
        site.path(name)
    };
    let (first, second) = (file("1.avsc", LOGIN_1), file("2.avsc", LOGIN_2));
    let place = file("place.avsc", PLACE);
    let from_java = java(&first, &format!(r#"{{"user": "anna", "time": {TIME}, "outcome": "FAILURE"}}"#));
    let event = json!({ "time": TIME * 1000, "login": "bert", "src_ip": "203.0.113.7", "outcome": "success",
        "place": { "site": "HQ" } });
    let from_python = python(&live, &[&place, &second], &event.to_string());
    let anna = json!({ "user": "anna", "time": TIME, "outcome": "FAILURE" });
    assert_eq!(python(&live, &[&first], &anna.to_string()), from_java);

    let run = site.run("one");
    // ids that are none stall nothing
    let poisoned = [framed(0, 1_000_000_007, &from_java), framed(0, no_avro, &from_java)];
    let both = [framed(0, one, &from_java), framed(0, two, &from_python), framed(1, one, &from_java)];
    publish(&live.kafka, &topic, poisoned.into_iter().chain(both));
    site.wait_until_sealed(&live, 5, 60);

    // known ids go on without it, a new one waits for it
    registry.kill();
    let carl = json!({ "user": "carl", "time": TIME, "device": "d" });
    let third = python(&live, &[&file("3.avsc", LOGIN_3)], &carl.to_string());
    let known = [framed(0, two, &from_python), framed(0, three, &third), framed(0, one, &from_java)];
    publish(&live.kafka, &topic, known);
    publish(&live.kafka, &topic, (0..5).map(|_| framed(1, one, &from_java)));
    let report = site.wait_until_sealed(&live, 11, 60);
    assert_eq!(report["totals"]["events"], json!(9), "the new id and what is behind it wait: {report:#}");
    registry.go().await;
    site.wait_until_sealed(&live, 13, 60);
    assert_eq!(run.terminate(), Some(0), "{}", site.log("one"));

    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["verdicts"]["completeness"], json!("good"), "{report:#}");
    assert_eq!((&report["totals"]["events"], &report["totals"]["rejections"]), (&json!(11), &json!(2)), "{report:#}");
    let letters = read_topic(&live.kafka, &site.dead_letters);
    let mut codes: Vec<_> =
        letters.iter().map(|l| String::from_utf8_lossy(&l.headers["authseal-code"]).into_owned()).collect();
    codes.sort();
    assert_eq!(codes, ["schema_unusable", "unknown_schema_id"]);

    // what the change from the one to the other means
    let check = |new: &str| {
        let args = ["schemas", "check", "registry:login@1", new, "--json", "--registry"];
        let output = authseal().args(args).arg(registry.url()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", show(&output)));
        (output.status.code().unwrap(), json)
    };
    let (code, report) = check("registry:login");
    assert_eq!((code, &report["compatible"]), (0, &json!(true)), "{report:#}");
    assert_eq!(report["forward"]["compatible"], json!(false), "{report:#}");
    let (code, report) = check("registry:login-3");
    assert_eq!((code, &report["authseal"][0]["subject"]), (1, &json!("outcome")), "{report:#}");
}
