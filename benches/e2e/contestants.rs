//! Who runs: the limit, authseal, and the peers.

use crate::{
    Run,
    topic::{self, Format, Progress},
    watch::{self, Figure, Until},
};
use authseal::store::{self, StoreSpec};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// A program under measurement.
pub struct Contestant {
    pub name: &'static str,
    /// What it does, and what it leaves out.
    pub does: &'static str,
    pub topic: Format,
    kind: Kind,
}

enum Kind {
    /// This program itself, reading alone.
    Limit(&'static str),
    Authseal {
        rules: bool,
        s3: bool,
    },
    /// A script below `peers/`: it installs the program on its first use and becomes it.
    Peer {
        script: &'static str,
        rules: bool,
        /// What the name of its group begins with.
        group: &'static str,
        /// Seconds that it needs after its group has committed.
        linger: u64,
    },
}

/// All of them, in the order in which they run and stand in the table.
pub fn all(run: &Run) -> Vec<Contestant> {
    let new = |name, topic, kind, does| Contestant { name, does, topic, kind };
    let all = vec![
        new("librdkafka, batches", Format::Avro, Kind::Limit("consume-batch"), "reads and throws away: the limit"),
        new("rust-rdkafka, stream", Format::Avro, Kind::Limit("consume-stream"), "the same, as its users do it"),
        new(
            "authseal, no rules, folder",
            Format::Avro,
            Kind::Authseal { rules: false, s3: false },
            "validates, hashes, chains, signs, reads back and stores; exactly once",
        ),
        new(
            "authseal, all rules, folder",
            Format::Avro,
            Kind::Authseal { rules: true, s3: false },
            "the same, and judges by every shipped rule in event time",
        ),
        new(
            "authseal, no rules, S3",
            Format::Avro,
            Kind::Authseal { rules: false, s3: true },
            "as the first, every object locked",
        ),
        new(
            "authseal, all rules, S3",
            Format::Avro,
            Kind::Authseal { rules: true, s3: true },
            "as the second, every object locked",
        ),
        new(
            "Redpanda Connect, S3",
            Format::Avro,
            Kind::Peer { script: "redpanda-connect.sh", rules: false, group: "", linger: 0 },
            "copies bytes, at least once",
        ),
        new(
            "Redpanda Connect, 20 selections, S3",
            Format::Json,
            Kind::Peer { script: "redpanda-connect.sh", rules: true, group: "", linger: 0 },
            "parses JSON, tests 20 conditions, no windows; copies, at least once",
        ),
        new(
            "Kafka Connect + Iceberg, S3",
            Format::Avro,
            Kind::Peer { script: "kafka-connect-iceberg.sh", rules: false, group: "connect-", linger: 8 },
            "copies bytes into a table, exactly once; whoever may write may rewrite",
        ),
    ];
    let wanted = |contestant: &Contestant| {
        run.only.is_empty() || run.only.iter().any(|word| contestant.name.to_lowercase().contains(&word.to_lowercase()))
    };
    all.into_iter().filter(wanted).collect()
}

impl Contestant {
    pub async fn run(&self, run: &Run, round: usize) -> Result<Figure, String> {
        let topic = self.topic.topic(run.events);
        let slug: String =
            self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let moment = jiff::Timestamp::now().as_millisecond();
        let name = format!("{slug}-{round}-{moment}");
        match &self.kind {
            Kind::Limit(how) => {
                let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
                command.args([how, run.brokers.as_str(), &topic, &name]).stdout(Stdio::null());
                watch::run(command, run.events, &Until::Exit)
            }
            Kind::Authseal { rules, s3 } => authseal(run, &topic, &name, *rules, *s3).await,
            Kind::Peer { script, rules, group, linger } => {
                let (group, linger) = (format!("{group}{name}"), Duration::from_secs(*linger));
                peer(run, &topic, &name, (script, *rules), &group, linger).await
            }
        }
    }
}

async fn peer(
    run: &Run,
    topic: &str,
    name: &str,
    (script, rules): (&str, bool),
    group: &str,
    linger: Duration,
) -> Result<Figure, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/e2e/peers").join(script);
    let home = run.dir.join("peers").join(script.file_stem().unwrap_or_default());
    fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let bucket = format!("peer-{name}").chars().take(60).collect::<String>();
    create_bucket(&run.s3, &bucket, false).await?;
    let prepared = |command: &mut Command| {
        command.arg(&home).args([run.brokers.as_str(), topic, name, run.s3.as_str(), &bucket]);
        command.env("RULES", if rules { "1" } else { "" }).stdin(Stdio::null());
        credentials(command);
    };
    // its installation is none of its figures
    let mut install = Command::new(&script);
    prepared(&mut install);
    let status = install.env("INSTALL", "1").status().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("{} could not be installed: {status}", script.display()));
    }
    let mut command = Command::new(&script);
    prepared(&mut command);
    let log = fs::File::create(home.join(format!("{name}.log"))).map_err(|e| e.to_string())?;
    command.stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
    let progress = Progress::new(&run.brokers, topic, group);
    let mut figure = watch::run(command, progress.goal(), &Until::Committed(&progress, linger))?;
    let spec = format!("s3://{bucket}?endpoint={}&path_style=true&region=us-east-1", run.s3);
    (figure.objects, figure.stored_mib) = stored(&spec).await?;
    Ok(figure)
}

