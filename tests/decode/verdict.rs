//! apache-avro as the oracle of what is Avro at all: on valid, truncated and mutated bytes under any writer's schema,
//! it and the decoder must come to the same verdict. Where the decoder is stricter, this names it.

use crate::{
    decode, decoder, file,
    hostile::{Random, mutate},
    oracle::encoded,
};
use apache_avro::{Schema, error::Details, reader::datum::GenericDatumReader};
use authseal::{
    decode::{CANONICAL_SCHEMA, Decoder, Format, codes},
    record::Outcome,
};
use std::{collections::BTreeMap, io};

/// More than that the oracle need not allocate for bytes that lie about lengths.
const ALLOCATION: usize = 1 << 20;

/// What apache-avro takes and the decoder does not, as the decoder says it.
const STRICTER: [&str; 3] = [
    // it lets bits fall off the end of the tenth byte
    "a variable-length number is longer than 64 bits",
    // it reads over how long a block says that it is
    "a block is not as long as it says",
    // it has the stack for it
    "values nest too deep",
];

/// The answer to whether bytes are the encoding of a value, from the first to the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Avro,
    Malformed,
    /// It was not looked at to the end, for another reason.
    None,
}

/// Bytes, and whether somebody wanted more of them: apache-avro reads a null where a string, a boolean or a union is
/// cut short.
struct Bytes<'a> {
    left: &'a [u8],
    ended: bool,
}

impl io::Read for Bytes<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.left.read(out)?;
        self.ended |= read == 0 && !out.is_empty();
        Ok(read)
    }
}

fn oracle(reader: &GenericDatumReader<'_>, bytes: &[u8]) -> Verdict {
    let mut bytes = Bytes { left: bytes, ended: false };
    match reader.read_value(&mut bytes) {
        Ok(_) if bytes.left.is_empty() && !bytes.ended => Verdict::Avro,
        Ok(_) => Verdict::Malformed,
        // a count of items that take no bytes may be as large as it likes
        Err(e) if matches!(e.details(), Details::MemoryAllocation { .. }) && !bytes.ended => Verdict::None,
        Err(_) => Verdict::Malformed,
    }
}

/// The decoder's, and what it says.
fn ours(decoder: &Decoder, bytes: &[u8]) -> (Verdict, String) {
    match decode(decoder, bytes).outcome {
        Outcome::Rejection(rejection) => {
            let verdict = match rejection.code {
                codes::NOT_AVRO | codes::TRUNCATED | codes::TRAILING_BYTES => Verdict::Malformed,
                // both are met while reading, and end it
                codes::BIOMETRIC | codes::SECRET_FIELD => Verdict::None,
                codes::EMPTY => Verdict::None,
                // said of an event that was read to its end
                codes::MISSING_TIME | codes::IMPOSSIBLE_TIME | codes::NO_IDENTITY => Verdict::Avro,
                other => panic!("{other} of {bytes:?}"),
            };
            (verdict, rejection.detail)
        }
        _ => (Verdict::Avro, String::new()),
    }
}

/// A writer's schema, read by both, and values of it.
struct Case {
    schema: String,
    decoder: Decoder,
    values: Vec<Vec<u8>>,
}

fn cases(count: u64) -> Vec<Case> {
    let case = |(schema, value): (String, Vec<u8>)| Case {
        decoder: decoder(Format::Avro { schema: Some(file(&schema)) }),
        schema,
        values: vec![value],
    };
    let mut cases: Vec<Case> = encoded(count).into_iter().map(case).collect();
    // the one that most topics have, with its own plan
    let canonical = crate::oracle::encoded_canonically(count);
    let decoder = decoder(Format::Avro { schema: None });
    cases.push(Case { schema: CANONICAL_SCHEMA.into(), decoder, values: canonical });
    cases
}

