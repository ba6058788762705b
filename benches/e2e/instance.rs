//! An authseal of its own for one measurement: a folder, a key, topics, a configuration, a command.

use crate::{Run, bucket, topic};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What it judges by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    None,
    /// All that are shipped.
    Shipped,
    /// The rule of the probes alone ([`crate::latency`]).
    Probe,
    /// That rule among the shipped ones.
    ShippedAndProbe,
}

/// How it is set up.
pub struct Setup<'a> {
    pub topic: &'a str,
    pub name: &'a str,
    pub rules: Rules,
    pub s3: bool,
    /// Whether it is the other build ([`Run::other`]).
    pub other: bool,
    /// Lines of the configuration, below `[rules]` (where there are rules) and below `[seal]`.
    pub tables: [&'a str; 2],
}

/// One that is ready to be started.
pub struct Instance {
    pub home: PathBuf,
    /// The store, as `authseal verify` names it.
    pub spec: String,
    /// Topic of its alerts.
    pub alerts: String,
    /// Where it answers.
    pub http: SocketAddr,
    bucket: Option<String>,
    program: Option<PathBuf>,
}

/// The rule of the probes: it fires at once, for each of them.
pub const PROBE: &str = r#"// A probe of the benchmark.
rule("BENCH-0001", #{
    name:     "Probe",
    severity: LOW,
    owner:    "bench",
    runbook:  "https://runbooks.example/BENCH-0001",
    falsepos: ["none: nobody else sends probes"],

    when:     activity == OTHER & action == "bench.probe",
    key:      [user],
});
"#;

/// The folder of the shipped rules.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

/// The program under measurement, or another build of it. `AUTHSEAL_TEST_BINARY` names the one that is shipped: the one
/// that is built with a benchmark has what dev-dependencies switch on in common crates.
pub fn command(other: Option<&Path>) -> Command {
    let shipped = std::env::var_os("AUTHSEAL_TEST_BINARY").map(PathBuf::from);
    let own = shipped.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_authseal")));
    let mut command = Command::new(other.unwrap_or(own));
    credentials(&mut command);
    command
}

/// What reaches the S3 endpoint.
pub fn credentials(command: &mut Command) {
    command.env("AWS_ACCESS_KEY_ID", bucket::KEY).env("AWS_SECRET_ACCESS_KEY", bucket::KEY);
    command.env("AWS_REGION", bucket::REGION).env("AWS_EC2_METADATA_DISABLED", "true");
}

/// Runs a command that must succeed and prints only when it does not.
pub fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Copies the files of a folder and of those in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Instance {
    /// Sets it up.
    pub async fn new(run: &Run, setup: &Setup<'_>) -> Result<Self, String> {
        let name = setup.name;
        let home = fs::canonicalize(&run.dir).map_err(|e| e.to_string())?.join("authseal").join(name);
        fs::create_dir_all(&home).map_err(|e| e.to_string())?;
        let bucket = setup.s3.then(|| name.chars().take(60).collect::<String>());
        let (store, spec) = if let Some(bucket) = &bucket {
            bucket::create(&run.s3, bucket, true).await?;
            let store = format!(
                "kind = \"s3\"\nbucket = \"{bucket}\"\nregion = \"{}\"\nendpoint = \"{}\"\npath_style = true\n\
                 retention = {{ mode = \"GOVERNANCE\", period = \"1d\" }}\n",
                bucket::REGION,
                run.s3
            );
            (store, bucket::spec(&run.s3, bucket))
        } else {
            let path = home.join("store").display().to_string();
            (format!("kind = \"dir\"\npath = \"{path}\"\nretention = {{ mode = \"NONE\" }}\n"), path)
        };
        let key = home.join("seal.key");
        let generate = ["keys", "generate", "--origin", "bench.example/e2e", "--out"];
        quiet(command(None).args(generate).arg(&key).arg("--vkey").arg(home.join("seal.vkey")))?;
        let (alerts, letters) = (format!("{name}.alerts"), format!("{name}.letters"));
        // the broker says when an alert came
        topic::create(&run.brokers, &alerts, 1, &[("message.timestamp.type", "LogAppendTime")]).await;
        topic::create(&run.brokers, &letters, 1, &[]).await;
        let rules = rules(&home, setup)?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let http = free.map_err(|e| e.to_string())?;
        let config = format!(
            "origin = \"bench.example/e2e\"\n[kafka]\nbrokers = \"{}\"\ngroup = \"{name}\"\n\
             [[topics]]\nname = \"{}\"\nformat = \"avro\"\n[alerts]\ntopic = \"{alerts}\"\n\
             [dead_letters]\ntopic = \"{letters}\"\n{rules}[seal]\nkey_file = \"{}\"\n{}\n\
             [store]\n{store}[http]\nlisten = \"{http}\"\n",
            run.brokers,
            setup.topic,
            key.display(),
            setup.tables[1],
        );
        write(&home.join("authseal.toml"), &config)?;
        let program = run.other.clone().filter(|_| setup.other);
        Ok(Self { home, spec, alerts, http, bucket, program })
    }

    /// `authseal run`; what it says goes into its folder.
    pub fn command(&self) -> Result<Command, String> {
        let log = fs::File::create(self.log()).map_err(|e| e.to_string())?;
        let mut command = command(self.program.as_deref());
        command.args(["run", "-c"]).arg(self.home.join("authseal.toml")).env("AUTHSEAL_INSTANCE", "bench");
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
        Ok(command)
    }

    /// Where it writes what it says.
    pub fn log(&self) -> PathBuf {
        self.home.join("run.log")
    }

    /// Verifies what was stored as an auditor does it; every record must be there: a fast program that loses some has
    /// no figure.
    pub fn check(&self, events: u64) -> Result<(), String> {
        let mut verify = command(None);
        let output = verify.args(["verify", &self.spec, "--json", "--key"]).arg(self.home.join("seal.vkey")).output();
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

    /// Removes what it has stored. Its configuration and its log stay.
    pub async fn remove(&self, run: &Run) -> Result<(), String> {
        match &self.bucket {
            Some(bucket) => bucket::remove(&run.s3, bucket, true).await,
            None => fs::remove_dir_all(self.home.join("store")).map_err(|e| e.to_string()),
        }
    }
}

/// The table of the rules; what is judged by lies in the instance's folder where it is not the shipped one.
fn rules(home: &Path, setup: &Setup<'_>) -> Result<String, String> {
    let own = home.join("rules");
    let dir = match setup.rules {
        Rules::None => return Ok(String::new()),
        Rules::Shipped => shipped(),
        Rules::Probe => own,
        Rules::ShippedAndProbe => {
            copy(&shipped(), &own).map_err(|e| e.to_string())?;
            own
        }
    };
    if setup.rules != Rules::Shipped {
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        write(&dir.join("probe.rhai"), PROBE)?;
    }
    // the whole topic is seen once: what would be read again after a restart does not matter here
    Ok(format!("[rules]\ndir = \"{}\"\nreplay_horizon = \"10000h\"\n{}\n", dir.display(), setup.tables[0]))
}
