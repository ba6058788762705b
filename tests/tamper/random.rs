//! Harm by the thousand: every bit, and whatever chance does.

use super::*;
use authseal::{
    avro::put_bytes,
    note::Verifiers,
    segment::{self, Codec},
};
use proptest::prelude::*;
use std::sync::Arc;

/// Every bit of a whole segment, one after the other: whatever is flipped, it does not pass.
#[test]
fn every_bit_of_a_segment_matters() {
    let mut sealer = Sealer::new(A, Codec::Null);
    let good = sealer.seal(Part::Records(1)).bytes.to_vec();
    let keys = Verifiers::of(&sealer.signer);
    assert!(segment::open(&good, &keys).is_ok());
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (good, keys) = (&good, &keys);
            scope.spawn(move || {
                let mut bytes = good.clone();
                for bit in (part..bytes.len() * 8).step_by(2) {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    assert!(segment::open(&bytes, keys).is_err(), "bit {bit} can be flipped unseen");
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    });
}

/// The same through the whole audit, at many places, in every object that is signed or named by a digest.
#[tokio::test]
async fn flipped_bits_never_pass_the_audit() {
    let store = memory(&STORE).await;
    let keys = Verifiers::of(&signer(ORIGIN, 1));
    for (key, bytes) in STORE.iter().filter(|(key, _)| *key != "store.json") {
        for n in 0..40 {
            let at = n * (bytes.len() - 1) / 39;
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << (n % 8);
            let store = store.fork();
            store.replace(key, bad);
            let report = verify(Arc::new(store), &keys).await;
            assert_eq!(report.exit_code(), 10, "byte {at} of {key}\n{report}");
            let named = |f: &Finding| f.place.key.as_deref() == Some(key.as_str());
            assert!(report.findings.iter().any(named), "byte {at} of {key}\n{report}");
        }
    }
}

/// What else can be done to bytes.
#[derive(Debug, Clone)]
enum Harm {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

impl Harm {
    fn to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(at, value) => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Remove(from, to) => {
                let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
                bytes.drain(a.min(b)..=a.max(b));
            }
            Self::Insert(at, what) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, what.iter().copied());
            }
            Self::Copy(from, to, length) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                let end = (to + piece.len()).min(bytes.len());
                bytes.splice(to..end, piece);
            }
        }
    }
}

fn harm() -> impl Strategy<Value = Harm> {
    use prop::sample::Index;
    prop_oneof![
        any::<(Index, u8)>().prop_map(|(at, value)| Harm::Set(at, value)),
        any::<Index>().prop_map(Harm::Cut),
        any::<(Index, Index)>().prop_map(|(from, to)| Harm::Remove(from, to)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, what)| Harm::Insert(at, what)),
        (any::<Index>(), any::<Index>(), 1..200_usize).prop_map(|(from, to, n)| Harm::Copy(from, to, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any harm to any object: it passes only if it left the bytes as they were, and the report names the object.
    #[test]
    fn harm_never_passes(which: prop::sample::Index, harms in prop::collection::vec(harm(), 1..4)) {
        let objects: Vec<_> = STORE.iter().filter(|(key, _)| *key != "store.json").collect();
        let (key, good) = objects[which.index(objects.len())];
        let mut bad = good.to_vec();
        for harm in &harms {
            if !bad.is_empty() {
                harm.to(&mut bad);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(async {
            let store = memory(&STORE).await;
            store.replace(key, bad.clone());
            verify(Arc::new(store), &Verifiers::of(&signer(ORIGIN, 1))).await
        });
        let expected = if bad == good[..] { 0 } else { 10 };
        prop_assert_eq!(report.exit_code(), expected, "{}\n{}", key, report);
    }

    /// Any bytes at all where a segment, store.json or an artifact should be: an answer, and never a pass.
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, framed: bool) {
        let mut object = bytes.clone();
        if framed {
            // past the magic, so that the header's parser meets the rest
            object = b"Obj\x01\x06".to_vec();
            for name in ["avro.codec", "avro.schema", "authseal.manifest"] {
                put_bytes(&mut object, name.as_bytes());
                put_bytes(&mut object, &bytes);
            }
            object.extend_from_slice(&bytes);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(async {
            let store = memory(&STORE).await;
            for key in [key(A, 0), key(L, 1), "store.json".into()] {
                store.replace(&key, object.clone());
            }
            verify(Arc::new(store), &Verifiers::of(&signer(ORIGIN, 1))).await
        });
        prop_assert_eq!(report.exit_code(), 10, "{}", report);
        prop_assert_eq!(report.finding_counts.integrity, 3, "{}", report);
    }
}
