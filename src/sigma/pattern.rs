//! Strings of Sigma: wildcards, escapes, and the few regular expressions that are nothing else.

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// These characters.
    Text(String),
    /// Any run of characters.
    Run,
    /// Any character.
    One,
}

/// A string with wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    /// A string of Sigma: `*` and `?` are wildcards, a backslash before them or before another backslash takes their
    /// meaning away, and any other backslash stands for itself.
    pub fn parse(text: &str) -> Self {
        let mut pattern = Self::default();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next_if(|next| matches!(next, '*' | '?' | '\\')) {
                    Some(escaped) => pattern.push(escaped),
                    None => pattern.push('\\'),
                },
                '*' => pattern.push_run(),
                '?' => pattern.0.push(Part::One),
                other => pattern.push(other),
            }
        }
        pattern
    }

    /// Exactly this text.
    pub fn literal(text: &str) -> Self {
        let mut pattern = Self::default();
        text.chars().for_each(|c| pattern.push(c));
        pattern
    }

    fn push(&mut self, c: char) {
        if let Some(Part::Text(text)) = self.0.last_mut() {
            return text.push(c);
        }
        self.0.push(Part::Text(c.into()));
    }

    fn push_run(&mut self) {
        if self.0.last() != Some(&Part::Run) {
            self.0.push(Part::Run);
        }
    }

    /// The pattern with anything before it, after it, or both.
    pub fn open(mut self, before: bool, after: bool) -> Self {
        if before && self.0.first() != Some(&Part::Run) {
            self.0.insert(0, Part::Run);
        }
        if after {
            self.push_run();
        }
        self
    }

    /// The text, if there is no wildcard.
    pub fn plain(&self) -> Option<String> {
        match &self.0[..] {
            [] => Some(String::new()),
            [Part::Text(text)] => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether every text matches.
    pub fn is_anything(&self) -> bool {
        self.0 == [Part::Run]
    }

    /// The pattern as rules write it for `matches` and `matches_any_case`, which know no escapes.
    pub fn glob(&self) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) if text.contains(['*', '?']) => {
                    return Err("it has a literal `*` or `?`, which patterns of rules cannot say".into());
                }
                Part::Text(text) => out.push_str(text),
                Part::Run => out.push('*'),
                Part::One => out.push('?'),
            }
        }
        if out.len() > 256 { Err("it is longer than 256 bytes, the most a pattern may have".into()) } else { Ok(out) }
    }

    /// A text that matches, with `fill` in the place of each `*`.
    pub fn instance(&self, fill: &str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Run => fill.to_owned(),
            Part::One => "x".to_owned(),
        };
        self.0.iter().map(part).collect()
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str, cased: bool) -> bool {
        let fold = |text: &str| if cased { text.to_owned() } else { text.to_lowercase() };
        // units: a character, or one of the two wildcards
        let mut units: Vec<Result<char, bool>> = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => units.extend(fold(text).chars().map(Ok)),
                Part::Run => units.push(Err(true)),
                Part::One => units.push(Err(false)),
            }
        }
        let text: Vec<char> = fold(text).chars().collect();
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            match units.get(p) {
                Some(Err(true)) => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(unit) if *unit == Err(false) || *unit == Ok(text[t]) => (p, t) = (p + 1, t + 1),
                _ => {
                    let Some((at, eaten)) = star else { return false };
                    star = Some((at, eaten + 1));
                    (p, t) = (at + 1, eaten + 1);
                }
            }
        }
        units[p..].iter().all(|unit| *unit == Err(true))
    }

    /// The pattern that a regular expression is, if it has nothing but characters, `.*`, `.+`, `^` and `$`.
    pub fn from_regex(regex: &str) -> Result<Self, String> {
        let refuse = |what: String| {
            Err(format!(
                "regular expressions are not available in rules, and this one is no plain pattern ({what}): write it \
                 with contains, startswith, endswith or wildcards"
            ))
        };
        let (body, from_start) = regex.strip_prefix('^').map_or((regex, false), |rest| (rest, true));
        let (mut pattern, mut to_end) = (Self::default(), false);
        let mut chars = body.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '.' => match chars.next() {
                    Some('*') => pattern.push_run(),
                    Some('+') => {
                        pattern.0.push(Part::One);
                        pattern.push_run();
                    }
                    _ => return refuse("a `.` that is not `.*` or `.+`; escape it as `\\.` if it is a dot".into()),
                },
                '$' if chars.peek().is_none() => to_end = true,
                '\\' => match chars.next() {
                    Some(escaped) if !escaped.is_ascii_alphanumeric() => pattern.push(escaped),
                    Some(class) => return refuse(format!("`\\{class}`")),
                    None => return refuse("a backslash at its end".into()),
                },
                '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                    return refuse(format!("`{c}`"));
                }
                other => pattern.push(other),
            }
            if chars.next_if(|next| matches!(next, '*' | '+' | '?' | '{')).is_some() {
                return refuse("a repetition of something else than `.`".into());
            }
        }
        Ok(pattern.open(!from_start, !to_end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_escapes_are_those_of_sigma() {
        for (sigma, glob) in [
            ("adm*", Ok("adm*")),
            ("a**b?", Ok("a*b?")),
            (r"DOMAIN\user", Ok(r"DOMAIN\user")),
            (r"a\\*", Ok(r"a\*")),
            (r"a\\b", Ok(r"a\b")),
            (r"100\*", Err(())),
            (r"why\?", Err(())),
            (r"end\", Ok(r"end\")),
        ] {
            assert_eq!(Pattern::parse(sigma).glob().map_err(drop).as_deref(), glob.as_ref().map(|s| *s), "{sigma}");
        }
        assert_eq!(Pattern::parse(r"100\*").plain().as_deref(), Some("100*"));
        assert!(Pattern::parse("**").is_anything());
    }

    #[test]
    fn plain_regular_expressions_are_patterns_and_others_are_refused() {
        for (regex, glob) in [
            ("^svc-.*$", "svc-*"),
            ("admin", "*admin*"),
            (r"^a\.b$", "a.b"),
            ("^root", "root*"),
            (r"@example\.org$", "*@example.org"),
            ("^.+@x$", "?*@x"),
        ] {
            assert_eq!(Pattern::from_regex(regex).unwrap().glob().unwrap(), glob, "{regex}");
        }
        for regex in ["a|b", "[0-9]+", r"\d", "a.b", "a*", "(a)", "a{2}", "a\\", "x?", ".*?", "a$b", ".*+"] {
            assert!(Pattern::from_regex(regex).is_err(), "{regex}");
        }
    }

    #[test]
    fn instances_match() {
        for text in ["adm*", "*", "a?c*d", "*@example.org", "plain"] {
            let pattern = Pattern::parse(text);
            for fill in ["", "7", "some"] {
                let instance = pattern.instance(fill);
                assert!(pattern.matches(&instance, true) && pattern.matches(&instance.to_uppercase(), false), "{text}");
            }
        }
        assert!(!Pattern::parse("a*").matches("A", true));
    }
}
