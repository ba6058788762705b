//! The manual: every example in `docs/mappings.md` does what is written there, and `docs/sources.md` says what the
//! shipped mappings do.

use crate::{as_json, decode, decoder, written};
use authseal::{
    decode::mapping::{SHIPPED, describe, shipped},
    record::Outcome,
};
use serde_json::Value;
use std::{fs, path::PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The blocks of code behind each `<!-- try -->`: language and text of two blocks.
fn examples(text: &str) -> Vec<[(String, String); 2]> {
    let block = |text: &str| -> (String, String, usize) {
        let start = text.find("```").unwrap() + 3;
        let (language, rest) = text[start..].split_once('\n').unwrap();
        let (body, _) = rest.split_once("```").unwrap();
        let end = start + language.len() + 1 + body.len() + 3;
        (language.into(), body.into(), end)
    };
    let mut out = Vec::new();
    for part in text.split("<!-- try -->").skip(1) {
        let (first, mapping, end) = block(part);
        let (second, lines, _) = block(&part[end..]);
        out.push([(first, mapping), (second, lines)]);
    }
    out
}

#[test]
fn every_example_of_the_manual_does_what_is_written_there() {
    let examples = examples(&read("docs/mappings.md"));
    assert!(examples.len() >= 6);
    for [(language, mapping), (form, lines)] in examples {
        assert_eq!(language, "toml");
        let decoder = decoder(written(&mapping), form == "text");
        let lines: Vec<&str> = lines.lines().collect();
        assert!(!lines.is_empty() && lines.len().is_multiple_of(2), "{mapping}");
        for pair in lines.chunks(2) {
            match (decode(&decoder, pair[0]).outcome, pair[1]) {
                (Outcome::Opaque, "opaque") => {}
                (Outcome::Rejection(rejection), code) if rejection.code == code => {}
                (Outcome::Event(event), want) => {
                    let want: Value = serde_json::from_str(want).unwrap();
                    assert_eq!(Value::Object(as_json(&event)), want, "{}", pair[0]);
                }
                (other, want) => panic!("{}: {other:?}, not {want}", pair[0]),
            }
        }
    }
}

#[test]
fn every_construct_of_the_language_is_in_the_manual() {
    let manual = read("docs/mappings.md");
    let keys = [
        "mapping",
        "name",
        "product",
        "about",
        "input",
        "reference",
        "secrets",
        "zone",
        "dotted_keys",
        "from",
        "value",
        "text",
        "record",
        "when",
        "unless",
        "pattern",
        "case",
        "split",
        "table",
        "time",
        "glob",
        "unlike",
        "not",
        "differs",
        "exists",
        "ignore",
        "pairs",
        "into",
        "between",
        "equals",
        "quote",
        "escape",
        "escapes_itself",
        "json",
        "unmapped",
        "prefix",
        "strip",
        "except",
        "on",
    ];
    for key in keys {
        let written = [format!("`{key}`"), format!("{key} ="), format!("{key}: "), format!("{key} = ")];
        assert!(written.iter().any(|form| manual.contains(form)), "{key}");
    }
}

/// The part of `docs/sources.md` that comes from a mapping.
fn generated(name: &str) -> String {
    let tables = describe(&shipped(name).unwrap()).unwrap();
    format!("<!-- {name}: from schemas/mappings/{name}.toml -->\n\n{tables}\n<!-- {name}: end -->")
}

#[test]
fn the_tables_of_the_sources_are_those_of_the_mappings() {
    let text = read("docs/sources.md");
    for (name, _) in SHIPPED {
        let want = generated(name);
        assert!(
            text.contains(&want),
            "docs/sources.md is not what the mapping {name} says: put the output of \
             `authseal schemas show --tables {name}` between its two comments"
        );
    }
}
