//! Which keys may have signed what: the keys that somebody trusts from the start, and what the entries of the log made
//! of them. A key is good for what stands behind its introduction and not behind its retirement, counted in entries of
//! the log: whoever steals an old key cannot seal anything anew.

use super::key::{Action, KeyEntry};
use crate::{
    fault::{Fault, code},
    note::{KeyId, Verifiers},
};

/// A key, and for which entries it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Key name.
    pub name: String,
    /// Key id.
    pub id: KeyId,
    /// Whether it is trusted from the start; else the log introduced it.
    pub root: bool,
    /// Index of the entry that introduced it.
    pub introduced: Option<u64>,
    /// Index of the entry that retired it.
    pub retired: Option<u64>,
}

impl Span {
    /// Whether it may sign what stands at `index`: an entry, the first of a batch, or the size of a checkpoint.
    fn judge(&self, index: u64) -> Result<(), Fault> {
        let Self { name, id, .. } = self;
        match (self.introduced, self.retired) {
            (Some(at), _) if index <= at => Err(Fault::new(
                code::KEY_NOT_INTRODUCED,
                format!("key {name}+{id} is good behind entry {at} of the log, which introduces it"),
            )),
            (_, Some(at)) if index > at => Err(Fault::new(
                code::KEY_RETIRED,
                format!("key {name}+{id} is good up to entry {at} of the log, which retires it"),
            )),
            _ => Ok(()),
        }
    }
}

/// The keys that are known, as of the entries taken so far.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    verifiers: Verifiers,
    spans: Vec<Span>,
}

impl Keyring {
    /// Keys that are trusted from the start.
    pub fn new(roots: &Verifiers) -> Self {
        let span =
            |(name, id): (&str, KeyId)| Span { name: name.into(), id, root: true, introduced: None, retired: None };
        Self { verifiers: roots.clone(), spans: roots.iter().map(span).collect() }
    }

    /// Every key that was ever good: who signed with it is told, whether it was good then is [`Keyring::judge`]'s.
    pub fn verifiers(&self) -> &Verifiers {
        &self.verifiers
    }

    /// The keys that may sign what stands at `index`.
    pub fn good(&self, index: u64) -> Verifiers {
        self.verifiers.filtered(|name, id| self.judge(name, id, index).is_ok())
    }

    /// The keys, in the order in which they became known.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether a key may sign what stands at `index`.
    pub fn judge(&self, name: &str, id: KeyId, index: u64) -> Result<(), Fault> {
        match self.find(name, id) {
            Some(span) => span.judge(index),
            None => Err(Fault::new(code::UNKNOWN_KEY, format!("key {name}+{id} is not known"))),
        }
    }

    /// The key of this name and id.
    pub fn find(&self, name: &str, id: KeyId) -> Option<&Span> {
        self.spans.iter().find(|span| span.id == id && span.name == name)
    }

