//! The rules of the house, held by a test: who may import whom, how long files and functions may be, what may not be
//! written at all. It reads the sources as text, so that it needs nothing but the repository.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules by layer, lowest first: a lower one never imports a higher one. A module that is not listed here fails the
/// test: put it where it belongs.
const LAYERS: [(&str, &[&str]); 5] = [
    ("vocabulary", &["digest", "error", "event", "health", "position", "record", "retention", "telemetry", "topics"]),
    (
        "core",
        &[
            "artifact",
            "avro",
            "batch",
            "canonical",
            "chain",
            "decode",
            "detect",
            "fault",
            "keyfile",
            "layout",
            "manifest",
            "merkle",
            "note",
            "proof",
            "segment",
            "sigma",
            "store_info",
            "tlog",
        ],
    ),
    ("edges", &["publish", "registry", "remote", "signing", "source", "store"]),
    ("workflows", &["audit", "backtest", "ingest", "log"]),
    ("surfaces", &["cli", "config", "demo", "main", "web"]),
];

/// Pairs that never import each other although they share a layer.
const STRANGERS: [(&str, &str); 12] = [
    ("log", "audit"),
    ("audit", "log"),
    ("log", "ingest"),
    ("ingest", "log"),
    ("log", "backtest"),
    ("backtest", "log"),
    ("audit", "ingest"),
    ("ingest", "audit"),
    ("audit", "backtest"),
    ("backtest", "audit"),
    ("backtest", "ingest"),
    ("ingest", "backtest"),
];
/// Workflows are written against contracts: surfaces choose among these.
const CONCRETE: [&str; 7] =
    ["source::kafka", "publish::kafka", "registry::http", "store::s3", "store::dir", "store::memory", "store::open"];
/// What the core must not touch: it is given time, bytes and randomness.
const IMPURE: [&str; 13] = [
    "async fn",
    "tokio::",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "getrandom",
];
/// Foreign code is called in this module and nowhere else.
const UNSAFE: &str = "src/source/kafka/ffi";

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 90;
const LINE_CHARS: usize = 120;

fn root() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into()))
}

/// A source file and what it is without comments, strings and tests.
struct Source {
    /// Path below the root, with slashes.
    path: String,
    text: String,
    /// The text with comments and literals blanked out: same lines, same columns.
    code: String,
    /// The code with test modules blanked out as well; empty for files that are tests.
    shipped: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let shown = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(path).unwrap();
        let code = blank_literals(&text);
        let is_test = !shown.starts_with("src/") || shown.contains("/tests/") || shown.ends_with("/tests.rs");
        let shipped = if is_test { String::new() } else { blank_test_modules(&code) };
        Self { path: shown, text, code, shipped }
    }

    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

/// All files below a folder that `wanted` wants, in order; what git ignores is passed over.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if name.starts_with(".git") || name == "target" || name.starts_with("authseal-demo") {
            continue;
        }
        if path.is_dir() {
            files(&path, wanted, out);
        } else if wanted(&path) {
            out.push(path);
        }
    }
}

/// The Rust files of the crate: sources, tests, benches, examples.
fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        files(&root.join(folder), &|path| path.extension().is_some_and(|e| e == "rs"), &mut paths);
    }
    assert!(paths.len() > 10, "the sources are not where they should be");
    paths.iter().map(|path| Source::read(&root, path)).collect()
}

/// Blanks comments, strings and characters, keeping the length and the newlines.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if let Some(end) = end {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
            at = end;
        } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' {
            // whole words, so that the r of `for"` does not begin a raw string
            while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                at += 1;
            }
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment or literal that begins here ends; `None` if none begins.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|w| w == needle)
            .map_or(bytes.len(), |p| at + from + p + needle.len())
    };
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |p| at + p));
    }
    if rest.starts_with(b"/*") {
        return Some(find(b"*/", 2)); // rustfmt leaves nested ones alone, and nobody writes them here
    }
    let prefix = rest.iter().take_while(|b| matches!(b, b'b' | b'r' | b'c')).count().min(2);
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest[..prefix].contains(&b'r') && rest.get(prefix + hashes) == Some(&b'"') {
        let close = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
        return Some(find(&close, prefix + hashes + 1));
    }
    let quote = *rest.get(prefix)?;
    if quote == b'"' || (quote == b'\'' && prefix < 2) {
        let is_char = || match rest.get(prefix + 1) {
            Some(b'\\') => true,
            // a lifetime has no closing quote within the width of a character
            Some(_) => rest[prefix + 2..].iter().take(4).any(|b| *b == b'\''),
            None => false,
        };
        if quote == b'\'' && !is_char() {
            return None;
        }
        let mut end = prefix + 1;
        while end < rest.len() && rest[end] != quote {
            end += 1 + usize::from(rest[end] == b'\\');
        }
        return Some((at + end + 1).min(bytes.len()));
    }
    None
}

