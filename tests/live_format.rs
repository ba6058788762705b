//! The verifier in Python, written from docs/format.md alone, against ours: the same verdict and the same reason code
//! for
//! the golden store, for every damage done to it, and for what only a holder of the key could make of it. It needs
//! Python
//! with the packages of tests/independent/requirements.txt: `make test-live` sets it up.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod python;

use authseal::{
    avro::put_bytes,
    note::{Signer, Verifiers},
    segment::{self, read},
};
use python::python;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const KEY: &str = include_str!("golden/seal.vkey");

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn segments(at: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { segments(&path, found) } else { found.push(path) }
    }
}

fn golden() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    segments(&tests().join("golden/format-1/chains"), &mut files);
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn verify(python: &str, store: &Path) -> (Option<i32>, Value) {
    let script = tests().join("independent/verify_store.py");
    let output = Command::new(python).arg(script).arg(store).arg(tests().join("golden/seal.vkey")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    (output.status.code(), json)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap().file_name());
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(&name));
        } else {
            fs::copy(path, to.join(&name)).unwrap();
        }
    }
}

fn codes(report: &Value) -> Vec<&str> {
    report["faults"].as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect()
}

#[test]
fn the_golden_store_is_read_without_us() {
    let Some(python) = python() else { return };
    let (code, report) = verify(&python, &tests().join("golden/format-1"));
    // gaps of these causes are what makes a store incomplete, and the golden store has every cause
    assert_eq!((code, codes(&report)), (Some(11), vec!["gap_lost", "gap_unexplained"]), "{report}");
    let count = |name: &str| report[name].as_i64().unwrap();
    assert_eq!((count("chains"), count("segments"), count("artifacts")), (6, 11, 3));
    let leaves = include_str!("golden/leaves.txt").lines().count();
    assert_eq!(count("records"), leaves as i64);
}

#[test]
fn damage_to_a_store_is_found_without_us() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let chain = |name: &str| folder.path().join("chains/main/auth.logons/00000/0000").join(name);
    let (first, second) = (chain("000000000001.avro"), chain("000000000002.avro"));
    let found = |change: &dyn Fn(), want: i32, names: &[&str]| {
        fs::remove_dir_all(folder.path()).unwrap();
        fs::create_dir(folder.path()).unwrap();
        copy(&tests().join("golden/format-1"), folder.path());
        change();
        let (code, report) = verify(&python, folder.path());
        assert_eq!(code, Some(want), "{report}");
        names.iter().for_each(|name| assert!(codes(&report).contains(name), "{name}: {report}"));
    };
    let spoil = |file: &str| {
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let artifact = "artifacts/510e0725893e5cdda5e8650f922fe6d84d66883aabc17fc4b9747a4f9fd9d082";
    found(&|| {}, 11, &["gap_lost"]);
    found(&|| fs::remove_file(&first).unwrap(), 11, &["missing_segment"]);
    found(&|| assert!(fs::copy(&second, &first).is_ok()), 10, &["segment_misplaced"]);
    found(&|| fs::remove_file(folder.path().join(artifact)).unwrap(), 11, &["artifact_missing"]);
    found(&|| spoil(artifact), 10, &["artifact_digest"]);
    found(&|| spoil("store.json"), 10, &["store_json_invalid"]);
    found(&|| fs::remove_file(folder.path().join("store.json")).unwrap(), 11, &["store_json_missing"]);
    found(&|| spoil("chains/main/ssh/00000/0000/000000000001.avro"), 10, &["body_digest"]);
    found(
        &|| fs::remove_dir_all(folder.path().join("chains/main/ssh/00000/0000")).unwrap(),
        11,
        &["incarnation_missing"],
    );
    let last = folder.path().join("chains/main/ssh/00000/0000/000000000001.avro");
    found(&|| fs::remove_file(&last).unwrap(), 10, &["incarnation_link"]);
    found(&|| fs::remove_dir_all(folder.path().join("chains/main/auth.logons/00001")).unwrap(), 11, &["chain_missing"]);
    found(&|| fs::write(folder.path().join("chains/x"), "").unwrap(), 10, &["unexpected_object"]);
    found(&|| fs::remove_dir_all(folder.path().join("chains")).unwrap(), 11, &["no_chains"]);
}

/// Damage that needs no key: bytes changed, cut off, left out, put in, at places all over each file.
fn damaged() -> Vec<Vec<u8>> {
    let mut objects = Vec::new();
    for (n, good) in golden().into_iter().enumerate() {
        for step in 0..60 {
            let at = (good.len() * step / 60 + 7 * n + step) % good.len();
            let mut bytes = good.clone();
            match step % 6 {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, 0),
                _ => bytes[at] ^= 1 << (step % 8),
            }
            objects.push(bytes);
        }
        objects.push(good);
    }
    objects
}

/// The object with another line signed in its note, by the right key.
fn signed(object: &[u8], signer: &Signer, line: &str) -> Vec<u8> {
    let old = read::records(object).unwrap().manifest_line().unwrap();
    let note = signer.sign(line).unwrap();
    let old_note = signer.sign(old).unwrap();
    let at = object.windows(old_note.len()).position(|w| w == old_note.as_bytes()).unwrap();
    let key = object.windows(17).position(|w| w == b"authseal.manifest").unwrap();
    let mut out = object[..key + 17].to_vec();
    put_bytes(&mut out, note.as_bytes());
    out.extend_from_slice(&object[at + old_note.len()..]);
    out
}

