//! Starts this program under callgrind and reads what that wrote.
//! Source of the format: the Valgrind manual, "Callgrind Format Specification".

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

/// Instructions of a stage, by whose they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instructions {
    /// All.
    pub all: u64,
    /// Of SHA-256, which valgrind's processor has no instructions for.
    pub sha256: u64,
    /// Of libzstd.
    pub zstd: u64,
}

impl Instructions {
    /// What is left: our own code, the allocator, and copies.
    pub fn ours(&self) -> u64 {
        self.all - self.sha256 - self.zstd
    }

    /// Adds up a profile: the cost of each function itself. Names and positions must not be compressed.
    pub fn read(profile: &str) -> Self {
        let (mut total, mut function, mut called) = (Self::default(), "", false);
        for line in profile.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = name;
            } else if line.starts_with("calls=") {
                called = true; // the line behind it is what the callee cost
            } else if line.starts_with(|first: char| first.is_ascii_digit() || first == '+' || first == '*') {
                let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
                if !std::mem::take(&mut called) {
                    total.add(function, cost);
                }
            }
        }
        total
    }

    fn add(&mut self, function: &str, cost: u64) {
        self.all += cost;
        if function.contains("sha2") {
            self.sha256 += cost;
        } else if ["ZSTD_", "HUF_", "FSE_", "HIST_"].iter().any(|prefix| function.starts_with(prefix)) {
            self.zstd += cost;
        }
    }
}

/// The version of valgrind; none if there is none.
pub fn version() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs the stages over so many events under callgrind: what they printed, and the instructions of each, in order.
pub fn run(events: usize) -> Result<(String, Vec<Instructions>), String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let this = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--dump-line=no"])
        .args(["--dump-before=*a_stage_begins*", "--dump-before=*a_stage_ends*"])
        .arg(format!("--callgrind-out-file={}", folder.path().join("profile").display()))
        .arg(this)
        .args(["stages", &events.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("valgrind cannot be started: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ended(output.status).map_err(|how| format!("the stages {how} under valgrind, which said:\n{said}"))?;
    let mut counted = Vec::new();
    // the first dump is what came before the first stage, the second is the first stage, and so on
    for number in (2..).step_by(2) {
        let Some(profile) = dump(folder.path(), number)? else { break };
        counted.push(Instructions::read(&profile));
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), counted))
}

fn ended(status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("ended with {status}")) }
}

fn dump(folder: &Path, number: usize) -> Result<Option<String>, String> {
    let path = folder.join(format!("profile.{number}"));
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{} cannot be read: {e}", path.display())),
    }
}
