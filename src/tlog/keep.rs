//! `authseal/disposal@1` and `authseal/hold@1`: what goes when its time is over, and what stays although it is.

use super::{entry::of_origin, key::is_reason};
use crate::{
    canonical,
    error::{Error, Result},
    fault::{Fault, code},
    layout::MAX_SEQUENCE,
    manifest::{Offsets, Writer},
    position::ChainId,
};
use serde::{Deserialize, Serialize};

/// `format` of [`Disposal`].
pub const DISPOSAL: &str = "authseal/disposal@1";
/// `format` of [`Hold`].
pub const HOLD: &str = "authseal/hold@1";
/// A line is at most this long, its newline included.
pub const MAX_LINE: usize = 4096;
/// The longest name of a hold, in bytes.
pub const MAX_NAME: usize = 64;

const CODES: canonical::Codes = canonical::Codes { form: code::LOG_ENTRY, unknown_field: code::LOG_ENTRY };

/// Half-open: `from` ≤ sequence < `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequences {
    /// The first.
    pub from: u64,
    /// The first after it.
    pub to: u64,
}

/// Segments of one chain are past their date and go. Logged before they are deleted. The order of the fields is part of
/// the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disposal {
    /// [`DISPOSAL`].
    pub format: String,
    /// As in store.json.
    pub origin: String,
    /// Of which chain.
    pub chain: ChainId,
    /// Which segments, at least one.
    pub sequences: Sequences,
    /// The offsets that they cover.
    pub offsets: Offsets,
    /// Up to when they had to stay, the latest date of all: milliseconds since 1970.
    pub until: i64,
    /// When it was decided, milliseconds since 1970; not before `until`.
    pub time: i64,
    /// Why, on one line.
    pub reason: String,
    /// Who disposes of them.
    pub writer: Writer,
}

impl Disposal {
    /// The canonical line, its newline included.
    pub fn line(&self) -> Result<String> {
        self.check().map_err(|fault| Error::bug(fault.detail))?;
        canonical::line(self, MAX_LINE).map_err(|e| e.context("the disposal entry"))
    }

    /// Reads one line of the log `origin`.
    pub fn parse(line: &str, origin: &str) -> Result<Self, Fault> {
        let entry: Self = canonical::parse(line, MAX_LINE, CODES)?;
        entry.check()?;
        of_origin(&entry.origin, origin)?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), Fault> {
        must(self.format == DISPOSAL, "format is not authseal/disposal@1")?;
        let Sequences { from, to } = self.sequences;
        must(from < to && to <= MAX_SEQUENCE, "sequences are no range")?;
        must(is_range(&self.offsets, true), "offsets are no range")?;
        must(self.until >= 0 && self.time >= self.until, "time is before until")?;
        must(is_reason(&self.reason), "reason is not one line of at most 512 bytes")?;
        chain_fits(&self.chain)
    }
}

/// Whether a hold begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// From here on these offsets are held.
    On,
    /// From here on they are not, under this name.
    Off,
}

/// A range of offsets must stay, whatever its date, until the same name lets it go. The order of the fields is part of
/// the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// [`HOLD`].
    pub format: String,
    /// As in store.json.
    pub origin: String,
    /// On or off.
    pub action: Switch,
    /// Which hold, of 1 to 64 visible ASCII characters: a case. Holds of different names do not end each other.
    pub name: String,
    /// Of which chain.
    pub chain: ChainId,
    /// Which offsets, at least one.
    pub offsets: Offsets,
    /// When, milliseconds since 1970.
    pub time: i64,
    /// Why, on one line.
    pub reason: String,
    /// Who entered it.
    pub writer: Writer,
}

impl Hold {
    /// The canonical line, its newline included.
    pub fn line(&self) -> Result<String> {
        self.check().map_err(|fault| Error::data(format!("the hold: {}", fault.detail)))?;
        canonical::line(self, MAX_LINE).map_err(|e| e.context("the hold entry"))
    }

    /// Reads one line of the log `origin`.
    pub fn parse(line: &str, origin: &str) -> Result<Self, Fault> {
        let entry: Self = canonical::parse(line, MAX_LINE, CODES)?;
        entry.check()?;
        of_origin(&entry.origin, origin)?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), Fault> {
        must(self.format == HOLD, "format is not authseal/hold@1")?;
        let visible = self.name.bytes().all(|c| c.is_ascii_graphic());
        must(visible && (1..=MAX_NAME).contains(&self.name.len()), "name is not 1 to 64 visible ASCII characters")?;
        must(is_range(&self.offsets, false), "offsets are no range")?;
        must(self.time >= 0, "time is below 0")?;
        must(is_reason(&self.reason), "reason is not one line of at most 512 bytes")?;
        chain_fits(&self.chain)
    }
}

