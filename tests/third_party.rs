//! What authseal writes, read by crates that it shares no code with: `signed_note` and `tlog_tiles` of Cloudflare's CT
//! log, over the golden log, its tiles, and the golden proofs. And theirs read by us.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use authseal::{
    digest::Digest,
    merkle,
    note::{Signer, Verifiers},
    tlog::{Batch, Checkpoint, tiles},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use signed_note::{Note, StandardSigner, StandardVerifier, Verifier, VerifierList};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tlog_tiles::{Hash, HashReader, Tile, TileHashReader, TileReader};

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name)
}

fn vkey(name: &str) -> String {
    fs::read_to_string(golden(name)).unwrap().trim_end().to_owned()
}

/// The text of a note that their verifier accepts by this key.
fn open(bytes: &[u8], vkey: &str) -> String {
    let verifier: Box<dyn Verifier> = Box::new(StandardVerifier::new(vkey).unwrap());
    let note = Note::from_bytes(bytes).unwrap();
    let (verified, unknown) = note.verify(&VerifierList::new(vec![verifier])).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    String::from_utf8(note.text().to_vec()).unwrap()
}

fn batches() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(golden("log-1/log/batches")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), open(&fs::read(path).unwrap(), &vkey("log-1/log.vkey")))).collect()
}

fn entries() -> Vec<String> {
    let lines = |text: &String| text.split_inclusive('\n').skip(1).map(str::to_owned).collect::<Vec<_>>();
    batches().iter().flat_map(|(_, text)| lines(text)).collect()
}

/// Hashes of a whole tree, in their order.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn stored(entries: &[String]) -> Stored {
    let mut stored = Stored(Vec::new());
    for (n, entry) in entries.iter().enumerate() {
        let more = tlog_tiles::stored_hashes(n as u64, entry.as_bytes(), &stored).unwrap();
        stored.0.extend(more);
    }
    stored
}

