//! Entries of the log: each is one line of canonical JSON that begins with its `format`. The line with its newline is
//! what is hashed, so that the leaf hash of a manifest is the hash that the next manifest names as `previous`.

use super::{
    keep::{self, Disposal, Hold},
    key::{self, KeyEntry},
    tiles::MAX_ENTRY,
};
use crate::{
    canonical,
    digest::Digest,
    error::{Error, Result},
    fault::{Fault, code},
    manifest::{self, Manifest, Writer},
    merkle,
    position::ChainId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `format` of [`Alive`].
pub const ALIVE: &str = "authseal/alive@1";
/// An alive line is at most this long, its newline included.
const MAX_ALIVE: usize = 4096;
/// Alive entries name whole minutes, in milliseconds.
pub const MINUTE: i64 = 60_000;

/// An entry, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A manifest: a segment was sealed.
    Segment(Box<Manifest>),
    /// An instance lives.
    Alive(Alive),
    /// A key is introduced or retired.
    Key(Box<KeyEntry>),
    /// Segments are past their date and go.
    Disposal(Box<Disposal>),
    /// A range of offsets is held, or let go.
    Hold(Box<Hold>),
    /// A canonical line of a format that this version does not know.
    Unknown {
        /// What it says it is.
        format: String,
    },
}

/// An instance lives, and these are the newest segments of the chains that it seals. One for each instance and minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alive {
    /// [`ALIVE`].
    pub format: String,
    /// As in store.json.
    pub origin: String,
    /// The minute, in milliseconds since 1970: a multiple of 60,000.
    pub time: i64,
    /// Who lives.
    pub writer: Writer,
    /// How many chains it seals.
    pub chains: u64,
    /// RFC 6962 root over the hashes of their newest manifests, each a leaf hash, in the order of the chains' keys.
    pub root: Digest,
}

impl Alive {
    /// The entry of the minute of `now` (milliseconds since 1970).
    pub fn new(origin: &str, writer: Writer, now: i64, heads: &BTreeMap<ChainId, Digest>) -> Self {
        // the order of chain ids is that of their keys: numbers are padded there
        let hashes: Vec<Digest> = heads.values().copied().collect();
        Self {
            format: ALIVE.into(),
            origin: origin.into(),
            time: now.div_euclid(MINUTE) * MINUTE,
            writer,
            chains: hashes.len() as u64,
            root: merkle::root(&hashes),
        }
    }

    /// The canonical line, its newline included.
    pub fn line(&self) -> Result<String> {
        self.check().map_err(|fault| Error::bug(fault.detail))?;
        canonical::line(self, MAX_ALIVE).map_err(|e| e.context("the alive entry"))
    }

    fn check(&self) -> Result<(), Fault> {
        let must = |good: bool, what: &str| if good { Ok(()) } else { Err(Fault::new(code::LOG_ENTRY, what)) };
        must(self.format == ALIVE, "format is not authseal/alive@1")?;
        must(self.time >= 0 && self.time % MINUTE == 0, "time is no whole minute")?;
        must(self.chains <= i64::MAX as u64, "chains is out of range")?;
        must(self.chains > 0 || self.root == merkle::empty_root(), "without chains root is that of nothing")
    }
}

impl Entry {
    /// Reads one line of the log `origin`, its newline included.
    pub fn parse(line: &str, origin: &str) -> Result<Self, Fault> {
        let entry = |fault: Fault| Fault::new(code::LOG_ENTRY, fault.detail);
        let codes = canonical::Codes { form: code::LOG_ENTRY, unknown_field: code::LOG_ENTRY };
        match format_of(line) {
            Some(manifest::FORMAT) => {
                let manifest = Manifest::parse(line).map_err(entry)?;
                of_origin(&manifest.origin, origin)?;
                Ok(Self::Segment(Box::new(manifest)))
            }
            Some(ALIVE) => {
                let alive: Alive = canonical::parse(line, MAX_ALIVE, codes)?;
                alive.check()?;
                of_origin(&alive.origin, origin)?;
                Ok(Self::Alive(alive))
            }
            Some(key::FORMAT) => Ok(Self::Key(Box::new(KeyEntry::parse(line, origin)?))),
            Some(keep::DISPOSAL) => Ok(Self::Disposal(Box::new(Disposal::parse(line, origin)?))),
            Some(keep::HOLD) => Ok(Self::Hold(Box::new(Hold::parse(line, origin)?))),
            Some(format) => {
                let value: Value = canonical::parse(line, MAX_ENTRY, codes)?;
                match is_whole(&value) {
                    true => Ok(Self::Unknown { format: format.into() }),
                    false => Err(Fault::new(code::LOG_ENTRY, "a number in it is not whole")),
                }
            }
            None => Err(Fault::new(code::LOG_ENTRY, "it does not begin with its format")),
        }
    }
}

