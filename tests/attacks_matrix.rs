//! Every attack of the taxonomy, at every place that it has, on a directory and on a bucket in memory: none may be
//! missed, and an honest store never be accused. The table of what is found is `docs/attacks.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod lab;
mod matrix;

use authseal::{
    audit::{self, VerifyOptions},
    retention::LockMode,
};
use lab::*;
use matrix::{
    base::{base, keys},
    case::Case,
    honest, rows, run,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Runs `one` for every number below `count`, on as many threads as there are processors.
fn spread(count: usize, one: impl AsyncFn(usize) -> Option<String> + Send + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut faults = Vec::new();
            runtime.block_on(async {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return faults;
                    }
                    faults.extend(one(number).await);
                }
            })
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn nothing_is_missed(faults: &[String], run: usize, least: usize) {
    let shown = faults.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(faults.is_empty(), "{} of {run} cases missed:\n{shown}", faults.len());
    assert!(run >= least, "only {run} cases were run");
}

fn in_memory(mode: LockMode, least: usize) {
    let base = base(mode);
    let cases = rows::cases(&base);
    let store = block_on(run::bucket(&base));
    let ran = AtomicUsize::new(0);
    let faults = spread(cases.len(), async |number| {
        let case = &cases[number];
        let store = store.fork();
        if !run::harm_bucket(&store, &case.ops) {
            return None;
        }
        ran.fetch_add(1, Relaxed);
        case.missed(&run::audit(Arc::new(store), case).await)
    });
    nothing_is_missed(&faults, ran.into_inner(), least);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn no_attack_on_a_bucket_is_missed() {
    in_memory(LockMode::Governance, 590);
}

#[test]
fn no_attack_on_a_bucket_in_compliance_mode_is_missed() {
    in_memory(LockMode::Compliance, 610);
}

#[test]
fn no_attack_on_a_directory_is_missed() {
    let base = base(LockMode::Governance);
    let cases = rows::cases(&base);
    let template = run::Template::of(&base);
    let ran = AtomicUsize::new(0);
    let faults = spread(cases.len(), async |number| {
        let case = &cases[number];
        let copy = template.copy();
        // what a directory has no locks for it cannot fail
        if case.code == "retention_short" || !run::harm_directory(copy.path(), &case.ops) {
            return None;
        }
        ran.fetch_add(1, Relaxed);
        case.missed(&run::audit(run::directory(copy.path()), case).await)
    });
    nothing_is_missed(&faults, ran.into_inner(), 370);
}

/// The same stores, and nobody does anything: in a bucket everything is good; a directory is a copy, whose locks are
/// elsewhere.
#[test]
fn the_stores_that_are_attacked_are_good() {
    for (mode, counted) in [(LockMode::Governance, "0/22"), (LockMode::Compliance, "22/0")] {
        let base = base(mode);
        let report = block_on(async {
            let store = Arc::new(run::bucket(&base).await);
            audit::verify(store, &keys(), VerifyOptions::new(NOW)).await.unwrap()
        });
        assert_eq!((report.exit_code(), report.findings.len()), (0, 0), "{report}");
        assert_eq!(report.verdicts.protection, "good", "{report}");
        let p = report.protection;
        assert_eq!(format!("{}/{}", p.compliance, p.governance), counted, "{report}");
        assert_eq!((p.promised, p.unlocked, p.unknown, p.requests), (22, 0, 0, 0), "{report}");
        let template = run::Template::of(&base);
        let copy = template.copy();
        let report = block_on(audit::verify(run::directory(copy.path()), &keys(), VerifyOptions::new(NOW))).unwrap();
        assert_eq!((report.exit_code(), report.verdicts.protection), (0, "not_checked"), "{report}");
    }
}

#[test]
fn a_thousand_honest_stores_are_not_accused() {
    let seeds: usize = std::env::var("AUTHSEAL_HONEST").map_or(1000, |n| n.parse().unwrap());
    let faults = spread(seeds, async |seed| {
        let base = honest::store(&mut honest::Random(seed as u64));
        let store = run::bucket(&base).await;
        // three days: nothing is from the future, nothing is late to be logged
        let options = VerifyOptions { require_log: true, jobs: 2, ..VerifyOptions::new(NOW + 3 * 86_400_000) };
        let report = audit::verify(Arc::new(store), &keys(), options).await.unwrap();
        let accused = report.exit_code() != 0 || !report.findings.is_empty();
        accused.then(|| format!("seed {seed}\n{report}"))
    });
    assert!(faults.is_empty(), "{} of {seeds} honest stores are accused:\n{}", faults.len(), faults[0]);
}

/// `code (exit code)`, the most frequent first.
fn codes(cases: &[&Case]) -> String {
    let mut counts: BTreeMap<(&str, u8), usize> = BTreeMap::new();
    cases.iter().for_each(|case| *counts.entry((case.code, case.exit)).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|((code, exit), count)| (usize::MAX - count, *code, *exit));
    counts.iter().map(|((code, exit), _)| format!("`{code}` ({exit})")).collect::<Vec<_>>().join(", ")
}

/// The table, made of the cases that the tests above run.
#[test]
fn the_table_of_attacks_is_what_was_tried() {
    let base = base(LockMode::Compliance);
    let cases = rows::cases(&base);
    let mut text = String::from(HEAD);
    text += "| # | attack or fault | authseal says (exit code) | mutations | seen by | not seen by |\n";
    text += "|--:|---|---|--:|---|---|\n";
    let mut without = BTreeSet::new();
    for (number, attack) in (1..).zip(rows::ATTACKS) {
        let of_it: Vec<&Case> = cases.iter().filter(|case| case.row == number).collect();
        if of_it.is_empty() {
            without.insert(number);
        }
        let note = if attack.note.is_empty() { String::new() } else { format!(" {}", attack.note) };
        let (codes, count) = (codes(&of_it), of_it.len());
        let said = if codes.is_empty() { attack.note.to_owned() } else { format!("{codes}.{note}") };
        text += &format!("| {number} | {} | {said} | {count} | {} | {} |\n", attack.title, attack.seen, attack.missed);
    }
    text += &format!("\n{} mutations, {} attacks.\n\n## Mutations\n\n", cases.len(), rows::ATTACKS.len());
    text +=
        "Each is run at every place that it has: on every segment or at the first, a middle and the newest one, on\n";
    text += "every batch, tile and artifact.\n\n";
    let mut seen = BTreeSet::new();
    for case in &cases {
        let count = cases.iter().filter(|c| (c.row, c.attack, c.code) == (case.row, case.attack, case.code)).count();
        if seen.insert((case.row, case.attack, case.code)) {
            let places = if count == 1 { "place" } else { "places" };
            text += &format!("- {} {}: `{}`, {count} {places}\n", case.row, case.attack, case.code);
        }
    }
    assert_eq!((rows::ATTACKS.len(), without), (33, BTreeSet::from([32])), "each attack of the taxonomy is tried");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    if std::env::var_os("AUTHSEAL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/attacks.md is not what was tried: write it with AUTHSEAL_BLESS=1");
}

const HEAD: &str = "\
# Attacks and faults, one by one

Made by `AUTHSEAL_BLESS=1 cargo test --test attacks_matrix`; do not edit it by hand. `tests/attacks_matrix.rs` does
each mutation to a store with chains of every codec, a reset, a closed topic and a transparency log, and compares reason
code, place and exit code: in a directory and in a bucket in memory with versions and locks; `tests/live_tamper.rs` does
those that an S3 endpoint lets happen to a real one. None may be missed; 1,000 honest stores of random shape must pass.

What the codes mean is in [verify.md](verify.md). Who the others are: \"transparency logs\" are C2SP tlog-tiles,
Tessera, Sunlight and Rekor 2; CloudTrail with its digests and `validate-logs`; journald with forward-secure sealing;
KSI as in rsyslog; Vault's audit devices; Teleport, hoop, immudb and QLDB by their own documents and issues. \"Not
seen\" means: not by what they document.

";
