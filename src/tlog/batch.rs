//! A batch: consecutive entries and what the log is behind them, in a signed note. It is created under its number and
//! never replaced: whoever wins that create has decided the order of the log.

use super::{refused, tiles::MAX_ENTRY};
use crate::{
    canonical,
    digest::Digest,
    error::{Error, Result},
    fault::{Fault, code},
    layout::MAX_SEQUENCE,
    note::{KeyId, Signer, Verifiers},
};
use serde::{Deserialize, Serialize};

/// `format` of a batch's first line.
pub const FORMAT: &str = "authseal/batch@1";
/// A batch has at most so many entries, and at least one.
pub const MAX_ENTRIES: usize = 1024;
/// A batch is at most this long, its signature included.
pub const MAX_BYTES: usize = 1 << 20;
/// The first line is at most this long, its newline included.
pub const MAX_HEADER: usize = 1024;

/// The first line of a batch. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// As in store.json: the name of the log.
    pub origin: String,
    /// 0, 1, 2 …
    pub batch: u64,
    /// SHA-256(0x00 ‖ first line of the batch before, with its newline); null in batch 0.
    pub previous: Option<Digest>,
    /// Index of its first entry in the log.
    pub first: u64,
    /// How many entries it has.
    pub count: u64,
    /// How many entries the log has behind it: `first` + `count`.
    pub size: u64,
    /// RFC 6962 root over all these entries.
    pub root: Digest,
}

/// A batch that was opened: signed by a known key, and in its form. Whether it follows its predecessor is checked by
/// [`super::Log::apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its first line.
    pub header: Header,
    /// SHA-256(0x00 ‖ first line): what the next batch names as `previous`.
    pub hash: Digest,
    /// Its entries, each with its newline.
    pub lines: Vec<String>,
    /// The key of the log that signed it.
    pub signed_by: KeyId,
}

impl Header {
    fn check(&self) -> Result<(), &'static str> {
        let must = |good, otherwise| if good { Ok(()) } else { Err(otherwise) };
        must(self.format == FORMAT, "format is not authseal/batch@1")?;
        must(self.batch <= MAX_SEQUENCE, "batch has more than 12 digits")?;
        must((self.batch == 0) == self.previous.is_none(), "previous is null in batch 0, and only there")?;
        must(self.batch > 0 || self.first == 0, "the first batch does not begin at entry 0")?;
        must((1..=MAX_ENTRIES as u64).contains(&self.count), "count is not between 1 and 1024")?;
        must(self.first.checked_add(self.count) == Some(self.size), "size is not first + count")?;
        must(self.size <= i64::MAX as u64, "size is out of range")
    }
}

impl Batch {
    /// The text of the batch that `header` describes: what is signed. `lines`: entries with their newlines.
    pub fn text(header: &Header, lines: &[String]) -> Result<String> {
        header.check().map_err(|what| Error::bug(format!("a batch contradicts itself: {what}")))?;
        if header.count != lines.len() as u64 || lines.iter().any(|line| line.len() > MAX_ENTRY) {
            return Err(Error::bug("a batch has other entries than it says"));
        }
        let first = canonical::line(header, MAX_HEADER).map_err(|e| e.context("a batch"))?;
        Ok(first + lines.concat().as_str())
    }

    /// Signs `lines` (entries with their newlines) as the batch that `header` describes.
    pub fn seal(header: &Header, lines: &[String], signer: &Signer) -> Result<String> {
        let note = signer.sign(&Self::text(header, lines)?)?;
        match note.len() {
            0..=MAX_BYTES => Ok(note),
            length => Err(Error::bug(format!("a batch has {length} bytes, at most {MAX_BYTES} are allowed"))),
        }
    }

