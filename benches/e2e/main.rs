//! End to end: what a program needs to bring a Kafka topic into a store, side by side with those that people would
//! otherwise pick.
//!
//! `make bench` starts a real Kafka and a real S3 endpoint and calls `cargo bench --bench e2e -- run …`. The topics are
//! filled once and kept (`target/bench`). Every contestant reads the same topic from its start to its end in a group of
//! its own; the rounds are interleaved, so that a noisy neighbour hits all alike. **CPU µs an event** (user and system
//! time of the contestant's process tree, its start included) is the figure to compare; wall time shares the machine
//! with broker and store. Of authseal what it stored is verified afterwards, and every record must be there.
//!
//! The table goes to `docs/performance.md`, between its marks, and as JSON below `target/bench`.

#![allow(clippy::expect_used, missing_docs)] // what fails here must end the run

#[path = "../detect/traffic.rs"]
#[allow(dead_code)]
mod traffic;

mod contestants;
mod limit;
mod report;
mod topic;
mod watch;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

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
    /// Events in each topic.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// How often everybody runs; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these contestants, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where programs are installed and figures go.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Leave `docs/performance.md` as it is.
    #[arg(long)]
    keep_docs: bool,
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
            runtime.block_on(measure(&run));
        }
    }
}

/// Runs everybody, round after round.
async fn measure(run: &Run) {
    std::fs::create_dir_all(&run.dir).expect("a folder for programs and figures");
    for format in [topic::Format::Avro, topic::Format::Json] {
        topic::fill(&run.brokers, format, run.events).await;
    }
    let contestants = contestants::all(run);
    let mut figures: Vec<Vec<watch::Figure>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..run.rounds {
        for (contestant, figures) in contestants.iter().zip(&mut figures) {
            match contestant.run(run, round).await {
                Ok(figure) => {
                    println!("{:36} {}", contestant.name, figure.line());
                    figures.push(figure);
                }
                Err(why) => println!("{:36} FAILED: {why}", contestant.name),
            }
        }
    }
    report::write(run, &contestants, &figures);
    if figures.iter().any(|figures| figures.len() < run.rounds) {
        std::process::exit(1);
    }
}
