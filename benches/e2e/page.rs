//! What a run says: on the terminal, below `target/bench`, and on the page between its marks.

use crate::{
    Measured, Run,
    alone::Contest,
    latency::Course,
    marks,
    partitions::Held,
    plot,
    report::{self, cpu_of, median, span},
    watch::Figure,
};
use std::{fmt::Write as _, fs, time::Duration};

const PAGE: &str = "docs/performance.md";
const BARS: &str = "docs/performance.svg";
const LATENCY: &str = "docs/latency.svg";
/// The most that 99 of 100 alerts may take at [`BUDGET_RATE`], milliseconds.
const BUDGET_MS: f64 = 100.0;
const BUDGET_RATE: u64 = 50_000;

/// Prints all that was measured; writes the page if all there is was measured.
pub fn write(run: &Run, measured: &Measured, took: Duration) {
    let figures = serde_json::to_string_pretty(measured).expect("figures are JSON");
    fs::write(run.dir.join("e2e.json"), figures).expect("the folder of figures is writable");
    let mut parts = vec![("machine", machine(took))];
    if !measured.pipeline.is_empty() {
        parts.push(("e2e", report::table(&measured.pipeline)));
    }
    if let Some(contest) = &measured.alone {
        parts.push(("alone", alone(contest)));
    }
    if !measured.latency.is_empty() {
        parts.push(("latency", latency(&measured.latency)));
    }
    if !measured.partitions.is_empty() {
        parts.push(("partitions", partitions(&measured.partitions)));
    }
    parts.push(("e2e-budgets", budgets(measured)));
    for (_, text) in &parts {
        println!("\n{text}");
    }
    if run.keep_docs || !run.is_whole() {
        return;
    }
    for (name, text) in &mut parts {
        match *name {
            "e2e" => text.push_str("\n![CPU an event of each contestant](performance.svg)\n"),
            "latency" => text.push_str("\n![Milliseconds from an event to its alert](latency.svg)\n"),
            _ => {}
        }
    }
    let page = fs::read_to_string(PAGE).expect(PAGE);
    let page = parts.iter().fold(page, |page, (name, text)| between(&page, name, text));
    fs::write(PAGE, page).expect(PAGE);
    fs::write(BARS, plot::bars(&measured.pipeline)).expect(BARS);
    fs::write(LATENCY, plot::latencies(&measured.latency, BUDGET_MS)).expect(LATENCY);
}

/// The page with a text between the marks of a name.
fn between(page: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- {name}: written by make bench -->"), format!("<!-- /{name} -->"));
    marks::between(page, [&open, &close], text)
}

fn machine(took: Duration) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, m)| m);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(", ");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    format!(
        "Last run: {today}, {} minutes, {cores} cores ({model}), \
         which Kafka, the store and whoever produces share; load at its end (1, 5, 15 minutes): {load}.",
        took.as_secs().div_ceil(60)
    )
}

fn alone(contest: &Contest) -> String {
    let decoding = contest.judged.first().map_or(f64::NAN, |judged| median(&judged.figures, Figure::cpu_us));
    let mut out = format!(
        "{} lines of JSON, {} interleaved rounds, medians.\n\n\
         | contestant | CPU µs an event (lowest to highest) | beyond decoding | peak MiB | findings | what it does |\n\
         |---|---|---|---|---|---|\n",
        contest.events,
        contest.judged.iter().map(|judged| judged.figures.len()).max().unwrap_or(0)
    );
    for judged in &contest.judged {
        let cpu = median(&judged.figures, Figure::cpu_us);
        let beyond = if judged.name.starts_with("authseal") { format!("{:.2}", cpu - decoding) } else { "–".into() };
        writeln!(
            out,
            "| {} | **{cpu:.2}** ({}) | {beyond} | {:.0} | {} | {} |",
            judged.name,
            span(&judged.figures),
            judged.figures.iter().map(|f| f.rss_mib).fold(0.0, f64::max),
            judged.findings,
            judged.does,
        )
        .expect("a string takes all");
    }
    out
}

fn latency(courses: &[Course]) -> String {
    let mut out = String::from(
        "| rules | events/s (sent) | probes | p50 | p90 | p99 | p99.9 | most | read, p99 | Kafka alone, p50 | p99 \
         | CPU µs an event |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for course in courses {
        for level in &course.levels {
            let [p50, p90, p99, p999, most] = level.appended;
            let lost = if level.lost > 0 { format!(", {} lost", level.lost) } else { String::new() };
            writeln!(
                out,
                "| {} | {} ({:.0}) | {}{lost} | {p50:.1} | {p90:.1} | **{p99:.1}** | {p999:.1} | {most:.1} | {:.1} | \
                 {:.1} | {:.1} | {:.2} |",
                course.rules,
                level.rate,
                level.sent,
                level.probes,
                level.read[2],
                level.alone[0],
                level.alone[2],
                level.cpu_us
            )
            .expect("a string takes all");
        }
    }
    out
}

fn partitions(all: &[Held]) -> String {
    let mut out = String::from(
        "| partitions | rules | peak MiB | its own metric | buffers | state of rules | CPU µs an event | objects |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for held in all {
        let [buffers, state, resident] = held.gauges;
        writeln!(
            out,
            "| {} | {} | **{:.0}** | {resident:.0} | {buffers:.0} | {state:.0} | {:.2} | {} |",
            held.partitions,
            held.rules,
            held.figure.rss_mib,
            held.figure.cpu_us(),
            held.figure.objects
        )
        .expect("a string takes all");
    }
    out
}

/// What was promised beside what was measured.
fn budgets(measured: &Measured) -> String {
    let rows = &measured.pipeline;
    let mut out = String::from(
        "| what | budget | measured | to the budget | to the limit | to Redpanda Connect, copying | the same with \
         20 selections | to Kafka Connect + Iceberg |\n|---|---|---|---|---|---|---|---|\n",
    );
    let names =
        ["librdkafka", "Redpanda Connect, S3", "Redpanda Connect, 20", "Kafka Connect"].map(|name| cpu_of(rows, name));
    for name in ["authseal, no rules, folder", "authseal, all rules, folder", "authseal, all rules, S3"] {
        let cpu = cpu_of(rows, name);
        let to = names.map(|other| format!("{:.2}", cpu / other)).join(" | ");
        writeln!(out, "| CPU an event: {name} | 2.5 µs | {cpu:.2} µs | {:.2} | {to} |", cpu / 2.5)
            .expect("a string takes all");
    }
    let folder = rows.iter().find(|row| row.name.starts_with("authseal, all rules, folder"));
    let rate = folder.map_or(f64::NAN, |row| median(&row.figures, Figure::rate));
    let none = "| – | – | – | – |";
    let mut line = |text: String| writeln!(out, "{text} {none}").expect("a string takes all");
    line(format!(
        "| events/s, all rules, folder | over 400,000 | {rate:.0}, broker on the same cores | {:.2}",
        rate / 400_000.0
    ));
    for course in &measured.latency {
        for level in course.levels.iter().filter(|level| level.rate == BUDGET_RATE) {
            let p99 = level.appended[2];
            line(format!(
                "| event to alert at {BUDGET_RATE} events/s, p99, {} | {BUDGET_MS:.0} ms | {p99:.1} ms | {:.2}",
                course.rules,
                p99 / BUDGET_MS
            ));
        }
    }
    for held in measured.partitions.iter().filter(|held| held.partitions == 64) {
        let mib = held.figure.rss_mib;
        line(format!("| memory, 64 partitions, {} | 512 MiB | {mib:.0} MiB | {:.2}", held.rules, mib / 512.0));
    }
    out
}
