//! Paths: where in a record a value stands. `details.username`, `events[0].name`, `roles[*]`,
//! `parameters[name=login_type].value`, `"a key.with dots".id`, and `$name` for what the mapping itself took out of a
//! text.

use std::collections::HashMap;

/// The number of a name that a mapping knows.
pub(super) type Id = u16;
/// The number of all names that it does not.
pub(super) const UNKNOWN: Id = 0;

/// Names by number, from 1.
#[derive(Debug, Default)]
pub(super) struct Names {
    // the names are the mapping's own: nobody can choose them so that they collide
    ids: HashMap<String, Id, ahash::RandomState>,
}

impl Names {
    pub fn new() -> Self {
        Self { ids: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)) }
    }

    /// The number of a name that is known from now on.
    pub fn learn(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = Id::try_from(self.ids.len() + 1).unwrap_or(Id::MAX);
        self.ids.insert(name.into(), id);
        id
    }

    /// The number of a name.
    #[inline]
    pub fn of(&self, name: &str) -> Id {
        self.ids.get(name).copied().unwrap_or(UNKNOWN)
    }
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(Id),
    /// An item of an array, from the end if negative.
    At(i64),
    /// Every item of an array.
    All,
    /// The first object of an array whose member has this text.
    Where(Id, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// As it was written.
    pub text: String,
    /// Begins at what the mapping took out of texts, not at the record.
    pub own: bool,
    pub steps: Vec<Step>,
    /// For keys with dots in them: `joined[i]` are the numbers of steps i and i+1 joined by a dot, i to i+2, …
    pub joined: Vec<Vec<Id>>,
}

impl Path {
    /// Reads a path. With `dotted`, `a.b` is also the one key `a.b`.
    pub fn parse(text: &str, dotted: bool, names: &mut Names) -> Result<Self, String> {
        let (own, mut rest) = match text.strip_prefix('$') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mut steps, mut plain) = (Vec::new(), Vec::new());
        loop {
            let name;
            (name, rest) = segment(rest)?;
            steps.push(Step::Name(names.learn(&name)));
            plain.push(Some(name));
            while let Some(inner) = rest.strip_prefix('[') {
                let (selector, after) = inner.split_once(']').ok_or("a [ has no ]")?;
                steps.push(select(selector, names)?);
                plain.push(None);
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return Err(format!("{rest:?} is not understood: a dot leads on to the next name")),
            }
        }
        let joined = if dotted { joined(&plain, names) } else { Vec::new() };
        Ok(Self { text: text.into(), own, steps, joined })
    }
}

/// The first name, in quotes if it holds a dot or a bracket, and what follows.
fn segment(text: &str) -> Result<(String, &str), String> {
    if let Some(inner) = text.strip_prefix('"') {
        let (name, rest) = inner.split_once('"').ok_or("a quote is not closed")?;
        return Ok((name.into(), rest));
    }
    let end = text.find(['.', '[', ']', '"', '{', '}', '$']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.trim().is_empty() {
        return Err("a name is missing".into());
    }
    Ok((name.into(), rest))
}

fn select(selector: &str, names: &mut Names) -> Result<Step, String> {
    if selector == "*" {
        return Ok(Step::All);
    }
    if let Some((name, value)) = selector.split_once('=') {
        return Ok(Step::Where(names.learn(name.trim()), value.trim().trim_matches('"').into()));
    }
    let at = selector.trim().parse().map(Step::At);
    at.map_err(|_| format!("[{selector}] is none of [0], [-1], [*], [name=value]"))
}

fn joined(plain: &[Option<String>], names: &mut Names) -> Vec<Vec<Id>> {
    let mut from = |start: usize| {
        let mut name = plain.get(start).cloned().flatten()?;
        let mut ids = Vec::new();
        for next in plain.get(start + 1..)? {
            let Some(next) = next else { break };
            name = format!("{name}.{next}");
            ids.push(names.learn(&name));
        }
        Some(ids)
    };
    (0..plain.len()).map(|start| from(start).unwrap_or_default()).collect()
}

/// A pattern with `*` for any characters and `?` for one, matched against the whole of a text in time that is at most
/// the product of their lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    pub fn is_glob(pattern: &str) -> bool {
        pattern.contains(['*', '?'])
    }

    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(b'?') => {
                    // one character, not one byte
                    t += 1;
                    while text.get(t).is_some_and(|byte| byte & 0xc0 == 0x80) {
                        t += 1;
                    }
                    p += 1;
                }
                Some(byte) if *byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((at, tried)) => {
                        star = Some((at, tried + 1));
                        p = at + 1;
                        t = tried + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_places_and_choices() {
        let mut names = Names::new();
        let mut path = |text: &str| Path::parse(text, false, &mut names).map(|path| (path.own, path.steps));
        assert_eq!(path("a.b"), Ok((false, vec![Step::Name(1), Step::Name(2)])));
        assert_eq!(path("$a[0][*]"), Ok((true, vec![Step::Name(1), Step::At(0), Step::All])));
        assert_eq!(path("b[a=x.y].a").unwrap().1[1], Step::Where(1, "x.y".into()));
        assert_eq!(path("\"a.b\"[-1]").unwrap().1, [Step::Name(3), Step::At(-1)]);
        assert_eq!(path("@timestamp").unwrap().1, [Step::Name(4)]);
        for bad in ["", "a.", ".a", "a..b", "a[", "a[x]", "a]", "\"a", "a b}", "a[0]b"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn with_dotted_keys_every_joint_is_known() {
        let mut names = Names::new();
        let path = Path::parse("a.b.c", true, &mut names).unwrap();
        assert_eq!(path.joined, [vec![names.of("a.b"), names.of("a.b.c")], vec![names.of("b.c")], vec![]]);
        assert!(names.of("b.c") != UNKNOWN);
    }

    #[test]
    fn globs_match_the_whole_text() {
        for (pattern, text, want) in [
            ("users/*/role-mappings/*", "users/1/role-mappings/realm", true),
            ("users/*/role-mappings/*", "users/1/groups/2", false),
            ("*", "", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("*_ERROR", "LOGIN_ERROR", true),
            ("*a*b*c", "aabbcc", true),
            ("*a*b*c", "aabbccd", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), want, "{pattern} {text}");
        }
        assert!(!Glob::new(&"*a".repeat(50)).matches(&"a".repeat(40)));
    }
}
