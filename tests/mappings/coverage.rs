//! What the samples of each shipped mapping cover, as tables in `docs/sources.md`.

use crate::{
    decode_at, decoder,
    openssh::other_lines,
    samples::{PRODUCTS, came, lines},
    shipped,
};
use authseal::{
    decode::mapping::{SHIPPED, known_of},
    event::{Activity, Field},
    record::Outcome,
};
use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

const BEGIN: &str = "<!-- coverage: written by `AUTHSEAL_BLESS=1 cargo test --test mappings coverage` -->\n\n";
const END: &str = "\n<!-- coverage: end -->";

/// What a product itself wrote: mapping, file, whether its records are lines of text, and when they came.
const REAL: &[(&str, &str, bool, i64)] = &[
    ("keycloak-event", "keycloak/events.ndjson", false, 1_795_262_400_000),
    ("keycloak-event", "keycloak/admin-events.ndjson", false, 1_795_262_400_000),
    ("keycloak-event", "keycloak/events.log", true, 1_795_262_400_000),
    ("keycloak-event", "keycloak/admin-events.log", true, 1_795_262_400_000),
    ("sshd", "openssh/OpenSSH_2k.log", true, 1_767_139_200_000),
];

/// What samples of a mapping become.
#[derive(Default)]
struct Covered {
    samples: usize,
    events: usize,
    opaque: usize,
    activities: BTreeMap<&'static str, usize>,
    fields: BTreeMap<&'static str, usize>,
}

impl Covered {
    fn of(mapping: &str) -> Self {
        let mut covered = Self::default();
        let written = PRODUCTS.iter().filter(|(name, _)| *name == mapping).flat_map(|(_, files)| *files);
        let written = written.map(|file| (format!("{file}.ndjson"), false, came(mapping)));
        let real = REAL.iter().filter(|(name, ..)| *name == mapping);
        let real = real.map(|(_, file, text, came)| ((*file).to_owned(), *text, *came));
        for (file, text, came) in written.chain(real) {
            let decoder = decoder(shipped(mapping), text);
            let more = if mapping == "sshd" { other_lines() } else { Vec::new() };
            for line in lines(&file).into_iter().chain(more) {
                covered.samples += 1;
                match decode_at(&decoder, line.as_bytes(), came).outcome {
                    Outcome::Opaque => covered.opaque += 1,
                    Outcome::Rejection(_) => {}
                    Outcome::Event(event) => {
                        covered.events += 1;
                        *covered.activities.entry(event.activity.symbol()).or_default() += 1;
                        let filled = event.filled();
                        for field in Field::ALL.iter().filter(|field| filled & (1 << **field as u32) != 0) {
                            *covered.fields.entry(field.name()).or_default() += 1;
                        }
                    }
                }
            }
        }
        covered
    }
}

/// The tables.
fn tables() -> String {
    let mut names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let all: Vec<(&str, Covered)> = names.into_iter().map(|name| (name, Covered::of(name))).collect();
    let mut out = String::from(BEGIN);
    out += "| mapping | samples | events, no events, rejections | kinds, entries known | activities | fields |\n";
    out += "|---|---|---|---|---|---|\n";
    for (name, covered) in &all {
        let known = known_of(&shipped(name)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let Covered { samples, events, opaque, .. } = covered;
        let others = samples - events - opaque;
        let activities = covered.activities.keys().filter(|symbol| **symbol != "OTHER").count();
        let filled = covered.fields.keys().filter(|name| known.fields.iter().any(|field| field.name() == **name));
        let _ = writeln!(
            out,
            "| `{name}` | {samples} | {events}, {opaque}, {others} | {}, {} | {activities} of {} | {} of {} |",
            known.kinds,
            known.entries,
            Activity::SYMBOLS.len() - 1,
            filled.count(),
            known.fields.len(),
        );
    }
    matrix("activity", Activity::SYMBOLS, &all, |covered| &covered.activities, &mut out);
    let fields: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
    matrix("field", &fields, &all, |covered| &covered.fields, &mut out);
    out + END
}

fn matrix(
    what: &str,
    rows: &[&'static str],
    all: &[(&str, Covered)],
    of: impl Fn(&Covered) -> &BTreeMap<&'static str, usize>,
    out: &mut String,
) {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let _ = write!(out, "\n| {what} | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for row in rows {
        let counts = all.iter().map(|(_, covered)| of(covered).get(row).map_or(String::new(), usize::to_string));
        let counts: Vec<String> = counts.collect();
        if counts.iter().any(|count| !count.is_empty()) {
            let _ = writeln!(out, "| `{row}` | {} |", counts.join(" | "));
        }
    }
}

#[test]
fn the_coverage_of_the_manual_is_that_of_the_samples() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("docs/sources.md has the tables of coverage");
    let (_, tail) = rest.split_once(END).expect("and their end");
    let made = tables();
    let wanted = format!("{head}{made}{tail}");
    if std::env::var_os("AUTHSEAL_BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "run this test with AUTHSEAL_BLESS=1; the tables are\n{made}");
    }
}

/// A mapping that fills a field which no sample fills is tried by nobody.
#[test]
fn most_fields_of_each_mapping_are_filled_by_a_sample() {
    for (name, _) in SHIPPED {
        let (known, covered) = (known_of(&shipped(name)).unwrap(), Covered::of(name));
        let missing: Vec<&str> =
            known.fields.iter().map(|field| field.name()).filter(|field| !covered.fields.contains_key(field)).collect();
        assert!(covered.events > 0 && missing.len() * 4 <= known.fields.len(), "{name}: no sample fills {missing:?}");
    }
}

#[test]
fn an_event_that_is_minutes_ahead_of_its_record_is_marked() {
    let decoder = decoder(shipped("keycloak-event"), false);
    let line = &lines("keycloak/events.ndjson")[0];
    let sample: serde_json::Value = serde_json::from_str(line).unwrap();
    let time = sample["time"].as_i64().unwrap();
    let quality = |came: i64| match decode_at(&decoder, line.as_bytes(), came).outcome {
        Outcome::Event(event) => event.quality,
        other => panic!("no event: {other:?}"),
    };
    assert_eq!(quality(time - 300_000), Vec::<authseal::event::Text>::new(), "as far as clocks may differ");
    assert_eq!(quality(time - 301_000), ["time:ahead"]);
    assert!(quality(time + 86_400_000).is_empty(), "what comes late is not marked: it may have been on its way");
}