/// Blanks `#[cfg(test)] mod … { … }` and other items behind `#[cfg(test)]`.
fn blank_test_modules(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = out[start..].find(['{', ';']).map_or(out.len(), |open| {
            let open = start + open;
            if out.as_bytes()[open] == b';' { open + 1 } else { block_end(&out, open) }
        });
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank.clone());
    }
    out
}

/// Behind the brace that closes the one at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Every path below `crate::` that the code names: `use crate::{a::b, c}` names `a::b` and `c`.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let from = at + "crate::".len();
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_word {
            expand(code, from, "", &mut paths);
        }
    }
    paths
}

/// Reads one path or group that begins at `at`; returns where it ends.
fn expand(code: &str, mut at: usize, prefix: &str, paths: &mut Vec<(usize, String)>) -> usize {
    let bytes = code.as_bytes();
    let space = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    at = space(at);
    if bytes.get(at) == Some(&b'{') {
        at += 1;
        while bytes.get(space(at)).is_some_and(|b| *b != b'}') {
            at = space(expand(code, at, prefix, paths));
            at += usize::from(bytes.get(at) == Some(&b','));
        }
        return space(at) + 1;
    }
    let start = at;
    while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'*' | b'#')) {
        at += 1;
    }
    let path = format!("{prefix}{}", &code[start..at]);
    if code[at..].starts_with("::") {
        return expand(code, at + 2, &format!("{path}::"), paths);
    }
    paths.push((start, path));
    if code[space(at)..].starts_with("as ") {
        at = code[at..].find([',', '}', ';']).map_or(code.len(), |p| at + p);
    }
    at.max(start + 1)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

fn check(what: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
}

#[test]
fn lower_layers_never_import_higher_ones() {
    let mut faults = Vec::new();
    let mut imports = 0;
    for source in sources().iter().filter(|s| !s.shipped.is_empty() && s.path != "src/lib.rs") {
        let module = source.module();
        let Some(own) = layer(module) else {
            faults.push(format!("{}: module {module} is in no layer: add it to the table of this test", source.path));
            continue;
        };
        for (at, path) in crate_paths(&source.shipped) {
            let target = path.split("::").next().unwrap_or_default();
            let Some(other) = layer(target) else { continue }; // an item of lib.rs, or a macro
            imports += 1;
            let place = format!("{}:{}", source.path, source.line_of(at));
            let (from, to) = (LAYERS[own].0, LAYERS[other].0);
            if other > own {
                faults.push(format!("{place}: {module} ({from}) imports {target} ({to})"));
            }
            if STRANGERS.contains(&(module, target)) {
                faults.push(format!("{place}: {module} and {target} do not know each other"));
            }
            let concrete = CONCRETE.iter().find(|c| path == **c || path.starts_with(&format!("{c}::")));
            if let (Some(concrete), "workflows") = (concrete, from) {
                faults.push(format!("{place}: {module} names {concrete}: workflows know contracts only"));
            }
        }
    }
    check("layers", faults);
    assert!(imports > 50, "only {imports} imports found: the test does not see the code");
}

#[test]
fn the_core_is_given_time_bytes_and_randomness() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| layer(s.module()) == Some(1)) {
        for word in IMPURE {
            for (at, _) in source.shipped.match_indices(word) {
                faults.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
            }
        }
    }
    check("the pure core does none of this", faults);
}

#[test]
fn files_and_functions_and_lines_are_short() {
    let mut faults = Vec::new();
    for source in &sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            faults.push(format!("{}: {lines} lines, {FILE_LINES} allowed", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            let chars = line.chars().count();
            // a row of a table in documentation cannot be broken
            let row = line.trim_start().trim_start_matches(['/', '!']).starts_with(" |");
            if chars > LINE_CHARS && !row {
                faults.push(format!("{}:{}: {chars} columns, {LINE_CHARS} allowed", source.path, number + 1));
            }
        }
        for (at, _) in source.code.match_indices("fn ") {
            let word = source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let named = source.code[at + 3..].starts_with(|c: char| c.is_alphabetic() || c == '_');
            let Some(open) = source.code[at..].find(['{', ';']).filter(|_| named && !word) else { continue };
            if source.code.as_bytes()[at + open] == b';' {
                continue;
            }
            let long = source.code[at..block_end(&source.code, at + open)].matches('\n').count() + 1;
            if long > FUNCTION_LINES {
                let line = source.line_of(at);
                faults.push(format!("{}:{line}: a function of {long} lines, {FUNCTION_LINES} allowed", source.path));
            }
        }
    }
    check("too long", faults);
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = |s: &&Source| !s.text.starts_with("//! ");
    check("no //! at the head", sources().iter().filter(silent).map(|s| s.path.clone()).collect());
}

