//! MITRE ATT&CK: the ids that rules name, checked against a copy of the matrix (see `attack-techniques.README.md`).

use serde::Deserialize;
use std::{collections::HashMap, sync::OnceLock};

/// A tactic and a technique of ATT&CK, as a rule names them: "TA0006/T1110.004".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Technique {
    /// TA0006
    pub tactic: String,
    /// Credential Access
    pub tactic_name: String,
    /// T1110
    pub technique: String,
    /// Brute Force
    pub technique_name: String,
    /// T1110.004 and its name, if the rule names a sub-technique.
    pub sub_technique: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Matrix {
    version: String,
    tactics: HashMap<String, Tactic>,
    techniques: HashMap<String, Entry>,
    retired: HashMap<String, Retired>,
}
#[derive(Deserialize)]
struct Tactic {
    name: String,
    short: String,
}
#[derive(Deserialize)]
struct Entry {
    name: String,
    tactics: Vec<String>,
}
#[derive(Deserialize)]
struct Retired {
    name: String,
    replaced_by: Option<String>,
}

fn matrix() -> Option<&'static Matrix> {
    static MATRIX: OnceLock<Option<Matrix>> = OnceLock::new();
    // the file is part of the program: a test holds that it can be read
    MATRIX.get_or_init(|| serde_json::from_str(include_str!("attack-techniques.json")).ok()).as_ref()
}

/// The version of the matrix: goes with every technique in an alert.
pub fn version() -> &'static str {
    matrix().map_or("", |matrix| &matrix.version)
}

impl Matrix {
    fn technique(&self, id: &str) -> Result<&Entry, String> {
        self.techniques.get(id).ok_or_else(|| match self.retired.get(id) {
            Some(Retired { name, replaced_by: Some(by) }) => {
                format!("{id} ({name}) is retired: ATT&CK replaced it by {by}")
            }
            Some(Retired { name, .. }) => format!("{id} ({name}) is retired from ATT&CK"),
            None => format!("ATT&CK {} has no technique {id}", self.version),
        })
    }
}

/// The id of the tactic called `short` (`credential-access`).
pub fn tactic(short: &str) -> Option<&'static str> {
    let (id, _) = matrix()?.tactics.iter().find(|(_, tactic)| tactic.short == short)?;
    Some(id)
}

/// Ids of the tactics that a technique (`T1110.004`) serves, in order, or why there is no such technique.
pub fn tactics_of(id: &str) -> Result<Vec<&'static str>, String> {
    let matrix = matrix().ok_or("the copy of ATT&CK in this program cannot be read")?;
    let entry = matrix.technique(id)?;
    let serves = matrix.tactics.iter().filter(|(_, tactic)| entry.tactics.contains(&tactic.short));
    let mut ids: Vec<&str> = serves.map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The technique that `text` names, or why it names none.
pub(super) fn technique(text: &str) -> Result<Technique, String> {
    let matrix = matrix().ok_or("the copy of ATT&CK in this program cannot be read")?;
    let wrong = || format!("{text:?} is no ATT&CK reference: write \"TA0006/T1110\" or \"TA0006/T1110.004\"");
    let (tactic, id) = text.split_once('/').ok_or_else(wrong)?;
    let known_tactic = matrix.tactics.get(tactic).ok_or_else(|| {
        let known =
            if is_tactic(tactic) { format!("ATT&CK {} has no tactic {tactic}", matrix.version) } else { wrong() };
        format!("{known} (in {text:?})")
    })?;
    if !is_technique(id) {
        return Err(wrong());
    }
    let entry = matrix.technique(id)?;
    if !entry.tactics.contains(&known_tactic.short) {
        let right: Vec<_> = matrix
            .tactics
            .iter()
            .filter(|(_, t)| entry.tactics.contains(&t.short))
            .map(|(id, _)| id.as_str())
            .collect();
        return Err(format!(
            "{id} ({}) does not serve {tactic} ({}): its tactic is {}",
            entry.name,
            known_tactic.name,
            right.join(", ")
        ));
    }
    let parent = id.split('.').next().unwrap_or(id);
    let parent_name = matrix.techniques.get(parent).map_or(entry.name.as_str(), |entry| entry.name.as_str());
    Ok(Technique {
        tactic: tactic.into(),
        tactic_name: known_tactic.name.clone(),
        technique: parent.into(),
        technique_name: parent_name.into(),
        sub_technique: (parent != id).then(|| (id.into(), entry.name.clone())),
    })
}

fn is_tactic(text: &str) -> bool {
    text.strip_prefix("TA").is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_digit()))
}

fn is_technique(text: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
    let Some(rest) = text.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((main, sub)) => digits(main, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_against_the_matrix() {
        let found = technique("TA0006/T1110.004").unwrap();
        assert_eq!((found.tactic_name.as_str(), found.technique_name.as_str()), ("Credential Access", "Brute Force"));
        assert_eq!(found.sub_technique, Some(("T1110.004".into(), "Credential Stuffing".into())));
        assert_eq!(version(), "19.0");
        for (bad, why) in [
            ("T1110", "is no ATT&CK reference"),
            ("TA0006/1110", "is no ATT&CK reference"),
            ("TA0006/T1110.4", "is no ATT&CK reference"),
            ("TA9999/T1110", "has no tactic TA9999"),
            ("TA0006/T9999", "has no technique T9999"),
            ("TA0040/T1110", "its tactic is TA0006"),
            ("TA0006/T1562", "T1685"),
        ] {
            let error = technique(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert_eq!(tactics_of("T1110.004"), Ok(vec!["TA0006"]));
        assert_eq!(tactics_of("T1078").map(|tactics| tactics.len()), Ok(4));
        assert!(tactics_of("T1562").unwrap_err().contains("T1685"));
        assert_eq!((tactic("credential-access"), tactic("defense-evasion")), (Some("TA0006"), None));
    }
}
