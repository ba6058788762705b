//! What is wrong with a configuration, and where: collected, so that one run shows everything.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line and column of the file, both from 1.
    File {
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// An environment variable.
    Env(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value came from; `None` when nothing was written at all.
    pub origin: Option<Origin>,
    /// The setting, such as `kafka.brokers` or `topics.0.name`.
    pub setting: Option<String>,
    /// What is wrong and how to mend it. Never holds a secret.
    pub message: String,
}

impl Problem {
    pub(super) fn at(origin: Option<Origin>, setting: Option<String>, message: impl Into<String>) -> Self {
        Self { origin, setting, message: message.into() }
    }
}

/// Everything that is wrong with a configuration. Shown one problem a line, as `file:line:column: setting: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, as it was named.
    pub file: String,
    /// At least one, in the order of the file; what is missing altogether comes last.
    pub list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: String, mut list: Vec<Problem>) -> Self {
        list.sort_by(|a, b| (a.origin.is_none(), &a.origin).cmp(&(b.origin.is_none(), &b.origin)));
        list.dedup();
        Self { file, list }
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        let problem = |problem: &Problem| {
            let (line, column, variable) = match &problem.origin {
                Some(Origin::File { line, column }) => (Some(line), Some(column), None),
                Some(Origin::Env(name)) => (None, None, Some(name)),
                None => (None, None, None),
            };
            serde_json::json!({
                "file": self.file, "line": line, "column": column, "variable": variable,
                "setting": problem.setting, "message": problem.message,
            })
        };
        self.list.iter().map(problem).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match &problem.origin {
                Some(Origin::File { line, column }) => write!(f, "{}:{line}:{column}: ", self.file)?,
                Some(Origin::Env(name)) => write!(f, "{name}: ")?,
                None => write!(f, "{}: ", self.file)?,
            }
            if let Some(setting) = &problem.setting {
                write!(f, "{setting}: ")?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let distances = known.into_iter().map(|k| (distance(&name, &k.to_ascii_lowercase()), k));
    let (far, best) = distances.min_by_key(|(far, _)| *far)?;
    (far <= 1 + name.len() / 4).then_some(best)
}

/// How many letters must be changed, added, taken away or swapped with their neighbour to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let known = ["brokers", "group", "instance_id", "queue_mib", "properties"];
        for (typed, meant) in [
            ("broker", Some("brokers")),
            ("borkers", Some("brokers")),
            ("GROUP", Some("group")),
            ("instance-id", Some("instance_id")),
            ("queue_mb", Some("queue_mib")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
