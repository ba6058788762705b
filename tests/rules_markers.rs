//! The rules that docs/markers.md shows: they load, and their tests pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use authseal::{
    artifact::File,
    detect::{RuleSet, testing},
};
use std::path::Path;

/// What the last example builds on.
const GUESSING: &str = "rule(\"ACME-0013\", #{ name: \"Guessing\", severity: LOW, mode: \"shadow\",
    when: activity == LOGON & outcome == FAILURE, key: [tenant, src_ip], window: \"10m\", agg: #{ n: count() },
    at_least: #{ n: 5 }, settle: \"1m\", dedup: \"1h\" });";

fn documentation() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/markers.md")).unwrap()
}

fn files() -> Vec<File> {
    let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
    let text = documentation();
    let blocks: Vec<&str> = text.split("```rhai\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let names = ["step_up", "travel", "success"];
    assert_eq!(blocks.len(), 2 * names.len(), "each rule and its tests");
    let mut files = vec![file("guessing.rhai", GUESSING)];
    for (name, pair) in names.iter().zip(blocks.chunks(2)) {
        files.push(file(&format!("{name}.rhai"), pair[0]));
        files.push(file(&format!("{name}.test.rhai"), pair[1]));
    }
    files
}

#[test]
fn the_rules_in_the_documentation_pass_their_tests() {
    let reports = testing::run(&files());
    let failures: Vec<String> = reports.iter().flat_map(|report| &report.failures).map(ToString::to_string).collect();
    assert!(failures.is_empty() && reports.len() == 7, "{failures:#?} {reports:#?}");
}

#[test]
fn what_the_documentation_says_of_names_and_bounds_is_so() {
    let (text, files) = (documentation(), files());
    for bound in ["up to 16 times", "up to half of `rules.state_mib`", "at most 64"] {
        assert!(text.contains(bound), "{bound}");
    }
    // each name of a mark that the table shows
    let step_up = String::from_utf8(files[1].bytes.clone()).unwrap();
    for name in ["missing", "age", "count", "user", "acr", "time", "position"] {
        assert!(text.contains(&format!("`s.{name}`")), "{name}");
        let asked = step_up.replace("s.acr < 2 ||", &format!("s.{name} == 2 ||"));
        let asked = File { path: "a.rhai".into(), bytes: asked.into_bytes() };
        assert!(RuleSet::load(&[asked]).is_ok(), "{name}");
    }
    let rules = RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(rules.horizon().as_secs(), 86_400 + 30, "ttl and wait of the rule that looks back furthest");
}
