//! What authseal is built from: every crate comes from crates.io with a checksum, and under a licence that lets
//! everybody use the binary. Advisories are not checked here: their database is not a crate, so a test cannot have it
//! without the network. `cargo deny check advisories` or `cargo audit` does it where GitHub can be reached.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use serde_json::Value;
use std::{path::Path, process::Command};

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
