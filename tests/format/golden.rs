//! The golden store is never written again: what was sealed must open for ever. What is sealed today must be what is
//! stored
//! there. When events get a new field, this folder stays, and a second one is made beside it.

use super::{
    signer,
    store::{self, ORIGIN, Objects},
};
use authseal::{
    artifact,
    chain::{self, Head},
    digest::{Digest, hex},
    layout,
    manifest::*,
    note::Verifiers,
    position::ChainId,
    segment::{self, LeafKind, SealedRecord, read},
    store_info::StoreInfo,
};
use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1"))
}

fn walk(at: &Path, objects: &mut Objects) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, objects);
        } else {
            let key = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_string();
            objects.insert(key, fs::read(&path).unwrap());
        }
    }
}

/// The committed store, and the verifier key beside it.
fn stored() -> (Objects, Verifiers) {
    let mut objects = Objects::new();
    walk(folder(), &mut objects);
    let key = fs::read_to_string(folder().with_file_name("seal.vkey")).unwrap();
    (objects, Verifiers::parse(&key).unwrap())
}

/// Writes the store if there is none. Bytes that are there are never written again.
#[test]
fn the_store_is_there() {
    let make = std::env::var_os("AUTHSEAL_WRITE_GOLDEN").is_some();
    if make && !folder().exists() {
        for (key, bytes) in store::store() {
            let path = if key == "seal.vkey" { folder().with_file_name(&key) } else { folder().join(&key) };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::write(folder().with_file_name("leaves.txt"), leaves(&stored().0)).unwrap();
    }
    assert_eq!(stored().0.len(), 15, "store.json, three artifacts, eleven segments");
}

#[test]
fn the_stored_bytes_open_and_make_chains() {
    let (objects, keys) = stored();
    let info = StoreInfo::parse(std::str::from_utf8(&objects[layout::STORE_JSON]).unwrap()).unwrap();
    assert_eq!(info.origin, ORIGIN);
    let mut heads: BTreeMap<ChainId, Head> = BTreeMap::new();
    for (key, bytes) in &objects {
        if let Some(digest) = layout::parse_artifact_key(key) {
            assert_eq!(Digest::of(bytes), digest);
            assert!(!artifact::unbundle(bytes).unwrap().is_empty());
            continue;
        }
        // byte order of the keys is the order of the chain
        let Some((chain, sequence)) = layout::parse_segment_key(key) else { continue };
        let opened = segment::open(bytes, &keys).unwrap_or_else(|fault| panic!("{key}: {fault}"));
        let manifest = &opened.manifest;
        assert_eq!((sequence, &chain), (manifest.sequence, &manifest.chain));
        chain::follows(ORIGIN, &chain, heads.get(&chain), manifest).unwrap_or_else(|fault| panic!("{key}: {fault}"));
        for digest in [manifest.artifacts.rules, manifest.artifacts.decode].into_iter().flatten() {
            assert!(objects.contains_key(&layout::artifact_key(&digest)), "{key}");
        }
        let head = match heads.get(&chain) {
            None => Head::of_opened(&opened),
            Some(head) => head.advance(manifest, opened.hash),
        };
        heads.insert(chain, head);
    }
    assert_eq!(heads.len(), 6);
    let of = |id: &str| &heads[&id.parse::<ChainId>().unwrap()];
    assert!(of("main/auth.logons/0/0").closed);
    let reset = segment::open(&objects["chains/main/ssh/00000/0001/000000000000.avro"], &keys).unwrap().manifest;
    assert_eq!(reset.start.unwrap().previous, Some(of("main/ssh/0/0").hash));
}

/// All leaves of a store: key, offset, kind, leaf hash.
fn leaves(objects: &Objects) -> String {
    let mut out = String::new();
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(layout::CHAINS)) {
        for leaf in read::records(bytes).unwrap() {
            let leaf = leaf.unwrap();
            let hash = hex(&Digest::leaf(&leaf.bytes).0);
            writeln!(out, "{key} {} {:?} {hash}", leaf.offset(), leaf.kind()).unwrap();
        }
    }
    out
}

