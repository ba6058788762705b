//! What was counted beside what was committed.

use crate::{
    callgrind::{self, Instructions},
    stages::Told,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, process::ExitCode};

/// Growth that is marked, as a ratio.
const MARKED: f64 = 1.1;
/// Growth that fails.
const FAILED: f64 = 1.5;
/// The build that this is. The figures of another have nothing to say about it.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

const HEAD: &str = "\
# Instructions and allocations an event, of each stage: written by `make counts BLESS=1` (and PROFILE=release), read by
# `make counts`. `dev` is the profile of the tests, which CI builds anyway. `ours` is without SHA-256 and zstd.
";

/// The committed figures.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Committed {
    /// By profile.
    #[serde(flatten)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Profile {
    /// With which they were counted: others count otherwise.
    rustc: String,
    valgrind: String,
    stages: BTreeMap<String, Figure>,
}

/// Of one event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Figure {
    all: u64,
    ours: u64,
    allocations: f64,
}

/// A stage that was counted.
struct Counted {
    told: Told,
    instructions: Instructions,
}

impl Counted {
    fn each(&self, of: u64) -> f64 {
        of as f64 / self.told.events as f64
    }

    fn figure(&self) -> Figure {
        let Instructions { all, .. } = self.instructions;
        let allocations = (self.told.allocations * 100.0).round() / 100.0;
        Figure { all: self.each(all) as u64, ours: self.each(self.instructions.ours()) as u64, allocations }
    }

    /// How many times the committed instructions these are: the worse of all and ours.
    fn growth(&self, committed: &Figure) -> f64 {
        let ratio = |now: u64, then: u64| now as f64 / then.max(1) as f64;
        let figure = self.figure();
        let [all, ours] = [ratio(figure.all, committed.all), ratio(figure.ours, committed.ours)];
        // what fell matters less than what grew
        if all.max(ours) > 1.0 { all.max(ours) } else { all.min(ours) }
    }
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/counts.toml")
}

/// Counts, prints, and writes down what was counted or compares it.
pub fn compare(events: usize, bless: bool) -> ExitCode {
    match counted(events, bless) {
        Ok(fine) => ExitCode::from(u8::from(!fine)),
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn counted(events: usize, bless: bool) -> Result<bool, String> {
    let valgrind = callgrind::version().ok_or("there is no valgrind (Debian: valgrind)")?;
    let rustc = rustc();
    let text = fs::read_to_string(page()).unwrap_or_default();
    let mut committed: Committed = toml::from_str(&text).map_err(|e| format!("{}: {e}", page().display()))?;
    let (said, instructions) = callgrind::run(events)?;
    let told: Vec<Told> = said.lines().filter_map(Told::parse).collect();
    if told.is_empty() || told.len() != instructions.len() {
        let (stages, dumps) = (told.len(), instructions.len());
        return Err(format!("callgrind wrote down {dumps} stages of {stages}: were its marks inlined?"));
    }
    let counted: Vec<Counted> =
        told.into_iter().zip(instructions).map(|(told, instructions)| Counted { told, instructions }).collect();
    let profile = committed.profiles.entry(PROFILE.into()).or_default();
    println!("instructions an event, {PROFILE} profile, {valgrind} (no SHA extensions: SHA-256 is the generic code)\n");
    let growth = table(&counted, profile);
    for (what, then, now) in [("rustc", &profile.rustc, &rustc), ("valgrind", &profile.valgrind, &valgrind)] {
        if then != now && !then.is_empty() {
            println!("the committed figures are of {what} {then:?}, these of {now:?}");
        }
    }
    if bless {
        let stages = counted.iter().map(|stage| (stage.told.name.clone(), stage.figure())).collect();
        *profile = Profile { rustc, valgrind, stages };
        let text = toml::to_string(&committed).map_err(|e| format!("figures cannot be written: {e}"))?;
        fs::write(page(), format!("{HEAD}\n{text}")).map_err(|e| format!("{}: {e}", page().display()))?;
        println!("written to benches/counts.toml: commit it, and say why it changed");
        return Ok(true);
    }
    if !has_avx2() {
        println!("this processor has no AVX2, so that other code runs: nothing is compared");
        return Ok(true);
    }
    match growth.is_some_and(|growth| growth > FAILED) {
        true => {
            println!(
                "a stage takes over {FAILED} times its committed instructions. If that is meant: make counts BLESS=1"
            );
            Ok(false)
        }
        false => Ok(true),
    }
}

/// Prints the stages; the worst growth.
fn table(counted: &[Counted], committed: &Profile) -> Option<f64> {
    println!(
        "  {:32} {:>8} {:>8} {:>8} {:>8} {:>10} {:>6} {:>7} {:>10}",
        "stage", "all", "SHA-256", "zstd", "ours", "committed", "ratio", "allocs", "committed"
    );
    let mut worst: Option<f64> = None;
    for stage in counted {
        let Instructions { all, sha256, zstd } = stage.instructions;
        let ours = stage.instructions.ours();
        let figures = [all, sha256, zstd, ours].map(|of| format!("{:>8.0}", stage.each(of))).join(" ");
        let known = committed.stages.get(&stage.told.name);
        let then = known.map_or("none".into(), |known| known.ours.to_string());
        let growth = known.map(|known| stage.growth(known));
        worst = growth.into_iter().chain(worst).reduce(f64::max);
        let mark = match growth {
            None => "  NEW: make counts BLESS=1",
            Some(growth) if growth > MARKED => "  <== GREW BY MORE THAN A TENTH",
            Some(growth) if growth < 1.0 / MARKED => "  fell: make counts BLESS=1 keeps it",
            Some(_) => "",
        };
        let ratio = growth.map_or("-".into(), |growth| format!("{growth:.2}"));
        let allocated = known.map_or("none".into(), |known| format!("{:.2}", known.allocations));
        let Told { name, allocations, .. } = &stage.told;
        println!("  {name:32} {figures} {then:>10} {ratio:>6} {allocations:>7.2} {allocated:>10}{mark}");
    }
    println!("\n  the ratio is the worse one of all and ours; committed stands for ours");
    worst
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn has_avx2() -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "avx2"))
}
