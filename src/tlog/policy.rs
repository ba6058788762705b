//! A policy says which logs and witnesses are believed, and which of the witnesses together are enough
//! (c2sp.org/tlog-policy):
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name> …
//! quorum <name>|none
//! ```
//!
//! Names are bytes; a name is defined before it is used, and is a member once at most, so that each witness counts
//! once.

use super::cosign::{Cosigner, cosignatures};
use crate::{
    error::{Error, Result},
    fault::Fault,
    note::Verifiers,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A file is at most this long.
pub const MAX_BYTES: usize = 1 << 20;
/// Logs, witnesses and groups, of each kind.
pub const MAX_ENTRIES: usize = 1024;

/// A witness that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it. It means nothing outside of the file.
    pub name: String,
    /// Its key.
    pub key: Cosigner,
    /// The prefix behind which it answers `add-checkpoint`; without one it cannot be asked.
    pub url: Option<String>,
}

/// What a quorum or a member of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// A policy that was read.
#[derive(Debug, Clone)]
pub struct Policy {
    logs: Verifiers,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: `quorum none`.
    quorum: Option<Member>,
}

/// What is wrong with a policy file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// In words.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A word of a line, and where it begins.
#[derive(Clone, Copy)]
struct Word<'a> {
    line: usize,
    column: usize,
    bytes: &'a [u8],
}

impl Word<'_> {
    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Problem> {
        Err(Problem { line: self.line, column: self.column, message: message.into() })
    }

    /// For people. A name may be any bytes.
    fn shown(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    fn utf8(&self, what: &str) -> Result<&str, Problem> {
        std::str::from_utf8(self.bytes).or_else(|_| self.wrong(format!("{what} must be UTF-8")))
    }
}

/// A file as it is being read.
#[derive(Default)]
struct Reading<'a> {
    log_keys: String,
    log_publics: BTreeSet<Vec<u8>>,
    logs: usize,
    witnesses: Vec<Witness>,
    publics: BTreeSet<[u8; 32]>,
    groups: Vec<Group>,
    names: BTreeMap<&'a [u8], Member>,
    used: BTreeSet<&'a [u8]>,
    quorum: Option<(usize, Option<Member>)>,
}

impl Policy {
    /// Reads a file. All that is wrong stops at the first problem: what follows may be its consequence.
    pub fn parse(file: &[u8]) -> Result<Self, Problem> {
        let at = |line, column, message: &str| Problem { line, column, message: message.into() };
        if file.len() > MAX_BYTES {
            return Err(at(1, 1, "the file is longer than 1 MiB"));
        }
        let mut reading = Reading::default();
        let mut lines = 0;
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            lines = index + 1;
            if let Some(column) = line.iter().position(|c| matches!(c, 0..=8 | 10..=31 | 127)) {
                let message = match line.get(column) {
                    Some(b'\r') => "a carriage return is not allowed: end lines with a newline alone",
                    _ => "a control character is not allowed",
                };
                return Err(at(lines, column + 1, message));
            }
            if let Some((first, rest)) = words(lines, line).split_first()
                && !first.bytes.starts_with(b"#")
            {
                reading.line(*first, rest)?;
            }
        }
        if !file.is_empty() && !file.ends_with(b"\n") {
            return Err(at(lines, 1, "the last line does not end in a newline: the file may have been cut off"));
        }
        let Some((_, quorum)) = reading.quorum else {
            return Err(at(lines.max(1), 1, "there is no quorum line: write `quorum NAME`, or `quorum none`"));
        };
        let logs = Verifiers::parse(&reading.log_keys).map_err(|error| at(1, 1, &error.to_string()))?;
        Ok(Self { logs, witnesses: reading.witnesses, groups: reading.groups, quorum })
    }

    /// Reads a file called `name`; the error names place and file.
    pub fn read(name: impl fmt::Display, file: &[u8]) -> Result<Self> {
        Self::parse(file).map_err(|problem| Error::config(format!("{name}:{problem}")))
    }

    /// The logs that are believed; none: the policy leaves it open.
    pub fn logs(&self) -> &Verifiers {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether it asks for any witness at all (`quorum none` does not).
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether these witnesses, by their place in [`Policy::witnesses`], are enough.
    pub fn is_met(&self, by: &BTreeSet<usize>) -> bool {
        // a group names what is defined before it, so that one pass decides them all
        let mut met: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let count = group.members.iter().filter(|member| holds(**member, by, &met)).count();
            met.push(count >= group.threshold);
        }
        self.quorum.is_none_or(|quorum| holds(quorum, by, &met))
    }

    /// The witnesses that could be enough to answer: those that are asked, for they have a URL.
    pub fn asked(&self) -> BTreeSet<usize> {
        (0..self.witnesses.len()).filter(|at| self.witnesses.get(*at).is_some_and(|w| w.url.is_some())).collect()
    }

    /// The cosignatures of its witnesses on a checkpoint's note; a bad one refuses the note.
    pub fn cosignatures(&self, note: &[u8]) -> Result<Vec<(usize, super::cosign::Cosignature)>, Fault> {
        cosignatures(note, self.witnesses.iter().map(|witness| &witness.key))
    }
}

