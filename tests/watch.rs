//! `authseal verify --watch` as a process: it sees what is new, and what was done to what is old, and ends by a signal.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;
mod matrix;

use authseal::retention::LockMode;
use lab::*;
use matrix::{
    base::{A, base, keys},
    run,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct Watch {
    child: Child,
    address: String,
}

impl Watch {
    fn start(store: &Path, keys: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_authseal"))
            .arg("verify")
            .arg(store)
            .arg("--key")
            .arg(keys)
            .args(["--watch", "--every", "1s", "--complete", "3s", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap_or_else(|| panic!("{line}")).1.to_owned();
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits until the metrics have all of these lines.
    fn until(&self, lines: &[&str]) {
        let begun = Instant::now();
        loop {
            let metrics = self.get("/metrics");
            if lines.iter().all(|line| metrics.lines().any(|there| there.starts_with(line))) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{lines:?} are not in\n{metrics}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it with SIGTERM; its exit code and what it printed.
    fn end(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

fn failures(verdict: &str, count: u64) -> String {
    format!("authseal_verify_failures{{verdict=\"{verdict}\"}} {count}")
}

#[test]
fn it_sees_what_is_new_and_what_is_done_to_what_is_old() {
    let base = base(LockMode::None);
    let folder = tempfile::tempdir().unwrap();
    let (store, key_file) = (folder.path().join("store"), folder.path().join("keys"));
    fs::rename(run::Template::of(&base).copy().keep(), &store).unwrap();
    fs::write(&key_file, keys().text()).unwrap();
    let watch = Watch::start(&store, &key_file);
    let good = ["integrity", "completeness", "protection", "freshness"].map(|verdict| failures(verdict, 0));
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    watch.until(&good);
    watch.until(&["authseal_verify_runs_total{scope=\"new\",exit_code=\"0\"}"]);
    assert!(watch.get("/readyz").starts_with("HTTP/1.1 200"));

    // another segment, sealed by another key, is seen by a run over what is new
    let grown = store.join(key(A, 6));
    let mut sealer = base.sealer(A, 6);
    sealer.signer = signer(ORIGIN, 9);
    fs::write(&grown, &sealer.seal(Part::Records(3)).bytes).unwrap();
    watch.until(&[&failures("integrity", 1), "authseal_verify_runs_total{scope=\"new\",exit_code=\"10\"}"]);
    assert!(watch.get("/readyz").contains("1 integrity"));
    fs::remove_file(&grown).unwrap();
    watch.until(&good);

    // an old one that was changed is seen by a complete run
    let old = store.join(key(A, 0));
    let bytes = fs::read(&old).unwrap();
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::remove_file(&old).unwrap();
    fs::write(&old, bad).unwrap();
    watch.until(&["authseal_verify_runs_total{scope=\"complete\",exit_code=\"10\"}"]);
    fs::write(&old, bytes).unwrap();
    watch.until(&good);

    let (code, printed) = watch.end();
    assert_eq!(code, Some(0), "{printed}");
    let runs: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((runs[0]["scope"].as_str(), runs[0]["exit_code"].as_u64()), (Some("complete"), Some(0)));
    // five chains' segments before the cut
    let new = runs.iter().find(|run| run["scope"] == "new" && run["exit_code"] == 0).unwrap();
    assert_eq!((new["segments"].as_u64(), new["passed"].as_u64()), (Some(4), Some(10)), "{new}");
    let of = |code: &str| runs.iter().any(|run| run["findings"].as_array().unwrap().iter().any(|f| f["code"] == code));
    assert!(of("unknown_key") && of("body_digest"), "{printed}");
}

#[test]
fn it_does_not_watch_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("keys");
    fs::write(&key_file, keys().text()).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_authseal"))
        .arg("verify")
        .arg(folder.path().join("nothing"))
        .arg("--key")
        .arg(&key_file)
        .args(["--watch", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", String::from_utf8_lossy(&ended.stderr));
}
