//! Other parties on loopback: a server that answers what it is told to, and a witness (c2sp.org/tlog-witness) on
//! it that is honest until it is told otherwise.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test uses its part

use authseal::{
    digest::Digest,
    merkle,
    note::{Signer, Verifiers},
    tlog::{Checkpoint, cosign},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Answers every request (path, body) on a port of its own; `None`: not at all. Its URL.
pub fn http(answer: impl Fn(&str, &[u8]) -> Option<(u16, Vec<u8>)> + Send + Sync + 'static) -> String {
    http_heads(move |path, _, body| answer(path, body))
}

/// The same, told the lines of the request's head as well.
pub fn http_heads(answer: impl Fn(&str, &str, &[u8]) -> Option<(u16, Vec<u8>)> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, answer.clone()) else { continue };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut head, mut length) = (String::new(), String::new(), 0);
                reader.read_line(&mut first).ok()?;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).ok()?;
                    if line.trim().is_empty() {
                        break;
                    }
                    head += &line;
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().ok()?;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).ok()?;
                let path = first.split(' ').nth(1).unwrap_or_default();
                let (status, body) = answer(path, &head, &body)?;
                let answered =
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(answered.as_bytes()).ok()?;
                stream.write_all(&body).ok()
            });
        }
    });
    url
}

/// How a witness answers.
#[derive(Debug, Clone)]
pub enum Mood {
    /// As the specification has it.
    Honest,
    /// Nothing, for longer than anybody waits.
    Silent,
    /// It hangs up.
    Drops,
    /// More than anybody reads.
    Endless,
    /// This.
    Status(u16, &'static str),
    /// 200 and its signature over another text.
    Signs(String),
}

/// A request that it had, and what became of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub old: u64,
    pub size: u64,
    pub status: u16,
}

struct State {
    mood: Mood,
    size: u64,
    root: Digest,
    asked: Vec<Asked>,
}

/// A witness.
pub struct Fake {
    name: String,
    seed: u8,
    url: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// One that knows this log.
    pub fn new(name: &str, seed: u8, log: &Signer) -> Self {
        let state = State { mood: Mood::Honest, size: 0, root: Digest::of(b""), asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let (log, shared, key) = (Verifiers::of(log), state.clone(), format!("{name}.example/w"));
        let url = http(move |path, body| {
            assert_eq!(path, "/prefix/add-checkpoint");
            let mood = shared.lock().unwrap().mood.clone();
            match mood {
                Mood::Honest => Some(honest(&mut shared.lock().unwrap(), &log, &key, seed, body)),
                Mood::Silent => {
                    std::thread::sleep(Duration::from_secs(20));
                    None
                }
                Mood::Drops => None,
                Mood::Endless => Some((200, vec![b'x'; 1 << 20])),
                Mood::Status(status, body) => Some((status, body.into())),
                Mood::Signs(text) => Some((200, line(&key, seed, &text).into())),
            }
        });
        Self { name: name.into(), seed, url: url + "/prefix/", state }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn verifier_key(&self) -> String {
        let name = format!("{}.example/w", self.name);
        let data = [&[4], &SigningKey::from_bytes(&[self.seed; 32]).verifying_key().to_bytes()[..]].concat();
        let id = Digest::of(&[name.as_bytes(), b"\n", &data].concat());
        format!("{name}+{}+{}", &id.hex()[..8], STANDARD.encode(data))
    }

    pub fn be(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Its signature line over a checkpoint's text, asked or not.
    pub fn cosign(&self, text: &str) -> String {
        line(&format!("{}.example/w", self.name), self.seed, text)
    }
}

fn line(name: &str, seed: u8, text: &str) -> String {
    let (key, time) = (SigningKey::from_bytes(&[seed; 32]), 1_767_225_600_u64);
    let data = [&[4], &key.verifying_key().to_bytes()[..]].concat();
    let id = Digest::of(&[name.as_bytes(), b"\n", &data].concat());
    let signature = key.sign(cosign::message(text, time).as_bytes());
    let blob = [&id.0[..4], &time.to_be_bytes(), &signature.to_bytes()].concat();
    format!("\u{2014} {name} {}\n", STANDARD.encode(blob))
}

/// c2sp.org/tlog-witness, `add-checkpoint`.
fn honest(state: &mut State, log: &Verifiers, key: &str, seed: u8, body: &[u8]) -> (u16, Vec<u8>) {
    let text = std::str::from_utf8(body).unwrap();
    let (head, note) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Digest> = lines.map(|line| Digest::from_base64(line).unwrap()).collect();
    let origin = note.lines().next().unwrap();
    let checkpoint = Checkpoint::open(note.as_bytes(), log, origin);
    let size = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let (status, answer) = match checkpoint {
        Err(_) => (403, String::new()),
        Ok(checkpoint) if old > checkpoint.size => (400, String::new()),
        Ok(_) if old != state.size => (409, format!("{}\n", state.size)),
        Ok(checkpoint) if old == checkpoint.size && checkpoint.root != state.root => (409, format!("{}\n", state.size)),
        Ok(checkpoint) => {
            let good = match old {
                0 => proof.is_empty(),
                _ => merkle::verify_consistency(old, checkpoint.size, &state.root, &checkpoint.root, &proof),
            };
            match good {
                false => (422, String::new()),
                true => {
                    (state.size, state.root) = (checkpoint.size, checkpoint.root);
                    (200, line(key, seed, &checkpoint.text()))
                }
            }
        }
    };
    state.asked.push(Asked { old, size, status });
    (status, answer.into())
}
