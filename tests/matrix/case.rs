//! One attack at one place: what is done, and what the audit must say of it. Data alone, so that every kind of store is
//! attacked in the same way.

use super::base::Base;
use crate::lab::*;
use authseal::{
    audit::{Finding, Place, Report, VerifyOptions},
    note::Verifiers,
    retention::Retention,
};
use bytes::Bytes;

/// What somebody who can write to the store does to it.
#[derive(Clone)]
pub enum Op {
    /// Puts other bytes in the place of an object, or a new object: nothing of the old one is left.
    Put(String, Bytes),
    /// Removes all versions of an object.
    Remove(String),
    /// Puts a newer version over it.
    Shadow(String, Bytes),
    /// Slips an older version below it.
    Under(String, Bytes),
    /// Puts a delete marker over it.
    Mark(String),
    /// Puts the oldest version under legal hold, or lifts it.
    Hold(String, bool),
    /// Changes its lock, whatever it takes.
    Relock(String, Retention),
    /// Takes away the permission, or the key, to read it.
    Unreadable(String),
    /// Puts an object of so many bytes in its place, all zero.
    Huge(String, u64),
    /// Changes the settings of the bucket.
    Bucket(Setting),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Unversioned,
    Unlocked,
    Expires,
}

/// Where the audit must see it.
#[derive(Debug, Clone)]
pub enum At {
    Segment(&'static str, u64),
    Record(&'static str, i64),
    Chain(&'static str),
    Key(String),
    Store,
}

impl At {
    fn is(&self, place: &Place) -> bool {
        let chain_is = |text: &str| place.chain.as_ref().is_some_and(|c| *c == chain(text));
        match self {
            Self::Segment(text, sequence) => {
                let within =
                    place.sequences.is_some_and(|r| r.from <= *sequence && r.to.is_none_or(|to| *sequence < to));
                chain_is(text) && (place.sequence == Some(*sequence) || within)
            }
            Self::Record(text, offset) => chain_is(text) && place.offset == Some(*offset),
            Self::Chain(text) => chain_is(text),
            Self::Key(key) => place.key.as_ref() == Some(key),
            Self::Store => *place == Place::default(),
        }
    }
}

/// What is special about the auditor.
#[derive(Clone, Default)]
pub struct Auditor {
    /// Keys besides the usual ones.
    pub keys: Option<Verifiers>,
    /// The checkpoint that he kept.
    pub checkpoint: Option<String>,
    /// Whether he asks for freshness.
    pub fresh: bool,
    /// How much later than usual he comes, in milliseconds.
    pub later: i64,
    /// The retention that he requires.
    pub required: Option<i64>,
}

impl Auditor {
    pub fn with_checkpoint(note: String) -> Self {
        Self { checkpoint: Some(note), ..Self::default() }
    }

    pub fn with_key(key: &str) -> Self {
        let lines = format!("{}{key}\n", super::base::keys().text());
        Self { keys: Some(Verifiers::parse(&lines).unwrap()), ..Self::default() }
    }

    pub fn options(&self) -> VerifyOptions {
        let mut options = VerifyOptions { jobs: 2, ..VerifyOptions::new(NOW + self.later) };
        options.require_log = true;
        options.checkpoint.clone_from(&self.checkpoint);
        options.require_retention = self.required;
        if self.fresh {
            options.freshness = authseal::audit::Freshness::Promised;
        }
        options
    }
}

pub struct Case {
    /// Its row in the taxonomy.
    pub row: u8,
    /// What is done, in words.
    pub attack: &'static str,
    /// Where.
    pub position: String,
    pub ops: Vec<Op>,
    pub auditor: Auditor,
    /// The reason code, and where.
    pub code: &'static str,
    pub at: At,
    pub exit: u8,
}

impl Case {
    /// Why the report is not what it should be; `None` if it is.
    pub fn missed(&self, report: &Report) -> Option<String> {
        let told = |finding: &&Finding| finding.name == self.code && self.at.is(&finding.place);
        let found = report.findings.iter().any(|finding| told(&finding));
        (!found || report.exit_code() != self.exit).then(|| {
            let (row, attack, position) = (self.row, self.attack, &self.position);
            let (code, at, exit) = (self.code, &self.at, self.exit);
            format!("{row} {attack}, {position}: expected {code} at {at:?} and exit code {exit}\n{report}")
        })
    }
}

/// Collects the cases of one row.
pub struct Row<'a> {
    pub base: &'a Base,
    pub number: u8,
    pub cases: &'a mut Vec<Case>,
}

impl Row<'_> {
    pub fn add(
        &mut self,
        attack: &'static str,
        position: impl ToString,
        ops: Vec<Op>,
        code: &'static str,
        at: At,
        exit: u8,
    ) {
        self.by(Auditor::default(), attack, position, ops, code, at, exit);
    }

    #[allow(clippy::too_many_arguments)] // a row of a table
    pub fn by(
        &mut self,
        auditor: Auditor,
        attack: &'static str,
        position: impl ToString,
        ops: Vec<Op>,
        code: &'static str,
        at: At,
        exit: u8,
    ) {
        let position = position.to_string();
        self.cases.push(Case { row: self.number, attack, position, ops, auditor, code, at, exit });
    }

    pub fn object(&self, key: &str) -> Bytes {
        self.base.objects[key].clone()
    }

    /// The bytes of a segment, taken apart, changed and put together again.
    pub fn rebuilt(&self, key: &str, edit: impl FnOnce(&mut Parts)) -> Op {
        let mut parts = Parts::of(&self.object(key));
        edit(&mut parts);
        Op::Put(key.to_owned(), parts.assemble().into())
    }

    pub fn edited(&self, key: &str, edit: impl FnOnce(&mut Vec<u8>)) -> Op {
        let mut bytes = self.object(key).to_vec();
        edit(&mut bytes);
        Op::Put(key.to_owned(), bytes.into())
    }
}
