//! The import of Sigma rules, on a corpus of rules in the shapes that people write: what is made of each, what is
//! refused and why. Each file says in comments what it expects.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot read its data has failed

use authseal::{
    artifact::File,
    detect::{Mode, RuleSet, Status, testing},
    event::Field,
    sigma::{Entry, Level, Mapping, Options, Verdict, import},
};
use proptest::prelude::*;
use std::{
    path::Path,
    process::{Command, Stdio},
};

fn corpus() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigma");
    let mut files: Vec<File> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| File {
            path: path.file_name().unwrap().to_str().unwrap().into(),
            bytes: std::fs::read(path).unwrap(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn options() -> Options {
    Options { tenant: Some(Field::tenant), ..Options::default() }
}

fn run(files: &[File], options: &Options) -> Vec<Entry> {
    import(files, &Mapping::load(&[]).unwrap(), options)
}

/// The values of `# key: value` comments.
fn expected<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": ")).collect()
}

/// What a file of the corpus does not do as it says.
fn faults(file: &File) -> Vec<String> {
    let text = std::str::from_utf8(&file.bytes).unwrap();
    let attributes = expected(text, "options").contains(&"attributes");
    let entries = run(std::slice::from_ref(file), &Options { attributes, ..options() });
    let report: String = entries.iter().map(Entry::text).collect();
    let made: String = entries
        .iter()
        .flat_map(|entry| &entry.files)
        .filter(|file| !file.path.ends_with(".test.rhai"))
        .map(|file| String::from_utf8(file.bytes.clone()).unwrap())
        .collect();
    let mut faults = Vec::new();
    let verdicts = entries.iter().map(|entry| entry.verdict.name()).collect::<Vec<_>>().join(", ");
    if expected(text, "verdict") != [verdicts.as_str()] {
        faults.push(format!("the verdicts are: {verdicts}"));
    }
    for wanted in expected(text, "when") {
        if !made.contains(wanted) {
            faults.push(format!("no rule says {wanted}"));
        }
    }
    for wanted in expected(text, "file") {
        if !entries.iter().flat_map(|entry| &entry.files).any(|file| file.path.contains(wanted)) {
            faults.push(format!("no file {wanted}"));
        }
    }
    for level in [Level::Refused, Level::Differs, Level::Note] {
        let told: Vec<&str> = entries
            .iter()
            .flat_map(|entry| &entry.notes)
            .filter(|note| note.level == level)
            .map(|note| note.message.as_str())
            .collect();
        for wanted in expected(text, level.name()) {
            if !told.iter().any(|message| message.contains(wanted)) {
                faults.push(format!("no {} that {wanted}", level.name()));
            }
        }
        // what is refused or different must be expected: surprises are what this is about
        let surprise = |message: &&&str| !expected(text, level.name()).iter().any(|wanted| message.contains(wanted));
        if level == Level::Refused || (level == Level::Differs && !expected(text, "differs").is_empty()) {
            faults.extend(told.iter().filter(surprise).map(|message| format!("unexpected: {message}")));
        }
    }
    if !faults.is_empty() {
        faults.push(format!("{report}\n{made}"));
    }
    faults
}

