//! Proofs before verifiers that are not ours: one in Python, written from docs/format.md alone, and Go's sumdb/note and
//! sumdb/tlog. The same verdict and the same reason code for the golden proofs, and for everything that can be done to
//! them. `make test-live` sets Python up.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

mod python;

use authseal::{
    digest::Digest,
    note::{Signer, Verifiers},
    proof::{self, Proof},
};
use bytes::Bytes;
use python::python;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PROOFS: [&str; 4] = ["event", "rejection", "gap", "hostile"];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn key(name: &str) -> String {
    fs::read_to_string(tests().join("golden").join(name)).unwrap().trim_end().to_owned()
}

fn keys() -> String {
    format!("{}\n{}\n", key("seal.vkey"), key("log-1/log.vkey"))
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(tests().join("golden/proof-1").join(name)).unwrap()
}

#[test]
fn golden_proofs_say_the_same_without_us() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys"), keys()).unwrap();
    let run = |name: &str, pending: &[&str]| {
        let script = tests().join("independent/check_proof.py");
        let file = tests().join("golden/proof-1").join(name);
        let mut command = Command::new(&python);
        let output = command.arg(script).arg(file).arg(folder.path().join("keys")).args(pending).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
        (output.status.code().unwrap(), json)
    };
    for name in PROOFS {
        let name = format!("{name}.tlog-proof");
        let ours = proof::check(&golden(&name), &Verifiers::parse(&keys()).unwrap()).unwrap().statement;
        let (code, theirs) = run(&name, &[]);
        assert_eq!(code, 0, "{theirs}");
        let log = ours.log.as_ref().unwrap();
        let event = ours.record.event.as_ref();
        assert_eq!(theirs["position"], ours.position().to_string());
        assert_eq!((&theirs["to"], &theirs["leaf"]), (&ours.to().into(), &ours.leaf.into()));
        assert_eq!((&theirs["index"], &theirs["size"]), (&log.index.into(), &log.checkpoint.size.into()));
        assert_eq!(theirs["user"].as_str(), event.and_then(|event| event.user.as_deref()));
        assert_eq!(theirs["manifest"], ours.manifest_hash.base64());
    }
    assert_eq!(run("event.pending-proof", &[]).0, 11);
    assert_eq!(run("event.pending-proof", &["--pending"]).0, 0);
}

/// Bytes changed, cut off, left out, put in, all over each file.
fn damaged() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for (n, name) in PROOFS.iter().enumerate() {
        let good = golden(&format!("{name}.tlog-proof"));
        // the last lines are the short part of the file, and most is decided there
        let tail = good.len() - 700;
        for step in 0..400 {
            let at = if step % 2 == 0 { tail + step * 7 % 700 } else { (step * good.len() / 400 + n) % good.len() };
            let mut bytes = good.clone();
            match step % 16 {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b'A'),
                _ => bytes[at] ^= 1 << (step % 7),
            }
            files.push(bytes);
        }
        files.push(good);
    }
    files.push(golden("event.pending-proof"));
    files
}

/// Proofs whose parts are each in perfect form, and do not belong together; and what holders of a key could sign.
fn forged() -> Vec<Vec<u8>> {
    let seed = || std::array::from_fn(|n| n as u8);
    let seal = Signer::from_seed("example.com/golden/seal", seed()).unwrap();
    let log = Signer::from_seed("example.com/golden", seed()).unwrap();
    assert_eq!((seal.verifier_key(), log.verifier_key()), (key("seal.vkey"), key("log-1/log.vkey")));
    let proofs: Vec<Proof> =
        PROOFS.iter().map(|name| Proof::parse(&golden(&format!("{name}.tlog-proof"))).unwrap()).collect();
    let mut files = Vec::new();
    for one in &proofs {
        let edit = |edit: &dyn Fn(&mut Proof)| {
            let mut proof = one.clone();
            edit(&mut proof);
            proof.encode().unwrap().into_bytes()
        };
        for other in &proofs {
            files.push(edit(&|p| p.part.record = other.part.record.clone()));
            files.push(edit(&|p| p.part.path = other.part.path.clone()));
            files.push(edit(&|p| p.part.manifest = other.part.manifest.clone()));
            files.push(edit(&|p| p.outer = other.outer.clone()));
        }
        let line =
            String::from_utf8(one.part.manifest.to_vec()).unwrap().split_inclusive('\n').next().unwrap().to_owned();
        let text = one.outer.as_ref().unwrap().checkpoint.rsplit_once("\n\n").unwrap().0.to_owned() + "\n";
        for (from, to) in [("\"records\":", "\"records\":1"), ("golden\"", "else\""), ("\"index\":null", "\"index\":0")]
        {
            let note = Bytes::from(seal.sign(&line.replace(from, to)).unwrap());
            files.push(edit(&|p| p.part.manifest = note.clone()));
        }
        for (from, to) in [("\n17\n", "\n16\n"), ("\n17\n", "\n017\n"), ("golden\n", "else\n"), ("\n17\n", "\n\n17\n")]
        {
            let note = log.sign(&text.replace(from, to)).unwrap();
            files.push(edit(&|p| p.outer.as_mut().unwrap().checkpoint = note.clone()));
        }
        let twice = format!("{}{}", log.sign(&text).unwrap(), log.sign(&text).unwrap().rsplit_once("\n\n").unwrap().1);
        files.push(edit(&|p| p.outer.as_mut().unwrap().checkpoint = twice.clone()));
        let other = Signer::from_seed("example.com/golden", [9; 32]).unwrap().sign(&text).unwrap();
        files.push(edit(&|p| p.outer.as_mut().unwrap().checkpoint = other.clone()));
        let sealed = seal.sign(&text).unwrap();
        files.push(edit(&|p| p.outer.as_mut().unwrap().checkpoint = sealed.clone()));
        files.push(edit(&|p| p.part.schema = Bytes::from_static(b"{}")));
        files.push(edit(&|p| p.part.record = [&p.part.record[..], b"\0"].concat().into()));
        files.push(edit(&|p| p.part.leaf += 1));
        files.push(edit(&|p| p.part.leaf = u64::MAX));
        files.push(edit(&|p| p.part.path.push(Digest::of(b"x"))));
        files.push(edit(&|p| p.outer.as_mut().unwrap().index = u64::MAX));
        files.push(edit(&|p| p.outer.as_mut().unwrap().path.truncate(2)));
    }
    files
}

