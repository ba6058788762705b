//! Arbitrary damage: none of it opens, none of it panics.

use super::{
    frame::Container,
    strategies::*,
    tamper::{Forgery, keys, opens},
    *,
};
use crate::avro::{put_bytes, put_long};
use proptest::prelude::*;

/// Damage of one kind.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    prop_oneof![
        4 => (any::<Index>(), 1..=255_u8).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => (any::<Index>(), 1..9_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<Index>(), 1..40_usize).prop_map(|(from, to, n)| Damage::Copy(from, to, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let length = bytes.len();
    match damage {
        _ if length == 0 => {}
        Damage::Flip(at, mask) => bytes[at.index(length)] ^= mask,
        Damage::Insert(at, new) => drop(bytes.splice(at.index(length)..at.index(length), new.clone())),
        Damage::Remove(at, n) => drop(bytes.drain(at.index(length)..length.min(at.index(length) + n))),
        Damage::Cut(at) => bytes.truncate(at.index(length)),
        Damage::Copy(from, to, n) => {
            let piece = bytes[from.index(length)..length.min(from.index(length) + n)].to_vec();
            let to = to.index(length);
            let end = length.min(to + piece.len());
            bytes[to..end].copy_from_slice(&piece[..end - to]);
        }
    }
}

proptest! {
    #[test]
    fn damaged_objects_never_open_and_never_panic(
        codec in codec(), items in items(), damages in prop::collection::vec(damage(), 1..4), in_body: bool,
    ) {
        let good = sealed(build(0, codec, &items).0).bytes;
        let start = if in_body { good.len() - Container::parse(&good).unwrap().body.len() } else { 0 };
        let mut bytes = good[start..].to_vec();
        damages.iter().for_each(|d| apply(&mut bytes, d));
        let bytes = [&good[..start], &bytes].concat();
        prop_assume!(bytes != good);
        prop_assert!(opens(&bytes).is_err());
        prop_assert!(!diagnose(&bytes, &keys(), None).faults.is_empty());
        if let Ok(leaves) = read::records(&bytes) {
            leaves.for_each(|leaf| drop(leaf.map(|l| l.record())));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let with_magic = [b"Obj\x01\x06\x14avro.codec\x08null", &bytes[..]].concat();
        for bytes in [&bytes, &with_magic] {
            prop_assert!(opens(bytes).is_err());
            diagnose(bytes, &keys(), None);
        }
    }

    #[test]
    fn any_leaves_are_checked_without_a_panic(leaves: Vec<u8>, count in 1..4_i64) {
        let mut body = Vec::new();
        put_long(&mut body, count);
        put_bytes(&mut body, &leaves);
        let mut forgery = Forgery::new();
        body.extend_from_slice(&forgery.marker());
        forgery.manifest.body = Body::of(&body);
        forgery.body = Some(body);
        let file = forgery.file();
        prop_assert!(opens(&file).is_err());
        prop_assert!(!diagnose(&file, &keys(), None).faults.is_empty());
    }
}
