//! Memory with many partitions: a preloaded topic is read from its start, and the most that was resident is told, with
//! what authseal's own metrics say.

use crate::{
    Run,
    instance::{Instance, Rules, Setup},
    topic::{self, Format, Progress},
    watch::{self, Figure, Until},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How many partitions.
pub const PARTITIONS: [i32; 2] = [64, 512];
/// Events in each of these topics at most: several times what authseal may hold.
const EVENTS: u64 = 2_000_000;
/// The gauges that say what is held.
pub const GAUGES: [&str; 3] =
    ["authseal_buffer_bytes", "authseal_detector_state_bytes", "process_resident_memory_bytes"];
/// Between two looks at them.
const STEP: Duration = Duration::from_millis(500);

/// What one run held.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    pub partitions: i32,
    pub rules: &'static str,
    pub figure: Figure,
    /// The most that each gauge said, MiB.
    pub gauges: [f64; 3],
}

impl Held {
    pub fn line(&self) -> String {
        let [buffers, state, resident] = self.gauges;
        format!(
            "{:4} partitions, {}: {:.0} MiB resident at most (its own metric: {resident:.0}); buffers {buffers:.0}, \
             rules {state:.0}; {:.2} µs of CPU an event, {} objects",
            self.partitions,
            self.rules,
            self.figure.rss_mib,
            self.figure.cpu_us(),
            self.figure.objects
        )
    }
}

/// Each number of partitions, without rules and with the shipped ones; all other settings as they are shipped.
pub async fn measure(run: &Run) -> Result<Vec<Held>, String> {
    let events = run.events.min(EVENTS);
    let mut all = Vec::new();
    for partitions in PARTITIONS {
        let topic = format!("{}.{partitions}", Format::Avro.topic(events));
        topic::fill(&run.brokers, Format::Avro, events, &topic, partitions).await;
        for (words, rules) in [("no rules", Rules::None), ("all rules", Rules::Shipped)] {
            let held = one(run, &topic, events, (partitions, words, rules)).await?;
            println!("{}", held.line());
            all.push(held);
        }
    }
    Ok(all)
}

async fn one(
    run: &Run,
    topic: &str,
    events: u64,
    (partitions, words, rules): (i32, &'static str, Rules),
) -> Result<Held, String> {
    let moment = jiff::Timestamp::now().as_millisecond();
    let name = format!("partitions-{partitions}-{moment}");
    let instance =
        Instance::new(run, &Setup { topic, name: &name, rules, s3: false, other: false, tables: ["", ""] }).await?;
    let ended = Arc::new(AtomicBool::new(false));
    let looking = {
        let (http, ended) = (instance.http, ended.clone());
        std::thread::spawn(move || look(http, &ended))
    };
    let progress = Progress::new(&run.brokers, topic, &name);
    let until = Until::Committed(&progress, Duration::ZERO);
    let figure = watch::run(instance.command()?, progress.goal(), &until);
    ended.store(true, Ordering::Relaxed);
    let gauges = looking.join().unwrap_or_default();
    let mut figure = figure.map_err(|why| format!("{why}; see {}", instance.log().display()))?;
    instance.check(events)?;
    (figure.objects, figure.stored_mib) = crate::contestants::stored(&instance.spec).await?;
    instance.remove(run).await?;
    let gauges = GAUGES.map(|name| gauges.get(name).copied().unwrap_or(f64::NAN) / 1_048_576.0);
    Ok(Held { partitions, rules: words, figure, gauges })
}

/// The most that each gauge says until it is ended.
fn look(http: SocketAddr, ended: &AtomicBool) -> BTreeMap<&'static str, f64> {
    let mut most = BTreeMap::new();
    while !ended.load(Ordering::Relaxed) {
        let page = page(http).unwrap_or_default();
        for line in page.lines() {
            let Some((name, value)) = line.split_once(' ') else { continue };
            if let Some(name) = GAUGES.into_iter().find(|known| *known == name)
                && let Ok(value) = value.trim().parse::<f64>()
            {
                let held: &mut f64 = most.entry(name).or_default();
                *held = held.max(value);
            }
        }
        std::thread::sleep(STEP);
    }
    most
}

fn page(http: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, STEP)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