async fn authseal(run: &Run, topic: &str, name: &str, rules: bool, s3: bool) -> Result<Figure, String> {
    let home = fs::canonicalize(&run.dir).map_err(|e| e.to_string())?.join("authseal").join(name);
    fs::create_dir_all(&home).map_err(|e| e.to_string())?;
    let bucket = name.chars().take(60).collect::<String>();
    let (store, spec) = if s3 {
        create_bucket(&run.s3, &bucket, true).await?;
        let store = format!(
            "kind = \"s3\"\nbucket = \"{bucket}\"\nregion = \"us-east-1\"\nendpoint = \"{}\"\npath_style = true\n\
             retention = {{ mode = \"GOVERNANCE\", period = \"1d\" }}\n",
            run.s3
        );
        (store, format!("s3://{bucket}?endpoint={}&path_style=true&region=us-east-1", run.s3))
    } else {
        let folder = home.join("store");
        let path = folder.display();
        (format!("kind = \"dir\"\npath = \"{path}\"\nretention = {{ mode = \"NONE\" }}\n"), format!("{path}"))
    };
    let key = home.join("seal.key");
    let generate = ["keys", "generate", "--origin", "bench.example/e2e", "--out"];
    quiet(command().args(generate).arg(&key).arg("--vkey").arg(home.join("seal.vkey")))?;
    let (alerts, letters) = (format!("{name}.alerts"), format!("{name}.letters"));
    topic::create(&run.brokers, &alerts, 1).await;
    topic::create(&run.brokers, &letters, 1).await;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let rules = if rules {
        // the whole topic is seen once: what would be read again after a restart does not matter here
        format!("[rules]\ndir = \"{}\"\nreplay_horizon = \"10000h\"\nstate_mib = 1024\n", shipped.display())
    } else {
        String::new()
    };
    let config = format!(
        "origin = \"bench.example/e2e\"\n[kafka]\nbrokers = \"{}\"\ngroup = \"{name}\"\n\
         [[topics]]\nname = \"{topic}\"\nformat = \"avro\"\n[alerts]\ntopic = \"{alerts}\"\n\
         [dead_letters]\ntopic = \"{letters}\"\n{rules}[seal]\n\
         key_file = \"{}\"\nmax_age = \"10s\"\n[store]\n{store}[http]\nlisten = \"127.0.0.1:0\"\n",
        run.brokers,
        key.display()
    );
    let file = home.join("authseal.toml");
    fs::write(&file, config).map_err(|e| e.to_string())?;
    let log = fs::File::create(home.join("run.log")).map_err(|e| e.to_string())?;
    let mut command = command();
    command.args(["run", "-c"]).arg(&file).env("AUTHSEAL_INSTANCE", "bench").stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
    let progress = Progress::new(&run.brokers, topic, name);
    let mut figure = watch::run(command, progress.goal(), &Until::Committed(&progress, Duration::ZERO))
        .map_err(|why| format!("{why}; see {}", home.join("run.log").display()))?;
    check(&spec, &home, run.events)?;
    (figure.objects, figure.stored_mib) = stored(&spec).await?;
    if !s3 {
        fs::remove_dir_all(home.join("store")).map_err(|e| e.to_string())?;
    }
    Ok(figure)
}

/// What was stored is verified as an auditor does it, and every record must be there: a fast program that loses some
/// has no figure.
fn check(spec: &str, home: &Path, events: u64) -> Result<(), String> {
    let mut verify = command();
    let output = verify.args(["verify", spec, "--json", "--key"]).arg(home.join("seal.vkey")).output();
    let output = output.map_err(|e| e.to_string())?;
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("verify printed no JSON: {e}"))?;
    let found = report.pointer("/totals/events").and_then(serde_json::Value::as_u64);
    let verdict = |name: &str| report.pointer(&format!("/verdicts/{name}")).and_then(serde_json::Value::as_str);
    let verdicts = (verdict("integrity"), verdict("completeness"));
    if found == Some(events) && verdicts == (Some("good"), Some("good")) {
        return Ok(());
    }
    Err(format!("verify found {found:?} of {events} events; integrity and completeness: {verdicts:?}"))
}

fn command() -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_authseal")));
    credentials(&mut command);
    command
}

fn credentials(command: &mut Command) {
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// How many objects a store holds, and their MiB.
async fn stored(spec: &str) -> Result<(u64, f64), String> {
    let spec = StoreSpec::parse(spec).map_err(|e| e.to_string())?;
    let store = store::open(&spec).await.map_err(|e| e.to_string())?;
    let (mut objects, mut bytes, mut after) = (0, 0, None::<String>);
    loop {
        let page = store.list("", after.as_deref(), 1000).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok((objects, bytes as f64 / 1_048_576.0)) };
        after = Some(last.key.clone());
        objects += page.len() as u64;
        bytes += page.iter().map(|entry| entry.size).sum::<u64>();
    }
}

async fn create_bucket(s3: &str, name: &str, locks: bool) -> Result<(), String> {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .endpoint_url(s3)
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new("test", "test", None, None, "bench"))
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let made = client.create_bucket().bucket(name).object_lock_enabled_for_bucket(locks).send().await;
    made.map(drop).map_err(|e| format!("cannot create the bucket {name}: {e:?}"))
}
