//! Lists that rules look things up in: data files of addresses or strings, with an owner and an end date.

use super::{Problem, predicate::matches, subject::Subject};
use crate::{
    artifact::File,
    event::{Field, Text, Value},
};
use ahash::AHashSet;
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// A list in force.
#[derive(Debug, Clone)]
pub struct List {
    /// Its name: `lists/<name>.txt`.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Milliseconds since 1970 from which on it no longer matches; `None` is never.
    pub expires: Option<i64>,
    path: String,
    texts: AHashSet<Text>,
    /// Entries with a `*`.
    patterns: Vec<Text>,
    nets: Nets,
    /// Entries that are no address, with their lines: wrong once a rule looks an address up here.
    not_nets: Vec<(usize, String)>,
}

/// Networks, by family and prefix length: a lookup costs one probe for each length in use.
#[derive(Debug, Clone, Default)]
struct Nets {
    v4: BTreeMap<u8, AHashSet<u32>>,
    v6: BTreeMap<u8, AHashSet<u128>>,
}

impl Nets {
    fn insert(&mut self, net: IpNet) {
        match net {
            IpNet::V4(net) => self.v4.entry(net.prefix_len()).or_default().insert(net.network().to_bits()),
            IpNet::V6(net) => self.v6.entry(net.prefix_len()).or_default().insert(net.network().to_bits()),
        };
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.iter().any(|(length, nets)| {
                nets.contains(&(ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0)))
            }),
            IpAddr::V6(ip) => self.v6.iter().any(|(length, nets)| {
                nets.contains(&(ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0)))
            }),
        }
    }
}

impl List {
    /// A list of these entries, owned by nobody and without an end: for tests of rules.
    pub(super) fn of(name: &str, entries: impl IntoIterator<Item = String>) -> Self {
        let mut list = Self::named(name, "");
        for (at, entry) in entries.into_iter().enumerate() {
            list.insert(at + 1, &entry);
        }
        list
    }

    fn named(name: &str, path: &str) -> Self {
        Self {
            name: name.into(),
            owner: String::new(),
            expires: None,
            path: path.into(),
            texts: AHashSet::new(),
            patterns: Vec::new(),
            nets: Nets::default(),
            not_nets: Vec::new(),
        }
    }

    fn insert(&mut self, line: usize, entry: &str) {
        match entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => self.nets.insert(net),
            Err(_) => self.not_nets.push((line, entry.into())),
        }
        if entry.contains('*') && !self.patterns.iter().any(|known| known == entry) {
            self.patterns.push(entry.into());
        }
        self.texts.insert(entry.into());
    }

    /// Whether a string is an entry, or matches one that is a pattern.
    fn has(&self, text: &str) -> bool {
        self.texts.contains(text) || self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), text.as_bytes()))
    }

    /// Reads `lists/<name>.txt`.
    pub(super) fn parse(file: &File, problems: &mut Vec<Problem>) -> Self {
        let name = name_of(&file.path).unwrap_or_default();
        let mut list = Self::named(name, &file.path);
        let mut report = |line: usize, message: String| {
            problems.push(Problem { path: file.path.clone(), at: Some((line, 1)), message });
        };
        let Ok(text) = std::str::from_utf8(&file.bytes) else {
            report(1, "a list must be UTF-8 text: save it as UTF-8".into());
            return list;
        };
        let (mut owner, mut expires) = (None, None);
        for (at, line) in text.lines().enumerate() {
            let (line_number, line) = (at + 1, line.trim());
            if let Some(value) = header(line, "owner:") {
                owner = Some(value.to_owned());
            } else if let Some(value) = header(line, "expires:") {
                expires = Some(end_of(value));
                if expires == Some(Err(())) {
                    report(line_number, format!("{value:?} is no end date: write `# expires: 2027-12-31` or `never`"));
                }
            } else if !line.starts_with('#') {
                // a comment may follow an entry
                let entry = line.split(" #").next().unwrap_or_default().trim();
                if !entry.is_empty() {
                    list.insert(line_number, entry);
                }
            }
        }
        match owner.filter(|owner| !owner.is_empty()) {
            Some(owner) => list.owner = owner,
            None => report(1, "a list needs an owner: add a line `# owner: who answers for it`".into()),
        }
        match expires {
            Some(end) => list.expires = end.unwrap_or_default(),
            None => report(1, "a list needs an end: add a line `# expires: YYYY-MM-DD` (or `never`)".into()),
        }
        list
    }

    /// Its file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether it is in force for what happened at `time` (microseconds): an expired list matches nothing, so that an
    /// allow list that nobody looks after makes alerts, not silence.
    pub(super) fn in_force(&self, time: i64) -> bool {
        self.expires.is_none_or(|end| time.div_euclid(1000) < end)
    }

    /// Whether a string, or the address that it is, stands in the list.
    pub(super) fn contains_text(&self, text: &str) -> bool {
        self.has(text) || text.parse().is_ok_and(|ip| self.nets.contains(ip))
    }

    /// Whether what the selector finds stands in the list, and the list is in force.
    pub(super) fn selects(&self, subject: &Subject<'_>, field: Option<Field>, value: Value<'_>) -> bool {
        let found = match value {
            Value::Text(_) if field == Some(Field::src_ip) => subject.src_ip().is_some_and(|ip| self.nets.contains(ip)),
            Value::Text(text) | Value::Symbol(text) => self.has(text),
            Value::Long(number) => self.texts.contains(number.to_string().as_str()),
            Value::Texts(texts) => texts.iter().any(|text| self.has(text)),
            _ => false,
        };
        found && self.in_force(subject.time)
    }

    /// Reports the entries that can never match an address.
    pub(super) fn check_addresses(&self, rule: &str, problems: &mut Vec<Problem>) {
        for (line, entry) in &self.not_nets {
            problems.push(Problem {
                path: self.path.clone(),
                at: Some((*line, 1)),
                message: format!(
                    "{entry:?} is no address or CIDR, and rule {rule} looks src_ip up here: mend or remove it"
                ),
            });
        }
    }
}

