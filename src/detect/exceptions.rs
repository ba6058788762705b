//! Exceptions and silences: what a rule finds and nobody has to act on, for a while, with an owner and a reason. They
//! are files beside the rules (`exceptions/*.toml`), so they are reviewed, digested and sealed as rules are.
//!
//! An exception keeps a finding from being raised; a silence lets it out as suppressed. Both are counted: nothing
//! vanishes unseen. What they match is a value of the rule's key, as one finding stands for all events of a key; an
//! event's other fields only count where a finding is about that one event.

use super::{
    Problem,
    keys::value_text,
    list::end_of,
    predicate::matches,
    rule::Rule,
    ruleset::{Kind as FileKind, RuleSet, kind},
    spec::Spec,
    subject::{Selector, Subject},
    suggest::hint,
};
use crate::{
    artifact::File,
    event::{Field, FieldType, Text},
};
use ipnet::IpNet;
use jiff::civil::Date;
use std::{collections::BTreeMap, net::IpAddr, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The last day of an entry is at most so many days away when it is checked.
pub const LONGEST_DAYS: i64 = 366;
/// An entry that ends within so many days is told.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 86_400_000;
/// Entries over all files.
const MOST: usize = 10_000;
const KEYS: [&str; 5] = ["rule", "match", "owner", "reason", "expires"];

/// What an entry does to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not raised.
    Exception,
    /// It is raised and published as suppressed.
    Silence,
}

impl Kind {
    /// As files write it.
    pub fn name(self) -> &'static str {
        ["exception", "silence"][self as usize]
    }
}

/// What a field must be.
#[derive(Debug, Clone)]
enum Pattern {
    Exact(Text),
    Glob(Text),
    Net(IpNet),
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Glob(pattern) => matches(pattern.as_bytes(), text.as_bytes()),
            Self::Net(net) => text.parse::<IpAddr>().is_ok_and(|ip| net.contains(&ip.to_canonical())),
        }
    }
}

/// One exception or silence.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it does.
    pub kind: Kind,
    /// The rule; none for all rules.
    pub rule: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// The last day (UTC) on which it has effect.
    pub last_day: Date,
    /// Its file.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// Milliseconds since 1970 from which on it has no effect.
    end: i64,
    /// The fields that all must fit, each with its patterns, of which one must.
    fields: Vec<(Selector, Vec<Pattern>)>,
}

impl Entry {
    /// `exceptions/x.toml:3: the reason`
    pub fn told(&self) -> String {
        format!("{}:{}: {}", self.path, self.line, self.reason)
    }

    fn fits(&self, subject: &Subject<'_>) -> bool {
        subject.time.div_euclid(1000) < self.end
            && self.fields.iter().all(|(field, patterns)| match value_text(subject.get(field)) {
                Some(text) => patterns.iter().any(|pattern| pattern.fits(&text)),
                // as in keys: most installations have one tenant and never name it
                None if *field == Selector::Field(Field::tenant) => patterns.iter().any(|pattern| pattern.fits("")),
                None => false,
            })
    }

    /// Why it cannot apply to a rule, if it cannot.
    fn misfit(&self, spec: &Spec) -> Option<String> {
        let (field, _) = self.fields.iter().find(|(field, _)| !spec.key.contains(field))?;
        let (name, id) = (field.name(), &spec.id);
        let key: Vec<String> = spec.key.iter().map(Selector::name).collect();
        let key = key.join(", ");
        if spec.window.is_some() {
            return Some(format!(
                "{id} counts events by [{key}], and {name} of one event says nothing of the others that are counted: \
                 match fields of its key, or test {name} in its `when`"
            ));
        }
        (spec.dedup.is_some() && self.kind == Kind::Silence).then(|| {
            format!(
                "a finding of {id} stands for all events of [{key}] in its dedup period, so a silence for one value of \
                 {name} would silence others: match fields of its key, or make it an exception"
            )
        })
    }
}

