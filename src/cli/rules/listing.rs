//! `authseal rules list`: every rule in one line.

use super::{Folder, read, report};
use crate::{
    artifact::File,
    cli::{
        exit::{self, Failure},
        print, print_json,
    },
    detect::{RuleInfo, RuleSet, Technique},
};
use serde_json::{Value, json};

const HEAD: [&str; 10] = ["ID", "SEVERITY", "MODE", "STATUS", "KEY", "WINDOW", "ATTACK", "OWNER", "TESTS", "NAME"];

pub(super) fn list(folder: &Folder) -> Result<u8, Failure> {
    let files = read(&folder.dir)?;
    let rules = match RuleSet::load(&files) {
        Ok(rules) => rules,
        Err(problems) => return report(&folder.dir, &problems, folder.json),
    };
    if folder.json {
        let all: Vec<Value> = rules.rules().iter().map(|rule| rule_json(rule, &files)).collect();
        print_json(&json!({ "digest": rules.bundle().0, "rules": all }))?;
        return Ok(exit::GOOD);
    }
    let row = |rule: &RuleInfo| {
        [
            rule.id.clone(),
            rule.severity.name().to_lowercase(),
            rule.mode.name().to_owned(),
            rule.status.name().to_owned(),
            rule.key.join(","),
            rule.window.map_or("-".into(), crate::config::show_duration),
            attack(rule).join(" "),
            rule.owner.clone(),
            tests_of(rule, &files).to_string(),
            rule.name.clone(),
        ]
    };
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(rules.rules().iter().map(row));
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; HEAD.len()]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    print(&rows.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    Ok(exit::GOOD)
}

fn rule_json(rule: &RuleInfo, files: &[File]) -> Value {
    json!({
        "id": rule.id, "name": rule.name, "version": rule.version, "mode": rule.mode.name(),
        "status": rule.status.name(), "severity": rule.severity.name(), "attack": attack(rule),
        "key": rule.key, "window_seconds": rule.window.map(|window| window.as_secs()),
        "owner": rule.owner, "runbook": rule.runbook, "falsepos": rule.falsepos, "tests": tests_of(rule, files),
        "description": rule.description, "path": rule.path, "digest": rule.digest,
    })
}

/// `TA0006/T1110.004`, as rules write it.
fn attack(rule: &RuleInfo) -> Vec<String> {
    let id = |t: &Technique| t.sub_technique.as_ref().map_or(t.technique.clone(), |(id, _)| id.clone());
    rule.attack.iter().map(|t| format!("{}/{}", t.tactic, id(t))).collect()
}

/// How many tests stand in the file beside a rule.
fn tests_of(rule: &RuleInfo, files: &[File]) -> usize {
    let path = rule.path.strip_suffix(".rhai").map(|stem| format!("{stem}.test.rhai"));
    let file = files.iter().find(|file| Some(&file.path) == path.as_ref());
    let text = file.map_or("".into(), |file| String::from_utf8_lossy(&file.bytes));
    text.lines().filter(|line| line.starts_with("test(")).count()
}
