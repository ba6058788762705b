//! Changes of a rule's header, one place at a time. Works on the text, so that nothing of the engine is trusted.

use std::ops::Range;

/// What is changed.
pub const KINDS: [&str; 5] = ["when", "key", "time", "gate", "dedup"];

/// A changed rule file.
pub struct Mutant {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// What was changed, in words.
    pub what: String,
    /// The whole file.
    pub text: String,
}

/// All mutants of a rule file, in the order of the places.
pub fn mutants(text: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    let end = text.find("\nfn ").unwrap_or(text.len());
    for (name, body) in blocks(&text[..end]) {
        let about = name.map_or_else(String::new, |name| format!("marker {name}: "));
        let mut add = |kind: &'static str, what: String, range: Range<usize>, with: &str| {
            let changed = format!("{}{with}{}", &text[..range.start], &text[range.end..]);
            found.push(Mutant { kind, what: format!("{about}{what}"), text: changed });
        };
        for entry in entries(text, body) {
            let value = &text[entry.value.clone()];
            match entry.name.as_str() {
                "when" => when(text, entry.value, &mut add),
                "key" => key(text, entry.value, &mut add),
                "at_least" => gates(text, entry.value, &mut add),
                "window" | "ttl" => scaled("time", &entry.name, value, entry.value.clone(), &mut add),
                "dedup" => {
                    scaled("dedup", "dedup", value, entry.value.clone(), &mut add);
                    add("dedup", "dedup removed".into(), entry.whole, "");
                }
                "settle" | "wait" => add("time", format!("{} removed", entry.name), entry.whole, ""),
                _ => {}
            }
        }
    }
    found
}

type Add<'a> = dyn FnMut(&'static str, String, Range<usize>, &str) + 'a;

/// Half and twice a duration.
fn scaled(kind: &'static str, name: &str, value: &str, range: Range<usize>, add: &mut Add<'_>) {
    let written = value.trim_matches('"');
    let (number, unit) = written.split_at(written.len() - 1);
    let seconds = number.parse::<u64>().unwrap() * [1, 60, 3600, 86_400]["smhd".find(unit).unwrap()];
    add(kind, format!("{name} {written} halved"), range.clone(), &format!("\"{}s\"", seconds / 2));
    add(kind, format!("{name} {written} doubled"), range, &format!("\"{}s\"", seconds * 2));
}

fn key(text: &str, range: Range<usize>, add: &mut Add<'_>) {
    let fields: Vec<&str> = text[range.clone()].trim_matches(['[', ']']).split(',').map(str::trim).collect();
    for without in fields.iter().filter(|_| fields.len() > 1) {
        let rest: Vec<&str> = fields.iter().copied().filter(|field| field != without).collect();
        add("key", format!("key without {without}"), range.clone(), &format!("[{}]", rest.join(", ")));
    }
}

fn gates(text: &str, range: Range<usize>, add: &mut Add<'_>) {
    for entry in entries(text, range.start + 2..range.end - 1) {
        let least: i64 = text[entry.value.clone()].trim().parse().unwrap();
        for changed in [least - 1, least + 1] {
            let what = format!("{} at least {changed}", entry.name);
            add("gate", what, entry.value.clone(), &changed.to_string());
        }
    }
}

