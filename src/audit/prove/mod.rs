//! Makes proofs: finds the segment that holds a position, the entry of the log that is its manifest, and puts what
//! leads from the one to the other into one file. It reads, and never writes.
//!
//! | file | owns |
//! |---|---|
//! | `locate` | which segment of a chain covers an offset |
//! | `entry` | which entry of the log is a manifest, and its inclusion proof |
//! | `events` | which records are events of a given id |
//!
//! Everything is verified before it goes into the proof, and the proof as a whole afterwards, by the code that others
//! check it with: a proof that does not hold must not leave here.

mod entry;
mod events;
mod locate;

pub use events::{Events, find_events};

use super::read::{Read, Reader};
use crate::{
    error::{Error, Result},
    layout,
    manifest::Manifest,
    merkle::Levels,
    note::Verifiers,
    position::Position,
    proof::{self, Part, Proof, Proven},
    segment::{self, read},
    store::Store,
};
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// A proof that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The bytes of the file.
    pub file: String,
    /// What it proves, as a check of these bytes found.
    pub proven: Proven,
}

/// What became of a request for a proof.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Here it is.
    Made(Box<Made>),
    /// There is nothing that could be proven, and why.
    Nothing(Why),
}

/// Why a position cannot be proven. None of these says that anything was tampered with, except [`Why::Missing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The store has no segment of this chain.
    NoChain,
    /// The chain is sealed up to here, and the offset is not below it.
    NotSealed {
        /// The first offset that is not sealed.
        to: i64,
        /// When the newest segment was sealed, milliseconds since 1970.
        sealed: i64,
        /// By when the next one was promised; `None` if the chain was closed.
        next_by: Option<i64>,
    },
    /// The chain begins at this offset, and the one asked for is below it.
    BeforeChain(i64),
    /// The segments that must have held it are not there: from this sequence to before that one.
    Missing(u64, u64),
    /// Its segment is not in the log, as far as the checkpoint goes.
    NotLogged {
        /// The sequence of the segment.
        sequence: u64,
        /// When it was sealed, milliseconds since 1970.
        sealed: i64,
        /// How many entries the checkpoint has; `None` if there is none.
        size: Option<u64>,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = super::text::time;
        match self {
            Self::NoChain => write!(f, "the store has no segment of this chain: `authseal verify` lists those it has"),
            Self::NotSealed { to, sealed, next_by: Some(by) } => write!(
                f,
                "it lies beyond what is sealed: the newest segment ends before offset {to} and was sealed at {}; the \
                 next one is promised by {}",
                time(*sealed),
                time(*by)
            ),
            Self::NotSealed { to, sealed, next_by: None } => write!(
                f,
                "it lies beyond what is sealed, and nothing more will be: the chain was closed before offset {to}, at \
                 {}",
                time(*sealed)
            ),
            Self::BeforeChain(from) => write!(f, "the chain begins at offset {from}: nothing before it was sealed"),
            Self::Missing(from, to) if from + 1 == *to => {
                write!(f, "segment {from} of its chain held it, and is missing: run `authseal verify`")
            }
            Self::Missing(from, to) => {
                write!(f, "segments {from} to {} of its chain are missing, and one of them held it: run ", to - 1)?;
                f.write_str("`authseal verify`")
            }
            Self::NotLogged { sequence, sealed, size } => {
                write!(f, "segment {sequence}, sealed at {}, holds it, and ", time(*sealed))?;
                match size {
                    None => f.write_str("this store has no checkpoint of a log")?,
                    Some(size) => write!(f, "is not among the {size} entries that the log's checkpoint covers")?,
                }
                f.write_str(
                    "; what is sealed is logged within a minute: try again, or take a proof of the seal alone",
                )?;
                f.write_str(" with --pending")
            }
        }
    }
}

/// By which checkpoint of the log a record is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// The first one behind it that was stamped, else the first that witnesses have cosigned, else the newest.
    #[default]
    Best,
    /// The newest.
    Newest,
    /// The first one behind it that was kept because a quorum of witnesses had cosigned it; else the newest.
    Witnessed,
}