fn holds(member: Member, by: &BTreeSet<usize>, groups: &[bool]) -> bool {
    match member {
        Member::Witness(at) => by.contains(&at),
        Member::Group(at) => groups.get(at).copied().unwrap_or(false),
    }
}

/// The words of a line, which only spaces and tabs part.
fn words(line: usize, bytes: &[u8]) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut column = 1;
    for part in bytes.split(|c| matches!(c, b' ' | b'\t')) {
        if !part.is_empty() {
            words.push(Word { line, column, bytes: part });
        }
        column += part.len() + 1;
    }
    words
}

impl<'a> Reading<'a> {
    fn line(&mut self, first: Word<'a>, rest: &[Word<'a>]) -> Result<(), Problem> {
        match (first.bytes, rest) {
            (b"log", [key]) => self.log(*key, None),
            (b"log", [key, url]) => self.log(*key, Some(*url)),
            (b"log", _) => first.wrong("write `log VKEY`, and a URL behind it if there is one"),
            (b"witness", [name, key]) => self.witness(*name, *key, None),
            (b"witness", [name, key, url]) => self.witness(*name, *key, Some(*url)),
            (b"witness", _) => first.wrong("write `witness NAME VKEY`, and a URL behind it if there is one"),
            (b"group", [name, threshold, members @ ..]) if !members.is_empty() => {
                self.group(*name, *threshold, members)
            }
            (b"group", _) => first.wrong("write `group NAME all|any|NUMBER MEMBER …`, with at least one member"),
            (b"quorum", [name]) => self.quorum(first, *name),
            (b"quorum", _) => first.wrong("write `quorum NAME` or `quorum none`"),
            _ => first.wrong(format!("{:?} begins no line: log, witness, group and quorum do", first.shown())),
        }
    }

    fn log(&mut self, key: Word<'a>, url: Option<Word<'a>>) -> Result<(), Problem> {
        let text = key.utf8("a key")?;
        if let Err(error) = Verifiers::parse(text) {
            return key.wrong(error.to_string());
        }
        if text.starts_with('#') {
            return key.wrong("this is no key");
        }
        url.map_or(Ok(()), |url| is_url(url).map(drop))?;
        // the same key under another name is a duplicate too
        let public = text.splitn(3, '+').nth(2).unwrap_or_default().as_bytes().to_vec();
        if !self.log_publics.insert(public) {
            return key.wrong("this key was given already");
        }
        self.logs += 1;
        if self.logs > MAX_ENTRIES {
            return key.wrong("too many logs");
        }
        self.log_keys.push_str(text);
        self.log_keys.push('\n');
        Ok(())
    }

    fn witness(&mut self, name: Word<'a>, key: Word<'a>, url: Option<Word<'a>>) -> Result<(), Problem> {
        let cosigner = Cosigner::parse(key.utf8("a key")?).or_else(|error| key.wrong(error.to_string()))?;
        if !self.publics.insert(*cosigner.public()) {
            return key.wrong("another witness has this key: it would count twice");
        }
        let url = url.map(is_url).transpose()?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.shown(), key: cosigner, url });
        match self.witnesses.len() > MAX_ENTRIES {
            true => name.wrong("too many witnesses"),
            false => Ok(()),
        }
    }

    fn group(&mut self, name: Word<'a>, threshold: Word<'a>, members: &[Word<'a>]) -> Result<(), Problem> {
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            if member.bytes == b"none" {
                return member.wrong("none is no member: it stands behind quorum alone");
            }
            found.push(self.named(*member)?);
            if !self.used.insert(member.bytes) {
                let message = format!("{:?} is a member already: it would count twice", member.shown());
                return member.wrong(message);
            }
        }
        let count = found.len();
        let threshold = match threshold.bytes {
            b"any" => 1,
            b"all" => count,
            number => match decimal(number).filter(|k| (1..=count).contains(k)) {
                Some(k) => k,
                None => {
                    let message = format!("{:?} is neither all, any nor a number from 1 to {count}", threshold.shown());
                    return threshold.wrong(message);
                }
            },
        };
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members: found });
        match self.groups.len() > MAX_ENTRIES {
            true => name.wrong("too many groups"),
            false => Ok(()),
        }
    }

    fn quorum(&mut self, first: Word<'a>, name: Word<'a>) -> Result<(), Problem> {
        if let Some((line, _)) = self.quorum {
            return first.wrong(format!("the quorum was defined in line {line} already"));
        }
        let quorum = if name.bytes == b"none" { None } else { Some(self.named(name)?) };
        self.quorum = Some((first.line, quorum));
        Ok(())
    }

    fn named(&self, name: Word<'a>) -> Result<Member, Problem> {
        match self.names.get(name.bytes) {
            Some(member) => Ok(*member),
            None => name.wrong(format!("no line before this one defines {:?}", name.shown())),
        }
    }

    fn define(&mut self, name: Word<'a>, member: Member) -> Result<(), Problem> {
        if name.bytes == b"none" {
            return name.wrong("none means no quorum: choose another name");
        }
        match self.names.insert(name.bytes, member) {
            None => Ok(()),
            Some(_) => name.wrong(format!("{:?} was defined already", name.shown())),
        }
    }
}