/// What only a holder of the key could make: other lines, signed.
fn forged() -> Vec<Vec<u8>> {
    let seed = std::array::from_fn(|n| n as u8);
    let signer = Signer::from_seed("example.com/golden/seal", seed).unwrap();
    assert_eq!(signer.verifier_key(), KEY.trim_end());
    let changes = [
        ("segment@1", "segment@2"),
        ("example.com/golden", "example.com/else"),
        ("example.com/golden", "example.com/a+b"),
        ("\"cluster\":\"main\"", "\"cluster\":\"..\""),
        ("\"partition\":0", "\"partition\":100000"),
        ("\"sequence\":0", "\"sequence\":-1"),
        ("\"sequence\":0", "\"sequence\":0.0"),
        ("\"sequence\":0", "\"sequence\":0e0"),
        ("\"sequence\":0", "\"sequence\":-0"),
        ("\"sequence\":0", "\"sequence\":00"),
        ("\"sequence\":0", "\"sequence\":true"),
        ("\"sequence\":0", "\"sequence\":18446744073709551616"),
        ("\"sequence\":0", "\"sequence\":1"),
        ("\"sequence\":0", "\"sequence\":0,\"sequence\":0"),
        ("\"previous\":null", "\"previous\":\"\""),
        ("\"reason\":\"new\"", "\"reason\":\"reset\""),
        ("\"reason\":\"new\"", "\"reason\":\"old\""),
        ("first seen", "first \\u0073een"),
        ("first seen", "first \\ud800"),
        ("first seen", "first \\u00E9"),
        ("first seen", "first \\u00e9 \\ud83d\\ude00 \\u007f"),
        ("first seen", "first é"),
        ("first seen", "\\/"),
        ("\"kind\":\"data\"", "\"kind\":\"close\""),
        ("\"kind\":\"data\"", "\"kind\":\"other\""),
        ("\"from\":0", "\"from\":-1"),
        ("\"from\":0", "\"from\":1"),
        ("\"records\":", "\"records\":1"),
        ("\"events\":1", "\"events\":2"),
        ("\"rejections\":1", "\"rejections\":0"),
        ("\"skipped\":0", "\"skipped\":1"),
        ("\"bytes\":", "\"bytes\":-"),
        ("\"bytes\":", "\"bytes\":1"),
        ("\"first_record\":", "\"first_record\":1"),
        ("\"first_event\":", "\"first_event\":null,\"x\":"),
        ("\"next_by\":", "\"next_by\":-"),
        ("\"partitions\":null", "\"partitions\":-1"),
        ("\"rules\":null", "\"rules\":\"AAAA\""),
        ("\"mode\":\"NONE\"", "\"mode\":\"GOVERNANCE\""),
        ("\"until\":null", "\"until\":0"),
        ("\"index\":null", "\"index\":null,\"more\":null"),
        (",\"index\":null", ""),
        ("\"version\":\"0.1.0\",\"instance\":\"golden\"", "\"instance\":\"golden\",\"version\":\"0.1.0\""),
        ("{\"format\"", "{ \"format\""),
        ("}\n", "}\n{}\n"),
        ("\"schema\":\"G", "\"schema\":\"H"),
        ("\"root\":\"", "\"root\":\"A"),
    ];
    let mut objects = Vec::new();
    for object in golden() {
        let line = read::records(&object).unwrap().manifest_line().unwrap().to_string();
        for (from, to) in changes {
            if line.contains(from) {
                objects.push(signed(&object, &signer, &line.replacen(from, to, 1)));
            }
        }
    }
    objects
}

#[test]
fn both_verifiers_give_the_same_reason_for_everything() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let objects = [damaged(), forged()].concat();
    for (n, bytes) in objects.iter().enumerate() {
        fs::write(folder.path().join(format!("{n:05}")), bytes).unwrap();
    }
    let program = "import pathlib, sys\n\
        sys.path.insert(0, sys.argv[1])\n\
        import verify_store as v\n\
        keys = v.read_keys(pathlib.Path(sys.argv[2]).read_text())\n\
        for file in sorted(pathlib.Path(sys.argv[3]).iterdir()):\n\
        \x20   try:\n\
        \x20       v.verify_segment(file.read_bytes(), keys)\n\
        \x20       print('good')\n\
        \x20   except v.Fault as fault:\n\
        \x20       print(fault.code)\n";
    let output = Command::new(python)
        .args(["-c", program])
        .args([tests().join("independent"), tests().join("golden/seal.vkey"), folder.path().into()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let keys = Verifiers::parse(KEY).unwrap();
    let ours = objects.iter().map(|bytes| segment::open(bytes, &keys).map_or_else(|fault| fault.code, |_| "good"));
    let both: Vec<_> = ours.zip(theirs.lines()).enumerate().collect();
    assert_eq!(both.len(), objects.len());
    for (n, (ours, theirs)) in &both {
        assert_eq!(ours, theirs, "object {n}");
    }
    let kinds: std::collections::BTreeSet<_> = both.iter().map(|(_, (ours, _))| *ours).collect();
    assert!(kinds.len() >= 13, "the damage is of many kinds: {}", json!(kinds.iter().collect::<Vec<_>>()));
}
