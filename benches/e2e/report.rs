//! The table and the plot.

use crate::{Run, contestants::Contestant, topic::Format, watch::Figure};
use serde_json::json;
use std::{fmt::Write as _, fs};

/// Where the generated part of the page begins and ends.
const MARKS: [&str; 2] = ["<!-- e2e: written by make bench -->", "<!-- /e2e -->"];
const PAGE: &str = "docs/performance.md";
const PLOT: &str = "docs/performance.svg";

/// The middle one of a figure over the rounds.
fn median(figures: &[Figure], of: impl Fn(&Figure) -> f64) -> f64 {
    let mut all: Vec<f64> = figures.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the table, and writes it, the plot and the figures themselves.
pub fn write(run: &Run, contestants: &[Contestant], figures: &[Vec<Figure>]) {
    let measured: Vec<(&Contestant, &[Figure])> =
        contestants.iter().zip(figures).filter(|(_, f)| !f.is_empty()).map(|(c, f)| (c, f.as_slice())).collect();
    let table = table(run, &measured);
    println!("\n{table}");
    let all: Vec<_> =
        measured.iter().map(|(c, f)| json!({"name": c.name, "topic": c.topic.topic(run.events), "runs": f})).collect();
    let text = serde_json::to_string_pretty(&all).expect("figures are JSON");
    fs::write(run.dir.join("e2e.json"), text).expect("the folder of figures is writable");
    // a part of the contestants is no table for others to read
    if run.keep_docs || !run.only.is_empty() {
        return;
    }
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let (before, rest) = page.split_once(MARKS[0]).expect("the page has the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the page has the second mark");
    fs::write(PAGE, format!("{before}{}\n\n{table}\n{}{after}", MARKS[0], MARKS[1])).expect(PAGE);
    fs::write(PLOT, plot(&measured)).expect(PLOT);
}

fn table(run: &Run, measured: &[(&Contestant, &[Figure])]) -> String {
    let limit = measured.first().map_or(f64::NAN, |(_, f)| median(f, Figure::cpu_us));
    let ours = measured.iter().find(|(c, _)| c.name.starts_with("authseal, all rules, S3"));
    let ours = ours.map_or(f64::NAN, |(_, f)| median(f, Figure::cpu_us));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut out = format!(
        "{} events in {} partitions, {} interleaved rounds, medians, {cores} cores shared with Kafka and the store.\n\n\
         | contestant | CPU µs an event (lowest to highest) | steady | to the limit | to authseal, all rules, S3 \
         | events/s | peak MiB | stored MiB | what it does |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        run.events,
        crate::topic::PARTITIONS,
        measured.iter().map(|(_, f)| f.len()).max().unwrap_or(0),
    );
    for (contestant, figures) in measured {
        let cpu = median(figures, Figure::cpu_us);
        let of = |pick: fn(f64, f64) -> f64| figures.iter().map(Figure::cpu_us).reduce(pick).unwrap_or(f64::NAN);
        let json = if contestant.topic == Format::Json { " (JSON)" } else { "" };
        writeln!(
            out,
            "| {}{json} | **{cpu:.2}** ({:.2} to {:.2}) | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {} |",
            contestant.name,
            of(f64::min),
            of(f64::max),
            median(figures, Figure::steady_cpu_us),
            cpu / limit,
            cpu / ours,
            median(figures, Figure::rate),
            figures.iter().map(|f| f.rss_mib).fold(0.0, f64::max),
            median(figures, |f| f.stored_mib),
            contestant.does,
        )
        .expect("a string takes all");
    }
    out
}

/// CPU an event as bars.
fn plot(measured: &[(&Contestant, &[Figure])]) -> String {
    const LEFT: f64 = 270.0;
    const WIDTH: f64 = 420.0;
    const ROW: f64 = 28.0;
    let most = measured.iter().map(|(_, f)| median(f, Figure::cpu_us)).fold(0.1, f64::max);
    let height = ROW * measured.len() as f64 + 44.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-weight=\"bold\">CPU µs an event, user and system, less is better</text>\n"
    );
    for (at, (contestant, figures)) in measured.iter().enumerate() {
        let (y, cpu) = (36.0 + ROW * at as f64, median(figures, Figure::cpu_us));
        let ours = contestant.name.starts_with("authseal");
        writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"20\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{cpu:.2}</text>",
            LEFT - 8.0,
            y + 15.0,
            contestant.name,
            cpu / most * WIDTH,
            if ours { "#2b6cb0" } else { "#a0aec0" },
            LEFT + cpu / most * WIDTH + 6.0,
            y + 15.0,
        )
        .expect("a string takes all");
    }
    out.push_str("</svg>\n");
    out
}
