//! From a draft to a sealed object: decode again, compare, and only then sign. A wrong signed root is for ever.

use super::{
    Draft, Sealed,
    check::{self, Tally},
    frame::{self, Container},
    schema::{self, Plan},
};
use crate::{
    error::{Error, Result},
    fault::Fault,
    manifest::{Manifest, Times},
    note::{Signer, Verifiers},
    store_info::seal_key_name,
};
use bytes::Bytes;

/// A segment that was checked as a reader will, and waits for its signature.
#[derive(Debug)]
pub struct Unsigned {
    draft: Draft,
    manifest: Manifest,
    line: String,
}

/// Decodes the draft again on the reader's code path, recomputes root, counts and times, and compares them with the
/// manifest. A wrong signed root is for ever. `key`: the name of the key that is going to sign.
///
/// `Kind::Config`: the key belongs to another origin. `Kind::Data`: the manifest is too long, or its values contradict
/// each other. `Kind::Bug`: draft and manifest, or writer and reader, disagree; nothing is to be signed.
pub fn prepare(draft: Draft, manifest: Manifest, key: &str) -> Result<Unsigned> {
    let name = seal_key_name(&manifest.origin);
    if key != name {
        return Err(Error::config(format!(
            "the signing key is called {key:?}, origin {:?} needs {name:?}",
            manifest.origin
        )));
    }
    let line = manifest.line()?;
    agree(&draft, &manifest)?;
    let schema = schema::schema_bytes();
    let marker = schema::sync_marker(schema, &draft.root);
    let container = Container { codec: draft.codec, schema, note: b"", marker, body: &draft.body };
    recheck(&container, &manifest, &line)
        .map_err(|fault| Error::bug(format!("what was built does not read back: {fault}")))?;
    Ok(Unsigned { draft, manifest, line })
}

impl Unsigned {
    /// What is to be signed: the manifest's line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Assembles the object around the signed note of [`Unsigned::line`]. `keys`: that of the signer.
    ///
    /// `Kind::Bug`: the note does not open, or is of another line.
    pub fn finish(self, note: &str, keys: &Verifiers) -> Result<Sealed> {
        let Self { draft, manifest, .. } = self;
        let schema = schema::schema_bytes();
        let marker = schema::sync_marker(schema, &draft.root);
        let mut bytes = frame::header(draft.codec, schema, note, &marker)?;
        bytes.reserve_exact(draft.body.len());
        bytes.extend_from_slice(&draft.body);
        // a fault in the signing itself (a flipped bit in the key) must not leave here either
        let opened = Container::parse(&bytes).and_then(|c| check::signed(&c, keys));
        let opened = opened.map_err(|fault| Error::bug(format!("what was signed does not open: {fault}")))?;
        if opened.manifest != manifest {
            return Err(Error::bug("the manifest that was signed reads back as another one"));
        }
        debug_assert_eq!(super::open(&bytes, keys).as_ref(), Ok(&opened));
        Ok(Sealed { bytes: Bytes::from(bytes), manifest, hash: opened.hash })
    }
}

/// [`prepare`] and [`Unsigned::finish`] with a key at hand.
pub fn seal(draft: Draft, manifest: Manifest, signer: &Signer) -> Result<Sealed> {
    let unsigned = prepare(draft, manifest, signer.name())?;
    let note = signer.sign(unsigned.line())?;
    unsigned.finish(&note, &Verifiers::of(signer))
}

/// The manifest must say what the writer counted.
fn agree(draft: &Draft, manifest: &Manifest) -> Result<()> {
    let times = Times { sealed: 0, ..manifest.times };
    for (same, what) in [
        (draft.offsets == manifest.offsets, "offsets"),
        (draft.counts == manifest.counts, "counts"),
        (draft.times == times, "times"),
        (draft.root == manifest.root, "root"),
        (schema::schema_digest() == manifest.schema, "schema"),
    ] {
        if !same {
            return Err(Error::bug(format!("{what} of the manifest are not those of the draft")));
        }
    }
    Ok(())
}

/// What a reader will find: the same checks as in [`check::open`], before there is a signature.
fn recheck(container: &Container<'_>, manifest: &Manifest, line: &str) -> Result<(), Fault> {
    Manifest::parse(line)?;
    let plan: std::sync::Arc<Plan> = check::header(container, manifest)?;
    check::body_digest(container.body, &manifest.body)?;
    let tally: Tally = check::tally(&plan, container, manifest.offsets.from)?;
    tally.compare(manifest)
}