    /// Opens a batch of the log `origin`.
    pub fn open(note: &[u8], keys: &Verifiers, origin: &str) -> Result<Self, Fault> {
        let form = |what: String| Fault::new(code::LOG_FORM, what);
        if note.len() > MAX_BYTES {
            return Err(form(format!("it has {} bytes, at most {MAX_BYTES} are allowed", note.len())));
        }
        let note = keys.open(note).map_err(refused)?;
        if note.lines != 1 {
            return Err(form(format!("it has {} signatures, and must have one", note.lines)));
        }
        let [signature] = &note.signatures[..] else { return Err(form("it has not one signature".into())) };
        if signature.name != origin {
            return Err(Fault::new(code::LOG_UNKNOWN_KEY, format!("the key that signed it is not called {origin}")));
        }
        let mut lines = note.text.split_inclusive('\n').map(str::to_owned);
        let first = lines.next().unwrap_or_default();
        let codes = canonical::Codes { form: code::LOG_FORM, unknown_field: code::LOG_FORM };
        let header: Header = canonical::parse(&first, MAX_HEADER, codes)?;
        header.check().map_err(|what| form(what.into()))?;
        if header.origin != origin {
            return Err(form(format!("it is of the log {:?}, not {origin:?}", header.origin)));
        }
        let lines: Vec<String> = lines.collect();
        if header.count != lines.len() as u64 {
            return Err(form(format!("it says that it has {} entries, and has {}", header.count, lines.len())));
        }
        if lines.iter().any(|line| line.len() > MAX_ENTRY) {
            return Err(form(format!("an entry has more than {MAX_ENTRY} bytes")));
        }
        Ok(Self { header, hash: Digest::leaf(first.as_bytes()), lines, signed_by: signature.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: &str = "example.com/auth";

    fn signer() -> Signer {
        Signer::from_seed(ORIGIN, [3; 32]).unwrap()
    }

    fn header(lines: &[String]) -> Header {
        Header {
            format: FORMAT.into(),
            origin: ORIGIN.into(),
            batch: 0,
            previous: None,
            first: 0,
            count: lines.len() as u64,
            size: lines.len() as u64,
            root: Digest::of(b"root"),
        }
    }

    fn open(note: &str) -> Result<Batch, &'static str> {
        Batch::open(note.as_bytes(), &Verifiers::of(&signer()), ORIGIN).map_err(|f| f.code)
    }

    #[test]
    fn a_batch_reads_back_and_has_one_form() {
        let lines = vec!["{\"format\":\"a\"}\n".to_owned(), "{\"format\":\"b\"}\n".to_owned()];
        let header = header(&lines);
        let note = Batch::seal(&header, &lines, &signer()).unwrap();
        let first = note.split_inclusive('\n').next().unwrap();
        let root = header.root;
        let want = r#"{"format":"authseal/batch@1","origin":"example.com/auth","batch":0,"previous":null,"first":0,"#;
        assert_eq!(first, format!("{want}\"count\":2,\"size\":2,\"root\":\"{root}\"}}\n"));
        let hash = Digest::leaf(first.as_bytes());
        assert_eq!(open(&note), Ok(Batch { header, hash, lines, signed_by: signer().id() }));

        let text = note.rsplit_once("\n\n").unwrap().0.to_owned() + "\n";
        let signed = |text: String| signer().sign(&text).unwrap();
        for (bad, code) in [
            (note.replace("\"a\"", "\"c\""), code::LOG_SIGNATURE),
            (note.clone() + note.rsplit_once("\n\n").unwrap().1, code::LOG_FORM),
            (Signer::from_seed(ORIGIN, [4; 32]).unwrap().sign(&text).unwrap(), code::LOG_UNKNOWN_KEY),
            (text.clone(), code::LOG_FORM),
            (signed(text.replace("\"count\":2", "\"count\":1")), code::LOG_FORM),
            (signed(text.replace("\"count\":2,\"size\":2", "\"count\":3,\"size\":3")), code::LOG_FORM),
            (signed(text.replace("\"size\":2", "\"size\":3")), code::LOG_FORM),
            (signed(text.replace("\"first\":0", "\"first\":1").replace("\"size\":2", "\"size\":3")), code::LOG_FORM),
            (signed(text.replace("\"batch\":0", "\"batch\":1")), code::LOG_FORM),
            (signed(text.replace("batch@1", "batch@2")), code::LOG_FORM),
            (signed(text.replace("example", "exampel")), code::LOG_FORM),
            (signed(text.replace(",\"root\"", ",\"more\":1,\"root\"")), code::LOG_FORM),
            (signed(text.replace(",\"size\"", ", \"size\"")), code::LOG_FORM),
            (signed(first.to_owned()), code::LOG_FORM),
        ] {
            assert_eq!(open(&bad).map(|_| ()), Err(code), "{bad}");
        }
    }

    #[test]
    fn a_key_of_another_name_signs_no_batch() {
        let lines = vec!["{\"format\":\"a\"}\n".to_owned()];
        let seal = Signer::from_seed(&format!("{ORIGIN}/seal"), [3; 32]).unwrap();
        let note = Batch::seal(&header(&lines), &lines, &seal).unwrap();
        let opened = Batch::open(note.as_bytes(), &Verifiers::of(&seal), ORIGIN);
        assert_eq!(opened.unwrap_err().code, code::LOG_UNKNOWN_KEY);
    }

    #[test]
    fn what_would_be_too_large_is_not_signed() {
        let many = vec!["x\n".to_owned(); MAX_ENTRIES + 1];
        assert!(Batch::seal(&header(&many), &many, &signer()).is_err());
        let long = vec!["x".repeat(MAX_ENTRY) + "\n"];
        assert!(Batch::seal(&header(&long), &long, &signer()).is_err());
        let big = vec!["x".repeat(60_000) + "\n"; 20];
        assert!(Batch::seal(&header(&big), &big, &signer()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>, text: String) {
            let keys = Verifiers::of(&signer());
            prop_assert!(Batch::open(&bytes, &keys, ORIGIN).is_err());
            let text: String = text.chars().filter(|c| *c >= ' ').collect();
            if let Ok(note) = signer().sign(&(text + "\n")) {
                prop_assert!(Batch::open(note.as_bytes(), &keys, ORIGIN).is_err());
            }
        }
    }
}