/// The tiles of the golden log, as files.
struct Tiles;

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // c2sp.org/tlog-tiles leaves out the height that their paths have
        let path = |tile: &Tile| golden("log-1/log/tile").join(tile.path().strip_prefix("tile/8/").unwrap());
        Ok(tiles.iter().map(|tile| fs::read(path(tile)).unwrap()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn checkpoint() -> tlog_tiles::Checkpoint {
    let note = fs::read(golden("log-1/log/checkpoint")).unwrap();
    tlog_tiles::Checkpoint::from_bytes(open(&note, &vkey("log-1/log.vkey")).as_bytes()).unwrap()
}

#[test]
fn batches_are_notes_to_them_and_give_the_roots_that_they_say() {
    let mut before = Vec::new();
    for (name, text) in batches() {
        let (first, rest) = text.split_once('\n').unwrap();
        let header: serde_json::Value = serde_json::from_str(first).unwrap();
        before.extend(rest.split_inclusive('\n').map(str::to_owned));
        let root = tlog_tiles::tree_hash(before.len() as u64, &stored(&before)).unwrap();
        assert_eq!(header["root"], STANDARD.encode(root.0), "{name}");
        assert_eq!(header["size"], before.len(), "{name}");
    }
    assert_eq!(before.len(), 17);
}

#[test]
fn the_checkpoint_and_its_tiles_prove_every_entry_to_them() {
    let checkpoint = checkpoint();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/golden", 17));
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let reader = TileHashReader::new(size, root, &Tiles);
    for (n, entry) in entries().iter().enumerate() {
        let hash = tlog_tiles::record_hash(entry.as_bytes());
        let proof = tlog_tiles::prove_record(size, n as u64, &reader).unwrap();
        tlog_tiles::check_record(&proof, size, root, n as u64, hash).unwrap();
        let old = n as u64 + 1;
        let was = tlog_tiles::tree_hash(old, &stored(&entries()[..=n])).unwrap();
        let consistent = tlog_tiles::prove_tree(size, old, &reader).unwrap();
        tlog_tiles::check_tree(&consistent, size, root, old, was).unwrap();
    }
    // the bundle holds the same entries
    let bundle = fs::read(golden("log-1/log/tile/entries/000.p/17")).unwrap();
    let bundled: Vec<String> =
        tiles::unbundle(&bundle.into()).unwrap().iter().map(|e| String::from_utf8(e.to_vec()).unwrap()).collect();
    assert_eq!(bundled, entries());
}

#[test]
fn golden_proofs_hold_by_their_code() {
    for name in ["event", "rejection", "gap", "hostile"] {
        let file = fs::read_to_string(golden("proof-1").join(name).with_extension("tlog-proof")).unwrap();
        let (head, note) = file.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        let extra = STANDARD.decode(lines.next().unwrap().strip_prefix("extra ").unwrap()).unwrap();
        let index: u64 = lines.next().unwrap().strip_prefix("index ").unwrap().parse().unwrap();
        let hashes: Vec<Hash> = lines.map(|line| Hash::parse_hash(line).unwrap()).collect();
        let text = open(note.as_bytes(), &vkey("log-1/log.vkey"));
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();

        // the part: one line, then what it gives the lengths of
        let end = extra.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let line: serde_json::Value = serde_json::from_slice(&extra[..end]).unwrap();
        let length = |field: &str| line[field].as_u64().unwrap() as usize;
        let (manifest, rest) = extra[end..].split_at(length("manifest"));
        let (_, record) = rest.split_at(length("schema"));
        assert_eq!(record.len(), length("record"), "{name}");
        let manifest = open(manifest, &vkey("seal.vkey"));
        let entry = tlog_tiles::record_hash(manifest.as_bytes());
        tlog_tiles::check_record(&hashes, checkpoint.size(), *checkpoint.hash(), index, entry).unwrap();
        // it is that entry and no other
        let other = (index + 1) % checkpoint.size();
        assert!(tlog_tiles::check_record(&hashes, checkpoint.size(), *checkpoint.hash(), other, entry).is_err());

        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let root = Hash::parse_hash(manifest["root"].as_str().unwrap()).unwrap();
        let path = line["path"].as_array().unwrap().iter().map(|h| Hash::parse_hash(h.as_str().unwrap()).unwrap());
        let (leaves, leaf) = (manifest["counts"]["records"].as_u64().unwrap(), line["leaf"].as_u64().unwrap());
        let hash = tlog_tiles::record_hash(record);
        tlog_tiles::check_record(&path.collect(), leaves, root, leaf, hash).unwrap();
    }
}

#[test]
fn keys_and_notes_go_both_ways() {
    let signer = Signer::from_seed("example.com/log", [3; 32]).unwrap();
    let theirs = StandardSigner::new(&signer.secret_text()).unwrap();
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 0, root: merkle::empty_root() };
    let mut note = Note::new(checkpoint.text().as_bytes(), &[]).unwrap();
    note.add_sigs(&[&theirs]).unwrap();
    assert_eq!(String::from_utf8(note.to_bytes()).unwrap(), checkpoint.sign(&signer).unwrap());
    let keys = Verifiers::of(&signer);
    assert_eq!(Checkpoint::open(&note.to_bytes(), &keys, "example.com/log"), Ok(checkpoint.clone()));
    assert_eq!(open(checkpoint.sign(&signer).unwrap().as_bytes(), &signer.verifier_key()), checkpoint.text());
    // and what they refuse, we refuse
    let changed = checkpoint.sign(&signer).unwrap().replace("\n0\n", "\n1\n");
    let verifier: Box<dyn Verifier> = Box::new(StandardVerifier::new(&signer.verifier_key()).unwrap());
    assert!(Note::from_bytes(changed.as_bytes()).unwrap().verify(&VerifierList::new(vec![verifier])).is_err());
    assert!(Checkpoint::open(changed.as_bytes(), &keys, "example.com/log").is_err());
    let batch = fs::read(golden("log-1/log/batches/000000000000")).unwrap();
    assert!(Batch::open(&batch, &keys, "example.com/golden").is_err());
}

/// Every way in which a proof can be wrong that the published vectors of transparency-dev/merkle have, and the proof.
fn variants(proof: &[Digest], other: Digest) -> Vec<Vec<Digest>> {
    let mut all = vec![proof.to_vec(), Vec::new(), [proof, &[other]].concat(), [&[other], proof].concat()];
    for at in 0..proof.len() {
        let mut changed = proof.to_vec();
        changed[at].0[at % 32] ^= 8;
        all.extend([changed, proof[at + 1..].to_vec(), proof[..at].to_vec()]);
        let mut turned = proof.to_vec();
        turned.rotate_left(at);
        all.push(turned);
    }
    all
}

#[test]
fn both_accept_and_refuse_the_same_proofs_of_all_trees_up_to_33_leaves() {
    let theirs = |hashes: &[Digest]| hashes.iter().map(|hash| Hash(hash.0)).collect::<Vec<_>>();
    let leaves: Vec<Digest> = (0..33_u8).map(|n| Digest::leaf(&[n])).collect();
    let (mut good, mut bad) = (0, 0);
    let mut compare = |ours: bool, theirs: bool, what: &str| {
        assert_eq!(ours, theirs, "{what}");
        if ours { good += 1 } else { bad += 1 }
    };
    for size in 1..=leaves.len() as u64 {
        let tree = &leaves[..size as usize];
        let root = merkle::root(tree);
        for index in 0..size {
            let (leaf, proof) = (tree[index as usize], merkle::inclusion_proof(tree, index as usize).unwrap());
            for variant in variants(&proof, root) {
                for (index, size) in
                    [(index, size), (index ^ 1, size), (index, size + 1), (size, size), (index / 2, size)]
                {
                    let ours = merkle::verify_inclusion(index, size, leaf, &variant, &root);
                    let check = tlog_tiles::check_record(&theirs(&variant), size, Hash(root.0), index, Hash(leaf.0));
                    compare(ours, check.is_ok(), &format!("leaf {index} of {size}"));
                }
            }
        }
        for old in 1..=size {
            let (was, proof) =
                (merkle::root(&leaves[..old as usize]), merkle::consistency_proof(tree, old as usize).unwrap());
            for variant in variants(&proof, root) {
                for (old, size, was) in
                    [(old, size, was), (old, size, root), (old + 1, size, was), (old, size + 1, was)]
                {
                    let ours = merkle::verify_consistency(old, size, &was, &root, &variant);
                    let check = tlog_tiles::check_tree(&theirs(&variant), size, Hash(root.0), old, Hash(was.0));
                    compare(ours, check.is_ok(), &format!("{old} of {size}"));
                }
            }
        }
    }
    assert!(good > 1000 && bad > 50_000, "{good} {bad}");
}
