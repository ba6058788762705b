//! The plot: a panel for each of what grows, its factor to the right (logarithmic), the ratio of the cost upwards.

use crate::{Curve, Series};
use std::fmt::Write as _;

const PANEL: (f64, f64) = (380.0, 230.0);
const LEFT: f64 = 44.0;
const TOP: f64 = 34.0;
const PLOT: (f64, f64) = (310.0, 130.0);
const COLOURS: [&str; 3] = ["#2b6cb0", "#c05621", "#2f855a"];

/// The whole picture.
pub fn svg(curves: &[Curve]) -> String {
    let rows = curves.len().div_ceil(2) as f64;
    let (width, height) = (2.0 * PANEL.0, rows * PANEL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, curve) in curves.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * PANEL.0, (at / 2) as f64 * PANEL.1);
        writeln!(out, "<g transform=\"translate({x},{y})\">\n{}</g>", panel(curve)).expect("a string takes all");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(Curve { grows, series, .. }: &Curve) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let most_factor = points().map(|(factor, _)| *factor).fold(1.0, f64::max);
    let most = series.iter().flat_map(ratios).map(|(_, ratio)| ratio).fold(2.0, f64::max).ceil();
    let x = |factor: f64| LEFT + PLOT.0 * factor.ln() / most_factor.ln();
    let y = |ratio: f64| TOP + PLOT.1 * (1.0 - ratio / most);
    let mut out = format!(
        "<text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">cost of an event, times the {grows}</text>\n\
         <path d=\"M{LEFT} {TOP}V{0}H{1}\" fill=\"none\" stroke=\"#4a5568\"/>\n\
         <path d=\"M{LEFT} {2:.1}H{1}\" stroke=\"#a0aec0\" stroke-dasharray=\"4 3\"/>\n",
        TOP + PLOT.1,
        LEFT + PLOT.0,
        y(1.0),
    );
    for ratio in [0.0, 1.0, most] {
        let at = y(ratio) + 4.0;
        writeln!(out, "<text x=\"{}\" y=\"{at:.1}\" text-anchor=\"end\">{ratio}</text>", LEFT - 6.0).expect("a string");
    }
    if let Some(first) = series.first() {
        for (factor, _) in &first.points {
            let (at, below) = (x(*factor), TOP + PLOT.1 + 16.0);
            writeln!(out, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{factor}</text>")
                .expect("a string");
        }
    }
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let places: Vec<String> =
            ratios(line).map(|(factor, ratio)| format!("{:.1},{:.1}", x(factor), y(ratio))).collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        )
        .expect("a string takes all");
        for place in &places {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            writeln!(out, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>").expect("a string takes all");
        }
    }
    let mut at = LEFT;
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let below = TOP + PLOT.1 + 38.0;
        writeln!(out, "<text x=\"{at}\" y=\"{below}\" fill=\"{colour}\">{}</text>", line.name)
            .expect("a string takes all");
        at += 12.0 + 7.0 * line.name.len() as f64;
    }
    out
}

fn ratios(line: &Series) -> impl Iterator<Item = (f64, f64)> {
    let first = line.points.first().map_or(f64::NAN, |(_, ns)| *ns);
    line.points.iter().map(move |(factor, ns)| (*factor, ns / first))
}