#[test]
fn both_verifiers_give_the_same_reason_for_everything() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = [damaged(), forged()].concat();
    for (n, bytes) in files.iter().enumerate() {
        fs::write(folder.path().join(format!("{n:05}")), bytes).unwrap();
    }
    let keys_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys_file.path(), keys()).unwrap();
    let program = "import pathlib, sys\n\
        sys.path.insert(0, sys.argv[1])\n\
        import check_proof as c\n\
        keys = c.read_keys(pathlib.Path(sys.argv[2]).read_text())\n\
        for file in sorted(pathlib.Path(sys.argv[3]).iterdir()):\n\
        \x20   try:\n\
        \x20       print(c.check(file.read_bytes(), keys)['verdict'])\n\
        \x20   except c.Fault as fault:\n\
        \x20       print(fault.code)\n";
    let mut command = Command::new(python);
    command.args(["-c", program]).arg(tests().join("independent")).arg(keys_file.path()).arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let keys = Verifiers::parse(&keys()).unwrap();
    let ours = files.iter().map(|bytes| match proof::check(bytes, &keys) {
        Ok(proven) if proven.statement.log.is_none() => "pending",
        Ok(_) => "proven",
        Err(fault) => fault.code,
    });
    let both: Vec<_> = ours.zip(theirs.lines()).enumerate().collect();
    assert_eq!(both.len(), files.len());
    for (n, (ours, theirs)) in &both {
        assert_eq!(ours, theirs, "file {n}: {}", String::from_utf8_lossy(&files[*n]));
    }
    let kinds: BTreeSet<_> = both.iter().map(|(_, (ours, _))| *ours).collect();
    assert!(kinds.len() >= 13, "the damage is of many kinds: {kinds:?}");
}

fn golog(file: &Path, seal: &str, log: &str) -> Output {
    let mut command = Command::new("go");
    command.args(["run", ".", "proof"]).arg(file).args([seal, log]);
    command.current_dir(tests().join("independent/golog")).env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local");
    command.output().unwrap()
}

#[test]
fn go_checks_the_golden_proofs() {
    if !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "go is not installed, and where CI is set it must be");
        eprintln!("go is not installed: proofs are not checked with it");
        return;
    }
    let (seal, log) = (key("seal.vkey"), key("log-1/log.vkey"));
    for name in PROOFS {
        let path = tests().join("golden/proof-1").join(name).with_extension("tlog-proof");
        let ours = proof::check(&fs::read(&path).unwrap(), &Verifiers::parse(&keys()).unwrap()).unwrap().statement;
        let ran = golog(&path, &seal, &log);
        let in_log = ours.log.unwrap();
        let want =
            format!("{} {} {} {}", in_log.index, in_log.checkpoint.size, ours.leaf, ours.manifest.counts.records);
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), want, "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(!golog(&path, &log, &log).status.success(), "the log's key seals nothing");
    }
    // and it is no rubber stamp
    let folder = tempfile::tempdir().unwrap();
    let good = String::from_utf8(golden("event.tlog-proof")).unwrap();
    for (n, (from, to)) in [("index 1\n", "index 2\n"), ("\n17\n", "\n18\n"), ("zcrFy4", "zcrFy5")].iter().enumerate() {
        let path = folder.path().join(n.to_string());
        fs::write(&path, good.replace(from, to)).unwrap();
        assert!(!golog(&path, &seal, &log).status.success(), "{to}");
    }
}