/// Compares verdicts on `make`'s bytes of each value; how often each pair was given, and how often the decoder alone
/// refused.
fn compare(
    cases: &[Case],
    mut make: impl FnMut(&[u8], &mut dyn FnMut(&[u8])),
) -> (BTreeMap<(Verdict, Verdict), usize>, [usize; STRICTER.len()]) {
    apache_avro::util::max_allocation_bytes(ALLOCATION);
    let (mut verdicts, mut stricter) = (BTreeMap::<_, usize>::new(), [0; STRICTER.len()]);
    for Case { schema, decoder, values } in cases {
        let parsed = Schema::parse_str(schema).unwrap();
        let reader = GenericDatumReader::builder(&parsed).build().unwrap();
        for value in values {
            make(value, &mut |bytes| {
                let (theirs, (ours, said)) = (oracle(&reader, bytes), ours(decoder, bytes));
                if (theirs, ours) == (Verdict::Avro, Verdict::Malformed)
                    && let Some(which) = STRICTER.iter().position(|what| said.contains(what))
                {
                    stricter[which] += 1;
                    return;
                }
                *verdicts.entry((theirs, ours)).or_default() += 1;
                let alike = theirs == ours || theirs == Verdict::None || ours == Verdict::None;
                assert!(alike, "apache-avro: {theirs:?}, we: {ours:?} {said:?}: {bytes:?} by {schema}");
            });
        }
    }
    (verdicts, stricter)
}

#[test]
fn valid_bytes_are_avro_to_both() {
    let (verdicts, _) = compare(&cases(1_000), |value, see| see(value));
    assert_eq!(verdicts, BTreeMap::from([((Verdict::Avro, Verdict::Avro), 2_000)]));
}

#[test]
fn bytes_cut_short_anywhere_are_avro_to_neither() {
    let (verdicts, _) = compare(&cases(40), |value, see| {
        (1..value.len()).for_each(|length| see(&value[..length]));
    });
    // what is cut after a whole value of fewer bytes is one: there is none behind another
    let of = |verdict| verdicts.get(&verdict).copied().unwrap_or(0);
    assert_eq!(of((Verdict::Avro, Verdict::Avro)), 0, "{verdicts:?}");
    assert!(of((Verdict::Malformed, Verdict::Malformed)) > 10_000, "{verdicts:?}");
}

#[test]
fn mutated_bytes_get_the_same_verdict_of_both() {
    let mut random = Random(8);
    let (verdicts, stricter) = compare(&cases(400), |value, see| {
        for _ in 0..60 {
            let mut bytes = value.to_vec();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &mut random);
            }
            see(&bytes);
        }
    });
    let of = |verdict| verdicts.get(&verdict).copied().unwrap_or(0);
    assert!(of((Verdict::Avro, Verdict::Avro)) > 2_000, "{verdicts:?}");
    assert!(of((Verdict::Malformed, Verdict::Malformed)) > 10_000, "{verdicts:?}");
    let unjudged: usize = verdicts.iter().filter(|((a, b), _)| [a, b].contains(&&Verdict::None)).map(|(_, n)| n).sum();
    let all: usize = verdicts.values().sum();
    // the few that are not compared, or where we refuse alone, do not hide the rest
    assert!((unjudged + stricter.iter().sum::<usize>()) * 20 < all, "{verdicts:?} {stricter:?}");
}

#[test]
fn numbers_and_blocks_are_read_more_strictly() {
    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"time","type":"long"},
        {"name":"user","type":"string"},{"name":"privileges","type":{"type":"array","items":"string"}}]}"#;
    let beyond = [[0xff; 9].as_slice(), &[0x7f], &[2, b'a', 0]].concat();
    // a block that says it has 9 bytes and has 2
    let lying = vec![2, 2, b'a', 1, 18, 2, b'b', 0];
    let case = |value: &[u8]| Case {
        schema: SCHEMA.into(),
        decoder: decoder(Format::Avro { schema: Some(file(SCHEMA)) }),
        values: vec![value.to_vec()],
    };
    for (value, want) in [(beyond, [1, 0, 0]), (lying, [0, 1, 0])] {
        let (verdicts, stricter) = compare(&[case(&value)], |value, see| see(value));
        assert_eq!((verdicts.len(), stricter), (0, want), "{value:?}");
    }
}