#[test]
fn each_rule_of_the_corpus_becomes_what_it_says() {
    let faults: Vec<String> = corpus()
        .iter()
        .flat_map(|file| faults(file).into_iter().map(|fault| format!("{}: {fault}", file.path)).collect::<Vec<_>>())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// All rules of the corpus in one folder: they load together, and their tests pass.
#[test]
fn what_is_made_loads_and_its_tests_pass() {
    // rules that are used in several files have the same names in each: import file by file
    let mut files: Vec<File> = Vec::new();
    let (mut rules, mut correlations) = (0, 0);
    for file in corpus() {
        let taken = files.iter().filter_map(|file| file.path.strip_suffix(".rhai").map(str::to_owned)).collect();
        let attributes = file.path == "attributes.yml";
        let made = run(std::slice::from_ref(&file), &Options { attributes, taken, ..options() });
        for entry in &made {
            assert_eq!(entry.rule.is_some(), !entry.files.is_empty(), "{entry:?}");
            assert_eq!(entry.rule.is_some(), matches!(entry.verdict, Verdict::Translated | Verdict::Partly));
        }
        rules += made.iter().filter(|entry| entry.rule.is_some()).count();
        files.extend(made.into_iter().flat_map(|entry| entry.files));
    }
    let loaded = RuleSet::load(&files).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(loaded.rules().len(), rules);
    for rule in loaded.rules() {
        assert!(rule.mode == Mode::Shadow && rule.status == Status::Experimental, "{rule:?}");
        let file = files.iter().find(|file| file.path == rule.path).unwrap();
        correlations += usize::from(String::from_utf8_lossy(&file.bytes).contains("window:"));
        assert!(!rule.description.is_empty() && !rule.description.contains("Sigma id"), "{rule:?}");
    }
    assert!(rules >= 30 && correlations >= 8, "{rules} rules, {correlations} correlations");
    let reports = testing::run(&files);
    assert!(reports.iter().all(testing::TestReport::passed), "{reports:#?}");
    // every rule has a test in which it fires and one in which it stays quiet
    for rule in loaded.rules() {
        assert!(reports.iter().any(|report| report.firing.contains(&rule.id)), "{}", rule.id);
        assert!(reports.iter().any(|report| report.quiet.contains(&rule.id)), "{}", rule.id);
    }
}

#[test]
fn the_corpus_is_as_large_as_it_should_be() {
    let corpus = corpus();
    let count = |word: &str| {
        let has = |file: &&File| String::from_utf8_lossy(&file.bytes).contains(word);
        corpus.iter().filter(has).count()
    };
    assert!(corpus.len() >= 45 && count("\ncorrelation:") >= 12 && count("\n# refused:") >= 8);
    for product in ["okta", "azure", "aws", "windows", "linux"] {
        assert!(count(&format!("product: {product}")) >= 2, "{product}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is done to a file, it is translated or refused: nothing panics, and what is made loads.
    #[test]
    fn mutated_files_never_panic(
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..6), 1..6),
    ) {
        let corpus = corpus();
        let mut bytes = pick.get(&corpus).bytes.clone();
        let donor = &other.get(&corpus).bytes;
        for (place, byte, kind) in changes {
            if bytes.is_empty() { break; }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"*?\\|:-[]{}'\"%&!\n #"[usize::from(byte) % 18]),
                3 => bytes.truncate(at),
                // a line of another rule
                4 => {
                    let lines: Vec<&[u8]> = donor.split(|b| *b == b'\n').collect();
                    let line = [lines[usize::from(byte) % lines.len()], b"\n"].concat();
                    let start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
                    bytes.splice(start..start, line);
                }
                // a line less
                _ => {
                    let start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
                    let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |p| at + p + 1);
                    bytes.drain(start..end);
                }
            }
        }
        let entries = run(&[File { path: "mutated.yml".into(), bytes }], &options());
        prop_assert!(!entries.is_empty());
        for entry in entries {
            let _ = (entry.text(), entry.json());
            if entry.verdict == Verdict::Not {
                prop_assert!(entry.notes.iter().any(|note| note.level == Level::Refused));
            } else if entry.rule.is_some() {
                prop_assert!(RuleSet::load(&entry.files).is_ok());
            }
        }
    }
}

/// Exit code, stdout, stderr of `authseal rules import …`.
fn command(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authseal"));
    // settings of whoever runs the tests must not leak in
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AUTHSEAL_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(dir).arg("rules").args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn guide() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sigma.md")).unwrap()
}