#[test]
fn nothing_is_left_undone_and_nothing_panics_on_purpose() {
    // written in two parts, or this file would find itself
    let anywhere =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore"), concat!("db", "g!(")];
    let shipped = [concat!(".unw", "rap()"), concat!(".exp", "ect("), concat!(".unwrap_", "err()")];
    let mut faults = Vec::new();
    for source in &sources() {
        let mut find = |code: &str, word: &str| {
            for (at, _) in code.match_indices(word) {
                faults.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
            }
        };
        anywhere.iter().for_each(|word| find(&source.code, word));
        shipped.iter().for_each(|word| find(&source.shipped, word));
        let foreign = source.path == format!("{UNSAFE}.rs") || source.path.starts_with(&format!("{UNSAFE}/"));
        if source.path.starts_with("src/") && !foreign {
            let stand_alone = |at: usize| !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            for (at, _) in source.code.match_indices("unsafe ").filter(|(at, _)| stand_alone(*at)) {
                faults.push(format!("{}:{}: unsafe outside {UNSAFE}", source.path, source.line_of(at)));
            }
        }
    }
    check("not in this house", faults);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let machines = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let extensions =
        ["rs", "toml", "md", "sh", "yml", "yaml", "py", "rhai", "avsc", "json", "txt", "properties", "xml"];
    let names = ["Makefile", "Dockerfile", "LICENSE", "run"];
    let wanted = |path: &Path| {
        path.extension().is_some_and(|e| extensions.iter().any(|known| *known == e))
            || path.file_name().is_some_and(|n| names.iter().any(|known| *known == n))
    };
    let (root, mut paths, mut faults) = (root(), Vec::new(), Vec::new());
    files(&root, &wanted, &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if let Some(machine) = machines.iter().find(|machine| line.contains(**machine)) {
                faults.push(format!("{}:{}: {machine}", path.strip_prefix(&root).unwrap().display(), number + 1));
            }
        }
    }
    check("paths of a machine", faults);
}

#[test]
fn metrics_are_documented_and_alerts_name_real_ones() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (guide, alerts) = (read("docs/operations.md"), read("deploy/alerts.yml"));
    let known: Vec<&str> = authseal::telemetry::METRICS.iter().map(|(_, name, _)| *name).collect();
    let silent = known.iter().filter(|name| !guide.contains(&format!("`{name}`")));
    check("metrics that docs/operations.md does not name", silent.map(|name| (*name).to_owned()).collect());
    let mut used = 0;
    for (path, text) in [("docs/operations.md", &guide), ("deploy/alerts.yml", &alerts)] {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let base =
                ["_bucket", "_sum", "_count"].iter().fold(word, |word, end| word.strip_suffix(end).unwrap_or(word));
            if word.starts_with("authseal_") {
                used += 1;
                assert!(known.contains(&base) || known.contains(&word), "{path} names {word}, which is no metric");
            }
        }
    }
    assert!(used > known.len());
    for line in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(guide.contains(&format!("| {line} |")), "docs/operations.md does not say what to do about {line}");
    }
}

/// Names of the metrics that the code sets, by the text behind `counter!(` and the like; constants of `telemetry` are
/// looked up in its table.
fn metrics_set(sources: &[Source]) -> Vec<(String, String)> {
    let table = &sources.iter().find(|s| s.path == "src/telemetry.rs").unwrap().text;
    let mut names = Vec::new();
    for source in sources.iter().filter(|s| !s.shipped.is_empty()) {
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in source.shipped.match_indices(macro_name) {
                if source.shipped[..at].ends_with("describe_") {
                    continue;
                }
                let place = format!("{}:{}", source.path, source.line_of(at));
                let name = source.text[at + macro_name.len()..].trim_start();
                let name = match name.strip_prefix('"') {
                    Some(literal) => literal.split('"').next().unwrap().to_owned(),
                    None => {
                        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap();
                        let constant = name[..end].rsplit("::").next().unwrap();
                        let (_, rest) = table.split_once(&format!(" {constant} = \"")).expect(&place);
                        rest.split('"').next().unwrap().to_owned()
                    }
                };
                names.push((place, name));
            }
        }
    }
    names
}

#[test]
fn metrics_that_are_set_are_described_and_the_other_way_round() {
    let set = metrics_set(&sources());
    let known: Vec<&str> = authseal::telemetry::METRICS.iter().map(|(_, name, _)| *name).collect();
    let stray = set.iter().filter(|(_, name)| !known.contains(&name.as_str()));
    check("set but not in telemetry", stray.map(|(place, name)| format!("{place}: {name}")).collect());
    let dead = known.iter().filter(|known| !set.iter().any(|(_, name)| name == **known));
    check("in telemetry but never set", dead.map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let text = "use crate::{a::{self, b}, c as d, e::*};\n\
                let x = crate::f::g('{', \"crate::no }\", r#\"crate::no\"#);\n\
                // crate::no\n\
                fn k<'a>(s: &'a str) -> crate::h::I<'a> { s }\n\
                #[cfg(test)]\nmod tests { use crate::t; }\n";
    let code = blank_literals(text);
    assert_eq!(code.len(), text.len());
    let found = |code: &str| crate_paths(code).into_iter().map(|(_, path)| path).collect::<Vec<_>>();
    assert_eq!(found(&code), ["a::self", "a::b", "c", "e::*", "f::g", "h::I", "t"]);
    assert_eq!(found(&blank_test_modules(&code)), ["a::self", "a::b", "c", "e::*", "f::g", "h::I"]);
}