fn must(good: bool, what: &str) -> Result<(), Fault> {
    if good { Ok(()) } else { Err(Fault::new(code::LOG_ENTRY, what)) }
}

/// Heartbeats cover no offsets: `empty` lets them through.
fn is_range(offsets: &Offsets, empty: bool) -> bool {
    offsets.from >= 0 && (offsets.from < offsets.to || empty && offsets.from == offsets.to)
}

fn chain_fits(chain: &ChainId) -> Result<(), Fault> {
    let spelled: Result<ChainId> = chain.to_string().parse();
    must(spelled.is_ok_and(|spelled| spelled == *chain), "chain is none that can be")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "example.com/auth";

    fn writer() -> Writer {
        Writer { version: "0.1.0".into(), instance: "i-1".into() }
    }

    fn disposal() -> Disposal {
        Disposal {
            format: DISPOSAL.into(),
            origin: ORIGIN.into(),
            chain: "main/auth/3/0".parse().unwrap(),
            sequences: Sequences { from: 2, to: 4 },
            offsets: Offsets { from: 20, to: 40 },
            until: 1_767_225_600_000,
            time: 1_767_225_660_000,
            reason: "past its date".into(),
            writer: writer(),
        }
    }

    fn hold() -> Hold {
        Hold {
            format: HOLD.into(),
            origin: ORIGIN.into(),
            action: Switch::On,
            name: "case-7".into(),
            chain: "main/auth/3/0".parse().unwrap(),
            offsets: Offsets { from: 20, to: 40 },
            time: 1_767_225_660_000,
            reason: "court order".into(),
            writer: writer(),
        }
    }

    /// The bytes are for ever: docs/format.md has them.
    #[test]
    fn lines_are_spelled_in_one_way() {
        let chain = "\"chain\":{\"cluster\":\"main\",\"topic\":\"auth\",\"partition\":3,\"incarnation\":0}";
        let writer = "\"writer\":{\"version\":\"0.1.0\",\"instance\":\"i-1\"}}\n";
        let want = format!(
            "{{\"format\":\"authseal/disposal@1\",\"origin\":\"{ORIGIN}\",{chain},\
             \"sequences\":{{\"from\":2,\"to\":4}},\"offsets\":{{\"from\":20,\"to\":40}},\
             \"until\":1767225600000,\"time\":1767225660000,\"reason\":\"past its date\",{writer}"
        );
        assert_eq!(disposal().line().unwrap(), want);
        assert_eq!(Disposal::parse(&want, ORIGIN), Ok(disposal()));
        let want = format!(
            "{{\"format\":\"authseal/hold@1\",\"origin\":\"{ORIGIN}\",\"action\":\"on\",\"name\":\"case-7\",{chain},\
             \"offsets\":{{\"from\":20,\"to\":40}},\"time\":1767225660000,\"reason\":\"court order\",{writer}"
        );
        assert_eq!(hold().line().unwrap(), want);
        assert_eq!(Hold::parse(&want, ORIGIN), Ok(hold()));
    }

    #[test]
    fn what_contradicts_itself_is_no_entry() {
        let edits: [fn(&mut Disposal); 6] = [
            |e| e.origin = "other".into(),
            |e| e.sequences = Sequences { from: 4, to: 4 },
            |e| e.offsets = Offsets { from: 40, to: 20 },
            |e| e.time = e.until - 1,
            |e| e.reason = "x".repeat(513),
            |e| e.chain.topic = "no topic".into(),
        ];
        for edit in edits {
            let mut bad = disposal();
            edit(&mut bad);
            let line = canonical::line(&bad, MAX_LINE).unwrap();
            assert_eq!(Disposal::parse(&line, ORIGIN).map_err(|f| f.code), Err(code::LOG_ENTRY), "{line}");
        }
        let edits: [fn(&mut Hold); 4] = [
            |e| e.name = String::new(),
            |e| e.name = "two words".into(),
            |e| e.offsets = Offsets { from: 20, to: 20 },
            |e| e.time = -1,
        ];
        for edit in edits {
            let mut bad = hold();
            edit(&mut bad);
            let line = canonical::line(&bad, MAX_LINE).unwrap();
            assert_eq!(Hold::parse(&line, ORIGIN).map_err(|f| f.code), Err(code::LOG_ENTRY), "{line}");
        }
    }
}