#[test]
fn the_stored_leaves_are_the_ones_that_were_sealed() {
    let pinned = fs::read_to_string(folder().with_file_name("leaves.txt")).unwrap();
    assert_eq!(leaves(&stored().0), pinned);
}

/// Compressors may write the same bytes otherwise one day. Leaves, and whatever is not compressed, may not.
#[test]
fn what_is_sealed_today_is_what_was_sealed_then() {
    let (stored, _) = stored();
    let mut made = store::store();
    made.remove("seal.vkey");
    assert_eq!(made.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    assert_eq!(leaves(&made), leaves(&stored));
    for (key, bytes) in &made {
        let compressed = key.starts_with("chains/main/auth.logons/");
        assert!(compressed || *bytes == stored[key], "{key}");
        if key.starts_with(layout::CHAINS) {
            let manifest = |bytes: &[u8]| {
                let line = read::records(bytes).unwrap().manifest_line().unwrap().to_string();
                let manifest = Manifest::parse(&line).unwrap();
                // the digest of what a compressor wrote, and the hash of the manifest that names it
                let body = if compressed { Body::of(b"") } else { manifest.body };
                let previous = manifest.previous.filter(|_| !compressed);
                Manifest { body, previous, ..manifest }
            };
            assert_eq!(manifest(bytes), manifest(&stored[key]), "{key}");
        }
    }
}

fn records(key: &str) -> Vec<SealedRecord> {
    let (objects, _) = stored();
    read::records(&objects[key]).unwrap().map(|leaf| leaf.unwrap().record().unwrap()).collect()
}

/// A few values, read from the stored bytes and written here by hand.
#[test]
fn the_stored_values_read_as_they_were() {
    let all = records("chains/main/auth.logons/00000/0000/000000000000.avro");
    let kinds: Vec<_> = all.iter().map(|record| (record.offset, record.kind)).collect();
    use LeafKind::{Event, Gap, Opaque, Rejection};
    let want =
        [(0, Gap), (1000, Event), (1001, Event), (1002, Event), (1003, Rejection), (1004, Rejection), (1005, Opaque)];
    assert_eq!(kinds, want);
    let event = all[1].event.as_ref().unwrap();
    assert_eq!((event.user.as_deref(), event.acr, event.lat), (Some("user ä"), Some(45_000), Some(19.25)));
    assert_eq!(event.attributes.get("raw.src_ip"), Some("1.2.3.4:443"));
    assert_eq!((all[2].timestamp, &all[2].headers[0].key[..]), (i64::MIN, &b"\xff\xfe"[..]));
    assert_eq!((all[2].event.as_ref().unwrap().time.0, all[2].value.as_deref()), (-1, Some(&b"\x00\xff\xc3\x28"[..])));
    let withheld = all[4].withheld.as_ref().unwrap();
    assert_eq!((withheld.code.as_str(), withheld.length, withheld.mac[31]), ("biometric", 19, 0xbf));
    assert_eq!((&all[4].value, all[4].key.as_deref()), (&None, Some(&b"mia"[..])));
    assert_eq!(all[5].rejection.as_ref().unwrap().detail, "ä \u{0}");
    assert_eq!(all[6].value, None);
    let all = records("chains/main/auth.logons/00000/0000/000000000002.avro");
    let causes: Vec<_> =
        all.iter().filter_map(|record| record.gap).map(|gap| (gap.to - gap.from, gap.cause.name())).collect();
    assert_eq!(causes, [(1, "not_delivered"), (2, "unexplained"), (3, "lost"), (4, "before_chain"), (5, "skipped")]);
    assert_eq!((&all[6].key, all[6].headers.len(), &all[6].value), (&None, 0, &None));
}

#[test]
fn the_key_is_the_one_that_everybody_knows() {
    let (_, keys) = stored();
    assert_eq!(keys.text(), Verifiers::of(&signer(ORIGIN)).text());
}
