//! End to end: what a program needs to bring a Kafka topic into a store, side by side with those that people would
//! otherwise pick.
//!
//! `make bench` starts a real Kafka and a real S3 endpoint and calls `cargo bench --bench e2e -- run …`. The topics are
//! filled once and kept (`target/bench`). Every contestant reads the same topic from its start to its end in a group of
//! its own; the rounds are interleaved, so that a noisy neighbour hits all alike. **CPU µs an event** (user and system
//! time of the contestant's process tree, its start included) is the figure to compare; wall time shares the machine
//! with broker and store. Of authseal what it stored is verified afterwards, and every record must be there.
//!
//! Beside it: rules alone (`alone`), the time from an event to its alert (`latency`), memory with many partitions
//! (`partitions`). The tables go to `docs/performance.md`, between their marks, and the figures below `target/bench`.

#![allow(clippy::expect_used, missing_docs)] // what fails here must end the run

#[path = "../detect/traffic.rs"]
#[allow(dead_code)]
mod traffic;

mod alone;
mod bucket;
mod contestants;
mod instance;
mod latency;
mod limit;
#[path = "../common/marks.rs"]
mod marks;
mod page;
mod partitions;
mod plot;
mod report;
mod topic;
mod watch;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

#[derive(Parser)]
#[command(about = "Measures authseal, the limit and the peers on one Kafka topic")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Fills the topics, runs every contestant, writes the table.
    Run(Run),
    /// Reads a topic to its end and throws it away, with librdkafka's batch call.
    ConsumeBatch(limit::Which),
    /// The same with rust-rdkafka's stream, as its users do.
    ConsumeStream(limit::Which),
}

#[derive(Parser, Clone)]
pub struct Run {
    /// Kafka, host:port.
    #[arg(long)]
    brokers: String,
    /// S3 endpoint that can lock objects.
    #[arg(long)]
    s3: String,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "pipeline,rules,latency,partitions")]
    parts: Vec<Part>,
    /// Events in each topic.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// How often everybody runs at most; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// No round of the pipeline is begun that would probably end later than this after the start.
    #[arg(long, default_value_t = 22)]
    minutes: u64,
    /// Seconds at each rate of the latency.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Only these contestants, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Another build of authseal that runs beside this one, into a folder: what a change has brought.
    #[arg(long)]
    other: Option<PathBuf>,
    /// Where programs are installed and figures go.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Leave `docs/performance.md` as it is.
    #[arg(long)]
    keep_docs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From Kafka into a store, beside the limit and the peers.
    Pipeline,
    /// Rules alone, beside rsigma.
    Rules,
    /// From an event to its alert.
    Latency,
    /// Memory with many partitions.
    Partitions,
}

impl Run {
    fn is_in(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// A part of what there is is no table for others to read.
    fn is_whole(&self) -> bool {
        Part::value_variants().iter().all(|part| self.is_in(*part)) && self.only.is_empty() && self.other.is_none()
    }
}

/// What was measured.
#[derive(Default, Serialize)]
pub struct Measured {
    pipeline: Vec<report::Row>,
    alone: Option<alone::Contest>,
    latency: Vec<latency::Course>,
    partitions: Vec<partitions::Held>,
}

fn main() {
    // cargo passes --bench; without a command there is nothing to run against
    let words: Vec<String> = std::env::args().filter(|word| word != "--bench").collect();
    if words.len() == 1 {
        println!("e2e: needs Kafka and S3: `make bench` starts them");
        return;
    }
    match Arguments::parse_from(words).command {
        What::ConsumeBatch(which) => limit::batch(&which),
        What::ConsumeStream(which) => limit::stream(&which),
        What::Run(run) => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.spawn(watch::end_on_signal());
            if !runtime.block_on(measure(&run)) {
                std::process::exit(1);
            }
        }
    }
}

/// Measures all parts and writes the page. Says whether everything ran.
async fn measure(run: &Run) -> bool {
    let began = Instant::now();
    std::fs::create_dir_all(&run.dir).expect("a folder for programs and figures");
    let (mut measured, mut whole) = (Measured::default(), true);
    let mut failed = |part: &str, why: String| {
        println!("{part} FAILED: {why}");
        whole = false;
    };
    if run.is_in(Part::Pipeline) {
        match pipeline(run, began).await {
            (rows, true) => measured.pipeline = rows,
            (rows, false) => {
                measured.pipeline = rows;
                failed("pipeline", "not all ran".into());
            }
        }
    }
    if run.is_in(Part::Rules) {
        match alone::measure(run) {
            Ok(contest) => measured.alone = Some(contest),
            Err(why) => failed("rules", why),
        }
    }
    if run.is_in(Part::Latency) {
        match latency::measure(run).await {
            Ok(courses) => measured.latency = courses,
            Err(why) => failed("latency", why),
        }
    }
    if run.is_in(Part::Partitions) {
        match partitions::measure(run).await {
            Ok(held) => measured.partitions = held,
            Err(why) => failed("partitions", why),
        }
    }
    page::write(run, &measured, began.elapsed());
    whole
}

/// Runs everybody, round after round.
async fn pipeline(run: &Run, began: Instant) -> (Vec<report::Row>, bool) {
    for format in [topic::Format::Avro, topic::Format::Json] {
        topic::fill(&run.brokers, format, run.events, &format.topic(run.events), topic::PARTITIONS).await;
    }
    let contestants = contestants::all(run);
    let mut rows: Vec<_> = contestants.iter().map(|contestant| report::Row::new(contestant, run.events)).collect();
    let (end, mut whole) = (began + Duration::from_secs(run.minutes * 60), true);
    for round in 0..run.rounds {
        let begun = Instant::now();
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            match contestant.run(run, round).await {
                Ok(figure) => {
                    println!("{:36} {}", contestant.name, figure.line());
                    row.figures.push(figure);
                }
                Err(why) => {
                    println!("{:36} FAILED: {why}", contestant.name);
                    whole = false;
                }
            }
        }
        if Instant::now() + begun.elapsed() > end {
            break;
        }
    }
    rows.retain(|row| !row.figures.is_empty());
    (rows, whole)
}