    /// Takes the entry at `index` in. One that is refused has no effect.
    ///
    /// A key is introduced once at most, and never again after it was retired: else an old entry could be entered
    /// again.
    pub fn take(&mut self, index: u64, entry: &KeyEntry) -> Result<(), Fault> {
        let refuse = |what: String| Err(Fault::new(code::KEY_ENTRY, format!("entry {index} has no effect: {what}")));
        let own = entry.verifier()?;
        let Some((name, id)) = own.iter().next() else { return refuse("it names no key".into()) };
        let text = entry.text().map_err(|e| Fault::new(code::KEY_ENTRY, e.to_string()))?;
        let (mut by_itself, mut by_other) = (false, false);
        for (signer, signature) in entry.signed() {
            let itself = signer == id;
            let known = if itself { &own } else { &self.verifiers };
            match known.verify(name, signer, &text, &signature) {
                None => continue, // of a key that is not known: it says nothing
                Some(false) => return refuse(format!("the signature of key {name}+{signer} is bad")),
                Some(true) if itself => by_itself = true,
                // what a key that is not good says does not count
                Some(true) => by_other |= self.judge(name, signer, index).is_ok(),
            }
        }
        let span = self.find(name, id);
        match entry.action {
            Action::Introduce => {
                if span.is_some_and(|span| span.introduced.is_some() || span.retired.is_some()) {
                    return refuse(format!("key {name}+{id} was introduced or retired before"));
                }
                if !by_itself {
                    return refuse(format!("key {name}+{id} did not sign its own introduction"));
                }
                if !by_other && !span.is_some_and(|span| span.root) {
                    return refuse(format!("no key called {name} that is good there introduces {name}+{id}"));
                }
                let (name, root) = (name.to_owned(), span.is_some());
                self.verifiers.extend(&own).map_err(|e| Fault::new(code::KEY_ENTRY, e.to_string()))?;
                self.spans.retain(|span| span.id != id || span.name != name);
                self.spans.push(Span { name, id, root, introduced: Some(index), retired: None });
            }
            Action::Retire => {
                let good = span.is_some_and(|span| span.judge(index).is_ok());
                if !good {
                    return refuse(format!("key {name}+{id} is not good there, so that it cannot be retired"));
                }
                if !by_itself && !by_other {
                    return refuse(format!("no key called {name} that is good there retires {name}+{id}"));
                }
                if let Some(span) = self.spans.iter_mut().find(|span| span.id == id && span.name == name) {
                    span.retired = Some(index);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;

    const ORIGIN: &str = "example.com/auth";
    const SEAL: &str = "example.com/auth/seal";

    fn key(name: &str, seed: u8) -> Signer {
        Signer::from_seed(name, [seed; 32]).unwrap()
    }

    fn entry(action: Action, about: &Signer, signers: &[&Signer]) -> KeyEntry {
        let mut entry = KeyEntry::new(ORIGIN, action, &about.verifier_key(), 1, "");
        for signer in signers {
            entry.add(signer.id(), &signer.signature(&entry.text().unwrap()));
        }
        entry
    }

    #[test]
    fn a_key_is_good_behind_its_introduction_and_not_behind_its_retirement() {
        let (old, new) = (key(SEAL, 1), key(SEAL, 2));
        let mut ring = Keyring::new(&Verifiers::of(&old));
        let code = |ring: &Keyring, key: &Signer, index| ring.judge(SEAL, key.id(), index).map_err(|f| f.code);
        assert_eq!(code(&ring, &new, 5), Err(code::UNKNOWN_KEY));
        ring.take(10, &entry(Action::Introduce, &new, &[&new, &old])).unwrap();
        ring.take(20, &entry(Action::Retire, &old, &[&old, &new])).unwrap();
        assert_eq!(code(&ring, &new, 9), Err(code::KEY_NOT_INTRODUCED));
        assert_eq!(code(&ring, &new, 10), Err(code::KEY_NOT_INTRODUCED));
        assert_eq!((code(&ring, &new, 11), code(&ring, &old, 0), code(&ring, &old, 20)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(code(&ring, &old, 21), Err(code::KEY_RETIRED));
        assert_eq!(ring.verifiers().iter().len(), 2);
    }

    #[test]
    fn only_who_is_good_makes_keys_good() {
        let (old, new, thief, log) = (key(SEAL, 1), key(SEAL, 2), key(SEAL, 3), key(ORIGIN, 1));
        let roots = {
            let mut roots = Verifiers::of(&old);
            roots.extend(&Verifiers::of(&log)).unwrap();
            roots
        };
        let refused = |entries: &[KeyEntry]| {
            let mut ring = Keyring::new(&roots);
            let mut last = Ok(());
            for (index, entry) in (5..).zip(entries) {
                let before = ring.spans().to_vec();
                last = ring.take(index, entry);
                assert!(last.is_ok() || ring.spans() == before, "what is refused has no effect");
            }
            last.map_err(|fault| fault.code)
        };
        let introduce = |about: &Signer, by: &[&Signer]| entry(Action::Introduce, about, by);
        let retire = |about: &Signer, by: &[&Signer]| entry(Action::Retire, about, by);
        assert_eq!(refused(&[introduce(&new, &[&new, &old])]), Ok(()));
        // a root introduced by itself alone: whoever trusts it needs no other
        assert_eq!(refused(&[introduce(&old, &[&old])]), Ok(()));
        let cases = [
            ("not signed by itself", vec![introduce(&new, &[&old])]),
            ("signed by itself alone", vec![introduce(&thief, &[&thief])]),
            ("by a stranger", vec![introduce(&new, &[&new, &thief])]),
            ("twice", vec![introduce(&new, &[&new, &old]), introduce(&new, &[&new, &old])]),
            ("again after it was retired", vec![retire(&old, &[&old]), introduce(&old, &[&old])]),
            ("by one that was retired", vec![retire(&old, &[&old]), introduce(&new, &[&new, &old])]),
            ("retired by a stranger", vec![retire(&old, &[&thief])]),
            ("retired twice", vec![retire(&old, &[&old]), retire(&old, &[&old])]),
            ("retired and never known", vec![retire(&new, &[&new, &old])]),
        ];
        for (name, entries) in cases {
            assert_eq!(refused(&entries), Err(code::KEY_ENTRY), "{name}");
        }
        // the key of the log speaks for keys of the log alone, although its bytes are those of the seal key
        let mut forged = introduce(&new, &[&new]);
        forged.add(log.id(), &log.signature(&forged.text().unwrap()));
        assert_eq!(refused(&[forged]), Err(code::KEY_ENTRY));
        // one bad signature of a known key refuses, whatever the others say
        let mut bad = introduce(&new, &[&new, &old]);
        bad.reason = "another".into();
        assert_eq!(refused(&[bad]), Err(code::KEY_ENTRY));
        // lost, and retired by another writer
        assert_eq!(refused(&[introduce(&new, &[&new, &old]), retire(&old, &[&new])]), Ok(()));
    }
}