/// The first block of code of this language.
fn block<'a>(guide: &'a str, language: &str) -> &'a str {
    guide.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_session_in_the_guide_is_real() {
    let (guide, dir) = (guide(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("spray.yml"), block(&guide, "yaml")).unwrap();
    let mut session = String::new();
    for args in [&["import", "spray.yml"][..], &["test", "rules"]] {
        let (code, out, err) = command(dir.path(), args);
        assert_eq!((code, err.as_str()), (0, ""));
        session += &format!("$ authseal rules {}\n{out}", args.join(" "));
    }
    assert_eq!(block(&guide, "console"), session);
    let rule = std::fs::read_to_string(dir.path().join("rules/many_accounts_tried_from_one_address.rhai")).unwrap();
    assert_eq!(block(&guide, "rhai"), rule);
    // the mapping in the guide can be read
    std::fs::write(dir.path().join("own.toml"), block(&guide, "toml")).unwrap();
    let (code, out, _) = command(dir.path(), &["import", "--show-mapping", "--mapping", "own.toml"]);
    assert!(code == 0 && out.starts_with("### okta: okta\n\nOkta in Europe. Events have `source` okta-eu."), "{out}");
}

#[test]
fn the_tables_in_the_guide_are_those_of_the_program() {
    let guide = guide();
    let (_, rest) = guide.split_once("<!-- tables: authseal rules import --show-mapping -->\n").unwrap();
    let (tables, _) = rest.split_once("<!-- end of tables -->").unwrap();
    let (code, out, _) = command(Path::new("."), &["import", "--show-mapping"]);
    assert_eq!(code, 0);
    assert_eq!(
        tables.trim(),
        out.trim(),
        "paste the output of `authseal rules import --show-mapping` into docs/sigma.md"
    );
}

#[test]
fn files_that_are_there_are_kept_and_rules_must_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigma/okta_push_denied.yml");
    let yaml = std::fs::read_to_string(source).unwrap();
    std::fs::write(dir.path().join("a.yml"), &yaml).unwrap();
    let (code, out, _) = command(dir.path(), &["import", "a.yml", "--dry-run"]);
    assert!(code == 0 && out.contains("1 translated; 2 files would be written to rules"), "{out}");
    assert!(!dir.path().join("rules").exists());
    assert_eq!(command(dir.path(), &["import", "a.yml"]).0, 0);
    let rule = dir.path().join("rules/a_push_was_denied_by_its_owner.rhai");
    std::fs::write(&rule, std::fs::read_to_string(&rule).unwrap() + "// mine\n").unwrap();
    let (code, out, err) = command(dir.path(), &["import", "a.yml"]);
    assert!(code == 2 && out.is_empty() && err.contains("is there already: --force replaces it"), "{err}");
    assert!(std::fs::read_to_string(&rule).unwrap().ends_with("// mine\n"));
    assert_eq!(command(dir.path(), &["import", "a.yml", "--force"]).0, 0);
    assert!(!std::fs::read_to_string(&rule).unwrap().ends_with("// mine\n"));
    // the same id under another name
    std::fs::write(dir.path().join("b.yml"), yaml.replace("title: A push", "title: The push")).unwrap();
    let (code, _, err) = command(dir.path(), &["import", "b.yml"]);
    assert!(code == 2 && err.contains("is taken by") && err.contains("nothing was written"), "{err}");
    let (code, out, _) = command(dir.path(), &["import", "b.yml", "--id", "PUSH-2", "--tenant-field", "none"]);
    assert!(code == 0 && out.contains("as PUSH-2"), "{out}");
    assert_eq!(command(dir.path(), &["test"]).0, 0, "what was imported passes together");
}

#[test]
fn what_cannot_be_done_is_told_with_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("bomb.yml", "a: &a [x, x]\nb: &b [*a, *a]\n");
    write("deep.yml", &"[".repeat(10_000));
    write("bad.toml", "[[logsource]]\nabout = \"x\"\nproduct = \"x\"\n[logsource.fields]\nx = \"usr\"\n");
    let (code, out, _) = command(dir.path(), &["import", "bomb.yml", "deep.yml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"], &report["not_translated"]), (2, &false.into(), &2.into()));
    let note = &report["documents"][0]["notes"][0];
    assert_eq!((&note["level"], &note["line"], &note["column"]), (&"refused".into(), &1.into(), &4.into()));
    for (args, wanted) in [
        (&["import", "nowhere.yml"][..], "reading nowhere.yml"),
        (&["import", "bomb.yml", "--mapping", "bad.toml"], "`x` is mapped to `usr`, which events do not have"),
        (&["import", "bomb.yml", "--tenant-field", "tenent"], "events have no field `tenent`"),
        (&["import"], "required"),
    ] {
        let (code, out, err) = command(dir.path(), args);
        assert!(code == 2 && out.is_empty() && err.contains(wanted), "{args:?}: {err}");
    }
}
