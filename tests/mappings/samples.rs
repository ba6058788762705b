//! Samples of products whose events nobody may publish: written from the vendors' documentation (see the README in each
//! directory of `tests/data`), each with the event that it must become, compared field by field.

use crate::{as_json, decode, decoder, shipped};
use authseal::{decode::Decoder, record::Outcome};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// A mapping and the files of its samples in `tests/data`: `X.ndjson`, and `X.expected.ndjson`, line by line.
const PRODUCTS: &[(&str, &[&str])] = &[
    ("entra", &["entra/sign-ins", "entra/audit", "entra/graph", "entra/other"]),
    ("cloudtrail", &["cloudtrail/events", "cloudtrail/eventbridge", "cloudtrail/other"]),
    ("ecs", &["ecs/events", "ecs/other"]),
    ("ocsf", &["ocsf/events", "ocsf/other"]),
    ("duo", &["duo/authentication", "duo/administrator", "duo/activity", "duo/other"]),
];

fn lines(path: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// What becomes of a sample, as the expected files have it: an event, `"opaque"`, or the code of a rejection.
fn becomes(decoder: &Decoder, line: &str) -> Value {
    match decode(decoder, line).outcome {
        Outcome::Event(event) => Value::Object(as_json(&event)),
        Outcome::Opaque => json!("opaque"),
        Outcome::Rejection(rejection) => json!(rejection.code),
    }
}

#[test]
fn each_sample_becomes_the_event_that_is_written_beside_it() {
    for (mapping, files) in PRODUCTS {
        let decoder = decoder(shipped(mapping), false);
        for file in *files {
            let samples = lines(&format!("{file}.ndjson"));
            let wanted = lines(&format!("{file}.expected.ndjson"));
            assert!(!samples.is_empty());
            assert_eq!(samples.len(), wanted.len(), "{file}: a line for each line");
            for (number, (sample, want)) in samples.iter().zip(&wanted).enumerate() {
                let want: Value = serde_json::from_str(want).unwrap();
                assert_eq!(becomes(&decoder, sample), want, "{file}.ndjson:{}: {sample}", number + 1);
            }
        }
    }
}

/// The activities that a mapping states.
fn stated(mapping: &str) -> BTreeSet<String> {
    let file = shipped(mapping);
    let text = std::str::from_utf8(&file.bytes).unwrap();
    let after = text.split("activity = ").skip(1);
    let symbol = |rest: &str| {
        let rest = rest.strip_prefix("{ value = ").unwrap_or(rest);
        rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    after.filter_map(symbol).collect()
}

#[test]
fn each_activity_of_a_mapping_has_a_sample() {
    for (mapping, files) in PRODUCTS {
        let mut met = BTreeSet::from(["OTHER".to_owned()]);
        for line in files.iter().flat_map(|file| lines(&format!("{file}.expected.ndjson"))) {
            let event: Value = serde_json::from_str(&line).unwrap();
            met.extend(event["activity"].as_str().map(str::to_owned));
        }
        let stated = stated(mapping);
        assert!(stated.len() > 3, "{mapping}: {stated:?}");
        let missing: Vec<&String> = stated.difference(&met).collect();
        assert!(missing.is_empty(), "{mapping}: no sample becomes {missing:?}");
    }
}

/// `AUTHSEAL_WRITE_EXPECTED=entra cargo test --test mappings expected_files` writes what the mapping makes of its
/// samples: read every line of the difference before it is committed. Without the variable it changes nothing.
#[test]
fn expected_files_are_written_on_demand() {
    let wanted = std::env::var("AUTHSEAL_WRITE_EXPECTED").unwrap_or_default();
    for (mapping, files) in PRODUCTS.iter().filter(|(mapping, _)| *mapping == wanted) {
        let decoder = decoder(shipped(mapping), false);
        for file in *files {
            let samples = lines(&format!("{file}.ndjson"));
            let made: Vec<String> = samples.iter().map(|line| format!("{}\n", becomes(&decoder, line))).collect();
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
            fs::write(path.with_extension("expected.ndjson"), made.concat()).unwrap();
        }
    }
}