/// The name of the list in a file, if it is one: `lists/<name>.txt`.
pub(super) fn name_of(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    (folder == "lists" || folder.ends_with("/lists")).then(|| name.strip_suffix(".txt")).flatten()
}

/// The value of the header `key` in a comment line.
fn header<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix('#')?.trim_start().strip_prefix(key).map(str::trim)
}

/// The first millisecond after the day `text`, `None` for never.
pub(super) fn end_of(text: &str) -> Result<Option<i64>, ()> {
    if text == "never" {
        return Ok(None);
    }
    let day: jiff::civil::Date = text.parse().map_err(|_| ())?;
    let next = day.tomorrow().map_err(|_| ())?;
    let moment = next.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| ())?;
    Ok(Some(moment.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (List, Vec<String>) {
        let mut problems = Vec::new();
        let file = File { path: "lists/egress.txt".into(), bytes: text.into() };
        let list = List::parse(&file, &mut problems);
        (list, problems.into_iter().map(|p| format!("{}:{}", p.at.map_or(0, |at| at.0), p.message)).collect())
    }

    #[test]
    fn entries_are_networks_addresses_or_strings() {
        let (list, problems) = parse(
            "# owner: net team\n# expires: 2027-01-31\n# a comment\n\n\
             10.0.0.0/8\n192.0.2.7 # one host\n2001:db8::/32\n0.0.0.0/32\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((list.name.as_str(), list.owner.as_str(), list.len()), ("egress", "net team", 4));
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:1::9", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(list.nets.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        // the last moment of the last day, and the first after it
        assert_eq!(list.expires, Some(1_801_440_000_000));
        assert!(list.in_force(1_801_439_999_999_999) && !list.in_force(1_801_440_000_000_000));
    }

    #[test]
    fn a_network_of_everything_is_no_overflow() {
        let (list, _) = parse("# owner: x\n# expires: never\n0.0.0.0/0\n::/0\n");
        assert!(list.nets.contains("203.0.113.7".parse().unwrap()) && list.nets.contains("::1".parse().unwrap()));
    }

    #[test]
    fn an_entry_with_a_star_is_a_pattern() {
        let (list, problems) = parse("# owner: x\n# expires: never\n*.example.com\nsvc-*-prod\nann\nbob?\n");
        assert_eq!((problems.len(), list.len()), (0, 4));
        for (text, yes) in [
            ("mail.example.com", true),
            ("example.com", false),
            ("mail.example.com.evil", false),
            ("svc-web-prod", true),
            ("ann", true),
            ("anna", false),
            ("bob?", true),
            ("bobo", false),
        ] {
            assert_eq!(list.contains_text(text), yes, "{text}");
        }
    }

    #[test]
    fn header_lines_are_asked_for() {
        let (_, problems) = parse("10.0.0.0/8\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        let (_, problems) = parse("# owner: x\n# expires: soon\nann\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("2:\"soon\" is no end date"), "{problems:?}");
    }
}
