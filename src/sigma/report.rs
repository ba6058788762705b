//! What became of each document: translated or not, and everything that a reader must know about it.

use super::yaml::At;
use crate::artifact::File;
use serde_json::{Value, json};
use std::fmt::Write;

/// What a note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// This cannot be translated: there is no rule.
    Refused,
    /// The rule judges otherwise than the Sigma rule does, in this.
    Differs,
    /// What was taken for granted, or left out without a change of what is found.
    Note,
}

impl Level {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        ["refused", "differs", "note"][self as usize]
    }
}

/// Something to know about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub level: Level,
    /// Line and column of the YAML, from 1, where known.
    pub at: Option<At>,
    /// What, why, and what can be done.
    pub message: String,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A rule that finds what the Sigma rule does.
    Translated,
    /// A rule that differs; the notes say in what.
    Partly,
    /// No rule; the notes say why.
    Not,
    /// No rule of its own: correlations are built from it.
    Used,
}

impl Verdict {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        ["translated", "partly", "not translated", "used"][self as usize]
    }
}

/// A document, and what became of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The file it is from.
    pub path: String,
    /// Where it begins.
    pub at: At,
    /// Its title.
    pub title: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The id of the rule that was made.
    pub rule: Option<String>,
    /// The files that were made: the rule, its test, its lists.
    pub files: Vec<File>,
    /// What to know, the gravest first.
    pub notes: Vec<Note>,
}

/// Gathers what is to be said about one document.
#[derive(Debug, Default)]
pub(super) struct Notes(pub Vec<Note>);

impl Notes {
    /// This cannot be translated.
    pub fn refuse(&mut self, at: impl Into<Option<At>>, message: impl Into<String>) {
        self.add(Level::Refused, at.into(), message.into());
    }

    /// The rule judges otherwise in this.
    pub fn differs(&mut self, at: impl Into<Option<At>>, message: impl Into<String>) {
        self.add(Level::Differs, at.into(), message.into());
    }

    /// Worth knowing.
    pub fn note(&mut self, at: impl Into<Option<At>>, message: impl Into<String>) {
        self.add(Level::Note, at.into(), message.into());
    }

    fn add(&mut self, level: Level, at: Option<At>, message: String) {
        let note = Note { level, at, message };
        // hostile rules must not make a report without end
        if self.0.len() < 200 && !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Whether something cannot be translated.
    pub fn is_refused(&self) -> bool {
        self.0.iter().any(|note| note.level == Level::Refused)
    }

    /// Whether the rule differs.
    pub fn is_different(&self) -> bool {
        self.0.iter().any(|note| note.level == Level::Differs)
    }
}

impl Entry {
    /// For people: a line for the document, a line for each note.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let rule = self.rule.as_ref().map_or_else(String::new, |id| format!(" as {id}"));
        // writing to a string cannot fail
        let _ = writeln!(out, "{}:{}: {}: {}{rule}", self.path, self.at.0, self.verdict.name(), self.title);
        for file in &self.files {
            let _ = writeln!(out, "    file     {}", file.path);
        }
        for note in &self.notes {
            let place = note.at.map_or_else(String::new, |at| format!("{}:{}: ", at.0, at.1));
            let _ = writeln!(out, "    {:8} {place}{}", note.level.name(), note.message);
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let notes: Vec<Value> = self
            .notes
            .iter()
            .map(|note| {
                json!({
                    "level": note.level.name(), "line": note.at.map(|at| at.0), "column": note.at.map(|at| at.1),
                    "message": note.message,
                })
            })
            .collect();
        json!({
            "path": self.path, "line": self.at.0, "title": self.title, "verdict": self.verdict.name(),
            "rule": self.rule, "files": self.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            "notes": notes,
        })
    }
}
