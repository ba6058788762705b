//! A trust file: whom somebody believes from the start. One statement a line, in the manner of c2sp.org/tlog-policy.

use crate::{
    error::{Error, Result},
    note::Verifiers,
};

/// What a trust file says.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The keys: of the log and of the writers.
    pub keys: Verifiers,
    /// Names of the writers, by key, where the file tells them.
    pub writers: Vec<(String, String)>,
    /// The evidence that it is about, where the file says so.
    pub origin: Option<String>,
}

impl Trust {
    /// Reads statements: `origin <name>`, `log <vkey> [url]`, `seal <vkey> [writer]`, or a verifier key by itself.
    /// Empty lines and lines that begin with `#` are passed over, and so are `witness`, `group` and `quorum`, which are
    /// those of a policy about witnesses in the same file. Anything else is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let mut trust = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            trust.line(line.trim()).map_err(|e| e.context(format!("line {number}")))?;
        }
        for (name, _) in trust.keys.iter() {
            let of_it = |origin: &String| name == origin || name.strip_suffix("/seal") == Some(origin);
            if trust.origin.as_ref().is_some_and(|origin| !of_it(origin)) {
                let origin = trust.origin.as_deref().unwrap_or_default();
                return Err(Error::config(format!("a key is called {name:?}, and the file is about {origin:?}")));
            }
        }
        Ok(trust)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let wrong = |what: &str| Err(Error::config(format!("{what}: write origin, log, seal, or a verifier key")));
        match words[..] {
            ["origin", name] if self.origin.is_none() => self.origin = Some(name.into()),
            ["origin", ..] => return wrong("origin stands once, and has one name"),
            ["log", key] | ["log", key, _] => self.keys.add(key)?,
            ["seal", key] => self.seal(key)?,
            ["seal", key, writer] => {
                self.seal(key)?;
                self.writers.push((key.into(), writer.into()));
            }
            ["witness" | "group" | "quorum", ..] => {}
            [key] => self.keys.add(key)?,
            _ => return wrong(&format!("{:?} is no statement", words.first().copied().unwrap_or_default())),
        }
        Ok(())
    }

    fn seal(&mut self, key: &str) -> Result<()> {
        let name = key.split('+').next().unwrap_or_default();
        match name.ends_with("/seal") {
            true => self.keys.add(key),
            false => Err(Error::config(format!("the key of a writer is called origin/seal, this one {name:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;

    fn key(name: &str, seed: u8) -> String {
        Signer::from_seed(name, [seed; 32]).unwrap().verifier_key()
    }

    #[test]
    fn several_writers_and_a_log_stand_in_one_file() {
        let (a, b, log) =
            (key("example.com/auth/seal", 1), key("example.com/auth/seal", 2), key("example.com/auth", 3));
        let witness = key("witness.example", 4);
        let text = format!(
            "# whom we believe\norigin example.com/auth\nlog {log} https://example.com/log\n\nseal {a} frankfurt\n\
             seal {b}\nwitness w1 {witness}\nquorum w1\n"
        );
        let trust = Trust::parse(&text).unwrap();
        assert_eq!(trust.keys.iter().len(), 3);
        assert_eq!(trust.writers, [(a.clone(), "frankfurt".into())]);
        // plain lists of keys go on working
        assert_eq!(Trust::parse(&format!("{a}\r\n{log}\n")).unwrap().keys.iter().len(), 2);
        for bad in [
            format!("trust {a}"),
            format!("seal {log}"),
            format!("seal {a} two words"),
            "origin a\norigin b".into(),
            format!("origin example.com/other\nseal {a}"),
            "seal PRIVATE+KEY+x".into(),
            format!("log {a}x"),
        ] {
            assert!(Trust::parse(&bad).is_err(), "{bad}");
        }
    }
}
