//! Every attack that can be done to a directory, and stores to which nobody did anything, before the verifier in
//! Python, which was written from docs/format.md alone: the same exit code, and the reason code of the attack.
//! `make test-live` sets Python up.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;
mod matrix;
mod python;

use authseal::{
    audit::{self, Report, VerifyOptions},
    layout,
    manifest::{Offsets, Writer},
    note::{Signer, Verifiers},
    retention::LockMode,
    tlog::{
        Disposal, Hold, KeyEntry,
        keep::{DISPOSAL, HOLD, Sequences, Switch},
        key::Action,
    },
};
use lab::*;
use matrix::{
    base::{A, Base, PERIOD, base, keys, log_objects, log_signer},
    case::{Auditor, Op},
    honest, rows, run,
};
use python::python;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A verifier in Python that looks at one store after the other.
struct Independent {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Independent {
    fn start(python: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/verify_store.py");
        let mut command = Command::new(python);
        command.arg(script).arg("--many").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, asks, answers }
    }

    /// What it says of a store to an auditor with these keys, at this time, and with the checkpoint that he kept.
    fn verify(&mut self, root: &Path, keys: &Verifiers, now: i64, checkpoint: Option<&str>) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).to_str().unwrap().to_owned()
        };
        let mut arguments = vec![root.to_str().unwrap().to_owned(), file("keys", &keys.text()), now.to_string()];
        arguments.extend(checkpoint.map(|text| file("checkpoint", text)));
        writeln!(self.asks.as_mut().unwrap(), "{}", serde_json::to_string(&arguments).unwrap()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: it ended; what it said is above"))
    }
}

impl Drop for Independent {
    fn drop(&mut self) {
        drop(self.asks.take()); // it ends where its input ends
        let _ = self.child.wait();
    }
}

/// Runs `one` for every number below `count`, on two to four threads with a Python each.
fn spread(python: &str, count: usize, one: impl AsyncFn(usize, &mut Independent) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut independent = Independent::start(python);
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    runtime.block_on(one(number, &mut independent));
                }
            });
        }
    });
}

