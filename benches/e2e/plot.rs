//! Plots of the page, as SVG written by hand: nothing that could not be read in a diff.

use crate::{latency::Course, report::Row};
use std::fmt::Write as _;

const OURS: &str = "#2b6cb0";
const THEIRS: &str = "#a0aec0";

fn begin(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-weight=\"bold\">{title}</text>\n"
    )
}

/// CPU an event as bars.
pub fn bars(rows: &[Row]) -> String {
    const LEFT: f64 = 270.0;
    const WIDTH: f64 = 420.0;
    const ROW: f64 = 28.0;
    let most = rows.iter().map(Row::cpu).fold(0.1, f64::max);
    let height = ROW * rows.len() as f64 + 44.0;
    let mut out = begin(760.0, height, "CPU µs an event, user and system, less is better");
    for (at, row) in rows.iter().enumerate() {
        let (y, cpu) = (36.0 + ROW * at as f64, row.cpu());
        let colour = if row.name.starts_with("authseal") { OURS } else { THEIRS };
        writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"20\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{cpu:.2}</text>",
            LEFT - 8.0,
            y + 15.0,
            row.name,
            cpu / most * WIDTH,
            LEFT + cpu / most * WIDTH + 6.0,
            y + 15.0,
        )
        .expect("a string takes all");
    }
    out.push_str("</svg>\n");
    out
}

/// p50 and p99 over the rate, both logarithmic, and the budget.
pub fn latencies(courses: &[Course], budget: f64) -> String {
    const SIDE: (f64, f64) = (70.0, 690.0);
    const DOWN: (f64, f64) = (50.0, 310.0);
    let levels = || courses.iter().flat_map(|course| &course.levels);
    let most = levels().map(|level| level.appended[2]).fold(budget * 2.0, f64::max);
    let rates = levels().map(|level| level.rate as f64);
    let (low, high) = rates.fold((f64::MAX, 1.0), |(low, high): (f64, f64), rate| (low.min(rate), high.max(rate)));
    let x = |rate: f64| SIDE.0 + (rate / low).ln() / (high / low).ln().max(1e-9) * (SIDE.1 - SIDE.0);
    // from a tenth of a millisecond on
    let y = |ms: f64| DOWN.1 - (ms.max(0.1) / 0.1).ln() / (most / 0.1).ln() * (DOWN.1 - DOWN.0);
    let mut out = begin(760.0, 360.0, "From an event to its alert: milliseconds over events a second");
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes all");
    for ms in [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0].into_iter().filter(|ms| *ms <= most) {
        line(format!(
            "<line x1=\"{}\" y1=\"{:.1}\" x2=\"{}\" y2=\"{:.1}\" stroke=\"#e2e8f0\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms}</text>",
            SIDE.0,
            y(ms),
            SIDE.1,
            y(ms),
            SIDE.0 - 8.0,
            y(ms) + 4.0
        ));
    }
    line(format!(
        "<line x1=\"{}\" y1=\"{:.1}\" x2=\"{}\" y2=\"{:.1}\" stroke=\"#c53030\" stroke-dasharray=\"6 4\"/>\
         <text x=\"{}\" y=\"{:.1}\" fill=\"#c53030\">p99 budget</text>",
        SIDE.0,
        y(budget),
        SIDE.1,
        y(budget),
        SIDE.0 + 6.0,
        y(budget) - 5.0
    ));
    for (course, colour) in courses.iter().zip([OURS, "#dd6b20"]) {
        for (at, words, dash) in [(0, "p50", "3 3"), (2, "p99", "none")] {
            let point =
                |level: &crate::latency::Level| format!("{:.1},{:.1}", x(level.rate as f64), y(level.appended[at]));
            let points: Vec<_> = course.levels.iter().map(point).collect();
            line(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 stroke-dasharray=\"{dash}\"/>",
                points.join(" ")
            ));
            if let Some(last) = course.levels.last() {
                line(format!(
                    "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{words}</text>",
                    SIDE.1 + 6.0,
                    y(last.appended[at]) + 4.0
                ));
            }
        }
    }
    for (at, (course, colour)) in courses.iter().zip([OURS, "#dd6b20"]).enumerate() {
        line(format!("<text x=\"{}\" y=\"44\" fill=\"{colour}\">{}</text>", SIDE.0 + 160.0 * at as f64, course.rules));
    }
    for level in courses.first().map_or(&[][..], |course| &course.levels) {
        line(format!("<text x=\"{:.1}\" y=\"332\" text-anchor=\"middle\">{}</text>", x(level.rate as f64), level.rate));
    }
    out.push_str("</svg>\n");
    out
}