/// All exceptions and silences of a rule set.
#[derive(Debug, Default)]
pub struct Exceptions {
    entries: Vec<Entry>,
    /// Those that can apply to a rule: exceptions first.
    by_rule: BTreeMap<String, Vec<usize>>,
}

impl Exceptions {
    /// All of them, by file and line.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry that covers what a rule found on a record, at the time of the record. Exceptions come first.
    pub(super) fn covering(&self, spec: &Spec, subject: &Subject<'_>) -> Option<&Entry> {
        let candidates = self.by_rule.get(&spec.id)?;
        candidates.iter().filter_map(|at| self.entries.get(*at)).find(|entry| entry.fits(subject))
    }

    /// Reads all files of exceptions.
    pub(super) fn parse(files: &[File], rules: &[Rule], problems: &mut Vec<Problem>) -> Self {
        let mut found = Self::default();
        let mut files: Vec<&File> = files.iter().filter(|file| kind(&file.path) == FileKind::Exceptions).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in files {
            let mut reader = Reader { path: &file.path, text: "", rules, problems };
            match std::str::from_utf8(&file.bytes) {
                Ok(text) => {
                    reader.text = text;
                    reader.file(&mut found.entries);
                }
                Err(_) => reader.note_line(1, "a file of exceptions must be UTF-8 text: save it as UTF-8".into()),
            }
            if found.entries.len() > MOST {
                reader.note_line(1, format!("there are more than {MOST} exceptions: mend the rules instead"));
                return Self::default();
            }
        }
        for rule in rules {
            let for_rule = |entry: &Entry| entry.rule.as_ref().is_none_or(|id| *id == rule.spec.id);
            let fitting = found.entries.iter().enumerate();
            let fitting = fitting.filter(|(_, entry)| for_rule(entry) && entry.misfit(&rule.spec).is_none());
            let mut places: Vec<usize> = fitting.map(|(at, _)| at).collect();
            places.sort_by_key(|at| found.entries[*at].kind == Kind::Silence);
            if !places.is_empty() {
                found.by_rule.insert(rule.spec.id.clone(), places);
            }
        }
        found
    }
}

/// Whether a file holds exceptions, by its path: `exceptions/<name>.toml`.
pub(super) fn is_file(path: &str) -> bool {
    path.starts_with("exceptions/") && path.ends_with(".toml")
}

/// What the calendar says about a rule set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// What must be mended.
    pub problems: Vec<Problem>,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

impl RuleSet {
    /// Compares the ends of exceptions, silences and lists with `now`, milliseconds since 1970.
    pub fn review(&self, now: i64) -> Review {
        let mut review = Review::default();
        for entry in self.exceptions().entries() {
            let at = |message: String| Problem { path: entry.path.clone(), at: Some((entry.line, 1)), message };
            let (what, day) = (entry.kind.name(), entry.last_day);
            if entry.end <= now {
                let text = format!("this {what} has expired on {day} and has no effect: remove it, or renew it");
                review.warnings.push(at(text));
            } else if entry.end - now > (LONGEST_DAYS + 1) * DAY {
                let text = format!(
                    "this {what} would last until {day}: at most {LONGEST_DAYS} days from today are allowed, so that \
                     somebody looks at it again; if it should hold for ever, change the rule"
                );
                review.problems.push(at(text));
            } else if entry.end - now <= SOON_DAYS * DAY {
                review.warnings.push(at(format!("this {what} ends soon, on {day}: {} answers for it", entry.owner)));
            }
        }
        for list in self.lists().iter().filter(|list| list.expires.is_some_and(|end| end <= now)) {
            let message = format!("list {} has expired and matches nothing: {} answers for it", list.name, list.owner);
            review.warnings.push(Problem { path: list.path().into(), at: Some((1, 1)), message });
        }
        review
    }
}

struct Reader<'a, 'b> {
    path: &'a str,
    text: &'a str,
    rules: &'a [Rule],
    problems: &'b mut Vec<Problem>,
}

type Table<'a> = DeTable<'a>;

impl Reader<'_, '_> {
    /// Line and column of a byte, both from 1; columns are characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }

