//! Who runs: the limit, authseal, and the peers.

use crate::{
    Run, bucket,
    instance::{Instance, Rules, Setup, credentials},
    topic::{Format, Progress},
    watch::{self, Figure, Until},
};
use authseal::store::{self, StoreSpec};
use std::{
    fs,
    path::Path,
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
        rules: Rules,
        s3: bool,
        other: bool,
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
    let mut all = vec![
        new("librdkafka, batches", Format::Avro, Kind::Limit("consume-batch"), "reads and throws away: the limit"),
        new("rust-rdkafka, stream", Format::Avro, Kind::Limit("consume-stream"), "the same, as its users do it"),
        new(
            "authseal, no rules, folder",
            Format::Avro,
            Kind::Authseal { rules: Rules::None, s3: false, other: false },
            "validates, hashes, chains, signs, reads back and stores; exactly once",
        ),
        new(
            "authseal, all rules, folder",
            Format::Avro,
            Kind::Authseal { rules: Rules::Shipped, s3: false, other: false },
            "the same, and judges by every shipped rule in event time",
        ),
        new(
            "authseal, no rules, S3",
            Format::Avro,
            Kind::Authseal { rules: Rules::None, s3: true, other: false },
            "as the first, every object locked",
        ),
        new(
            "authseal, all rules, S3",
            Format::Avro,
            Kind::Authseal { rules: Rules::Shipped, s3: true, other: false },
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
    if run.other.is_some() {
        for (name, rules) in
            [("other authseal, no rules, folder", Rules::None), ("other authseal, all rules, folder", Rules::Shipped)]
        {
            all.push(new(name, Format::Avro, Kind::Authseal { rules, s3: false, other: true }, "another build"));
        }
    }
    let wanted = |contestant: &Contestant| {
        let is_called = |word: &String| contestant.name.to_lowercase().contains(&word.to_lowercase());
        run.only.is_empty() || run.only.iter().any(is_called)
    };
    all.into_iter().filter(wanted).collect()
}

impl Contestant {
    /// Whether it is somebody else's program that stores what it reads.
    pub fn is_peer(&self) -> bool {
        matches!(self.kind, Kind::Peer { .. })
    }

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
            Kind::Authseal { rules, s3, other } => authseal(run, &topic, &name, *rules, (*s3, *other)).await,
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
    bucket::create(&run.s3, &bucket, false).await?;
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
    (figure.objects, figure.stored_mib) = stored(&bucket::spec(&run.s3, &bucket)).await?;
    bucket::remove(&run.s3, &bucket, false).await?;
    Ok(figure)
}

async fn authseal(
    run: &Run,
    topic: &str,
    name: &str,
    rules: Rules,
    (s3, other): (bool, bool),
) -> Result<Figure, String> {
    let setup = Setup { topic, name, rules, s3, other, tables: ["state_mib = 1024", "max_age = \"10s\""] };
    let instance = Instance::new(run, &setup).await?;
    let progress = Progress::new(&run.brokers, topic, name);
    let until = Until::Committed(&progress, Duration::ZERO);
    let mut figure = watch::run(instance.command()?, progress.goal(), &until)
        .map_err(|why| format!("{why}; see {}", instance.log().display()))?;
    instance.check(run.events)?;
    (figure.objects, figure.stored_mib) = stored(&instance.spec).await?;
    instance.remove(run).await?;
    Ok(figure)
}

/// How many objects a store holds, and their MiB.
pub async fn stored(spec: &str) -> Result<(u64, f64), String> {
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