fn when(text: &str, range: Range<usize>, add: &mut Add<'_>) {
    for atom in atoms(text, range) {
        let test = text[atom.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        add("when", format!("not `{test}`"), atom.clone(), &format!("(!({test}))"));
        // true and false of every record, whatever it is
        add("when", format!("always `{test}`"), atom.clone(), "(source != \"nobody\")");
        add("when", format!("never `{test}`"), atom.clone(), "(source == \"nobody\")");
        let Some((head, values)) = test.strip_suffix("])").and_then(|rest| rest.split_once(".one_of([")) else {
            continue;
        };
        let values: Vec<&str> = values.split(',').map(str::trim).collect();
        for without in values.iter().filter(|_| values.len() > 1) {
            let rest: Vec<&str> = values.iter().copied().filter(|value| value != without).collect();
            let changed = format!("{head}.one_of([{}])", rest.join(", "));
            add("when", format!("`{test}` without {without}"), atom.clone(), &changed);
        }
    }
}

/// The tests that `&`, `|`, `!` and brackets join.
fn atoms(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = range.start;
    let mut depth = 0_usize;
    let mut close = |from: usize, to: usize| {
        let inner = text[from..to].trim();
        if !inner.is_empty() {
            let from = from + text[from..to].find(inner).unwrap_or(0);
            found.push(from..from + inner.len());
        }
    };
    for (at, c, code) in code(text, range.clone()) {
        let before = text[range.start..at].chars().next_back().unwrap_or(' ');
        let grouping = c == '(' && !before.is_alphanumeric() && before != '_';
        let not = c == '!' && !text[at + 1..].starts_with('=');
        match c {
            _ if !code => {}
            '(' | '[' if depth > 0 || !grouping => depth += 1,
            ')' | ']' if depth > 0 => depth -= 1,
            '&' | '|' | '(' | ')' if depth == 0 => {
                close(start, at);
                start = at + 1;
            }
            '!' if depth == 0 && not => {
                close(start, at);
                start = at + 1;
            }
            _ => {}
        }
    }
    close(start, range.end);
    found
}

/// An entry of a map.
struct Entry {
    name: String,
    value: Range<usize>,
    /// With its name and the comma.
    whole: Range<usize>,
}

/// The entries of the map whose inside is `range`.
fn entries(text: &str, range: Range<usize>) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut start = range.start;
    let mut name: Option<(String, usize, usize)> = None;
    let mut word: Option<usize> = None;
    let mut end_of_code = range.start;
    for (at, c, code) in code(text, range.clone()) {
        if !code {
            if c == '"' || depth > 0 || name.is_some() {
                end_of_code = if c == '"' { at + 1 } else { end_of_code };
            }
            continue;
        }
        match c {
            ':' if depth == 0 && name.is_none() => {
                let from = word.unwrap_or(start);
                name = Some((text[from..at].trim().into(), from, at + 1));
            }
            ',' if depth == 0 => {
                if let Some((name, from, value)) = name.take() {
                    found.push(entry(text, name, from, value..end_of_code, at + 1));
                }
                (start, word) = (at + 1, None);
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if name.is_none() && word.is_none() && c.is_alphabetic() => word = Some(at),
            _ => {}
        }
        if !c.is_whitespace() {
            end_of_code = at + c.len_utf8();
        }
    }
    if let Some((name, from, value)) = name {
        found.push(entry(text, name, from, value..end_of_code, range.end));
    }
    found
}

fn entry(text: &str, name: String, from: usize, value: Range<usize>, end: usize) -> Entry {
    let inner = text[value.clone()].trim();
    let start = value.start + text[value].find(inner).unwrap_or(0);
    Entry { name, value: start..start + inner.len(), whole: from..end }
}

/// The markers and the rule: their names (none for the rule) and the inside of their maps.
fn blocks(header: &str) -> Vec<(Option<String>, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in header.split_inclusive('\n') {
        let marker = line.starts_with("marker(\"");
        if marker || line.starts_with("rule(\"") {
            let name = line.split('"').nth(1).unwrap();
            let open = at + header[at..].find("#{").unwrap() + 2;
            let mut depth = 1_usize;
            let close = code(header, open..header.len()).into_iter().find(|(_, c, code)| {
                match c {
                    '{' if *code => depth += 1,
                    '}' if *code => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            found.push((marker.then(|| name.to_owned()), open..close.unwrap().0));
        }
        at += line.len();
    }
    found
}

/// Every character with its place, and whether it is code: not in a string, nor in a comment.
fn code(text: &str, range: Range<usize>) -> Vec<(usize, char, bool)> {
    let mut found = Vec::new();
    let (mut string, mut comment) = (false, false);
    for (offset, c) in text[range.clone()].char_indices() {
        let at = range.start + offset;
        comment = if comment { c != '\n' } else { !string && text[at..].starts_with("//") };
        let quote = c == '"' && !comment;
        found.push((at, c, !comment && !string && !quote));
        string ^= quote;
    }
    found
}
