//! Mutation run over the shipped rules: every number, field and test of every header is changed, one at a time, and
//! some test beside the rule must mind. `docs/rules-mutation.md` has the result.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot read its data has failed

use authseal::{artifact::File, detect::testing};
use std::{
    collections::BTreeMap,
    fmt::Write,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

mod mutation;
use mutation::{KINDS, Mutant, mutants};

/// Mutants that no test can tell from the rule, and why.
const EQUIVALENT: &[(&str, &str, &str)] = &[
    (
        "impossible_travel",
        "always `lat.exists()`",
        "without a place the distance is unknown and decide says no; the test keeps such logons from waiting",
    ),
    (
        "session_hijack",
        "always `user_agent.exists()`",
        "without a user agent the similarity is unknown and decide says no; the test keeps such events from waiting",
    ),
    (
        "password_spray",
        "per_user at least 1",
        "where no account was tried twice, decide says no; the gate keeps the script from being asked",
    ),
];

/// `AUTHSEAL_BLESS=1 cargo test --test rules_mutation` writes the table anew.
const BLESS: &str = "AUTHSEAL_BLESS";

const INTRODUCTION: &str = "# Mutation run over the shipped rules

Written by `tests/rules_mutation.rs`; do not edit. To write it anew:

    AUTHSEAL_BLESS=1 cargo test --test rules_mutation

A test that passes proves little: it might pass whatever the rule says. So each header is changed, one place at a time,
and the tests beside the rule must fail on every change:

- **when**: each test of a field is turned round, taken as always true, taken as never true; each value is taken out
  of `one_of`
- **key**: each field is taken out
- **time**: `window`, `ttl` halved and doubled, `settle` and `wait` removed
- **gate**: each threshold of `at_least` one lower and one higher
- **dedup**: halved, doubled, removed

Changes that make a header invalid do not count: `rules check` refuses them. The numbers say how many changes were
made, all of them caught, but for those that make no difference to anything, which are listed below with the reason.
";

fn shipped() -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files = BTreeMap::new();
    for folder in ["", "lists/"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let path = format!("{folder}{}", entry.file_name().to_str().unwrap());
                files.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let stems = files.keys().filter_map(|path| path.strip_suffix(".test.rhai")).map(str::to_owned).collect();
    (stems, files)
}

/// What came of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A test failed.
    Caught,
    /// It is no rule any more.
    Invalid,
    /// All tests passed.
    Survived,
}

/// Whether a report is about this rule: one that only stands by has no tests here.
fn of(report: &testing::TestReport, own: &str, tests: &str) -> bool {
    [own, tests].contains(&report.path.as_str()) || report.name == "the rules load"
}

fn judge(stem: &str, rule: &str, files: &BTreeMap<String, Vec<u8>>) -> Fate {
    let (own, tests) = (format!("{stem}.rhai"), format!("{stem}.test.rhai"));
    // a rule over findings does not load without those that raise them
    let with = |path: &str| *path == own || (rule.contains("finding_rule") && path.ends_with(".rhai"));
    let set: Vec<File> = files
        .iter()
        .filter(|(path, _)| **path == tests || path.starts_with("lists/") || (with(path) && !path.contains(".test.")))
        .map(|(path, bytes)| {
            let bytes = if *path == own { rule.into() } else { bytes.clone() };
            File { path: path.clone(), bytes }
        })
        .collect();
    let reports: Vec<_> = testing::run(&set).into_iter().filter(|report| of(report, &own, &tests)).collect();
    match reports.iter().all(testing::TestReport::passed) {
        true => Fate::Survived,
        false if reports.iter().any(|report| report.name == "the rules load") => Fate::Invalid,
        false => Fate::Caught,
    }
}

/// Judges everything, on as many threads as there are cores.
fn judge_all(work: &[(String, Mutant)], files: &BTreeMap<String, Vec<u8>>) -> Vec<Fate> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut fates = vec![Fate::Invalid; work.len()];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done: Vec<(usize, Fate)> = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((stem, mutant)) = work.get(at) else { return done };
                        done.push((at, judge(stem, &mutant.text, files)));
                    }
                })
            })
            .collect();
        for worker in workers {
            for (at, fate) in worker.join().unwrap() {
                fates[at] = fate;
            }
        }
    });
    fates
}

