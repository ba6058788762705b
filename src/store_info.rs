//! `store.json`: what a store says of itself, written once and never again.

use crate::{
    canonical,
    error::{Error, Result},
    fault::{Fault, code},
};
use serde::{Deserialize, Serialize};

/// `format` of store.json.
pub const FORMAT: &str = "authseal/store@1";
/// The layout of keys that `layout` builds.
pub const LAYOUT: u32 = 1;
/// How long a sealed segment may stay unlogged, in milliseconds, unless store.json says otherwise.
pub const MERGE_DELAY: i64 = 60_000;
/// store.json is at most this long, its newline included.
pub const MAX_LINE: usize = 4096;

/// The contents of store.json. The order of the fields is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreInfo {
    /// [`FORMAT`].
    pub format: String,
    /// Who seals here: the beginning of every key name, and the name of the log.
    pub origin: String,
    /// [`LAYOUT`].
    pub layout: u32,
    /// Milliseconds between the sealing of a segment and its entry in the log, at most.
    pub merge_delay: i64,
    /// When the store was set up: milliseconds since 1970.
    pub created: i64,
}

impl StoreInfo {
    /// Of a new store.
    pub fn new(origin: impl Into<String>, created: i64) -> Self {
        Self { format: FORMAT.into(), origin: origin.into(), layout: LAYOUT, merge_delay: MERGE_DELAY, created }
    }

    /// The name of the keys that seal segments: `<origin>/seal`.
    pub fn seal_key_name(&self) -> String {
        seal_key_name(&self.origin)
    }

    /// The canonical line, its newline included: the bytes of store.json.
    pub fn line(&self) -> Result<String> {
        self.check().map_err(|what| Error::config(format!("store.json: {what}")))?;
        canonical::line(self, MAX_LINE).map_err(|e| e.context("store.json"))
    }

    /// Reads what [`StoreInfo::line`] writes, and nothing else.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let codes = canonical::Codes { form: code::FORMAT, unknown_field: code::FORMAT };
        let info: Self = canonical::parse(line, MAX_LINE, codes)?;
        info.check().map_err(|what| Fault::new(code::FORMAT, what))?;
        Ok(info)
    }

    fn check(&self) -> Result<(), &'static str> {
        let must = |good, otherwise| if good { Ok(()) } else { Err(otherwise) };
        must(self.format == FORMAT, "format is not authseal/store@1")?;
        must(is_origin(&self.origin), "origin must be 1 to 200 visible ASCII characters without + and \"")?;
        must(self.layout == LAYOUT, "layout is not 1")?;
        must(self.merge_delay > 0 && self.created >= 0, "merge_delay or created is out of range")
    }
}

/// The name of the keys that seal segments of `origin`.
pub fn seal_key_name(origin: &str) -> String {
    format!("{origin}/seal")
}

/// Whether `text` can be an origin: 1 to 200 visible ASCII characters, none of them `+`, `"` or `\`. It is part of key
/// names;
/// like `example.com/auth`, it should be a name that nobody else uses.
pub fn is_origin(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'+' | b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_reads_back_and_has_one_spelling() {
        let info = StoreInfo::new("example.com/auth", 1_767_225_600_000);
        let line = info.line().unwrap();
        let want = r#"{"format":"authseal/store@1","origin":"example.com/auth","layout":1,"merge_delay":60000,"#;
        assert_eq!(line, format!("{want}\"created\":1767225600000}}\n"));
        assert_eq!(StoreInfo::parse(&line), Ok(info.clone()));
        assert_eq!(info.seal_key_name(), "example.com/auth/seal");
        for bad in [
            line.replace("store@1", "store@2"),
            line.replace("\"layout\":1", "\"layout\":2"),
            line.replace("60000", "0"),
            line.replace("60000", "60000.0"),
            line.replace("example", "ex ample"),
            line.replace(",\"created\":1767225600000", ""),
            line.replace(",\"created\"", ", \"created\""),
            line.replace("}\n", ",\"more\":1}\n"),
            line.trim_end().into(),
        ] {
            assert_eq!(StoreInfo::parse(&bad).map_err(|f| f.code), Err(code::FORMAT), "{bad}");
        }
        assert!(StoreInfo::new("a+b", 0).line().is_err());
    }
}