/// Whoever asks witnesses speaks HTTP.
fn is_url(word: Word<'_>) -> Result<String, Problem> {
    let text = word.utf8("a URL")?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !host.contains('@') => Ok(text.trim_end_matches('/').to_owned()),
        _ => word.wrong(format!("{text:?} is no URL: it begins with https:// or http:// and a host, without a user")),
    }
}

/// Without sign and leading zeros.
fn decimal(bytes: &[u8]) -> Option<usize> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) && !bytes.starts_with(b"0");
    digits.then(|| std::str::from_utf8(bytes).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{super::cosign::testing::witness, *};
    use crate::note::Signer;
    use proptest::prelude::*;

    fn key(n: u8) -> String {
        witness(&format!("w/{n}"), n).text()
    }

    fn log() -> String {
        Signer::from_seed("example.com/log", [99; 32]).unwrap().verifier_key()
    }

    /// The example of c2sp.org/tlog-policy: two of the X, one of the Y, and both groups.
    fn example() -> String {
        let mut text = format!("# comment\n\n  log {}\t\n", log());
        for n in 1..=3 {
            text += &format!("witness X{n} {} https://x{n}.example/prefix/\n", key(n));
        }
        text += "\t# another\ngroup X-witnesses 2 X1 X2 X3\n";
        for n in 4..=6 {
            text += &format!("witness Y{} {}\n", n - 3, key(n));
        }
        text + "group Y-witnesses any Y1 Y2 Y3\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_judged() {
        let policy = Policy::parse(example().as_bytes()).unwrap();
        assert_eq!((policy.witnesses().len(), policy.logs().iter().len()), (6, 1));
        assert_eq!(policy.witnesses()[0].url.as_deref(), Some("https://x1.example/prefix"));
        assert_eq!(policy.asked(), BTreeSet::from([0, 1, 2]));
        // by the definition: at least two of 0 to 2, and one of 3 to 5
        for subset in 0_u32..64 {
            let by: BTreeSet<usize> = (0..6).filter(|bit| subset & 1 << bit != 0).collect();
            let want = (subset & 7).count_ones() >= 2 && subset & 56 != 0;
            assert_eq!(policy.is_met(&by), want, "{by:?}");
        }
    }

    #[test]
    fn a_quorum_may_be_one_witness_or_none() {
        let one = Policy::parse(format!("witness a {}\nwitness b {}\nquorum b\n", key(1), key(2)).as_bytes()).unwrap();
        assert!(!one.is_met(&BTreeSet::from([0])) && one.is_met(&BTreeSet::from([1])));
        let none = Policy::parse(b"quorum none\n").unwrap();
        assert!(none.is_met(&BTreeSet::new()) && !none.asks_for_witnesses() && none.logs().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let (a, b, log) = (key(1), key(2), log());
        let renamed = {
            let signer = Signer::from_seed("other.example/log", [99; 32]).unwrap();
            signer.verifier_key()
        };
        for (text, place, word) in [
            (String::new(), (1, 1), "no quorum line"),
            (format!("witness a {a}\n"), (2, 1), "no quorum line"),
            ("quorum none".into(), (1, 1), "does not end in a newline"),
            ("quorum none\r\n".into(), (1, 12), "carriage return"),
            ("# \u{7f}\n".into(), (1, 3), "control character"),
            ("quorum none\nquorum none\n".into(), (2, 1), "in line 1 already"),
            ("quorum  later\n".into(), (1, 9), "no line before this one defines \"later\""),
            ("quorum\n".into(), (1, 1), "write `quorum NAME`"),
            ("qourum none\n".into(), (1, 1), "begins no line"),
            (format!("witness a {a}\nwitness a {b}\n"), (2, 9), "defined already"),
            (format!("witness a {a}\nwitness b {a}\n"), (2, 11), "would count twice"),
            (format!("witness none {a}\n"), (1, 9), "choose another name"),
            (format!("witness a {log}\n"), (1, 11), "key of a log"),
            (format!("witness a {a} ftp://x\n"), (1, 12 + a.len()), "is no URL"),
            (format!("witness a {a} https://user@x/\n"), (1, 12 + a.len()), "is no URL"),
            (format!("witness a {a} https://x y\n"), (1, 1), "write `witness"),
            (format!("log {a}\n"), (1, 5), "not an Ed25519 key"),
            (format!("log {log}\nlog {renamed}\n"), (2, 5), "given already"),
            (format!("witness a {a}\ngroup g 2 a\n"), (2, 9), "number from 1 to 1"),
            (format!("witness a {a}\ngroup g 0 a\n"), (2, 9), "number from 1 to 1"),
            (format!("witness a {a}\ngroup g 01 a\n"), (2, 9), "number from 1 to 1"),
            (format!("witness a {a}\ngroup g any\n"), (2, 1), "at least one member"),
            (format!("witness a {a}\ngroup g any none\n"), (2, 13), "no member"),
            (format!("witness a {a}\ngroup g any a a\n"), (2, 15), "would count twice"),
            (format!("witness a {a}\ngroup g any a\ngroup h any a\n"), (3, 13), "would count twice"),
            (format!("witness a {a}\ngroup g any g\n"), (2, 13), "no line before"),
            (format!("witness a {a}\ngroup a any a\n"), (2, 7), "defined already"),
        ] {
            let problem = Policy::parse(text.as_bytes()).unwrap_err();
            assert_eq!((problem.line, problem.column), place, "{text}\n{problem}");
            assert!(problem.message.contains(word), "{text}\n{problem}");
        }
        let read = Policy::read("w.policy", b"quorum x\n").unwrap_err();
        assert_eq!(read.to_string(), "w.policy:1:8: no line before this one defines \"x\"");
    }

    #[test]
    fn names_are_bytes() {
        let text = [b"witness \xe2\x84\xaa ".as_slice(), key(1).as_bytes(), b"\nquorum K\n"].concat();
        assert!(Policy::parse(&text).is_err(), "a Kelvin sign is no K");
        let text = [b"witness \xff\xfe ".as_slice(), key(1).as_bytes(), b"\nquorum \xff\xfe\n"].concat();
        assert!(Policy::parse(&text).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes: Vec<u8>, text in "((log|witness|group|quorum|none|a|b|1|any|all|#)[ \t\n]){0,40}",
        ) {
            let _ = (Policy::parse(&bytes), Policy::parse(text.as_bytes()));
        }

        #[test]
        fn more_witnesses_are_never_worse(have in prop::collection::btree_set(0_usize..6, 0..6), more in 0_usize..6) {
            let policy = Policy::parse(example().as_bytes()).unwrap();
            let with: BTreeSet<usize> = have.iter().copied().chain([more]).collect();
            prop_assert!(!policy.is_met(&have) || policy.is_met(&with));
        }
    }
}