/// Refuses an entry of another origin than that of the log.
pub(super) fn of_origin(named: &str, origin: &str) -> Result<(), Fault> {
    match named == origin {
        true => Ok(()),
        false => Err(Fault::new(code::LOG_ENTRY, format!("it is of origin {named:?}, the log is of {origin:?}"))),
    }
}

/// The format that a line names: it stands first, and needs no escapes.
fn format_of(line: &str) -> Option<&str> {
    let (format, rest) = line.strip_prefix(r#"{"format":""#)?.split_once('"')?;
    let plain = !format.is_empty() && !format.contains('\\');
    (plain && rest.starts_with([',', '}'])).then_some(format)
}

/// Whether all numbers in a value are whole.
fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(items) => items.iter().all(is_whole),
        Value::Object(fields) => fields.values().all(is_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn writer() -> Writer {
        Writer { version: "0.1.0".into(), instance: "i-1".into() }
    }

    #[test]
    fn an_alive_line_reads_back_and_has_one_spelling() {
        let heads: BTreeMap<ChainId, Digest> =
            ["main/a/10/0", "main/a/9/0"].iter().map(|c| (c.parse().unwrap(), Digest::of(c.as_bytes()))).collect();
        let alive = Alive::new("example.com/auth", writer(), 1_767_225_661_234, &heads);
        let line = alive.line().unwrap();
        let root = Digest::node(&Digest::of(b"main/a/9/0"), &Digest::of(b"main/a/10/0"));
        let want = r#"{"format":"authseal/alive@1","origin":"example.com/auth","time":1767225660000,"#;
        let rest = r#""writer":{"version":"0.1.0","instance":"i-1"},"chains":2,"root":"#;
        assert_eq!(line, format!("{want}{rest}\"{root}\"}}\n"));
        assert_eq!(Entry::parse(&line, "example.com/auth"), Ok(Entry::Alive(alive)));
        for bad in [
            line.replace("660000", "660001"),
            line.replace("\"chains\":2", "\"chains\":0"),
            line.replace("example", "exampel"),
            line.replace(",\"chains\"", ", \"chains\""),
            line.replace("}\n", ",\"more\":1}\n"),
            line.trim_end().to_owned(),
        ] {
            assert_eq!(Entry::parse(&bad, "example.com/auth").map_err(|f| f.code), Err(code::LOG_ENTRY), "{bad}");
        }
    }

    #[test]
    fn unknown_formats_are_told_apart_from_what_is_no_entry() {
        let unknown = |line: &str| Entry::parse(line, "o").map_err(|f| f.code);
        for good in
            ["{\"format\":\"authseal/key@2\"}\n", "{\"format\":\"x\",\"b\":[1,-2,{\"a\":null}],\"a\":\"\\u00e9\"}\n"]
        {
            assert!(matches!(unknown(good), Ok(Entry::Unknown { .. })), "{good}");
        }
        for bad in [
            "{\"format\":\"authseal/key@1\"}\n",
            "{\"format\":\"authseal/hold@1\"}\n",
            "{\"format\":\"authseal/disposal@1\"}\n",
            "{}\n",
            "{\"a\":1,\"format\":\"x\"}\n",
            "{\"format\":1}\n",
            "{\"format\":\"\"}\n",
            "{\"format\":\"x\",\"a\":1.5}\n",
            "{\"format\":\"x\",\"a\":1,\"a\":1}\n",
            "{\"format\":\"x\" }\n",
            "{\"format\":\"x\"}",
            "{\"format\":\"x\"}\n\n",
            "{\"format\":\"é\"}\n",
            "[]\n",
            "\n",
            "",
        ] {
            assert_eq!(unknown(bad), Err(code::LOG_ENTRY), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = Entry::parse(&text, "o");
            let _ = Entry::parse(&format!("{{\"format\":\"{text}\"}}\n"), "o");
        }
    }
}
