//! The table, and where it goes.

use crate::{Curve, marks::between};
use std::{fmt::Write as _, fs};

/// Where the generated part of the page begins and ends.
const MARKS: [&str; 2] = ["<!-- curves: written by cargo bench --bench curves -->", "<!-- /curves -->"];
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/curves.svg");

/// Each point in nanoseconds an event, and as a ratio to the first of its line.
pub fn table(curves: &[Curve]) -> String {
    let mut out = String::from(
        "| grows | from | what is done | ns of CPU an event at … times that (ratio) |\n|---|---|---|---|\n",
    );
    for Curve { grows, from, series } in curves {
        for line in series {
            let first = line.points.first().map_or(f64::NAN, |(_, ns)| *ns);
            let point = |(factor, ns): &(f64, f64)| format!("{factor}: {ns:.0} ({:.2})", ns / first);
            let points: Vec<String> = line.points.iter().map(point).collect();
            writeln!(out, "| {grows} | {from} | {} | {} |", line.name, points.join("; ")).expect("a string takes all");
        }
    }
    out
}

/// Puts both into the documentation.
pub fn write(table: &str, plot: &str) {
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let with = format!("Measured on {cores} cores, shared with whatever else ran: the ratios travel.");
    let plotted = "![cost of an event as something grows](curves.svg)";
    let text = format!("{with}\n\n{plotted}\n\n{table}");
    fs::write(PAGE, between(&page, MARKS, &text)).expect(PAGE);
    fs::write(PLOT, plot).expect(PLOT);
}
