//! What authseal is built from: every crate comes from crates.io with a checksum, under a licence that lets everybody
//! use the binary, and in a version of which no advisory warns.
//!
//! The advisories are those of RustSec as of the day that stands in `tests/advisories/advisories.tsv`: a copy, so that
//! the test needs no network. `tests/advisories/refresh.py` makes a newer one. Between two copies, `cargo audit` or
//! `cargo deny check advisories` asks where GitHub can be reached.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use semver::{Version, VersionReq};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, process::Command};

/// Licences that ask for no more than to be named.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Crates under another one, with the reason why that is no trouble.
const EXCEPTIONS: [(&str, &str, &str); 1] =
    [("smartstring", "MPL-2.0+", "of Rhai; its own files must stay open, and they are: we do not change them")];

/// Advisories that we live with: id, the day on which that was decided, and why.
const ACCEPTED: [(&str, &str, &str); 1] = [(
    "RUSTSEC-2026-0249",
    "2026-11-21",
    "smartstring is unmaintained, no fault in it is known; Rhai 1.x holds its texts in it and has no release without",
)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every package that the build of this machine takes, tests included.
fn packages() -> Vec<Value> {
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| package["name"] != "authseal").cloned().collect()
}

/// Whether a licence expression (SPDX, or the older `A/B`) can be met with what is allowed. OR binds weaker than AND.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = any(&words, &mut at);
    assert_eq!(at, words.len(), "{expression}: not understood");
    allowed
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= all(words, at);
    }
    allowed
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= one(words, at);
    }
    allowed
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).expect("a licence");
    *at += 1;
    if *word == "(" {
        let allowed = any(words, at);
        assert_eq!(words.get(*at), Some(&")"), "a bracket that is not closed");
        *at += 1;
        return allowed;
    }
    if words.get(*at) == Some(&"WITH") {
        let with = format!("{word} WITH {}", words.get(*at + 1).expect("an exception"));
        *at += 2;
        return ALLOWED.contains(&with.as_str());
    }
    ALLOWED.contains(word)
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0-only AND MIT", false),
        ("MIT AND (GPL-3.0-only OR ISC)", true),
        ("MIT OR GPL-3.0-only AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}

#[test]
fn every_crate_is_under_a_licence_that_lets_everybody_use_it() {
    let mut faults = Vec::new();
    let mut excused = Vec::new();
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        if EXCEPTIONS.iter().any(|(of, is, _)| (*of, *is) == (name, licence)) {
            excused.push(name);
        } else if licence == "none" || !is_allowed(licence) {
            faults.push(format!("{name} {}: {licence}", package["version"]));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(excused, EXCEPTIONS.map(|(name, ..)| name), "an exception that nobody needs");
}

/// What an advisory warns of: versions of a crate that meet none of the requirements.
#[derive(Debug)]
struct Advisory {
    id: String,
    kind: String,
    good: Vec<VersionReq>,
}

impl Advisory {
    /// A pre-release meets fewer requirements than RustSec thinks: it is rather named once too often.
    fn warns_of(&self, version: &Version) -> bool {
        !self.good.iter().any(|good| good.matches(version))
    }
}

/// The advisories by crate, and the day of the copy.
fn advisories() -> (BTreeMap<String, Vec<Advisory>>, String) {
    let text = std::fs::read_to_string(root().join("tests/advisories/advisories.tsv")).unwrap();
    let (head, lines) = text.split_once('\n').unwrap();
    let day = head.split_once(" as of ").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let mut all: BTreeMap<String, Vec<Advisory>> = BTreeMap::new();
    for line in lines.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [id, package, kind, patched, unaffected] = parts[..] else { panic!("{line}") };
        let requirements = patched.split(';').chain(unaffected.split(';')).filter(|text| !text.is_empty());
        let good = requirements.map(|text| text.parse().unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
        all.entry(package.into()).or_default().push(Advisory { id: id.into(), kind: kind.into(), good });
    }
    (all, day)
}

#[test]
fn advisories_warn_of_the_versions_that_they_mean() {
    let (all, day) = advisories();
    assert!(day.parse::<jiff::civil::Date>().is_ok() && all.values().map(Vec::len).sum::<usize>() > 1000, "{day}");
    let warned = |package: &str, id: &str, version: &str| {
        all[package].iter().find(|a| a.id == id).unwrap().warns_of(&version.parse().unwrap())
    };
    // patched = [">= 0.2.23"], unaffected = ["< 0.2.0"] or so: a range with both ends
    assert!(warned("time", "RUSTSEC-2020-0071", "0.2.22") && !warned("time", "RUSTSEC-2020-0071", "0.3.0"));
    // nothing is patched: every version
    assert!(warned("rsa", "RUSTSEC-2023-0071", "0.9.6"));
    assert!(warned("openssl", "RUSTSEC-2016-0001", "0.8.3") && !warned("openssl", "RUSTSEC-2016-0001", "0.10.0"));
}

#[test]
fn no_advisory_warns_of_a_crate_that_we_use() {
    let (all, day) = advisories();
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let (mut faults, mut accepted) = (Vec::new(), Vec::new());
    for package in lock["package"].as_array().unwrap() {
        let text = |name: &str| package[name].as_str().unwrap();
        let version = text("version").parse().unwrap();
        for advisory in all.get(text("name")).into_iter().flatten().filter(|a| a.warns_of(&version)) {
            match ACCEPTED.iter().find(|(id, ..)| *id == advisory.id) {
                Some((id, ..)) => accepted.push(*id),
                None => faults.push(format!("{} {version}: {} ({})", text("name"), advisory.id, advisory.kind)),
            }
        }
    }
    assert!(faults.is_empty(), "as of {day}; read https://rustsec.org/advisories/ID.html: {faults:#?}");
    assert_eq!(accepted, ACCEPTED.map(|(id, ..)| id), "an exception that nobody needs");
    assert!(ACCEPTED.iter().all(|(_, decided, why)| decided.parse::<jiff::civil::Date>().is_ok() && !why.is_empty()));
}

#[test]
fn every_crate_comes_from_crates_io_with_a_checksum() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let text = |name: &str| package.get(name).and_then(toml::Value::as_str);
        if text("name") == Some("authseal") {
            continue;
        }
        assert_eq!(text("source"), Some("registry+https://github.com/rust-lang/crates.io-index"), "{package}");
        assert!(text("checksum").is_some_and(|sum| sum.len() == 64), "{package}");
    }
}
