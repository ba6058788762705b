//! Hostile bytes: whatever they are, a decoder answers, with a code that the manual explains.

use crate::{decode, file, spec};
use authseal::{
    decode::{CANONICAL_SCHEMA, Decoder, Format, MAX_ATTRIBUTES, TopicSpec, codes},
    event::Field,
    record::{Decoded, Outcome},
};
use std::collections::BTreeMap;

/// SplitMix64: the same bytes in every run.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A schema with everything in it, that holds itself.
const RICH: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"time","type":["long",{"type":"string"}]},{"name":"user","type":["null","string","bytes"]},
    {"name":"inner","type":["null","R",{"type":"array","items":["null","R","int"]},{"type":"map","values":"bytes"}]},
    {"name":"privileges","type":{"type":"array","items":["null","string","long"]}},
    {"name":"f","type":{"type":"fixed","name":"F","size":3}},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
    {"name":"none","type":{"type":"array","items":"null"}},
    {"name":"attributes","type":{"type":"map","values":["string","double","boolean",
        {"type":"array","items":"float"}]}}]}"#;

/// One that random bytes can be.
const SMALL: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"time","type":"long"},{"name":"user","type":"string"}]}"#;

fn decoders() -> Vec<(&'static str, Vec<u8>, Decoder)> {
    let schemas = BTreeMap::from([(1, file(RICH)), (2, file(CANONICAL_SCHEMA))]);
    [
        ("bare", vec![], Format::Avro { schema: None }),
        ("rich", vec![], Format::Avro { schema: Some(file(RICH)) }),
        ("confluent", vec![0, 0, 0, 0, 1], Format::Confluent { schemas }),
        ("single", vec![0xc3, 1], Format::SingleObject { schemas: vec![file(RICH)] }),
        ("small", vec![], Format::Avro { schema: Some(file(SMALL)) }),
        ("json", vec![], Format::Json),
    ]
    .into_iter()
    .flat_map(|(name, head, format)| {
        let plain = Decoder::new(spec(format.clone()), &[1; 32]).unwrap();
        let strict = TopicSpec { keep_event_only: true, secret_fields: vec!["api_key".into()], ..spec(format) };
        [(name, head.clone(), plain), (name, head, Decoder::new(strict, &[1; 32]).unwrap())]
    })
    .collect()
}

/// What holds for every answer.
fn check(decoded: &Decoded, bytes: &[u8]) -> &'static str {
    match &decoded.outcome {
        Outcome::Rejection(rejection) => {
            assert!(codes::ALL.iter().any(|c| c.code == rejection.code), "{rejection:?}");
            assert!(rejection.code != codes::INTERNAL, "{bytes:?}");
            assert!(rejection.detail.len() <= 512);
            rejection.code
        }
        Outcome::Event(event) => {
            assert!(event.attributes.len() <= 2 * MAX_ATTRIBUTES + Field::ALL.len());
            assert!(!event.event_id.is_empty() && !event.source.is_empty());
            "event"
        }
        Outcome::Opaque => "opaque",
    }
}

/// Decodes in every way; counts the answers.
fn run(count: usize, mut make: impl FnMut(&mut Random) -> Vec<u8>) -> BTreeMap<&'static str, usize> {
    let (decoders, mut random, mut answers) = (decoders(), Random(1), BTreeMap::new());
    for _ in 0..count {
        let bytes = make(&mut random);
        for (_, head, decoder) in &decoders {
            let bytes = [head, &bytes[..]].concat();
            *answers.entry(check(&decode(decoder, bytes.clone()), &bytes)).or_default() += 1;
        }
    }
    answers
}

#[test]
fn random_bytes_are_answered() {
    let answers = run(20_000, |random| {
        let length = random.below(64);
        // small numbers are lengths and branches that exist
        let small = random.below(2) == 0;
        (0..length).map(|_| if small { random.below(9) as u8 } else { random.next() as u8 }).collect()
    });
    for code in ["event", codes::NOT_AVRO, codes::TRUNCATED, codes::TRAILING_BYTES, codes::NOT_JSON, codes::EMPTY] {
        assert!(answers.contains_key(code), "{answers:?}");
    }
}

#[test]
fn mutated_json_is_answered() {
    let lines: Vec<&str> = include_str!("../data/openssh/events.ndjson").lines().collect();
    let answers = run(20_000, |random| {
        let mut bytes = random.pick(&lines).as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, random);
        }
        bytes
    });
    for code in ["event", codes::NOT_JSON, codes::JSON_FORM, codes::TRAILING_BYTES, codes::IMPOSSIBLE_TIME] {
        assert!(answers.contains_key(code), "{answers:?}");
    }
}

#[test]
fn json_of_random_tokens_is_answered() {
    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"time\":1765349748",
        "\"user\":\"a\"",
        "\"src_ip\"",
        "\"attributes\"",
        "null",
        "true",
        "-1e9",
        "0",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"x\"",
        "\"privileges\"",
        " ",
        "\"quality\"",
        "é",
        "\u{feff}",
    ];
    let answers = run(20_000, |random| {
        let mut text = String::from(if random.below(4) > 0 { "{\"time\":1765349748,\"user\":\"a\"," } else { "" });
        for _ in 0..random.below(12) {
            text += *random.pick(TOKENS);
        }
        text += if random.below(2) == 0 { "}" } else { "" };
        text.into_bytes()
    });
    assert!(answers.contains_key(codes::JSON_FORM) && answers.contains_key("event"), "{answers:?}");
}

#[test]
fn mutated_avro_is_answered() {
    let valid = crate::oracle::encoded(200);
    let schemas: Vec<Decoder> =
        valid.iter().map(|(schema, _)| crate::decoder(Format::Avro { schema: Some(file(schema)) })).collect();
    let (mut random, mut answers) = (Random(2), BTreeMap::<_, usize>::new());
    for _ in 0..40_000 {
        let which = random.below(valid.len());
        let mut bytes = valid[which].1.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        *answers.entry(check(&decode(&schemas[which], bytes.clone()), &bytes)).or_default() += 1;
    }
    for code in ["event", codes::NOT_AVRO, codes::TRUNCATED, codes::TRAILING_BYTES] {
        assert!(answers.contains_key(code), "{answers:?}");
    }
}

/// One change of any kind.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => bytes.insert(at, *random.pick(b"{}[]\",:\\0\x00\xff\x02")),
        4 => drop(bytes.remove(at)),
        _ => {
            let end = at + random.below(bytes.len() - at + 1);
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}