    fn note(&mut self, span: &Range<usize>, message: String) {
        let at = Some(self.place(span.start));
        self.problems.push(Problem { path: self.path.into(), at, message });
    }

    fn note_line(&mut self, line: usize, message: String) {
        self.problems.push(Problem { path: self.path.into(), at: Some((line, 1)), message });
    }

    fn file(&mut self, entries: &mut Vec<Entry>) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let message = format!("this is no valid TOML: {}", error.message().trim_end().replace('\n', "; "));
            self.note(&error.span().unwrap_or_default(), message);
        }
        for (name, value) in table.get_ref() {
            let kind = match name.get_ref().as_ref() {
                "exception" => Kind::Exception,
                "silence" => Kind::Silence,
                other => {
                    let near = hint(other, ["exception", "silence"]);
                    self.note(
                        &name.span(),
                        format!("unknown table `{other}`{near}: write [[exception]] or [[silence]]"),
                    );
                    continue;
                }
            };
            let DeValue::Array(items) = value.get_ref() else {
                self.note(&name.span(), format!("write [[{}]] in double brackets: there may be several", kind.name()));
                continue;
            };
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::Table(table) => entries.extend(self.entry(kind, &item.span(), table)),
                    _ => self.note(&item.span(), format!("write [[{}]] and its keys below", kind.name())),
                }
            }
        }
    }

    fn entry(&mut self, kind: Kind, span: &Range<usize>, table: &Table<'_>) -> Option<Entry> {
        let before = self.problems.len();
        for key in table.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let near = hint(key.get_ref(), KEYS);
            self.note(&key.span(), format!("{} entries have no key `{}`{near}", kind.name(), key.get_ref()));
        }
        let rule = self.text(kind, span, table, "rule", "\"AUTH-0001\", or \"*\" for all rules");
        let owner = self.text(kind, span, table, "owner", "\"who answers for it\"");
        let reason = self.text(kind, span, table, "reason", "\"why nobody has to act\"");
        let last_day = self.expires(kind, span, table);
        let fields = self.fields(kind, span, table);
        let (rule, owner, reason) = (rule?, owner?, reason?);
        let (last_day, end) = last_day?;
        let rule = Some(rule).filter(|rule| rule != "*");
        let line = self.place(span.start).0;
        let path = self.path.to_owned();
        let entry = Entry { kind, rule, owner, reason, last_day, path, line, end, fields };
        if self.problems.len() == before {
            self.applies(&entry, &table.get("rule")?.span());
        }
        (self.problems.len() == before).then_some(entry)
    }

    /// Whether there is a rule that it can apply to.
    fn applies(&mut self, entry: &Entry, at: &Range<usize>) {
        let Some(id) = &entry.rule else {
            if self.rules.iter().all(|rule| entry.misfit(&rule.spec).is_some()) {
                let names: Vec<String> = entry.fields.iter().map(|(field, _)| field.name()).collect();
                let message = format!("it applies to no rule: no rule has {} in its key", names.join(" and "));
                self.note(at, message);
            }
            return;
        };
        match self.rules.iter().find(|rule| rule.spec.id == *id) {
            Some(rule) => {
                if let Some(why) = entry.misfit(&rule.spec) {
                    self.note(at, why);
                }
            }
            None => {
                let near = hint(id, self.rules.iter().map(|rule| rule.spec.id.as_str()));
                self.note(at, format!("there is no rule {id}{near}"));
            }
        }
    }

    fn required<'t>(
        &mut self,
        kind: Kind,
        span: &Range<usize>,
        table: &'t Table<'_>,
        key: &str,
        example: &str,
    ) -> Option<&'t Spanned<DeValue<'t>>> {
        let value = table.get(key);
        if value.is_none() {
            self.note(span, format!("this {} has no `{key}`: add {key} = {example}", kind.name()));
        }
        value
    }

    fn text(&mut self, kind: Kind, span: &Range<usize>, table: &Table<'_>, key: &str, example: &str) -> Option<String> {
        let value = self.required(kind, span, table, key, example)?;
        match value.get_ref() {
            DeValue::String(text) if (1..=1024).contains(&text.trim().len()) => Some(text.trim().to_owned()),
            _ => {
                self.note(&value.span(), format!("`{key}` must be a string of 1 to 1,024 bytes: {key} = {example}"));
                None
            }
        }
    }

    fn expires(&mut self, kind: Kind, span: &Range<usize>, table: &Table<'_>) -> Option<(Date, i64)> {
        let value = self.required(kind, span, table, "expires", "2027-03-31, the last day")?;
        let text = match value.get_ref() {
            DeValue::Datetime(day) => day.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let day = text.parse::<Date>().ok().filter(|_| text.len() == 10).zip(end_of(&text).ok().flatten());
        if day.is_none() {
            let never = if text == "never" { "every entry has an end: " } else { "" };
            self.note(&value.span(), format!("{never}`expires` must be a day: expires = 2027-03-31"));
        }
        day
    }

    fn fields(&mut self, kind: Kind, span: &Range<usize>, table: &Table<'_>) -> Vec<(Selector, Vec<Pattern>)> {
        let example = "{ src_ip = \"192.0.2.0/24\" }";
        let Some(value) = self.required(kind, span, table, "match", example) else { return Vec::new() };
        let DeValue::Table(wanted) = value.get_ref() else {
            self.note(&value.span(), format!("`match` must be a table of fields: match = {example}"));
            return Vec::new();
        };
        if wanted.is_empty() {
            let message = "an empty `match` would match everything: name a field, or set the rule's mode to \"shadow\"";
            self.note(&value.span(), message.into());
        }
        wanted.iter().filter_map(|(name, value)| self.field(name.get_ref(), &name.span(), value)).collect()
    }

    fn field(
        &mut self,
        name: &str,
        at: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<(Selector, Vec<Pattern>)> {
        let Some(selector) = Selector::from_name(name) else {
            self.note(at, format!("events have no field `{name}`{}", hint(name, Selector::names())));
            return None;
        };
        if matches!(
            selector.field_type(),
            FieldType::Texts | FieldType::Map | FieldType::OptDouble | FieldType::Micros | FieldType::OptMicros
        ) {
            self.note(at, format!("{name} cannot be matched: use a field that identifies someone or something"));
            return None;
        }
        let one = std::slice::from_ref(value);
        let values: &[Spanned<DeValue<'_>>] = match value.get_ref() {
            DeValue::Array(values) => values,
            _ => one,
        };
        if values.is_empty() {
            self.note(&value.span(), format!("an empty array matches nothing: give {name} a value"));
            return None;
        }
        let patterns: Vec<Pattern> = values.iter().filter_map(|value| self.pattern(&selector, value)).collect();
        (patterns.len() == values.len()).then_some((selector, patterns))
    }

    fn pattern(&mut self, selector: &Selector, value: &Spanned<DeValue<'_>>) -> Option<Pattern> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            _ => {
                self.note(&value.span(), "a field is matched by a string, a number or a boolean".into());
                return None;
            }
        };
        if *selector == Selector::Field(Field::src_ip) {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| ip.to_canonical().into()));
            if net.as_ref().is_ok_and(|net| net.prefix_len() == 0) {
                self.note(&value.span(), format!("{text} is every address: name the network"));
                return None;
            }
            if net.is_err() {
                self.note(&value.span(), format!("{text:?} is no address or CIDR, such as 192.0.2.0/24"));
            }
            return net.ok().map(|net| Pattern::Net(net.trunc()));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte == b'*') {
            self.note(&value.span(), format!("{text:?} matches everything: leave {} out", selector.name()));
            return None;
        }
        if let FieldType::Enum(symbols, _) = selector.field_type()
            && !symbols.contains(&text.as_str())
        {
            let near = hint(&text, symbols.iter().copied());
            self.note(&value.span(), format!("{} is never {text:?}{near}", selector.name()));
            return None;
        }
        let glob = text.contains(['*', '?']);
        Some(if glob { Pattern::Glob(text.as_str().into()) } else { Pattern::Exact(text.as_str().into()) })
    }
}
