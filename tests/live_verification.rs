//! What docs/verification.md tells an auditor to type gives what it says, over the golden store and a golden proof. It
//! needs a shell and openssl; where CI is set, their absence is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should stop

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const GUIDE: &str = include_str!("../docs/verification.md");

/// Commands and the lines that must follow each.
fn session() -> Vec<(String, Vec<String>)> {
    let (mut session, mut inside) = (Vec::<(String, Vec<String>)>::new(), false);
    for line in GUIDE.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), session.last_mut()) {
                (Some(command), _) => session.push((command.into(), Vec::new())),
                (None, Some((_, lines))) => lines.push(line.into()),
                (None, None) => panic!("output before any command: {line}"),
            },
            (false, _) => {}
        }
    }
    session
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn what_the_guide_tells_to_type_gives_what_it_says() {
    let has = |program: &str| Command::new(program).arg("version").output().is_ok_and(|output| output.status.success());
    if !has("openssl") {
        assert!(std::env::var_os("CI").is_none(), "openssl is not installed, and where CI is set it must be");
        eprintln!("openssl is not installed: docs/verification.md is not tried");
        return;
    }
    let golden = |name: &str| -> PathBuf { Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name) };
    let folder = tempfile::tempdir().unwrap();
    copy(&golden("format-1"), &folder.path().join("store"));
    copy(&golden("log-1/log"), &folder.path().join("store/log"));
    for name in ["seal.vkey", "log-1/log.vkey", "proof-1/event.tlog-proof"] {
        fs::copy(golden(name), folder.path().join(Path::new(name).file_name().unwrap())).unwrap();
    }
    let session = session();
    assert!(session.len() > 30, "the guide has its commands");
    let mut script = String::from("set -euo pipefail\n");
    for (command, _) in &session {
        script.push_str(&format!("{command}\necho '@@'\n"));
    }
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(&folder).env("LC_ALL", "C.UTF-8").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut said = out.split("@@\n");
    for (command, want) in &session {
        let found: Vec<&str> = said.next().unwrap_or_default().lines().collect();
        assert_eq!(found, *want, "$ {command}\n{err}");
    }
    assert!(output.status.success(), "{err}");
}
