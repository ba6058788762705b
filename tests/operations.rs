//! docs/operations.md names every part of readiness and every reason for which a partition is stopped, as the sources
//! say them: whoever reads a reason at 3 a.m. finds it there with its cause and a command.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of the Rust files below a folder, without their tests; line continuations of literals are undone.
fn sources(folder: &str) -> String {
    fn gather(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                out.push(path);
            }
        }
    }
    let mut files = Vec::new();
    gather(&root().join(folder), &mut files);
    files.sort();
    let text = |file: PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
    };
    let all: String = files.into_iter().map(text).collect();
    Regex::new(r"\\\n\s*").unwrap().replace_all(&all, "").into_owned()
}

/// The guide, its lines joined.
fn guide() -> String {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn all(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_part_of_readiness_is_in_the_guide() {
    let (ingest, log, cli) = (sources("src/ingest"), sources("src/log"), sources("src/cli"));
    let text = [ingest, log, cli, sources("src/source")].concat();
    // what is reported under a literal or a constant, and what such names begin with
    let mut parts = all(r#"(?:\.fail|\.warn|status\.ok)\(\s*&?(?:format!\()?"([a-z_:]+)"#, &text);
    parts.extend(all(r#"const (?:[A-Z]+_)?PART: &str = "([a-z_:]+)""#, &text));
    parts.extend(all(r#"const PARTS: \[&str; 2\] = \["([a-z_:]+)""#, &text));
    parts.extend(all(r#"const PARTS: \[&str; 2\] = \["[a-z_:]+", "([a-z_:]+)""#, &text));
    parts.extend(all(r#"=> \("(publish:[a-z_]+)""#, &text));
    parts.extend(all(r#"format!\("([a-z]+:)\{(?:partition|rule|id)"#, &text));
    // of the auditor, which has a guide of its own, and never of a part: checkpoints are published by the log
    let elsewhere = ["verify", "publish:checkpoints"];
    let guide = guide();
    let missing: Vec<&String> = parts
        .iter()
        .filter(|part| !elsewhere.contains(&part.as_str()))
        .filter(|part| {
            let shown = match part.strip_suffix(':') {
                Some("source" | "partition" | "transaction") => format!("`{part}TOPIC/PARTITION`"),
                Some("rule") => "`rule:ID`".into(),
                Some("witness") => "`witness:NAME`".into(),
                _ => format!("`{part}`"),
            };
            !guide.contains(&shown)
        })
        .collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
    for known in ["store", "signer", "clock", "topics", "publish:alerts", "publish:state", "transaction:", "partition:"]
    {
        assert!(parts.contains(known), "the search finds what is there: {known} in {parts:?}");
    }
}

#[test]
fn every_reason_to_stop_is_in_the_guide() {
    let text = [sources("src/ingest"), sources("src/store")].concat();
    let guide = guide();
    // what a message says without what it fills in: its longest part is what a person would search for
    let literals = all(r#"Error::tampered\(\s*(?:format!\(\s*)?"((?:[^"\\]|\\.)*)""#, &text);
    assert!(literals.len() >= 12, "the search finds what is there: {literals:?}");
    let code = Regex::new(r"^[a-z]+(?:_[a-z]+)+").unwrap();
    let hole = Regex::new(r"\{[^}]*\}|[:;,.(]").unwrap();
    let mut missing = Vec::new();
    for literal in &literals {
        let words: Vec<&str> = hole.split(literal).map(str::trim).filter(|part| part.contains(' ')).collect();
        let named = match code.find(literal) {
            Some(code) => guide.contains(&format!("`{}`", code.as_str())),
            None => words.iter().any(|part| guide.contains(part)),
        };
        // "{what}: chain … was sealed from": what is one of two, which stand there
        if !named && !literal.starts_with("{what}: chain") {
            missing.push(literal);
        }
    }
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:#?}");
    let others = all(r#"changed\("([^"]+)""#, &text);
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(others.iter().all(|what| guide.contains(&format!("`{what}`"))), "{others:?}");
    let codes = all(r#"Error::config\(format!\(\s*"([a-z]+(?:_[a-z]+)+): "#, &text);
    assert!(codes.contains("source_compacted") && codes.iter().all(|code| guide.contains(&format!("`{code}`"))));
}
