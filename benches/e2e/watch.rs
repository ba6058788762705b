//! Runs a program until it has done its work, and says what that took: CPU and memory of it and all that it started.

use crate::topic::Progress;
use serde::Serialize;
use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// Without progress for so long, a program is given up.
const IDLE: Duration = Duration::from_secs(180);
/// Between two looks.
const STEP: Duration = Duration::from_millis(200);
/// Ticks a second of /proc: always so on Linux.
const TICKS: f64 = 100.0;

/// What it took.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    pub events: u64,
    pub wall_s: f64,
    pub cpu_s: f64,
    /// From the first progress to the last: without the start of the program.
    pub steady_s: f64,
    pub steady_cpu_s: f64,
    pub steady_events: u64,
    pub rss_mib: f64,
    pub objects: u64,
    pub stored_mib: f64,
}

impl Figure {
    pub fn cpu_us(&self) -> f64 {
        self.cpu_s * 1e6 / self.events.max(1) as f64
    }

    pub fn steady_cpu_us(&self) -> f64 {
        if self.steady_events == 0 { self.cpu_us() } else { self.steady_cpu_s * 1e6 / self.steady_events as f64 }
    }

    pub fn rate(&self) -> f64 {
        self.events as f64 / self.wall_s.max(1e-9)
    }

    pub fn line(&self) -> String {
        format!(
            "{:7.3} µs of CPU an event ({:.3} steady), {:9.0} events/s, {:6.0} MiB resident, \
             {:7.1} MiB stored in {} objects",
            self.cpu_us(),
            self.steady_cpu_us(),
            self.rate(),
            self.rss_mib,
            self.stored_mib,
            self.objects
        )
    }
}

/// When a program has done its work.
pub enum Until<'a> {
    /// It ends by itself.
    Exit,
    /// Its group has committed the end of the topic; then it is asked to end, after so long a time in which its CPU
    /// counts.
    Committed(&'a Progress, Duration),
}

/// CPU seconds and peak resident MiB of a process and all below it.
pub fn tree(root: u32) -> (f64, f64) {
    let (mut ticks, mut peak, mut todo) = (0.0, 0.0, vec![root]);
    while let Some(pid) = todo.pop() {
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Some((_, fields)) = stat.rsplit_once(')')
        {
            // its own and its reaped children's, user and system
            ticks += fields.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>();
        }
        if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak += line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
        }
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            todo.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    (ticks / TICKS, peak / 1024.0)
}

/// CPU seconds of all processes that this one has started and seen end.
fn reaped() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(13).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// Starts it, in a group of its own, so that all of it can be ended.
pub fn start(mut command: Command) -> Result<Running, String> {
    let mut groups = groups();
    let child = command.process_group(0).spawn().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    groups.push(child.id());
    Ok(Running(child))
}

/// The groups of what runs.
fn groups() -> MutexGuard<'static, Vec<u32>> {
    static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When this program is asked to end, ends what it has started, and itself.
pub async fn end_on_signal() {
    let listen = |kind| signal(kind).expect("a handler of signals");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    // held until the end: nothing is started any more
    let groups = groups();
    groups.iter().for_each(|group| send("-TERM", *group));
    std::thread::sleep(Duration::from_secs(3));
    groups.iter().for_each(|group| send("-KILL", *group));
    std::process::exit(143);
}

/// Sends a signal to a group.
fn send(name: &str, group: u32) {
    drop(Command::new("kill").args([name, "--", &format!("-{group}")]).stderr(Stdio::null()).status());
}

/// Runs it. What is stored is not known yet.
pub fn run(command: Command, goal: u64, until: &Until<'_>) -> Result<Figure, String> {
    let (began, before) = (Instant::now(), reaped());
    let mut child = start(command)?;
    let mut result = follow(&mut child.0, began, goal, until);
    if let (Until::Exit, Ok(figure)) = (until, &mut result) {
        figure.cpu_s = reaped() - before;
    }
    result
}

fn follow(child: &mut Child, began: Instant, goal: u64, until: &Until<'_>) -> Result<Figure, String> {
    let mut samples = vec![(0.0, 0.0, 0_u64)];
    let (mut last, mut rss) = (began, 0.0_f64);
    loop {
        std::thread::sleep(STEP);
        let exited = child.try_wait().map_err(|e| e.to_string())?;
        let (cpu, peak) = tree(child.id());
        rss = rss.max(peak);
        let before = samples.last().copied().unwrap_or_default();
        let done = match (until, &exited) {
            (Until::Committed(progress, _), None) => progress.committed(),
            (Until::Exit, Some(status)) if status.success() => goal,
            (Until::Exit, None) if began.elapsed() < IDLE * 3 => 0,
            (_, Some(status)) => return Err(format!("it ended with {status} after {} of {goal} events", before.2)),
            (Until::Exit, None) => return Err("it does not end".into()),
        };
        samples.push((began.elapsed().as_secs_f64(), cpu, done));
        if done > before.2 {
            last = Instant::now();
        }
        if done >= goal {
            break;
        }
        if matches!(until, Until::Committed(..)) && last.elapsed() > IDLE {
            return Err(format!("no progress for {} s after {done} of {goal} events", IDLE.as_secs()));
        }
    }
    let (wall, mut cpu, events) = samples.last().copied().unwrap_or_default();
    if let Until::Committed(_, linger) = until {
        std::thread::sleep(*linger);
        let (more, peak) = tree(child.id());
        (cpu, rss) = (cpu.max(more), rss.max(peak));
    }
    let first = samples.iter().find(|sample| sample.2 > 0).copied().unwrap_or_default();
    Ok(Figure {
        events,
        wall_s: wall,
        cpu_s: cpu,
        steady_s: wall - first.0,
        steady_cpu_s: cpu - first.1,
        steady_events: events - first.2,
        rss_mib: rss,
        ..Figure::default()
    })
}

/// A program that runs; dropped, it and all that it started are ended: politely, then not.
pub struct Running(Child);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.0.id();
        send("-TERM", group);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        send("-KILL", group);
        let _ = self.0.wait();
        groups().retain(|running| *running != group);
    }
}
