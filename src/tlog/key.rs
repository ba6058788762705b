//! `authseal/key@1`: the entry that introduces or retires a key of the log or of seals. Its signatures are inside, so
//! that whoever holds the log's key alone can neither make a key good nor take one away.

use crate::{
    canonical,
    error::{Error, Result},
    fault::{Fault, code},
    note::{KeyId, Verifiers},
    store_info::seal_key_name,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// `format` of [`KeyEntry`].
pub const FORMAT: &str = "authseal/key@1";
/// A line is at most this long, its newline included.
pub const MAX_LINE: usize = 4096;
/// An entry has at most so many signatures.
pub const MAX_SIGNATURES: usize = 8;
/// The longest reason, in bytes.
pub const MAX_REASON: usize = 512;

/// What becomes of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// What stands behind this entry may be signed by it.
    Introduce,
    /// What stands behind this entry may not.
    Retire,
}

/// One signature of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySignature {
    /// Id of the key that made it, eight hexadecimal digits. Its name is that of the entry's key.
    pub id: String,
    /// base64 of 64 bytes: Ed25519 over [`KeyEntry::text`].
    pub signature: String,
}

/// A key is introduced or retired. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// [`FORMAT`].
    pub format: String,
    /// As in store.json.
    pub origin: String,
    /// What becomes of the key.
    pub action: Action,
    /// The key: `name+hash+keydata`. Its name says what it is for: `<origin>` the log, `<origin>/seal` segments.
    pub key: String,
    /// When the entry was made, milliseconds since 1970.
    pub time: i64,
    /// Why, on one line.
    pub reason: String,
    /// At least one; introducing, one of them by the key itself.
    pub signatures: Vec<KeySignature>,
}

impl KeyEntry {
    /// An entry without signatures.
    pub fn new(origin: &str, action: Action, key: &str, time: i64, reason: &str) -> Self {
        let (format, origin, key) = (FORMAT.into(), origin.into(), key.into());
        Self { format, origin, action, key, time, reason: reason.into(), signatures: Vec::new() }
    }

    /// What is signed: the canonical line with an empty list of signatures. It begins with the entry's format, so that
    /// it is never a manifest, a batch or a checkpoint.
    pub fn text(&self) -> Result<String> {
        canonical::line(&Self { signatures: Vec::new(), ..self.clone() }, MAX_LINE)
    }

    /// Adds the signature of a key, over [`KeyEntry::text`].
    pub fn add(&mut self, id: KeyId, signature: &[u8; 64]) {
        self.signatures.push(KeySignature { id: id.to_string(), signature: STANDARD.encode(signature) });
    }

    /// The canonical line, its newline included.
    pub fn line(&self) -> Result<String> {
        self.check().map_err(|fault| Error::data(format!("the key entry: {}", fault.detail)))?;
        canonical::line(self, MAX_LINE).map_err(|e| e.context("the key entry"))
    }

    /// Reads one line of the log `origin`.
    pub fn parse(line: &str, origin: &str) -> Result<Self, Fault> {
        let codes = canonical::Codes { form: code::LOG_ENTRY, unknown_field: code::LOG_ENTRY };
        let entry: Self = canonical::parse(line, MAX_LINE, codes)?;
        entry.check()?;
        super::entry::of_origin(&entry.origin, origin)?;
        Ok(entry)
    }

    /// The entry's key as the only one of a list.
    pub fn verifier(&self) -> Result<Verifiers, Fault> {
        let mut keys = Verifiers::default();
        keys.add(&self.key).map_err(|e| Fault::new(code::LOG_ENTRY, e.to_string()))?;
        Ok(keys)
    }

    /// Ids and bytes of the signatures.
    pub fn signed(&self) -> impl Iterator<Item = (KeyId, Vec<u8>)> {
        let read = |s: &KeySignature| Some((KeyId::parse(&s.id)?, STANDARD.decode(&s.signature).ok()?));
        self.signatures.iter().filter_map(read)
    }

