//! What a Sigma document says about itself: title, id, level, ATT&CK, and what must be kept with it (author, licence).

use super::{
    report::Notes,
    yaml::{Kind, Node, shown},
};
use crate::{
    detect::{Severity, attack_tactic, attack_tactics_of, attack_version},
    digest::Digest,
};

/// What goes into the head and the header of the generated rule.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// The rule's id.
    pub rule: String,
    /// The title.
    pub title: String,
    /// What it finds.
    pub description: String,
    /// How bad it is.
    pub severity: Severity,
    /// `TA0006/T1110`
    pub attack: Vec<String>,
    /// When it fires for nothing.
    pub falsepos: Vec<String>,
    /// Further lines of the head.
    pub head: Vec<String>,
}

/// The title of a document, for reports.
pub(super) fn title(document: &Node) -> String {
    document.get("title").and_then(Node::text).map_or_else(|| "(without a title)".into(), shown)
}

/// Reads what the document says about itself.
pub(super) fn read(document: &Node, id: Option<&str>, notes: &mut Notes) -> Meta {
    let title = match document.get("title").and_then(Node::text).map(one_line).filter(|title| !title.is_empty()) {
        Some(title) => clipped(&title, 200),
        None => {
            notes.refuse(document.at, "the document has no `title`");
            String::new()
        }
    };
    let description = document.get("description").and_then(Node::text).map(one_line).unwrap_or_default();
    Meta {
        rule: rule_id(document, id, &title, notes),
        description: if description.is_empty() { format!("{title}.") } else { description },
        title,
        severity: severity(document, notes),
        attack: attack(document, notes),
        falsepos: texts(document, "falsepositives", notes),
        head: head(document, notes),
    }
}

/// The first eight digits of the Sigma id, so that the rule is found again.
fn rule_id(document: &Node, id: Option<&str>, title: &str, notes: &mut Notes) -> String {
    if let Some(id) = id {
        return id.to_owned();
    }
    let Some(node) = document.get("id") else {
        let digest = Digest::of(title.as_bytes()).to_string();
        notes.note(document.at, "the document has no `id`: the rule's id is made from the title");
        return format!("SIGMA-{}", digest.chars().take(8).collect::<String>());
    };
    let text = node.text().unwrap_or_default();
    let is_uuid = text.len() == 36
        && text
            .char_indices()
            .all(|(i, c)| if matches!(i, 8 | 13 | 18 | 23) { c == '-' } else { c.is_ascii_hexdigit() });
    if !is_uuid {
        notes.refuse(node.at, format!("`{}` is no UUID: give the rule an id with --id", shown(text)));
    }
    format!("SIGMA-{}", text.chars().take(8).collect::<String>().to_lowercase())
}

fn severity(document: &Node, notes: &mut Notes) -> Severity {
    let Some(node) = document.get("level") else {
        notes.note(document.at, "the document has no `level`: the rule's severity is MEDIUM");
        return Severity::Medium;
    };
    match node.text().unwrap_or_default().to_ascii_lowercase().as_str() {
        "informational" => Severity::Info,
        "low" => Severity::Low,
        "medium" => Severity::Medium,
        "high" => Severity::High,
        "critical" => Severity::Critical,
        other => {
            let known = "informational, low, medium, high, critical";
            notes.note(node.at, format!("`{}` is no level ({known}): the rule's severity is MEDIUM", shown(other)));
            Severity::Medium
        }
    }
}

/// The techniques that the tags name, each with the tactics that they name.
fn attack(document: &Node, notes: &mut Notes) -> Vec<String> {
    let Some(node) = document.get("tags") else { return Vec::new() };
    let tags: Vec<_> = node.texts().unwrap_or_default();
    let attack: Vec<(String, _)> = tags
        .iter()
        .filter_map(|(tag, at)| tag.strip_prefix("attack.").map(|rest| (rest.to_lowercase().replace('_', "-"), *at)))
        .collect();
    let mut tactics = Vec::new();
    for (tag, at) in attack.iter().filter(|(tag, _)| !is_numbered(tag)) {
        match attack_tactic(tag) {
            Some(tactic) => tactics.push(tactic),
            None if tag == "defense-evasion" => notes.note(
                *at,
                format!(
                    "ATT&CK {} has no Defense Evasion: it became Stealth and Defense Impairment; left out",
                    attack_version()
                ),
            ),
            None => notes
                .note(*at, format!("`attack.{}` is no tactic of ATT&CK {}: left out", shown(tag), attack_version())),
        }
    }
    let mut found: Vec<String> = Vec::new();
    for (tag, at) in attack.iter().filter(|(tag, _)| is_numbered(tag)) {
        if !tag.starts_with('t') {
            notes.note(*at, format!("`attack.{}` names no technique: left out of `attack`", shown(tag)));
            continue;
        }
        let id = tag.to_uppercase();
        let serves = match attack_tactics_of(&id) {
            Ok(serves) => serves,
            Err(why) => {
                notes.note(*at, format!("{why}: left out of `attack`"));
                continue;
            }
        };
        let mut fits: Vec<&str> = serves.iter().copied().filter(|tactic| tactics.contains(tactic)).collect();
        if let ([], [only]) = (&fits[..], &serves[..]) {
            fits.push(only);
        }
        if fits.is_empty() {
            let serves = serves.join(", ");
            notes.note(
                *at,
                format!("{id} serves several tactics ({serves}) and no tag says which: left out of `attack`"),
            );
        }
        for tactic in fits {
            let reference = format!("{tactic}/{id}");
            if !found.contains(&reference) {
                found.push(reference);
            }
        }
    }
    found
}

/// Whether a tag is an id (`t1110`, `g0016`, `s0154`), not the name of a tactic.
fn is_numbered(tag: &str) -> bool {
    let mut chars = tag.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next().is_some_and(|c| c.is_ascii_digit())
}

/// Lines that say where the rule is from: the licence of Sigma's rules asks for its author to be kept.
fn head(document: &Node, notes: &mut Notes) -> Vec<String> {
    let mut head = Vec::new();
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            head.push(format!("{what}: {text}"));
        }
    };
    for (key, what) in [("id", "Sigma id"), ("status", "Sigma status"), ("author", "Author")] {
        line(what, texts(document, key, notes).join(", "));
    }
    let license = texts(document, "license", notes).join(", ");
    line("License", if license.is_empty() { "not said; Sigma's own rules are under DRL 1.1".into() } else { license });
    for (key, what) in [("date", "Date"), ("modified", "Modified")] {
        line(what, texts(document, key, notes).join(", "));
    }
    for reference in texts(document, "references", notes) {
        line("Reference", reference);
    }
    let source = document.get("logsource").and_then(|node| node.get("definition")).and_then(Node::text).map(one_line);
    line("Needs", source.unwrap_or_default());
    head
}

/// The texts under a key, each on one line.
fn texts(document: &Node, key: &str, notes: &mut Notes) -> Vec<String> {
    let Some(node) = document.get(key) else { return Vec::new() };
    match node.texts() {
        Some(texts) => texts
            .into_iter()
            .take(50)
            .map(|(text, _)| clipped(&one_line(text), 500))
            .filter(|t| !t.is_empty())
            .collect(),
        None => {
            let what =
                if matches!(node.kind, Kind::Map(_)) { "a map" } else { "a list with something else than texts" };
            notes.note(node.at, format!("`{key}` is {what}: left out"));
            Vec::new()
        }
    }
}

/// A text on one line, without anything that could end a comment or hide what is written.
fn one_line(text: &str) -> String {
    let visible = |c: char| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean: String = text.chars().filter(|c| visible(*c)).map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