fn codes_of(theirs: &Value) -> BTreeSet<&str> {
    theirs["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect()
}

/// Where one of these does not fit, the Python says no more of a segment; ours decodes it all the same, to say where.
const DIGESTS: [&str; 2] = ["body_length", "body_digest"];

/// How many attacks of the matrix can be done to a directory and concern what is in it.
const CASES: usize = 380;

#[test]
fn no_attack_on_a_directory_is_missed_without_us() {
    let Some(python) = python() else { return };
    let base = base(LockMode::Governance);
    let cases = rows::cases(&base);
    let template = run::Template::of(&base);
    let (ran, faults) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    spread(&python, cases.len(), async |number, independent| {
        let case = &cases[number];
        let copy = template.copy();
        // neither locks (13) nor whether a chain goes on (12) is in what docs/format.md describes
        if case.exit > 11 || !run::harm_directory(copy.path(), &case.ops) {
            return;
        }
        ran.fetch_add(1, Relaxed);
        let report = run::audit(run::directory(copy.path()), case).await;
        let Auditor { keys: own, checkpoint, later, .. } = &case.auditor;
        let keys = own.clone().unwrap_or_else(keys);
        let theirs = independent.verify(copy.path(), &keys, NOW + later, checkpoint.as_deref());
        let (found, ours) = (codes_of(&theirs), failures(&report));
        let deeper = ours.contains(case.code) && DIGESTS.iter().any(|code| found.contains(code));
        let named = found.contains(case.code) || deeper;
        // what is no more than a notice to us is nothing to it
        let agreed = if ours.is_empty() { found.is_empty() } else { named && !found.is_disjoint(&ours) };
        if theirs["exit_code"] != report.exit_code() || !agreed {
            let (row, attack, position, code) = (case.row, case.attack, &case.position, case.code);
            let told = format!("{row} {attack}, {position}: {code}; ours {ours:?}, theirs {}", theirs["faults"]);
            faults.lock().unwrap().push(told);
        }
    });
    let (faults, ran) = (faults.into_inner().unwrap(), ran.into_inner());
    let shown = faults.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(faults.is_empty(), "in {} of {ran} cases the two differ:\n{shown}", faults.len());
    assert!(ran >= CASES, "only {ran} cases were run");
}

#[test]
fn honest_stores_are_not_accused_without_us() {
    let Some(python) = python() else { return };
    spread(&python, 60, async |seed, independent| {
        let base = honest::store(&mut honest::Random(seed as u64));
        let template = run::Template::of(&base);
        let copy = template.copy();
        let theirs = independent.verify(copy.path(), &keys(), NOW + 3 * 86_400_000, None);
        assert_eq!((&theirs["exit_code"], codes_of(&theirs).len()), (&0.into(), 0), "seed {seed}: {theirs:#}");
    });
}

fn writer() -> Writer {
    Writer { version: "0.1.0".into(), instance: "test".into() }
}

fn key_line(action: Action, about: &Signer, signers: &[&Signer]) -> String {
    let mut entry = KeyEntry::new(ORIGIN, action, &about.verifier_key(), NOW, "yearly");
    signers.iter().for_each(|signer| entry.add(signer.id(), &signer.signature(&entry.text().unwrap())));
    entry.line().unwrap()
}

fn hold_line(action: Switch, from: i64, to: i64) -> String {
    let (format, origin, name, reason) = (HOLD.into(), ORIGIN.into(), "CASE-7".into(), "court order".into());
    let offsets = Offsets { from, to };
    let hold = Hold { format, origin, action, name, chain: chain(A), offsets, time: NOW, reason, writer: writer() };
    hold.line().unwrap()
}

/// Of chain A, whose segments begin at the offsets 0 10 20 30 30 40 and end at 50.
fn disposal_line(from: u64, to: u64, edit: impl FnOnce(&mut Disposal)) -> String {
    const BEGIN: [i64; 7] = [0, 10, 20, 30, 30, 40, 50];
    let mut entry = Disposal {
        format: DISPOSAL.into(),
        origin: ORIGIN.into(),
        chain: chain(A),
        sequences: Sequences { from, to },
        offsets: Offsets { from: BEGIN[from as usize], to: BEGIN[to as usize] },
        until: NOW + 2 * PERIOD,
        time: NOW + 2 * PERIOD,
        reason: "its time was over".into(),
        writer: writer(),
    };
    edit(&mut entry);
    entry.line().unwrap()
}

/// The base with more batches.
fn told(base: &Base, more: Vec<Vec<String>>) -> Base {
    let mut log = base.log.clone();
    log.extend(more);
    let mut objects = base.objects.clone();
    objects.extend(log_objects(&log, &log_signer(5)));
    Base { objects, locks: base.locks.clone(), mode: base.mode, log, artifacts: base.artifacts.clone() }
}

fn failures(report: &Report) -> BTreeSet<&str> {
    report.findings.iter().filter(|finding| finding.is_failure()).map(|finding| finding.name).collect()
}

/// What keys, holds and disposals allow, and where that ends: both verifiers say exactly the same.
#[test]
fn both_judge_keys_holds_and_disposals_alike() {
    let Some(python) = python() else { return };
    let base = base(LockMode::Governance);
    let (old, new, third) = (signer(ORIGIN, 1), signer(ORIGIN, 2), signer(ORIGIN, 3));
    let introduce = || key_line(Action::Introduce, &new, &[&new, &old]);
    let retire = || key_line(Action::Retire, &old, &[&new]);
    let mut parts = Parts::of(&base.forged(A, 6, Part::Records(10), |_| {}));
    let sixth = parts.manifest_line().to_owned();
    parts.note = new.sign(&sixth).unwrap();
    let segment = || Op::Put(key(A, 6), parts.assemble().into());
    let gone = |range: std::ops::Range<u64>| range.map(|n| Op::Remove(key(A, n))).collect::<Vec<_>>();
    let (on, off) = (|from, to| hold_line(Switch::On, from, to), |from, to| hold_line(Switch::Off, from, to));
    let dispose = |from, to| disposal_line(from, to, |_| {});
    let own = || vec![segment()];
    let stamped = |name: &str, bytes: Vec<u8>| {
        let folder = "log/stamps/000000000017";
        vec![
            Op::Put(format!("{folder}.checkpoint"), base.objects[layout::CHECKPOINT].clone()),
            Op::Put(format!("{folder}.{name}"), bytes.into()),
        ]
    };
    type Story<'a> = (&'a str, Vec<Vec<String>>, Vec<Op>, &'a [&'a str]);
    let stories: Vec<Story<'_>> = vec![
        ("a new key seals", vec![vec![introduce()], vec![sixth.clone()]], own(), &[]),
        ("in the batch that introduces it", vec![vec![introduce(), sixth.clone()]], own(), &[]),
        ("before it", vec![vec![sixth.clone(), introduce()]], own(), &["key_not_introduced"]),
        ("a new key, not logged yet", vec![vec![introduce(), retire()]], own(), &["unlogged"]),
        ("introduced twice", vec![vec![introduce(), introduce()]], vec![], &["key_entry"]),
        (
            "a given key that introduces itself",
            vec![vec![key_line(Action::Introduce, &old, &[&old])]],
            vec![],
            &["key_not_introduced"],
        ),
        ("nobody vouches", vec![vec![key_line(Action::Introduce, &third, &[&third])]], vec![], &["key_entry"]),
        ("not by itself", vec![vec![key_line(Action::Introduce, &third, &[&old])]], vec![], &["key_entry"]),
        ("retires itself", vec![vec![key_line(Action::Retire, &old, &[&old])]], vec![], &[]),
        ("retired twice", vec![vec![introduce(), retire(), retire()]], vec![], &["key_entry"]),
        (
            "retired, and comes back",
            vec![vec![introduce(), retire(), key_line(Action::Introduce, &old, &[&old, &new])]],
            vec![],
            &["key_entry"],
        ),
        (
            "a retired key vouches",
            vec![vec![introduce(), retire(), key_line(Action::Introduce, &third, &[&third, &old])]],
            vec![],
            &["key_entry"],
        ),
        ("expired", vec![vec![dispose(0, 3)]], gone(0..3), &[]),
        ("expired in two parts", vec![vec![dispose(0, 2)], vec![dispose(2, 5)]], gone(0..5), &[]),
        ("disposed of, and still there", vec![vec![dispose(0, 5)]], vec![], &[]),
        ("more is gone", vec![vec![dispose(1, 3)]], gone(0..4), &["missing_segment"]),
        ("disposed of twice", vec![vec![dispose(0, 2), dispose(1, 3)]], gone(0..2), &["disposal_entry"]),
        ("the newest", vec![vec![dispose(4, 6)]], vec![], &["disposal_entry"]),
        ("other offsets", vec![vec![disposal_line(0, 2, |d| d.offsets.to = 19)]], vec![], &["disposal_entry"]),
        ("too early", vec![vec![disposal_line(0, 2, |d| d.until = NOW)]], vec![], &["disposal_entry"]),
        ("held", vec![vec![on(25, 26), dispose(2, 3)]], vec![], &["disposal_entry"]),
        ("held next to it", vec![vec![on(30, 40), on(0, 20), dispose(2, 3)]], gone(2..3), &[]),
        ("let go", vec![vec![on(0, 50), off(0, 30), dispose(0, 3)]], gone(0..3), &[]),
        ("let go in part", vec![vec![on(0, 50), off(0, 29), dispose(0, 3)]], vec![], &["disposal_entry"]),
        ("a heartbeat held between", vec![vec![on(0, 50), dispose(3, 4)]], vec![], &["disposal_entry"]),
        ("a heartbeat at the edge of what is held", vec![vec![on(30, 50), dispose(3, 4)]], gone(3..4), &[]),
        ("a heartbeat between two holds", vec![vec![on(20, 25), on(45, 50), dispose(3, 4)]], gone(3..4), &[]),
        ("held later", vec![vec![dispose(0, 3), on(0, 50)]], gone(0..3), &[]),
        ("a stamp that is none", vec![], stamped("tsr", vec![0x30, 3, 2, 1, 0]), &["stamp_form"]),
        ("a stranger among the stamps", vec![], stamped("txt", vec![]), &["unexpected_object"]),
    ];
    let now = NOW + 3 * PERIOD;
    spread(&python, stories.len(), async |number, independent| {
        let (name, more, ops, expected) = &stories[number];
        let template = run::Template::of(&told(&base, more.clone()));
        let copy = template.copy();
        assert!(run::harm_directory(copy.path(), ops));
        let options = VerifyOptions { require_log: true, jobs: 2, ..VerifyOptions::new(now) };
        let report = audit::verify(run::directory(copy.path()), &keys(), options).await.unwrap();
        let theirs = independent.verify(copy.path(), &keys(), now, None);
        let found = codes_of(&theirs);
        assert_eq!(theirs["exit_code"], report.exit_code(), "{name}\n{theirs:#}\n{report}");
        assert_eq!(found, failures(&report), "{name}\n{theirs:#}\n{report}");
        assert!(expected.iter().all(|code| found.contains(code)), "{name}\n{theirs:#}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{name}\n{theirs:#}");
    });
}
