//! What the chaos test does to authseal: a broker of its own that is killed and restarted, and a gate before the store
//! that cuts every connection, lets nothing through, or is slow.

#![allow(dead_code)] // each test binary compiles this for itself and uses a part of it

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The one rule of a site that meets faults. Its window is far below the replay horizon, which covers every restart.
pub const RULE: &str = r#"
rule("FAULT-1", #{
    name: "Five failures of one user", severity: HIGH, status: "stable", mode: "live",
    attack: ["TA0006/T1110"], owner: "tests", runbook: "https://runbooks.example/FAULT-1", falsepos: ["none"],
    when: activity == LOGON & outcome == FAILURE, key: [user], window: "1m",
    agg: #{ failures: count() }, at_least: #{ failures: 5 }, dedup: "10m",
});
"#;

/// A port that nobody listens on, with the next one free as well; below the range that the system gives to clients.
pub fn free_ports() -> u16 {
    let mut random = [0; 2];
    loop {
        getrandom::fill(&mut random).unwrap();
        let port = 15_000 + u16::from_le_bytes(random) % 14_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
}

/// A real Kafka that can be killed. What it has acknowledged outlives it.
pub struct Broker {
    home: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Broker {
    /// Starts it with its data below `home`.
    pub fn start(home: &Path) -> Self {
        let mut broker = Self { home: home.to_owned(), port: free_ports(), process: None };
        broker.restart();
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // the script becomes the broker: they are one process, and the leader of its group
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same port and data, and waits until it listens.
    pub fn restart(&mut self) {
        std::fs::create_dir_all(&self.home).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join("log")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kafka.sh");
        let mut command = Command::new(script);
        command.arg(self.port.to_string()).env("KAFKA_HOME", &self.home).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.process = Some(command.spawn().unwrap());
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the broker does not listen: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stands before a server and passes everything on, unless it is shut.
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_shut: AtomicBool,
    is_frozen: AtomicBool,
    /// Milliseconds that an answer is held back.
    slowness: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Gate {
    /// Before `endpoint` (`http://host:port`).
    pub fn before(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is_shut.load(Ordering::SeqCst) {
                    continue; // dropped: the client sees a reset
                }
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                for (from, to, answers) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = shared.clone();
                    std::thread::spawn(move || pass(from, to, answers, &shared));
                }
                let mut open = shared.open.lock().unwrap();
                open.retain(|stream| stream.peer_addr().is_ok());
                open.extend([client, server]);
            }
        });
        Self { address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts every connection, in the middle of whatever passes, and lets no new one in. The server may have done what
    /// it was asked, and its answer is lost.
    pub fn shut(&self) {
        self.state.is_shut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets nothing through in either direction, without closing anything.
    pub fn freeze(&self) {
        self.state.is_frozen.store(true, Ordering::SeqCst);
    }

    /// Holds back every answer for so long.
    pub fn slow(&self, by: Duration) {
        self.state.slowness.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Undoes all of it.
    pub fn open(&self) {
        self.slow(Duration::ZERO);
        self.state.is_shut.store(false, Ordering::SeqCst);
        self.state.is_frozen.store(false, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, answers: bool, state: &State) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        while state.is_frozen.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if answers {
            std::thread::sleep(Duration::from_millis(state.slowness.load(Ordering::SeqCst)));
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