fn id(text: &str) -> &str {
    text.split("rule(\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
}

fn table(ids: &BTreeMap<String, String>, work: &[(String, Mutant)], fates: &[Fate]) -> String {
    let mut out = format!("{INTRODUCTION}\n| rule | {} | all |\n|---|", KINDS.join(" | "));
    out += &"---|".repeat(KINDS.len() + 1);
    out.push('\n');
    let mut sums = [0; KINDS.len()];
    for (id, stem) in ids {
        let mut counts = [0; KINDS.len()];
        for ((of, mutant), fate) in work.iter().zip(fates) {
            if of == stem && *fate != Fate::Invalid {
                counts[KINDS.iter().position(|kind| *kind == mutant.kind).unwrap()] += 1;
            }
        }
        let cells: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let all: usize = counts.iter().sum();
        writeln!(out, "| {id} `{stem}` | {} | {all} |", cells.join(" | ")).unwrap();
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let cells: Vec<String> = sums.iter().map(ToString::to_string).collect();
    writeln!(out, "| all | {} | {} |", cells.join(" | "), sums.iter().sum::<usize>()).unwrap();
    out += "\n## Changes that make no difference\n\n| rule | change | why |\n|---|---|---|\n";
    for (stem, what, why) in EQUIVALENT {
        writeln!(out, "| `{stem}` | {} | {why} |", what.replace('|', "\\|")).unwrap();
    }
    out
}

#[test]
fn every_change_of_a_header_is_minded_by_a_test() {
    let (stems, files) = shipped();
    let mut work = Vec::new();
    let mut ids = BTreeMap::new();
    for stem in &stems {
        let text = std::str::from_utf8(&files[&format!("{stem}.rhai")]).unwrap();
        ids.insert(id(text).to_owned(), stem.clone());
        assert_eq!(judge(stem, text, &files), Fate::Survived, "the tests of {stem} fail as it is");
        work.extend(mutants(text).into_iter().map(|mutant| (stem.clone(), mutant)));
    }
    let fates = judge_all(&work, &files);
    let known = |stem: &str, what: &str| EQUIVALENT.iter().any(|(s, w, _)| *s == stem && *w == what);
    let named = |fate: Fate, excused: bool| -> Vec<String> {
        let those = work.iter().zip(&fates).filter(|((stem, m), f)| **f == fate && known(stem, &m.what) == excused);
        those.map(|((stem, mutant), _)| format!("{stem}: {}", mutant.what)).collect()
    };
    let (survivors, stale) = (named(Fate::Survived, false), named(Fate::Caught, true));
    assert!(survivors.is_empty(), "{} changes are minded by no test:\n{}", survivors.len(), survivors.join("\n"));
    assert!(stale.is_empty(), "listed as equivalent, but caught:\n{}", stale.join("\n"));
    assert!(EQUIVALENT.iter().all(|(stem, what, _)| work.iter().any(|(s, m)| s == stem && m.what == *what)));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules-mutation.md");
    let wanted = table(&ids, &work, &fates);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/rules-mutation.md is not what the run gave: write it anew with {BLESS}=1");
}

#[test]
fn the_mutator_finds_every_place() {
    let rule = r#"// A rule.
marker("seen", #{ when: activity == LOGON, key: [tenant, user], ttl: "1h" });
rule("X-1", #{
    when:     activity.one_of([LOGON, STEP_UP]) & (!reason.exists() | reason == "a & (b") & outcome != FAILURE,
    key:      [tenant],
    window:   "15m", // quarter: of an hour
    agg:      #{ n: count_if(outcome == SUCCESS) },
    at_least: #{ n: 3 },
    settle:   "2m",
    dedup:    "1h",
});
fn decide(e, w) { w.n < 9 }
"#;
    let found: Vec<String> =
        mutants(rule).into_iter().map(|mutant| format!("{} {}", mutant.kind, mutant.what)).collect();
    let wanted = [
        "when marker seen: not `activity == LOGON`",
        "when marker seen: always `activity == LOGON`",
        "when marker seen: never `activity == LOGON`",
        "key marker seen: key without tenant",
        "key marker seen: key without user",
        "time marker seen: ttl 1h halved",
        "time marker seen: ttl 1h doubled",
        "when not `activity.one_of([LOGON, STEP_UP])`",
        "when always `activity.one_of([LOGON, STEP_UP])`",
        "when never `activity.one_of([LOGON, STEP_UP])`",
        "when `activity.one_of([LOGON, STEP_UP])` without LOGON",
        "when `activity.one_of([LOGON, STEP_UP])` without STEP_UP",
        "when not `reason.exists()`",
        "when always `reason.exists()`",
        "when never `reason.exists()`",
        "when not `reason == \"a & (b\"`",
        "when always `reason == \"a & (b\"`",
        "when never `reason == \"a & (b\"`",
        "when not `outcome != FAILURE`",
        "when always `outcome != FAILURE`",
        "when never `outcome != FAILURE`",
        "time window 15m halved",
        "time window 15m doubled",
        "gate n at least 2",
        "gate n at least 4",
        "time settle removed",
        "dedup dedup 1h halved",
        "dedup dedup 1h doubled",
        "dedup dedup removed",
    ];
    assert_eq!(found, wanted);
    let text = |what: &str| mutants(rule).into_iter().find(|mutant| mutant.what == what).unwrap().text;
    assert!(text("window 15m halved").contains("window:   \"450s\","));
    assert!(text("settle removed").lines().all(|line| !line.contains("settle")));
    assert!(text("marker seen: key without user").contains("key: [tenant], ttl"));
    assert!(text("not `reason.exists()`").contains("(!(!(reason.exists())) | reason"));
    let unchanged = |range: Range<usize>| rule[range].to_owned();
    assert_eq!(unchanged(0..10), "// A rule.");
}
