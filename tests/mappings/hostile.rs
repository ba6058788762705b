//! Records that somebody has tampered with: each gives an event, a rejection, or is known to be none; nothing panics.

use crate::{decode_at, decoder, shipped};
use authseal::{
    decode::{Decoder, codes, mapping::SHIPPED},
    record::Outcome,
};
use proptest::prelude::*;
use std::sync::LazyLock;

const SAMPLES: &[&str] = &[
    include_str!("../data/keycloak/events.ndjson"),
    include_str!("../data/keycloak/events.log"),
    include_str!("../data/keycloak/admin-events.ndjson"),
    include_str!("../data/keycloak/admin-events.log"),
    include_str!("../data/openssh/OpenSSH_2k.log"),
    include_str!("../data/entra/sign-ins.ndjson"),
    include_str!("../data/entra/audit.ndjson"),
    include_str!("../data/entra/graph.ndjson"),
    include_str!("../data/cloudtrail/events.ndjson"),
    include_str!("../data/ecs/events.ndjson"),
    include_str!("../data/ocsf/events.ndjson"),
    include_str!("../data/duo/authentication.ndjson"),
    include_str!("../data/duo/administrator.ndjson"),
    include_str!("../data/duo/activity.ndjson"),
    include_str!("../data/okta/events.ndjson"),
    include_str!("../data/auth0/events.ndjson"),
    include_str!("../data/google-workspace/events.ndjson"),
];
const CAME: i64 = 1_795_262_400_000;

/// Every shipped mapping, for JSON and for lines as far as it reads them.
static DECODERS: LazyLock<Vec<Decoder>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (name, _) in SHIPPED {
        let about = authseal::decode::mapping::check(&shipped(name)).unwrap();
        for (reads, text) in [(about.json, false), (about.text, true)] {
            if reads {
                all.push(decoder(shipped(name), text));
            }
        }
    }
    all
});

/// What is done to a line at a place.
#[derive(Debug, Clone)]
enum Harm {
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Replace(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let piece = prop_oneof![
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\n".to_vec()),
        Just(b", type=\"LOGIN\"".to_vec()),
        Just(b"from 10.0.0.1 port 1 ssh2".to_vec()),
        Just(b"null".to_vec()),
        Just(b"{\"a\":[".to_vec()),
        Just("\u{202e}\u{1f511}".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..6),
    ];
    let at = any::<usize>();
    prop_oneof![
        at.prop_map(Harm::Cut),
        (at, piece.clone()).prop_map(|(at, piece)| Harm::Insert(at, piece)),
        (at, 1..40_usize).prop_map(|(at, length)| Harm::Remove(at, length)),
        (at, piece).prop_map(|(at, piece)| Harm::Replace(at, piece)),
        (at, 1..40_usize).prop_map(|(at, length)| Harm::Repeat(at, length)),
    ]
}

fn apply(line: &mut Vec<u8>, harm: &Harm) {
    let place = |at: usize| at % (line.len() + 1);
    match harm {
        Harm::Cut(at) => line.truncate(place(*at)),
        Harm::Insert(at, piece) => {
            let at = place(*at);
            line.splice(at..at, piece.iter().copied());
        }
        Harm::Remove(at, length) => {
            let at = place(*at);
            line.drain(at..(at + length).min(line.len()));
        }
        Harm::Replace(at, piece) => {
            let at = place(*at);
            let end = (at + piece.len()).min(line.len());
            line.splice(at..end, piece.iter().copied());
        }
        Harm::Repeat(at, length) => {
            let at = place(*at);
            let piece = line[at..(at + length).min(line.len())].to_vec();
            line.splice(at..at, piece);
        }
    }
}

fn check(value: &[u8]) -> Result<(), TestCaseError> {
    for decoder in DECODERS.iter() {
        match decode_at(decoder, value, CAME).outcome {
            Outcome::Event(event) => {
                let named = [&event.user, &event.user_id, &event.actor, &event.session, &event.src_ip];
                let raw = ["user", "user_id", "actor", "session", "src_ip"];
                let noted = raw.iter().any(|f| event.quality.iter().any(|q| q.starts_with(&format!("{f}:"))));
                prop_assert!(named.iter().any(|field| field.is_some()) || noted);
                prop_assert!(event.time.0 > 0);
            }
            Outcome::Rejection(rejection) => {
                prop_assert!(codes::ALL.iter().any(|code| code.code == rejection.code));
                prop_assert_ne!(rejection.code, codes::INTERNAL, "a panic: {}", rejection.detail);
            }
            Outcome::Opaque => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn harmed_records_are_events_or_rejections(
        sample in 0..SAMPLES.len(),
        line in any::<prop::sample::Index>(),
        harms in prop::collection::vec(harm(), 1..5),
    ) {
        let lines: Vec<&str> = SAMPLES[sample].lines().collect();
        let mut value = line.get(&lines).as_bytes().to_vec();
        harms.iter().for_each(|harm| apply(&mut value, harm));
        check(&value)?;
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&value)?;
    }
}