/// Proves the record, or the gap, at `position`: by a checkpoint of the log, or by the seal alone.
///
/// Errors: `Kind::Tampered` when something on the way is not what was sealed or logged; `Kind::Retry` when the store is
/// away.
pub async fn prove(store: Arc<dyn Store>, keys: &Verifiers, position: &Position, logged: Option<By>) -> Result<Answer> {
    let reader = Reader::new(store, 1, None);
    let found = match locate::segment(&reader, keys, position).await? {
        Ok(found) => found,
        Err(why) => return Ok(Answer::Nothing(why)),
    };
    let manifest = found.manifest;
    let (bytes, of, offset) = (found.bytes, keys.clone(), position.offset);
    let part = tokio::task::spawn_blocking(move || part(&bytes, &of, offset)).await;
    let part = part.map_err(|e| Error::bug("checking a segment ended early").caused_by(e))?;
    let key = layout::segment_key(&position.chain, manifest.sequence);
    let mut part = part.map_err(|e| e.context(format_args!("{key} in {}", reader.describe())))?;
    let outer = match logged {
        None => None,
        Some(by) => match entry::of(&reader, keys, &manifest, by).await? {
            Ok(entry::Logged { outer, stamp }) => {
                part.stamp = stamp;
                Some(outer)
            }
            Err(size) => {
                let why = Why::NotLogged { sequence: manifest.sequence, sealed: manifest.times.sealed, size };
                return Ok(Answer::Nothing(why));
            }
        },
    };
    let file = Proof { part, outer }.encode()?;
    // by the code that everybody else checks it with
    let broken = |fault| Error::bug(format!("the proof that was made does not hold: {fault}"));
    let proven = proof::check(file.as_bytes(), keys).map_err(broken)?;
    let covered = proven.statement.record.offset <= offset && offset < proven.statement.to();
    if proven.statement.manifest != manifest || !covered {
        return Err(Error::bug("the proof that was made is of another record"));
    }
    Ok(Answer::Made(Box::new(Made { file, proven })))
}

/// Checks a whole segment, and takes out of it what proves the record at `offset`.
fn part(bytes: &Bytes, keys: &Verifiers, offset: i64) -> Result<Part> {
    let broken = |fault: segment::Fault| Error::tampered(format!("{fault}: run `authseal verify`"));
    segment::open(bytes, keys).map_err(broken)?;
    let records = read::records(bytes).map_err(broken)?;
    let (manifest, schema) = (records.note(), records.schema());
    let (mut hashes, mut wanted) = (Vec::new(), None);
    for leaf in records {
        let leaf = leaf.map_err(broken)?;
        if leaf.offset() <= offset && offset < leaf.to() {
            // a copy: the block that it came in holds its neighbours
            wanted = Some((hashes.len(), Bytes::copy_from_slice(&leaf.bytes)));
        }
        hashes.push(leaf.hash());
    }
    let (leaf, record) = wanted.ok_or_else(|| Error::bug("a good segment lacks an offset that it covers"))?;
    let path = Levels::of(hashes).inclusion_proof(leaf).unwrap_or_default();
    let (manifest, schema) = (Bytes::copy_from_slice(manifest), Bytes::copy_from_slice(schema));
    Ok(Part { leaf: leaf as u64, path, manifest, schema, record, stamp: Bytes::new() })
}

/// The manifest of a segment that was read, if a known key signed it and it belongs where it lies.
fn manifest_at(bytes: &[u8], keys: &Verifiers, key: &str) -> Result<Manifest> {
    let wrong = |what: String| Error::tampered(format!("{key}: {what}: run `authseal verify`"));
    let opened = segment::open_header(bytes, keys).map_err(|fault| wrong(fault.to_string()))?;
    let manifest = opened.manifest;
    match layout::segment_key(&manifest.chain, manifest.sequence) == key {
        true => Ok(manifest),
        false => Err(wrong(format!("it is segment {} of {}", manifest.sequence, manifest.chain))),
    }
}

/// An object that a listing, or the log, says is there.
async fn read_listed(reader: &Reader, key: &str) -> Result<Bytes> {
    match reader.read(key).await? {
        Read::Found(stored) => Ok(stored.bytes),
        Read::Absent => Err(Error::tampered(format!(
            "{key} in {} was listed, and is not there: run `authseal verify`",
            reader.describe()
        ))),
        Read::Unreadable(e) => Err(e.context(format_args!("reading {key} of {}", reader.describe()))),
    }
}
