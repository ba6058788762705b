//! The file: c2sp.org/tlog-proof@v1, or, of a record that is not in the log yet, a form of ours that cannot be taken
//! for one.

use super::{
    Part, code,
    part::{MAX_PART, MAX_PATH},
};
use crate::{
    digest::Digest,
    error::{Error, Result},
    fault::Fault,
    tlog::checkpoint,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

/// First line of a proof of a record that is in the log.
const LOGGED: &str = "c2sp.org/tlog-proof@v1";
/// First line of one that is not.
const PENDING: &str = "authseal/pending-proof@1";
/// A longer file is no proof, and is not read.
pub const MAX_FILE: usize = MAX_PART.div_ceil(3) * 4 + (MAX_PATH * 45) + checkpoint::MAX + 256;

/// What proves that the manifest is in the log. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outer {
    /// Which entry of the log it is, from 0.
    pub index: u64,
    /// RFC 6962 inclusion proof: the siblings from the entry up to the root.
    pub path: Vec<Digest>,
    /// The checkpoint, verbatim, with whatever signatures of witnesses it carries.
    pub checkpoint: String,
}

/// A proof as it stands in a file. Nothing in it is verified: [`super::check`] does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The record in its segment.
    pub part: Part,
    /// The segment in the log; `None` if it was not logged when the proof was made.
    pub outer: Option<Outer>,
}

impl Proof {
    /// The bytes of the file.
    pub fn encode(&self) -> Result<String> {
        let mut out = String::from(if self.outer.is_some() { LOGGED } else { PENDING });
        out.push_str("\nextra ");
        STANDARD.encode_string(self.part.encode()?, &mut out);
        out.push('\n');
        if let Some(outer) = &self.outer {
            out.push_str(&format!("index {}\n", outer.index));
            for hash in &outer.path {
                out.push_str(&hash.base64());
                out.push('\n');
            }
            out.push('\n');
            out.push_str(&outer.checkpoint);
        }
        match Self::parse(out.as_bytes()) {
            Ok(again) if again == *self => Ok(out),
            Ok(_) => Err(Error::bug("a proof reads back as another one")),
            Err(fault) => Err(Error::bug(format!("a proof does not read back: {fault}"))),
        }
    }

    /// Reads what [`Proof::encode`] writes, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let form = |what: &str| Fault::new(code::FORM, format!("it is no proof: {what}"));
        if bytes.len() > MAX_FILE {
            return Err(form("it is longer than a proof can be"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| form("it is not UTF-8"))?;
        let (first, rest) = text.split_once('\n').ok_or_else(|| form("its first line does not end"))?;
        let logged = match first {
            LOGGED => true,
            PENDING => false,
            _ => return Err(form("its first line is not c2sp.org/tlog-proof@v1")),
        };
        let extra = rest.strip_prefix("extra ").and_then(|rest| rest.split_once('\n'));
        let (extra, rest) = extra.ok_or_else(|| form("it has no line extra, so that it does not prove a record"))?;
        let extra = STANDARD.decode(extra).map_err(|_| form("extra is not base64 in its one spelling"))?;
        let part = Part::decode(&Bytes::from(extra))?;
        let outer = match (logged, rest) {
            (true, rest) => Some(outer(rest).map_err(form)?),
            (false, "") if part.stamp.is_empty() => None,
            (false, "") => return Err(form("a pending proof has no checkpoint, and a stamp of it")),
            (false, _) => return Err(form("something follows the end of a pending proof")),
        };
        Ok(Self { part, outer })
    }
}

/// Everything behind the line `extra`.
fn outer(text: &str) -> Result<Outer, &'static str> {
    let index = text.strip_prefix("index ").and_then(|rest| rest.split_once('\n'));
    let (index, text) = index.ok_or("it has no line index")?;
    let index = checkpoint::decimal(index).ok_or("its index is no number in its one spelling")?;
    let (mut path, mut rest) = (Vec::new(), text);
    loop {
        let (line, after) = rest.split_once('\n').ok_or("no empty line is between its hashes and the checkpoint")?;
        rest = after;
        if line.is_empty() {
            break;
        }
        if path.len() == MAX_PATH {
            return Err("it has more hashes than a proof can have");
        }
        path.push(Digest::from_base64(line).ok_or("a line is no hash in its one spelling")?);
    }
    if rest.len() > checkpoint::MAX {
        return Err("its checkpoint is longer than a checkpoint can be");
    }
    Ok(Outer { index, path, checkpoint: rest.into() })
}