    fn check(&self) -> Result<(), Fault> {
        let must = |good: bool, what: &str| if good { Ok(()) } else { Err(Fault::new(code::LOG_ENTRY, what)) };
        must(self.format == FORMAT, "format is not authseal/key@1")?;
        must(self.time >= 0, "time is below 0")?;
        must(is_reason(&self.reason), "reason is not one line of at most 512 bytes")?;
        let keys = self.verifier()?;
        let name = keys.iter().next().map_or("", |(name, _)| name);
        must(
            name == self.origin || name == seal_key_name(&self.origin),
            "key is called neither origin nor origin/seal",
        )?;
        must(keys.text() == format!("{}\n", self.key), "key is not spelled as keys are")?;
        must((1..=MAX_SIGNATURES).contains(&self.signatures.len()), "there are not 1 to 8 signatures")?;
        let plain = |s: &KeySignature| {
            let bytes = STANDARD.decode(&s.signature).unwrap_or_default();
            KeyId::parse(&s.id).is_some() && bytes.len() == 64
        };
        must(self.signatures.iter().all(plain), "a signature is not id and base64 of 64 bytes")?;
        let ids: std::collections::BTreeSet<_> = self.signatures.iter().map(|s| &s.id).collect();
        must(ids.len() == self.signatures.len(), "a key signed twice")
    }
}

/// Whether a text can be the reason of an entry: one line, of at most 512 bytes.
pub fn is_reason(text: &str) -> bool {
    text.len() <= MAX_REASON && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;

    const ORIGIN: &str = "example.com/auth";

    fn entry() -> KeyEntry {
        let key = Signer::from_seed("example.com/auth/seal", [2; 32]).unwrap();
        let mut entry = KeyEntry::new(ORIGIN, Action::Introduce, &key.verifier_key(), 1_767_225_600_000, "yearly");
        entry.add(key.id(), &key.signature(&entry.text().unwrap()));
        entry
    }

    /// The bytes are for ever: docs/format.md has them.
    #[test]
    fn a_line_is_spelled_in_one_way() {
        let line = entry().line().unwrap();
        let begins = "{\"format\":\"authseal/key@1\",\"origin\":\"example.com/auth\",\"action\":\"introduce\",\
                      \"key\":\"example.com/auth/seal+";
        let ends = "\",\"time\":1767225600000,\"reason\":\"yearly\",\"signatures\":[{\"id\":\"";
        assert!(line.starts_with(begins) && line.contains(ends) && line.ends_with("\"}]}\n"), "{line}");
        assert_eq!(KeyEntry::parse(&line, ORIGIN), Ok(entry()));
        let text = entry().text().unwrap();
        assert!(text.ends_with("\"signatures\":[]}\n"), "{text}");
    }

    #[test]
    fn what_contradicts_itself_is_no_entry() {
        type Edit = fn(&mut KeyEntry);
        let edits: [Edit; 10] = [
            |e| e.format = "authseal/key@2".into(),
            |e| e.origin = "example.com/other".into(),
            |e| e.key = Signer::from_seed("example.com/other/seal", [2; 32]).unwrap().verifier_key(),
            |e| e.key.push('A'),
            |e| e.time = -1,
            |e| e.reason = "two\nlines".into(),
            |e| e.reason = "x".repeat(513),
            |e| e.signatures.clear(),
            |e| e.signatures.push(e.signatures[0].clone()),
            |e| e.signatures[0].signature = "AAAA".into(),
        ];
        for edit in edits {
            let mut bad = entry();
            edit(&mut bad);
            assert!(bad.line().is_err());
            let line = canonical::line(&bad, MAX_LINE).unwrap();
            assert_eq!(KeyEntry::parse(&line, ORIGIN).map_err(|f| f.code), Err(code::LOG_ENTRY), "{line}");
        }
    }
}
