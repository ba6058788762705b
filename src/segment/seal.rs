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

/// Decodes the draft again on the reader's code path, recomputes root, counts and times, compares them with the
/// manifest, and only then signs and assembles the object. A wrong signed root is for ever.
///
/// `Kind::Config`: the key belongs to another origin. `Kind::Data`: the manifest is too long, or its values contradict
/// each
/// other. `Kind::Bug`: draft and manifest, or writer and reader, disagree; nothing was signed.
pub fn seal(draft: Draft, manifest: Manifest, signer: &Signer) -> Result<Sealed> {
    let name = seal_key_name(&manifest.origin);
    if signer.name() != name {
        return Err(Error::config(format!(
            "the signing key is called {:?}, origin {:?} needs {name:?}",
            signer.name(),
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
    let note = signer.sign(&line)?;
    let mut bytes = frame::header(draft.codec, schema, &note, &marker)?;
    bytes.reserve_exact(draft.body.len());
    bytes.extend_from_slice(&draft.body);
    // a fault in the signing itself (a flipped bit in the key) must not leave here either
    let keys = Verifiers::of(signer);
    let opened = Container::parse(&bytes).and_then(|c| check::signed(&c, &keys));
    let opened = opened.map_err(|fault| Error::bug(format!("what was signed does not open: {fault}")))?;
    if opened.manifest != manifest {
        return Err(Error::bug("the manifest that was signed reads back as another one"));
    }
    debug_assert_eq!(super::open(&bytes, &keys).as_ref(), Ok(&opened));
    Ok(Sealed { bytes: Bytes::from(bytes), manifest, hash: opened.hash })
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
