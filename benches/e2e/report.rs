//! The table of the pipeline.

use crate::{contestants::Contestant, topic, watch::Figure};
use serde::Serialize;
use std::fmt::Write as _;

/// A contestant and its runs.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub does: &'static str,
    pub topic: String,
    /// Whether what came before the first commit is told apart: a program that commits as it goes.
    pub steady: bool,
    pub figures: Vec<Figure>,
}

/// The middle one of a figure over the rounds.
pub fn median(figures: &[Figure], of: impl Fn(&Figure) -> f64) -> f64 {
    let mut all: Vec<f64> = figures.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The lowest and the highest CPU an event.
pub fn span(figures: &[Figure]) -> String {
    let of = |pick: fn(f64, f64) -> f64| figures.iter().map(Figure::cpu_us).reduce(pick).unwrap_or(f64::NAN);
    format!("{:.2} to {:.2}", of(f64::min), of(f64::max))
}

impl Row {
    pub fn new(contestant: &Contestant, events: u64) -> Self {
        let topic = contestant.topic.topic(events);
        Self { name: contestant.name, does: contestant.does, topic, steady: contestant.is_peer(), figures: Vec::new() }
    }

    pub fn cpu(&self) -> f64 {
        median(&self.figures, Figure::cpu_us)
    }
}

/// The CPU an event of the contestant whose name begins so.
pub fn cpu_of(rows: &[Row], name: &str) -> f64 {
    rows.iter().find(|row| row.name.starts_with(name)).map_or(f64::NAN, Row::cpu)
}

pub fn table(rows: &[Row]) -> String {
    let (limit, ours) = (cpu_of(rows, "librdkafka"), cpu_of(rows, "authseal, all rules, S3"));
    let events = rows.iter().flat_map(|row| &row.figures).map(|figure| figure.events).max().unwrap_or(0);
    let rounds = rows.iter().map(|row| row.figures.len()).max().unwrap_or(0);
    let mut out = format!(
        "{events} events in {} partitions, {rounds} interleaved rounds, medians.\n\n\
         | contestant | CPU µs an event (lowest to highest) | steady | to the limit | to authseal, all rules, S3 \
         | events/s | peak MiB | stored MiB | what it does |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        topic::PARTITIONS,
    );
    for row in rows {
        let (cpu, json) = (row.cpu(), if row.topic.contains("json") { " (JSON)" } else { "" });
        let steady = match row.steady {
            true => format!("{:.2}", median(&row.figures, Figure::steady_cpu_us)),
            false => "–".into(),
        };
        writeln!(
            out,
            "| {}{json} | **{cpu:.2}** ({}) | {steady} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {} |",
            row.name,
            span(&row.figures),
            cpu / limit,
            cpu / ours,
            median(&row.figures, Figure::rate),
            row.figures.iter().map(|f| f.rss_mib).fold(0.0, f64::max),
            median(&row.figures, |f| f.stored_mib),
            row.does,
        )
        .expect("a string takes all");
    }
    out
}
